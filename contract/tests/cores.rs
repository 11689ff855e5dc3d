//! The cores are pure, and their dependencies are the proof: none knows of time, files, sockets, tasks or randomness, and
//! none of this crate. Each list is the present content of the `Cargo.toml`; a new name is a decision.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

/// The names below `[dependencies]`.
fn dependencies(folder: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(folder).join("Cargo.toml");
    let text = fs::read_to_string(path).unwrap();
    let section = text.split("\n[dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let names = section.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    names.map(|line| line.split(['.', ' ', '=']).next().unwrap().to_owned()).collect()
}

#[test]
fn no_core_depends_on_what_is_not_pure() {
    assert_eq!(dependencies("sidecar/election"), ["uuid"]);
    assert!(dependencies("sidecar/exec").is_empty());
    let pure = ["bytes", "crc32fast", "serde", "serde_json", "thiserror", "uuid"];
    assert_eq!(dependencies("store/replication"), pure);
}
