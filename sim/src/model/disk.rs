//! A data volume: what was started, what is durable, and what a crash leaves of it.
//!
//! ```text
//!   Persist ──▶ begun: [ durable | page cache | still in the process ]       fdatasync moves the first mark, after a while
//!   process crash: what reached the page cache stays, readable, but not durable \[S2\]
//!   power loss:    a random part of what was not durable is gone
//!   recovery:      reads all that is there, makes it durable, and only then begins the replica
//! ```
//!
//! Records are kept whole: torn bytes are the journal's own business (its checksums turn them into missing records). A
//! snapshot is either in place or not. Old records are dropped only from the front, and only when a durable state precedes
//! the rest \[S1\]; whatever is left in front of a snapshot is recognised by its chain \[S8\].

use super::rng::Rng;
use leasehold_replication::{
    Diverged, DurableState, Entry, FORMAT_MIN, Payload, Position, Record, Recovered, ReplicaId, Restore, Seq,
    SnapshotMeta, Term, Ticket, Voters, WentBack,
};
use std::collections::VecDeque;
use std::rc::Rc;

/// One record of the simulated journal.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// The state from here on.
    State(DurableState),
    /// An entry; it may cut earlier ones.
    Entry(Entry),
    /// The next segment begins: it is of a later format than the one before.
    Segment(u32),
    /// A snapshot that was received takes the place of all before it.
    Install(Rc<SnapshotMeta>, DurableState),
}

/// A log as seen from outside: positions and checksums, without the entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Log {
    /// What the snapshot holds.
    base: Position,
    /// (term, checksum) of the entries after `base`.
    entries: VecDeque<(Term, u32)>,
    /// Every set of voters in it, with the sequence from which it counts. The first is the base's.
    voters: Vec<(Seq, Rc<Voters>)>,
}

/// The records that fsync has to cover for a ticket.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    ticket: Ticket,
    end: u64,
}

/// One volume.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    /// Its identity.
    pub(crate) replica: ReplicaId,
    /// Its number among all volumes of the run, below 64.
    pub(crate) number: usize,
    /// The log with everything that was started: what the running replica has.
    pub(crate) log: Log,
    /// The log that a power loss would leave.
    pub(crate) durable_log: Log,
    /// The last state that was started.
    pub(crate) begun_state: DurableState,
    /// The state that a power loss would leave.
    pub(crate) durable_state: DurableState,
    journal: VecDeque<Item>,
    /// How many records were dropped from the front; the marks below count from the very first record.
    dropped: u64,
    durable: u64,
    waiting: VecDeque<Waiting>,
    snapshot: Option<Rc<SnapshotMeta>>,
    /// The format of the segments before the first one that `journal` tells of; and that of the newest one.
    first_format: u32,
    pub(crate) format: u32,
    /// The format that stands in snapshot.json.
    snapshot_format: u32,
    /// The highest format of voters that was ever written here.
    pub(crate) saw_format: u32,
    /// What the last run noted as committed when it ended.
    pub(crate) noted: Position,
    /// The file that marks it as gone back in time.
    pub(crate) mark: Option<WentBack>,
    /// The file of data that have diverged.
    pub(crate) diverged: Option<Diverged>,
    /// What its restore.json holds, if there is one.
    pub(crate) restore: Option<Restore>,
    /// A restored snapshot and the voters behind it are one write; false only if that very fault is planted.
    pub(crate) restores_at_once: bool,
    /// What is wrong with the data in its snapshot; 0 if nothing is.
    pub(crate) snapshot_damage: u64,
    /// A copy that somebody made of it.
    copy: Option<Rc<Volume>>,
    /// Its content before an older copy replaced it.
    before: Option<Rc<Volume>>,
}

impl Log {
    fn new(base: Position, voters: Voters) -> Log {
        Log { base, entries: VecDeque::new(), voters: vec![(base.seq, Rc::new(voters))] }
    }

    /// The last set of voters, and the sequence from which it counts.
    pub(crate) fn voters(&self) -> Option<&(Seq, Rc<Voters>)> {
        self.voters.last()
    }

    /// The last two sets of voters.
    pub(crate) fn last_voters(&self) -> impl Iterator<Item = &Voters> {
        self.voters.iter().rev().take(2).map(|(_, voters)| &**voters)
    }

    /// The last entry, or the snapshot's last one.
    pub(crate) fn last(&self) -> Position {
        match self.entries.back() {
            Some((term, _)) => Position { term: *term, seq: self.last_seq() },
            None => self.base,
        }
    }

    /// Its sequence.
    pub(crate) fn last_seq(&self) -> Seq {
        Seq(self.base.seq.0 + self.entries.len() as u64)
    }

    /// Where the snapshot ends.
    pub(crate) fn base(&self) -> Position {
        self.base
    }

    /// Term and checksum of this entry; none outside the log or within the snapshot.
    pub(crate) fn entry(&self, seq: Seq) -> Option<(Term, u32)> {
        let at = seq.0.checked_sub(self.base.seq.0 + 1)?;
        self.entries.get(at as usize).copied()
    }

    /// Is this position in the log (the snapshot's last one counts)?
    pub(crate) fn contains(&self, position: Position) -> bool {
        position == self.base || self.entry(position.seq).is_some_and(|(term, _)| term == position.term)
    }

    /// Appends an entry, cutting what follows the one that it names. False: it names none \[S8\].
    fn push(&mut self, entry: &Entry) -> bool {
        if !self.contains(entry.previous) {
            return false;
        }
        self.entries.truncate((entry.previous.seq.0 - self.base.seq.0) as usize);
        let base = self.base.seq;
        while self.voters.last().is_some_and(|(seq, _)| *seq > entry.previous.seq && *seq > base) {
            self.voters.pop();
        }
        if let Payload::Voters(voters) = &entry.payload {
            self.voters.push((entry.position.seq, Rc::new(voters.clone())));
        }
        self.entries.push_back((entry.position.term, checksum(entry)));
        true
    }

    /// A snapshot of this log's own begins at `position`.
    fn trim(&mut self, position: Position, voters: &Voters) {
        if self.contains(position) {
            self.entries.drain(..(position.seq.0 - self.base.seq.0) as usize);
            self.base = position;
            let first = self.voters.iter().rposition(|(seq, _)| *seq <= position.seq).unwrap_or(0);
            self.voters.drain(..first);
        } else if position.seq > self.base.seq {
            *self = Log::new(position, voters.clone());
        }
    }
}

/// The first record that a crash removed may be there in part, followed by other bytes: it is never read as whole.
fn is_told_apart(entry: &Entry, rng: &mut Rng) {
    let whole = entry.record();
    let cut = rng.below(whole.len());
    let mut torn = whole[..cut].to_vec();
    match rng.below(3) {
        0 => {}
        1 => torn.resize(whole.len(), 0),
        _ => torn.extend((cut..whole.len()).map(|_| rng.bits() as u8)),
    }
    let is_other = torn != whole[..];
    let read = Record::decode(&mut bytes::Bytes::from(torn));
    assert!(read.is_err() || !is_other, "a record torn at byte {cut} of {} is taken for {read:?}", whole.len());
}

/// What a build must read to apply it. In runs with two builds a command says so behind its number.
pub(crate) fn format_of(entry: &Entry) -> u32 {
    match &entry.payload {
        Payload::Empty => FORMAT_MIN,
        Payload::Voters(voters) => voters.format,
        Payload::Command(command) => command.get(8).map_or(FORMAT_MIN, |format| u32::from(*format).max(FORMAT_MIN)),
    }
}

/// The checksum that stands in the entry's record.
pub(crate) fn checksum(entry: &Entry) -> u32 {
    u32::from_le_bytes(entry.record()[4..8].try_into().expect("a record has a header"))
}

impl Volume {
    /// An empty volume, with its first segment and promise 0 in place.
    pub(crate) fn new(replica: ReplicaId, number: usize) -> Volume {
        Volume {
            replica,
            number,
            log: Log::default(),
            durable_log: Log::default(),
            begun_state: DurableState::EMPTY,
            durable_state: DurableState::EMPTY,
            journal: VecDeque::from([Item::State(DurableState::EMPTY)]),
            dropped: 0,
            durable: 1,
            waiting: VecDeque::new(),
            snapshot: None,
            first_format: FORMAT_MIN,
            format: FORMAT_MIN,
            snapshot_format: FORMAT_MIN,
            saw_format: FORMAT_MIN,
            noted: Position::ZERO,
            mark: None,
            diverged: None,
            restore: None,
            restores_at_once: true,
            snapshot_damage: 0,
            copy: None,
            before: None,
        }
    }

    /// Starts to write. False: one of the entries follows nothing in the log.
    pub(crate) fn begin(&mut self, ticket: Ticket, items: impl Iterator<Item = Item>) -> bool {
        let mut chained = true;
        for item in items {
            match &item {
                Item::State(_) | Item::Segment(_) => {}
                Item::Entry(entry) => {
                    if let Payload::Voters(voters) = &entry.payload {
                        self.saw_format = self.saw_format.max(voters.format);
                    }
                    chained &= self.log.push(entry);
                }
                Item::Install(meta, _) => {
                    self.saw_format = self.saw_format.max(meta.voters.format);
                    self.log = Log::new(meta.position, meta.voters.clone());
                }
            }
            self.journal.push_back(item);
        }
        self.waiting.push_back(Waiting { ticket, end: self.begun() });
        chained
    }

    /// What is begun from here on goes into a segment of that format.
    pub(crate) fn begin_segment(&mut self, format: u32) {
        if format > self.format {
            self.format = format;
            self.journal.push_back(Item::Segment(format));
        }
    }

    /// What a build must read that starts on this volume.
    pub(crate) fn needs_format(&self) -> u32 {
        let of_journal = self.journal.iter().map(|item| match item {
            Item::State(_) => FORMAT_MIN,
            Item::Entry(entry) => format_of(entry),
            Item::Segment(format) => *format,
            Item::Install(meta, _) => meta.voters.format,
        });
        of_journal.max().unwrap_or(FORMAT_MIN).max(self.first_format).max(self.snapshot_format)
    }

    /// Does it belong to a cluster, by what a start would read?
    pub(crate) fn has_cluster(&self) -> bool {
        let states = self.journal.iter().filter_map(|item| match item {
            Item::State(state) | Item::Install(_, state) => Some(state),
            Item::Entry(_) | Item::Segment(_) => None,
        });
        states.last().is_some_and(|state| state.cluster_id.is_some())
    }

    /// Data are durable here: its restore.json is no longer needed. `remains`: a crash comes first.
    pub(crate) fn forget_restore(&mut self, remains: impl FnOnce() -> bool) {
        if self.restore.is_some() && self.durable_state.cluster_id.is_some() && !remains() {
            self.restore = None;
        }
    }

    /// Is there anything durable of a cluster?
    pub(crate) fn has_data(&self) -> bool {
        self.durable_state.cluster_id.is_some()
    }

    /// The durable entries after this position, as far as the journal contains them: about this many bytes, at least one.
    pub(crate) fn look_up(&self, previous: Position, bytes_max: usize) -> Option<Vec<Entry>> {
        let durable = self.journal.iter().take((self.durable - self.dropped) as usize);
        let mut found: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        for item in durable {
            let Item::Entry(entry) = item else { continue };
            let last = found.last().map_or(previous, |last| last.position);
            if entry.previous != last
                || self.log.entry(entry.position.seq) != Some((entry.position.term, checksum(entry)))
            {
                continue;
            }
            bytes += entry.record().len();
            if !found.is_empty() && bytes > bytes_max {
                break;
            }
            found.push(entry.clone());
        }
        (!found.is_empty()).then_some(found)
    }

    /// Where the installed snapshot ends.
    pub(crate) fn snapshot_position(&self) -> Option<Position> {
        self.snapshot.as_ref().map(|meta| meta.position)
    }

    /// The last voters on this volume, if any.
    pub(crate) fn voters(&self) -> Option<Voters> {
        let recovered = self.clone().recover(true, false, |_| {});
        let in_log = recovered.entries.iter().rev().find_map(|entry| match &entry.payload {
            Payload::Voters(voters) => Some(voters.clone()),
            Payload::Empty | Payload::Command(_) => None,
        });
        in_log.or(recovered.snapshot.map(|meta| meta.voters))
    }

    /// The number of records ever started.
    pub(crate) fn begun(&self) -> u64 {
        self.dropped + self.journal.len() as u64
    }

    /// Were more records than these started that are not durable?
    pub(crate) fn is_behind_by(&self, records: u64) -> bool {
        self.begun() - self.durable > records
    }

    /// Is anything started but not durable, or durable but not reported?
    pub(crate) fn is_busy(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// An fsync ended that covers the first `covers` records. Returns the last ticket that this makes durable, and calls
    /// `seen` with each entry that became durable.
    pub(crate) fn synced(&mut self, covers: u64, mut seen: impl FnMut(&Item)) -> Option<Ticket> {
        while self.durable < covers {
            let item = &self.journal[(self.durable - self.dropped) as usize];
            match item {
                Item::State(state) => self.durable_state = *state,
                Item::Segment(_) => {}
                Item::Entry(entry) => {
                    self.durable_log.push(entry);
                }
                Item::Install(meta, state) => {
                    self.durable_log = Log::new(meta.position, meta.voters.clone());
                    self.durable_state = *state;
                    self.snapshot = Some(meta.clone());
                    self.snapshot_format = meta.voters.format;
                }
            }
            seen(item);
            self.durable += 1;
        }
        let mut ticket = None;
        while self.waiting.front().is_some_and(|waiting| waiting.end <= covers) {
            ticket = self.waiting.pop_front().map(|waiting| waiting.ticket);
        }
        ticket
    }

    /// The next waiting ticket and its mark (for a planted fault: reporting it before it is durable).
    pub(crate) fn take_unsynced(&mut self) -> Option<Ticket> {
        self.waiting.drain(..).next_back().map(|waiting| waiting.ticket)
    }

    /// A snapshot of the replica's own is durable and in place. Drops what it holds from the front of the journal, as far
    /// as that is durable, but a random part.
    pub(crate) fn snapshot_taken(&mut self, meta: Rc<SnapshotMeta>, format: u32, rng: &mut Rng) {
        let position = meta.position;
        self.snapshot_format = format;
        // A segment begins that names it.
        self.begin_segment(format);
        self.log.trim(position, &meta.voters);
        self.durable_log.trim(position, &meta.voters);
        self.snapshot = Some(meta);
        let mut state = None;
        let mut count = 0;
        for item in self.journal.iter().take((self.durable - self.dropped) as usize) {
            match item {
                Item::State(new) | Item::Install(_, new) => state = Some(*new),
                Item::Segment(_) => {}
                Item::Entry(entry) if entry.position.seq <= position.seq => {}
                Item::Entry(_) => break,
            }
            count += 1;
        }
        // A segment boundary is seldom in the ideal place.
        let keep = if rng.chance(500) { rng.below(count + 1) } else { 0 };
        if keep > 0 {
            count -= keep;
            state = self.journal.iter().take(count).rev().find_map(|item| match item {
                Item::State(state) | Item::Install(_, state) => Some(*state),
                Item::Entry(_) | Item::Segment(_) => None,
            });
        }
        if let (Some(state), true) = (state, count > 1) {
            for item in self.journal.drain(..count) {
                if let Item::Segment(format) = item {
                    self.first_format = self.first_format.max(format);
                }
            }
            self.journal.push_front(Item::State(state));
            self.dropped += count as u64 - 1;
        }
    }

    /// The process died. `power`: so did the machine; otherwise the page cache stays.
    pub(crate) fn crash(&mut self, power: bool, rng: &mut Rng) {
        self.waiting.clear();
        let open = (self.begun() - self.durable) as usize;
        // What had left the process is in the page cache. Usually all of it had; a power loss usually removes it all.
        let kept = match rng.below(4) {
            0 => rng.below(open + 1),
            _ if power => 0,
            _ => open,
        };
        let mut lost = self.journal.len() - (open - kept);
        if lost < self.journal.len()
            && kept > 0
            && self.restores_at_once
            && matches!(&self.journal[lost - 1], Item::Install(meta, _) if meta.position.term == Term(0))
        {
            lost -= 1;
        }
        if let Some(Item::Entry(entry)) = self.journal.get(lost) {
            is_told_apart(entry, rng);
        }
        self.journal.truncate(lost);
    }

    /// A new process reads the volume, and makes what it read durable before it reports anything \[S2\]. `resync` is false
    /// only if that very fault is planted. Returns what it found; `seen` is called with each record that this made durable.
    pub(crate) fn recover(&mut self, resync: bool, replays_tail: bool, seen: impl FnMut(&Item)) -> Recovered {
        if resync {
            let begun = self.begun();
            self.synced(begun, seen);
        }
        let mut state = None;
        let mut entries: Vec<Entry> = Vec::new();
        let mut snapshot = self.snapshot.clone();
        let mut base = snapshot.as_ref().map_or(Position::ZERO, |meta| meta.position);
        self.format = self.first_format;
        for item in &self.journal {
            match item {
                Item::State(new) => state = Some(*new),
                Item::Segment(format) => self.format = self.format.max(*format),
                Item::Install(meta, new) => {
                    state = Some(*new);
                    if meta.position.seq >= base.seq {
                        (base, snapshot) = (meta.position, Some(meta.clone()));
                        if !replays_tail {
                            entries.clear();
                        }
                    }
                }
                // The planted fault: everything behind the snapshot's sequence, whether or not it follows from it.
                Item::Entry(entry) if replays_tail && entry.position.seq.0 == base.seq.0 + entries.len() as u64 + 1 => {
                    entries.push(entry.clone());
                }
                Item::Entry(entry) => {
                    let keep = match entry.previous.seq.0.checked_sub(base.seq.0) {
                        Some(0) if entry.previous == base => 0,
                        Some(at) if at > 0 => match entries.get(at as usize - 1) {
                            Some(before) if before.position == entry.previous => at as usize,
                            _ => continue,
                        },
                        _ => continue,
                    };
                    entries.truncate(keep);
                    entries.push(entry.clone());
                }
            }
        }
        let first = snapshot.as_ref().map_or_else(Voters::none, |meta| meta.voters.clone());
        self.log = Log::new(base, first);
        for entry in &entries {
            self.log.entries.push_back((entry.position.term, checksum(entry)));
            if let Payload::Voters(voters) = &entry.payload {
                self.log.voters.push((entry.position.seq, Rc::new(voters.clone())));
            }
        }
        if resync {
            self.durable_log = self.log.clone();
        }
        let state = state.expect("every segment begins with a state [S1]");
        self.begun_state = state;
        let (went_back, diverged) = (self.mark.clone(), self.diverged.clone());
        let snapshot = snapshot.map(|meta| (*meta).clone());
        Recovered { state, snapshot, entries, committed: self.noted, went_back, diverged, format: self.format }
    }

    /// Somebody copies what is durable.
    pub(crate) fn keep_copy(&mut self) {
        let mut copy = self.clone();
        (copy.copy, copy.before) = (None, None);
        copy.journal.truncate((self.durable - self.dropped) as usize);
        copy.waiting.clear();
        (copy.log, copy.begun_state) = (copy.durable_log.clone(), copy.durable_state);
        self.copy = Some(Rc::new(copy));
    }

    /// The copy, if one was made and the volume is no copy already.
    pub(crate) fn older(&self) -> Option<&Volume> {
        self.copy.as_deref().filter(|_| self.before.is_none())
    }

    /// The copy replaces the volume.
    pub(crate) fn set_back(&mut self) {
        if let Some(copy) = self.copy.take() {
            let before = std::mem::replace(self, (*copy).clone());
            self.before = Some(Rc::new(before));
        }
    }

    /// Is it an older copy of itself?
    pub(crate) fn is_set_back(&self) -> bool {
        self.before.is_some()
    }

    /// The newest state is restored: the copy never promised anything.
    pub(crate) fn put_right(&mut self) {
        if let Some(before) = self.before.take() {
            *self = (*before).clone();
        }
    }

    /// The replica considers the log empty; the next entries will make that true in the journal as well.
    pub(crate) fn forget_log(&mut self) {
        (self.log, self.durable_log) = Default::default();
    }

    /// Removes the promise from the journal (for a planted fault \[S1\]).
    pub(crate) fn lose_promise(&mut self) {
        for item in &mut self.journal {
            if let Item::State(state) | Item::Install(_, state) = item {
                state.promise = leasehold_replication::Promise::NONE;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leasehold_replication::Promise;

    fn entries(from: Position, term: u64, count: usize) -> Vec<Entry> {
        let mut previous = from;
        (0..count)
            .map(|_| {
                let entry = Entry::new(previous, Term(term), Payload::Empty);
                previous = entry.position;
                entry
            })
            .collect()
    }

    fn write(volume: &mut Volume, ticket: u64, entries: Vec<Entry>) {
        assert!(volume.begin(Ticket(ticket), entries.into_iter().map(Item::Entry)));
    }

    #[test]
    fn a_cut_replaces_all_after_it_and_a_power_loss_may_undo_it() {
        let mut volume = Volume::new(ReplicaId(uuid::Uuid::from_u128(1)), 0);
        write(&mut volume, 1, entries(Position::ZERO, 1, 5));
        assert_eq!(volume.synced(volume.begun(), |_| {}), Some(Ticket(1)));
        write(&mut volume, 2, entries(Position::new(1, 3), 2, 1));
        assert_eq!(volume.log.last(), Position::new(2, 4));
        assert_eq!(volume.durable_log.last(), Position::new(1, 5));
        let mut outcomes = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let mut volume = volume.clone();
            volume.crash(true, &mut Rng::new(seed));
            let recovered = volume.recover(true, false, |_| {});
            assert_eq!(recovered.entries.last().map(|e| e.position), Some(volume.log.last()));
            outcomes.insert(volume.log.last());
        }
        assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), [Position::new(1, 5), Position::new(2, 4)]);
    }

    #[test]
    fn an_old_tail_is_not_replayed_over_a_newer_snapshot() {
        let mut volume = Volume::new(ReplicaId(uuid::Uuid::from_u128(1)), 0);
        write(&mut volume, 1, entries(Position::ZERO, 1, 9));
        let state = DurableState {
            promise: Promise { term: Term(3), ..Promise::NONE },
            cluster_id: None,
            bootstrapping: false,
        };
        assert!(volume.begin(Ticket(2), [Item::State(state)].into_iter()));
        volume.synced(volume.begun(), |_| {});
        let meta = SnapshotMeta {
            cluster_id: leasehold_replication::ClusterId(uuid::Uuid::nil()),
            position: Position::new(2, 6),
            voters: leasehold_replication::Voters::none(),
        };
        volume.snapshot_taken(Rc::new(meta), FORMAT_MIN, &mut Rng::new(1));
        let recovered = volume.recover(true, false, |_| {});
        assert_eq!(recovered.state.promise.term, Term(3));
        assert!(recovered.entries.is_empty(), "{:?}", recovered.entries);
        assert_eq!(volume.log.last(), Position::new(2, 6));
    }

    /// The fault planted by `OldTailIsReplayed`: a replica would start with entries that nobody else has \[S8\].
    #[test]
    fn the_tail_of_an_older_journal_is_dropped_unless_that_fault_is_planted() {
        let mut volume = Volume::new(ReplicaId(uuid::Uuid::from_u128(1)), 0);
        write(&mut volume, 1, entries(Position::ZERO, 1, 9));
        let meta = SnapshotMeta {
            cluster_id: leasehold_replication::ClusterId(uuid::Uuid::nil()),
            position: Position::new(2, 6),
            voters: Voters::none(),
        };
        assert!(volume.begin(Ticket(2), [Item::Install(Rc::new(meta), DurableState::EMPTY)].into_iter()));
        for (replays, last) in [(false, Position::new(2, 6)), (true, Position::new(1, 9))] {
            let mut volume = volume.clone();
            let recovered = volume.recover(true, replays, |_| {});
            assert_eq!(volume.log.last(), last);
            assert_eq!(recovered.entries.is_empty(), !replays);
        }
    }
}
