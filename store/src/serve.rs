//! Serves a tree of warp filters on a socket of ours: the API port and the peer port.
//!
//! ```text
//!   bind ──▶ accept (at most `connections_max` open) ──▶ TCP_NODELAY ──▶ hyper (http/1, http/2, upgrades) ──▶ filters
//!   stop ──▶ nothing more is accepted, open requests may end within `stop_max`, then everything is dropped
//! ```
//!
//! Why not warp's own server: it sets no TCP_NODELAY (40 ms stalls on each pipelined WebSocket exchange), has neither a
//! time-out for headers nor a limit of connections, and its graceful stop has no end.
//!
//! Not promised: that an upgraded connection (a WebSocket) ends with the server. Whoever upgraded it ends it.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use futures_util::future::Either;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};
use warp::filters::BoxedFilter;
use warp::filters::path::FullPath;
use warp::reply::Response;
use warp::{Filter, Rejection};

use crate::trust::stream::BoxedStream;

/// Connections that wait in the kernel for us to accept them.
const BACKLOG: i32 = 1024;
/// Pause after an accept that failed for want of descriptors or memory; the next one would fail at once, too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// For the first request on a connection that was opened just before the end.
const FIRST_REQUEST_MAX: Duration = Duration::from_millis(250);

/// The address of the other end: an extension of every request (`warp::ext::get::<Remote>()`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote(pub SocketAddr);

/// Told of each connection that spoke no HTTP: from where, and what was wrong.
pub type OnMalformed = Arc<dyn Fn(SocketAddr, &str) + Send + Sync>;

/// What a connection must pass before HTTP: TLS, a proof. None: it was refused, and that was told.
pub type Door = Arc<dyn Fn(TcpStream, SocketAddr) -> Passage + Send + Sync>;
/// On its way through a [`Door`].
pub type Passage = std::pin::Pin<Box<dyn Future<Output = Option<BoxedStream>> + Send>>;
/// Looks at the head of each request, and answers those that may not pass.
pub type Guard = Arc<dyn Fn(&http::Method, &str, &http::HeaderMap) -> Option<Response> + Send + Sync>;

/// Who is let in. Everybody, by default.
#[derive(Clone, Default)]
pub struct Gates {
    /// For connections.
    pub door: Option<Door>,
    /// For requests.
    pub guard: Option<Guard>,
}

/// What a server lets happen.
#[derive(Clone)]
pub struct Limits {
    /// Open connections at a time. More of them wait in the kernel's queue.
    pub connections_max: usize,
    /// For the head of a request, and so for an idle connection as well. Then it is closed.
    pub header_read_max: Duration,
    /// How long open requests may take to end once the server is told to stop.
    pub stop_max: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { connections_max: 4096, header_read_max: Duration::from_secs(75), stop_max: Duration::from_secs(2) }
    }
}

/// Why a port cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else has the port.
    #[error("{address} is taken by another process")]
    Taken {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// Anything else: no right to that port, no such address on this machine.
    #[error("cannot listen on {address}: {source}")]
    Failed {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Listens on `address`. `[::]` takes IPv4 connections as well; where the machine has no IPv6 it becomes `0.0.0.0`.
/// Must be called within a runtime.
///
/// # Errors
/// [`BindError`]: a mistake in the flags, or a second process.
pub fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    let bound = match bind_one(address) {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && has_no_ipv6(&error) => {
            let fallback = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port());
            warn!(%address, %fallback, "no IPv6 here, listening on IPv4 alone");
            bind_one(fallback)
        }
        bound => bound,
    };
    bound.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::Taken { address },
        _ => BindError::Failed { address, source },
    })
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A restarted process must get its port although connections of the one before linger in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A kernel without IPv6 refuses the socket (EAFNOSUPPORT), one where it is switched off refuses the address.
fn has_no_ipv6(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

/// Serves `filter` on `listener` until `stop` is cancelled and the open requests have ended, or `stop_max` later.
pub async fn serve(
    listener: TcpListener,
    filter: BoxedFilter<(Response,)>,
    limits: Limits,
    on_malformed: Option<OnMalformed>,
    stop: CancellationToken,
) {
    serve_behind(Gates::default(), listener, filter, limits, on_malformed, stop).await;
}

/// As [`serve`], for those who pass the gates.
pub async fn serve_behind(
    gates: Gates,
    listener: TcpListener,
    filter: BoxedFilter<(Response,)>,
    limits: Limits,
    on_malformed: Option<OnMalformed>,
    stop: CancellationToken,
) {
    let service = TowerToHyperService::new(warp::service(filter));
    serve_service(gates, listener, service, limits, on_malformed, CancellationToken::new(), stop).await;
}

/// As [`serve`], for any service. When `leaving` is cancelled, HTTP/2 clients are told to take new requests elsewhere; on
/// HTTP/1 only an answer can say so, which is up to the service. New connections are served all the same, until `stop`.
pub async fn serve_service<S>(
    gates: Gates,
    listener: TcpListener,
    service: S,
    limits: Limits,
    on_malformed: Option<OnMalformed>,
    leaving: CancellationToken,
    stop: CancellationToken,
) where
    S: Service<hyper::Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let permits = Arc::new(Semaphore::new(limits.connections_max));
    let connections = TaskTracker::new();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.header_read_max);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(limits.header_read_max));
    let builder = Arc::new(builder);
    // Dropped with everything behind it when the time for a graceful stop is over.
    let cut = CancellationToken::new();
    let _cut_at_the_end = cut.clone().drop_guard();
    let ends = Ends { leaving, stop: stop.clone(), cut };

    // Who waits in the kernel's queue at the end has a connection already: these are still accepted.
    let mut queued = BACKLOG;
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = accept(&listener, &permits), if queued > 0 => accepted,
            () = stop.cancelled() => break,
        };
        if stop.is_cancelled() {
            queued -= 1;
        }
        let Some((stream, remote, permit)) = accepted else { continue };
        let asked = Asked::default();
        let service = WithRemote { service: service.clone(), remote, guard: gates.guard.clone(), asked: asked.clone() };
        let (builder, ends) = (Arc::clone(&builder), ends.clone());
        let (on_malformed, door) = (on_malformed.clone(), gates.door.clone());
        connections.spawn(async move {
            let ended = match door {
                None => run(stream, &builder, service, asked, ends).await,
                Some(door) => {
                    let passed = tokio::select! {
                        passed = door(stream, remote) => passed,
                        () = ends.too_late_to_begin() => None,
                    };
                    let Some(stream) = passed else { return };
                    run(stream, &builder, service, asked, ends).await
                }
            };
            drop(permit);
            if let Err(error) = ended {
                debug!(%remote, error = %error, "a connection ended badly");
                if let Some(tell) = on_malformed.filter(|_| is_malformed(error.as_ref())) {
                    tell(remote, &error.to_string());
                }
            }
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits.stop_max, connections.wait()).await.is_err() {
        debug!("connections were cut: their requests did not end in time");
    }
}

/// What ends a connection, from politely to at once.
#[derive(Clone)]
struct Ends {
    /// New requests shall go elsewhere.
    leaving: CancellationToken,
    /// No new requests.
    stop: CancellationToken,
    /// Nothing any more.
    cut: CancellationToken,
}

impl Ends {
    /// A connection that has not even begun to be served has no longer than one that is about to ask something.
    async fn too_late_to_begin(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(FIRST_REQUEST_MAX).await;
    }
}

/// Serves one connection, to its end.
async fn run<I, S>(
    stream: I,
    builder: &auto::Builder<TokioExecutor>,
    service: WithRemote<S>,
    asked: Asked,
    ends: Ends,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<hyper::Request<Incoming>, Response = Response, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
{
    let Ends { leaving, stop, cut } = ends;
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
    let mut connection = std::pin::pin!(connection);
    let (mut left, mut stopped, mut close_at) = (false, false, None);
    loop {
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = leaving.cancelled(), if !left => {
                left = true;
                if asked.over_http2() {
                    connection.as_mut().graceful_shutdown();
                }
            }
            () = stop.cancelled(), if !stopped => {
                stopped = true;
                // A new connection is about to ask something: closed now, its request would be lost.
                let patience = if asked.anything() { Duration::ZERO } else { FIRST_REQUEST_MAX };
                close_at = Some(Instant::now() + patience);
            }
            () = tokio::time::sleep_until(close_at.unwrap_or_else(Instant::now)), if close_at.is_some() => {
                close_at = None;
                connection.as_mut().graceful_shutdown();
            }
            () = cut.cancelled() => return Ok(()),
        }
    }
}

/// The path of any request. A target without one (`CONNECT host:port`, or a slash that was forgotten) counts as `/`:
/// `warp::path::full` alone panics at it.
pub(crate) fn path() -> impl Filter<Extract = (String,), Error = Rejection> + Clone {
    let whole = |path: FullPath| path.as_str().to_owned();
    warp::path::end().map(|| "/".to_owned()).or(warp::path::full().map(whole)).unify().boxed()
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.expect("the semaphore is never closed");
    match listener.accept().await {
        Ok((stream, remote)) => {
            // Only a connection that is dead already refuses it.
            let _ = stream.set_nodelay(true);
            Some((stream, remote, permit))
        }
        Err(error) if is_about_one_connection(&error) => None,
        Err(error) => {
            warn!(%error, "cannot accept a connection, trying again");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

/// Bytes that are no HTTP, as opposed to a connection that just went away.
fn is_malformed(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    error.downcast_ref::<hyper::Error>().is_some_and(|error| error.is_parse() || error.is_timeout())
}

/// Gives each request the address that its connection came from; behind `warp::service` it is not known otherwise.
#[derive(Clone)]
struct WithRemote<S> {
    service: S,
    remote: SocketAddr,
    guard: Option<Guard>,
    asked: Asked,
}

/// What was asked on a connection so far: nothing, something, something over HTTP/2.
#[derive(Clone, Debug, Default)]
struct Asked(Arc<AtomicU8>);

impl Asked {
    fn note(&self, version: hyper::Version) {
        self.0.store(if version == hyper::Version::HTTP_2 { 2 } else { 1 }, Ordering::Relaxed);
    }

    fn anything(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    fn over_http2(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 2
    }
}

impl<S> Service<hyper::Request<Incoming>> for WithRemote<S>
where
    S: Service<hyper::Request<Incoming>, Response = Response>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Either<Ready<Result<Response, S::Error>>, S::Future>;

    fn call(&self, mut request: hyper::Request<Incoming>) -> Self::Future {
        self.asked.note(request.version());
        if let Some(guard) = &self.guard
            && let Some(refusal) = guard(request.method(), request.uri().path(), request.headers())
        {
            return Either::Left(ready(Ok(refusal)));
        }
        request.extensions_mut().insert(Remote(self.remote));
        Either::Right(self.service.call(request))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;
    use warp::Reply;

    const LONG: Duration = Duration::from_secs(10);
    const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    fn hello() -> BoxedFilter<(Response,)> {
        warp::path("hello")
            .and(warp::ext::get::<Remote>())
            .map(|remote: Remote| format!("you are {}", remote.0.ip()).into_response())
            .boxed()
    }

    async fn ask(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /hello HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        timeout(LONG, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    }

    #[tokio::test]
    async fn a_request_is_answered_and_knows_where_it_came_from() {
        let listener = bind(ANY_PORT).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listener, hello(), Limits::default(), None, stop.clone()));
        assert!(ask(address).await.ends_with("you are 127.0.0.1"));
        stop.cancel();
        timeout(LONG, server).await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "it still accepts");
    }

    #[tokio::test]
    async fn the_unspecified_address_takes_ipv4_too() {
        let listener = bind("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, hello(), Limits::default(), None, stop.clone()));
        let answer = ask(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        stop.cancel();
    }

    #[tokio::test]
    async fn a_taken_port_is_said_plainly() {
        let first = bind(ANY_PORT).unwrap();
        let error = bind(first.local_addr().unwrap()).unwrap_err();
        assert!(matches!(error, BindError::Taken { .. }), "{error:?}");
        assert!(error.to_string().contains("is taken"));
    }

    #[tokio::test]
    async fn a_stop_does_not_wait_for_ever_for_a_request_that_hangs() {
        let listener = bind(ANY_PORT).unwrap();
        let address = listener.local_addr().unwrap();
        let (began, mut begun) = tokio::sync::mpsc::channel(1);
        let hang = warp::any()
            .then(move || {
                let began = began.clone();
                async move {
                    began.send(()).await.unwrap();
                    std::future::pending::<Response>().await
                }
            })
            .boxed();
        let stop = CancellationToken::new();
        let limits = Limits { stop_max: Duration::from_millis(50), ..Limits::default() };
        let server = tokio::spawn(serve(listener, hang, limits, None, stop.clone()));
        let asked = tokio::spawn(ask(address));
        begun.recv().await.unwrap();
        stop.cancel();
        timeout(LONG, server).await.expect("the stop waited for the request").unwrap();
        assert_eq!(asked.await.unwrap(), "", "the connection was cut");
    }

    #[tokio::test]
    async fn who_connected_just_before_the_end_is_answered_and_nobody_after_it() {
        let listener = bind(ANY_PORT).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        // Nobody accepts yet: the connection waits in the kernel's queue.
        let mut stream = TcpStream::connect(address).await.unwrap();
        stop.cancel();
        let server = tokio::spawn(serve(listener, hello(), Limits::default(), None, stop));
        stream.write_all(b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        timeout(LONG, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        timeout(LONG, server).await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "it still accepts");
    }

    #[tokio::test]
    async fn a_connection_that_speaks_no_http_is_told_and_closed() {
        let listener = bind(ANY_PORT).unwrap();
        let address = listener.local_addr().unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&told);
        let on_malformed: OnMalformed = Arc::new(move |remote, _| seen.lock().unwrap().push(remote));
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, hello(), Limits::default(), Some(on_malformed), stop.clone()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"\x16\x03\x01\x02\x00 this is no http\r\n\r\n\0\0\0").await.unwrap();
        let mut rest = Vec::new();
        let _ = timeout(LONG, stream.read_to_end(&mut rest)).await.expect("it was not closed");
        let deadline = tokio::time::Instant::now() + LONG;
        while told.lock().unwrap().is_empty() {
            assert!(tokio::time::Instant::now() < deadline, "nobody was told");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(told.lock().unwrap()[0], stream.local_addr().unwrap());
        stop.cancel();
    }

    #[tokio::test]
    async fn a_target_without_a_path_is_answered_as_the_root() {
        let listener = bind(ANY_PORT).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let routes = path().map(|path: String| format!("at {path}").into_response()).boxed();
        tokio::spawn(serve(listener, routes, Limits::default(), None, stop.clone()));
        for (line, path) in [("CONNECT db:80", "/"), ("GET persons", "/"), ("GET /", "/"), ("GET /a/b?c", "/a/b")] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            timeout(LONG, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
            // The answer to a CONNECT has no body.
            let said = line.starts_with("CONNECT") || answer.ends_with(&format!("at {path}"));
            assert!(answer.starts_with("HTTP/1.1 200") && said, "{line}: {answer}");
        }
        stop.cancel();
    }

    #[tokio::test]
    async fn beyond_the_limit_a_connection_waits_for_its_turn() {
        let listener = bind(ANY_PORT).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let limits = Limits { connections_max: 1, ..Limits::default() };
        tokio::spawn(serve(listener, hello(), limits, None, stop.clone()));
        let idle = TcpStream::connect(address).await.unwrap();
        // Until the idle one is accepted it does not count.
        let second = tokio::spawn(ask(address));
        assert!(
            timeout(Duration::from_millis(100), async {
                while !second.is_finished() {
                    tokio::task::yield_now().await
                }
            })
            .await
            .is_err()
        );
        drop(idle);
        assert!(timeout(LONG, second).await.unwrap().unwrap().starts_with("HTTP/1.1 200"));
        stop.cancel();
    }
}
