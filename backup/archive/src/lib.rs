//! What a backup consists of, and what is decided about it. Pure: no IO, no clock, no async.
//!
//! ```text
//!   time        the leaders' time, in names and lines
//!   name        names of objects: all that a LIST says
//!   changes     files of changes: written, and read entry by entry
//!   point       the point to which data are restored
//!   verified    what is noted of a full that was read back
//! ```

pub mod changes;
pub mod name;
pub mod point;
pub mod time;
pub mod verified;
