//! The loop that most programs want: work while this process leads, and nothing else.
//!
//! ```text
//!   wait for a leadership ──▶ work(claim) ──returned──▶ release ──┐
//!        ▲                        ├───────lost: dropped ──────────┤
//!        │                        └───────stop: dropped ─▶ release, stop, end
//!        └────────────────────────────────────────────────────────┘
//! ```

use std::pin::pin;

use super::claim::Claim;
use super::{Elector, EndError};

impl Elector {
    /// Takes part in the election until `stop` returns. Whenever this process leads, it calls `work`, and polls what that
    /// returned as long as the [`Claim`] is valid; then it drops it, as [`Claim::while_valid`] does.
    ///
    /// - **Lost**: the work was dropped; this waits for the next leadership, and calls `work` anew.
    /// - **The work returned**: the leadership is given up, another process leads if there is one, and this one waits for
    ///   its next turn. Work that shall not end must not return.
    /// - **`stop` returned**, as on SIGTERM: the work is dropped, the Lease is let go of, and the next leader waits for
    ///   nothing. Then this returns.
    ///
    /// A panic of the work passes through, and ends the elector as a crash would.
    ///
    /// # Errors
    /// See [`Elector::ended`].
    pub async fn lead<F: Future<Output = ()>>(
        self,
        stop: impl Future<Output = ()>,
        mut work: impl FnMut(Claim) -> F,
    ) -> Result<(), EndError> {
        let handle = self.handle();
        let mut ended = pin!(self.ended());
        let mut stop = pin!(stop);
        // The last leadership, whose work has certainly ended, as long as the Lease does not say so.
        let mut last: Option<Claim> = None;
        loop {
            let claim = tokio::select! {
                biased;
                ended = &mut ended => return ended,
                () = &mut stop => break,
                () = let_go(last.as_ref()) => {
                    if let Some(last) = last.take() {
                        last.release().await;
                    }
                    continue;
                }
                claim = handle.leadership() => claim,
            };
            // None: somebody else stopped the elector. The word is as good as with a stop of ours.
            let Some(claim) = claim else { break };
            last = Some(claim.clone());
            let returned = tokio::select! {
                biased;
                ended = &mut ended => return ended,
                () = &mut stop => break,
                done = claim.while_valid(work(claim.clone())) => done.is_ok(),
            };
            if returned && let Some(last) = last.take() {
                last.release().await;
            }
        }
        if let Some(last) = last {
            tokio::select! {
                ended = &mut ended => return ended,
                () = last.release() => {}
            }
        }
        handle.stop();
        ended.await
    }
}

/// Returns on the first SIGTERM or SIGINT: for [`Elector::lead`]. The signals are caught from this call on, not from the first
/// poll of what it returns. Call it on the tokio runtime.
///
/// # Errors
/// The signals cannot be received.
pub fn terminated() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    let stop = leasehold_daemon::signals::stop_token(|| {})?;
    Ok(async move { stop.cancelled().await })
}

async fn let_go(last: Option<&Claim>) {
    match last {
        Some(last) => last.let_go().await,
        None => std::future::pending().await,
    }
}
