//! Reports the election's decisions: a log line for each event, and a Kubernetes Event (`events.k8s.io`) for those that
//! readers of the namespace should see.
//!
//! ```text
//!   election Event ──▶ Told ──▶ log
//!                            └─try_send─▶ bounded queue ──▶ POST, one at a time, one try each
//! ```
//!
//! Events are best effort: when the queue is full, or the API server does not accept one, it is dropped and counted.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event as RawEvent;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Api;
use kube::api::PostParams;
use leasehold_election::Event;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};
use uuid::Uuid;

use crate::args::Config;
use crate::kube::request::{EVENTS, Requester, Right};
use crate::telemetry::Metrics;

/// If more than this wait, the API server is not there; then old news is not worth keeping.
const QUEUE_MAX: usize = 64;
/// The longest note that the API server accepts, in bytes.
const NOTE_MAX: usize = 1024;

/// An election's event in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// One word in camel case, as in Events.
    pub(crate) reason: &'static str,
    /// A sentence.
    pub(crate) note: String,
    /// An operator should look.
    pub(crate) warning: bool,
    /// It also becomes a Kubernetes Event. Not if every pod of the cluster would write the same one, nor if the news is
    /// that the API server does not answer.
    pub(crate) published: bool,
}

/// Puts an event into words.
pub(crate) fn told(event: &Event) -> Told {
    let normal = |reason, note| Told { reason, note, warning: false, published: true };
    let warning = |reason, note| Told { reason, note, warning: true, published: true };
    let logged = |told: Told| Told { published: false, ..told };
    match event {
        Event::LeaderChanged { leader: Some(leader), term, is_self } => {
            let told = normal("LeaderChanged", format!("{leader} leads in term {term}"));
            Told { published: *is_self, ..told }
        }
        Event::LeaderChanged { leader: None, term, .. } => {
            logged(normal("LeaderLost", format!("no leader is known; the last term is {term}")))
        }
        Event::OffLease { term } => logged(warning(
            "OffLease",
            format!("the API server does not answer: this pod is named leader of term {term} without the Lease"),
        )),
        Event::HandedOver { to, term } => normal("HandedOver", format!("handed over to {to} with term {term}")),
        Event::Cleared { term } => normal("LetGo", format!("released term {term}; no successor is known")),
        Event::AskedForLead { term } => normal(
            "AskedForLead",
            format!("the leader of term {term} is unfit, and this pod is fit: asked for a switchover to it"),
        ),
        Event::Lapsed { term } => warning(
            "Lapsed",
            format!("no renewal of term {term} succeeded for two thirds of its duration: this pod stops leading"),
        ),
        Event::WrittenForLeader { leader, term } => normal(
            "WrittenForLeader",
            format!("wrote the Lease for {leader} (term {term}), whose own sidecar cannot reach the API server"),
        ),
        Event::SwitchoverDone { to } => normal("SwitchoverDone", format!("the leadership moved to {to}, as requested")),
        Event::SwitchoverRefused { to } => {
            warning("SwitchoverRefused", format!("{to} is not a member: the requested switchover is removed"))
        }
        Event::SwitchoverGivenUp { to } => {
            warning("SwitchoverGivenUp", format!("the switchover to {to} did not happen and is removed"))
        }
        Event::EditedByHand { term, promised } => warning(
            "EditedByHand",
            format!(
                "the Lease says term {term}, the app's promise is {promised}: the Lease's term is ignored and will \
                 be replaced"
            ),
        ),
        Event::HolderIsNoMember { holder } => {
            warning("HolderIsNoMember", format!("the holder {holder} is not a member, so it is ignored"))
        }
        Event::HolderWithoutIncarnation { holder } => warning(
            "HolderWithoutIncarnation",
            format!(
                "the holder {holder} has no incarnation of its own, so it is ignored: find out who wrote the Lease"
            ),
        ),
        Event::ForeignCluster { lease, volume } => warning(
            "ForeignCluster",
            format!(
                "the Lease belongs to cluster {}, the volume to {volume}: nothing is changed, an operator must \
                 decide (sidecar adopt)",
                lease.map_or("(unreadable)".to_owned(), |id| id.to_string())
            ),
        ),
        Event::TermsExhausted => warning(
            "TermsExhausted",
            "term 2147483647 is reached, and no term follows it: an operator must look".to_owned(),
        ),
        Event::WaitsForResume => warning(
            "WaitsForResume",
            "a take-over is due, but the Lease is paused: it waits for `sidecar resume`".to_owned(),
        ),
        Event::ApiSilent => {
            logged(warning("ApiSilent", "the API server does not answer requests about the Lease".to_owned()))
        }
        Event::ApiAnswers => logged(normal("ApiAnswers", "the API server answers again".to_owned())),
        Event::WritesUndecided => logged(warning(
            "WritesUndecided",
            "the outcome of writes of the Lease has been unknown for its whole duration, although reads work"
                .to_owned(),
        )),
    }
}

/// The app's volume has lost what it acknowledged; `why` includes the way out.
pub(crate) fn went_back(why: &str) -> Told {
    Told { reason: "VolumeWentBack", note: why.to_owned(), warning: true, published: true }
}

/// The app's data differ from those of the other replicas; `why` includes the way out.
pub(crate) fn diverged(why: &str) -> Told {
    Told { reason: "ReplicaDiverged", note: why.to_owned(), warning: true, published: true }
}

/// Definitions that an operator wants are not in force; `why` names them.
pub(crate) fn definitions_refused(why: &str) -> Told {
    Told { reason: "DefinitionsRefused", note: why.to_owned(), warning: true, published: true }
}

/// The destination of events. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Recorder {
    sender: mpsc::Sender<(Timestamp, Told)>,
    metrics: Metrics,
}

impl Recorder {
    /// The recorder, and the queue for [`run`].
    pub(crate) fn new(metrics: Metrics) -> (Recorder, mpsc::Receiver<(Timestamp, Told)>) {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        (Recorder { sender, metrics }, receiver)
    }

    /// Logs it at once, and queues it if it is to be published.
    pub(crate) fn tell(&self, told: Told) {
        let Told { reason, note, .. } = &told;
        if told.warning {
            warn!(reason, "{note}");
        } else {
            info!(reason, "{note}");
        }
        if told.published && self.sender.try_send((Timestamp::now(), told)).is_err() {
            self.metrics.dropped("event");
        }
    }
}

/// Writes what is queued, until every [`Recorder`] is gone.
pub(crate) async fn run(
    mut queue: mpsc::Receiver<(Timestamp, Told)>,
    requester: Requester,
    config: std::sync::Arc<Config>,
    metrics: Metrics,
) {
    let api: Api<RawEvent> = Api::namespaced(requester.client.clone(), &requester.namespace);
    while let Some((at, told)) = queue.recv().await {
        let event = raw(at, &told, &config);
        let right = Right::new("create", EVENTS);
        if let Err(error) = requester.call(right, api.create(&PostParams::default(), &event)).await {
            debug!(%error, reason = told.reason, "cannot write an Event");
            metrics.dropped("event");
        }
    }
}

fn raw(at: Timestamp, told: &Told, config: &Config) -> RawEvent {
    let mut note = told.note.clone();
    while note.len() > NOTE_MAX {
        note.pop();
    }
    RawEvent {
        metadata: ObjectMeta {
            name: Some(format!("{}.{}", config.lease, Uuid::new_v4().simple())),
            namespace: Some(config.namespace.clone()),
            ..ObjectMeta::default()
        },
        action: Some("Elect".to_owned()),
        event_time: Some(MicroTime(at)),
        note: Some(note),
        reason: Some(told.reason.to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some("coordination.k8s.io/v1".to_owned()),
            kind: Some("Lease".to_owned()),
            name: Some(config.lease.clone()),
            namespace: Some(config.namespace.clone()),
            ..ObjectReference::default()
        }),
        related: Some(ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(config.name.clone()),
            namespace: Some(config.namespace.clone()),
            ..ObjectReference::default()
        }),
        reporting_controller: Some("leasehold.dev/sidecar".to_owned()),
        reporting_instance: Some(config.name.chars().take(128).collect()),
        type_: Some(if told.warning { "Warning" } else { "Normal" }.to_owned()),
        ..RawEvent::default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use leasehold_api::{ApiServer, Kind};
    use leasehold_election::Term;

    #[test]
    fn only_the_new_leader_publishes_that_it_leads() {
        let changed = |is_self| Event::LeaderChanged { leader: Some("db-1".to_owned()), term: Term(3), is_self };
        assert!(told(&changed(true)).published);
        assert!(!told(&changed(false)).published);
        assert_eq!(told(&changed(true)).note, "db-1 leads in term 3");
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let metrics = Metrics::new();
        let (recorder, _queue) = Recorder::new(metrics.clone());
        for _ in 0..QUEUE_MAX + 3 {
            recorder.tell(told(&Event::TermsExhausted));
        }
        assert!(metrics.encode().contains("leasehold_sidecar_dropped_total{kind=\"event\"} 3"), "{}", metrics.encode());
    }

    /// They wait while the API server gives no answer about the Lease.
    #[tokio::test]
    async fn an_event_that_waited_has_the_time_of_what_it_is_about() {
        let api = ApiServer::start(0).unwrap();
        let config = std::sync::Arc::new(Config::plain("n", "db", "db-0", "a:1").unwrap());
        let requester = Requester::new(api.client("sidecar", "n").await.unwrap(), &config, Metrics::new());
        let (recorder, queue) = Recorder::new(Metrics::new());
        recorder.tell(told(&Event::TermsExhausted));
        let after = Timestamp::now();
        while Timestamp::now().as_microsecond() <= after.as_microsecond() {}
        drop(recorder);
        run(queue, requester, config, Metrics::new()).await;
        let [event] = &api.list(Kind::Event, "n")[..] else { panic!("one Event") };
        let time: Timestamp = event["eventTime"].as_str().unwrap().parse().unwrap();
        assert!(time <= after, "{time} is later than {after}");
    }
}
