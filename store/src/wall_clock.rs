//! The time of day: for people, and for times of expiry. Nothing that is applied depends on it.

use std::time::{SystemTime, UNIX_EPOCH};

/// In milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
