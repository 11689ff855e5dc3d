//! Disks that hang: an fsync that neither succeeds nor fails, for seconds or minutes, and how a healthy cluster handles
//! one.
//!
//! ```text
//!   fsync begins ──(the disk hangs)── DiskStall ─▶ Input::Disk { stalled }          ... minutes ...
//!                                                  the disk answers ─▶ Input::Persisted ─▶ Input::Disk { not stalled }
//! ```
//!
//! With random numbers of their own: so seeds keep, as far as possible, the meaning that they had before there were such
//! disks.

use crate::model::cluster::Cluster;
use crate::model::event::Event;
use crate::model::life::Life;
use crate::model::rng::Rng;
use leasehold_replication::{Input, Term};
use std::time::Duration;

/// What the shells consider a stall.
pub(crate) const DISK_STALL: Duration = Duration::from_secs(2);
/// A hung journal accepts no more than this until it answers.
const WAITING_MAX: u64 = 200;
/// How long writes may stop when one disk hangs, if the lost-time is a second.
const GOAL: Duration = Duration::from_secs(5);

impl Cluster {
    /// The next disk hangs, and the time of the one after it.
    pub(crate) fn next_hang(&mut self) {
        if !self.chaos.is_on() {
            return;
        }
        let mut rng = self.chaos.hangs.clone();
        let usual = self.settings.fault_every.as_micros() as u64 * 8;
        let at = self.now + rng.micros(1, usual * 2);
        self.schedule(at, Event::DiskHangs);
        let pod = rng.below(self.pods.len());
        let pod = if rng.chance(500) { self.leader().unwrap_or(pod) } else { pod };
        let span = if rng.chance(800) { rng.millis(500, 8000) } else { rng.millis(8000, 180_000) };
        self.chaos.hangs = rng;
        self.hang(pod, self.now + span);
    }

    /// That pod's disk does not answer until then.
    pub(crate) fn hang(&mut self, pod: usize, until: Duration) {
        self.trace.add(self.now, || format!("fault       disk of pod-{pod} hangs until {:.3}", until.as_secs_f64()));
        let hangs_until = &mut self.pods[pod].disk_hangs_until;
        *hangs_until = until.max(*hangs_until);
    }

    /// All disks answer.
    pub(crate) fn disks_answer(&mut self) {
        for pod in &mut self.pods {
            pod.disk_hangs_until = Duration::ZERO;
        }
        self.queue.bring_forward(self.now);
    }

    /// What needs a pod's disk waits for it. True: it does.
    pub(crate) fn waits_for_disk(&mut self, life: Life, event: Event) -> bool {
        let until = self.pods[life.pod].disk_hangs_until;
        if until <= self.now {
            return false;
        }
        self.queue.put_off(until, event);
        if let Some(up) = self.pods[life.pod].store.up()
            && up.sync_running
            && !up.stalled
        {
            let at = up.sync_since + DISK_STALL;
            let syncs = up.syncs;
            self.schedule(at, Event::DiskStall { life, syncs });
        }
        true
    }

    /// That fsync has been under way for longer than allowed.
    pub(crate) fn disk_stalled(&mut self, life: Life, syncs: u64) {
        let Some(up) = self.pods[life.pod].store.up_mut() else { return };
        if up.sync_running && up.syncs == syncs && !up.stalled {
            (up.stalled, up.is_full) = (true, false);
            self.step_store(life.pod, Input::Disk { stalled: true, full: false });
        }
    }

    /// The fsync ended, and its result was reported.
    pub(crate) fn disk_answered(&mut self, life: Life) {
        let Some(up) = self.pods[life.pod].store.up_mut() else { return };
        if std::mem::take(&mut up.stalled) {
            up.is_full = false;
            self.step_store(life.pod, Input::Disk { stalled: false, full: false });
        }
    }

    /// More was given to a hung journal.
    pub(crate) fn fills_up(&mut self, life: Life) {
        let pod = &mut self.pods[life.pod];
        let is_too_much = pod.volume.is_behind_by(WAITING_MAX);
        let Some(up) = pod.store.up_mut() else { return };
        if up.stalled && is_too_much && !std::mem::replace(&mut up.is_full, true) {
            let input = Box::new(Input::Disk { stalled: true, full: true });
            self.schedule(self.now, Event::Store { life, input });
        }
    }

    /// Disks hang in a healthy cluster.
    pub(crate) fn outlive_hung_disks(&mut self) -> Result<(), String> {
        let mut rng = Rng::new(self.rng.clone().bits());
        let (Some(leader), wanted) = (self.leader(), self.api.wanted) else { return Ok(()) };
        if self.facts.is_violated() {
            return Ok(());
        }
        match (rng.below(6), wanted) {
            (0 | 1, 3..) => self.leader_hangs(leader, rng.chance(500))?,
            (2, 3) if leader < 2 => self.scaled_while_one_hangs(1 - leader)?,
            (3, _) => {
                let spared = rng.chance(700).then(|| (leader + 1 + rng.below(wanted.max(2) - 1)) % wanted);
                self.too_many_hang(leader, spared)?;
            }
            _ => return Ok(()),
        }
        self.disks_answer();
        self.api.mend();
        self.settle("after disks hung")?;
        self.stays_settled()
    }

    /// Another pod leads, and writes continue, long before the disk answers \[B1\].
    fn leader_hangs(&mut self, leader: usize, without_api: bool) -> Result<(), String> {
        let long = self.now + Duration::from_secs(100_000);
        if without_api {
            (0..self.pods.len()).for_each(|pod| self.lose_api(pod, long));
            self.run_until(self.now + self.settings.lease_duration + 2 * self.settings.lost_time);
        }
        let (begin, term) = (self.now, self.term_of(leader));
        self.hang(leader, long);
        // Clients write meanwhile: without a write nothing hangs.
        let lost_time = self.settings.lost_time;
        let bound = (GOAL
            + 3 * lost_time.saturating_sub(Duration::from_secs(1))
            + if without_api { 3 * lost_time } else { Duration::ZERO })
            * 5
            / 4;
        while !self.facts.is_violated() {
            let is_another = self.leader().is_some_and(|now| now != leader && self.term_of(now) > term);
            if self.write_once() && is_another {
                self.trace.add(self.now, || format!("hang        another leads after {:?}", self.now - begin));
                break;
            }
            if self.now - begin > bound {
                return Err(format!(
                    "liveness: the leader's disk hangs, and nobody else takes writes after {bound:?} [B1]\n{}",
                    self.explain()
                ));
            }
            self.run_until(self.now + Duration::from_millis(5));
        }
        self.run_until(self.now + Duration::from_secs(5));
        if !self.facts.is_violated() && !self.write_once() {
            return Err(format!("liveness: no writes while a former leader's disk hangs\n{}", self.explain()));
        }
        Ok(())
    }

    /// Three are scaled to two, and one of these hangs: writes continue as long as the third is there \[B3\].
    fn scaled_while_one_hangs(&mut self, hung: usize) -> Result<(), String> {
        self.hang(hung, self.now + Duration::from_secs(100_000));
        self.write_once();
        self.run_until(self.now + DISK_STALL * 3 / 2);
        self.scale_to(2);
        for _ in 0..4 {
            self.run_until(self.now + Duration::from_millis(500));
            if !self.facts.is_violated() && !self.write_once() {
                return Err(format!(
                    "liveness: scaled to two while one disk hangs: no writes [B3]\n{}",
                    self.explain()
                ));
            }
        }
        Ok(())
    }

    /// One storage hangs for all, or for all but one: another leader helps nobody \[B4\].
    fn too_many_hang(&mut self, leader: usize, spared: Option<usize>) -> Result<(), String> {
        let term = self.term_of(leader);
        let hung = (0..self.pods.len()).filter(|pod| *pod == leader || Some(*pod) != spared);
        hung.for_each(|pod| self.hang(pod, self.now + Duration::from_secs(100_000)));
        self.write_once();
        self.run_until(self.now + DISK_STALL + 10 * self.settings.lost_time);
        self.disks_answer();
        self.settle("after too many disks hung")?;
        let now = self.leader().map(|leader| self.term_of(leader));
        if now != Some(term) && !self.facts.is_violated() {
            return Err(format!(
                "liveness: too many disks hung, and the leader of {term} was replaced by one of {now:?} [B4]"
            ));
        }
        Ok(())
    }

    fn term_of(&self, pod: usize) -> Term {
        self.pods[pod].store.up().map(|up| up.status.promise.term).unwrap_or_default()
    }
}
