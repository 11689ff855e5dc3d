//! Tokens before the calls, as the clients' port has them: what each kind of token may do.
use super::*;
use crate::api::calls::{CALLS, Found, find};
use crate::api::paths::Place;
use leasehold_daemon::serve::Guard;
use proptest::prelude::*;
use warp::http::Method;

/// The files, each with a token of its own: see [`token`].
const FILES: [&str; 7] = ["read", "write", "admin", "backup", "read.orders", "write.orders", "read.users"];

fn token(file: &str) -> String {
    format!("0123456789-a-token-of-{file}")
}

/// The API behind its guard, with the collections `orders` and `users`, each of which has a record that shows it.
struct Locked {
    api: Api,
    guard: Guard,
    _folder: tempfile::TempDir,
}

impl Locked {
    fn new() -> Locked {
        let api = Api::leader_of_collections();
        for name in ["orders", "users"] {
            api.defined_as(name, r#"{"id": "string"}"#);
        }
        let folder = tempfile::tempdir().unwrap();
        for file in FILES {
            std::fs::write(folder.path().join(file), token(file)).unwrap();
        }
        let tokens = leasehold_daemon::reload::Reloaded::open(
            "tokens",
            folder.path(),
            crate::api::tokens::NAMES,
            crate::api::tokens::Tokens::from_files,
        );
        Locked { api, guard: crate::api::tokens::guard(tokens.unwrap(), false), _folder: folder }
    }

    async fn with_records() -> Locked {
        let locked = Locked::new();
        for name in ["orders", "users"] {
            let put = locked.api.json("PUT", &format!("/{name}/a"), format!(r#"{{"secret": "of-{name}"}}"#)).await;
            assert_eq!(put.status(), StatusCode::CREATED);
        }
        locked
    }

    /// The guard's refusal; none: it passes.
    fn refused(&self, file: Option<&str>, request: &mut Request<Full<Bytes>>) -> Option<warp::reply::Response> {
        if let Some(file) = file {
            let value = HeaderValue::from_str(&format!("Bearer {}", token(file))).unwrap();
            request.headers_mut().insert("authorization", value);
        }
        let (mut head, body) = std::mem::take(request).into_parts();
        let refusal = (self.guard)(&mut head);
        *request = Request::from_parts(head, body);
        refusal
    }

    /// The answer of the guard, or of the call.
    async fn ask(&self, file: Option<&str>, asked: Asking) -> Response<Bytes> {
        let mut request = asked.into_request();
        let answer = match self.refused(file, &mut request) {
            Some(refusal) => refusal,
            None => self.api.calls.respond(request).await,
        };
        let (head, body) = answer.into_parts();
        Response::from_parts(head, body.collect().await.unwrap().to_bytes())
    }
}

fn json(method: &str, path: &str, body: impl AsRef<[u8]>) -> Asking {
    asking().method(method).path(path).header("content-type", "application/json").body(body)
}

const ANY: &[&str] = &FILES;
const READS_ALL: &[&str] = &["read", "write", "admin"];
const READS_ORDERS: &[&str] = &["read", "write", "admin", "read.orders", "write.orders"];
const WATCHES_ORDERS: &[&str] = &["read", "write", "admin", "read.orders", "write.orders", "backup"];
const WRITES_ORDERS: &[&str] = &["write", "admin", "write.orders"];
const OPERATES: &[&str] = &["read", "write", "admin", "read.orders", "write.orders", "read.users"];
const ADMIN: &[&str] = &["admin"];

/// Which tokens pass the guard with which calls; all others get 403, and none gets 401.
const TABLE: &[(&str, &[&str], &[&str])] = &[
    ("GET", &["/", "/api/leader", "/api/status", "/openapi.json", "/api/collections"], ANY),
    ("HEAD", &["/", "/%61pi/status"], ANY),
    ("OPTIONS", &["/", "/api/transaction", "/api/expiry"], ANY),
    ("POST", &["/", "/api/status"], WRITES_ORDERS),
    ("GET", &["/metrics", "/metrics/"], READS_ALL),
    ("GET", &["/persons", "/persons/x", "/parts", "/parts/x", "/api/collections/parts"], READS_ALL),
    ("GET", &["/orders", "/orders/", "/%6Frders", "/%6f%72ders?limit=1"], READS_ORDERS),
    ("GET", &["/orders/a", "/orders/..", "/orders/%2e%2E", "/orders/a%2Fb", "/%6Frders/a/"], READS_ORDERS),
    ("HEAD", &["/orders", "/%6Frders/a"], READS_ORDERS),
    ("OPTIONS", &["/orders", "/%6Frders/a", "/orders:batch", "/orders:watch"], READS_ORDERS),
    ("GET", &["/orders:batch", "/orders%3Abatch"], READS_ORDERS),
    ("GET", &["/orders:watch", "/orders%3Awatch/", "/%6Frders:watch"], WATCHES_ORDERS),
    ("HEAD", &["/orders:watch"], READS_ORDERS),
    ("GET", &["/parts:watch"], &["read", "write", "admin", "backup"]),
    ("GET", &["/api/watch", "/api/%77atch"], ANY),
    ("POST", &["/orders", "/%6Frders", "/orders/", "/orders:batch", "/%6Frders%3abatch", "/orders/a"], WRITES_ORDERS),
    ("PUT", &["/orders/a", "/%6Frders/a", "/orders"], WRITES_ORDERS),
    ("PATCH", &["/orders/a", "/%6Frders/a/"], WRITES_ORDERS),
    ("DELETE", &["/orders/a", "/%6Frders/a", "/orders", "/orders:watch"], WRITES_ORDERS),
    ("BREW", &["/orders", "/%6Frders/a"], WRITES_ORDERS),
    ("POST", &["/persons", "/persons:batch", "/parts"], &["write", "admin"]),
    ("PUT", &["/persons/x", "/parts/x"], &["write", "admin"]),
    ("PATCH", &["/persons/x"], &["write", "admin"]),
    ("DELETE", &["/persons/x"], &["write", "admin"]),
    ("POST", &["/api/transaction", "/%61pi/transaction/"], OPERATES),
    ("GET", &["/api/transaction", "/api/expiry"], ANY),
    ("PUT", &["/api/transaction"], WRITES_ORDERS),
    ("GET", &["/api/collections/orders", "/api/collections/%6Frders/"], READS_ORDERS),
    ("HEAD", &["/api/collections/orders"], READS_ORDERS),
    ("PUT", &["/api/collections/orders", "/api/collections/%6Frders", "/api/collections/parts"], ADMIN),
    ("DELETE", &["/api/collections/orders", "/api/collections/parts", "/api/collections/Orders"], ADMIN),
    ("DELETE", &["/api/collections/orders/pending", "/%61pi/collections/parts/pending"], ADMIN),
    ("PUT", &["/api/expiry", "/api/expir%79"], ADMIN),
    ("GET", &["/api/snapshot", "/api/snapsho%74/"], &["admin", "backup"]),
    ("HEAD", &["/api/snapshot"], &["admin", "backup"]),
    ("POST", &["/api/collections", "/api/collections/orders"], WRITES_ORDERS),
    (
        "GET",
        &[
            "/Orders",
            "/orders:",
            "/orders:x",
            "/orders/a/b",
            "//orders",
            "/orders/%ff",
            "/api",
            "/api/x",
            "/ui",
            "/orders%2Fa",
        ],
        ANY,
    ),
    ("GET", &["/%zz", "/%ff/a", "/healthz/../orders", "/healthz%2F..%2Forders"], ANY),
    ("POST", &["/Orders", "/orders:x", "/%zz", "/orders/a/b"], WRITES_ORDERS),
    ("DELETE", &["/api/snapshot", "/orders//a"], WRITES_ORDERS),
    ("GET", &["/api/collections/Orders", "/api/collections/a:b", "/api/collections/%20"], READS_ALL),
    ("DELETE", &["/api/watch"], WRITES_ORDERS),
];

#[tokio::test]
async fn each_token_passes_with_the_calls_that_its_files_permit() {
    let locked = Locked::with_records().await;
    let mut seen = Vec::new();
    for (method, paths, passing) in TABLE {
        for path in *paths {
            let asked = || json(method, path, "{}").into_request();
            let none = locked.refused(None, &mut asked()).map(|answer| answer.status().as_u16());
            assert_eq!(none, Some(401), "{method} {path}");
            for file in FILES {
                let refused = locked.refused(Some(file), &mut asked()).map(|answer| answer.status().as_u16());
                let expected = (!passing.contains(&file)).then_some(403);
                assert_eq!(refused, expected, "{method} {path} with a token of {file}");
            }
            let place = paths::read(path.split('?').next().unwrap()).unwrap_or(Place::Nothing);
            if let Found::Call(kind) = find(&Method::from_bytes(method.as_bytes()).unwrap(), &place) {
                seen.push(kind);
            }
        }
    }
    for (method, path) in
        [("GET", "/healthz"), ("HEAD", "/%72eadyz/"), ("POST", "/healthz"), ("GET", "/docs"), ("HEAD", "/docs/")]
    {
        for file in [None, Some("backup"), Some("read.users")] {
            assert!(locked.refused(file, &mut json(method, path, "").into_request()).is_none(), "{method} {path}");
        }
    }
    let open = ["/healthz", "/readyz", "/docs"];
    for call in CALLS.iter().filter(|call| !open.contains(&call.path)) {
        assert!(seen.contains(&call.kind), "the table lacks {} {}", call.method, call.path);
    }
}

#[tokio::test]
async fn a_refusal_is_the_same_whether_there_is_such_a_collection_or_not() {
    let locked = Locked::with_records().await;
    for (method, path) in [
        ("GET", "/it"),
        ("OPTIONS", "/it"),
        ("GET", "/it/a"),
        ("GET", "/it:watch"),
        ("PUT", "/it/a"),
        ("POST", "/it:batch"),
        ("GET", "/api/collections/it"),
        ("DELETE", "/api/collections/it"),
    ] {
        let mut bodies = Vec::new();
        for name in ["users", "parts"] {
            let asked = json(method, &path.replace("it", name), "{}");
            let refused = locked.ask(Some("write.orders"), asked).await;
            problem(&refused, Code::Forbidden);
            bodies.push(format!("{refused:?}").replace(name, "it"));
        }
        assert_eq!(bodies[0], bodies[1], "{method} {path}");
    }
}

#[tokio::test]
async fn the_list_of_collections_shows_those_that_may_be_read() {
    let locked = Locked::new();
    for (file, expected) in [
        ("read", &["orders", "persons", "users"][..]),
        ("admin", &["orders", "persons", "users"]),
        ("write.orders", &["orders"]),
        ("read.users", &["users"]),
        ("backup", &[]),
    ] {
        let answer = locked.ask(Some(file), json("GET", "/api/collections", "")).await;
        let names = value(&answer);
        let names: Vec<&str> = names.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names, expected, "{file}");
    }
}

#[tokio::test]
async fn a_transaction_is_judged_by_its_operations() {
    let locked = Locked::with_records().await;
    let check = |name: &str| format!(r#"{{"op": "check", "collection": "{name}", "id": "a", "ifMatch": "*"}}"#);
    let put = |name: &str| format!(r#"{{"op": "put", "collection": "{name}", "id": "b", "record": {{}}}}"#);
    let delete = |name: &str| format!(r#"{{"op": "delete", "collection": "{name}", "id": "b"}}"#);
    for (file, operations, refused_at) in [
        ("read", vec![check("orders"), check("users")], None),
        ("read", vec![check("orders"), put("users")], Some(1)),
        ("read.users", vec![check("users")], None),
        ("read.users", vec![check("users"), check("orders")], Some(1)),
        ("read.users", vec![check("parts")], Some(0)),
        ("read.users", vec![delete("users")], Some(0)),
        ("write.orders", vec![check("orders"), put("orders"), delete("orders")], None),
        ("write.orders", vec![put("orders"), check("users")], Some(1)),
        ("write.orders", vec![put("orders"), put("parts")], Some(1)),
        ("write", vec![put("orders"), put("users"), delete("orders"), delete("users")], None),
    ] {
        let body = format!(r#"{{"operations": [{}]}}"#, operations.join(", "));
        let answer = locked.ask(Some(file), json("POST", "/api/transaction", &body)).await;
        match refused_at {
            None => assert_eq!(answer.status(), StatusCode::OK, "{file} {body}: {answer:?}"),
            Some(at) => {
                let refused = problem(&answer, Code::Forbidden);
                assert_eq!((&refused["operation"], header(&answer, "www-authenticate").is_some()), (&at.into(), true));
            }
        }
    }
    assert_eq!(locked.api.get("/orders/b").await.status(), StatusCode::NOT_FOUND, "nothing of a refused one is done");
}

#[tokio::test]
async fn who_may_only_read_leaves_no_key_and_sees_the_names_of_its_collections_alone() {
    let mut locked = Locked::with_records().await;
    let check = |id: &str| {
        let check = format!(r#"{{"op": "check", "collection": "orders", "id": "{id}", "ifMatch": "*"}}"#);
        json("POST", "/api/transaction", format!(r#"{{"operations": [{check}]}}"#)).header("idempotency-key", "k")
    };
    assert_eq!(locked.ask(Some("read"), check("a")).await.status(), StatusCode::OK);
    // Not 422: nothing is kept under the key.
    assert_eq!(problem(&locked.ask(Some("read"), check("b")).await, Code::BatchNotDone)["operation"], 0);

    let file = serde_json::json!({ "applied": true, "definitions": { "orders": "in-force", "users": "refused" } });
    let config = Config { collections_file: Shown::new(move || file.clone()), ..Config::default() };
    locked.api.calls = Calls::new(locked.api.handle.clone(), config, Metrics::new());
    for (token, names) in [("read", vec!["orders", "users"]), ("read.users", vec!["users"]), ("backup", vec![])] {
        let status = value(&locked.ask(Some(token), asking().path("/api/status")).await);
        let shown = status["collectionsFile"]["definitions"].as_object().unwrap();
        assert_eq!(shown.keys().collect::<Vec<_>>(), names, "{token}");
    }
}

/// Paths that are almost those of collections, each of their characters as it is or encoded.
fn paths() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "orders",
        "users",
        "/",
        "/a",
        "/b",
        "//",
        ":watch",
        ":batch",
        ":",
        "..",
        ".",
        "api",
        "/api/collections",
        "/pending",
        "?limit=1",
        "#",
        ";",
        "%",
        "%2F",
        "%3A",
        "%6f",
        "ORDERS",
        " ",
        "é",
        "healthz",
        "/api/transaction",
        "/api/watch",
    ]);
    let encoded = |text: &str, all: bool| {
        let byte = |byte: u8| if all { format!("%{byte:02X}") } else { char::from(byte).to_string() };
        text.bytes().map(byte).collect::<String>()
    };
    let piece = (piece, prop::bool::weighted(0.2)).prop_map(move |(text, all)| encoded(text, all));
    (prop::bool::weighted(0.7), prop::collection::vec(piece, 0..6)).prop_map(|(begins, pieces)| {
        if begins { format!("/orders{}", pieces.concat()) } else { format!("/{}", pieces.concat()) }
    })
}

proptest! {
    /// The guard reads the path before the routes do. Whatever it is, a token of `users` neither sees nor changes `orders`.
    #[test]
    fn no_path_leads_to_a_collection_that_the_guard_did_not_see(
        path in paths(),
        method in prop::sample::select(vec!["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        prop_assume!(path.parse::<warp::http::Uri>().is_ok());
        runtime.block_on(async {
            let locked = Locked::with_records().await;
            let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
            let asked = || {
                let body = r#"{"secret": "mine", "operations": [{"op": "create", "record": {}}]}"#;
                asking().method(method).path(&path).header("content-type", kind).body(body)
            };
            let uri: warp::http::Uri = path.parse().unwrap();
            let place = paths::read(paths::of(&uri)).unwrap_or(Place::Nothing);
            if place.named() == Some("orders") {
                for file in ["read.users", "backup"] {
                    let refused = locked.refused(Some(file), &mut asked().into_request());
                    let watches = file == "backup" && matches!(place, Place::Watch(_)) && method == "GET";
                    assert_eq!(refused.is_some(), !watches, "{method} {path} with a token of {file}");
                }
            }
            // Watches never end.
            if !matches!(place, Place::Watch(_) | Place::Fixed("/api/watch")) {
                let answer = locked.ask(Some("read.users"), asked()).await;
                let body = String::from_utf8_lossy(answer.body());
                assert!(!body.contains("of-orders"), "{method} {path}: {body}");
                assert!(place.named() != Some("orders") || answer.status() == StatusCode::FORBIDDEN, "{method} {path}");
            }
            let orders = locked.api.get("/orders").await;
            assert_eq!(value(&orders), serde_json::json!([{"secret": "of-orders", "id": "a"}]), "{method} {path}");
        });
    }
}
