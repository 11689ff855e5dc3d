//! Clusters of real processes on the embedded API, and everything that may happen to them.
//!
//! In each test: every acknowledged write is there, no follower accepted one, and all replicas converge to the same data.
//! Tests assert order and durability, never milliseconds; their waits are patient. At most two clusters run at once.
//! The programs must be there: `cargo build --locked --bins`.
#![allow(clippy::unwrap_used)]

mod addresses;
mod archive;
mod backups;
mod collections;
mod collections_file;
mod drains;
mod examples;
mod formats;
mod forwards;
mod freezes;
mod guardian;
mod hangs;
mod kills;
mod lease;
mod operators;
mod outage;
mod plain;
mod reads;
mod seed;
mod sizes;
mod trust;
mod volumes;
mod watches;

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use leasehold_e2e::{
    cluster::{Cluster, Config},
    history::{History, initial_persons},
    load::{Load, probe},
};
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Two clusters at once, whatever the number of test threads.
static CLUSTERS: Semaphore = Semaphore::const_new(2);

/// How long the tests' Lease lasts.
const LEASE_DURATION: Duration = Duration::from_secs(3);

/// A running cluster, and its clients' answers.
struct Setting {
    cluster: Cluster,
    history: History,
    _permit: SemaphorePermit<'static>,
}

/// A cluster that is ready: all pods have the initial data.
async fn cluster_of(replicas: u16) -> Setting {
    cluster_with(Config::for_tests(replicas).unwrap()).await
}

/// As [`cluster_of`], made as `config` says.
async fn cluster_with(config: Config) -> Setting {
    let permit = CLUSTERS.acquire().await.unwrap();
    let cluster = Cluster::start(config).unwrap();
    let setting = Setting { cluster, history: History::default(), _permit: permit };
    setting.converges().await;
    setting.all_ready().await;
    setting
}

impl Setting {
    /// Writes before, during and after what is done to the cluster; then everything is checked.
    async fn under_load(&self, what: impl AsyncFnOnce(&Cluster, &Load)) {
        let load = self.load().await;
        what(&self.cluster, &load).await;
        load.progresses(&self.cluster, 20).await.unwrap();
        load.stop().await.unwrap();
        let pods: Vec<_> = (0..self.cluster.wanted()).map(|i| self.cluster.store(i)).collect();
        probe(self.cluster.http(), &pods, &self.history).await;
        self.converges().await;
        eprintln!("{:?}", self.history.counts());
    }

    /// Clients that write already.
    async fn load(&self) -> Load {
        let load = Load::start(&self.cluster, &self.history, 4, self.cluster.wanted());
        load.progresses(&self.cluster, 20).await.unwrap();
        load
    }

    async fn converges(&self) {
        self.cluster.converges(&self.history).await.unwrap();
    }

    /// Every wanted store says that it is ready, and all name the same leader and term.
    async fn all_ready(&self) {
        all_ready(&self.cluster).await;
    }
}

async fn all_ready(cluster: &Cluster) {
    cluster
        .until("all pods are ready and agree on a leader", || async move {
            let mut claims = Vec::new();
            for i in 0..cluster.wanted() {
                cluster.http().get(cluster.store(i), "/readyz").await?;
                let claim = cluster.http().get_json(cluster.store(i), "/api/leader").await?;
                // role.json carries the address: a follower may know its leader before its sidecar does.
                claims.push((claim["name"].clone(), claim["term"].clone(), claim["address"].clone()));
            }
            let first = claims.first().context("no pods")?;
            ensure!(!first.2.is_null() && claims.iter().all(|claim| claim == first), "{claims:?}");
            Ok(())
        })
        .await
        .unwrap();
}

/// The Lease names the pod that leads, with the term that it leads in.
async fn lease_is_true(cluster: &Cluster) {
    cluster
        .until("the Lease names the leader and its term", || async move {
            let (leader, term) = cluster.leader().await.context("nobody leads")?;
            let lease = cluster.lease().context("no Lease")?;
            let (holder, transitions) = (&lease["spec"]["holderIdentity"], &lease["spec"]["leaseTransitions"]);
            ensure!(*holder == cluster.pod_name(leader), "pod {leader} leads, the Lease says {holder}");
            ensure!(*transitions == term, "pod {leader} leads term {term}, the Lease says {transitions}");
            ensure!(lease["metadata"]["annotations"]["leasehold.dev/cluster-id"].is_string(), "no cluster-id: {lease}");
            Ok(())
        })
        .await
        .unwrap();
}

/// Writes continue for longer than a Lease lasts.
async fn writes_outlast_the_lease(cluster: &Cluster, load: &Load) {
    let begin = Instant::now();
    while begin.elapsed() < LEASE_DURATION + Duration::from_secs(1) {
        load.progresses(cluster, 10).await.unwrap();
    }
}

fn sorted_by_id(value: &Value) -> Vec<Value> {
    let mut persons = value.as_array().unwrap().clone();
    persons.sort_by_key(|person| person["id"].as_str().unwrap().to_owned());
    persons
}

#[test]
fn the_initial_data_is_that_of_the_article() {
    assert_eq!(sorted_by_id(&initial_persons()).len(), 4);
}
