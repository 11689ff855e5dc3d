//! What goes into the state machine and what comes out of it.
//!
//! ```text
//!   role.json ───Role──────────▶            ──Persist─────▶ journal ──Persisted──▶ (back in)
//!   clients ─────Propose, Read─▶  Replica   ──Apply───────▶ documents, and the clients that wait for them
//!   peers ───────Hello, Frame──▶            ──Send, Dial──▶ peers
//!   clock ───────Wake──────────▶            ──Invite, AskState, Answer…
//! ```
//!
//! The shell carries effects out in order. `Persist` and `InstallSnapshot` are only *begun* in order: their completion
//! comes back as an input, and the state machine says nothing to anybody that rests on them before that.

use crate::{
    Answer, Claim, ClusterId, ConnId, DurableState, Entry, Frame, Hello, Incarnation, InviteAnswer, Limit, PeerState,
    Position, ProposalId, ReadId, Record, ReplicaId, RequestId, Room, SnapshotPart, SnapshotPiece, Target, Ticket,
    Voters,
};
use bytes::Bytes;
use std::net::IpAddr;

/// A pod that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Where other replicas reach it, `host:port`.
    pub peer_address: String,
    /// Its IPs, the newest knowledge first; the port is that of `peer_address`.
    pub addresses: Vec<IpAddr>,
    /// Nobody vouches for `addresses` now: another pod may be there.
    pub remembered: bool,
}

impl Member {
    /// How its replica is reached.
    pub(crate) fn target(&self) -> Target {
        let (name, peer_address) = (self.name.clone(), self.peer_address.clone());
        Target { name, peer_address, addresses: self.addresses.clone() }
    }
}

/// What role.json says, as far as a replica cares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RoleView {
    /// The cluster-id of the Lease; none when it has none.
    pub cluster_id: Option<ClusterId>,
    /// Who is said to lead; without an incarnation nobody is.
    pub leader: Option<LeaderView>,
    /// The wanted pods in the order of their ordinals. Empty: unknown, nothing is changed.
    pub members: Vec<Member>,
    /// A switchover that was asked for. Only the leader acts on it.
    pub hand_over_to: Option<String>,
    /// Nobody is to take over by himself.
    pub paused: bool,
    /// The revision that the StatefulSet's pods are brought to; none where unknown.
    pub newest_revision: Option<String>,
    /// The IPs of this pod, for its invitations.
    pub self_addresses: Vec<IpAddr>,
    /// Changes whenever another pod's renewal of the Lease was seen; none while none was.
    pub renewal_seen: Option<u64>,
    /// The duration of the Lease.
    pub lease_duration: std::time::Duration,
}

/// Who is said to lead by role.json.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeaderView {
    /// Its term.
    pub term: crate::Term,
    /// The run of its store.
    pub incarnation: Incarnation,
    /// Its pod.
    pub name: String,
    /// Where replicas reach it.
    pub peer_address: String,
    /// Its IPs, the newest knowledge first.
    pub addresses: Vec<IpAddr>,
}

/// A client's write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proposal {
    /// Names it in the effects.
    pub id: ProposalId,
    /// Opaque here; at most `RECORD_BODY_BYTES_MAX` less 64 bytes.
    pub command: Bytes,
    /// It would make the data larger. Need be known only while [`Replica::refuses_growth`](crate::Replica::refuses_growth).
    pub grows: bool,
}

/// Why a write (or a strong read) is refused. It was not done, and never will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// This replica does not lead.
    NotLeader,
    /// It is claimed to lead and finds out whether it may.
    Recovering,
    /// It leads, but has not heard a majority of the voters for the lost-time.
    NoMajority,
    /// Fewer voters than the floor \[L7\].
    TooFewVoters {
        /// Voters now.
        have: usize,
        /// Voters needed.
        floor: u32,
    },
    /// No Lease was seen yet that carries the new cluster's id \[L4\].
    Bootstrapping,
    /// Too much waits for its commit already.
    Overloaded,
    /// The write, or the strong read, needs this replica's own disk, and that hangs.
    DiskStalled,
    /// It would make the data larger, and there is no room for that; or there is no room even for a delete.
    OutOfRoom {
        /// Of what.
        limit: Limit,
        /// On which volume.
        replica: ReplicaId,
    },
    /// The disk failed.
    Failed,
    /// The volume has gone back in time, and counts for nothing.
    WentBack,
}

/// What a snapshot is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotMeta {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The last entry that it holds.
    pub position: Position,
    /// The voters at that position.
    pub voters: Voters,
}

/// What the state machine is told.
#[derive(Clone, Debug, Hash)]
pub enum Input {
    /// role.json was read, changed or not.
    Role(RoleView),
    /// Clients want to write. In this order.
    Propose(Vec<Proposal>),
    /// A client wants to read what is committed anywhere by now. `ReadReady` or `ReadRefused` follows, sooner or later.
    Read {
        /// Names it in the effects, and all that came before it.
        id: ReadId,
    },
    /// Everything up to this ticket is durable.
    Persisted {
        /// The last of them.
        ticket: Ticket,
    },
    /// A write or an fsync failed. Final for this incarnation.
    PersistFailed,
    /// What the disk does, where that is news.
    Disk {
        /// The oldest write or fsync under way is older than [`Config::disk_stall`].
        stalled: bool,
        /// And so much waits for it that the journal takes nothing more but promises.
        full: bool,
    },
    /// The leader that was dialled answered.
    Answered {
        /// The connection.
        conn: ConnId,
        /// Its answer.
        answer: Answer,
    },
    /// Somebody dialled us and said hello.
    Hello {
        /// The connection.
        conn: ConnId,
        /// Its hello.
        hello: Hello,
    },
    /// A frame came.
    Frame {
        /// By this connection.
        conn: ConnId,
        /// The frame.
        frame: Frame,
    },
    /// Bytes of a frame came by this connection, and the frame is not whole yet: it is long, or the link slow.
    Heard {
        /// The connection.
        conn: ConnId,
    },
    /// A connection ended (refused, reset, closed, spoilt) that the state machine has not closed itself.
    Closed {
        /// The connection.
        conn: ConnId,
    },
    /// A leader invites us.
    Invited {
        /// Answer with this.
        request: RequestId,
        /// The leader's claim.
        claim: Claim,
    },
    /// An invitation of ours was answered. One without an answer is not told.
    InviteAnswered {
        /// The pod that was invited.
        name: String,
        /// Its answer.
        answer: InviteAnswer,
    },
    /// A question of ours was answered. One without an answer is not told.
    StateAnswered {
        /// The pod that was asked.
        name: String,
        /// Its answer.
        state: PeerState,
    },
    /// A snapshot of our own at this position, which was applied, is durable and in place: the log before it may go.
    SnapshotTaken {
        /// The position.
        position: Position,
    },
    /// The answer to `LookUp`: entries of the journal that follow that position, one at least. Where they cannot be read the
    /// shell closes the connection instead.
    LookedUp {
        /// The connection that they are for.
        conn: ConnId,
        /// A chain.
        entries: Vec<Entry>,
    },
    /// All pieces of a snapshot came by this connection; length, checksum and content are verified.
    SnapshotReceived {
        /// The connection.
        conn: ConnId,
        /// What it is of.
        meta: SnapshotMeta,
    },
    /// How much room there is now, in memory and on the volume.
    Room(Room),
    /// SIGTERM: hand over and end.
    Drain,
    /// The time that `deadline` named has come.
    Wake,
}

/// What the shell is to do.
#[derive(Clone, Debug, Hash)]
pub enum Effect {
    /// Append these records to the journal and make them durable.
    Persist {
        /// Comes back in `Persisted`.
        ticket: Ticket,
        /// In this order.
        records: Vec<Record>,
    },
    /// Put the snapshot that was received by this connection in the place of the journal, durably: a segment with `state`,
    /// the snapshot's mark and nothing else begins. Then the documents are those of the snapshot, before any later `Apply`.
    InstallSnapshot {
        /// Comes back in `Persisted`.
        ticket: Ticket,
        /// The connection that brought the pieces.
        conn: ConnId,
        /// What it is of.
        meta: SnapshotMeta,
        /// The durable state that the new segment begins with.
        state: DurableState,
    },
    /// These entries are committed: apply them, in order. Each comes exactly once per incarnation.
    Apply {
        /// In order, without holes.
        entries: Vec<Entry>,
    },
    /// This proposal stands in the log here. It is done when an entry of exactly this position is applied; it never will
    /// be when another one of the same sequence is.
    Accepted {
        /// The proposal.
        id: ProposalId,
        /// Its entry.
        position: Position,
    },
    /// This proposal is not done.
    Rejected {
        /// The proposal.
        id: ProposalId,
        /// Why.
        reason: Refusal,
    },
    /// What became of all that was accepted and is not applied yet will not be known here for long: this replica's disk
    /// hangs, and it does not lead on. It may be done.
    GiveUp,
    /// Every read up to this one that was not answered yet may be answered from what is applied here now.
    ReadReady {
        /// The newest of them.
        upto: ReadId,
    },
    /// No read up to this one that was not answered yet can be answered now.
    ReadRefused {
        /// The newest of them.
        upto: ReadId,
        /// Why.
        reason: Refusal,
    },
    /// Connect to a leader's peer port and say hello, by one connection. `Answered` or `Closed` follows; `Closed` at once
    /// only if every one of its addresses refused.
    Dial {
        /// The name of the new connection.
        conn: ConnId,
        /// The leader.
        to: Target,
        /// What to say.
        hello: Hello,
    },
    /// Answer a hello; close the connection after a refusal.
    Answer {
        /// The connection.
        conn: ConnId,
        /// The answer.
        answer: Answer,
    },
    /// Send this frame, after those before it.
    Send {
        /// By this connection.
        conn: ConnId,
        /// The frame.
        frame: Frame,
    },
    /// Send the newest snapshot of this volume, in pieces, in frames with this head, after the frames before it.
    /// It is the one at `position`, or a later one.
    SendSnapshot {
        /// By this connection.
        conn: ConnId,
        /// The term for the frames.
        term: crate::Term,
        /// The leader's incarnation for the frames.
        incarnation: Incarnation,
        /// The position of the newest snapshot that the state machine was told of.
        position: Position,
        /// What the other end has of a snapshot. If it is of the one that is sent, only what is behind that is.
        part: Option<SnapshotPart>,
    },
    /// Read entries back from the journal, beginning with the one after `previous`: durable ones that are not in memory any
    /// more. `LookedUp` follows, or the end of the connection. At most one is under way for a connection.
    LookUp {
        /// The connection that they are for.
        conn: ConnId,
        /// What stands before the first of them.
        previous: Position,
        /// About so many bytes, and one entry at least.
        bytes_max: usize,
    },
    /// Keep this piece of a snapshot; `SnapshotReceived` follows when it was the last one.
    KeepPiece {
        /// The connection.
        conn: ConnId,
        /// The piece. One at offset 0 begins anew.
        piece: SnapshotPiece,
    },
    /// Close this connection. No `Closed` is told.
    Close {
        /// The connection.
        conn: ConnId,
    },
    /// Write this mark to a file of its own on the volume, durably: every later start must find it.
    MarkWentBack {
        /// Comes back in `Persisted`.
        ticket: Ticket,
        /// What to write.
        mark: crate::WentBack,
    },
    /// `POST /v1/claim` to this pod, with a time-out of about the lost-time.
    Invite {
        /// The pod.
        to: Target,
        /// Our claim.
        claim: Claim,
    },
    /// Answer an invitation.
    AnswerInvite {
        /// Which one.
        request: RequestId,
        /// The answer.
        answer: InviteAnswer,
    },
    /// `GET /v1/state` from this pod, with a time-out of about the lost-time.
    AskState {
        /// The pod.
        to: Target,
    },
    /// Empty this volume and end: its bootstrap lost against another one \[L4\]. Nothing was ever acknowledged from it.
    WipeVolume {
        /// The cluster that won.
        winner: ClusterId,
    },
    /// This incarnation is over: say why, and end with exit code 1.
    Fail {
        /// For people.
        reason: String,
    },
    /// A replica's log was found at odds with what was committed: a majority has lost what it acknowledged. Never happens
    /// while the volumes keep what was written to them; the simulator counts it.
    Report {
        /// For people.
        what: String,
    },
}

/// Who this replica is, for `Replica::new`.
#[derive(Clone, Debug, Hash)]
pub struct Config {
    /// The name of its pod, which ends in its ordinal.
    pub name: String,
    /// Its volume.
    pub replica: ReplicaId,
    /// Its run.
    pub incarnation: Incarnation,
    /// The StatefulSet revision of its pod; empty where unknown.
    pub revision: String,
    /// Time between two heartbeats of a leader.
    pub heartbeat: std::time::Duration,
    /// Silence after which a leader, or a majority, counts as lost.
    pub lost_time: std::time::Duration,
    /// A write or fsync that takes longer than this has stalled. The shell measures it.
    pub disk_stall: std::time::Duration,
    /// A replica that has not heard its leader for so long is not ready, while the Lease shows that there is one.
    pub unready_after: std::time::Duration,
    /// Bytes of entries that stay in memory though they are durable and applied, for followers that are a little behind.
    pub log_memory_bytes: usize,
    /// Bytes of records that one step gives out for application, and one entry at least: the shell does not hear anything while
    /// it applies them.
    pub apply_bytes_max: usize,
    /// How long a hand-over may take that the sidecar was told of, before it is undone.
    pub hand_over_max: std::time::Duration,
    /// How long a draining replica stays at least: until no client comes to its address any more.
    pub drain_min: std::time::Duration,
    /// How long a draining replica stays at most (the pod's grace period less 5 s).
    pub drain_max: std::time::Duration,
    /// The id of the cluster that this replica makes if it is the one to bootstrap: a fresh UUID.
    pub new_cluster_id: ClusterId,
    /// The commands of the initial data, if it is the one to bootstrap.
    pub initial_data: Vec<Bytes>,
    /// A person said so (`store bootstrap --force`): an empty volume makes a new cluster without asking anybody.
    pub force_bootstrap: bool,
}

/// What was found on the volume, all of it durable \[S2\], for `Replica::new`.
#[derive(Clone, Debug, Hash)]
pub struct Recovered {
    /// The last durable state.
    pub state: DurableState,
    /// What `snapshot.json` is of; none without one.
    pub snapshot: Option<SnapshotMeta>,
    /// The chain of entries after the snapshot.
    pub entries: Vec<Entry>,
    /// What an earlier run noted as committed, now and then; `ZERO` where there is no note. Entries up to here are never cut
    /// without a word.
    pub committed: Position,
    /// The mark of a volume that has gone back in time, if it carries one.
    pub went_back: Option<crate::WentBack>,
}
