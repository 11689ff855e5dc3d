//! What a check has seen that is not as it should be.

use std::{collections::BTreeSet, fmt::Display};

use serde_json::{Value, json};

use super::target::Answer;

/// The differences found so far.
#[derive(Debug, Default)]
pub struct Seen(Vec<String>);

impl Seen {
    pub(super) fn differences(self) -> Vec<String> {
        self.0
    }

    pub(super) fn note(&mut self, difference: String) {
        self.0.push(difference);
    }

    pub(super) fn that(&mut self, what: impl Display, holds: bool) {
        if !holds {
            self.note(format!("{what}: not so"));
        }
    }

    pub(super) fn same(&mut self, what: impl Display, got: impl Into<Value>, want: impl Into<Value>) {
        let (got, want) = (got.into(), want.into());
        if got != want {
            self.note(format!("{what}: got {got}, want {want}"));
        }
    }

    /// The request was done.
    pub(super) fn accepted(&mut self, what: impl Display, answer: &Answer, code: u16) {
        if answer.code != code {
            self.note(format!("{what}: got {} {}, want {code}", answer.code, answer.body));
        }
    }

    /// A `Status` with this code, reason (empty: none) and message. What is left out of a message is written `…`.
    pub(super) fn refused(&mut self, what: impl Display, answer: &Answer, code: u16, reason: &str, message: &str) {
        let body = &answer.body;
        let reason = if reason.is_empty() { Value::Null } else { reason.into() };
        let shape = (&body["kind"], &body["apiVersion"], &body["metadata"], &body["status"]);
        let is_status = shape == (&json!("Status"), &json!("v1"), &json!({}), &json!("Failure"));
        if !is_status || answer.code != code || body["code"] != code || body["reason"] != reason {
            self.note(format!("{what}: got {} {body}, want {code} {reason}", answer.code));
        } else if !fits(body["message"].as_str().unwrap_or(""), message) {
            self.note(format!("{what}: got the message {}, want {message:?}", body["message"]));
        }
    }

    /// 422 with exactly these (reason, field) as causes, and the object's kind and name in the details.
    pub(super) fn invalid(&mut self, what: impl Display, answer: &Answer, details: Value, causes: &[(&str, &str)]) {
        self.refused(&what, answer, 422, "Invalid", "…");
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        let list = answer.body["details"]["causes"].as_array();
        let got: BTreeSet<(String, String)> =
            list.into_iter().flatten().map(|cause| (text(&cause["reason"]), text(&cause["field"]))).collect();
        let want = causes.iter().map(|(reason, field)| (format!("FieldValue{reason}"), (*field).to_owned())).collect();
        if got != want {
            self.note(format!("{what}: got the causes {got:?}, want {want:?}"));
        }
        let mut rest = answer.body["details"].clone();
        if let Some(rest) = rest.as_object_mut() {
            rest.remove("causes");
        }
        self.same(format!("{what}: details"), rest, details);
    }
}

/// Whether the text is this pattern, in which `…` stands for anything.
fn fits(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or("")) else { return false };
    let parts: Vec<&str> = parts.collect();
    for (i, part) in parts.iter().enumerate() {
        if i + 1 == parts.len() {
            return rest.ends_with(part);
        }
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn an_ellipsis_stands_for_anything() {
        for (text, pattern, want) in [
            ("abc", "abc", true),
            ("abcd", "abc", false),
            ("abcd", "abc…", true),
            ("abcd", "…", true),
            ("abcd", "a…c…", true),
            ("abcd", "a…c", false),
            ("", "…", true),
            ("xabc", "abc…", false),
        ] {
            assert_eq!(fits(text, pattern), want, "{text} {pattern}");
        }
    }
}
