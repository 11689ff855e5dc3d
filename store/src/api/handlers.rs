//! The calls on `/persons`: each checks what it was sent, asks the log or the documents, and says what came of it.

use super::filters::Query;
use super::person::{COLLECTION, Person, Stored, parse_id};
use super::problem::{Code, Problem};
use super::{Answer, Context, SEQUENCE, pages};
use crate::documents::{Action, Collection, Command, Condition, Documents, Outcome, tag_of};
use crate::handle::{WriteError, Written};
use crate::telemetry::WriteResult;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use leasehold_replication::Refusal;
use std::convert::Infallible;
use uuid::Uuid;
use warp::Reply;
use warp::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, LOCATION};
use warp::http::{HeaderMap, HeaderValue, StatusCode};
use warp::reply::Response;

/// A list goes out in pieces of about this size, so a large one is never in memory twice.
const PIECE_BYTES: usize = 64 * 1024;
/// Records that are looked at for one piece at most, so a rare match does not keep a worker from other requests.
const PIECE_RECORDS: usize = 2_000;

/// `GET /persons`
pub(super) fn list(context: &Context, query: Query) -> Answer {
    context.handle.readable().map_err(not_ready)?;
    let filter = PersonFilter::parse(query)?;
    let documents = context.handle.documents();
    let sequence = documents.applied().seq.0;
    let mut listing = Listing { documents, filter, after: 0, begun: false, ended: false };
    let first = listing.next_piece();
    let mut response = if listing.ended {
        Response::new(first.into())
    } else {
        let first = stream::iter([Ok::<Bytes, Infallible>(first)]);
        let others = stream::unfold(listing, |mut listing| async move {
            if listing.ended {
                return None;
            }
            // Between two pieces other requests have their turn.
            tokio::task::yield_now().await;
            Some((Ok(listing.next_piece()), listing))
        });
        warp::reply::stream(first.chain(others)).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(SEQUENCE, HeaderValue::from(sequence));
    Ok(response)
}

/// `GET /persons/{id}`
pub(super) fn read(context: &Context, id: &str) -> Answer {
    context.handle.readable().map_err(not_ready)?;
    let id = id_of_path(id)?;
    let documents = context.handle.documents();
    // The sequence is that of what was looked at, also when nothing was found there.
    let mut response = match documents.collection(COLLECTION).and_then(|persons| persons.get(id)) {
        Some(record) => record_response(StatusCode::OK, record.as_str().to_owned()),
        None => unknown_id(id).into_response(),
    };
    response.headers_mut().insert(SEQUENCE, HeaderValue::from(documents.applied().seq.0));
    Ok(response)
}

/// `POST /persons`
pub(super) async fn create<B: Buf>(
    context: &Context,
    headers: &HeaderMap,
    body: impl Stream<Item = Result<B, warp::Error>>,
) -> Answer {
    if condition(headers)? != Condition::None {
        return Err(Problem::new(Code::InvalidCondition, "If-Match and If-None-Match belong to PUT and DELETE"));
    }
    let person = Person::parse(&receive(context, headers, body).await?)?;
    // Made before the write, so that the same write could be sent on under the same id.
    let id = person.id.unwrap_or_else(Uuid::now_v7);
    let record = person.to_json(id);
    let location = format!("/{COLLECTION}/{id}");
    let action = Action::Create { record: &record };
    let written = write(context, &format!("/{COLLECTION}"), id, action, Condition::None).await?;
    stored(written, id, record, &location)
}

/// `PUT /persons/{id}`
pub(super) async fn replace<B: Buf>(
    context: &Context,
    id: &str,
    headers: &HeaderMap,
    body: impl Stream<Item = Result<B, warp::Error>>,
) -> Answer {
    let id = id_of_path(id)?;
    let condition = condition(headers)?;
    let person = Person::parse(&receive(context, headers, body).await?)?;
    if let Some(other) = person.id.filter(|other| *other != id) {
        let what = format!("the path names {id}, the body {other}");
        return Err(Problem::new(Code::IdMismatch, what).with("pointer", "/id"));
    }
    let record = person.to_json(id);
    let location = format!("/{COLLECTION}/{id}");
    let written = write(context, &location, id, Action::Put { record: &record }, condition).await?;
    stored(written, id, record, &location)
}

/// `DELETE /persons/{id}`
pub(super) async fn delete(context: &Context, id: &str, headers: &HeaderMap) -> Answer {
    let id = id_of_path(id)?;
    let condition = condition(headers)?;
    let written = write(context, &format!("/{COLLECTION}/{id}"), id, Action::Delete, condition).await?;
    let mut response = match written.outcome {
        Outcome::Deleted => pages::empty(StatusCode::NO_CONTENT),
        other => declined(other, id).into_response(),
    };
    response.headers_mut().insert(SEQUENCE, HeaderValue::from(written.position.seq.0));
    Ok(response)
}

/// The answer to a write that was committed and carries a record.
fn stored(written: Written, id: Uuid, record: String, location: &str) -> Answer {
    let mut response = match written.outcome {
        Outcome::Created => {
            let mut response = record_response(StatusCode::CREATED, record);
            // A path of ASCII letters, digits and dashes.
            if let Ok(location) = HeaderValue::from_str(location) {
                response.headers_mut().insert(LOCATION, location);
            }
            response
        }
        Outcome::Same | Outcome::Replaced => record_response(StatusCode::OK, record),
        other => declined(other, id).into_response(),
    };
    response.headers_mut().insert(SEQUENCE, HeaderValue::from(written.position.seq.0));
    Ok(response)
}

/// What was committed and decided as not to be done.
fn declined(outcome: Outcome, id: Uuid) -> Problem {
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
        // Only commands that were made a few lines above come here; these would be faults of ours.
        Outcome::Unreadable(_) | Outcome::Created | Outcome::Same | Outcome::Replaced | Outcome::Deleted => {
            tracing::error!(?outcome, %id, "a write came to an outcome that it cannot have");
            Problem::new(Code::Internal, "the write came to an outcome that it cannot have; see the log")
        }
    }
}

/// Through the log, counted.
async fn write(
    context: &Context,
    path: &str,
    id: Uuid,
    action: Action<'_>,
    condition: Condition,
) -> Result<Written, Problem> {
    // Without a volume nobody takes requests from the queue.
    if let Some(why) = context.handle.starting() {
        context.metrics.write_ended(WriteResult::refused);
        return Err(not_ready(format!("the replica is starting: {why}")));
    }
    let command = Command { collection: COLLECTION, id, action, condition }.encode();
    let result = context.handle.write(command, context.config.write_timeout).await;
    context.metrics.write_ended(match &result {
        Ok(Written { outcome, .. }) => match outcome {
            Outcome::Created | Outcome::Same | Outcome::Replaced | Outcome::Deleted => WriteResult::committed,
            Outcome::Conflict | Outcome::Missing | Outcome::PreconditionFailed | Outcome::Unreadable(_) => {
                WriteResult::declined
            }
        },
        Err(WriteError::Unknown) => WriteResult::unknown,
        Err(WriteError::Refused(_) | WriteError::Overwritten | WriteError::Closed) => WriteResult::refused,
    });
    result.map_err(|error| not_written(context, error, path))
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
        WriteError::Refused(Refusal::Overloaded) => (Code::Overloaded, "too many writes wait; not done".to_owned()),
        WriteError::Refused(Refusal::Failed) => {
            (Code::Failed, "this replica has failed, its log says why; not done".to_owned())
        }
        WriteError::Overwritten => {
            (Code::Overwritten, "a later leader put another entry in its place; not done".to_owned())
        }
        WriteError::Closed => (Code::Stopping, "this replica is ending; not done".to_owned()),
        WriteError::Unknown => {
            let waited_ms = context.config.write_timeout.as_millis();
            let what = format!(
                "not known to be committed within {waited_ms} ms; it may still be done, or never. \
                 Sending the same record under the same id again is safe"
            );
            (Code::OutcomeUnknown, what)
        }
    };
    Problem::new(code, detail)
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

fn not_ready(why: String) -> Problem {
    Problem::new(Code::NotReady, why)
}

fn unknown_id(id: Uuid) -> Problem {
    Problem::new(Code::UnknownId, format!("there is no record with the id {id}"))
}

fn id_of_path(text: &str) -> Result<Uuid, Problem> {
    parse_id(text).ok_or_else(|| {
        Problem::new(
            Code::InvalidId,
            format!("the path must end in a UUID such as e956b5d0-fa0c-40e8-9da9-333c214dcaf7, not {text:?}"),
        )
    })
}

fn record_response(status: StatusCode, record: String) -> Response {
    let tag = format!("\"{:032x}\"", tag_of(&record));
    let mut response = Response::new(record.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    response
}

/// `If-Match: *`, `If-Match: "<tag>"` or `If-None-Match: *`. It is decided where the command is applied.
pub(super) fn condition(headers: &HeaderMap) -> Result<Condition, Problem> {
    let wrong = |what: &str| Err(Problem::new(Code::InvalidCondition, what));
    let mut given = headers.get_all(IF_MATCH).iter().map(|value| (true, value.as_bytes()));
    let mut given_none = headers.get_all(IF_NONE_MATCH).iter().map(|value| (false, value.as_bytes()));
    let Some((is_match, value)) = given.next().or_else(|| given_none.next()) else { return Ok(Condition::None) };
    if given.chain(given_none).next().is_some() {
        return wrong("one of If-Match and If-None-Match, with one value");
    }
    match (is_match, value.trim_ascii()) {
        (true, b"*") => Ok(Condition::Exists),
        (false, b"*") => Ok(Condition::Absent),
        (false, _) => wrong("If-None-Match takes only *"),
        (true, tag) => match parse_tag(tag) {
            Some(tag) => Ok(Condition::Tag(tag)),
            None => wrong("If-Match takes * or one ETag as this store gives it, with its quotes"),
        },
    }
}

fn parse_tag(quoted: &[u8]) -> Option<u128> {
    let tag = quoted.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let is_ours = tag.len() == 32 && tag.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    if is_ours { u128::from_str_radix(std::str::from_utf8(tag).ok()?, 16).ok() } else { None }
}

/// The whole body, if it is declared as JSON and not too long. Chunked ones are counted as they come.
async fn receive<B: Buf>(
    context: &Context,
    headers: &HeaderMap,
    body: impl Stream<Item = Result<B, warp::Error>>,
) -> Result<Bytes, Problem> {
    let found = headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let media = found.as_deref().unwrap_or("").split(';').next().unwrap_or("").trim();
    if !media.eq_ignore_ascii_case("application/json") {
        let found = found.as_deref().unwrap_or("none");
        let what = format!("Content-Type must be application/json, found {found}");
        return Err(Problem::new(Code::UnsupportedMediaType, what));
    }
    if headers.get(CONTENT_ENCODING).is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::new(Code::UnsupportedMediaType, "a Content-Encoding is not understood; send it plain"));
    }
    let limit = context.config.body_limit_bytes;
    let too_large =
        || Problem::new(Code::BodyTooLarge, format!("a body has at most {limit} bytes")).with("limitBytes", limit);
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let collect = async {
        let mut body = std::pin::pin!(body);
        let mut whole = BytesMut::new();
        while let Some(piece) = body.next().await {
            let mut piece = piece.map_err(|error| {
                Problem::new(Code::BodyIncomplete, format!("the body ended after {} bytes: {error}", whole.len()))
            })?;
            while piece.has_remaining() {
                let chunk = piece.chunk();
                if whole.len() + chunk.len() > limit {
                    return Err(too_large());
                }
                whole.extend_from_slice(chunk);
                piece.advance(piece.chunk().len());
            }
        }
        Ok(whole.freeze())
    };
    let timeout = context.config.body_timeout;
    tokio::time::timeout(timeout, collect).await.unwrap_or_else(|_| {
        let what = format!("the body did not arrive within {} ms", timeout.as_millis());
        Err(Problem::new(Code::BodyTimeout, what))
    })
}

/// What a listed person must be equal to.
#[derive(Debug, Default)]
struct PersonFilter {
    first_name: Option<String>,
    last_name: Option<String>,
    id: Option<Uuid>,
}

impl PersonFilter {
    fn parse(query: Query) -> Result<PersonFilter, Problem> {
        let mut filter = PersonFilter::default();
        for (name, value) in query {
            let wrong = |what: String| Err(Problem::new(Code::InvalidQuery, what).with("parameter", name.as_str()));
            let is_twice = match name.as_str() {
                "firstName" => filter.first_name.replace(value).is_some(),
                "lastName" => filter.last_name.replace(value).is_some(),
                "id" => match parse_id(&value) {
                    Some(id) => filter.id.replace(id).is_some(),
                    None => return wrong(format!("`id` must be a UUID, not {value:?}")),
                },
                _ => {
                    return wrong(format!(
                        "the parameter `{name}` is not known; the list can be filtered by firstName, lastName and id"
                    ));
                }
            };
            if is_twice {
                return wrong(format!("the parameter `{name}` is given twice"));
            }
        }
        Ok(filter)
    }

    fn keeps(&self, record: &str) -> bool {
        if self.first_name.is_none() && self.last_name.is_none() && self.id.is_none() {
            return true;
        }
        // What is stored was checked; a record of another shape matches no filter.
        let Ok(person) = serde_json::from_str::<Stored<'_>>(record) else { return false };
        let is_equal = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        is_equal(&self.first_name, &person.first_name)
            && is_equal(&self.last_name, &person.last_name)
            && self.id.is_none_or(|id| id == person.id)
    }
}

/// A list on its way out, always of the same moment.
struct Listing {
    documents: Documents,
    filter: PersonFilter,
    /// The creation number of the last record that was looked at.
    after: u64,
    /// A record was written, so the next one needs a comma.
    begun: bool,
    /// The closing bracket was written.
    ended: bool,
}

impl Listing {
    fn next_piece(&mut self) -> Bytes {
        let mut piece = BytesMut::with_capacity(1024);
        if self.after == 0 {
            piece.extend_from_slice(b"[");
        }
        let after = self.after;
        let persons = self.documents.collection(COLLECTION).into_iter();
        let records = persons.flat_map(|persons: &Collection| persons.after(after));
        for (looked_at, (number, record)) in records.enumerate() {
            if piece.len() >= PIECE_BYTES || looked_at >= PIECE_RECORDS {
                return piece.freeze();
            }
            self.after = number;
            if self.filter.keeps(record.as_str()) {
                if std::mem::replace(&mut self.begun, true) {
                    piece.extend_from_slice(b",");
                }
                piece.extend_from_slice(record.as_str().as_bytes());
            }
        }
        piece.extend_from_slice(b"]");
        self.ended = true;
        piece.freeze()
    }
}
