//! What clients learnt about their writes, and whether the data agrees with it.
//!
//! Each id is written by one client, one request at a time. A write is
//!
//! - **acknowledged** (2xx): it is the id's value from then on;
//! - **refused** (4xx, 503, or no connection): it must never show;
//! - **unknown** (504, another 5xx, or no answer): it may show, or not; the id is left alone from then on.
//!
//! That is for tests that know who writes what. Where many clients share records, everything is recorded, and judged
//! afterwards:
//!
//! ```text
//!   clients ──Recorder──▶ Recorded ──▶ sequences: the numbers against time, local reads against the numbers
//!                            │  ├────▶ linear: an order for each record;  smallest: what a person must look at
//!   watcher ─commits────────▶│  └────▶ collections: the data after each commit; writes, lists, unique values, expiry
//!                            └─ a file, that can be judged again   ──▶ Verdict
//! ```
//!
//! Persons are judged by what clients were told alone. Of other collections all commits are known, from a watch: so each write and
//! each list is compared with the data at its sequence.

mod collections;
mod commits;
mod linear;
mod operation;
mod recorder;
mod sequences;
mod smallest;
mod verdict;
mod writes;

pub use collections::Collections;
pub use commits::{Change, Commit, Kind as ChangeKind};
use leasehold_api::lock;
pub use operation::{Call, Condition, Content, Effect, Operation, Outcome, Value as Written};
pub use recorder::{Recorded, Recorder, Ticket};
pub use verdict::{Counts as Tally, LAST_LOOK, Verdict};
pub use writes::{Does, Expected, Look, MARK, Step, Told as Answered, Write};

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use anyhow::bail;
use serde_json::{Value, json};

/// The history of all clients. Clones share it.
#[derive(Clone, Debug)]
pub struct History(Arc<Mutex<Told>>);

#[derive(Debug, Default)]
struct Told {
    ids: BTreeMap<String, Id>,
    /// The sequence of each acknowledged write, and who acknowledged it.
    sequences: BTreeMap<u64, (u16, String)>,
    /// Who led in which term.
    terms: BTreeMap<u64, u16>,
    /// What can never be right, found while the clients ran.
    violations: Vec<String>,
    acknowledged: u64,
    unknown: u64,
    refused: u64,
}

/// One id: `None` stands for "no such person".
#[derive(Debug, Default)]
struct Id {
    value: Option<Value>,
    possible: Vec<Option<Value>>,
}

/// How many writes got which answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Counts {
    pub acknowledged: u64,
    pub refused: u64,
    pub unknown: u64,
}

/// The initial persons of a cluster.
pub fn initial_persons() -> Value {
    json!([
        {"firstName": "Niklas", "lastName": "Heidloff", "id": "e0a08c5b-62d5-4b20-a024-e1c270d901c2"},
        {"firstName": "Adam", "lastName": "Deleeuw", "id": "93115462-543c-4149-9b75-2b1a84bd326c"},
        {"firstName": "Thomas", "lastName": "Suedbroecker", "id": "dd35e011-093b-4c63-9d54-040a5dc3d28f"},
        {"firstName": "Alain", "lastName": "Airom", "id": "918b0da0-afda-4cbf-a370-0347a6ede98e"},
    ])
}

impl Default for History {
    /// Begins with the initial persons.
    fn default() -> History {
        let history = History(Arc::default());
        for person in initial_persons().as_array().into_iter().flatten() {
            let id = Id { value: Some(person.clone()), possible: Vec::new() };
            lock(&history.0).ids.insert(id_of(person), id);
        }
        history
    }
}

impl History {
    /// Pod `pod` acknowledged that the id has this value now (`None`: is deleted).
    pub fn acknowledged(&self, pod: u16, id: &str, value: Option<Value>, sequence: Option<u64>) {
        let mut told = lock(&self.0);
        told.acknowledged += 1;
        told.ids.entry(id.to_owned()).or_default().value = value;
        let Some(sequence) = sequence else { return };
        if let Some((other, other_id)) = told.sequences.insert(sequence, (pod, id.to_owned())) {
            told.violations.push(format!(
                "sequence {sequence} was acknowledged twice: by pod {other} for {other_id}, by pod {pod} for {id}"
            ));
        }
    }

    /// Nobody knows whether the id has this value now.
    pub fn unknown(&self, id: &str, value: Option<Value>) {
        let mut told = lock(&self.0);
        told.unknown += 1;
        told.ids.entry(id.to_owned()).or_default().possible.push(value);
    }

    /// The write was refused, so the id keeps what it has.
    pub fn refused(&self, id: &str) {
        let mut told = lock(&self.0);
        told.refused += 1;
        told.ids.entry(id.to_owned()).or_default();
    }

    /// Pod `pod` reported that it leads in this term.
    pub fn leads(&self, pod: u16, term: u64) {
        let mut told = lock(&self.0);
        let first = *told.terms.entry(term).or_insert(pod);
        if first != pod {
            told.violations.push(format!("pods {first} and {pod} both led in term {term}"));
        }
    }

    /// Something happened that never may.
    pub fn violation(&self, what: String) {
        lock(&self.0).violations.push(what);
    }

    /// How many writes so far.
    pub fn counts(&self) -> Counts {
        let told = lock(&self.0);
        Counts { acknowledged: told.acknowledged, refused: told.refused, unknown: told.unknown }
    }

    /// Does the data agree with what clients learnt?
    ///
    /// # Errors
    /// What does not.
    pub fn check(&self, persons: &[Value]) -> anyhow::Result<()> {
        let told = lock(&self.0);
        if let Some(violation) = told.violations.first() {
            bail!("{violation} (and {} more)", told.violations.len() - 1);
        }
        let mut seen = BTreeSet::new();
        for person in persons {
            let id = id_of(person);
            if !seen.insert(id.clone()) {
                bail!("{id} is listed twice");
            }
            match told.ids.get(&id) {
                None => bail!("nobody wrote {person}"),
                Some(known) if allowed(known, &Some(person.clone())) => {}
                Some(known) => bail!("{person} is there, but the answers to clients allow only {known:?}"),
            }
        }
        for (id, known) in &told.ids {
            if !seen.contains(id) && !allowed(known, &None) {
                bail!("{id} is lost; the answers to clients allow only {known:?}");
            }
        }
        Ok(())
    }
}

fn allowed(id: &Id, value: &Option<Value>) -> bool {
    id.value == *value || id.possible.contains(value)
}

fn id_of(person: &Value) -> String {
    person["id"].as_str().unwrap_or("").to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn person(id: &str, name: &str) -> Value {
        json!({"id": id, "firstName": name, "lastName": "x"})
    }

    fn start() -> (History, Vec<Value>) {
        (History::default(), initial_persons().as_array().unwrap().clone())
    }

    #[test]
    fn acknowledged_writes_must_be_there_and_refused_ones_must_not() {
        let (history, mut data) = start();
        history.check(&data).unwrap();
        history.acknowledged(0, "a", Some(person("a", "one")), Some(7));
        assert!(format!("{}", history.check(&data).unwrap_err()).contains("lost"));
        data.push(person("a", "one"));
        history.check(&data).unwrap();
        history.refused("b");
        history.check(&data).unwrap();
        data.push(person("b", "two"));
        assert!(history.check(&data).is_err());
    }

    #[test]
    fn an_unknown_write_may_be_there_or_not_but_nothing_else_may() {
        let (history, mut data) = start();
        history.unknown("a", Some(person("a", "one")));
        history.check(&data).unwrap();
        data.push(person("a", "one"));
        history.check(&data).unwrap();
        data.last_mut().unwrap()["firstName"] = "other".into();
        assert!(history.check(&data).is_err());
    }

    #[test]
    fn a_lost_initial_person_a_stranger_and_a_sequence_given_twice_are_found() {
        let (history, mut data) = start();
        let gone = data.pop().unwrap();
        assert!(history.check(&data).is_err());
        data.push(gone);
        data.push(person("stranger", "x"));
        assert!(history.check(&data).is_err());
        data.pop();
        history.check(&data).unwrap();
        history.acknowledged(0, "a", None, Some(9));
        history.acknowledged(1, "b", None, Some(9));
        assert!(format!("{}", history.check(&data).unwrap_err()).contains("sequence 9"));
    }

    #[test]
    fn a_term_with_two_leaders_is_found() {
        let (history, data) = start();
        history.leads(0, 3);
        history.leads(0, 3);
        history.leads(1, 4);
        history.check(&data).unwrap();
        history.leads(1, 3);
        assert!(format!("{}", history.check(&data).unwrap_err()).contains("term 3"));
    }
}
