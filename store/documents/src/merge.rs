//! JSON Merge Patch (RFC 7396), on text.
//!
//! This is part of the log's meaning: every replica must merge to the same bytes. So nothing here relies on a library's map
//! (whose order may change with a feature): members keep the order of the target, new ones follow in the order of the
//! patch, and what does not change is copied as it is written.

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Objects nested deeper than this are refused; the API refuses them earlier.
const DEPTH_MAX: usize = 128;

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MergeError {
    /// Target or patch is not JSON, or has a key twice in one object.
    #[error("target or patch is not JSON, or has a key twice")]
    Json,
    /// Nested too deep.
    #[error("the patch is nested too deeply")]
    Depth,
}

/// Applies `patch` to `target`. A patch that is not an object replaces the target.
///
/// # Errors
/// [`MergeError`]
pub(super) fn merge(target: &str, patch: &str) -> Result<String, MergeError> {
    merge_at(Some(target), patch, 0)
}

/// Is it a JSON object, with each key once (in its own members)?
pub(super) fn is_object(json: &str) -> bool {
    json.trim_ascii_start().starts_with('{') && Members::of(json).is_ok()
}

fn merge_at(target: Option<&str>, patch: &str, depth: usize) -> Result<String, MergeError> {
    if depth > DEPTH_MAX {
        return Err(MergeError::Depth);
    }
    if !patch.trim_ascii_start().starts_with('{') {
        serde_json::from_str::<&RawValue>(patch).map_err(|_| MergeError::Json)?;
        return Ok(patch.trim_ascii().to_owned());
    }
    let target = target.filter(|target| target.trim_ascii_start().starts_with('{')).unwrap_or("{}");
    let mut patch = Members::of(patch)?.0;
    let mut merged: Vec<(String, String)> = Vec::new();
    for (name, old) in Members::of(target)?.0 {
        match patch.iter().position(|(patched, _)| *patched == name) {
            None => merged.push((name, old.get().to_owned())),
            Some(at) => {
                let (_, new) = patch.remove(at);
                if new.get() != "null" {
                    merged.push((name, merge_at(Some(old.get()), new.get(), depth + 1)?));
                }
            }
        }
    }
    for (name, new) in patch {
        if new.get() != "null" {
            merged.push((name, merge_at(None, new.get(), depth + 1)?));
        }
    }
    let mut text = String::from("{");
    for (at, (name, value)) in merged.iter().enumerate() {
        text.push_str(if at == 0 { "" } else { "," });
        text.push_str(&serde_json::to_string(name).expect("a string has a JSON form"));
        text.push(':');
        text.push_str(value);
    }
    text.push('}');
    Ok(text)
}

/// The members of one object, in order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    fn of(json: &'a str) -> Result<Members<'a>, MergeError> {
        serde_json::from_str(json).map_err(|_| MergeError::Json)
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members<'de>, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members: Vec<(String, &'de RawValue)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    if members.iter().any(|(known, _)| *known == name) {
                        return Err(A::Error::custom("a key stands twice"));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc() {
        for (target, patch, result) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
            (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
            (r#"{"a":"foo"}"#, "null", "null"),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            assert_eq!(merge(target, patch).unwrap(), result, "{target} with {patch}");
        }
    }

    #[test]
    fn the_order_is_the_target_s_and_numbers_stay_as_they_are_written() {
        let merged = merge(r#"{"z":1.10,"a":1e400,"m":"ä"}"#, r#"{"b":0,"a":2.50}"#).unwrap();
        assert_eq!(merged, r#"{"z":1.10,"a":2.50,"m":"ä","b":0}"#);
    }

    #[test]
    fn what_is_no_json_and_what_is_too_deep_is_refused() {
        for bad in ["", "{", r#"{"a":1,"a":2}"#, "{} x"] {
            assert!(merge("{}", bad).is_err(), "{bad}");
        }
        let deep = format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
        assert_eq!(merge("{}", &deep), Err(MergeError::Depth));
    }
}
