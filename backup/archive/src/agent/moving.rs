//! Away from a pod that leads: writes wait for it, and it has enough to do.
//!
//! ```text
//!   following A, which leads ─▶ where are the others? ─▶ a watch of B beside, after what is recorded
//!        ▲                                                   │
//!        │ nobody: once a minute                             ├─ the same data there, fresh, does not lead ─▶ following B
//!        └────────────────── no more pods ◀── the next one ◀─┴─ anything else
//! ```
//!
//! Both watches are open until the second one has what follows: a pod that leads forgets its changes within seconds when many write,
//! and one that was left first could no longer be followed if no other one can be. What both say is recorded once.
//!
//! Invariants: a pod is left for another one once a minute at most, and only for one that says that it does not lead. So nothing goes back and
//! forth, and the only pod of a cluster is followed although it leads.

use super::Agent;
use super::followed::{Expected, Followed, Look, STALE_MAX};
use super::plants::{Fault, is_planted};
use super::step::{Action, Bookmark, Ended, Pod};
use super::watching::Watching;
use std::time::Duration;

/// Between two looks for another pod.
const LOOK_EVERY: Duration = Duration::from_secs(60);

impl Agent {
    /// When it is time to look for another pod.
    pub(super) fn look_deadline(&self) -> Option<Duration> {
        let may = self.watching.followed().is_some_and(Followed::may_look);
        self.looked.filter(|_| may).map(|looked| looked + LOOK_EVERY)
    }

    /// What time asks.
    pub(super) fn look_on(&mut self, now: Duration) {
        let is_early = self.look_deadline().is_some_and(|at| now < at);
        let Watching::Following(followed) = &mut self.watching else { return };
        if is_early || !followed.may_look() {
            return;
        }
        if is_planted(Fault::LeavesBeforeItMoves) {
            self.looked = Some(now);
            self.close_watch();
            return self.resume();
        }
        followed.look = Look::Resolving;
        self.looked = Some(now);
        self.act(Action::Resolve);
    }

    /// Where the others are.
    pub(super) fn on_others(&mut self, mut pods: Vec<Pod>) {
        let Watching::Following(Followed { pod, look: look @ Look::Resolving, .. }) = &mut self.watching else {
            return;
        };
        pods.retain(|other| other != pod);
        self.turn = self.turn.wrapping_add(1);
        let by = self.turn % pods.len().max(1);
        pods.rotate_left(by);
        *look = Look::Idle;
        self.ask_beside(pods);
    }

    fn ask_beside(&mut self, mut open: Vec<Pod>) {
        let (Some(cluster), Some(filing)) = (self.cluster, &self.filing) else { return };
        let Watching::Following(followed) = &mut self.watching else { return };
        let Some(pod) = open.pop() else { return followed.look = Look::Idle };
        let expected = Expected::of(filing.at());
        followed.look = Look::Asking { pod: Pod::clone(&pod), expected, open };
        self.act(Action::WatchBeside { pod, cluster, after: expected.seq });
    }

    pub(super) fn on_beside(&mut self, now: Duration, said: Result<Bookmark, Ended>) {
        let cluster = self.cluster;
        let Watching::Following(Followed { look: Look::Asking { pod, expected, open }, .. }) = &mut self.watching
        else {
            return;
        };
        let is_better = said.is_ok_and(|bookmark| {
            let is_fresh = bookmark.stale.is_some_and(|stale| stale <= STALE_MAX);
            Some(bookmark.cluster) == cluster && expected.is(&bookmark.mark) && is_fresh && !bookmark.leads
        });
        if is_better {
            self.watching = Watching::Following(Followed::new(Pod::clone(pod), false));
            self.looked = Some(now);
            return self.act(Action::Move);
        }
        let open = std::mem::take(open);
        if said.is_ok() {
            self.act(Action::CloseBeside);
        }
        self.ask_beside(open);
    }

    /// The watch ended: what was asked beside it comes to nothing.
    pub(super) fn end_look(&mut self) {
        if let Watching::Following(followed) = &mut self.watching {
            let is_asking = matches!(followed.look, Look::Asking { .. });
            followed.look = Look::Idle;
            if is_asking {
                self.act(Action::CloseBeside);
            }
        }
    }
}
