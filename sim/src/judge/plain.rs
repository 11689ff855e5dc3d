//! Plain apps: they have only the Lease, so the requirement concerns the sidecars alone: two must never lead at once. At
//! every published `leader`, no other claim is valid, and no other running sidecar publishes it.
//!
//! A claim is valid until its `validUntil`, in the boot in which it was written: a sidecar that stands still cannot
//! withdraw `leader` from its file, and an app reads that file even when its sidecar is dead.

use crate::model::cluster::Cluster;
use crate::model::lease::describe;
use crate::model::pod::Pod;
use crate::plant::{Plant, Shell};
use leasehold_contract::{Moment, Role, RoleFile};
use leasehold_election::{Ending, PodRole, RoleView, Term};
use std::time::Duration;

impl Cluster {
    /// A plain app's sidecar publishes this.
    pub(crate) fn check_plain(&mut self, pod: usize, role: &RoleView) {
        if role.role != PodRole::Leader {
            return;
        }
        for other in (0..self.pods.len()).filter(|other| *other != pod && self.publishes_leader(*other)) {
            let found = &self.pods[other];
            let is_valid = self.claim_is_valid(other);
            let has_stopped = found.role_file.as_ref().is_some_and(|file| found.stopped == Some(file.term));
            // It may have said otherwise, and have no place to write that.
            let says_so = found.role_waits.as_ref().is_none_or(|view| view.role == PodRole::Leader);
            let runs = found.sidecar.is_up() && found.sidecar.frozen_until <= self.now && !has_stopped && says_so;
            if is_valid || runs {
                let term = role.term;
                return self.violation(format!(
                    "pod-{pod} leads plainly in {term}, while pod-{other} does (valid: {is_valid}, running: {runs})"
                ));
            }
        }
    }

    /// How an app on this pod reads its role.json.
    fn claim_is_valid(&self, pod: usize) -> bool {
        let found = &self.pods[pod];
        let Some(file) = found.role_file.as_ref().filter(|file| found.stopped != Some(file.term)) else { return false };
        let now = found.moment(self.now);
        if self.settings.plant == Some(Plant::Shell(Shell::OldBootCounts)) {
            return believes_any_boot(file, now);
        }
        file.leads(now)
    }

    /// The clock of a machine restarted: no claim may have become valid again.
    pub(crate) fn check_claims(&mut self) {
        let valid: Vec<usize> = (0..self.pods.len()).filter(|pod| self.claim_is_valid(*pod)).collect();
        if valid.len() > 1 {
            self.violation(format!("the claims of the pods {valid:?} are valid at once"));
        }
    }

    /// Runs until settled, and checks that it stays so. Returns how long it took, or who waits for what.
    pub(crate) fn settle_plain(&mut self, what: &str) -> Result<Duration, String> {
        let begin = self.now;
        let bound = 6 * self.longest_duration() + self.settings.grace + Duration::from_secs(20);
        // What a frozen sidecar finds when it thaws, such as a word of its app, is still under way at this very time.
        self.run_until(self.now + Duration::from_millis(1));
        if self.settings.health_period.is_some() {
            // So is the end of a claim whose last renewal was lost before: the command ends, and counts as unfit meanwhile.
            self.run_until(self.now + self.longest_duration());
        }
        while let Some(why) = self.unsettled_plain() {
            if self.facts.is_violated() {
                break;
            }
            if self.now - begin > bound {
                return Err(format!("liveness: {what}: not settled after {bound:?}: {why}\n{}", self.explain()));
            }
            self.run_until(self.now + Duration::from_millis(100));
        }
        let leader = (0..self.pods.len()).find(|pod| self.publishes_leader(*pod));
        let took = self.now - begin;
        self.run_until(self.now + 2 * self.longest_duration());
        let later = (0..self.pods.len()).find(|pod| self.publishes_leader(*pod));
        if later != leader && !self.facts.is_violated() {
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
        let named = |pod: &Pod| {
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
        if lease.is_some_and(|lease| lease.body.is_unfit()) {
            return Some("the leader was fit again at the healing, and has not said so yet".to_owned());
        }
        // A Lease that was restored just now names this pod, perhaps, but not this leadership.
        let own =
            self.pods[leader].role_file.as_ref().and_then(|file| Some((file.leader.as_ref()?.incarnation?, file.term)));
        let is_true = lease.is_some_and(|lease| {
            lease.body.holder.as_ref() == Some(&self.pods[leader].name)
                && lease.body.incarnation().map(|incarnation| (incarnation, lease.body.term.0)) == own
        });
        if !is_true {
            return Some(format!("the Lease is not true: {}", describe(self.api.lease())));
        }
        self.unsettled_exec(leader)
    }

    /// Does its role.json say that it leads?
    /// Who asked for the end of a leadership, and hears that it is over, finds it so in role.json.
    pub(crate) fn check_answer(&mut self, pod: usize, term: Term, ending: Ending) {
        let role = self.pods[pod].sidecar.up.as_ref().and_then(|up| up.election.role());
        let leads = role.is_some_and(|role| role.role == PodRole::Leader && role.term == term);
        if leads && !matches!(ending, Ending::OtherTerm { .. }) {
            self.violation(format!("pod-{pod} was asked to end {term}, answers {ending:?}, and still leads"));
        }
    }

    pub(crate) fn publishes_leader(&self, pod: usize) -> bool {
        self.pods[pod].role_file.as_ref().is_some_and(|file| file.role == Role::Leader)
    }
}

/// As an app would that checks only the time.
fn believes_any_boot(file: &RoleFile, now: Moment) -> bool {
    file.role == Role::Leader && file.lease.valid_until_boottime_ns.is_some_and(|until| now.boottime_ns < until)
}
