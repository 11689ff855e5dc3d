//! Memory and disks that run short, in runs of their own (`--room`): what is refused, what continues, and that it ends by
//! itself.
//!
//! ```text
//!   chaos ─▶ now and then one pod, some or all are short of something, more or less ─▶ heal: enough of everything
//!   settled ─▶ all are over: deletes and reads work, growth is refused ─▶ one disk is full: growth continues
//!           ─▶ the leader is over: another one leads ─▶ too many disks are full: nothing hangs ─▶ settled?
//! ```

use crate::model::client::Outcome;
use crate::model::cluster::Cluster;
use crate::model::event::Event;
use leasehold_replication::{Input, Level, Room};
use std::time::Duration;

/// Usual time between two changes, in milliseconds.
const CHANGE_EVERY: u64 = 1_000;

const FINE: Room = Room { memory: Level::Enough, disk: Level::Enough };
const OVER: Room = Room { memory: Level::Over, disk: Level::Enough };
const FAR: Room = Room { memory: Level::Enough, disk: Level::Far };
const FULL: Room = Room { memory: Level::Enough, disk: Level::Full };

impl Cluster {
    /// Some pods run short of something else from now on.
    pub(crate) fn change_room(&mut self) {
        if !self.chaos.is_on() {
            return;
        }
        let at = self.now + self.rng.millis(1, 2 * CHANGE_EVERY);
        self.schedule(at, Event::RoomChanges);
        let whom: Vec<usize> = match self.rng.below(4) {
            0 => (0..self.pods.len()).collect(),
            1 => (0..self.pods.len()).filter(|_| self.rng.chance(500)).collect(),
            _ => vec![self.rng.below(self.pods.len())],
        };
        for pod in whom {
            let levels = [Level::Enough, Level::Enough, Level::Near, Level::Over, Level::Far];
            let memory = *self.rng.pick(&levels);
            let disk = *self.rng.pick(&[Level::Enough, Level::Enough, Level::Over, Level::Far, Level::Full]);
            self.set_room(pod, Room { memory, disk });
        }
    }

    pub(crate) fn set_room(&mut self, pod: usize, room: Room) {
        self.pods[pod].room = room;
        if self.pods[pod].store.is_up() {
            let life = self.pods[pod].store.life;
            self.schedule(self.now, Event::Store { life, input: Box::new(Input::Room(room)) });
        }
    }

    /// A store that has just started checks, too.
    pub(crate) fn show_room(&mut self, pod: usize) {
        let room = self.pods[pod].room;
        if room != FINE {
            self.step_store(pod, Input::Room(room));
        }
    }

    /// There is enough of everything.
    pub(crate) fn make_room(&mut self) {
        for pod in 0..self.pods.len() {
            if self.pods[pod].room != FINE {
                self.set_room(pod, FINE);
            }
        }
    }

    /// See the module. Starts and ends settled.
    pub(crate) fn run_short(&mut self) -> Result<(), String> {
        let wanted = self.api.wanted;
        if wanted < 3 {
            return Ok(());
        }
        // A leader must have opened this long ago before it may hand over for lack of room.
        self.run_until(self.now + Duration::from_secs(11));
        (0..wanted).for_each(|pod| self.set_room(pod, if pod % 2 == 0 { OVER } else { FAR }));
        self.run_until(self.now + Duration::from_secs(3));
        self.outcome_of("with all over", false, true)?;
        self.outcome_of("with all over", true, false)?;
        if let Some(why) = self.read_everywhere() {
            return Err(format!("liveness: with all over, {why}"));
        }
        self.make_room();
        self.settle("after all were over")?;

        let leader = self.leader().unwrap_or(0);
        let other = (leader + 1) % wanted;
        self.set_room(other, FULL);
        self.run_until(self.now + Duration::from_secs(1));
        self.outcome_of("with one disk full", true, true)?;
        self.make_room();
        self.settle("after a disk was full")?;

        self.run_until(self.now + Duration::from_secs(11));
        let leader = self.leader().unwrap_or(0);
        self.set_room(leader, OVER);
        let until = self.now + Duration::from_secs(10);
        while self.leader().is_none_or(|now| now == leader) && !self.facts.is_violated() {
            if self.now > until {
                return Err(format!("liveness: a leader that is over leads on\n{}", self.explain()));
            }
            self.run_until(self.now + Duration::from_millis(50));
        }
        self.settle("after the leader was over")?;
        self.outcome_of("with one over that follows", true, true)?;
        self.make_room();

        (0..wanted).for_each(|pod| self.set_room(pod, FULL));
        self.run_until(self.now + Duration::from_secs(2));
        self.outcome_of("with all disks full", false, false)?;
        self.make_room();
        self.settle("after all disks were full").map(|_| ())
    }

    /// A client writes at the leader, which must acknowledge or refuse it.
    fn outcome_of(&mut self, when: &str, grows: bool, is_taken: bool) -> Result<(), String> {
        let until = self.now + Duration::from_secs(10);
        loop {
            let done = self.write_of(grows);
            if self.facts.is_violated() || done == Some(is_taken) {
                return Ok(());
            }
            if self.now > until {
                return Err(format!(
                    "liveness: {when}: a write that grows ({grows}) ends in {done:?}\n{}",
                    self.explain()
                ));
            }
            self.run_until(self.now + Duration::from_millis(50));
        }
    }

    /// Was it acknowledged, or refused; none: neither.
    fn write_of(&mut self, grows: bool) -> Option<bool> {
        let leader = self.leader()?;
        let mut proposal = self.clients.write(self.facts.applied_seq());
        proposal.grows = grows;
        let id = proposal.id;
        self.clients.grows(id, grows);
        self.step_store(leader, Input::Propose(vec![proposal]));
        let until = self.now + Duration::from_secs(1);
        while self.now < until && !self.facts.is_violated() {
            match self.clients.outcome(id) {
                Outcome::Waiting => self.run_until(self.now + Duration::from_millis(5)),
                Outcome::Acknowledged(_) => return Some(true),
                Outcome::Refused => return Some(false),
                Outcome::Unknown => return None,
            }
        }
        None
    }
}
