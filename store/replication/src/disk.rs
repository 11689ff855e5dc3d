//! What is known of this replica's own disk, and what its hanging has led to.

use std::time::Duration;

/// What the shell reports of the disk.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(crate) struct Disk {
    pub(crate) hangs: bool,
    /// The journal accepts nothing more.
    pub(crate) full: bool,
    /// When a disk that hung counts as sound again.
    pub(crate) doubted_until: Option<Duration>,
    /// The replica dropped something that the leader sent.
    pub(crate) missed: bool,
}

impl Disk {
    pub(crate) fn hangs(&self) -> bool {
        self.hangs
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    pub(crate) fn missed(&mut self) {
        self.missed = true;
    }
}

/// What a leader does about its hung disk.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(crate) struct Stall {
    /// Since when it has hung while the others can do without this leader.
    pub(crate) dispensable_since: Option<Duration>,
}
