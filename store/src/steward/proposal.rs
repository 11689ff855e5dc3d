//! A step on its way through the log.

use crate::handle::Handle;
use crate::wall_clock;
use leasehold_documents::{Command, Outcome, Work};
use std::time::Duration;
use tracing::debug;

/// How long a step may wait for its commit. Then the next second looks what became of it.
pub(super) const STEP_MAX: Duration = Duration::from_secs(5);

/// Through the log. None: it was not done, or nobody knows.
pub(super) async fn propose(handle: &Handle, work: Work<'_>) -> Option<Outcome> {
    let command = Command { time_ms: wall_clock::now_ms(), key: None, work };
    let in_force = handle.format().max(handle.documents().format());
    if command.needs() > in_force {
        return None;
    }
    match handle.write(command.encode(in_force), STEP_MAX).await {
        Ok(written) => Some(written.answer.outcome),
        Err(error) => {
            debug!(%error, "a step was not done; trying again in a second");
            None
        }
    }
}
