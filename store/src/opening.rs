//! Opens the volume on a thread that may block, while the API already answers: alive, not ready, and saying what the start
//! waits for.
//!
//! ```text
//!   thread: Volume::open ──no room──▶ waits, opens again ──▶ Opened
//!                 │ Obstacles, bytes that are read, a call that hangs
//!   this task ◀───┴── looks every second ──▶ the API's words, status.json, the log
//! ```
//!
//! A volume without room for the files of a start does not end the process: a restart would not help, and an operator may
//! make room meanwhile. Then everything is read again, as by a new process \[S2\].

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use leasehold_contract::{Doing, ProgressInfo, StatusFile};
use tokio::sync::watch;
use tokio::task::JoinError;
use tracing::{info, warn};

use crate::handle::HandleServer;
use crate::progress::{self, Progress, unix_ms};
use crate::volume::disk::is_full;
use crate::volume::disk::watch::{DiskWatch, UnderWay};
use crate::volume::{Opened, Options, Volume, VolumeError};

/// How often to check what the start waits for.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// How often a hung disk is logged, in checks.
const HANG_SAID: u32 = 3;
/// How often a start checks again for room.
const ROOM_PAUSE: Duration = Duration::from_secs(1);
/// How often the lack of room is logged.
const ROOM_SAID: Duration = Duration::from_secs(60);

/// What the thread ran into.
#[derive(Debug, Default)]
struct Obstacles {
    /// Another process holds the volume.
    held: bool,
    /// There is no room: for people.
    lacks: Option<String>,
}

fn lock(obstacles: &Mutex<Obstacles>) -> MutexGuard<'_, Obstacles> {
    obstacles.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens the volume at `data`, whatever it waits for. `options` are created for each try; `on_wait` is set here.
///
/// # Errors
/// As [`Volume::open`], except for a full file system. The outer one: a panic on the thread.
pub async fn open(
    data: &Path,
    options: impl FnMut() -> Options + Send + 'static,
    disk: &DiskWatch,
    handle: &HandleServer,
    status_file: &watch::Sender<StatusFile>,
) -> Result<Result<Opened, VolumeError>, JoinError> {
    let obstacles = Arc::new(Mutex::new(Obstacles::default()));
    let (data, met) = (data.to_owned(), Arc::clone(&obstacles));
    let mut opening = tokio::task::spawn_blocking(move || open_with_patience(&data, &met, options));
    handle.set_starting(&words(None, &Obstacles::default(), None));
    let mut observer = Observer::new(disk, handle, status_file, &obstacles);
    loop {
        if let Ok(opened) = tokio::time::timeout(LOOK_PAUSE, &mut opening).await {
            observer.end(matches!(opened, Ok(Ok(_))));
            return opened;
        }
        observer.look();
    }
}

/// The thread's work: tries again for as long as there is no room.
fn open_with_patience(
    data: &Path,
    met: &Arc<Mutex<Obstacles>>,
    mut options: impl FnMut() -> Options,
) -> Result<Opened, VolumeError> {
    let mut said: Option<Instant> = None;
    let open = || {
        let met = Arc::clone(met);
        let on_wait = Box::new(move |_| lock(&met).held = true);
        Volume::open(data, Options { on_wait, ..options() })
    };
    wait_for_room(open, |error| {
        let words = format!(
            "the volume has no room for a start ({error}): enlarge it, or free room on it; the start then continues \
             by itself"
        );
        if said.is_none_or(|said| said.elapsed() >= ROOM_SAID) {
            said = Some(Instant::now());
            warn!("{words}");
        }
        lock(met).lacks = Some(words);
        std::thread::sleep(ROOM_PAUSE);
    })
}

/// Says how the thread gets on.
struct Observer<'a> {
    disk: &'a DiskWatch,
    handle: &'a HandleServer,
    status_file: &'a watch::Sender<StatusFile>,
    obstacles: &'a Mutex<Obstacles>,
    begun: Instant,
    progress: Progress,
    looks: u32,
}

impl<'a> Observer<'a> {
    fn new(
        disk: &'a DiskWatch,
        handle: &'a HandleServer,
        status_file: &'a watch::Sender<StatusFile>,
        obstacles: &'a Mutex<Obstacles>,
    ) -> Observer<'a> {
        let progress = Progress::new(Doing::Start, progress::LONG);
        Observer { disk, handle, status_file, obstacles, begun: Instant::now(), progress, looks: 0 }
    }

    /// What the start waits for now.
    fn look(&mut self) {
        let hangs = self.disk.hangs();
        if let Some((call, age)) = hangs.as_ref().filter(|_| self.looks.is_multiple_of(HANG_SAID)) {
            let seconds = age.as_secs();
            warn!(call = call.call, file = &*call.file, seconds, "the disk hangs: the start waits for it");
        }
        self.looks = self.looks.wrapping_add(1);
        let amount = self.disk.read().amount();
        self.progress.look_and_say(self.begun.elapsed(), unix_ms(), (amount.of > 0).then_some(amount));
        let met = lock(self.obstacles);
        // While it waits for room nothing moves.
        let info = self.progress.info().filter(|_| met.lacks.is_none());
        self.handle.set_starting(&words(hangs.as_ref(), &met, info.as_ref()));
        self.handle.set_progress(info.clone());
        self.status_file.send_if_modified(|file| {
            let before = file.clone();
            (file.stalled, file.progress, file.waits_for_room) = (hangs.is_some(), info, met.lacks.clone());
            *file != before
        });
    }

    /// The thread has ended.
    fn end(&mut self, is_open: bool) {
        self.handle.set_progress(None);
        // The last word of the progress, where there was any.
        self.progress.look_and_say(self.begun.elapsed(), unix_ms(), None);
        if is_open && lock(self.obstacles).lacks.is_some() {
            info!(seconds = self.begun.elapsed().as_secs(), "the volume has room again");
        }
    }
}

/// Opens, and again after each try without room: `wait` learns why, and waits.
pub(crate) fn wait_for_room(
    mut open: impl FnMut() -> Result<Opened, VolumeError>,
    mut wait: impl FnMut(&VolumeError),
) -> Result<Opened, VolumeError> {
    loop {
        match open() {
            Err(error @ VolumeError::Io { .. }) if lacks_room(&error) => wait(&error),
            other => return other,
        }
    }
}

fn lacks_room(error: &VolumeError) -> bool {
    match error {
        VolumeError::Io { source, .. } => is_full(source),
        VolumeError::Damage { .. } | VolumeError::Format { .. } | VolumeError::Unreadable { .. } => false,
    }
}

/// What the start waits for: the API and the readiness probe say so.
fn words(hangs: Option<&(UnderWay, Duration)>, met: &Obstacles, progress: Option<&ProgressInfo>) -> String {
    match (hangs, met, progress.and_then(ProgressInfo::percent)) {
        (Some((call, age)), ..) => format!("the disk, which hangs: {call} since {} s", age.as_secs()),
        (None, Obstacles { lacks: Some(lacks), .. }, _) => lacks.clone(),
        (None, _, Some(percent)) => format!("the volume: its journal and snapshot are read, {percent} %"),
        (None, Obstacles { held: true, .. }, None) => "the volume: another process holds it".to_owned(),
        (None, _, None) => "the volume: its journal is read".to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing::fault_disk::{Fault, FaultDisk};
    use crate::testing::rig::Rig;

    fn open_on(disk: &FaultDisk) -> Result<Opened, VolumeError> {
        Rig::open_on(Arc::new(disk.clone())).map(|rig| rig.opened)
    }

    #[test]
    fn a_new_volume_waits_for_room_at_whatever_point_of_its_start_it_lacks_some() {
        let disk = FaultDisk::new(1);
        let mut waits = 0;
        disk.set_room(Some(0));
        let opened = wait_for_room(
            || open_on(&disk),
            |error| {
                assert!(error.to_string().contains("no"), "{error}");
                waits += 1;
                // Somebody may free a little at a time.
                disk.set_room(Some(1000 * waits));
            },
        );
        let opened = opened.unwrap();
        assert!(waits > 5, "only {waits} waits");
        opened.journal.close();
        disk.set_room(None);
        let again = open_on(&disk).unwrap();
        assert_eq!(again.replica, opened.replica, "it is the volume that was made at last");
    }

    #[test]
    fn another_failure_is_not_waited_for() {
        let disk = FaultDisk::new(2);
        disk.fail_after(3, Fault::Eio);
        let opened = wait_for_room(|| open_on(&disk), |error| panic!("waits for {error}"));
        assert_eq!(opened.map(|_| ()).unwrap_err().exit_code(), 1);
    }

    #[test]
    fn a_start_says_what_it_waits_for_the_worst_first() {
        let met = |held, lacks: Option<&str>| Obstacles { held, lacks: lacks.map(str::to_owned) };
        let progress = ProgressInfo {
            what: Doing::Start,
            done_bytes: Some(1),
            of_bytes: Some(4),
            done_entries: None,
            of_entries: None,
            since_unix_ms: 0,
        };
        let call = UnderWay { number: 1, call: "fdatasync", file: "/data/x".into(), since: Instant::now() };
        let hangs = (call, Duration::from_secs(7));
        let all = met(true, Some("no room"));
        assert_eq!(words(Some(&hangs), &all, Some(&progress)), "the disk, which hangs: fdatasync of /data/x since 7 s");
        assert_eq!(words(None, &all, Some(&progress)), "no room");
        assert_eq!(
            words(None, &met(true, None), Some(&progress)),
            "the volume: its journal and snapshot are read, 25 %"
        );
        assert_eq!(words(None, &met(true, None), None), "the volume: another process holds it");
        assert_eq!(words(None, &met(false, None), None), "the volume: its journal is read");
    }
}
