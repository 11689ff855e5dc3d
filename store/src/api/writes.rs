//! The writes of single records: each checks its request, proposes it to the log, and answers with the outcome.

use super::asked::{Asked, Op};
use super::attempts::{Writing, definition};
use super::body::{BoxError, Sent};
use super::conditions::{self, Wanted};
use super::context::{ApiResult, Context, SEQUENCE};
use super::percent::{self, Query};
use super::plan::Shape;
use super::problem::{Code, Problem};
use super::refusals::{declined, needs_later_format, not_ready, not_written};
use super::{body, expires_in, key, person, record, reply};
use crate::handle::WriteError;
use crate::telemetry::WriteResult;
use bytes::Bytes;
use hyper::body::Body;
use leasehold_documents::{Applied, Command, Outcome, PERSONS};
use leasehold_replication::RECORD_BODY_BYTES_MAX;
use std::time::Duration;
use warp::http::header::LOCATION;
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode};

/// Room that an entry needs beside its command.
const ENTRY_ROOM_BYTES: usize = 1024;

/// `POST /{collection}`
pub(super) async fn create<B>(
    context: &Context,
    collection: &str,
    headers: &HeaderMap,
    sent: &mut Sent<B>,
    query: Query,
) -> ApiResult
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    if !conditions::of_write(headers, true)?.is_none() {
        return Err(Problem::new(
            Code::InvalidCondition,
            "only PUT, PATCH and DELETE accept If-Match and If-None-Match",
        ));
    }
    let (name, expires_in) = (key::of(headers)?, expires_in::parse(&query)?);
    let body = body::receive(context, headers, sent, body::JSON).await?;
    check_syntax(collection, &body)?;
    let asked = Asked { expires_in, ..Asked::alone(collection, Op::Create, None, &body, Wanted::default()) };
    one(context, Method::POST, asked, name.as_deref(), &query).await
}

/// `PUT /{collection}/{id}`
pub(super) async fn replace<B>(
    context: &Context,
    collection: &str,
    id: &str,
    headers: &HeaderMap,
    sent: &mut Sent<B>,
    query: Query,
) -> ApiResult
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    check_id(collection, id)?;
    let (wanted, name) = (conditions::of_write(headers, context.config.match_weakened)?, key::of(headers)?);
    let expires_in = expires_in::parse(&query)?;
    let body = body::receive(context, headers, sent, body::JSON).await?;
    check_syntax(collection, &body)?;
    let asked = Asked { expires_in, ..Asked::alone(collection, Op::Put, Some(id), &body, wanted) };
    one(context, Method::PUT, asked, name.as_deref(), &query).await
}

/// `PATCH /{collection}/{id}`
pub(super) async fn patch<B>(
    context: &Context,
    collection: &str,
    id: &str,
    headers: &HeaderMap,
    sent: &mut Sent<B>,
    query: Query,
) -> ApiResult
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    check_id(collection, id)?;
    let (wanted, name) = (conditions::of_write(headers, context.config.match_weakened)?, key::of(headers)?);
    let expires_in = expires_in::parse(&query)?;
    let body = body::receive(context, headers, sent, body::MERGE_PATCH).await?;
    check_syntax(collection, &body)?;
    let asked = Asked { expires_in, ..Asked::alone(collection, Op::Patch, Some(id), &body, wanted) };
    one(context, Method::PATCH, asked, name.as_deref(), &query).await
}

/// `DELETE /{collection}/{id}`
pub(super) async fn delete(context: &Context, collection: &str, id: &str, headers: &HeaderMap) -> ApiResult {
    check_id(collection, id)?;
    let (wanted, name) = (conditions::of_write(headers, context.config.match_weakened)?, key::of(headers)?);
    let asked = Asked::alone(collection, Op::Delete, Some(id), b"", wanted);
    one(context, Method::DELETE, asked, name.as_deref(), &Query::new()).await
}

/// One operation through the log, and its answer.
async fn one(context: &Context, method: Method, asked: Asked<'_>, key: Option<&str>, query: &Query) -> ApiResult {
    let collection = asked.collection.clone();
    let (path, shown) = match &asked.id {
        None => (format!("/{collection}"), format!("/{collection}")),
        Some(id) => (format!("/{collection}/{id}"), format!("/{collection}/{}", percent::encode(id))),
    };
    let request = key::request(&method, &path, query, &asked.conditions.word(), asked.body);
    let writing = Writing { path: &shown, shape: Shape::One, all: vec![asked], key, request };
    let Applied { seq, outcome, id, record, .. } = writing.done(context).await?;
    let mut response = match (outcome, record) {
        (Outcome::Created, Some(record)) => {
            let mut response = reply::record(StatusCode::CREATED, &record);
            // Percent-encoded ASCII.
            let location = format!("/{collection}/{}", percent::encode(&id.to_string()));
            if let Ok(location) = HeaderValue::from_str(&location) {
                response.headers_mut().insert(LOCATION, location);
            }
            response
        }
        (Outcome::Same | Outcome::Replaced, Some(record)) => reply::record(StatusCode::OK, &record),
        (Outcome::Deleted, None) => reply::empty(StatusCode::NO_CONTENT),
        (other, _) => {
            let defined = definition(&context.handle.documents(), &collection);
            declined(&other, &id, &collection, defined.as_deref()).into_response()
        }
    };
    response.headers_mut().insert(SEQUENCE, HeaderValue::from(seq.0));
    Ok(response)
}

/// Through the log, counted: one try.
pub(super) async fn write(context: &Context, path: &str, command: &Command<'_>) -> Result<Applied, Problem> {
    write_within(context, path, command, context.config.write_timeout).await
}

/// As [`write`], in this time.
pub(super) async fn write_within(
    context: &Context,
    path: &str,
    command: &Command<'_>,
    timeout: Duration,
) -> Result<Applied, Problem> {
    // Without a volume nobody reads requests from the queue.
    if let Some(why) = context.handle.starting() {
        context.metrics.write_ended(WriteResult::refused);
        return Err(not_ready(format!("the replica is starting: {why}")));
    }
    // What is applied is in force, even if the status does not say so yet.
    let in_force = context.handle.format().max(context.handle.documents().format());
    if command.needs() > in_force {
        context.metrics.write_ended(WriteResult::refused);
        return Err(needs_later_format(context, command.needs(), path));
    }
    let command = command.encode(in_force);
    let limit = RECORD_BODY_BYTES_MAX - ENTRY_ROOM_BYTES;
    if command.len() > limit {
        let what = format!(
            "the request makes an entry of {} bytes, and at most {limit} fit; send less at once",
            command.len()
        );
        return Err(Problem::new(Code::BodyTooLarge, what).with("limitBytes", limit));
    }
    let result = context.handle.write(command, timeout).await;
    context.metrics.write_ended(match &result {
        Ok(written) if written.answer.outcome.is_done() => WriteResult::committed,
        Ok(_) => WriteResult::declined,
        Err(WriteError::Unknown) => WriteResult::unknown,
        Err(WriteError::Refused(_) | WriteError::Overwritten | WriteError::Closed) => WriteResult::refused,
    });
    result.map(|written| written.answer).map_err(|error| not_written(context, error, path))
}

/// Whatever the data say: it must be JSON.
fn check_syntax(collection: &str, body: &[u8]) -> Result<(), Problem> {
    if collection == PERSONS { person::check_syntax(body) } else { record::check_syntax(body) }
}

/// The ids of persons are known before anyone looks at a definition.
fn check_id(collection: &str, id: &str) -> Result<(), Problem> {
    if collection == PERSONS { super::refusals::id_of_path(id).map(drop) } else { Ok(()) }
}
