//! How fast records may go whose time is over.

use crate::history::CHANGE_BYTES;
use leasehold_documents::STEP_RECORDS_MAX;

/// How many steps there may be in a second: what they change takes a tenth of the history for watchers, so that a million
/// records that go at once do not push out everything that somebody has not read yet. At least one: with a history of less
/// than two megabytes a step takes more than that.
pub(super) fn steps_a_second(history_bytes: usize) -> usize {
    (history_bytes / 10 / (STEP_RECORDS_MAX * CHANGE_BYTES)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_expiry_takes_a_tenth_of_the_history() {
        assert_eq!(steps_a_second(16 * 1024 * 1024), 8);
        assert_eq!(steps_a_second(160 * 1024 * 1024), 83);
        assert_eq!(steps_a_second(0), 1);
    }
}
