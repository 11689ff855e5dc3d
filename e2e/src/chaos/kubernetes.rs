//! Chaos on a real Kubernetes, through its API and `e2e/cluster/cluster`; run where the pods' addresses are reached:
//! `e2e/cluster/cluster exec target/debug/e2e chaos --kubernetes`.
//!
//! | what | how |
//! | --- | --- |
//! | kill, freeze | `cluster signal`: to the container's main process, from outside |
//! | cuts, machines without power | `cluster fault cut`, `cut-peer`, `cut-api`, `crash`, by the nodes that pods are on |
//! | API server, etcd | `cluster fault stop cp ... KILL`, and `start` |
//! | Lease, pods, StatefulSet | the API: merge patches, deletions |
//!
//! Without `cluster` only the last line. The release must be there, with three pods; it is left so.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Mutex,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use leasehold_api::lock;
use leasehold_testkit::{ask_until, within};
use serde_json::{Value, json};

use super::args::Chaos;
use super::fault::{ApiTrouble, Fault, LeaseEdit, NodeTrouble, Parts, Who};
use super::plan::Kind;
use super::scene::Scene;
use super::stage::{PODS, PODS_MAX, PREFERRED, Stage};
use crate::{
    client::Http,
    cluster::{Cluster, LEASE, STATEFUL_SET},
};

/// The place.
pub(super) struct Kubernetes {
    client: kube::Client,
    namespace: String,
    /// The script of our own cluster.
    cluster: Option<PathBuf>,
    http: Http,
    undo: Mutex<Vec<Undo>>,
    roster: Mutex<Vec<Option<SocketAddr>>>,
    /// How containers ended, as far as that was seen.
    exits: Mutex<BTreeSet<String>>,
}

/// What to do at the end of a round: arguments of `cluster`, or the annotation that pauses.
#[derive(Clone, Debug)]
enum Undo {
    Cluster(Vec<String>),
    Unpause,
}

/// The time for each request, and for each command of `cluster`. Booting a node takes longest.
const REQUEST: Duration = Duration::from_secs(5);
const COMMAND: Duration = Duration::from_secs(120);
/// How long a procedure waits for each of its steps while things are broken; then it continues with the next.
const STEP: Duration = Duration::from_secs(120);
/// From one look to the next.
const LOOK: Duration = Duration::from_millis(500);
/// Where stores listen.
const STORE_PORT: u16 = 8089;

impl Kubernetes {
    /// The cluster of KUBECONFIG.
    ///
    /// # Errors
    /// It does not answer, or the release is not there.
    pub(super) async fn find(args: &Chaos, say: impl Fn(&str)) -> anyhow::Result<Kubernetes> {
        let client = kube::Client::try_default().await.context("no Kubernetes: set KUBECONFIG")?;
        match args.cluster.as_ref().filter(|script| !script.as_os_str().is_empty()) {
            Some(script) => say(&format!("faults of nodes, networks and processes: {}", script.display())),
            None => {
                say("faults of nodes, networks and processes are LEFT OUT: that takes --cluster e2e/cluster/cluster")
            }
        }
        say("volumes and disks are LEFT OUT here: processes have them");
        let place = Kubernetes {
            client,
            namespace: args.namespace.clone(),
            cluster: args.cluster.clone().filter(|script| !script.as_os_str().is_empty()),
            http: Http::default(),
            undo: Mutex::default(),
            roster: Mutex::new(vec![None; usize::from(PODS_MAX)]),
            exits: Mutex::default(),
        };
        let set = place.get(&place.stateful_set()).await.context("the release is not there")?;
        ensure!(
            set["spec"]["replicas"] == PODS,
            "the release has {} pods, and {PODS} are wanted",
            set["spec"]["replicas"]
        );
        Ok(place)
    }

    async fn request(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", if method == "PATCH" { "application/merge-patch+json" } else { "application/json" })
            .body(body.map(|body| body.to_string().into_bytes()).unwrap_or_default())?;
        let answer = tokio::time::timeout(REQUEST, self.client.request::<Value>(request)).await;
        answer.with_context(|| format!("{method} {path}: no answer"))?.with_context(|| format!("{method} {path}"))
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.request("GET", path, None).await
    }

    fn stateful_set(&self) -> String {
        format!("/apis/apps/v1/namespaces/{}/statefulsets/{STATEFUL_SET}", self.namespace)
    }

    fn lease(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases/{LEASE}", self.namespace)
    }

    fn pod_path(&self, i: u16) -> String {
        format!("/api/v1/namespaces/{}/pods/{STATEFUL_SET}-{i}", self.namespace)
    }

    async fn list_pods(&self) -> anyhow::Result<Vec<(u16, Value)>> {
        let path =
            format!("/api/v1/namespaces/{}/pods?labelSelector=app.kubernetes.io/name%3Dleasehold", self.namespace);
        let list = self.get(&path).await?;
        let pods = list["items"].as_array().cloned().unwrap_or_default();
        let named = |pod: Value| Some((Cluster::ordinal(pod["metadata"]["name"].as_str()?)?, pod));
        Ok(pods.into_iter().filter_map(named).collect())
    }

    /// Runs `cluster`, and gives back what it printed.
    async fn command(&self, args: &[String]) -> anyhow::Result<String> {
        let script = self.cluster.as_ref().context("there is no script of a cluster of our own")?;
        let command = tokio::process::Command::new(script).args(args).stdin(Stdio::null()).kill_on_drop(true).output();
        let said = || format!("cluster {}", args.join(" "));
        let output = tokio::time::timeout(COMMAND, command).await.with_context(said)?.with_context(said)?;
        ensure!(output.status.success(), "{}: {}", said(), String::from_utf8_lossy(&output.stderr).trim());
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Breaks with one command, and remembers how to undo it. What is to undo is remembered first.
    async fn break_with(&self, args: &[&str], undo: &[&str]) -> anyhow::Result<()> {
        let words = |args: &[&str]| args.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        if !undo.is_empty() {
            lock(&self.undo).push(Undo::Cluster(words(undo)));
        }
        self.command(&words(args)).await.map(drop)
    }

    fn pod(&self, who: Who, scene: &Scene) -> u16 {
        who.of(scene.line.leader(), PODS)
    }

    /// The number of the node that a pod is on.
    async fn node(&self, i: u16) -> anyhow::Result<String> {
        let pod = self.get(&self.pod_path(i)).await?;
        let node = pod["spec"]["nodeName"].as_str().with_context(|| format!("pod {i} is on no node"))?;
        Ok(node.trim_start_matches("node").to_owned())
    }

    async fn signal(&self, who: Who, which: Parts, signal: &str, scene: &Scene) -> anyhow::Result<()> {
        let name = format!("{STATEFUL_SET}-{}", self.pod(who, scene));
        let containers: &[&str] = match which {
            Parts::Store => &["store"],
            Parts::Sidecar => &["sidecar"],
            Parts::Both => &["store", "sidecar"],
        };
        for container in containers {
            // To find the process again the API server is asked, which may be away by then; its number is not.
            let found = self.command(&["container", &self.namespace, &name, container].map(str::to_owned)).await?;
            let (node, pid) = found.split_once(' ').context("`cluster container` prints a node and a PID")?;
            if signal == "STOP" {
                let go_on = ["node", node, "kill", "-CONT", pid].map(str::to_owned).to_vec();
                lock(&self.undo).push(Undo::Cluster(go_on));
            }
            let kill = format!("-{signal}");
            self.command(&["node", node, "kill", &kill, pid].map(str::to_owned)).await?;
        }
        Ok(())
    }

    async fn edit_lease(&self, edit: LeaseEdit, other: u16) -> anyhow::Result<()> {
        let lease = self.get(&self.lease()).await?;
        let term = lease["spec"]["leaseTransitions"].as_u64().unwrap_or(0);
        if edit == LeaseEdit::Paused {
            lock(&self.undo).push(Undo::Unpause);
        }
        match edit.patch(term, &format!("{STATEFUL_SET}-{other}")) {
            None => self.request("DELETE", &self.lease(), None).await,
            Some(patch) => self.request("PATCH", &self.lease(), Some(&patch)).await,
        }
        .map(drop)
    }

    async fn scale(&self, replicas: u16) -> anyhow::Result<()> {
        let patch = json!({"spec": {"replicas": replicas}});
        self.request("PATCH", &self.stateful_set(), Some(&patch)).await?;
        within(STEP, LOOK, async || self.has(replicas).await.is_ok()).await;
        Ok(())
    }

    /// So many pods, all ready and of the newest revision, all voters, and the Lease is true.
    async fn has(&self, replicas: u16) -> anyhow::Result<()> {
        let set = self.get(&self.stateful_set()).await?;
        let status = &set["status"];
        for count in ["replicas", "readyReplicas", "updatedReplicas"] {
            ensure!(status[count] == replicas, "{count} are {}, and {replicas} are wanted", status[count]);
        }
        ensure!(status["observedGeneration"] == set["metadata"]["generation"], "the StatefulSet is not observed yet");
        let lease = self.get(&self.lease()).await?;
        let holder = lease["spec"]["holderIdentity"].as_str().context("nobody holds the Lease")?;
        let wish = &lease["metadata"]["annotations"][PREFERRED];
        ensure!(wish.is_null(), "the switchover to {wish} is still pending");
        let leader = Cluster::ordinal(holder).with_context(|| format!("{holder} holds the Lease"))?;
        let address = lock(&self.roster).get(usize::from(leader)).copied().flatten().context("the leader has no IP")?;
        let said = self.http.get_json(address, "/api/status").await?;
        ensure!(
            said["state"] == "leading" && said["self"] == holder,
            "{holder} holds the Lease and is {}",
            said["state"]
        );
        let voters = said["voters"].as_array().map_or(0, Vec::len);
        ensure!(voters == usize::from(replicas), "{voters} voters");
        Ok(())
    }
}

impl Stage for Kubernetes {
    fn kinds(&self) -> Vec<Kind> {
        let mut kinds = vec![
            Kind::Lease,
            Kind::Lease,
            Kind::DeletePod,
            Kind::DeletePodByForce,
            Kind::Rolling,
            Kind::Scale,
            Kind::Switchover,
            Kind::Switchover,
        ];
        if self.cluster.is_some() {
            kinds.extend([
                Kind::KillStore,
                Kind::KillSidecar,
                Kind::KillPod,
                Kind::KillTwo,
                Kind::FreezeStore,
                Kind::FreezeSidecar,
                Kind::FreezePod,
                Kind::CutPair,
                Kind::CutApi,
                Kind::ApiDown,
                Kind::Etcd,
                Kind::NodeCut,
                Kind::NodePowerCut,
            ]);
        }
        kinds
    }

    async fn roster(&self) -> Vec<Option<SocketAddr>> {
        // Without an answer: where they were.
        if let Ok(pods) = self.list_pods().await {
            let mut roster = vec![None; usize::from(PODS_MAX)];
            for (i, pod) in &pods {
                let status = &pod["status"];
                let address = status["podIP"].as_str().and_then(|ip| ip.parse().ok());
                if let (Some(place), Some(address)) = (roster.get_mut(usize::from(*i)), address) {
                    *place = Some(SocketAddr::new(address, STORE_PORT));
                }
                for container in ["containerStatuses", "initContainerStatuses"] {
                    for container in status[container].as_array().into_iter().flatten() {
                        let ended = &container["lastState"]["terminated"];
                        if let Some(code @ (3 | 101 | 134 | 139)) = ended["exitCode"].as_i64() {
                            let (name, at) = (&container["name"], &ended["finishedAt"]);
                            lock(&self.exits).insert(format!("{name} of pod {i} ended with exit code {code} at {at}"));
                        }
                    }
                }
            }
            *lock(&self.roster) = roster;
        }
        // The API server is not to be asked all the time.
        tokio::time::sleep(Duration::from_millis(500)).await;
        lock(&self.roster).clone()
    }

    async fn begin(&self, fault: &Fault, scene: &Scene) -> anyhow::Result<()> {
        match *fault {
            Fault::Kill { who, parts, .. } => self.signal(who, parts, "KILL", scene).await,
            Fault::Freeze { who, parts } => self.signal(who, parts, "STOP", scene).await,
            Fault::CutPair { from, to, .. } => {
                let (from, to) = (self.node(self.pod(from, scene)).await?, self.node(self.pod(to, scene)).await?);
                ensure!(from != to, "both are on node {from}");
                self.break_with(&["fault", "cut-peer", &from, &to], &["fault", "heal", &from]).await
            }
            Fault::CutApi { who } => {
                let node = self.node(self.pod(who, scene)).await?;
                self.break_with(&["fault", "cut-api", &node], &["fault", "heal", &node]).await
            }
            Fault::Node { who, trouble } => {
                let node = self.node(self.pod(who, scene)).await?;
                match trouble {
                    NodeTrouble::Cut => self.break_with(&["fault", "cut", &node], &["fault", "heal", &node]).await,
                    NodeTrouble::PowerCut => {
                        self.break_with(&["fault", "crash", &node], &["fault", "boot", &node]).await
                    }
                }
            }
            Fault::Api(ApiTrouble::Down) => {
                let (stop, start) =
                    (["fault", "stop", "cp", "kube-apiserver", "KILL"], ["fault", "start", "cp", "kube-apiserver"]);
                self.break_with(&stop, &start).await
            }
            Fault::Etcd => {
                let (stop, start) = (["fault", "stop", "cp", "etcd", "KILL"], ["fault", "start", "cp", "etcd"]);
                self.break_with(&stop, &start).await
            }
            Fault::Lease(edit) => self.edit_lease(edit, self.pod(Who::Follower(1), scene)).await,
            Fault::Switchover { to } => {
                let wanted = format!("{STATEFUL_SET}-{}", self.pod(to, scene));
                let wish = json!({"metadata": {"annotations": {PREFERRED: wanted}}});
                self.request("PATCH", &self.lease(), Some(&wish)).await.map(drop)
            }
            _ => bail!("not a fault of Kubernetes"),
        }
    }

    async fn carry_out(&self, fault: &Fault, scene: &Scene) -> anyhow::Result<()> {
        match *fault {
            Fault::DeletePod { who, by_force } => {
                let i = self.pod(who, scene);
                let before = self.get(&self.pod_path(i)).await?["metadata"]["uid"].clone();
                let options = if by_force { json!({"gracePeriodSeconds": 0}) } else { json!({}) };
                self.request("DELETE", &self.pod_path(i), Some(&options)).await?;
                within(STEP, LOOK, async || {
                    let pod = self.get(&self.pod_path(i)).await.unwrap_or_default();
                    let conditions = pod["status"]["conditions"].as_array();
                    let is_ready = |c: &Value| c["type"] == "Ready" && c["status"] == "True";
                    pod["metadata"]["uid"] != before && conditions.is_some_and(|list| list.iter().any(is_ready))
                })
                .await;
                Ok(())
            }
            Fault::Rolling => {
                // As `kubectl rollout restart` does it.
                let now = jiff::Timestamp::now().to_string();
                let annotations = json!({"kubectl.kubernetes.io/restartedAt": now});
                let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
                self.request("PATCH", &self.stateful_set(), Some(&patch)).await?;
                within(STEP, LOOK, async || self.has(PODS).await.is_ok()).await;
                Ok(())
            }
            Fault::Scale { to } => {
                let there = self.scale(to).await;
                // In any case: the next round wants three.
                let back = ask_until("three pods are wanted again", STEP, Duration::from_secs(1), async || {
                    self.scale(PODS).await
                });
                there.and(back.await)
            }
            _ => bail!("not a procedure"),
        }
    }

    async fn heal(&self) -> anyhow::Result<()> {
        let undo = std::mem::take(&mut *lock(&self.undo));
        for undo in undo {
            match undo {
                // A process that was frozen may be gone by now.
                Undo::Cluster(args) if args[0] == "node" => drop(self.command(&args).await),
                Undo::Cluster(args) => drop(self.command(&args).await?),
                Undo::Unpause => {
                    let patch = json!({"metadata": {"annotations": {"leasehold.dev/paused": null}}});
                    let unpause = async || match self.request("PATCH", &self.lease(), Some(&patch)).await {
                        // It may have been deleted, and the annotation with it.
                        Err(error) if format!("{error:#}").contains("NotFound") => Ok(()),
                        other => other.map(drop),
                    };
                    ask_until("the Lease is no longer paused", STEP, LOOK, unpause).await?;
                }
            }
        }
        Ok(())
    }

    async fn is_whole(&self) -> anyhow::Result<()> {
        self.has(PODS).await
    }

    async fn misdeeds(&self) -> Vec<String> {
        self.roster().await;
        lock(&self.exits).iter().cloned().collect()
    }

    async fn keep(&self, folder: &Path) {
        let mut report = format!("{:#}\n", self.get(&self.lease()).await.unwrap_or_default());
        for (i, pod) in self.list_pods().await.unwrap_or_default() {
            report.push_str(&format!("pod {i}: {:#}\n", pod["status"]));
            for container in ["store", "sidecar"] {
                for (previous, name) in [(false, ""), (true, ".previous")] {
                    let path = format!("{}/log?container={container}&previous={previous}", self.pod_path(i));
                    let Ok(request) = http::Request::get(path).body(Vec::new()) else { continue };
                    if let Ok(Ok(log)) = tokio::time::timeout(REQUEST, self.client.request_text(request)).await {
                        let _ = std::fs::write(folder.join(format!("{i}.{container}{name}.log")), log);
                    }
                }
            }
        }
        let _ = std::fs::write(folder.join("report.txt"), report);
    }

    fn end(self) {}
}
