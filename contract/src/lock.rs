//! `status.lock`: how the kernel tells the sidecar that its app is dead.
//!
//! ```text
//!   app:      open or create, lock exclusively (blocking) ── lives ── dies ──▶ the kernel lets go
//!   sidecar:  status.json read ──▶ thread: lock_shared (read-only descriptor) ── blocked ──▶ got it, dropped at once
//! ```
//!
//! The file is never unlinked or replaced: a lock belongs to the inode, and two inodes would be two locks. A frozen process
//! (SIGSTOP) still holds its lock, and so counts as alive here.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use tokio::sync::oneshot;

use crate::LOCK_FILE;

/// The app's hold on [`LOCK_FILE`]. Keep it while the process lives; dropping it says "I am dead".
#[derive(Debug)]
pub struct StatusLock {
    _file: File,
}

impl StatusLock {
    /// Acquires the lock, waiting while an earlier run of the app (or a sidecar, for an instant) holds it. Call it before
    /// writing the first `status.json`, on a thread that may block. The directory must exist.
    ///
    /// # Errors
    /// The system's error when it opens or locks the file.
    pub fn acquire(dir: &Path) -> io::Result<StatusLock> {
        let path = dir.join(LOCK_FILE);
        loop {
            let file =
                OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o644).open(&path)?;
            retry_interrupted(|| file.lock())?;
            let ours = file.metadata()?;
            // Somebody removed the file while we waited, so our lock means nothing; lock the new file.
            match fs::metadata(&path) {
                Ok(present) if (present.dev(), present.ino()) == (ours.dev(), ours.ino()) => {}
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            }
            if ours.permissions().mode() & 0o444 != 0o444 {
                // The umask may be strict; the sidecar may run as another user and must be able to open the file.
                file.set_permissions(fs::Permissions::from_mode(0o644))?;
            }
            return Ok(StatusLock { _file: file });
        }
    }
}

/// The outcome of the wait for the app's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Nobody holds the lock: the app that held it is dead.
    Released,
    /// There is no lock file: no app ever took the lock, or somebody removed the file. It is unknown whether an app is
    /// alive.
    Missing,
}

/// Waits until nobody holds the app's lock, without a time limit: add a time-out where you want one. Dropping the future
/// cancels it: the thread behind it stays blocked until the lock is free once, then ends without a trace.
///
/// Start it only for an incarnation read from `status.json`: an app locks before it writes, so for such an incarnation a
/// free lock means death, and not "has not locked yet".
///
/// # Errors
/// The file exists but cannot be opened or locked, or no thread could be started.
pub async fn wait_for_release(dir: &Path) -> io::Result<Release> {
    let Some(file) = open_read_only(dir)? else { return Ok(Release::Missing) };
    let (sender, receiver) = oneshot::channel();
    // Not `spawn_blocking`: a runtime waits for those threads when it ends, and this one may never end.
    std::thread::Builder::new().name("lock-wait".into()).stack_size(64 * 1024).spawn(move || {
        // Shared, so that two waiting processes do not take each other for the app. Dropped with the file, at once.
        let outcome = retry_interrupted(|| file.lock_shared());
        drop(file);
        let _ = sender.send(outcome);
    })?;
    match receiver.await {
        Ok(outcome) => outcome.map(|()| Release::Released),
        Err(_) => Err(io::Error::other("the thread that waits for the lock ended before it had the lock")),
    }
}

/// Does any process hold the app's lock now? Also false if there is no such file.
///
/// # Errors
/// The file exists but cannot be opened or tried.
pub fn is_locked(dir: &Path) -> io::Result<bool> {
    let Some(file) = open_read_only(dir)? else { return Ok(false) };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(fs::TryLockError::WouldBlock) => Ok(true),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

fn open_read_only(dir: &Path) -> io::Result<Option<File>> {
    match File::open(dir.join(LOCK_FILE)) {
        Ok(file) => Ok(Some(file)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

fn retry_interrupted(mut call: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    const LONG: Duration = Duration::from_secs(10);
    const SHORT: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn a_missing_lock_file_is_told_apart_from_a_free_lock() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(wait_for_release(dir.path()).await.unwrap(), Release::Missing);
        assert_eq!(wait_for_release(&dir.path().join("absent")).await.unwrap(), Release::Missing);
        assert!(!is_locked(dir.path()).unwrap());
        drop(StatusLock::acquire(dir.path()).unwrap());
        assert_eq!(wait_for_release(dir.path()).await.unwrap(), Release::Released);
    }

    #[tokio::test]
    async fn the_wait_ends_when_the_holder_lets_go_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let lock = StatusLock::acquire(dir.path()).unwrap();
        assert!(is_locked(dir.path()).unwrap());
        let mut wait = std::pin::pin!(wait_for_release(dir.path()));
        assert!(timeout(SHORT, &mut wait).await.is_err(), "released while it was held");
        drop(lock);
        assert_eq!(timeout(LONG, wait).await.unwrap().unwrap(), Release::Released);
        assert!(!is_locked(dir.path()).unwrap());
    }

    #[tokio::test]
    async fn a_cancelled_wait_does_not_keep_the_lock_from_the_next_app() {
        let dir = tempfile::tempdir().unwrap();
        let first = StatusLock::acquire(dir.path()).unwrap();
        assert!(timeout(SHORT, wait_for_release(dir.path())).await.is_err());
        drop(first);
        let path = dir.path().to_owned();
        let second = tokio::task::spawn_blocking(move || StatusLock::acquire(&path));
        let second = timeout(LONG, second).await.unwrap().unwrap().unwrap();
        assert!(is_locked(dir.path()).unwrap());
        drop(second);
    }

    #[tokio::test]
    async fn a_file_that_was_replaced_behind_the_lock_is_locked_anew() {
        let dir = tempfile::tempdir().unwrap();
        let _old = StatusLock::acquire(dir.path()).unwrap();
        let path = dir.path().to_owned();
        let waiter = tokio::task::spawn_blocking(move || StatusLock::acquire(&path));
        fs::remove_file(dir.path().join(LOCK_FILE)).unwrap();
        drop(_old);
        let _new = timeout(LONG, waiter).await.unwrap().unwrap().unwrap();
        assert!(is_locked(dir.path()).unwrap(), "the lock is held on a file that is no longer there");
    }
}
