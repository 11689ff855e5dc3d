//! Volumes that come, go and are lost: scaling, and a wiped disk.

use anyhow::{Context, ensure};
use leasehold_e2e::cluster::{Cluster, Part};

use super::{cluster_of, lease_is_true};

async fn pods_are(cluster: &Cluster, wanted: u16) {
    cluster
        .until("the pods are those that are wanted", || async move {
            let pods = cluster.pods();
            ensure!(pods == (0..wanted).collect::<Vec<_>>(), "{pods:?}");
            Ok(())
        })
        .await
        .unwrap();
}

/// The leader's voters are the wanted pods, by name.
async fn voters_are_the_wanted(cluster: &Cluster) {
    cluster
        .until("every wanted pod is a voter, and nobody else", || async move {
            let (leader, _) = cluster.leader().await.context("nobody leads")?;
            let status = cluster.http().get_json(cluster.store(leader), "/api/status").await?;
            let voters = status["voters"].as_array().context("no voters")?;
            let mut names: Vec<&str> =
                voters.iter().filter_map(|voter| voter["name"].as_str().or(voter.as_str())).collect();
            names.sort_unstable();
            let wanted: Vec<String> = (0..cluster.wanted()).map(|i| cluster.pod_name(i)).collect();
            ensure!(names == wanted, "{names:?}");
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_is_scaled_up_and_down_to_nothing_and_up_again() {
    let setting = cluster_of(3).await;
    let cluster = &setting.cluster;
    for replicas in [5, 2, 3] {
        setting
            .under_load(async |cluster, load| {
                cluster.scale(replicas).unwrap();
                pods_are(cluster, replicas).await;
                voters_are_the_wanted(cluster).await;
                load.progresses(cluster, 20).await.unwrap();
            })
            .await;
        lease_is_true(cluster).await;
    }
    cluster.scale(0).unwrap();
    pods_are(cluster, 0).await;
    cluster.scale(3).unwrap();
    setting.converges().await;
    setting.under_load(async |_, _| {}).await;
    voters_are_the_wanted(cluster).await;
    lease_is_true(cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_volume_was_wiped_catches_up_and_votes_again() {
    let setting = cluster_of(3).await;
    // A follower's, then the leader's.
    for offset in [1, 0] {
        setting
            .under_load(async |cluster, load| {
                let leader = cluster.wait_for_leader().await.unwrap();
                cluster.wipe_volume((leader + offset) % 3).unwrap();
                load.progresses(cluster, 20).await.unwrap();
                voters_are_the_wanted(cluster).await;
            })
            .await;
    }
    lease_is_true(&setting.cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_volumes_are_lost_nobody_begins_anew_until_a_person_says_so() {
    let setting = cluster_of(3).await;
    let cluster = &setting.cluster;
    for i in 0..3 {
        cluster.kill_and_hold(i, Part::Store).unwrap();
        std::fs::remove_dir_all(cluster.volume(i)).unwrap();
        std::fs::create_dir_all(cluster.volume(i)).unwrap();
    }
    for i in 0..3 {
        cluster.start_again(i, Part::Store);
    }
    cluster
        .until("the first pod says what is wrong and names the command", || async move {
            let status = cluster.http().get(cluster.store(0), "/api/status").await?.text();
            ensure!(status.contains("store bootstrap --force"), "{status}");
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(cluster.leader().await, None);

    // A person says so: the volume gets a new cluster, and the Lease of the lost one is put away.
    cluster.kill_and_hold(0, Part::Store).unwrap();
    let (initial, data) = (cluster.folder().join("initial.json"), cluster.volume(0));
    let made = std::process::Command::new(cluster.program(Part::Store))
        .args(["bootstrap", "--force", "--data"])
        .arg(data)
        .arg("--initial-data")
        .arg(initial)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    cluster.start_again(0, Part::Store);
    cluster.delete_lease().unwrap();
    setting.under_load(async |_, _| {}).await;
    lease_is_true(cluster).await;
}
