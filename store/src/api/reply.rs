//! Answers as they are sent: a record, a page of JSON, a word, nothing.

use serde_json::Value;
use warp::http::header::{CONTENT_TYPE, ETAG};
use warp::http::{HeaderValue, StatusCode};
use warp::reply::Response;

use super::conditions::etag;
use leasehold_documents::Record;

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}

/// A number as a header's value.
pub(super) fn number(number: u64) -> HeaderValue {
    // Takes the string over, where `HeaderValue::from` copies.
    HeaderValue::try_from(number.to_string()).unwrap_or_else(|_| HeaderValue::from(number))
}

/// A record, and its tag.
pub(super) fn record(status: StatusCode, record: &Record) -> Response {
    let mut response = Response::new(record.as_str().to_owned().into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(tag) = HeaderValue::try_from(etag(record.tag())) {
        headers.insert(ETAG, tag);
    }
    response
}

/// JSON of ours.
pub(super) fn json(value: &Value) -> Response {
    let mut response = Response::new(value.to_string().into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A word for a shell or a probe.
pub(super) fn text(status: StatusCode, text: &'static str) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
