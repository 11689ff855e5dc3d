//! Backups of a store: what the program `backup` does.
//!
//! ```text
//!   list      what can be restored, by the names
//!   verify    reads objects back, and compares
//!   cat       records as they were, or all versions of one
//!   drill     a restore into memory, checked and timed
//!   restore   into an empty volume, or into a cluster that runs
//!   walk      carries out the way to a point: fulls and files become data
//!   archive   the archive of one cluster, and its objects' content
//!   progress  what long commands show meanwhile
//!   args      flags and environment
//!   agent     archives continuously; source, spool and metrics are its parts
//!   sealed    the bytes of objects: compressed, and encrypted if there are recipients
//!   bucket    where the archive is: put if absent, list, get, delete
//!   misfit    a URL or a flag that does not fit the port of a store
//!   crypto    ring, for TLS
//! ```
//!
//! What an archive consists of, and all that is decided about it, is in `leasehold_archive`.

pub mod agent;
pub mod archive;
pub mod args;
pub mod bucket;
pub mod cat;
pub mod crypto;
pub mod drill;
pub mod list;
pub mod metrics;
mod misfit;
pub mod progress;
pub mod restore;
pub mod sealed;
pub mod source;
pub mod spool;
mod token;
pub mod verify;
pub mod walk;
