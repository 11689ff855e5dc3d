//! The volume's identity (`replica.json`), and the marks that an operator or a decision leaves on it.
//!
//! ```text
//!   replica.json      {"format":1,"replica":"<uuid>"}   written last, when the first segment with promise 0 is durable
//!   force-bootstrap   an operator ran `bootstrap --force` on the empty volume; removed when it has data
//!   wiping            the volume is being emptied; a start that finds it ends that first
//!   committed.json    a hint: what was committed and durable here a moment ago, so that its loss is not silent
//!   went-back.json    this replica has lost what it acknowledged: it never votes again \[E2\]
//!   diverged.json     its data are not those of the others: it serves nothing \[D5\]
//! ```
//!
//! A volume with `replica.json` has had a promise record since before that file existed. If the journal is gone, so is the
//! promise, and such a volume does not start \[S1\].

use crate::volume::disk::{Disk, read_if_there, remove_if_there, replace, write_all_at};
use crate::volume::error::VolumeError;
use crate::volume::files::{COMMITTED, DIVERGED, FORCE_BOOTSTRAP, REPLICA, RESTORE, WENT_BACK};
use leasehold_documents::{FORMAT, FORMAT_MIN};
use leasehold_replication::{Diverged, Position, ReplicaId, WentBack};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use uuid::Uuid;

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    replica: ReplicaId,
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// Reads the identity; `None` on a volume that never had one.
///
/// # Errors
/// `Damage`, `Format`, or `Io`.
pub(crate) fn read(disk: &dyn Disk) -> Result<Option<ReplicaId>, VolumeError> {
    let Some(bytes) = read_if_there(disk, REPLICA).map_err(|error| VolumeError::io(disk, REPLICA, error))? else {
        return Ok(None);
    };
    let damage =
        |error: serde_json::Error| VolumeError::Damage { file: disk.path(REPLICA), offset: 0, what: error.to_string() };
    // The number alone first: the rest may differ in a later format.
    let Format { format } = serde_json::from_slice(&bytes).map_err(damage)?;
    if !(FORMAT_MIN..=FORMAT).contains(&format) {
        return Err(VolumeError::format(disk, REPLICA, format, FORMAT));
    }
    let stored: Stored = serde_json::from_slice(&bytes).map_err(damage)?;
    Ok(Some(stored.replica))
}

/// Makes a new identity, durably; in the lowest format, whatever the cluster has: the volume may go back \[C3\].
///
/// # Errors
/// Those of the disk.
pub(crate) fn write(disk: &dyn Disk, replica: ReplicaId) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(&Stored { format: FORMAT_MIN, replica })?;
    bytes.push(b'\n');
    replace(disk, REPLICA, &bytes)
}

/// A new identity.
pub(crate) fn fresh() -> ReplicaId {
    ReplicaId(Uuid::new_v4())
}

/// Notes the commit. It is a hint: it is not made durable by itself, and a torn one is ignored.
pub(crate) fn note_committed(disk: &dyn Disk, position: Position) -> io::Result<()> {
    let aside = format!("{COMMITTED}.tmp");
    let bytes = serde_json::to_vec(&position)?;
    write_all_at(&*disk.create(&aside)?, &bytes, 0)?;
    disk.rename(&aside, COMMITTED)
}

/// The noted commit; `ZERO` without a readable note.
pub(crate) fn committed(disk: &dyn Disk) -> Position {
    let noted = read_if_there(disk, COMMITTED).ok().flatten();
    noted.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or(Position::ZERO)
}

/// Marks the replica as one that went back in time, durably.
pub(crate) fn mark_went_back(disk: &dyn Disk, mark: &WentBack) -> io::Result<()> {
    write_mark(disk, WENT_BACK, mark)
}

/// The mark of this replica. A mark of another replica, which had the volume before, does not count.
///
/// # Errors
/// `Damage` or `Io`: an unreadable mark may be this replica's.
pub(crate) fn went_back(disk: &dyn Disk, replica: ReplicaId) -> Result<Option<WentBack>, VolumeError> {
    Ok(read_mark::<WentBack>(disk, WENT_BACK)?.filter(|mark| mark.replica == replica))
}

/// Marks the replica as one whose data have diverged, durably.
pub(crate) fn mark_diverged(disk: &dyn Disk, mark: &Diverged) -> io::Result<()> {
    write_mark(disk, DIVERGED, mark)
}

/// As [`went_back`].
///
/// # Errors
/// As there.
pub(crate) fn diverged(disk: &dyn Disk, replica: ReplicaId) -> Result<Option<Diverged>, VolumeError> {
    Ok(read_mark::<Diverged>(disk, DIVERGED)?.filter(|mark| mark.replica == replica))
}

fn write_mark(disk: &dyn Disk, name: &str, mark: &impl Serialize) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(mark)?;
    bytes.push(b'\n');
    replace(disk, name, &bytes)
}

fn read_mark<T: DeserializeOwned>(disk: &dyn Disk, name: &str) -> Result<Option<T>, VolumeError> {
    let Some(bytes) = read_if_there(disk, name).map_err(|error| VolumeError::io(disk, name, error))? else {
        return Ok(None);
    };
    let mark = serde_json::from_slice(&bytes).map_err(|error| VolumeError::Damage {
        file: disk.path(name),
        offset: 0,
        what: error.to_string(),
    })?;
    Ok(Some(mark))
}

pub(crate) fn is_bootstrap_forced(disk: &dyn Disk) -> io::Result<bool> {
    Ok(read_if_there(disk, FORCE_BOOTSTRAP)?.is_some())
}

pub(crate) fn force_bootstrap(disk: &dyn Disk) -> io::Result<()> {
    replace(disk, FORCE_BOOTSTRAP, b"this empty volume makes a new cluster when the store next starts\n")
}

pub(crate) fn forget_forced_bootstrap(disk: &dyn Disk) -> io::Result<()> {
    remove_if_there(disk, FORCE_BOOTSTRAP)?;
    disk.sync_folder("")
}

/// Removes the data of a backup that no start needs any longer, durably. True: there were any.
pub(crate) fn forget_restore(disk: &dyn Disk) -> io::Result<bool> {
    let was_there = match disk.open(RESTORE) {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    if was_there {
        remove_if_there(disk, RESTORE)?;
        disk.sync_folder("")?;
    }
    Ok(was_there)
}
