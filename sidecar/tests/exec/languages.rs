//! Commands in several languages, and in a root without a libc.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::pod::{Pod, SIDECAR, is_alive};

/// Whether the program runs here. A test that needs another says so, and ends.
fn has(program: &str, version: &str) -> bool {
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
fn go_program(dir: &Path) -> Option<PathBuf> {
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

/// Whether a 64-bit ELF file names an interpreter: one of its program headers has the type PT_INTERP.
fn is_dynamic(elf: &[u8]) -> bool {
    let number =
        |at: usize, length: usize| elf[at..at + length].iter().rev().fold(0, |all, byte| all << 8 | usize::from(*byte));
    let (headers, size, count) = (number(0x20, 8), number(0x36, 2), number(0x38, 2));
    (0..count).any(|header| number(headers + header * size, 4) == 3)
}

/// As in an image `FROM scratch`, or of Alpine: the root has the two static programs, /proc and the shared directory alone.
#[test]
fn a_root_without_a_libc() {
    let sidecar = std::env::var_os("LEASEHOLD_STATIC_SIDECAR").map_or(PathBuf::from(SIDECAR), PathBuf::from);
    if is_dynamic(&fs::read(&sidecar).unwrap()) {
        eprintln!("SKIPPED: {} is not static; LEASEHOLD_STATIC_SIDECAR can name one that is", sidecar.display());
        return;
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root may chroot");
        return;
    }
    let mut pod = Pod::new();
    let Some(_) = go_program(pod.dir.path()) else { return };
    // The pod's directory is the root; what is shared in it, too.
    for folder in ["proc", "dev", "programs"] {
        fs::create_dir(pod.path(folder)).unwrap();
    }
    fs::File::create(pod.path("dev/null")).unwrap();
    let copied = Command::new(&sidecar).args(["copy", "--to"]).arg(pod.path("programs")).output().unwrap();
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    pod.lead(3);
    // In mount and PID namespaces of its own, where `exec` is process 1, as in a container.
    let root = pod.dir.path().display().to_string();
    let inside =
        format!("mount -t proc proc {root}/proc && exec chroot {root} /programs/sidecar exec --directory / -- /app");
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", &inside]);
    unshare.stdout(fs::File::create(pod.path("out")).unwrap()).stderr(fs::File::create(pod.path("err")).unwrap());
    pod.exec = Some(unshare.spawn().unwrap());
    pod.lines("pids", 1);
    let end = pod.follow(4);
    pod.until_said("waiting until this pod leads (db-0 leads in term 4)");
    assert!(leasehold_contract::Moment::now().boottime_ns < end && !pod.leads_is_locked());
    pod.lead(5);
    assert_eq!(pod.lines("terms", 2), ["3", "5"]);
    // Process 1 is the only child of `unshare`, and gets its signals by handlers alone.
    let children = format!("/proc/{0}/task/{0}/children", pod.exec_pid().as_raw_nonzero());
    let first: i32 = fs::read_to_string(children).unwrap().split_whitespace().next().unwrap().parse().unwrap();
    rustix::process::kill_process(crate::pod::pid(first), Signal::TERM).unwrap();
    assert_eq!(pod.code(), Some(9), "{}", pod.text("err"));
    assert!(!pod.leads_is_locked());
}
