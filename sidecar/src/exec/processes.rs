//! Processes: who descends from whom, the end of all of them, and what the kernel reports of those that ended.

use std::collections::BTreeMap;
use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};

/// What [`reap`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reaped {
    /// A child ended, with this code.
    Child(Pid, u8),
    /// All children that are left run.
    Rest,
    /// There is no child.
    None,
}

/// Takes one child that ended. Call it until it returns something else.
pub(super) fn reap() -> Reaped {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => return Reaped::Child(pid, code(status)),
            Ok(None) => return Reaped::Rest,
            Err(Errno::INTR) => {}
            // ECHILD; no other error can come from a call without arguments.
            Err(_) => return Reaped::None,
        }
    }
}

/// As shells have it: 128 and the number, for a signal.
fn code(status: WaitStatus) -> u8 {
    let code = status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// Sends SIGKILL to every descendant of `root` but `spared`, and returns how many that were. One that is forked meanwhile may be
/// missed: call it again, until [`reap`] says that there is no child.
pub(super) fn kill_descendants(root: Pid, spared: Option<Pid>) -> usize {
    let mut killed = 0;
    for pid in descendants(root, &parents()) {
        if Some(pid) != spared && kill_process(pid, Signal::KILL).is_ok() {
            killed += 1;
        }
    }
    killed
}

/// The living processes of this PID namespace, by their parents.
fn parents() -> BTreeMap<i32, Vec<i32>> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    let Ok(entries) = fs::read_dir("/proc") else { return children };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may have ended since.
        let Ok(stat) = fs::read(entry.path().join("stat")) else { continue };
        if let Some(parent) = parent_in(&String::from_utf8_lossy(&stat)) {
            children.entry(parent).or_default().push(pid);
        }
    }
    children
}

/// `17 (a name, with ) maybe) S 1 …`: the fourth field. None for a zombie, which is dead.
fn parent_in(stat: &str) -> Option<i32> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    // A zombie has no children: they were given to others when it died.
    (state != "Z" && state != "X").then_some(parent)
}

fn descendants(root: Pid, children: &BTreeMap<i32, Vec<i32>>) -> Vec<Pid> {
    let mut found = vec![root.as_raw_nonzero().get()];
    let mut next = 0;
    while let Some(parent) = found.get(next) {
        found.extend(children.get(parent).into_iter().flatten());
        next += 1;
    }
    found.drain(..1);
    found.into_iter().filter_map(Pid::from_raw).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_look_like_the_fields_behind_it() {
        assert_eq!(parent_in("17 (bash) S 1 17 17 0 -1"), Some(1));
        assert_eq!(parent_in("17 (a) R 5 (b) S 12 17"), Some(12));
        assert_eq!(parent_in("17 (bash) Z 1 17"), None);
        for broken in ["", "17", "17 (bash)", "17 (bash) S", "17 (bash) S x"] {
            assert_eq!(parent_in(broken), None, "{broken}");
        }
    }

    #[test]
    fn all_descendants_are_found_and_nobody_else() {
        let children = BTreeMap::from([(1, vec![2, 7]), (2, vec![3, 4]), (4, vec![5]), (7, vec![8])]);
        let found = |root| descendants(Pid::from_raw(root).unwrap(), &children);
        let pids = |raw: &[i32]| -> Vec<Pid> { raw.iter().map(|pid| Pid::from_raw(*pid).unwrap()).collect() };
        assert_eq!(found(2), pids(&[3, 4, 5]));
        assert_eq!(found(5), []);
        assert_eq!(found(1), pids(&[2, 7, 3, 4, 8, 5]));
    }
}
