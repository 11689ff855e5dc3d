//! Memory and disk: counted after each turn; the state machine is notified when a level changes.

use leasehold_replication::{Input, Level, Proposal, Room};
use tracing::{info, warn};

use super::Driver;
use crate::room::{Figures, Usage};

impl Driver {
    /// What the state machine must learn.
    pub(super) fn look_at_room(&mut self) -> Option<Room> {
        let journal = self.ends.journal.figures();
        let (under_way_bytes, history_bytes) = self.ends.handle.memory_bytes();
        let usage = Usage {
            documents_bytes: self.documents.memory_bytes(),
            history_bytes,
            sums_bytes: self.sums.memory_bytes(),
            log_bytes: self.replica.log_bytes() as u64,
            under_way_bytes,
            held_bytes: self.held.count(self.begun.elapsed(), &mut self.documents),
            // As if nothing replaced or deleted existing data: at most this much.
            next_snapshot_bytes: self.documents.stored_bytes() + self.replica.unapplied_bytes(),
            space: journal.space,
            disk_full: journal.is_full(),
        };
        let figures = self.account.judge(&usage);
        let disk_is_short = figures.room.disk >= Level::Over;
        self.ends.journal.set_need(usage.next_snapshot_bytes, disk_is_short, figures.log_is_large);
        self.ends.handle.set_room(figures);
        self.figures = figures;
        if figures.room == self.room {
            return None;
        }
        say(self.room, &figures);
        self.room = figures.room;
        Some(figures.room)
    }

    /// The records just appended may be the last that fit: the state machine learns it before the next entries.
    pub(super) fn look_whether_full(&mut self) {
        if self.room.disk < Level::Full && self.ends.journal.figures().is_full() {
            let changed = self.look_at_room();
            self.brought_about.extend(changed.map(Input::Room));
        }
    }

    /// Which of these would make the data larger; examined only where that matters.
    pub(super) fn mark_growth(&self, proposals: &mut [Proposal]) {
        if !self.replica.refuses_growth() {
            return;
        }
        for proposal in proposals {
            proposal.grows = match self.documents.growth(&proposal.command) {
                None => false,
                // A record of unchanged length uses no more memory, but more of the journal.
                Some(bytes) => bytes > 0 || bytes == 0 && self.room.disk >= Level::Over,
            };
        }
    }
}

/// For readers of the log: what is short, and what helps.
fn say(before: Room, now: &Figures) {
    let (used, allowed) = (now.memory_used_bytes, now.memory_allowed_bytes);
    let is_over = |level: Level| level >= Level::Over;
    match (is_over(before.memory), is_over(now.room.memory)) {
        (false, true) => warn!(
            used,
            allowed,
            "the data uses more memory than --memory-limit allows: writes that make it larger are refused (507) while \
             this replica leads or is needed; delete records, or give the container more memory"
        ),
        (true, false) => info!(used, allowed, "the data is within --memory-limit again"),
        (true, true) | (false, false) => {}
    }
    let (used, allowed) = (now.disk_used_bytes, now.disk_allowed_bytes);
    match (is_over(before.disk), is_over(now.room.disk)) {
        (false, true) => warn!(
            used,
            allowed,
            "the volume has less free room than --disk-reserve demands: writes that make the data larger are refused \
             (507) while this replica leads or is needed; delete records, or enlarge the volume"
        ),
        (true, false) => info!(used, allowed, "the volume has enough room again"),
        (true, true) | (false, false) => {}
    }
    match (before.disk == Level::Full, now.room.disk == Level::Full) {
        (false, true) => warn!(
            used,
            "the volume is full: only promises and voters are still written; enlarge it, or free room on it"
        ),
        (true, false) => info!(used, "entries fit on the volume again"),
        (true, true) | (false, false) => {}
    }
}
