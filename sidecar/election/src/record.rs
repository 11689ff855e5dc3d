//! (plain apps) The record of terms: a second Lease, `<lease>.first`, which is in no manifest and is never deleted by us.
//!
//! A Lease can be deleted and applied again. It then looks as if nobody ever held it, while its last holder still leads for
//! the rest of a duration. The record tells the two apart, and keeps terms growing:
//!
//! ```text
//!   a new term n is wanted ──▶ record: create (n), or replace (its version, n) ──▶ only then the Lease is written, with n
//!                                 │201: no sidecar ever was a holder: a Lease that nobody held is taken at once, in the
//!                                 │     version that was seen before the record was asked for [A1]
//!                                 └200, 409: it is as one that is missing: a whole duration
//! ```
//!
//! So every term that was ever led in is in the record, and a Lease that begins anew continues above it \[A12\]. A sidecar
//! that lacks the right to the record does without, and then waits a whole duration for a Lease that nobody held.
//!
//! # Its duration
//!
//! A whole duration is that of the *last holder*, and pods of one app have different ones while theirs is being changed. The Lease
//! says whose is how long only to who sees it: a holder with 60 s may take it, and somebody delete it, while the watch of a pod with
//! 15 s is deaf. So the record has a duration, too: the longest of all who wrote it, for a writer may lose the race for the Lease, or
//! die before it, and what stood there may be of the holder. It counts where the Lease does not say who held it last \[A1\]: there is
//! none, it looks new, or it is known to have gone back in time. A take-over needs the present version of the record, so whoever takes
//! the Lease knows the duration in it. It never becomes shorter by itself; one that was removed by hand counts as none.
//!
//! That the record's term is above the Lease's says nothing of that kind: of two that contend, both record a term, and one leads.
//!
//! # A create without an answer
//!
//! It carries a mark: this run of the sidecar. If the look after it finds the record with that mark, in the term that was asked
//! for, then this run created it, as if it had got 201 \[A1\]. That is safe:
//! - Nobody else writes that mark, nor an earlier run of this pod: a run has it from its start, and in its memory alone. Each
//!   replacement by a sidecar removes it, and raises the term.
//! - The record is created once, so before that no sidecar was a holder. Of several creates without an answer only the *first*
//!   counts, because it is not known which of them was carried out: the version of the Lease that was seen before the first was
//!   seen before any of them. Had somebody held the Lease since, it would have another version.
//!
//! Likewise a write of the Lease without an answer: while the Lease is in the version for which the term was reserved, nobody
//! began a leadership with it, and of two writes that replace this version one succeeds. So the term may be written again.

use std::time::Duration;

use uuid::Uuid;

use crate::counts::Standing;
use crate::effect::{Effect, RecordWrite, Why};
use crate::election::Election;
use crate::input::{RecordRead, RecordWritten};
use crate::lease::{Lease, Term, Version};
use crate::plants::{only_own_marks_count, terms_are_recorded};
use crate::take::Proposal;
use crate::timing::{Pacer, Patience, Timing};

/// The end of the record's name, behind the Lease's.
pub const RECORD_SUFFIX: &str = ".first";

/// See the module.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Record {
    /// `Some(None)`: there is none; `None`: not known.
    seen: Option<Option<Seen>>,
    /// For which of the Lease's terms it was last looked at.
    looked_for: Option<Term>,
    /// Since when it has been unknown what it has for the Lease's term.
    unknown_since: Option<Duration>,
    request: Option<Request>,
    pacer: Pacer,
    /// It may not be written: until then nobody asks again.
    denied_until: Option<Duration>,
    /// A creation was tried.
    was_tried: bool,
    /// The first creation without an answer: it may have been carried out, or still be.
    unsure: Option<Wanted>,
    reserved: Option<Reserved>,
}

#[derive(Clone, Debug, Hash)]
struct Seen {
    version: Version,
    term: Term,
    duration: Option<Duration>,
}

#[derive(Clone, Debug, Hash)]
enum Request {
    Read,
    Write(Wanted, RecordWrite),
}

/// What a term is wanted for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Wanted {
    pub(crate) term: Term,
    /// Since when the Lease has been seen as it is: a reservation ends with that.
    pub(crate) since: Duration,
    /// The Lease's version.
    pub(crate) lease: Option<Version>,
    /// Nobody ever held the Lease.
    pub(crate) is_first: bool,
}

/// A term that this sidecar wrote into the record, and may write into the Lease.
#[derive(Clone, Debug, Hash)]
struct Reserved {
    wanted: Wanted,
    /// The record did not exist before.
    is_created: bool,
}

/// Whether the Lease may be written with a new term.
pub(crate) enum Permit {
    Granted,
    Read,
    Write(RecordWrite),
    /// For an answer, or until then.
    Wait(Option<Duration>),
}

impl Record {
    /// The highest term that it is known to have; a new one must be above it, unless it is reserved.
    pub(crate) fn term(&self) -> Option<Term> {
        self.seen.as_ref().and_then(Option::as_ref).map(|seen| seen.term)
    }

    /// The longest duration of those who may have led in its terms.
    pub(crate) fn duration(&self) -> Option<Duration> {
        self.seen.as_ref().and_then(Option::as_ref).and_then(|seen| seen.duration)
    }

    /// The term that is reserved for the Lease as it is: unchanged since then, or in the same version as then.
    pub(crate) fn reserved(&self, since: Duration, lease: Option<&Version>) -> Option<Term> {
        let fits = |wanted: &Wanted| wanted.since == since || lease.is_some() && wanted.lease.as_ref() == lease;
        self.reserved.as_ref().filter(|reserved| fits(&reserved.wanted)).map(|reserved| reserved.wanted.term)
    }

    /// This sidecar created the record, having seen that version of a Lease that nobody ever held.
    pub(crate) fn is_ours_first(&self, lease: Option<&Version>) -> bool {
        let first = self.reserved.as_ref().filter(|reserved| reserved.is_created && reserved.wanted.is_first);
        first.is_some_and(|reserved| reserved.wanted.lease.as_ref() == lease)
    }

    /// May the Lease be written with that term? If not: what to ask for first.
    pub(crate) fn permit(&self, now: Duration, wanted: &Wanted, own: Option<Uuid>, timing: &Timing) -> Permit {
        if self.reserved(wanted.since, wanted.lease.as_ref()) == Some(wanted.term) {
            return Permit::Granted;
        }
        if self.denied_until.is_some_and(|until| now < until) {
            return Permit::Granted;
        }
        if self.request.is_some() {
            return Permit::Wait(None);
        }
        if now < self.pacer.not_before {
            return Permit::Wait(Some(self.pacer.not_before));
        }
        match &self.seen {
            None if self.was_tried || !wanted.is_first => Permit::Read,
            None | Some(None) => Permit::Write(RecordWrite {
                expected: None,
                term: wanted.term,
                duration_seconds: timing.seconds(),
                created_by: own,
            }),
            Some(Some(seen)) => Permit::Write(RecordWrite {
                expected: Some(seen.version.clone()),
                term: wanted.term.max(seen.term),
                duration_seconds: timing.seconds_for_record(seen.duration),
                created_by: None,
            }),
        }
    }

    /// Whether to ask for its creation: nothing is known of it that forbids it.
    pub(crate) fn may_be_created(&self) -> bool {
        self.term().is_none() && self.request.is_none()
    }

    /// When a look is due, because somebody may have raised it: once for each term of the Lease, some time after it was
    /// seen first. So the next take-over needs one request about the record, not three.
    pub(crate) fn look_due(&mut self, now: Duration, term: Term, timing: &Timing) -> Option<Duration> {
        let is_known = self.looked_for.is_some_and(|looked| looked >= term) || self.term() >= Some(term);
        if is_known || self.request.is_some() {
            return None;
        }
        let since = *self.unknown_since.get_or_insert(now);
        Some((since + timing.lost_time).max(self.pacer.not_before).max(self.denied_until.unwrap_or_default()))
    }

    /// A GET begins.
    pub(crate) fn read(&mut self, term: Option<Term>) {
        self.request = Some(Request::Read);
        self.looked_for = self.looked_for.max(term);
        self.unknown_since = None;
    }

    /// A write begins.
    pub(crate) fn write(&mut self, write: &RecordWrite, wanted: Wanted) {
        self.was_tried = true;
        self.reserved = None;
        let wanted = Wanted { term: write.term, ..wanted };
        self.request = Some(Request::Write(wanted, write.clone()));
    }

    /// `own`: the mark of this run.
    pub(crate) fn read_ended(&mut self, now: Duration, outcome: RecordRead, own: Option<Uuid>, timing: &Timing) {
        if self.request.take_if(|request| matches!(request, Request::Read)).is_none() {
            return;
        }
        match outcome {
            RecordRead::Found { version, term, duration_seconds, created_by } => {
                // There is one now, so no create can be carried out any longer.
                let unsure = self.unsure.take();
                let is_ours = |wanted: &Wanted| created_by.is_some() && created_by == own && term == wanted.term;
                if let Some(wanted) = unsure.filter(|wanted| is_ours(wanted) || !only_own_marks_count()) {
                    self.reserved = Some(Reserved { wanted, is_created: true });
                }
                let duration = duration_seconds.map(seconds);
                self.seen = Some(Some(Seen { version, term, duration }));
                self.succeeded();
            }
            RecordRead::NotFound => {
                self.seen = Some(None);
                self.succeeded();
            }
            RecordRead::Denied => self.denied(now, timing),
            RecordRead::NoAnswer => self.pacer.failed(now, timing, Patience::Short),
        }
    }

    pub(crate) fn write_ended(&mut self, now: Duration, outcome: RecordWritten, timing: &Timing) {
        let Some(Request::Write(wanted, write)) = self.request.take_if(|request| matches!(request, Request::Write(..)))
        else {
            return;
        };
        match outcome {
            RecordWritten::Written { version } => {
                self.unsure = None;
                let duration = Some(seconds(write.duration_seconds));
                self.seen = Some(Some(Seen { version, term: wanted.term, duration }));
                self.reserved = Some(Reserved { wanted, is_created: write.expected.is_none() });
                self.succeeded();
            }
            RecordWritten::Conflict => {
                self.seen = None;
                self.pacer.outrun(now, timing);
            }
            RecordWritten::Denied => self.denied(now, timing),
            RecordWritten::Unknown => {
                if write.expected.is_none() {
                    self.unsure.get_or_insert(wanted);
                }
                self.seen = None;
                self.pacer.failed(now, timing, Patience::Short);
            }
        }
    }

    /// The Lease was written with that term: another leadership gets another one.
    pub(crate) fn spend(&mut self, term: Term) {
        self.reserved.take_if(|reserved| reserved.wanted.term <= term);
    }

    fn succeeded(&mut self) {
        self.pacer.succeeded();
        self.denied_until = None;
    }

    fn denied(&mut self, now: Duration, timing: &Timing) {
        self.denied_until = Some(now + timing.duration * 20);
    }
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

impl Election {
    /// (plain apps) Whether the term that this write would begin stands in the record; if not, it is asked for \[A12\].
    pub(crate) fn is_recorded(&mut self, proposal: &Proposal) -> bool {
        let begins = proposal.why.is_new_leadership() && proposal.why != Why::Restore;
        if !self.timing.is_plain || !begins || !terms_are_recorded() {
            return true;
        }
        self.ask_record(proposal.body.term)
    }

    /// Whether that term is reserved for the Lease as it is; if not, it is asked for.
    pub(crate) fn ask_record(&mut self, term: Term) -> bool {
        let lease = self.sight.lease().flatten();
        let wanted = Wanted {
            term,
            since: self.unchanged_since(),
            lease: lease.map(|lease| lease.version.clone()),
            is_first: lease.is_some_and(Lease::was_never_held),
        };
        match self.record.permit(self.now, &wanted, self.incarnation(), &self.timing) {
            Permit::Granted => return true,
            Permit::Read => self.read_record(Some(term)),
            Permit::Write(write) => {
                self.record.write(&write, wanted);
                self.emit(Effect::WriteRecord(write));
            }
            Permit::Wait(until) => {
                if let Some(until) = until {
                    self.due(until);
                }
            }
        }
        false
    }

    fn read_record(&mut self, for_term: Option<Term>) {
        self.record.read(for_term);
        self.emit(Effect::ReadRecord);
    }

    /// One look for each leadership of another pod, when it is due.
    pub(crate) fn look_at_record(&mut self, standing: &Standing) {
        let Some(term) = standing.term().filter(|term| self.timing.is_plain && *term > Term(0)) else { return };
        if let Some(at) = self.record.look_due(self.now, term, &self.timing)
            && self.due(at)
        {
            self.read_record(Some(term));
        }
    }
}
