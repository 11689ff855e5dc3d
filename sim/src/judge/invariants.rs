//! What must never happen, checked from outside at every step (docs/design.md, "Invariants").
//!
//! No replica is believed. The facts (`Facts`) come from what was written to journals and applied to documents anywhere:
//! every entry that ever existed by (term, sequence), which volumes ever had it durably, the one sequence of applied
//! entries, who opened which term for writes, and what each volume promised. Each fact is compared when it is added, so a
//! check costs a few look-ups, and the first violation is seen in the very step that makes it.
//!
//! ```text
//!   1 acknowledged writes are in every later leader's log       opened(), applied()
//!   2 one incarnation opens a term                              opened()
//!   3 logs that agree somewhere agree on all before             begun(): one entry per (term, sequence), with its previous
//!   4 applied = committed, in one order                         applied(), committed(), restored()
//!   5 promises never go down, nor change within a term          promised()
//!   6 a strong read sees all that was applied anywhere before   reads
//!     and a write takes effect after all that its client saw    client
//!   7 data as of a moment have all that was applied before it   steps
//!     and a local read is of a prefix of what is committed, and
//!     never goes back for a client that passes `after`          reads, digest()
//!   and: nothing is said before it is durable                   said_hello(), acknowledged(), entry_of() [S3, S4]
//!   and: the rules of changes to the voters, and the floor      voters_changed(), taken() [S7, L7]
//! ```

use crate::model::disk::{Item, Log, Volume, checksum};
use crate::model::facts::{Applied, Facts, Written, digest};
use leasehold_replication::{
    ClusterId, DurableState, Entry, FORMAT_MIN, Incarnation, Payload, Phase, Position, Promise, Pulse, Seq, Status,
    Term, Voters,
};

impl Facts {
    /// A replica started writing this entry.
    pub(crate) fn begun(&mut self, who: &str, entry: &Entry, cluster: Option<ClusterId>) {
        let cluster = cluster.filter(|_| entry.position.term == Term(0));
        let at = entry.position.seq.0 as usize - 1;
        if self.written.len() <= at {
            self.written.resize(at + 1, Vec::new());
        }
        if let Payload::Voters(voters) = &entry.payload
            && voters.format > FORMAT_MIN
        {
            self.raises.push((entry.position, voters.clone()));
        }
        let sum = checksum(entry);
        match self.written[at].iter().find(|known| known.position == entry.position && known.cluster == cluster) {
            Some(known) if known.checksum == sum && known.previous == entry.previous => {}
            Some(known) => {
                let (other, previous) = (known.previous, entry.previous);
                self.violated(format!(
                    "invariant 3: {who} writes another entry {} (after {previous}) than there is (after {other})",
                    entry.position
                ));
            }
            None => self.written[at].push(Written {
                position: entry.position,
                previous: entry.previous,
                checksum: sum,
                cluster,
                durable: 0,
            }),
        }
    }

    /// This entry is durable on this volume.
    pub(crate) fn durable(&mut self, volume: usize, entry: &Entry) {
        let variants = self.written.get_mut(entry.position.seq.0 as usize - 1);
        if let Some(known) = variants
            .and_then(|all| all.iter_mut().find(|w| w.position == entry.position && w.checksum == checksum(entry)))
        {
            known.durable |= 1 << volume;
        }
    }

    /// A snapshot is durable on this volume.
    pub(crate) fn snapshot_durable(&mut self, volume: usize, position: Position) {
        self.snapshots[volume] = self.snapshots[volume].max(position.seq);
    }

    pub(super) fn was_durable(&self, volume: usize, position: Position) -> bool {
        self.snapshots[volume] >= position.seq
            || (self.written.get(position.seq.0 as usize - 1))
                .is_some_and(|all| all.iter().any(|w| w.position == position && w.durable & (1 << volume) != 0))
    }

    /// This state is durable on this volume: promises only increase.
    pub(crate) fn promised(&mut self, who: &str, volume: usize, state: &DurableState) {
        let new = state.promise;
        if let Some(old) = self.promises[volume]
            && (new.term < old.term || (new.term == old.term && new.incarnation != old.incarnation))
        {
            self.violated(format!("invariant 5: {who} promised {old}, and now {new}"));
        }
        self.promises[volume] = Some(new);
    }

    /// A replica applied this entry, as a leader or follower of `term`. True: it is the first one to do so.
    pub(crate) fn applied(&mut self, who: &str, term: Term, entry: &Entry) -> bool {
        let at = entry.position.seq.0 as usize - 1;
        let last = self.applied.len();
        match self.applied.get_mut(at) {
            Some(known) if known.position == entry.position => {
                known.by = known.by.min(term);
                false
            }
            Some(known) => {
                let known = known.position;
                self.violated(format!("invariant 4: {who} applies {}, but {known} was applied there", entry.position));
                false
            }
            None if at == last => {
                let before = self.applied.last().map_or(0, |applied| applied.digest);
                self.applied.push(Applied { position: entry.position, by: term, digest: digest(before, entry) });
                self.fresh.push((entry.position, term));
                true
            }
            None => {
                self.violated(format!("invariant 4: {who} applies {}, the last one was {last}", entry.position));
                false
            }
        }
    }

    /// A replica has its documents from a snapshot of this position.
    pub(crate) fn restored(&mut self, who: &str, position: Position) {
        let known = position.seq.0.checked_sub(1).and_then(|at| self.applied.get(at as usize));
        if known.is_none_or(|known| known.position != position) {
            self.violated(format!("invariant 4: {who} has a snapshot of {position}, which was never applied"));
        }
    }

    /// A leader of its own term says that everything up to `committed` is committed. A majority of its voters, by what it
    /// knew before or after the step, must have had it durably, and the entry must be of its own term.
    pub(crate) fn committed(&mut self, who: &str, log: &Log, after: &Pulse) {
        let seq = after.committed;
        let Some((term, _)) = log.entry(seq) else { return };
        let position = Position { term, seq };
        // A raise that was pulled is known to be committed by who was pulled from.
        let is_pulled = self.raises.iter().any(|(raise, _)| *raise == position);
        if term != after.promise.term && !is_pulled {
            self.violated(format!("{who} leads {} and commits up to {position} by counting", after.promise.term));
        }
        let has = |replica| self.volume_numbers.get(&replica).is_some_and(|number| self.was_durable(*number, position));
        // The voters are those of the log as written, not those that the replica reports. It may have committed and changed
        // them in one step.
        if !log.last_voters().any(|voters| voters.is_majority(has)) {
            self.violated(format!(
                "{who} says {position} is committed, but no majority of its voters ever had it durably"
            ));
        }
    }

    /// A replica opened its term for writes.
    pub(crate) fn opened(&mut self, who: &str, incarnation: Incarnation, status: &Status, log: &Log) {
        let term = status.promise.term;
        if status.promise.incarnation != incarnation {
            return self.violated(format!("{who} leads {term}, but its promise is {}", status.promise));
        }
        if status.bootstrapping {
            return self.violated(format!("{who} opens for writes, but its volume is marked bootstrapping [L4]"));
        }
        let first = *self.opened.entry(term).or_insert(incarnation);
        if first != incarnation {
            return self.violated(format!("invariant 2: {who} opens term {term}, as {first} did before"));
        }
        let missing = (self.applied[(log.base().seq.0 as usize).min(self.applied.len())..].iter())
            .find(|applied| applied.by < term && !log.contains(applied.position));
        if let Some(missing) = missing {
            let Applied { position, by, .. } = *missing;
            self.violated(format!(
                "invariant 1: {who} leads {term} without {position}, committed in {by} (its log ends at {})",
                log.last()
            ));
        }
    }

    /// `position` was applied for the first time, in `by`: a leader of a later term must have it already.
    pub(crate) fn must_have(&mut self, who: &str, status: &Status, log: &Log, position: Position, by: Term) {
        if status.phase == Phase::Leading
            && status.promise.term > by
            && position.seq > log.base().seq
            && !log.contains(position)
        {
            let term = status.promise.term;
            self.violated(format!("invariant 1: {position} is committed in {by}, but {who} leads {term} without it"));
        }
    }

    /// A replica says hello. That is its vote, so its promise must be durable, and the position must be its last one
    /// \[S3\].
    pub(crate) fn said_hello(&mut self, who: &str, volume: &Volume, promise: Promise, position: Position) {
        if volume.durable_state.promise != promise {
            let durable = volume.durable_state.promise;
            self.violated(format!("{who} says hello with promise {promise}, durable is {durable}"));
        }
        if volume.log.last() != position {
            let last = volume.log.last();
            self.violated(format!("{who} says hello with position {position}, its log ends at {last} [S3]"));
        }
    }

    /// A follower acknowledges: the entry must be durable there, and equal to the leader's log \[S4\].
    pub(crate) fn acknowledged(&mut self, who: &str, volume: &Volume, seq: Seq, leader: Option<&Log>) {
        let durable = volume.durable_log.last_seq();
        if durable < seq {
            return self.violated(format!("{who} acknowledges {seq}, durable is {durable}"));
        }
        if let Some(last) = leader.map(Log::last_seq).filter(|last| *last < seq) {
            return self.violated(format!("{who} acknowledges {seq}, its leader's log ends at {last} [S4]"));
        }
        let own = volume.durable_log.entry(seq);
        if let (Some(own), Some(leaders)) = (own, leader.and_then(|log| log.entry(seq)))
            && own != leaders
        {
            self.violated(format!(
                "{who} acknowledges {seq}, but has {}/{seq} where its leader has {}/{seq} [S4]",
                own.0, leaders.0
            ));
        }
    }

    /// A leader appends this voters entry to this log. It may add or remove exactly one voter \[S7\], after the last change
    /// and an entry of its own term are committed.
    pub(crate) fn voters_changed(&mut self, who: &str, log: &Log, committed: Seq, entry: &Entry) {
        let Payload::Voters(after) = &entry.payload else { return };
        let none = (Seq(0), std::rc::Rc::new(Voters::none()));
        let (since, before) = log.voters().unwrap_or(&none);
        let added = after.voters.iter().filter(|voter| !before.contains(voter.replica)).count();
        let removed = before.voters.iter().filter(|voter| !after.contains(voter.replica)).count();
        let position = entry.position;
        if added + removed > 1 {
            self.violated(format!("{who} adds {added} voters and removes {removed} in {position} [S7]"));
        }
        if *since > committed {
            self.violated(format!("{who} changes the voters in {position}, those of {since} are not committed [S7]"));
        }
        let term =
            if committed == log.base().seq { log.base().term } else { log.entry(committed).map_or(Term(0), |e| e.0) };
        if term != position.term {
            self.violated(format!("{who} changes the voters in {position}, when {term}/{committed} is committed [S7]"));
        }
    }

    /// A leader writes an entry of its own term: a majority of its voters must have promised that term to it, durably. (One
    /// that has moved on to a later term may have done so before.)
    pub(crate) fn begins_term(&mut self, who: &str, log: &Log, own: Promise, entry: &Entry) {
        if entry.previous.term == own.term || entry.position.term != own.term {
            return;
        }
        let promised = |replica| {
            let number = self.volume_numbers.get(&replica).copied().unwrap_or(usize::MAX);
            let promise = self.promises.get(number).copied().flatten();
            promise.is_some_and(|promise| promise == own || promise.term > own.term)
        };
        if log.voters().is_none_or(|(_, voters)| !voters.is_majority(promised)) {
            let position = entry.position;
            self.violated(format!("{who} writes {position}, but no majority of its voters has promised it durably"));
        }
    }

    /// An entry of this term is written to this volume: its promise to that term (or a later one) must be durable.
    pub(crate) fn entry_of(&mut self, who: &str, volume: &Volume, entry: &Entry) {
        let durable = volume.durable_state.promise;
        if entry.position.term > durable.term {
            self.violated(format!("{who} writes {}, when its durable promise is {durable}", entry.position));
        }
    }

    /// A leader accepts a write: there must be as many voters as the floor requires \[L7\].
    pub(crate) fn taken(&mut self, who: &str, log: &Log) {
        if let Some((_, voters)) = log.voters()
            && voters.voters.len() < voters.floor as usize
        {
            let (have, floor) = (voters.voters.len(), voters.floor);
            self.violated(format!("{who} takes a write with {have} voters, the floor is {floor} [L7]"));
        }
    }

    /// This became durable on this volume.
    pub(crate) fn made_durable(&mut self, who: &str, volume: usize, item: &Item) {
        match item {
            Item::State(state) => self.promised(who, volume, state),
            Item::Entry(entry) => self.durable(volume, entry),
            Item::Segment(_) => {}
            Item::Install(meta, state) => {
                self.snapshot_durable(volume, meta.position);
                self.promised(who, volume, state);
            }
        }
    }
}
