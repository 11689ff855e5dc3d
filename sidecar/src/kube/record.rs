//! The record of terms at the API server: a Lease beside the Lease, `<lease>.first`, which no manifest has and nobody holds.
//!
//! ```text
//!   Effect::ReadRecord  ──▶ GET ─────────────────────────────▶ Input::RecordRead
//!   Effect::WriteRecord ──▶ POST │ PUT with its resourceVersion ──▶ Input::RecordWritten
//! ```

use std::future::Future;

use k8s_openapi::api::coordination::v1::{Lease as RawLease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;
use leasehold_election::{Input, RECORD_SUFFIX, RecordRead, RecordWrite, RecordWritten, Version};
use tracing::{debug, warn};

use crate::kube::lease::term_of;
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
}

impl RecordClient {
    pub(crate) fn new(requester: Requester, lease: &str) -> RecordClient {
        let api = Api::namespaced(requester.client.clone(), &requester.namespace);
        RecordClient { requester, api, name: format!("{lease}{RECORD_SUFFIX}") }
    }

    /// One GET.
    pub(crate) fn read(&self) -> impl Future<Output = Input> + Send + 'static {
        let RecordClient { requester, api, name } = self.clone();
        async move {
            let read = requester.call(Right::new("get", LEASES), api.get_opt(&name)).await;
            Input::RecordRead(match read {
                Ok(Some(found)) => RecordRead::Found { version: version_of(&found), term: term_of(&found) },
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
        let RecordClient { requester, api, name } = self.clone();
        async move {
            let object = object(&requester.namespace, &name, &write);
            let params = PostParams::default();
            let written = match write.expected {
                None => requester.call(Right::new("create", LEASES), api.create(&params, &object)).await,
                Some(_) => requester.call(Right::new("update", LEASES), api.replace(&name, &params, &object)).await,
            };
            Input::RecordWritten(match written {
                Ok(written) => RecordWritten::Written { version: version_of(&written) },
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

fn object(namespace: &str, name: &str, write: &RecordWrite) -> RawLease {
    let (note, text) = NOTE;
    RawLease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            resource_version: write.expected.as_ref().map(|version| version.0.clone()),
            annotations: Some([(note.to_owned(), text.to_owned())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            // A term fits an int32 by construction.
            lease_transitions: i32::try_from(write.term.0).ok(),
            ..LeaseSpec::default()
        }),
    }
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
        RecordWrite { expected, term: Term(term) }
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
            Input::RecordRead(RecordRead::Found { version: version.clone(), term: Term(3) })
        );
        assert_eq!(api.get(Kind::Lease, "n", "db.first").unwrap()["spec"]["leaseTransitions"], 3);
        let conflict = Input::RecordWritten(RecordWritten::Conflict);
        assert_eq!(record.write(write(None, 4)).await, conflict, "somebody else got 201");
        let written = record.write(write(Some(version.clone()), 4)).await;
        assert!(matches!(written, Input::RecordWritten(RecordWritten::Written { .. })), "{written:?}");
        assert_eq!(record.write(write(Some(version), 5)).await, conflict);
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
        assert_eq!(record.write(write(None, 1)).await, Input::RecordWritten(RecordWritten::Conflict), "it is done");
    }
}
