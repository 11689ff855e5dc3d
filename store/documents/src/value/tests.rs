use super::*;
use crate::definition::{Field, Form, IndexDefinition};
use crate::id::IdKind;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::cmp::Ordering;

fn path(pointer: &str) -> Path {
    Path::from_pointer(pointer).unwrap()
}

fn definition(indexes: &[&[(&str, FieldKind)]], expires: Option<&str>) -> Definition {
    let field = |(pointer, kind): &(&str, FieldKind)| Field { path: path(pointer), kind: *kind };
    let indexes =
        indexes.iter().map(|fields| IndexDefinition { fields: fields.iter().map(field).collect(), unique: false });
    Definition {
        id: IdKind::Text,
        form: Form::Any,
        schema: None,
        indexes: indexes.collect(),
        expires: expires.map(path),
        records_max: None,
    }
}

fn key(fields: &[(&str, FieldKind)], record: &str) -> IndexKey {
    Shape::of(&definition(&[fields], None)).read(record).unwrap().keys.remove(0)
}

const STRING: [(&str, FieldKind); 1] = [("/a", FieldKind::String)];
const NUMBER: [(&str, FieldKind); 1] = [("/a", FieldKind::Number)];
const BOOLEAN: [(&str, FieldKind); 1] = [("/a", FieldKind::Boolean)];

#[test]
fn the_bytes_of_keys_stay_as_they_are() {
    assert_eq!(key(&STRING, r#"{"a":"x\u0000"}"#).as_bytes(), [1, b'x', 0, 0xff, 0, 1, 0]);
    assert_eq!(key(&NUMBER, r#"{"a":12.50}"#).as_bytes(), [1, 3, 1, 145, 13, 51, 0, 0]);
    assert_eq!(key(&BOOLEAN, r#"{"a":true}"#).as_bytes(), [1, 1, 0]);
    assert_eq!(key(&BOOLEAN, r#"{"a":false}"#).as_bytes(), [1, 0, 0]);
    assert_eq!(key(&STRING, "{}").as_bytes(), [2, 1]);
    let both = [("/a", FieldKind::String), ("/b", FieldKind::Boolean)];
    assert_eq!(key(&both, r#"{"b":true,"a":""}"#).as_bytes(), [1, 0, 1, 1, 1, 0]);
}

#[test]
fn a_value_of_another_type_is_none() {
    for (fields, others) in [
        (STRING, &["1", "true", "null", "[]", "{}", "[\"x\"]"][..]),
        (NUMBER, &["\"1\"", "false", "null", "[1]", "{}", "1e401", "1e-401"]),
        (BOOLEAN, &["\"true\"", "1", "0", "null", "[true]"]),
    ] {
        for other in others {
            let key = key(&fields, &format!("{{\"a\":{other}}}"));
            assert!(key.has_none(), "{other} {fields:?}");
            assert_eq!(key.as_bytes(), [2, 1]);
        }
    }
    assert!(!key(&STRING, r#"{"a":""}"#).has_none());
}

#[test]
fn a_path_goes_through_objects_alone_and_one_parse_serves_all() {
    let record =
        r#"{"x":[{"y":"no"}],"a":{"b":{"c":"deep"},"q/~":"odd"},"a~1":1,"n":-7e2,"z":{"y":[1,{"a":2}]},"é":"é"}"#;
    let mut paths = Paths::default();
    let wanted = [
        ("/a/b/c", Some("\"deep\"")),
        ("/a/b", Some("{\"c\":\"deep\"}")),
        ("/a/q~1~0", Some("\"odd\"")),
        ("/n", Some("-7e2")),
        ("/x/y", None),
        ("/x/0", None),
        ("/n/m", None),
        ("/z/y", Some("[1,{\"a\":2}]")),
        ("/é", Some("\"é\"")),
        ("/a~01", Some("1")),
        ("/none", None),
    ];
    let slots: Vec<usize> = wanted.iter().map(|(pointer, _)| paths.add(&path(pointer))).collect();
    assert_eq!(paths.add(&path("/n")), slots[3], "the same path has one place");
    let found = paths.read(record);
    for ((pointer, value), slot) in wanted.iter().zip(slots) {
        assert_eq!(found[slot], *value, "{pointer}");
    }
}

#[test]
fn of_two_members_of_one_name_the_last_counts_with_all_that_is_in_it() {
    let mut paths = Paths::default();
    let (a, b) = (paths.add(&path("/a/x")), paths.add(&path("/b")));
    let found = paths.read(r#"{"a":{"x":1},"b":1,"a":{"y":2},"b":2}"#);
    assert_eq!((found[a], found[b]), (None, Some("2")));
}

#[test]
fn what_is_no_json_object_has_no_fields() {
    for record in ["", "{", "[]", "1", "\"a\"", r#"{"a":1"#, r#"{"a":1,"b":"\ud800"x}"#] {
        assert!(key(&NUMBER, record).has_none(), "{record}");
    }
}

#[test]
fn a_long_string_at_an_indexed_path_is_refused_by_its_pointer() {
    let shape = Shape::of(&definition(&[&NUMBER, &[("/o/s", FieldKind::String)]], None));
    let with = |length: usize| format!(r#"{{"free":"{0}{0}","o":{{"s":"{0}"}}}}"#, "é".repeat(length / 2));
    assert!(shape.read(&with(STRING_BYTES_MAX)).is_ok());
    assert_eq!(*shape.read(&with(STRING_BYTES_MAX + 2)).unwrap_err().pointer, *"/o/s");
    // What counts is what it means, not how it is written.
    let escaped = format!(r#"{{"o":{{"s":"{}"}}}}"#, "\\u0061".repeat(STRING_BYTES_MAX));
    assert!(shape.read(&escaped).is_ok());
}

#[test]
fn a_time_of_expiry_is_read_absent_or_refused_by_its_pointer() {
    let shape = Shape::of(&definition(&[&STRING], Some("/until")));
    let expires = |record: &str| shape.read(record).map(|read| read.expires_ms);
    assert_eq!(expires(r#"{"until":12,"a":"x"}"#), Ok(Some(12_000)));
    assert_eq!(expires(r#"{"until":"1970-01-01T00:00:00.012Z"}"#), Ok(Some(12)));
    assert_eq!(expires("{}"), Ok(None));
    assert_eq!(expires(r#"{"until":null}"#), Ok(None));
    for bad in ["\"tomorrow\"", "1.5", "true", "[]", "{}", "\"\"", "1700000000000"] {
        let error = expires(&format!("{{\"until\":{bad}}}")).unwrap_err();
        assert_eq!(*error.pointer, *"/until", "{bad}");
        assert!(error.why.contains("2030-12-31T23:59:59Z"), "{}", error.why);
    }
}

#[test]
fn a_definition_without_indexes_and_expiry_needs_nothing() {
    let shape = Shape::of(&Definition::persons());
    assert!(shape.is_empty());
    assert_eq!(shape.read("{}"), Ok(Read { keys: Vec::new(), expires_ms: None }));
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        prop::sample::select(vec!["", "a", "a\0", "a\0\0", "a\u{1}", "aa", "b", "é", "\u{10ffff}", "a\"\\"])
            .prop_map(Value::from),
        (-3..3_i64).prop_map(Value::from),
        prop::sample::select(vec![0.5, -0.5, 1e20, -1e-20, 2.25]).prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        Just(json!([1])),
    ]
}

/// None is last; of another type is none.
fn compare(kind: FieldKind, left: &Value, right: &Value) -> Ordering {
    fn by<T>(left: Option<T>, right: Option<T>, compare: impl Fn(&T, &T) -> Ordering) -> Ordering {
        match (left, right) {
            (Some(left), Some(right)) => compare(&left, &right),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        }
    }
    match kind {
        FieldKind::String => by(left.as_str(), right.as_str(), |left, right| left.as_bytes().cmp(right.as_bytes())),
        FieldKind::Number => by(left.as_f64(), right.as_f64(), f64::total_cmp),
        FieldKind::Boolean => by(left.as_bool(), right.as_bool(), bool::cmp),
    }
}

proptest! {
    #[test]
    fn keys_sort_field_by_field_as_the_values_do(
        kinds in prop::collection::vec(prop::sample::select(vec![FieldKind::String, FieldKind::Number, FieldKind::Boolean]), 1..4),
        left in prop::collection::vec(scalar(), 4),
        right in prop::collection::vec(scalar(), 4),
    ) {
        let names = ["/a", "/b", "/c"];
        let fields: Vec<_> = names.iter().copied().zip(kinds.iter().copied()).collect();
        let record = |values: &[Value]| json!({"c": values[2], "b": values[1], "a": values[0]}).to_string();
        let (one, other) = (key(&fields, &record(&left)), key(&fields, &record(&right)));
        let expected = kinds.iter().zip(left.iter().zip(&right)).map(|(kind, (left, right))| compare(*kind, left, right));
        let expected = expected.fold(Ordering::Equal, Ordering::then);
        prop_assert_eq!(one.cmp(&other), expected, "{:?} {:?}", left, right);
        let is_none = |kind: FieldKind, value: &Value| match kind {
            FieldKind::String => !value.is_string(),
            FieldKind::Number => !value.is_number(),
            FieldKind::Boolean => !value.is_boolean(),
        };
        prop_assert_eq!(one.has_none(), kinds.iter().zip(&left).any(|(kind, value)| is_none(*kind, value)));
        if expected == Ordering::Equal {
            prop_assert_eq!(one, other);
        }
    }

    #[test]
    fn a_text_of_a_query_has_the_bytes_of_the_value_in_the_record(value in scalar()) {
        let raw = value.to_string();
        for kind in [FieldKind::String, FieldKind::Number, FieldKind::Boolean] {
            let (mut of_raw, mut of_text) = (Vec::new(), Vec::new());
            let text = if kind == FieldKind::String { value.as_str().unwrap_or_default() } else { raw.as_str() };
            if encode_raw(kind, Some(&raw), &mut of_raw) {
                prop_assert!(encode_text(kind, text, &mut of_text));
                prop_assert_eq!(of_raw, of_text);
            } else if kind != FieldKind::String {
                prop_assert!(!encode_text(kind, text, &mut of_text) && of_text.is_empty());
            }
        }
    }
}
