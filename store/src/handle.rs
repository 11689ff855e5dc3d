//! The running replica, as the API sees it; and the other end, which the driver serves.
//!
//! ```text
//!   Handle::write ──WriteRequest (bounded mpsc)──▶ Propose ──▶ log ──▶ Apply ──Written (oneshot)──▶ back
//!   Handle::read_index ─reply (bounded mpsc)─▶ Read ──▶ leader, a round of heartbeats ──▶ applied here ──▶ back
//!   Handle::documents ◀──watch── set_documents      after each batch that was applied
//!   Handle::status    ◀──watch── set_status         when it changed
//!   Handle::role      ◀──watch── set_role           when role.json was read
//!   Handle::history   ◀──────── note, tell          what each entry changed, for watchers
//! ```
//!
//! Until the first `set_status` the volume is not open: the API answers 503 with the words of `set_starting`. Not promised:
//! that the views are of the same moment. Promised: `documents` includes every write that was answered with `Written`, if
//! the driver calls `set_documents` before it answers.

mod request;

pub use request::{ReadError, WriteError, WriteRequest, Written};

use crate::history::{HISTORY_BYTES, History, Mark};
use crate::room::{Figures, UnderWay};
use crate::volume::disk::watch::DiskWatch;
use bytes::Bytes;
use leasehold_contract::{ProgressInfo, RoleFile};
use leasehold_documents::FORMAT_MIN;
use leasehold_documents::{Change, Documents};
use leasehold_replication::{Clocks, Incarnation, Phase, Refusal, ReplicaId, Seq, Status};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

/// How many writes may wait for the driver, and with it for the group before theirs. At the bound: `Refused(Overloaded)` at
/// once, and the client tries again.
pub const WRITES_WAITING_MAX: usize = 16_384;

/// How many strong reads may wait for the driver. At the bound: refused at once, and the client tries again.
pub const READS_WAITING_MAX: usize = 16_384;

/// Receives the answer to a strong read: everything that it must see is applied here, or why it cannot be answered.
pub type ReadReply = oneshot::Sender<Result<(), Refusal>>;

/// What the API needs of the running replica. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    name: Arc<str>,
    incarnation: Incarnation,
    writes: mpsc::Sender<WriteRequest>,
    reads: mpsc::Sender<ReadReply>,
    history: Arc<History>,
    room: Arc<Shelf>,
    documents: watch::Receiver<Arc<Documents>>,
    status: watch::Receiver<Life>,
    role: watch::Receiver<Option<Arc<RoleFile>>>,
    disk: Arc<DiskWatch>,
    freshness: Arc<Freshness>,
    change_begun: Arc<Notify>,
}

/// The driver's end. When it is dropped, the API knows that the driver is dead.
#[derive(Debug)]
pub struct HandleServer {
    /// The writes of clients, each to be answered: see [`WriteRequest`].
    pub writes: mpsc::Receiver<WriteRequest>,
    incarnation: Incarnation,
    /// The strong reads of clients. Dropping one counts as not confirmed.
    pub reads: mpsc::Receiver<ReadReply>,
    history: Arc<History>,
    room: Arc<Shelf>,
    documents: watch::Sender<Arc<Documents>>,
    status: watch::Sender<Life>,
    role: watch::Sender<Option<Arc<RoleFile>>>,
    freshness: Arc<Freshness>,
}

/// What both ends know of room, of long operations, and of the collections file.
#[derive(Debug)]
struct Shelf {
    under_way: UnderWay,
    figures: Mutex<Figures>,
    progress: Mutex<Option<ProgressInfo>>,
    clocks: Mutex<Clocks>,
    refused_definitions: Mutex<Option<String>>,
}

impl Shelf {
    fn figures(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clocks(&self) -> MutexGuard<'_, Clocks> {
        self.clocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self) -> MutexGuard<'_, Option<ProgressInfo>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused_definitions(&self) -> MutexGuard<'_, Option<String>> {
        self.refused_definitions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The stage of the replica's life.
#[derive(Clone, Debug)]
enum Life {
    /// The volume is not open yet; why, for people.
    Starting(Arc<str>),
    Running {
        replica: ReplicaId,
        status: Arc<Status>,
        /// When it stopped leading.
        led_until: Option<Instant>,
        /// Since when it has heard no leader; none while it hears one, or leads.
        unheard_since: Option<Instant>,
    },
}

/// The age of the documents: read for each answer, written for each step, so there is no lock.
#[derive(Debug)]
struct Freshness {
    /// The driver's time counts from here.
    begun: Instant,
    /// Microseconds after `begun`, plus one; 0: unknown.
    as_of: AtomicU64,
}

/// Notifies when the replica has something new to report.
#[derive(Clone, Debug)]
pub struct News(watch::Receiver<Life>);

impl News {
    /// Marks everything reported up to now as seen.
    pub fn heard(&mut self) {
        self.0.mark_unchanged();
    }

    /// Waits for news; forever if no sender is left.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

/// The two ends, for the pod `name` and this run of the process.
pub fn handle(name: &str, incarnation: Incarnation) -> (Handle, HandleServer) {
    handle_with(name, incarnation, HISTORY_BYTES, Arc::default())
}

/// Like [`handle`], with this many bytes of history for watchers, and the watch for a hung disk.
pub fn handle_with(
    name: &str,
    incarnation: Incarnation,
    history_bytes: usize,
    disk: Arc<DiskWatch>,
) -> (Handle, HandleServer) {
    handle_within(name, incarnation, history_bytes, disk, u64::MAX / 2)
}

/// Like [`handle_with`], for a process that may use this much memory for its data.
pub fn handle_within(
    name: &str,
    incarnation: Incarnation,
    history_bytes: usize,
    disk: Arc<DiskWatch>,
    memory_bytes: u64,
) -> (Handle, HandleServer) {
    let (writes, writes_receiver) = mpsc::channel(WRITES_WAITING_MAX);
    let (reads, reads_receiver) = mpsc::channel(READS_WAITING_MAX);
    let history = Arc::new(History::new(history_bytes));
    let room = Arc::new(Shelf {
        under_way: UnderWay::new(memory_bytes),
        figures: Mutex::default(),
        progress: Mutex::default(),
        clocks: Mutex::default(),
        refused_definitions: Mutex::default(),
    });
    let (documents_sender, documents) = watch::channel(Arc::new(Documents::new()));
    let (status_sender, status) = watch::channel(Life::Starting("the process has just begun".into()));
    let (role_sender, role) = watch::channel(None);
    let freshness = Arc::new(Freshness { begun: Instant::now(), as_of: AtomicU64::new(0) });
    let handle = Handle {
        name: name.into(),
        incarnation,
        writes,
        reads,
        history: history.clone(),
        room: room.clone(),
        documents,
        status,
        role,
        disk,
        freshness: Arc::clone(&freshness),
        change_begun: Arc::default(),
    };
    let server = HandleServer {
        writes: writes_receiver,
        reads: reads_receiver,
        history,
        room,
        incarnation,
        documents: documents_sender,
        status: status_sender,
        role: role_sender,
        freshness,
    };
    (handle, server)
}

impl Handle {
    /// Sends an encoded command to the log and waits until it is committed and applied here.
    ///
    /// # Errors
    /// [`WriteError`]. After `timeout` it is `Unknown`: the write may still be done.
    pub async fn write(&self, command: Bytes, timeout: Duration) -> Result<Written, WriteError> {
        let deadline = Instant::now() + timeout;
        let (reply, answer) = oneshot::channel();
        self.writes.try_send(WriteRequest { command, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => WriteError::Refused(Refusal::Overloaded),
            mpsc::error::TrySendError::Closed(_) => WriteError::Closed,
        })?;
        match timeout_at(deadline, answer).await {
            Ok(Ok(result)) => result,
            // The driver dropped it, or took too long: a log may contain it.
            Ok(Err(_)) | Err(_) => Err(WriteError::Unknown),
        }
    }

    /// Waits until everything that was committed anywhere when this was called is applied here: then [`Handle::documents`]
    /// is good for a strong read.
    ///
    /// # Errors
    /// [`ReadError`]; `Late` at the deadline.
    pub async fn read_index(&self, deadline: Instant) -> Result<(), ReadError> {
        let (reply, answer) = oneshot::channel();
        self.reads.try_send(reply).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ReadError::Refused(Refusal::Overloaded),
            mpsc::error::TrySendError::Closed(_) => ReadError::Closed,
        })?;
        match timeout_at(deadline, answer).await {
            Ok(Ok(result)) => result.map_err(ReadError::Refused),
            Ok(Err(_)) => Err(ReadError::Closed),
            Err(_) => Err(ReadError::Late),
        }
    }

    /// Waits until the entry `seq` is applied here. False: it was not, by the deadline or by the replica's end.
    pub async fn applied(&self, seq: Seq, deadline: Instant) -> bool {
        let mut documents = self.documents.clone();
        let applied = documents.wait_for(|documents| documents.applied().seq >= seq);
        matches!(timeout_at(deadline, applied).await, Ok(Ok(_)))
    }

    /// Waits until the documents are so. False: they were not, by the deadline or by the replica's end.
    pub async fn until(&self, deadline: Instant, mut is_so: impl FnMut(&Documents) -> bool) -> bool {
        let mut documents = self.documents.clone();
        matches!(timeout_at(deadline, documents.wait_for(|documents| is_so(documents))).await, Ok(Ok(_)))
    }

    /// Says that the change of a definition is pending, so that its steps begin at once.
    pub fn tell_change_begun(&self) {
        self.change_begun.notify_one();
    }

    /// Waits for that. For one who waits.
    pub async fn change_begun(&self) {
        self.change_begun.notified().await;
    }

    /// (a leader) What of the collections file was refused, for people.
    pub fn tell_refused_definitions(&self, words: Option<String>) {
        *self.room.refused_definitions() = words;
    }

    /// The most recent changes.
    pub fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// Places for the bodies of requests.
    pub fn under_way(&self) -> &UnderWay {
        &self.room.under_way
    }

    /// Memory and disk, as last counted.
    pub fn room(&self) -> Figures {
        *self.room.figures()
    }

    /// Whether the clocks of a majority agree, as of the last second.
    pub fn clocks(&self) -> Clocks {
        *self.room.clocks()
    }

    /// The present long operation and its progress; none if there is none.
    pub fn progress(&self) -> Option<ProgressInfo> {
        self.room.progress().clone()
    }

    /// Waits until clients should go elsewhere: the replica drains, is cut off, counts for nothing, or has ended.
    pub async fn leaving(&self) {
        let mut status = self.status.clone();
        let drains = |life: &Life| match life {
            Life::Running { status, .. } => {
                status.cut_off || matches!(status.phase, Phase::Draining | Phase::WentBack | Phase::Diverged)
            }
            Life::Starting(_) => false,
        };
        let _ = status.wait_for(drains).await; // an error: the driver is gone
    }

    /// The data as last applied. The view does not change while it is held.
    pub fn documents(&self) -> Arc<Documents> {
        self.documents.borrow().clone()
    }

    /// If [`Handle::documents`] are read after this, they include everything that was committed anywhere before this
    /// moment. None: unknown since the start.
    pub fn fresh_as_of(&self) -> Option<Instant> {
        let micros = self.freshness.as_of.load(Ordering::Acquire).checked_sub(1)?;
        Some(self.freshness.begun + Duration::from_micros(micros))
    }

    /// How long ago a moment of the replica's own time is ([`FollowerStatus::silent_since`]).
    ///
    /// [`FollowerStatus::silent_since`]: leasehold_replication::FollowerStatus::silent_since
    pub fn since(&self, moment: Duration) -> Duration {
        self.freshness.begun.elapsed().saturating_sub(moment)
    }

    /// What the replica reports about itself; none before its volume is open.
    pub fn status(&self) -> Option<Arc<Status>> {
        match &*self.status.borrow() {
            Life::Running { status, .. } => Some(status.clone()),
            Life::Starting(_) => None,
        }
    }

    /// The format in force, of all that is written. It never sinks, so what was made by it a moment ago still may be written.
    pub fn format(&self) -> u32 {
        self.status().map_or(FORMAT_MIN, |status| status.formats.in_force)
    }

    /// The volume; none before it is open.
    pub fn replica(&self) -> Option<ReplicaId> {
        match &*self.status.borrow() {
            Life::Running { replica, .. } => Some(*replica),
            Life::Starting(_) => None,
        }
    }

    /// The last content of role.json; none before the first read.
    pub fn role(&self) -> Option<Arc<RoleFile>> {
        self.role.borrow().clone()
    }

    /// The volume's disk and the calls under way on it.
    pub fn disk(&self) -> &DiskWatch {
        &self.disk
    }

    /// The name of this pod.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// This run of the process.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Is the driver alive? If not, the process must end.
    pub fn is_alive(&self) -> bool {
        !self.writes.is_closed()
    }

    /// May clients ask this replica for data? It has caught up once with a leader since its start, and has not failed.
    ///
    /// # Errors
    /// Why not, in words for people.
    pub fn readable(&self) -> Result<(), String> {
        let life = self.status.borrow();
        let status = match &*life {
            Life::Starting(why) => return Err(format!("the replica is starting: {why}")),
            Life::Running { status, .. } => status,
        };
        if let Some(foreign) = status.foreign_cluster_id {
            return Err(format!(
                "the volume belongs to cluster {}, the Lease to cluster {foreign}",
                status.cluster_id.map_or("?".to_owned(), |id| id.to_string())
            ));
        }
        if let Some(mark) = &status.went_back {
            return Err(mark.advice(&self.name));
        }
        if let Some(mark) = &status.diverged {
            return Err(mark.advice(&self.name));
        }
        match status.phase {
            Phase::Failed => Err("the replica has failed (its log says why)".to_owned()),
            _ if !status.caught_up => {
                let mut why = "the replica has not caught up with a leader since it started".to_owned();
                for (index, what) in status.waiting_for.iter().enumerate() {
                    why.push_str(if index == 0 { "; it waits for " } else { ", " });
                    why.push_str(what);
                }
                Err(why)
            }
            Phase::Starting
            | Phase::Learner
            | Phase::Follower
            | Phase::Recovering
            | Phase::Leading
            | Phase::Draining
            | Phase::WentBack
            | Phase::Diverged => Ok(()),
        }
    }

    /// Its data are not those of the others: it serves nothing \[D5\].
    pub fn has_diverged(&self) -> bool {
        matches!(&*self.status.borrow(), Life::Running { status, .. } if status.diverged.is_some())
    }

    /// Is this replica ready for traffic? Like [`Handle::readable`], but not while it drains.
    ///
    /// # Errors
    /// Why not, in words for people.
    pub fn ready(&self) -> Result<(), String> {
        if !self.is_alive() {
            return Err("the replica has ended".to_owned());
        }
        match self.status() {
            Some(status) if status.phase == Phase::Draining => Err("the replica is draining".to_owned()),
            Some(status) if status.cut_off => Err(self.cut_off_why()),
            _ => self.readable(),
        }
    }

    fn cut_off_why(&self) -> String {
        let role = self.role();
        let leader = role.as_ref().and_then(|role| role.leader.as_ref());
        let (name, address) = leader.map_or(("?", "?"), |leader| (&leader.name, &leader.peer_address));
        format!(
            "the replica has not heard the leader {name} for longer than --unready-after, though the Lease is being \
             renewed: its data may be old; check whether this pod reaches {address} (network policy, node, peer key)"
        )
    }

    /// It has heard no leader for at least this long.
    pub fn unheard_for(&self, span: Duration) -> bool {
        match &*self.status.borrow() {
            Life::Running { unheard_since, .. } => unheard_since.is_some_and(|since| since.elapsed() >= span),
            Life::Starting(_) => false,
        }
    }

    /// Notifies of every change of [`Handle::status`].
    pub fn news(&self) -> News {
        News(self.status.clone())
    }

    /// It is open for writes; a draining leader leads until its successor does.
    pub fn leads(&self) -> bool {
        matches!(&*self.status.borrow(), Life::Running { status, .. } if status.open)
    }

    /// It led until less than `span` ago, and no longer leads.
    pub fn led_within(&self, span: Duration) -> bool {
        match &*self.status.borrow() {
            Life::Running { led_until, .. } => led_until.is_some_and(|until| until.elapsed() < span),
            Life::Starting(_) => false,
        }
    }

    /// Waits until nothing keeps a replica that received a signal to end. If it ends otherwise: forever.
    pub async fn drained(&self) {
        let mut status = self.status.clone();
        let drained = status.wait_for(|life| matches!(life, Life::Running { status, .. } if status.drained));
        if drained.await.is_err() {
            std::future::pending().await
        }
    }

    /// What a starting replica waits for; none once it runs.
    pub fn starting(&self) -> Option<Arc<str>> {
        match &*self.status.borrow() {
            Life::Starting(why) => Some(why.clone()),
            Life::Running { .. } => None,
        }
    }
}

impl HandleServer {
    /// Publishes the present documents. Called before the writes among them are answered, so that a client with an answer
    /// reads what it wrote.
    pub fn set_documents(&self, documents: &Documents) {
        self.documents.send_replace(Arc::new(documents.clone()));
    }

    /// What the next entry, the last one in these documents, has changed.
    pub fn note(&self, documents: &Documents, changes: Vec<Change>) {
        self.history.note(Mark::of(documents), changes);
    }

    /// The memory that bodies under way and the most recent changes use, approximately.
    pub fn memory_bytes(&self) -> (u64, u64) {
        (self.room.under_way.bytes(), self.history.memory_bytes())
    }

    /// Publishes memory and disk as counted now.
    pub fn set_room(&self, figures: Figures) {
        *self.room.figures() = figures;
    }

    /// Publishes the progress of a long operation.
    pub fn set_progress(&self, progress: Option<ProgressInfo>) {
        *self.room.progress() = progress;
    }

    /// What of the collections file was refused, as the leader's steward said last.
    pub fn refused_definitions(&self) -> Option<String> {
        self.room.refused_definitions().clone()
    }

    /// Wakes watchers.
    pub fn tell(&self) {
        self.history.tell();
    }

    /// Publishes documents that do not result from applying entries: of a snapshot.
    pub fn restore(&self, documents: &Documents) {
        self.history.restart(Mark::of(documents));
        self.set_documents(documents);
    }

    /// Publishes what the replica reports about itself. From the first call on the volume counts as open.
    pub fn set_status(&self, replica: ReplicaId, status: Status) {
        let follows_itself = self.follows_itself(&status);
        self.status.send_modify(|life| {
            let led_until = match life {
                _ if follows_itself => None,
                Life::Running { status: before, .. } if self.follows_itself(before) => Some(Instant::now()),
                Life::Running { led_until, .. } => *led_until,
                Life::Starting(_) => None,
            };
            let unheard_since = match life {
                _ if status.leader_heard => None,
                Life::Running { unheard_since: Some(since), .. } => Some(*since),
                Life::Running { .. } | Life::Starting(_) => Some(Instant::now()),
            };
            *life = Life::Running { replica, status: Arc::new(status), led_until, unheard_since };
        });
    }

    /// Publishes that the log has moved on. This wakes nobody: a client that waits for an entry waits for the documents.
    pub fn move_status(&self, newer: &Status) {
        self.status.send_if_modified(|life| {
            if let Life::Running { status, .. } = life {
                Arc::make_mut(status).move_to(newer);
            }
            false
        });
    }

    /// The claim that it follows is its own: it leads, or is about to.
    fn follows_itself(&self, status: &Status) -> bool {
        status.following.as_ref().is_some_and(|claim| claim.incarnation == self.incarnation)
    }

    /// The replica's time counts from here.
    pub fn begun(&self) -> Instant {
        self.freshness.begun
    }

    /// Publishes the age of the documents that were set last.
    pub fn set_fresh_as_of(&self, as_of: Option<Duration>) {
        let micros = as_of.map_or(0, |as_of| u64::try_from(as_of.as_micros()).unwrap_or(u64::MAX - 1) + 1);
        self.freshness.as_of.store(micros, Ordering::Release);
    }

    /// Publishes what is known of the clocks of all.
    pub fn set_clocks(&self, clocks: Clocks) {
        *self.room.clocks() = clocks;
    }

    /// Publishes what the start waits for (the lock of the data directory, the journal), for people.
    pub fn set_starting(&self, why: &str) {
        self.status.send_replace(Life::Starting(why.into()));
    }

    /// Publishes role.json as last read.
    pub fn set_role(&self, role: RoleFile) {
        self.role.send_replace(Some(Arc::new(role)));
    }
}
