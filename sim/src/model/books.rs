//! What is known of the data, where runs have collections: by the entries that were applied first, and what they changed.

use leasehold_documents::Applied;
use leasehold_replication::{Seq, Sum};
use std::collections::BTreeMap;
use std::rc::Rc;

/// True time begins here, in milliseconds since 1970.
pub(crate) const EPOCH_MS: u64 = 1_800_000_000_000;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Books {
    /// By sequence, from 1: what every replica must have after it.
    pub(crate) sums: Vec<Sum>,
    /// Every snapshot that was taken, by the sequence of its last entry.
    pub(crate) stored: BTreeMap<Seq, Rc<Vec<u8>>>,
    /// The records, by collection and id, and the definitions: by what was reported as changed.
    pub(crate) records: BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) definitions: BTreeMap<String, String>,
    /// The answers to requests with a key, by space and name.
    pub(crate) answers: BTreeMap<(String, String), Applied>,
    /// Requests with a key, to be sent again: collection, id, record. Their number is the key.
    pub(crate) requests: Vec<(String, String, String)>,
    /// How many records expired, and how many transactions were done.
    pub(crate) expired: u64,
    pub(crate) transactions: u64,
}
