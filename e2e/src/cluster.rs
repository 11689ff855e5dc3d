//! A cluster of processes: n pods of sidecar and store on loopback, an embedded API, and what Kubernetes does around.
//!
//! ```text
//!   ApiServer ◀── StatefulSet.spec.replicas ── tests: scale(5)
//!       │ ▲
//!       │ └─────── Leases, Events, slices ──── sidecar ◀──┐ role.json, status.json
//!       ▼                                                 │ (a folder per pod)
//!   controller thread ── creates, ends ──▶ Pod ─▶ store ──┘
//!                                           └── Process: a kubelet's part, starts again what was killed
//! ```
//!
//! However it ends, the processes and the folder go with it: by `Drop`, even in a panic; by the guardian if no destructor
//! runs. Only processes that were started here are ever signalled.

mod config;
mod controller;
mod disk;
mod guardian;
mod names;
mod network;
mod pod;
mod ports;
mod process;

use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use leasehold_api::{ApiServer, Failure, Kind, lock};
pub use leasehold_testkit::PATIENCE;
use leasehold_testkit::ask_until;
use serde_json::{Value, json};

pub use config::{App, Config, Machine, Part, Program, Programs};
pub use disk::{Disks, Trouble};
pub use guardian::{Guardian, guard};
pub use names::{LEASE, NAMESPACE, SERVICE, STATEFUL_SET};
pub use network::{Network, enter as enter_own_network, is_inside as is_in_own_network};
pub use ports::Ports;
pub use process::{Process, Spec};
pub use rustix::process::Signal;

use crate::{client::Http, history::History};
use controller::{Inner, stateful_set};
use pod::Pod;

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    inner: Arc<Inner>,
    http: Http,
    controller: Option<std::thread::JoinHandle<()>>,
    root: PathBuf,
    temporary: bool,
    guardian: Option<Guardian>,
}

/// What the EndpointSlice controller says of the headless Service: where each pod is, ready or not.
fn slice_of_pods(config: &Config) -> Value {
    let endpoint = |ordinal: u16| {
        json!({
            "addresses": [config.host(ordinal)], "conditions": {"ready": true, "serving": true, "terminating": false},
            "targetRef": {"kind": "Pod", "name": format!("{STATEFUL_SET}-{ordinal}"), "namespace": NAMESPACE},
        })
    };
    json!({
        "metadata": {"name": format!("{SERVICE}-x"), "labels": {
            "kubernetes.io/service-name": SERVICE,
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        }},
        "addressType": "IPv4",
        "endpoints": (0..config.replicas).map(endpoint).collect::<Vec<_>>(),
        "ports": [],
    })
}

impl Cluster {
    /// Starts the embedded API and the pods. They are not ready yet: see [`Cluster::wait_for_leader`].
    ///
    /// # Errors
    /// A folder or a port is not available.
    pub fn start(config: Config) -> anyhow::Result<Cluster> {
        let temporary = config.folder.is_none();
        let root = match &config.folder {
            Some(folder) => std::path::absolute(folder)?,
            None => tempfile::Builder::new().prefix("leasehold-e2e-").tempdir()?.keep(),
        };
        std::fs::create_dir_all(root.join("pids")).with_context(|| format!("cannot make {}", root.display()))?;
        let initial_data = config.initial_data.clone().unwrap_or_else(crate::history::initial_persons);
        std::fs::write(root.join("initial.json"), initial_data.to_string())?;
        let guardian = Guardian::start(&config.programs.e2e, &root, temporary);
        let api = ApiServer::start_at((config.hub(), config.ports.api).into())?;
        let http = config.http.clone();
        let inner = Arc::new(Inner {
            config,
            api,
            root: root.clone(),
            pods: Mutex::default(),
            exchanged: Mutex::default(),
            over: AtomicBool::new(false),
        });
        inner
            .api
            .create(Kind::StatefulSet, NAMESPACE, &stateful_set(inner.config.replicas))
            .map_err(|failure| anyhow::anyhow!(failure.message))?;
        if !inner.config.dns {
            let slice = slice_of_pods(&inner.config);
            let made = inner.api.create(Kind::EndpointSlice, NAMESPACE, &slice);
            made.map_err(|failure| anyhow::anyhow!(failure.message))?;
        }
        let controller = std::thread::Builder::new().name("controller".into()).spawn({
            let inner = inner.clone();
            move || inner.control()
        })?;
        Ok(Cluster { inner, http, controller: Some(controller), root, temporary, guardian })
    }

    /// The embedded API.
    pub fn api(&self) -> &ApiServer {
        &self.inner.api
    }

    /// The client that the harness asks with.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// Where everything lies.
    pub fn folder(&self) -> &Path {
        &self.root
    }

    /// Which ports.
    pub fn ports(&self) -> &Ports {
        &self.inner.config.ports
    }

    /// The networks and disks that can fail.
    pub fn machine(&self) -> &Machine {
        &self.inner.config.machine
    }

    /// How many pods the StatefulSet wants.
    pub fn wanted(&self) -> u16 {
        self.inner.wanted()
    }

    /// HTTP of the store of pod `i`.
    pub fn store(&self, i: u16) -> SocketAddr {
        (self.inner.config.host(i), self.ports().store(i)).into()
    }

    /// HTTP of the sidecar of pod `i`.
    pub fn sidecar(&self, i: u16) -> SocketAddr {
        (self.inner.config.host(i), self.ports().sidecar(i)).into()
    }

    /// The directory that store and sidecar of pod `i` share.
    pub fn shared_directory(&self, i: u16) -> PathBuf {
        self.root.join(Pod::name_of(i)).join("shared")
    }

    /// The volume of pod `i`.
    pub fn volume(&self, i: u16) -> PathBuf {
        self.root.join(Pod::name_of(i)).join("data")
    }

    /// Where a program lies that pods begin with.
    pub fn program(&self, part: Part) -> &Path {
        &self.inner.config.programs.of(part).path
    }

    /// Pod `i` has this program from the next time on that it is made: a template with another image. The StatefulSet's
    /// controller would then delete the pod: see [`Cluster::delete_pod`].
    pub fn set_program(&self, i: u16, part: Part, program: Program) {
        lock(&self.inner.exchanged).insert((i, part), program);
    }

    /// The name of pod `i`.
    pub fn pod_name(&self, i: u16) -> String {
        Pod::name_of(i)
    }

    /// The ordinal of a pod's name.
    pub fn ordinal(name: &str) -> Option<u16> {
        name.strip_prefix(STATEFUL_SET)?.strip_prefix('-')?.parse().ok()
    }

    /// Sends a signal. The kubelet starts again what it ends. False: it did not run.
    pub fn signal(&self, i: u16, part: Part, signal: Signal) -> bool {
        let pods = lock(&self.inner.pods);
        pods.get(&i).and_then(|pod| pod.process(part)).is_some_and(|process| process.signal(signal))
    }

    /// `kill -9`; it is started again after the delay.
    pub fn kill(&self, i: u16, part: Part) -> bool {
        self.signal(i, part, Signal::KILL)
    }

    /// `kill -9`, and it stays away until [`Cluster::start_again`]. Returns when it is gone.
    ///
    /// # Errors
    /// No such pod exists.
    pub fn kill_and_hold(&self, i: u16, part: Part) -> anyhow::Result<()> {
        let pods = lock(&self.inner.pods);
        let process = pods.get(&i).and_then(|pod| pod.process(part)).context("no such pod")?;
        process.unwant();
        process.signal(Signal::KILL);
        process.wait_until_ended(PATIENCE)
    }

    /// Starts what was held.
    pub fn start_again(&self, i: u16, part: Part) {
        if let Some(process) = lock(&self.inner.pods).get(&i).and_then(|pod| pod.process(part)) {
            process.start();
        }
    }

    /// Every process of every pod at once, as a power cut does. They are started again after the delay.
    pub fn kill_all(&self) {
        for pod in lock(&self.inner.pods).values() {
            for part in [Part::Store, Part::Sidecar] {
                if let Some(process) = pod.process(part) {
                    process.signal(Signal::KILL);
                }
            }
        }
    }

    /// The pid of a program that runs.
    pub fn pid(&self, i: u16, part: Part) -> Option<u32> {
        lock(&self.inner.pods).get(&i)?.process(part)?.pid()
    }

    /// Does a program run that is the one pod `i` shall have? Not if the pod was not made anew since [`Cluster::set_program`].
    ///
    /// # Errors
    /// It does not run, or is another one.
    pub fn runs_its_program(&self, i: u16, part: Part) -> anyhow::Result<()> {
        let pid = self.pid(i, part).with_context(|| format!("the {} of pod {i} does not run", part.word()))?;
        let runs = std::fs::read_link(format!("/proc/{pid}/exe"))?;
        let shall = std::fs::canonicalize(&self.inner.programs(i).of(part).path)?;
        anyhow::ensure!(runs == shall, "pod {i} runs {}, and shall run {}", runs.display(), shall.display());
        Ok(())
    }

    /// How often a program was started since its pod was made.
    pub fn starts(&self, i: u16, part: Part) -> u32 {
        lock(&self.inner.pods).get(&i).and_then(|pod| pod.process(part)).map_or(0, process::Process::starts)
    }

    /// The exit code of a program's last run since its pod was made; none: no run ended, or a signal ended it.
    pub fn last_exit_code(&self, i: u16, part: Part) -> Option<i32> {
        lock(&self.inner.pods).get(&i)?.process(part)?.last_exit()?.code()
    }

    /// What a program of pod `i` has written so far, in all its runs.
    ///
    /// # Errors
    /// No such pod exists, or it has not run yet.
    pub fn log(&self, i: u16, part: Part) -> anyhow::Result<String> {
        let pods = lock(&self.inner.pods);
        let process = pods.get(&i).and_then(|pod| pod.process(part)).context("no such pod")?;
        Ok(String::from_utf8_lossy(&std::fs::read(process.log_path())?).into_owned())
    }

    /// `kubectl delete pod`: both programs end gracefully; the StatefulSet makes the pod again with the same volume.
    ///
    /// # Errors
    /// As the API refuses.
    pub fn delete_pod(&self, i: u16) -> Result<(), Failure> {
        self.api().delete(Kind::Pod, NAMESPACE, &Pod::name_of(i), &json!({})).map(drop)
    }

    /// A new template: from now on pods are made of this revision. (The controller does not replace those that are
    /// there: see [`Cluster::update`].)
    ///
    /// # Errors
    /// As the API refuses.
    pub fn set_revision(&self, revision: &str) -> Result<(), Failure> {
        let patch = json!({"status": {"updateRevision": revision}});
        self.api().patch(Kind::StatefulSet, NAMESPACE, STATEFUL_SET, &patch).map(drop)
    }

    /// A rolling update to this revision, as the StatefulSet's controller does it: from the highest ordinal down, each pod
    /// when the one before is ready.
    ///
    /// # Errors
    /// A pod does not return within [`PATIENCE`].
    pub async fn update(&self, revision: &str) -> anyhow::Result<()> {
        self.set_revision(revision).map_err(|failure| anyhow::anyhow!(failure.message))?;
        for i in (0..self.wanted()).rev() {
            self.delete_pod(i).map_err(|failure| anyhow::anyhow!(failure.message))?;
            self.until("the pod is there again", || async move {
                let pod = self.api().get(Kind::Pod, NAMESPACE, &Pod::name_of(i));
                let pod = pod.map_err(|failure| anyhow::anyhow!(failure.message))?;
                let found = &pod["metadata"]["labels"]["controller-revision-hash"];
                anyhow::ensure!(found == revision, "pod {i} is of revision {found}");
                self.http.get(self.store(i), "/readyz").await.map(drop)
            })
            .await?;
        }
        Ok(())
    }

    /// Asks for a switchover, as `kubectl annotate lease` does.
    ///
    /// # Errors
    /// As the API refuses.
    pub fn ask_switchover(&self, to: u16) -> Result<(), Failure> {
        let wish = json!({"metadata": {"annotations": {"leasehold.dev/preferred-holder": Pod::name_of(to)}}});
        self.edit_lease(&wish).map(drop)
    }

    /// The volume of pod `i` is lost; its store finds an empty one.
    ///
    /// # Errors
    /// No such pod, or the folder cannot be emptied.
    pub fn wipe_volume(&self, i: u16) -> anyhow::Result<()> {
        self.kill_and_hold(i, Part::Store)?;
        let data = self.volume(i);
        std::fs::remove_dir_all(&data)?;
        std::fs::create_dir_all(&data)?;
        self.start_again(i, Part::Store);
        Ok(())
    }

    /// `kubectl scale`.
    ///
    /// # Errors
    /// As the API refuses.
    pub fn scale(&self, replicas: u16) -> Result<(), Failure> {
        let patch = json!({"spec": {"replicas": replicas}});
        self.api().patch(Kind::StatefulSet, NAMESPACE, STATEFUL_SET, &patch).map(drop)
    }

    /// The Lease, if there is one.
    pub fn lease(&self) -> Option<Value> {
        self.api().get(Kind::Lease, NAMESPACE, LEASE).ok()
    }

    /// Edits the Lease without a condition, as `kubectl edit` finally does.
    ///
    /// # Errors
    /// As the API refuses.
    pub fn edit_lease(&self, patch: &Value) -> Result<Value, Failure> {
        self.api().patch(Kind::Lease, NAMESPACE, LEASE, patch)
    }

    /// Deletes the Lease, as an operator might.
    ///
    /// # Errors
    /// As the API refuses.
    pub fn delete_lease(&self) -> Result<(), Failure> {
        self.api().delete(Kind::Lease, NAMESPACE, LEASE, &json!({})).map(drop)
    }

    /// How many pods exist, ending ones included.
    pub fn pods(&self) -> Vec<u16> {
        lock(&self.inner.pods).keys().copied().collect()
    }

    /// The pod whose store says that it leads, and its term. If several say so, the one with the highest term.
    pub async fn leader(&self) -> Option<(u16, u64)> {
        let asked = self.pods().into_iter().map(|i| async move {
            let state = self.http.get_json(self.store(i), "/api/leader").await.ok()?;
            (state["isLeader"] == true).then(|| (i, state["term"].as_u64().unwrap_or(0)))
        });
        let answers = futures_util::future::join_all(asked).await;
        answers.into_iter().flatten().max_by_key(|(_, term)| *term)
    }

    /// Waits until a store says that it leads.
    ///
    /// # Errors
    /// None did within [`PATIENCE`].
    pub async fn wait_for_leader(&self) -> anyhow::Result<u16> {
        self.wait_for_leader_other_than(None).await
    }

    /// Waits until a store of another pod says that it leads.
    ///
    /// # Errors
    /// None did within [`PATIENCE`].
    pub async fn wait_for_leader_other_than(&self, not: Option<u16>) -> anyhow::Result<u16> {
        self.until("a pod leads", || async move {
            self.leader().await.map(|(i, _)| i).filter(|i| Some(*i) != not).context("nobody leads")
        })
        .await
    }

    /// Asks until there is no error, or [`PATIENCE`] is over.
    ///
    /// # Errors
    /// The last error.
    pub async fn until<T>(&self, what: &str, ask: impl AsyncFnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
        ask_until(what, PATIENCE, Duration::from_millis(20), ask).await
    }

    /// What pod `i` gives as `GET /persons`.
    ///
    /// # Errors
    /// No answer, not 200, or no list.
    pub async fn persons(&self, i: u16) -> anyhow::Result<Vec<Value>> {
        match self.http.get_json(self.store(i), "/persons").await? {
            Value::Array(persons) => Ok(persons),
            other => bail!("GET /persons of pod {i}: not a list: {other}"),
        }
    }

    /// Waits until all wanted pods show the same data, and that agrees with the clients' answers. The clients must have
    /// stopped.
    ///
    /// # Errors
    /// What does not agree, after [`PATIENCE`].
    pub async fn converges(&self, history: &History) -> anyhow::Result<()> {
        self.until("all replicas agree with the history", || async move {
            let mut first: Option<(u16, Vec<Value>)> = None;
            for i in 0..self.wanted() {
                let persons = self.persons(i).await?;
                match &first {
                    None => first = Some((i, persons)),
                    Some((other, same)) if *same != persons => bail!(
                        "pods {other} and {i} differ: {} and {} persons{}",
                        same.len(),
                        persons.len(),
                        first_difference(same, &persons)
                    ),
                    Some(_) => {}
                }
            }
            let (_, persons) = first.context("no pods are wanted")?;
            history.check(&persons)
        })
        .await
    }

    /// Everything that helps to understand a failure.
    pub fn report(&self) -> String {
        let mut out = format!("==== cluster in {}\n", self.root.display());
        let lease = self.lease().map_or("no Lease".into(), |lease| lease.to_string());
        let _ = writeln!(out, "==== Lease: {lease}");
        for event in self.api().list(Kind::Event, NAMESPACE).iter().rev().take(20) {
            let _ = writeln!(out, "==== Event: {} {} {}", event["eventTime"], event["reason"], event["note"]);
        }
        for pod in lock(&self.inner.pods).values() {
            for file in ["role.json", "status.json"] {
                let text = std::fs::read_to_string(pod.shared().join(file)).unwrap_or_else(|e| e.to_string());
                let _ = writeln!(out, "==== {} {file}: {text}", pod.name);
            }
            for part in [Part::Store, Part::Sidecar] {
                let Some(process) = pod.process(part) else { continue };
                let exit = process.last_exit().map_or("never ended".into(), |exit| exit.to_string());
                let _ = writeln!(
                    out,
                    "==== {} {}: pid {:?}, {} starts, {exit}\n{}",
                    pod.name,
                    part.word(),
                    process.pid(),
                    process.starts(),
                    tail(process.log_path(), 30)
                );
            }
        }
        out
    }

    /// Scales to nothing, so that no store stays for the others' sake, and waits a little. What still runs then is
    /// killed by `Drop`.
    pub fn end_gracefully(&self, patience: Duration) {
        let _ = self.scale(0);
        let deadline = Instant::now() + patience;
        while !self.pods().is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.report());
        }
        self.inner.over.store(true, Ordering::Relaxed);
        if let Some(controller) = self.controller.take() {
            let _ = controller.join();
        }
        // Ends the processes: signals all of them first, then waits for each.
        self.kill_all();
        lock(&self.inner.pods).clear();
        if self.temporary {
            let _ = std::fs::remove_dir_all(&self.root);
        } else {
            let _ = std::fs::remove_dir_all(self.root.join("pids"));
        }
        self.guardian = None;
    }
}

fn first_difference(a: &[Value], b: &[Value]) -> String {
    let at = a.iter().zip(b).position(|(a, b)| a != b).unwrap_or_else(|| a.len().min(b.len()));
    let show = |list: &[Value]| list.get(at).map_or("nothing".into(), Value::to_string);
    format!("; at {at}: {} and {}", show(a), show(b))
}

/// The last lines of a file.
fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
