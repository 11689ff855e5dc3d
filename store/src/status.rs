//! status.json: the status of the state machine, written where the sidecar reads it.
//!
//! ```text
//!   driver ──latest StatusFile (watch)──▶ writer task ──blocking thread──▶ replace_file(status.json)
//! ```
//!
//! Written on every change; if only the position or other figures changed, at most once a second. The driver never waits
//! for it. The lock (status.lock) is acquired before the first write, so a sidecar that reads an incarnation knows that it
//! is alive.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use leasehold_contract::replication as contract;
use leasehold_contract::{OutOfRoom, ProgressInfo, RoomKind, STATUS_FILE, StatusFile, StatusLock, replace_file};
use leasehold_replication::{Incarnation, Level, ReplicaId, Status};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::room::Figures;

/// How often the position alone is written.
const POSITION_PAUSE: Duration = Duration::from_secs(1);
/// Pause after a write that failed (no directory, no room).
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How often a wait for the lock is logged.
const WAIT_SAID: Duration = Duration::from_secs(10);

/// The version of this program in status.json.
const APP_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The content of status.json before there is a replica.
pub fn starting(incarnation: Incarnation) -> StatusFile {
    contract::starting(incarnation, APP_VERSION)
}

/// The content of status.json for a replica.
pub fn file(incarnation: Incarnation, replica: ReplicaId, status: &Status) -> StatusFile {
    contract::status_file(incarnation, replica, status, APP_VERSION)
}

/// What the state machine does not know, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asides {
    /// The present long operation.
    pub progress: Option<ProgressInfo>,
    /// The limits that are exceeded.
    pub out_of_room: Vec<OutOfRoom>,
    /// What waits for more room.
    pub waits_for_room: Option<String>,
    /// What of the collections file was refused.
    pub refused_definitions: Option<String>,
}

impl Asides {
    /// Adds them to the content of status.json.
    pub fn put(self, file: &mut StatusFile) {
        (file.progress, file.out_of_room, file.waits_for_room) = (self.progress, self.out_of_room, self.waits_for_room);
        file.refused_definitions = self.refused_definitions;
    }
}

/// The limits that are exceeded, by the account.
pub fn out_of_room(figures: &Figures) -> Vec<OutOfRoom> {
    let memory = (figures.room.memory >= Level::Over).then_some(OutOfRoom {
        what: RoomKind::Memory,
        used_bytes: figures.memory_used_bytes,
        allowed_bytes: figures.memory_allowed_bytes,
    });
    let disk = figures.disk_used_bytes.zip(figures.disk_allowed_bytes).filter(|_| figures.room.disk >= Level::Over);
    let disk = disk.map(|(used_bytes, allowed_bytes)| OutOfRoom { what: RoomKind::Disk, used_bytes, allowed_bytes });
    memory.into_iter().chain(disk).collect()
}

/// Acquires status.lock, however long that takes: an earlier run of this store may still be ending, or the directory may
/// not exist yet. It uses a thread of its own, because a runtime would wait for a blocking task that may never end.
pub async fn lock(dir: &Path) -> StatusLock {
    let dir: Arc<Path> = dir.into();
    loop {
        let (sender, receiver) = oneshot::channel();
        let locked = Arc::clone(&dir);
        let thread = std::thread::Builder::new().name("status-lock".into());
        let spawned = thread.spawn(move || {
            // Nobody waits any longer when the process ends; then the lock goes with it.
            let _ = sender.send(StatusLock::acquire(&locked));
        });
        let mut taken = std::pin::pin!(async {
            spawned?;
            receiver.await.unwrap_or_else(|_| Err(std::io::Error::other("the thread that takes status.lock ended")))
        });
        loop {
            match tokio::time::timeout(WAIT_SAID, &mut taken).await {
                Ok(Ok(lock)) => return lock,
                Ok(Err(error)) => {
                    warn!(dir = %dir.display(), %error, "cannot take status.lock, trying again");
                    break tokio::time::sleep(RETRY_PAUSE).await;
                }
                Err(_) => info!(dir = %dir.display(), "waiting for status.lock: an earlier store still holds it"),
            }
        }
    }
}

/// Writes the latest status.json again and again, until the sender is dropped; then writes the last one.
pub async fn write(dir: PathBuf, mut latest: watch::Receiver<StatusFile>) {
    let dir: Arc<Path> = dir.into();
    let mut written: Option<StatusFile> = None;
    let mut written_at = Instant::now();
    let mut failures = 0_u32;
    loop {
        let next = latest.borrow_and_update().clone();
        let last_moment = latest.has_changed().is_err();
        let due = match &written {
            None => Some(Instant::now()),
            Some(last) if *last == next => None,
            Some(last) if is_figures_alone(last, &next) && !last_moment => Some(written_at + POSITION_PAUSE),
            Some(_) => Some(Instant::now()),
        };
        if due.is_some_and(|due| due <= Instant::now()) {
            match replace(&dir, &next).await {
                Ok(()) => {
                    if failures > 0 {
                        info!(failures, "wrote status.json again");
                    }
                    (written, written_at, failures) = (Some(next), Instant::now(), 0);
                    continue;
                }
                Err(_) if last_moment => return,
                Err(error) => {
                    if failures == 0 {
                        error!(dir = %dir.display(), %error, "cannot write status.json: the sidecar sees an old state");
                    }
                    failures += 1;
                    tokio::time::sleep(RETRY_PAUSE).await;
                    continue;
                }
            }
        }
        if last_moment {
            return;
        }
        // An error means that no sender is left; the next round writes what remains and ends.
        match due {
            None => drop(latest.changed().await),
            Some(due) => drop(tokio::time::timeout_at(due, latest.changed()).await),
        }
    }
}

/// If anything changed, was it only the position, and figures that were reported before?
pub fn is_figures_alone(last: &StatusFile, next: &StatusFile) -> bool {
    let task = |file: &StatusFile| file.progress.as_ref().map(|progress| (progress.what, progress.since_unix_ms));
    let limits = |file: &StatusFile| file.out_of_room.iter().map(|out| out.what).collect::<Vec<_>>();
    task(last) == task(next)
        && limits(last) == limits(next)
        && StatusFile {
            position: next.position,
            progress: next.progress.clone(),
            out_of_room: next.out_of_room.clone(),
            holds_until_boottime_ns: next.holds_until_boottime_ns,
            ..last.clone()
        } == *next
}

async fn replace(dir: &Arc<Path>, status: &StatusFile) -> std::io::Result<()> {
    let bytes = status.to_json();
    let dir = Arc::clone(dir);
    tokio::task::spawn_blocking(move || replace_file(&dir, STATUS_FILE, &bytes)).await.map_err(std::io::Error::other)?
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use leasehold_contract::{Doing, PositionInfo, State, read_json};
    use leasehold_testkit::until_seen;
    use uuid::Uuid;

    const LONG: Duration = Duration::from_secs(10);

    fn at(term: u64, sequence: u64) -> StatusFile {
        StatusFile { position: PositionInfo { term, sequence }, ..starting(Incarnation(Uuid::from_u128(7))) }
    }

    async fn until(dir: &Path, wanted: impl Fn(&StatusFile) -> bool) -> StatusFile {
        let look = || read_json::<StatusFile>(&dir.join(STATUS_FILE));
        until_seen("status.json is as wanted", look, |found| found.as_ref().is_ok_and(&wanted)).await.unwrap()
    }

    #[tokio::test]
    async fn changes_are_written_at_once_and_the_position_alone_at_leisure() {
        let dir = tempfile::tempdir().unwrap();
        let (sender, latest) = watch::channel(at(0, 0));
        let task = tokio::spawn(write(dir.path().to_owned(), latest));
        assert_eq!(until(dir.path(), |_| true).await.state, State::Starting);
        let began = Instant::now();
        for sequence in 1..=3 {
            sender.send_replace(at(1, sequence));
        }
        until(dir.path(), |found| found.position.sequence == 3).await;
        assert!(began.elapsed() >= POSITION_PAUSE / 2, "the position was written at once");
        let began = Instant::now();
        sender.send_replace(StatusFile { campaign: Some(1), ..at(1, 4) });
        until(dir.path(), |found| found.campaign == Some(1) && found.position.sequence == 4).await;
        assert!(began.elapsed() < POSITION_PAUSE / 2, "a campaign waited for the position's turn");
        sender.send_replace(StatusFile { campaign: Some(1), ..at(1, 5) });
        drop(sender);
        tokio::time::timeout(LONG, task).await.expect("it writes for nobody").unwrap();
        assert_eq!(until(dir.path(), |_| true).await.position.sequence, 5, "the last word was not written");
    }

    #[tokio::test]
    async fn a_directory_that_is_not_there_yet_is_waited_for() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("later");
        let (sender, latest) = watch::channel(at(1, 1));
        let task = tokio::spawn(write(dir.clone(), latest));
        let waiting = dir.clone();
        let mut locked = tokio::spawn(async move { lock(&waiting).await });
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut locked).await.is_err());
        std::fs::create_dir(&dir).unwrap();
        until(&dir, |found| found.position.sequence == 1).await;
        let held = tokio::time::timeout(LONG, locked).await.expect("the lock was never taken").unwrap();
        assert!(leasehold_contract::is_locked(&dir, leasehold_contract::LOCK_FILE).unwrap());
        drop((held, sender));
        task.await.unwrap();
    }

    #[tokio::test]
    async fn an_earlier_store_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let earlier = lock(dir.path()).await;
        let path = dir.path().to_owned();
        let mut later = tokio::spawn(async move { lock(&path).await });
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut later).await.is_err(), "two hold it");
        drop(earlier);
        tokio::time::timeout(LONG, later).await.expect("the lock was never taken").unwrap();
    }

    #[test]
    fn figures_are_told_at_leisure_and_what_they_are_of_at_once() {
        let progress = |what, done| ProgressInfo {
            what,
            done_bytes: Some(done),
            of_bytes: Some(9),
            done_entries: None,
            of_entries: None,
            since_unix_ms: 5,
        };
        let out = |what, used_bytes| OutOfRoom { what, used_bytes, allowed_bytes: 5 };
        let file = |progress, out_of_room| {
            let mut file = at(1, 1);
            Asides { progress, out_of_room, ..Asides::default() }.put(&mut file);
            file
        };
        let before = file(Some(progress(Doing::Join, 1)), vec![out(RoomKind::Disk, 6)]);
        assert!(is_figures_alone(&before, &file(Some(progress(Doing::Join, 2)), vec![out(RoomKind::Disk, 7)])));
        assert!(!is_figures_alone(&before, &file(Some(progress(Doing::Snapshot, 1)), vec![out(RoomKind::Disk, 6)])));
        assert!(!is_figures_alone(&before, &file(None, vec![out(RoomKind::Disk, 6)])));
        assert!(!is_figures_alone(&before, &file(Some(progress(Doing::Join, 1)), vec![out(RoomKind::Memory, 6)])));
        assert!(!is_figures_alone(&before, &StatusFile { waits_for_room: Some(String::new()), ..before.clone() }));
    }

    #[test]
    fn only_what_is_exceeded_is_out_of_room() {
        let room = |memory, disk| leasehold_replication::Room { memory, disk };
        let figures = |room| Figures {
            room,
            memory_used_bytes: 7,
            memory_allowed_bytes: 6,
            disk_used_bytes: Some(9),
            disk_allowed_bytes: Some(8),
            log_is_large: false,
        };
        let kinds = |room| out_of_room(&figures(room)).iter().map(|out| (out.what, out.used_bytes)).collect::<Vec<_>>();
        assert_eq!(kinds(room(Level::Near, Level::Enough)), []);
        assert_eq!(kinds(room(Level::Over, Level::Full)), [(RoomKind::Memory, 7), (RoomKind::Disk, 9)]);
    }
}
