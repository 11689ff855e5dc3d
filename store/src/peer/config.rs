//! What all parts of the peer side know.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tracing::warn;

use super::protocol::{NAME, TO};
use super::reach::Names;
use super::rejection::Rejection;
use crate::peer::trust::peers::PeerTrust;

/// What the peer side receives once, at the start.
#[derive(Clone)]
pub struct PeerConfig {
    /// The time-out of dialling and of requests.
    pub lost_time: Duration,
    /// How long a dialled leader, or a dialler, may take for its first word.
    pub hello_max: Duration,
    /// What a connection must pass first, and what we show. Nothing, unless it is set.
    pub trust: PeerTrust,
    /// Counts messages that were not of this protocol.
    pub rejected: Arc<dyn Fn(Rejection) + Send + Sync>,
    /// Name look-ups under way.
    pub(super) names: Names,
}

impl PeerConfig {
    /// With the usual time-outs.
    pub fn new(lost_time: Duration, rejected: impl Fn(Rejection) + Send + Sync + 'static) -> PeerConfig {
        PeerConfig {
            lost_time,
            hello_max: (lost_time * 2).max(Duration::from_secs(2)),
            trust: PeerTrust::default(),
            rejected: Arc::new(rejected),
            names: Names::default(),
        }
    }

    pub(super) fn reject(&self, remote: impl std::fmt::Display, reason: Rejection, what: impl std::fmt::Display) {
        (self.rejected)(reason);
        warn!(%remote, %reason, %what, "closed a peer connection: the peer does not speak this protocol");
    }
}

impl PeerConfig {
    /// The value of [`TO`] and [`NAME`] for a pod of our cluster; none if we do not know who we are, as in tests.
    pub(super) fn name_of(&self, pod: &str) -> Option<HeaderValue> {
        let me = self.trust.me();
        (!me.name.is_empty()).then(|| HeaderValue::from_str(&format!("{}/{pod}", me.cluster)).ok()).flatten()
    }

    /// Adds the addressee of a request.
    pub(super) fn address_to(&self, pod: &str, headers: &mut HeaderMap) {
        if let Some(name) = self.name_of(pod) {
            headers.insert(TO, name);
        }
    }

    /// Is an answer with these headers from that pod? An answer without a name comes from an earlier build.
    pub(super) fn is_answer_of(&self, pod: &str, answer: &HeaderMap) -> Result<(), String> {
        match (answer.get(NAME), self.name_of(pod)) {
            (Some(said), Some(meant)) if said != meant => {
                Err(format!("{} answers where {pod} is expected", String::from_utf8_lossy(said.as_bytes())))
            }
            _ => Ok(()),
        }
    }

    /// A connection that failed because one end did not trust the other.
    pub(super) fn refused(&self, remote: impl std::fmt::Display, reason: Rejection, what: &str) {
        if reason != Rejection::Name {
            (self.rejected)(reason);
        }
        self.trust.note_refused(&remote, reason, what);
    }
}

impl std::fmt::Debug for PeerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerConfig").field("lost_time", &self.lost_time).finish_non_exhaustive()
    }
}
