//! What the spool leads to before the bucket has answered.
//!
//! ```text
//!   spool:    [begin, end] [begin, end] …  or, where no file is left, the end that the archive is known to have
//!                                     └─▶ watch after that, file into the spool, put nothing
//!   bucket:   ──────────────────▶│ its end, by LIST: on that chain, with the same hash?
//!                                    ├─ yes ─▶ the files are accepted: they are put, in order
//!                                    └─ no ──▶ the chain is given up, and begins at the archive's end
//! ```
//!
//! So an agent that starts while the bucket is away loses nothing, however little the stores remember. What is not decided
//! meanwhile: whether there is a gap, or another history. An agent without a spool waits for the bucket.

use super::Agent;
use super::followed::Expected;
use super::holdings::Reach;
use super::plants::{Fault, is_planted};
use super::step::{Action, Notice};
use super::watching::Aim;
use crate::changes::Mark;
use leasehold_replication::{ClusterId, Seq, Sum};
use std::time::Duration;

impl Agent {
    /// The archive of that cluster is known to lead there, so a next run may begin with it.
    pub(super) fn note(&mut self, cluster: ClusterId, end: Mark) {
        if self.ends.insert(cluster, end) != Some(end) {
            self.act(Action::Note(cluster, end));
        }
    }

    /// The archive is not known yet: what the spool continues is followed meanwhile.
    pub(super) fn follow_spool(&mut self) {
        let Some(cluster) = self.cluster.filter(|_| self.refused.is_none()) else { return };
        let files = self.queue.iter().map(|waiting| &waiting.file).filter(|file| file.cluster == cluster);
        let ends = files.map(|file| file.end).chain(self.ends.get(&cluster).copied());
        if let Some(end) = ends.max_by_key(|end| end.seq).filter(|_| !is_planted(Fault::WaitsForBucket)) {
            self.resolve(Aim::Resume(Expected::of(end)));
        }
    }

    /// The survey says where the archive ends; `end` with its hash, where it can be read.
    pub(super) fn compare(&mut self, now: Duration, reach: Reach, end: Option<Mark>) {
        self.rest(now);
        self.is_compared = true;
        let is_other = self.is_of_other_history(reach, end);
        if let Some((cluster, at)) = self.chain_from(reach.end).filter(|_| !is_other) {
            self.discard(Some(reach));
            self.accept_files(cluster);
            return self.say(Notice::Continues(cluster, at));
        }
        self.give_up_chain();
        let expected = Expected { seq: reach.end, time: reach.time, hash: end.map(|end| end.hash) };
        let led = self.discard(Some(reach).filter(|_| !is_other));
        self.resolve(Aim::Resume(led.map_or(expected, Expected::of)));
    }

    /// Nothing that was followed before the archive was known counts.
    pub(super) fn give_up_chain(&mut self) {
        self.close_watch();
        self.filing = None;
        self.rounds_without = 0;
    }

    pub(super) fn accept_files(&mut self, cluster: ClusterId) {
        self.queue.iter_mut().filter(|waiting| waiting.file.cluster == cluster).for_each(|waiting| {
            waiting.is_accepted = true;
        });
    }

    /// Does what was followed lead on from that entry, without a hole? Returns up to where.
    fn chain_from(&self, end: Seq) -> Option<(ClusterId, Seq)> {
        let (filing, cluster) = (self.filing.as_ref()?, self.cluster?);
        let files = self.queue.iter().map(|waiting| &waiting.file).filter(|file| file.cluster == cluster);
        let led =
            files.fold(end, |led, file| if file.begin.seq <= led && led < file.end.seq { file.end.seq } else { led });
        (filing.begin().seq <= led && led <= filing.at().seq).then_some((cluster, filing.at().seq))
    }

    /// Has the spool other data at the archive's end? Where that is encrypted, two histories differ in their times.
    fn is_of_other_history(&self, reach: Reach, end: Option<Mark>) -> bool {
        let files = self.queue.iter().map(|waiting| &waiting.file).filter(|file| Some(file.cluster) == self.cluster);
        let known = files.flat_map(|file| [file.begin, file.end]).find(|mark| mark.seq == reach.end);
        let Some(end) = end else { return known.is_some_and(|known| known.time != reach.time) };
        let known: Option<Sum> = known.map(|known| known.hash);
        known.or_else(|| self.filing.as_ref()?.hash_at(reach.end)).is_some_and(|hash| hash != end.hash)
    }
}
