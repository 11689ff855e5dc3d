//! Commits as events: the text that watchers receive.
//!
//! ```text
//!   GET /orders:watch     id: 812
//!                         data: {"sequence":812,"changes":[{"change":"created","id":"…","record":{…}}]}
//!   GET /api/watch        id: 812
//!                         data: {"sequence":812,"time":"…","hash":"…","changes":[{"collection":"orders","change":"created",
//!                                "id":"…","number":7,"record":{…}}]}
//!                         id: 813
//!                         data: {"sequence":813,"time":"…","hash":"…","definition":{"name":"orders","change":"dropped","created":90}}
//!                         event: bookmark
//!                         id: 815
//!                         data: {"clusterId":"…","sequence":815,"time":"…","hash":"…","keysHash":"…",
//!                                "staleMs":3,"leads":false}
//! ```
//!
//! `hash` is that of the data after the entry, `time` the leader's clock when it made it (null where no leader has said it).
//! A record that went because its time was over has `"reason":"expired"`. Records and definitions have no line breaks, as
//! they are stored.

use super::asked::What;
use crate::api::rfc3339;
use crate::history::{Commit, Mark};
use bytes::Bytes;
use leasehold_documents::{Change, ChangeKind, Definition, RecordChange};
use leasehold_replication::{ClusterId, Seq};
use serde_json::Value;
use serde_json::value::RawValue;
use std::time::Duration;

/// What of a commit such a watch shows; none: nothing.
pub(super) fn of(commit: &Commit, what: &What) -> Option<Bytes> {
    if !commit.changes.iter().any(|change| what.includes(change)) {
        return None;
    }
    let all = |commit: &Commit| of_all(commit, what);
    Some(match what {
        What::Records { collection, id_prefix } => {
            let records = |commit: &Commit| of_records(commit, what);
            if id_prefix.is_empty() { commit.told(Some(collection), records) } else { records(commit) }
        }
        What::All => commit.told(None, all),
        What::Collections(_) | What::Readable(_) if commit.changes.iter().all(|change| what.includes(change)) => {
            commit.told(None, all)
        }
        What::Collections(_) | What::Readable(_) => all(commit),
    })
}

/// How far a watch is, and what the data are there.
/// `stale`: it has everything that was acknowledged anywhere longer ago than this. `leads`: whoever can choose follows another pod,
/// which has fewer other things to do.
pub(super) fn bookmark(cluster: Option<ClusterId>, mark: &Mark, stale: Option<Duration>, leads: bool) -> Bytes {
    let Mark { seq, time_ms, data, keys } = *mark;
    let cluster = cluster.map_or(Value::Null, |cluster| cluster.0.to_string().into());
    let said = format!(
        r#"{{"clusterId":{cluster},"sequence":{seq},"time":{},"hash":"{data}","keysHash":"{keys}","staleMs":{},"leads":{leads}}}"#,
        time(time_ms),
        stale.map_or(Value::Null, |stale| u64::try_from(stale.as_millis()).unwrap_or(u64::MAX).into())
    );
    Bytes::from(format!("event: bookmark\nid: {seq}\ndata: {said}\n\n"))
}

/// The changes of one collection's records.
fn of_records(commit: &Commit, what: &What) -> Bytes {
    let changes: Vec<String> = of_what(commit, what)
        .filter_map(record_of)
        .map(|change| {
            let RecordChange { id, .. } = change;
            format!(
                r#"{{"change":"{}","id":{},"record":{}{}}}"#,
                word(change.kind),
                text(&id.to_string()),
                record(change),
                reason(change.kind)
            )
        })
        .collect();
    let seq = commit.mark.seq;
    event(Some(seq), &format!(r#"{{"sequence":{seq},"changes":[{}]}}"#, changes.join(",")))
}

/// An event for each definition, and one for all records; only the last has an id. So who is cut off between them gets all
/// of them again.
fn of_all(commit: &Commit, what: &What) -> Bytes {
    let Mark { seq, time_ms, data, .. } = commit.mark;
    let head = format!(r#""sequence":{seq},"time":{},"hash":"{data}""#, time(time_ms));
    let mut said: Vec<String> = of_what(commit, what)
        .filter_map(|change| match change {
            Change::Definition { collection, created, definition } => {
                let definition = defined(collection, *created, definition.as_deref());
                Some(format!(r#"{{{head},"definition":{definition}}}"#))
            }
            Change::Record(_) => None,
        })
        .collect();
    let changes: Vec<String> = of_what(commit, what)
        .filter_map(record_of)
        .map(|change| {
            let RecordChange { collection, id, number, .. } = change;
            format!(
                r#"{{"collection":{},"change":"{}","id":{},"number":{number},"record":{}{}}}"#,
                text(collection),
                word(change.kind),
                text(&id.to_string()),
                record(change),
                reason(change.kind)
            )
        })
        .collect();
    if !changes.is_empty() {
        said.push(format!(r#"{{{head},"changes":[{}]}}"#, changes.join(",")));
    }
    let last = said.len().saturating_sub(1);
    let events = said.iter().enumerate().map(|(at, data)| event((at == last).then_some(seq), data));
    events.collect::<Vec<Bytes>>().concat().into()
}

fn of_what<'a>(commit: &'a Commit, what: &'a What) -> impl Iterator<Item = &'a Change> {
    commit.changes.iter().filter(|change| what.includes(change))
}

fn record_of(change: &Change) -> Option<&RecordChange> {
    match change {
        Change::Record(change) => Some(change),
        Change::Definition { .. } => None,
    }
}

fn event(id: Option<Seq>, data: &str) -> Bytes {
    let id = id.map(|seq| format!("id: {seq}\n")).unwrap_or_default();
    Bytes::from(format!("{id}data: {data}\n\n"))
}

fn word(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Created => "created",
        ChangeKind::Replaced => "replaced",
        ChangeKind::Deleted | ChangeKind::Expired => "deleted",
    }
}

fn reason(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Expired => r#","reason":"expired""#,
        ChangeKind::Created | ChangeKind::Replaced | ChangeKind::Deleted => "",
    }
}

fn record(change: &RecordChange) -> &str {
    let record = change.record.as_ref().and_then(|record| serde_json::from_str::<&RawValue>(record.as_str()).ok());
    record.map_or("null", RawValue::get)
}

/// `{"name", "change", "created"}`, and the members of the definition.
fn defined(name: &str, created: Seq, definition: Option<&Definition>) -> String {
    let change = if definition.is_some() { "defined" } else { "dropped" };
    let begin = format!(r#"{{"name":{},"change":"{change}","created":{created}"#, text(name));
    match definition.map(Definition::to_json) {
        // Its first member is `id`, so there is always one.
        Some(json) => format!("{begin},{}", json.strip_prefix('{').unwrap_or(&json)),
        None => format!("{begin}}}"),
    }
}

fn time(time_ms: u64) -> Value {
    if time_ms == 0 { Value::Null } else { rfc3339::text(time_ms).into() }
}

fn text(text: &str) -> Value {
    text.into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::history::History;
    use leasehold_documents::{Form, Id, IdKind, Record};
    use leasehold_replication::Sum;
    use std::sync::Arc;
    use uuid::Uuid;

    fn change(collection: &str, id: &str, kind: ChangeKind, record: Option<&str>) -> Change {
        let (id, record) = (Id::Text(id.into()), record.map(Record::from));
        Change::Record(RecordChange { collection: collection.into(), id, number: 7, kind, record })
    }

    fn definition(collection: &str, definition: Option<Definition>) -> Change {
        let definition = definition.map(Arc::new);
        Change::Definition { collection: collection.into(), created: Seq(90), definition }
    }

    fn commit(changes: Vec<Change>) -> Arc<Commit> {
        let history = History::new(1_000_000);
        history.restart(Mark { seq: Seq(811), time_ms: 0, data: Sum(0), keys: Sum(0) });
        history.note(Mark { seq: Seq(812), time_ms: 1_709_251_200_000, data: Sum(10), keys: Sum(11) }, changes);
        history.after(Seq(811), 1).unwrap().0.remove(0)
    }

    fn told(commit: &Commit, what: &What) -> Option<String> {
        of(commit, what).map(|text| String::from_utf8(text.to_vec()).unwrap())
    }

    fn records_of(collection: &str, id_prefix: &str) -> What {
        What::Records { collection: collection.to_owned(), id_prefix: id_prefix.to_owned() }
    }

    #[test]
    fn a_watch_of_a_collection_tells_its_records_alone_and_nothing_of_other_commits() {
        let commit = commit(vec![
            change("orders", "a\"1", ChangeKind::Created, Some(r#"{"id":"a\"1","n":1e400}"#)),
            change("users", "a2", ChangeKind::Deleted, None),
            change("orders", "b", ChangeKind::Expired, None),
        ]);
        assert_eq!(
            told(&commit, &records_of("orders", "")).unwrap(),
            "id: 812\ndata: {\"sequence\":812,\"changes\":[{\"change\":\"created\",\"id\":\"a\\\"1\",\"record\":\
             {\"id\":\"a\\\"1\",\"n\":1e400}},{\"change\":\"deleted\",\"id\":\"b\",\"record\":null,\"reason\":\
             \"expired\"}]}\n\n"
        );
        assert_eq!(
            told(&commit, &records_of("users", "a")).unwrap(),
            "id: 812\ndata: {\"sequence\":812,\"changes\":[{\"change\":\"deleted\",\"id\":\"a2\",\"record\":null}]}\n\n"
        );
        let filtered = told(&commit, &records_of("orders", "b")).unwrap();
        assert!(filtered.contains("\"b\"") && !filtered.contains("a\\\"1"), "{filtered}");
        assert_eq!(told(&commit, &records_of("orders", "c")), None);
        assert_eq!(told(&commit, &records_of("others", "")), None);
    }

    #[test]
    fn a_watch_of_all_tells_collections_numbers_times_and_hashes() {
        let commit = commit(vec![
            change("orders", "x", ChangeKind::Replaced, Some(r#"{"id":"x"}"#)),
            change("users", "y", ChangeKind::Expired, None),
        ]);
        let head = r#""sequence":812,"time":"2024-03-01T00:00:00.000Z","hash":"0000000000000000000000000000000a""#;
        let first = r#"{"collection":"orders","change":"replaced","id":"x","number":7,"record":{"id":"x"}}"#;
        let second =
            r#"{"collection":"users","change":"deleted","id":"y","number":7,"record":null,"reason":"expired"}"#;
        let event = |changes: &str| Some(format!("id: 812\ndata: {{{head},\"changes\":[{changes}]}}\n\n"));
        assert_eq!(told(&commit, &What::All), event(&format!("{first},{second}")));
        let named = |names: &[&str]| What::Collections(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(told(&commit, &named(&["users"])), event(second));
        assert_eq!(told(&commit, &named(&["users", "orders"])), told(&commit, &What::All));
        assert_eq!(told(&commit, &named(&["others"])), None);
    }

    #[test]
    fn a_definition_is_an_event_of_its_own_and_only_the_last_of_an_entry_has_an_id() {
        let orders = Definition { id: IdKind::Text, form: Form::Any, ..Definition::persons() };
        let commit = commit(vec![
            definition("orders", Some(orders)),
            change("users", "y", ChangeKind::Deleted, None),
            definition("users", None),
        ]);
        let head = r#""sequence":812,"time":"2024-03-01T00:00:00.000Z","hash":"0000000000000000000000000000000a""#;
        assert_eq!(
            told(&commit, &What::All).unwrap(),
            [
                format!(
                    "data: {{{head},\"definition\":{{\"name\":\"orders\",\"change\":\"defined\",\"created\":90,\"id\":\
                     \"string\"}}}}\n\n"
                ),
                format!(
                    "data: {{{head},\"definition\":{{\"name\":\"users\",\"change\":\"dropped\",\"created\":90}}}}\n\n"
                ),
                format!(
                    "id: 812\ndata: {{{head},\"changes\":[{{\"collection\":\"users\",\"change\":\"deleted\",\"id\":\"y\",\
                     \"number\":7,\"record\":null}}]}}\n\n"
                ),
            ]
            .concat()
        );
        assert!(records_of("users", "").ends_with(&commit.changes[2]));
        assert!(!records_of("orders", "").ends_with(&commit.changes[0]) && !What::All.ends_with(&commit.changes[2]));
    }

    #[test]
    fn a_bookmark_says_how_far_it_is_and_a_time_that_nobody_said_is_null() {
        let mark = Mark { seq: Seq(5), time_ms: 0, data: Sum(1), keys: Sum(2) };
        let text = bookmark(Some(ClusterId(Uuid::from_u128(9))), &mark, Some(Duration::from_millis(120)), false);
        assert_eq!(
            std::str::from_utf8(&text).unwrap(),
            "event: bookmark\nid: 5\ndata: {\"clusterId\":\"00000000-0000-0000-0000-000000000009\",\"sequence\":5,\
             \"time\":null,\"hash\":\"00000000000000000000000000000001\",\"keysHash\":\
             \"00000000000000000000000000000002\",\"staleMs\":120,\"leads\":false}\n\n"
        );
    }
}
