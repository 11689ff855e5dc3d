//! The agent's decisions: what is written into the archive, when, and when nothing is.
//!
//! ```text
//!   Started ─▶ whose changes are these? (a watch's first bookmark) ─▶ LIST: where does the archive end?
//!        ┌────────────────────────────────────────────────────────────────┘  (until it answers: spooled.rs)
//!        ├─ nowhere ───────────▶ watch from now on, and a full at once
//!        └─ at n, with hash h ─▶ watch after n, at every pod until one has it
//!              ├─ bookmark n, h ──────▶ follow: entries ─▶ file ─▶ spool ─▶ put, in order
//!              ├─ another hash ───────▶ refuse: foreign history
//!              ├─ 409 ahead ──────────▶ refuse: the cluster lost what the archive has
//!              ├─ 409 other cluster ──▶ its own folder, begun anew
//!              └─ 410 from every pod ─▶ a gap: watch from now on, and a full at once
//! ```
//!
//! A watch and fulls are independent of each other: a full anywhere behind the begin of a chain of files leads into it. So
//! after a gap the watch is opened first, and however long the full takes, nothing is lost meanwhile.
//!
//! A pod that leads has enough to do: [`moving`] looks for another one, and follows it as soon as that works.
//!
//! Invariants: a file is put only while its cluster is accepted: the first bookmark had the hash that the archive has there. Files
//! are put in order. A full is put when every pod that was asked has its hash, and what leads to it is in the bucket; it counts
//! when it was read back.
//!
//! Not promised: that two clusters with the same id (one a clone of the other's volumes) never write into one folder. Until
//! either sees the other's files (at its start, and every quarter of `full_every`) both may continue the same end; the
//! hashes keep the histories apart for a restore.

mod filing;
mod followed;
mod fulls;
mod holdings;
mod keeping;
mod moving;
mod plants;
mod round;
mod spooled;
mod step;
mod surveying;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod watching;

pub use step::{
    Action, Bookmark, Config, Ended, File, Full, FullError, Input, Left, Notice, Order, Pod, Refused, Stored, Unread,
};

use crate::changes::Mark;
use crate::name::Name;
use crate::time::Time;
use filing::{Filing, Queue};
use fulls::Fulls;
use leasehold_replication::{ClusterId, Seq};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use surveying::Survey;
use watching::Watching;

/// After SIGTERM the bucket has this long to accept what is still in the spool, which a next run would upload otherwise.
const FAREWELL: Duration = Duration::from_secs(8);

/// See the module.
#[derive(Clone, Debug)]
pub struct Agent {
    config: Config,
    /// When it last stepped: what was due then was looked at.
    stepped: Duration,
    /// Whose changes are archived; none before a pod said it.
    cluster: Option<ClusterId>,
    watching: Watching,
    /// Rounds of all pods that led nowhere, one after the other; and how many there were, for whom to ask first.
    rounds: u32,
    turn: usize,
    /// Of those rounds the last ones, in which pods did not have the changes, and others did not answer.
    rounds_without: u32,
    /// The most pods that were there at once.
    pods_most: usize,
    /// When the stores were last found to be of another cluster.
    moved: Option<Duration>,
    /// When it last began to look for a pod that does not lead, or found one.
    looked: Option<Duration>,
    survey: Survey,
    survey_failures: u32,
    /// The archive was compared with the chain, or the chain begins with it.
    is_compared: bool,
    /// Where the archives of clusters are known to lead to, as the spool has it.
    ends: BTreeMap<ClusterId, Mark>,
    /// Where the chain of files is; none before the cluster was compared with what it continues.
    filing: Option<Filing>,
    queue: Queue,
    /// The bucket is being given the queue's file of that place, or gets none until then.
    put: Put,
    put_failures: u32,
    /// The last files that this run put.
    mine: VecDeque<Name>,
    spool_bytes: u64,
    fulls: Fulls,
    /// A full that was taken, and waits since then for what leads to it.
    ready: Option<(Mark, Duration)>,
    /// Only its own pod vouches for that one, or for the newest one.
    is_ready_alone: bool,
    is_verified_alone: bool,
    /// Since when only the pod that a full is from answers.
    alone: Option<Duration>,
    /// How many files of changes the archive has since the last full.
    files: usize,
    /// Where the present chain of files begins.
    chain: Seq,
    /// The end of the last file of it that was put.
    put_upto: Option<(Seq, Time)>,
    /// A file of another history in the archive: nothing is written as long as it is there.
    foreign: Option<Name>,
    refused: Option<Refused>,
    recoverable: Option<(Seq, Time)>,
    complete: Option<Duration>,
    gaps: u64,
    /// When it ends at last.
    stops: Option<Duration>,
    is_over: bool,
    actions: Vec<Action>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Put {
    Idle,
    Putting(File),
    Pausing { until: Duration },
}

/// What people and metrics see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Whose changes are archived.
    pub cluster: Option<ClusterId>,
    /// A pod is followed.
    pub is_following: bool,
    /// The leaders' time of the newest verified full.
    pub verified: Option<Time>,
    /// Up to where a restore leads.
    pub recoverable: Option<(Seq, Time)>,
    /// When the archive last held everything that the cluster had.
    pub complete: Option<Duration>,
    /// Why nothing is written.
    pub refused: Option<Refused>,
    /// Of the newest full that this run verified, no other pod said that it is right.
    pub is_verified_alone: bool,
    /// How often the archive had to begin anew.
    pub gaps: u64,
}

impl Agent {
    /// Before [`Input::Started`].
    pub fn new(config: Config) -> Agent {
        Agent {
            config,
            stepped: Duration::ZERO,
            cluster: None,
            watching: Watching::Closed,
            rounds: 0,
            turn: 0,
            rounds_without: 0,
            pods_most: 0,
            moved: None,
            looked: None,
            survey: Survey::None,
            survey_failures: 0,
            is_compared: false,
            ends: BTreeMap::new(),
            filing: None,
            queue: Queue::new(),
            put: Put::Idle,
            put_failures: 0,
            mine: VecDeque::new(),
            spool_bytes: 0,
            fulls: Fulls::default(),
            ready: None,
            is_ready_alone: false,
            is_verified_alone: false,
            alone: None,
            files: 0,
            chain: Seq(0),
            put_upto: None,
            foreign: None,
            refused: None,
            recoverable: None,
            complete: None,
            gaps: 0,
            stops: None,
            is_over: false,
            actions: Vec::new(),
        }
    }

    /// `now`: monotonic time. Carry the actions out in order.
    pub fn step(&mut self, now: Duration, input: Input) -> Vec<Action> {
        self.stepped = now;
        match input {
            Input::Started(left) => self.on_started(left),
            Input::Resolved(pods) => self.on_resolved(now, pods),
            Input::Bookmark(bookmark) => self.on_bookmark(now, &bookmark),
            Input::Entry { mark, bytes } => self.on_entry(now, mark, bytes),
            Input::Ended(ended) => self.on_ended(now, ended),
            Input::Beside(said) => self.on_beside(now, said),
            Input::Listed(cluster, names) => self.on_listed(now, cluster, names),
            Input::EndRead(cluster, name, read) => self.on_end_read(now, cluster, name, read),
            Input::Put(stored) => self.on_put(now, stored),
            Input::Spool(bytes) => self.spool_bytes = bytes,
            Input::SpoolFailed(file) => self.on_spool_failed(now, file),
            Input::Full(cluster, full) => self.on_full(now, cluster, full),
            Input::FullKept(cluster, kept) => self.on_full_kept(now, cluster, kept),
            Input::Wake => {}
            Input::Stop => self.on_stop(now),
        }
        if !self.is_over {
            self.watch_on(now);
            self.look_on(now);
            self.survey_on(now);
            self.keep_on(now);
        }
        std::mem::take(&mut self.actions)
    }

    /// When to step with [`Input::Wake`] if nothing else happens first.
    pub fn deadline(&self) -> Option<Duration> {
        let closes = self.filing.as_ref().and_then(|filing| filing.closes_at(&self.config));
        let put = match self.put {
            Put::Pausing { until } => Some(until),
            Put::Idle | Put::Putting(_) => None,
        };
        let all = [
            closes,
            put,
            self.watching.deadline(),
            self.look_deadline(),
            self.survey.deadline(),
            self.fulls.deadline(&self.config),
            self.full_deadline(),
            self.stops,
        ];
        all.into_iter().flatten().filter(|at| *at > self.stepped).min()
    }

    /// For people and metrics.
    pub fn status(&self) -> Status {
        Status {
            cluster: self.cluster,
            is_following: self.watching.is_following(),
            verified: self.fulls.verified().map(|full| full.time),
            recoverable: self.recoverable,
            complete: self.complete,
            refused: self.refused,
            is_verified_alone: self.is_verified_alone,
            gaps: self.gaps,
        }
    }

    fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    fn say(&mut self, notice: Notice) {
        self.act(Action::Say(notice));
    }

    fn on_started(&mut self, Left { files, ends }: Left) {
        self.ends = ends.into_iter().collect();
        self.queue = files.into_iter().map(|file| filing::Waiting { file, closed: None, is_accepted: false }).collect();
        self.identify();
    }

    /// A pod is of this cluster, and the agent was with another one, or none.
    fn belong_to(&mut self, now: Duration, cluster: ClusterId) {
        if self.cluster.is_some() {
            self.say(Notice::OtherCluster(cluster));
        }
        self.close_file(now);
        self.cluster = Some(cluster);
        self.filing = None;
        self.fulls = Fulls::default();
        (self.ready, self.is_verified_alone, self.alone) = (None, false, None);
        (self.put_upto, self.recoverable, self.foreign, self.refused) = (None, None, None, None);
        (self.files, self.chain) = (0, Seq(0));
        // These continue what the archive had when they were made, and can no longer be compared.
        self.queue.iter_mut().filter(|waiting| waiting.file.cluster != cluster).for_each(|waiting| {
            waiting.is_accepted = true;
        });
        self.begin_survey(now);
    }

    fn refuse(&mut self, now: Duration, why: Refused, archive: Option<(Seq, Time)>, store: Option<(Seq, Time)>) {
        if self.refused != Some(why) {
            self.say(Notice::Refused(why, archive, store));
        }
        self.refused = Some(why);
        self.close_file(now);
        self.identify_later(now);
    }

    fn on_stop(&mut self, now: Duration) {
        if self.stops.is_none() {
            self.stops = Some(now + FAREWELL);
            self.close_file(now);
            self.close_watch();
        }
    }
}
