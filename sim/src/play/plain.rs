//! Plain apps: they have nothing but the Lease, so of the sidecars alone it is asked that two never lead at once.
//!
//! ```text
//!   chaos without edits of the Lease ─▶ at every published `leader`: no other claim is valid, no other sidecar that runs
//!     says so ─▶ heal ─▶ one leader, a true Lease ─▶ leader killed ─▶ one ─▶ all watches dead, leader killed ─▶ one
//! ```
//!
//! Valid is a claim until its `validUntil`, in the boot that it was written in: a sidecar that stands still cannot take
//! `leader` back from its file, and an app reads that file also when its sidecar is dead.

use crate::model::cluster::Cluster;
use crate::{Plant, Shell};
use leasehold_contract::{Moment, Role, RoleFile};
use leasehold_election::RoleView;
use std::time::Duration;

impl Cluster {
    /// The run of a cluster of plain apps.
    pub(crate) fn play_plain(&mut self) -> Result<Duration, String> {
        self.run_until(self.settings.chaos);
        self.heal();
        self.scale_to(self.settings.pods);
        let settled = self.settle_plain("after healing")?;
        self.kill_plain_leader();
        self.settle_plain("after the leader's death")?;
        let forever = self.now + Duration::from_secs(1_000_000);
        (0..self.pods.len()).for_each(|pod| self.api.deafen(pod, forever));
        self.kill_plain_leader();
        self.settle_plain("after the leader's death, with all watches dead")?;
        self.outlive_the_api_plainly()?;
        Ok(settled)
    }

    /// The API is gone for longer than a Lease lasts. The holder could not renew, so it has a whole duration for that.
    fn outlive_the_api_plainly(&mut self) -> Result<(), String> {
        let holder = self.api.lease().map(|lease| (lease.body.holder.clone(), lease.body.term));
        let back = self.now + 3 * self.settings.lease_duration;
        (0..self.pods.len()).for_each(|pod| self.lose_api(pod, back));
        self.run_until(back);
        self.settle_plain("after the API came back")?;
        let now = self.api.lease().map(|lease| (lease.body.holder.clone(), lease.body.term));
        if now != holder && !self.checker.is_violated() {
            return Err(format!(
                "liveness: the API came back, and the healthy leader {holder:?} was replaced by {now:?}"
            ));
        }
        Ok(())
    }

    fn kill_plain_leader(&mut self) {
        if let Some(leader) = (0..self.pods.len()).find(|pod| self.publishes_leader(*pod)) {
            self.trace.add(self.now, || format!("pod-{leader} sidecar dies, as the leader"));
            self.kill_sidecar(leader);
        }
    }

    fn publishes_leader(&self, pod: usize) -> bool {
        self.pods[pod].role_file.as_ref().is_some_and(|file| file.role == Role::Leader)
    }

    /// A plain app's sidecar publishes this.
    pub(crate) fn check_plain(&mut self, pod: usize, role: &RoleView) {
        if role.role != leasehold_election::Role::Leader {
            return;
        }
        for other in (0..self.pods.len()).filter(|other| *other != pod && self.publishes_leader(*other)) {
            let found = &self.pods[other];
            let is_valid = self.claim_is_valid(other);
            let runs = found.sidecar.is_up() && found.sidecar.frozen_until <= self.now;
            if is_valid || runs {
                let term = role.term;
                return self.violation(format!(
                    "pod-{pod} leads plainly in {term}, while pod-{other} does (valid: {is_valid}, running: {runs})"
                ));
            }
        }
    }

    /// What an app on this pod makes of its role.json.
    fn claim_is_valid(&self, pod: usize) -> bool {
        let found = &self.pods[pod];
        let Some(file) = &found.role_file else { return false };
        let now = found.moment(self.now);
        if self.settings.plant == Some(Plant::Shell(Shell::OldBootCounts)) {
            return believes_any_boot(file, now);
        }
        file.leads(now)
    }

    /// The clock of a machine began anew: no claim may have come to life again.
    pub(crate) fn check_claims(&mut self) {
        let valid: Vec<usize> = (0..self.pods.len()).filter(|pod| self.claim_is_valid(*pod)).collect();
        if valid.len() > 1 {
            self.violation(format!("the claims of the pods {valid:?} are valid at once"));
        }
    }

    fn settle_plain(&mut self, what: &str) -> Result<Duration, String> {
        let begin = self.now;
        let bound = 6 * self.settings.lease_duration + self.settings.grace + Duration::from_secs(20);
        while let Some(why) = self.unsettled_plain() {
            if self.checker.is_violated() {
                break;
            }
            if self.now - begin > bound {
                return Err(format!("liveness: {what}: not settled after {bound:?}: {why}\n{}", self.explain()));
            }
            self.run_until(self.now + Duration::from_millis(100));
        }
        let leader = (0..self.pods.len()).find(|pod| self.publishes_leader(*pod));
        let took = self.now - begin;
        self.run_until(self.now + 2 * self.settings.lease_duration);
        let later = (0..self.pods.len()).find(|pod| self.publishes_leader(*pod));
        if later != leader && !self.checker.is_violated() {
            return Err(format!("liveness: {what}: leader {leader:?} was replaced by {later:?} without a cause"));
        }
        Ok(took)
    }

    fn unsettled_plain(&self) -> Option<String> {
        if let Some(pod) = self.pods.iter().find(|pod| pod.terminating) {
            return Some(format!("{} is still to end", pod.name));
        }
        let leaders: Vec<usize> = (0..self.pods.len()).filter(|pod| self.publishes_leader(*pod)).collect();
        let [leader] = leaders[..] else { return Some(format!("leaders: {leaders:?}")) };
        let named = |pod: &crate::model::cluster::Pod| {
            pod.role_file.as_ref().map(|file| (file.leader.as_ref().map(|leader| leader.name.clone()), file.term))
        };
        let own = named(&self.pods[leader]);
        let mut wanted = self.pods.iter().filter(|pod| pod.ordinal.is_some());
        if let Some(pod) = wanted.find(|pod| !pod.sidecar.is_up() || named(pod) != own) {
            return Some(format!("{} names {:?}, the leader says {own:?}", pod.name, named(pod)));
        }
        let lease = self.api.lease();
        if lease.is_some_and(|lease| lease.body.preferred_holder().is_some()) {
            return Some("a switchover that was asked for before the healing is not over".to_owned());
        }
        let is_true = lease.is_some_and(|lease| lease.body.holder.as_ref() == Some(&self.pods[leader].name));
        (!is_true).then(|| format!("the Lease is not true: {}", crate::play::lease::describe(self.api.lease())))
    }
}

/// As an app does that looks at the time alone.
fn believes_any_boot(file: &RoleFile, now: Moment) -> bool {
    file.role == Role::Leader && file.lease.valid_until_boottime_ns.is_some_and(|until| now.boottime_ns < until)
}
