//! The Lease at the API server: reads, compare-and-swap, and the translation between its object and the election's view.
//!
//! ```text
//!   Effect::ReadLease  ──▶ GET ───────────────────────────▶ Input::LeaseRead
//!   Effect::WriteLease ──▶ raw object of that version, ──▶ PUT with its resourceVersion │ POST ──▶ Input::LeaseWritten
//!                          with the new body put into it
//! ```
//!
//! A PUT always carries the version that it replaces: an unconditional one could undo another sidecar's write. It is never
//! repeated here. After a time-out or a 5xx the outcome is unknown, and the election looks again.

use std::collections::VecDeque;
use std::future::Future;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease as RawLease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::Api;
use kube::api::PostParams;
use leasehold_election::{Body, Input, Lease, LeaseWrite, ReadOutcome, Term, Version, Watched, Why, WriteOutcome};
use tracing::{debug, warn};

use crate::kube::observe::Observed;
use crate::kube::request::{LEASES, RequestError, Requester, Right};

/// How many versions of the raw object are kept: the election decided on the last one or the one before.
const RAW_MAX: usize = 4;

/// The Lease of this cluster at the API server.
pub(crate) struct LeaseClient {
    requester: Requester,
    api: Api<RawLease>,
    name: String,
    /// The last raw objects that the election saw, the newest at the back.
    raw: VecDeque<RawLease>,
    /// The present StatefulSet; every write makes it the owner.
    owner: Option<OwnerReference>,
}

impl LeaseClient {
    pub(crate) fn new(requester: Requester, name: &str) -> LeaseClient {
        let api = Api::namespaced(requester.client.clone(), &requester.namespace);
        LeaseClient { requester, api, name: name.to_owned(), raw: VecDeque::new(), owner: None }
    }

    pub(crate) fn set_owner(&mut self, owner: Option<OwnerReference>) {
        self.owner = owner;
    }

    /// The owner that every write sets.
    pub(crate) fn owner(&self) -> Option<&OwnerReference> {
        self.owner.as_ref()
    }

    /// The last raw object that the election saw.
    pub(crate) fn latest(&self) -> Option<&RawLease> {
        self.raw.back()
    }

    /// One GET.
    pub(crate) fn read(&self) -> impl Future<Output = LeaseResponse> + Send + 'static {
        let (requester, api, name) = (self.requester.clone(), self.api.clone(), self.name.clone());
        async move {
            match requester.call(Right::new("get", LEASES), api.get_opt(&name)).await {
                Ok(found) => LeaseResponse::Read(Ok(found.map(Box::new))),
                Err(error) => {
                    debug!(%error, "cannot read the Lease");
                    LeaseResponse::Read(Err(error))
                }
            }
        }
    }

    /// One compare-and-swap.
    pub(crate) fn write(&self, write: LeaseWrite) -> impl Future<Output = LeaseResponse> + Send + 'static {
        let (requester, api, name) = (self.requester.clone(), self.api.clone(), self.name.clone());
        let object = self.object(&write);
        async move {
            let params = PostParams::default();
            let (why, create) = (write.why, write.expected.is_none());
            let result = match object {
                // The election decided on a version whose object we no longer have: it must look again.
                None => Err(RequestError::Conflict),
                Some(object) if create => {
                    requester.call(Right::new("create", LEASES), api.create(&params, &object)).await
                }
                Some(object) => {
                    requester.call(Right::new("update", LEASES), api.replace(&name, &params, &object)).await
                }
            };
            match &result {
                Ok(_) => debug!(?why, "wrote the Lease"),
                Err(RequestError::Conflict) => debug!(?why, "another writer changed the Lease first"),
                Err(error) => warn!(?why, %error, "cannot write the Lease"),
            }
            LeaseResponse::Written { result: result.map(Box::new), create }
        }
    }

    /// The input of the election for an answer. Keeps the raw object.
    pub(crate) fn input(&mut self, answer: LeaseResponse) -> Input {
        match answer {
            LeaseResponse::Read(Ok(Some(raw))) => Input::LeaseRead(ReadOutcome::Found(self.show(*raw))),
            LeaseResponse::Read(Ok(None)) => Input::LeaseRead(ReadOutcome::NotFound),
            LeaseResponse::Read(Err(_)) => Input::LeaseRead(ReadOutcome::NoAnswer),
            LeaseResponse::Written { result: Ok(raw), .. } => {
                Input::LeaseWritten(WriteOutcome::Written(self.show(*raw)))
            }
            LeaseResponse::Written { result: Err(error), create } => Input::LeaseWritten(outcome(&error, create)),
        }
    }

    /// The input of the election for a change that the watch saw.
    pub(crate) fn watched(&mut self, observed: Observed<RawLease>) -> Input {
        match observed {
            Observed::Listed(Some(raw), _) | Observed::Changed(raw) => {
                Input::LeaseWatched(Watched::Present(self.show(raw)))
            }
            Observed::Listed(None, version) => Input::LeaseWatched(Watched::Absent { as_of: version.map(Version) }),
            Observed::Deleted(raw) => {
                Input::LeaseWatched(Watched::Absent { as_of: raw.metadata.resource_version.map(Version) })
            }
            Observed::Lost => Input::WatchLost,
            Observed::Failed => Input::WatchFailed,
        }
    }

    fn show(&mut self, mut raw: RawLease) -> Lease {
        // Never read, and the largest part of the object.
        raw.metadata.managed_fields = None;
        let lease = view(&raw);
        self.raw.retain(|kept| kept.metadata.resource_version != raw.metadata.resource_version);
        // Without a version it cannot be replaced: the API server reads an empty one as "any version".
        if raw.metadata.resource_version.as_deref().is_some_and(|version| !version.is_empty()) {
            self.raw.push_back(raw);
        }
        if self.raw.len() > RAW_MAX {
            self.raw.pop_front();
        }
        lease
    }

    /// The object to send; none if the version that it replaces is not kept.
    pub(crate) fn object(&self, write: &LeaseWrite) -> Option<RawLease> {
        let mut object = match &write.expected {
            None => RawLease { metadata: self.as_before(), spec: None },
            Some(version) => {
                let kept = |raw: &&RawLease| raw.metadata.resource_version.as_deref() == Some(&version.0);
                self.raw.iter().find(kept)?.clone()
            }
        };
        let mut annotations = write.body.annotations.clone();
        if write.expected.is_none() {
            annotations
                .extend(object.metadata.annotations.take().into_iter().flatten().filter(|(name, _)| !is_ours(name)));
        }
        object.metadata.annotations = Some(annotations);
        if let Some(owner) = &self.owner {
            let owners = object.metadata.owner_references.get_or_insert_default();
            owners.retain(|other| other.kind != owner.kind || other.name != owner.name);
            owners.push(owner.clone());
        }
        if write.why == Why::Place {
            return Some(object);
        }
        let now = MicroTime(Timestamp::now());
        let spec = object.spec.get_or_insert_with(LeaseSpec::default);
        spec.holder_identity = write.body.holder.clone();
        // A term fits an int32 by construction (Term::MAX); one that does not fit must not become another number.
        spec.lease_transitions = Some(i32::try_from(write.body.term.0).ok()?);
        spec.lease_duration_seconds = write.body.duration_seconds.and_then(|seconds| i32::try_from(seconds).ok());
        if write.why.is_stamped() {
            spec.renew_time = Some(now.clone());
        }
        if write.why.is_new_leadership() {
            spec.acquire_time = Some(now);
        }
        Some(object)
    }
}

impl LeaseClient {
    /// A Lease that is created again keeps the labels and annotations of the one that was deleted: so Helm and others still
    /// know it as theirs.
    fn as_before(&self) -> ObjectMeta {
        let before = self.raw.back().map(|raw| raw.metadata.clone()).unwrap_or_default();
        ObjectMeta {
            name: Some(self.name.clone()),
            namespace: Some(self.requester.namespace.clone()),
            labels: before.labels,
            annotations: before.annotations,
            ..ObjectMeta::default()
        }
    }
}

fn is_ours(annotation: &str) -> bool {
    annotation.starts_with("leasehold.dev/")
}

/// The outcome of a request, before the raw object is kept.
pub(crate) enum LeaseResponse {
    Read(Result<Option<Box<RawLease>>, RequestError>),
    Written { result: Result<Box<RawLease>, RequestError>, create: bool },
}

fn outcome(error: &RequestError, create: bool) -> WriteOutcome {
    match error {
        RequestError::Conflict => WriteOutcome::Conflict,
        // For a PUT: the Lease was deleted. For a POST: there is no such namespace, and no faster writer is the cause.
        RequestError::NotFound if !create => WriteOutcome::Conflict,
        RequestError::NotFound | RequestError::Gone => WriteOutcome::Refused,
        RequestError::Denied { .. } | RequestError::Invalid { .. } => WriteOutcome::Refused,
        RequestError::Failed { code: 429, .. } => WriteOutcome::Refused,
        RequestError::Failed { .. } | RequestError::TimedOut(_) => WriteOutcome::Unknown,
        RequestError::Unreachable(error) if never_sent(error) => WriteOutcome::Refused,
        RequestError::Unreachable(_) => WriteOutcome::Unknown,
    }
}

/// Only if there was no connection is it certain that nothing was done.
fn never_sent(error: &kube::Error) -> bool {
    use std::io::ErrorKind;
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            let connecting = matches!(
                io.kind(),
                ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable
            );
            if connecting {
                return true;
            }
        }
        cause = error.source();
    }
    false
}

/// `leaseTransitions`; an absent one is 0. The API server refuses negative numbers; if one got in anyway, it is no term.
pub(crate) fn term_of(raw: &RawLease) -> Term {
    let term = raw.spec.as_ref().and_then(|spec| spec.lease_transitions);
    Term(term.and_then(|term| u64::try_from(term).ok()).unwrap_or(0))
}

/// `leaseDurationSeconds`; likewise.
pub(crate) fn seconds_of(raw: &RawLease) -> Option<u32> {
    raw.spec.as_ref()?.lease_duration_seconds.and_then(|seconds| u32::try_from(seconds).ok())
}

/// The election's view of the object.
pub(crate) fn view(raw: &RawLease) -> Lease {
    let empty = LeaseSpec::default();
    let spec = raw.spec.as_ref().unwrap_or(&empty);
    Lease {
        version: Version(raw.metadata.resource_version.clone().unwrap_or_default()),
        renewed: spec.renew_time.as_ref().map(|time| time.0.to_string()),
        body: Body {
            holder: spec.holder_identity.clone().filter(|holder| !holder.is_empty()),
            term: term_of(raw),
            duration_seconds: seconds_of(raw),
            annotations: raw.metadata.annotations.clone().unwrap_or_default(),
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::args::Config;
    use crate::telemetry::Metrics;
    use leasehold_api::{ApiServer, Faults, Kind, Verb, Who};
    use serde_json::json;
    use std::time::Duration;

    async fn client() -> (ApiServer, LeaseClient) {
        let api = ApiServer::start(0).unwrap();
        let lease = client_of(api.client("sidecar", "n").await.unwrap());
        (api, lease)
    }

    fn stored(api: &ApiServer) -> serde_json::Value {
        api.get(Kind::Lease, "n", "db").unwrap()
    }

    fn client_of(client: kube::Client) -> LeaseClient {
        let config = Config::plain("n", "db", "db-0", "a:1").unwrap();
        let config = Config { lease_duration: Duration::from_secs(1), ..config };
        LeaseClient::new(Requester::new(client, &config, Metrics::new()), "db")
    }

    fn write(expected: Option<&str>, holder: Option<&str>, term: u64, why: Why) -> LeaseWrite {
        let body = Body {
            holder: holder.map(str::to_owned),
            term: Term(term),
            duration_seconds: Some(15),
            annotations: [("leasehold.dev/address".to_owned(), "a:1".to_owned())].into(),
        };
        LeaseWrite { expected: expected.map(|version| Version(version.to_owned())), body, why }
    }

    async fn written(lease: &mut LeaseClient, write: LeaseWrite) -> WriteOutcome {
        let answer = lease.write(write).await;
        match lease.input(answer) {
            Input::LeaseWritten(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    async fn read(lease: &mut LeaseClient) -> ReadOutcome {
        let answer = lease.read().await;
        match lease.input(answer) {
            Input::LeaseRead(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_lease_is_made_renewed_and_let_go_of() {
        let (api, mut lease) = client().await;
        assert_eq!(read(&mut lease).await, ReadOutcome::NotFound);
        lease.set_owner(Some(OwnerReference {
            api_version: "apps/v1".into(),
            kind: "StatefulSet".into(),
            name: "db".into(),
            uid: "u".into(),
            ..OwnerReference::default()
        }));
        let made = written(&mut lease, write(None, Some("db-0"), 1, Why::TakeFree)).await;
        let WriteOutcome::Written(made) = made else { panic!("{made:?}") };
        assert_eq!((made.body.holder.as_deref(), made.body.term), (Some("db-0"), Term(1)));
        let raw = stored(&api);
        let reference = json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "u"}]);
        assert_eq!(raw["metadata"]["ownerReferences"], reference);
        assert_eq!(raw["spec"]["leaseTransitions"], 1);
        let acquired = raw["spec"]["acquireTime"].clone();

        let renewed = written(&mut lease, write(Some(&made.version.0), Some("db-0"), 1, Why::Renew)).await;
        let WriteOutcome::Written(renewed) = renewed else { panic!("{renewed:?}") };
        assert_ne!(renewed.renewed, made.renewed);
        let raw = stored(&api);
        assert_eq!(raw["spec"]["acquireTime"], acquired, "a renewal is no new leadership");
        assert_eq!(raw["metadata"]["ownerReferences"], reference, "owned twice");

        let cleared = written(&mut lease, write(Some(&renewed.version.0), None, 1, Why::Clear)).await;
        assert!(matches!(cleared, WriteOutcome::Written(lease) if lease.body.holder.is_none()));
        assert!(stored(&api)["spec"].get("holderIdentity").is_none());
        assert_eq!(api.requests(Verb::Get, Kind::Lease), 1, "a write needs no read");
    }

    #[tokio::test]
    async fn what_we_do_not_know_of_the_object_is_kept() {
        let (api, mut lease) = client().await;
        api.enable_coordinated_leader_election();
        let lease_of_others = json!({
            "metadata": {"name": "db", "labels": {"team": "x"}, "ownerReferences":
                [{"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "1"}]},
            "spec": {"holderIdentity": "", "strategy": "OldestEmulationVersion", "preferredHolder": "p", "leaseTransitions": 7},
        });
        api.put(Kind::Lease, "n", &lease_of_others).unwrap();
        let ReadOutcome::Found(seen) = read(&mut lease).await else { panic!("not found") };
        assert_eq!((seen.body.holder.clone(), seen.body.term), (None, Term(7)), "an empty holder is none");
        let outcome = written(&mut lease, write(Some(&seen.version.0), Some("db-0"), 8, Why::TakeFree)).await;
        assert!(matches!(outcome, WriteOutcome::Written(_)));
        let raw = stored(&api);
        assert_eq!(raw["metadata"]["labels"]["team"], "x");
        assert_eq!(raw["metadata"]["ownerReferences"][0]["kind"], "ConfigMap");
        assert_eq!(raw["spec"]["preferredHolder"], "p");
    }

    #[tokio::test]
    async fn a_lease_that_came_without_a_version_is_never_replaced() {
        let (_api, mut lease) = client().await;
        for metadata in [json!({"name": "db", "resourceVersion": ""}), json!({"name": "db"})] {
            let raw = serde_json::from_value(json!({"metadata": metadata})).unwrap();
            let Input::LeaseWatched(Watched::Present(seen)) = lease.watched(Observed::Changed(raw)) else { panic!() };
            let write = write(Some(&seen.version.0), Some("db-0"), 1, Why::TakeFree);
            assert!(lease.object(&write).is_none(), "an empty version is no condition for the API server");
            assert_eq!(written(&mut lease, write).await, WriteOutcome::Conflict);
        }
    }

    #[tokio::test]
    async fn who_was_slower_is_told_so() {
        let (api, mut lease) = client().await;
        let made = written(&mut lease, write(None, Some("db-0"), 1, Why::TakeFree)).await;
        let WriteOutcome::Written(made) = made else { panic!("{made:?}") };
        assert_eq!(written(&mut lease, write(None, Some("db-0"), 1, Why::TakeFree)).await, WriteOutcome::Conflict);
        let foreign = json!({"metadata": {"name": "db"}, "spec": {"holderIdentity": "foreign"}});
        api.put(Kind::Lease, "n", &foreign).unwrap();
        let late = write(Some(&made.version.0), Some("db-0"), 1, Why::Renew);
        assert_eq!(written(&mut lease, late.clone()).await, WriteOutcome::Conflict);
        assert_eq!(stored(&api)["spec"]["holderIdentity"], "foreign");
        api.delete(Kind::Lease, "n", "db", &json!({})).unwrap();
        assert_eq!(written(&mut lease, late.clone()).await, WriteOutcome::Conflict, "409 of a PUT with a uid");
        assert!(api.get(Kind::Lease, "n", "db").is_err());
        api.set_faults(&Who::All, Faults::status(404));
        assert_eq!(written(&mut lease, late).await, WriteOutcome::Conflict, "404 of a PUT");
        api.clear_faults();
        let unknown = write(Some("31"), Some("db-0"), 1, Why::Renew);
        assert_eq!(written(&mut lease, unknown).await, WriteOutcome::Conflict, "a version that is not kept");
    }

    #[tokio::test]
    async fn done_not_done_and_unknown_are_told_apart() {
        let (api, mut lease) = client().await;
        let take = || write(None, Some("db-0"), 1, Why::TakeFree);
        for (faults, outcome) in [
            (Faults::status(403), WriteOutcome::Refused),
            (Faults::status(401), WriteOutcome::Refused),
            (Faults::status(422), WriteOutcome::Refused),
            (Faults::status(429), WriteOutcome::Refused),
            (Faults::status(404), WriteOutcome::Refused),
            (Faults::status(500), WriteOutcome::Unknown),
            (Faults::status(503), WriteOutcome::Unknown),
            (Faults::black_hole(), WriteOutcome::Unknown),
        ] {
            api.set_faults(&Who::All, faults.clone());
            assert_eq!(written(&mut lease, take()).await, outcome, "{faults:?}");
            if faults != Faults::status(404) {
                assert_eq!(read(&mut lease).await, ReadOutcome::NoAnswer, "{faults:?}");
            }
        }
        assert_eq!(api.requests(Verb::Create, Kind::Lease), 8, "a request was repeated");
        api.set_faults(&Who::All, Faults::lost_answers_of_writes());
        assert_eq!(written(&mut lease, take()).await, WriteOutcome::Unknown);
        assert!(api.get(Kind::Lease, "n", "db").is_ok(), "unknown may mean done");
    }

    #[tokio::test]
    async fn a_refused_connection_is_known_not_to_have_done_anything() {
        // A port that was free a moment ago: no process listens there.
        let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let config = kube::Config::new(format!("http://127.0.0.1:{port}").parse().unwrap());
        let mut lease = client_of(kube::Client::try_from(config).unwrap());
        let outcome = written(&mut lease, write(None, Some("db-0"), 1, Why::TakeFree)).await;
        assert_eq!(outcome, WriteOutcome::Refused);
        assert_eq!(read(&mut lease).await, ReadOutcome::NoAnswer);
    }

    #[test]
    fn a_term_that_does_not_fit_is_never_another_number() {
        let raw = RawLease {
            spec: Some(LeaseSpec { lease_transitions: Some(-5), ..LeaseSpec::default() }),
            ..RawLease::default()
        };
        assert_eq!(view(&raw).body.term, Term(0));
        assert_eq!(view(&RawLease::default()).body, Body::default());
    }
}
