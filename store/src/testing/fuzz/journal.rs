//! A start on segments of any content.
//!
//! ```text
//!   segment:  bytes ───────────────────────────▶ segment::read          raw, and once more with its checksums made good
//!   journal:  script ──▶ segments ──▶ damage ──▶ volume::recover ──▶ again, after a power loss
//! ```
//!
//! Nothing is invented: each entry that is found was written exactly so, with its checksum; a state follows the one before.
//! What a start found, the next start finds again.

use super::{Script, put};
use crate::testing::fault_disk::FaultDisk;
use crate::volume::disk::Disk;
use crate::volume::files::{SNAPSHOT, SNAPSHOT_NEXT};
use crate::volume::identity;
use crate::volume::journal::segment::{self, BATCH_HEAD_BYTES, HEAD_BYTES, Head};
use crate::volume::journal::{Replay, file_name};
use crate::volume::snapshot;
use crate::volume::{self, Found, VolumeError};
use bytes::Bytes;
use leasehold_documents::FORMAT;
use leasehold_documents::{Documents, StoredCollections, StoredOrder, StoredState};
use leasehold_replication::{
    ClusterId, DurableState, Entry, Incarnation, Payload, Position, Promise, Record, ReplicaId, Seq, SnapshotMark,
    SnapshotMeta, Term, Voters,
};
use std::sync::Arc;
use uuid::Uuid;

const SEGMENT_BYTES: u64 = 4096;
const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(7));

/// Any bytes as one segment.
pub fn segment(data: &[u8]) {
    read(data);
    // Checksums keep a fuzzer out: the same bytes with good ones.
    read(&mended(data));
}

fn read(bytes: &[u8]) {
    let Ok(contents) = segment::read(bytes, FORMAT) else { return };
    assert!(contents.end as usize <= bytes.len());
    for (offset, record) in &contents.records {
        let encoded = record.encode();
        let batch = &bytes[*offset as usize..contents.end as usize];
        // A missing cluster-id is written as zeros, whatever was there before.
        let is_there = batch.windows(encoded.len()).any(|window| window == encoded);
        assert!(is_there || matches!(record, Record::State(_)), "{record:?} was invented");
    }
    // What was read is read again when nothing but that is there; torn or not, the rest counts for nothing.
    let again = segment::read(&bytes[..contents.end as usize], FORMAT).expect("a good beginning");
    assert_eq!((again.records, again.end, again.torn), (contents.records, contents.end, false));
}

/// With the magic numbers, lengths that fit, and checksums where the format has them.
fn mended(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    bytes.resize(bytes.len().max(HEAD_BYTES + BATCH_HEAD_BYTES), 0);
    bytes[..8].copy_from_slice(b"LEASEJNL");
    bytes[8..12].copy_from_slice(&1u32.to_le_bytes());
    let salt: [u8; 16] = bytes[48..64].try_into().unwrap();
    let crc = crc32fast::hash(&bytes[..64]);
    bytes[64..68].copy_from_slice(&crc.to_le_bytes());
    let mut at = HEAD_BYTES;
    while at + BATCH_HEAD_BYTES < bytes.len() {
        let room = bytes.len() - at - BATCH_HEAD_BYTES;
        let length = (u16::from_le_bytes([bytes[at + 4], bytes[at + 5]]) as usize).min(room);
        bytes[at..at + 4].copy_from_slice(&0x4254_4148u32.to_le_bytes());
        bytes[at + 4..at + 8].copy_from_slice(&(length as u32).to_le_bytes());
        let records = at + BATCH_HEAD_BYTES;
        let mut record = records;
        while record + 8 < records + length {
            let left = records + length - record - 8;
            let body = (u16::from_le_bytes([bytes[record], bytes[record + 1]]) as usize).clamp(1, left);
            bytes[record..record + 4].copy_from_slice(&(body as u32).to_le_bytes());
            let crc = crc32fast::hash(&bytes[record + 8..record + 8 + body]);
            bytes[record + 4..record + 8].copy_from_slice(&crc.to_le_bytes());
            record += 8 + body;
        }
        let sum = |parts: &[&[u8]]| {
            let mut crc = crc32fast::Hasher::new();
            parts.iter().for_each(|part| crc.update(part));
            crc.finalize().to_le_bytes()
        };
        let head = sum(&[&salt, &bytes[at..at + 16]]);
        let body = sum(&[&salt, &bytes[at + 8..at + 16], &bytes[records..records + length]]);
        bytes[at + 16..at + 20].copy_from_slice(&head);
        bytes[at + 20..at + 24].copy_from_slice(&body);
        at = records + length;
    }
    bytes
}

/// Segments that a script writes with all the right checksums and none of the writer's rules, and then corrupts.
pub fn journal(data: &[u8]) {
    let mut script = Script(data);
    let fault_disk = FaultDisk::new(1);
    let disk: Arc<dyn Disk> = Arc::new(fault_disk.clone());
    let mut written: Vec<Entry> = Vec::new();
    let mark = (script.below(3) == 0).then(|| {
        let position = Position::new(1, u64::from(script.below(6)) + 1);
        let meta = SnapshotMeta { cluster_id: CLUSTER, position, voters: Voters::none() };
        let documents = Documents::restore(
            position,
            StoredCollections::default(),
            StoredOrder::default(),
            Vec::new(),
            StoredState::default(),
        )
        .unwrap();
        let name = if script.below(4) == 0 { SNAPSHOT_NEXT } else { SNAPSHOT };
        snapshot::write(&*disk, name, &meta, &documents).unwrap()
    });
    let count = 1 + u64::from(script.below(4));
    let mut end = 0;
    for number in 1..=count {
        let bytes = segment_of(&mut script, number, end, mark, &mut written);
        end = segment::read(&bytes, FORMAT).map_or(0, |contents| contents.end);
        if script.below(16) > 0 {
            put(&*disk, &file_name(number), &bytes);
        }
    }
    if script.below(4) > 0 {
        identity::write(&*disk, ReplicaId(Uuid::from_u128(1))).unwrap();
    }
    let found = match volume::recover(&disk, SEGMENT_BYTES, Arc::new(|_| {}), FORMAT) {
        Ok(found) => found,
        // The disk itself is fine.
        Err(VolumeError::Io { path, source }) => panic!("{}: {source}", path.display()),
        Err(VolumeError::Damage { .. } | VolumeError::Format { .. } | VolumeError::Unreadable { .. }) => return,
    };
    let before = said(&found);
    if let Some(replay) = &found.replay {
        check(replay, &written);
    }
    drop(found);
    // What was found is durable from here on.
    fault_disk.power_loss();
    let again =
        volume::recover(&disk, SEGMENT_BYTES, Arc::new(|_| {}), FORMAT).expect("what was found once is found again");
    assert_eq!(said(&again), before);
}

/// What a start says of a volume. An empty one has a segment with promise 0 after it.
fn said(found: &Found) -> (ReplicaId, DurableState, Option<SnapshotMark>, Vec<Entry>) {
    let state = found.replay.as_ref().map_or(DurableState::EMPTY, |replay| replay.state);
    let mark = found.replay.as_ref().and_then(|replay| replay.mark);
    let chain = found.replay.iter().flat_map(|replay| replay.chain.iter().map(|live| live.entry.clone()));
    (found.replica, state, mark, chain.collect())
}

fn check(replay: &Replay, written: &[Entry]) {
    let mut last = replay.mark.map_or(Position::ZERO, |mark| mark.position);
    for live in &replay.chain {
        let entry = &live.entry;
        assert_eq!(entry.previous, last, "the chain has a hole");
        assert!(written.contains(entry), "entry {} was invented", entry.position);
        let mut bytes = entry.record().clone();
        assert_eq!(Record::decode(&mut bytes), Ok(Record::Entry(entry.clone())), "its checksum is bad");
        last = entry.position;
    }
}

/// `previous_bytes`: how long the segment before is.
fn segment_of(
    script: &mut Script<'_>,
    number: u64,
    previous_bytes: u64,
    mark: Option<SnapshotMark>,
    written: &mut Vec<Entry>,
) -> Vec<u8> {
    let mut head = match script.below(8) {
        // As the writer does it, mostly.
        0..=3 => Head::new(1, number, 1, if number == 1 { 0 } else { number - 1 }, 0),
        4 | 5 => Head::new(1, number, number, 0, 0),
        _ => Head::new(
            1,
            u64::from(script.below(5)),
            u64::from(script.below(5)),
            u64::from(script.below(5)),
            u64::from(script.word()),
        ),
    };
    head.salt = [number as u8; 16];
    head.previous_bytes = if script.below(8) > 0 { previous_bytes } else { u64::from(script.word()) };
    let mut bytes = head.encode();
    let mut last = written.last().map_or(Position::ZERO, |entry| entry.position);
    let mut batch = 1;
    for _ in 0..script.below(5) {
        if script.below(32) == 0 {
            batch += 1;
        }
        head.batch(batch, &mut bytes, |to| {
            let mut first = to.len() < HEAD_BYTES + BATCH_HEAD_BYTES + 1;
            let mut marks = mark.filter(|_| first && script.below(8) > 0);
            for _ in 0..1 + script.below(4) {
                let record = if std::mem::take(&mut first) && script.below(8) > 0 {
                    state(script)
                } else if let Some(mark) = marks.take() {
                    last = mark.position;
                    Record::Snapshot(mark)
                } else {
                    any_record(script, &mut last, written)
                };
                to.extend_from_slice(&record.encode());
            }
        });
        batch += 1;
    }
    damage(script, &mut bytes);
    bytes
}

fn state(script: &mut Script<'_>) -> Record {
    let promise = Promise {
        term: Term(u64::from(script.below(3))),
        incarnation: Incarnation(Uuid::from_u128(u128::from(script.below(2)))),
    };
    let cluster_id = (script.below(4) > 0).then_some(CLUSTER);
    Record::State(DurableState { promise, cluster_id, bootstrapping: script.below(8) == 0 })
}

fn any_record(script: &mut Script<'_>, last: &mut Position, written: &mut Vec<Entry>) -> Record {
    match script.below(16) {
        0 => return state(script),
        1 => {
            return Record::Snapshot(SnapshotMark {
                position: Position::new(u64::from(script.below(3)), u64::from(script.below(8))),
                length_bytes: u64::from(script.word()),
                crc32: u32::from(script.word()),
            });
        }
        // One that was there before.
        2 if !written.is_empty() => {
            let entry = written[usize::from(script.byte()) % written.len()].clone();
            *last = entry.position;
            return Record::Entry(entry);
        }
        // A cut, or a hole, or the end of all numbers.
        3 | 4 if !written.is_empty() => *last = written[usize::from(script.byte()) % written.len()].previous,
        5 => *last = Position::new(u64::from(script.below(3)), u64::from(script.byte())),
        6 => *last = Position::new(u64::MAX, Seq::MAX.0 - 2 + u64::from(script.below(4))),
        _ => {}
    }
    if last.seq.0 > Seq::MAX.0 + 1 {
        *last = Position::ZERO;
    }
    let term = Term(last.term.0.saturating_add(u64::from(script.below(8) == 0)));
    let payload = match script.below(8) {
        0 => Payload::Empty,
        1 => Payload::Voters(Voters::none()),
        _ => {
            // Mostly one that is known: what is not known ends a start, before anything else is found out.
            let mut command = vec![script.byte(); usize::from(script.byte())];
            if script.below(16) > 0 {
                command.iter_mut().zip([1, 1, 0]).for_each(|(to, from)| *to = from);
            }
            Payload::Command(Bytes::from(command))
        }
    };
    let entry = Entry::new(*last, term, payload);
    *last = entry.position;
    written.push(entry.clone());
    Record::Entry(entry)
}

fn damage(script: &mut Script<'_>, bytes: &mut Vec<u8>) {
    if script.yes() {
        return;
    }
    for _ in 0..script.below(4) {
        let at = usize::from(script.word()) % bytes.len();
        match script.below(8) {
            0 => bytes[at] ^= 1 << script.below(8),
            1 => bytes.truncate(at.max(1)),
            2 => {
                let end = (at + usize::from(script.byte())).min(bytes.len());
                bytes[at..end].fill(0);
            }
            3 => {
                let garbage = script.take(32);
                bytes.extend_from_slice(garbage);
            }
            4 => bytes.resize(bytes.len() + usize::from(script.word()) % 4096, 0),
            _ => {}
        }
    }
}
