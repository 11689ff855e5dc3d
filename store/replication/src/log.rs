//! The log as it stands in memory: a chain of entries after a base, and the voters along it.
//!
//! ```text
//!   snapshot ── base ── entry ── entry ── … ── entry = last
//!                 ▲ at or before the newest snapshot: what a follower near the end needs is kept in memory
//! ```
//!
//! Invariant: entries follow each other without a hole, from `base`. Invariant: `voters` holds the sets of the chain, the
//! first one is in force at `base`.

use crate::{Entry, Payload, Position, Recovered, Seq, SnapshotMeta, Voters};
use std::collections::VecDeque;

/// See the module.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Log {
    /// The position before the first entry in memory.
    base: Position,
    entries: VecDeque<Entry>,
    /// For each entry: how many bytes of records there are up to its end, from some fixed point on; and at `base`.
    ends: VecDeque<u64>,
    base_end: u64,
    /// Every set of voters of the chain with the sequence from which on it counts; never empty.
    voters: Vec<(Seq, Voters)>,
    /// The position of the newest snapshot on the volume: `ZERO` without one. Never before `base`.
    snapshot: Position,
    /// For a planted fault: what is committed.
    #[cfg(feature = "plants")]
    committed: Seq,
}

impl Log {
    /// The log as it was found on the volume.
    pub(crate) fn new(recovered: &Recovered) -> Log {
        let (base, voters) = match &recovered.snapshot {
            Some(meta) => (meta.position, meta.voters.clone()),
            None => (Position::ZERO, Voters::none()),
        };
        let mut log = Log {
            base,
            entries: VecDeque::new(),
            ends: VecDeque::new(),
            base_end: 0,
            voters: vec![(base.seq, voters)],
            snapshot: base,
            #[cfg(feature = "plants")]
            committed: base.seq,
        };
        for entry in &recovered.entries {
            log.append(entry.clone());
        }
        log
    }

    /// Begins anew after a snapshot that was received.
    pub(crate) fn reset(&mut self, meta: &SnapshotMeta) {
        self.base = meta.position;
        self.snapshot = meta.position;
        self.entries.clear();
        self.ends.clear();
        self.voters = vec![(meta.position.seq, meta.voters.clone())];
    }

    pub(crate) fn last(&self) -> Position {
        self.entries.back().map_or(self.base, |entry| entry.position)
    }

    pub(crate) fn snapshot(&self) -> Position {
        self.snapshot
    }

    pub(crate) fn base(&self) -> Position {
        self.base
    }

    pub(crate) fn entry(&self, seq: Seq) -> Option<&Entry> {
        self.entries.get(seq.0.checked_sub(self.base.seq.0 + 1)? as usize)
    }

    /// The position at that sequence, as far as it is in memory.
    pub(crate) fn position_at(&self, seq: Seq) -> Option<Position> {
        if seq == self.base.seq { Some(self.base) } else { self.entry(seq).map(|entry| entry.position) }
    }

    /// Bytes of all records behind that sequence; none where they are not all in memory.
    pub(crate) fn bytes_after(&self, seq: Seq) -> Option<u64> {
        let end = match seq.0.checked_sub(self.base.seq.0)? {
            0 => self.base_end,
            count => *self.ends.get(count as usize - 1)?,
        };
        Some(self.end() - end)
    }

    fn end(&self) -> u64 {
        self.ends.back().copied().unwrap_or(self.base_end)
    }

    pub(crate) fn contains(&self, position: Position) -> bool {
        self.position_at(position.seq) == Some(position)
    }

    /// The last position in memory that a log with `other` in it could have in common with this one: of no later term
    /// and no later sequence. None: that lies before the base.
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
        self.ends.push_back(self.end() + entry.record().len() as u64);
        self.entries.push_back(entry);
    }

    /// Drops all entries after `keep`. The voters that were in force there are in force again [S7].
    pub(crate) fn cut(&mut self, keep: Seq) {
        assert!(keep >= self.base.seq, "a cut to {keep} reaches before the snapshot at {}", self.base);
        self.entries.truncate((keep.0 - self.base.seq.0) as usize);
        self.ends.truncate(self.entries.len());
        let base = self.base.seq;
        self.voters.retain(|(seq, _)| *seq <= keep.max(base));
    }

    /// The last set of voters in the log, committed or not [S7].
    pub(crate) fn voters(&self) -> &Voters {
        #[cfg(feature = "plants")]
        if crate::plants::planted(crate::Fault::OnlyCommittedVotersCount) {
            let sets = self.voters.iter().filter(|(_, set)| !set.voters.is_empty());
            let (committed, first) = (sets.clone().rev().find(|(seq, _)| *seq <= self.committed), sets.clone().next());
            if let Some((_, set)) = committed.or(first) {
                return set;
            }
        }
        &self.voters.last().expect("the base's set is always there").1
    }

    /// For a planted fault: this much is committed.
    #[cfg(feature = "plants")]
    pub(crate) fn told_committed(&mut self, commit: Seq) {
        self.committed = commit;
    }

    /// The sequence from which on [`Log::voters`] counts.
    pub(crate) fn voters_since(&self) -> Seq {
        self.voters.last().expect("the base's set is always there").0
    }

    /// The voters in force at that sequence.
    pub(crate) fn voters_at(&self, at: Seq) -> &Voters {
        let found = self.voters.iter().rev().find(|(seq, _)| *seq <= at);
        &found.unwrap_or_else(|| self.voters.first().expect("the base's set is always there")).1
    }

    /// Entries from `from` on, at least one if there is one, of about `bytes_max` together.
    pub(crate) fn range(&self, from: Seq, bytes_max: usize) -> Vec<Entry> {
        let skip = from.0.saturating_sub(self.base.seq.0 + 1) as usize;
        let mut bytes = 0;
        let mut taken = Vec::new();
        for entry in self.entries.iter().skip(skip) {
            bytes += entry.record().len();
            if !taken.is_empty() && bytes > bytes_max {
                break;
            }
            taken.push(entry.clone());
        }
        taken
    }

    /// A snapshot at `position` is durable. What the one before it covered is dropped from memory: one generation is
    /// kept, so that a follower a little behind needs no snapshot.
    pub(crate) fn snapshot_taken(&mut self, position: Position) {
        if position.seq <= self.snapshot.seq || !self.contains(position) {
            return;
        }
        let keep_from = self.snapshot;
        self.snapshot = position;
        let gone = (keep_from.seq.0 - self.base.seq.0) as usize;
        self.entries.drain(..gone);
        self.base_end = self.ends.drain(..gone).next_back().unwrap_or(self.base_end);
        self.base = keep_from;
        let first = self.voters.iter().rposition(|(seq, _)| *seq <= keep_from.seq).unwrap_or(0);
        self.voters.drain(..first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DurableState, Term};

    fn log_of(terms: &[u64]) -> Log {
        let mut log = Log::new(&Recovered {
            state: DurableState::EMPTY,
            snapshot: None,
            entries: Vec::new(),
            committed: Position::ZERO,
            went_back: None,
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

    #[test]
    fn the_bytes_behind_a_position_are_those_of_the_records_there() {
        let mut log = log_of(&[1, 1, 2, 4, 4]);
        let bytes =
            |log: &Log, from| log.range(Seq(from), usize::MAX).iter().map(|one| one.record().len() as u64).sum();
        for check in 0..3 {
            for seq in log.base().seq.0..=log.last().seq.0 {
                assert_eq!(log.bytes_after(Seq(seq)), Some(bytes(&log, seq + 1)), "check {check}");
            }
            assert_eq!(log.bytes_after(log.last().seq.next()), None);
            match check {
                0 => log.cut(Seq(4)),
                _ => {
                    log.snapshot_taken(Position::new(1, 2));
                    log.snapshot_taken(Position::new(2, 3));
                    assert_eq!(log.bytes_after(Seq(1)), None);
                }
            }
        }
    }

    #[test]
    fn a_snapshot_keeps_one_generation_in_memory() {
        let mut log = log_of(&[1, 1, 1, 1, 1, 1]);
        log.snapshot_taken(Position::new(1, 2));
        assert!(log.contains(Position::new(1, 1)), "the first snapshot drops nothing yet");
        log.snapshot_taken(Position::new(1, 4));
        assert_eq!((log.base(), log.snapshot()), (Position::new(1, 2), Position::new(1, 4)));
        assert!(log.entry(Seq(2)).is_none() && log.entry(Seq(3)).is_some());
        assert_eq!(log.range(Seq(5), 1).len(), 1);
        assert_eq!(log.range(Seq(1), usize::MAX).len(), 4);
    }
}
