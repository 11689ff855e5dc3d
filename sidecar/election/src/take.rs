//! When this pod's sidecar writes the Lease: rules 1 to 4, renewal, needTerm, and the Lease of a leader whose own sidecar
//! is blind. The numbers are those of the chapter in `lib.rs`. The first half of rule 1 needs no write: the Lease already
//! names this incarnation, and `publish` says so in role.json.

use std::time::Duration;

use crate::app::AppState;
use crate::counts::{Holder, NoHolder, NoLease, Standing};
use crate::effect::Why;
use crate::election::Election;
use crate::event::Event;
use crate::lease::{Body, ClusterId, Term, annotation};
use crate::plants::{
    leaders_restore_lease, never_held_needs_record, only_leaders_need_terms, outages_stop_the_wait,
    preferred_pods_go_first,
};

/// A write that a rule wants.
#[derive(Debug)]
pub(crate) struct Proposal {
    pub(crate) why: Why,
    pub(crate) body: Body,
    /// What to report when it is done.
    pub(crate) tells: Vec<Event>,
}

/// A rule looks at the Lease and wants a write, or not. It schedules its next look by `due`.
type Rule = fn(&mut Election, &Standing) -> Option<Proposal>;

/// In the order in which they are asked; the first that wants a write gets it.
const RULES: [Rule; 13] = [
    Election::take_back,
    Election::let_go,
    Election::certify,
    Election::raise,
    Election::start_new_term,
    Election::renew,
    Election::rewrite_as_leader,
    Election::place,
    Election::take_free,
    Election::take_expired,
    Election::take_for_campaign,
    Election::write_for_leader,
    Election::ask_for_lead,
];

impl Election {
    /// The write to make now. A Lease that is unread or belongs to another cluster is never touched.
    pub(crate) fn choose_write(&mut self, standing: &Standing) -> Option<Proposal> {
        match standing {
            Standing::Unread | Standing::Foreign { .. } => None,
            Standing::NoLease(_) | Standing::NoHolder(..) | Standing::Held(_) => {
                RULES.iter().find_map(|rule| rule(self, standing))
            }
        }
    }

    /// Rule 1, second half: the Lease names this pod with another incarnation. `paused` does not stop it. (The first half is
    /// in `publish`.)
    fn take_back(&mut self, standing: &Standing) -> Option<Proposal> {
        let Standing::Held(holder) = standing else { return None };
        let is_namesake = holder.name == self.config.name && Some(holder.incarnation) != self.incarnation();
        let wants = self.app.alive().and_then(|status| status.campaign).is_some_and(|term| !self.is_answered(term));
        // A fencing app's promise decides between two pods of one name. A plain app has only its own directory: a pod that
        // was deleted by force may run on, and lead, beside its new namesake [A4].
        let may = if self.timing.is_plain { self.is_of_this_pod(holder.incarnation) } else { wants };
        if !is_namesake || !may || !self.may_take() {
            return None;
        }
        self.lead(Why::TakeBack, self.next_term(standing))
    }

    /// (plain apps) A Lease below a term that was seen: its creator had not seen that term. The term is raised for the same
    /// holder, which remains the only leader.
    fn raise(&mut self, standing: &Standing) -> Option<Proposal> {
        let Standing::Held(holder) = standing else { return None };
        if !self.timing.is_plain || self.seen.is_none_or(|seen| holder.term >= seen) {
            return None;
        }
        if self.held(standing).is_some() && self.is_out() {
            return None;
        }
        let mut body = self.sight.body()?.clone();
        body.term = self.or_exhausted(self.next_term(standing))?;
        Some(Proposal { why: Why::Raise, body, tells: Vec::new() })
    }

    /// `needTerm` \[L3\]: a new term for the present leader, while its app still leads by the present one.
    fn start_new_term(&mut self, standing: &Standing) -> Option<Proposal> {
        if !self.needs_term(standing) || !self.may_take() {
            return None;
        }
        self.lead(Why::NewTerm, self.next_term(standing))
    }

    /// Whether the present leader (by the Lease, or off-lease) needs a new term: another incarnation holds its term, or a
    /// learner has promised a higher one. Where the app does not lead, `needTerm` starts nothing.
    pub(crate) fn needs_term(&self, standing: &Standing) -> bool {
        let Some(status) = self.app.alive() else { return false };
        if !only_leaders_need_terms() {
            return status.need_term.is_some_and(|need| self.is_plausible(need));
        }
        let leads = match status.state {
            AppState::Recovering | AppState::Leading => status.own_claim(),
            AppState::Starting | AppState::Learner | AppState::Follower | AppState::Draining | AppState::Failed => None,
        };
        let (Some(claim), Some(need)) = (leads, status.need_term) else { return false };
        let is_present = match standing {
            Standing::Held(holder) => self.held(standing).is_some() && holder.term == claim.term,
            // No Lease counts: the present leader leads off the Lease.
            Standing::Unread | Standing::NoLease(_) | Standing::NoHolder(..) => true,
            Standing::Foreign { .. } => false,
        };
        // An off-lease claim that the app has not taken yet is the answer.
        let is_answered = self.off_lease.is_some_and(|off| off.term > claim.term);
        is_present && !is_answered && need >= claim.term && self.is_plausible(need)
    }

    /// The holder renews every third of the duration; it repairs at once what a transfer or an edit by hand left undone.
    fn renew(&mut self, standing: &Standing) -> Option<Proposal> {
        let term = self.held(standing)?.term;
        if self.app.is_ended() || self.timing.is_plain && self.is_plain_letting_go() || self.is_out() {
            return None;
        }
        let proposal = self.lead(Why::Renew, Some(term))?;
        let is_mending = self.sight.body().is_some_and(|body| *body != proposal.body);
        let renewal = self.hold.map_or(Duration::ZERO, |hold| hold.from + self.timing.renew_after());
        (is_mending || self.due(renewal)).then_some(proposal)
    }

    /// Rule 2, for the leader: no Lease, or no holder. It writes the Lease again at once, also while paused.
    fn rewrite_as_leader(&mut self, standing: &Standing) -> Option<Proposal> {
        let own = self.leading_term(standing)?;
        if !self.may_take() || !leaders_restore_lease() {
            return None;
        }
        match standing {
            Standing::NoLease(NoLease::Gone | NoLease::BelowPromise | NoLease::OtherIncarnation) => {
                self.lead(Why::Restore, Some(own))
            }
            Standing::NoHolder(_, term) if *term <= own => self.lead(Why::Restore, Some(own)),
            Standing::NoHolder(..) | Standing::NoLease(NoLease::EditedByHand(_)) => {
                self.lead(Why::Outbid, self.next_term(standing))
            }
            Standing::Unread | Standing::Foreign { .. } | Standing::Held(_) => None,
        }
    }

    /// Rule 2, for plain apps: nobody has held it for long enough.
    fn take_free(&mut self, standing: &Standing) -> Option<Proposal> {
        // The pod that a switchover names goes first.
        let is_for_other = self.preferred().is_some_and(|preferred| preferred != self.config.name);
        let behind = self.timing.cleared_wait() * if is_for_other && preferred_pods_go_first() { 2 } else { 0 };
        let wait = match standing {
            Standing::NoHolder(NoHolder::Cleared, _) if self.never_held().is_some() => self.first_wait(standing),
            // Every clear keeps its term, so no sidecar cleared this one, or a backup of it was restored: whoever led last may
            // not know that.
            Standing::NoHolder(NoHolder::Cleared, term) if *term == Term(0) || self.seen > Some(*term) => {
                self.whole_duration(standing).max(behind).max(self.timing.cleared_wait())
            }
            Standing::NoHolder(NoHolder::Cleared, _) if behind > Duration::ZERO => behind,
            Standing::NoHolder(NoHolder::Cleared, term) if self.is_clean() => self.timing.released_wait(*term),
            Standing::NoHolder(NoHolder::Cleared, _) => self.timing.cleared_wait(),
            Standing::NoLease(_) | Standing::NoHolder(..) => self.whole_duration(standing),
            Standing::Unread | Standing::Foreign { .. } | Standing::Held(_) => return None,
        };
        self.take_after(Why::TakeFree, wait, standing)
    }

    /// (plain apps) There is no Lease: one without a holder is created, as from a manifest. Two looks that find none cannot
    /// tell whether somebody led between them; two that find the same version of one can.
    fn place(&mut self, standing: &Standing) -> Option<Proposal> {
        match standing {
            Standing::NoLease(NoLease::Gone) if self.timing.is_plain && self.may_take() => {
                Some(Proposal { why: Why::Place, body: Body::default(), tells: Vec::new() })
            }
            Standing::NoLease(_)
            | Standing::Unread
            | Standing::Foreign { .. }
            | Standing::NoHolder(..)
            | Standing::Held(_) => None,
        }
    }

    /// A Lease that nobody ever held may be one that was deleted and applied again, while its last holder still leads. It is
    /// taken at once only by whoever created the record of terms, and has seen no term \[A1\].
    fn first_wait(&mut self, standing: &Standing) -> Duration {
        let is_first = self.record.is_ours_first(self.never_held()) && self.seen.unwrap_or_default() == Term(0);
        if is_first || !never_held_needs_record() {
            return Duration::ZERO;
        }
        if self.timing.is_plain
            && self.may_take()
            && self.plain.is_willing()
            && !self.sight.is_busy()
            && self.record.may_be_created()
            && let Some(term) = self.next_term(standing)
        {
            self.ask_record(term);
        }
        self.whole_duration(standing)
    }

    /// The last holder let go, and its app has certainly stopped. A term that was seen is above every older word \[A11\].
    fn is_clean(&self) -> bool {
        self.sight.body().is_some_and(|body| body.is_clean() && self.seen.is_none_or(|seen| seen <= body.term))
    }

    /// Rule 3 (plain apps): the holder does not renew. It may be a namesake of this pod, or this run, long ago.
    fn take_expired(&mut self, standing: &Standing) -> Option<Proposal> {
        match standing {
            Standing::Held(_) if self.held(standing).is_none() || self.is_out() => {}
            Standing::Held(_)
            | Standing::Unread
            | Standing::Foreign { .. }
            | Standing::NoLease(_)
            | Standing::NoHolder(..) => return None,
        }
        let wait = self.whole_duration(standing);
        self.take_after(Why::TakeExpired, wait, standing)
    }

    /// Takes the Lease once it has been seen unchanged for that long, without a gap. A gap that ends right now is not known
    /// yet: the last answer must be recent.
    fn take_after(&mut self, why: Why, wait: Duration, standing: &Standing) -> Option<Proposal> {
        if !self.timing.is_plain || !self.may_take() {
            return None;
        }
        let is_in_contact = !outages_stop_the_wait()
            || self.now <= self.sight.heard + self.timing.gap() && self.sight.failed_at.is_none();
        // A switchover to this pod is a transfer, which a pause does not stop.
        let is_asked =
            self.preferred() == Some(&self.config.name) && matches!(standing, Standing::NoHolder(NoHolder::Cleared, _));
        let reluctance = if is_asked { Duration::ZERO } else { self.reluctance() };
        if !self.due(self.unchanged_since() + wait + reluctance) || !is_in_contact {
            return None;
        }
        if self.is_paused() && !is_asked {
            self.remark(Event::WaitsForResume);
            return None;
        }
        self.lead(why, self.next_term(standing))
    }

    /// Rule 4 (fencing apps): the app campaigns. The bootstrap is the campaign of a volume marked for it.
    fn take_for_campaign(&mut self, standing: &Standing) -> Option<Proposal> {
        let due = self.campaign_due(standing)?;
        if self.is_paused() {
            self.remark(Event::WaitsForResume);
            return None;
        }
        if !self.due(due) {
            return None;
        }
        let is_bootstrapping = self.app.status.as_ref().is_some_and(|status| status.bootstrapping);
        let has_id = self.sight.body().is_some_and(|body| body.cluster() != ClusterId::Absent);
        let why = if is_bootstrapping && !has_id { Why::Bootstrap } else { Why::TakeCampaign };
        self.lead(why, self.next_term(standing))
    }

    /// When rule 4 admits the app's campaign; none where it does not apply. (Rule 5 also starts here; it alone applies to a
    /// Lease that was not read.)
    pub(crate) fn campaign_due(&self, standing: &Standing) -> Option<Duration> {
        let status = self.app.alive()?;
        let campaign = status.campaign.filter(|_| status.hand_over.is_none() && self.may_take())?;
        let is_open = match standing {
            Standing::Held(holder) => campaign >= holder.term,
            Standing::Unread | Standing::NoLease(_) | Standing::NoHolder(..) => true,
            Standing::Foreign { .. } => false,
        };
        (is_open && !self.is_answered(campaign)).then(|| self.app.campaign_since + self.timing.rank_delay(status.rank))
    }

    /// Our off-lease claim answers a campaign that the app has not withdrawn yet: the app becomes leader of that term, and
    /// of no other.
    fn is_answered(&self, campaign: Term) -> bool {
        self.off_lease.is_some_and(|claim| campaign < claim.term)
    }

    /// This pod writes a Lease that has been void for 10 s while the app hears its leader. It writes it for that leader,
    /// with the leader's term: the leader's sidecar is blind.
    fn write_for_leader(&mut self, standing: &Standing) -> Option<Proposal> {
        let Standing::NoLease(_) = standing else { return None };
        let (_, _, since) = self.blind_since?;
        let leader = Holder::from(self.heard_leader()?);
        if !self.is_wanted(&leader.name) || self.app.status.as_ref()?.cluster_id.is_none() {
            return None;
        }
        if !self.due(since.max(self.sight.contact_since) + self.timing.for_leader_after()) {
            return None;
        }
        let told = Event::WrittenForLeader { leader: leader.name.clone(), term: leader.term };
        Some(self.propose(Why::ForLeader, &leader, vec![told]))
    }

    /// Whether this pod may become holder at all: its app is alive and eligible, and the pod is wanted. (A Lease of another
    /// cluster was refused before.)
    pub(crate) fn may_take(&self) -> bool {
        let app = match self.app.alive() {
            Some(status) => status.eligible && status.cluster_id.is_some(),
            None => self.timing.is_plain && !self.is_stopping() && !self.is_ending() && !self.is_without_exec(),
        };
        app && self.is_wanted(&self.config.name)
    }

    /// The holder, if it is this pod with its app's present incarnation.
    pub(crate) fn held<'a>(&self, standing: &'a Standing) -> Option<&'a Holder> {
        match standing {
            Standing::Held(holder)
                if holder.name == self.config.name && Some(holder.incarnation) == self.incarnation() =>
            {
                Some(holder)
            }
            Standing::Held(_)
            | Standing::Unread
            | Standing::Foreign { .. }
            | Standing::NoLease(_)
            | Standing::NoHolder(..) => None,
        }
    }

    /// The term with which the app is leading (not recovering, not handing over).
    fn leading_term(&self, standing: &Standing) -> Option<Term> {
        if self.timing.is_plain {
            return self.plain_term(standing);
        }
        let status = self.app.alive().filter(|status| status.state == AppState::Leading)?;
        status.own_claim().filter(|_| status.hand_over.is_none()).map(|claim| claim.term)
    }

    /// The number of a new leadership: above every known and plausible term. None at the top.
    pub(crate) fn next_term(&self, standing: &Standing) -> Option<Term> {
        let need = self.app.status.as_ref().and_then(|status| status.need_term);
        let known = [standing.term(), Some(self.promise().term), self.seen, need]
            .into_iter()
            .flatten()
            .filter(|term| self.is_plausible(*term))
            .max()
            .unwrap_or_default();
        let version = self.sight.lease().flatten().map(|lease| &lease.version);
        match self.record.reserved(self.unchanged_since(), version) {
            Some(reserved) if reserved > known => Some(reserved),
            Some(_) | None => known.max(self.record.term().unwrap_or_default()).next(),
        }
    }

    fn or_exhausted(&mut self, term: Option<Term>) -> Option<Term> {
        if term.is_none() {
            self.remark(Event::TermsExhausted);
        }
        term
    }

    /// Writes this pod as holder, with a new holder's duties: its address, and the end of a switchover.
    fn lead(&mut self, why: Why, term: Option<Term>) -> Option<Proposal> {
        let term = self.or_exhausted(term)?;
        let holder = Holder { name: self.config.name.clone(), incarnation: self.incarnation()?, term };
        let ended = self.ended_switchover(why);
        let mut proposal = self.propose(why, &holder, ended.iter().cloned().collect());
        proposal.body.annotate(annotation::ADDRESS, Some(self.config.address.clone()));
        if self.timing.is_plain && !self.plain.is_fit() {
            proposal.body.annotate(annotation::UNFIT, Some("true".to_owned()));
        }
        if ended.is_some() {
            proposal.body.annotate(annotation::PREFERRED_HOLDER, None);
        }
        Some(proposal)
    }

    /// The present Lease with another holder, and with the corrections that every write makes.
    pub(crate) fn propose(&self, why: Why, holder: &Holder, tells: Vec<Event>) -> Proposal {
        let mut body = self.kept_body();
        body.holder = Some(holder.name.clone());
        body.term = holder.term;
        body.annotate(annotation::INCARNATION, Some(holder.incarnation.to_string()));
        for name in [annotation::ADDRESS, annotation::RELEASED, annotation::UNFIT] {
            body.annotate(name, None);
        }
        Proposal { why, body, tells }
    }

    /// What a write keeps of the Lease: everything, with the duration of this cluster and, if it has none, the cluster-id
    /// of the volume.
    pub(crate) fn kept_body(&self) -> Body {
        let mut body = self.sight.body().cloned().unwrap_or_default();
        body.duration_seconds = Some(self.timing.seconds());
        let volume = self.app.status.as_ref().and_then(|status| status.cluster_id);
        if let (ClusterId::Absent, Some(id)) = (body.cluster(), volume) {
            body.annotate(annotation::CLUSTER_ID, Some(id.to_string()));
        }
        body
    }
}
