//! Clients that wait for the outcome of their writes.
//!
//! ```text
//!   propose ──▶ proposed ──Accepted──▶ accepted, by sequence and term ──Apply of exactly that one──▶ Written
//!                        ──Rejected──▶ Refused                        ──Apply of another──────────▶ Overwritten
//! ```
//!
//! A write stays accepted while its fate is open, even when this replica no longer leads: a later leader may still commit
//! the entry, and then it is applied here. A client that gives up (504) is forgotten.

use std::collections::{BTreeMap, HashMap};

use leasehold_replication::{Position, ProposalId, Refusal, Seq, Term};
use tokio::sync::oneshot;

use crate::handle::{WriteError, Written};
use leasehold_documents::Applied;

/// Where an answer goes.
pub(super) type Reply = oneshot::Sender<Result<Written, WriteError>>;
/// An answer on its way.
pub(super) type Answered = (Reply, Result<Written, WriteError>);

/// Below this many, clients that gave up are not looked for.
const FORGET_ABOVE: usize = 4096;

/// See the module.
#[derive(Debug)]
pub(super) struct Waiters {
    next: u64,
    proposed: HashMap<ProposalId, Reply>,
    accepted: BTreeMap<(Seq, Term), Reply>,
    /// When this many wait, those that gave up are looked for.
    forget_at: usize,
}

impl Default for Waiters {
    fn default() -> Waiters {
        Waiters { next: 0, proposed: HashMap::new(), accepted: BTreeMap::new(), forget_at: FORGET_ABOVE }
    }
}

impl Waiters {
    /// Names a write before it is proposed.
    pub(super) fn propose(&mut self, reply: Reply) -> ProposalId {
        self.next += 1;
        let id = ProposalId(self.next);
        self.proposed.insert(id, reply);
        id
    }

    /// The log contains it.
    pub(super) fn accepted(&mut self, id: ProposalId, position: Position) {
        let Some(reply) = self.proposed.remove(&id) else { return };
        self.accepted.insert((position.seq, position.term), reply);
        if self.accepted.len() > self.forget_at {
            self.accepted.retain(|_, reply| !reply.is_closed());
            self.forget_at = FORGET_ABOVE.max(self.accepted.len() * 2);
        }
    }

    /// It was not done.
    pub(super) fn rejected(&mut self, id: ProposalId, reason: Refusal) {
        if let Some(reply) = self.proposed.remove(&id) {
            let _ = reply.send(Err(WriteError::Refused(reason))); // a client that gave up does not wait
        }
    }

    /// This entry was applied; its outcome, if it is a command.
    pub(super) fn applied(&mut self, position: Position, mut answer: Option<Applied>, answers: &mut Vec<Answered>) {
        while let Some(first) = self.accepted.first_entry() {
            let (seq, term) = *first.key();
            if seq > position.seq {
                return;
            }
            let reply = first.remove();
            let is_it = (seq, term) == (position.seq, position.term);
            let answer = match answer.take_if(|_| is_it) {
                Some(answer) => Ok(Written { position, answer }),
                None if seq == position.seq => Err(WriteError::Overwritten),
                None => Err(WriteError::Unknown),
            };
            answers.push((reply, answer));
        }
    }

    /// The outcome of these writes will not be known here in time.
    pub(super) fn give_up(&mut self) {
        for (_, reply) in std::mem::take(&mut self.accepted) {
            let _ = reply.send(Err(WriteError::Unknown)); // a client that gave up does not wait
        }
    }

    /// A snapshot replaces everything up to `seq`: the outcome of these writes cannot be known here.
    pub(super) fn skip_to(&mut self, seq: Seq) {
        let later = self.accepted.split_off(&(seq.next(), Term(0)));
        for (_, reply) in std::mem::replace(&mut self.accepted, later) {
            let _ = reply.send(Err(WriteError::Unknown)); // a client that gave up does not wait
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn made(position: Position) -> Applied {
        let (id, record, operations) = (leasehold_documents::Id::NONE, None, Vec::new());
        Applied { seq: position.seq, outcome: leasehold_documents::Outcome::Created, id, record, operations }
    }

    fn accepted(waiters: &mut Waiters, position: Position) -> oneshot::Receiver<Result<Written, WriteError>> {
        let (reply, answer) = oneshot::channel();
        let id = waiters.propose(reply);
        waiters.accepted(id, position);
        answer
    }

    fn apply(waiters: &mut Waiters, position: Position) {
        let mut answers = Vec::new();
        waiters.applied(position, Some(made(position)), &mut answers);
        for (reply, answer) in answers {
            let _ = reply.send(answer);
        }
    }

    #[test]
    fn writes_that_are_given_up_have_an_unknown_outcome() {
        let mut waiters = Waiters::default();
        let mut answer = accepted(&mut waiters, Position::new(2, 5));
        waiters.give_up();
        assert_eq!(answer.try_recv().unwrap(), Err(WriteError::Unknown));
        apply(&mut waiters, Position::new(2, 5));
    }

    #[test]
    fn a_write_is_answered_when_exactly_its_entry_is_applied() {
        let mut waiters = Waiters::default();
        let mut first = accepted(&mut waiters, Position::new(2, 5));
        let mut second = accepted(&mut waiters, Position::new(2, 6));
        apply(&mut waiters, Position::new(2, 5));
        let position = Position::new(2, 5);
        assert_eq!(first.try_recv().unwrap(), Ok(Written { position, answer: made(position) }));
        assert!(second.try_recv().is_err());
        apply(&mut waiters, Position::new(3, 6));
        assert_eq!(second.try_recv().unwrap(), Err(WriteError::Overwritten));
    }

    #[test]
    fn two_writes_of_one_sequence_do_not_take_each_others_answer() {
        let mut waiters = Waiters::default();
        let mut cut = accepted(&mut waiters, Position::new(2, 5));
        let mut later = accepted(&mut waiters, Position::new(4, 5));
        apply(&mut waiters, Position::new(4, 5));
        assert_eq!(cut.try_recv().unwrap(), Err(WriteError::Overwritten));
        assert!(later.try_recv().unwrap().is_ok());
    }

    #[test]
    fn a_refused_write_says_why() {
        let mut waiters = Waiters::default();
        let (reply, mut answer) = oneshot::channel();
        let id = waiters.propose(reply);
        waiters.rejected(id, Refusal::NoMajority);
        assert_eq!(answer.try_recv().unwrap(), Err(WriteError::Refused(Refusal::NoMajority)));
        assert!(waiters.proposed.is_empty());
    }

    #[test]
    fn behind_a_snapshot_the_outcome_is_unknown() {
        let mut waiters = Waiters::default();
        let mut inside = accepted(&mut waiters, Position::new(2, 5));
        let mut behind = accepted(&mut waiters, Position::new(2, 6));
        waiters.skip_to(Seq(5));
        assert_eq!(inside.try_recv().unwrap(), Err(WriteError::Unknown));
        assert!(behind.try_recv().is_err());
        apply(&mut waiters, Position::new(2, 6));
        assert!(behind.try_recv().unwrap().is_ok());
    }

    #[test]
    fn clients_that_gave_up_are_forgotten() {
        let mut waiters = Waiters::default();
        for seq in 1..=FORGET_ABOVE as u64 * 3 {
            drop(accepted(&mut waiters, Position::new(1, seq)));
        }
        assert!(waiters.accepted.len() <= FORGET_ABOVE + 1, "{}", waiters.accepted.len());
    }
}
