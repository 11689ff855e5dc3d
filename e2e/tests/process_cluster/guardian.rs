//! What happens to the processes when the harness is killed.

use std::process::{Command, Stdio};

use leasehold_testkit::until_blocking;

#[test]
fn the_guardian_kills_what_is_noted_when_the_harness_is_gone_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("cluster");
    std::fs::create_dir_all(root.join("pids")).unwrap();
    let sleeper = || Command::new("sleep").arg("1000").spawn().unwrap();
    let (mut noted, mut reused) = (sleeper(), sleeper());
    let start = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().to_owned()
    };
    std::fs::write(root.join("pids").join(noted.id().to_string()), start(noted.id())).unwrap();
    // The same number, but not the process that was noted.
    std::fs::write(root.join("pids").join(reused.id().to_string()), "1").unwrap();

    let mut guard = Command::new(env!("CARGO_BIN_EXE_e2e"))
        .arg("guard")
        .arg(&root)
        .arg("--remove")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    assert!(noted.try_wait().unwrap().is_none(), "it must wait for the harness's end");
    drop(guard.stdin.take());
    until_blocking("the noted process is gone", || noted.try_wait().unwrap().is_some());
    assert!(guard.wait().unwrap().success());
    assert!(!root.exists());
    assert!(reused.try_wait().unwrap().is_none(), "a process that was not noted was killed");
    reused.kill().unwrap();
    reused.wait().unwrap();
}
