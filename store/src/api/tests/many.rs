//! Patches, batches, and writes with an idempotency key.
use super::*;
use serde_json::json;

const ADAM: &str = "93115462-543c-4149-9b75-2b1a84bd326c";

fn patch(body: &str) -> Asking {
    let request = asking().method("PATCH").path("/persons/93115462-543c-4149-9b75-2b1a84bd326c");
    request.header("content-type", "application/merge-patch+json").body(body)
}

fn keyed(method: &str, path: &str, key: &str, body: &str) -> Asking {
    let request = asking().method(method).path(path).header("content-type", "application/json");
    request.header("idempotency-key", key).body(body)
}

async fn batch(api: &Api, operations: Value) -> Response<Bytes> {
    api.json("POST", "/persons:batch", json!({ "operations": operations }).to_string()).await
}

#[tokio::test]
async fn a_patch_changes_one_field_and_answers_with_the_whole_record() {
    let api = Api::leader();
    let patched = api.send(patch(r#" {"lastName": "de Leeuw", "id": "93115462-543c-4149-9b75-2b1a84bd326c"} "#)).await;
    assert_eq!(patched.status(), StatusCode::OK);
    assert_eq!(value(&patched), json!({"firstName": "Adam", "lastName": "de Leeuw", "id": ADAM}));
    let read = api.get(&format!("/persons/{ADAM}")).await;
    assert_eq!((read.body(), header(&read, "etag")), (patched.body(), header(&patched, "etag")));
    let tag = header(&read, "etag").unwrap().to_owned();
    let same = api.send(patch("{}").header("if-match", &*tag)).await;
    assert_eq!((same.status(), same.body()), (StatusCode::OK, patched.body()));
    assert_eq!(api.send(patch(r#"{"firstName":"B"}"#).header("if-match", &*tag)).await.status(), StatusCode::OK);
    problem(&api.send(patch(r#"{"firstName":"C"}"#).header("if-match", &*tag)).await, Code::PreconditionFailed);
    let unknown = patch("{}").path(JOHANNA_PATH);
    problem(&api.send(unknown).await, Code::UnknownId);
}

#[tokio::test]
async fn a_patch_that_would_make_no_person_is_refused_before_the_log() {
    let api = Api::leader();
    for (body, pointer) in [
        (r#"{"lastName":null}"#, "/lastName"),
        (r#"{"lastName":""}"#, "/lastName"),
        (r#"{"lastName":{"x":1}}"#, "/lastName"),
        (r#"{"age":3}"#, "/age"),
        (r#"{"id":null}"#, "/id"),
        ("[]", ""),
    ] {
        assert_eq!(problem(&api.send(patch(body)).await, Code::InvalidRecord)["pointer"], pointer, "{body}");
    }
    problem(&api.send(patch(&format!(r#"{{"id":"{}"}}"#, Uuid::nil()))).await, Code::IdMismatch);
    problem(&api.send(patch(r#"{"a":1,"a":2}"#)).await, Code::DuplicateKey);
    let as_json = asking().method("PATCH").path(JOHANNA_PATH).header("content-type", "application/json");
    let body = problem(&api.send(as_json.body("{}")).await, Code::UnsupportedMediaType);
    assert!(body["detail"].as_str().unwrap().contains("application/merge-patch+json"), "{body}");
    assert_eq!(api.lock().taken, 0);
}

#[tokio::test]
async fn a_batch_is_done_in_order_as_one_entry() {
    let api = Api::leader();
    let johanna: Value = serde_json::from_str(JOHANNA).unwrap();
    let done = batch(
        &api,
        json!([
            {"op": "create", "record": johanna},
            {"op": "patch", "id": johanna["id"], "patch": {"lastName": "K"}},
            {"op": "put", "id": ADAM, "record": {"firstName": "Adam", "lastName": "New"}, "ifMatch": "*"},
            {"op": "delete", "id": "918b0da0-afda-4cbf-a370-0347a6ede98e"},
            {"op": "create", "record": {"firstName": "Without", "lastName": "Id"}},
        ]),
    )
    .await;
    assert_eq!(done.status(), StatusCode::OK, "{done:?}");
    assert_eq!(header(&done, SEQUENCE), Some("5"));
    let body = value(&done);
    assert_eq!(body["sequence"], 5);
    let statuses: Vec<u64> =
        body["results"].as_array().unwrap().iter().map(|one| one["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 200, 200, 204, 201]);
    let read = api.get(JOHANNA_PATH).await;
    assert_eq!(value(&read)["lastName"], "K");
    assert_eq!(body["results"][1]["etag"], header(&read, "etag").unwrap());
    assert_eq!(body["results"][3]["etag"], Value::Null);
    let made = api.get(&format!("/persons/{}", body["results"][4]["id"].as_str().unwrap())).await;
    assert_eq!(value(&made)["firstName"], "Without");
    assert_eq!(api.count().await, 5);
}

#[tokio::test]
async fn a_batch_of_which_one_operation_cannot_be_done_does_nothing_and_says_which() {
    let api = Api::leader();
    let before = api.get("/persons").await.body().clone();
    let good = json!({"op": "delete", "id": ADAM});
    for (bad, status, word) in [
        (json!({"op": "delete", "id": Uuid::nil()}), 404, "unknown-id"),
        (json!({"op": "patch", "id": Uuid::nil(), "patch": {}}), 404, "unknown-id"),
        (
            json!({"op": "create", "record": {"firstName": "X", "lastName": "Y", "id": "e0a08c5b-62d5-4b20-a024-e1c270d901c2"}}),
            409,
            "conflict",
        ),
        (
            json!({"op": "put", "id": Uuid::nil(), "record": {"firstName": "X", "lastName": "Y"}, "ifMatch": format!("\"{:032x}\"", 1)}),
            412,
            "precondition-failed",
        ),
        (
            json!({"op": "put", "id": "e0a08c5b-62d5-4b20-a024-e1c270d901c2", "record": {"firstName": "X", "lastName": "Y"}, "ifNoneMatch": "*"}),
            412,
            "precondition-failed",
        ),
    ] {
        let body = problem(&batch(&api, json!([good, bad, good])).await, Code::BatchNotDone);
        assert_eq!((&body["operation"], &body["pointer"]), (&1.into(), &"/operations/1".into()));
        assert_eq!(body["reason"]["status"], status);
        assert_eq!(body["reason"]["type"], format!("urn:leasehold:{word}"));
        assert_eq!(api.get("/persons").await.body(), &before, "{bad}");
    }
}

#[tokio::test]
async fn a_batch_that_is_not_as_it_must_be_is_refused_with_the_place() {
    let api = Api::leader();
    for (body, pointer) in [
        (json!([]), ""),
        (json!({}), "/operations"),
        (json!({"operations": []}), "/operations"),
        (json!({"operations": {}}), "/operations"),
        (json!({"operations": [], "more": 1}), "/more"),
        (json!({"operations": [1]}), "/operations/0"),
        (json!({"operations": [{}]}), "/operations/0/op"),
        (json!({"operations": [{"op": "move", "id": ADAM}]}), "/operations/0/op"),
        (json!({"operations": [{"op": "delete"}]}), "/operations/0/id"),
        (json!({"operations": [{"op": "delete", "id": "x"}]}), "/operations/0/id"),
        (json!({"operations": [{"op": "delete", "id": ADAM, "record": {}}]}), "/operations/0/record"),
        (json!({"operations": [{"op": "delete", "id": ADAM, "ifMatch": "x"}]}), "/operations/0/ifMatch"),
        (json!({"operations": [{"op": "delete", "id": ADAM, "ifNoneMatch": ""}]}), "/operations/0/ifNoneMatch"),
        (json!({"operations": [{"op": "create", "id": ADAM, "record": {}}]}), "/operations/0/id"),
        (json!({"operations": [{"op": "put", "id": ADAM}]}), "/operations/0/record"),
    ] {
        let refused = api.json("POST", "/persons:batch", body.to_string()).await;
        assert_eq!(problem(&refused, Code::InvalidBatch)["pointer"], pointer, "{body}");
    }
    let deep = "{\"operations\": [\n  {\"op\": \"delete\", \"id\": \"93115462-543c-4149-9b75-2b1a84bd326c\"},\n  {\"op\": \"create\", \"record\":\n    {\"firstName\": 1, \"lastName\": \"x\"}}]}";
    let body = problem(&api.json("POST", "/persons:batch", deep).await, Code::InvalidRecord);
    assert_eq!(body["pointer"], "/operations/1/record/firstName");
    assert_eq!((&body["line"], &body["column"]), (&4.into(), &19.into()), "{body}");
    let other = json!({"operations": [{"op": "put", "id": ADAM, "record": {"firstName": "X", "lastName": "Y", "id": Uuid::nil()}}]});
    problem(&api.json("POST", "/persons:batch", other.to_string()).await, Code::InvalidBatch);
    let conditional = asking().method("POST").path("/persons:batch").header("if-match", "*");
    let body = r#"{"operations": []}"#;
    let refused = api.send(conditional.header("content-type", "application/json").body(body)).await;
    problem(&refused, Code::InvalidCondition);
    assert_eq!(api.lock().taken, 0);
}

#[tokio::test]
async fn the_same_post_under_the_same_key_makes_one_record_and_gets_one_answer() {
    let api = Api::leader();
    let body = r#"{"firstName":"No","lastName":"Id"}"#;
    let first = api.send(keyed("POST", "/persons", "\"key 1\"", body)).await;
    assert_eq!(first.status(), StatusCode::CREATED);
    api.post(JOHANNA).await;
    for (key, body) in [("\"key 1\"", body.to_owned()), ("key 1", body.replace(':', " :\n "))] {
        let again = api.send(keyed("POST", "/persons", key, &body)).await;
        assert_eq!((again.status(), again.body()), (first.status(), first.body()));
        for name in ["location", "etag", SEQUENCE, "content-type"] {
            assert_eq!(header(&again, name), header(&first, name), "{name}");
        }
    }
    assert_eq!(api.count().await, 6);
    problem(&api.send(keyed("POST", "/persons", "key 1", &body.replace("Id", "Ib"))).await, Code::KeyReused);
    problem(&api.send(keyed("PUT", JOHANNA_PATH, "key 1", body)).await, Code::KeyReused);
    assert_eq!(api.count().await, 6);
    let other = api.send(keyed("POST", "/persons", "key 2", body)).await;
    assert_eq!(other.status(), StatusCode::CREATED);
    assert_ne!(other.body(), first.body());
}

#[tokio::test]
async fn every_write_takes_a_key_and_a_decision_against_it_is_remembered_too() {
    let api = Api::leader();
    let path = "/persons/918b0da0-afda-4cbf-a370-0347a6ede98e";
    for _ in 0..2 {
        assert_eq!(api.send(keyed("DELETE", path, "d", "")).await.status(), StatusCode::NO_CONTENT);
    }
    problem(&api.json("DELETE", path, "").await, Code::UnknownId);
    let body = r#"{"firstName":"A","lastName":"B"}"#;
    for _ in 0..2 {
        assert_eq!(api.send(keyed("PUT", path, "p", body)).await.status(), StatusCode::CREATED);
    }
    let conflict =
        api.send(keyed("POST", "/persons", "c", &JOHANNA.replace("e956b5d0-fa0c-40e8-9da9-333c214dcaf7", ADAM))).await;
    problem(&conflict, Code::Conflict);
    api.json("DELETE", &format!("/persons/{ADAM}"), "").await;
    let again =
        api.send(keyed("POST", "/persons", "c", &JOHANNA.replace("e956b5d0-fa0c-40e8-9da9-333c214dcaf7", ADAM))).await;
    problem(&again, Code::Conflict);
    assert_eq!(header(&again, SEQUENCE), header(&conflict, SEQUENCE));
    let operations =
        json!({"operations": [{"op": "create", "record": {"firstName": "In", "lastName": "Batch"}}]}).to_string();
    let first = api.send(keyed("POST", "/persons:batch", "b", &operations)).await;
    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(api.send(keyed("POST", "/persons:batch", "b", &operations)).await.body(), first.body());
    assert_eq!(api.count().await, 4);
}

#[tokio::test]
async fn a_key_that_is_none_is_refused() {
    let api = Api::leader();
    for key in ["\"\"", "\"open", &"x".repeat(256)] {
        problem(&api.send(keyed("POST", "/persons", key, JOHANNA)).await, Code::InvalidKey);
    }
    let mut twice = warp::http::HeaderMap::new();
    twice.append("idempotency-key", "a".parse().unwrap());
    assert_eq!(key::of(&twice).unwrap().as_deref(), Some("a"));
    twice.append("idempotency-key", "a".parse().unwrap());
    assert_eq!(key::of(&twice).unwrap_err().code(), Code::InvalidKey);
    assert_eq!(api.lock().taken, 0);
    assert_eq!(api.send(keyed("POST", "/persons", &"x".repeat(255), JOHANNA)).await.status(), StatusCode::CREATED);
}
