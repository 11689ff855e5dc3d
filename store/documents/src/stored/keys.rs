//! The answers to writes with a key, in `snapshot.json`.

use crate::keys::Kept;
use crate::outcome::PATCH_TAKES_ID;
use crate::stored::ids::StoredId;
use crate::{Applied, KEY_BYTES_MAX, Operated, Outcome, PERSONS, Record};
use leasehold_replication::Seq;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// One of the value of `"keys"`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoredKey {
    pub(super) key: String,
    /// Whose key it is: `persons` if it is omitted, a transaction's if it is empty.
    #[serde(default = "persons", skip_serializing_if = "is_persons")]
    pub(super) space: String,
    /// A hash, in hexadecimal digits.
    request: String,
    sequence: u64,
    outcome: StoredOutcome,
    #[serde(default, skip_serializing_if = "StoredId::is_none")]
    id: StoredId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    record: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    operations: Vec<(StoredOutcome, StoredId, Option<String>)>,
}

/// The outcomes that are remembered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum StoredOutcome {
    Created,
    Same,
    Replaced,
    Deleted,
    Conflict,
    Missing,
    PreconditionFailed,
    BatchDone,
    BatchNotDone,
    /// For an operation in a batch.
    Unreadable,
    // ---- since format 2
    Checked,
    UniqueConflict {
        index: u8,
        id: StoredId,
    },
    TooManyRecords,
    RecordTooLarge,
    EntryTooLarge,
    BadValue {
        pointer: String,
        why: String,
    },
    NoCollection,
    DefinitionChanged,
    Contention,
    /// A problem, as text.
    Refused(String),
    Defined {
        created: bool,
    },
    Unchanged,
    Pending,
    Dropped,
    Stepped,
    DefinitionPending,
    Immutable,
    WouldExpire(u64),
    NotEmpty(u64),
    TooManyCollections,
}

fn persons() -> String {
    PERSONS.to_owned()
}

fn is_persons(space: &str) -> bool {
    space == PERSONS
}

impl StoredKey {
    pub(super) fn new(space: &str, key: &str, kept: &Kept) -> Result<StoredKey, serde_json::Error> {
        let answer = &kept.answer;
        let record = answer.record.as_ref().map(|record| RawValue::from_string(record.as_str().to_owned()));
        let operation =
            |one: &Operated| ((&one.outcome).into(), (&one.id).into(), one.tag.map(|tag| format!("{tag:032x}")));
        Ok(StoredKey {
            key: key.to_owned(),
            space: space.to_owned(),
            request: format!("{:032x}", kept.request),
            sequence: answer.seq.0,
            outcome: (&answer.outcome).into(),
            id: (&answer.id).into(),
            record: record.transpose()?,
            operations: answer.operations.iter().map(operation).collect(),
        })
    }

    pub(super) fn answer(&self) -> Result<(u128, Applied), &'static str> {
        let hash = |digits: &str| u128::from_str_radix(digits, 16).map_err(|_| "a hash in it is not a number");
        let mut operations = Vec::with_capacity(self.operations.len());
        for (outcome, id, tag) in &self.operations {
            let tag = tag.as_deref().map(hash).transpose()?;
            operations.push(Operated { outcome: outcome.clone().into(), id: id.read(), tag });
        }
        if self.key.is_empty() || self.key.len() > KEY_BYTES_MAX {
            return Err("it is empty or too long");
        }
        let record = self.record.as_ref().map(|raw| Record::from(raw.get()));
        let (seq, outcome) = (Seq(self.sequence), self.outcome.clone().into());
        Ok((hash(&self.request)?, Applied { seq, outcome, id: self.id.read(), record, operations }))
    }
}

impl From<&Outcome> for StoredOutcome {
    fn from(outcome: &Outcome) -> StoredOutcome {
        match outcome {
            Outcome::Created => StoredOutcome::Created,
            Outcome::Same => StoredOutcome::Same,
            Outcome::Replaced => StoredOutcome::Replaced,
            Outcome::Deleted => StoredOutcome::Deleted,
            Outcome::Conflict => StoredOutcome::Conflict,
            Outcome::Missing => StoredOutcome::Missing,
            Outcome::PreconditionFailed => StoredOutcome::PreconditionFailed,
            Outcome::BatchDone => StoredOutcome::BatchDone,
            Outcome::BatchNotDone => StoredOutcome::BatchNotDone,
            // The reason is not kept: the API lets no such operation in.
            Outcome::Invalid(_) | Outcome::KeyReused => StoredOutcome::Unreadable,
            Outcome::Checked => StoredOutcome::Checked,
            Outcome::UniqueConflict { index, id } => StoredOutcome::UniqueConflict { index: *index, id: id.into() },
            Outcome::TooManyRecords => StoredOutcome::TooManyRecords,
            Outcome::RecordTooLarge => StoredOutcome::RecordTooLarge,
            Outcome::EntryTooLarge => StoredOutcome::EntryTooLarge,
            Outcome::BadValue { pointer, why } => {
                StoredOutcome::BadValue { pointer: pointer.to_string(), why: why.to_string() }
            }
            Outcome::NoCollection => StoredOutcome::NoCollection,
            Outcome::DefinitionChanged => StoredOutcome::DefinitionChanged,
            Outcome::Contention => StoredOutcome::Contention,
            Outcome::Refused(problem) => StoredOutcome::Refused(problem.to_string()),
            Outcome::Defined { created } => StoredOutcome::Defined { created: *created },
            Outcome::Unchanged => StoredOutcome::Unchanged,
            Outcome::Pending => StoredOutcome::Pending,
            Outcome::Dropped => StoredOutcome::Dropped,
            Outcome::Stepped => StoredOutcome::Stepped,
            Outcome::DefinitionPending => StoredOutcome::DefinitionPending,
            Outcome::Immutable => StoredOutcome::Immutable,
            Outcome::WouldExpire(count) => StoredOutcome::WouldExpire(*count),
            Outcome::NotEmpty(count) => StoredOutcome::NotEmpty(*count),
            Outcome::TooManyCollections => StoredOutcome::TooManyCollections,
        }
    }
}

impl From<StoredOutcome> for Outcome {
    fn from(outcome: StoredOutcome) -> Outcome {
        match outcome {
            StoredOutcome::Created => Outcome::Created,
            StoredOutcome::Same => Outcome::Same,
            StoredOutcome::Replaced => Outcome::Replaced,
            StoredOutcome::Deleted => Outcome::Deleted,
            StoredOutcome::Conflict => Outcome::Conflict,
            StoredOutcome::Missing => Outcome::Missing,
            StoredOutcome::PreconditionFailed => Outcome::PreconditionFailed,
            StoredOutcome::BatchDone => Outcome::BatchDone,
            StoredOutcome::BatchNotDone => Outcome::BatchNotDone,
            StoredOutcome::Unreadable => Outcome::Invalid(PATCH_TAKES_ID),
            StoredOutcome::Checked => Outcome::Checked,
            StoredOutcome::UniqueConflict { index, id } => Outcome::UniqueConflict { index, id: id.read() },
            StoredOutcome::TooManyRecords => Outcome::TooManyRecords,
            StoredOutcome::RecordTooLarge => Outcome::RecordTooLarge,
            StoredOutcome::EntryTooLarge => Outcome::EntryTooLarge,
            StoredOutcome::BadValue { pointer, why } => Outcome::BadValue { pointer: pointer.into(), why: why.into() },
            StoredOutcome::NoCollection => Outcome::NoCollection,
            StoredOutcome::DefinitionChanged => Outcome::DefinitionChanged,
            StoredOutcome::Contention => Outcome::Contention,
            StoredOutcome::Refused(problem) => Outcome::Refused(problem.into()),
            StoredOutcome::Defined { created } => Outcome::Defined { created },
            StoredOutcome::Unchanged => Outcome::Unchanged,
            StoredOutcome::Pending => Outcome::Pending,
            StoredOutcome::Dropped => Outcome::Dropped,
            StoredOutcome::Stepped => Outcome::Stepped,
            StoredOutcome::DefinitionPending => Outcome::DefinitionPending,
            StoredOutcome::Immutable => Outcome::Immutable,
            StoredOutcome::WouldExpire(count) => Outcome::WouldExpire(count),
            StoredOutcome::NotEmpty(count) => Outcome::NotEmpty(count),
            StoredOutcome::TooManyCollections => Outcome::TooManyCollections,
        }
    }
}
