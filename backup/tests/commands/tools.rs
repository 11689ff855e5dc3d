//! Anybody can read an archive without this program: with `zstd`, `jq` and, where it is encrypted, `age`.

use crate::fixture::Fixture;
use age::secrecy::ExposeSecret as _;
use leasehold_archive::name::Name;
use leasehold_backup::sealed::Recipients;
use std::fs;
use std::process::Command;

/// What the shell prints; none, with a loud word, where a tool is missing.
fn shell(tools: &[&str], line: &str) -> Option<String> {
    let is_there = |tool: &str| Command::new(tool).arg("--version").output().is_ok();
    if let Some(missing) = tools.iter().find(|tool| !is_there(tool)) {
        eprintln!("SKIPPED: {missing} is missing; run make e2e-packages");
        return None;
    }
    let output = Command::new("bash").args(["-o", "pipefail", "-c", line]).output().unwrap();
    assert!(output.status.success(), "{line}: {output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

fn reads(fixture: &Fixture, full: &Name, file: &Name, decrypt: impl Fn(&str) -> String, tools: &[&str]) {
    let of = |name: &Name| decrypt(&fixture.path(name).display().to_string());
    let line = format!("{} | zstd -dc | jq -r '.position.sequence, .collections.orders[].id'", of(full));
    let Some(records) = shell(tools, &line) else { return };
    assert_eq!(records, "5\na\n");
    let line = format!("{} | zstd -dc | jq -c '.changes[]? | [.change, .id, .record.n]'", of(file));
    let changes = "[\"created\",\"c\",4]\n[\"created\",\"b\",5]\n[\"created\",\"d\",6]\n";
    assert_eq!(shell(tools, &line).unwrap(), changes);
}

#[test]
fn a_plain_archive_is_read_by_zstd_and_jq() {
    let fixture = Fixture::new();
    let (full, file) = (fixture.full(5), fixture.changes(6, 9));
    reads(&fixture, &full, &file, |path| format!("cat {path}"), &["zstd", "jq"]);
}

#[test]
fn an_encrypted_archive_is_opened_by_age() {
    let mut fixture = Fixture::new();
    let identity = age::x25519::Identity::generate();
    let key = fixture.folder.path().join("key.txt");
    fs::write(&key, identity.to_string().expose_secret()).unwrap();
    fixture.recipients = Recipients::read(&[identity.to_public().to_string()], None).unwrap();
    let (full, file) = (fixture.full(5), fixture.changes(6, 9));
    let decrypt = |path: &str| format!("age -d -i {} {path}", key.display());
    reads(&fixture, &full, &file, decrypt, &["age", "zstd", "jq"]);
}
