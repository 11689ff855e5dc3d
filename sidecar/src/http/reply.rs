//! Answers: a status, a type, a body.

use http::{HeaderValue, Response, StatusCode, header};

/// An answer that is there as a whole.
pub(super) type Reply = Response<String>;

pub(super) fn text(status: StatusCode, text: &str) -> Reply {
    with_type(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

pub(super) fn json(status: StatusCode, value: &impl serde::Serialize) -> Reply {
    match serde_json::to_string(value) {
        Ok(body) => with_type(status, "application/json", format!("{body}\n")),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

pub(super) fn not_allowed(allowed: &'static str) -> Reply {
    let reply = text(StatusCode::METHOD_NOT_ALLOWED, &format!("only {allowed}"));
    with_header(reply, header::ALLOW, allowed)
}

pub(super) fn with_header(mut reply: Reply, name: header::HeaderName, value: &'static str) -> Reply {
    reply.headers_mut().insert(name, HeaderValue::from_static(value));
    reply
}

pub(super) fn with_type(status: StatusCode, content_type: &'static str, body: String) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    stamp(headers);
    reply
}

/// What every answer says.
pub(super) fn stamp(headers: &mut http::HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}
