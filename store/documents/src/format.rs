//! The formats that this build of the store reads, as numbers (5.10 in docs/design.md). The core's are in
//! `leasehold_replication`'s `format.rs`; what they mean is in its `formats.rs`.
//!
//! The feature `made-up-format` is for tests of an update alone: with it the build reads a format 3, which is format 2 under
//! another number. Nothing that is shipped asks for it.

pub use leasehold_replication::{FORMAT_MIN, readable};

/// The first format with collections of all kinds, and with definitions.
pub const COLLECTIONS: u32 = 2;
/// The highest format that this build reads.
pub const FORMAT: u32 = if cfg!(feature = "made-up-format") { MADE_UP } else { leasehold_replication::FORMAT };

/// The made-up format.
pub(crate) const MADE_UP: u32 = leasehold_replication::FORMAT + 1;
/// An idempotency key that begins so needs the made-up format, where there is one: in its build, and in tests.
pub const MADE_UP_KEY: &str = "made-up-format-3";
