//! A volume in a temporary folder, for tests.

#![allow(clippy::unwrap_used)]

use crate::volume::disk::Disk;
use crate::volume::journal::{Journal, JournalEvent};
use crate::volume::{Opened, Options, Volume, VolumeError};
use bytes::Bytes;
use leasehold_documents::{Action, Command, Condition, Documents};
use leasehold_replication::{
    ClusterId, DurableState, Entry, Incarnation, Payload, Position, Promise, Record, ReplicaId, Term, Ticket, Voter,
    Voters,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use uuid::Uuid;

/// No wait in a test is longer.
pub(crate) const LONG: Duration = Duration::from_secs(30);
pub(crate) const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(0xc1));
const SEGMENT_BYTES: u64 = 8192;

/// An open volume, its events, and the log as the test knows it.
pub(crate) struct Rig {
    pub(crate) folder: PathBuf,
    pub(crate) opened: Opened,
    pub(crate) events: Receiver<JournalEvent>,
    pub(crate) last: Position,
    pub(crate) documents: Documents,
    ticket: Ticket,
    /// In force: of what is appended.
    pub(crate) format: u32,
}

/// A temporary folder. It is removed with the test, even while the thread of a released journal still creates a file there.
pub(crate) struct Folder(TempDir);

pub(crate) fn folder() -> Folder {
    Folder(tempfile::tempdir().unwrap())
}

impl Folder {
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let deadline = Instant::now() + LONG;
        while std::fs::remove_dir_all(self.path()).is_err() && self.path().exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

pub(crate) fn state(term: u64) -> DurableState {
    let incarnation = Incarnation(Uuid::from_u128(u128::from(term)));
    DurableState { promise: Promise { term: Term(term), incarnation }, cluster_id: Some(CLUSTER), bootstrapping: false }
}

pub(crate) fn voters(replica: ReplicaId) -> Voters {
    let one =
        |name: &str, replica| Voter { replica, name: name.to_owned(), peer_address: format!("{name}.local:8090") };
    Voters { voters: vec![one("db-0", ReplicaId(Uuid::nil())), one("db-1", replica)], ..Voters::none() }
}

/// A command of that length that every build knows as far as it goes, and then anything.
pub(crate) fn any_command(fill: u8, length: usize) -> Bytes {
    let mut command = vec![fill; length];
    command.iter_mut().zip([1, 1, 0]).for_each(|(to, from)| *to = from);
    Bytes::from(command)
}

/// A command that adds a person.
pub(crate) fn person(number: u128) -> Bytes {
    let id = Uuid::from_u128(number);
    let record = format!(r#"{{"id":"{id}","firstName":"Person","lastName":"{number}"}}"#);
    let action = Action::Create { record: &record };
    Command::one("persons", id, action, Condition::None).encode(1)
}

pub(crate) fn open(folder: &Path) -> Result<Rig, VolumeError> {
    Rig::open_with(|options| Volume::open(folder, options), folder)
}

/// As a build that reads that much.
pub(crate) fn open_as(folder: &Path, format_build: u32) -> Result<Rig, VolumeError> {
    Rig::open_with(|options| Volume::open(folder, Options { format_build, ..options }), folder)
}

/// With shorter segments, or longer ones.
pub(crate) fn open_with_segments_of(folder: &Path, segment_bytes: u64) -> Result<Rig, VolumeError> {
    Rig::open_with(|options| Volume::open(folder, Options { segment_bytes, ..options }), folder)
}

pub(crate) fn damage(folder: &Path) -> (PathBuf, u64, String) {
    match open(folder).map(|_| ()) {
        Err(error @ VolumeError::Damage { .. }) => {
            assert_eq!(error.exit_code(), 3);
            let VolumeError::Damage { file, offset, what } = error else { unreachable!() };
            (file, offset, what)
        }
        other => panic!("no damage, but {other:?}"),
    }
}

impl Rig {
    pub(crate) fn open_on(disk: Arc<dyn Disk>) -> Result<Rig, VolumeError> {
        Rig::open_with(|options| Volume::open_on(disk, options), Path::new("/none"))
    }

    /// As a build that reads that much.
    pub(crate) fn open_on_as(disk: Arc<dyn Disk>, format_build: u32) -> Result<Rig, VolumeError> {
        let open = |options| Volume::open_on(disk, Options { format_build, ..options });
        Rig::open_with(open, Path::new("/none"))
    }

    fn open_with(open: impl FnOnce(Options) -> Result<Opened, VolumeError>, folder: &Path) -> Result<Rig, VolumeError> {
        let (sender, events) = channel();
        let mut options = Options::new(move |event| {
            let _ = sender.send(event);
        });
        options.segment_bytes = SEGMENT_BYTES;
        options.snapshot_after_bytes = 20_000;
        let opened = open(options)?;
        let format = opened.recovered.format;
        let base = opened.recovered.snapshot.as_ref().map_or(Position::ZERO, |meta| meta.position);
        let last = opened.recovered.entries.last().map_or(base, |entry| entry.position);
        let mut documents = opened.documents.clone();
        for entry in &opened.recovered.entries {
            apply(&mut documents, entry);
        }
        Ok(Rig { folder: folder.to_owned(), opened, events, last, documents, ticket: Ticket(0), format })
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.opened.journal
    }

    pub(crate) fn next_ticket(&mut self) -> Ticket {
        self.ticket.0 += 1;
        self.ticket
    }

    pub(crate) fn begin(&mut self, records: Vec<Record>) -> Ticket {
        let ticket = self.next_ticket();
        self.journal().append(ticket, self.format, records).unwrap();
        ticket
    }

    /// Appends, and waits until it is durable.
    pub(crate) fn append(&mut self, records: Vec<Record>) {
        let ticket = self.begin(records);
        self.wait_for(|event| matches!(event, JournalEvent::Persisted { ticket: told } if *told >= ticket));
    }

    pub(crate) fn entry(&mut self, payload: Payload) -> Record {
        let entry = Entry::new(self.last, Term(1), payload);
        self.last = entry.position;
        apply(&mut self.documents, &entry);
        Record::Entry(entry)
    }

    /// A cluster with these persons, durable.
    pub(crate) fn fill(&mut self, persons: std::ops::Range<u128>) {
        if self.last == Position::ZERO {
            let voters = self.entry(Payload::Voters(voters(self.opened.replica)));
            self.append(vec![Record::State(state(1)), voters]);
        }
        for number in persons {
            let record = self.entry(Payload::Command(person(number)));
            self.append(vec![record]);
        }
    }

    pub(crate) fn wait_for(&self, wanted: impl Fn(&JournalEvent) -> bool) -> JournalEvent {
        loop {
            let event = self.events.recv_timeout(LONG).expect("the journal tells what became of it");
            if wanted(&event) {
                return event;
            }
        }
    }

    /// Ends this one and opens the volume again.
    pub(crate) fn reopen(self) -> Rig {
        self.opened.journal.close();
        open(&self.folder).unwrap()
    }

    pub(crate) fn close(self) -> PathBuf {
        self.opened.journal.close();
        self.folder
    }

    /// The persons, in order, by their last name.
    pub(crate) fn persons(&self) -> Vec<String> {
        let persons = self.documents.collection("persons");
        let records = persons.into_iter().flat_map(|persons| persons.after(0));
        let value = |record: &str| serde_json::from_str::<serde_json::Value>(record).unwrap();
        records.map(|(_, record)| value(record.as_str())["lastName"].as_str().unwrap().to_owned()).collect()
    }
}

fn apply(documents: &mut Documents, entry: &Entry) {
    match &entry.payload {
        Payload::Command(command) => {
            documents.apply(entry.position, command, &mut Vec::new()).unwrap();
        }
        Payload::Empty => documents.skip(entry.position),
        Payload::Voters(voters) => documents.voters(entry.position, voters.format, &mut Vec::new()),
    }
}

/// The segments that are there, oldest first.
pub(crate) fn segments(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder.join("journal")).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|end| end == "segment")).collect();
    files.sort();
    files
}
