//! What goes into the agent's decisions, and what comes out of them.

use crate::changes::Mark;
use crate::name::Name;
use crate::time::Time;
use leasehold_replication::{ClusterId, Seq, Sum};
use std::sync::Arc;
use std::time::Duration;

/// What the operator chose.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// A full is due this long after the last one, by the leaders' time.
    pub full_every: Duration,
    /// A file of changes is closed this long after its first change.
    pub changes_every: Duration,
    /// A file of changes is closed when it has this many bytes, before compression.
    pub file_bytes_max: u64,
    /// The watch is not read while the spool holds this much.
    pub spool_bytes_max: u64,
    /// Objects are encrypted, so the agent cannot read them.
    pub encrypted: bool,
    /// What is no longer needed is deleted after each full.
    pub prune: bool,
}

/// A store, by its address.
pub type Pod = Arc<str>;

/// A closed file of changes, in the spool until it is in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Whose changes.
    pub cluster: ClusterId,
    /// The data before its first entry.
    pub begin: Mark,
    /// The data after its last entry.
    pub end: Mark,
    /// As the name says it.
    pub encrypted: bool,
}

impl File {
    /// Its name in the archive.
    pub fn name(&self) -> Name {
        Name::Changes {
            first: self.begin.seq.next(),
            last: self.end.seq,
            time: self.end.time,
            encrypted: self.encrypted,
        }
    }
}

/// What earlier runs left in the spool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Closed files, by their clusters, in the order of their sequences.
    pub files: Vec<File>,
    /// Where the archive of each cluster ended when that was last known: see [`Action::Note`].
    pub ends: Vec<(ClusterId, Mark)>,
}

/// Why a watch ended, or was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The connection failed or was silent, or the store said that it ends: another pod has the rest.
    Broken,
    /// The token is missing, wrong, or lacks the right.
    Denied,
    /// This pod no longer has all changes after that sequence.
    Gone,
    /// The cluster has not committed that much.
    Ahead,
    /// It is another cluster.
    OtherCluster(ClusterId),
}

/// Why what an object says is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// The bucket did not answer, or refused: try again.
    Failed,
    /// It is damaged, or gone.
    Damaged,
}

/// What became of a file that was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// The bucket has it, or had one with the same entries.
    Kept,
    /// The bucket failed: try again.
    Failed,
    /// The bucket has one of that name, with other entries.
    Foreign,
    /// The bucket has an object of that name that cannot be read.
    Damaged,
    /// The spool no longer has the file.
    Lost,
}

/// Why there is no verified full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullError {
    /// The store, the bucket or the spool failed: try again.
    Failed,
    /// What was read is not what the store said that it sent.
    Damaged,
    /// The snapshot's format is newer than this build.
    Format,
    /// The pod does not have the entry yet that it must reach.
    Behind,
}

/// How far a watch is, and what its pod knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bookmark {
    /// The cluster that it is of.
    pub cluster: ClusterId,
    /// How far it is.
    pub mark: Mark,
    /// The pod has everything that was acknowledged anywhere longer ago than this; none: it does not know.
    pub stale: Option<Duration>,
    /// The pod leads. One that does not say it counts as one that does not.
    pub leads: bool,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The first input, with what earlier runs left in the spool.
    Started(Left),
    /// Answers [`Action::Resolve`]: where the stores are. Empty: nobody knows.
    Resolved(Vec<Pod>),
    /// The watch said how far it is; always its first word.
    Bookmark(Bookmark),
    /// The watch brought a whole entry that changed something.
    Entry {
        /// After it.
        mark: Mark,
        /// Of its lines in the file.
        bytes: u64,
    },
    /// There is no watch (any longer).
    Ended(Ended),
    /// The first word of the watch beside, which says nothing more before [`Action::Move`]; or why there is none.
    Beside(Result<Bookmark, Ended>),
    /// Answers [`Action::List`]. None: the bucket failed.
    Listed(ClusterId, Option<Vec<Name>>),
    /// Answers [`Action::ReadEnd`]: the data after its last entry.
    EndRead(ClusterId, Name, Result<Mark, Unread>),
    /// Answers [`Action::Put`].
    Put(Stored),
    /// How many bytes the spool holds, after each file that was closed or deleted.
    Spool(u64),
    /// The spool cannot be written. The open file is gone, or the one that was to be closed.
    SpoolFailed(Option<File>),
    /// Answers [`Action::TakeFull`]: it is in the spool, and was loaded.
    Full(ClusterId, Result<Full, FullError>),
    /// Answers [`Action::KeepFull`]: is it in the bucket, read back and noted?
    FullKept(ClusterId, Result<(), FullError>),
    /// Time passed, at [`deadline`](super::Agent::deadline).
    Wake,
    /// The process shall end.
    Stop,
}

/// A full that is in the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Full {
    /// The data in it; the hash as computed from what was loaded.
    pub mark: Mark,
    /// What pods say that the hash is at that sequence.
    pub said: Vec<Sum>,
    /// Only the pod that it is from said so, and there should be others.
    pub is_alone: bool,
}

/// What shall be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Find out where the stores are.
    Resolve,
    /// Open a watch, in place of any other, also beside; from the present on, or after that sequence of that cluster.
    Watch {
        /// Where.
        pod: Pod,
        /// Only of this cluster.
        cluster: Option<ClusterId>,
        /// Where to resume.
        after: Option<Seq>,
    },
    /// Close the watch, and any beside. None of their inputs follow.
    CloseWatch,
    /// Open a second watch beside the first, in place of any other second one.
    WatchBeside {
        /// Where.
        pod: Pod,
        /// Only of this cluster.
        cluster: ClusterId,
        /// Where to begin.
        after: Seq,
    },
    /// Close the watch beside. None of its inputs follow.
    CloseBeside,
    /// The watch beside takes the place of the watch.
    Move,
    /// Read the names of all objects of that cluster.
    List(ClusterId),
    /// Read the end of that object: of a file of changes its last line, of a verified full what was noted.
    ReadEnd(ClusterId, Name),
    /// Open a file of changes.
    Open {
        /// Whose changes.
        cluster: ClusterId,
        /// The data before its first entry.
        begin: Mark,
    },
    /// Write the entry that was just the input into it.
    Append,
    /// Close it, durably.
    Close(File),
    /// Upload that file of the spool.
    Put(File),
    /// Remember in the spool, durably, that the archive of that cluster ends there: a next run follows from there on before
    /// the bucket has answered.
    Note(ClusterId, Mark),
    /// Delete that file of the spool.
    Forget(File),
    /// Take a full into the spool, load it, and ask pods for the hash. In place of any other that is being taken or kept.
    TakeFull {
        /// Of that cluster.
        cluster: ClusterId,
        /// It must reach this entry.
        from: Seq,
        /// Whom to ask.
        order: Order,
    },
    /// Upload the full that was taken, read it back, and note that it is verified.
    KeepFull(ClusterId, Mark),
    /// Delete what is no longer needed.
    Prune(ClusterId),
    /// Somebody should know this.
    Say(Notice),
    /// All is done: end the process.
    Exit,
}

/// In what order pods are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// First this one, which does not lead.
    First(Pod),
    /// This one after all others: it leads, and has enough to do.
    Last(Pod),
}

impl Order {
    /// The same pods in that order.
    pub fn sort(&self, pods: &mut [Pod]) {
        pods.sort_by_key(|pod| match self {
            Order::First(first) => pod != first,
            Order::Last(last) => pod == last,
        });
    }
}

/// Why the agent does not write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refused {
    /// The archive has another history of the same cluster.
    ForeignHistory,
    /// The cluster lacks what the archive has.
    Ahead,
    /// The snapshot's format is newer than this build: no fulls.
    Format,
}

/// What people should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The archive of this cluster has nothing that a restore could begin with.
    Begins(ClusterId),
    /// The agent continues after that mark.
    Continues(ClusterId, Seq),
    /// Nobody has the changes between these any longer: entries after the first and up to the second can be restored only
    /// by a full behind them.
    Gap(Seq, Seq),
    /// Objects that were in the archive are missing: nothing leads from the first sequence to the second.
    Hole(Seq, Seq),
    /// An object cannot be read.
    Damaged(Name),
    /// The bucket has not answered yet: what changes after that entry is in the spool.
    Spools(Seq),
    /// The stores are of another cluster now.
    OtherCluster(ClusterId),
    /// Nothing is written. What the archive has, and what a pod shows at that sequence, where that was compared.
    Refused(Refused, Option<(Seq, Time)>, Option<(Seq, Time)>),
    /// The reason to refuse is gone.
    Accepted,
    /// The spool is full, so the watch is closed.
    SpoolFull,
    /// What the store sent as a full is not what the stores say: it is not counted.
    FalseFull(Seq),
    /// No other pod has answered for long: the full at that entry counts by the word of the one that it is from.
    Alone(Seq),
    /// What an earlier run left in the spool is not needed.
    Discarded(Name),
    /// A file that waited in the spool is gone: a full must lead on behind it.
    Lost(Name),
}
