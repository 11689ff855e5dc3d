//! `GET /api/snapshot`: all data at one position of the log, as `snapshot.json`. A backup in one call.
//!
//! ```text
//!   a view of the documents, O(1) ──written on a blocking thread──▶ pieces, of which a few wait ──▶ the answer's body
//! ```
//!
//! Writes go on meanwhile: what they replace is counted as long as the view is held, as with a list. Nothing is written before
//! the body is asked for (a `HEAD` costs nothing), and a client that reads nothing is cut by the server as everywhere, which ends
//! the thread. An answer that ends before its last member, `sum`, is not a snapshot; the connection breaks off then, too.

use super::context::{ApiResult, Context};
use super::percent::Query;
use super::problem::{Code, Problem};
use super::query::Freshness;
use super::reads::view;
use super::refusals::not_readable;
use crate::handle::Handle;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use leasehold_documents::Documents;
use leasehold_documents::snapshot::{self, Head};
use leasehold_replication::Voters;
use std::io::{self, Write};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use warp::Reply;
use warp::http::HeaderValue;
use warp::http::header::CONTENT_TYPE;

/// How many may be read at a time. Each takes a core while its client reads fast, and holds its view of the data.
pub(super) const SNAPSHOTS_MAX: usize = 2;
/// A piece of the body.
const PIECE_BYTES: usize = 128 * 1024;
/// How many pieces wait for the client.
const PIECES_MAX: usize = 4;

/// What the thread sends.
enum Part {
    Piece(Bytes),
    /// Nothing is missing.
    End,
}

/// `GET /api/snapshot`
pub(super) async fn snapshot(context: &Context, query: Query) -> ApiResult {
    let view = view(context, &Freshness::parse(query)?).await?;
    let head = head(&context.handle, &view.documents)?;
    let permit = Arc::clone(&context.snapshots).try_acquire_owned().map_err(|_| {
        let what = format!(
            "{SNAPSHOTS_MAX} clients read a snapshot of this replica already; ask another replica, or ask again later"
        );
        Problem::new(Code::Overloaded, what)
    })?;
    let (documents, metrics) = (Arc::clone(&view.documents), context.metrics.clone());
    let begin = async move {
        let (parts, taken) = mpsc::channel(PIECES_MAX);
        tokio::task::spawn_blocking(move || {
            if write(parts, &head, &documents, permit).is_ok() {
                metrics.snapshot_served();
            }
        });
        taken
    };
    let mut response = warp::reply::stream(stream::once(begin).flat_map(pieces)).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    view.stamp(&mut response);
    Ok(response)
}

/// What precedes the data: the voters as this replica knows them now.
fn head(handle: &Handle, documents: &Documents) -> Result<Head, Problem> {
    // Asked for behind the documents: it may be a later one, which a reader refuses in doubt, but never an earlier one.
    let status = handle.status().ok_or_else(|| not_readable(handle, "the volume is not open".to_owned()))?;
    let format = documents.format().max(status.formats.in_force);
    let cluster_id = status.cluster_id.ok_or_else(|| not_readable(handle, "it is of no cluster yet".to_owned()))?;
    let voters = Voters { format, ..status.voters.clone() };
    Ok(Head { format, cluster_id, position: documents.applied(), voters })
}

/// Until the client has gone. The permit is that of a thread, not that of a client.
fn write(
    parts: mpsc::Sender<Part>,
    head: &Head,
    documents: &Documents,
    _permit: OwnedSemaphorePermit,
) -> io::Result<()> {
    let mut pieces = Pieces { parts, piece: Vec::with_capacity(PIECE_BYTES) };
    snapshot::write(&mut pieces, head, documents)?;
    pieces.flush()?;
    pieces.send(Part::End)
}

/// The pieces as they come. A thread that died before the end is an error: the body breaks off.
fn pieces(taken: mpsc::Receiver<Part>) -> impl Stream<Item = io::Result<Bytes>> {
    stream::unfold(Some(taken), |taken| async move {
        let mut taken = taken?;
        match taken.recv().await {
            Some(Part::Piece(piece)) => Some((Ok(piece), Some(taken))),
            Some(Part::End) => None,
            None => Some((Err(io::Error::other("the snapshot was not written to its end")), None)),
        }
    })
}

/// Makes pieces of what is written.
struct Pieces {
    parts: mpsc::Sender<Part>,
    piece: Vec<u8>,
}

impl Pieces {
    /// Waits for room.
    fn send(&self, part: Part) -> io::Result<()> {
        self.parts.blocking_send(part).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        self.send(Part::Piece(piece.into()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_whose_thread_died_breaks_off() {
        let (parts, taken) = mpsc::channel(PIECES_MAX);
        parts.send(Part::Piece(Bytes::from_static(b"{"))).await.unwrap();
        drop(parts);
        let all: Vec<io::Result<Bytes>> = pieces(taken).collect().await;
        assert!(all.len() == 2 && all[0].is_ok() && all[1].is_err(), "{all:?}");
    }

    #[tokio::test]
    async fn all_that_is_written_comes_in_pieces_of_one_size() {
        let (parts, taken) = mpsc::channel(PIECES_MAX);
        let writing = tokio::task::spawn_blocking(move || {
            let mut pieces = Pieces { parts, piece: Vec::new() };
            for byte in 0..100u8 {
                pieces.write_all(&vec![byte; 5_000]).unwrap();
            }
            pieces.flush().and_then(|()| pieces.send(Part::End))
        });
        let all: Vec<Bytes> = pieces(taken).map(Result::unwrap).collect().await;
        writing.await.unwrap().unwrap();
        let lengths: Vec<usize> = all.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [PIECE_BYTES, PIECE_BYTES, PIECE_BYTES, 500_000 - 3 * PIECE_BYTES]);
        assert_eq!(all.concat(), (0..100u8).flat_map(|byte| vec![byte; 5_000]).collect::<Vec<u8>>());
    }
}
