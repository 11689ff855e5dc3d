//! The objects that this sidecar maintains at the API server (EndpointSlices, the pod's label), and what prevents that: for
//! `GET /v1/state`, `sidecar status`, the metrics and the log.
//!
//! ```text
//!   endpoints, label ──failed──▶ Upkeep ──▶ WARN when it begins and when its reason changes, counters
//!                    ──right───▶        ──▶ INFO when it is over
//!                                       ──▶ State::failing_objects
//! ```
//!
//! A task that reports a failure always tries again, with growing pauses.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::clock::unix_ms;
use crate::kube::request::RequestError;
use crate::telemetry::Metrics;

/// An object that is wrong and cannot be corrected at present.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct FailingObject {
    /// Its kind: `endpointslice` or `label`.
    pub kind: String,
    /// Its name; for a label: the pod's.
    pub name: String,
    /// The reason in a word, as in the metrics: `denied`, `timeout`, ...
    pub reason: String,
    /// The API server's message, or why it could not be asked.
    pub message: String,
    /// Since when, in Unix milliseconds.
    pub since_unix_ms: u64,
    /// The number of attempts.
    pub attempts: u64,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Upkeep {
    failing: Arc<Mutex<BTreeMap<Object, FailingObject>>>,
    metrics: Metrics,
}

/// One of the objects: its kind, and its name.
pub(crate) type Object = (&'static str, String);

/// The kinds.
pub(crate) const SLICE: &str = "endpointslice";
pub(crate) const LABEL: &str = "label";

impl Upkeep {
    pub(crate) fn new(metrics: Metrics) -> Upkeep {
        for kind in [SLICE, LABEL] {
            metrics.objects_failing(kind, 0);
        }
        Upkeep { failing: Arc::default(), metrics }
    }

    /// It is wrong, and this attempt to change that failed.
    pub(crate) fn failed(&self, object: &Object, error: &RequestError) {
        self.metrics.object_failed(object.0, error.reason());
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let found = failing.entry(object.clone()).or_insert_with(|| FailingObject {
            kind: object.0.to_owned(),
            name: object.1.clone(),
            since_unix_ms: unix_ms(),
            ..FailingObject::default()
        });
        found.attempts += 1;
        found.message = error.to_string();
        if found.reason != error.reason() {
            error.reason().clone_into(&mut found.reason);
            warn!(
                kind = object.0,
                name = object.1,
                %error,
                "cannot correct an object of this cluster; trying again until it succeeds: {}",
                what_to_do(object.0, error)
            );
        }
        let count = failing.keys().filter(|(kind, _)| *kind == object.0).count();
        self.metrics.objects_failing(object.0, count);
    }

    /// It is right.
    pub(crate) fn right(&self, object: &Object) {
        if let Some(found) = self.remove(object) {
            info!(kind = object.0, name = object.1, attempts = found.attempts, "the object is correct again");
        }
    }

    /// Another pod maintains it now.
    pub(crate) fn forget(&self, object: &Object) {
        self.remove(object);
    }

    /// Somebody changed or deleted it, and it was restored.
    pub(crate) fn mended(&self, object: &Object) {
        self.metrics.object_mended(object.0);
        warn!(kind = object.0, name = object.1, "this object was edited or deleted; restoring it");
    }

    fn remove(&self, object: &Object) -> Option<FailingObject> {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let found = failing.remove(object)?;
        let count = failing.keys().filter(|(kind, _)| *kind == object.0).count();
        self.metrics.objects_failing(object.0, count);
        Some(found)
    }

    /// All that are wrong.
    pub(crate) fn failing(&self) -> Vec<FailingObject> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

impl FailingObject {
    /// In one line, for people.
    pub(crate) fn line(&self) -> String {
        let FailingObject { kind, name, message, attempts, .. } = self;
        let seconds = unix_ms().saturating_sub(self.since_unix_ms) / 1000;
        format!("{kind} {name}: {message}; failed {attempts} times in {seconds} s, trying again")
    }
}

fn what_to_do(kind: &str, error: &RequestError) -> &'static str {
    match (error, kind) {
        (RequestError::Denied { .. }, SLICE) => {
            "grant get, list, watch, create and update of endpointslices to the pod's service account; until then the \
             Service of the leader may name another pod"
        }
        (RequestError::Denied { .. }, _) => {
            "grant patch, list and watch of its pod to the pod's service account, or do without the label: nothing \
             depends on it"
        }
        (RequestError::Invalid { .. }, SLICE) => {
            "compare it with the Service of the leader, and delete it if it cannot be updated: the sidecar creates \
             it again"
        }
        _ => "if this lasts, check the API server",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied() -> RequestError {
        RequestError::Denied { code: 403, message: "no".to_owned() }
    }

    #[test]
    fn what_fails_is_shown_until_it_is_right_and_counted() {
        let metrics = Metrics::new();
        let upkeep = Upkeep::new(metrics.clone());
        let slice: Object = (SLICE, "db-leader-ipv4".to_owned());
        upkeep.right(&slice);
        assert_eq!(upkeep.failing(), []);
        upkeep.failed(&slice, &denied());
        upkeep.failed(&slice, &denied());
        upkeep.failed(&(LABEL, "db-0".to_owned()), &RequestError::Conflict);
        let [found, _] = &upkeep.failing()[..] else { panic!("{:?}", upkeep.failing()) };
        assert_eq!((found.kind.as_str(), found.name.as_str()), (SLICE, "db-leader-ipv4"));
        assert_eq!((found.reason.as_str(), found.attempts), ("denied", 2));
        assert!(found.line().contains("refused (403): no"), "{}", found.line());
        let text = metrics.encode();
        for line in [
            "leasehold_sidecar_objects_failing{kind=\"endpointslice\"} 1",
            "leasehold_sidecar_objects_failing{kind=\"label\"} 1",
            "leasehold_sidecar_object_errors_total{kind=\"endpointslice\",reason=\"denied\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        upkeep.right(&slice);
        upkeep.mended(&slice);
        let text = metrics.encode();
        for line in [
            "leasehold_sidecar_objects_failing{kind=\"endpointslice\"} 0",
            "leasehold_sidecar_objects_mended_total{kind=\"endpointslice\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        assert_eq!(upkeep.failing().len(), 1);
    }
}
