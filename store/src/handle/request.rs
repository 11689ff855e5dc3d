//! A write on its way from the API to the log and back; and why it, or a strong read, got no answer.

use bytes::Bytes;
use leasehold_documents::Applied;
use leasehold_replication::{Position, Refusal};
use tokio::sync::oneshot;

/// A client's write on its way to the log.
///
/// The driver answers it once: `Refused` when the replica rejected it; `Written` when the entry at its accepted position
/// was applied; `Overwritten` when another entry of that sequence was; `Unknown` when the outcome can no longer be
/// determined. Dropping `reply` counts as `Unknown`. A request whose `reply.is_closed()` before it was proposed may be
/// skipped.
#[derive(Debug)]
pub struct WriteRequest {
    /// The encoded [`Command`](leasehold_documents::Command).
    pub command: Bytes,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<Written, WriteError>>,
}

/// A write that was committed and applied here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its entry.
    pub position: Position,
    /// Its outcome, the same on every replica.
    pub answer: Applied,
}

/// Why a write got no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// It was not done, and never will be.
    #[error("refused: {0:?}")]
    Refused(Refusal),
    /// A log contains it, and it may be done or not: it was not committed in time, or the leadership was lost meanwhile.
    #[error("the outcome of the write is unknown")]
    Unknown,
    /// Another entry was committed in its place: it was not done, and never will be.
    #[error("a later leader replaced the write with another entry")]
    Overwritten,
    /// The replica ended before it accepted the write: it was not done.
    #[error("the replica has ended")]
    Closed,
}

/// Why a strong read was not confirmed. It may be asked again at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The replica refused.
    #[error("refused: {0:?}")]
    Refused(Refusal),
    /// Nobody confirmed it in time.
    #[error("not confirmed in time")]
    Late,
    /// The replica has ended.
    #[error("the replica has ended")]
    Closed,
}
