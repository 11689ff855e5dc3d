//! Restores from the bucket as `backup restore` does, and compares.

use super::world::{Change, Object, World};
use crate::catalog::Catalog;
use crate::chain::{Fault, Step, Walk, locate};
use crate::changes::Mark;
use crate::point::Point;
use leasehold_replication::{ClusterId, Seq};

/// Where a restore leads to.
fn restore(world: &World, id: ClusterId, point: Point) -> Option<Mark> {
    let names: Vec<String> = world.bucket.keys().filter(|key| key.0 == id).map(|key| key.1.to_string()).collect();
    let catalog = Catalog::of(names.iter().map(|name| (&**name, 1)));
    let until = locate(&catalog, point).ok()?;
    let mut walk = Walk::new(&catalog, until);
    loop {
        match walk.step() {
            Step::Arrived => return walk.at(),
            Step::Lost => return None,
            Step::Load(full) => match world.bucket.get(&(id, full.name())) {
                Some(Object::Full(mark)) => walk.loaded(&full, *mark),
                _ => walk.failed(full.name(), Fault::Damaged, String::new(), None),
            },
            Step::Apply(file) => {
                let at = walk.at().expect("something is loaded");
                let Some(Object::Changes { begin, changes, end }) = world.bucket.get(&(id, file.name())) else {
                    walk.failed(file.name(), Fault::Missing, String::new(), Some(at));
                    continue;
                };
                let own = changes.iter().rev().find(|change| change.mark.seq <= at.seq).map_or(begin, |own| &own.mark);
                if own.hash != at.hash {
                    walk.failed(file.name(), Fault::OtherHistory, String::new(), Some(at));
                    continue;
                }
                let (mut now, mut is_done, mut is_true) = (at, false, true);
                for change in changes.iter().filter(|change| change.mark.seq > at.seq) {
                    if change.mark.seq > until.seq {
                        is_done = true;
                        break;
                    }
                    is_true &= Change::hash_after(now.hash, change.what) == change.mark.hash;
                    now = change.mark;
                }
                if !is_true {
                    walk.failed(file.name(), Fault::Damaged, String::new(), None);
                    continue;
                }
                if !is_done && end.seq <= until.seq {
                    now = *end;
                }
                is_done |= end.seq > until.seq;
                walk.applied(&file, now, is_done);
            }
        }
    }
}

/// The newest that can be restored.
pub(super) fn latest(world: &World, id: ClusterId) -> Result<Mark, String> {
    restore(world, id, Point::Latest).ok_or_else(|| format!("nothing of {id:?} can be restored"))
}

/// Where a list shows a gap.
pub(super) fn gaps(world: &World) -> usize {
    let id = world.live().id;
    let names: Vec<String> = world.bucket.keys().filter(|key| key.0 == id).map(|key| key.1.to_string()).collect();
    Catalog::of(names.iter().map(|name| (&**name, 1))).ranges().len().saturating_sub(1)
}

/// That entry can be restored, and is what the cluster had.
pub(super) fn at(world: &World, seq: u64) -> Result<(), String> {
    let mark = restore(world, world.live().id, Point::Seq(Seq(seq)));
    let is_right = mark.is_some_and(|mark| mark.hash == world.live().mark(seq).hash);
    if is_right { Ok(()) } else { Err(format!("entry {seq} is not restored, but {mark:?}")) }
}

/// Whatever is restored is what a cluster of that id had then.
pub(super) fn check(world: &mut World) -> Result<(), String> {
    let mut ids: Vec<ClusterId> = world.clusters.iter().map(|cluster| cluster.id).collect();
    ids.dedup();
    for id in ids {
        let most = world.clusters.iter().filter(|cluster| cluster.id == id).map(super::world::Cluster::end).max();
        let seq = world.below(most.unwrap_or(0) as usize + 1) as u64;
        for point in [Point::Latest, Point::Seq(Seq(seq))] {
            let Some(mark) = restore(world, id, point) else { continue };
            let of_id = world.clusters.iter().filter(|cluster| cluster.id == id && cluster.end() >= mark.seq.0);
            if !of_id.into_iter().any(|cluster| cluster.mark(mark.seq.0).hash == mark.hash) {
                return Err(format!("{id:?} at {point}: {mark:?} was never the cluster's state"));
            }
        }
    }
    Ok(())
}
