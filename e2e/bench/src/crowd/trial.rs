//! One system with one duration: its crowd's life at a fresh API server, phase by phase.
//!
//! ```text
//!   start ─▶ steady ─▶ graceful: all leaders hand over ─▶ kill: all leaders' processes die ─▶ restart: the API server dies
//! ```

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use jiff::Timestamp;

use super::{
    audit::{self, Request},
    claims::Claims,
    column::{Column, median_and_worst},
    control_plane::{ControlPlane, Etcd, Used},
    group::{Group, Heard, System, Who, lock, now},
    plan::Plan,
    prometheus::Page,
    stage::Stage,
};
use crate::{
    machine::{self, Look},
    system::Peers,
};

/// From one look at the claims to the next.
const LOOK: Duration = Duration::from_millis(20);
/// For how long the API server is away.
const AWAY: Duration = Duration::from_secs(5);
const MIB: f64 = 1024.0 * 1024.0;
/// The verbs that electors use, as the API server counts them.
const VERBS: [&str; 6] = ["PUT", "GET", "LIST", "WATCH", "PATCH", "POST"];

/// See the module.
pub(super) struct Trial<'a> {
    plan: &'a Plan,
    peers: &'a Peers,
    system: System,
    lease_seconds: u64,
    plane: ControlPlane,
    stage: &'a Stage,
    heard: Heard,
    groups: Vec<Group>,
    column: Column,
}

impl<'a> Trial<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        peers: &'a Peers,
        (system, lease_seconds): (System, u64),
        plane: ControlPlane,
        stage: &'a Stage,
    ) -> Trial<'a> {
        let (figures, after_restart) = (Vec::new(), std::collections::BTreeMap::new());
        let column =
            Column { system: system.name().to_owned(), lease_seconds, figures, after_restart, skipped: Vec::new() };
        let heard = Arc::new(Mutex::new(Claims::new(plan.apps)));
        Trial { plan, peers, system, lease_seconds, plane, stage, heard, groups: Vec::new(), column }
    }

    /// All phases. What was found before an error is lost with it: a crowd that does not work has no figures.
    pub(super) async fn run(&mut self) -> anyhow::Result<()> {
        self.stage.set(&self.plane, self.plan.apps, self.plan.members).await?;
        let idle = self.idle().await?;
        self.begin().await?;
        self.steady(idle).await?;
        self.graceful().await?;
        self.kill().await?;
        if self.plane.is_own() {
            self.restart().await?;
        } else {
            self.column.skipped.push("restart, peaks and etcd: the API server is not the bench's own".to_owned());
        }
        let (count, longest) = lock(&self.heard).two_at_once();
        self.column.note("whole run", "two valid claims at once", "times", small(count));
        #[allow(clippy::cast_precision_loss)]
        self.column.note("whole run", "the longest of these", "s", longest as f64 / 1e9);
        Ok(())
    }

    /// Ends all processes.
    pub(super) fn end(self) -> Column {
        self.column
    }

    /// What both cost with all objects, and before the first elector.
    async fn idle(&mut self) -> anyhow::Result<Idle> {
        let before = self.look().await?;
        tokio::time::sleep(self.plan.warm_up).await;
        let after = self.look().await?;
        let idle = Idle {
            memory_bytes: after.api.memory_bytes,
            api_cores: after.api_cores(&before),
            etcd_cores: after.etcd_cores(&before),
        };
        self.column.note("idle", "API server", "cores", idle.api_cores);
        self.column.note("idle", "API server", "MiB", idle.memory_bytes / MIB);
        if let Some(cores) = idle.etcd_cores {
            self.column.note("idle", "etcd", "cores", cores);
        }
        Ok(idle)
    }

    async fn begin(&mut self) -> anyhow::Result<()> {
        self.drain()?;
        let begin = Instant::now();
        self.start(0)?;
        self.until("all apps have a leader", |claims, at| claims.led(at), self.plan.apps).await?;
        self.column.note("start", "until all apps have a leader", "s", begin.elapsed().as_secs_f64());
        self.peak("start")?;
        for member in 1..self.plan.members {
            self.start(member)?;
        }
        self.ready().await
    }

    /// Nothing happens: what does that cost?
    async fn steady(&mut self, idle: Idle) -> anyhow::Result<()> {
        // What the start asked for is not what the years after it ask for.
        tokio::time::sleep(self.plan.warm_up.max(Duration::from_secs(self.lease_seconds) / 3)).await;
        self.drain()?;
        let before = self.look().await?;
        tokio::time::sleep(self.plan.window).await;
        let after = self.look().await?;
        let seconds = (after.at - before.at).as_secs_f64();
        let note = &mut self.column;
        let mut total = 0.0;
        for verb in VERBS {
            let rate = (electors_requests(&after.counters, verb) - electors_requests(&before.counters, verb)) / seconds;
            note.note("steady", format!("requests {verb}"), "per second", rate);
            total += rate;
        }
        note.note("steady", "requests", "per second", total);
        let watches = |resource| [("resource", resource), ("verb", "WATCH")];
        let open =
            ["leases", "pods"].map(|resource| after.counters.sum("apiserver_longrunning_requests", &watches(resource)));
        note.note("steady", "open watches", "", open.iter().sum());
        let api_cores = after.api_cores(&before);
        note.note("steady", "API server", "cores", api_cores);
        note.note("steady", "API server for a request", "CPU ms", (api_cores - idle.api_cores) / total.max(1e-9) * 1e3);
        note.note("steady", "API server", "MiB", after.api.memory_bytes / MIB);
        let mut ours = api_cores * seconds;
        let etcd_cores = after.etcd_cores(&before);
        if let (Some(before), Some(after), Some(cores)) = (before.etcd, after.etcd, etcd_cores) {
            note.note("steady", "etcd", "cores", cores);
            note.note("steady", "etcd", "MiB", after.used.memory_bytes / MIB);
            let written = (after.written_bytes - before.written_bytes) / seconds;
            note.note("steady", "etcd writes to its disk", "KiB per second", written / 1024.0);
            note.note("steady", "etcd's fsyncs", "per second", (after.fsyncs - before.fsyncs) / seconds);
            ours += cores * seconds;
        }
        for (member, (before, after)) in before.groups.iter().zip(&after.groups).enumerate() {
            let who = if member == 0 { "a leader's elector" } else { "a standby's elector" };
            let cpu = (after.cpu_seconds - before.cpu_seconds).max(0.0);
            note.note("steady", who, "CPU ms per minute", cpu / seconds * 60e3 / small(self.plan.apps));
            note.note("steady", who, "KiB", after.memory_bytes / 1024.0 / small(self.plan.apps));
            ours += cpu;
        }
        let between = after.machine.since(before.machine);
        ours += after.own - before.own;
        let others = (between.busy_seconds - ours).max(0.0) / between.seconds;
        note.note("steady", "others used of this machine", "%", others * 100.0);
        note.note("steady", "the host took of this machine", "%", between.steal_share * 100.0);
        let etcd_cores = etcd_cores.zip(idle.etcd_cores).map(|(after, before)| after - before);
        self.project(total, api_cores - idle.api_cores, etcd_cores, after.api.memory_bytes - idle.memory_bytes);
        self.peak("steady")
    }

    /// What the electors add, in proportion to the number of apps.
    fn project(&mut self, requests: f64, api_cores: f64, etcd_cores: Option<f64>, memory: f64) {
        let times = 10_000.0 / small(self.plan.apps);
        let phase = "10,000 apps";
        self.column.note(phase, "requests", "per second", requests * times);
        self.column.note(phase, "API server, in addition", "cores", api_cores.max(0.0) * times);
        if let Some(etcd) = etcd_cores {
            self.column.note(phase, "etcd, in addition", "cores", etcd.max(0.0) * times);
        }
        self.column.note(phase, "API server, in addition", "GiB", memory.max(0.0) * times / MIB / 1024.0);
    }

    /// All leaders are asked to end, as in a rollout of everything at once.
    async fn graceful(&mut self) -> anyhow::Result<()> {
        let begin = now();
        let mut first = self.groups.remove(0);
        first.stop().await?;
        let others = |claims: &Claims, at| claims.led(at) - claims.led_by(0, at);
        self.until("others lead after a hand-over", others, self.plan.apps).await?;
        self.gaps("graceful", begin);
        first.ended(self.patience()).await?;
        self.peak("graceful")?;
        self.start(0)?;
        self.ready().await?;
        self.drain()
    }

    /// All processes but those of the first members die, and the leaders are among them.
    async fn kill(&mut self) -> anyhow::Result<()> {
        let begin = now();
        let (first, others): (Vec<Group>, Vec<Group>) = self.groups.drain(..).partition(|group| group.member == 0);
        self.groups = first;
        for group in others {
            group.kill().await?;
        }
        self.until("the first members lead", |claims, at| claims.led_by(0, at), self.plan.apps).await?;
        self.gaps("kill", begin);
        self.peak("kill")?;
        for member in 1..self.plan.members {
            self.start(member)?;
        }
        self.ready().await?;
        tokio::time::sleep(self.plan.warm_up).await;
        self.drain()
    }

    /// The API server is killed, and returns.
    async fn restart(&mut self) -> anyhow::Result<()> {
        self.drain()?;
        let (begin, wall) = (now(), Timestamp::now().as_microsecond());
        let leaders = lock(&self.heard).leaders(begin);
        let away = self.plane.restart(AWAY).await?;
        let deadline = Instant::now() + self.patience();
        let mut requests: Vec<Request> = Vec::new();
        let (settled, first) = loop {
            requests.extend(self.plane.requests()?.unwrap_or_default().into_iter().filter(|found| found.at >= wall));
            let written = audit::all_written(&requests, self.plan.apps, wall);
            if let Some(written) = written
                && lock(&self.heard).led(now()) == self.plan.apps
            {
                break (written, requests.first().map_or(wall, |found| found.at));
            }
            if Instant::now() >= deadline {
                bail!(
                    "not all apps are led and all Leases written {:?} after the API server came back",
                    self.patience()
                );
            }
            self.groups.iter_mut().try_for_each(Group::runs)?;
            tokio::time::sleep(LOOK * 10).await;
        };
        requests.sort_by_key(|found| found.at);
        let end = now();
        let (gaps, now_leads) = {
            let claims = lock(&self.heard);
            (claims.gaps(begin, end), claims.leaders(end))
        };
        let lost = gaps.iter().filter(|gap| **gap > 0).count();
        let moved = leaders.iter().zip(&now_leads).filter(|(before, after)| before != after).count();
        self.column.note("restart", "the API server was away", "s", away.as_secs_f64());
        self.column.note("restart", "apps that were without a leader", "", small(lost));
        self.column.note("restart", "apps whose leader is another one now", "", small(moved));
        let (median, worst) = median_and_worst(gaps);
        self.column.note("restart", "without a leader, median", "s", median);
        self.column.note("restart", "without a leader, worst", "s", worst);
        #[allow(clippy::cast_precision_loss)]
        let settled = (settled - first) as f64 / 1e6;
        self.column.note("restart", "until all Leases are written again", "s", settled);
        self.peak_of("restart", &requests);
        self.column.after_restart = audit::curve(&requests, first);
        Ok(())
    }

    fn start(&mut self, member: usize) -> anyhow::Result<()> {
        let who = Who { apps: self.plan.apps, member, lease_seconds: self.lease_seconds };
        self.groups.push(Group::start(self.system, self.peers, self.stage, who, &self.heard)?);
        self.groups.sort_by_key(|group| group.member);
        Ok(())
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(120) + Duration::from_secs(self.lease_seconds) * 3
    }

    async fn until(&mut self, what: &str, count: impl Fn(&Claims, i64) -> usize, wanted: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + self.patience();
        loop {
            let counted = count(&lock(&self.heard), now());
            if counted >= wanted {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("{} of {wanted}: waited {:?} in vain until {what}", counted, self.patience());
            }
            self.groups.iter_mut().try_for_each(Group::runs)?;
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + self.patience();
        while !self.groups.iter().all(Group::is_ready) {
            if Instant::now() >= deadline {
                bail!("not every elector has seen a leader within {:?}", self.patience());
            }
            self.groups.iter_mut().try_for_each(Group::runs)?;
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    fn gaps(&mut self, phase: &'static str, begin: i64) {
        let (median, worst) = median_and_worst(lock(&self.heard).gaps(begin, now()));
        self.column.note(phase, "without a leader, median", "s", median);
        self.column.note(phase, "without a leader, worst", "s", worst);
    }

    fn drain(&mut self) -> anyhow::Result<()> {
        self.plane.requests().map(drop)
    }

    fn peak(&mut self, phase: &'static str) -> anyhow::Result<()> {
        if let Some(requests) = self.plane.requests()? {
            self.peak_of(phase, &requests);
        }
        Ok(())
    }

    fn peak_of(&mut self, phase: &'static str, requests: &[Request]) {
        self.column.note(phase, "requests in the busiest second", "", small(audit::peak(requests)));
        let refused = requests.iter().filter(|request| request.code == 429).count();
        self.column.note(phase, "requests refused with 429", "", small(refused));
    }

    async fn look(&self) -> anyhow::Result<Looked> {
        let counters = self.plane.counters().await.context("the API server's counters")?;
        let used = |group: &Group| Used { cpu_seconds: group.cpu_seconds(), memory_bytes: group.memory_bytes() };
        Ok(Looked {
            at: Instant::now(),
            api: self.plane.api_server(&counters),
            counters,
            etcd: self.plane.etcd().await?,
            groups: self.groups.iter().map(used).collect(),
            machine: Look::now(),
            own: machine::cpu_seconds(std::process::id()),
        })
    }
}

/// See [`Trial::idle`].
#[derive(Clone, Copy, Debug)]
struct Idle {
    memory_bytes: f64,
    api_cores: f64,
    etcd_cores: Option<f64>,
}

/// Everything, at one time.
struct Looked {
    at: Instant,
    counters: Page,
    api: Used,
    etcd: Option<Etcd>,
    groups: Vec<Used>,
    machine: Look,
    own: f64,
}

impl Looked {
    fn api_cores(&self, before: &Looked) -> f64 {
        (self.api.cpu_seconds - before.api.cpu_seconds) / (self.at - before.at).as_secs_f64()
    }

    fn etcd_cores(&self, before: &Looked) -> Option<f64> {
        let used = self.etcd?.used.cpu_seconds - before.etcd?.used.cpu_seconds;
        Some(used / (self.at - before.at).as_secs_f64())
    }
}

fn electors_requests(counters: &Page, verb: &str) -> f64 {
    let of = |resource| counters.sum("apiserver_request_total", &[("verb", verb), ("resource", resource)]);
    ["leases", "pods", "events"].into_iter().map(of).sum()
}

#[allow(clippy::cast_precision_loss)]
fn small(count: usize) -> f64 {
    count as f64
}
