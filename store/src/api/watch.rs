//! `GET /{collection}:watch` and `GET /api/watch`: every committed change, as server-sent events.
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
//! One event carries everything that one entry changed of what is watched (a batch is one entry). So a client that resumes
//! after its `id`, by `Last-Event-ID` or `?after=`, on any pod, misses nothing and sees nothing twice. A watcher has no queue
//! but the few events on their way to it: what it has not read waits in the [`History`](crate::history), once for all. A
//! client that reads nothing for a long time (`watch_stall_max`), or falls behind the history, is cut off, and resumes
//! after the last `id` that it got.
//!
//! `/api/watch` is for programs that keep the changes elsewhere. Its events have times, creation numbers, definitions and
//! the hash of the data after each of them, and at first and every ten seconds a bookmark says how far it is. Who names the
//! cluster that `after` is a sequence of (`cluster`) is refused by another one, instead of mixing two histories. A watch that
//! names collections ends when one of them is dropped: what has its name afterwards is another one.
//!
//! A watch shows what the token of its request may see, and is judged once: a token that is removed, or gets other rights,
//! ends no watch that is open. `/api/watch` leaves out what the token may not see, without a word; its bookmarks count on.

mod asked;
mod event;

use super::context::{ApiResult, Context, PARTIAL, SEQUENCE};
use super::percent::Query;
use super::problem::{Code, Problem};
use super::reads;
use super::refusals::{not_readable, unknown_collection};
use super::reply;
use super::rights::Rights;
use crate::handle::Handle;
use asked::{Asked, What};
use bytes::Bytes;
use futures_util::stream;
use leasehold_replication::{ClusterId, Seq};
use serde_json::json;
use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use warp::Reply;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use warp::http::{HeaderMap, HeaderValue};

/// Pieces of text on their way to one watcher, beside what the sockets hold.
const PIECES_MAX: usize = 8;
/// Events that are there at once are sent as one piece, up to about so many bytes: a write to the socket for all of them.
const PIECE_BYTES: usize = 32 * 1024;
/// How many commits are read from the history at once.
const COMMITS_MAX: usize = 64;
/// A watcher that received nothing for this long gets a comment that says so. Of `/api/watch`: from one bookmark to the next.
const STILL_HERE_AFTER: Duration = Duration::from_secs(10);

/// Why a watch ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Draining,
    CutOff,
    Slow,
    Gone,
    Dropped,
}

/// `GET /{collection}:watch`; without a collection `GET /api/watch`.
pub(super) async fn watch(
    context: &Context,
    rights: &Rights,
    collection: Option<&str>,
    headers: &HeaderMap,
    query: Query,
) -> ApiResult {
    let Asked { after, cluster: asked, what } = Asked::parse(collection, headers, query)?;
    let what = what.within(rights)?;
    let handle = &context.handle;
    handle.ready().map_err(|why| not_readable(handle, why))?;
    let cluster = handle.status().and_then(|status| status.cluster_id);
    if let (Some(asked), Some(cluster)) = (asked, cluster)
        && asked != cluster
    {
        return Err(other_cluster(asked, cluster));
    }
    let after = after.unwrap_or_else(|| handle.documents().applied().seq);
    // Another replica may be ahead of this one; a client that has seen what was never committed must learn it.
    let timeout = context.config.read_timeout;
    reads::reach(handle, after, Instant::now() + timeout, timeout).await?;
    if let Some(name) = collection.filter(|name| !handle.documents().has_collection(name)) {
        return Err(unknown_collection(name));
    }
    handle.history().after(after, 1).map_err(|gone| {
        let read = collection.map_or_else(|| "the collections".to_owned(), |name| format!("GET /{name}"));
        let what = format!(
            "this replica no longer has all changes after {after}, only those after {}. Read {read}, and watch after its \
             Leasehold-Sequence",
            gone.oldest
        );
        Problem::new(Code::HistoryGone, what).with("oldest", gone.oldest.0)
    })?;
    let permit = Arc::clone(&context.watchers).try_acquire_owned().map_err(|_| {
        let most = context.config.watchers_max;
        context.metrics.watcher_refused();
        Problem::new(Code::TooManyWatchers, format!("{most} clients already watch this replica; ask another one"))
    })?;
    let is_partial = matches!(what, What::Readable(_));
    let (events, mut taken) = mpsc::channel(PIECES_MAX);
    let last_words = Arc::new(OnceLock::new());
    let stall_max = context.config.watch_stall_max;
    let telling = Telling { handle: handle.clone(), cluster, what, told: after, events, stall_max };
    tokio::spawn(tell(telling, last_words.clone(), permit));
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
    headers.insert(SEQUENCE, reply::number(after.0));
    if is_partial {
        // A copy of everything would lack what this token may not see, and nothing else would say so.
        headers.insert(PARTIAL, HeaderValue::from_static("true"));
    }
    Ok(response)
}

fn other_cluster(asked: ClusterId, cluster: ClusterId) -> Problem {
    let (asked, cluster) = (asked.0, cluster.0.to_string());
    let what = format!(
        "this is the cluster {cluster}, not {asked}: its sequences say nothing about what you have. Read everything anew, and \
         keep it apart"
    );
    Problem::new(Code::OtherCluster, what).with("clusterId", cluster).conflicting()
}

/// What one watcher is sent, in order, until either side ends.
struct Telling {
    handle: Handle,
    cluster: Option<ClusterId>,
    what: What,
    /// All up to this entry was sent.
    told: Seq,
    events: mpsc::Sender<Bytes>,
    stall_max: Duration,
}

/// Events, one after the other.
#[derive(Default)]
struct Piece {
    events: Vec<Bytes>,
    bytes: usize,
}

impl Piece {
    fn push(&mut self, event: Bytes) {
        self.bytes += event.len();
        self.events.push(event);
    }

    /// The text of a single event is not copied: other watchers have the same.
    fn whole(mut self) -> Option<Bytes> {
        if self.events.len() > 1 { Some(self.events.concat().into()) } else { self.events.pop() }
    }
}

/// Why nothing more is sent. None: the watcher has gone.
type Over = Option<End>;

async fn tell(mut telling: Telling, last_words: Arc<OnceLock<Bytes>>, _permit: OwnedSemaphorePermit) {
    let (handle, events) = (telling.handle.clone(), telling.events.clone());
    let end = tokio::select! {
        // What is there is sent before the end is.
        biased;
        over = telling.go_on() => over,
        () = handle.leaving() => Some(End::of_leaving(&handle)),
        () = events.closed() => None,
    };
    // Set before the senders are dropped: a reader that finds the queue empty and closed finds this.
    if let Some(end) = end {
        let _ = last_words.set(end.event(telling.told)); // set once, here
    }
}

impl Telling {
    async fn go_on(&mut self) -> Over {
        let handle = self.handle.clone();
        let history = handle.history();
        let mut news = history.news();
        let mut quiet_until = match self.what {
            What::Records { .. } => Instant::now() + STILL_HERE_AFTER,
            What::All | What::Collections(_) | What::Readable(_) => Instant::now(),
        };
        loop {
            news.borrow_and_update();
            if Instant::now() >= quiet_until {
                if let Err(over) = self.say_how_far_it_is().await {
                    return over;
                }
                quiet_until = Instant::now() + STILL_HERE_AFTER;
            }
            let Ok((commits, upto)) = history.after(self.told, COMMITS_MAX) else { return Some(End::Gone) };
            let mut piece = Piece::default();
            for (at, commit) in commits.iter().enumerate() {
                if let Some(event) = event::of(commit, &self.what) {
                    piece.push(event);
                    if matches!(self.what, What::Records { .. }) {
                        quiet_until = Instant::now() + STILL_HERE_AFTER;
                    }
                }
                let is_last = commit.changes.iter().any(|change| self.what.ends_with(change));
                if is_last || piece.bytes >= PIECE_BYTES || at + 1 == commits.len() {
                    if let Err(over) = self.send_piece(&mut piece).await {
                        return over;
                    }
                    self.told = commit.mark.seq;
                }
                if is_last {
                    return Some(End::Dropped);
                }
            }
            self.told = upto;
            if !commits.is_empty() {
                // Nothing of them may have been sent: others get their turn.
                tokio::task::yield_now().await;
                continue;
            }
            // The time is looked at above.
            if let Ok(Err(_)) = tokio::time::timeout_at(quiet_until, news.changed()).await {
                return Some(End::Draining);
            }
        }
    }

    /// An id without data moves the watcher past entries that changed nothing of what it watches.
    async fn say_how_far_it_is(&self) -> Result<(), Over> {
        match self.what {
            What::Records { .. } => self.send(Bytes::from(format!("id: {}\n: still here\n\n", self.told))).await,
            What::All | What::Collections(_) | What::Readable(_) => {
                let mark = self.handle.history().mark(self.told).ok_or(Some(End::Gone))?;
                let stale = self.handle.fresh_as_of().map(|moment| moment.elapsed());
                self.send(event::bookmark(self.cluster, &mark, stale, self.handle.leads())).await
            }
        }
    }

    async fn send_piece(&self, piece: &mut Piece) -> Result<(), Over> {
        match std::mem::take(piece).whole() {
            Some(text) => self.send(text).await,
            None => Ok(()),
        }
    }

    async fn send(&self, event: Bytes) -> Result<(), Over> {
        self.events.send_timeout(event, self.stall_max).await.map_err(|error| match error {
            mpsc::error::SendTimeoutError::Timeout(_) => Some(End::Slow),
            mpsc::error::SendTimeoutError::Closed(_) => None,
        })
    }
}

impl End {
    fn of_leaving(handle: &Handle) -> End {
        match handle.status() {
            Some(status) if status.cut_off => End::CutOff,
            _ if handle.readable().is_ok() => End::Draining,
            _ => End::Gone,
        }
    }

    fn event(self, told: Seq) -> Bytes {
        let (reason, detail) = match self {
            End::Draining => ("draining", "this replica is shutting down; continue at another one after the last id"),
            End::CutOff => (
                "cut-off",
                "this replica has lost its leader, and what is new is elsewhere; continue at another one after the last id",
            ),
            End::Slow => ("slow", "the client read nothing for too long; continue after the last id"),
            End::Gone => (
                "gone",
                "this replica no longer has what follows the last id; ask another replica, or read the list and watch \
                 after its Leasehold-Sequence",
            ),
            End::Dropped => {
                ("dropped", "a collection that this watch names is gone; what has its name later is another one")
            }
        };
        let data = json!({ "reason": reason, "detail": detail, "after": told.0 });
        Bytes::from(format!("event: end\ndata: {data}\n\n"))
    }
}
