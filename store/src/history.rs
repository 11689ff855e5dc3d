//! The most recent changes, for watchers.
//!
//! ```text
//!   driver ──note (each entry that changed something), tell──▶ History ──after──▶ watchers, each with a position of its own
//!   snapshot of a leader installed ──restart──▶ what was before is not known here
//! ```
//!
//! A watcher keeps only its position; what it has not read waits here, once for all of them. The bound is in bytes: the
//! oldest changes go first, and a watcher that has not read them by then has a gap and is notified ([`Gone`]), never
//! skipped over. After a restart the journal is applied again from its snapshot on, so the history reaches back to that.

use bytes::Bytes;
use leasehold_documents::{Change, Record};
use leasehold_replication::Seq;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::watch;

/// Bytes of changes that are kept by default.
pub const HISTORY_BYTES: usize = 16 * 1024 * 1024;
/// What a change uses beside its record.
const CHANGE_BYTES: usize = 200;

/// The changes of one entry. Watchers receive it whole.
#[derive(Debug)]
pub struct Commit {
    /// The entry.
    pub seq: Seq,
    /// At least one.
    pub changes: Vec<Change>,
    bytes: usize,
    told: OnceLock<Bytes>,
}

/// This replica no longer has all changes after that sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Those after this one are available.
    pub oldest: Seq,
}

/// See the module.
#[derive(Debug)]
pub struct History {
    ring: Mutex<Ring>,
    latest: watch::Sender<Seq>,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Ring {
    /// Every change after this one is here.
    oldest: Seq,
    /// Every entry up to this one was examined.
    latest: Seq,
    commits: VecDeque<Arc<Commit>>,
    bytes: usize,
    /// How many changes they hold.
    changes: usize,
}

impl History {
    /// Nothing yet.
    pub fn new(bytes_max: usize) -> History {
        History { ring: Mutex::default(), latest: watch::channel(Seq(0)).0, bytes_max }
    }

    /// Only what comes after `seq` will be known.
    pub fn restart(&self, seq: Seq) {
        *self.lock() = Ring { oldest: seq, latest: seq, ..Ring::default() };
        self.latest.send_replace(seq);
    }

    /// The entry after the last one was applied and changed this (usually nothing, for entries that are not writes).
    pub fn note(&self, seq: Seq, changes: Vec<Change>) {
        let mut ring = self.lock();
        ring.latest = seq;
        if changes.is_empty() {
            return;
        }
        let of_record = |change: &Change| match change {
            Change::Record(change) => change.record.as_ref().map_or(0, |record: &Record| record.as_str().len()),
            Change::Definition { definition, .. } => {
                definition.iter().filter_map(|definition| definition.schema.as_ref()).map(|schema| schema.len()).sum()
            }
        };
        // This alone may keep a record alive, and once more as the text for watchers.
        let bytes = changes.iter().map(|change| CHANGE_BYTES + 2 * of_record(change)).sum();
        ring.bytes += bytes;
        ring.changes += changes.len();
        ring.commits.push_back(Arc::new(Commit { seq, changes, bytes, told: OnceLock::new() }));
        while ring.bytes > self.bytes_max && ring.commits.len() > 1 {
            let Some(oldest) = ring.commits.pop_front() else { return };
            ring.bytes -= oldest.bytes;
            ring.changes -= oldest.changes.len();
            ring.oldest = oldest.seq;
        }
    }

    /// Wakes those who wait for what was noted.
    pub fn tell(&self) {
        let latest = self.lock().latest;
        self.latest.send_if_modified(|told| std::mem::replace(told, latest) != latest);
    }

    /// The first changes after `seq`, at most `count`; and up to where they are complete: more may follow after that.
    ///
    /// # Errors
    /// [`Gone`]: this replica no longer has some of them.
    pub fn after(&self, seq: Seq, count: usize) -> Result<(Vec<Arc<Commit>>, Seq), Gone> {
        let ring = self.lock();
        if seq < ring.oldest {
            return Err(Gone { oldest: ring.oldest });
        }
        let first = ring.commits.partition_point(|commit| commit.seq <= seq);
        let taken: Vec<Arc<Commit>> = ring.commits.range(first..).take(count).cloned().collect();
        let upto = match taken.last() {
            Some(last) if taken.len() == count => last.seq,
            _ => ring.latest.max(seq),
        };
        Ok((taken, upto))
    }

    /// Notifies of each [`History::tell`].
    pub fn news(&self) -> watch::Receiver<Seq> {
        self.latest.subscribe()
    }

    /// The memory that it uses, approximately: records that are still in the documents are counted here, too.
    pub fn memory_bytes(&self) -> u64 {
        let ring = self.lock();
        // `bytes` counts each record twice, for its text; few have one.
        (ring.bytes + ring.changes * CHANGE_BYTES) as u64 / 2
    }

    /// How many wait for news.
    pub fn watchers(&self) -> usize {
        self.latest.receiver_count()
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        // Nothing in here panics halfway.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Commit {
    /// The text that watchers receive, made once for all of them.
    pub fn told(&self, tell: impl FnOnce(&Commit) -> Bytes) -> Bytes {
        self.told.get_or_init(|| tell(self)).clone()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use leasehold_documents::{ChangeKind, Id, RecordChange};

    fn change(bytes: usize) -> Vec<Change> {
        let record = Some(Record::from("x".repeat(bytes)));
        let (collection, id, kind) = ("persons".into(), Id::NONE, ChangeKind::Created);
        vec![Change::Record(RecordChange { collection, id, number: 1, kind, record })]
    }

    fn after(history: &History, seq: u64, count: usize) -> Result<(Vec<u64>, u64), u64> {
        let taken = history.after(Seq(seq), count).map_err(|gone| gone.oldest.0)?;
        Ok((taken.0.iter().map(|commit| commit.seq.0).collect(), taken.1.0))
    }

    #[test]
    fn each_change_is_told_once_in_order_and_entries_without_one_are_passed() {
        let history = History::new(HISTORY_BYTES);
        history.restart(Seq(10));
        for seq in 11..=20 {
            history.note(Seq(seq), if seq % 2 == 0 { change(10) } else { Vec::new() });
        }
        assert_eq!(after(&history, 10, 2), Ok((vec![12, 14], 14)));
        assert_eq!(after(&history, 14, 100), Ok((vec![16, 18, 20], 20)));
        assert_eq!(after(&history, 13, 1), Ok((vec![14], 14)));
        history.note(Seq(21), Vec::new());
        assert_eq!(after(&history, 20, 100), Ok((vec![], 21)));
        assert_eq!(after(&history, 30, 100), Ok((vec![], 30)), "another replica may be ahead of this one");
    }

    #[test]
    fn what_is_not_known_any_more_is_gone_and_never_left_out() {
        let history = History::new(10_000);
        history.restart(Seq(5));
        assert_eq!(after(&history, 4, 1), Err(5));
        for seq in 6..=30 {
            history.note(Seq(seq), change(400));
        }
        assert_eq!(after(&history, 20, 100), Ok((vec![21, 22, 23, 24, 25, 26, 27, 28, 29, 30], 30)));
        assert_eq!(after(&history, 19, 100), Err(20));
        history.note(Seq(31), change(100_000));
        assert_eq!(after(&history, 30, 100), Ok((vec![31], 31)), "the newest is always here");
        history.restart(Seq(40));
        assert_eq!(after(&history, 31, 100), Err(40), "a snapshot took the place of what was between");
    }
}
