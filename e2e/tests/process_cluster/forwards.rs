//! Writes that reach a pod which does not lead, and that it sends on by the leader's peer port.

use std::time::Duration;

use http::Method;
use leasehold_e2e::cluster::{Cluster, Config, Part};
use serde_json::{Value, json};

use crate::{Setting, cluster_with};

const LONG: Duration = Duration::from_secs(20);

/// Writes through that pod until it is acknowledged there. The same record under the same id may be sent again.
async fn write_through(cluster: &Cluster, pod: u16) -> Value {
    let person = json!({"firstName": "Ada", "lastName": "Lovelace", "id": uuid::Uuid::new_v4()});
    let write = async || {
        let http = cluster.http();
        let answer = http.send(Method::POST, cluster.store(pod), "/persons", Some(&person), LONG).await.unwrap();
        match answer.status {
            200 | 201 => Ok(()),
            421 | 503 | 504 => anyhow::bail!("{answer:?}"),
            _ => panic!("{answer:?}"),
        }
    };
    cluster.until("the write is acknowledged", write).await.unwrap();
    person
}

async fn all_have(cluster: &Cluster, written: &[Value]) {
    for person in written {
        let path = format!("/persons/{}?consistency=strong", person["id"].as_str().unwrap());
        for pod in 0..3 {
            assert_eq!(&cluster.http().get_json(cluster.store(pod), &path).await.unwrap(), person, "pod {pod}");
        }
    }
}

async fn forwarding(args: &[String]) -> Setting {
    let mut config = Config::for_tests(3).unwrap();
    config.store_args = ["--follower-writes", "forward", "--write-timeout", "10s"].map(str::to_owned).to_vec();
    config.store_args.extend_from_slice(args);
    cluster_with(config).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_sends_writes_on_by_the_peer_port_also_to_the_next_leader() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("current"), "a key of more than thirty-two bytes").unwrap();
    let setting = forwarding(&["--peer-key".to_owned(), folder.path().display().to_string()]).await;
    let cluster = &setting.cluster;
    let mut written = Vec::new();
    for _ in 0..2 {
        // Also the one that was killed in the round before.
        crate::all_ready(cluster).await;
        let leader = cluster.wait_for_leader().await.unwrap();
        for follower in (0..3).filter(|pod| *pod != leader) {
            written.push(write_through(cluster, follower).await);
        }
        // Both had proven themselves to a leader that accepts them at its peer port: neither got its answer from the other
        // one.
        let metrics = cluster.http().get(cluster.store(leader), "/metrics").await.unwrap().text();
        assert!(!metrics.contains("peer_rejected_total{reason=\"http\"}"), "{metrics}");
        cluster.kill(leader, Part::Store);
        let follower = (leader + 1) % 3;
        written.push(write_through(cluster, follower).await);
    }
    crate::all_ready(cluster).await;
    all_have(cluster, &written).await;
}
