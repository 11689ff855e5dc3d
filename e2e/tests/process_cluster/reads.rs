//! Reads that must not be stale: strong ones on every pod, those after a sequence, and pages, while leaders die.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::ensure;
use http::Method;
use leasehold_e2e::{
    client::{Answer, Http},
    cluster::{Part, Signal},
    history::History,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{Setting, all_ready, cluster_of};

const DEADLINE: Duration = Duration::from_secs(8);

/// The last write that was acknowledged: its id and sequence.
type Acknowledged = Arc<Mutex<Option<(String, u64)>>>;

/// Writes one person after the other, to any pod that accepts it, until stopped.
async fn write(targets: Vec<SocketAddr>, history: History, last: Acknowledged, over: Arc<AtomicBool>) {
    let http = Http::default();
    let mut pod = 0;
    while !over.load(Ordering::Relaxed) {
        let id = uuid::Uuid::new_v4().to_string();
        let person = json!({"firstName": "Strong", "lastName": "Read", "id": id});
        let outcome = http.send(Method::POST, targets[pod], "/persons", Some(&person), DEADLINE).await;
        match outcome {
            Ok(answer) if answer.status == 201 => {
                let sequence = answer.sequence();
                *last.lock().unwrap() = Some((id.clone(), sequence.unwrap()));
                history.acknowledged(pod as u16, &id, Some(person), sequence);
                continue;
            }
            Ok(answer) if matches!(answer.status, 421 | 503) => history.refused(&id),
            _ => history.unknown(&id, Some(person)),
        }
        pod = (pod + 1) % targets.len();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Reads at one pod what was acknowledged before, strongly. How often it was answered.
async fn read(target: SocketAddr, last: Acknowledged, answered: Arc<AtomicU64>, over: Arc<AtomicBool>) {
    let http = Http::default();
    while !over.load(Ordering::Relaxed) {
        let Some((id, sequence)) = last.lock().unwrap().clone() else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let path = format!("/persons/{id}?consistency=strong&timeout=2s");
        let Ok(answer) = http.send(Method::GET, target, &path, None, DEADLINE).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        match answer.status {
            200 => {
                let seen = answer.sequence().unwrap();
                assert!(seen >= sequence, "{target} answered from {seen}, {sequence} was acknowledged before");
                answered.fetch_add(1, Ordering::Relaxed);
            }
            503 => tokio::time::sleep(Duration::from_millis(5)).await,
            _ => panic!("{target}: {id} was acknowledged at {sequence}, and then: {} {}", answer.status, answer.text()),
        }
    }
}

/// All pods answer strong reads, some more of them.
async fn reads_go_on(setting: &Setting, answered: &[Arc<AtomicU64>]) {
    let before: Vec<u64> = answered.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    let more = || async {
        for (pod, (count, before)) in answered.iter().zip(&before).enumerate() {
            ensure!(count.load(Ordering::Relaxed) >= before + 20, "pod {pod} answers no strong reads");
        }
        Ok(())
    };
    setting.cluster.until("all pods answer strong reads", more).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strong_reads_on_every_pod_are_never_stale_while_leaders_die_and_freeze() {
    let setting = cluster_of(3).await;
    let cluster = &setting.cluster;
    let (over, last) = (Arc::new(AtomicBool::new(false)), Acknowledged::default());
    let targets: Vec<SocketAddr> = (0..3).map(|pod| cluster.store(pod)).collect();
    let mut tasks: Vec<JoinHandle<()>> = Vec::new();
    tasks.push(tokio::spawn(write(targets.clone(), setting.history.clone(), last.clone(), over.clone())));
    let answered: Vec<Arc<AtomicU64>> = targets.iter().map(|_| Arc::default()).collect();
    for (target, answered) in targets.iter().zip(&answered) {
        tasks.push(tokio::spawn(read(*target, last.clone(), answered.clone(), over.clone())));
    }
    reads_go_on(&setting, &answered).await;
    for _ in 0..2 {
        let leader = cluster.wait_for_leader().await.unwrap();
        cluster.kill(leader, Part::Store);
        cluster.wait_for_leader_other_than(Some(leader)).await.unwrap();
        all_ready(cluster).await;
        reads_go_on(&setting, &answered).await;
    }
    // A leader that wakes believes that it still leads, and is asked at once.
    let leader = cluster.wait_for_leader().await.unwrap();
    cluster.signal(leader, Part::Store, Signal::STOP);
    cluster.wait_for_leader_other_than(Some(leader)).await.unwrap();
    let written = last.lock().unwrap().clone();
    cluster
        .until("the new leader acknowledges writes", || async {
            ensure!(*last.lock().unwrap() != written);
            Ok(())
        })
        .await
        .unwrap();
    cluster.signal(leader, Part::Store, Signal::CONT);
    reads_go_on(&setting, &answered).await;
    over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    eprintln!("strong reads: {:?}, {:?}", answered, setting.history.counts());
    setting.converges().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_after_the_sequence_of_a_write_sees_it_on_every_pod() {
    let setting = cluster_of(3).await;
    let cluster = &setting.cluster;
    let leader = cluster.wait_for_leader().await.unwrap();
    for turn in 0..100 {
        let id = uuid::Uuid::new_v4().to_string();
        let person = json!({"firstName": format!("turn {turn}"), "lastName": "After", "id": id});
        let made = send(&setting, leader, Method::POST, "/persons", Some(&person)).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let sequence = made.sequence().unwrap();
        setting.history.acknowledged(leader, &id, Some(person.clone()), Some(sequence));
        for pod in 0..3 {
            let path = format!("/persons/{id}?after={sequence}");
            let found = send(&setting, pod, Method::GET, &path, None).await;
            assert_eq!((found.status, found.json()), (200, person.clone()), "pod {pod}");
        }
    }
    let ahead = send(&setting, 0, Method::GET, "/persons?after=1000000&timeout=100ms", None).await;
    assert_eq!(ahead.status, 409, "{}", ahead.text());
    assert!(ahead.text().contains("urn:leasehold:ahead"), "{}", ahead.text());
    setting.converges().await;
}

async fn send(setting: &Setting, pod: u16, method: Method, path: &str, body: Option<&Value>) -> Answer {
    setting.cluster.http().send(method, setting.cluster.store(pod), path, body, DEADLINE).await.unwrap()
}

/// All pages, each from the next pod. The ids, in their order.
async fn pages(setting: &Setting) -> Vec<String> {
    let (mut ids, mut next, mut pod) = (Vec::new(), Some("/persons?limit=7".to_owned()), 0);
    while let Some(path) = next {
        let page = send(setting, pod % 3, Method::GET, &path, None).await;
        pod += 1;
        if page.status == 503 {
            next = Some(path); // a pod that restarts; the cursor is good on any other one
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        assert_eq!(page.status, 200, "{}", page.text());
        ids.extend(page.json().as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()));
        let link = page.headers.get("link").map(|link| link.to_str().unwrap().to_owned());
        next = link.map(|link| link[1..link.find('>').unwrap()].to_owned());
    }
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_taken_from_all_pods_while_others_write_and_the_leader_changes_hold_everything_once() {
    let setting = cluster_of(3).await;
    let leader = setting.cluster.wait_for_leader().await.unwrap();
    let mut kept: Vec<String> = Vec::new();
    for person in setting.cluster.persons(leader).await.unwrap() {
        kept.push(person["id"].as_str().unwrap().to_owned());
    }
    for _ in 0..60 {
        let id = uuid::Uuid::new_v4().to_string();
        let person = json!({"firstName": "Stays", "lastName": "Here", "id": id});
        let made = send(&setting, leader, Method::POST, "/persons", Some(&person)).await;
        assert_eq!(made.status, 201, "{}", made.text());
        setting.history.acknowledged(leader, &id, Some(person), made.sequence());
        kept.push(id);
    }
    setting
        .under_load(async |cluster, load| {
            for turn in 0..6 {
                if turn == 3 {
                    // By SIGTERM of its pod: no page may fail for another reason than 503.
                    let leader = cluster.wait_for_leader().await.unwrap();
                    cluster.delete_pod(leader).unwrap();
                    cluster.wait_for_leader_other_than(Some(leader)).await.unwrap();
                    all_ready(cluster).await;
                }
                let ids = pages(&setting).await;
                let unique: BTreeSet<&String> = ids.iter().collect();
                assert_eq!(unique.len(), ids.len(), "a record is on two pages");
                let found: Vec<&String> = ids.iter().filter(|id| kept.contains(id)).collect();
                assert_eq!(found, kept.iter().collect::<Vec<_>>(), "what stays is there, in the order of creation");
                load.progresses(cluster, 20).await.unwrap();
            }
        })
        .await;
}
