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
use crate::model::lease::{AnswerTime, Call};
use crate::model::life::Life;
use crate::model::pod::Pod;
use leasehold_election::{Input, ReadOutcome, WriteOutcome, annotation};
use std::time::Duration;

impl Cluster {
    /// Makes one of the faults of plain apps alone.
    pub(crate) fn make_plain(&mut self, fault: Fault, pod: usize, until: Duration) {
        match fault {
            Fault::DeleteByForce => self.delete_by_force(pod),
            Fault::RestartMachine => self.restart_machine(pod),
            Fault::LateRequests => self.api.delay(pod, until),
            Fault::TakeBackSwitchover => self.annotate_lease(annotation::PREFERRED_HOLDER, None),
            other => unreachable!("{other:?} is not a fault of plain apps alone"),
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
        let given_up = Box::new(match call {
            Call::Read => Input::LeaseRead(ReadOutcome::NoAnswer),
            Call::Write(_) => Input::LeaseWritten(WriteOutcome::Unknown),
        });
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
