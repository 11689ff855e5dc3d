//! A replicated JSON record store that follows the role its sidecar writes.
//!
//! ```text
//!   role.json ──role──▶              ──▶ journal, snapshot   (the disk)
//!   clients ────api───▶    driver    ──▶ documents           (what was committed)
//!   peers ──────peer──▶ ([`Replica`])──▶ peer, status.json   (the others)
//! ```
//!
//! [`Replica`]: leasehold_replication::Replica

pub mod api;
pub mod args;
pub mod driver;
pub mod handle;
pub mod history;
pub mod node;
pub mod opening;
pub mod peer;
pub mod progress;
pub mod role;
pub mod room;
pub mod schema;
pub mod shares;
pub mod status;
pub mod steward;
pub mod telemetry;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod testing;
pub mod tls;
pub mod volume;
mod wall_clock;
