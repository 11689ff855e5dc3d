//! Large objects: in parts to S3, piece by piece into a folder. Neither is in memory as a whole.
//!
//! ```text
//!   S3       create ─▶ part, part, … ─▶ complete, if none of that name is there      (If-None-Match: requests.rs)
//!                          └─ failed, or given up ─▶ abort
//!   folder   <name>#<number> ─▶ fsync ─▶ link to <name>, if none is there
//! ```
//!
//! Azure and Google accept objects of 5000 MiB and 5 TiB in one request, and do not check a condition at the end of parts
//! (Google), or not in a way that the client has (Azure): for them it stays one request.
//!
//! What a process that is killed has sent of an object stays in an S3 bucket, until a rule of the bucket aborts it.

use super::{BYTES_PER_SECOND_MIN, Bucket, BucketError, PIECE_BYTES, Put, STEP_MAX, Why};
use bytes::Bytes;
use leasehold_archive::name::Name;
use leasehold_replication::ClusterId;
use object_store::{MultipartUpload, ObjectStoreExt as _, PutPayload};
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::time::Duration;
use tokio::runtime::Handle;

/// An upload that is aborted unless it is completed.
struct Upload(Option<Box<dyn MultipartUpload>>);

impl Drop for Upload {
    fn drop(&mut self) {
        if let (Some(mut upload), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(async move { tokio::time::timeout(STEP_MAX, upload.abort()).await });
        }
    }
}

impl Bucket {
    /// Puts large objects in parts of another length.
    pub fn in_parts_of(self, bytes: u64) -> Bucket {
        Bucket { part_bytes: bytes, ..self }
    }

    pub(super) async fn put_in_parts(
        &self,
        cluster: ClusterId,
        name: &Name,
        file: PathBuf,
    ) -> Result<Put, BucketError> {
        let location = self.location(cluster, name);
        // What is there already need not be sent.
        match self.within(STEP_MAX, "get", self.store.head(&location)).await {
            Ok(_) => return Ok(Put::Exists),
            // Without the right to list S3 does not say that it is missing.
            Err(BucketError { why: Why::Missing | Why::Denied, .. }) => {}
            Err(error) => return Err(error),
        }
        let created = self.within(STEP_MAX, "put", self.store.put_multipart(&location)).await?;
        let mut upload = Upload(Some(created));
        let sent = self.send(&mut upload, file).await;
        if sent.is_ok() {
            upload.0 = None;
        } else if let Some(mut upload) = upload.0.take() {
            // The first error says more.
            let _ = tokio::time::timeout(STEP_MAX, upload.abort()).await;
        }
        match sent {
            Ok(()) => Ok(Put::Written),
            Err(BucketError { why: Why::Exists, .. }) => Ok(Put::Exists),
            Err(error) => Err(error),
        }
    }

    async fn send(&self, upload: &mut Upload, file: PathBuf) -> Result<(), BucketError> {
        let Some(upload) = &mut upload.0 else { return Ok(()) };
        let path = file.clone();
        let disk = |source| BucketError::file(&self.url, &path, &source);
        let mut from = tokio::task::spawn_blocking(move || std::fs::File::open(file)).await;
        let bytes = self.part_bytes;
        loop {
            let file = from.map_err(io::Error::other).and_then(|file| file).map_err(disk)?;
            let read = tokio::task::spawn_blocking(move || part_of(file, bytes)).await;
            let (file, part) = read.map_err(io::Error::other).and_then(|read| read).map_err(disk)?;
            if part.is_empty() {
                break;
            }
            from = Ok(Ok(file));
            let part: PutPayload = part.into_iter().collect();
            let patience = STEP_MAX + Duration::from_secs(part.content_length() as u64 / BYTES_PER_SECOND_MIN);
            self.within(patience, "put", upload.put_part(part)).await?;
        }
        self.within(STEP_MAX * 5, "put", upload.complete()).await.map(|_| ())
    }
}

/// The next part, in pieces; none: it ends here.
fn part_of(mut file: std::fs::File, bytes: u64) -> io::Result<(std::fs::File, Vec<Bytes>)> {
    let (mut pieces, mut left) = (Vec::new(), bytes);
    while left > 0 {
        let most = left.min(PIECE_BYTES as u64);
        let mut piece = Vec::with_capacity(usize::try_from(most).unwrap_or(PIECE_BYTES));
        (&mut file).take(most).read_to_end(&mut piece)?;
        if piece.is_empty() {
            break;
        }
        left -= piece.len() as u64;
        pieces.push(piece.into());
    }
    Ok((file, pieces))
}
