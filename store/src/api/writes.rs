//! The writes of single records: each checks its request, proposes it to the log, and answers with the outcome.

use super::asked::{Asked, Op};
use super::attempts::{Writing, definition};
use super::body::{BoxError, Sent};
use super::conditions::{self, Wanted};
use super::context::{ApiResult, Context, SEQUENCE};
use super::percent::{self, Query};
use super::plan::Shape;
use super::problem::{Code, Problem};
use super::refusals::declined;
use super::{body, expires_in, key, person, record, reply};
use bytes::Bytes;
use hyper::body::Body;
use leasehold_documents::{Applied, Form, Id, Outcome, PERSONS};
use std::fmt;
use warp::http::header::LOCATION;
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode};

/// A write that sends a record or a patch, to the collection or to the id in its path.
#[derive(Clone, Copy)]
pub(super) enum Write<'a> {
    /// `POST /{collection}`
    Create,
    /// `PUT /{collection}/{id}`
    Replace(&'a str),
    /// `PATCH /{collection}/{id}`
    Patch(&'a str),
}

impl<'a> Write<'a> {
    fn id(self) -> Option<&'a str> {
        match self {
            Write::Create => None,
            Write::Replace(id) | Write::Patch(id) => Some(id),
        }
    }

    /// Its operation, its method, and what its body must be.
    fn kind(self) -> (Op, Method, &'static str) {
        match self {
            Write::Create => (Op::Create, Method::POST, body::JSON),
            Write::Replace(_) => (Op::Put, Method::PUT, body::JSON),
            Write::Patch(_) => (Op::Patch, Method::PATCH, body::MERGE_PATCH),
        }
    }

    /// Its conditions: there is no record yet that one of a create could be about.
    fn conditions(self, context: &Context, headers: &HeaderMap) -> Result<Wanted, Problem> {
        match self {
            Write::Create if conditions::of_write(headers, true)?.is_none() => Ok(Wanted::default()),
            Write::Create => Err(Problem::new(
                Code::InvalidCondition,
                "only PUT, PATCH and DELETE accept If-Match and If-None-Match",
            )),
            Write::Replace(_) | Write::Patch(_) => conditions::of_write(headers, context.config.match_weakened),
        }
    }
}

/// Creates, replaces or merges a record.
pub(super) async fn write<B>(
    context: &Context,
    collection: &str,
    write: Write<'_>,
    headers: &HeaderMap,
    sent: &mut Sent<B>,
    query: Query,
) -> ApiResult
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let (op, method, media) = write.kind();
    if let Some(id) = write.id() {
        check_id(context, collection, id)?;
    }
    let wanted = write.conditions(context, headers)?;
    let (name, expires_in) = (key::of(headers)?, expires_in::parse(&query)?);
    let body = body::receive(context, headers, sent, media).await?;
    check_syntax(context, collection, &body)?;
    let asked = Asked { expires_in, ..Asked::alone(collection, op, write.id(), &body, wanted) };
    one(context, (method, headers), &asked, name.as_deref(), &query).await
}

/// `DELETE /{collection}/{id}`
pub(super) async fn delete(context: &Context, collection: &str, id: &str, headers: &HeaderMap) -> ApiResult {
    check_id(context, collection, id)?;
    let (wanted, name) = (conditions::of_write(headers, context.config.match_weakened)?, key::of(headers)?);
    let asked = Asked::alone(collection, Op::Delete, Some(id), b"", wanted);
    one(context, (Method::DELETE, headers), &asked, name.as_deref(), &Query::new()).await
}

/// One operation through the log, and its answer.
async fn one(
    context: &Context,
    (method, headers): (Method, &HeaderMap),
    asked: &Asked<'_>,
    key: Option<&str>,
    query: &Query,
) -> ApiResult {
    let collection = &*asked.collection;
    let request = || {
        let path = match &asked.id {
            None => format!("/{collection}"),
            Some(id) => format!("/{collection}/{id}"),
        };
        key::request(&method, &path, query, &asked.conditions.word(), asked.body)
    };
    let request = key.map(|_| request()).unwrap_or_default();
    let target = Target { collection, id: asked.id.as_deref(), query: asked.expires_in.and(Some(query)) };
    let (all, has_query, time) = (std::slice::from_ref(asked), !query.is_empty(), context.write_time(headers));
    let writing = Writing { path: &target, shape: Shape::One, all, key, request, has_query, time };
    let Applied { seq, outcome, id, record, .. } = writing.done(context).await?;
    let mut response = match (outcome, record) {
        (Outcome::Created, Some(record)) => {
            let mut response = reply::record(StatusCode::CREATED, &record);
            // Percent-encoded ASCII.
            if let Ok(location) = HeaderValue::try_from(location(collection, &id)) {
                response.headers_mut().insert(LOCATION, location);
            }
            response
        }
        (Outcome::Same | Outcome::Replaced, Some(record)) => reply::record(StatusCode::OK, &record),
        (Outcome::Deleted, None) => reply::empty(StatusCode::NO_CONTENT),
        (other, _) => {
            let defined = definition(&context.handle.documents(), collection);
            declined(&other, &id, collection, defined.as_deref()).into_response()
        }
    };
    response.headers_mut().insert(SEQUENCE, reply::number(seq.0));
    Ok(response)
}

fn location(collection: &str, id: &Id) -> String {
    match id {
        Id::Uuid(uuid) => format!("/{collection}/{uuid}"),
        Id::Text(text) => format!("/{collection}/{}", percent::encode(text)),
    }
}

/// What the request was sent to, as a path. With the query where it matters: whoever follows a redirect asks for the same.
struct Target<'a> {
    collection: &'a str,
    id: Option<&'a str>,
    query: Option<&'a Query>,
}

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.collection)?;
        if let Some(id) = self.id {
            write!(f, "/{}", percent::encode(id))?;
        }
        for (number, (name, value)) in self.query.into_iter().flatten().enumerate() {
            let before = if number == 0 { '?' } else { '&' };
            write!(f, "{before}{}={}", percent::encode(name), percent::encode(value))?;
        }
        Ok(())
    }
}

/// Whatever the data say: it must be JSON.
fn check_syntax(context: &Context, collection: &str, body: &[u8]) -> Result<(), Problem> {
    if is_of_persons(context, collection) { person::check_syntax(body) } else { record::check_syntax(body) }
}

/// Each pod says what is wrong with the id of a person.
fn check_id(context: &Context, collection: &str, id: &str) -> Result<(), Problem> {
    if is_of_persons(context, collection) { super::refusals::id_of_path(id).map(drop) } else { Ok(()) }
}

/// It is the collection that each cluster begins with: one that is defined under that name later is like any other.
fn is_of_persons(context: &Context, collection: &str) -> bool {
    let found = context.handle.documents();
    collection == PERSONS && found.collection(PERSONS).is_none_or(|found| found.definition().form == Form::Persons)
}
