use super::*;

#[tokio::test]
async fn the_list_is_a_json_array_with_the_four_persons_in_order_of_creation() {
    for api in [Api::leader(), Api::follower()] {
        let list = api.get("/persons").await;
        assert_eq!(list.status(), StatusCode::OK);
        assert_eq!(header(&list, "content-type"), Some("application/json"));
        assert_eq!(header(&list, SEQUENCE), Some("4"));
        assert_eq!(value(&list), serde_json::from_str::<Value>(SEED).unwrap());
    }
}

#[tokio::test]
async fn johanna_is_stored_by_the_leader_and_then_read_by_everybody() {
    let api = Api::leader();
    let created = api.post(JOHANNA).await;
    assert_eq!(created.status(), StatusCode::CREATED);
    assert_eq!(created.body(), JOHANNA_STORED);
    assert_eq!(header(&created, "location"), Some(JOHANNA_PATH));
    assert_eq!(header(&created, "content-type"), Some("application/json"));
    assert_eq!(header(&created, SEQUENCE), Some("5"));
    let read = api.get(JOHANNA_PATH).await;
    assert_eq!(read.status(), StatusCode::OK);
    assert_eq!(read.body(), JOHANNA_STORED);
    assert_eq!(header(&read, SEQUENCE), Some("5"));
    assert_eq!(header(&read, "etag"), header(&created, "etag"));
    let list = api.get("/persons").await;
    assert_eq!(value(&list)[4], value(&read));
}

#[tokio::test]
async fn a_follower_does_not_write_and_names_the_leader() {
    let api = Api::follower();
    for (method, path) in [("POST", "/persons"), ("PUT", JOHANNA_PATH), ("DELETE", JOHANNA_PATH)] {
        let refused = api.json(method, path, JOHANNA).await;
        let body = problem(&refused, Code::NotLeader);
        let address = "pod-1.database-service.database.svc.cluster.local:8089";
        assert_eq!(body["leader"]["name"], "pod-1");
        assert_eq!(body["leader"]["address"], address);
        assert_eq!(body["leader"]["term"], 3);
        assert_eq!(header(&refused, "location"), Some(format!("http://{address}{path}").as_str()));
    }
    assert_eq!(api.count().await, 4);
}

#[tokio::test]
async fn the_same_person_again_is_200_and_another_under_its_id_is_409() {
    let api = Api::leader();
    api.post(JOHANNA).await;
    let spaced = JOHANNA.replace(',', " ,\n ").replace("e956b5d0", "E956B5D0");
    let again = api.post(spaced).await;
    assert_eq!(again.status(), StatusCode::OK, "spaces and upper case in a UUID make no other person");
    assert_eq!(again.body(), JOHANNA_STORED);
    assert_eq!(header(&again, "location"), None);
    let other = api.post(JOHANNA.replace("Koester", "Kuester")).await;
    problem(&other, Code::Conflict);
    assert_eq!(header(&other, SEQUENCE), Some("7"), "a conflict is committed before it is answered");
    assert_eq!(api.get(JOHANNA_PATH).await.body(), JOHANNA_STORED);
    assert_eq!(api.count().await, 5);
}

#[tokio::test]
async fn an_id_is_made_when_it_is_left_out() {
    let api = Api::leader();
    let created = api.post(r#"{"lastName":"Köster","firstName":"Jo\u0068anna"}"#).await;
    assert_eq!(created.status(), StatusCode::CREATED);
    let body = value(&created);
    assert_eq!((&body["firstName"], &body["lastName"]), (&"Johanna".into(), &"Köster".into()));
    let id: Uuid = body["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(id.get_version_num(), 7);
    let read = api.get(header(&created, "location").unwrap()).await;
    assert_eq!(value(&read), body);
}

#[tokio::test]
async fn a_put_makes_then_replaces_and_keeps_the_place_in_the_list() {
    let api = Api::leader();
    let path = "/persons/93115462-543c-4149-9b75-2b1a84bd326c";
    let replaced = api.json("PUT", path, r#"{"firstName":"Adam","lastName":"de Leeuw"}"#).await;
    assert_eq!(replaced.status(), StatusCode::OK);
    assert_eq!(value(&replaced)["lastName"], "de Leeuw");
    assert_eq!(value(&replaced)["id"], "93115462-543c-4149-9b75-2b1a84bd326c");
    assert_eq!(value(&api.get("/persons").await)[1], value(&replaced));
    let made = api.json("PUT", JOHANNA_PATH, JOHANNA).await;
    assert_eq!(made.status(), StatusCode::CREATED);
    assert_eq!(header(&made, "location"), Some(JOHANNA_PATH));
    assert_eq!(api.json("PUT", JOHANNA_PATH, JOHANNA).await.status(), StatusCode::OK);
    assert_eq!(api.count().await, 5);
}

#[tokio::test]
async fn a_deleted_person_is_gone() {
    let api = Api::leader();
    let path = "/persons/93115462-543c-4149-9b75-2b1a84bd326c";
    let deleted = api.send(asking().method("DELETE").path(path)).await;
    assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
    assert!(deleted.body().is_empty());
    assert_eq!(header(&deleted, SEQUENCE), Some("5"));
    problem(&api.get(path).await, Code::UnknownId);
    problem(&api.send(asking().method("DELETE").path(path)).await, Code::UnknownId);
    assert_eq!(api.count().await, 3);
}

#[tokio::test]
async fn conditions_hold_or_nothing_is_changed() {
    let api = Api::leader();
    api.post(JOHANNA).await;
    let other = JOHANNA.replace("Koester", "Kuester");
    let tag = header(&api.get(JOHANNA_PATH).await, "etag").unwrap().to_owned();
    let put = |name: &'static str, value: &str, body: &str| {
        let request = asking().method("PUT").path(JOHANNA_PATH).header("content-type", "application/json");
        request.header(name, value).body(body)
    };
    problem(&api.send(put("if-none-match", "*", &other)).await, Code::PreconditionFailed);
    let unlike = format!("\"{:032x}\"", 1);
    problem(&api.send(put("if-match", &unlike, &other)).await, Code::PreconditionFailed);
    assert_eq!(api.get(JOHANNA_PATH).await.body(), JOHANNA_STORED);
    assert_eq!(api.send(put("if-match", &tag, &other)).await.status(), StatusCode::OK);
    problem(&api.send(put("if-match", &tag, JOHANNA)).await, Code::PreconditionFailed);
    let delete = |value: &str| asking().method("DELETE").path(JOHANNA_PATH).header("if-match", value);
    problem(&api.send(delete(&tag)).await, Code::PreconditionFailed);
    assert_eq!(api.send(delete("*")).await.status(), StatusCode::NO_CONTENT);
    problem(&api.send(put("if-match", "*", JOHANNA)).await, Code::PreconditionFailed);
    assert_eq!(api.send(put("if-none-match", "*", JOHANNA)).await.status(), StatusCode::CREATED);
    // Lists, foreign tags, a tag that a proxy weakened: judged, not refused.
    problem(&api.send(put("if-match", "\"x,y\", W/\"z\"", &other)).await, Code::PreconditionFailed);
    problem(&api.send(put("if-none-match", &format!("\"x\", {tag}"), &other)).await, Code::PreconditionFailed);
    assert_eq!(api.send(put("if-match", &format!("\"x\", {unlike}, W/{tag}"), &other)).await.status(), StatusCode::OK);
    assert_eq!(api.send(put("if-none-match", &tag, JOHANNA)).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_list_of_conditions_is_the_same_request_for_a_key_whatever_the_record_is_by_then() {
    let api = Api::leader();
    api.post(JOHANNA).await;
    let tag = header(&api.get(JOHANNA_PATH).await, "etag").unwrap().to_owned();
    let put = || {
        let request = asking().method("PUT").path(JOHANNA_PATH).header("content-type", "application/json");
        let request =
            request.header("if-match", format!("\"x\", \"{:032x}\", {tag}", 1)).header("idempotency-key", "k");
        request.body(JOHANNA.replace("Koester", "Kuester"))
    };
    let first = api.send(put()).await;
    assert_eq!(first.status(), StatusCode::OK);
    let again = api.send(put()).await;
    assert_eq!((again.status(), again.body()), (first.status(), first.body()));
}

#[tokio::test]
async fn the_list_is_filtered_by_what_is_equal() {
    let api = Api::leader();
    api.post(r#"{"firstName":"Anna Ü","lastName":"Airom"}"#).await;
    let names = |response: Response<Bytes>| -> Vec<String> {
        let list = value(&response);
        list.as_array().unwrap().iter().map(|person| person["firstName"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(api.get("/persons?lastName=Airom").await), ["Alain", "Anna Ü"]);
    assert_eq!(names(api.get("/persons?lastName=Airom&firstName=Anna+%C3%9C").await), ["Anna Ü"]);
    assert_eq!(names(api.get("/persons?id=93115462-543C-4149-9b75-2b1a84bd326c").await), ["Adam"]);
    assert_eq!(api.get("/persons?firstName=Nobody").await.body(), "[]");
    assert_eq!(api.get("/persons?firstName=").await.body(), "[]");
    assert_eq!(names(api.get("/persons?").await).len(), 5);
}

#[tokio::test]
async fn a_list_of_many_pieces_is_whole_and_of_one_moment() {
    let api = Api::leader();
    let many: Vec<Value> = (0..5_000)
        .map(|number| serde_json::json!({"firstName": format!("N{number}"), "lastName": if number % 2 == 0 { "Even" } else { "Odd" }, "id": Uuid::from_u128(number)}))
        .collect();
    api.load(&serde_json::to_string(&many).unwrap());
    let list = value(&api.get("/persons").await);
    assert_eq!(list.as_array().unwrap()[4..], many);
    let odd = value(&api.get("/persons?lastName=Odd").await);
    assert_eq!(odd.as_array().unwrap().len(), 2_500);
    let last = value(&api.get("/persons?firstName=N4999").await);
    assert_eq!(last.as_array().unwrap()[..], many[4_999..]);
    assert_eq!(api.get("/persons?firstName=Nobody").await.body(), "[]");
}

#[tokio::test]
async fn an_empty_store_lists_nothing() {
    let api = Api::starting();
    api.set_status(status(Phase::Leading, "pod-0"));
    assert_eq!(api.get("/persons").await.body(), "[]");
}

#[tokio::test]
async fn a_slash_at_the_end_makes_no_difference() {
    let api = Api::leader();
    api.post(JOHANNA).await;
    for path in ["/persons", JOHANNA_PATH, "/api/leader", "/readyz"] {
        let plain = api.get(path).await;
        let slashed = api.get(&format!("{path}/")).await;
        assert_eq!((plain.status(), plain.body()), (slashed.status(), slashed.body()));
        assert_eq!(plain.status(), StatusCode::OK);
    }
    for path in ["/persons//", "/persons//x"] {
        problem(&api.get(path).await, Code::UnknownPath);
    }
}

#[tokio::test]
async fn head_and_options_are_what_one_expects() {
    let api = Api::leader();
    for path in ["/persons", "/api/leader", "/readyz", "/", "/metrics"] {
        let head = api.send(asking().method("HEAD").path(path)).await;
        assert_eq!(head.status(), StatusCode::OK, "{path}");
    }
    for (path, methods) in [
        ("/persons", "GET, HEAD, POST, OPTIONS"),
        ("/persons/", "GET, HEAD, POST, OPTIONS"),
        (JOHANNA_PATH, "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"),
        ("/api/leader", "GET, HEAD, OPTIONS"),
        ("/", "GET, HEAD, OPTIONS"),
    ] {
        let options = api.send(asking().method("OPTIONS").path(path)).await;
        assert_eq!(options.status(), StatusCode::NO_CONTENT);
        assert_eq!(header(&options, "allow"), Some(methods));
    }
}

/// As `curl` sends it: over a real connection, in chunks, and the answer ends where its length says.
#[tokio::test]
async fn a_chunked_body_over_a_real_connection_is_stored_or_counted() {
    use leasehold_daemon::serve::{Server, bind};
    let api = Api::leader();
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(Server::default().run(listener, api.calls.clone()));
    let send = async |chunks: &[&str], end: &str| {
        let head = "POST /persons HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
        let mut text = head.to_owned();
        for chunk in chunks {
            text.push_str(&format!("{:x}\r\n{chunk}\r\n", chunk.len()));
        }
        text.push_str(end);
        leasehold_testkit::http::send(address, &text).await
    };
    let stored = send(&[&JOHANNA[..10], &JOHANNA[10..]], "0\r\n\r\n").await;
    assert!(stored.starts_with("HTTP/1.1 201 "), "{stored}");
    assert!(stored.ends_with(JOHANNA_STORED), "{stored}");
    // The end never arrives: the answer is sent as soon as the limit is passed.
    let piece = "x".repeat(1_500);
    let refused = send(&[&piece, &piece], "").await;
    assert!(refused.starts_with("HTTP/1.1 413 "), "{refused}");
    assert!(refused.contains("urn:leasehold:body-too-large"), "{refused}");
    let slow = send(&["{"], "").await;
    assert!(slow.starts_with("HTTP/1.1 408 "), "{slow}");
    let broken = send(&["{"], "what?\r\n").await;
    assert!(broken.starts_with("HTTP/1.1 400 "), "{broken}");
    assert_eq!(api.count().await, 5);
    server.abort();
}
