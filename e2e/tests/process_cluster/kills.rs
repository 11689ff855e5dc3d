//! `kill -9`, of anything that leaves a majority, and of everything.

use anyhow::ensure;
use leasehold_e2e::cluster::{Cluster, Part};

use super::{all_ready, cluster_of, lease_is_true};

/// Which processes of leader, first and second follower are killed: the store of one at most, any sidecars.
fn combinations() -> Vec<(Option<usize>, [bool; 3])> {
    let mut all = Vec::new();
    for store in [None, Some(0), Some(1)] {
        for bits in 0..8_u8 {
            let sidecars = [bits & 1 != 0, bits & 2 != 0, bits & 4 != 0];
            // The followers are alike, unless one of them loses its store.
            let twin = store != Some(1) && !sidecars[1] && sidecars[2];
            if (store.is_some() || bits != 0) && !twin {
                all.push((store, sidecars));
            }
        }
    }
    all
}

async fn back_again(cluster: &Cluster) {
    cluster
        .until("all processes run", || async move {
            for i in 0..cluster.wanted() {
                for part in [Part::Store, Part::Sidecar] {
                    ensure!(cluster.pid(i, part).is_some(), "{} of pod {i}", part.word());
                }
            }
            Ok(())
        })
        .await
        .unwrap();
    all_ready(cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_processes_may_be_killed_as_long_as_a_majority_of_stores_is_left() {
    let setting = cluster_of(3).await;
    setting
        .under_load(async |cluster, load| {
            for (store, sidecars) in combinations() {
                let leader = cluster.wait_for_leader().await.unwrap();
                let pods = [leader, (leader + 1) % 3, (leader + 2) % 3];
                for (pod, kill) in pods.iter().zip(sidecars) {
                    if kill {
                        cluster.kill(*pod, Part::Sidecar);
                    }
                }
                if let Some(store) = store {
                    cluster.kill(pods[store], Part::Store);
                }
                load.progresses(cluster, 10).await.unwrap();
                back_again(cluster).await;
                load.progresses(cluster, 5).await.unwrap();
            }
        })
        .await;
    lease_is_true(&setting.cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_may_be_killed_at_once_and_started_again() {
    let setting = cluster_of(3).await;
    for _ in 0..2 {
        setting.under_load(async |cluster, _| cluster.kill_all()).await;
    }
    lease_is_true(&setting.cluster).await;

    // A pod dies for good in the middle of it: the other two recover without it.
    setting
        .under_load(async |cluster, load| {
            let leader = cluster.wait_for_leader().await.unwrap();
            cluster.kill_and_hold(leader, Part::Store).unwrap();
            cluster.kill_and_hold(leader, Part::Sidecar).unwrap();
            cluster.kill_all();
            load.progresses(cluster, 20).await.unwrap();
            assert_ne!(cluster.wait_for_leader().await.unwrap(), leader);
            cluster.start_again(leader, Part::Sidecar);
            cluster.start_again(leader, Part::Store);
        })
        .await;
}
