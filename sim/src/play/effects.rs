//! A store's effects, carried out in the simulated world: its disk, its connections, its clients.
//!
//! ```text
//!   Persist, InstallSnapshot ─▶ journal ─▶ Synced ─▶ Input::Persisted        group commit: one fsync for all that waits
//!   Apply ─▶ what is committed anywhere, clients that wait ─▶ now and then a snapshot ─▶ Input::SnapshotTaken
//!   Send, Dial, Answer, Invite, AskState ─▶ network
//! ```

use crate::model::client::Outcome;
use crate::model::cluster::Cluster;
use crate::model::disk::{Item, format_of};
use crate::model::event::Event;
use crate::model::facts::digest;
use crate::model::life::Life;
use crate::model::network::{Message, Reply, Request};
use crate::plant::{Plant, Shell};
use leasehold_replication::{
    Body, ConnId, DurableState, Effect, Entry, Frame, Hello, HelloAnswer, Input, Payload, Position, ProposalId, Record,
    Seq, SnapshotMeta, Ticket, WentBack,
};
use std::fmt::Display;
use std::rc::Rc;

impl Cluster {
    /// Carries out one effect of a store's step.
    pub(crate) fn carry_out(&mut self, life: Life, effect: Effect) {
        let pod = life.pod;
        self.check_effect(pod, &effect);
        match effect {
            Effect::Persist { ticket, format, records } => {
                self.check_first_start(pod, &records);
                self.begins_segment(pod, format);
                self.persist(life, ticket, records);
            }
            Effect::InstallSnapshot { ticket, conn: _, meta, state, format } => {
                self.begins_segment(pod, format);
                self.install_snapshot(life, ticket, meta, state);
            }
            Effect::Restore { ticket, meta, state, format, entry } => {
                self.begins_segment(pod, format);
                self.begin_with_restored(life, ticket, meta, (state, entry));
            }
            Effect::Apply { entries } => self.apply(pod, entries),
            Effect::Accepted { id, position } => self.accepted(pod, id, position),
            Effect::GiveUp => self.give_up(pod),
            Effect::Rejected { id, reason: _ } => self.clients.tell(&mut self.facts, id, Outcome::Refused),
            Effect::ReadReady { upto } => self.reads_answered(pod, upto, true),
            Effect::ReadRefused { upto, reason: _ } => self.reads_answered(pod, upto, false),
            Effect::Dial { conn, to, hello } => {
                let to = self.find_pod(&to.peer_address);
                self.say_hello(life, conn, to, hello);
            }
            Effect::Answer { conn, answer } => self.answer(life, conn, answer),
            Effect::Send { conn, frame } => {
                if let Body::Ack { seq } = frame.body {
                    self.check_ack(pod, &frame, seq);
                }
                self.send(life, conn, Message::Frame(frame));
            }
            Effect::SendSnapshot { conn, term, incarnation, position: _, part: _ } => {
                let head = Frame { term, incarnation, body: Body::Ack { seq: Seq(0) } };
                self.send_newest_snapshot(life, conn, head);
            }
            Effect::LookUp { conn, previous, bytes_max } => self.look_up(life, conn, previous, bytes_max),
            Effect::KeepPiece { conn, piece } => self.keep_piece(life, conn, piece),
            Effect::Close { conn } => self.close(life, conn),
            Effect::Invite { to, claim } => {
                let to = self.find_pod(&to.peer_address);
                self.request(life, to, Request::Invite(claim));
            }
            Effect::AnswerInvite { request, answer } => {
                if let Some((asker, meant, asked_at)) = self.pods[pod].store.questions.remove(&request.0) {
                    self.reply(pod, meant, asker, asked_at, Reply::Invite(answer));
                }
            }
            Effect::AskState { to } => {
                let to = self.find_pod(&to.peer_address);
                self.request(life, to, Request::State);
            }
            Effect::MarkWentBack { ticket, mark } => self.mark_volume(life, ticket, mark),
            Effect::TellSum { sequence } => self.tell_sum(life, sequence),
            Effect::MarkDiverged { ticket, mark } => self.mark_diverged(life, ticket, mark),
            Effect::WipeVolume { winner } => self.wipe_itself(pod, &winner),
            Effect::Fail { reason } => self.fail(pod, &reason),
            Effect::Unreadable { what } => self.was_sent_unreadable(pod, &what),
            Effect::Report { what } => self.violation(format!("pod-{pod} reports: {what}")),
        }
    }

    fn persist(&mut self, life: Life, ticket: Ticket, records: Vec<Record>) {
        let items = records.into_iter().filter_map(|record| match record {
            Record::State(state) => Some(Item::State(state)),
            Record::Entry(entry) => Some(Item::Entry(entry)),
            Record::Snapshot(_) => None,
        });
        self.begin(life, ticket, items.collect());
    }

    fn begin_with_restored(
        &mut self,
        life: Life,
        ticket: Ticket,
        meta: SnapshotMeta,
        (state, entry): (DurableState, Entry),
    ) {
        self.check_restore(life.pod, &meta);
        self.restore(life.pod, &meta);
        let meta = Rc::new(meta);
        self.snapshots.push(meta.clone());
        self.begin(life, ticket, vec![Item::Install(meta, state), Item::Entry(entry)]);
        if self.chaos.is_on() && self.rng.chance(200) {
            let at = self.now + self.rng.micros(0, 2 * self.settings.fsync_us);
            self.schedule(at, Event::StoreDies { life });
        }
    }

    fn install_snapshot(&mut self, life: Life, ticket: Ticket, meta: SnapshotMeta, state: DurableState) {
        self.restore(life.pod, &meta);
        self.begin(life, ticket, vec![Item::Install(Rc::new(meta), state)]);
        if self.chaos.is_on() && self.rng.chance(50) {
            let at = self.now + self.rng.micros(0, 2 * self.settings.fsync_us);
            self.schedule(at, Event::StoreDies { life });
        }
    }

    /// The snapshot's documents replace the present ones.
    fn restore(&mut self, pod: usize, meta: &SnapshotMeta) {
        let found = &mut self.pods[pod];
        let name = &found.name;
        self.facts.restored(name, meta.position);
        let Some(up) = found.store.up_mut() else { return };
        if meta.position.seq < up.applied.seq {
            let (applied, position) = (up.applied, meta.position);
            self.facts.violated(format!("invariant 4: {name} goes back from {applied} to a snapshot of {position}"));
        }
        up.applied = meta.position;
        // What is sent is sound.
        up.damage.clear();
        (up.at_rest, up.began_at, found.volume.snapshot_damage) = (false, meta.position.seq, 0);
        up.digest = self.facts.digest(meta.position.seq).unwrap_or_default();
        up.applied_voters = meta.voters.clone();
        up.since_snapshot = 0;
        up.snapshot_running = None;
        let position = meta.position;
        // A client that waits for an entry now inside the snapshot never gets an answer.
        let later = up.pending.split_off(&meta.position.seq.next());
        for (_, id) in std::mem::replace(&mut up.pending, later).into_values().flatten() {
            self.clients.tell(&mut self.facts, id, Outcome::Unknown);
        }
        self.install_data(pod, position);
    }

    fn accepted(&mut self, pod: usize, id: ProposalId, position: Position) {
        if self.clients.makes_larger(id)
            && let Some(what) = self.grows_far_over(pod)
        {
            self.violation(what);
        }
        self.facts.taken(&self.pods[pod].name, &self.pods[pod].volume.log);
        if let Some(up) = self.pods[pod].store.up_mut() {
            up.pending.entry(position.seq).or_default().push((position, id));
        }
    }

    /// Nobody will learn the outcome of the waiting writes.
    fn give_up(&mut self, pod: usize) {
        let pending = self.pods[pod].store.up_mut().map(|up| std::mem::take(&mut up.pending));
        for (_, id) in pending.unwrap_or_default().into_values().flatten() {
            self.clients.tell(&mut self.facts, id, Outcome::Unknown);
        }
    }

    fn apply(&mut self, pod: usize, entries: Vec<Entry>) {
        if self.settings.collections {
            self.apply_data(pod, &entries);
        }
        let found = &mut self.pods[pod];
        let name = &found.name;
        for entry in entries {
            let Some(up) = found.store.up_mut() else { return };
            let term = up.status.promise.term;
            if entry.previous != up.applied {
                let applied = up.applied;
                self.facts.violated(format!("invariant 4: {name} applies {} after {applied}", entry.position));
            }
            if format_of(&entry) > found.formats.0 {
                let (position, build) = (entry.position, found.formats.0);
                self.facts.violated(format!(
                    "{name} applies {position}, which its build (up to format {build}) cannot read [C1]"
                ));
            }
            up.applied = entry.position;
            up.digest = digest(up.digest, &entry);
            up.since_snapshot += 1;
            if let Payload::Voters(voters) = &entry.payload {
                up.applied_voters = voters.clone();
            }
            if self.facts.applied(name, term, &entry) {
                self.facts.applied_at.push(self.now);
                self.clients.committed(&mut self.facts, &entry);
            }
            let Some(waiting) = up.pending.remove(&entry.position.seq) else { continue };
            for (position, id) in waiting {
                let is_it = position == entry.position;
                let outcome = if is_it { Outcome::Acknowledged(position) } else { Outcome::Refused };
                self.clients.tell(&mut self.facts, id, outcome);
            }
        }
    }

    fn keep_piece(&mut self, life: Life, conn: ConnId, piece: leasehold_replication::SnapshotPiece) {
        let Some(up) = self.pods[life.pod].store.up_mut() else { return };
        let bytes = up.pieces.entry(conn).or_default();
        if piece.offset == 0 {
            bytes.clear();
        }
        if bytes.len() as u64 != piece.offset {
            return self.violation(format!("pod-{} keeps a piece at {} that does not fit", life.pod, piece.offset));
        }
        bytes.extend_from_slice(&piece.bytes);
        if bytes.len() as u64 == piece.length_bytes {
            let number = u64::from_le_bytes(bytes[..8].try_into().expect("a snapshot is longer than that"));
            up.pieces.remove(&conn);
            let meta = (*self.snapshots[number as usize]).clone();
            let at = self.now + self.rng.micros(0, 3000);
            let input = Box::new(Input::SnapshotReceived { conn, meta });
            self.schedule(at, Event::Store { life, input });
        }
    }

    fn say_hello(&mut self, life: Life, conn: ConnId, to: Option<usize>, hello: Hello) {
        let found = &self.pods[life.pod];
        self.facts.said_hello(&found.name, &found.volume, hello.promise, hello.position);
        if self.settings.plant == Some(Plant::Shell(Shell::HelloByEveryAddress)) {
            // The race's other connection says hello, too. Nobody listens on it.
            self.say_hello_twice(to, hello.clone());
        }
        self.dial(life, conn, to, hello);
    }

    fn answer(&mut self, life: Life, conn: ConnId, answer: HelloAnswer) {
        let is_refused = matches!(answer, HelloAnswer::Refused { .. });
        self.send(life, conn, Message::Answer(answer));
        if is_refused {
            self.close(life, conn);
        }
    }

    fn send_newest_snapshot(&mut self, life: Life, conn: ConnId, head: Frame) {
        let volume = &self.pods[life.pod].volume;
        let (newest, cluster) = (volume.snapshot_position(), volume.begun_state.cluster_id);
        let is_it = |meta: &Rc<SnapshotMeta>| Some(meta.position) == newest && Some(meta.cluster_id) == cluster;
        match self.snapshots.iter().rposition(is_it) {
            Some(number) => self.send_snapshot(life, conn, head, number as u64),
            None => self.violation(format!("pod-{} is to send a snapshot, and has none", life.pod)),
        }
    }

    /// Entries that are no longer in memory are read from the journal.
    fn look_up(&mut self, life: Life, conn: ConnId, previous: Position, bytes_max: usize) {
        let pod = life.pod;
        let Some(entries) = self.pods[pod].volume.look_up(previous, bytes_max) else {
            let what = format!("pod-{pod} looks up what follows {previous}, which is not in its journal");
            return self.violation(what);
        };
        let at = self.now + self.rng.micros(20, self.settings.fsync_us);
        let input = Box::new(Input::LookedUp { conn, entries });
        self.schedule(at, Event::Store { life, input });
    }

    fn mark_volume(&mut self, life: Life, ticket: Ticket, mark: WentBack) {
        let pod = life.pod;
        if !self.pods[pod].volume.is_set_back() {
            self.violation(format!("pod-{pod} takes its volume for an older copy, and it is none: {mark}"));
        }
        self.pods[pod].volume.mark = Some(mark);
        self.begin(life, ticket, Vec::new());
    }

    /// It lost the race of the first start, and starts again as a new replica.
    fn wipe_itself(&mut self, pod: usize, winner: &impl Display) {
        if !self.pods[pod].volume.durable_state.bootstrapping {
            self.violation(format!("pod-{pod} empties a volume that is not marked bootstrapping, for {winner}"));
        }
        self.kill_store(pod, false);
        self.wipe(pod);
    }

    fn fail(&mut self, pod: usize, reason: &str) {
        if !self.pods[pod].store.up().is_some_and(|up| up.disk_failed) {
            self.violation(format!("pod-{pod} fails: {reason}"));
        }
        self.kill_store(pod, false);
    }
}
