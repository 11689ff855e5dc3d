//! Watches that survive the death of leaders, and writes that are sent again under their key.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use leasehold_e2e::{
    client::{Answer, NoAnswer},
    cluster::{Cluster, Part},
    history::initial_persons,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use super::{all_ready, cluster_of};

const DEADLINE: Duration = Duration::from_secs(8);

/// What a watcher received: sequence and changes, in the order of arrival.
type Told = Arc<Mutex<Vec<(u64, Value)>>>;

/// Watches the pods in turn, each until it ends, resuming after the last id.
async fn watch(targets: Vec<SocketAddr>, told: Told, over: Arc<AtomicBool>) {
    let (mut pod, mut last) = (0, 0);
    while !over.load(Ordering::Relaxed) {
        let _ = watch_one(targets[pod % targets.len()], &mut last, &told, &over).await; // the next one, then
        pod += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn watch_one(target: SocketAddr, last: &mut u64, told: &Told, over: &AtomicBool) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(target).await?;
    // HTTP/1.0 has no chunks: the lines are as they were sent.
    let request = format!("GET /persons:watch HTTP/1.0\r\nhost: localhost\r\nlast-event-id: {last}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut lines = BufReader::new(stream).lines();
    let status = lines.next_line().await?.context("no answer")?;
    ensure!(status.contains(" 200 "), "{status}");
    let mut id = *last;
    while !over.load(Ordering::Relaxed) {
        let Ok(line) = tokio::time::timeout(Duration::from_millis(200), lines.next_line()).await else { continue };
        let line = line?.context("the stream ended")?;
        if let Some(number) = line.strip_prefix("id: ") {
            id = number.parse()?;
        } else if line.starts_with("event: end") {
            return Ok(());
        } else if let Some(data) = line.strip_prefix("data: ") {
            let data: Value = serde_json::from_str(data)?;
            assert_eq!(data["sequence"], id, "{data}");
            told.lock().unwrap().push((id, data["changes"].clone()));
            *last = id;
        } else if line.is_empty() {
            *last = id.max(*last);
        }
    }
    Ok(())
}

/// The content after applying the changes to nothing. Each must fit: nothing was left out, nothing arrived twice.
fn replay(told: &[(u64, Value)]) -> BTreeMap<String, Value> {
    let mut persons: BTreeMap<String, Value> = BTreeMap::new();
    let mut last = 0;
    for (sequence, changes) in told {
        assert!(*sequence > last, "{sequence} came after {last}");
        last = *sequence;
        for change in changes.as_array().unwrap() {
            let id = change["id"].as_str().unwrap().to_owned();
            let before = match change["change"].as_str().unwrap() {
                "created" => (persons.insert(id, change["record"].clone()), false),
                "replaced" => (persons.insert(id, change["record"].clone()), true),
                "deleted" => (persons.remove(&id), true),
                other => panic!("{other}"),
            };
            assert_eq!(before.0.is_some(), before.1, "at {sequence}: {change} does not fit what came before");
        }
    }
    persons
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_goes_on_over_killed_leaders_misses_nothing_and_sees_nothing_twice() {
    let setting = cluster_of(3).await;
    let targets: Vec<SocketAddr> = (0..3).map(|pod| setting.cluster.store(pod)).collect();
    let (told, over) = (Told::default(), Arc::new(AtomicBool::new(false)));
    let watching = tokio::spawn(watch(targets, told.clone(), over.clone()));
    setting
        .under_load(async |cluster, load| {
            for _ in 0..3 {
                let leader = cluster.wait_for_leader().await.unwrap();
                cluster.kill(leader, Part::Store);
                load.progresses(cluster, 30).await.unwrap();
                all_ready(cluster).await;
            }
        })
        .await;
    let data: BTreeMap<String, Value> = setting
        .cluster
        .persons(0)
        .await
        .unwrap()
        .into_iter()
        .map(|person| (person["id"].as_str().unwrap().to_owned(), person))
        .collect();
    setting
        .cluster
        .until("the watcher has seen all", || async {
            let seen = replay(&told.lock().unwrap());
            ensure!(seen == data, "{} persons by the watch, {} by the list", seen.len(), data.len());
            Ok(())
        })
        .await
        .unwrap();
    assert!(data.len() > initial_persons().as_array().unwrap().len());
    over.store(true, Ordering::Relaxed);
    watching.await.unwrap();
}

async fn post_keyed(cluster: &Cluster, pod: u16, key: &str, body: &Value) -> Result<Answer, NoAnswer> {
    let request = Request::post(format!("http://{}/persons", cluster.store(pod)))
        .header("content-type", "application/json")
        .header("idempotency-key", format!("\"{key}\""))
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    cluster.http().send_as_is(request, DEADLINE).await
}

/// Sends it until a pod reports it done.
async fn until_done(cluster: &Cluster, key: &str, body: &Value) -> Answer {
    let again = || async move {
        for pod in 0..3 {
            match post_keyed(cluster, pod, key, body).await {
                Ok(answer) if answer.status == 201 => return Ok(answer),
                Ok(answer) if matches!(answer.status, 421 | 503 | 504) => {}
                Ok(answer) => panic!("{} {}", answer.status, answer.text()),
                Err(_) => {}
            }
        }
        anyhow::bail!("nobody has done it")
    };
    cluster.until("the write is done", again).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_is_sent_again_under_its_key_over_a_change_of_leader_makes_one_record() {
    let setting = cluster_of(3).await;
    let cluster = &setting.cluster;
    let mut answers = Vec::new();
    for turn in 0..6 {
        let (key, body) = (format!("key {turn}"), json!({"firstName": "Once", "lastName": format!("turn {turn}")}));
        let leader = cluster.wait_for_leader().await.unwrap();
        // The leader dies while it has the write, or a moment before or after that.
        let kill = async {
            tokio::time::sleep(Duration::from_micros(400 * turn)).await;
            cluster.kill(leader, Part::Store);
        };
        let (_, ()) = tokio::join!(post_keyed(cluster, leader, &key, &body), kill);
        let done = until_done(cluster, &key, &body).await;
        let again = until_done(cluster, &key, &body).await;
        assert_eq!((done.body.clone(), done.sequence()), (again.body.clone(), again.sequence()));
        let person = done.json();
        setting.history.acknowledged(leader, person["id"].as_str().unwrap(), Some(person.clone()), None);
        answers.push((key, body, done));
        all_ready(cluster).await;
    }
    cluster.kill_all();
    all_ready(cluster).await;
    let leader = cluster.wait_for_leader().await.unwrap();
    for (key, body, done) in answers {
        let again = until_done(cluster, &key, &body).await;
        assert_eq!((again.body.clone(), again.sequence()), (done.body.clone(), done.sequence()), "{key}");
        let other = post_keyed(cluster, leader, &key, &json!({"firstName": "Other", "lastName": "One"})).await.unwrap();
        assert_eq!(other.status, 422, "{}", other.text());
        let last_name = body["lastName"].as_str().unwrap();
        let persons = cluster.persons(leader).await.unwrap();
        assert_eq!(persons.iter().filter(|person| person["lastName"] == last_name).count(), 1, "{last_name}");
    }
    setting.converges().await;
}
