//! Snapshots that come in pieces: each connection's pieces go to a thread of their own, because they are written to disk,
//! and the whole is read and verified.
//!
//! ```text
//!   KeepPiece ──queue──▶ thread: PartFile::push … finish ──Kept::Whole──▶ driver ──SnapshotReceived──▶ Replica
//!                                                          ──Kept::Spoilt─▶ driver closes the connection
//! ```
//!
//! Bound: a connection lets only a few pieces in before they are kept (their room is given back here), so the queue never
//! fills by itself.

use std::collections::HashMap;

use leasehold_replication::{ConnId, SnapshotMeta, SnapshotPiece};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::journal::Journal;
use crate::snapshot::{PartError, PartFile, ReceivedSnapshot};

/// More than a connection lets in at once.
const PIECES_WAITING_MAX: usize = 64;
const KEPT_WAITING_MAX: usize = 16;

type Piece = (SnapshotPiece, Option<OwnedSemaphorePermit>);

/// See the module.
pub(super) struct Intake {
    journal: Journal,
    flows: HashMap<ConnId, Flow>,
    runs: u64,
    sender: mpsc::Sender<Outcome>,
    outcomes: mpsc::Receiver<Outcome>,
}

struct Flow {
    run: u64,
    pieces: mpsc::Sender<Piece>,
    whole: Option<ReceivedSnapshot>,
}

struct Outcome {
    conn: ConnId,
    run: u64,
    result: Result<ReceivedSnapshot, PartError>,
}

/// What became of pieces.
#[derive(Debug)]
pub(super) enum Kept {
    /// A snapshot is whole and verified: ask for it by [`Intake::whole`].
    Whole {
        /// By this connection.
        conn: ConnId,
        /// See [`Intake::is_current`].
        run: u64,
    },
    /// What came is of no use.
    Spoilt {
        /// By this connection.
        conn: ConnId,
        /// See [`Intake::is_current`].
        run: u64,
        /// Why.
        error: PartError,
    },
}

impl Intake {
    pub(super) fn new(journal: Journal) -> Intake {
        let (sender, outcomes) = mpsc::channel(KEPT_WAITING_MAX);
        Intake { journal, flows: HashMap::new(), runs: 0, sender, outcomes }
    }

    /// Keeps a piece. False: too many wait already.
    pub(super) fn keep(&mut self, conn: ConnId, piece: SnapshotPiece, room: Option<OwnedSemaphorePermit>) -> bool {
        let flow = self.flows.entry(conn).or_insert_with(|| {
            self.runs += 1;
            let (pieces, receiver) = mpsc::channel(PIECES_WAITING_MAX);
            let (run, journal, sender) = (self.runs, self.journal.clone(), self.sender.clone());
            tokio::task::spawn_blocking(move || collect(conn, run, &journal, receiver, &sender));
            Flow { run, pieces, whole: None }
        });
        match flow.pieces.try_send((piece, room)) {
            // A thread that has ended told why: that is on its way.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => true,
            Err(mpsc::error::TrySendError::Full(_)) => false,
        }
    }

    /// The next thing that became of pieces. Never ends: there is always a sender here.
    pub(super) async fn next(&mut self) -> Kept {
        let Some(Outcome { conn, run, result }) = self.outcomes.recv().await else {
            return std::future::pending().await;
        };
        match result {
            Ok(snapshot) => {
                if let Some(flow) = self.flows.get_mut(&conn).filter(|flow| flow.run == run) {
                    flow.whole = Some(snapshot);
                }
                Kept::Whole { conn, run }
            }
            Err(error) => Kept::Spoilt { conn, run, error },
        }
    }

    /// Was this connection's snapshot not forgotten since?
    pub(super) fn is_current(&self, conn: ConnId, run: u64) -> bool {
        self.flows.get(&conn).is_some_and(|flow| flow.run == run)
    }

    /// What the snapshot is of that came whole.
    pub(super) fn whole(&self, conn: ConnId, run: u64) -> Option<SnapshotMeta> {
        let flow = self.flows.get(&conn).filter(|flow| flow.run == run)?;
        flow.whole.as_ref().map(|snapshot| snapshot.meta.clone())
    }

    /// The snapshot itself, to be installed.
    pub(super) fn take(&mut self, conn: ConnId) -> Option<ReceivedSnapshot> {
        self.flows.get_mut(&conn)?.whole.take()
    }

    /// A whole snapshot that was not taken is not wanted.
    pub(super) fn done(&mut self, conn: ConnId) {
        if let Some(flow) = self.flows.get_mut(&conn) {
            flow.whole = None;
        }
    }

    /// The connection is gone, and what came by it.
    pub(super) fn forget(&mut self, conn: ConnId) {
        self.flows.remove(&conn);
    }
}

/// Runs on a thread that may block, until the connection is forgotten or something is wrong.
fn collect(
    conn: ConnId,
    run: u64,
    journal: &Journal,
    mut pieces: mpsc::Receiver<Piece>,
    outcomes: &mpsc::Sender<Outcome>,
) {
    let mut part: Option<PartFile> = None;
    while let Some((piece, room)) = pieces.blocking_recv() {
        let result = keep(journal, &mut part, &piece);
        drop(room);
        let result = match result {
            Ok(None) => continue,
            Ok(Some(whole)) => whole.finish(),
            Err(error) => Err(error),
        };
        let over = result.is_err();
        if outcomes.blocking_send(Outcome { conn, run, result }).is_err() || over {
            return;
        }
    }
}

/// Gives the file back when it holds the whole snapshot.
fn keep(journal: &Journal, part: &mut Option<PartFile>, piece: &SnapshotPiece) -> Result<Option<PartFile>, PartError> {
    let mut file = match part.take() {
        Some(file) => file,
        None => journal.part_file()?,
    };
    let whole = file.push(piece)?;
    if whole {
        return Ok(Some(file));
    }
    *part = Some(file);
    Ok(None)
}
