//! A real store in this process, alone in its cluster; the test plays the sidecar.

use clap::Parser as _;
use leasehold_contract::testing::{alone, member};
use leasehold_contract::{ROLE_FILE, STATUS_FILE, State, StatusFile, replace_file};
use leasehold_store::args::{Args, Config};
use leasehold_store::node::Node;
use leasehold_testkit::{http, until_blocking, until_found_blocking};
use serde_json::Value;
use std::net::TcpListener;
use std::path::Path;
use std::thread::JoinHandle;
use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Dropping it drains it.
pub(crate) struct Store {
    pub(crate) port: u16,
    pub(crate) cluster: Uuid,
    _run: TempDir,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Store {
    /// Starts on that volume, and leads.
    pub(crate) fn lead(data: &Path) -> Store {
        let (api, peer) = free_ports();
        let run = tempfile::tempdir().unwrap();
        let at = |port: u16| format!("127.0.0.1:{port}");
        let (data, directory) = (data.display().to_string(), run.path().display().to_string());
        let (listen, peer_listen) = (at(api), at(peer));
        let args = Args::parse_from([
            "store",
            "--name",
            "db-0",
            "--lost-time",
            "300ms",
            "--heartbeat",
            "50ms",
            "--data",
            &data,
            "--directory",
            &directory,
            "--listen",
            &listen,
            "--peer-listen",
            &peer_listen,
        ]);
        let (config, stop) = (args.validate().unwrap(), CancellationToken::new());
        let ends = stop.clone();
        let thread = std::thread::spawn(move || run_node(config, ends));
        let write_role = |term: u64, cluster: Option<Uuid>, incarnation: Option<Uuid>| {
            let mut role = alone(member("db-0", &at(api), &at(peer)), term, cluster, incarnation);
            role.lease.duration_ms = 60_000;
            replace_file(run.path(), ROLE_FILE, &serde_json::to_vec(&role).unwrap()).unwrap();
        };
        write_role(0, None, None);
        let status = || leasehold_contract::read_json::<StatusFile>(&run.path().join(STATUS_FILE)).ok();
        let said = || format!("{:?}", status());
        let campaigns = || status().filter(|status| status.campaign.is_some());
        let wishes = until_found_blocking("a campaign", campaigns, said);
        let term = wishes.promised.term + 1;
        write_role(term, wishes.cluster_id, Some(wishes.incarnation));
        let leads = || status().filter(|status| status.state == State::Leading && status.promised.term == term);
        let cluster = until_found_blocking("leading", leads, said).cluster_id.unwrap();
        until_blocking("it serves", || {
            http::ask_blocking(("127.0.0.1", api), "GET", "/readyz", "").is_some_and(|a| a.status == 200)
        });
        Store { port: api, cluster, _run: run, stop, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let answer = http::ask_blocking(("127.0.0.1", self.port), method, path, body).unwrap();
        (answer.status, answer.body)
    }

    pub(crate) fn json(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, "");
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }
}

/// Both at once, so that they differ.
fn free_ports() -> (u16, u16) {
    let free = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (api, peer) = (free(), free());
    (api.local_addr().unwrap().port(), peer.local_addr().unwrap().port())
}

fn run_node(config: Config, stop: CancellationToken) {
    let clients = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let core = Builder::new_current_thread().enable_all().build().unwrap();
    core.block_on(async { Node::start(config, clients.handle(), stop).await.unwrap().ended().await }).unwrap();
    clients.shutdown_background();
}
