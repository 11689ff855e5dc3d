//! (plain apps) What a sidecar knows of its app, and the let-go that follows from it. Promises bind no plain app, so the
//! Lease may be taken at once only when the app has certainly stopped:
//!
//! ```text
//!   stop, not wanted, switchover, step-down, unfit, `exec` gone ─▶ role.json: follower
//!        ├─ under exec:   ─▶ AwaitLeadLock ─▶ free ─▶ clear, `released`            [A5]
//!        │                                 └─ held: neither renewed nor cleared; the Lease runs out
//!        ├─ released by word ─────────────────▶ clear, `released`
//!        └─ any other ─▶ clear ─▶ (the word for that term) ─▶ `released`, in the very version that the clear made
//! ```
//!
//! The app has nothing but role.json. So nothing is cleared before that `follower` stands in its place (`RoleWritten`); if it
//! cannot be written, only when the claim of the one that stands there is over \[A5\]: at worst the Lease runs out.

use std::time::Duration;

use crate::counts::{NoHolder, Standing};
use crate::effect::{Effect, Ending, PodRole, Why};
use crate::election::Election;
use crate::event::Event;
use crate::input::Input;
use crate::lease::{Body, Lease, Term, Version, annotation};
use crate::plants::{
    forgotten_runs_wait, leases_durations_count, only_the_lock_is_certain, role_files_count, unfit_leaders_stay,
};
use crate::take::Proposal;

/// See the module.
#[derive(Clone, Debug, Hash)]
pub(crate) struct PlainSight {
    /// `exec` lives.
    is_exec_alive: bool,
    is_fit: bool,
    /// The present leadership must end, whatever becomes of the cause.
    is_ending: bool,
    /// It was asked to let go, and contends like an unfit one until somebody leads \[A9\].
    is_reluctant: bool,
    /// The term that it took while unfit, unless it has been fit since: it keeps that.
    took_unfit: Option<Term>,
    /// The term of its present leadership, or of its last one.
    led: Option<Term>,
    /// The last clear of its own, and the version that it made.
    cleared: Option<(Term, Version)>,
    /// The app's word: it has stopped leading in that term.
    word: Option<Term>,
    /// The number of the last `AwaitLeadLock`; whether its answer is awaited, and has come.
    number: u64,
    is_awaiting: bool,
    is_lock_free: bool,
    /// The role.json that was published last stands in its place.
    is_role_written: bool,
    /// Until when the role.json that stands there says that this pod leads.
    role_leads_until: Option<Duration>,
    /// Since when the leader has said that it is unfit.
    unfit_seen: Option<(Term, Duration)>,
    /// The Lease was seen without this run as its holder since this run last wrote itself there. If it names this run again,
    /// then it went back in time (it was restored, or edited), and another pod may still lead by what is forgotten.
    is_out: bool,
    /// Likewise it was seen without the run before this one, or below a term that was seen: that run's claim is over \[A4\].
    is_old_run_out: bool,
    /// The duration of the last holder that was seen: its claim may be good for so long, whatever became of the Lease.
    /// Where the next holder's is shorter, it counts for so long: if the Lease went back in time, the first may still lead.
    holders_duration: Option<(Duration, Option<Duration>)>,
}

impl PlainSight {
    pub(crate) fn new() -> PlainSight {
        PlainSight {
            is_exec_alive: false,
            is_fit: true,
            is_ending: false,
            is_reluctant: false,
            took_unfit: None,
            led: None,
            cleared: None,
            word: None,
            number: 0,
            is_awaiting: false,
            is_lock_free: false,
            is_role_written: false,
            role_leads_until: None,
            unfit_seen: None,
            is_out: false,
            is_old_run_out: false,
            holders_duration: None,
        }
    }

    /// The role.json that this run finds.
    pub(crate) fn role_found(&mut self, leads_until: Option<Duration>) {
        self.role_leads_until = leads_until;
    }

    /// Another one is to replace it.
    pub(crate) fn role_is_under_way(&mut self) {
        self.is_role_written = false;
    }

    /// The app is fit, and nobody asked it to let go.
    pub(crate) fn is_willing(&self) -> bool {
        self.is_fit && !self.is_reluctant
    }

    pub(crate) fn is_fit(&self) -> bool {
        self.is_fit
    }
}

impl Election {
    pub(crate) fn plain_input(&mut self, input: &Input) {
        match input {
            Input::ExecSeen(is_alive) => self.plain.is_exec_alive = *is_alive,
            Input::LeadLockFree { number } => {
                self.plain.is_lock_free |= self.plain.is_awaiting && *number == self.plain.number;
            }
            Input::RoleWritten(is_written) => {
                self.plain.is_role_written = *is_written;
                if *is_written {
                    let leads = self.published.as_ref().filter(|view| view.role == PodRole::Leader);
                    self.plain.role_leads_until = leads.and_then(|view| view.valid_until);
                }
            }
            Input::FitnessSeen(is_fit) => {
                self.plain.is_fit = *is_fit;
                if *is_fit {
                    self.plain.took_unfit = None;
                }
            }
            Input::StepDown { term } => self.end_leadership(*term, false),
            Input::Released { term } => self.end_leadership(*term, true),
            _ => {}
        }
    }

    /// A request is about this pod's last leadership, or about nothing. (Between the clear and the answer to it there is no
    /// hold, and the word of the app counts all the same.)
    fn end_leadership(&mut self, term: Term, has_stopped: bool) {
        if self.plain.led != Some(term) {
            return self.emit(Effect::Answer { term, ending: Ending::OtherTerm { led: self.plain.led } });
        }
        // A clear that is under way may fail: what was asked for, or said, must then hold for the next write, too.
        let held = self.sight.body().filter(|body| body.holder.as_deref() == Some(&self.config.name));
        let is_held = held.is_some_and(|body| body.term == term && body.incarnation() == self.incarnation());
        self.plain.is_ending |= self.hold.is_some() || is_held && !self.plain.is_out;
        if has_stopped {
            self.plain.word = Some(term);
        }
        let ending = if self.hold.is_some() { Ending::Ends } else { Ending::IsOver };
        self.emit(Effect::Answer { term, ending });
    }

    /// Remembers what the Lease means for the endings.
    pub(crate) fn note_plain(&mut self, standing: &Standing) {
        let is_of_others = matches!(standing, Standing::Held(_)) && self.held(standing).is_none();
        if is_of_others {
            self.plain.is_reluctant = false;
            self.plain.cleared = None;
        }
        self.note_raise(standing);
        self.plain.is_ending |= self.hold.is_some_and(|hold| self.is_unfit_leader(hold.term));
        let is_lapsed = self.hold.is_none_or(|hold| self.now >= hold.from + self.timing.duration);
        if self.plain.is_ending && self.held(standing).is_none() && is_lapsed && self.sight.writing.is_none() {
            self.plain.is_ending = false;
            self.plain.is_reluctant = !is_of_others;
            self.hold = None;
        }
        self.plain.is_out |= self.hold.is_none() && self.held(standing).is_none() && *standing != Standing::Unread;
        let body = self.sight.body().filter(|body| body.holder.as_deref() == Some(&self.config.name));
        let old_run = self.config.old_role.as_ref().and_then(|old| old.own_claim);
        let names_old_run = old_run.is_some() && body.and_then(Body::incarnation) == old_run;
        let is_sunk = self.seen > body.map(|body| body.term);
        self.plain.is_old_run_out |= *standing != Standing::Unread && (!names_old_run || is_sunk);
        if let Standing::Held(_) = standing {
            self.note_duration();
        }
        let unfit = match standing {
            Standing::Held(holder)
                if is_of_others && !self.is_paused() && self.sight.body().is_some_and(|body| body.is_unfit()) =>
            {
                Some(holder.term)
            }
            Standing::Held(_)
            | Standing::Unread
            | Standing::Foreign { .. }
            | Standing::NoLease(_)
            | Standing::NoHolder(..) => None,
        };
        self.plain.unfit_seen = unfit.map(|term| match self.plain.unfit_seen {
            Some((seen, since)) if seen == term => (seen, since),
            Some(_) | None => (term, self.now),
        });
    }

    fn note_duration(&mut self) {
        let of_holder = self.timing.expiry(self.leases_duration());
        let now = self.now;
        self.plain.holders_duration = match self.plain.holders_duration {
            Some((longer, None)) if longer > of_holder => Some((longer, Some(now + longer))),
            Some((longer, Some(until))) if longer > of_holder && now < until => Some((longer, Some(until))),
            Some(_) | None => Some((of_holder, None)),
        };
    }

    /// Another sidecar raised the term of this pod's leadership. It is the same leadership under another number, and what was
    /// asked for or said of it holds: whoever said that the app has stopped did so while role.json no longer said `leader`, or
    /// brought that about in the same step.
    fn note_raise(&mut self, standing: &Standing) {
        let raised = self.held(standing).map(|holder| holder.term).filter(|_| !self.plain.is_out);
        let (Some(before), Some(raised)) = (self.plain.led, raised) else { return };
        if before >= raised {
            return;
        }
        if let Some(hold) = &mut self.hold {
            hold.term = hold.term.max(raised);
        }
        let PlainSight { led, took_unfit, word, .. } = &mut self.plain;
        for term in [led, took_unfit, word] {
            if *term == Some(before) {
                *term = Some(raised);
            }
        }
    }

    /// Its health ends a leadership, but only where another pod can be seen to take over: not while paused, and not while
    /// the API server is silent \[A9\].
    fn is_unfit_leader(&self, term: Term) -> bool {
        let keeps = self.plain.took_unfit == Some(term) && unfit_leaders_stay();
        let is_answered = self.now < self.sight.heard + self.timing.answer_age_max() && self.sight.failed_at.is_none();
        !self.plain.is_fit && !keeps && !self.is_paused() && is_answered
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.plain.is_ending
    }

    /// Under `exec`, without one that lives: nobody could lead.
    pub(crate) fn is_without_exec(&self) -> bool {
        self.is_under_exec() && !self.plain.is_exec_alive
    }

    pub(crate) fn is_under_exec(&self) -> bool {
        matches!(self.config.app, crate::App::Plain { exec: true, .. })
    }

    /// A leadership begins, or goes on.
    pub(crate) fn led(&mut self, why: Why, term: Term) {
        self.plain.led = self.timing.is_plain.then_some(term);
        self.plain.is_out = false;
        if why.is_new_leadership() {
            self.plain.took_unfit = (!self.plain.is_fit).then_some(term);
            self.plain.is_reluctant = false;
            (self.plain.cleared, self.plain.word) = (None, None);
        }
    }

    /// The Lease was cleared by this pod, which makes it this version.
    pub(crate) fn was_cleared(&mut self, term: Term, version: Option<Version>) {
        self.plain.cleared = version.map(|version| (term, version));
    }

    /// May the Lease be cleared, and does it say that it may be taken at once? None: not yet.
    pub(crate) fn certainty(&self, term: Term) -> Option<bool> {
        if !self.is_under_exec() {
            return Some(self.plain.word == Some(term));
        }
        if !only_the_lock_is_certain() {
            return Some(true);
        }
        self.plain.is_lock_free.then_some(true)
    }

    /// (`exec`) This pod lets go, and its command may still run.
    pub(crate) fn waits_for_lock(&self, standing: &Standing) -> bool {
        let holds = self.hold.is_some() || self.held_by_this_pod(standing).is_some();
        self.is_under_exec() && holds && !self.plain.is_lock_free
    }

    /// The app may lead by a role.json that could not be replaced yet.
    pub(crate) fn role_misleads(&mut self) -> bool {
        let Some(until) = self.plain.role_leads_until else { return false };
        !self.plain.is_role_written && role_files_count() && !self.due(until)
    }

    /// This pod lets go, and its app may lead by such a role.json.
    pub(crate) fn waits_for_role(&mut self, standing: &Standing) -> bool {
        let lets_go = self.timing.is_plain && self.is_plain_letting_go();
        lets_go && self.held_by_this_pod(standing).is_some() && self.role_misleads()
    }

    /// Behind `PublishRole`: the role.json that ends the leadership stands, or will, before the lock is looked at.
    pub(crate) fn await_lead_lock(&mut self, standing: &Standing) {
        if !self.is_under_exec() {
            return;
        }
        let leads = self.published.as_ref().is_some_and(|view| view.role == PodRole::Leader);
        if leads {
            (self.plain.is_awaiting, self.plain.is_lock_free) = (false, false);
            return;
        }
        let holds = self.hold.is_some() || self.held_by_this_pod(standing).is_some();
        if holds && self.is_plain_letting_go() && !self.plain.is_awaiting {
            self.plain.number += 1;
            (self.plain.is_awaiting, self.plain.is_lock_free) = (true, false);
            self.emit(Effect::AwaitLeadLock { number: self.plain.number });
        }
    }

    /// The app's word came after the clear: the Lease says so, in the very version that the clear made.
    pub(crate) fn certify(&mut self, standing: &Standing) -> Option<Proposal> {
        let (term, version) = self.plain.cleared.as_ref()?;
        let is_as_cleared = matches!(standing, Standing::NoHolder(NoHolder::Cleared, held) if held == term)
            && self.sight.lease().flatten().is_some_and(|lease| lease.version == *version);
        if !is_as_cleared || self.plain.word != Some(*term) || self.sight.body().is_some_and(|body| body.is_clean()) {
            return None;
        }
        let mut body = self.kept_body();
        body.annotate(annotation::RELEASED, Some(term.to_string()));
        Some(Proposal { why: Why::Certify, body, tells: Vec::new() })
    }

    /// The leader took it unfit, and this pod is fit: it asks for a switchover \[A9\].
    pub(crate) fn ask_for_lead(&mut self, _: &Standing) -> Option<Proposal> {
        let (_, since) = self.plain.unfit_seen?;
        let is_asked = self.sight.body().is_some_and(|body| body.preferred_holder().is_some());
        if !self.plain.is_willing() || !self.may_take() || is_asked {
            return None;
        }
        if !self.due(since + self.config.fitness_patience) {
            return None;
        }
        let mut body = self.sight.body().cloned()?;
        body.annotate(annotation::PREFERRED_HOLDER, Some(self.config.name.clone()));
        let told = Event::AskedForLead { term: body.term };
        Some(Proposal { why: Why::AskForLead, body, tells: vec![told] })
    }

    /// The Lease names this run, which did not write that: it counts as another pod's until it has expired.
    pub(crate) fn is_out(&self) -> bool {
        self.timing.is_plain && self.plain.is_out && forgotten_runs_wait()
    }

    /// The Lease may name the run before this one, but went back in time, or did so before.
    pub(crate) fn is_old_run_out(&self) -> bool {
        self.plain.is_old_run_out && forgotten_runs_wait()
    }

    /// For how long a holder may lead that the Lease no longer names, or whose claim to it counts as none. Its sidecar may
    /// run with another duration than ours. This one may never have seen that: the record of terms has it \[A1\].
    pub(crate) fn whole_duration(&self, standing: &Standing) -> Duration {
        let of_holder = self.plain.holders_duration.map(|(duration, _)| duration);
        let of_record = match standing {
            Standing::NoHolder(NoHolder::Cleared, _) | Standing::NoLease(_) => self.record.duration(),
            // It says whose claim it is.
            Standing::Held(_)
            | Standing::NoHolder(NoHolder::NoMember(_) | NoHolder::NoIncarnation(_), _)
            | Standing::Unread
            | Standing::Foreign { .. } => None,
        };
        self.timing.expiry(self.leases_duration().max(of_holder)).max(self.timing.expiry(of_record))
    }

    /// The duration in the Lease.
    pub(crate) fn leases_duration(&self) -> Option<Duration> {
        self.sight.body().and_then(Body::duration).filter(|_| leases_durations_count())
    }

    /// How much longer than others this pod waits before it takes the Lease.
    pub(crate) fn reluctance(&self) -> Duration {
        if self.plain.is_willing() { Duration::ZERO } else { self.timing.duration }
    }
}

impl Lease {
    /// It is as a manifest has it: metadata alone, and none of ours.
    pub(crate) fn was_never_held(&self) -> bool {
        let ours = [annotation::INCARNATION, annotation::RELEASED, annotation::ADDRESS];
        let body = &self.body;
        body.holder.is_none()
            && body.term == Term(0)
            && body.duration_seconds.is_none()
            && self.renewed.is_none()
            && ours.iter().all(|name| !body.annotations.contains_key(*name))
    }
}
