//! A running elector: the tasks, and the handle of each.
//!
//! ```text
//!   Elector::start ──spawns──▶ election (driver) ◀── Lease watch, StatefulSet watch
//!                              HTTP, Events, pod label, EndpointSlices, the app's health, --notify
//!   Elector::ended ◀── the first of them that ends: the election after `stop`, or a fault
//! ```
//!
//! A dead election task in a pod that looks ready is the worst possible failure, so every task is supervised.

mod claim;
mod handle;
mod lead;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease as RawLease;
use kube::{Api, Client};
use leasehold_contract::Moment;
use leasehold_election::{App, Election};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use crate::app::AppWatch;
use crate::args::{AppKind, Config, ConfigError};
use crate::clock::Clock;
use crate::control::{self, Control, Request, TokenFile, Word};
use crate::driver::{Driver, Inlets, Outlets};
use crate::health::{self, FAILURES_MAX};
use crate::http::{self, Heartbeat, Sources};
use crate::kube::addresses::Seen;
use crate::kube::endpoints::Target;
use crate::kube::events::{self, Recorder};
use crate::kube::lease::LeaseClient;
use crate::kube::members::{self, STATEFUL_SETS, StatefulSet};
use crate::kube::observe::{Observed, Observer};
use crate::kube::record::RecordClient;
use crate::kube::request::{Backoff, LEASES, Requester};
use crate::kube::upkeep::Upkeep;
use crate::kube::{addresses, endpoints, label};
use crate::locks::Locks;
use crate::notify;
use crate::role::{RoleWriter, old_role};
use crate::state::{Health, State};
use crate::telemetry::Metrics;

pub use claim::{Claim, Lost};
pub use handle::Handle;
pub use lead::terminated;

/// How many observations may wait for the election. It receives them at once; at the bound the watch waits.
const OBSERVED_MAX: usize = 16;
/// How long sending the last Events, and the last notice, may take after the Lease was let go.
const LAST_EVENTS: Duration = Duration::from_secs(1);

/// A running elector. [`Elector::lead`] is all that most programs need; [`Elector::leadership`] is for loops of your own.
///
/// Dropping it ends it at once, as a crash would: the Lease is not let go of, and has to run out. Use [`Elector::lead`], or
/// [`Elector::stop`] and [`Elector::ended`], to end it well.
#[derive(Debug)]
pub struct Elector {
    tasks: JoinSet<&'static str>,
    handle: Handle,
    /// The tasks that have something to send when the election has ended.
    last: Vec<&'static str>,
}

/// Why an elector did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The port is taken, or not permitted.
    #[error("cannot serve HTTP: {0}; choose another port with --listen (a library: Config::listen)")]
    Listen(#[source] std::io::Error),
    /// A fencing app reports its state in a directory, and `exec` has its locks there, but none was given.
    #[error("a fencing app and exec need the directory that they share with the elector; set --directory")]
    NoDirectory,
    /// The word in control.token must be random.
    #[error("the system has no random numbers for control.token; end this process, and start it again")]
    NoRandom(#[source] std::io::Error),
    /// The pod has no address to advertise.
    #[error(
        "this pod has no address to advertise; set --address, --service or --member-address (a library: Config::address)"
    )]
    NoAddress,
    /// A field of the configuration is invalid.
    #[error("the elector's configuration is invalid; change the field that is named")]
    Config(#[from] ConfigError),
}

/// Why an elector ended without a request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndError {
    /// A task that runs forever ended.
    #[error("the elector's task {0} ended, which it never should; end this process, and start it again")]
    TaskEnded(&'static str),
    /// A task panicked.
    #[error("a task of the elector panicked; end this process, and start it again")]
    TaskPanicked(#[source] JoinError),
}

impl Elector {
    /// Starts taking part in the election. Call it on a tokio runtime with timers and IO; one thread is enough.
    ///
    /// # Errors
    /// See [`StartError`]. An unreachable API server is not an error: requests are retried.
    pub async fn start(config: Config, client: Client) -> Result<Elector, StartError> {
        config.check()?;
        let config = Arc::new(config);
        let metrics = Metrics::new();
        let heartbeat = Heartbeat::new();
        let requester = Requester::new(client, &config, metrics.clone());
        let upkeep = Upkeep::new(metrics.clone());
        let (state_sender, state) = watch::channel(State::default());
        let (restart_sender, restart) = watch::channel(0);
        let stop = CancellationToken::new();
        let mut tasks = Tasks {
            running: JoinSet::new(),
            config: Arc::clone(&config),
            requester: requester.clone(),
            metrics: metrics.clone(),
            upkeep: upkeep.clone(),
            restart,
        };

        // The word is in its file before anybody can be asked for it.
        let Controls { control, requests, asking, token } = controls(&config)?;
        tasks.serve_http(Sources::new(state.clone(), heartbeat.clone(), metrics.clone(), control)).await?;
        let lease = tasks.watch_lease();
        let members = tasks.watch_stateful_set();
        let addresses = tasks.watch_addresses();
        let recorder = tasks.write_events();
        let label = tasks.keep_label();
        let endpoints = tasks.keep_endpoints();
        let (own_health, health) = tasks.check_health(&state);
        tasks.notify(state.clone());

        let app = app_watch(&config, &metrics)?;
        warn_without_boot_id(&config);
        let election = election(&config)?;
        let inlets = Inlets { lease, members, addresses, app, health, requests, stop: stop.clone() };
        let outlets = Outlets {
            lease: LeaseClient::new(requester.clone(), &config.lease),
            record: RecordClient::new(requester.clone(), &config.lease),
            role: RoleWriter::new(config.directory.clone()),
            token,
            endpoints,
            label,
            recorder,
            state: state_sender,
            heartbeat,
            metrics,
            restart: restart_sender,
            requester,
            upkeep,
        };
        let last = if config.notify.is_some() { vec![EVENTS, NOTIFY] } else { vec![EVENTS] };
        let driver = Driver::new(config, Clock::start(), election, inlets, outlets);
        tasks.spawn(ELECTION, driver.run());
        let handle = Handle { state, stop, requests: asking, health: own_health };
        Ok(Elector { tasks: tasks.running, handle, last })
    }

    /// For the parts of a program that do not own the elector.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits until this process leads, as [`Handle::leadership`].
    pub async fn leadership(&self) -> Option<Claim> {
        self.handle.leadership().await
    }

    /// What the elector knows; the receiver is notified of each change.
    pub fn state(&self) -> watch::Receiver<State> {
        self.handle.state()
    }

    /// Asks it to let go of the leadership and to end. [`Elector::ended`] returns when that is done. Other processes wait two
    /// lost-times, for work that may still end here; after [`Claim::release`] they need not.
    pub fn stop(&self) {
        self.handle.stop();
    }

    /// As [`Elector::stop`], for code that does not own the elector: cancel it.
    pub fn stopper(&self) -> CancellationToken {
        self.handle.stop.clone()
    }

    /// Waits until the elector ended.
    ///
    /// # Errors
    /// It ended although nobody asked it to: a fault. The caller should also end and be restarted.
    pub async fn ended(mut self) -> Result<(), EndError> {
        let mut last = std::mem::take(&mut self.last);
        loop {
            match self.tasks.join_next().await {
                Some(Ok(ELECTION)) => break,
                // The tasks that only serve the election may end a moment before its own end is seen.
                Some(Ok(name)) if self.handle.stop.is_cancelled() => last.retain(|waited| *waited != name),
                Some(Ok(name)) => return Err(EndError::TaskEnded(name)),
                Some(Err(error)) => return Err(EndError::TaskPanicked(error)),
                None => return Err(EndError::TaskEnded(ELECTION)),
            }
        }
        // These send the last Events and the last notice, if somebody accepts them.
        let last_words = async {
            while !last.is_empty()
                && let Some(ended) = self.tasks.join_next().await
            {
                last.retain(|waited| !matches!(ended, Ok(name) if name == *waited));
            }
        };
        let _ = tokio::time::timeout(LAST_EVENTS, last_words).await;
        if self.handle.stop.is_cancelled() { Ok(()) } else { Err(EndError::TaskEnded(ELECTION)) }
    }
}

/// How long a fit pod looks on while an unfit one leads, where nobody checks the health of its own app.
const FITNESS_PATIENCE: Duration = Duration::from_secs(3);
/// See [`label::Keeper::watch_pause`].
const POD_WATCH_PAUSE: Duration = Duration::from_secs(5);
const ELECTION: &str = "election";
const EVENTS: &str = "events";
const NOTIFY: &str = "notify";

/// The tasks that were begun, and what those that serve the election share.
struct Tasks {
    running: JoinSet<&'static str>,
    config: Arc<Config>,
    requester: Requester,
    metrics: Metrics,
    upkeep: Upkeep,
    /// Changes when somebody found that the connection to the API server is dead.
    restart: watch::Receiver<u64>,
}

impl Tasks {
    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.running.spawn(async move {
            task.await;
            name
        });
    }

    async fn serve_http(&mut self, sources: Sources) -> Result<(), StartError> {
        if let Some(address) = self.config.listen {
            let listener = http::listen(address).await.map_err(StartError::Listen)?;
            self.spawn("http", http::run(listener, sources));
        }
        Ok(())
    }

    fn watch_lease(&mut self) -> mpsc::Receiver<Observed<RawLease>> {
        let (sender, receiver) = mpsc::channel(OBSERVED_MAX);
        let observer = Observer {
            requester: self.requester.clone(),
            api: Api::namespaced(self.requester.client.clone(), &self.config.namespace),
            name: self.config.lease.clone(),
            resource: LEASES,
            // Never longer than a request may take: how soon an API server that came back is found again.
            backoff: Backoff::new(self.requester.timeout),
            restart: self.restart.clone(),
        };
        self.spawn("lease watch", observer.run(sender));
        receiver
    }

    fn watch_stateful_set(&mut self) -> Option<mpsc::Receiver<Observed<StatefulSet>>> {
        let name = self.config.stateful_set.clone()?;
        let (sender, receiver) = mpsc::channel(OBSERVED_MAX);
        let observer = Observer {
            requester: self.requester.clone(),
            api: members::api(self.requester.client.clone(), &self.config.namespace),
            name,
            resource: STATEFUL_SETS,
            backoff: Backoff::new(Duration::from_secs(15)),
            restart: self.restart.clone(),
        };
        self.spawn("statefulset watch", observer.run(sender));
        Some(receiver)
    }

    fn watch_addresses(&mut self) -> watch::Receiver<Option<Seen>> {
        let (sender, addresses) = watch::channel(None);
        if let Some(service) = self.config.service.clone() {
            let restart = self.restart.clone();
            self.spawn("addresses", addresses::run(self.requester.clone(), service, sender, restart));
        }
        addresses
    }

    fn write_events(&mut self) -> Recorder {
        let (recorder, queue) = Recorder::new(self.metrics.clone());
        let (requester, config) = (self.requester.clone(), Arc::clone(&self.config));
        self.spawn(EVENTS, events::run(queue, requester, config, self.metrics.clone()));
        recorder
    }

    fn keep_label(&mut self) -> watch::Sender<Option<&'static str>> {
        let (label, roles) = watch::channel(None);
        let keeper = label::Keeper {
            requester: self.requester.clone(),
            pod: self.config.name.clone(),
            upkeep: self.upkeep.clone(),
            watch_pause: POD_WATCH_PAUSE,
            restart: self.restart.clone(),
        };
        self.spawn("label", keeper.run(roles));
        label
    }

    /// The checks that the flags ask for; without them the word of the program that embeds the elector.
    fn check_health(
        &mut self,
        state: &watch::Receiver<State>,
    ) -> (watch::Sender<Option<Health>>, watch::Receiver<Option<Health>>) {
        let is_plain = self.config.app == AppKind::Plain;
        let unfit = || health::own_word(Err("it has not said yet that it is fit".to_owned()));
        let own = (is_plain && !self.config.starts_fit).then(unfit);
        let Some(check) = self.config.health.clone().filter(|_| is_plain) else { return watch::channel(own) };
        let is_exec = self.config.exec;
        self.metrics.app_fit(is_exec);
        let (sender, health) = watch::channel(Some(health::before(&check, is_exec)));
        let state = is_exec.then(|| state.clone());
        self.spawn("health", health::run(check, state, self.config.lease_duration, sender));
        // Nobody listens to it: two words of one app would end each other's.
        (watch::channel(None).0, health)
    }

    fn notify(&mut self, state: watch::Receiver<State>) {
        if let Some(url) = self.config.notify.clone() {
            self.spawn(NOTIFY, notify::run(url, state, self.metrics.clone()));
        }
    }

    fn keep_endpoints(&mut self) -> watch::Sender<Option<Target>> {
        let (endpoints, targets) = watch::channel(None);
        if let Some(service) = self.config.leader_service.clone() {
            let keeper = endpoints::Keeper {
                requester: self.requester.clone(),
                config: Arc::clone(&self.config),
                service,
                upkeep: self.upkeep.clone(),
                restart: self.restart.clone(),
            };
            self.spawn("endpoints", keeper.run(targets));
        }
        endpoints
    }
}

/// The three ends of requests: HTTP, the election, and the file that has the word.
struct Controls {
    control: Option<Control>,
    requests: mpsc::Receiver<Request>,
    /// The end of the program that embeds the elector: whoever has it needs no word.
    asking: mpsc::Sender<Request>,
    token: Option<TokenFile>,
}

/// A fencing app asks in its status.json; without a directory nobody can learn the word.
fn controls(config: &Config) -> Result<Controls, StartError> {
    let word = Word::random().map_err(StartError::NoRandom)?;
    let (control, requests) = control::open(word.clone());
    let directory = config.directory.clone().filter(|_| config.app == AppKind::Plain);
    let token = directory.map(|directory| TokenFile::write(directory, word));
    let asking = control.requests.clone();
    Ok(Controls { control: token.is_some().then_some(control), requests, asking, token })
}

fn app_watch(config: &Config, metrics: &Metrics) -> Result<AppWatch, StartError> {
    match (config.app, &config.directory) {
        (AppKind::Plain, None) if config.exec => Err(StartError::NoDirectory),
        (AppKind::Plain, Some(directory)) if config.exec => Ok(AppWatch::Exec(Locks::new(directory))),
        (AppKind::Plain, _) => Ok(AppWatch::Plain),
        (AppKind::Fencing, Some(directory)) => Ok(AppWatch::fencing(directory, metrics.clone())),
        (AppKind::Fencing, None) => Err(StartError::NoDirectory),
    }
}

fn warn_without_boot_id(config: &Config) {
    if config.app == AppKind::Plain && config.directory.is_some() && Moment::now().boot_id.is_none() {
        warn!(
            file = "/proc/sys/kernel/random/boot_id",
            "cannot read the boot id, so role.json carries none: a program must not lead by this role.json; let \
             it ask GET /leader"
        );
    }
}

pub(crate) fn election(config: &Config) -> Result<Election, StartError> {
    let (seed, _) = Uuid::new_v4().as_u64_pair();
    Ok(Election::new(leasehold_election::Config {
        name: config.name.clone(),
        address: config.member_address_of(&config.name).ok_or(StartError::NoAddress)?,
        app: match config.app {
            AppKind::Plain => App::Plain { incarnation: Uuid::new_v4(), exec: config.exec },
            AppKind::Fencing => App::Fencing,
        },
        duration: config.lease_duration,
        lost_time: config.lost_time,
        fitness_patience: config.health.as_ref().map_or(FITNESS_PATIENCE, |check| check.period * FAILURES_MAX),
        stop_bound: stop_bound(config.grace_period),
        seed,
        old_role: config.directory.as_deref().and_then(|directory| old_role(directory, &config.name)),
    }))
}

/// The part of the grace period for the app and the Lease; the rest is for shutting down.
fn stop_bound(grace_period: Duration) -> Duration {
    let reserve = (grace_period / 4).min(Duration::from_secs(5));
    grace_period - reserve
}
