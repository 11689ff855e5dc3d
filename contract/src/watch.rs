//! Watches one file of the shared directory and reports each change of its content, soon.
//!
//! ```text
//!   inotify on the DIRECTORY ──(notify's thread)──▶ rename, create, remove of our name, rescan ──▶ a permit
//!   every 2 s (200 ms where there is no watch) ─────────────────────────────────────────────────▶ read the file whole
//!                                                                     ──▶ other bytes than before? ──▶ WatchEvent
//! ```
//!
//! The directory is watched, never the file: after the first rename over a watched file its watch sees nothing more. Access
//! events are ignored, because our own reads cause them. Polling catches what inotify misses: a directory that does not
//! exist yet, one that was removed and created again, events that were dropped.
//!
//! There is no task behind a [`Watch`]: everything happens in [`Watch::next`], in the task that calls it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::json::{ReadError, parse_json};
use crate::replace::read_bytes;

/// How often the file is read without any event.
const POLL: Duration = Duration::from_secs(2);
/// How often it is read if the directory cannot be watched.
const POLL_UNWATCHED: Duration = Duration::from_millis(200);

/// What [`Watch::next`] returns. Unchanged content is never returned again.
#[derive(Debug)]
pub enum WatchEvent<T> {
    /// The file has new content.
    Value(T),
    /// The file does not exist (yet, or no longer). Returned once.
    Missing,
    /// The file exists but is unusable. Returned once for the same content; the last good value stays in force.
    Unreadable(ReadError),
}

/// Watches one JSON file of the shared directory.
pub struct Watch<T> {
    dir: PathBuf,
    path: PathBuf,
    signal: Arc<Signal>,
    /// How to start a watch; tests use one that fails, as on a node without inotify instances.
    start: StartWatcher,
    /// The watcher, with (device, inode) of the directory that it watches. None: the directory is polled.
    watcher: Option<(RecommendedWatcher, (u64, u64))>,
    /// Whether the lack of a watch was logged; it is logged once, not every 200 ms.
    warned: bool,
    /// What was read last, so that only changes are reported.
    seen: Seen,
    latest: Option<T>,
    unreadable: u64,
    next_read: Instant,
}

type StartWatcher = fn(&Path, Option<&OsStr>, &Arc<Signal>) -> notify::Result<RecommendedWatcher>;

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    Missing,
    Bytes(Vec<u8>),
    /// An error other than "missing", by its text.
    Error(String),
}

/// How notify's thread wakes the reader. Level-triggered: a permit is kept, many become one.
struct Signal {
    wake: Notify,
    /// The watched directory itself went away; its watch is dead.
    lost: AtomicBool,
}

impl<T: DeserializeOwned + Clone> Watch<T> {
    /// Watches `dir/name`. Neither has to exist. Never fails: where no watch is available, it polls.
    pub fn new(dir: &Path, name: &str) -> Watch<T> {
        Watch::with_watcher(dir, name, start_watcher)
    }

    fn with_watcher(dir: &Path, name: &str, start: StartWatcher) -> Watch<T> {
        let signal = Arc::new(Signal { wake: Notify::new(), lost: AtomicBool::new(false) });
        let (dir, path) = (dir.to_owned(), dir.join(name));
        let next_read = Instant::now();
        let (watcher, warned, latest, unreadable) = (None, false, None, 0);
        Watch { dir, path, signal, start, watcher, warned, seen: Seen::Nothing, latest, unreadable, next_read }
    }

    /// Waits for the next change of the file; the first call returns the present state at once. It may be dropped and
    /// called again at any time (in a `select!`) without losing anything. Needs a runtime with timers.
    pub async fn next(&mut self) -> WatchEvent<T> {
        loop {
            tokio::select! {
                () = self.signal.wake.notified() => {}
                () = tokio::time::sleep_until(self.next_read) => {}
            }
            // From here on nothing waits, so a dropped future has either done nothing or returned its event.
            self.keep_watching();
            let pause = if self.watcher.is_some() { POLL } else { POLL_UNWATCHED };
            self.next_read = Instant::now() + pause;
            if let Some(event) = self.read() {
                return event;
            }
        }
    }

    /// The last good content that [`Watch::next`] returned.
    pub fn latest(&self) -> Option<&T> {
        self.latest.as_ref()
    }

    /// How many reads found an unusable file (a missing one does not count).
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// True if the kernel reports changes, false if the directory is polled.
    pub fn is_watching(&self) -> bool {
        self.watcher.is_some()
    }

    pub(crate) fn read(&mut self) -> Option<WatchEvent<T>> {
        let read = match read_bytes(&self.path) {
            Ok(bytes) => {
                let parsed = parse_json::<T>(&self.path, &bytes);
                let known = self.seen == Seen::Bytes(bytes.clone());
                self.seen = Seen::Bytes(bytes);
                match parsed {
                    Ok(_) if known => return None,
                    Ok(value) => {
                        self.latest = Some(value.clone());
                        return Some(WatchEvent::Value(value));
                    }
                    Err(error) => (error, known),
                }
            }
            Err(error) if error.is_missing() => {
                let known = std::mem::replace(&mut self.seen, Seen::Missing) == Seen::Missing;
                return (!known).then_some(WatchEvent::Missing);
            }
            Err(error) => {
                let text = Seen::Error(error.to_string());
                let known = self.seen == text;
                self.seen = text;
                (error, known)
            }
        };
        let (error, known) = read;
        self.unreadable += 1;
        (!known).then_some(WatchEvent::Unreadable(error))
    }

    /// Watches the directory that has the name now, if that is possible.
    fn keep_watching(&mut self) {
        let present =
            fs::metadata(&self.dir).ok().filter(|found| found.is_dir()).map(|found| (found.dev(), found.ino()));
        let lost = self.signal.lost.swap(false, Ordering::Relaxed);
        if let Some((_, watched)) = &self.watcher {
            if !lost && present == Some(*watched) {
                return;
            }
            debug!(dir = %self.dir.display(), "the watched directory was removed");
            self.watcher = None;
        }
        let Some(identity) = present else { return };
        match (self.start)(&self.dir, self.path.file_name(), &self.signal) {
            Ok(watcher) => {
                self.watcher = Some((watcher, identity));
                self.warned = false;
            }
            // No inotify instances or watches left on this node: this happens, and is no reason to die.
            Err(error) if !self.warned => {
                self.warned = true;
                warn!(dir = %self.dir.display(), %error, "cannot watch the directory; polling it instead");
            }
            Err(_) => {}
        }
    }
}

fn start_watcher(dir: &Path, name: Option<&OsStr>, signal: &Arc<Signal>) -> notify::Result<RecommendedWatcher> {
    let (directory, name, signal) = (dir.to_owned(), name.map(OsStr::to_owned), Arc::clone(signal));
    // Runs on notify's thread: it only leaves a permit, it never waits.
    let handler = move |event: notify::Result<notify::Event>| match event {
        Ok(event) => match concerns(&event, &directory, name.as_deref()) {
            Concern::None => {}
            Concern::File => signal.wake.notify_one(),
            Concern::Directory => {
                signal.lost.store(true, Ordering::Relaxed);
                signal.wake.notify_one();
            }
        },
        Err(_) => signal.wake.notify_one(),
    };
    let mut watcher = RecommendedWatcher::new(handler, notify::Config::default())?;
    watcher.watch(dir, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

#[derive(Debug, PartialEq, Eq)]
enum Concern {
    None,
    File,
    Directory,
}

/// Is this event a reason to read our file again, or to watch the directory anew?
fn concerns(event: &notify::Event, dir: &Path, name: Option<&OsStr>) -> Concern {
    if event.need_rescan() {
        return Concern::File;
    }
    let renamed = matches!(event.kind, EventKind::Modify(ModifyKind::Name(_)));
    if !renamed && !event.kind.is_create() && !event.kind.is_remove() {
        return Concern::None;
    }
    if event.paths.iter().any(|path| path == dir) {
        Concern::Directory
    } else if event.paths.iter().any(|path| path.file_name() == name) {
        Concern::File
    } else {
        Concern::None
    }
}

impl<T> std::fmt::Debug for Watch<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("path", &self.path).field("watching", &self.watcher.is_some()).finish()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::replace_file;
    use notify::event::{AccessKind, AccessMode, CreateKind, Flag, RemoveKind, RenameMode};
    use serde::{Deserialize, Serialize};
    use tokio::time::timeout;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        version: u32,
        number: u64,
    }

    const LONG: Duration = Duration::from_secs(10);

    fn write(dir: &Path, number: u64) {
        replace_file(dir, "sample.json", format!("{{\"version\":1,\"number\":{number}}}").as_bytes()).unwrap();
    }

    async fn next(watch: &mut Watch<Sample>) -> WatchEvent<Sample> {
        timeout(LONG, watch.next()).await.expect("the watch told nothing")
    }

    async fn number(watch: &mut Watch<Sample>) -> u64 {
        match next(watch).await {
            WatchEvent::Value(sample) => sample.number,
            other => panic!("expected a value, got {other:?}"),
        }
    }

    #[tokio::test]
    async fn a_rename_is_told_long_before_the_poll() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 1);
        let mut watch = Watch::<Sample>::new(dir.path(), "sample.json");
        assert_eq!(number(&mut watch).await, 1);
        assert!(watch.is_watching());
        for n in 2..20 {
            write(dir.path(), n);
            let told = timeout(POLL / 2, watch.next()).await.expect("only the poll would have found it");
            assert!(matches!(told, WatchEvent::Value(Sample { number, .. }) if number == n), "{told:?}");
        }
        assert_eq!(watch.latest().unwrap().number, 19);
    }

    #[tokio::test]
    async fn a_directory_may_come_later_go_away_and_come_back() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("run/leasehold");
        let mut watch = Watch::<Sample>::new(&dir, "sample.json");
        assert!(matches!(next(&mut watch).await, WatchEvent::Missing));
        for round in 1..4 {
            fs::create_dir_all(&dir).unwrap();
            write(&dir, round);
            assert_eq!(number(&mut watch).await, round);
            assert!(watch.is_watching());
            fs::remove_dir_all(&dir).unwrap();
            assert!(matches!(next(&mut watch).await, WatchEvent::Missing));
            assert_eq!(watch.latest().unwrap().number, round, "the last good value stays");
        }
        assert_eq!(watch.unreadable(), 0);
    }

    #[tokio::test]
    async fn an_unreadable_file_is_told_once_counted_and_forgotten_when_it_is_mended() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 1);
        let mut watch = Watch::<Sample>::new(dir.path(), "sample.json");
        assert_eq!(number(&mut watch).await, 1);
        replace_file(dir.path(), "sample.json", b"{ not json").unwrap();
        assert!(matches!(next(&mut watch).await, WatchEvent::Unreadable(ReadError::Malformed { .. })));
        assert_eq!(watch.unreadable(), 1);
        assert_eq!(watch.latest().unwrap().number, 1);
        assert!(timeout(POLL_UNWATCHED * 2, watch.next()).await.is_err(), "told twice");
        replace_file(dir.path(), "sample.json", b"{\"version\":9}").unwrap();
        assert!(matches!(next(&mut watch).await, WatchEvent::Unreadable(ReadError::NewerVersion { found: 9, .. })));
        fs::remove_file(dir.path().join("sample.json")).unwrap();
        fs::create_dir(dir.path().join("sample.json")).unwrap();
        loop {
            match next(&mut watch).await {
                WatchEvent::Missing => continue, // between the remove and the mkdir
                WatchEvent::Unreadable(ReadError::Unreadable { .. }) => break,
                other => panic!("{other:?}"),
            }
        }
        fs::remove_dir(dir.path().join("sample.json")).unwrap();
        write(dir.path(), 2);
        loop {
            match next(&mut watch).await {
                WatchEvent::Missing => continue,
                WatchEvent::Value(sample) => break assert_eq!(sample.number, 2),
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn where_no_inotify_instance_is_left_the_directory_is_polled_quickly() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 1);
        let none_left: StartWatcher = |_, _, _| Err(notify::Error::new(notify::ErrorKind::MaxFilesWatch));
        let mut watch = Watch::<Sample>::with_watcher(dir.path(), "sample.json", none_left);
        assert_eq!(number(&mut watch).await, 1);
        for n in 2..6 {
            write(dir.path(), n);
            let told = timeout(POLL, watch.next()).await.expect("the quick poll did not find it");
            assert!(matches!(told, WatchEvent::Value(Sample { number, .. }) if number == n), "{told:?}");
        }
        assert!(!watch.is_watching());
    }

    #[tokio::test]
    async fn what_the_kernel_does_not_tell_is_found_by_the_poll() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 1);
        let mut watch = Watch::<Sample>::new(dir.path(), "sample.json");
        assert_eq!(number(&mut watch).await, 1);
        // Writing a file in place makes no rename; only the poll can find it.
        fs::write(dir.path().join("sample.json"), b"{\"version\":1,\"number\":2}").unwrap();
        assert_eq!(number(&mut watch).await, 2);
    }

    #[tokio::test]
    async fn a_dropped_wait_loses_nothing_and_does_not_put_off_the_poll() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = Watch::<Sample>::new(dir.path(), "sample.json");
        assert!(matches!(next(&mut watch).await, WatchEvent::Missing));
        fs::write(dir.path().join("other"), b"").unwrap();
        write(dir.path(), 5);
        let deadline = Instant::now() + LONG;
        loop {
            assert!(Instant::now() < deadline, "the change was lost in a cancelled wait");
            tokio::select! {
                biased;
                event = watch.next() => {
                    assert!(matches!(event, WatchEvent::Value(Sample { number: 5, .. })), "{event:?}");
                    break;
                }
                () = tokio::task::yield_now() => {}
            }
        }
    }

    #[test]
    fn reading_the_file_is_no_reason_to_read_it_again() {
        let dir = Path::new("/d");
        let name = Some(OsStr::new("role.json"));
        let event = |kind: EventKind, path: &str| notify::Event::new(kind).add_path(PathBuf::from(path));
        let concern = |event: notify::Event| concerns(&event, dir, name);
        let ours = "/d/role.json";
        assert_eq!(concern(event(EventKind::Access(AccessKind::Open(AccessMode::Any)), ours)), Concern::None);
        assert_eq!(concern(event(EventKind::Access(AccessKind::Close(AccessMode::Write)), ours)), Concern::None);
        assert_eq!(concern(event(EventKind::Create(CreateKind::File), "/d/status.json")), Concern::None);
        assert_eq!(concern(event(EventKind::Create(CreateKind::File), ours)), Concern::File);
        assert_eq!(concern(event(EventKind::Modify(ModifyKind::Name(RenameMode::To)), ours)), Concern::File);
        assert_eq!(concern(event(EventKind::Remove(RemoveKind::Folder), "/d")), Concern::Directory);
        assert_eq!(concern(notify::Event::new(EventKind::Other).set_flag(Flag::Rescan)), Concern::File);
    }
}
