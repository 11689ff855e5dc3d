//! Where a system of the bench lives: a folder, ports and supervised processes, all gone when it is dropped.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use leasehold_e2e::cluster::{Guardian, PATIENCE, Ports, Process, Signal, Spec};

/// How long a process that ended stays away, as a kubelet's first delay.
const RESTART_AFTER: Duration = Duration::from_secs(1);
/// From one look at a system to the next, while something is waited for.
pub(super) const LOOK: Duration = Duration::from_millis(5);

/// See the module.
#[derive(Debug)]
pub(super) struct Place {
    // In this order: the processes end before their folder goes, the guardian after both.
    nodes: Vec<Process>,
    /// What runs beside the nodes and is asked nothing by clients.
    helpers: Vec<Process>,
    folder: tempfile::TempDir,
    ports: Ports,
    _guardian: Option<Guardian>,
}

impl Place {
    pub(super) fn new() -> anyhow::Result<Place> {
        let folder = tempfile::Builder::new().prefix("leasehold-bench-").tempdir()?;
        std::fs::create_dir_all(folder.path().join("pids"))?;
        let guardian = Guardian::start(&std::env::current_exe()?.with_file_name("e2e"), folder.path(), true);
        Ok(Place { nodes: Vec::new(), helpers: Vec::new(), folder, ports: Ports::claim()?, _guardian: guardian })
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where clients ask node `i`.
    pub(super) fn client(&self, i: usize) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.store(u16::try_from(i).unwrap_or(u16::MAX))).into()
    }

    /// Where other nodes ask node `i`.
    pub(super) fn peer(&self, i: usize) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.peer(u16::try_from(i).unwrap_or(u16::MAX))).into()
    }

    /// Where helper `i` is asked: where a node's sidecar would be.
    pub(super) fn helper(&self, i: usize) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.sidecar(u16::try_from(i).unwrap_or(u16::MAX))).into()
    }

    /// A folder for the data of node `i`.
    pub(super) fn data(&self, i: usize) -> anyhow::Result<PathBuf> {
        let data = self.folder().join(format!("data-{i}"));
        std::fs::create_dir_all(&data)?;
        Ok(data)
    }

    /// Starts one more node.
    pub(super) fn start(&mut self, program: &Path, args: Vec<String>) -> anyhow::Result<()> {
        let process = self.process(program, args, &format!("node-{}.log", self.nodes.len()))?;
        self.nodes.push(process);
        Ok(())
    }

    /// Starts something that is not a node.
    pub(super) fn start_helper(&mut self, program: &Path, args: Vec<String>) -> anyhow::Result<()> {
        let process = self.process(program, args, &format!("helper-{}.log", self.helpers.len()))?;
        self.helpers.push(process);
        Ok(())
    }

    fn process(&self, program: &Path, args: Vec<String>, log: &str) -> anyhow::Result<Process> {
        let process = Process::new(Spec {
            program: program.to_owned(),
            args,
            environment: Vec::new(),
            log: self.folder().join(log),
            pids: self.folder().join("pids"),
            restart_after: RESTART_AFTER,
        })?;
        process.start();
        Ok(process)
    }

    pub(super) fn count(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn pid(&self, i: usize) -> Option<u32> {
        self.nodes.get(i)?.pid()
    }

    pub(super) fn signal(&self, i: usize, signal: Signal) -> anyhow::Result<()> {
        let sent = self.nodes.get(i).context("no such node")?.signal(signal);
        anyhow::ensure!(sent, "node {i} does not run");
        Ok(())
    }

    /// `kill -9`, and it stays away until [`Place::start_again`].
    pub(super) fn kill_and_hold(&self, i: usize) -> anyhow::Result<()> {
        let node = self.nodes.get(i).context("no such node")?;
        node.unwant();
        node.signal(Signal::KILL);
        node.wait_until_ended(PATIENCE)
    }

    /// Ends it as its operator would, and it stays away until [`Place::start_again`].
    pub(super) fn end_and_hold(&self, i: usize) -> anyhow::Result<()> {
        self.nodes.get(i).context("no such node")?.unwant();
        self.signal(i, Signal::TERM)
    }

    pub(super) fn start_again(&self, i: usize) {
        if let Some(node) = self.nodes.get(i) {
            node.start();
        }
    }

    /// The last output of a node.
    pub(super) fn last_words(&self, i: usize) -> String {
        let Some(node) = self.nodes.get(i) else { return String::new() };
        let text = std::fs::read_to_string(node.log_path()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// Where a node's output goes.
    pub(super) fn log(&self, i: usize) -> Option<&Path> {
        Some(self.nodes.get(i)?.log_path())
    }
}
