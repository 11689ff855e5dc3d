//! The OpenAPI document says what the API does, and the API does what it says.
use super::*;
use crate::api::calls::{CALLS, Call, Kind};
use crate::api::tokens::Tokens;
use leasehold_daemon::reload::Reloaded;
use std::collections::BTreeSet;

/// (path, method) as the document has them.
fn documented() -> BTreeSet<(String, String)> {
    let paths = openapi::document()["paths"].as_object().unwrap();
    let methods = |path: &String, calls: &Value| {
        let calls = calls.as_object().unwrap().keys().map(|method| (path.clone(), method.to_uppercase()));
        calls.collect::<Vec<_>>()
    };
    paths.iter().flat_map(|(path, calls)| methods(path, calls)).collect()
}

#[test]
fn every_path_and_method_is_documented_and_nothing_else() {
    let taken: BTreeSet<(String, String)> = PATHS
        .iter()
        .flat_map(|(path, methods)| methods.split(", ").map(|method| ((*path).to_owned(), method.to_owned())))
        .filter(|(_, method)| method != "OPTIONS" && method != "HEAD")
        .collect();
    assert_eq!(documented(), taken);
}

/// The table of calls of the README: a path alone goes with the method before it, and a query is an example.
#[test]
fn the_readme_names_every_call_and_nothing_else() {
    let page = include_str!("../../../../README.md");
    let mut named = BTreeSet::new();
    for row in page.lines().filter(|line| {
        ["GET", "POST", "PUT", "PATCH", "DELETE"].iter().any(|method| line.starts_with(&format!("| `{method} /")))
    }) {
        let mut method = String::new();
        for word in row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2) {
            let (before, path) = word.split_once(' ').unwrap_or(("", word));
            if !before.is_empty() {
                method = before.to_owned();
            }
            let path = path.split('?').next().unwrap();
            if !path.is_empty() {
                named.insert((path.to_owned(), method.clone()));
            }
        }
    }
    let calls = CALLS.iter().filter(|call| call.path != "/");
    let calls: BTreeSet<_> = calls.map(|call| (call.path.to_owned(), call.method.to_string())).collect();
    assert_eq!(named, calls);
}

#[tokio::test]
async fn every_documented_call_has_a_route_and_answers_with_a_documented_status() {
    let api = Api::leader();
    for (path, method) in documented() {
        if path == "/persons:watch" {
            continue; // It has no end; its own tests watch.
        }
        let asked = path.replace("{id}", Uuid::nil().to_string().as_str());
        let answer = api.send(asking().method(&method).path(&asked)).await;
        let status = answer.status().as_u16();
        assert_ne!(status, 405, "{method} {path}");
        assert!(status != 404 || path.contains("{id}"), "{method} {path}");
        let responses = &openapi::document()["paths"][&path][method.to_lowercase()]["responses"];
        assert!(responses[status.to_string()].is_object(), "{method} {path} answers {status}, which is not documented");
    }
}

#[tokio::test]
async fn every_path_refuses_the_methods_that_it_does_not_take_and_lists_those_that_it_does() {
    let api = Api::leader();
    for (path, methods) in PATHS.iter() {
        let asked = path.replace("{id}", Uuid::nil().to_string().as_str());
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
async fn every_problem_is_in_the_document_and_every_reference_leads_somewhere() {
    let api = Api::leader();
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
            assert!(document.pointer(to.strip_prefix('#').unwrap()).is_some(), "{to}");
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
    let paths = openapi::document()["paths"].as_object().unwrap();
    let each = paths.iter().flat_map(|(path, calls)| calls.as_object().unwrap().iter().map(move |call| (path, call)));
    each.map(|(path, (method, operation))| (path.as_str(), method.as_str(), operation)).collect()
}

/// Follows a reference, if it is one.
fn followed(value: &'static Value) -> &'static Value {
    let document = openapi::document();
    value["$ref"].as_str().map_or(value, |to| document.pointer(to.strip_prefix('#').unwrap()).unwrap())
}

#[test]
fn every_operation_has_an_id_of_its_own() {
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations() {
        let id = operation["operationId"].as_str().unwrap();
        assert!(!id.is_empty() && ids.insert(id), "{method} {path}: {id:?}");
    }
    assert_eq!(ids.len(), CALLS.len());
}

#[test]
fn a_call_has_the_summary_of_the_table() {
    for call in &CALLS {
        let operation = &openapi::document()["paths"][call.path][call.method.as_str().to_lowercase()];
        assert_eq!(operation["summary"], call.summary, "{} {}", call.method, call.path);
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
            path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}')).collect();
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
    let judged = |call: &Call, token: Option<&str>| {
        let head = Request::builder().method(&call.method).uri(call.path.replace("{id}", "x"));
        let head = token.iter().fold(head, |head, token| head.header("authorization", format!("Bearer {token}")));
        guard(&mut head.body(()).unwrap().into_parts().0).map(|answer| answer.status().as_u16())
    };
    for call in &CALLS {
        let operation = &openapi::document()["paths"][call.path][call.method.as_str().to_lowercase()];
        for (token, refusal) in [(None, 401), (Some(other), 403)] {
            let refused = judged(call, token);
            assert!(refused.is_none_or(|status| status == refusal), "{} {}: {refused:?}", call.method, call.path);
            // By what is in its body, it may be refused later.
            let is_refused = refused.is_some() || (refusal == 403 && call.kind == Kind::Transaction);
            let documented = operation["responses"].get(refusal.to_string());
            assert_eq!(documented.is_some(), is_refused, "{} {}: {refusal}", call.method, call.path);
        }
        let needs_none = operation["security"].as_array().is_some_and(Vec::is_empty);
        assert_eq!(needs_none, judged(call, None).is_none(), "{} {}", call.method, call.path);
    }
}

#[test]
fn every_component_is_referred_to() {
    let document = openapi::document();
    let text = document.to_string();
    for (kind, components) in
        document["components"].as_object().unwrap().iter().filter(|(kind, _)| *kind != "securitySchemes")
    {
        for name in components.as_object().unwrap().keys() {
            assert!(text.contains(&format!("{{\"$ref\":\"#/components/{kind}/{name}\"}}")), "{kind}/{name}");
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
    assert!(text.contains("fetch(\"openapi.json\")"));
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
