//! `exec` and its command on a pod of plain apps, as the shell is specified: one holds `status.lock` for its life, the other
//! `lead.lock` while it may run.

use std::time::Duration;

/// The app's container: `exec`, and the command that it runs where its pod leads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exec {
    /// Counts the runs of `exec`: what was meant for an earlier one is dropped.
    pub(crate) run: u32,
    pub(crate) is_up: bool,
    /// It holds `lead.lock`.
    pub(crate) is_locked: bool,
    /// It has read role.json, and is about to lock (a planted fault).
    pub(crate) is_deciding: bool,
    pub(crate) command: Option<Command>,
    /// The sidecar waits for `lead.lock`: the number of that wait.
    pub(crate) awaited: Option<u64>,
    /// It is to wait for that as soon as role.json stands in its place.
    pub(crate) asked: Option<u64>,
}

/// The command while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) term: u64,
    /// When its leadership ends unless a renewal is read before, on the clock of the pod.
    pub(crate) valid_until: Duration,
    /// It was told to end.
    pub(crate) is_ending: bool,
}
