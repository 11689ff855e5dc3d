//! The outcomes of writes that carried a key: the same write again gets the same answer, and is not done again.
//!
//! This is part of the data, so it is the same on every replica: a new leader knows every key that the old one knew, and a
//! snapshot carries them. It is bounded by count, by bytes and by age. Age is counted in entries of the log: replicas have
//! no common clock. The bounds are part of the log's meaning; another bound is another format.

use super::command::Key;
use super::outcome::{Applied, Operated, Outcome};
use super::sums;
use crate::Id;
use imbl::OrdMap;
use leasehold_replication::Seq;
use std::sync::Arc;

/// How many keys are remembered at most; the oldest goes first.
pub const KEYS_MAX: usize = 10_000;
/// A key is remembered for at most this many entries of the log.
pub const KEY_ENTRIES_MAX: u64 = 1_000_000;
/// How much all of them may hold together, approximately.
pub const KEYS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A key's command, and its outcome.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) request: u128,
    pub(super) answer: Applied,
}

/// A key in its space: a collection has its own keys, and so have transactions, whose space has no name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// Space and name behind each other.
    text: Arc<str>,
    space_length: usize,
}

impl Place {
    fn of(space: &str, name: &str) -> Place {
        Place { text: [space, name].concat().into(), space_length: space.len() }
    }

    fn split(&self) -> (&str, &str) {
        self.text.split_at(self.space_length)
    }
}

/// See the module. A clone is cheap.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    by_name: OrdMap<Place, Arc<Kept>>,
    /// By the sequence of the command: the oldest first.
    by_seq: OrdMap<u64, Place>,
    bytes: usize,
    /// The sum of all of them.
    sum: u128,
}

impl Keys {
    pub(super) fn get(&self, space: &str, name: &str) -> Option<&Kept> {
        self.by_name.get(&Place::of(space, name)).map(|kept| &**kept)
    }

    /// Forgets what is too old for a command at `now`.
    pub(super) fn forget_before(&mut self, now: Seq) {
        while let Some((seq, _)) = self.by_seq.get_min() {
            if seq.saturating_add(KEY_ENTRIES_MAX) >= now.0 {
                return;
            }
            self.forget_oldest();
        }
    }

    pub(super) fn keep(&mut self, space: &str, key: Key<'_>, answer: Applied) {
        let place = Place::of(space, key.name);
        self.bytes += cost(key.name, &answer);
        self.by_seq.insert(answer.seq.0, place.clone());
        self.sum = self.sum.wrapping_add(sums::of_key(space, key.name, key.request, &answer));
        self.by_name.insert(place, Arc::new(Kept { request: key.request, answer }));
        while self.by_seq.len() > KEYS_MAX || self.bytes > KEYS_BYTES_MAX && self.by_seq.len() > 1 {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((seq, place)) = self.by_seq.get_min().map(|(seq, place)| (*seq, place.clone())) else { return };
        self.by_seq.remove(&seq);
        if let Some(kept) = self.by_name.remove(&place) {
            let (space, name) = place.split();
            self.bytes -= cost(name, &kept.answer);
            self.sum = self.sum.wrapping_sub(sums::of_key(space, name, kept.request, &kept.answer));
        }
    }

    pub(super) fn sum(&self) -> u128 {
        self.sum
    }

    /// From what they are, not from what was kept and forgotten.
    pub(super) fn recomputed_sum(&self) -> u128 {
        let all = self.iter().map(|(space, name, kept)| sums::of_key(space, name, kept.request, &kept.answer));
        all.fold(0, u128::wrapping_add)
    }

    /// The memory that all of them use, approximately.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// All of them, the oldest first: space, name, answer.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str, &Kept)> {
        self.by_seq.values().filter_map(|place| {
            let (space, name) = place.split();
            Some((space, name, &**self.by_name.get(place)?))
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_seq.is_empty()
    }
}

/// The memory that it uses, approximately. Part of the log's meaning, like the bounds.
fn cost(name: &str, answer: &Applied) -> usize {
    let record = answer.record.as_ref().map_or(0, |record| record.as_str().len());
    let operation = |one: &Operated| 48 + text_bytes(&one.id) + detail_bytes(&one.outcome);
    let operations: usize = answer.operations.iter().map(operation).sum();
    256 + name.len() + record + text_bytes(&answer.id) + detail_bytes(&answer.outcome) + operations
}

/// What an id has beside its place.
fn text_bytes(id: &Id) -> usize {
    match id {
        Id::Uuid(_) => 0,
        Id::Text(text) => text.len(),
    }
}

fn detail_bytes(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::UniqueConflict { id, .. } => text_bytes(id),
        Outcome::BadValue { pointer, .. } => pointer.len(),
        Outcome::Refused(problem) => problem.len(),
        _ => 0,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Record;

    fn answer(seq: u64, record_bytes: usize) -> Applied {
        let record = (record_bytes > 0).then(|| Record::from("x".repeat(record_bytes)));
        Applied { seq: Seq(seq), outcome: Outcome::Created, id: Id::NONE, record, operations: Vec::new() }
    }

    fn keep(keys: &mut Keys, seq: u64, record_bytes: usize) {
        keys.keep("persons", Key { name: &format!("key {seq}"), request: 1 }, answer(seq, record_bytes));
    }

    #[test]
    fn a_name_is_another_key_in_another_space() {
        let mut keys = Keys::default();
        keys.keep("ab", Key { name: "c", request: 1 }, answer(1, 0));
        assert!(keys.get("ab", "c").is_some());
        assert!(keys.get("a", "bc").is_none() && keys.get("", "abc").is_none());
    }

    #[test]
    fn the_cost_of_an_answer_counts_its_texts() {
        let plain = answer(1, 0);
        let text = Id::Text("x".repeat(10).into());
        let operated = Operated { outcome: Outcome::Deleted, id: text.clone(), tag: None };
        let many = Applied { id: text, operations: vec![operated; 3], ..plain.clone() };
        assert_eq!(cost("k", &many), cost("k", &plain) + 10 + 3 * (48 + 10));
        let refused = Applied { outcome: Outcome::Refused("problem".into()), ..plain.clone() };
        assert_eq!(cost("k", &refused), cost("k", &plain) + 7);
    }

    #[test]
    fn beyond_each_bound_the_oldest_is_forgotten() {
        let mut keys = Keys::default();
        for seq in 1..=KEYS_MAX as u64 + 5 {
            keep(&mut keys, seq, 0);
        }
        assert_eq!(keys.iter().count(), KEYS_MAX);
        assert!(keys.get("persons", "key 5").is_none() && keys.get("persons", "key 6").is_some());
        keys.forget_before(Seq(KEY_ENTRIES_MAX + 10));
        assert!(keys.get("persons", "key 9").is_none() && keys.get("persons", "key 10").is_some());
        for seq in 20_000..20_010 {
            keep(&mut keys, seq, KEYS_BYTES_MAX / 4);
        }
        assert_eq!(keys.iter().count(), 3);
        for seq in 0..3 {
            assert!(keys.get("persons", &format!("key {}", 20_007 + seq)).is_some());
        }
        keys.forget_before(Seq(u64::MAX));
        assert!(keys.is_empty() && keys.bytes == 0 && keys.sum == 0, "{keys:?}");
    }
}
