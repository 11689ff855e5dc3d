//! What a port counts and logs: at most one line every ten seconds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

/// How often a port logs what it closed.
const SAID_PAUSE: Duration = Duration::from_secs(10);

/// Why a connection was closed by this end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// No complete request head, or no handshake, in time.
    Silent,
    /// It sent no request for a long time. That is usual.
    Idle,
    /// The client did not read a response.
    Stalled,
    /// It had been silent longest when a new one needed a place.
    Room,
    /// It spoke neither HTTP nor what must precede it.
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

/// One open connection. It counts until the last part that holds this is gone: for an upgraded one, the socket.
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

/// The time of the last log line, and the counts then.
#[derive(Clone, Copy, Debug)]
struct Said {
    at: Instant,
    closed: [u64; Closed::ALL.len()],
    waits: u64,
}

impl Counts {
    /// Open connections, including upgraded ones.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections, or HTTP/2 streams, that were closed for this reason.
    pub fn closed(&self, why: Closed) -> u64 {
        self.closed[why as usize].load(Ordering::Relaxed)
    }

    /// How often a connection had to wait because all others were busy.
    pub fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }

    pub(crate) fn note(&self, port: &'static str, why: Closed) {
        self.closed[why as usize].fetch_add(1, Ordering::Relaxed);
        // Refusals are logged where they are decided.
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
