use super::*;

/// Sends a body to POST and to PUT; gives the problem that both are answered with.
async fn refused(body: impl AsRef<[u8]>, code: Code) -> Value {
    let api = Api::leader();
    let body = body.as_ref();
    let put = problem(&api.json("PUT", JOHANNA_PATH, body).await, code);
    let post = problem(&api.post(body).await, code);
    assert_eq!(put, post);
    assert_eq!(api.count().await, 4, "nothing is stored");
    assert_eq!(api.lock().taken, 0, "and nothing goes into the log");
    post
}

fn person(first_name: &str, last_name: &str, id: &str) -> String {
    format!(r#"{{"firstName":{first_name},"lastName":{last_name},"id":{id}}}"#)
}

const ID: &str = r#""e956b5d0-fa0c-40e8-9da9-333c214dcaf7""#;

#[tokio::test]
async fn malformed_json_is_refused_with_line_and_column() {
    let body = refused("{\"firstName\": \"Johanna\",\n \"lastName\" \"Koester\"}", Code::MalformedJson).await;
    assert_eq!((&body["line"], &body["column"]), (&2.into(), &13.into()), "{body}");
    assert!(body["detail"].as_str().unwrap().contains("line 2 column 13"), "{body}");
    for text in
        ["", "{", "[", "nonsense", "{}{}", "{} x", "{\"firstName\":\"a", "\u{feff}{}", "{'a':1}", "{\"a\":1,}", "1e999"]
    {
        refused(text, Code::MalformedJson).await;
    }
    for (body, word) in [
        (&b"{\"firstName\":\"\xff\",\"lastName\":\"b\"}"[..], "not UTF-8"),
        (br#"{"firstName":"\ud800","lastName":"b"}"#, "pair of escapes"),
        (br#"{"firstName":"\udc00x","lastName":"b"}"#, "pair of escapes"),
        (b"\xef\xbb\xbf{\"firstName\":\"a\",\"lastName\":\"b\"}", "byte order mark"),
    ] {
        let problem = refused(body, Code::MalformedJson).await;
        assert!(problem["detail"].as_str().unwrap().contains(word), "{problem}");
    }
    refused("{\"firstName\":\"a\nb\",\"lastName\":\"b\"}", Code::MalformedJson).await;
}

#[tokio::test]
async fn what_is_no_object_is_refused() {
    for text in ["[]", "1", "null", "true", "\"person\"", "[{\"firstName\":\"a\",\"lastName\":\"b\"}]"] {
        let body = refused(text, Code::InvalidRecord).await;
        assert!(body["detail"].as_str().unwrap().contains("one JSON object"), "{body}");
    }
}

#[tokio::test]
async fn a_wrong_type_is_refused_with_field_and_place() {
    for (value, kind) in [
        ("1", "a number"),
        ("-1.5", "a number"),
        ("null", "null"),
        ("true", "a boolean"),
        ("[\"a\"]", "an array"),
        ("{}", "an object"),
    ] {
        let body = refused(person(value, "\"b\"", ID), Code::InvalidRecord).await;
        assert_eq!(body["pointer"], "/firstName");
        assert_eq!((&body["line"], &body["column"]), (&1.into(), &14.into()), "{body}");
        assert!(body["detail"].as_str().unwrap().contains(&format!("must be a string, not {kind}")), "{body}");
        assert_eq!(refused(person("\"a\"", value, ID), Code::InvalidRecord).await["pointer"], "/lastName");
        assert_eq!(refused(person("\"a\"", "\"b\"", value), Code::InvalidRecord).await["pointer"], "/id");
    }
}

#[tokio::test]
async fn a_missing_field_is_refused() {
    for (text, pointer) in
        [("{}", "/firstName"), (r#"{"firstName":"a"}"#, "/lastName"), ("  \n {\"lastName\":\"b\"}", "/firstName")]
    {
        let body = refused(text, Code::InvalidRecord).await;
        assert_eq!(body["pointer"], pointer);
        assert!(body["detail"].as_str().unwrap().contains("is missing"), "{body}");
    }
}

#[tokio::test]
async fn an_unknown_field_is_refused() {
    let body = refused("{\"firstName\":\"a\",\"lastName\":\"b\",\n  \"a/b\": {\"x\":[1]}}", Code::InvalidRecord).await;
    assert_eq!(body["pointer"], "/a~1b");
    assert_eq!((&body["line"], &body["column"]), (&2.into(), &10.into()), "{body}");
    for name in ["FirstName", "firstname", "_id", "age", ""] {
        refused(format!(r#"{{"firstName":"a","lastName":"b","{name}":"c"}}"#), Code::InvalidRecord).await;
    }
}

#[tokio::test]
async fn a_name_is_neither_empty_nor_longer_than_256_characters() {
    let body = refused(person("\"\"", "\"b\"", ID), Code::InvalidRecord).await;
    assert!(body["detail"].as_str().unwrap().contains("must not be empty"), "{body}");
    let long = format!("\"{}\"", "ü".repeat(257));
    let body = refused(person("\"a\"", &long, ID), Code::InvalidRecord).await;
    assert_eq!(body["pointer"], "/lastName");
    assert!(body["detail"].as_str().unwrap().contains("has 257 characters"), "{body}");
    let api = Api::leader();
    let just = format!("\"{}\"", "ü".repeat(256));
    assert_eq!(api.post(person(&just, &just, ID)).await.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn a_bad_uuid_is_refused_in_body_and_path() {
    for id in [
        "",
        "1",
        "e956b5d0fa0c40e89da9333c214dcaf7",
        "{e956b5d0-fa0c-40e8-9da9-333c214dcaf7}",
        "urn:uuid:e956b5d0-fa0c-40e8-9da9-333c214dcaf7",
        "g956b5d0-fa0c-40e8-9da9-333c214dcaf7",
    ] {
        let body = refused(person("\"a\"", "\"b\"", &format!("\"{id}\"")), Code::InvalidRecord).await;
        assert_eq!(body["pointer"], "/id");
    }
    let api = Api::leader();
    for path in ["/persons/1", "/persons/e956b5d0fa0c40e89da9333c214dcaf7", "/persons/%00", "/persons/:batch"] {
        problem(&api.get(path).await, Code::InvalidId);
        problem(&api.json("PUT", path, JOHANNA).await, Code::InvalidId);
        problem(&api.json("DELETE", path, "").await, Code::InvalidId);
    }
    assert_eq!(api.lock().taken, 0);
}

#[tokio::test]
async fn an_unknown_id_is_404_and_no_write() {
    let api = Api::leader();
    problem(&api.get(JOHANNA_PATH).await, Code::UnknownId);
    problem(&api.json("DELETE", JOHANNA_PATH, "").await, Code::UnknownId);
    assert_eq!(api.count().await, 4);
}

#[tokio::test]
async fn another_id_in_the_body_than_in_the_path_is_refused() {
    let api = Api::leader();
    let path = "/persons/93115462-543c-4149-9b75-2b1a84bd326c";
    let body = problem(&api.json("PUT", path, JOHANNA).await, Code::IdMismatch);
    assert!(body["detail"].as_str().unwrap().contains("e956b5d0"), "{body}");
    assert_eq!(api.lock().taken, 0);
}

#[tokio::test]
async fn a_key_that_stands_twice_is_refused_wherever_it_is() {
    let body = refused(r#"{"firstName":"a","firstName":"a","lastName":"b"}"#, Code::DuplicateKey).await;
    assert!(body["detail"].as_str().unwrap().contains("`firstName`"), "{body}");
    assert_eq!(body["line"], 1);
    refused(r#"{"firstName":"a","first\u004eame":"c","lastName":"b"}"#, Code::DuplicateKey).await;
    refused(r#"{"firstName":"a","lastName":"b","more":[{"x":1,"x":2}]}"#, Code::DuplicateKey).await;
}

#[tokio::test]
async fn json_that_is_too_deep_is_refused() {
    for depth in [128, 900] {
        let body = refused(format!("{}{}", "[".repeat(depth), "]".repeat(depth)), Code::TooDeep).await;
        assert_eq!((&body["line"], &body["column"]), (&1.into(), &128.into()), "{body}");
    }
    refused("{\"a\":".repeat(200), Code::TooDeep).await;
    refused(format!("{}{}", "[".repeat(127), "]".repeat(127)), Code::InvalidRecord).await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_declared_or_not() {
    let body = refused(format!("{JOHANNA}{}", " ".repeat(2_000)), Code::BodyTooLarge).await;
    assert_eq!(body["limitBytes"], 2_000);
    let api = Api::leader();
    let declared = asking()
        .method("POST")
        .path("/persons")
        .header("content-type", "application/json")
        .header("content-length", "2001");
    problem(&api.send(declared).await, Code::BodyTooLarge);
    let padded = format!("{JOHANNA}{}", " ".repeat(2_000 - JOHANNA.len()));
    assert_eq!(api.post(padded).await.status(), StatusCode::CREATED, "exactly the limit is allowed");
}

#[tokio::test]
async fn another_content_type_is_refused() {
    let api = Api::leader();
    let post = |kind: Option<&str>| {
        let request = asking().method("POST").path("/persons").body(JOHANNA);
        match kind {
            Some(kind) => request.header("content-type", kind),
            None => request,
        }
    };
    for kind in [
        None,
        Some(""),
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("application/jsonx"),
        Some("application/merge-patch+json"),
    ] {
        problem(&api.send(post(kind)).await, Code::UnsupportedMediaType);
    }
    let zipped = post(Some("application/json")).header("content-encoding", "gzip");
    problem(&api.send(zipped).await, Code::UnsupportedMediaType);
    assert_eq!(api.lock().taken, 0);
    let charset = api.send(post(Some("Application/JSON ; charset=utf-8"))).await;
    assert_eq!(charset.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn another_method_is_405_and_allow_names_those_that_there_are() {
    let api = Api::leader();
    for (method, path, methods) in [
        ("DELETE", "/persons", "GET, HEAD, POST, OPTIONS"),
        ("PUT", "/persons", "GET, HEAD, POST, OPTIONS"),
        ("PATCH", "/persons", "GET, HEAD, POST, OPTIONS"),
        ("POST", JOHANNA_PATH, "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"),
        ("POST", "/api/leader", "GET, HEAD, OPTIONS"),
        ("BREW", "/healthz", "GET, HEAD, OPTIONS"),
        ("DELETE", "/", "GET, HEAD, OPTIONS"),
    ] {
        let response = api.json(method, path, JOHANNA).await;
        problem(&response, Code::MethodNotAllowed);
        assert_eq!(header(&response, "allow"), Some(methods), "{method} {path}");
    }
    assert_eq!(api.lock().taken, 0);
}

#[tokio::test]
async fn an_unknown_path_is_404() {
    let api = Api::leader();
    for path in ["/persons/1/2", "/api", "/api/leader/x", "/ui", "/Persons", "/persons:none", "//persons"] {
        problem(&api.get(path).await, Code::UnknownPath);
        problem(&api.post_to(path).await, Code::UnknownPath);
    }
    problem(&api.get("/person").await, Code::UnknownCollection);
}

impl Api {
    async fn post_to(&self, path: &str) -> Response<Bytes> {
        self.json("POST", path, JOHANNA).await
    }
}

#[tokio::test]
async fn an_unknown_or_doubled_query_parameter_is_refused() {
    let api = Api::leader();
    for path in [
        "/persons?lastname=Airom",
        "/persons?limit=0",
        "/persons?after=x",
        "/persons?consistency=weak",
        "/persons:watch?consistency=strong",
        "/persons?id=1",
        "/persons?lastName=a&lastName=b",
        "/persons?x",
        "/persons/e0a08c5b-62d5-4b20-a024-e1c270d901c2?x=1",
        "/api/leader?setAsLeader=true",
        "/api/status?x",
    ] {
        let body = problem(&api.get(path).await, Code::InvalidQuery);
        assert!(body["parameter"].is_string(), "{body}");
    }
    let many: Vec<String> = (0..40).map(|number| format!("p{number}=1")).collect();
    let body = problem(&api.get(&format!("/persons?{}", many.join("&"))).await, Code::InvalidQuery);
    assert!(body["detail"].as_str().unwrap().contains("40 parameters"), "{body}");
    problem(&api.json("POST", "/persons?x=1", JOHANNA).await, Code::InvalidQuery);
    problem(&api.json("PUT", &format!("{JOHANNA_PATH}?x=1"), JOHANNA).await, Code::InvalidQuery);
    problem(&api.json("DELETE", &format!("{JOHANNA_PATH}?x=1"), "").await, Code::InvalidQuery);
    assert_eq!(api.lock().taken, 0);
}

#[tokio::test]
async fn a_condition_that_is_not_understood_is_refused_not_ignored() {
    let api = Api::leader();
    let put = |headers: &[(&'static str, &str)]| {
        let mut request = asking().method("PUT").path(JOHANNA_PATH).body(JOHANNA);
        request = request.header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request
    };
    for headers in [
        &[("if-match", "abc")][..],
        &[("if-match", "\"abc")],
        &[("if-match", "w/\"00000000000000000000000000000001\"")],
        &[("if-match", "\"00000000000000000000000000000001\" \"00000000000000000000000000000002\"")],
        &[("if-match", "*, \"00000000000000000000000000000001\"")],
        &[("if-none-match", "00000000000000000000000000000001")],
        &[("if-match", "")],
    ] {
        problem(&api.send(put(headers)).await, Code::InvalidCondition);
    }
    let mut twice = warp::http::HeaderMap::new();
    twice.append("if-match", HeaderValue::from_static("*"));
    assert!(conditions::of_write(&twice, true).is_ok());
    twice.append("if-match", HeaderValue::from_static("*"));
    assert_eq!(conditions::of_write(&twice, true).unwrap_err().code(), Code::InvalidCondition);
    let post = asking().method("POST").path("/persons").header("if-none-match", "*").body(JOHANNA);
    problem(&api.send(post).await, Code::InvalidCondition);
    assert_eq!(api.lock().taken, 0);
}

#[tokio::test]
async fn initial_data_are_checked_like_a_client_s() {
    let reason = |json: &str| person::initial_data(json.as_bytes()).unwrap_err().to_string();
    assert_eq!(person::initial_data(SEED.as_bytes()).unwrap().len(), 4);
    assert_eq!(person::initial_data(b"[]").unwrap().len(), 0);
    assert!(reason("{}").contains("not a JSON array"));
    assert!(reason("[{").contains("not a JSON array"));
    assert!(reason(r#"[{"firstName":"a","lastName":"b"},{"firstName":"a"}]"#).contains("record 2"));
    assert!(reason(&format!("[{JOHANNA},{JOHANNA}]")).contains("record 2 of the initial data: the id e956b5d0"));
}

#[tokio::test]
async fn broken_percent_encoding_is_refused_with_its_place_and_never_replaced() {
    let api = Api::leader();
    for (path, words) in [
        ("/persons/%FF", "the id in the path: \"%FF\" at byte 1 does not decode to UTF-8"),
        ("/persons/%zz", "is not valid percent-encoding"),
        ("/persons/e956b5d0%", "the id in the path: \"%\" at byte 9"),
        ("/%FF", "segment 1 of the path: \"%FF\" at byte 1"),
        ("/persons/a/b%C3", "segment 3 of the path: \"%C3\" at byte 2 does not decode to UTF-8"),
        ("/persons//%zz/", "segment 3 of the path: \"%zz\" at byte 1 is not valid percent-encoding"),
        ("/persons?firstName=%FF", "the value of the parameter `firstName`"),
        ("/persons?firstName=100%", "% itself as %25"),
        ("/persons?%FF=x", "the name of the parameter `%FF`"),
        ("/persons?a=%zz", "the value of the parameter `a`"),
        ("/persons/e956b5d0-fa0c-40e8-9da9-333c214dcaf7?after=%ED%A0%80", "`after`"),
        ("/persons:watch?after=%C0%AF", "`after`"),
        ("/api/leader?a=%f", "`a`"),
        ("/api/status?a=%f", "`a`"),
    ] {
        let body = problem(&api.get(path).await, Code::MalformedEncoding);
        assert!(body["detail"].as_str().unwrap().contains(words), "{path}: {body}");
        assert_eq!(body["parameter"].is_string(), path.contains('?'), "{path}: {body}");
    }
    for (method, path) in [
        ("POST", "/persons?a=%FF"),
        ("POST", "/persons:batch?a=%FF"),
        ("PUT", "/persons/%FF"),
        ("PATCH", "/persons/%FF"),
        ("DELETE", "/persons/%FF"),
        ("PUT", "/persons/e956b5d0-fa0c-40e8-9da9-333c214dcaf7?a=%FF"),
    ] {
        let body = problem(&api.json(method, path, JOHANNA).await, Code::MalformedEncoding);
        let words = if path.contains('?') { "the value of the parameter `a`" } else { "the id in the path" };
        assert!(body["detail"].as_str().unwrap().starts_with(words), "{method} {path}: {body}");
    }
    // Well encoded, and still no id; and an id, however it is encoded.
    for path in ["/persons/%2F", "/persons/%00", "/persons/e0a08c5b%2F62d5-4b20-a024-e1c270d901c2"] {
        problem(&api.get(path).await, Code::InvalidId);
    }
    let encoded = api.get("/persons/%650a08c5b%2D62d5-4b20-a024-e1c270d901c2?timeout=1%73").await;
    assert_eq!(encoded.status(), StatusCode::OK);
    assert_eq!(value(&api.get("/persons?firstName=N%69klas").await).as_array().unwrap().len(), 1);
    assert_eq!(value(&api.get("/persons?firstName=%EF%BF%BD").await).as_array().unwrap().len(), 0);
    assert_eq!(api.lock().taken, 0, "nothing goes into the log");
}

/// A form of any page can send no other types, and needs no leave for these.
#[tokio::test]
async fn every_post_needs_the_type_of_json() {
    let api = Api::leader_of_collections();
    api.defined_as("orders", r#"{"id": "string"}"#);
    let paths = PATHS
        .iter()
        .filter(|(_, methods)| methods.contains("POST"))
        .map(|(path, _)| path.replace("{collection}", "orders"));
    let mut count = 0;
    for path in paths {
        for kind in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("multipart/form-data")] {
            for body in ["", "{}"] {
                let asked = asking().method("POST").path(&path).body(body);
                let asked = kind.iter().fold(asked, |asked, kind| asked.header("content-type", kind));
                problem(&api.send(asked).await, Code::UnsupportedMediaType);
                count += 1;
            }
        }
    }
    assert!(count == 24 && api.lock().taken == 0, "{count}");
}
