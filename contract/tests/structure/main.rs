//! Imports point one way: no circle of files, and none from a district that stands above. Of the whole workspace, from its sources.
//!
//! Not checked: calls of methods. An object that is written in several files (`impl Replica`, `Election`, `Driver`,
//! `Cluster`) counts as one, and its files call each other in any direction.

#![allow(clippy::unwrap_used)]

mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use sources::{Crate, Import};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The workspace's members, as its manifest has them.
fn members() -> Vec<String> {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, list) = manifest.split_once("\nmembers = [").unwrap();
    let (list, _) = list.split_once(']').unwrap();
    list.split(',').map(|name| name.trim().trim_matches('"').to_owned()).filter(|name| !name.is_empty()).collect()
}

/// Sets of files that import from each other, directly or over others.
fn circles(imports: &[Import]) -> Vec<BTreeSet<String>> {
    let mut onward: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for import in imports {
        onward.entry(&import.from).or_default().insert(&import.to);
    }
    let reached = |from: &str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(file) = open.pop() {
            for next in onward.get(file).into_iter().flatten() {
                if seen.insert(*next) {
                    open.push(next);
                }
            }
        }
        seen
    };
    let reach: BTreeMap<&str, BTreeSet<&str>> = onward.keys().map(|file| (*file, reached(file))).collect();
    let mut circles = BTreeSet::new();
    for (file, there) in &reach {
        if there.contains(file) {
            let back = |other: &&&str| reach.get(**other).is_some_and(|there| there.contains(file));
            circles.insert(there.iter().filter(back).map(|name| (*name).to_owned()).collect::<BTreeSet<_>>());
        }
    }
    circles.into_iter().collect()
}

#[test]
fn no_files_import_from_each_other() {
    let mut wrong = String::new();
    for member in members() {
        let imports = Crate::read(&root().join(&member)).imports();
        for circle in circles(&imports) {
            wrong += &format!("{member}: {circle:?}\n");
            for import in imports.iter().filter(|import| circle.contains(&import.from) && circle.contains(&import.to)) {
                wrong += &format!("    {} -> {}: {}\n", import.from, import.to, import.what);
            }
        }
    }
    assert!(wrong.is_empty(), "these files import from each other:\n{wrong}");
}

/// The districts (top-level modules, with their folders) of the shells and laboratories, from above to below: each imports
/// from those behind it alone.
const DISTRICTS: [(&str, &[&str]); 5] = [
    (
        "store",
        &[
            "node",
            "opening",
            "shares",
            "args",
            "driver",
            "steward",
            "api",
            "schema",
            "telemetry",
            "peer",
            "tls",
            "status",
            "role",
            "handle",
            "room",
            "volume",
            "progress",
            "history",
            "wall_clock",
        ],
    ),
    (
        "sidecar",
        &[
            "exec",
            "copy",
            "elector",
            "driver",
            "http",
            "operator",
            "inject",
            "app",
            "locks",
            "role",
            "control",
            "notify",
            "notice",
            "health",
            "state",
            "failover",
            "kube",
            "args",
            "client",
            "address",
            "telemetry",
            "clock",
        ],
    ),
    (
        "backup",
        &[
            "agent", "list", "verify", "drill", "restore", "cat", "walk", "archive", "args", "source", "spool",
            "metrics", "progress", "sealed", "bucket", "misfit", "token", "crypto",
        ],
    ),
    ("sim", &["judge", "play", "small", "model", "outcome", "options", "plant"]),
    ("e2e", &["chaos", "demo", "figures", "load", "service", "archive", "cluster", "client", "history"]),
];

#[test]
fn no_district_imports_from_one_above_it() {
    let district = |file: &str| file.split(['/', '.']).next().unwrap_or_default().to_owned();
    let is_root = |name: &str| ["lib", "main"].contains(&name);
    for (member, order) in DISTRICTS {
        let read = Crate::read(&root().join(member));
        let place = |name: &str| order.iter().position(|known| *known == name);
        for name in read.files().iter().map(|file| district(file)).filter(|name| !is_root(name)) {
            assert!(place(&name).is_some(), "{member}: give `{name}` its place among the districts");
        }
        for import in read.imports() {
            let (from, to) = (district(&import.from), district(&import.to));
            if from != to && !is_root(&from) {
                assert!(!is_root(&to), "{member}: {} imports {} from the root", import.from, import.what);
                assert!(place(&from) < place(&to), "{member}: {} imports {} from above", import.from, import.what);
            }
        }
    }
}

/// The simulator's world knows neither who plays in it nor who judges, and these two know the world alone.
#[test]
fn the_parts_of_the_simulator_import_the_model_and_not_each_other() {
    let imports = Crate::read(&root().join("sim")).imports();
    let part = |file: &str| file.split(['/', '.']).next().unwrap_or_default().to_owned();
    let between: BTreeSet<_> = imports.iter().map(|import| (part(&import.from), part(&import.to))).collect();
    let parts = ["model", "play", "judge"];
    let is_between_parts =
        |(from, to): &&(String, String)| from != to && parts.contains(&from.as_str()) && parts.contains(&to.as_str());
    let found: Vec<_> =
        between.iter().filter(is_between_parts).map(|(from, to)| (from.as_str(), to.as_str())).collect();
    assert_eq!(found, [("judge", "model"), ("play", "model")]);
}
