//! Planned leaves in a healthy cluster: a graceful end of the leader's pod, a switchover, a rolling update, scaling to one;
//! with or without something that breaks in the middle.
//!
//! ```text
//!   settled ─▶ asked to leave ─▶ (something breaks) ─▶ writes all the time, wherever somebody leads ─▶ settled
//! ```
//!
//! Judged: the invariants at every step, that it settles, and, if nothing broke, that the leadership moved no more often
//! than necessary: once, and at most twice in a rolling update; and that a leader handed over, and did not lead on for as long as it may.

use crate::model::cluster::Cluster;
use crate::model::rng::Rng;
use leasehold_election::annotation;
use leasehold_replication::{Input, Term};
use std::time::Duration;

/// What happens to a healthy cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    Drain,
    DrainOfFollower,
    Switchover,
    Update,
    ScaleToOne,
}

/// What breaks in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Break {
    Nothing,
    OwnSidecar,
    OwnStore,
    SuccessorsStore,
    SuccessorsSidecar,
    Api,
    WatchOfSuccessor,
}

const LEAVES: [Leave; 7] = [
    Leave::Drain,
    Leave::Drain,
    Leave::DrainOfFollower,
    Leave::Switchover,
    Leave::Switchover,
    Leave::Update,
    Leave::ScaleToOne,
];
const BREAKS: [Break; 10] = [
    Break::Nothing,
    Break::Nothing,
    Break::Nothing,
    Break::Nothing,
    Break::OwnSidecar,
    Break::OwnStore,
    Break::SuccessorsStore,
    Break::SuccessorsSidecar,
    Break::Api,
    Break::WatchOfSuccessor,
];

impl Cluster {
    /// One planned leave. With its own random numbers: so seeds keep the meaning that they had before.
    pub(crate) fn leave_as_planned(&mut self) -> Result<(), String> {
        let mut rng = Rng::new(self.rng.clone().bits());
        let (leave, breaks) = (*rng.pick(&LEAVES), *rng.pick(&BREAKS));
        let wanted = self.api.wanted;
        let (Some(leader), 2..) = (self.leader(), wanted) else { return Ok(()) };
        let successor = (leader + 1 + rng.below(wanted - 1)) % wanted;
        self.trace.add(self.now, || format!("leave       {leave:?}, broken: {breaks:?}"));
        let (before, asked) = (self.term_now(), self.now);
        match leave {
            Leave::Drain => self.terminate_pod(leader),
            Leave::DrainOfFollower => self.terminate_pod(successor),
            Leave::Switchover => {
                let name = self.pods[successor].name.clone();
                self.annotate_lease(annotation::PREFERRED_HOLDER, Some(name));
            }
            Leave::Update => {
                for pod in (0..wanted).rev() {
                    self.terminate_pod(pod);
                    if pod == leader {
                        self.write_on(rng.millis(0, 100));
                        self.break_it(breaks, leader, successor);
                    }
                    self.write_on(Duration::from_secs(1));
                    self.settle("in a rolling update")?;
                }
            }
            Leave::ScaleToOne => self.scale_to(1),
        }
        if leave != Leave::Update {
            self.write_on(rng.millis(0, 100));
            self.break_it(breaks, leader, successor);
        }
        self.write_on(Duration::from_secs(2));
        self.api.mend();
        // A voter that dies while it leaves for good may take the majority with it: then only its volume restores that.
        let dies_for_good = leave == Leave::ScaleToOne && matches!(breaks, Break::OwnStore | Break::SuccessorsStore);
        if dies_for_good {
            self.scale_to(wanted);
        }
        let settled = self.settle("after a planned leave")?;
        let moves = self.term_now().0 - before.0;
        self.trace.add(self.now, || format!("leave       over: {moves} moves, settled after {settled:?}"));
        let most = match leave {
            Leave::DrainOfFollower => 0,
            Leave::Drain | Leave::Switchover | Leave::ScaleToOne => 1,
            Leave::Update => 2,
        };
        // Two replicas, one of them away, are no majority: then a new leadership is found.
        if breaks == Break::Nothing && wanted > 2 && moves > most && !self.facts.is_violated() {
            return Err(format!("{leave:?} moved the leadership {moves} times\n{}", self.explain()));
        }
        // From then on it may remove itself, or end with nobody to succeed it: after three attempts, of which a lost notice may
        // cost one.
        let late = self.settings.grace.saturating_sub(Duration::from_secs(10));
        let (took, is_long) = (self.now - asked, late >= Duration::from_secs(15));
        let is_judged = breaks == Break::Nothing && leave != Leave::Update && wanted > 2 && is_long;
        if is_judged && took >= late && !self.facts.is_violated() {
            return Err(format!("{leave:?} took {took:?}, as if nobody took over\n{}", self.explain()));
        }
        if leave == Leave::ScaleToOne {
            self.scale_to(wanted);
            self.settle("after scaling back")?;
        }
        self.stays_settled()
    }

    fn term_now(&self) -> Term {
        self.pods.iter().filter_map(|pod| pod.store.up()).map(|up| up.status.promise.term).max().unwrap_or_default()
    }

    fn break_it(&mut self, breaks: Break, leader: usize, successor: usize) {
        let until = self.now + Duration::from_secs(1);
        self.trace.add(self.now, || format!("breaks      {breaks:?}"));
        match breaks {
            Break::Nothing => {}
            Break::OwnSidecar if self.pods[leader].sidecar.is_up() => self.kill_sidecar(leader),
            Break::OwnStore if self.pods[leader].store.is_running() => self.kill_store(leader, false),
            Break::SuccessorsStore if self.pods[successor].store.is_running() => self.kill_store(successor, false),
            Break::SuccessorsSidecar if self.pods[successor].sidecar.is_up() => self.kill_sidecar(successor),
            Break::Api => (0..self.pods.len()).for_each(|pod| self.lose_api(pod, until)),
            Break::WatchOfSuccessor => self.cut_watch(successor),
            Break::OwnSidecar | Break::OwnStore | Break::SuccessorsStore | Break::SuccessorsSidecar => {}
        }
    }

    /// Clients write for this long, at every pod that is claimed to lead, also while it drains.
    fn write_on(&mut self, span: Duration) {
        let until = self.now + span;
        while self.now < until && !self.facts.is_violated() {
            for pod in 0..self.pods.len() {
                let leads = self.pods[pod].store.up().is_some_and(|up| {
                    up.status.following.as_ref().is_some_and(|claim| claim.incarnation == up.incarnation)
                });
                if leads {
                    let proposal = self.clients.write(self.facts.applied_seq());
                    self.step_store(pod, Input::Propose(vec![proposal]));
                }
            }
            self.run_until(self.now + Duration::from_millis(7));
        }
    }
}
