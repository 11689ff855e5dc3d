//! What the data say that is about no collection.

use crate::sums;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The highest time of all commands, in milliseconds since 1970. For people: nothing is decided by it.
    pub(crate) time_ms: u64,
    /// Nothing expires.
    pub(crate) expiry_paused: bool,
    /// The file of definitions that was applied last.
    pub(crate) file: Option<u128>,
}

impl Settings {
    pub(crate) fn note_time(&mut self, time_ms: u64) {
        self.time_ms = self.time_ms.max(time_ms);
    }

    pub(crate) fn sum(&self) -> u128 {
        let time = if self.time_ms > 0 { sums::of_time(self.time_ms) } else { 0 };
        let paused = if self.expiry_paused { sums::of_pause() } else { 0 };
        time.wrapping_add(paused).wrapping_add(self.file.map_or(0, sums::of_file))
    }
}
