//! A second opinion: `boon` judges random records by random schemas as we do.

#![allow(clippy::unwrap_used)]

use super::*;
use boon::{Compiler, Schemas as Others};
use proptest::prelude::*;
use serde_json::json;

/// Values that are near to what the schemas below ask for.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..12).prop_map(Value::from),
        (-6_i32..24).prop_map(|half| json!(f64::from(half) / 2.0)),
        "[ab]{0,4}".prop_map(Value::from),
        Just(json!("ä€𝄞")),
        Just(json!("2026-02-29")),
        Just(json!("2024-02-29")),
        Just(json!("a@b.c")),
        Just(json!("e956b5d0-fa0c-40e8-9da9-333c214dcaf7")),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[abc]", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn schema() -> impl Strategy<Value = Value> {
    let kind = prop_oneof![
        Just(json!("object")),
        Just(json!("array")),
        Just(json!("string")),
        Just(json!("number")),
        Just(json!("integer")),
        Just(json!(["boolean", "null"])),
        Just(json!(["object", "string", "integer"])),
    ];
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        kind.prop_map(|kind| json!({"type": kind})),
        (0_u64..4, 0_u64..4).prop_map(|(least, most)| json!({"minLength": least, "maxLength": most})),
        (0_u64..4).prop_map(|most| json!({"maxItems": most, "minProperties": most / 2, "uniqueItems": most % 2 == 0})),
        (-2_i64..8).prop_map(|most| json!({"maximum": most, "exclusiveMinimum": -2, "multipleOf": 0.5})),
        "[abc]".prop_map(|name| json!({"required": [name], "dependentRequired": {"a": ["b"]}})),
        value().prop_map(|value| json!({"const": value})),
        (value(), value())
            .prop_filter("enums are of different values", |(one, other)| one != other)
            .prop_map(|(one, other)| json!({"enum": [one, other]})),
        prop_oneof![Just("date"), Just("email"), Just("uuid")].prop_map(|format| json!({"format": format})),
        "[ab]{1,2}".prop_map(|pattern| json!({"pattern": format!("^{pattern}+$")})),
        Just(json!({"$ref": "#/$defs/shared"})),
    ];
    leaf.prop_recursive(3, 24, 3, |inner| {
        let some = proptest::collection::vec(inner.clone(), 1..3);
        prop_oneof![
            (some.clone(), prop_oneof![Just("allOf"), Just("anyOf"), Just("oneOf"), Just("prefixItems")])
                .prop_map(|(schemas, keyword)| json!({keyword: schemas})),
            (
                inner.clone(),
                prop_oneof![
                    Just("not"),
                    Just("items"),
                    Just("additionalProperties"),
                    Just("contains"),
                    Just("propertyNames"),
                    Just("unevaluatedProperties"),
                    Just("unevaluatedItems"),
                ]
            )
                .prop_map(|(schema, keyword)| json!({keyword: schema})),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(one, two, three)| json!({"if": one, "then": two, "else": three})),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(one, two, three)| json!({
                "properties": {"a": one}, "patternProperties": {"^b": two}, "unevaluatedProperties": three
            })),
            (inner.clone(), inner).prop_map(|(one, two)| json!({"dependentSchemas": {"a": one}, "items": two})),
        ]
    })
}

/// Does the other library accept it? None: not even the schema.
fn others(schema: &Value, record: &Value) -> Option<bool> {
    let (mut schemas, mut compiler) = (Others::new(), Compiler::new());
    compiler.set_default_draft(boon::Draft::V2020_12);
    compiler.enable_format_assertions();
    compiler.add_resource("https://example.com/schema", schema.clone()).ok()?;
    let index = compiler.compile("https://example.com/schema", &mut schemas).ok()?;
    Some(schemas.validate(record, index).is_ok())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]
    #[test]
    fn another_library_judges_as_we_do(schema in schema(), shared in schema(), record in value()) {
        let whole = json!({"allOf": [schema], "$defs": {"shared": shared}});
        // A shared schema may refer to itself.
        if let Ok(ours) = Schema::compile(&whole.to_string()) {
            let found = ours.check(&record.to_string());
            prop_assert_eq!(Some(found.is_ok()), others(&whole, &record), "{} {} {:?}", whole, record, found);
        }
    }
}

#[test]
fn both_libraries_accept_and_refuse_some() {
    let schema = json!({"properties": {"a": {"format": "uuid"}}});
    assert_eq!(others(&schema, &json!({"a": "x"})), Some(false));
    assert_eq!(others(&schema, &json!({"a": "e956b5d0-fa0c-40e8-9da9-333c214dcaf7"})), Some(true));
    assert_eq!(others(&json!({"type": "x"}), &json!({})), None);
}
