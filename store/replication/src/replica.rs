//! The replica.

use crate::{Config, Effect, Input, Recovered, Status};
use std::time::Duration;

/// One replica of the log: promises, follows, leads.
#[derive(Clone, Debug)]
pub struct Replica {
    config: Config,
    recovered: Recovered,
}

impl Replica {
    /// A replica as it was found on its volume.
    pub fn new(config: Config, recovered: Recovered) -> Replica {
        Replica { config, recovered }
    }
    /// Takes one input at `now` (monotonic, since any fixed moment) and says what is to be done, in order.
    pub fn step(&mut self, _now: Duration, _input: Input) -> Vec<Effect> {
        let _ = (&self.config, &self.recovered);
        Vec::new()
    }
    /// When to step with [`Input::Wake`] if nothing else happens first.
    pub fn deadline(&self) -> Option<Duration> {
        None
    }
    /// What the replica says of itself.
    pub fn status(&self) -> Status {
        unimplemented!("being written")
    }
}
