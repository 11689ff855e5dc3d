//! Ids in `snapshot.json`, where no definition says of what kind they are.

use crate::Id;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A UUID as it is, as in format 1; a text as `{"text": …}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum StoredId {
    Uuid(Uuid),
    Text { text: String },
}

impl StoredId {
    pub(super) fn read(&self) -> Id {
        match self {
            StoredId::Uuid(uuid) => Id::Uuid(*uuid),
            StoredId::Text { text } => Id::Text((**text).into()),
        }
    }

    pub(super) fn is_none(&self) -> bool {
        *self == StoredId::default()
    }
}

impl Default for StoredId {
    fn default() -> StoredId {
        StoredId::Uuid(Uuid::nil())
    }
}

impl From<&Id> for StoredId {
    fn from(id: &Id) -> StoredId {
        match id {
            Id::Uuid(uuid) => StoredId::Uuid(*uuid),
            Id::Text(text) => StoredId::Text { text: (**text).to_owned() },
        }
    }
}
