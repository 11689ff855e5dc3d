//! Lists of a collection: whole, or page by page.
//!
//! ```text
//!   no filter, no order, no limit ──▶ all of it, in order of creation, in pieces as the client takes them
//!   the same of persons, a limit  ──▶ a page, with cursors of version 1; also with persons' own filters
//!   anything else                 ──plan──▶ a page, with cursors of version 2; also without a limit
//! ```
//!
//! A page looks at a bounded number of records, so one with filters that no index serves may be short, or empty, and still have
//! a `next` link: only its absence is the end. A list is always as of one moment, and the next page waits for what this one
//! has seen.

use super::context::{ApiResult, Context};
use super::cursor::{Cursor, Origin};
use super::percent::Query;
use super::problem::{Code, Problem};
use super::query::{ListQuery, PAGE_MAX, PersonFilter};
use super::reads::{View, view};
use super::reply;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use leasehold_documents::{Budget, Collection, Documents, Form, Place, Plan};
use std::convert::Infallible;
use std::sync::Arc;
use warp::Reply;
use warp::http::HeaderValue;
use warp::http::header::{CONTENT_TYPE, LINK};
use warp::reply::Response;

/// A list goes out in pieces of about this size, so a large one is never in memory twice.
const PIECE_BYTES: usize = 64 * 1024;
/// At most this many records are examined for one piece, so a rare match does not keep a worker from other requests.
const PIECE_RECORDS: usize = 2_000;
/// The same for a piece of a planned page, whose records may be large.
const PIECE: Budget = Budget { records: PIECE_RECORDS, bytes: 1024 * 1024 };
/// What a planned page looks at, at most, and one piece more.
const PAGE: Budget = Budget { records: 20_000, bytes: 16 * 1024 * 1024 };
/// A planned page ends when it has this many bytes.
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// So many places of an index are counted before others get their turn.
const COUNT_STEPS: usize = 20_000;

/// The header with the number of all records of a list.
const COUNT: &str = "leasehold-count";

/// `GET /{collection}`
pub(super) async fn list(context: &Context, collection: &str, query: Query) -> ApiResult {
    let query = ListQuery::parse(collection, query)?;
    let view = view(context, &query.freshness).await?;
    let found = view.collection(collection)?;
    let is_persons = found.is_none_or(|found| found.definition().form == Form::Persons);
    let is_plain = query.filters.is_empty() && (is_persons || query.filter.is_empty());
    let filters = query.all_filters();
    let plan = filters.query().plan(found).map_err(|error| filters.refused(error))?;
    let cluster = context.handle.status().and_then(|status| status.cluster_id);
    let created = found.and_then(Collection::defined).map_or(0, |it| it.created.0);
    let origin = Origin::new(cluster, collection, created, plan.fingerprint());
    let start = start(&query, &plan, origin, is_plain && is_persons)?;
    let count = match query.count {
        true => {
            plan.is_exact().map_err(|error| filters.refused(error))?;
            Some(count(&plan, found).await)
        }
        false => None,
    };
    let mut response = match (query.limit, is_plain) {
        (None, true) => {
            let after = start.as_ref().and_then(Start::number).unwrap_or(0);
            whole(collection.to_owned(), view.documents.clone(), query.filter.clone(), after)
        }
        (Some(limit), true) if is_persons => {
            let after = start.as_ref().and_then(Start::number).unwrap_or(0);
            page_of_persons(&query, &view.documents, collection, limit, after).await
        }
        (limit, _) => {
            let start = match start {
                Some(Start::Place(place)) => Some(place),
                Some(Start::Number(_)) | None => None,
            };
            planned(&query, &view, collection, &plan, origin, start, limit.unwrap_or(PAGE_MAX)).await?
        }
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(count) = count {
        headers.insert(COUNT, reply::number(count));
    }
    view.stamp(&mut response);
    Ok(response)
}

/// Where a list begins that has a cursor.
enum Start {
    /// Behind the record with this creation number.
    Number(u64),
    /// There.
    Place(Place),
}

impl Start {
    fn number(&self) -> Option<u64> {
        match self {
            Start::Number(number) => Some(*number),
            Start::Place(place) => place.number(),
        }
    }
}

fn start(query: &ListQuery, plan: &Plan, origin: Origin, is_plain_of_persons: bool) -> Result<Option<Start>, Problem> {
    let start = match &query.cursor {
        None => return Ok(None),
        Some(Cursor::Persons(number)) => is_plain_of_persons.then_some(Start::Number(*number)),
        Some(Cursor::Any(of, place)) if *of == origin && !is_plain_of_persons => plan.place(place).map(Start::Place),
        Some(Cursor::Any(..)) => None,
    };
    start.map(Some).ok_or_else(|| {
        let what = "`cursor` belongs to a list with other filters, another order, another index, or of another collection or cluster; \
                    begin this list without it";
        Problem::new(Code::StaleCursor, what).with("parameter", "cursor")
    })
}

/// How many records the whole list has.
async fn count(plan: &Plan, collection: Option<&Collection>) -> u64 {
    let (mut count, mut place) = (0, None);
    loop {
        let counted = plan.count(collection, place.as_ref(), COUNT_STEPS);
        count += counted.count;
        match counted.next {
            None => return count,
            next => place = next,
        }
        tokio::task::yield_now().await;
    }
}

/// A page of a plan.
async fn planned(
    query: &ListQuery,
    view: &View,
    collection: &str,
    plan: &Plan,
    origin: Origin,
    start: Option<Place>,
    limit: usize,
) -> ApiResult {
    let found = view.collection(collection)?;
    let mut body = BytesMut::from(&b"["[..]);
    let (mut place, mut kept, mut looked_at, mut pieces) = (start, 0, 0, 0);
    let next = loop {
        let piece = plan.page(found, place.as_ref(), limit - kept, PIECE);
        for record in &piece.records {
            if body.len() > 1 {
                body.extend_from_slice(b",");
            }
            body.extend_from_slice(record.as_str().as_bytes());
        }
        kept += piece.records.len();
        looked_at += piece.looked_at;
        pieces += 1;
        place = piece.next;
        let is_full = kept >= limit || body.len() >= PAGE_BYTES;
        if place.is_none() || is_full || looked_at >= PAGE.records || pieces * PIECE.bytes >= PAGE.bytes {
            break place;
        }
        // Between two pieces other requests get their turn.
        tokio::task::yield_now().await;
    };
    body.extend_from_slice(b"]");
    let cursor = next.map(|place| Cursor::Any(origin, place.to_bytes()));
    Ok(with_link(body, cursor, query, collection, &view.documents))
}

/// The page, and a link to the next one if there is one.
fn with_link(
    body: BytesMut,
    cursor: Option<Cursor>,
    query: &ListQuery,
    collection: &str,
    documents: &Documents,
) -> Response {
    let mut response = Response::new(body.freeze().into());
    let url = cursor.map(|cursor| query.next_page(&format!("/{collection}"), &cursor, documents.applied().seq));
    // Percent-encoded ASCII.
    if let Some(link) = url.and_then(|url| HeaderValue::from_str(&format!("<{url}>; rel=\"next\"")).ok()) {
        response.headers_mut().insert(LINK, link);
    }
    response
}

/// At most `limit` persons in order of creation, and a link to the following ones, if there are any.
async fn page_of_persons(
    query: &ListQuery,
    documents: &Documents,
    collection: &str,
    limit: usize,
    after: u64,
) -> Response {
    let (mut body, mut kept) = (BytesMut::from(&b"["[..]), 0);
    let (mut last_kept, mut looked_at) = (after, after);
    let mut next = None;
    while let Some(persons) = documents.collection(collection) {
        let mut more = false;
        for (number, record) in persons.after(looked_at).take(PIECE_RECORDS) {
            (looked_at, more) = (number, true);
            if !query.filter.keeps(record.as_str()) {
                continue;
            }
            if kept == limit {
                next = Some(Cursor::Persons(last_kept));
                break;
            }
            if kept > 0 {
                body.extend_from_slice(b",");
            }
            body.extend_from_slice(record.as_str().as_bytes());
            (kept, last_kept) = (kept + 1, number);
        }
        if !more || next.is_some() {
            break;
        }
        // Between two pieces other requests get their turn.
        tokio::task::yield_now().await;
    }
    body.extend_from_slice(b"]");
    with_link(body, next, query, collection, documents)
}

/// All of them, in pieces.
fn whole(collection: String, documents: Arc<Documents>, filter: PersonFilter, after: u64) -> Response {
    let mut listing = Listing { collection, documents, filter, after, opened: false, begun: false, ended: false };
    let first = listing.next_piece();
    if listing.ended {
        return Response::new(first.into());
    }
    let first = stream::iter([Ok::<Bytes, Infallible>(first)]);
    let others = stream::unfold(listing, |mut listing| async move {
        if listing.ended {
            return None;
        }
        // Between two pieces other requests get their turn.
        tokio::task::yield_now().await;
        Some((Ok(listing.next_piece()), listing))
    });
    warp::reply::stream(first.chain(others)).into_response()
}

/// A list on its way out, always as of one moment.
struct Listing {
    collection: String,
    documents: Arc<Documents>,
    filter: PersonFilter,
    /// The creation number of the last record that was looked at.
    after: u64,
    /// The opening bracket was written.
    opened: bool,
    /// A record was written, so the next one needs a comma.
    begun: bool,
    /// The closing bracket was written.
    ended: bool,
}

impl Listing {
    fn next_piece(&mut self) -> Bytes {
        let mut piece = BytesMut::with_capacity(1024);
        if !std::mem::replace(&mut self.opened, true) {
            piece.extend_from_slice(b"[");
        }
        let after = self.after;
        let persons = self.documents.collection(&self.collection).into_iter();
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
