//! The program's commands for operators: `status`, `switchover`, `pause`, `resume`, `adopt`, `step-down`.
//!
//! ```text
//!   commands ──▶ fleet: what the sidecars of all pods say ──▶ table
//!      ├───────▶ the Lease's annotations
//!      └───────▶ step_down: the own sidecar, by the word of control.token
//! ```

pub(crate) mod commands;
pub(crate) mod fleet;
pub(crate) mod step_down;
pub(crate) mod table;
