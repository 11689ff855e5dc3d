//! The content of the writer's volume, derived from what the writer says.
//!
//! ```text
//!   S ticket term                          a state with the promise of that term
//!   E ticket term/seq term number length   an entry after that position: the person of that number, with that much text
//!   I ticket term/seq count first          a received snapshot: that position, the persons first, first + 1 …
//!   W ticket                               the volume is emptied
//!   (all before it is handed to the journal)
//!   A ticket                               reported durable: up to here
//!   O replica digest                       a start reports its identity and what it found
//! ```

use super::trace::Event;
use leasehold_documents::{Action, Command, Condition, Documents, IdRef, Operation, Work};
use leasehold_replication::{
    ClusterId, DurableState, Entry, Incarnation, Payload, Position, Promise, ReplicaId, Term, Ticket,
};
use leasehold_store::volume::Opened;
use std::fmt::Write;
use uuid::Uuid;

/// A person: the number, and the checksum of the record.
pub(crate) type Person = (u128, u32);

pub(crate) const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(0xc1));

/// The text in each record of a received snapshot.
pub(crate) const RECEIVED_LENGTH: usize = 50;

/// All that a volume holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Model {
    pub(crate) state: DurableState,
    /// Where the last received snapshot ends, and its persons.
    pub(crate) base: Position,
    pub(crate) received: Vec<Person>,
    /// Every entry since, including those that a snapshot of our own holds.
    pub(crate) entries: Vec<Entry>,
}

impl Model {
    pub(crate) fn empty() -> Model {
        Model { state: DurableState::EMPTY, base: Position::ZERO, received: Vec::new(), entries: Vec::new() }
    }

    pub(crate) fn last(&self) -> Position {
        self.entries.last().map_or(self.base, |entry| entry.position)
    }

    /// An entry after the one it names; what was there is cut.
    pub(crate) fn push(&mut self, entry: Entry) {
        let keep = entry.previous.seq.0 - self.base.seq.0;
        self.entries.truncate(keep as usize);
        assert_eq!(self.last(), entry.previous, "the writer makes chains only");
        self.entries.push(entry);
    }

    pub(crate) fn promise(&mut self, term: u64) {
        self.state = state(term);
    }

    pub(crate) fn receive(&mut self, position: Position, persons: std::ops::Range<u128>) {
        self.base = position;
        self.received = persons.map(|number| person(number, &record(number, RECEIVED_LENGTH))).collect();
        self.entries.clear();
    }

    /// The persons after the entries up to a position, in order.
    pub(crate) fn persons_at(&self, position: Position) -> Vec<Person> {
        let applied = self.entries.iter().take_while(|entry| entry.position.seq <= position.seq);
        self.received.iter().copied().chain(applied.map(person_of)).collect()
    }

    /// Word for it in one line.
    pub(crate) fn digest(&self) -> String {
        let mut persons = String::new();
        for (number, record) in self.persons_at(self.last()) {
            let _ = write!(persons, "{number}={record},");
        }
        let DurableState { promise, cluster_id, .. } = self.state;
        format!("{}:{}:{}:{:08x}", promise.term, cluster_id.is_some(), self.last(), crc32fast::hash(persons.as_bytes()))
    }

    /// Is that what was found? The entries that a snapshot does not hold, byte by byte; the persons that it does.
    pub(crate) fn is(&self, found: &Opened) -> bool {
        let base = found.recovered.snapshot.as_ref().map_or(Position::ZERO, |meta| meta.position);
        let is_there = base == self.base || self.entries.iter().any(|entry| entry.position == base);
        let rest: Vec<&Entry> = self.entries.iter().filter(|entry| entry.position.seq > base.seq).collect();
        is_there
            && found.recovered.state == self.state
            && found.recovered.entries.iter().collect::<Vec<_>>() == rest
            && persons_of(&found.documents) == self.persons_at(base)
    }

    /// What was found, as far as a digest goes.
    pub(crate) fn of(found: &Opened) -> Model {
        let base = found.recovered.snapshot.as_ref().map_or(Position::ZERO, |meta| meta.position);
        let (state, entries) = (found.recovered.state, found.recovered.entries.clone());
        Model { state, base, received: persons_of(&found.documents), entries }
    }
}

pub(crate) fn state(term: u64) -> DurableState {
    let incarnation = Incarnation(Uuid::from_u128(u128::from(term)));
    DurableState { promise: Promise { term: Term(term), incarnation }, cluster_id: Some(CLUSTER), bootstrapping: false }
}

pub(crate) fn record(number: u128, length: usize) -> String {
    let id = Uuid::from_u128(number);
    format!(r#"{{"id":"{id}","firstName":"{}","lastName":"{number}"}}"#, "x".repeat(length))
}

pub(crate) fn entry(previous: Position, term: u64, number: u128, length: usize) -> Entry {
    let record = record(number, length);
    let action = Action::Create { record: &record };
    let id = Uuid::from_u128(number);
    let command = Command::one("persons", id, action, Condition::None).encode(1);
    Entry::new(previous, Term(term), Payload::Command(command))
}

fn person(number: u128, record: &str) -> Person {
    (number, crc32fast::hash(record.as_bytes()))
}

fn person_of(entry: &Entry) -> Person {
    let Payload::Command(command) = &entry.payload else { panic!("the writer writes commands only") };
    let command = Command::decode(command).unwrap();
    let Work::One(_, Operation { id: IdRef::Uuid(id), action: Action::Create { record }, .. }) = command.work else {
        panic!("the writer creates only, one by one")
    };
    person(id.as_u128(), record)
}

fn persons_of(documents: &Documents) -> Vec<Person> {
    let persons = documents.collection("persons").into_iter().flat_map(|persons| persons.after(0));
    let number = |record: &str| -> u128 {
        let value: serde_json::Value = serde_json::from_str(record).unwrap();
        value["lastName"].as_str().unwrap().parse().unwrap()
    };
    persons.map(|(_, record)| person(number(record.as_str()), record.as_str())).collect()
}

/// What a writer has said so far: everything that its volume may hold, and from where on it must.
pub(crate) struct Told {
    /// The volume after each ticket that was started; what precedes the first one may not return.
    pub(crate) begun: Vec<(Ticket, Model)>,
    pub(crate) replica: Option<ReplicaId>,
    /// A line that has not ended yet.
    half: String,
    pub(crate) starts: usize,
    pub(crate) acknowledged: usize,
}

impl Told {
    pub(crate) fn nothing() -> Told {
        let begun = vec![(Ticket(0), Model::empty())];
        Told { begun, replica: None, half: String::new(), starts: 0, acknowledged: 0 }
    }

    /// A volume that is known to hold this.
    pub(crate) fn found(replica: ReplicaId, model: Model) -> Told {
        Told { begun: vec![(Ticket(0), model)], replica: Some(replica), ..Told::nothing() }
    }

    pub(crate) fn hear(&mut self, event: &Event) {
        match event {
            Event::Start => self.half.clear(),
            Event::Out { to: 1, bytes } => self.hear_bytes(bytes),
            _ => {}
        }
    }

    pub(crate) fn hear_bytes(&mut self, bytes: &[u8]) {
        self.half.push_str(&String::from_utf8_lossy(bytes));
        while let Some((line, rest)) = self.half.split_once('\n') {
            let (line, rest) = (line.to_owned(), rest.to_owned());
            self.half = rest;
            self.hear_line(&line);
        }
    }

    fn hear_line(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        let position = |at: usize| {
            let (term, seq) = words[at].split_once('/').unwrap();
            Position::new(term.parse().unwrap(), seq.parse().unwrap())
        };
        match words[0] {
            "S" => self.model(number(1)).promise(number(2)),
            "E" => {
                let entry = entry(position(2), number(3), number(4).into(), number(5) as usize);
                self.model(number(1)).push(entry);
            }
            "I" => {
                let first = u128::from(number(4));
                self.model(number(1)).receive(position(2), first..first + u128::from(number(3)));
            }
            "W" => *self.model(number(1)) = Model::empty(),
            "A" => {
                let told = self.begun.iter().rposition(|(ticket, _)| ticket.0 <= number(1)).unwrap();
                self.begun.drain(..told);
                self.acknowledged += 1;
            }
            "O" => {
                let replica = ReplicaId(words[1].parse().unwrap());
                let digest = |model: &Model| model.digest() == words[2];
                let at = self.begun.iter().rposition(|(_, model)| digest(model));
                let at = at.unwrap_or_else(|| panic!("a start found {}, none of {}", words[2], self.choice()));
                self.begun = vec![(Ticket(0), self.begun[at].1.clone())];
                self.check_replica(replica);
                self.starts += 1;
            }
            // The test harness says a word, too.
            _ => {}
        }
    }

    /// The volume after this ticket.
    fn model(&mut self, ticket: u64) -> &mut Model {
        let (last, model) = self.begun.last().unwrap();
        if last.0 < ticket {
            let model = model.clone();
            self.begun.push((Ticket(ticket), model));
        }
        &mut self.begun.last_mut().unwrap().1
    }

    fn check_replica(&mut self, replica: ReplicaId) {
        let emptied = self.begun.iter().any(|(_, model)| *model == Model::empty());
        let known = *self.replica.get_or_insert(replica);
        assert!(known == replica || emptied, "the volume was {known} and is {replica}");
        self.replica = Some(replica);
    }

    /// Checks what a start on what is left finds; gives which of the models it is.
    #[track_caller]
    pub(crate) fn check(&self, found: &Opened) -> Model {
        let at = self.begun.iter().rposition(|(_, model)| model.is(found));
        let at = at.unwrap_or_else(|| panic!("found {}, none of {}", Model::of(found).digest(), self.choice()));
        let model = self.begun[at].1.clone();
        let known = self.replica.is_none_or(|known| known == found.replica);
        assert!(known || model == Model::empty(), "the volume was {:?} and is {}", self.replica, found.replica);
        model
    }

    fn choice(&self) -> String {
        let all: Vec<String> =
            self.begun.iter().map(|(ticket, model)| format!("{}={}", ticket.0, model.digest())).collect();
        all.join(" ")
    }
}
