//! The stage: sidecars with their elections, one API server with one Lease, and a clock. All of it is exact, so a script
//! gives the same lines every time: a request takes 10 ms, and an event of the watch 5 ms.
//!
//! There are no apps here. The script decides what an app says in status.json.

use crate::words;
use leasehold_election::{
    App, AppState, AppStatus, Body, Claim, Config, Effect, Election, Input, Lease, LeaseWrite, Member, OldRole,
    PodRole, Promise, ReadOutcome, RecordRead, RecordWrite, RecordWritten, RoleView, Term, Version, Watched,
    WriteOutcome, annotation,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use uuid::Uuid;

const HALF_A_REQUEST: Duration = Duration::from_millis(5);
const DURATION: Duration = Duration::from_secs(15);
const LOST_TIME: Duration = Duration::from_secs(1);
const CLUSTER: Uuid = Uuid::from_u128(0xc1);

pub struct Pod {
    /// What the scripts call it, and the Lease: one letter.
    pub name: String,
    pub election: Option<Election>,
    /// Counts the runs of the sidecar: what was meant for an earlier one is dropped.
    run: u32,
    /// The run of the app (a plain app: of the sidecar) that terms are issued to, and how many there were.
    incarnation: Uuid,
    incarnations: u32,
    alarm: Option<Duration>,
    /// The process stands still; what reaches it waits.
    pub is_frozen: bool,
    waiting: Vec<Input>,
    /// It reaches the API server.
    pub has_api: bool,
    /// What a fencing app says.
    status: AppStatus,
    /// role.json.
    role: Option<RoleView>,
}

enum Event {
    Input(usize, u32, Input),
    Read(usize, u32),
    Write(usize, u32, LeaseWrite),
    ReadRecord(usize, u32),
    WriteRecord(usize, u32, RecordWrite),
}

pub struct Stage {
    pub now: Duration,
    /// The times that are shown count from here.
    pub begin: Duration,
    pub pods: Vec<Pod>,
    pub lines: words::Lines,
    is_plain: bool,
    lease: Option<Lease>,
    record: Option<(Version, Term, u32, Option<Uuid>)>,
    versions: u64,
    events: BTreeMap<(Duration, u64), Event>,
    count: u64,
    fresh: u128,
    /// Whose looks in vain this command has shown: they are repeated until one is answered.
    in_vain: BTreeSet<usize>,
}

impl Stage {
    pub fn new() -> Stage {
        Stage {
            now: Duration::ZERO,
            begin: Duration::ZERO,
            pods: Vec::new(),
            lines: words::Lines::default(),
            is_plain: false,
            lease: None,
            record: None,
            versions: 0,
            events: BTreeMap::new(),
            count: 0,
            fresh: 0,
            in_vain: BTreeSet::new(),
        }
    }

    /// A command starts: repeated lines are shown again, once.
    pub fn begin_command(&mut self) {
        self.in_vain.clear();
    }

    pub fn pod(&self, name: &str) -> Result<usize, String> {
        let found = self.pods.iter().position(|pod| pod.name == name);
        found.ok_or_else(|| format!("there is no pod {name:?}"))
    }

    // ---- what a script does

    /// The pods that are wanted, of an app that fences by terms or of a plain one. No sidecar runs yet.
    pub fn want(&mut self, names: &[String], is_plain: bool) -> Result<(), String> {
        if !self.pods.is_empty() {
            return Err("the pods are there already".to_owned());
        }
        self.is_plain = is_plain;
        for name in names {
            if name.len() != 1 || self.pod(name).is_ok() {
                return Err(format!("a pod's name is one letter, and of one pod: {name:?}"));
            }
            self.pods.push(Pod {
                name: name.clone(),
                election: None,
                run: 0,
                incarnation: Uuid::nil(),
                incarnations: 0,
                alarm: None,
                is_frozen: false,
                waiting: Vec::new(),
                has_api: true,
                status: nobody(Uuid::nil()),
                role: None,
            });
            self.begin_incarnation(self.pods.len() - 1);
        }
        Ok(())
    }

    /// A new run of the app, with the volume and the promise that it has.
    fn begin_incarnation(&mut self, pod: usize) {
        self.fresh += 1;
        let incarnation = Uuid::from_u128(self.fresh);
        let one = &mut self.pods[pod];
        one.incarnations += 1;
        one.incarnation = incarnation;
        let (promised, cluster_id) = (one.status.promised, one.status.cluster_id);
        one.status = AppStatus { promised, cluster_id, ..nobody(incarnation) };
        let run =
            if one.incarnations == 1 { one.name.clone() } else { format!("{} (run {})", one.name, one.incarnations) };
        self.lines.name(incarnation, run);
    }

    /// The sidecar starts, reads status.json, and opens its watch.
    pub fn start(&mut self, pod: usize) {
        if self.is_plain && self.pods[pod].run > 0 {
            self.begin_incarnation(pod);
        }
        let one = &mut self.pods[pod];
        one.run += 1;
        let old_role = one.role.as_ref().map(|role| OldRole {
            term: role.term,
            paused: role.paused,
            off_lease: role.leader.as_ref().filter(|_| role.off_lease).map(|leader| leader.incarnation),
            leads_for: None,
            own_claim: role.leader.as_ref().filter(|leader| leader.name == one.name).map(|leader| leader.incarnation),
        });
        let incarnation = one.incarnation;
        one.election = Some(Election::new(Config {
            name: one.name.clone(),
            address: format!("{}:8089", one.name),
            app: if self.is_plain { App::Plain { incarnation, exec: false } } else { App::Fencing },
            duration: DURATION,
            lost_time: LOST_TIME,
            fitness_patience: Duration::from_secs(3),
            stop_bound: Duration::from_secs(50),
            seed: pod as u64,
            old_role,
        }));
        let members = self.pods.iter().map(|pod| Member {
            name: pod.name.clone(),
            address: format!("{}:8089", pod.name),
            peer_address: format!("{}:8090", pod.name),
        });
        let members = members.collect();
        self.step(pod, Input::MembersSeen(Some(members)));
        self.tell_status(pod);
        self.open_watch(pod);
    }

    /// The sidecar ends without a word; so does its pod.
    pub fn kill(&mut self, pod: usize) {
        self.pods[pod].election = None;
        self.pods[pod].waiting.clear();
    }

    pub fn input(&mut self, pod: usize, input: Input) {
        self.step(pod, input);
    }

    /// Something of what the app says changed.
    pub fn app_says(&mut self, pod: usize, change: impl FnOnce(&mut AppStatus)) {
        change(&mut self.pods[pod].status);
        self.tell_status(pod);
    }

    /// The claim of that pod's app, and the promise to it.
    pub fn app_promises(&mut self, pod: usize, to: usize, term: u64, state: AppState) {
        let (name, incarnation) = (self.pods[to].name.clone(), self.pods[to].incarnation);
        self.app_says(pod, |status| {
            status.state = state;
            status.promised = Promise { term: Term(term), incarnation: Some(incarnation) };
            status.following =
                Some(Claim { term: Term(term), incarnation, peer_address: format!("{name}:8090"), name });
            status.leader_heard = true;
            status.campaign = None;
            status.need_term = None;
            status.hand_over = None;
            status.bootstrapping = false;
            status.cluster_id = Some(CLUSTER);
            status.eligible = true;
        });
    }

    pub fn incarnation(&self, pod: usize) -> Uuid {
        self.pods[pod].incarnation
    }

    pub fn app_dies(&mut self, pod: usize) {
        let incarnation = self.pods[pod].incarnation;
        self.step(pod, Input::AppDied { incarnation });
    }

    pub fn app_restarts(&mut self, pod: usize) {
        self.begin_incarnation(pod);
        self.tell_status(pod);
    }

    /// A volume of the cluster, empty or not.
    pub fn give_volume(&mut self, pod: usize) {
        self.pods[pod].status.cluster_id = Some(CLUSTER);
    }

    fn tell_status(&mut self, pod: usize) {
        if !self.is_plain {
            let status = self.pods[pod].status.clone();
            self.step(pod, Input::AppSeen(status));
        }
    }

    pub fn freeze(&mut self, pod: usize, is_frozen: bool) {
        self.pods[pod].is_frozen = is_frozen;
        if !is_frozen {
            let waiting = std::mem::take(&mut self.pods[pod].waiting);
            // Its clock moved on, so what is due is due now.
            for input in waiting.into_iter().chain([Input::Wake]) {
                self.step(pod, input);
            }
        }
    }

    /// Requests of that pod reach the API server, or are refused at once.
    pub fn connect(&mut self, pod: usize, has_api: bool) {
        if self.pods[pod].has_api == has_api {
            return;
        }
        self.pods[pod].has_api = has_api;
        if has_api {
            self.open_watch(pod);
        } else {
            self.step(pod, Input::WatchLost);
            self.later(HALF_A_REQUEST, pod, Input::WatchFailed);
        }
    }

    /// An edit of the Lease by hand.
    pub fn edit(&mut self, change: impl FnOnce(&mut Body)) -> Result<(), String> {
        let lease = self.lease.as_mut().ok_or("there is no Lease")?;
        self.versions += 1;
        lease.version = Version(self.versions.to_string());
        change(&mut lease.body);
        self.show_lease();
        Ok(())
    }

    pub fn delete(&mut self) -> Result<(), String> {
        self.lease.take().ok_or("there is no Lease")?;
        self.versions += 1;
        self.show_lease();
        Ok(())
    }

    /// A Lease that an earlier life left, for the beginning of a story.
    pub fn make_lease(&mut self, holder: usize, term: u64) {
        self.versions += 1;
        let mut annotations =
            BTreeMap::from([(annotation::INCARNATION.to_owned(), self.pods[holder].incarnation.to_string())]);
        annotations.insert(annotation::ADDRESS.to_owned(), format!("{}:8089", self.pods[holder].name));
        if !self.is_plain {
            annotations.insert(annotation::CLUSTER_ID.to_owned(), CLUSTER.to_string());
        }
        self.lease = Some(Lease {
            version: Version(self.versions.to_string()),
            renewed: Some("at first".to_owned()),
            body: Body {
                holder: Some(self.pods[holder].name.clone()),
                term: Term(term),
                duration_seconds: Some(DURATION.as_secs() as u32),
                annotations,
            },
        });
    }

    // ---- time

    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let awake = self.pods.iter().enumerate().filter(|(_, pod)| pod.election.is_some() && !pod.is_frozen);
            let alarm = awake.filter_map(|(pod, one)| Some((one.alarm?, pod))).min();
            let event = self.events.first_key_value().map(|(key, _)| key.0);
            let next = alarm.map(|(at, _)| at).into_iter().chain(event).min().filter(|next| *next <= end);
            let Some(next) = next else { break };
            self.now = self.now.max(next);
            if event == Some(next) {
                let (_, event) = self.events.pop_first().expect("there is one");
                self.happen(event);
            } else if let Some((_, pod)) = alarm {
                self.step(pod, Input::Wake);
            }
        }
        self.now = end;
    }

    fn at(&mut self, pause: Duration, event: Event) {
        self.count += 1;
        self.events.insert((self.now + pause, self.count), event);
    }

    fn later(&mut self, pause: Duration, pod: usize, input: Input) {
        let run = self.pods[pod].run;
        self.at(pause, Event::Input(pod, run, input));
    }

    fn happen(&mut self, event: Event) {
        let is_this_run = |pod: &Pod, run: u32| pod.election.is_some() && pod.run == run;
        match event {
            Event::Input(pod, run, input) if is_this_run(&self.pods[pod], run) => self.step(pod, input),
            Event::Input(..) => {}
            Event::Read(pod, run) if is_this_run(&self.pods[pod], run) => {
                let outcome = match &self.lease {
                    _ if !self.pods[pod].has_api => ReadOutcome::NoAnswer,
                    Some(lease) => ReadOutcome::Found(lease.clone()),
                    None => ReadOutcome::NotFound,
                };
                if outcome != ReadOutcome::NoAnswer || self.in_vain.insert(pod) {
                    self.answer(pod, &words::read(&outcome));
                }
                self.later(HALF_A_REQUEST, pod, Input::LeaseRead(outcome));
            }
            Event::Write(pod, run, write) if is_this_run(&self.pods[pod], run) => self.write(pod, &write),
            Event::ReadRecord(pod, run) if is_this_run(&self.pods[pod], run) => self.read_record(pod),
            Event::WriteRecord(pod, run, write) if is_this_run(&self.pods[pod], run) => self.write_record(pod, &write),
            Event::Read(..) | Event::Write(..) | Event::ReadRecord(..) | Event::WriteRecord(..) => {}
        }
    }

    // ---- the API server

    fn write(&mut self, pod: usize, write: &LeaseWrite) {
        if !self.pods[pod].has_api {
            self.answer(pod, "no answer: the connection is refused");
            return self.later(HALF_A_REQUEST, pod, Input::LeaseWritten(WriteOutcome::Refused));
        }
        let present = self.lease.as_ref().map(|lease| lease.version.clone());
        if write.expected != present {
            self.answer(pod, "409: the Lease has changed since");
            return self.later(HALF_A_REQUEST, pod, Input::LeaseWritten(WriteOutcome::Conflict));
        }
        self.versions += 1;
        let version = Version(self.versions.to_string());
        let old = self.lease.as_ref().and_then(|lease| lease.renewed.clone());
        let renewed = if write.why.is_stamped() { Some(format!("at {:?}", self.now)) } else { old };
        let lease = Lease { version, renewed, body: write.body.clone() };
        self.lease = Some(lease.clone());
        self.later(HALF_A_REQUEST, pod, Input::LeaseWritten(WriteOutcome::Written(lease)));
        self.show_lease();
    }

    fn read_record(&mut self, pod: usize) {
        let outcome = match &self.record {
            _ if !self.pods[pod].has_api => RecordRead::NoAnswer,
            Some((version, term, seconds, created_by)) => {
                let (version, term, duration_seconds) = (version.clone(), *term, Some(*seconds));
                RecordRead::Found { version, term, duration_seconds, created_by: *created_by }
            }
            None => RecordRead::NotFound,
        };
        self.answer(pod, &words::record_read(&outcome));
        self.later(HALF_A_REQUEST, pod, Input::RecordRead(outcome));
    }

    fn write_record(&mut self, pod: usize, write: &RecordWrite) {
        let outcome = if !self.pods[pod].has_api {
            RecordWritten::Unknown
        } else if self.record.as_ref().map(|(version, ..)| version) != write.expected.as_ref() {
            RecordWritten::Conflict
        } else {
            self.versions += 1;
            let version = Version(self.versions.to_string());
            self.record = Some((version.clone(), write.term, write.duration_seconds, write.created_by));
            RecordWritten::Written { version }
        };
        self.answer(pod, &words::record_written(&outcome, write));
        self.later(HALF_A_REQUEST, pod, Input::RecordWritten(outcome));
    }

    /// The Lease has changed: every watch that is open shows it.
    fn show_lease(&mut self) {
        let text = format!("the Lease: {}", words::lease(&self.lines, self.lease.as_ref()));
        self.lines.say(self.now - self.begin, "api", &text);
        for pod in 0..self.pods.len() {
            self.show_to(pod);
        }
    }

    fn open_watch(&mut self, pod: usize) {
        self.show_to(pod);
    }

    fn show_to(&mut self, pod: usize) {
        if self.pods[pod].has_api && self.pods[pod].election.is_some() {
            let watched = match &self.lease {
                Some(lease) => Watched::Present(lease.clone()),
                None => Watched::Absent { as_of: Some(Version(self.versions.to_string())) },
            };
            self.later(HALF_A_REQUEST, pod, Input::LeaseWatched(watched));
        }
    }

    // ---- a step, and its effects

    fn step(&mut self, pod: usize, input: Input) {
        let now = self.now;
        let one = &mut self.pods[pod];
        let Some(election) = &mut one.election else { return };
        if one.is_frozen {
            one.waiting.push(input);
            return;
        }
        let effects = election.step(now, input);
        one.alarm = election.deadline();
        let publishes = effects.iter().any(|effect| matches!(effect, Effect::PublishRole(_)));
        for effect in effects {
            self.carry_out(pod, effect);
        }
        if publishes {
            self.step(pod, Input::RoleWritten(true));
        }
    }

    fn carry_out(&mut self, pod: usize, effect: Effect) {
        let run = self.pods[pod].run;
        match effect {
            Effect::ReadLease => {
                if self.pods[pod].has_api || !self.in_vain.contains(&pod) {
                    self.ask(pod, "GET");
                }
                self.at(HALF_A_REQUEST, Event::Read(pod, run));
            }
            Effect::WriteLease(write) => {
                let text = words::write(&self.lines, &write);
                self.ask(pod, &text);
                self.at(HALF_A_REQUEST, Event::Write(pod, run, write));
            }
            Effect::ReadRecord => {
                self.ask(pod, "GET the record of terms");
                self.at(HALF_A_REQUEST, Event::ReadRecord(pod, run));
            }
            Effect::WriteRecord(write) => {
                self.ask(pod, &words::record_write(&write));
                self.at(HALF_A_REQUEST, Event::WriteRecord(pod, run, write));
            }
            Effect::AwaitLeadLock { .. } | Effect::Answer { .. } => {}
            Effect::PublishRole(view) => {
                let text = words::role(&self.lines, &view, self.begin);
                let old = self.pods[pod].role.replace(view);
                // A renewal that was seen is written to the file, too, and is no news here.
                if old.map(|old| words::role(&self.lines, &old, self.begin)).as_ref() != Some(&text) {
                    self.say(pod, &format!("role.json: {text}"));
                }
            }
            Effect::UpdateEndpoints { name, term, .. } => {
                self.say(pod, &format!("points the Service at {name}, term {term}"));
            }
            Effect::LeaveEndpoints => self.say(pod, "leaves the Service to the next leader"),
            Effect::Tell(event) => {
                let text = words::event(&event);
                self.say(pod, &format!("log: {text}"));
            }
            Effect::Stopped => {
                self.say(pod, "ends");
                self.kill(pod);
            }
        }
    }

    // ---- lines

    fn say(&mut self, pod: usize, text: &str) {
        self.lines.say(self.now - self.begin, &self.pods[pod].name.clone(), text);
    }

    fn ask(&mut self, pod: usize, text: &str) {
        let whom = format!("{} → api", self.pods[pod].name);
        self.lines.say(self.now - self.begin, &whom, text);
    }

    fn answer(&mut self, pod: usize, text: &str) {
        let whom = format!("api → {}", self.pods[pod].name);
        self.lines.say(self.now - self.begin, &whom, text);
    }

    /// The Lease, and what each role.json says.
    pub fn status(&self) -> String {
        let mut lines = format!("Lease: {}\n", words::lease(&self.lines, self.lease.as_ref()));
        for pod in &self.pods {
            let role =
                pod.role.as_ref().map_or("none yet".to_owned(), |role| words::role(&self.lines, role, self.begin));
            let state = match &pod.election {
                None => " (and no sidecar runs)",
                Some(_) if pod.is_frozen => " (and the process stands still)",
                Some(_) => "",
            };
            lines += &format!("{}: role.json: {role}{state}\n", pod.name);
        }
        lines
    }

    pub fn leads(&self, pod: usize) -> bool {
        self.pods[pod].role.as_ref().is_some_and(|role| role.role == PodRole::Leader)
    }
}

/// An app that has promised nothing and follows nobody.
fn nobody(incarnation: Uuid) -> AppStatus {
    AppStatus {
        incarnation,
        cluster_id: None,
        state: AppState::Starting,
        promised: Promise::default(),
        following: None,
        leader_heard: false,
        campaign: None,
        rank: 0,
        need_term: None,
        hand_over: None,
        eligible: false,
        bootstrapping: false,
    }
}
