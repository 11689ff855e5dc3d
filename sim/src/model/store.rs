//! The store's process: the replica, and what its shell keeps beside it.

use super::data::Data;
use super::life::Life;
use leasehold_replication::{ConnId, Incarnation, Position, ProposalId, Pulse, ReadId, Replica, Seq, Status, Voters};
use std::collections::BTreeMap;
use std::time::Duration;

/// The store process of a pod.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) life: Life,
    /// It is not scheduled before this moment.
    pub(crate) frozen_until: Duration,
    /// Invitations that wait for an answer: the asker, and the time.
    pub(crate) questions: BTreeMap<u64, (Life, usize, Duration)>,
    pub(crate) process: Process,
}

/// Whether there is a process, and its stage.
#[derive(Clone, Debug)]
pub(crate) enum Process {
    Down,
    /// It holds the lock and reads its journal.
    Starting,
    Up(Box<Up>),
}

/// A running store.
#[derive(Clone, Debug)]
pub(crate) struct Up {
    pub(crate) replica: Replica,
    pub(crate) incarnation: Incarnation,
    /// As of the last step that changed it; position and commit as of the last step.
    pub(crate) status: Status,
    pub(crate) pulse: Pulse,
    /// Accepted writes that wait for their entries.
    pub(crate) pending: BTreeMap<Seq, Vec<(Position, ProposalId)>>,
    pub(crate) applied: Position,
    /// The documents: one number for what was applied, in which order.
    pub(crate) digest: u64,
    /// The documents themselves, where runs have collections.
    pub(crate) data: Option<Box<Data>>,
    /// What is wrong with the sum of its data, and from which entry on; the last one counts.
    pub(crate) damage: Vec<(Seq, u64)>,
    /// A record at rest is wrong, which its sum does not show.
    pub(crate) at_rest: bool,
    /// It knows no sum before this entry.
    pub(crate) began_at: Seq,
    pub(crate) applied_voters: Voters,
    /// Entries since the last snapshot.
    pub(crate) since_snapshot: u64,
    /// The format in force, by its last step.
    pub(crate) format: u32,
    /// The pods that role.json named as wanted, by its last input.
    pub(crate) members: Vec<String>,
    /// The snapshot that is being written.
    pub(crate) snapshot_running: Option<u64>,
    pub(crate) sync_running: bool,
    /// When it began, and how many did.
    pub(crate) sync_since: Duration,
    pub(crate) syncs: u64,
    /// It knows that its disk hangs, and that the journal accepts no more.
    pub(crate) stalled: bool,
    pub(crate) is_full: bool,
    /// It knows that a write failed.
    pub(crate) disk_failed: bool,
    /// Incoming pieces of snapshots, by connection.
    pub(crate) pieces: BTreeMap<ConnId, Vec<u8>>,
    /// Strong reads of its clients.
    pub(crate) reads: Reads,
    pub(crate) wake_at: Option<Duration>,
    /// The last moment of a step, and the number of steps at it.
    pub(crate) busy: (Duration, u32),
}

impl Up {
    /// It has recovered: its documents are those of the snapshot at `applied`, and nothing more yet.
    pub(crate) fn new(
        replica: Replica,
        incarnation: Incarnation,
        applied: Position,
        applied_voters: Voters,
        digest: u64,
    ) -> Up {
        Up {
            status: replica.status(),
            pulse: replica.pulse(),
            format: replica.format(),
            members: Vec::new(),
            replica,
            incarnation,
            pending: BTreeMap::new(),
            applied,
            digest,
            data: None,
            damage: Vec::new(),
            at_rest: false,
            began_at: applied.seq,
            applied_voters,
            since_snapshot: 0,
            snapshot_running: None,
            sync_running: false,
            sync_since: Duration::ZERO,
            syncs: 0,
            stalled: false,
            is_full: false,
            disk_failed: false,
            pieces: BTreeMap::new(),
            reads: Reads::default(),
            wake_at: None,
            busy: (Duration::ZERO, 0),
        }
    }
}

impl Up {
    /// What is wrong with the sum of its data after that entry; 0 if nothing is.
    pub(crate) fn damage_at(&self, sequence: Seq) -> u64 {
        self.damage.iter().rev().find(|(from, _)| *from <= sequence).map_or(0, |(_, what)| *what)
    }
}

impl Store {
    /// Not started yet.
    pub(crate) fn new(pod: usize) -> Store {
        let life = Life { pod, run: 1 };
        Store { life, frozen_until: Duration::ZERO, questions: BTreeMap::new(), process: Process::Down }
    }

    /// The running replica.
    pub(crate) fn up(&self) -> Option<&Up> {
        match &self.process {
            Process::Up(up) => Some(up),
            Process::Down | Process::Starting => None,
        }
    }

    pub(crate) fn up_mut(&mut self) -> Option<&mut Up> {
        match &mut self.process {
            Process::Up(up) => Some(up),
            Process::Down | Process::Starting => None,
        }
    }

    /// It has recovered and talks to others.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.process, Process::Up(_))
    }

    /// There is a process; it holds the lock.
    pub(crate) fn is_running(&self) -> bool {
        !matches!(self.process, Process::Down)
    }

    /// What the replica reports about itself; only while it is up.
    pub(crate) fn status(&self) -> &Status {
        &self.up().expect("only asked of a store that is up").status
    }
}

/// The strong reads that wait at one run of a store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reads {
    pub(crate) next: u64,
    /// What each must see.
    pub(crate) waiting: BTreeMap<ReadId, Seq>,
}
