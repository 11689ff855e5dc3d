//! One program of a pod, and what a kubelet does for it: start it, start it again when it ends.
//!
//! ```text
//!   start() ─▶ wanted ──▶ spawn ──▶ waitid(NOWAIT) ──▶ reap ──▶ wait the delay ─┐
//!                           ▲                                                   │
//!                           └──────────── while wanted ─────────────────────────┘
//! ```
//!
//! A thread per program. The child is reaped only under the lock that also covers sending signals, so a signal never
//! reaches another process that got the number. Each child has its own process group: only the harness handles a Ctrl-C in
//! the terminal.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use leasehold_api::lock;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// How a program is started.
#[derive(Clone, Debug)]
pub struct Spec {
    /// What is run.
    pub program: PathBuf,
    /// With what arguments.
    pub args: Vec<String>,
    /// More variables of its environment.
    pub environment: Vec<(String, String)>,
    /// Where its output goes, appended from one run to the next.
    pub log: PathBuf,
    /// Where its pid is noted while it runs, for the guardian.
    pub pids: PathBuf,
    /// How long after its end it is started again.
    pub restart_after: Duration,
}

/// A supervised program.
#[derive(Debug)]
pub struct Process {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    spec: Spec,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// It shall run.
    wanted: bool,
    /// The supervision shall end.
    over: bool,
    running: Option<Pid>,
    starts: u32,
    last_exit: Option<ExitStatus>,
    /// The program could not be started.
    failed: Option<String>,
}

impl Process {
    /// Supervises the program; it is not started yet.
    pub fn new(spec: Spec) -> anyhow::Result<Process> {
        let shared = Arc::new(Shared { spec, state: Mutex::default(), changed: Condvar::new() });
        let thread = std::thread::Builder::new().name("kubelet".into()).spawn({
            let shared = shared.clone();
            move || shared.supervise()
        })?;
        Ok(Process { shared, thread: Some(thread) })
    }

    /// Starts it now, without the delay, and again whenever it ends.
    pub fn start(&self) {
        self.shared.lock().wanted = true;
        self.shared.changed.notify_all();
    }

    /// Does not start it again when it ends.
    pub fn unwant(&self) {
        self.shared.lock().wanted = false;
        self.shared.changed.notify_all();
    }

    /// Sends the signal. False: it does not run at the moment.
    pub fn signal(&self, signal: Signal) -> bool {
        self.shared.lock().running.is_some_and(|pid| kill_process(pid, signal).is_ok())
    }

    /// Its process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.shared.lock().running.and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok())
    }

    /// How often it was started.
    pub(crate) fn starts(&self) -> u32 {
        self.shared.lock().starts
    }

    pub(crate) fn last_exit(&self) -> Option<ExitStatus> {
        self.shared.lock().last_exit
    }

    /// Waits until this run of it is over.
    pub fn wait_until_ended(&self, timeout: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + timeout;
        let mut state = self.shared.lock();
        let before = state.running;
        while state.running.is_some() && state.running == before {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("{} does not end", self.shared.spec.program.display());
            }
            state = self.shared.wait(state, left);
        }
        Ok(())
    }

    /// Where its output goes.
    pub fn log_path(&self) -> &Path {
        &self.shared.spec.log
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.wanted = false;
            state.over = true;
            if let Some(pid) = state.running {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, timeout: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner).0
    }

    fn supervise(&self) {
        loop {
            let mut state = self.lock();
            while !state.wanted && !state.over {
                state = self.wait(state, Duration::from_secs(3600));
            }
            if state.over {
                return;
            }
            match self.spawn() {
                Err(error) => {
                    state.failed = Some(format!("{error:#}"));
                    self.note(&format!("{error:#}"));
                }
                Ok(mut child) => {
                    let pid = Pid::from_child(&child);
                    state.running = Some(pid);
                    state.starts += 1;
                    self.changed.notify_all();
                    drop(state);
                    // Not reaped yet: the number stays its own until the lock is ours.
                    while let Err(rustix::io::Errno::INTR) =
                        waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
                    {}
                    state = self.lock();
                    let status = child.wait();
                    let _ = std::fs::remove_file(self.pid_file(pid));
                    state.running = None;
                    state.last_exit = status.ok();
                    self.note(&format!("ended: {}", state.last_exit.map_or("unknown".into(), |s| s.to_string())));
                    self.changed.notify_all();
                }
            }
            let again = Instant::now() + self.spec.restart_after;
            while state.wanted && !state.over && Instant::now() < again {
                state = self.wait(state, again.saturating_duration_since(Instant::now()));
            }
        }
    }

    fn spawn(&self) -> anyhow::Result<std::process::Child> {
        let log = open_log(&self.spec.log)?;
        let mut command = Command::new(&self.spec.program);
        for (name, _) in std::env::vars_os() {
            // A user's settings for a program of their own must not change the cluster's.
            if name.to_string_lossy().starts_with("LEASEHOLD_") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .args(&self.spec.args)
            .envs(self.spec.environment.iter().map(|(name, value)| (name, value)))
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("{} cannot be started", self.spec.program.display()))?;
        let start = start_time(child.id()).unwrap_or(0);
        if let Err(error) = std::fs::write(self.pid_file(Pid::from_child(&child)), start.to_string()) {
            // Nobody would know of it, and it would stay.
            let _ = child.kill();
            let _ = child.wait();
            return Err(error).context("its number cannot be noted");
        }
        Ok(child)
    }

    fn pid_file(&self, pid: Pid) -> PathBuf {
        self.spec.pids.join(pid.as_raw_nonzero().to_string())
    }

    /// A line of the harness between those of the program.
    fn note(&self, line: &str) {
        if let Ok(mut log) = open_log(&self.spec.log) {
            let _ = writeln!(log, "---- e2e: {line}");
        }
    }
}

fn open_log(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new().create(true).append(true).open(path).with_context(|| format!("cannot write {}", path.display()))
}

/// When the process was started, in clock ticks since boot: with its number it names a process for good.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets, and may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(19)?.parse().ok()
}

/// Kills every process that is noted in this folder and still is the one that was noted.
pub(crate) fn kill_noted(pids: &Path) {
    let Ok(entries) = std::fs::read_dir(pids) else { return };
    for entry in entries.flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        let noted = std::fs::read_to_string(entry.path()).ok().and_then(|text| text.trim().parse::<u64>().ok());
        let (Some(pid), Some(noted)) = (pid, noted) else { continue };
        if noted != 0
            && start_time(pid) == Some(noted)
            && let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw)
        {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use leasehold_testkit::until_blocking;

    use super::*;

    fn sleeper(dir: &Path, seconds: &str) -> Process {
        let pids = dir.join("pids");
        std::fs::create_dir_all(&pids).unwrap();
        let spec = Spec {
            program: "sleep".into(),
            args: vec![seconds.into()],
            environment: Vec::new(),
            log: dir.join("log"),
            pids,
            restart_after: Duration::from_millis(10),
        };
        Process::new(spec).unwrap()
    }

    #[test]
    fn a_killed_program_is_started_again_until_it_is_not_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let process = sleeper(dir.path(), "1000");
        process.start();
        until_blocking("the process is so far", || process.pid().is_some());
        let first = process.pid().unwrap();
        assert!(start_time(first).is_some());
        assert!(process.signal(Signal::KILL));
        until_blocking("the process is so far", || process.starts() == 2 && process.pid().is_some());
        assert_ne!(process.pid().unwrap(), first);
        process.unwant();
        process.signal(Signal::KILL);
        process.wait_until_ended(Duration::from_secs(30)).unwrap();
        assert!(process.last_exit().is_some());
        assert_eq!(std::fs::read_dir(dir.path().join("pids")).unwrap().count(), 0, "a pid is still noted");
    }

    #[test]
    fn dropping_it_kills_it_and_the_guardian_would_too() {
        let dir = tempfile::tempdir().unwrap();
        let process = sleeper(dir.path(), "1000");
        process.start();
        until_blocking("the process is so far", || process.pid().is_some());
        let pid = process.pid().unwrap();
        kill_noted(&dir.path().join("pids"));
        until_blocking("the process is so far", || {
            process.starts() >= 2 && process.pid().is_some_and(|now| now != pid)
        });
        let pid = process.pid().unwrap();
        drop(process);
        assert_eq!(start_time(pid), None);
    }
}
