//! Signals, exit codes, and what cannot be started.

use leasehold_testkit::until_blocking;
use rustix::process::Signal;

use crate::pod::{Pod, is_alive};

#[test]
fn sigterm_is_the_commands_and_its_code_the_wrappers_once_its_children_are_dead() {
    let mut pod = Pod::new();
    pod.lead(3);
    let script =
        "setsid sleep 1000 & echo $! >> pids; trap 'exit 5' TERM; echo $$ >> pids; while :; do sleep 0.05; done";
    pod.exec_bash(&[], script);
    let pids = pod.pids("pids", 2);
    pod.signal(Signal::TERM);
    assert_eq!(pod.code(), Some(5));
    assert!(!pids.iter().any(|pid| is_alive(*pid)), "a child outlived the wrapper");
    assert!(!pod.leads_is_locked());
}

#[test]
fn a_second_sigterm_is_passed_on_as_the_first() {
    let mut pod = Pod::new();
    pod.lead(3);
    let script = "n=0; trap 'n=$((n+1)); echo $n >> got; [ $n -lt 2 ] || exit 6' TERM
                  echo $$ >> pids; while :; do sleep 0.05; done";
    pod.exec_bash(&[], script);
    pod.pids("pids", 1);
    pod.signal(Signal::TERM);
    // The shell of the script may be between two signals: they count one by one.
    pod.lines("got", 1);
    pod.signal(Signal::TERM);
    assert_eq!(pod.code(), Some(6));
}

#[test]
fn other_signals_are_passed_on_to_the_whole_group_and_to_a_command_that_left_it() {
    for leave in ["", "setsid "] {
        let mut pod = Pod::new();
        pod.lead(3);
        let names = ["HUP", "USR1", "USR2", "QUIT", "WINCH"];
        let traps: String = names.map(|name| format!("trap 'echo {name} >> got' {name}; ")).concat();
        let script = format!("{traps} echo $$ >> pids; while :; do sleep 0.05; done");
        let command: Vec<&str> = leave.split_whitespace().chain(["bash", "-c", &script]).collect();
        pod.exec(&[], &command);
        pod.pids("pids", 1);
        let signals = [Signal::HUP, Signal::USR1, Signal::USR2, Signal::QUIT, Signal::WINCH];
        for (number, (signal, name)) in signals.into_iter().zip(names).enumerate() {
            pod.signal(signal);
            assert_eq!(pod.lines("got", number + 1)[number], name);
        }
        pod.signal(Signal::TERM);
        assert_eq!(pod.code(), Some(143));
    }
}

#[test]
fn a_command_that_ends_by_itself_gives_its_code_and_128_and_the_number_for_a_signal() {
    for (script, code) in [("exit 0", 0), ("exit 42", 42), ("kill -9 $$", 137), ("kill -USR1 $$", 138)] {
        let mut pod = Pod::new();
        pod.lead(3);
        pod.exec_bash(&[], &format!("sleep 1000 & echo $! >> pids; {script}"));
        assert_eq!(pod.code(), Some(code), "{script}");
        assert!(!is_alive(pod.pids("pids", 1)[0]), "its child");
    }
}

#[test]
fn a_wrapper_that_waits_ends_by_sigterm_with_143() {
    let mut pod = Pod::new();
    pod.follow(3);
    pod.exec_bash(&[], "exit 0");
    pod.until_said("waiting until this pod leads");
    pod.signal(Signal::TERM);
    assert_eq!(pod.code(), Some(143));
    assert!(!pod.status_is_locked());
}

#[test]
fn what_cannot_be_run_says_why() {
    let mut pod = Pod::new();
    pod.lead(3);
    pod.exec(&[], &["no-such-command"]);
    assert_eq!(pod.code(), Some(127));
    assert!(pod.text("err").contains("cannot run no-such-command: No such file"), "{}", pod.text("err"));
    std::fs::write(pod.path("text"), "no program").unwrap();
    pod.exec(&[], &[pod.path("text")]);
    assert_eq!(pod.code(), Some(126));
    assert!(pod.text("err").contains("Permission denied"), "{}", pod.text("err"));
}

#[test]
fn a_directory_that_is_missing_or_not_writable_says_what_to_do() {
    for (directory, words) in [("/no/such/directory", "mount the volume"), ("/sys/kernel", "it must be writable")] {
        let mut pod = Pod::new();
        let mut exec = std::process::Command::new(crate::pod::SIDECAR);
        exec.args(["exec", "--directory", directory, "--", "true"]);
        exec.stderr(std::fs::File::create(pod.path("err")).unwrap());
        pod.exec = Some(exec.spawn().unwrap());
        assert_eq!(pod.code(), Some(125));
        let said = pod.text("err");
        assert!(said.contains(words) && said.contains(directory), "{said}");
    }
}

#[test]
fn a_sidecar_that_never_writes_is_missed() {
    let mut pod = Pod::new();
    pod.exec_bash(&[], "exit 0");
    pod.until_said("there is no role.json");
    assert_eq!(pod.text("err").matches("there is no role.json").count(), 1);
    pod.lead(1);
    assert_eq!(pod.code(), Some(0));
}

/// Under `script`, which gives it a terminal as `kubectl run -it` does.
#[test]
fn a_command_in_a_terminal_has_its_foreground_and_gives_it_back() {
    let mut pod = Pod::new();
    pod.lead(3);
    let reads = "read -r word; echo got $word; sleep 1000";
    let exec = format!("{} exec --directory {} -- bash -c '{reads}'", crate::pod::SIDECAR, pod.dir.path().display());
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &exec, "/dev/null"]).stdin(std::process::Stdio::piped());
    script.stdout(std::fs::File::create(pod.path("terminal")).unwrap()).stderr(std::process::Stdio::null());
    let Ok(mut terminal) = script.spawn() else {
        eprintln!("SKIPPED: the program `script` is not installed");
        return;
    };
    let mut keys = terminal.stdin.take().unwrap();
    std::io::Write::write_all(&mut keys, b"hello\n").unwrap();
    until_blocking("it reads", || pod.text("terminal").contains("got hello"));
    // Ctrl-C reaches the command alone, and once.
    std::io::Write::write_all(&mut keys, b"\x03").unwrap();
    pod.exec = Some(terminal);
    assert_eq!(pod.code(), Some(130));
}
