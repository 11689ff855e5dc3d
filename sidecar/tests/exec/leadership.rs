//! When the command runs, and when it has to be dead.

use leasehold_testkit::until_blocking;

use crate::pod::{INCARNATION, Pod, is_alive};

/// Ignores SIGTERM, and leaves a child, a child in a session of its own whose parent is dead, and one that closed all it had.
const STUBBORN: &str = r#"
trap '' TERM
sleep 1000 & echo $! >> pids
(setsid sleep 1001 & echo $! >> pids)
setsid bash -c 'trap "" TERM HUP; exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- 10>&- 11>&- 12>&-; echo $$ >> pids; while :; do sleep 1; done' &
echo $$ >> pids
while :; do sleep 1; done
"#;

/// Its own id, and it ends by SIGTERM.
const OBEDIENT: &str = "echo $$ >> pids; trap 'exit 0' TERM; while :; do sleep 0.05; done";

#[test]
fn a_command_starts_when_its_pod_leads_and_knows_its_term() {
    let mut pod = Pod::new();
    pod.follow(4);
    pod.exec_bash(&[], "env > environment; exit 7");
    pod.until_said("waiting until this pod leads (db-0 leads in term 4)");
    assert!(pod.status_is_locked() && !pod.leads_is_locked());
    pod.lead(5);
    assert_eq!(pod.code(), Some(7));
    assert!(!pod.status_is_locked() && !pod.leads_is_locked());
    let environment = pod.text("environment");
    for line in [
        "LEASEHOLD_TERM=5".to_owned(),
        "LEASEHOLD_LEADER=10.0.0.7:80".to_owned(),
        "LEASEHOLD_LEASE=n/db".to_owned(),
        "LEASEHOLD_POD=db-1".to_owned(),
        format!("LEASEHOLD_INCARNATION={INCARNATION}"),
        format!("LEASEHOLD_ROLE_FILE={}", pod.path("role.json").display()),
    ] {
        assert!(environment.lines().any(|found| found == line), "{line} is not in {environment}");
    }
}

#[test]
fn a_lost_leadership_ends_the_command_and_the_wrapper_waits_for_the_next() {
    let mut pod = Pod::new();
    pod.lead(3);
    pod.exec_bash(&[], OBEDIENT);
    let first = pod.pids("pids", 1);
    assert!(pod.leads_is_locked());
    let end = pod.follow(4);
    pod.all_die_before(&first, end);
    pod.until_said("waiting until this pod leads (db-0 leads in term 4)");
    assert!(pod.status_is_locked() && !pod.leads_is_locked());
    pod.lead(5);
    let both = pod.pids("pids", 2);
    assert!(is_alive(both[1]) && pod.exec.as_mut().unwrap().try_wait().unwrap().is_none());
}

#[test]
fn another_term_of_the_same_pod_is_another_leadership() {
    let mut pod = Pod::new();
    pod.lead(3);
    pod.exec_bash(&[], &format!("echo $LEASEHOLD_TERM >> terms; {OBEDIENT}"));
    let first = pod.pids("pids", 1);
    pod.lead(5);
    let both = pod.pids("pids", 2);
    assert!(!is_alive(first[0]) && is_alive(both[1]));
    assert_eq!(pod.lines("terms", 2), ["3", "5"]);
}

#[test]
fn a_command_that_ignores_sigterm_and_all_that_it_left_are_dead_before_the_claim_is_over() {
    let mut pod = Pod::new();
    pod.lead(3);
    pod.exec_bash(&[], STUBBORN);
    let pids = pod.pids("pids", 4);
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    let end = pod.follow(4);
    pod.all_die_before(&pids, end);
    until_blocking("the lock is free", || !pod.leads_is_locked());
    pod.until_said("the command's time is over: killing it");
    assert!(pod.exec.as_mut().unwrap().try_wait().unwrap().is_none(), "it waits again");
}

#[test]
fn a_claim_that_is_not_renewed_ends_everything_in_time() {
    for script in [OBEDIENT, STUBBORN] {
        let mut pod = Pod::new();
        pod.lead(3);
        pod.exec_bash(&[], script);
        let pids = pod.pids("pids", if script == OBEDIENT { 1 } else { 4 });
        let end = pod.stop_renewing();
        pod.all_die_before(&pids, end);
        pod.until_said("the claim was not renewed in time");
    }
}

#[test]
fn a_claim_of_another_boot_or_one_that_is_over_starts_nothing() {
    let mut pod = Pod::new();
    pod.lead(3);
    pod.stop_renewing();
    let text = pod.text("role.json");
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert!(text.contains(boot.trim()));
    let other = text.replace(boot.trim(), "00000000-0000-0000-0000-000000000001");
    std::fs::write(pod.path("role.json"), other).unwrap();
    pod.exec_bash(&[], "echo started >> started; sleep 1000");
    pod.until_said("waiting until this pod leads");
    assert_eq!(pod.text("started"), "");
    // The same file of this boot starts it: nothing else was wrong.
    pod.lead(3);
    pod.lines("started", 1);
}

#[test]
fn exit_on_lost_ends_with_75() {
    let mut pod = Pod::new();
    pod.lead(3);
    pod.exec_bash(&["--on-lost", "exit"], OBEDIENT);
    let pids = pod.pids("pids", 1);
    pod.follow(4);
    assert_eq!(pod.code(), Some(75));
    assert!(!is_alive(pids[0]) && !pod.leads_is_locked());
}

#[test]
fn the_stop_signal_and_the_grace_can_be_chosen() {
    let mut pod = Pod::new();
    pod.lead(3);
    let script =
        "trap 'echo int >> got' INT; trap 'echo term >> got' TERM; echo $$ >> pids; while :; do sleep 0.05; done";
    pod.exec_bash(&["--stop-signal", "SIGINT", "--stop-grace", "100ms"], script);
    let pids = pod.pids("pids", 1);
    let end = pod.follow(4);
    pod.all_die_before(&pids, end);
    assert_eq!(pod.lines("got", 1), ["int"]);
    pod.until_said("grace_ms=100");
}

#[test]
fn a_second_exec_of_the_directory_waits_for_the_end_of_the_first() {
    let mut pod = Pod::new();
    pod.lead(3);
    pod.exec_bash(&[], OBEDIENT);
    pod.pids("pids", 1);
    let mut second = pod.command(&[], &["bash", "-c", "echo second >> second; exit 9"]).spawn().unwrap();
    pod.until_said("status.lock is held");
    assert_eq!(pod.text("second"), "");
    pod.signal(rustix::process::Signal::TERM);
    assert_eq!(pod.code(), Some(0));
    assert_eq!(second.wait().unwrap().code(), Some(9));
}
