//! Serves a hyper service, or a tree of warp filters (`Server::run_filter`), on a socket of ours: the API, peer and probe
//! ports of the store, the sidecar's port.
//!
//! ```text
//!   bind ──▶ accept ──▶ a place (who is silent longest makes room) ──▶ Socket ──▶ door: TLS, a proof ──▶ Wire
//!        ──▶ hyper (http/1, http/2, upgrades) ──▶ guard ──▶ service
//!   stop ──▶ nothing more is accepted, open requests may end within `stop_max`, then everything is dropped
//! ```
//!
//! Clients may be silent, slow and many. [`Limits`] bounds their cost: a connection without a whole request in time is
//! closed, and so is one that asks nothing for a long time; a response that makes no progress is cut. [`Counts`] counts
//! what was closed, and logs it.
//!
//! Why not warp's own server: it sets no TCP_NODELAY (40 ms stalls on each pipelined WebSocket exchange), has neither
//! time-outs nor a limit on connections, and its graceful stop has no end. Why not only hyper's time-out for heads: it also
//! runs while a connection is idle, and it does not run before the first byte, which shows the version.
//!
//! Not promised: that an upgraded connection (a WebSocket) ends with the server, or keeps its place. The code that upgraded
//! it ends it; until then it counts as open.

mod answering;
mod bind;
mod counts;
mod entrance;
mod farewell;
mod gates;
mod limits;
mod metrics;
mod places;
mod socket;
mod unfit;
mod unread;
mod wire;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};
use warp::filters::BoxedFilter;
use warp::filters::path::FullPath;
use warp::reply::Response;
use warp::{Filter, Rejection};

use answering::{Answering, Streams};
use bind::BACKLOG;
use entrance::Arrived;
use places::{Place, Places, Seat, Verdict};
use wire::Wire;

pub use answering::{HandedOver, Remote};
pub use bind::{BindError, bind};
pub use counts::{Closed, Counts};
pub use entrance::{Entrance, Handing, HandingPlace};
pub use farewell::{Farewell, Leaving};
pub use gates::{Door, Gates, Guard, Passage, Stamp};
pub use limits::Limits;
pub use metrics::Ports;
pub use socket::{BoxedStream, Socket, Stream};
pub use unfit::{Refuse, Unfit};
pub use unread::Inbound;

/// The pause after an accept that failed for lack of descriptors or memory; the next one would fail at once, too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often such a failure is logged.
const ACCEPT_SAID_PAUSE: Duration = Duration::from_secs(10);
/// The time for the first request on a connection that was opened just before the end.
const FIRST_REQUEST_MAX: Duration = Duration::from_millis(250);
/// How long a connection that is being closed may say goodbye (HTTP/2 does).
const GOODBYE_MAX: Duration = Duration::from_millis(100);
/// How often an HTTP/2 client is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(75);

/// Notified of each connection that spoke no HTTP: its address, and what was wrong.
pub type OnMalformed = Arc<dyn Fn(SocketAddr, &str) + Send + Sync>;

/// What serves one port.
#[derive(Clone, Default)]
pub struct Server {
    /// What connections and requests must pass.
    pub gates: Gates,
    /// What silent, slow and many clients may cost.
    pub limits: Limits,
    /// Notified of what was not even HTTP.
    pub on_malformed: Option<OnMalformed>,
    /// When HTTP/2 clients should send new requests elsewhere.
    pub leaving: Leaving,
    /// Ends it: nothing more is accepted then.
    pub stop: CancellationToken,
}

impl Server {
    /// Serves a tree of filters: see [`Server::run`].
    pub async fn run_filter(self, entrance: impl Into<Entrance>, filter: BoxedFilter<(Response,)>) {
        self.run(entrance, TowerToHyperService::new(warp::service(filter))).await;
    }

    /// Serves until `stop` is cancelled and the open requests have ended, or `stop_max` later. Another port may also hand
    /// over connections: see [`Entrance`].
    pub async fn run<S>(self, entrance: impl Into<Entrance>, service: S)
    where
        S: Service<hyper::Request<Inbound>, Response = Response, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
    {
        let Server { gates, limits, on_malformed, leaving, stop } = self;
        let places = Places::new(&limits);
        let connections = TaskTracker::new();
        let builder = builder(&limits, gates.refuse.is_some());
        let served = Arc::new(Served { builder, limits, door: gates.door, on_malformed });
        // Dropped with everything behind it when the time for a graceful stop is over.
        let cut = CancellationToken::new();
        let _cut_at_the_end = cut.clone().drop_guard();
        let ends = Ends { leaving, stop: stop.clone(), cut };

        // Connections in the kernel's queue at the end are established already: these are still accepted.
        let mut queued = BACKLOG;
        let mut accepting = Accepting { entrance: entrance.into(), places: &places, said: None };
        loop {
            let accepted = tokio::select! {
                biased;
                accepted = accepting.next(), if queued > 0 => accepted,
                () = stop.cancelled() => break,
            };
            if stop.is_cancelled() {
                queued -= 1;
            }
            let Some((arrived, place)) = accepted else { continue };
            let service = Answering {
                service: service.clone(),
                remote: arrived.remote(),
                is_handed: arrived.is_handed(),
                guard: gates.guard.clone(),
                refuse: gates.refuse,
                stamp: gates.stamp.clone(),
                seat: Arc::clone(&place.seat),
            };
            let mut ends = ends.clone();
            ends.leaving.forget_what_was_said();
            connections.spawn(serve(Arc::clone(&served), arrived, place, service, ends));
        }
        drop(accepting);
        connections.close();
        if tokio::time::timeout(served.limits.stop_max, connections.wait()).await.is_err() {
            debug!("connections were cut: their requests did not end in time");
        }
    }
}

fn builder(limits: &Limits, refuses: bool) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(Streams::new(limits));
    // Our own look at heads sees more; see above.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(PING_INTERVAL));
    if refuses {
        builder.http2().max_header_list_size(unfit::HTTP2_HEAD_READ_MAX);
    }
    builder
}

/// How connections are served.
struct Served {
    builder: auto::Builder<Streams>,
    limits: Limits,
    door: Option<Door>,
    on_malformed: Option<OnMalformed>,
}

impl Served {
    /// Lets a connection through the door, in time; or says why not, unless the server is about to end.
    async fn let_in(
        &self,
        door: &Door,
        stream: TcpStream,
        remote: SocketAddr,
        place: &Place,
        ends: &Ends,
    ) -> Result<BoxedStream, Option<Closed>> {
        let socket = Socket::new(stream, &self.limits);
        tokio::select! {
            passed = tokio::time::timeout(self.limits.header_max, door(socket, remote)) => {
                let why = if passed.is_ok() { Closed::Refused } else { Closed::Silent };
                passed.unwrap_or(None).ok_or(Some(why))
            }
            () = place.seat.told_to_leave() => Err(Some(Closed::Room)),
            () = ends.too_late_to_begin() => Err(None),
        }
    }

    fn note(&self, closed: Closed) {
        self.limits.counts.note(self.limits.port, closed);
    }

    fn ended_with(&self, error: &(dyn std::error::Error + Send + Sync + 'static), remote: SocketAddr) {
        debug!(%remote, error = %error, "a connection ended with an error");
        if is_malformed(error) {
            self.note(Closed::Refused);
            if let Some(tell) = &self.on_malformed {
                tell(remote, &error.to_string());
            }
        }
    }
}

/// What ends a connection, from politely to at once.
#[derive(Clone)]
struct Ends {
    /// Send new requests elsewhere.
    leaving: Leaving,
    /// No new requests.
    stop: CancellationToken,
    /// Nothing more.
    cut: CancellationToken,
}

impl Ends {
    /// A connection that is not served yet has only as long as one that is about to send a request.
    async fn too_late_to_begin(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(FIRST_REQUEST_MAX).await;
    }
}

/// One connection: through the door, and to its end. Its place is free before that is said.
async fn serve<S>(served: Arc<Served>, arrived: Arrived, place: Place, service: Answering<S>, ends: Ends)
where
    S: Service<hyper::Request<Inbound>, Response = Response, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
{
    let remote = arrived.remote();
    let ended = match (arrived, &served.door) {
        // It has passed a door.
        (Arrived::Handed(stream, _), _) => run(stream, &served, service, &place, ends).await,
        (Arrived::Accepted(stream, _), None) => {
            run(Socket::new(stream, &served.limits), &served, service, &place, ends).await
        }
        (Arrived::Accepted(stream, _), Some(door)) => match served.let_in(door, stream, remote, &place, &ends).await {
            Ok(stream) => run(stream, &served, service, &place, ends).await,
            Err(why) => return why.into_iter().for_each(|why| served.note(why)),
        },
    };
    drop(place);
    if let Err(error) = ended {
        served.ended_with(error.as_ref(), remote);
    }
}

/// Serves one connection, to its end.
async fn run<I, S>(
    stream: I,
    served: &Served,
    service: Answering<S>,
    place: &Place,
    ends: Ends,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<hyper::Request<Inbound>, Response = Response, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
{
    let Served { builder, limits, .. } = served;
    let Ends { mut leaving, stop, cut } = ends;
    let seat: &Arc<Seat> = &place.seat;
    seat.passed_the_door();
    let wire = Wire::new(stream, place, service.for_unread(), limits.linger_max);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(wire), service).into_owned();
    let mut connection = std::pin::pin!(connection);
    let mut look_at = std::pin::pin!(tokio::time::sleep(limits.header_max.min(limits.idle_max)));
    let (mut stopped, mut close_at, mut gone_at) = (false, None, None);
    loop {
        let closed = tokio::select! {
            ended = connection.as_mut() => return ended,
            () = look_at.as_mut(), if gone_at.is_none() => match seat.judge(Instant::now(), limits) {
                Verdict::Stay(until) => {
                    look_at.as_mut().reset(until);
                    continue;
                }
                Verdict::Close(why) => why,
            },
            () = seat.told_to_leave(), if gone_at.is_none() => Closed::Room,
            () = leaving.said() => {
                if seat.is_http2() {
                    connection.as_mut().graceful_shutdown();
                }
                continue;
            }
            () = stop.cancelled(), if !stopped => {
                stopped = true;
                // A new connection is about to send a request: closed now, that request would be lost.
                let patience = if seat.asked_anything() { Duration::ZERO } else { FIRST_REQUEST_MAX };
                close_at = Some(Instant::now() + patience);
                continue;
            }
            () = tokio::time::sleep_until(close_at.unwrap_or_else(Instant::now)), if close_at.is_some() => {
                close_at = None;
                connection.as_mut().graceful_shutdown();
                continue;
            }
            () = tokio::time::sleep_until(gone_at.unwrap_or_else(Instant::now)), if gone_at.is_some() => return Ok(()),
            () = cut.cancelled() => return Ok(()),
        };
        served.note(closed);
        gone_at = Some(Instant::now() + GOODBYE_MAX);
        connection.as_mut().graceful_shutdown();
    }
}

/// The path of any request. A target without one (`CONNECT host:port`, or a missing slash) counts as `/`:
/// `warp::path::full` alone panics on it.
pub fn path() -> impl Filter<Extract = (String,), Error = Rejection> + Clone {
    let whole = |path: FullPath| path.as_str().to_owned();
    warp::path::end().map(|| "/".to_owned()).or(warp::path::full().map(whole)).unify().boxed()
}

/// The accept loop's hands.
struct Accepting<'a> {
    entrance: Entrance,
    places: &'a Arc<Places>,
    /// When a failing accept was last logged.
    said: Option<Instant>,
}

impl Accepting<'_> {
    /// A connection and its place. There is one more descriptor than places, for the connection that waits for its place
    /// here.
    async fn next(&mut self) -> Option<(Arrived, Place)> {
        match self.entrance.next().await {
            Ok(arrived) => {
                if let Arrived::Accepted(stream, _) = &arrived {
                    // Only a dead connection refuses this.
                    let _ = stream.set_nodelay(true);
                }
                Some((arrived, self.places.take().await))
            }
            Err(error) if is_about_one_connection(&error) => None,
            Err(error) => {
                if self.said.is_none_or(|said| said.elapsed() >= ACCEPT_SAID_PAUSE) {
                    self.said = Some(Instant::now());
                    warn!(%error, "cannot accept connections; trying again ten times a second");
                }
                self.places.make_room(Instant::now());
                tokio::time::sleep(ACCEPT_PAUSE).await;
                None
            }
        }
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

/// Bytes that are not HTTP, as opposed to a connection that just went away.
fn is_malformed(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    error.downcast_ref::<hyper::Error>().is_some_and(|error| error.is_parse() || error.is_timeout())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
