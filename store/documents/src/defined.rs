//! What a collection is: the definition in force, where it comes from, and the change that is pending.

use crate::definition::Definition;
use crate::id::Id;
use leasehold_replication::Seq;
use std::sync::Arc;

/// A definition in force, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defined {
    /// What is in force.
    pub definition: Arc<Definition>,
    /// The entry that defined it first: a collection that was dropped and defined again is another one.
    pub created: Seq,
    /// The entry that last changed the definition in force. Also the definition's `ETag`.
    pub revision: Seq,
    /// The last entry after which records must be checked otherwise than before: it defined, changed, or refused a change.
    pub epoch: Seq,
    /// The change that records are being examined for.
    pub pending: Option<Pending>,
    /// Why the last change that was not possible was not.
    pub last_refused: Option<LastRefused>,
}

/// A change of a definition that records are being examined for. New writes must fit both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The new definition.
    pub definition: Arc<Definition>,
    /// The entry that brought it.
    pub since: Seq,
    /// Every record up to this creation number fits, and is in the new indexes; no other one is in them.
    pub cursor: u64,
}

/// A change that was not possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastRefused {
    /// The entry that brought it.
    pub since: Seq,
    /// Why.
    pub why: WhyRefused,
}

/// Why a change of a definition is not possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhyRefused {
    /// A record does not fit its schema.
    DoesNotFit {
        /// The record.
        id: Id,
        /// Where in it, as a JSON Pointer.
        pointer: Arc<str>,
        /// The rule of the schema.
        rule: Arc<str>,
    },
    /// Two records have the same values in a unique index.
    UniqueConflict {
        /// The index, by its place in the new definition.
        index: u8,
        /// The records.
        ids: [Id; 2],
    },
    /// A value that the definition needs is not what it must be.
    BadValue {
        /// The record.
        id: Id,
        /// Where in it, as a JSON Pointer.
        pointer: Arc<str>,
        /// For people.
        why: Arc<str>,
    },
}
