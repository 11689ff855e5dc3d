//! What collections are: `/api/collections`, and `/api/expiry`.

use super::*;
use crate::steward;
use leasehold_documents::{Action, Command, Condition, On, Operation, Outcome, Work};
use serde_json::json;

const ORDERS: &str = "/api/collections/orders";

/// A leader of a cluster of format 2, with the four persons.
fn raised() -> Api {
    let api = Api::leader();
    let mut status = status(Phase::Leading, "pod-0");
    status.formats.in_force = 2;
    api.set_status(status);
    let mut parts = api.lock();
    let position = Position::new(3, parts.documents.applied().seq.0 + 1);
    parts.documents.voters(position, 2, &mut Vec::new());
    parts.server.note(&parts.documents, Vec::new());
    parts.server.set_documents(&parts.documents);
    drop(parts);
    api
}

impl Api {
    /// With the steps of a leader.
    fn steward(&self) -> tokio::task::JoinHandle<()> {
        tokio::spawn(steward::run(self.handle.clone(), None))
    }

    async fn put_definition(&self, name: &str, definition: Value) -> Response<Bytes> {
        self.json("PUT", &format!("/api/collections/{name}"), definition.to_string()).await
    }

    async fn delete(&self, path: &str) -> Response<Bytes> {
        self.send(asking().method("DELETE").path(path)).await
    }

    fn create(&self, collection: &str, id: &str, record: Value) {
        let mut parts = self.lock();
        let epoch = parts.documents.collection(collection).unwrap().epoch().unwrap();
        let record = record.to_string();
        let id = parts.documents.collection(collection).unwrap().definition().id.parse(id).unwrap().to_owned();
        let operation = Operation::new(id.as_ref(), Action::Create { record: &record }, Condition::None);
        let command = Command::new(Work::One(On::at(collection, epoch), operation)).encode(2);
        assert_eq!(parts.apply(&command).answer.outcome, Outcome::Created);
    }
}

#[tokio::test]
async fn a_collection_is_defined_shown_changed_and_dropped() {
    let api = raised();
    let definition = json!({
        "id": "string", "schema": {"type": "object", "properties": {"n": {"type": "integer"}}},
        "indexes": [{"fields": ["/n"], "unique": true}], "maxRecords": 10
    });
    let made = api.put_definition("orders", definition.clone()).await;
    assert_eq!((made.status(), header(&made, "location")), (StatusCode::CREATED, Some(ORDERS)), "{:?}", value(&made));
    let shown = value(&made);
    for (member, wanted) in definition.as_object().unwrap().iter().filter(|(name, _)| *name != "indexes") {
        assert_eq!(&shown[member], wanted, "{shown}");
    }
    let revision = shown["revision"].as_u64().unwrap();
    let tag = format!("\"{revision}\"");
    assert_eq!((header(&made, "etag"), header(&made, SEQUENCE)), (Some(&*tag), Some(&*revision.to_string())));
    assert_eq!(
        (&shown["created"], &shown["count"], &shown["bytes"], &shown["state"]),
        (&json!(revision), &json!(0), &json!(0), &json!("ready"))
    );
    // The same again writes nothing.
    let taken = api.lock().taken;
    let again = api.put_definition("orders", definition.clone()).await;
    assert_eq!((again.status(), value(&again)["revision"].as_u64()), (StatusCode::OK, Some(revision)));
    assert_eq!(api.lock().taken, taken);
    api.lock().confirms = Some(Err(Refusal::NoMajority));
    problem(&api.put_definition("orders", definition.clone()).await, Code::NoMajority);
    api.lock().confirms = Some(Ok(()));
    let read = api.get(ORDERS).await;
    assert_eq!((read.status(), value(&read)), (StatusCode::OK, shown));
    let request = |name: &str, value: &str| asking().path(ORDERS).header(name, value);
    assert_eq!(api.send(request("if-none-match", &tag)).await.status(), StatusCode::NOT_MODIFIED);
    problem(&api.send(request("if-match", "\"1\"")).await, Code::PreconditionFailed);
    // There are no records: at once.
    let changed = api.put_definition("orders", json!({"id": "string", "schema": {"required": ["n"]}})).await;
    assert_eq!(changed.status(), StatusCode::OK);
    assert!(value(&changed)["revision"].as_u64() > Some(revision), "{:?}", value(&changed));
    assert_eq!(value(&changed)["created"].as_u64(), Some(revision));
    let list = value(&api.get("/api/collections").await);
    let names: Vec<&str> = list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["orders", "persons"]);
    assert_eq!(api.delete(ORDERS).await.status(), StatusCode::NO_CONTENT);
    problem(&api.get(ORDERS).await, Code::UnknownCollection);
    problem(&api.delete(ORDERS).await, Code::UnknownCollection);
}

#[tokio::test]
async fn what_is_not_a_definition_is_refused_with_its_place() {
    let api = raised();
    for (definition, pointer) in [
        (json!({"id": "number"}), "/id"),
        (json!({"id": "string", "schema": {"requird": []}}), "/schema/requird"),
        (json!({"id": "string", "schema": {"$ref": "http://example.com/"}}), "/schema/$ref"),
        (json!({"id": "string", "indexes": [{"fields": []}]}), "/indexes/0/fields"),
        (json!({"id": "string", "form": "persons"}), "/form"),
    ] {
        let problem = problem(&api.put_definition("orders", definition.clone()).await, Code::InvalidDefinition);
        assert_eq!(problem["pointer"], pointer, "{definition} {problem}");
    }
    for name in ["api", "Orders", "1", "openapi.json", "a%2Fb"] {
        problem(&api.put_definition(name, json!({"id": "string"})).await, Code::InvalidDefinition);
    }
    problem(&api.json("PUT", ORDERS, "{").await, Code::MalformedJson);
    problem(&api.json("PUT", ORDERS, r#"{"id": "string", "id": "uuid"}"#).await, Code::DuplicateKey);
    problem(&api.json("PUT", &format!("{ORDERS}?expire-now=yes"), r#"{"id":"string"}"#).await, Code::InvalidQuery);
    problem(&api.delete(&format!("{ORDERS}?records=keep")).await, Code::InvalidQuery);
    assert_eq!(api.lock().taken, 0);
}

#[tokio::test]
async fn before_the_format_is_raised_there_are_persons_and_no_definitions() {
    let api = Api::leader();
    let list = value(&api.get("/api/collections").await);
    assert_eq!(
        (&list[0]["name"], &list[0]["id"], &list[0]["count"], &list[0]["revision"]),
        (&json!("persons"), &json!("uuid"), &json!(4), &json!(0))
    );
    assert_eq!(api.get("/api/collections/persons").await.status(), StatusCode::OK);
    problem(&api.get(ORDERS).await, Code::UnknownCollection);
    problem(&api.put_definition("orders", json!({"id": "string"})).await, Code::UpgradePending);
    problem(&api.delete("/api/collections/persons?records=delete").await, Code::UpgradePending);
    problem(&api.json("PUT", "/api/expiry", r#"{"paused": true}"#).await, Code::UpgradePending);
    assert_eq!(api.lock().taken, 0);
}

#[tokio::test]
async fn a_replica_that_does_not_lead_says_so_before_it_looks() {
    let api = Api::follower();
    problem(&api.put_definition("orders", json!({"id": "string"})).await, Code::NotLeader);
    problem(&api.delete(ORDERS).await, Code::NotLeader);
    problem(&api.delete("/api/collections/orders/pending").await, Code::NotLeader);
    problem(&api.json("PUT", "/api/expiry", r#"{"paused": true}"#).await, Code::NotLeader);
}

#[tokio::test]
async fn a_change_that_all_records_fit_is_in_force_when_it_is_answered() {
    let api = raised();
    let steward = api.steward();
    let schema = json!({"properties": {"firstName": {"maxLength": 20}}});
    let definition = json!({"id": "uuid", "schema": schema, "indexes": [{"fields": ["/lastName"], "unique": true}]});
    let changed = api.put_definition("persons", definition).await;
    assert_eq!(
        (changed.status(), &value(&changed)["state"]),
        (StatusCode::OK, &json!("ready")),
        "{:?}",
        value(&changed)
    );
    assert_eq!(header(&changed, SEQUENCE).unwrap().parse().ok(), value(&changed)["revision"].as_u64());
    // The form of its records stays: it is not the client's.
    let persons = api.handle.documents().collection("persons").unwrap().clone();
    assert_eq!(persons.definition().form, leasehold_documents::Form::Persons);
    assert_eq!(persons.indexes()[0].len(), 4);
    steward.abort();
}

#[tokio::test]
async fn a_change_that_a_record_does_not_fit_names_it_and_leaves_the_definition() {
    let api = raised();
    let steward = api.steward();
    let schema = json!({"properties": {"lastName": {"maxLength": 7}}});
    let refused =
        problem(&api.put_definition("persons", json!({"id": "uuid", "schema": schema})).await, Code::DoesNotFit);
    let niklas = "e0a08c5b-62d5-4b20-a024-e1c270d901c2";
    assert_eq!(
        (&refused["id"], &refused["pointer"], &refused["rule"]),
        (&json!(niklas), &json!("/lastName"), &json!("maxLength"))
    );
    let shown = value(&api.get("/api/collections/persons").await);
    assert_eq!((&shown["state"], &shown["lastRefused"]["id"]), (&json!("ready"), &json!(niklas)), "{shown}");
    assert_eq!((&shown["lastRefused"]["reason"], shown.get("schema")), (&json!("does-not-fit"), None));
    steward.abort();
}

#[tokio::test]
async fn a_new_unique_index_over_equal_records_names_both() {
    let api = raised();
    api.put_definition("orders", json!({"id": "string"})).await;
    for id in ["a", "b", "c"] {
        api.create("orders", id, json!({"id": id, "n": if id == "b" { 1 } else { 2 }}));
    }
    let steward = api.steward();
    let index = json!({"fields": [{"path": "/n", "type": "number"}], "unique": true});
    let refused =
        problem(&api.put_definition("orders", json!({"id": "string", "indexes": [index]})).await, Code::UniqueConflict);
    assert_eq!((&refused["index"], &refused["ids"]), (&json!(0), &json!(["a", "c"])), "{refused}");
    steward.abort();
}

#[tokio::test]
async fn a_change_that_takes_longer_is_pending_and_can_be_given_up() {
    let api = raised();
    // Nobody does the steps.
    let wanted = json!({"id": "uuid", "schema": {"required": ["firstName"]}});
    for _ in 0..2 {
        let pending = api.put_definition("persons", wanted.clone()).await;
        assert_eq!(pending.status(), StatusCode::ACCEPTED, "{:?}", value(&pending));
        let shown = value(&pending);
        assert_eq!(
            (&shown["state"], &shown["progress"]),
            (&json!("pending"), &json!({"examined": 0, "of": 4})),
            "{shown}"
        );
    }
    problem(&api.put_definition("persons", json!({"id": "uuid", "maxRecords": 1})).await, Code::DefinitionPending);
    let given_up = "/api/collections/persons/pending";
    assert_eq!(api.delete(given_up).await.status(), StatusCode::NO_CONTENT);
    problem(&api.delete(given_up).await, Code::NothingPending);
    problem(&api.delete("/api/collections/orders/pending").await, Code::UnknownCollection);
    assert_eq!(value(&api.get("/api/collections/persons").await)["state"], "ready");
}

#[tokio::test]
async fn records_that_would_expire_at_once_are_counted_first() {
    let api = raised();
    api.put_definition("sessions", json!({"id": "string"})).await;
    for (id, until) in [("old", 1), ("older", 0), ("new", 4_000_000_000_u64)] {
        api.create("sessions", id, json!({"id": id, "until": until}));
    }
    let definition = json!({"id": "string", "expires": "/until"});
    let taken = api.lock().taken;
    let refused = problem(&api.put_definition("sessions", definition.clone()).await, Code::WouldExpire);
    assert_eq!(refused["count"], 2);
    let after = {
        let parts = api.lock();
        (parts.taken, parts.asked)
    };
    assert_eq!(after, (taken, 1), "nothing was written, and the leader was confirmed");
    let steward = api.steward();
    let path = "/api/collections/sessions?expire-now=true";
    let changed = api.json("PUT", path, definition.to_string()).await;
    assert_eq!(changed.status(), StatusCode::OK, "{:?}", value(&changed));
    steward.abort();
}

#[tokio::test]
async fn conditions_are_of_the_revision() {
    let api = raised();
    let put = async |header: &str, tag: &str, most: u64| {
        let request =
            asking().method("PUT").path(ORDERS).header("content-type", "application/json").header(header, tag);
        api.send(request.body(json!({"id": "string", "maxRecords": most}).to_string())).await
    };
    problem(&put("if-match", "*", 1).await, Code::PreconditionFailed);
    let made = put("if-none-match", "*", 1).await;
    assert_eq!(made.status(), StatusCode::CREATED);
    problem(&put("if-none-match", "*", 2).await, Code::PreconditionFailed);
    problem(&put("if-match", "\"1\"", 2).await, Code::PreconditionFailed);
    let tag = header(&made, "etag").unwrap().to_owned();
    assert_eq!(put("if-match", &tag, 2).await.status(), StatusCode::OK);
    problem(&put("if-match", &tag, 3).await, Code::PreconditionFailed);
    problem(&put("if-match", "1", 3).await, Code::InvalidCondition);
    let drop = |tag: &str| asking().method("DELETE").path(ORDERS).header("if-match", tag);
    problem(&api.send(drop(&tag)).await, Code::PreconditionFailed);
    assert_eq!(api.send(drop("*")).await.status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn what_ids_are_never_changes_and_records_are_not_dropped_by_mistake() {
    let api = raised();
    problem(&api.put_definition("persons", json!({"id": "string"})).await, Code::Immutable);
    let refused = problem(&api.delete("/api/collections/persons").await, Code::NotEmpty);
    assert_eq!(refused["count"], 4);
    let created = value(&api.get("/api/collections/persons").await)["created"].as_u64();
    assert_eq!(api.delete("/api/collections/persons?records=delete").await.status(), StatusCode::NO_CONTENT);
    // Another collection of that name: of any records.
    let again = value(&api.put_definition("persons", json!({"id": "string"})).await);
    assert!(again["created"].as_u64() > created, "{again}");
    assert_eq!(again["count"], 0);
}

#[tokio::test]
async fn expiry_is_paused_and_resumed() {
    let api = raised();
    for paused in [true, true, false] {
        let answer = api.json("PUT", "/api/expiry", json!({"paused": paused}).to_string()).await;
        assert_eq!((answer.status(), value(&answer)), (StatusCode::OK, json!({"paused": paused})));
        assert_eq!(api.handle.documents().expiry_paused(), paused);
    }
    for wrong in ["{}", r#"{"paused": 1}"#, r#"{"paused": true, "x": 1}"#, "[]"] {
        problem(&api.json("PUT", "/api/expiry", wrong).await, Code::InvalidRecord);
    }
}

#[tokio::test]
async fn a_write_that_was_refused_by_the_log_says_why() {
    let api = raised();
    api.serve(Serving::Says(WriteError::Refused(Refusal::NoMajority)));
    problem(&api.put_definition("orders", json!({"id": "string"})).await, Code::NoMajority);
    api.serve(Serving::Hangs);
    problem(&api.put_definition("orders", json!({"id": "string"})).await, Code::OutcomeUnknown);
}
