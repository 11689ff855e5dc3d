//! What waits for the journal's thread: bounded, first in, first out, taken in groups.
//!
//! At the bound nothing more is accepted ([`JournalError::Full`]): a disk that is so far behind does not recover from more
//! work. At half of it the driver is asked to slow down ([`Queue::has_room`]), or at less, if the journal has not set so
//! much room aside: another program may fill the disk meanwhile.

use super::event::JournalError;
use super::lookup::LookUpAnswer;
use super::writer::{BATCH_BYTES, Spare};
use crate::volume::snapshot::PartFile;
use leasehold_documents::{Documents, FalseSum};
use leasehold_replication::{
    Diverged, DurableState, Entry, Position, Record, SnapshotMark, SnapshotMeta, Ticket, WentBack,
};
use std::collections::VecDeque;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

const COMMANDS_MAX: usize = 64 * 1024;
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// How often the thread checks the volume's room while it has no work.
const IDLE: Duration = Duration::from_millis(500);
/// The records of one group.
const GROUP_RECORDS: usize = 4096;

/// Why a snapshot of our own was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotWritten {
    #[error("it could not be written: {0}")]
    Io(#[from] io::Error),
    /// What would have been written is damaged.
    #[error(transparent)]
    FalseSum(#[from] FalseSum),
}

/// Something for the journal's thread.
pub(crate) enum Command {
    Append {
        ticket: Ticket,
        /// Of the segment that they go into, or a later one.
        format: u32,
        records: Vec<Record>,
    },
    Install {
        ticket: Ticket,
        mark: SnapshotMark,
        part: PartFile,
        state: DurableState,
        format: u32,
    },
    /// A first start begins with these data.
    Restore {
        ticket: Ticket,
        meta: SnapshotMeta,
        documents: Box<Documents>,
        state: DurableState,
        format: u32,
        entry: Entry,
    },
    SnapshotWritten {
        /// With its format.
        result: Result<(SnapshotMark, u32), NotWritten>,
    },
    SpareMade {
        result: io::Result<Spare>,
    },
    MarkWentBack {
        ticket: Ticket,
        mark: WentBack,
    },
    MarkDiverged {
        ticket: Ticket,
        mark: Diverged,
    },
    NoteCommitted {
        position: Position,
    },
    ReserveMade {
        result: io::Result<&'static str>,
    },
    /// Read back durable entries.
    LookUp {
        after: Position,
        bytes_max: usize,
        answer: LookUpAnswer,
    },
    Wipe,
}

/// The thread's next task.
pub(crate) enum Work {
    /// Make these durable together, then tell the ticket.
    Group { ticket: Ticket, format: u32, records: Vec<Record>, bytes: usize },
    /// One of the other commands.
    Single(Command),
    /// Nothing arrived for [`IDLE`].
    Idle,
    /// Nothing more will arrive.
    End,
}

/// The queue.
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    /// Notified of a push and of the end.
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    commands: VecDeque<(Command, usize)>,
    bytes: usize,
    /// Room that nobody else can use.
    certain_bytes: u64,
    closed: bool,
}

impl Queue {
    pub(crate) fn new() -> Queue {
        Queue { inner: Mutex::default(), changed: Condvar::new() }
    }

    /// Never waits.
    pub(crate) fn push(&self, command: Command) -> Result<(), JournalError> {
        let bytes = match &command {
            Command::Append { records, .. } => records.iter().map(bytes_of).sum(),
            _ => 0,
        };
        let mut inner = self.lock();
        if inner.closed {
            return Err(JournalError::Closed);
        }
        if inner.commands.len() >= COMMANDS_MAX || inner.bytes + bytes > BYTES_MAX {
            return Err(JournalError::Full);
        }
        inner.bytes += bytes;
        inner.commands.push_back((command, bytes));
        drop(inner);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for work: all appends that wait at the front, up to the bounds of a group, or one other command.
    pub(crate) fn take(&self) -> Work {
        let mut inner = self.lock();
        loop {
            match inner.commands.pop_front() {
                Some((Command::Append { ticket, format, records }, bytes)) => {
                    return inner.group(ticket, format, records, bytes);
                }
                Some((command, bytes)) => {
                    inner.bytes -= bytes;
                    return Work::Single(command);
                }
                None if inner.closed => return Work::End,
                None => {
                    let waited = self.changed.wait_timeout(inner, IDLE);
                    let (waited, outcome) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
                    inner = waited;
                    if outcome.timed_out() && inner.commands.is_empty() && !inner.closed {
                        return Work::Idle;
                    }
                }
            }
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        let inner = self.lock();
        !inner.closed && inner.commands.len() < COMMANDS_MAX / 2 && inner.bytes < inner.bytes_wanted()
    }

    /// This much is certain to fit, whatever happens to the disk.
    pub(crate) fn set_certain(&self, bytes: u64) {
        self.lock().certain_bytes = bytes;
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.lock().bytes as u64
    }

    /// Accepts nothing more. What waits is still handed out.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Accepts nothing more, and forgets what waits.
    pub(crate) fn fail(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.bytes = 0;
        let forgotten = std::mem::take(&mut inner.commands);
        drop(inner);
        // Outside of the lock: dropping a part of a snapshot removes a file.
        drop(forgotten);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Inner {
    /// No more than this may wait. One batch may in any case: only writing creates new segments.
    fn bytes_wanted(&self) -> usize {
        let certain = usize::try_from(self.certain_bytes).unwrap_or(usize::MAX);
        certain.clamp(BATCH_BYTES, BYTES_MAX / 2)
    }

    /// All of it is of one format: what is of a later one goes into another segment.
    fn group(&mut self, mut ticket: Ticket, format: u32, mut records: Vec<Record>, mut bytes: usize) -> Work {
        while bytes < BATCH_BYTES && records.len() < GROUP_RECORDS {
            match self.commands.pop_front() {
                Some((Command::Append { ticket: later, format: of_more, records: more }, length))
                    if of_more == format =>
                {
                    ticket = ticket.max(later);
                    records.extend(more);
                    bytes += length;
                }
                Some(other) => {
                    self.commands.push_front(other);
                    break;
                }
                None => break,
            }
        }
        self.bytes -= bytes;
        Work::Group { ticket, format, records, bytes }
    }
}

fn bytes_of(record: &Record) -> usize {
    match record {
        Record::Entry(entry) => entry.record().len(),
        Record::State(_) | Record::Snapshot(_) => 64,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use leasehold_replication::{Entry, Payload, Term};

    fn push(queue: &Queue, batches: usize) {
        for _ in 0..batches {
            let entry = Entry::new(Position::ZERO, Term(1), Payload::Command(vec![b'x'; BATCH_BYTES].into()));
            queue.push(Command::Append { ticket: Ticket(1), format: 1, records: vec![Record::Entry(entry)] }).unwrap();
        }
    }

    #[test]
    fn no_more_is_asked_for_than_fits_for_certain_and_one_batch_in_any_case() {
        let queue = Queue::new();
        assert!(queue.has_room(), "nothing waits");
        push(&queue, 1);
        assert!(!queue.has_room());
        queue.set_certain(4 * BATCH_BYTES as u64);
        assert!(queue.has_room());
        push(&queue, 3);
        assert!(!queue.has_room());
        queue.set_certain(u64::MAX);
        assert!(queue.has_room());
        push(&queue, BYTES_MAX / 2 / BATCH_BYTES - 4);
        assert!(!queue.has_room(), "half of the bound");
    }
}
