//! Which call to the disk is under way, and since when: a hung disk neither succeeds nor fails, so a thread other than the
//! waiting one has to check.
//!
//! ```text
//!   journal's thread ──call──▶ Watched ──▶ the disk             DiskWatch::under_way ◀── driver, metrics, status
//!                        └─ begins, ends ─▶ DiskWatch
//! ```
//!
//! Only one thread is watched, the one that makes records durable: during a start the thread that opens the volume, and
//! from then on the journal's. What others write aside (snapshots, spare segments) may take any time.

use super::{Disk, DiskFile, Space, VolumeLock};
use crate::progress::Meter;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// How long a call may take by default before the disk counts as hanging.
pub const DISK_STALL: Duration = Duration::from_secs(2);

/// A call that has not returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderWay {
    /// Numbers the calls: the same number is the same call.
    pub number: u64,
    /// Its name in the kernel.
    pub call: &'static str,
    /// The full path.
    pub file: Arc<str>,
    /// When it began.
    pub since: Instant,
}

/// Describes a call for people: `fdatasync of /data/journal/0000000000000001.segment`.
impl std::fmt::Display for UnderWay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.call, self.file)
    }
}

/// See the module.
#[derive(Debug)]
pub struct DiskWatch {
    bound: Duration,
    slot: Mutex<Slot>,
    /// Counts the bytes that are read: the progress of a start.
    read: Meter,
}

#[derive(Debug, Default)]
struct Slot {
    watched: Option<ThreadId>,
    calls: u64,
    under_way: Option<UnderWay>,
}

impl Default for DiskWatch {
    fn default() -> DiskWatch {
        DiskWatch::new(DISK_STALL)
    }
}

impl DiskWatch {
    /// Nothing is under way. A call that takes longer than `bound` hangs.
    pub fn new(bound: Duration) -> DiskWatch {
        DiskWatch { bound, slot: Mutex::default(), read: Meter::default() }
    }

    /// How long a call may take.
    pub fn bound(&self) -> Duration {
        self.bound
    }

    /// Bytes that were read since a start began, and how many it will read.
    pub fn read(&self) -> &Meter {
        &self.read
    }

    /// From here on the calls of this thread are watched, and no other's.
    pub(crate) fn watch_this_thread(&self) {
        let mut slot = self.slot();
        (slot.watched, slot.under_way) = (Some(std::thread::current().id()), None);
    }

    /// The call that is under way.
    pub fn under_way(&self) -> Option<UnderWay> {
        self.slot().under_way.clone()
    }

    /// The call that has been under way for longer than the bound, and for how long.
    pub fn hangs(&self) -> Option<(UnderWay, Duration)> {
        let under_way = self.under_way()?;
        let age = under_way.since.elapsed();
        (age >= self.bound).then_some((under_way, age))
    }

    /// Makes a call that may take long.
    pub(crate) fn during<T>(&self, call: &'static str, file: impl FnOnce() -> Arc<str>, make: impl FnOnce() -> T) -> T {
        let is_watched = {
            let mut slot = self.slot();
            let is_watched = slot.watched == Some(std::thread::current().id());
            if is_watched {
                slot.calls += 1;
                slot.under_way = Some(UnderWay { number: slot.calls, call, file: file(), since: Instant::now() });
            }
            is_watched
        };
        let made = make();
        if is_watched {
            self.slot().under_way = None;
        }
        made
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A disk whose calls are watched.
pub(crate) struct Watched {
    disk: Arc<dyn Disk>,
    watch: Arc<DiskWatch>,
}

struct WatchedFile {
    file: Box<dyn DiskFile>,
    path: Arc<str>,
    watch: Arc<DiskWatch>,
}

impl Watched {
    pub(crate) fn new(disk: Arc<dyn Disk>, watch: Arc<DiskWatch>) -> Watched {
        Watched { disk, watch }
    }

    fn call<T>(&self, call: &'static str, name: &str, make: impl FnOnce(&dyn Disk) -> T) -> T {
        self.watch.during(call, || self.shown(name), || make(&*self.disk))
    }

    fn file(
        &self,
        call: &'static str,
        name: &str,
        make: impl FnOnce(&dyn Disk) -> io::Result<Box<dyn DiskFile>>,
    ) -> io::Result<Box<dyn DiskFile>> {
        let file = self.call(call, name, make)?;
        Ok(Box::new(WatchedFile { file, path: self.shown(name), watch: self.watch.clone() }))
    }

    fn shown(&self, name: &str) -> Arc<str> {
        self.disk.path(name).display().to_string().into()
    }
}

impl Disk for Watched {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.file("creation", name, |disk| disk.create(name))
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.file("open", name, |disk| disk.open(name))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.call("rename", from, |disk| disk.rename(from, to))
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.call("removal", name, |disk| disk.remove(name))
    }
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.call("listing", folder, |disk| disk.list(folder))
    }
    fn create_folder(&self, folder: &str) -> io::Result<()> {
        self.call("creation", folder, |disk| disk.create_folder(folder))
    }
    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.call("fsync", folder, |disk| disk.sync_folder(folder))
    }
    fn try_lock(&self) -> io::Result<Option<VolumeLock>> {
        self.call("lock", "lock", |disk| disk.try_lock())
    }
    fn space(&self) -> io::Result<Option<Space>> {
        self.call("statfs", "", |disk| disk.space())
    }
    fn path(&self, name: &str) -> PathBuf {
        self.disk.path(name)
    }
}

impl WatchedFile {
    fn call<T>(&self, call: &'static str, make: impl FnOnce(&dyn DiskFile) -> T) -> T {
        self.watch.during(call, || self.path.clone(), || make(&*self.file))
    }
}

impl DiskFile for WatchedFile {
    fn length(&self) -> io::Result<u64> {
        self.call("stat", |file| file.length())
    }
    fn read_at(&self, to: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.call("read", |file| file.read_at(to, offset))?;
        self.watch.read.add(read as u64);
        Ok(read)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.call("write", |file| file.write_at(bytes, offset))
    }
    fn sync(&self) -> io::Result<()> {
        self.call("fdatasync", |file| file.sync())
    }
    fn allocate(&self, length: u64) -> io::Result<()> {
        self.call("fallocate", |file| file.allocate(length))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_call_under_way_is_that_of_the_watched_thread_alone() {
        let watch = DiskWatch::new(Duration::ZERO);
        let file = || Arc::from("/data/x");
        watch.during("write", file, || assert_eq!(watch.under_way(), None, "nobody is watched yet"));
        watch.watch_this_thread();
        let numbers: Vec<u64> = (0..2)
            .map(|_| {
                watch.during("fdatasync", file, || {
                    std::thread::scope(|scope| {
                        let other = || watch.during("read", || Arc::from("/elsewhere"), || watch.under_way());
                        let seen = scope.spawn(other).join().unwrap().unwrap();
                        assert_eq!(seen.to_string(), "fdatasync of /data/x");
                    });
                    watch.hangs().unwrap().0.number
                })
            })
            .collect();
        assert_eq!((numbers, watch.under_way()), (vec![1, 2], None));
    }
}
