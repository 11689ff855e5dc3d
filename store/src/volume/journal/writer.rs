//! Writes the journal: one caller at a time, everything durable when a call returns.
//!
//! ```text
//!   commit(records) ──▶ [ one batch | one fdatasync ]…        a full segment: a new one first
//!   put_snapshot    ──▶ snapshot.next ▶ new segment that begins with its mark ▶ snapshot.json ▶ old segments go
//! ```
//!
//! A new segment is prepared under another name, synced with everything that it begins with, and only then gets its name;
//! so a segment that has its name is complete. It is started only when the one before is durable, and old ones are removed
//! only when it is. After any error the writer must be discarded: only the next start determines what the disk holds.

use super::lookup::Place;
use super::replay::{Live, Replay, follows};
use super::reserve::{KEPT_FOR_A_START, Reserve};
use super::segment::{BATCH_HEAD_BYTES, Head, file_name};
use crate::volume::disk::{Disk, DiskFile, is_full, remove_if_there, write_all_at, write_zeros};
use crate::volume::files::{FOLDER, NEXT_SEGMENT, SNAPSHOT, SNAPSHOT_NEXT, SPARE_SEGMENT};
use leasehold_documents::FORMAT_MIN;
use leasehold_replication::{DurableState, Entry, Position, Record, SnapshotMark};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The records of one batch are at most this long (and one record more).
pub(crate) const BATCH_BYTES: usize = 1024 * 1024;
/// A spare segment is synced after each this many bytes.
const SPARE_STEP: u64 = 1024 * 1024;
/// How many entries go into one batch if a segment begins with more.
const ENTRIES_COPIED: usize = 512;

/// Owns the segments of a volume.
pub(crate) struct Writer {
    disk: Arc<dyn Disk>,
    /// The length of a segment's file, unless more has to go in at once.
    segment_bytes: u64,
    current: Current,
    /// The segments before the current one that a replay needs, oldest first.
    older: VecDeque<u64>,
    /// All durable.
    state: DurableState,
    mark: Option<SnapshotMark>,
    /// The chain of entries after the snapshot, all durable.
    links: VecDeque<Link>,
    /// Bytes of these entries.
    live_bytes: u64,
    /// Prepared ahead, if it was.
    spare: Option<Spare>,
    /// For a disk that others filled.
    reserve: Reserve,
    /// Receives the time of each fdatasync that a batch waited for.
    on_fsync: Arc<dyn Fn(Duration) + Send + Sync>,
}

struct Current {
    file: Box<dyn DiskFile>,
    head: Head,
    /// Where the next batch goes.
    end: u64,
    /// Zeros are written up to here.
    capacity: u64,
    /// The number of the next batch.
    batch: u64,
}

/// An entry that a replay would find.
#[derive(Clone, Copy, Debug)]
struct Link {
    position: Position,
    bytes: u64,
    segment: u64,
    /// The position of its record in the segment.
    offset: u64,
}

/// A segment's file full of zeros, durable except for its name.
pub(crate) struct Spare {
    file: Box<dyn DiskFile>,
    capacity: u64,
}

/// What records would change, determined before anything is written.
struct Plan {
    state: DurableState,
    /// How many of the links stay.
    keep: usize,
    /// What follows them: position, length, and where the record starts after the batch's head.
    new: Vec<(Position, u64, u64)>,
}

impl Writer {
    /// Starts the first segment of an empty volume, with promise 0.
    pub(crate) fn begin(disk: Arc<dyn Disk>, segment_bytes: u64, on_fsync: OnFsync) -> io::Result<Writer> {
        let seed = Seed { state: DurableState::EMPTY, mark: None, links: VecDeque::new(), older: VecDeque::new() };
        Writer::start(disk, segment_bytes, on_fsync, seed, Head::new(FORMAT_MIN, 1, 1, 0, 0), &[])
    }

    /// Continues where a journal ends: the live records of its newest segment are copied to a new one. When this returns,
    /// everything in `replay` is durable \[S2\].
    pub(crate) fn resume(
        disk: Arc<dyn Disk>,
        segment_bytes: u64,
        on_fsync: OnFsync,
        replay: &Replay,
    ) -> io::Result<Writer> {
        // They were durable before the newest one was started. Making sure of that is cheap.
        for number in &replay.older {
            disk.open(&file_name(*number))?.sync()?;
        }
        // Never below it: it proves that the raise to its format was committed [C3].
        let (number, format) = (replay.newest.number + 1, replay.newest.format);
        let entries: Vec<Entry> = in_segment(replay, replay.newest.number).map(|live| live.entry.clone()).collect();
        let links = replay.chain.iter().map(|live| Link {
            position: live.entry.position,
            bytes: live.entry.record().len() as u64,
            segment: if live.segment == replay.newest.number { number } else { live.segment },
            offset: live.offset,
        });
        let links: VecDeque<Link> = links.collect();
        let first = links.front().map_or(number, |link| link.segment);
        let older: VecDeque<u64> = replay.older.iter().copied().filter(|older| *older >= first).collect();
        let head = match older.back() {
            Some(_) => Head::new(format, number, first, replay.newest.previous, replay.newest.previous_bytes),
            None => Head::new(format, number, number, 0, 0),
        };
        let seed = Seed { state: replay.state, mark: replay.mark, links, older };
        Writer::start(disk, segment_bytes, on_fsync, seed, head, &entries)
    }

    /// Makes a journal of one segment of that format that holds exactly this, behind all segments that are there (for
    /// `recover`).
    pub(crate) fn replace_all(
        disk: Arc<dyn Disk>,
        segment_bytes: u64,
        (format, number): (u32, u64),
        state: DurableState,
        mark: Option<SnapshotMark>,
        entries: &[Entry],
    ) -> io::Result<Writer> {
        assert!(state.cluster_id.is_some(), "only a volume with data is written anew");
        let link = |entry: &Entry| Link {
            position: entry.position,
            bytes: entry.record().len() as u64,
            segment: number,
            offset: 0,
        };
        let seed = Seed { state, mark, links: entries.iter().map(link).collect(), older: VecDeque::new() };
        Writer::start(disk, segment_bytes, Arc::new(|_| {}), seed, Head::new(format, number, number, 0, 0), entries)
    }

    fn start(
        disk: Arc<dyn Disk>,
        segment_bytes: u64,
        on_fsync: OnFsync,
        seed: Seed,
        head: Head,
        entries: &[Entry],
    ) -> io::Result<Writer> {
        let Seed { state, mark, mut links, older } = seed;
        let mut reserve = Reserve::find(&*disk, segment_bytes)?;
        let room = Room { least: segment_bytes, spare: None, reserve: &mut reserve, keep: 0 };
        let (current, offsets) = begin_segment(&*disk, room, head, &state, mark.as_ref(), entries)?;
        let copied = links.iter_mut().filter(|link| link.segment == head.number);
        copied.zip(offsets).for_each(|(link, offset)| link.offset = offset);
        let live_bytes = links.iter().map(|link| link.bytes).sum();
        let spare = None;
        Ok(Writer { disk, segment_bytes, current, older, state, mark, links, live_bytes, spare, reserve, on_fsync })
    }

    /// Makes records durable, in this order, in a segment of that format or a later one: where the present one is of an
    /// earlier format, the next one begins first \[C3\].
    ///
    /// # Errors
    /// Those of the disk; `InvalidInput` when a record does not follow what stands there, before it is written.
    pub(crate) fn commit(&mut self, records: &[Record], format: u32) -> io::Result<()> {
        if format > self.current.head.format {
            // Nothing can be written before it, and it happens once for each format: it may have all of the reserve.
            self.roll(0, 0, format)?;
        }
        let mut from = 0;
        while from < records.len() {
            let mut bytes = 0;
            let mut to = from;
            while to < records.len() && bytes < BATCH_BYTES {
                bytes += record_bytes(&records[to]);
                to += 1;
            }
            self.commit_batch(&records[from..to], bytes)?;
            from = to;
        }
        Ok(())
    }

    fn commit_batch(&mut self, records: &[Record], bytes: usize) -> io::Result<()> {
        let plan = self.plan(records)?;
        let length = (BATCH_HEAD_BYTES + bytes) as u64;
        if self.current.end + length > self.current.capacity {
            self.roll(length, KEPT_FOR_A_START, FORMAT_MIN)?;
        }
        let mut batch = Vec::with_capacity(length as usize);
        self.current.head.batch(self.current.batch, &mut batch, |to| {
            for record in records {
                to.extend_from_slice(&record.encode());
            }
        });
        assert!(
            self.current.end + batch.len() as u64 <= self.current.capacity,
            "a batch of {} bytes was announced as {length}",
            batch.len()
        );
        let records_at = self.current.end + BATCH_HEAD_BYTES as u64;
        write_all_at(&*self.current.file, &batch, self.current.end)?;
        let begun = Instant::now();
        self.current.file.sync()?;
        (self.on_fsync)(begun.elapsed());
        self.current.end += batch.len() as u64;
        self.current.batch += 1;
        self.adopt(plan, records_at);
        Ok(())
    }

    /// Puts a snapshot of our own, of that format and durable in the file `name`, in the place of what it holds. False: it is not of this
    /// log, or older than the one in force, and was removed.
    pub(crate) fn put_snapshot(&mut self, name: &str, mark: SnapshotMark, format: u32) -> io::Result<bool> {
        let base = self.base();
        if mark.position.seq <= base.seq || self.find(mark.position).is_none() {
            remove_if_there(&*self.disk, name)?;
            return Ok(false);
        }
        stage(&*self.disk, name)?;
        while self.links.front().is_some_and(|link| link.position.seq <= mark.position.seq) {
            self.live_bytes -= self.links.pop_front().map_or(0, |link| link.bytes);
        }
        self.mark = Some(mark);
        // It gives room back at once: it may have all of the reserve.
        self.roll(0, 0, format)?;
        name_snapshot(&*self.disk)?;
        Ok(true)
    }

    /// Puts a received snapshot, durable in the file `name`, in the place of the whole log.
    pub(crate) fn install(
        &mut self,
        name: &str,
        mark: SnapshotMark,
        state: DurableState,
        format: u32,
    ) -> io::Result<()> {
        self.replace(name, mark, (state, format), &[])
    }

    /// As [`Writer::install`], with the entry that follows the snapshot: a crash leaves all of it or nothing.
    pub(crate) fn restore(
        &mut self,
        name: &str,
        mark: SnapshotMark,
        (state, format): (DurableState, u32),
        entry: &Entry,
    ) -> io::Result<()> {
        if entry.previous != mark.position {
            return Err(refused(format!("entry {} names {}, not the snapshot", entry.position, entry.previous)));
        }
        self.replace(name, mark, (state, format), std::slice::from_ref(entry))
    }

    fn replace(
        &mut self,
        name: &str,
        mark: SnapshotMark,
        (state, format): (DurableState, u32),
        entries: &[Entry],
    ) -> io::Result<()> {
        follows(&self.state, &state).map_err(refused)?;
        stage(&*self.disk, name)?;
        self.links.clear();
        self.live_bytes = 0;
        self.mark = Some(mark);
        self.state = state;
        // It gives room back at once: it may have all of the reserve.
        let offsets = self.begin_next(0, 0, format, entries)?;
        for (entry, offset) in entries.iter().zip(offsets) {
            let (position, bytes) = (entry.position, entry.record().len() as u64);
            self.live_bytes += bytes;
            self.links.push_back(Link { position, bytes, segment: self.current.head.number, offset });
        }
        name_snapshot(&*self.disk)?;
        Ok(())
    }

    /// Begins the next segment, of that format if the present one is not of a later one; `room` bytes must fit behind what it begins with. On a full disk it is one of the reserve,
    /// unless no more than `keep` are left.
    fn roll(&mut self, room: u64, keep: usize, format: u32) -> io::Result<()> {
        self.begin_next(room, keep, format, &[]).map(|_| ())
    }

    /// As [`Writer::roll`], with these entries in its beginning. Returns where they are.
    fn begin_next(&mut self, room: u64, keep: usize, format: u32, entries: &[Entry]) -> io::Result<Vec<u64>> {
        let format = format.max(self.current.head.format);
        let number = self.current.head.number + 1;
        let first = self.links.front().map_or(number, |link| link.segment);
        let head = if first == number {
            Head::new(format, number, number, 0, 0)
        } else {
            Head::new(format, number, first, self.current.head.number, self.current.end)
        };
        let spare = self.spare.take();
        let least = self.segment_bytes.max(room + 1024);
        let spare = spare.filter(|spare| spare.capacity >= least);
        let before = self.current.head.number;
        let room = Room { least, spare, reserve: &mut self.reserve, keep };
        let (current, offsets) = begin_segment(&*self.disk, room, head, &self.state, self.mark.as_ref(), entries)?;
        self.current = current;
        self.older.push_back(before);
        self.drop_before(first);
        Ok(offsets)
    }

    /// Removes what no replay reads any longer. What cannot be removed stays until the next start.
    fn drop_before(&mut self, first: u64) {
        while self.older.front().is_some_and(|number| *number < first) {
            if let Some(number) = self.older.pop_front()
                && let Err(error) = remove_if_there(&*self.disk, &file_name(number))
            {
                tracing::warn!(segment = number, %error, "cannot remove a segment that is no longer needed");
            }
        }
    }

    fn plan(&self, records: &[Record]) -> io::Result<Plan> {
        let mut plan = Plan { state: self.state, keep: self.links.len(), new: Vec::with_capacity(records.len()) };
        let mut offset = 0;
        for record in records {
            let at = offset;
            offset += record_bytes(record) as u64;
            match record {
                Record::State(state) => {
                    follows(&plan.state, state).map_err(refused)?;
                    plan.state = *state;
                }
                Record::Snapshot(_) => return Err(refused("the journal marks snapshots itself".to_owned())),
                Record::Entry(entry) => {
                    let bytes = entry.record().len() as u64;
                    let found = self.place(&plan, entry.previous).ok_or_else(|| {
                        refused(format!("entry {} names {}, which does not exist", entry.position, entry.previous))
                    })?;
                    let (keep, new) = found;
                    plan.keep = keep;
                    plan.new.truncate(new);
                    plan.new.push((entry.position, bytes, at));
                }
            }
        }
        Ok(plan)
    }

    /// How many links, and how many of those planned, stay if an entry names `previous`.
    fn place(&self, plan: &Plan, previous: Position) -> Option<(usize, usize)> {
        let at = usize::try_from(previous.seq.0.checked_sub(self.base().seq.0)?).ok()?;
        if at == 0 {
            return (previous == self.base()).then_some((0, 0));
        }
        if at <= plan.keep {
            return (self.links[at - 1].position == previous).then_some((at, 0));
        }
        let planned = at - plan.keep;
        (plan.new.get(planned - 1)?.0 == previous).then_some((plan.keep, planned))
    }

    fn adopt(&mut self, plan: Plan, records_at: u64) {
        self.state = plan.state;
        for cut in self.links.drain(plan.keep..) {
            self.live_bytes -= cut.bytes;
        }
        for (position, bytes, at) in plan.new {
            self.live_bytes += bytes;
            let offset = records_at + at;
            self.links.push_back(Link { position, bytes, segment: self.current.head.number, offset });
        }
    }

    fn find(&self, position: Position) -> Option<usize> {
        let at = usize::try_from(position.seq.0.checked_sub(self.base().seq.0 + 1)?).ok()?;
        (self.links.get(at)?.position == position).then_some(at)
    }

    /// Where the entries after `after` are: about `bytes_max` bytes of them, and at least one.
    ///
    /// # Errors
    /// Errors of opening the files; `NotFound` if they are not (or no longer) in the journal.
    pub(super) fn places(&self, after: Position, bytes_max: usize) -> io::Result<Vec<Place>> {
        let from = if after == self.base() { Some(0) } else { self.find(after).map(|at| at + 1) };
        let links = from.map(|from| self.links.range(from.min(self.links.len())..));
        let mut places: Vec<(u64, Place)> = Vec::new();
        let mut bytes = 0;
        for link in links.into_iter().flatten() {
            bytes += link.bytes as usize;
            if !places.is_empty() && bytes > bytes_max {
                break;
            }
            match places.last_mut() {
                Some((segment, place))
                    if *segment == link.segment && place.offset + place.bytes as u64 == link.offset =>
                {
                    place.bytes += link.bytes as usize;
                }
                _ => {
                    let file = self.disk.open(&file_name(link.segment))?;
                    places.push((link.segment, Place { file, offset: link.offset, bytes: link.bytes as usize }));
                }
            }
        }
        if places.is_empty() {
            let what = format!("the journal has nothing that follows {after}");
            return Err(io::Error::new(io::ErrorKind::NotFound, what));
        }
        Ok(places.into_iter().map(|(_, place)| place).collect())
    }

    /// The position of the snapshot.
    pub(crate) fn base(&self) -> Position {
        self.mark.map_or(Position::ZERO, |mark| mark.position)
    }

    pub(crate) fn mark(&self) -> Option<SnapshotMark> {
        self.mark
    }

    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// The segments that a replay needs, oldest first.
    pub(crate) fn segments(&self) -> impl Iterator<Item = u64> {
        self.older.iter().copied().chain([self.current.head.number])
    }

    /// Only promises were ever written.
    pub(crate) fn is_empty(&self) -> bool {
        self.state.cluster_id.is_none() && self.mark.is_none() && self.links.is_empty()
    }

    /// It has data of a cluster, and not only the beginning of a first start.
    pub(crate) fn has_joined(&self) -> bool {
        self.mark.is_some() || (self.state.cluster_id.is_some() && !self.state.bootstrapping)
    }

    /// The current segment is filling up and no other one is prepared.
    pub(crate) fn wants_spare(&self) -> bool {
        self.spare.is_none() && self.current.end > self.current.capacity / 4
    }

    pub(crate) fn set_spare(&mut self, spare: Spare) {
        self.spare = Some(spare);
    }

    /// The length of a segment's file.
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// What can be appended to this much free room before the disk is full; without the reserve of a start.
    pub(crate) fn writable(&self, free_bytes: Option<u64>) -> u64 {
        let Some(free_bytes) = free_bytes else { return u64::MAX };
        let tail = self.current.capacity - self.current.end;
        let spare = self.spare.as_ref().map_or(0, |spare| spare.capacity);
        let reserve = self.reserve.count().saturating_sub(KEPT_FOR_A_START) as u64 * self.segment_bytes;
        tail + spare + reserve + free_bytes / self.segment_bytes * self.segment_bytes
    }

    pub(crate) fn reserve(&mut self) -> &mut Reserve {
        &mut self.reserve
    }

    pub(crate) fn reserve_segments(&self) -> usize {
        self.reserve.count()
    }
}

/// A durable file becomes `snapshot.next`, durably: a segment that refers to it may be started.
pub(crate) fn stage(disk: &dyn Disk, name: &str) -> io::Result<()> {
    disk.rename(name, SNAPSHOT_NEXT)?;
    disk.sync_folder("")
}

/// `snapshot.next` becomes `snapshot.json`, now that a durable segment refers to it.
pub(crate) fn name_snapshot(disk: &dyn Disk) -> io::Result<()> {
    disk.rename(SNAPSHOT_NEXT, SNAPSHOT)?;
    disk.sync_folder("")
}

/// Called with the time that an fdatasync took.
pub(crate) type OnFsync = Arc<dyn Fn(Duration) + Send + Sync>;

/// What a writer starts from.
struct Seed {
    state: DurableState,
    mark: Option<SnapshotMark>,
    links: VecDeque<Link>,
    older: VecDeque<u64>,
}

impl Spare {
    /// Creates one. This takes a moment: not for the thread that writes.
    pub(crate) fn create(disk: &dyn Disk, capacity: u64) -> io::Result<Spare> {
        let made = disk.create(SPARE_SEGMENT).and_then(|file| {
            // Synced in steps, so that an fdatasync of the journal never waits behind all of it.
            let mut end = 0;
            while end < capacity {
                let next = capacity.min(end + SPARE_STEP);
                write_zeros(&*file, end, next)?;
                file.sync()?;
                end = next;
            }
            Ok(Spare { file, capacity })
        });
        if made.is_err() {
            // Half of one only wastes room.
            let _ = remove_if_there(disk, SPARE_SEGMENT);
        }
        made
    }
}

/// Where a new segment's room comes from.
struct Room<'a> {
    /// It is at least this long.
    least: u64,
    spare: Option<Spare>,
    reserve: &'a mut Reserve,
    /// This many of the reserve are left alone.
    keep: usize,
}

/// Creates a segment with this beginning, durable with its name. Returns where the entries are in it.
fn begin_segment(
    disk: &dyn Disk,
    room: Room<'_>,
    head: Head,
    state: &DurableState,
    mark: Option<&SnapshotMark>,
    entries: &[Entry],
) -> io::Result<(Current, Vec<u64>)> {
    let mut offsets = Vec::with_capacity(entries.len());
    let mut bytes = head.encode();
    let mut batch = 1;
    head.batch(batch, &mut bytes, |to| {
        to.extend_from_slice(&Record::State(*state).encode());
        if let Some(mark) = mark {
            to.extend_from_slice(&Record::Snapshot(*mark).encode());
        }
    });
    // All of it becomes durable before the segment has its name, so several batches at once are fine here.
    for some in entries.chunks(ENTRIES_COPIED) {
        batch += 1;
        head.batch(batch, &mut bytes, |to| {
            for entry in some {
                offsets.push(to.len() as u64);
                to.extend_from_slice(entry.record());
            }
        });
    }
    let end = bytes.len() as u64;
    let (from, file, capacity) = match room.spare {
        Some(Spare { file, capacity }) if capacity >= end => (SPARE_SEGMENT, file, capacity),
        _ => {
            let (file, capacity) = fresh_segment(disk, room.least.max(end), room.reserve, room.keep)?;
            (NEXT_SEGMENT, file, capacity)
        }
    };
    write_all_at(&*file, &bytes, 0)?;
    file.sync()?;
    disk.rename(from, &file_name(head.number))?;
    disk.sync_folder(FOLDER)?;
    Ok((Current { file, head, end, capacity, batch: batch + 1 }, offsets))
}

/// A file full of zeros under the name of a segment that is being created; if the disk has no room, one of the reserve.
fn fresh_segment(
    disk: &dyn Disk,
    capacity: u64,
    reserve: &mut Reserve,
    keep: usize,
) -> io::Result<(Box<dyn DiskFile>, u64)> {
    let made = disk.create(NEXT_SEGMENT).and_then(|file| {
        write_zeros(&*file, 0, capacity)?;
        Ok(file)
    });
    let error = match made {
        Ok(file) => return Ok((file, capacity)),
        Err(error) if is_full(&error) => error,
        Err(error) => return Err(error),
    };
    // Half of one only wastes room.
    remove_if_there(disk, NEXT_SEGMENT)?;
    match reserve.take(disk, capacity, keep)? {
        Some(taken) => {
            let folder = disk.path(FOLDER);
            tracing::warn!(
                folder = %folder.display(),
                left = reserve.count(),
                "the disk is full: the journal continues in a segment of its reserve; delete records, or free or \
                 add room"
            );
            Ok(taken)
        }
        None => {
            let what = format!(
                "{error}: the journal needs {capacity} bytes, and its reserve is used up; free that much room in this \
                 file system, or enlarge the volume"
            );
            Err(io::Error::new(error.kind(), what))
        }
    }
}

fn in_segment(replay: &Replay, number: u64) -> impl Iterator<Item = &Live> {
    replay.chain.iter().filter(move |live| live.segment == number)
}

/// The length of a record; those that are not entries are short and have few sizes.
fn record_bytes(record: &Record) -> usize {
    match record {
        Record::Entry(entry) => entry.record().len(),
        Record::State(_) | Record::Snapshot(_) => record.encode().len(),
    }
}

fn refused(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}
