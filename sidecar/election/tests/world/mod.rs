//! Several electors, one Lease register, one virtual clock. `apps` models how the apps react to what they learn. With
//! `TRACE=1` every step is printed.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

mod apps;
mod register;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use leasehold_election::{
    App, Body, Config, Effect, Election, Input, LeaseWrite, Member, OldRole, PodRole, ReadOutcome, RecordRead,
    RecordWrite, RecordWritten, RoleView, Term, Watched, WriteOutcome, annotation,
};
use uuid::Uuid;

use apps::Replica;
use register::Register;

const DURATION: Duration = Duration::from_secs(15);
const LOST_TIME: Duration = Duration::from_secs(1);
const CLUSTER: Uuid = Uuid::from_u128(0xc1);
/// The shell's bound of a request.
const TIMEOUT: Duration = Duration::from_secs(3);
/// What one elector may ask for in one second, requests and role files together.
const EFFECTS_PER_SECOND_MAX: usize = 30;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Something that is done to the cluster.
#[derive(Clone, Debug)]
pub enum Deed {
    /// No request of that sidecar (of any) arrives.
    CutApi {
        pod: Option<usize>,
        span: Duration,
    },
    /// Requests arrive and are done, the answers are lost.
    LoseAnswers {
        pod: usize,
        span: Duration,
    },
    /// Reads work, writes hang.
    FailWrites {
        pod: usize,
        span: Duration,
    },
    /// The watch shows nothing and does not say so.
    MuteWatch {
        pod: usize,
        span: Duration,
    },
    CutWatch {
        pod: usize,
    },
    /// The sidecar stands still.
    Freeze {
        pod: usize,
        span: Duration,
    },
    KillApp {
        pod: usize,
        span: Duration,
    },
    RestartSidecar {
        pod: usize,
    },
    RestartPod {
        pod: usize,
    },
    Switchover {
        pod: usize,
    },
    Pause {
        span: Duration,
    },
    Annotate,
    RaiseTerm {
        by: u64,
    },
    LowerTerm {
        by: u64,
    },
    AbsurdTerm,
    ClearHolder,
    RivalHolder,
    DropIncarnation,
    DropClusterId,
    Delete,
}

#[derive(Clone, Debug)]
enum Happening {
    /// To the sidecar's election, if it is still that run.
    Deliver(usize, u64, Input),
    /// At the API server.
    Read(usize, u64),
    Write(usize, u64, LeaseWrite),
    ReadRecord(usize, u64),
    WriteRecord(usize, u64, RecordWrite),
    /// The sidecar notices that its watch is gone, and opens it again; unless all was healed in between.
    LoseWatch(usize, u64, u64),
    OpenWatch(usize, u64),
    Alarm(usize, u64),
    Thaw(usize),
    AppTick(usize),
    AppStart(usize),
    Resume(u64),
}

struct Pod {
    name: String,
    election: Election,
    /// Counts the runs of the sidecar: what was meant for an earlier one is dropped.
    run: u64,
    alarm: Option<Duration>,
    frozen_until: Duration,
    /// What arrived while it stood still.
    waiting: Vec<Input>,
    cut_until: Duration,
    answers_lost_until: Duration,
    writes_fail_until: Duration,
    watch_muted_until: Duration,
    is_watching: bool,
    /// role.json.
    role: Option<RoleView>,
    replica: Replica,
    floor: Term,
    recent: Vec<Duration>,
    writes: usize,
    reads: usize,
}

pub struct World {
    now: Duration,
    seed: u64,
    is_plain: bool,
    is_edited: bool,
    terms_come_again: bool,
    /// Counts the healings.
    healings: u64,
    count: u64,
    queue: BTreeMap<(Duration, u64), Happening>,
    register: Register,
    pods: Vec<Pod>,
    /// Who published `leader` by the Lease in a term, and who had a majority.
    by_lease: BTreeMap<Term, Uuid>,
    by_majority: BTreeMap<Term, Uuid>,
    is_traced: bool,
}

impl World {
    pub fn fencing(seed: u64, pods: usize) -> World {
        World::new(seed, pods, false)
    }

    pub fn plain(seed: u64, pods: usize) -> World {
        World::new(seed, pods, true)
    }

    /// Somebody edits the Lease: of a plain app no exclusion is promised then.
    pub fn with_edits(mut self) -> World {
        self.is_edited = true;
        self
    }

    pub fn with_terms_that_come_again(mut self) -> World {
        self.terms_come_again = true;
        self
    }

    fn new(seed: u64, pods: usize, is_plain: bool) -> World {
        let mut world = World {
            now: Duration::from_secs(1_000),
            seed,
            is_plain,
            is_edited: false,
            terms_come_again: false,
            healings: 0,
            count: 0,
            queue: BTreeMap::new(),
            register: Register::default(),
            pods: Vec::new(),
            by_lease: BTreeMap::new(),
            by_majority: BTreeMap::new(),
            is_traced: std::env::var_os("TRACE").is_some(),
        };
        for pod in 0..pods {
            let incarnation = world.fresh_id();
            let name = format!("db-{pod}");
            let config = world.config(pod, &name, None);
            world.pods.push(Pod {
                election: Election::new(config),
                name,
                run: 0,
                alarm: None,
                frozen_until: Duration::ZERO,
                waiting: Vec::new(),
                cut_until: Duration::ZERO,
                answers_lost_until: Duration::ZERO,
                writes_fail_until: Duration::ZERO,
                watch_muted_until: Duration::ZERO,
                is_watching: false,
                role: None,
                replica: Replica::new(incarnation, world.now),
                floor: Term(0),
                recent: Vec::new(),
                writes: 0,
                reads: 0,
            });
        }
        for pod in 0..pods {
            let after = ms(world.random(400));
            world.start_sidecar(pod, after);
            if !is_plain {
                world.after(after, Happening::AppTick(pod));
            }
        }
        world
    }

    fn config(&mut self, pod: usize, name: &str, old_role: Option<OldRole>) -> Config {
        Config {
            name: name.to_owned(),
            address: format!("10.0.0.{pod}:8089"),
            app: if self.is_plain { App::Plain { incarnation: self.fresh_id(), exec: false } } else { App::Fencing },
            duration: DURATION,
            lost_time: LOST_TIME,
            fitness_patience: Duration::from_secs(3),
            stop_bound: Duration::from_secs(50),
            seed: self.random(u64::MAX),
            old_role,
        }
    }

    fn members(&self) -> Vec<Member> {
        let member = |pod: usize| Member {
            name: format!("db-{pod}"),
            address: format!("db-{pod}:8089"),
            peer_address: format!("db-{pod}:8090"),
        };
        (0..self.pods.len()).map(member).collect()
    }

    fn random(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    fn fresh_id(&mut self) -> Uuid {
        self.count += 1;
        Uuid::from_u128(0xa000 + u128::from(self.count))
    }

    fn latency(&mut self) -> Duration {
        Duration::from_micros(500 + self.random(15_000))
    }

    fn after(&mut self, pause: Duration, happening: Happening) {
        self.count += 1;
        self.queue.insert((self.now + pause, self.count), happening);
    }

    fn trace(&self, line: impl FnOnce() -> String) {
        if self.is_traced {
            println!("{:>10.3} {}", self.now.as_secs_f64(), line());
        }
    }

    fn start_sidecar(&mut self, pod: usize, after: Duration) {
        let run = self.pods[pod].run;
        let inputs = [
            Some(Input::MembersSeen(Some(self.members()))),
            (!self.is_plain).then(|| Input::AppSeen(self.pods[pod].replica.status())),
            (!self.is_plain && !self.pods[pod].replica.is_alive)
                .then(|| Input::AppDied { incarnation: self.pods[pod].replica.incarnation }),
        ];
        for input in inputs.into_iter().flatten() {
            self.after(after, Happening::Deliver(pod, run, input));
        }
        self.after(after + ms(3), Happening::OpenWatch(pod, run));
    }

    /// Lets the time pass.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((at, _), happening) = entry.remove_entry();
            self.now = at;
            self.happen(happening);
        }
        self.now = end;
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Deliver(pod, run, input) => {
                if self.pods[pod].run == run {
                    self.deliver(pod, input);
                }
            }
            Happening::Alarm(pod, run) => {
                if self.pods[pod].run == run && self.pods[pod].alarm.is_some_and(|alarm| alarm <= self.now) {
                    self.pods[pod].alarm = None;
                    self.deliver(pod, Input::Wake);
                }
            }
            Happening::Read(pod, run) => self.serve_read(pod, run),
            Happening::Write(pod, run, write) => self.serve_write(pod, run, &write),
            Happening::ReadRecord(pod, run) => self.serve_record_read(pod, run),
            Happening::WriteRecord(pod, run, write) => self.serve_record_write(pod, run, &write),
            Happening::LoseWatch(pod, run, healings) => {
                if self.healings == healings {
                    self.pods[pod].is_watching = false;
                    self.after(Duration::ZERO, Happening::Deliver(pod, run, Input::WatchLost));
                    self.after(ms(50), Happening::OpenWatch(pod, run));
                }
            }
            Happening::OpenWatch(pod, run) => self.open_watch(pod, run),
            Happening::Thaw(pod) => {
                if self.pods[pod].frozen_until <= self.now {
                    for input in std::mem::take(&mut self.pods[pod].waiting) {
                        self.deliver(pod, input);
                    }
                }
            }
            Happening::AppTick(pod) => self.app_tick(pod),
            Happening::AppStart(pod) => self.app_start(pod),
            Happening::Resume(healings) if self.healings == healings => self.edit(|body| {
                body.annotations.remove(annotation::PAUSED);
            }),
            Happening::Resume(_) => {}
        }
    }

    fn deliver(&mut self, pod: usize, input: Input) {
        if self.pods[pod].frozen_until > self.now {
            self.pods[pod].waiting.push(input);
            return;
        }
        if !matches!(input, Input::Wake) {
            self.trace(|| format!("{} <- {}", self.pods[pod].name, brief(&input)));
        }
        let now = self.now;
        let effects = self.pods[pod].election.step(now, input);
        let deadline = self.pods[pod].election.deadline();
        if let Some(deadline) = deadline {
            assert!(deadline > now, "{} would spin: {deadline:?} at {now:?}", self.pods[pod].name);
            if self.pods[pod].alarm != Some(deadline) {
                self.pods[pod].alarm = Some(deadline);
                let run = self.pods[pod].run;
                self.after(deadline - now, Happening::Alarm(pod, run));
            }
        }
        let publishes = effects.iter().any(|effect| matches!(effect, Effect::PublishRole(_)));
        for effect in effects {
            self.trace(|| format!("{}    -> {}", self.pods[pod].name, brief(&effect)));
            self.carry_out(pod, effect);
        }
        if publishes {
            self.deliver(pod, Input::RoleWritten(true));
        }
    }

    fn carry_out(&mut self, pod: usize, effect: Effect) {
        let run = self.pods[pod].run;
        let latency = self.latency();
        match effect {
            Effect::ReadLease => {
                self.pods[pod].reads += 1;
                self.after(latency, Happening::Read(pod, run));
            }
            Effect::WriteLease(write) => {
                self.pods[pod].writes += 1;
                self.after(latency, Happening::Write(pod, run, write));
            }
            Effect::ReadRecord => {
                self.pods[pod].reads += 1;
                self.after(latency, Happening::ReadRecord(pod, run));
            }
            Effect::WriteRecord(write) => {
                self.pods[pod].writes += 1;
                self.after(latency, Happening::WriteRecord(pod, run, write));
            }
            Effect::AwaitLeadLock { .. } => panic!("nothing runs under exec here"),
            Effect::Answer { .. } => panic!("nobody asks for anything here"),
            Effect::PublishRole(view) => self.published(pod, view),
            Effect::Tell(_) | Effect::UpdateEndpoints { .. } | Effect::LeaveEndpoints => return,
            Effect::Stopped => panic!("nobody asked it to stop"),
        }
        let now = self.now;
        let recent = &mut self.pods[pod].recent;
        recent.retain(|at| *at + Duration::from_secs(1) > now);
        recent.push(now);
        let count = recent.len();
        assert!(count <= EFFECTS_PER_SECOND_MAX, "{} is busy: {count} in a second", self.pods[pod].name);
    }

    fn published(&mut self, pod: usize, view: RoleView) {
        let name = self.pods[pod].name.clone();
        // Only if somebody lowered it by hand, and after a while of `none`.
        let was_none = self.pods[pod].role.as_ref().is_some_and(|role| role.leader.is_none());
        let may_sink = self.terms_come_again && was_none;
        let floor = self.pods[pod].floor;
        assert!(may_sink || view.term >= floor, "{name}: the term went down from {floor}: {view:?}");
        self.pods[pod].floor = view.term;
        if view.role == PodRole::Leader {
            let leader = view.leader.as_ref().unwrap();
            assert_eq!(leader.name, name, "leader means this pod");
            if !view.off_lease && !self.terms_come_again {
                let known = *self.by_lease.entry(view.term).or_insert(leader.incarnation);
                assert_eq!(known, leader.incarnation, "two leaders by the Lease in term {}", view.term);
            }
            if self.is_plain && !self.is_edited {
                for other in self.pods.iter().filter(|other| other.name != name) {
                    let Some(role) = other.role.as_ref().filter(|role| role.role == PodRole::Leader) else { continue };
                    let until = role.valid_until.expect("a plain leader's claim has an end");
                    assert!(until <= self.now, "{} still leads until {until:?}, at {:?}", other.name, self.now);
                }
            }
        }
        self.pods[pod].role = Some(view);
        if !self.is_plain {
            self.app_reacts(pod);
        }
    }

    pub fn disturb(&mut self, deed: Deed) {
        self.trace(|| format!("--- {deed:?}"));
        let until = |span: Duration| self.now + span;
        let pods = self.pods.len();
        match deed {
            Deed::CutApi { pod, span } => {
                let until = until(span);
                for pod in (0..pods).filter(|each| pod.is_none_or(|pod| pod % pods == *each)) {
                    self.pods[pod].cut_until = self.pods[pod].cut_until.max(until);
                    self.lose_watch(pod, span);
                }
            }
            Deed::LoseAnswers { pod, span } => self.pods[pod % pods].answers_lost_until = until(span),
            Deed::FailWrites { pod, span } => self.pods[pod % pods].writes_fail_until = until(span),
            Deed::MuteWatch { pod, span } => {
                self.pods[pod % pods].watch_muted_until = until(span);
                let run = self.pods[pod % pods].run;
                self.after(span, Happening::LoseWatch(pod % pods, run, self.healings));
            }
            Deed::CutWatch { pod } => self.lose_watch(pod % pods, Duration::ZERO),
            Deed::Freeze { pod, span } => {
                self.pods[pod % pods].frozen_until = until(span);
                self.after(span, Happening::Thaw(pod % pods));
            }
            Deed::KillApp { pod, span } if !self.is_plain => self.app_dies(pod % pods, span),
            Deed::KillApp { pod, .. } | Deed::RestartSidecar { pod } => self.restart_sidecar(pod % pods),
            Deed::RestartPod { pod } => {
                if !self.is_plain {
                    self.app_dies(pod % pods, ms(1_000));
                }
                self.restart_sidecar(pod % pods);
            }
            Deed::Switchover { pod } => self.edit(|body| {
                body.annotations.insert(annotation::PREFERRED_HOLDER.into(), format!("db-{}", pod % pods));
            }),
            Deed::Pause { span } => {
                self.edit(|body| {
                    body.annotations.insert(annotation::PAUSED.into(), "true".into());
                });
                self.after(span, Happening::Resume(self.healings));
            }
            Deed::Annotate => self.edit(|body| {
                body.annotations.insert("example.com/note".into(), "x".into());
            }),
            Deed::RaiseTerm { by } => self.edit(|body| body.term.0 += by),
            Deed::LowerTerm { by } => self.edit(|body| body.term.0 = body.term.0.saturating_sub(by)),
            Deed::AbsurdTerm => self.edit(|body| body.term = Term::MAX),
            Deed::ClearHolder => self.edit(|body| body.holder = None),
            Deed::RivalHolder => self.edit(|body| {
                body.holder = Some("rival".into());
                body.term.0 += 1;
            }),
            Deed::DropIncarnation => self.edit(|body| {
                body.annotations.remove(annotation::INCARNATION);
            }),
            Deed::DropClusterId => self.edit(|body| {
                body.annotations.remove(annotation::CLUSTER_ID);
            }),
            Deed::Delete => {
                if let Some(version) = self.register.delete() {
                    self.show(&Watched::Absent { as_of: Some(version) });
                }
            }
        }
    }

    fn restart_sidecar(&mut self, pod: usize) {
        let name = self.pods[pod].name.clone();
        let old_role = self.pods[pod].role.as_ref().map(|role| OldRole {
            term: role.term,
            paused: role.paused,
            off_lease: role.leader.as_ref().filter(|_| role.off_lease).map(|leader| leader.incarnation),
            leads_for: None,
            own_claim: role.leader.as_ref().filter(|_| role.role == PodRole::Leader).map(|leader| leader.incarnation),
        });
        let election = Election::new(self.config(pod, &name, old_role));
        let world = &mut self.pods[pod];
        world.election = election;
        world.run += 1;
        world.alarm = None;
        world.waiting.clear();
        world.frozen_until = Duration::ZERO;
        world.is_watching = false;
        self.start_sidecar(pod, ms(0));
    }

    /// Heals everything.
    pub fn calm(&mut self) {
        self.trace(|| "--- calm".into());
        self.healings += 1;
        self.edit(|body| {
            body.annotations.remove(annotation::PAUSED);
        });
        for pod in 0..self.pods.len() {
            let now = self.now;
            let healed = &mut self.pods[pod];
            healed.cut_until = now;
            healed.answers_lost_until = now;
            healed.writes_fail_until = now;
            healed.watch_muted_until = now;
            healed.frozen_until = now;
            self.after(Duration::ZERO, Happening::Thaw(pod));
            self.lose_watch(pod, Duration::ZERO);
            if !self.pods[pod].replica.is_alive {
                self.app_start(pod);
            }
        }
    }

    /// Who leads, if all agree: name, incarnation, term.
    pub fn settled(&self) -> Option<(String, Uuid, Term)> {
        let body = &self.register.lease.as_ref()?.body;
        let (name, incarnation, term) = (body.holder.clone()?, body.incarnation()?, body.term);
        let agrees = |pod: &Pod| {
            let Some(role) = &pod.role else { return false };
            let leader = role.leader.as_ref().map(|leader| (&leader.name, leader.incarnation));
            let word = if pod.name == name { PodRole::Leader } else { PodRole::Follower };
            leader == Some((&name, incarnation)) && role.term == term && role.role == word && !role.off_lease
        };
        let leads = |pod: &Pod| self.is_plain || pod.name != name || pod.replica.leads_with(incarnation, term);
        let is_clean = body.preferred_holder().is_none() && (self.is_plain || body.cluster_id() == Some(CLUSTER));
        (is_clean && self.pods.iter().all(|pod| agrees(pod) && leads(pod))).then_some((name, incarnation, term))
    }

    /// The pod whose app is leading (plain: that publishes `leader`), and its term.
    pub fn leading(&self) -> Option<(String, Term)> {
        let leads = |pod: &&Pod| {
            let is_named = pod.role.as_ref().is_some_and(|role| role.role == PodRole::Leader);
            is_named && (self.is_plain || pod.replica.is_leading())
        };
        let pod = self.pods.iter().find(leads)?;
        pod.role.as_ref().map(|role| (pod.name.clone(), role.term))
    }

    pub fn settles_within(&mut self, bound: Duration) {
        let end = self.now + bound;
        while self.settled().is_none() {
            assert!(self.now < end, "not settled after {bound:?}: {}", self.describe());
            self.pass(ms(100));
        }
    }

    /// For that long nothing changes, the holder renews every third of the duration or up to an eighth sooner, and nobody
    /// else sends anything.
    pub fn stays_and_is_quiet(&mut self, time: Duration) {
        self.pass(Duration::from_secs(10));
        let settled = self.settled();
        assert!(settled.is_some(), "did not stay: {}", self.describe());
        for pod in &mut self.pods {
            (pod.reads, pod.writes) = (0, 0);
        }
        let end = self.now + time;
        while self.now < end {
            self.pass(ms(500));
            assert_eq!(self.settled(), settled, "did not stay: {}", self.describe());
        }
        let renewals = (time.as_secs() / 5) as usize;
        let holder = settled.unwrap().0;
        for pod in &self.pods {
            let writes = if pod.name == holder { renewals - 2..=renewals * 8 / 7 + 2 } else { 0..=0 };
            assert!(writes.contains(&pod.writes), "{} wrote {} times in {time:?}", pod.name, pod.writes);
            assert_eq!(pod.reads, 0, "{} asked", pod.name);
        }
        let names: BTreeSet<_> = self.pods.iter().map(|pod| &pod.name).collect();
        assert_eq!(names.len(), self.pods.len());
    }

    fn describe(&self) -> String {
        let pods = self.pods.iter().map(|pod| {
            format!("\n{}: {:?}\n   app {:?}\n   waits {:?}", pod.name, pod.role, pod.replica, pod.election.waits())
        });
        format!("Lease {:?}{}", self.register.lease, pods.collect::<String>())
    }
}

fn brief(what: &impl std::fmt::Debug) -> String {
    let text = format!("{what:?}");
    if text.len() > 700 { format!("{}...", &text[..700]) } else { text }
}

impl World {
    /// A GET arrives, or does not.
    fn serve_read(&mut self, pod: usize, run: u64) {
        let latency = self.latency();
        if self.pods[pod].cut_until > self.now {
            let pause = self.failure_pause();
            return self.after(pause, Happening::Deliver(pod, run, Input::LeaseRead(ReadOutcome::NoAnswer)));
        }
        if self.pods[pod].answers_lost_until > self.now {
            return self.after(TIMEOUT, Happening::Deliver(pod, run, Input::LeaseRead(ReadOutcome::NoAnswer)));
        }
        let outcome = self.register.lease.clone().map_or(ReadOutcome::NotFound, ReadOutcome::Found);
        self.after(latency, Happening::Deliver(pod, run, Input::LeaseRead(outcome)));
    }

    fn serve_write(&mut self, pod: usize, run: u64, write: &LeaseWrite) {
        let is_lost = self.pods[pod].answers_lost_until > self.now;
        let (pause, outcome) = if self.pods[pod].cut_until > self.now {
            let pause = self.failure_pause();
            (pause, if pause < TIMEOUT { WriteOutcome::Refused } else { WriteOutcome::Unknown })
        } else if self.pods[pod].writes_fail_until > self.now {
            (ms(800), WriteOutcome::Unknown)
        } else {
            let outcome = match self.register.write(write) {
                Ok(lease) => {
                    self.show(&Watched::Present(lease.clone()));
                    WriteOutcome::Written(lease)
                }
                Err(()) => WriteOutcome::Conflict,
            };
            if is_lost { (TIMEOUT, WriteOutcome::Unknown) } else { (self.latency(), outcome) }
        };
        self.after(pause, Happening::Deliver(pod, run, Input::LeaseWritten(outcome)));
    }

    fn serve_record_read(&mut self, pod: usize, run: u64) {
        let (pause, outcome) = if self.pods[pod].cut_until > self.now {
            (self.failure_pause(), RecordRead::NoAnswer)
        } else if self.pods[pod].answers_lost_until > self.now {
            (TIMEOUT, RecordRead::NoAnswer)
        } else {
            let outcome = match self.register.record.clone() {
                Some((version, term, seconds, created_by)) => {
                    RecordRead::Found { version, term, duration_seconds: Some(seconds), created_by }
                }
                None => RecordRead::NotFound,
            };
            (self.latency(), outcome)
        };
        self.after(pause, Happening::Deliver(pod, run, Input::RecordRead(outcome)));
    }

    fn serve_record_write(&mut self, pod: usize, run: u64, write: &RecordWrite) {
        let is_lost = self.pods[pod].answers_lost_until > self.now;
        let (pause, outcome) = if self.pods[pod].cut_until > self.now {
            (self.failure_pause(), RecordWritten::Unknown)
        } else if self.pods[pod].writes_fail_until > self.now {
            (ms(800), RecordWritten::Unknown)
        } else {
            let outcome = self.register.write_record(write);
            if is_lost { (TIMEOUT, RecordWritten::Unknown) } else { (self.latency(), outcome) }
        };
        self.after(pause, Happening::Deliver(pod, run, Input::RecordWritten(outcome)));
    }

    /// Refused at once, or silence until the time-out.
    fn failure_pause(&mut self) -> Duration {
        if self.random(2) == 0 { ms(2) } else { TIMEOUT }
    }

    fn edit(&mut self, edit: impl FnOnce(&mut Body)) {
        if let Some(lease) = self.register.edit(edit) {
            self.show(&Watched::Present(lease));
        }
    }

    /// Every watch that is open shows it. The order is kept per watch: the pauses are equal.
    fn show(&mut self, watched: &Watched) {
        for pod in 0..self.pods.len() {
            let seen = &self.pods[pod];
            if seen.is_watching && seen.cut_until <= self.now && seen.watch_muted_until <= self.now {
                let (run, lag) = (seen.run, ms(4 + 7 * pod as u64));
                self.after(lag, Happening::Deliver(pod, run, Input::LeaseWatched(watched.clone())));
            }
        }
    }

    /// The watch is gone; the sidecar notices that now, or when the cut has long been over.
    fn lose_watch(&mut self, pod: usize, span: Duration) {
        let run = self.pods[pod].run;
        let notice = if self.random(2) == 0 { ms(1) } else { span + ms(1) };
        self.pods[pod].is_watching = false;
        self.after(notice, Happening::LoseWatch(pod, run, self.healings));
    }

    fn open_watch(&mut self, pod: usize, run: u64) {
        if self.pods[pod].run != run || self.pods[pod].is_watching && self.pods[pod].watch_muted_until > self.now {
            return;
        }
        if self.pods[pod].cut_until > self.now {
            let pause = self.failure_pause();
            self.after(pause, Happening::Deliver(pod, run, Input::WatchFailed));
            return self.after(pause + ms(1_000), Happening::OpenWatch(pod, run));
        }
        self.pods[pod].is_watching = true;
        let list = match &self.register.lease {
            Some(lease) => Watched::Present(lease.clone()),
            None => Watched::Absent { as_of: Some(self.register.version()) },
        };
        self.after(ms(4 + 7 * pod as u64), Happening::Deliver(pod, run, Input::LeaseWatched(list)));
    }
}
