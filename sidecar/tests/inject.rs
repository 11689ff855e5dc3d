//! `sidecar inject` as a program: what is printed where, and the exit codes.

#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

const INPUT: &str = include_str!("inject/deployment.yaml");

/// Runs it with this input. The text is written from a thread: the program may end before it has read all.
fn sidecar(args: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidecar"));
    command.arg("inject").args(args).env_remove("LEASEHOLD_SIDECAR_LEASE").env_remove("LEASEHOLD_SIDECAR_NAMESPACE");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_owned());
    let writer = std::thread::spawn(move || {
        // It may have refused its flags, and be gone.
        let _ = stdin.write_all(input.as_bytes());
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

#[test]
fn a_file_and_standard_input_are_the_same() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("web.yaml");
    std::fs::write(&file, INPUT).unwrap();
    let of_stdin = sidecar(&["--lease", "web"], INPUT);
    let of_file = sidecar(&["-f", file.to_str().unwrap(), "--lease", "web"], "");
    assert!(of_stdin.status.success() && of_file.status.success(), "{of_stdin:?} {of_file:?}");
    assert_eq!(of_stdin.stdout, of_file.stdout);
    assert!(String::from_utf8(of_stdin.stdout).unwrap().contains("kind: Lease"));
}

#[test]
fn a_refusal_prints_nothing_but_its_reason() {
    let file_is_gone = ["-f", "/nowhere/web.yaml", "--lease", "web"];
    let cases: [(&[&str], &str, i32, &str); 4] = [
        (&["--lease", "web"], "kind: Service\n", 1, "sidecar: inject -: there is nothing to inject"),
        (&["--lease", "web"], "a: [\n", 1, "not valid YAML"),
        (&file_is_gone, "", 1, "cannot open it"),
        (&[], INPUT, 2, "sidecar: --lease is missing"),
    ];
    for (args, input, code, words) in cases {
        let output = sidecar(args, input);
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        assert!(output.stdout.is_empty(), "{args:?} printed {:?}", String::from_utf8_lossy(&output.stdout));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(words) && said.lines().count() == 1, "{args:?}: {said}");
    }
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidecar"));
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("web.yaml");
    std::fs::write(&file, b"a: \xff\n").unwrap();
    let output = command.args(["inject", "--lease", "web", "-f"]).arg(&file).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(1), true));
    assert!(String::from_utf8_lossy(&output.stderr).contains("UTF-8"));
}
