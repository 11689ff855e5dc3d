//! A body that leaves a copy of itself where it passes, so that a request can be made again.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};

/// The body on its way. The pieces are shared, not copied.
pub(super) struct Copying<B> {
    body: B,
    copy: Copy,
}

/// What has passed.
#[derive(Clone)]
pub(super) struct Copy(Arc<Mutex<Passed>>);

struct Passed {
    pieces: Vec<Bytes>,
    room: usize,
    overflowed: bool,
}

impl<B> Copying<B> {
    /// A copy of at most `limit` bytes is kept.
    pub(super) fn new(body: B, limit: usize) -> (Copying<B>, Copy) {
        let copy = Copy(Arc::new(Mutex::new(Passed { pieces: Vec::new(), room: limit, overflowed: false })));
        (Copying { body, copy: copy.clone() }, copy)
    }
}

impl Copy {
    /// All that was read of the body; none if that was more than may be kept.
    pub(super) fn take(&self) -> Option<Bytes> {
        let mut passed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if passed.overflowed {
            return None;
        }
        let pieces = std::mem::take(&mut passed.pieces);
        Some(match pieces.len() {
            0 => Bytes::new(),
            1 => pieces.into_iter().next().unwrap_or_default(),
            _ => pieces
                .iter()
                .fold(BytesMut::new(), |mut whole, piece| {
                    whole.extend_from_slice(piece);
                    whole
                })
                .freeze(),
        })
    }

    fn keep(&self, piece: &Bytes) {
        let mut passed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match passed.room.checked_sub(piece.len()) {
            Some(room) => {
                passed.room = room;
                passed.pieces.push(piece.clone());
            }
            None => {
                passed.overflowed = true;
                passed.pieces = Vec::new();
            }
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Copying<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(piece) = frame.data_ref()
        {
            self.copy.keep(piece);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
