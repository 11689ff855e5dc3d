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
use leasehold_documents::{Applied, Form, Outcome, PERSONS};
use warp::http::header::LOCATION;
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode};

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
    check_syntax(context, collection, &body)?;
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
    check_id(context, collection, id)?;
    let (wanted, name) = (conditions::of_write(headers, context.config.match_weakened)?, key::of(headers)?);
    let expires_in = expires_in::parse(&query)?;
    let body = body::receive(context, headers, sent, body::JSON).await?;
    check_syntax(context, collection, &body)?;
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
    check_id(context, collection, id)?;
    let (wanted, name) = (conditions::of_write(headers, context.config.match_weakened)?, key::of(headers)?);
    let expires_in = expires_in::parse(&query)?;
    let body = body::receive(context, headers, sent, body::MERGE_PATCH).await?;
    check_syntax(context, collection, &body)?;
    let asked = Asked { expires_in, ..Asked::alone(collection, Op::Patch, Some(id), &body, wanted) };
    one(context, Method::PATCH, asked, name.as_deref(), &query).await
}

/// `DELETE /{collection}/{id}`
pub(super) async fn delete(context: &Context, collection: &str, id: &str, headers: &HeaderMap) -> ApiResult {
    check_id(context, collection, id)?;
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
    // Whoever follows a redirect asks for the same.
    let shown = asked.expires_in.map_or(shown.clone(), |_| {
        let pairs: Vec<String> =
            query.iter().map(|(name, value)| format!("{}={}", percent::encode(name), percent::encode(value))).collect();
        format!("{shown}?{}", pairs.join("&"))
    });
    let request = || key::request(&method, &path, query, &asked.conditions.word(), asked.body);
    let request = key.map(|_| request()).unwrap_or_default();
    let writing =
        Writing { path: &shown, shape: Shape::One, all: vec![asked], key, request, has_query: !query.is_empty() };
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
