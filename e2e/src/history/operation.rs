//! What clients did, and the answers: the words of a recorded history.
//!
//! Values are numbers here: each write of a client carries a new one, so that a value that is seen names its writer.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What was written, by its number. Two writes carry the same one only if a client sent the same record again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Value(pub u32);

/// The content of a record: a value, or no record.
pub type Content = Option<Value>;

/// The condition of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Condition {
    /// None.
    Always,
    /// `If-Match: *`.
    Exists,
    /// `If-None-Match: *`.
    Absent,
    /// `If-Match` with the ETag of this value.
    Is(Value),
}

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Call {
    /// POST: makes the record; another one under that id is a conflict.
    Create(Value),
    /// PUT.
    Put(Value, Condition),
    /// DELETE.
    Delete(Condition),
    /// A read that must see everything that was acknowledged before it began.
    Read,
    /// A read of what one replica has applied: some prefix of the log.
    LocalRead,
}

impl Call {
    /// Does it change anything if it is done?
    pub fn is_write(self) -> bool {
        matches!(self, Call::Create(_) | Call::Put(..) | Call::Delete(_))
    }

    /// What the record holds if the write is done.
    pub fn leaves(self) -> Option<Content> {
        match self {
            Call::Create(value) | Call::Put(value, _) => Some(Some(value)),
            Call::Delete(_) => Some(None),
            Call::Read | Call::LocalRead => None,
        }
    }
}

/// The answer to a client for a finished operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// 201: there was no record, now there is.
    Created,
    /// 200 to a POST: the very same record is there.
    Same,
    /// 200 to a PUT: there was a record, now it is this one.
    Stored,
    /// 204.
    Deleted,
    /// 404 to a DELETE: there was none.
    Missing,
    /// 409: another record has this id.
    Conflict,
    /// 412: the condition does not hold.
    Failed,
    /// What a read found.
    Found(Content),
}

/// What a client knows in the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It is done, with this effect.
    Done(Effect),
    /// It was not done, and never will be (421, 503, no connection). For a read: no answer that counts.
    Refused(String),
    /// It may be done, at any later time, or never (504, connection lost, time-out).
    Unknown(String),
}

/// One request of one client. Times are nanoseconds since the history began, on one monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// Whose.
    pub client: u16,
    /// Which pod was asked.
    pub pod: u16,
    /// Which record, by its number in [`Recorded::keys`](super::Recorded::keys).
    pub key: u32,
    /// What for.
    pub call: Call,
    /// Before the request was sent.
    pub invoked: u64,
    /// After the answer was read.
    pub returned: u64,
    /// Its outcome.
    pub outcome: Outcome,
    /// `Leasehold-Sequence` of the answer: of a write its own, of a read the last entry that it saw.
    pub sequence: Option<u64>,
}

impl Operation {
    /// What the answer reported as done.
    pub fn effect(&self) -> Option<Effect> {
        match self.outcome {
            Outcome::Done(effect) => Some(effect),
            Outcome::Refused(_) | Outcome::Unknown(_) => None,
        }
    }

    /// May it have been done, without anybody knowing?
    pub fn is_open(&self) -> bool {
        matches!(self.outcome, Outcome::Unknown(_)) && self.call.is_write()
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Condition::Always => Ok(()),
            Condition::Exists => f.write_str(" if there is one"),
            Condition::Absent => f.write_str(" if there is none"),
            Condition::Is(value) => write!(f, " if it is {value}"),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Call::Create(value) => write!(f, "POST {value}"),
            Call::Put(value, condition) => write!(f, "PUT {value}{condition}"),
            Call::Delete(condition) => write!(f, "DELETE{condition}"),
            Call::Read => f.write_str("strong GET"),
            Call::LocalRead => f.write_str("local GET"),
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Effect::Created => f.write_str("201, made"),
            Effect::Same => f.write_str("200, it was the same"),
            Effect::Stored => f.write_str("200, in the place of another"),
            Effect::Deleted => f.write_str("204, deleted"),
            Effect::Missing => f.write_str("404, there was none"),
            Effect::Conflict => f.write_str("409, there is another"),
            Effect::Failed => f.write_str("412, the condition does not hold"),
            Effect::Found(None) => f.write_str("404, none"),
            Effect::Found(Some(value)) => write!(f, "200, {value}"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Done(effect) => effect.fmt(f),
            Outcome::Refused(why) => write!(f, "refused: {why}"),
            Outcome::Unknown(why) => write!(f, "UNKNOWN: {why}"),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |nanoseconds: u64| nanoseconds as f64 / 1e9;
        write!(
            f,
            "{:10.4} s .. {:10.4} s  client {:<2} at pod {}  {:<26} -> {}",
            seconds(self.invoked),
            seconds(self.returned),
            self.client,
            self.pod,
            self.call.to_string(),
            self.outcome
        )?;
        if let Some(sequence) = self.sequence {
            write!(f, "  (sequence {sequence})")?;
        }
        Ok(())
    }
}
