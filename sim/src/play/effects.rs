//! What a store asks for, carried out in the made-up world: its disk, its connections, its clients.
//!
//! ```text
//!   Persist, InstallSnapshot ─▶ journal ─▶ Synced ─▶ Input::Persisted        group commit: one fsync for all that waits
//!   Apply ─▶ what is committed anywhere, clients that wait ─▶ now and then a snapshot ─▶ Input::SnapshotTaken
//!   Send, Dial, Answer, Invite, AskState ─▶ network
//! ```

use crate::judge::invariants::digest;
use crate::model::client::Outcome;
use crate::model::cluster::{Cluster, Event, Life};
use crate::model::disk::Item;
use crate::play::network::{Message, Reply, Request};
use crate::play::store::made_durable;
use crate::{Plant, Shell};
use leasehold_replication::{Answer, Body, ConnId, Effect, Entry, Frame, Input, Payload, Record, Seq, SnapshotMeta};
use std::rc::Rc;
use std::time::Duration;

/// No fsync takes longer: one that is under way when everything is healed must not look like a cluster that waits.
const FSYNC_US_MAX: u64 = 2_000_000;

impl Cluster {
    pub(crate) fn carry_out(&mut self, life: Life, effect: Effect) {
        let pod = life.pod;
        match effect {
            Effect::Persist { ticket, records } => {
                let items = records.into_iter().filter_map(|record| match record {
                    Record::State(state) => Some(Item::State(state)),
                    Record::Entry(entry) => Some(Item::Entry(entry)),
                    Record::Snapshot(_) => None,
                });
                self.begin(life, ticket, items.collect());
            }
            Effect::InstallSnapshot { ticket, conn: _, meta, state } => {
                let name = self.pods[pod].name.clone();
                self.checker.restored(&name, meta.position);
                if let Some(up) = self.pods[pod].store.up_mut() {
                    if meta.position.seq < up.applied.seq {
                        let applied = up.applied;
                        self.checker.violated(format!(
                            "invariant 4: {name} goes back from {applied} to a snapshot of {}",
                            meta.position
                        ));
                    }
                    up.applied = meta.position;
                    up.digest = self.checker.digest(meta.position.seq).unwrap_or_default();
                    up.applied_voters = meta.voters.clone();
                    up.since_snapshot = 0;
                    up.snapshot_running = None;
                    // What waits for an entry that is now inside the snapshot will never be told.
                    let later = up.pending.split_off(&meta.position.seq.next());
                    for (_, id) in std::mem::replace(&mut up.pending, later).into_values().flatten() {
                        self.clients.tell(&mut self.checker, id, Outcome::Unknown);
                    }
                }
                self.begin(life, ticket, vec![Item::Install(Rc::new(meta), state)]);
                if self.chaos.is_on() && self.rng.chance(50) {
                    let at = self.now + self.rng.micros(0, 2 * self.settings.fsync_us);
                    self.schedule(at, Event::StoreDies { life });
                }
            }
            Effect::Apply { entries } => self.apply(pod, entries),
            Effect::Accepted { id, position } => {
                if self.clients.makes_larger(id)
                    && let Some(what) = self.grows_far_over(pod)
                {
                    self.violation(what);
                }
                self.checker.taken(&self.pods[pod].name, &self.pods[pod].volume.log);
                if let Some(up) = self.pods[pod].store.up_mut() {
                    up.pending.entry(position.seq).or_default().push((position, id));
                }
            }
            Effect::GiveUp => {
                let pending = self.pods[pod].store.up_mut().map(|up| std::mem::take(&mut up.pending));
                for (_, id) in pending.unwrap_or_default().into_values().flatten() {
                    self.clients.tell(&mut self.checker, id, Outcome::Unknown);
                }
            }
            Effect::Rejected { id, reason: _ } => self.clients.tell(&mut self.checker, id, Outcome::Refused),
            Effect::ReadReady { upto } => self.reads_answered(pod, upto, true),
            Effect::ReadRefused { upto, reason: _ } => self.reads_answered(pod, upto, false),
            Effect::Dial { conn, to, hello } => {
                let found = &self.pods[pod];
                self.checker.said_hello(&found.name, &found.volume, hello.promise, hello.position);
                let to = self.find_pod(&to.peer_address);
                if self.settings.plant == Some(Plant::Shell(Shell::HelloByEveryAddress)) {
                    // The race's other connection says hello, too. Nobody listens to it.
                    self.say_hello_twice(to, hello.clone());
                }
                self.dial(life, conn, to, hello);
            }
            Effect::Answer { conn, answer } => {
                let is_refused = matches!(answer, Answer::Refused { .. });
                self.send(life, conn, Message::Answer(answer));
                if is_refused {
                    self.close(life, conn);
                }
            }
            Effect::Send { conn, frame } => {
                if let Body::Ack { seq } = frame.body {
                    self.check_ack(pod, &frame, seq);
                }
                self.send(life, conn, Message::Frame(frame));
            }
            Effect::SendSnapshot { conn, term, incarnation, position: _, part: _ } => {
                let newest = self.pods[pod].volume.snapshot_position();
                match self.snapshots.iter().rposition(|meta| Some(meta.position) == newest) {
                    Some(number) => {
                        let head = Frame { term, incarnation, body: Body::Ack { seq: Seq(0) } };
                        self.send_snapshot(life, conn, head, number as u64);
                    }
                    None => self.violation(format!("pod-{pod} is to send a snapshot, and has none")),
                }
            }
            Effect::LookUp { conn, previous, bytes_max } => match self.pods[pod].volume.look_up(previous, bytes_max) {
                Some(entries) => {
                    let at = self.now + self.rng.micros(20, self.settings.fsync_us);
                    let input = Box::new(Input::LookedUp { conn, entries });
                    self.schedule(at, Event::Store { life, input });
                }
                None => {
                    self.violation(format!("pod-{pod} looks up what follows {previous}, which is not in its journal"))
                }
            },
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
            Effect::MarkWentBack { ticket, mark } => {
                if !self.pods[pod].volume.is_set_back() {
                    self.violation(format!("pod-{pod} takes its volume for an older copy, and it is none: {mark}"));
                }
                self.pods[pod].volume.mark = Some(mark);
                self.begin(life, ticket, Vec::new());
            }
            Effect::WipeVolume { winner } => {
                if !self.pods[pod].volume.durable_state.bootstrapping {
                    self.violation(format!(
                        "pod-{pod} empties a volume that is not marked bootstrapping, for {winner}"
                    ));
                }
                self.kill_store(pod, false);
                self.wipe(pod);
            }
            Effect::Fail { reason } => {
                if !self.pods[pod].store.up().is_some_and(|up| up.disk_failed) {
                    self.violation(format!("pod-{pod} fails: {reason}"));
                }
                self.kill_store(pod, false);
            }
            Effect::Report { what } => self.violation(format!("pod-{pod} reports: {what}")),
        }
    }

    /// A pod behind a slow link that becomes a voter must not lack more than the link brings in about a second \[L14\].
    fn check_added(&mut self, leader: usize, entry: &Entry) {
        let (Payload::Voters(after), Some((slow, rate))) = (&entry.payload, self.network.slow) else { return };
        let log = &self.pods[leader].volume.log;
        let replica = self.pods[slow].volume.replica;
        let was = log.voters().is_some_and(|(_, before)| before.contains(replica));
        if slow == leader || was || !after.contains(replica) {
            return;
        }
        let lacks = log.last_seq().0.saturating_sub(self.pods[slow].volume.durable_log.last_seq().0);
        let bytes = self.settings.command_bytes as u64;
        if lacks * bytes > 2 * rate + 4 * bytes {
            self.violation(format!(
                "pod-{leader} makes pod-{slow} a voter that lacks {lacks} entries of {bytes} bytes, at {rate} bytes/s [L14]"
            ));
        }
    }

    fn begin(&mut self, life: Life, ticket: leasehold_replication::Ticket, items: Vec<Item>) {
        for item in &items {
            if let Item::Entry(entry) = item {
                if let Some(what) = self.writes_to_full_disk(life.pod, entry) {
                    return self.violation(what);
                }
                self.check_added(life.pod, entry);
            }
        }
        let pod = &mut self.pods[life.pod];
        for item in &items {
            match item {
                Item::State(state) | Item::Install(_, state) => pod.volume.begun_state = *state,
                Item::Entry(entry) => {
                    self.checker.begun(&pod.name, entry, pod.volume.begun_state.cluster_id);
                    if let Some(up) = pod.store.up()
                        && up.pulse.promise.incarnation == up.incarnation
                        && entry.position.term == up.pulse.promise.term
                    {
                        // What is committed in this very step is in the replica already.
                        self.checker.begins_term(&pod.name, &pod.volume.log, up.pulse.promise, entry);
                        let committed = up.replica.pulse().committed;
                        self.checker.voters_changed(&pod.name, &pod.volume.log, committed, entry);
                    } else {
                        self.checker.entry_of(&pod.name, &pod.volume, entry);
                    }
                }
            }
        }
        if !pod.volume.begin(ticket, items.into_iter()) {
            let what = format!("{} writes an entry that follows nothing in its log [S8]", pod.name);
            return self.violation(what);
        }
        self.fills_up(life);
        self.sync(life);
    }

    /// Begins an fsync of all that is begun, unless one is running.
    fn sync(&mut self, life: Life) {
        let pod = &mut self.pods[life.pod];
        let covers = pod.volume.begun();
        let is_busy = pod.volume.is_busy();
        let Some(up) = pod.store.up_mut() else { return };
        if up.sync_running || !is_busy {
            return;
        }
        up.sync_running = true;
        (up.sync_since, up.syncs) = (self.now, up.syncs + 1);
        let factor = if self.rng.chance(self.settings.fsync_late) { 300 } else { 1 };
        let at = self.now + self.rng.micros(20, (self.settings.fsync_us * factor).min(FSYNC_US_MAX));
        self.schedule(at, Event::Synced { life, covers });
        if self.settings.plant == Some(Plant::Shell(Shell::ToldBeforeDurable))
            && let Some(ticket) = self.pods[life.pod].volume.take_unsynced()
        {
            let input = Box::new(Input::Persisted { ticket });
            self.schedule(self.now, Event::Store { life, input });
        }
    }

    pub(crate) fn synced(&mut self, life: Life, covers: u64) {
        if self.waits_for_disk(life, Event::Synced { life, covers }) {
            return;
        }
        let pod = &mut self.pods[life.pod];
        let Some(up) = pod.store.up_mut() else { return };
        up.sync_running = false;
        let (checker, name, number) = (&mut self.checker, &pod.name, pod.volume.number);
        let ticket = pod.volume.synced(covers, |item| made_durable(checker, name, number, item));
        if let Some(ticket) = ticket {
            self.step_store(life.pod, Input::Persisted { ticket });
        }
        if self.pods[life.pod].store.life == life {
            self.disk_answered(life);
        }
        if self.pods[life.pod].store.life == life {
            self.sync(life);
        }
    }

    fn apply(&mut self, pod: usize, entries: Vec<Entry>) {
        let found = &mut self.pods[pod];
        let name = &found.name;
        for entry in entries {
            let Some(up) = found.store.up_mut() else { return };
            let term = up.status.promise.term;
            if entry.previous != up.applied {
                let applied = up.applied;
                self.checker.violated(format!("invariant 4: {name} applies {} after {applied}", entry.position));
            }
            up.applied = entry.position;
            up.digest = digest(up.digest, &entry);
            up.since_snapshot += 1;
            if let Payload::Voters(voters) = &entry.payload {
                up.applied_voters = voters.clone();
            }
            if self.checker.applied(name, term, &entry) {
                self.applied_at.push(self.now);
                self.clients.committed(&mut self.checker, &entry);
            }
            let Some(waiting) = up.pending.remove(&entry.position.seq) else { continue };
            for (position, id) in waiting {
                let is_it = position == entry.position;
                let outcome = if is_it { Outcome::Acknowledged(position) } else { Outcome::Refused };
                self.clients.tell(&mut self.checker, id, outcome);
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

    /// Now and then the shell takes a snapshot of what is applied.
    pub(crate) fn take_snapshot(&mut self, pod: usize) {
        let found = &mut self.pods[pod];
        let life = found.store.life;
        let Some(up) = found.store.up_mut() else { return };
        let Some(cluster_id) = up.status.cluster_id else { return };
        let number = self.snapshots.len() as u64;
        up.since_snapshot = 0;
        up.snapshot_running = Some(number);
        let meta = SnapshotMeta { cluster_id, position: up.applied, voters: up.applied_voters.clone() };
        self.snapshots.push(Rc::new(meta));
        let at = self.now + self.rng.micros(100, self.settings.fsync_us * 4);
        self.schedule(at, Event::SnapshotDone { life, number });
    }

    pub(crate) fn snapshot_done(&mut self, life: Life, number: u64) {
        if self.waits_for_disk(life, Event::SnapshotDone { life, number }) {
            return;
        }
        let pod = &mut self.pods[life.pod];
        let Some(up) = pod.store.up_mut() else { return };
        if up.snapshot_running != Some(number) {
            return; // One that was received overtook it.
        }
        let meta = self.snapshots[number as usize].clone();
        let position = meta.position;
        if pod.volume.durable_log.last_seq() < position.seq {
            // It gets its name with a segment that is begun when the one before is durable.
            let at = self.now + Duration::from_micros(self.settings.fsync_us);
            return self.schedule(at, Event::SnapshotDone { life, number });
        }
        up.snapshot_running = None;
        pod.volume.snapshot_taken(meta, &mut self.rng);
        self.checker.snapshot_durable(pod.volume.number, position);
        self.step_store(life.pod, Input::SnapshotTaken { position });
    }

    fn check_ack(&mut self, pod: usize, frame: &Frame, seq: Seq) {
        let found = &self.pods[pod];
        let Some(up) = found.store.up() else { return };
        if up.incarnation == frame.incarnation {
            return; // A recovering leader that pulls.
        }
        let leader = self.pods.iter().find(|pod| {
            pod.store.up().is_some_and(|up| up.incarnation == frame.incarnation && up.status.promise.term == frame.term)
        });
        self.checker.acknowledged(&found.name, &found.volume, seq, leader.map(|leader| &leader.volume.log));
    }

    /// A write or an fsync fails. What was not durable stays in the page cache, or not.
    pub(crate) fn fail_disk(&mut self, pod: usize) {
        if let Some(up) = self.pods[pod].store.up_mut() {
            up.disk_failed = true;
            // No fsync succeeds any more in this run of the process.
            up.sync_running = true;
            self.step_store(pod, Input::PersistFailed);
            if self.pods[pod].store.is_up() {
                self.violation(format!("pod-{pod} store goes on after a failed write"));
            }
        }
    }
}
