//! What a backup consists of, and what is decided about it. Pure: no IO, no clock, no async.
//!
//! ```text
//!   agent       what is written into the archive, when, and when nothing is
//!   retention   what may be deleted
//!   follow      applies a file to data, and compares
//!   chain       what to read to reach a point, and other ways where something is damaged
//!   catalog     what an archive has, by the names
//!   changes     files of changes: written, and read entry by entry
//!   verified    what is noted of a full that was read back
//!   point       the point to which data are restored
//!   name        names of objects: all that a LIST says
//!   time        the leaders' time, in names and lines
//!   testing     a cluster's history, for tests (feature `testing`)
//! ```

pub mod agent;
pub mod catalog;
pub mod chain;
pub mod changes;
pub mod follow;
pub mod name;
pub mod point;
pub mod retention;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod time;
pub mod verified;
