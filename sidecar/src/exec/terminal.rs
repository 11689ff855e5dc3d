//! The terminal of `kubectl run -it`, if there is one: CMD's process group becomes its foreground, so that Ctrl-C, Ctrl-Z and
//! reads are CMD's.
//!
//! Only who is in the foreground may give it away: `exec` to the guard's group, and the guard back to that of `exec`.

use std::io::IsTerminal as _;
use std::time::Duration;

use rustix::process::{Pid, getpgid, getpgrp};
use rustix::termios::{tcgetpgrp, tcsetpgrp};

/// How long the guard waits for the foreground. A job in the background never gets it.
const PATIENCE: Duration = Duration::from_millis(100);
const STEP: Duration = Duration::from_millis(2);

/// Whether standard input is a terminal whose foreground is this process's group.
fn is_foreground() -> bool {
    let stdin = std::io::stdin();
    stdin.is_terminal() && tcgetpgrp(&stdin).is_ok_and(|group| group == getpgrp())
}

/// Gives the foreground to that group, if it is ours. A failure is no reason to end: CMD just is in the background.
pub(super) fn give_to(group: Pid) {
    if is_foreground() {
        let _ = tcsetpgrp(std::io::stdin(), group);
    }
}

/// Gives it back to the group of that process. The group is asked for only then: where it is one of another PID namespace, it
/// has no number, and rustix does not expect that; but such a group never had a foreground to give.
pub(super) fn give_back_to(process: Pid) {
    if is_foreground()
        && let Ok(group) = getpgid(Some(process))
    {
        give_to(group);
    }
}

/// Waits until this process's group has the foreground: CMD would be stopped by its first read.
pub(super) async fn wait_for_foreground() {
    let mut left = PATIENCE;
    while std::io::stdin().is_terminal() && !is_foreground() && !left.is_zero() {
        tokio::time::sleep(STEP).await;
        left = left.saturating_sub(STEP);
    }
}
