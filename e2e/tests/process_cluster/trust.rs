//! Clusters whose replicas share a key and speak TLS: strangers, and keys and certificates that change while clients write.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use http::Method;
use leasehold_e2e::cluster::{Cluster, Config, Part};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{Setting, cluster_with, lease_is_true};

const OLD: &str = "the first key, of more than thirty-two bytes";
const NEW: &str = "the second key, of more than thirty-two bytes";

async fn cluster_with_flags(folder: &Path, flags: &[&str]) -> Setting {
    let mut config = Config::for_tests(3).unwrap();
    for flag in flags {
        config.store_args.extend([(*flag).to_owned(), folder.display().to_string()]);
    }
    cluster_with(config).await
}

fn write(folder: &Path, name: &str, text: &str) {
    // As a kubelet does it: whole, in one step.
    std::fs::write(folder.join(".new"), text).unwrap();
    std::fs::rename(folder.join(".new"), folder.join(name)).unwrap();
}

/// Waits until every store says this in `peerTrust`.
async fn all_have(cluster: &Cluster, what: &str, is_so: impl Fn(&Value) -> bool) {
    let is_so = &is_so;
    cluster
        .until(what, || async move {
            for i in 0..3 {
                let trust = &cluster.http().get_json(cluster.store(i), "/api/status").await?["peerTrust"];
                ensure!(is_so(trust), "pod {i}: {trust}");
            }
            Ok(())
        })
        .await
        .unwrap();
}

/// One client that writes at the leader, one write after the other, while something is done. It must notice nothing.
async fn unnoticed(cluster: &Cluster, what: impl AsyncFnOnce()) {
    let leader = cluster.wait_for_leader().await.unwrap();
    let over = AtomicBool::new(false);
    let writes = async {
        let (mut count, mut longest) = (0, Duration::ZERO);
        while !over.load(Ordering::Relaxed) {
            let id = uuid::Uuid::new_v4();
            let person = json!({"firstName": "Ada", "lastName": "Lovelace", "id": id});
            let (path, began) = (format!("/persons/{id}"), Instant::now());
            let http = cluster.http();
            let put = http.send(Method::PUT, cluster.store(leader), &path, Some(&person), Duration::from_secs(8)).await;
            let status = put.as_ref().map(|answer| answer.status);
            assert!(matches!(status, Ok(201)), "write {count} failed: {put:?}");
            http.send(Method::DELETE, cluster.store(leader), &path, None, Duration::from_secs(8)).await.unwrap();
            longest = longest.max(began.elapsed());
            count += 1;
        }
        eprintln!("{count} pairs of writes, none failed, the longest took {longest:?}");
        assert!(count > 0);
    };
    let done = async {
        what().await;
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(writes, done);
}

/// Bytes sent to a peer port directly, and the answer.
async fn say(cluster: &Cluster, i: u16, words: &str) -> String {
    let address = format!("127.0.0.1:{}", cluster.ports().peer(i));
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(words.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.expect("not closed");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_get_nothing_and_a_key_is_changed_without_a_gap_in_writes() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "current", OLD);
    let setting = cluster_with_flags(folder.path(), &["--peer-key"]).await;
    let cluster = &setting.cluster;

    let leader = cluster.wait_for_leader().await.unwrap();
    let claim = json!({"clusterId": uuid::Uuid::new_v4(), "term": 900, "incarnation": uuid::Uuid::new_v4(),
        "name": "stranger", "peerAddress": "127.0.0.1:1"});
    let claim = claim.to_string();
    for words in [
        "GET /v1/state HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
        format!("POST /v1/claim HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{claim}", claim.len()),
        "GET /v1/replicate HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            .to_owned(),
    ] {
        for i in 0..3 {
            let answer = say(cluster, i, &words).await;
            assert!(answer.starts_with("HTTP/1.1 401"), "{words}: {answer}");
        }
    }
    assert_eq!(cluster.leader().await.map(|(i, _)| i), Some(leader), "a stranger's claim moved the leadership");
    let metrics = cluster.http().get(cluster.store(leader), "/metrics").await.unwrap().text();
    assert!(metrics.contains("leasehold_store_peer_rejected_total{reason=\"key\"} 3"), "{metrics}");

    unnoticed(cluster, async || {
        write(folder.path(), "next", NEW);
        all_have(cluster, "all know both keys", |trust| trust["keys"].as_array().is_some_and(|all| all.len() == 2))
            .await;
        // One of them reconnects while both keys are valid.
        let follower = (leader + 1) % 3;
        cluster.kill(follower, Part::Store);
        cluster
            .until("the follower is back", || async move {
                ensure!(cluster.starts(follower, Part::Store) > 1);
                cluster.http().get(cluster.store(follower), "/readyz").await
            })
            .await
            .unwrap();
        write(folder.path(), "current", NEW);
        std::fs::remove_file(folder.path().join("next")).unwrap();
        all_have(cluster, "all know the new key alone", |trust| {
            trust["keys"].as_array().is_some_and(|all| all.len() == 1)
        })
        .await;
    })
    .await;

    // And every new connection from here on uses the new key.
    setting.under_load(async |cluster, _| cluster.kill_all()).await;
    setting.all_ready().await;
    lease_is_true(cluster).await;
}

/// An authority and the certificates that it issues.
struct Authority(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

impl Authority {
    fn new() -> Authority {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Authority(rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, folder: &Path) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        write(folder, "tls.crt", &params.signed_by(&key, &self.0).unwrap().pem());
        write(folder, "tls.key", &key.serialize_pem());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_and_their_authority_are_changed_without_a_gap_in_writes() {
    let (folder, old, new) = (tempfile::tempdir().unwrap(), Authority::new(), Authority::new());
    write(folder.path(), "current", OLD);
    write(folder.path(), "ca.crt", &old.0.pem());
    old.issue(folder.path());
    let setting = cluster_with_flags(folder.path(), &["--peer-key", "--peer-tls"]).await;
    let cluster = &setting.cluster;
    let certificates = |trust: &Value| trust["certificates"].as_array().cloned().unwrap_or_default();

    let leader = cluster.wait_for_leader().await.unwrap();
    let plain = say(cluster, leader, "GET /v1/state HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(plain.starts_with("HTTP/1.1 401") && plain.contains("TLS"), "{plain}");

    unnoticed(cluster, async || {
        // First everybody trusts both, then everybody shows a certificate of the new one, then the old one goes.
        write(folder.path(), "ca.crt", &format!("{}{}", old.0.pem(), new.0.pem()));
        all_have(cluster, "all trust both", |trust| certificates(trust).len() == 3).await;
        let status = cluster.http().get_json(cluster.store(leader), "/api/status").await.unwrap();
        let before = certificates(&status["peerTrust"])[0].clone();
        new.issue(folder.path());
        all_have(cluster, "all show the new one", |trust| certificates(trust)[0] != before).await;
        write(folder.path(), "ca.crt", &new.0.pem());
        all_have(cluster, "all trust the new one alone", |trust| certificates(trust).len() == 2).await;
    })
    .await;
    setting.under_load(async |cluster, _| cluster.kill_all()).await;
    setting.all_ready().await;
    lease_is_true(cluster).await;
}
