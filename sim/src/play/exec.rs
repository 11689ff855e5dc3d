//! What `exec` does on a pod of plain apps, and how its sidecar learns of it.
//!
//! ```text
//!   role.json ──a moment later──▶ lock lead.lock ──▶ read role.json ──leads now──▶ the command starts
//!                                                                  └─otherwise──▶ unlock
//!   another term, not leader, near validUntil ──▶ told to end ──▶ ends before validUntil ──▶ unlock ──▶ LeadLockFree
//!   exec dies ──▶ so does the command (PDEATHSIG) ──▶ both locks are free ──▶ ExecSeen(false), LeadLockFree
//! ```
//!
//! Not modelled: an `exec` that stands still. Nothing ends its command then, and nothing but a term that the app's own
//! resource checks helps against it.

use crate::model::cluster::Cluster;
use crate::model::event::Event;
use crate::model::exec::Command;
use crate::model::life::Life;
use crate::plant::{Plant, Shell};
use leasehold_contract::RoleFile;
use leasehold_election::{Fitness, Input, Leadership, PodRole};
use std::time::Duration;

/// So long before `validUntil` a command is killed.
const MARGIN: Duration = Duration::from_millis(20);

impl Cluster {
    /// The app's container starts.
    pub(crate) fn start_exec(&mut self, pod: usize) {
        let found = &mut self.pods[pod];
        if !self.settings.exec || !found.exists || found.exec.is_up {
            return;
        }
        found.exec.run += 1;
        found.exec.is_up = true;
        self.trace.add(self.now, || format!("pod-{pod} exec starts"));
        self.tell_exec(pod);
        self.notice_role(pod);
    }

    /// Its container starts some time after something.
    pub(crate) fn plan_exec(&mut self, pod: usize, delay: Duration) {
        if self.settings.exec {
            let generation = self.pods[pod].generation;
            self.schedule(self.now + delay, Event::ExecStarts { pod, generation });
        }
    }

    /// It dies, and its command with it.
    pub(crate) fn kill_exec(&mut self, pod: usize) {
        if !self.pods[pod].exec.is_up {
            return;
        }
        self.trace.add(self.now, || format!("pod-{pod} exec ends"));
        let found = &mut self.pods[pod];
        found.exec.is_up = false;
        found.exec.run += 1;
        found.exec.command = None;
        self.tell_exec(pod);
        self.unlock(pod);
        if self.pods[pod].exists && !self.pods[pod].terminating {
            let delay = self.restart_delay();
            self.plan_exec(pod, delay);
        }
    }

    /// The kernel shows the sidecar whether somebody holds `status.lock`.
    pub(crate) fn tell_exec(&mut self, pod: usize) {
        if self.settings.exec {
            let input = Box::new(Input::ExecSeen(self.pods[pod].exec.is_up));
            self.tell_sidecar(pod, input);
        }
    }

    fn tell_sidecar(&mut self, pod: usize, input: Box<Input>) {
        let life = self.pods[pod].sidecar.life;
        let at = self.now + self.rng.micros(100, 3000);
        self.schedule(at, Event::Sidecar { life, input });
    }

    /// A sidecar begins to look at the health of its command, if it does.
    pub(crate) fn begin_health(&mut self, life: Life) {
        let found = &mut self.pods[life.pod];
        found.fitness = self.settings.health_period.map(|period| Fitness::under_exec(found.lease_duration, period));
        self.plan_look(life);
    }

    fn plan_look(&mut self, life: Life) {
        if let Some(period) = self.settings.health_period {
            self.schedule(self.now + period, Event::HealthLooks { life });
        }
    }

    /// It looks, if its pod leads.
    pub(crate) fn look_at_health(&mut self, life: Life) {
        self.plan_look(life);
        let found = &mut self.pods[life.pod];
        let now = found.local(self.now);
        let (Some(up), Some(fitness)) = (&found.sidecar.up, &mut found.fitness) else { return };
        let Some(role) = up.election.role() else { return };
        let seen = match role.role {
            PodRole::Leader => Leadership::Own(role.term),
            PodRole::Follower if role.leader.is_some() => {
                let lease = up.election.lease().flatten().map(|lease| &lease.body);
                let duration = lease.and_then(|body| body.duration_seconds).unwrap_or_default();
                let duration = Duration::from_secs(duration.into());
                let is_unfit = lease.is_some_and(leasehold_election::Body::is_unfit);
                Leadership::Another { term: role.term, is_unfit, duration }
            }
            PodRole::Follower | PodRole::None => Leadership::None,
        };
        let was_fit = fitness.is_fit();
        if fitness.begins(now, seen) {
            let runs = found.exec.command.is_some_and(|command| !command.is_ending);
            fitness.note(now, runs && found.is_healthy);
        }
        let is_fit = fitness.is_fit();
        if is_fit != was_fit {
            self.step_sidecar(life.pod, Input::FitnessSeen(is_fit));
        }
    }

    /// `Effect::AwaitLeadLock`.
    pub(crate) fn await_lead_lock(&mut self, pod: usize, number: u64) {
        if self.pods[pod].role_waits.is_some() {
            self.pods[pod].exec.asked = Some(number);
            return;
        }
        self.pods[pod].exec.awaited = Some(number);
        if !self.pods[pod].exec.is_locked {
            self.lock_is_free(pod);
        }
    }

    fn unlock(&mut self, pod: usize) {
        self.pods[pod].exec.is_locked = false;
        self.lock_is_free(pod);
    }

    fn lock_is_free(&mut self, pod: usize) {
        if let Some(number) = self.pods[pod].exec.awaited.take() {
            self.tell_sidecar(pod, Box::new(Input::LeadLockFree { number }));
        }
    }

    /// role.json was replaced: `exec` notices it, some time later.
    pub(crate) fn notice_role(&mut self, pod: usize) {
        if self.settings.exec && self.pods[pod].exec.is_up {
            let run = self.pods[pod].exec.run;
            let at = self.now + self.notice_delay();
            self.schedule(at, Event::ExecLooks { pod, run });
        }
    }

    /// It looks at role.json.
    pub(crate) fn exec_looks(&mut self, pod: usize, run: u32) {
        if self.pods[pod].exec.run != run {
            return;
        }
        match self.pods[pod].exec.command {
            Some(command) => self.watch_command(pod, command),
            None => self.consider_command(pod, run),
        }
    }

    fn leading_role(&self, pod: usize) -> Option<RoleFile> {
        let found = &self.pods[pod];
        let file = found.role_file.as_ref()?;
        file.leads(found.moment(self.now)).then(|| (**file).clone())
    }

    fn consider_command(&mut self, pod: usize, run: u32) {
        let reads_first = self.settings.plant == Some(Plant::Shell(Shell::ExecReadsFirst));
        let role = self.leading_role(pod);
        let found = &mut self.pods[pod].exec;
        if reads_first && found.is_deciding {
            // It has decided, and only now it locks.
            found.is_deciding = false;
            found.is_locked = true;
            let Some(role) = self.pods[pod].role_file.as_ref().map(|file| (**file).clone()) else { return };
            return self.start_command(pod, &role);
        }
        if reads_first {
            if role.is_some() {
                found.is_deciding = true;
                let at = self.now + self.rng.micros(50, 2000);
                self.schedule(at, Event::ExecLooks { pod, run });
            }
            return;
        }
        if !found.is_locked {
            found.is_locked = true;
            let at = self.now + self.rng.micros(50, 2000);
            return self.schedule(at, Event::ExecLooks { pod, run });
        }
        match role {
            Some(role) => self.start_command(pod, &role),
            None => self.unlock(pod),
        }
    }

    fn start_command(&mut self, pod: usize, role: &RoleFile) {
        let valid_until = until(role);
        let term = role.term;
        self.trace.add(self.now, || format!("pod-{pod} command starts in term {term}"));
        self.pods[pod].exec.command = Some(Command { term, valid_until, is_ending: false });
        let others = (0..self.pods.len()).filter(|other| *other != pod);
        if let Some(other) = others.into_iter().find(|other| self.pods[*other].exec.command.is_some()) {
            self.violation(format!("the command runs on pod-{pod} in term {term}, and on pod-{other}"));
        }
        self.look_before(pod, valid_until);
    }

    fn look_before(&mut self, pod: usize, valid_until: Duration) {
        let run = self.pods[pod].exec.run;
        let at = self.pods[pod].global(valid_until.saturating_sub(MARGIN)).max(self.now);
        self.schedule(at, Event::CommandDeadline { pod, run });
    }

    fn watch_command(&mut self, pod: usize, command: Command) {
        match self.leading_role(pod) {
            Some(role) if role.term == command.term && !command.is_ending => {
                let valid_until = until(&role);
                if valid_until > command.valid_until {
                    self.pods[pod].exec.command = Some(Command { valid_until, ..command });
                    self.look_before(pod, valid_until);
                }
            }
            Some(_) | None => self.end_command(pod),
        }
    }

    /// SIGTERM: it ends some time later, and is killed when the claim ends at the latest.
    fn end_command(&mut self, pod: usize) {
        let Some(command) = self.pods[pod].exec.command.as_mut().filter(|command| !command.is_ending) else { return };
        command.is_ending = true;
        let run = self.pods[pod].exec.run;
        let at = self.now + if self.rng.chance(300) { self.rng.millis(1, 20_000) } else { self.rng.millis(0, 300) };
        self.schedule(at, Event::CommandEnds { pod, run });
    }

    pub(crate) fn command_deadline(&mut self, pod: usize, run: u32) {
        let found = &self.pods[pod];
        let limit = found.local(self.now) + MARGIN + Duration::from_millis(1);
        let is_over = found.exec.command.is_some_and(|command| command.valid_until <= limit);
        if found.exec.run == run && is_over {
            self.command_ends(pod, run);
        }
    }

    pub(crate) fn command_ends(&mut self, pod: usize, run: u32) {
        if self.pods[pod].exec.run != run || self.pods[pod].exec.command.take().is_none() {
            return;
        }
        self.trace.add(self.now, || format!("pod-{pod} command ends"));
        self.unlock(pod);
        // It may lead again, or still.
        self.notice_role(pod);
    }

    /// SIGTERM to the container: the command is told to end, and `exec` ends with it.
    pub(crate) fn terminate_exec(&mut self, pod: usize) {
        let run = self.pods[pod].exec.run;
        let most = self.settings.grace.as_millis() as u64 * 3 / 4;
        let at = self.now + if self.rng.chance(700) { self.rng.millis(0, 300) } else { self.rng.millis(0, most) };
        self.schedule(at, Event::ExecEnds { pod, run });
    }

    pub(crate) fn exec_ends(&mut self, pod: usize, run: u32) {
        if self.pods[pod].exec.run == run {
            self.kill_exec(pod);
            if self.pods[pod].terminating && self.settings.native_sidecar {
                self.kill_store(pod, false);
            }
            self.pod_over(pod);
        }
    }

    /// The container's command runs where the Lease says so.
    pub(crate) fn unsettled_exec(&self, leader: usize) -> Option<String> {
        let runs = |pod: &usize| self.pods[*pod].exec.command.is_some();
        let running: Vec<usize> = (0..self.pods.len()).filter(runs).collect();
        if self.settings.exec && running != [leader] {
            return Some(format!("the command runs on {running:?}, not on {leader}"));
        }
        let found = &self.pods[leader];
        if found.exec.command.is_some_and(|command| command.is_ending) {
            return Some(format!("the command on {leader} was told to end, and ends"));
        }
        let is_unfit = found.fitness.as_ref().is_some_and(|fitness| !fitness.is_fit());
        is_unfit.then(|| format!("the command on {leader} counts as unfit, by looks of before the healing"))
    }
}

fn until(role: &RoleFile) -> Duration {
    Duration::from_nanos(role.lease.valid_until_boottime_ns.unwrap_or_default())
}
