//! The most recent changes, for watchers.
//!
//! ```text
//!   driver ──note (each entry, with what it changed), tell──▶ History ──after──▶ watchers, each with a position of its own
//!   snapshot of a leader installed ──restart──▶ what was before is not known here
//! ```
//!
//! Of each entry that it reaches back to it also keeps a [`Mark`]: the hashes of the data after it, so that a watcher that
//! keeps the changes elsewhere can check that nothing is missing.
//!
//! A watcher keeps only its position; what it has not read waits here, once for all of them. The bound is in bytes: the
//! oldest changes go first, and a watcher that has not read them by then has a gap and is notified ([`Gone`]), never
//! skipped over. After a restart the journal is applied again from its snapshot on, so the history reaches back to that.

use bytes::Bytes;
use leasehold_documents::{Change, Documents, Record};
use leasehold_replication::{Seq, Sum};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Bytes of changes that are kept by default.
pub const HISTORY_BYTES: usize = 16 * 1024 * 1024;
/// What a change uses beside its record.
pub(crate) const CHANGE_BYTES: usize = 200;

/// What the data are after an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The entry.
    pub seq: Seq,
    /// The latest time that a leader wrote into an entry up to here, in milliseconds since 1970; 0: none did.
    pub time_ms: u64,
    /// Of records, their creation numbers, and definitions.
    pub data: Sum,
    /// Of the answers that are kept under keys.
    pub keys: Sum,
}

/// The changes of one entry. Watchers receive it whole.
#[derive(Debug)]
pub struct Commit {
    /// The entry, and the data after it.
    pub mark: Mark,
    /// At least one.
    pub changes: Vec<Change>,
    bytes: usize,
    /// As watchers receive it: of one collection, or (the empty name) of all. Few commits have one, and hardly any two.
    told: Mutex<Vec<(Box<str>, Bytes)>>,
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

#[derive(Debug)]
struct Ring {
    /// Of the entry after which every change is here, and of each one after it. At least one.
    marks: VecDeque<Mark>,
    commits: VecDeque<Arc<Commit>>,
    bytes: usize,
    /// How many changes they hold.
    changes: usize,
}

impl History {
    /// Nothing yet.
    pub fn new(bytes_max: usize) -> History {
        let ring = Ring::after(Mark::of(&Documents::new()));
        History { ring: Mutex::new(ring), latest: watch::channel(Seq(0)).0, bytes_max }
    }

    /// Bytes of changes that are kept.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Only what comes after `mark` will be known.
    pub fn restart(&self, mark: Mark) {
        *self.lock() = Ring::after(mark);
        self.latest.send_replace(mark.seq);
    }

    /// The entry after the last one was applied, and changed this (usually nothing, for entries that are not writes).
    ///
    /// # Panics
    /// When it is another one: watchers would miss what is between.
    pub fn note(&self, mark: Mark, changes: Vec<Change>) {
        let mut ring = self.lock();
        let (latest, next) = (ring.latest(), mark.seq);
        assert!(next == latest.next(), "the changes of entry {next} do not follow those of {latest}");
        ring.marks.push_back(mark);
        if !changes.is_empty() {
            let of_record = |change: &Change| match change {
                Change::Record(change) => change.record.as_ref().map_or(0, |record: &Record| record.as_str().len()),
                Change::Definition { definition, .. } => {
                    let schemas = definition.iter().filter_map(|definition| definition.schema.as_ref());
                    schemas.map(|schema| schema.len()).sum()
                }
            };
            // This alone may keep a record alive, and once more as the text for watchers.
            let bytes = changes.iter().map(|change| CHANGE_BYTES + 2 * of_record(change)).sum();
            ring.bytes += bytes;
            ring.changes += changes.len();
            ring.commits.push_back(Arc::new(Commit { mark, changes, bytes, told: Mutex::default() }));
        }
        // The newest one stays, however large it is.
        while ring.bytes + ring.idle() * size_of::<Mark>() > self.bytes_max && ring.marks.len() > 2 {
            ring.forget_one();
        }
    }

    /// Wakes those who wait for what was noted.
    pub fn tell(&self) {
        let latest = self.lock().latest();
        self.latest.send_if_modified(|told| std::mem::replace(told, latest) != latest);
    }

    /// The first changes after `seq`, at most `count`; and up to where they are complete: more may follow after that.
    ///
    /// # Errors
    /// [`Gone`]: this replica no longer has some of them.
    pub fn after(&self, seq: Seq, count: usize) -> Result<(Vec<Arc<Commit>>, Seq), Gone> {
        let ring = self.lock();
        let oldest = ring.oldest();
        if seq < oldest {
            return Err(Gone { oldest });
        }
        let first = ring.commits.partition_point(|commit| commit.mark.seq <= seq);
        let taken: Vec<Arc<Commit>> = ring.commits.range(first..).take(count).cloned().collect();
        let upto = match taken.last() {
            Some(last) if taken.len() == count => last.mark.seq,
            _ => ring.latest().max(seq),
        };
        Ok((taken, upto))
    }

    /// What the data were after that entry; none if it is not known any longer, or not yet.
    pub fn mark(&self, seq: Seq) -> Option<Mark> {
        let ring = self.lock();
        let at = usize::try_from(seq.0.checked_sub(ring.oldest().0)?).ok()?;
        ring.marks.get(at).copied()
    }

    /// Notifies of each [`History::tell`].
    pub fn news(&self) -> watch::Receiver<Seq> {
        self.latest.subscribe()
    }

    /// The memory that it uses, approximately: records that are still in the documents are counted here, too.
    pub fn memory_bytes(&self) -> u64 {
        let ring = self.lock();
        // `bytes` counts each record twice, for its text; few have one.
        ((ring.bytes + ring.changes * CHANGE_BYTES) / 2 + ring.marks.len() * size_of::<Mark>()) as u64
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

impl Ring {
    fn after(mark: Mark) -> Ring {
        Ring { marks: VecDeque::from([mark]), commits: VecDeque::new(), bytes: 0, changes: 0 }
    }

    /// Every change after this one is here.
    fn oldest(&self) -> Seq {
        self.marks.front().expect("there is at least one").seq
    }

    /// Every entry up to this one was examined.
    fn latest(&self) -> Seq {
        self.marks.back().expect("there is at least one").seq
    }

    /// Entries that changed nothing.
    fn idle(&self) -> usize {
        self.marks.len() - 1 - self.commits.len()
    }

    fn forget_one(&mut self) {
        self.marks.pop_front();
        let oldest = self.oldest();
        let is_its = self.commits.front().is_some_and(|commit| commit.mark.seq == oldest);
        if let Some(commit) = is_its.then(|| self.commits.pop_front()).flatten() {
            self.bytes -= commit.bytes;
            self.changes -= commit.changes.len();
        }
    }
}

impl Mark {
    /// Of these data.
    pub fn of(documents: &Documents) -> Mark {
        let seq = documents.applied().seq;
        Mark { seq, time_ms: documents.time_ms(), data: documents.data_sum(), keys: documents.keys_sum() }
    }
}

impl Commit {
    /// The text that watchers of that collection (none: of all) receive, made once for all of them.
    pub fn told(&self, collection: Option<&str>, tell: impl FnOnce(&Commit) -> Bytes) -> Bytes {
        let name = collection.unwrap_or_default();
        // Nothing in here panics halfway.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, text)) = told.iter().find(|(known, _)| **known == *name) {
            return text.clone();
        }
        let text = tell(self);
        told.push((name.into(), text.clone()));
        text
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use leasehold_documents::{ChangeKind, Id, RecordChange};

    fn mark(seq: u64) -> Mark {
        Mark { seq: Seq(seq), time_ms: seq, data: Sum(seq.into()), keys: Sum(0) }
    }

    fn change(bytes: usize) -> Vec<Change> {
        let record = Some(Record::from("x".repeat(bytes)));
        let (collection, id, kind) = ("persons".into(), Id::NONE, ChangeKind::Created);
        vec![Change::Record(RecordChange { collection, id, number: 1, kind, record })]
    }

    fn after(history: &History, seq: u64, count: usize) -> Result<(Vec<u64>, u64), u64> {
        let taken = history.after(Seq(seq), count).map_err(|gone| gone.oldest.0)?;
        Ok((taken.0.iter().map(|commit| commit.mark.seq.0).collect(), taken.1.0))
    }

    #[test]
    fn each_change_is_told_once_in_order_and_entries_without_one_are_passed() {
        let history = History::new(HISTORY_BYTES);
        history.restart(mark(10));
        for seq in 11..=20 {
            history.note(mark(seq), if seq % 2 == 0 { change(10) } else { Vec::new() });
        }
        assert_eq!(after(&history, 10, 2), Ok((vec![12, 14], 14)));
        assert_eq!(after(&history, 14, 100), Ok((vec![16, 18, 20], 20)));
        assert_eq!(after(&history, 13, 1), Ok((vec![14], 14)));
        history.note(mark(21), Vec::new());
        assert_eq!(after(&history, 20, 100), Ok((vec![], 21)));
        assert_eq!(after(&history, 30, 100), Ok((vec![], 30)), "another replica may be ahead of this one");
    }

    #[test]
    fn what_is_not_known_any_more_is_gone_and_never_left_out() {
        let history = History::new(10_000);
        history.restart(mark(5));
        assert_eq!(after(&history, 4, 1), Err(5));
        for seq in 6..=30 {
            history.note(mark(seq), change(400));
        }
        assert_eq!(after(&history, 20, 100), Ok((vec![21, 22, 23, 24, 25, 26, 27, 28, 29, 30], 30)));
        assert_eq!(after(&history, 19, 100), Err(20));
        history.note(mark(31), change(100_000));
        assert_eq!(after(&history, 30, 100), Ok((vec![31], 31)), "the newest is always here");
        history.restart(mark(40));
        assert_eq!(after(&history, 31, 100), Err(40), "a snapshot took the place of what was between");
    }

    #[test]
    fn the_hashes_after_each_entry_are_known_as_far_as_its_changes() {
        let history = History::new(10_000);
        history.restart(mark(5));
        assert_eq!((history.mark(Seq(4)), history.mark(Seq(5)), history.mark(Seq(6))), (None, Some(mark(5)), None));
        for seq in 6..=30 {
            history.note(mark(seq), if seq % 2 == 0 { change(400) } else { Vec::new() });
        }
        let oldest = (0..=30).find(|seq| after(&history, *seq, 1).is_ok()).unwrap();
        assert!((6..30).contains(&oldest), "{oldest}");
        for seq in 0..40 {
            let known = (oldest..=30).contains(&seq).then(|| mark(seq));
            assert_eq!(history.mark(Seq(seq)), known, "{seq}");
        }
    }

    #[test]
    fn entries_without_changes_do_not_fill_the_memory() {
        let history = History::new(10_000);
        for seq in 1..=10_000 {
            history.note(mark(seq), Vec::new());
        }
        assert!(history.memory_bytes() < 20_000, "{}", history.memory_bytes());
        assert_eq!((after(&history, 9_999, 1), history.mark(Seq(10_000))), (Ok((vec![], 10_000)), Some(mark(10_000))));
    }

    #[test]
    fn the_text_of_a_commit_is_made_once_for_each_collection_and_once_for_all() {
        let history = History::new(10_000);
        history.note(mark(1), change(10));
        let (commits, _) = history.after(Seq(0), 1).unwrap();
        let mut made = 0;
        for name in [Some("persons"), None, Some("orders"), Some("persons"), None] {
            let text = commits[0].told(name, |_| {
                made += 1;
                Bytes::from(format!("{name:?}"))
            });
            assert_eq!(text, format!("{name:?}"));
        }
        assert_eq!(made, 3);
    }
}
