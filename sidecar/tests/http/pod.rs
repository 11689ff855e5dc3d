//! A pod: the sidecar as a process. Its app is this test.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use leasehold_api::{ApiServer, Kind};
use leasehold_contract::{Moment, RoleFile, read_json};
use leasehold_testkit::http::send_blocking;
use leasehold_testkit::{until_found_blocking, until_seen_blocking};
use serde_json::Value;

/// Long: whatever happens sooner was not its expiry.
pub(crate) const LEASE_SECONDS: u64 = 4;

pub(crate) struct Pod {
    pub(crate) name: &'static str,
    pub(crate) dir: tempfile::TempDir,
    sidecar: Child,
    address: Option<SocketAddr>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Pod {
    pub(crate) fn start(api: &ApiServer, name: &'static str, args: &[&str]) -> Pod {
        Pod::start_in(tempfile::tempdir().unwrap(), api, name, args)
    }

    /// In a directory that an earlier run left.
    pub(crate) fn start_in(dir: tempfile::TempDir, api: &ApiServer, name: &'static str, args: &[&str]) -> Pod {
        std::fs::write(dir.path().join("kubeconfig"), api.kubeconfig(name, "n").to_string()).unwrap();
        let mut command = program(name, "127.0.0.1:0");
        if !args.contains(&"--lost-time") {
            command.args(["--lost-time", "200ms"]);
        }
        command.arg("--directory").arg(dir.path().join("run")).arg("--kubeconfig").arg(dir.path().join("kubeconfig"));
        let mut sidecar = command.args(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let (lines, written) = (BufReader::new(sidecar.stderr.take().unwrap()).lines(), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                written.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        let mut pod = Pod { name, dir, sidecar, address: None, log };
        let find = || pod.log().iter().find_map(|line| line.split_once("serving HTTP address=")?.1.trim().parse().ok());
        pod.address = Some(until_found_blocking("it serves HTTP", find, || format!("{:#?}", pod.log())));
        pod
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address.unwrap()
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("run").join(name)
    }

    pub(crate) fn role(&self, what: &str, wanted: impl Fn(&RoleFile) -> bool) -> RoleFile {
        let look = || read_json::<RoleFile>(&self.file("role.json"));
        let what = format!("{}: {what}", self.name);
        until_seen_blocking(what, look, |role| role.as_ref().is_ok_and(&wanted)).unwrap()
    }

    /// Waits until it leads. The term.
    pub(crate) fn leads(&self) -> u64 {
        self.role("it leads", |role| role.leads(Moment::now())).term
    }

    pub(crate) fn follows(&self, leader: &Pod) {
        self.role("it follows", |role| role.leader.as_ref().is_some_and(|found| found.name == leader.name));
    }

    pub(crate) fn word(&self) -> String {
        std::fs::read_to_string(self.file("control.token")).unwrap().trim_end().to_owned()
    }

    /// Status and body of a request to end that leadership.
    pub(crate) fn ask(&self, call: &str, term: u64) -> (u16, Value) {
        self.ask_with(call, term, &format!("authorization: Bearer {}\r\n", self.word()))
    }

    pub(crate) fn ask_with(&self, call: &str, term: u64, fields: &str) -> (u16, Value) {
        let body = format!("{{\"term\": {term}}}");
        let words = format!(
            "POST /v1/{call} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/json\r\n{fields}\
             content-length: {}\r\n\r\n{body}",
            self.address(),
            body.len()
        );
        self.send(&words)
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.address()))
    }

    /// A body that is not JSON is a text.
    fn send(&self, words: &str) -> (u16, Value) {
        let answer = send_blocking(self.address(), words).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        (status, serde_json::from_str(body).unwrap_or_else(|_| body.into()))
    }

    /// Exit code and everything that a command said.
    pub(crate) fn command(&self, args: &[&str]) -> (Option<i32>, String) {
        let mut command = program(self.name, &self.address().to_string());
        let output = command.arg("--directory").arg(self.dir.path().join("run")).args(args).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    /// Sends SIGTERM. The exit code.
    pub(crate) fn terminated(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_raw(self.sidecar.id().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let ended = || self.sidecar.try_wait().unwrap();
        until_found_blocking("the sidecar ends", ended, String::new).code()
    }

    /// Ends it at once, and leaves its directory.
    pub(crate) fn kill(mut self) -> tempfile::TempDir {
        let _ = self.sidecar.kill();
        let _ = self.sidecar.wait();
        std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap())
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.sidecar.kill();
        let _ = self.sidecar.wait();
    }
}

fn program(name: &str, listen: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidecar"));
    command.args(["--namespace", "n", "--lease", "web", "--name", name, "--address", &format!("{name}:80")]);
    command.args(["--listen", listen, "--lease-duration", &format!("{LEASE_SECONDS}s")]);
    command
}

pub(crate) fn lease(api: &ApiServer) -> Value {
    api.get(Kind::Lease, "n", "web").unwrap_or(Value::Null)
}

pub(crate) fn annotation(lease: &Value, name: &str) -> Option<String> {
    lease["metadata"]["annotations"][format!("leasehold.dev/{name}")].as_str().map(str::to_owned)
}

/// Waits until the Lease is as wanted.
pub(crate) fn until_lease(api: &ApiServer, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    until_seen_blocking(what, || lease(api), wanted)
}

pub(crate) fn holder(lease: &Value) -> Option<&str> {
    lease["spec"]["holderIdentity"].as_str().filter(|holder| !holder.is_empty())
}
