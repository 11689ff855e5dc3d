//! `GET /persons:watch`: every committed change, as server-sent events.
//!
//! ```text
//!   retry: 1000                                                      how soon a browser reconnects
//!   id: 812                                                          the entry's sequence: where to resume
//!   data: {"sequence":812,"changes":[{"change":"created","id":"…","record":{…}}]}
//!   : still here                                                     now and then, with the newest sequence as `id`
//!   event: end                                                       the last one, where it can be said
//!   data: {"reason":"draining","detail":"…","after":812}
//! ```
//!
//! One event carries everything that one entry changed (a batch is one entry). So a client that resumes after its `id`, by
//! `Last-Event-ID` or `?after=`, on any pod, misses nothing and sees nothing twice. A watcher has no queue but the few
//! events on their way to it: what it has not read waits in the [`History`](crate::history), once for all. A
//! client that reads nothing for a long time (`watch_stall_max`), or falls behind the history, is cut off, and resumes
//! after the last `id` that it got.

use super::context::{ApiResult, Context, SEQUENCE};
use super::percent::Query;
use super::person::COLLECTION;
use super::problem::{Code, Problem};
use super::refusals::not_readable;
use super::{query, reads};
use crate::handle::Handle;
use crate::history::Commit;
use bytes::Bytes;
use futures_util::stream;
use leasehold_documents::{Change, ChangeKind};
use leasehold_replication::Seq;
use serde_json::json;
use serde_json::value::RawValue;
use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use warp::Reply;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use warp::http::{HeaderMap, HeaderValue};

/// Events on their way to one watcher, beside what the sockets hold.
const EVENTS_MAX: usize = 8;
/// How many commits are read from the history at once.
const COMMITS_MAX: usize = 64;
/// A watcher that received nothing for this long gets a comment that says so.
const STILL_HERE_AFTER: Duration = Duration::from_secs(10);

/// Why a watch ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Draining,
    Slow,
    Gone,
}

/// `GET /persons:watch`
pub(super) async fn watch(context: &Context, headers: &HeaderMap, query: Query) -> ApiResult {
    let asked = query::watch_after(query)?;
    // A browser that reconnects sends the old URL and, newer than that, this.
    let after = last_event_id(headers)?.or(asked);
    let handle = &context.handle;
    handle.ready().map_err(|why| not_readable(handle, why))?;
    let after = after.unwrap_or_else(|| handle.documents().applied().seq);
    // Another replica may be ahead of this one; a client that has seen what was never committed must learn it.
    let timeout = context.config.read_timeout;
    reads::reach(handle, after, Instant::now() + timeout, timeout).await?;
    handle.history().after(after, 1).map_err(|gone| {
        let what = format!(
            "this replica no longer has all changes after {after}, only those after {}. Read GET /{COLLECTION}, and \
             watch after its Leasehold-Sequence",
            gone.oldest
        );
        Problem::new(Code::HistoryGone, what).with("oldest", gone.oldest.0)
    })?;
    let permit = Arc::clone(&context.watchers).try_acquire_owned().map_err(|_| {
        let most = context.config.watchers_max;
        context.metrics.watcher_refused();
        Problem::new(Code::TooManyWatchers, format!("{most} clients already watch this replica; ask another one"))
    })?;
    let (events, mut taken) = mpsc::channel(EVENTS_MAX);
    let last_words = Arc::new(OnceLock::new());
    let stall_max = context.config.watch_stall_max;
    tokio::spawn(tell(handle.clone(), after, events, last_words.clone(), stall_max, permit));
    let mut first = Some(Bytes::from(format!("retry: 1000\nid: {after}\n: watching\n\n")));
    let mut is_over = false;
    let stream = stream::poll_fn(move |cx| {
        if let Some(first) = first.take() {
            return std::task::Poll::Ready(Some(Ok::<Bytes, Infallible>(first)));
        }
        taken.poll_recv(cx).map(|event| {
            let last = || if std::mem::replace(&mut is_over, true) { None } else { last_words.get().cloned() };
            event.or_else(last).map(Ok)
        })
    });
    let mut response = warp::reply::stream(stream).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // A proxy that collects answers would keep the events.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    headers.insert(SEQUENCE, HeaderValue::from(after.0));
    Ok(response)
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<Seq>, Problem> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let number = value.to_str().ok().and_then(|value| value.trim().parse().ok()).map(Seq);
    let wrong = || Problem::new(Code::InvalidQuery, "Last-Event-ID is not the `id` of an event of this store");
    number.map(Some).ok_or_else(|| wrong().with("parameter", "Last-Event-ID"))
}

/// Sends one watcher everything, in order, until either side ends.
async fn tell(
    handle: Handle,
    after: Seq,
    events: mpsc::Sender<Bytes>,
    last_words: Arc<OnceLock<Bytes>>,
    stall_max: Duration,
    _permit: OwnedSemaphorePermit,
) {
    let mut told = after;
    let end = tokio::select! {
        // What is there is sent before the end is.
        biased;
        end = tell_on(&handle, &mut told, &events, stall_max) => end,
        () = handle.leaving() => Some(if handle.readable().is_ok() { End::Draining } else { End::Gone }),
        () = events.closed() => None,
    };
    // Set before the sender is dropped: a reader that finds the queue empty and closed finds this.
    if let Some(end) = end {
        let _ = last_words.set(end.event(told)); // set once, here
    }
}

/// None: the watcher has gone.
async fn tell_on(handle: &Handle, told: &mut Seq, events: &mpsc::Sender<Bytes>, stall_max: Duration) -> Option<End> {
    let mut news = handle.history().news();
    loop {
        news.borrow_and_update();
        let Ok((commits, upto)) = handle.history().after(*told, COMMITS_MAX) else { return Some(End::Gone) };
        for commit in &commits {
            let event = commit.told(event_of);
            match events.send_timeout(event, stall_max).await {
                Ok(()) => *told = commit.seq,
                Err(mpsc::error::SendTimeoutError::Timeout(_)) => return Some(End::Slow),
                Err(mpsc::error::SendTimeoutError::Closed(_)) => return None,
            }
        }
        *told = upto;
        if !commits.is_empty() {
            continue;
        }
        match tokio::time::timeout(STILL_HERE_AFTER, news.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Some(End::Draining),
            Err(_) => {
                // An id without data moves the watcher past entries that changed nothing; it is not an event.
                let still_here = Bytes::from(format!("id: {told}\n: still here\n\n"));
                match events.send_timeout(still_here, stall_max).await {
                    Ok(()) => {}
                    Err(mpsc::error::SendTimeoutError::Timeout(_)) => return Some(End::Slow),
                    Err(mpsc::error::SendTimeoutError::Closed(_)) => return None,
                }
            }
        }
    }
}

/// One commit as an event. The records are JSON without line breaks, as they are stored.
fn event_of(commit: &Commit) -> Bytes {
    let of_records = commit.changes.iter().filter_map(|change| match change {
        Change::Record(change) if &*change.collection == COLLECTION => Some(change),
        Change::Record(_) | Change::Definition { .. } => None,
    });
    let changes = of_records.map(|change| {
        let word = match change.kind {
            ChangeKind::Created => "created",
            ChangeKind::Replaced => "replaced",
            ChangeKind::Deleted | ChangeKind::Expired => "deleted",
        };
        let record = change.record.as_ref().and_then(|record| serde_json::from_str::<&RawValue>(record.as_str()).ok());
        let record = record.map_or("null", RawValue::get);
        format!(r#"{{"change":"{word}","id":"{}","record":{record}}}"#, change.id)
    });
    let changes: Vec<String> = changes.collect();
    let seq = commit.seq;
    Bytes::from(format!("id: {seq}\ndata: {{\"sequence\":{seq},\"changes\":[{}]}}\n\n", changes.join(",")))
}

impl End {
    fn event(self, told: Seq) -> Bytes {
        let (reason, detail) = match self {
            End::Draining => ("draining", "this replica is shutting down; continue at another one after the last id"),
            End::Slow => ("slow", "the client read nothing for too long; continue after the last id"),
            End::Gone => (
                "gone",
                "this replica no longer has what follows the last id; ask another replica, or read the list and watch \
                 after its Leasehold-Sequence",
            ),
        };
        let data = json!({ "reason": reason, "detail": detail, "after": told.0 });
        Bytes::from(format!("event: end\ndata: {data}\n\n"))
    }
}
