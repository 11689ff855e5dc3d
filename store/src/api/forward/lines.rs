//! Connections to the leader for writes that are sent on: to its peer port, kept and reused.
//!
//! ```text
//!   request ──▶ the pool of the present leader ──a kept one, or a new one──▶ ForwardWay (Noise, name, cluster) ──▶ sent
//! ```
//!
//! Each leadership has its own pool: a connection to an earlier leadership, or to an earlier address, is never used for the
//! next. New ones are opened a few at a time, because the leader's core, which also sends the heartbeats, accepts them.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use leasehold_replication::{ClusterId, Target};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tower_service::Service;
use uuid::Uuid;
use warp::http::header::HOST;
use warp::http::{HeaderValue, Request, Response, Uri};

use crate::api::forward::route::ApiStream;
use crate::peer::{ForwardError, ForwardWay};

/// Connections to the leader that are kept.
pub(super) const IDLE_MAX: usize = 64;
/// Below the time after which a server closes an idle connection, so that none is used just then.
pub(super) const IDLE_TIME: Duration = Duration::from_secs(20);
/// The time for connecting to the leader until it has shown who it is. Nothing is sent before that.
pub(super) const CONNECT_MAX: Duration = Duration::from_millis(500);
/// How many connections may be opening at a time.
const OPENING_MAX: usize = 8;
/// A leader whose build does not know this way is asked again after this time: it may run another build by then.
const PREVIOUS_BUILD_TIME: Duration = Duration::from_secs(10);

/// One leadership, as far as connections matter.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Led {
    pub(super) cluster: ClusterId,
    /// The leader's run; none for a plain claim.
    pub(super) incarnation: Option<Uuid>,
    pub(super) to: Target,
}

/// See the module.
pub(super) struct Lines {
    client: Client<Opener, Full<Bytes>>,
    opener: Opener,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum LineError {
    /// The leader's build accepts forwarded writes only on its port for clients. Nothing was sent.
    PreviousBuild,
    /// There is no connection. Nothing was sent.
    NotSent(String),
    /// The outcome is unknown.
    Unknown(String),
}

impl Lines {
    pub(super) fn new(way: ForwardWay) -> Lines {
        let places = Arc::new(Semaphore::new(OPENING_MAX));
        let opener = Opener { way, present: Arc::default(), places };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(IDLE_MAX)
            .build(opener.clone());
        Lines { client, opener }
    }

    /// Is what is sent unreadable on the network?
    pub(super) fn is_secret(&self) -> bool {
        self.opener.way.is_secret()
    }

    /// Sends it, once. `request` receives the URI.
    pub(super) async fn send(
        &self,
        led: &Led,
        request: impl FnOnce(Uri) -> Request<Full<Bytes>>,
        path: &str,
    ) -> Result<Response<Incoming>, LineError> {
        let Some(number) = self.opener.number(led) else { return Err(LineError::PreviousBuild) };
        let uri = format!("http://{HOST_STEM}{number}{path}").parse::<Uri>();
        let uri = uri.map_err(|error| LineError::NotSent(error.to_string()))?;
        let mut request = request(uri);
        if let Ok(host) = HeaderValue::from_str(&led.to.peer_address) {
            request.headers_mut().insert(HOST, host);
        }
        self.client.request(request).await.map_err(|error| {
            if !error.is_connect() {
                return LineError::Unknown(whole(&error));
            }
            if is_previous_build(&error) {
                self.opener.note_previous_build(number);
                return LineError::PreviousBuild;
            }
            LineError::NotSent(whole(&error))
        })
    }
}

/// The pool's name for a leadership is this and its number.
const HOST_STEM: &str = "leader-";

/// Opens connections to the present leader.
#[derive(Clone)]
struct Opener {
    way: ForwardWay,
    present: Arc<Mutex<Option<Present>>>,
    places: Arc<Semaphore>,
}

struct Present {
    /// For this leadership; never used for another one.
    number: u64,
    led: Led,
    previous_build: Option<Instant>,
}

impl Opener {
    /// The number of a leadership, which becomes the present one. None: its leader's build is known to be older.
    fn number(&self, led: &Led) -> Option<u64> {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        match present.as_ref() {
            Some(known) if known.led == *led => {
                let is_older = known.previous_build.is_some_and(|seen| seen.elapsed() < PREVIOUS_BUILD_TIME);
                (!is_older).then_some(known.number)
            }
            _ => {
                let number = present.as_ref().map_or(0, |known| known.number + 1);
                *present = Some(Present { number, led: led.clone(), previous_build: None });
                Some(number)
            }
        }
    }

    fn note_previous_build(&self, number: u64) {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = present.as_mut().filter(|known| known.number == number) {
            known.previous_build = Some(Instant::now());
        }
    }

    fn led(&self, host: Option<&str>) -> Option<Led> {
        let number: u64 = host?.strip_prefix(HOST_STEM)?.parse().ok()?;
        let present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        present.as_ref().filter(|known| known.number == number).map(|known| known.led.clone())
    }
}

impl Service<Uri> for Opener {
    type Response = TokioIo<ApiStream>;
    type Error = ForwardError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ForwardError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ForwardError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (this, led) = (self.clone(), self.led(uri.host()));
        Box::pin(async move {
            let Some(Led { cluster, to, .. }) = led else {
                return Err(ForwardError::Broken(io::Error::other("another replica leads by now")));
            };
            let opened = timeout(CONNECT_MAX, async {
                let _place = this.places.acquire().await.expect("the semaphore is never closed");
                this.way.open(&to, cluster).await
            });
            let late = || ForwardError::Broken(io::Error::new(io::ErrorKind::TimedOut, "no connection in time"));
            let stream = opened.await.unwrap_or_else(|_| Err(late()))?;
            Ok(TokioIo::new(ApiStream(stream)))
        })
    }
}

fn is_previous_build(error: &legacy::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(known) = inner.downcast_ref::<ForwardError>() {
            return matches!(known, ForwardError::PreviousBuild);
        }
        source = inner.source();
    }
    false
}

/// An error with its causes: the outermost only says where it happened.
fn whole(error: &legacy::Error) -> String {
    let mut whole = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        whole.push_str(": ");
        whole.push_str(&inner.to_string());
        source = inner.source();
    }
    whole
}
