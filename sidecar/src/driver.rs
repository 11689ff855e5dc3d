//! The loop around the election: an input in, its effects out. It decides nothing.
//!
//! ```text
//!   Lease watch ─┐                                ┌─▶ GET, PUT, POST of the Lease ──▶ (an input again)
//!   answers     ─┤                                ├─▶ role.json
//!   the app     ─┼─▶ Election::step(now, input) ──┼─▶ EndpointSlice, pod label, Events   (tasks of their own)
//!   StatefulSet ─┤                                └─▶ State for HTTP, watchers and --notify
//!   its health  ─┤
//!   requests    ─┤
//!   role.json   ─┤
//!   stop, time  ─┘
//! ```

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use k8s_openapi::api::coordination::v1::Lease as RawLease;
use leasehold_election::{Effect, Election, Event, Input, ReadOutcome, RoleView, Watched};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::app::AppWatch;
use crate::args::{AppKind, Config};
use crate::clock::{Clock, unix_ms};
use crate::control::{Desk, Request, TokenFile};
use crate::failover::Failover;
use crate::http::Heartbeat;
use crate::kube::addresses::{Book, Seen};
use crate::kube::endpoints::Target;
use crate::kube::events::{self, Recorder};
use crate::kube::lease::{LeaseClient, LeaseResponse};
use crate::kube::members::{self, StatefulSet};
use crate::kube::observe::Observed;
use crate::kube::record::RecordClient;
use crate::kube::request::Requester;
use crate::kube::upkeep::Upkeep;
use crate::role::{RoleWriter, role_file};
use crate::state::{Change, HISTORY_MAX, Health, LeaseState, State};
use crate::telemetry::Metrics;

/// The loop turns at least this often, for the heartbeat and for files that could not be written.
const TURN: Duration = Duration::from_secs(1);

/// The sources of inputs.
pub(crate) struct Inlets {
    pub(crate) lease: mpsc::Receiver<Observed<RawLease>>,
    /// None: there is no StatefulSet, every pod is a member.
    pub(crate) members: Option<mpsc::Receiver<Observed<StatefulSet>>>,
    /// The pods' addresses; none before the first look, or forever if nothing looks.
    pub(crate) addresses: watch::Receiver<Option<Seen>>,
    pub(crate) app: AppWatch,
    /// None in it: nobody checks the health of the app, or has said anything of it.
    pub(crate) health: watch::Receiver<Option<Health>>,
    /// What the app asks for. Where nobody may ask, nothing ever comes.
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) stop: CancellationToken,
}

/// The destinations of effects.
pub(crate) struct Outlets {
    pub(crate) lease: LeaseClient,
    pub(crate) record: RecordClient,
    pub(crate) role: RoleWriter,
    /// None: nobody may ask for anything.
    pub(crate) token: Option<TokenFile>,
    pub(crate) endpoints: watch::Sender<Option<Target>>,
    pub(crate) label: watch::Sender<Option<&'static str>>,
    pub(crate) recorder: Recorder,
    pub(crate) state: watch::Sender<State>,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) metrics: Metrics,
    /// Asks the observers to start over.
    pub(crate) restart: watch::Sender<u64>,
    pub(crate) requester: Requester,
    pub(crate) upkeep: Upkeep,
}

/// What a request of the election ended in.
enum Answer {
    Lease(LeaseResponse),
    Known(Input),
}

/// The election's first look at the Lease, which the list answers that the watch begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FirstLook {
    Wanted,
    Awaited,
    Over,
}

/// Drives one election until it has let go.
pub(crate) struct Driver {
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Clock,
    pub(crate) election: Election,
    pub(crate) inlets: Inlets,
    pub(crate) outlets: Outlets,
    requests: FuturesUnordered<Pin<Box<dyn Future<Output = Answer> + Send>>>,
    history: VecDeque<Change>,
    /// When the watch of the Lease last reported something, and which version that was.
    watched: (Duration, Option<String>),
    /// The pods' addresses, and the last decision: role.json has both.
    book: Book,
    published: Option<RoleView>,
    first_look: FirstLook,
    /// What the election knows of role.json: whether the last one stands in its place.
    role_reported: Option<bool>,
    desk: Desk,
    /// For how long there was no leader.
    failover: Failover,
    /// What the app last reported about a volume that went back in time, and about data that differ from the others'.
    went_back: Option<String>,
    diverged: Option<String>,
    /// Likewise what was refused of the definitions that an operator wants.
    refused_definitions: Option<String>,
    stopping: bool,
    stopped: bool,
}

impl Driver {
    pub(crate) fn new(
        config: Arc<Config>,
        clock: Clock,
        election: Election,
        inlets: Inlets,
        outlets: Outlets,
    ) -> Driver {
        let book = Book::open(&config);
        Driver {
            config,
            clock,
            election,
            inlets,
            outlets,
            requests: FuturesUnordered::new(),
            history: VecDeque::new(),
            watched: (clock.now(), None),
            book,
            published: None,
            first_look: FirstLook::Wanted,
            role_reported: None,
            desk: Desk::default(),
            failover: Failover::default(),
            went_back: None,
            diverged: None,
            refused_definitions: None,
            stopping: false,
            stopped: false,
        }
    }

    /// Runs until the election returns `Stopped`, which it does only after [`Inlets::stop`].
    pub(crate) async fn run(mut self) {
        // Before anything else: who is not known to be fit must not be chosen.
        let first = self.fitness().unwrap_or(Input::Wake);
        self.step(first);
        while !self.stopped {
            self.outlets.heartbeat.beat();
            let input = self.next().await;
            if let Some(input) = input {
                self.step(input);
            }
            self.outlets.role.tend();
            self.report_role();
            if let Some(token) = &mut self.outlets.token {
                token.tend();
            }
            self.show();
            if self.outlets.role.is_written() {
                self.inlets.app.role_is_written();
                // After the state: who is answered finds it as the answer says.
                self.desk.answer(self.outlets.role.leads());
            }
        }
        info!("the election has ended: the Lease is released");
    }

    /// Waits for the next input; none: only time has passed.
    async fn next(&mut self) -> Option<Input> {
        let now = self.clock.now();
        let deadline = self.election.deadline();
        let pause = deadline.map_or(TURN, |deadline| deadline.saturating_sub(now).min(TURN));
        tokio::select! {
            Some(answer) = self.requests.next() => Some(self.answered(answer)),
            Some(observed) = self.inlets.lease.recv() => Some(self.lease_watched(observed)),
            input = self.inlets.app.next() => Some(input),
            Ok(()) = self.inlets.health.changed() => self.fitness(),
            Some(request) = self.inlets.requests.recv() => Some(self.desk.receive(request)),
            Some(observed) = members(&mut self.inlets.members) => self.members_observed(observed),
            Ok(()) = self.inlets.addresses.changed() => {
                self.addresses_seen();
                None
            }
            () = self.inlets.stop.cancelled(), if !self.stopping => {
                info!("received a signal to end: handing over");
                self.stopping = true;
                Some(Input::Stop)
            }
            () = tokio::time::sleep(pause) => {
                deadline.is_some_and(|deadline| self.clock.now() >= deadline).then_some(Input::Wake)
            }
        }
    }

    fn step(&mut self, input: Input) {
        debug!(?input, "input");
        if matches!(input, Input::AppSeen(_)) {
            self.look_at_report();
        }
        if let Input::AppSeen(app) = &input
            && let Some(gap) = self.failover.app_seen(self.clock.now(), app)
        {
            self.outlets.metrics.failed_over(gap);
        }
        for effect in self.election.step(self.clock.now(), input) {
            self.carry_out(effect);
        }
        self.report_role();
    }

    /// Whether the role.json that was published last stands in its place: behind each one, and when that changes.
    fn report_role(&mut self) {
        let is_written = self.outlets.role.is_written();
        if self.outlets.role.latest().is_some() && self.role_reported != Some(is_written) {
            self.role_reported = Some(is_written);
            self.step(Input::RoleWritten(is_written));
        }
    }

    /// What the checks of the app's health say, or the program that embeds the elector.
    fn fitness(&mut self) -> Option<Input> {
        let health = self.inlets.health.borrow_and_update();
        let is_fit = health.as_ref()?.fit;
        self.outlets.metrics.app_fit(is_fit);
        Some(Input::FitnessSeen(is_fit))
    }

    /// The app's volume went back in time, its data are wrong, or definitions were refused: an Event, once for each run of
    /// the sidecar, or when the report changes.
    fn look_at_report(&mut self) {
        let status = self.inlets.app.status().0;
        let went_back = status.and_then(|status| status.went_back.clone());
        let diverged = status.and_then(|status| status.diverged.clone());
        if let Some(why) = went_back.as_ref().filter(|why| self.went_back.as_ref() != Some(why)) {
            self.outlets.recorder.tell(events::went_back(why));
        }
        if let Some(why) = diverged.as_ref().filter(|why| self.diverged.as_ref() != Some(why)) {
            self.outlets.recorder.tell(events::diverged(why));
        }
        let refused = status.and_then(|status| status.refused_definitions.clone());
        if let Some(why) = refused.as_ref().filter(|why| self.refused_definitions.as_ref() != Some(why)) {
            self.outlets.recorder.tell(events::definitions_refused(why));
        }
        (self.went_back, self.diverged, self.refused_definitions) = (went_back, diverged, refused);
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            // The watch begins with a list of the same: one request, and one connection, instead of two.
            Effect::ReadLease if self.first_look == FirstLook::Wanted => self.first_look = FirstLook::Awaited,
            Effect::ReadLease => self.requests.push(Box::pin(self.outlets.lease.read().map(Answer::Lease))),
            Effect::WriteLease(write) => {
                debug!(why = ?write.why, term = %write.body.term, holder = write.body.holder, "writing the Lease");
                self.requests.push(Box::pin(self.outlets.lease.write(write).map(Answer::Lease)));
            }
            Effect::ReadRecord => self.requests.push(Box::pin(self.outlets.record.read().map(Answer::Known))),
            Effect::WriteRecord(write) => {
                debug!(term = %write.term, "writing the record of terms");
                self.requests.push(Box::pin(self.outlets.record.write(write).map(Answer::Known)));
            }
            Effect::AwaitLeadLock { number } => self.inlets.app.await_lead_lock(number),
            Effect::Answer { term, ending } => self.desk.judge(term, ending),
            Effect::PublishRole(view) => {
                self.publish(&view);
                self.published = Some(view);
                self.role_reported = None;
            }
            Effect::UpdateEndpoints { name, address, term } => {
                let address = address.or_else(|| self.config.member_address_of(&name)).unwrap_or_default();
                let owner = self.outlets.lease.owner().cloned();
                self.outlets.endpoints.send_replace(Some(Target { name, address, term: term.0, owner }));
            }
            Effect::LeaveEndpoints => {
                self.outlets.endpoints.send_replace(None);
            }
            Effect::Tell(event) => self.tell(&event),
            Effect::Stopped => self.stopped = true,
        }
    }

    /// Until the first decision the old role.json stays, with its content.
    fn addresses_seen(&mut self) {
        let Some(seen) = self.inlets.addresses.borrow_and_update().clone() else { return };
        if self.book.see(seen)
            && let Some(view) = self.published.take()
        {
            self.publish(&view);
            self.published = Some(view);
        }
    }

    fn publish(&mut self, view: &RoleView) {
        let file = role_file(view, &self.book, &self.config, &self.clock);
        self.outlets.metrics.role(file.role.as_str(), file.term);
        self.outlets.label.send_if_modified(|word| word.replace(file.role.as_str()) != Some(file.role.as_str()));
        self.outlets.role.publish(file);
    }

    fn tell(&mut self, event: &Event) {
        if let Event::LeaderChanged { leader, term, .. } = event {
            if self.history.len() == HISTORY_MAX {
                self.history.pop_front();
            }
            self.history.push_back(Change { at_unix_ms: unix_ms(), leader: leader.clone(), term: term.0 });
            if leader.is_some() {
                self.outlets.metrics.transition();
                if self.config.app == AppKind::Plain
                    && let Some(gap) = self.failover.leader_known(self.clock.now(), self.config.lease_duration, *term)
                {
                    self.outlets.metrics.failed_over(gap);
                }
            }
        }
        self.outlets.recorder.tell(events::told(event));
    }

    fn answered(&mut self, answer: Answer) -> Input {
        let input = match answer {
            Answer::Lease(answer) => self.outlets.lease.input(answer),
            Answer::Known(input) => return input,
        };
        if let Input::LeaseRead(outcome) = &input {
            self.suspect_watch(outcome);
        }
        input
    }

    /// A watch that reported nothing for a whole duration, while a read shows something else or gets no answer at all,
    /// has most likely lost its connection without knowing.
    fn suspect_watch(&self, outcome: &ReadOutcome) {
        let (at, version) = &self.watched;
        if self.clock.now().saturating_sub(*at) < self.config.lease_duration {
            return;
        }
        let same = match outcome {
            ReadOutcome::Found(lease) => version.as_ref() == Some(&lease.version.0),
            ReadOutcome::NotFound => version.is_none(),
            ReadOutcome::NoAnswer => false,
        };
        if !same {
            debug!("the watch of the Lease is silent and out of date; restarting it");
            self.outlets.restart.send_modify(|generation| *generation += 1);
        }
    }

    fn lease_watched(&mut self, observed: Observed<RawLease>) -> Input {
        let input = self.outlets.lease.watched(observed);
        if let Input::LeaseWatched(watched) = &input {
            let version = match watched {
                Watched::Present(lease) => Some(lease.version.0.clone()),
                Watched::Absent { .. } => None,
            };
            if let Watched::Present(lease) = watched
                && version != self.watched.1
                && self.config.app == AppKind::Plain
            {
                self.failover.lease_seen(self.clock.now(), self.config.lease_duration, &lease.body);
            }
            self.watched = (self.clock.now(), version);
        }
        if std::mem::replace(&mut self.first_look, FirstLook::Over) == FirstLook::Awaited {
            self.step(Input::LeaseRead(match &input {
                Input::LeaseWatched(Watched::Present(lease)) => ReadOutcome::Found(lease.clone()),
                Input::LeaseWatched(Watched::Absent { .. }) => ReadOutcome::NotFound,
                _ => ReadOutcome::NoAnswer,
            }));
        }
        input
    }

    fn members_observed(&mut self, observed: Observed<StatefulSet>) -> Option<Input> {
        let wanted = members::wanted(observed, &self.config)?;
        self.outlets.endpoints.send_if_modified(|target| match target {
            Some(target) if target.owner != wanted.owner => {
                target.owner.clone_from(&wanted.owner);
                true
            }
            Some(_) | None => false,
        });
        self.outlets.lease.set_owner(wanted.owner);
        self.step(Input::RevisionSeen(wanted.newest_revision));
        Some(Input::MembersSeen(wanted.members))
    }

    /// Publishes the state to HTTP and to an app that embeds the elector.
    fn show(&self) {
        let (app, app_alive) = self.inlets.app.status();
        let lease = self.election.lease();
        let state = State {
            name: self.config.name.clone(),
            sidecar_version: env!("CARGO_PKG_VERSION").to_owned(),
            fencing: self.config.app == AppKind::Fencing,
            role: self.outlets.role.latest().cloned(),
            app: app.cloned(),
            app_alive,
            health: self.inlets.health.borrow().clone(),
            lease: lease.flatten().map(|lease| self.lease_state(lease)),
            lease_read: lease.is_some() || self.outlets.state.borrow().lease_read,
            waits: self.election.waits().iter().map(|event| events::told(event).note).collect(),
            missing_rights: self.outlets.requester.missing_rights(),
            failing_objects: self.outlets.upkeep.failing(),
            history: self.history.iter().cloned().collect(),
        };
        self.outlets.state.send_if_modified(|shown| {
            let modified = *shown != state;
            *shown = state;
            modified
        });
    }

    fn lease_state(&self, lease: &leasehold_election::Lease) -> LeaseState {
        let raw = self.outlets.lease.latest().and_then(|raw| raw.spec.as_ref());
        LeaseState {
            version: lease.version.0.clone(),
            holder: lease.body.holder.clone(),
            term: lease.body.term.0,
            incarnation: lease.body.incarnation(),
            renew_time: lease.renewed.clone(),
            acquire_time: raw.and_then(|spec| spec.acquire_time.as_ref()).map(|time| time.0.to_string()),
            duration_seconds: lease.body.duration_seconds,
            annotations: lease.body.annotations.clone(),
        }
    }
}

async fn members(receiver: &mut Option<mpsc::Receiver<Observed<StatefulSet>>>) -> Option<Observed<StatefulSet>> {
    match receiver {
        Some(receiver) => receiver.recv().await,
        None => std::future::pending().await,
    }
}
