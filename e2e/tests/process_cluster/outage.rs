//! The API server is down, slow, lying or deaf. Writes continue.

use anyhow::{Context, ensure};
use leasehold_api::{Faults, Verb, Who};
use leasehold_e2e::cluster::Part;
use std::time::Duration;

use super::{all_ready, cluster_of, lease_is_true, writes_outlast_the_lease};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_outage_longer_than_the_lease_stops_no_write_even_if_a_follower_and_then_the_leader_die() {
    let setting = cluster_of(3).await;
    setting
        .under_load(async |cluster, load| {
            let leader = cluster.wait_for_leader().await.unwrap();
            cluster.api().down().unwrap();
            writes_outlast_the_lease(cluster, load).await;
            assert_eq!(cluster.leader().await.map(|(i, _)| i), Some(leader), "a healthy leader was replaced");

            // A follower dies meanwhile, and restarts.
            cluster.kill((leader + 1) % 3, Part::Store);
            load.progresses(cluster, 20).await.unwrap();
            assert_eq!(cluster.leader().await.map(|(i, _)| i), Some(leader), "a healthy leader was replaced");
            all_ready(cluster).await;

            // The leader dies meanwhile: another one leads without the Lease.
            cluster.kill_and_hold(leader, Part::Store).unwrap();
            let successor = cluster.wait_for_leader_other_than(Some(leader)).await.unwrap();
            load.progresses(cluster, 20).await.unwrap();
            let role = std::fs::read_to_string(cluster.shared_directory(successor).join("role.json")).unwrap();
            let role: serde_json::Value = serde_json::from_str(&role).unwrap();
            assert_eq!(role["offLease"], true, "{role}");

            // The API is back: the Lease says what is true, and nobody is deposed for it.
            let (_, term) = cluster.leader().await.unwrap();
            cluster.api().up().unwrap();
            lease_is_true(cluster).await;
            assert_eq!(cluster.leader().await, Some((successor, term)), "the leader changed when the API came back");
            cluster.start_again(leader, Part::Store);
            load.progresses(cluster, 20).await.unwrap();
            assert_eq!(
                cluster.leader().await,
                Some((successor, term)),
                "the leader changed when the old one came back"
            );
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blind_slow_and_refused_sidecars_stop_no_write() {
    let setting = cluster_of(3).await;
    let refused = |code| Faults { status: Some(code), ..Faults::default() };
    let troubles = [
        ("a cut network", Faults { black_hole: true, ..Faults::default() }),
        ("no rights left", refused(403)),
        ("an API server in trouble", refused(500)),
        ("throttling", refused(429)),
        (
            "answers that get lost",
            Faults { lost_answers: true, verbs: vec![Verb::Create, Verb::Update, Verb::Patch], ..Faults::default() },
        ),
        ("a slow API server", Faults { delay: Duration::from_millis(400), ..Faults::default() }),
    ];
    setting
        .under_load(async |cluster, load| {
            for (what, faults) in troubles {
                let (leader, term) = cluster.leader().await.context("nobody leads").unwrap();
                cluster.api().set_faults(&Who::client(cluster.pod_name(leader)), faults);
                writes_outlast_the_lease(cluster, load).await;
                cluster.api().clear_faults();
                lease_is_true(cluster).await;
                let now = cluster.leader().await;
                assert_eq!(now, Some((leader, term)), "a healthy leader was replaced because of {what}");
            }
            // Watches that die, and watches that only look alive.
            cluster.api().set_faults(&Who::All, Faults { silent_watches: true, ..Faults::default() });
            let leader = cluster.wait_for_leader().await.unwrap();
            cluster.kill_and_hold(leader, Part::Store).unwrap();
            load.progresses(cluster, 20).await.unwrap();
            cluster.api().clear_faults();
            cluster.api().drop_watches(&Who::All);
            cluster.api().compact();
            cluster.start_again(leader, Part::Store);
        })
        .await;
    lease_is_true(&setting.cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_holder_renews_and_the_others_only_watch() {
    let setting = cluster_of(3).await;
    let cluster = &setting.cluster;
    setting.all_ready().await;
    lease_is_true(cluster).await;
    let leader = cluster.wait_for_leader().await.unwrap();
    let from = cluster.api().log().len();
    let lease_requests = |pod: u16, verb: Verb| {
        let log = cluster.api().log();
        let is = |r: &&leasehold_api::Logged| {
            r.client == cluster.pod_name(pod) && r.verb == verb && r.kind == leasehold_api::Kind::Lease
        };
        log[from..].iter().filter(is).count()
    };
    cluster
        .until("the holder renewed five times", || async {
            ensure!(lease_requests(leader, Verb::Update) >= 5);
            Ok(())
        })
        .await
        .unwrap();
    for follower in [(leader + 1) % 3, (leader + 2) % 3] {
        for verb in [Verb::Create, Verb::Update, Verb::Patch, Verb::Get, Verb::List] {
            assert_eq!(lease_requests(follower, verb), 0, "pod {follower}: {verb:?}");
        }
    }
    assert_eq!(lease_requests(leader, Verb::Get) + lease_requests(leader, Verb::List), 0, "a renewal is one request");
}
