//! Records of collections of any kind, and persons where format 2 is in force.
use super::*;
use leasehold_documents::{Action, Collection, Condition, IdRef, On, Operation, Seen};
use leasehold_replication::Phase;
use serde_json::json;

const ORDERS: &str = r#"{"id": "string"}"#;
/// `n` is a number of at most 10.
const COUNTED: &str =
    r#"{"id": "string", "schema": {"properties": {"n": {"type": "integer", "maximum": 10}}, "required": ["n"]}}"#;

fn with_orders(definition: &str) -> Api {
    let api = Api::leader_of_collections();
    api.defined_as("orders", definition);
    api
}

fn patch(path: &str, body: &str) -> Asking {
    asking().method("PATCH").path(path).header("content-type", "application/merge-patch+json").body(body)
}

fn keyed(method: &str, path: &str, key: &str, body: &str) -> Asking {
    let request = asking().method(method).path(path).header("content-type", "application/json");
    request.header("idempotency-key", key).body(body)
}

#[tokio::test]
async fn a_record_of_any_form_is_stored_as_sent_and_read_back() {
    let api = with_orders(ORDERS);
    let created = api.json("POST", "/orders", "{ \"n\" : 1.10,\n \"id\": \"K\u{f6}ln 1\" }").await;
    assert_eq!(created.status(), StatusCode::CREATED, "{created:?}");
    assert_eq!(created.body(), "{\"n\":1.10,\"id\":\"K\u{f6}ln 1\"}");
    assert_eq!(header(&created, "location"), Some("/orders/K%C3%B6ln%201"));
    let read = api.get("/%6Frders/K%C3%B6ln%201").await;
    assert_eq!((read.body(), header(&read, "etag")), (created.body(), header(&created, "etag")));
    let same = api.json("POST", "/orders", r#"{"n":1.10,"id":"Köln 1"}"#).await;
    assert_eq!(same.status(), StatusCode::OK);
    problem(&api.json("POST", "/orders", r#"{"n":1.1,"id":"Köln 1"}"#).await, Code::Conflict);
    let made = api.json("POST", "/orders", "{}").await;
    let id = value(&made)["id"].as_str().unwrap().to_owned();
    assert_eq!(id.parse::<Uuid>().unwrap().get_version_num(), 7);
    let put = api.json("PUT", &format!("/orders/{id}"), r#"{"a":[]}"#).await;
    assert_eq!((put.status(), value(&put)), (StatusCode::OK, json!({"a": [], "id": id})));
    let patched = api.send(patch(&format!("/orders/{id}"), r#"{"a": null, "b": {"c": 1}}"#)).await;
    assert_eq!(value(&patched), json!({"id": id, "b": {"c": 1}}));
    assert_eq!(api.json("DELETE", &format!("/orders/{id}"), "").await.status(), StatusCode::NO_CONTENT);
    problem(&api.get(&format!("/orders/{id}")).await, Code::UnknownId);
}

#[tokio::test]
async fn what_is_no_record_there_is_refused_with_its_pointer_and_nothing_is_written() {
    let api = with_orders(r#"{"id": "uuid"}"#);
    let path = format!("/orders/{}", Uuid::nil());
    for (body, code, pointer) in [
        ("[]", Code::InvalidRecord, ""),
        (r#"{"a": [1e400]}"#, Code::InvalidRecord, "/a/0"),
        (r#"{"id": "x"}"#, Code::InvalidRecord, "/id"),
        (&*format!(r#"{{"id": "{}"}}"#, Uuid::max()), Code::IdMismatch, "/id"),
    ] {
        assert_eq!(problem(&api.json("PUT", &path, body).await, code)["pointer"], pointer, "{body}");
    }
    problem(&api.json("PUT", "/orders/x", "{}").await, Code::InvalidId);
    problem(&api.json("PUT", "/orders/%2e%2e", "{}").await, Code::InvalidId);
    problem(&api.json("PUT", &path, r#"{"a":1,"a":2}"#).await, Code::DuplicateKey);
    assert_eq!(api.lock().taken, 0);
    let put = api.json("PUT", &path.to_uppercase().replace("ORDERS", "orders"), "{}").await;
    assert_eq!(value(&put)["id"], Uuid::nil().to_string());
}

#[tokio::test]
async fn a_record_must_fit_the_schema_also_after_a_patch() {
    let api = with_orders(COUNTED);
    for (body, pointer, rule) in
        [("{}", "", "required"), (r#"{"n": 11}"#, "/n", "maximum"), (r#"{"n": "x"}"#, "/n", "type")]
    {
        let body = problem(&api.json("PUT", "/orders/a", body).await, Code::InvalidRecord);
        assert_eq!((&body["pointer"], &body["rule"]), (&pointer.into(), &rule.into()), "{body}");
    }
    assert_eq!(api.lock().taken, 0);
    assert_eq!(api.json("PUT", "/orders/a", r#"{"n": 1}"#).await.status(), StatusCode::CREATED);
    let body = problem(&api.send(patch("/orders/a", r#"{"n": 12}"#)).await, Code::InvalidRecord);
    assert_eq!((&body["pointer"], &body["value"]), (&"/n".into(), &"12".into()));
    problem(&api.send(patch("/orders/a", r#"{"n": null}"#)).await, Code::InvalidRecord);
    let patched = api.send(patch("/orders/a", r#"{"m": 12, "id": "a"}"#)).await;
    assert_eq!((patched.status(), value(&patched)), (StatusCode::OK, json!({"n": 1, "id": "a", "m": 12})));
    problem(&api.send(patch("/orders/b", r#"{"n": 3}"#)).await, Code::UnknownId);
    let stale = patch("/orders/a", r#"{"n": 99}"#).header("if-match", format!("\"{:032x}\"", 1));
    problem(&api.send(stale).await, Code::PreconditionFailed);
}

#[tokio::test]
async fn a_pending_schema_binds_new_writes_too() {
    let api = with_orders(ORDERS);
    assert_eq!(api.json("PUT", "/orders/a", "{}").await.status(), StatusCode::CREATED);
    api.defined_as("orders", COUNTED);
    assert!(api.lock().documents.collection("orders").unwrap().defined().unwrap().pending.is_some());
    problem(&api.json("PUT", "/orders/b", "{}").await, Code::InvalidRecord);
    problem(&api.send(patch("/orders/a", r#"{"m": 1}"#)).await, Code::InvalidRecord);
    assert_eq!(api.send(patch("/orders/a", r#"{"n": 1}"#)).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_definition_that_changes_on_the_way_is_looked_at_again() {
    let api = with_orders(ORDERS);
    api.lock().meanwhile = vec![defining("orders", r#"{"id": "string", "maxRecords": 5}"#)];
    assert_eq!(api.json("PUT", "/orders/a", r#"{"n": 1}"#).await.status(), StatusCode::CREATED);
    assert_eq!(api.lock().taken, 2);
    api.lock().meanwhile = vec![defining("orders", COUNTED)];
    problem(&api.json("PUT", "/orders/b", "{}").await, Code::InvalidRecord);
}

fn put(name: &str, epoch: leasehold_replication::Seq, id: &str, record: &str) -> Bytes {
    let operation = Operation {
        id: leasehold_documents::IdRef::Text(id),
        action: Action::Put { record },
        condition: Condition::None,
        seen: Seen::Any,
    };
    Command::new(Work::One(On::at(name, epoch), operation)).encode(2)
}

#[tokio::test]
async fn a_patch_that_lost_a_race_is_merged_again_and_loses_nothing() {
    let api = with_orders(COUNTED);
    api.json("PUT", "/orders/a", r#"{"n": 1}"#).await;
    let epoch = api.lock().documents.collection("orders").unwrap().epoch().unwrap();
    api.lock().meanwhile = vec![put("orders", epoch, "a", r#"{"n":2,"id":"a"}"#)];
    let patched = api.send(patch("/orders/a", r#"{"m": 3}"#)).await;
    assert_eq!(value(&patched), json!({"n": 2, "id": "a", "m": 3}));
    // Also where the record was not there when the leader looked.
    api.lock().meanwhile = vec![put("orders", epoch, "b", r#"{"n":2,"id":"b"}"#)];
    problem(&api.send(patch("/orders/b", r#"{"n": 30}"#)).await, Code::InvalidRecord);
}

/// Beyond 64 KiB the leader merges, as where there is a schema: alone, in a batch, and where a record becomes so long within it.
#[tokio::test]
async fn patches_of_long_records_are_merged_by_the_leader() {
    let api = Api::leader_of_collections();
    api.defined_as("orders", r#"{"id": "string"}"#);
    for (id, bytes) in [("long", 100_000), ("growing", 65_000)] {
        let record = json!({ "text": "x".repeat(bytes), "id": id }).to_string();
        let put = Operation::new(IdRef::Text(id), Action::Put { record: &record }, Condition::None);
        let epoch = api.handle.documents().collection("orders").and_then(Collection::epoch);
        let put = Command::new(Work::One(On { collection: "orders", epoch }, put)).encode(2);
        assert!(api.lock().apply(&put).answer.outcome.is_done());
    }
    let patched = value(&api.send(patch("/orders/long", r#"{"n": 1}"#)).await);
    assert_eq!((&patched["n"], patched["text"].as_str().unwrap().len()), (&json!(1), 100_000));
    let more = |number: usize| json!({ format!("m{number}"): "y".repeat(300) });
    let operations = |id: &str| -> Vec<Value> {
        (0..4).map(|number| json!({ "op": "patch", "id": id, "patch": more(number) })).collect()
    };
    for id in ["long", "growing"] {
        let batch = json!({ "operations": operations(id) }).to_string();
        let answer = api.json("POST", "/orders:batch", batch).await;
        assert_eq!(answer.status(), StatusCode::OK, "{answer:?}");
        let record = value(&api.get(&format!("/orders/{id}")).await);
        assert_eq!((0..4).map(|number| record[format!("m{number}")].as_str().unwrap().len()).sum::<usize>(), 1_200);
    }
}

/// What the leader merges for other records does not count where it asks what is merged at apply.
#[tokio::test]
async fn a_record_may_become_long_in_a_batch_that_patches_other_long_ones() {
    let api = with_orders(ORDERS);
    for (id, bytes) in [("l1", 1_040_000), ("l2", 1_040_000), ("s", 64_600)] {
        let record = json!({ "text": "x".repeat(bytes), "id": id }).to_string();
        let put = Operation::new(IdRef::Text(id), Action::Put { record: &record }, Condition::None);
        let epoch = api.handle.documents().collection("orders").and_then(Collection::epoch);
        let put = Command::new(Work::One(On { collection: "orders", epoch }, put)).encode(2);
        assert!(api.lock().apply(&put).answer.outcome.is_done());
    }
    let patch = |id: &str, name: &str| json!({ "op": "patch", "id": id, "patch": { name: "y".repeat(700) } });
    let operations = [
        json!({ "op": "patch", "id": "l1", "patch": { "x": 1 } }),
        json!({ "op": "patch", "id": "l2", "patch": { "x": 1 } }),
        patch("s", "a"),
        patch("s", "b"),
    ];
    let answer = api.json("POST", "/orders:batch", json!({ "operations": operations }).to_string()).await;
    assert_eq!(answer.status(), StatusCode::OK, "{answer:?}");
}

#[tokio::test]
async fn many_patches_of_one_record_are_all_done() {
    let api = Arc::new(with_orders(COUNTED));
    api.json("PUT", "/orders/a", r#"{"n": 1}"#).await;
    let before = api.lock().taken;
    let all: Vec<_> = (0..20)
        .map(|number| {
            let api = Arc::clone(&api);
            tokio::spawn(async move { api.send(patch("/orders/a", &format!(r#"{{"m{number}": 1}}"#))).await.status() })
        })
        .collect();
    for one in all {
        assert_eq!(one.await.unwrap(), StatusCode::OK);
    }
    assert_eq!(value(&api.get("/orders/a").await).as_object().unwrap().len(), 22);
    assert_eq!(api.lock().taken - before, 20, "none had to be tried twice");
}

#[tokio::test]
async fn a_write_that_never_stands_still_is_not_done_and_says_so() {
    let api = with_orders(ORDERS);
    let refused = leasehold_documents::Outcome::Contention;
    api.lock().says = Some(refused);
    let body = problem(&api.json("PUT", "/orders/a", "{}").await, Code::Contention);
    assert!(body["detail"].as_str().unwrap().contains("not done"), "{body}");
    assert!(api.lock().taken > 3);
}

#[tokio::test]
async fn the_time_of_a_write_that_was_sent_on_is_what_is_left_of_it_there() {
    let api = with_orders(ORDERS);
    let put = || {
        let put = asking().method("PUT").path("/orders/a").header("content-type", "application/json").body("{}");
        put.header("leasehold-time-left-ms", "0")
    };
    problem(&api.send(put().header("leasehold-forwarded", "pod-1")).await, Code::Contention);
    assert_eq!(api.lock().taken, 0, "no try was left");
    assert_eq!(api.send(put()).await.status(), StatusCode::CREATED, "a client has all of it");
}

#[tokio::test]
async fn a_collection_that_does_not_exist_is_404_confirmed_by_a_majority() {
    let api = with_orders(ORDERS);
    problem(&api.json("POST", "/parts", "{}").await, Code::UnknownCollection);
    problem(&api.json("DELETE", "/parts/x", "").await, Code::UnknownCollection);
    problem(&api.get("/parts").await, Code::UnknownCollection);
    problem(&api.send(asking().method("OPTIONS").path("/parts")).await, Code::UnknownCollection);
    let options = api.send(asking().method("OPTIONS").path("/orders/x")).await;
    assert_eq!(header(&options, "allow"), Some("GET, HEAD, PUT, PATCH, DELETE, OPTIONS"));
    problem(&api.json("PUT", "/orders/", "{}").await, Code::MethodNotAllowed);
    let confirmed = api.lock().asked;
    assert_eq!(confirmed, 2, "each refusal of a write");
    // One that was deposed and does not know it has no majority.
    api.lock().confirms = Some(Err(Refusal::NoMajority));
    problem(&api.json("POST", "/parts", "{}").await, Code::NoMajority);
    assert_eq!(api.lock().taken, 0);
}

#[tokio::test]
async fn who_does_not_lead_says_so_before_it_looks_at_its_data() {
    let api = with_orders(COUNTED);
    let formats = FormatStatus { in_force: 2, log: 2, ..Default::default() };
    api.set_status(Status { formats, ..status(Phase::Follower, "pod-1") });
    for (method, path, body) in [
        ("PUT", "/orders/a", "{}"),
        ("POST", "/parts", "{}"),
        ("POST", "/persons", r#"{"a": 1}"#),
        ("POST", "/orders:batch", r#"{"operations": [{"op": "create", "record": {}}]}"#),
    ] {
        problem(&api.json(method, path, body).await, Code::NotLeader);
    }
    let parts = api.lock();
    assert_eq!((parts.taken, parts.asked), (0, 0));
}

#[tokio::test]
async fn in_format_1_there_are_persons_alone_and_the_raise_changes_nothing_for_them() {
    let api = Api::leader();
    problem(&api.json("POST", "/orders", "{}").await, Code::UpgradePending);
    problem(&api.json("PUT", &format!("{JOHANNA_PATH}?expires-in=30s"), JOHANNA).await, Code::UpgradePending);
    // Raised between the look and the log.
    let position = api.lock().documents.applied().seq.0;
    api.lock().raises = true;
    let created = api.post(JOHANNA).await;
    assert_eq!((created.status(), created.body()), (StatusCode::CREATED, &Bytes::from(JOHANNA_STORED)));
    assert_eq!(header(&created, SEQUENCE), Some(&*(position + 3).to_string()), "the raise, its refusal, the write");
    api.raise_to(2);
    assert_eq!(api.post(JOHANNA).await.status(), StatusCode::OK);
    assert_eq!(api.send(patch(JOHANNA_PATH, r#"{"lastName":"K"}"#)).await.status(), StatusCode::OK);
    assert_eq!(problem(&api.post(r#"{"firstName":"A"}"#).await, Code::InvalidRecord)["pointer"], "/lastName");
    let batch = json!({"operations": [{"op": "delete", "id": "e956b5d0-fa0c-40e8-9da9-333c214dcaf7"}]});
    assert_eq!(api.json("POST", "/persons:batch", batch.to_string()).await.status(), StatusCode::OK);
    assert_eq!(api.count().await, 4);
}

#[tokio::test]
async fn a_write_that_was_done_before_the_raise_gives_its_answer_after_it() {
    let api = Api::leader();
    let batch = r#"{"operations": [{"op": "create", "record": {"firstName": "A", "lastName": "B"}}]}"#;
    let sends = || [keyed("POST", "/persons", "k", JOHANNA), keyed("POST", "/persons:batch", "b", batch)];
    let mut before = Vec::new();
    for send in sends() {
        before.push(api.send(send).await);
    }
    api.raise_to(2);
    for (send, first) in sends().into_iter().zip(&before) {
        let again = api.send(send).await;
        assert_eq!((again.status(), again.body()), (first.status(), first.body()));
        assert_eq!(header(&again, SEQUENCE), header(first, SEQUENCE));
    }
    problem(&api.send(keyed("POST", "/persons", "k", r#"{"firstName":"A","lastName":"B"}"#)).await, Code::KeyReused);
    assert_eq!(api.count().await, 6);
}

#[tokio::test]
async fn a_collection_that_is_called_persons_later_is_like_any_other() {
    let api = Api::leader_of_collections();
    assert_eq!(
        api.json("DELETE", "/api/collections/persons?records=delete", "").await.status(),
        StatusCode::NO_CONTENT
    );
    api.defined_as("persons", ORDERS);
    assert_eq!(api.json("PUT", "/persons/a", r#"{"n": 1}"#).await.status(), StatusCode::CREATED);
    assert_eq!(api.get("/persons/a").await.body(), r#"{"n":1,"id":"a"}"#);
}

#[tokio::test]
async fn a_write_under_a_key_gets_its_own_answer_whatever_the_data_say_by_now() {
    let api = with_orders(COUNTED);
    let first = api.send(keyed("PUT", "/orders/a", "k", r#"{"n": 1}"#)).await;
    assert_eq!(first.status(), StatusCode::CREATED);
    // By now the record would not fit.
    api.defined_as("orders", r#"{"id": "string"}"#);
    api.defined_as("orders", r#"{"id": "string", "indexes": [{"fields": ["/n"]}], "maxRecords": 1}"#);
    let again = api.send(keyed("PUT", "/orders/a", "k", r#"{"n": 1}"#)).await;
    assert_eq!((again.status(), again.body()), (StatusCode::CREATED, first.body()));
    problem(&api.send(keyed("PUT", "/orders/a", "k", r#"{"n":1}"#)).await, Code::KeyReused);
    // A patch of a record that is gone.
    let patched = || patch("/orders/a", r#"{"m": 1}"#).header("idempotency-key", "p");
    let first = api.send(patched()).await;
    api.json("DELETE", "/orders/a", "").await;
    let again = api.send(patched()).await;
    assert_eq!((again.status(), again.body()), (StatusCode::OK, first.body()));
}

#[tokio::test]
async fn a_refusal_under_a_key_is_kept() {
    let api = with_orders(COUNTED);
    let body = problem(&api.send(keyed("PUT", "/orders/a", "k", "{}")).await, Code::InvalidRecord);
    assert_eq!(api.lock().taken, 1, "it went through the log");
    api.defined_as("orders", r#"{"id": "string"}"#);
    let again = problem(&api.send(keyed("PUT", "/orders/a", "k", "{}")).await, Code::InvalidRecord);
    assert_eq!(again, body);
    assert_eq!(api.json("PUT", "/orders/a", "{}").await.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn a_refusal_that_is_kept_is_short_however_long_the_names_in_the_record_are() {
    let api = with_orders(r#"{"id": "string", "schema": {"additionalProperties": {"type": "string"}}}"#);
    let record = json!({ "é".repeat(800): 1 }).to_string();
    let body = problem(&api.send(keyed("PUT", "/orders/a", "k", &record)).await, Code::InvalidRecord);
    assert!(body["pointer"].as_str().unwrap().starts_with("/ééé") && body.to_string().len() < 2_500, "{body}");
    assert_eq!(problem(&api.send(keyed("PUT", "/orders/a", "k", &record)).await, Code::InvalidRecord), body);
}

#[tokio::test]
async fn a_transaction_whose_collection_is_dropped_on_the_way_is_told_which_one_is_gone() {
    let api = with_orders(ORDERS);
    api.defined_as("parts", ORDERS);
    let drop = Work::Drop { collection: "parts", condition: DefinitionCondition::None, with_records: false };
    api.lock().meanwhile = vec![Command::new(drop).encode(2)];
    let operations = r#"{"operations": [{"op": "create", "collection": "orders", "id": "a", "record": {}},
                                        {"op": "create", "collection": "parts", "id": "b", "record": {}}]}"#;
    let first = problem(&api.send(keyed("POST", "/api/transaction", "k", operations)).await, Code::UnknownCollection);
    assert!(first["detail"].as_str().unwrap().contains("\"parts\""), "{first}");
    let again = problem(&api.send(keyed("POST", "/api/transaction", "k", operations)).await, Code::UnknownCollection);
    assert_eq!(again, first);
}

#[tokio::test]
async fn what_apply_decides_is_said_in_the_words_of_the_definition() {
    let api = with_orders(
        r#"{"id": "string", "indexes": [{"fields": ["/email"], "unique": true}], "maxRecords": 2, "expires": "/until"}"#,
    );
    assert_eq!(api.json("PUT", "/orders/a", r#"{"email": "x"}"#).await.status(), StatusCode::CREATED);
    let body = problem(&api.json("PUT", "/orders/b", r#"{"email": "x"}"#).await, Code::UniqueConflict);
    assert_eq!((&body["index"], &body["id"], &body["fields"]), (&0.into(), &"a".into(), &json!(["/email"])));
    let body = problem(&api.json("PUT", "/orders/b", r#"{"until": "soon"}"#).await, Code::InvalidRecord);
    assert_eq!((&body["pointer"], &body["rule"]), (&"/until".into(), &"expires".into()), "{body}");
    let long = json!({ "email": "x".repeat(1_025) }).to_string();
    let body = problem(&api.json("PUT", "/orders/b", long).await, Code::InvalidRecord);
    assert_eq!((&body["pointer"], &body["rule"]), (&"/email".into(), &"index".into()), "{body}");
    assert_eq!(api.json("PUT", "/orders/b", "{}").await.status(), StatusCode::CREATED);
    assert_eq!(problem(&api.json("PUT", "/orders/c", "{}").await, Code::TooManyRecords)["maxRecords"], 2);
}

#[tokio::test]
async fn a_time_of_expiry_is_set_by_the_leaders_clock() {
    let api = with_orders(r#"{"id": "string", "expires": "/meta/until"}"#);
    let put = api.json("PUT", "/orders/a?expires-in=1h", r#"{"meta": {"x": 1}}"#).await;
    assert_eq!(put.status(), StatusCode::CREATED, "{put:?}");
    let until = value(&put)["meta"]["until"].as_str().unwrap().to_owned();
    assert!(until.len() == 24 && until.ends_with('Z'), "{until}");
    assert_eq!(value(&put)["meta"]["x"], 1);
    let patched = api.send(patch("/orders/a?expires-in=2h", "{}")).await;
    assert!(*value(&patched)["meta"]["until"].as_str().unwrap() > *until, "{patched:?}");
    // A value that is no object would be replaced by one.
    for refused in [
        api.json("PUT", "/orders/a?expires-in=1h", r#"{"meta": "gold"}"#).await,
        api.send(patch("/orders/a?expires-in=1h", r#"{"meta": [1]}"#)).await,
    ] {
        let body = problem(&refused, Code::InvalidRecord);
        assert_eq!((&body["pointer"], &body["rule"]), (&"/meta".into(), &"expires".into()), "{body}");
    }
    api.defined_as("parts", ORDERS);
    problem(&api.json("PUT", "/parts/a?expires-in=1h", "{}").await, Code::InvalidQuery);
    problem(&api.json("PUT", "/orders/a?expires=1h", "{}").await, Code::InvalidQuery);
}
