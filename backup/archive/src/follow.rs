//! Applies a file of changes to data, as far as a point demands, and compares the hash after each entry.
//!
//! ```text
//!   file:    begin 811 ─ 812 ─ 814 ─ 815 ─ end 830
//!   data at 814:          skipped │ 815 is applied       (if the file's own hash at 814 is that of the data)
//! ```

use crate::chain::{Fault, Until};
use crate::changes::{ChangesReader, Mark, ReadError};
use crate::time::Time;
use leasehold_documents::Change;
use leasehold_documents::replay::Replay;
use leasehold_replication::ClusterId;
use std::io::BufRead;

/// Entries between two copies of the data: where an entry is wrong, at most so many good ones before it are given up.
const COPY_EVERY: u64 = 256;

/// How far a file led.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Followed {
    /// Entries with changes that were applied.
    pub entries: u64,
    /// Changes of records and definitions in them.
    pub changes: u64,
    /// It has an entry behind the point.
    pub is_done: bool,
}

/// A file that could not be followed to its end. The data are those after a good entry: the last one, where the file was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// What kind of problem.
    pub fault: Fault,
    /// In words.
    pub why: String,
}

/// The state of these data.
pub fn mark_of(replay: &Replay) -> Mark {
    Mark { seq: replay.position(), time: Time::from_ms(replay.time_ms()), hash: replay.data_sum() }
}

/// Applies what the data do not have yet, and shows `seen` each entry of that which led to its hash. Where a later one does
/// not, entries that were shown may be taken back: another file that has them shows them again.
///
/// # Errors
/// [`Stopped`].
pub fn follow<R: BufRead>(
    reader: &mut ChangesReader<R>,
    cluster: ClusterId,
    replay: &mut Replay,
    until: Until,
    seen: &mut dyn FnMut(&Mark, &[Change]),
) -> Result<Followed, Stopped> {
    let begin = *reader.begin();
    if begin.cluster_id != cluster {
        let why = format!("it says that it is of the cluster {}", begin.cluster_id.0);
        return Err(Stopped { fault: Fault::OtherHistory, why });
    }
    let mut followed = Followed { entries: 0, changes: 0, is_done: false };
    // The file's own state up to the data's sequence.
    let mut at = begin.mark;
    let mut is_joined = false;
    // What an entry does wrongly cannot be undone. A copy costs nothing, but what is written after it copies what it changes.
    let mut good = replay.clone();
    while let Some(entry) = reader.next_entry().map_err(damaged)? {
        if entry.mark.seq <= replay.position() && !is_joined {
            at = entry.mark;
            continue;
        }
        if !is_joined {
            join(&at, replay)?;
            is_joined = true;
        }
        if entry.mark.seq > until.seq || until.time.is_some_and(|time| entry.mark.time > time) {
            followed.is_done = true;
            if until.time.is_none() {
                replay.pass(until.seq, at.time.ms());
            }
            return Ok(followed);
        }
        let changes = entry.changes().map_err(damaged)?;
        let applied = replay.apply(entry.mark.seq, entry.mark.time.ms(), &changes).map_err(damaged);
        let found = replay.data_sum();
        let compared = applied.and_then(|()| {
            let why = || format!("after entry {} the data have hash {found}, not {}", entry.mark.seq, entry.mark.hash);
            if found == entry.mark.hash { Ok(()) } else { Err(Stopped { fault: Fault::Damaged, why: why() }) }
        });
        if let Err(stopped) = compared {
            *replay = good;
            return Err(stopped);
        }
        seen(&entry.mark, &changes);
        at = entry.mark;
        followed.entries += 1;
        if followed.entries.is_multiple_of(COPY_EVERY) {
            good = replay.clone();
        }
        followed.changes += changes.len() as u64;
    }
    if !is_joined {
        join(&at, replay)?;
    }
    if let Some(end) = reader.end() {
        let is_behind = until.time.is_some_and(|time| end.mark.time > time);
        followed.is_done = is_behind || end.mark.seq > until.seq;
        if !is_behind {
            replay.pass(end.mark.seq.min(until.seq), end.mark.time.ms());
        }
    }
    Ok(followed)
}

/// Do the data stand where the file says?
fn join(at: &Mark, replay: &Replay) -> Result<(), Stopped> {
    let (seq, found) = (replay.position(), replay.data_sum());
    if at.seq > seq {
        let why = format!("it begins after entry {}, but the data are at {seq}", at.seq);
        return Err(Stopped { fault: Fault::Damaged, why });
    }
    if at.hash != found {
        let why =
            format!("at entry {seq} it has hash {}, but the data have {found}: it is of another history", at.hash);
        return Err(Stopped { fault: Fault::OtherHistory, why });
    }
    Ok(())
}

fn damaged(error: impl Into<FollowError>) -> Stopped {
    let error: FollowError = error.into();
    Stopped { fault: Fault::Damaged, why: error.to_string() }
}

/// Any of what can be wrong with content.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Entry(#[from] crate::changes::EntryError),
    #[error(transparent)]
    Replay(#[from] leasehold_documents::replay::ReplayError),
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
