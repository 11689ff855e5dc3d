//! The volume of a replica in the small world: what is durable, and what was started.

use leasehold_replication::{DurableState, Entry, Position, Record, Recovered, SnapshotMeta, Ticket};
use std::collections::VecDeque;

/// The content of one ticket.
#[derive(Clone, Debug, Hash)]
pub(crate) enum Item {
    Record(Record),
    Install(SnapshotMeta, DurableState),
}

/// A log with the state beside it, as a process would find it.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Disk {
    pub(crate) state: DurableState,
    pub(crate) snapshot: Option<SnapshotMeta>,
    entries: Vec<Entry>,
}

impl Disk {
    fn base(&self) -> Position {
        self.snapshot.as_ref().map_or(Position::ZERO, |meta| meta.position)
    }

    /// The last entry, or the snapshot's last one.
    pub(crate) fn last(&self) -> Position {
        self.entries.last().map_or(self.base(), |entry| entry.position)
    }

    /// Is this entry there, or inside the snapshot?
    pub(crate) fn has(&self, position: Position) -> bool {
        let base = self.base();
        position.seq <= base.seq
            || self
                .entries
                .get((position.seq.0 - base.seq.0 - 1) as usize)
                .is_some_and(|entry| entry.position == position)
    }

    fn put(&mut self, item: &Item) {
        match item {
            Item::Record(Record::State(state)) => self.state = *state,
            Item::Record(Record::Entry(entry)) => {
                let keep = entry.previous.seq.0.checked_sub(self.base().seq.0);
                let keep = keep.expect("an entry is written behind the snapshot") as usize;
                assert!(keep <= self.entries.len(), "an entry {} follows nothing in the log", entry.position);
                self.entries.truncate(keep);
                assert_eq!(self.last(), entry.previous, "an entry {} follows another one", entry.position);
                self.entries.push(entry.clone());
            }
            Item::Record(Record::Snapshot(_)) => {}
            Item::Install(meta, state) => {
                self.state = *state;
                self.entries.clear();
                self.snapshot = Some(meta.clone());
            }
        }
    }

    fn trim(&mut self, meta: SnapshotMeta) {
        let drop = (meta.position.seq.0 - self.base().seq.0) as usize;
        self.entries.drain(..drop.min(self.entries.len()));
        self.snapshot = Some(meta);
    }
}

/// See the module.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Journal {
    /// With everything that was started: what the running process has.
    pub(crate) begun: Disk,
    durable: Disk,
    waiting: VecDeque<(Ticket, Vec<Item>)>,
}

impl Journal {
    /// The term of each entry, in parentheses from the first entry that is not durable.
    pub(crate) fn terms(&self) -> String {
        let is_durable = |entry: &&Entry| self.durable.has(entry.position);
        let durable = self.begun.entries.iter().take_while(is_durable).count();
        let terms = |entries: &[Entry]| {
            entries.iter().map(|entry| entry.position.term.to_string()).collect::<Vec<_>>().join(" ")
        };
        let (sure, begun) = self.begun.entries.split_at(durable);
        match (sure, begun) {
            (_, []) => terms(sure),
            ([], _) => format!("({})", terms(begun)),
            _ => format!("{} ({})", terms(sure), terms(begun)),
        }
    }

    /// A volume of a running cluster.
    pub(crate) fn new(state: DurableState, entries: Vec<Entry>) -> Journal {
        let disk = Disk { state, snapshot: None, entries };
        Journal { begun: disk.clone(), durable: disk, waiting: VecDeque::new() }
    }

    /// Starts to write.
    pub(crate) fn begin(&mut self, ticket: Ticket, items: Vec<Item>) {
        items.iter().for_each(|item| self.begun.put(item));
        self.waiting.push_back((ticket, items));
    }

    /// Does anything wait for its fsync?
    pub(crate) fn is_busy(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// How many records wait.
    pub(crate) fn waiting_records(&self) -> usize {
        self.waiting.iter().map(|(_, items)| items.len()).sum()
    }

    /// An fsync ends that covers everything that was started.
    pub(crate) fn sync(&mut self) -> Option<Ticket> {
        let mut last = None;
        for (ticket, items) in std::mem::take(&mut self.waiting) {
            items.iter().for_each(|item| self.durable.put(item));
            last = Some(ticket);
        }
        last
    }

    /// A snapshot of the replica's own. (It is taken of durable data, so both logs have it.)
    pub(crate) fn take_snapshot(&mut self, meta: SnapshotMeta) {
        if self.durable.has(meta.position) && self.durable.base().seq < meta.position.seq {
            self.durable.trim(meta.clone());
            self.begun.trim(meta);
        }
    }

    /// The newest snapshot that is in place.
    pub(crate) fn snapshot(&self) -> Option<&SnapshotMeta> {
        self.durable.snapshot.as_ref()
    }

    /// What is durable now, as a volume of its own.
    pub(crate) fn copy(&self) -> Journal {
        Journal { begun: self.durable.clone(), durable: self.durable.clone(), waiting: VecDeque::new() }
    }

    /// The process dies, and a new one reads what is left: what was durable, and the first `keep` records of the rest.
    pub(crate) fn crash(&mut self, keep: usize) -> Recovered {
        let open: Vec<Item> = std::mem::take(&mut self.waiting).into_iter().flat_map(|(_, items)| items).collect();
        open.iter().take(keep).for_each(|item| self.durable.put(item));
        self.begun = self.durable.clone();
        Recovered {
            state: self.durable.state,
            snapshot: self.durable.snapshot.clone(),
            entries: self.durable.entries.clone(),
            committed: Position::ZERO,
            went_back: None,
            diverged: None,
            format: leasehold_replication::FORMAT_MIN,
        }
    }
}
