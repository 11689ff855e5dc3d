//! What goes into the machine.

use crate::claim::Sight;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// `TryEnter` was done: whether `status.lock` is ours.
    Entered(bool),
    /// role.json changed.
    RoleSeen(Sight),
    /// `TryLock` was done: whether `lead.lock` is ours.
    Locked(bool),
    /// `CheckRole` was done: role.json as it was read while `lead.lock` was held.
    RoleChecked(Sight),
    /// CMD could not be started at all; nothing of it runs.
    StartFailed,
    /// CMD ended, with this code (128 and the number, for a signal). Descendants may be left.
    Ended {
        /// The code.
        code: u8,
    },
    /// No descendant is left, CMD included.
    Gone,
    /// A signal arrived that is CMD's, too.
    Signalled {
        /// Its number.
        signal: i32,
        /// True for SIGTERM and SIGINT: the wrapper shall end.
        ends: bool,
    },
    /// The deadline is over, or nothing in particular happened. The first input of all.
    Wake,
}
