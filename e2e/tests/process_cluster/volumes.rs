//! Volumes that are added, removed and lost: scaling, and a wiped disk.

use anyhow::{Context, ensure};
use leasehold_api::Kind;
use leasehold_e2e::cluster::{Cluster, NAMESPACE, Part};
use serde_json::Value;

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
    voters_are(cluster, &(0..cluster.wanted()).collect::<Vec<_>>()).await;
}

/// The leader's voters are these pods, by name.
async fn voters_are(cluster: &Cluster, pods: &[u16]) {
    cluster
        .until("these pods are voters, and nobody else", || async move {
            let (leader, _) = cluster.leader().await.context("nobody leads")?;
            let status = cluster.http().get_json(cluster.store(leader), "/api/status").await?;
            let voters = status["voters"].as_array().context("no voters")?;
            let mut names: Vec<&str> =
                voters.iter().filter_map(|voter| voter["name"].as_str().or(voter.as_str())).collect();
            names.sort_unstable();
            let mut wanted: Vec<String> = pods.iter().map(|i| cluster.pod_name(*i)).collect();
            wanted.sort_unstable();
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

/// Copies a volume's files. The store on it is down, or they are of no particular moment.
fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_of_a_volume_neither_votes_nor_serves_and_is_mended_by_a_wipe() {
    let setting = cluster_of(3).await;
    let cluster = &setting.cluster;
    let leader = cluster.wait_for_leader().await.unwrap();
    let (victim, other) = ((leader + 1) % 3, (leader + 2) % 3);
    // A backup of one follower's folder, made while it is down.
    cluster.kill_and_hold(victim, Part::Store).unwrap();
    let copy = cluster.folder().join("copy");
    copy_folder(&cluster.volume(victim), &copy);
    cluster.start_again(victim, Part::Store);
    voters_are_the_wanted(cluster).await;
    setting
        .under_load(async |cluster, load| {
            // 100 writes that this follower and the leader alone have.
            cluster.kill_and_hold(other, Part::Store).unwrap();
            load.progresses(cluster, 100).await.unwrap();
            let leader = cluster.wait_for_leader().await.unwrap();
            cluster.kill_and_hold(victim, Part::Store).unwrap();
            std::fs::remove_dir_all(cluster.volume(victim)).unwrap();
            copy_folder(&copy, &cluster.volume(victim));
            // After a restart it finds its mark, whichever pod answers it.
            for _ in 0..2 {
                cluster.start_again(victim, Part::Store);
                says_that_it_went_back(cluster, victim, leader).await;
                cluster.kill_and_hold(victim, Part::Store).unwrap();
            }
            cluster.start_again(victim, Part::Store);
            // The two others continue without it.
            cluster.start_again(other, Part::Store);
            load.progresses(cluster, 20).await.unwrap();
            voters_are(cluster, &[leader, other]).await;
            cluster.wipe_volume(victim).unwrap();
            voters_are_the_wanted(cluster).await;
        })
        .await;
    lease_is_true(cluster).await;
}

/// Its state, its metric, its refusals and an Event say it, and name the way out.
async fn says_that_it_went_back(cluster: &Cluster, victim: u16, leader: u16) {
    let (name, knower) = (cluster.pod_name(victim), cluster.pod_name(leader));
    let way_out = format!("kubectl delete pvc data-{name}");
    let (name, knower, way_out) = (name.as_str(), knower.as_str(), way_out.as_str());
    cluster
        .until("it says that its volume went back", || async move {
            let (http, store) = (cluster.http(), cluster.store(victim));
            let status = http.get_json(store, "/api/status").await?;
            ensure!(status["state"] == "went-back" && status["wentBack"]["knownBy"] == knower, "{status}");
            ensure!(status["waitingFor"][0].as_str().is_some_and(|wait| wait.contains(way_out)), "{status}");
            let metrics = http.get(store, "/metrics").await?.text();
            ensure!(metrics.contains("leasehold_store_went_back 1"), "{metrics}");
            for path in ["/readyz", "/persons", "/persons:watch"] {
                let refused = http.get(store, path).await.err().with_context(|| format!("{path} is answered"))?;
                ensure!(format!("{refused:#}").contains("503"), "{path}: {refused:#}");
            }
            let events = cluster.api().list(Kind::Event, NAMESPACE);
            let is_it = |event: &Value| {
                event["reason"] == "VolumeWentBack"
                    && event["related"]["name"] == name
                    && event["note"].as_str().is_some_and(|note| note.contains(way_out))
            };
            ensure!(events.iter().any(is_it), "no Event says it: {events:?}");
            Ok(())
        })
        .await
        .unwrap();
}
