//! The volume: opens it, makes everything that was found on it durable, and hands it over.
//!
//! ```text
//!   lock ▶ replica.json ▶ journal ▶ snapshot.json ▶ copy to a new segment, sync ▶ Opened
//!
//!   /data/lock                       held as long as the journal is open
//!        /replica.json               who this volume is
//!        /journal/<number>.segment   promises and entries
//!        /journal/reserve-1, -2      segments set aside for a disk that others filled
//!        /journal/*.tmp              segments that are being made: next, spare, reserve
//!        /snapshot.json              all data at one position
//!        /snapshot.taken             a snapshot that is being written
//!        /snapshot.next              complete; waits for the segment that begins with its mark
//!        /committed.json             a hint: what was committed here a moment ago
//!        /went-back.json             only on a volume that lost what it acknowledged: why it never votes again
//!        /diverged.json              only on a volume whose data are not those of the others: why it serves nothing
//!        /restore.json               the data of a backup, for the first start of this empty volume
//!        /force-bootstrap            an operator ran `bootstrap --force` on this empty volume
//!        /wiping                     the volume is being emptied; a start that finds it ends that first
//! ```
//!
//! For the driver:
//!
//! - [`Volume::open`] blocks (on the lock, then for as long as the amount of data requires): call it on a thread of its
//!   own, with the state `starting` meanwhile. [`Options::on_wait`] is called while another process holds the volume.
//! - [`Opened`] holds what `Replica::new` needs ([`Opened::replica`], [`Opened::recovered`]), the [`Documents`] **of the
//!   snapshot only** (the entries in `recovered` are applied when they are committed), and the [`Journal`].
//! - `Persist` is [`Journal::append`]; `InstallSnapshot` is [`Journal::install`] with the result of [`PartFile::finish`],
//!   whose `documents` are those from then on; `KeepPiece` is [`PartFile::push`], with a file from [`Journal::part_file`];
//!   `SendSnapshot` is [`Journal::open_snapshot`] and its pieces; `WipeVolume` is [`Journal::wipe`], then the end.
//! - The outcomes arrive at [`Options::events`], as [`JournalEvent`]s. At `Failed` this incarnation is over.
//!
//! A volume with `replica.json` and without a promise record does not start \[S1\]: it once promised something, but nobody
//! knows what.
//!
//! [`PartFile::finish`]: crate::volume::snapshot::PartFile::finish
//! [`PartFile::push`]: crate::volume::snapshot::PartFile::push

pub mod disk;
mod error;
pub mod files;
pub mod identity;
pub mod journal;
pub mod recover;
mod restore;
pub mod snapshot;
mod wipe;

#[cfg(test)]
mod tests;

use crate::volume::disk::watch::{DiskWatch, Watched};
use crate::volume::disk::{Disk, RealDisk, VolumeLock, remove_if_there};
use crate::volume::files::{DIVERGED, FOLDER, LOCK, REPLICA, RESTORE, SNAPSHOT, SNAPSHOT_NEXT, WENT_BACK, is_leftover};
use crate::volume::journal::{Journal, JournalEvent, OnFsync, Replay, Shared, Writer, file_name, number_of, recycle};
use crate::volume::snapshot::Loaded;
use leasehold_documents::{Command, Documents, FalseSum};
use leasehold_documents::{FORMAT, FORMAT_MIN};

pub use error::VolumeError;
use leasehold_replication::{Payload, Recovered, ReplicaId, SnapshotMark, SnapshotMeta, begins_anew};
pub use restore::{Restored, cluster_of};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The shortest segment of a small volume.
const SEGMENT_BYTES_MIN: u64 = 4 * 1024 * 1024;
/// How often a start checks whether the volume is free.
const LOCK_POLL: Duration = Duration::from_millis(100);
/// How often it logs that it is not.
const LOCK_SAY: Duration = Duration::from_secs(10);

/// How to open a volume.
pub struct Options {
    /// The length of a segment's file.
    pub segment_bytes: u64,
    /// A snapshot is wanted when the live journal is longer than both this and the snapshot.
    pub snapshot_after_bytes: u64,
    /// Receives the journal's events.
    pub events: Box<dyn Fn(JournalEvent) + Send>,
    /// Receives the time of each fdatasync that writes waited for.
    pub on_fsync: Arc<dyn Fn(Duration) + Send + Sync>,
    /// Called at once when another process holds the volume, and every 10 s after, with the time since the first call.
    pub on_wait: Box<dyn FnMut(Duration) + Send>,
    /// Watches the calls of the thread that opens the volume, and then of the journal's.
    pub watch: Arc<DiskWatch>,
    /// The highest format that is read: the build's, but for tests.
    pub format_build: u32,
}

impl Options {
    /// The usual figures (16 MiB, 64 MiB), without a watch.
    pub fn new(events: impl Fn(JournalEvent) + Send + 'static) -> Options {
        Options {
            segment_bytes: 16 * 1024 * 1024,
            snapshot_after_bytes: 64 * 1024 * 1024,
            events: Box::new(events),
            on_fsync: Arc::new(|_| {}),
            on_wait: Box::new(|_| {}),
            watch: Arc::default(),
            format_build: FORMAT,
        }
    }
}

/// Opens volumes.
#[derive(Debug)]
pub struct Volume;

/// An open volume, and what was found on it, all of it durable \[S2\].
pub struct Opened {
    /// The volume's identity.
    pub replica: ReplicaId,
    /// For `Replica::new`.
    pub recovered: Recovered,
    /// The data of the snapshot; empty without one. It does not include `recovered.entries`.
    pub documents: Documents,
    /// Accepts what must become durable.
    pub journal: Journal,
    /// An operator ran `bootstrap --force`, and the volume is empty.
    pub force_bootstrap: bool,
    /// What restore.json holds, if this volume may make a first start.
    pub restored: Option<Restored>,
    /// The data of the snapshot are not those that it was written for: this replica has diverged, by itself \[D3\].
    pub false_sum: Option<FalseSum>,
}

impl Volume {
    /// Opens the volume at `folder`, which it creates if necessary. Waits while another process holds it.
    ///
    /// # Errors
    /// [`VolumeError`]; see there for the exit codes.
    pub fn open(folder: &Path, options: Options) -> Result<Opened, VolumeError> {
        let io = |source| VolumeError::Io { path: folder.to_owned(), source };
        options.watch.watch_this_thread();
        let shown = || folder.display().to_string().into();
        let disk = options.watch.during("creation", shown, || RealDisk::new(folder)).map_err(io)?;
        Volume::open_on(Arc::new(disk), options)
    }

    /// As [`Volume::open`], on any disk.
    ///
    /// # Errors
    /// As there.
    pub fn open_on(disk: Arc<dyn Disk>, mut options: Options) -> Result<Opened, VolumeError> {
        let watch = options.watch.clone();
        watch.watch_this_thread();
        let disk: Arc<dyn Disk> = Arc::new(Watched::new(disk, watch.clone()));
        let lock = wait_for_lock(&*disk, &mut options.on_wait)?;
        // Reserved segments must not fill a small volume.
        if let Ok(Some(space)) = disk.space() {
            options.segment_bytes = options.segment_bytes.min((space.total_bytes / 64).max(SEGMENT_BYTES_MIN));
        }
        watch.read().begin(to_read(&*disk));
        let on_fsync = options.on_fsync.clone();
        let Found { replica, replay, snapshot, documents, writer, false_sum } =
            recover(&disk, options.segment_bytes, on_fsync, options.format_build)?;
        let io = |source| VolumeError::io(&*disk, "", source);

        let mut force_bootstrap = identity::is_bootstrap_forced(&*disk).map_err(io)?;
        if force_bootstrap && !writer.is_empty() {
            identity::forget_forced_bootstrap(&*disk).map_err(io)?;
            force_bootstrap = false;
        }
        let went_back = identity::went_back(&*disk, replica)?;
        let diverged = identity::diverged(&*disk, replica)?;
        let committed = identity::committed(&*disk);
        let recovered = match replay {
            Some(replay) => Recovered {
                state: replay.state,
                snapshot,
                entries: replay.chain.into_iter().map(|live| live.entry).collect(),
                committed,
                went_back,
                diverged,
                format: replay.newest.format,
            },
            None => Recovered {
                state: leasehold_replication::DurableState::EMPTY,
                snapshot: None,
                entries: Vec::new(),
                committed,
                went_back,
                diverged,
                format: FORMAT_MIN,
            },
        };
        let restored = if begins_anew(&recovered, force_bootstrap) {
            restore::read(&*disk, options.format_build)?
        } else {
            if identity::forget_restore(&*disk).map_err(io)? {
                tracing::warn!(
                    "removed restore.json: this volume belongs to a cluster, and only a first start restores"
                );
            }
            None
        };
        let shared = Arc::new(Shared::new(&writer, lock));
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn({
            let (disk, shared, watch) = (disk.clone(), shared.clone(), watch.clone());
            let Options { events, snapshot_after_bytes, .. } = options;
            let for_first_start = (force_bootstrap, restored.is_some());
            move || {
                watch.watch_this_thread();
                journal::run(writer, disk, shared, events, snapshot_after_bytes, for_first_start);
            }
        });
        let journal = Journal::new(disk.clone(), shared, thread.map_err(io)?, watch, options.format_build);
        Ok(Opened { replica, recovered, documents, journal, force_bootstrap, restored, false_sum })
    }
}

/// What was found on a volume and made durable.
pub(crate) struct Found {
    pub(crate) replica: ReplicaId,
    /// `None` on a new volume.
    pub(crate) replay: Option<Replay>,
    pub(crate) snapshot: Option<SnapshotMeta>,
    pub(crate) documents: Documents,
    pub(crate) writer: Writer,
    /// The snapshot's data do not have the sum that it says.
    pub(crate) false_sum: Option<FalseSum>,
}

/// Reads the volume, and makes what was read durable. The lock is held.
pub(crate) fn recover(
    disk: &Arc<dyn Disk>,
    segment_bytes: u64,
    on_fsync: OnFsync,
    format_max: u32,
) -> Result<Found, VolumeError> {
    let io = |source| VolumeError::io(&**disk, "", source);
    let folder_io = |source| VolumeError::io(&**disk, FOLDER, source);
    disk.create_folder(FOLDER).map_err(folder_io)?;
    // Visible names are not durable yet: what follows relies on them, and removes others.
    disk.sync_folder(FOLDER).map_err(folder_io)?;
    disk.sync_folder("").map_err(io)?;
    if wipe::is_wiping(&**disk).map_err(io)? {
        tracing::warn!("a wipe of this volume was interrupted: resuming it");
        wipe::wipe(&**disk).map_err(io)?;
    }
    let replica = identity::read(&**disk)?;
    let numbers = journal::numbers(&**disk)?;
    let replay = journal::replay(&**disk, &numbers, format_max)?;
    // Nothing is skipped, and nothing on the volume changes where this build cannot go on with it [C1].
    if let Some(replay) = &replay {
        check_known(&**disk, replay, format_max)?;
    }
    let (snapshot, documents, false_sum) = match check(&**disk, replica, replay.as_ref())? {
        Some(mark) => {
            let Loaded { meta, documents, false_sum, .. } = read_snapshot(&**disk, &mark, replay.as_ref(), format_max)?;
            (Some(meta), documents, false_sum)
        }
        None => (None, Documents::new(), None),
    };

    // `snapshot.next` too: it has its name now, or no durable segment ever referred to it.
    clean_leftovers(&**disk);
    if let Some(replay) = &replay {
        // The head of the newest segment names what it needs, and that was durable before the segment had its name.
        let needed: Vec<u64> = replay.older.iter().copied().chain([replay.newest.number]).collect();
        remove_segments_but(&**disk, &needed);
    }
    let writer = match &replay {
        Some(replay) => {
            if let Some(offset) = replay.torn {
                let file = disk.path(&file_name(replay.newest.number));
                tracing::warn!(file = %file.display(), offset, "cut off the journal's torn tail");
            }
            for name in [REPLICA, WENT_BACK, DIVERGED, SNAPSHOT] {
                sync_if_there(&**disk, name)?;
            }
            Writer::resume(disk.clone(), segment_bytes, on_fsync, replay)
        }
        None => Writer::begin(disk.clone(), segment_bytes, on_fsync),
    };
    let mut writer = writer.map_err(folder_io)?;
    let replica = match replica {
        Some(replica) => replica,
        None => {
            let replica = identity::fresh();
            identity::write(&**disk, replica).map_err(|error| VolumeError::io(&**disk, REPLICA, error))?;
            tracing::info!(%replica, "a new volume");
            replica
        }
    };
    clean(&**disk, &mut writer);
    Ok(Found { replica, replay, snapshot, documents, writer, false_sum })
}

/// How much a start reads, approximately: the journal, and the snapshot twice (its checksum first). Only to report
/// progress.
fn to_read(disk: &dyn Disk) -> u64 {
    let length = |name: &str| disk.open(name).and_then(|file| file.length()).unwrap_or(0);
    let numbers = journal::numbers(disk).unwrap_or_default();
    numbers.into_iter().map(|number| length(&file_name(number))).sum::<u64>()
        + 2 * length(SNAPSHOT)
        + 2 * length(RESTORE)
}

/// Does this build know all that stands in the log?
fn check_known(disk: &dyn Disk, replay: &Replay, max: u32) -> Result<(), VolumeError> {
    for live in &replay.chain {
        let what = match &live.entry.payload {
            Payload::Voters(voters) if voters.format > max => format!("voters of format {}", voters.format),
            Payload::Command(command) => match Command::check_known(command) {
                Ok(()) => continue,
                Err(unknown) => unknown.to_string(),
            },
            Payload::Voters(_) | Payload::Empty => continue,
        };
        let (file, position) = (disk.path(&file_name(live.segment)), live.entry.position);
        return Err(VolumeError::Unreadable { file, what: format!("entry {position} has {what}"), max });
    }
    Ok(())
}

/// Do the parts of the volume belong together? Gives the mark of the snapshot that has to be there.
fn check(
    disk: &dyn Disk,
    replica: Option<ReplicaId>,
    replay: Option<&Replay>,
) -> Result<Option<SnapshotMark>, VolumeError> {
    let damage =
        |file: &str, what: &str| VolumeError::Damage { file: disk.path(file), offset: 0, what: what.to_owned() };
    let stray = match disk.open(SNAPSHOT) {
        Ok(_) => replay.is_none_or(|replay| replay.mark.is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(VolumeError::io(disk, SNAPSHOT, error)),
    };
    match (replica, replay) {
        (Some(_), None) => Err(damage(
            FOLDER,
            "replica.json exists, but there is no promise record: what this replica promised is lost [S1]",
        )),
        (None, Some(replay)) if !replay.is_empty() || replay.state != leasehold_replication::DurableState::EMPTY => {
            Err(damage(REPLICA, "it is missing, but the volume holds data, whose owner is therefore unknown"))
        }
        _ if stray => Err(damage(SNAPSHOT, "the journal names no snapshot")),
        _ => Ok(replay.and_then(|replay| replay.mark)),
    }
}

/// Reads the snapshot that the journal refers to, after giving it its name if a crash came before that.
fn read_snapshot(
    disk: &dyn Disk,
    mark: &SnapshotMark,
    replay: Option<&Replay>,
    format_max: u32,
) -> Result<Loaded, VolumeError> {
    let io = |source| VolumeError::io(disk, SNAPSHOT, source);
    // Only a crash leaves one that waits for its name: usually the data is read once less.
    let waits = match disk.open(SNAPSHOT_NEXT) {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(io(error)),
    };
    if waits
        && !snapshot::fits(disk, SNAPSHOT, mark).map_err(io)?
        && snapshot::fits(disk, SNAPSHOT_NEXT, mark).map_err(io)?
    {
        // The segment that refers to it is durable under its name: it was synced before it got it, and the folder is now.
        journal::name_snapshot(disk).map_err(io)?;
    }
    let loaded = match snapshot::read(disk, SNAPSHOT, Some(mark), format_max) {
        Err(VolumeError::Io { source, path }) if source.kind() == io::ErrorKind::NotFound => {
            let what = "it is missing, but the journal begins after it".to_owned();
            return Err(VolumeError::Damage { file: path, offset: 0, what });
        }
        other => other?,
    };
    let cluster = replay.and_then(|replay| replay.state.cluster_id);
    if cluster != Some(loaded.meta.cluster_id) {
        let what = format!("it belongs to cluster {}, the journal to another", loaded.meta.cluster_id);
        return Err(VolumeError::Damage { file: disk.path(SNAPSHOT), offset: 0, what });
    }
    Ok(loaded)
}

/// Removes the segments that no start needs any longer, or sets them aside. One that cannot be removed does no harm.
pub(crate) fn clean(disk: &dyn Disk, writer: &mut Writer) {
    let needed: Vec<u64> = writer.segments().collect();
    let there = disk.list(FOLDER).unwrap_or_default().into_iter().filter_map(|name| number_of(&name));
    for number in there.filter(|number| !needed.contains(number)) {
        let Some(name) = writer.reserve().missing() else { break };
        match recycle(disk, &file_name(number), name, writer.segment_bytes()) {
            Ok(true) => writer.reserve().made(name),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(segment = number, %error, "cannot set aside a segment that is no longer needed")
            }
        }
    }
    remove_segments_but(disk, &needed);
}

fn remove_segments_but(disk: &dyn Disk, needed: &[u64]) {
    let there = disk.list(FOLDER).unwrap_or_default().into_iter().filter_map(|name| number_of(&name));
    for number in there.filter(|number| !needed.contains(number)) {
        remove(disk, &file_name(number));
    }
}

/// Removes what only an earlier process needed. Before anything is written: it may be what fills the disk.
fn clean_leftovers(disk: &dyn Disk) {
    for name in disk.list(FOLDER).unwrap_or_default().iter().filter(|name| name.ends_with(".tmp")) {
        remove(disk, &format!("{FOLDER}/{name}"));
    }
    for name in disk.list("").unwrap_or_default().iter().filter(|name| is_leftover(name)) {
        remove(disk, name);
    }
}

fn remove(disk: &dyn Disk, name: &str) {
    if let Err(error) = remove_if_there(disk, name) {
        tracing::warn!(file = name, %error, "cannot remove a file that is no longer needed");
    }
}

fn sync_if_there(disk: &dyn Disk, name: &str) -> Result<(), VolumeError> {
    match disk.open(name) {
        Ok(file) => file.sync().map_err(|error| VolumeError::io(disk, name, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(VolumeError::io(disk, name, error)),
    }
}

fn wait_for_lock(disk: &dyn Disk, on_wait: &mut dyn FnMut(Duration)) -> Result<VolumeLock, VolumeError> {
    let begun = Instant::now();
    let mut say_at = Duration::ZERO;
    loop {
        if let Some(lock) = disk.try_lock().map_err(|error| VolumeError::io(disk, LOCK, error))? {
            return Ok(lock);
        }
        let waited = begun.elapsed();
        if waited >= say_at {
            tracing::warn!(folder = %disk.path("").display(), seconds = waited.as_secs(), "another process holds the volume; waiting");
            on_wait(waited);
            say_at = waited + LOCK_SAY;
        }
        std::thread::sleep(LOCK_POLL);
    }
}
