//! Snapshots that arrive in pieces: each connection's pieces go to a thread of their own, because it writes them to disk,
//! and then reads and verifies the whole.
//!
//! ```text
//!   KeepPiece ──queue──▶ thread: PartFile::push … finish ──Kept::Whole──▶ driver ──SnapshotReceived──▶ Replica
//!                                                          ──Kept::Spoilt─▶ driver closes the connection
//! ```
//!
//! An interrupted transfer leaves what has arrived: the next hello reports it, and a leader that still has the same
//! snapshot resumes behind it.
//!
//! If there is no room for the whole ([`Lack`]), its pieces are dropped without an answer: the leader waits, as for a slow
//! disk. As soon as there is room the driver closes the connection, and the next one sends the snapshot again.
//!
//! Bound: a connection admits only a few pieces before they are kept (their room is returned here), so the queue never
//! fills by itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use leasehold_replication::{ConnId, SnapshotMeta, SnapshotPart, SnapshotPiece};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tracing::warn;

use crate::progress::{Amount, Unit};
use crate::room::Lack;
use crate::volume::journal::{Journal, JournalFigures};
use crate::volume::snapshot::{PartError, PartFile, ReceivedSnapshot};

/// More than a connection admits at once.
const PIECES_WAITING_MAX: usize = 64;
const KEPT_WAITING_MAX: usize = 16;
/// How long the data of an interrupted transfer is kept.
const CUT_KEPT: Duration = Duration::from_secs(10 * 60);
/// A snapshot that needs more memory is requested again after this: the leader's data may be smaller by then.
const MEMORY_RETRY: Duration = Duration::from_secs(5 * 60);
/// How often the same lack is logged.
const LACK_SAID: Duration = Duration::from_secs(60);

type Piece = (SnapshotPiece, Option<OwnedSemaphorePermit>);

/// See the module.
pub(super) struct Intake {
    journal: Journal,
    flows: HashMap<ConnId, Flow>,
    runs: u64,
    sender: mpsc::Sender<Outcome>,
    outcomes: mpsc::Receiver<Outcome>,
    cut: Cut,
    /// The transfer whose pieces are dropped.
    refused: Option<Refused>,
    /// When that was last logged.
    lack_said: Option<Instant>,
}

/// A transfer for which there is no room.
struct Refused {
    conn: ConnId,
    /// The length of the snapshot, and how much of it is here.
    length_bytes: u64,
    have_bytes: u64,
    lack: Lack,
    since: Instant,
}

/// The data of the last interrupted transfer, and when it was interrupted. One at most: a newer one replaces it.
type Cut = Arc<Mutex<Option<(PartFile, Instant)>>>;

struct Flow {
    run: u64,
    pieces: mpsc::Sender<Piece>,
    whole: Option<ReceivedSnapshot>,
    /// From the last piece that arrived: where it ends, and where the whole does. None: the whole was used.
    came: Option<(u64, u64)>,
}

struct Outcome {
    conn: ConnId,
    run: u64,
    result: Result<ReceivedSnapshot, PartError>,
}

/// What happened to pieces.
#[derive(Debug)]
pub(super) enum Kept {
    /// A snapshot is whole and verified: ask for it by [`Intake::whole`].
    Whole {
        /// On this connection.
        conn: ConnId,
        /// See [`Intake::is_current`].
        run: u64,
    },
    /// What arrived is unusable.
    Spoilt {
        /// On this connection.
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
        let (flows, cut) = (HashMap::new(), Cut::default());
        Intake { journal, flows, runs: 0, sender, outcomes, cut, refused: None, lack_said: None }
    }

    /// What a leader may resume behind. If nobody asked for it for a while, it is dropped: it uses room.
    pub(super) fn part(&self) -> Option<SnapshotPart> {
        let mut cut = lock(&self.cut);
        drop(cut.take_if(|(_, since)| since.elapsed() > CUT_KEPT));
        cut.as_ref().and_then(|(part, _)| part.part())
    }

    /// Keeps a piece; drops it if there is no room for the whole. False: too many wait already, or there is no room, and a
    /// leader needs it, which must not wait.
    pub(super) fn keep(
        &mut self,
        conn: ConnId,
        piece: SnapshotPiece,
        room: Option<OwnedSemaphorePermit>,
        journal: &JournalFigures,
        memory_bytes: u64,
    ) -> bool {
        if self.refused.as_ref().is_some_and(|refused| refused.conn == conn) {
            return true;
        }
        if !self.flows.contains_key(&conn) {
            if piece.offset == 0 {
                // What was interrupted belongs to another one, and uses room.
                drop(lock(&self.cut).take());
            }
            if let Some(lack) = Lack::of(piece.length_bytes, piece.offset, journal, memory_bytes) {
                return self.refuse(conn, &piece, lack);
            }
        }
        let came = Some((piece.offset.saturating_add(piece.bytes.len() as u64), piece.length_bytes));
        let flow = self.flows.entry(conn).or_insert_with(|| {
            self.runs += 1;
            let (pieces, receiver) = mpsc::channel(PIECES_WAITING_MAX);
            let (run, journal, sender) = (self.runs, self.journal.clone(), self.sender.clone());
            let cut = Arc::clone(&self.cut);
            tokio::task::spawn_blocking(move || collect(conn, run, &journal, receiver, &sender, &cut));
            Flow { run, pieces, whole: None, came }
        });
        flow.came = came;
        match flow.pieces.try_send((piece, room)) {
            // A thread that has ended has reported why: that is on its way.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => true,
            Err(mpsc::error::TrySendError::Full(_)) => false,
        }
    }

    fn refuse(&mut self, conn: ConnId, piece: &SnapshotPiece, lack: Lack) -> bool {
        if self.lack_said.is_none_or(|said| said.elapsed() >= LACK_SAID) {
            self.lack_said = Some(Instant::now());
            warn!(?conn, "no room for a snapshot: {lack}");
        }
        let (length_bytes, have_bytes) = (piece.length_bytes, piece.offset);
        match conn {
            ConnId::Dialled(_) => {
                self.refused = Some(Refused { conn, length_bytes, have_bytes, lack, since: Instant::now() });
                true
            }
            ConnId::Accepted(_) => false,
        }
    }

    /// The connection whose snapshot may be requested again.
    pub(super) fn look(&self, journal: &JournalFigures, memory_bytes: u64) -> Option<ConnId> {
        let Refused { conn, length_bytes, have_bytes, since, .. } = self.refused.as_ref()?;
        let again = match Lack::of(*length_bytes, *have_bytes, journal, memory_bytes) {
            None => true,
            Some(Lack::Disk { .. }) => false,
            Some(Lack::Memory { .. }) => since.elapsed() >= MEMORY_RETRY,
        };
        again.then_some(*conn)
    }

    /// What a snapshot that cannot be received waits for, for people.
    pub(super) fn waits(&self) -> Option<String> {
        self.refused.as_ref().map(|refused| refused.lack.to_string())
    }

    /// How much of a snapshot has arrived.
    pub(super) fn amount(&self) -> Option<Amount> {
        let flow = self.flows.values().max_by_key(|flow| flow.run)?;
        let (done, of) = flow.came?;
        Some(Amount { unit: Unit::Bytes, done, of })
    }

    /// The next result for pieces. Never ends: there is always a sender here.
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

    /// Is this connection's snapshot still current?
    pub(super) fn is_current(&self, conn: ConnId, run: u64) -> bool {
        self.flows.get(&conn).is_some_and(|flow| flow.run == run)
    }

    /// The description of the snapshot that arrived whole.
    pub(super) fn whole(&self, conn: ConnId, run: u64) -> Option<SnapshotMeta> {
        let flow = self.flows.get(&conn).filter(|flow| flow.run == run)?;
        flow.whole.as_ref().map(|snapshot| snapshot.meta.clone())
    }

    /// The snapshot itself, to be installed.
    pub(super) fn take(&mut self, conn: ConnId) -> Option<ReceivedSnapshot> {
        self.flows.get_mut(&conn)?.whole.take()
    }

    /// A whole snapshot that was not used is not wanted.
    pub(super) fn done(&mut self, conn: ConnId) {
        if let Some(flow) = self.flows.get_mut(&conn) {
            (flow.whole, flow.came) = (None, None);
        }
    }

    /// The connection is gone, and so is its data.
    pub(super) fn forget(&mut self, conn: ConnId) {
        self.flows.remove(&conn);
        if self.refused.as_ref().is_some_and(|refused| refused.conn == conn) {
            self.refused = None;
        }
    }
}

/// Runs on a thread that may block, until the connection is forgotten or something is wrong.
fn collect(
    conn: ConnId,
    run: u64,
    journal: &Journal,
    mut pieces: mpsc::Receiver<Piece>,
    outcomes: &mpsc::Sender<Outcome>,
    cut: &Cut,
) {
    let mut part: Option<PartFile> = None;
    while let Some((piece, room)) = pieces.blocking_recv() {
        if part.is_none() {
            // What an earlier transfer left is obsolete, unless this one resumes behind it.
            part = lock(cut).take().map(|(part, _)| part).filter(|_| piece.offset > 0);
        }
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
    if let Some(part) = part {
        *lock(cut) = Some((part, Instant::now()));
    }
}

fn lock(cut: &Cut) -> MutexGuard<'_, Option<(PartFile, Instant)>> {
    cut.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the file when it holds the whole snapshot.
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing::rig::{folder, open};
    use tokio::sync::Semaphore;

    const FIRST: ConnId = ConnId::Dialled(1);
    const SECOND: ConnId = ConnId::Dialled(2);

    fn keep(intake: &mut Intake, conn: ConnId, piece: SnapshotPiece, room: Option<OwnedSemaphorePermit>) -> bool {
        intake.keep(conn, piece, room, &JournalFigures::default(), u64::MAX / 2)
    }

    #[tokio::test]
    async fn a_transfer_that_was_cut_goes_on_where_it_ended() {
        let (there, here) = (folder(), folder());
        let mut leader = open(there.path()).unwrap();
        leader.fill(1..3_000);
        leader.take_snapshot();
        let file = leader.journal().open_snapshot().unwrap().unwrap();
        let follower = open(here.path()).unwrap();
        let mut intake = Intake::new(follower.journal().clone());
        assert_eq!(intake.part(), None);

        // Two pieces arrive, and are kept.
        let room = Arc::new(Semaphore::new(2));
        let mut offset = 0;
        for _ in 0..2 {
            let piece = file.piece(offset).unwrap().unwrap();
            offset += piece.bytes.len() as u64;
            assert!(offset < file.length_bytes(), "there are more pieces");
            assert!(keep(&mut intake, FIRST, piece, Some(Arc::clone(&room).acquire_owned().await.unwrap())));
        }
        drop(room.acquire_many(2).await.unwrap());
        intake.forget(FIRST);
        let part = loop {
            match intake.part() {
                Some(part) => break part,
                None => tokio::task::yield_now().await,
            }
        };
        assert_eq!((part.have_bytes, file.is_behind(&part)), (offset, offset));
        assert_eq!(file.is_behind(&SnapshotPart { crc32: !part.crc32, ..part }), 0, "of another snapshot");

        while let Some(piece) = file.piece(offset).unwrap() {
            offset += piece.bytes.len() as u64;
            assert!(keep(&mut intake, SECOND, piece, Some(Arc::clone(&room).acquire_owned().await.unwrap())));
        }
        let Kept::Whole { conn, run } = intake.next().await else { panic!("it is not whole") };
        assert_eq!((conn, intake.whole(conn, run).unwrap().position), (SECOND, leader.last));
        assert_eq!(intake.part(), None);
    }

    #[tokio::test]
    async fn a_piece_behind_what_is_not_here_is_refused() {
        let (there, here) = (folder(), folder());
        let mut leader = open(there.path()).unwrap();
        leader.fill(1..2_000);
        leader.take_snapshot();
        let file = leader.journal().open_snapshot().unwrap().unwrap();
        let first = file.piece(0).unwrap().unwrap().bytes.len() as u64;
        let follower = open(here.path()).unwrap();
        let mut intake = Intake::new(follower.journal().clone());
        assert!(keep(&mut intake, FIRST, file.piece(first).unwrap().unwrap(), None));
        assert!(matches!(intake.next().await, Kept::Spoilt { conn: FIRST, error: PartError::Order { .. }, .. }));
    }
}
