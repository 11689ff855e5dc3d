//! The folder of `file://`, which is never created here: where its volume is not mounted, an archive would be written beside
//! it, and be lost with the pod.
//!
//! object_store creates every folder above an object that is missing. So those below the root are made first, one by one,
//! which fails where the root is gone. An unmounted volume may leave an empty folder of another file system: that counts as
//! gone, too. One that was mounted again has the archive in it, whatever the number of its device is by then.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The root of an archive.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// That of the file system on which it was opened.
    device: u64,
}

impl Folder {
    /// One that is there.
    pub(super) fn open(path: PathBuf) -> io::Result<Folder> {
        let device = device_of(&path)?;
        Ok(Folder { path, device })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// It must still be there.
    pub(super) fn check(&self) -> io::Result<()> {
        if device_of(&self.path)? != self.device && fs::read_dir(&self.path)?.next().is_none() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it is empty, and on another file system than before"));
        }
        Ok(())
    }

    /// Makes the folders below it that an object needs, durable.
    pub(super) fn make(&self, below: &[&str]) -> io::Result<()> {
        self.check()?;
        let mut folder = self.path.clone();
        for name in below {
            let inner = folder.join(name);
            match fs::create_dir(&inner) {
                Ok(()) => File::open(&folder)?.sync_all()?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            folder = inner;
        }
        Ok(())
    }

    /// Copies a file to that name, durable, unless one is there. Returns whether it was written.
    pub(super) fn link(&self, below: &str, from: &Path) -> io::Result<bool> {
        self.check()?;
        let target = self.path.join(below);
        if target.exists() {
            return Ok(false);
        }
        // As object_store names what is not whole yet: no list shows it, and what a crash leaves is removed.
        let temporary = |number: u32| self.path.join(format!("{below}#{}{number:04}", std::process::id()));
        let made =
            (0..1000).map(temporary).find_map(|path| match File::options().write(true).create_new(true).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
                made => Some(made.map(|file| (path, file))),
            });
        let (path, mut to) = made.unwrap_or_else(|| Err(io::ErrorKind::AlreadyExists.into()))?;
        let linked = io::copy(&mut File::open(from)?, &mut to).and_then(|_| to.sync_all()).and_then(|()| {
            match fs::hard_link(&path, &target) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                linked => linked.map(|()| true),
            }
        });
        fs::remove_file(&path)?;
        let is_written = linked?;
        if let Some(folder) = target.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(is_written)
    }
}

fn device_of(path: &Path) -> io::Result<u64> {
    let meta = fs::metadata(path)?;
    if meta.is_dir() { Ok(meta.dev()) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_folder_of_another_file_system_is_what_an_unmounted_volume_leaves() {
        let path = tempfile::tempdir().unwrap();
        let mut folder = Folder::open(path.path().to_owned()).unwrap();
        folder.check().unwrap();
        folder.device += 1;
        assert_eq!(folder.make(&["a", "b"]).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(fs::read_dir(path.path()).unwrap().count(), 0);
        fs::create_dir(path.path().join("a")).unwrap();
        folder.make(&["a", "b"]).unwrap();
        assert!(path.path().join("a/b").is_dir());
    }
}
