#![allow(clippy::unwrap_used)]

use super::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tempfile::TempDir;

const UNRELEASED: &str = "# Changelog\n\n## 0.10.0 (unreleased)\n\n## 0.9.0 (2026-01-01)\n";
const RELEASED: &str = "# Changelog\n\n## 0.10.0 (2026-02-01)\n\n## 0.9.0 (2026-01-01)\n";

/// A repository whose only crate has these files.
fn golden(changelog: &str, is_update: bool, files: &[(&str, &str)]) -> (TempDir, Golden) {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("CHANGELOG.md"), changelog).unwrap();
    let folder = root.path().join("crate");
    for (name, content) in files {
        replace(&folder.join("tests/golden").join(name), content.as_bytes());
    }
    let golden = Golden::at(&folder, root.path(), is_update);
    (root, golden)
}

fn refusal(of: impl FnOnce()) -> String {
    let said = catch_unwind(AssertUnwindSafe(of)).unwrap_err();
    said.downcast_ref::<String>().cloned().unwrap_or_else(|| (*said.downcast_ref::<&str>().unwrap()).to_owned())
}

fn content(golden: &Golden, name: &str) -> Option<String> {
    fs::read_to_string(golden.folder.join(name)).ok()
}

#[test]
fn bytes_come_back_from_the_text_that_describes_them() {
    let bytes =
        [&[2, 5, 0, 1, 2, 3, 4, 5, 6, 7, 0x80][..], "Köster and a text that needs two lines".as_bytes()].concat();
    let mut parts = Parts::new(&bytes);
    parts.heading("An example: 1 # 2");
    assert_eq!((parts.u8("kind"), parts.u16("length"), parts.u32("sum")), (2, 5, 0x0403_0201));
    parts.sum("checksum");
    parts.rest("name");
    let text = parts.finish();
    assert!(text.contains("    1: 05 00                                            # length, u16: 5\n"), "{text}");
    assert!(
        text.contains("# checksum: 80070605\n") && text.contains("# name\n") && text.contains("# K..ster and a te\n"),
        "{text}"
    );
    assert_eq!(bytes_of(&text), Ok(bytes));
    for wrong in ["    0: 1", "    0: 123", "    0: 0g", "    1: 01", "01 02", "    0: 01\n    0: 02"] {
        assert!(bytes_of(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_description_that_ends_too_early_or_too_late_is_refused() {
    assert!(refusal(|| drop(Parts::new(b"ab").finish())).contains("not described"));
    assert!(
        refusal(|| {
            Parts::new(b"ab").u32("number");
        })
        .contains("2 are left")
    );
}

#[test]
fn all_versions_are_read_in_their_order_and_the_newest_is_written() {
    let files = [("0.10.0/a.json", "new"), ("0.9.0/a.json", "old"), ("0.9.0/b.hex", "    0: 07  # seven")];
    let (_root, golden) = golden(UNRELEASED, false, &files);
    let stored = |name| golden.stored(name).into_iter().collect::<Vec<_>>();
    assert_eq!(stored("a.json"), [("0.9.0".to_owned(), b"old".to_vec()), ("0.10.0".to_owned(), b"new".to_vec())]);
    assert_eq!(stored("b.hex"), [("0.9.0".to_owned(), vec![7])]);
    golden.is_written("a.json", b"new");
    golden.is_written_in_parts("b.hex", &[7], |parts| {
        parts.u8("worded otherwise");
    });
    assert!(refusal(|| golden.is_written("a.json", b"old")).contains("is written otherwise today"));
    assert!(refusal(|| golden.is_written("c.json", b"")).contains("no version has c.json"));
    assert!(refusal(|| drop(golden.stored("c.json"))).contains("no version has c.json"));
    golden.has_exactly(&["a.json", "b.hex"]);
    assert!(refusal(|| golden.has_exactly(&["a.json"])).contains("b.hex"));
    assert!(refusal(|| golden.has_exactly(&["a.json", "b.hex", "c.json"])).contains("c.json"));
}

#[test]
fn an_update_writes_the_unreleased_directory_alone_and_only_what_differs() {
    let files = [("0.9.0/a.json", "old"), ("0.9.0/b.json", "same")];
    let (_root, golden) = golden(UNRELEASED, true, &files);
    golden.is_written("a.json", b"new");
    golden.is_written("b.json", b"same");
    golden.is_written("volume/c.json", b"c");
    golden.is_written_in_parts("d.hex", &[1], |parts| {
        parts.u8("one");
    });
    golden.is_written_in_parts("d.hex", &[1], |parts| {
        parts.u8("worded otherwise");
    });
    assert_eq!(content(&golden, "0.9.0/a.json").as_deref(), Some("old"));
    assert_eq!(content(&golden, "0.10.0/a.json").as_deref(), Some("new"));
    assert_eq!(content(&golden, "0.10.0/b.json"), None);
    assert_eq!(content(&golden, "0.10.0/volume/c.json").as_deref(), Some("c"));
    assert!(content(&golden, "0.10.0/d.hex").unwrap().contains("worded otherwise"));
    // Others may be writing there.
    assert_eq!(golden.stored("a.json").len(), 1);
}

#[test]
fn an_update_refuses_where_all_versions_are_released() {
    let (_root, golden) = golden(RELEASED, true, &[("0.10.0/a.json", "old")]);
    golden.is_written("a.json", b"old");
    assert!(refusal(|| golden.is_written("a.json", b"new")).contains("never changed"));
    assert!(refusal(|| golden.is_written("b.json", b"new")).contains("never changed"));
    assert_eq!(content(&golden, "0.10.0/a.json").as_deref(), Some("old"));
}

#[test]
fn a_document_shows_the_file_that_it_names() {
    let with =
        |file: &str| format!("A\n<!-- golden: crate/tests/golden/0.10.0/a.hex -->\n```text\n{file}```\nB ```c```\n");
    let (root, golden) = golden(UNRELEASED, false, &[("0.9.0/a.hex", "    0: 01\n"), ("0.10.0/a.hex", "    0: 02\n")]);
    let document = root.path().join("design.md");
    fs::write(&document, with("    0: 02\n")).unwrap();
    golden.is_shown_in("design.md", "a.hex");
    fs::write(&document, with("    0: 01\n")).unwrap();
    assert!(refusal(|| golden.is_shown_in("design.md", "a.hex")).contains("otherwise"));
    Golden { is_update: true, ..golden }.is_shown_in("design.md", "a.hex");
    assert_eq!(fs::read_to_string(&document).unwrap(), with("    0: 02\n"));
}

#[test]
fn a_document_names_the_members_of_a_file() {
    let json = r#"{"one": "two", "three": [{"four":5}], "six" : {}}"#;
    assert_eq!(Vec::from_iter(document::members_of(json)), ["four", "one", "six", "three"]);
    let (root, golden) = golden(UNRELEASED, false, &[("0.9.0/a.json", json)]);
    fs::write(root.path().join("design.md"), "{one, three: [{four}], six?}").unwrap();
    golden.is_described_in("design.md", "a.json");
    fs::write(root.path().join("design.md"), "{one, threefold: [{four}], six?}").unwrap();
    assert!(refusal(|| golden.is_described_in("design.md", "a.json")).contains("three"));
}
