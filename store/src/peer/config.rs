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
    /// How long a dialled leader, or one who dialled us, may take for its first word.
    pub hello_max: Duration,
    /// What a connection must pass first, and is shown by us. Nothing, unless it is set.
    pub trust: PeerTrust,
    /// Counts what was not a word of this protocol.
    pub rejected: Arc<dyn Fn(Rejection) + Send + Sync>,
    /// Names that are being looked up.
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
    /// What [`TO`] and [`NAME`] say for a pod of our cluster; none where we do not know who we are, as in tests.
    pub(super) fn name_of(&self, pod: &str) -> Option<HeaderValue> {
        let me = self.trust.me();
        (!me.name.is_empty()).then(|| HeaderValue::from_str(&format!("{}/{pod}", me.cluster)).ok()).flatten()
    }

    /// Says whom a request is for.
    pub(super) fn address_to(&self, pod: &str, headers: &mut HeaderMap) {
        if let Some(name) = self.name_of(pod) {
            headers.insert(TO, name);
        }
    }

    /// Is an answer with these headers the answer of that pod? One that says no name is of an earlier build.
    pub(super) fn is_answer_of(&self, pod: &str, answer: &HeaderMap) -> Result<(), String> {
        match (answer.get(NAME), self.name_of(pod)) {
            (Some(said), Some(meant)) if said != meant => {
                Err(format!("{} answers where {pod} is expected", String::from_utf8_lossy(said.as_bytes())))
            }
            _ => Ok(()),
        }
    }

    /// A connection that did not come to be, for want of trust at either end.
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
