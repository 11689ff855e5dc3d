//! The places of a port: how many connections it has at a time, and which one makes room for another.
//!
//! ```text
//!   accept ──▶ a place is free? ──yes──▶ served
//!                  │ no: the connection without a request that is silent longest is closed; of those that never asked
//!                  │     anything, the next ones as well
//!                  │     (none has been silent long enough: the new one waits, and so do those behind it in the kernel)
//!                  └──◀── a place became free
//! ```
//!
//! Many connections that never sent a request are a flood, and more of it waits in the kernel's queue, with a client
//! somewhere in between. With one eviction for each, the client would wait for all of those before it, one after the other.
//!
//! Connections that have sent no request yet go first: a client that was served before has shown that it is one. A
//! connection with a request under way is never closed to make room.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::serve::counts::{Closed, Counts, Open};
use crate::serve::limits::Limits;

/// A connection that has sent no request keeps its place until it is this old: it may be about to send one.
const UNASKED_MIN: Duration = Duration::from_millis(100);
/// The same for one that was served before: with less, a client between two requests would lose the second one.
const IDLE_MIN: Duration = Duration::from_secs(1);

/// One of this many places is freed in advance, and at most [`AT_ONCE_MOST`].
const PLACES_FOR_ONE: usize = 64;
const AT_ONCE_MOST: usize = 64;

/// What is known of one connection. Its parts (socket, service, bodies) write it; the part that ends it reads it.
#[derive(Debug)]
pub(crate) struct Seat {
    accepted: Instant,
    /// 0: no request yet; 1: over HTTP/1; 2: over HTTP/2.
    asked: AtomicU8,
    /// Requests whose response was not handed over completely.
    under_way: AtomicUsize,
    /// Milliseconds after `accepted`: since then there has been no request under way.
    quiet_since: AtomicU64,
    /// One more than the milliseconds after `accepted` at which the next request's head began to arrive; 0: it did not.
    head_since: AtomicU64,
    /// What the service left of the request's body. Over HTTP/1 there is one request at a time.
    unread: Mutex<Option<Unread>>,
    /// The client may still send when we close.
    lingers: AtomicBool,
    told: AtomicBool,
    leave: Notify,
}

/// What a service left of a request's body.
#[derive(Debug)]
pub(crate) struct Unread {
    /// None: the client was not asked for it, and may or may not send it.
    pub(crate) body: Option<Incoming>,
}

/// What happens to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may stay; look again then.
    Stay(Instant),
    /// It must close.
    Close(Closed),
}

impl Seat {
    fn new() -> Seat {
        Seat {
            accepted: Instant::now(),
            asked: AtomicU8::new(0),
            under_way: AtomicUsize::new(0),
            quiet_since: AtomicU64::new(0),
            head_since: AtomicU64::new(0),
            unread: Mutex::default(),
            lingers: AtomicBool::new(false),
            told: AtomicBool::new(false),
            leave: Notify::new(),
        }
    }

    fn age(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.accepted).as_millis()).unwrap_or(u64::MAX)
    }

    /// A request has arrived.
    pub(crate) fn begin(self: &Arc<Self>, version: hyper::Version) -> UnderWay {
        self.asked.store(if version == hyper::Version::HTTP_2 { 2 } else { 1 }, Ordering::Relaxed);
        self.head_since.store(0, Ordering::Relaxed);
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(self))
    }

    /// Its own time starts when the handshake is over.
    pub(crate) fn passed_the_door(&self) {
        self.quiet_since.store(self.age(Instant::now()), Ordering::Relaxed);
    }

    /// Bytes arrived.
    pub(crate) fn heard(&self) {
        // Over HTTP/2 they may be about anything.
        if self.is_idle() && self.asked.load(Ordering::Relaxed) == 1 && self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(self.age(Instant::now()) + 1, Ordering::Relaxed);
        }
    }

    pub(crate) fn leave_unread(&self, unread: Unread) {
        *self.unread.lock().unwrap_or_else(PoisonError::into_inner) = Some(unread);
    }

    pub(crate) fn take_unread(&self) -> Option<Unread> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The connection ends with this answer, while the client still sends.
    pub(crate) fn linger(&self) {
        self.lingers.store(true, Ordering::Relaxed);
    }

    pub(crate) fn lingers(&self) -> bool {
        self.lingers.load(Ordering::Relaxed)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn asked_anything(&self) -> bool {
        self.asked.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn is_http2(&self) -> bool {
        self.asked.load(Ordering::Relaxed) == 2
    }

    pub(crate) fn judge(&self, now: Instant, limits: &Limits) -> Verdict {
        let next_look = now + limits.header_max.min(limits.idle_max);
        if !self.is_idle() {
            return Verdict::Stay(next_look);
        }
        let at = |milliseconds: u64| self.accepted + Duration::from_millis(milliseconds);
        let quiet_since = at(self.quiet_since.load(Ordering::Relaxed));
        let head_since = self.head_since.load(Ordering::Relaxed).checked_sub(1).map(at);
        let (why, deadline) = match head_since {
            _ if !self.asked_anything() => (Closed::Silent, quiet_since + limits.header_max),
            Some(begun) => (Closed::Silent, begun + limits.header_max),
            None => (Closed::Idle, quiet_since + limits.idle_max),
        };
        if now >= deadline { Verdict::Close(why) } else { Verdict::Stay(deadline.min(next_look)) }
    }

    /// None: it keeps its place.
    fn readiness(&self, now: Instant) -> Option<Readiness> {
        if !self.is_idle() || self.told.load(Ordering::Relaxed) {
            return None;
        }
        let silent = self.age(now).saturating_sub(self.quiet_since.load(Ordering::Relaxed));
        let never_asked = !self.asked_anything();
        let enough = if never_asked { UNASKED_MIN } else { IDLE_MIN };
        (u128::from(silent) >= enough.as_millis()).then_some(Readiness { never_asked, silent })
    }

    /// Waits until it must make room.
    pub(crate) async fn told_to_leave(&self) {
        self.leave.notified().await;
    }
}

/// How readily a connection gives its place away: the greatest goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Readiness {
    never_asked: bool,
    /// Milliseconds.
    silent: u64,
}

/// Which connections leave so that a new one gets a place: the readiest; if it never sent a request, up to `most` that did
/// not, either. A client that was served before loses its connection only to one that uses its place.
fn who_leaves<T>(mut ready: Vec<(Readiness, T)>, most: usize) -> Vec<T> {
    if let Some(beyond) = ready.len().checked_sub(most).filter(|beyond| *beyond > 0) {
        // Those up to there are less ready than those behind.
        ready.select_nth_unstable_by_key(beyond - 1, |(readiness, _)| *readiness);
        ready.drain(..beyond);
    }
    let Some(readiest) = ready.iter().map(|(readiness, _)| *readiness).max() else { return Vec::new() };
    if readiest.never_asked {
        ready.retain(|(readiness, _)| readiness.never_asked);
    } else {
        let first = ready.iter().position(|(readiness, _)| *readiness == readiest).unwrap_or(0);
        ready.swap(0, first);
        ready.truncate(1);
    }
    ready.into_iter().map(|(_, one)| one).collect()
}

/// A request until its response is handed over.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<Seat>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let seat = &self.0;
        seat.quiet_since.store(seat.age(Instant::now()), Ordering::Relaxed);
        seat.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Places {
    most: usize,
    seats: Mutex<Seats>,
    freed: Notify,
    counts: Arc<Counts>,
    port: &'static str,
}

#[derive(Debug, Default)]
struct Seats {
    all: Vec<Option<Arc<Seat>>>,
    free: Vec<usize>,
}

impl Places {
    pub(crate) fn new(limits: &Limits) -> Arc<Places> {
        Arc::new(Places {
            most: limits.connections_max.max(1),
            seats: Mutex::default(),
            freed: Notify::new(),
            counts: Arc::clone(&limits.counts),
            port: limits.port,
        })
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, if one is free.
    fn try_take(self: &Arc<Self>) -> Option<Place> {
        let mut seats = self.seats();
        let index = match seats.free.pop() {
            Some(index) => index,
            None if seats.all.len() < self.most => {
                seats.all.push(None);
                seats.all.len() - 1
            }
            None => return None,
        };
        let seat = Arc::new(Seat::new());
        seats.all[index] = Some(Arc::clone(&seat));
        Some(Place { places: Arc::clone(self), index, seat, open: Open::new(&self.counts) })
    }

    /// Waits for a place; an idle connection makes room.
    pub(crate) async fn take(self: &Arc<Self>) -> Place {
        /// Until some connection has been silent for long enough.
        const LOOK_AGAIN: Duration = Duration::from_millis(20);
        let mut has_waited = false;
        loop {
            if let Some(place) = self.try_take() {
                return place;
            }
            if !self.make_room(Instant::now()) && !std::mem::replace(&mut has_waited, true) {
                self.counts.note_wait(self.port);
            }
            let _ = tokio::time::timeout(LOOK_AGAIN, self.freed.notified()).await;
        }
    }

    /// Tells the longest silent connection to leave, or several that never sent a request. False: there is none.
    pub(crate) fn make_room(&self, now: Instant) -> bool {
        let at_once = (self.most / PLACES_FOR_ONE).clamp(1, AT_ONCE_MOST);
        let seats = self.seats();
        let ready = seats.all.iter().flatten().filter_map(|seat| Some((seat.readiness(now)?, seat)));
        let leaving = who_leaves(ready.collect(), at_once);
        for seat in &leaving {
            seat.told.store(true, Ordering::Relaxed);
            seat.leave.notify_one();
        }
        !leaving.is_empty()
    }
}

/// One connection's place. It is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    index: usize,
    pub(crate) seat: Arc<Seat>,
    pub(crate) open: Arc<Open>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut seats = self.places.seats();
        seats.all[self.index] = None;
        seats.free.push(self.index);
        drop(seats);
        self.places.freed.notify_one();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use hyper::Version;

    fn limits(connections_max: usize) -> Limits {
        Limits {
            connections_max,
            header_max: Duration::from_secs(15),
            idle_max: Duration::from_secs(600),
            ..Limits::default()
        }
    }

    fn later(time: Duration) -> Instant {
        Instant::now() + time
    }

    #[test]
    fn a_connection_is_closed_when_no_head_comes_and_much_later_when_it_is_merely_idle() {
        let (limits, seat) = (limits(1), Arc::new(Seat::new()));
        assert!(matches!(seat.judge(later(Duration::from_secs(14)), &limits), Verdict::Stay(_)));
        assert_eq!(seat.judge(later(Duration::from_secs(15)), &limits), Verdict::Close(Closed::Silent));
        let first = seat.begin(Version::HTTP_11);
        assert!(matches!(seat.judge(later(Duration::from_secs(9_000)), &limits), Verdict::Stay(_)), "a watch");
        drop(first);
        assert!(matches!(seat.judge(later(Duration::from_secs(599)), &limits), Verdict::Stay(_)));
        assert_eq!(seat.judge(later(Duration::from_secs(601)), &limits), Verdict::Close(Closed::Idle));
        // The next head begins, but does not end.
        seat.heard();
        assert_eq!(seat.judge(later(Duration::from_secs(16)), &limits), Verdict::Close(Closed::Silent));
        drop(seat.begin(Version::HTTP_11));
        assert!(matches!(seat.judge(later(Duration::from_secs(16)), &limits), Verdict::Stay(_)), "it ended");
    }

    #[test]
    fn the_next_look_comes_soon_enough_to_see_a_head_that_begins_meanwhile() {
        let (limits, seat) = (limits(1), Arc::new(Seat::new()));
        drop(seat.begin(Version::HTTP_11));
        let now = Instant::now();
        assert_eq!(seat.judge(now, &limits), Verdict::Stay(now + limits.header_max));
    }

    #[tokio::test]
    async fn who_never_asked_makes_room_before_who_is_idle_and_who_is_busy_never() {
        let places = Places::new(&limits(4));
        let (busy, idle) = (places.take().await, places.take().await);
        let _request = busy.seat.begin(Version::HTTP_11);
        drop(idle.seat.begin(Version::HTTP_11));
        let (older, newer) = (places.take().await, places.take().await);
        newer.seat.quiet_since.store(60_000, Ordering::Relaxed);
        let told = |place: &Place| place.seat.told.load(Ordering::Relaxed);
        assert!(!places.make_room(Instant::now()), "all of them have just come, and may be about to ask something");
        let now = later(Duration::from_millis(60_050));
        for (turn, next) in [&older, &idle].into_iter().enumerate() {
            assert!(places.make_room(now), "{turn}");
            assert!(told(next), "{turn}");
        }
        assert!(!places.make_room(now) && !told(&newer));
        assert!(places.make_room(later(Duration::from_millis(60_150))) && told(&newer));
        assert!(!places.make_room(later(Duration::from_secs(9_000))) && !told(&busy));
    }

    #[test]
    fn of_a_flood_several_leave_at_once_and_of_clients_one() {
        let of = |never_asked: bool, silent: &[u64]| -> Vec<(Readiness, (bool, u64))> {
            silent.iter().map(|silent| (Readiness { never_asked, silent: *silent }, (never_asked, *silent))).collect()
        };
        let leaves = |all: Vec<_>, most| {
            let mut leaves = who_leaves(all, most);
            leaves.sort_unstable();
            leaves
        };
        let flood = || of(true, &[300, 900, 500, 700, 100]);
        assert_eq!(leaves(flood(), 1), [(true, 900)]);
        assert_eq!(leaves(flood(), 3), [(true, 500), (true, 700), (true, 900)]);
        assert_eq!(leaves(flood(), 9).len(), 5);
        let mixed = || [of(false, &[9_000, 8_000]), of(true, &[300, 200])].concat();
        assert_eq!(leaves(mixed(), 3), [(true, 200), (true, 300)], "who was served before stays");
        assert_eq!(leaves(of(false, &[2_000, 9_000, 8_000]), 3), [(false, 9_000)]);
        assert_eq!(leaves(Vec::new(), 3), []);
    }

    #[tokio::test]
    async fn a_flood_makes_room_for_many_with_one_look() {
        let places = Places::new(&limits(640));
        let mut all = Vec::new();
        for _ in 0..640 {
            all.push(places.take().await);
        }
        drop(all[0].seat.begin(Version::HTTP_11));
        let told = || all.iter().filter(|place| place.seat.told.load(Ordering::Relaxed)).count();
        let now = later(Duration::from_secs(60));
        for looks in 1..=64 {
            assert!(places.make_room(now));
            assert_eq!(told(), (10 * looks).min(639));
        }
        assert!(!all[0].seat.told.load(Ordering::Relaxed), "it was served before");
        assert!(places.make_room(now) && all[0].seat.told.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn a_new_connection_waits_while_all_are_busy_and_gets_the_first_place_that_is_free() {
        let limits = limits(1);
        let places = Places::new(&limits);
        let busy = places.take().await;
        let request = busy.seat.begin(Version::HTTP_11);
        let mut second = std::pin::pin!(places.take());
        assert!(tokio::time::timeout(Duration::from_millis(100), second.as_mut()).await.is_err());
        assert_eq!((limits.counts.waits(), limits.counts.open()), (1, 1));
        drop((request, busy));
        second.await;
        assert_eq!(limits.counts.waits(), 1);
    }
}
