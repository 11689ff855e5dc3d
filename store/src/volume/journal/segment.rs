//! One segment of the journal, byte by byte.
//!
//! ```text
//!   segment = head | batch | batch … | zeros to the end of the file
//!   head    = "LEASEJNL" | format u32 | 0 u32 | number u64 | first u64 | previous u64 | previous bytes u64
//!           | salt 16 | crc32 u32 of all before
//!   batch   = 0x4254_4148 u32 | length u32 | number u64 | crc32 u32 of (salt, the 16 bytes before)
//!           | crc32 u32 of (salt, number, records) | records: `length` bytes
//! ```
//!
//! Little-endian. `first`: the lowest segment with which a replay that ends here begins; `previous`: the one before this
//! one in that replay (0: none, `first` is this one), of which it needs exactly `previous bytes`. The first batch is
//! written before the segment gets its name: the durable state, the mark of the snapshot if there is one, and on a start
//! the live entries of the segment that this one replaces.
//!
//! A batch is what one `fdatasync` covered, and the next one is written only after that. So a crash can tear only the last
//! batch of a segment in use, anywhere in it (a segment's first batch is durable before the segment has its name). Anything
//! unreadable before a later batch is damage. The salt is random for each segment: no bytes that a client or an older file
//! leaves there pass for a batch.

use bytes::Bytes;
use leasehold_documents::FORMAT_MIN;
use leasehold_replication::{Record, RecordError};
use uuid::Uuid;

/// The length of a segment's head.
pub(crate) const HEAD_BYTES: usize = 68;
/// The length of a batch's head.
pub(crate) const BATCH_HEAD_BYTES: usize = 24;
const MAGIC: &[u8; 8] = b"LEASEJNL";
const BATCH_MAGIC: u32 = 0x4254_4148;

/// A segment's description of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// No record in it is of a later format than this.
    pub(crate) format: u32,
    /// Its number, also in its name. A later segment has a higher one.
    pub(crate) number: u64,
    /// The lowest segment that a replay which ends here needs.
    pub(crate) first: u64,
    /// The one before in that replay; 0 when `first` is this one.
    pub(crate) previous: u64,
    /// The length of that one in use.
    pub(crate) previous_bytes: u64,
    /// Random.
    pub(crate) salt: [u8; 16],
}

/// Why a segment cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SegmentError {
    /// Not what was written.
    Damage { offset: u64, what: String },
    /// A version with another format wrote it.
    Format { found: u32 },
    /// A record in it is of a kind that this build does not know.
    Unknown { offset: u64, what: String },
}

/// What was read from a segment.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) head: Head,
    /// The records of all batches, and the byte where each batch starts (for messages).
    pub(crate) records: Vec<(u64, Record)>,
    /// The byte where each record starts.
    pub(crate) offsets: Vec<u64>,
    /// Where the last good batch ends.
    pub(crate) end: u64,
    /// Something that is not a batch follows: a write that a crash tore.
    pub(crate) torn: bool,
}

impl Head {
    /// A new segment's head, with a new salt.
    pub(crate) fn new(format: u32, number: u64, first: u64, previous: u64, previous_bytes: u64) -> Head {
        Head { format, number, first, previous, previous_bytes, salt: *Uuid::new_v4().as_bytes() }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut to = Vec::with_capacity(HEAD_BYTES);
        to.extend_from_slice(MAGIC);
        to.extend_from_slice(&self.format.to_le_bytes());
        to.extend_from_slice(&0u32.to_le_bytes());
        for number in [self.number, self.first, self.previous, self.previous_bytes] {
            to.extend_from_slice(&number.to_le_bytes());
        }
        to.extend_from_slice(&self.salt);
        let crc = crc32fast::hash(&to);
        to.extend_from_slice(&crc.to_le_bytes());
        to
    }

    fn decode(from: &[u8], format_max: u32) -> Result<Head, SegmentError> {
        let damage = |what: &str| SegmentError::Damage { offset: 0, what: what.to_owned() };
        if from.len() < HEAD_BYTES {
            return Err(damage("it is shorter than a segment's head"));
        }
        if &from[..8] != MAGIC {
            return Err(damage("it does not begin as a segment does"));
        }
        // The format is checked before the checksum: a later one may have a longer head.
        let found = u32_at(from, 8);
        if !(FORMAT_MIN..=format_max).contains(&found) {
            return Err(SegmentError::Format { found });
        }
        if crc32fast::hash(&from[..64]) != u32_at(from, 64) {
            return Err(damage("the checksum of its head does not match"));
        }
        let mut salt = [0; 16];
        salt.copy_from_slice(&from[48..64]);
        let head = Head {
            format: found,
            number: u64_at(from, 16),
            first: u64_at(from, 24),
            previous: u64_at(from, 32),
            previous_bytes: u64_at(from, 40),
            salt,
        };
        let alone = head.first == head.number;
        if head.number == 0 || head.first == 0 || alone != (head.previous == 0) || head.first > head.number {
            return Err(damage("the numbers in its head are inconsistent"));
        }
        Ok(head)
    }

    /// The bytes of a batch: `write` puts its records after the head, which is already there.
    pub(crate) fn batch(&self, number: u64, to: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        let start = to.len();
        to.resize(start + BATCH_HEAD_BYTES, 0);
        write(to);
        let length = to.len() - start - BATCH_HEAD_BYTES;
        let length = u32::try_from(length).expect("a batch is bounded far below 4 GiB");
        to[start..start + 4].copy_from_slice(&BATCH_MAGIC.to_le_bytes());
        to[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
        to[start + 8..start + 16].copy_from_slice(&number.to_le_bytes());
        let head = self.head_crc(&to[start..start + 16]);
        to[start + 16..start + 20].copy_from_slice(&head.to_le_bytes());
        let body = self.body_crc(number, &to[start + BATCH_HEAD_BYTES..]);
        to[start + 20..start + 24].copy_from_slice(&body.to_le_bytes());
    }

    fn head_crc(&self, sixteen: &[u8]) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.salt);
        crc.update(sixteen);
        crc.finalize()
    }

    fn body_crc(&self, number: u64, records: &[u8]) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.salt);
        crc.update(&number.to_le_bytes());
        crc.update(records);
        crc.finalize()
    }

    /// The number and the records of the batch at the start of `from`, if there is one.
    fn batch_at<'a>(&self, from: &'a [u8]) -> Option<(u64, &'a [u8])> {
        if from.len() < BATCH_HEAD_BYTES || u32_at(from, 0) != BATCH_MAGIC {
            return None;
        }
        if self.head_crc(&from[..16]) != u32_at(from, 16) {
            return None;
        }
        let number = u64_at(from, 8);
        let records = from.get(BATCH_HEAD_BYTES..BATCH_HEAD_BYTES + u32_at(from, 4) as usize)?;
        (self.body_crc(number, records) == u32_at(from, 20)).then_some((number, records))
    }
}

/// Reads a whole segment, if it is of no later format than that.
///
/// # Errors
/// [`SegmentError`]: damage is anything that a crash cannot explain.
pub(crate) fn read(bytes: &[u8], format_max: u32) -> Result<Contents, SegmentError> {
    let head = Head::decode(bytes, format_max)?;
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut contents = Contents { head, records: Vec::new(), offsets: Vec::new(), end: HEAD_BYTES as u64, torn: false };
    let mut offset = HEAD_BYTES;
    let mut expected = 1;
    while offset < used {
        match head.batch_at(&bytes[offset..]) {
            Some((number, records)) if number == expected => {
                read_batch(offset as u64, records, &mut contents)?;
                offset += BATCH_HEAD_BYTES + records.len();
                contents.end = offset as u64;
                expected += 1;
            }
            Some((number, _)) => {
                let what = format!("found batch {number} where batch {expected} belongs");
                return Err(SegmentError::Damage { offset: offset as u64, what });
            }
            None => {
                if let Some(later) = (offset + 1..used).find(|at| head.batch_at(&bytes[*at..]).is_some()) {
                    let what = format!("batch {expected} cannot be read, although a good one follows at {later}");
                    return Err(SegmentError::Damage { offset: offset as u64, what });
                }
                contents.torn = true;
                break;
            }
        }
    }
    Ok(contents)
}

fn read_batch(offset: u64, records: &[u8], to: &mut Contents) -> Result<(), SegmentError> {
    // A copy, so that entries that live on do not hold the whole segment in memory.
    let mut records = Bytes::copy_from_slice(records);
    let end = offset + (BATCH_HEAD_BYTES + records.len()) as u64;
    while !records.is_empty() {
        let at = end - records.len() as u64;
        match Record::decode(&mut records) {
            Ok(record) => {
                to.records.push((offset, record));
                to.offsets.push(at);
            }
            Err(error @ RecordError::Unknown { .. }) => {
                return Err(SegmentError::Unknown { offset, what: error.to_string() });
            }
            // The batch's own checksum fits, so no crash did this.
            Err(error) => {
                return Err(SegmentError::Damage { offset, what: format!("a record in a good batch: {error}") });
            }
        }
    }
    Ok(())
}

/// The name of a segment's file.
pub(crate) fn file_name(number: u64) -> String {
    format!("{}/{number:016x}.segment", crate::volume::files::FOLDER)
}

/// The number in the name of a file in the journal's folder.
pub(crate) fn number_of(file: &str) -> Option<u64> {
    let digits = file.strip_suffix(".segment")?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

fn u32_at(from: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(from[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(from: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(from[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use leasehold_replication::{ClusterId, DurableState, Entry, Payload, Position, Term};

    fn head() -> Head {
        Head { format: 1, number: 7, first: 3, previous: 6, previous_bytes: 4096, salt: [9; 16] }
    }

    /// Batches with one command each, in a file with some zeros at the end.
    fn segment(commands: &[&'static str]) -> Vec<u8> {
        let head = head();
        let mut bytes = head.encode();
        head.batch(1, &mut bytes, |to| to.extend_from_slice(&Record::State(DurableState::EMPTY).encode()));
        let mut last = Position::ZERO;
        for (number, command) in (2..).zip(commands) {
            let entry = Entry::new(last, Term(1), Payload::Command(Bytes::from_static(command.as_bytes())));
            last = entry.position;
            head.batch(number, &mut bytes, |to| to.extend_from_slice(entry.record()));
        }
        bytes.resize(bytes.len() + 100, 0);
        bytes
    }

    #[test]
    fn a_segment_is_read_as_it_was_written() {
        let bytes = segment(&["one", "two"]);
        let contents = read(&bytes, 1).unwrap();
        assert_eq!(contents.head, head());
        assert_eq!(contents.records.len(), 3);
        assert_eq!((contents.end as usize, contents.torn), (bytes.len() - 100, false));
    }

    #[test]
    fn every_flipped_byte_of_the_last_batch_is_a_torn_tail_and_of_any_other_damage() {
        let good = segment(&["one", "two"]);
        let whole = read(&good, 1).unwrap();
        let last_batch = whole.records.last().unwrap().0 as usize;
        for at in 12..good.len() - 100 {
            let mut bytes = good.clone();
            bytes[at] ^= 0x41;
            match read(&bytes, 1) {
                Ok(contents) => {
                    // Bytes 12 to 16 are reserved zeros, but the checksum covers them.
                    assert!(at >= last_batch, "byte {at} was flipped, unseen");
                    assert!(contents.torn && contents.end as usize == last_batch);
                }
                Err(error) => assert!(at < last_batch, "byte {at} of the tail: {error:?}"),
            }
        }
    }

    #[test]
    fn a_batch_of_which_any_part_was_lost_is_a_torn_tail_even_with_good_records_behind_the_loss() {
        let head = head();
        let mut bytes = segment(&["one"]);
        bytes.truncate(bytes.len() - 100);
        let from = bytes.len();
        let state = DurableState { cluster_id: Some(ClusterId(Uuid::from_u128(u128::MAX))), ..DurableState::EMPTY };
        head.batch(3, &mut bytes, |to| {
            for _ in 0..100 {
                to.extend_from_slice(&Record::State(state).encode());
            }
        });
        for lost in [from..from + 512, from + 512..from + 1024, bytes.len() - 10..bytes.len()] {
            let mut torn = bytes.clone();
            torn[lost].fill(0);
            let contents = read(&torn, 1).unwrap();
            assert!(contents.torn);
            assert_eq!(contents.end as usize, from);
        }
    }

    #[test]
    fn a_newer_format_is_named_and_no_damage() {
        let mut bytes = segment(&[]);
        bytes[8] = 9;
        assert_eq!(read(&bytes, 1).unwrap_err(), SegmentError::Format { found: 9 });
        assert!(matches!(read(&bytes, 9), Err(SegmentError::Damage { .. })), "its checksum is that of another head");
    }

    #[test]
    fn a_batch_of_another_segment_is_none_of_this_one() {
        let mut bytes = segment(&[]);
        let end = bytes.len() - 100;
        bytes.truncate(end);
        let stale = Head { salt: [8; 16], ..head() };
        stale.batch(2, &mut bytes, |to| to.extend_from_slice(&Record::State(DurableState::EMPTY).encode()));
        stale.batch(3, &mut bytes, |to| to.extend_from_slice(&Record::State(DurableState::EMPTY).encode()));
        let contents = read(&bytes, 1).unwrap();
        assert_eq!((contents.records.len(), contents.end as usize, contents.torn), (1, end, true));
    }

    #[test]
    fn names_of_segments_sort_as_their_numbers() {
        assert_eq!(file_name(255), "journal/00000000000000ff.segment");
        assert_eq!(number_of("00000000000000ff.segment"), Some(255));
        assert_eq!(number_of("next.tmp"), None);
    }
}
