//! What the data say that is about no collection.

use crate::{Documents, sums};

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

impl Documents {
    /// The highest time of all commands, by the clocks of their leaders, in milliseconds since 1970; 0 before format 2.
    pub fn time_ms(&self) -> u64 {
        self.settings.time_ms
    }

    /// Nothing expires until somebody ends the pause.
    pub fn expiry_paused(&self) -> bool {
        self.settings.expiry_paused
    }

    /// The hash of the file of definitions that was applied last.
    pub fn noted_file(&self) -> Option<u128> {
        self.settings.file
    }
}
