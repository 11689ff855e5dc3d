//! Pods whose names lead nowhere, as with DNS down: they find each other by IP.

use leasehold_e2e::cluster::{Config, Part};

use super::cluster_with;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_find_each_other_by_ip_where_dns_names_nobody() {
    let setting = cluster_with(Config { dns: false, ..Config::for_tests(3).unwrap() }).await;
    setting
        .under_load(async |cluster, load| {
            for _ in 0..2 {
                let leader = cluster.wait_for_leader().await.unwrap();
                cluster.kill(leader, Part::Store);
                load.progresses(cluster, 10).await.unwrap();
            }
            // role.json keeps what was known, also over a restart of the sidecar.
            let leader = cluster.wait_for_leader().await.unwrap();
            cluster.kill((leader + 1) % 3, Part::Sidecar);
            cluster.kill(leader, Part::Store);
            load.progresses(cluster, 10).await.unwrap();
        })
        .await;
}
