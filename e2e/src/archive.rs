//! The program `backup` beside a cluster of processes: an archive in a folder, the agents that write it, and the commands that
//! read it.
//!
//! An agent is no part of a cluster, as in Kubernetes, where it is a Deployment: it is started, killed and looked at by itself. The
//! archive's folder is nobody's but the test's, and outlives clusters.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, bail};

use crate::{
    client::Http,
    cluster::{Cluster, PATIENCE, Process, Programs, Signal, Spec},
};

/// An archive in a folder.
#[derive(Clone, Debug)]
pub struct Archive {
    program: PathBuf,
    folder: PathBuf,
}

/// Where an agent works.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The pods that it knows; none: all.
    pub pods: Option<Vec<u16>>,
    /// How little of the processors it gets where others want them, from 0 to 19.
    pub niceness: Option<u8>,
}

/// A running agent. Dropping it kills it.
#[derive(Debug)]
pub struct Agent {
    process: Process,
    listen: SocketAddr,
    http: Http,
}

impl Archive {
    /// The archive in this folder, which need not be there yet.
    ///
    /// # Errors
    /// The program `backup` is missing.
    pub fn at(folder: &Path) -> anyhow::Result<Archive> {
        Ok(Archive { program: Programs::beside("backup")?, folder: std::path::absolute(folder)? })
    }

    /// What `--url` is.
    pub fn url(&self) -> String {
        format!("file://{}", self.folder.display())
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The program `backup`.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// One of its commands, for this archive.
    pub fn command(&self, command: &str) -> Command {
        let mut made = Command::new(&self.program);
        made.args([command, "--url", &self.url()]);
        made
    }

    /// Runs a command for this archive; what it wrote to its standard output.
    ///
    /// # Errors
    /// It failed: all that it wrote.
    pub fn run(&self, command: &str, args: &[&str]) -> anyhow::Result<String> {
        let ran = self.command(command).args(args).output().context("backup cannot be started")?;
        let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        if !ran.status.success() {
            bail!("backup {command} {}: {}\n{out}{err}", args.join(" "), ran.status);
        }
        Ok(out.into_owned())
    }

    /// [`prepares`] from this archive.
    ///
    /// # Errors
    /// The program `backup` is missing.
    pub fn prepares(&self, at: &str) -> anyhow::Result<Vec<String>> {
        prepares(&self.url(), at)
    }

    /// The last sequence that the names of this cluster's objects tell; 0: there is none.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn end(&self, cluster_id: &str) -> anyhow::Result<u64> {
        let mut end = 0;
        for (kind, part) in [("full", 0), ("changes", 1)] {
            for name in names(&self.folder.join(cluster_id).join(kind))? {
                let number = name.split('-').nth(part).unwrap_or_default().parse();
                end = end.max(number.with_context(|| format!("the name {name} in {kind}"))?);
            }
        }
        Ok(end)
    }

    /// Starts an agent for this cluster. `number` tells several apart. It is started again when it ends, as a kubelet does.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn agent(&self, cluster: &Cluster, number: u16, args: &[&str]) -> anyhow::Result<Agent> {
        self.agent_at(cluster, number, &Place::default(), args)
    }

    /// The same, at that place.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn agent_at(&self, cluster: &Cluster, number: u16, place: &Place, args: &[&str]) -> anyhow::Result<Agent> {
        let pods = place.pods.clone().unwrap_or_else(|| (0..cluster.wanted()).collect());
        let scheme = cluster.http().scheme();
        let stores: Vec<String> = pods.iter().map(|i| format!("{scheme}://{}", cluster.store(*i))).collect();
        let listen: SocketAddr = ([127, 0, 0, 1], cluster.ports().agent(number)).into();
        let folder = cluster.folder().join(format!("agent-{number}"));
        let spool = folder.join("spool");
        // The archive's, too: an agent makes no folder, for that may be a volume that is not mounted.
        for folder in [&spool, &self.folder] {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        // `nice` becomes the agent, so the process is the same.
        let (program, mut all) = match place.niceness {
            Some(niceness) => {
                ("nice".into(), vec!["-n".to_owned(), niceness.to_string(), self.program.display().to_string()])
            }
            None => (self.program.clone(), Vec::new()),
        };
        all.push("agent".to_owned());
        for (flag, value) in [
            ("--url", self.url()),
            ("--store", stores.join(",")),
            ("--spool", spool.display().to_string()),
            ("--listen", listen.to_string()),
        ] {
            all.extend([flag.to_owned(), value]);
        }
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        let process = Process::new(Spec {
            program,
            args: all,
            environment: Vec::new(),
            log: folder.join("log"),
            pids: cluster.folder().join("pids"),
            restart_after: Duration::from_secs(1),
        })?;
        process.start();
        Ok(Agent { process, listen, http: Http::default() })
    }
}

/// The command that prepares an empty volume from the archive at this URL: [`Config::restore`](crate::cluster::Config::restore).
///
/// # Errors
/// The program `backup` is missing.
pub fn prepares(url: &str, at: &str) -> anyhow::Result<Vec<String>> {
    let program = Programs::beside("backup")?.display().to_string();
    Ok([&program, "restore", "--url", url, "--at", at].map(str::to_owned).into())
}

/// The pods that somebody watches: agents, where there are no other clients.
///
/// # Errors
/// A pod does not answer.
pub async fn watched(cluster: &Cluster) -> anyhow::Result<Vec<u16>> {
    let mut watched = Vec::new();
    for i in 0..cluster.wanted() {
        let text = cluster.http().get(cluster.store(i), "/metrics").await?.text();
        let watchers = text.lines().find_map(|line| line.strip_prefix("leasehold_store_watchers "));
        if watchers.context("no leasehold_store_watchers")?.trim() != "0" {
            watched.push(i);
        }
    }
    Ok(watched)
}

/// The names in a folder, but for those of files that are being written; none: there is no such folder.
fn names(folder: &Path) -> anyhow::Result<Vec<String>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with(|c: char| c.is_ascii_digit()) && name.contains(".zst") && !name.contains('#') {
            names.push(name);
        }
    }
    Ok(names)
}

impl Agent {
    /// `kill -9`, and it is started again.
    pub fn kill(&self) {
        self.process.signal(Signal::KILL);
    }

    /// Ends it by this signal, for good.
    ///
    /// # Errors
    /// It does not end.
    pub fn end(&self, signal: Signal) -> anyhow::Result<()> {
        self.process.unwant();
        self.process.signal(signal);
        self.process.wait_until_ended(PATIENCE)
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The value of one of its metrics, as a line of /metrics begins: `leasehold_backup_refused{reason="ahead"}`.
    ///
    /// # Errors
    /// It does not answer, or has no such metric.
    pub async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let text = self.http.get(self.listen, "/metrics").await?.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.with_context(|| format!("no {name} in\n{text}"))?.trim().parse()?)
    }

    /// Waits until a restore would lead to this sequence.
    ///
    /// # Errors
    /// It does not within the cluster's patience.
    pub async fn has(&self, cluster: &Cluster, sequence: u64) -> anyhow::Result<()> {
        cluster
            .until("the archive has all of it", || async {
                let has = self.metric("leasehold_backup_recoverable_sequence").await?;
                #[allow(clippy::cast_precision_loss)] // tests do not write that much
                let enough = has >= sequence as f64;
                anyhow::ensure!(enough, "it leads to {has}, not to {sequence}");
                Ok(())
            })
            .await
    }

    /// What it wrote.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.process.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("==== agent at {}\n{}", self.listen, lines[lines.len().saturating_sub(60)..].join("\n"));
        }
    }
}
