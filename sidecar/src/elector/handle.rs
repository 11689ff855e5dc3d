//! What a program holds of a running elector: it waits for leaderships, and says whether it is fit.

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::claim::Claim;
use crate::control::Request;
use crate::health::own_word;
use crate::state::{Health, State};

/// A part of a program asks an [`Elector`](crate::Elector) by it: who leads, and when it is this process' turn. Cheap to
/// clone; each task may have its own. It does not keep the elector alive.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) state: watch::Receiver<State>,
    pub(super) stop: CancellationToken,
    pub(super) requests: mpsc::Sender<Request>,
    /// What the program says of its own health.
    pub(super) health: watch::Sender<Option<Health>>,
}

impl Handle {
    /// Waits until this process leads. None: it never will again, because the elector was stopped, or has ended.
    ///
    /// After a leadership was lost, the next call waits for the next one. That may have the same term: nobody else led
    /// meanwhile. May be dropped and called again at any time.
    pub async fn leadership(&self) -> Option<Claim> {
        let mut state = self.state.clone();
        loop {
            // Before the look: a change after it is not missed.
            state.mark_unchanged();
            if self.stop.is_cancelled() {
                return None;
            }
            if let Some(claim) = self.claim() {
                return Some(claim);
            }
            tokio::select! {
                changed = state.changed() => changed.ok()?,
                () = self.stop.cancelled() => return None,
            }
        }
    }

    /// The present leadership of this process. None: it does not lead.
    pub fn claim(&self) -> Option<Claim> {
        let term = Some(&*self.state.borrow()).filter(|state| state.leads()).and_then(State::term)?;
        let claim = Claim::new(term, self.state.clone(), self.stop.clone(), self.requests.clone());
        claim.is_valid().then_some(claim)
    }

    /// What the elector knows; the receiver is notified of each change.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Asks the elector to let go of the leadership and to end, as [`Elector::stop`](crate::Elector::stop).
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// This process is fit to lead, which it is until [`Handle::set_unfit`], or with [`Config::starts_fit`] from the start.
    ///
    /// [`Config::starts_fit`]: crate::Config::starts_fit
    pub fn set_fit(&self) {
        self.say(Ok(()));
    }

    /// This process could not do its work as leader, for a reason that people read in [`State::unfit`]. It lets go of the
    /// leadership, if the API server answers and so another process can lead; and it contends after all others. If all are
    /// unfit, one leads.
    ///
    /// Only what this process alone can be wrong about is a good reason. A database that nobody reaches moves the
    /// leadership, and helps nobody.
    pub fn set_unfit(&self, reason: impl Into<String>) {
        self.say(Err(reason.into()));
    }

    fn say(&self, fitness: Result<(), String>) {
        let health = Some(own_word(fitness));
        self.health.send_if_modified(|known| {
            let is_new = *known != health;
            *known = health;
            is_new
        });
    }
}
