//! What tests of several crates, and the laboratory, need alike. No program that is shipped has it compiled in.
//!
//! ```text
//!   waiting       for a condition, never for a fixed time      (also by the names here)
//!   http          a request by hand, and its answer
//!   golden        files of every format, as releases wrote them
//!   transcripts   plays the scripts of a core, and compares     feature `transcripts`
//!   flags         holds docs/flags.md to a program's flags      feature `flags`
//! ```
//!
//! Values of role.json to begin with are in the contract (its feature `testing`), whose own tests need them, too.

#[cfg(feature = "flags")]
pub mod flags;
pub mod golden;
pub mod http;
#[cfg(feature = "transcripts")]
pub mod transcripts;
pub mod waiting;

pub use waiting::{
    PATIENCE, ask_until, until, until_blocking, until_found_blocking, until_seen, until_seen_blocking, within,
};
