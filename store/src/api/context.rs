//! What every call needs, and what every answer carries.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Semaphore;
use warp::http::HeaderMap;
use warp::reply::Response;

use super::described::Described;
use super::problem::Problem;
use super::reply;
use super::turns::Turns;
use crate::handle::Handle;
use crate::schema::Schemas;
use crate::telemetry::Metrics;

/// The name of the pod that sent a request on; in the request and in its answer.
pub const FORWARDED: &str = "leasehold-forwarded";

/// In a request that was sent on: within how many milliseconds its answer must leave the leader. The client has waited
/// already, and an answer that comes too late for the pod between them is lost.
pub(super) const TIME_LEFT: &str = "leasehold-time-left-ms";

/// What an operator may set.
#[derive(Clone, Debug)]
pub struct Config {
    /// The longest body in bytes.
    pub body_limit_bytes: usize,
    /// How long a write may wait for its commit. Then: 504.
    pub write_timeout: Duration,
    /// How long a body may take to arrive. Then: 408.
    pub body_timeout: Duration,
    /// `http` or `https`: how clients reach the replicas.
    pub scheme: &'static str,
    /// What the status page says of the trust between replicas.
    pub peer_trust: Shown,
    /// What it says of the collections file.
    pub collections_file: Shown,
    /// How long a strong read, or one with `after`, may wait if it does not say. Then: 503.
    pub read_timeout: Duration,
    /// Clients that may watch at a time.
    pub watchers_max: usize,
    /// Our tags match for `If-Match` even if a proxy weakened them.
    pub match_weakened: bool,
    /// A watcher that reads nothing for this long is cut.
    pub watch_stall_max: Duration,
}

/// The longest `timeout` that a read may ask for, and the longest that may be configured.
pub const READ_TIMEOUT_MAX: Duration = Duration::from_secs(30);

impl Default for Config {
    fn default() -> Config {
        Config {
            body_limit_bytes: 1024 * 1024,
            write_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(10),
            scheme: "http",
            peer_trust: Shown::default(),
            collections_file: Shown::default(),
            read_timeout: Duration::from_secs(5),
            watchers_max: 256,
            match_weakened: true,
            watch_stall_max: Duration::from_secs(30),
        }
    }
}

/// A part of the status page, made each time it is shown. By default: null.
#[derive(Clone)]
pub struct Shown(Arc<dyn Fn() -> Value + Send + Sync>);

impl Shown {
    /// What `now` returns.
    pub fn new(now: impl Fn() -> Value + Send + Sync + 'static) -> Shown {
        Shown(Arc::new(now))
    }

    pub(super) fn now(&self) -> Value {
        (self.0)()
    }
}

impl Default for Shown {
    fn default() -> Shown {
        Shown::new(|| Value::Null)
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shown").field(&self.now()).finish()
    }
}

/// What every call needs.
pub(super) struct Context {
    pub(super) handle: Handle,
    pub(super) config: Config,
    pub(super) metrics: Metrics,
    /// One permit for each client that may watch.
    pub(super) watchers: Arc<Semaphore>,
    /// One permit for each snapshot that may be read.
    pub(super) snapshots: Arc<Semaphore>,
    /// The schemas of all collections, compiled.
    pub(super) schemas: Schemas,
    /// Patches that are merged here.
    pub(super) turns: Turns,
    /// The newest `/openapi.json`.
    pub(super) described: Described,
}

/// The answer, or why there is none.
pub(super) type ApiResult = Result<Response, Problem>;

impl Context {
    /// How long this write may take: if another pod sent it on, at most the time that is left there.
    pub(super) fn write_time(&self, headers: &HeaderMap) -> Duration {
        let left = headers.get(TIME_LEFT).filter(|_| headers.contains_key(FORWARDED));
        let left = left.and_then(|left| left.to_str().ok()?.parse().ok()).map(Duration::from_millis);
        left.map_or(self.config.write_timeout, |left| left.min(self.config.write_timeout))
    }

    /// Completes every answer. `Leasehold-Sequence`: the sequence that it saw or made; otherwise what is applied here now.
    pub(super) fn finish(&self, answer: ApiResult) -> Response {
        let mut response = answer.unwrap_or_else(Problem::into_response);
        let headers = response.headers_mut();
        // Another pod's answer does not describe what is applied here.
        if !headers.contains_key(SEQUENCE) && !headers.contains_key(FORWARDED) {
            headers.insert(SEQUENCE, reply::number(self.handle.documents().applied().seq.0));
        }
        response
    }
}

/// The header that names the log entry that an answer saw or made.
pub const SEQUENCE: &str = "leasehold-sequence";

/// The header of a watch of all that shows only the collections that its token may watch. Absent where it shows everything.
pub const PARTIAL: &str = "leasehold-partial";

/// The header that says how old the data of an answer may be, in milliseconds. Absent where that is not known.
pub const STALENESS: &str = "leasehold-staleness-ms";
