//! A request played over the leader's view: what goes into the log.
//!
//! ```text
//!   Asked, one after the other ──the view, and what those before leave──▶ Step: the operation, as it is proposed
//!                                                                     └─▶ schemas, on a blocking thread
//!                              └─▶ Refusal: what the data say against it
//! ```
//!
//! In a collection with a schema, in force or pending, and of a long record each patch becomes a put of the result, on the
//! tag that stands at that point. Elsewhere patches are merged where they are applied. Nothing here decides alone: the step carries what was
//! seen, and where that has changed the outcome is `Contention` or `DefinitionChanged`, and it is played again.

use super::asked::{Asked, Op, Ready};
use super::expires_in::Expiry;
use super::problem::{Code, Problem};
use super::record::{invalid, too_large};
use super::refusals::{entry_too_large, unknown_collection};
use crate::schema::{Schemas, Violation};
use leasehold_documents::{
    Action, Collection, Command, Condition, Defined, Definition, Documents, ENTRY_BYTES_MAX, Id, Key, MERGED_BYTES_MAX,
    On, Operation, PERSONS, RECORD_BYTES_MAX, Record, Seen, Work, merge,
};
use leasehold_replication::Seq;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// What will be proposed.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    /// Each collection once, at its epoch.
    on: Vec<(Cow<'a, str>, Option<Seq>)>,
    steps: Vec<Step>,
}

/// One operation.
#[derive(Debug)]
struct Step {
    /// By its place among the collections.
    on: u16,
    id: Id,
    op: Op,
    text: String,
    condition: Condition,
    seen: Seen,
    /// The schemas that the text must fit.
    schemas: Vec<Arc<str>>,
    /// Where the text is in the body.
    pointer: String,
}

/// The form of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    One,
    Batch,
    Transaction,
}

/// The request cannot be done, by what the view says. The problem is short, for it may be kept under a key.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) problem: Box<Problem>,
    /// The collection that it is about.
    pub(super) collection: String,
    /// Its epoch; 0 if there is no such collection.
    pub(super) epoch: Seq,
}

impl Refusal {
    fn new(problem: Problem, collection: String, epoch: Seq) -> Refusal {
        Refusal { problem: Box::new(problem.shortened()), collection, epoch }
    }
}

impl<'r> Plan<'r> {
    /// Plays the request over this view.
    pub(super) async fn of(
        documents: &Documents,
        schemas: &Schemas,
        all: &'r [Asked<'_>],
        now_ms: u64,
    ) -> Result<Plan<'r>, Refusal> {
        let mut play = Play { documents, on: Vec::new(), after: HashMap::new(), bytes: 0, patched_bytes: 0, now_ms };
        let mut steps = Vec::with_capacity(all.len());
        for asked in all {
            let epoch = || documents.collection(&asked.collection).and_then(Collection::epoch).unwrap_or(Seq(0));
            let refused = |problem| Refusal::new(problem, asked.collection.clone().into_owned(), epoch());
            steps.push(play.step(asked).map_err(refused)?);
        }
        let on = play.on;
        let steps = checked(schemas, steps).await.map_err(|(at, problem)| {
            let (collection, epoch) = at.and_then(|at| on.get(usize::from(at))).cloned().unwrap_or_default();
            Refusal::new(problem, collection.into_owned(), epoch.unwrap_or(Seq(0)))
        })?;
        Ok(Plan { on, steps })
    }

    /// In format 1, whose only collection is `persons`: each condition and patch is decided where it is applied.
    pub(super) fn of_persons(documents: &Documents, all: &'r [Asked<'_>]) -> Result<Plan<'r>, Problem> {
        let persons = documents.collection(PERSONS);
        let step = |asked: &Asked<'_>| {
            let Ready { id, text } = asked.ready(&Definition::persons())?;
            let condition = asked.conditions.condition_for(|| persons.and_then(|all| all.get(&id)).map(Record::tag));
            let (op, schemas, pointer) = (asked.op, Vec::new(), String::new());
            Ok(Step { on: 0, id, op, text, condition, seen: Seen::Any, schemas, pointer })
        };
        let steps = all.iter().map(step).collect::<Result<Vec<Step>, Problem>>()?;
        Ok(Plan { on: vec![(PERSONS.into(), None)], steps })
    }

    /// As it goes into the log.
    pub(super) fn command<'a>(&'a self, shape: Shape, time_ms: u64, key: Option<Key<'a>>) -> Command<'a> {
        let mut on = self.on.iter().map(|(name, epoch)| On { collection: name, epoch: *epoch });
        let mut operations = self.steps.iter().map(Step::operation);
        let work = match shape {
            Shape::One => Work::One(
                on.next().expect("each step has its collection"),
                operations.next().expect("a request has an operation"),
            ),
            Shape::Batch => Work::Batch(on.next().expect("each step has its collection"), operations.collect()),
            Shape::Transaction => {
                Work::Transaction(on.collect(), self.steps.iter().map(|step| step.on).zip(operations).collect())
            }
        };
        Command { time_ms, key, work }
    }
}

impl Step {
    fn operation(&self) -> Operation<'_> {
        let action = match self.op {
            Op::Create => Action::Create { record: &self.text },
            Op::Put => Action::Put { record: &self.text },
            Op::Patch => Action::Patch { patch: &self.text },
            Op::Delete => Action::Delete,
            Op::Check => Action::Check,
        };
        Operation { id: self.id.as_ref(), action, condition: self.condition, seen: self.seen }
    }
}

/// A request that is being played.
struct Play<'a, 'r> {
    documents: &'a Documents,
    on: Vec<(Cow<'r, str>, Option<Seq>)>,
    /// The records that earlier operations leave, by the collection's place; none: removed.
    after: HashMap<(u16, Id), Option<Record>>,
    /// Of the records that were read and made here.
    bytes: usize,
    /// Of the records and patches that are merged where they are applied, too.
    patched_bytes: usize,
    now_ms: u64,
}

impl<'r> Play<'_, 'r> {
    fn step(&mut self, asked: &'r Asked<'_>) -> Result<Step, Problem> {
        let found = self.documents.collection(&asked.collection);
        let Some((collection, defined)) = found.and_then(|found| Some((found, found.defined()?))) else {
            return Err(unknown_collection(&asked.collection));
        };
        let Ready { id, mut text } = asked.ready(&defined.definition)?;
        let on = self.place(&asked.collection, defined.epoch);
        let mut schemas: Vec<Arc<str>> = schemas_of(defined).cloned().collect();
        // Shared: a record may be large, and a request may name it a thousand times.
        let present = match self.after.get(&(on, id.clone())) {
            Some(after) => after.clone(),
            None => collection.get(&id).cloned(),
        };
        let tag = || present.as_ref().map(Record::tag);
        let condition = asked.conditions.condition_for(tag);
        let (mut op, mut seen) = (asked.op, Seen::Any);
        let expires = asked.expires_in.map(|after| Expiry::of(defined, self.now_ms, after)).transpose()?;
        match op {
            Op::Create | Op::Put => {
                if let Some(expires) = expires {
                    text = self.merged(&text, &expires.patch(&text, &asked.pointer())?)?;
                }
            }
            Op::Patch if !schemas.is_empty() || expires.is_some() || is_much(present.as_ref(), &text) => {
                seen = tag().map_or(Seen::Absent, Seen::Tag);
                match &present {
                    Some(present) if condition.holds(Some(present)) => {
                        text = self.merged(present.as_str(), &text)?;
                        if let Some(expires) = expires {
                            text = self.merged(&text, &expires.patch(&text, &asked.pointer())?)?;
                        }
                        op = Op::Put;
                    }
                    // Its outcome is `Missing`, or that the condition does not hold, if the record is still as it was seen.
                    Some(_) | None => schemas.clear(),
                }
            }
            Op::Patch | Op::Delete | Op::Check => schemas.clear(),
        }
        let after = match op {
            Op::Create | Op::Put => Some(Some(Record::from(text.as_str()))),
            Op::Delete => Some(None),
            Op::Patch => present.filter(|_| asked.among.is_some()).and_then(|present| self.patched(&present, &text)),
            Op::Check => None,
        };
        // Only those that come after it need it.
        if let Some(after) = after.filter(|_| asked.among.is_some()) {
            self.after.insert((on, id.clone()), after);
        }
        Ok(Step { on, id, op, text, condition, seen, schemas, pointer: asked.pointer() })
    }

    /// The place of a collection among those of the request.
    fn place(&mut self, name: &'r str, epoch: Seq) -> u16 {
        let at = self.on.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            self.on.push((name.into(), Some(epoch)));
            self.on.len() - 1
        });
        // There are at most as many as operations.
        u16::try_from(at).expect("a request has at most 1,000 operations")
    }

    /// What a patch leaves that is merged where it is applied: whether a later one is much to merge depends on it. None: nobody
    /// knows, and apply refuses so much.
    fn patched(&mut self, present: &Record, patch: &str) -> Option<Option<Record>> {
        self.patched_bytes += present.as_str().len() + patch.len();
        let merged = (self.patched_bytes <= ENTRY_BYTES_MAX).then(|| merge(present.as_str(), patch));
        Some(Some(Record::from(merged?.ok()?)))
    }

    fn merged(&mut self, record: &str, patch: &str) -> Result<String, Problem> {
        let merged = merge(record, patch)
            .map_err(|error| Problem::new(Code::InvalidRecord, format!("the patch cannot be merged: {error}")))?;
        if merged.len() > RECORD_BYTES_MAX {
            return Err(too_large());
        }
        // What the log would not accept is not worth more work here.
        self.bytes += record.len() + merged.len();
        if self.bytes > 2 * ENTRY_BYTES_MAX { Err(entry_too_large()) } else { Ok(merged) }
    }
}

/// More to merge than is merged where it is applied.
pub(super) fn is_much(present: Option<&Record>, patch: &str) -> bool {
    present.is_some_and(|present| present.as_str().len() + patch.len() > MERGED_BYTES_MAX)
}

/// In force, and pending: new records must fit both.
fn schemas_of(defined: &Defined) -> impl Iterator<Item = &Arc<str>> {
    let pending = defined.pending.as_ref().and_then(|pending| pending.definition.schema.as_ref());
    let in_force = defined.definition.schema.as_ref();
    in_force.into_iter().chain(pending.filter(move |pending| Some(*pending) != in_force))
}

/// Checks all schemas. An error: the collection's place, if it is about one.
async fn checked(schemas: &Schemas, steps: Vec<Step>) -> Result<Vec<Step>, (Option<u16>, Problem)> {
    if steps.iter().all(|step| step.schemas.is_empty()) {
        return Ok(steps);
    }
    let schemas = schemas.clone();
    // A schema may take long, and other requests must go on meanwhile.
    let all = tokio::task::spawn_blocking(move || {
        for step in &steps {
            for text in &step.schemas {
                let schema = schemas.of(text).map_err(|error| {
                    tracing::error!(%error, "a schema in force does not compile");
                    (Some(step.on), Problem::new(Code::Internal, "a schema in force cannot be used; see the log"))
                })?;
                schema.check(&step.text).map_err(|violation| (Some(step.on), violated(&step.pointer, &violation)))?;
            }
        }
        Ok(steps)
    });
    let stopped = |_| (None, Problem::new(Code::Internal, "the check of the schema ended early; see the log"));
    all.await.unwrap_or_else(|error| Err(stopped(error)))
}

fn violated(before: &str, violation: &Violation) -> Problem {
    let Violation { pointer, rule, value, what } = violation;
    invalid(what, &format!("{before}{pointer}"), rule, value)
}
