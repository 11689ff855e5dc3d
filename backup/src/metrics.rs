//! The agent's metrics. Their names are public: see docs/design.md.

use crate::bucket::Requests;
use leasehold_archive::agent::{Refused, Status};
use leasehold_daemon::serve::Counts;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

/// The content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AtLabel {
    at: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OperationLabel {
    operation: &'static str,
}

/// Where something failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum At {
    /// The store.
    Source,
    /// The bucket.
    Bucket,
    /// A full is not what it should be.
    Verify,
    /// Deleting what is no longer needed.
    Prune,
    /// The disk of this machine.
    Spool,
}

impl At {
    const ALL: [At; 5] = [At::Source, At::Bucket, At::Verify, At::Prune, At::Spool];

    /// As its label says it.
    pub fn word(self) -> &'static str {
        match self {
            At::Source => "source",
            At::Bucket => "bucket",
            At::Verify => "verify",
            At::Prune => "prune",
            At::Spool => "spool",
        }
    }
}

/// What was uploaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A snapshot.
    Full,
    /// A file of changes.
    Changes,
}

impl Kind {
    fn label(self) -> KindLabel {
        let kind = match self {
            Kind::Full => "full",
            Kind::Changes => "changes",
        };
        KindLabel { kind }
    }
}

type Seconds = Gauge<f64, AtomicU64>;

/// The metrics of one agent. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    verified: Seconds,
    recoverable: Seconds,
    recoverable_sequence: Gauge,
    complete: Seconds,
    failures: Family<AtLabel, Counter>,
    refused: Family<ReasonLabel, Gauge>,
    verified_alone: Gauge,
    gaps: Counter,
    uploads: Family<KindLabel, Counter>,
    uploaded: Family<KindLabel, Counter>,
    requests: Family<OperationLabel, Counter>,
    spooled: Gauge,
    pruned: Counter,
    connections: Arc<Counts>,
}

impl Metrics {
    /// Everything is 0.
    pub fn new() -> Metrics {
        let metrics = Metrics {
            registry: Arc::default(),
            verified: Seconds::default(),
            recoverable: Seconds::default(),
            recoverable_sequence: Gauge::default(),
            complete: Seconds::default(),
            failures: Family::default(),
            refused: Family::default(),
            verified_alone: Gauge::default(),
            gaps: Counter::default(),
            uploads: Family::default(),
            uploaded: Family::default(),
            requests: Family::default(),
            spooled: Gauge::default(),
            pruned: Counter::default(),
            connections: Arc::default(),
        };
        let mut registry = Registry::with_prefix("leasehold_backup");
        let m = &metrics;
        registry.register_with_unit(
            "verified_timestamp",
            "The leaders' time of the newest verified full (0: none)",
            Unit::Seconds,
            m.verified.clone(),
        );
        registry.register_with_unit(
            "recoverable_timestamp",
            "The leaders' time up to which a restore leads (0: nothing)",
            Unit::Seconds,
            m.recoverable.clone(),
        );
        registry.register(
            "recoverable_sequence",
            "The sequence up to which a restore leads",
            m.recoverable_sequence.clone(),
        );
        registry.register_with_unit(
            "complete_timestamp",
            "When, by the agent's clock, the archive last held everything that the cluster had (0: not yet)",
            Unit::Seconds,
            m.complete.clone(),
        );
        registry.register("failures", "Calls that failed, by what they were made to", m.failures.clone());
        registry.register("refused", "1 while the agent refuses to write, by reason", m.refused.clone());
        registry.register(
            "verified_alone",
            "1 while the newest verified full counts by the word of the pod alone that it is from",
            m.verified_alone.clone(),
        );
        registry.register("gaps", "Times that the archive had to begin anew with a full behind a gap", m.gaps.clone());
        registry.register("uploads", "Objects that were uploaded, by kind", m.uploads.clone());
        registry.register_with_unit("uploaded", "Bytes that were uploaded, by kind", Unit::Bytes, m.uploaded.clone());
        registry.register("requests", "Requests to the bucket, by operation", m.requests.clone());
        registry.register_with_unit(
            "spooled",
            "Changes on the agent's disk that wait for the bucket",
            Unit::Bytes,
            m.spooled.clone(),
        );
        registry.register("pruned_objects", "Objects that were deleted because nothing needs them", m.pruned.clone());
        // Rates need a zero to begin with.
        for at in At::ALL {
            m.failures.get_or_create(&AtLabel { at: at.word() }).inc_by(0);
        }
        for kind in [Kind::Full, Kind::Changes] {
            m.uploads.get_or_create(&kind.label()).inc_by(0);
            m.uploaded.get_or_create(&kind.label()).inc_by(0);
        }
        m.requests_are(Requests::default());
        m.refused_are(None);
        *m.registry.lock().unwrap_or_else(PoisonError::into_inner) = registry;
        metrics
    }

    /// What the agent knows; `complete`: in seconds since 1970.
    pub fn status(&self, status: &Status, complete: Option<f64>) {
        let seconds = |ms: u64| ms as f64 / 1000.0;
        self.verified.set(status.verified.map_or(0.0, |time| seconds(time.ms())));
        self.recoverable.set(status.recoverable.map_or(0.0, |(_, time)| seconds(time.ms())));
        let sequence = status.recoverable.map_or(0, |(seq, _)| i64::try_from(seq.0).unwrap_or(i64::MAX));
        self.recoverable_sequence.set(sequence);
        self.complete.set(complete.unwrap_or(0.0));
        self.refused_are(status.refused);
        self.verified_alone.set(i64::from(status.is_verified_alone));
        self.gaps.inc_by(status.gaps.saturating_sub(self.gaps.get()));
    }

    fn refused_are(&self, refused: Option<Refused>) {
        for (why, reason) in
            [(Refused::ForeignHistory, "foreign-history"), (Refused::Ahead, "ahead"), (Refused::Format, "format")]
        {
            self.refused.get_or_create(&ReasonLabel { reason }).set(i64::from(refused == Some(why)));
        }
    }

    /// Something failed there.
    pub fn failed(&self, at: At) {
        self.failures.get_or_create(&AtLabel { at: at.word() }).inc();
    }

    /// An object is in the bucket.
    pub fn uploaded(&self, kind: Kind, bytes: u64) {
        self.uploads.get_or_create(&kind.label()).inc();
        self.uploaded.get_or_create(&kind.label()).inc_by(bytes);
    }

    /// How many requests there were so far.
    pub fn requests_are(&self, requests: Requests) {
        let Requests { list, put, get, head, delete } = requests;
        for (operation, count) in [("list", list), ("put", put), ("get", get), ("head", head), ("delete", delete)] {
            let counter = self.requests.get_or_create(&OperationLabel { operation });
            counter.inc_by(count.saturating_sub(counter.get()));
        }
    }

    /// How much waits on the disk.
    pub fn spooled(&self, bytes: u64) {
        self.spooled.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// So many objects were deleted.
    pub fn pruned(&self, objects: u64) {
        self.pruned.inc_by(objects);
    }

    /// Where the connections of our port are counted.
    pub fn connections(&self) -> Arc<Counts> {
        Arc::clone(&self.connections)
    }

    /// All metrics as OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a String cannot fail; if an encoder does, a partial text is better than nothing.
        let _ = text::encode(&mut out, &registry);
        out
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leasehold_archive::time::Time;
    use leasehold_replication::Seq;
    use std::collections::BTreeSet;

    #[test]
    fn the_metrics_have_their_public_names() {
        let metrics = Metrics::new();
        let recoverable = Some((Seq(830), Time::from_ms(2500)));
        let status = Status {
            verified: Some(Time::from_ms(1500)),
            recoverable,
            refused: Some(Refused::Ahead),
            gaps: 2,
            ..Status::default()
        };
        metrics.status(&status, Some(7.5));
        metrics.status(&status, Some(7.5));
        metrics.failed(At::Prune);
        metrics.uploaded(Kind::Changes, 100);
        metrics.requests_are(Requests { list: 3, ..Requests::default() });
        metrics.spooled(12);
        metrics.pruned(4);
        let text = metrics.encode();
        for line in [
            "leasehold_backup_verified_timestamp_seconds 1.5",
            "leasehold_backup_recoverable_timestamp_seconds 2.5",
            "leasehold_backup_recoverable_sequence 830",
            "leasehold_backup_complete_timestamp_seconds 7.5",
            "leasehold_backup_failures_total{at=\"source\"} 0",
            "leasehold_backup_failures_total{at=\"prune\"} 1",
            "leasehold_backup_refused{reason=\"foreign-history\"} 0",
            "leasehold_backup_refused{reason=\"ahead\"} 1",
            "leasehold_backup_gaps_total 2",
            "leasehold_backup_uploads_total{kind=\"full\"} 0",
            "leasehold_backup_uploads_total{kind=\"changes\"} 1",
            "leasehold_backup_uploaded_bytes_total{kind=\"changes\"} 100",
            "leasehold_backup_requests_total{operation=\"list\"} 3",
            "leasehold_backup_spooled_bytes 12",
            "leasehold_backup_pruned_objects_total 4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn every_metric_stands_in_the_design_document_and_no_other_does() {
        let page = include_str!("../../docs/design.md");
        let cells = page.lines().filter(|line| line.starts_with("| `leasehold_backup_"));
        let names = cells.flat_map(|line| line.split('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2));
        let names = names.map(|name| name.split('{').next().unwrap_or_default());
        let documented: BTreeSet<&str> = names.map(|name| name.trim_end_matches("_total")).collect();
        let text = Metrics::new().encode();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        assert_eq!(documented, types.collect());
    }
}
