//! The changes on their way from the watch into the bucket: one open file, and closed ones that wait in the spool.
//!
//! ```text
//!   begin ──────────── at          queue:  [begin, end] [begin, end] …  ──put, in order──▶ bucket
//!     └─ the open file ─┘
//! ```
//!
//! Invariant: a file begins with the mark that the one before it ended with, unless the chain began anew between them.

use super::plants::{Fault, is_planted};
use super::step::{Config, File};
use crate::changes::Mark;
use leasehold_replication::{ClusterId, Seq, Sum};
use std::collections::VecDeque;
use std::time::Duration;

/// Entries that changed nothing make no file, until there are so many: a store that remembers as many only would otherwise
/// have forgotten the end of the archive.
const IDLE_ENTRIES_MAX: u64 = 20_000;
/// Of how many entries the hash is remembered.
const RECENT_MAX: usize = 4096;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Filing {
    cluster: ClusterId,
    /// Where the open file begins, or the next one will.
    begin: Mark,
    /// Up to here everything is in a file, or changed nothing.
    at: Mark,
    open: Option<Open>,
    /// The last marks of which the hash is known.
    recent: VecDeque<(Seq, Sum)>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    /// When its first change arrived.
    since: Duration,
    bytes: u64,
}

/// A closed file, and what the agent knows of it.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) file: File,
    /// When it was closed: the cluster had no more than this then. None: by an earlier run.
    pub(super) closed: Option<Duration>,
    /// The archive was compared with the cluster since it was made.
    pub(super) is_accepted: bool,
}

/// The files that wait for the bucket.
pub(super) type Queue = VecDeque<Waiting>;

impl Filing {
    /// The next file begins there.
    pub(super) fn new(cluster: ClusterId, begin: Mark) -> Filing {
        Filing { cluster, begin, at: begin, open: None, recent: VecDeque::from([(begin.seq, begin.hash)]) }
    }

    /// Everything up to here is in a file, or changed nothing.
    pub(super) fn at(&self) -> Mark {
        self.at
    }

    pub(super) fn begin(&self) -> Mark {
        self.begin
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// When the open file is to be closed.
    pub(super) fn closes_at(&self, config: &Config) -> Option<Duration> {
        self.open.map(|open| open.since + config.changes_every)
    }

    /// Is there enough in it, or did enough pass without it?
    pub(super) fn is_due(&self, now: Duration, config: &Config) -> bool {
        self.open.is_some_and(|open| open.bytes >= config.file_bytes_max)
            || self.closes_at(config).is_some_and(|closes| closes <= now)
            || self.at.seq.0.saturating_sub(self.begin.seq.0) >= IDLE_ENTRIES_MAX
    }

    /// An entry that changed something goes into the file.
    pub(super) fn append(&mut self, now: Duration, mark: Mark, bytes: u64) {
        let open = self.open.get_or_insert(Open { since: now, bytes: 0 });
        open.bytes += bytes;
        self.pass(mark);
    }

    /// All up to there is known.
    pub(super) fn pass(&mut self, mark: Mark) {
        self.at = mark;
        self.recent.push_back((mark.seq, mark.hash));
        if self.recent.len() > RECENT_MAX {
            self.recent.pop_front();
        }
    }

    /// The file as it stands is complete; the next one begins behind it.
    pub(super) fn close(&mut self, config: &Config) -> File {
        self.open = None;
        let file = File { cluster: self.cluster, begin: self.begin, end: self.at, encrypted: config.encrypted };
        if !is_planted(Fault::BeginsFilesAnywhere) {
            self.begin = self.at;
        }
        file
    }

    /// What is behind that is in no file, and must be read again.
    pub(super) fn rewind(&mut self, to: Mark) {
        (self.open, self.begin, self.at) = (None, to, to);
        self.recent.retain(|(seq, _)| *seq < to.seq);
        self.recent.push_back((to.seq, to.hash));
    }

    /// The hash of the data after that entry, if it is known.
    pub(super) fn hash_at(&self, seq: Seq) -> Option<Sum> {
        if seq > self.at.seq {
            return None;
        }
        // What passed without a change has the hash of the entry before.
        let known = self.recent.partition_point(|(known, _)| *known <= seq);
        self.recent.get(known.checked_sub(1)?).map(|(_, hash)| *hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;

    const CONFIG: Config = Config {
        full_every: Duration::from_secs(100),
        changes_every: Duration::from_secs(10),
        file_bytes_max: 1000,
        spool_bytes_max: 10_000,
        encrypted: false,
        prune: true,
    };

    fn mark(seq: u64) -> Mark {
        Mark { seq: Seq(seq), time: Time::from_ms(seq), hash: Sum(seq.into()) }
    }

    #[test]
    fn a_file_is_closed_by_age_of_its_first_change_by_size_and_for_many_idle_entries() {
        let now = Duration::from_secs(50);
        let mut filing = Filing::new(ClusterId(uuid::Uuid::nil()), mark(5));
        filing.pass(mark(7));
        assert!(!filing.is_due(now * 100, &CONFIG), "nothing changed");
        filing.append(now, mark(8), 10);
        filing.append(now + Duration::from_secs(9), mark(9), 10);
        assert!(!filing.is_due(now + Duration::from_secs(9), &CONFIG));
        assert!(filing.is_due(now + Duration::from_secs(10), &CONFIG));
        let file = filing.close(&CONFIG);
        assert_eq!((file.begin, file.end, filing.begin()), (mark(5), mark(9), mark(9)));
        filing.append(now, mark(10), 1000);
        assert!(filing.is_due(now, &CONFIG));
        filing.rewind(mark(9));
        assert_eq!((filing.at(), filing.is_open()), (mark(9), false));
        filing.pass(mark(9 + IDLE_ENTRIES_MAX));
        assert!(filing.is_due(now, &CONFIG));
    }

    #[test]
    fn the_hash_of_an_entry_without_a_change_is_that_of_the_one_before() {
        let mut filing = Filing::new(ClusterId(uuid::Uuid::nil()), mark(5));
        filing.append(Duration::ZERO, mark(8), 10);
        let hashes = [4, 5, 7, 8, 9].map(|seq| filing.hash_at(Seq(seq)).map(|hash| hash.0));
        assert_eq!(hashes, [None, Some(5), Some(5), Some(8), None]);
    }
}
