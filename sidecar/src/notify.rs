//! `--notify`: a POST to one URL whenever the role, the term or the leader changes.
//!
//! ```text
//!   State ──▶ Outbox: is it news? ──POST, 2 s at most──▶ 2xx: delivered
//!                ▲                                   └─▶ else: again after a pause that grows, or when there is news
//!                └── only the newest is ever sent; what it replaces is dropped, and counted
//! ```
//!
//! One request is under way at a time, so an older notice never follows a newer one. One whose time is over may still reach
//! its target: a target compares terms, and generations within one run.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::client::{HttpUrl, Question};
use crate::notice::Notice;
use crate::state::State;
use crate::telemetry::Metrics;

/// How long the target may take for one notice.
const TIME_MAX: Duration = Duration::from_secs(2);
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What was delivered, and what failed.
#[derive(Debug, Default)]
struct Outbox {
    delivered: Option<Notice>,
    failing: Option<Failing>,
}

/// What was tried last.
#[derive(Debug)]
struct Failing {
    notice: Notice,
    /// How often in a row.
    times: u32,
    again: Instant,
}

impl Outbox {
    /// When to send the newest notice. None: the target has it.
    fn due(&self, newest: &Notice, now: Instant) -> Option<Instant> {
        match &self.failing {
            Some(failing) if failing.notice.is_as(newest) => Some(failing.again),
            // What failed may have arrived nevertheless: then the target must hear that it is over.
            Some(_) => Some(now),
            None => (!self.delivered.as_ref().is_some_and(|delivered| delivered.is_as(newest))).then_some(now),
        }
    }

    /// Another notice takes the place of one that could not be delivered.
    fn replaces(&self, newest: &Notice) -> bool {
        self.failing.as_ref().is_some_and(|failing| !failing.notice.is_as(newest))
    }

    fn delivered(&mut self, notice: Notice) {
        *self = Outbox { delivered: Some(notice), failing: None };
    }

    fn failed(&mut self, notice: Notice, now: Instant) {
        let before = self.failing.take().filter(|failing| failing.notice.is_as(&notice));
        let times = before.map_or(0, |failing| failing.times).saturating_add(1);
        self.failing = Some(Failing { notice, times, again: now + pause(times) });
    }
}

fn pause(times: u32) -> Duration {
    PAUSE_FIRST.saturating_mul(1 << times.saturating_sub(1).min(8)).min(PAUSE_MAX)
}

/// Runs until the election has ended, and its last word was tried once.
pub(crate) async fn run(url: HttpUrl, mut states: watch::Receiver<State>, metrics: Metrics) {
    let mut outbox = Outbox::default();
    let (mut is_warned, mut is_closed) = (false, false);
    loop {
        let newest = Notice::of(&states.borrow_and_update());
        let due = newest.as_ref().and_then(|newest| outbox.due(newest, Instant::now()));
        let Some(notice) = newest.filter(|_| due.is_some_and(|due| due <= Instant::now())) else {
            if is_closed {
                return;
            }
            tokio::select! {
                changed = states.changed() => is_closed = changed.is_err(),
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            continue;
        };
        if outbox.replaces(&notice) {
            metrics.notified("replaced");
        }
        match send(&url, &notice).await {
            Ok(()) => {
                metrics.notified("delivered");
                if std::mem::take(&mut is_warned) {
                    info!(%url, "notified of the role again");
                }
                outbox.delivered(notice);
            }
            Err(reason) => {
                metrics.notified("failed");
                if !std::mem::replace(&mut is_warned, true) {
                    warn!(%url, %reason, "cannot notify of the role; trying again, with growing pauses");
                }
                outbox.failed(notice, Instant::now());
            }
        }
    }
}

async fn send(url: &HttpUrl, notice: &Notice) -> Result<(), String> {
    match Question::post_json(notice).ask(url, TIME_MAX, 0).await {
        Ok(answer) if answer.is_success() => Ok(()),
        Ok(answer) => Err(format!("status {}", answer.status)),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::notice::tests::{following, leading};

    fn notice(state: &State) -> Notice {
        Notice::of(state).unwrap()
    }

    #[test]
    fn pauses_grow_and_stay_bounded() {
        assert_eq!((pause(1), pause(2), pause(3)), (PAUSE_FIRST, PAUSE_FIRST * 2, PAUSE_FIRST * 4));
        assert_eq!((pause(20), pause(u32::MAX)), (PAUSE_MAX, PAUSE_MAX));
    }

    #[test]
    fn what_is_delivered_rests_until_there_is_news_and_a_renewal_is_none() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        let first = notice(&leading(5, 1, 10));
        assert_eq!(outbox.due(&first, now), Some(now));
        outbox.delivered(first);
        assert_eq!(outbox.due(&notice(&leading(5, 2, 15)), now), None);
        assert_eq!(outbox.due(&notice(&following(6, 3)), now), Some(now));
    }

    #[test]
    fn a_failure_waits_and_news_replaces_it_at_once() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        let first = notice(&leading(5, 1, 10));
        outbox.failed(first.clone(), now);
        assert_eq!(outbox.due(&first, now), Some(now + PAUSE_FIRST));
        outbox.failed(notice(&leading(5, 2, 15)), now);
        assert_eq!(outbox.due(&first, now), Some(now + PAUSE_FIRST * 2), "a renewal is the same notice");
        let news = notice(&following(6, 3));
        assert!(outbox.replaces(&news) && !outbox.replaces(&first));
        assert_eq!(outbox.due(&news, now), Some(now));
        outbox.failed(news.clone(), now);
        assert_eq!(outbox.due(&news, now), Some(now + PAUSE_FIRST), "its pauses begin anew");
    }

    /// The target may have got what it did not acknowledge.
    #[test]
    fn what_was_delivered_before_a_failure_is_sent_again_when_it_is_true_again() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        let (first, news) = (notice(&leading(5, 1, 10)), notice(&following(5, 2)));
        outbox.delivered(first);
        outbox.failed(news, now);
        assert_eq!(outbox.due(&notice(&leading(5, 3, 10)), now), Some(now));
    }
}
