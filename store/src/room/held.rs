//! Replaced and deleted records live on as long as a view of the documents from before is held: by a snapshot that is
//! being written, or by a reader that takes a list slowly.
//!
//! ```text
//!   epoch ── a token in every view that is made in it ── what was given up since it began
//!   oldest epoch with a view left: all that was given up since is counted as held
//! ```

use crate::documents::Documents;
use std::collections::VecDeque;
use std::sync::Weak;
use std::time::Duration;

/// An epoch lasts at least this long.
const EPOCH: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Debug, Default)]
pub struct Held {
    /// Of each epoch that is over: its token, and what had been given up in all when it ended.
    epochs: VecDeque<(Weak<()>, u64)>,
    /// When the present one began, and what had been given up in all.
    began: (Duration, u64),
}

impl Held {
    /// What is held, about, at `now` (of any clock that does not go back). `documents` are those that are written to.
    pub fn count(&mut self, now: Duration, documents: &mut Documents) -> u64 {
        let given_up = documents.given_up_bytes();
        if given_up != self.began.1 && now >= self.began.0 + EPOCH {
            self.epochs.push_back((documents.renew(), given_up));
            self.began = (now, given_up);
        }
        while self.epochs.front().is_some_and(|(token, _)| token.strong_count() == 0) {
            self.epochs.pop_front();
        }
        // A view of an epoch may hold all that was given up after it began; it began when the one before it ended, and
        // that one is not known any more: what was given up within it is left out.
        self.epochs.front().map_or(0, |(_, ended)| given_up.saturating_sub(*ended))
    }
}
