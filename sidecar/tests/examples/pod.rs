//! The processes of a pod.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use leasehold_api::ApiServer;
use leasehold_contract::{RoleFile, read_json};
use leasehold_testkit::{until_blocking, until_found_blocking};
use rustix::process::{Pid, Signal, kill_process};

/// The program `sidecar`.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_sidecar");

/// A process, which ends with the test.
pub(crate) struct Child {
    what: &'static str,
    process: std::process::Child,
}

impl Child {
    pub(crate) fn start(what: &'static str, command: &mut Command) -> Child {
        let process = command.stdin(Stdio::null()).spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
        Child { what, process }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub(crate) fn until_it_ends(&mut self) -> ExitStatus {
        let mut status = None;
        until_blocking(format!("{} ends", self.what), || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// The port on which it listens: the kernel chose it, and knows it.
    fn port(&self) -> Option<u16> {
        let proc = PathBuf::from(format!("/proc/{}", self.process.id()));
        let links = fs::read_dir(proc.join("fd")).ok()?.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        let sockets: Vec<String> = links
            .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
            .collect();
        let table = fs::read_to_string(proc.join("net/tcp")).ok()?;
        // sl local_address rem_address st ... inode; 0A: it listens.
        table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>()).find_map(|fields| {
            let is_its = fields.get(3) == Some(&"0A") && sockets.iter().any(|socket| fields.get(9) == Some(&&**socket));
            let (_, port) = fields.get(1).filter(|_| is_its)?.split_once(':')?;
            u16::from_str_radix(port, 16).ok()
        })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A sidecar of a plain app, with its directory.
pub(crate) struct Sidecar {
    folder: tempfile::TempDir,
    pub(crate) name: &'static str,
    pub(crate) process: Child,
    port: u16,
}

impl Sidecar {
    pub(crate) fn start(api: &ApiServer, name: &'static str, more: &[&str]) -> Sidecar {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("shared")).unwrap();
        fs::write(folder.path().join("kubeconfig"), api.kubeconfig(name, "n").to_string()).unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(["--namespace", "n", "--lease", "work", "--name", name, "--address", name]);
        command.args(["--listen", "127.0.0.1:0", "--log", "warn", "--grace-period", "5s"]);
        // Who takes over waits twice the lost time: a program that just checked has that long to write its line.
        command.args(["--lease-duration", "3s", "--lost-time", "500ms"]).args(more);
        command.arg("--directory").arg(folder.path().join("shared"));
        command.arg("--kubeconfig").arg(folder.path().join("kubeconfig"));
        let process = Child::start("the sidecar", &mut command);
        let port = until_found_blocking("the sidecar listens", || process.port(), || "no port".to_owned());
        Sidecar { folder, name, process, port }
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.folder.path().join("shared")
    }

    pub(crate) fn role_file(&self) -> PathBuf {
        self.directory().join("role.json")
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// It has seen that this pod leads.
    pub(crate) fn until_it_follows(&self, leader: &str) {
        let role = || read_json::<RoleFile>(&self.role_file()).ok()?.leader;
        until_blocking(format!("{} follows {leader}", self.name), || role().is_some_and(|role| role.name == leader));
    }
}
