//! Rule 5: leading without the Lease, while the API server does not answer.

use std::time::Duration;

use uuid::Uuid;

use crate::counts::Standing;
use crate::election::Election;
use crate::event::Event;
use crate::lease::Term;
use crate::plants::unread_lease_forbids_nothing;

/// A claim that no Lease contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OffLease {
    pub(crate) term: Term,
    pub(crate) incarnation: Uuid,
}

impl Election {
    /// Drops the claim when it is over: the Lease contains it, a Lease with a higher term won, its app is gone, or another
    /// leader's promise binds the app.
    pub(crate) fn settle_off_lease(&mut self, standing: &Standing) {
        let Some(claim) = self.off_lease else { return };
        let promise = self.promise();
        let is_of_this_run = self.incarnation() == Some(claim.incarnation) && !self.app.is_ended();
        let is_outvoted = promise.term > claim.term
            || promise.term == claim.term && promise.incarnation.is_some_and(|promised| promised != claim.incarnation);
        let is_settled = match standing {
            // This includes one of the same term: the claim counts only while the app has not promised to it, so the app
            // may as well promise to what everybody else sees.
            Standing::Held(holder) => holder.term >= claim.term,
            Standing::Foreign { .. } => true,
            Standing::Unread | Standing::NoLease(_) | Standing::NoHolder(..) => false,
        };
        if !is_of_this_run || is_outvoted || is_settled {
            self.off_lease = None;
        }
    }

    /// Rule 5: names its own app leader when rule 4 applies and the API server has been silent for a duration.
    pub(crate) fn claim_off_lease(&mut self, standing: &Standing) {
        if !unread_lease_forbids_nothing() && *standing == Standing::Unread {
            return;
        }
        let Some(silent_since) = self.silent_since() else { return };
        let is_new_term = self.off_lease.is_some() && self.needs_term(standing) && self.may_take();
        if !is_new_term {
            // One lost-time more than rule 4 and the silence: a pod that still reaches an API server goes first.
            let Some(campaign_due) = self.campaign_due(standing) else { return };
            if self.app.status.as_ref().is_none_or(|status| status.bootstrapping) {
                return;
            }
            if self.is_paused() {
                return self.remark(Event::WaitsForResume);
            }
            if !self.due(campaign_due.max(silent_since) + self.timing.lost_time) {
                return;
            }
        }
        let (Some(incarnation), Some(term)) = (self.incarnation(), self.next_term(standing)) else { return };
        self.off_lease = Some(OffLease { term, incarnation });
        self.seen = self.seen.max(Some(term));
        self.emit(crate::Effect::Tell(Event::OffLease { term }));
    }

    /// Since when the silence counts: a duration without any answer whose newest request failed, too; or a duration without
    /// a decided write, while reads work. A failure from before this process stood still proves nothing.
    fn silent_since(&mut self) -> Option<Duration> {
        let duration = self.timing.duration;
        let is_fresh = |failed_at: Duration, now: Duration| now <= failed_at + duration;
        let unanswered = self.sight.failed_at.filter(|at| is_fresh(*at, self.now)).map(|_| self.sight.heard + duration);
        let campaign_since = self.app.campaign_since;
        let undecided = self
            .sight
            .undecided
            .as_ref()
            .filter(|undecided| is_fresh(undecided.failed_at, self.now) && undecided.failed_at >= campaign_since)
            .map(|undecided| undecided.since + duration);
        let since = unanswered.into_iter().chain(undecided).min()?;
        self.due(since).then_some(since)
    }
}
