//! The kubelet and the StatefulSet's controller: pods start, are asked to end, are gone, and are scaled.

use crate::model::cluster::Cluster;
use crate::model::event::Event;
use std::time::Duration;

impl Cluster {
    /// The kubelet starts a pod that is wanted: an empty shared directory, both processes.
    pub(crate) fn start_pod(&mut self, pod: usize) {
        if self.pods[pod].exists || self.pods[pod].ordinal.is_none_or(|ordinal| ordinal >= self.api.wanted) {
            return;
        }
        if self.api.fresh_after > self.now {
            let generation = self.pods[pod].generation;
            return self.schedule(self.api.fresh_after, Event::PodStarts { pod, generation });
        }
        self.trace.add(self.now, || format!("pod-{pod} begins"));
        let found = &mut self.pods[pod];
        found.exists = true;
        found.terminating = false;
        (found.role_file, found.status_file) = (None, None);
        found.directory_full_until = Duration::ZERO;
        found.lease_duration = match self.settings.later_duration {
            Some(later) if self.now > self.settings.chaos / 3 => later,
            Some(_) | None => self.settings.lease_duration,
        };
        found.stopped = None;
        let (store, sidecar) = (found.store.life, found.sidecar.life);
        if self.settings.exec {
            let delay = self.rng.millis(0, 1000);
            self.plan_exec(pod, delay);
        }
        self.run_init_container(pod);
        if !self.settings.is_plain {
            let at = self.now + self.rng.millis(0, 100);
            self.schedule(at, Event::StoreStarts { life: store });
        }
        let at = self.now + self.rng.millis(0, 100);
        self.schedule(at, Event::SidecarStarts { life: sidecar });
    }

    /// SIGTERM to both processes of a pod, and the end of its grace period later.
    pub(crate) fn terminate_pod(&mut self, pod: usize) {
        if !self.pods[pod].exists || self.pods[pod].terminating {
            return;
        }
        self.trace.add(self.now, || format!("pod-{pod} is told to end"));
        self.pods[pod].terminating = true;
        let generation = self.pods[pod].generation;
        self.schedule(self.now + self.settings.grace, Event::GraceEnds { pod, generation });
        if self.pods[pod].store.is_up() {
            let life = self.pods[pod].store.life;
            let input = Box::new(leasehold_replication::Input::Drain);
            self.schedule(self.now, Event::Store { life, input });
        } else if self.pods[pod].exec.is_up {
            self.terminate_exec(pod);
        } else {
            self.kill_store(pod, false);
        }
        if self.pods[pod].sidecar.is_up() {
            let life = self.pods[pod].sidecar.life;
            let input = Box::new(leasehold_election::Input::Stop);
            // A native sidecar gets it after the app has ended (see `kill_store`), any other at once.
            if !self.settings.native_sidecar {
                self.schedule(self.now, Event::Sidecar { life, input });
            }
        } else {
            self.kill_sidecar(pod);
        }
        self.pod_over(pod);
    }

    /// Both processes of an ending pod have ended: a new pod gets its name, if one is wanted.
    pub(crate) fn pod_over(&mut self, pod: usize) {
        let found = &mut self.pods[pod];
        if !found.terminating || found.store.is_running() || found.sidecar.is_up() || found.exec.is_up {
            return;
        }
        self.trace.add(self.now, || format!("pod-{pod} is gone"));
        found.exists = false;
        found.terminating = false;
        if self.settings.is_plain {
            // Its directory is removed with it, and so is its app.
            found.role_file = None;
        }
        found.generation += 1;
        let generation = found.generation;
        let at = self.now + self.rng.millis(10, 1500);
        self.schedule(at, Event::PodStarts { pod, generation });
    }

    /// Its grace period is over.
    pub(crate) fn end_pod(&mut self, pod: usize) {
        if self.pods[pod].terminating {
            self.kill_exec(pod);
            self.kill_store(pod, false);
            self.kill_sidecar(pod);
            self.pod_over(pod);
        }
    }

    /// `kubectl scale`, and the response of the StatefulSet's controller.
    pub(crate) fn scale_to(&mut self, wanted: usize) {
        self.scale(wanted);
        for pod in 0..self.pods.len() {
            let Some(ordinal) = self.pods[pod].ordinal else { continue };
            if ordinal >= wanted {
                self.terminate_pod(pod);
            } else if !self.pods[pod].exists {
                let generation = self.pods[pod].generation;
                let at = self.now + self.rng.millis(10, 500);
                self.schedule(at, Event::PodStarts { pod, generation });
            }
        }
    }

    /// How long the kubelet takes to restart a process.
    pub(crate) fn restart_delay(&mut self) -> Duration {
        if self.rng.chance(300) { self.rng.millis(1, 100) } else { self.rng.millis(100, 3000) }
    }
}
