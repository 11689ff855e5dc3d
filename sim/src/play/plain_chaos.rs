//! Faults of plain apps alone: they draw random numbers only in runs of plain apps, so the seeds of a fencing cluster keep
//! the meaning that they had before.
//!
//! ```text
//!   deleted by force ─▶ the pod runs on, alone, for up to a grace period; a new pod takes its name, on another machine
//!   the machine restarts ─▶ the clock begins anew, the shared directory and its role.json are still there
//!   requests are late ─▶ the shell gives up, the API server carries them out then, or never
//! ```

use crate::model::chaos::Fault;
use crate::model::cluster::Cluster;
use crate::model::event::Event;
use crate::model::lease::{AnswerTime, Call, describe};
use crate::model::life::Life;
use crate::model::pod::Pod;
use leasehold_election::{Input, Term, annotation};
use std::time::Duration;

impl Cluster {
    /// Makes one of the faults of plain apps alone.
    pub(crate) fn make_plain(&mut self, fault: Fault, pod: usize, until: Duration) {
        match fault {
            Fault::DeleteByForce => self.delete_by_force(pod),
            Fault::RestartMachine => self.restart_machine(pod),
            Fault::LateRequests => self.api.delay(pod, until),
            Fault::TakeBackSwitchover => self.annotate_lease(annotation::PREFERRED_HOLDER, None),
            Fault::KillExec => self.kill_exec(pod),
            Fault::ChangeFitness => {
                let is_fit = self.rng.chance(400);
                self.tell_fitness(pod, is_fit);
            }
            Fault::StepDown => self.say_to_leader(pod, true),
            Fault::SayReleased => self.say_to_leader(pod, false),
            Fault::DeleteAndApply => self.delete_and_apply(),
            Fault::FullDirectory => {
                let full = &mut self.pods[pod].directory_full_until;
                *full = until.max(*full);
            }
            Fault::RestoreLease => self.restore_lease(),
            other => unreachable!("{other:?} is not a fault of plain apps alone"),
        }
    }

    /// The health of an app changed, three periods ago.
    pub(crate) fn tell_fitness(&mut self, pod: usize, is_fit: bool) {
        if self.settings.health_period.is_some() {
            // Its sidecar finds out.
            self.pods[pod].is_healthy = is_fit;
            return;
        }
        let life = self.pods[pod].sidecar.life;
        self.schedule(self.now, Event::Sidecar { life, input: Box::new(Input::FitnessSeen(is_fit)) });
    }

    /// Somebody asks a leader to let go of its term; or its app, which obeys role.json itself, says that it has stopped.
    fn say_to_leader(&mut self, pod: usize, steps_down: bool) {
        let Some(file) = self.pods[pod].role_file.clone().filter(|_| self.publishes_leader(pod)) else { return };
        let term = Term(file.term);
        let input = if steps_down {
            Input::StepDown { term }
        } else if self.settings.exec {
            return;
        } else {
            self.pods[pod].stopped = Some(file.term);
            Input::Released { term }
        };
        let at = (self.now + self.rng.millis(0, 2000)).min(self.settings.chaos);
        let life = self.pods[pod].sidecar.life;
        self.schedule(at, Event::Sidecar { life, input: Box::new(input) });
    }

    /// Somebody deletes the Lease and applies its manifest, at once or some time later; or replaces it by the manifest.
    fn delete_and_apply(&mut self) {
        if self.rng.chance(300) {
            return self.replace_by_manifest();
        }
        self.delete_lease();
        let at = self.now + if self.rng.chance(500) { self.rng.micros(0, 5000) } else { self.rng.millis(0, 20_000) };
        self.schedule(at, Event::LeaseApplied);
    }

    /// The API server's data, or the Lease alone, become what they were at some earlier time. Nothing is promised for who did not
    /// see what is forgotten by that. So all sidecars have; and where nobody holds the Lease then, no new one begins for a duration.
    fn restore_lease(&mut self) {
        // Most of them are renewals.
        let is_held = self.rng.chance(600);
        let all = self.api.backups.iter().filter(|(lease, _)| lease.body.holder.is_some() == is_held);
        let all: Vec<_> = all.collect();
        if all.is_empty() {
            return;
        }
        let (lease, record) = (*self.rng.pick(&all)).clone();
        let Some(present) = self.api.lease.clone() else { return };
        // By the present Lease, or by one that somebody deleted before it, as it may look new.
        let forgotten = self.api.taken.max(present.body.term);
        let knows = |pod: &&Pod| {
            let seen = pod.sidecar.up.as_ref().and_then(|up| up.election.lease().flatten());
            let told = pod.role_file.as_ref().filter(|_| pod.role_waits.is_none());
            seen.is_some_and(|seen| seen.version == present.version)
                && told.is_some_and(|file| file.term >= forgotten.0)
        };
        // What the restore before this one forgot may still be led by.
        if self.now < self.api.restored_at + self.longest_duration() {
            return;
        }
        if lease.version == present.version || self.pods.iter().filter(|pod| pod.exists).any(|pod| !knows(&pod)) {
            return;
        }
        self.api.restored_at = self.now;
        if lease.body.holder.is_none() {
            self.api.fresh_after = self.now + self.longest_duration() + self.settings.lost_time;
        }
        if self.rng.chance(500) {
            self.trace.add(self.now, || "fault       somebody puts an older Lease back".to_owned());
            return self.put_back(&lease);
        }
        self.trace.add(self.now, || format!("fault       the API server is restored: {}", describe(Some(&lease))));
        // The record forgets the terms above this one, so they come again where nobody is left who saw them. Those up to it do not,
        // nor do those that begin from now on: each is recorded, as before [A12].
        self.api.taken = self.api.taken.min(record.1);
        (self.api.lease, self.api.record) = (Some(lease), Some(record));
        for pod in 0..self.pods.len() {
            self.cut_watch(pod);
            if self.rng.chance(300) {
                // It is back for one sooner than for the other.
                let until = self.now + self.rng.millis(500, 6000);
                self.lose_api(pod, until);
            }
        }
    }

    /// `kubectl apply`: what is there stays as it is.
    pub(crate) fn apply_lease(&mut self) {
        if self.api.lease().is_none() {
            self.replace_by_manifest();
        }
    }

    /// `kubectl delete pod --force --grace-period=0` of a pod whose node is cut off from the control plane: the object is
    /// gone, the processes are not.
    fn delete_by_force(&mut self, pod: usize) {
        let is_free = |pod: &Pod| pod.ordinal.is_none() && !pod.exists;
        let Some(heir) = self.pods.iter().position(is_free) else { return };
        if !self.pods[pod].exists || self.pods[pod].terminating {
            return;
        }
        self.trace.add(self.now, || format!("pod-{pod} is deleted by force and runs on; pod-{heir} takes its name"));
        let left = &mut self.pods[pod];
        left.terminating = true;
        let (ordinal, name, address) = (left.ordinal.take(), left.name.clone(), left.address.clone());
        let (peer_address, generation) = (left.peer_address.clone(), left.generation);
        let at = self.now + self.rng.millis(1000, self.settings.grace.as_millis() as u64);
        self.schedule(at, Event::GraceEnds { pod, generation });
        let found = &mut self.pods[heir];
        (found.ordinal, found.name, found.address, found.peer_address) = (ordinal, name, address, peer_address);
        let generation = found.generation;
        let at = self.now + self.rng.millis(10, 1500);
        self.schedule(at, Event::PodStarts { pod: heir, generation });
    }

    /// The pod's processes start again in the same place. Its emptyDir is on disk.
    fn restart_machine(&mut self, pod: usize) {
        if !self.pods[pod].exists {
            return;
        }
        self.trace.add(self.now, || format!("pod-{pod} its machine restarts"));
        self.kill_exec(pod);
        self.kill_sidecar(pod);
        let found = &mut self.pods[pod];
        found.boot += 1;
        found.booted_at = self.now;
        self.check_claims();
    }

    /// A request while they are late. Of three, one is lost, one is carried out when nobody waits for it any longer, and
    /// one is answered at the last moment. (None: this one is not late.)
    pub(crate) fn call_late(&mut self, life: Life, call: Call) -> Option<Call> {
        if !self.settings.is_plain || !self.api.is_late(self.now, life.pod) {
            return Some(call);
        }
        let given_up_at = self.now + self.settings.api_timeout;
        let timeout = self.settings.api_timeout.as_micros() as u64;
        let given_up = Box::new(call.unanswered(true));
        match self.rng.below(3) {
            0 => self.schedule(given_up_at, Event::Sidecar { life, input: given_up }),
            1 => {
                let at = self.now + self.rng.micros(0, timeout * 4);
                self.schedule(at, Event::Called { life, call: Box::new(call), answer: AnswerTime::Never });
                self.schedule(given_up_at, Event::Sidecar { life, input: given_up });
            }
            _ => {
                let at = self.now + self.rng.micros(500, timeout / 2);
                let answer = AnswerTime::At(self.now + self.rng.micros(timeout / 2, timeout));
                self.schedule(at, Event::Called { life, call: Box::new(call), answer });
            }
        }
        None
    }
}
