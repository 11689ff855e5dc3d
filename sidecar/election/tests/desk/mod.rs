//! One election on a desk: the test passes inputs in directly, and checks every effect.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use leasehold_election::{
    App, AppState, AppStatus, Body, Claim, Config, Effect, Election, Event, Input, Lease, LeaseWrite, Member, OldRole,
    PodRole, Promise, ReadOutcome, RecordRead, RecordWrite, RecordWritten, RoleView, Term, Version, Watched, Why,
    WriteOutcome, annotation,
};
use uuid::Uuid;

pub const DURATION: Duration = Duration::from_secs(15);
pub const LOST_TIME: Duration = Duration::from_secs(1);

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// An incarnation, or a cluster-id, by number.
pub fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

pub const CLUSTER: u128 = 0xc1;

pub fn config(app: App) -> Config {
    Config {
        name: "db-0".into(),
        address: "10.0.0.1:8089".into(),
        app,
        duration: DURATION,
        lost_time: LOST_TIME,
        fitness_patience: secs(3),
        stop_bound: secs(50),
        seed: 1,
        old_role: None,
    }
}

pub fn members(count: usize) -> Option<Vec<Member>> {
    let member = |ordinal: usize| Member {
        name: format!("db-{ordinal}"),
        address: format!("db-{ordinal}:8089"),
        peer_address: format!("db-{ordinal}:8090"),
    };
    Some((0..count).map(member).collect())
}

/// A Lease of our cluster.
pub fn lease(version: u64, holder: Option<(&str, u128)>, term: u64) -> Lease {
    let mut annotations = BTreeMap::from([(annotation::CLUSTER_ID.to_owned(), id(CLUSTER).to_string())]);
    if let Some((_, incarnation)) = holder {
        annotations.insert(annotation::INCARNATION.to_owned(), id(incarnation).to_string());
    }
    Lease {
        version: Version(version.to_string()),
        renewed: Some(format!("stamp {version}")),
        body: Body {
            holder: holder.map(|(name, _)| name.to_owned()),
            term: Term(term),
            duration_seconds: Some(15),
            annotations,
        },
    }
}

pub fn with(mut lease: Lease, name: &str, value: &str) -> Lease {
    lease.body.annotations.insert(name.to_owned(), value.to_owned());
    lease
}

pub fn without(mut lease: Lease, name: &str) -> Lease {
    lease.body.annotations.remove(name);
    lease
}

pub fn claim(term: u64, incarnation: u128, name: &str) -> Claim {
    Claim { term: Term(term), incarnation: id(incarnation), name: name.into(), peer_address: format!("{name}:8090") }
}

/// The app of db-0, incarnation 0xa, a voter that follows nobody and has promised nothing.
pub fn status() -> AppStatus {
    AppStatus {
        incarnation: id(0xa),
        cluster_id: Some(id(CLUSTER)),
        state: AppState::Follower,
        promised: Promise::default(),
        following: None,
        leader_heard: false,
        campaign: None,
        rank: 0,
        need_term: None,
        hand_over: None,
        eligible: true,
        bootstrapping: false,
    }
}

/// It follows that leader, and hears it.
pub fn following(term: u64, incarnation: u128, name: &str) -> AppStatus {
    AppStatus {
        promised: Promise { term: Term(term), incarnation: Some(id(incarnation)) },
        following: Some(claim(term, incarnation, name)),
        leader_heard: true,
        ..status()
    }
}

/// It has lost that leader, and so has a majority.
pub fn campaigning(term: u64, incarnation: u128, name: &str) -> AppStatus {
    AppStatus { leader_heard: false, campaign: Some(Term(term)), ..following(term, incarnation, name) }
}

/// It leads itself.
pub fn leading(term: u64) -> AppStatus {
    AppStatus { state: AppState::Leading, ..following(term, 0xa, "db-0") }
}

pub struct Desk {
    pub election: Election,
    pub now: Duration,
    /// All effects since the last `take_effects`.
    pub effects: Vec<Effect>,
    /// The record of terms: its version and term, if there is one. Requests about it are answered at once.
    pub record: Option<(u64, Term)>,
    /// The duration in it.
    pub record_seconds: Option<u32>,
    /// The mark of who created it.
    pub mark: Option<Uuid>,
    pub answers_for_record: Answers,
    /// role.json can be replaced.
    pub writes_role: bool,
}

/// How requests about the record of terms are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    AtOnce,
    Denied,
    /// The test answers.
    ByHand,
}

impl Desk {
    pub fn with_config(config: Config) -> Desk {
        let (record, answers_for_record) = (None, Answers::AtOnce);
        let election = Election::new(config);
        let mut desk = Desk {
            election,
            now: secs(100),
            effects: Vec::new(),
            record,
            record_seconds: None,
            mark: None,
            answers_for_record,
            writes_role: true,
        };
        desk.give(Input::Wake);
        desk
    }

    pub fn fencing() -> Desk {
        let mut desk = Desk::with_config(config(App::Fencing));
        desk.give(Input::MembersSeen(members(3)));
        desk
    }

    /// A plain app's sidecar, itself incarnation 0xa.
    pub fn plain() -> Desk {
        let mut desk = Desk::with_config(config(App::Plain { incarnation: id(0xa), exec: false }));
        desk.give(Input::MembersSeen(members(3)));
        desk
    }

    /// The sidecar of a plain app that `exec` runs, itself incarnation 0xa. `exec` is not there yet.
    pub fn exec() -> Desk {
        let mut desk = Desk::with_config(config(App::Plain { incarnation: id(0xa), exec: true }));
        desk.give(Input::MembersSeen(members(3)));
        desk
    }

    /// A fencing app's sidecar that has read this Lease and this status.
    pub fn seeing(lease: Option<Lease>, status: AppStatus) -> Desk {
        let mut desk = Desk::fencing();
        desk.read(lease);
        desk.give(Input::AppSeen(status));
        desk
    }

    pub fn old_role(term: u64, paused: bool) -> Option<OldRole> {
        Some(OldRole { term: Term(term), paused, off_lease: None, own_claim: None, leads_for: None })
    }

    pub fn give(&mut self, input: Input) {
        let effects = self.election.step(self.now, input);
        for effect in effects {
            match (effect, self.answers_for_record) {
                (Effect::ReadRecord, Answers::AtOnce) => {
                    let outcome = match self.record {
                        Some((version, term)) => {
                            let version = Version(version.to_string());
                            RecordRead::Found {
                                version,
                                term,
                                duration_seconds: self.record_seconds,
                                created_by: self.mark,
                            }
                        }
                        None => RecordRead::NotFound,
                    };
                    self.give(Input::RecordRead(outcome));
                }
                (Effect::WriteRecord(write), Answers::AtOnce) => {
                    let outcome = self.write_record(&write);
                    self.give(Input::RecordWritten(outcome));
                }
                (Effect::ReadRecord, Answers::Denied) => self.give(Input::RecordRead(RecordRead::Denied)),
                (Effect::WriteRecord(_), Answers::Denied) => self.give(Input::RecordWritten(RecordWritten::Denied)),
                (Effect::PublishRole(view), _) => {
                    self.effects.push(Effect::PublishRole(view));
                    self.give(Input::RoleWritten(self.writes_role));
                }
                (effect, _) => self.effects.push(effect),
            }
        }
        if let Some(deadline) = self.election.deadline() {
            assert!(deadline > self.now, "a deadline that has passed is a busy loop: {deadline:?} at {:?}", self.now);
        }
    }

    /// As the API server would.
    pub fn write_record(&mut self, write: &RecordWrite) -> RecordWritten {
        let version = self.record.map(|(version, _)| version);
        if version.map(|version| Version(version.to_string())) != write.expected {
            return RecordWritten::Conflict;
        }
        let next = version.unwrap_or_default() + 1;
        self.record = Some((next, write.term));
        self.record_seconds = Some(write.duration_seconds);
        self.mark = write.created_by;
        RecordWritten::Written { version: Version(next.to_string()) }
    }

    /// Answers the GET.
    pub fn read(&mut self, lease: Option<Lease>) {
        self.give(Input::LeaseRead(lease.map_or(ReadOutcome::NotFound, ReadOutcome::Found)));
    }

    pub fn read_fails(&mut self) {
        self.give(Input::LeaseRead(ReadOutcome::NoAnswer));
    }

    pub fn watch(&mut self, lease: Option<Lease>) {
        let watched = lease.map_or(Watched::Absent { as_of: None }, Watched::Present);
        self.give(Input::LeaseWatched(watched));
    }

    pub fn app(&mut self, status: AppStatus) {
        self.give(Input::AppSeen(status));
    }

    /// Lets the time pass, with a wake at each deadline.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(deadline) = self.election.deadline().filter(|deadline| *deadline <= end) {
            self.now = deadline;
            self.give(Input::Wake);
        }
        self.now = end;
    }

    /// Lets the time pass, and every look shows that Lease.
    pub fn pass_seeing(&mut self, shown: &Option<Lease>, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.pass(secs(1).min(end - self.now));
            while self.reads() > 0 {
                self.read(shown.clone());
            }
        }
    }

    /// Lets the time pass while every request fails at once.
    pub fn pass_without_api(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let asked = std::mem::take(&mut self.effects);
            for effect in &asked {
                match effect {
                    Effect::ReadLease => self.read_fails(),
                    Effect::WriteLease(_) => self.give(Input::LeaseWritten(WriteOutcome::Refused)),
                    _ => {}
                }
            }
            let fresh = std::mem::replace(&mut self.effects, asked);
            let is_done = fresh.is_empty();
            self.effects.retain(|effect| !matches!(effect, Effect::ReadLease | Effect::WriteLease(_)));
            let kept = std::mem::take(&mut self.effects);
            self.effects = kept.into_iter().chain(fresh).collect();
            if !is_done {
                continue;
            }
            match self.election.deadline().filter(|deadline| *deadline <= end) {
                Some(deadline) => {
                    self.now = deadline;
                    self.give(Input::Wake);
                }
                None => break,
            }
        }
        self.now = end;
    }

    pub fn writes(&self) -> Vec<LeaseWrite> {
        let write = |effect: &Effect| match effect {
            Effect::WriteLease(write) => Some(write.clone()),
            _ => None,
        };
        self.effects.iter().filter_map(write).collect()
    }

    /// The one write that was asked for since the last look.
    #[track_caller]
    pub fn write(&mut self) -> LeaseWrite {
        let writes = self.writes();
        assert_eq!(writes.len(), 1, "{:#?}", self.effects);
        self.effects.clear();
        writes.into_iter().next().unwrap()
    }

    #[track_caller]
    pub fn writes_nothing(&mut self) {
        assert!(self.writes().is_empty(), "{:#?}", self.effects);
        self.effects.clear();
    }

    /// Carries out a write as the API server would.
    pub fn written(&mut self, write: &LeaseWrite, version: u64) -> Lease {
        let version = Version(version.to_string());
        let renewed = write.why.is_stamped().then(|| format!("stamp {}", version.0));
        let lease = Lease { renewed, version, body: write.body.clone() };
        self.give(Input::LeaseWritten(WriteOutcome::Written(lease.clone())));
        lease
    }

    pub fn reads(&mut self) -> usize {
        let count = self.effects.iter().filter(|effect| **effect == Effect::ReadLease).count();
        self.effects.retain(|effect| *effect != Effect::ReadLease);
        count
    }

    pub fn told(&self, event: &Event) -> bool {
        self.effects.contains(&Effect::Tell(event.clone()))
    }

    #[track_caller]
    pub fn role(&self) -> &RoleView {
        self.election.role().expect("something was published")
    }

    #[track_caller]
    pub fn leads(&self, term: u64) {
        assert_eq!((self.role().role, self.role().term), (PodRole::Leader, Term(term)), "{:#?}", self.role());
    }

    #[track_caller]
    pub fn follows(&self, name: &str, term: u64) {
        let role = self.role();
        let leader = role.leader.as_ref().map(|leader| leader.name.as_str());
        assert_eq!((role.role, leader, role.term), (PodRole::Follower, Some(name), Term(term)), "{role:#?}");
    }

    #[track_caller]
    pub fn knows_nobody(&self) {
        assert_eq!((self.role().role, &self.role().leader), (PodRole::None, &None), "{:#?}", self.role());
    }
}

/// What a write says: why, holder, incarnation, term.
pub fn said(write: &LeaseWrite) -> (Why, Option<&str>, Option<Uuid>, u64) {
    (write.why, write.body.holder.as_deref(), write.body.incarnation(), write.body.term.0)
}
