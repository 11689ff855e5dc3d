//! A snapshot that arrives in pieces from a leader, until it is whole and verified.

use super::{Loaded, read};
use crate::volume::disk::{Disk, DiskFile, remove_if_there, write_all_at};
use crate::volume::error::VolumeError;
use crate::volume::files::received;
use leasehold_documents::readable;
use leasehold_documents::{Documents, FalseSum};
use leasehold_replication::{SnapshotMark, SnapshotMeta, SnapshotPart, SnapshotPiece};
use std::io;
use std::sync::Arc;

/// Why pieces do not make a snapshot. The connection that carried them is closed.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// A piece of another snapshot, or one that does not follow the piece before.
    #[error("a piece at {offset} of {length_bytes} bytes does not follow the {have} bytes received so far")]
    Order {
        /// Where it starts.
        offset: u64,
        /// The length of the snapshot, as announced.
        length_bytes: u64,
        /// How much was accepted so far.
        have: u64,
    },
    /// The pieces do not make the announced snapshot.
    #[error("the received snapshot is not the announced one: {0}")]
    Content(#[source] VolumeError),
    /// It is as announced, but what its sender read for it was damaged, or what it wrote \[D3\].
    #[error(
        "the received snapshot is false: {0}. Its data were damaged before they were sent, on that pod or its disk; it is not \
         installed, and requested again"
    )]
    FalseSum(FalseSum),
    /// It is whole, and of a format that this build does not read.
    #[error(
        "the received snapshot has format {found}, and this build reads {}: run a build that reads format {found}",
        readable(*max)
    )]
    Format {
        /// Its format.
        found: u32,
        /// The highest that is read.
        max: u32,
    },
    /// Our own disk did not take it (it may be full). Nothing is lost by that.
    #[error("cannot keep a snapshot: {0}")]
    Disk(#[from] io::Error),
}

/// Collects the pieces of one snapshot in a file of its own, which is gone when this is dropped.
pub struct PartFile {
    disk: Arc<dyn Disk>,
    name: String,
    /// What this build reads.
    format_max: u32,
    file: Box<dyn DiskFile>,
    /// What the first piece announced.
    announced: Option<SnapshotMark>,
    have: u64,
    /// Another owner has it now.
    kept: bool,
}

/// A leader's snapshot: whole, verified, durable under a name of its own. [`crate::volume::journal::Journal::install`] puts
/// it in place.
pub struct ReceivedSnapshot {
    /// Its description.
    pub meta: SnapshotMeta,
    /// Its data.
    pub documents: Documents,
    pub(crate) mark: SnapshotMark,
    pub(crate) part: PartFile,
}

impl PartFile {
    pub(crate) fn create(disk: Arc<dyn Disk>, number: u64, format_max: u32) -> io::Result<PartFile> {
        let name = received(number);
        let file = disk.create(&name)?;
        Ok(PartFile { disk, name, format_max, file, announced: None, have: 0, kept: false })
    }

    /// Keeps a piece. True: it was the last one, and [`PartFile::finish`] may follow. One at offset 0 starts anew. Blocks
    /// on the disk's cache.
    ///
    /// # Errors
    /// `Order`, or `Disk`.
    pub fn push(&mut self, piece: &SnapshotPiece) -> Result<bool, PartError> {
        let mark = SnapshotMark { position: piece.position, length_bytes: piece.length_bytes, crc32: piece.crc32 };
        if piece.offset == 0 {
            self.file = self.disk.create(&self.name)?;
            self.have = 0;
            self.announced = Some(mark);
        }
        let length = piece.bytes.len() as u64;
        let fits = piece.offset == self.have
            && self.announced == Some(mark)
            && self.have.checked_add(length).is_some_and(|end| end <= piece.length_bytes);
        if !fits {
            let (offset, length_bytes, have) = (piece.offset, piece.length_bytes, self.have);
            return Err(PartError::Order { offset, length_bytes, have });
        }
        write_all_at(&*self.file, &piece.bytes, self.have)?;
        self.have += length;
        Ok(self.have == piece.length_bytes)
    }

    /// What has arrived, for a leader that may resume behind it; none before the first piece.
    pub fn part(&self) -> Option<SnapshotPart> {
        let SnapshotMark { position, length_bytes, crc32 } = self.announced?;
        (self.have > 0).then_some(SnapshotPart { position, length_bytes, crc32, have_bytes: self.have })
    }

    /// Makes the whole file durable and reads it. Takes time in proportion to the data: never on an async worker.
    ///
    /// # Errors
    /// `Content` when length, checksum or JSON do not fit what was announced, `Format` when it is of a later one, `FalseSum` when
    /// its data do not have the sum that it says, `Order` when pieces are missing, `Disk`.
    pub fn finish(self) -> Result<ReceivedSnapshot, PartError> {
        let length_bytes = self.announced.map_or(0, |mark| mark.length_bytes);
        let Some(announced) = self.announced.filter(|_| self.have == length_bytes) else {
            return Err(PartError::Order { offset: self.have, length_bytes, have: self.have });
        };
        self.file.sync()?;
        match read(&*self.disk, &self.name, Some(&announced), self.format_max) {
            Ok(Loaded { false_sum: Some(wrong), .. }) => Err(PartError::FalseSum(wrong)),
            Ok(Loaded { meta, documents, mark, false_sum: None }) => {
                Ok(ReceivedSnapshot { meta, documents, mark, part: self })
            }
            Err(VolumeError::Io { source, .. }) => Err(PartError::Disk(source)),
            Err(VolumeError::Format { found, max, .. }) => Err(PartError::Format { found, max }),
            Err(error) => Err(PartError::Content(error)),
        }
    }

    /// The file's name; it stays from here on.
    pub(crate) fn into_name(mut self) -> String {
        self.kept = true;
        std::mem::take(&mut self.name)
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        // If this fails the next start removes it.
        if !self.kept
            && let Err(error) = remove_if_there(&*self.disk, &self.name)
        {
            tracing::debug!(file = self.name, %error, "cannot remove a part of a snapshot");
        }
    }
}
