//! Definitions in `snapshot.json`, with what is pending and what was refused.

use crate::defined::{Defined, LastRefused, Pending, WhyRefused};
use crate::definition::Definition;
use crate::stored::ids::StoredId;
use leasehold_replication::Seq;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The value of `"definitions"`: by the collection's name.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct StoredDefinitions(pub(super) BTreeMap<String, StoredDefined>);

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct StoredDefined {
    definition: Box<RawValue>,
    created: u64,
    revision: u64,
    epoch: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pending: Option<StoredPending>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_refused: Option<StoredRefused>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoredPending {
    definition: Box<RawValue>,
    since: u64,
    cursor: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoredRefused {
    since: u64,
    why: StoredWhy,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum StoredWhy {
    DoesNotFit { id: StoredId, pointer: String, rule: String },
    UniqueConflict { index: u8, ids: [StoredId; 2] },
    BadValue { id: StoredId, pointer: String, why: String },
}

/// What a definition says beside the definition in force and its origin, as the sum contains it. Without what is for people:
/// another build may say it in other words.
pub(crate) fn progress_text(defined: &Defined) -> String {
    let pending = defined.pending.as_ref().map(StoredPending::of);
    let refused = defined.last_refused.as_ref().map(|refused| {
        let mut stored = StoredRefused::of(refused);
        if let StoredWhy::BadValue { why, .. } = &mut stored.why {
            why.clear();
        }
        stored
    });
    serde_json::to_string(&(pending, refused)).expect("texts and numbers have a JSON form")
}

fn raw(definition: &Definition) -> Box<RawValue> {
    RawValue::from_string(definition.to_json()).expect("a definition's one form is JSON")
}

fn read(raw: &RawValue) -> Result<Arc<Definition>, String> {
    Definition::parse_stored(raw.get()).map(Arc::new).map_err(|error| format!("{}: {error}", error.pointer))
}

impl StoredDefined {
    pub(super) fn of(defined: &Defined) -> StoredDefined {
        StoredDefined {
            definition: raw(&defined.definition),
            created: defined.created.0,
            revision: defined.revision.0,
            epoch: defined.epoch.0,
            pending: defined.pending.as_ref().map(StoredPending::of),
            last_refused: defined.last_refused.as_ref().map(StoredRefused::of),
        }
    }

    pub(super) fn read(&self) -> Result<Defined, String> {
        let pending = self.pending.as_ref().map(|pending| {
            let definition = read(&pending.definition)?;
            Ok::<_, String>(Pending { definition, since: Seq(pending.since), cursor: pending.cursor })
        });
        Ok(Defined {
            definition: read(&self.definition)?,
            created: Seq(self.created),
            revision: Seq(self.revision),
            epoch: Seq(self.epoch),
            pending: pending.transpose()?,
            last_refused: self.last_refused.as_ref().map(StoredRefused::read),
        })
    }
}

impl StoredPending {
    fn of(pending: &Pending) -> StoredPending {
        StoredPending { definition: raw(&pending.definition), since: pending.since.0, cursor: pending.cursor }
    }
}

impl StoredRefused {
    fn of(refused: &LastRefused) -> StoredRefused {
        let why = match &refused.why {
            WhyRefused::DoesNotFit { id, pointer, rule } => {
                StoredWhy::DoesNotFit { id: id.into(), pointer: (**pointer).into(), rule: (**rule).into() }
            }
            WhyRefused::UniqueConflict { index, ids: [one, other] } => {
                StoredWhy::UniqueConflict { index: *index, ids: [one.into(), other.into()] }
            }
            WhyRefused::BadValue { id, pointer, why } => {
                StoredWhy::BadValue { id: id.into(), pointer: (**pointer).into(), why: (**why).into() }
            }
        };
        StoredRefused { since: refused.since.0, why }
    }

    fn read(&self) -> LastRefused {
        let why = match &self.why {
            StoredWhy::DoesNotFit { id, pointer, rule } => {
                WhyRefused::DoesNotFit { id: id.read(), pointer: (**pointer).into(), rule: (**rule).into() }
            }
            StoredWhy::UniqueConflict { index, ids: [one, other] } => {
                WhyRefused::UniqueConflict { index: *index, ids: [one.read(), other.read()] }
            }
            StoredWhy::BadValue { id, pointer, why } => {
                WhyRefused::BadValue { id: id.read(), pointer: (**pointer).into(), why: (**why).into() }
            }
        };
        LastRefused { since: Seq(self.since), why }
    }
}
