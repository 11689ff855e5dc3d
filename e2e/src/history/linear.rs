//! Is there an order of one record's operations that explains every client's answer?
//!
//! Wing and Gong's search, with Lowe's set of visited states: depth first. An operation may be next if no remaining one had
//! returned before it was called. A pair of (operations done, content) that was once a dead end is not tried again.
//!
//! ```text
//!   time ─▶   call a   call b   return a   call c   return b ...
//!             └── candidates ──┘ └─ nobody beyond the first return that is left
//! ```
//!
//! An operation of unknown outcome has no return: it may take effect at any time after its call, or never. The search tries
//! these only after all others, only where they change something, and those with the same effect only in the order of their
//! calls (an earlier one can always stand for a later one). A path that used fewer of them to reach the same place can do
//! everything that the others can, so only the fewest are kept. Values that nobody ever compared or saw count as one.

use std::collections::HashMap;

use super::operation::{Call, Condition, Content, Effect, Value};

/// One operation, as the search needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// When it was called.
    pub(super) invoked: u64,
    /// When its answer arrived; `None`: it may take effect at any later time, or never.
    pub(super) returned: Option<u64>,
    /// What was asked.
    pub(super) call: Call,
    /// The answer; meaningless if there was none.
    pub(super) effect: Option<Effect>,
    /// Its place in the log, if the answer named it: operations with a place must follow its order. That leaves little to
    /// search for, and the result covers the history *and* its numbers.
    pub(super) rank: Option<u64>,
}

/// What the search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Linear {
    /// There is such an order.
    Yes,
    /// There is none.
    No,
    /// The budget was spent before it was known.
    Undecided,
}

/// How many pairs are visited before it is given up; some hundred bytes each.
pub(super) const BUDGET: usize = 1_000_000;

/// The effect of a call on a content, and the client's answer then.
pub(super) fn apply(content: Content, call: Call) -> (Content, Effect) {
    let holds = |condition: Condition| match condition {
        Condition::Always => true,
        Condition::Exists => content.is_some(),
        Condition::Absent => content.is_none(),
        Condition::Is(value) => content == Some(value),
    };
    match (call, content) {
        (Call::Create(value), None) => (Some(value), Effect::Created),
        (Call::Create(value), Some(found)) if value == found => (content, Effect::Same),
        (Call::Create(_), Some(_)) => (content, Effect::Conflict),
        (Call::Put(_, condition) | Call::Delete(condition), _) if !holds(condition) => (content, Effect::Failed),
        (Call::Put(value, _), None) => (Some(value), Effect::Created),
        (Call::Put(value, _), Some(_)) => (Some(value), Effect::Stored),
        (Call::Delete(_), Some(_)) => (None, Effect::Deleted),
        (Call::Delete(_), None) => (None, Effect::Missing),
        (Call::Read | Call::LocalRead, _) => (content, Effect::Found(content)),
    }
}

/// Searches. The record does not exist at first.
pub(super) fn check(steps: &[Step], budget: usize) -> Linear {
    let steps = with_unseen_values_as_one(steps);
    Search::new(&steps).run(budget)
}

/// Stands for every value that nobody compared or saw.
const UNSEEN: Value = Value(u32::MAX);

/// Only the write itself names an unseen value, and no write replaces its own value: so they are all alike.
fn with_unseen_values_as_one(steps: &[Step]) -> Vec<Step> {
    let mut seen: HashMap<Value, u32> = HashMap::new();
    for step in steps {
        let mut note = |value: Value, weight: u32| *seen.entry(value).or_default() += weight;
        match step.call {
            Call::Create(value) => note(value, 1),
            Call::Put(value, condition) => {
                note(value, 1);
                if let Condition::Is(other) = condition {
                    note(other, 2);
                }
            }
            Call::Delete(Condition::Is(value)) => note(value, 2),
            Call::Delete(_) | Call::Read | Call::LocalRead => {}
        }
        if let (Some(Effect::Found(Some(value))), Some(_)) = (step.effect, step.returned) {
            note(value, 2);
        }
    }
    let name = |value: Value| if seen.get(&value).is_some_and(|weight| *weight > 1) { value } else { UNSEEN };
    let mut steps = steps.to_vec();
    for step in &mut steps {
        step.call = match step.call {
            Call::Create(value) => Call::Create(name(value)),
            Call::Put(value, condition) => Call::Put(name(value), condition),
            other => other,
        };
    }
    steps
}

/// `apply`, where [`UNSEEN`] is never equal to itself.
fn next(content: Content, call: Call) -> (Content, Effect) {
    match (call, content) {
        (Call::Create(UNSEEN), Some(_)) => (content, Effect::Conflict),
        _ => apply(content, call),
    }
}

struct Search<'a> {
    steps: &'a [Step],
    /// The answered ones, as a doubly linked list of calls (`2 i`) and returns (`2 i + 1`) in the order of time.
    after: Vec<usize>,
    before: Vec<usize>,
    /// The others, in the order of their calls.
    open: Vec<usize>,
    /// For each place there: that of the one before it with the same effect.
    twin: Vec<Option<usize>>,
    /// For each answered one with a rank: that of the rank before.
    earlier: Vec<Option<usize>>,
    done: Bits,
    /// Which of the open ones, by their places there, took effect.
    used: Bits,
    /// Answered ones that are left.
    left: usize,
}

/// A set of small numbers.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Bits(Box<[u64]>);

impl Bits {
    fn of(size: usize) -> Bits {
        Bits(vec![0; size.div_ceil(64)].into())
    }

    fn has(&self, i: usize) -> bool {
        self.0[i / 64] & (1 << (i % 64)) != 0
    }

    fn flip(&mut self, i: usize) {
        self.0[i / 64] ^= 1 << (i % 64);
    }

    fn is_part_of(&self, other: &Bits) -> bool {
        self.0.iter().zip(&other.0).all(|(own, others)| own & !others == 0)
    }
}

/// Which answered operations were done, and what was there then; and the sets of open ones that led there, none of them a
/// part of another.
type Visited = HashMap<(Bits, Content), Vec<Bits>>;

/// The possible next operations.
#[derive(Clone, Copy)]
enum Candidate {
    /// This step.
    Answered(usize),
    /// The one at this place of the open ones.
    Open(usize),
}

/// Where the search stands among the candidates of one moment.
#[derive(Clone, Copy)]
enum At {
    /// At this place of the list.
    List(usize),
    /// At this one of the open ones.
    Open(usize),
}

impl<'a> Search<'a> {
    fn new(steps: &'a [Step]) -> Search<'a> {
        let head = 2 * steps.len();
        let mut events: Vec<(u64, bool, usize)> = Vec::new();
        for (i, step) in steps.iter().enumerate() {
            if let Some(returned) = step.returned {
                // At the same time: the call first, so the two overlap.
                events.push((step.invoked, false, 2 * i));
                events.push((returned.max(step.invoked), true, 2 * i + 1));
            }
        }
        events.sort_unstable();
        let (mut after, mut before) = (vec![head; head + 1], vec![head; head + 1]);
        let mut last = head;
        for (_, _, event) in &events {
            after[last] = *event;
            before[*event] = last;
            last = *event;
        }
        after[last] = head;
        before[head] = last;
        let mut open: Vec<usize> = (0..steps.len()).filter(|i| steps[*i].returned.is_none()).collect();
        open.sort_by_key(|i| steps[*i].invoked);
        let mut latest: HashMap<Call, usize> = HashMap::new();
        let twin = open.iter().enumerate().map(|(place, i)| latest.insert(steps[*i].call, place)).collect();
        let ranked = |i: &usize| steps[*i].returned.is_some() && steps[*i].rank.is_some();
        let mut ranked: Vec<usize> = (0..steps.len()).filter(ranked).collect();
        ranked.sort_by_key(|i| steps[*i].rank);
        let mut earlier = vec![None; steps.len()];
        for pair in ranked.windows(2) {
            earlier[pair[1]] = Some(pair[0]);
        }
        let (left, done, used) = (events.len() / 2, Bits::of(steps.len()), Bits::of(open.len()));
        Search { steps, after, before, open, twin, earlier, done, used, left }
    }

    fn take(&mut self, candidate: Candidate) {
        match candidate {
            Candidate::Open(place) => self.used.flip(place),
            Candidate::Answered(i) => {
                self.done.flip(i);
                self.left -= 1;
                for event in [2 * i, 2 * i + 1] {
                    let (before, after) = (self.before[event], self.after[event]);
                    self.after[before] = after;
                    self.before[after] = before;
                }
            }
        }
    }

    fn put_back(&mut self, candidate: Candidate) {
        match candidate {
            Candidate::Open(place) => self.used.flip(place),
            Candidate::Answered(i) => {
                self.done.flip(i);
                self.left += 1;
                for event in [2 * i + 1, 2 * i] {
                    let (before, after) = (self.before[event], self.after[event]);
                    self.after[before] = event;
                    self.before[after] = event;
                }
            }
        }
    }

    /// The next candidate from here on, and where to look after it.
    fn candidate(&self, mut at: At, content: Content) -> Option<(Candidate, At)> {
        let head = 2 * self.steps.len();
        loop {
            match at {
                At::List(event) if event != head && event % 2 == 0 => {
                    if self.earlier[event / 2].is_some_and(|earlier| !self.done.has(earlier)) {
                        at = At::List(self.after[event]);
                        continue;
                    }
                    return Some((Candidate::Answered(event / 2), At::List(self.after[event])));
                }
                // The first return: no operation answered after it may be next. Now the open ones that were called before
                // it.
                At::List(_) => at = At::Open(0),
                At::Open(place) => {
                    let i = *self.open.get(place)?;
                    if self.steps[i].invoked > self.first_return(self.after[head]) {
                        return None;
                    }
                    let waits = self.twin[place].is_some_and(|twin| !self.used.has(twin));
                    if !self.used.has(place) && !waits && next(content, self.steps[i].call).0 != content {
                        return Some((Candidate::Open(place), At::Open(place + 1)));
                    }
                    at = At::Open(place + 1);
                }
            }
        }
    }

    /// The time of the first return from this event on.
    fn first_return(&self, mut event: usize) -> u64 {
        let head = 2 * self.steps.len();
        while event != head {
            if event % 2 == 1 {
                return self.steps[event / 2].returned.unwrap_or(u64::MAX);
            }
            event = self.after[event];
        }
        u64::MAX
    }

    fn run(mut self, budget: usize) -> Linear {
        let head = 2 * self.steps.len();
        let (mut visited, mut size) = (Visited::new(), 0);
        let mut path: Vec<(Candidate, Content, At)> = Vec::new();
        let mut content: Content = None;
        let mut at = At::List(self.after[head]);
        while self.left > 0 {
            let Some((candidate, then)) = self.candidate(at, content) else {
                let Some((candidate, earlier, then)) = path.pop() else { return Linear::No };
                self.put_back(candidate);
                (content, at) = (earlier, then);
                continue;
            };
            let left = match candidate {
                Candidate::Open(place) => next(content, self.steps[self.open[place]].call).0,
                Candidate::Answered(i) => {
                    let (left, effect) = next(content, self.steps[i].call);
                    if self.steps[i].effect != Some(effect) {
                        at = then;
                        continue;
                    }
                    left
                }
            };
            self.take(candidate);
            let reached = visited.entry((self.done.clone(), left)).or_default();
            if reached.iter().any(|used| used.is_part_of(&self.used)) {
                self.put_back(candidate);
                at = then;
                continue;
            }
            reached.retain(|used| !self.used.is_part_of(used));
            reached.push(self.used.clone());
            size += 1;
            if size > budget {
                return Linear::Undecided;
            }
            path.push((candidate, content, then));
            content = left;
            at = At::List(self.after[head]);
        }
        Linear::Yes
    }
}

#[cfg(test)]
mod tests;
