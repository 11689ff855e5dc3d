//! The small world of the sidecar's core: a few elections for plain apps, a register with compare-and-swap, and time.
//!
//! ```text
//!   time moves on to the next deadline │ an election wakes, in time or late │ a GET or a write is carried out and answered,
//!   or carried out and not answered, or not at all │ a sidecar dies and restarts │ a pod is deleted by force, runs on,
//!   and another of its name begins
//! ```
//!
//! A plain app has only the Lease, so its exclusion is decided here: no pod publishes `leader` while another claim is
//! valid. ([`super::world`] has what fencing apps lead by.)

use super::prints::Prints;
use super::search::Count;
use crate::outcome::Failure;
use crate::plant::{Plant, Planted};
use leasehold_election::{
    App, Config, Effect, Election, Input, Lease, LeaseWrite, Member, OldRole, PodRole, ReadOutcome, RecordRead,
    RecordWrite, RecordWritten, Term, Version, Why, WriteOutcome,
};
use std::collections::{HashSet, VecDeque};
use std::hash::Hash;
use std::rc::Rc;
use std::time::Duration;
use uuid::Uuid;

/// How large an exhaustive search of the election is.
#[derive(Clone, Copy, Debug, Hash)]
pub struct LeaseBounds {
    /// How many sidecars there are.
    pub sidecars: usize,
    /// How often time moves on.
    pub ticks: u32,
    /// How many requests get no answer.
    pub lost: u32,
    /// How many sidecars die; another run starts at once, and finds the role.json of the one before.
    pub deaths: u32,
    /// How many pods are deleted by force: they continue to run, and one of the same name starts.
    pub namesakes: u32,
}

#[derive(Clone, Debug, Hash)]
pub(super) struct Sidecar {
    /// The number in its name.
    number: usize,
    pub(super) election: Election,
    runs: u32,
    pub(super) reads: bool,
    pub(super) writes: Option<LeaseWrite>,
    /// The content of role.json: leader, its term, until when.
    published: Option<(bool, Term, Option<Duration>)>,
}

#[derive(Clone, Debug, Hash)]
pub(super) struct Leases {
    pub(super) now: Duration,
    pub(super) sidecars: Vec<Rc<Sidecar>>,
    pub(super) lease: Option<Lease>,
    /// The record of terms. Requests about it are carried out and answered at once: that keeps the search small.
    record: Option<(Version, Term, u32, Option<Uuid>)>,
    version: u64,
    /// When the holder was last cleared.
    cleared_at: Option<Duration>,
    left: LeaseBounds,
}

#[derive(Clone, Copy, Debug)]
enum Choice {
    Tick,
    Wake(usize),
    Read(usize),
    Write(usize),
    /// Not answered: carried out, or not.
    Lose(usize, bool),
    Die(usize),
    Replace(usize),
}

const LOST_TIME: Duration = Duration::from_secs(1);

pub(super) fn name(sidecar: usize) -> String {
    format!("s-{sidecar}")
}

fn member(number: usize) -> Member {
    Member { name: name(number), address: name(number), peer_address: name(number) }
}

/// The sidecar in this place, with its number, its run, and the content of role.json: the term, and whether it led.
fn election(place: usize, number: usize, runs: u32, found: Option<(bool, Term)>) -> Election {
    let incarnation = |runs: u32| Uuid::from_u128(100 * place as u128 + u128::from(runs));
    let old_role = found.map(|(led, term)| OldRole {
        term,
        paused: false,
        off_lease: None,
        own_claim: led.then(|| incarnation(runs - 1)),
        leads_for: None,
    });
    Election::new(Config {
        name: name(number),
        address: name(number),
        app: App::Plain { incarnation: incarnation(runs), exec: false },
        duration: Duration::from_secs(3),
        lost_time: LOST_TIME,
        fitness_patience: Duration::from_secs(3),
        stop_bound: Duration::from_secs(10),
        seed: 1,
        old_role,
    })
}

impl Leases {
    pub(super) fn new(left: LeaseBounds) -> Result<Leases, String> {
        let mut world = Leases {
            now: Duration::ZERO,
            sidecars: Vec::new(),
            lease: None,
            record: None,
            version: 0,
            cleared_at: None,
            left,
        };
        for number in 0..left.sidecars {
            world.add(number)?;
        }
        Ok(world)
    }

    fn add(&mut self, number: usize) -> Result<(), String> {
        let place = self.sidecars.len();
        let election = election(place, number, 1, None);
        let fresh = Sidecar { number, election, runs: 1, reads: false, writes: None, published: None };
        self.sidecars.push(Rc::new(fresh));
        self.begin(place)
    }

    fn begin(&mut self, sidecar: usize) -> Result<(), String> {
        let members = (0..self.left.sidecars).map(member).collect();
        self.step(sidecar, Input::MembersSeen(Some(members)))
    }

    fn print(&self) -> u128 {
        let mut prints = Prints::default();
        self.hash(&mut prints);
        prints.both()
    }

    fn choices(&self, all: &mut Vec<Choice>) {
        all.clear();
        if self.left.ticks > 0 && self.next_deadline().is_some() {
            all.push(Choice::Tick);
        }
        for (number, one) in self.sidecars.iter().enumerate() {
            if one.election.deadline().is_some_and(|at| at <= self.now) {
                all.push(Choice::Wake(number));
            }
            if one.reads {
                all.push(Choice::Read(number));
            }
            if one.writes.is_some() {
                all.push(Choice::Write(number));
                if self.left.lost > 0 {
                    all.extend([Choice::Lose(number, true), Choice::Lose(number, false)]);
                }
            }
            if self.left.deaths > 0 {
                all.push(Choice::Die(number));
            }
            if self.left.namesakes > 0 {
                all.push(Choice::Replace(number));
            }
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.sidecars.iter().filter_map(|one| one.election.deadline()).filter(|at| *at > self.now).min()
    }

    fn happen(&mut self, choice: Choice) -> Result<(), String> {
        match choice {
            Choice::Tick => {
                self.left.ticks -= 1;
                self.now = self.next_deadline().unwrap_or(self.now);
                Ok(())
            }
            Choice::Wake(sidecar) => self.step(sidecar, Input::Wake),
            Choice::Read(sidecar) => {
                Rc::make_mut(&mut self.sidecars[sidecar]).reads = false;
                let outcome = self.lease.clone().map_or(ReadOutcome::NotFound, ReadOutcome::Found);
                self.step(sidecar, Input::LeaseRead(outcome))
            }
            Choice::Write(sidecar) => {
                let done = self.write(sidecar)?;
                self.step(sidecar, Input::LeaseWritten(done))
            }
            Choice::Lose(sidecar, is_done) => {
                self.left.lost -= 1;
                if is_done {
                    self.write(sidecar)?;
                } else {
                    Rc::make_mut(&mut self.sidecars[sidecar]).writes = None;
                }
                self.step(sidecar, Input::LeaseWritten(WriteOutcome::Unknown))
            }
            Choice::Die(sidecar) => {
                self.left.deaths -= 1;
                let one = Rc::make_mut(&mut self.sidecars[sidecar]);
                one.runs += 1;
                let found = one.published.map(|(led, term, _)| (led, term));
                one.election = election(sidecar, one.number, one.runs, found);
                (one.reads, one.writes) = (false, None);
                self.begin(sidecar)
            }
            Choice::Replace(sidecar) => {
                self.left.namesakes -= 1;
                let number = self.sidecars[sidecar].number;
                self.add(number)
            }
        }
    }

    pub(super) fn write(&mut self, sidecar: usize) -> Result<WriteOutcome, String> {
        let writes = Rc::make_mut(&mut self.sidecars[sidecar]).writes.take();
        let Some(write) = writes else { return Ok(WriteOutcome::Refused) };
        if self.lease.as_ref().map(|lease| &lease.version) != write.expected.as_ref() {
            return Ok(WriteOutcome::Conflict);
        }
        let since = self.cleared_at.map(|at| self.now - at);
        if write.why == Why::TakeFree && since.is_some_and(|since| since < 2 * LOST_TIME) {
            return Err(format!("s-{sidecar} takes the Lease {since:?} after it was cleared [A3]"));
        }
        self.cleared_at = (write.why == Why::Clear).then_some(self.now);
        self.version += 1;
        let stamp = Some(self.version.to_string());
        let renewed = if write.why.is_stamped() { stamp } else { self.lease.as_ref().and_then(|l| l.renewed.clone()) };
        let lease = Lease { version: Version(self.version.to_string()), renewed, body: write.body };
        self.lease = Some(lease.clone());
        Ok(WriteOutcome::Written(lease))
    }

    fn write_record(&mut self, write: &RecordWrite) -> RecordWritten {
        if self.record.as_ref().map(|(version, ..)| version) != write.expected.as_ref() {
            return RecordWritten::Conflict;
        }
        self.version += 1;
        let version = Version(self.version.to_string());
        self.record = Some((version.clone(), write.term, write.duration_seconds, write.created_by));
        RecordWritten::Written { version }
    }

    /// Somebody edits the Lease: `renewTime` stays.
    pub(super) fn annotate(&mut self, annotation: &str, value: Option<String>) {
        let Some(lease) = &mut self.lease else { return };
        self.version += 1;
        lease.version = Version(self.version.to_string());
        match value {
            Some(value) => lease.body.annotations.insert(annotation.to_owned(), value),
            None => lease.body.annotations.remove(annotation),
        };
    }

    pub(super) fn step(&mut self, sidecar: usize, input: Input) -> Result<(), String> {
        let now = self.now;
        let effects = Rc::make_mut(&mut self.sidecars[sidecar]).election.step(now, input);
        for effect in effects {
            let one = Rc::make_mut(&mut self.sidecars[sidecar]);
            match effect {
                Effect::ReadLease => one.reads = true,
                Effect::WriteLease(write) => one.writes = Some(write),
                Effect::ReadRecord => {
                    let outcome = match self.record.clone() {
                        Some((version, term, seconds, created_by)) => {
                            RecordRead::Found { version, term, duration_seconds: Some(seconds), created_by }
                        }
                        None => RecordRead::NotFound,
                    };
                    self.step(sidecar, Input::RecordRead(outcome))?;
                }
                Effect::WriteRecord(write) => {
                    let outcome = self.write_record(&write);
                    self.step(sidecar, Input::RecordWritten(outcome))?;
                }
                Effect::AwaitLeadLock { .. } => return Err(format!("s-{sidecar} waits for a lock, and there is none")),
                Effect::Answer { term, .. } => return Err(format!("s-{sidecar} answers for {term}, and nobody asked")),
                Effect::PublishRole(role) => {
                    let leads = role.role == PodRole::Leader;
                    one.published = Some((leads, role.term, role.valid_until));
                    if leads {
                        self.is_alone(sidecar, role.term)?;
                    }
                    self.step(sidecar, Input::RoleWritten(true))?;
                }
                Effect::UpdateEndpoints { .. } | Effect::LeaveEndpoints | Effect::Tell(_) | Effect::Stopped => {}
            }
        }
        Ok(())
    }

    fn is_alone(&self, sidecar: usize, term: Term) -> Result<(), String> {
        let valid = |one: &Sidecar| matches!(one.published, Some((true, _, Some(until))) if until > self.now);
        match (0..self.sidecars.len()).find(|other| *other != sidecar && valid(&self.sidecars[*other])) {
            Some(other) => Err(format!("s-{sidecar} leads in {term}, while the claim of s-{other} is valid")),
            None => Ok(()),
        }
    }
}

/// Visits every state within the bounds, at most `states_max`, nearest first.
///
/// # Errors
/// The way to the first state in which something is wrong.
pub fn exhaust_leases(bounds: LeaseBounds, states_max: usize, plant: Option<Plant>) -> Result<Count, Failure> {
    let _planted = Planted::new(plant);
    let first = Leases::new(bounds).map_err(|what| Failure { seed: 0, what, trace: Vec::new() })?;
    let mut seen = HashSet::from([first.print()]);
    let mut open = VecDeque::from([(first, Vec::new())]);
    let mut count = Count { states: 1, complete: true, ..Count::default() };
    let mut choices = Vec::new();
    while let Some((world, way)) = open.pop_front() {
        count.depth = count.depth.max(way.len());
        count.terms = count.terms.max(world.lease.as_ref().map_or(0, |lease| lease.body.term.0 as usize));
        world.choices(&mut choices);
        for choice in &choices {
            let mut next = world.clone();
            count.steps += 1;
            let mut way = way.clone();
            way.push(*choice);
            if let Err(what) = next.happen(*choice) {
                let trace = way.iter().map(|choice| format!("{choice:?}")).collect();
                return Err(Failure { seed: 0, what, trace });
            }
            if seen.insert(next.print()) {
                count.states += 1;
                if count.states >= states_max {
                    count.complete = false;
                    return Ok(count);
                }
                open.push_back((next, way));
            }
        }
    }
    Ok(count)
}
