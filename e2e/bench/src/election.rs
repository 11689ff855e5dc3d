//! Elections without a store: time to a new leader, and requests to the API server, of three ways to hold a Lease.
//!
//! ```text
//!   3 x sidecar (plain app) ──┐                       ┌─▶ the embedded API
//!   3 x client-go's elector ──┼─▶ Api (counts, fails)─┤
//!   3 x kube-leader-election ─┘                       └─▶ a real API server (--kubeconfig), through a relay
//! ```
//!
//! All with a Lease of 15 s, which Kubernetes' own components use; otherwise with what each proposes. The measured moment
//! is when the application learns it: by the role file, or by the elector's call-back. All teams contend at the same time,
//! each on an API of its own: they wait for seconds and compute for milliseconds, so they do not disturb each other.

mod api;
mod contender;
mod fencing;
mod relay;
mod team;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::ensure;
use leasehold_api::{ApiServer, Kind};
use serde_json::json;

use super::{machine::Look, run::Run, sample::Figure};
use api::{Api, LOOK, PATIENCE};
pub(super) use contender::{Contender, contend};
use relay::Relay;
use team::{Elector, Team};

const WORKLOADS: [&str; 5] =
    ["election-requests", "election-graceful", "election-kill", "election-api-outage", "election-memory"];

pub(super) fn names() -> Vec<&'static str> {
    WORKLOADS.to_vec()
}

/// Every system that has elections, by name.
#[cfg(test)]
pub(super) const ELECTORS: [&str; 4] = ["Leasehold", fencing::NAME, "client-go", "kube-leader-election"];

/// Holds all elections.
pub(super) async fn run(run: &mut Run, kubeconfig: Option<&Path>, namespace: &str) -> anyhow::Result<()> {
    if !WORKLOADS.iter().any(|name| run.wants(name)) {
        return Ok(());
    }
    for round in 0..run.settings.elections {
        let mut forks = [run.fork(), run.fork(), run.fork(), run.fork()];
        let [sidecar, go, kube, fenced] = &mut forks;
        let [first, second, third] = Elector::ALL;
        let outcomes = tokio::join!(
            contest(sidecar, first, round, kubeconfig, namespace),
            contest(go, second, round, kubeconfig, namespace),
            contest(kube, third, round, kubeconfig, namespace),
            async {
                if kubeconfig.is_some() {
                    fenced.skip("election", fencing::NAME, "on a real API server it is measured by make e2e");
                } else if let Err(error) = fencing::run(fenced, round).await {
                    fenced.skip("election", fencing::NAME, format!("in round {round}: {error:#}"));
                }
            }
        );
        forks.into_iter().for_each(|fork| run.join(fork));
        outcomes.0.and(outcomes.1).and(outcomes.2)?;
    }
    Ok(())
}

/// One team, from its start to its end.
async fn contest(
    run: &mut Run,
    elector: Elector,
    round: u32,
    kubeconfig: Option<&Path>,
    namespace: &str,
) -> anyhow::Result<()> {
    if let Some(why) = elector.missing(&run.peers) {
        run.skip("election", elector.name(), why);
        return Ok(());
    }
    // A fresh API for each: the requests of one must not slow another one down.
    let api = match kubeconfig {
        Some(file) => Api::Real(Relay::start(file).await?),
        None => Api::Embedded(ApiServer::start(0)?),
    };
    let lease = format!("leasehold-bench-{}-{round}-{}", std::process::id(), elector.word());
    let outcome = one(run, &api, elector, round, namespace, &lease).await;
    if let Api::Real(relay) = &api {
        relay.delete_lease(namespace, &lease).await?;
    }
    if let Err(error) = outcome {
        run.skip("election", elector.name(), format!("in round {round}: {error:#}"));
    }
    Ok(())
}

/// What one team is measured at, and under which name it is noted.
struct Contest<'a> {
    run: &'a mut Run,
    api: &'a Api,
    team: Team,
    name: &'static str,
    round: u32,
}

async fn one(
    run: &mut Run,
    api: &Api,
    elector: Elector,
    round: u32,
    namespace: &str,
    lease: &str,
) -> anyhow::Result<()> {
    let kubeconfig = |name: &str| api.kubeconfig(name, namespace);
    let team = Team::start(elector, &run.peers, kubeconfig, namespace, lease)?;
    if let Api::Embedded(api) = api {
        // A contender that labels its pod finds one.
        for name in team.names() {
            let pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "app"}]}});
            api.create(Kind::Pod, namespace, &pod).map_err(|failure| anyhow::anyhow!(failure.message))?;
        }
    }
    let mut contest = Contest { run, api, team, name: elector.name(), round };
    let mut leader = contest.team.settle(PATIENCE).await?;
    if contest.run.wants("election-requests") {
        contest.requests(leader).await;
    }
    if contest.run.wants("election-memory") {
        let mib = contest.team.resident_bytes() / 1024.0 / 1024.0;
        contest.run.note_value("election-memory", contest.name, Figure::Mib, round, mib, Look::now());
    }
    if contest.run.wants("election-graceful") {
        leader = contest.graceful_end(leader).await?;
    }
    if contest.run.wants("election-kill") {
        contest.kill(leader).await?;
    }
    if contest.run.wants("election-api-outage") {
        contest.api_outage().await?;
    }
    Ok(())
}

impl Contest<'_> {
    /// How many requests a minute the holder and the others make while nothing happens.
    async fn requests(&mut self, leader: usize) {
        // What the start asked for is not what the years after it ask for.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let look = Look::now();
        let (before, begin) = (self.team.requests(self.api), Instant::now());
        tokio::time::sleep(Duration::from_secs_f64(self.run.settings.idle_seconds)).await;
        let minutes = begin.elapsed().as_secs_f64() / 60.0;
        let after = self.team.requests(self.api);
        #[allow(clippy::cast_precision_loss)]
        let rate = |i: usize| (after[i] - before[i]) as f64 / minutes;
        let others = (0..after.len()).filter(|i| *i != leader).map(rate).fold(0.0, f64::max);
        let (name, round, requests) = (self.name, self.round, Figure::RequestsPerMinute);
        self.run.note_value("election-requests-holder", name, requests, round, rate(leader), look);
        self.run.note_value("election-requests-others", name, requests, round, others, look);
    }

    /// The leader is asked to end: when another one leads. Returns who leads after it was started again.
    async fn graceful_end(&mut self, leader: usize) -> anyhow::Result<usize> {
        let (look, begin) = (Look::now(), Instant::now());
        self.team.end_and_hold(leader)?;
        let (next, at) = self.team.wait_for_leader(Some(leader), PATIENCE).await?;
        self.team.start_again(leader);
        let leader = self.team.settle(PATIENCE).await?;
        let remark = if leader == next { "" } else { "then the leadership moved on by itself" };
        self.note_ms("election-graceful", at - begin, look, remark.to_owned());
        Ok(leader)
    }

    /// The node is gone: it does not come back by itself, nor lets anybody know.
    async fn kill(&mut self, leader: usize) -> anyhow::Result<()> {
        let (look, begin) = (Look::now(), Instant::now());
        self.team.kill_and_hold(leader)?;
        let (_, at) = self.team.wait_for_leader(Some(leader), PATIENCE).await?;
        let ms = (at - begin).as_secs_f64() * 1e3;
        self.run.note_value("election-kill", self.name, Figure::Ms, self.round, ms, look);
        self.team.start_again(leader);
        Ok(())
    }

    async fn api_outage(&mut self) -> anyhow::Result<()> {
        self.team.settle(PATIENCE).await?;
        let look = Look::now();
        let (leaderless, several) = outage(self.api, &self.team, self.run.settings.outage_seconds).await?;
        let remark = if several > Duration::ZERO {
            format!("two were told at once that they lead, for {} ms", several.as_millis())
        } else {
            String::new()
        };
        self.note_ms("election-api-outage", leaderless, look, remark);
        Ok(())
    }

    fn note_ms(&mut self, workload: &str, time: Duration, look: Look, remark: String) {
        let ms = time.as_secs_f64() * 1e3;
        self.run.note_remark(workload, self.name, Figure::Ms, self.round, ms, look, remark);
    }
}

/// The API is away for a while: for how long nobody leads, and for how long more than one.
async fn outage(api: &Api, team: &Team, seconds: f64) -> anyhow::Result<(Duration, Duration)> {
    let begin = Instant::now();
    api.down().await?;
    let outage = Duration::from_secs_f64(seconds);
    let (mut leaderless, mut several) = (Duration::ZERO, Duration::ZERO);
    let (mut is_up, mut last) = (false, begin);
    let mut led_since = None;
    loop {
        let leaders = (0..team.count()).filter(|i| team.leads(*i)).count();
        let now = Instant::now();
        match leaders {
            0 => leaderless += now - last,
            1 => {}
            _ => several += now - last,
        }
        last = now;
        if !is_up && now - begin >= outage {
            api.up().await?;
            is_up = true;
        }
        led_since = if is_up && leaders == 1 { led_since.or(Some(now)) } else { None };
        // There is a leader again, and has been for long enough to be stable.
        if led_since.is_some_and(|since| now - since > Duration::from_secs(3)) {
            return Ok((leaderless, several));
        }
        ensure!(now - begin < outage + PATIENCE, "nobody leads after the outage:\n{}", team.last_words());
        tokio::time::sleep(LOOK).await;
    }
}
