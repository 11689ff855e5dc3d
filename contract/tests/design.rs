//! The code and docs/design.md refer to each other: by marks of rules (`[S1]`) and by numbers of sections. What is referred to
//! exists, and every rule that has a mark is cited where it is kept. Of the whole workspace: this crate is below all others.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What is read. Not `e2e/cluster`, which holds builds of others.
const FOLDERS: [&str; 12] = [
    "contract/src",
    "daemon/src",
    "docs",
    "e2e/api",
    "e2e/bench/src",
    "e2e/src",
    "e2e/tests",
    "helm/templates",
    "sidecar",
    "sim",
    "store",
    "testkit/src",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All Rust files and templates below the folders, with their text.
fn sources() -> Vec<(PathBuf, String)> {
    let mut folders: Vec<PathBuf> = FOLDERS.iter().map(|folder| root().join(folder)).collect();
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            let is_source =
                path.extension().is_some_and(|extension| ["rs", "yaml", "tpl"].iter().any(|e| extension == *e));
            if path.is_dir() {
                folders.push(path);
            } else if is_source {
                sources.push((path.clone(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(sources.len() > 200, "only {} sources were found", sources.len());
    sources
}

fn design() -> String {
    fs::read_to_string(root().join("docs/design.md")).unwrap()
}

/// `S1` in `[S1]` or `\[S1\]`, with the letters that start marks.
fn marks(text: &str) -> BTreeSet<String> {
    let mark = |piece: &str| -> Option<String> {
        let piece = piece.split(']').next()?.trim_end_matches('\\');
        let (letter, digits) = (piece.chars().next()?, piece.get(1..)?);
        let is_mark = "SLBCDEFA".contains(letter) && (1..=2).contains(&digits.len());
        (is_mark && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| piece.to_owned())
    };
    text.split('[').skip(1).filter_map(mark).collect()
}

/// The rows of the table in section 9.
fn table(design: &str) -> BTreeSet<String> {
    let (_, section) = design.split_once("\n## 9.").unwrap();
    let row = |line: &str| marks(&format!("[{}]", line.strip_prefix("| ")?.split(' ').next()?)).pop_first();
    section.lines().filter_map(row).collect()
}

#[test]
fn every_mark_that_is_cited_stands_in_the_table_and_every_one_of_the_table_is_cited() {
    let design = design();
    let table = table(&design);
    assert!(table.len() > 30, "{table:?}");
    let (text, _) = design.split_once("\n## 9.").unwrap();
    let explained = marks(text);
    let mut cited: BTreeMap<String, PathBuf> = BTreeMap::new();
    for (path, source) in sources() {
        // Of code, `[A1]` could be anything: only comments cite.
        let comments: String = source.lines().filter(|line| line.contains("//") || line.contains('#')).collect();
        cited.extend(marks(&comments).into_iter().map(|mark| (mark, path.clone())));
    }
    let unknown: Vec<_> = cited.iter().filter(|(mark, _)| !table.contains(*mark)).collect();
    assert!(unknown.is_empty(), "cited, and not in section 9 of docs/design.md: {unknown:?}");
    let uncited: Vec<_> = table.iter().filter(|mark| !cited.contains_key(*mark)).collect();
    assert!(uncited.is_empty(), "no comment in the code cites {uncited:?}");
    let unexplained: Vec<_> = table.difference(&explained).collect();
    assert!(unexplained.is_empty(), "no rule in docs/design.md has the mark {unexplained:?}");
}

#[test]
fn every_section_that_the_code_names_exists() {
    let design = design();
    let headings: BTreeSet<&str> = design
        .lines()
        .filter_map(|line| line.strip_prefix("### ").or(line.strip_prefix("## ")))
        .filter_map(|heading| heading.split(' ').next())
        .map(|number| number.trim_end_matches('.'))
        .collect();
    assert!(headings.contains("5.2") && headings.contains("9"), "{headings:?}");
    let mut named = 0;
    for (path, source) in sources() {
        for (before, _) in source.match_indices(" in docs/design.md").map(|(at, _)| source.split_at(at)) {
            let number = before.rsplit(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap();
            if number.is_empty() {
                continue; // the document as a whole
            }
            named += 1;
            assert!(headings.contains(number), "{}: there is no section {number}", path.display());
        }
    }
    assert!(named > 8, "only {named} sections are named");
}
