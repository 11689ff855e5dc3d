//! What to read to reach a point: the newest full before it, then files of changes, one after the other.
//!
//! ```text
//!   Catalog, Point ──locate──▶ Until ──▶ Walk ──Load(full)──▶ shell ──loaded(mark)──────▶ Walk
//!                                             ──Apply(file)─▶ shell ──applied(mark)─────▶
//!                                                                   ──failed(name, why)─▶ another way, or Lost
//! ```
//!
//! Ways: two agents' files may overlap, so where one is damaged, lost, or of another history, another may lead on. A full that
//! cannot be used gives way to an older one. Where the hash of all files differs from that of the data, the full may be the one
//! that is wrong: then an older full is tried, too. Each full is tried once.
//!
//! Not decided here: whether bytes are good. The shell reads them, and says so.

use crate::catalog::{Catalog, Edge, File, Full, Range};
use crate::changes::Mark;
use crate::name::Name;
use crate::point::Point;
use crate::time::Time;
use leasehold_replication::Seq;
use std::collections::BTreeSet;
use std::fmt;

/// Up to where entries are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Until {
    /// The last entry.
    pub seq: Seq,
    /// Only entries with at most this time.
    pub time: Option<Time>,
}

/// A point that the archive does not lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// The point.
    pub point: Point,
    /// The last entry before it that can be restored.
    pub before: Option<Edge>,
    /// The first one after it.
    pub after: Option<Edge>,
}

/// Finds a point in the archive, by the names.
///
/// # Errors
/// It is before the first full, behind the end, or inside a gap: both edges are named.
pub fn locate(catalog: &Catalog, point: Point) -> Result<Until, Unreachable> {
    let ranges = catalog.ranges();
    let unreachable = |before: Option<&Range>, after: Option<&Range>| Unreachable {
        point,
        before: before.map(|range| range.to),
        after: after.map(|range| range.from),
    };
    let begun = match point {
        Point::Latest => ranges.len(),
        Point::Seq(seq) => ranges.partition_point(|range| range.from.seq <= seq),
        Point::Time(time) => ranges.partition_point(|range| range.from.time <= time),
    };
    let (before, after) = (begun.checked_sub(1).and_then(|at| ranges.get(at)), ranges.get(begun));
    let range = before.ok_or_else(|| unreachable(None, after))?;
    let (until, is_inside) = match point {
        Point::Latest => (Until { seq: range.to.seq, time: None }, true),
        Point::Seq(seq) => (Until { seq, time: None }, seq <= range.to.seq),
        // Behind a gap's first edge may be entries of the same time, that the archive does not have.
        Point::Time(time) => {
            let is_inside = time < range.to.time || (time == range.to.time && after.is_none());
            (Until { seq: range.to.seq, time: Some(time) }, is_inside)
        }
    };
    if is_inside { Ok(until) } else { Err(unreachable(before, after)) }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unreachable { point, before, after } = self;
        match (before, after) {
            (Some(before), Some(after)) => write!(
                f,
                "{point} is inside a gap of the archive: it leads up to {before}, and again from {after}; use --at {} or --at {}",
                before.seq, after.seq
            ),
            (Some(before), None) => {
                write!(f, "{point} is behind the end of the archive, {before}; use --at latest for that")
            }
            (None, Some(after)) => {
                write!(f, "{point} is before the archive begins, with {after}; use --at {} for that", after.seq)
            }
            (None, None) => write!(f, "the archive has no full of this cluster, so nothing can be restored"),
        }
    }
}

impl std::error::Error for Unreachable {}

/// A time that ends at an entry without one: nobody can say whether it is earlier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeless {
    /// The time.
    pub time: Time,
    /// The entry where the way ended.
    pub at: Seq,
    /// The first entry whose time the archive's names say.
    pub first: Option<Edge>,
}

/// Checks the entry at which the way to a point ended.
///
/// # Errors
/// The point is a time, and no leader had said one yet at that entry.
pub fn check_time(catalog: &Catalog, point: Point, at: Edge) -> Result<(), Timeless> {
    match point {
        Point::Time(time) if !at.time.is_said() => {
            let fulls = catalog.fulls().iter().map(|full| full.edge);
            let edges = fulls.chain(catalog.files().iter().map(|file| file.last));
            Err(Timeless { time, at: at.seq, first: edges.filter(|edge| edge.time.is_said()).min() })
        }
        Point::Latest | Point::Seq(_) | Point::Time(_) => Ok(()),
    }
}

impl fmt::Display for Timeless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Timeless { time, at, first } = self;
        write!(f, "{time} is before the first time that the archive knows: entries up to {at} have none")?;
        let or = first.map_or(String::new(), |edge| format!(", and the next time in its names is that of {edge}"));
        write!(f, "{or}; choose an entry by its sequence, as --at {at}")
    }
}

impl std::error::Error for Timeless {}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Load this full, whatever is in memory.
    Load(Full),
    /// Apply this file to the data in memory.
    Apply(File),
    /// The data in memory are those of the point.
    Arrived,
    /// No way is left.
    Lost,
}

/// What was wrong with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not there.
    Missing,
    /// It cannot be read, or what was read is not what it must be.
    Damaged,
    /// It begins with other data than those in memory.
    OtherHistory,
}

/// An object that could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The object.
    pub name: Name,
    /// What kind of problem.
    pub fault: Fault,
    /// In words.
    pub why: String,
}

/// The way to a point.
#[derive(Debug)]
pub struct Walk<'a> {
    catalog: &'a Catalog,
    until: Until,
    /// Tried already.
    fulls: BTreeSet<Name>,
    /// Not to be used again.
    bad: BTreeSet<Name>,
    /// Of those, the ones that may fit another full.
    other: BTreeSet<Name>,
    /// The data in memory.
    at: Option<Mark>,
    /// An entry behind the point was seen.
    is_done: bool,
    problems: Vec<Problem>,
    /// How far it led at best.
    best: Option<Mark>,
}

impl<'a> Walk<'a> {
    /// To this point.
    pub fn new(catalog: &'a Catalog, until: Until) -> Walk<'a> {
        let (fulls, bad, other) = Default::default();
        Walk { catalog, until, fulls, bad, other, at: None, is_done: false, problems: Vec::new(), best: None }
    }

    /// The point.
    pub fn until(&self) -> Until {
        self.until
    }

    /// Continues to a later point, from where it is.
    pub fn extend(&mut self, until: Until) {
        self.until = until;
        self.is_done = false;
    }

    /// What to do next. The answer is the same until something is reported.
    pub fn step(&mut self) -> Step {
        loop {
            let Some(at) = self.at else {
                return match self.full() {
                    Some(full) => Step::Load(full),
                    None => Step::Lost,
                };
            };
            if self.is_done || at.seq >= self.until.seq {
                return Step::Arrived;
            }
            if let Some(file) = self.file(at.seq) {
                return Step::Apply(file);
            }
            if self.other.is_empty() {
                return Step::Lost;
            }
            // No file fits the data: they may be what is wrong.
            for name in std::mem::take(&mut self.other) {
                self.bad.remove(&name);
            }
            self.at = None;
        }
    }

    /// The full is in memory.
    pub fn loaded(&mut self, full: &Full, mark: Mark) {
        self.fulls.insert(full.name());
        self.arrive(mark);
    }

    /// The file was applied as far as the point demands. `is_done`: it has an entry behind the point.
    pub fn applied(&mut self, file: &File, mark: Mark, is_done: bool) {
        if self.at.is_some_and(|at| at.seq >= mark.seq) && !is_done {
            // Its name promised more.
            self.bad.insert(file.name());
        }
        self.is_done = is_done;
        self.arrive(mark);
    }

    /// An object cannot be used. `mark`: the data in memory, which are good; they may have come further.
    pub fn failed(&mut self, name: Name, fault: Fault, why: String, mark: Option<Mark>) {
        self.fulls.insert(name);
        self.bad.insert(name);
        if fault == Fault::OtherHistory {
            self.other.insert(name);
        }
        self.problems.push(Problem { name, fault, why });
        self.at = None;
        if let Some(mark) = mark {
            self.arrive(mark);
        }
    }

    /// All objects that could not be used.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The data in memory.
    pub fn at(&self) -> Option<Mark> {
        self.at
    }

    /// Where the way ends: how far it led at best, and where the archive leads on.
    pub fn gap(&self, point: Point) -> Unreachable {
        let before = self.best.map(|mark| Edge { seq: mark.seq, time: mark.time });
        let from = before.map_or(Seq(0), |edge| edge.seq);
        let after = self.catalog.fulls().iter().find(|full| full.edge.seq > from && !self.bad.contains(&full.name()));
        Unreachable { point, before, after: after.map(|full| full.edge) }
    }

    fn arrive(&mut self, mark: Mark) {
        self.at = Some(mark);
        if self.best.is_none_or(|best| best.seq < mark.seq) {
            self.best = Some(mark);
        }
    }

    /// The newest full before the point that was not tried.
    fn full(&self) -> Option<Full> {
        let Until { seq, time } = self.until;
        let fits = |full: &&Full| full.edge.seq <= seq && time.is_none_or(|time| full.edge.time <= time);
        let is_new = |full: &&Full| !self.fulls.contains(&full.name());
        self.catalog.fulls().iter().rev().filter(fits).find(is_new).copied()
    }

    /// The file that leads furthest from there.
    fn file(&self, at: Seq) -> Option<File> {
        let usable = self.catalog.after(at).filter(|file| !self.bad.contains(&file.name()));
        usable.max_by_key(|file| (file.last.seq, file.first)).copied()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
