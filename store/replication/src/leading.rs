//! Leading (5.2 in docs/design.md).
//!
//! ```text
//!   Counting   own promise durable, hellos of a majority of the voters (of the last set in the own log \[S7\])
//!      │ a better position among them: Pulling from it, cutting the own tail where it conflicts \[L2\], then count again
//!      ▼
//!   Opening    one empty entry of the own term; appended and sent
//!      │ committed: durable on a majority. Only entries of the own term are ever counted
//!      ▼
//!   Open       takes writes. Committed = acknowledged to the client
//! ```
//!
//! It stops for a voter's higher promise or a claim with a higher term, never because the Lease is gone \[L11\]. If it has
//! no majority for the lost-time, it refuses writes, reports that, and keeps trying.

use crate::catchup::{Outbound, Sending};
use crate::disk::Stall;
use crate::losing::Lost;
use crate::measured::Measured;
use crate::plants::{
    answers_count_by_name, better_positions_are_pulled, floor_holds, lacking_leaders_pull, leaders_invite,
    marked_volumes_stay_closed, only_own_terms_are_counted, own_promise_waits_for_disk, promises_name_incarnations,
};
use crate::replica::{Accepted, Replica};
use crate::rounds::Rounds;
use crate::stance::{Follower, Leading, Stage, Stance};
use crate::{
    Body, Claim, ConnId, Effect, Hello, HelloAnswer, InviteAnswer, Payload, Position, Promise, Proposal, Refusal,
    RefusalCode, ReplicaId, Seq, Shortage, Term, Ticket,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The number of writes that may wait for their commit at once; more are refused, so memory stays bounded.
const UNCOMMITTED_MAX: u64 = 16_384;
/// Idle followers learn of a commit after this time, unless an append carries it earlier.
const TELL_COMMIT_AFTER: Duration = Duration::from_millis(2);

impl Leading {
    pub(crate) fn new(claim: Claim, promised_by: Ticket, now: Duration) -> Leading {
        Leading {
            claim,
            promised_by,
            stage: Stage::Counting,
            since: now,
            followers: BTreeMap::new(),
            seen: BTreeMap::new(),
            gone_back: BTreeSet::new(),
            hellos: 0,
            round: 0,
            rounds: Rounds::default(),
            read_round: 0,
            asks: Vec::new(),
            next_heartbeat: now,
            next_invitations: now,
            next_durable: now,
            tell_commit_at: None,
            majority_at: now,
            need_term: None,
            hand_over: None,
            hand_over_not_before: Duration::ZERO,
            stall: Stall::default(),
            diverged_since: None,
            is_silent: false,
            question: None,
            next_question: now,
        }
    }

    /// The replica that is connected under that pod name; of several, the one with the latest hello.
    pub(crate) fn connected_as(&self, name: &str) -> Option<ReplicaId> {
        let connected = self.followers.iter().filter(|(_, one)| one.conn.is_some() && one.name == name);
        connected.max_by_key(|(_, one)| one.hello_number).map(|(replica, _)| *replica)
    }

    /// A connection ended. The replica that is left under the same name is that pod's replica.
    pub(crate) fn hung_up(&mut self, conn: ConnId) {
        let Some(follower) = self.followers.values_mut().find(|follower| follower.conn == Some(conn)) else { return };
        follower.conn = None;
        let name = follower.name.clone();
        if let Some(replica) = self.connected_as(&name) {
            self.seen.insert(name, replica);
        }
    }

    /// The term's first entry, once there is one.
    pub(crate) fn first_entry(&self) -> Option<Seq> {
        match self.stage {
            Stage::Counting | Stage::Pulling(_) => None,
            Stage::Opening(first) | Stage::Open(first) => Some(first),
        }
    }

    /// Connected now, and heard within the lost-time.
    pub(crate) fn hears(&self, replica: ReplicaId, now: Duration, lost_time: Duration) -> bool {
        self.followers.get(&replica).is_some_and(|one| one.conn.is_some() && now < one.heard_at + lost_time)
    }
}

impl Replica {
    // ---- what followers say

    pub(crate) fn on_hello(&mut self, conn: ConnId, hello: Hello) {
        if let Err((code, reason)) = self.check_hello(&hello) {
            let promise = self.volume.state().promise;
            let known = if code == RefusalCode::WentBack { self.knows_better(&hello) } else { None };
            let answer = HelloAnswer::Refused { reason, code, promise, known };
            self.effects.push(Effect::Answer { conn, answer });
            if code == RefusalCode::WentBack {
                self.disown(hello.replica);
            }
            if self.volume.state().cluster_id.is_some() && hello.cluster_id == self.volume.state().cluster_id {
                self.is_in_the_way(hello.replica, hello.promise);
            }
            return;
        }
        let position = hello.position;
        let mut outbound = Outbound::new(position, self.volume.log());
        outbound.part = hello.snapshot_part;
        let Stance::Leading(leading) = &mut self.stance else { return };
        leading.seen.insert(hello.name.clone(), hello.replica);
        // It has everything that it is known to have: somebody has restored its newest state.
        leading.gone_back.remove(&hello.replica);
        leading.hellos += 1;
        let before = leading.followers.remove(&hello.replica);
        if let Some(old) = before.as_ref().and_then(|follower| follower.conn) {
            self.effects.push(Effect::Close { conn: old });
        }
        let follower = Follower {
            conn: Some(conn),
            hello_number: leading.hellos,
            name: hello.name,
            incarnation: hello.incarnation,
            revision: hello.revision,
            eligible: hello.eligible,
            draining: false,
            // Until its first echo reports the present state.
            stalled: before.as_ref().is_some_and(|follower| follower.stalled),
            room: Shortage::default(),
            diverged: before.as_ref().is_some_and(|follower| follower.diverged),
            sums: hello.sums,
            position,
            heard_at: self.clock.now(),
            begun: 0,
            echoed: 0,
            clock: Measured::default(),
            verified: before.as_ref().map_or(Seq(0), |follower| follower.verified),
            acked: before.map_or(Position::ZERO, |follower| follower.acked),
            formats: (hello.format_max, hello.format_allowed),
            welcomed: self.in_force,
            durable_told: Seq(0),
            outbound,
        };
        leading.followers.insert(hello.replica, follower);
        if leading.stage == Stage::Pulling(hello.replica) {
            // Answers on the old connection will never arrive: count, and ask, again.
            leading.stage = Stage::Counting;
        }
        let format = self.in_force;
        let replica = Some(self.config.replica);
        self.effects.push(Effect::Answer { conn, answer: HelloAnswer::Welcome { format, replica } });
    }

    fn check_hello(&self, hello: &Hello) -> Result<(), (RefusalCode, String)> {
        let refused = |code, reason: &str| Err((code, reason.to_owned()));
        if self.volume.state().cluster_id.is_none()
            || hello.cluster_id.is_some_and(|id| Some(id) != self.volume.state().cluster_id)
        {
            return refused(RefusalCode::OtherCluster, "another cluster");
        }
        if hello.replica == self.config.replica {
            return refused(RefusalCode::OwnVolume, "this is my own volume");
        }
        let Stance::Leading(leading) = &self.stance else { return refused(RefusalCode::NotLeading, "not leading") };
        if leading.is_silent && self.checks.have_diverged() {
            return refused(RefusalCode::Diverged, "my data have diverged, so I lead no longer");
        }
        if leading.is_silent {
            return refused(RefusalCode::Stalled, "my disk hangs, and the others can do without me");
        }
        let any_incarnation = !promises_name_incarnations() && hello.promise.term == self.volume.state().promise.term;
        if hello.promise != self.volume.state().promise && !any_incarnation {
            return refused(RefusalCode::NotPromised, "this replica has not promised my term");
        }
        if let Some(reason) = self.refuses_formats(hello) {
            return Err((RefusalCode::Format, reason));
        }
        // A copy of a volume that is in use. The one that is connected may be the older of the two, so nobody is marked [E4].
        let (replica, name) = (hello.replica, &hello.name);
        if let Some(other) = leading.followers.get(&replica).map(|one| &one.name).filter(|other| *other != name)
            && leading.hears(replica, self.clock.now(), self.config.lost_time)
        {
            let reason =
                format!("the volume {replica} is already connected, from {other}: {name} runs on a copy of it");
            return Err((RefusalCode::AlreadyConnected, reason));
        }
        if let Some(known) = self.knows_better(hello) {
            let reason = format!(
                "the volume {replica} of {name} went back in time: it ends at {}, and has acknowledged everything up to {}",
                hello.position, known.position
            );
            return Err((RefusalCode::WentBack, reason));
        }
        Ok(())
    }

    pub(crate) fn on_invite_answered(&mut self, name: String, answer: InviteAnswer) {
        if answer.cluster_id.is_some_and(|id| Some(id) != self.volume.state().cluster_id) {
            return;
        }
        let is_another = answer.name.as_ref().is_some_and(|said| *said != name);
        if is_another && answers_count_by_name() {
            // That pod's address belongs to another pod by now. Its statement is not an answer [F2].
            return;
        }
        // Only an answer with its own name shows that a volume is gone: the voter of that name with another volume is dead.
        let is_named = answer.name.is_some();
        if let Stance::Leading(leading) = &mut self.stance
            && is_named
            // A late answer from a volume that is gone must not make its replacement dead.
            && leading.connected_as(&name).is_none()
        {
            leading.seen.insert(name, answer.replica);
        }
        if answer.went_back {
            return self.disown(answer.replica);
        }
        self.is_in_the_way(answer.replica, answer.promise);
    }

    /// Something other than our claim binds a replica. A voter's higher promise ends our leadership; anything else asks for
    /// a new term and leads on \[L3\].
    fn is_in_the_way(&mut self, replica: ReplicaId, promise: Promise) {
        if promise.term > Term::MAX {
            // Such a promise is impossible.
            return;
        }
        self.told_of(promise);
        let own = self.volume.state().promise;
        let voter = self.volume.log().voters().contains(replica);
        let Stance::Leading(leading) = &mut self.stance else { return };
        if promise.term > own.term && voter {
            self.end_stance();
            self.lose();
            self.told_of(promise);
        } else if promise.term > own.term || (promise.term == own.term && promise.incarnation != own.incarnation) {
            leading.need_term = leading.need_term.max(Some(promise.term));
        }
    }

    pub(crate) fn on_follower_says(&mut self, conn: ConnId, replica: ReplicaId, body: Body) {
        let Stance::Leading(leading) = &mut self.stance else { return };
        let Some(follower) = leading.followers.get_mut(&replica) else { return };
        let pulling = leading.stage == Stage::Pulling(replica);
        match body {
            Body::Ack { seq } => {
                follower.outbound.acked(self.clock.now(), seq, self.volume.log());
                follower.verified = follower.verified.max(follower.outbound.verified);
                if let Some(acked) = self.volume.log().position_at(follower.verified) {
                    follower.acked = follower.acked.max(acked);
                }
            }
            Body::Mismatch { hint } => follower.outbound.mismatched(hint, self.volume.log()),
            Body::Echo { round, eligible, draining, stalled, room, diverged, time_ms } => {
                follower.clock.echoed(round, time_ms, self.clock.now());
                follower.echoed = follower.echoed.max(round);
                follower.eligible = eligible;
                follower.draining = draining;
                follower.stalled = stalled;
                follower.room = room;
                follower.diverged = diverged;
            }
            // It pulls again what its disk did not accept, or another leader does.
            Body::Append { .. } if pulling && self.disk.is_full() => {}
            Body::Append { previous, entries, commit } if pulling => {
                let accepted = self.accept(previous, entries);
                if let Accepted::UpTo(end) = accepted {
                    self.learn_raise(commit.min(end));
                }
                self.after_accept(conn, accepted);
            }
            Body::Snapshot(piece) if pulling => self.effects.push(Effect::KeepPiece { conn, piece }),
            Body::ReadIndex { number } => self.on_read_index(conn, number),
            Body::Sum { seq, sum } => self.on_follower_sum(replica, seq, sum),
            // Only a leader sends these, and only one that pulls receives these.
            Body::Append { .. }
            | Body::Snapshot(_)
            | Body::Heartbeat { .. }
            | Body::Pull { .. }
            | Body::ReadAnswer { .. }
            | Body::AskSum { .. }
            | Body::Sums { .. } => {}
        }
    }

    // ---- what clients want

    pub(crate) fn on_propose(&mut self, proposals: Vec<Proposal>) {
        if let Some(reason) = self.refusal(proposals.len()) {
            let rejected = proposals.into_iter().map(|proposal| Effect::Rejected { id: proposal.id, reason });
            self.effects.extend(rejected);
            return;
        }
        let proposals = self.without_growth(proposals);
        if proposals.is_empty() {
            return;
        }
        let ids: Vec<_> = proposals.iter().map(|proposal| proposal.id).collect();
        let first = self.volume.log().last().seq.next();
        self.append_own(proposals.into_iter().map(|proposal| Payload::Command(proposal.command)));
        let term = self.volume.state().promise.term;
        for (id, seq) in ids.into_iter().zip(first.0..) {
            self.effects.push(Effect::Accepted { id, position: crate::Position { term, seq: Seq(seq) } });
        }
    }

    /// Accepts as many as there is room for, and refuses the others.
    fn without_growth(&mut self, mut proposals: Vec<Proposal>) -> Vec<Proposal> {
        let refused = [self.room_refusal(false), self.room_refusal(true)];
        if refused != [None, None] {
            let effects = &mut self.effects;
            proposals.retain(|proposal| match refused[usize::from(proposal.grows)] {
                Some(reason) => {
                    effects.push(Effect::Rejected { id: proposal.id, reason });
                    false
                }
                None => true,
            });
        }
        proposals
    }

    /// Would a write that grows the data be refused for lack of room? Only then need the shell find out which writes do.
    pub fn refuses_growth(&self) -> bool {
        self.room_refusal(true).is_some()
    }

    /// Accepted writes are still being fsynced locally and are not yet committed. Writes that arrive meanwhile gain nothing
    /// from being proposed at once: they would wait for the same disk, and each would cost a frame and an answer for every
    /// follower. Proposed later, all together, they incur these costs once. False where a write would be refused anyway.
    pub fn is_writing_a_group(&self) -> bool {
        let last = self.volume.log().last().seq;
        last > self.volume.writes().durable() && last > self.progress.commit() && self.refusal(1).is_none()
    }

    /// Why `more` writes would be refused now.
    fn refusal(&self, more: usize) -> Option<Refusal> {
        // What serves nothing points to nobody else, either.
        if self.checks.end_leading() {
            return Some(Refusal::Diverged);
        }
        if !matches!(self.stance, Stance::Leading(_)) {
            return Some(Refusal::NotLeader);
        }
        if self.write_needs_hung_disk() {
            return Some(Refusal::DiskStalled);
        }
        let voters = self.volume.log().voters();
        if !self.is_open() {
            return Some(if self.volume.state().bootstrapping { Refusal::Bootstrapping } else { Refusal::Recovering });
        }
        if self.lost.is_some() {
            return Some(Refusal::NoMajority);
        }
        if voters.voters.len() < voters.floor as usize && floor_holds() {
            return Some(Refusal::TooFewVoters { have: voters.voters.len(), floor: voters.floor });
        }
        let waiting = self.volume.log().last().seq.0 - self.progress.commit().0;
        (waiting + more as u64 > UNCOMMITTED_MAX).then_some(Refusal::Overloaded)
    }

    // ---- what time and progress bring

    pub(crate) fn tend_leading(&mut self) {
        if !matches!(self.stance, Stance::Leading(_)) {
            return;
        }
        self.listen_for_majority();
        self.tend_question();
        self.tend_stall();
        self.tend_divergence();
        self.invite();
        self.count();
        self.advance_commit();
        self.tend_draining();
        self.reconcile_voters();
        self.drop_old_builds();
        self.advance_commit();
        self.feed_followers();
        self.beat();
    }

    fn listen_for_majority(&mut self) {
        let (now, lost_time, own) = (self.clock.now(), self.config.lost_time, self.config.replica);
        let Stance::Leading(leading) = &mut self.stance else { return };
        let heard =
            self.volume.log().voters().is_majority(|replica| replica == own || leading.hears(replica, now, lost_time));
        if heard {
            leading.majority_at = now;
            self.lost = None;
        } else if now >= leading.majority_at + lost_time && self.lost.is_none() {
            self.lost = Some(Lost { since: now, told: Promise::NONE });
            self.peers.ask_soon(now);
        }
    }

    /// Invites every voter and every wanted member that has not said hello \[L1\].
    fn invite(&mut self) {
        let Stance::Leading(leading) = &mut self.stance else { return };
        if self.clock.now() < leading.next_invitations {
            return;
        }
        leading.next_invitations = self.clock.now() + self.config.lost_time / 5;
        if !leaders_invite() || leading.is_silent {
            return;
        }
        let mut claim = leading.claim.clone();
        // As they are known now: with them nobody needs DNS to dial back.
        if let Some(view) = self.sidecar.view().filter(|view| !view.self_addresses.is_empty()) {
            claim.addresses.clone_from(&view.self_addresses);
        }
        let connected =
            |name: &str| leading.followers.values().any(|follower| follower.name == name && follower.conn.is_some());
        let voters = self.volume.log().voters().voters.iter().map(|voter| voter.name.as_str());
        let members = self.sidecar.members().iter().map(|member| member.name.as_str());
        let mut absent: Vec<String> = voters
            .chain(members)
            .filter(|name| *name != self.config.name && !connected(name))
            .map(str::to_owned)
            .collect();
        absent.sort_unstable();
        absent.dedup();
        for name in absent {
            if let Some(to) = self.target_of(&name) {
                self.effects.push(Effect::Invite { to, claim: claim.clone() });
            }
        }
    }

    /// Counts the promises, and opens the term or pulls first.
    fn count(&mut self) {
        let own = self.config.replica;
        let own_counts = |promised_by| self.volume.writes().is_durable(promised_by) || !own_promise_waits_for_disk();
        let Stance::Leading(leading) = &self.stance else { return };
        let connected = |replica: &ReplicaId| leading.followers.get(replica).is_some_and(|one| one.conn.is_some());
        let last = self.volume.log().last();
        match leading.stage {
            Stage::Opening(_) | Stage::Open(_) => return,
            Stage::Pulling(from) => {
                // Done when nothing is left to pull; restarts when the connection is gone.
                let done = leading.followers.get(&from).is_none_or(|one| one.conn.is_none() || one.position <= last);
                if !done {
                    return;
                }
            }
            Stage::Counting => {}
        }
        let voters = self.volume.log().voters();
        let promised =
            |replica: ReplicaId| if replica == own { own_counts(leading.promised_by) } else { connected(&replica) };
        // This includes its own promise: nothing of a later term is pulled or written while the promise may still be lost.
        // If its own disk hangs, another replica leads.
        let enough = own_counts(leading.promised_by) && voters.is_majority(promised);
        let best = voters
            .voters
            .iter()
            .filter(|voter| voter.replica != own && connected(&voter.replica))
            .map(|voter| (leading.followers[&voter.replica].position, voter.replica))
            .max();
        let Stance::Leading(leading) = &mut self.stance else { return };
        leading.stage = Stage::Counting;
        if !enough {
            return;
        }
        match best.filter(|_| better_positions_are_pulled()) {
            Some((position, replica)) if position > last && !lacking_leaders_pull() => {
                let better = &leading.followers[&replica];
                leading.hand_over = Some(crate::stance::HandingOver {
                    to: replica,
                    to_name: better.name.clone(),
                    to_incarnation: better.incarnation,
                    since: self.clock.now(),
                    caught_up_at: self.clock.now(),
                    ready: true,
                });
            }
            Some((position, replica)) if position > last => {
                leading.stage = Stage::Pulling(replica);
                let conn = leading.followers[&replica].conn.expect("only connected ones were looked at");
                self.send(conn, Body::Pull { position: last });
            }
            _ => {
                let first = self.append_own([Payload::Empty]);
                let Stance::Leading(leading) = &mut self.stance else { return };
                leading.stage = Stage::Opening(first);
                // Only now is it known what a follower lacks: its hello was compared with the log before the pull.
                for follower in leading.followers.values_mut() {
                    let part = follower.outbound.part.take();
                    follower.outbound = Outbound::new(follower.position, self.volume.log());
                    follower.outbound.part = part;
                }
            }
        }
    }

    /// Commits what is durable on a majority of the voters, counting only entries of the own term.
    pub(crate) fn advance_commit(&mut self) {
        let own = self.config.replica;
        let durable = self.volume.writes().durable();
        let Stance::Leading(leading) = &mut self.stance else { return };
        let (Stage::Opening(first) | Stage::Open(first)) = leading.stage else { return };
        let has = |replica: ReplicaId| {
            if replica == own { durable } else { leading.followers.get(&replica).map_or(Seq(0), |one| one.verified) }
        };
        let committed = self.volume.log().voters().committed(has);
        if (committed >= first || !only_own_terms_are_counted()) && committed > self.progress.commit() {
            self.progress.commit_up_to(committed);
            leading.tell_commit_at.get_or_insert(self.clock.now() + TELL_COMMIT_AFTER);
        }
        if leading.stage != Stage::Opening(first) {
            return;
        }
        // A marked volume never opens; nor one whose cleared mark could come back after a crash [L4].
        let unmarked = self.volume.is_unmarked() || !marked_volumes_stay_closed();
        // Writes are answered when they are applied: who leads with much to apply would keep them waiting.
        let opens = self.progress.commit() >= first && unmarked && self.applies_the_rest_now();
        if let Stance::Leading(leading) = &mut self.stance
            && opens
        {
            leading.stage = Stage::Open(first);
        }
    }

    fn feed_followers(&mut self) {
        let commit = self.progress.commit();
        let has_its_snapshot = self.volume.holds_its_snapshot();
        let Stance::Leading(leading) = &mut self.stance else { return };
        if !matches!(leading.stage, Stage::Opening(_) | Stage::Open(_)) {
            return;
        }
        let telling = leading.tell_commit_at.is_some_and(|at| self.clock.now() >= at);
        if telling {
            self.tell_durable(false);
        }
        let Stance::Leading(leading) = &mut self.stance else { return };
        let mut out = Vec::new();
        for follower in leading.followers.values_mut() {
            let Some(conn) = follower.conn.filter(|_| has_its_snapshot) else { continue };
            while let Some(sending) = follower.outbound.next(self.clock.now(), self.volume.log(), commit) {
                // One whose data have diverged takes no snapshot [D5].
                if !(follower.diverged && matches!(sending, Sending::Snapshot(..))) {
                    out.push((conn, sending));
                }
            }
            if telling && let Some(body) = follower.outbound.tell_commit(commit) {
                out.push((conn, Sending::Append(body)));
            }
        }
        let connected = |one: &&Follower| one.conn.is_some();
        if telling || leading.followers.values().filter(connected).all(|one| one.outbound.commit_told() >= commit) {
            leading.tell_commit_at = None;
        }
        if !out.is_empty() {
            self.tell_durable(true);
        }
        for (conn, sending) in out {
            match sending {
                Sending::Append(body) => self.send(conn, body),
                Sending::Snapshot(position, part) => self.send_snapshot(conn, position, part),
                Sending::Lookup(previous, bytes_max) => self.look_up(conn, previous, bytes_max),
            }
        }
    }

    fn beat(&mut self) {
        let Stance::Leading(leading) = &self.stance else { return };
        if self.clock.now() >= leading.next_heartbeat {
            self.begin_round(false);
        }
    }

    pub(crate) fn leading_deadline(&self) -> Option<Duration> {
        let Stance::Leading(leading) = &self.stance else { return None };
        // The heartbeat is the finest of the clocks that never stop, so the majority is checked with it.
        let clocks = [Some(leading.next_heartbeat), Some(leading.next_invitations), leading.tell_commit_at];
        clocks.into_iter().flatten().min()
    }

    /// A term that the next leadership must exceed, as published.
    pub(crate) fn need_term(&self) -> Option<Term> {
        let told =
            self.lost.as_ref().map(|lost| lost.told.term).filter(|term| *term > self.volume.state().promise.term);
        match &self.stance {
            Stance::Leading(leading) => leading.need_term.max(told),
            Stance::Idle | Stance::Following(_) => told,
        }
    }
}
