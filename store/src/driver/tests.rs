//! Whole replicas in one process: driver, journal on a real disk, peers on real sockets. Only the sidecars are made up:
//! [`Cluster::elect`] plays the Lease.
//!
//! Not put together by [`Node`](crate::node::Node): failing disks, and limits of a few kilobytes, are not flags.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::handle::{self, Handle, WriteError, Written};
use crate::peer::{EVENTS_MAX, Listener, PeerConfig};
use crate::status;
use crate::testing::fault_disk::{Fault, FaultDisk};
use crate::testing::rig::{Folder, folder};
use crate::volume::disk::Disk as _;
use crate::volume::disk::watch::DiskWatch;
use crate::volume::{Options, Volume};
use bytes::Bytes;
use futures_util::FutureExt as _;
use leasehold_contract::testing::{leader, member, role_of};
use leasehold_contract::{Role, RoleFile, State};
use leasehold_daemon::serve::{self, Server};
use leasehold_documents::{Action, Change, Command, Condition, Outcome};
use leasehold_replication::{Incarnation, Refusal, Seq};
use leasehold_testkit::{until, until_seen};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use tokio::task::JoinHandle;
use uuid::Uuid;

mod clocks;
mod diverging;
mod restored;
mod room;

const LONG: Duration = Duration::from_secs(20);
/// Never in these tests: a busy machine is not a hung disk. (e2e's process tests have disks that hang.)
const STALLED: Duration = Duration::from_secs(300);

/// One run of one pod's store.
struct Pod {
    handle: Handle,
    journal: Journal,
    status: watch::Receiver<StatusFile>,
    role: watch::Sender<Option<Arc<RoleFile>>>,
    stop: CancellationToken,
    stop_http: CancellationToken,
    tampering: Tampering,
    driver: JoinHandle<End>,
}

/// The Lease, as far as stores care.
#[derive(Clone, Default)]
struct Lease {
    term: u64,
    cluster: Option<Uuid>,
    leader: Option<(usize, Uuid)>,
}

struct Cluster {
    _folder: Folder,
    folder: PathBuf,
    host: Ipv4Addr,
    ports: Vec<u16>,
    pods: Vec<Option<Pod>>,
    lease: Lease,
    wanted: usize,
    snapshot_after_bytes: u64,
    /// In the place of the real ones, for pod 0.
    disk: Option<FaultDisk>,
    limits: crate::room::Limits,
    progress_after: Duration,
    /// What each pod's build reads.
    format: u32,
}

fn command(n: u64, action: Action<'_>) -> Bytes {
    Command::one("things", Uuid::from_u128(u128::from(n)), action, Condition::None).encode(1)
}

/// Writes again where a machine too busy for heartbeats in time costs the leader its majority for a moment.
async fn surely(handle: &Handle, command: Bytes) -> Written {
    let deadline = Instant::now() + LONG;
    loop {
        match handle.write(command.clone(), LONG).await {
            Ok(written) => return written,
            Err(error) => assert_eq!(error, WriteError::Refused(Refusal::NoMajority)),
        }
        assert!(Instant::now() < deadline, "no majority");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A loopback address for one cluster alone: no other test, and no connection of this one, takes a port of it while its
/// store is down.
fn host() -> Ipv4Addr {
    static CLUSTERS: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 1 + high % 250, low, CLUSTERS.fetch_add(1, Ordering::Relaxed))
}

impl Cluster {
    async fn start(pods: usize) -> Cluster {
        Cluster::start_on(pods, None).await
    }

    async fn start_on(pods: usize, disk: Option<FaultDisk>) -> Cluster {
        let mut cluster = Cluster::prepare(pods, disk);
        for index in 0..pods {
            cluster.run(index).await;
        }
        cluster
    }

    /// Nothing runs yet.
    fn prepare(pods: usize, disk: Option<FaultDisk>) -> Cluster {
        let folder = folder();
        let mut cluster = Cluster {
            folder: folder.path().to_owned(),
            _folder: folder,
            host: host(),
            ports: Vec::new(),
            pods: Vec::new(),
            lease: Lease::default(),
            wanted: pods,
            snapshot_after_bytes: 64 * 1024 * 1024,
            disk,
            limits: crate::room::Limits::NONE,
            progress_after: crate::progress::LONG,
            format: 1,
        };
        for _ in 0..pods {
            let free = std::net::TcpListener::bind((cluster.host, 0)).unwrap().local_addr().unwrap().port();
            cluster.ports.push(free);
            cluster.pods.push(None);
        }
        cluster
    }

    fn data(&self, index: usize) -> PathBuf {
        self.folder.join(index.to_string())
    }

    fn peer_address(&self, index: usize) -> String {
        format!("{}:{}", self.host, self.ports[index])
    }

    async fn run(&mut self, index: usize) {
        let name = format!("db-{index}");
        let incarnation = Incarnation(Uuid::new_v4());
        let (events, journal_events) = mpsc::channel(JOURNAL_EVENTS_MAX);
        let mut options = Options::new(move |event| drop(events.blocking_send(event)));
        options.snapshot_after_bytes = self.snapshot_after_bytes;
        options.watch = Arc::new(DiskWatch::new(STALLED));
        let (data, disk) = (self.data(index), self.disk.clone().filter(|_| index == 0));
        let opened = tokio::task::spawn_blocking(move || match disk {
            Some(disk) => Volume::open_on(Arc::new(disk), options),
            None => Volume::open(&data, options),
        });
        let opened = opened.await.unwrap().unwrap();
        let (handle, server) = handle::handle(&name, incarnation);
        let (peer_sender, peer_events) = mpsc::channel(EVENTS_MAX);
        let (peer_state, peer_states) = watch::channel(None);
        let config = PeerConfig::new(Duration::from_millis(500), |_| {});
        let listener = Listener::new(config.clone(), peer_sender.clone(), peer_states);
        let socket = serve::bind(self.peer_address(index).parse().unwrap()).unwrap();
        let stop_http = CancellationToken::new();
        tokio::spawn(Server { stop: stop_http.clone(), ..Server::default() }.run_filter(socket, listener.routes()));
        let journal = opened.journal.clone();
        let (role, role_receiver) = watch::channel(None);
        let (status_file, status) = watch::channel(status::starting(incarnation));
        let stop = CancellationToken::new();
        let driver = Driver::new(Parts {
            limits: self.limits,
            progress_after: self.progress_after,
            config: Config {
                name,
                replica: opened.replica,
                incarnation,
                revision: String::new(),
                heartbeat: Duration::from_millis(50),
                lost_time: Duration::from_millis(500),
                disk_stall: STALLED,
                hand_over_max: Duration::from_secs(2),
                drain_min: Duration::ZERO,
                unready_after: Duration::from_secs(30),
                log_memory_bytes: 64 * 1024,
                apply_bytes_max: 4096,
                drain_max: Duration::from_secs(10),
                new_cluster_id: ClusterId(Uuid::new_v4()),
                initial_data: Vec::new(),
                initial_format: 1,
                restore: opened.restored.as_ref().map(|restored| restored.restore),
                force_bootstrap: opened.force_bootstrap,
                format_build: self.format,
                format_allowed: self.format,
                sums: true,
            },
            recovered: opened.recovered,
            documents: opened.documents,
            restored: opened.restored,
            false_sum: opened.false_sum,
            ends: Ends {
                journal: opened.journal,
                journal_events,
                peers: Peers::new(config, peer_sender),
                peer_events,
                role: role_receiver,
                handle: server,
                status_file,
                peer_state,
                unserved: stop.clone(),
                stop: stop.clone(),
            },
        });
        let tampering = driver.tampering.clone();
        let driver = tokio::spawn(driver.run());
        self.pods[index] = Some(Pod { handle, journal, status, role, stop, stop_http, tampering, driver });
    }

    /// As by `kill -9`: nobody is notified. The volume is free when this returns.
    async fn kill(&mut self, index: usize) {
        let pod = self.pods[index].take().unwrap();
        pod.stop_http.cancel();
        pod.driver.abort();
        let _ = pod.driver.await;
    }

    fn pod(&self, index: usize) -> &Pod {
        self.pods[index].as_ref().unwrap()
    }

    fn status(&self, index: usize) -> StatusFile {
        self.pod(index).status.borrow().clone()
    }

    /// What the sidecars would do with the Lease now: the best campaigner takes it, a hand-over is written.
    fn elect(&mut self) {
        let alive: Vec<usize> = (0..self.pods.len()).filter(|index| self.pods[*index].is_some()).collect();
        let statuses: Vec<(usize, StatusFile)> = alive.iter().map(|index| (*index, self.status(*index))).collect();
        let campaigner = statuses
            .iter()
            .filter(|(_, status)| status.campaign.is_some_and(|term| term >= self.lease.term) && status.eligible)
            .min_by_key(|(_, status)| status.rank);
        let handed = statuses.iter().find_map(|(index, status)| {
            let is_holder = self.lease.leader == Some((*index, status.incarnation));
            let to = status.hand_over.as_ref().filter(|_| is_holder)?;
            let successor = to.to.as_ref()?.rsplit('-').next()?.parse().ok()?;
            Some((successor, to.incarnation?, status.need_term))
        });
        let next = match (handed, campaigner) {
            (Some((to, incarnation, need)), _) => Some((to, incarnation, need, None)),
            (None, Some((index, status))) => Some((*index, status.incarnation, status.need_term, status.cluster_id)),
            (None, None) => None,
        };
        if let Some((index, incarnation, need_term, cluster)) = next {
            self.lease.term = self.lease.term.max(need_term.unwrap_or(0)) + 1;
            self.lease.leader = Some((index, incarnation));
            self.lease.cluster = self.lease.cluster.or(cluster);
        }
        for index in alive {
            let role = self.role_file(index);
            self.pod(index).role.send_if_modified(|last| {
                let changed = last.as_deref() != Some(&role);
                *last = Some(Arc::new(role));
                changed
            });
        }
    }

    fn role_file(&self, index: usize) -> RoleFile {
        let pod = |index| member(&format!("db-{index}"), "", &self.peer_address(index));
        RoleFile {
            role: Role::Follower,
            term: self.lease.term,
            cluster_id: self.lease.cluster,
            leader: self.lease.leader.map(|(index, incarnation)| leader(&pod(index), Some(incarnation))),
            members: (0..self.wanted).map(pod).collect(),
            ..role_of(&format!("db-{index}"))
        }
    }

    /// Plays the Lease until `what` holds.
    async fn until(&mut self, what: &str, mut holds: impl FnMut(&Cluster) -> bool) {
        let look = || {
            if holds(self) {
                return Ok(());
            }
            self.elect();
            Err(self.pods.iter().flatten().map(|pod| pod.status.borrow().clone()).collect::<Vec<_>>())
        };
        let _ = until_seen(format!("this: {what}"), look, Result::is_ok).await;
    }

    fn leader(&self) -> Option<usize> {
        (0..self.pods.len()).find(|index| self.pods[*index].is_some() && self.status(*index).state == State::Leading)
    }

    /// All that run have a leader that hears a majority of `voters` voters.
    async fn settle(&mut self, voters: usize) -> usize {
        self.until("a leader and its followers", |cluster| {
            let alive = cluster.pods.iter().flatten();
            cluster.leader().is_some()
                && alive.clone().all(|pod| {
                    pod.handle.status().is_some_and(|status| {
                        status.leader_heard && status.voter && status.voters.voters.len() == voters
                    })
                })
                && alive
                    .map(|pod| pod.status.borrow().promised)
                    .collect::<Vec<_>>()
                    .windows(2)
                    .all(|two| two[0] == two[1])
        })
        .await;
        self.leader().unwrap()
    }

    async fn write(&self, index: usize, n: u64) -> Result<Written, WriteError> {
        let id = Uuid::from_u128(u128::from(n));
        let record = format!("{{\"id\":\"{id}\",\"n\":{n},\"filling\":\"{}\"}}", "x".repeat(500));
        self.pod(index).handle.write(command(n, Action::Create { record: &record }), LONG).await
    }

    /// Writes at the present leader, until it is done: on a busy machine heartbeats are late, and then a leader lacks its
    /// majority, or another one leads. The same record again changes nothing.
    async fn write_surely(&mut self, n: u64) {
        let deadline = Instant::now() + LONG;
        loop {
            let done = match self.leader() {
                Some(leader) => self.write(leader, n).await.map_err(Some),
                None => Err(None),
            };
            let Err(why) = done else { return };
            assert!(Instant::now() < deadline, "write {n}: {why:?}");
            self.elect();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The numbers of all records that pod `index` has applied.
    fn applied(&self, index: usize) -> Vec<u64> {
        let documents = self.pod(index).handle.documents();
        let Some(things) = documents.collection("things") else { return Vec::new() };
        let number = |record: &leasehold_documents::Record| {
            serde_json::from_str::<serde_json::Value>(record.as_str()).unwrap()["n"].as_u64().unwrap()
        };
        things.after(0).map(|(_, record)| number(record)).collect()
    }

    async fn converges(&mut self, wanted: &[u64]) {
        self.until("the same data everywhere", |cluster| {
            (0..cluster.pods.len())
                .filter(|index| cluster.pods[*index].is_some())
                .all(|index| cluster.applied(index) == wanted)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lonely_replica_begins_takes_writes_and_has_them_after_a_restart() {
    let mut cluster = Cluster::start(1).await;
    cluster.settle(1).await;
    for n in 1..=20 {
        assert_eq!(cluster.write(0, n).await.unwrap().answer.outcome, Outcome::Created);
    }
    assert_eq!(cluster.write(0, 7).await.unwrap().answer.outcome, Outcome::Same);
    cluster.kill(0).await;
    cluster.run(0).await;
    cluster.settle(1).await;
    assert_eq!(cluster.applied(0), (1..=20).collect::<Vec<_>>());
    assert!(cluster.lease.term >= 2, "a new run inherited a leadership");
    cluster.pod(0).stop.cancel();
    let driver = cluster.pods[0].take().unwrap().driver;
    assert_eq!(tokio::time::timeout(LONG, driver).await.unwrap().unwrap(), End::Drained);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_are_told_what_the_first_entry_of_format_2_defines() {
    let mut cluster = Cluster::prepare(1, None);
    cluster.format = 2;
    cluster.run(0).await;
    cluster.settle(1).await;
    let (commits, _) = cluster.pod(0).handle.history().after(Seq(0), 100).unwrap();
    let told: Vec<(Seq, &Change)> =
        commits.iter().flat_map(|commit| commit.changes.iter().map(|change| (commit.mark.seq, change))).collect();
    let is_it = |seq: Seq, change: &Change| {
        matches!(change, Change::Definition { collection, created, definition: Some(_) }
        if **collection == *"persons" && *created == seq)
    };
    assert!(told.len() == 1 && is_it(told[0].0, told[0].1), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_the_death_of_each_leader() {
    let mut cluster = Cluster::start(3).await;
    let mut acknowledged = Vec::new();
    let mut next = 1;
    for _ in 0..3 {
        let leader = cluster.settle(3).await;
        for other in (0..3).filter(|other| *other != leader) {
            let refused = cluster.write(other, 1_000_000).await;
            assert!(matches!(refused, Err(WriteError::Refused(_))), "{refused:?}");
        }
        for _ in 0..20 {
            cluster.write_surely(next).await;
            acknowledged.push(next);
            next += 1;
        }
        cluster.kill(leader).await;
        cluster.until("a leader after the death of one", |cluster| cluster.leader().is_some()).await;
        cluster.write_surely(next).await;
        acknowledged.push(next);
        next += 1;
        let dead = cluster.pods.iter().position(Option::is_none).unwrap();
        cluster.run(dead).await;
    }
    cluster.settle(3).await;
    cluster.converges(&acknowledged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_volume_comes_back_by_a_snapshot_and_becomes_a_voter_again() {
    let mut cluster = Cluster::start(3).await;
    cluster.settle(3).await;
    // From the next start on the journals are short.
    cluster.snapshot_after_bytes = 20_000;
    for index in 0..3 {
        cluster.kill(index).await;
    }
    for index in 0..3 {
        cluster.run(index).await;
    }
    let leader = cluster.settle(3).await;
    let follower = (leader + 1) % 3;
    cluster.kill(follower).await;
    let wanted: Vec<u64> = (1..=400).collect();
    for n in &wanted {
        cluster.write_surely(*n).await;
    }
    let snapshot = cluster.data(leader).join("snapshot.json");
    cluster.until("a snapshot of the leader's own", |_| snapshot.exists()).await;
    std::fs::remove_dir_all(cluster.data(follower)).unwrap();
    cluster.run(follower).await;
    cluster.converges(&wanted).await;
    let snapshot = cluster.data(follower).join("snapshot.json");
    cluster.until("it came by a snapshot, which is durable after it is shown", |_| snapshot.exists()).await;
    cluster.settle(3).await;
    cluster.write_surely(1000).await;
    let wanted: Vec<u64> = wanted.into_iter().chain([1000]).collect();
    cluster.converges(&wanted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_told_to_end_hands_over_and_ends_when_its_successor_leads() {
    let mut cluster = Cluster::start(3).await;
    cluster.settle(3).await;
    cluster.write_surely(1).await;
    let leader = cluster.settle(3).await;
    cluster.pod(leader).stop.cancel();
    cluster.until("another leader", |cluster| cluster.leader().is_some_and(|now| now != leader)).await;
    let pod = cluster.pods[leader].take().unwrap();
    pod.stop_http.cancel();
    let end = tokio::time::timeout(LONG, pod.driver).await.expect("it never ended").unwrap();
    assert_eq!(end, End::Drained);
    assert_eq!(pod.status.borrow().state, State::Draining);
    cluster.write_surely(2).await;
    cluster.converges(&[1, 2]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writes_at_once_are_each_answered_once_and_in_the_order_of_the_log() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.settle(3).await;
    let cluster = Arc::new(cluster);
    let writes: Vec<_> = (1..=500)
        .map(|n| {
            let cluster = Arc::clone(&cluster);
            tokio::spawn(async move { cluster.write(leader, n).await.unwrap() })
        })
        .collect();
    let mut positions = Vec::new();
    for write in writes {
        positions.push(write.await.unwrap().position.seq);
    }
    positions.sort_unstable();
    positions.dedup();
    assert_eq!(positions.len(), 500);
    let mut cluster = Arc::into_inner(cluster).unwrap();
    let wanted = cluster.applied(leader);
    assert_eq!(wanted.len(), 500);
    cluster.converges(&wanted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_acknowledges_nothing_and_ends_the_replica_which_says_so() {
    let disk = FaultDisk::new(7);
    let mut cluster = Cluster::start_on(1, Some(disk.clone())).await;
    cluster.settle(1).await;
    cluster.write(0, 1).await.unwrap();
    cluster.until("a reserve", |cluster| cluster.pod(0).journal.figures().reserve_segments == 2).await;
    // The call that fails may be one of those that make the next segment, which matter to nobody: then once more.
    let mut failed = Ok(());
    for n in 2..20 {
        disk.fail_after(0, Fault::Full);
        failed = cluster.write(0, n).await.map(|_| ());
        if failed.is_err() {
            break;
        }
    }
    assert!(matches!(failed, Err(WriteError::Unknown | WriteError::Refused(_))), "{failed:?}");
    let pod = cluster.pods[0].take().unwrap();
    let end = tokio::time::timeout(LONG, pod.driver).await.expect("it continues").unwrap();
    assert!(matches!(end, End::Failed { .. }), "{end:?}");
    assert_eq!(pod.status.borrow().state, State::Failed);
    assert!(!pod.handle.is_alive());
    disk.restart();
    pod.stop_http.cancel();
    cluster.run(0).await;
    cluster.settle(1).await;
    assert!(cluster.applied(0).starts_with(&[1]), "what was acknowledged is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_while_the_disk_writes_is_proposed_together_when_it_has_written() {
    let disk = FaultDisk::new(8);
    let mut cluster = Cluster::start_on(1, Some(disk.clone())).await;
    cluster.settle(1).await;
    cluster.until("a reserve", |cluster| cluster.pod(0).journal.figures().reserve_segments == 2).await;
    // Nothing else is on its way to the disk: that the Lease has the cluster's id is written down, too, and no earlier than it
    // is seen; after a write all before it is written.
    cluster.until("the Lease is seen", |cluster| !cluster.pod(0).handle.status().unwrap().bootstrapping).await;
    cluster.write(0, 0).await.unwrap();
    let log = || cluster.pod(0).handle.status().unwrap().position.seq;
    // Polled once: it waits in the queue then.
    let sent = |n| {
        let mut write = Box::pin(cluster.write(0, n));
        assert!(write.as_mut().now_or_never().is_none());
        write
    };
    let (before, calls) = (log(), disk.calls());
    disk.stall();
    let first = sent(1);
    until("the first write is in the log", || log() != before).await;
    let others: Vec<_> = (2..=50).map(sent).collect();
    // A turn handles its events in no particular order: after this many reads it would have handled a write.
    for _ in 0..64 {
        cluster.pod(0).handle.read_index(Instant::now() + LONG).await.unwrap();
    }
    assert_eq!(log(), before.next(), "a write was proposed into the fsync of another one");
    disk.go_on();
    assert_eq!(first.await.unwrap().position.seq, before.next());
    for (write, seq) in others.into_iter().zip(before.0 + 2..) {
        assert_eq!(write.await.unwrap().position.seq.0, seq);
    }
    assert_eq!(disk.calls() - calls, 4, "a write and a sync for the first one, and for all others together");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_with_the_followers_disks_while_the_leaders_own_one_stalls() {
    let disk = FaultDisk::new(9);
    let mut cluster = Cluster::start_on(3, Some(disk.clone())).await;
    // The first leader is pod 0, which has the stalling disk, unless the machine is too busy for heartbeats in time.
    loop {
        let leader = cluster.settle(3).await;
        if leader == 0 {
            break;
        }
        cluster.kill(leader).await;
        cluster.run(leader).await;
    }
    disk.stall();
    for n in 1..=20 {
        cluster.write_surely(n).await;
    }
    disk.go_on();
    cluster.converges(&(1..=20).collect::<Vec<_>>()).await;
}
