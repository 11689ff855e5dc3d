//! What a path names: one reading of it for the routes, for preflights, and for all that must know the collection of a
//! request.
//!
//! ```text
//!   /orders%3Awatch ──split at `/`, raw──▶ each segment decoded once ──▶ the first is cut at its first `:` ──▶ Watch("orders")
//! ```
//!
//! The order matters. A `/` that is encoded belongs to its segment, so it never makes another path; and `/%6Frders` is
//! `/orders` for everyone, so that no check sees another collection than the call does. Whether there is such a collection,
//! and whether the text is an id there, only the data know.

use super::percent;
use super::problem::Problem;
use leasehold_documents::is_name;
use std::borrow::Cow;
use warp::http::Uri;

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// A path of the table of calls that names no collection.
    Fixed(&'static str),
    /// `/{collection}`
    Records(Cow<'a, str>),
    /// `/{collection}/{id}`: the id as decoded, which may be none.
    Record(Cow<'a, str>, Cow<'a, str>),
    /// `/{collection}:batch`
    Batch(Cow<'a, str>),
    /// `/{collection}:watch`
    Watch(Cow<'a, str>),
    /// `/api/collections/{collection}`: any text.
    Definition(Cow<'a, str>),
    /// `/api/collections/{collection}/pending`
    Pending(Cow<'a, str>),
    /// Nothing.
    Nothing,
}

/// The paths that name no collection, without the `/` before them.
const FIXED: [(&[&str], &str); 13] = [
    (&[], "/"),
    (&["api", "leader"], "/api/leader"),
    (&["api", "status"], "/api/status"),
    (&["api", "transaction"], "/api/transaction"),
    (&["api", "watch"], "/api/watch"),
    (&["api", "snapshot"], "/api/snapshot"),
    (&["api", "collections"], "/api/collections"),
    (&["api", "expiry"], "/api/expiry"),
    (&["healthz"], "/healthz"),
    (&["readyz"], "/readyz"),
    (&["metrics"], "/metrics"),
    (&["openapi.json"], "/openapi.json"),
    (&["docs"], "/docs"),
];

/// No path has more segments.
const SEGMENTS_MAX: usize = 4;

/// The path of a target. One without a path (`CONNECT host:port`, `*`) counts as `/`.
pub(super) fn of(uri: &Uri) -> &str {
    Some(uri.path()).filter(|path| path.starts_with('/')).unwrap_or("/")
}

/// Reads a path. A slash at its end is ignored.
///
/// # Errors
/// A segment is not percent-encoded UTF-8.
pub(super) fn read(path: &str) -> Result<Place<'_>, Problem> {
    let path = path.strip_suffix('/').filter(|shorter| !shorter.is_empty()).unwrap_or(path);
    let Some(path) = path.strip_prefix('/') else { return Ok(Place::Nothing) };
    if path.is_empty() {
        return Ok(Place::Fixed("/"));
    }
    let count = path.split('/').count();
    let is_record = count == 2 && !path.starts_with("api/");
    // On the stack: each request comes by here.
    let mut segments: [Cow<'_, str>; SEGMENTS_MAX] = Default::default();
    for (number, text) in (1..).zip(path.split('/')) {
        // The same words for an id wherever it is refused.
        let what = || match (is_record, number) {
            (true, 2) => "the id in the path".to_owned(),
            _ => format!("segment {number} of the path"),
        };
        let segment = percent::segment(what, text)?;
        if let Some(place) = segments.get_mut(number - 1) {
            *place = segment;
        }
    }
    Ok(segments.get_mut(..count).map_or(Place::Nothing, place))
}

fn place<'a>(segments: &mut [Cow<'a, str>]) -> Place<'a> {
    let is_fixed = |(names, _): &&(&[&str], &'static str)| {
        names.len() == segments.len() && names.iter().zip(&*segments).all(|(name, segment)| *name == segment)
    };
    if let Some((_, path)) = FIXED.iter().find(is_fixed) {
        return Place::Fixed(path);
    }
    match segments {
        [api, collections, name] if api == "api" && collections == "collections" => {
            Place::Definition(std::mem::take(name))
        }
        [api, collections, name, pending] if api == "api" && collections == "collections" && pending == "pending" => {
            Place::Pending(std::mem::take(name))
        }
        [first] => {
            let (name, word) = cut(std::mem::take(first));
            match word.as_deref() {
                _ if !is_name(&name) => Place::Nothing,
                None => Place::Records(name),
                Some("batch") => Place::Batch(name),
                Some("watch") => Place::Watch(name),
                Some(_) => Place::Nothing,
            }
        }
        [first, id] => match cut(std::mem::take(first)) {
            (name, None) if is_name(&name) && !id.is_empty() => Place::Record(name, std::mem::take(id)),
            _ => Place::Nothing,
        },
        _ => Place::Nothing,
    }
}

/// The name, and what follows its first colon.
fn cut(segment: Cow<'_, str>) -> (Cow<'_, str>, Option<Cow<'_, str>>) {
    match segment {
        Cow::Borrowed(text) => match text.split_once(':') {
            Some((name, word)) => (name.into(), Some(word.into())),
            None => (text.into(), None),
        },
        Cow::Owned(text) => match text.split_once(':') {
            Some((name, word)) => (name.to_owned().into(), Some(word.to_owned().into())),
            None => (text.into(), None),
        },
    }
}

impl Place<'_> {
    /// The path in the table of calls.
    pub(super) fn template(&self) -> Option<&'static str> {
        match self {
            Place::Fixed(path) => Some(path),
            Place::Records(_) => Some("/{collection}"),
            Place::Record(..) => Some("/{collection}/{id}"),
            Place::Batch(_) => Some("/{collection}:batch"),
            Place::Watch(_) => Some("/{collection}:watch"),
            Place::Definition(_) => Some("/api/collections/{collection}"),
            Place::Pending(_) => Some("/api/collections/{collection}/pending"),
            Place::Nothing => None,
        }
    }

    /// The collection whose records it is about.
    pub(super) fn collection(&self) -> Option<&str> {
        match self {
            Place::Records(name) | Place::Record(name, _) | Place::Batch(name) | Place::Watch(name) => Some(name),
            Place::Definition(_) | Place::Pending(_) | Place::Fixed(_) | Place::Nothing => None,
        }
    }

    /// The name of a collection in it, whether it is about its records or about what it is.
    pub(super) fn named(&self) -> Option<&str> {
        match self {
            Place::Definition(name) | Place::Pending(name) => Some(name),
            Place::Fixed(_) | Place::Nothing => None,
            Place::Records(_) | Place::Record(..) | Place::Batch(_) | Place::Watch(_) => self.collection(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_is_split_before_it_is_decoded_and_cut_after_that() {
        let record = |name: &str, id: &str| Place::Record(name.to_owned().into(), id.to_owned().into());
        for (path, place) in [
            ("/", Place::Fixed("/")),
            ("//", Place::Fixed("/")),
            ("", Place::Nothing),
            ("/orders", Place::Records("orders".into())),
            ("/orders/", Place::Records("orders".into())),
            ("/%6Frders", Place::Records("orders".into())),
            ("/orders:watch", Place::Watch("orders".into())),
            ("/orders%3Awatch", Place::Watch("orders".into())),
            ("/orders%3abatch/", Place::Batch("orders".into())),
            ("/orders:watch:x", Place::Nothing),
            ("/orders:", Place::Nothing),
            ("/orders/x:y", record("orders", "x:y")),
            ("/orders/%2e%2E", record("orders", "..")),
            ("/orders/a%2Fb", record("orders", "a/b")),
            ("/orders/a%252Fb", record("orders", "a%2Fb")),
            ("/orders/K%C3%B6ln/", record("orders", "Köln")),
            ("/orders:batch/x", Place::Nothing),
            ("/orders//", Place::Nothing),
            ("/orders//x", Place::Nothing),
            ("/orders/a/b", Place::Nothing),
            ("/orders%2Fa", Place::Nothing),
            ("/Orders", Place::Nothing),
            ("/api", Place::Nothing),
            ("/api/x", Place::Nothing),
            ("/docs/x", Place::Nothing),
            ("/docs:watch", Place::Nothing),
            ("/ui", Place::Nothing),
            ("/%61pi/leader", Place::Fixed("/api/leader")),
            ("/api%2Fleader", Place::Nothing),
            ("/openapi.json/", Place::Fixed("/openapi.json")),
            ("/api/collections", Place::Fixed("/api/collections")),
            ("/api/collections/or%64ers", Place::Definition("orders".into())),
            ("/api/collections/orders/pending", Place::Pending("orders".into())),
            ("/api/collections/orders/x", Place::Nothing),
        ] {
            assert_eq!(read(path).unwrap(), place, "{path}");
        }
        for broken in ["/%zz", "/orders/%FF", "/a/b/c/d/e/%2"] {
            assert!(read(broken).is_err(), "{broken}");
        }
    }

    proptest! {
        #[test]
        fn a_name_and_an_id_come_back_however_they_are_encoded(
            name in "[a-z][a-z0-9-]{0,9}", id in ".{1,20}", all in any::<bool>(),
        ) {
            prop_assume!(is_name(&name));
            let plain = |byte: u8| !all && byte.is_ascii_alphanumeric();
            let encode = |text: &str| text.bytes().map(|byte| if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02x}")
            }).collect::<String>();
            let path = format!("/{}/{}", encode(&name), encode(&id));
            prop_assert_eq!(read(&path).unwrap(), Place::Record(name.clone().into(), id.into()));
            let watch = format!("/{}", encode(&format!("{name}:watch")));
            prop_assert_eq!(read(&watch).unwrap(), Place::Watch(name.into()));
        }
    }
}
