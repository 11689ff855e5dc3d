//! Every request to the API server goes through here: it gets a time-out, its failure is sorted by what the caller does
//! next, and a missing permission is logged once.
//!
//! ```text
//!   future ──turn──timeout──▶ Ok │ RequestError::{Conflict: look again │ NotFound │ Denied: a person must look │ Unanswered: ...}
//! ```
//!
//! While the API server does not answer about the Lease, nothing else has its turn: a thousand sidecars that come back to one
//! that has just started would keep each other from the few requests on which leaderships depend.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::args::Config;
use crate::telemetry::Metrics;

/// A right at the API server, as a Role would grant it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Right {
    pub(crate) verb: &'static str,
    /// With its group: `leases.coordination.k8s.io`.
    pub(crate) resource: &'static str,
}

impl Right {
    pub(crate) const fn new(verb: &'static str, resource: &'static str) -> Right {
        Right { verb, resource }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)
    }
}

/// Why a request failed, by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// 409: another writer was faster. Look again.
    #[error("another writer changed it first (409)")]
    Conflict,
    /// 404: it does not exist.
    #[error("it does not exist (404)")]
    NotFound,
    /// 410: the version that a watch asks for is gone. List again.
    #[error("that version no longer exists (410)")]
    Gone,
    /// 401 or 403: an operator must grant something. To the election this is no answer.
    #[error("refused ({code}): {message}")]
    Denied {
        /// 401 or 403.
        code: u16,
        /// The API server's message.
        message: String,
    },
    /// Another 4xx: the request itself is wrong, and would be again. It was not done.
    #[error("invalid ({code}): {message}")]
    Invalid {
        /// The status.
        code: u16,
        /// The API server's message.
        message: String,
    },
    /// 429 or 5xx: the outcome is unknown.
    #[error("the API server failed ({code}): {message}")]
    Failed {
        /// The status.
        code: u16,
        /// The API server's message.
        message: String,
    },
    /// No answer in time: the outcome is unknown.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// No connection, or it broke: the outcome is unknown.
    #[error("cannot reach the API server: {0}")]
    Unreachable(#[source] Box<kube::Error>),
}

impl From<kube::Error> for RequestError {
    fn from(error: kube::Error) -> RequestError {
        match error {
            kube::Error::Api(status) => RequestError::from_status(&status),
            other => RequestError::Unreachable(Box::new(other)),
        }
    }
}

impl RequestError {
    /// Sorts a status from the API server, in an answer or in the middle of a watch.
    pub(crate) fn from_status(status: &kube::core::Status) -> RequestError {
        let (code, message) = (status.code, status.message.clone());
        match code {
            409 => RequestError::Conflict,
            404 => RequestError::NotFound,
            410 => RequestError::Gone,
            401 | 403 => RequestError::Denied { code, message },
            429 => RequestError::Failed { code, message },
            400..=499 => RequestError::Invalid { code, message },
            _ => RequestError::Failed { code, message },
        }
    }

    /// Whether the API server looked at the request, and decided; none: either it has not read its roles yet, as in its first
    /// seconds, or a right is missing.
    fn is_answer(&self) -> Option<bool> {
        match self {
            RequestError::Denied { .. } => None,
            RequestError::Failed { .. } | RequestError::TimedOut(_) | RequestError::Unreachable(_) => Some(false),
            RequestError::Conflict | RequestError::NotFound | RequestError::Gone | RequestError::Invalid { .. } => {
                Some(true)
            }
        }
    }

    /// The label of this failure in the metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            RequestError::Conflict => "conflict",
            RequestError::NotFound => "not_found",
            RequestError::Gone => "gone",
            RequestError::Denied { .. } => "denied",
            RequestError::Invalid { .. } => "invalid",
            RequestError::Failed { .. } => "failed",
            RequestError::TimedOut(_) => "timeout",
            RequestError::Unreachable(_) => "unreachable",
        }
    }
}

/// Makes the requests of one sidecar. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Requester {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    /// The bound of every single request.
    pub(crate) timeout: Duration,
    metrics: Metrics,
    /// The rights found missing, so that each is logged once.
    missing: Arc<Mutex<BTreeSet<Right>>>,
    /// Whether the last request about the Lease was answered, or its watch has shown something since.
    answers: Arc<watch::Sender<bool>>,
}

/// What people look at, and nothing depends on, has its turn about so long after the API server answers again.
const TURN_SPREAD: Duration = Duration::from_secs(3);

impl Requester {
    pub(crate) fn new(client: Client, config: &Config, metrics: Metrics) -> Requester {
        // Well below the deadline of a renewal: a hung request must leave time for another one.
        let timeout = (config.lease_duration / 3).clamp(Duration::from_millis(250), Duration::from_secs(5));
        Requester {
            client,
            namespace: config.namespace.clone(),
            timeout,
            metrics,
            missing: Arc::default(),
            answers: Arc::new(watch::Sender::new(true)),
        }
    }

    /// Waits for a request, at most for [`Requester::timeout`] from when it has its turn.
    pub(crate) async fn call<T>(
        &self,
        right: Right,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, RequestError> {
        self.turn(right).await;
        let result = match tokio::time::timeout(self.timeout, request).await {
            Ok(result) => result.map_err(RequestError::from),
            Err(_) => Err(RequestError::TimedOut(self.timeout)),
        };
        match &result {
            Ok(_) => self.granted(right),
            Err(error) => self.note(right, error),
        }
        if right.resource == LEASES {
            let is_answer = match &result {
                Ok(_) => Some(true),
                Err(error) => error.is_answer(),
            };
            if let Some(is_answer) = is_answer {
                self.set_answers(is_answer);
            }
        }
        result
    }

    /// A watch shows something of that resource, which is as good as an answer: who follows a leader that renews asks nothing
    /// about the Lease for minutes.
    pub(crate) fn shown(&self, resource: &'static str) {
        if resource == LEASES {
            self.set_answers(true);
        }
    }

    fn set_answers(&self, is_answer: bool) {
        self.answers.send_if_modified(|answers| std::mem::replace(answers, is_answer) != is_answer);
    }

    async fn turn(&self, right: Right) {
        if right.resource == LEASES || *self.answers.borrow() {
            return;
        }
        // The sender is ours, so it cannot be gone.
        let _ = self.answers.subscribe().wait_for(|answers| *answers).await;
        if matches!(right.resource, PODS | EVENTS) {
            tokio::time::sleep(jitter(TURN_SPREAD)).await;
        }
    }

    /// Counts a failure, and logs the missing right if that is the reason.
    pub(crate) fn note(&self, right: Right, error: &RequestError) {
        if right.resource == LEASES {
            self.metrics.lease_request_failed(right.verb, error.reason());
        }
        match error {
            RequestError::Denied { code, message } => {
                let first = self.missing.lock().unwrap_or_else(PoisonError::into_inner).insert(right);
                if first {
                    error!(
                        verb = right.verb,
                        resource = right.resource,
                        namespace = self.namespace,
                        code,
                        message,
                        "a permission is missing: grant it to the pod's service account (Role and RoleBinding)"
                    );
                }
            }
            RequestError::Invalid { code, message } => {
                warn!(verb = right.verb, resource = right.resource, code, message, "the API server refuses a request");
            }
            _ => {}
        }
    }

    fn granted(&self, right: Right) {
        if self.missing.lock().unwrap_or_else(PoisonError::into_inner).remove(&right) {
            info!(verb = right.verb, resource = right.resource, "the missing permission has been granted");
        }
    }

    /// The rights known to be missing, for people.
    pub(crate) fn missing_rights(&self) -> Vec<String> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).iter().map(Right::to_string).collect()
    }
}

/// The resource whose failures count in `leasehold_lease_request_errors_total`.
pub(crate) const LEASES: &str = "leases.coordination.k8s.io";
pub(crate) const PODS: &str = "pods";
pub(crate) const EVENTS: &str = "events.events.k8s.io";

/// Waits between attempts: 200 ms at first, doubled up to `most`, each with a jitter of a half either way, so that the
/// sidecars of a cluster do not return to an API server all at once.
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(200);

    pub(crate) fn new(most: Duration) -> Backoff {
        Backoff::from(Backoff::FIRST.min(most), most)
    }

    /// With another first wait, for what is not urgent.
    pub(crate) fn from(first: Duration, most: Duration) -> Backoff {
        Backoff { first, most, next: first }
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }

    pub(crate) async fn wait(&mut self) {
        let pause = self.pause();
        tokio::time::sleep(pause).await;
    }

    fn pause(&mut self) -> Duration {
        let pause = jitter(self.next);
        self.next = (self.next * 2).min(self.most);
        pause
    }
}

/// From a half to one and a half of it.
fn jitter(duration: Duration) -> Duration {
    // The random bits of a version 4 UUID; a random number crate for this one line would be another dependency.
    let [.., a, b] = uuid::Uuid::new_v4().into_bytes();
    duration.mul_f64(0.5 + f64::from(u16::from_be_bytes([a, b])) / 65_536.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_status_says_what_to_do_next() {
        let of = |code| RequestError::from_status(&kube::core::Status::failure("m", "r").with_code(code)).reason();
        assert_eq!(of(409), "conflict");
        assert_eq!(of(404), "not_found");
        assert_eq!(of(410), "gone");
        assert_eq!((of(401), of(403)), ("denied", "denied"));
        assert_eq!((of(400), of(422)), ("invalid", "invalid"));
        assert_eq!((of(429), of(500), of(503), of(0)), ("failed", "failed", "failed", "failed"));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_else_has_its_turn_while_the_lease_gets_no_answer() {
        let config = Config::plain("n", "db", "db-0", "a:1").unwrap();
        let nowhere = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let requester = Requester::new(Client::try_from(nowhere).unwrap(), &config, Metrics::new());
        let lease = async |result| drop(requester.call(Right::new("get", LEASES), std::future::ready(result)).await);
        let failed = |code| Err(kube::Error::Api(Box::new(kube::core::Status::failure("m", "r").with_code(code))));
        let event = || Box::pin(requester.call(Right::new("create", EVENTS), std::future::ready(Ok(()))));
        lease(failed(403)).await;
        event().await.unwrap();
        for code in [429, 503] {
            lease(failed(code)).await;
            let mut waiting = event();
            lease(failed(403)).await;
            let an_hour = Duration::from_secs(3600);
            assert!(tokio::time::timeout(an_hour, &mut waiting).await.is_err());
            lease(Ok(())).await;
            waiting.await.unwrap();
            event().await.unwrap();
        }
    }

    #[test]
    fn the_jitter_stays_within_a_half_and_is_not_always_the_same() {
        let base = Duration::from_secs(2);
        let samples: BTreeSet<Duration> = (0..64).map(|_| jitter(base)).collect();
        assert!(samples.len() > 8);
        assert!(samples.iter().all(|s| *s >= base / 2 && *s <= base * 3 / 2));
    }

    #[test]
    fn the_back_off_grows_to_its_bound_and_begins_again() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        assert!(backoff.pause() <= Backoff::FIRST * 3 / 2);
        let pauses: Vec<Duration> = (0..10).map(|_| backoff.pause()).collect();
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_millis(1_500)), "{pauses:?}");
        assert!(pauses[9] >= Duration::from_millis(500), "{pauses:?}");
        backoff.reset();
        assert!(backoff.pause() <= Backoff::FIRST * 3 / 2);
    }
}
