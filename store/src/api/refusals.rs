//! The errors for writes that were not done, and for records and paths that do not exist.

use leasehold_replication::{Limit, Phase, Refusal, ReplicaId};
use std::fmt;
use uuid::Uuid;

use super::asked::bad_id;
use super::context::Context;
use super::leader::leader_seen;
use super::person::parse_id;
use super::problem::{Code, Problem};
use super::{percent, record};
use crate::handle::{Handle, ReadError, WriteError};
use leasehold_documents::{Definition, ENTRY_BYTES_MAX, GONE_BYTES_MAX, Id, IdKind, Outcome, readable};

/// A write of that collection that was committed and decided as not to be done.
pub(super) fn declined(outcome: &Outcome, id: &Id, collection: &str, definition: Option<&Definition>) -> Problem {
    match outcome {
        Outcome::Conflict => {
            let path = format!("/{collection}/{}", percent::encode(&id.to_string()));
            let what = format!("a record with the id {id} and different content exists; PUT {path} replaces it");
            Problem::new(Code::Conflict, what)
        }
        Outcome::Missing => unknown_id(id),
        Outcome::PreconditionFailed => {
            Problem::new(Code::PreconditionFailed, format!("the record {id} does not meet the condition"))
        }
        Outcome::KeyReused => Problem::new(
            Code::KeyReused,
            "another request used this Idempotency-Key; a key is valid for one request only. Not done",
        ),
        Outcome::UniqueConflict { index, id: other } => unique_conflict(*index, other, definition),
        Outcome::TooManyRecords => {
            let most = definition.and_then(|definition| definition.records_max);
            let allowed = most.map_or("as many records as it may have".to_owned(), |most| {
                format!("the {most} records that it may have (`maxRecords`)")
            });
            let what = format!("the collection {collection} has {allowed}; delete some, or raise the limit. Not done");
            Problem::new(Code::TooManyRecords, what).with("maxRecords", most)
        }
        Outcome::RecordTooLarge => record::too_large(),
        Outcome::EntryTooLarge => entry_too_large(),
        Outcome::BadValue { pointer, why } => {
            let expires = definition.and_then(|definition| definition.expires.as_ref());
            let is_time = expires.is_some_and(|path| path.to_pointer() == **pointer);
            let rule = if is_time { "expires" } else { "index" };
            Problem::new(Code::InvalidRecord, format!("the value at {pointer} of the record: {why}. Not done"))
                .with("pointer", &**pointer)
                .with("rule", rule)
        }
        Outcome::NoCollection => unknown_collection(collection),
        Outcome::Refused(problem) => Problem::of_body(problem).unwrap_or_else(|| {
            // A later release may have kept it.
            Problem::new(Code::Internal, "this write was refused for a reason that this release does not know")
        }),
        Outcome::DefinitionChanged | Outcome::Contention => contention(),
        // Only commands that were made a few lines above come here; these would be faults of ours.
        Outcome::Created
        | Outcome::Same
        | Outcome::Replaced
        | Outcome::Deleted
        | Outcome::Invalid(_)
        | Outcome::BatchDone
        | Outcome::BatchNotDone
        | Outcome::Checked
        | Outcome::Defined { .. }
        | Outcome::Unchanged
        | Outcome::Pending
        | Outcome::Dropped
        | Outcome::Stepped
        | Outcome::DefinitionPending
        | Outcome::Immutable
        | Outcome::WouldExpire(_)
        | Outcome::NotEmpty(_)
        | Outcome::TooManyCollections => {
            tracing::error!(?outcome, %id, "a write had an impossible outcome");
            Problem::new(Code::Internal, "the write had an impossible outcome; see the log")
        }
    }
}

/// There is no such collection.
pub(super) fn unknown_collection(name: &str) -> Problem {
    let what = format!("there is no collection {name:?}; PUT /api/collections/<name> defines one");
    Problem::new(Code::UnknownCollection, what)
}

pub(super) fn entry_too_large() -> Problem {
    let what = format!(
        "the records that the operations read and write have more than {ENTRY_BYTES_MAX} bytes together, or those that they \
         remove and replace more than {GONE_BYTES_MAX}; send fewer operations at once. Not done"
    );
    Problem::new(Code::EntryTooLarge, what).with("limitBytes", ENTRY_BYTES_MAX)
}

/// Each try met a change by others, until the write's time was over.
pub(super) fn contention() -> Problem {
    let what = "others changed the record, or the definition of its collection, each time this write was tried; not done, \
                and safe to send again";
    Problem::new(Code::Contention, what)
}

fn unique_conflict(index: u8, id: &Id, definition: Option<&Definition>) -> Problem {
    let found = definition.and_then(|definition| definition.indexes.get(usize::from(index)));
    let fields: Vec<String> =
        found.iter().flat_map(|index| &index.fields).map(|field| field.path.to_pointer()).collect();
    let named = if fields.is_empty() { "of a unique index".to_owned() } else { format!("at {}", fields.join(", ")) };
    let what = format!("the record {id} has the same values {named}, which must be unique; change them. Not done");
    Problem::new(Code::UniqueConflict, what).with("index", index).with("fields", fields).with("id", id.to_string())
}

/// The path of a request, for an answer that names another replica: hardly ever written out.
pub(super) type Path<'a> = &'a (dyn fmt::Display + Sync);

/// Why this replica accepts no writes at present: what [`Handle::write`] would say, before anyone looks at its data.
pub(super) fn not_open(context: &Context, path: Path<'_>) -> Problem {
    let handle = &context.handle;
    if let Some(why) = handle.starting() {
        return not_ready(format!("the replica is starting: {why}"));
    }
    if !handle.is_alive() {
        return not_written(context, WriteError::Closed, path);
    }
    let refusal = match handle.status().map(|status| status.phase) {
        Some(Phase::Recovering) => Refusal::Recovering,
        Some(Phase::Failed) => Refusal::Failed,
        Some(Phase::WentBack) => Refusal::WentBack,
        Some(Phase::Diverged) => Refusal::Diverged,
        Some(Phase::Starting | Phase::Learner | Phase::Follower | Phase::Leading | Phase::Draining) | None => {
            Refusal::NotLeader
        }
    };
    not_written(context, WriteError::Refused(refusal), path)
}

/// A refusal that could not be confirmed: this replica may have been deposed, and its data may be old.
pub(super) fn not_confirmed(context: &Context, error: ReadError, path: Path<'_>) -> Problem {
    match error {
        ReadError::Refused(refusal) => not_written(context, WriteError::Refused(refusal), path),
        ReadError::Closed => not_written(context, WriteError::Closed, path),
        ReadError::Late => {
            let what = "no majority confirmed in time that this replica still leads; not done";
            Problem::new(Code::NoMajority, what)
        }
    }
}

/// The error for a write that was not done, or may not have been.
pub(super) fn not_written(context: &Context, error: WriteError, path: Path<'_>) -> Problem {
    let (code, detail) = match error {
        WriteError::Refused(Refusal::NotLeader) => return not_leader(context, path),
        WriteError::Refused(Refusal::Recovering) => {
            (Code::Recovering, "this replica is becoming the leader and still collects promises; not done".to_owned())
        }
        WriteError::Refused(Refusal::NoMajority) => {
            (Code::NoMajority, "the leader has no contact with a majority of the voters; not done".to_owned())
        }
        WriteError::Refused(Refusal::TooFewVoters { have, floor }) => {
            (Code::TooFewVoters, format!("{have} replicas count for majorities, and at least {floor} must; not done"))
        }
        WriteError::Refused(Refusal::Bootstrapping) => {
            (Code::Bootstrapping, "the Lease does not carry the new cluster's id yet; not done".to_owned())
        }
        WriteError::Refused(Refusal::OutOfRoom { limit, replica }) => return out_of_room(context, limit, replica),
        WriteError::Refused(Refusal::Overloaded) => {
            (Code::Overloaded, "too many writes are waiting; not done".to_owned())
        }
        WriteError::Refused(Refusal::DiskStalled) => {
            (Code::DiskStalled, "the leader's disk hangs, and this write would wait for it; not done".to_owned())
        }
        WriteError::Refused(Refusal::Failed) => {
            (Code::Failed, "this replica has failed (its log says why); not done".to_owned())
        }
        WriteError::Refused(Refusal::WentBack) => {
            (Code::Failed, "this replica's volume went back in time (its status says what to do); not done".to_owned())
        }
        WriteError::Refused(Refusal::Diverged) => {
            return diverged(&context.handle, "not done; send it to another replica");
        }
        WriteError::Overwritten => {
            (Code::Overwritten, "a later leader replaced the write with another entry; not done".to_owned())
        }
        WriteError::Closed => (Code::Stopping, "this replica is shutting down; not done".to_owned()),
        WriteError::Unknown => {
            let waited_ms = context.config.write_timeout.as_millis();
            let what = format!(
                "not confirmed as committed within {waited_ms} ms; the write may still be done, or never. Sending the \
                 same record under the same id again is safe, and so is any request under the same Idempotency-Key"
            );
            (Code::OutcomeUnknown, what)
        }
    };
    Problem::new(code, detail)
}

/// What the write needs is not in force yet: who holds it back. Only the leader knows.
pub(super) fn needs_later_format(context: &Context, format: u32, path: Path<'_>) -> Problem {
    let Some(status) = context.handle.status().filter(|status| status.open) else { return not_leader(context, path) };
    let formats = &status.formats;
    let pods: Vec<String> = formats.held_back_by.iter().map(ToString::to_string).collect();
    let why = match pods.as_slice() {
        [] if formats.build < format => format!("the leader's own build reads {}", readable(formats.build)),
        [] => "it is about to be raised".to_owned(),
        pods => format!("it is held back by {}", pods.join(", ")),
    };
    let what = format!(
        "the request needs format {format}, and format {} is in force: {why}. Not done; send it again when every pod runs \
         the later build and allows its format",
        formats.in_force
    );
    let pods = formats.held_back_by.iter().map(|one| serde_json::json!({ "name": one.name, "why": one.why.word() }));
    Problem::new(Code::UpgradePending, what)
        .with("format", format)
        .with("inForce", formats.in_force)
        .with("heldBackBy", pods.collect::<Vec<_>>())
}

/// Which limit, of which pod, and what helps.
fn out_of_room(context: &Context, limit: Limit, replica: ReplicaId) -> Problem {
    let handle = &context.handle;
    let is_own = handle.replica() == Some(replica);
    let status = handle.status();
    let named = || status.as_ref()?.followers.iter().find(|one| one.replica == replica).map(|one| one.name.clone());
    let pod = if is_own { handle.name().to_owned() } else { named().unwrap_or_else(|| replica.to_string()) };
    let room = handle.room();
    let word = limit_word(limit);
    let (figures, more) = match limit {
        Limit::Memory => {
            ((Some(room.memory_used_bytes), Some(room.memory_allowed_bytes)), "give the containers more memory")
        }
        Limit::Disk => ((room.disk_used_bytes, room.disk_allowed_bytes), "enlarge the volumes"),
    };
    let how_much = match figures {
        (Some(used), Some(allowed)) if is_own => format!("{pod} uses {used} of {allowed} bytes of its {word}"),
        _ => format!("{pod} is over its limit of {word} and is needed for a majority"),
    };
    let what = format!(
        "{how_much}; delete records or {more}. Deletes, and updates that make a record shorter, are still accepted; \
         not done, and safe to send again later"
    );
    let mut problem = Problem::new(Code::OutOfRoom, what).with("limit", word).with("pod", pod);
    if let (true, (Some(used), Some(allowed))) = (is_own, figures) {
        problem = problem.with("used", used).with("allowed", allowed);
    }
    problem
}

/// Who leads instead, if known.
fn not_leader(context: &Context, path: Path<'_>) -> Problem {
    // A leader that has just lost its leadership may still see itself in its status: it cannot name another one.
    let Some(leader) = leader_seen(&context.handle).filter(|leader| leader.name != context.handle.name()) else {
        return Problem::new(Code::NoLeader, "no leader is known at the moment; not done");
    };
    let what = match &leader.address {
        Some(address) => format!("{} leads, at {address}; send the write there. Not done", leader.name),
        None => format!("{} leads, but its address is unknown here. Not done", leader.name),
    };
    let named = serde_json::json!({ "name": leader.name, "address": leader.address, "term": leader.term });
    let problem = Problem::new(Code::NotLeader, what).with("leader", named);
    match leader.address {
        Some(address) => problem.location(&format!("{}://{address}{path}", context.config.scheme)),
        None => problem,
    }
}

/// The data here are not those of the others: how, and the way out. `then`: what becomes of the request.
pub(super) fn diverged(handle: &Handle, then: &str) -> Problem {
    let status = handle.status();
    let mark = status.as_ref().and_then(|status| status.diverged.as_ref());
    // The refusal may be younger than the published status.
    let why = mark.map_or("the data of this replica have diverged".to_owned(), |mark| mark.advice(handle.name()));
    Problem::new(Code::Diverged, format!("{why}; {then}"))
}

/// Why this replica answers no reads.
pub(super) fn not_readable(handle: &Handle, why: String) -> Problem {
    if handle.has_diverged() { diverged(handle, "ask another replica") } else { not_ready(why) }
}

pub(super) fn not_ready(why: String) -> Problem {
    Problem::new(Code::NotReady, why)
}

pub(super) fn unknown_id(id: impl std::fmt::Display) -> Problem {
    Problem::new(Code::UnknownId, format!("there is no record with the id {id}"))
}

/// The same words as in a 507 and in the status.
pub(super) fn limit_word(limit: Limit) -> &'static str {
    match limit {
        Limit::Memory => "memory",
        Limit::Disk => "disk",
    }
}

/// The id of a person in a path, decoded.
pub(super) fn id_of_path(text: &str) -> Result<Uuid, Problem> {
    parse_id(text).ok_or_else(|| bad_id(IdKind::Uuid, text))
}
