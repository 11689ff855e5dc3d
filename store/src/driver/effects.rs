//! Carries out the state machine's effects: on the journal, the peers, the documents and those who wait for them.

use std::sync::Arc;

use leasehold_replication::{
    ClusterId, ConnId, DurableState, Effect, Entry, Incarnation, Input, Payload, Position, SnapshotMeta, SnapshotPart,
    SnapshotPiece, Term, Ticket,
};
use tracing::{error, info, warn};

use super::sums::Sums;
use super::{Driver, End};
use crate::peer::SnapshotOut;
use crate::volume::journal::{JournalError, LookUpAnswer};
use leasehold_documents::{Collection, Documents, FORMAT, UnknownCommand, readable};

impl Driver {
    pub(super) fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Persist { ticket, format, records } => {
                if let Err(error) = self.ends.journal.append(ticket, format, records) {
                    self.journal_refuses(&error);
                }
                self.look_whether_full();
            }
            Effect::InstallSnapshot { ticket, conn, meta, state, format } => {
                self.install_snapshot(ticket, conn, meta, (state, format));
            }
            Effect::Restore { ticket, meta, state, format, entry } => {
                self.begin_with_restored(ticket, meta, (state, format), entry);
            }
            Effect::Apply { entries } => self.apply(&entries),
            Effect::Accepted { id, position } => self.waiters.accepted(id, position),
            Effect::Rejected { id, reason } => self.waiters.rejected(id, reason),
            Effect::GiveUp => self.waiters.give_up(),
            Effect::ReadReady { upto } => self.readers.answered(upto, Ok(())),
            Effect::ReadRefused { upto, reason } => self.readers.answered(upto, Err(reason)),
            Effect::Dial { conn, to, mut hello } => {
                hello.snapshot_part = self.intake.part();
                self.ends.peers.dial(conn, to, hello);
            }
            Effect::Answer { conn, answer } => {
                if !self.ends.peers.answer(conn, answer) {
                    self.spoil(conn);
                }
            }
            Effect::Send { conn, frame } => {
                if !self.ends.peers.send(conn, frame) {
                    self.spoil(conn);
                }
            }
            Effect::SendSnapshot { conn, term, incarnation, position, part } => {
                self.send_snapshot(conn, (term, incarnation), position, part);
            }
            Effect::LookUp { conn, previous, bytes_max } => self.look_up(conn, previous, bytes_max),
            Effect::KeepPiece { conn, piece } => self.keep_piece(conn, piece),
            Effect::Close { conn } => {
                self.ends.peers.close(conn);
                self.intake.forget(conn);
            }
            Effect::Invite { to, claim } => self.ends.peers.invite(to, claim),
            Effect::AnswerInvite { request, answer } => self.ends.peers.answer_invite(request, answer),
            Effect::AskState { to } => self.ends.peers.ask_state(to),
            Effect::MarkWentBack { ticket, mark } => {
                error!("{}", mark.advice(&self.name));
                if let Err(error) = self.ends.journal.mark_went_back(ticket, mark) {
                    self.journal_refuses(&error);
                }
            }
            Effect::TellSum { sequence } => {
                let sum = self.sums.of(sequence);
                self.brought_about.push_back(Input::Sum { sequence, sum });
            }
            Effect::MarkDiverged { ticket, mark } => {
                error!("{}", mark.advice(&self.name));
                if let Err(error) = self.ends.journal.mark_diverged(ticket, mark) {
                    self.journal_refuses(&error);
                }
            }
            Effect::WipeVolume { winner } => self.wipe(winner),
            Effect::Fail { reason } => {
                // The end waits until the volume is empty, if it is being emptied.
                if self.wiping.is_none() {
                    self.end.get_or_insert(End::Failed { reason });
                }
            }
            Effect::Unreadable { what } => {
                self.end.get_or_insert(End::Unreadable { what });
            }
            Effect::Report { what } => error!(what, "the log of a replica contradicts what was committed"),
        }
    }

    fn install_snapshot(
        &mut self,
        ticket: Ticket,
        conn: ConnId,
        meta: SnapshotMeta,
        (state, format): (DurableState, u32),
    ) {
        let snapshot = self.intake.take(conn).expect("only what was just received is installed");
        info!(position = %meta.position, "installing a snapshot of the leader");
        self.begin_with(&snapshot.documents, &meta);
        if let Err(error) = self.ends.journal.install(ticket, snapshot, state, format) {
            self.journal_refuses(&error);
        }
    }

    /// The first start of a cluster from a backup.
    fn begin_with_restored(
        &mut self,
        ticket: Ticket,
        meta: SnapshotMeta,
        (state, format): (DurableState, u32),
        entry: Entry,
    ) {
        let documents = self.restored.take().expect("only what the start found is restored").documents;
        info!(
            sequence = meta.position.seq.0,
            cluster = %meta.cluster_id,
            "the new cluster begins with the data of restore.json; expiry is paused (PUT /api/expiry lets it go on)"
        );
        self.begin_with(&documents, &meta);
        if let Err(error) = self.ends.journal.restore(ticket, (meta, documents), (state, format), entry) {
            self.journal_refuses(&error);
        }
    }

    /// From here on the data are these.
    fn begin_with(&mut self, documents: &Documents, meta: &SnapshotMeta) {
        self.documents = documents.clone();
        self.sums = Sums::new(&self.documents);
        self.voters = meta.voters.clone();
        self.waiters.skip_to(meta.position.seq);
        self.ends.handle.restore(&self.documents);
    }

    /// Entries that a lagging replica needs: they come back as [`Found`](super::Found).
    fn look_up(&self, conn: ConnId, previous: Position, bytes_max: usize) {
        let found = self.found.clone();
        let tell = move |entries| {
            let _ = found.send((conn, entries)); // a driver that is gone wants nothing
        };
        self.ends.journal.look_up(previous, bytes_max, LookUpAnswer::new(tell));
    }

    fn keep_piece(&mut self, conn: ConnId, piece: SnapshotPiece) {
        let room = self.piece_room.take();
        if !self.intake.keep(conn, piece, room, &self.ends.journal.figures(), self.account.memory_bytes()) {
            self.spoil(conn);
        }
    }

    fn wipe(&mut self, winner: ClusterId) {
        warn!(%winner, "another bootstrap won: emptying this volume");
        self.wiping = Some(winner);
        if let Err(error) = self.ends.journal.wipe() {
            self.wiping = None;
            error!(%error, "cannot empty the volume");
        }
    }

    /// The end of this replica. Why the journal is closed comes with its last event (`finish`).
    fn journal_refuses(&mut self, error: &JournalError) {
        error!(%error, "the journal no longer accepts writes: shutting down");
        self.brought_about.push_back(Input::PersistFailed);
    }

    /// Ends an unusable connection, and notifies the state machine.
    pub(super) fn spoil(&mut self, conn: ConnId) {
        self.ends.peers.close(conn);
        self.intake.forget(conn);
        self.brought_about.push_back(Input::Closed { conn });
    }

    fn apply(&mut self, entries: &[Entry]) {
        let mut answers = Vec::new();
        for entry in entries {
            let mut changes = Vec::new();
            let answer = match &entry.payload {
                Payload::Command(command) => match self.documents.apply(entry.position, command, &mut changes) {
                    Ok(answer) => Some(answer),
                    Err(unknown) => {
                        // Never skipped: what follows would be applied to other data than everywhere else [C1].
                        self.end.get_or_insert(End::Unreadable { what: cannot_apply(entry.position, &unknown) });
                        break;
                    }
                },
                Payload::Voters(voters) => {
                    self.voters = voters.clone();
                    self.documents.voters(entry.position, voters.format, &mut changes);
                    None
                }
                Payload::Empty => {
                    self.documents.skip(entry.position);
                    None
                }
            };
            self.sums.note(&self.documents);
            self.ends.handle.note(&self.documents, changes);
            self.waiters.applied(entry.position, answer, &mut answers);
        }
        let discarded = self.documents.take_discarded();
        // Published before any answer: a client with an answer reads what it wrote.
        self.ends.handle.set_documents(&self.documents);
        free(discarded);
        self.ends.handle.tell();
        for (reply, answer) in answers {
            let _ = reply.send(answer); // who gave up does not wait
        }
    }

    pub(super) fn take_snapshot(&mut self) {
        // What has diverged must not become the base of a later start, nor of another replica [D5].
        if self.replica.has_diverged() {
            return;
        }
        let Some(cluster_id) = self.shown.as_ref().and_then(|status| status.cluster_id) else { return };
        let position = self.documents.applied();
        // A snapshot of only a part of what the start found would free nothing.
        if self.replica.applies().is_some() || position.seq <= self.ends.journal.figures().snapshot_position.seq {
            return;
        }
        let meta = SnapshotMeta { cluster_id, position, voters: self.voters.clone() };
        if self.ends.journal.take_snapshot(meta, self.documents.clone()) {
            info!(%position, "taking a snapshot");
        }
    }

    fn send_snapshot(
        &mut self,
        conn: ConnId,
        (term, incarnation): (Term, Incarnation),
        position: Position,
        part: Option<SnapshotPart>,
    ) {
        match self.ends.journal.open_snapshot() {
            Ok(Some(file)) => {
                let from = part.map_or(0, |part| file.is_behind(&part));
                info!(?conn, position = %file.position(), bytes = file.length_bytes(), from, "sending a snapshot");
                let piece = Arc::new(move |offset| file.piece(offset));
                if !self.ends.peers.send_snapshot(conn, SnapshotOut { piece, term, incarnation, from }) {
                    self.spoil(conn);
                }
            }
            Ok(None) => {
                error!(%position, "no snapshot to send");
                self.spoil(conn);
            }
            Err(error) => {
                error!(%position, %error, "cannot open the snapshot");
                self.spoil(conn);
            }
        }
    }
}

/// A million records take a tenth of a second to free: not on the driver, which answers everybody.
fn free(discarded: Vec<Arc<Collection>>) {
    if discarded.is_empty() {
        return;
    }
    let freed = std::thread::Builder::new().name("free".to_owned()).spawn(move || drop(discarded));
    if let Err(error) = freed {
        warn!(%error, "cannot start a thread: a collection that was dropped is freed by the driver");
    }
}

fn cannot_apply(position: Position, unknown: &UnknownCommand) -> String {
    format!(
        "entry {position} has {unknown}; this build reads {}: run the build that wrote it, or a later one; the volume is \
         unchanged",
        readable(FORMAT)
    )
}
