//! `restore.json`: the data of a backup, beside the files of an empty volume, for the first start of a new cluster.
//!
//! ```text
//!   an init container ──▶ restore.json ──this start, where the volume may make a first start──▶ Restored ──▶ the replica
//!                                      ──Journal::restore: all of it is on the volume, durably──▶ removed
//!                                      ──any other start──▶ removed, unread
//! ```
//!
//! It is shaped like `snapshot.json`, and read as [`Replay`] leaves data for a new cluster: expiry is paused, changes of
//! definitions that were pending are given up, and answers under keys are forgotten. Its position is (0, N): a term before all terms of the new cluster. Its cluster is the
//! one that it is from, and its voters are nobody; only their format counts.
//!
//! Whatever is wrong with it ends the start, and the volume stays empty: once the file is repaired, or removed, the start
//! succeeds.

#[cfg(test)]
mod tests;

use crate::volume::disk::{Disk, RealDisk};
use crate::volume::error::VolumeError;
use crate::volume::files::{FOLDER, RESTORE, WIPING};
use crate::volume::journal;
use crate::volume::snapshot::{self, Loaded};
use leasehold_documents::replay::Replay;
use leasehold_documents::{Documents, FORMAT};
use leasehold_replication::{ClusterId, Payload, Restore, Seq, Term};
use std::io;
use std::path::Path;

/// What the operator can do about a file that cannot be used.
const WAY_OUT: &str = "nothing was restored, and the volume is still empty: write the file again (backup restore --to), or \
                       remove it to begin without the backup";

/// The log of the new cluster has as much again before it.
const LAST_MAX: Seq = Seq(Seq::MAX.0 >> 1);

/// The data with which a first start may begin.
#[derive(Debug)]
pub struct Restored {
    /// For `Config`.
    pub restore: Restore,
    /// The data themselves.
    pub documents: Documents,
}

/// Reads it; `None` where there is none.
///
/// # Errors
/// `Damage` when it is not what a restore writes; `Format` when it is of a later format than that; `Io`.
pub(crate) fn read(disk: &dyn Disk, format_max: u32) -> Result<Option<Restored>, VolumeError> {
    let damage = |offset: u64, what: &dyn std::fmt::Display| VolumeError::Damage {
        file: disk.path(RESTORE),
        offset,
        what: format!("{what}; {WAY_OUT}"),
    };
    let Loaded { meta, documents, false_sum, .. } = match snapshot::read(disk, RESTORE, None, format_max) {
        Ok(loaded) => loaded,
        Err(VolumeError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(VolumeError::Damage { offset, what, .. }) => return Err(damage(offset, &what)),
        Err(other) => return Err(other),
    };
    if let Some(wrong) = false_sum {
        return Err(damage(0, &wrong));
    }
    let position = meta.position;
    if position.term != Term(0) {
        return Err(damage(0, &format!("it is at {position}, and what a first start restores is of term 0")));
    }
    if position.seq == Seq(0) || position.seq > LAST_MAX {
        return Err(damage(0, &format!("it is at sequence {}, where no data end", position.seq)));
    }
    // Also where somebody else has written the file: what waits and is kept was of the other cluster, and nothing expires
    // before an operator has looked.
    let documents = Replay::new(documents).into_restored().map_err(|wrong| damage(0, &wrong))?;
    let format = meta.voters.format.max(documents.format());
    Ok(Some(Restored { restore: Restore { position, format }, documents }))
}

/// The cluster to which the volume at `folder` belongs; `None` where it may still make a first start, or join, also where
/// there is no such folder. Only reads, takes no lock, and may run beside a store.
///
/// # Errors
/// As [`Volume::open`](crate::volume::Volume::open).
pub fn cluster_of(folder: &Path) -> Result<Option<ClusterId>, VolumeError> {
    match std::fs::read_dir(folder) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(VolumeError::Io { path: folder.to_owned(), source }),
    }
    let disk = RealDisk::existing(folder);
    let names = disk.list("").map_err(|error| VolumeError::io(&disk, "", error))?;
    // Where a wipe was interrupted, the next start ends it.
    if names.iter().any(|name| name == WIPING) || !names.iter().any(|name| name == FOLDER) {
        return Ok(None);
    }
    let Some(replay) = journal::replay(&disk, &journal::numbers(&disk)?, FORMAT)? else { return Ok(None) };
    let is_torn = replay.state.bootstrapping
        && replay.mark.is_none()
        && !replay.chain.iter().any(|live| matches!(live.entry.payload, Payload::Voters(_)));
    Ok(replay.state.cluster_id.filter(|_| !is_torn))
}
