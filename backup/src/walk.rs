//! Carries out what the pure [`Walk`] decides: loads fulls, applies files, until the data are those of a point.

use crate::archive::{Archive, CommandError, damaged};
use crate::progress::{Progress, count};
use leasehold_archive::catalog::Edge;
use leasehold_archive::chain::{Fault, Problem, Step, Until, Walk, check_time, locate};
use leasehold_archive::changes::{ChangesReader, Mark};
use leasehold_archive::follow::{follow, mark_of};
use leasehold_archive::name::Name;
use leasehold_archive::point::Point;
use leasehold_archive::time::Time;
use leasehold_documents::Change;
use leasehold_documents::replay::Replay;
use std::collections::BTreeSet;

/// The data, and the way to them.
#[derive(Debug)]
pub struct Walker<'a> {
    archive: &'a Archive,
    walk: Walk<'a>,
    replay: Option<Replay>,
    /// What was used, in order.
    pub used: Vec<Name>,
}

/// Shown each entry that was applied; one more than once, where the way turned back to before it.
pub type Seen<'a> = &'a mut dyn FnMut(&Mark, &[Change]);

impl<'a> Walker<'a> {
    /// Stands before the way to `until`.
    pub fn new(archive: &'a Archive, until: Until) -> Walker<'a> {
        Walker { archive, walk: Walk::new(&archive.catalog, until), replay: None, used: Vec::new() }
    }

    /// Further on, from where it is.
    pub fn extend(&mut self, until: Until) {
        self.walk.extend(until);
    }

    /// Goes to the point. None: the archive does not lead there.
    ///
    /// # Errors
    /// The bucket, or keys.
    pub fn go(&mut self, progress: &mut Progress, seen: Seen<'_>) -> Result<Option<&Replay>, CommandError> {
        loop {
            match self.walk.step() {
                Step::Arrived => return Ok(self.replay.as_ref()),
                Step::Lost => return Ok(None),
                Step::Load(full) => {
                    self.replay = None;
                    match self.archive.load(&full, progress)? {
                        Ok(snapshot) => {
                            let replay = Replay::new(snapshot.documents);
                            self.walk.loaded(&full, mark_of(&replay));
                            self.used.push(full.name());
                            self.replay = Some(replay);
                        }
                        Err(bad) => self.fail(full.name(), bad.fault, bad.why, progress),
                    }
                }
                Step::Apply(file) => {
                    let Some(replay) = &mut self.replay else { return Ok(None) };
                    let (name, until, cluster) = (file.name(), self.walk.until(), self.archive.cluster);
                    let followed = self.archive.content(&name, progress, |content| {
                        let mut reader = ChangesReader::open(content).map_err(damaged)?;
                        let followed = follow(&mut reader, cluster, replay, until, seen);
                        followed.map_err(|stopped| crate::archive::Bad { fault: stopped.fault, why: stopped.why })
                    })?;
                    match followed {
                        Ok(followed) => {
                            progress.changes += followed.changes;
                            self.walk.applied(&file, mark_of(replay), followed.is_done);
                            self.used.push(name);
                        }
                        Err(bad) => self.fail(name, bad.fault, bad.why, progress),
                    }
                }
            }
        }
    }

    /// Says what was wrong, and looks for another way.
    fn fail(&mut self, name: Name, fault: Fault, why: String, progress: &Progress) {
        progress.say(&format!("{name}: {why}"));
        let mark = self.replay.as_ref().map(mark_of);
        self.walk.failed(name, fault, why, mark);
    }

    /// All objects that could not be used.
    pub fn problems(&self) -> &[Problem] {
        self.walk.problems()
    }

    /// Where the way ended, in words.
    pub fn gap(&self, point: Point) -> String {
        let gap = self.walk.gap(point);
        // The way may have led to one of them twice.
        let unusable: BTreeSet<Name> = self.problems().iter().map(|problem| problem.name).collect();
        let are = if unusable.len() == 1 { "is" } else { "are" };
        let why = format!("for {} of the archive {are} unusable", count(unusable.len() as u64, "object"));
        let at = |edge: Edge| format!("--at {}", edge.seq);
        match (gap.before, gap.after) {
            (Some(before), Some(after)) => format!(
                "{point} cannot be restored, {why}: it leads up to {before}, and again from {after}; use {} or {}",
                at(before),
                at(after)
            ),
            (Some(before), None) => {
                format!("{point} cannot be restored, {why}: it leads up to {before}; use {}", at(before))
            }
            (None, Some(after)) => {
                format!("{point} cannot be restored, {why}: it leads to nothing before {after}; use {}", at(after))
            }
            (None, None) => format!("{point} cannot be restored, {why}: no full is left that can be used"),
        }
    }

    /// The data.
    pub fn into_replay(self) -> Option<Replay> {
        self.replay
    }
}

/// The data of a point.
///
/// # Errors
/// The archive does not lead there; the bucket, or keys.
pub fn restored(archive: &Archive, point: Point, progress: &mut Progress) -> Result<Replay, CommandError> {
    let until = locate(&archive.catalog, point).map_err(|error| CommandError::Said(error.to_string()))?;
    let mut walker = Walker::new(archive, until);
    if walker.go(progress, &mut |_, _| ())?.is_none() {
        return Err(CommandError::Said(walker.gap(point)));
    }
    let replay = walker.into_replay().ok_or_else(|| CommandError::Said(format!("{point} has no data")))?;
    let edge = Edge { seq: replay.position(), time: Time::from_ms(replay.time_ms()) };
    check_time(&archive.catalog, point, edge).map_err(|error| CommandError::Said(error.to_string()))?;
    Ok(replay)
}
