//! Compresses long answers for clients that want it (`Accept-Encoding`, RFC 9110, 12.5.3).
//!
//! ```text
//!   request ──Accepted──▶ the calls, or the leader ──answer──▶ text of more than 1 KiB, without a tag of its own?
//!        yes: Vary: Accept-Encoding ──gzip wanted, a place is free──▶ Content-Encoding: gzip, piece by piece
//! ```
//!
//! A list stays a stream: at most one piece of it is in memory, and between two pieces other requests get their turn.
//! Compression happens where clients are served; the core's thread, which also serves the probes' port, compresses nothing.
//!
//! An answer with an `ETag` (one record, some hundred bytes) is sent as it is: another representation would need its own
//! tag, and a strong tag that works with `If-Match` is worth more to a client. A watch is not compressed, either: its
//! events would wait for each other.

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use hyper::body::Body;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::Semaphore;
use warp::Reply;
use warp::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, VARY};
use warp::http::{HeaderMap, HeaderValue};
use warp::reply::Response;

/// Anything shorter fits into one packet as it is.
const LONG_BYTES: u64 = 1024;
/// How many answers are compressed at a time. Each needs some 350 KiB for that; further ones are sent as they are.
const PLACES: usize = 32;
/// How much is compressed at once before other requests get their turn.
const TURN_BYTES: usize = 64 * 1024;
/// The types that shrink.
const KINDS: [&str; 4] = ["application/json", "application/problem+json", "application/openmetrics-text", "text/html"];

/// What a client wants of gzip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Accepted {
    /// It wants gzip, at least as much as no encoding.
    wanted: bool,
    /// It wants only unencoded answers.
    only: bool,
}

impl Accepted {
    pub(super) fn of(headers: &HeaderMap) -> Accepted {
        let (mut gzip, mut identity, mut others) = (None::<u16>, None::<u16>, None::<u16>);
        let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        for each in values.flat_map(|value| value.split(',')) {
            let (coding, parameters) = each.split_once(';').unwrap_or((each, ""));
            let coding = coding.trim();
            let slot = if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") {
                &mut gzip
            } else if coding.eq_ignore_ascii_case("identity") {
                &mut identity
            } else if coding == "*" {
                &mut others
            } else {
                continue;
            };
            // Invalid values express no wish.
            *slot = weight(parameters).map(|weight| slot.map_or(weight, |before| before.min(weight))).or(*slot);
        }
        let (gzip, identity) = (gzip.or(others).unwrap_or(0), identity.or(others));
        // `identity` is acceptable unless a client forbids it; it is wanted only if a client asks for it.
        Accepted { wanted: gzip > 0 && gzip >= identity.unwrap_or(0), only: gzip > 0 && identity == Some(0) }
    }
}

/// Parses `q=0.5`: in thousandths; without it, 1000.
fn weight(parameters: &str) -> Option<u16> {
    let parameters = parameters.trim();
    if parameters.is_empty() {
        return Some(1000);
    }
    let value = parameters.strip_prefix(['q', 'Q'])?.strip_prefix('=')?;
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let is_number = matches!(whole, "0" | "1") && fraction.len() <= 3 && fraction.bytes().all(|c| c.is_ascii_digit());
    let weight = format!("{whole}{fraction:0<3}").parse().ok().filter(|_| is_number)?;
    (weight <= 1000).then_some(weight)
}

/// Compresses answers.
#[derive(Debug)]
pub(super) struct Gzip {
    places: Arc<Semaphore>,
}

impl Gzip {
    pub(super) fn new() -> Gzip {
        Gzip { places: Arc::new(Semaphore::new(PLACES)) }
    }

    /// The answer for a client that accepts this. For a HEAD it is the same, and because nobody reads its body, nothing is
    /// done.
    pub(super) fn encode(&self, accepted: Accepted, mut response: Response) -> Response {
        let length = response.body().size_hint().exact();
        let is_long = length.is_none_or(|length| length > LONG_BYTES || (accepted.only && length > 0));
        let headers = response.headers_mut();
        if !is_long || !is_of_a_kind(headers) || headers.contains_key(ETAG) || headers.contains_key(CONTENT_ENCODING) {
            return response;
        }
        if !headers.get_all(VARY).iter().any(|named| named == "accept-encoding") {
            headers.append(VARY, HeaderValue::from_static("accept-encoding"));
        }
        if !accepted.wanted {
            return response;
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return response };
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.remove(CONTENT_LENGTH);
        let (head, body) = response.into_parts();
        let mut compressing =
            Compressing { body, encoder: None, waiting: Bytes::new(), turn_is_over: false, ended: false };
        let pieces = stream::poll_fn(move |cx| {
            let _kept_until_the_end = &place;
            compressing.poll_piece(cx)
        });
        Response::from_parts(head, warp::reply::stream(pieces).into_response().into_body())
    }
}

fn is_of_a_kind(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    KINDS.contains(&kind.split(';').next().unwrap_or("").trim_end())
}

/// A body on its way out.
struct Compressing<B> {
    body: B,
    /// None: nothing has arrived yet.
    encoder: Option<GzEncoder<Vec<u8>>>,
    /// What has arrived and is not compressed yet.
    waiting: Bytes,
    /// The rest of what arrived waits until other requests had their turn.
    turn_is_over: bool,
    ended: bool,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<B> Compressing<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        while !self.ended {
            if self.waiting.is_empty() {
                match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                    Some(Ok(frame)) => {
                        self.waiting = frame.into_data().unwrap_or_default();
                        self.turn_is_over = false;
                        continue;
                    }
                    Some(Err(error)) => {
                        self.ended = true;
                        return Poll::Ready(Some(Err(error.into())));
                    }
                    None => {
                        self.ended = true;
                        let last = self.encoder.take().unwrap_or_else(encoder).finish();
                        return Poll::Ready(Some(last.map(Bytes::from).map_err(BoxError::from)));
                    }
                }
            }
            if std::mem::take(&mut self.turn_is_over) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let piece = self.waiting.split_to(self.waiting.len().min(TURN_BYTES));
            self.turn_is_over = !self.waiting.is_empty();
            match self.compress(&piece) {
                Ok(compressed) if compressed.is_empty() => {}
                compressed => {
                    self.ended = compressed.is_err();
                    return Poll::Ready(Some(compressed.map_err(BoxError::from)));
                }
            }
        }
        Poll::Ready(None)
    }

    /// The finished part; the encoder may keep all of a small piece.
    fn compress(&mut self, piece: &[u8]) -> io::Result<Bytes> {
        let encoder = self.encoder.get_or_insert_with(encoder);
        encoder.write_all(piece)?;
        Ok(std::mem::take(encoder.get_mut()).into())
    }
}

/// JSON shrinks to a fifth; the last few percent would take several times as long.
fn encoder() -> GzEncoder<Vec<u8>> {
    GzEncoder::new(Vec::new(), Compression::fast())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use futures_util::StreamExt;
    use http_body_util::BodyExt;
    use std::convert::Infallible;
    use std::io::Read;

    const WANTED: Accepted = Accepted { wanted: true, only: false };
    const NOT: Accepted = Accepted { wanted: false, only: false };
    const ONLY: Accepted = Accepted { wanted: true, only: true };

    fn json(body: impl Into<Bytes>) -> Response {
        let mut response = Response::new(body.into().into());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    async fn body(response: Response) -> Bytes {
        response.into_body().collect().await.unwrap().to_bytes()
    }

    fn unpacked(packed: &[u8]) -> Vec<u8> {
        let mut unpacked = Vec::new();
        GzDecoder::new(packed).read_to_end(&mut unpacked).unwrap();
        unpacked
    }

    fn is_gzip(response: &Response) -> bool {
        response.headers().get(CONTENT_ENCODING).is_some_and(|coding| coding == "gzip")
    }

    #[test]
    fn what_a_client_accepts_is_read_as_the_rfc_has_it() {
        for (lines, accepted) in [
            (&[][..], NOT),
            (&[""], NOT),
            (&["gzip"], WANTED),
            (&["GZip;Q=1.000"], WANTED),
            (&["x-gzip"], WANTED),
            (&["br, gzip ; q=0.001"], WANTED),
            (&["deflate", "br;q=1.0, gzip;q=0.8, *;q=0.1"], WANTED),
            (&["*"], WANTED),
            (&["gzip, identity"], WANTED),
            (&["br"], NOT),
            (&["gzip;q=0"], NOT),
            (&["gzip;q=0.000, *"], NOT),
            (&["*;q=0"], NOT),
            (&["identity"], NOT),
            (&["identity;q=1, gzip;q=0.5"], NOT),
            (&["gzip;q=0.5, *"], NOT),
            (&["identity;q=0"], NOT),
            (&["gzip, identity;q=0"], ONLY),
            (&["gzip, *;q=0"], ONLY),
            (&["*, identity;q=0"], ONLY),
            (&["gzip;q=2"], NOT),
            (&["gzip;q=1.001"], NOT),
            (&["gzip;q=0.1234"], NOT),
            (&["gzip;q="], NOT),
            (&["gzip;level=9"], NOT),
            (&["gzip;q=é"], NOT),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(ACCEPT_ENCODING, HeaderValue::from_bytes(line.as_bytes()).unwrap());
            }
            assert_eq!(Accepted::of(&headers), accepted, "{lines:?}");
        }
    }

    #[tokio::test]
    async fn a_long_answer_is_compressed_and_a_short_a_tagged_or_another_one_is_not() {
        let gzip = Gzip::new();
        let long = vec![b'a'; 200_000];
        let packed = gzip.encode(WANTED, json(long.clone()));
        assert!(is_gzip(&packed));
        assert_eq!(packed.headers()[VARY], "accept-encoding");
        let packed = body(packed).await;
        assert!(packed.len() < 5_000, "{}", packed.len());
        assert_eq!(unpacked(&packed), long);
        let plain = gzip.encode(NOT, json(long.clone()));
        assert!(!is_gzip(&plain) && plain.headers()[VARY] == "accept-encoding");
        assert_eq!(body(plain).await, long);
        let short = gzip.encode(WANTED, json(vec![b'a'; 1024]));
        assert!(!is_gzip(&short) && !short.headers().contains_key(VARY));
        let short = gzip.encode(ONLY, json("[]"));
        assert!(is_gzip(&short));
        assert_eq!(unpacked(&body(short).await), b"[]");
        for (name, value) in [("etag", "\"e\""), ("content-encoding", "br"), ("content-type", "text/event-stream")] {
            let mut other = json(long.clone());
            other.headers_mut().insert(name, HeaderValue::from_static(value));
            let other = gzip.encode(WANTED, other);
            assert!(!is_gzip(&other) && !other.headers().contains_key(VARY), "{name}");
        }
        assert!(!is_gzip(&gzip.encode(ONLY, json(""))), "there is no body");
    }

    #[tokio::test]
    async fn a_stream_stays_one_and_gives_way_to_other_requests() {
        let pieces = (0..8_u8).map(|n| Ok::<_, Infallible>(Bytes::from(vec![n; 3 * TURN_BYTES + 7])));
        let mut streamed = warp::reply::stream(stream::iter(pieces)).into_response();
        streamed.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let packed = Gzip::new().encode(WANTED, streamed);
        let mut body = http_body_util::BodyStream::new(packed.into_body());
        let (mut packed, mut polls, mut pauses) = (Vec::new(), 0, 0);
        std::future::poll_fn(|cx| {
            loop {
                polls += 1;
                match body.poll_next_unpin(cx) {
                    Poll::Ready(Some(frame)) => packed.extend_from_slice(&frame.unwrap().into_data().unwrap()),
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Pending => {
                        pauses += 1;
                        return Poll::Pending;
                    }
                }
            }
        })
        .await;
        // Four turns per piece, with a pause between two turns.
        assert!(pauses >= 24 && polls > pauses, "{pauses} of {polls}");
        let expected: Vec<u8> = (0..8).flat_map(|n| vec![n; 3 * TURN_BYTES + 7]).collect();
        assert!(unpacked(&packed) == expected);
    }

    #[tokio::test]
    async fn at_most_so_many_are_compressed_at_a_time_and_others_are_sent_as_they_are() {
        let gzip = Gzip::new();
        let long = || json(vec![b'a'; 2_000]);
        let mut all: Vec<Response> = (0..PLACES).map(|_| gzip.encode(WANTED, long())).collect();
        assert!(all.iter().all(is_gzip));
        let plain = gzip.encode(WANTED, long());
        assert!(!is_gzip(&plain) && plain.headers()[VARY] == "accept-encoding");
        // A dropped body, as that of an answer to a HEAD, frees its place like one that was read.
        let last = body(all.pop().unwrap()).await;
        assert_eq!(unpacked(&last).len(), 2_000);
        drop(all);
        assert_eq!(gzip.places.available_permits(), PLACES);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_breaks_off() {
        let pieces = [Ok(Bytes::from_static(b"[1,")), Err("lost")];
        let mut broken = warp::reply::stream(stream::iter(pieces)).into_response();
        broken.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let packed = Gzip::new().encode(WANTED, broken);
        assert!(is_gzip(&packed) && packed.into_body().collect().await.is_err());
    }
}
