//! What goes wrong, and when: one random fault after another, each run with its own mix of them.
//!
//! A fault that time repairs is stored as the moment until which it lasts, so healing everything sets those moments to now.
//! Only a minority of the voters ever loses its volumes: beyond that nothing is promised.

use crate::model::chaos::Fault;
use crate::model::cluster::Cluster;
use crate::model::disk::Volume;
use crate::model::event::Event;
use crate::model::life::Life;
use leasehold_election::annotation;
use leasehold_replication::{Input, PeerState};
use std::time::Duration;

impl Cluster {
    /// The next fault, and the time of the one after it.
    pub(crate) fn next_fault(&mut self) {
        if !self.chaos.is_on() {
            return;
        }
        let usual = self.settings.fault_every.as_micros() as u64;
        let at = self.now + self.rng.micros(1, usual * 2);
        self.schedule(at, Event::Fault);
        if let Some(fault) = self.chaos.next(&mut self.rng) {
            self.make(fault);
        }
    }

    /// Usually some milliseconds, often seconds, and sometimes long.
    fn some_time(&mut self) -> Duration {
        match self.rng.below(10) {
            0..=3 => self.rng.millis(1, 300),
            4..=8 => self.rng.millis(300, 3000),
            _ => self.rng.millis(3000, 20_000),
        }
    }

    fn some_pod(&mut self) -> usize {
        self.rng.below(self.pods.len())
    }

    /// Makes a fault: for some time, for some pod.
    fn make(&mut self, fault: Fault) {
        let until = self.now + self.some_time();
        if self.settings.is_plain && matches!(fault, Fault::DeleteLease | Fault::EditLease) {
            return;
        }
        let pod = self.some_pod();
        let pod = match fault {
            Fault::KillLeader | Fault::FreezeLeader | Fault::Isolate => self.leader().unwrap_or(pod),
            _ => pod,
        };
        self.trace.add(self.now, || format!("fault       {fault:?} pod-{pod} until {:.3}", until.as_secs_f64()));
        match fault {
            Fault::KillStore | Fault::KillLeader => self.kill_running_store(pod, false),
            Fault::KillSidecar => self.kill_running_sidecar(pod),
            Fault::KillPod => {
                self.kill_running_store(pod, false);
                self.kill_running_sidecar(pod);
            }
            Fault::PowerLoss => self.lose_power(pod),
            Fault::KillAll => (0..self.pods.len()).for_each(|pod| self.kill_running_store(pod, false)),
            Fault::PowerLossOfAll => (0..self.pods.len()).for_each(|pod| self.lose_power(pod)),
            Fault::FreezeStore | Fault::FreezeLeader => self.freeze_store(pod, until),
            Fault::FreezeSidecar => self.freeze_sidecar(pod, until),
            Fault::FreezePod => {
                self.freeze_store(pod, until);
                self.freeze_sidecar(pod, until);
            }
            Fault::CutLink => {
                let other = self.some_pod();
                self.network.cut_both(pod, other, until);
            }
            Fault::CutOneWay => {
                let other = self.some_pod();
                self.network.cut(pod, other, until);
            }
            Fault::Isolate => (0..self.pods.len()).for_each(|other| self.network.cut_both(pod, other, until)),
            Fault::Halves => self.halve(until),
            Fault::Reset => self.reset_some_connection(),
            Fault::ApiGone => (0..self.pods.len()).for_each(|pod| self.lose_api(pod, until)),
            Fault::ApiGoneForOne => self.lose_api(pod, until),
            Fault::ApiMute => self.api.mute(pod, until),
            Fault::CutWatch => self.cut_watch(pod),
            Fault::DeafWatch => self.api.deafen(pod, until),
            Fault::DeleteLease => self.delete_lease(),
            Fault::EditLease => self.edit_lease(),
            Fault::Switchover => self.ask_for_switchover(pod),
            Fault::Pause => {
                let value = self.rng.chance(300).then(|| "true".to_owned());
                self.annotate_lease(annotation::PAUSED, value);
            }
            Fault::Wipe => self.wipe_if_allowed(pod),
            Fault::Scale => self.scale_somehow(),
            Fault::Restart => self.terminate_pod(pod),
            Fault::DiskFails => self.fail_disk(pod),
            Fault::DeleteByForce
            | Fault::RestartMachine
            | Fault::LateRequests
            | Fault::TakeBackSwitchover
            | Fault::KillExec
            | Fault::ChangeFitness
            | Fault::StepDown
            | Fault::SayReleased
            | Fault::DeleteAndApply
            | Fault::FullDirectory
            | Fault::RestoreLease => self.make_plain(fault, pod, until),
            Fault::CopyVolume => self.pods[pod].volume.keep_copy(),
            Fault::SetBack => self.set_back_if_allowed(pod),
            Fault::FlipBit => self.flip_bit(pod),
            Fault::FlipBitAtRest => self.flip_bit_at_rest(pod),
            Fault::ApplyOtherwise => self.apply_otherwise(pod),
            Fault::RepairDiverged if self.pods[pod].volume.diverged.is_some() => self.wipe_if_allowed(pod),
            Fault::RepairDiverged => {}
        }
    }

    /// Each pod is on one of two sides, and nothing passes between them.
    fn halve(&mut self, until: Duration) {
        let side = self.rng.bits();
        for (a, b) in (0..self.pods.len()).flat_map(|a| (0..a).map(move |b| (a, b))) {
            if (side >> a) & 1 != (side >> b) & 1 {
                self.network.cut_both(a, b, until);
            }
        }
    }

    fn ask_for_switchover(&mut self, pod: usize) {
        let name = if self.rng.chance(50) { "nobody-7".to_owned() } else { self.pods[pod].name.clone() };
        self.annotate_lease(annotation::PREFERRED_HOLDER, Some(name));
    }

    fn wipe_if_allowed(&mut self, pod: usize) {
        if self.facts.has_room_for_a_volume()
            && self.may_be_wiped(pod)
            && !self.is_a_first_start(self.api.wanted, Some(pod))
        {
            self.kill_running_store(pod, false);
            self.wipe(pod);
        }
    }

    fn set_back_if_allowed(&mut self, pod: usize) {
        if self.may_be_set_back(pod) {
            self.kill_running_store(pod, false);
            self.pods[pod].volume.set_back();
        }
    }

    fn scale_somehow(&mut self) {
        let wanted = if self.rng.chance(100) { 0 } else { 1 + self.rng.below(self.settings.pods) };
        if !self.is_a_first_start(wanted, None) {
            self.scale_to(wanted);
        }
    }

    fn kill_running_store(&mut self, pod: usize, power: bool) {
        if self.pods[pod].store.is_running() {
            self.kill_store(pod, power);
        }
    }

    fn kill_running_sidecar(&mut self, pod: usize) {
        if self.pods[pod].sidecar.is_up() {
            self.kill_sidecar(pod);
        }
    }

    fn lose_power(&mut self, pod: usize) {
        self.kill_running_store(pod, true);
        self.kill_running_sidecar(pod);
    }

    /// The API is gone for one sidecar.
    pub(crate) fn lose_api(&mut self, pod: usize, until: Duration) {
        self.api.take_down(pod, until);
        // An open connection may outlive the start of the outage, silently.
        if self.rng.chance(800) {
            self.cut_watch(pod);
        } else {
            self.api.deafen(pod, until);
        }
    }

    /// A person may delete the Lease, or scale, or empty a volume. But nothing protects one who does all three so that only
    /// empty volumes are wanted: by every rule that is a first start (5.5 in docs/design.md), beside the data that nobody
    /// wants.
    fn is_a_first_start(&self, wanted: usize, emptied: Option<usize>) -> bool {
        let has_data = |pod: usize| Some(pod) != emptied && self.pods[pod].volume.has_data();
        wanted > 0 && !(0..wanted).any(has_data) && (0..self.pods.len()).any(has_data)
    }

    /// Would every majority still exist without this volume? Judged by all voters on any volume, counting this one among
    /// them even if it is not one: what is under way may make it one.
    fn may_be_wiped(&self, pod: usize) -> bool {
        let gone = self.pods[pod].volume.replica;
        let counts = |volume: &&Volume| volume.replica != gone && !volume.is_set_back();
        let present: Vec<_> = self.pods.iter().map(|p| &p.volume).filter(counts).map(|volume| volume.replica).collect();
        self.pods.iter().filter_map(|pod| pod.volume.voters()).all(|now| {
            let all = now.voters.len() + usize::from(!now.contains(gone));
            let left = now.voters.iter().filter(|voter| present.contains(&voter.replica)).count();
            now.voters.is_empty() || left > all / 2
        })
    }

    /// May an older copy replace this volume? The same rule as for emptying it; and a replica that knows better must exist
    /// and answer: for a volume that nobody knows, nothing is promised.
    fn may_be_set_back(&self, pod: usize) -> bool {
        let older = self.pods[pod].volume.older();
        older.is_some_and(|older| older.has_data() && self.who_knows_more(pod, older).is_some())
            && self.may_be_wiped(pod)
    }

    /// Another running pod that knows more of this pod's volume than such a state of it holds: its answer.
    pub(crate) fn who_knows_more(&self, pod: usize, of: &Volume) -> Option<(String, PeerState)> {
        let more = |state: &PeerState| {
            state.known.iter().any(|known| {
                known.replica == of.replica
                    && (known.term > of.durable_state.promise.term || known.position > of.durable_log.last())
            })
        };
        let others = self.pods.iter().enumerate().filter(|(number, _)| *number != pod);
        let states = others.filter_map(|(_, other)| {
            let status = other.store.up()?.replica.status();
            Some((other.name.clone(), status.peer_state(&other.name, other.volume.replica)))
        });
        states.into_iter().find(|(_, state)| state.cluster_id == of.durable_state.cluster_id && more(state))
    }

    /// The clients write a batch, mostly where a pod reports that it leads.
    pub(crate) fn clients_write(&mut self) {
        if !self.chaos.is_on() {
            return;
        }
        let at = self.now + self.rng.micros(1, self.settings.write_every_us * 2);
        self.schedule(at, Event::ClientsWrite);
        let pod = match self.leader() {
            Some(leader) if self.rng.chance(900) => leader,
            _ => self.some_pod(),
        };
        if self.pods[pod].store.is_up() && self.pods[pod].store.frozen_until <= self.now {
            let count = 1 + self.rng.below(4);
            let after = self.facts.applied_seq();
            let mut proposals: Vec<_> = match self.settings.collections {
                true => (0..count).map(|_| self.some_write(pod, after)).collect(),
                false => (0..count).map(|_| self.clients.write(after)).collect(),
            };
            if self.settings.runs_short {
                for proposal in &mut proposals {
                    proposal.grows = self.rng.chance(700);
                    self.clients.grows(proposal.id, proposal.grows);
                }
            }
            self.step_store(pod, Input::Propose(proposals));
        }
        let pod = self.some_pod();
        if self.pods[pod].store.frozen_until <= self.now {
            self.client_reads(pod);
            self.session_reads(pod);
        }
    }

    /// Nothing goes wrong from the start, and nobody writes.
    pub(crate) fn calm(&mut self) {
        self.chaos.end();
    }

    /// A shorter stop within a longer one does not end it: what arrived meanwhile waits for the longer one's end.
    fn freeze_store(&mut self, pod: usize, until: Duration) {
        let frozen = &mut self.pods[pod].store.frozen_until;
        *frozen = until.max(*frozen);
    }

    fn freeze_sidecar(&mut self, pod: usize, until: Duration) {
        let frozen = &mut self.pods[pod].sidecar.frozen_until;
        *frozen = until.max(*frozen);
    }

    /// That process ends, and is not restarted.
    pub(crate) fn end_store_for_good(&mut self, pod: usize) {
        self.kill_running_store(pod, false);
        self.pods[pod].store.life.run += 1;
    }

    /// That process ends, and is not restarted.
    pub(crate) fn end_sidecar_for_good(&mut self, pod: usize) {
        self.kill_running_sidecar(pod);
        self.pods[pod].sidecar.life.run += 1;
    }

    /// All faults end: from here on everything must recover by itself.
    pub(crate) fn heal(&mut self) {
        self.trace.add(self.now, || "heal        everything".to_owned());
        self.chaos.end();
        self.network.mend();
        self.network.weather.late = 0;
        self.network.weather.lost = 0;
        self.api.mend();
        self.settings.api_lost = 0;
        self.settings.fsync_late = 0;
        for pod in &mut self.pods {
            (pod.store.frozen_until, pod.sidecar.frozen_until) = Default::default();
            pod.directory_full_until = Duration::ZERO;
        }
        (0..self.pods.len()).for_each(|pod| self.directory_is_writable(self.pods[pod].sidecar.life));
        self.disks_answer();
        self.mend_volumes();
        self.make_room();
        self.update_all();
        if self.settings.is_plain {
            (0..self.pods.len()).for_each(|pod| self.tell_fitness(pod, true));
        }
        // Only a person ends a pause.
        self.annotate_lease(annotation::PAUSED, None);
    }

    /// A person follows the advice of each replica that went back in time: it is wiped, and joins as a new one. One that
    /// has not found out yet gets its newest state back.
    fn mend_volumes(&mut self) {
        for pod in 0..self.pods.len() {
            let volume = &self.pods[pod].volume;
            if volume.is_set_back() {
                let is_marked = volume.mark.is_some();
                self.kill_running_store(pod, false);
                if is_marked { self.wipe(pod) } else { self.pods[pod].volume.put_right() }
            }
        }
    }

    /// For a report: which run of each process is up.
    pub(crate) fn lives(&self) -> Vec<(Life, Life)> {
        self.pods.iter().map(|pod| (pod.store.life, pod.sidecar.life)).collect()
    }
}
