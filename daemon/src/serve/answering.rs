//! The service of one connection: requests get their address, pass the guard, and count as under way until their response
//! is handed over. An HTTP/2 stream whose response makes no progress is dropped alone.
//!
//! ```text
//!   hyper ──call──▶ Answering ──▶ guard ──▶ service ──▶ Tracked body ──poll_frame──▶ hyper ──▶ socket
//!                                            HTTP/2: all of it in a task of its own, [`Moving`], which ends it
//! ```
//!
//! HTTP/1 needs no such task: there, a response without progress is a socket that accepts nothing. Over HTTP/2 the socket
//! may well make progress while the client's window for one stream stays shut: then hyper does not ask that body for more.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, VARY};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Version};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::rt::Executor;
use hyper::service::Service;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};
use warp::reply::Response;

use crate::serve::counts::{Closed, Counts};
use crate::serve::gates::{Guard, Stamp};
use crate::serve::limits::Limits;
use crate::serve::places::{Seat, UnderWay};
use crate::serve::unfit::{Refuse, Unfit, Words};
use crate::serve::unread::{Draining, Inbound};

/// The address of the other end: an extension of every request (`warp::ext::get::<Remote>()`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote(pub std::net::SocketAddr);

/// Another port handed the connection over: an extension of each request on it. That port knows who the other end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandedOver;

/// What the requests of one connection pass. Behind `warp::service` their address is otherwise unknown.
#[derive(Clone)]
pub(crate) struct Answering<S> {
    pub(crate) service: S,
    pub(crate) remote: std::net::SocketAddr,
    pub(crate) is_handed: bool,
    pub(crate) guard: Option<Guard>,
    pub(crate) refuse: Option<Refuse>,
    pub(crate) stamp: Option<Stamp>,
    pub(crate) seat: Arc<Seat>,
}

impl<S> Answering<S> {
    /// What answers unreadable requests.
    pub(crate) fn for_unread(&self) -> Option<Words> {
        self.refuse.map(|refuse| Words { refuse, stamp: self.stamp.as_ref().map(|stamp| stamp(None)) })
    }
}

impl<S> Service<hyper::Request<Incoming>> for Answering<S>
where
    S: Service<hyper::Request<Inbound>, Response = Response, Error = Infallible>,
{
    type Response = http::Response<Tracked<BodyOf<Response>>>;
    type Error = Infallible;
    type Future = Responding<S::Future>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        let under_way = Some(self.seat.begin(request.version()));
        let stamp = self.stamp.as_ref().map(|stamp| stamp(Some(request.headers())));
        let is_headless = request.method() == Method::HEAD && request.version() == Version::HTTP_2;
        let (mut head, body) = request.into_parts();
        let body = Inbound::new(body, head.version, &head.headers, &self.seat);
        let response = match self.refusal(&mut head) {
            Some(refusal) => Answer::Given { refusal: Some(refusal) },
            None => Answer::Produced { future: self.service.call(hyper::Request::from_parts(head, body)) },
        };
        Responding { response, stamp, is_headless, seat: Arc::clone(&self.seat), under_way }
    }
}

impl<S> Answering<S> {
    /// What keeps a request from the service.
    fn refusal(&self, head: &mut Parts) -> Option<Response> {
        if let Some(refuse) = self.refuse
            && let Some(unfit) = Unfit::of_request(head.version, &head.uri, &head.headers)
        {
            return Some(refusal(unfit, refuse, head.version));
        }
        head.extensions.insert(Remote(self.remote));
        if self.is_handed {
            head.extensions.insert(HandedOver);
        }
        self.guard.as_ref()?(head)
    }
}

fn refusal(unfit: Unfit, refuse: Refuse, version: Version) -> Response {
    let (kind, body) = refuse(unfit);
    let mut response = Response::new(body.into());
    *response.status_mut() = unfit.status();
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    // HTTP/2 has no such field, and the other streams are in order.
    if version != Version::HTTP_2 {
        response.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
    }
    response
}

/// Only the head is sent; it keeps the length that a GET would have.
fn behead(response: &mut Response) {
    let body = std::mem::take(response.body_mut());
    if let Some(length) = body.size_hint().exact().filter(|length| *length > 0) {
        response.headers_mut().entry(CONTENT_LENGTH).or_insert(HeaderValue::from(length));
    }
}

fn put_on(headers: &mut HeaderMap, stamp: &HeaderMap) {
    for (name, value) in stamp {
        if *name != VARY {
            headers.insert(name.clone(), value.clone());
        } else if !headers.get_all(VARY).iter().any(|said| said == value) {
            headers.append(VARY, value.clone());
        }
    }
}

/// The type of a response's body where it has no name.
pub(crate) trait HasBody {
    type Body;
}

impl<B> HasBody for http::Response<B> {
    type Body = B;
}

pub(crate) type BodyOf<R> = <R as HasBody>::Body;

pin_project! {
    /// A response that is being produced.
    pub(crate) struct Responding<F> {
        #[pin]
        response: Answer<F>,
        stamp: Option<HeaderMap>,
        // A HEAD over HTTP/2: there hyper would send the body.
        is_headless: bool,
        seat: Arc<Seat>,
        under_way: Option<UnderWay>,
    }
}

pin_project! {
    #[project = AnswerParts]
    /// How far a response is.
    enum Answer<F> {
        // By the service. It may still hold the request's body.
        Produced { #[pin] future: F },
        // Before the service.
        Given { refusal: Option<Response> },
        // The rest of the request's body is awaited.
        Waits { draining: Draining },
    }
}

impl<F> Future for Responding<F>
where
    F: Future<Output = Result<Response, Infallible>>,
{
    type Output = Result<http::Response<Tracked<BodyOf<Response>>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let mut response = loop {
            let response = match this.response.as_mut().project() {
                AnswerParts::Produced { future } => {
                    let Ok(response) = ready!(future.poll(cx));
                    // Drops the future, and with it what is unread.
                    this.response.set(Answer::Given { refusal: None });
                    response
                }
                AnswerParts::Given { refusal } => refusal.take().unwrap_or_default(),
                AnswerParts::Waits { draining } => break ready!(draining.poll(cx, this.seat)),
            };
            let Some(unread) = this.seat.take_unread() else { break response };
            match Draining::new(response, unread, this.seat) {
                Ok(draining) => this.response.set(Answer::Waits { draining }),
                Err(response) => break response,
            }
        };
        if let Some(stamp) = this.stamp.take() {
            put_on(response.headers_mut(), &stamp);
        }
        if *this.is_headless {
            behead(&mut response);
        }
        let stream = STREAM.try_with(Arc::clone).ok();
        Poll::Ready(Ok(response.map(|inner| Tracked { inner, stream, _under_way: this.under_way.take() })))
    }
}

pin_project! {
    /// A body that shows whether it makes progress, and that it exists.
    pub(crate) struct Tracked<B> {
        #[pin]
        inner: B,
        stream: Option<Arc<Progress>>,
        _under_way: Option<UnderWay>,
    }
}

impl<B: Body<Data = Bytes>> Body for Tracked<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let frame = this.inner.poll_frame(cx);
        if let Some(stream) = this.stream {
            stream.asked.fetch_add(1, Ordering::Relaxed);
            stream.is_taken.store(!matches!(frame, Poll::Ready(Some(Ok(_)))), Ordering::Relaxed);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The progress of one HTTP/2 stream's response.
#[derive(Debug)]
struct Progress {
    /// How often it was asked for more.
    asked: AtomicU64,
    /// False: it gave a piece, and was not asked for more since.
    is_taken: AtomicBool,
}

tokio::task_local! {
    /// Set while an HTTP/2 stream is polled: its progress, for the body produced inside.
    static STREAM: Arc<Progress>;
}

/// Runs the streams of HTTP/2 connections, each as a task that ends when its response makes no progress for too long.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    stall_max: Duration,
    port: &'static str,
    counts: Arc<Counts>,
}

impl Streams {
    pub(crate) fn new(limits: &Limits) -> Streams {
        Streams { stall_max: limits.stall_max, port: limits.port, counts: Arc::clone(&limits.counts) }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let progress = Arc::new(Progress { asked: AtomicU64::new(0), is_taken: AtomicBool::new(true) });
        tokio::spawn(Moving { stream, progress, asked: 0, patience: None, is_blocked: false, streams: self.clone() });
    }
}

pin_project! {
    /// One stream of HTTP/2.
    struct Moving<F> {
        #[pin]
        stream: F,
        progress: Arc<Progress>,
        // The value of `progress.asked` when the block began.
        asked: u64,
        patience: Option<Pin<Box<Sleep>>>,
        is_blocked: bool,
        streams: Streams,
    }
}

impl<F: Future<Output = ()>> Future for Moving<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let stream = this.stream;
        if STREAM.sync_scope(Arc::clone(this.progress), || stream.poll(cx)).is_ready() {
            return Poll::Ready(());
        }
        if this.progress.is_taken.load(Ordering::Relaxed) {
            *this.is_blocked = false;
            return Poll::Pending;
        }
        let stall_max = this.streams.stall_max;
        let asked = this.progress.asked.load(Ordering::Relaxed);
        let patience = this.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall_max)));
        if !std::mem::replace(this.is_blocked, true) || *this.asked != asked {
            *this.asked = asked;
            patience.as_mut().reset(Instant::now() + stall_max);
        }
        if patience.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        // Dropping this tells the client that its stream is reset.
        this.streams.counts.note(this.streams.port, Closed::Stalled);
        Poll::Ready(())
    }
}
