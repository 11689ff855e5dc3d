//! Chaos on a cluster of processes, on the embedded Lease API.
//!
//! | what | how |
//! | --- | --- |
//! | kill, freeze | SIGKILL, SIGSTOP and SIGCONT to the recorded processes |
//! | cuts | network namespaces and `ip rule ... blackhole`: packets are dropped, silently, one way (`cluster::Network`) |
//! | the API | the embedded one goes down, is slow, refuses, loses answers, is deaf; for one sidecar: never answers |
//! | disks | a library in the stores makes writes and fsyncs fail, wait, or never come back (`cluster::Disks`) |
//! | switchovers | the annotation of the Lease |
//! | updates | a pod is deleted, and made again of the other build's programs |
//! | volumes | the folder is emptied, if all voters are there and have caught up |

use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use leasehold_api::{Faults, Verb, Who as Clients, lock};
use leasehold_testkit::within;
use serde_json::{Value, json};

use super::collection;
use super::fault::{ApiTrouble, Build, DiskTrouble, Fault, LeaseEdit, Midway, Parts, Who};
use super::plan::Kind;
use super::release::Builds;
use super::scene::Scene;
use super::stage::{PODS, PODS_MAX, PREFERRED, Stage};
use crate::cluster::{Cluster, Config, Disks, Machine, Network, Part, Signal, Trouble, is_in_own_network};

/// The place.
#[derive(Debug)]
pub(super) struct Processes {
    cluster: Cluster,
    undo: Mutex<Vec<Undo>>,
    /// How many rolling updates there were.
    updates: AtomicU32,
    mixed: Option<Mixed>,
    /// Of which build the newest template's store and sidecar are.
    template: Mutex<(Build, Build)>,
    /// Of which build each pod's store is.
    stores: Mutex<[Build; PODS as usize]>,
}

/// The pods begin on the last release, and go to and fro.
#[derive(Debug)]
pub(super) struct Mixed {
    pub(super) builds: Builds,
    /// Where the replicas' key lies.
    pub(super) key: PathBuf,
}

/// What to do at the end of a round.
#[derive(Clone, Copy, Debug)]
enum Undo {
    Start(u16, Part),
    Continue(u16, Part),
    Network,
    ApiUp,
    ApiFaults,
    Unpause,
    Disk(u16),
}

/// How long a procedure waits for each of its steps while things are broken; then it continues with the next.
const STEP: Duration = Duration::from_secs(40);
/// How long a step of an update waits: what breaks meanwhile is healed before, and no machine is that slow.
const UPDATE_STEP: Duration = Duration::from_secs(150);
/// From one look to the next.
const LOOK: Duration = Duration::from_millis(50);
/// The same, where the moment matters.
const KILL_LOOK: Duration = Duration::from_millis(5);

impl Processes {
    /// Starts the cluster, and says what will be left out.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(replicas: u16, mixed: Option<Mixed>, say: impl Fn(&str)) -> anyhow::Result<Processes> {
        let network = match is_in_own_network().then(|| Network::make(PODS_MAX)).transpose() {
            Ok(network) => network,
            Err(error) => {
                say(&format!("no network of the pods' own ({error:#})"));
                None
            }
        };
        match network {
            Some(_) => say("cuts: the pods are in network namespaces of their own"),
            None => say("cuts between pods are LEFT OUT: that takes network namespaces"),
        }
        let disks = match Disks::build() {
            Ok(disks) => {
                say("disks: a library in the stores makes writes and fsyncs fail, wait or hang");
                Some(disks)
            }
            Err(error) => {
                say(&format!("slow, full, failing and hanging disks are LEFT OUT: {error:#}"));
                None
            }
        };
        // Both builds know these.
        let mut store_args = ["--write-timeout", "3s"].map(str::to_owned).to_vec();
        let mut config = Config::for_tests(replicas)?;
        if let Some(Mixed { builds, key }) = &mixed {
            config.programs = builds.programs(Build::Last).clone();
            store_args.extend(["--peer-key".to_owned(), key.display().to_string()]);
        }
        let config = Config { machine: Machine { network, disks }, store_args, ..config };
        Ok(Processes {
            cluster: Cluster::start(config)?,
            undo: Mutex::default(),
            updates: AtomicU32::new(0),
            mixed,
            template: Mutex::new((Build::Last, Build::Last)),
            stores: Mutex::new([Build::Last; PODS as usize]),
        })
    }

    fn later(&self, undo: Undo) {
        lock(&self.undo).push(undo);
    }

    fn pod(&self, who: Who, scene: &Scene) -> u16 {
        who.of(scene.line.leader(), PODS)
    }

    fn kill(&self, i: u16, which: Parts, held: bool) -> anyhow::Result<()> {
        for part in parts(which) {
            if held {
                self.later(Undo::Start(i, part));
                tokio::task::block_in_place(|| self.cluster.kill_and_hold(i, part))?;
            } else {
                self.cluster.kill(i, part);
            }
        }
        Ok(())
    }

    fn freeze(&self, i: u16, which: Parts) {
        for part in parts(which) {
            self.later(Undo::Continue(i, part));
            self.cluster.signal(i, part, Signal::STOP);
        }
    }

    fn network(&self) -> anyhow::Result<&Network> {
        self.cluster.machine().network.as_ref().context("there is no such network")
    }

    fn cut_pair(&self, from: u16, to: u16, one_way: bool) -> anyhow::Result<()> {
        self.later(Undo::Network);
        self.network()?.cut(from, to)?;
        if !one_way {
            self.network()?.cut(to, from)?;
        }
        Ok(())
    }

    fn isolate(&self, i: u16) -> anyhow::Result<()> {
        self.later(Undo::Network);
        for other in self.others(i) {
            self.network()?.cut(i, other)?;
            self.network()?.cut(other, i)?;
        }
        Ok(())
    }

    fn wipe(&self, i: u16, status: &Value) -> anyhow::Result<()> {
        let voters = status["voters"].as_array().map_or(0, Vec::len);
        let wanted = usize::from(self.cluster.wanted());
        ensure!(voters == wanted && wanted >= 3, "{voters} of {wanted} pods are voters");
        let followers = status["followers"].as_array().context("the leader names no followers")?;
        let fit = |follower: &&Value| {
            follower["voter"] == true && follower["connected"] == true && follower["lagEntries"].as_u64() < Some(100)
        };
        let fit: Vec<&Value> = followers.iter().filter(fit).collect();
        ensure!(fit.len() + 1 >= wanted, "not all others have caught up");
        self.cluster.wipe_volume(i)
    }

    async fn leaders_status(&self) -> anyhow::Result<Value> {
        let (leader, _) = self.cluster.leader().await.context("nobody leads")?;
        self.cluster.http().get_json(self.cluster.store(leader), "/api/status").await
    }

    fn edit_lease(&self, edit: LeaseEdit, other: u16) -> anyhow::Result<()> {
        let lease = self.cluster.lease().context("there is no Lease")?;
        let term = lease["spec"]["leaseTransitions"].as_u64().unwrap_or(0);
        match edit.patch(term, &self.cluster.pod_name(other)) {
            None => self.cluster.delete_lease(),
            Some(patch) => self.cluster.edit_lease(&patch).map(drop),
        }
        .map_err(|failure| anyhow::anyhow!(failure.message))
    }

    fn api(&self, trouble: ApiTrouble) -> anyhow::Result<()> {
        let faults = match trouble {
            ApiTrouble::Down => {
                tokio::task::block_in_place(|| self.cluster.api().down())?;
                self.later(Undo::ApiUp);
                return Ok(());
            }
            ApiTrouble::Slow => Faults { delay: Duration::from_millis(700), ..Faults::default() },
            ApiTrouble::Answers(status) => Faults { status: Some(status), ..Faults::default() },
            ApiTrouble::LosesAnswers => {
                Faults { lost_answers: true, verbs: vec![Verb::Create, Verb::Update, Verb::Patch], ..Faults::default() }
            }
            ApiTrouble::DeafWatches => Faults { silent_watches: true, ..Faults::default() },
            ApiTrouble::HangsUp => Faults { hang_up: true, ..Faults::default() },
        };
        self.cluster.api().set_faults(&Clients::All, faults);
        self.later(Undo::ApiFaults);
        Ok(())
    }

    fn disk(&self, i: u16, trouble: DiskTrouble) -> anyhow::Result<()> {
        let disks = self.cluster.machine().disks.as_ref().context("there are no such disks")?;
        let wrong = match trouble {
            DiskTrouble::Slow => Trouble { sync_delay: Duration::from_millis(100), ..Trouble::default() },
            DiskTrouble::VerySlow => Trouble { sync_delay: Duration::from_secs(3), ..Trouble::default() },
            DiskTrouble::Full => Trouble { full: true, ..Trouble::default() },
            DiskTrouble::WritesFail => Trouble { writes_fail: true, ..Trouble::default() },
            DiskTrouble::SyncsFail => Trouble { syncs_fail: true, ..Trouble::default() },
            DiskTrouble::OneSyncFails => Trouble { syncs_fail_next: 1, ..Trouble::default() },
            DiskTrouble::SyncsHang => Trouble { syncs_hang: true, ..Trouble::default() },
            DiskTrouble::AllHangs => Trouble { syncs_hang: true, writes_hang: true, ..Trouble::default() },
        };
        disks.set(i, wrong)?;
        self.later(Undo::Disk(i));
        Ok(())
    }

    /// Every other pod, as far as there are any.
    fn others(&self, i: u16) -> Vec<u16> {
        (0..PODS_MAX).filter(|other| *other != i).collect()
    }

    async fn delete(&self, i: u16) -> anyhow::Result<()> {
        let before = self.pids(i);
        self.cluster.delete_pod(i).map_err(|failure| anyhow::anyhow!(failure.message))?;
        within(STEP, LOOK, async || self.is_new_and_ready(i, before).await).await;
        Ok(())
    }

    fn pids(&self, i: u16) -> [Option<u32>; 2] {
        [self.cluster.pid(i, Part::Store), self.cluster.pid(i, Part::Sidecar)]
    }

    /// Do other programs run in the pod, and is it ready?
    async fn is_new_and_ready(&self, i: u16, before: [Option<u32>; 2]) -> bool {
        let are_new = self.pids(i).iter().zip(before).all(|(now, before)| now.is_some() && *now != before);
        are_new && self.cluster.http().get(self.cluster.store(i), "/readyz").await.is_ok()
    }

    /// A step of an update, as a StatefulSet's controller makes it.
    async fn exchange(&self, i: u16, which: Parts, to: Build, midway: Midway) -> anyhow::Result<()> {
        let Mixed { builds, .. } = self.mixed.as_ref().context("there is one build only")?;
        let revision = {
            let mut template = lock(&self.template);
            for part in parts(which) {
                *match part {
                    Part::Store => &mut template.0,
                    Part::Sidecar => &mut template.1,
                } = to;
                // A pod that a scaling up adds is of the newest template.
                for pod in std::iter::once(i).chain(PODS..PODS_MAX) {
                    self.cluster.set_program(pod, part, builds.program(to, part));
                }
            }
            // The same template again is the same revision again.
            format!("store-of-{:?}-sidecar-of-{:?}", template.0, template.1).to_lowercase()
        };
        if which != Parts::Sidecar
            && let Some(store) = lock(&self.stores).get_mut(usize::from(i))
        {
            *store = to;
        }
        self.cluster.set_revision(&revision).map_err(|failure| anyhow::anyhow!(failure.message))?;
        let before = self.pids(i);
        self.cluster.delete_pod(i).map_err(|failure| anyhow::anyhow!(failure.message))?;
        match midway {
            Midway::Unharmed => {}
            Midway::KilledEnding => {
                // It is not ready when it ends.
                let ready = async || self.cluster.http().get(self.cluster.store(i), "/readyz").await.is_ok();
                within(STEP, KILL_LOOK, async || !ready().await).await;
                self.kill(i, Parts::Both, false)?;
            }
            Midway::KilledStarting => {
                let starts = async || self.cluster.pid(i, Part::Store).is_some_and(|pid| Some(pid) != before[0]);
                within(STEP, KILL_LOOK, starts).await;
                self.cluster.kill(i, Part::Store);
            }
        }
        let is_ready = within(UPDATE_STEP, LOOK, async || {
            // An old program that something else killed may have been started once more before the pod ended.
            self.is_new_and_ready(i, before).await && self.runs_its_programs(i).is_ok()
        })
        .await;
        ensure!(is_ready, "the pod is not there again, and ready, within {UPDATE_STEP:?}");
        Ok(())
    }

    fn runs_its_programs(&self, i: u16) -> anyhow::Result<()> {
        [Part::Store, Part::Sidecar].into_iter().try_for_each(|part| self.cluster.runs_its_program(i, part))
    }

    /// Asks that the pod lead until it does: a wish may be given up.
    async fn lead(&self, i: u16) -> anyhow::Result<()> {
        let name = self.cluster.pod_name(i);
        let leads = within(UPDATE_STEP, LOOK, async || {
            if self.cluster.leader().await.is_some_and(|(leader, _)| leader == i) {
                return true;
            }
            let wish = self.cluster.lease().map(|lease| lease["metadata"]["annotations"][PREFERRED].clone());
            if wish.is_some_and(|wish| wish != name.as_str()) {
                let _ = self.cluster.ask_switchover(i);
            }
            false
        })
        .await;
        ensure!(leads, "it does not lead within {UPDATE_STEP:?}");
        Ok(())
    }
}

fn parts(parts: Parts) -> Vec<Part> {
    match parts {
        Parts::Store => vec![Part::Store],
        Parts::Sidecar => vec![Part::Sidecar],
        Parts::Both => vec![Part::Store, Part::Sidecar],
    }
}

impl Stage for Processes {
    fn kinds(&self) -> Vec<Kind> {
        let mut kinds = vec![
            Kind::KillStore,
            Kind::KillSidecar,
            Kind::KillPod,
            Kind::KillTwo,
            Kind::KillAll,
            Kind::FreezeStore,
            Kind::FreezeSidecar,
            Kind::FreezePod,
            Kind::CutApi,
            Kind::ApiDown,
            Kind::ApiTrouble,
            Kind::Lease,
            Kind::Lease,
            Kind::Wipe,
            Kind::DeletePod,
            Kind::Rolling,
            Kind::Scale,
            Kind::Switchover,
            Kind::Switchover,
        ];
        if self.cluster.machine().network.is_some() {
            kinds.extend([Kind::CutPair, Kind::CutPair, Kind::Isolate]);
        }
        if self.cluster.machine().disks.is_some() {
            kinds.extend([Kind::DiskSlow, Kind::DiskFull, Kind::DiskFails, Kind::DiskHangs]);
        }
        kinds
    }

    async fn roster(&self) -> Vec<Option<SocketAddr>> {
        (0..PODS_MAX).map(|i| self.cluster.pods().contains(&i).then(|| self.cluster.store(i))).collect()
    }

    async fn begin(&self, fault: &Fault, scene: &Scene) -> anyhow::Result<()> {
        let cluster = &self.cluster;
        match *fault {
            Fault::Kill { who, parts, held } => self.kill(self.pod(who, scene), parts, held)?,
            Fault::KillAll => cluster.kill_all(),
            Fault::Freeze { who, parts } => self.freeze(self.pod(who, scene), parts),
            Fault::CutPair { from, to, one_way } => {
                self.cut_pair(self.pod(from, scene), self.pod(to, scene), one_way)?;
            }
            Fault::Isolate { who } => self.isolate(self.pod(who, scene))?,
            Fault::CutApi { who } => {
                let client = Clients::client(cluster.pod_name(self.pod(who, scene)));
                cluster.api().set_faults(&client, Faults { black_hole: true, ..Faults::default() });
                self.later(Undo::ApiFaults);
            }
            Fault::Api(trouble) => self.api(trouble)?,
            Fault::Lease(edit) => {
                if edit == LeaseEdit::Paused {
                    self.later(Undo::Unpause);
                }
                self.edit_lease(edit, self.pod(Who::Follower(1), scene))?;
            }
            Fault::Wipe { who } => {
                let status = self.leaders_status().await?;
                tokio::task::block_in_place(|| self.wipe(self.pod(who, scene), &status))?;
            }
            Fault::Disk { who, trouble } => self.disk(self.pod(who, scene), trouble)?,
            Fault::Switchover { to } => {
                let asked = cluster.ask_switchover(self.pod(to, scene));
                asked.map_err(|failure| anyhow::anyhow!(failure.message))?;
            }
            Fault::DeletePod { .. }
            | Fault::Rolling
            | Fault::Exchange { .. }
            | Fault::Lead { .. }
            | Fault::UseCollection
            | Fault::Scale { .. }
            | Fault::Node { .. }
            | Fault::Etcd => bail!("not a fault of processes"),
        }
        Ok(())
    }

    async fn carry_out(&self, fault: &Fault, scene: &Scene) -> anyhow::Result<()> {
        match *fault {
            Fault::DeletePod { who, .. } => self.delete(self.pod(who, scene)).await,
            Fault::Rolling => {
                // The first one is of the cluster's start.
                let revision = format!("e2e-{}", self.updates.fetch_add(1, Ordering::Relaxed) + 2);
                self.cluster.set_revision(&revision).map_err(|failure| anyhow::anyhow!(failure.message))?;
                for i in (0..PODS).rev() {
                    self.delete(i).await?;
                }
                scene.line.say(&format!("       all pods are of revision {revision}"));
                Ok(())
            }
            Fault::Exchange { pod, parts, to, midway } => self.exchange(pod, parts, to, midway).await,
            Fault::Lead { pod } => self.lead(pod).await,
            Fault::UseCollection => collection::is_used(&self.cluster).await,
            Fault::Scale { to } => {
                for replicas in [to, PODS] {
                    self.cluster.scale(replicas).map_err(|failure| anyhow::anyhow!(failure.message))?;
                    within(STEP, LOOK, async || {
                        let voters = self.leaders_status().await.ok().and_then(|s| Some(s["voters"].as_array()?.len()));
                        self.cluster.pods().len() == usize::from(replicas) && voters == Some(usize::from(replicas))
                    })
                    .await;
                }
                Ok(())
            }
            _ => bail!("not a procedure"),
        }
    }

    async fn heal(&self) -> anyhow::Result<()> {
        let undo = std::mem::take(&mut *lock(&self.undo));
        for undo in undo {
            match undo {
                Undo::Start(i, part) => self.cluster.start_again(i, part),
                Undo::Continue(i, part) => {
                    self.cluster.signal(i, part, Signal::CONT);
                }
                Undo::Network => self.cluster.machine().network.as_ref().map_or(Ok(()), Network::heal)?,
                Undo::ApiUp => tokio::task::block_in_place(|| self.cluster.api().up())?,
                Undo::ApiFaults => {
                    self.cluster.api().clear_faults();
                    // Watches that look alive and are not would be found out only later.
                    self.cluster.api().drop_watches(&Clients::All);
                }
                Undo::Unpause => {
                    let _ =
                        self.cluster.edit_lease(&json!({"metadata": {"annotations": {"leasehold.dev/paused": null}}}));
                }
                Undo::Disk(i) => {
                    if let Some(disks) = &self.cluster.machine().disks {
                        disks.set(i, Trouble::default())?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn is_whole(&self) -> anyhow::Result<()> {
        let pods = self.cluster.pods();
        ensure!(pods == (0..PODS).collect::<Vec<_>>(), "the pods are {pods:?}");
        for i in pods {
            self.cluster.http().get(self.cluster.store(i), "/readyz").await?;
            if self.mixed.is_some() {
                self.runs_its_programs(i)?;
            }
        }
        let status = self.leaders_status().await?;
        let names = |list: &Value| -> Vec<String> {
            let mut names: Vec<String> =
                list.as_array().into_iter().flatten().filter_map(|v| v["name"].as_str().map(str::to_owned)).collect();
            names.sort_unstable();
            names
        };
        let wanted: Vec<String> = (0..PODS).map(|i| self.cluster.pod_name(i)).collect();
        let voters = names(&status["voters"]);
        ensure!(voters == wanted, "the voters are {voters:?}");
        let lease = self.cluster.lease().context("there is no Lease")?;
        let (holder, leader) = (&lease["spec"]["holderIdentity"], &status["self"]);
        ensure!(holder == leader, "the Lease names {holder}, and {leader} leads");
        let (term, led) = (&lease["spec"]["leaseTransitions"], &status["leader"]["term"]);
        ensure!(term == led, "the Lease says term {term}, the leader {led}");
        if self.mixed.is_some() {
            let formats = &status["formats"];
            if *lock(&self.stores) == [Build::This; PODS as usize] {
                ensure!(formats["inForce"] == formats["build"], "the format has not risen: {formats}");
            } else {
                ensure!(formats["inForce"] == 1, "the format has risen, and the way back is gone: {formats}");
            }
        }
        let wish = &lease["metadata"]["annotations"][PREFERRED];
        ensure!(wish.is_null(), "the switchover to {wish} is still pending");
        Ok(())
    }

    async fn misdeeds(&self) -> Vec<String> {
        let mut found = Vec::new();
        for i in 0..PODS_MAX {
            for part in [Part::Store, Part::Sidecar] {
                let path = self.cluster.folder().join(self.cluster.pod_name(i)).join(format!("{}.log", part.word()));
                let text = std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                let lines: Vec<&str> = text.as_deref().unwrap_or("").lines().collect();
                let is_bad = |line: &&str| {
                    line.contains("panicked at")
                        || line.contains("ended: exit status: 3")
                        || line.contains("ended: exit status: 101")
                        || line.contains("ended: signal: 6")
                        || line.contains("ended: signal: 11")
                };
                for (at, line) in lines.iter().enumerate().filter(|(_, line)| is_bad(line)) {
                    let mut text = format!("{} of pod {i}: {line}", part.word());
                    for before in &lines[at.saturating_sub(4)..lines.len().min(at + 3)] {
                        let _ = write!(text, "\n    {before}");
                    }
                    found.push(text);
                }
            }
        }
        found
    }

    async fn keep(&self, folder: &Path) {
        let _ = std::fs::write(folder.join("report.txt"), self.cluster.report());
        for i in 0..PODS_MAX {
            let name = self.cluster.pod_name(i);
            for file in ["store.log", "sidecar.log", "shared/role.json", "shared/status.json"] {
                let to = folder.join(format!("{name}.{}", file.replace("shared/", "")));
                let _ = std::fs::copy(self.cluster.folder().join(&name).join(file), to);
            }
        }
    }

    fn end(self) {
        tokio::task::block_in_place(|| drop(self.cluster));
    }
}
