//! The watch: which pod is asked for what, and what its answers mean.

use super::Agent;
use super::filing::Filing;
use super::followed::{Expected, Followed, STALE_MAX};
use super::plants::{Fault, is_planted};
use super::round::{Round, Verdict};
use super::step::{Action, Bookmark, Ended, File, Notice, Pod, Refused};
use crate::changes::Mark;
use crate::time::Time;
use leasehold_replication::{ClusterId, Seq};
use std::time::Duration;

/// After a round of all pods that led nowhere; doubled for each one that follows.
const ROUND_PAUSE_MIN: Duration = Duration::from_secs(1);
const ROUND_PAUSE_MAX: Duration = Duration::from_secs(15);
/// While nothing can be written, whether that is still so is looked at this often.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);
/// A pod that does not answer may have what all others no longer have: so many rounds are waited for it.
const ROUNDS_BEFORE_GAP: u32 = 5;

/// What a watch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// Which cluster is it?
    Identify,
    /// Continue after that.
    Resume(Expected),
    /// From the present on.
    Anew,
}

impl Aim {
    /// Where the archive is.
    fn edge(self) -> Option<(Seq, Time)> {
        match self {
            Aim::Resume(expected) => Some((expected.seq, expected.time)),
            Aim::Identify | Aim::Anew => None,
        }
    }
}

/// Where the watch is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Watching {
    /// Something else comes first: the archive is examined, the spool is full, or all ends.
    Closed,
    /// Where are the pods?
    Resolving(Aim),
    /// The pod is being asked, and those of the round are after it.
    Asking(Aim, Pod, Round),
    /// All pods were asked in vain.
    Pausing(Aim, Duration),
    /// Its changes are recorded.
    Following(Followed),
    /// The spool is full.
    Full,
}

impl Watching {
    pub(super) fn is_following(&self) -> bool {
        self.followed().is_some()
    }

    pub(super) fn followed(&self) -> Option<&Followed> {
        match self {
            Watching::Following(followed) => Some(followed),
            Watching::Closed
            | Watching::Resolving(_)
            | Watching::Asking(..)
            | Watching::Pausing(..)
            | Watching::Full => None,
        }
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        match self {
            Watching::Pausing(_, until) => Some(*until),
            Watching::Closed
            | Watching::Resolving(_)
            | Watching::Asking(..)
            | Watching::Following(_)
            | Watching::Full => None,
        }
    }
}

impl Agent {
    pub(super) fn identify(&mut self) {
        self.resolve(Aim::Identify);
    }

    pub(super) fn identify_later(&mut self, now: Duration) {
        self.close_watch();
        self.watching = Watching::Pausing(Aim::Identify, now + REFUSED_PAUSE);
    }

    pub(super) fn resolve(&mut self, aim: Aim) {
        self.watching = Watching::Resolving(aim);
        self.act(Action::Resolve);
    }

    pub(super) fn close_watch(&mut self) {
        if matches!(self.watching, Watching::Following(_) | Watching::Asking(..)) {
            self.act(Action::CloseWatch);
        }
        self.watching = Watching::Closed;
    }

    /// What time and the spool ask of the watch.
    pub(super) fn watch_on(&mut self, now: Duration) {
        match &self.watching {
            Watching::Pausing(aim, until) if *until <= now => {
                let aim = *aim;
                self.resolve(aim);
            }
            Watching::Following(_) if self.spool_bytes >= self.config.spool_bytes_max => {
                self.close_file(now);
                self.close_watch();
                self.watching = Watching::Full;
                self.say(Notice::SpoolFull);
            }
            Watching::Full if self.spool_bytes < self.config.spool_bytes_max / 2 || self.queue.is_empty() => {
                self.resume();
            }
            Watching::Closed
            | Watching::Resolving(_)
            | Watching::Asking(..)
            | Watching::Pausing(..)
            | Watching::Following(_)
            | Watching::Full => {}
        }
    }

    /// The chain goes on where it is.
    pub(super) fn resume(&mut self) {
        match &self.filing {
            Some(filing) => self.resolve(Aim::Resume(Expected::of(filing.at()))),
            None => self.identify(),
        }
    }

    pub(super) fn on_resolved(&mut self, now: Duration, pods: Vec<Pod>) {
        self.pods_most = self.pods_most.max(pods.len());
        let Watching::Resolving(aim) = self.watching else { return self.on_others(pods) };
        self.turn = self.turn.wrapping_add(1);
        self.ask(now, aim, Round::new(pods, self.turn));
    }

    fn ask(&mut self, now: Duration, aim: Aim, mut round: Round) {
        let Some(pod) = round.next() else { return self.all_were_asked(now, aim, &round) };
        let (cluster, after) = match aim {
            Aim::Identify => (None, None),
            Aim::Resume(expected) => (self.cluster, Some(expected.seq)),
            Aim::Anew => (self.cluster, None),
        };
        self.watching = Watching::Asking(aim, Pod::clone(&pod), round);
        self.act(Action::Watch { pod, cluster, after });
    }

    fn all_were_asked(&mut self, now: Duration, aim: Aim, round: &Round) {
        self.rounds += 1;
        if let (Aim::Resume(_), false) = (aim, self.is_compared) {
            return self.ask_again(now, aim); // the archive may lead further, or be the one that is right
        }
        let verdict = round.verdict(self.pods_most);
        self.rounds_without = if verdict == Verdict::PerhapsGone { self.rounds_without + 1 } else { 0 };
        match verdict {
            Verdict::Ahead => self.refuse(now, Refused::Ahead, aim.edge(), None),
            Verdict::Foreign => self.refuse(now, Refused::ForeignHistory, aim.edge(), round.shown()),
            Verdict::Gone => self.gap(),
            Verdict::PerhapsGone if self.rounds_without >= ROUNDS_BEFORE_GAP => self.gap(),
            Verdict::PerhapsGone | Verdict::Silent => self.ask_again(now, aim),
        }
    }

    fn ask_again(&mut self, now: Duration, aim: Aim) {
        let pause = ROUND_PAUSE_MIN.saturating_mul(2_u32.saturating_pow(self.rounds.min(8) - 1));
        self.watching = Watching::Pausing(aim, now + pause.min(ROUND_PAUSE_MAX));
    }

    /// The changes after the end of the chain are lost: it begins anew, and needs a full.
    fn gap(&mut self) {
        self.resolve(Aim::Anew);
    }

    pub(super) fn on_bookmark(&mut self, now: Duration, bookmark: &Bookmark) {
        let Bookmark { cluster, mark, leads, .. } = *bookmark;
        match &self.watching {
            Watching::Asking(Aim::Identify, ..) => {
                self.rounds = 0;
                self.close_watch();
                match self.cluster {
                    Some(known) if known == cluster => self.begin_survey(now),
                    Some(_) => self.move_to(now, cluster),
                    None => self.belong_to(now, cluster),
                }
            }
            Watching::Asking(..) | Watching::Following(_) if self.cluster != Some(cluster) => {
                self.close_watch();
                self.move_to(now, cluster);
            }
            Watching::Asking(Aim::Resume(expected), pod, _) if expected.is(&mark) => {
                let followed = Followed::new(Pod::clone(pod), leads);
                self.accept(cluster, mark, followed);
            }
            Watching::Asking(aim @ Aim::Resume(_), _, round) => {
                let (aim, mut round) = (*aim, round.clone());
                round.foreign(mark);
                self.ask(now, aim, round);
            }
            Watching::Asking(Aim::Anew, pod, _) => {
                let followed = Followed::new(Pod::clone(pod), leads);
                self.begin_anew(now, cluster, mark, followed);
            }
            Watching::Following(_) => self.on_progress(now, bookmark),
            Watching::Closed | Watching::Resolving(_) | Watching::Pausing(..) | Watching::Full => {}
        }
    }

    /// The stores are of another cluster now. Once in a while: addresses of two clusters would have it go back and forth.
    fn move_to(&mut self, now: Duration, cluster: ClusterId) {
        if self.moved.is_some_and(|moved| now < moved + REFUSED_PAUSE) {
            return self.identify_later(now);
        }
        self.moved = Some(now);
        self.belong_to(now, cluster);
    }

    /// The cluster has what the archive has: the chain goes on.
    fn accept(&mut self, cluster: ClusterId, mark: Mark, followed: Followed) {
        self.rounds = 0;
        if !is_planted(Fault::CountsOldRounds) {
            self.rounds_without = 0;
        }
        self.watching = Watching::Following(followed);
        if self.refused.is_some_and(|why| why != Refused::Format) {
            self.refused = None;
            self.say(Notice::Accepted);
        }
        if self.is_compared {
            self.accept_files(cluster);
        }
        if self.filing.is_none() {
            match self.is_compared {
                true => self.say(Notice::Continues(cluster, mark.seq)),
                false if self.survey_failures > 0 => self.say(Notice::Spools(mark.seq)),
                false => {}
            }
            self.filing = Some(Filing::new(cluster, mark));
            self.note(cluster, mark);
        }
    }

    /// The chain begins here, and only a full leads into it.
    fn begin_anew(&mut self, now: Duration, cluster: ClusterId, mark: Mark, followed: Followed) {
        self.close_file(now);
        let end = self.filing.as_ref().map(|filing| filing.at().seq).or(self.recoverable.map(|(seq, _)| seq));
        match end {
            Some(end) => {
                self.gaps += 1;
                self.say(Notice::Gap(end, mark.seq));
            }
            None => self.say(Notice::Begins(cluster)),
        }
        self.filing = None;
        (self.put_upto, self.chain) = (None, mark.seq);
        if !is_planted(Fault::KeepsFullAcrossGap) {
            self.fulls.need_from(mark.seq);
        }
        self.accept(cluster, mark, followed);
    }

    /// A pod that does not know what is new elsewhere is not followed: another one may.
    fn on_progress(&mut self, now: Duration, bookmark: &Bookmark) {
        let Bookmark { cluster, mark, stale, leads } = *bookmark;
        let is_fresh = stale.is_some_and(|stale| stale <= STALE_MAX);
        if !is_fresh && !is_planted(Fault::FollowsWhoIsCutOff) {
            self.close_watch();
            return self.resume();
        }
        let (Watching::Following(followed), Some(filing)) = (&mut self.watching, &mut self.filing) else { return };
        followed.says(leads);
        if mark.seq < filing.at().seq {
            return;
        }
        if mark.hash != filing.at().hash {
            // Something changed that no event told. What is filed up to the last event is right; what follows is not in it.
            let at = filing.at();
            self.end_look();
            if !self.is_compared {
                let aim = Aim::Resume(Expected::of(at));
                self.close_watch();
                self.watching = Watching::Pausing(aim, now + ROUND_PAUSE_MAX);
                return;
            }
            if let Watching::Following(followed) = self.watching.clone() {
                self.begin_anew(now, cluster, mark, followed);
            }
            return;
        }
        filing.pass(mark);
        if self.is_compared
            && !filing.is_open()
            && self.queue.iter().all(|waiting| waiting.file.cluster != cluster)
            && self.fulls.leads_on()
        {
            self.complete = Some(now);
        }
    }

    pub(super) fn on_entry(&mut self, now: Duration, mark: Mark, bytes: u64) {
        let (true, Some(cluster)) = (self.watching.is_following(), self.cluster) else { return };
        let Some(filing) = &mut self.filing else { return };
        if mark.seq <= filing.at().seq {
            // The pod before said it, unless this one has another history: then all pods are asked for what is recorded.
            if filing.hash_at(mark.seq).is_some_and(|hash| hash != mark.hash) {
                self.close_watch();
                self.resume();
            }
            return;
        }
        let (is_open, begin) = (filing.is_open(), filing.begin());
        filing.append(now, mark, bytes);
        if !is_open {
            self.act(Action::Open { cluster, begin });
        }
        self.act(Action::Append);
    }

    pub(super) fn on_ended(&mut self, now: Duration, ended: Ended) {
        match (&self.watching, ended) {
            (Watching::Asking(..) | Watching::Following(_), Ended::OtherCluster(cluster)) => {
                self.end_look();
                self.watching = Watching::Closed;
                self.move_to(now, cluster);
            }
            (Watching::Asking(aim, _, round), _) => {
                let (aim, mut round) = (*aim, round.clone());
                round.ended(ended);
                self.ask(now, aim, round);
            }
            // Whatever this one said: another pod may have the rest.
            (Watching::Following(_), _) => {
                self.end_look();
                self.resume();
            }
            (Watching::Closed | Watching::Resolving(_) | Watching::Pausing(..) | Watching::Full, _) => {}
        }
    }

    pub(super) fn on_spool_failed(&mut self, now: Duration, lost: Option<File>) {
        self.queue.retain(|waiting| Some(&waiting.file) != lost.as_ref());
        let Some(filing) = &mut self.filing else { return };
        // The entries of the file come again.
        let to = lost.filter(|file| file.end.seq == filing.begin().seq).map_or(filing.begin(), |file| file.begin);
        filing.rewind(to);
        // Also a watch that is only being opened would begin behind them.
        let is_resuming = matches!(
            self.watching,
            Watching::Following(_)
                | Watching::Resolving(Aim::Resume(_))
                | Watching::Asking(Aim::Resume(_), ..)
                | Watching::Pausing(Aim::Resume(_), _)
        );
        if is_resuming {
            self.close_watch();
            self.watching = Watching::Pausing(Aim::Resume(Expected::of(to)), now + ROUND_PAUSE_MAX);
        }
    }
}
