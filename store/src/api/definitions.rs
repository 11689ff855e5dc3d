//! `/api/collections`: what collections there are, and what they are.
//!
//! ```text
//!   PUT ──▶ open for writes? ──▶ a definition? its schema compiles? ──▶ would records expire at once? ──▶ Define
//!             ├─ in force: 201, 200
//!             └─ pending ──wait, as long as a write may take──▶ in force: 200 │ refused: 409 │ still pending: 202
//! ```
//!
//! The records that are there are examined in steps (`steward`), not by the request. An `Idempotency-Key` changes nothing
//! here: a PUT of what is so already, or pending already, does nothing.

mod revisions;
mod shown;

use super::body::{self, BoxError, Sent};
use super::context::{ApiResult, Context, SEQUENCE};
use super::percent::Query;
use super::person::check_syntax;
use super::problem::{Code, Problem};
use super::query::Freshness;
use super::refusals::{Path, needs_later_format, not_confirmed, not_open, unknown_collection};
use super::rights::Rights;
use super::{proposal, reads, reply};
use crate::schema::Schemas;
use crate::wall_clock;
use bytes::Bytes;
use hyper::body::Body;
use leasehold_documents::{
    COLLECTIONS, Collection, Command, Define, Defined, Definition, DefinitionCondition, DefinitionError, Documents,
    Outcome, PERSONS, WhyRefused, Work, is_name,
};
use leasehold_replication::Seq;
use revisions::Verdict;
use std::sync::Arc;
use tokio::time::Instant;
use warp::http::header::{CONTENT_TYPE, ETAG, LOCATION};
use warp::http::{HeaderMap, HeaderValue, StatusCode};
use warp::reply::Response;

/// `GET /api/collections`: those that may be read.
pub(super) async fn list(context: &Context, rights: &Rights, query: Query) -> ApiResult {
    let view = reads::view(context, &Freshness::parse(query)?).await?;
    let readable = view.documents.collections().filter(|(name, _)| rights.reads(name));
    let mut all: Vec<String> = readable.map(|(name, collection)| shown::json(name, collection)).collect();
    // In format 1 it is there before its first record.
    if all.is_empty() && view.documents.format() < COLLECTIONS && rights.reads(PERSONS) {
        all.push(shown::json(PERSONS, &Collection::default()));
    }
    let mut response = json(StatusCode::OK, format!("[{}]", all.join(",")));
    view.stamp(&mut response);
    Ok(response)
}

/// `GET /api/collections/{name}`
pub(super) async fn read(context: &Context, name: &str, headers: &HeaderMap, query: Query) -> ApiResult {
    let view = reads::view(context, &Freshness::parse(query)?).await?;
    let built_in = Collection::default();
    let found = view.documents.collection(name);
    let found = found.or_else(|| (name == PERSONS && view.documents.format() < COLLECTIONS).then_some(&built_in));
    let mut response = match found {
        None => unknown_collection(name).into_response(),
        Some(collection) => {
            let revision = shown::revision(collection);
            match revisions::of_read(headers, revision, context.config.match_weakened) {
                Verdict::Send => with_tag(json(StatusCode::OK, shown::json(name, collection)), revision),
                Verdict::NotModified => with_tag(reply::empty(StatusCode::NOT_MODIFIED), revision),
                Verdict::Failed => failed(name).into_response(),
            }
        }
    };
    view.stamp(&mut response);
    Ok(response)
}

/// `PUT /api/collections/{name}`
pub(super) async fn put<B>(
    context: &Context,
    name: &str,
    headers: &HeaderMap,
    sent: &mut Sent<B>,
    query: Query,
) -> ApiResult
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let deadline = Instant::now() + context.write_time(headers);
    let path = path_of(name);
    let expire_now = flag(query, "expire-now", "true")?;
    let body = body::receive(context, headers, sent, body::JSON).await?;
    check_syntax(&body)?;
    let definition = Definition::parse(std::str::from_utf8(&body).unwrap_or_default()).map_err(invalid)?;
    if !is_name(name) {
        let what = format!(
            "{name:?} cannot be the name of a collection: 1 to 63 of a-z, 0-9 and -, the first a letter, and not one of \
             {}",
            leasehold_documents::RESERVED_NAMES.join(", ")
        );
        return Err(invalid(DefinitionError { pointer: String::new(), what }));
    }
    open(context, &path)?;
    let documents = context.handle.documents();
    let found = defined(&documents, name);
    let condition = revisions::of_write(headers, found.map(|found| found.revision), context.config.match_weakened)?;
    let definition = match found {
        // What its records look like is not for the client to choose, and stays.
        Some(found) => definition.with_form(found.definition.form),
        None => definition,
    };
    if is_so(&documents, name, &definition, condition) {
        // As committed anywhere: then nothing is written.
        context.handle.read_index(deadline).await.map_err(|error| not_confirmed(context, error, &path))?;
        let documents = context.handle.documents();
        if is_so(&documents, name, &definition, condition) {
            return shown_as(StatusCode::OK, &documents, name, documents.applied().seq);
        }
    }
    let now_ms = wall_clock::now_ms();
    let definition = Arc::new(definition);
    let may_change = found.is_some_and(|found| found.pending.is_none() && condition.holds(Some(found.revision)));
    let examined = (may_change && !expire_now).then(|| documents.collection(name).cloned()).flatten();
    let over = checked(&context.schemas, &definition, examined, now_ms).await?;
    if over > 0 {
        context.handle.read_index(deadline).await.map_err(|error| not_confirmed(context, error, &path))?;
        return Err(would_expire(over));
    }
    let text = definition.to_json();
    let unless_expired_ms = (!expire_now).then_some(now_ms);
    let define = Define { collection: name, definition: &text, condition, unless_expired_ms };
    let command = Command { time_ms: now_ms, key: None, work: Work::Define(define) };
    let left = deadline.saturating_duration_since(Instant::now());
    let answer = proposal::write_within(context, &path, &command, left).await?;
    let status = match answer.outcome {
        Outcome::Defined { created: true } => StatusCode::CREATED,
        Outcome::Defined { created: false } | Outcome::Unchanged => StatusCode::OK,
        Outcome::Pending => {
            context.handle.tell_change_begun();
            examined_within(context, name, &definition, deadline).await?
        }
        other => return Err(declined(&other, name)),
    };
    let documents = context.handle.documents();
    // The entry that brought it into force, if it had to wait for that.
    let revision = documents.collection(name).map_or(answer.seq, shown::revision);
    let mut response = shown_as(status, &documents, name, answer.seq.max(revision))?;
    if status == StatusCode::CREATED
        && let Ok(location) = HeaderValue::from_str(&path)
    {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// Is it defined so, and nothing pending?
fn is_so(documents: &Documents, name: &str, wanted: &Definition, condition: DefinitionCondition) -> bool {
    defined(documents, name).is_some_and(|found| {
        found.pending.is_none() && *found.definition == *wanted && condition.holds(Some(found.revision))
    })
}

/// The answer to a PUT.
fn shown_as(status: StatusCode, documents: &Documents, name: &str, seq: Seq) -> ApiResult {
    let collection = documents.collection(name).ok_or_else(|| unknown_collection(name))?;
    let mut response = with_tag(json(status, shown::json(name, collection)), shown::revision(collection));
    response.headers_mut().insert(SEQUENCE, reply::number(seq.0));
    Ok(response)
}

/// `DELETE /api/collections/{name}`
pub(super) async fn drop(context: &Context, name: &str, headers: &HeaderMap, query: Query) -> ApiResult {
    let path = path_of(name);
    let with_records = flag(query, "records", "delete")?;
    open(context, &path)?;
    let now = defined(&context.handle.documents(), name).map(|found| found.revision);
    let condition = revisions::of_write(headers, now, context.config.match_weakened)?;
    if condition == DefinitionCondition::Absent {
        return Err(Problem::new(Code::InvalidCondition, "DELETE accepts only If-Match"));
    }
    done(context, name, &path, Work::Drop { collection: name, condition, with_records }).await
}

/// `DELETE /api/collections/{name}/pending`
pub(super) async fn give_up(context: &Context, name: &str, headers: &HeaderMap) -> ApiResult {
    let path = format!("{}/pending", path_of(name));
    if revisions::of_write(headers, None, false)? != DefinitionCondition::None {
        let what = "giving up a pending change accepts neither If-Match nor If-None-Match";
        return Err(Problem::new(Code::InvalidCondition, what));
    }
    open(context, &path)?;
    done(context, name, &path, Work::GiveUp { collection: name }).await
}

/// Something that leaves nothing to show.
async fn done(context: &Context, name: &str, path: Path<'_>, work: Work<'_>) -> ApiResult {
    // The log has only names that could be defined.
    if !is_name(name) {
        return Err(unknown_collection(name));
    }
    let command = Command { time_ms: wall_clock::now_ms(), key: None, work };
    let answer = proposal::write(context, path, &command).await?;
    let mut response = match answer.outcome {
        Outcome::Dropped => reply::empty(StatusCode::NO_CONTENT),
        other => declined(&other, name).into_response(),
    };
    response.headers_mut().insert(SEQUENCE, reply::number(answer.seq.0));
    Ok(response)
}

/// Only an open leader of a cluster whose format has definitions looks at them.
pub(super) fn open(context: &Context, path: Path<'_>) -> Result<(), Problem> {
    if !context.handle.leads() {
        return Err(not_open(context, path));
    }
    if context.handle.format().max(context.handle.documents().format()) < COLLECTIONS {
        return Err(needs_later_format(context, COLLECTIONS, path));
    }
    Ok(())
}

/// Does the schema compile; and how many of these records would expire at once? On a blocking thread: both may take long.
async fn checked(
    schemas: &Schemas,
    definition: &Arc<Definition>,
    examined: Option<Collection>,
    now_ms: u64,
) -> Result<u64, Problem> {
    let (schemas, definition) = (schemas.clone(), Arc::clone(definition));
    let check = move || {
        if let Some(schema) = &definition.schema {
            schemas.of(schema)?;
        }
        Ok(examined.map_or(0, |collection| collection.would_expire(&definition, now_ms)))
    };
    match tokio::task::spawn_blocking(check).await {
        Ok(checked) => checked.map_err(invalid),
        Err(error) => {
            tracing::error!(%error, "checking a definition failed");
            Err(Problem::new(Code::Internal, "the definition could not be checked; see the log. Not done"))
        }
    }
}

/// Waits until the pending change has ended: in force (200), refused, or not in time (202).
async fn examined_within(
    context: &Context,
    name: &str,
    wanted: &Definition,
    deadline: Instant,
) -> Result<StatusCode, Problem> {
    let since = |documents: &Documents| Some(defined(documents, name)?.pending.as_ref()?.since);
    // It may be another's, of the same content; or have ended already.
    let begun = since(&context.handle.documents());
    if begun.is_some() && !context.handle.until(deadline, |documents| since(documents) != begun).await {
        return Ok(StatusCode::ACCEPTED);
    }
    let documents = context.handle.documents();
    let Some(found) = defined(&documents, name) else { return Err(unknown_collection(name)) };
    match &found.last_refused {
        _ if *found.definition == *wanted => Ok(StatusCode::OK),
        Some(refused) if begun.is_none_or(|begun| begun == refused.since) => Err(why_refused(&refused.why, wanted)),
        _ => {
            let what = "the change was given up while this request waited for it, or another one followed it";
            Err(Problem::new(Code::DefinitionPending, what))
        }
    }
}

/// For people: the pointer of a whole record is empty.
fn place(pointer: &str) -> String {
    if pointer.is_empty() { "in the record itself".to_owned() } else { format!("at {pointer}") }
}

/// A change that the records did not allow.
pub(crate) fn why_refused(why: &WhyRefused, wanted: &Definition) -> Problem {
    let problem = match why {
        WhyRefused::DoesNotFit { id, pointer, rule } => {
            let what = format!(
                "the record {id} does not fit the schema: {rule}, {}. The definition is as before",
                place(pointer)
            );
            Problem::new(Code::DoesNotFit, what)
        }
        WhyRefused::BadValue { id, pointer, why } => {
            let what =
                format!("the record {id} cannot be read, {}: {why}. The definition is as before", place(pointer));
            Problem::new(Code::DoesNotFit, what)
        }
        WhyRefused::UniqueConflict { index, ids: [one, other] } => {
            let fields = wanted
                .indexes
                .get(usize::from(*index))
                .map(|index| index.fields.iter().map(|field| field.path.to_pointer()).collect::<Vec<_>>().join(", "));
            let what = format!(
                "the records {one} and {other} have the same values of {}, which would be unique. The definition is as \
                 before",
                fields.unwrap_or_default()
            );
            Problem::new(Code::UniqueConflict, what)
        }
    };
    shown::why(why).into_iter().fold(problem, |problem, (name, value)| problem.with(&name, value))
}

/// A command that was decided as not to be done.
pub(crate) fn declined(outcome: &Outcome, name: &str) -> Problem {
    match outcome {
        Outcome::NoCollection => unknown_collection(name),
        Outcome::Missing => {
            Problem::new(Code::NothingPending, format!("no change of the definition of {name} is pending"))
        }
        Outcome::PreconditionFailed => failed(name),
        Outcome::DefinitionPending => {
            let what = format!(
                "another change of {name} is pending: GET /api/collections/{name} shows how far it is, and DELETE \
                 /api/collections/{name}/pending gives it up"
            );
            Problem::new(Code::DefinitionPending, what)
        }
        Outcome::Immutable => {
            let what = format!("what ids the records of {name} have never changes; define another collection");
            Problem::new(Code::Immutable, what).with("pointer", "/id")
        }
        Outcome::WouldExpire(count) => would_expire(*count),
        Outcome::NotEmpty(count) => {
            let what =
                format!("{name} has {count} records; DELETE /api/collections/{name}?records=delete removes them, too");
            Problem::new(Code::NotEmpty, what).with("count", *count)
        }
        Outcome::TooManyCollections => {
            let most = leasehold_documents::COLLECTIONS_MAX;
            Problem::new(Code::TooManyCollections, format!("there are at most {most} collections"))
        }
        Outcome::Invalid(what) => invalid(DefinitionError { pointer: String::new(), what: (*what).to_owned() }),
        // Only commands that were made a few lines above come here; these would be faults of ours.
        other => {
            tracing::error!(outcome = ?other, name, "a definition had an impossible outcome");
            Problem::new(Code::Internal, "the request had an impossible outcome; see the log")
        }
    }
}

fn would_expire(count: u64) -> Problem {
    let what = format!(
        "{count} records would expire at once: the time in their field is over. Is it the right field? \
         `?expire-now=true` does it"
    );
    Problem::new(Code::WouldExpire, what).with("count", count)
}

fn failed(name: &str) -> Problem {
    Problem::new(Code::PreconditionFailed, format!("the definition of {name} does not meet the condition"))
}

fn invalid(DefinitionError { pointer, what }: DefinitionError) -> Problem {
    let place = if pointer.is_empty() { String::new() } else { format!("{pointer}: ") };
    Problem::new(Code::InvalidDefinition, format!("{place}{what}")).with("pointer", pointer)
}

/// Does the query have this parameter, with this one value? It may have no other.
fn flag(query: Query, name: &str, value: &str) -> Result<bool, Problem> {
    let mut found = query.iter();
    let Some((parameter, sent)) = found.next() else { return Ok(false) };
    let is_alone = found.next().is_none();
    match (parameter == name, sent == value, is_alone) {
        (true, true, true) => Ok(true),
        _ => {
            let what = format!("this call accepts only `{name}={value}`, once");
            Err(Problem::new(Code::InvalidQuery, what).with("parameter", parameter.as_str()))
        }
    }
}

fn defined<'a>(documents: &'a Documents, name: &str) -> Option<&'a Arc<Defined>> {
    documents.collection(name)?.defined()
}

fn path_of(name: &str) -> String {
    // A name that is one needs no encoding; any other is only sent back.
    format!("/api/collections/{}", if is_name(name) { name } else { "" })
}

fn json(status: StatusCode, text: String) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn with_tag(mut response: Response, revision: Seq) -> Response {
    if let Ok(tag) = HeaderValue::from_str(&revisions::etag(revision)) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}
