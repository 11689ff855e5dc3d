//! The clocks of several stores, on real connections.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_learns_from_echoes_that_the_clocks_of_all_agree() {
    let mut cluster = Cluster::prepare(3, None);
    // In format 1 no echo carries a clock.
    cluster.format = 2;
    for pod in 0..3 {
        cluster.run(pod).await;
    }
    cluster.settle(3).await;
    let of_leader = |cluster: &Cluster| cluster.leader().map(|leader| cluster.pod(leader).handle.clocks());
    cluster
        .until("clocks that agree", |cluster| {
            of_leader(cluster).is_some_and(|clocks| clocks.agree && clocks.apart.is_some())
        })
        .await;
    let leader = cluster.settle(3).await;
    let apart = cluster.pod(leader).handle.clocks().apart;
    assert!(apart < Some(Duration::from_secs(1)), "one machine has one clock: {apart:?}");
}
