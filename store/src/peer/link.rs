//! The two ends of a connection's queue: the driver's and the connection task's.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use leasehold_replication::{Body, Frame, HelloAnswer, Incarnation, SnapshotPiece, Term};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How many frames may wait to be sent.
const QUEUE_FRAMES_MAX: usize = 4096;
/// How many bytes may wait to be sent: more than the state machine has under way to one follower.
const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Room for a frame beside its records.
const FRAME_ROOM_BYTES: usize = 96;

/// The driver's end of a connection. Dropping it ends the connection.
#[derive(Debug)]
pub struct Link {
    queue: mpsc::Sender<Outgoing>,
    queued_bytes: Arc<AtomicUsize>,
    _ends_it: DropGuard,
}

/// The connection task's end of a [`Link`].
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) queue: mpsc::Receiver<Outgoing>,
    queued_bytes: Arc<AtomicUsize>,
    pub(super) dropped: CancellationToken,
}

#[derive(Debug)]
pub(super) enum Outgoing {
    Answer(HelloAnswer),
    Frame(Frame),
    Snapshot(SnapshotOut),
}

/// A snapshot of our own to be sent.
pub struct SnapshotOut {
    /// Reads the piece that starts at an offset; none after the last one. Called on a thread that may block.
    pub piece: Arc<PieceReader>,
    /// For the head of the frames.
    pub term: Term,
    /// For the head of the frames.
    pub incarnation: Incarnation,
    /// Where to start: the other end has what is before.
    pub from: u64,
}

/// Reads one piece of a snapshot.
pub type PieceReader = dyn Fn(u64) -> io::Result<Option<SnapshotPiece>> + Send + Sync;

impl std::fmt::Debug for SnapshotOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotOut").field("term", &self.term).finish_non_exhaustive()
    }
}

/// Both ends of a new connection's queue.
pub(super) fn link() -> (Link, Outbox) {
    let (sender, receiver) = mpsc::channel(QUEUE_FRAMES_MAX);
    let (queued_bytes, dropped) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
    let link = Link { queue: sender, queued_bytes: Arc::clone(&queued_bytes), _ends_it: dropped.clone().drop_guard() };
    (link, Outbox { queue: receiver, queued_bytes, dropped })
}

impl Link {
    pub(super) fn answer(&self, answer: HelloAnswer) -> bool {
        self.put(Outgoing::Answer(answer))
    }

    pub(super) fn send(&self, frame: Frame) -> bool {
        self.put(Outgoing::Frame(frame))
    }

    pub(super) fn send_snapshot(&self, snapshot: SnapshotOut) -> bool {
        self.put(Outgoing::Snapshot(snapshot))
    }

    /// False: there is no room.
    fn put(&self, out: Outgoing) -> bool {
        let bytes = out.room();
        if self.queued_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > QUEUE_BYTES_MAX {
            return false;
        }
        match self.queue.try_send(out) {
            // A task that has ended accepts nothing more, and its `Closed` is on its way.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => true,
            Err(mpsc::error::TrySendError::Full(_)) => false,
        }
    }
}

impl Outgoing {
    /// The memory that it holds, approximately.
    pub(super) fn room(&self) -> usize {
        let held = match self {
            Outgoing::Frame(Frame { body: Body::Append { entries, .. }, .. }) => {
                entries.iter().map(|entry| entry.record().len()).sum()
            }
            Outgoing::Frame(Frame { body: Body::Snapshot(piece), .. }) => piece.bytes.len(),
            Outgoing::Frame(_) | Outgoing::Answer(_) | Outgoing::Snapshot(_) => 0,
        };
        held + FRAME_ROOM_BYTES
    }

    /// May it pass the pieces of a snapshot?
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Outgoing::Frame(Frame { body: Body::Heartbeat { .. } | Body::Echo { .. }, .. }))
    }
}

impl Outbox {
    /// The driver's answer to a hello. None: it dropped the link instead.
    pub(super) async fn next_answer(&mut self) -> Option<HelloAnswer> {
        match self.queue.recv().await? {
            Outgoing::Answer(answer) => {
                self.sent(FRAME_ROOM_BYTES);
                Some(answer)
            }
            Outgoing::Frame(_) | Outgoing::Snapshot(_) => None,
        }
    }

    /// Completes when the driver dropped the link.
    pub(super) async fn dropped(&self) {
        self.dropped.cancelled().await;
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}
