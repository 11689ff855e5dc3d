//! The inputs and outputs of the state machine.
//!
//! ```text
//!   role.json ───Role──────────▶            ──Persist─────▶ journal ──Persisted──▶ (back in)
//!   clients ─────Propose, Read─▶  Replica   ──Apply───────▶ documents, and the clients that wait for them
//!   peers ───────Hello, Frame──▶            ──Send, Dial──▶ peers
//!   clock ───────Wake──────────▶            ──Invite, AskState, Answer…
//! ```
//!
//! The shell carries effects out in order. It only *begins* `Persist` and `InstallSnapshot` in order: their completion
//! returns as an input, and before that the state machine tells nobody anything that rests on them.

use crate::{
    Claim, ClusterId, ConnId, DurableState, Entry, Frame, Hello, HelloAnswer, Incarnation, InviteAnswer, Limit,
    PeerState, Position, ProposalId, ReadId, Record, ReplicaId, RequestId, Room, Seq, SnapshotPart, SnapshotPiece, Sum,
    Target, Ticket, Voters,
};
use bytes::Bytes;
use std::net::IpAddr;

/// A wanted pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Where other replicas reach it, `host:port`.
    pub peer_address: String,
    /// Its IPs, the newest knowledge first; the port is that of `peer_address`.
    pub addresses: Vec<IpAddr>,
    /// `addresses` is not confirmed now: another pod may be there.
    pub remembered: bool,
}

impl Member {
    /// How to reach its replica.
    pub(crate) fn target(&self) -> Target {
        let (name, peer_address) = (self.name.clone(), self.peer_address.clone());
        Target { name, peer_address, addresses: self.addresses.clone() }
    }
}

/// The content of role.json, as far as a replica cares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RoleView {
    /// The cluster-id of the Lease; none when it has none.
    pub cluster_id: Option<ClusterId>,
    /// The claimed leader; a claim without an incarnation does not count.
    pub leader: Option<LeaderView>,
    /// The wanted pods in the order of their ordinals. Empty: unknown, nothing is changed.
    pub members: Vec<Member>,
    /// A requested switchover. Only the leader acts on it.
    pub hand_over_to: Option<String>,
    /// No pod may take over by itself.
    pub paused: bool,
    /// The revision to which the StatefulSet's pods are being updated; none where unknown.
    pub newest_revision: Option<String>,
    /// The IPs of this pod, for its invitations.
    pub self_addresses: Vec<IpAddr>,
    /// Changes whenever another pod was seen to renew the Lease; none until then.
    pub renewal_seen: Option<u64>,
    /// The duration of the Lease.
    pub lease_duration: std::time::Duration,
}

/// The claimed leader in role.json.
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
    /// It would make the data larger. This must be known only while
    /// [`Replica::refuses_growth`](crate::Replica::refuses_growth).
    pub grows: bool,
}

/// Why a write (or a strong read) is refused. It was not done, and never will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// This replica does not lead.
    NotLeader,
    /// A claim says that it leads, and it is finding out whether it may.
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
    /// No Lease with the new cluster's id has been seen yet \[L4\].
    Bootstrapping,
    /// Too many writes wait for their commit already.
    Overloaded,
    /// The write, or the strong read, needs this replica's own disk, which hangs.
    DiskStalled,
    /// It would make the data larger, and there is no room for that; or there is not even room for a delete.
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
    /// The data here are not those of the other replicas \[D5\].
    Diverged,
}

/// Identifies a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotMeta {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The last entry that it holds.
    pub position: Position,
    /// The voters at that position.
    pub voters: Voters,
}

/// Data of a backup, with which a first start may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Restore {
    /// The last entry that they hold, in a term before all terms: the new cluster's entries follow it.
    pub position: Position,
    /// Their format.
    pub format: u32,
}

/// The inputs of the state machine.
#[derive(Clone, Debug, Hash)]
pub enum Input {
    /// role.json was read, changed or not.
    Role(RoleView),
    /// Clients want to write. In this order.
    Propose(Vec<Proposal>),
    /// A client wants to read everything committed anywhere by now. `ReadReady` or `ReadRefused` follows, sooner or later.
    Read {
        /// Names it in the effects, together with all earlier ones.
        id: ReadId,
    },
    /// Everything up to this ticket is durable.
    Persisted {
        /// The last of them.
        ticket: Ticket,
    },
    /// A write or an fsync failed. Final for this incarnation.
    PersistFailed,
    /// The state of the disk, if it changed.
    Disk {
        /// The oldest write or fsync under way is older than [`Config::disk_stall`].
        stalled: bool,
        /// So much waits for it that the journal accepts nothing more but promises.
        full: bool,
    },
    /// The leader that was dialled answered.
    Answered {
        /// The connection.
        conn: ConnId,
        /// Its answer.
        answer: HelloAnswer,
    },
    /// Another replica dialled us and said hello.
    Hello {
        /// The connection.
        conn: ConnId,
        /// Its hello.
        hello: Hello,
    },
    /// A frame arrived.
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
    /// A connection that the state machine has not closed itself has ended (refused, reset, closed, corrupt).
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
    /// An invitation of ours was answered. A missing answer is not reported.
    InviteAnswered {
        /// The pod that was invited.
        name: String,
        /// Its answer.
        answer: InviteAnswer,
    },
    /// A question of ours was answered. A missing answer is not reported.
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
    /// The answer to `LookUp`: at least one entry of the journal that follows that position. If they cannot be read, the
    /// shell closes the connection instead.
    LookedUp {
        /// The connection that they are for.
        conn: ConnId,
        /// A chain.
        entries: Vec<Entry>,
    },
    /// All pieces of a snapshot arrived on this connection; length, checksum and content are verified.
    SnapshotReceived {
        /// The connection.
        conn: ConnId,
        /// Identifies it.
        meta: SnapshotMeta,
    },
    /// By this connection came an entry, a record or a snapshot that this build does not know.
    Unreadable {
        /// The connection.
        conn: ConnId,
        /// What it was, for people.
        what: String,
    },
    /// How much room there is now, in memory and on the volume.
    Room(Room),
    /// What the wall clock says now: about once a second. It decides nothing in the log; see
    /// [`Replica::clocks`](crate::Replica::clocks).
    TimeOfDay {
        /// Milliseconds since 1970.
        ms: u64,
    },
    /// The answer to `TellSum`.
    Sum {
        /// After this entry.
        sequence: Seq,
        /// The sum of the data; none: it is not known, not yet or no longer.
        sum: Option<Sum>,
    },
    /// Data of this replica, in memory or in a snapshot, do not have the sum that they should have \[D3\].
    SumIsFalse {
        /// After this entry.
        position: Position,
        /// The sum that was kept with them.
        said: Sum,
        /// The sum that was computed from their bytes.
        found: Sum,
    },
    /// SIGTERM: hand over and end.
    Drain,
    /// The time named by `deadline` has passed.
    Wake,
}

/// What the shell must do.
#[derive(Clone, Debug, Hash)]
pub enum Effect {
    /// Append these records to the journal and make them durable.
    Persist {
        /// Returns in `Persisted`.
        ticket: Ticket,
        /// They go into a segment of this format or a later one, begun before the first of them \[C3\].
        format: u32,
        /// In this order.
        records: Vec<Record>,
    },
    /// Replace the journal by the snapshot that was received on this connection, durably: a segment begins with `state`,
    /// the snapshot's mark and nothing else. Then, before any later `Apply`, the documents are those of the snapshot.
    InstallSnapshot {
        /// Returns in `Persisted`.
        ticket: Ticket,
        /// The connection that brought the pieces.
        conn: ConnId,
        /// Identifies it.
        meta: SnapshotMeta,
        /// The durable state that the new segment begins with.
        state: DurableState,
        /// The format of that segment, or a later one \[C3\].
        format: u32,
    },
    /// The first start of a cluster from a backup: replace the journal, which holds no data, by the data that were restored,
    /// durably and all at once. A segment begins with `state`, the mark of a snapshot of those data as `meta` says, and
    /// `entry`. Then, before any later `Apply`, the documents are those data.
    Restore {
        /// Returns in `Persisted`.
        ticket: Ticket,
        /// Identifies the snapshot, which is of the new cluster.
        meta: SnapshotMeta,
        /// The durable state that the new segment begins with.
        state: DurableState,
        /// The format of that segment, or a later one \[C3\].
        format: u32,
        /// The first voters: what follows the snapshot.
        entry: Entry,
    },
    /// These entries are committed: apply them, in order. Each is sent exactly once per incarnation.
    Apply {
        /// In order, without holes.
        entries: Vec<Entry>,
    },
    /// The log here contains this proposal. It is done when an entry of exactly this position is applied; it never will be
    /// if another entry of the same sequence is.
    Accepted {
        /// The proposal.
        id: ProposalId,
        /// Its entry.
        position: Position,
    },
    /// This proposal was not done.
    Rejected {
        /// The proposal.
        id: ProposalId,
        /// Why.
        reason: Refusal,
    },
    /// The outcome of everything that was accepted and is not applied yet will not be known here for a long time: this
    /// replica's disk hangs, and it stops leading. It may be done.
    GiveUp,
    /// Every unanswered read up to this one may be answered from what is applied here now.
    ReadReady {
        /// The newest of them.
        upto: ReadId,
    },
    /// No unanswered read up to this one can be answered now.
    ReadRefused {
        /// The newest of them.
        upto: ReadId,
        /// Why.
        reason: Refusal,
    },
    /// Connect to a leader's peer port and say hello, on one connection. `Answered` or `Closed` follows; `Closed` at once
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
        answer: HelloAnswer,
    },
    /// Send this frame, after those before it.
    Send {
        /// On this connection.
        conn: ConnId,
        /// The frame.
        frame: Frame,
    },
    /// Send the newest snapshot of this volume, in pieces, in frames with this head, after the frames before it.
    /// It is the one at `position`, or a later one.
    SendSnapshot {
        /// On this connection.
        conn: ConnId,
        /// The term for the frames.
        term: crate::Term,
        /// The leader's incarnation for the frames.
        incarnation: Incarnation,
        /// The position of the newest snapshot that the state machine knows.
        position: Position,
        /// What the other end has of a snapshot. If it is the one being sent, only the rest is sent.
        part: Option<SnapshotPart>,
    },
    /// Read entries back from the journal, beginning with the one after `previous`: durable ones that are no longer in
    /// memory. `LookedUp` follows, or the end of the connection. At most one is under way for a connection.
    LookUp {
        /// The connection that they are for.
        conn: ConnId,
        /// The position before the first of them.
        previous: Position,
        /// About this many bytes, and at least one entry.
        bytes_max: usize,
    },
    /// Keep this piece of a snapshot; `SnapshotReceived` follows when it was the last one.
    KeepPiece {
        /// The connection.
        conn: ConnId,
        /// The piece. One at offset 0 starts anew.
        piece: SnapshotPiece,
    },
    /// Close this connection. No `Closed` is reported.
    Close {
        /// The connection.
        conn: ConnId,
    },
    /// Write this mark to a file of its own on the volume, durably: every later start must find it.
    MarkWentBack {
        /// Returns in `Persisted`.
        ticket: Ticket,
        /// What to write.
        mark: crate::WentBack,
    },
    /// Answer with `Sum`, as soon as the effects of this step are carried out: what is the sum of the data after that entry?
    /// It is applied by then.
    TellSum {
        /// After this entry.
        sequence: Seq,
    },
    /// Write this mark to a file of its own on the volume, durably: every later start must find it. From now on the replica
    /// serves no reads and no watches, and takes no snapshots.
    MarkDiverged {
        /// Returns in `Persisted`.
        ticket: Ticket,
        /// What to write.
        mark: crate::Diverged,
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
    /// Empty this volume and end: its bootstrap lost against another one \[L4\]. No write based on it was ever
    /// acknowledged.
    WipeVolume {
        /// The cluster that won.
        winner: ClusterId,
    },
    /// This incarnation is over: report why, and end with exit code 1.
    Fail {
        /// For people.
        reason: String,
    },
    /// This build cannot read its log, or what belongs to it: say so, leave the volume as it is, and end with exit code 2.
    Unreadable {
        /// For people.
        what: String,
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
    /// A replica that has not heard its leader for this long is not ready, while the Lease shows that there is one.
    pub unready_after: std::time::Duration,
    /// Bytes of entries kept in memory although they are durable and applied, for followers that are a little behind.
    pub log_memory_bytes: usize,
    /// Bytes of records that one step hands out for application, at least one entry: the shell hears nothing while it
    /// applies them.
    pub apply_bytes_max: usize,
    /// How long a hand-over that was reported to the sidecar may take before it is undone.
    pub hand_over_max: std::time::Duration,
    /// How long a draining replica stays at least: until no client uses its address any longer.
    pub drain_min: std::time::Duration,
    /// How long a draining replica stays at most (the pod's grace period less 5 s).
    pub drain_max: std::time::Duration,
    /// The id for the cluster that this replica founds if it is the one to bootstrap: a fresh UUID.
    pub new_cluster_id: ClusterId,
    /// The commands of the initial data, if it is the one to bootstrap: entries 1, 2, ….
    pub initial_data: Vec<Bytes>,
    /// The format that these need: a first start waits for the wanted pods to allow it.
    pub initial_format: u32,
    /// What restore.json holds: it takes the place of the initial data.
    pub restore: Option<Restore>,
    /// An operator ran `store bootstrap --force`: an empty volume founds a new cluster without asking the others.
    pub force_bootstrap: bool,
    /// The highest format that this build reads: [`FORMAT`](crate::FORMAT), but for tests.
    pub format_build: u32,
    /// The highest that the operator allows to write, no more than the build reads. It never limits what is read.
    pub format_allowed: u32,
    /// Its shell keeps sums of the data: true, but for tests.
    pub sums: bool,
}

/// What was found on the volume, all of it durable \[S2\], for `Replica::new`.
#[derive(Clone, Debug, Hash)]
pub struct Recovered {
    /// The last durable state.
    pub state: DurableState,
    /// Identifies `snapshot.json`; none without one.
    pub snapshot: Option<SnapshotMeta>,
    /// The chain of entries after the snapshot.
    pub entries: Vec<Entry>,
    /// The commit that an earlier run noted now and then; `ZERO` where there is no note. Entries up to here are never cut
    /// silently.
    pub committed: Position,
    /// The mark of a volume that has gone back in time, if it carries one.
    pub went_back: Option<crate::WentBack>,
    /// The mark of data that have diverged, if it carries one.
    pub diverged: Option<crate::Diverged>,
    /// The format of the newest segment: a raise to it was committed.
    pub format: u32,
}
