//! What people ask of the binary: `status`, `switchover`, `pause`, `resume`, `adopt`.
//!
//! ```text
//!   status ──▶ the sidecar of this pod, over HTTP ──(not there)──▶ the Lease itself ──▶ a table
//!   others ──▶ GET the Lease, change one annotation, PUT with its version (409: again, a few times)
//! ```
//!
//! A wish is only written down; the sidecars read it from the Lease and act.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease as RawLease;
use kube::api::PostParams;
use kube::{Api, Client};
use leasehold_election::annotation;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::args::{Command, Config};
use crate::request::{ConnectError, LEASES, RequestError, Requester, Right, connect};
use crate::state::State;
use crate::table;
use crate::telemetry::Metrics;

/// How often a write is tried when somebody else (a renewal) was faster each time.
const ATTEMPTS: usize = 8;
/// How long the sidecar of this pod may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest answer of the sidecar.
const STATE_MAX: u64 = 4 * 1024 * 1024;

/// Why a wish was not fulfilled.
#[derive(Debug, thiserror::Error)]
pub enum PersonError {
    /// There is no way to the API server.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The right to do it is missing.
    #[error(
        "not allowed: the right to {verb} {resource} {name:?} in namespace {namespace:?} is missing; grant it to yourself \
         or to the service account that this runs as ({message})"
    )]
    Denied {
        /// What was tried.
        verb: &'static str,
        /// On what kind of thing.
        resource: &'static str,
        /// Its name.
        name: String,
        /// Its namespace.
        namespace: String,
        /// What the API server said.
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
    #[error("the API server did not do it")]
    Request(#[source] RequestError),
    /// The pod that shall lead is none of the StatefulSet's.
    #[error("{to} is no pod of {stateful_set}")]
    NoMember {
        /// The pod.
        to: String,
        /// The StatefulSet.
        stateful_set: String,
    },
    /// The Lease has another cluster-id, which is not overwritten while somebody holds it.
    #[error("the Lease has cluster-id {present} and {holder} holds it: stop that cluster first")]
    OtherCluster {
        /// What stands there.
        present: String,
        /// Who holds it.
        holder: String,
    },
}

/// Does what a person asks, and returns what to print.
///
/// # Errors
/// See [`PersonError`]; each is one sentence for the person.
pub async fn obey(command: &Command, config: &Config) -> Result<String, PersonError> {
    if let Command::Status = command {
        if let Some(state) = ask_sidecar(config).await {
            return Ok(table::of_state(&state));
        }
        let lease = Leases::open(config, connect(config).await?).get().await?;
        return Ok(table::of_lease(&lease, config));
    }
    let leases = Leases::open(config, connect(config).await?);
    leases.obey(command, config).await
}

/// The Lease as a person's command changes it.
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

    async fn obey(&self, command: &Command, config: &Config) -> Result<String, PersonError> {
        let lease = &config.lease;
        match command {
            // Handled by the caller; running is not a person's wish.
            Command::Run | Command::Status => Ok(String::new()),
            Command::Switchover { to } => {
                check_member(to, config)?;
                if self.get().await?.spec.and_then(|spec| spec.holder_identity).as_deref() == Some(to) {
                    return Ok(format!("{to} leads already\n"));
                }
                self.annotate(annotation::PREFERRED_HOLDER, Some(to)).await?;
                Ok(format!("asked for: {to} shall lead. `sidecar status` shows when it does.\n"))
            }
            Command::Pause => {
                self.annotate(annotation::PAUSED, Some("true")).await?;
                Ok(format!("paused: nobody takes Lease {lease} by himself until `sidecar resume`\n"))
            }
            Command::Resume => {
                self.annotate(annotation::PAUSED, None).await?;
                Ok(format!("resumed: Lease {lease} is taken over again where it is due\n"))
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
                        return Err(PersonError::OtherCluster { present: other.clone(), holder: holder.clone() });
                    }
                    _ => {}
                }
                self.annotate(annotation::CLUSTER_ID, Some(&id)).await?;
                Ok(format!("adopted: Lease {lease} now belongs to cluster {id}\n"))
            }
        }
    }

    /// By the wall clock: good enough to keep a person from a mistake, no more.
    fn expired(&self, lease: &RawLease) -> bool {
        let Some(spec) = &lease.spec else { return true };
        let Some(renewed) = &spec.renew_time else { return true };
        let duration = i64::from(spec.lease_duration_seconds.unwrap_or(0));
        jiff::Timestamp::now().as_second() > renewed.0.as_second() + duration
    }

    async fn get(&self) -> Result<RawLease, PersonError> {
        let got = self.requester.call(Right::new("get", LEASES), self.api.get_opt(&self.name)).await;
        got.map_err(|error| self.explain("get", error))?.ok_or_else(|| self.no_lease())
    }

    async fn annotate(&self, name: &str, value: Option<&str>) -> Result<(), PersonError> {
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
                Err(error) => return Err(self.explain("update", error)),
            }
        }
        Err(PersonError::Request(last))
    }

    fn no_lease(&self) -> PersonError {
        PersonError::NoLease { name: self.name.clone(), namespace: self.requester.namespace.clone() }
    }

    fn explain(&self, verb: &'static str, error: RequestError) -> PersonError {
        match error {
            RequestError::Denied { message, .. } => PersonError::Denied {
                verb,
                resource: LEASES,
                name: self.name.clone(),
                namespace: self.requester.namespace.clone(),
                message,
            },
            RequestError::NotFound => self.no_lease(),
            other => PersonError::Request(other),
        }
    }
}

fn check_member(to: &str, config: &Config) -> Result<(), PersonError> {
    let Some(stateful_set) = &config.stateful_set else { return Ok(()) };
    let ordinal = to.strip_prefix(stateful_set).and_then(|rest| rest.strip_prefix('-'));
    if ordinal.is_some() && crate::address::ordinal(to).is_some() {
        return Ok(());
    }
    Err(PersonError::NoMember { to: to.to_owned(), stateful_set: stateful_set.clone() })
}

/// What the sidecar of this pod knows; none where it does not answer.
async fn ask_sidecar(config: &Config) -> Option<State> {
    let listen = config.listen?;
    let ip = if listen.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { listen.ip() };
    let asked = tokio::time::timeout(PATIENCE, get(SocketAddr::new(ip, listen.port()), "/v1/state")).await;
    let state: State = serde_json::from_slice(&asked.ok()?.ok()?).ok()?;
    // On a machine with several sidecars, another one may listen there.
    (state.name == config.name).then_some(state)
}

/// One GET over HTTP/1.0, where the answer ends with the connection. A whole client is too much for one command.
async fn get(address: SocketAddr, path: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(STATE_MAX).read_to_end(&mut answer).await?;
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n");
    Ok(head.map(|head| answer.split_off(head + 4)).unwrap_or_default())
}
