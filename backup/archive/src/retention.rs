//! What may be deleted: what no point within the window needs, and fulls of which there are enough newer ones.
//!
//! ```text
//!   fulls   F1      F2      F3      F4      F5         (verified)       keep.point_in_time = ├────────┤, keep.fulls = 3
//!   files      ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒░░░░░░░░░░░░
//!                                   ├────────┤ the window ends at the newest verified full
//!                           F3 ◀── the newest verified full at or before its begin: from there on all is kept
//!           F1, F2: F1 goes (three newer ones), so does F2; the files ▒ go
//! ```
//!
//! Age is measured from the newest verified full's time, never by a clock: an agent whose clock jumps deletes nothing more. The
//! leaders' clocks may jump, too, so the time between two verified fulls counts as at most `step_max_ms`: then, and where no
//! full was taken for a while, more is kept than is needed. As long as the newest full has no time, nothing goes. Fulls that were not verified do not count, and go with those around them.
//!
//! The order is safe if it stops anywhere: files first (older points are lost, those of the window are not), then the marks of
//! fulls, then the fulls.

use crate::catalog::{Catalog, Full};
use crate::name::Name;
use leasehold_replication::Seq;

/// What is kept at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// How far back any point in time can be restored, in milliseconds before the newest verified full.
    pub point_in_time_ms: u64,
    /// How many verified fulls.
    pub fulls: usize,
    /// The time from one verified full to the next counts as at most this many milliseconds: a leader's clock that jumped
    /// makes nothing older than it is.
    pub step_max_ms: u64,
}

/// What may be deleted, in this order: all of one stage before the next.
pub fn prunable(catalog: &Catalog, keep: Keep) -> Vec<Vec<Name>> {
    let verified: Vec<&Full> = catalog.fulls().iter().filter(|full| full.verified).collect();
    let Some(base) = base(&verified, keep) else { return Vec::new() };
    let files = catalog.files().iter().filter(|file| file.last.seq <= base);
    let files: Vec<Name> = files.map(|file| file.name()).collect();
    let oldest = oldest(&verified, keep.fulls).min(base);
    let gone: Vec<&Full> = catalog.fulls().iter().filter(|full| full.edge.seq < oldest).collect();
    let is_gone = |mark: &&Name| mark.last() < oldest;
    let mut marks: Vec<Name> = gone.iter().filter(|full| full.verified).map(|full| full.mark()).collect();
    marks.extend(catalog.orphans().iter().filter(is_gone));
    marks.sort_unstable();
    marks.dedup();
    let fulls: Vec<Name> = gone.iter().map(|full| full.name()).collect();
    [files, marks, fulls].into_iter().filter(|stage| !stage.is_empty()).collect()
}

/// The full that the window's first point begins with; none: everything is needed.
fn base(verified: &[&Full], keep: Keep) -> Option<Seq> {
    let newest = verified.last().filter(|newest| newest.edge.time.is_said())?;
    let (mut later, mut age_ms) = (newest.edge.time.ms(), 0_u64);
    for full in verified.iter().rev().take_while(|full| full.edge.time.is_said()) {
        let time = full.edge.time.ms();
        age_ms = age_ms.saturating_add(later.saturating_sub(time).min(keep.step_max_ms));
        if age_ms >= keep.point_in_time_ms {
            return Some(full.edge.seq);
        }
        later = later.min(time);
    }
    None
}

/// The oldest of the newest `fulls`; 0 if there are not more.
fn oldest(verified: &[&Full], fulls: usize) -> Seq {
    let mut entries: Vec<Seq> = verified.iter().map(|full| full.edge.seq).collect();
    // One entry may have a plain and an encrypted full.
    entries.dedup();
    entries.len().checked_sub(fulls.max(1)).and_then(|at| entries.get(at)).copied().unwrap_or(Seq(0))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
