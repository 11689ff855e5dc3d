#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::{Map, json};
use std::time::{Duration, Instant};

fn compile(schema: &Value) -> Result<Schema, DefinitionError> {
    Schema::compile(&schema.to_string())
}

fn refused(schema: &Value) -> DefinitionError {
    compile(schema).map(|_| schema.to_string()).unwrap_err()
}

fn violation(schema: &Value, record: &Value) -> Violation {
    compile(schema).unwrap().check(&record.to_string()).unwrap_err()
}

#[test]
fn what_is_not_understood_is_refused_with_its_place() {
    for (schema, pointer, what) in [
        (json!({"requird": ["a"]}), "/schema/requird", "is not a keyword"),
        (json!({"properties": {"a/b": {"minLenght": 1}}}), "/schema/properties/a~1b/minLenght", "is not a keyword"),
        (json!({"allOf": [true, {"x": 1}]}), "/schema/allOf/1/x", "is not a keyword"),
        (json!({"definitions": {}}), "/schema/definitions", "$defs"),
        (json!({"$schema": "http://json-schema.org/draft-07/schema#"}), "/schema/$schema", "2020-12"),
        (
            json!({"$defs": {"a": {"$schema": "https://json-schema.org/draft/2020-12/schema"}}}),
            "/schema/$defs/a/$schema",
            "outermost",
        ),
        (json!({"$defs": {"a": {"$id": "https://example.com/a"}}}), "/schema/$defs/a/$id", "outermost"),
        (json!({"$ref": "https://json-schema.org/draft/2020-12/schema"}), "/schema/$ref", "another document"),
        (json!({"items": {"$ref": "http://169.254.169.254/"}}), "/schema/items/$ref", "another document"),
        (json!({"$ref": "file:///etc/passwd"}), "/schema/$ref", "another document"),
        (json!({"$ref": "#/$defs/a"}), "/schema/$ref", "no schema is at"),
        (json!({"$ref": "#/properties", "properties": {}}), "/schema/$ref", "no schema is at"),
        (json!({"$ref": "#a"}), "/schema/$ref", "no schema is at"),
        (json!({"format": "idn-email"}), "/schema/format", "no format"),
        (json!({"format": "e-mail"}), "/schema/format", "no format"),
        (json!({"type": "text"}), "/schema/type", ""),
        (json!({"properties": {"a": {"minLength": -1}}}), "/schema/properties/a/minLength", ""),
        (json!({"properties": {"a": 1}}), "/schema/properties/a", "a schema is"),
        (json!({"items": [true]}), "/schema/items", "a schema is"),
        (json!({"properties": {"a": {"pattern": "(?=a)b"}}}), "/schema/properties/a/pattern", ""),
        (json!({"properties": {"a": {"pattern": "("}}}), "/schema/properties/a/pattern", ""),
        (json!({"patternProperties": {"(?<!a)b": true}}), "/schema/patternProperties", ""),
        (json!({"pattern": "(\\p{L}{1000}){1000}"}), "/schema/pattern", ""),
        (json!([]), "/schema", "a schema is"),
        (json!("x"), "/schema", "a schema is"),
    ] {
        let error = refused(&schema);
        assert!(error.pointer.starts_with(pointer), "{schema}: {error:?}");
        assert!(error.what.contains(what), "{schema}: {error:?}");
        assert!(error.what.chars().count() <= 400, "{error:?}");
    }
    assert_eq!(Schema::compile("{").unwrap_err().pointer, "/schema");
    assert!(Schema::compile(&format!("{{\"title\": \"{}\"}}", "x".repeat(SCHEMA_BYTES_MAX))).is_err());
}

#[test]
fn what_the_draft_has_is_accepted() {
    let node = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://example.com/tree", "title": "A tree",
        "type": "object", "required": ["value"],
        "properties": {"value": {"$ref": "#/$defs/value"}, "left": {"$ref": "#"}, "right": {"$ref": "#"},
                       "more": {"type": "array", "items": {"$ref": "#tree"}}},
        "additionalProperties": {"$ref": "#/$defs/a%20b~1c"}, "$anchor": "tree",
        "$defs": {"value": {"type": ["integer", "string"]}, "a b/c": {"type": "null"}}
    });
    let tree = compile(&node).unwrap();
    let fits = json!({"value": 1, "left": {"value": "x"}, "right": {"value": 2, "right": {"value": 3}}, "more": [{"value": 1}], "x": null});
    tree.check(&fits.to_string()).unwrap();
    for (record, pointer, rule) in [
        (json!({"value": 1, "left": {"value": 1.5}}), "/left/value", "type"),
        (json!({"value": 1, "right": {"left": {}, "value": 1}}), "/right/left", "required"),
        (json!({"value": 1, "more": [{"value": 1}, 7]}), "/more/1", "type"),
        (json!({"value": 1, "x": 1}), "/x", "type"),
    ] {
        let found = tree.check(&record.to_string()).unwrap_err();
        assert_eq!((found.pointer.as_str(), found.rule.as_str()), (pointer, rule), "{found:?}");
    }
    for schema in
        [json!(true), json!({}), json!({"unevaluatedProperties": false, "allOf": [{"properties": {"a": true}}]})]
    {
        compile(&schema).unwrap().check(r#"{"a": 1}"#).unwrap();
    }
    assert_eq!(violation(&json!(false), &json!({})).pointer, "");
}

#[test]
fn a_violation_names_pointer_rule_and_the_beginning_of_the_value() {
    let schema = json!({"properties": {"mail": {"format": "email"}, "name": {"maxLength": 200}, "n": {"maximum": 10}}});
    let found = violation(&schema, &json!({"mail": "nobody"}));
    let what = r#"the value at /mail is not a "email""#;
    assert_eq!((found.pointer.as_str(), found.rule.as_str(), found.value.as_str()), ("/mail", "format", r#""nobody""#));
    assert_eq!(found.what, what);
    // The first by its pointer, whatever the order of the members.
    for record in [r#"{"n": 11, "mail": "x"}"#, r#"{"mail": "x", "n": 11}"#] {
        assert_eq!(compile(&schema).unwrap().check(record).unwrap_err().pointer, "/mail");
    }
    let found = violation(&schema, &json!({"name": "ä".repeat(201)}));
    assert_eq!(found.value, format!("\"{}…", "ä".repeat(VALUE_CHARACTERS_MAX - 1)));
    assert!(!found.what.contains("ää"), "{}", found.what);
    let long = json!({"type": "string", "enum": ["x".repeat(1000)]});
    assert!(
        violation(&json!({"properties": {"a": long}}), &json!({"a": 1})).what.chars().count()
            <= WHAT_CHARACTERS_MAX + 1
    );
}

#[test]
fn a_record_that_is_not_json_is_a_violation_and_no_panic() {
    let schema = compile(&json!({})).unwrap();
    for record in ["", "{", "{\"a\": 1e400}", &"[".repeat(1_000)] {
        assert_eq!(schema.check(record).unwrap_err().rule, "json", "{record}");
    }
}

/// `count` definitions, each with two references to the next.
fn doubling(count: usize) -> Value {
    let mut definitions = Map::new();
    for number in 0..count {
        let next = json!({"$ref": format!("#/$defs/d{}", number + 1)});
        definitions.insert(format!("d{number}"), json!({"allOf": [next, next]}));
    }
    definitions.insert(format!("d{count}"), json!({"type": "object"}));
    json!({"$ref": "#/$defs/d0", "$defs": definitions})
}

#[test]
fn a_schema_whose_check_would_be_exponential_is_refused() {
    compile(&doubling(7)).unwrap();
    for count in [10, 25, 100] {
        let error = refused(&doubling(count));
        assert!(error.what.contains("subschemas"), "{error:?}");
    }
    // Twice the work at each level of the record.
    let twice = |member: &str| json!({"allOf": [{member: {"$ref": "#"}}, {member: {"$ref": "#"}}]});
    for schema in [
        json!({"allOf": [{"properties": {"a": {"$ref": "#"}}}, {"properties": {"a": {"$ref": "#"}}}]}),
        json!({"properties": {"a": {"$ref": "#"}}, "patternProperties": {"a": {"$ref": "#"}}}),
        json!({"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}}),
        json!({"items": {"$ref": "#"}, "contains": {"$ref": "#"}}),
        json!({"anyOf": [{"properties": {"a": {"$ref": "#"}}}], "unevaluatedProperties": false}),
        twice("additionalProperties"),
        twice("items"),
    ] {
        assert!(refused(&schema).what.contains("subschemas"), "{schema}");
    }
    // Once at each: as trees and lists are.
    for schema in [
        json!({"properties": {"a": {"$ref": "#"}}, "additionalProperties": {"$ref": "#"}}),
        json!({"prefixItems": [{"$ref": "#"}], "items": {"$ref": "#"}}),
        json!({"properties": {"a": {"$ref": "#"}, "b": {"items": {"$ref": "#"}}}, "required": ["c"]}),
        json!({"anyOf": [{"type": "null"}, {"properties": {"next": {"$ref": "#"}}}]}),
        json!({"oneOf": (0..300).map(|number| json!({"const": number})).collect::<Vec<_>>()}),
    ] {
        compile(&schema).unwrap();
    }
}

#[test]
fn references_that_never_end_are_refused() {
    for schema in [
        json!({"$ref": "#"}),
        json!({"allOf": [{"$ref": "#"}]}),
        json!({"not": {"$ref": "#/$defs/a"}, "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
        json!({"$dynamicRef": "#me", "$dynamicAnchor": "me"}),
    ] {
        assert!(refused(&schema).what.contains("never end"), "{schema}");
    }
}

/// So many references in a row, and behind them a subschema.
fn chain(length: usize, last: &Value) -> Value {
    let mut definitions = Map::new();
    for number in 0..length {
        definitions.insert(format!("d{number}"), json!({"$ref": format!("#/$defs/d{}", number + 1)}));
    }
    definitions.insert(format!("d{length}"), last.clone());
    json!({"$ref": "#/$defs/d0", "$defs": definitions})
}

#[test]
fn the_deepest_checks_fit_the_stack_of_a_blocking_thread() {
    let again = json!({"properties": {"a": {"$ref": "#"}}});
    assert!(refused(&chain(3, &again)).what.contains("within each other"));
    assert!(refused(&chain(900, &json!({}))).what.contains("within each other"));
    let check = move || {
        let record = format!("{}1{}", r#"{"a":"#.repeat(126), "}".repeat(126));
        compile(&chain(1, &again)).unwrap().check(&record).unwrap();
        let found = compile(&chain(500, &json!({"required": ["b"]}))).unwrap().check(&record).unwrap_err();
        assert_eq!(found.rule, "required");
    };
    std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(check).unwrap().join().unwrap();
}

#[test]
fn the_largest_records_are_checked_in_bounded_time() {
    // Every element by nearly as many subschemas as may be.
    let many: Vec<Value> = (0..CHECKS).map(|_| json!({"minimum": 0})).collect();
    let schema = compile(&json!({"properties": {"a": {"items": {"allOf": many}}}})).unwrap();
    let record = format!(r#"{{"a":[{}]}}"#, vec!["1"; 20_000].join(","));
    let begun = Instant::now();
    schema.check(&record).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

const CHECKS: usize = 900;

#[test]
fn the_patterns_of_a_schema_share_a_bounded_memory() {
    let with = |patterns: usize, pattern: &str| {
        let one = |at: usize| (format!("p{at}"), json!({"pattern": format!("{pattern}{at}")}));
        compile(&json!({"properties": (0..patterns).map(one).collect::<Map<_, _>>()}))
    };
    let usual = r"^[A-Za-z0-9][A-Za-z0-9._%+-]{0,62}@[a-z]+\.[a-z]{2,}$|";
    assert!(with(128, usual).unwrap().bytes < PATTERNS_BYTES_MAX + 128 * 1024 * BYTES_PER_TEXT_BYTE);
    let large = r"\p{L}{3}";
    let few = with(4, large).unwrap();
    assert!(
        few.bytes > 4 * 2 * PATTERN_BYTES_FIRST
            && few.bytes <= 2 * PATTERNS_BYTES_MAX + 64 * 1024 * BYTES_PER_TEXT_BYTE
    );
    let error = with(128, large).unwrap_err();
    assert!(error.pointer.starts_with("/schema/properties/p") && error.what.contains("more than 64 KiB"), "{error:?}");
}

#[test]
fn the_most_recently_used_schemas_are_kept_and_no_more() {
    let schemas = Schemas::default();
    let text = |number: usize| -> Arc<str> { format!(r#"{{"title":"{number}"}}"#).into() };
    let first = schemas.of(&text(0)).unwrap();
    for number in 1..=KEPT_MAX {
        schemas.of(&text(number)).unwrap();
        assert!(Arc::ptr_eq(&first, &schemas.of(&text(0)).unwrap()), "{number}");
    }
    assert!(schemas.known(&text(1)).is_none());
    assert!(schemas.known(&text(2)).is_some());
    let large = |number: usize| -> Arc<str> { format!(r#"{{"title":"{number}{}"}}"#, "x".repeat(60_000)).into() };
    for number in 0..100 {
        schemas.of(&large(number)).unwrap();
    }
    let kept = schemas.0.lock().unwrap();
    assert!(kept.bytes <= KEPT_BYTES_MAX && kept.by_text.len() > 20, "{} {}", kept.bytes, kept.by_text.len());
    assert_eq!(kept.bytes, kept.by_text.values().map(|(_, schema)| schema.bytes).sum::<usize>());
    drop(kept);
    assert!(schemas.of(&r#"{"x":1}"#.into()).is_err());
}
