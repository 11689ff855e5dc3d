//! What the archive of one cluster holds, as far as names tell.

use crate::name::Name;
use crate::time::Time;
use leasehold_replication::Seq;
use std::collections::BTreeSet;

/// The objects of one cluster.
#[derive(Clone, Debug, Default)]
pub(super) struct Holdings {
    names: BTreeSet<Name>,
}

/// How far files of changes lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reach {
    /// Up to this entry.
    pub(super) end: Seq,
    /// Its time.
    pub(super) time: Time,
    /// The object that leads there.
    pub(super) by: Name,
    /// The first entry behind the hole that follows.
    pub(super) beyond: Option<Seq>,
}

impl Holdings {
    pub(super) fn of(names: Vec<Name>) -> Holdings {
        Holdings { names: names.into_iter().collect() }
    }

    pub(super) fn has(&self, name: &Name) -> bool {
        self.names.contains(name)
    }

    /// It cannot be used.
    pub(super) fn leave_out(&mut self, name: &Name) {
        self.names.remove(name);
    }

    /// The newest full that was verified and is still here, by the name of its note.
    pub(super) fn verified(&self) -> Option<Name> {
        let is_here = |seq: Seq, time: Time| {
            [false, true].iter().any(|encrypted| self.has(&Name::Full { seq, time, encrypted: *encrypted }))
        };
        let mut verified = self.names.iter().rev().filter(|name| match name {
            Name::Verified { seq, time } => is_here(*seq, *time),
            Name::Full { .. } | Name::Changes { .. } => false,
        });
        verified.next().copied()
    }

    /// How far files lead from that full on. Only sequences are looked at: files that overlap continue each other.
    pub(super) fn reach(&self, from: Name) -> Reach {
        let mut reach = Reach { end: from.last(), time: from.time(), by: from, beyond: None };
        // In the order of their first sequences.
        for name in &self.names {
            let Name::Changes { first, last, time, .. } = *name else { continue };
            if last <= reach.end {
                continue;
            }
            if first > reach.end.next() {
                reach.beyond = Some(first);
                break;
            }
            reach = Reach { end: last, time, by: *name, beyond: None };
        }
        reach
    }

    /// All files of changes.
    pub(super) fn files(&self) -> impl Iterator<Item = Name> {
        self.names.iter().filter(|name| matches!(name, Name::Changes { .. })).copied()
    }

    /// How many files of changes end after that entry.
    pub(super) fn files_after(&self, seq: Seq) -> usize {
        self.files().filter(|name| name.last() > seq).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(first: u64, last: u64) -> Name {
        Name::Changes { first: Seq(first), last: Seq(last), time: Time::from_ms(last), encrypted: false }
    }

    fn full(seq: u64) -> Name {
        Name::Full { seq: Seq(seq), time: Time::from_ms(seq), encrypted: false }
    }

    fn verified(seq: u64) -> Name {
        Name::Verified { seq: Seq(seq), time: Time::from_ms(seq) }
    }

    #[test]
    fn files_lead_on_also_where_they_overlap_and_stop_at_a_hole() {
        let names = vec![file(5, 10), file(8, 20), file(1, 4), file(12, 18), file(21, 25), file(30, 31), full(6)];
        let holdings = Holdings::of(names);
        let reach = holdings.reach(full(6));
        assert_eq!((reach.end, reach.by, reach.beyond), (Seq(25), file(21, 25), Some(Seq(30))));
        assert_eq!(holdings.reach(full(25)).by, full(25));
        assert_eq!(holdings.reach(full(26)).beyond, Some(Seq(30)));
        assert_eq!((holdings.files().count(), holdings.files_after(Seq(20))), (6, 2));
    }

    #[test]
    fn a_full_counts_if_it_was_verified_and_is_still_here() {
        let holdings = Holdings::of(vec![full(1), verified(1), full(5), verified(7)]);
        assert_eq!(holdings.verified(), Some(verified(1)));
        assert_eq!(Holdings::of(vec![full(1), file(1, 2)]).verified(), None);
    }
}
