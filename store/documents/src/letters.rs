//! The letters of a JSON string.

use std::borrow::Cow;

/// The text of a JSON string; none if it is something else.
pub(crate) fn letters(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(raw).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}
