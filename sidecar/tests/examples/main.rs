//! The programs in `examples/`, each as three pods: sidecar and program as processes, on the embedded API.
//!
//! ```text
//!   pod a: sidecar ◀── role.json, HTTP ──▶ program ──┐
//!   pod b: sidecar ◀── role.json, HTTP ──▶ program ──┼──▶ one file: `term 1: a works`
//!   pod c: sidecar ◀── role.json, HTTP ──▶ program ──┘
//! ```
//!
//! All programs append to one file, so its lines stand in the order in which the work was done. A test is left out, with a
//! word, where its language is not installed.

#![allow(clippy::unwrap_used)]

mod library;
mod manifests;
mod pod;
mod postgres;

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use leasehold_api::ApiServer;
use leasehold_testkit::{until_blocking, until_found_blocking};
use rustix::process::Signal;

use pod::{Child, Sidecar};

/// The folder of this example.
fn folder(example: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples").join(example)
}

/// Whether there is such a program on this machine.
fn is_installed(program: &str) -> bool {
    let found =
        Command::new("sh").args(["-c", "command -v \"$1\"", "-", program]).stdout(Stdio::null()).status().unwrap();
    if !found.success() {
        println!("skipped: {program} is not installed");
    }
    found.success()
}

/// A piece of work that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    term: u64,
    pod: String,
}

/// `term 1: a works`
fn pieces(file: &Path) -> Vec<Piece> {
    let text = std::fs::read_to_string(file).unwrap();
    // The last line may still be written.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let piece = |line: &str| {
        let (term, rest) = line.strip_prefix("term ")?.split_once(": ")?;
        Some(Piece { term: term.parse().ok()?, pod: rest.strip_suffix(" works")?.to_owned() })
    };
    whole.lines().map(|line| piece(line).unwrap_or_else(|| panic!("what is {line:?}?"))).collect()
}

/// Who works in a term above this one: some pieces of work, not one that was begun by chance.
fn worker_above(file: &Path, term: u64) -> Piece {
    let find = || pieces(file).into_iter().filter(|piece| piece.term > term).nth(2);
    until_found_blocking(format!("a pod works in a term above {term}"), find, || format!("{:?}", pieces(file)))
}

/// Terms never go down, and each is of one pod.
fn one_at_a_time(pieces: &[Piece]) {
    for pair in pieces.windows(2) {
        let (before, after) = (&pair[0], &pair[1]);
        assert!(before.term < after.term || before == after, "{before:?} and then {after:?}, of {pieces:?}");
    }
}

/// Three pods of an example; one works, another when the leader's sidecar leaves, and the last one when the next is frozen.
fn one_works(more: &[&str], program: impl Fn(&Sidecar) -> Command) {
    let api = ApiServer::start(0).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("work");
    let append = || OpenOptions::new().append(true).create(true).open(&file).unwrap();
    let sidecars = ["a", "b", "c"].map(|name| Sidecar::start(&api, name, more));
    let mut programs =
        sidecars.each_ref().map(|sidecar| Child::start("the program", program(sidecar).stdout(append())));
    let index = |piece: &Piece| sidecars.iter().position(|sidecar| sidecar.name == piece.pod).unwrap();

    let first = worker_above(&file, 0);
    let gone = index(&first);
    sidecars[gone].process.signal(Signal::TERM);
    let second = worker_above(&file, first.term);
    assert_ne!(second.pod, first.pod, "its sidecar is gone");

    // A frozen sidecar cannot say that its time is over: its program must know that by itself.
    let frozen = &sidecars[index(&second)];
    frozen.process.signal(Signal::STOP);
    let third = worker_above(&file, second.term);
    assert!(third.pod != first.pod && third.pod != second.pod, "{third:?} has no sidecar that runs");
    frozen.process.signal(Signal::CONT);
    frozen.until_it_follows(&third.pod);
    let done = pieces(&file).len();
    until_blocking("the work goes on", || pieces(&file).len() > done + 2);
    one_at_a_time(&pieces(&file));

    for program in &mut programs {
        program.signal(Signal::TERM);
        program.until_it_ends();
    }
    one_at_a_time(&pieces(&file));
}

#[test]
fn one_of_three_works_in_python() {
    if is_installed("python3") {
        one_works(&[], |sidecar| {
            let mut command = Command::new("python3");
            command.arg(folder("python").join("worker.py")).env("LEASEHOLD_ROLE_FILE", sidecar.role_file());
            command
        });
    }
}

#[test]
fn one_of_three_works_in_go() {
    if is_installed("go") {
        // Below the folder for what is built: Go's own cache may be off, or the disk of temporary files small.
        let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let worker = scratch.path().join("worker");
        let mut build = Command::new("go");
        build.args(["build", "-o"]).arg(&worker).arg(".").current_dir(folder("go")).env("CGO_ENABLED", "0");
        assert!(build.status().unwrap().success(), "go build");
        one_works(&[], |sidecar| {
            let mut command = Command::new(&worker);
            command.env("SIDECAR", sidecar.url());
            command
        });
    }
}

#[test]
fn one_of_three_works_in_node() {
    if is_installed("node") {
        one_works(&[], |sidecar| {
            let mut command = Command::new("node");
            command.arg(folder("node").join("worker.mjs")).env("SIDECAR", sidecar.url());
            command
        });
    }
}

#[test]
fn one_of_three_works_in_java() {
    // Not `java`: without a compiler it starts no source.
    if is_installed("javac") {
        one_works(&[], |sidecar| {
            let mut command = Command::new("java");
            command.args(["-XX:-UsePerfData", "-Xmx64m"]).arg(folder("java").join("Worker.java"));
            command.env("LEASEHOLD_ROLE_FILE", sidecar.role_file());
            command
        });
    }
}

#[test]
fn one_of_three_works_in_bash() {
    if is_installed("bash") {
        one_works(&["--exec"], |sidecar| {
            let mut command = Command::new(pod::PROGRAM);
            command.args(["exec", "--directory"]).arg(sidecar.directory());
            command.args(["--", "bash"]).arg(folder("bash").join("work.sh"));
            command
        });
    }
}
