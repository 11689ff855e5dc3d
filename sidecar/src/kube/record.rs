//! The record of terms at the API server: a Lease beside the Lease, `<lease>.first`, which no manifest has and nobody holds.
//!
//! ```text
//!   Effect::ReadRecord  ──▶ GET ─────────────────────────────▶ Input::RecordRead
//!   Effect::WriteRecord ──▶ POST │ PUT with its resourceVersion ──▶ Input::RecordWritten
//! ```
//!
//! `spec.leaseTransitions` is the highest term, `spec.leaseDurationSeconds` the longest duration of a holder.
//! A POST carries the mark of this run, which tells a POST without an answer from another sidecar's; a PUT removes it.
//! A PUT has all that others put on the object (labels, annotations, owners, finalizers), as it was seen last. A patch would
//! need another right.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::coordination::v1::{Lease as RawLease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;
use leasehold_election::{Input, RECORD_SUFFIX, RecordRead, RecordWrite, RecordWritten, Version, annotation};
use tracing::{debug, warn};
use uuid::Uuid;

use crate::kube::lease::{seconds_of, term_of};
use crate::kube::request::{LEASES, RequestError, Requester, Right};

/// For people who find it.
const NOTE: (&str, &str) = (
    "leasehold.dev/note",
    "The highest term of the Lease of this name without .first. Never delete it: terms would begin anew.",
);

/// The record of terms of a Lease.
#[derive(Clone)]
pub(crate) struct RecordClient {
    requester: Requester,
    api: Api<RawLease>,
    name: String,
    /// The metadata of the version that was seen last.
    seen: Arc<Mutex<Option<ObjectMeta>>>,
}

impl RecordClient {
    pub(crate) fn new(requester: Requester, lease: &str) -> RecordClient {
        let api = Api::namespaced(requester.client.clone(), &requester.namespace);
        RecordClient { requester, api, name: format!("{lease}{RECORD_SUFFIX}"), seen: Arc::default() }
    }

    fn see(&self, raw: &RawLease) -> Version {
        let mut metadata = raw.metadata.clone();
        // Never read, and the largest part of the object.
        metadata.managed_fields = None;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(metadata);
        version_of(raw)
    }

    /// The object to send; none if the version that it replaces is not the one that was seen last.
    fn object(&self, write: &RecordWrite) -> Option<RawLease> {
        let mut metadata = match &write.expected {
            None => ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(self.requester.namespace.clone()),
                ..ObjectMeta::default()
            },
            Some(version) => {
                let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                // Without a version the API server would replace any.
                let is_it = |seen: &&ObjectMeta| seen.resource_version.as_ref() == Some(&version.0);
                seen.as_ref().filter(is_it).filter(|_| !version.0.is_empty())?.clone()
            }
        };
        let (note, text) = NOTE;
        let annotations = metadata.annotations.get_or_insert_default();
        annotations.insert(note.to_owned(), text.to_owned());
        annotations.remove(annotation::CREATED_BY);
        annotations.extend(write.created_by.map(|run| (annotation::CREATED_BY.to_owned(), run.to_string())));
        // A term fits an int32 by construction.
        let lease_transitions = i32::try_from(write.term.0).ok();
        let lease_duration_seconds = i32::try_from(write.duration_seconds).ok();
        let spec = LeaseSpec { lease_transitions, lease_duration_seconds, ..LeaseSpec::default() };
        Some(RawLease { metadata, spec: Some(spec) })
    }

    /// One GET.
    pub(crate) fn read(&self) -> impl Future<Output = Input> + Send + 'static {
        let this = self.clone();
        async move {
            let RecordClient { requester, api, name, .. } = &this;
            let read = requester.call(Right::new("get", LEASES), api.get_opt(name)).await;
            Input::RecordRead(match read {
                Ok(Some(found)) => RecordRead::Found {
                    version: this.see(&found),
                    term: term_of(&found),
                    duration_seconds: seconds_of(&found),
                    created_by: created_by(&found),
                },
                Ok(None) => RecordRead::NotFound,
                Err(error) => {
                    debug!(%error, "cannot read the record of terms");
                    match error {
                        RequestError::Denied { .. } => RecordRead::Denied,
                        _ => RecordRead::NoAnswer,
                    }
                }
            })
        }
    }

    /// One compare-and-swap.
    pub(crate) fn write(&self, write: RecordWrite) -> impl Future<Output = Input> + Send + 'static {
        let this = self.clone();
        let object = self.object(&write);
        async move {
            let RecordClient { requester, api, name, .. } = &this;
            let params = PostParams::default();
            let written = match object {
                // The election must look again.
                None => Err(RequestError::Conflict),
                Some(object) if write.expected.is_none() => {
                    requester.call(Right::new("create", LEASES), api.create(&params, &object)).await
                }
                Some(object) => requester.call(Right::new("update", LEASES), api.replace(name, &params, &object)).await,
            };
            Input::RecordWritten(match written {
                Ok(written) => RecordWritten::Written { version: this.see(&written) },
                Err(RequestError::Conflict | RequestError::NotFound | RequestError::Gone) => RecordWritten::Conflict,
                Err(error @ (RequestError::Denied { .. } | RequestError::Invalid { .. })) => {
                    warn!(%error, record = name, "cannot write the record of terms; going on without it, so a Lease that nobody held is only taken after a whole duration");
                    RecordWritten::Denied
                }
                Err(error) => {
                    debug!(%error, "cannot write the record of terms");
                    RecordWritten::Unknown
                }
            })
        }
    }
}

fn created_by(raw: &RawLease) -> Option<Uuid> {
    let mark = raw.metadata.annotations.as_ref()?.get(annotation::CREATED_BY)?;
    Uuid::parse_str(mark).ok()
}

fn version_of(raw: &RawLease) -> Version {
    Version(raw.metadata.resource_version.clone().unwrap_or_default())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::args::Config;
    use crate::telemetry::Metrics;
    use leasehold_api::{ApiServer, Faults, Kind, Who};
    use leasehold_election::Term;

    async fn client() -> (ApiServer, RecordClient) {
        let api = ApiServer::start(0).unwrap();
        let config = Config::plain("n", "db", "db-0", "a:1").unwrap();
        let requester = Requester::new(api.client("sidecar", "n").await.unwrap(), &config, Metrics::new());
        (api, RecordClient::new(requester, "db"))
    }

    fn write(expected: Option<Version>, term: u64) -> RecordWrite {
        let created_by = expected.is_none().then(|| Uuid::from_u128(0xa));
        RecordWrite { expected, term: Term(term), duration_seconds: 15, created_by }
    }

    #[tokio::test]
    async fn it_is_created_once_and_replaced_in_the_version_that_was_seen() {
        let (api, record) = client().await;
        assert_eq!(record.read().await, Input::RecordRead(RecordRead::NotFound));
        let Input::RecordWritten(RecordWritten::Written { version }) = record.write(write(None, 3)).await else {
            panic!()
        };
        assert_eq!(
            record.read().await,
            Input::RecordRead(RecordRead::Found {
                version: version.clone(),
                term: Term(3),
                duration_seconds: Some(15),
                created_by: Some(Uuid::from_u128(0xa))
            })
        );
        let spec = &api.get(Kind::Lease, "n", "db.first").unwrap()["spec"];
        assert_eq!((&spec["leaseTransitions"], &spec["leaseDurationSeconds"]), (&3.into(), &15.into()));
        let conflict = Input::RecordWritten(RecordWritten::Conflict);
        assert_eq!(record.write(write(None, 4)).await, conflict, "somebody else got 201");
        let written = record.write(write(Some(version.clone()), 4)).await;
        assert!(matches!(written, Input::RecordWritten(RecordWritten::Written { .. })), "{written:?}");
        let found = record.read().await;
        assert!(matches!(found, Input::RecordRead(RecordRead::Found { created_by: None, .. })), "{found:?}");
        assert_eq!(record.write(write(Some(version), 5)).await, conflict);
    }

    /// A label of a policy or of a backup, and `kubectl edit`.
    #[tokio::test]
    async fn what_others_put_on_it_stays() {
        let (api, record) = client().await;
        let written = record.write(write(None, 3)).await;
        let Input::RecordWritten(RecordWritten::Written { version: first }) = written else { panic!("{written:?}") };
        let theirs = serde_json::json!({"metadata": {
            "labels": {"backup": "yes"}, "annotations": {"team": "web"}, "finalizers": ["example.com/keep"],
        }});
        api.patch(Kind::Lease, "n", "db.first", &theirs).unwrap();
        let conflict = Input::RecordWritten(RecordWritten::Conflict);
        assert_eq!(record.write(write(Some(first), 4)).await, conflict, "it would have removed the label");
        let mut expected = match record.read().await {
            Input::RecordRead(RecordRead::Found { version, .. }) => version,
            other => panic!("{other:?}"),
        };
        for term in [4, 5] {
            expected = match record.write(write(Some(expected), term)).await {
                Input::RecordWritten(RecordWritten::Written { version }) => version,
                other => panic!("{other:?}"),
            };
            let now = api.get(Kind::Lease, "n", "db.first").unwrap();
            assert_eq!(now["spec"]["leaseTransitions"], term, "{now}");
            let metadata = &now["metadata"];
            assert_eq!(
                (&metadata["labels"]["backup"], &metadata["annotations"]["team"]),
                (&"yes".into(), &"web".into())
            );
            assert_eq!(metadata["finalizers"], serde_json::json!(["example.com/keep"]));
            assert!(metadata["annotations"][NOTE.0].is_string(), "{now}");
        }
    }

    /// Another run read it: this one must look before it replaces what it does not know.
    #[tokio::test]
    async fn a_version_that_was_not_seen_is_not_replaced() {
        let (_api, record) = client().await;
        let written = record.write(write(None, 3)).await;
        let Input::RecordWritten(RecordWritten::Written { version }) = written else { panic!("{written:?}") };
        let other = RecordClient::new(record.requester.clone(), "db");
        let conflict = Input::RecordWritten(RecordWritten::Conflict);
        assert_eq!(other.write(write(Some(version.clone()), 4)).await, conflict);
        other.read().await;
        let written = other.write(write(Some(version), 4)).await;
        assert!(matches!(written, Input::RecordWritten(RecordWritten::Written { .. })), "{written:?}");
    }

    #[tokio::test]
    async fn a_missing_right_is_told_apart_from_silence() {
        let (api, record) = client().await;
        api.set_faults(&Who::All, Faults::status(403));
        assert_eq!(record.read().await, Input::RecordRead(RecordRead::Denied));
        assert_eq!(record.write(write(None, 1)).await, Input::RecordWritten(RecordWritten::Denied));
        api.set_faults(&Who::All, Faults::status(500));
        assert_eq!(record.read().await, Input::RecordRead(RecordRead::NoAnswer));
        assert_eq!(record.write(write(None, 1)).await, Input::RecordWritten(RecordWritten::Unknown));
        api.set_faults(&Who::All, Faults::lost_answers_of_writes());
        assert_eq!(record.write(write(None, 1)).await, Input::RecordWritten(RecordWritten::Unknown));
        api.clear_faults();
        let found = record.read().await;
        let is_it = |created_by: &Option<Uuid>| *created_by == Some(Uuid::from_u128(0xa));
        assert!(
            matches!(&found, Input::RecordRead(RecordRead::Found { created_by, .. }) if is_it(created_by)),
            "it is done, and known by its mark: {found:?}"
        );
        assert_eq!(record.write(write(None, 1)).await, Input::RecordWritten(RecordWritten::Conflict));
    }
}
