//! Whether the disk hangs, for the state machine: measured on the journal's own writes.
//!
//! A late check proves nothing: this process was stopped, or had no processor, and so was the journal's thread, which may
//! have its answer without being able to say so. After such a gap a call gets its whole time again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::volume::disk::watch::{DiskWatch, UnderWay};

/// The number of checks in the time that a call may take.
const LOOKS: u32 = 20;
const LOOK_LEAST: Duration = Duration::from_millis(10);
const LOOK_MOST: Duration = Duration::from_millis(250);

/// See the module.
pub(super) struct Stall {
    watch: Arc<DiskWatch>,
    looked_at: Instant,
    /// No call counts as having begun before this.
    awake_since: Instant,
    /// The hung call.
    hangs: Option<UnderWay>,
    /// Nothing more may be appended while it does, as last reported.
    is_full: bool,
}

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Same,
    Begun(UnderWay),
    Over(UnderWay),
}

impl Stall {
    pub(super) fn new(watch: Arc<DiskWatch>) -> Stall {
        let now = Instant::now();
        Stall { watch, looked_at: now, awake_since: now, hangs: None, is_full: false }
    }

    /// The time between two checks.
    pub(super) fn pause(bound: Duration) -> Duration {
        (bound / LOOKS).clamp(LOOK_LEAST, LOOK_MOST)
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.hangs.is_some()
    }

    /// Whether more may be appended during a stall, if that is news. Outside of a stall nobody needs to know.
    pub(super) fn fullness(&mut self, has_room: bool) -> Option<bool> {
        let is_full = self.is_stalled() && !has_room;
        let is_news = self.is_stalled() && is_full != std::mem::replace(&mut self.is_full, is_full);
        is_news.then_some(is_full)
    }

    /// Checks. The events of the journal must have been handled before.
    pub(super) fn look(&mut self, now: Instant) -> Look {
        let gap = now.saturating_duration_since(self.looked_at);
        self.looked_at = now;
        if gap > self.watch.bound() / 2 {
            self.awake_since = now;
        }
        let under_way = self.watch.under_way();
        match (&self.hangs, under_way) {
            (Some(hung), Some(call)) if call.number == hung.number => Look::Same,
            (Some(_), _) => {
                self.is_full = false;
                self.hangs.take().map_or(Look::Same, Look::Over)
            }
            (None, Some(call)) => {
                let since = call.since.max(self.awake_since);
                if now.saturating_duration_since(since) < self.watch.bound() {
                    return Look::Same;
                }
                self.hangs = Some(call.clone());
                Look::Begun(call)
            }
            (None, None) => Look::Same,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A watch with a call under way on a waiting thread, and what ends it.
    fn hung(bound: Duration) -> (Arc<DiskWatch>, std::sync::mpsc::Sender<()>, std::thread::JoinHandle<()>) {
        let watch = Arc::new(DiskWatch::new(bound));
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let (begun, is_under_way) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn({
            let watch = watch.clone();
            move || {
                watch.watch_this_thread();
                watch.during(
                    "fdatasync",
                    || "/data/x".into(),
                    || {
                        drop(begun);
                        let _ = ended.recv();
                    },
                );
            }
        });
        let _ = is_under_way.recv(); // fails when it is dropped, which is the signal
        (watch, end, thread)
    }

    #[test]
    fn a_call_hangs_after_the_bound_and_until_it_comes_back() {
        let bound = Duration::from_secs(2);
        let (watch, end, thread) = hung(bound);
        let mut stall = Stall::new(watch);
        let mut now = stall.looked_at;
        let since = stall.watch.under_way().map(|call| call.since);
        loop {
            now += Stall::pause(bound);
            match stall.look(now) {
                Look::Same => assert!(Some(now) < since.map(|since| since + bound + Stall::pause(bound))),
                Look::Begun(call) => break assert_eq!(call.to_string(), "fdatasync of /data/x"),
                Look::Over(call) => unreachable!("{call} came back"),
            }
        }
        assert!(Some(now) >= since.map(|since| since + bound) && stall.is_stalled());
        assert_eq!(stall.look(now + Stall::pause(bound)), Look::Same);
        let told: Vec<_> = [true, false, false, true, false].map(|has_room| stall.fullness(has_room)).to_vec();
        assert_eq!(told, [None, Some(true), None, Some(false), Some(true)], "only what changed");
        drop(end);
        thread.join().expect("it ends");
        assert!(matches!(stall.look(now + Stall::pause(bound) * 2), Look::Over(_)));
        assert!(!stall.is_stalled());
        assert_eq!(stall.fullness(false), None, "no stall, no news");
    }

    #[test]
    fn a_process_that_was_stopped_gives_the_disk_its_time_once_more() {
        let bound = Duration::from_secs(2);
        let (watch, end, thread) = hung(bound);
        let mut stall = Stall::new(watch);
        let mut now = stall.looked_at + Duration::from_secs(60);
        assert_eq!(stall.look(now), Look::Same, "after a minute without a look");
        let until = now + bound;
        while now + Stall::pause(bound) < until {
            now += Stall::pause(bound);
            assert_eq!(stall.look(now), Look::Same);
        }
        assert!(matches!(stall.look(until), Look::Begun(_)));
        drop(end);
        thread.join().expect("it ends");
    }
}
