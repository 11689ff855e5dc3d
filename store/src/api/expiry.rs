//! `PUT /api/expiry`: nothing expires while it is paused, as after a restore.

use super::body::{self, BoxError, Sent};
use super::context::{ApiResult, Context, SEQUENCE};
use super::definitions::open;
use super::person::{Object, check_syntax};
use super::problem::{Code, Problem};
use super::{proposal, reply};
use crate::wall_clock;
use bytes::Bytes;
use hyper::body::Body;
use leasehold_documents::{Command, Outcome, Work};
use serde_json::json;
use warp::http::HeaderMap;

const PATH: &str = "/api/expiry";

/// `PUT /api/expiry`
pub(super) async fn put<B>(context: &Context, headers: &HeaderMap, sent: &mut Sent<B>) -> ApiResult
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let body = body::receive(context, headers, sent, body::JSON).await?;
    check_syntax(&body)?;
    let object = Object::of(&body, &body, Code::InvalidRecord, String::new())?;
    object.only(&["paused"])?;
    let paused = object.fields.get("paused").and_then(|raw| raw.get().parse::<bool>().ok());
    let Some(paused) = paused else {
        let what = "the body must be {\"paused\": true} or {\"paused\": false}";
        return Err(Problem::new(Code::InvalidRecord, what).with("pointer", "/paused"));
    };
    open(context, &PATH)?;
    let command = Command { time_ms: wall_clock::now_ms(), key: None, work: Work::PauseExpiry { paused } };
    let answer = proposal::write(context, &PATH, &command).await?;
    if answer.outcome != Outcome::Stepped {
        tracing::error!(outcome = ?answer.outcome, "a pause of expiry had an impossible outcome");
        return Err(Problem::new(Code::Internal, "the request had an impossible outcome; see the log"));
    }
    let mut response = reply::json(&json!({ "paused": paused }));
    response.headers_mut().insert(SEQUENCE, reply::number(answer.seq.0));
    Ok(response)
}
