//! The data of a store, where runs have collections: the real documents, and what its steward keeps beside them.

use leasehold_documents::steward::{Clock, Mark};
use leasehold_documents::{
    Definition, Documents, StoredCollections, StoredDefinitions, StoredKey, StoredOrder, StoredState,
};
use leasehold_replication::{Position, Seq};
use serde::Deserialize;
use std::time::Duration;

/// For how long a process must have seen its clocks agree. Here processes do not live for a minute.
const AGREED_MIN: Duration = Duration::from_secs(4);

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Data {
    pub(crate) documents: Documents,
    /// Its log ended here when it began: what it applies up to this is played again.
    pub(crate) began_at: Seq,
    pub(crate) clock: Clock,
    /// The collections that had their turn last, and the change that did not move.
    pub(crate) changed: String,
    pub(crate) expired: String,
    pub(crate) stuck: Vec<Mark>,
}

/// What the shell wraps around the members in snapshot.json.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    definitions: Option<StoredDefinitions>,
    #[serde(default)]
    time: u64,
    #[serde(default)]
    expiry_paused: bool,
    #[serde(default)]
    file: Option<String>,
    collections: StoredCollections,
    order: StoredOrder,
    #[serde(default)]
    keys: Vec<StoredKey>,
}

impl Data {
    /// As a process has them that begins with these documents.
    pub(crate) fn new(documents: Documents, began_at: Seq) -> Data {
        let (changed, expired, stuck) = (String::new(), String::new(), Vec::new());
        Data { documents, began_at, clock: Clock::agreeing_for(AGREED_MIN), changed, expired, stuck }
    }
}

/// As they stand in snapshot.json.
pub(crate) fn stored(documents: &Documents) -> Vec<u8> {
    let mut text = b"{".to_vec();
    documents.write_collections(&mut text).expect("a vector takes everything");
    text.push(b'}');
    text
}

/// As a start reads them.
///
/// # Errors
/// Why they cannot be read, for people.
pub(crate) fn restored(at: Position, text: &[u8]) -> Result<Documents, String> {
    let File { definitions, time, expiry_paused, file, collections, order, keys } =
        serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let state = StoredState { definitions, time, expiry_paused, file };
    Documents::restore(at, collections, order, keys, state).map_err(|error| error.to_string())
}

/// A schema of this world: the name of a member that records must have.
pub(crate) fn required(definition: &Definition) -> Option<&str> {
    definition.schema.as_deref()?.split('"').nth(3)
}

/// Does the record have what the schema of the definition asks for?
pub(crate) fn fits(definition: &Definition, record: &str) -> bool {
    required(definition).is_none_or(|name| record.contains(&format!("\"{name}\":")))
}
