//! The writer: a process of its own that drives the real journal on the real disk as fast as it can, and reports on stdout
//! what it starts and what it learns. It is this test's own binary, started with [`VOLUME`] set.

use super::model::{CLUSTER, Model, RECEIVED_LENGTH, entry, record, state};
use super::random::Random;
use bytes::Bytes;
use leasehold_documents::Documents;
use leasehold_replication::{Position, Record, SnapshotMeta, SnapshotPiece, Ticket, Voters};
use leasehold_store::volume::journal::{Journal, JournalEvent};
use leasehold_store::volume::{Opened, Options, Volume, VolumeError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// The folder of the volume. Not set: no writer is wanted.
const VOLUME: &str = "CRASH_WRITER_VOLUME";
const SEED: &str = "CRASH_WRITER_SEED";
const STEPS: &str = "CRASH_WRITER_STEPS";
/// Appends that are under way at a time.
const UNDER_WAY: usize = 4;
const LONG: Duration = Duration::from_secs(60);

/// A writer on this volume; `steps` without end: 0.
pub(crate) fn command(volume: &Path, seed: u64, steps: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "writer::writer", "--nocapture", "--test-threads=1"]);
    command.env(VOLUME, volume).env(SEED, seed.to_string()).env(STEPS, steps.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// Kills it when it is dropped.
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// As small as the journal allows, so that everything happens often.
pub(crate) fn open(volume: &Path) -> Result<(Opened, Receiver<JournalEvent>), VolumeError> {
    let (sender, events) = channel();
    let mut options = Options::new(move |event| {
        let _ = sender.send(event);
    });
    options.segment_bytes = 8192;
    options.snapshot_after_bytes = 12_000;
    Ok((Volume::open(volume, options)?, events))
}

#[test]
fn writer() {
    let Some(volume) = std::env::var_os(VOLUME).map(PathBuf::from) else { return };
    let number = |name: &str| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let (seed, steps) = (number(SEED), number(STEPS));
    let (opened, events) = match open(&volume) {
        Ok(opened) => opened,
        Err(error) => {
            eprintln!("writer: {error}");
            std::process::exit(error.exit_code().into());
        }
    };
    let model = Model::of(&opened);
    // The harness has started a line of its own.
    say(&format!("\nO {} {}", opened.replica.0, model.digest()));
    // Numbers that no earlier run has used.
    let first = 1 + model
        .persons_at(model.last())
        .into_iter()
        .map(|(number, _)| number)
        .max()
        .unwrap_or(0)
        .max(u128::from(seed) * 1_000_000);
    let journal = opened.journal;
    let mut writer = Writer {
        random: Random::new(seed),
        journal,
        events,
        documents: opened.documents,
        durable: model.last(),
        under_way: Vec::new(),
        snapshot: model.base,
        snapshot_wanted: None,
        number: first,
        ticket: 0,
        model,
    };
    let mut step = 0;
    while steps == 0 || step < steps {
        step += 1;
        writer.step();
    }
    writer.wait_for_all();
    writer.journal.close();
}

struct Writer {
    random: Random,
    journal: Journal,
    events: Receiver<JournalEvent>,
    model: Model,
    /// The documents at the model's base.
    documents: Documents,
    /// The end of what was reported durable.
    durable: Position,
    /// Tickets, and where the log ends with each.
    under_way: Vec<(Ticket, Position)>,
    /// Nothing at or below it is cut: it is in a snapshot, or will be.
    snapshot: Position,
    /// A snapshot is being taken.
    snapshot_wanted: Option<Position>,
    number: u128,
    ticket: u64,
}

impl Writer {
    fn step(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.hear(event);
        }
        while self.under_way.len() >= UNDER_WAY {
            self.hear_one();
        }
        match self.random.below(60) {
            0 => self.receive(),
            1 if self.random.below(6) == 0 => self.wipe(),
            2 | 3 => self.take_snapshot(),
            _ => self.append(),
        }
        if self.journal.wants_snapshot() {
            self.take_snapshot();
        }
    }

    fn append(&mut self) {
        let ticket = self.next();
        let mut records = Vec::new();
        let fresh = self.model.state.cluster_id.is_none();
        if fresh || self.random.below(12) == 0 {
            let term = self.model.state.promise.term.0 + 1;
            self.model.promise(term);
            say(&format!("S {} {term}", ticket.0));
            records.push(Record::State(state(term)));
        }
        for _ in 0..1 + self.random.below(3) {
            let previous = self.previous();
            let term = previous.term.0.max(self.model.state.promise.term.0);
            let length = if self.random.below(40) == 0 { 9000 } else { self.random.below(400) } as usize;
            let entry = entry(previous, term, self.number, length);
            say(&format!("E {} {previous} {term} {} {length}", ticket.0, self.number));
            self.number += 1;
            self.model.push(entry.clone());
            records.push(Record::Entry(entry));
        }
        self.under_way.push((ticket, self.model.last()));
        self.journal.append(ticket, 1, records).unwrap();
    }

    /// The end, or an earlier entry that is cut after.
    fn previous(&mut self) -> Position {
        let last = self.model.last();
        let floor = self.snapshot.seq.0.max(self.model.base.seq.0);
        if self.random.below(10) > 0 || last.seq.0 <= floor {
            return last;
        }
        let back = self.random.below(6).min(last.seq.0 - floor);
        let at = (last.seq.0 - back - self.model.base.seq.0) as usize;
        if at == 0 { self.model.base } else { self.model.entries[at - 1].position }
    }

    fn take_snapshot(&mut self) {
        // In the log's sense, what is cut is no longer durable.
        let is_there = self.model.entries.iter().any(|entry| entry.position == self.durable);
        if self.snapshot_wanted.is_some() || !is_there || self.durable.seq <= self.snapshot.seq {
            return;
        }
        let position = self.durable;
        let meta = SnapshotMeta { cluster_id: CLUSTER, position, voters: Voters::none() };
        let mut documents = self.documents.clone();
        for entry in self.model.entries.iter().take_while(|entry| entry.position.seq <= position.seq) {
            let leasehold_replication::Payload::Command(command) = &entry.payload else { unreachable!() };
            documents.apply(entry.position, command, &mut Vec::new()).unwrap();
        }
        if self.journal.take_snapshot(meta, documents) {
            self.snapshot = position;
            self.snapshot_wanted = Some(position);
        }
    }

    /// As a follower far behind: pieces, then the whole log is another.
    fn receive(&mut self) {
        if self.model.state.cluster_id.is_none() || self.snapshot_wanted.is_some() {
            return;
        }
        self.wait_for_all();
        let last = self.model.last();
        let position = Position::new(last.term.0, last.seq.0 + 1 + self.random.below(5));
        let count = self.random.below(20) as u128;
        let first = self.number;
        self.number += count;
        let text = snapshot_json(position, first..first + count);
        let mut part = self.journal.part_file().unwrap();
        let (length_bytes, crc32) = (text.len() as u64, crc32fast::hash(text.as_bytes()));
        for (at, piece) in text.as_bytes().chunks(1000).enumerate() {
            let offset = at as u64 * 1000;
            let bytes = Bytes::copy_from_slice(piece);
            part.push(&SnapshotPiece { position, length_bytes, crc32, offset, bytes }).unwrap();
        }
        let whole = part.finish().unwrap();
        let ticket = self.next();
        say(&format!("I {} {position} {count} {first}", ticket.0));
        self.model.receive(position, first..first + count);
        self.documents = whole.documents.clone();
        self.snapshot = position;
        self.under_way.push((ticket, position));
        self.journal.install(ticket, whole, self.model.state, 1).unwrap();
    }

    fn wipe(&mut self) {
        let ticket = self.next();
        say(&format!("W {}", ticket.0));
        self.journal.wipe().unwrap();
        loop {
            match self.events.recv_timeout(LONG).unwrap() {
                JournalEvent::Wiped => break,
                event => self.hear(event),
            }
        }
        say(&format!("A {}", ticket.0));
        std::process::exit(0);
    }

    fn next(&mut self) -> Ticket {
        self.ticket += 1;
        Ticket(self.ticket)
    }

    fn wait_for_all(&mut self) {
        while !self.under_way.is_empty() || self.snapshot_wanted.is_some() {
            self.hear_one();
        }
    }

    fn hear_one(&mut self) {
        let event = self.events.recv_timeout(LONG).expect("the journal tells what became of it");
        self.hear(event);
    }

    fn hear(&mut self, event: JournalEvent) {
        match event {
            JournalEvent::Persisted { ticket } => {
                say(&format!("A {}", ticket.0));
                let done = self.under_way.iter().filter(|(waiting, _)| *waiting <= ticket).count();
                if let Some((_, end)) = self.under_way.drain(..done).next_back() {
                    self.durable = end;
                }
            }
            JournalEvent::SnapshotTaken { .. } | JournalEvent::SnapshotDropped { .. } => self.snapshot_wanted = None,
            JournalEvent::SnapshotWanted | JournalEvent::Wiped => {}
            JournalEvent::SumIsFalse(wrong) => panic!("{wrong}"),
            JournalEvent::Failed { error } => {
                eprintln!("writer: the journal failed: {error}");
                std::process::exit(1);
            }
        }
    }
}

/// One write: a reader of the pipe, or the shim, has it whole.
fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(format!("{line}\n").as_bytes()).unwrap();
    stdout.flush().unwrap();
}

fn snapshot_json(position: Position, persons: std::ops::Range<u128>) -> String {
    let count = persons.end - persons.start;
    let records: Vec<String> = persons.map(|number| record(number, RECEIVED_LENGTH)).collect();
    let runs = if count == 0 { String::new() } else { format!("[1,{count}]") };
    format!(
        r#"{{"format":1,"clusterId":"{}","position":{{"term":{},"sequence":{}}},"voters":{{"format":1,"floor":1,"voters":[]}},"collections":{{"persons":[{}]}},"order":{{"persons":{{"last":{count},"runs":[{runs}]}}}}}}"#,
        CLUSTER.0,
        position.term.0,
        position.seq.0,
        records.join(",")
    )
}
