//! What `fuzz/` and the replay of its corpora call. Nothing else uses it, and no shipped program contains it.

use std::fmt::Debug;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{
    FILE_BYTES_MAX, ROLE_FILE, RoleFile, STATUS_FILE, StatusFile, VERSION, Watch, WatchEvent, parse_json, replace_file,
};

/// Separates two contents of a file.
const NEXT: &[u8] = b"\n%%\n";

/// Contents of role.json, one after the other: see [`shared`].
pub fn role_file(data: &[u8]) {
    shared::<RoleFile>(data, ROLE_FILE, |role| role.version);
}

/// Contents of status.json, one after the other.
pub fn status_file(data: &[u8]) {
    shared::<StatusFile>(data, STATUS_FILE, |status| status.version);
}

/// Writes one content after the other (an empty one removes the file) where a watch reads them. The last good one stays in
/// force whatever follows it; each new good one is reported; what is read is written and read again as the same.
fn shared<T>(data: &[u8], name: &str, version: fn(&T) -> u32)
where
    T: DeserializeOwned + Serialize + Clone + Debug + PartialEq,
{
    let scratch = Scratch::new();
    let path = scratch.0.join(name);
    let mut watch = Watch::<T>::new(&scratch.0, name);
    let mut good: Option<T> = None;
    let mut last: Option<Vec<u8>> = None;
    for content in pieces(data).take(8) {
        let event = if content.is_empty() {
            let _ = fs::remove_file(&path);
            watch.read()
        } else {
            replace_file(&scratch.0, name, content).expect("the folder is ours");
            watch.read()
        };
        let repeated = last.as_deref() == Some(content);
        last = Some(content.to_vec());
        let parsed = if content.len() as u64 > FILE_BYTES_MAX { None } else { parse_json::<T>(&path, content).ok() };
        match (parsed, event) {
            (Some(value), Some(WatchEvent::Value(told))) => {
                assert_eq!(told, value);
                assert!(version(&value) <= VERSION, "a newer version was read");
                let text = serde_json::to_vec(&value).expect("plain data has a JSON form");
                assert_eq!(parse_json::<T>(&path, &text).expect("it was just written"), value);
                good = Some(value);
            }
            (Some(_), None) => assert!(repeated, "a good content was not told"),
            (Some(value), other) => panic!("{value:?} was told as {other:?}"),
            (None, Some(WatchEvent::Value(told))) => panic!("{told:?} was read from garbage"),
            (None, Some(WatchEvent::Missing)) => assert!(content.is_empty()),
            (None, Some(WatchEvent::Unreadable(_)) | None) => {}
        }
        assert_eq!(watch.latest(), good.as_ref(), "the last good content is not in force");
    }
}

fn pieces(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(data);
    std::iter::from_fn(move || {
        let whole = rest?;
        match whole.windows(NEXT.len()).position(|bytes| bytes == NEXT) {
            Some(at) => {
                rest = Some(&whole[at + NEXT.len()..]);
                Some(&whole[..at])
            }
            None => rest.take(),
        }
    })
}

/// A folder that is removed with this value.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("leasehold-fuzz-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("a temporary folder can be made");
        Scratch(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
#[path = "../../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    #[test]
    fn no_role_json_of_the_corpus_replaces_a_good_one_that_is_not_good() {
        super::replay::all("role_file", super::role_file);
    }

    #[test]
    fn no_status_json_of_the_corpus_replaces_a_good_one_that_is_not_good() {
        super::replay::all("status_file", super::status_file);
    }
}
