//! The HTTP API for clients and people: what is in the replica, and writes by way of the log.
//!
//! ```text
//!   request ──filters──▶ path, method, query, body ──handlers──▶ Handle::write ──▶ log
//!                                                  ──pages─────▶ Handle::{documents, status, role}
//!           ◀─ one place (`finish`) ── answer or Problem: status, headers, Leasehold-Sequence
//! ```
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /persons` | a JSON array in order of creation; `?firstName=`, `?lastName=`, `?id=` keep what is equal |
//! | `POST /persons` | 201, `Location` and the record; 200 if the same record is there; 409 if another one has its id |
//! | `GET /persons/{id}` | 200 with `ETag`; 404 |
//! | `PUT /persons/{id}` | 201 if it is new, else 200; `If-Match`, `If-None-Match: *`: 412 |
//! | `DELETE /persons/{id}` | 204; 404; `If-Match`: 412 |
//! | `GET /api/leader` | who leads; `Accept: text/plain`: `true` where this replica does, else `false` |
//! | `GET /api/status` | all that the replica says of itself |
//! | `GET /healthz`, `/readyz`, `/metrics`, `/` | alive; may be asked; Prometheus; these calls |
//!
//! Reads are local: they see what this replica has applied, which `Leasehold-Sequence` names. `HEAD` goes where `GET`
//! does, `OPTIONS` says what a path takes. Every error is a [`Problem`](problem::Problem) from the list in
//! [`problem::Code`]. A handler returns a result; warp's rejections only mean "not this route" here.

mod filters;
pub mod forward;
mod handlers;
mod pages;
pub mod person;
pub mod problem;

use crate::handle::Handle;
use crate::telemetry::Metrics;
use problem::{Code, Problem};
use std::sync::Arc;
use std::time::Duration;
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
    pub trust: crate::trust::peers::PeerTrust,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            body_limit_bytes: 1024 * 1024,
            write_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(10),
            scheme: "http",
            trust: crate::trust::peers::PeerTrust::default(),
        }
    }
}

/// What every call needs.
struct Context {
    handle: Handle,
    config: Config,
    metrics: Metrics,
}

/// The answer, or why there is none.
type Answer = Result<Response, Problem>;

/// All calls, for `warp::service` or `warp::serve`. It answers every request; nothing is left to a rejection.
pub fn routes(handle: Handle, config: Config, metrics: Metrics) -> BoxedFilter<(Response,)> {
    filters::all(Arc::new(Context { handle, config, metrics }))
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

/// The methods that a path takes; none when there is no such path.
fn methods_of(path: &str) -> Option<&'static str> {
    let path = path.strip_suffix('/').unwrap_or(path);
    match path {
        "/persons" => Some("GET, HEAD, POST, OPTIONS"),
        "" | "/api/leader" | "/api/status" | "/healthz" | "/readyz" | "/metrics" => Some("GET, HEAD, OPTIONS"),
        _ => match path.strip_prefix("/persons/") {
            Some(id) if !id.is_empty() && !id.contains('/') => Some("GET, HEAD, PUT, DELETE, OPTIONS"),
            _ => None,
        },
    }
}

/// What a request gets that no route took.
fn nothing_there(path: &str, method: &warp::http::Method) -> Answer {
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
mod tests;
