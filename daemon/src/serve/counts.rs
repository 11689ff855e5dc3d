//! What a port counts, and what it says about that: one line at most every ten seconds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

/// How often a port says what it closed.
const SAID_PAUSE: Duration = Duration::from_secs(10);

/// Why a connection was closed by this end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// No whole head of a request, or no handshake, in time.
    Silent,
    /// Nothing was asked for a long time. That is usual.
    Idle,
    /// A response was not taken.
    Stalled,
    /// It was the longest silent one when there was no place for a new one.
    Room,
    /// It spoke neither HTTP nor what must come before.
    Refused,
}

impl Closed {
    /// All of them.
    pub const ALL: [Closed; 5] = [Closed::Silent, Closed::Idle, Closed::Stalled, Closed::Room, Closed::Refused];

    /// For a metric's label.
    pub fn word(self) -> &'static str {
        match self {
            Closed::Silent => "silent",
            Closed::Idle => "idle",
            Closed::Stalled => "stalled",
            Closed::Room => "room",
            Closed::Refused => "refused",
        }
    }
}

/// The connections of one port.
#[derive(Debug, Default)]
pub struct Counts {
    open: AtomicU64,
    closed: [AtomicU64; Closed::ALL.len()],
    waits: AtomicU64,
    said: Mutex<Option<Said>>,
}

/// One open connection. It is counted until the last part that holds this is gone: of one that was upgraded, the socket.
#[derive(Debug)]
pub(crate) struct Open(Arc<Counts>);

impl Open {
    pub(crate) fn new(counts: &Arc<Counts>) -> Arc<Open> {
        counts.open.fetch_add(1, Ordering::Relaxed);
        Arc::new(Open(Arc::clone(counts)))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// When something was said last, and what had been counted by then.
#[derive(Clone, Copy, Debug)]
struct Said {
    at: Instant,
    closed: [u64; Closed::ALL.len()],
    waits: u64,
}

impl Counts {
    /// Connections that are open, also those that were upgraded.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections, or streams of HTTP/2, that were closed for this reason.
    pub fn closed(&self, why: Closed) -> u64 {
        self.closed[why as usize].load(Ordering::Relaxed)
    }

    /// How often a connection had to wait because all others were busy.
    pub fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }

    pub(crate) fn note(&self, port: &'static str, why: Closed) {
        self.closed[why as usize].fetch_add(1, Ordering::Relaxed);
        // Refusals have words of their own, where they are decided.
        if !matches!(why, Closed::Idle | Closed::Refused) {
            self.say(port);
        }
    }

    pub(crate) fn note_wait(&self, port: &'static str) {
        self.waits.fetch_add(1, Ordering::Relaxed);
        self.say(port);
    }

    fn say(&self, port: &'static str) {
        let now = Instant::now();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_some_and(|said| now.duration_since(said.at) < SAID_PAUSE) {
            return;
        }
        let closed = Closed::ALL.map(|why| self.closed(why));
        let before = said.replace(Said { at: now, closed, waits: self.waits() });
        let since = |why: Closed| closed[why as usize] - before.map_or(0, |before| before.closed[why as usize]);
        let waits = self.waits() - before.map_or(0, |before| before.waits);
        drop(said);
        warn!(
            port,
            open = self.open(),
            silent = since(Closed::Silent),
            stalled = since(Closed::Stalled),
            room = since(Closed::Room),
            waits,
            "connections were closed (silent: no request in time; stalled: a response was not read; room: idle when a new \
             one needed its place) or had to wait"
        );
    }
}
