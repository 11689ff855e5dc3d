//! The sums of the data after the last entries that were applied: the leader asks for one of them every second.
//!
//! ```text
//!   apply ──note──▶ the last 65,536, one for each entry ──of(sequence)──▶ the answer, or that it is not known (any longer)
//! ```

use std::collections::VecDeque;

use leasehold_replication::{Seq, Sum};

use leasehold_documents::Documents;

/// How many are remembered: some seconds of writes, so that a replica that is a little ahead still knows the one that is
/// asked for.
const SUMS_MAX: usize = 65_536;

/// See the module.
#[derive(Debug)]
pub(super) struct Sums {
    /// Of the last one in `ring`.
    last: Seq,
    ring: VecDeque<Sum>,
}

impl Sums {
    /// Only the present one is known.
    pub(super) fn new(documents: &Documents) -> Sums {
        Sums { last: documents.applied().seq, ring: VecDeque::from([documents.sum()]) }
    }

    /// The next entry was applied.
    ///
    /// # Panics
    /// When it is another one: an answer would be about other data than was asked for.
    pub(super) fn note(&mut self, documents: &Documents) {
        let (last, next) = (self.last, documents.applied().seq);
        assert!(next == last.next(), "the sum of entry {next} does not follow that of {last}");
        if self.ring.len() == SUMS_MAX {
            self.ring.pop_front();
        }
        self.ring.push_back(documents.sum());
        self.last = next;
    }

    /// The sum of the data after that entry; none if it is not applied yet, or not known any longer.
    pub(super) fn of(&self, sequence: Seq) -> Option<Sum> {
        let back = usize::try_from(self.last.0.checked_sub(sequence.0)?).ok()?;
        let at = self.ring.len().checked_sub(back + 1)?;
        self.ring.get(at).copied()
    }

    /// The memory that they use.
    pub(super) fn memory_bytes(&self) -> u64 {
        (self.ring.capacity() * size_of::<Sum>()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leasehold_replication::Position;

    #[test]
    fn the_sums_of_the_last_entries_are_known_and_no_others() {
        let mut documents = Documents::new();
        let mut sums = Sums::new(&documents);
        let all = SUMS_MAX as u64 + 10;
        for seq in 1..=all {
            documents.skip(Position::new(1, seq));
            sums.note(&documents);
        }
        let first = all - SUMS_MAX as u64 + 1;
        let known = |seq| sums.of(Seq(seq)).is_some();
        assert_eq!((known(first - 1), known(first), known(all), known(all + 1)), (false, true, true, false));
        assert_eq!((known(0), known(u64::MAX)), (false, false));
        assert!(sums.memory_bytes() <= 2 * 1024 * 1024, "{}", sums.memory_bytes());
    }

    #[test]
    fn each_entry_has_the_sum_of_the_data_after_it() {
        let mut documents = Documents::new();
        let mut sums = Sums::new(&documents);
        let mut seen = vec![(Seq(0), documents.sum())];
        for number in 1..=5 {
            let command = crate::testing::rig::person(number.into());
            let applied = documents.apply(Position::new(1, number), &command, &mut Vec::new());
            assert!(applied.is_ok());
            sums.note(&documents);
            seen.push((Seq(number), documents.sum()));
        }
        for (seq, sum) in seen {
            assert_eq!(sums.of(seq), Some(sum));
        }
    }
}
