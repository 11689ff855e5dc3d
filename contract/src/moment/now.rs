//! Reads the clock, and asks the kernel for the present boot.

use std::fs;
use std::sync::OnceLock;

use rustix::time::{ClockId, clock_gettime};
use uuid::Uuid;

use super::Moment;

/// Where Linux publishes the id of the present boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

impl Moment {
    /// This moment.
    pub fn now() -> Moment {
        let time = clock_gettime(ClockId::Boottime);
        // The kernel never gives negative numbers for this clock.
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
        Moment { boot_id: boot_id(), boottime_ns: seconds.saturating_mul(1_000_000_000).saturating_add(nanos) }
    }
}

/// The boot of this process, read once: no process outlives its boot.
fn boot_id() -> Option<Uuid> {
    static FOUND: OnceLock<Option<Uuid>> = OnceLock::new();
    *FOUND.get_or_init(|| fs::read_to_string(BOOT_ID).ok().and_then(|text| Uuid::parse_str(text.trim()).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_one_process_are_of_one_boot_and_go_forward() {
        let first = Moment::now();
        let second = Moment::now();
        assert!(first.boot_id.is_some(), "{BOOT_ID} cannot be read");
        assert_eq!(first.boot_id, second.boot_id);
        assert!(first.boottime_ns > 0 && second.boottime_ns >= first.boottime_ns, "{first:?}, {second:?}");
    }
}
