//! What the parts of the embedded API share, and how they lock it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::watch;

use super::{fault::Ledger, objects::Objects};

/// What connections, watches and tests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) objects: Mutex<Objects>,
    pub(crate) ledger: Mutex<Ledger>,
    /// Wakes the watches: the newest version, sent again when faults change.
    pub(crate) changed: watch::Sender<u64>,
    pub(crate) started: Instant,
}

impl Shared {
    pub(crate) fn new() -> Shared {
        Shared {
            objects: Mutex::new(Objects::new()),
            ledger: Mutex::default(),
            changed: watch::Sender::new(0),
            started: Instant::now(),
        }
    }
}

/// Locks, even after a panic: no code that holds a lock here can panic and leave the data half changed.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
