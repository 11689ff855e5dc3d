//! What is done, after all defaults.

use std::time::Duration;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) apps: usize,
    pub(super) members: usize,
    /// For how long nothing happens while that is measured.
    pub(super) window: Duration,
    /// For how long things calm down before.
    pub(super) warm_up: Duration,
}
