//! The time of a step: given with each input, and the same for all that the step does.

use std::time::Duration;

/// See the module.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(crate) struct Clock {
    now: Duration,
    /// None: no step has begun yet.
    began: Option<Duration>,
}

impl Clock {
    /// A step begins. An earlier time than the last one counts as that. True: it is the first step.
    pub(crate) fn advance(&mut self, now: Duration) -> bool {
        self.now = self.now.max(now);
        let is_first = self.began.is_none();
        self.began.get_or_insert(self.now);
        is_first
    }

    /// The time of the present step.
    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    /// The time of the first step.
    pub(crate) fn began(&self) -> Duration {
        self.began.unwrap_or(self.now)
    }
}
