//! Random use of a volume on a disk that fails at any call: what was reported durable is there afterwards, in order, and
//! nothing goes back.

#![allow(clippy::unwrap_used)]

use super::reserve;
use super::writer::{Spare, Writer};
use crate::testing::fault_disk::{Fault, FaultDisk};
use crate::testing::rig::any_command;
use crate::volume::disk::Disk;
use crate::volume::files::SNAPSHOT_TAKEN;
use crate::volume::snapshot;
use crate::volume::{self, Found, VolumeError};
use leasehold_documents::{Documents, StoredCollections, StoredOrder, StoredState};
use leasehold_replication::{
    ClusterId, DurableState, Entry, Incarnation, Payload, Position, Promise, Record, ReplicaId, SnapshotMeta, Term,
    Voters,
};
use std::sync::Arc;
use uuid::Uuid;

const SEGMENT_BYTES: u64 = 4096;
const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(7));

/// What the volume holds, as the replica sees it.
#[derive(Clone, Debug, PartialEq)]
struct Model {
    state: DurableState,
    base: Position,
    entries: Vec<Entry>,
}

impl Model {
    fn last(&self) -> Position {
        self.entries.last().map_or(self.base, |entry| entry.position)
    }

    fn push(&mut self, entry: Entry) {
        let keep = entry.previous.seq.0 - self.base.seq.0;
        self.entries.truncate(keep as usize);
        assert_eq!(self.last(), entry.previous, "the test itself makes chains only");
        self.entries.push(entry);
    }

    fn of(found: &Found) -> Model {
        match &found.replay {
            None => Model { state: DurableState::EMPTY, base: Position::ZERO, entries: Vec::new() },
            Some(replay) => {
                let base = found.snapshot.as_ref().map_or(Position::ZERO, |meta| meta.position);
                assert_eq!(base, found.documents.applied());
                let entries = replay.chain.iter().map(|live| live.entry.clone()).collect();
                Model { state: replay.state, base, entries }
            }
        }
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound.max(1)
    }
}

/// One run: models of everything that was started, and up to where it was reported durable.
struct Run {
    random: Random,
    disk: FaultDisk,
    /// The volume's content after each step that was started; the first one was reported.
    begun: Vec<Model>,
    /// Entries that existed somewhere once, to return.
    pool: Vec<Entry>,
    replica: Option<ReplicaId>,
    starts: u64,
    failures: u64,
}

impl Run {
    fn model(&self) -> Model {
        self.begun.last().unwrap().clone()
    }

    fn start(&mut self) -> Option<Writer> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        match volume::recover(&disk, SEGMENT_BYTES, Arc::new(|_| {}), 1) {
            Ok(found) => {
                let model = Model::of(&found);
                let at = self.begun.iter().rposition(|begun| *begun == model);
                let at = at.unwrap_or_else(|| panic!("found {model:#?}\nwhich is none of {:#?}", self.begun));
                // What was found counts as reported from here on, so it must not go back again [S2].
                self.begun = vec![self.begun[at].clone()];
                assert_eq!(*self.replica.get_or_insert(found.replica), found.replica, "the volume is another one");
                self.starts += 1;
                Some(found.writer)
            }
            Err(VolumeError::Io { .. }) => {
                self.failures += 1;
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// One step. False: something failed, and this incarnation is over.
    fn step(&mut self, writer: &mut Writer) -> bool {
        let ok = match self.random.below(20) {
            0 => self.take_snapshot(writer),
            1 => self.install(writer),
            2 => {
                // A spare that cannot be created is no failure, unless the machine is gone.
                match writer.reserve().missing() {
                    Some(name) if self.random.below(2) == 0 => {
                        if let Ok(name) = reserve::make(&self.disk.clone(), name, SEGMENT_BYTES) {
                            writer.reserve().made(name);
                        }
                    }
                    _ => {
                        if let Ok(spare) = Spare::create(&self.disk.clone(), SEGMENT_BYTES) {
                            writer.set_spare(spare);
                        }
                    }
                }
                true
            }
            _ => self.append(writer),
        };
        if ok {
            // Reported: nothing earlier counts any longer.
            self.begun.drain(..self.begun.len() - 1);
        } else {
            self.failures += 1;
        }
        ok
    }

    fn append(&mut self, writer: &mut Writer) -> bool {
        let mut model = self.model();
        let mut records = Vec::new();
        for _ in 0..1 + self.random.below(6) {
            if self.random.below(8) == 0 {
                let promise = model.state.promise;
                model.state.promise = Promise {
                    term: Term(promise.term.0 + 1),
                    incarnation: Incarnation(Uuid::from_u128(promise.term.0 as u128 + 9)),
                };
                model.state.cluster_id = Some(CLUSTER);
                records.push(Record::State(model.state));
                continue;
            }
            let entry = self.entry(&model);
            self.pool.push(entry.clone());
            model.push(entry.clone());
            records.push(Record::Entry(entry));
        }
        self.begun.push(model);
        writer.commit(&records, 1).is_ok()
    }

    /// An entry that follows the last one, or cuts; sometimes one that existed before.
    fn entry(&mut self, model: &Model) -> Entry {
        let mut previous = model.last();
        if self.random.below(6) == 0 && !model.entries.is_empty() {
            let at = self.random.below(model.entries.len() as u64) as usize;
            previous = model.entries[at].previous;
        }
        if self.random.below(4) == 0 {
            let old: Vec<&Entry> = self.pool.iter().filter(|entry| entry.previous == previous).collect();
            if !old.is_empty() {
                return old[self.random.below(old.len() as u64) as usize].clone();
            }
        }
        let longest = if self.random.below(50) == 0 { 6000 } else { 300 };
        let length = 1 + self.random.below(longest);
        let fill = self.random.below(256) as u8;
        let term = Term(previous.term.0 + self.random.below(2));
        Entry::new(previous, term, Payload::Command(any_command(fill, length as usize)))
    }

    fn take_snapshot(&mut self, writer: &mut Writer) -> bool {
        let mut model = self.model();
        if model.entries.is_empty() || model.state.cluster_id.is_none() {
            return true;
        }
        let at = self.random.below(model.entries.len() as u64) as usize;
        let meta = meta(model.entries[at].position);
        model.base = meta.position;
        model.entries.drain(..=at);
        // What is below a snapshot is committed: it is never cut again.
        self.pool.retain(|entry| entry.previous.seq >= meta.position.seq);
        self.begun.push(model);
        let disk: &dyn Disk = &self.disk.clone();
        let written = snapshot::write(disk, SNAPSHOT_TAKEN, &meta, &documents(meta.position))
            .and_then(|mark| writer.put_snapshot(SNAPSHOT_TAKEN, mark, 1));
        matches!(written, Ok(true))
    }

    fn install(&mut self, writer: &mut Writer) -> bool {
        let mut model = self.model();
        if self.random.below(4) > 0 || model.state.cluster_id.is_none() {
            return true;
        }
        let last = model.last();
        let meta = meta(Position::new(last.term.0 + self.random.below(2), last.seq.0 + 1 + self.random.below(9)));
        let state = model.state;
        model.base = meta.position;
        model.entries.clear();
        self.pool.clear();
        self.begun.push(model);
        let disk: &dyn Disk = &self.disk.clone();
        let written = snapshot::write(disk, SNAPSHOT_TAKEN, &meta, &documents(meta.position))
            .and_then(|mark| writer.install(SNAPSHOT_TAKEN, mark, state, 1));
        written.is_ok()
    }
}

fn meta(position: Position) -> SnapshotMeta {
    SnapshotMeta { cluster_id: CLUSTER, position, voters: Voters::none() }
}

fn documents(position: Position) -> Documents {
    Documents::restore(
        position,
        StoredCollections::default(),
        StoredOrder::default(),
        Vec::new(),
        StoredState::default(),
    )
    .unwrap()
}

fn run(seed: u64) -> Run {
    let empty = Model { state: DurableState::EMPTY, base: Position::ZERO, entries: Vec::new() };
    let mut run = Run {
        random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
        disk: FaultDisk::new(seed),
        begun: vec![empty],
        pool: Vec::new(),
        replica: None,
        starts: 0,
        failures: 0,
    };
    for _ in 0..25 {
        let fault = match run.random.below(8) {
            0 => None,
            1 => Some(Fault::Eio),
            2 => Some(Fault::Full),
            3 => Some(Fault::Short),
            _ => Some(Fault::Power),
        };
        if let Some(fault) = fault {
            let most = if run.random.below(2) == 0 { 20 } else { 120 };
            let calls = run.random.below(most);
            run.disk.fail_after(calls, fault);
        }
        let room = run.random.below(3 * SEGMENT_BYTES);
        run.disk.set_room((run.random.below(3) == 0).then(|| run.disk.used() + room));
        if let Some(mut writer) = run.start() {
            for _ in 0..run.random.below(40) {
                if !run.step(&mut writer) {
                    break;
                }
            }
        }
        let power = fault == Some(Fault::Power) || run.random.below(2) == 0;
        if power { run.disk.power_loss() } else { run.disk.restart() }
    }
    run
}

#[test]
fn whatever_fails_everything_that_was_told_to_be_durable_is_recovered_and_nothing_goes_back() {
    let (mut starts, mut failures) = (0, 0);
    // Another range of seeds: LEASEHOLD_CRASH_SEEDS=1000..9000.
    let seeds = std::env::var("LEASEHOLD_CRASH_SEEDS").ok();
    let seeds = seeds.as_ref().and_then(|seeds| seeds.split_once("..")).unwrap_or(("0", "300"));
    let seeds = seeds.0.parse::<u64>().unwrap()..seeds.1.parse().unwrap();
    let least = (seeds.end - seeds.start) * 8;
    for seed in seeds {
        let run = std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|_| panic!("seed {seed}"));
        starts += run.starts;
        failures += run.failures;
    }
    assert!(starts > least && failures > least, "{starts} starts and {failures} failures try too little");
}
