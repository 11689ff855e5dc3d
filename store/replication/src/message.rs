//! What replicas say to each other, and its bytes.
//!
//! A follower dials its leader's peer port and says [`Hello`] (JSON); the answer is [`HelloAnswer`] (JSON). After a welcome
//! both sides send [`Frame`]s, binary and little-endian:
//!
//! ```text
//!   frame     = kind u8 | term u64 | incarnation 16 | rest
//!   append    = 1 | previous term u64, seq u64 | commit u64 | records          leader -> follower (a pull: the other way)
//!   ack       = 2 | seq u64                                                    the other way of append, like mismatch;
//!                                                           leader -> follower: how far its own volume is durable \[E1\]
//!   mismatch  = 3 | term u64, seq u64                                          "I have not your previous; look here"
//!   heartbeat = 4 | round u64 | commit u64                                     leader -> follower
//!   echo      = 5 | round u64 | flags u8 | (format 2, if known) time u64       follower -> leader; ms since 1970
//!               flags: 1 eligible, 2 draining, 4 stalled, 8 over its memory limit, 16 less free than the disk's
//!               reserve, 32 disk full, 64 diverged
//!   snapshot  = 6 | term u64, seq u64 | length u64 | crc32 u32 | offset u64 | bytes
//!   pull      = 7 | term u64, seq u64                                          a recovering leader -> a better follower
//!   readIndex = 8 | number u64                                                 follower -> leader: a strong read
//!   readAnswer = 9 | number u64 | given u8 (0, 1) | seq u64                    leader -> follower; not given: no majority
//!   askSum    = 10 | seq u64                                                   leader -> follower
//!   sum       = 11 | seq u64 | known u8 (0, 1) | sum u128                      follower -> leader
//!   sums      = 12 | seq u64 | count u8 | count times: replica 16, sum u128    leader -> follower: what voters said
//! ```
//!
//! Every frame carries the term and the leader's incarnation; one of any other is dropped \[S4\]. Records are the
//! journal's own bytes with their checksums ([`crate::Record`]). Beside the connections there are two requests:
//! an invitation ([`Claim`] -> [`InviteAnswer`]) and a question for the state ([`PeerState`]).

#[cfg(doc)]
use crate::Claim;
use crate::entry::{get_position, get_uuid, put_position};
use crate::{
    ClusterId, Entry, Incarnation, KnownVolume, Position, Promise, Record, RecordError, ReplicaId, Seq, Shortage, Sum,
    Term,
};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

/// The longest frame that is sent or accepted.
pub const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most bytes of a snapshot in one frame.
pub const SNAPSHOT_PIECE_BYTES: usize = 64 * 1024;
const FRAME_HEAD_BYTES: usize = 1 + 8 + 16;
/// The most sums in a table: their count is one byte.
const SUMS_MAX: usize = u8::MAX as usize;
/// A sum in a table: whose it is, and the sum.
const SUM_BYTES: usize = 16 + 16;

/// The dialling replica's first message. It is sent when everything up to the promise is durable: it is the vote.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// The format of its log, committed or not: its leader must read that \[C2\].
    pub format_min: u32,
    /// The highest format that its build reads.
    pub format_max: u32,
    /// The highest that its operator allows. A build that knows nothing of that does not say it.
    #[serde(default = "crate::format::lowest")]
    pub format_allowed: u32,
    /// The cluster of its volume; null while that is empty.
    pub cluster_id: Option<ClusterId>,
    /// The name of its pod.
    pub name: String,
    /// Its volume.
    pub replica: ReplicaId,
    /// Its run.
    pub incarnation: Incarnation,
    /// The StatefulSet revision of its pod; empty where unknown.
    #[serde(default)]
    pub revision: String,
    /// It may lead.
    pub eligible: bool,
    /// The promise that durably binds it. Must be exactly to this leader.
    pub promise: Promise,
    /// Its last entry. Under this promise only this leader changes it \[S3\].
    pub position: Position,
    /// What it has of a snapshot whose transfer was interrupted: a leader that still has the same snapshot resumes after
    /// that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_part: Option<SnapshotPart>,
    /// Its build keeps sums of the data, so its leader may ask for them. A build that does not know this omits it.
    #[serde(default)]
    pub sums: bool,
}

/// The first bytes of a snapshot that arrived before its transfer was interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotPart {
    /// Which snapshot: the position of its last entry.
    pub position: Position,
    /// The snapshot's length.
    pub length_bytes: u64,
    /// The snapshot's checksum.
    pub crc32: u32,
    /// The number of bytes that arrived.
    pub have_bytes: u64,
}

/// The answer to a [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HelloAnswer {
    /// Frames may follow.
    Welcome {
        /// The format that this connection speaks \[C6\].
        format: u32,
        /// The leader's volume; none from an earlier build.
        #[serde(default)]
        replica: Option<ReplicaId>,
    },
    /// The connection is closed after this.
    Refused {
        /// Why, for people.
        reason: String,
        /// Why, for the refused replica.
        #[serde(default)]
        code: RefusalCode,
        /// The promise that binds the refuser.
        promise: Promise,
        /// With [`RefusalCode::WentBack`]: what the refuser knows of the volume.
        #[serde(default)]
        known: Option<KnownVolume>,
    },
}

/// Why a hello is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalCode {
    /// One of the two does not read the format of the other's log \[C2\].
    Format,
    /// The volumes belong to different clusters, or the refuser's is empty.
    OtherCluster,
    /// It is the refuser's own volume.
    OwnVolume,
    /// The refuser does not lead, or does not know yet that it does.
    NotLeading,
    /// The refuser's disk hangs, and the others can do without it.
    Stalled,
    /// The hello's promise is to another leader.
    NotPromised,
    /// The volume is connected from another pod, which is heard.
    AlreadyConnected,
    /// The volume has lost what it acknowledged \[E2\].
    WentBack,
    /// The refuser's data have diverged, so it leads no longer \[D4\].
    Diverged,
    /// A code that this build does not know, or none.
    #[default]
    #[serde(other)]
    Other,
}

/// The answer to an invitation, or the promise that prevents it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InviteAnswer {
    /// The name of the pod that answers. None: its build does not send it, so its answer is not believed in anything that
    /// needs a name.
    #[serde(default)]
    pub name: Option<String>,
    /// The cluster of its volume; null while that is empty.
    pub cluster_id: Option<ClusterId>,
    /// Its volume. If that differs from the voter's of that name, that voter is dead.
    pub replica: ReplicaId,
    /// The promise that binds it now.
    pub promise: Promise,
    /// The volume has gone back in time: it no longer promises anything.
    #[serde(default)]
    pub went_back: bool,
}

/// What a replica reports about itself to one that lost its leader, or that asks before a bootstrap.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerState {
    /// The name of its pod.
    pub name: String,
    /// Its volume.
    pub replica: ReplicaId,
    /// The cluster of its volume; null while that is empty.
    pub cluster_id: Option<ClusterId>,
    /// The promise that binds it.
    pub promise: Promise,
    /// Its last entry.
    pub position: Position,
    /// The term of the leader that it hears (for a leader: if it hears a majority). Null: it hears none.
    pub hears: Option<Term>,
    /// It may lead.
    pub eligible: bool,
    /// Its disk hangs, or did so a moment ago. A build that does not know this omits it.
    #[serde(default)]
    pub stalled: bool,
    /// The volume has gone back in time: it no longer promises anything.
    #[serde(default)]
    pub went_back: bool,
    /// Its data have diverged: it serves nothing, and never leads. A build that does not know this omits it.
    #[serde(default)]
    pub diverged: bool,
    /// What it knows of the volumes of others.
    #[serde(default)]
    pub known: Vec<KnownVolume>,
    /// The format of its log, the highest that its build reads, and the highest that its operator allows, as in a [`Hello`].
    #[serde(default = "crate::format::lowest")]
    pub format_min: u32,
    /// See there.
    #[serde(default = "crate::format::lowest")]
    pub format_max: u32,
    /// See there.
    #[serde(default = "crate::format::lowest")]
    pub format_allowed: u32,
}

/// One piece of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotPiece {
    /// Which snapshot: the position of its last entry.
    pub position: Position,
    /// The snapshot's length.
    pub length_bytes: u64,
    /// The snapshot's checksum.
    pub crc32: u32,
    /// Where this piece begins.
    pub offset: u64,
    /// The piece.
    pub bytes: Bytes,
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// Entries that follow `previous`.
    Append {
        /// The position before the first of `entries`.
        previous: Position,
        /// The sender's commit (for a pull: nothing new, the receiver knows better).
        commit: Seq,
        /// A chain that starts after `previous`. May be empty: a probe.
        entries: Vec<Entry>,
    },
    /// Durable up to here, and verified equal to the leader's log under this promise \[S4\].
    Ack {
        /// The highest such sequence.
        seq: Seq,
    },
    /// The `previous` of an append is not in the log.
    Mismatch {
        /// The receiver's last entry that could be common.
        hint: Position,
    },
    /// The leader is alive.
    Heartbeat {
        /// Counts up within a term.
        round: u64,
        /// What is committed.
        commit: Seq,
    },
    /// The answer to a heartbeat, sent only while the promise is to this leader.
    Echo {
        /// The round that it answers.
        round: u64,
        /// It may lead.
        eligible: bool,
        /// It is about to end.
        draining: bool,
        /// Its disk hangs, or did so a moment ago.
        stalled: bool,
        /// What it is short of.
        room: Shortage,
        /// Its data have diverged.
        diverged: bool,
        /// Its time of day, in milliseconds since 1970 \[T1\]. None where that is not known, or where the connection speaks
        /// format 1.
        time_ms: Option<u64>,
    },
    /// A piece of a snapshot.
    Snapshot(SnapshotPiece),
    /// "Send me what follows": from a recovering leader to a follower with a better position \[L2\].
    Pull {
        /// The leader's last entry.
        position: Position,
    },
    /// "How far must I have applied for a strong read?" A later question replaces an earlier one.
    ReadIndex {
        /// The asker's number for it; it increases within a connection.
        number: u64,
    },
    /// The answer to a [`Body::ReadIndex`].
    ReadAnswer {
        /// The asker's number.
        number: u64,
        /// The commit when the question arrived, or later; none: the leader hears no majority.
        index: Option<Seq>,
    },
    /// "What is the sum of your data after that entry?" Answered when that is applied \[D6\].
    AskSum {
        /// The entry.
        seq: Seq,
    },
    /// The answer to a [`Body::AskSum`].
    Sum {
        /// The entry.
        seq: Seq,
        /// The sum after it; none: not known.
        sum: Option<Sum>,
    },
    /// What the voters have answered: each replica judges itself by it \[D1\].
    Sums {
        /// The entry.
        seq: Seq,
        /// The sums after it, of voters alone, the leader first. At most 255.
        sums: Vec<(ReplicaId, Sum)>,
    },
}

/// One message on a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// The term of the leadership that the connection belongs to.
    pub term: Term,
    /// The leader's incarnation.
    pub incarnation: Incarnation,
    /// What it says.
    pub body: Body,
}

/// Why bytes are not a frame. The connection that carried them is closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`FRAME_BYTES_MAX`].
    #[error("a frame of {0} bytes exceeds the limit")]
    TooLong(usize),
    /// Too short, too long for its kind, or a kind that does not exist.
    #[error("{0}")]
    Content(&'static str),
    /// A record in an append is damaged.
    #[error("a record in an append: {0}")]
    Record(#[from] RecordError),
}

impl FrameError {
    /// What it is that this build does not know, if that is why.
    pub fn unknown(&self) -> Option<String> {
        match self {
            FrameError::Record(error @ RecordError::Unknown { .. }) => Some(error.to_string()),
            FrameError::TooLong(_) | FrameError::Content(_) | FrameError::Record(_) => None,
        }
    }
}

impl Frame {
    /// The bytes of this frame.
    pub fn encode(&self) -> Bytes {
        let room = match &self.body {
            Body::Append { entries, .. } => entries.iter().map(|entry| entry.record().len()).sum(),
            Body::Snapshot(piece) => piece.bytes.len(),
            Body::Sums { sums, .. } => sums.len() * SUM_BYTES,
            _ => 0,
        };
        let mut to = BytesMut::with_capacity(FRAME_HEAD_BYTES + 40 + room);
        to.put_u8(match &self.body {
            Body::Append { .. } => 1,
            Body::Ack { .. } => 2,
            Body::Mismatch { .. } => 3,
            Body::Heartbeat { .. } => 4,
            Body::Echo { .. } => 5,
            Body::Snapshot(_) => 6,
            Body::Pull { .. } => 7,
            Body::ReadIndex { .. } => 8,
            Body::ReadAnswer { .. } => 9,
            Body::AskSum { .. } => 10,
            Body::Sum { .. } => 11,
            Body::Sums { .. } => 12,
        });
        to.put_u64_le(self.term.0);
        to.put_slice(self.incarnation.0.as_bytes());
        match &self.body {
            Body::Append { previous, commit, entries } => {
                put_position(&mut to, *previous);
                to.put_u64_le(commit.0);
                for entry in entries {
                    to.put_slice(entry.record());
                }
            }
            Body::Ack { seq } | Body::AskSum { seq } => to.put_u64_le(seq.0),
            Body::Mismatch { hint: position } | Body::Pull { position } => put_position(&mut to, *position),
            Body::Heartbeat { round, commit } => {
                to.put_u64_le(*round);
                to.put_u64_le(commit.0);
            }
            Body::Echo { round, eligible, draining, stalled, room, diverged, time_ms } => {
                to.put_u64_le(*round);
                let flags = [*eligible, *draining, *stalled, room.memory, room.disk, room.full, *diverged];
                to.put_u8((0..).zip(flags).map(|(bit, flag)| u8::from(flag) << bit).sum());
                if let Some(time_ms) = time_ms {
                    to.put_u64_le(*time_ms);
                }
            }
            Body::Snapshot(piece) => {
                put_position(&mut to, piece.position);
                to.put_u64_le(piece.length_bytes);
                to.put_u32_le(piece.crc32);
                to.put_u64_le(piece.offset);
                to.put_slice(&piece.bytes);
            }
            Body::ReadIndex { number } => to.put_u64_le(*number),
            Body::ReadAnswer { number, index } => {
                to.put_u64_le(*number);
                to.put_u8(u8::from(index.is_some()));
                to.put_u64_le(index.map_or(0, |seq| seq.0));
            }
            Body::Sum { seq, sum } => {
                to.put_u64_le(seq.0);
                to.put_u8(u8::from(sum.is_some()));
                to.put_u128_le(sum.map_or(0, |sum| sum.0));
            }
            Body::Sums { seq, sums } => {
                to.put_u64_le(seq.0);
                let count = sums.len().min(SUMS_MAX);
                to.put_u8(count as u8);
                for (replica, sum) in &sums[..count] {
                    to.put_slice(replica.0.as_bytes());
                    to.put_u128_le(sum.0);
                }
            }
        }
        to.freeze()
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// [`FrameError`]: a peer's bytes are never trusted.
    pub fn decode(mut from: Bytes) -> Result<Frame, FrameError> {
        if from.len() > FRAME_BYTES_MAX {
            return Err(FrameError::TooLong(from.len()));
        }
        if from.len() < FRAME_HEAD_BYTES {
            return Err(FrameError::Content("the frame is shorter than its head"));
        }
        let kind = from.get_u8();
        let term = Term(from.get_u64_le());
        let incarnation = Incarnation(get_uuid(&mut from));
        let body = match (kind, from.len()) {
            (1, 24..) => {
                let previous = get_position(&mut from);
                let commit = Seq(from.get_u64_le());
                Body::Append { previous, commit, entries: decode_chain(previous, from)? }
            }
            (2, 8) => Body::Ack { seq: Seq(from.get_u64_le()) },
            (3, 16) => Body::Mismatch { hint: get_position(&mut from) },
            (4, 16) => Body::Heartbeat { round: from.get_u64_le(), commit: Seq(from.get_u64_le()) },
            (5, length @ (9 | 17)) => {
                let round = from.get_u64_le();
                let flags = from.get_u8();
                let room = Shortage { memory: flags & 8 != 0, disk: flags & 16 != 0, full: flags & 32 != 0 };
                let (eligible, draining, stalled) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
                let diverged = flags & 64 != 0;
                let time_ms = (length == 17).then(|| from.get_u64_le());
                Body::Echo { round, eligible, draining, stalled, room, diverged, time_ms }
            }
            (6, 36..) => {
                let position = get_position(&mut from);
                let length_bytes = from.get_u64_le();
                let crc32 = from.get_u32_le();
                let offset = from.get_u64_le();
                if offset.checked_add(from.len() as u64).is_none_or(|end| end > length_bytes) {
                    return Err(FrameError::Content("a snapshot piece exceeds the snapshot's length"));
                }
                Body::Snapshot(SnapshotPiece { position, length_bytes, crc32, offset, bytes: from })
            }
            (7, 16) => Body::Pull { position: get_position(&mut from) },
            (8, 8) => Body::ReadIndex { number: from.get_u64_le() },
            (9, 17) => {
                let (number, given, seq) = (from.get_u64_le(), from.get_u8(), Seq(from.get_u64_le()));
                let index = match (given, seq) {
                    (0, Seq(0)) => None,
                    (1, seq) => Some(seq),
                    _ => return Err(FrameError::Content("an answer to a read is neither yes nor no")),
                };
                Body::ReadAnswer { number, index }
            }
            (10, 8) => Body::AskSum { seq: Seq(from.get_u64_le()) },
            (11, 25) => {
                let (seq, known, sum) = (Seq(from.get_u64_le()), from.get_u8(), from.get_u128_le());
                let sum = match (known, sum) {
                    (0, 0) => None,
                    (1, sum) => Some(Sum(sum)),
                    _ => return Err(FrameError::Content("a sum is neither known nor unknown")),
                };
                Body::Sum { seq, sum }
            }
            (12, 9..) => {
                let (seq, count) = (Seq(from.get_u64_le()), usize::from(from.get_u8()));
                if from.len() != count * SUM_BYTES {
                    return Err(FrameError::Content("a table of sums has another length than it says"));
                }
                let sums = (0..count).map(|_| (ReplicaId(get_uuid(&mut from)), Sum(from.get_u128_le())));
                Body::Sums { seq, sums: sums.collect() }
            }
            _ => return Err(FrameError::Content("the frame has an unknown kind or length")),
        };
        Ok(Frame { term, incarnation, body })
    }
}

/// The entries of an append: each must follow the one before it.
fn decode_chain(previous: Position, mut from: Bytes) -> Result<Vec<Entry>, FrameError> {
    let mut last = previous;
    let mut entries = Vec::new();
    while !from.is_empty() {
        match Record::decode(&mut from)? {
            Record::Entry(entry) if entry.previous == last => {
                last = entry.position;
                entries.push(entry);
            }
            Record::Entry(_) => return Err(FrameError::Content("the entries of an append do not follow each other")),
            Record::State(_) | Record::Snapshot(_) => {
                return Err(FrameError::Content("an append contains something other than entries"));
            }
        }
    }
    Ok(entries)
}
