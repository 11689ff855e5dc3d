//! Definitions as clients read them.

use leasehold_documents::{Collection, Form, LastRefused, WhyRefused};
use leasehold_replication::Seq;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// What a collection is, and how it stands. The members of its definition follow.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    name: &'a str,
    created: u64,
    revision: u64,
    count: usize,
    bytes: u64,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_refused: Option<Value>,
}

/// Of the change that is pending.
#[derive(Serialize)]
struct Progress {
    /// The highest creation number that was examined,
    examined: u64,
    /// of those that were ever assigned.
    of: u64,
}

/// The revision of its definition; 0 in format 1, where nothing has defined it.
pub(super) fn revision(collection: &Collection) -> Seq {
    collection.defined().map_or(Seq(0), |defined| defined.revision)
}

/// Its JSON.
pub(super) fn json(name: &str, collection: &Collection) -> String {
    let defined = collection.defined();
    let pending = defined.and_then(|defined| defined.pending.as_ref());
    let shown = Shown {
        name,
        created: defined.map_or(0, |defined| defined.created.0),
        revision: revision(collection).0,
        count: collection.len(),
        bytes: collection.bytes(),
        state: if pending.is_some() { "pending" } else { "ready" },
        progress: pending.map(|pending| Progress { examined: pending.cursor, of: collection.last_number() }),
        last_refused: defined.and_then(|defined| defined.last_refused.as_ref()).map(refused),
    };
    let head = serde_json::to_string(&shown).expect("strings and numbers have a JSON form");
    // As a client would send it: the form of the records is none of its members.
    let definition = collection.definition().clone().with_form(Form::Any).to_json();
    match (head.strip_suffix('}'), definition.strip_prefix('{')) {
        (Some(head), Some(members)) => format!("{head},{members}"),
        _ => head,
    }
}

/// Why the last change was not possible.
fn refused(refused: &LastRefused) -> Value {
    let mut members = why(&refused.why);
    members.insert("since".to_owned(), refused.since.0.into());
    let reason = match refused.why {
        WhyRefused::DoesNotFit { .. } | WhyRefused::BadValue { .. } => "does-not-fit",
        WhyRefused::UniqueConflict { .. } => "unique-conflict",
    };
    members.insert("reason".to_owned(), reason.into());
    members.into()
}

/// Its members, as a problem has them, too.
pub(super) fn why(why: &WhyRefused) -> Map<String, Value> {
    let members = match why {
        WhyRefused::DoesNotFit { id, pointer, rule } => json!({ "id": id, "pointer": &**pointer, "rule": &**rule }),
        WhyRefused::UniqueConflict { index, ids } => json!({ "index": index, "ids": ids }),
        WhyRefused::BadValue { id, pointer, why } => {
            json!({ "id": id, "pointer": &**pointer, "rule": VALUE_RULE, "why": &**why })
        }
    };
    match members {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// What an index or a time of expiry asks of a value is no keyword of a schema.
pub(super) const VALUE_RULE: &str = "value";
