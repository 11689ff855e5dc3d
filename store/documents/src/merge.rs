//! JSON Merge Patch (RFC 7396), on text.
//!
//! This is part of the log's meaning: every replica must merge to the same bytes. So nothing here relies on a library's map
//! (whose order may change with a feature): members keep the order of the target, new ones follow in the order of the
//! patch, and what does not change is copied as it is written.

mod scan;

pub use scan::MergeError;
use scan::Scan;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher, RandomState};

/// Objects nested deeper than this are refused; the API refuses them earlier.
const DEPTH_MAX: usize = 128;

/// Applies `patch` to `target`. A patch that is not an object replaces the target. Each byte of the two is read a constant
/// number of times, however deep it stands.
///
/// # Errors
/// [`MergeError`]
pub fn merge(target: &str, patch: &str) -> Result<String, MergeError> {
    check(patch)?;
    let patch = match Patch::read(&mut Scan::of(patch), 0)? {
        Patch::Null => return Ok("null".to_owned()),
        Patch::Value(value) => return Ok(value.to_owned()),
        Patch::Object(patch) => patch,
    };
    let mut merged = String::with_capacity(target.len());
    if target.trim_ascii_start().starts_with('{') {
        check(target)?;
        merge_object(&mut Scan::of(target), &patch, &mut merged)?;
    } else {
        write_new(&patch, &mut merged);
    }
    Ok(merged)
}

/// The text of the member `id` of what [`merge`] made, if it is one: that is JSON, and has no name twice.
pub(super) fn id_of_merged(merged: &str) -> Option<Cow<'_, str>> {
    let mut scan = Scan::of(merged);
    while let Some(name) = scan.member().ok()? {
        let value = scan.value();
        if name == "id" {
            return scan::text(value).ok();
        }
    }
    None
}

/// Is it a JSON object, with each key once (in its own members)?
pub(super) fn is_object(json: &str) -> bool {
    is_json_object(json) && Members::of(json).is_ok()
}

/// Is it a JSON object? What is wrong with its names shows when it is merged.
pub(super) fn is_json_object(json: &str) -> bool {
    json.trim_ascii_start().starts_with('{') && check(json).is_ok()
}

fn check(json: &str) -> Result<(), MergeError> {
    serde_json::from_str::<&RawValue>(json).map(|_| ()).map_err(|_| MergeError::Json)
}

/// A patch, read.
enum Patch<'a> {
    Null,
    Object(Box<Changes<'a>>),
    /// Anything else, as it is written.
    Value(&'a str),
}

/// The members of a patch, in order.
struct Changes<'a> {
    all: Vec<(Cow<'a, str>, Patch<'a>)>,
    /// Where each name is. Looked up, never walked through: its order decides nothing.
    places: HashMap<Cow<'a, str>, usize>,
}

impl<'a> Patch<'a> {
    fn read(scan: &mut Scan<'a>, depth: usize) -> Result<Patch<'a>, MergeError> {
        if scan.next() != Some(b'{') {
            let value = scan.value();
            return match value {
                "null" if depth > 0 => Ok(Patch::Null),
                _ if depth > DEPTH_MAX => Err(MergeError::Depth),
                _ => Ok(Patch::Value(value)),
            };
        }
        if depth > DEPTH_MAX {
            return Err(MergeError::Depth);
        }
        let (mut all, mut places) = (Vec::new(), HashMap::new());
        while let Some(name) = scan.member()? {
            if places.insert(name.clone(), all.len()).is_some() {
                return Err(MergeError::Json);
            }
            all.push((name, Patch::read(scan, depth + 1)?));
        }
        Ok(Patch::Object(Box::new(Changes { all, places })))
    }
}

fn merge_object(target: &mut Scan<'_>, patch: &Changes<'_>, merged: &mut String) -> Result<(), MergeError> {
    let begin = target.clone();
    let mut is_merged = vec![false; patch.all.len()];
    let (hasher, mut hashes) = (RandomState::new(), Vec::new());
    let mut to = Object::begin(merged);
    while let Some(name) = target.member()? {
        let Some(at) = patch.places.get(&name) else {
            to.member(&name).push_str(target.value());
            hashes.push(hasher.hash_one(&*name));
            continue;
        };
        if std::mem::replace(&mut is_merged[*at], true) {
            return Err(MergeError::Json);
        }
        match &patch.all[*at].1 {
            Patch::Null => {
                target.value();
            }
            Patch::Value(value) => {
                target.value();
                to.member(&name).push_str(value);
            }
            Patch::Object(changes) if target.next() == Some(b'{') => {
                merge_object(target, changes, to.member(&name))?;
            }
            Patch::Object(changes) => {
                target.value();
                write_new(changes, to.member(&name));
            }
        }
    }
    // Hashes in order cost a third of a set of names. Whether two names are equal is decided by the names.
    hashes.sort_unstable();
    if hashes.windows(2).any(|two| two[0] == two[1]) && has_name_twice(begin)? {
        return Err(MergeError::Json);
    }
    for ((name, change), is_merged) in patch.all.iter().zip(is_merged) {
        if !is_merged {
            to.new_member(name, change);
        }
    }
    to.end();
    Ok(())
}

fn has_name_twice(mut object: Scan<'_>) -> Result<bool, MergeError> {
    let mut names = HashSet::new();
    while let Some(name) = object.member()? {
        if !names.insert(name) {
            return Ok(true);
        }
        object.value();
    }
    Ok(false)
}

/// What a patch makes of nothing.
fn write_new(patch: &Changes<'_>, merged: &mut String) {
    let mut to = Object::begin(merged);
    for (name, change) in &patch.all {
        to.new_member(name, change);
    }
    to.end();
}

/// An object in the making.
struct Object<'a> {
    text: &'a mut String,
    is_empty: bool,
}

impl Object<'_> {
    fn begin(text: &mut String) -> Object<'_> {
        text.push('{');
        Object { text, is_empty: true }
    }

    /// Where its value belongs.
    fn member(&mut self, name: &str) -> &mut String {
        self.text.push_str(if self.is_empty { "" } else { "," });
        self.is_empty = false;
        // What serde_json would write, without a text of its own for each name that needs no escape.
        if name.bytes().any(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
            self.text.push_str(&serde_json::to_string(name).expect("a string has a JSON form"));
        } else {
            self.text.push('"');
            self.text.push_str(name);
            self.text.push('"');
        }
        self.text.push(':');
        self.text
    }

    fn new_member(&mut self, name: &str, change: &Patch<'_>) {
        match change {
            Patch::Null => {}
            Patch::Value(value) => self.member(name).push_str(value),
            Patch::Object(changes) => write_new(changes, self.member(name)),
        }
    }

    fn end(self) {
        self.text.push('}');
    }
}

/// The members of one object, in order.
pub(super) struct Members<'a>(pub(super) Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    pub(super) fn of(json: &'a str) -> Result<Members<'a>, MergeError> {
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
                while let Some(member) = map.next_entry::<String, &'de RawValue>()? {
                    members.push(member);
                }
                let names: HashSet<&str> = members.iter().map(|(name, _)| &**name).collect();
                if names.len() < members.len() {
                    return Err(A::Error::custom("a key stands twice"));
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
    use proptest::prelude::*;

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

    /// The same by its definition, as it was until format 2: it reads what stands deep once for each level.
    fn by_definition(target: Option<&str>, patch: &str) -> Result<String, MergeError> {
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
                        merged.push((name, by_definition(Some(old.get()), new.get())?));
                    }
                }
            }
        }
        for (name, new) in patch {
            if new.get() != "null" {
                merged.push((name, by_definition(None, new.get())?));
            }
        }
        let members = merged.iter().map(|(name, value)| format!("{}:{value}", serde_json::to_string(name).unwrap()));
        Ok(format!("{{{}}}", members.collect::<Vec<_>>().join(",")))
    }

    /// JSON, and some texts that are nearly JSON.
    fn json() -> impl Strategy<Value = String> {
        let names = r#""(a|b|\\u0061|c\\"|ä|\\ud800)""#;
        let leaf = prop_oneof![
            "null|true|-1.50e2| 7 |",
            "\\[[1-3](, ?[1-3])?\\]",
            r#""[a\{\}:,]{0,3}""#,
            Just(r#"[{"a":{"a":1,"a":2}},"]\\\""]"#.to_owned())
        ];
        leaf.prop_recursive(4, 40, 5, move |inner| {
            let member =
                (names, "[ \n]?", inner).prop_map(|(name, space, value)| format!("{name}{space}:{space}{value}"));
            proptest::collection::vec(member, 0..5).prop_map(|members| format!("{{{}}}", members.join(", ")))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn the_result_is_the_one_of_the_definition(target in json(), patch in json()) {
            prop_assert_eq!(merge(&target, &patch).ok(), by_definition(Some(&target), &patch).ok());
        }
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
