//! Crashes on real files: kill -9 at any moment, power losses, an fsync that fails once, a disk that is full or hangs.
//!
//! ```text
//!   kill -9       writer, store ──pipe, HTTP──▶ what was acknowledged ──▶ there after the next start, in order, equal
//!   power loss    writer, store under shim.c ──log of writes, syncs, renames──▶ World ──▶ states a power loss may leave
//!                                                                             ──▶ a start on each finds everything reported
//!   EIO, ENOSPC   shim.c lets one call fail ──▶ not acknowledged, exit 1 with a reason ──▶ the next start has it all
//!   a hang        shim.c lets no call come back ──▶ nothing is acknowledged, and every client learns it ──▶ the power goes,
//!                                                   and everything reported is there
//! ```
//!
//! The volumes are real folders, the code is the real journal through the real disk; the page cache over a kill -9 is the
//! kernel's own. A power loss is worked out from the log of one that did not happen: `world` says which states are legal.
//! The in-crate property test (`journal::crash_tests`) tries the journal's own moves on a made-up disk; this here would
//! also see a sync that the real disk leaves out, and goes through starts, HTTP and exit codes.
//!
//! More of the same: `CRASH_ROUNDS=50 cargo test -p leasehold-store --test crash` (the default is 1).

#![allow(clippy::unwrap_used)]

mod failing;
mod hanging;
mod killed;
mod model;
mod power;
mod random;
mod restored;
mod shim;
mod store;
mod trace;
mod world;
mod writer;

/// A folder in memory where the machine has one: these tests fsync by the thousand.
fn scratch() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).unwrap()
}

/// How often each test is done, with other seeds.
fn rounds() -> u64 {
    std::env::var("CRASH_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap())
}
