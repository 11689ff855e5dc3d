//! What is known of the own disk, and what its hanging has led to.

use std::time::Duration;

/// What the shell says of the disk.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(crate) struct Disk {
    pub(crate) hangs: bool,
    /// Nothing more is taken by the journal.
    pub(crate) full: bool,
    /// When it counts as sound again, after it hung.
    pub(crate) doubted_until: Option<Duration>,
    /// Something that the leader sent was not taken.
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

/// What a leader's hung disk has led to.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(crate) struct Stall {
    /// Since when it hangs while the others can do without this leader.
    pub(crate) dispensable_since: Option<Duration>,
    /// See [`stall`](crate::stall).
    pub(crate) silent: bool,
}
