//! The body of a request: declared as what it must be, whole, in time, and not too long.

use super::Context;
use super::problem::{Code, Problem};
use crate::room::{Crowded, Place};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use std::ops::Deref;
use tokio::time::Instant;
use warp::http::HeaderMap;
use warp::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};

/// What a body is declared as.
pub(super) const JSON: &str = "application/json";
/// A patch is something else than a record: the wrong one of the two must not be taken for the other.
pub(super) const MERGE_PATCH: &str = "application/merge-patch+json";

/// A body, and its place among those that are under way: kept until the request is answered.
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

/// The whole body. Chunked ones are counted as they come.
pub(super) async fn receive<'a, B: Buf>(
    context: &'a Context,
    headers: &HeaderMap,
    body: impl Stream<Item = Result<B, warp::Error>>,
    wanted: &str,
) -> Result<Received<'a>, Problem> {
    let found = headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let media = found.as_deref().unwrap_or("").split(';').next().unwrap_or("").trim();
    if !media.eq_ignore_ascii_case(wanted) {
        let found = found.as_deref().unwrap_or("none");
        let what = format!("Content-Type must be {wanted}, found {found}");
        return Err(Problem::new(Code::UnsupportedMediaType, what));
    }
    if headers.get(CONTENT_ENCODING).is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::new(Code::UnsupportedMediaType, "a Content-Encoding is not understood; send it plain"));
    }
    let limit = context.config.body_limit_bytes;
    let too_large =
        || Problem::new(Code::BodyTooLarge, format!("a body has at most {limit} bytes")).with("limitBytes", limit);
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    // Before anything of it is read: what waits for a place takes no memory here.
    let length = declared.map_or(limit, |length| usize::try_from(length).unwrap_or(limit));
    let place = context.handle.under_way().take(length, Instant::now() + context.config.write_timeout).await;
    let place = place
        .map_err(|Crowded| Problem::new(Code::Overloaded, "too many requests with bodies are under way; not done"))?;
    let collect = async {
        let mut body = std::pin::pin!(body);
        let mut whole = BytesMut::new();
        while let Some(piece) = body.next().await {
            let mut piece = piece.map_err(|error| {
                Problem::new(Code::BodyIncomplete, format!("the body ended after {} bytes: {error}", whole.len()))
            })?;
            while piece.has_remaining() {
                let chunk = piece.chunk();
                if whole.len() + chunk.len() > limit {
                    return Err(too_large());
                }
                whole.extend_from_slice(chunk);
                piece.advance(piece.chunk().len());
            }
        }
        Ok(whole.freeze())
    };
    let timeout = context.config.body_timeout;
    let bytes = tokio::time::timeout(timeout, collect).await.unwrap_or_else(|_| {
        let what = format!("the body did not arrive within {} ms", timeout.as_millis());
        Err(Problem::new(Code::BodyTimeout, what))
    })?;
    Ok(Received { bytes, _place: place })
}
