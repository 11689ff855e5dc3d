//! What the answers are built from.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::clock;
use crate::control::Control;
use crate::state::State;
use crate::telemetry::Metrics;

/// Programs of the pod, and a few around it. One more gets 503.
pub(super) const WATCHERS_MAX: usize = 64;

/// When the election last turned, in nanoseconds of the boot clock.
#[derive(Clone, Debug)]
pub(crate) struct Heartbeat(pub(super) Arc<AtomicU64>);

impl Heartbeat {
    pub(crate) fn new() -> Heartbeat {
        Heartbeat(Arc::new(AtomicU64::new(clock::boottime_ns())))
    }

    pub(crate) fn beat(&self) {
        self.0.store(clock::boottime_ns(), Ordering::Relaxed);
    }

    /// The time since the last beat.
    pub(crate) fn age(&self) -> Duration {
        Duration::from_nanos(clock::boottime_ns().saturating_sub(self.0.load(Ordering::Relaxed)))
    }
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) state: watch::Receiver<State>,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) metrics: Metrics,
    /// None: nobody may ask for anything here, as the app fences itself, or shares no directory.
    pub(crate) control: Option<Control>,
    /// The places of watchers.
    pub(super) watchers: Arc<Semaphore>,
}

impl Sources {
    pub(crate) fn new(
        state: watch::Receiver<State>,
        heartbeat: Heartbeat,
        metrics: Metrics,
        control: Option<Control>,
    ) -> Sources {
        Sources { state, heartbeat, metrics, control, watchers: Arc::new(Semaphore::new(WATCHERS_MAX)) }
    }
}
