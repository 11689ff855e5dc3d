//! Letting go of the Lease, and switchovers. The holder never lets it run out on purpose.

use uuid::Uuid;

use crate::counts::{Holder, NoHolder, Standing};
use crate::effect::Why;
use crate::election::Election;
use crate::event::Event;
use crate::lease::annotation;
use crate::plants::namesakes_are_strangers;
use crate::take::Proposal;

impl Election {
    /// Transfers the Lease to the successor, or clears the holder where none is known. It is asked anew in every step,
    /// so a let-go that could not be written is dropped once another leader is seen.
    pub(crate) fn let_go(&mut self, standing: &Standing) -> Option<Proposal> {
        let held = match standing {
            Standing::Held(holder) if holder.name == self.config.name => Some(holder),
            Standing::Held(_) => return None,
            Standing::Unread | Standing::Foreign { .. } | Standing::NoLease(_) | Standing::NoHolder(..) => None,
        };
        if self.timing.is_plain {
            // Only what is this run's, or an earlier one's of this very pod: a namesake may lead [A4].
            let held = held.cloned().or_else(|| self.held_unwanted(standing));
            let held = held.filter(|held| self.is_of_this_pod(held.incarnation) && self.is_plain_letting_go())?;
            return Some(self.clear(&held));
        }
        if let Some(held) = held.filter(|held| self.is_dead(held.incarnation)) {
            if self.is_paused() {
                // Cleared, it would be nobody's, and nobody takes it while paused. Left alone, rule 1 gives it back to
                // the app when it has started again, as a pause for maintenance expects.
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

    /// (plain apps) This sidecar shall not lead any more: it ends, its pod is not wanted, or another one is asked for.
    pub(crate) fn is_plain_letting_go(&self) -> bool {
        let is_asked = self.preferred().is_some_and(|preferred| preferred != self.config.name);
        self.is_stopping() || !self.is_wanted(&self.config.name) || is_asked
    }

    /// (plain apps) What the Lease says of this pod, which is no member any more.
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

    /// (plain apps) Whether that incarnation is this run, or one that is over: the role.json that this run found names it.
    pub(crate) fn is_of_this_pod(&self, incarnation: Uuid) -> bool {
        !namesakes_are_strangers()
            || self.incarnation() == Some(incarnation)
            || self.config.old_role.as_ref().is_some_and(|old| old.own_claim == Some(incarnation))
    }

    /// Whether that run of this pod's app is known to be over: the kernel said so, a newer one has spoken, or it failed.
    fn is_dead(&self, incarnation: Uuid) -> bool {
        let Some(status) = &self.app.status else { return false };
        status.incarnation != incarnation || self.app.is_ended()
    }

    fn clear(&self, held: &Holder) -> Proposal {
        let mut body = self.kept_body();
        body.holder = None;
        body.annotate(annotation::INCARNATION, None);
        body.annotate(annotation::ADDRESS, None);
        Proposal { why: Why::Clear, body, tells: vec![Event::Cleared { term: held.term }] }
    }

    /// One compare-and-swap sets the successor with a new term: it sees that on its watch, and leads.
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

    /// The pod that a person wants to lead, where it is one that can.
    pub(crate) fn preferred(&self) -> Option<&str> {
        self.sight.body()?.preferred_holder().filter(|preferred| self.is_wanted(preferred))
    }

    /// The switchover that this pod's app, leading, shall carry out.
    pub(crate) fn hand_over_to(&self) -> Option<&str> {
        self.preferred().filter(|preferred| *preferred != self.config.name)
    }

    /// How a write of this pod as holder ends a switchover, if it does; its annotation goes then.
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
            return Some(Event::SwitchoverGivenUp { to }); // It had its time to go first.
        }
        let since = match &self.switchover {
            Some((known, since)) if *known == to => *since,
            Some(_) | None => self.now,
        };
        self.switchover = Some((to.clone(), since));
        self.due(since + self.timing.switchover_bound()).then_some(Event::SwitchoverGivenUp { to })
    }
}
