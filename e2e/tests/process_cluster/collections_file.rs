//! The file of definitions: leaders that are killed while they apply it, what an administrator changes later, and an update.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use leasehold_api::Kind;
use leasehold_e2e::client::Answer;
use leasehold_e2e::cluster::{Cluster, Config, Part};
use serde_json::{Value, json};

use crate::{all_ready, cluster_with};

/// So many that a leader is killed between two of them.
const MANY: usize = 400;

fn name(number: usize) -> String {
    format!("c{number:03}")
}

fn write(file: &Path, definitions: &BTreeMap<String, Value>) {
    std::fs::write(file, serde_json::to_string_pretty(definitions).unwrap()).unwrap();
}

/// All definitions, as a pod that leads has them.
async fn defined(cluster: &Cluster) -> anyhow::Result<BTreeMap<String, Value>> {
    let (leader, _) = cluster.leader().await.context("nobody leads")?;
    let all = cluster.http().get_json(cluster.store(leader), "/api/collections?consistency=strong").await?;
    let all = all.as_array().context("no array")?.iter();
    Ok(all.map(|one| (one["name"].as_str().unwrap_or_default().to_owned(), one.clone())).collect())
}

/// What the leader says of its file.
async fn file_at_leader(cluster: &Cluster) -> anyhow::Result<Value> {
    let (leader, _) = cluster.leader().await.context("nobody leads")?;
    let status = cluster.http().get_json(cluster.store(leader), "/api/status").await?;
    Ok(status["collectionsFile"].clone())
}

async fn is_applied(cluster: &Cluster) {
    cluster
        .until("the file is applied", || async {
            let file = file_at_leader(cluster).await?;
            ensure!(file["applied"] == true, "{file}");
            Ok(())
        })
        .await
        .unwrap();
}

async fn ask(cluster: &Cluster, method: Method, path: &str, body: &Value) -> Answer {
    cluster
        .until("a leader decides it", || async {
            let (leader, _) = cluster.leader().await.context("nobody leads")?;
            let request = Request::builder().method(method.clone()).header("content-type", "application/json");
            let request = request.uri(format!("http://{}{path}", cluster.store(leader)));
            let request = request.body(Full::new(Bytes::from(body.to_string())))?;
            let answer = cluster.http().send_as_is(request, std::time::Duration::from_secs(8)).await?;
            ensure!(answer.status < 500 && answer.status != 421, "{}: {}", answer.status, answer.text());
            Ok(answer)
        })
        .await
        .unwrap()
}

/// Kills the leader's store, and waits for a later term: the same pod may lead again, if it is back before the others have
/// decided.
async fn kill_leader(cluster: &Cluster) {
    let leader = || async { cluster.leader().await.context("nobody leads") };
    let (pod, term) = cluster.until("a pod leads", leader).await.unwrap();
    cluster.kill(pod, Part::Store);
    cluster
        .until("a pod leads in a later term", || async {
            let (_, later) = cluster.leader().await.context("nobody leads")?;
            ensure!(later > term, "still in term {term}");
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_definitions_is_applied_once_by_leaders_that_die_and_by_pods_of_the_newest_revision_alone() {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("collections.json");
    let mut wanted: BTreeMap<String, Value> = (0..MANY).map(|number| (name(number), json!({"id": "string"}))).collect();
    write(&path, &wanted);
    let mut config = Config::for_tests(3).unwrap();
    config.store_args.extend(["--collections-file".to_owned(), path.display().to_string()]);
    let setting = cluster_with(config).await;
    let cluster = &setting.cluster;

    // Whoever leads while some of them are defined is killed.
    let mut killed = 0;
    while killed < 2 {
        let defined = defined(cluster).await.map_or(0, |found| found.len());
        if defined > MANY {
            break;
        }
        if defined > 1 + killed * 50 {
            kill_leader(cluster).await;
            killed += 1;
        }
    }
    eprintln!("{killed} leaders were killed between definitions");
    is_applied(cluster).await;
    let found = defined(cluster).await.unwrap();
    assert!(wanted.keys().all(|name| found.contains_key(name)), "{} of {MANY}", found.len());

    // What an administrator does later stays, whoever leads.
    let put = ask(cluster, Method::PUT, "/api/collections/c000", &json!({"id": "string", "maxRecords": 7})).await;
    assert_eq!(put.status, 200, "{}", put.text());
    let dropped = ask(cluster, Method::DELETE, "/api/collections/c001", &Value::Null).await;
    assert_eq!(dropped.status, 204, "{}", dropped.text());
    let record = ask(cluster, Method::POST, "/c002", &json!({"id": "one", "n": "much"})).await;
    assert_eq!(record.status, 201, "{}", record.text());
    for _ in 0..2 {
        kill_leader(cluster).await;
        is_applied(cluster).await;
        let file = file_at_leader(cluster).await.unwrap();
        assert_eq!(
            (&file["definitions"]["c000"], &file["definitions"]["c001"]),
            (&json!("differs"), &json!("differs"))
        );
    }
    all_ready(cluster).await;

    // The next file, and an update that has not replaced any pod yet: they read the file when they are started again.
    wanted.insert(name(0), json!({"id": "string", "maxRecords": 9}));
    wanted.insert(name(2), json!({"id": "string", "schema": {"properties": {"n": {"type": "integer"}}}}));
    wanted.insert(name(3), json!({"id": "uuid"}));
    wanted.insert("new".to_owned(), json!({"id": "string"}));
    write(&path, &wanted);
    cluster.set_revision("e2e-2").unwrap();
    cluster
        .until("every sidecar knows the newest revision", || async {
            for i in 0..3 {
                let role = std::fs::read_to_string(cluster.shared_directory(i).join("role.json"))?;
                ensure!(role.contains("\"newestRevision\": \"e2e-2\""), "pod {i}: {role}");
            }
            Ok(())
        })
        .await
        .unwrap();
    for i in 0..3 {
        cluster.kill(i, Part::Store);
    }
    cluster
        .until("an old pod leads, and says that it leaves the file alone", || async {
            let (leader, _) = cluster.leader().await.context("nobody leads")?;
            let log = cluster.log(leader, Part::Store)?;
            ensure!(log.contains("not applying the collections file: this pod is not of the newest revision"));
            Ok(())
        })
        .await
        .unwrap();
    let found = defined(cluster).await.unwrap();
    assert!(!found.contains_key("new") && !found.contains_key("c001") && found["c000"]["maxRecords"] == 7);

    // The new pods do, but for what cannot be: that is reported, and keeps nothing else back.
    cluster.update("e2e-2").await.unwrap();
    is_applied(cluster).await;
    cluster
        .until("the leader says what was refused, and its sidecar makes an Event of it", || async {
            let (leader, _) = cluster.leader().await.context("nobody leads")?;
            let file = file_at_leader(cluster).await?;
            let states = ["c000", "c001", "c002", "c003", "new"].map(|name| file["definitions"][name].clone());
            ensure!(states == ["in-force", "in-force", "refused", "refused", "in-force"], "{states:?}");
            let metrics = cluster.http().get(cluster.store(leader), "/metrics").await?.text();
            ensure!(metrics.contains("leasehold_store_collections_file{state=\"refused\"} 2"), "{metrics}");
            let events = cluster.api().list(Kind::Event, leasehold_e2e::cluster::NAMESPACE);
            let noted = events.iter().filter(|event| event["reason"] == "DefinitionsRefused");
            let notes: Vec<String> = noted.map(|event| event["note"].to_string()).collect();
            let is_told = |note: &String| note.contains("c002: the record one does not fit") && note.contains("c003: ");
            ensure!(notes.iter().any(is_told), "{notes:?}");
            Ok(())
        })
        .await
        .unwrap();
    let found = defined(cluster).await.unwrap();
    assert_eq!((&found["c000"]["maxRecords"], &found["c002"]["count"]), (&json!(9), &json!(1)));
    setting.converges().await;
}
