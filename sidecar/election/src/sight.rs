//! What was seen of the Lease and when, and the state of the requests about it.
//!
//! Three things arrive in any order: answers to GETs, events of the watch, and answers to our own writes. The newest by
//! version counts. A GET that began after everything else was seen always counts (the API server may have been restored
//! from a backup, and its versions with it).

use std::time::Duration;

use crate::event::Event;
use crate::input::Watched;
use crate::lease::{Body, Lease, Version};
use crate::plants::silent_watches_are_doubted;
use crate::timing::{Pacer, Patience, Timing};
use crate::{LeaseWrite, ReadOutcome, Why};

/// What was seen, and what is under way.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Sight {
    /// The Lease; `Some(None)`: there is none; `None`: not read yet.
    lease: Option<Option<Lease>>,
    /// When `lease` was last shown.
    seen_at: Duration,
    /// When a renewal was last seen: the same Lease with another `renewTime`.
    pub(crate) renewed_at: Option<Duration>,
    /// When a request about the Lease last got an answer, or the watch last showed it; initially the start.
    pub(crate) heard: Duration,
    /// Since when answers have arrived without a failure or a long gap between them. No wait for an expiry starts earlier:
    /// the holder could not renew while nobody could.
    pub(crate) contact_since: Duration,
    contact_broken: bool,
    /// When the newest finished request failed; none if it got an answer.
    pub(crate) failed_at: Option<Duration>,
    /// That request will be tried again anyway, which is as good as a look: a write that did not happen, or (plain apps) the
    /// list that the watch begins with.
    is_tried_again: bool,
    /// The GET under way, and when it began.
    reading: Option<Duration>,
    read_began: Option<Duration>,
    /// Since when a look is due before anything is written: an outcome was unknown or a race was lost.
    look_since: Option<Duration>,
    /// When the watch ended: one GET asks for what it would have shown, at once, or (plain apps) a lost-time later and only if
    /// it has not shown it by then.
    watch_lost: Option<Duration>,
    pub(crate) reads: Pacer,
    /// The write under way.
    pub(crate) writing: Option<Writing>,
    pub(crate) writes: Pacer,
    /// The last write, while its outcome is unknown.
    unsure: Option<Writing>,
    /// Since when no write was decided (rule 5), and when the last of them failed.
    pub(crate) undecided: Option<Undecided>,
}

/// A write under way.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Writing {
    /// When it began. A renewal counts from here.
    pub(crate) began: Duration,
    pub(crate) expected: Option<Version>,
    pub(crate) body: Body,
    pub(crate) why: Why,
    /// What to report when it is done.
    pub(crate) tells: Vec<Event>,
}

/// Writes without an answer.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Undecided {
    pub(crate) since: Duration,
    pub(crate) failed_at: Duration,
    expected: Option<Version>,
}

impl Sight {
    pub(crate) fn new(now: Duration) -> Sight {
        Sight {
            lease: None,
            seen_at: now,
            renewed_at: None,
            heard: now,
            contact_since: now,
            contact_broken: false,
            failed_at: None,
            is_tried_again: false,
            reading: None,
            read_began: None,
            look_since: None,
            watch_lost: None,
            reads: Pacer::default(),
            writing: None,
            writes: Pacer::default(),
            unsure: None,
            undecided: None,
        }
    }

    /// The Lease as last seen; `Some(None)`: there is none; `None`: not read yet.
    pub(crate) fn lease(&self) -> Option<Option<&Lease>> {
        self.lease.as_ref().map(Option::as_ref)
    }

    /// The Lease's content, if there is a Lease.
    pub(crate) fn body(&self) -> Option<&Body> {
        self.lease.as_ref().and_then(Option::as_ref).map(|lease| &lease.body)
    }

    /// A GET ended. Returns our write, if the answer shows that it is done.
    pub(crate) fn read_ended(
        &mut self,
        now: Duration,
        outcome: ReadOutcome,
        timing: &Timing,
        patience: Patience,
    ) -> Option<Writing> {
        let began = self.reading.take()?;
        let lease = match outcome {
            ReadOutcome::Found(lease) => Some(lease),
            ReadOutcome::NotFound => None,
            ReadOutcome::NoAnswer => {
                self.reads.failed(now, timing, patience);
                self.unanswered(now);
                self.contact_broken = true;
                return None;
            }
        };
        self.reads.succeeded();
        self.answered(now, timing);
        if self.look_since.is_some_and(|since| began >= since) {
            self.look_since = None;
        }
        let is_newest = began > self.seen_at || self.lease.is_none();
        if is_newest || !self.is_outdated(lease.as_ref()) {
            return self.show(now, lease);
        }
        // Something newer was seen while it was under way. A 404 carries no version to compare: look again.
        if lease.is_none() {
            self.watch_lost = Some(now);
        }
        None
    }

    /// The watch showed something. Returns our write, if this shows that it is done.
    pub(crate) fn watched(&mut self, now: Duration, watched: Watched, timing: &Timing) -> Option<Writing> {
        let (lease, is_outdated) = match watched {
            Watched::Present(lease) => {
                let is_outdated = self.is_outdated(Some(&lease));
                (Some(lease), is_outdated)
            }
            Watched::Absent { as_of } => {
                let known = self.lease.as_ref().and_then(Option::as_ref);
                let is_outdated =
                    matches!((as_of, known), (Some(as_of), Some(known)) if as_of.is_older_than(&known.version));
                (None, is_outdated)
            }
        };
        if is_outdated {
            // The watch lags behind our own writes. It does not count as heard, so that a GET corrects us if our version is
            // the wrong one.
            return None;
        }
        let is_decided = timing.is_plain && self.is_past_unsure(lease.as_ref());
        if timing.is_plain && self.failed_at.is_some() && !is_decided {
            // The API server answers again. (What a write has done whose answer was lost says nothing of the answers: without a
            // pause the next renewals would follow it as fast as the watch shows them.)
            self.writes.succeeded();
        }
        self.answered(now, timing);
        if timing.is_plain {
            self.watch_lost = None;
        }
        if self.reads.not_before > now || is_decided {
            // GETs fail and pause, or one gets no answer; a watch that is back is as good as a look.
            self.look_since = None;
        }
        let done = self.show(now, lease);
        if is_decided {
            self.unsure = None;
        }
        done
    }

    /// The watch ended, or could not be opened.
    pub(crate) fn watch_ended(&mut self, now: Duration, failed: bool, timing: &Timing) {
        if failed {
            self.unanswered(now);
            self.is_tried_again = timing.is_plain;
        }
        if !failed || !timing.is_plain {
            self.watch_lost.get_or_insert(now);
        }
    }

    /// A write begins.
    pub(crate) fn write(&mut self, now: Duration, write: &LeaseWrite, tells: Vec<Event>) {
        self.writing = Some(Writing {
            began: now,
            expected: write.expected.clone(),
            body: write.body.clone(),
            why: write.why,
            tells,
        });
    }

    /// Our write is done, and this is the Lease.
    pub(crate) fn written(&mut self, now: Duration, lease: Lease, timing: &Timing) -> Option<Writing> {
        let writing = self.writing.take()?;
        self.writes.succeeded();
        self.undecided = None;
        self.unsure = None;
        self.answered(now, timing);
        if !self.is_outdated(Some(&lease)) {
            self.show(now, Some(lease));
        }
        Some(writing)
    }

    /// Another writer was faster. The 409 may also mean that our own earlier attempt succeeded.
    pub(crate) fn outrun(&mut self, now: Duration, timing: &Timing) {
        self.writing = None;
        if timing.is_plain && self.failed_at.is_some() {
            // The API server answers again: what it did not answer before is no race that was lost.
            self.writes.succeeded();
        }
        self.writes.outrun(now, timing);
        self.undecided = None;
        self.answered(now, timing);
        self.look_since = Some(now);
    }

    /// A write got no answer. `wants_look`: a look comes before the next one.
    pub(crate) fn write_unanswered(&mut self, now: Duration, wants_look: bool, timing: &Timing) {
        let Some(writing) = self.writing.take() else { return };
        self.writes.failed(now, timing, Patience::Short);
        self.unanswered(now);
        self.is_tried_again = !wants_look;
        self.contact_broken = true;
        match &mut self.undecided {
            Some(undecided) => undecided.failed_at = now,
            None => {
                let expected = writing.expected.clone();
                self.undecided = Some(Undecided { since: writing.began, failed_at: now, expected });
            }
        }
        if wants_look {
            self.look_since = Some(now);
            self.unsure = Some(writing);
        }
    }

    /// Whether nothing may be written yet: something is under way, or a look is due first.
    pub(crate) fn is_busy(&self) -> bool {
        self.writing.is_some() || self.look_since.is_some()
    }

    /// When a GET is due; none while one is under way.
    pub(crate) fn read_due(&self, timing: &Timing) -> Option<Duration> {
        if self.reading.is_some() {
            return None;
        }
        // The looks are closer together than a gap, or no wait for an expiry would ever end.
        let spacing = timing.looks_apart();
        let spaced = self.read_began.map_or(Duration::ZERO, |began| began + spacing);
        let wanted = if self.lease.is_none() || self.look_since.is_some() {
            Duration::ZERO
        } else if self.failed_at.is_some() && !self.is_tried_again {
            spaced
        } else if let Some(lost) = self.watch_lost {
            spaced.max(if timing.is_plain { lost + timing.lost_time } else { lost })
        } else if self.writing.is_some() || !silent_watches_are_doubted() {
            // Its answer is a sign, too.
            return None;
        } else {
            spaced.max(self.heard + timing.silence())
        };
        Some(wanted.max(self.reads.not_before))
    }

    /// A GET begins.
    pub(crate) fn read(&mut self, now: Duration) {
        self.reading = Some(now);
        self.read_began = Some(now);
        self.watch_lost = None;
    }

    fn is_outdated(&self, lease: Option<&Lease>) -> bool {
        match (self.lease.as_ref().and_then(Option::as_ref), lease) {
            (Some(known), Some(lease)) => lease.version.is_older_than(&known.version),
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    /// The write whose outcome is unknown is done, or can no longer be: the Lease is past the version that it replaces. (A
    /// holder that waited for one more answer lost a Lease that it could renew.)
    fn is_past_unsure(&self, lease: Option<&Lease>) -> bool {
        let expected = self.unsure.as_ref().and_then(|unsure| unsure.expected.as_ref());
        matches!((expected, lease), (Some(expected), Some(lease)) if expected.is_older_than(&lease.version))
    }

    fn answered(&mut self, now: Duration, timing: &Timing) {
        if self.contact_broken || now > self.heard + timing.gap() {
            self.contact_since = now;
            self.contact_broken = false;
        }
        self.heard = now;
        self.failed_at = None;
    }

    fn unanswered(&mut self, now: Duration) {
        self.failed_at = Some(now);
        self.is_tried_again = false;
    }

    fn show(&mut self, now: Duration, lease: Option<Lease>) -> Option<Writing> {
        let version = lease.as_ref().map(|lease| &lease.version);
        if self.undecided.as_ref().is_some_and(|undecided| undecided.expected.as_ref() != version) {
            // Another write was decided, so ours is moot or done.
            self.undecided = None;
        }
        let body = lease.as_ref().map(|lease| &lease.body);
        // Only a write that changes the Lease's content can be recognised.
        let is_ours = |unsure: &mut Writing| unsure.why != Why::Renew && Some(&unsure.body) == body;
        let done = self.unsure.take_if(is_ours);
        if let (Some(Some(before)), Some(after)) = (&self.lease, &lease)
            && before.renewed != after.renewed
        {
            self.renewed_at = Some(now);
        }
        self.lease = Some(lease);
        self.seen_at = now;
        done
    }
}
