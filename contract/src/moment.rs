//! The clock for checking a claim in `role.json`: `CLOCK_BOOTTIME`, and the boot that it counts from.
//!
//! The clock restarts at 0 when the machine restarts. An `emptyDir` on disk survives that, and so does a `role.json` that
//! says `leader` until a moment which, on the new clock, is days ahead. So the time alone proves nothing.

#[cfg(feature = "files")]
mod now;

use uuid::Uuid;

/// A moment on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Its boot: the content of `/proc/sys/kernel/random/boot_id`. None: the system does not say.
    pub boot_id: Option<Uuid>,
    /// Nanoseconds of `CLOCK_BOOTTIME`, which also counts while the machine sleeps.
    pub boottime_ns: u64,
}
