//! One leader among the processes of a service: holds a `coordination.k8s.io` Lease, and says whose turn it is.
//!
//! A service in Rust embeds it in ten lines. (A program in another language has the same as a container beside it: the binary
//! `sidecar`, which is this library with flags.)
//!
//! ```
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! # let (pod_name, pod_address) = ("my-app-7d9f", "10.0.0.7:8080");
//! use leasehold_sidecar::{Config, Elector, connect, terminated};
//!
//! let config = Config::plain("default", "my-app", pod_name, pod_address)?;
//! # let api = leasehold_api::ApiServer::start(0)?;
//! # let file = tempfile::NamedTempFile::new()?;
//! # std::fs::write(file.path(), api.kubeconfig("my-app", "default").to_string())?;
//! # let config = Config { kubeconfig: Some(file.path().to_owned()), ..config };
//! let client = connect(&config).await?;
//! let elector = Elector::start(config, client).await?;
//! # let (worked, work_began) = tokio::sync::oneshot::channel::<u64>();
//! # let worked = std::sync::Mutex::new(Some(worked));
//! # let work = |term| { worked.lock().unwrap().take().map(|worked| worked.send(term)); async { tokio::task::yield_now().await } };
//! # let terminated = || Ok::<_, std::io::Error>(async { assert_eq!(work_began.await, Ok(1)); });
//! elector.lead(terminated()?, |claim| async move {
//!     loop {
//!         work(claim.term()).await;
//!     }
//! }).await?;
//! # assert!(api.get(leasehold_api::Kind::Lease, "default", "my-app").unwrap()["spec"]["holderIdentity"].is_null());
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run()).unwrap();
//! ```
//!
//! [`Elector::lead`] calls the closure whenever this process leads, and drops its future before another process can lead:
//! when a switchover is asked for, when the API server cannot be reached for two thirds of the Lease's duration, and also
//! when this process or its machine stood still meanwhile. After SIGTERM it lets go of the Lease, and the next process works
//! some 60 ms later.
//!
//! For a loop of your own there are [`Elector::leadership`] and [`Claim`]:
//!
//! ```
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! # use leasehold_sidecar::{Config, Elector};
//! # let api = leasehold_api::ApiServer::start(0)?;
//! # let config = Config::plain("default", "my-app", "my-app-7d9f", "10.0.0.7:8080")?;
//! # let elector = Elector::start(config, api.client("my-app", "default").await?).await?;
//! # let handle = elector.handle();
//! # let write = |term: u64| { assert_eq!(term, 1); handle.stop(); };
//! while let Some(claim) = elector.leadership().await {
//!     // Code that blocks asks before each piece of work. Other code can be cancelled: see `Claim::while_valid`.
//!     while claim.is_valid() {
//!         write(claim.term());
//!     }
//! }
//! # elector.ended().await?;
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run()).unwrap();
//! ```
//!
//! # What is promised
//!
//! - Two claims are never valid at the same time, in all processes that name the same Lease, as long as nobody edits it by
//!   hand and machines' clocks run at the same speed. They need not show the same time.
//! - Each leadership has a higher [`Claim::term`] than all before, also if the Lease is deleted meanwhile.
//! - In any doubt nobody leads.
//!
//! Not promised: that there is a leader at all times (after a crash the Lease has to run out), and anything about what was
//! begun under a claim: a request that is on its way arrives. Send the term with it where a late one would do harm.
//!
//! # What is stable
//!
//! The items on this page, with what their pages show, follow semantic versioning: before 1.0 a minor version may break
//! them, a patch version may not. A test lists them (`sidecar/tests/api`), and `make semver` compares them with the last
//! release. What is hidden here is the sidecar program's own, and may change in any version. Tokio 1, tokio-util 0.7
//! by [`Elector::stopper`], and kube 4 by [`Client`] are a part of the interface.
//!
//! # Inside
//!
//! The parts, and where an effect of the election goes:
//!
//! ```text
//!                                  ┌────────────── driver ──────────────┐
//!   observe ──(Lease, StatefulSet)─▶                                    ├─▶ lease      compare-and-swap
//!   app ──(status.json, lock)──────▶   leasehold_election::Election     ├─▶ role       role.json
//!   SIGTERM ───────────────────────▶   (pure: decides, does nothing)    ├─▶ endpoints, label (watched, repaired), events
//!   health, control (POSTs, Claim) ▶                                    │
//!                                  └────────────────────────────────────┴─▶ state ──▶ http, notify, Handle and Claim
//! ```
//!
//! Apart from these, and in the app's container: `sidecar exec`, which runs a command while role.json says that this pod leads.

mod address;
mod app;
mod args;
mod client;
mod clock;
mod control;
mod copy;
mod driver;
mod elector;
mod exec;
mod failover;
mod health;
mod http;
mod inject;
mod kube;
mod locks;
mod notice;
mod notify;
mod operator;
mod role;
mod state;
mod telemetry;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod testing;

pub use ::kube::Client;

pub use crate::kube::connect::{ConnectError, connect};
pub use crate::kube::upkeep::FailingObject;
pub use args::{Config, ConfigError};
pub use elector::{Claim, Elector, EndError, Handle, Lost, StartError, terminated};
pub use state::{Change, State};

/// What the sidecar program is made of besides. Not for others: it may change in any version.
#[doc(hidden)]
pub mod program {
    pub use crate::address::Template;
    pub use crate::args::{
        AppKind, Args, Command, ExecArgs, GuardArgs, HealthCheck, HealthProbe, InjectArgs, Injection, OnLost, Output,
        StartArgs, StopSignal,
    };
    pub use crate::client::HttpUrl;
    pub use crate::copy::copy_program;
    pub use crate::exec::{FAILED_CODE, Place, run_exec, run_guard, run_start};
    pub use crate::inject::{Refusal, inject};
    pub use crate::kube::request::RequestError;
    pub use crate::operator::commands::{OperatorError, run_command};
    pub use crate::operator::step_down::StepDownError;
    pub use crate::state::{Health, LeaseState};
}
