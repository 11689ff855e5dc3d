//! The small world: a few real replicas, and between the steps everything is tried that could go wrong.
//!
//! ```text
//!   World ──choices()──▶ every thing that may happen next ──happen(choice)──▶ World
//!     │                     a message arrives, an fsync ends, a claim arrives, a process dies, a connection breaks, …
//!     ├── [`exhaust`]: all of them, breadth first, with a set of what was seen      (within a budget of faults)
//!     ├── [`walk`]:    one of them, by a seed that also decides what is likely         (thousands of walks a second)
//!     └── [`Stage`]:   those that a trace names, by hand
//! ```
//!
//! The large simulator has clocks, Leases and sidecars, and most of its steps are heartbeats. Here a claim to lead is what
//! it is to a replica: a message that may arrive at any time, about any replica, twice, late, or never. So safety is judged
//! where it is decided, and a fault that needs five messages in a certain order is found in a second.
//!
//! What is judged (by what replicas write and apply, not by what they report): what is applied is the same everywhere and
//! is in every later leader's log; one incarnation opens a term; a strong read sees everything that was applied before it.

mod journal;
mod judge;
mod lease;
mod lease_stage;
mod post;
mod prints;
mod search;
mod sheet;
mod stage;
mod world;

pub use lease::{LeaseBounds, exhaust_leases};
pub use lease_stage::LeaseStage;
pub use search::{Bounds, Count, Walk, exhaust, walk};
pub use sheet::{Played, Staged};
pub use stage::{Stage, VolumeCopy};
pub use world::{Budget, Reduced};
