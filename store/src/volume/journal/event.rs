//! What the journal reports to the driver.

use std::io;

use leasehold_replication::{Position, Ticket};

use crate::volume::disk::Space;
use leasehold_documents::FalseSum;

/// The journal's events, in order. Sent on the journal's own thread: a callback must not wait for the driver to call the
/// journal (every call of [`Journal`](super::Journal) returns at once, so a bounded channel is fine).
#[derive(Debug)]
pub enum JournalEvent {
    /// Everything up to this ticket is durable.
    Persisted {
        /// The last of them.
        ticket: Ticket,
    },
    /// The live journal is longer than max(limit, the snapshot's length): time for
    /// [`Journal::take_snapshot`](super::Journal::take_snapshot). Sent once until a snapshot is taken;
    /// [`Journal::wants_snapshot`](super::Journal::wants_snapshot) holds throughout.
    SnapshotWanted,
    /// A snapshot of our own is durable and in place.
    SnapshotTaken {
        /// The last entry that it holds.
        position: Position,
    },
    /// A snapshot of our own could not be written aside, or was too late. Nothing is lost; another one may follow.
    SnapshotDropped {
        /// The reason.
        reason: String,
    },
    /// The data that were to be written as a snapshot are damaged \[D3\]; nothing was written. `SnapshotDropped` follows.
    SumIsFalse(FalseSum),
    /// The volume is empty ([`Journal::wipe`](super::Journal::wipe)). Nothing follows.
    Wiped,
    /// A write or fsync failed (the disk may be full). Final: nothing follows, everything is refused.
    Failed {
        /// The cause.
        error: io::Error,
    },
}

/// Why the journal accepts nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// It failed or was closed. This incarnation is over.
    #[error("the journal failed or was closed")]
    Closed,
    /// The disk does not keep up, and too much waits already ([`Journal::has_room`](super::Journal::has_room) was not
    /// checked). Nothing was accepted.
    #[error("too many writes are waiting for the disk")]
    Full,
}

/// Figures for metrics and the status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalFigures {
    /// Bytes of the entries that no snapshot contains.
    pub live_bytes: u64,
    /// Segments that a start would read.
    pub segments: u64,
    /// Batches (so: fdatasyncs) since the start.
    pub batches: u64,
    /// Bytes of records since the start.
    pub written_bytes: u64,
    /// Bytes that wait.
    pub queued_bytes: u64,
    /// The length of the snapshot, 0 without one.
    pub snapshot_bytes: u64,
    /// The position of the snapshot.
    pub snapshot_position: Position,
    /// The room of the volume's file system, as last seen; `None` if unknown.
    pub space: Option<Space>,
    /// What is certain to fit before the disk is full, including the reserve for deletes.
    pub writable_bytes: u64,
    /// The length of a segment.
    pub segment_bytes: u64,
    /// Segments in reserve, of two.
    pub reserve_segments: u64,
}

impl JournalFigures {
    /// Almost no room is left: the rest is for promises, voters and the first entry of a term.
    pub fn is_full(&self) -> bool {
        self.writable_bytes < self.queued_bytes.saturating_add(self.segment_bytes / 2)
    }
}
