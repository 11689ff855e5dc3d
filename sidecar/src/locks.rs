//! The two locks of `sidecar exec`, as its sidecar sees them.
//!
//! ```text
//!   status.lock ──held?──▶ ExecSeen(true) ──the kernel lets go──▶ ExecSeen(false)
//!   AwaitLeadLock ──role.json stands in its place──▶ lead.lock free? ──▶ LeadLockFree
//! ```

use std::future::{Future, pending};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use leasehold_contract::{self as contract, LEAD_LOCK_FILE, LOCK_FILE, Release};
use leasehold_election::Input;
use tokio::time::Instant;
use tracing::{info, warn};

/// How often to look whether somebody took `status.lock`: the kernel reports only its release.
const LOOK: Duration = Duration::from_millis(100);

type Wait = Pin<Box<dyn Future<Output = std::io::Result<Release>> + Send>>;

/// Watches both locks.
pub(crate) struct Locks {
    directory: PathBuf,
    /// `exec` holds `status.lock`: the wait for its end.
    exec: Option<Wait>,
    /// When to look for it again.
    look: Instant,
    /// What the election was told last.
    told: Option<bool>,
    /// The wait for `lead.lock` that was asked for; it begins when role.json stands in its place.
    asked: Option<u64>,
    lead: Option<(u64, Wait)>,
    warned: bool,
}

impl Locks {
    pub(crate) fn new(directory: &Path) -> Locks {
        let directory = directory.to_owned();
        Locks { directory, exec: None, look: Instant::now(), told: None, asked: None, lead: None, warned: false }
    }

    /// Whether `exec` lives, as far as is known.
    pub(crate) fn is_exec_alive(&self) -> bool {
        self.told == Some(true)
    }

    /// `Effect::AwaitLeadLock`. The look must not precede the role.json that it is about.
    pub(crate) fn await_lead_lock(&mut self, number: u64) {
        self.asked = Some(number);
        self.lead = None;
    }

    /// The role.json that was published last stands in its place.
    pub(crate) fn role_is_written(&mut self) {
        if let Some(number) = self.asked.take() {
            self.lead = Some((number, self.wait_for(LEAD_LOCK_FILE)));
        }
    }

    fn wait_for(&self, name: &'static str) -> Wait {
        let directory = self.directory.clone();
        Box::pin(async move { contract::wait_for_release(&directory, name).await })
    }

    /// Waits for the election's next input. May be dropped and called again at any time.
    pub(crate) async fn next(&mut self) -> Input {
        loop {
            let input = tokio::select! {
                ended = wait(&mut self.exec) => self.exec_ended(ended),
                free = wait_numbered(&mut self.lead) => self.lead_freed(free),
                () = tokio::time::sleep_until(self.look), if self.exec.is_none() => self.look_for_exec(),
            };
            if let Some(input) = input {
                return input;
            }
        }
    }

    fn look_for_exec(&mut self) -> Option<Input> {
        self.look = Instant::now() + LOOK;
        match contract::is_locked(&self.directory, LOCK_FILE) {
            Ok(true) => {
                info!("exec is running");
                self.warned = false;
                self.exec = Some(self.wait_for(LOCK_FILE));
                self.tell(true)
            }
            Ok(false) => self.tell(false),
            Err(error) => {
                self.cannot_look(LOCK_FILE, &error);
                self.tell(false)
            }
        }
    }

    fn exec_ended(&mut self, ended: std::io::Result<Release>) -> Option<Input> {
        self.exec = None;
        self.look = Instant::now() + LOOK;
        match ended {
            Ok(_) => info!("exec released its lock: it has ended"),
            Err(error) => self.cannot_look(LOCK_FILE, &error),
        }
        self.tell(false)
    }

    fn lead_freed(&mut self, free: (u64, std::io::Result<Release>)) -> Option<Input> {
        self.lead = None;
        match free {
            // Where there is no such file, no exec ever took it.
            (number, Ok(Release::Released | Release::Missing)) => Some(Input::LeadLockFree { number }),
            (_, Err(error)) => {
                // Nothing is known then, so the Lease is not let go: it runs out.
                self.cannot_look(LEAD_LOCK_FILE, &error);
                None
            }
        }
    }

    fn tell(&mut self, is_alive: bool) -> Option<Input> {
        (self.told.replace(is_alive) != Some(is_alive)).then_some(Input::ExecSeen(is_alive))
    }

    fn cannot_look(&mut self, name: &str, error: &std::io::Error) {
        if !std::mem::replace(&mut self.warned, true) {
            let directory = self.directory.display();
            warn!(file = name, %directory, %error, "cannot look at a lock of exec; give both containers the same volume and user");
        }
    }
}

async fn wait(wait: &mut Option<Wait>) -> std::io::Result<Release> {
    match wait {
        Some(wait) => wait.await,
        None => pending().await,
    }
}

async fn wait_numbered(wait: &mut Option<(u64, Wait)>) -> (u64, std::io::Result<Release>) {
    match wait {
        Some((number, wait)) => (*number, wait.await),
        None => pending().await,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use contract::{LeadLock, StatusLock};
    use tokio::time::timeout;

    const LONG: Duration = Duration::from_secs(10);

    async fn next(locks: &mut Locks) -> Input {
        timeout(LONG, locks.next()).await.expect("the locks gave no sign")
    }

    #[tokio::test]
    async fn exec_is_seen_when_it_takes_its_lock_and_when_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let mut locks = Locks::new(dir.path());
        assert_eq!(next(&mut locks).await, Input::ExecSeen(false));
        let lock = StatusLock::acquire(dir.path()).unwrap();
        assert_eq!(next(&mut locks).await, Input::ExecSeen(true));
        assert!(locks.is_exec_alive());
        drop(lock);
        assert_eq!(next(&mut locks).await, Input::ExecSeen(false));
        let _lock = StatusLock::acquire(dir.path()).unwrap();
        assert_eq!(next(&mut locks).await, Input::ExecSeen(true));
    }

    #[tokio::test]
    async fn the_lead_lock_is_looked_at_only_when_role_json_stands_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let mut locks = Locks::new(dir.path());
        assert_eq!(next(&mut locks).await, Input::ExecSeen(false));
        locks.await_lead_lock(1);
        assert!(timeout(Duration::from_millis(300), locks.next()).await.is_err(), "it looked too early");
        locks.role_is_written();
        assert_eq!(next(&mut locks).await, Input::LeadLockFree { number: 1 }, "nobody ever took it");

        let lead = LeadLock::try_acquire(dir.path()).unwrap().unwrap();
        locks.await_lead_lock(2);
        locks.role_is_written();
        assert!(timeout(Duration::from_millis(300), locks.next()).await.is_err(), "somebody holds it");
        locks.await_lead_lock(3);
        locks.role_is_written();
        drop(lead);
        assert_eq!(next(&mut locks).await, Input::LeadLockFree { number: 3 }, "each wait replaces the one before");
    }
}
