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
//!                                  └────────────────────────────────────┴─▶ state ──▶ http
//! ```

mod address;
mod app;
mod args;
mod clock;
mod driver;
mod elector;
mod failover;
mod http;
mod inject;
mod kube;
mod locks;
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
pub use args::{AppKind, Args, Command, Config, ConfigError, InjectArgs, Injection, Output};
pub use clock::boottime_ns;
pub use elector::{Elector, EndError, StartError};
pub use inject::{Refusal, inject};
pub use operator::commands::{OperatorError, run_command};
pub use state::{Change, LeaseState, State};
