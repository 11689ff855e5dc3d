//! Disks that hang: an fdatasync that does not return until it is released.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::ensure;
use http::Method;
use leasehold_e2e::{
    client::Http,
    cluster::{Cluster, Config, Disks, Machine, Part, Trouble},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Setting, all_ready, cluster_with, lease_is_true};

/// As a stall must last at least to be one, and its consequences.
const HANG: Duration = Duration::from_secs(10);
/// More than a journal lets wait, where the programs are optimized.
const MUCH_BYTES: u64 = if cfg!(debug_assertions) { 3_000_000 } else { 40_000_000 };
const BATCH_RECORDS: usize = if cfg!(debug_assertions) { 100 } else { 900 };
const HUNG: Trouble = Trouble {
    write_delay: Duration::ZERO,
    sync_delay: Duration::ZERO,
    full: false,
    writes_fail: false,
    syncs_fail: false,
    syncs_fail_next: 0,
    syncs_hang: true,
    writes_hang: false,
};

/// Three pods on such disks; none if there is no compiler.
async fn cluster_on_disks() -> Option<Setting> {
    let disks = match Disks::build() {
        Ok(disks) => disks,
        Err(error) => {
            eprintln!("left out: {error:#}");
            return None;
        }
    };
    let machine = Machine { network: None, disks: Some(disks) };
    Some(cluster_with(Config { machine, ..Config::for_tests(3).unwrap() }).await)
}

fn set(cluster: &Cluster, i: u16, trouble: Trouble) {
    cluster.machine().disks.as_ref().unwrap().set(i, trouble).unwrap();
}

async fn status(cluster: &Cluster, i: u16) -> anyhow::Result<Value> {
    cluster.http().get_json(cluster.store(i), "/api/status").await
}

async fn until_log_has(cluster: &Cluster, i: u16, words: &str) {
    let log = &cluster.folder().join(cluster.pod_name(i)).join("store.log");
    let has = || async move {
        ensure!(std::fs::read_to_string(log)?.contains(words), "its log does not say: {words}");
        Ok(())
    };
    cluster.until("its log says so", has).await.unwrap();
}

/// `E2E_HANG_SECONDS`: for figures, a hang that lasts longer.
fn hang() -> Duration {
    std::env::var("E2E_HANG_SECONDS").ok().and_then(|text| text.parse().ok()).map_or(HANG, Duration::from_secs)
}

/// It says what is wrong in its status, its metrics and its log.
async fn says_so(cluster: &Cluster, i: u16) {
    cluster
        .until("it says that its disk hangs", || async move {
            let status = status(cluster, i).await?;
            ensure!(
                status["disk"]["waitsFor"]
                    .as_str()
                    .is_some_and(|call| { call.starts_with("fdatasync of /") || call.starts_with("write of /") }),
                "{status}"
            );
            ensure!(status["disk"]["stalledSeconds"].as_f64() > Some(1.0) && status["stalled"] == true, "{status}");
            ensure!(status["eligible"] == false, "{status}");
            let metrics = cluster.http().get(cluster.store(i), "/metrics").await?.text();
            let is_zero = metrics.lines().any(|line| line == "leasehold_store_disk_stalled_seconds 0.0");
            ensure!(!is_zero && metrics.contains("leasehold_store_disk_stalled_seconds "), "{metrics}");
            Ok(())
        })
        .await
        .unwrap();
    until_log_has(cluster, i, "the disk hangs").await;
}

async fn until_over(begin: Instant) {
    tokio::time::sleep(hang().saturating_sub(begin.elapsed())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_leads_while_the_disk_of_the_leader_hangs_and_the_old_leader_follows_when_it_answers() {
    let Some(setting) = cluster_on_disks().await else { return };
    setting
        .under_load(async |cluster, load| {
            let hung = cluster.wait_for_leader().await.unwrap();
            set(cluster, hung, HUNG);
            let begin = Instant::now();
            let successor = cluster.wait_for_leader_other_than(Some(hung)).await.unwrap();
            load.progresses(cluster, 1).await.unwrap();
            eprintln!("figure: another leads and takes writes {} ms after the hang began", begin.elapsed().as_millis());
            says_so(cluster, hung).await;
            until_over(begin).await;
            load.progresses(cluster, 20).await.unwrap();
            assert_eq!(cluster.wait_for_leader().await.unwrap(), successor, "its successor leads on");
            set(cluster, hung, Trouble::default());
            all_ready(cluster).await;
            until_log_has(cluster, hung, "the disk answers again").await;
        })
        .await;
    lease_is_true(&setting.cluster).await;
}

/// So much that the old leader's journal accepts no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_hangs_lets_go_however_much_is_written_meanwhile() {
    let Some(setting) = cluster_on_disks().await else { return };
    let hung = setting.cluster.wait_for_leader().await.unwrap();
    writes_go_on_while_it_hangs(&setting.cluster, hung, HUNG).await;
    lease_is_true(&setting.cluster).await;
}

/// Nobody can receive the Lease: it falls silent, and the others elect one without the Lease. Here no write returns,
/// either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_hangs_falls_silent_where_the_api_does_not_answer_and_writes_go_on() {
    let Some(setting) = cluster_on_disks().await else { return };
    let cluster = &setting.cluster;
    let hung = cluster.wait_for_leader().await.unwrap();
    tokio::task::block_in_place(|| cluster.api().down()).unwrap();
    writes_go_on_while_it_hangs(cluster, hung, Trouble { writes_hang: true, ..HUNG }).await;
    tokio::task::block_in_place(|| cluster.api().up()).unwrap();
    lease_is_true(cluster).await;
}

/// Each client is acknowledged again, and by all of them together much is written, before the leader's disk answers again.
async fn writes_go_on_while_it_hangs(cluster: &Cluster, hung: u16, trouble: Trouble) {
    let heavy = Heavy::start(cluster);
    heavy.all_go_on(cluster).await;
    let before = heavy.bytes();
    set(cluster, hung, trouble);
    let begin = Instant::now();
    cluster.wait_for_leader_other_than(Some(hung)).await.unwrap();
    let (led_after, meanwhile) = (begin.elapsed(), heavy.bytes() - before);
    heavy.all_go_on(cluster).await;
    let (pause, request) = heavy.longest();
    eprintln!(
        "figure: another leads {} ms after the hang began, each client was acknowledged again after {} ms; no client went \
         without for longer than {} ms, none waited longer than {} ms for an answer; {meanwhile} bytes of batches until then",
        led_after.as_millis(),
        begin.elapsed().as_millis(),
        pause.as_millis(),
        request.as_millis()
    );
    cluster
        .until("much is written", || async {
            ensure!(heavy.bytes() - before > MUCH_BYTES, "{} bytes", heavy.bytes() - before);
            Ok(())
        })
        .await
        .unwrap();
    says_so(cluster, hung).await;
    let last = heavy.stop().await;
    until_over(begin).await;
    set(cluster, hung, Trouble::default());
    cluster
        .until("every pod has every acknowledged batch", || async {
            for i in 0..3 {
                for id in &last {
                    let answer = cluster.http().get(cluster.store(i), &format!("/persons/{id}")).await?;
                    ensure!(answer.status == 200, "pod {i}: {id}");
                }
            }
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_whose_disk_hangs_is_no_successor_and_a_start_on_such_a_disk_waits() {
    let Some(setting) = cluster_on_disks().await else { return };
    setting
        .under_load(async |cluster, load| {
            let leader = cluster.wait_for_leader().await.unwrap();
            let hung = (leader + 1) % 3;
            set(cluster, hung, HUNG);
            says_so(cluster, hung).await;
            cluster
                .until("the leader shows it", || async move {
                    let status = status(cluster, leader).await?;
                    let followers = status["followers"].as_array().cloned().unwrap_or_default();
                    let shown = followers.iter().find(|one| one["name"] == cluster.pod_name(hung));
                    ensure!(shown.is_some_and(|one| one["stalled"] == true), "{status}");
                    Ok(())
                })
                .await
                .unwrap();
            load.progresses(cluster, 20).await.unwrap();
            assert_eq!(cluster.wait_for_leader().await.unwrap(), leader, "a hung follower costs no leader");

            // Not even where it is asked for: the switchover is given up, and the leader leads on.
            cluster.ask_switchover(hung).unwrap();
            load.progresses(cluster, 200).await.unwrap();
            assert_eq!(cluster.wait_for_leader().await.unwrap(), leader, "the leadership went to a hung disk");

            // Killed, it starts on that disk: alive, not ready, and it says why.
            cluster.kill(hung, Part::Store);
            cluster
                .until("the start says what it waits for", || async move {
                    ensure!(cluster.http().get(cluster.store(hung), "/healthz").await?.status == 200);
                    let status = status(cluster, hung).await?;
                    ensure!(status["state"] == "starting" && status["ready"] == false, "{status}");
                    ensure!(status["waitingFor"][0].as_str().is_some_and(|why| why.contains("disk")), "{status}");
                    Ok(())
                })
                .await
                .unwrap();
            until_log_has(cluster, hung, "the start waits for it").await;
            load.progresses(cluster, 20).await.unwrap();
            set(cluster, hung, Trouble::default());
            all_ready(cluster).await;
        })
        .await;
}

/// Clients that write batches of up to some 500 kB as fast as they are accepted, as the README advises: each starts at a
/// pod of its own, goes to the leader that a 421 names, and otherwise asks the next pod.
struct Heavy {
    over: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
    told: Arc<Mutex<Vec<Told>>>,
    clients: JoinSet<Vec<String>>,
}

/// What one of the clients has seen.
#[derive(Clone, Copy)]
struct Told {
    acknowledged: u64,
    at: Instant,
    longest_pause: Duration,
    longest_request: Duration,
}

impl Heavy {
    const CLIENTS: usize = 4;

    fn start(cluster: &Cluster) -> Heavy {
        let (over, bytes) = <(Arc<AtomicBool>, Arc<AtomicU64>)>::default();
        let begun = Told {
            acknowledged: 0,
            at: Instant::now(),
            longest_pause: Duration::ZERO,
            longest_request: Duration::ZERO,
        };
        let told = Arc::new(Mutex::new(vec![begun; Heavy::CLIENTS]));
        let targets: Vec<_> = (0..3).map(|i| cluster.store(i)).collect();
        let mut clients = JoinSet::new();
        for client in 0..Heavy::CLIENTS {
            let (over, bytes, told, targets) = (over.clone(), bytes.clone(), told.clone(), targets.clone());
            clients.spawn(async move {
                let (http, mut at, mut last) = (Http::default(), client % targets.len(), Vec::new());
                while !over.load(Ordering::Relaxed) {
                    let ids: Vec<String> = (0..BATCH_RECORDS).map(|_| uuid::Uuid::new_v4().to_string()).collect();
                    let operation = |id: &String| {
                        json!({"op": "create", "record": {"id": id, "firstName": "x".repeat(240), "lastName": "y".repeat(240)}})
                    };
                    let body = json!({"operations": ids.iter().map(operation).collect::<Vec<_>>()});
                    let size = body.to_string().len() as u64;
                    let sent = Instant::now();
                    let answer =
                        http.send(Method::POST, targets[at], "/persons:batch", Some(&body), Duration::from_secs(8)).await;
                    let is_done = answer.as_ref().is_ok_and(|answer| answer.status == 200);
                    told.lock().unwrap()[client].is_told(sent, is_done);
                    if is_done {
                        bytes.fetch_add(size, Ordering::Relaxed);
                        last.extend(ids.last().cloned());
                        continue;
                    }
                    let named = answer.ok().filter(|answer| answer.status == 421).and_then(|answer| {
                        let body = answer.json();
                        let leader = body["leader"]["address"].as_str()?;
                        targets.iter().position(|target| target.to_string() == leader)
                    });
                    at = named.unwrap_or((at + 1) % targets.len());
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                last
            });
        }
        Heavy { over, bytes, told, clients }
    }

    /// Waits until each client got one more batch acknowledged than it has now.
    async fn all_go_on(&self, cluster: &Cluster) {
        let before: Vec<u64> = self.told().iter().map(|told| told.acknowledged).collect();
        cluster
            .until("batches of each client are taken", || async {
                let now: Vec<u64> = self.told().iter().map(|told| told.acknowledged).collect();
                ensure!(before.iter().zip(&now).all(|(before, now)| now > before), "{before:?}, now {now:?}");
                Ok(())
            })
            .await
            .unwrap();
    }

    /// The longest that a client had no acknowledgement, and the longest that one waited for an answer.
    fn longest(&self) -> (Duration, Duration) {
        let told = self.told();
        let longest = |of: fn(&Told) -> Duration| told.iter().map(of).max().unwrap_or_default();
        (longest(|told| told.longest_pause), longest(|told| told.longest_request))
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    /// The last id of each batch that was acknowledged.
    async fn stop(mut self) -> Vec<String> {
        self.over.store(true, Ordering::Relaxed);
        let mut ids = Vec::new();
        while let Some(ended) = self.clients.join_next().await {
            ids.extend(ended.unwrap());
        }
        ids
    }
}

impl Told {
    fn is_told(&mut self, sent: Instant, is_done: bool) {
        self.longest_request = self.longest_request.max(sent.elapsed());
        if is_done {
            self.longest_pause = self.longest_pause.max(self.at.elapsed());
            (self.acknowledged, self.at) = (self.acknowledged + 1, Instant::now());
        }
    }
}
