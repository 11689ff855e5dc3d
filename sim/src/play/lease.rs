//! The sidecars' requests to the API server, what it shows them, and who else changes its content.

use crate::model::cluster::Cluster;
use crate::model::event::Event;
use crate::model::lease::{AnswerTime, Call, describe};
use crate::model::life::Life;
use crate::plant::{Plant, Shell};
use leasehold_election::{
    Body, Input, Lease, LeaseWrite, Member, ReadOutcome, RecordRead, RecordWrite, RecordWritten, Term, Version,
    Watched, Why, WriteOutcome, annotation,
};
use std::rc::Rc;
use std::time::Duration;

impl Cluster {
    /// A sidecar sends a request.
    pub(crate) fn call(&mut self, life: Life, call: Call) {
        let Some(call) = self.call_late(life, call) else { return };
        let at = self.now + self.api_delay();
        self.schedule(at, Event::Called { life, call: Box::new(call), answer: AnswerTime::Soon });
    }

    fn api_delay(&mut self) -> Duration {
        let slow = if self.rng.chance(20) { 20 } else { 1 };
        self.rng.micros(500, 8_000 * slow)
    }

    /// The request arrives, or it does not.
    pub(crate) fn called(&mut self, life: Life, call: Call, answer: AnswerTime) {
        if answer == AnswerTime::Never && !self.api.is_up(self.now, life.pod) {
            return;
        }
        let client = &self.api.clients[life.pod];
        let is_lost = client.mute_until > self.now || self.rng.chance(self.settings.api_lost);
        if !self.api.is_up(self.now, life.pod) {
            // It is refused at once, or silence follows until the shell's time-out.
            let quick = self.rng.chance(500);
            let at = self.now + if quick { self.rng.millis(1, 5) } else { self.settings.api_timeout };
            let input = call.unanswered(!quick);
            self.schedule(at, Event::Sidecar { life, input: Box::new(input) });
            return;
        }
        let is_read = matches!(call, Call::Read);
        let unanswered = call.unanswered(true);
        let done = match call {
            Call::Read => Input::LeaseRead(match &self.api.lease {
                Some(lease) => ReadOutcome::Found((**lease).clone()),
                None => ReadOutcome::NotFound,
            }),
            Call::ReadRecord => Input::RecordRead(match &self.api.record {
                Some((version, term, seconds, created_by)) => {
                    let (version, term, duration_seconds) = (version.clone(), *term, Some(*seconds));
                    RecordRead::Found { version, term, duration_seconds, created_by: *created_by }
                }
                None => RecordRead::NotFound,
            }),
            Call::WriteRecord(write) => Input::RecordWritten(self.write_record(&write)),
            Call::Write(write, first) => {
                let stands = self.api.lease.as_ref().map(|lease| lease.version.clone());
                let blind = self.settings.plant == Some(Plant::Shell(Shell::LeaseWithoutCompare));
                if stands == write.expected || blind {
                    self.check_take(&write, first.as_deref());
                    self.api.takes += u64::from(write.why.is_new_leadership());
                    let stamp = format!("at {}", self.now.as_micros());
                    let old = self.api.lease().and_then(|lease| lease.renewed.clone());
                    let renewed = if write.why.is_stamped() { Some(stamp) } else { old };
                    let lease = self.store_lease(Some((write.body, renewed)));
                    Input::LeaseWritten(WriteOutcome::Written(lease.expect("it was just written")))
                } else {
                    Input::LeaseWritten(WriteOutcome::Conflict)
                }
            }
        };
        if answer == AnswerTime::Never {
            return;
        }
        let (at, input) = match (is_lost, answer) {
            (false, AnswerTime::At(at)) => (at.max(self.now), done),
            (false, AnswerTime::Soon | AnswerTime::Never) => (self.now + self.api_delay(), done),
            (true, _) => (self.now + self.settings.api_timeout, unanswered),
        };
        self.schedule(at, Event::Sidecar { life, input: Box::new(input) });
        if is_read && !is_lost && self.api.clients[life.pod].deaf_until > self.now {
            // The answer shows what the watch should have shown: the shell opens it again.
            self.api.clients[life.pod].deaf_until = Duration::ZERO;
            self.cut_watch(life.pod);
        }
    }

    fn write_record(&mut self, write: &RecordWrite) -> RecordWritten {
        if self.api.record.as_ref().map(|(version, ..)| version) != write.expected.as_ref() {
            return RecordWritten::Conflict;
        }
        self.api.version += 1;
        let version = Version(self.api.version.to_string());
        self.trace
            .add(self.now, || format!("record      v{} term {} {} s", version.0, write.term, write.duration_seconds));
        self.api.record = Some((version.clone(), write.term, write.duration_seconds, write.created_by));
        RecordWritten::Written { version }
    }

    /// (plain apps) A pod that let go may still be read as leader for a moment, so no pod takes the Lease sooner than two
    /// lost-times after the last clear, unless the app has certainly stopped \[A3, A5\]. And no term comes twice, whatever
    /// becomes of the Lease \[A12\].
    fn check_take(&mut self, write: &LeaseWrite, first: Option<&str>) {
        if !self.settings.is_plain {
            return;
        }
        if write.why.is_new_leadership() && write.why != Why::Restore {
            let taken = self.api.taken;
            if write.body.term <= taken {
                let term = write.body.term;
                self.violation(format!("term {term} begins again: {taken} was taken before [A12]"));
            }
            self.api.taken = taken.max(write.body.term);
        }
        let since = self.now - self.api.cleared_at;
        let holder = write.body.holder.as_deref();
        let cleared = self.api.lease().filter(|lease| lease.body.holder.is_none() && lease.body.term > Term(0));
        if let (Why::TakeFree, Some(lease), Some(holder)) = (write.why, cleared, holder) {
            let what = match first.filter(|to| *to != holder) {
                _ if !lease.body.is_clean() && since < 2 * self.settings.lost_time => Some("[A3]".to_owned()),
                Some(to) if since < 4 * self.settings.lost_time => Some(format!("for {to} [A10]")),
                Some(_) | None => None,
            };
            if let Some(what) = what {
                self.violation(format!("{holder} takes the Lease {since:?} after it was cleared {what}"));
            }
        }
        if write.why == Why::Clear {
            self.api.cleared_at = self.now;
        }
    }

    /// The pod that a switchover names, if this sidecar knows it as wanted. It asks by what it knows now: what it learns while the
    /// request is under way comes too late.
    pub(crate) fn goes_first(&self, pod: usize) -> Option<String> {
        let election = &self.pods[pod].sidecar.up.as_ref()?.election;
        let preferred = election.lease().flatten()?.body.preferred_holder()?;
        let members = &election.role()?.members;
        members
            .as_ref()
            .is_none_or(|all| all.iter().any(|member| member.name == preferred))
            .then(|| preferred.to_owned())
    }

    /// The Lease becomes this (none: it is deleted), and every open watch is notified.
    fn store_lease(&mut self, content: Option<(Body, Option<String>)>) -> Option<Lease> {
        self.api.version += 1;
        let version = Version(self.api.version.to_string());
        let lease = content.map(|(body, renewed)| Rc::new(Lease { version: version.clone(), renewed, body }));
        self.trace.add(self.now, || format!("lease       {}", describe(lease.as_deref())));
        self.api.lease = lease.clone();
        if let (true, Some(lease), Some(record)) = (self.settings.leases_go_back, &lease, &self.api.record) {
            self.api.backups.push((lease.clone(), record.clone()));
        }
        for pod in 0..self.api.clients.len() {
            if self.api.clients[pod].watch.is_some() && self.api.clients[pod].deaf_until <= self.now {
                let watched = match &lease {
                    Some(lease) => Watched::Present((**lease).clone()),
                    None => Watched::Absent { as_of: Some(version.clone()) },
                };
                self.show(pod, watched);
            }
        }
        lease.map(|lease| (*lease).clone())
    }

    fn show(&mut self, pod: usize, watched: Watched) {
        let late = self.now + self.api_delay();
        let client = &mut self.api.clients[pod];
        let Some(watch) = client.watch else { return };
        client.last_at = client.last_at.max(late);
        let (at, life) = (client.last_at, self.pods[pod].sidecar.life);
        self.schedule(at, Event::Watched { life, watch, watched: Box::new(watched) });
    }

    /// A watch event arrives, if that watch is still open.
    pub(crate) fn watched(&mut self, life: Life, watch: u64, watched: Watched) {
        if self.api.clients[life.pod].watch == Some(watch) {
            self.step_sidecar(life.pod, Input::LeaseWatched(watched));
        }
    }

    /// A sidecar opens its watches: of the Lease, and of the StatefulSet.
    pub(crate) fn open_watch(&mut self, life: Life) {
        if self.api.clients[life.pod].watch.is_some() {
            return;
        }
        if !self.api.is_up(self.now, life.pod) {
            self.step_sidecar(life.pod, Input::WatchFailed);
            let at = self.now + self.rng.millis(200, 2000);
            self.schedule(at, Event::WatchOpens { life });
            return;
        }
        let client = &mut self.api.clients[life.pod];
        client.watches += 1;
        client.watch = Some(client.watches);
        let watched = match &self.api.lease {
            Some(lease) => Watched::Present((**lease).clone()),
            None => Watched::Absent { as_of: Some(Version(self.api.version.to_string())) },
        };
        self.show(life.pod, watched);
        self.show_members(life.pod);
    }

    /// The watch of this pod's sidecar ends. The process learns it, and opens it again.
    pub(crate) fn cut_watch(&mut self, pod: usize) {
        if self.api.clients[pod].watch.take().is_some() {
            let life = self.pods[pod].sidecar.life;
            let at = self.now + self.rng.millis(0, 50);
            self.schedule(at, Event::Sidecar { life, input: Box::new(Input::WatchLost) });
            let at = at + self.rng.millis(1, 500);
            self.schedule(at, Event::WatchOpens { life });
        }
    }

    /// The process behind the watch is gone.
    pub(crate) fn forget_watch(&mut self, pod: usize) {
        self.api.clients[pod].watch = None;
    }

    fn show_members(&mut self, pod: usize) {
        // The watch of the StatefulSet is separate from that of the Lease: it may be deaf for a while.
        let is_deaf = self.settings.is_plain && self.rng.chance(200);
        let at = self.now + if is_deaf { self.rng.millis(1000, 40_000) } else { self.api_delay() };
        let life = self.pods[pod].sidecar.life;
        self.schedule(at, Event::MembersShown { life });
    }

    /// The sidecar learns how many pods are wanted, if the API answers.
    pub(crate) fn members_shown(&mut self, life: Life) {
        if self.api.is_up(self.now, life.pod) {
            let member = |ordinal: usize| Member {
                name: format!("pod-{ordinal}"),
                address: format!("pod-{ordinal}:8089"),
                peer_address: format!("pod-{ordinal}:8090"),
            };
            let members = (0..self.api.wanted).map(member).collect();
            self.step_sidecar(life.pod, Input::MembersSeen(Some(members)));
        }
    }

    /// `kubectl scale`.
    pub(crate) fn scale(&mut self, wanted: usize) {
        self.trace.add(self.now, || format!("scale       to {wanted}"));
        self.api.wanted = wanted;
        for pod in 0..self.pods.len() {
            self.show_members(pod);
        }
    }

    /// Somebody writes the Lease by hand.
    pub(crate) fn put_lease(&mut self, body: Body) {
        let stamp = Some(format!("at {}", self.now.as_micros()));
        self.store_lease(Some((body, stamp)));
    }

    /// The Lease becomes what its manifest says: metadata alone.
    pub(crate) fn replace_by_manifest(&mut self) {
        self.store_lease(Some((Body::default(), None)));
    }

    /// The Lease becomes what it was, but for its version.
    pub(crate) fn put_back(&mut self, old: &Lease) {
        self.store_lease(Some((old.body.clone(), old.renewed.clone())));
    }

    /// `kubectl delete lease`.
    pub(crate) fn delete_lease(&mut self) {
        if self.api.lease.is_some() {
            self.store_lease(None);
        }
    }

    /// Somebody edits the Lease by hand.
    pub(crate) fn edit_lease(&mut self) {
        let Some(mut body) = self.api.lease.as_ref().map(|lease| lease.body.clone()) else { return };
        let some_pod = self.rng.below(self.pods.len());
        match self.rng.below(9) {
            0 => body.holder = None,
            1 => body.holder = Some(self.pods[some_pod].name.clone()),
            2 => body.holder = Some("somebody-else".to_owned()),
            3 => body.term = Term(body.term.0.saturating_sub(self.rng.between(1, 3))),
            4 => body.term = Term((body.term.0 + self.rng.between(1, 5)).min(Term::MAX.0)),
            5 => body.term = Term(*self.rng.pick(&[0, 900_000, 3_000_000, Term::MAX.0])),
            6 => {
                body.annotations.remove(annotation::INCARNATION);
            }
            7 => {
                body.annotations.insert(annotation::INCARNATION.to_owned(), self.rng.uuid().to_string());
            }
            _ => {
                body.annotations.remove(annotation::CLUSTER_ID);
            }
        }
        self.put_lease(body);
    }

    /// Somebody requests a switchover, or a pause of automatic take-overs, or withdraws that.
    pub(crate) fn annotate_lease(&mut self, name: &str, value: Option<String>) {
        let Some(mut body) = self.api.lease.as_ref().map(|lease| lease.body.clone()) else { return };
        match value {
            Some(value) => body.annotations.insert(name.to_owned(), value),
            None => body.annotations.remove(name),
        };
        if !self.settings.is_plain {
            // Fencing apps do not care, and the seeds of their clusters keep their meaning.
            return self.put_lease(body);
        }
        // `renewTime` stays.
        let renewed = self.api.lease().and_then(|lease| lease.renewed.clone());
        self.store_lease(Some((body, renewed)));
    }
}
