//! A write on its way to an outcome that a client may see.
//!
//! ```text
//!   open for writes? ──no──▶ not-leader, before any look at the data
//!     │ yes
//!     ▼
//!   the view ──Plan──▶ the log ──DefinitionChanged, NoCollection, Contention──▶ the view again, within the write's time; then 503
//!     │                  └───────────────────────────────────────────────────▶ the outcome
//!     └──Refusal── with a key: into the log, so that a known key gives its own answer
//!              └── without: after a read index, on a view that includes all that was committed before
//! ```
//!
//! In format 1 there are only persons and no definitions: such a write is decided where it is applied, in one try.
//!
//! Who was deposed and has not noticed does not answer from old data: neither way leads through without a majority.

use super::asked::{Asked, Op, Ready};
use super::context::Context;
use super::plan::{Plan, Refusal, Shape, is_much};
use super::problem::{Code, Problem};
use super::proposal::write_within;
use super::refusals::{Path, contention, needs_later_format, not_confirmed, not_open};
use super::turns::{NoTurn, Turn};
use crate::wall_clock;
use leasehold_documents::{
    Applied, COLLECTIONS, Command, Definition, Documents, Form, Id, Key, On, Outcome, PERSONS, Work, tag_of,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// Pauses between two tries. The first is over before a disk has answered; a definition may take a while to stand still.
const PAUSE_FIRST: Duration = Duration::from_millis(1);
const PAUSE_MOST: Duration = Duration::from_millis(50);

/// What is to be written.
pub(super) struct Writing<'a> {
    /// Of the request.
    pub(super) path: Path<'a>,
    pub(super) shape: Shape,
    pub(super) all: &'a [Asked<'a>],
    /// The client's key.
    pub(super) key: Option<&'a str>,
    /// What the request is recognized by under its key, as format 2 has it. 0 without a key.
    pub(super) request: u128,
    /// It has parameters, which format 1 has not.
    pub(super) has_query: bool,
    /// How long it may take.
    pub(super) time: Duration,
}

/// The definition of a collection by now, for the words of a refusal.
pub(super) fn definition(documents: &Documents, collection: &str) -> Option<Arc<Definition>> {
    documents.collection(collection).and_then(|found| found.defined()).map(|defined| Arc::clone(&defined.definition))
}

/// `persons` is what each cluster begins with.
fn is_of_persons(documents: &Documents) -> bool {
    documents.collection(PERSONS).is_none_or(|found| found.definition().form == Form::Persons)
}

impl Writing<'_> {
    /// Writes it.
    pub(super) async fn done(&self, context: &Context) -> Result<Applied, Problem> {
        let handle = &context.handle;
        let deadline = Instant::now() + self.time;
        let (mut pause, mut confirmed, mut turn) = (PAUSE_FIRST, false, None);
        loop {
            let documents = handle.documents();
            if documents.format() < COLLECTIONS && handle.format() < COLLECTIONS {
                if !self.is_of_format_1() {
                    return Err(needs_later_format(context, COLLECTIONS, self.path));
                }
                let plan = Plan::of_persons(&documents, self.all)?;
                let key = self.key(&documents);
                // An older view is not kept alive while this one waits.
                drop(documents);
                let answer = self.propose(context, plan.command(self.shape, 0, key), deadline).await?;
                // The format was raised meanwhile.
                if !is_race(&answer.outcome) {
                    return Ok(answer);
                }
            }
            if !handle.leads() {
                return Err(not_open(context, self.path));
            }
            let documents = handle.documents();
            // Where only the view is behind, the entry that raises the format is applied in a moment.
            if documents.format() >= COLLECTIONS {
                if turn.is_none() && self.may_race(&documents) {
                    turn = Some(self.turn(context, &documents, deadline).await?);
                    // Others were first, meanwhile.
                    continue;
                }
                let (now_ms, key) = (wall_clock::now_ms(), self.key(&documents));
                let plan = Plan::of(&documents, &context.schemas, self.all, now_ms).await;
                drop(documents);
                match plan {
                    Ok(plan) => {
                        let answer = self.propose(context, plan.command(self.shape, now_ms, key), deadline).await?;
                        if !is_race(&answer.outcome) {
                            return Ok(answer);
                        }
                    }
                    // Not of the request's making: it may be done at the next try.
                    Err(refusal) if refusal.problem.code() == Code::Internal => return Err(*refusal.problem),
                    Err(refusal) if key.is_some() => {
                        let answer = self.refuse(context, &refusal, (now_ms, key), deadline).await?;
                        if !is_race(&answer.outcome) {
                            return Ok(answer);
                        }
                    }
                    // The view was not older than that.
                    Err(refusal) if confirmed => return Err(*refusal.problem),
                    Err(_) => {
                        let applied = handle.read_index(deadline).await;
                        applied.map_err(|error| not_confirmed(context, error, self.path))?;
                        confirmed = true;
                        continue;
                    }
                }
            }
            if Instant::now() + pause >= deadline {
                return Err(contention());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MOST);
        }
    }

    /// A request that format 1 has is recognized as there, so that its answer is found after an update, too.
    /// Otherwise the collection's origin belongs to it: in one that is defined again nothing was done yet.
    fn key(&self, documents: &Documents) -> Option<Key<'_>> {
        let is_old = is_of_persons(documents) && !self.has_query && self.is_of_format_1();
        let first = self.all.first().filter(|_| self.shape != Shape::Transaction);
        let defined = first.and_then(|one| documents.collection(&one.collection)?.defined());
        let created = defined.map_or(0, |defined| defined.created.0);
        let request = || {
            let old = is_old.then(|| self.request_of_format_1()).flatten();
            old.unwrap_or_else(|| self.request.wrapping_add(created.into()))
        };
        self.key.map(|name| Key { name, request: request() })
    }

    /// Format 1 has all of it.
    fn is_of_format_1(&self) -> bool {
        let is_old = |one: &Asked<'_>| one.collection == PERSONS && one.op != Op::Check && one.expires_in.is_none();
        self.shape != Shape::Transaction && self.all.iter().all(is_old)
    }

    /// What format 1 recognizes a request by: clients may repeat what an older release did under their key. None: it would
    /// have refused the request.
    fn request_of_format_1(&self) -> Option<u128> {
        // Not an id that was made here: the same request again makes another one.
        let ready = |one: &Asked<'_>| one.ready_as(&Definition::persons(), Uuid::nil()).ok();
        let one = |one: &Asked<'_>| {
            let (Ready { id, text }, word) = (ready(one)?, one.conditions.word());
            Some(match (self.shape, one.op) {
                (Shape::One, Op::Create) => format!("POST /{PERSONS}\n{text}"),
                (Shape::One, Op::Put) => format!("PUT /{PERSONS}/{id}\n{word}\n{text}"),
                (Shape::One, Op::Patch) => format!("PATCH /{PERSONS}/{id}\n{word}\n{text}"),
                (Shape::One, Op::Delete | Op::Check) => format!("DELETE /{PERSONS}/{id}\n{word}"),
                (Shape::Batch | Shape::Transaction, op) => format!("{} {id} {word} {text}\n", op.word()),
            })
        };
        let all = self.all.iter().map(one).collect::<Option<String>>()?;
        Some(tag_of(&if self.shape == Shape::One { all } else { format!("POST /{PERSONS}:batch\n{all}") }))
    }

    async fn propose(&self, context: &Context, command: Command<'_>, deadline: Instant) -> Result<Applied, Problem> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(contention());
        }
        write_within(context, self.path, &command, left).await
    }

    /// A key that is known gives its own answer; otherwise this one is kept.
    async fn refuse(
        &self,
        context: &Context,
        refusal: &Refusal,
        (time_ms, key): (u64, Option<Key<'_>>),
        deadline: Instant,
    ) -> Result<Applied, Problem> {
        let problem = refusal.problem.to_value().to_string();
        let on = On::at(&refusal.collection, refusal.epoch);
        let work = Work::Refuse { on, is_transaction: self.shape == Shape::Transaction, problem: &problem };
        let command = Command { time_ms, key, work };
        self.propose(context, command, deadline).await
    }

    /// A single patch that will be merged here. Batches and transactions take no turns: two of them could wait for each
    /// other.
    fn may_race(&self, documents: &Documents) -> bool {
        let [one] = self.all else { return false };
        let defined = documents.collection(&one.collection).and_then(|found| found.defined());
        let has_schema = |definition: &Definition| definition.schema.is_some();
        let is_long = || {
            let found = documents.collection(&one.collection);
            let id = found.zip(one.id.as_deref()).and_then(|(found, id)| found.definition().id.parse(id));
            is_much(
                found.zip(id).and_then(|(found, id)| found.get(id)),
                std::str::from_utf8(one.part).unwrap_or_default(),
            )
        };
        self.shape == Shape::One
            && one.op == Op::Patch
            && defined.is_some_and(|defined| {
                has_schema(&defined.definition)
                    || defined.pending.as_ref().is_some_and(|pending| has_schema(&pending.definition))
                    || one.expires_in.is_some()
                    || is_long()
            })
    }

    /// Waits for those that patch the same record.
    async fn turn(&self, context: &Context, documents: &Documents, deadline: Instant) -> Result<Option<Turn>, Problem> {
        let Some(one) = self.all.first() else { return Ok(None) };
        let kind = documents.collection(&one.collection).and_then(|found| found.defined()).map(|it| it.definition.id);
        let id: Option<Id> = kind.zip(one.id.as_deref()).and_then(|(kind, id)| kind.parse(id)).map(|id| id.to_owned());
        // What is no id is refused in a moment.
        let Some(id) = id else { return Ok(None) };
        match context.turns.take(&one.collection, &id, deadline).await {
            Ok(turn) => Ok(Some(turn)),
            Err(NoTurn::Full) => Err(Problem::new(Code::Overloaded, "too many patches are waiting; not done")),
            Err(NoTurn::Late) => Err(contention()),
        }
    }
}

/// No answer to a client: it is tried again. A collection that is gone is found by name then.
fn is_race(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::DefinitionChanged | Outcome::NoCollection | Outcome::Contention)
}
