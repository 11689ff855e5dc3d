//! SIGSTOP: a process that is there and does nothing, and wakes up in another time.

use leasehold_e2e::cluster::{Part, Signal};

use super::{all_ready, cluster_of, lease_is_true, writes_outlast_the_lease};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_leader_is_replaced_and_follows_when_it_wakes() {
    let setting = cluster_of(3).await;
    for parts in [&[Part::Store][..], &[Part::Store, Part::Sidecar]] {
        setting
            .under_load(async |cluster, load| {
                let frozen = cluster.wait_for_leader().await.unwrap();
                for part in parts {
                    assert!(cluster.signal(frozen, *part, Signal::STOP));
                }
                let successor = cluster.wait_for_leader_other_than(Some(frozen)).await.unwrap();
                writes_outlast_the_lease(cluster, load).await;
                for part in parts {
                    assert!(cluster.signal(frozen, *part, Signal::CONT));
                }
                all_ready(cluster).await;
                assert_ne!(successor, frozen);
                load.progresses(cluster, 20).await.unwrap();
            })
            .await;
        lease_is_true(&setting.cluster).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_sidecar_is_frozen_goes_on_and_a_follower_whose_sidecar_is_frozen_follows() {
    let setting = cluster_of(3).await;
    let leader = setting.cluster.wait_for_leader().await.unwrap();
    setting
        .under_load(async |cluster, load| {
            assert!(cluster.signal(leader, Part::Sidecar, Signal::STOP));
            writes_outlast_the_lease(cluster, load).await;
            assert_eq!(cluster.leader().await.map(|(i, _)| i), Some(leader), "a healthy leader was replaced");
            assert!(cluster.signal(leader, Part::Sidecar, Signal::CONT));
        })
        .await;
    lease_is_true(&setting.cluster).await;

    // Two blind pods: a follower's sidecar frozen, and the leader's store dead. The third leads both.
    setting
        .under_load(async |cluster, load| {
            let leader = cluster.wait_for_leader().await.unwrap();
            let blind = (leader + 1) % 3;
            assert!(cluster.signal(blind, Part::Sidecar, Signal::STOP));
            cluster.kill_and_hold(leader, Part::Store).unwrap();
            load.progresses(cluster, 20).await.unwrap();
            assert_eq!(cluster.wait_for_leader().await.unwrap(), (leader + 2) % 3);
            cluster.start_again(leader, Part::Store);
            assert!(cluster.signal(blind, Part::Sidecar, Signal::CONT));
        })
        .await;
}
