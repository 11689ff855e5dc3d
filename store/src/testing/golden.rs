//! Golden files of the store: commands, the files of a volume, and what its clients keep. docs/golden.md has the rules.

#![allow(clippy::unwrap_used)]

mod collections;
mod commands;
#[path = "../../replication/tests/described/mod.rs"]
mod described;
mod files;
mod volume;

use leasehold_testkit::golden::Golden;

/// Tested where the code is: what clients keep (`api/tests/golden.rs`), and a connection byte by byte
/// (`peer/trust/tests/golden.rs`).
const ELSEWHERE: [&str; 3] = ["page-cursors.txt", "keys-and-tags.txt", "peer-connection.json"];

pub(crate) fn golden() -> Golden {
    Golden::of(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn golden_files_of_the_store_are_all_tested() {
    let names = commands::names()
        .into_iter()
        .chain(collections::names())
        .chain(files::NAMES)
        .chain(volume::NAMES)
        .chain(ELSEWHERE);
    golden().has_exactly(&names.collect::<Vec<_>>());
}
