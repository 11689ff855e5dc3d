//! One leadership of this process, as its work holds it.
//!
//! ```text
//!                 renewed ─┐                          0 ┌────────── one duration ──────────┐ others may take the Lease
//!   Handle::leadership ────┴─▶ Claim: is_valid ─────────┴── 2/3: lost, its work is dropped ┘
//!                                └─ release: "my work has ended" ─▶ the next leader waits for nothing  [A5]
//! ```
//!
//! Once lost, a claim stays lost, whatever follows.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::control::{Request, Wish};
use crate::state::State;

/// The clock is looked at this often while a claim is held. Timers stand still while a machine sleeps; the claim's clock
/// does not.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// How long a word may take. Later it would gain little: other pods wait for two lost-times alone.
const SAY_WITHIN: Duration = Duration::from_secs(2);

/// One leadership: this process leads in that term, until [`Claim::lost`] returns. Cheap to clone, and may be sent to other
/// threads. Dropping it changes nothing: to end a leadership, use [`Claim::release`].
///
/// Ask [`Claim::is_valid`] before each thing that only a leader may do, or let [`Claim::while_valid`] do so. A claim lapses
/// a third of a lease duration before another process can lead, by the clock `CLOCK_BOOTTIME`, also if this process or its
/// machine stood still meanwhile. What was begun before that is not recalled: a request that is on its way arrives. Where
/// that would do harm, send [`Claim::term`] with it, and let the receiver refuse lower terms.
#[derive(Clone, Debug)]
pub struct Claim {
    term: u64,
    state: watch::Receiver<State>,
    stop: CancellationToken,
    requests: mpsc::Sender<Request>,
    /// Found invalid once, by any of the clones.
    is_lost: Arc<AtomicBool>,
}

/// The leadership was lost before the work had ended; the work was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this process no longer leads")]
#[non_exhaustive]
pub struct Lost;

impl Claim {
    pub(super) fn new(
        term: u64,
        state: watch::Receiver<State>,
        stop: CancellationToken,
        requests: mpsc::Sender<Request>,
    ) -> Claim {
        Claim { term, state, stop, requests, is_lost: Arc::default() }
    }

    /// The number of this leadership, higher than that of every earlier leader. (Only a claim that was lost and renewed
    /// before anybody else led has the number of the one before.)
    pub fn term(&self) -> u64 {
        self.term
    }

    /// Does this process lead by this claim now? It waits for nothing: good for code that blocks, and cheap enough to be
    /// asked before each write.
    pub fn is_valid(&self) -> bool {
        self.remaining().is_some()
    }

    /// For how long the claim is valid even if it is not renewed: a bound for requests that are sent as the leader. None:
    /// it is lost.
    pub fn remaining(&self) -> Option<Duration> {
        if self.is_lost.load(Ordering::Acquire) {
            return None;
        }
        let left = self.look();
        if left.is_none() {
            self.is_lost.store(true, Ordering::Release);
        }
        left
    }

    fn look(&self) -> Option<Duration> {
        // Without its election nobody withdraws the claim.
        if self.stop.is_cancelled() || self.state.has_changed().is_err() {
            return None;
        }
        let state = self.state.borrow();
        if !state.leads() || state.term() != Some(self.term) {
            return None;
        }
        // A fencing app leads by its own report, however old its claim is.
        state.claim_left().or_else(|| state.fencing.then_some(LOOK_AGAIN))
    }

    /// Returns when the claim is lost: not renewed in time, given up, or wanted by a switchover, a stop or another Lease.
    pub async fn lost(&self) {
        let mut state = self.state.clone();
        loop {
            // Before the look: a change after it is not missed.
            state.mark_unchanged();
            let Some(left) = self.remaining() else { return };
            tokio::select! {
                changed = state.changed() => if changed.is_err() {
                    self.is_lost.store(true, Ordering::Release);
                },
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep(left.min(LOOK_AGAIN)) => {}
            }
        }
    }

    /// Runs a future as long as the claim is valid, and drops it when the claim is lost: before this returns. It is not
    /// polled once the claim is invalid, even if this process stood still.
    ///
    /// Dropping a future ends what it does at its next `.await`. Code that blocks must ask [`Claim::is_valid`], and tasks
    /// that the future spawned must end with it (a `JoinSet` in it sees to that).
    ///
    /// # Errors
    /// [`Lost`], if the future had not ended by then.
    pub async fn while_valid<F: Future>(&self, work: F) -> Result<F::Output, Lost> {
        let mut work = pin!(work);
        let mut lost = pin!(self.lost());
        poll_fn(|context| {
            if lost.as_mut().poll(context).is_ready() || !self.is_valid() {
                return Poll::Ready(Err(Lost));
            }
            work.as_mut().poll(context).map(Ok)
        })
        .await
    }

    /// Gives the leadership up while the work in this term still ends. Others wait two lost-times, or until
    /// [`Claim::release`]. Returns when this process no longer leads by it. It contends again, after all others.
    pub async fn step_down(&self) {
        if !self.give_up() {
            self.ask(Wish::StepDown).await;
        }
    }

    /// Gives the leadership up: **all work of this process in this term has ended**, and none begins. The next leader then
    /// waits for nothing \[A5\]. Returns when this process no longer leads. It contends again, after all others. Harmless
    /// for a claim that is lost already; another leadership of this process is not touched \[A7\].
    pub async fn release(self) {
        if !self.give_up() {
            self.ask(Wish::Released).await;
        }
    }

    /// The claim is lost from now on. True: it was lost before, and this process leads in its term again, as after an outage
    /// in which nobody else led. Then what is said of it must not end the claim that follows.
    fn give_up(&self) -> bool {
        let was_lost = self.is_lost.swap(true, Ordering::AcqRel);
        let state = self.state.borrow();
        was_lost && !self.stop.is_cancelled() && state.leads() && state.term() == Some(self.term)
    }

    /// Waits until the Lease was let go of, for a switchover, say. Pending forever, if this process may keep the
    /// leadership: a lapse after an outage of the API server.
    pub(super) async fn let_go(&self) {
        let is_cleared = |state: &State| {
            let holder = state.lease.as_ref().map(|lease| lease.holder.as_deref().unwrap_or_default());
            self.is_of_lease(state) && holder == Some("")
        };
        if self.state.clone().wait_for(is_cleared).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The Lease still has this term, of this process or of nobody.
    fn is_of_lease(&self, state: &State) -> bool {
        state.lease.as_ref().is_some_and(|lease| {
            let holder = lease.holder.as_deref().unwrap_or_default();
            lease.term == self.term && (holder.is_empty() || holder == state.name)
        })
    }

    /// Returns when role.json no longer says that this process leads in the claim's term, or after a bound: the elector has ended, has
    /// nothing to end (a fencing app asks in its status.json), or cannot write role.json.
    async fn ask(&self, wish: Wish) {
        if self.state.borrow().fencing {
            return;
        }
        let (outcome, became) = oneshot::channel();
        if self.requests.send(Request { wish, term: self.term, outcome }).await.is_ok() {
            let _ = timeout(SAY_WITHIN, became).await; // the next step does not depend on it
        }
    }
}
