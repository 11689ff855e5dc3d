//! The thread that owns the journal's files.

use super::event::{JournalEvent, JournalFigures};
use super::lookup::{self, LookUpAnswer};
use super::need::{Fit, Need};
use super::queue::{Command, NotWritten, Queue, Work};
use super::reserve;
use super::writer::{Spare, Writer};
use crate::progress::Meter;
use crate::volume::disk::{Disk, Space, VolumeLock, is_full, remove_if_there};
use crate::volume::files::SNAPSHOT_TAKEN;
use crate::volume::identity;
use crate::volume::snapshot::{self, PartFile};
use crate::volume::wipe;
use leasehold_documents::Documents;
use leasehold_replication::{DurableState, Entry, Position, Record, SnapshotMark, SnapshotMeta, Ticket};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The wait before another try to create a spare segment, after one failed (the disk may be full).
const SPARE_RETRY: Duration = Duration::from_secs(10);
/// How often the room of the file system is checked; also with each new segment.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// The wait before another try to take a snapshot that is to free room, after one failed.
const SNAPSHOT_RETRY: Duration = Duration::from_secs(5);
/// How often the lack of room for a snapshot is logged.
const NO_ROOM_SAID: Duration = Duration::from_secs(60);

/// What the thread and the handles share.
pub(crate) struct Shared {
    pub(crate) queue: Queue,
    /// A snapshot is being taken.
    pub(crate) taking: AtomicBool,
    /// Its written part.
    pub(crate) written: Meter,
    /// The live journal is too long.
    pub(crate) wanted: AtomicBool,
    /// The approximate length of a snapshot of the present data; 0: unknown.
    pub(crate) next_snapshot: AtomicU64,
    /// The disk is short of room.
    pub(crate) short: AtomicBool,
    /// The log uses too much memory.
    pub(crate) short_of_memory: AtomicBool,
    /// Numbers the files for received pieces.
    pub(crate) parts: AtomicU64,
    newest: Mutex<Option<SnapshotMark>>,
    figures: Mutex<JournalFigures>,
    /// Held by the journal's thread and by every other thread that writes for it; gone when the journal ended.
    lock: Mutex<Option<Arc<VolumeLock>>>,
    /// Those other threads.
    helpers: Mutex<Vec<JoinHandle<()>>>,
}

impl Shared {
    pub(crate) fn new(writer: &Writer, lock: VolumeLock) -> Shared {
        let shared = Shared {
            queue: Queue::new(),
            taking: AtomicBool::new(false),
            written: Meter::default(),
            wanted: AtomicBool::new(false),
            next_snapshot: AtomicU64::new(0),
            short: AtomicBool::new(false),
            short_of_memory: AtomicBool::new(false),
            parts: AtomicU64::new(1),
            newest: Mutex::new(writer.mark()),
            figures: Mutex::default(),
            lock: Mutex::new(Some(Arc::new(lock))),
            helpers: Mutex::default(),
        };
        shared.show(writer);
        shared
    }

    /// The mark of `snapshot.json`.
    pub(crate) fn newest(&self) -> MutexGuard<'_, Option<SnapshotMark>> {
        self.newest.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn figures(&self) -> MutexGuard<'_, JournalFigures> {
        self.figures.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The hold on the volume; `None` when the journal ended.
    fn lock(&self) -> MutexGuard<'_, Option<Arc<VolumeLock>>> {
        self.lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Runs `work` on a thread of its own, which holds the volume for that time. Refused when the journal ended.
    pub(crate) fn help(&self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let lock = self.lock().clone().ok_or(io::ErrorKind::BrokenPipe)?;
        let held = move || {
            work();
            drop(lock);
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(held)?;
        let mut helpers = self.helpers();
        helpers.retain(|helper| !helper.is_finished());
        helpers.push(thread);
        Ok(())
    }

    fn helpers(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.helpers.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits until no other thread holds the volume for the journal.
    pub(crate) fn join_helpers(&self) {
        let helpers = std::mem::take(&mut *self.helpers());
        for helper in helpers {
            if helper.join().is_err() {
                tracing::error!("a thread of the journal panicked");
            }
        }
    }

    fn show(&self, writer: &Writer) {
        let mut figures = self.figures();
        figures.live_bytes = writer.live_bytes();
        figures.segments = writer.segments().count() as u64;
        figures.snapshot_bytes = writer.mark().map_or(0, |mark| mark.length_bytes);
        figures.snapshot_position = writer.base();
        figures.segment_bytes = writer.segment_bytes();
        figures.reserve_segments = writer.reserve_segments() as u64;
        figures.writable_bytes = writer.writable(figures.space.map(|space| space.free_bytes));
        let certain = match figures.space {
            Some(_) => writer.writable(Some(0)).saturating_sub(figures.segment_bytes / 2),
            None => u64::MAX,
        };
        drop(figures);
        self.queue.set_certain(certain);
    }
}

/// What the thread owns.
pub(crate) struct Thread<E> {
    writer: Writer,
    disk: Arc<dyn Disk>,
    shared: Arc<Shared>,
    events: E,
    /// A snapshot is wanted above this length of the live journal.
    snapshot_after_bytes: u64,
    /// The same limit, raised for a while after a snapshot that could not be taken.
    snapshot_not_below: u64,
    /// An operator ran `bootstrap --force` on this empty volume; the mark is removed when it is no longer empty.
    bootstrap_forced: bool,
    /// So is a restore.json.
    restore_offered: bool,
    spare_in_making: bool,
    spare_not_before: Option<Instant>,
    reserve_in_making: bool,
    reserve_not_before: Option<Instant>,
    /// When the room was last checked, and which segment was the newest then.
    looked: Option<(Instant, u64)>,
    /// A snapshot that is to free room is not tried before this.
    snapshot_not_before: Option<Instant>,
    no_room_said: Option<Instant>,
}

/// Runs until the queue ends or something fails. Holds the volume for that time.
pub(crate) fn run<E: Fn(JournalEvent)>(
    writer: Writer,
    disk: Arc<dyn Disk>,
    shared: Arc<Shared>,
    events: E,
    snapshot_after_bytes: u64,
    (bootstrap_forced, restore_offered): (bool, bool),
) {
    let mut thread = Thread {
        writer,
        disk,
        shared,
        events,
        snapshot_after_bytes,
        snapshot_not_below: 0,
        bootstrap_forced,
        restore_offered,
        spare_in_making: false,
        spare_not_before: None,
        reserve_in_making: false,
        reserve_not_before: None,
        looked: None,
        snapshot_not_before: None,
        no_room_said: None,
    };
    // A panic in here is a broken invariant. The driver must learn of it: nothing would ever be durable again.
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| thread.work()));
    let error = match ended {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error),
        Err(_) => Some(io::Error::other("the journal's thread panicked")),
    };
    thread.shared.queue.fail();
    drop(thread.shared.lock().take());
    if let Some(error) = error {
        (thread.events)(JournalEvent::Failed { error });
    }
}

impl<E: Fn(JournalEvent)> Thread<E> {
    fn work(&mut self) -> io::Result<()> {
        loop {
            self.look_at_room();
            self.want_snapshot();
            self.want_spare();
            self.want_reserve();
            match self.shared.queue.take() {
                Work::Group { ticket, format, records, bytes } => self.commit(ticket, (&records, format), bytes)?,
                Work::Single(Command::Install { ticket, mark, part, state, format }) => {
                    self.install(ticket, mark, part, (state, format))?;
                }
                Work::Single(Command::Restore { ticket, meta, documents, state, format, entry }) => {
                    self.restore(ticket, (&meta, &documents), (state, format), &entry)?;
                }
                Work::Single(Command::SnapshotWritten { result }) => self.put_snapshot(result)?,
                Work::Single(Command::SpareMade { result }) => self.take_spare(result),
                Work::Single(Command::NoteCommitted { position }) => {
                    if let Err(error) = identity::note_committed(&*self.disk, position) {
                        tracing::debug!(%error, "cannot write committed.json");
                    }
                }
                Work::Single(Command::MarkWentBack { ticket, mark }) => {
                    identity::mark_went_back(&*self.disk, &mark)?;
                    (self.events)(JournalEvent::Persisted { ticket });
                }
                Work::Single(Command::MarkDiverged { ticket, mark }) => {
                    identity::mark_diverged(&*self.disk, &mark)?;
                    (self.events)(JournalEvent::Persisted { ticket });
                }
                Work::Single(Command::ReserveMade { result }) => self.take_reserve(result),
                Work::Idle => {}
                Work::Single(Command::Wipe) => {
                    wipe::wipe(&*self.disk)?;
                    (self.events)(JournalEvent::Wiped);
                    return Ok(());
                }
                Work::Single(Command::LookUp { after, bytes_max, answer }) => self.look_up(after, bytes_max, answer),
                // Appends come in groups.
                Work::Single(Command::Append { .. }) => unreachable!("an append outside of a group"),
                Work::End => return Ok(()),
            }
        }
    }

    fn commit(&mut self, ticket: Ticket, (records, format): (&[Record], u32), bytes: usize) -> io::Result<()> {
        self.writer.commit(records, format)?;
        {
            let mut figures = self.shared.figures();
            figures.batches += 1;
            figures.written_bytes += bytes as u64;
        }
        self.tell_persisted(ticket);
        Ok(())
    }

    fn install(
        &mut self,
        ticket: Ticket,
        mark: SnapshotMark,
        part: PartFile,
        (state, format): (DurableState, u32),
    ) -> io::Result<()> {
        {
            let mut newest = self.shared.newest();
            self.writer.install(&part.into_name(), mark, state, format)?;
            *newest = Some(mark);
        }
        self.tell_persisted(ticket);
        Ok(())
    }

    /// Nothing else waits for the disk at a first start: it is written here, and not on a thread of its own.
    fn restore(
        &mut self,
        ticket: Ticket,
        (meta, documents): (&SnapshotMeta, &Documents),
        (state, format): (DurableState, u32),
        entry: &Entry,
    ) -> io::Result<()> {
        documents.check_sum().map_err(io::Error::other)?;
        let mark = snapshot::write(&*self.disk, SNAPSHOT_TAKEN, meta, documents).map_err(|error| {
            let what = "cannot write the data of restore.json as a snapshot: the volume needs room for them twice";
            io::Error::new(error.kind(), format!("{what}: {error}"))
        })?;
        {
            let mut newest = self.shared.newest();
            self.writer.restore(SNAPSHOT_TAKEN, mark, (state, format), entry)?;
            *newest = Some(mark);
        }
        self.tell_persisted(ticket);
        Ok(())
    }

    fn tell_persisted(&mut self, ticket: Ticket) {
        self.shared.show(&self.writer);
        (self.events)(JournalEvent::Persisted { ticket });
        self.forget_forced_bootstrap();
        self.forget_restore();
    }

    /// Reads entries back, on a thread of its own.
    fn look_up(&self, after: Position, bytes_max: usize, answer: LookUpAnswer) {
        let found = self.writer.places(after, bytes_max);
        let read = move || answer.give(found.and_then(lookup::read));
        if let Err(error) = self.shared.help("look-up", read) {
            tracing::warn!(%error, "cannot start a thread to read entries back");
        }
    }

    /// A snapshot that cannot be written aside is no failure of the journal; one that cannot be put in place is.
    fn put_snapshot(&mut self, result: Result<(SnapshotMark, u32), NotWritten>) -> io::Result<()> {
        let (mark, format) = match result {
            Ok(written) => written,
            Err(error) => {
                let _ = remove_if_there(&*self.disk, SNAPSHOT_TAKEN);
                if let NotWritten::FalseSum(wrong) = error {
                    (self.events)(JournalEvent::SumIsFalse(wrong));
                }
                self.snapshot_dropped(error.to_string());
                return Ok(());
            }
        };
        let taken = {
            let mut newest = self.shared.newest();
            let taken = self.writer.put_snapshot(SNAPSHOT_TAKEN, mark, format)?;
            if taken {
                *newest = Some(mark);
            }
            taken
        };
        if taken {
            self.looked = None;
            self.shared.show(&self.writer);
            self.snapshot_not_below = 0;
            self.shared.wanted.store(false, Ordering::Release);
            self.shared.taking.store(false, Ordering::Release);
            (self.events)(JournalEvent::SnapshotTaken { position: mark.position });
        } else {
            self.snapshot_dropped(format!("{} is not after the snapshot in force", mark.position));
        }
        Ok(())
    }

    fn snapshot_dropped(&mut self, reason: String) {
        tracing::warn!(reason, "dropped a snapshot");
        self.snapshot_not_below = self.writer.live_bytes() + self.snapshot_after_bytes / 4;
        self.snapshot_not_before = Some(Instant::now() + SNAPSHOT_RETRY);
        self.looked = None;
        self.shared.wanted.store(false, Ordering::Release);
        self.shared.taking.store(false, Ordering::Release);
        (self.events)(JournalEvent::SnapshotDropped { reason });
    }

    /// Checks the room, now and then and whenever some of it was used.
    fn look_at_room(&mut self) {
        let newest = self.writer.segments().last().unwrap_or(0);
        if self.looked.is_some_and(|(at, segment)| segment == newest && at.elapsed() < LOOK_PAUSE) {
            return;
        }
        self.looked = Some((Instant::now(), newest));
        // A file system that does not report its room has room until a write fails.
        let space = self.disk.space().unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot determine the free room of the volume's file system");
            None
        });
        self.shared.figures().space = space;
        self.shared.show(&self.writer);
    }

    fn space(&self) -> Option<Space> {
        self.shared.figures().space
    }

    /// What is known about the need for a snapshot.
    fn need(&self) -> Need {
        let shared = &self.shared;
        Need {
            live: self.writer.live_bytes(),
            snapshot: self.writer.mark().map_or(0, |mark| mark.length_bytes),
            next: shared.next_snapshot.load(Ordering::Relaxed),
            segment: self.writer.segment_bytes(),
            limit: self.snapshot_after_bytes.max(self.snapshot_not_below),
            disk_is_short: shared.short.load(Ordering::Relaxed),
            log_is_large: shared.short_of_memory.load(Ordering::Relaxed),
            may_try: self.snapshot_not_before.is_none_or(|until| Instant::now() >= until),
        }
    }

    /// Reports when a snapshot becomes wanted.
    fn want_snapshot(&mut self) {
        let need = self.need();
        let wants = need.is_wanted() && self.has_room_for_snapshot(&need);
        let wanted = self.shared.wanted.swap(wants, Ordering::AcqRel);
        if wants && !wanted {
            (self.events)(JournalEvent::SnapshotWanted);
        }
    }

    /// Does one fit? Releases a segment of the reserve if that is necessary.
    fn has_room_for_snapshot(&mut self, need: &Need) -> bool {
        if self.shared.taking.load(Ordering::Acquire) {
            return true;
        }
        let Some(space) = self.space() else { return true };
        match need.fit(space.free_bytes) {
            Fit::Fits => return true,
            Fit::No => {}
            Fit::WithReserve => match self.writer.reserve().let_go(&*self.disk) {
                Ok(true) => {
                    tracing::warn!("the disk is full: freeing a segment of the reserve for a snapshot");
                    self.looked = None;
                    self.shared.show(&self.writer);
                    return true;
                }
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "cannot free a segment of the reserve"),
            },
        }
        let needs = need.needs();
        if self.no_room_said.is_none_or(|at| at.elapsed() >= NO_ROOM_SAID) {
            self.no_room_said = Some(Instant::now());
            tracing::warn!(
                free = space.free_bytes,
                needed = needs,
                "no room for a snapshot: the journal keeps growing; delete records, or free or add room on the volume"
            );
        }
        false
    }

    /// A new segment's zeros are written ahead by another thread, so that no write waits for 16 MiB.
    fn want_spare(&mut self) {
        let waits = self.spare_not_before.is_some_and(|until| Instant::now() < until);
        if self.spare_in_making || waits || !self.writer.wants_spare() {
            return;
        }
        let (disk, shared, bytes) = (self.disk.clone(), self.shared.clone(), self.writer.segment_bytes());
        // The little that remains is better left to the reserve, and to a snapshot.
        if self.space().is_some_and(|space| space.free_bytes < 2 * bytes) {
            return;
        }
        let make = move || {
            let result = Spare::create(&*disk, bytes);
            // Closed: nobody needs it any longer, and the next start removes it.
            let _ = shared.queue.push(Command::SpareMade { result });
        };
        match self.shared.help("spare-segment", make) {
            Ok(()) => self.spare_in_making = true,
            Err(error) => {
                tracing::warn!(%error, "cannot start a thread for a spare segment");
                self.spare_not_before = Some(Instant::now() + SPARE_RETRY);
            }
        }
    }

    fn take_spare(&mut self, made: io::Result<Spare>) {
        self.spare_in_making = false;
        match made {
            Ok(spare) => {
                self.writer.set_spare(spare);
                self.looked = None;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot prepare a segment; is the disk full?");
                self.spare_not_before = Some(Instant::now() + SPARE_RETRY);
            }
        }
    }

    /// Sets segments aside while there is room.
    fn want_reserve(&mut self) {
        let waits = self.reserve_not_before.is_some_and(|until| Instant::now() < until);
        let bytes = self.writer.segment_bytes();
        let reserve = self.writer.reserve();
        let Some(name) = reserve.missing() else { return };
        // A snapshot that is about to be taken comes first: it frees more.
        let is_for_snapshot = self.shared.taking.load(Ordering::Acquire) || self.shared.wanted.load(Ordering::Acquire);
        let next = self.shared.next_snapshot.load(Ordering::Relaxed);
        let needs = bytes + if is_for_snapshot { next + next / 16 } else { 0 };
        let lacks_room = self.space().is_some_and(|space| space.free_bytes < needs);
        if self.reserve_in_making || waits || lacks_room {
            return;
        }
        let (disk, shared) = (self.disk.clone(), self.shared.clone());
        let make = move || {
            let result = reserve::make(&*disk, name, bytes);
            // Closed: nobody needs it any longer, and the next start finds it.
            let _ = shared.queue.push(Command::ReserveMade { result });
        };
        match self.shared.help("reserve-segment", make) {
            Ok(()) => self.reserve_in_making = true,
            Err(error) => {
                tracing::warn!(%error, "cannot start a thread for a segment of the reserve");
                self.reserve_not_before = Some(Instant::now() + SPARE_RETRY);
            }
        }
    }

    fn take_reserve(&mut self, made: io::Result<&'static str>) {
        self.reserve_in_making = false;
        match made {
            Ok(name) => self.writer.reserve().made(name),
            Err(error) => {
                if !is_full(&error) {
                    tracing::warn!(%error, "cannot set aside a segment for a full disk");
                }
                self.reserve_not_before = Some(Instant::now() + SPARE_RETRY);
            }
        }
        self.looked = None;
    }

    /// The word counts for an empty volume only, and it must never count again for this one.
    /// Only an empty volume has a use for it. It is removed when what was made of it is durable, and not before: until
    /// then a crash has to find it again \[R2\].
    fn forget_restore(&mut self) {
        if self.restore_offered && self.writer.has_joined() {
            match identity::forget_restore(&*self.disk) {
                Ok(_) => self.restore_offered = false,
                // The next start removes it.
                Err(error) => tracing::warn!(%error, "cannot remove restore.json, which is not needed any longer"),
            }
        }
    }

    fn forget_forced_bootstrap(&mut self) {
        if self.bootstrap_forced && !self.writer.is_empty() {
            match identity::forget_forced_bootstrap(&*self.disk) {
                Ok(()) => self.bootstrap_forced = false,
                // The next start removes it: a volume with data never obeys it.
                Err(error) => tracing::warn!(%error, "cannot remove the mark of a forced bootstrap"),
            }
        }
    }
}
