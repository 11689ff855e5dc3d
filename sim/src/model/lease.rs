//! The API server as a sidecar sees it: one Lease with compare-and-swap, its watch, and the StatefulSet's size.
//!
//! ```text
//!   ReadLease, WriteLease ──delay──▶ register ──delay──▶ LeaseRead, LeaseWritten   exactly one answer each; it may be lost
//!   every change ───────────delay──▶ LeaseWatched, in order                        a watch may be cut, or be deaf unnoticed
//! ```
//!
//! Each sidecar is a client of its own: the API may be gone for one and available to the others.

use leasehold_election::{
    Input, Lease, LeaseWrite, ReadOutcome, RecordRead, RecordWrite, RecordWritten, Term, Version, WriteOutcome,
};
use std::rc::Rc;
use std::time::Duration;
use uuid::Uuid;

/// The record of terms: its version, term and duration, and the mark of who created it.
pub(crate) type Record = (Version, Term, u32, Option<Uuid>);

/// What the API server stores, and its state for each client.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) lease: Option<Rc<Lease>>,
    /// The record of terms of plain apps, and the mark of who created it.
    pub(crate) record: Option<Record>,
    /// (plain apps) The Lease and the record as they were. Without a record of terms nobody ever led: who restores that makes them
    /// begin anew, as who deletes the record does.
    pub(crate) backups: Vec<(Rc<Lease>, Record)>,
    /// (plain apps) When the Lease last went back.
    pub(crate) restored_at: Duration,
    /// (plain apps) No pod begins before this.
    pub(crate) fresh_after: Duration,
    /// The highest term that a plain app's sidecar took, and that the record of terms has not forgotten since.
    pub(crate) taken: Term,
    /// The version that the last change gave it.
    pub(crate) version: u64,
    /// By pod: its sidecar.
    pub(crate) clients: Vec<Client>,
    /// `spec.replicas`.
    pub(crate) wanted: usize,
    /// How many leaderships sidecars wrote into it, for the summary.
    pub(crate) takes: u64,
    /// When a sidecar last cleared the holder.
    pub(crate) cleared_at: Duration,
}

/// The API server's state for one sidecar.
#[derive(Clone, Debug, Default)]
pub(crate) struct Client {
    /// No request gets through before this moment.
    down_until: Duration,
    /// Requests are carried out, but not answered before this moment.
    pub(crate) mute_until: Duration,
    /// The open watch; each one has a new number.
    pub(crate) watch: Option<u64>,
    pub(crate) watches: u64,
    /// Watch events arrive no earlier than this.
    pub(crate) last_at: Duration,
    /// Watch events are lost, unnoticed, before this moment.
    pub(crate) deaf_until: Duration,
    /// Requests are lost or late before this moment.
    late_until: Duration,
}

/// A request of one sidecar.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Read,
    /// And the pod that goes first by a switchover, as far as the sidecar knew when it asked.
    Write(LeaseWrite, Option<String>),
    ReadRecord,
    WriteRecord(RecordWrite),
}

impl Call {
    /// The input of a sidecar whose request got no answer. `done`: it may have been carried out.
    pub(crate) fn unanswered(&self, done: bool) -> Input {
        match self {
            Call::Read => Input::LeaseRead(ReadOutcome::NoAnswer),
            Call::Write(..) if done => Input::LeaseWritten(WriteOutcome::Unknown),
            Call::Write(..) => Input::LeaseWritten(WriteOutcome::Refused),
            Call::ReadRecord => Input::RecordRead(RecordRead::NoAnswer),
            Call::WriteRecord(_) => Input::RecordWritten(RecordWritten::Unknown),
        }
    }
}

impl Api {
    /// No Lease yet; `wanted` pods are.
    pub(crate) fn new(pods: usize, wanted: usize) -> Api {
        Api {
            lease: None,
            record: None,
            backups: Vec::new(),
            restored_at: Duration::ZERO,
            fresh_after: Duration::ZERO,
            taken: Term(0),
            version: 0,
            clients: vec![Client::default(); pods],
            wanted,
            takes: 0,
            cleared_at: Duration::ZERO,
        }
    }

    /// The present Lease.
    pub(crate) fn lease(&self) -> Option<&Lease> {
        self.lease.as_deref()
    }

    /// No request of this client gets through until then.
    pub(crate) fn take_down(&mut self, pod: usize, until: Duration) {
        self.clients[pod].down_until = self.clients[pod].down_until.max(until);
    }

    /// Requests of this client are carried out, but not answered until then.
    pub(crate) fn mute(&mut self, pod: usize, until: Duration) {
        self.clients[pod].mute_until = self.clients[pod].mute_until.max(until);
    }

    /// The watch of this client shows nothing until then, without being cut.
    pub(crate) fn deafen(&mut self, pod: usize, until: Duration) {
        self.clients[pod].deaf_until = self.clients[pod].deaf_until.max(until);
    }

    /// Requests of this client are lost or late until then.
    pub(crate) fn delay(&mut self, pod: usize, until: Duration) {
        self.clients[pod].late_until = self.clients[pod].late_until.max(until);
    }

    /// Are requests of this client lost or late?
    pub(crate) fn is_late(&self, now: Duration, pod: usize) -> bool {
        self.clients[pod].late_until > now
    }

    /// Everything works for everybody.
    pub(crate) fn mend(&mut self) {
        for client in &mut self.clients {
            // A dead watch stays dead: nothing but its own end can repair that.
            (client.down_until, client.mute_until, client.late_until) = Default::default();
        }
    }

    /// Does the API answer this client?
    pub(crate) fn is_up(&self, now: Duration, pod: usize) -> bool {
        self.clients[pod].down_until <= now
    }
}

/// When a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerTime {
    /// Some milliseconds after it arrived.
    Soon,
    At(Duration),
    /// It was dropped before.
    Never,
}

/// A Lease in one line.
pub(crate) fn describe(lease: Option<&Lease>) -> String {
    let Some(lease) = lease else { return "is gone".to_owned() };
    let body = &lease.body;
    let mut text = format!("v{} term {} holder {}", lease.version.0, body.term, body.holder.as_deref().unwrap_or("-"));
    for (name, value) in &body.annotations {
        text += &format!(" {}={value}", name.trim_start_matches("leasehold.dev/"));
    }
    text
}
