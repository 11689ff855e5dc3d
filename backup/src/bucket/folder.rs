//! The folder of `file://`, which is never created here: where its volume is not mounted, an archive would be written beside
//! it, and be lost with the pod.
//!
//! object_store creates every folder above an object that is missing. So those below the root are made first, one by one,
//! which fails where the root is gone.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// It must be there.
pub(super) fn check(root: &Path) -> io::Result<()> {
    if fs::metadata(root)?.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

/// Makes the folders below it that an object needs, durable.
pub(super) fn make(root: &Path, below: &[&str]) -> io::Result<()> {
    check(root)?;
    let mut folder = PathBuf::from(root);
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
