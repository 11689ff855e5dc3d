//! Metrics. The names of the metrics are public: see docs/design.md.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use leasehold_daemon::serve::{Counts, Ports};

/// The content type of [`Metrics::encode`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RoleLabel {
    role: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabel {
    verb: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ObjectLabel {
    kind: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// The metrics of one sidecar. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Arc<Mutex<Registry>>,
    role: Family<RoleLabel, Gauge>,
    term: Gauge,
    failover: Histogram,
    transitions: Counter,
    request_errors: Family<RequestLabel, Counter>,
    unreadable: Family<KindLabel, Counter>,
    dropped: Family<KindLabel, Counter>,
    objects_failing: Family<KindLabel, Gauge>,
    object_errors: Family<ObjectLabel, Counter>,
    objects_mended: Family<KindLabel, Counter>,
    app_fit: Gauge,
    notifications: Family<OutcomeLabel, Counter>,
    connections: Arc<Counts>,
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let mut registry = Registry::with_prefix("leasehold");
        let metrics = Metrics {
            role: Family::default(),
            term: Gauge::default(),
            failover: Histogram::new([0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0]),
            transitions: Counter::default(),
            request_errors: Family::default(),
            unreadable: Family::default(),
            dropped: Family::default(),
            objects_failing: Family::default(),
            object_errors: Family::default(),
            objects_mended: Family::default(),
            app_fit: Gauge::default(),
            notifications: Family::default(),
            connections: Arc::default(),
            registry: Arc::default(),
        };
        registry.register("role", "1 for the role that this pod has", metrics.role.clone());
        registry.register("term", "Term of the leadership that this pod knows", metrics.term.clone());
        registry.register_with_unit(
            "failover",
            "Time without a leader, as this pod saw it, for each change of leadership",
            Unit::Seconds,
            metrics.failover.clone(),
        );
        registry.register("lease_transitions", "Changes of leadership that this pod saw", metrics.transitions.clone());
        registry.register(
            "lease_request_errors",
            "Requests about the Lease that failed, by verb and reason",
            metrics.request_errors.clone(),
        );
        registry.register(
            "sidecar_unreadable_files",
            "Reads of a file of the shared directory that found it unusable",
            metrics.unreadable.clone(),
        );
        registry.register("sidecar_dropped", "Events that were dropped", metrics.dropped.clone());
        registry.register(
            "sidecar_objects_failing",
            "Objects that this sidecar maintains (EndpointSlices, its pod's label) and cannot write at present",
            metrics.objects_failing.clone(),
        );
        registry.register(
            "sidecar_object_errors",
            "Attempts to write such an object that failed, by kind and reason",
            metrics.object_errors.clone(),
        );
        registry.register(
            "sidecar_objects_mended",
            "Such objects that were edited or deleted and that the sidecar restored",
            metrics.objects_mended.clone(),
        );
        registry.register(
            "sidecar_app_fit",
            "1 while the app is fit to lead, by the checks of its health; always 1 without such checks",
            metrics.app_fit.clone(),
        );
        registry.register(
            "sidecar_notifications",
            "Notices of the role for --notify, by outcome",
            metrics.notifications.clone(),
        );
        metrics.app_fit(true);
        let ports = Ports::new("sidecar_", vec![("sidecar", Arc::clone(&metrics.connections))]);
        registry.register_collector(Box::new(ports));
        *metrics.registry.lock().unwrap_or_else(PoisonError::into_inner) = registry;
        metrics
    }

    pub(crate) fn role(&self, role: &'static str, term: u64) {
        for word in ["leader", "follower", "none"] {
            self.role.get_or_create(&RoleLabel { role: word }).set(i64::from(word == role));
        }
        self.term.set(i64::try_from(term).unwrap_or(i64::MAX));
    }

    /// A new leader is known.
    pub(crate) fn transition(&self) {
        self.transitions.inc();
    }

    /// There was no leader for this long: see [`crate::failover`].
    pub(crate) fn failed_over(&self, gap: Duration) {
        self.failover.observe(gap.as_secs_f64());
    }

    pub(crate) fn lease_request_failed(&self, verb: &'static str, reason: &'static str) {
        self.request_errors.get_or_create(&RequestLabel { verb, reason }).inc();
    }

    pub(crate) fn unreadable_file(&self, kind: &'static str) {
        self.unreadable.get_or_create(&KindLabel { kind }).inc();
    }

    pub(crate) fn dropped(&self, kind: &'static str) {
        self.dropped.get_or_create(&KindLabel { kind }).inc();
    }

    pub(crate) fn objects_failing(&self, kind: &'static str, count: usize) {
        self.objects_failing.get_or_create(&KindLabel { kind }).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn object_failed(&self, kind: &'static str, reason: &'static str) {
        self.object_errors.get_or_create(&ObjectLabel { kind, reason }).inc();
    }

    pub(crate) fn object_mended(&self, kind: &'static str) {
        self.objects_mended.get_or_create(&KindLabel { kind }).inc();
    }

    pub(crate) fn app_fit(&self, is_fit: bool) {
        self.app_fit.set(i64::from(is_fit));
    }

    /// A notice was delivered, failed, or was replaced by a newer one after it had failed.
    pub(crate) fn notified(&self, outcome: &'static str) {
        self.notifications.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Where the connections of our port are counted.
    pub(crate) fn connections(&self) -> Arc<Counts> {
        Arc::clone(&self.connections)
    }

    /// All metrics as OpenMetrics text.
    pub(crate) fn encode(&self) -> String {
        let mut out = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a String cannot fail; if an encoder does, a partial text is better than nothing.
        let _ = text::encode(&mut out, &registry);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

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
            .filter(|name| !name.starts_with("leasehold_store_") && !name.starts_with("leasehold_backup_"))
            .collect();
        // A family without a value is not written, so each gets one.
        let metrics = Metrics::new();
        metrics.role("none", 0);
        metrics.lease_request_failed("update", "timeout");
        metrics.unreadable_file("status");
        metrics.dropped("event");
        metrics.objects_failing("label", 0);
        metrics.object_failed("label", "denied");
        metrics.object_mended("label");
        metrics.notified("delivered");
        let text = metrics.encode();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        assert_eq!(documented, types.collect());
    }

    #[test]
    fn what_the_system_said_is_said_once() {
        let missing = kube::config::Kubeconfig::read_from("/nowhere/kubeconfig").expect_err("there is no such file");
        let words = leasehold_daemon::logs::in_words(&crate::kube::connect::ConnectError::Kubeconfig(missing));
        assert!(words.starts_with("cannot use the kubeconfig; "), "{words}");
        assert_eq!(words.matches("(os error 2)").count(), 1, "{words}");
    }

    #[test]
    fn the_metrics_have_their_public_names() {
        let metrics = Metrics::new();
        metrics.role("leader", 7);
        metrics.transition();
        metrics.failed_over(Duration::from_millis(80));
        metrics.lease_request_failed("update", "timeout");
        let text = metrics.encode();
        for line in [
            "leasehold_role{role=\"leader\"} 1",
            "leasehold_role{role=\"follower\"} 0",
            "leasehold_term 7",
            "leasehold_failover_seconds_count 1",
            "leasehold_lease_transitions_total 1",
            "leasehold_sidecar_app_fit 1",
            "leasehold_lease_request_errors_total{verb=\"update\",reason=\"timeout\"} 1",
            "leasehold_sidecar_connections{port=\"sidecar\"} 0",
            "leasehold_sidecar_connections_closed_total{port=\"sidecar\",reason=\"room\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }
}
