//! The small world of the sidecar's core led by hand: a trace says whose request arrives, who is answered, and what each
//! one's watches show.
//!
//! After the first thing that is wrong nothing more happens; [`LeaseStage::verdict`] tells it.

use super::lease::{LeaseBounds, Leases, name};
use crate::plant::{Plant, Planted};
use leasehold_election::{Input, ReadOutcome, Role, Watched, WriteOutcome, annotation};
use std::rc::Rc;
use std::time::Duration;

/// See the module. Sidecars of plain apps, a Lease of 3 s, a lost-time of 1 s.
pub struct LeaseStage {
    world: Leases,
    wrong: Option<String>,
    /// What the API server has done, and nobody was told yet.
    answer: Option<(usize, WriteOutcome)>,
    /// It stands still: nothing wakes it.
    frozen: Option<usize>,
    _planted: Planted,
}

impl LeaseStage {
    /// So many sidecars; the first one leads.
    pub fn new(sidecars: usize, plant: Option<Plant>) -> LeaseStage {
        let planted = Planted::new(plant);
        let bounds = LeaseBounds { sidecars, ticks: 0, lost: 0, deaths: 0, namesakes: 0 };
        let world = Leases::new(bounds).expect("nothing is wrong with sidecars that know nothing");
        let mut stage = LeaseStage { world, wrong: None, answer: None, frozen: None, _planted: planted };
        let (mut left, step) = (100, Duration::from_millis(100));
        while !stage.leads(0) && left > 0 {
            (0..sidecars).for_each(|sidecar| stage.read(sidecar));
            stage.pass(step);
            stage.carry_out(0);
            stage.answer();
            left -= 1;
        }
        // The others tried as well, and were too late.
        for sidecar in 1..sidecars {
            stage.carry_out(sidecar);
            stage.answer();
            stage.read(sidecar);
        }
        stage
    }

    /// Does this one say that it leads?
    pub fn leads(&self, sidecar: usize) -> bool {
        self.world.sidecars[sidecar].election.role().is_some_and(|role| role.role == Role::Leader)
    }

    /// The time passes, with a wake at each deadline. No request arrives.
    pub fn pass(&mut self, time: Duration) {
        let end = self.world.now + time;
        while let Some(at) = self.world.next_deadline().filter(|at| *at <= end && self.wrong.is_none()) {
            self.world.now = at;
            for sidecar in 0..self.world.sidecars.len() {
                let is_due = self.world.sidecars[sidecar].election.deadline().is_some_and(|due| due <= at);
                if is_due && self.frozen != Some(sidecar) {
                    self.step(sidecar, Input::Wake);
                }
            }
        }
        self.world.now = end;
    }

    /// It stands still from here on.
    pub fn freeze(&mut self, sidecar: usize) {
        self.frozen = Some(sidecar);
    }

    /// Its GET, if there is one, arrives and is answered.
    pub fn read(&mut self, sidecar: usize) {
        if std::mem::take(&mut Rc::make_mut(&mut self.world.sidecars[sidecar]).reads) {
            let outcome = self.world.lease.clone().map_or(ReadOutcome::NotFound, ReadOutcome::Found);
            self.step(sidecar, Input::LeaseRead(outcome));
        }
    }

    /// Its write, if there is one, arrives; nobody is told before [`LeaseStage::answer`].
    pub fn carry_out(&mut self, sidecar: usize) {
        if self.world.sidecars[sidecar].writes.is_some() && self.wrong.is_none() {
            match self.world.write(sidecar) {
                Ok(outcome) => self.answer = Some((sidecar, outcome)),
                Err(wrong) => self.wrong = Some(wrong),
            }
        }
    }

    /// The write that was carried out last is answered.
    pub fn answer(&mut self) {
        if let Some((sidecar, outcome)) = self.answer.take() {
            self.step(sidecar, Input::LeaseWritten(outcome));
        }
    }

    /// Its watch shows the Lease as it is.
    pub fn watch(&mut self, sidecar: usize) {
        let watched = self.world.lease.clone().map_or(Watched::Absent { as_of: None }, Watched::Present);
        self.step(sidecar, Input::LeaseWatched(watched));
    }

    /// Somebody asks for a switchover, or takes that back.
    pub fn ask_for(&mut self, sidecar: Option<usize>) {
        self.world.annotate(annotation::PREFERRED_HOLDER, sidecar.map(name));
    }

    fn step(&mut self, sidecar: usize, input: Input) {
        if self.wrong.is_none() {
            self.wrong = self.world.step(sidecar, input).err();
        }
    }

    /// What was wrong.
    ///
    /// # Errors
    /// The first violation.
    pub fn verdict(self) -> Result<(), String> {
        self.wrong.map_or(Ok(()), Err)
    }
}
