//! The writes of `/persons`: each checks its request, proposes it to the log, and answers with the outcome.

use super::body::{BoxError, Sent};
use super::conditions;
use super::context::{ApiResult, Context, SEQUENCE};
use super::person::{COLLECTION, Person, PersonPatch};
use super::problem::{Code, Problem};
use super::refusals::{declined, id_of_path, needs_later_format, not_ready, not_written};
use super::{body, key, reply};
use crate::handle::WriteError;
use crate::telemetry::WriteResult;
use bytes::Bytes;
use hyper::body::Body;
use leasehold_documents::{Action, Applied, Command, Condition, On, Operation, Outcome, Record, Work};
use leasehold_replication::RECORD_BODY_BYTES_MAX;
use uuid::Uuid;
use warp::http::header::LOCATION;
use warp::http::{HeaderMap, HeaderValue, StatusCode};

/// Room that an entry needs beside its command.
const ENTRY_ROOM_BYTES: usize = 1024;

/// `POST /persons`
pub(super) async fn create<B>(context: &Context, headers: &HeaderMap, sent: &mut Sent<B>) -> ApiResult
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
    let name = key::of(headers)?;
    let body = body::receive(context, headers, sent, body::JSON).await?;
    let person = Person::parse(&body)?;
    // Made before the write, so that the same write could be sent on under the same id. The key covers what was sent: the
    // same request again gets another id here, and the first one's answer.
    let id = person.id.unwrap_or_else(Uuid::now_v7);
    let record = person.to_json(id);
    let path = format!("/{COLLECTION}");
    let request = || format!("POST {path}\n{}", person.to_json(person.id.unwrap_or_default()));
    let operation = Operation::new(id, Action::Create { record: &record }, Condition::None);
    one(context, &path, operation, key::for_log(&name, request)).await
}

/// `PUT /persons/{id}`
pub(super) async fn replace<B>(context: &Context, id: &str, headers: &HeaderMap, sent: &mut Sent<B>) -> ApiResult
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let id = id_of_path(id)?;
    let (wanted, name) = (conditions::of_write(headers, context.config.match_weakened)?, key::of(headers)?);
    let body = body::receive(context, headers, sent, body::JSON).await?;
    let person = Person::parse(&body)?;
    same_id(id, person.id)?;
    let record = person.to_json(id);
    let path = format!("/{COLLECTION}/{id}");
    let request = || format!("PUT {path}\n{}\n{record}", wanted.word());
    let operation = Operation::new(id, Action::Put { record: &record }, condition(context, &wanted, id));
    one(context, &path, operation, key::for_log(&name, request)).await
}

/// `PATCH /persons/{id}`
pub(super) async fn patch<B>(context: &Context, id: &str, headers: &HeaderMap, sent: &mut Sent<B>) -> ApiResult
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let id = id_of_path(id)?;
    let (wanted, name) = (conditions::of_write(headers, context.config.match_weakened)?, key::of(headers)?);
    let body = body::receive(context, headers, sent, body::MERGE_PATCH).await?;
    let patch = PersonPatch::parse(&body)?;
    same_id(id, patch.id)?;
    let patch = patch.to_json();
    let path = format!("/{COLLECTION}/{id}");
    let request = || format!("PATCH {path}\n{}\n{patch}", wanted.word());
    let operation = Operation::new(id, Action::Patch { patch: &patch }, condition(context, &wanted, id));
    one(context, &path, operation, key::for_log(&name, request)).await
}

/// `DELETE /persons/{id}`
pub(super) async fn delete(context: &Context, id: &str, headers: &HeaderMap) -> ApiResult {
    let id = id_of_path(id)?;
    let (wanted, name) = (conditions::of_write(headers, context.config.match_weakened)?, key::of(headers)?);
    let path = format!("/{COLLECTION}/{id}");
    let request = || format!("DELETE {path}\n{}", wanted.word());
    let operation = Operation::new(id, Action::Delete, condition(context, &wanted, id));
    one(context, &path, operation, key::for_log(&name, request)).await
}

/// What the log decides by.
pub(super) fn condition(context: &Context, wanted: &conditions::Wanted, id: Uuid) -> Condition {
    wanted.condition_for(|| {
        let documents = context.handle.documents();
        documents.collection(COLLECTION).and_then(|persons| persons.get(id)).map(Record::tag)
    })
}

/// One operation through the log, and its answer.
async fn one(
    context: &Context,
    path: &str,
    operation: Operation<'_>,
    key: Option<leasehold_documents::Key<'_>>,
) -> ApiResult {
    let command = Command { time_ms: 0, key, work: Work::One(On::name(COLLECTION), operation) };
    let Applied { seq, outcome, id, record, .. } = write(context, path, &command).await?;
    let mut response = match (outcome, record) {
        (Outcome::Created, Some(record)) => {
            let mut response = reply::record(StatusCode::CREATED, &record);
            // A path of ASCII letters, digits and dashes.
            if let Ok(location) = HeaderValue::from_str(&format!("/{COLLECTION}/{id}")) {
                response.headers_mut().insert(LOCATION, location);
            }
            response
        }
        (Outcome::Same | Outcome::Replaced, Some(record)) => reply::record(StatusCode::OK, &record),
        (Outcome::Deleted, None) => reply::empty(StatusCode::NO_CONTENT),
        (other, _) => declined(&other, &id).into_response(),
    };
    response.headers_mut().insert(SEQUENCE, HeaderValue::from(seq.0));
    Ok(response)
}

/// Through the log, counted.
pub(super) async fn write(context: &Context, path: &str, command: &Command<'_>) -> Result<Applied, Problem> {
    // Without a volume nobody reads requests from the queue.
    if let Some(why) = context.handle.starting() {
        context.metrics.write_ended(WriteResult::refused);
        return Err(not_ready(format!("the replica is starting: {why}")));
    }
    let in_force = context.handle.format();
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
    let result = context.handle.write(command, context.config.write_timeout).await;
    context.metrics.write_ended(match &result {
        Ok(written) if written.answer.outcome.is_done() => WriteResult::committed,
        Ok(_) => WriteResult::declined,
        Err(WriteError::Unknown) => WriteResult::unknown,
        Err(WriteError::Refused(_) | WriteError::Overwritten | WriteError::Closed) => WriteResult::refused,
    });
    result.map(|written| written.answer).map_err(|error| not_written(context, error, path))
}

fn same_id(path: Uuid, body: Option<Uuid>) -> Result<(), Problem> {
    match body {
        Some(other) if other != path => {
            let what = format!("the path names {path}, the body {other}");
            Err(Problem::new(Code::IdMismatch, what).with("pointer", "/id"))
        }
        _ => Ok(()),
    }
}
