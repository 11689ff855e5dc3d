//! `Idempotency-Key`: a write that is sent again under the same key is done once, and gets the same answer.
//!
//! It follows draft-ietf-httpapi-idempotency-key-header, with two liberties: the key may lack the quotes of a structured
//! string, and every write accepts one, not only POST. The data determine which keys are known, and for how long
//! ([`leasehold_documents`]). Without a key a client is safe only with ids and conditions of its own.

use super::problem::{Code, Problem};
use leasehold_documents::{KEY_BYTES_MAX, Key, tag_of};
use warp::http::HeaderMap;

const HEADER: &str = "idempotency-key";

/// The key of a request, if it has one.
pub(super) fn of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let wrong = |what: String| Err(Problem::new(Code::InvalidKey, what));
    if values.next().is_some() {
        return wrong("the request has two Idempotency-Key headers".to_owned());
    }
    match value.to_str().ok().and_then(parse) {
        Some(key) if !key.is_empty() && key.len() <= KEY_BYTES_MAX => Ok(Some(key)),
        _ => wrong(format!(
            "Idempotency-Key must be a string of 1 to {KEY_BYTES_MAX} visible ASCII characters or spaces"
        )),
    }
}

/// The key for the log. `request` is the request's canonical form; it is computed only when a key is present.
pub(super) fn for_log(key: &Option<String>, request: impl FnOnce() -> String) -> Option<Key<'_>> {
    key.as_deref().map(|name| Key { name, request: tag_of(&request()) })
}

/// A structured string with its quotes, or plain text.
fn parse(value: &str) -> Option<String> {
    let value = value.trim();
    let Some(inner) = value.strip_prefix('"') else { return Some(value.to_owned()) };
    let mut key = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    loop {
        match characters.next()? {
            '"' => break,
            '\\' => key.push(characters.next().filter(|escaped| matches!(escaped, '"' | '\\'))?),
            other => key.push(other),
        }
    }
    // A structured field may have parameters; none is known.
    characters.as_str().trim().is_empty().then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_with_or_without_quotes() {
        for (sent, key) in [
            ("8e03978e-40d5", Some("8e03978e-40d5")),
            ("\"8e03978e-40d5\"", Some("8e03978e-40d5")),
            (r#""a \"b\" \\c""#, Some(r#"a "b" \c"#)),
            (r#""open"#, None),
            (r#""a"b"#, None),
            (r#""a\n""#, None),
        ] {
            assert_eq!(parse(sent).as_deref(), key, "{sent}");
        }
    }
}
