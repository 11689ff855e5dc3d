//! How long there was no leader, as this pod saw it: `leasehold_failover_seconds`.
//!
//! ```text
//!   a fencing app   from: its app no longer hears a leader (a dead one: at once; a silent one: the lost-time after its last word)
//!                   to:   its app follows the next leader, or leads
//!   a plain app     from: the last write of the Lease by the leader before (a renewal; letting go is one)
//!                   to:   the next leader is known
//! ```
//!
//! One value for each change of leadership that this pod lived through. A hand-over without a gap counts as zero. Not
//! counted: the first leader that is known after a start, and a leader that returns in its own term.

use std::time::Duration;

use leasehold_election::{AppState, AppStatus, Body, Term};
use uuid::Uuid;

/// What is known about it.
#[derive(Debug, Default)]
pub(crate) struct Failover {
    /// The leader that worked last, by term.
    known: Option<Term>,
    /// Since when none has worked.
    lost: Option<Duration>,
    /// The run of the app that reported it: another run starts over.
    incarnation: Option<Uuid>,
    /// The holder of the Lease, and when it last wrote it (plain apps).
    holder: Option<(String, Duration)>,
}

impl Failover {
    /// A fencing app reported. Some: the next leader works, after this time.
    pub(crate) fn app_seen(&mut self, now: Duration, app: &AppStatus) -> Option<Duration> {
        if self.incarnation != Some(app.incarnation) {
            *self = Failover { incarnation: Some(app.incarnation), ..Failover::default() };
        }
        let works =
            app.leader_heard && !matches!(app.state, AppState::Starting | AppState::Recovering | AppState::Failed);
        let term = app.following.as_ref().filter(|_| works).map(|claim| claim.term);
        let Some(term) = term else {
            self.lost = self.lost.or(self.known.map(|_| now));
            return None;
        };
        let lost = self.lost.take();
        match self.known.replace(term) {
            Some(before) if before != term => Some(lost.map_or(Duration::ZERO, |lost| now.saturating_sub(lost))),
            Some(_) | None => None,
        }
    }

    /// (plain apps) A pod wrote the Lease.
    pub(crate) fn lease_seen(&mut self, now: Duration, duration: Duration, lease: &Body) {
        let Some((holder, wrote)) = &mut self.holder else {
            self.holder = lease.holder.clone().map(|holder| (holder, now));
            return;
        };
        match &lease.holder {
            Some(new) if new != holder => {
                // This pod knows its own write before the watch shows it.
                if self.known < Some(lease.term) {
                    // A holder that still held it named the next one itself; an expired Lease was taken away.
                    let handed_over = now.saturating_sub(*wrote) < duration;
                    self.lost.get_or_insert(if handed_over { now } else { *wrote });
                }
                self.holder = Some((new.clone(), now));
            }
            Some(_) => {
                self.lost = None;
                *wrote = now;
            }
            // The holder itself let go.
            None => {
                self.lost.get_or_insert(now);
            }
        }
    }

    /// (plain apps) The next leader is known. Some: after this time.
    pub(crate) fn leader_known(&mut self, now: Duration, duration: Duration, term: Term) -> Option<Duration> {
        let expired =
            self.holder.as_ref().map(|(_, wrote)| *wrote).filter(|wrote| now.saturating_sub(*wrote) >= duration);
        let lost = self.lost.take().or(expired);
        match self.known.replace(term) {
            Some(before) if before != term => Some(lost.map_or(Duration::ZERO, |lost| now.saturating_sub(lost))),
            Some(_) | None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leasehold_election::{Claim, Promise};
    use std::collections::BTreeMap;

    fn app(term: u64, heard: bool, state: AppState) -> AppStatus {
        let incarnation = Uuid::from_u128(1);
        let claim = Claim { term: Term(term), incarnation, name: "db-0".into(), peer_address: "a:1".into() };
        AppStatus {
            incarnation,
            cluster_id: None,
            state,
            promised: Promise::default(),
            following: Some(claim),
            leader_heard: heard,
            campaign: None,
            rank: 0,
            need_term: None,
            hand_over: None,
            eligible: true,
            bootstrapping: false,
        }
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn from_the_loss_to_the_next_leader_and_not_from_the_last_news() {
        let mut failover = Failover::default();
        assert_eq!(failover.app_seen(ms(0), &app(3, true, AppState::Follower)), None, "the first leader");
        // An hour of silence in the file is no outage.
        let hour = 3_600_000;
        assert_eq!(failover.app_seen(ms(hour), &app(3, false, AppState::Follower)), None);
        assert_eq!(failover.app_seen(ms(hour + 40), &app(4, true, AppState::Recovering)), None, "it does not work yet");
        assert_eq!(failover.app_seen(ms(hour + 70), &app(4, true, AppState::Leading)), Some(ms(70)));
        assert_eq!(failover.app_seen(ms(hour + 90), &app(4, true, AppState::Leading)), None, "once");
    }

    #[test]
    fn a_leader_that_comes_back_is_no_change_and_a_hand_over_without_a_gap_is_zero() {
        let mut failover = Failover::default();
        for (at, term, heard, expected) in
            [(0, 3, true, None), (10, 3, false, None), (20, 3, true, None), (30, 4, true, Some(ms(0)))]
        {
            assert_eq!(failover.app_seen(ms(at), &app(term, heard, AppState::Follower)), expected, "{at}");
        }
    }

    #[test]
    fn a_restarted_app_begins_anew() {
        let mut failover = Failover::default();
        failover.app_seen(ms(0), &app(3, true, AppState::Leading));
        let again = AppStatus { incarnation: Uuid::from_u128(2), ..app(4, true, AppState::Follower) };
        assert_eq!(failover.app_seen(ms(500), &again), None);
    }

    fn lease(holder: Option<&str>) -> Body {
        Body {
            holder: holder.map(str::to_owned),
            term: Term(2),
            duration_seconds: Some(15),
            annotations: BTreeMap::new(),
        }
    }

    #[test]
    fn plain_apps_count_from_the_last_write_of_the_leader_before() {
        let duration = ms(15_000);
        let run = |writes: &[(u64, Option<&str>)]| {
            let mut failover = Failover::default();
            failover.leader_known(ms(0), duration, Term(1));
            for (at, holder) in writes {
                failover.lease_seen(ms(*at), duration, &lease(*holder));
            }
            let at = writes.last().map_or(0, |last| last.0);
            failover.leader_known(ms(at), duration, Term(2))
        };
        assert_eq!(run(&[(0, Some("a")), (5000, Some("a")), (20_500, Some("b"))]), Some(ms(15_500)), "it ran out");
        assert_eq!(run(&[(0, Some("a")), (5000, None), (5300, Some("b"))]), Some(ms(300)), "let go of");
        assert_eq!(run(&[(0, Some("a")), (4000, Some("b"))]), Some(ms(0)), "handed over");

        // This pod took it itself, and sees its own write afterwards.
        let mut failover = Failover::default();
        failover.leader_known(ms(0), duration, Term(1));
        failover.lease_seen(ms(0), duration, &lease(Some("a")));
        assert_eq!(failover.leader_known(ms(15_200), duration, Term(2)), Some(ms(15_200)));
        failover.lease_seen(ms(15_210), duration, &lease(Some("b")));
        failover.lease_seen(ms(18_000), duration, &Body { term: Term(3), ..lease(Some("c")) });
        assert_eq!(failover.leader_known(ms(18_010), duration, Term(3)), Some(ms(10)));
    }
}
