//! The program `backup` beside a cluster: what its archive has when everything else is lost, and the cluster that begins from it.

mod agents;
mod pages;
mod secured;
mod truth;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use leasehold_e2e::{
    archive::{Agent, Archive},
    client::{Answer, Http},
    cluster::{Cluster, Config, Part, Signal},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use self::truth::{Data, Truth};
use super::{CLUSTERS, all_ready};

/// Definitions and first records, as the chart's values give them to each install.
const TENANTS: &str = r#"{"tenants": {"id": "string", "expires": "/until",
    "indexes": [{"fields": ["/email"], "unique": true}, {"fields": ["/plan", {"path": "/seats", "type": "number"}]}]}}"#;

/// A cluster with a collection of its own, in which each e-mail is there once.
fn config(collections: &Path) -> Config {
    std::fs::write(collections, TENANTS).unwrap();
    let mut config = Config::for_tests(3).unwrap();
    config.initial_data = Some(json!({"tenants": [{"id": "first", "email": "first@example.org", "plan": "free"}]}));
    config.store_args.extend(["--collections-file".to_owned(), collections.display().to_string()]);
    config
}

async fn with_tenants(files: &Path) -> super::Setting {
    let permit = CLUSTERS.acquire().await.unwrap();
    let cluster = Cluster::start(config(&files.join("collections.json"))).unwrap();
    all_ready(&cluster).await;
    super::Setting { cluster, history: leasehold_e2e::history::History::default(), _permit: permit }
}

async fn cluster_id(cluster: &Cluster) -> String {
    let ask = || async {
        let status = cluster.http().get_json(cluster.store(0), "/api/status").await?;
        Ok(status["clusterId"].as_str().context("no clusterId")?.to_owned())
    };
    cluster.until("the cluster has an id", ask).await.unwrap()
}

/// A request to the present leader, again until it is decided.
async fn at_leader(cluster: &Cluster, method: Method, path: &str, body: &Value) -> Answer {
    cluster
        .until("a leader decides it", || async {
            let (leader, _) = cluster.leader().await.context("nobody leads")?;
            let request = Request::builder().method(method.clone()).header("content-type", "application/json");
            let request = request.uri(format!("http://{}{path}", cluster.store(leader)));
            let request = request.body(Full::new(Bytes::from(body.to_string())))?;
            let answer = cluster.http().send_as_is(request, Duration::from_secs(8)).await?;
            ensure!(answer.status < 500 && answer.status != 421, "{}: {}", answer.status, answer.text());
            Ok(answer)
        })
        .await
        .unwrap()
}

/// All pods have exactly these records.
async fn has(cluster: &Cluster, wanted: &Data) {
    cluster
        .until("all pods have the archive's records", || async {
            for i in 0..cluster.wanted() {
                for (collection, records) in wanted {
                    let path = format!("/{collection}?consistency=strong");
                    let found = cluster.http().get_json(cluster.store(i), &path).await?;
                    let found = found.as_array().with_context(|| format!("no list: {found}"))?;
                    let found: BTreeMap<String, Value> = found
                        .iter()
                        .map(|one| (one["id"].as_str().unwrap_or_default().to_owned(), one.clone()))
                        .collect();
                    let other = records.iter().find(|(id, record)| found.get(*id) != Some(record));
                    ensure!(other.is_none(), "pod {i} lacks {other:?} in {collection}");
                    ensure!(
                        found.len() == records.len(),
                        "pod {i}: {} {collection}, not {}",
                        found.len(),
                        records.len()
                    );
                }
            }
            Ok(())
        })
        .await
        .unwrap();
}

/// A client that creates tenants, one after the other, until it is stopped.
struct Writer {
    /// The sequence of each acknowledged one, and when the answer came.
    acknowledged: Arc<Mutex<BTreeMap<u64, (Instant, String)>>>,
    over: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Writer {
    fn start(cluster: &Cluster) -> Writer {
        let stores: Vec<_> = (0..cluster.wanted()).map(|i| cluster.store(i)).collect();
        let (acknowledged, over): (Arc<Mutex<BTreeMap<_, _>>>, Arc<AtomicBool>) = (Arc::default(), Arc::default());
        let task = tokio::spawn({
            let (acknowledged, over) = (Arc::clone(&acknowledged), Arc::clone(&over));
            async move {
                let (http, mut pod) = (Http::default(), 0);
                for number in 0_u64.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let id = format!("tenant-{number}");
                    let record =
                        json!({"id": id, "email": format!("{number}@example.org"), "plan": "paid", "seats": number});
                    let deadline = Duration::from_secs(8);
                    match http.send(Method::POST, stores[pod], "/tenants", Some(&record), deadline).await {
                        Ok(answer) if answer.status == 201 => {
                            let sequence = answer.sequence().unwrap();
                            acknowledged.lock().unwrap().insert(sequence, (Instant::now(), id));
                        }
                        _ => {
                            pod = (pod + 1) % stores.len();
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                }
            }
        });
        Writer { acknowledged, over, task }
    }

    /// The last one that was acknowledged.
    fn last(&self) -> u64 {
        self.acknowledged.lock().unwrap().keys().next_back().copied().unwrap_or(0)
    }

    /// Waits for some more.
    async fn progresses(&self, cluster: &Cluster, more: usize) {
        let goal = self.acknowledged.lock().unwrap().len() + more;
        cluster
            .until("writes are acknowledged", || async {
                let now = self.acknowledged.lock().unwrap().len();
                ensure!(now >= goal, "{now}, not {goal}");
                Ok(())
            })
            .await
            .unwrap();
    }

    async fn stop(self) -> BTreeMap<u64, (Instant, String)> {
        self.over.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        std::mem::take(&mut *self.acknowledged.lock().unwrap())
    }
}

/// Kills the leader's store, and waits until another term has begun.
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

/// What is left of a cluster that was destroyed.
struct Left {
    archive: Archive,
    cluster_id: String,
    /// The last entry of the archive.
    end: u64,
    /// What the data was then.
    data: Data,
}

/// A cluster under load, whose leaders die and whose agent does; then all processes are killed, and all volumes are gone.
async fn all_is_lost_but_the_archive(files: &Path) -> Left {
    let archive = Archive::at(&files.join("archive")).unwrap();
    let setting = with_tenants(files).await;
    let cluster = &setting.cluster;
    let truth = Truth::watch(cluster);
    let cluster_id = cluster_id(cluster).await;
    let agent = archive.agent(cluster, 0, &["--changes-every", "1s", "--full-every", "24h"]).unwrap();
    let writer = Writer::start(cluster);
    let load = setting.load().await;
    agent.has(cluster, writer.last()).await.unwrap();
    for turn in 0..3 {
        kill_leader(cluster).await;
        writer.progresses(cluster, 20).await;
        if turn == 1 {
            agent.kill();
        }
        let orders = json!({"id": "string", "indexes": [{"fields": ["/tenant"]}]});
        let defined = at_leader(cluster, Method::PUT, &format!("/api/collections/orders-{turn}"), &orders).await;
        assert!([200, 201].contains(&defined.status), "{}", defined.text());
        let made = at_leader(cluster, Method::PUT, &format!("/orders-{turn}/one"), &json!({"tenant": "first"})).await;
        assert!([200, 201].contains(&made.status), "{}", made.text());
        agent.has(cluster, made.sequence().unwrap()).await.unwrap();
    }
    let dropped = at_leader(cluster, Method::DELETE, "/api/collections/orders-0?records=delete", &Value::Null).await;
    assert!([204, 404].contains(&dropped.status), "{}", dropped.text());
    writer.progresses(cluster, 20).await;
    let had = writer.last();
    agent.has(cluster, had).await.unwrap();
    writer.progresses(cluster, 5).await;

    agent.end(Signal::KILL).unwrap();
    let lost = Instant::now();
    let end = archive.end(&cluster_id).unwrap();
    truth.knows(cluster, end).await;
    for i in 0..3 {
        cluster.kill_and_hold(i, Part::Store).unwrap();
    }
    truth.stop();
    load.stop().await.unwrap();
    let acknowledged = writer.stop().await;
    assert!(end >= had, "the agent had {had}, the archive ends at {end}");
    let missing: Vec<_> = acknowledged.range(end + 1..).filter(|(_, (at, _))| *at < lost).collect();
    let oldest = missing.first().map(|(_, (at, _))| lost.duration_since(*at));
    eprintln!("lost: {} of {} acknowledged writes, the oldest {oldest:?} old", missing.len(), acknowledged.len());
    let data = truth.at(end);
    for (_, id) in acknowledged.range(..=end).map(|(_, one)| one) {
        assert!(data["tenants"].contains_key(id), "{id} was acknowledged, and the watch did not say so");
    }
    assert!(!data.contains_key("orders-0") && data.contains_key("orders-2"), "{:?}", data.keys());
    drop(agent);
    Left { archive, cluster_id, end, data }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_begins_from_the_archive_with_all_that_it_had_and_stays_one_when_restore_is_left_in_place() {
    let files = tempfile::tempdir().unwrap();
    let Left { archive, cluster_id: old, end, mut data } = all_is_lost_but_the_archive(files.path()).await;
    archive.run("verify", &[]).unwrap();
    archive.run("drill", &[]).unwrap();

    // The same values as ever: its initial data and its file of definitions are there, too.
    let mut config = config(&files.path().join("collections.json"));
    config.restore = Some(archive.prepares("latest").unwrap());
    let setting = super::Setting {
        _permit: CLUSTERS.acquire().await.unwrap(),
        cluster: Cluster::start(config).unwrap(),
        history: leasehold_e2e::history::History::default(),
    };
    let cluster = &setting.cluster;
    all_ready(cluster).await;
    has(cluster, &data).await;
    let new = cluster_id(cluster).await;
    assert_ne!(new, old);
    old_watches_are_refused(cluster, &old, end).await;
    rules_hold(cluster, end).await;
    expiry_waits_for_a_person(cluster).await;

    // What is written now is no part of the archive; and the archive is away.
    let made = json!({"id": "later", "email": "later@example.org", "plan": "free", "seats": 1});
    let answer = at_leader(cluster, Method::PUT, "/tenants/later", &made).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    data.get_mut("tenants").unwrap().insert("later".to_owned(), made);
    let away = files.path().join("away");
    std::fs::rename(archive.folder(), &away).unwrap();
    cluster.kill_all();
    all_ready(cluster).await;
    has(cluster, &data).await;
    cluster.wipe_volume(0).unwrap();
    all_ready(cluster).await;
    has(cluster, &data).await;
    assert_eq!(cluster_id(cluster).await, new);
    std::fs::rename(&away, archive.folder()).unwrap();

    // Its own archive stands beside the old one, which stays as it is.
    let before = listing(&archive.folder().join(&old));
    let agent = archive.agent(cluster, 0, &["--changes-every", "1s"]).unwrap();
    agent.has(cluster, answer.sequence().unwrap()).await.unwrap();
    assert_eq!(listing(&archive.folder().join(&old)), before);
    archive.run("verify", &["--cluster-id", &new, "--all"]).unwrap();
    archive.run("verify", &["--cluster-id", &old, "--all"]).unwrap();
    let two = archive.run("verify", &[]).unwrap_err().to_string();
    assert!(two.contains(&new) && two.contains(&old), "{two}");
}

/// All objects of a cluster, with their sizes.
fn listing(folder: &Path) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for kind in ["full", "changes"] {
        for entry in std::fs::read_dir(folder.join(kind)).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{kind}/{}", entry.file_name().to_string_lossy());
            found.insert(name, entry.metadata().unwrap().len());
        }
    }
    found
}

async fn old_watches_are_refused(cluster: &Cluster, old: &str, end: u64) {
    for i in 0..cluster.wanted() {
        for path in ["/api/watch", "/tenants:watch"] {
            let path = format!("{path}?after={end}&cluster={old}");
            let deadline = Duration::from_secs(5);
            let answer = cluster.http().send(Method::GET, cluster.store(i), &path, None, deadline).await.unwrap();
            assert_eq!(answer.status, 409, "{path} at pod {i}: {}", answer.text());
            assert_eq!(answer.json()["type"], "urn:leasehold:other-cluster", "{}", answer.text());
        }
    }
}

/// Indexes answer, unique values are unique, and sequences go on.
async fn rules_hold(cluster: &Cluster, end: u64) {
    let twin = json!({"id": "twin", "email": "first@example.org"});
    let answer = at_leader(cluster, Method::POST, "/tenants", &twin).await;
    assert_eq!((answer.status, &answer.json()["id"]), (409, &json!("first")), "{}", answer.text());
    let path = "/tenants?where.plan=paid&where.seats.gte=3&sort=seats&limit=1";
    let answer = at_leader(cluster, Method::GET, path, &Value::Null).await;
    assert_eq!((answer.status, answer.json()[0]["seats"].as_u64()), (200, Some(3)), "{}", answer.text());
    let answer = at_leader(cluster, Method::PUT, "/orders-1/another", &json!({"tenant": "first"})).await;
    assert!(answer.status == 201 && answer.sequence() > Some(end), "{} {:?}", answer.text(), answer.sequence());
    let answer = at_leader(cluster, Method::DELETE, "/orders-1/another", &Value::Null).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
}

/// Yesterday's sessions do not go at once.
async fn expiry_waits_for_a_person(cluster: &Cluster) {
    let leader = cluster.wait_for_leader().await.unwrap();
    let is_paused = async |wanted: &str| {
        cluster
            .until("the metric says whether expiry is paused", || async {
                let text = cluster.http().get(cluster.store(leader), "/metrics").await?.text();
                let line = text.lines().find(|line| line.starts_with("leasehold_store_expiry_paused"));
                ensure!(line.is_some_and(|line| line.ends_with(wanted)), "{line:?}");
                Ok(())
            })
            .await
            .unwrap();
    };
    is_paused(" 1").await;
    let answer = at_leader(cluster, Method::PUT, "/api/expiry", &json!({"paused": false})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    is_paused(" 0").await;
}

/// An agent that has all of a cluster's writes so far.
async fn agent_of(cluster: &Cluster, archive: &Archive, number: u16, args: &[&str]) -> Agent {
    let agent = archive.agent(cluster, number, args).unwrap();
    agent.has(cluster, 1).await.unwrap();
    agent
}
