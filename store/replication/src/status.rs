//! What a replica reports about itself to its shell: for status.json, `/api/status`, metrics and other replicas.

use crate::replica::Replica;
use crate::stance::Stance;
use crate::{
    Agreement, Claim, ClusterId, Diverged, FormatStatus, Incarnation, KnownVolume, PeerState, Position, Promise,
    ReplicaId, Room, Seq, Shortage, Term, Voters, WentBack,
};
use std::time::Duration;

/// A replica's stage of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// An empty volume that nobody has invited yet.
    Starting,
    /// It counts for no majority (not yet, or no longer).
    Learner,
    /// It follows a leader, or looks for one.
    Follower,
    /// A claim says that it leads, and it is finding out whether it may.
    Recovering,
    /// It leads, and its term is open for writes.
    Leading,
    /// It was asked to end.
    Draining,
    /// Its disk failed, or its volume belongs to another cluster than the Lease.
    Failed,
    /// Its volume has lost what it acknowledged: it counts for nothing, and serves nothing \[E2\].
    WentBack,
    /// Its data are not those of the others: it promises and acknowledges, but serves nothing and never leads \[D5\].
    Diverged,
}

/// A follower, as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowerStatus {
    /// The name of its pod.
    pub name: String,
    /// Its volume.
    pub replica: ReplicaId,
    /// Its run.
    pub incarnation: Incarnation,
    /// It counts for majorities.
    pub voter: bool,
    /// It is connected, and was heard within the lost-time.
    pub connected: bool,
    /// When it was last heard, on the clock of the leader's steps; none while it is connected.
    pub silent_since: Option<Duration>,
    /// The leader's log is durable there up to here.
    pub verified: Seq,
    /// It may lead.
    pub eligible: bool,
    /// Its disk hangs, or did so a moment ago.
    pub stalled: bool,
    /// Its data have diverged.
    pub diverged: bool,
    /// What it lacks room for.
    pub room: Shortage,
    /// The highest format that its build reads, and the highest that its operator allows.
    pub formats: (u32, u32),
}

/// Everything that a replica reports about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its stage of life.
    pub phase: Phase,
    /// Its volume's cluster.
    pub cluster_id: Option<ClusterId>,
    /// It leads and accepts writes, also while it drains.
    pub open: bool,
    /// The bootstrap wrote this volume, and no Lease with its id has been seen yet.
    pub bootstrapping: bool,
    /// The Lease carries another cluster-id than the volume: this one. An operator must look.
    pub foreign_cluster_id: Option<ClusterId>,
    /// It counts for majorities, by its own log.
    pub voter: bool,
    /// It may lead. (If its disk hung a moment ago, it says so only where no other replica can lead.)
    pub eligible: bool,
    /// Its disk hangs, or did so a moment ago.
    pub stalled: bool,
    /// The promise in force (durable or about to be).
    pub promise: Promise,
    /// Its last entry.
    pub position: Position,
    /// The log is committed up to here, as far as it knows.
    pub committed: Seq,
    /// The claim that it follows, or leads by.
    pub following: Option<Claim>,
    /// It hears that leader; if it leads: it hears a majority.
    pub leader_heard: bool,
    /// It asks its sidecar to take the Lease: the term that was lost.
    pub campaign: Option<Term>,
    /// The rank of its position among the known ones; 0 is the best.
    pub rank: u32,
    /// A term that the next leadership must exceed.
    pub need_term: Option<Term>,
    /// It is letting go of the leadership, to this pod and incarnation.
    pub hand_over: Option<(String, Incarnation)>,
    /// The voters, by its own log.
    pub voters: Voters,
    /// What a leader knows of its followers; empty elsewhere.
    pub followers: Vec<FollowerStatus>,
    /// How much room it has.
    pub room: Room,
    /// It has caught up once with a leader since its start (for readiness).
    pub caught_up: bool,
    /// There is a leader, by the Lease, but it has not been heard here for a long time (for readiness).
    pub cut_off: bool,
    /// It was asked to end, and nothing keeps it any longer.
    pub drained: bool,
    /// What it waits for, in words for people; empty if nothing.
    pub waiting_for: Vec<String>,
    /// The volume has gone back in time: what is known of it.
    pub went_back: Option<WentBack>,
    /// Its data have diverged: what is known of it.
    pub diverged: Option<Diverged>,
    /// The last verdict about the data of all, as far as it knows.
    pub agreement: Option<Agreement>,
    /// What it knows of the volumes of others.
    pub known: Vec<KnownVolume>,
    /// What is in force, what it reads, and who holds the next format back.
    pub formats: FormatStatus,
}

impl Status {
    /// The answer to another replica's question.
    pub fn peer_state(&self, name: &str, replica: ReplicaId) -> PeerState {
        PeerState {
            name: name.to_owned(),
            replica,
            cluster_id: self.cluster_id,
            promise: self.promise,
            position: self.position,
            hears: self.following.as_ref().filter(|_| self.leader_heard).map(|claim| claim.term),
            eligible: self.eligible && !self.stalled,
            stalled: self.stalled,
            went_back: self.went_back.is_some(),
            diverged: self.diverged.is_some(),
            known: self.known.clone(),
            format_min: self.formats.log,
            format_max: self.formats.build,
            format_allowed: self.formats.allowed,
        }
    }
}

/// What has changed since a [`Status`] was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Nothing.
    Same,
    /// The log has moved on: only `position`, `committed`, `known`, the followers' `verified`, and the sequence and the sum
    /// of `agreement` differ.
    Moved,
    /// Something else differs, too.
    Changed,
}

impl Status {
    /// Takes over what [`Since::Moved`] names, of the same replica.
    pub fn move_to(&mut self, newer: &Status) {
        (self.position, self.committed) = (newer.position, newer.committed);
        self.known.clone_from(&newer.known);
        self.agreement.clone_from(&newer.agreement);
        for (follower, newer) in self.followers.iter_mut().zip(&newer.followers) {
            follower.verified = newer.verified;
        }
    }
}

/// The part of a [`Status`] that is available at every step: nothing in it is allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// Its stage of life.
    pub phase: Phase,
    /// The promise in force (durable or about to be).
    pub promise: Promise,
    /// Its last entry.
    pub position: Position,
    /// The log is committed up to here, as far as it knows.
    pub committed: Seq,
    /// The sequence from which its voters count.
    pub voters_since: Seq,
    /// It was asked to end, and nothing keeps it any longer.
    pub drained: bool,
    /// Everything else that changes status.json.
    pub rest: PulseRest,
}

/// See [`Pulse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PulseRest {
    cluster_id: Option<ClusterId>,
    bootstrapping: bool,
    eligible: bool,
    stalled: bool,
    following: Option<Promise>,
    leader_heard: bool,
    campaign: Option<Term>,
    rank: u32,
    need_term: Option<Term>,
    hands_over: Option<Incarnation>,
    room: Room,
    has_diverged: bool,
}

impl Replica {
    /// The promise in force (durable or about to be).
    pub fn promise(&self) -> Promise {
        self.volume.state().promise
    }

    /// Its last entry.
    pub fn position(&self) -> Position {
        self.volume.log().last()
    }

    /// The memory that the log's entries use, approximately.
    pub fn log_bytes(&self) -> usize {
        self.volume.log().memory_bytes()
    }

    /// What changes: while two of these are equal except for position and commit, so is the content of status.json.
    pub fn pulse(&self) -> Pulse {
        Pulse {
            phase: self.phase(),
            promise: self.volume.state().promise,
            position: self.volume.log().last(),
            committed: self.progress.commit(),
            voters_since: self.volume.log().voters_since(),
            drained: self.is_drained(),
            rest: PulseRest {
                cluster_id: self.volume.state().cluster_id,
                bootstrapping: self.volume.state().bootstrapping,
                eligible: self.may_contend(),
                stalled: self.is_stalled(),
                following: self.claim().map(Claim::promise),
                leader_heard: self.leader_heard(),
                campaign: self.campaign(),
                rank: self.rank(),
                need_term: self.need_term(),
                hands_over: self.published_hand_over().map(|(_, incarnation)| incarnation),
                room: self.supply.room(),
                has_diverged: self.checks.have_diverged(),
            },
        }
    }

    /// What the replica reports about itself.
    pub fn status(&self) -> Status {
        Status {
            phase: self.phase(),
            open: self.says_open(),
            cluster_id: self.volume.state().cluster_id,
            bootstrapping: self.volume.state().bootstrapping,
            foreign_cluster_id: self.foreign_cluster(),
            voter: self.is_voter(),
            eligible: self.may_contend(),
            stalled: self.is_stalled(),
            promise: self.volume.state().promise,
            position: self.volume.log().last(),
            committed: self.progress.commit(),
            following: self.claim().cloned(),
            leader_heard: self.leader_heard(),
            campaign: self.campaign(),
            rank: self.rank(),
            need_term: self.need_term(),
            hand_over: self.published_hand_over(),
            voters: self.volume.log().voters().clone(),
            followers: self.follower_status(),
            room: self.supply.room(),
            caught_up: self.progress.has_caught_up_once(),
            cut_off: self.cut_off(),
            drained: self.is_drained(),
            waiting_for: self.waiting_for(),
            went_back: self.past.went_back().cloned(),
            diverged: self.checks.mark().cloned(),
            agreement: self.checks.verdict().cloned(),
            known: self.past.known().to_vec(),
            formats: self.format_status(),
        }
    }

    /// Where the log ends, and how much the heard leader has committed: while this replica catches up with it for the first
    /// time since its start, or learns. For people: its progress.
    pub fn catches_up(&self) -> Option<(Seq, Seq)> {
        let Stance::Following(following) = &self.stance else { return None };
        let is_new = !self.progress.has_caught_up_once() || self.phase() == Phase::Learner;
        (following.heard && is_new).then(|| (self.volume.log().last().seq, following.leader_commit))
    }

    /// Updates an earlier status if only numbers differ, so that not every step allocates; otherwise leaves it unchanged.
    pub fn recount(&self, said: &mut Status) -> Since {
        if !self.is_but_for_numbers(said) {
            return Since::Changed;
        }
        let mut moved = said.position != self.volume.log().last() || said.committed != self.progress.commit();
        (said.position, said.committed) = (self.volume.log().last(), self.progress.commit());
        if said.known != self.past.known() {
            self.past.known().clone_into(&mut said.known);
            moved = true;
        }
        if said.agreement.as_ref() != self.checks.verdict() {
            said.agreement = self.checks.verdict().cloned();
            moved = true;
        }
        if let Stance::Leading(leading) = &self.stance {
            for (said, follower) in said.followers.iter_mut().zip(leading.followers.values()) {
                moved |= said.verified != follower.verified;
                said.verified = follower.verified;
            }
        }
        if moved { Since::Moved } else { Since::Same }
    }

    fn is_but_for_numbers(&self, said: &Status) -> bool {
        // Names every field, so that a new one cannot be forgotten.
        let Status {
            phase,
            cluster_id,
            open,
            bootstrapping,
            foreign_cluster_id,
            voter,
            eligible,
            stalled,
            promise,
            position: _,
            committed: _,
            following,
            leader_heard,
            campaign,
            rank,
            need_term,
            hand_over,
            voters,
            followers,
            room,
            caught_up,
            cut_off,
            drained,
            waiting_for,
            went_back,
            diverged,
            agreement,
            known: _,
            formats,
        } = said;
        *phase == self.phase()
            && *cluster_id == self.volume.state().cluster_id
            && *open == self.says_open()
            && *bootstrapping == self.volume.state().bootstrapping
            && *foreign_cluster_id == self.foreign_cluster()
            && *voter == self.is_voter()
            && *eligible == self.may_contend()
            && *stalled == self.is_stalled()
            && *promise == self.volume.state().promise
            && following.as_ref() == self.claim()
            && *leader_heard == self.leader_heard()
            && *campaign == self.campaign()
            && *rank == self.rank()
            && *need_term == self.need_term()
            && *hand_over == self.published_hand_over()
            && voters == self.volume.log().voters()
            && *room == self.supply.room()
            && *caught_up == self.progress.has_caught_up_once()
            && *cut_off == self.cut_off()
            && *drained == self.is_drained()
            && self.are_my_followers(followers)
            && went_back.as_ref() == self.past.went_back()
            && diverged.as_ref() == self.checks.mark()
            && is_like(agreement.as_ref(), self.checks.verdict())
            && self.is_format_status(formats)
            && *waiting_for == self.waiting_for()
    }

    fn are_my_followers(&self, said: &[FollowerStatus]) -> bool {
        let Stance::Leading(leading) = &self.stance else { return said.is_empty() };
        let voters = self.volume.log().voters();
        let is_same = |(said, (replica, follower)): (&FollowerStatus, (&ReplicaId, &crate::stance::Follower))| {
            let FollowerStatus {
                name,
                replica: id,
                incarnation,
                voter,
                connected,
                silent_since,
                verified: _,
                eligible,
                stalled,
                diverged,
                room,
                formats,
            } = said;
            id == replica
                && *name == follower.name
                && *incarnation == follower.incarnation
                && *voter == voters.contains(*replica)
                && *connected == leading.hears(*replica, self.clock.now(), self.config.lost_time)
                && *silent_since == (!*connected).then_some(follower.heard_at)
                && *eligible == follower.eligible
                && *stalled == follower.stalled
                && *diverged == follower.diverged
                && *room == follower.room
                && *formats == follower.formats
        };
        said.len() == leading.followers.len() && said.iter().zip(&leading.followers).all(is_same)
    }

    fn leader_heard(&self) -> bool {
        match &self.stance {
            Stance::Idle => false,
            Stance::Following(following) => following.heard,
            Stance::Leading(_) => self.lost.is_none(),
        }
    }

    /// Its stage of life.
    pub fn phase(&self) -> Phase {
        if self.ending.has_failed() {
            return Phase::Failed;
        }
        if self.ending.is_draining() {
            return Phase::Draining;
        }
        if self.past.has_gone_back() {
            return Phase::WentBack;
        }
        if self.checks.have_diverged() {
            return Phase::Diverged;
        }
        match &self.stance {
            Stance::Leading(_) if self.is_open() => Phase::Leading,
            Stance::Leading(_) => Phase::Recovering,
            Stance::Idle if self.foreign_cluster().is_some() => Phase::Failed,
            Stance::Idle if self.volume.state().cluster_id.is_none() => Phase::Starting,
            Stance::Idle | Stance::Following(_) if self.is_voter() => Phase::Follower,
            Stance::Idle | Stance::Following(_) => Phase::Learner,
        }
    }

    fn follower_status(&self) -> Vec<FollowerStatus> {
        let Stance::Leading(leading) = &self.stance else { return Vec::new() };
        let voters = self.volume.log().voters();
        let one = |(replica, follower): (&ReplicaId, &crate::stance::Follower)| FollowerStatus {
            name: follower.name.clone(),
            replica: *replica,
            incarnation: follower.incarnation,
            voter: voters.contains(*replica),
            connected: leading.hears(*replica, self.clock.now(), self.config.lost_time),
            silent_since: (!leading.hears(*replica, self.clock.now(), self.config.lost_time))
                .then_some(follower.heard_at),
            verified: follower.verified,
            eligible: follower.eligible,
            stalled: follower.stalled,
            diverged: follower.diverged,
            room: follower.room,
            formats: follower.formats,
        };
        leading.followers.iter().map(one).collect()
    }

    /// What it waits for, for an operator who wonders.
    fn waiting_for(&self) -> Vec<String> {
        let mut waits = Vec::new();
        if let Some(mark) = self.past.went_back() {
            return vec![mark.advice(&self.config.name)];
        }
        waits.extend(self.past.cut_committed().map(str::to_owned));
        waits.extend(self.checks.mark().map(|mark| mark.advice(&self.config.name)));
        if self.is_asking() {
            waits.push("answers of the other pods about this volume (for one lost-time at most)".to_owned());
        }
        if matches!(&self.stance, Stance::Following(following) if following.is_used_elsewhere) {
            waits.push(format!(
                "another pod is connected with this same volume ({}): one of the two runs on a copy of the other's. \
                 Stop this pod, and wipe the volume that is the copy",
                self.config.replica
            ));
        }
        if let Stance::Following(following) = &self.stance {
            waits.extend(following.refused_format.clone());
        }
        if let Some(theirs) = self.foreign_cluster() {
            waits.push(format!(
                "the Lease carries cluster-id {theirs}, but this volume belongs to another cluster: an operator must \
                 decide (sidecar adopt --cluster-id makes the Lease this volume's; an emptied volume joins the \
                 Lease's cluster)"
            ));
        }
        if let Some(term) = self.sidecar.absurd_term() {
            waits.push(format!(
                "the Lease's term {term} was edited by hand, so this replica does not promise it; the sidecar \
                replaces it soon"
            ));
        }
        waits.extend(self.waits_for_disk());
        if self.asked_for_bootstrap().is_some() {
            for name in self.bootstrap_waits_for() {
                let needs = self.config.initial_format;
                let also = if needs > crate::FORMAT_MIN {
                    format!(", and that it may write format {needs}, which the initial data need")
                } else {
                    String::new()
                };
                waits.push(format!("the first start waits for {name} to answer that its volume is empty{also}"));
            }
        } else if self.volume.state().cluster_id.is_none() && matches!(self.stance, Stance::Idle) {
            match self.sidecar.view() {
                None => waits.push("the sidecar has not written role.json yet".to_owned()),
                Some(view) if view.cluster_id.is_some() => waits.push(
                    "this volume is empty and waits for its leader's invitation; if all volumes of the cluster are \
                     lost, `store bootstrap --force` makes a new one"
                        .to_owned(),
                ),
                Some(view) if view.paused => {
                    waits.push("the cluster is paused; no pod makes its first start".to_owned())
                }
                Some(view) if view.members.is_empty() => {
                    waits.push("the wanted pods are unknown (role.json names no members yet)".to_owned());
                }
                Some(_) => waits.push("the pod of the lowest ordinal makes the cluster's first start".to_owned()),
            }
        }
        if let Stance::Leading(_) = &self.stance {
            let voters = self.volume.log().voters();
            if self.lost.is_some() {
                waits.push("no contact with a majority of the voters: writes are refused".to_owned());
            } else if !self.is_open() {
                waits.push("promises of a majority of the voters".to_owned());
            }
            if voters.voters.len() < voters.floor as usize {
                waits.push("a second voter that has caught up: until then writes are refused".to_owned());
            }
        } else if self.lost.is_some() && self.campaign().is_none() {
            waits.push("the leader is lost, but no majority of the voters confirms it yet".to_owned());
        }
        waits
    }
}

/// Do both verdicts say the same of everybody?
fn is_like(said: Option<&Agreement>, now: Option<&Agreement>) -> bool {
    match (said, now) {
        (None, None) => true,
        (Some(said), Some(now)) => said.sum.is_some() == now.sum.is_some() && said.differing == now.differing,
        (None, Some(_)) | (Some(_), None) => false,
    }
}
