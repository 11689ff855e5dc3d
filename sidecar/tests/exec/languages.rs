//! Commands in several languages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::pod::{Pod, is_alive};

/// Whether the program runs here. A test that needs another says so, and ends.
pub(crate) fn has(program: &str, version: &str) -> bool {
    let has = Command::new(program).arg(version).output().is_ok_and(|output| output.status.success());
    if !has {
        eprintln!("SKIPPED: {program} is not installed");
    }
    has
}

/// Leads, loses, leads again, and is asked to end: the command writes its id to `pids`, and ends by SIGTERM with 9.
fn lives(pod: &mut Pod, command: &[String]) {
    pod.lead(3);
    pod.exec(&[], command);
    let first = pod.pids("pids", 1);
    let end = pod.follow(4);
    pod.all_die_before(&first, end);
    pod.until_said("waiting until this pod leads");
    pod.lead(5);
    let second = pod.pids("pids", 2);
    pod.signal(Signal::TERM);
    assert_eq!(pod.code(), Some(9), "{}", pod.text("err"));
    assert!(!is_alive(second[1]));
    assert_eq!(pod.lines("terms", 2), ["3", "5"]);
}

fn words(command: &[&str]) -> Vec<String> {
    command.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn python() {
    if !has("python3", "--version") {
        return;
    }
    let mut pod = Pod::new();
    let program = r#"
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
print(os.environ["LEASEHOLD_TERM"], file=open("terms", "a"))
print(os.getpid(), file=open("pids", "a"))
while True: time.sleep(1)
"#;
    // Where `python3` is a script that picks a version, that script would be the command.
    let python = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
    let python = String::from_utf8(python.stdout).unwrap();
    lives(&mut pod, &words(&[python.trim(), "-c", program]));
}

#[test]
fn a_jvm() {
    if !has("java", "--version") {
        return;
    }
    let mut pod = Pod::new();
    // The JVM's own handler ends it with 143; a hook changes that.
    let program = r#"
import java.nio.file.*;
public class App {
    static void line(String file, String text) throws Exception {
        Files.writeString(Path.of(file), text + "\n", StandardOpenOption.CREATE, StandardOpenOption.APPEND);
    }
    public static void main(String[] args) throws Exception {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> Runtime.getRuntime().halt(9)));
        line("terms", System.getenv("LEASEHOLD_TERM"));
        line("pids", Long.toString(ProcessHandle.current().pid()));
        Thread.sleep(Long.MAX_VALUE);
    }
}
"#;
    fs::write(pod.path("App.java"), program).unwrap();
    lives(&mut pod, &words(&["java", "-Xmx64m", "App.java"]));
}

/// A static program: it needs no libc where it runs.
pub(crate) fn go_program(dir: &Path) -> Option<PathBuf> {
    if !has("go", "version") {
        return None;
    }
    let program = r#"package main

import ("fmt"; "os"; "os/signal"; "syscall")

func line(file, text string) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil { panic(err) }
	fmt.Fprintln(f, text)
	f.Close()
}

func main() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	line("terms", os.Getenv("LEASEHOLD_TERM"))
	line("pids", fmt.Sprint(os.Getpid()))
	<-ended
	os.Exit(9)
}
"#;
    fs::write(dir.join("app.go"), program).unwrap();
    let mut build = Command::new("go");
    build.args(["build", "-o", "app", "app.go"]).current_dir(dir).env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=mod");
    let built = build.output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Some(dir.join("app"))
}

#[test]
fn a_static_go_program() {
    let mut pod = Pod::new();
    if let Some(app) = go_program(pod.dir.path()) {
        lives(&mut pod, &[app.display().to_string()]);
    }
}
