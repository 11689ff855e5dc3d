//! The Lease in other hands: deleted, edited, contended. It only suggests who leads.

use std::time::Duration;

use kube_leader_election::{LeaseLock, LeaseLockParams};
use leasehold_e2e::cluster::{Cluster, LEASE, NAMESPACE};
use serde_json::json;

use super::{cluster_of, lease_is_true, writes_outlast_the_lease};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_is_deleted_or_edited_by_hand_is_put_right_and_no_write_is_lost() {
    let setting = cluster_of(3).await;
    let follower = |leader: u16| setting.cluster.pod_name((leader + 1) % 3);
    setting
        .under_load(async |cluster, load| {
            let leader = cluster.wait_for_leader().await.unwrap();
            cluster.delete_lease().unwrap();
            lease_is_true(cluster).await;
            assert_eq!(cluster.leader().await.map(|(i, _)| i), Some(leader), "a healthy leader was replaced");

            let edits = [
                ("nobody holds it", json!({"spec": {"holderIdentity": null}})),
                ("a stranger holds it", json!({"spec": {"holderIdentity": "somebody-else"}})),
                ("a follower holds it", json!({"spec": {"holderIdentity": follower(leader)}})),
                ("an older term", json!({"spec": {"leaseTransitions": 0}})),
                ("the highest term", json!({"spec": {"leaseTransitions": 2_147_483_647}})),
                (
                    "the highest term, a stranger",
                    json!({"spec": {
                    "leaseTransitions": 2_147_483_647, "holderIdentity": "somebody-else"}}),
                ),
                (
                    "times of long ago",
                    json!({"spec": {
                    "renewTime": "2001-01-01T00:00:00.000000Z", "acquireTime": "2001-01-01T00:00:00.000000Z"}}),
                ),
                ("times to come", json!({"spec": {"renewTime": "2101-01-01T00:00:00.000000Z"}})),
                ("an empty spec", json!({"spec": null})),
                ("no annotations", json!({"metadata": {"annotations": null}})),
                (
                    "an incarnation that is none",
                    json!({"metadata": {"annotations": {
                    "leasehold.dev/incarnation": "not a uuid"}}}),
                ),
            ];
            for (what, edit) in edits {
                eprintln!("edit: {what}");
                cluster.edit_lease(&edit).unwrap();
                load.progresses(cluster, 20).await.unwrap();
                lease_is_true(cluster).await;
                load.progresses(cluster, 20).await.unwrap();
            }
            let term = cluster.leader().await.unwrap().1;
            assert!(term < 1_000_000, "the edit drove the terms up to {term}");
        })
        .await;
    lease_is_true(&setting.cluster).await;
}

async fn foreign_candidate(cluster: &Cluster) -> LeaseLock {
    let kubeconfig = serde_json::from_value(cluster.api().kubeconfig("foreign", NAMESPACE)).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
    let params =
        LeaseLockParams { holder_id: "foreign".into(), lease_name: LEASE.into(), lease_ttl: Duration::from_secs(1) };
    LeaseLock::new(kube::Client::try_from(config).unwrap(), NAMESPACE, params)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_elector_on_the_same_lease_takes_no_write_away() {
    let setting = cluster_of(3).await;
    setting
        .under_load(async |cluster, load| {
            let foreign = foreign_candidate(cluster).await;
            let contender = tokio::spawn(async move {
                loop {
                    // Whatever the answer is: it asks again, as its example does.
                    let _ = foreign.try_acquire_or_renew().await;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            });
            writes_outlast_the_lease(cluster, load).await;
            // It gets the Lease at once when it is gone.
            cluster.delete_lease().unwrap();
            writes_outlast_the_lease(cluster, load).await;
            cluster.edit_lease(&json!({"spec": {"holderIdentity": "foreign"}})).ok();
            writes_outlast_the_lease(cluster, load).await;
            contender.abort();
            lease_is_true(cluster).await;
        })
        .await;
}
