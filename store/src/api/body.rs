//! The body of a request: of the declared type, whole, in time, and not too long.

use super::context::Context;
use super::problem::{Code, Problem};
use crate::room::{Crowded, Place};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;
use std::ops::Deref;
use tokio::time::Instant;
use warp::http::HeaderMap;
use warp::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};

/// The declared type of a body.
pub(super) const JSON: &str = "application/json";
/// A patch is not a record: neither may be mistaken for the other.
pub(super) const MERGE_PATCH: &str = "application/merge-patch+json";

/// A body, and its place among those under way: kept until the request is answered.
pub(super) struct Received<'a> {
    bytes: Bytes,
    _place: Place<'a>,
}

impl Deref for Received<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Any error of a body.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body as it arrived: read once, and known from then on, so that the same request can be answered again.
pub(super) struct Sent<B> {
    body: Option<B>,
    read: Bytes,
}

impl<B> Sent<B> {
    /// Nothing of it has been read.
    pub(super) fn new(body: B) -> Sent<B> {
        Sent { body: Some(body), read: Bytes::new() }
    }

    /// What a call has read of it: all, or nothing. What no call read is not part of the request.
    pub(super) fn read(&self) -> Bytes {
        self.read.clone()
    }
}

/// The whole body. Chunked ones are counted as they arrive.
pub(super) async fn receive<'a, B>(
    context: &'a Context,
    headers: &HeaderMap,
    sent: &mut Sent<B>,
    wanted: &str,
) -> Result<Received<'a>, Problem>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    check_declared(headers, wanted)?;
    let limit = context.config.body_limit_bytes;
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    // Before anything of it is read: what waits for a place takes no memory here.
    let length = declared.map_or(limit, |length| usize::try_from(length).unwrap_or(limit));
    let place = context.handle.under_way().take(length, Instant::now() + context.config.write_timeout).await;
    let place = place
        .map_err(|Crowded| Problem::new(Code::Overloaded, "too many requests with bodies are in progress; not done"))?;
    let Some(body) = sent.body.take() else { return Ok(Received { bytes: sent.read(), _place: place }) };
    let timeout = context.config.body_timeout;
    let bytes = tokio::time::timeout(timeout, collect(body, limit)).await.unwrap_or_else(|_| {
        let what = format!("the body did not arrive within {} ms", timeout.as_millis());
        Err(Problem::new(Code::BodyTimeout, what))
    })?;
    sent.read = bytes.clone();
    Ok(Received { bytes, _place: place })
}

/// Whether it is declared as what it must be.
fn check_declared(headers: &HeaderMap, wanted: &str) -> Result<(), Problem> {
    let found = headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let media = found.as_deref().unwrap_or("").split(';').next().unwrap_or("").trim();
    if !media.eq_ignore_ascii_case(wanted) {
        let found = found.as_deref().unwrap_or("none");
        let what = format!("Content-Type must be {wanted}, found {found}");
        return Err(Problem::new(Code::UnsupportedMediaType, what));
    }
    if headers.get(CONTENT_ENCODING).is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::new(
            Code::UnsupportedMediaType,
            "this Content-Encoding is not supported; send the body without one",
        ));
    }
    Ok(())
}

fn too_large(limit: usize) -> Problem {
    Problem::new(Code::BodyTooLarge, format!("a body has at most {limit} bytes")).with("limitBytes", limit)
}

/// All its pieces, up to `limit` bytes.
async fn collect<B>(body: B, limit: usize) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let mut body = std::pin::pin!(body);
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let error: BoxError = error.into();
            let length = first.len() + whole.len();
            Problem::new(Code::BodyIncomplete, format!("the body ended after {length} bytes: {error}"))
        })?;
        let Ok(piece) = frame.into_data() else { continue };
        if first.len() + whole.len() + piece.len() > limit {
            return Err(too_large(limit));
        }
        // Most bodies are one piece: it is not copied.
        if first.is_empty() && whole.is_empty() {
            first = piece;
            continue;
        }
        if whole.is_empty() {
            whole.extend_from_slice(&std::mem::take(&mut first));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}
