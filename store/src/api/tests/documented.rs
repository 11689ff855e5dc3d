//! The OpenAPI document says what the API does, and the API does what it says.
use super::*;
use crate::api::calls::{CALLS, Call, Kind, PERSONS_CALLS};
use crate::api::described::Seen;
use crate::api::tokens::Tokens;
use leasehold_daemon::reload::Reloaded;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// One of each kind: `persons`, with texts as ids, and with UUIDs. `persons` is what it is from the start.
const PARTS: &str = r#"{"id": "uuid", "indexes": [{"fields": [{"path": "/eq", "type": "boolean"}, "/a.b"]}]}"#;
const ORDERS: &str = r##"{"id": "string", "expires": "/expiresAt",
  "schema": {"type": "object", "required": ["tenant"], "properties": {
    "tenant": {"type": "string"}, "price": {"$ref": "#/$defs/money"}, "parent": {"$ref": "#"}, "lines": {"type": "array"}},
    "$defs": {"money": {"type": "object", "properties": {"n": {"type": "number"}}}}},
  "indexes": [{"fields": ["/tenant", {"path": "/price/n", "type": "number"}]}, {"fields": ["/number"], "unique": true}]}"##;

fn api_of_all() -> Api {
    let api = Api::leader_of_collections();
    api.defined_as("orders", ORDERS);
    api.defined_as("parts", PARTS);
    api
}

/// The document of all kinds, and of those that have no room in it.
static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let mut documents = Documents::new();
    let mut changes = Vec::new();
    documents.voters(Position::new(1, 1), 2, &mut changes);
    for (seq, (name, definition)) in (2..).zip([("orders", ORDERS), ("parts", PARTS)]) {
        documents.apply(Position::new(1, seq), &defining(name, definition), &mut changes).unwrap();
    }
    let mut collections: Vec<Seen> =
        documents.collections().map(|(name, collection)| Seen::new(name, collection)).collect();
    let whole = openapi::document(&collections, usize::MAX);
    // `persons` is the last of them: what is described instead of it is added.
    collections.rotate_right(1);
    let mut cut = openapi::document(&collections, 0);
    assert!(cut["paths"].get("/orders").is_none() && cut["paths"].get("/{collection}/{id}").is_some());
    for kind in ["/paths", "/components/schemas"] {
        let more = whole.pointer(kind).unwrap().as_object().unwrap().clone();
        cut.pointer_mut(kind).unwrap().as_object_mut().unwrap().extend(more);
    }
    cut
});

fn document() -> &'static Value {
    &DOCUMENT
}

/// (path, method) as the document has them.
fn documented() -> BTreeSet<(String, String)> {
    operations().into_iter().map(|(path, method, _)| (path.to_owned(), method.to_uppercase())).collect()
}

/// The collections of the document, and what stands for the others.
const NAMES: [&str; 4] = ["{collection}", "persons", "orders", "parts"];

/// Each call of the table, for each collection; and its operation.
fn each_call() -> Vec<(&'static Call, String, &'static Value)> {
    let mut all = Vec::new();
    for call in &CALLS {
        let names: &[&str] = if call.is_of_records() { &NAMES } else { &["{collection}"] };
        for name in names {
            let path = call.path.replace("{collection}", name);
            let operation = &document()["paths"][&path][call.method.as_str().to_lowercase()];
            all.push((call, path, operation));
        }
    }
    all
}

#[test]
fn every_path_and_method_is_documented_and_nothing_else() {
    let taken: BTreeSet<(String, String)> =
        each_call().into_iter().map(|(call, path, _)| (path, call.method.to_string())).collect();
    assert_eq!(documented(), taken);
}

/// The table of calls of the README: a path alone goes with the method before it, a method alone with the path before it, and a
/// query is an example.
#[test]
fn the_readme_names_every_call_and_nothing_else() {
    let page = include_str!("../../../../README.md");
    let mut named = BTreeSet::new();
    for row in page.lines().filter(|line| {
        ["GET", "POST", "PUT", "PATCH", "DELETE"].iter().any(|method| line.starts_with(&format!("| `{method} /")))
    }) {
        let (mut method, mut last) = (String::new(), String::new());
        for word in row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2) {
            let (before, path) = match word.split_once(' ') {
                Some(both) => both,
                None if word.bytes().all(|byte| byte.is_ascii_uppercase()) => (word, &*last.clone()),
                None => ("", word),
            };
            if !before.is_empty() {
                method = before.to_owned();
            }
            let path = path.split('?').next().unwrap();
            if !path.is_empty() {
                named.insert((path.to_owned(), method.clone()));
                last = path.to_owned();
            }
        }
    }
    // Those of records are shown as the calls of persons.
    let calls = CALLS.iter().filter(|call| call.path != "/" && !call.is_of_records()).chain(&PERSONS_CALLS);
    let calls: BTreeSet<_> = calls.map(|call| (call.path.to_owned(), call.method.to_string())).collect();
    assert_eq!(named, calls);
}

/// A path of the document, as a request has it.
fn asked(path: &str) -> String {
    path.replace("{collection}", "orders").replace("{id}", &Uuid::nil().to_string())
}

#[tokio::test]
async fn every_documented_call_has_a_route_and_answers_with_a_documented_status() {
    let api = api_of_all();
    for (path, method, operation) in operations() {
        // They have no end; their own tests watch. And what is dropped here would be missing for others.
        if path.ends_with("watch") || (path, method) == ("/api/collections/{collection}", "delete") {
            continue;
        }
        let answer = api.send(asking().method(&method.to_uppercase()).path(&asked(path))).await;
        let status = answer.status().as_u16();
        assert_ne!(status, 405, "{method} {path}");
        assert!(status != 404 || path.contains("{id}") || path.ends_with("pending"), "{method} {path}");
        let responses = &operation["responses"];
        assert!(responses[status.to_string()].is_object(), "{method} {path} answers {status}, which is not documented");
    }
}

#[tokio::test]
async fn every_path_refuses_the_methods_that_it_does_not_take_and_lists_those_that_it_does() {
    let api = api_of_all();
    for (path, methods) in PATHS.iter() {
        let asked = asked(path);
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"]
            .iter()
            .filter(|method| !methods.split(", ").any(|one| one == **method))
        {
            let answer = api.send(asking().method(method).path(&asked)).await;
            problem(&answer, Code::MethodNotAllowed);
            assert_eq!(header(&answer, "allow"), Some(methods.as_str()));
        }
        let options = api.send(asking().method("OPTIONS").path(&asked)).await;
        assert_eq!(header(&options, "allow"), Some(methods.as_str()), "{path}");
    }
}

#[tokio::test]
async fn a_document_has_the_definitions_in_force() {
    let api = Api::leader();
    let names = |document: &Value| -> Vec<String> {
        let paths = document["paths"].as_object().unwrap().keys();
        paths.filter(|path| path.ends_with(":batch")).map(|path| path[1..path.len() - 6].to_owned()).collect()
    };
    let get = async || value(&api.get("/openapi.json").await);
    assert_eq!(names(&get().await), ["persons"]);
    api.raise_to(2);
    api.defined_as("orders", r#"{"id": "string"}"#);
    let plain = get().await;
    assert_eq!(names(&plain), ["orders", "persons"]);
    assert_eq!(plain["components"]["schemas"]["orders"], serde_json::json!({"type": "object"}));
    let drop = Work::Drop { collection: "orders", condition: DefinitionCondition::None, with_records: true };
    let drop = Command::new(drop).encode(2);
    api.lock().apply(&drop);
    api.defined_as("orders", ORDERS);
    let document = get().await;
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["orders"]["properties"]["price"]["$ref"], "#/components/schemas/orders.money");
    assert_eq!(schemas["orders"]["properties"]["parent"]["$ref"], "#/components/schemas/orders");
    let paths = &document["paths"];
    let has = |operation: &Value, name: &str| {
        let own = operation["parameters"].as_array().unwrap().iter();
        own.map(|one| one["$ref"].as_str().and_then(|to| document.pointer(&to[1..])).unwrap_or(one))
            .any(|one| one["name"] == name)
    };
    for filter in ["where.tenant", "where.price.n.gte", "where.number.prefix", "where.id.prefix", "sort", "count"] {
        assert!(has(&paths["/orders"]["get"], filter), "{filter}");
    }
    assert!(has(&paths["/orders"]["post"], "expires-in"));
    assert!(!has(&paths["/persons"]["post"], "expires-in"));
    api.lock().apply(&drop);
    assert_eq!(names(&get().await), ["persons"]);
}

/// The schema of a component, where its references are resolved as those of the document are.
fn compiled(name: &str) -> jsonschema::Validator {
    let pointer = format!("#/components/schemas/{name}");
    let whole = serde_json::json!({ "$ref": pointer, "components": document()["components"] });
    jsonschema::options().with_draft(jsonschema::Draft::Draft202012).build(&whole).unwrap()
}

#[test]
fn every_component_is_a_schema() {
    for (name, schema) in document()["components"]["schemas"].as_object().unwrap() {
        assert!(jsonschema::meta::is_valid(schema), "{name}");
        compiled(name);
    }
}

#[test]
fn a_schema_in_the_document_says_what_the_definition_says() {
    let definition = Definition::parse(ORDERS).unwrap();
    let own = crate::schema::Schema::compile(definition.schema.as_deref().unwrap()).unwrap();
    let (sent, stored) = (compiled("orders_sent"), compiled("orders_record"));
    for (record, fits) in [
        (r#"{"id": "a", "tenant": "acme"}"#, true),
        (r#"{"id": "a", "tenant": "acme", "price": {"n": 1.5}, "parent": {"tenant": "x"}, "lines": []}"#, true),
        (r#"{"id": "a"}"#, false),
        (r#"{"id": "a", "tenant": "acme", "price": {"n": "1.5"}}"#, false),
        (r#"{"id": "a", "tenant": "acme", "parent": {"tenant": "x", "parent": {}}}"#, false),
    ] {
        let value: Value = serde_json::from_str(record).unwrap();
        let said = [own.check(record).is_ok(), sent.is_valid(&value), stored.is_valid(&value)];
        assert_eq!(said, [fits; 3], "{record}");
    }
    let without = serde_json::json!({ "tenant": "acme" });
    assert_eq!((sent.is_valid(&without), stored.is_valid(&without)), (true, false));
    for (id, fits) in
        [("x", true), ("Ä b", true), ("...", true), ("", false), (".", false), ("..", false), ("a/b", false)]
    {
        let value = serde_json::json!({ "tenant": "acme", "id": id });
        let is_id = leasehold_documents::IdKind::Text.parse(id).is_some();
        assert_eq!((stored.is_valid(&value), is_id), (fits, fits), "{id:?}");
    }
}

/// What a generator makes of the document must be what the API takes.
#[test]
fn the_patterns_of_parameters_are_what_the_api_reads() {
    let patterns = |key: &str| {
        let schema = document()["components"]["parameters"][key]["schema"].clone();
        jsonschema::draft202012::new(&schema).unwrap()
    };
    let duration = |text: &str| leasehold_daemon::durations::parse(text).is_ok();
    for text in ["0ms", "5s", "90m", "24h", "1", "s", "-1s", "1.5s", "1d", ""] {
        assert_eq!(patterns("maxStaleness").is_valid(&text.into()), duration(text), "{text:?}");
    }
    for (text, fits) in [("1ms", true), ("30000ms", true), ("30s", true), ("0ms", false), ("31s", false), ("1m", false)]
    {
        assert_eq!(patterns("timeout").is_valid(&text.into()), fits, "{text:?}");
    }
    for (text, fits) in [
        ("a", true),
        ("-a.b,-c", true),
        ("a,b,c,d", true),
        ("", false),
        ("-", false),
        ("a,-b", false),
        ("a..b", false),
        ("a,b,c,d,e", false),
    ] {
        assert_eq!(patterns("sort").is_valid(&text.into()), fits, "{text:?}");
    }
    for (text, fits) in
        [("*", true), (r#""x""#, true), (r#"W/"x", "y""#, true), ("", false), ("x", false), ("*, *", false)]
    {
        assert_eq!(patterns("ifMatch").is_valid(&text.into()), fits, "{text:?}");
    }
    let longest = "x".repeat(255);
    for (text, fits) in [
        ("a", true),
        ("a b", true),
        (r#""a \" b""#, true),
        (r#""open"#, false),
        (" ", false),
        ("", false),
        (r#""""#, false),
        ("a\tb", false),
        ("\"a\tb\"", false),
        (" \ta \t", true),
        (&longest, true),
        (&format!("{longest}x"), false),
        (&format!(" \t\"{longest}\""), true),
        (&format!("\"{longest}x\""), false),
        (&" ".repeat(300), false),
        (&format!("a{}", " ".repeat(300)), true),
    ] {
        assert_eq!(patterns("key").is_valid(&text.into()), fits, "{text:?}");
        let mut headers = warp::http::HeaderMap::new();
        headers.insert("idempotency-key", HeaderValue::from_str(text).unwrap());
        assert_eq!(key::of(&headers).is_ok(), fits, "{text:?}");
    }
}

#[test]
fn a_document_of_many_large_definitions_is_bounded_and_says_so() {
    let long = "x".repeat(60_000);
    let schema = serde_json::json!({ "type": "object", "description": long }).to_string();
    let definition = Arc::new(Definition::parse(&format!(r#"{{"id":"string","schema":{schema}}}"#)).unwrap());
    let all: Vec<Seen> =
        (0..1_000).map(|number| Seen { name: format!("c{number}"), definition: Arc::clone(&definition) }).collect();
    let whole = openapi::document(&all, openapi::BYTES_MAX);
    assert!(whole.to_string().len() < openapi::BYTES_MAX + 300_000);
    let paths = &whole["paths"];
    assert!(paths.get("/c9").is_some() && paths.get("/c999").is_none() && paths.get("/{collection}").is_some());
}

#[tokio::test]
async fn the_index_has_the_calls_of_any_collection_and_those_that_there_are() {
    let api = api_of_all();
    let index = value(&api.get("/").await);
    assert_eq!(index["collections"], serde_json::json!(["orders", "parts", "persons"]));
    for call in ["GET /persons", "POST /{collection}", "PUT /api/collections/{collection}", "GET /api/watch"] {
        assert!(index["calls"][call].is_string(), "{call}");
    }
    let drop = Work::Drop { collection: "persons", condition: DefinitionCondition::None, with_records: true };
    api.lock().apply(&Command::new(drop).encode(2));
    let index = value(&api.get("/").await);
    assert_eq!(index["collections"], serde_json::json!(["orders", "parts"]));
    assert!(index["calls"].get("GET /persons").is_none());
}

#[tokio::test]
async fn every_problem_is_in_the_document_and_every_reference_leads_somewhere() {
    let api = api_of_all();
    let answer = api.get("/openapi.json").await;
    let document = value(&answer);
    let listed = document["components"]["schemas"]["Problem"]["x-problems"].as_array().unwrap();
    assert_eq!(listed.len(), Code::ALL.len());
    for (listed, code) in listed.iter().zip(Code::ALL) {
        assert_eq!(listed["type"], format!("urn:leasehold:{}", code.as_str()));
        assert_eq!(listed["status"], code.status().as_u16());
    }
    let mut values = vec![&document];
    while let Some(value) = values.pop() {
        if let Some(to) = value.get("$ref").and_then(Value::as_str) {
            let pointer = percent::segment(String::new, to.strip_prefix('#').unwrap()).unwrap();
            assert!(document.pointer(&pointer).is_some(), "{to}");
        }
        match value {
            Value::Object(members) => values.extend(members.values()),
            Value::Array(items) => values.extend(items),
            _ => {}
        }
    }
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
}

/// (path, method, operation) as the document has them.
fn operations() -> Vec<(&'static str, &'static str, &'static Value)> {
    let paths = document()["paths"].as_object().unwrap();
    let each = paths.iter().flat_map(|(path, calls)| calls.as_object().unwrap().iter().map(move |call| (path, call)));
    each.map(|(path, (method, operation))| (path.as_str(), method.as_str(), operation)).collect()
}

/// Follows a reference, if it is one.
fn followed(value: &'static Value) -> &'static Value {
    let document = document();
    value["$ref"].as_str().map_or(value, |to| document.pointer(to.strip_prefix('#').unwrap()).unwrap())
}

#[test]
fn every_operation_has_an_id_of_its_own() {
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations() {
        let id = operation["operationId"].as_str().unwrap();
        assert!(!id.is_empty() && ids.insert(id), "{method} {path}: {id:?}");
    }
    assert_eq!(ids.len(), each_call().len());
}

#[test]
fn a_call_has_the_summary_of_the_table() {
    for (call, path, operation) in each_call() {
        let of_persons = PERSONS_CALLS.iter().find(|one| one.path == path && one.method == call.method);
        assert_eq!(operation["summary"], of_persons.unwrap_or(call).summary, "{} {path}", call.method);
    }
}

#[test]
fn every_status_of_a_problem_is_an_answer_of_a_call() {
    // Before a call sees the request, or a fault of ours.
    let elsewhere = [405, 414, 431, 500];
    let all: BTreeSet<String> = operations()
        .into_iter()
        .flat_map(|(_, _, operation)| operation["responses"].as_object().unwrap().keys().cloned())
        .collect();
    for code in Code::ALL {
        let status = code.status().as_u16();
        assert_ne!(all.contains(&status.to_string()), elsewhere.contains(&status), "{code:?}");
    }
}

#[test]
fn what_stands_in_a_path_is_declared_and_no_parameter_twice() {
    for (path, method, operation) in operations() {
        let mut declared = BTreeSet::new();
        for parameter in operation["parameters"].as_array().into_iter().flatten().map(followed) {
            let (place, name) = (parameter["in"].as_str().unwrap(), parameter["name"].as_str().unwrap());
            assert!(declared.insert((place, name)), "{method} {path}: {name} in the {place}");
            assert_eq!(parameter["required"], place == "path", "{method} {path}: {name}");
        }
        let declared: BTreeSet<&str> =
            declared.iter().filter(|(place, _)| *place == "path").map(|(_, name)| *name).collect();
        let in_path: BTreeSet<&str> =
            path.split('{').skip(1).filter_map(|piece| Some(piece.split_once('}')?.0)).collect();
        assert_eq!(declared, in_path, "{method} {path}");
    }
}

#[test]
fn what_a_token_is_asked_for_is_documented() {
    let (other, directory) = ("reader-of-another-0000", tempfile::tempdir().unwrap());
    std::fs::write(directory.path().join("read.others"), other).unwrap();
    std::fs::write(directory.path().join("write"), "writer-token-0000000").unwrap();
    let tokens = Reloaded::open("tokens", directory.path(), tokens::NAMES, Tokens::from_files).unwrap();
    let guard = tokens::guard(tokens, false);
    let judged = |method: &warp::http::Method, path: &str, token: Option<&str>| {
        let head = Request::builder().method(method).uri(path);
        let head = token.iter().fold(head, |head, token| head.header("authorization", format!("Bearer {token}")));
        guard(&mut head.body(()).unwrap().into_parts().0).map(|answer| answer.status().as_u16())
    };
    for (call, path, operation) in each_call() {
        let path = path.replace("{collection}", "unnamed");
        for (token, refusal) in [(None, 401), (Some(other), 403)] {
            let refused = judged(&call.method, &path, token);
            assert!(refused.is_none_or(|status| status == refusal), "{} {path}: {refused:?}", call.method);
            // By what is in its body, it may be refused later.
            let is_refused = refused.is_some() || (refusal == 403 && call.kind == Kind::Transaction);
            let documented = operation["responses"].get(refusal.to_string());
            assert_eq!(documented.is_some(), is_refused, "{} {path}: {refusal}", call.method);
        }
        let needs_none = operation["security"].as_array().is_some_and(Vec::is_empty);
        assert_eq!(needs_none, judged(&call.method, &path, None).is_none(), "{} {path}", call.method);
    }
}

#[test]
fn every_component_is_referred_to() {
    let document = document();
    let text = document.to_string();
    for (kind, components) in
        document["components"].as_object().unwrap().iter().filter(|(kind, _)| *kind != "securitySchemes")
    {
        for name in components.as_object().unwrap().keys() {
            assert!(text.contains(&format!("\"$ref\":\"#/components/{kind}/{name}\"")), "{kind}/{name}");
        }
    }
}

#[tokio::test]
async fn the_page_for_people_loads_nothing_from_elsewhere() {
    let api = Api::leader();
    let page = api.get("/docs").await;
    assert_eq!(header(&page, "content-type"), Some("text/html; charset=utf-8"));
    let text = std::str::from_utf8(page.body()).unwrap();
    assert!(!text.contains("http:") && !text.contains("https:") && !text.contains("//cdn"), "{text}");
    assert!(text.contains("fetch(\"openapi.json\""));
    // The hashes are of elements, and nothing else is in line.
    assert!(!text.contains(" style=") && !text.contains(" onclick=") && !text.contains("javascript:"), "{text}");
    let policy = header(&page, "content-security-policy").unwrap();
    assert!(policy.contains("script-src 'sha256-") && policy.contains("style-src 'sha256-"), "{policy}");
    for page in ["/", "/docs"] {
        let page = api.get(page).await;
        let policy = header(&page, "content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; ") && policy.ends_with("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }
}
