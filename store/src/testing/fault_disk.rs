//! A disk that fails, tears and forgets, for tests.
//!
//! ```text
//!   write ──▶ cache (read from here) ──sync──▶ durable
//!   power loss:   each write since the last sync is kept, lost or torn by sectors; each change of a name is kept or lost
//!   failed sync:  what was written may be lost, yet it is still read, and the next sync says that all is well \[S2\]
//!   killed:       nothing is lost, nothing becomes durable
//!   stalled:      a sync does not return before the disk resumes
//!   small:        only this many bytes fit; a write that would make a file longer fails beyond that
//! ```

#![allow(clippy::unwrap_used)]

use crate::volume::disk::{Disk, DiskFile, Space, VolumeLock};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// What goes wrong, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The power goes in the middle of the call: this one and all later ones fail.
    Power,
    /// The call fails (a write may have written some of it; a sync forgets).
    Eio,
    /// A write fails for lack of room, some of it written. Other calls as `Eio`.
    Full,
    /// A write accepts less than it was given. Other calls are fine.
    Short,
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone)]
pub(crate) struct FaultDisk {
    inner: Arc<Mutex<Inner>>,
    goes_on: Arc<Condvar>,
}

struct Inner {
    random: u64,
    files: Vec<Bytes>,
    /// As seen.
    names: BTreeMap<String, usize>,
    /// As a power loss would leave them.
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<Renaming>,
    calls: u64,
    fault: Option<(u64, Fault)>,
    power_off: bool,
    stalled: bool,
    /// All files together have room for this.
    room_bytes: Option<u64>,
}

/// One file's content.
#[derive(Default)]
struct Bytes {
    cached: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
    /// `cached` may differ from `durable`.
    touched: bool,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate,
}

#[derive(Clone)]
struct Renaming {
    gone: Option<String>,
    here: Option<(String, usize)>,
}

impl FaultDisk {
    pub(crate) fn new(seed: u64) -> FaultDisk {
        let inner = Arc::new(Mutex::new(Inner {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            calls: 0,
            fault: None,
            power_off: false,
            stalled: false,
            room_bytes: None,
        }));
        FaultDisk { inner, goes_on: Arc::new(Condvar::new()) }
    }

    /// Syncs wait until [`FaultDisk::go_on`].
    pub(crate) fn stall(&self) {
        self.lock().stalled = true;
    }

    /// Ends a stall.
    pub(crate) fn go_on(&self) {
        self.lock().stalled = false;
        self.goes_on.notify_all();
    }

    /// From now on this many bytes fit, those that are there included; any number with `None`.
    pub(crate) fn set_room(&self, bytes: Option<u64>) {
        self.lock().room_bytes = bytes;
    }

    /// The bytes of all files that have a name.
    pub(crate) fn used(&self) -> u64 {
        self.lock().used()
    }

    /// Calls so far that change something: writes, syncs, names.
    pub(crate) fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// This goes wrong in the call after `calls` more ones.
    pub(crate) fn fail_after(&self, calls: u64, fault: Fault) {
        let mut inner = self.lock();
        inner.fault = Some((inner.calls + calls, fault));
    }

    /// The process is gone, the machine is not.
    pub(crate) fn restart(&self) {
        let mut inner = self.lock();
        inner.fault = None;
        assert!(!inner.power_off, "a machine without power restarts by `power_loss`");
    }

    /// The machine is gone and returns.
    pub(crate) fn power_loss(&self) {
        let mut inner = self.lock();
        inner.fault = None;
        inner.power_off = false;
        let pending = inner.pending_names.len() as u64;
        let prefix = inner.chance(2).then(|| inner.below(1 + pending) as usize);
        for (at, renaming) in std::mem::take(&mut inner.pending_names).into_iter().enumerate() {
            // In order, as a journaling file system does it, or any of them.
            if prefix.map_or_else(|| inner.chance(2), |prefix| at < prefix) {
                renaming.apply(&mut inner.durable_names);
            }
        }
        inner.names = inner.durable_names.clone();
        for at in 0..inner.files.len() {
            if !std::mem::take(&mut inner.files[at].touched) {
                continue;
            }
            let pending = std::mem::take(&mut inner.files[at].pending);
            for change in pending {
                inner.keep_some(at, change);
            }
            inner.files[at].cached = inner.files[at].durable.clone();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }
}

impl Inner {
    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound.max(1)
    }

    fn used(&self) -> u64 {
        self.names.values().map(|file| self.files[*file].cached.len() as u64).sum()
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    /// Counts a call that changes something.
    fn call(&mut self) -> io::Result<Option<Fault>> {
        if self.power_off {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let now = self.calls;
        self.calls += 1;
        match self.fault {
            Some((at, fault)) if at == now => {
                self.power_off = fault == Fault::Power;
                Ok(Some(fault))
            }
            _ => Ok(None),
        }
    }

    /// A change that was not synced when the power went.
    fn keep_some(&mut self, file: usize, change: Change) {
        match change {
            Change::Truncate if self.chance(2) => self.files[file].durable.clear(),
            Change::Truncate => {}
            Change::Write(offset, bytes) => match self.below(3) {
                0 => {}
                1 => put(&mut self.files[file].durable, offset, &bytes),
                _ => {
                    let sector = [16, 64, 512][self.below(3) as usize];
                    for (at, piece) in bytes.chunks(sector).enumerate() {
                        if self.chance(2) {
                            put(&mut self.files[file].durable, offset + at * sector, piece);
                        }
                    }
                }
            },
        }
    }

    fn renamed(&mut self, renaming: Renaming) {
        renaming.apply(&mut self.names);
        self.pending_names.push(renaming);
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or(ErrorKind::NotFound.into())
    }
}

impl Renaming {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        if let Some(gone) = &self.gone {
            names.remove(gone);
        }
        if let Some((name, file)) = &self.here {
            names.insert(name.clone(), *file);
        }
    }

    fn is_in(&self, folder: &str) -> bool {
        let name = self.here.as_ref().map(|(name, _)| name).or(self.gone.as_ref());
        name.is_some_and(|name| name.rsplit_once('/').map_or("", |(folder, _)| folder) == folder)
    }
}

fn put(to: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if to.len() < offset + bytes.len() {
        to.resize(offset + bytes.len(), 0);
    }
    to[offset..offset + bytes.len()].copy_from_slice(bytes);
}

impl Disk for FaultDisk {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut inner = self.lock();
        if !matches!(inner.call()?, None | Some(Fault::Short)) {
            return Err(ErrorKind::Other.into());
        }
        let file = match inner.names.get(name) {
            Some(file) => {
                let file = *file;
                inner.files[file].cached.clear();
                inner.files[file].touched = true;
                inner.files[file].pending.push(Change::Truncate);
                file
            }
            None => {
                inner.files.push(Bytes::default());
                let file = inner.files.len() - 1;
                inner.renamed(Renaming { gone: None, here: Some((name.to_owned(), file)) });
                file
            }
        };
        Ok(Box::new(FaultFile { disk: self.clone(), file }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = self.lock().find(name)?;
        Ok(Box::new(FaultFile { disk: self.clone(), file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.lock();
        let fault = inner.call()?;
        let file = inner.find(from)?;
        // A rename that failed may have happened.
        if !matches!(fault, Some(Fault::Eio | Fault::Full)) || inner.chance(2) {
            inner.renamed(Renaming { gone: Some(from.to_owned()), here: Some((to.to_owned(), file)) });
        }
        if matches!(fault, None | Some(Fault::Short)) { Ok(()) } else { Err(ErrorKind::Other.into()) }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.lock();
        if !matches!(inner.call()?, None | Some(Fault::Short)) {
            return Err(ErrorKind::Other.into());
        }
        inner.find(name)?;
        inner.renamed(Renaming { gone: Some(name.to_owned()), here: None });
        Ok(())
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let inner = self.lock();
        let names = inner.names.keys().filter_map(|name| name.strip_prefix(&prefix));
        Ok(names.filter(|name| !name.contains('/')).map(str::to_owned).collect())
    }

    fn create_folder(&self, _folder: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        let mut inner = self.lock();
        if !matches!(inner.call()?, None | Some(Fault::Short)) {
            return Err(ErrorKind::Other.into());
        }
        let (synced, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut inner.pending_names).into_iter().partition(|renaming| renaming.is_in(folder));
        for renaming in synced {
            renaming.apply(&mut inner.durable_names);
        }
        inner.pending_names = rest;
        Ok(())
    }

    fn try_lock(&self) -> io::Result<Option<VolumeLock>> {
        Ok(Some(VolumeLock::none()))
    }

    fn space(&self) -> io::Result<Option<Space>> {
        let inner = self.lock();
        let space = |total_bytes: u64| Space { free_bytes: total_bytes.saturating_sub(inner.used()), total_bytes };
        Ok(inner.room_bytes.map(space))
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("/fault").join(name)
    }
}

struct FaultFile {
    disk: FaultDisk,
    file: usize,
}

impl DiskFile for FaultFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.lock().files[self.file].cached.len() as u64)
    }

    fn read_at(&self, to: &mut [u8], offset: u64) -> io::Result<usize> {
        let inner = self.disk.lock();
        let cached = &inner.files[self.file].cached;
        let from = cached.get(offset as usize..).unwrap_or_default();
        let length = from.len().min(to.len());
        to[..length].copy_from_slice(&from[..length]);
        Ok(length)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut inner = self.disk.lock();
        let fault = inner.call()?;
        let grows = (offset + bytes.len() as u64).saturating_sub(inner.files[self.file].cached.len() as u64);
        if grows > 0 && inner.room_bytes.is_some_and(|room| inner.used() + grows > room) {
            return Err(ErrorKind::StorageFull.into());
        }
        let length = match fault {
            None => bytes.len(),
            Some(Fault::Short) => 1 + inner.below(bytes.len() as u64) as usize,
            Some(Fault::Power | Fault::Eio | Fault::Full) => inner.below(1 + bytes.len() as u64) as usize,
        };
        let file = &mut inner.files[self.file];
        put(&mut file.cached, offset as usize, &bytes[..length]);
        file.touched = true;
        file.pending.push(Change::Write(offset as usize, bytes[..length].to_vec()));
        match fault {
            None | Some(Fault::Short) => Ok(length),
            Some(Fault::Full) => Err(ErrorKind::StorageFull.into()),
            Some(Fault::Power | Fault::Eio) => Err(ErrorKind::Other.into()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.disk.goes_on.wait_while(self.disk.lock(), |inner| inner.stalled).unwrap();
        let fault = inner.call()?;
        if fault == Some(Fault::Power) {
            return Err(ErrorKind::Other.into());
        }
        let failed = matches!(fault, Some(Fault::Eio | Fault::Full));
        let pending = std::mem::take(&mut inner.files[self.file].pending);
        for change in pending {
            match change {
                // Some of it reached the disk, and the cache considers all of it clean.
                change if failed => inner.keep_some(self.file, change),
                Change::Truncate => inner.files[self.file].durable.clear(),
                Change::Write(offset, bytes) => put(&mut inner.files[self.file].durable, offset, &bytes),
            }
        }
        if failed { Err(ErrorKind::Other.into()) } else { Ok(()) }
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        match self.write_at(&vec![0; length as usize], 0)? {
            whole if whole as u64 == length => Ok(()),
            _ => Err(ErrorKind::WriteZero.into()),
        }
    }
}
