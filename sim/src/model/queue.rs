//! Everything that is going to happen, in order: by time, and first in, first out.
//!
//! Times are whole microseconds. An event that is postponed, because a process is frozen or a disk hangs, gets half a
//! microsecond more: it precedes everything of a later moment, and is recognisable.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// A queue of events.
#[derive(Clone, Debug)]
pub(crate) struct Queue<E> {
    heap: BinaryHeap<Reverse<Scheduled<E>>>,
    /// Counts the insertions.
    order: u64,
}

impl<E> Queue<E> {
    pub(crate) fn new() -> Queue<E> {
        Queue { heap: BinaryHeap::new(), order: 0 }
    }

    /// It happens at this moment.
    pub(crate) fn schedule(&mut self, at: Duration, event: E) {
        self.push(microseconds(at), event);
    }

    /// It happens when its obstacle is over, or it is brought forward.
    pub(crate) fn put_off(&mut self, until: Duration, event: E) {
        self.push(microseconds(until) + Duration::from_nanos(500), event);
    }

    /// The next event, if it happens until then.
    pub(crate) fn pop(&mut self, until: Duration) -> Option<(Duration, E)> {
        let Reverse(next) = self.heap.peek()?;
        if next.at > until {
            return None;
        }
        let Reverse(Scheduled { at, event, .. }) = self.heap.pop()?;
        Some((at, event))
    }

    /// Postponed events happen now: nothing holds them up.
    pub(crate) fn bring_forward(&mut self, now: Duration) {
        let mut events: Vec<_> = std::mem::take(&mut self.heap).into_iter().map(|Reverse(event)| event).collect();
        events.sort_unstable();
        for mut event in events {
            if event.at.subsec_nanos() % 1000 != 0 {
                event.at = now;
            }
            self.heap.push(Reverse(event));
        }
    }

    fn push(&mut self, at: Duration, event: E) {
        self.order += 1;
        self.heap.push(Reverse(Scheduled { at, order: self.order, event }));
    }
}

fn microseconds(at: Duration) -> Duration {
    Duration::from_micros(at.as_nanos().div_ceil(1000) as u64)
}

#[derive(Clone, Debug)]
struct Scheduled<E> {
    at: Duration,
    order: u64,
    event: E,
}

impl<E> PartialEq for Scheduled<E> {
    fn eq(&self, other: &Scheduled<E>) -> bool {
        self.order == other.order
    }
}
impl<E> Eq for Scheduled<E> {}
impl<E> PartialOrd for Scheduled<E> {
    fn partial_cmp(&self, other: &Scheduled<E>) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<E> Ord for Scheduled<E> {
    fn cmp(&self, other: &Scheduled<E>) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
