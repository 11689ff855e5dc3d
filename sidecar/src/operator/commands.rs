//! The commands of operators: `status`, `switchover`, `pause`, `resume`, `adopt`, and `step-down`, which `step_down` has.
//!
//! ```text
//!   status     ──▶ the sidecars of all pods, over HTTP ──(none answers)──▶ the Lease itself ──▶ a table, or JSON
//!   switchover ──▶ fit? ──▶ the Lease's annotation ──▶ wait until the pod says that it leads, or the request is gone
//!   others     ──▶ GET the Lease, change one annotation, PUT with its version (409: again, a few times)
//! ```
//!
//! A command only writes the request into the Lease; the sidecars read it there and act. So `kubectl annotate lease` has
//! the same effect.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease as RawLease;
use kube::api::PostParams;
use kube::{Api, Client};
use leasehold_election::{Body, annotation};

use crate::args::{Command, Config, Output};
use crate::kube::connect::{ConnectError, connect};
use crate::kube::lease::view;
use crate::kube::request::{LEASES, RequestError, Requester, Right};
use crate::operator::fleet::{self, Fleet, Pod};
use crate::operator::step_down::{self, StepDownError};
use crate::operator::table;
use crate::telemetry::Metrics;

/// How often to try a write when another writer (a renewal) is faster each time.
const ATTEMPTS: usize = 8;
/// The interval between two checks of a switchover's progress.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// So many looks in a row may find neither the request nor its outcome.
const WITHOUT_WISH_MAX: u32 = 10;
/// From one picture of `status --watch` to the next.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The API server cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// `step-down` failed.
    #[error(transparent)]
    StepDown(#[from] StepDownError),
    /// The right to do it is missing.
    #[error(
        "not allowed: the permission to {verb} leases.coordination.k8s.io {name:?} in namespace {namespace:?} is \
         missing; grant it to yourself or to the service account that runs this command, or run this as a user who \
         has it: {instead} ({message})"
    )]
    Denied {
        /// The attempted action.
        verb: &'static str,
        /// Its name.
        name: String,
        /// Its namespace.
        namespace: String,
        /// The same action with kubectl.
        instead: String,
        /// The API server's message.
        message: String,
    },
    /// There is no such Lease.
    #[error("there is no Lease {name:?} in namespace {namespace:?}")]
    NoLease {
        /// Its name.
        name: String,
        /// Its namespace.
        namespace: String,
    },
    /// Another failure of a request.
    #[error("the API server refused or did not answer")]
    Request(#[source] RequestError),
    /// The requested leader is not a pod of the StatefulSet.
    #[error("{to} is not a pod of {stateful_set}")]
    NoMember {
        /// The pod.
        to: String,
        /// The StatefulSet.
        stateful_set: String,
    },
    /// The requested leader is not a pod that the sidecars know.
    #[error("{to} is not a member; the members are {members}. Nothing was changed")]
    Unknown {
        /// The pod.
        to: String,
        /// The members.
        members: String,
    },
    /// The requested pod cannot lead.
    #[error("{to} cannot lead: {why}. Nothing was changed")]
    NotFit {
        /// The pod.
        to: String,
        /// The reason.
        why: String,
    },
    /// No known pod could lead.
    #[error("found no follower that can lead: `sidecar status` shows why; name one with --to. Nothing was changed")]
    NobodyFit,
    /// No sidecar reports who could lead.
    #[error(
        "no sidecar answers here (is this machine outside the cluster?), so no follower is known: name one with --to, \
         or run this in a pod: kubectl exec -n {namespace} POD -c sidecar -- sidecar switchover. Nothing was changed"
    )]
    NobodyAnswers {
        /// For the pods.
        namespace: String,
    },
    /// Another pod led, or it did not happen in time: the sidecars removed the request.
    #[error("the sidecars abandoned the switchover to {to}; {leader} holds the Lease (its Events say why)")]
    GivenUp {
        /// The requested pod.
        to: String,
        /// The present leader.
        leader: String,
    },
    /// It took too long.
    #[error("{to} did not lead within {time_max:?}: the request was withdrawn{waits}")]
    NotInTime {
        /// The requested pod.
        to: String,
        /// How long the command waited.
        time_max: Duration,
        /// What the present leader waits for.
        waits: String,
    },
    /// The Lease has another cluster-id, which is not overwritten while the Lease has a holder.
    #[error("the Lease has cluster-id {present} and {holder} holds it: stop that cluster first")]
    OtherCluster {
        /// The present cluster-id.
        present: String,
        /// The holder.
        holder: String,
    },
}

/// Carries out an operator's command, and prints the result.
///
/// # Errors
/// See [`OperatorError`]; each is one sentence for the operator.
pub async fn run_command(
    command: &Command,
    config: &Config,
    print: &mut (dyn FnMut(&str) + Send),
) -> Result<(), OperatorError> {
    match command {
        Command::Status { output, watch } => loop {
            let text = status(*output, config).await?;
            if !watch {
                print(&text);
                return Ok(());
            }
            // A table replaces the last one on the screen; JSON is one object a line for programs.
            print(&if *output == Output::Table { format!("\x1b[H\x1b[2J{text}") } else { text });
            tokio::time::sleep(WATCH_PAUSE).await;
        },
        Command::StepDown { term, timeout } => {
            print(&step_down::run(*term, *timeout, config).await?);
            Ok(())
        }
        other => {
            let leases = Leases::open(config, connect(config).await?);
            print(&leases.carry_out(other, config).await?);
            Ok(())
        }
    }
}

async fn status(output: Output, config: &Config) -> Result<String, OperatorError> {
    let mut fleet = Fleet::ask(config).await;
    let lease = if fleet.is_silent() {
        // As on an operator's machine, which is no pod: the Lease names the holder.
        let lease = Leases::open(config, connect(config).await?).get().await?;
        let body = view(&lease).body;
        if fleet.leader.is_none() {
            (fleet.leader, fleet.term) = (body.holder, Some(body.term.0));
        }
        Some(lease)
    } else {
        None
    };
    match (output, lease) {
        (Output::Json, _) => Ok(format!("{}\n", serde_json::to_string(&fleet).expect("plain data has a JSON form"))),
        (Output::Table, Some(lease)) => {
            // On an operator's machine no pod is known by name.
            let pods = if fleet.pods.is_empty() { String::new() } else { table::of_pods(&fleet) };
            Ok(format!("{}{pods}", table::of_lease(&lease, config)))
        }
        (Output::Table, None) => Ok(table::of_fleet(&fleet)),
    }
}

/// The Lease as a command changes it.
struct Leases {
    requester: Requester,
    api: Api<RawLease>,
    name: String,
}

impl Leases {
    fn open(config: &Config, client: Client) -> Leases {
        let api = Api::namespaced(client.clone(), &config.namespace);
        Leases { requester: Requester::new(client, config, Metrics::new()), api, name: config.lease.clone() }
    }

    async fn carry_out(&self, command: &Command, config: &Config) -> Result<String, OperatorError> {
        let lease = &config.lease;
        match command {
            // The caller handles them: running the sidecar is no command, and these have nothing to do with the Lease.
            Command::Run
            | Command::Status { .. }
            | Command::StepDown { .. }
            | Command::Inject(_)
            | Command::Exec(_)
            | Command::Copy { .. }
            | Command::ExecGuard(_)
            | Command::ExecStart(_) => Ok(String::new()),
            Command::Switchover { to, timeout, no_wait } => {
                self.switch_over(to.as_deref(), (!no_wait).then_some(*timeout), config).await
            }
            Command::Pause => {
                self.annotate(annotation::PAUSED, Some("true")).await?;
                Ok(format!("paused: no pod takes Lease {lease} by itself until `sidecar resume`\n"))
            }
            Command::Resume => {
                self.annotate(annotation::PAUSED, None).await?;
                Ok(format!("resumed: pods take over Lease {lease} again when a take-over is due\n"))
            }
            Command::Adopt { cluster_id } => {
                let id = cluster_id.to_string();
                let present = self.get().await?;
                let of_lease = present.metadata.annotations.as_ref().and_then(|all| all.get(annotation::CLUSTER_ID));
                let holder = present.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref());
                match (of_lease, holder.filter(|holder| !holder.is_empty())) {
                    (Some(other), _) if *other == id => {
                        return Ok(format!("Lease {lease} has cluster-id {id} already\n"));
                    }
                    (Some(other), Some(holder)) if !self.expired(&present) => {
                        return Err(OperatorError::OtherCluster { present: other.clone(), holder: holder.clone() });
                    }
                    _ => {}
                }
                self.annotate(annotation::CLUSTER_ID, Some(&id)).await?;
                Ok(format!("adopted: Lease {lease} now belongs to cluster {id}\n"))
            }
        }
    }

    /// Requests it, and waits until it has happened: until the pod reports that it leads.
    async fn switch_over(
        &self,
        to: Option<&str>,
        time_max: Option<Duration>,
        config: &Config,
    ) -> Result<String, OperatorError> {
        let fleet = Fleet::ask(config).await;
        let to = successor(to, &fleet, config)?;
        let before = view(&self.get().await?).body;
        if before.holder.as_ref() == Some(&to) && fleet.leader.as_ref().is_none_or(|leader| *leader == to) {
            return Ok(format!("{to} leads already, in term {}\n", before.term));
        }
        if let Some(why) = fleet.pod(&to).and_then(Pod::why_not_fit) {
            return Err(OperatorError::NotFit { to, why });
        }
        let began = Instant::now();
        self.annotate(annotation::PREFERRED_HOLDER, Some(&to)).await?;
        let Some(time_max) = time_max else {
            // Who is not known may be misspelt.
            let doubt = if fleet.members().is_empty() { ", if there is such a pod" } else { "" };
            return Ok(format!("requested a switchover to {to}{doubt}. `sidecar status` shows when it leads.\n"));
        };
        Switchover { leases: self, config, fleet, to, before, began }.outcome(time_max).await
    }

    /// By the wall clock: good enough to keep an operator from a mistake, no more.
    fn expired(&self, lease: &RawLease) -> bool {
        let Some(spec) = &lease.spec else { return true };
        let Some(renewed) = &spec.renew_time else { return true };
        let duration = i64::from(spec.lease_duration_seconds.unwrap_or(0));
        jiff::Timestamp::now().as_second() > renewed.0.as_second() + duration
    }

    async fn get(&self) -> Result<RawLease, OperatorError> {
        let got = self.requester.call(Right::new("get", LEASES), self.api.get_opt(&self.name)).await;
        got.map_err(|error| self.explain("get", "", error))?.ok_or_else(|| self.no_lease())
    }

    async fn annotate(&self, name: &str, value: Option<&str>) -> Result<(), OperatorError> {
        let mut last = RequestError::Conflict;
        for _ in 0..ATTEMPTS {
            let mut lease = self.get().await?;
            let annotations = lease.metadata.annotations.get_or_insert_default();
            match value {
                Some(value) => annotations.insert(name.to_owned(), value.to_owned()),
                None => annotations.remove(name),
            };
            lease.metadata.managed_fields = None;
            let params = PostParams::default();
            let replace = self.api.replace(&self.name, &params, &lease);
            match self.requester.call(Right::new("update", LEASES), replace).await {
                Ok(_) => return Ok(()),
                Err(RequestError::Conflict) => {}
                // The outcome is unknown; the same annotation written twice is the same annotation.
                Err(error @ (RequestError::TimedOut(_) | RequestError::Failed { .. })) => last = error,
                Err(error) => {
                    let change =
                        value.map_or_else(|| format!(" {name}-"), |value| format!(" --overwrite {name}={value}"));
                    return Err(self.explain("update", &change, error));
                }
            }
        }
        Err(OperatorError::Request(last))
    }

    fn no_lease(&self) -> OperatorError {
        OperatorError::NoLease { name: self.name.clone(), namespace: self.requester.namespace.clone() }
    }

    /// `change`: the arguments of `kubectl annotate`.
    fn explain(&self, verb: &'static str, change: &str, error: RequestError) -> OperatorError {
        match error {
            RequestError::Denied { message, .. } => {
                let kubectl = if change.is_empty() { "get" } else { "annotate" };
                let namespace = self.requester.namespace.clone();
                let instead = format!("kubectl {kubectl} lease -n {namespace} {}{change}", self.name);
                OperatorError::Denied { verb, name: self.name.clone(), namespace, instead, message }
            }
            RequestError::NotFound => self.no_lease(),
            other => OperatorError::Request(other),
        }
    }
}

/// Who shall lead: the pod that was named, or else the fittest follower.
fn successor(to: Option<&str>, fleet: &Fleet, config: &Config) -> Result<String, OperatorError> {
    let to = match to {
        Some(to) => to.to_owned(),
        None if fleet.is_silent() => {
            return Err(OperatorError::NobodyAnswers { namespace: config.namespace.clone() });
        }
        None => fleet.fittest_follower().map(|pod| pod.name.clone()).ok_or(OperatorError::NobodyFit)?,
    };
    check_member(&to, config)?;
    let members = fleet.members();
    if !members.is_empty() && !members.contains(&to.as_str()) {
        return Err(OperatorError::Unknown { to, members: members.join(", ") });
    }
    Ok(to)
}

/// A switchover that was requested.
struct Switchover<'a> {
    leases: &'a Leases,
    config: &'a Config,
    fleet: Fleet,
    to: String,
    /// The Lease before the request.
    before: Body,
    began: Instant,
}

/// How far it is, by one look.
enum Look {
    /// It is done: the words for it.
    Done(String),
    /// The Lease still has the request, or its outcome.
    UnderWay,
    /// The Lease has neither. One look may fall between the end of the wish and the news of the new leader.
    NoWish { holder: Option<String> },
    /// The API server may be away for a moment; the pod itself can still tell.
    Unknown,
}

impl Switchover<'_> {
    /// Waits until it is done or given up, and withdraws it after `time_max`.
    async fn outcome(self, time_max: Duration) -> Result<String, OperatorError> {
        let mut without_wish = 0;
        while self.began.elapsed() < time_max {
            tokio::time::sleep(LOOK_PAUSE).await;
            match self.look().await {
                Look::Done(words) => return Ok(words),
                Look::UnderWay => without_wish = 0,
                Look::NoWish { holder } => {
                    without_wish += 1;
                    if without_wish > WITHOUT_WISH_MAX {
                        let leader = holder.unwrap_or_else(|| "nobody".to_owned());
                        return Err(OperatorError::GivenUp { to: self.to, leader });
                    }
                }
                Look::Unknown => {}
            }
        }
        self.withdraw(time_max).await
    }

    async fn look(&self) -> Look {
        let to = &self.to;
        let (told, lease) =
            tokio::join!(fleet::ask_pod(self.config, to, self.fleet.addresses_of(to)), self.leases.get());
        if let Ok(told) = &told
            && told.leads
        {
            let term = told.state.role.as_ref().map_or(0, |role| role.term);
            if term > self.before.term.0 {
                return Look::Done(self.done(term, ""));
            }
        }
        let Ok(lease) = lease.map(|lease| view(&lease).body) else { return Look::Unknown };
        let is_holder = lease.holder.as_ref() == Some(to) && lease.term > self.before.term;
        if is_holder && told.is_err() {
            return Look::Done(self.done(lease.term.0, " by the Lease (its sidecar does not answer here)"));
        }
        if is_holder || lease.preferred_holder() == Some(to) {
            return Look::UnderWay;
        }
        Look::NoWish { holder: lease.holder }
    }

    fn done(&self, term: u64, note: &str) -> String {
        let (to, before, took) = (&self.to, self.before.term, self.began.elapsed().as_millis());
        let led = self.led();
        format!("{to} leads in term {term}{note}, {took} ms after the request; before, {led} led in term {before}\n")
    }

    fn led(&self) -> &str {
        self.before.holder.as_deref().unwrap_or("nobody")
    }

    /// It took too long: removes the request, and asks the present leader what it waits for.
    async fn withdraw(self, time_max: Duration) -> Result<String, OperatorError> {
        let lease = view(&self.leases.get().await?).body;
        if lease.preferred_holder() == Some(&self.to) {
            self.leases.annotate(annotation::PREFERRED_HOLDER, None).await?;
        }
        let led = self.led();
        let told = fleet::ask_pod(self.config, led, self.fleet.addresses_of(led)).await;
        let waits = told.map(|told| told.state.waits).unwrap_or_default();
        let waits = if waits.is_empty() { String::new() } else { format!("; {led} says: {}", waits.join("; ")) };
        Err(OperatorError::NotInTime { to: self.to, time_max, waits })
    }
}

fn check_member(to: &str, config: &Config) -> Result<(), OperatorError> {
    let Some(stateful_set) = &config.stateful_set else { return Ok(()) };
    let ordinal = to.strip_prefix(stateful_set).and_then(|rest| rest.strip_prefix('-'));
    if ordinal.is_some() && crate::address::ordinal(to).is_some() {
        return Ok(());
    }
    Err(OperatorError::NoMember { to: to.to_owned(), stateful_set: stateful_set.clone() })
}
