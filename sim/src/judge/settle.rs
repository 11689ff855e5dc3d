//! Liveness: after everything is healed, the cluster must come right by itself within bounded virtual time, and stay so.
//!
//! ```text
//!   chaos ─▶ heal, all pods wanted ─▶ settled? ─▶ stays so ─▶ a planned leave (`leave`) ─▶ scaled to some other size ─▶ settled? ─▶ leader killed ─▶ settled?
//!         ─▶ API gone for longer than a Lease, leader killed ─▶ settled but for the Lease? ─▶ API back ─▶ same leader, true Lease?
//!         ─▶ disks hang (`hang`) ─▶ settled?
//! ```
//!
//! Settled: one leader, every wanted pod a voter and nobody else, equal logs, a true Lease, a write acknowledged.

use crate::model::client::Outcome;
use crate::model::cluster::{Cluster, Event};
use crate::model::trace;
use leasehold_replication::{Input, Phase, Term};
use std::fmt::Write as _;
use std::time::Duration;

/// So many leaderships may be written until everything is settled, however bad it was before.
const TAKES_MAX: u64 = 40;

impl Cluster {
    /// Chaos, then order, then a few single faults to a cluster that is well. Returns how long the first settling took,
    /// or who waits for what.
    pub(crate) fn play(&mut self) -> Result<Duration, String> {
        if self.settings.runs_short {
            self.schedule(self.now, Event::RoomChanges);
        }
        self.run_until(self.settings.chaos);
        self.heal();
        // A majority may be among the pods that were scaled away: all of them come back first.
        self.scale_to(self.pods.len());
        let settled = self.settle("after healing")?;
        self.stays_settled()?;
        if self.settings.runs_short {
            self.run_short()?;
            return Ok(settled);
        }
        self.leave_as_planned()?;
        let other_size = 1 + self.rng.below(self.pods.len());
        if other_size != self.pods.len() {
            self.scale_to(other_size);
            self.settle("after scaling")?;
            self.stays_settled()?;
        }
        match self.rng.below(6) {
            0 | 1 => {
                self.kill_leader();
                self.settle("after the leader's death")?;
            }
            2 | 3 => self.outlive_the_api()?,
            4 => self.lose_the_lease()?,
            _ => self.down_to_zero_and_back()?,
        }
        self.outlive_hung_disks()?;
        Ok(settled)
    }

    /// The Lease is deleted: a healthy leader writes it again, and goes on \[L11\].
    fn lose_the_lease(&mut self) -> Result<(), String> {
        let term = self.leader_term();
        self.delete_lease();
        self.run_until(self.now + self.settings.lost_time);
        self.settle("after the Lease was deleted")?;
        self.is_still(term, "the Lease was deleted")
    }

    /// Nobody is wanted, and then everybody again.
    fn down_to_zero_and_back(&mut self) -> Result<(), String> {
        self.scale_to(0);
        let until = self.now + self.settings.grace + Duration::from_secs(5);
        self.run_until(until);
        if let Some(pod) = self.pods.iter().find(|pod| pod.exists) {
            return Err(format!("liveness: nobody is wanted, and {} is still there", pod.name));
        }
        self.scale_to(self.pods.len());
        self.settle("after nobody was wanted for a while").map(|_| ())
    }

    fn is_still(&self, term: Option<Term>, what: &str) -> Result<(), String> {
        let now = self.leader_term();
        if now == term || self.checker.is_violated() {
            return Ok(());
        }
        Err(format!("liveness: {what}, and the healthy leader of {term:?} was replaced by one of {now:?}"))
    }

    fn kill_leader(&mut self) {
        if let Some(leader) = self.leader() {
            self.trace.add(self.now, || format!("pod-{leader} loses power, as the leader"));
            self.kill_store(leader, true);
        }
    }

    /// The API is gone for longer than a Lease lasts, and then the leader dies: rule 5 of docs/design.md.
    fn outlive_the_api(&mut self) -> Result<(), String> {
        self.trace.add(self.now, || "the API is gone for all".to_owned());
        let back = self.now + Duration::from_secs(100_000);
        (0..self.pods.len()).for_each(|pod| self.lose_api(pod, back));
        self.run_until(self.now + self.settings.lease_duration + 2 * self.settings.lost_time);
        self.settle("while the API is gone")?;
        if self.rng.chance(500) {
            // The sidecars start again, too, and know the Lease no more.
            (0..self.pods.len())
                .filter(|pod| self.pods[*pod].sidecar.is_up())
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|pod| self.kill_sidecar(pod));
        }
        self.kill_leader();
        self.settle("after the leader's death while the API is gone")?;
        let term = self.leader_term();
        self.api.mend();
        self.settle("after the API came back")?;
        self.is_still(term, "the API came back")
    }

    /// Runs until settled. Returns how long it took, or who waits for what.
    pub(crate) fn settle(&mut self, what: &str) -> Result<Duration, String> {
        let (begin, takes) = (self.now, self.api.takes);
        let bound = Duration::from_secs(40) + 4 * self.settings.lease_duration + 2 * self.settings.grace;
        while !self.checker.is_violated() {
            let why = match self.unsettled() {
                None => match self.write_once() {
                    true => match self.read_everywhere() {
                        None => {
                            self.settling_takes = self.settling_takes.max(self.api.takes - takes);
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
        let took = self.settling_takes;
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
        if self.checker.is_violated() {
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

    fn leader_term(&self) -> Option<Term> {
        self.leader().map(|leader| self.pods[leader].store.status().promise.term)
    }

    /// What is not yet as it must be.
    fn unsettled(&self) -> Option<String> {
        let wanted = self.api.wanted;
        for pod in &self.pods {
            let is_wanted = pod.store.life.pod < wanted;
            if pod.exists != is_wanted || pod.terminating {
                return Some(format!("{}: exists {}, wanted {is_wanted}", pod.name, pod.exists));
            }
            if is_wanted && !(pod.store.is_up() && pod.sidecar.is_up()) {
                return Some(format!("{}: not all of it runs", pod.name));
            }
        }
        let leading = self.pods[..wanted].iter().filter(|pod| pod.store.status().phase == Phase::Leading).count();
        if leading != 1 {
            return Some(format!("{leading} leaders"));
        }
        let leader = &self.pods[self.leader()?];
        let (up, status) = (leader.store.up()?, leader.store.status());
        if !status.leader_heard {
            return Some("the leader hears no majority".to_owned());
        }
        for pod in &self.pods[..wanted] {
            let other = pod.store.status();
            if other.stalled {
                return Some(format!("{} counts as stalled", pod.name));
            }
            if !status.voters.contains(pod.volume.replica) {
                return Some(format!("{} is no voter", pod.name));
            }
            if other.promise != status.promise {
                return Some(format!("{} promised {}, the leader {}", pod.name, other.promise, status.promise));
            }
            if other.position != status.position || other.committed != status.committed {
                return Some(format!("{} is at {}, the leader at {}", pod.name, other.position, status.position));
            }
            if status.committed != status.position.seq {
                return Some(format!("committed is {}, the log ends at {}", status.committed, status.position));
            }
            if other.campaign.is_some() || !other.leader_heard || other.need_term.is_some() {
                return Some(format!("{} campaigns, needs a term, or does not hear the leader", pod.name));
            }
            let role = pod.role_file.as_ref();
            let named = role.and_then(|role| role.leader.as_ref().map(|named| (named.incarnation, role.term)));
            // A sidecar that began while the API is gone leaves the old file alone; its app follows by invitation.
            let may_know = self.api.is_up(self.now, pod.store.life.pod);
            if may_know && named != Some((Some(up.incarnation.0), status.promise.term.0)) {
                return Some(format!("role.json of {} names {named:?}", pod.name));
            }
        }
        if status.voters.voters.len() != wanted {
            return Some(format!("{} voters, {wanted} wanted", status.voters.voters.len()));
        }
        if !(0..wanted).all(|pod| self.api.is_up(self.now, pod)) {
            return None; // Nobody can write the Lease.
        }
        let lease = self.api.lease().map(|lease| &lease.body);
        if let Some(to) = lease.and_then(|lease| lease.preferred_holder()) {
            return Some(format!("a switchover to {to} is not done, nor given up"));
        }
        let is_true = lease.is_some_and(|lease| {
            lease.holder.as_ref() == Some(&leader.name)
                && lease.term.0 == status.promise.term.0
                && lease.incarnation() == Some(up.incarnation.0)
                && lease.cluster_id() == status.cluster_id.map(|id| id.0)
        });
        (!is_true).then(|| format!("the Lease is not true: {}", crate::play::lease::describe(self.api.lease())))
    }

    /// A client writes at the leader and waits for a second.
    pub(crate) fn write_once(&mut self) -> bool {
        let Some(leader) = self.leader() else { return false };
        let proposal = self.clients.write(self.checker.applied_seq());
        let id = proposal.id;
        self.step_store(leader, Input::Propose(vec![proposal]));
        let until = self.now + Duration::from_secs(1);
        while self.now < until && !self.checker.is_violated() {
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
        let mut text =
            format!("  {} wanted; lease {}\n", self.api.wanted, crate::play::lease::describe(self.api.lease()));
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
