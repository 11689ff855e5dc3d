//! What is published: role.json, and the target of the leader's Service.

use crate::app::AppState;
use crate::counts::{Holder, NoHolder, NoLease, Standing};
use crate::effect::{Effect, Leader, PodRole, RoleView};
use crate::election::Election;
use crate::event::Event;
use crate::lease::{Body, Term};
use crate::plants::claims_lapse;

impl Election {
    /// Publishes changes.
    pub(crate) fn publish(&mut self, standing: &Standing) {
        if !self.may_publish(standing) {
            return;
        }
        self.watch_lapse(standing);
        let claim = if self.timing.is_plain { self.plain_claim(standing) } else { self.highest_claim(standing) };
        let claim = self.above_floor(claim);
        let view = self.view(claim, standing);
        self.floor = self.floor.max(view.term);
        self.point_endpoints(&view);
        if self.published.as_ref() == Some(&view) {
            return self.await_lead_lock(standing);
        }
        let named = |view: &RoleView| view.leader.as_ref().map(|leader| (leader.incarnation, view.term));
        if self.published.as_ref().and_then(named) != named(&view) {
            self.emit(Effect::Tell(Event::LeaderChanged {
                leader: view.leader.as_ref().map(|leader| leader.name.clone()),
                term: view.term,
                is_self: view.role == PodRole::Leader,
            }));
        }
        self.published = Some(view.clone());
        self.emit(Effect::PublishRole(view));
        self.plain.role_is_under_way();
        self.await_lead_lock(standing);
    }

    /// A starting sidecar of a fencing app leaves the old role.json alone until it knows better: the app may lead by it. A
    /// plain app's sidecar begins with `follower`.
    fn may_publish(&mut self, standing: &Standing) -> bool {
        if self.timing.is_plain || self.published.is_some() {
            return true;
        }
        let knows_claim = *standing != Standing::Unread || self.off_lease.is_some();
        let patience = self.began.unwrap_or_default() + self.timing.lost_time;
        let knows_app = self.app.status.is_some() || self.app.is_silent || self.due(patience);
        knows_claim && knows_app
    }

    /// The claim, unless its term is below a published one. If that lasts for a duration in which no other claim was seen,
    /// then the higher term was an edit by hand that was undone. It is better to go down once, after a long `none`, than
    /// never to name the leader that everybody follows.
    fn above_floor(&mut self, claim: Option<Holder>) -> Option<Holder> {
        if !self.is_plausible(self.floor) {
            self.floor = self.promise().term;
        }
        let is_below = |claim: &Holder| claim.term < self.floor;
        if !claim.as_ref().is_some_and(is_below) {
            self.below_floor_since = None;
            return claim;
        }
        let since = *self.below_floor_since.get_or_insert(self.now);
        if !self.due(since.max(self.sight.contact_since) + self.timing.duration) {
            return None;
        }
        self.below_floor_since = None;
        self.floor = claim.as_ref()?.term;
        self.seen = Some(self.floor);
        claim
    }

    fn view(&self, claim: Option<Holder>, standing: &Standing) -> RoleView {
        let seen = self.seen.filter(|term| self.is_plausible(*term)).unwrap_or_default();
        let is_self = |claim: &Holder| claim.name == self.config.name;
        let role = match &claim {
            Some(claim) if is_self(claim) => PodRole::Leader,
            Some(_) => PodRole::Follower,
            // A plain app's sidecar that stepped down reports it by the word that the app knows.
            None if self.timing.is_plain && (*standing == Standing::Unread || self.is_stepping_down(standing)) => {
                PodRole::Follower
            }
            None => PodRole::None,
        };
        let off_lease = self
            .off_lease
            .filter(|off| role == PodRole::Leader && claim.as_ref().is_some_and(|claim| claim.term == off.term));
        let holds = self.held(standing).is_some();
        let is_valid = holds || self.plain_term(standing).is_some();
        let volume = self.app.status.as_ref().and_then(|status| status.cluster_id);
        RoleView {
            role,
            term: claim.as_ref().map_or(self.floor.max(seen), |claim| claim.term),
            cluster_id: match off_lease {
                Some(_) => volume,
                None => self.sight.body().and_then(Body::cluster_id),
            },
            leader: claim.map(|claim| self.leader(claim, standing)),
            members: self.members.clone(),
            hand_over_to: self
                .hand_over_to()
                .filter(|_| role == PodRole::Leader && holds && !self.timing.is_plain)
                .map(str::to_owned),
            off_lease: off_lease.is_some(),
            paused: self.is_paused(),
            newest_revision: self.newest_revision.clone(),
            renewed_at: self.sight.renewed_at.filter(|_| role == PodRole::Follower),
            valid_until: self.hold.filter(|_| is_valid).map(|hold| hold.from + self.timing.duration),
        }
    }

    /// (fencing apps) The highest of: the Lease's claim, the off-lease claim, and the claim by which the app follows or
    /// leads.
    fn highest_claim(&self, standing: &Standing) -> Option<Holder> {
        let by_lease = match standing {
            Standing::Held(holder) if holder.name == self.config.name => {
                // Rule 1: its own app, for a term that it has promised to, or may promise to. An app that was chosen and
                // has just begun to drain leads until it has a successor: the leader that chose it has let go.
                let promise = self.promise();
                let is_promised = promise.term == holder.term && promise.incarnation == Some(holder.incarnation);
                let may_lead = is_promised
                    || self.app.alive().is_some_and(|status| status.eligible || status.state == AppState::Draining);
                self.held(standing).filter(|_| may_lead && !self.app.is_ended()).cloned()
            }
            Standing::Held(holder) => Some(holder.clone()),
            Standing::Unread | Standing::Foreign { .. } | Standing::NoLease(_) | Standing::NoHolder(..) => None,
        };
        let off_lease = self.off_lease.map(|off| Holder {
            name: self.config.name.clone(),
            incarnation: off.incarnation,
            term: off.term,
        });
        let by_app = self
            .app
            .alive()
            .filter(|status| status.state != AppState::Failed)
            .and_then(|status| status.following.as_ref())
            // Its name with another incarnation is an earlier run of this pod, so it does not count.
            .filter(|claim| claim.name != self.config.name || Some(claim.incarnation) == self.incarnation())
            .map(Holder::from);
        // Of equal ones the last wins, so the Lease's claim beats the others.
        [by_app, off_lease, by_lease].into_iter().flatten().max_by_key(|claim| claim.term)
    }

    /// (plain apps) The holder of the Lease; this pod only while its own claim is valid.
    fn plain_claim(&self, standing: &Standing) -> Option<Holder> {
        if let (Some(term), Some(incarnation)) = (self.plain_term(standing), self.incarnation()) {
            return Some(Holder { name: self.config.name.clone(), incarnation, term });
        }
        match standing {
            Standing::Held(holder) if holder.name != self.config.name => Some(holder.clone()),
            Standing::Held(_)
            | Standing::Unread
            | Standing::Foreign { .. }
            | Standing::NoLease(_)
            | Standing::NoHolder(..) => None,
        }
    }

    /// (plain apps) The term with which this pod leads: it holds the Lease, renewed within two thirds of the duration. If
    /// somebody took the Lease away, it leads on while it writes the Lease again, as long as no other pod may take it.
    pub(crate) fn plain_term(&self, standing: &Standing) -> Option<Term> {
        let hold = self.hold.filter(|_| self.timing.is_plain && !self.is_plain_letting_go())?;
        let lapse = hold.from + self.timing.lapse_after();
        let (term, until) = match standing {
            Standing::Held(_) => (self.held(standing)?.term, lapse),
            Standing::NoHolder(NoHolder::Cleared, _) => {
                (hold.term, lapse.min(self.unchanged_since() + self.timing.lost_time))
            }
            Standing::NoLease(NoLease::Gone | NoLease::EditedByHand(_))
            | Standing::NoHolder(NoHolder::NoMember(_) | NoHolder::NoIncarnation(_), _) => (hold.term, lapse),
            Standing::Unread
            | Standing::Foreign { .. }
            | Standing::NoLease(NoLease::BelowPromise | NoLease::OtherIncarnation) => return None,
        };
        (self.now < until || !claims_lapse()).then_some(term)
    }

    /// (plain apps) The Lease names this pod, or this pod lets it go, but it does not lead.
    fn is_stepping_down(&self, standing: &Standing) -> bool {
        matches!(standing, Standing::Held(_)) || self.is_plain_letting_go()
    }

    /// (plain apps) Schedules a step for when this pod's claim lapses, and reports whether it has.
    fn watch_lapse(&mut self, standing: &Standing) {
        let Some(hold) = self.hold.filter(|_| self.timing.is_plain) else { return };
        if let Standing::NoHolder(NoHolder::Cleared, _) = standing {
            self.due(self.unchanged_since() + self.timing.lost_time);
        }
        let has_lapsed = self.due(hold.from + self.timing.lapse_after());
        if let (true, Some(holder)) = (has_lapsed && !self.is_plain_letting_go(), self.held(standing)) {
            self.remark(Event::Lapsed { term: holder.term });
        }
    }

    fn leader(&self, claim: Holder, standing: &Standing) -> Leader {
        let member = self.member(&claim.name);
        let is_in_lease = matches!(standing, Standing::Held(holder) if *holder == claim);
        let advertised = self.sight.body().filter(|_| is_in_lease).and_then(Body::address).map(str::to_owned);
        let followed = self
            .app
            .alive()
            .and_then(|status| status.following.as_ref())
            .filter(|followed| followed.incarnation == claim.incarnation);
        Leader {
            address: if claim.name == self.config.name {
                Some(self.config.address.clone())
            } else {
                advertised.or_else(|| member.map(|member| member.address.clone()))
            },
            peer_address: followed
                .map(|followed| followed.peer_address.clone())
                .or_else(|| member.map(|member| member.peer_address.clone())),
            name: claim.name,
            incarnation: claim.incarnation,
        }
    }

    /// The Service of the leader follows once the app is really leading.
    fn point_endpoints(&mut self, view: &RoleView) {
        let leads = self.timing.is_plain
            || self.app.alive().is_some_and(|status| {
                status.state == AppState::Leading && status.own_claim().is_some_and(|claim| claim.term == view.term)
            });
        let is_current = view.role == PodRole::Leader && self.endpoints == Some(view.term);
        if self.endpoints.is_some() && !is_current {
            self.endpoints = None;
            self.emit(Effect::LeaveEndpoints);
        }
        if view.role == PodRole::Leader && leads && !is_current {
            self.endpoints = Some(view.term);
            self.emit(Effect::UpdateEndpoints {
                name: self.config.name.clone(),
                address: Some(self.config.address.clone()),
                term: view.term,
            });
        }
    }
}
