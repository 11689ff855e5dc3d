//! Clients that write where they think the leader is, and remember the answers.
//!
//! ```text
//!   Propose ──▶ Accepted { position } ──▶ Apply of exactly that position ──▶ acknowledged
//!           │                         └─▶ Apply of another one there     ──▶ refused: never done
//!           └─▶ Rejected ──▶ refused          process gone, or a snapshot instead ──▶ unknown
//! ```

use super::facts::Facts;
use bytes::Bytes;
use leasehold_replication::{Entry, Payload, Position, Proposal, ProposalId, Seq};

/// A command of the documents follows the number of its write.
pub(crate) const COMMAND_AT: usize = 8;

/// What a client learnt about one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing yet.
    Waiting,
    /// Done, at this position.
    Acknowledged(Position),
    /// Not done, and never will be.
    Refused,
    /// Unknown.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
struct Write {
    outcome: Outcome,
    committed: Option<Position>,
    /// This much had been applied somewhere, and could be known, when it was sent.
    after: Seq,
    /// It makes the data larger.
    grows: bool,
}

/// All writes of a run. The number of a write is its proposal's id and its command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clients {
    writes: Vec<Write>,
    /// The length of a command. Long ones fill appends and windows, so that logs are sent in parts.
    command_bytes: usize,
    /// How many were acknowledged.
    pub(crate) acknowledged: u64,
    /// How many were refused.
    pub(crate) refused: u64,
    /// How many have an unknown outcome.
    pub(crate) unknown: u64,
    /// How many strong reads were answered.
    pub(crate) strong_reads: u64,
    /// How many local reads of sessions were answered.
    pub(crate) local_reads: u64,
    /// What each session saw last.
    pub(crate) sessions: [Seq; 4],
}

impl Clients {
    /// No writes yet; their commands will have this length.
    pub(crate) fn new(command_bytes: usize) -> Clients {
        Clients { command_bytes, ..Clients::default() }
    }

    /// A new write.
    pub(crate) fn write(&mut self, after: Seq) -> Proposal {
        let id = self.writes.len() as u64;
        self.writes.push(Write { outcome: Outcome::Waiting, committed: None, after, grows: true });
        let mut command = id.to_le_bytes().to_vec();
        command.resize(self.command_bytes.max(command.len()), 0);
        Proposal { id: ProposalId(id), command: Bytes::from(command), grows: true }
    }

    /// A new write: a command of the documents.
    pub(crate) fn write_command(&mut self, after: Seq, command: &[u8]) -> Proposal {
        let proposal = self.write(after);
        let numbered = [&proposal.command[..COMMAND_AT], command].concat();
        Proposal { command: Bytes::from(numbered), ..proposal }
    }

    /// This write makes the data larger, or does not.
    pub(crate) fn grows(&mut self, id: ProposalId, grows: bool) {
        if let Some(write) = self.writes.get_mut(id.0 as usize) {
            write.grows = grows;
        }
    }

    /// Does this write make the data larger?
    pub(crate) fn makes_larger(&self, id: ProposalId) -> bool {
        self.writes.get(id.0 as usize).is_some_and(|write| write.grows)
    }

    /// What is known of this write.
    pub(crate) fn outcome(&self, id: ProposalId) -> Outcome {
        self.writes.get(id.0 as usize).map_or(Outcome::Unknown, |write| write.outcome)
    }

    /// A client gets an answer.
    pub(crate) fn tell(&mut self, facts: &mut Facts, id: ProposalId, outcome: Outcome) {
        let Some(write) = self.writes.get_mut(id.0 as usize) else {
            return facts.violated(format!("an answer to write {}, which nobody sent", id.0));
        };
        if write.outcome != Outcome::Waiting {
            return facts.violated(format!("write {} is answered twice: {:?}, {outcome:?}", id.0, write.outcome));
        }
        write.outcome = outcome;
        match outcome {
            Outcome::Waiting => {}
            Outcome::Acknowledged(_) => self.acknowledged += 1,
            Outcome::Refused => self.refused += 1,
            Outcome::Unknown => self.unknown += 1,
        }
        check(facts, id.0, write);
    }

    /// An entry was applied for the first time.
    pub(crate) fn committed(&mut self, facts: &mut Facts, entry: &Entry) {
        let Payload::Command(command) = &entry.payload else { return };
        let Some(id) = command.get(..8).map(|id| u64::from_le_bytes(id.try_into().expect("eight bytes"))) else {
            return;
        };
        // Initial data is not a client's write.
        let Some(write) = self.writes.get_mut(id as usize) else { return };
        if let Some(before) = write.committed {
            facts.violated(format!("write {id} is committed twice: at {before} and at {}", entry.position));
        }
        write.committed = Some(entry.position);
        if entry.position.seq <= write.after {
            let after = write.after;
            facts.violated(format!(
                "invariant 6: write {id} takes effect at {}, before {after} which was seen when it was sent",
                entry.position
            ));
        }
        check(facts, id, write);
    }
}

fn check(facts: &mut Facts, id: u64, write: &Write) {
    match (write.outcome, write.committed) {
        (Outcome::Acknowledged(position), committed) if committed != Some(position) => {
            facts.violated(format!(
                "invariant 1: write {id} was acknowledged at {position}, committed is {committed:?}"
            ));
        }
        (Outcome::Refused, Some(position)) => {
            facts.violated(format!(
                "write {id} was refused, which means never done, but stands committed at {position}"
            ));
        }
        _ => {}
    }
}
