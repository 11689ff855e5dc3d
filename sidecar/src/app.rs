//! The app beside the sidecar, as status.json and the kernel report it.
//!
//! ```text
//!   status.json ──Watch──▶ lock held? ──yes──▶ AppSeen            a thread waits for the lock of that incarnation
//!                                     ──free─▶ AppDied                    └──got it──▶ AppDied
//!               ──missing, unreadable, no lock file──▶ AppSilent
//! ```

use std::future::{Future, pending};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use leasehold_contract::{self as contract, Release, StatusFile, Watch, WatchEvent};
use leasehold_election::Input;
use tokio::time::Instant;
use tracing::{info, warn};
use uuid::Uuid;

use crate::locks::Locks;
use crate::telemetry::Metrics;

/// How often to check again a status whose lock could not be judged.
const AGAIN: Duration = Duration::from_millis(500);

type Wait = Pin<Box<dyn Future<Output = std::io::Result<Release>> + Send>>;

/// Watches the app. A plain app that `exec` does not run is never watched: it lives as long as the sidecar.
pub(crate) enum AppWatch {
    Plain,
    Exec(Locks),
    Fencing(Box<Fencing>),
}

pub(crate) struct Fencing {
    directory: PathBuf,
    watch: Watch<StatusFile>,
    metrics: Metrics,
    /// The last content of status.json, whatever the state of its lock.
    status: Option<StatusFile>,
    /// The incarnation whose lock is awaited, with that wait.
    wait: Option<(Uuid, Wait)>,
    /// The incarnation whose lock was acquired.
    dead: Option<Uuid>,
    /// The incarnation that the election was last shown.
    shown: Option<Uuid>,
    /// When to check the lock again, if it could not be judged.
    again: Option<Instant>,
    /// Whether that was logged.
    warned: bool,
}

impl AppWatch {
    pub(crate) fn fencing(directory: &Path, metrics: Metrics) -> AppWatch {
        let watch = Watch::new(directory, contract::STATUS_FILE);
        let directory = directory.to_owned();
        let (status, wait, dead, shown, again, warned) = (None, None, None, None, None, false);
        AppWatch::Fencing(Box::new(Fencing { directory, watch, metrics, status, wait, dead, shown, again, warned }))
    }

    /// Waits for the election's next input. May be dropped and called again at any time.
    pub(crate) async fn next(&mut self) -> Input {
        match self {
            AppWatch::Plain => pending().await,
            AppWatch::Exec(locks) => locks.next().await,
            AppWatch::Fencing(fencing) => fencing.next().await,
        }
    }

    /// The last content of status.json, and whether that run of the app (or `exec`) holds its lock.
    pub(crate) fn status(&self) -> (Option<&StatusFile>, bool) {
        match self {
            AppWatch::Plain => (None, true),
            AppWatch::Exec(locks) => (None, locks.is_exec_alive()),
            AppWatch::Fencing(fencing) => (fencing.status.as_ref(), fencing.wait.is_some()),
        }
    }

    /// `Effect::AwaitLeadLock`.
    pub(crate) fn await_lead_lock(&mut self, number: u64) {
        if let AppWatch::Exec(locks) = self {
            locks.await_lead_lock(number);
        }
    }

    /// The role.json that was published last stands in its place.
    pub(crate) fn role_is_written(&mut self) {
        if let AppWatch::Exec(locks) = self {
            locks.role_is_written();
        }
    }
}

impl Fencing {
    async fn next(&mut self) -> Input {
        loop {
            let input = tokio::select! {
                event = self.watch.next() => self.changed(event),
                release = wait(&mut self.wait) => self.released(release),
                () = at(self.again) => self.judge(),
            };
            if let Some(input) = input {
                return input;
            }
        }
    }

    fn changed(&mut self, event: WatchEvent<StatusFile>) -> Option<Input> {
        match event {
            WatchEvent::Value(status) => {
                self.status = Some(status);
                self.judge()
            }
            WatchEvent::Missing => {
                self.forget();
                Some(Input::AppSilent)
            }
            WatchEvent::Unreadable(error) => {
                warn!(%error, "status.json is unusable");
                self.metrics.unreadable_file("status");
                self.forget();
                Some(Input::AppSilent)
            }
        }
    }

    /// A status counts only while the app holds its lock.
    fn judge(&mut self) -> Option<Input> {
        self.again = None;
        let status = self.status.as_ref()?;
        let incarnation = status.incarnation;
        if self.dead == Some(incarnation) {
            return None;
        }
        if self.wait.as_ref().is_none_or(|(waiting, _)| *waiting != incarnation) {
            match contract::is_locked(&self.directory, contract::LOCK_FILE) {
                Ok(true) => {}
                // An app locks before its first status.json: so this run of it is dead, or there is no lock at all.
                Ok(false) if self.directory.join(contract::LOCK_FILE).exists() => return Some(self.died(incarnation)),
                Ok(false) => return Some(self.undecided("status.lock does not exist: the app has not created it")),
                Err(error) => return Some(self.undecided(&error.to_string())),
            }
            info!(%incarnation, state = ?status.state, "the app is running");
            let directory = self.directory.clone();
            let wait = Box::pin(async move { contract::wait_for_release(&directory, contract::LOCK_FILE).await });
            self.wait = Some((incarnation, wait));
        }
        self.warned = false;
        self.shown = Some(incarnation);
        Some(Input::AppSeen(contract::election::app_status(status)))
    }

    fn released(&mut self, release: std::io::Result<Release>) -> Option<Input> {
        let (incarnation, _) = self.wait.take()?;
        Some(match release {
            Ok(Release::Released) => self.died(incarnation),
            Ok(Release::Missing) => self.undecided("status.lock was deleted"),
            Err(error) => self.undecided(&error.to_string()),
        })
    }

    fn died(&mut self, incarnation: Uuid) -> Input {
        info!(%incarnation, "the app released its lock: it has ended");
        self.wait = None;
        self.dead = Some(incarnation);
        // A run that lived and died between two looks replaces the one that the election knows: both are dead.
        Input::AppDied { incarnation: self.shown.take().unwrap_or(incarnation) }
    }

    fn undecided(&mut self, reason: &str) -> Input {
        if !std::mem::replace(&mut self.warned, true) {
            warn!(reason, "cannot determine whether the app is alive");
        }
        self.again = Some(Instant::now() + AGAIN);
        Input::AppSilent
    }

    fn forget(&mut self) {
        // The wait for its lock continues: an app that lives without a status.json can still die.
        self.status = None;
        self.again = None;
    }
}

async fn wait(wait: &mut Option<(Uuid, Wait)>) -> std::io::Result<Release> {
    match wait {
        Some((_, wait)) => wait.await,
        None => pending().await,
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => pending().await,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use contract::{LOCK_FILE, STATUS_FILE, StatusLock, replace_file};
    use leasehold_election::{AppState, AppStatus, Term};
    use serde_json::json;
    use tokio::time::timeout;

    const LONG: Duration = Duration::from_secs(10);

    struct Beside {
        dir: tempfile::TempDir,
        watch: AppWatch,
        metrics: Metrics,
    }

    impl Beside {
        fn new() -> Beside {
            let (dir, metrics) = (tempfile::tempdir().unwrap(), Metrics::new());
            let watch = AppWatch::fencing(dir.path(), metrics.clone());
            Beside { dir, watch, metrics }
        }

        fn lock(&self) -> StatusLock {
            StatusLock::acquire(self.dir.path()).unwrap()
        }

        fn write(&self, incarnation: u128, state: &str) {
            let status = json!({
                "version": 1, "incarnation": Uuid::from_u128(incarnation), "state": state, "voter": true,
                "promised": {"term": 3, "incarnation": null}, "position": {"term": 3, "sequence": 8},
                "leaderHeard": true, "eligible": true, "rank": 2, "needTerm": 4,
            });
            replace_file(self.dir.path(), STATUS_FILE, status.to_string().as_bytes()).unwrap();
        }

        async fn next(&mut self) -> Input {
            timeout(LONG, self.watch.next()).await.expect("the app gave no sign")
        }

        async fn seen(&mut self) -> AppStatus {
            match self.next().await {
                Input::AppSeen(status) => status,
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_live_app_is_seen_with_all_that_decides() {
        let mut app = Beside::new();
        assert_eq!(app.next().await, Input::AppSilent);
        let _lock = app.lock();
        app.write(1, "recovering");
        let status = app.seen().await;
        assert_eq!((status.incarnation, status.state), (Uuid::from_u128(1), AppState::Recovering));
        assert_eq!((status.promised.term, status.rank, status.need_term), (Term(3), 2, Some(Term(4))));
        assert!(status.leader_heard && status.eligible && !status.bootstrapping);
        app.write(1, "leading");
        assert_eq!(app.seen().await.state, AppState::Leading);
        assert!(app.watch.status().1);
    }

    #[tokio::test]
    async fn its_death_comes_from_the_kernel_at_once_and_once() {
        let mut app = Beside::new();
        let lock = app.lock();
        app.write(1, "leading");
        app.seen().await;
        drop(lock);
        assert_eq!(app.next().await, Input::AppDied { incarnation: Uuid::from_u128(1) });
        assert!(!app.watch.status().1);
        assert!(timeout(Duration::from_millis(300), app.watch.next()).await.is_err(), "it died twice");
        let _lock = app.lock();
        app.write(2, "starting");
        assert_eq!(app.seen().await.incarnation, Uuid::from_u128(2));
    }

    #[tokio::test]
    async fn a_status_whose_lock_is_free_is_a_dead_apps() {
        let mut app = Beside::new();
        drop(app.lock());
        app.write(7, "leading");
        assert_eq!(app.next().await, Input::AppDied { incarnation: Uuid::from_u128(7) });
    }

    #[tokio::test]
    async fn a_run_that_came_and_went_unseen_takes_the_known_one_with_it() {
        let mut app = Beside::new();
        let first = app.lock();
        app.write(1, "leading");
        app.seen().await;
        // The next app gets the lock before the waiting thread does, writes, and dies.
        app.write(2, "starting");
        drop(first);
        match app.next().await {
            Input::AppDied { incarnation } => assert_eq!(incarnation, Uuid::from_u128(1)),
            // The status was read while the lock was still held.
            Input::AppSeen(status) => {
                assert_eq!(status.incarnation, Uuid::from_u128(2));
                assert_eq!(app.next().await, Input::AppDied { incarnation: Uuid::from_u128(2) });
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn without_a_lock_file_nothing_is_concluded_until_there_is_one() {
        let mut app = Beside::new();
        app.write(1, "follower");
        assert_eq!(app.next().await, Input::AppSilent);
        let _lock = app.lock();
        assert!(app.dir.path().join(LOCK_FILE).exists());
        loop {
            match app.next().await {
                Input::AppSilent => {}
                Input::AppSeen(status) => break assert_eq!(status.state, AppState::Follower),
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn an_unreadable_status_is_counted_and_is_no_death() {
        let mut app = Beside::new();
        let _lock = app.lock();
        app.write(1, "leading");
        app.seen().await;
        replace_file(app.dir.path(), STATUS_FILE, b"{").unwrap();
        assert_eq!(app.next().await, Input::AppSilent);
        let text = app.metrics.encode();
        assert!(text.contains("leasehold_sidecar_unreadable_files_total{kind=\"status\"} 1"), "{text}");
        app.write(1, "leading");
        assert_eq!(app.seen().await.state, AppState::Leading);
    }
}
