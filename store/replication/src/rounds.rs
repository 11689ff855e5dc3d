//! The rounds of a leader's heartbeats, which show since when a majority has followed it.

use std::collections::VecDeque;
use std::time::Duration;

/// How many rounds without a majority's echo are remembered with their start. Later ones serve as well.
const ROUNDS_MAX: usize = 64;

/// A leader's rounds: when those began that a majority has not echoed.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Rounds(VecDeque<(u64, Duration)>);

impl Rounds {
    pub(crate) fn begun(&mut self, round: u64, now: Duration) {
        if self.0.len() < ROUNDS_MAX {
            self.0.push_back((round, now));
        }
    }

    /// When the newest of those that are not above `round` began.
    pub(crate) fn echoed(&mut self, round: u64) -> Option<Duration> {
        let count = self.0.iter().take_while(|(begun, _)| *begun <= round).count();
        self.0.drain(..count).next_back().map(|(_, at)| at)
    }
}
