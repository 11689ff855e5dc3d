//! What goes into the bucket: files of changes, in order, and fulls.

use super::filing::{Filing, Waiting};
use super::followed::Followed;
use super::plants::{Fault, is_planted};
use super::step::{Action, File, Full, FullError, Notice, Refused};
use super::{Agent, Put};
use leasehold_replication::ClusterId;
use std::time::Duration;

const PUT_PAUSE_MIN: Duration = Duration::from_secs(1);
const PUT_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Of how many files it is remembered that this run wrote them. Of the entries in older ones no hash is known any longer.
const MINE_MAX: usize = 4096;

impl Agent {
    /// What is recorded so far makes a file.
    pub(super) fn close_file(&mut self, now: Duration) {
        if let Some(filing) = self.filing.as_mut().filter(|filing| filing.is_open()) {
            let file = filing.close(&self.config);
            self.closed(now, file);
        }
    }

    fn closed(&mut self, now: Duration, file: File) {
        self.act(Action::Close(file.clone()));
        let is_accepted = self.is_compared || is_planted(Fault::PutsUnseen);
        self.queue.push_back(Waiting { file, closed: Some(now), is_accepted });
    }

    /// What time, the spool and the bucket ask.
    pub(super) fn keep_on(&mut self, now: Duration) {
        if let Some(filing) = self.filing.as_mut().filter(|filing| filing.is_due(now, &self.config)) {
            let (is_open, begin) = (filing.is_open(), filing.begin());
            let file = filing.close(&self.config);
            if !is_open {
                self.act(Action::Open { cluster: file.cluster, begin });
            }
            self.closed(now, file);
        }
        self.put_next(now);
        self.take_full(now);
        if let Some(stops) = self.stops {
            let is_done = self.put == Put::Idle && self.next_to_put().is_none();
            if is_done || stops <= now {
                self.is_over = true;
                self.act(Action::Exit);
            }
        }
    }

    /// Does the agent refuse to write about its cluster?
    fn is_refused(&self) -> bool {
        match self.refused {
            Some(Refused::ForeignHistory | Refused::Ahead) => true,
            Some(Refused::Format) | None => false,
        }
    }

    fn next_to_put(&self) -> Option<&File> {
        let of_ours = |waiting: &Waiting| Some(waiting.file.cluster) == self.cluster;
        let may = |waiting: &&Waiting| waiting.is_accepted && !(of_ours(waiting) && self.is_refused());
        self.queue.iter().find(may).map(|waiting| &waiting.file)
    }

    fn put_next(&mut self, now: Duration) {
        match &self.put {
            Put::Putting(_) => return,
            Put::Pausing { until } if now < *until => return,
            Put::Idle | Put::Pausing { .. } => {}
        }
        if let Some(file) = self.next_to_put().cloned() {
            self.put = Put::Putting(file.clone());
            self.act(Action::Put(file));
        } else {
            self.put = Put::Idle;
        }
    }

    pub(super) fn on_put(&mut self, now: Duration, is_done: bool) {
        let Put::Putting(file) = std::mem::replace(&mut self.put, Put::Idle) else { return };
        if !is_done && !is_planted(Fault::ForgetsWhatFailed) {
            let pause = PUT_PAUSE_MIN.saturating_mul(2_u32.saturating_pow(self.put_failures.min(8))).min(PUT_PAUSE_MAX);
            self.put_failures += 1;
            self.put = Put::Pausing { until: now + pause };
            return;
        }
        self.put_failures = 0;
        let place = self.queue.iter().position(|waiting| waiting.file == file);
        let closed = place.and_then(|place| self.queue.remove(place)).and_then(|waiting| waiting.closed);
        if self.cluster == Some(file.cluster) && self.chain <= file.begin.seq {
            self.note(file.cluster, file.end);
        }
        self.act(Action::Forget(file.clone()));
        if self.cluster != Some(file.cluster) {
            return;
        }
        self.files += 1;
        self.mine.push_back(file.name());
        if self.mine.len() > MINE_MAX {
            self.mine.pop_front();
        }
        let (begin, end) = (file.begin.seq, (file.end.seq, file.end.time));
        if self.recoverable.is_some_and(|(seq, _)| begin <= seq && seq < end.0) {
            self.recoverable = Some(end);
        }
        if begin >= self.chain {
            self.put_upto = Some(end);
            if self.fulls.leads_on() {
                self.complete = self.complete.max(closed);
            }
        }
    }

    fn take_full(&mut self, now: Duration) {
        let (Some(cluster), Some(at)) = (self.cluster, self.filing.as_ref().map(Filing::at)) else { return };
        let Some(order) = self.watching.followed().map(Followed::order) else { return };
        let is_on = self.is_compared && self.stops.is_none() && !self.is_refused();
        if is_on && self.fulls.is_due(now, &self.config, &at, self.files) {
            self.act(Action::TakeFull { cluster, from: self.fulls.needed_from(), order });
            self.fulls.taking();
        }
    }

    pub(super) fn on_full(&mut self, now: Duration, cluster: ClusterId, full: Result<Full, FullError>) {
        if self.cluster != Some(cluster) || !self.fulls.is_taking() {
            return;
        }
        let full = match full {
            Ok(full) => full,
            Err(FullError::Behind) => return self.fulls.is_behind(now),
            Err(why @ (FullError::Failed | FullError::Damaged | FullError::Format)) => {
                if why == FullError::Format && self.refused.is_none() {
                    self.refused = Some(Refused::Format);
                    self.say(Notice::Refused(Refused::Format, None, None));
                }
                return self.fulls.failed(now);
            }
        };
        let known = self.filing.as_ref().and_then(|filing| filing.hash_at(full.mark.seq));
        let is_false = full.said.iter().copied().chain(known).any(|hash| hash != full.mark.hash);
        if is_false && !is_planted(Fault::BelievesFulls) {
            self.say(Notice::FalseFull(full.mark.seq));
            return self.fulls.failed(now);
        }
        if self.refused == Some(Refused::Format) {
            self.refused = None;
            self.say(Notice::Accepted);
        }
        // What is needed may have changed while it was taken.
        if self.fulls.needed_from() > full.mark.seq {
            return self.fulls.is_behind(now);
        }
        // Nothing of another history may be written.
        if self.is_refused() {
            return self.fulls.failed(now);
        }
        self.fulls.keeping(full.mark);
        self.act(Action::KeepFull(cluster, full.mark));
    }

    pub(super) fn on_full_kept(&mut self, now: Duration, cluster: ClusterId, kept: Result<(), FullError>) {
        if self.cluster != Some(cluster) {
            return;
        }
        if kept.is_err() {
            return self.fulls.failed(now);
        }
        let Some(mark) = self.fulls.kept(now) else { return };
        self.files = 0;
        let files = self.put_upto.filter(|(seq, _)| self.chain <= mark.seq && mark.seq <= *seq);
        let reached = files.unwrap_or((mark.seq, mark.time));
        self.recoverable = self.recoverable.filter(|known| known.0 >= reached.0).or(Some(reached));
        if self.config.prune {
            self.act(Action::Prune(cluster));
        }
    }
}
