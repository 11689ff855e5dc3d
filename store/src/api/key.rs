//! `Idempotency-Key`: a write that is sent again under the same key is done once, and gets the same answer.
//!
//! It follows draft-ietf-httpapi-idempotency-key-header, with two liberties: the key may lack the quotes of a structured
//! string, and every write accepts one, not only POST. The data determine which keys are known, and for how long
//! ([`leasehold_documents`]). Without a key a client is safe only with ids and conditions of its own.

use super::percent::Query;
use super::problem::{Code, Problem};
use leasehold_documents::{KEY_BYTES_MAX, tag_of};
use warp::http::{HeaderMap, Method};

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
        // A header's value may have a tab within, a structured string may not.
        Some(key) if !key.is_empty() && key.len() <= KEY_BYTES_MAX && !key.contains('\t') => Ok(Some(key)),
        _ => wrong(format!(
            "Idempotency-Key must be a string of 1 to {KEY_BYTES_MAX} visible ASCII characters or spaces"
        )),
    }
}

/// What a request is recognized by where collections of all kinds are in force (format 2). It covers what the client sent:
/// the call, its conditions, and the bytes of the body. Not what is made here: ids, times, merged records.
pub(super) fn request(method: &Method, path: &str, query: &Query, conditions: &str, body: &[u8]) -> u128 {
    let mut text = method.to_string();
    let mut add = |part: &str| {
        // With its length, so that no two requests have the same text.
        text.push_str(&format!("\n{} {part}", part.len()));
    };
    add(path);
    for (name, value) in query {
        add(name);
        add(value);
    }
    add("");
    add(conditions);
    // A body that is no UTF-8 was refused before.
    add(&String::from_utf8_lossy(body));
    tag_of(&text)
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
    fn a_request_is_another_one_where_anything_that_the_client_sent_is() {
        let query =
            |pairs: &[(&str, &str)]| -> Query { pairs.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect() };
        let none = query(&[]);
        let all = [
            request(&Method::PUT, "/orders/a", &none, "none", b"{}"),
            request(&Method::PATCH, "/orders/a", &none, "none", b"{}"),
            request(&Method::PUT, "/orders/b", &none, "none", b"{}"),
            request(&Method::PUT, "/orders/a", &query(&[("expires-in", "30s")]), "none", b"{}"),
            request(&Method::PUT, "/orders/a", &query(&[("expires-in", "31s")]), "none", b"{}"),
            request(&Method::PUT, "/orders/a", &none, "exists", b"{}"),
            request(&Method::PUT, "/orders/a", &none, "none", b"{ }"),
            request(&Method::PUT, "/orders/a", &query(&[("", "none")]), "", b"{}"),
            request(&Method::PUT, "/orders/a\n4 none", &none, "", b"{}"),
        ];
        let distinct: std::collections::HashSet<u128> = all.into_iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert_eq!(request(&Method::PUT, "/orders/a", &none, "none", b"{}"), all[0]);
    }

    #[test]
    fn the_hash_of_a_request_never_changes() {
        let query = vec![("expires-in".to_owned(), "30s".to_owned())];
        let hash = request(&Method::POST, "/orders", &query, "none", b"{\"a\":1}");
        assert_eq!(format!("{hash:032x}"), "4227a692ae7322d10820e45202a5ccc9");
    }

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
