//! Records of any form: a JSON object, stored as it was sent, but for the white space between its tokens.
//!
//! ```text
//!   bytes ──syntax──▶ JSON, each name once ──compact──▶ depth, numbers ──id──▶ the record as it is stored
//! ```
//!
//! Numbers and strings keep their spelling, and members their order: a reader gets what the writer sent. The one addition
//! is `id`, as the last member, where the client sent none.

use super::person;
use super::problem::{Code, Problem};
use leasehold_documents::{Id, IdKind, IdRef, RECORD_BYTES_MAX};
use std::ops::Range;

/// How deep a record may be nested.
pub(super) const DEPTH_MAX: usize = 64;
/// How much of a value a problem repeats.
const VALUE_CHARACTERS_MAX: usize = 100;

/// A record, or a patch of one, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    compact: Compact,
    /// As sent; none if it is missing.
    pub(super) id: Option<Id>,
}

/// JSON without white space between its tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Compact {
    text: String,
    /// The member `id` of the object, if it has one.
    id: Option<Member>,
}

/// Where a member is in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    whole: Range<usize>,
    value: Range<usize>,
}

/// Why JSON is no record.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Unfit {
    Deep { pointer: String },
    Number { pointer: String, value: String },
}

/// Is it JSON at all, and each name once in its object? As for persons, but a number that is too large is named by its
/// pointer.
pub(super) fn check_syntax(body: &[u8]) -> Result<(), Problem> {
    person::check_syntax(body).map_err(|problem| {
        let unfit = std::str::from_utf8(body).ok().map(compact);
        match unfit {
            Some(Err(unfit @ Unfit::Number { .. })) if problem.detail().starts_with("number out of range") => {
                unfit.problem("")
            }
            _ => problem,
        }
    })
}

impl Sent {
    /// The object `part`, which is at `pointer` in the body. The body's syntax was checked.
    pub(super) fn record(part: &[u8], pointer: &str, kind: IdKind) -> Result<Sent, Problem> {
        let compact = object(part, pointer)?;
        let id = compact.id.as_ref().map(|member| {
            let value = &compact.text[member.value.clone()];
            let text = serde_json::from_str::<String>(value).ok();
            let id = text.as_deref().and_then(|text| kind.parse(text)).map(IdRef::to_owned);
            id.ok_or_else(|| bad_id(kind, value, pointer))
        });
        let id = id.transpose()?;
        Ok(Sent { compact, id })
    }

    /// As [`Sent::record`], a JSON Merge Patch (RFC 7396).
    pub(super) fn patch(part: &[u8], pointer: &str, kind: IdKind) -> Result<Sent, Problem> {
        let sent = object(part, pointer)?;
        if sent.id.as_ref().is_some_and(|member| &sent.text[member.value.clone()] == "null") {
            let what = "cannot remove `id`: every record has one";
            return Err(invalid(what, &format!("{pointer}/id"), "id", "null"));
        }
        Sent::record(part, pointer, kind)
    }

    /// The record as it is stored, under this id, which is the record's own if it has one.
    pub(super) fn into_record(self, id: IdRef<'_>) -> Result<String, Problem> {
        let Compact { mut text, id: member } = self.compact;
        // In its one form; a text keeps the spelling in which it was sent.
        match (member, id) {
            (Some(member), IdRef::Uuid(id)) => text.replace_range(member.value, &format!("\"{id}\"")),
            (Some(_), IdRef::Text(_)) => {}
            (None, id) => {
                text.truncate(text.len() - 1);
                text.push_str(if text.len() > 1 { ",\"id\":" } else { "\"id\":" });
                text.push_str(&serde_json::Value::String(id.to_string()).to_string());
                text.push('}');
            }
        }
        if text.len() > RECORD_BYTES_MAX { Err(too_large()) } else { Ok(text) }
    }

    /// The patch without its id, which cannot change: so the record keeps the spelling of it.
    pub(super) fn into_patch(self) -> String {
        let Compact { mut text, id } = self.compact;
        if let Some(Member { whole, .. }) = id {
            let bytes = text.as_bytes();
            let whole = match (bytes.get(whole.start.saturating_sub(1)), bytes.get(whole.end)) {
                (Some(b','), _) => whole.start - 1..whole.end,
                (_, Some(b',')) => whole.start..whole.end + 1,
                _ => whole,
            };
            text.replace_range(whole, "");
        }
        text
    }
}

/// What a collection's ids are, for people.
pub(super) fn ids_are(kind: IdKind) -> &'static str {
    match kind {
        IdKind::Uuid => "a UUID such as e956b5d0-fa0c-40e8-9da9-333c214dcaf7",
        IdKind::Text => "a text of 1 to 255 bytes without control characters and `/`, and not `.` or `..`",
    }
}

pub(super) fn too_large() -> Problem {
    let what = format!("a record has at most {RECORD_BYTES_MAX} bytes, also after a patch; not done");
    Problem::new(Code::RecordTooLarge, what).with("limitBytes", RECORD_BYTES_MAX)
}

/// The record is wrong at `pointer`, by that rule.
pub(super) fn invalid(what: &str, pointer: &str, rule: &str, value: &str) -> Problem {
    let value: String = value.chars().take(VALUE_CHARACTERS_MAX).collect();
    let what = format!("{what} (at {pointer:?} of the body)");
    Problem::new(Code::InvalidRecord, what).with("pointer", pointer).with("rule", rule).with("value", value)
}

fn bad_id(kind: IdKind, value: &str, pointer: &str) -> Problem {
    let what = format!("`id` must be {} in this collection", ids_are(kind));
    invalid(&what, &format!("{pointer}/id"), "id", value)
}

fn object(part: &[u8], pointer: &str) -> Result<Compact, Problem> {
    let text = std::str::from_utf8(part).map_err(|_| Problem::new(Code::MalformedJson, "the body is not UTF-8"))?;
    let compact = compact(text).map_err(|unfit| unfit.problem(pointer))?;
    if compact.text.starts_with('{') {
        return Ok(compact);
    }
    let what = if pointer.is_empty() { "the body must be one JSON object" } else { "it must be a JSON object" };
    Err(invalid(what, pointer, "type", &compact.text))
}

impl Unfit {
    fn problem(&self, before: &str) -> Problem {
        match self {
            Unfit::Deep { pointer } => {
                let what = format!("a record is nested at most {DEPTH_MAX} deep");
                invalid(&what, &format!("{before}{pointer}"), "depth", "")
            }
            Unfit::Number { pointer, value } => {
                let what = "the number is too large: numbers must be finite as doubles";
                invalid(what, &format!("{before}{pointer}"), "number", value)
            }
        }
    }
}

/// An array or object that is open.
struct Level {
    is_object: bool,
    /// In an object: the next string is a name.
    awaits_name: bool,
    /// In an object the name of the present member, as it is written; in the text that was read.
    name: Range<usize>,
    /// In an array the number of the present item.
    number: usize,
    /// Where the present member begins, in the text that is written.
    begun: usize,
}

/// One pass over the bytes. Of what is no JSON it makes anything, but never panics.
fn compact(json: &str) -> Result<Compact, Unfit> {
    let bytes = json.as_bytes();
    let mut compact = Compact { text: String::with_capacity(json.len()), id: None };
    let mut levels: Vec<Level> = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let (begun, mut end) = (compact.text.len(), at + 1);
        let mut is_value_done = false;
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => {
                at = end;
                continue;
            }
            b'{' | b'[' => {
                if levels.len() == DEPTH_MAX {
                    return Err(Unfit::Deep { pointer: pointer_to(json, &levels) });
                }
                let is_object = *byte == b'{';
                levels.push(Level { is_object, awaits_name: is_object, name: 0..0, number: 0, begun });
            }
            b'}' | b']' => {
                levels.pop();
                is_value_done = true;
            }
            b',' => {
                if let Some(level) = levels.last_mut() {
                    level.number += 1;
                    level.awaits_name = level.is_object;
                }
            }
            b':' => {}
            b'"' => {
                end = end_of_string(bytes, at);
                match levels.last_mut() {
                    Some(level) if level.awaits_name => {
                        (level.awaits_name, level.name, level.begun) = (false, at..end, begun);
                    }
                    _ => is_value_done = true,
                }
            }
            _ => {
                let is_over = |byte: &u8| matches!(byte, b',' | b':' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r');
                end = bytes[at..].iter().position(is_over).map_or(bytes.len(), |length| at + length).max(at + 1);
                is_value_done = true;
                let is_number = matches!(byte, b'-' | b'0'..=b'9');
                if is_number && json[at..end].parse::<f64>().is_ok_and(|number| !number.is_finite()) {
                    let value = json[at..end].to_owned();
                    return Err(Unfit::Number { pointer: pointer_to(json, &levels), value });
                }
            }
        }
        compact.text.push_str(&json[at..end]);
        at = end;
        if is_value_done && let [level] = levels.as_slice() {
            let written = compact.text.len();
            if level.is_object && unquoted(&json[level.name.clone()]).is_some_and(|name| name == "id") {
                let value = level.begun + level.name.len() + 1..written;
                compact.id = Some(Member { whole: level.begun..written, value });
            }
        }
    }
    Ok(compact)
}

/// Behind the quote that ends the string.
fn end_of_string(bytes: &[u8], begun: usize) -> usize {
    let mut at = begun + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            // What is escaped may be a quote, or the first byte of a character where it is no JSON.
            b'\\' if bytes.get(at + 1).is_some_and(u8::is_ascii) => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn unquoted(name: &str) -> Option<String> {
    serde_json::from_str(name).ok()
}

/// Of the value that is about to be read.
fn pointer_to(json: &str, levels: &[Level]) -> String {
    levels
        .iter()
        .map(|level| {
            if level.is_object {
                let name = unquoted(&json[level.name.clone()]).unwrap_or_default();
                format!("/{}", name.replace('~', "~0").replace('/', "~1"))
            } else {
                format!("/{}", level.number)
            }
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    const JOHANNA: &str = "e956b5d0-fa0c-40e8-9da9-333c214dcaf7";

    fn stored(record: &str) -> String {
        let sent = Sent::record(record.as_bytes(), "", IdKind::Text).unwrap();
        let id = sent.id.clone().unwrap_or_else(|| Id::Text("x\"1".into()));
        sent.into_record(id.as_ref()).unwrap()
    }

    #[test]
    fn a_record_is_stored_as_it_was_sent_without_white_space_between_tokens() {
        for (sent, record) in [
            (" { } ", r#"{"id":"x\"1"}"#),
            (
                "{\n \"a\" : [ 1.10 , 1e2,-0 ],\t\"b c\":\" d \\\" e \" }",
                r#"{"a":[1.10,1e2,-0],"b c":" d \" e ","id":"x\"1"}"#,
            ),
            (r#"{"id": "k", "z": {"id": 1}, "a": null}"#, r#"{"id":"k","z":{"id":1},"a":null}"#),
            (r#"{"z": "\u00e4\\", "\u0069d": "\u006b"}"#, r#"{"z":"\u00e4\\","\u0069d":"\u006b"}"#),
            (r#"{"a":[{"id":5}], "b": true}"#, r#"{"a":[{"id":5}],"b":true,"id":"x\"1"}"#),
        ] {
            assert_eq!(stored(sent), record, "{sent}");
        }
    }

    #[test]
    fn a_uuid_is_stored_in_lower_case_where_it_stands() {
        let upper = format!(r#"{{"id" : "{}", "a": 1}}"#, JOHANNA.to_uppercase());
        let sent = Sent::record(upper.as_bytes(), "", IdKind::Uuid).unwrap();
        let id = Id::Uuid(JOHANNA.parse().unwrap());
        assert_eq!(sent.id, Some(id.clone()));
        assert_eq!(sent.into_record(id.as_ref()).unwrap(), format!(r#"{{"id":"{JOHANNA}","a":1}}"#));
    }

    #[test]
    fn a_patch_loses_its_id_alone() {
        for (patch, without) in [
            (r#"{"id": "k"}"#, "{}"),
            (r#"{"id": "k", "a": 1}"#, r#"{"a":1}"#),
            (r#"{"a": {"id": null}, "id": "k"}"#, r#"{"a":{"id":null}}"#),
            (r#"{"a": 1, "id": "k", "b": null}"#, r#"{"a":1,"b":null}"#),
            (r#"{"a": [1, 2]}"#, r#"{"a":[1,2]}"#),
        ] {
            assert_eq!(Sent::patch(patch.as_bytes(), "", IdKind::Text).unwrap().into_patch(), without, "{patch}");
        }
    }

    #[test]
    fn what_is_no_record_is_refused_with_its_pointer_and_rule() {
        let deep = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        assert!(Sent::record(deep(64).as_bytes(), "", IdKind::Text).is_ok());
        let too_deep = deep(65);
        for (record, kind, pointer, rule) in [
            (&*too_deep, IdKind::Text, &*"/a".repeat(64), "depth"),
            (r#"{"a":[0,{"b/c":-1e400}]}"#, IdKind::Text, "/a/1/b~1c", "number"),
            (r#"{"id":1}"#, IdKind::Text, "/id", "id"),
            (r#"{"id":{"a":1}}"#, IdKind::Text, "/id", "id"),
            (r#"{"id":""}"#, IdKind::Text, "/id", "id"),
            (r#"{"id":".."}"#, IdKind::Text, "/id", "id"),
            (r#"{"id":"k"}"#, IdKind::Uuid, "/id", "id"),
            ("[]", IdKind::Text, "", "type"),
            ("1", IdKind::Text, "", "type"),
        ] {
            let problem = Sent::record(record.as_bytes(), "/operations/3", kind).unwrap_err();
            let body = problem.to_value();
            assert_eq!(problem.code(), Code::InvalidRecord, "{body}");
            assert_eq!(body["pointer"], format!("/operations/3{pointer}"), "{body}");
            assert_eq!(body["rule"], rule, "{body}");
        }
        let removed = Sent::patch(br#"{"id": null}"#, "", IdKind::Text).unwrap_err();
        assert_eq!(removed.to_value()["pointer"], "/id");
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(RECORD_BYTES_MAX - 8));
        let id = Uuid::nil();
        let long = Sent::record(long.as_bytes(), "", IdKind::Uuid).unwrap().into_record(id.into());
        assert_eq!(long.unwrap_err().code(), Code::RecordTooLarge);
    }

    #[test]
    fn a_number_that_is_too_large_is_found_before_the_definition_is_known() {
        let problem = check_syntax(br#"{"a": 1, "b": [2, 1e999]}"#).unwrap_err();
        assert_eq!((problem.code(), &problem.to_value()["pointer"]), (Code::InvalidRecord, &"/b/1".into()));
        assert_eq!(check_syntax(b"{\"a\": ").unwrap_err().code(), Code::MalformedJson);
    }

    proptest! {
        #[test]
        fn any_text_is_made_compact_or_refused(text in r#"[\{\}\[\]",:\\ a1ä-]{0,30}"#) {
            let _ = compact(&text);
        }

        #[test]
        fn what_is_compact_means_the_same_and_stays_so(names in proptest::collection::vec(".{0,6}", 0..6), pretty in any::<bool>()) {
            let mut record = serde_json::Map::new();
            for (number, name) in names.iter().enumerate() {
                record.insert(name.clone(), serde_json::json!([number, { name: name }]));
            }
            let value = serde_json::Value::Object(record);
            let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
            let once = compact(&text).unwrap().text;
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&once).unwrap(), value);
            prop_assert_eq!(&compact(&once).unwrap().text, &once);
        }
    }
}
