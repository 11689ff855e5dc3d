//! Metrics: created once by `main`, passed to each part that counts something.
//!
//! Metric names are public (a changed one is a line under Behaviour in the changelog):
//! ```text
//!   leasehold_store_state{state}                   1 for the replica's present state, 0 for the others
//!   leasehold_store_promised_term                  the term of the replica's promise
//!   leasehold_store_committed_sequence             the last committed entry that it knows of
//!   leasehold_store_applied_sequence               the last entry in its documents
//!   leasehold_store_sum                            the last 48 bits of the sum of the data after that entry
//!   leasehold_store_voters                         the number of voters in its own log
//!   leasehold_store_ready                          1 while it is ready for traffic
//!   leasehold_store_foreign_cluster                1 if its volume belongs to another cluster than the Lease
//!   leasehold_store_staleness_seconds              the maximum age of the data here; NaN while unknown
//!   leasehold_store_clock_skew_seconds             on the leader: the difference of its clock from that of the replica that is
//!                                                  worst; NaN while unknown
//!   leasehold_store_follower_lag_entries{follower} on the leader: entries that this follower lacks; absent while it is not
//!                                                  connected
//!   leasehold_store_journal_fsync_seconds          histogram
//!   leasehold_store_disk_stalled_seconds           how long the present write or fsync has been hanging; 0 if none is
//!   leasehold_store_writes_total{result}           committed, declined (409, 404, 412), refused (421, 503, 507), unknown (504)
//!   leasehold_store_memory_used_bytes              memory for data (and the program), estimated
//!   leasehold_store_memory_allowed_bytes           above this, writes that grow the data are refused (507)
//!   leasehold_store_disk_used_bytes                in use on the volume's file system, by any program
//!   leasehold_store_disk_allowed_bytes             above this, they are refused, too
//!   leasehold_store_out_of_room{limit}             1 while the limit (`memory`, `disk`) is exceeded
//!   leasehold_store_collections_file{state}        definitions of --collections-file: `in-force`, `pending`, `refused`, `differs`;
//!                                                  absent without a file
//!   leasehold_store_collections_file_applied       1 if that file is the one that was applied last
//!   leasehold_store_expiry_paused                  1 while nothing expires, as after a restore, until `PUT /api/expiry`
//!   leasehold_store_peer_rejected_total{reason}    connections to the peer port closed because of what they sent
//!   leasehold_store_connections{port}              accepted connections that are open; port: clients, peers, probes (peers: at
//!                                                  the leader each follower's; those with forwarded writes: at clients, too)
//!   leasehold_store_connections_closed_total{port,reason}  closed by us: silent, idle, stalled, room, refused
//!   leasehold_store_connections_waited_total{port} how often a new connection had to wait because all places were taken
//!   leasehold_store_watchers                       clients that are watching
//!   leasehold_store_watchers_refused_total         clients refused because too many were
//!   leasehold_store_snapshots_served_total         snapshots that clients read to their end (`GET /api/snapshot`)
//! ```

use crate::handle::Handle;
use crate::peer::Rejection;
use leasehold_daemon::serve::{Counts, Ports};
use leasehold_replication::{Level, Phase, Sum};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// All metrics of one process. A clone shares them.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    /// Held while a scrape fills the gauges and writes them, so that two scrapes do not mix.
    scrape: Mutex<()>,
    state: Family<StateLabel, Gauge>,
    promised_term: Gauge<u64, AtomicU64>,
    committed: Gauge<u64, AtomicU64>,
    applied: Gauge<u64, AtomicU64>,
    sum: Gauge<u64, AtomicU64>,
    voters: Gauge,
    ready: Gauge,
    foreign_cluster: Gauge,
    went_back: Gauge,
    diverged: Gauge,
    format: Gauge,
    format_build: Gauge,
    format_allowed: Gauge,
    staleness: Gauge<f64, AtomicU64>,
    clock_skew: Gauge<f64, AtomicU64>,
    follower_lag: Family<FollowerLabel, Gauge<u64, AtomicU64>>,
    memory_used: Gauge<u64, AtomicU64>,
    memory_allowed: Gauge<u64, AtomicU64>,
    disk_used: Gauge<u64, AtomicU64>,
    disk_allowed: Gauge<u64, AtomicU64>,
    out_of_room: Family<LimitLabel, Gauge>,
    collections_file: Family<StateLabel, Gauge>,
    collections_file_applied: Gauge,
    expiry_paused: Gauge,
    journal_fsync: Histogram,
    disk_stalled: Gauge<f64, AtomicU64>,
    writes: Family<ResultLabel, Counter>,
    peer_rejected: Family<ReasonLabel, Counter>,
    watchers: Gauge,
    watchers_refused: Counter,
    snapshots_served: Counter,
    ports: [Arc<Counts>; 3],
}

/// The ports of the store in the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// `--listen`.
    Clients,
    /// `--peer-listen`.
    Peers,
    /// `--probe-port`.
    Probes,
}

impl Port {
    const ALL: [Port; 3] = [Port::Clients, Port::Peers, Port::Probes];

    /// The label's value.
    pub fn word(self) -> &'static str {
        match self {
            Port::Clients => "clients",
            Port::Peers => "peers",
            Port::Probes => "probes",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FollowerLabel {
    follower: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabel {
    limit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: WriteResult,
}

/// How the definitions of a collections file stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileCounts {
    /// The file is the one that was applied last.
    pub applied: bool,
    /// Definitions that are in force,
    pub in_force: i64,
    /// whose records are being examined,
    pub pending: i64,
    /// that the records did not allow,
    pub refused: i64,
    /// and that are otherwise for another reason.
    pub differing: i64,
}

/// How a client's write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the names are the label's values")]
pub enum WriteResult {
    /// Done.
    committed,
    /// Committed, and decided as not to be done: a conflict, no such record, a condition that does not hold.
    declined,
    /// Not done, and never will be.
    refused,
    /// Perhaps done.
    unknown,
}

impl Metrics {
    /// Nothing counted yet.
    #[expect(clippy::new_without_default, reason = "a second set of metrics is nothing to make by default")]
    pub fn new() -> Metrics {
        let mut inner = Inner::new();
        let mut registry = Registry::with_prefix("leasehold_store");
        inner.register(&mut registry);
        inner.registry = registry;
        Metrics(Arc::new(inner))
    }

    /// Counts one fsync of the journal. `Metrics` is cheap to clone into a closure.
    pub fn journal_fsync(&self, took: Duration) {
        self.0.journal_fsync.observe(took.as_secs_f64());
    }

    /// Counts a connection to the peer port that was closed because of what it sent. `reason`: a word from a fixed list.
    pub fn peer_rejected(&self, reason: Rejection) {
        self.0.peer_rejected.get_or_create(&ReasonLabel { reason: reason.as_str() }).inc();
    }

    /// Counts a client that may not watch because too many are watching.
    pub fn watcher_refused(&self) {
        self.0.watchers_refused.inc();
    }

    /// Counts a snapshot that a client has read.
    pub fn snapshot_served(&self) {
        self.0.snapshots_served.inc();
    }

    /// Where a port's connections are counted.
    pub fn port(&self, port: Port) -> Arc<Counts> {
        Arc::clone(&self.0.ports[port as usize])
    }

    /// Counts a client's write.
    pub fn write_ended(&self, result: WriteResult) {
        self.0.writes.get_or_create(&ResultLabel { result }).inc();
    }

    /// How the definitions of the collections file stand.
    pub fn collections_file(&self, counts: FileCounts) {
        let FileCounts { applied, in_force, pending, refused, differing } = counts;
        let states = [("in-force", in_force), ("pending", pending), ("refused", refused), ("differs", differing)];
        for (state, count) in states {
            self.0.collections_file.get_or_create(&StateLabel { state }).set(count);
        }
        self.0.collections_file_applied.set(i64::from(applied));
    }

    /// Everything in the OpenMetrics text format, as of now.
    ///
    /// # Errors
    /// None that our own metrics can cause.
    pub fn encode(&self, handle: &Handle) -> Result<String, std::fmt::Error> {
        let inner = &*self.0;
        let _one_at_a_time = inner.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        let status = handle.status();
        let phase = status.as_ref().map_or(Phase::Starting, |status| status.phase);
        for each in PHASES {
            let label = StateLabel { state: phase_word(each) };
            inner.state.get_or_create(&label).set(i64::from(each == phase));
        }
        inner.ready.set(i64::from(handle.ready().is_ok()));
        inner.disk_stalled.set(handle.disk().hangs().map_or(0.0, |(_, age)| age.as_secs_f64()));
        let documents = handle.documents();
        inner.applied.set(documents.applied().seq.0);
        inner.sum.set(last_digits(documents.sum()));
        inner.expiry_paused.set(i64::from(documents.expiry_paused()));
        inner.watchers.set(i64::try_from(handle.history().watchers()).unwrap_or(i64::MAX));
        let staleness = handle.fresh_as_of().map(|as_of| as_of.elapsed().as_secs_f64());
        inner.staleness.set(staleness.unwrap_or(f64::NAN));
        inner.clock_skew.set(handle.clocks().apart.map_or(f64::NAN, |apart| apart.as_secs_f64()));
        let figures = handle.room();
        inner.memory_used.set(figures.memory_used_bytes);
        inner.memory_allowed.set(figures.memory_allowed_bytes);
        inner.disk_used.set(figures.disk_used_bytes.unwrap_or(0));
        inner.disk_allowed.set(figures.disk_allowed_bytes.unwrap_or(0));
        for (limit, level) in [("memory", figures.room.memory), ("disk", figures.room.disk)] {
            inner.out_of_room.get_or_create(&LimitLabel { limit }).set(i64::from(level >= Level::Over));
        }
        inner.follower_lag.clear();
        if let Some(status) = status {
            inner.promised_term.set(status.promise.term.0);
            inner.committed.set(status.committed.0);
            inner.voters.set(i64::try_from(status.voters.voters.len()).unwrap_or(i64::MAX));
            inner.foreign_cluster.set(i64::from(status.foreign_cluster_id.is_some()));
            inner.went_back.set(i64::from(status.went_back.is_some()));
            inner.diverged.set(i64::from(status.diverged.is_some()));
            inner.format.set(status.formats.in_force.into());
            inner.format_build.set(status.formats.build.into());
            inner.format_allowed.set(status.formats.allowed.into());
            for follower in status.followers.iter().filter(|follower| follower.connected) {
                let label = FollowerLabel { follower: follower.name.clone() };
                let lag = status.position.seq.0.saturating_sub(follower.verified.0);
                inner.follower_lag.get_or_create(&label).set(lag);
            }
        }
        let mut out = String::new();
        text::encode(&mut out, &inner.registry)?;
        Ok(out)
    }
}

impl Inner {
    fn new() -> Inner {
        Inner {
            registry: Registry::default(),
            scrape: Mutex::new(()),
            state: Family::default(),
            promised_term: Gauge::default(),
            committed: Gauge::default(),
            applied: Gauge::default(),
            sum: Gauge::default(),
            voters: Gauge::default(),
            ready: Gauge::default(),
            foreign_cluster: Gauge::default(),
            went_back: Gauge::default(),
            diverged: Gauge::default(),
            format: Gauge::default(),
            format_build: Gauge::default(),
            format_allowed: Gauge::default(),
            staleness: Gauge::default(),
            clock_skew: Gauge::default(),
            follower_lag: Family::default(),
            memory_used: Gauge::default(),
            memory_allowed: Gauge::default(),
            disk_used: Gauge::default(),
            disk_allowed: Gauge::default(),
            out_of_room: Family::default(),
            collections_file: Family::default(),
            collections_file_applied: Gauge::default(),
            expiry_paused: Gauge::default(),
            // From 50 µs (a disk with a battery) to 1.6 s (one in trouble).
            journal_fsync: Histogram::new(exponential_buckets(0.000_05, 2.0, 16)),
            disk_stalled: Gauge::default(),
            writes: Family::default(),
            peer_rejected: Family::default(),
            watchers: Gauge::default(),
            watchers_refused: Counter::default(),
            snapshots_served: Counter::default(),
            ports: Default::default(),
        }
    }

    /// Gives each its name and its help.
    fn register(&self, registry: &mut Registry) {
        self.register_replica(registry);
        self.register_room(registry);
        self.register_file(registry);
        self.register_journal(registry);
        self.register_clients(registry);
        let ports = Port::ALL.map(|port| (port.word(), Arc::clone(&self.ports[port as usize])));
        registry.register_collector(Box::new(Ports::new("", ports.to_vec())));
    }

    fn register_replica(&self, registry: &mut Registry) {
        registry.register("state", "1 for the state that the replica is in", self.state.clone());
        registry.register("promised_term", "Term that the replica is bound to", self.promised_term.clone());
        registry.register("committed_sequence", "Last committed entry that the replica knows", self.committed.clone());
        registry.register("applied_sequence", "Last entry in the documents", self.applied.clone());
        registry.register("sum", "Last 12 hexadecimal digits of the sum of the documents", self.sum.clone());
        registry.register("voters", "Voters by the replica's own log", self.voters.clone());
        registry.register("ready", "1 when traffic may be sent to the replica", self.ready.clone());
        registry.register("foreign_cluster", "1 when the Lease names another cluster", self.foreign_cluster.clone());
        registry.register("went_back", "1 when the volume has lost what it acknowledged", self.went_back.clone());
        registry.register("diverged", "1 when the data are not those of the other replicas", self.diverged.clone());
        registry.register("format", "Format in force, of all that is written", self.format.clone());
        registry.register("format_build", "Highest format that this build reads", self.format_build.clone());
        registry.register("format_allowed", "Highest format that --format-max allows", self.format_allowed.clone());
        registry.register_with_unit("staleness", "How old the data may be", Unit::Seconds, self.staleness.clone());
        registry.register_with_unit(
            "clock_skew",
            "Difference of the leader's clock from that of the replica that is worst",
            Unit::Seconds,
            self.clock_skew.clone(),
        );
        registry.register(
            "follower_lag_entries",
            "Entries that the follower does not have yet",
            self.follower_lag.clone(),
        );
    }

    fn register_room(&self, registry: &mut Registry) {
        let room = [
            ("memory_used", "Memory for data and the program, estimated", &self.memory_used),
            ("memory_allowed", "Above this, writes that make the data larger are refused", &self.memory_allowed),
            ("disk_used", "Used bytes of the volume's file system, by any program", &self.disk_used),
            ("disk_allowed", "Above this, writes that make the data larger are refused", &self.disk_allowed),
        ];
        for (name, help, gauge) in room {
            registry.register_with_unit(name, help, Unit::Bytes, gauge.clone());
        }
        registry.register("out_of_room", "1 while the limit is exceeded", self.out_of_room.clone());
    }

    fn register_file(&self, registry: &mut Registry) {
        let what = "Definitions of --collections-file by how they stand";
        registry.register("collections_file", what, self.collections_file.clone());
        let what = "1 when that file is the one that was applied last";
        registry.register("collections_file_applied", what, self.collections_file_applied.clone());
        let what = "1 while nothing expires, as after a restore, until PUT /api/expiry";
        registry.register("expiry_paused", what, self.expiry_paused.clone());
    }

    fn register_journal(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "journal_fsync",
            "Time of one fsync of the journal",
            Unit::Seconds,
            self.journal_fsync.clone(),
        );
        registry.register_with_unit(
            "disk_stalled",
            "How long the current hanging write or fsync of the journal has lasted, 0 while none hangs",
            Unit::Seconds,
            self.disk_stalled.clone(),
        );
    }

    fn register_clients(&self, registry: &mut Registry) {
        registry.register("writes", "Clients' writes by outcome", self.writes.clone());
        registry.register(
            "peer_rejected",
            "Peer connections closed because of invalid input",
            self.peer_rejected.clone(),
        );
        registry.register("watchers", "Clients that are watching", self.watchers.clone());
        registry.register(
            "watchers_refused",
            "Clients that were refused a watch because too many are watching",
            self.watchers_refused.clone(),
        );
        registry.register("snapshots_served", "Snapshots that clients read", self.snapshots_served.clone());
    }
}

/// Of 32 hexadecimal digits the last 12: what a float, which is all that Prometheus has, contains exactly.
fn last_digits(sum: Sum) -> u64 {
    const DIGITS: u128 = (1 << 48) - 1;
    u64::try_from(sum.0 & DIGITS).expect("it has 48 bits")
}

const PHASES: [Phase; 9] = [
    Phase::Starting,
    Phase::Learner,
    Phase::Follower,
    Phase::Recovering,
    Phase::Leading,
    Phase::Draining,
    Phase::Failed,
    Phase::WentBack,
    Phase::Diverged,
];

/// The word for a phase in JSON and metrics.
pub fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Starting => "starting",
        Phase::Learner => "learner",
        Phase::Follower => "follower",
        Phase::Recovering => "recovering",
        Phase::Leading => "leading",
        Phase::Draining => "draining",
        Phase::Failed => "failed",
        Phase::WentBack => "went-back",
        Phase::Diverged => "diverged",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use leasehold_replication::Incarnation;
    use std::collections::BTreeSet;

    #[test]
    fn a_scrape_has_the_public_names_before_the_volume_is_open() {
        let (handle, _server) = crate::handle::handle("pod-0", Incarnation(uuid::Uuid::nil()));
        let metrics = Metrics::new();
        metrics.journal_fsync(Duration::from_micros(700));
        metrics.peer_rejected(Rejection::Frame);
        metrics.write_ended(WriteResult::committed);
        metrics.watcher_refused();
        let text = metrics.encode(&handle).unwrap();
        for line in [
            "leasehold_store_state{state=\"starting\"} 1",
            "leasehold_store_state{state=\"leading\"} 0",
            "leasehold_store_ready 0",
            "leasehold_store_committed_sequence 0",
            "leasehold_store_applied_sequence 0",
            "leasehold_store_sum 0",
            "leasehold_store_voters 0",
            "leasehold_store_diverged 0",
            "leasehold_store_expiry_paused 0",
            "leasehold_store_disk_stalled_seconds 0.0",
            "leasehold_store_journal_fsync_seconds_count 1",
            "leasehold_store_journal_fsync_seconds_bucket{le=\"0.0008\"} 1",
            "leasehold_store_journal_fsync_seconds_bucket{le=\"0.0004\"} 0",
            "leasehold_store_writes_total{result=\"committed\"} 1",
            "leasehold_store_peer_rejected_total{reason=\"frame\"} 1",
            "leasehold_store_watchers 0",
            "leasehold_store_watchers_refused_total 1",
            "leasehold_store_snapshots_served_total 0",
            "leasehold_store_connections{port=\"clients\"} 0",
            "leasehold_store_connections_closed_total{port=\"probes\",reason=\"silent\"} 0",
            "leasehold_store_connections_waited_total{port=\"peers\"} 0",
            "leasehold_store_memory_used_bytes 0",
            "leasehold_store_memory_allowed_bytes 0",
            "leasehold_store_disk_used_bytes 0",
            "leasehold_store_disk_allowed_bytes 0",
            "leasehold_store_out_of_room{limit=\"memory\"} 0",
            "leasehold_store_out_of_room{limit=\"disk\"} 0",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn the_gauge_of_the_sum_is_its_last_digits_exactly() {
        let sum: Sum = "0123456789abcdef0123ffffffffffff".parse().unwrap();
        let digits = last_digits(sum);
        assert_eq!(digits, 0xffff_ffff_ffff);
        assert_eq!(digits as f64 as u64, digits);
        assert_eq!(last_digits(Sum(u128::MAX << 48)), 0);
    }

    #[test]
    fn every_metric_stands_in_the_design_document_and_no_other_does() {
        let page = include_str!("../../docs/design.md");
        let names = page.lines().filter(|line| line.starts_with("| `leasehold_")).flat_map(|line| {
            // The cell of the names: `name{labels}`, and perhaps several of them.
            let cell = line.split('|').nth(1).unwrap_or_default();
            cell.split('`').skip(1).step_by(2)
        });
        let names = names.map(|name| name.split('{').next().unwrap_or_default());
        let documented: BTreeSet<&str> = names
            .map(|name| name.trim_end_matches("_total"))
            .filter(|name| name.starts_with("leasehold_store_"))
            .collect();
        let metrics = Metrics::new();
        metrics.peer_rejected(Rejection::Frame);
        metrics.write_ended(WriteResult::committed);
        // A family without a value is not written, so each gets one.
        let inner = &*metrics.0;
        inner.state.get_or_create(&StateLabel { state: "starting" }).set(0);
        inner.follower_lag.get_or_create(&FollowerLabel { follower: "pod-1".to_owned() }).set(0);
        inner.out_of_room.get_or_create(&LimitLabel { limit: "disk" }).set(0);
        metrics.collections_file(FileCounts::default());
        let mut text = String::new();
        text::encode(&mut text, &inner.registry).unwrap();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        assert_eq!(documented, types.collect());
    }
}
