//! Two ways through the small world: all of it within a budget, or one random way with a larger one.

use super::world::{Budget, Choice, Reduced, World};
use crate::model::rng::Rng;
use crate::outcome::Failure;
use crate::plant::{Plant, Planted};
use std::collections::{HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How large an exhaustive search is.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// How many replicas there are.
    pub nodes: usize,
    /// How many of them are voters at first.
    pub voters: usize,
    /// What may go wrong.
    pub budget: Budget,
    /// What the search leaves out.
    pub reduced: Reduced,
    /// At most this many states are visited.
    pub states_max: usize,
}

impl Bounds {
    /// The usual searches: three replicas, each search with some kinds of trouble. Together they cover the rules of safety;
    /// one budget of everything would only be a shallow search.
    pub fn usual(states_max: usize) -> Vec<(&'static str, Bounds)> {
        let none = Budget {
            claims: 0,
            same_term: 0,
            crashes: 0,
            cuts: 0,
            writes: 0,
            reads: 0,
            ticks: 0,
            snapshots: 0,
            wishes: 0,
        };
        let of = |budget, instant_disks, letters| {
            let reduced = Reduced { instant_disks, letters };
            Bounds { nodes: 3, voters: 3, budget, reduced, states_max }
        };
        vec![
            ("a leadership, a write, slow disks", of(Budget { claims: 1, writes: 1, ..none }, false, false)),
            ("a leadership, a crash, a write", of(Budget { claims: 1, crashes: 1, writes: 1, ..none }, false, false)),
            ("two leaderships", of(Budget { claims: 2, ..none }, true, false)),
            ("two leaderships, a write", of(Budget { claims: 2, writes: 1, ..none }, true, false)),
            ("one term for two leaders", of(Budget { claims: 2, same_term: 1, writes: 1, ..none }, true, false)),
            ("two leaderships, a cut", of(Budget { claims: 2, cuts: 1, ..none }, true, false)),
            ("two leaderships, a strong read", of(Budget { claims: 2, reads: 1, ..none }, true, false)),
            ("a leadership by invitation", of(Budget { claims: 1, writes: 1, ..none }, true, true)),
        ]
    }
}

/// What an exhaustive search saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// States, each once.
    pub states: usize,
    /// Steps between them.
    pub steps: usize,
    /// The longest way to a state.
    pub depth: usize,
    /// All states within the budget were seen.
    pub complete: bool,
    /// The most terms opened in one state.
    pub terms: usize,
}

/// Visits every state within the bounds, nearest first, so each finding has a shortest way to it.
///
/// # Errors
/// The way to the first state in which something is wrong.
pub fn exhaust(bounds: &Bounds, plant: Option<Plant>) -> Result<Count, Failure> {
    let _planted = Planted::new(plant);
    let mut first = World::new(bounds.nodes, bounds.voters, bounds.budget, 8, true);
    first.reduced = Some(bounds.reduced);
    let mut seen: HashSet<u128> = HashSet::from([first.print()]);
    // (its predecessor, what happened): enough to describe a way.
    let mut ways: Vec<(usize, Option<Choice>)> = vec![(0, None)];
    let mut open = VecDeque::from([(first, 0_usize, 0_usize)]);
    let mut count = Count { states: 1, complete: true, ..Count::default() };
    let mut choices = Vec::new();
    while let Some((world, number, depth)) = open.pop_front() {
        count.depth = count.depth.max(depth);
        count.terms = count.terms.max(world.judge.terms());
        world.choices(&mut choices);
        for choice in &choices {
            let mut next = world.clone();
            count.steps += 1;
            if let Err(what) = happen(&mut next, *choice) {
                return Err(told(&ways, number, *choice, what));
            }
            if seen.insert(next.print()) {
                count.states += 1;
                ways.push((number, Some(*choice)));
                if count.states >= bounds.states_max {
                    count.complete = false;
                    return Ok(count);
                }
                open.push_back((next, ways.len() - 1, depth + 1));
            }
        }
    }
    Ok(count)
}

fn told(ways: &[(usize, Option<Choice>)], mut at: usize, last: Choice, what: String) -> Failure {
    let mut trace = vec![format!("{last:?}")];
    while let (before, Some(choice)) = ways[at] {
        trace.push(format!("{choice:?}"));
        at = before;
    }
    trace.reverse();
    Failure { seed: 0, what, trace }
}

fn happen(world: &mut World, choice: Choice) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| world.happen(choice))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(format!("a core panicked: {}", text.unwrap_or("(no text)")))
    })
}

/// What happened on one way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Walk {
    /// Steps.
    pub steps: usize,
    /// Entries that were applied.
    pub applied: u64,
    /// Terms that were opened.
    pub terms: usize,
}

/// Follows one way, by this seed, which also decides how many replicas there are, what is likely and what is slow.
///
/// # Errors
/// The violation, and the way to it.
pub fn walk(seed: u64, plant: Option<Plant>) -> Result<Walk, Failure> {
    let _planted = Planted::new(plant);
    let mut rng = Rng::new(seed);
    let nodes = *rng.pick(&[3, 3, 3, 4, 5, 5]);
    let grows = rng.chance(350);
    let voters = if grows { (nodes - 1).max(2) } else { nodes };
    let some = |rng: &mut Rng, most: u64| if rng.chance(400) { 0 } else { rng.between(1, most) as u32 };
    let budget = Budget {
        claims: rng.between(2, 9) as u32,
        same_term: some(&mut rng, 2),
        crashes: some(&mut rng, 5),
        cuts: some(&mut rng, 4),
        writes: rng.between(2, 14) as u32,
        reads: some(&mut rng, 30),
        ticks: rng.between(0, 60) as u32,
        snapshots: some(&mut rng, 4),
        wishes: if grows || rng.chance(200) { rng.between(1, 8) as u32 } else { 0 },
    };
    // A command of this length fills an append, so that a log is sent in parts.
    let command_bytes = if rng.chance(250) { 600_000 } else { 8 };
    let mut world = World::new(nodes, voters, budget, command_bytes, false);
    let mut salt = rng.bits();
    // How likely each kind is for this whole way, and how slow disks, inboxes and connections are for a while.
    let kinds: Vec<usize> = (0..12).map(|_| *rng.pick(&[1, 2, 4, 8, 16])).collect();
    let mut disks: Vec<usize> = (0..nodes).map(|_| *rng.pick(&[1, 4, 16, 16])).collect();
    let mut inboxes: Vec<usize> = (0..nodes).map(|_| *rng.pick(&[1, 4, 16, 16])).collect();
    let steps_max = rng.between(60, 500) as usize;
    let (mut choices, mut weights, mut way) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..steps_max {
        world.choices(&mut choices);
        if choices.is_empty() {
            break;
        }
        if rng.chance(30) {
            salt = rng.bits();
            disks.iter_mut().chain(&mut inboxes).for_each(|weight| *weight = *rng.pick(&[1, 4, 16, 16]));
        }
        weights.clear();
        weights.extend(choices.iter().map(|choice| match *choice {
            Choice::Claim { same_term: false, .. } => kinds[0],
            Choice::Claim { same_term: true, .. } => kinds[1],
            Choice::Tell { node, .. } => kinds[2] * inboxes[node],
            Choice::Deliver { conn, end } => {
                (12 * inboxes[world.receiver(conn, end)] / slowness(salt, conn, end)).max(1)
            }
            Choice::Letter { .. } => kinds[3] * 2,
            Choice::Sync { node } => 12 * disks[node],
            Choice::Crash { .. } => kinds[4],
            Choice::Cut { .. } => kinds[5],
            Choice::Write { .. } => kinds[6] * 8,
            Choice::Read { .. } => kinds[7] * 2,
            Choice::Tick { .. } => kinds[8] * 2,
            Choice::Snapshot { .. } => kinds[9],
            Choice::Wish { .. } => 1 + kinds[10] / nodes / 2,
        }));
        let mut at = rng.below(weights.iter().sum());
        let chosen = weights.iter().position(|weight| {
            let is_it = at < *weight;
            at = at.saturating_sub(*weight);
            is_it
        });
        let choice = choices[chosen.unwrap_or_default()];
        way.push(choice);
        if let Err(what) = happen(&mut world, choice) {
            let trace = way.iter().map(|choice| format!("{choice:?}")).collect();
            return Err(Failure { seed, what, trace });
        }
    }
    Ok(Walk { steps: way.len(), applied: world.judge.applied_seq().0, terms: world.judge.terms() })
}

/// Some connections are slow, all their life.
fn slowness(salt: u64, conn: u64, end: usize) -> usize {
    match Rng::new(salt ^ conn.wrapping_mul(2) ^ end as u64).below(8) {
        0 => 40,
        1 => 8,
        _ => 1,
    }
}
