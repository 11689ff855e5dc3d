//! The program's commands for operators: `status`, `switchover`, `pause`, `resume`, `adopt`.
//!
//! ```text
//!   commands ──▶ fleet: what the sidecars of all pods say ──▶ table
//!      └───────▶ the Lease's annotations
//! ```

pub(crate) mod commands;
pub(crate) mod fleet;
pub(crate) mod table;
