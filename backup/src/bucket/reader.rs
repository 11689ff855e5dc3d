//! An object as a reader that blocks, for threads that decompress and parse.

use super::{Bucket, BucketError};
use bytes::{Buf as _, Bytes};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use leasehold_archive::name::Name;
use leasehold_replication::ClusterId;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Handle;

/// The bytes of one object. Not for a thread of the runtime.
pub struct ObjectReader {
    runtime: Handle,
    stream: BoxStream<'static, Result<Bytes, BucketError>>,
    piece: Bytes,
    failure: Failure,
}

/// Whether the bucket failed while an object was read: then its bytes say nothing about it.
#[derive(Clone, Debug, Default)]
pub struct Failure(Arc<Mutex<Option<BucketError>>>);

impl Failure {
    /// Once.
    pub fn take(&self) -> Option<BucketError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Bucket {
    /// Begins to read an object from a thread that may block.
    ///
    /// # Errors
    /// [`BucketError`]; also each read may be one, which is in [`Failure`] then.
    pub fn read(
        &self,
        runtime: &Handle,
        cluster: ClusterId,
        name: &Name,
    ) -> Result<(ObjectReader, Failure), BucketError> {
        let fetched = runtime.block_on(self.get(cluster, name))?;
        let failure = Failure::default();
        let (runtime, stream, piece) = (runtime.clone(), fetched.stream, Bytes::new());
        Ok((ObjectReader { runtime, stream, piece, failure: failure.clone() }, failure))
    }
}

impl Read for ObjectReader {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.runtime.block_on(self.stream.next()) {
                None => return Ok(0),
                Some(Ok(piece)) => self.piece = piece,
                Some(Err(error)) => {
                    let words = error.to_string();
                    *self.failure.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    return Err(io::Error::other(words));
                }
            }
        }
        let length = to.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut to[..length]);
        Ok(length)
    }
}
