//! A replica's present role: state that exists only in one role lives in that role's type.

use crate::catchup::Outbound;
use crate::disk::Stall;
use crate::measured::Measured;
use crate::question::ReadAsk;
use crate::rounds::Rounds;
use crate::table::{Question, Table};
use crate::{Claim, ConnId, Incarnation, Position, ReplicaId, Seq, Shortage, Term, Ticket};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Follows nobody, follows somebody, or leads.
#[derive(Clone, Debug, Hash)]
pub(crate) enum Stance {
    /// Knows of no leader: an empty volume, a start, or a leadership that it gave up.
    Idle,
    /// Its promise binds it to a leader.
    Following(Box<Following>),
    /// Its promise binds it to itself.
    Leading(Box<Leading>),
}

/// A follower's view of its leader.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Following {
    pub(crate) claim: Claim,
    /// When this is durable, it may dial the leader: the promise and everything before it.
    pub(crate) promised_by: Ticket,
    /// When the claim was accepted, or when the leader was last heard.
    pub(crate) heard_at: Duration,
    /// The leader is heard: it welcomed us and has not been lost since.
    pub(crate) heard: bool,
    pub(crate) link: Link,
    /// Equal to the leader's log up to here, under this promise \[S4\].
    pub(crate) verified: Seq,
    /// What the leader last got on this connection: nothing, or an ack of this sequence.
    pub(crate) acked: Option<Seq>,
    /// An append or snapshot was accepted, and its ack waits for the disk.
    pub(crate) owes_ack: bool,
    /// The leader's commit as last heard; may lie beyond `verified`.
    pub(crate) leader_commit: Seq,
    /// The leader pulls from us \[L2\].
    pub(crate) pulled: Option<Outbound>,
    /// Entries arrived that got no answer, because nothing fitted.
    pub(crate) dropped: bool,
    /// The next pause before dialling the leader again.
    pub(crate) redial_pause: Duration,
    /// The leader's volume, and how far it is durable there, as the leader reports \[E1\].
    pub(crate) leader_replica: Option<ReplicaId>,
    pub(crate) leader_durable: Seq,
    /// Another pod is connected with this very volume.
    pub(crate) is_used_elsewhere: bool,
    /// Why the leader refused it for its formats, the last time that it did.
    pub(crate) refused_format: Option<String>,
    /// The format that the leader welcomed it with.
    pub(crate) welcomed: u32,
    /// The questions for sums that are not answered yet, and the table by which it has not judged itself yet \[D6\].
    pub(crate) asked: VecDeque<Seq>,
    pub(crate) table: Option<Table>,
    /// The leader's newest round, and when an echo was sent last.
    pub(crate) round: u64,
    pub(crate) echoed_at: Duration,
}

/// The connection to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Link {
    /// Dial at this time, when the promise is durable.
    Down {
        /// No earlier than this.
        redial_at: Duration,
    },
    /// Dialled, hello said, no answer yet.
    Dialled(ConnId),
    /// Welcomed.
    Up(ConnId),
}

/// A leader's own state.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Leading {
    pub(crate) claim: Claim,
    /// Its own promise counts once this is durable.
    pub(crate) promised_by: Ticket,
    pub(crate) stage: Stage,
    /// When it began.
    pub(crate) since: Duration,
    /// Every replica that said hello under this promise. It stays when its connection ends: what it acked is durable there,
    /// under this promise.
    pub(crate) followers: BTreeMap<ReplicaId, Follower>,
    /// The volume that last answered for a pod name. Only this makes a voter dead.
    pub(crate) seen: BTreeMap<String, ReplicaId>,
    /// Volumes that are known to have gone back in time. They count for nothing, and the voters lose them.
    pub(crate) gone_back: BTreeSet<ReplicaId>,
    /// Counts hellos.
    pub(crate) hellos: u64,
    /// Counts heartbeats.
    pub(crate) round: u64,
    /// When they began.
    pub(crate) rounds: Rounds,
    /// The newest round begun for strong reads.
    pub(crate) read_round: u64,
    /// Strong reads, of our own clients and of followers, that wait for an answer: at most one of each.
    pub(crate) asks: Vec<ReadAsk>,
    pub(crate) next_heartbeat: Duration,
    pub(crate) next_invitations: Duration,
    /// While appends flow, followers are not informed before this time how far the own volume is.
    pub(crate) next_durable: Duration,
    /// When to inform followers of a commit that no append has carried by then.
    pub(crate) tell_commit_at: Option<Duration>,
    /// The last moment at which a majority had been heard within the lost-time; initially the start.
    pub(crate) majority_at: Duration,
    /// A promise that stands in the way of a replica: the term that a new leadership must exceed \[L3\].
    pub(crate) need_term: Option<Term>,
    pub(crate) hand_over: Option<HandingOver>,
    /// No hand-over begins before this.
    pub(crate) hand_over_not_before: Duration,
    /// What its own disk's hanging has led to.
    pub(crate) stall: Stall,
    /// Since when it knows that its data have diverged.
    pub(crate) diverged_since: Option<Duration>,
    /// It keeps silent, so that another replica can lead (`stall`, `agreement`).
    pub(crate) is_silent: bool,
    /// The question for sums that is not judged yet, and when the next one may be asked.
    pub(crate) question: Option<Question>,
    pub(crate) next_question: Duration,
}

/// How far a leadership has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// Waits for hellos of a majority.
    Counting,
    /// Pulls from this replica, which has a better position.
    Pulling(ReplicaId),
    /// The log has the term's first entry here, and it is not committed.
    Opening(Seq),
    /// The term's first entry, which is here, is committed.
    Open(Seq),
}

/// A leader's view of a follower.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Follower {
    /// None: not connected now.
    pub(crate) conn: Option<ConnId>,
    /// The number of its last hello: of two under one name, the later one is the pod's present volume.
    pub(crate) hello_number: u64,
    pub(crate) name: String,
    pub(crate) incarnation: Incarnation,
    pub(crate) revision: String,
    pub(crate) eligible: bool,
    pub(crate) draining: bool,
    /// Its disk hangs, or did so a moment ago.
    pub(crate) stalled: bool,
    /// What it lacks room for, by its last echo on the present connection.
    pub(crate) room: Shortage,
    /// Its data have diverged, by its last echo.
    pub(crate) diverged: bool,
    /// Its build keeps sums, by its hello on the present connection.
    pub(crate) sums: bool,
    /// By its hello on the present connection. Its vote.
    pub(crate) position: Position,
    pub(crate) heard_at: Duration,
    /// The newest heartbeat round that was sent to it, on the present connection.
    pub(crate) begun: u64,
    /// The newest heartbeat round that it echoed. Strong reads wait for a majority of these \[S6\].
    pub(crate) echoed: u64,
    /// What the echoes on the present connection say of its clock \[T1\].
    pub(crate) clock: Measured,
    /// Durable there and equal to our log, under this promise; includes earlier connections.
    pub(crate) verified: Seq,
    /// As `verified`, as a position: what its volume must hold at its next hello. It never goes down.
    pub(crate) acked: Position,
    /// The follower knows that our own volume is durable up to here.
    pub(crate) durable_told: Seq,
    /// By its hello on the present connection: the highest format that its build reads, and that its operator allows.
    pub(crate) formats: (u32, u32),
    /// The format in force when it was welcomed \[C6\].
    pub(crate) welcomed: u32,
    pub(crate) outbound: Outbound,
}

/// A hand-over under way.
#[derive(Clone, Debug, Hash)]
pub(crate) struct HandingOver {
    pub(crate) to: ReplicaId,
    pub(crate) to_name: String,
    pub(crate) to_incarnation: Incarnation,
    /// When it began.
    pub(crate) since: Duration,
    /// When the successor last lacked little.
    pub(crate) caught_up_at: Duration,
    /// The successor has nearly everything; the sidecar was informed.
    pub(crate) ready: bool,
}
