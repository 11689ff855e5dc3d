//! What every program of ours needs as a process: flags, logs, signals, open files, and an HTTP server.
//!
//! ```text
//!   flags, durations ──▶ the program's own `Args`        signals ──▶ a token that every part waits for
//!   logs ──▶ standard error                              reload ───▶ what mounted Secrets contain now
//!   descriptors ──▶ how many connections there may be    serve ────▶ warp filters on a socket of ours
//! ```
//!
//! Nothing here knows what a Lease or a record is.

pub mod descriptors;
pub mod durations;
pub mod flags;
pub mod logs;
pub mod reload;
pub mod serve;
pub mod signals;
