//! What a journal says, from its segments.
//!
//! ```text
//!   the newest segment ──its head──▶ mark of the snapshot, first segment needed
//!   first … newest, in order: states (the last one counts), entries that chain from the snapshot's position
//! ```
//!
//! An entry that names an earlier position in the chain replaces all after it (a cut). What stands before the first
//! entry that chains from the snapshot (without one: from the beginning) is what the snapshot holds already, or a branch
//! that was cut, whose beginning went with an older segment; it is dropped \[S8\]. Anything else that does not chain is
//! damage. Nothing can be missing unseen: batches and segments are numbered, and older segments were durable, to the
//! byte that the next one names, before that one was begun.

use super::segment::{self, Contents, Head, SegmentError};
use crate::volume::disk::{Disk, read_all};
use crate::volume::error::VolumeError;
use crate::volume::files::FOLDER;
use leasehold_replication::{DurableState, Entry, Position, Record, SnapshotMark};

/// An entry of the chain, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) entry: Entry,
    pub(crate) segment: u64,
    /// The byte in which its record begins there.
    pub(crate) offset: u64,
}

/// A journal as it was found. Nothing of it is known to be durable yet \[S2\].
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) state: DurableState,
    /// The snapshot that belongs to it.
    pub(crate) mark: Option<SnapshotMark>,
    /// What follows the snapshot.
    pub(crate) chain: Vec<Live>,
    /// The head of the newest segment.
    pub(crate) newest: Head,
    /// The segments before the newest one that were needed, oldest first.
    pub(crate) older: Vec<u64>,
    /// The newest segment ends in something that a crash tore, at this offset.
    pub(crate) torn: Option<u64>,
}

impl Replay {
    /// Where the log ends.
    pub(crate) fn last(&self) -> Position {
        let base = self.mark.map_or(Position::ZERO, |mark| mark.position);
        self.chain.last().map_or(base, |live| live.entry.position)
    }

    /// Never written to, but for promises.
    pub(crate) fn is_empty(&self) -> bool {
        self.state.cluster_id.is_none() && self.mark.is_none() && self.chain.is_empty()
    }
}

/// The numbers of the segments that are there.
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
pub(crate) fn replay(disk: &dyn Disk, numbers: &[u64]) -> Result<Option<Replay>, VolumeError> {
    let Some(newest) = numbers.last() else { return Ok(None) };
    let mut needed = vec![read(disk, *newest)?];
    let head = needed[0].head;
    let torn = needed[0].torn.then_some(needed[0].end);
    loop {
        let later = needed[needed.len() - 1].head;
        if later.number == head.first {
            break;
        }
        // `previous` is 0 only in a segment that stands alone, and numbers only go down: this ends.
        if later.previous == 0 || later.previous >= later.number || later.previous < head.first {
            return Err(damage(disk, later.number, 0, format!("it does not lead back to segment {}", head.first)));
        }
        if !numbers.contains(&later.previous) {
            return Err(damage(disk, later.previous, 0, format!("it is missing, segment {} follows it", later.number)));
        }
        let contents = read(disk, later.previous)?;
        if contents.torn || contents.end != later.previous_bytes {
            let what = format!("it was {} bytes long when segment {} began", later.previous_bytes, later.number);
            return Err(damage(disk, later.previous, contents.end, what));
        }
        needed.push(contents);
    }
    needed.reverse();

    let mark = needed.last().and_then(mark_of);
    let mut chain = Chain::new(mark.map_or(Position::ZERO, |mark| mark.position));
    let mut state: Option<DurableState> = None;
    for contents in &needed {
        let number = contents.head.number;
        for (at, (offset, record)) in contents.records.iter().enumerate() {
            match (at, record) {
                (0, Record::State(next)) | (1.., Record::State(next)) => {
                    if let Some(before) = state
                        && let Err(what) = follows(&before, next)
                    {
                        return Err(damage(disk, number, *offset, what));
                    }
                    state = Some(*next);
                }
                (0, _) => {
                    let what = "it does not begin with the durable state [S1]".to_owned();
                    return Err(damage(disk, number, *offset, what));
                }
                (1, Record::Snapshot(_)) => {}
                (_, Record::Snapshot(_)) => {
                    let what = "the mark of a snapshot is in the middle".to_owned();
                    return Err(damage(disk, number, *offset, what));
                }
                (_, Record::Entry(entry)) => {
                    if !chain.push(entry, number, contents.offsets[at]) {
                        let what = format!("entry {} names {}, which does not exist", entry.position, entry.previous);
                        return Err(damage(disk, number, *offset, what));
                    }
                }
            }
        }
    }
    let state = state.ok_or_else(|| damage(disk, *newest, 0, "it holds no durable state [S1]".to_owned()))?;
    needed.pop();
    let older = needed.iter().map(|contents| contents.head.number).collect();
    Ok(Some(Replay { state, mark, chain: chain.entries, newest: head, older, torn }))
}

/// May this state follow that one? A promise never goes down, nor does its incarnation change within a term, and a
/// volume belongs to one cluster.
pub(crate) fn follows(before: &DurableState, next: &DurableState) -> Result<(), String> {
    let (old, new) = (before.promise, next.promise);
    if new.term < old.term || (new.term == old.term && new.incarnation != old.incarnation) {
        return Err(format!("the promise {new} follows the promise {old}"));
    }
    if before.cluster_id.is_some() && next.cluster_id != before.cluster_id {
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

fn read(disk: &dyn Disk, number: u64) -> Result<Contents, VolumeError> {
    let name = segment::file_name(number);
    let io = |error| VolumeError::io(disk, &name, error);
    let bytes = read_all(&*disk.open(&name).map_err(io)?).map_err(io)?;
    match segment::read(&bytes) {
        Ok(contents) if contents.head.number != number => {
            Err(damage(disk, number, 0, format!("it says that it is segment {}", contents.head.number)))
        }
        Ok(contents) if contents.records.is_empty() => {
            Err(damage(disk, number, contents.end, "it does not begin with the durable state [S1]".to_owned()))
        }
        Ok(contents) => Ok(contents),
        Err(SegmentError::Format { found }) => Err(VolumeError::format(disk, &name, found)),
        Err(SegmentError::Damage { offset, what }) => Err(damage(disk, number, offset, what)),
    }
}

fn damage(disk: &dyn Disk, number: u64, offset: u64, what: String) -> VolumeError {
    VolumeError::Damage { file: disk.path(&segment::file_name(number)), offset, what }
}

/// The entries that follow the snapshot.
struct Chain {
    /// The snapshot's position; [`Position::ZERO`] without one.
    base: Position,
    entries: Vec<Live>,
}

impl Chain {
    fn new(base: Position) -> Chain {
        Chain { base, entries: Vec::new() }
    }

    /// Takes the next record of the journal. False: it follows nothing, and no crash explains that.
    fn push(&mut self, entry: &Entry, segment: u64, offset: u64) -> bool {
        let base = self.base;
        let keep = if entry.previous == base {
            0
        } else if entry.previous.seq < base.seq {
            // Before the snapshot: a cut that reaches below it, so what chained from it was cut, too. The branch that
            // the snapshot is of was written again behind.
            self.entries.clear();
            return true;
        } else {
            let at = (entry.previous.seq.0 - base.seq.0) as usize;
            match self.entries.get(at.wrapping_sub(1)) {
                Some(live) if live.entry.position == entry.previous => at,
                // With nothing chained, a branch that was cut.
                _ => return self.entries.is_empty(),
            }
        };
        self.entries.truncate(keep);
        self.entries.push(Live { entry: entry.clone(), segment, offset });
        true
    }
}
