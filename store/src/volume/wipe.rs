//! Empties a volume that belongs to a cluster which lost, so that it joins the other one.

use std::io;

use crate::volume::disk::{Disk, read_if_there, remove_if_there, replace};
use crate::volume::files::{
    COMMITTED, DIVERGED, FOLDER, FORCE_BOOTSTRAP, REPLICA, RESTORE, SNAPSHOT, WENT_BACK, WIPING, is_leftover,
};

pub(crate) fn is_wiping(disk: &dyn Disk) -> io::Result<bool> {
    Ok(read_if_there(disk, WIPING)?.is_some())
}

/// Empties the volume, whatever it holds. If interrupted, it resumes at the next start: a half-emptied volume never starts.
pub(crate) fn wipe(disk: &dyn Disk) -> io::Result<()> {
    replace(disk, WIPING, b"")?;
    remove_if_there(disk, REPLICA)?;
    remove_if_there(disk, FORCE_BOOTSTRAP)?;
    remove_if_there(disk, RESTORE)?;
    remove_if_there(disk, WENT_BACK)?;
    remove_if_there(disk, DIVERGED)?;
    remove_if_there(disk, COMMITTED)?;
    for name in disk.list("")? {
        if name == SNAPSHOT || is_leftover(&name) {
            remove_if_there(disk, &name)?;
        }
    }
    for name in disk.list(FOLDER)? {
        remove_if_there(disk, &format!("{}/{name}", FOLDER))?;
    }
    disk.sync_folder(FOLDER)?;
    disk.sync_folder("")?;
    remove_if_there(disk, WIPING)?;
    disk.sync_folder("")
}
