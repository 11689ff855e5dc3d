//! One of the processes is killed or frozen: nothing outlives the claim.

use leasehold_testkit::until_blocking;
use rustix::process::{Pid, Signal, kill_process};

use crate::pod::{LEASE, Pod, is_alive, parent};

/// A command with a child, and a grandchild in a session of its own whose parent is dead. The last id is that of the command.
const FAMILY: &str = "sleep 1000 & echo $! >> pids; (setsid sleep 1001 & echo $! >> pids); echo $$ >> pids
                      while :; do sleep 0.05; done";

fn family(pod: &mut Pod) -> (Vec<Pid>, Pid) {
    pod.lead(3);
    pod.exec_bash(&[], FAMILY);
    let pids = pod.pids("pids", 3);
    let guard = parent(pids[2]);
    assert_eq!(parent(guard), pod.exec_pid(), "the guard stands between them");
    (pids, guard)
}

#[test]
fn a_command_that_is_frozen_is_killed_in_time() {
    let mut pod = Pod::new();
    let (pids, _) = family(&mut pod);
    kill_process(pids[2], Signal::STOP).unwrap();
    let end = pod.follow(4);
    pod.all_die_before(&pids, end);
    until_blocking("the lock is free", || !pod.leads_is_locked());
}

#[test]
fn nothing_outlives_a_wrapper_that_was_killed() {
    let mut pod = Pod::new();
    let (pids, guard) = family(&mut pod);
    pod.signal(Signal::KILL);
    pod.code();
    until_blocking("all are dead", || !pids.iter().chain([&guard]).any(|pid| is_alive(*pid)));
    assert!(!pod.leads_is_locked() && !pod.status_is_locked());
    pod.until_said("exec is dead: killing the command");
}

#[test]
fn a_wrapper_that_is_frozen_does_not_keep_the_command_alive_beyond_its_claim() {
    let mut pod = Pod::new();
    let (pids, _) = family(&mut pod);
    pod.signal(Signal::STOP);
    let end = pod.follow(4);
    pod.all_die_before(&pids, end);
    pod.until_said("the claim is over and exec is silent");
    assert!(pod.status_is_locked(), "frozen is not dead");
    // Awake again, it sees what happened, and waits for the next leadership.
    pod.signal(Signal::CONT);
    pod.until_said("waiting until this pod leads (db-0 leads in term 4)");
    assert!(!pod.leads_is_locked());
    pod.lead(5);
    pod.pids("pids", 6);
}

#[test]
fn a_guard_that_reads_role_json_itself_lets_a_renewed_command_run() {
    let mut pod = Pod::new();
    let (pids, _) = family(&mut pod);
    let first = pod.text("role.json");
    pod.signal(Signal::STOP);
    // Longer than the claim that the guard was started with: two of them.
    let valid_until =
        |text: &str| serde_json::from_str::<leasehold_contract::RoleFile>(text).unwrap().lease.valid_until_boottime_ns;
    let twice = valid_until(&first).unwrap() + u64::try_from(LEASE.as_nanos()).unwrap();
    until_blocking("the claim was renewed twice over", || valid_until(&pod.text("role.json")).unwrap() > twice);
    assert!(pids.iter().all(|pid| is_alive(*pid)));
}

#[test]
fn a_guard_that_was_killed_takes_everything_with_it() {
    let mut pod = Pod::new();
    let (pids, guard) = family(&mut pod);
    kill_process(guard, Signal::KILL).unwrap();
    assert_eq!(pod.code(), Some(137));
    assert!(!pids.iter().any(|pid| is_alive(*pid)));
    assert!(!pod.leads_is_locked());
}

#[test]
fn a_guard_that_is_frozen_saves_nobody() {
    let mut pod = Pod::new();
    let (pids, guard) = family(&mut pod);
    kill_process(guard, Signal::STOP).unwrap();
    let end = pod.follow(4);
    pod.all_die_before(&pids, end);
    until_blocking("the lock is free", || !pod.leads_is_locked());
    assert!(!is_alive(guard));
    pod.lead(5);
    pod.pids("pids", 6);
}

#[test]
fn both_killed_at_once_take_the_command_with_them() {
    let mut pod = Pod::new();
    let (pids, guard) = family(&mut pod);
    // Frozen first, so that the guard cannot act on the other's death.
    kill_process(guard, Signal::STOP).unwrap();
    pod.signal(Signal::KILL);
    kill_process(guard, Signal::KILL).unwrap();
    pod.code();
    until_blocking("the command is dead", || !is_alive(pids[2]));
    // Only the kernel is left, and its promise is about the command alone: the children run, and keep the lock.
    assert!(is_alive(pids[0]) && is_alive(pids[1]) && pod.leads_is_locked());
    for pid in &pids[..2] {
        kill_process(*pid, Signal::KILL).unwrap();
    }
    until_blocking("the lock is free", || !pod.leads_is_locked());
}

/// A `sidecar exec` that starts where such orphans hold the lock starts nothing beside them.
#[test]
fn orphans_of_an_earlier_exec_keep_the_next_from_starting() {
    let mut pod = Pod::new();
    // By hand: what `LeadLock` holds, children inherit.
    let lock = std::fs::File::create(pod.path("lead.lock")).unwrap();
    lock.lock().unwrap();
    pod.lead(3);
    pod.exec_bash(&[], "echo started >> started; sleep 1000");
    pod.until_said("lead.lock is held");
    assert_eq!(pod.text("started"), "");
    drop(lock);
    pod.lines("started", 1);
}
