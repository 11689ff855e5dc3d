//! Clusters whose replicas share a key and speak TLS: strangers, and keys and certificates that change while clients write; and
//! what clients may do: by their tokens, and pages of other origins.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use leasehold_e2e::client::Answer;
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

pub(super) fn write(folder: &Path, name: &str, text: &str) {
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
    said(format!("127.0.0.1:{}", cluster.ports().peer(i)), words).await
}

async fn said(address: impl tokio::net::ToSocketAddrs, words: &str) -> String {
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
pub(super) struct Authority(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

impl Authority {
    pub(super) fn new() -> Authority {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Authority(rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(super) fn issue(&self, folder: &Path) {
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
    write(folder.path(), "ca.crt", &old.pem());
    old.issue(folder.path());
    let setting = cluster_with_flags(folder.path(), &["--peer-key", "--peer-tls"]).await;
    let cluster = &setting.cluster;
    let certificates = |trust: &Value| trust["certificates"].as_array().cloned().unwrap_or_default();

    let leader = cluster.wait_for_leader().await.unwrap();
    let plain = say(cluster, leader, "GET /v1/state HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(plain.starts_with("HTTP/1.1 401") && plain.contains("TLS"), "{plain}");

    unnoticed(cluster, async || {
        // First everybody trusts both, then everybody shows a certificate of the new one, then the old one goes.
        write(folder.path(), "ca.crt", &format!("{}{}", old.pem(), new.pem()));
        all_have(cluster, "all trust both", |trust| certificates(trust).len() == 3).await;
        let status = cluster.http().get_json(cluster.store(leader), "/api/status").await.unwrap();
        let before = certificates(&status["peerTrust"])[0].clone();
        new.issue(folder.path());
        all_have(cluster, "all show the new one", |trust| certificates(trust)[0] != before).await;
        write(folder.path(), "ca.crt", &new.pem());
        all_have(cluster, "all trust the new one alone", |trust| certificates(trust).len() == 2).await;
    })
    .await;
    setting.under_load(async |cluster, _| cluster.kill_all()).await;
    setting.all_ready().await;
    lease_is_true(cluster).await;
}

/// The files of `--api-tokens`, each with a token of its own.
pub(super) fn token(file: &str) -> String {
    format!("0123456789-a-token-of-{file}")
}

/// A request with a token, to a pod; again until it is decided.
async fn ask(cluster: &Cluster, pod: u16, token: &str, call: (Method, &str), body: &Value) -> Answer {
    let (method, path) = call;
    cluster
        .until("the pod answers", || async {
            let request = Request::builder().method(&method).uri(format!("http://{}{path}", cluster.store(pod)));
            let request = request.header("authorization", format!("Bearer {token}"));
            let request = request.header("content-type", "application/json");
            let request = request.body(Full::new(Bytes::from(body.to_string())))?;
            let answer = cluster.http().send_as_is(request, Duration::from_secs(8)).await?;
            ensure!(answer.status < 500 && answer.status != 421, "{}: {}", answer.status, answer.text());
            Ok(answer)
        })
        .await
        .unwrap()
}

/// An open watch, by hand, and what it has said.
struct Watch(tokio::net::TcpStream, String);

impl Watch {
    async fn open(cluster: &Cluster, pod: u16, token: &str, path: &str) -> Watch {
        let mut stream = tokio::net::TcpStream::connect(cluster.store(pod)).await.unwrap();
        let head = format!("GET {path} HTTP/1.0\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        Watch(stream, String::new())
    }

    async fn until_it_says(&mut self, word: &str) {
        while !self.1.contains(word) {
            let mut piece = [0; 4096];
            let read = tokio::time::timeout(Duration::from_secs(20), self.0.read(&mut piece)).await;
            let count = read.unwrap_or_else(|_| panic!("it does not say {word}: {}", self.1)).unwrap();
            assert!(count > 0, "it ended without {word}: {}", self.1);
            self.1.push_str(&String::from_utf8_lossy(&piece[..count]));
        }
    }
}

/// A write goes through the guards of two pods where the first one follows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_of_collections_mean_the_same_on_every_pod_and_are_changed_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["read", "write", "admin", "backup", "write.orders", "read.users"] {
        write(folder.path(), file, &token(file));
    }
    let mut config = Config::for_tests(3).unwrap();
    let flags = ["--api-tokens", &folder.path().display().to_string(), "--follower-writes", "forward"];
    config.store_args.extend(flags.map(str::to_owned));
    let _permit = crate::CLUSTERS.acquire().await.unwrap();
    let cluster = &Cluster::start(config).unwrap();
    let nothing = json!({});

    for (pod, name) in [(0, "orders"), (1, "users")] {
        let path = format!("/api/collections/{name}");
        let definition = json!({"id": "string"});
        let refused = ask(cluster, pod, &token("write"), (Method::PUT, &path), &definition).await;
        assert_eq!(refused.status, 403, "{}", refused.text());
        let made = ask(cluster, pod, &token("admin"), (Method::PUT, &path), &definition).await;
        assert_eq!(made.status, 201, "{}", made.text());
    }
    let check = json!({"op": "check", "collection": "users", "id": "u", "ifNoneMatch": "*"});
    let put = json!({"op": "put", "collection": "orders", "id": "t", "record": {}});
    let both = json!({"operations": [put, check]});
    for pod in 0..3 {
        for (file, method, path, body, status) in [
            ("write.orders", Method::PUT, "/orders/a", &nothing, &[200, 201][..]),
            ("write.orders", Method::PUT, "/%6Frders/a", &nothing, &[200, 201]),
            ("write.orders", Method::PUT, "/users/a", &nothing, &[403]),
            ("write.orders", Method::GET, "/users/a", &nothing, &[403]),
            ("write.orders", Method::PUT, "/api/collections/orders", &nothing, &[403]),
            ("write.orders", Method::POST, "/api/transaction", &both, &[403]),
            ("write", Method::POST, "/api/transaction", &both, &[200]),
            ("read.users", Method::DELETE, "/users/a", &nothing, &[403]),
            ("read.users", Method::GET, "/metrics", &nothing, &[403]),
            ("backup", Method::GET, "/orders", &nothing, &[403]),
            ("nobody", Method::GET, "/orders", &nothing, &[401]),
        ] {
            let answer = ask(cluster, pod, &token(file), (method.clone(), path), body).await;
            assert!(status.contains(&answer.status), "pod {pod}, {file}: {method} {path}: {}", answer.text());
        }
    }

    let mut watch = Watch::open(cluster, 2, &token("read.users"), "/api/watch?after=0").await;
    let mut all = Watch::open(cluster, 2, &token("backup"), "/api/watch?after=0").await;
    ask(cluster, 0, &token("write"), (Method::PUT, "/users/first"), &nothing).await;
    watch.until_it_says("\"first\"").await;
    all.until_it_says("\"first\"").await;
    assert!(!watch.1.contains("orders") && all.1.contains("\"orders\""), "{}", watch.1);

    // The kubelet's way: whole, in one step. The watch that is open goes on.
    write(folder.path(), "read.users", &token("new"));
    for pod in 0..3 {
        cluster
            .until("the new token is known, and the old one is not", || async move {
                let old = ask(cluster, pod, &token("read.users"), (Method::GET, "/users"), &json!({})).await.status;
                let new = ask(cluster, pod, &token("new"), (Method::GET, "/users"), &json!({})).await.status;
                ensure!((old, new) == (401, 200), "{old}, {new}");
                Ok(())
            })
            .await
            .unwrap();
    }
    ask(cluster, 1, &token("write"), (Method::PUT, "/users/last"), &nothing).await;
    watch.until_it_says("\"last\"").await;
}

/// As a page does it whose name leads to a port of its reader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_with_a_name_of_its_own_gets_nothing_and_one_of_a_named_host_everything() {
    let mut config = Config::for_tests(3).unwrap();
    let flags = ["--api-hosts", "db.example.com,*.db-service.ns.svc.cluster.local", "--follower-writes", "forward"];
    config.store_args.extend(flags.map(str::to_owned));
    let setting = cluster_with(config).await;
    let cluster = &setting.cluster;
    let leader = cluster.wait_for_leader().await.unwrap();
    let person = r#"{"firstName": "Ada", "lastName": "Lovelace"}"#;
    for pod in 0..3 {
        for (host, fields, status) in [
            ("db.example.com:8089", "", 201),
            ("db-1.db-service", "", 201),
            ("db.example.com", "origin: http://db.example.com\r\n", 201),
            ("evil.example", "", 403),
            ("evil.example", "origin: http://evil.example\r\n", 403),
            ("localhost", "origin: http://evil.example\r\n", 403),
            ("localhost", "sec-fetch-site: cross-site\r\n", 403),
        ] {
            let answer = said(
                cluster.store(pod),
                &format!(
                    "POST /persons HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-type: application/json\r\n\
                     content-length: {}\r\n{fields}\r\n{person}",
                    person.len()
                ),
            )
            .await;
            let what = format!("pod {pod} (leader: {leader}), {host}, {fields}: {answer}");
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}");
            assert!(answer.contains("x-content-type-options: nosniff\r\n"), "{what}");
        }
    }
}
