//! Gives any app on Kubernetes one leader: holds a `coordination.k8s.io` Lease for it and tells it its role.
//!
//! The binary `sidecar` is this library with flags. A Rust app can also embed it, see [`Elector`] and the example
//! `embedded`:
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use leasehold_sidecar::{Config, Elector, connect};
//!
//! let config = Config::plain("default", "my-app", "my-app-7d9f", "10.0.0.7:8080")?;
//! let client = connect(&config).await?;
//! let elector = Elector::start(config, client).await?;
//! let state = elector.state();
//! // Ask before each thing that only a leader may do; it fails closed.
//! if state.borrow().leads() { /* … */ }
//! elector.stop();
//! elector.ended().await?;
//! # Ok(())
//! # }
//! ```
//!
//! The parts, and where an effect of the election goes:
//!
//! ```text
//!                                  ┌────────────── driver ──────────────┐
//!   observe ──(Lease, StatefulSet)─▶                                    ├─▶ lease      compare-and-swap
//!   app ──(status.json, lock)──────▶   leasehold_election::Election     ├─▶ role       role.json
//!   SIGTERM ───────────────────────▶   (pure: decides, does nothing)    ├─▶ endpoints, label (watched, repaired), events
//!   health, control (POSTs) ───────▶                                    │
//!                                  └────────────────────────────────────┴─▶ state ──▶ http, notify
//! ```
//!
//! Apart from these, and in the app's container: [`run_exec`], which runs a command while role.json says that this pod leads.

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

pub use crate::kube::request::{ConnectError, RequestError, connect};
pub use crate::kube::upkeep::FailingObject;
pub use address::Template;
pub use args::{
    AppKind, Args, Command, Config, ConfigError, ExecArgs, GuardArgs, HealthCheck, HealthProbe, InjectArgs, Injection,
    OnLost, Output, StartArgs, StopSignal,
};
pub use client::HttpUrl;
pub use clock::boottime_ns;
pub use copy::copy_program;
pub use elector::{Elector, EndError, StartError};
pub use exec::{FAILED_CODE, Place, run_exec, run_guard, run_start};
pub use inject::{Refusal, inject};
pub use operator::commands::{OperatorError, run_command};
pub use operator::step_down::StepDownError;
pub use state::{Change, Health, LeaseState, State};
