//! `status.lock` and `lead.lock`: how the kernel tells the sidecar that its app, or what the app may do as leader, is dead.
//!
//! ```text
//!   app:      open or create, lock exclusively (blocking) ── lives ── dies ──▶ the kernel lets go
//!   sidecar:  status.json read ──▶ thread: lock_shared (read-only descriptor) ── blocked ──▶ got it, dropped at once
//!
//!   exec:     lead.lock (not blocking) ──▶ read role.json ──▶ CMD inherits the descriptor ── all of them dead ──▶ free
//!   sidecar:  replace role.json by `follower` ──▶ lead.lock free? ──▶ nothing of that term runs, or can still start
//! ```
//!
//! The files are never unlinked or replaced: a lock belongs to the inode, and two inodes would be two locks. A frozen process
//! (SIGSTOP) still holds its lock, and so counts as alive here.
//!
//! A lock belongs to the open file, not to a process: every process that inherited the descriptor holds it, and it is free
//! when the last of them is gone. So nothing here ever unlocks: `flock(LOCK_UN)` in one would unlock it for all.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::io::FdFlags;
use tokio::sync::oneshot;

use crate::{LEAD_LOCK_FILE, LOCK_FILE};

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
        let wait = |file: &File| retry_interrupted(|| file.lock()).map(|()| true);
        match lock_file(dir, LOCK_FILE, wait)? {
            Some(file) => Ok(StatusLock { _file: file }),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Acquires the lock if nobody holds it; None if somebody does: an earlier run of the app, or a sidecar for an instant.
    ///
    /// # Errors
    /// The system's error when it opens or tries the file.
    pub fn try_acquire(dir: &Path) -> io::Result<Option<StatusLock>> {
        Ok(lock_file(dir, LOCK_FILE, try_lock)?.map(|file| StatusLock { _file: file }))
    }
}

/// The hold on [`LEAD_LOCK_FILE`] of what may act as leader. Dropping it frees the lock only if no process has inherited it,
/// or all that have are gone.
#[derive(Debug)]
pub struct LeadLock {
    _file: File,
}

impl LeadLock {
    /// Acquires the lock if nobody holds it, and lets every process inherit it that this one starts from now on. None if
    /// somebody holds it: what an earlier leadership left, or a sidecar for an instant.
    ///
    /// Read role.json after this, never before: the sidecar replaces role.json first and looks at the lock then.
    ///
    /// # Errors
    /// The system's error when it opens or tries the file.
    pub fn try_acquire(dir: &Path) -> io::Result<Option<LeadLock>> {
        let Some(file) = lock_file(dir, LEAD_LOCK_FILE, try_lock)? else { return Ok(None) };
        rustix::io::fcntl_setfd(&file, FdFlags::empty())?;
        Ok(Some(LeadLock { _file: file }))
    }
}

fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(fs::TryLockError::WouldBlock) => Ok(false),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Opens or creates the file, and locks it by `lock`, which says whether it did.
fn lock_file(dir: &Path, name: &str, lock: impl Fn(&File) -> io::Result<bool>) -> io::Result<Option<File>> {
    let path = dir.join(name);
    loop {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o644).open(&path)?;
        if !lock(&file)? {
            return Ok(None);
        }
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
        return Ok(Some(file));
    }
}

/// The outcome of the wait for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Nobody holds the lock: all that held it are dead.
    Released,
    /// There is no lock file: nobody ever took the lock, or somebody removed the file. It is unknown whether an app is
    /// alive.
    Missing,
}

/// Waits until nobody holds the lock `name` ([`LOCK_FILE`] or [`LEAD_LOCK_FILE`]), without a time limit: add a time-out where
/// you want one. Dropping the future cancels it: the thread behind it stays blocked until the lock is free once, then ends
/// without a trace.
///
/// For [`LOCK_FILE`], start it only for an incarnation read from `status.json`: an app locks before it writes, so for such an
/// incarnation a free lock means death, and not "has not locked yet".
///
/// # Errors
/// The file exists but cannot be opened or locked, or no thread could be started.
pub async fn wait_for_release(dir: &Path, name: &str) -> io::Result<Release> {
    let Some(file) = open_read_only(dir, name)? else { return Ok(Release::Missing) };
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

/// Does any process hold the lock `name` ([`LOCK_FILE`] or [`LEAD_LOCK_FILE`]) now? Also false if there is no such file.
///
/// # Errors
/// The file exists but cannot be opened or tried.
pub fn is_locked(dir: &Path, name: &str) -> io::Result<bool> {
    let Some(file) = open_read_only(dir, name)? else { return Ok(false) };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(fs::TryLockError::WouldBlock) => Ok(true),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

fn open_read_only(dir: &Path, name: &str) -> io::Result<Option<File>> {
    match File::open(dir.join(name)) {
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
        assert_eq!(wait_for_release(dir.path(), LOCK_FILE).await.unwrap(), Release::Missing);
        assert_eq!(wait_for_release(&dir.path().join("absent"), LOCK_FILE).await.unwrap(), Release::Missing);
        assert!(!is_locked(dir.path(), LOCK_FILE).unwrap());
        drop(StatusLock::acquire(dir.path()).unwrap());
        assert_eq!(wait_for_release(dir.path(), LOCK_FILE).await.unwrap(), Release::Released);
    }

    #[tokio::test]
    async fn the_wait_ends_when_the_holder_lets_go_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let lock = StatusLock::acquire(dir.path()).unwrap();
        assert!(is_locked(dir.path(), LOCK_FILE).unwrap());
        let mut wait = std::pin::pin!(wait_for_release(dir.path(), LOCK_FILE));
        assert!(timeout(SHORT, &mut wait).await.is_err(), "released while it was held");
        drop(lock);
        assert_eq!(timeout(LONG, wait).await.unwrap().unwrap(), Release::Released);
        assert!(!is_locked(dir.path(), LOCK_FILE).unwrap());
    }

    #[test]
    fn the_two_locks_are_two_and_each_has_one_holder() {
        let dir = tempfile::tempdir().unwrap();
        let status = StatusLock::try_acquire(dir.path()).unwrap().expect("it is free");
        assert!(StatusLock::try_acquire(dir.path()).unwrap().is_none());
        let lead = LeadLock::try_acquire(dir.path()).unwrap().expect("it is another lock");
        assert!(LeadLock::try_acquire(dir.path()).unwrap().is_none());
        drop(status);
        assert!(!is_locked(dir.path(), LOCK_FILE).unwrap() && is_locked(dir.path(), LEAD_LOCK_FILE).unwrap());
        drop(lead);
        assert!(!is_locked(dir.path(), LEAD_LOCK_FILE).unwrap());
        assert!(LeadLock::try_acquire(&dir.path().join("absent")).is_err());
    }

    /// The kernel keeps `lead.lock` until the last process that inherited it is gone; `status.lock` is no child's.
    #[tokio::test]
    async fn a_child_keeps_the_lead_lock_that_its_parent_dropped_and_not_the_status_lock() {
        let dir = tempfile::tempdir().unwrap();
        let status = StatusLock::try_acquire(dir.path()).unwrap().unwrap();
        let lead = LeadLock::try_acquire(dir.path()).unwrap().unwrap();
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        drop((status, lead));
        let no_child_has_it = timeout(LONG, wait_for_release(dir.path(), LOCK_FILE)).await.unwrap().unwrap();
        assert_eq!(no_child_has_it, Release::Released);
        assert!(is_locked(dir.path(), LEAD_LOCK_FILE).unwrap(), "the child has it still");
        assert!(LeadLock::try_acquire(dir.path()).unwrap().is_none());
        drop(child.stdin.take());
        let released = timeout(LONG, wait_for_release(dir.path(), LEAD_LOCK_FILE)).await.unwrap().unwrap();
        assert_eq!(released, Release::Released);
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn a_cancelled_wait_does_not_keep_the_lock_from_the_next_app() {
        let dir = tempfile::tempdir().unwrap();
        let first = StatusLock::acquire(dir.path()).unwrap();
        assert!(timeout(SHORT, wait_for_release(dir.path(), LOCK_FILE)).await.is_err());
        drop(first);
        let path = dir.path().to_owned();
        let second = tokio::task::spawn_blocking(move || StatusLock::acquire(&path));
        let second = timeout(LONG, second).await.unwrap().unwrap().unwrap();
        assert!(is_locked(dir.path(), LOCK_FILE).unwrap());
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
        assert!(is_locked(dir.path(), LOCK_FILE).unwrap(), "the lock is held on a file that is no longer there");
    }
}
