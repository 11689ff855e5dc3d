//! What is in the archive: at the start, where it ends; now and then, whether it is all still there and of one history.

use super::Agent;
use super::filing::Filing;
use super::holdings::{Holdings, Reach};
use super::plants::{Fault, is_planted};
use super::step::{Action, Notice, Refused, Unread};
use super::watching::{Aim, Watching};
use crate::changes::Mark;
use crate::name::Name;
use crate::time::Time;
use leasehold_replication::{ClusterId, Seq};
use std::time::Duration;

const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Clone, Debug)]
pub(super) enum Survey {
    None,
    /// The names are on their way.
    Listing(Before),
    /// An object's end is on its way.
    Reading {
        holdings: Holdings,
        name: Name,
    },
    /// The bucket failed.
    Pausing {
        until: Duration,
    },
    /// All is known.
    Resting {
        until: Duration,
    },
}

/// What was in the archive for sure when the LIST began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    upto: Option<(Seq, Time)>,
    full: Option<Seq>,
}

impl Survey {
    pub(super) fn deadline(&self) -> Option<Duration> {
        match self {
            Survey::Pausing { until } | Survey::Resting { until } => Some(*until),
            Survey::None | Survey::Listing(_) | Survey::Reading { .. } => None,
        }
    }
}

impl Agent {
    /// Where does the archive of this cluster end?
    pub(super) fn begin_survey(&mut self, now: Duration) {
        self.watching = Watching::Closed;
        self.filing = None;
        self.is_compared = false;
        self.list(now);
        self.follow_spool();
    }

    fn list(&mut self, now: Duration) {
        let Some(cluster) = self.cluster else { return self.rest(now) };
        let full = self.fulls.verified().map(|full| full.seq);
        self.survey = Survey::Listing(Before { upto: self.put_upto, full });
        self.act(Action::List(cluster));
    }

    pub(super) fn rest(&mut self, now: Duration) {
        self.survey = Survey::Resting { until: now + self.config.full_every / 4 };
    }

    fn pause(&mut self, now: Duration) {
        self.survey_failures += 1;
        if let (1, false, Some(filing)) = (self.survey_failures, self.is_compared, &self.filing) {
            let at = filing.at().seq;
            self.say(Notice::Spools(at));
        }
        let pause = PAUSE_MIN.saturating_mul(2_u32.saturating_pow(self.survey_failures.min(8) - 1)).min(PAUSE_MAX);
        self.survey = Survey::Pausing { until: now + pause };
    }

    /// What time asks.
    pub(super) fn survey_on(&mut self, now: Duration) {
        match self.survey {
            Survey::Pausing { until } if until <= now => self.list(now),
            Survey::Resting { until } if until <= now && self.watching.is_following() => self.list(now),
            Survey::None
            | Survey::Listing(_)
            | Survey::Reading { .. }
            | Survey::Pausing { .. }
            | Survey::Resting { .. } => {}
        }
    }

    pub(super) fn on_listed(&mut self, now: Duration, cluster: ClusterId, names: Option<Vec<Name>>) {
        let Survey::Listing(before) = self.survey else { return };
        if self.cluster != Some(cluster) {
            return;
        }
        let Some(names) = names else { return self.pause(now) };
        self.survey_failures = 0;
        let holdings = Holdings::of(names);
        self.foreign = self.foreign.filter(|name| holdings.has(name));
        if self.foreign.is_some() {
            self.rest(now);
            self.refuse(now, Refused::ForeignHistory, self.recoverable, None);
        } else if self.is_compared {
            self.check(now, holdings, before);
        } else {
            self.find_end(now, holdings);
        }
    }

    /// At the start.
    fn find_end(&mut self, now: Duration, holdings: Holdings) {
        let Some(full) = holdings.verified() else {
            self.rest(now);
            self.is_compared = true;
            self.fulls.none_found();
            self.give_up_chain();
            self.discard(None);
            return self.resolve(Aim::Anew);
        };
        let reach = holdings.reach(full);
        self.fulls.leads_from(full.last(), full.time());
        self.files = holdings.files_after(full.last());
        self.chain = Seq(0);
        self.put_upto = Some((reach.end, reach.time));
        self.recoverable = Some((reach.end, reach.time));
        if let Some(beyond) = reach.beyond {
            self.say(Notice::Hole(reach.end, beyond));
        }
        match self.cluster {
            Some(cluster) if !reach.by.is_encrypted() => {
                self.survey = Survey::Reading { holdings, name: reach.by };
                self.act(Action::ReadEnd(cluster, reach.by));
            }
            Some(_) | None => self.compare(now, reach, None),
        }
    }

    /// Of the files in the spool, those that lead on from the archive's end stay. Returns where they lead.
    pub(super) fn discard(&mut self, reach: Option<Reach>) -> Option<Mark> {
        let cluster = self.cluster;
        let mut end = None::<Mark>;
        let (kept, useless) = std::mem::take(&mut self.queue).into_iter().partition(|waiting| {
            let file = &waiting.file;
            if Some(file.cluster) != cluster {
                return true;
            }
            let upto = end.map(|end| end.seq).or(reach.map(|reach| reach.end));
            let leads_on = upto.is_some_and(|upto| file.begin.seq <= upto && upto < file.end.seq);
            if leads_on {
                end = Some(file.end);
            }
            leads_on
        });
        self.queue = kept;
        for waiting in useless {
            self.say(Notice::Discarded(waiting.file.name()));
            self.act(Action::Forget(waiting.file));
        }
        end
    }

    /// While a pod is followed.
    fn check(&mut self, now: Duration, holdings: Holdings, before: Before) {
        self.rest(now);
        let full = holdings.verified();
        let is_lost = before.full.is_some_and(|seq| full.is_none_or(|full| full.last() < seq));
        match full {
            Some(full) if is_lost || self.fulls.verified().is_none_or(|known| known.seq < full.last()) => {
                self.fulls.found(full.last(), full.time());
            }
            None if is_lost => self.fulls.none_found(),
            Some(_) | None => {}
        }
        let reach = full.map(|full| holdings.reach(full));
        // Another agent may have led the archive further, or closed a gap by a full.
        if let Some(reach) = reach.filter(|reach| self.recoverable.is_none_or(|(seq, _)| seq < reach.end)) {
            self.recoverable = Some((reach.end, reach.time));
        }
        let at = self.filing.as_ref().map(Filing::at);
        if let (true, Some(at), Some((upto, _))) = (is_lost || self.fulls.leads_on(), at, before.upto) {
            let end = reach.map_or(Seq(0), |reach| reach.end);
            if end < upto && !is_planted(Fault::OverlooksHoles) {
                self.gaps += 1;
                self.say(Notice::Hole(end, reach.and_then(|reach| reach.beyond).unwrap_or(upto)));
                self.recoverable = reach.map(|reach| (reach.end, reach.time));
                self.fulls.need_from(at.seq);
            }
        }
        let (Some(cluster), Some(filing)) = (self.cluster, &self.filing) else { return };
        let others = holdings.files().filter(|name| !name.is_encrypted() && !self.mine.contains(name));
        let known = others.filter(|name| filing.hash_at(name.last()).is_some());
        if let Some(name) = known.max_by_key(Name::last) {
            self.survey = Survey::Reading { holdings, name };
            self.act(Action::ReadEnd(cluster, name));
        }
    }

    pub(super) fn on_end_read(&mut self, now: Duration, cluster: ClusterId, read: Name, end: Result<Mark, Unread>) {
        if self.cluster != Some(cluster) {
            return;
        }
        let (mut holdings, name) = match std::mem::replace(&mut self.survey, Survey::None) {
            Survey::Reading { holdings, name } if name == read => (holdings, name),
            other => return self.survey = other,
        };
        let end = end.and_then(|end| if end.seq == name.last() { Ok(end) } else { Err(Unread::Damaged) });
        if end == Err(Unread::Damaged) {
            self.say(Notice::Damaged(name));
        }
        if !self.is_compared {
            return match end {
                Ok(end) => {
                    let reach = Reach { end: end.seq, time: end.time, by: name, beyond: None };
                    self.compare(now, reach, Some(end));
                }
                Err(Unread::Damaged) => {
                    holdings.leave_out(&name);
                    self.find_end(now, holdings);
                }
                Err(Unread::Failed) => self.pause(now),
            };
        }
        self.rest(now);
        let known = |end: Mark| self.filing.as_ref()?.hash_at(end.seq);
        let is_foreign = end.is_ok_and(|end| known(end).is_some_and(|hash| hash != end.hash));
        if is_foreign {
            self.foreign = Some(name);
            self.refuse(now, Refused::ForeignHistory, self.recoverable, None);
        }
    }
}
