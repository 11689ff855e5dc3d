//! What must never happen in the small world.

use super::journal::Disk;
use leasehold_replication::{Entry, Incarnation, Position, Seq, Term};

/// All true facts.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Judge {
    /// What was applied anywhere, in order: position, checksum, and the lowest term in which a replica did so.
    applied: Vec<(Position, [u8; 4], Term)>,
    opened: Vec<(Term, Incarnation)>,
}

impl Judge {
    /// This much was applied somewhere.
    pub(crate) fn applied_seq(&self) -> Seq {
        Seq(self.applied.len() as u64)
    }

    /// How many terms were opened.
    pub(crate) fn terms(&self) -> usize {
        self.opened.len()
    }

    /// A replica applies this, as a leader or follower of `term`.
    pub(crate) fn apply(&mut self, entry: &Entry, term: Term) -> Result<(), String> {
        let at = entry.position.seq.0 as usize - 1;
        let sum: [u8; 4] = entry.record()[4..8].try_into().expect("a record has a header");
        let last = self.applied.len();
        match self.applied.get_mut(at) {
            Some((position, known, by)) if *position == entry.position && *known == sum => {
                *by = (*by).min(term);
                Ok(())
            }
            Some((position, ..)) => Err(format!("invariant 4: {} is applied, but {position} was", entry.position)),
            None if at == last => {
                self.applied.push((entry.position, sum, term));
                Ok(())
            }
            None => Err(format!("invariant 4: {} is applied before what stands in front of it", entry.position)),
        }
    }

    /// A replica has its documents from a snapshot of this position.
    pub(crate) fn restored(&self, position: Position) -> Result<(), String> {
        let known = self.applied.get(position.seq.0 as usize - 1);
        match known {
            Some((known, ..)) if *known == position => Ok(()),
            _ => Err(format!("invariant 4: a snapshot of {position}, which was never applied")),
        }
    }

    /// This incarnation leads this term, open for writes, with this log.
    pub(crate) fn leads(&mut self, term: Term, incarnation: Incarnation, log: &Disk) -> Result<(), String> {
        if log.state.bootstrapping {
            return Err(format!("{incarnation} opens term {term} on a volume that is marked bootstrapping [L4]"));
        }
        match self.opened.iter().find(|(opened, _)| *opened == term) {
            Some((_, first)) if *first != incarnation => {
                return Err(format!("invariant 2: {incarnation} opens term {term}, as {first} did"));
            }
            Some(_) => {}
            None => self.opened.push((term, incarnation)),
        }
        match self.applied.iter().rev().find(|(position, _, by)| *by < term && !log.has(*position)) {
            Some((position, _, by)) => Err(format!(
                "invariant 1: term {term} is led without {position}, which was committed in {by} (the log ends at {})",
                log.last()
            )),
            None => Ok(()),
        }
    }
}
