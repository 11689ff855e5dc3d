//! A file of changes: what entries first..last changed, as lines of JSON (NDJSON), from one known state to another.
//!
//! ```text
//!   {"begin":{"clusterId":"…","sequence":811,"time":"…"|null,"hash":"<32 hex>"}}     the state BEFORE the first entry
//!   {"sequence":812,"time":"…","hash":"…","changes":[…]}                              the data of /api/watch, word for word
//!   {"sequence":815,"time":"…","hash":"…","definition":{…}}                           a definition has a line of its own
//!   {"end":{"sequence":830,"time":"…","hash":"…","events":2}}                         the state after the last entry
//!
//!   agent ──Begin, event, pass, end──▶ ChangesWriter ──▶ lines ──▶ ChangesReader ──Entry, Entry, End──▶ commands
//! ```
//!
//! Invariants, that the writer keeps and the reader checks again: sequences rise; an entry's lines are together and have one
//! hash; entries that changed nothing leave the hash as it was, so `end` has that of the last event, or `begin`'s; `events`
//! counts the lines between. A file without `end` was cut off: all entries before that are good, but it is damaged.
//!
//! Not checked here: whether the changes lead from one hash to the next. Who applies them compares.

mod line;
mod read;
mod write;

pub use line::{Begin, Entry, EntryError};
pub use read::{ChangesReader, End, ReadError};
pub use write::{ChangesWriter, WriteError, Written};

use crate::time::Time;
use leasehold_replication::{Seq, Sum};
use serde::{Deserialize, Serialize};

/// The longest line. An entry has at most 4 MiB of records, and their JSON escapes only ids and names.
pub const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The data after one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The entry.
    #[serde(rename = "sequence")]
    pub seq: Seq,
    /// Its time, or that of the last entry before it that has one.
    #[serde(default)]
    pub time: Time,
    /// The hash of the data.
    pub hash: Sum,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
