//! How much memory and disk the data may use, how much they use, and what follows from it.
//!
//! ```text
//!   documents, keys, history, sums, log, bodies under way, replaced records that a view still holds ─┐
//!   statvfs, the journal's segments, the next snapshot ──────────────────────────────────────────────┼─▶ Account ─▶ levels
//!   --memory-limit, --disk-reserve ──────────────────────────────────────────────────────────────────┘              │
//!   Replica (who refuses what, who hands over) ◀── Input::Room ─────────────────────────────────────────────────────┘
//! ```
//!
//! The account is an estimate, meant to be within a quarter of what the process really uses; the limit leaves more than
//! that of the container's limit free. `machine` says how much that is. `held` counts views that hold replaced records.

mod held;
mod lack;
pub mod machine;
#[cfg(test)]
mod tests;
mod under_way;

pub use held::Held;
pub use lack::Lack;
pub use under_way::{Crowded, Place, UnderWay};

use crate::volume::disk::Space;
use leasehold_replication::{Level, Room};

/// The program itself: code, threads, connections, and the allocator's overhead.
const PROGRAM_BYTES: u64 = 24 * 1024 * 1024;
/// The smallest reserve.
const DISK_RESERVE_LEAST: u64 = 64 * 1024 * 1024;

/// The allowed amounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For data in memory, and the program.
    pub memory_bytes: u64,
    /// What stays free on the volume's file system; none: as much as the next snapshot needs.
    pub disk_reserve_bytes: Option<u64>,
}

impl Limits {
    /// No limits, for tests of other things.
    pub const NONE: Limits = Limits { memory_bytes: u64::MAX / 2, disk_reserve_bytes: Some(0) };
}

/// The used amounts that the account adds up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Records, indexes, keys.
    pub documents_bytes: u64,
    /// The most recent changes, for watchers.
    pub history_bytes: u64,
    /// The sums of the last entries.
    pub sums_bytes: u64,
    /// The log's entries in memory.
    pub log_bytes: u64,
    /// Bodies and proposals under way.
    pub under_way_bytes: u64,
    /// Replaced and deleted records that a snapshot or a reader still holds.
    pub held_bytes: u64,
    /// The expected length of the next snapshot.
    pub next_snapshot_bytes: u64,
    /// The volume's file system; none if unknown.
    pub space: Option<Space>,
    /// The journal has room only for what keeps the cluster alive.
    pub disk_full: bool,
}

/// The used and the allowed amounts, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// The levels that follow.
    pub room: Room,
    /// Used memory, estimated.
    pub memory_used_bytes: u64,
    /// Allowed memory.
    pub memory_allowed_bytes: u64,
    /// Used bytes of the volume's file system, by any program; none if unknown.
    pub disk_used_bytes: Option<u64>,
    /// Allowed bytes of it: all but the reserve.
    pub disk_allowed_bytes: Option<u64>,
    /// Memory is short, and the log uses a large part of it: a snapshot would free that.
    pub log_is_large: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Account {
    limits: Limits,
    room: Room,
}

impl Account {
    /// How much memory the data may use.
    pub fn memory_bytes(&self) -> u64 {
        self.limits.memory_bytes
    }

    /// Nothing is used yet.
    pub fn new(limits: Limits) -> Account {
        Account { limits, room: Room::default() }
    }

    /// What follows from that use. What is over a limit stays so until it is well below, so that the state does not change
    /// with every write.
    pub fn judge(&mut self, usage: &Usage) -> Figures {
        let used = PROGRAM_BYTES
            + usage.documents_bytes
            + usage.history_bytes
            + usage.sums_bytes
            + usage.log_bytes
            + usage.under_way_bytes
            + usage.held_bytes;
        let allowed = self.limits.memory_bytes;
        let was_over = self.room.memory >= Level::Over;
        self.room.memory = if used > allowed + allowed / 10 {
            Level::Far
        } else if used > allowed || was_over && used > allowed - allowed / 16 {
            Level::Over
        } else if used > allowed - allowed / 4 {
            Level::Near
        } else {
            Level::Enough
        };
        let log_is_large = self.room.memory >= Level::Near && usage.log_bytes > used / 5;
        let reserve = self.limits.disk_reserve_bytes.unwrap_or_else(|| {
            DISK_RESERVE_LEAST.max(usage.next_snapshot_bytes.saturating_add(usage.next_snapshot_bytes / 2))
        });
        let was_over = self.room.disk >= Level::Over;
        let free = usage.space.map_or(u64::MAX, |space| space.free_bytes);
        self.room.disk = if usage.disk_full {
            Level::Full
        } else if free < reserve - reserve / 4 {
            Level::Far
        } else if free < reserve || was_over && free < reserve.saturating_add(reserve / 8) {
            Level::Over
        } else {
            Level::Enough
        };
        Figures {
            room: self.room,
            memory_used_bytes: used,
            memory_allowed_bytes: allowed,
            disk_used_bytes: usage.space.map(|space| space.total_bytes.saturating_sub(space.free_bytes)),
            disk_allowed_bytes: usage.space.map(|space| space.total_bytes.saturating_sub(reserve)),
            log_is_large,
        }
    }
}
