//! Runs a target on each file of its corpus. A file of the tests of each crate that has targets (`#[path]`), so that
//! `cargo test` replays, on stable, what the fuzzer found interesting or broken.

#![allow(clippy::unwrap_used)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

pub(crate) fn all(target: &str, run: fn(&[u8])) {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let folder = above.map(|folder| folder.join("fuzz/corpus")).find(|corpora| corpora.is_dir()).unwrap().join(target);
    let mut count = 0;
    for file in std::fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        let data = std::fs::read(&path).unwrap();
        count += 1;
        assert!(catch_unwind(AssertUnwindSafe(|| run(&data))).is_ok(), "{} breaks it", path.display());
    }
    assert!(count > 0, "{} is empty", folder.display());
}
