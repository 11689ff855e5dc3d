//! Replaced and deleted records live on while somebody holds an earlier view of the documents: a snapshot that is being
//! written, or a reader that receives a list slowly.
//!
//! ```text
//!   epoch ── a token in every view that is made in it ── what was given up since it began
//!   oldest epoch with a view left: all that was given up since is counted as held
//! ```

use leasehold_documents::Documents;
use std::collections::VecDeque;
use std::sync::Weak;
use std::time::Duration;

/// An epoch lasts at least this long.
const EPOCH: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Debug, Default)]
pub struct Held {
    /// For each finished epoch: its token, and the total that had been dropped when it ended.
    epochs: VecDeque<(Weak<()>, u64)>,
    /// When the present one began, and the total that had been dropped.
    began: (Duration, u64),
}

impl Held {
    /// What is held, approximately, at `now` (of any clock that does not go back). `documents` are the current ones.
    pub fn count(&mut self, now: Duration, documents: &mut Documents) -> u64 {
        let given_up = documents.given_up_bytes();
        if given_up != self.began.1 && now >= self.began.0 + EPOCH {
            self.epochs.push_back((documents.renew(), given_up));
            self.began = (now, given_up);
        }
        while self.epochs.front().is_some_and(|(token, _)| token.strong_count() == 0) {
            self.epochs.pop_front();
        }
        // A view of an epoch may hold everything that was dropped after the epoch began. The epoch began when the one
        // before it ended, and that one is no longer known: what was dropped within it is ignored.
        self.epochs.front().map_or(0, |(_, ended)| given_up.saturating_sub(*ended))
    }
}
