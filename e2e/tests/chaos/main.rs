//! `e2e chaos` as a person starts it: a minute of it, its end by Ctrl-C, and the judgement of a kept history. And the shortest
//! `e2e skew`.
//!
//! The programs must be there: `cargo build --locked --bins`. What is judged does not depend on how fast this machine is:
//! only a violation fails, or no recovery within minutes after everything was healed.
#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use leasehold_testkit::until_blocking;
use rustix::process::{Pid, Signal, kill_process};

/// Printed with the test's output; you can try another one: `e2e chaos --minutes 1 --seed S`.
const SEED: &str = "20261122";

/// A run, killed if the test ends before it.
struct Run(Child);

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(temporary: &Path, args: &[&str]) -> Run {
    let child = Command::new(env!("CARGO_BIN_EXE_e2e"))
        .args(args)
        .env("TMPDIR", temporary)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    Run(child)
}

fn what_is_left(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Processes whose command line names this folder.
fn processes_of(folder: &Path) -> Vec<String> {
    let needle = folder.display().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(&needle)).collect()
}

/// Runs it to its end, which must be a good one that leaves nothing. Returns what it said.
fn whole_run(args: &[&str]) -> String {
    let temporary = tempfile::tempdir().unwrap();
    let mut run = start(temporary.path(), args);
    let mut said = String::new();
    for line in BufReader::new(run.0.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        println!("{line}");
        said.push_str(&line);
        said.push('\n');
    }
    let code = run.0.wait().unwrap().code();
    assert_eq!(code, Some(0), "{args:?}:\n{said}");
    assert!(said.contains(" 0 lost") && said.contains(&format!("--seed {SEED}")), "{said}");
    assert!(processes_of(temporary.path()).is_empty(), "{:?}", processes_of(temporary.path()));
    assert!(what_is_left(temporary.path()).is_empty(), "{:?}", what_is_left(temporary.path()));
    said
}

#[test]
fn a_minute_of_chaos_loses_nothing_and_leaves_nothing() {
    whole_run(&["chaos", "--minutes", "1", "--seed", SEED]);
}

/// Only where the last release's programs are: to build them takes minutes, and `make skew` does that.
#[test]
fn an_update_from_the_last_release_its_rollback_and_the_raise_lose_nothing() {
    let built = Path::new(env!("CARGO_BIN_EXE_e2e")).ancestors().nth(2).unwrap().join("last-release/built");
    if std::fs::read_to_string(&built).unwrap_or_default() != include_str!("../../last-release") {
        println!("SKIPPED: {} is not there, or of another release: make last-release", built.display());
        return;
    }
    let said = whole_run(&["skew", "--quick", "--seed", SEED]);
    assert!(said.contains("10 steps of updates, 0 other faults"), "{said}");
}

#[test]
fn ctrl_c_ends_it_and_leaves_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    let mut run = start(temporary.path(), &["chaos", "--minutes", "60", "--seed", "1"]);
    let mut out = BufReader::new(run.0.stdout.take().unwrap());
    let mut line = String::new();
    // In the middle of it: something is broken.
    while !line.contains("broken: ") {
        line.clear();
        assert_ne!(out.read_line(&mut line).unwrap(), 0, "it ended by itself");
    }
    assert!(!processes_of(temporary.path()).is_empty());
    let pid = Pid::from_raw(i32::try_from(run.0.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(run.0.wait().unwrap().code(), Some(130), "{rest}");
    assert!(rest.contains("writes: "), "{rest}");
    until_blocking("nothing is left", || {
        processes_of(temporary.path()).is_empty() && what_is_left(temporary.path()).is_empty()
    });
}

/// A stored history: one record, written and then missing.
fn history(found: &str) -> String {
    let operation = |client: u16, at: u64, call: &str, effect: &str, sequence: &str| {
        format!(
            r#"{{"operation":{{"client":{client},"pod":0,"key":0,"call":{call},"invoked":{at},"returned":{},"outcome":{{"done":{effect}}},"sequence":{sequence}}}}}"#,
            at + 5
        )
    };
    let lines = [
        r#"{"keys":["e0a08c5b-62d5-4b20-a024-e1c270d901c2"]}"#.to_owned(),
        operation(1, 10, r#"{"create":1}"#, r#""created""#, "7"),
        operation(65535, 20, r#""read""#, &format!(r#"{{"found":{found}}}"#), "null"),
    ];
    lines.join("\n")
}

#[test]
fn a_kept_history_is_judged_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history.jsonl");
    for (found, code, word) in [("1", 0, "1 acknowledged, 0 lost"), ("null", 1, "a write is lost")] {
        std::fs::write(&file, history(found)).unwrap();
        let judged = Command::new(env!("CARGO_BIN_EXE_e2e")).args(["chaos", "--check"]).arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&judged.stdout);
        assert_eq!(judged.status.code(), Some(code), "{said}");
        assert!(said.contains(word), "{said}");
    }
}
