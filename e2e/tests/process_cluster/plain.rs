//! An app that knows nothing of terms: the sidecar alone gives it one leader.

use anyhow::{Context, ensure};
use leasehold_contract::{ROLE_FILE, Role, RoleFile};
use leasehold_e2e::cluster::{App, Cluster, Config, Part};

use super::CLUSTERS;

/// (pod, term) of each that a load balancer would send writes to.
async fn leaders(cluster: &Cluster) -> Vec<(u16, u64)> {
    let mut leaders = Vec::new();
    for i in 0..3 {
        if cluster.http().get(cluster.sidecar(i), "/leader").await.is_ok()
            && let Ok(state) = cluster.http().get_json(cluster.sidecar(i), "/v1/state").await
            && state["leads"] == true
        {
            leaders.push((i, state["role"]["term"].as_u64().unwrap_or(0)));
        }
    }
    leaders
}

fn role(cluster: &Cluster, i: u16) -> anyhow::Result<RoleFile> {
    Ok(serde_json::from_slice(&std::fs::read(cluster.shared_directory(i).join(ROLE_FILE))?)?)
}

/// One pod leads, in a term above `after`; its file says so, and the others' files name it.
async fn one_leads(cluster: &Cluster, after: u64) -> (u16, u64) {
    cluster
        .until("one plain app leads", || async move {
            let leaders = leaders(cluster).await;
            ensure!(leaders.len() < 2 || leaders[0].1 != leaders[1].1, "two leaders of one term: {leaders:?}");
            ensure!(leaders.len() == 1, "{leaders:?}");
            let (leader, term) = leaders[0];
            ensure!(term > after, "{leaders:?} is not above {after}");
            for i in 0..3 {
                let role = role(cluster, i)?;
                let wanted = if i == leader { Role::Leader } else { Role::Follower };
                ensure!(role.role == wanted && role.term == term, "pod {i}: {role:?}");
                let named = role.leader.with_context(|| format!("pod {i} knows no leader"))?;
                ensure!(named.name == cluster.pod_name(leader), "pod {i}: {named:?}");
            }
            let lease = cluster.lease().context("no Lease")?;
            ensure!(lease["spec"]["holderIdentity"] == cluster.pod_name(leader), "{lease}");
            ensure!(lease["spec"]["leaseTransitions"] == term, "{lease}");
            Ok((leader, term))
        })
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_app_has_one_leader_and_loses_it_before_another_leads() {
    let _permit = CLUSTERS.acquire().await.unwrap();
    let mut config = Config::for_tests(3).unwrap();
    config.app = App::Plain;
    let cluster = &Cluster::start(config).unwrap();
    let (first, term) = one_leads(cluster, 0).await;

    // Its sidecar is killed for good: another one leads, in a higher term.
    cluster.kill_and_hold(first, Part::Sidecar).unwrap();
    let term = cluster
        .until("another one leads", || async move {
            let leaders = leaders(cluster).await;
            ensure!(leaders.len() == 1 && leaders[0].1 > term, "{leaders:?}");
            Ok(leaders[0].1)
        })
        .await
        .unwrap();
    cluster.start_again(first, Part::Sidecar);
    let (second, term) = one_leads(cluster, term - 1).await;

    // Its pod is deleted: the leadership is handed on, not waited for.
    cluster.delete_pod(second).unwrap();
    let (third, term) = one_leads(cluster, term).await;

    // The API is gone for longer than the Lease: nobody leads, and the file says so, too.
    cluster.api().down().unwrap();
    cluster
        .until("nobody leads without the API", || async move {
            let leaders = leaders(cluster).await;
            ensure!(leaders.is_empty(), "{leaders:?}");
            ensure!(role(cluster, third)?.role != Role::Leader);
            Ok(())
        })
        .await
        .unwrap();
    cluster.api().up().unwrap();
    let (_, term) = one_leads(cluster, term - 1).await;

    // Somebody deletes the Lease.
    cluster.delete_lease().unwrap();
    one_leads(cluster, term - 1).await;
}
