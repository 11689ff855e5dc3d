//! What stands on the volume, or will once its write is durable: promise, cluster and mark, the log, and which of the
//! writes are done.
//!
//! Invariant, asserted here: the promise never goes down, nor does its incarnation change within a term.

use crate::log::Log;
use crate::{DurableState, Entry, Payload, Position, Record, Recovered, Seq, SnapshotMeta, Term, Ticket};
use std::collections::VecDeque;

/// See the module.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Volume {
    /// Promise, cluster and mark: in force, and durable as soon as `writes` says so.
    state: DurableState,
    log: Log,
    writes: Writes,
    /// The write that cleared the mark `bootstrapping`, if this incarnation did.
    mark_cleared_by: Ticket,
}

impl Volume {
    /// As it was found, all of it durable \[S2\].
    pub(crate) fn new(recovered: &Recovered) -> Volume {
        let log = Log::new(recovered);
        let writes = Writes { durable: log.last().seq, ..Writes::default() };
        Volume { state: recovered.state, log, writes, mark_cleared_by: Ticket(0) }
    }

    pub(crate) fn state(&self) -> DurableState {
        self.state
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    pub(crate) fn writes(&self) -> &Writes {
        &self.writes
    }

    /// It belongs to no cluster, and has no entries.
    pub(crate) fn is_empty(&self) -> bool {
        self.state.cluster_id.is_none() && self.log.last() == Position::ZERO
    }

    /// A snapshot that was received and is not durable yet cannot be sent on.
    pub(crate) fn holds_its_snapshot(&self) -> bool {
        self.writes.durable() >= self.log.base().seq
    }

    /// Not marked `bootstrapping`, and a mark that was cleared cannot come back after a crash.
    pub(crate) fn is_unmarked(&self) -> bool {
        !self.state.bootstrapping && self.writes.is_durable(self.mark_cleared_by)
    }

    /// The last committed position that is durable here.
    pub(crate) fn durable_of(&self, commit: Seq) -> Position {
        self.log.position_at(commit.min(self.writes.durable())).unwrap_or(self.log.snapshot())
    }

    /// Replaces the state, from now on. The record makes that durable.
    pub(crate) fn hold(&mut self, state: DurableState) -> Record {
        let old = self.state.promise;
        assert!(
            state.promise.term > old.term || state.promise == old,
            "a promise of {} would replace {old}",
            state.promise
        );
        self.state = state;
        Record::State(state)
    }

    /// That write clears the mark `bootstrapping`.
    pub(crate) fn mark_cleared(&mut self, by: Ticket) {
        self.mark_cleared_by = by;
    }

    /// Adds an entry of that term at the end.
    pub(crate) fn append(&mut self, term: Term, payload: Payload) -> Record {
        self.append_entry(Entry::new(self.log.last(), term, payload))
    }

    /// Adds this entry, which names the last one before it.
    pub(crate) fn append_entry(&mut self, entry: Entry) -> Record {
        self.log.append(entry.clone());
        Record::Entry(entry)
    }

    /// Cuts the log after `keep`.
    pub(crate) fn cut(&mut self, keep: Seq) {
        self.log.cut(keep);
        self.writes.cut(keep);
    }

    /// The log begins anew after this snapshot, and nothing of it is durable before the snapshot is.
    pub(crate) fn begin_after(&mut self, meta: &SnapshotMeta) {
        self.state.cluster_id = Some(meta.cluster_id);
        self.log.reset(meta);
        self.writes.cut(Seq(0));
    }

    /// The ticket of a write that brings the volume to what is held now.
    pub(crate) fn issue(&mut self) -> Ticket {
        self.writes.issue(self.log.last().seq)
    }

    pub(crate) fn persisted(&mut self, ticket: Ticket) {
        self.writes.persisted(ticket);
    }

    pub(crate) fn snapshot_taken(&mut self, position: Position) {
        self.log.snapshot_taken(position);
    }

    pub(crate) fn note_committed(&mut self, upto: Seq) {
        self.log.note_committed(upto);
    }

    /// Lets go of the entries in memory that are durable and applied, beyond so many bytes.
    pub(crate) fn trim(&mut self, applied: Seq, bytes_max: usize) {
        self.log.trim(applied.min(self.writes.durable()), bytes_max);
    }
}

/// What was given to the journal and what of it is durable.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Writes {
    issued: Ticket,
    persisted: Ticket,
    /// For each write that is under way: the log's end behind it (less what was cut since).
    pending: VecDeque<(Ticket, Seq)>,
    /// The log is durable up to here.
    durable: Seq,
}

impl Writes {
    fn issue(&mut self, log_end: Seq) -> Ticket {
        self.issued.0 += 1;
        self.pending.push_back((self.issued, log_end));
        self.issued
    }

    fn persisted(&mut self, ticket: Ticket) {
        self.persisted = self.persisted.max(ticket.min(self.issued));
        while let Some((first, end)) = self.pending.front().copied() {
            if first > self.persisted {
                break;
            }
            self.durable = end;
            self.pending.pop_front();
        }
    }

    /// The log was cut: what was written after `keep` no longer counts, also when it becomes durable only now.
    fn cut(&mut self, keep: Seq) {
        self.durable = self.durable.min(keep);
        for (_, end) in &mut self.pending {
            *end = (*end).min(keep);
        }
    }

    pub(crate) fn newest(&self) -> Ticket {
        self.issued
    }

    pub(crate) fn is_durable(&self, ticket: Ticket) -> bool {
        self.persisted >= ticket
    }

    pub(crate) fn all_durable(&self) -> bool {
        self.persisted == self.issued
    }

    pub(crate) fn durable(&self) -> Seq {
        self.durable
    }
}
