//! The built store as a process, a cluster of one; the test plays the sidecar.

use super::shim::Shim;
use leasehold_contract::testing::{alone, member};
use leasehold_contract::{ROLE_FILE, STATUS_FILE, State, StatusFile, read_json, replace_file};
use leasehold_testkit::{http, until_found_blocking};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use uuid::Uuid;

/// A store that runs, or has run. Dropping it kills it.
pub(crate) struct Store {
    /// The data volume is `data` in there.
    root: PathBuf,
    run: tempfile::TempDir,
    pub(crate) api: u16,
    peer: u16,
    child: Option<Child>,
}

/// An answer: its status, the sequence that it saw or made, its body.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) sequence: u64,
    pub(crate) body: String,
}

impl Drop for Store {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Store {
    pub(crate) fn new(root: &Path) -> Store {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (api, peer) = (free(), free());
        let port = |socket: &TcpListener| socket.local_addr().unwrap().port();
        Store { root: root.to_owned(), run: super::scratch(), api: port(&api), peer: port(&peer), child: None }
    }

    /// Starts it; `shim`: between it and its files, with these words for the shim.
    pub(crate) fn start(&mut self, shim: Option<(&Shim, &[(&str, &str)])>) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_store"));
        command
            .env_clear()
            .env("LEASEHOLD_STORE_NAME", "db-0")
            .env("LEASEHOLD_STORE_LOST_TIME", "300ms")
            .env("LEASEHOLD_STORE_HEARTBEAT", "50ms")
            .env("LEASEHOLD_STORE_DATA", self.root.join("data"))
            .env("LEASEHOLD_STORE_DIRECTORY", self.run.path())
            .env("LEASEHOLD_STORE_LISTEN", format!("127.0.0.1:{}", self.api))
            .env("LEASEHOLD_STORE_PEER_LISTEN", format!("127.0.0.1:{}", self.peer))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.run.path().join("log")).unwrap());
        if let Some((shim, words)) = shim {
            shim.around(&mut command);
            command.envs(words.iter().copied());
        }
        self.child = Some(command.spawn().unwrap());
    }

    /// kill -9, while others still ask it.
    pub(crate) fn signal_kill(&self) {
        let id = self.child.as_ref().unwrap().id();
        let process = rustix::process::Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
        rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Its output since its last start.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.run.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn status(&self) -> Option<StatusFile> {
        read_json(&self.run.path().join(STATUS_FILE)).ok()
    }

    pub(crate) fn until<T>(&self, what: &str, found: impl FnMut() -> Option<T>) -> T {
        until_found_blocking(format!("this: {what}"), found, || format!("{:?}\n{}", self.status(), self.log()))
    }

    pub(crate) fn ends(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let ended = self.until("the end of the process", || child.try_wait().unwrap());
        self.child = None;
        ended
    }

    /// Starts it, waits for its campaign, as a sidecar does, and gives it the term after that.
    pub(crate) fn lead(&mut self, shim: Option<(&Shim, &[(&str, &str)])>) {
        let before = self.status().map(|status| status.incarnation);
        self.start(shim);
        self.becomes_leader(before);
    }

    /// The sidecar's part for a store that was started, after that incarnation.
    pub(crate) fn becomes_leader(&mut self, before: Option<Uuid>) {
        let fresh = |status: &StatusFile| Some(status.incarnation) != before;
        self.until("a status of this run", || self.status().filter(fresh));
        self.go_on_to_lead();
    }

    /// As [`Store::lead`], for one that runs.
    pub(crate) fn go_on_to_lead(&mut self) {
        let first = self.until("a status", || self.status());
        let fresh = |status: &StatusFile| status.incarnation == first.incarnation;
        self.write_role(first.promised.term, first.cluster_id, None);
        let wishes = self.until("a campaign", || self.status().filter(fresh).filter(|now| now.campaign.is_some()));
        let term = wishes.promised.term + 1;
        self.write_role(term, wishes.cluster_id, Some(wishes.incarnation));
        let leads = |status: &StatusFile| status.state == State::Leading && status.promised.term == term;
        self.until("leading", || self.status().filter(leads));
    }

    fn write_role(&self, term: u64, cluster_id: Option<Uuid>, incarnation: Option<Uuid>) {
        let at = |port: u16| format!("127.0.0.1:{port}");
        let mut role = alone(member("db-0", &at(self.api), &at(self.peer)), term, cluster_id, incarnation);
        role.lease.duration_ms = 3000;
        replace_file(self.run.path(), ROLE_FILE, &serde_json::to_vec(&role).unwrap()).unwrap();
    }

    pub(crate) fn post(&self, person: &str) -> Option<Answer> {
        ask(self.api, "POST", "/persons", person)
    }

    /// The persons as it serves them.
    pub(crate) fn list(&self) -> Vec<String> {
        let answer = ask(self.api, "GET", "/persons", "").expect("the store answers");
        assert_eq!(answer.status, 200, "{}", answer.body);
        records(&answer.body)
    }
}

/// The records in a list, each exactly as listed.
pub(crate) fn records(list: &str) -> Vec<String> {
    let raw: Vec<Box<serde_json::value::RawValue>> = serde_json::from_str(list).unwrap();
    raw.into_iter().map(|record| record.get().to_owned()).collect()
}

/// None if there is no whole answer.
pub(crate) fn ask(port: u16, method: &str, path: &str, body: &str) -> Option<Answer> {
    let answer = http::ask_blocking(("127.0.0.1", port), method, path, body)?;
    let sequence = answer.header("leasehold-sequence")?.parse().ok()?;
    Some(Answer { status: answer.status, sequence, body: answer.body })
}
