//! A real etcd and a real API server as processes on loopback, fresh for each system.
//!
//! They are those of `e2e/cluster` (kubebox), and run as they would elsewhere: etcd with its fsyncs, the API server with
//! TLS, tokens of service accounts, RBAC, priority and fairness. Beside that it has an audit log, in which the bench counts.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context;
use http::Request;
use kube::config::{KubeConfigOptions, Kubeconfig};
use leasehold_e2e::client::Http;
use leasehold_testkit::ask_until;

use super::{
    audit::{self, AuditLog},
    certificates::{self, Certificates},
    kubeconfig::{kubeconfig, pem},
    prometheus::Page,
};
use crate::{machine, place::Place, system::Peers};

/// From one try to the next, until an API server answers.
const LOOK: Duration = Duration::from_millis(50);
/// How long it may take to start while a crowd is at its door, on a machine that others use.
const READY: Duration = Duration::from_secs(300);
const ETCD: usize = 0;
const API: usize = 1;
/// How to get what is missing.
const HOW: &str = "build Kubernetes with e2e/cluster/build.sh (minutes, once), or name its folder with --peers";

/// Why there can be none here.
pub(super) fn missing(peers: &Peers) -> Option<String> {
    programs(peers).err()
}

fn programs(peers: &Peers) -> Result<[PathBuf; 2], String> {
    // etcd of the same build where there are several: beside the API server.
    let api = peers.find("kube-apiserver", HOW)?;
    let beside = api.with_file_name("etcd");
    let etcd = if beside.is_file() { beside } else { peers.find("etcd", HOW)? };
    Ok([etcd, api])
}

/// Where the electors meet.
pub(super) struct ControlPlane {
    pub(super) url: String,
    /// The authority that clients trust, in PEM.
    pub(super) authority: String,
    pub(super) client: kube::Client,
    own: Option<Own>,
}

/// The processes, where they are ours.
#[derive(Debug)]
struct Own {
    place: Place,
    audit: AuditLog,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Used {
    pub(super) cpu_seconds: f64,
    pub(super) memory_bytes: f64,
}

/// What etcd has done so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Etcd {
    pub(super) used: Used,
    pub(super) written_bytes: f64,
    pub(super) fsyncs: f64,
}

impl ControlPlane {
    /// Starts both, and waits until the API server is ready.
    pub(super) async fn start(peers: &Peers) -> anyhow::Result<ControlPlane> {
        let [etcd, api] = programs(peers).map_err(|why| anyhow::anyhow!(why))?;
        let mut place = Place::new()?;
        let keys = certificates::make(place.folder())?;
        let url = format!("https://{}", place.client(API));
        std::fs::write(place.folder().join("policy.yaml"), audit::POLICY)?;
        let log = place.folder().join("audit.log");
        let (etcd_args, api_args) = (etcd_args(&place)?, api_args(&place, &log));
        place.start(&etcd, etcd_args)?;
        place.start(&api, api_args)?;
        let client = client(&url, &keys).await?;
        let own = Some(Own { place, audit: AuditLog::new(&log) });
        let plane = ControlPlane { url, authority: keys.authority, client, own };
        plane.ready().await?;
        Ok(plane)
    }

    /// One that runs already.
    pub(super) async fn of(kubeconfig: &Path) -> anyhow::Result<ControlPlane> {
        let file = kubeconfig.display();
        let read = Kubeconfig::read_from(kubeconfig).with_context(|| format!("cannot use the kubeconfig {file}"))?;
        let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
        let url = config.cluster_url.to_string();
        let certificates = config.root_cert.clone().context("the kubeconfig names no certificate authority")?;
        let authority = certificates.iter().map(|certificate| pem(certificate)).collect();
        let client = kube::Client::try_from(config).context("no client for this kubeconfig")?;
        Ok(ControlPlane { url, authority, client, own: None })
    }

    /// Whether its processes are ours: only then they can be hurt, and looked into.
    pub(super) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    async fn ready(&self) -> anyhow::Result<()> {
        let ready = ask_until("the API server is ready", READY, LOOK, || async {
            Ok(self.client.request_text(Request::get("/readyz").body(Vec::new())?).await?)
        });
        ready.await.map(drop).with_context(|| {
            let words =
                self.own.as_ref().map(|own| format!("{}\n{}", own.place.last_words(ETCD), own.place.last_words(API)));
            words.unwrap_or_default()
        })
    }

    /// The API server's counters.
    pub(super) async fn counters(&self) -> anyhow::Result<Page> {
        let text = self.client.request_text(Request::get("/metrics").body(Vec::new())?).await;
        Ok(Page::read(&text.context("the API server's /metrics")?))
    }

    /// What the API server has used.
    pub(super) fn api_server(&self, counters: &Page) -> Used {
        match &self.own {
            Some(own) => used(own.place.pid(API)),
            None => Used {
                cpu_seconds: counters.sum("process_cpu_seconds_total", &[]),
                memory_bytes: counters.sum("process_resident_memory_bytes", &[]),
            },
        }
    }

    /// What etcd has used and done; None: it is not ours.
    pub(super) async fn etcd(&self) -> anyhow::Result<Option<Etcd>> {
        let Some(own) = &self.own else { return Ok(None) };
        let pid = own.place.pid(ETCD);
        let answer = Http::default().get(own.place.client(ETCD), "/metrics").await.context("etcd's /metrics")?;
        let page = Page::read(&answer.text());
        let syncs = ["etcd_disk_wal_fsync_duration_seconds_count", "etcd_disk_backend_commit_duration_seconds_count"];
        let io = std::fs::read_to_string(format!("/proc/{}/io", pid.unwrap_or(0))).unwrap_or_default();
        let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
        Ok(Some(Etcd {
            used: used(pid),
            written_bytes: written.and_then(|bytes| bytes.parse().ok()).unwrap_or(0.0),
            fsyncs: syncs.into_iter().map(|name| page.sum(name, &[])).sum(),
        }))
    }

    /// The electors' requests since the last reading; None: the processes are not ours.
    pub(super) fn requests(&mut self) -> anyhow::Result<Option<Vec<audit::Request>>> {
        self.own.as_mut().map(|own| own.audit.read_on()).transpose()
    }

    /// The API server is killed, and stays away for that long. Returns when it is ready again: how long that took in all.
    pub(super) async fn restart(&self, away: Duration) -> anyhow::Result<Duration> {
        let own = self.own.as_ref().context("only an API server of the bench's own is restarted")?;
        let begin = Instant::now();
        own.place.kill_and_hold(API)?;
        tokio::time::sleep(away).await;
        own.place.start_again(API);
        self.ready().await?;
        Ok(begin.elapsed())
    }
}

fn used(pid: Option<u32>) -> Used {
    pid.map(|pid| Used { cpu_seconds: machine::cpu_seconds(pid), memory_bytes: machine::resident_bytes(pid) })
        .unwrap_or_default()
}

async fn client(url: &str, keys: &Certificates) -> anyhow::Result<kube::Client> {
    let kubeconfig = serde_json::from_value(kubeconfig(url, &keys.authority, "bench", &keys.token))?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    Ok(kube::Client::try_from(config)?)
}

fn etcd_args(place: &Place) -> anyhow::Result<Vec<String>> {
    let (client, peer) = (format!("http://{}", place.client(ETCD)), format!("http://{}", place.peer(ETCD)));
    let pairs = [
        ("--name", "bench".to_owned()),
        ("--data-dir", place.data(ETCD)?.display().to_string()),
        ("--listen-client-urls", client.clone()),
        ("--advertise-client-urls", client),
        ("--listen-peer-urls", peer.clone()),
        ("--initial-advertise-peer-urls", peer.clone()),
        ("--initial-cluster", format!("bench={peer}")),
        ("--log-level", "error".to_owned()),
    ];
    Ok(pairs.into_iter().map(|(flag, value)| format!("{flag}={value}")).collect())
}

fn api_args(place: &Place, log: &Path) -> Vec<String> {
    let file = |name: &str| place.folder().join(name).display().to_string();
    let address = place.client(API);
    let pairs = [
        ("--etcd-servers", format!("http://{}", place.client(ETCD))),
        ("--bind-address", address.ip().to_string()),
        ("--advertise-address", address.ip().to_string()),
        ("--secure-port", address.port().to_string()),
        // Nobody looks for the Service `kubernetes` here, and loopback is no address for it.
        ("--endpoint-reconciler-type", "none".to_owned()),
        ("--tls-cert-file", file(certificates::SERVER)),
        ("--tls-private-key-file", file(certificates::SERVER_KEY)),
        ("--token-auth-file", file(certificates::TOKENS)),
        ("--service-account-issuer", "https://kubernetes.default.svc.cluster.local".to_owned()),
        ("--service-account-key-file", file(certificates::ACCOUNTS)),
        ("--service-account-signing-key-file", file(certificates::ACCOUNTS_KEY)),
        ("--service-cluster-ip-range", "10.96.0.0/16".to_owned()),
        ("--authorization-mode", "Node,RBAC".to_owned()),
        ("--profiling", "false".to_owned()),
        ("--audit-policy-file", file("policy.yaml")),
        ("--audit-log-path", log.display().to_string()),
        // One file for all of a run: the bench reads it on, and removes it with its folder.
        ("--audit-log-maxsize", "100000".to_owned()),
    ];
    pairs.into_iter().map(|(flag, value)| format!("{flag}={value}")).collect()
}
