//! What a replica says of itself to its shell: for status.json, `/api/status`, metrics and other replicas.

use crate::{Claim, ClusterId, Incarnation, PeerState, Position, Promise, ReplicaId, Seq, Term, Voters};

/// Where a replica is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// An empty volume that nobody has invited yet.
    Starting,
    /// It counts for no majority (yet, or no more).
    Learner,
    /// It follows a leader, or looks for one.
    Follower,
    /// It is claimed to lead and finds out whether it may.
    Recovering,
    /// It leads, and its term is open for writes.
    Leading,
    /// It was told to end.
    Draining,
    /// Its disk failed, or its volume belongs to another cluster than the Lease.
    Failed,
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
    /// It is connected.
    pub connected: bool,
    /// Up to here it has durably what the leader has.
    pub verified: Seq,
    /// It may lead.
    pub eligible: bool,
}

/// Everything that a replica says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Where it is in its life.
    pub phase: Phase,
    /// Its volume's cluster.
    pub cluster_id: Option<ClusterId>,
    /// The bootstrap wrote this volume, and no Lease was seen with its id yet.
    pub bootstrapping: bool,
    /// The Lease carries another cluster-id than the volume: that one. A person must look.
    pub foreign_cluster_id: Option<ClusterId>,
    /// It counts for majorities, by its own log.
    pub voter: bool,
    /// It may lead.
    pub eligible: bool,
    /// The promise in force (durable or about to be).
    pub promise: Promise,
    /// Its last entry.
    pub position: Position,
    /// Up to here the log is committed, as far as it knows.
    pub committed: Seq,
    /// The claim that it follows, or leads by.
    pub following: Option<Claim>,
    /// It hears that leader; a leader: it hears a majority.
    pub leader_heard: bool,
    /// It wants its sidecar to take the Lease: the term that was lost.
    pub campaign: Option<Term>,
    /// How its position stands among those known; 0 is the best.
    pub rank: u32,
    /// A term that the next leadership must be above.
    pub need_term: Option<Term>,
    /// It lets go of the leadership: to this pod and incarnation, or to nobody.
    pub hand_over: Option<Option<(String, Incarnation)>>,
    /// The voters, by its own log.
    pub voters: Voters,
    /// What a leader knows of its followers; empty elsewhere.
    pub followers: Vec<FollowerStatus>,
    /// It has caught up once with a leader since its start (for readiness).
    pub caught_up: bool,
    /// Told to end, and nothing keeps it any more.
    pub drained: bool,
    /// What it waits for, in words for people; empty when nothing.
    pub waiting_for: Vec<String>,
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
            eligible: self.eligible,
        }
    }
}
