//! Reads: from what this replica has applied, when that is fresh enough for the client.
//!
//! ```text
//!   GET ──▶ caught up once? ──▶ ?consistency=strong: a read index of the leader, applied here
//!                           ──▶ ?after=: that entry, applied here                ──▶ the documents as they are then
//!                           ──▶ ?max-staleness=: as of a moment that is not longer ago, or 503
//! ```
//!
//! Both wait until the deadline, but not for a hung disk of this replica. A read changes nothing: whatever the answer, it
//! is safe to repeat.

use super::conditions::{self, ReadVerdict};
use super::context::{ApiResult, Context, SEQUENCE, STALENESS};
use super::leader::leader_seen;
pub(super) use super::list::list;
use super::percent::Query;
use super::person::COLLECTION;
use super::problem::{Code, Problem};
use super::query::Freshness;
use super::refusals::{diverged, not_readable, unknown_collection, unknown_id};
use super::reply;
use crate::handle::{Handle, ReadError};
use leasehold_documents::{COLLECTIONS, Collection, Documents, ID_BYTES_MAX, IdKind};
use leasehold_replication::{Refusal, Seq};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use warp::http::header::CONTENT_TYPE;
use warp::http::{HeaderMap, StatusCode};
use warp::reply::Response;

/// What a read sees.
pub(super) struct View {
    pub(super) documents: Arc<Documents>,
    /// The maximum age: everything that was committed anywhere before that is included. None: unknown.
    staleness: Option<Duration>,
}

impl View {
    /// What every answer reports about what it saw.
    pub(super) fn stamp(&self, response: &mut Response) {
        let headers = response.headers_mut();
        headers.insert(SEQUENCE, reply::number(self.documents.applied().seq.0));
        if let Some(staleness) = self.staleness {
            headers.insert(STALENESS, reply::number(milliseconds(staleness)));
        }
    }
}

/// Rounded up: never younger than the data.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}

/// The documents, as fresh as requested.
pub(super) async fn view(context: &Context, freshness: &Freshness) -> Result<View, Problem> {
    let handle = &context.handle;
    handle.readable().map_err(|why| not_readable(handle, why))?;
    let timeout = freshness.timeout.unwrap_or(context.config.read_timeout);
    let asked = Instant::now();
    let deadline = asked + timeout;
    if freshness.strong {
        handle.read_index(deadline).await.map_err(|error| not_confirmed(handle, error, timeout.as_millis()))?;
    }
    if let Some(after) = freshness.after {
        reach(handle, after, deadline, timeout).await?;
    }
    // In this order: the documents are at least as fresh as that.
    let as_of = handle.fresh_as_of().max(freshness.strong.then_some(asked));
    let documents = handle.documents();
    let staleness = as_of.map(|as_of| as_of.elapsed());
    if let Some(most) = freshness.max_staleness
        && staleness.is_none_or(|staleness| staleness > most)
    {
        return Err(too_old(most, staleness));
    }
    Ok(View { documents, staleness })
}

fn too_old(most: Duration, staleness: Option<Duration>) -> Problem {
    let may_be = match staleness {
        Some(staleness) => format!("may be {} ms old", milliseconds(staleness)),
        None => "is of unknown age: no leader has confirmed it since the start".to_owned(),
    };
    let what = format!(
        "the data here {may_be}, and the request allows {} ms; ask another pod, or ask again later (a read is \
         always safe to repeat)",
        most.as_millis()
    );
    Problem::new(Code::Stale, what).with("stalenessMs", staleness.map(milliseconds))
}

/// Waits until this entry is applied here. A read index of the leader distinguishes what was never committed from what is
/// only late here: everything committed at the time of the question is applied when it answers.
pub(super) async fn reach(handle: &Handle, after: Seq, deadline: Instant, timeout: Duration) -> Result<(), Problem> {
    if handle.documents().applied().seq >= after {
        return Ok(());
    }
    let is_applied = tokio::select! {
        biased;
        is_applied = handle.applied(after, deadline) => is_applied,
        confirmed = handle.read_index(deadline) => match confirmed {
            Ok(()) => {
                let committed = handle.documents().applied().seq;
                if committed < after {
                    return Err(ahead(after, committed));
                }
                true
            }
            // Nothing arrives before the disk answers.
            Err(error @ ReadError::Refused(Refusal::DiskStalled)) => {
                return Err(not_confirmed(handle, error, timeout.as_millis()));
            }
            // Unknown at present. The entry may still arrive.
            Err(_) => handle.applied(after, deadline).await,
        },
    };
    if is_applied {
        return Ok(());
    }
    let applied = handle.documents().applied().seq;
    let what =
        format!("this replica did not apply entry {after} within {} ms; it has applied {applied}", timeout.as_millis());
    Err(Problem::new(Code::NotApplied, what).with("applied", applied.0))
}

fn ahead(after: Seq, committed: Seq) -> Problem {
    let what = format!(
        "{after} was never committed: this cluster has committed up to {committed}. The sequence belongs to another \
         cluster, or the data went back in time. Discard what you have, read GET /{COLLECTION}, and continue after \
         its Leasehold-Sequence"
    );
    Problem::new(Code::Ahead, what).with("committed", committed.0)
}

fn not_confirmed(handle: &Handle, error: ReadError, waited_ms: u128) -> Problem {
    let safe = "a read is always safe to repeat";
    match error {
        ReadError::Refused(Refusal::NoMajority) => {
            Problem::new(Code::NoMajority, format!("the leader has no contact with a majority of the voters; {safe}"))
        }
        ReadError::Refused(Refusal::Overloaded) => {
            Problem::new(Code::Overloaded, format!("too many strong reads are waiting; {safe}"))
        }
        ReadError::Refused(Refusal::Failed) => {
            Problem::new(Code::Failed, "this replica has failed (its log says why); ask another one")
        }
        ReadError::Refused(Refusal::WentBack) => Problem::new(
            Code::NotReady,
            "this replica's volume went back in time (its status says what to do); ask another one",
        ),
        ReadError::Refused(Refusal::Diverged) => diverged(handle, "ask another replica"),
        ReadError::Refused(Refusal::DiskStalled) => Problem::new(
            Code::DiskStalled,
            "the disk of this replica hangs, so it cannot ask the leader; ask another replica",
        ),
        ReadError::Closed => Problem::new(Code::Stopping, "this replica is shutting down; ask another one"),
        ReadError::Late | ReadError::Refused(_) => {
            let who = match leader_seen(handle) {
                Some(leader) => format!("the leader {} did not confirm it", leader.name),
                None => "no leader was found".to_owned(),
            };
            Problem::new(Code::NotConfirmed, format!("{who} within {waited_ms} ms; {safe}"))
        }
    }
}

impl View {
    /// That collection; an error if there is none. None: `persons` in a cluster of format 1, before the first record.
    pub(super) fn collection(&self, name: &str) -> Result<Option<&Collection>, Problem> {
        match self.documents.collection(name) {
            Some(found) => Ok(Some(found)),
            None if name == COLLECTION && self.documents.format() < COLLECTIONS => Ok(None),
            None => Err(unknown_collection(name)),
        }
    }
}

/// `GET /{collection}/{id}`. The id is decoded.
pub(super) async fn read(
    context: &Context,
    collection: &str,
    id: &str,
    headers: &HeaderMap,
    query: Query,
) -> ApiResult {
    let freshness = Freshness::parse(query)?;
    let view = view(context, &freshness).await?;
    let found = view.collection(collection)?;
    let kind = found.map_or(IdKind::Uuid, |found| found.definition().id);
    let id = kind.parse(id).ok_or_else(|| bad_id(kind, id))?;
    let record = found.and_then(|found| found.get(id)).ok_or_else(|| unknown_id(id));
    let mut response = match record {
        Err(unknown) => unknown.into_response(),
        Ok(record) => match conditions::of_read(headers, record.tag(), context.config.match_weakened) {
            ReadVerdict::Send => reply::record(StatusCode::OK, record),
            ReadVerdict::NotModified => {
                let mut response = reply::record(StatusCode::NOT_MODIFIED, record);
                *response.body_mut() = Default::default();
                response.headers_mut().remove(CONTENT_TYPE);
                response
            }
            ReadVerdict::Failed => {
                Problem::new(Code::PreconditionFailed, format!("the record {id} has a different ETag")).into_response()
            }
        },
    };
    view.stamp(&mut response);
    Ok(response)
}

/// The id in the path is none of that collection.
fn bad_id(kind: IdKind, text: &str) -> Problem {
    let what = match kind {
        IdKind::Uuid => {
            format!("the path must end in a UUID such as e956b5d0-fa0c-40e8-9da9-333c214dcaf7, not {text:?}")
        }
        IdKind::Text => format!(
            "the id must have 1 to {ID_BYTES_MAX} bytes, without control characters and `/`, and not be `.` or `..`; not \
             {text:?}"
        ),
    };
    Problem::new(Code::InvalidId, what)
}
