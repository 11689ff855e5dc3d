//! Long operations, exceeded limits, and what waits for room: checked together with the disk, shown to people.

use leasehold_contract::{Doing, ProgressInfo};
use tracing::info;

use super::Driver;
use crate::progress::{Lag, Progress, unix_ms};
use crate::status::{self, Asides};

/// What is measured.
pub(super) struct UnderWay {
    start: Progress,
    unapplied: Lag,
    join: Progress,
    lag: Lag,
    snapshot: Progress,
}

impl UnderWay {
    /// Operations that take `long` are reported.
    pub(super) fn new(long: std::time::Duration) -> UnderWay {
        UnderWay {
            start: Progress::new(Doing::Start, long),
            unapplied: Lag::default(),
            join: Progress::new(Doing::Join, long),
            lag: Lag::default(),
            snapshot: Progress::new(Doing::Snapshot, long),
        }
    }

    fn info(&self) -> Option<ProgressInfo> {
        [&self.start, &self.join, &self.snapshot].into_iter().find_map(Progress::info)
    }
}

impl Driver {
    pub(super) fn look_at_progress(&mut self) {
        if let Some(conn) = self.intake.look(&self.ends.journal.figures(), self.account.memory_bytes()) {
            // A new connection brings the snapshot again.
            info!(?conn, "requesting the leader's snapshot again");
            self.spoil(conn);
            self.step_all();
        }
        let (now, unix_ms) = (self.begun.elapsed(), unix_ms());
        let is_new = self.shown.as_ref().is_none_or(|status| !status.caught_up);
        let applies = self.replica.applies().filter(|_| is_new);
        let applies = applies.and_then(|(has, wanted)| self.under_way.unapplied.amount(has.0, wanted.0));
        self.under_way.start.look_and_say(now, unix_ms, applies);
        let lags = self.replica.catches_up().and_then(|(has, wanted)| self.under_way.lag.amount(has.0, wanted.0));
        self.under_way.join.look_and_say(now, unix_ms, self.intake.amount().or(lags));
        self.under_way.snapshot.look_and_say(now, unix_ms, self.ends.journal.taking());
        self.ends.handle.set_progress(self.under_way.info());
        let waits = self.intake.waits();
        if waits != self.waits_for_room {
            self.waits_for_room = waits;
            self.show_all();
        } else {
            self.show_asides();
        }
    }

    pub(super) fn asides(&self) -> Asides {
        Asides {
            progress: self.under_way.info(),
            out_of_room: status::out_of_room(&self.figures),
            waits_for_room: self.waits_for_room.clone(),
            refused_definitions: self.ends.handle.refused_definitions(),
        }
    }

    fn show_asides(&mut self) {
        let asides = self.asides();
        let mut is_untold = false;
        self.ends.status_file.send_if_modified(|file| {
            let mut next = file.clone();
            asides.put(&mut next);
            let at_once = !status::is_figures_alone(file, &next);
            is_untold = *file != next;
            *file = next;
            at_once
        });
        self.position_untold |= is_untold;
    }
}
