//! Bringing another replica's log to the state of ours: what to send next over one connection.
//!
//! A leader runs one [`Outbound`] for each follower; a follower that is pulled from \[L2\] runs one towards its leader.
//!
//! ```text
//!   guess (from its hello) ──append──▶ ack       : from here on stream, about WINDOW_TIME ahead of its acks
//!                          ──append──▶ mismatch  : guess lower, by its hint
//!                          guess before our base : send the snapshot, then stream from behind it
//! ```

use crate::log::Log;
use crate::pace::Pace;
use crate::{Body, Entry, Position, Seq, SnapshotPart};
use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Duration;

/// How many bytes of entries may be on their way to one replica: what it absorbs in this time, within these bounds. The
/// upper bound limits the memory of the connection's queue. The data in front of a heartbeat on a slow link must not look
/// like a silent leader.
const WINDOW_TIME: Duration = Duration::from_millis(500);
const WINDOW_BYTES: RangeInclusive<u64> = 128 * 1024..=4 * 1024 * 1024;
/// The size at which an append is closed, within the same limits; well below the frame's limit. A single entry may be
/// larger.
const APPEND_TIME: Duration = Duration::from_millis(125);
const APPEND_BYTES: RangeInclusive<u64> = 32 * 1024..=512 * 1024;

/// What to send next.
#[derive(Debug)]
pub(crate) enum Sending {
    /// This append.
    Append(Body),
    /// The newest snapshot, which is at this position, except this part of it.
    Snapshot(Position, Option<SnapshotPart>),
    /// Entries that are only on the disk, of about that many bytes: they follow this position. [`Outbound::found`] comes
    /// next.
    Lookup(Position, usize),
}

/// See the module.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Outbound {
    /// The last position that is believed to be common; entries after it are sent next.
    sent: Position,
    /// The other end has acked up to here: durable there, and equal to our log.
    pub(crate) verified: Seq,
    /// Nothing has been acked on this connection yet: one append at a time.
    probing: bool,
    /// An append or snapshot is on its way while probing.
    waiting: bool,
    /// The guess lies before our base: a snapshot is needed.
    needs_snapshot: bool,
    /// The next entries are being read from the disk.
    looking_up: bool,
    /// What is under way: last sequence and bytes of each append.
    in_flight: VecDeque<(Seq, usize)>,
    in_flight_bytes: usize,
    /// The last commit that was sent.
    commit_told: Seq,
    pace: Pace,
    /// What the other end already has of an interrupted snapshot, by its hello.
    pub(crate) part: Option<SnapshotPart>,
}

impl Outbound {
    /// Towards a replica whose log ends at `hint`.
    pub(crate) fn new(hint: Position, log: &Log) -> Outbound {
        let mut outbound = Outbound {
            sent: Position::ZERO,
            verified: Seq(0),
            probing: true,
            waiting: false,
            needs_snapshot: false,
            looking_up: false,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            commit_told: Seq(0),
            pace: Pace::default(),
            part: None,
        };
        outbound.guess(hint, log);
        outbound
    }

    /// The last commit sent to the other end on this connection.
    pub(crate) fn commit_told(&self) -> Seq {
        self.commit_told
    }

    /// Can it absorb all it lacks within that time? Never while it needs a snapshot.
    pub(crate) fn is_near(&self, now: Duration, log: &Log, time: Duration) -> bool {
        let lacks = log.bytes_after(self.verified.min(log.last().seq));
        lacks.is_some_and(|lacks| self.pace.takes(now, lacks, time))
    }

    /// What to send now, if anything. Call until it returns nothing.
    pub(crate) fn next(&mut self, now: Duration, log: &Log, commit: Seq) -> Option<Sending> {
        let within = |time, bounds: RangeInclusive<u64>| {
            self.pace.within(now, time).clamp(*bounds.start(), *bounds.end()) as usize
        };
        if self.waiting || self.looking_up || self.in_flight_bytes >= within(WINDOW_TIME, WINDOW_BYTES) {
            return None;
        }
        // Acked entries are common, so only a connection that lags behind two snapshots gets here later on.
        if self.needs_snapshot || self.sent.seq < log.base().seq {
            self.needs_snapshot = false;
            self.probing = true;
            self.waiting = true;
            self.sent = log.snapshot();
            return Some(Sending::Snapshot(log.snapshot(), self.part.take()));
        }
        let bytes_max = within(APPEND_TIME, APPEND_BYTES);
        let Some(entries) = log.range(self.sent.seq.next(), bytes_max) else {
            self.looking_up = true;
            return Some(Sending::Lookup(self.sent, bytes_max));
        };
        if entries.is_empty() && !self.probing {
            return None;
        }
        Some(Sending::Append(self.append(now, commit, entries)))
    }

    /// The result of a look-up. None: the entries no longer follow, and [`Outbound::next`] says what does.
    pub(crate) fn found(&mut self, now: Duration, log: &Log, commit: Seq, entries: Vec<Entry>) -> Option<Body> {
        let follows = entries.first().is_some_and(|first| first.previous == self.sent);
        let is_ours = entries.last().is_some_and(|last| log.contains(last.position));
        let is_wanted = std::mem::take(&mut self.looking_up) && !self.waiting && !self.needs_snapshot;
        (is_wanted && follows && is_ours).then(|| self.append(now, commit, entries))
    }

    fn append(&mut self, now: Duration, commit: Seq, entries: Vec<Entry>) -> Body {
        let previous = self.sent;
        let bytes: usize = entries.iter().map(|entry| entry.record().len()).sum();
        if let Some(last) = entries.last() {
            self.sent = last.position;
            self.in_flight.push_back((last.position.seq, bytes));
            self.in_flight_bytes += bytes;
            self.pace.sent(now);
        }
        self.waiting = self.probing;
        self.commit_told = commit;
        Body::Append { previous, commit, entries }
    }

    /// An empty append that reports a new commit, if nothing else does.
    pub(crate) fn tell_commit(&mut self, commit: Seq) -> Option<Body> {
        if self.probing || self.commit_told >= commit {
            return None;
        }
        self.commit_told = commit;
        Some(Body::Append { previous: self.sent, commit, entries: Vec::new() })
    }

    /// The other end has everything up to `seq`, as far as our log goes.
    pub(crate) fn acked(&mut self, now: Duration, seq: Seq, log: &Log) {
        self.verified = self.verified.max(seq.min(log.last().seq));
        self.probing = false;
        self.waiting = false;
        let before = self.in_flight_bytes;
        while let Some((last, bytes)) = self.in_flight.front().copied() {
            if last > self.verified {
                break;
            }
            self.in_flight_bytes -= bytes;
            self.in_flight.pop_front();
        }
        self.pace.acked(now, (before - self.in_flight_bytes) as u64, !self.in_flight.is_empty());
    }

    /// The other end does not have what the last append built on; its log may be common up to `hint`.
    pub(crate) fn mismatched(&mut self, hint: Position, log: &Log) {
        self.pace.forget_flight();
        self.probing = true;
        self.waiting = false;
        self.in_flight.clear();
        self.in_flight_bytes = 0;
        self.guess(hint, log);
    }

    fn guess(&mut self, hint: Position, log: &Log) {
        match log.at_most(hint) {
            Some(position) => self.sent = position,
            None => self.needs_snapshot = true,
        }
    }
}
