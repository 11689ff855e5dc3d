//! The boring loop: receives an input, steps the state machine, carries out the effects.
//!
//! ```text
//!   role.json ─────────┐                          ┌─▶ journal (Persist, InstallSnapshot, snapshots)
//!   clients (many) ────┤                          ├─▶ peers (Dial, Send, Invite, …)
//!   journal's events ──┼─▶ Replica::step ─effects─┼─▶ documents (Apply) ─▶ clients that wait for it
//!   peers' events ─────┤                          ├─▶ status: handle, status.json, GET /v1/state
//!   clock, SIGTERM ────┘                          └─▶ the end
//! ```
//!
//! One task owns everything here, so nothing is locked. Effects are carried out in order. A turn processes what waits, up
//! to a bound, so one `Propose` carries many writes and one fsync covers them; what arrives during that fsync waits for its
//! end, or for the commit by others, and becomes the next group ([`Replica::is_writing_a_group`]). While the disk is behind
//! ([`Journal::has_room`]), the driver reads neither writes nor peers: they wait, and TCP and the handle's queue hold the
//! senders back. While the disk hangs, it reads all of them \[B2\], and the state machine refuses what needs the disk
//! (`stall`).
//!
//! Decisions live in the state machine. The driver keeps only what the state machine cannot know: who waits for which
//! answer, and which of the volume's files belongs to which connection.

mod effects;
mod intake;
mod progress;
mod readers;
mod room;
mod showing;
mod stall;
mod sums;
mod transitions;
mod waiters;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use leasehold_contract::StatusFile;
use leasehold_replication::{
    ClusterId, Config, ConnId, Entry, Incarnation, Input, PeerState, Position, Proposal, Recovered, Replica, ReplicaId,
    Room, Status, Voters,
};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::handle::{HandleServer, ReadReply, WriteRequest};
use crate::peer::{Admitted, PeerEvent, Peers};
use crate::role::RoleReceiver;
use crate::room::{Account, Figures, Held, Limits};
use crate::volume::Restored;
use crate::volume::journal::{Journal, JournalEvent};
use crate::volume::snapshot::PartError;
use crate::wall_clock;
use intake::{Intake, Kept};
use leasehold_documents::{Documents, FalseSum};
use progress::UnderWay;
use readers::Readers;
use stall::{Look, Stall};
use sums::Sums;
use waiters::Waiters;

/// How many peer events one turn processes.
const PEER_EVENTS_MAX: usize = 64;
/// How many writes one turn proposes together, and their bytes.
const PROPOSALS_MAX: usize = 1024;
const PROPOSAL_BYTES_MAX: usize = 2 * 1024 * 1024;
/// How many strong reads one turn processes together.
const READS_MAX: usize = 4096;
/// How many journal events may wait for the driver. The journal's thread waits at the bound.
pub const JOURNAL_EVENTS_MAX: usize = 256;
/// How often it looks at the wall clock.
const CLOCK_PAUSE: Duration = Duration::from_secs(1);
/// How long queued messages for other replicas may take to leave at the end.
const FINISH_MAX: Duration = Duration::from_millis(500);
/// How long the journal may take at the end to write what waits.
const CLOSE_MAX: Duration = Duration::from_secs(10);
/// For people.
const JOURNAL_FAILED: &str = "the journal failed: this replica is shutting down";

/// How the driver ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It received a signal to end, and nothing keeps it any longer.
    Drained,
    /// This incarnation is over.
    Failed {
        /// For people.
        reason: String,
    },
    /// This build cannot read its log. It has written nothing of that, but for an entry with a command that it does not know:
    /// that is persisted, and not applied.
    Unreadable {
        /// For people.
        what: String,
    },
    /// The volume is empty now, because another bootstrap won.
    Wiped {
        /// The cluster that the next start will join.
        winner: ClusterId,
    },
}

/// The parts of a driver.
pub struct Parts {
    /// Who this replica is.
    pub config: Config,
    /// What was found on the volume.
    pub recovered: Recovered,
    /// The data of its snapshot.
    pub documents: Documents,
    /// What restore.json holds, if this replica may make a first start.
    pub restored: Option<Restored>,
    /// They are not those that the snapshot was written for.
    pub false_sum: Option<FalseSum>,
    /// How much memory and disk the data may use.
    pub limits: Limits,
    /// Operations that take longer report their progress.
    pub progress_after: Duration,
    /// The others.
    pub ends: Ends,
}

/// Its ends of what other parts of the process hold, too.
pub struct Ends {
    /// The journal.
    pub journal: Journal,
    /// The journal's events; make it with [`JOURNAL_EVENTS_MAX`].
    pub journal_events: mpsc::Receiver<JournalEvent>,
    /// Other replicas.
    pub peers: Peers,
    /// Their events.
    pub peer_events: mpsc::Receiver<PeerEvent>,
    /// The latest role.json.
    pub role: RoleReceiver,
    /// The API's other end.
    pub handle: HandleServer,
    /// Where status.json is written from.
    pub status_file: watch::Sender<StatusFile>,
    /// Where `GET /v1/state` is answered from.
    pub peer_state: watch::Sender<Option<PeerState>>,
    /// SIGTERM.
    pub stop: CancellationToken,
    /// Cancelled when no client is served any longer: a drained driver ends only then.
    pub unserved: CancellationToken,
}

/// See the module.
pub struct Driver {
    name: String,
    id: ReplicaId,
    incarnation: Incarnation,
    /// The state machine's time counts from here.
    begun: Instant,
    replica: Replica,
    /// If running, fires at the state machine's deadline or earlier.
    timer: Pin<Box<Sleep>>,
    timer_runs: bool,
    ends: Ends,
    draining: bool,
    /// The replica said that nothing keeps it. It stays drained, whatever changes afterwards.
    drained: bool,
    /// Everything that was applied.
    documents: Documents,
    /// Their sums after the last entries.
    sums: Sums,
    /// For a first start from a backup.
    restored: Option<Restored>,
    /// What the start found of their snapshot, until the state machine knows it.
    false_sum: Option<FalseSum>,
    /// The voters at the position of `documents`: for snapshots.
    voters: Voters,
    /// What the data use, and who still holds replaced data.
    account: Account,
    held: Held,
    /// What the state machine last received about that, and the figures.
    room: Room,
    figures: Figures,
    /// What may take long, and what waits for more room.
    under_way: UnderWay,
    waits_for_room: Option<String>,
    waiters: Waiters,
    readers: Readers,
    intake: Intake,
    /// Held by the piece of a snapshot in the current step, until it is kept.
    piece_room: Option<OwnedSemaphorePermit>,
    /// Entries read back from the journal: at most one answer for each connection.
    found: mpsc::UnboundedSender<Found>,
    founds: mpsc::UnboundedReceiver<Found>,
    /// Inputs that resulted from carrying out an effect: connections that accepted no more, a journal that accepted
    /// nothing.
    brought_about: VecDeque<Input>,
    /// What was last published.
    shown: Option<Status>,
    /// Whether the disk hangs, and whether more may be appended anyway, as last reported to the state machine.
    stall: Stall,
    /// When to check that.
    looks: Interval,
    /// When to look at the wall clock next.
    clock_at: Instant,
    /// When the writer of status.json was last notified, and whether the position has changed since.
    told_at: Instant,
    position_untold: bool,
    /// What was noted on the volume as committed.
    noted: Position,
    /// The cluster that won, while the volume is being emptied.
    wiping: Option<ClusterId>,
    /// Set when this turn is the last one.
    end: Option<End>,
    /// What a faulty machine does to the data.
    #[cfg(test)]
    tampering: Tampering,
}

/// To be done to the documents at the next turn; empty when it is done.
#[cfg(test)]
type Tampering = std::sync::Arc<std::sync::Mutex<Vec<Box<dyn FnOnce(&mut Documents) + Send>>>>;

/// Entries for a connection, or why they cannot be read.
type Found = (ConnId, std::io::Result<Vec<Entry>>);

/// What a wait ended with.
enum Woke {
    Journal(Option<JournalEvent>),
    Peer(Option<PeerEvent>),
    Write(Option<WriteRequest>),
    Read(ReadReply),
    Kept(Kept),
    Found(Found),
    Apply,
    Role,
    Stop,
    Unserved,
    Timer,
    Disk,
}

impl Driver {
    /// A driver that has not started.
    pub fn new(parts: Parts) -> Driver {
        let Parts { config, recovered, documents, restored, false_sum, limits, progress_after, ends } = parts;
        let mut looks = tokio::time::interval(Stall::pause(ends.journal.disk_watch().bound()));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (found, founds) = mpsc::unbounded_channel();
        let voters = recovered.snapshot.as_ref().map_or_else(Voters::none, |snapshot| snapshot.voters.clone());
        Driver {
            name: config.name.clone(),
            id: config.replica,
            incarnation: config.incarnation,
            begun: ends.handle.begun(),
            replica: Replica::new(config, recovered),
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            timer_runs: false,
            intake: Intake::new(ends.journal.clone()),
            stall: Stall::new(ends.journal.disk_watch().clone()),
            piece_room: None,
            looks,
            clock_at: Instant::now(),
            ends,
            draining: false,
            drained: false,
            sums: Sums::new(&documents),
            restored,
            false_sum,
            documents,
            voters,
            account: Account::new(limits),
            held: Held::default(),
            room: Room::default(),
            figures: Figures::default(),
            under_way: UnderWay::new(progress_after),
            waits_for_room: None,
            waiters: Waiters::default(),
            readers: Readers::default(),
            found,
            founds,
            brought_about: VecDeque::new(),
            shown: None,
            told_at: Instant::now(),
            position_untold: false,
            noted: Position::ZERO,
            wiping: None,
            end: None,
            #[cfg(test)]
            tampering: Tampering::default(),
        }
    }

    /// Runs until this incarnation is over. When this returns, `status_file` has the last status, and the volume is
    /// released.
    pub async fn run(mut self) -> End {
        self.ends.handle.restore(&self.documents);
        // Before anything that a sound replica would do.
        if let Some(wrong) = self.false_sum.take() {
            self.found_damage(wrong);
        }
        self.ends.role.mark_changed();
        self.show();
        let end = loop {
            let woke = self.wait().await;
            self.turn(woke);
            self.show();
            if let Some(end) = self.end.take() {
                break end;
            }
        };
        if self.wiping.is_none() {
            self.note_committed();
        }
        self.finish(end).await
    }

    async fn wait(&mut self) -> Woke {
        self.set_timer();
        let has_room = self.ends.journal.has_room() || self.stall.is_stalled();
        let takes_writes = has_room && !self.replica.is_writing_a_group();
        tokio::select! {
            event = self.ends.journal_events.recv() => Woke::Journal(event),
            event = self.ends.peer_events.recv(), if has_room => Woke::Peer(event),
            write = self.ends.handle.writes.recv(), if takes_writes => Woke::Write(write),
            Some(read) = self.ends.handle.reads.recv() => Woke::Read(read),
            kept = self.intake.next() => Woke::Kept(kept),
            Some(found) = self.founds.recv() => Woke::Found(found),
            // This lets other work on this thread run first.
            () = tokio::task::yield_now(), if self.replica.applies().is_some() => Woke::Apply,
            Ok(()) = self.ends.role.changed() => Woke::Role,
            () = self.ends.stop.cancelled(), if !self.draining => Woke::Stop,
            () = self.ends.unserved.cancelled(), if self.drained => Woke::Unserved,
            () = self.timer.as_mut(), if self.timer_runs => Woke::Timer,
            _ = self.looks.tick() => Woke::Disk,
        }
    }

    /// Nearly every write sets an earlier deadline, and the next one removes it. Resetting a tokio timer wakes this thread,
    /// so we never postpone it; a stale deadline fires harmlessly.
    fn set_timer(&mut self) {
        let Some(deadline) = self.replica.deadline() else { return };
        let deadline = self.begun + deadline;
        if !self.timer_runs || deadline < self.timer.deadline() {
            self.timer.as_mut().reset(deadline);
            self.timer_runs = true;
        }
    }

    /// Handles what woke it, and what else waits.
    fn turn(&mut self, woke: Woke) {
        #[cfg(test)]
        for tamper in self.tampering.lock().expect("nothing panics in it").drain(..) {
            tamper(&mut self.documents);
        }
        if self.stall.is_stalled()
            && let Some(full) = self.stall.fullness(self.ends.journal.has_room())
        {
            self.step(Input::Disk { stalled: true, full });
        }
        match woke {
            Woke::Journal(event) => {
                self.on_journal(event);
                self.on_journal_events();
            }
            Woke::Disk => {
                self.look_at_disk();
                self.look_at_progress();
                self.look_at_clock();
            }
            Woke::Peer(event) => {
                let mut next = event;
                for _ in 0..PEER_EVENTS_MAX {
                    let Some(event) = next else { break };
                    self.on_peer(event);
                    next = if self.ends.journal.has_room() { self.ends.peer_events.try_recv().ok() } else { None };
                }
                if let Some(event) = next {
                    self.on_peer(event);
                }
            }
            Woke::Write(write) => self.propose(write),
            Woke::Read(read) => self.read(read),
            Woke::Kept(kept) => self.on_kept(kept),
            Woke::Found(found) => self.on_found(found),
            Woke::Role => self.on_role(),
            Woke::Stop => {
                info!("received a signal to end: draining");
                self.draining = true;
                self.step(Input::Drain);
            }
            Woke::Unserved | Woke::Apply => self.step(Input::Wake),
            Woke::Timer => {
                self.timer_runs = false;
                if self.replica.deadline().is_some_and(|deadline| deadline <= self.begun.elapsed()) {
                    self.step(Input::Wake);
                }
            }
        }
    }

    /// The state machine has no clock: it learns what time it is, and says whether the others say so, too.
    fn look_at_clock(&mut self) {
        if Instant::now() < self.clock_at {
            return;
        }
        self.clock_at = Instant::now() + CLOCK_PAUSE;
        self.step(Input::TimeOfDay { ms: wall_clock::now_ms() });
        self.ends.handle.set_clocks(self.replica.clocks());
    }

    // ---- the disk

    /// What has returned counts before what has not.
    fn look_at_disk(&mut self) {
        self.on_journal_events();
        match self.stall.look(std::time::Instant::now()) {
            Look::Same => {}
            Look::Begun(call) => {
                let full = self.stall.fullness(self.ends.journal.has_room()).unwrap_or(false);
                self.step(Input::Disk { stalled: true, full });
                let next = self.replica.waits_for_disk().unwrap_or_default();
                let seconds = call.since.elapsed().as_secs_f64();
                warn!(call = call.call, file = &*call.file, seconds, next, "the disk hangs");
            }
            Look::Over(call) => {
                let seconds = call.since.elapsed().as_secs_f64();
                info!(call = call.call, file = &*call.file, seconds, "the disk answers again");
                self.step(Input::Disk { stalled: false, full: false });
            }
        }
    }

    fn on_journal_events(&mut self) {
        while let Ok(event) = self.ends.journal_events.try_recv() {
            self.on_journal(Some(event));
        }
    }

    // ---- inputs

    fn on_role(&mut self) {
        let Some(role) = self.ends.role.borrow_and_update().clone() else { return };
        self.step(Input::Role(leasehold_contract::replication::role_view(&role)));
        self.ends.handle.set_role((*role).clone());
    }

    fn on_journal(&mut self, event: Option<JournalEvent>) {
        match event {
            Some(JournalEvent::Persisted { ticket }) => self.step(Input::Persisted { ticket }),
            Some(JournalEvent::SnapshotWanted) => self.take_snapshot(),
            Some(JournalEvent::SnapshotTaken { position }) => {
                info!(%position, "took a snapshot");
                self.step(Input::SnapshotTaken { position });
            }
            Some(JournalEvent::SnapshotDropped { reason }) => warn!(reason, "cannot take a snapshot"),
            Some(JournalEvent::SumIsFalse(wrong)) => self.found_damage(wrong),
            Some(JournalEvent::Wiped) => {
                if let Some(winner) = self.wiping {
                    self.end = Some(End::Wiped { winner });
                }
            }
            Some(JournalEvent::Failed { error }) => {
                error!(%error, "{JOURNAL_FAILED}");
                self.step(Input::PersistFailed);
            }
            // The thread ended without a word: nothing will ever be durable again.
            None => self.step(Input::PersistFailed),
        }
    }

    /// The data here are not those that were written: this replica has diverged, by itself \[D3\].
    fn found_damage(&mut self, wrong: FalseSum) {
        error!(%wrong, "the data of this replica are damaged");
        let FalseSum { position, said, found } = wrong;
        self.step(Input::SumIsFalse { position, said, found });
    }

    fn on_peer(&mut self, event: PeerEvent) {
        let Some(Admitted { input, room }) = self.ends.peers.admit(event) else { return };
        if let Input::Closed { conn } = &input {
            self.intake.forget(*conn);
        }
        self.piece_room = room;
        self.step(input);
        self.piece_room = None;
    }

    fn on_kept(&mut self, kept: Kept) {
        match kept {
            Kept::Whole { conn, run } => {
                if let Some(meta) = self.intake.whole(conn, run) {
                    self.step(Input::SnapshotReceived { conn, meta });
                    // If it was not installed, the state machine did not need it.
                    self.intake.done(conn);
                }
            }
            Kept::Spoilt { conn, run, error } => {
                if self.intake.is_current(conn, run) {
                    warn!(?conn, %error, "received an unusable snapshot");
                    if let PartError::Format { .. } = error {
                        self.brought_about.push_back(Input::Unreadable { conn, what: error.to_string() });
                    }
                    self.spoil(conn);
                    self.step_all();
                }
            }
        }
    }

    fn on_found(&mut self, (conn, found): Found) {
        if !self.ends.peers.has(conn) {
            return;
        }
        match found {
            Ok(entries) => self.step(Input::LookedUp { conn, entries }),
            Err(error) => {
                warn!(?conn, %error, "cannot read entries for a lagging replica from the journal; it will reconnect");
                self.spoil(conn);
                self.step_all();
            }
        }
    }

    /// Proposes this write and those waiting behind it, together.
    fn propose(&mut self, first: Option<WriteRequest>) {
        let (mut proposals, mut bytes) = (Vec::new(), 0);
        let mut next = first;
        while let Some(WriteRequest { command, reply }) = next {
            if !reply.is_closed() {
                bytes += command.len();
                proposals.push(Proposal { id: self.waiters.propose(reply), command, grows: true });
            }
            if proposals.len() >= PROPOSALS_MAX || bytes >= PROPOSAL_BYTES_MAX {
                break;
            }
            next = self.ends.handle.writes.try_recv().ok();
        }
        if !proposals.is_empty() {
            self.mark_growth(&mut proposals);
            self.step(Input::Propose(proposals));
        }
    }

    /// Reads this one and those waiting behind it, together.
    fn read(&mut self, first: ReadReply) {
        let reads = &mut self.ends.handle.reads;
        let others = std::iter::from_fn(|| reads.try_recv().ok()).take(READS_MAX - 1);
        if let Some(id) = self.readers.add(std::iter::once(first).chain(others)) {
            self.step(Input::Read { id });
        }
    }

    fn step(&mut self, input: Input) {
        self.brought_about.push_back(input);
        self.step_all();
    }

    fn step_all(&mut self) {
        while let Some(input) = self.brought_about.pop_front() {
            if matches!(self.end, Some(End::Unreadable { .. })) {
                // Nothing more is applied, nor written.
                return;
            }
            for effect in self.replica.step(self.begun.elapsed(), input) {
                self.carry_out(effect);
            }
        }
    }

    /// Lets go of the peers and of the volume. The handle goes last: until then a client's write is refused, not lost.
    async fn finish(self, end: End) -> End {
        let Driver { ends: Ends { peers, journal, mut journal_events, .. }, intake, .. } = self;
        peers.finish(FINISH_MAX).await;
        drop(intake);
        let say = |event: JournalEvent| {
            if let JournalEvent::Failed { error } = event {
                error!(%error, "{JOURNAL_FAILED}");
            }
        };
        let closed = async {
            let mut closed = tokio::task::spawn_blocking(move || journal.close());
            loop {
                // The journal's thread must not wait for us to receive an event.
                tokio::select! {
                    Some(event) = journal_events.recv() => say(event),
                    _ = &mut closed => break,
                }
            }
            std::iter::from_fn(|| journal_events.try_recv().ok()).for_each(say);
        };
        if tokio::time::timeout(CLOSE_MAX, closed).await.is_err() {
            warn!("the journal did not stop in time");
        }
        end
    }
}
