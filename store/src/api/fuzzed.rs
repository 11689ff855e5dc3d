//! What the fuzz target of collections calls of this folder: nothing else uses it.

use super::cursor::{Cursor, Origin};
use super::query::ListQuery;
use super::{paths, percent};
use leasehold_documents::Query;

/// What the part of a URL behind `?` asks of a collection; none: it is refused, in words. A cursor in it has one form.
pub(crate) fn a_query(collection: &str, text: &str) -> Option<Query> {
    let parsed = percent::query(text).and_then(|query| ListQuery::parse(collection, query));
    match parsed {
        Ok(list) => {
            if let Some(cursor) = &list.cursor {
                assert_eq!(Cursor::read(&cursor.write()).as_ref().ok(), Some(cursor));
            }
            Some(list.all_filters().query().clone())
        }
        Err(problem) => {
            assert!(problem.code().status().is_client_error() && !problem.detail().is_empty(), "{problem:?}");
            None
        }
    }
}

/// A cursor comes back from its text; with anything changed it is none.
pub(crate) fn a_cursor(collection: &str, fingerprint: u64, place: &[u8]) {
    let cursor = Cursor::Any(Origin::new(None, collection, 3, fingerprint), place.to_vec());
    let text = cursor.write();
    assert_eq!(Cursor::read(&text).ok(), Some(cursor));
    for at in [0, text.len() / 2, text.len() - 1] {
        let mut other = text.clone().into_bytes();
        other[at] = if other[at] == b'0' { b'1' } else { b'0' };
        assert!(Cursor::read(&String::from_utf8_lossy(&other)).is_err(), "{at}");
    }
    assert!(Cursor::read(&text[1..]).is_err());
}

/// A path is read, or refused in words; a slash at its end changes nothing.
pub(crate) fn a_path(text: &str) {
    match paths::read(text) {
        Ok(place) if !text.is_empty() && !text.ends_with('/') => {
            let with = format!("{text}/");
            let with = paths::read(&with).expect("a slash at its end changes nothing");
            assert_eq!((with.template(), with.collection()), (place.template(), place.collection()), "{text}");
        }
        Ok(_) => {}
        Err(problem) => assert!(problem.code().status().is_client_error() && !problem.detail().is_empty()),
    }
}
