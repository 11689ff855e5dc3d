//! What clients keep, as each release gave it to them: cursors, ETags, and what a write under a key is recognized by. A client may
//! come back with it after an update, and to a pod of the other release during one. docs/golden.md has the rules.

use super::super::cursor::Cursor;
use super::*;
use crate::testing::golden::golden;

const NUMBERS: [u64; 4] = [0, 1, 812, u64::MAX];

#[test]
fn golden_cursors_are_read_as_these_numbers() {
    for (version, text) in golden().stored("page-cursors.txt") {
        let text = String::from_utf8(text).unwrap();
        let read: Vec<Cursor> = text.lines().map(|line| Cursor::read(line).unwrap()).collect();
        assert_eq!(read, NUMBERS.map(Cursor::Persons), "{version}");
    }
}

#[test]
fn golden_cursors_are_what_these_numbers_are_written_as() {
    let text: String = NUMBERS.into_iter().map(|number| Cursor::Persons(number).write() + "\n").collect();
    golden().is_written("page-cursors.txt", text.as_bytes());
}

/// Method, path, a header, body. The answers are not compared: only what stands for the request in the log.
const WRITES: [(&str, &str, [&str; 2], &str); 9] = [
    ("POST", "/persons", ["x-none", ""], JOHANNA),
    ("PUT", JOHANNA_PATH, ["x-none", ""], JOHANNA),
    ("PUT", JOHANNA_PATH, ["if-match", "*"], JOHANNA),
    ("PUT", JOHANNA_PATH, ["if-none-match", "*"], JOHANNA),
    ("PATCH", JOHANNA_PATH, ["x-none", ""], r#"{"lastName": "Kuester"}"#),
    ("PATCH", JOHANNA_PATH, ["if-match", r#""0102030405060708090a0b0c0d0e0f10""#], r#"{"lastName": "Köster"}"#),
    ("POST", "/persons", ["x-none", ""], r#"{"firstName": "Without", "lastName": "Id"}"#),
    (
        "POST",
        "/persons:batch",
        ["x-none", ""],
        r#"{"operations": [{"op": "create", "record": {"firstName": "A", "lastName": "B"}}, {"op": "delete", "id": "e956b5d0-fa0c-40e8-9da9-333c214dcaf7"}]}"#,
    ),
    ("DELETE", JOHANNA_PATH, ["x-none", ""], ""),
];

/// For each of these writes the hash of the request that the log keeps beside its key; and the ETag of a record.
async fn keys_and_tags() -> String {
    let api = Api::leader();
    let mut text = String::new();
    for (number, (method, path, [header, value], body)) in WRITES.into_iter().enumerate() {
        let key = format!("key-{number}");
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let asked = asking().method(method).path(path).header("content-type", kind);
        let asked = asked.header(header, value).header("idempotency-key", &key).body(body);
        api.send(asked).await;
        let mut stored = Vec::new();
        api.lock().documents.write_collections(&mut stored).unwrap();
        let stored: Value = serde_json::from_str(&format!("{{{}}}", String::from_utf8(stored).unwrap())).unwrap();
        let kept = stored["keys"].as_array().into_iter().flatten().find(|kept| kept["key"] == key);
        let hash =
            kept.unwrap_or_else(|| panic!("{method} {path} {body}: nothing is kept"))["request"].as_str().unwrap();
        text += &format!("{hash}  {method} {path} {header}: {value} {body}\n");
    }
    let created = api.post(JOHANNA).await;
    text + &format!("{}  ETag of {JOHANNA_STORED}\n", header(&created, "etag").unwrap())
}

#[tokio::test]
async fn golden_keys_and_tags_are_what_clients_get_today() {
    // No reader: the store makes them again, and compares.
    golden().is_written("keys-and-tags.txt", keys_and_tags().await.as_bytes());
}
