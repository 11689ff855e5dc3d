//! The HTTP API for clients and people: what is in the replica, and writes by way of the log.
//!
//! ```text
//!   request ──filters──▶ path, method, query, body ──handlers, batch──▶ Handle::write ──▶ log
//!                                                  ──reading, watch──▶ Handle::{read_index, applied, documents, history}
//!                                                  ──pages, openapi──▶ Handle::{documents, status, role}
//!           ◀─ one place (`finish`) ── answer or Problem: status, headers, Leasehold-Sequence
//! ```
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /persons` | a JSON array in order of creation; `?firstName=`, `?lastName=`, `?id=` keep what is equal; `?limit=` and the `next` link page |
//! | `POST /persons` | 201, `Location` and the record; 200 if the same record is there; 409 if another one has its id |
//! | `GET /persons/{id}` | 200 with `ETag`; 404; `If-None-Match`: 304 |
//! | `PUT /persons/{id}` | 201 if it is new, else 200; `If-Match`, `If-None-Match: *`: 412 |
//! | `PATCH /persons/{id}` | 200; 404; JSON Merge Patch; `If-Match`: 412 |
//! | `DELETE /persons/{id}` | 204; 404; `If-Match`: 412 |
//! | `POST /persons:batch` | up to 1,000 operations, all or none |
//! | `GET /persons:watch` | server-sent events: each committed change |
//! | `GET /api/leader` | who leads; `Accept: text/plain`: `true` where this replica does, else `false` |
//! | `GET /api/status` | all that the replica says of itself |
//! | `GET /healthz`, `/readyz`, `/metrics`, `/` | alive; may be asked; Prometheus; these calls |
//! | `GET /openapi.json`, `/docs` | the same for programs and people |
//!
//! Reads are local unless they ask for more (`?consistency=strong`, `?after=`): they see what this replica has applied, which `Leasehold-Sequence` names. `HEAD` goes where `GET`
//! does, `OPTIONS` says what a path takes. Around the calls: [`forward`] takes writes elsewhere and compresses (`gzip`),
//! [`cors`] answers browsers. Every error is a [`Problem`] from the list in
//! [`problem::Code`]. A handler returns a result; warp's rejections only mean "not this route" here.

mod batch;
mod body;
mod conditions;
pub mod cors;
mod cursor;
pub mod farewells;
mod filters;
pub mod forward;
mod gzip;
mod handlers;
mod key;
mod openapi;
mod pages;
mod percent;
pub mod person;
pub mod problem;
mod query;
mod reading;
pub mod tokens;
mod watch;

use crate::handle::Handle;
use crate::telemetry::Metrics;
use problem::{Code, Problem};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use warp::filters::BoxedFilter;
use warp::http::HeaderValue;
use warp::reply::Response;

/// What a person may set.
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
    /// Trust between replicas, for the status.
    pub trust: crate::peer::trust::peers::PeerTrust,
    /// How long a strong read, or one with `after`, may wait if it does not say. Then: 503.
    pub read_timeout: Duration,
    /// Clients that may watch at a time.
    pub watchers_max: usize,
    /// A tag of ours that a proxy weakened matches for `If-Match`.
    pub match_weakened: bool,
    /// A watcher that takes nothing for this long is cut.
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
            trust: crate::peer::trust::peers::PeerTrust::default(),
            read_timeout: Duration::from_secs(5),
            watchers_max: 256,
            match_weakened: true,
            watch_stall_max: Duration::from_secs(30),
        }
    }
}

/// What every call needs.
struct Context {
    handle: Handle,
    config: Config,
    metrics: Metrics,
    /// One permit for each client that may watch.
    watchers: Arc<Semaphore>,
}

/// The answer, or why there is none.
type Answer = Result<Response, Problem>;

/// All calls, for `warp::service` or `warp::serve`. It answers every request; nothing is left to a rejection.
pub fn routes(handle: Handle, config: Config, metrics: Metrics) -> BoxedFilter<(Response,)> {
    let watchers = Arc::new(Semaphore::new(config.watchers_max));
    filters::all(Arc::new(Context { handle, config, metrics, watchers }))
}

/// What probes ask, for a port of their own.
pub fn probes(handle: Handle, config: Config, metrics: Metrics) -> BoxedFilter<(Response,)> {
    let watchers = Arc::new(Semaphore::new(0));
    filters::probes(Arc::new(Context { handle, config, metrics, watchers }))
}

impl Context {
    /// The last word on every answer. `Leasehold-Sequence`: what it saw or made; else what is applied here now.
    fn finish(&self, answer: Answer) -> Response {
        let mut response = answer.unwrap_or_else(Problem::into_response);
        let headers = response.headers_mut();
        if !headers.contains_key(SEQUENCE) {
            headers.insert(SEQUENCE, HeaderValue::from(self.handle.documents().applied().seq.0));
        }
        response
    }
}

/// The header that says which entry of the log an answer saw or made.
pub const SEQUENCE: &str = "leasehold-sequence";

/// The header that says how old the data of an answer may be, in milliseconds. Absent where that is not known.
pub const STALENESS: &str = "leasehold-staleness-ms";

/// Every path and the methods that it takes. `{id}` stands for one segment.
const PATHS: &[(&str, &str)] = &[
    ("/persons", "GET, HEAD, POST, OPTIONS"),
    ("/persons/{id}", "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"),
    ("/persons:batch", "POST, OPTIONS"),
    ("/persons:watch", "GET, OPTIONS"),
    ("/api/leader", "GET, HEAD, OPTIONS"),
    ("/api/status", "GET, HEAD, OPTIONS"),
    ("/healthz", "GET, HEAD, OPTIONS"),
    ("/readyz", "GET, HEAD, OPTIONS"),
    ("/metrics", "GET, HEAD, OPTIONS"),
    ("/openapi.json", "GET, HEAD, OPTIONS"),
    ("/docs", "GET, HEAD, OPTIONS"),
    ("/", "GET, HEAD, OPTIONS"),
];

/// All of these methods.
const ANY_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// The methods that a path takes; none when there is no such path.
fn methods_of(path: &str) -> Option<&'static str> {
    let path = path.strip_suffix('/').filter(|shorter| !shorter.is_empty()).unwrap_or(path);
    let is_it = |template: &str| match template.strip_suffix("{id}") {
        Some(before) => path.strip_prefix(before).is_some_and(|id| !id.is_empty() && !id.contains('/')),
        None => path == template,
    };
    PATHS.iter().find(|(template, _)| is_it(template)).map(|(_, methods)| *methods)
}

/// What a request gets that no route took.
fn nothing_there(path: &str, method: &warp::http::Method) -> Answer {
    percent::path(path)?;
    let Some(methods) = methods_of(path) else {
        return Err(Problem::new(Code::UnknownPath, format!("there is nothing at {path}; `GET /` lists the calls")));
    };
    if method == warp::http::Method::OPTIONS {
        let mut response = pages::empty(warp::http::StatusCode::NO_CONTENT);
        response.headers_mut().insert(warp::http::header::ALLOW, HeaderValue::from_static(methods));
        return Ok(response);
    }
    Err(Problem::new(Code::MethodNotAllowed, format!("{path} takes {methods}, not {method}")).allow(methods))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests;
