//! What one request costs, without a clock: allocations and their bytes, on the way from the HTTP API through the driver
//! and the journal to the answer, in a single-voter replica in this process.
//!
//! ```text
//!   request ──▶ forward ──▶ call ──▶ driver ──▶ journal's thread ──▶ driver ──▶ answer     every allocation in between counts
//! ```
//!
//! Not put together by `Node`: its servers have tasks and timers of their own, whose allocations would be counted too.
//!
//! Timing on a shared machine says nothing, but these counts hardly change from run to run. A bound that is exceeded is
//! not to be raised before somebody knows why: `valgrind --tool=dhat target/release/store …` names the lines.
//! A bound far above the count is a prize: lower it in the change that earned it.

#![allow(clippy::unwrap_used, unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use leasehold_contract::testing::{alone, member};
use leasehold_contract::{RoleFile, State, StatusFile};
use leasehold_replication::{ClusterId, Config, Incarnation, ReplicaId};
use leasehold_store::api::forward::route::ApiRoute;
use leasehold_store::api::forward::{self, FollowerWrites, Forwarding};
use leasehold_store::api::{self, Calls};
use leasehold_store::driver::{Driver, Ends, JOURNAL_EVENTS_MAX, Parts};
use leasehold_store::handle;
use leasehold_store::peer::{EVENTS_MAX, PeerConfig, Peers};
use leasehold_store::status;
use leasehold_store::telemetry::Metrics;
use leasehold_store::volume::{Options, Volume};
use leasehold_testkit::until_seen;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Counts, and passes on.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(layout.size() as u64, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(size.saturating_sub(layout.size()) as u64, Ordering::Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What one operation may cost: what it was measured at, and 15 % more.
struct Bound {
    what: &'static str,
    allocations: f64,
    bytes: f64,
}

/// As measured; the margin is added where they are compared. Lower them when the code got better.
const BOUNDS: [Bound; 7] = [
    Bound { what: "write by one client", allocations: 55.3, bytes: 11300.0 },
    Bound { what: "write, 64 at once", allocations: 37.1, bytes: 9860.0 },
    Bound { what: "record of a batch", allocations: 30.3, bytes: 5800.0 },
    Bound { what: "read by id", allocations: 14.0, bytes: 1731.0 },
    Bound { what: "read of an unknown id", allocations: 18.0, bytes: 2012.0 },
    Bound { what: "strong read by id", allocations: 24.0, bytes: 3470.0 },
    Bound { what: "record of a list", allocations: 0.033, bytes: 347.0 },
];
const MARGIN: f64 = 1.15;

const NAME: &str = "db-0";

/// A replica that leads alone, and its API.
struct Replica {
    api: Forwarding,
    _role: watch::Sender<Option<Arc<RoleFile>>>,
    _status: watch::Receiver<StatusFile>,
    _folder: tempfile::TempDir,
    stop: CancellationToken,
    driver: tokio::task::JoinHandle<leasehold_store::driver::End>,
}

impl Replica {
    async fn start() -> Replica {
        let folder = tempfile::tempdir().unwrap();
        let incarnation = Incarnation(Uuid::new_v4());
        let (events, journal_events) = mpsc::channel(JOURNAL_EVENTS_MAX);
        let options = Options::new(move |event| drop(events.blocking_send(event)));
        let data = folder.path().to_owned();
        let opened = tokio::task::spawn_blocking(move || Volume::open(&data, options)).await.unwrap().unwrap();
        let (handle, server) = handle::handle(NAME, incarnation);
        let (peer_sender, peer_events) = mpsc::channel(EVENTS_MAX);
        let (peer_state, _) = watch::channel(None);
        let (role, role_receiver) = watch::channel(None);
        let (status_file, status) = watch::channel(status::starting(incarnation));
        let stop = CancellationToken::new();
        let driver = Driver::new(Parts {
            progress_after: Duration::from_secs(5),
            limits: leasehold_store::room::Limits::NONE,
            config: config(opened.replica, incarnation, opened.force_bootstrap),
            recovered: opened.recovered,
            documents: opened.documents,
            restored: None,
            false_sum: opened.false_sum,
            ends: Ends {
                journal: opened.journal,
                journal_events,
                peers: Peers::new(PeerConfig::new(Duration::from_secs(5), |_| {}), peer_sender),
                peer_events,
                role: role_receiver,
                handle: server,
                status_file,
                peer_state,
                unserved: stop.clone(),
                stop: stop.clone(),
            },
        });
        let driver = tokio::spawn(driver.run());
        let calls = Calls::new(handle.clone(), api::Config::default(), Metrics::new());
        let api = Forwarding::new(calls, handle, forwarding());
        until_it_leads(&status, &role, incarnation).await;
        Replica { api, _role: role, _status: status, _folder: folder, stop, driver }
    }

    async fn ask(&self, method: &str, path: &str, body: String) -> http::Response<Bytes> {
        let request = http::Request::builder().method(method).uri(path).header("content-type", "application/json");
        let answer = self.api.answer(request.body(Full::from(body)).unwrap()).await;
        let (head, body) = answer.into_parts();
        http::Response::from_parts(head, body.collect().await.unwrap().to_bytes())
    }

    async fn get(&self, path: &str) -> http::Response<Bytes> {
        self.ask("GET", path, String::new()).await
    }

    async fn post(&self, n: u128) {
        self.send("/persons", person(n), 201).await;
    }

    async fn batch(&self, ids: std::ops::Range<u128>) {
        let creates: Vec<String> = ids.map(|n| format!(r#"{{"op":"create","record":{}}}"#, person(n))).collect();
        self.send("/persons:batch", format!(r#"{{"operations":[{}]}}"#, creates.join(",")), 200).await;
    }

    async fn send(&self, path: &str, body: String, status: u16) {
        let answer = self.ask("POST", path, body).await;
        assert_eq!(answer.status(), status, "{:?}", answer.body());
    }
}

fn config(replica: ReplicaId, incarnation: Incarnation, force_bootstrap: bool) -> Config {
    Config {
        name: NAME.to_owned(),
        replica,
        incarnation,
        revision: String::new(),
        // Rare, so that it hardly counts.
        heartbeat: Duration::from_millis(500),
        lost_time: Duration::from_secs(5),
        disk_stall: Duration::from_secs(2),
        hand_over_max: Duration::from_secs(2),
        drain_min: Duration::ZERO,
        unready_after: Duration::from_secs(30),
        log_memory_bytes: 16 * 1024 * 1024,
        apply_bytes_max: 256 * 1024,
        drain_max: Duration::from_secs(10),
        new_cluster_id: ClusterId(Uuid::new_v4()),
        initial_data: Vec::new(),
        initial_format: 1,
        restore: None,
        force_bootstrap,
        format_build: leasehold_documents::FORMAT,
        format_allowed: leasehold_documents::FORMAT,
        sums: true,
    }
}

fn forwarding() -> forward::Config {
    forward::Config {
        follower_writes: FollowerWrites::default(),
        write_timeout: Duration::from_secs(5),
        body_limit_bytes: 1024 * 1024,
        forwards_max: 64,
        peers: PeerConfig::new(Duration::from_secs(5), |_| {}),
        route: ApiRoute::default(),
    }
}

/// The sidecar's part: who campaigned is named the leader of the first term.
async fn until_it_leads(
    status: &watch::Receiver<StatusFile>,
    role: &watch::Sender<Option<Arc<RoleFile>>>,
    incarnation: Incarnation,
) {
    let mut campaigned = None;
    let look = || {
        let seen = status.borrow().clone();
        campaigned = campaigned.or(seen.campaign.map(|_| incarnation.0));
        let pod = member(NAME, "", "127.0.0.1:1");
        role.send_replace(Some(Arc::new(alone(pod, campaigned.iter().len() as u64, seen.cluster_id, campaigned))));
        seen
    };
    until_seen("it leads", look, |seen| seen.state == State::Leading).await;
}

fn person(n: u128) -> String {
    let id = Uuid::from_u128(n);
    format!(r#"{{"firstName":"Cost","lastName":"{}","id":"{id}"}}"#, "x".repeat(40))
}

/// What was allocated since, for one of `count` operations.
fn each(since: (u64, u64), count: u64) -> (f64, f64) {
    let now = counts();
    #[allow(clippy::cast_precision_loss)]
    let share = |now: u64, then: u64| (now - then) as f64 / count as f64;
    (share(now.0, since.0), share(now.1, since.1))
}

fn counts() -> (u64, u64) {
    (ALLOCATIONS.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed))
}

const WARM: u64 = 50;
const WRITES: u64 = 200;
const ROUNDS: u64 = 12;
const BATCHES: u64 = 10;
const READS: u64 = 1_000;
const LISTS: u64 = 20;

/// A replica, and what its requests have cost, in the order of [`BOUNDS`].
struct Costs {
    replica: Replica,
    next: u128,
    measured: Vec<(f64, f64)>,
}

impl Costs {
    fn ids(&mut self, count: u64) -> std::ops::Range<u128> {
        let from = self.next;
        self.next += u128::from(count);
        from..self.next
    }

    /// Pools, tables, the first segment.
    async fn warm(&mut self) {
        for n in self.ids(WARM) {
            self.replica.post(n).await;
        }
    }

    async fn writes_by_one_client(&mut self) {
        let since = counts();
        for n in self.ids(WRITES) {
            self.replica.post(n).await;
        }
        self.measured.push(each(since, WRITES));
    }

    async fn writes_at_once(&mut self) {
        let since = counts();
        for _ in 0..ROUNDS {
            let ids = self.ids(64);
            futures_util::future::join_all(ids.map(|n| self.replica.post(n))).await;
        }
        self.measured.push(each(since, ROUNDS * 64));
    }

    async fn batches(&mut self) {
        let since = counts();
        for _ in 0..BATCHES {
            let ids = self.ids(100);
            self.replica.batch(ids).await;
        }
        self.measured.push(each(since, BATCHES * 100));
    }

    async fn reads(&mut self) {
        let (known, unknown) = (Uuid::from_u128(17), Uuid::from_u128(u128::MAX));
        for (path, status) in
            [(known.to_string(), 200), (unknown.to_string(), 404), (format!("{known}?consistency=strong"), 200)]
        {
            let path = format!("/persons/{path}");
            assert_eq!(self.replica.get(&path).await.status(), status);
            let since = counts();
            for _ in 0..READS {
                self.replica.get(&path).await;
            }
            self.measured.push(each(since, READS));
        }
    }

    async fn lists(&mut self) {
        let records = WARM + WRITES + ROUNDS * 64 + BATCHES * 100;
        let whole = self.replica.get("/persons").await;
        assert_eq!(whole.body().windows(4).filter(|four| four == b"\"id\"").count() as u64, records);
        let since = counts();
        for _ in 0..LISTS {
            self.replica.get("/persons").await;
        }
        self.measured.push(each(since, LISTS * records));
    }
}

/// Prints each operation's cost, and returns the lines of those that are dearer than they may be.
fn exceeded(measured: Vec<(f64, f64)>) -> Vec<String> {
    let mut exceeded = Vec::new();
    for (bound, (allocations, bytes)) in BOUNDS.iter().zip(measured) {
        let line = format!(
            "{:<24} {allocations:>7.2} allocations (was {:.2}), {bytes:>8.0} bytes (was {:.0})",
            bound.what, bound.allocations, bound.bytes
        );
        println!("{line}");
        if allocations > bound.allocations * MARGIN || bytes > bound.bytes * MARGIN {
            exceeded.push(line);
        }
    }
    exceeded
}

// One test, in a program of its own: nothing else may allocate meanwhile. One thread, so that 64 writes are queued
// before the driver has its turn, and go into one batch.
#[tokio::test]
async fn a_request_allocates_no_more_than_it_did() {
    let mut costs = Costs { replica: Replica::start().await, next: 1, measured: Vec::new() };
    costs.warm().await;
    costs.writes_by_one_client().await;
    costs.writes_at_once().await;
    costs.batches().await;
    costs.reads().await;
    costs.lists().await;
    costs.replica.stop.cancel();
    costs.replica.driver.await.unwrap();

    assert_eq!(costs.measured.len(), BOUNDS.len());
    let exceeded = exceeded(costs.measured);
    assert!(
        exceeded.is_empty(),
        "dearer than before, by more than 15 %:\n{}\nFind what allocates (valgrind --tool=dhat on the store under a \
         short load) and take it out; if it is worth its price, say so in the commit and raise the number in BOUNDS.",
        exceeded.join("\n")
    );
}
