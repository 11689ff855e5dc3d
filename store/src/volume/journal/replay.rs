//! Derives the journal's content from its segments.
//!
//! ```text
//!   the newest segment ──its head──▶ mark of the snapshot, first segment needed
//!   first … newest, in order: states (the last one counts), entries that chain from the snapshot's position
//! ```
//!
//! An entry that names an earlier position in the chain replaces everything after it (a cut). What precedes the first entry
//! that chains from the snapshot (without one: from the beginning) is in the snapshot already, or belongs to a branch that
//! was cut, whose beginning went with an older segment; it is dropped \[S8\]. Anything else that does not chain is damage.
//! Nothing can be missing unseen: batches and segments are numbered, and older segments were durable, to the byte that the
//! next one names, before that one was started.

use super::segment::{self, Contents, Head, SegmentError};
use crate::volume::disk::{Disk, read_all};
use crate::volume::error::VolumeError;
use crate::volume::files::FOLDER;
use leasehold_replication::{DurableState, Entry, Position, Record, SnapshotMark};

/// An entry of the chain, and its place.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) entry: Entry,
    pub(crate) segment: u64,
    /// The byte where its record starts.
    pub(crate) offset: u64,
}

/// A journal as found. Nothing of it is known to be durable yet \[S2\].
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) state: DurableState,
    /// The snapshot that belongs to it.
    pub(crate) mark: Option<SnapshotMark>,
    /// The entries after the snapshot.
    pub(crate) chain: Vec<Live>,
    /// The head of the newest segment.
    pub(crate) newest: Head,
    /// The segments before the newest one that were needed, oldest first.
    pub(crate) older: Vec<u64>,
    /// The newest segment ends at this offset in something that a crash tore.
    pub(crate) torn: Option<u64>,
}

impl Replay {
    /// Where the log ends.
    pub(crate) fn last(&self) -> Position {
        let base = self.mark.map_or(Position::ZERO, |mark| mark.position);
        self.chain.last().map_or(base, |live| live.entry.position)
    }

    /// Only promises were ever written to it.
    pub(crate) fn is_empty(&self) -> bool {
        self.state.cluster_id.is_none() && self.mark.is_none() && self.chain.is_empty()
    }
}

/// The numbers of the existing segments.
pub(crate) fn numbers(disk: &dyn Disk) -> Result<Vec<u64>, VolumeError> {
    let names = disk.list(FOLDER).map_err(|error| VolumeError::io(disk, FOLDER, error))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment::number_of(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reads the journal that ends in the newest of `numbers`; `None` when there is no segment.
///
/// # Errors
/// `Damage`, `Format`, `Io`.
pub(crate) fn replay(disk: &dyn Disk, numbers: &[u64], format_max: u32) -> Result<Option<Replay>, VolumeError> {
    let Some(number) = numbers.last() else { return Ok(None) };
    let newest = read(disk, *number, format_max)?;
    let (head, torn) = (newest.head, newest.torn.then_some(newest.end));
    let mark = mark_of(&newest);
    let mut needed = needed(disk, newest, numbers, format_max)?;
    let mut said = Said::new(mark.map_or(Position::ZERO, |mark| mark.position));
    for contents in &needed {
        let number = contents.head.number;
        for (at, (batch, record)) in contents.records.iter().enumerate() {
            let taken = said.take(at, record, number, contents.offsets[at]);
            taken.map_err(|what| damage(disk, number, *batch, what))?;
        }
    }
    let state = said.state.ok_or_else(|| damage(disk, *number, 0, "it holds no durable state [S1]".to_owned()))?;
    needed.pop();
    let older = needed.iter().map(|contents| contents.head.number).collect();
    Ok(Some(Replay { state, mark, chain: said.chain.entries, newest: head, older, torn }))
}

/// The newest segment and those before it that it leads back to, oldest first.
fn needed(disk: &dyn Disk, newest: Contents, numbers: &[u64], format_max: u32) -> Result<Vec<Contents>, VolumeError> {
    let first = newest.head.first;
    let mut needed = vec![newest];
    loop {
        let later = needed[needed.len() - 1].head;
        if later.number == first {
            break;
        }
        // `previous` is 0 only in a segment that stands alone, and numbers only go down: this ends.
        if later.previous == 0 || later.previous >= later.number || later.previous < first {
            return Err(damage(disk, later.number, 0, format!("it does not lead back to segment {first}")));
        }
        if !numbers.contains(&later.previous) {
            return Err(damage(disk, later.previous, 0, format!("it is missing, segment {} follows it", later.number)));
        }
        let contents = read(disk, later.previous, format_max)?;
        if contents.torn || contents.end != later.previous_bytes {
            let what = format!("it was {} bytes long when segment {} began", later.previous_bytes, later.number);
            return Err(damage(disk, later.previous, contents.end, what));
        }
        needed.push(contents);
    }
    needed.reverse();
    Ok(needed)
}

/// What the records say together, one after the other.
struct Said {
    state: Option<DurableState>,
    chain: Chain,
}

impl Said {
    fn new(base: Position) -> Said {
        Said { state: None, chain: Chain::new(base) }
    }

    /// Takes the record that is the `at`th of its segment. An error says why it cannot stand there.
    fn take(&mut self, at: usize, record: &Record, segment: u64, offset: u64) -> Result<(), String> {
        match (at, record) {
            (_, Record::State(next)) => {
                if let Some(before) = &self.state {
                    follows(before, next)?;
                }
                self.state = Some(*next);
            }
            (0, _) => return Err("it does not begin with the durable state [S1]".to_owned()),
            (1, Record::Snapshot(_)) => {}
            (_, Record::Snapshot(_)) => return Err("the mark of a snapshot is in the middle".to_owned()),
            (_, Record::Entry(entry)) => {
                if !self.chain.push(entry, segment, offset) {
                    return Err(format!("entry {} names {}, which does not exist", entry.position, entry.previous));
                }
            }
        }
        Ok(())
    }
}

/// May this state follow that one? A promise never goes down, nor does its incarnation change within a term, and a volume
/// belongs to one cluster.
pub(crate) fn follows(before: &DurableState, next: &DurableState) -> Result<(), String> {
    let (old, new) = (before.promise, next.promise);
    if new.term < old.term || (new.term == old.term && new.incarnation != old.incarnation) {
        return Err(format!("the promise {new} follows the promise {old}"));
    }
    // A first start that was torn never was: its volume may still join another cluster.
    if before.cluster_id.is_some() && !before.bootstrapping && next.cluster_id != before.cluster_id {
        return Err("the cluster-id changes".to_owned());
    }
    Ok(())
}

fn mark_of(contents: &Contents) -> Option<SnapshotMark> {
    match contents.records.get(1) {
        Some((_, Record::Snapshot(mark))) => Some(*mark),
        _ => None,
    }
}

fn read(disk: &dyn Disk, number: u64, format_max: u32) -> Result<Contents, VolumeError> {
    let name = segment::file_name(number);
    let io = |error| VolumeError::io(disk, &name, error);
    let bytes = read_all(&*disk.open(&name).map_err(io)?).map_err(io)?;
    match segment::read(&bytes, format_max) {
        Ok(contents) if contents.head.number != number => {
            Err(damage(disk, number, 0, format!("its header names segment {}", contents.head.number)))
        }
        Ok(contents) if contents.records.is_empty() => {
            Err(damage(disk, number, contents.end, "it does not begin with the durable state [S1]".to_owned()))
        }
        Ok(contents) => Ok(contents),
        Err(SegmentError::Format { found }) => Err(VolumeError::format(disk, &name, found, format_max)),
        Err(SegmentError::Unknown { offset, what }) => {
            let (file, what) = (disk.path(&name), format!("{what} (in the batch at byte {offset})"));
            Err(VolumeError::Unreadable { file, what, max: format_max })
        }
        Err(SegmentError::Damage { offset, what }) => Err(damage(disk, number, offset, what)),
    }
}

fn damage(disk: &dyn Disk, number: u64, offset: u64, what: String) -> VolumeError {
    VolumeError::Damage { file: disk.path(&segment::file_name(number)), offset, what }
}

/// The entries after the snapshot.
struct Chain {
    /// The snapshot's position; [`Position::ZERO`] without one.
    base: Position,
    entries: Vec<Live>,
}

impl Chain {
    fn new(base: Position) -> Chain {
        Chain { base, entries: Vec::new() }
    }

    /// Adds the next record of the journal. False: it follows nothing, and no crash explains that.
    fn push(&mut self, entry: &Entry, segment: u64, offset: u64) -> bool {
        let base = self.base;
        let keep = if entry.previous == base {
            0
        } else if entry.previous.seq < base.seq {
            // Before the snapshot: a cut that reaches below it, so what chained from it was cut, too. The branch that the
            // snapshot belongs to was written again afterwards.
            self.entries.clear();
            return true;
        } else {
            let at = (entry.previous.seq.0 - base.seq.0) as usize;
            match self.entries.get(at.wrapping_sub(1)) {
                Some(live) if live.entry.position == entry.previous => at,
                // With nothing chained, this is a branch that was cut.
                _ => return self.entries.is_empty(),
            }
        };
        self.entries.truncate(keep);
        self.entries.push(Live { entry: entry.clone(), segment, offset });
        true
    }
}
