//! Clusters of one and of two.

use leasehold_e2e::{
    cluster::Part,
    load::{Told, tell},
};
use serde_json::json;
use std::time::Duration;

use super::{cluster_of, lease_is_true};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_replica_keeps_its_data_and_becomes_two() {
    let setting = cluster_of(1).await;
    for part in [Part::Store, Part::Sidecar] {
        setting.under_load(async |cluster, _| assert!(cluster.kill(0, part))).await;
    }
    setting.under_load(async |cluster, _| cluster.kill_all()).await;
    setting.under_load(async |cluster, _| cluster.scale(2).unwrap()).await;
    setting.all_ready().await;
    lease_is_true(&setting.cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_refuse_writes_while_one_is_away() {
    let setting = cluster_of(2).await;
    let cluster = &setting.cluster;
    setting.under_load(async |_, _| {}).await;
    for leader_dies in [false, true] {
        let leader = cluster.wait_for_leader().await.unwrap();
        let dies = if leader_dies { leader } else { 1 - leader };
        cluster.kill_and_hold(dies, Part::Store).unwrap();
        for _ in 0..3 {
            let id = uuid::Uuid::new_v4().to_string();
            let person = json!({"firstName": "A", "lastName": "B", "id": id});
            let address = cluster.store(1 - dies);
            let outcome = cluster
                .http()
                .send(http::Method::POST, address, "/persons", Some(&person), Duration::from_secs(20))
                .await;
            match tell(&outcome) {
                Told::Acknowledged => panic!("a write was acknowledged by one of two"),
                Told::Refused => setting.history.refused(&id),
                Told::Unknown => setting.history.unknown(&id, Some(person)),
            }
        }
        // Reads continue.
        assert!(cluster.persons(1 - dies).await.is_ok());
        cluster.start_again(dies, Part::Store);
        setting.all_ready().await;
        setting.under_load(async |_, _| {}).await;
    }
    // A frozen sidecar and a killed one have no lasting effect.
    setting.under_load(async |cluster, _| cluster.kill_all()).await;
    lease_is_true(cluster).await;
}
