//! What goes into the bucket: files of changes, in order, and fulls.

use super::filing::{Filing, Waiting};
use super::followed::Followed;
use super::plants::{Fault, is_planted};
use super::step::{Action, File, Full, FullError, Notice, Refused, Stored};
use super::{Agent, Put};
use leasehold_replication::{ClusterId, Seq};
use std::time::Duration;

const PUT_PAUSE_MIN: Duration = Duration::from_secs(1);
const PUT_PAUSE_MAX: Duration = Duration::from_secs(30);
/// A full waits for what leads to it as long as this: it is worth more than the files before it.
const LEAD_MAX: Duration = Duration::from_secs(600);
/// Where nothing leads on, so long a full waits for a word of another pod than its own.
const ALONE_MAX: Duration = Duration::from_secs(300);
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

    /// All that passed makes a file, also if nothing changed.
    fn close_begun(&mut self, now: Duration) {
        let Some(filing) = &mut self.filing else { return };
        let (is_open, begin) = (filing.is_open(), filing.begin());
        let file = filing.close(&self.config);
        if !is_open {
            self.act(Action::Open { cluster: file.cluster, begin });
        }
        self.closed(now, file);
    }

    fn closed(&mut self, now: Duration, file: File) {
        self.act(Action::Close(file.clone()));
        let is_accepted = self.is_compared || is_planted(Fault::PutsUnseen);
        self.queue.push_back(Waiting { file, closed: Some(now), is_accepted });
    }

    /// What time, the spool and the bucket ask.
    pub(super) fn keep_on(&mut self, now: Duration) {
        if self.filing.as_ref().is_some_and(|filing| filing.is_due(now, &self.config)) {
            self.close_begun(now);
        }
        self.keep_full(now);
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

    pub(super) fn on_put(&mut self, now: Duration, stored: Stored) {
        let Put::Putting(file) = std::mem::replace(&mut self.put, Put::Idle) else { return };
        if stored == Stored::Lost && !self.queue.iter().any(|waiting| waiting.file == file) {
            return; // it could not be closed, and its entries come again
        }
        let is_later = match stored {
            Stored::Failed => !is_planted(Fault::ForgetsWhatFailed),
            Stored::Lost => is_planted(Fault::WaitsForWhatIsLost),
            Stored::Kept | Stored::Foreign | Stored::Damaged => false,
        };
        if is_later {
            let pause = PUT_PAUSE_MIN.saturating_mul(2_u32.saturating_pow(self.put_failures.min(8))).min(PUT_PAUSE_MAX);
            self.put_failures += 1;
            self.put = Put::Pausing { until: now + pause };
            return;
        }
        self.put_failures = 0;
        let is_ours = self.cluster == Some(file.cluster);
        if stored == Stored::Foreign && is_ours && !is_planted(Fault::TakesAnyFile) {
            // The file waits, until the one in the bucket is gone.
            self.foreign = Some(file.name());
            return self.refuse(now, Refused::ForeignHistory, self.recoverable, Some((file.end.seq, file.end.time)));
        }
        let place = self.queue.iter().position(|waiting| waiting.file == file);
        let closed = place.and_then(|place| self.queue.remove(place)).and_then(|waiting| waiting.closed);
        let is_there = match stored {
            Stored::Damaged => {
                self.say(Notice::Damaged(file.name()));
                false
            }
            Stored::Lost => {
                self.say(Notice::Lost(file.name()));
                false
            }
            Stored::Kept | Stored::Foreign | Stored::Failed => true,
        };
        if is_there && is_ours && self.chain <= file.begin.seq {
            self.note(file.cluster, file.end);
        }
        self.act(Action::Forget(file.clone()));
        if !is_ours {
            return;
        }
        if !is_there {
            if stored == Stored::Damaged {
                self.say(Notice::Hole(file.begin.seq, file.end.seq));
            }
            return self.is_holed(&file);
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

    /// Its name is taken by an object that nobody can read, or nobody has it any longer: a full must lead on behind it.
    fn is_holed(&mut self, file: &File) {
        self.gaps += 1;
        self.chain = self.chain.max(file.end.seq);
        let at = self.filing.as_ref().map_or(file.end.seq, |filing| filing.at().seq);
        self.fulls.need_from(at);
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
        if !self.is_vouched_for(now, &full) {
            return self.fulls.failed(now);
        }
        if full.is_alone {
            self.say(Notice::Alone(full.mark.seq));
        }
        self.is_ready_alone = full.is_alone;
        if self.refused == Some(Refused::Format) {
            self.refused = None;
            self.say(Notice::Accepted);
        }
        // What is needed may have changed while it was taken.
        if self.fulls.needed_from() > full.mark.seq {
            return self.fulls.is_behind(now);
        }
        self.ready = Some((full.mark, now));
    }

    /// A full that is taken is put behind all that leads to it: who lists the archive meanwhile would see a gap before it.
    fn keep_full(&mut self, now: Duration) {
        let (Some(cluster), Some((mark, since))) = (self.cluster, self.ready) else { return };
        // Nothing of another history may be written.
        if self.is_refused() {
            self.ready = None;
            return self.fulls.failed(now);
        }
        if self.fulls.needed_from() > mark.seq {
            self.ready = None;
            return self.fulls.is_behind(now);
        }
        // Where nothing leads to it there is a gap already.
        let is_free = !self.fulls.leads_on() || is_planted(Fault::KeepsFullsFirst);
        if is_free || self.is_led_to(now, since, mark.seq) {
            self.ready = None;
            self.fulls.keeping(mark);
            self.act(Action::KeepFull(cluster, mark));
        }
    }

    /// Is everything up to that entry in the bucket? What is recorded of it makes a file. If no pod could be followed up to
    /// there for long, no more is waited for.
    fn is_led_to(&mut self, now: Duration, since: Duration, seq: Seq) -> bool {
        let is_over = since + LEAD_MAX <= now;
        let Some(filing) = &self.filing else { return is_over };
        if filing.at().seq < seq {
            return is_over;
        }
        if filing.begin().seq < seq {
            self.close_begun(now);
        }
        let mut files = self.queue.iter().map(|waiting| &waiting.file);
        !files.any(|file| Some(file.cluster) == self.cluster && file.begin.seq < seq)
    }

    /// When a full no longer waits.
    pub(super) fn full_deadline(&self) -> Option<Duration> {
        self.ready.map(|(_, since)| since + LEAD_MAX)
    }

    /// Other pods should say the same of a full as the one that it is from. Where none answers, for how long?
    fn is_vouched_for(&mut self, now: Duration, full: &Full) -> bool {
        if !full.is_alone {
            self.alone = None;
            return true;
        }
        let since = *self.alone.get_or_insert(now);
        let patience = if self.fulls.leads_on() { self.config.full_every } else { ALONE_MAX };
        since + patience.min(self.config.full_every) <= now
    }

    pub(super) fn on_full_kept(&mut self, now: Duration, cluster: ClusterId, kept: Result<(), FullError>) {
        if self.cluster != Some(cluster) {
            return;
        }
        if kept.is_err() {
            return self.fulls.failed(now);
        }
        let Some(mark) = self.fulls.kept(now) else { return };
        self.is_verified_alone = self.is_ready_alone;
        self.files = 0;
        let files = self.put_upto.filter(|(seq, _)| self.chain <= mark.seq && mark.seq <= *seq);
        let reached = files.unwrap_or((mark.seq, mark.time));
        self.recoverable = self.recoverable.filter(|known| known.0 >= reached.0).or(Some(reached));
        if self.config.prune {
            self.act(Action::Prune(cluster));
        }
    }
}
