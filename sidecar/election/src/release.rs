//! Letting go of the Lease, and switchovers. The holder never lets it expire on purpose.

use uuid::Uuid;

use crate::counts::{Holder, NoHolder, Standing};
use crate::effect::Why;
use crate::election::Election;
use crate::event::Event;
use crate::lease::annotation;
use crate::plants::namesakes_are_strangers;
use crate::take::Proposal;

impl Election {
    /// Transfers the Lease to the successor, or clears the holder if no successor is known. Every step asks again, so a
    /// let-go that could not be written is dropped once another leader is seen.
    pub(crate) fn let_go(&mut self, standing: &Standing) -> Option<Proposal> {
        let held = match standing {
            Standing::Held(holder) if holder.name == self.config.name => Some(holder),
            Standing::Held(_) => return None,
            Standing::Unread | Standing::Foreign { .. } | Standing::NoLease(_) | Standing::NoHolder(..) => None,
        };
        if self.timing.is_plain {
            let held = self.held_by_this_pod(standing).filter(|_| self.is_plain_letting_go())?;
            if self.role_misleads() {
                return None;
            }
            let is_certain = self.certainty(held.term)?;
            let mut proposal = self.clear(&held);
            proposal.body.annotate(annotation::RELEASED, is_certain.then(|| held.term.to_string()));
            return Some(proposal);
        }
        if let Some(held) = held.filter(|held| self.is_dead(held.incarnation)) {
            if self.is_paused() {
                // Once cleared, the Lease would have no holder, and no pod takes it while paused. Left alone, rule 1
                // returns it to the app after its restart, as a pause for maintenance expects.
                self.remark(Event::WaitsForResume);
                return None;
            }
            return Some(self.clear(held));
        }
        let status = self.app.alive()?;
        let hand_over = status.hand_over.as_ref()?;
        let is_present_leader = match held {
            Some(held) => held.incarnation == status.incarnation,
            None => status.own_claim().is_some_and(|claim| status.promised.incarnation == Some(claim.incarnation)),
        };
        if !is_present_leader {
            return None;
        }
        match (&hand_over.to, hand_over.incarnation) {
            (Some(to), Some(incarnation)) if self.is_wanted(to) && *to != self.config.name => {
                self.transfer(to.clone(), incarnation, standing)
            }
            (Some(_) | None, _) => held.map(|held| self.clear(held)),
        }
    }

    /// (plain apps) This sidecar must stop leading: it ends, its pod is not wanted, a switchover names another pod, the
    /// leadership was ended, or nobody can lead.
    pub(crate) fn is_plain_letting_go(&self) -> bool {
        let is_asked = self.preferred().is_some_and(|preferred| preferred != self.config.name);
        let must = self.is_stopping() || self.is_ending() || self.is_without_exec();
        must || !self.is_wanted(&self.config.name) || is_asked
    }

    /// (plain apps) What the Lease says of this run, or of an earlier one of this very pod: a namesake may lead \[A4\].
    pub(crate) fn held_by_this_pod(&self, standing: &Standing) -> Option<Holder> {
        let held = match standing {
            Standing::Held(holder) if holder.name == self.config.name => Some(holder.clone()),
            Standing::Held(_)
            | Standing::Unread
            | Standing::Foreign { .. }
            | Standing::NoLease(_)
            | Standing::NoHolder(..) => self.held_unwanted(standing),
        };
        let is_of_long_ago = |held: &Holder| self.is_out() && Some(held.incarnation) == self.incarnation();
        held.filter(|held| self.is_of_this_pod(held.incarnation) && !is_of_long_ago(held))
    }

    /// (plain apps) The Lease's claim for this pod, which is no longer a member.
    fn held_unwanted(&self, standing: &Standing) -> Option<Holder> {
        match standing {
            Standing::NoHolder(NoHolder::NoMember(name), term) if *name == self.config.name => {
                let incarnation = self.sight.body()?.incarnation()?;
                Some(Holder { name: name.clone(), incarnation, term: *term })
            }
            Standing::NoHolder(..)
            | Standing::Held(_)
            | Standing::Unread
            | Standing::Foreign { .. }
            | Standing::NoLease(_) => None,
        }
    }

    /// (plain apps) Whether that incarnation is this run, or one that is over: the role.json that this run found names it, and
    /// the Lease has named it ever since.
    pub(crate) fn is_of_this_pod(&self, incarnation: Uuid) -> bool {
        let is_old_run = self.config.old_role.as_ref().is_some_and(|old| old.own_claim == Some(incarnation));
        !namesakes_are_strangers() || self.incarnation() == Some(incarnation) || is_old_run && !self.is_old_run_out()
    }

    /// Whether that run of this pod's app is known to be over: the kernel reported it, a newer run has written a status, or
    /// it failed.
    fn is_dead(&self, incarnation: Uuid) -> bool {
        let Some(status) = &self.app.status else { return false };
        status.incarnation != incarnation || self.app.is_ended()
    }

    fn clear(&self, held: &Holder) -> Proposal {
        let mut body = self.kept_body();
        body.holder = None;
        for name in [annotation::INCARNATION, annotation::ADDRESS, annotation::RELEASED, annotation::UNFIT] {
            body.annotate(name, None);
        }
        Proposal { why: Why::Clear, body, tells: vec![Event::Cleared { term: held.term }] }
    }

    /// One compare-and-swap sets the successor with a new term: the successor sees it on its watch, and leads.
    fn transfer(&mut self, to: String, incarnation: Uuid, standing: &Standing) -> Option<Proposal> {
        let Some(term) = self.next_term(standing) else {
            self.remark(Event::TermsExhausted);
            return None;
        };
        let mut tells = vec![Event::HandedOver { to: to.clone(), term }];
        let is_asked = self.sight.body().and_then(|body| body.preferred_holder()) == Some(&to);
        if is_asked {
            tells.push(Event::SwitchoverDone { to: to.clone() });
        }
        let mut proposal = self.propose(Why::Transfer, &Holder { name: to, incarnation, term }, tells);
        if is_asked {
            proposal.body.annotate(annotation::PREFERRED_HOLDER, None);
        }
        Some(proposal)
    }

    /// The pod that an operator wants to lead, if it is able to.
    pub(crate) fn preferred(&self) -> Option<&str> {
        self.sight.body()?.preferred_holder().filter(|preferred| self.is_wanted(preferred))
    }

    /// The switchover for this pod's app, which leads, to carry out.
    pub(crate) fn hand_over_to(&self) -> Option<&str> {
        self.preferred().filter(|preferred| *preferred != self.config.name)
    }

    /// How this pod's write as holder ends a switchover, if it does; its annotation is then removed.
    pub(crate) fn ended_switchover(&mut self, why: Why) -> Option<Event> {
        let Some(to) = self.sight.body().and_then(|body| body.preferred_holder()).map(str::to_owned) else {
            self.switchover = None;
            return None;
        };
        if to == self.config.name {
            return Some(Event::SwitchoverDone { to });
        }
        if !self.is_wanted(&to) {
            return Some(Event::SwitchoverRefused { to });
        }
        if self.timing.is_plain && why.is_new_leadership() {
            return Some(Event::SwitchoverGivenUp { to }); // Its time to go first is over.
        }
        let since = match &self.switchover {
            Some((known, since)) if *known == to => *since,
            Some(_) | None => self.now,
        };
        self.switchover = Some((to.clone(), since));
        self.due(since + self.timing.switchover_bound()).then_some(Event::SwitchoverGivenUp { to })
    }
}
