//! The journal: what was promised and appended, durable before anything else learns of it.
//!
//! ```text
//!   driver ──append──────▶          ┌──────── one OS thread owns the files ────────┐
//!          ──install─────▶  queue ──┤ takes all that waits, one batch, one fdatasync ├──▶ events: Persisted{ticket}…
//!   snapshot thread ─────▶          └───────────────────────────────────────────────┘
//! ```
//!
//! [`Journal`] is the driver's end: calls never wait for the disk. Their outcomes return as [`JournalEvent`]s, in order. A
//! failed write or fsync is final: one `Failed`, and everything after it is refused. The state of a file after a failed
//! fsync is unknown until the next start \[S2\].
//!
//! `segment`: the bytes. `replay`: their meaning. `writer`: writes them. `queue`: what waits. `reserve`: room for a disk
//! that others filled. `need`: when a snapshot is wanted.

mod event;
mod lookup;
mod need;
mod queue;
mod replay;
mod reserve;
pub(crate) mod segment;
mod thread;
mod writer;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod format_tests;
#[cfg(test)]
mod room_tests;
#[cfg(test)]
mod tests;

pub use event::{JournalError, JournalEvent, JournalFigures};
pub use lookup::LookUpAnswer;
use queue::Command;
pub(crate) use replay::{Replay, numbers, replay};
pub(crate) use reserve::recycle;
pub(crate) use segment::{file_name, number_of};
pub(crate) use thread::{Shared, run};
pub(crate) use writer::{OnFsync, Writer, name_snapshot, stage};

use crate::progress::Amount;
use crate::volume::disk::Disk;
use crate::volume::disk::watch::DiskWatch;
use crate::volume::files::{SNAPSHOT, SNAPSHOT_TAKEN};
use crate::volume::snapshot::{self, PartFile, ReceivedSnapshot, SnapshotFile};
use leasehold_documents::Documents;
use leasehold_replication::{Diverged, DurableState, Entry, Position, Record, SnapshotMeta, Ticket, WentBack};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// The driver's end of the journal. Clones share it; when the last one is dropped, what waits is still written.
#[derive(Clone)]
pub struct Journal {
    handle: Arc<Handle>,
}

struct Handle {
    disk: Arc<dyn Disk>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    watch: Arc<DiskWatch>,
    /// What this build reads of a snapshot that is received.
    format_build: u32,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

impl Journal {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        shared: Arc<Shared>,
        thread: JoinHandle<()>,
        watch: Arc<DiskWatch>,
        format_build: u32,
    ) -> Journal {
        Journal { handle: Arc::new(Handle { disk, shared, thread: Mutex::new(Some(thread)), watch, format_build }) }
    }

    /// Knows which write or fsync of the journal's thread is under way.
    pub fn disk_watch(&self) -> &Arc<DiskWatch> {
        &self.handle.watch
    }

    /// Makes these records durable, in this order, after all that was appended before, in a segment of that format or a
    /// later one. `Persisted` follows, of this ticket or a later one.
    ///
    /// # Errors
    /// `Full`, `Closed`: nothing was taken, so this incarnation's log would have a hole: end it.
    pub fn append(&self, ticket: Ticket, format: u32, records: Vec<Record>) -> Result<(), JournalError> {
        self.push(Command::Append { ticket, format, records })
    }

    /// Puts a received snapshot in the place of the whole log: a segment of that format (or a later one) with `state`, the snapshot's mark and nothing
    /// else begins. `Persisted` follows.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn install(
        &self,
        ticket: Ticket,
        snapshot: ReceivedSnapshot,
        state: DurableState,
        format: u32,
    ) -> Result<(), JournalError> {
        let ReceivedSnapshot { mark, part, .. } = snapshot;
        self.push(Command::Install { ticket, mark, part, state, format })
    }

    /// Puts `documents`, which were restored, in the place of the log of an empty volume, as a snapshot at `meta.position`:
    /// a segment of that format (or a later one) with `state`, the snapshot's mark and `entry` begins. Then the file that
    /// they were read from is removed. `Persisted` follows.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn restore(
        &self,
        ticket: Ticket,
        (meta, documents): (SnapshotMeta, Documents),
        (state, format): (DurableState, u32),
        entry: Entry,
    ) -> Result<(), JournalError> {
        self.push(Command::Restore { ticket, meta, documents: Box::new(documents), state, format, entry })
    }

    /// Begins to write a snapshot of `documents`, on a thread of its own, while the journal continues. `meta.position` is
    /// the last entry that was applied to them. `SnapshotTaken` or `SnapshotDropped` follows, before that `SumIsFalse` if
    /// they do not have their sum. False: one is being taken
    /// already, no thread could be started, or the journal ended.
    pub fn take_snapshot(&self, meta: SnapshotMeta, documents: Documents) -> bool {
        let shared = self.handle.shared.clone();
        if shared.taking.swap(true, Ordering::AcqRel) {
            return false;
        }
        let disk = self.handle.disk.clone();
        shared.written.begin(documents.stored_bytes());
        let write = move || {
            // After a panic the journal must not wait for a snapshot that never arrives.
            let written = AssertUnwindSafe(|| {
                documents.check_sum()?;
                let mark = snapshot::write_counted(&*disk, SNAPSHOT_TAKEN, &meta, &documents, &shared.written)?;
                Ok((mark, meta.voters.format))
            });
            let result = catch_unwind(written).unwrap_or_else(|_| Err(io::Error::other("writing it panicked").into()));
            // Closed or full: the journal is over, or will be.
            let _ = shared.queue.push(Command::SnapshotWritten { result });
        };
        let begun = self.handle.shared.help("snapshot", write);
        if let Err(error) = &begun {
            tracing::warn!(%error, "cannot start a thread for a snapshot");
            self.handle.shared.taking.store(false, Ordering::Release);
        }
        begun.is_ok()
    }

    /// Is the live journal longer than max(limit, the snapshot's length), and no snapshot being taken?
    pub fn wants_snapshot(&self) -> bool {
        let shared = &self.handle.shared;
        shared.wanted.load(Ordering::Acquire) && !shared.taking.load(Ordering::Acquire)
    }

    /// The progress of the snapshot that is being taken; `None` while none is.
    pub fn taking(&self) -> Option<Amount> {
        let shared = &self.handle.shared;
        shared.taking.load(Ordering::Acquire).then(|| shared.written.amount())
    }

    /// The newest snapshot, to be sent; `None` if there is none. Stays readable when a newer one replaces it.
    ///
    /// # Errors
    /// Errors of the disk.
    pub fn open_snapshot(&self) -> io::Result<Option<SnapshotFile>> {
        // The lock is held while a new one gets the name, so file and mark belong together.
        let newest = self.handle.shared.newest();
        let Some(mark) = *newest else { return Ok(None) };
        Ok(Some(SnapshotFile::new(self.handle.disk.open(SNAPSHOT)?, mark)))
    }

    /// A file for the pieces of a leader's snapshot.
    ///
    /// # Errors
    /// Errors of the disk. Not final.
    pub fn part_file(&self) -> io::Result<PartFile> {
        let number = self.handle.shared.parts.fetch_add(1, Ordering::Relaxed);
        PartFile::create(self.handle.disk.clone(), number, self.handle.format_build)
    }

    /// Notes the commit for a later run: a hint, whose outcome is not reported.
    pub fn note_committed(&self, position: Position) {
        let _ = self.push(Command::NoteCommitted { position });
    }

    /// Marks the volume as one that went back in time, after everything that waits. `Persisted` follows.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn mark_went_back(&self, ticket: Ticket, mark: WentBack) -> Result<(), JournalError> {
        self.push(Command::MarkWentBack { ticket, mark })
    }

    /// Marks the volume as one whose data have diverged, after everything that waits. `Persisted` follows.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn mark_diverged(&self, ticket: Ticket, mark: Diverged) -> Result<(), JournalError> {
        self.push(Command::MarkDiverged { ticket, mark })
    }

    /// Reads entries back, starting with the one after `after`, about `bytes_max` bytes of them and at least one. Not for
    /// entries that are not durable, nor for those in a snapshot. The answer comes on a thread of its own.
    pub fn look_up(&self, after: Position, bytes_max: usize, answer: LookUpAnswer) {
        // Closed or full: the command is dropped, and its answer says so.
        let _ = self.push(Command::LookUp { after, bytes_max, answer });
    }

    /// Empties the volume after everything that waits. `Wiped` follows, and nothing else is accepted. The next start makes
    /// a new replica.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn wipe(&self) -> Result<(), JournalError> {
        self.push(Command::Wipe)
    }

    /// May more be appended without risking `Full`? If not, accept no more proposals and read no more frames.
    pub fn has_room(&self) -> bool {
        self.handle.shared.queue.has_room()
    }

    /// Figures for metrics and the status.
    pub fn figures(&self) -> JournalFigures {
        let queued_bytes = self.handle.shared.queue.bytes();
        JournalFigures { queued_bytes, ..*self.handle.shared.figures() }
    }

    /// The approximate length of a snapshot of the present data; and whether the disk is short of room, or memory because
    /// of the log, so that a snapshot that frees some is wanted at once.
    pub fn set_need(&self, next_snapshot_bytes: u64, disk_is_short: bool, log_is_large: bool) {
        let shared = &self.handle.shared;
        shared.next_snapshot.store(next_snapshot_bytes.max(1), Ordering::Relaxed); // 0: unknown
        shared.short.store(disk_is_short, Ordering::Relaxed);
        shared.short_of_memory.store(log_is_large, Ordering::Relaxed);
    }

    /// Accepts nothing more, and waits until everything that waits is written and the volume is released.
    pub fn close(&self) {
        self.handle.shared.queue.close();
        let thread = self.handle.thread.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the journal's thread panicked");
        }
        self.handle.shared.join_helpers();
    }

    fn push(&self, command: Command) -> Result<(), JournalError> {
        self.handle.shared.queue.push(command)
    }
}
