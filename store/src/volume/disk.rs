//! What the volume needs from a disk, and the real one.
//!
//! Everything durable goes through [`Disk`], so that a test can substitute one that fails, tears and forgets.
//! Names are relative to the data directory and use `/`.
//!
//! Assumptions (docs/design.md, "assumptions on the disk"): after a successful [`DiskFile::sync`] the bytes that
//! were written before are kept; after a successful [`Disk::sync_folder`] the names are; a rename happens whole or not at
//! all. Nothing is assumed about bytes that were not synced: they may be kept, lost or torn, in any order, and after a
//! failed sync they may still be *read*, though they will be lost \[S2\].

pub mod watch;

use crate::volume::files::LOCK;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The folder of a volume.
pub trait Disk: Send + Sync + 'static {
    /// Creates an empty file to read and write; empties an existing one.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// Opens an existing file.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// Replaces one name by another, atomically.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a name.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// The names in a folder (`""`: the data directory itself).
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;
    /// Creates a folder (and its parents) unless it exists.
    fn create_folder(&self, folder: &str) -> io::Result<()>;
    /// Makes the names of a folder durable.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;
    /// Locks the volume against a second process; `None` while another one holds it.
    fn try_lock(&self) -> io::Result<Option<VolumeLock>>;
    /// How much room its file system has; `None` if unknown.
    fn space(&self) -> io::Result<Option<Space>>;
    /// The full path of a name, for people.
    fn path(&self, name: &str) -> PathBuf;
}

/// The room of a file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this process's user may still write.
    pub free_bytes: u64,
    /// All of it.
    pub total_bytes: u64,
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Its length.
    fn length(&self) -> io::Result<u64>;
    /// Reads at most `to.len()` bytes; 0 at the end.
    fn read_at(&self, to: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes at least one byte of `bytes`, and returns how many.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Makes everything written so far durable (`fdatasync`).
    fn sync(&self) -> io::Result<()>;
    /// Creates an empty file of this length, full of zeros, so that writing into it needs no more room.
    fn allocate(&self, length: u64) -> io::Result<()>;
}

/// Holds the volume; dropping it lets another process in.
#[derive(Debug)]
pub struct VolumeLock(#[expect(dead_code, reason = "the open descriptor is the lock")] Option<File>);

impl VolumeLock {
    /// A lock on nothing, for disks that no other process can see.
    pub fn none() -> VolumeLock {
        VolumeLock(None)
    }
}

/// A folder of the file system.
#[derive(Debug)]
pub struct RealDisk {
    folder: PathBuf,
}

impl RealDisk {
    /// The volume at `folder`, which is created if necessary. Its own name is durable then, unless it is a mount point
    /// (that of a pod's claim). Otherwise a volume that was created, written and synced would be gone after a power loss.
    ///
    /// # Errors
    /// If it cannot be created, or its name cannot be made durable.
    pub fn new(folder: &Path) -> io::Result<RealDisk> {
        let made: Vec<&Path> = folder.ancestors().skip(1).take_while(|above| !above.exists()).collect();
        std::fs::create_dir_all(folder)?;
        for name in std::iter::once(folder).chain(made) {
            sync_name(name)?;
        }
        Ok(RealDisk { folder: folder.to_owned() })
    }

    /// The volume at `folder`, which exists: to read what is there.
    pub(crate) fn existing(folder: &Path) -> RealDisk {
        RealDisk { folder: folder.to_owned() }
    }
}

/// Makes the name of a folder durable, even if an earlier process created it and then ended too early.
fn sync_name(folder: &Path) -> io::Result<()> {
    let above = match folder.parent() {
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
        None => return Ok(()),
    };
    // A mount point's name does not belong to its file system.
    if above.metadata()?.dev() != folder.metadata()?.dev() {
        return Ok(());
    }
    match File::open(above) {
        // A user that may not even read it did not create the folder.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        opened => opened?.sync_all(),
    }
}

impl Disk for RealDisk {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(self.path(name))?;
        Ok(Box::new(file))
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().read(true).write(true).open(self.path(name))?))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path(from), self.path(to))
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path(name))
    }
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.path(folder))? {
            // A name that is not UTF-8 is not one of ours.
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }
    fn create_folder(&self, folder: &str) -> io::Result<()> {
        std::fs::create_dir_all(self.path(folder))
    }
    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        File::open(self.path(folder))?.sync_all()
    }
    fn try_lock(&self) -> io::Result<Option<VolumeLock>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(self.path(LOCK))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(VolumeLock(Some(file)))),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }
    fn space(&self) -> io::Result<Option<Space>> {
        let found = rustix::fs::statvfs(&self.folder)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Some(Space { free_bytes: bytes(found.f_bavail), total_bytes: bytes(found.f_blocks) }))
    }
    fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.folder.clone() } else { self.folder.join(name) }
    }
}

impl DiskFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
    fn read_at(&self, to: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, to, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
    fn allocate(&self, length: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self, rustix::fs::FallocateFlags::empty(), 0, length) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => write_zeros(self, 0, length),
            done => Ok(done?),
        }
    }
}

/// Writes all of `bytes`.
///
/// # Errors
/// As [`DiskFile::write_at`]; `WriteZero` if nothing more is accepted. Some of the bytes may be written then.
pub fn write_all_at(file: &dyn DiskFile, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills `to` from `offset` on, as far as the file reaches, and returns how far that was.
///
/// # Errors
/// As [`DiskFile::read_at`].
pub fn read_full_at(file: &dyn DiskFile, to: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < to.len() {
        match file.read_at(&mut to[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// All of a file.
///
/// # Errors
/// As [`DiskFile::read_at`].
pub fn read_all(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.length()?).map_err(|_| ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; length];
    let read = read_full_at(file, &mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Fills a new file with zeros from `offset` up to `end`. They are written, not reserved: a `fdatasync` of later writes
/// then has no metadata to write, and no later write can find the disk full.
///
/// # Errors
/// As [`DiskFile::write_at`].
pub fn write_zeros(file: &dyn DiskFile, mut offset: u64, end: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    while offset < end {
        let part = (end - offset).min(ZEROS.len() as u64);
        write_all_at(file, &ZEROS[..part as usize], offset)?;
        offset += part;
    }
    Ok(())
}

/// The file system (or the quota of its user) has no room for that.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Replaces a small file, whole and durably.
///
/// # Errors
/// Any error of the disk. Then the old file still exists, or the new one does.
pub fn replace(disk: &dyn Disk, name: &str, bytes: &[u8]) -> io::Result<()> {
    let aside = format!("{name}.tmp");
    let file = disk.create(&aside)?;
    write_all_at(&*file, bytes, 0)?;
    file.sync()?;
    disk.rename(&aside, name)?;
    disk.sync_folder(name.rsplit_once('/').map_or("", |(folder, _)| folder))
}

/// All of a small file; `None` if there is none.
///
/// # Errors
/// Any other error of the disk.
pub fn read_if_there(disk: &dyn Disk, name: &str) -> io::Result<Option<Vec<u8>>> {
    match disk.open(name) {
        Ok(file) => read_all(&*file).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a name; its absence is fine.
///
/// # Errors
/// Any other error of the disk.
pub fn remove_if_there(disk: &dyn Disk, name: &str) -> io::Result<()> {
    match disk.remove(name) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
