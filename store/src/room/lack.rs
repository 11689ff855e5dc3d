//! Whether a snapshot of the leader can be received: judged by its first piece, which gives the whole length, before a byte
//! of it is kept. A follower that began anyway would fill its volume, or be killed for its memory, and start over at its
//! next start.

use crate::volume::journal::JournalFigures;
use std::fmt;

const MIB: u64 = 1024 * 1024;

/// What is missing. Its text is for people: how much, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// The volume has no room for one more copy.
    Disk {
        /// The room that it needs.
        needs_bytes: u64,
        /// The free room.
        free_bytes: u64,
    },
    /// The data alone is well above the memory that data may use.
    Memory {
        /// The snapshot's length; in memory it needs more.
        snapshot_bytes: u64,
        /// How much data may use.
        allowed_bytes: u64,
    },
}

impl Lack {
    /// What is missing for a snapshot of that length, if this much is here already.
    ///
    /// Not compared with the memory in use now: the snapshot replaces what uses it, and may be shorter.
    pub fn of(snapshot_bytes: u64, have_bytes: u64, journal: &JournalFigures, memory_bytes: u64) -> Option<Lack> {
        if snapshot_bytes > memory_bytes.saturating_add(memory_bytes / 10) {
            return Some(Lack::Memory { snapshot_bytes, allowed_bytes: memory_bytes });
        }
        let free_bytes = journal.space?.free_bytes;
        // The segment that names it may come from the reserve.
        let segment_bytes = if journal.reserve_segments > 0 { 0 } else { journal.segment_bytes };
        let needs_bytes = snapshot_bytes.saturating_sub(have_bytes).saturating_add(segment_bytes);
        (free_bytes < needs_bytes).then_some(Lack::Disk { needs_bytes, free_bytes })
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lack::Disk { needs_bytes, free_bytes } => write!(
                f,
                "the leader's snapshot needs {} MiB on the volume, but only {} MiB are free: enlarge the volume, or \
                 free room on it; this replica then continues by itself",
                needs_bytes.div_ceil(MIB),
                free_bytes / MIB
            ),
            Lack::Memory { snapshot_bytes, allowed_bytes } => write!(
                f,
                "the leader's snapshot is {} MiB long, but data may use only {} MiB of memory here (--memory-limit): \
                 give the container more memory, or delete records",
                snapshot_bytes.div_ceil(MIB),
                allowed_bytes / MIB
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::disk::Space;

    fn journal(free_bytes: u64, reserve_segments: u64) -> JournalFigures {
        let space = Some(Space { free_bytes, total_bytes: 1 << 40 });
        JournalFigures { space, reserve_segments, segment_bytes: 16, ..JournalFigures::default() }
    }

    #[test]
    fn one_copy_more_must_fit_and_the_segment_that_names_it() {
        let lack = |free, reserve, have| Lack::of(100, have, &journal(free, reserve), 1 << 30);
        assert_eq!(lack(100, 2, 0), None);
        assert_eq!(lack(99, 2, 0), Some(Lack::Disk { needs_bytes: 100, free_bytes: 99 }));
        assert_eq!(lack(100, 0, 0), Some(Lack::Disk { needs_bytes: 116, free_bytes: 100 }));
        assert_eq!(lack(60, 1, 40), None, "what is already here takes no further room");
        assert_eq!(Lack::of(100, 0, &JournalFigures::default(), 1 << 30), None, "nobody knows the room");
    }

    #[test]
    fn a_snapshot_that_is_longer_than_all_data_may_take_is_not_received() {
        let lack = |length| Lack::of(length, 0, &journal(1 << 30, 2), 1000);
        assert_eq!(lack(1100), None, "a little over is what refusals are for");
        assert_eq!(lack(1101), Some(Lack::Memory { snapshot_bytes: 1101, allowed_bytes: 1000 }));
    }

    #[test]
    fn it_says_how_much_is_missing_and_what_to_do() {
        let disk = Lack::Disk { needs_bytes: 5 * MIB + 1, free_bytes: 5 * MIB - 1 }.to_string();
        assert!(disk.contains("needs 6 MiB") && disk.contains("4 MiB are free") && disk.contains("enlarge"), "{disk}");
        let memory = Lack::Memory { snapshot_bytes: 900 * MIB, allowed_bytes: 500 * MIB }.to_string();
        assert!(memory.contains("900 MiB") && memory.contains("500 MiB") && memory.contains("container"), "{memory}");
    }
}
