//! The writes of `/persons`: each checks what it was sent, asks the log, and says what came of it.

use super::conditions::{self, etag};
use super::person::{COLLECTION, Person, PersonPatch, parse_id};
use super::problem::{Code, Problem};
use super::{Context, SEQUENCE, body, key, pages, percent};
use crate::documents::{Action, Answer, Command, Condition, Operation, Outcome, Record, Work};
use crate::handle::WriteError;
use crate::telemetry::WriteResult;
use bytes::Buf;
use futures_util::Stream;
use leasehold_replication::{Limit, RECORD_BODY_BYTES_MAX, Refusal, ReplicaId};
use uuid::Uuid;
use warp::http::header::{CONTENT_TYPE, ETAG, LOCATION};
use warp::http::{HeaderMap, HeaderValue, StatusCode};
use warp::reply::Response;

/// Room that an entry needs beside its command.
const ENTRY_ROOM_BYTES: usize = 1024;

/// `POST /persons`
pub(super) async fn create<B: Buf>(
    context: &Context,
    headers: &HeaderMap,
    sent: impl Stream<Item = Result<B, warp::Error>>,
) -> super::Answer {
    if !conditions::of_write(headers, true)?.is_none() {
        return Err(Problem::new(Code::InvalidCondition, "If-Match and If-None-Match belong to PUT, PATCH and DELETE"));
    }
    let name = key::of(headers)?;
    let body = body::receive(context, headers, sent, body::JSON).await?;
    let person = Person::parse(&body)?;
    // Made before the write, so that the same write could be sent on under the same id. The key is of what was sent: the
    // same request again gets another id here, and the first one's answer.
    let id = person.id.unwrap_or_else(Uuid::now_v7);
    let record = person.to_json(id);
    let path = format!("/{COLLECTION}");
    let request = || format!("POST {path}\n{}", person.to_json(person.id.unwrap_or_default()));
    let operation = Operation { id, action: Action::Create { record: &record }, condition: Condition::None };
    one(context, &path, operation, key::for_log(&name, request)).await
}

/// `PUT /persons/{id}`
pub(super) async fn replace<B: Buf>(
    context: &Context,
    id: &str,
    headers: &HeaderMap,
    sent: impl Stream<Item = Result<B, warp::Error>>,
) -> super::Answer {
    let id = id_of_path(id)?;
    let (wanted, name) = (conditions::of_write(headers, context.config.match_weakened)?, key::of(headers)?);
    let body = body::receive(context, headers, sent, body::JSON).await?;
    let person = Person::parse(&body)?;
    same_id(id, person.id)?;
    let record = person.to_json(id);
    let path = format!("/{COLLECTION}/{id}");
    let request = || format!("PUT {path}\n{}\n{record}", wanted.word());
    let operation =
        Operation { id, action: Action::Put { record: &record }, condition: condition(context, &wanted, id) };
    one(context, &path, operation, key::for_log(&name, request)).await
}

/// `PATCH /persons/{id}`
pub(super) async fn patch<B: Buf>(
    context: &Context,
    id: &str,
    headers: &HeaderMap,
    sent: impl Stream<Item = Result<B, warp::Error>>,
) -> super::Answer {
    let id = id_of_path(id)?;
    let (wanted, name) = (conditions::of_write(headers, context.config.match_weakened)?, key::of(headers)?);
    let body = body::receive(context, headers, sent, body::MERGE_PATCH).await?;
    let patch = PersonPatch::parse(&body)?;
    same_id(id, patch.id)?;
    let patch = patch.to_json();
    let path = format!("/{COLLECTION}/{id}");
    let request = || format!("PATCH {path}\n{}\n{patch}", wanted.word());
    let operation =
        Operation { id, action: Action::Patch { patch: &patch }, condition: condition(context, &wanted, id) };
    one(context, &path, operation, key::for_log(&name, request)).await
}

/// `DELETE /persons/{id}`
pub(super) async fn delete(context: &Context, id: &str, headers: &HeaderMap) -> super::Answer {
    let id = id_of_path(id)?;
    let (wanted, name) = (conditions::of_write(headers, context.config.match_weakened)?, key::of(headers)?);
    let path = format!("/{COLLECTION}/{id}");
    let request = || format!("DELETE {path}\n{}", wanted.word());
    let operation = Operation { id, action: Action::Delete, condition: condition(context, &wanted, id) };
    one(context, &path, operation, key::for_log(&name, request)).await
}

/// What the log is to decide by.
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
    key: Option<crate::documents::Key<'_>>,
) -> super::Answer {
    let command = Command { collection: COLLECTION, key, work: Work::One(operation) };
    let Answer { seq, outcome, id, record, .. } = write(context, path, &command).await?;
    let mut response = match (outcome, record) {
        (Outcome::Created, Some(record)) => {
            let mut response = record_response(StatusCode::CREATED, &record);
            // A path of ASCII letters, digits and dashes.
            if let Ok(location) = HeaderValue::from_str(&format!("/{COLLECTION}/{id}")) {
                response.headers_mut().insert(LOCATION, location);
            }
            response
        }
        (Outcome::Same | Outcome::Replaced, Some(record)) => record_response(StatusCode::OK, &record),
        (Outcome::Deleted, None) => pages::empty(StatusCode::NO_CONTENT),
        (other, _) => declined(other, id).into_response(),
    };
    response.headers_mut().insert(SEQUENCE, HeaderValue::from(seq.0));
    Ok(response)
}

/// What was committed and decided as not to be done.
pub(super) fn declined(outcome: Outcome, id: Uuid) -> Problem {
    match outcome {
        Outcome::Conflict => {
            let what =
                format!("a record with the id {id} and other content exists; PUT /{COLLECTION}/{id} replaces it");
            Problem::new(Code::Conflict, what)
        }
        Outcome::Missing => unknown_id(id),
        Outcome::PreconditionFailed => {
            Problem::new(Code::PreconditionFailed, format!("the record {id} is not as the condition says"))
        }
        Outcome::KeyReused => Problem::new(
            Code::KeyReused,
            "another request was sent under this Idempotency-Key; a key is good for one request. Not done",
        ),
        // Only commands that were made a few lines above come here; these would be faults of ours.
        Outcome::Unreadable(_)
        | Outcome::Created
        | Outcome::Same
        | Outcome::Replaced
        | Outcome::Deleted
        | Outcome::BatchDone
        | Outcome::BatchNotDone => {
            tracing::error!(?outcome, %id, "a write came to an outcome that it cannot have");
            Problem::new(Code::Internal, "the write came to an outcome that it cannot have; see the log")
        }
    }
}

/// Through the log, counted.
pub(super) async fn write(context: &Context, path: &str, command: &Command<'_>) -> Result<Answer, Problem> {
    // Without a volume nobody takes requests from the queue.
    if let Some(why) = context.handle.starting() {
        context.metrics.write_ended(WriteResult::refused);
        return Err(not_ready(format!("the replica is starting: {why}")));
    }
    let command = command.encode();
    let limit = RECORD_BODY_BYTES_MAX - ENTRY_ROOM_BYTES;
    if command.len() > limit {
        let what = format!("it makes an entry of {} bytes, at most {limit} fit; send less at once", command.len());
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

fn not_written(context: &Context, error: WriteError, path: &str) -> Problem {
    let (code, detail) = match error {
        WriteError::Refused(Refusal::NotLeader) => return not_leader(context, path),
        WriteError::Refused(Refusal::Recovering) => {
            (Code::Recovering, "this replica is about to lead and counts promises; not done".to_owned())
        }
        WriteError::Refused(Refusal::NoMajority) => {
            (Code::NoMajority, "the leader does not hear a majority of the voters; not done".to_owned())
        }
        WriteError::Refused(Refusal::TooFewVoters { have, floor }) => {
            (Code::TooFewVoters, format!("{have} of at least {floor} replicas count for majorities; not done"))
        }
        WriteError::Refused(Refusal::Bootstrapping) => {
            (Code::Bootstrapping, "the Lease does not carry the new cluster's id yet; not done".to_owned())
        }
        WriteError::Refused(Refusal::OutOfRoom { limit, replica }) => return out_of_room(context, limit, replica),
        WriteError::Refused(Refusal::Overloaded) => (Code::Overloaded, "too many writes wait; not done".to_owned()),
        WriteError::Refused(Refusal::DiskStalled) => {
            (Code::DiskStalled, "the leader's disk hangs, and this write would wait for it; not done".to_owned())
        }
        WriteError::Refused(Refusal::Failed) => {
            (Code::Failed, "this replica has failed, its log says why; not done".to_owned())
        }
        WriteError::Refused(Refusal::WentBack) => {
            (Code::Failed, "this replica's volume went back in time, its status says what to do; not done".to_owned())
        }
        WriteError::Overwritten => {
            (Code::Overwritten, "a later leader put another entry in its place; not done".to_owned())
        }
        WriteError::Closed => (Code::Stopping, "this replica is ending; not done".to_owned()),
        WriteError::Unknown => {
            let waited_ms = context.config.write_timeout.as_millis();
            let what = format!(
                "not known to be committed within {waited_ms} ms; it may still be done, or never. \
                 Sending the same record under the same id again is safe, and so is anything under the same Idempotency-Key"
            );
            (Code::OutcomeUnknown, what)
        }
    };
    Problem::new(code, detail)
}

/// Which limit, of which pod, and what helps.
fn out_of_room(context: &Context, limit: Limit, replica: ReplicaId) -> Problem {
    let handle = &context.handle;
    let is_own = handle.replica() == Some(replica);
    let status = handle.status();
    let named = || status.as_ref()?.followers.iter().find(|one| one.replica == replica).map(|one| one.name.clone());
    let pod = if is_own { handle.name().to_owned() } else { named().unwrap_or_else(|| replica.to_string()) };
    let room = handle.room();
    let word = pages::limit_word(limit);
    let (figures, more) = match limit {
        Limit::Memory => {
            ((Some(room.memory_used_bytes), Some(room.memory_allowed_bytes)), "give the containers more memory")
        }
        Limit::Disk => ((room.disk_used_bytes, room.disk_allowed_bytes), "enlarge the volumes"),
    };
    let how_much = match figures {
        (Some(used), Some(allowed)) if is_own => format!("{pod} uses {used} of {allowed} bytes of its {word}"),
        _ => format!("{pod} is over its limit of {word} and is needed for a majority"),
    };
    let what = format!(
        "{how_much}; delete records or {more}. Deletes, and updates that make a record shorter, are taken; not done, and \
         it may be sent again later"
    );
    let mut problem = Problem::new(Code::OutOfRoom, what).with("limit", word).with("pod", pod);
    if let (true, (Some(used), Some(allowed))) = (is_own, figures) {
        problem = problem.with("used", used).with("allowed", allowed);
    }
    problem
}

/// Who leads instead, if that is known.
fn not_leader(context: &Context, path: &str) -> Problem {
    // A leader that has just lost its leadership may still see itself in its status: it cannot name another.
    let Some(leader) = pages::leader_seen(&context.handle).filter(|leader| leader.name != context.handle.name()) else {
        return Problem::new(Code::NoLeader, "nobody is known to lead at the moment; not done");
    };
    let what = match &leader.address {
        Some(address) => format!("{} leads, at {address}; write there. Not done", leader.name),
        None => format!("{} leads, its address is not known here. Not done", leader.name),
    };
    let named = serde_json::json!({ "name": leader.name, "address": leader.address, "term": leader.term });
    let problem = Problem::new(Code::NotLeader, what).with("leader", named);
    match leader.address {
        Some(address) => problem.location(&format!("{}://{address}{path}", context.config.scheme)),
        None => problem,
    }
}

pub(super) fn not_ready(why: String) -> Problem {
    Problem::new(Code::NotReady, why)
}

pub(super) fn unknown_id(id: Uuid) -> Problem {
    Problem::new(Code::UnknownId, format!("there is no record with the id {id}"))
}

pub(super) fn id_of_path(text: &str) -> Result<Uuid, Problem> {
    parse_id(&percent::segment("the id", text)?).ok_or_else(|| {
        Problem::new(
            Code::InvalidId,
            format!("the path must end in a UUID such as e956b5d0-fa0c-40e8-9da9-333c214dcaf7, not {text:?}"),
        )
    })
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

pub(super) fn record_response(status: StatusCode, record: &Record) -> Response {
    let mut response = Response::new(record.as_str().to_owned().into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(tag) = HeaderValue::from_str(&etag(record.tag())) {
        headers.insert(ETAG, tag);
    }
    response
}
