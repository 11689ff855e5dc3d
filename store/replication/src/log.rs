//! The log: a chain of positions after a base, the entries at its end, and the voters along it.
//!
//! ```text
//!   base ── head ── head ── … ── head ── head ── … ── head = last
//!     │                           └─ entry ── … ── entry      in memory: all that is not durable and applied, and
//!     └─ entries on the disk only ─┘                          some bytes before that
//! ```
//!
//! Only followers that lag behind need what is durable and applied. So memory keeps it up to a bound, and beyond that it is
//! read back from the journal: a slow follower costs no memory. What the journal no longer has (it is in a snapshot) is
//! before the base as soon as it leaves the memory.
//!
//! Invariants: heads follow each other without a hole, from `base`; `entries` are the last of them; whatever is not in
//! memory is behind the newest snapshot. `voters` holds the chain's sets; the first is in force at `base`.

use crate::plants::{Committed, appended_voters_count};
use crate::{Entry, Payload, Position, Recovered, Seq, SnapshotMeta, Term, Voters};
use std::collections::VecDeque;

/// What an entry needs beside its record: itself, and the allocator's overhead for its bytes.
const ENTRY_BYTES: usize = 192;

/// See the module.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Log {
    /// The position before the first available entry, in memory or on the disk.
    base: Position,
    /// What is known of every entry.
    heads: VecDeque<Head>,
    /// The last of them.
    entries: VecDeque<Entry>,
    entries_bytes: usize,
    /// How many bytes of records precede `base`, counted from some fixed point.
    base_end: u64,
    /// Every set of voters of the chain, with the sequence from which it counts; never empty.
    voters: Vec<(Seq, Voters)>,
    /// The position of the newest snapshot on the volume; `ZERO` without one. Never before `base`.
    snapshot: Position,
    /// For a planted fault.
    committed: Committed,
}

/// What is kept for every entry.
#[derive(Clone, Copy, Debug, Hash)]
struct Head {
    term: Term,
    /// How many bytes of records there are up to its end, counted as [`Log::base_end`].
    end: u64,
}

impl Log {
    /// The log as found on the volume.
    pub(crate) fn new(recovered: &Recovered) -> Log {
        let (base, voters) = match &recovered.snapshot {
            Some(meta) => (meta.position, meta.voters.clone()),
            None => (Position::ZERO, Voters::none()),
        };
        let mut log = Log {
            base,
            heads: VecDeque::new(),
            entries: VecDeque::new(),
            entries_bytes: 0,
            base_end: 0,
            voters: vec![(base.seq, voters)],
            snapshot: base,
            committed: Committed::default(),
        };
        log.note_committed(base.seq);
        for entry in &recovered.entries {
            log.append(entry.clone());
        }
        log
    }

    /// Starts anew after a received snapshot.
    pub(crate) fn reset(&mut self, meta: &SnapshotMeta) {
        self.base = meta.position;
        self.snapshot = meta.position;
        self.heads.clear();
        self.entries.clear();
        self.entries_bytes = 0;
        self.voters = vec![(meta.position.seq, meta.voters.clone())];
    }

    /// The memory that the entries use, approximately.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.entries_bytes + self.entries.len() * ENTRY_BYTES + self.heads.len() * size_of::<Head>()
    }

    pub(crate) fn last(&self) -> Position {
        match self.heads.back() {
            Some(head) => Position { term: head.term, seq: Seq(self.base.seq.0 + self.heads.len() as u64) },
            None => self.base,
        }
    }

    pub(crate) fn snapshot(&self) -> Position {
        self.snapshot
    }

    pub(crate) fn base(&self) -> Position {
        self.base
    }

    /// The sequence before the first entry in memory.
    fn dropped_upto(&self) -> Seq {
        Seq(self.last().seq.0 - self.entries.len() as u64)
    }

    /// The position at that sequence; none before the base.
    pub(crate) fn position_at(&self, seq: Seq) -> Option<Position> {
        match seq.0.checked_sub(self.base.seq.0)? {
            0 => Some(self.base),
            count => self.heads.get(count as usize - 1).map(|head| Position { term: head.term, seq }),
        }
    }

    /// Bytes of all records behind that sequence; none before the base.
    pub(crate) fn bytes_after(&self, seq: Seq) -> Option<u64> {
        let end = match seq.0.checked_sub(self.base.seq.0)? {
            0 => self.base_end,
            count => self.heads.get(count as usize - 1)?.end,
        };
        Some(self.end() - end)
    }

    fn end(&self) -> u64 {
        self.heads.back().map_or(self.base_end, |head| head.end)
    }

    pub(crate) fn contains(&self, position: Position) -> bool {
        self.position_at(position.seq) == Some(position)
    }

    /// The last position in memory that this log could share with a log that contains `other`: of no later term and no
    /// later sequence. None: that lies before the base.
    pub(crate) fn at_most(&self, other: Position) -> Option<Position> {
        let mut seq = other.seq.min(self.last().seq);
        loop {
            let position = self.position_at(seq)?;
            if position.term <= other.term {
                return Some(position);
            }
            seq = Seq(seq.0.checked_sub(1)?);
        }
    }

    pub(crate) fn append(&mut self, entry: Entry) {
        let last = self.last();
        assert!(entry.previous == last, "entry {} names {} but the log ends at {last}", entry.position, entry.previous);
        if let Payload::Voters(voters) = &entry.payload {
            self.voters.push((entry.position.seq, voters.clone()));
        }
        self.heads.push_back(Head { term: entry.position.term, end: self.end() + entry.record().len() as u64 });
        self.entries_bytes += entry.record().len();
        self.entries.push_back(entry);
    }

    /// Drops all entries after `keep`. The voters that were in force there are in force again \[S7\].
    pub(crate) fn cut(&mut self, keep: Seq) {
        assert!(keep >= self.base.seq, "a cut to {keep} reaches before the snapshot at {}", self.base);
        while self.last().seq > keep {
            self.heads.pop_back();
            self.entries_bytes -= self.entries.pop_back().map_or(0, |entry| entry.record().len());
        }
        let base = self.base.seq;
        self.voters.retain(|(seq, _)| *seq <= keep.max(base));
    }

    /// The last set of voters in the log, committed or not \[S7\].
    pub(crate) fn voters(&self) -> &Voters {
        let last = &self.voters.last().expect("the base's set is always there").1;
        if appended_voters_count() { last } else { self.committed.voters(&self.voters).unwrap_or(last) }
    }

    /// This much is committed: a planted fault asks for it.
    pub(crate) fn note_committed(&mut self, upto: Seq) {
        self.committed.note(upto);
    }

    /// The sequence from which [`Log::voters`] counts.
    pub(crate) fn voters_since(&self) -> Seq {
        self.voters.last().expect("the base's set is always there").0
    }

    /// The voters in force at that sequence.
    pub(crate) fn voters_at(&self, at: Seq) -> &Voters {
        let found = self.voters.iter().rev().find(|(seq, _)| *seq <= at);
        &found.unwrap_or_else(|| self.voters.first().expect("the base's set is always there")).1
    }

    /// The first entry from which on the voters have that format or a later one; none where that is before the base.
    pub(crate) fn first_of_format(&self, format: u32) -> Option<Seq> {
        let behind = self.voters.iter().skip(1);
        behind.filter(|(_, voters)| voters.format >= format).map(|(seq, _)| *seq).next()
    }

    /// Entries from `from` on, at least one if there is one, of about `bytes_max` together. None: the first one is on the
    /// disk only.
    pub(crate) fn range(&self, from: Seq, bytes_max: usize) -> Option<Vec<Entry>> {
        let skip = from.0.checked_sub(self.dropped_upto().0 + 1)? as usize;
        let mut bytes = 0;
        let mut taken = Vec::new();
        for entry in self.entries.iter().skip(skip) {
            bytes += entry.record().len();
            if !taken.is_empty() && bytes > bytes_max {
                break;
            }
            taken.push(entry.clone());
        }
        Some(taken)
    }

    /// Drops entries up to `upto` (all durable and applied) from memory, while it holds more bytes than this.
    pub(crate) fn trim(&mut self, upto: Seq, bytes_max: usize) {
        let mut dropped = self.dropped_upto();
        while self.entries_bytes > bytes_max && dropped < upto {
            self.entries_bytes -= self.entries.pop_front().map_or(0, |entry| entry.record().len());
            dropped = dropped.next();
        }
        self.move_base();
    }

    /// A snapshot at `position` is durable: the journal has only what follows it.
    pub(crate) fn snapshot_taken(&mut self, position: Position) {
        if position.seq <= self.snapshot.seq || !self.contains(position) {
            return;
        }
        self.snapshot = position;
        self.move_base();
    }

    /// What is neither in memory nor on the disk is before the base.
    fn move_base(&mut self) {
        let seq = self.dropped_upto().min(self.snapshot.seq);
        let Some(base) = self.position_at(seq).filter(|base| base.seq > self.base.seq) else { return };
        let gone = (seq.0 - self.base.seq.0) as usize;
        self.base_end = self.heads.drain(..gone).next_back().map_or(self.base_end, |head| head.end);
        self.base = base;
        let first = self.voters.iter().rposition(|(at, _)| *at <= seq).unwrap_or(0);
        self.voters.drain(..first);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::DurableState;

    fn log_of(terms: &[u64]) -> Log {
        let mut log = Log::new(&Recovered {
            state: DurableState::EMPTY,
            snapshot: None,
            entries: Vec::new(),
            committed: Position::ZERO,
            went_back: None,
            diverged: None,
            format: crate::FORMAT_MIN,
        });
        for term in terms {
            log.append(Entry::new(log.last(), Term(*term), Payload::Empty));
        }
        log
    }

    #[test]
    fn the_last_possible_common_position_has_no_later_term_and_no_later_sequence() {
        let log = log_of(&[1, 1, 2, 4, 4]);
        assert_eq!(log.at_most(Position::new(3, 9)), Some(Position::new(2, 3)));
        assert_eq!(log.at_most(Position::new(4, 4)), Some(Position::new(4, 4)));
        assert_eq!(log.at_most(Position::new(1, 9)), Some(Position::new(1, 2)));
        assert_eq!(log.at_most(Position::ZERO), Some(Position::ZERO));
    }

    #[test]
    fn a_cut_restores_the_voters_before_it() {
        let mut log = log_of(&[1]);
        let more = Voters { floor: 2, ..Voters::none() };
        log.append(Entry::new(log.last(), Term(1), Payload::Voters(more.clone())));
        assert_eq!(log.voters(), &more);
        log.cut(Seq(1));
        assert_eq!((log.voters(), log.last()), (&Voters::none(), Position::new(1, 1)));
    }

    /// The entry at that sequence, if it is in memory.
    fn entry(log: &Log, seq: Seq) -> Option<Entry> {
        log.range(seq, 0)?.into_iter().next()
    }

    fn bytes(log: &Log, seqs: std::ops::RangeInclusive<u64>) -> u64 {
        seqs.map(|seq| entry(log, Seq(seq)).unwrap().record().len() as u64).sum()
    }

    #[test]
    fn the_bytes_behind_a_position_are_those_of_the_records_there() {
        let mut log = log_of(&[1, 1, 2, 4, 4]);
        assert_eq!(log.bytes_after(Seq(0)), Some(bytes(&log, 1..=5)));
        assert_eq!((log.bytes_after(Seq(5)), log.bytes_after(Seq(6))), (Some(0), None));
        log.cut(Seq(4));
        assert_eq!(log.bytes_after(Seq(2)), Some(bytes(&log, 3..=4)));
        let last = bytes(&log, 4..=4);
        log.snapshot_taken(Position::new(1, 2));
        log.trim(Seq(3), 0);
        assert_eq!((log.bytes_after(Seq(1)), log.bytes_after(Seq(3))), (None, Some(last)));
    }

    #[test]
    fn what_is_durable_and_applied_leaves_the_memory_and_is_still_part_of_the_log() {
        let mut log = log_of(&[1, 1, 2, 4, 4]);
        log.trim(Seq(3), usize::MAX);
        assert!(entry(&log, Seq(1)).is_some(), "there is room");
        let all = log.bytes_after(Seq(0));
        log.trim(Seq(3), 0);
        assert!(entry(&log, Seq(3)).is_none() && entry(&log, Seq(4)).is_some());
        assert_eq!((log.base(), log.bytes_after(Seq(0))), (Position::ZERO, all), "the journal has them");
        assert_eq!(log.position_at(Seq(3)), Some(Position::new(2, 3)));
        assert_eq!(log.at_most(Position::new(3, 9)), Some(Position::new(2, 3)));
        assert!(log.contains(Position::new(1, 2)));
        assert_eq!(log.range(Seq(3), usize::MAX), None);
        assert_eq!(log.range(Seq(4), usize::MAX).unwrap().len(), 2);
        assert_eq!(log.range(Seq(5), 1).unwrap().len(), 1);
        assert_eq!(log.range(Seq(6), 1), Some(Vec::new()));
        log.trim(Seq(5), 0);
        assert_eq!((log.last(), log.range(Seq(6), 1)), (Position::new(4, 5), Some(Vec::new())));
        log.append(Entry::new(log.last(), Term(4), Payload::Empty));
        assert_eq!((log.last(), log.range(Seq(6), 1).unwrap().len()), (Position::new(4, 6), 1));
    }

    #[test]
    fn the_base_is_where_neither_memory_nor_journal_reaches() {
        let mut log = log_of(&[1, 1, 1, 1, 1, 1]);
        log.snapshot_taken(Position::new(1, 4));
        assert_eq!((log.base(), log.snapshot()), (Position::ZERO, Position::new(1, 4)), "all of it is in memory");
        log.trim(Seq(2), 0);
        assert_eq!(log.base(), Position::new(1, 2), "a snapshot has what left the memory");
        log.trim(Seq(6), 0);
        assert_eq!(log.base(), Position::new(1, 4), "the journal has what follows the snapshot");
        assert!(entry(&log, Seq(6)).is_none());
        log.snapshot_taken(Position::new(1, 6));
        assert_eq!((log.base(), log.last()), (Position::new(1, 6), Position::new(1, 6)));
    }
}
