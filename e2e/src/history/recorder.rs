//! Takes down what clients do, while they do it.

use std::{
    collections::BTreeMap,
    io::{BufRead, Write},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use leasehold_api::lock;
use serde::{Deserialize, Serialize};

use super::collections::Collections;
use super::operation::{Call, Operation, Outcome, Value};
use super::writes::{self, Step, Told};

/// A history that grows. Clones share it.
#[derive(Clone, Debug)]
pub struct Recorder(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    begun: Instant,
    next_value: AtomicU32,
    recorded: Mutex<Recorded>,
}

/// A history, as checked and stored.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// The ids of the records, by their numbers.
    pub keys: Vec<String>,
    /// What clients did, in the order of the calls.
    pub operations: Vec<Operation>,
    /// Who led in a term with two leaders: always a violation.
    pub violations: Vec<String>,
    /// Who was seen to lead in which term.
    pub terms: BTreeMap<u64, u16>,
    /// What was written to other collections than persons, and seen of them.
    pub collections: Collections,
}

/// A request on its way.
#[derive(Debug)]
pub struct Ticket(usize);

impl Default for Recorder {
    fn default() -> Recorder {
        let (next_value, recorded) = (AtomicU32::new(1), Mutex::default());
        Recorder(Arc::new(Shared { begun: Instant::now(), next_value, recorded }))
    }
}

impl Recorder {
    /// The history's clock.
    pub fn now(&self) -> Duration {
        self.0.begun.elapsed()
    }

    /// A value that nobody wrote before.
    pub fn new_value(&self) -> Value {
        Value(self.0.next_value.fetch_add(1, Ordering::Relaxed))
    }

    /// A record that was not used before, by its id.
    pub fn new_key(&self, id: String) -> u32 {
        let mut recorded = lock(&self.0.recorded);
        recorded.keys.push(id);
        u32::try_from(recorded.keys.len() - 1).unwrap_or(u32::MAX)
    }

    /// A client is about to send a request.
    pub fn call(&self, client: u16, pod: u16, key: u32, call: Call) -> Ticket {
        let mut recorded = lock(&self.0.recorded);
        // Under the lock, and before the request: so never later than its effect.
        let invoked = self.nanoseconds();
        let outcome = Outcome::Unknown("still on its way".to_owned());
        recorded.operations.push(Operation {
            client,
            pod,
            key,
            call,
            invoked,
            returned: u64::MAX,
            outcome,
            sequence: None,
        });
        Ticket(recorded.operations.len() - 1)
    }

    /// The client read the answer, or gave up.
    pub fn returned(&self, ticket: &Ticket, outcome: Outcome, sequence: Option<u64>) {
        // Before the lock: never earlier than the answer.
        let now = self.nanoseconds();
        let mut recorded = lock(&self.0.recorded);
        if let Some(operation) = recorded.operations.get_mut(ticket.0) {
            (operation.returned, operation.outcome, operation.sequence) = (now, outcome, sequence);
        }
    }

    /// A client is about to write to collections.
    pub fn write(&self, client: u16, pod: u16, steps: Vec<Step>) -> Ticket {
        let mut recorded = lock(&self.0.recorded);
        let (invoked, told) = (self.nanoseconds(), Told::Unknown("still on its way".to_owned()));
        let all = &mut recorded.collections.writes;
        all.push(writes::Write { client, pod, invoked, returned: u64::MAX, steps, told });
        Ticket(all.len() - 1)
    }

    /// The client of a [`Recorder::write`] read the answer, or gave up.
    pub fn written(&self, ticket: &Ticket, told: Told) {
        let now = self.nanoseconds();
        if let Some(write) = lock(&self.0.recorded).collections.writes.get_mut(ticket.0) {
            (write.returned, write.told) = (now, told);
        }
    }

    /// Notes something about collections.
    pub fn note(&self, note: impl FnOnce(&mut Collections)) {
        note(&mut lock(&self.0.recorded).collections);
    }

    /// Pod `pod` reported that it leads in this term.
    pub fn leads(&self, pod: u16, term: u64) {
        let mut recorded = lock(&self.0.recorded);
        let first = *recorded.terms.entry(term).or_insert(pod);
        if first != pod {
            recorded.violations.push(format!("pods {first} and {pod} both led in term {term}"));
        }
    }

    /// Something happened that never may.
    pub fn violation(&self, what: String) {
        lock(&self.0.recorded).violations.push(what);
    }

    /// The ids of the records, by their numbers.
    pub fn keys(&self) -> Vec<String> {
        lock(&self.0.recorded).keys.clone()
    }

    /// Takes the history out. What is still on its way stays unknown.
    pub fn take(&self) -> Recorded {
        std::mem::take(&mut *lock(&self.0.recorded))
    }

    /// The highest sequence that a write was acknowledged with.
    pub fn highest_sequence(&self) -> u64 {
        let recorded = lock(&self.0.recorded);
        let writes = recorded.operations.iter().filter(|operation| operation.call.is_write());
        let of_persons = writes.filter_map(|operation| operation.sequence);
        let others = recorded.collections.writes.iter().filter_map(|write| match write.told {
            Told::Done(sequence) => Some(sequence),
            Told::Not(_) | Told::Unknown(_) => None,
        });
        of_persons.chain(others).max().unwrap_or(0)
    }

    /// The history's clock, as it is recorded.
    pub fn nanoseconds(&self) -> u64 {
        u64::try_from(self.now().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Line {
    Keys(Vec<String>),
    Terms(BTreeMap<u64, u16>),
    Violation(String),
    Operation(Operation),
    Collections(Box<Collections>),
}

impl Recorded {
    /// Keeps it as lines of JSON.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        let file = std::fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut out = std::io::BufWriter::new(file);
        let collections = Line::Collections(Box::new(self.collections.clone()));
        let head = [Line::Keys(self.keys.clone()), Line::Terms(self.terms.clone()), collections];
        let rest = self.operations.iter().cloned().map(Line::Operation);
        for line in head.into_iter().chain(self.violations.iter().cloned().map(Line::Violation)).chain(rest) {
            serde_json::to_writer(&mut out, &line)?;
            out.write_all(b"\n")?;
        }
        Ok(out.flush()?)
    }

    /// Reads what [`Recorded::save`] wrote.
    ///
    /// # Errors
    /// The file cannot be read, or is none; says in which line.
    pub fn load(path: &Path) -> anyhow::Result<Recorded> {
        let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut recorded = Recorded::default();
        for (i, line) in std::io::BufReader::new(file).lines().enumerate() {
            let place = || format!("{}, line {}", path.display(), i + 1);
            match serde_json::from_str(&line.with_context(place)?).with_context(place)? {
                Line::Keys(keys) => recorded.keys = keys,
                Line::Terms(terms) => recorded.terms = terms,
                Line::Violation(what) => recorded.violations.push(what),
                Line::Operation(operation) => recorded.operations.push(operation),
                Line::Collections(collections) => recorded.collections = *collections,
            }
        }
        Ok(recorded)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::operation::{Condition, Effect};
    use super::*;

    #[test]
    fn what_is_kept_is_read_again() {
        let recorder = Recorder::default();
        let key = recorder.new_key("some-id".into());
        let call = Call::Put(recorder.new_value(), Condition::Is(recorder.new_value()));
        let ticket = recorder.call(3, 1, key, call);
        recorder.call(4, 1, key, Call::Read);
        recorder.returned(&ticket, Outcome::Done(Effect::Stored), Some(17));
        recorder.leads(1, 5);
        recorder.leads(2, 5);
        let record = serde_json::json!({"v": 3});
        let does = super::super::writes::Does::Put(record);
        let only_if = super::super::writes::Expected::Absent;
        let write = recorder.write(3, 1, vec![Step { collection: "orders".into(), id: "a".into(), only_if, does }]);
        recorder.written(&write, Told::Done(16));
        recorder.note(|collections| collections.upto = 16);
        assert_eq!(recorder.highest_sequence(), 17);
        let recorded = recorder.take();
        assert_eq!(recorded.violations.len(), 1);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl");
        recorded.save(&path).unwrap();
        let again = Recorded::load(&path).unwrap();
        assert_eq!((&again.keys, &again.operations), (&recorded.keys, &recorded.operations));
        assert_eq!((again.collections.writes.len(), &again.collections), (1, &recorded.collections));
        assert_eq!((&again.violations, &again.terms), (&recorded.violations, &recorded.terms));
        std::fs::write(&path, "{}\n").unwrap();
        assert!(format!("{:#}", Recorded::load(&path).unwrap_err()).contains("line 1"));
    }
}
