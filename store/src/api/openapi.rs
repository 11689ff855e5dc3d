//! `/openapi.json`, and `/docs`, which shows it to people. Both come from the program itself: a closed cluster has no
//! network to load anything from.
//!
//! The document is kept by hand in `openapi.json`. What can be read off the code is put in here: the version and the
//! list of problems. A test holds the paths and methods against those that the API takes, both ways.

use super::context::{Answer, Context};
use super::problem::Code;
use super::reply;
use serde_json::{Value, json};
use std::sync::OnceLock;
use warp::http::HeaderValue;
use warp::http::header::CONTENT_TYPE;
use warp::reply::Response;

const DOCUMENT: &str = include_str!("openapi.json");
const PAGE: &str = include_str!("docs.html");

/// The whole document.
pub(super) fn document() -> &'static Value {
    static WHOLE: OnceLock<Value> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let mut whole: Value = serde_json::from_str(DOCUMENT).expect("a test has read it");
        whole["info"]["version"] = env!("CARGO_PKG_VERSION").into();
        let problem = &mut whole["components"]["schemas"]["Problem"];
        let types: Vec<String> = Code::ALL.iter().map(|code| format!("urn:leasehold:{}", code.as_str())).collect();
        problem["properties"]["type"]["enum"] = types.into();
        let list = Code::ALL.iter().map(|code| {
            json!({ "type": format!("urn:leasehold:{}", code.as_str()), "status": code.status().as_u16(), "title": code.title() })
        });
        problem["x-problems"] = list.collect();
        whole
    })
}

/// `GET /openapi.json`
pub(super) fn openapi(_: &Context) -> Answer {
    Ok(reply::json(document()))
}

/// `GET /docs`
pub(super) fn docs(_: &Context) -> Answer {
    let mut response = Response::new(PAGE.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    let policy = "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'";
    headers.insert("content-security-policy", HeaderValue::from_static(policy));
    Ok(response)
}
