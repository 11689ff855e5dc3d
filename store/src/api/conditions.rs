//! `If-Match` and `If-None-Match`.

use super::problem::{Code, Problem};
use crate::documents::Condition;
use warp::http::header::{IF_MATCH, IF_NONE_MATCH};
use warp::http::{HeaderMap, HeaderName};

/// What a read's conditions make of the record with this tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadVerdict {
    /// Send it.
    Send,
    /// The client has it: 304.
    NotModified,
    /// `If-Match` does not hold: 412.
    Failed,
}

/// The `ETag` of a record.
pub(super) fn etag(tag: u128) -> String {
    format!("\"{tag:032x}\"")
}

/// A write's condition: `If-Match: *`, `If-Match: "<tag>"` or `If-None-Match: *`. Decided where the command is applied.
pub(super) fn of_write(headers: &HeaderMap) -> Result<Condition, Problem> {
    let mut given = headers.get_all(IF_MATCH).iter().map(|value| (true, value.as_bytes()));
    let mut given_none = headers.get_all(IF_NONE_MATCH).iter().map(|value| (false, value.as_bytes()));
    let Some((is_match, value)) = given.next().or_else(|| given_none.next()) else { return Ok(Condition::None) };
    if given.chain(given_none).next().is_some() {
        return Err(Problem::new(Code::InvalidCondition, "one of If-Match and If-None-Match, with one value"));
    }
    parse(is_match, value).map_err(|what| Problem::new(Code::InvalidCondition, what))
}

/// The value of one condition, in a header or in an operation of a batch.
pub(super) fn parse(is_match: bool, value: &[u8]) -> Result<Condition, &'static str> {
    match (is_match, value.trim_ascii()) {
        (true, b"*") => Ok(Condition::Exists),
        (false, b"*") => Ok(Condition::Absent),
        (false, _) => Err("If-None-Match takes only *"),
        (true, tag) => parse_tag(tag)
            .map(Condition::Tag)
            .ok_or("If-Match takes * or one ETag as this store gives it, with its quotes"),
    }
}

/// One form for each condition: what differs here is another request for an idempotency key.
pub(super) fn word(condition: Condition) -> String {
    match condition {
        Condition::None => "none".to_owned(),
        Condition::Exists => "exists".to_owned(),
        Condition::Absent => "absent".to_owned(),
        Condition::Tag(tag) => etag(tag),
    }
}

/// A read's conditions, as RFC 9110 has them: `If-Match` first. What is no tag of ours matches nothing.
pub(super) fn of_read(headers: &HeaderMap, tag: u128) -> ReadVerdict {
    let matches = |name: HeaderName, weak: bool| {
        let mut values = headers.get_all(name).iter().peekable();
        values.peek()?;
        Some(values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).any(|each| {
            let each = each.trim_ascii();
            let each = if weak { each.strip_prefix(b"W/").unwrap_or(each) } else { each };
            each == b"*" || parse_tag(each) == Some(tag)
        }))
    };
    match (matches(IF_MATCH, false), matches(IF_NONE_MATCH, true)) {
        (Some(false), _) => ReadVerdict::Failed,
        (_, Some(true)) => ReadVerdict::NotModified,
        _ => ReadVerdict::Send,
    }
}

fn parse_tag(quoted: &[u8]) -> Option<u128> {
    let tag = quoted.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let is_ours = tag.len() == 32 && tag.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    if is_ours { u128::from_str_radix(std::str::from_utf8(tag).ok()?, 16).ok() } else { None }
}
