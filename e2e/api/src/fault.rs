//! What a test does to the clients of the embedded API, and what it learns about them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::Kind;

/// Whom a fault is meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Every client.
    All,
    /// The client with this bearer token; the sidecars' tokens are their pods' names.
    Client(String),
}

impl Who {
    /// One client.
    pub fn client(name: impl Into<String>) -> Who {
        Who::Client(name.into())
    }
}

/// How requests are treated. The default: well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Each request waits this long before it is looked at.
    pub delay: Duration,
    /// Each request is answered with this status, and nothing is done.
    pub status: Option<u16>,
    /// Each request waits until this is lifted, and is carried out then.
    pub hold: bool,
    /// Nothing is done and no answer arrives; open watches fall silent. Like a cut network.
    pub black_hole: bool,
    /// Requests are carried out, but the answer never arrives: the outcome is unknown.
    pub lost_answers: bool,
    /// The connection is closed without an answer, and nothing is done.
    pub hang_up: bool,
    /// Watches stay open, but deliver nothing until this is lifted.
    pub silent_watches: bool,
    /// Only these verbs are treated so; empty: all. (`silent_watches` is about watches in any case.)
    pub verbs: Vec<Verb>,
}

impl Faults {
    /// Each request is answered with this status.
    pub fn status(code: u16) -> Faults {
        Faults { status: Some(code), ..Faults::default() }
    }

    /// No request is carried out, or answered.
    pub fn black_hole() -> Faults {
        Faults { black_hole: true, ..Faults::default() }
    }

    /// Writes are carried out, but their answers never arrive.
    pub fn lost_answers_of_writes() -> Faults {
        let verbs = vec![Verb::Create, Verb::Update, Verb::Patch, Verb::Delete];
        Faults { lost_answers: true, verbs, ..Faults::default() }
    }

    /// Watches stay open, but deliver nothing.
    pub fn silent_watches() -> Faults {
        Faults { silent_watches: true, ..Faults::default() }
    }

    pub(super) fn meet(&self, verb: Verb) -> bool {
        self.verbs.is_empty() || self.verbs.contains(&verb)
    }
}

/// What a client wants, in the words of Kubernetes' RBAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
}

impl Verb {
    /// As in roles and in refusals.
    pub(super) fn word(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
        }
    }
}

/// One request that arrived.
#[derive(Clone, Debug)]
pub struct Logged {
    /// When, since the API was started.
    pub at: Duration,
    /// Whose.
    pub client: String,
    /// What for.
    pub verb: Verb,
    /// About which objects.
    pub kind: Kind,
    /// What was answered; 0: no answer.
    pub code: u16,
}

/// The faults in force, and the log. Both bounded.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    all: Faults,
    clients: BTreeMap<String, Faults>,
    /// What no client has the right to do.
    denied: BTreeSet<(Verb, Kind)>,
    /// How often watches were dropped: of all, of one client.
    dropped_all: u64,
    dropped: BTreeMap<String, u64>,
    /// How many requests wait for `hold` to be lifted.
    pub(super) held: usize,
    pub(super) log: Vec<Logged>,
}

/// When the log is full its older half goes.
const LOG_MAX: usize = 200_000;

impl Ledger {
    pub(super) fn set(&mut self, who: &Who, faults: Faults) {
        match who {
            Who::All => self.all = faults,
            Who::Client(name) => {
                self.clients.insert(name.clone(), faults);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.all = Faults::default();
        self.clients.clear();
    }

    pub(super) fn deny(&mut self, verb: Verb, kind: Kind) {
        self.denied.insert((verb, kind));
    }

    pub(super) fn grant_all(&mut self) {
        self.denied.clear();
    }

    pub(super) fn denies(&self, verb: Verb, kind: Kind) -> bool {
        self.denied.contains(&(verb, kind))
    }

    /// What meets this client: its own faults if it has any, else those of all.
    pub(super) fn of(&self, client: &str) -> &Faults {
        self.clients.get(client).filter(|faults| **faults != Faults::default()).unwrap_or(&self.all)
    }

    pub(super) fn drop_watches(&mut self, who: &Who) {
        match who {
            Who::All => self.dropped_all += 1,
            Who::Client(name) => *self.dropped.entry(name.clone()).or_default() += 1,
        }
    }

    /// Changes when this client's watches are dropped.
    pub(super) fn drops(&self, client: &str) -> u64 {
        self.dropped_all + self.dropped.get(client).copied().unwrap_or(0)
    }

    pub(super) fn record(&mut self, entry: Logged) {
        if self.log.len() >= LOG_MAX {
            self.log.drain(..LOG_MAX / 2);
        }
        self.log.push(entry);
    }
}
