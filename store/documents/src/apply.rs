//! One entry of the log after the other.
//!
//! ```text
//!   bytes ──decode──▶ command ──key known?──▶ its first answer
//!                        │ no
//!                        ▼
//!                     epochs as the leader knew them? ── no ──▶ `DefinitionChanged`, `NoCollection`
//!                        │ yes
//!                        ▼
//!                     operate │ define │ step ──▶ outcome, changes ──▶ kept under the key
//! ```
//!
//! The work of one entry is bounded (since format 2): its records, and the records that it must read, have at most
//! [`ENTRY_BYTES_MAX`](crate::ENTRY_BYTES_MAX) bytes together, those that it removes or replaces
//! [`GONE_BYTES_MAX`](crate::GONE_BYTES_MAX); a step looks at [`STEP_RECORDS_MAX`](crate::STEP_RECORDS_MAX) records or
//! [`STEP_BYTES_MAX`](crate::STEP_BYTES_MAX) at most.

use crate::codec::version;
use crate::format::COLLECTIONS;
use crate::operate::Budget;
use crate::outcome::PATCH_TAKES_ID;
use crate::plants::{Fault, holds};
use crate::sums::Name;
use crate::{
    Applied, Change, Collection, Command, CommandError, Defined, Definition, Documents, Id, On, Operated, Operation,
    Outcome, PERSONS, UnknownCommand, Work,
};
use leasehold_replication::{Position, Seq};
use std::sync::Arc;

const TRUNCATED: &str = "the command is truncated";

impl Documents {
    /// Applies the command of the entry at `position`, which follows the last one, and adds its changes to `changes`.
    ///
    /// # Errors
    /// [`UnknownCommand`]: nothing was done, and this build must not go on \[C1\]. Anything else that is wrong with it is an
    /// outcome.
    ///
    /// # Panics
    /// When an entry is left out or comes twice: the log is broken, and going on would make replicas differ.
    pub fn apply(
        &mut self,
        position: Position,
        command: &[u8],
        changes: &mut Vec<Change>,
    ) -> Result<Applied, UnknownCommand> {
        let version = version(command);
        let command = match Command::decode(command) {
            Err(CommandError::Unknown(unknown)) => return Err(unknown),
            known => known,
        };
        self.skip(position);
        if version >= COLLECTIONS {
            self.begin_collections(changes);
        }
        Ok(match command {
            // Checked on a thread of the API before the format was raised: the leader looks again.
            Ok(_) if version < COLLECTIONS && self.format >= COLLECTIONS => self.answer(Outcome::DefinitionChanged),
            Ok(command) => {
                self.settings.note_time(command.time_ms);
                self.decide(&command, changes)
            }
            Err(CommandError::Content(what)) => self.answer(Outcome::Invalid(what)),
            Err(CommandError::TooLarge) => self.answer(Outcome::EntryTooLarge),
            Err(CommandError::Short | CommandError::Unknown(_)) => self.answer(Outcome::Invalid(TRUNCATED)),
        })
    }

    /// Notes an entry that is not a command (a term's first one, a change of the voters).
    ///
    /// # Panics
    /// As [`Documents::apply`].
    pub fn skip(&mut self, position: Position) {
        let applied = self.applied;
        assert!(
            position.seq == applied.seq.next() && position.term >= applied.term,
            "entry {position} does not follow {applied}, the last one applied"
        );
        self.applied = position;
    }

    /// Notes a change of the voters. The first one of a format begins what that format adds to the data: that is among
    /// `changes` then.
    ///
    /// # Panics
    /// As [`Documents::apply`].
    pub fn voters(&mut self, position: Position, format: u32, changes: &mut Vec<Change>) {
        self.skip(position);
        if format >= COLLECTIONS {
            self.begin_collections(changes);
        }
    }

    /// Once. The records stay as they are, so this costs nothing.
    fn begin_collections(&mut self, changes: &mut Vec<Change>) {
        if self.format >= COLLECTIONS {
            return;
        }
        self.format = COLLECTIONS;
        let seq = self.applied.seq;
        self.collections.entry(PERSONS.into()).or_default();
        let definition = Arc::new(Definition::persons());
        self.with(PERSONS, |persons, name| {
            let defined = Defined {
                definition: definition.clone(),
                created: seq,
                revision: seq,
                epoch: seq,
                pending: None,
                last_refused: None,
            };
            persons.set_defined(name, defined);
        });
        let definition = Some(definition);
        changes.push(Change::Definition { collection: PERSONS.into(), created: seq, definition });
    }

    /// Changes a collection, and the sums with it. None if there is none of that name.
    pub(crate) fn with<T>(&mut self, name: &str, change: impl FnOnce(&mut Collection, Name) -> T) -> Option<T> {
        let collection = Arc::make_mut(self.collections.get_mut(name)?);
        let (data, progress) = (collection.data_sum, collection.progress_sum);
        let done = change(collection, Name::of(name));
        self.data_sum = self.data_sum.wrapping_sub(data).wrapping_add(collection.data_sum);
        self.progress_sum = self.progress_sum.wrapping_sub(progress).wrapping_add(collection.progress_sum);
        Some(done)
    }

    pub(crate) fn answer(&self, outcome: Outcome) -> Applied {
        Applied { seq: self.applied.seq, outcome, id: Id::NONE, record: None, operations: Vec::new() }
    }

    fn decide(&mut self, command: &Command<'_>, changes: &mut Vec<Change>) -> Applied {
        let Some(key) = command.key else { return self.work(command, changes) };
        let space = self.space(&command.work);
        self.keys.forget_before(self.applied.seq);
        match self.keys.get(space, key.name) {
            Some(kept) if kept.request == key.request => return kept.answer.clone(),
            Some(_) => return self.answer(Outcome::KeyReused),
            None => {}
        }
        let answer = self.work(command, changes);
        if answer.outcome.is_kept() && holds(Fault::KeysAreForgotten) {
            self.keys.keep(space, key, answer.clone());
        }
        answer
    }

    /// Keys are a collection's, and those of format 1 are those of `persons`; the keys of all else have a space of their own.
    pub(crate) fn space<'a>(&self, work: &Work<'a>) -> &'a str {
        match work {
            _ if self.format < COLLECTIONS => PERSONS,
            Work::One(on, _) | Work::Batch(on, _) | Work::Refuse { on, is_transaction: false, .. } => on.collection,
            Work::Transaction(..)
            | Work::Refuse { is_transaction: true, .. }
            | Work::Define(_)
            | Work::Drop { .. }
            | Work::GiveUp { .. }
            | Work::Advance { .. }
            | Work::DoesNotFit { .. }
            | Work::Expire { .. }
            | Work::PauseExpiry { .. }
            | Work::NoteFile { .. } => "",
        }
    }

    fn work(&mut self, command: &Command<'_>, changes: &mut Vec<Change>) -> Applied {
        match &command.work {
            Work::One(on, operation) => {
                if let Err(outcome) = self.is_as_known(on, Fault::WritesOfAnyEpoch) {
                    return Applied { id: operation.id.to_owned(), ..self.answer(outcome) };
                }
                let mut budget = self.budget();
                let (outcome, record) = self.operate(on.collection, operation, &mut budget, changes);
                Applied { id: operation.id.to_owned(), record, ..self.answer(outcome) }
            }
            Work::Batch(on, operations) => {
                self.all_or_none(std::slice::from_ref(on), operations.iter().map(|one| (on.collection, one)), changes)
            }
            Work::Transaction(collections, operations) => {
                let operations = operations.iter().map(|(at, one)| (collections[usize::from(*at)].collection, one));
                self.all_or_none(collections, operations, changes)
            }
            Work::Refuse { on, problem, .. } => {
                // That there is no such collection may be what is wrong with the request.
                let known = self.is_as_known(on, Fault::WritesOfAnyEpoch).or_else(|outcome| match outcome {
                    Outcome::NoCollection if on.epoch.is_none() => Ok(()),
                    other => Err(other),
                });
                self.answer(known.err().unwrap_or_else(|| Outcome::Refused((*problem).into())))
            }
            Work::Define(define) => {
                let outcome = self.define(define, changes);
                self.answer(outcome)
            }
            Work::Drop { collection, condition, with_records } => {
                let outcome = self.drop_collection(collection, *condition, *with_records, changes);
                self.answer(outcome)
            }
            Work::GiveUp { collection } => {
                let outcome = self.give_up(collection);
                self.answer(outcome)
            }
            Work::Advance { on, upto } => {
                let outcome =
                    self.is_as_known(on, Fault::StepsOfAnyEpoch).map(|()| self.advance(on.collection, *upto, changes));
                self.answer(outcome.unwrap_or_else(|outcome| outcome))
            }
            Work::DoesNotFit { on, id, tag, pointer, rule } => {
                let outcome = self.is_as_known(on, Fault::StepsOfAnyEpoch);
                let outcome = outcome.map(|()| self.does_not_fit(on.collection, (*id, *tag), pointer, rule));
                self.answer(outcome.unwrap_or_else(|outcome| outcome))
            }
            Work::Expire { on, upto_ms } => {
                let outcome = self
                    .is_as_known(on, Fault::StepsOfAnyEpoch)
                    .map(|()| self.expire(on.collection, *upto_ms, changes));
                self.answer(outcome.unwrap_or_else(|outcome| outcome))
            }
            Work::PauseExpiry { paused } => {
                self.settings.expiry_paused = *paused;
                self.answer(Outcome::Stepped)
            }
            Work::NoteFile { hash } => {
                self.settings.file = Some(*hash);
                self.answer(Outcome::Stepped)
            }
        }
    }

    /// Is the collection as the leader knew it when it checked the request? In format 1 it always is. `unless`: the planted
    /// fault that leaves this rule out.
    fn is_as_known(&self, on: &On<'_>, unless: Fault) -> Result<(), Outcome> {
        if self.format < COLLECTIONS {
            return Ok(());
        }
        match self.collection(on.collection).and_then(Collection::epoch) {
            None => Err(Outcome::NoCollection),
            found if found == on.epoch || !holds(unless) => Ok(()),
            Some(_) => Err(Outcome::DefinitionChanged),
        }
    }

    /// What this entry may still read and write.
    fn budget(&self) -> Budget {
        if self.format < COLLECTIONS { Budget::Endless } else { Budget::of_entry() }
    }

    fn all_or_none<'a>(
        &mut self,
        collections: &[On<'_>],
        operations: impl ExactSizeIterator<Item = (&'a str, &'a Operation<'a>)>,
        changes: &mut Vec<Change>,
    ) -> Applied {
        if let Some(outcome) = collections.iter().find_map(|on| self.is_as_known(on, Fault::WritesOfAnyEpoch).err()) {
            return self.answer(outcome);
        }
        let before = (self.collections.clone(), self.data_sum, self.progress_sum, self.given_up, changes.len());
        let mut budget = self.budget();
        let mut operated = Vec::with_capacity(operations.len());
        let mut not_done = None;
        for (collection, operation) in operations {
            let (outcome, record) = self.operate(collection, operation, &mut budget, changes);
            if !outcome.is_done() {
                not_done = Some(if outcome.is_whole() { outcome.clone() } else { Outcome::BatchNotDone });
            }
            let (id, tag) = (operation.id.to_owned(), record.map(|record| record.tag()));
            operated.push(Operated { outcome, id, tag });
            if not_done.is_some() {
                break;
            }
        }
        let Some(outcome) = not_done else {
            return Applied { operations: operated, ..self.answer(Outcome::BatchDone) };
        };
        if !holds(Fault::HalfTransactions) {
            return Applied { operations: operated, ..self.answer(outcome) };
        }
        let known;
        (self.collections, self.data_sum, self.progress_sum, self.given_up, known) = before;
        changes.truncate(known);
        if outcome.is_whole() {
            return self.answer(outcome);
        }
        Applied { operations: operated, ..self.answer(outcome) }
    }

    pub(crate) fn seq(&self) -> Seq {
        self.applied.seq
    }
}

impl Outcome {
    /// Kept under a key. The others are no answers to a client, or cost nothing to find again.
    fn is_kept(&self) -> bool {
        !matches!(self, Outcome::Invalid(_) | Outcome::DefinitionChanged | Outcome::Contention | Outcome::NoCollection)
    }

    /// Of one operation it is the outcome of the whole command. Only what is wrong with a patch is kept as an operation's: a
    /// snapshot has one reason for `Invalid`.
    fn is_whole(&self) -> bool {
        match self {
            Outcome::Invalid(what) => *what != PATCH_TAKES_ID,
            Outcome::DefinitionChanged | Outcome::Contention | Outcome::EntryTooLarge => true,
            _ => false,
        }
    }
}
