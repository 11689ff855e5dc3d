//! Liveness: after everything is healed, the cluster must recover by itself within bounded virtual time, and stay well.
//!
//! Settled: one leader, every wanted pod a voter and nobody else, equal logs, a true Lease, a write acknowledged.

use crate::model::client::Outcome;
use crate::model::cluster::Cluster;
use crate::model::lease::describe;
use crate::model::pod::Pod;
use crate::model::trace;
use leasehold_replication::{Input, Phase, Status, Term};
use std::fmt::Write as _;
use std::time::Duration;
use uuid::Uuid;

/// How many leaderships may be written until everything is settled, however bad it was before.
const TAKES_MAX: u64 = 40;

impl Cluster {
    /// A healthy leader is not replaced.
    pub(crate) fn is_still(&self, term: Option<Term>, what: &str) -> Result<(), String> {
        let now = self.leader_term();
        if now == term || self.facts.is_violated() {
            return Ok(());
        }
        Err(format!("liveness: {what}, and the healthy leader of {term:?} was replaced by one of {now:?}"))
    }

    /// Runs until settled. Returns how long it took, or who waits for what.
    pub(crate) fn settle(&mut self, what: &str) -> Result<Duration, String> {
        let (begin, takes) = (self.now, self.api.takes);
        let bound = Duration::from_secs(40) + 4 * self.settings.lease_duration + 2 * self.settings.grace;
        while !self.facts.is_violated() {
            let why = match self.unsettled() {
                None => match self.write_once() {
                    true => match self.read_everywhere() {
                        None => {
                            self.counts.settling_takes = self.counts.settling_takes.max(self.api.takes - takes);
                            return self.costs_few_terms(what).map(|()| self.now - begin);
                        }
                        Some(why) => why,
                    },
                    false => "a write is not acknowledged".to_owned(),
                },
                Some(why) => why,
            };
            if self.now - begin > bound {
                return Err(format!("liveness: {what}: not settled after {bound:?}: {why}\n{}", self.explain()));
            }
            self.run_until(self.now + Duration::from_millis(50));
        }
        Ok(self.now - begin)
    }

    fn costs_few_terms(&self, what: &str) -> Result<(), String> {
        let took = self.counts.settling_takes;
        if took > TAKES_MAX {
            Err(format!("liveness: {what}: {took} leaderships until it was settled"))
        } else {
            Ok(())
        }
    }

    /// Nothing may change while nothing happens.
    pub(crate) fn stays_settled(&mut self) -> Result<(), String> {
        let term = self.leader_term();
        let wait = 2 * self.settings.lease_duration + 3 * self.settings.lost_time;
        self.run_until(self.now + wait);
        if self.facts.is_violated() {
            return Ok(());
        }
        match self.unsettled() {
            None if self.leader_term() == term => Ok(()),
            None => {
                let now = self.leader_term();
                Err(format!(
                    "liveness: the leader of {term:?} was replaced by one of {now:?} without a cause\n{}",
                    self.explain()
                ))
            }
            Some(why) => Err(format!("liveness: it was settled and does not stay so: {why}\n{}", self.explain())),
        }
    }

    /// The leader's term.
    pub(crate) fn leader_term(&self) -> Option<Term> {
        self.leader().map(|leader| self.pods[leader].store.status().promise.term)
    }

    /// What is still wrong.
    fn unsettled(&self) -> Option<String> {
        let wanted = self.api.wanted;
        if let Some(why) = self.pods.iter().find_map(|pod| missing(pod, pod.store.life.pod < wanted)) {
            return Some(why);
        }
        let leading = self.pods[..wanted].iter().filter(|pod| pod.store.status().phase == Phase::Leading).count();
        if leading != 1 {
            return Some(format!("{leading} leaders"));
        }
        let leader = &self.pods[self.leader()?];
        let (up, status) = (leader.store.up()?, leader.store.status());
        let incarnation = up.incarnation.0;
        if !status.leader_heard {
            return Some("the leader hears no majority".to_owned());
        }
        for pod in &self.pods[..wanted] {
            if let Some(up) = pod.store.up().filter(|up| self.settings.two_builds && up.format != 2) {
                return Some(format!("format {} is in force on {}", up.format, pod.name));
            }
            if let Some(why) = lags(pod, status).or_else(|| self.misled(pod, incarnation, status)) {
                return Some(why);
            }
        }
        if status.voters.voters.len() != wanted {
            return Some(format!("{} voters, {wanted} wanted", status.voters.voters.len()));
        }
        if !(0..wanted).all(|pod| self.api.is_up(self.now, pod)) {
            return None; // No sidecar can write the Lease.
        }
        self.untrue(&leader.name, incarnation, status)
    }

    /// Whether the role file of a pod names another leader.
    fn misled(&self, pod: &Pod, incarnation: Uuid, leader: &Status) -> Option<String> {
        let role = pod.role_file.as_ref();
        let named = role.and_then(|role| role.leader.as_ref().map(|named| (named.incarnation, role.term)));
        // A sidecar that began while the API is gone leaves the old file alone; its app follows by invitation.
        let may_know = self.api.is_up(self.now, pod.store.life.pod);
        let is_misled = may_know && named != Some((Some(incarnation), leader.promise.term.0));
        is_misled.then(|| format!("role.json of {} names {named:?}", pod.name))
    }

    /// Whether the Lease says something else than that this pod leads.
    fn untrue(&self, leader: &str, incarnation: Uuid, status: &Status) -> Option<String> {
        let lease = self.api.lease().map(|lease| &lease.body);
        if let Some(to) = lease.and_then(|lease| lease.preferred_holder()) {
            return Some(format!("a switchover to {to} is not done, nor given up"));
        }
        let is_true = lease.is_some_and(|lease| {
            lease.holder.as_deref() == Some(leader)
                && lease.term.0 == status.promise.term.0
                && lease.incarnation() == Some(incarnation)
                && lease.cluster_id() == status.cluster_id.map(|id| id.0)
        });
        (!is_true).then(|| format!("the Lease is not true: {}", describe(self.api.lease())))
    }

    /// A client writes at the leader and waits for a second.
    pub(crate) fn write_once(&mut self) -> bool {
        let Some(leader) = self.leader() else { return false };
        let proposal = self.clients.write(self.facts.applied_seq());
        let id = proposal.id;
        self.step_store(leader, Input::Propose(vec![proposal]));
        let until = self.now + Duration::from_secs(1);
        while self.now < until && !self.facts.is_violated() {
            match self.clients.outcome(id) {
                Outcome::Waiting => self.run_until(self.now + Duration::from_millis(5)),
                Outcome::Acknowledged(_) => return true,
                Outcome::Refused | Outcome::Unknown => return false,
            }
        }
        false
    }

    /// Who waits for what.
    pub(crate) fn explain(&self) -> String {
        let mut text = format!("  {} wanted; lease {}\n", self.api.wanted, describe(self.api.lease()));
        for (pod, (store, sidecar)) in self.pods.iter().zip(self.lives()) {
            let state = match pod.store.up() {
                Some(up) => format!("{} ({})", trace::status(&up.status), up.incarnation),
                None if pod.store.is_running() => "starting".to_owned(),
                None => "down".to_owned(),
            };
            let _ = writeln!(text, "  {} store run {}: {state}", pod.name, store.run);
            let _ = writeln!(text, "    sidecar run {}: {}", sidecar.run, pod.sidecar.waits());
            if let Some(role) = &pod.role_file {
                let leader = role
                    .leader
                    .as_ref()
                    .map(|leader| format!("{} {}", leader.name, leader.incarnation.unwrap_or_default()));
                let _ = writeln!(
                    text,
                    "    role.json: {:?} term {} leader {leader:?} off-lease {} members {:?}",
                    role.role,
                    role.term,
                    role.off_lease,
                    role.members.len()
                );
            }
        }
        trace::shorten_ids(&text)
    }
}

/// Whether something of a pod is not there, or is there although it is not wanted.
fn missing(pod: &Pod, is_wanted: bool) -> Option<String> {
    if pod.exists != is_wanted || pod.terminating {
        return Some(format!("{}: exists {}, wanted {is_wanted}", pod.name, pod.exists));
    }
    let is_up = pod.store.is_up() && pod.sidecar.is_up();
    (is_wanted && !is_up).then(|| format!("{}: not all of it runs", pod.name))
}

/// Whether the store of a pod is not where the leader is.
fn lags(pod: &Pod, leader: &Status) -> Option<String> {
    let own = pod.store.status();
    if own.stalled {
        return Some(format!("{} counts as stalled", pod.name));
    }
    if !leader.voters.contains(pod.volume.replica) {
        return Some(format!("{} is no voter", pod.name));
    }
    if own.promise != leader.promise {
        return Some(format!("{} promised {}, the leader {}", pod.name, own.promise, leader.promise));
    }
    if own.position != leader.position || own.committed != leader.committed {
        return Some(format!("{} is at {}, the leader at {}", pod.name, own.position, leader.position));
    }
    if leader.committed != leader.position.seq {
        return Some(format!("committed is {}, the log ends at {}", leader.committed, leader.position));
    }
    let is_unsure = own.campaign.is_some() || !own.leader_heard || own.need_term.is_some();
    is_unsure.then(|| format!("{} campaigns, needs a term, or does not hear the leader", pod.name))
}
