//! Batches of any collection, and transactions.
use super::*;
use serde_json::json;

const COUNTED: &str = r#"{"id": "string", "schema": {"properties": {"n": {"type": "integer", "maximum": 10}}}}"#;

fn shop() -> Api {
    let api = Api::leader_of_collections();
    api.defined_as("orders", COUNTED);
    api.defined_as("stock", r#"{"id": "string"}"#);
    api
}

async fn transaction(api: &Api, operations: Value) -> Response<Bytes> {
    api.json("POST", "/api/transaction", json!({ "operations": operations }).to_string()).await
}

#[tokio::test]
async fn a_transaction_is_done_over_several_collections_or_not_at_all() {
    let api = shop();
    let order = json!({"collection": "orders", "op": "create", "id": "o1", "record": {"n": 1}});
    let done = transaction(
        &api,
        json!([
            {"collection": "stock", "op": "put", "id": "s", "record": {"left": 5}},
            order,
            {"collection": "orders", "op": "patch", "id": "o1", "patch": {"n": 2}},
            {"collection": "orders", "op": "patch", "id": "o1", "patch": {"m": true}, "ifMatch": "*"},
            {"collection": "stock", "op": "check", "id": "s", "ifMatch": "*"},
            {"collection": "persons", "op": "delete", "id": "93115462-543c-4149-9b75-2b1a84bd326c"},
        ]),
    )
    .await;
    assert_eq!(done.status(), StatusCode::OK, "{done:?}");
    let statuses: Vec<Value> =
        value(&done)["results"].as_array().unwrap().iter().map(|one| one["status"].clone()).collect();
    assert_eq!(statuses, [201, 201, 200, 200, 200, 204]);
    assert_eq!(value(&api.get("/orders/o1").await), json!({"n": 2, "id": "o1", "m": true}));
    assert_eq!(api.count().await, 3);
    let body = transaction(
        &api,
        json!([
            {"collection": "stock", "op": "delete", "id": "s"},
            {"collection": "orders", "op": "check", "id": "o1", "ifNoneMatch": "*"},
        ]),
    )
    .await;
    let body = problem(&body, Code::BatchNotDone);
    assert_eq!((&body["operation"], &body["reason"]["status"]), (&1.into(), &412.into()), "{body}");
    assert_eq!(api.get("/stock/s").await.status(), StatusCode::OK, "nothing is done");
}

#[tokio::test]
async fn what_an_operation_would_make_must_fit_the_schema_and_its_place_is_named() {
    let api = shop();
    for (operations, pointer) in [
        (json!([{"collection": "orders", "op": "put", "id": "a", "record": {"n": 11}}]), "/operations/0/record/n"),
        (
            json!([
                {"collection": "orders", "op": "put", "id": "a", "record": {"n": 1}},
                {"collection": "orders", "op": "patch", "id": "a", "patch": {"n": 11}},
            ]),
            "/operations/1/patch/n",
        ),
    ] {
        let refused = transaction(&api, operations).await;
        assert_eq!(problem(&refused, Code::InvalidRecord)["pointer"], pointer);
    }
    let batch = json!({"operations": [{"op": "create", "record": {"n": "x", "id": "a"}}]}).to_string();
    let refused = api.json("POST", "/orders:batch", batch).await;
    assert_eq!(problem(&refused, Code::InvalidRecord)["pointer"], "/operations/0/record/n");
    assert_eq!(api.lock().taken, 0);
}

#[tokio::test]
async fn a_patch_after_a_delete_of_the_same_transaction_finds_nothing() {
    let api = shop();
    api.json("PUT", "/orders/a", r#"{"n": 1}"#).await;
    let refused = transaction(
        &api,
        json!([
            {"collection": "orders", "op": "delete", "id": "a"},
            {"collection": "orders", "op": "patch", "id": "a", "patch": {"n": 2}},
        ]),
    )
    .await;
    let body = problem(&refused, Code::BatchNotDone);
    assert_eq!((&body["operation"], &body["reason"]["status"]), (&1.into(), &404.into()), "{body}");
}

#[tokio::test]
async fn a_transaction_that_is_not_as_it_must_be_is_refused_with_the_place() {
    let api = shop();
    let id = json!("a");
    for (operation, pointer) in [
        (json!({"op": "delete", "id": id}), "/operations/0/collection"),
        (json!({"op": "delete", "id": id, "collection": "Orders"}), "/operations/0/collection"),
        (json!({"op": "check", "id": id, "collection": "orders"}), "/operations/0/op"),
        (json!({"op": "check", "collection": "orders", "ifMatch": "*"}), "/operations/0/id"),
        (json!({"op": "move", "id": id, "collection": "orders"}), "/operations/0/op"),
        (json!({"op": "delete", "id": "a/b", "collection": "orders"}), "/operations/0/id"),
        (json!({"op": "put", "id": id, "collection": "orders", "patch": {}}), "/operations/0/patch"),
    ] {
        let refused = transaction(&api, json!([operation])).await;
        assert_eq!(problem(&refused, Code::InvalidBatch)["pointer"], pointer, "{operation}");
    }
    let unknown = json!([{"op": "delete", "id": id, "collection": "parts"}]);
    problem(&transaction(&api, unknown).await, Code::UnknownCollection);
    let batch = json!({"operations": [{"op": "check", "id": id, "ifMatch": "*"}]}).to_string();
    assert_eq!(
        problem(&api.json("POST", "/orders:batch", batch).await, Code::InvalidBatch)["pointer"],
        "/operations/0/op"
    );
    let conditional = asking().method("POST").path("/api/transaction").header("content-type", "application/json");
    let conditional = conditional.header("if-match", "*").body(r#"{"operations": []}"#);
    problem(&api.send(conditional).await, Code::InvalidCondition);
    assert_eq!(api.lock().taken, 0);
}

#[tokio::test]
async fn a_transaction_under_a_key_is_done_once() {
    let api = shop();
    let body = json!({"operations": [{"collection": "stock", "op": "create", "record": {}}]}).to_string();
    let send = || {
        let request = asking().method("POST").path("/api/transaction").header("content-type", "application/json");
        request.header("idempotency-key", "t").body(&body)
    };
    let first = api.send(send()).await;
    assert_eq!(first.status(), StatusCode::OK, "{first:?}");
    let again = api.send(send()).await;
    assert_eq!(again.body(), first.body());
    assert_eq!(value(&api.get("/stock").await).as_array().unwrap().len(), 1);
    // By now it would be refused.
    assert_eq!(api.json("DELETE", "/api/collections/stock?records=delete", "").await.status(), StatusCode::NO_CONTENT);
    let again = api.send(send()).await;
    assert_eq!((again.status(), again.body()), (StatusCode::OK, first.body()));
}

#[tokio::test]
async fn transactions_need_format_2() {
    let api = Api::leader();
    let operations = json!([{"collection": "persons", "op": "delete", "id": "93115462-543c-4149-9b75-2b1a84bd326c"}]);
    problem(&transaction(&api, operations).await, Code::UpgradePending);
}
