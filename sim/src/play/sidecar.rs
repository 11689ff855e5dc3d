//! The sidecar's process around the real core, and the two files that it shares with the store.
//!
//! ```text
//!   Election ──PublishRole──▶ role.json ──a moment later──▶ Input::Role ──▶ Replica
//!   Replica ───Status───────▶ status.json ──────────────▶ Input::AppSeen ─▶ Election      the latest content, not each one
//!   store dies ──lock──▶ Input::AppDied
//! ```

use crate::model::cluster::Cluster;
use crate::model::event::Event;
use crate::model::files;
use crate::model::lease::Call;
use crate::model::life::Life;
use crate::model::sidecar::Up;
use crate::model::trace;
use leasehold_contract as contract;
use leasehold_election::{App, Config, Effect, Election, Input, RoleView};
use std::time::Duration;

const STEPS_AT_ONCE_MAX: u32 = 20_000;

impl Cluster {
    pub(crate) fn start_sidecar(&mut self, life: Life) {
        let seed = self.rng.bits();
        let app = if self.settings.is_plain {
            App::Plain { incarnation: self.rng.uuid(), exec: self.settings.exec }
        } else {
            App::Fencing
        };
        let pod = &mut self.pods[life.pod];
        if pod.sidecar.is_up() {
            return;
        }
        let old_role =
            pod.role_file.as_ref().map(|file| contract::election::old_role(file, &pod.name, pod.moment(self.now)));
        let config = Config {
            name: pod.name.clone(),
            address: pod.address.clone(),
            app,
            duration: if self.settings.is_plain { pod.lease_duration } else { self.settings.lease_duration },
            lost_time: self.settings.lost_time,
            fitness_patience: self.settings.lost_time * 3,
            stop_bound: self.settings.grace - Duration::from_secs(2),
            seed,
            old_role,
        };
        self.trace.add(self.now, || format!("pod-{} sidecar starts", life.pod));
        let election = Election::new(config);
        pod.sidecar.up = Some(Box::new(Up { election, waits_for: None, wake_at: None, busy: (Duration::ZERO, 0) }));
        self.step_sidecar(life.pod, Input::Wake);
        self.schedule(self.now + Duration::from_millis(1), Event::WatchOpens { life });
        self.tell_exec(life.pod);
        self.begin_health(life);
        let at = self.now + self.rng.millis(0, 5);
        if !self.settings.is_plain {
            self.schedule(at, Event::StatusRead { life, again: true });
        }
    }

    /// The process ends.
    pub(crate) fn kill_sidecar(&mut self, pod: usize) {
        let found = &mut self.pods[pod];
        found.sidecar.life.run += 1;
        found.sidecar.up = None;
        found.sidecar.frozen_until = Duration::ZERO;
        let life = found.sidecar.life;
        let (exists, terminating) = (found.exists, found.terminating);
        self.forget_watch(pod);
        (self.pods[pod].exec.awaited, self.pods[pod].exec.asked) = (None, None);
        self.pods[pod].role_waits = None;
        if terminating {
            self.pod_over(pod);
        } else if exists {
            let at = self.now + self.restart_delay();
            self.schedule(at, Event::SidecarStarts { life });
        }
    }

    pub(crate) fn wake_sidecar(&mut self, life: Life) {
        let pod = &mut self.pods[life.pod];
        let local = pod.local(self.now);
        let Some(up) = &mut pod.sidecar.up else { return };
        if up.wake_at.is_some_and(|at| at > self.now) {
            return;
        }
        up.wake_at = None;
        if up.election.deadline().is_some_and(|at| at <= local) {
            self.step_sidecar(life.pod, Input::Wake);
        } else {
            self.plan_sidecar_wake(life.pod);
        }
    }

    /// One input to the core, and all its effects.
    pub(crate) fn step_sidecar(&mut self, pod: usize, input: Input) {
        let local = self.pods[pod].local(self.now);
        let Some(up) = &mut self.pods[pod].sidecar.up else { return };
        self.trace.add(self.now, || format!("pod-{pod} side   < {}", trace::shorten(&format!("{input:?}"))));
        let effects = up.election.step(local, input);
        up.busy = if up.busy.0 == self.now { (self.now, up.busy.1 + 1) } else { (self.now, 0) };
        let spins = up.busy.1 > STEPS_AT_ONCE_MAX;
        self.counts.steps += 1;
        if spins {
            return self.violation(format!("pod-{pod} sidecar makes {STEPS_AT_ONCE_MAX} steps at one moment"));
        }
        let life = self.pods[pod].sidecar.life;
        let mut is_published = false;
        for effect in effects {
            self.trace.add(self.now, || format!("pod-{pod} side   > {}", trace::shorten(&format!("{effect:?}"))));
            match effect {
                Effect::ReadLease => self.call(life, Call::Read),
                Effect::WriteLease(write) => {
                    let first = self.goes_first(pod);
                    self.call(life, Call::Write(write, first));
                }
                Effect::ReadRecord => self.call(life, Call::ReadRecord),
                Effect::WriteRecord(write) => self.call(life, Call::WriteRecord(write)),
                Effect::AwaitLeadLock { number } => self.await_lead_lock(pod, number),
                Effect::PublishRole(role) => {
                    if self.settings.is_plain {
                        self.check_plain(pod, &role);
                    }
                    self.write_role(pod, role);
                    is_published = true;
                }
                Effect::Answer { term, ending } => self.check_answer(pod, term, ending),
                Effect::UpdateEndpoints { .. } | Effect::LeaveEndpoints | Effect::Tell(_) => {}
                Effect::Stopped => return self.kill_sidecar(pod),
            }
        }
        if is_published && self.settings.is_plain {
            return self.tell_role(pod);
        }
        self.plan_sidecar_wake(pod);
    }

    /// Whether role.json stands in its place.
    fn tell_role(&mut self, pod: usize) {
        let is_written = self.pods[pod].role_waits.is_none();
        self.step_sidecar(pod, Input::RoleWritten(is_written));
    }

    /// The directory of a plain app's pod may be written again.
    pub(crate) fn directory_is_writable(&mut self, life: Life) {
        let pod = life.pod;
        if self.pods[pod].directory_full_until > self.now {
            return;
        }
        if let Some(view) = self.pods[pod].role_waits.take() {
            self.write_role(pod, *view);
            self.tell_role(pod);
            if let Some(number) = self.pods[pod].exec.asked.take() {
                self.await_lead_lock(pod, number);
            }
        }
    }

    fn plan_sidecar_wake(&mut self, pod: usize) {
        let found = &mut self.pods[pod];
        let Some(deadline) = found.sidecar.up.as_ref().and_then(|up| up.election.deadline()) else { return };
        let at = found.global(deadline).max(self.now);
        let life = found.sidecar.life;
        let Some(up) = &mut found.sidecar.up else { return };
        if up.wake_at.is_none_or(|planned| at < planned) {
            up.wake_at = Some(at);
            self.schedule(at, Event::SidecarWakes { life });
        }
    }

    /// How long the other side needs to notice a changed file. Some notices are lost: then the second read finds it.
    pub(crate) fn notice_delay(&mut self) -> Duration {
        if self.rng.chance(20) { self.rng.millis(10, 2000) } else { self.rng.micros(100, 4000) }
    }

    /// The sidecar writes role.json, or as soon as the directory allows it.
    fn write_role(&mut self, pod: usize, view: RoleView) {
        let found = &mut self.pods[pod];
        found.role_waits = None;
        if found.directory_full_until > self.now {
            let (at, life) = (found.directory_full_until, found.sidecar.life);
            found.role_waits = Some(Box::new(view));
            return self.schedule(at, Event::DirectoryWritable { life });
        }
        let lease_duration = if self.settings.is_plain { found.lease_duration } else { self.settings.lease_duration };
        let around = files::Around { pod: found, lease_duration };
        let file = contract::election::role_file(&view, &around);
        match files::role(&file, self.settings.plant) {
            Ok(file) => found.role_file = Some(file),
            Err(error) => self.violation(format!("role.json of pod-{pod}: {error}")),
        }
        self.notice_role(pod);
        let life = self.pods[pod].store.life;
        let at = self.now + self.notice_delay();
        self.schedule(at, Event::RoleRead { life, again: false });
    }

    /// The store writes status.json.
    pub(crate) fn write_status(&mut self, pod: usize) {
        let found = &mut self.pods[pod];
        let Some(up) = found.store.up() else { return };
        let mut file = contract::replication::status_file(up.incarnation, found.volume.replica, &up.status, "");
        // The shell delays a position that moved alone.
        let is_known = found.status_file.as_ref().is_some_and(|last| files::is_position_alone(last, &mut file));
        if !is_known {
            match files::status(&file, self.settings.plant) {
                Ok(file) => found.status_file = Some(file),
                Err(error) => return self.violation(format!("status.json of pod-{pod}: {error}")),
            }
        }
        let life = found.sidecar.life;
        let at = self.now + self.notice_delay();
        self.schedule(at, Event::StatusRead { life, again: false });
    }

    /// The sidecar reads status.json, because it changed or because two seconds have passed.
    pub(crate) fn read_status(&mut self, life: Life, again: bool) {
        if again {
            self.schedule(self.now + Duration::from_secs(2), Event::StatusRead { life, again });
        }
        let pod = &mut self.pods[life.pod];
        let Some(up) = &mut pod.sidecar.up else { return };
        let input = match &pod.status_file {
            None => Input::AppSilent,
            Some(status) => {
                up.waits_for = Some(status.incarnation);
                if pod.store.is_running() {
                    Input::AppSeen(contract::election::app_status(status))
                } else {
                    Input::AppDied { incarnation: status.incarnation }
                }
            }
        };
        self.step_sidecar(life.pod, input);
    }

    /// The store's lock was released. If a new process has it already, its status.json will say so.
    pub(crate) fn lock_free(&mut self, life: Life) {
        let pod = &self.pods[life.pod];
        let waits_for = pod.sidecar.up.as_ref().and_then(|up| up.waits_for);
        if let (Some(incarnation), false) = (waits_for, pod.store.is_running()) {
            self.step_sidecar(life.pod, Input::AppDied { incarnation });
        }
    }
}
