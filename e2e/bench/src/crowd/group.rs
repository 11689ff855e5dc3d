//! One member of each app, as a process: started, heard, stopped, killed.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, ensure};
use leasehold_contract::Moment;
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    task::JoinHandle,
};

use super::{
    claims::{Claims, Told},
    stage::Stage,
};
use crate::{machine, system::Peers};

/// Whose electors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum System {
    /// Ours, as a plain app embeds them and as the sidecar runs them.
    Leasehold,
    /// client-go's leader election.
    ClientGo,
}

impl System {
    pub(super) fn name(self) -> &'static str {
        match self {
            System::Leasehold => "Leasehold",
            System::ClientGo => "client-go",
        }
    }

    /// Why it cannot be measured here.
    pub(super) fn missing(self, peers: &Peers) -> Option<String> {
        (self == System::ClientGo).then(|| peers.crowd().err()).flatten()
    }

    fn command(self, peers: &Peers, stage: &Stage, who: Who) -> anyhow::Result<Command> {
        let seconds = who.lease_seconds;
        let (mut command, times) = match self {
            System::Leasehold => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("crowd-electors");
                (command, vec![("--lease-seconds", seconds.to_string())])
            }
            System::ClientGo => {
                // In the proportion of 15, 10 and 2 s, which client-go proposes.
                let ms = |part: u64| format!("{}ms", seconds * 1_000 * part / 15);
                let times = [("--lease-duration", ms(15)), ("--renew-deadline", ms(10)), ("--retry-period", ms(2))];
                (Command::new(peers.crowd().map_err(|why| anyhow::anyhow!(why))?), times.to_vec())
            }
        };
        command.arg("--kubeconfigs").arg(&stage.kubeconfigs).args(["--namespace", &stage.namespace]);
        command.args(["--apps", &who.apps.to_string(), "--member", &who.member.to_string()]);
        for (flag, value) in times {
            command.args([flag, &value]);
        }
        Ok(command)
    }
}

/// Which member, of how many apps, with which times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Who {
    pub(super) apps: usize,
    pub(super) member: usize,
    pub(super) lease_seconds: u64,
}

/// What all groups report to.
pub(super) type Heard = Arc<Mutex<Claims>>;

/// See the module. Dropping it kills the process.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) member: usize,
    /// What it says in trouble.
    log: PathBuf,
    child: Child,
    stdin: Option<ChildStdin>,
    ready: Arc<AtomicBool>,
    reader: JoinHandle<()>,
    heard: Heard,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Claim(Told),
    Ready { ready: bool },
}

impl Group {
    pub(super) fn start(
        system: System,
        peers: &Peers,
        stage: &Stage,
        who: Who,
        heard: &Heard,
    ) -> anyhow::Result<Group> {
        let mut command = system.command(peers, stage, who)?;
        let log = stage.kubeconfigs.join(format!("member-{}.log", who.member));
        let errors = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start the electors of {}", system.name()))?;
        let stdout = child.stdout.take().context("the electors have no output")?;
        let ready = Arc::new(AtomicBool::new(false));
        let reader = tokio::spawn(listen(stdout, who.member, heard.clone(), ready.clone()));
        let (stdin, heard) = (child.stdin.take(), heard.clone());
        Ok(Group { member: who.member, log, stdin, child, ready, reader, heard })
    }

    /// Every elector has seen a leader.
    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    pub(super) fn cpu_seconds(&self) -> f64 {
        self.child.id().map(machine::cpu_seconds).unwrap_or_default()
    }

    pub(super) fn memory_bytes(&self) -> f64 {
        self.child.id().map(machine::resident_bytes).unwrap_or_default()
    }

    /// It still runs.
    pub(super) fn runs(&mut self) -> anyhow::Result<()> {
        let ended = self.child.try_wait()?;
        ensure!(ended.is_none(), "the electors of member {} ended: {ended:?}\n{}", self.member, self.last_words());
        Ok(())
    }

    /// Asks all its electors to hand over and end.
    pub(super) async fn stop(&mut self) -> anyhow::Result<()> {
        let stdin = self.stdin.as_mut().context("the electors were stopped already")?;
        stdin.write_all(b"stop\n").await.context("the electors do not listen")
    }

    /// Waits until a stopped one has ended.
    pub(super) async fn ended(mut self, patience: Duration) -> anyhow::Result<()> {
        let status = tokio::time::timeout(patience, self.child.wait()).await.context("the electors do not end")??;
        ensure!(status.success(), "the electors ended badly: {status}\n{}", self.last_words());
        self.bury().await
    }

    /// `kill -9`, as if all their nodes were lost at once.
    pub(super) async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("cannot kill the electors")?;
        self.bury().await
    }

    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// What it said last is heard before its death is noted.
    async fn bury(&mut self) -> anyhow::Result<()> {
        let at = now();
        (&mut self.reader).await?;
        lock(&self.heard).died(self.member, at);
        Ok(())
    }
}

async fn listen(stdout: ChildStdout, member: usize, heard: Heard, ready: Arc<AtomicBool>) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(Line::Claim(told)) => lock(&heard).told(member, told),
            Ok(Line::Ready { ready: is_ready }) => ready.store(is_ready, Ordering::Relaxed),
            // A library's words, which are no report.
            Err(_) => {}
        }
    }
}

/// Nanoseconds since the machine's boot.
pub(super) fn now() -> i64 {
    i64::try_from(Moment::now().boottime_ns).unwrap_or(i64::MAX)
}

pub(super) fn lock(heard: &Mutex<Claims>) -> std::sync::MutexGuard<'_, Claims> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Raises the limit of open files as far as it may be raised, for this process and those that it starts.
///
/// # Errors
/// That is not enough for so many electors.
pub(super) fn raise_open_files(apps: usize, members: usize) -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .context("cannot raise the limit of open files")?;
    // At the API server: two watches and a request of each elector, each on a connection of its own, and some again.
    let needed = (apps * members * 4 + 1_000) as u64;
    let most = limit.maximum.unwrap_or(u64::MAX);
    ensure!(
        most >= needed,
        "{apps} apps of {members} need {needed} open files at the API server, and the limit is {most}: raise it (ulimit \
         -Hn {needed}), or measure fewer with --apps"
    );
    Ok(())
}

/// Whether a kubeconfig is there at all, before much is done.
pub(super) fn check_file(file: &Path) -> anyhow::Result<()> {
    ensure!(file.is_file(), "there is no kubeconfig {}: name an existing file", file.display());
    Ok(())
}
