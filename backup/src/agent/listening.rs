//! Open watches, each read by a task of its own.
//!
//! ```text
//!   pod ──▶ task ──pieces, as they arrived──▶ the loop         the watch
//!   pod ──▶ task ──first word──▶ the loop (then it waits)      the one beside
//! ```

use crate::source::{Failed, Heard, Source};
use leasehold_archive::agent::{Ended, Pod};
use leasehold_replication::{ClusterId, Seq};
use std::collections::VecDeque;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// What a watch has sent and the loop has not looked at: pieces as they arrived, each of some hundred KiB or one entry, which has some
/// MiB at most.
const HEARD_MAX: usize = 2;

/// What a watch says, and the task that reads it.
pub(super) type Listening = (mpsc::Receiver<Result<Vec<Heard>, Failed>>, Task);

pub(super) enum Beside {
    None,
    Opening(Listening),
    /// With what it said behind its first word.
    Open(Listening, VecDeque<Heard>),
}

/// Ends a task when it is dropped.
pub(super) struct Task(pub(super) AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Beside {
    pub(super) fn opening(&mut self) -> Option<&mut Listening> {
        match self {
            Beside::Opening(listening) => Some(listening),
            Beside::Open(..) | Beside::None => None,
        }
    }
}

/// What it says next; nothing ever, if there is none.
pub(super) async fn next(listening: Option<&mut Listening>) -> Result<Vec<Heard>, Failed> {
    match listening {
        Some((heard, _)) => heard
            .recv()
            .await
            .unwrap_or_else(|| Err(Failed { ended: Ended::Broken, what: "the watch's task ended".to_owned() })),
        None => std::future::pending().await,
    }
}

/// Reads a watch in a task of its own.
pub(super) fn listen(source: Source, pod: Pod, cluster: Option<ClusterId>, after: Option<Seq>) -> Listening {
    let (say, heard) = mpsc::channel(HEARD_MAX);
    let task = tokio::spawn(async move {
        let mut watch = match source.watch(&pod, cluster, after).await {
            Ok(watch) => watch,
            Err(failed) => return drop(say.send(Err(failed)).await),
        };
        loop {
            let next =
                watch.next_all().await.map_err(|failed| Failed { what: format!("{pod}: {}", failed.what), ..failed });
            let is_over = next.is_err();
            if say.send(next).await.is_err() || is_over {
                return;
            }
        }
    });
    (heard, Task(task.abort_handle()))
}
