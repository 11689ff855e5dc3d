//! Backups of a store: what the program `backup` does.
//!
//! ```text
//!   args      flags and environment
//!   bucket    where the archive is: put if absent, list, get, delete
//!   sealed    the bytes of objects: compressed, and encrypted if there are recipients
//!   crypto    ring, for TLS
//! ```
//!
//! What an archive consists of, and all that is decided about it, is in `leasehold_archive`.

pub mod args;
pub mod bucket;
pub mod crypto;
pub mod sealed;
