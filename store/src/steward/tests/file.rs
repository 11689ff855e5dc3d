//! The collections file, applied by a leader whose log is [`Data`].

use super::super::file::{Applier, FileError, read, shown};
use super::{Data, Leader, leading};
use crate::api::tests::status;
use crate::telemetry::Metrics;
use leasehold_contract::RoleFile;
use leasehold_contract::testing::role_of;
use leasehold_documents::{CollectionsFile, Outcome, Work};
use leasehold_replication::{Phase, Refusal, ReplicaId};
use serde_json::json;
use std::sync::Arc;
use uuid::Uuid;

const FILE: &str =
    r#"{"flags": {"id": "string"}, "orders": {"id": "string", "expires": "/until"}, "tenants": {"id": "uuid"}}"#;

fn file(json: &str) -> Arc<CollectionsFile> {
    Arc::new(CollectionsFile::parse(json).unwrap())
}

/// Of a pod of that revision.
fn applier(leader: &Leader, json: &str, revision: &str) -> Applier {
    Applier::new(leader.handle.clone(), file(json), revision, Metrics::new())
}

/// What its sidecar says: that the StatefulSet's pods are being updated to that revision.
fn newest(leader: &Leader, revision: Option<&str>) {
    let newest_revision = revision.map(str::to_owned);
    leader.served.lock().unwrap().server.set_role(RoleFile { newest_revision, ..role_of("pod-0") });
}

fn names(leader: &Leader) -> Vec<String> {
    let documents = leader.handle.documents();
    documents.collections().map(|(name, _)| name.to_owned()).filter(|name| name != "persons").collect()
}

fn writes(leader: &Leader) -> usize {
    leader.served.lock().unwrap().writes
}

fn refusals(leader: &Leader) -> Option<String> {
    leader.served.lock().unwrap().server.refused_definitions()
}

/// At format 2, without any other collection.
fn raised() -> Data {
    let mut data = Data::new();
    data.done(Work::PauseExpiry { paused: false });
    data
}

#[tokio::test]
async fn a_leader_applies_the_file_once() {
    let leader = Leader::of(raised());
    newest(&leader, Some("r2"));
    let mut applier = applier(&leader, FILE, "r2");
    applier.look().await;
    assert_eq!(names(&leader), ["flags", "orders", "tenants"]);
    assert_eq!(writes(&leader), 4, "three definitions and the note");
    applier.look().await;
    let mut next = super::file::applier(&leader, FILE, "r2");
    next.look().await;
    assert_eq!(writes(&leader), 4);
    let shown = shown(&file(FILE), &leader.handle.documents());
    let states = json!({"flags": "in-force", "orders": "in-force", "tenants": "in-force"});
    assert_eq!(shown, json!({"applied": true, "definitions": states}));
}

#[tokio::test]
async fn a_pod_that_is_not_of_the_newest_revision_does_not_apply_its_file() {
    let leader = Leader::of(raised());
    // Before the first role.json nobody knows.
    applier(&leader, FILE, "").look().await;
    for (revision, of_the_set) in [("r1", Some("r2")), ("r1", None), ("", Some("r2"))] {
        newest(&leader, of_the_set);
        applier(&leader, FILE, revision).look().await;
        assert_eq!(writes(&leader), 0, "{revision:?}, {of_the_set:?}");
    }
    // No StatefulSet, no revisions.
    newest(&leader, None);
    applier(&leader, FILE, "").look().await;
    assert_eq!(names(&leader).len(), 3);
}

#[tokio::test]
async fn a_replica_that_does_not_lead_or_has_no_majority_applies_nothing_and_tries_again() {
    let leader = Leader::of(raised());
    newest(&leader, None);
    let mut applier = applier(&leader, FILE, "");
    let say = |status| leader.served.lock().unwrap().server.set_status(ReplicaId(Uuid::from_u128(1)), status);
    say(status(Phase::Follower, "pod-1"));
    applier.look().await;
    assert_eq!(writes(&leader), 0);
    say(leading());
    leader.served.lock().unwrap().refuses = Some(Refusal::NoMajority);
    applier.look().await;
    assert_eq!((writes(&leader), names(&leader).len()), (1, 0));
    leader.served.lock().unwrap().refuses = None;
    applier.look().await;
    assert_eq!(names(&leader).len(), 3);
}

#[tokio::test]
async fn before_format_2_nothing_is_applied() {
    let leader = Leader::of(Data::new());
    newest(&leader, None);
    applier(&leader, FILE, "").look().await;
    assert_eq!(writes(&leader), 0);
}

#[tokio::test]
async fn what_is_refused_is_reported_while_the_others_are_applied() {
    let mut data = raised();
    data.define("tenants", r#"{"id":"string"}"#);
    data.define("orders", r#"{"id":"string"}"#);
    data.create("orders", "old", r#","until":1000"#);
    let leader = Leader::of(data);
    newest(&leader, None);
    let mut applier = applier(&leader, FILE, "");
    applier.look().await;
    let documents = leader.handle.documents();
    assert!(documents.collection("flags").is_some() && documents.noted_file().is_some());
    assert_eq!(documents.collection("orders").unwrap().len(), 1);
    let words = refusals(&leader).unwrap();
    assert!(words.contains("orders: 1 records would expire at once"), "{words}");
    assert!(words.contains("tenants: what ids the records of tenants have never changes"), "{words}");
    let before = writes(&leader);
    applier.look().await;
    assert_eq!(writes(&leader), before, "it is not tried again");
    assert_eq!(refusals(&leader), Some(words));
    // By hand: then nothing is left to report of it.
    leader.served.lock().unwrap().data.define("orders", r#"{"id":"string","expires":"/until"}"#);
    while leader.served.lock().unwrap().data.step(&super::Schemas::default()) {}
    {
        let served = leader.served.lock().unwrap();
        served.server.set_documents(&served.data.documents);
    }
    applier.look().await;
    let words = refusals(&leader).unwrap();
    assert!(!words.contains("orders: ") && words.contains("tenants: "), "{words}");
}

#[tokio::test]
async fn a_pending_change_that_ends_without_coming_into_force_is_reported_by_every_later_leader() {
    let mut data = raised();
    assert_eq!(data.define("orders", r#"{"id":"string"}"#), Outcome::Defined { created: true });
    data.create("orders", "first", r#","n":"much""#);
    let leader = Leader::of(data);
    newest(&leader, None);
    let wanted = r#"{"orders": {"id": "string", "schema": {"properties": {"n": {"type": "integer"}}}}}"#;
    let mut applier = applier(&leader, wanted, "");
    applier.look().await;
    assert_eq!(refusals(&leader), None, "it is pending");
    leader.steward().change().await;
    applier.look().await;
    let words = refusals(&leader).unwrap();
    assert!(words.contains("orders: the record first does not fit the schema: type, at /n"), "{words}");
    super::file::applier(&leader, wanted, "").look().await;
    assert_eq!(refusals(&leader), Some(words));
}

#[tokio::test]
async fn a_change_that_was_refused_is_not_tried_again_while_the_note_waits_for_anothers() {
    let mut data = raised();
    for name in ["a", "b"] {
        data.define(name, r#"{"id":"string"}"#);
        data.create(name, "one", r#","n":"much""#);
    }
    let schema = r#"{"id":"string","schema":{"properties":{"n":{"type":"integer"}}}}"#;
    assert_eq!(data.define("b", r#"{"id":"string","indexes":[{"fields":["/n"]}]}"#), Outcome::Pending);
    let leader = Leader::of(data);
    newest(&leader, None);
    let mut applier = applier(&leader, &format!(r#"{{"a": {schema}, "b": {{"id": "string"}}}}"#), "");
    applier.look().await;
    // The schema of `a` does not fit; the index of `b` stays pending.
    leader.steward().change().await;
    let defined = super::of(&leader.handle.documents(), "a");
    assert!(defined.pending.is_none() && defined.last_refused.is_some(), "{defined:?}");
    let before = writes(&leader);
    applier.look().await;
    assert_eq!(writes(&leader), before, "it waits, and does nothing");
    assert_eq!(leader.handle.documents().noted_file(), None);
}

#[test]
fn a_file_is_refused_with_its_name_and_the_place_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("collections.json");
    let error = read(&path).unwrap_err();
    assert!(matches!(error, FileError::Unreadable { .. }), "{error}");
    for (json, place) in [
        ("{", ": this is not JSON"),
        (r#"{"orders": {"id": "number"}}"#, ", at /orders/id: "),
        (r#"{"orders": {"id": "string", "schema": {"requird": []}}}"#, ", at /orders/schema/requird: "),
        (r#"{"orders": {"id": "string", "schema": {"$ref": "https://example.org"}}}"#, ", at /orders/schema/$ref: "),
    ] {
        std::fs::write(&path, json).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.starts_with(&format!("--collections-file {}{place}", path.display())), "{json}: {error}");
    }
    std::fs::write(&path, FILE).unwrap();
    assert_eq!(read(&path).unwrap(), file(FILE));
}
