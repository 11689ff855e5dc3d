//! Following: "syncing from the leader" (5.1 in docs/design.md).
//!
//! ```text
//!   promise durable ──Dial+hello──▶ leader ──welcome──▶ appends ──▶ journal ──durable──▶ ack
//!                                          ──refused──▶ not yet leading: dial again; else lost
//!   heartbeat ──▶ echo              silence for the lost-time, a refused or reset connection ──▶ lost
//! ```
//!
//! The hello is the vote: it is sent only when everything up to the promise is durable. Its statement about the log stays
//! true under this promise, because nothing of a lower term is written after it \[S3\].

use crate::catchup::{Outbound, Sending};
use crate::plants::{
    diverged_send_no_snapshots, diverged_still_ack, hello_reads_log_after_promise, hello_waits_for_promise,
    late_acks_are_dropped, old_appends_are_dropped, only_durable_is_acked, only_verified_is_acked,
    only_verified_is_committed, promises_name_incarnations, strangers_are_refused,
};
use crate::replica::{Accepted, Replica};
use crate::stance::{Link, Stage, Stance};
use crate::{
    Body, Claim, ConnId, Effect, Entry, Frame, Hello, HelloAnswer, InviteAnswer, KnownVolume, Position, Promise,
    RefusalCode, RequestId, Seq, SnapshotMeta, SnapshotPart,
};
use std::time::Duration;

/// Pauses before dialling a leader again: it may not have read its own role yet (short), or be gone (longer).
const REDIAL_SOON: Duration = Duration::from_millis(15);
const REDIAL_FIRST: Duration = Duration::from_millis(50);
const REDIAL_MOST: Duration = Duration::from_millis(500);

impl Replica {
    pub(crate) fn on_invited(&mut self, request: RequestId, claim: Claim) {
        // Another cluster is refused before anything else is looked at; for an empty volume the Lease says which is ours.
        // Before role.json says so it is nobody's: a stranger's pods may have our name and be on our network [F3].
        let own = self.volume.state().cluster_id.or(self.sidecar.cluster_id());
        let ours = own == Some(claim.cluster_id) || own.is_none() && !strangers_are_refused();
        // The leader that hands over to us sends our own claim: role.json will say the same in a moment. A replica that has
        // just begun to drain accepts it, too: the other one has let go, and nobody else would accept it at once.
        let may_be_ours = self.is_sound() && !self.is_stalled() || claim.incarnation != self.config.incarnation;
        if ours && may_be_ours {
            let again = claim.promise() == self.volume.state().promise;
            self.consider(claim);
            if let Stance::Following(following) = &mut self.stance
                && let Link::Down { redial_at } = &mut following.link
                && again
            {
                *redial_at = self.clock.now().min(*redial_at);
            }
        }
        let answer = InviteAnswer {
            name: Some(self.config.name.clone()),
            cluster_id: self.volume.state().cluster_id,
            replica: self.config.replica,
            promise: self.volume.state().promise,
            went_back: self.past.has_gone_back(),
        };
        self.effects.push(Effect::AnswerInvite { request, answer });
    }

    /// The followed leader is reported again, perhaps with other addresses. A report without addresses knows less, not
    /// better.
    pub(crate) fn learn_addresses(&mut self, claim: Claim) {
        let Stance::Following(following) = &mut self.stance else { return };
        let known = &following.claim.addresses;
        let addresses = if claim.addresses.is_empty() { known.clone() } else { claim.addresses };
        let has_new = addresses.iter().any(|address| !known.contains(address));
        following.claim = Claim { addresses, ..claim };
        // We are dialling where it was; an address without a pod says nothing, not even no.
        if let (Link::Dialled(conn), true) = (following.link, has_new) {
            following.link = Link::Down { redial_at: self.clock.now() };
            self.effects.push(Effect::Close { conn });
        }
    }

    /// Dials when it may, and detects that the leader is silent.
    pub(crate) fn tend_following(&mut self) {
        let ours = self.config.name.clone();
        let Stance::Following(following) = &mut self.stance else { return };
        if following.heard && self.clock.now() >= following.heard_at + self.config.lost_time {
            following.heard = false;
            if let Link::Dialled(conn) | Link::Up(conn) = following.link {
                following.link = Link::Down { redial_at: self.clock.now() };
                self.effects.push(Effect::Close { conn });
            }
            self.lose();
            return self.tend_following();
        }
        if !following.heard && self.lost.is_none() {
            // The leader is an earlier run of this very pod, so nobody is there to dial.
            let own_past = following.claim.name == ours;
            if own_past || self.clock.now() >= following.heard_at + self.config.lost_time {
                return self.lose();
            }
        }
        let Stance::Following(following) = &mut self.stance else { return };
        if let Link::Down { redial_at } = following.link
            && self.clock.now() >= redial_at
            && following.claim.name != ours
            && (self.volume.writes().is_durable(following.promised_by) || !hello_waits_for_promise())
        {
            let to = following.claim.target();
            let conn = self.new_conn();
            let hello = self.hello();
            let Stance::Following(following) = &mut self.stance else { return };
            following.link = Link::Dialled(conn);
            self.effects.push(Effect::Dial { conn, to, hello });
        }
    }

    pub(crate) fn following_deadline(&self) -> Option<Duration> {
        let Stance::Following(following) = &self.stance else { return None };
        let silent = (following.heard || self.lost.is_none()).then_some(following.heard_at + self.config.lost_time);
        let redial = match following.link {
            Link::Down { redial_at }
                if self.volume.writes().is_durable(following.promised_by)
                    && following.claim.name != self.config.name =>
            {
                Some(redial_at)
            }
            _ => None,
        };
        silent.into_iter().chain(redial).min()
    }

    fn hello(&self) -> Hello {
        let position = if hello_reads_log_after_promise() { self.volume.log().last() } else { self.memory.position() };
        let (format_min, format_max, format_allowed) = self.said_formats();
        Hello {
            format_min,
            format_max,
            format_allowed,
            cluster_id: self.volume.state().cluster_id,
            name: self.config.name.clone(),
            replica: self.config.replica,
            incarnation: self.config.incarnation,
            revision: self.config.revision.clone(),
            eligible: self.is_eligible(),
            promise: self.volume.state().promise,
            position,
            // The shell knows it.
            snapshot_part: None,
            sums: self.config.sums,
        }
    }

    pub(crate) fn on_answered(&mut self, conn: ConnId, answer: HelloAnswer) {
        let Stance::Following(following) = &mut self.stance else { return };
        if following.link != Link::Dialled(conn) {
            return;
        }
        match answer {
            HelloAnswer::Welcome { replica, format } => {
                following.link = Link::Up(conn);
                following.welcomed = format;
                following.leader_replica = replica;
                following.is_used_elsewhere = false;
                following.refused_format = None;
                following.heard = true;
                following.heard_at = self.clock.now();
                following.redial_pause = Duration::ZERO;
                // A new connection verifies anew: the leader cannot know how far the last one got.
                following.verified = Seq(0);
                following.acked = None;
                following.owes_ack = !only_verified_is_acked();
                following.pulled = None;
                following.dropped = false;
                following.asked.clear();
                following.table = None;
                self.lost = None;
                if !only_verified_is_acked() {
                    self.ack();
                }
            }
            HelloAnswer::Refused { promise, code, known, reason } => {
                self.effects.push(Effect::Close { conn });
                following.refused_format = (code == RefusalCode::Format).then_some(reason);
                following.is_used_elsewhere = code == RefusalCode::AlreadyConnected;
                if code == RefusalCode::WentBack && !self.past.has_gone_back() {
                    let (replica, leader) = (self.config.replica, following.claim.name.clone());
                    let unknown = KnownVolume { replica, term: promise.term, position: Position::ZERO };
                    self.go_back(&leader, known.unwrap_or(unknown));
                    if self.past.has_gone_back() {
                        return;
                    }
                }
                let Stance::Following(following) = &mut self.stance else { return };
                // It has not yet read that it leads. That is no loss; the lost-time is the limit.
                let not_yet = promise.term < following.claim.term;
                self.hang_up(not_yet);
                if !not_yet {
                    self.lose();
                    self.told_of(promise);
                }
            }
        }
    }

    pub(crate) fn on_closed(&mut self, conn: ConnId) {
        match &mut self.stance {
            Stance::Idle => {}
            Stance::Following(following) => {
                if following.link == Link::Dialled(conn) || following.link == Link::Up(conn) {
                    // A refused or reset connection: lost at once.
                    self.hang_up(false);
                    self.lose();
                }
            }
            Stance::Leading(leading) => leading.hung_up(conn),
        }
    }

    pub(crate) fn hang_up(&mut self, soon: bool) {
        let Stance::Following(following) = &mut self.stance else { return };
        following.heard = false;
        following.redial_pause =
            if soon { REDIAL_SOON } else { (following.redial_pause * 2).clamp(REDIAL_FIRST, REDIAL_MOST) };
        following.link = Link::Down { redial_at: self.clock.now() + following.redial_pause };
    }

    pub(crate) fn on_frame(&mut self, conn: ConnId, frame: Frame) {
        if self.takes_old_frame(conn, &frame) {
            return;
        }
        // A frame of any other term or leader is dropped [S4].
        let promise = self.volume.state().promise;
        let is_promised = if promises_name_incarnations() {
            Promise { term: frame.term, incarnation: frame.incarnation } == promise
        } else {
            frame.term == promise.term
        };
        if !is_promised {
            return;
        }
        match &mut self.stance {
            Stance::Idle => {}
            Stance::Following(following) => {
                if following.link == Link::Up(conn) {
                    following.heard_at = self.clock.now();
                    self.freshness.heard_at = self.clock.now();
                    self.on_leader_says(conn, frame.body);
                }
            }
            Stance::Leading(leading) => {
                let found = leading.followers.iter_mut().find(|(_, follower)| follower.conn == Some(conn));
                if let Some((replica, follower)) = found {
                    follower.heard_at = self.clock.now();
                    let replica = *replica;
                    self.on_follower_says(conn, replica, frame.body);
                }
            }
        }
    }

    fn on_leader_says(&mut self, conn: ConnId, body: Body) {
        match body {
            Body::Append { .. } if self.disk.is_full() => self.disk.missed(),
            Body::Append { entries, .. } if !entries.is_empty() && self.takes_no_entries() => {
                // Not answered: the leader waits, as for a slow disk, and counts others.
                if let Stance::Following(following) = &mut self.stance {
                    following.dropped = true;
                }
            }
            Body::Append { previous, commit, entries } => {
                if let Stance::Following(following) = &mut self.stance {
                    // It has everything that it pulled for: from here on its acks report its own volume.
                    following.pulled = None;
                }
                let accepted = self.accept(previous, entries);
                self.after_accept(conn, accepted);
                self.leader_commits(commit);
            }
            Body::Heartbeat { round, commit } => {
                if let Stance::Following(following) = &mut self.stance {
                    following.round = round;
                }
                self.echo(conn);
                self.leader_commits(commit);
                self.after_heartbeat();
            }
            // It is not replaced by the data of others, so that an operator can see what happened [D5].
            Body::Snapshot(_) if self.checks.have_diverged() => {}
            // Its pieces go to the same disk, by threads of their own.
            Body::Snapshot(_) if self.disk.hangs() => self.disk.missed(),
            Body::Snapshot(piece) => {
                self.effects.push(Effect::KeepPiece { conn, piece });
                self.say_that_it_lives(conn);
            }
            Body::Pull { position } => {
                let outbound = Outbound::new(position, self.volume.log());
                let Stance::Following(following) = &mut self.stance else { return };
                following.pulled = Some(outbound);
                self.feed_leader();
            }
            Body::Ack { seq } => {
                self.on_leader_acks(seq);
                let Stance::Following(following) = &mut self.stance else { return };
                if let Some(outbound) = &mut following.pulled {
                    outbound.acked(self.clock.now(), seq, self.volume.log());
                }
                self.feed_leader();
            }
            Body::Mismatch { hint } => {
                let Stance::Following(following) = &mut self.stance else { return };
                if let Some(outbound) = &mut following.pulled {
                    outbound.mismatched(hint, self.volume.log());
                }
                self.feed_leader();
            }
            Body::ReadAnswer { number, index } => self.on_read_answer(conn, number, index),
            Body::AskSum { seq } => self.on_ask_sum(seq),
            Body::Sums { seq, sums } => self.on_sums(seq, sums),
            // Only followers send these.
            Body::Echo { .. } | Body::ReadIndex { .. } | Body::Sum { .. } => {}
        }
    }

    fn echo(&mut self, conn: ConnId) {
        let (eligible, draining) = (self.is_eligible(), self.ending.is_draining());
        let (stalled, room, diverged) = (self.is_stalled(), self.supply.room().shortage(), self.checks.have_diverged());
        let Stance::Following(following) = &mut self.stance else { return };
        following.echoed_at = self.clock.now();
        let round = following.round;
        let time_ms = self.time_of_day.at(self.clock.now());
        let echo = |time_ms| Body::Echo { round, eligible, draining, stalled, room, diverged, time_ms };
        let whole = echo(time_ms);
        let echo = if self.speaks(conn, &whole) { whole } else { echo(None) };
        self.send(conn, echo);
    }

    /// Heartbeats queue behind whatever fills a slow link: while a follower receives a long frame or a snapshot, its leader
    /// must not consider it gone. The echo of an old round confirms nothing new.
    fn say_that_it_lives(&mut self, conn: ConnId) {
        let Stance::Following(following) = &self.stance else { return };
        if self.clock.now() >= following.echoed_at + self.config.lost_time / 4 {
            self.echo(conn);
        }
    }

    /// Part of a frame is as good a sign of life as a whole one.
    pub(crate) fn on_heard(&mut self, conn: ConnId) {
        let Stance::Following(following) = &mut self.stance else { return };
        if following.link == Link::Up(conn) {
            following.heard_at = self.clock.now();
            self.freshness.heard_at = self.clock.now();
            self.say_that_it_lives(conn);
        }
    }

    /// Sends the recovering leader what it pulls.
    pub(crate) fn feed_leader(&mut self) {
        while self.volume.holds_its_snapshot() {
            let Stance::Following(following) = &mut self.stance else { return };
            let (Link::Up(conn), Some(outbound)) = (following.link, &mut following.pulled) else { return };
            match outbound.next(self.clock.now(), self.volume.log(), self.progress.commit()) {
                None => return,
                Some(Sending::Append(body)) => self.send(conn, body),
                Some(Sending::Snapshot(position, part)) => self.send_snapshot(conn, position, part),
                Some(Sending::Lookup(previous, bytes_max)) => self.look_up(conn, previous, bytes_max),
            }
        }
    }

    pub(crate) fn look_up(&mut self, conn: ConnId, previous: crate::Position, bytes_max: usize) {
        self.effects.push(Effect::LookUp { conn, previous, bytes_max });
    }

    /// Entries that were looked up go to the replica that they were looked up for.
    pub(crate) fn on_looked_up(&mut self, conn: ConnId, entries: Vec<Entry>) {
        let (now, commit) = (self.clock.now(), self.progress.commit());
        let outbound = match &mut self.stance {
            Stance::Idle => None,
            Stance::Following(following) if following.link == Link::Up(conn) => following.pulled.as_mut(),
            Stance::Following(_) => None,
            Stance::Leading(leading) => {
                let follower = leading.followers.values_mut().find(|follower| follower.conn == Some(conn));
                follower.map(|follower| &mut follower.outbound)
            }
        };
        if let Some(body) = outbound.and_then(|outbound| outbound.found(now, self.volume.log(), commit, entries)) {
            self.send(conn, body);
        }
        self.feed_leader();
    }

    pub(crate) fn send_snapshot(&mut self, conn: ConnId, position: Position, part: Option<SnapshotPart>) {
        if self.checks.have_diverged() && diverged_send_no_snapshots() {
            // Another replica must bring what is missing there.
            if matches!(self.stance, Stance::Following(_)) {
                self.effects.push(Effect::Close { conn });
                self.hang_up(false);
            }
            return;
        }
        let Promise { term, incarnation } = self.volume.state().promise;
        self.effects.push(Effect::SendSnapshot { conn, term, incarnation, position, part });
    }

    pub(crate) fn on_snapshot_received(&mut self, conn: ConnId, meta: SnapshotMeta) {
        let theirs = match &self.stance {
            Stance::Idle => false,
            Stance::Following(following) => following.link == Link::Up(conn),
            Stance::Leading(leading) => match leading.stage {
                Stage::Pulling(from) => leading.followers.get(&from).is_some_and(|one| one.conn == Some(conn)),
                Stage::Counting | Stage::Opening(_) | Stage::Open(_) => false,
            },
        };
        if theirs && !self.checks.have_diverged() {
            let accepted = self.install(conn, meta);
            self.after_accept(conn, accepted);
        }
    }

    /// Reports what became of entries or a snapshot: at once if it does not fit, otherwise by an ack when it is durable.
    pub(crate) fn after_accept(&mut self, conn: ConnId, accepted: Accepted) {
        match accepted {
            Accepted::UpTo(end) => {
                if let Stance::Following(following) = &mut self.stance {
                    following.verified = following.verified.max(end);
                    following.owes_ack = true;
                }
                self.ack();
            }
            Accepted::Mismatch(hint) => self.send(conn, Body::Mismatch { hint }),
            Accepted::Violation(what) => {
                self.effects.push(Effect::Report { what: what.clone() });
                self.fail(what);
            }
            Accepted::Unreadable(what) => self.cannot_go_on(what),
        }
    }

    /// Acks what is durable and verified \[S4\], if that is news.
    pub(crate) fn ack(&mut self) {
        let durable =
            if only_durable_is_acked() { self.volume.writes().durable() } else { self.volume.log().last().seq };
        match &mut self.stance {
            Stance::Following(following) => {
                let Link::Up(conn) = following.link else { return };
                let verified = if only_verified_is_acked() { following.verified } else { self.volume.log().last().seq };
                let seq = durable.min(verified);
                if self.checks.have_diverged() && !diverged_still_ack() {
                    return;
                }
                // Every append is answered, even one that brought nothing new: the leader may have been probing. The first
                // ack of a connection waits until everything verified is durable.
                let whole = seq == verified;
                if (whole && following.owes_ack) || following.acked.is_some_and(|acked| seq > acked) {
                    following.owes_ack &= !whole;
                    following.acked = Some(seq);
                    self.send(conn, Body::Ack { seq });
                    self.follow_commit();
                }
            }
            Stance::Leading(leading) => {
                // The replica that is pulled from continues when what it sent is durable here.
                if let Stage::Pulling(from) = leading.stage
                    && durable == self.volume.log().last().seq
                    && let Some(conn) = leading.followers.get(&from).and_then(|follower| follower.conn)
                {
                    self.send(conn, Body::Ack { seq: durable });
                }
            }
            Stance::Idle => {}
        }
    }

    pub(crate) fn leader_commits(&mut self, commit: Seq) {
        let Stance::Following(following) = &mut self.stance else { return };
        following.leader_commit = following.leader_commit.max(commit);
        self.follow_commit();
    }

    /// Commit = the leader's, as far as our log is verified to equal its log \[S5\].
    fn follow_commit(&mut self) {
        let Stance::Following(following) = &self.stance else { return };
        let end = if only_verified_is_committed() { following.verified } else { self.volume.log().last().seq };
        let commit = following.leader_commit.min(end);
        self.progress.commit_up_to(commit);
    }

    /// Runs after the rest of a step, because what the step applies counts.
    pub(crate) fn tend_caught_up(&mut self) {
        let caught_up = match &self.stance {
            Stance::Idle => false,
            Stance::Following(following) => {
                // A leader that has committed nothing of its own term does not know yet what else was committed.
                let committed = self.volume.log().position_at(following.leader_commit);
                following.acked.is_some()
                    && self.progress.applied() >= following.leader_commit
                    && committed.is_some_and(|committed| committed.term == following.claim.term)
            }
            Stance::Leading(_) => self.is_open(),
        };
        self.progress.note_caught_up(caught_up);
    }

    /// Frames of an older leadership are dropped. Only a planted fault accepts them.
    fn takes_old_frame(&mut self, conn: ConnId, frame: &Frame) -> bool {
        if !old_appends_are_dropped()
            && frame.term < self.volume.state().promise.term
            && let Body::Append { previous, entries, .. } = &frame.body
        {
            if let Accepted::UpTo(seq) = self.accept(*previous, entries.clone()) {
                self.memory.owe(conn, Frame { body: Body::Ack { seq }, ..frame.clone() });
            }
            return true;
        }
        if !late_acks_are_dropped()
            && let (Body::Ack { seq }, Stance::Leading(leading)) = (&frame.body, &mut self.stance)
            && let Some(replica) = self.memory.earlier(conn)
            && let Some(follower) = leading.followers.get_mut(&replica)
        {
            follower.outbound.acked(self.clock.now(), *seq, self.volume.log());
            follower.verified = follower.verified.max(follower.outbound.verified);
            return true;
        }
        false
    }
}
