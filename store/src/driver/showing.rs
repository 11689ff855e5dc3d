//! What a turn has changed, shown: to the API, in status.json, to other replicas.

use std::time::Duration;

use leasehold_contract::Moment;
use leasehold_replication::{Input, Since};
use tokio::time::Instant;

use super::{Driver, End, transitions};
use crate::status;

/// How often status.json is written anew though nothing has changed, and how long it holds.
const RENEW_PAUSE: Duration = Duration::from_secs(5);
const HOLDS: Duration = Duration::from_secs(15);
/// How often the position alone is passed to the writer of status.json.
const POSITION_PAUSE: Duration = Duration::from_secs(1);

impl Driver {
    pub(super) fn show(&mut self) {
        if let Some(room) = self.look_at_room() {
            self.step(Input::Room(room));
        }
        if self.ends.journal.wants_snapshot() {
            self.take_snapshot();
        }
        self.ends.handle.set_fresh_as_of(self.replica.fresh_as_of());
        match self.shown.as_mut().map_or(Since::Changed, |shown| self.replica.recount(shown)) {
            Since::Same => {}
            Since::Moved => self.show_position(),
            Since::Changed => self.show_all(),
        }
        let shown = self.shown.as_ref();
        self.drained |= shown.is_some_and(|status| status.drained);
        if self.drained && self.ends.unserved.is_cancelled() && self.wiping.is_none() {
            self.end.get_or_insert(End::Drained);
        }
        let is_due = if self.position_untold { POSITION_PAUSE } else { RENEW_PAUSE };
        if self.told_at.elapsed() >= is_due {
            self.ends.status_file.send_modify(|file| file.holds_until_boottime_ns = holds_until());
            (self.position_untold, self.told_at) = (false, Instant::now());
            self.note_committed();
        }
    }

    pub(super) fn note_committed(&mut self) {
        let committed = self.replica.committed_here();
        if std::mem::replace(&mut self.noted, committed) != committed {
            self.ends.journal.note_committed(committed);
        }
    }

    pub(super) fn show_all(&mut self) {
        let status = self.replica.status();
        transitions::log(self.shown.as_ref(), &status);
        let mut file = status::file(self.incarnation, self.id, &status);
        self.asides().put(&mut file);
        file.holds_until_boottime_ns = holds_until();
        // Its writer is not woken for each write of a client.
        let told = self.ends.status_file.send_if_modified(|last| {
            let at_once = !status::is_figures_alone(last, &file);
            *last = file;
            at_once
        });
        self.position_untold |= !told;
        if told {
            (self.position_untold, self.told_at) = (false, Instant::now());
        }
        self.ends.peer_state.send_replace(Some(status.peer_state(&self.name, self.id)));
        let mut told = status.clone();
        told.waiting_for.extend(self.waits_for_room.clone());
        self.ends.handle.set_status(self.id, told);
        self.shown = Some(status);
    }

    /// The log has moved on, as it does with each write: nobody is woken for that, and nothing is made anew.
    fn show_position(&mut self) {
        let Some(status) = &self.shown else { return };
        let position = status.position;
        self.ends.status_file.send_if_modified(|file| {
            let last = std::mem::replace(&mut file.position, leasehold_contract::replication::position(position));
            self.position_untold |= last != file.position;
            false
        });
        self.ends.peer_state.send_if_modified(|state| {
            if let Some(state) = state {
                state.position = position;
            }
            false
        });
        self.ends.handle.move_status(status);
    }
}

/// What is said now holds until then.
fn holds_until() -> Option<u64> {
    let holds = u64::try_from(HOLDS.as_nanos()).unwrap_or(u64::MAX);
    Some(Moment::now().boottime_ns.saturating_add(holds))
}
