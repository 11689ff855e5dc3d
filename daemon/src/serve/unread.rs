//! Requests that are answered before their body was read: a refusal needs only the head.
//!
//! ```text
//!   answered, body unread ──▶ the rest comes soon, and is short ──▶ thrown away; the connection is kept
//!                        └──▶ else: `Connection: close`; what still comes after the answer is thrown away until the
//!                             client closes, or for `linger_max` (Wire)
//! ```
//!
//! A kernel that closes a socket with unread bytes resets the connection, and a reset destroys an answer that the client
//! has not read yet: it would see a broken pipe instead of why it was refused. (RFC 9112, section 9.6.) HTTP/2 resets one
//! stream without an error instead, so nothing of this is about it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::{CONNECTION, EXPECT};
use http::{HeaderMap, HeaderValue, Version};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Sleep;
use warp::reply::Response;

use crate::serve::places::{Seat, Unread};

/// How long an answer waits for the rest of a body, and how long that may be, so that the connection can be kept.
const REST_MAX: Duration = Duration::from_millis(100);
const REST_BYTES_MAX: usize = 256 * 1024;
/// What is thrown away at a time.
const PIECE_BYTES: usize = 16 * 1024;

/// The body of a request. What a service leaves of it unread is thrown away, within bounds, behind its back.
#[derive(Debug)]
pub struct Inbound {
    body: Option<Incoming>,
    /// Where the rest is left. None: nobody needs it.
    seat: Option<Arc<Seat>>,
    /// The client sends it only if it is asked for: if this is polled.
    waits_to_be_asked: bool,
}

impl Inbound {
    pub(crate) fn new(body: Incoming, version: Version, headers: &HeaderMap, seat: &Arc<Seat>) -> Inbound {
        let can_be_left = version != Version::HTTP_2 && !body.is_end_stream();
        Inbound {
            body: Some(body),
            seat: can_be_left.then(|| Arc::clone(seat)),
            waits_to_be_asked: headers.contains_key(EXPECT),
        }
    }
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.waits_to_be_asked = false;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        Pin::new(body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        if let (Some(seat), Some(body)) = (self.seat.take(), self.body.take().filter(|body| !body.is_end_stream())) {
            seat.leave_unread(Unread { body: (!self.waits_to_be_asked).then_some(body) });
        }
    }
}

/// An answer that waits for what was left unread.
pub(crate) struct Draining {
    answer: Option<Response>,
    rest: Incoming,
    bytes: usize,
    patience: Pin<Box<Sleep>>,
}

impl Draining {
    /// Or the answer at once, if nothing can be waited for.
    #[allow(clippy::result_large_err)]
    pub(crate) fn new(answer: Response, unread: Unread, seat: &Seat) -> Result<Draining, Response> {
        match unread.body {
            Some(rest) => {
                let patience = Box::pin(tokio::time::sleep(REST_MAX));
                Ok(Draining { answer: Some(answer), rest, bytes: 0, patience })
            }
            None => Err(last(answer, seat)),
        }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, seat: &Seat) -> Poll<Response> {
        let is_whole = loop {
            match Pin::new(&mut self.rest).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.bytes += frame.data_ref().map_or(0, Buf::remaining);
                    if self.bytes > REST_BYTES_MAX {
                        break false;
                    }
                }
                Poll::Ready(Some(Err(_))) => break false,
                Poll::Ready(None) => break true,
                Poll::Pending => {
                    ready!(self.patience.as_mut().poll(cx));
                    break false;
                }
            }
        };
        let answer = self.answer.take().unwrap_or_default();
        Poll::Ready(if is_whole { answer } else { last(answer, seat) })
    }
}

/// The last answer of its connection.
fn last(mut answer: Response, seat: &Seat) -> Response {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    seat.linger();
    answer
}

/// Takes and throws away what arrives after our end of a connection was closed.
#[derive(Debug)]
pub(crate) struct Lingering {
    time_max: Duration,
    patience: Option<Pin<Box<Sleep>>>,
}

impl Lingering {
    pub(crate) fn new(time_max: Duration) -> Lingering {
        Lingering { time_max, patience: None }
    }

    /// Ready: the client has closed, too, or was given enough time.
    pub(crate) fn poll(&mut self, inner: &mut (impl AsyncRead + Unpin), cx: &mut Context<'_>) -> Poll<()> {
        let patience = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.time_max)));
        let mut piece = [0; PIECE_BYTES];
        loop {
            if patience.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let mut piece = ReadBuf::new(&mut piece);
            if ready!(Pin::new(&mut *inner).poll_read(cx, &mut piece)).is_err() || piece.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }
}
