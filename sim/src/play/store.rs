//! The store's process around the real core: it does what the production shell does, with a simulated disk, network and
//! clients.
//!
//! ```text
//!   StoreStarts ─▶ lock held, journal read ─▶ StoreRecovered ─▶ Replica::new ─▶ step … step ─▶ drained, failed or killed
//!   after every step: status() ─▶ invariants, status file, next Wake
//! ```

use crate::model::client::Outcome;
use crate::model::cluster::Cluster;
use crate::model::event::Event;
use crate::model::life::Life;
use crate::model::store::{Process, Up};
use crate::model::trace;
use crate::plant::{Plant, Shell};
use crate::play::hang::DISK_STALL;
use leasehold_replication::{ClusterId, Config, Incarnation, Input, Position, Pulse, Replica, Seq, Term, Voters};
use std::time::Duration;

/// More steps than this at one moment of virtual time mean a core that never comes to rest.
const STEPS_AT_ONCE_MAX: u32 = 20_000;
/// How long applying a slice of committed entries takes, if there are more.
const APPLY_TIME: Duration = Duration::from_micros(300);

impl Cluster {
    pub(crate) fn start_store(&mut self, life: Life) {
        if self.pods[life.pod].store.is_running() {
            return;
        }
        self.choose_build(life.pod);
        self.trace.add(self.now, || format!("pod-{} store starts", life.pod));
        self.pods[life.pod].store.process = Process::Starting;
        let slow = if self.rng.chance(30) { 40 } else { 1 };
        let at = self.now + self.rng.millis(1, 50 * slow);
        self.schedule(at, Event::StoreRecovered { life });
    }

    /// The journal is read and durable; the replica starts.
    pub(crate) fn recover_store(&mut self, life: Life) {
        if self.waits_for_disk(life, Event::StoreRecovered { life }) {
            return;
        }
        if self.settings.two_builds && self.cannot_be_read(life) {
            return;
        }
        let incarnation = Incarnation(self.rng.uuid());
        let new_cluster_id = ClusterId(self.rng.uuid());
        self.know_better(life);
        // A copy that is not used after all: the newest state may need a later build.
        if self.settings.two_builds && self.cannot_be_read(life) {
            return;
        }
        let mut config = self.store_config(life.pod, incarnation, new_cluster_id);
        let pod = &mut self.pods[life.pod];
        let number = pod.volume.number;
        if self.settings.plant == Some(Plant::Shell(Shell::PromiseLost)) {
            pod.volume.lose_promise();
        }
        let resync = self.settings.plant != Some(Plant::Shell(Shell::PageCacheIsDurable));
        let replays_tail = self.settings.plant == Some(Plant::Shell(Shell::OldTailIsReplayed));
        let (facts, name) = (&mut self.facts, &pod.name);
        let recovered = pod.volume.recover(resync, replays_tail, |item| facts.made_durable(name, number, item));
        let recovered = match self.settings.restores {
            Some(_) => pod.volume.offer_restore(recovered, &mut config, self.settings.plant),
            None => recovered,
        };
        let known = recovered.snapshot.as_ref().map(|meta| (meta.position, meta.voters.clone()));
        let (applied, applied_voters) = known.unwrap_or((Position::ZERO, Voters::none()));
        if applied != Position::ZERO {
            facts.restored(name, applied);
            facts.snapshot_durable(number, applied);
        }
        self.trace.add(self.now, || {
            let (promise, last) = (recovered.state.promise, pod.volume.log.last());
            format!("{name} store recovers: {incarnation} on {}, promise {promise}, log {last}", pod.volume.replica)
        });
        // A bootstrap that a crash tore never happened: the first entries will cut what is left of its entries.
        let may_be_torn = recovered.snapshot.is_none() && recovered.entries.iter().all(|e| e.position.term == Term(0));
        let replica = Replica::new(config, recovered);
        let digest = facts.digest(applied.seq).unwrap_or_default();
        let mut up = Up::new(replica, incarnation, applied, applied_voters, digest);
        if pod.volume.snapshot_damage != 0 {
            up.damage.push((Seq(0), pod.volume.snapshot_damage));
        }
        if may_be_torn && up.status.position == Position::ZERO && up.status.cluster_id.is_none() {
            pod.volume.forget_log();
        }
        pod.store.process = Process::Up(Box::new(up));
        self.open_data(life.pod, applied);
        self.check_mark_is_found(life.pod);
        self.write_status(life.pod);
        self.read_role(life, true);
        self.step_store(life.pod, Input::Wake);
        self.show_room(life.pod);
    }

    fn store_config(&self, pod: usize, incarnation: Incarnation, new_cluster_id: ClusterId) -> Config {
        let pod = &self.pods[pod];
        Config {
            name: pod.name.clone(),
            replica: pod.volume.replica,
            incarnation,
            revision: String::new(),
            heartbeat: self.settings.heartbeat,
            lost_time: self.settings.lost_time,
            disk_stall: DISK_STALL,
            hand_over_max: Duration::from_secs(2),
            drain_min: Duration::from_millis(500),
            unready_after: Duration::from_secs(30),
            log_memory_bytes: self.settings.log_memory_bytes,
            apply_bytes_max: self.settings.apply_bytes_max,
            drain_max: self.settings.grace - Duration::from_secs(5),
            new_cluster_id,
            initial_data: vec![(u64::MAX - 1).to_le_bytes().to_vec().into(), u64::MAX.to_le_bytes().to_vec().into()],
            initial_format: 1,
            restore: None,
            force_bootstrap: false,
            format_build: pod.formats.0,
            format_allowed: pod.formats.1,
            sums: self.settings.diverging,
        }
    }

    /// The volume is an older copy that has not been found out yet. A replica that knows more will answer in time; if there
    /// is none, the copy is not used after all: for that nothing is promised.
    fn know_better(&mut self, life: Life) {
        let volume = &self.pods[life.pod].volume;
        if !volume.is_set_back() || volume.mark.is_some() {
            return;
        }
        match self.who_knows_more(life.pod, volume) {
            Some((name, state)) => {
                let latest = (self.settings.lost_time.as_millis() / 2) as u64;
                let at = self.now + self.rng.millis(1, latest);
                let input = Box::new(Input::StateAnswered { name, state });
                self.schedule(at, Event::Store { life, input });
            }
            None => self.pods[life.pod].volume.put_right(),
        }
    }

    /// role.json is read, because it changed or because two seconds have passed.
    pub(crate) fn read_role(&mut self, life: Life, again: bool) {
        if again {
            self.schedule(self.now + Duration::from_secs(2), Event::RoleRead { life, again });
        }
        if let Some(file) = &self.pods[life.pod].role_file {
            let view = leasehold_contract::replication::role_view(file);
            if let Some(up) = self.pods[life.pod].store.up_mut() {
                up.members = view.members.iter().map(|member| member.name.clone()).collect();
            }
            self.step_store(life.pod, Input::Role(view));
        }
    }

    pub(crate) fn wake_store(&mut self, life: Life) {
        let pod = &mut self.pods[life.pod];
        let local = pod.local(self.now);
        let Some(up) = pod.store.up_mut() else { return };
        if up.wake_at.is_some_and(|at| at > self.now) {
            return; // There is a later event for that.
        }
        up.wake_at = None;
        if up.replica.deadline().is_some_and(|at| at <= local) {
            self.step_store(life.pod, Input::Wake);
        } else {
            self.plan_store_wake(life.pod);
        }
    }

    /// One input to the core, and all its effects.
    pub(crate) fn step_store(&mut self, pod: usize, input: Input) {
        let input = self.of_format_in_force(pod, input);
        let local = self.pods[pod].local(self.now);
        let Some(up) = self.pods[pod].store.up_mut() else { return };
        if !matches!(input, Input::Wake) {
            self.trace.add(self.now, || format!("pod-{pod} store  < {}", trace::input(&input)));
        }
        let effects = up.replica.step(local, input);
        up.busy = if up.busy.0 == self.now { (self.now, up.busy.1 + 1) } else { (self.now, 0) };
        let spins = up.busy.1 > STEPS_AT_ONCE_MAX;
        self.counts.steps += 1;
        if spins {
            return self.violation(format!("pod-{pod} store makes {STEPS_AT_ONCE_MAX} steps at one moment"));
        }
        let life = self.pods[pod].store.life;
        let dies = self.settings.effect_crashes > 0
            && self.chaos.is_on()
            && self.rng.below(100_000) < self.settings.effect_crashes as usize;
        let dies_at = if dies { self.rng.below(effects.len() + 1) } else { usize::MAX };
        for (at, effect) in effects.into_iter().enumerate() {
            if at == dies_at {
                self.trace.add(self.now, || format!("pod-{pod} store dies between two effects"));
                return self.kill_store(pod, false);
            }
            self.trace.add(self.now, || format!("pod-{pod} store  > {}", trace::effect(&effect)));
            self.carry_out(life, effect);
            if self.pods[pod].store.life != life {
                return;
            }
        }
        self.after_step(pod);
    }

    /// What the shell and the judges check after every step.
    fn after_step(&mut self, pod: usize) {
        self.check_format(pod);
        self.check_freshness(pod);
        let Some((before, after)) = self.look_again(pod) else { return };
        self.check_step(pod, &before, &after);
        self.check_diverged(pod);
        if is_news(&before, &after) {
            self.write_status(pod);
        }
        let takes_snapshot = (self.pods[pod].store.up())
            .is_some_and(|up| up.since_snapshot >= self.settings.snapshot_every && up.snapshot_running.is_none());
        if takes_snapshot && self.rng.chance(200) {
            self.take_snapshot(pod);
        }
        if after.drained {
            self.trace.add(self.now, || format!("pod-{pod} store is drained and ends"));
            return self.kill_store(pod, false);
        }
        self.plan_store_wake(pod);
    }

    /// Takes its pulse, and its status if that may have changed. Returns the pulse before and after the step.
    fn look_again(&mut self, pod: usize) -> Option<(Pulse, Pulse)> {
        let found = &mut self.pods[pod];
        let up = found.store.up_mut()?;
        let before = std::mem::replace(&mut up.pulse, up.replica.pulse());
        let after = up.pulse;
        let has_changed = is_news(&before, &after) || before.voters_since != after.voters_since;
        if has_changed || self.trace.is_on() {
            up.status = up.replica.status();
        } else {
            (up.status.position, up.status.committed, up.status.drained) =
                (after.position, after.committed, after.drained);
        }
        if has_changed {
            self.trace.add(self.now, || format!("{} store  = {}", found.name, trace::status(&up.status)));
        }
        Some((before, after))
    }

    fn plan_store_wake(&mut self, pod: usize) {
        let found = &mut self.pods[pod];
        let Some(deadline) = found.store.up().and_then(|up| up.replica.deadline()) else { return };
        let at = found.global(deadline).max(self.now);
        let life = found.store.life;
        let Some(up) = found.store.up_mut() else { return };
        // The shell is busy with what was handed out last.
        let at = if up.replica.applies().is_some() { at.max(self.now + APPLY_TIME) } else { at };
        if up.wake_at.is_none_or(|planned| at < planned) {
            up.wake_at = Some(at);
            self.schedule(at, Event::StoreWakes { life });
        }
    }

    /// The process ends: by a kill, by itself, or with its machine (`power`).
    pub(crate) fn kill_store(&mut self, pod: usize, power: bool) {
        let found = &mut self.pods[pod];
        let process = std::mem::replace(&mut found.store.process, Process::Down);
        found.store.life.run += 1;
        found.store.frozen_until = Duration::ZERO;
        found.store.questions.clear();
        if let Process::Up(mut up) = process {
            found.volume.noted = up.replica.committed_here();
            for (_, id) in std::mem::take(&mut up.pending).into_values().flatten() {
                self.clients.tell(&mut self.facts, id, Outcome::Unknown);
            }
            if let Some(number) = up.snapshot_running
                && self.rng.chance(500)
            {
                // It was just renamed into its place, and nobody had been notified.
                let meta = self.snapshots[number as usize].clone();
                found.volume.snapshot_damage = up.damage_at(meta.position.seq);
                self.facts.snapshot_durable(found.volume.number, meta.position);
                let format = self.settings.snapshot_format(found.formats.0, &meta);
                found.volume.snapshot_taken(meta, format, &mut self.rng);
            }
            found.volume.crash(power, &mut self.rng);
            self.drop_connections(pod, power);
        }
        let found = &self.pods[pod];
        let (life, sidecar) = (found.store.life, found.sidecar.life);
        let (exists, terminating, sidecar_is_up) = (found.exists, found.terminating, found.sidecar.is_up());
        // The kernel releases the lock.
        let at = self.now + self.rng.micros(50, 3000);
        self.schedule(at, Event::LockFree { life: sidecar });
        if terminating {
            if self.settings.native_sidecar && sidecar_is_up {
                let input = Box::new(leasehold_election::Input::Stop);
                self.schedule(at, Event::Sidecar { life: sidecar, input });
            }
            self.pod_over(pod);
        } else if exists && !self.settings.is_plain {
            let at = self.now + self.restart_delay();
            self.schedule(at, Event::StoreStarts { life });
        }
    }
}

/// Did the step change the content of status.json, except for the position?
fn is_news(before: &Pulse, after: &Pulse) -> bool {
    (before.phase, before.promise, before.rest) != (after.phase, after.promise, after.rest)
}
