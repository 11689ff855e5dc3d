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
//! Where to read on: `promising`, `following` (5.1 in docs/design.md), `leading` (5.2), `reads`, `losing` (5.3),
//! `draining` (5.4), `membership` and `bootstrap` (5.5). Its parts: `volume`, `progress`, `stance`, `sidecar` and `clock`
//! have files of their own; the others belong to the file that decides about them.
//!
//! Invariants: the promise never goes down, nor does its incarnation change within a term (`volume`); nothing that is
//! committed is cut (here); nothing is acked, promised or counted before it is durable (`volume`).
//!
//! Not promised: that only one replica believes it leads. Promised: only one can commit in a term.

use crate::agreement::Checks;
use crate::bootstrap::without_torn_bootstrap;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::draining::Ending;
use crate::formats::in_force_at_start;
use crate::freshness::Freshness;
use crate::losing::{Lost, Peers};
use crate::plants::{Memory, equal_entries_stay, marks_of_diverged_stay};
use crate::progress::Progress;
use crate::reads::Reads;
use crate::room::Supply;
use crate::sidecar::Sidecar;
use crate::stance::{Stage, Stance};
use crate::time_of_day::TimeOfDay;
use crate::volume::Volume;
use crate::went_back::Past;
use crate::{
    Claim, Config, ConnId, DurableState, Effect, Entry, Frame, Input, Payload, Position, Record, Recovered, Seq,
    SnapshotMeta, Ticket,
};
use std::time::Duration;

/// One replica of the log. See the module for the way through its life.
#[derive(Clone, Debug, Hash)]
pub struct Replica {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    /// Promise, cluster, mark and log, and what of them is durable.
    pub(crate) volume: Volume,
    /// What is committed and applied.
    pub(crate) progress: Progress,
    /// What earlier runs and other replicas know of volumes: may this one promise and count? \[E1, E2\]
    pub(crate) past: Past,
    /// What is known of the data: are they those of the others? \[D1\]
    pub(crate) checks: Checks,
    /// What role.json said last.
    pub(crate) sidecar: Sidecar,
    pub(crate) stance: Stance,
    /// Set while there is no leader to be heard (a leader: no majority).
    pub(crate) lost: Option<Lost>,
    /// What the other replicas say when they are asked.
    pub(crate) peers: Peers,
    /// Strong reads of our own clients.
    pub(crate) reads: Reads,
    /// How old the data here may be.
    pub(crate) freshness: Freshness,
    /// What the shell says of the disk.
    pub(crate) disk: Disk,
    /// What the shell says of room, in memory and on the volume.
    pub(crate) supply: Supply,
    /// What the shell says of the time of day.
    pub(crate) time_of_day: TimeOfDay,
    /// It is to end, or has failed.
    pub(crate) ending: Ending,
    /// The format in force (`formats`). Never sinks.
    pub(crate) in_force: u32,
    next_conn: u64,
    pub(crate) effects: Vec<Effect>,
    pub(crate) memory: Memory,
}

impl Replica {
    /// A replica as found on its volume, all of it durable \[S2\].
    pub fn new(config: Config, recovered: Recovered) -> Replica {
        let recovered = without_torn_bootstrap(recovered, &config);
        let volume = Volume::new(&recovered);
        let snapshot = volume.log().snapshot().seq;
        let (in_force, proven) = in_force_at_start(&recovered, volume.log());
        let noted = if volume.log().contains(recovered.committed) { recovered.committed.seq } else { snapshot };
        Replica {
            clock: Clock::default(),
            volume,
            progress: Progress::new(snapshot, proven),
            past: Past::new(recovered.went_back, noted),
            checks: Checks::new(recovered.diverged.filter(|_| marks_of_diverged_stay())),
            sidecar: Sidecar::default(),
            stance: Stance::Idle,
            lost: None,
            peers: Peers::default(),
            reads: Reads::default(),
            freshness: Freshness::default(),
            disk: Disk::default(),
            supply: Supply::default(),
            time_of_day: TimeOfDay::default(),
            ending: Ending::default(),
            in_force,
            next_conn: 0,
            effects: Vec::new(),
            memory: Memory::default(),
            config,
        }
    }

    /// Processes one input at `now` (time since any fixed moment, never going back) and returns what to do, in order.
    pub fn step(&mut self, now: Duration, input: Input) -> Vec<Effect> {
        if self.clock.advance(now) {
            self.freshness.heard_at = self.clock.now();
            // The shell looks before it opens a volume; this is the second look.
            if let Some(what) = self.cannot_read(self.volume.log().voters()) {
                self.cannot_go_on(what);
            }
        }
        if self.ending.has_failed() {
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
            Input::SnapshotTaken { position } => self.volume.snapshot_taken(position),
            Input::LookedUp { conn, entries } => self.on_looked_up(conn, entries),
            Input::SnapshotReceived { conn, meta } => self.on_snapshot_received(conn, meta),
            Input::Unreadable { conn, what } => self.on_unreadable(conn, what),
            Input::Room(room) => self.on_room(room),
            Input::TimeOfDay { ms } => self.on_time_of_day(ms),
            Input::Sum { sequence, sum } => self.on_sum(sequence, sum),
            Input::SumIsFalse { position, said: _, found } => self.on_false_sum(position, found),
            Input::Drain => self.ending.drain(self.clock.now()),
            Input::Wake => {}
        }
        // Everything that time, a durable write or a new view can bring about is looked at after every input: nothing
        // can be forgotten by an input that did not think of it.
        if !self.ending.has_failed() {
            self.tend_asking();
            self.tend_bootstrap();
            self.tend_following();
            self.tend_leading();
            self.tend_losing();
            self.give_out_committed();
            self.tend_sums();
            self.tend_caught_up();
            self.tend_reads();
            self.note_known();
            self.tend_freshness();
            self.volume.trim(self.progress.applied(), self.config.log_memory_bytes);
        }
        self.settle_format();
        self.volume.note_committed(self.progress.commit());
        std::mem::take(&mut self.effects)
    }

    /// When to step with [`Input::Wake`] if nothing else happens first. A time in the past means now.
    pub fn deadline(&self) -> Option<Duration> {
        if self.ending.has_failed() {
            return None;
        }
        let asking = (!self.whom_to_ask().is_empty()).then_some(self.peers.ask_at());
        let clocks = [
            asking,
            self.asking_deadline(),
            self.following_deadline(),
            self.leading_deadline(),
            self.losing_deadline(),
            self.draining_deadline(),
            self.stall_deadline(),
            self.sums_deadline(),
            self.freshness_deadline(),
            self.applies().map(|_| self.clock.now()),
        ];
        clocks.into_iter().flatten().min()
    }

    // ---- writing

    pub(crate) fn write_state(&mut self, state: DurableState) -> Ticket {
        let record = self.volume.hold(state);
        self.persist(vec![record])
    }

    pub(crate) fn persist(&mut self, records: Vec<Record>) -> Ticket {
        let ticket = self.volume.issue();
        // Which format it is of is settled when the step ends.
        self.effects.push(Effect::Persist { ticket, format: self.in_force, records });
        ticket
    }

    /// Appends entries of our own term and sends them to the journal. `tend_leading` sends them to followers.
    pub(crate) fn append_own(&mut self, payloads: impl IntoIterator<Item = Payload>) -> Seq {
        let term = self.volume.state().promise.term;
        let records = payloads.into_iter().map(|payload| self.volume.append(term, payload)).collect();
        self.persist(records);
        self.volume.log().last().seq
    }

    /// Accepts entries from the leader (or from the follower that is pulled from). They follow `previous`.
    pub(crate) fn accept(&mut self, previous: Position, entries: Vec<Entry>) -> Accepted {
        if !self.volume.log().contains(previous) {
            // Before our base everything is committed: the sender's log has it, too, and the base itself is common.
            return Accepted::Mismatch(self.volume.log().at_most(previous).unwrap_or(self.volume.log().base()));
        }
        let unreadable = entries.iter().find_map(|entry| match &entry.payload {
            Payload::Voters(voters) => self.cannot_read(voters).map(|why| (entry.position, why)),
            Payload::Empty | Payload::Command(_) => None,
        });
        if let Some((position, why)) = unreadable {
            return Accepted::Unreadable(format!("entry {position} was sent: {why}"));
        }
        let end = entries.last().map_or(previous.seq, |entry| entry.position.seq);
        let mut records = Vec::new();
        for entry in entries {
            match self.volume.log().position_at(entry.position.seq) {
                Some(own) if own == entry.position && equal_entries_stay() => continue,
                Some(own) => {
                    let keep = Seq(own.seq.0 - 1);
                    if keep < self.progress.commit() {
                        return Accepted::Violation(format!(
                            "an append of {} would cut {own}, which is committed (up to {})",
                            entry.position,
                            self.progress.commit()
                        ));
                    }
                    self.tell_of_lost(keep, entry.position);
                    self.volume.cut(keep);
                    self.unverify(keep);
                }
                None => {}
            }
            if entry.previous != self.volume.log().last() {
                return Accepted::Violation(format!(
                    "an append of {} names {} before it, where this log has {}",
                    entry.position,
                    entry.previous,
                    self.volume.log().last()
                ));
            }
            records.push(self.volume.append_entry(entry));
        }
        if !records.is_empty() {
            if self.volume.state().cluster_id.is_none() {
                // The first data of an empty volume: from here on it belongs to its leader's cluster.
                let cluster_id = self.claim().map(|claim| claim.cluster_id);
                records.insert(0, self.volume.hold(DurableState { cluster_id, ..self.volume.state() }));
            }
            self.persist(records);
        }
        Accepted::UpTo(end)
    }

    /// A snapshot arrived whole: the log starts anew behind it, unless the log contains it already. Returns how far the log
    /// is now known to equal the sender's.
    pub(crate) fn install(&mut self, conn: ConnId, meta: SnapshotMeta) -> Accepted {
        if self.volume.state().cluster_id.is_some_and(|own| own != meta.cluster_id) {
            return Accepted::Violation(format!("a snapshot of cluster {} was sent", meta.cluster_id));
        }
        if let Some(why) = self.cannot_read(&meta.voters) {
            return Accepted::Unreadable(format!("a snapshot at {} was sent: {why}", meta.position));
        }
        if meta.position.seq <= self.volume.log().base().seq || self.volume.log().contains(meta.position) {
            return Accepted::UpTo(meta.position.seq.max(self.volume.log().base().seq));
        }
        if meta.position.seq < self.progress.commit() {
            return Accepted::Violation(format!(
                "a snapshot at {} does not fit the log, which is committed up to {}",
                meta.position,
                self.progress.commit()
            ));
        }
        if meta.position.seq <= self.past.noted() {
            self.tell_of_lost(self.volume.log().base().seq, meta.position);
        }
        self.volume.begin_after(&meta);
        self.unverify(meta.position.seq);
        self.progress.begin_after(meta.position.seq);
        let ticket = self.volume.issue();
        let end = meta.position.seq;
        self.effects.push(Effect::InstallSnapshot {
            ticket,
            conn,
            meta,
            state: self.volume.state(),
            format: self.in_force,
        });
        Accepted::UpTo(end)
    }

    /// What was cut no longer equals the leader's log. (A leader never cuts what it sent; if one did, nothing that is
    /// missing may count as committed.)
    fn unverify(&mut self, keep: Seq) {
        if let Stance::Following(following) = &mut self.stance {
            following.verified = following.verified.min(keep);
        }
    }

    fn on_persisted(&mut self, ticket: Ticket) {
        self.volume.persisted(ticket);
        if let Some((conn, frame)) = self.memory.take_owed(self.volume.writes().durable()) {
            self.effects.push(Effect::Send { conn, frame });
        }
        self.ack();
        self.feed_leader();
    }

    pub(crate) fn fail(&mut self, reason: String) {
        self.end_stance();
        self.ending.fail();
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
        if !self.speaks(conn, &body) {
            return;
        }
        let crate::Promise { term, incarnation } = self.volume.state().promise;
        self.effects.push(Effect::Send { conn, frame: Frame { term, incarnation, body } });
    }

    /// The claim by which this replica follows or leads.
    pub(crate) fn claim(&self) -> Option<&Claim> {
        match &self.stance {
            Stance::Idle => None,
            Stance::Following(following) => Some(&following.claim),
            Stance::Leading(leading) => Some(&leading.claim),
        }
    }

    pub(crate) fn is_voter(&self) -> bool {
        self.volume.log().voters().contains(self.config.replica)
    }

    /// It leads and accepts writes.
    pub(crate) fn says_open(&self) -> bool {
        self.is_open() && !self.checks.end_leading()
    }

    /// The first entry of its term is committed.
    pub(crate) fn is_open(&self) -> bool {
        matches!(&self.stance, Stance::Leading(leading) if matches!(leading.stage, Stage::Open(_)))
    }

    pub(crate) fn is_eligible(&self) -> bool {
        self.is_eligible_but_for_its_disk() && !self.is_stalled()
    }

    pub(crate) fn is_eligible_but_for_its_disk(&self) -> bool {
        self.is_sound() && !self.ending.is_draining()
    }

    /// A wanted voter in good order, except perhaps for its disk; it may be draining.
    pub(crate) fn is_sound(&self) -> bool {
        self.is_voter()
            && self.foreign_cluster().is_none()
            && self.sidecar.is_wanted(&self.config.name)
            && !self.past.has_gone_back()
            && !self.checks.forbid_leading()
            && !self.ending.has_failed()
    }
}

/// What became of received entries or a received snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// The log equals the sender's up to here.
    UpTo(Seq),
    /// Not accepted; the logs may be common up to here.
    Mismatch(Position),
    /// Would cut what is committed, or is no chain.
    Violation(String),
    /// Of a format that this build does not read.
    Unreadable(String),
}
