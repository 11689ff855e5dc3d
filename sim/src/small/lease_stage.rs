//! The small world of the sidecar's core led by hand: a trace decides whose request arrives, who gets an answer, and what
//! each one's watches show.
//!
//! After the first violation nothing more happens. Each act is a row of a table: the time, the Lease, and for each sidecar
//! what it publishes, until when, and which of its requests is under way.

use super::lease::{LeaseBounds, Leases, name};
use super::sheet::{Played, Sheet, Staged};
use crate::plant::{Plant, Planted};
use leasehold_election::{Input, PodRole, ReadOutcome, Watched, WriteOutcome, annotation};
use std::rc::Rc;
use std::time::Duration;

/// See the module. Sidecars of plain apps, a Lease of 3 s, a lost-time of 1 s.
pub struct LeaseStage {
    world: Leases,
    sheet: Sheet,
    /// What the API server has done and not reported yet.
    answer: Option<(usize, WriteOutcome)>,
    /// It stands still: nothing wakes it.
    frozen: Option<usize>,
    _planted: Planted,
}

impl LeaseStage {
    /// This many sidecars; the first one leads.
    pub fn new(sidecars: usize, plant: Option<Plant>) -> LeaseStage {
        let planted = Planted::new(plant);
        let bounds = LeaseBounds { sidecars, ticks: 0, lost: 0, deaths: 0, namesakes: 0 };
        let world = Leases::new(bounds).expect("nothing is wrong with sidecars that know nothing");
        let columns = ["time", "lease"].into_iter().map(str::to_owned);
        let sheet = Sheet::new(columns.chain((0..sidecars).map(|sidecar| sidecar.to_string())));
        let mut stage = LeaseStage { world, sheet, answer: None, frozen: None, _planted: planted };
        stage.act("at first".to_owned(), |stage| stage.begin(sidecars));
        stage
    }

    /// The first one takes the Lease.
    fn begin(&mut self, sidecars: usize) {
        let stage = self;
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
    }

    /// One row of the table.
    fn act<R>(&mut self, what: String, body: impl FnOnce(&mut LeaseStage) -> R) -> R {
        self.sheet.begin();
        let result = body(self);
        if self.sheet.end() {
            let time = format!("{:.1} s", self.world.now.as_secs_f64());
            let lease = self.world.lease.as_ref().map_or("none".to_owned(), |lease| {
                format!("{} {}", lease.body.term, lease.body.holder.as_deref().unwrap_or("nobody"))
            });
            let cells: Vec<String> = (0..self.world.sidecars.len()).map(|sidecar| self.cell(sidecar)).collect();
            self.sheet.row(what, [time, lease].into_iter().chain(cells));
        }
        result
    }

    fn cell(&self, sidecar: usize) -> String {
        let sidecar = &self.world.sidecars[sidecar];
        let role = sidecar.election.role().map_or("-".to_owned(), |role| {
            let until = role.valid_until.map(|until| format!(" until {:.1} s", until.as_secs_f64()));
            format!("{:?} {}{}", role.role, role.term, until.unwrap_or_default())
        });
        let read = if sidecar.reads { ", reads" } else { "" };
        let write = sidecar.writes.as_ref().map(|write| format!(", writes {:?}", write.why));
        format!("{role}{read}{}", write.unwrap_or_default())
    }

    /// Does this one publish that it leads?
    pub fn leads(&self, sidecar: usize) -> bool {
        self.world.sidecars[sidecar].election.role().is_some_and(|role| role.role == PodRole::Leader)
    }

    /// Time passes, with a wake at each deadline. No request arrives.
    pub fn pass(&mut self, time: Duration) {
        self.act(format!("pass {time:?}"), |stage| {
            let end = stage.world.now + time;
            while let Some(at) = stage.world.next_deadline().filter(|at| *at <= end && !stage.sheet.is_over()) {
                stage.world.now = at;
                for sidecar in 0..stage.world.sidecars.len() {
                    let is_due = stage.world.sidecars[sidecar].election.deadline().is_some_and(|due| due <= at);
                    if is_due && stage.frozen != Some(sidecar) {
                        stage.step(sidecar, Input::Wake);
                    }
                }
            }
            stage.world.now = end;
        });
    }

    /// It stands still from here on.
    pub fn freeze(&mut self, sidecar: usize) {
        self.act(format!("freeze {sidecar}"), |stage| {
            stage.frozen = Some(sidecar);
        });
    }

    /// Its GET, if there is one, arrives and is answered.
    pub fn read(&mut self, sidecar: usize) {
        self.act(format!("read {sidecar}"), |stage| {
            if std::mem::take(&mut Rc::make_mut(&mut stage.world.sidecars[sidecar]).reads) {
                let outcome = stage.world.lease.clone().map_or(ReadOutcome::NotFound, ReadOutcome::Found);
                stage.step(sidecar, Input::LeaseRead(outcome));
            }
        });
    }

    /// Its write, if there is one, arrives; nobody gets an answer before [`LeaseStage::answer`].
    pub fn carry_out(&mut self, sidecar: usize) {
        self.act(format!("carry out {sidecar}"), |stage| {
            if stage.world.sidecars[sidecar].writes.is_some() {
                let (world, answer) = (&mut stage.world, &mut stage.answer);
                stage.sheet.happen(|| world.write(sidecar).map(|outcome| *answer = Some((sidecar, outcome))));
            }
        });
    }

    /// The last write that was carried out is answered.
    pub fn answer(&mut self) {
        self.act("answer".to_owned(), |stage| {
            if let Some((sidecar, outcome)) = stage.answer.take() {
                stage.step(sidecar, Input::LeaseWritten(outcome));
            }
        });
    }

    /// Its watch shows the Lease as it is.
    pub fn watch(&mut self, sidecar: usize) {
        self.act(format!("watch {sidecar}"), |stage| {
            let watched = stage.world.lease.clone().map_or(Watched::Absent { as_of: None }, Watched::Present);
            stage.step(sidecar, Input::LeaseWatched(watched));
        });
    }

    /// Somebody requests a switchover, or withdraws that.
    pub fn ask_for(&mut self, sidecar: Option<usize>) {
        self.act(format!("ask for {}", sidecar.map_or("nobody".to_owned(), name)), |stage| {
            stage.world.annotate(annotation::PREFERRED_HOLDER, sidecar.map(name));
        });
    }

    fn step(&mut self, sidecar: usize, input: Input) {
        let world = &mut self.world;
        self.sheet.happen(|| world.step(sidecar, input));
    }
}

impl Staged for LeaseStage {
    fn played(self) -> Played {
        self.sheet.played()
    }
}
