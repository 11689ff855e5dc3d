//! Records: the journal's content, byte by byte. An append carries the same bytes over the wire.
//!
//! ```text
//!   record  = length u32 | crc32 u32 | body            little-endian; length and checksum are of the body
//!   body    = 1u8 | term u64 | incarnation 16 | flags u8 | cluster-id 16                       durable state
//!           | 2u8 | previous term u64, seq u64 | term u64, seq u64 | what u8 | payload         entry
//!           | 3u8 | term u64, seq u64 | length u64 | crc32 u32                                 snapshot mark
//!   flags   = 1 has a cluster-id (else the 16 bytes are zero) | 2 bootstrapping
//!   what    = 0 empty (a term's first entry) | 1 voters (JSON) | 2 command (opaque here)
//! ```
//!
//! An [`Entry`] keeps its encoded record, so it is encoded once for the disk and for every follower.

use crate::{ClusterId, Incarnation, Position, Promise, Seq, Term, Voters};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use uuid::Uuid;

/// The length of a record's header: length and checksum.
pub const RECORD_HEADER_BYTES: usize = 8;
/// The longest body that is read or written. The limit for a client's body is far lower.
pub const RECORD_BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

const KIND_STATE: u8 = 1;
const KIND_ENTRY: u8 = 2;
const KIND_SNAPSHOT: u8 = 3;
const FLAG_CLUSTER: u8 = 1;
const FLAG_BOOTSTRAPPING: u8 = 2;
const ENTRY_HEAD_BYTES: usize = 1 + 4 * 8 + 1;

/// Why bytes are not a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes end before the record does. At the end of a journal: a torn write.
    #[error("the record ends after {have} of {want} bytes")]
    Short {
        /// The available bytes.
        have: usize,
        /// The bytes that the header asks for.
        want: usize,
    },
    /// The length is 0 or above [`RECORD_BODY_BYTES_MAX`].
    #[error("a record of {0} bytes is not valid")]
    Length(usize),
    /// The checksum does not match.
    #[error("checksum {found:08x} instead of {expected:08x}")]
    Checksum {
        /// The checksum in the header.
        expected: u32,
        /// The checksum of the bytes.
        found: u32,
    },
    /// The checksum fits, the content makes no sense: not our writing.
    #[error("{0}")]
    Content(&'static str),
    /// The checksum fits, and it is of a format that this build does not know. It must not be skipped.
    #[error("{what} {found}, which this build does not know")]
    Unknown {
        /// What is not known.
        what: &'static str,
        /// What stands there.
        found: u32,
    },
}

/// What a volume knows beside its log; every segment begins with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DurableState {
    /// The promise in force.
    pub promise: Promise,
    /// The cluster of the volume; none while it is empty.
    pub cluster_id: Option<ClusterId>,
    /// The bootstrap wrote this volume, and no Lease with its cluster-id has been seen yet. It never opens for writes
    /// \[L4\].
    pub bootstrapping: bool,
}

impl DurableState {
    /// An empty volume.
    pub const EMPTY: DurableState = DurableState { promise: Promise::NONE, cluster_id: None, bootstrapping: false };
}

/// The first record after a snapshot. It identifies the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotMark {
    /// The position of the snapshot.
    pub position: Position,
    /// The length of `snapshot.json`.
    pub length_bytes: u64,
    /// Its checksum (CRC-32).
    pub crc32: u32,
}

/// What an entry carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Payload {
    /// Nothing: the first entry of a term. Its commit opens the term for writes.
    Empty,
    /// The voters from here on, committed or not \[S7\].
    Voters(Voters),
    /// A client's command. Each replica that applies it decides its meaning, and all decide the same.
    Command(Bytes),
}

/// One entry of the replicated log. It names the position before it, so a log is a chain.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The position of the entry before, [`Position::ZERO`] if there is none.
    pub previous: Position,
    /// Its own position.
    pub position: Position,
    /// Its content.
    pub payload: Payload,
    record: Bytes,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.record == other.record
    }
}
impl Eq for Entry {}

impl std::hash::Hash for Entry {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.record.hash(state);
    }
}

impl Entry {
    /// The entry that follows `previous` in `term`.
    pub fn new(previous: Position, term: Term, payload: Payload) -> Entry {
        let position = Position { term, seq: previous.seq.next() };
        let room = if let Payload::Command(command) = &payload { command.len() } else { 64 };
        let mut body = BytesMut::with_capacity(RECORD_HEADER_BYTES + ENTRY_HEAD_BYTES + room);
        body.put_bytes(0, RECORD_HEADER_BYTES);
        body.put_u8(KIND_ENTRY);
        put_position(&mut body, previous);
        put_position(&mut body, position);
        match &payload {
            Payload::Empty => body.put_u8(0),
            Payload::Voters(voters) => {
                body.put_u8(1);
                body.put_slice(&serde_json::to_vec(voters).expect("plain data has a JSON form"));
            }
            Payload::Command(command) => {
                body.put_u8(2);
                body.put_slice(command);
            }
        }
        let record = seal(body);
        // The entry lives as long as the log does, so it holds its command only once.
        let payload = match payload {
            Payload::Command(_) => Payload::Command(record.slice(RECORD_HEADER_BYTES + ENTRY_HEAD_BYTES..)),
            other => other,
        };
        Entry { previous, position, payload, record }
    }

    /// The record as it is in the journal and on the wire.
    pub fn record(&self) -> &Bytes {
        &self.record
    }
}

/// One record of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Record {
    /// The durable state from here on.
    State(DurableState),
    /// An entry of the log. If it names an earlier position in the chain, it cuts everything after that.
    Entry(Entry),
    /// The snapshot contains the log up to here.
    Snapshot(SnapshotMark),
}

impl Record {
    /// The record's bytes, header included.
    pub fn encode(&self) -> Bytes {
        let mut body = BytesMut::with_capacity(64);
        body.put_bytes(0, RECORD_HEADER_BYTES);
        match self {
            Record::Entry(entry) => return entry.record.clone(),
            Record::State(state) => {
                body.put_u8(KIND_STATE);
                body.put_u64_le(state.promise.term.0);
                body.put_slice(state.promise.incarnation.0.as_bytes());
                let cluster = if state.cluster_id.is_some() { FLAG_CLUSTER } else { 0 };
                let marked = if state.bootstrapping { FLAG_BOOTSTRAPPING } else { 0 };
                body.put_u8(cluster | marked);
                body.put_slice(state.cluster_id.map_or(Uuid::nil(), |id| id.0).as_bytes());
            }
            Record::Snapshot(mark) => {
                body.put_u8(KIND_SNAPSHOT);
                put_position(&mut body, mark.position);
                body.put_u64_le(mark.length_bytes);
                body.put_u32_le(mark.crc32);
            }
        }
        seal(body)
    }

    /// Reads the record at the start of `bytes` and moves `bytes` behind it. On an error `bytes` stays as it was.
    ///
    /// # Errors
    /// [`RecordError`]; `Short` when more bytes may complete it.
    pub fn decode(bytes: &mut Bytes) -> Result<Record, RecordError> {
        let length = record_length(bytes)?;
        let expected = u32::from_le_bytes(bytes[4..8].try_into().expect("four bytes"));
        let record = bytes.slice(..length);
        let body = record.slice(RECORD_HEADER_BYTES..);
        let found = crc32fast::hash(&body);
        if found != expected {
            return Err(RecordError::Checksum { expected, found });
        }
        let decoded = decode_body(record, body)?;
        bytes.advance(length);
        Ok(decoded)
    }
}

/// The length in bytes, header included, of the record at the start of `bytes`.
///
/// # Errors
/// `Length` when it cannot be a record, `Short` when `bytes` does not hold all of it.
pub fn record_length(bytes: &[u8]) -> Result<usize, RecordError> {
    if bytes.len() < RECORD_HEADER_BYTES {
        return Err(RecordError::Short { have: bytes.len(), want: RECORD_HEADER_BYTES });
    }
    let length = u32::from_le_bytes(bytes[..4].try_into().expect("four bytes")) as usize;
    if length == 0 || length > RECORD_BODY_BYTES_MAX {
        return Err(RecordError::Length(length));
    }
    if bytes.len() < RECORD_HEADER_BYTES + length {
        return Err(RecordError::Short { have: bytes.len(), want: RECORD_HEADER_BYTES + length });
    }
    Ok(RECORD_HEADER_BYTES + length)
}

fn seal(mut record: BytesMut) -> Bytes {
    let length = record.len() - RECORD_HEADER_BYTES;
    assert!(length <= RECORD_BODY_BYTES_MAX, "a body of {length} bytes was let in, at most {RECORD_BODY_BYTES_MAX}");
    let crc = crc32fast::hash(&record[RECORD_HEADER_BYTES..]);
    record[..4].copy_from_slice(&(length as u32).to_le_bytes());
    record[4..8].copy_from_slice(&crc.to_le_bytes());
    record.freeze()
}

fn decode_body(record: Bytes, mut body: Bytes) -> Result<Record, RecordError> {
    match body.get_u8() {
        KIND_STATE if body.len() == 41 => {
            let term = Term(body.get_u64_le());
            let incarnation = Incarnation(get_uuid(&mut body));
            let flags = body.get_u8();
            let cluster = ClusterId(get_uuid(&mut body));
            if flags & !(FLAG_CLUSTER | FLAG_BOOTSTRAPPING) != 0 {
                return Err(RecordError::Unknown { what: "a state record with flags", found: flags.into() });
            }
            Ok(Record::State(DurableState {
                promise: Promise { term, incarnation },
                cluster_id: (flags & FLAG_CLUSTER != 0).then_some(cluster),
                bootstrapping: flags & FLAG_BOOTSTRAPPING != 0,
            }))
        }
        KIND_ENTRY if body.len() + 1 >= ENTRY_HEAD_BYTES => {
            let previous = get_position(&mut body);
            let position = get_position(&mut body);
            if previous.seq.0.checked_add(1) != Some(position.seq.0) || position.term < previous.term {
                return Err(RecordError::Content("an entry that does not follow the one it names"));
            }
            if position.seq > Seq::MAX {
                return Err(RecordError::Content("an entry with a sequence that no log reaches"));
            }
            let payload = match body.get_u8() {
                0 if body.is_empty() => Payload::Empty,
                1 => Payload::Voters(decode_voters(&body)?),
                2 => Payload::Command(body),
                0 => return Err(RecordError::Content("an empty entry that is not empty")),
                found => return Err(RecordError::Unknown { what: "an entry of kind", found: found.into() }),
            };
            Ok(Record::Entry(Entry { previous, position, payload, record }))
        }
        KIND_SNAPSHOT if body.len() == 28 => Ok(Record::Snapshot(SnapshotMark {
            position: get_position(&mut body),
            length_bytes: body.get_u64_le(),
            crc32: body.get_u32_le(),
        })),
        KIND_STATE | KIND_ENTRY | KIND_SNAPSHOT => {
            Err(RecordError::Content("a record of a length that its kind never has"))
        }
        found => Err(RecordError::Unknown { what: "a record of kind", found: found.into() }),
    }
}

/// A later format may have other fields: then its number is what counts.
fn decode_voters(json: &[u8]) -> Result<Voters, RecordError> {
    #[derive(serde::Deserialize)]
    struct Format {
        format: u32,
    }
    let misfit = RecordError::Content("a voters entry whose JSON does not fit");
    serde_json::from_slice(json).map_err(|_| match serde_json::from_slice(json) {
        Ok(Format { format: found }) if found > crate::FORMAT => {
            RecordError::Unknown { what: "voters of format", found }
        }
        Ok(Format { .. }) | Err(_) => misfit,
    })
}

pub(crate) fn put_position(to: &mut BytesMut, position: Position) {
    to.put_u64_le(position.term.0);
    to.put_u64_le(position.seq.0);
}

pub(crate) fn get_position(from: &mut Bytes) -> Position {
    Position { term: Term(from.get_u64_le()), seq: Seq(from.get_u64_le()) }
}

pub(crate) fn get_uuid(from: &mut Bytes) -> Uuid {
    let mut bytes = [0; 16];
    from.copy_to_slice(&mut bytes);
    Uuid::from_bytes(bytes)
}
