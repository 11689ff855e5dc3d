//! The replica: one value that promises, follows and leads.
//!
//! ```text
//!             claim above the promise, by role.json or an invitation
//!   Idle ───────────────────────────────────▶ Following ── lost ──▶ asks the voters ──▶ campaign (status.json)
//!     ▲ │                                       │   ▲
//!     │ └── the claim names this incarnation ─▶ │   │ claim of somebody else with a higher term
//!     │                                         ▼   │
//!     └── a voter's higher promise ───────── Leading: Counting ─▶ (Pulling) ─▶ Opening ─▶ Open for writes
//! ```
//!
//! Where to read on: `following` (5.1 in docs/design.md), `leading` (5.2), `reads`, `losing` (5.3), `draining` (5.4),
//! `membership` and `bootstrap` (5.5).
//!
//! Invariants, asserted here: the promise never goes down, nor does its incarnation change within a term; nothing that is
//! committed is cut; nothing is acked, promised or counted before it is durable (`Writes`).
//!
//! Not promised: that only one replica believes it leads. Promised: only one can commit in a term.

use crate::bootstrap::without_torn_bootstrap;
use crate::disk::Disk;
use crate::freshness::Freshness;
use crate::log::Log;
use crate::losing::Lost;
use crate::plants::{
    Memory, equal_entries_stay, late_acks_are_dropped, leaders_need_no_lease, old_appends_are_dropped,
    promises_name_incarnations, restarts_need_new_terms,
};
use crate::reads::Reads;
use crate::role::{Following, Leading, Link, Role, Stage};
use crate::went_back::Asking;
use crate::{
    Claim, Config, ConnId, DurableState, Effect, Entry, Frame, Input, KnownVolume, Payload, PeerState, Position,
    Record, Recovered, RoleView, Room, Seq, SnapshotMeta, Term, Ticket, WentBack,
};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// A Lease whose term is further above the promise than this is an edit by hand; nobody promises to it \[L8\].
const TERM_JUMP_MAX: u64 = 1_000_000;

/// One replica of the log. See the module for the way through its life.
#[derive(Clone, Debug, Hash)]
pub struct Replica {
    pub(crate) config: Config,
    /// The time of the present step, and of the first one.
    pub(crate) now: Duration,
    pub(crate) began: Option<Duration>,
    /// Promise, cluster and mark: in force, and durable as soon as `writes` says so.
    pub(crate) state: DurableState,
    pub(crate) log: Log,
    pub(crate) writes: Writes,
    /// Committed, as far as this replica knows. Never goes down.
    pub(crate) commit: Seq,
    /// Given out for application. Never above `commit`.
    pub(crate) applied: Seq,
    /// Strong reads of our own clients.
    pub(crate) reads: Reads,
    /// How old the data here may be.
    pub(crate) freshness: Freshness,
    /// What role.json said last.
    pub(crate) view: Option<RoleView>,
    pub(crate) role: Role,
    /// Set while there is no leader to be heard (a leader: no majority).
    pub(crate) lost: Option<Lost>,
    /// What other replicas said when they were asked, and when.
    pub(crate) answers: BTreeMap<String, (Duration, PeerState)>,
    /// When the others are asked next, and the pause after that.
    pub(crate) ask_at: Duration,
    pub(crate) ask_pause: Duration,
    /// Since when it was told to end.
    pub(crate) draining: Option<Duration>,
    /// Caught up once with a leader.
    pub(crate) caught_up: bool,
    /// The ticket of the write that cleared the mark `bootstrapping`, if this incarnation did.
    pub(crate) mark_cleared_by: Ticket,
    /// A hand-edited Lease that is not promised to, for people.
    pub(crate) absurd_term: Option<Term>,
    pub(crate) failed: bool,
    /// What the shell says of the disk.
    pub(crate) disk: Disk,
    /// The questions that come before the first promise; none when they are over \[E1\].
    pub(crate) asking: Option<Asking>,
    /// The volume has gone back in time \[E2\].
    pub(crate) went_back: Option<WentBack>,
    /// Committed, by what an earlier run noted on the volume: not applied again before it is known anew.
    pub(crate) noted: Seq,
    /// Entries were cut that an earlier run knew to be committed: which, for people.
    pub(crate) cut_committed: Option<String>,
    /// What is known of other volumes, of this and of earlier roles of this run \[E1\].
    pub(crate) known: Vec<KnownVolume>,
    /// What the shell said of memory and disk last, and since when it is over a limit.
    pub(crate) room: Room,
    pub(crate) over_since: Option<Duration>,
    next_conn: u64,
    pub(crate) effects: Vec<Effect>,
    pub(crate) memory: Memory,
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
    pub(crate) fn issue(&mut self, log_end: Seq) -> Ticket {
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

impl Replica {
    /// A replica as it was found on its volume, all of it durable \[S2\].
    pub fn new(config: Config, recovered: Recovered) -> Replica {
        let recovered = without_torn_bootstrap(recovered, &config);
        let log = Log::new(&recovered);
        let snapshot = log.snapshot().seq;
        let noted = if log.contains(recovered.committed) { recovered.committed.seq } else { snapshot };
        Replica {
            now: Duration::ZERO,
            began: None,
            state: recovered.state,
            writes: Writes { durable: log.last().seq, ..Writes::default() },
            log,
            commit: snapshot,
            applied: snapshot,
            reads: Reads::default(),
            freshness: Freshness::default(),
            view: None,
            role: Role::Idle,
            lost: None,
            answers: BTreeMap::new(),
            ask_at: Duration::ZERO,
            ask_pause: Duration::ZERO,
            draining: None,
            caught_up: false,
            mark_cleared_by: Ticket(0),
            absurd_term: None,
            failed: false,
            disk: Disk::default(),
            asking: recovered.went_back.is_none().then(Asking::default),
            went_back: recovered.went_back,
            known: Vec::new(),
            noted,
            cut_committed: None,
            room: Room::default(),
            over_since: None,
            next_conn: 0,
            effects: Vec::new(),
            memory: Memory::default(),
            config,
        }
    }

    /// Takes one input at `now` (time since any fixed moment, never going back) and says what is to be done, in order.
    pub fn step(&mut self, now: Duration, input: Input) -> Vec<Effect> {
        self.now = self.now.max(now);
        if self.began.is_none() {
            self.began = Some(self.now);
            self.freshness.heard_at = self.now;
        }
        if self.failed {
            self.refuse_after_failure(input);
            return std::mem::take(&mut self.effects);
        }
        match input {
            Input::Role(view) => self.on_role(view),
            Input::Propose(proposals) => self.on_propose(proposals),
            Input::Read { id } => self.on_read(id),
            Input::Persisted { ticket } => self.on_persisted(ticket),
            Input::PersistFailed => self.fail("writing the journal failed; see the log for the error".to_owned()),
            Input::Disk { stalled, full } => self.on_disk(stalled, full),
            Input::Answered { conn, answer } => self.on_answered(conn, answer),
            Input::Hello { conn, hello } => self.on_hello(conn, hello),
            Input::Frame { conn, frame } => self.on_frame(conn, frame),
            Input::Heard { conn } => self.on_heard(conn),
            Input::Closed { conn } => self.on_closed(conn),
            Input::Invited { request, claim } => self.on_invited(request, claim),
            Input::InviteAnswered { name, answer } => self.on_invite_answered(name, answer),
            Input::StateAnswered { name, state } => self.on_state_answered(name, state),
            Input::SnapshotTaken { position } => self.log.snapshot_taken(position),
            Input::LookedUp { conn, entries } => self.on_looked_up(conn, entries),
            Input::SnapshotReceived { conn, meta } => self.on_snapshot_received(conn, meta),
            Input::Room(room) => self.on_room(room),
            Input::Drain => self.draining = self.draining.or(Some(self.now)),
            Input::Wake => {}
        }
        // Everything that time, a durable write or a new view can bring about is looked at after every input: nothing
        // can be forgotten by an input that did not think of it.
        if !self.failed {
            self.tend_asking();
            self.tend_bootstrap();
            self.tend_following();
            self.tend_leading();
            self.tend_losing();
            self.give_out_committed();
            self.tend_caught_up();
            self.tend_reads();
            self.note_known();
            self.tend_freshness();
            self.log.trim(self.applied.min(self.writes.durable()), self.config.log_memory_bytes);
        }
        self.log.note_committed(self.commit);
        std::mem::take(&mut self.effects)
    }

    /// When to step with [`Input::Wake`] if nothing else happens first. May lie in the past: then now.
    pub fn deadline(&self) -> Option<Duration> {
        if self.failed {
            return None;
        }
        let asking = (!self.whom_to_ask().is_empty()).then_some(self.ask_at);
        let clocks = [
            asking,
            self.asking_deadline(),
            self.following_deadline(),
            self.leading_deadline(),
            self.losing_deadline(),
            self.draining_deadline(),
            self.stall_deadline(),
            self.freshness_deadline(),
            self.applies().map(|_| self.now),
        ];
        clocks.into_iter().flatten().min()
    }

    // ---- claims and promises

    pub(crate) fn on_role(&mut self, view: RoleView) {
        self.memory.note_role_read(self.log.last());
        if !leaders_need_no_lease() && view.leader.is_none() && matches!(self.role, Role::Leading(_)) {
            self.end_role();
            self.lose();
        }
        let leader = view.leader.clone();
        let lease_cluster = view.cluster_id;
        self.note_renewal(&view);
        self.view = Some(view);
        if self.state.bootstrapping
            && let (Some(own), Some(seen)) = (self.state.cluster_id, lease_cluster)
        {
            if own != seen {
                // Our bootstrap lost against another one, and nothing was ever acknowledged from it [L4].
                self.effects.push(Effect::WipeVolume { winner: seen });
                self.fail(format!("the Lease carries cluster-id {seen}, but this volume's bootstrap created {own}"));
                return;
            }
            self.mark_cleared_by = self.write_state(DurableState { bootstrapping: false, ..self.state });
        }
        let Some(leader) = leader else { return };
        if self.foreign_cluster().is_some() {
            return;
        }
        let Some(cluster_id) = lease_cluster.or(self.state.cluster_id) else { return };
        // A volume that knows nothing cannot tell an absurd term from a real one: it waits for a leader's invitation [L8].
        if self.state.cluster_id.is_none() && self.state.promise.term == Term(0) {
            return;
        }
        let absurd = leader.term.0 > self.state.promise.term.0.saturating_add(TERM_JUMP_MAX);
        self.absurd_term = absurd.then_some(leader.term);
        if absurd {
            return;
        }
        let claim = Claim {
            cluster_id,
            term: leader.term,
            incarnation: leader.incarnation,
            name: leader.name,
            peer_address: leader.peer_address,
            addresses: leader.addresses,
        };
        self.consider(claim);
    }

    /// Takes the claim if it is above the promise; goes on with it if it is the one that was promised to. A term that no
    /// Lease can carry is nobody's, whoever says it.
    pub(crate) fn consider(&mut self, claim: Claim) {
        if claim.term > Term::MAX || self.went_back.is_some() {
            return;
        }
        if self.is_asking() {
            return self.defer(claim);
        }
        if claim.term > self.state.promise.term {
            self.take(claim);
        } else if !promises_name_incarnations()
            && claim.term == self.state.promise.term
            && self.claim().is_none_or(|own| own.incarnation != claim.incarnation)
        {
            self.end_role();
            let ticket = self.writes.newest();
            if claim.incarnation == self.config.incarnation {
                self.role = Role::Leading(Box::new(Leading::new(claim, ticket, self.now)));
            } else {
                self.follow(claim, ticket);
            }
        } else if claim.promise() == self.state.promise && claim.incarnation != self.config.incarnation {
            match &mut self.role {
                Role::Following(_) => self.learn_addresses(claim),
                Role::Idle if !restarts_need_new_terms() && claim.name == self.config.name => {
                    self.role = Role::Leading(Box::new(Leading::new(claim, self.writes.newest(), self.now)));
                }
                // Restarted under this promise: nothing new is promised, the volume has it.
                Role::Idle => self.follow(claim, self.writes.newest()),
                Role::Leading(_) => {}
            }
        }
    }

    /// Promises to this claim, and from this moment on neither writes nor acks anything of a lower term \[S3\].
    fn take(&mut self, claim: Claim) {
        assert!(claim.term > self.state.promise.term, "a claim of term {} under {}", claim.term, self.state.promise);
        let word = self.word_to_successor(&claim);
        if self.disk.hangs() && matches!(self.role, Role::Leading(_)) {
            self.effects.push(Effect::GiveUp);
        }
        if !old_appends_are_dropped() {
            self.role = Role::Idle;
        }
        self.end_role();
        let ticket = self.write_state(DurableState { promise: claim.promise(), ..self.state });
        self.effects.extend(word);
        if claim.incarnation == self.config.incarnation {
            self.role = Role::Leading(Box::new(Leading::new(claim, ticket, self.now)));
        } else {
            self.follow(claim, ticket);
        }
    }

    fn follow(&mut self, claim: Claim, promised_by: Ticket) {
        self.role = Role::Following(Box::new(Following {
            claim,
            promised_by,
            heard_at: self.now,
            heard: false,
            link: Link::Down { redial_at: self.now },
            dropped: false,
            verified: Seq(0),
            acked: None,
            owes_ack: false,
            leader_commit: Seq(0),
            pulled: None,
            redial_pause: Duration::ZERO,
            leader_replica: None,
            leader_durable: Seq(0),
            is_used_elsewhere: false,
            round: 0,
            echoed_at: Duration::ZERO,
        }));
    }

    /// Closes what belongs to the present role. A connection belongs to one term \[S4\].
    pub(crate) fn end_role(&mut self) {
        self.lost = None;
        match std::mem::replace(&mut self.role, Role::Idle) {
            Role::Idle => {}
            Role::Following(following) => match following.link {
                Link::Down { .. } => {}
                Link::Dialled(conn) | Link::Up(conn) => self.effects.push(Effect::Close { conn }),
            },
            Role::Leading(leading) => {
                let open = leading.followers.iter().filter_map(|(replica, one)| Some((one.conn?, *replica)));
                if late_acks_are_dropped() {
                    self.effects.extend(open.map(|(conn, _)| Effect::Close { conn }));
                } else {
                    self.memory.keep(open);
                }
            }
        }
    }

    /// The cluster-id of the Lease where the volume has another one.
    pub(crate) fn foreign_cluster(&self) -> Option<crate::ClusterId> {
        let lease = self.view.as_ref()?.cluster_id?;
        self.state.cluster_id.filter(|own| *own != lease).map(|_| lease)
    }

    // ---- writing

    pub(crate) fn write_state(&mut self, state: DurableState) -> Ticket {
        let old = self.state.promise;
        assert!(
            state.promise.term > old.term || state.promise == old,
            "a promise of {} would replace {old}",
            state.promise
        );
        self.state = state;
        self.persist(vec![Record::State(state)])
    }

    pub(crate) fn persist(&mut self, records: Vec<Record>) -> Ticket {
        let ticket = self.writes.issue(self.log.last().seq);
        self.effects.push(Effect::Persist { ticket, records });
        ticket
    }

    /// Appends entries of our own term and sends them to the journal. Followers get them by `tend_leading`.
    pub(crate) fn append_own(&mut self, payloads: impl IntoIterator<Item = Payload>) -> Seq {
        let term = self.state.promise.term;
        let mut records = Vec::new();
        for payload in payloads {
            let entry = Entry::new(self.log.last(), term, payload);
            records.push(Record::Entry(entry.clone()));
            self.log.append(entry);
        }
        self.persist(records);
        self.log.last().seq
    }

    /// Takes entries from the leader (or from the follower that is pulled from). They follow `previous`.
    pub(crate) fn accept(&mut self, previous: Position, entries: Vec<Entry>) -> Accepted {
        if !self.log.contains(previous) {
            // Before our base everything is committed: the sender's log has it, too, and the base itself is common.
            return Accepted::Mismatch(self.log.at_most(previous).unwrap_or(self.log.base()));
        }
        let end = entries.last().map_or(previous.seq, |entry| entry.position.seq);
        let mut records = Vec::new();
        for entry in entries {
            match self.log.position_at(entry.position.seq) {
                Some(own) if own == entry.position && equal_entries_stay() => continue,
                Some(own) => {
                    let keep = Seq(own.seq.0 - 1);
                    if keep < self.commit {
                        return Accepted::Violation(format!(
                            "an append of {} would cut {own}, which is committed (up to {})",
                            entry.position, self.commit
                        ));
                    }
                    self.tell_of_lost(keep, entry.position);
                    self.log.cut(keep);
                    self.writes.cut(keep);
                    self.unverify(keep);
                }
                None => {}
            }
            if entry.previous != self.log.last() {
                return Accepted::Violation(format!(
                    "an append of {} names {} before it, where this log has {}",
                    entry.position,
                    entry.previous,
                    self.log.last()
                ));
            }
            self.log.append(entry.clone());
            records.push(Record::Entry(entry));
        }
        if !records.is_empty() {
            if self.state.cluster_id.is_none() {
                // The first data of an empty volume: from here on it belongs to its leader's cluster.
                self.state.cluster_id = self.claim().map(|claim| claim.cluster_id);
                records.insert(0, Record::State(self.state));
            }
            self.persist(records);
        }
        Accepted::UpTo(end)
    }

    /// A snapshot that came whole: the log begins anew behind it, unless it is part of the log already.
    /// Says how far the log is now known to be equal to the sender's.
    pub(crate) fn install(&mut self, conn: ConnId, meta: SnapshotMeta) -> Accepted {
        if self.state.cluster_id.is_some_and(|own| own != meta.cluster_id) {
            return Accepted::Violation(format!("a snapshot of cluster {} was sent", meta.cluster_id));
        }
        if meta.position.seq <= self.log.base().seq || self.log.contains(meta.position) {
            return Accepted::UpTo(meta.position.seq.max(self.log.base().seq));
        }
        if meta.position.seq < self.commit {
            return Accepted::Violation(format!(
                "a snapshot at {} does not fit the log, which is committed up to {}",
                meta.position, self.commit
            ));
        }
        if meta.position.seq <= self.noted {
            self.tell_of_lost(self.log.base().seq, meta.position);
        }
        self.state.cluster_id = Some(meta.cluster_id);
        self.log.reset(&meta);
        self.writes.cut(Seq(0));
        self.unverify(meta.position.seq);
        self.commit = meta.position.seq;
        self.applied = meta.position.seq;
        let ticket = self.writes.issue(meta.position.seq);
        let end = meta.position.seq;
        self.effects.push(Effect::InstallSnapshot { ticket, conn, meta, state: self.state });
        Accepted::UpTo(end)
    }

    /// What was cut is not equal to the leader's log any more. (A leader never cuts what it sent; if one did, nothing that
    /// is not there may count as committed.)
    fn unverify(&mut self, keep: Seq) {
        if let Role::Following(following) = &mut self.role {
            following.verified = following.verified.min(keep);
        }
    }

    fn on_persisted(&mut self, ticket: Ticket) {
        self.writes.persisted(ticket);
        if let Some((conn, frame)) = self.memory.take_owed(self.writes.durable()) {
            self.effects.push(Effect::Send { conn, frame });
        }
        self.ack();
        self.feed_leader();
    }

    fn give_out_committed(&mut self) {
        if self.applied == self.commit {
            return;
        }
        // What is not applied is in memory.
        let mut entries = self.log.range(self.applied.next(), self.config.apply_bytes_max).unwrap_or_default();
        entries.truncate((self.commit.0 - self.applied.0) as usize);
        if let Some(last) = entries.last() {
            self.applied = last.position.seq;
            self.effects.push(Effect::Apply { entries });
        }
    }

    /// Committed entries wait to be applied by the next steps, of which one is due now: how far it is, and how far it goes.
    pub fn applies(&self) -> Option<(Seq, Seq)> {
        (self.applied < self.commit).then_some((self.applied, self.commit))
    }

    /// Bytes of records that are not applied, committed or not.
    pub fn unapplied_bytes(&self) -> u64 {
        self.log.bytes_after(self.applied).unwrap_or_default()
    }

    /// All that is committed will be applied when this step ends.
    pub(crate) fn applies_the_rest_now(&self) -> bool {
        let bytes = |seq| self.log.bytes_after(seq).unwrap_or_default();
        bytes(self.applied).saturating_sub(bytes(self.commit)) <= self.config.apply_bytes_max as u64
    }

    pub(crate) fn fail(&mut self, reason: String) {
        self.end_role();
        self.failed = true;
        self.refuse_all_reads(crate::Refusal::Failed);
        self.effects.push(Effect::Fail { reason });
    }

    fn refuse_after_failure(&mut self, input: Input) {
        match input {
            Input::Propose(proposals) => {
                for proposal in proposals {
                    self.effects.push(Effect::Rejected { id: proposal.id, reason: crate::Refusal::Failed });
                }
            }
            Input::Read { id } => {
                self.on_read(id);
                self.refuse_all_reads(crate::Refusal::Failed);
            }
            Input::Hello { conn, .. } | Input::Frame { conn, .. } => self.effects.push(Effect::Close { conn }),
            _ => {}
        }
    }

    // ---- small questions

    pub(crate) fn new_conn(&mut self) -> ConnId {
        self.next_conn += 1;
        ConnId::Dialled(self.next_conn)
    }

    pub(crate) fn send(&mut self, conn: ConnId, body: crate::Body) {
        let crate::Promise { term, incarnation } = self.state.promise;
        self.effects.push(Effect::Send { conn, frame: Frame { term, incarnation, body } });
    }

    /// The claim that is followed or led by.
    pub(crate) fn claim(&self) -> Option<&Claim> {
        match &self.role {
            Role::Idle => None,
            Role::Following(following) => Some(&following.claim),
            Role::Leading(leading) => Some(&leading.claim),
        }
    }

    pub(crate) fn is_voter(&self) -> bool {
        self.log.voters().contains(self.config.replica)
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(&self.role, Role::Leading(leading) if matches!(leading.stage, Stage::Open(_)))
    }

    /// The wanted pods. Empty: not known, or none.
    pub(crate) fn members(&self) -> &[crate::Member] {
        self.view.as_ref().map_or(&[], |view| &view.members)
    }

    pub(crate) fn is_wanted(&self, name: &str) -> bool {
        self.members().is_empty() || self.members().iter().any(|member| member.name == name)
    }

    /// How that pod's replica is reached.
    pub(crate) fn target_of(&self, name: &str) -> Option<crate::Target> {
        let member = self.members().iter().find(|member| member.name == name).map(crate::Member::target);
        let voter = || {
            let voter = self.log.voters().named(name)?;
            let (name, peer_address) = (voter.name.clone(), voter.peer_address.clone());
            Some(crate::Target { name, peer_address, addresses: Vec::new() })
        };
        member.or_else(voter)
    }

    /// Where that pod's replica is reached: by the members, else by the voters.
    pub(crate) fn address_of(&self, name: &str) -> Option<String> {
        let member = self.members().iter().find(|member| member.name == name).map(|member| &member.peer_address);
        member.or_else(|| self.log.voters().named(name).map(|voter| &voter.peer_address)).cloned()
    }

    pub(crate) fn is_eligible(&self) -> bool {
        self.is_eligible_but_for_its_disk() && !self.is_stalled()
    }

    pub(crate) fn is_eligible_but_for_its_disk(&self) -> bool {
        self.is_sound() && self.draining.is_none()
    }

    /// A wanted voter with nothing amiss but, perhaps, its disk; it may be draining.
    pub(crate) fn is_sound(&self) -> bool {
        self.is_voter()
            && self.foreign_cluster().is_none()
            && self.is_wanted(&self.config.name)
            && self.went_back.is_none()
            && !self.failed
    }
}

/// What became of entries or a snapshot that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// The log equals the sender's up to here.
    UpTo(Seq),
    /// Not taken; the logs may be common up to here.
    Mismatch(Position),
    /// Would cut what is committed, or is no chain.
    Violation(String),
}
