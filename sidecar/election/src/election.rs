//! The state machine: what it remembers, and the order of a step. The rules are in `take`, `release` and `off_lease`,
//! publishing is in `publish`.

use std::time::Duration;

use uuid::Uuid;

use crate::app::{AppSight, Promise};
use crate::counts::{Measure, NoHolder, NoLease, Standing, is_member};
use crate::effect::{Effect, RoleView};
use crate::event::Event;
use crate::input::{Input, Member, WriteOutcome};
use crate::lease::{Lease, Term, Version};
use crate::off_lease::OffLease;
use crate::plain::PlainSight;
use crate::plants::{clears_end_leaderships, each_clear_is_another, outages_stop_the_wait, unwanted_renewals_count};
use crate::record::Record;
use crate::sight::{Sight, Writing};
use crate::take::Proposal;
use crate::timing::{Patience, Timing};
use crate::{LeaseWrite, Why};

/// The kind of app that the sidecar serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum App {
    /// Any app. It has no status.json, is always eligible, and dies with the sidecar.
    Plain {
        /// This run of the sidecar, a UUID made at its start.
        incarnation: Uuid,
        /// The app is run by `exec`: this pod contends only while that lives, and lets go when `lead.lock` is free.
        exec: bool,
    },
    /// An app that fences by terms and reports its state in status.json.
    Fencing,
}

/// What an election starts with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// The name of this pod.
    pub name: String,
    /// Where clients reach the leader on this pod, `ip:port`.
    pub address: String,
    /// The app that the sidecar serves.
    pub app: App,
    /// The Lease's duration in whole seconds, at least one.
    pub duration: Duration,
    /// The lost-time.
    pub lost_time: Duration,
    /// (plain apps) How long a fit pod looks on while an unfit one leads, before it asks for the leadership.
    pub fitness_patience: Duration,
    /// How long `Input::Stop` waits for the app to end and for the Lease to be let go.
    pub stop_bound: Duration,
    /// Seed for the jitter of pauses between failed requests. Each pod has its own.
    pub seed: u64,
    /// The content of role.json before this run.
    pub old_role: Option<OldRole>,
}

/// What a new run needs from the role.json that it finds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OldRole {
    /// Its term, which counts as seen.
    pub term: Term,
    /// No pod takes over by itself, as last seen.
    pub paused: bool,
    /// The leader's incarnation, if no Lease contained the claim (`offLease`).
    pub off_lease: Option<Uuid>,
    /// The incarnation that it named as leader, if that was this pod. The directory belongs to one pod. So if a plain app's
    /// sidecar finds its own name there, this incarnation is an earlier run of itself, and over.
    pub own_claim: Option<Uuid>,
    /// For how long from the start an app may still lead by it: it says `leader`, and its claim is valid.
    pub leads_for: Option<Duration>,
}

/// Decides who leads.
///
/// Invariant: the term of what it publishes never goes down, unless somebody lowered the Lease's term by hand, and then
/// only after a whole duration of `none` in which all known claims agreed on the lower term. Invariant: `Role::Leader` is
/// published only for this pod with its app's present incarnation, and only by a Lease seen to say so, by the app's own
/// claim, or off-lease.
#[derive(Clone, Debug, Hash)]
pub struct Election {
    pub(crate) config: Config,
    pub(crate) timing: Timing,
    /// The time of this step.
    pub(crate) now: Duration,
    /// The time of the first step; none before it.
    pub(crate) began: Option<Duration>,

    // What was seen.
    pub(crate) sight: Sight,
    pub(crate) app: AppSight,
    pub(crate) plain: PlainSight,
    pub(crate) record: Record,
    pub(crate) members: Option<Vec<Member>>,
    /// The StatefulSet's newest revision.
    pub(crate) newest_revision: Option<String>,
    /// The highest term seen in a Lease that counts, in role.json, or in the claim that the app follows.
    pub(crate) seen: Option<Term>,
    /// What the Lease means, and since when, for the waits of plain apps.
    standing_since: (StandingKey, Duration),
    /// Since when the Lease has been void while the app hears this leader.
    pub(crate) blind_since: Option<(Uuid, Term, Duration)>,
    /// The switchover requested of this pod while it leads, and since when.
    pub(crate) switchover: Option<(String, Duration)>,

    // What was decided.
    /// Our last successful write as holder.
    pub(crate) hold: Option<Hold>,
    /// The claim by rule 5.
    pub(crate) off_lease: Option<OffLease>,
    pub(crate) published: Option<RoleView>,
    /// No leadership below this term is published: the highest one published so far (also by the run before).
    pub(crate) floor: Term,
    /// Since when all known claims have named leaders below the floor.
    pub(crate) below_floor_since: Option<Duration>,
    pub(crate) endpoints: Option<Term>,
    stop_asked: Option<Duration>,
    /// Since when a stop has been waiting for the Lease alone.
    over_since: Option<Duration>,
    stopped: bool,

    // Of this step.
    effects: Vec<Effect>,
    alarm: Option<Duration>,
    /// What is waited for or wrong now; each new one is reported.
    remarks: Vec<Event>,
}

/// Our last successful write as holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Hold {
    pub(crate) incarnation: Uuid,
    pub(crate) term: Term,
    /// The start of the request: validity counts from here.
    pub(crate) from: Duration,
}

/// What the waits of plain apps depend on: when it changes, they start over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum StandingKey {
    Unread,
    Gone,
    /// Each clear starts its own wait: an unseen leadership may lie between two clears that were seen \[A3\].
    Cleared {
        term: Term,
        renewed: Option<String>,
    },
    /// It looks as if nobody ever held it. The one before may have looked so, too, and somebody may have led between the
    /// two: only the version tells them apart.
    NeverHeld(Version),
    /// There is a Lease, but it or its holder counts as none. The renewing pod may not know that. It leads until it notices
    /// or its claim lapses, so the wait counts from its last renewal \[L15\].
    OfNoAccount {
        term: Option<Term>,
        renewed: Option<String>,
    },
    Held {
        name: String,
        incarnation: Uuid,
        term: Term,
        renewed: Option<String>,
    },
}

impl Election {
    /// Starts an election. The first `step` (a `Wake` will do) asks for the Lease.
    pub fn new(config: Config) -> Election {
        let timing = Timing {
            duration: config.duration,
            lost_time: config.lost_time,
            seed: config.seed,
            is_plain: matches!(config.app, App::Plain { .. }),
        };
        Election {
            seen: config.old_role.as_ref().map(|old| old.term).filter(|term| *term > Term(0)),
            floor: config.old_role.as_ref().map(|old| old.term).unwrap_or_default(),
            off_lease: None,
            timing,
            now: Duration::ZERO,
            began: None,
            sight: Sight::new(Duration::ZERO),
            app: AppSight::default(),
            plain: PlainSight::new(),
            record: Record::default(),
            members: None,
            newest_revision: None,
            standing_since: (StandingKey::Unread, Duration::ZERO),
            blind_since: None,
            switchover: None,
            hold: None,
            published: None,
            below_floor_since: None,
            endpoints: None,
            stop_asked: None,
            over_since: None,
            stopped: false,
            effects: Vec::new(),
            alarm: None,
            remarks: Vec::new(),
            config,
        }
    }

    /// `now`: monotonic time, which also counts while the machine sleeps. Carry the effects out in order.
    pub fn step(&mut self, now: Duration, input: Input) -> Vec<Effect> {
        self.now = self.now.max(now);
        if self.began.is_none() {
            self.began = Some(self.now);
            self.sight = Sight::new(self.now);
            let leads_for = self.config.old_role.as_ref().and_then(|old| old.leads_for);
            self.plain.role_found(leads_for.map(|rest| self.now + rest));
        }
        if self.stopped {
            return Vec::new();
        }
        self.absorb(input);
        self.decide();
        std::mem::take(&mut self.effects)
    }

    /// When to step with `Input::Wake` if nothing else happens first.
    pub fn deadline(&self) -> Option<Duration> {
        self.alarm.filter(|_| !self.stopped)
    }

    /// What was last published.
    pub fn role(&self) -> Option<&RoleView> {
        self.published.as_ref()
    }

    /// The Lease as last seen; `Some(None)`: there is none; `None`: not read yet.
    pub fn lease(&self) -> Option<Option<&Lease>> {
        self.sight.lease()
    }

    /// What is waited for or wrong at present.
    pub fn waits(&self) -> &[Event] {
        &self.remarks
    }

    fn absorb(&mut self, input: Input) {
        let now = self.now;
        match input {
            Input::LeaseRead(outcome) => {
                // Nobody waits for who neither leads nor is about to.
                let is_idle = self.timing.is_plain && self.hold.is_none();
                let patience = if is_idle { Patience::Long } else { Patience::Short };
                let done = self.sight.read_ended(now, outcome, &self.timing, patience);
                self.write_done(done);
            }
            Input::LeaseWatched(watched) => {
                let done = self.sight.watched(now, watched, &self.timing);
                self.write_done(done);
            }
            Input::WatchLost => self.sight.watch_ended(now, false, &self.timing),
            Input::WatchFailed => self.sight.watch_ended(now, true, &self.timing),
            Input::LeaseWritten(WriteOutcome::Written(lease)) => {
                let done = self.sight.written(now, lease, &self.timing);
                self.write_done(done);
            }
            Input::LeaseWritten(WriteOutcome::Conflict) => self.sight.outrun(now, &self.timing),
            Input::LeaseWritten(WriteOutcome::Unknown) => self.sight.write_unanswered(now, true, &self.timing),
            // It did not happen. A plain holder tries its renewal again at once: nobody takes the Lease from it unseen.
            Input::LeaseWritten(WriteOutcome::Refused) => {
                let wants_look = !self.timing.is_plain || self.hold.is_none();
                self.sight.write_unanswered(now, wants_look, &self.timing);
            }
            // A plain app has no status.
            Input::AppSeen(_) | Input::AppDied { .. } | Input::AppSilent if self.timing.is_plain => {}
            Input::RecordRead(outcome) => {
                let own = self.incarnation();
                self.record.read_ended(now, outcome, own, &self.timing);
            }
            Input::RecordWritten(outcome) => self.record.write_ended(now, outcome, &self.timing),
            Input::ExecSeen(_)
            | Input::RoleWritten(_)
            | Input::LeadLockFree { .. }
            | Input::FitnessSeen(_)
            | Input::StepDown { .. }
            | Input::Released { .. } => self.plain_input(&input),
            Input::AppSeen(status) => {
                if let Some(old) = &self.config.old_role
                    && self.app.status.is_none()
                    && old.off_lease == Some(status.incarnation)
                {
                    self.off_lease = Some(OffLease { term: old.term, incarnation: status.incarnation });
                }
                self.app.see(now, status);
            }
            Input::AppDied { incarnation } => self.app.end(incarnation),
            Input::AppSilent => self.app.is_silent = true,
            Input::MembersSeen(members) => self.members = members,
            Input::RevisionSeen(revision) => self.newest_revision = revision,
            Input::Stop => {
                self.stop_asked.get_or_insert(now);
            }
            Input::Wake => {}
        }
    }

    /// The Lease contains our write.
    fn write_done(&mut self, done: Option<Writing>) {
        let Some(Writing { began, body, why, tells, .. }) = done else { return };
        self.record.spend(body.term);
        if self.timing.is_plain && why == Why::Clear {
            let is_present = self.sight.body() == Some(&body);
            let version = self.sight.lease().flatten().filter(|_| is_present).map(|lease| lease.version.clone());
            self.was_cleared(body.term, version);
        }
        if body.holder.as_deref() == Some(&self.config.name) && body.incarnation() == self.incarnation() {
            self.hold = self.incarnation().map(|incarnation| Hold { incarnation, term: body.term, from: began });
            self.led(why, body.term);
        }
        if let (Why::ForLeader, Some(name)) = (why, body.holder) {
            let address = self.member(&name).map(|member| member.address.clone());
            self.effects.push(Effect::UpdateEndpoints { name, address, term: body.term });
        }
        self.effects.extend(tells.into_iter().map(Effect::Tell));
    }

    /// The order of a step: judge, claim, publish, write, read. Publishing precedes writing, so that a plain app has read
    /// `follower` before the Lease is free.
    fn decide(&mut self) {
        self.alarm = None;
        let before = std::mem::take(&mut self.remarks);
        let standing = self.judge();
        self.note(&standing);

        self.settle_off_lease(&standing);
        self.claim_off_lease(&standing);
        self.publish(&standing);
        if let Some(proposal) = self.choose_write(&standing) {
            self.write(proposal);
        }
        self.look_at_record(&standing);
        if let Some(due) = self.sight.read_due(&self.timing)
            && self.due(due)
        {
            self.sight.read(self.now);
            self.effects.push(Effect::ReadLease);
        }
        self.stop(&standing);

        self.remark_requests();
        let new = self.remarks.iter().filter(|remark| !before.contains(remark));
        self.effects.extend(new.cloned().map(Effect::Tell));
        if before.contains(&Event::ApiSilent) && !self.remarks.contains(&Event::ApiSilent) {
            self.effects.push(Effect::Tell(Event::ApiAnswers));
        }
    }

    /// Judges the Lease by what is known now.
    fn judge(&mut self) -> Standing {
        if self.timing.is_plain
            && let (Some(seen), Some(body)) = (self.seen, self.sight.body())
            && seen.0 > body.term.0.saturating_add(crate::timing::TERM_LEAP_MAX)
        {
            // A plain app has no durable promise to judge by. If the other pods continue far below what this sidecar saw,
            // then what it saw was the edit by hand.
            self.remarks.push(Event::EditedByHand { term: seen, promised: body.term });
            self.seen = Some(body.term);
            self.floor = body.term;
        }
        self.measure(|measure, lease| measure.judge(lease))
    }

    /// Whether a term is plausible.
    pub(crate) fn is_plausible(&self, term: Term) -> bool {
        self.measure(|measure, _| measure.is_plausible(term))
    }

    fn measure<T>(&self, judge: impl FnOnce(&Measure<'_>, Option<Option<&Lease>>) -> T) -> T {
        let status = self.app.status.as_ref();
        let mut owners: Vec<(Uuid, &str)> = Vec::with_capacity(2);
        owners.extend(self.incarnation().map(|incarnation| (incarnation, self.config.name.as_str())));
        owners.extend(status.and_then(|status| status.following.as_ref()).map(|c| (c.incarnation, c.name.as_str())));
        let measure = Measure {
            promise: status.map(|status| status.promised),
            known: match (status, self.timing.is_plain) {
                (Some(status), _) => Some(status.promised.term),
                (None, true) => self.seen,
                (None, false) => Some(self.seen.unwrap_or_default()),
            },
            cluster_id: status.and_then(|status| status.cluster_id),
            members: self.members.as_deref(),
            owners: &owners,
        };
        judge(&measure, self.sight.lease())
    }

    /// Remembers what later decisions need to know about this step.
    fn note(&mut self, standing: &Standing) {
        let promised = self.promise().term;
        let is_bootstrapping = self.app.status.as_ref().is_some_and(|status| status.bootstrapping);
        // An empty volume cannot judge a term.
        if self.timing.is_plain || promised > Term(0) || is_bootstrapping {
            let known = if self.timing.is_plain { self.seen.unwrap_or_default() } else { promised };
            self.remarks.extend(standing.remark(known));
        } else if !matches!(standing, Standing::NoLease(NoLease::EditedByHand(_))) {
            self.remarks.extend(standing.remark(promised));
        }

        let followed = self.app.alive().and_then(|status| status.following.as_ref()).map(|claim| claim.term);
        self.seen = self.seen.max(standing.term()).max(followed);

        let key = self.standing_key(standing);
        if self.standing_since.0 != key {
            self.standing_since = (key, self.now);
        }
        let is_of_others = |standing: &Standing| match standing {
            Standing::Held(holder) => holder.name != self.config.name || Some(holder.incarnation) != self.incarnation(),
            Standing::Unread | Standing::Foreign { .. } | Standing::NoLease(_) | Standing::NoHolder(..) => false,
        };
        let is_of_this_run = self.hold.is_none_or(|hold| Some(hold.incarnation) == self.incarnation());
        if is_of_others(standing) || !is_of_this_run {
            self.hold = None;
        }
        if self.timing.is_plain {
            self.note_plain(standing);
        }

        let heard = self.heard_leader().map(|claim| (claim.incarnation, claim.term));
        self.blind_since = match (standing, heard) {
            (Standing::NoLease(_), Some((incarnation, term))) => match self.blind_since {
                Some(since) if (since.0, since.1) == (incarnation, term) => Some(since),
                Some(_) | None => Some((incarnation, term, self.now)),
            },
            (Standing::NoLease(_), None)
            | (Standing::Unread | Standing::Foreign { .. } | Standing::NoHolder(..) | Standing::Held(_), _) => None,
        };
    }

    fn standing_key(&self, standing: &Standing) -> StandingKey {
        if let (Standing::NoHolder(NoHolder::Cleared, _), Some(version)) = (standing, self.never_held()) {
            return StandingKey::NeverHeld(version.clone());
        }
        match standing {
            Standing::Unread => StandingKey::Unread,
            Standing::NoLease(NoLease::Gone) => StandingKey::Gone,
            Standing::NoHolder(NoHolder::Cleared, _) if !each_clear_is_another() => {
                StandingKey::Cleared { term: Term(0), renewed: None }
            }
            Standing::NoHolder(NoHolder::Cleared, term) => {
                StandingKey::Cleared { term: *term, renewed: self.renewed() }
            }
            Standing::Foreign { .. }
            | Standing::NoLease(NoLease::BelowPromise | NoLease::OtherIncarnation | NoLease::EditedByHand(_))
            | Standing::NoHolder(NoHolder::NoMember(_) | NoHolder::NoIncarnation(_), _) => {
                let renewed = self.renewed().filter(|_| unwanted_renewals_count());
                StandingKey::OfNoAccount { term: self.sight.body().map(|body| body.term), renewed }
            }
            Standing::Held(holder) => StandingKey::Held {
                name: holder.name.clone(),
                incarnation: holder.incarnation,
                term: holder.term,
                renewed: self.renewed(),
            },
        }
    }

    /// The version of a Lease that looks as if nobody ever held it.
    pub(crate) fn never_held(&self) -> Option<&Version> {
        self.sight.lease().flatten().filter(|lease| lease.was_never_held()).map(|lease| &lease.version)
    }

    /// `renewTime` of the Lease: every write by a sidecar changes it, an edit by hand does not.
    fn renewed(&self) -> Option<String> {
        self.sight.lease().flatten().and_then(|lease| lease.renewed.clone())
    }

    /// Since when the Lease has been seen unchanged, without a gap.
    pub(crate) fn unchanged_since(&self) -> Duration {
        if !outages_stop_the_wait() {
            return self.standing_since.1;
        }
        self.standing_since.1.max(self.sight.contact_since)
    }

    /// The run of the app with which this pod would lead.
    pub(crate) fn incarnation(&self) -> Option<Uuid> {
        match self.config.app {
            App::Plain { incarnation, .. } => Some(incarnation),
            App::Fencing => self.app.status.as_ref().map(|status| status.incarnation),
        }
    }

    /// The app's promise, as last reported.
    pub(crate) fn promise(&self) -> Promise {
        self.app.status.as_ref().map(|status| status.promised).unwrap_or_default()
    }

    /// Another pod's leader that binds the app and is heard by it.
    pub(crate) fn heard_leader(&self) -> Option<&crate::app::Claim> {
        let status = self.app.alive().filter(|status| status.leader_heard)?;
        let claim = status.following.as_ref()?;
        let is_promised = status.promised.term == claim.term && status.promised.incarnation == Some(claim.incarnation);
        (is_promised && claim.incarnation != status.incarnation && claim.name != self.config.name).then_some(claim)
    }

    /// Whether no pod may take over by itself: as the Lease says, or, if unread, as it last did.
    pub(crate) fn is_paused(&self) -> bool {
        match self.sight.lease() {
            Some(lease) => lease.is_some_and(|lease| lease.body.is_paused()),
            None => self.config.old_role.as_ref().is_some_and(|old| old.paused),
        }
    }

    pub(crate) fn is_wanted(&self, name: &str) -> bool {
        is_member(self.members.as_deref(), name)
    }

    pub(crate) fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().flatten().find(|member| member.name == name)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop_asked.is_some()
    }

    /// Whether the time has come; if not, a step is scheduled for when it does.
    pub(crate) fn due(&mut self, at: Duration) -> bool {
        if self.now < at {
            self.alarm = Some(self.alarm.map_or(at, |alarm| alarm.min(at)));
        }
        self.now >= at
    }

    /// Something is waited for or wrong at present.
    pub(crate) fn remark(&mut self, event: Event) {
        if !self.remarks.contains(&event) {
            self.remarks.push(event);
        }
    }

    pub(crate) fn emit(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    fn write(&mut self, proposal: Proposal) {
        if self.sight.is_busy() || !self.due(self.sight.writes.not_before) {
            return;
        }
        if !self.is_recorded(&proposal) {
            return;
        }
        let expected = self.sight.lease().flatten().map(|lease| lease.version.clone());
        let write = LeaseWrite { expected, body: proposal.body, why: proposal.why };
        if self.timing.is_plain && write.why == Why::Clear && clears_end_leaderships() {
            // The leadership is over, whatever happens to the request: another pod may see it done, and lead, before this
            // pod learns of it. Only a confirmed write of our own starts another [A2].
            self.hold = None;
        }
        self.sight.write(self.now, &write, proposal.tells);
        self.effects.push(Effect::WriteLease(write));
    }

    fn remark_requests(&mut self) {
        if self.sight.failed_at.is_some() && self.due(self.sight.heard + self.timing.duration) {
            self.remark(Event::ApiSilent);
        }
        if let Some(since) = self.sight.undecided.as_ref().map(|undecided| undecided.since)
            && !self.remarks.contains(&Event::ApiSilent)
            && self.due(since + self.timing.duration)
        {
            self.remark(Event::WritesUndecided);
        }
    }

    /// After SIGTERM: a plain app's sidecar ends when the Lease is let go, a fencing app's when its app is dead and the
    /// Lease let go; both end at the bound. A Lease that cannot be written (an uninstall removed the rights, the API server
    /// is down) delays nobody longer than a few lost-times.
    fn stop(&mut self, standing: &Standing) {
        let Some(asked) = self.stop_asked else { return };
        let is_over = if self.timing.is_plain {
            !self.waits_for_lock(standing)
        } else {
            self.app.died || self.app.status.is_none()
        };
        if is_over {
            let since = *self.over_since.get_or_insert(self.now);
            if self.due(since + self.timing.let_go_max()) {
                return self.end();
            }
        }
        let can_write = !matches!(standing, Standing::Unread | Standing::Foreign { .. });
        let must_write = self.waits_for_role(standing) || self.let_go(standing).is_some();
        let is_done = is_over && !self.sight.is_busy() && !(can_write && must_write);
        if is_done || self.due(asked + self.config.stop_bound) {
            self.end();
        }
    }

    fn end(&mut self) {
        self.stopped = true;
        self.alarm = None;
        self.effects.push(Effect::Stopped);
    }
}
