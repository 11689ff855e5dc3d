//! The stage: pods with their replicas, volumes and disks, a network and a clock. All of it is exact, so a script gives the
//! same lines every time: a message takes 1 ms, a write to a disk 2 ms.
//!
//! There is no sidecar here. The script decides the content of role.json, as the sidecars would.

use crate::words;
use bytes::Bytes;
use leasehold_replication::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use uuid::Uuid;

const MS: Duration = Duration::from_millis(1);
const MESSAGE_TAKES: Duration = MS;
const WRITE_TAKES: Duration = Duration::from_millis(2);
/// A snapshot arrives in pieces; here it arrives whole.
const SNAPSHOT_TAKES: Duration = Duration::from_millis(5);
const HEARTBEAT: Duration = Duration::from_millis(100);
const LOST_TIME: Duration = Duration::from_millis(1000);
const DISK_STALL: Duration = Duration::from_millis(2000);
const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(0xc1));

/// One pod: its volume outlives its process.
pub struct Pod {
    /// What the scripts call it: one letter.
    pub letter: String,
    pub replica: Option<Replica>,
    volume: Volume,
    /// Counts the runs of the process: what was meant for an earlier one is dropped.
    run: u32,
    incarnation: Incarnation,
    id: ReplicaId,
    alarm: Option<Duration>,
    disk: Disk,
    /// What its build reads, and what its operator allows.
    formats: (u32, u32),
    /// What its restore.json holds.
    restore: Option<Restore>,
    said: Option<Status>,
    /// The sum of its data after each entry that it has applied, and what is wrong with the data.
    sums: BTreeMap<Seq, u128>,
    damage: u128,
    /// What clients of this pod wait for.
    waiting: Vec<(ProposalId, String, Option<Position>)>,
    reads: Vec<ReadId>,
}

#[derive(Clone)]
struct Volume {
    state: DurableState,
    snapshot: Option<SnapshotMeta>,
    entries: Vec<Entry>,
    mark: Option<WentBack>,
    diverged: Option<Diverged>,
    /// Of the newest segment of its journal.
    format: u32,
}

#[derive(Default)]
struct Disk {
    is_stuck: bool,
    /// What it was given and has not written.
    queue: VecDeque<(Ticket, Job)>,
    stall_told: bool,
}

/// What is shown once for each command.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Repeated {
    Question,
    StateAnswer,
    Invitation,
    Dial,
}

enum Job {
    Records(Vec<Record>),
    Snapshot(SnapshotMeta, DurableState),
    Restored(SnapshotMeta, DurableState, Entry),
    Mark(WentBack),
    MarkDiverged(Diverged),
}

enum Event {
    Input(usize, u32, Input),
    Dial { from: usize, run: u32, conn: ConnId, to: usize, hello: Hello },
    Written(usize, u32),
    StallSeen(usize, u32),
    Invite { from: usize, to: usize, claim: Claim },
    AskState { from: usize, to: usize },
}

pub struct Stage {
    pub now: Duration,
    /// The times that are shown count from here.
    pub begin: Duration,
    pub pods: Vec<Pod>,
    pub view: RoleView,
    pub lines: words::Lines,
    events: BTreeMap<(Duration, u64), Event>,
    count: u64,
    /// (pod, its name of a connection) -> the other end.
    ends: BTreeMap<(usize, ConnId), (usize, ConnId)>,
    next_conn: u64,
    cuts: BTreeSet<(usize, usize)>,
    copies: BTreeMap<usize, Volume>,
    /// Names for the UUIDs of incarnations and volumes.
    fresh: u128,
    /// Questions, invitations and calls that this command has shown already: they are repeated until they are answered.
    repeated: BTreeSet<(usize, usize, Repeated)>,
    log_memory_bytes: usize,
    /// The shells keep sums, and the replicas compare them.
    pub sums: bool,
    /// What the build of a new pod reads, and what its operator allows.
    pub formats: (u32, u32),
    /// What a restore.json beside the next new volume holds: data up to there; 0: there is none.
    pub restored: u64,
}

impl Stage {
    pub fn new() -> Stage {
        Stage {
            now: Duration::ZERO,
            begin: Duration::ZERO,
            pods: Vec::new(),
            view: RoleView::default(),
            lines: words::Lines::default(),
            events: BTreeMap::new(),
            count: 0,
            ends: BTreeMap::new(),
            next_conn: 0,
            cuts: BTreeSet::new(),
            copies: BTreeMap::new(),
            fresh: 0,
            repeated: BTreeSet::new(),
            log_memory_bytes: 1_000_000,
            sums: false,
            formats: (FORMAT, FORMAT),
            restored: 0,
        }
    }

    /// A command starts: repeated lines are shown again, once.
    pub fn begin_command(&mut self) {
        self.repeated.clear();
    }

    pub fn pod(&self, letter: &str) -> Result<usize, String> {
        let found = self.pods.iter().position(|pod| pod.letter == letter);
        found.ok_or_else(|| format!("there is no pod {letter:?}"))
    }

    fn fresh_id(&mut self) -> Uuid {
        self.fresh += 1;
        Uuid::from_u128(self.fresh)
    }

    // ---- what a script does

    /// A pod with an empty volume, that is wanted and runs. `little_memory`: entries stay in memory only while they must.
    pub fn add(&mut self, letter: &str, little_memory: bool) -> Result<(), String> {
        if letter.len() != 1 || !letter.chars().all(|c| c.is_ascii_lowercase()) {
            return Err(format!("a pod's name is one letter, not {letter:?}"));
        }
        if self.pod(letter).is_ok() {
            return Err(format!("there is a pod {letter} already"));
        }
        if little_memory {
            self.log_memory_bytes = 0;
        }
        let id = ReplicaId(self.fresh_id());
        self.lines.name(id.0, format!("of {letter}"));
        let pod = Pod {
            letter: letter.to_owned(),
            replica: None,
            volume: Volume {
                state: DurableState::EMPTY,
                snapshot: None,
                entries: Vec::new(),
                mark: None,
                diverged: None,
                format: FORMAT_MIN,
            },
            run: 0,
            incarnation: Incarnation(Uuid::nil()),
            id,
            alarm: None,
            disk: Disk::default(),
            formats: self.formats,
            restore: (self.restored > 0).then_some(Restore { position: Position::new(0, self.restored), format: 2 }),
            said: None,
            sums: BTreeMap::new(),
            damage: 0,
            waiting: Vec::new(),
            reads: Vec::new(),
        };
        self.restored = 0;
        self.pods.push(pod);
        Ok(())
    }

    /// The pods that are wanted, as every sidecar sees them.
    pub fn want(&mut self, letters: &[String]) -> Result<(), String> {
        let mut members = Vec::new();
        for letter in letters {
            let name = pod_name(self.pod(letter)?, letter);
            members.push(Member {
                peer_address: format!("{name}:8090"),
                name,
                addresses: Vec::new(),
                remembered: false,
            });
        }
        self.view.members = members;
        Ok(())
    }

    /// Processes start at the same time, each with its pod's present volume.
    pub fn start(&mut self, pods: &[usize]) {
        for pod in pods {
            self.open(*pod);
        }
        for pod in pods {
            let view = self.view.clone();
            self.step(*pod, Input::Wake);
            self.step(*pod, Input::Role(view));
        }
    }

    fn open(&mut self, pod: usize) {
        let incarnation = Incarnation(self.fresh_id());
        let letter = self.pods[pod].letter.clone();
        self.pods[pod].run += 1;
        let run = self.pods[pod].run;
        self.lines.name(incarnation.0, if run == 1 { letter.clone() } else { format!("{letter} (run {run})") });
        let config = self.config(pod, incarnation);
        let one = &mut self.pods[pod];
        one.incarnation = incarnation;
        one.disk = Disk::default();
        (one.sums, one.damage) = (BTreeMap::new(), 0);
        let volume = &one.volume;
        let found = Recovered {
            state: volume.state,
            snapshot: volume.snapshot.clone(),
            entries: volume.entries.clone(),
            committed: Position::ZERO,
            went_back: volume.mark.clone(),
            diverged: volume.diverged.clone(),
            format: volume.format,
        };
        let replica = Replica::new(config, found);
        one.said = Some(replica.status());
        one.replica = Some(replica);
    }

    fn config(&self, pod: usize, incarnation: Incarnation) -> Config {
        let one = &self.pods[pod];
        Config {
            name: pod_name(pod, &one.letter),
            replica: one.id,
            incarnation,
            revision: String::new(),
            heartbeat: HEARTBEAT,
            lost_time: LOST_TIME,
            disk_stall: DISK_STALL,
            unready_after: Duration::from_secs(30),
            log_memory_bytes: self.log_memory_bytes,
            apply_bytes_max: 1_000_000,
            hand_over_max: Duration::from_secs(2),
            drain_min: Duration::from_secs(5),
            drain_max: Duration::from_secs(55),
            new_cluster_id: CLUSTER,
            initial_data: vec![Bytes::from_static(b"first data")],
            initial_format: 1,
            restore: one.restore.filter(|_| one.volume.state.cluster_id.is_none()),
            force_bootstrap: false,
            format_build: one.formats.0,
            format_allowed: one.formats.1,
            sums: self.sums,
        }
    }

    /// The process is killed: what its disk had not written is lost, and its connections are reset.
    pub fn kill(&mut self, pod: usize) {
        self.pods[pod].replica = None;
        self.pods[pod].waiting.clear();
        self.pods[pod].reads.clear();
        let open: Vec<_> = self.ends.iter().filter(|((one, _), _)| *one == pod).map(|(a, b)| (*a, *b)).collect();
        for (near, far) in open {
            self.ends.remove(&near);
            self.ends.remove(&far);
            self.input_unless_cut(pod, far.0, Input::Closed { conn: far.1 });
        }
    }

    /// The Lease names that pod's present run; these sidecars have seen it.
    pub fn lease(&mut self, holder: usize, term: u64, seen_by: &[usize]) {
        let name = pod_name(holder, &self.pods[holder].letter);
        self.view.cluster_id = self.pods.iter().find_map(|pod| pod.volume.state.cluster_id);
        self.view.leader = Some(LeaderView {
            term: Term(term),
            incarnation: self.pods[holder].incarnation,
            peer_address: format!("{name}:8090"),
            name,
            addresses: Vec::new(),
        });
        for pod in seen_by {
            self.tell_role(*pod);
        }
    }

    pub fn tell_role(&mut self, pod: usize) {
        if self.pods[pod].replica.is_some() {
            let view = self.view.clone();
            self.step(pod, Input::Role(view));
        }
    }

    pub fn write(&mut self, pod: usize, text: &str) {
        self.count += 1;
        let id = ProposalId(self.count);
        self.pods[pod].waiting.push((id, text.to_owned(), None));
        let command = Bytes::copy_from_slice(text.as_bytes());
        self.step(pod, Input::Propose(vec![Proposal { id, command, grows: true }]));
    }

    pub fn read(&mut self, pod: usize) {
        self.count += 1;
        let id = ReadId(self.count);
        self.pods[pod].reads.push(id);
        self.step(pod, Input::Read { id });
    }

    pub fn cut(&mut self, a: usize, b: usize, is_cut: bool) {
        let pair = (a.min(b), a.max(b));
        if is_cut {
            self.cuts.insert(pair);
        } else {
            self.cuts.remove(&pair);
        }
    }

    pub fn copy_volume(&mut self, pod: usize) {
        self.copies.insert(pod, self.pods[pod].volume.clone());
    }

    pub fn restore_volume(&mut self, pod: usize) -> Result<(), String> {
        self.pods[pod].volume = self.copies.get(&pod).cloned().ok_or("no copy was made of that volume")?;
        Ok(())
    }

    /// The disk neither writes nor fails from here on, or does again.
    pub fn stick(&mut self, pod: usize, is_stuck: bool) {
        self.pods[pod].disk.is_stuck = is_stuck;
        if is_stuck {
            return;
        }
        let run = self.pods[pod].run;
        for _ in 0..self.pods[pod].disk.queue.len() {
            self.later(WRITE_TAKES, Event::Written(pod, run));
        }
    }

    /// A snapshot of all that is applied replaces the log up to there.
    pub fn take_snapshot(&mut self, pod: usize) -> Result<Position, String> {
        let status = self.pods[pod].replica.as_ref().ok_or("that pod does not run")?.status();
        let volume = &mut self.pods[pod].volume;
        let upto = volume.entries.iter().rposition(|entry| entry.position.seq <= status.committed);
        let upto = upto.ok_or("nothing is applied that is not in a snapshot")?;
        let position = volume.entries[upto].position;
        let voters = volume.entries[..=upto].iter().rev().find_map(|entry| match &entry.payload {
            Payload::Voters(voters) => Some(voters.clone()),
            Payload::Empty | Payload::Command(_) => None,
        });
        let voters = voters.or_else(|| volume.snapshot.as_ref().map(|meta| meta.voters.clone()));
        let voters = voters.ok_or("a log without voters")?;
        volume.entries.drain(..=upto);
        volume.snapshot = Some(SnapshotMeta { cluster_id: CLUSTER, position, voters });
        self.step(pod, Input::SnapshotTaken { position });
        Ok(position)
    }

    pub fn input(&mut self, pod: usize, input: Input) {
        self.step(pod, input);
    }

    // ---- time

    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        let mut at_once = 0;
        loop {
            let alarm = self.pods.iter().enumerate().filter(|(_, pod)| pod.replica.is_some());
            let alarm = alarm.filter_map(|(pod, one)| Some((one.alarm?.max(self.now), pod))).min();
            let event = self.events.first_key_value().map(|(key, _)| key.0);
            let next = alarm.map(|(at, _)| at).into_iter().chain(event).min().filter(|next| *next <= end);
            let Some(next) = next else { break };
            at_once = if next == self.now { at_once + 1 } else { 0 };
            assert!(at_once < 10_000, "the replicas never fall silent at {:?}", self.now);
            self.now = next;
            if event == Some(next) {
                let (_, event) = self.events.pop_first().expect("there is one");
                self.happen(event);
            } else if let Some((_, pod)) = alarm {
                self.step(pod, Input::Wake);
            }
        }
        self.now = end;
    }

    fn later(&mut self, pause: Duration, event: Event) {
        self.count += 1;
        self.events.insert((self.now + pause, self.count), event);
    }

    fn input_later(&mut self, pause: Duration, pod: usize, input: Input) {
        let run = self.pods[pod].run;
        self.later(pause, Event::Input(pod, run, input));
    }

    fn is_up(&self, pod: usize, run: u32) -> bool {
        self.pods[pod].replica.is_some() && self.pods[pod].run == run
    }

    fn is_cut(&self, a: usize, b: usize) -> bool {
        self.cuts.contains(&(a.min(b), a.max(b)))
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Input(pod, run, input) if self.is_up(pod, run) => self.step(pod, input),
            Event::Input(..) => {}
            Event::Dial { from, run, conn, to, hello } if self.is_up(from, run) => self.dialled(from, conn, to, hello),
            Event::Dial { .. } => {}
            Event::Written(pod, run) if self.is_up(pod, run) => self.written(pod),
            Event::Written(..) => {}
            Event::StallSeen(pod, run) => {
                if self.is_up(pod, run) && self.pods[pod].disk.is_stuck && !self.pods[pod].disk.stall_told {
                    self.pods[pod].disk.stall_told = true;
                    self.say(pod, "a write to its disk has lasted 2 s: it hangs".to_owned());
                    self.step(pod, Input::Disk { stalled: true, full: false });
                }
            }
            Event::Invite { from, to, claim } => {
                if self.pods[to].replica.is_some() && !self.is_cut(from, to) {
                    self.step(to, Input::Invited { request: RequestId(from as u64), claim });
                }
            }
            Event::AskState { from, to } => self.asked(from, to),
        }
    }

    fn dialled(&mut self, from: usize, conn: ConnId, to: usize, hello: Hello) {
        if self.is_cut(from, to) {
            // Nothing returns: the shell gives up.
            return self.input_later(LOST_TIME, from, Input::Closed { conn });
        }
        if self.pods[to].replica.is_none() {
            return self.input_later(MESSAGE_TAKES, from, Input::Closed { conn });
        }
        self.next_conn += 1;
        let far = ConnId::Accepted(self.next_conn);
        self.ends.insert((from, conn), (to, far));
        self.ends.insert((to, far), (from, conn));
        self.step(to, Input::Hello { conn: far, hello });
    }

    fn asked(&mut self, from: usize, to: usize) {
        let Some(replica) = self.pods[to].replica.as_ref().filter(|_| !self.is_cut(from, to)) else { return };
        let name = pod_name(to, &self.pods[to].letter);
        let state = replica.status().peer_state(&name, self.pods[to].id);
        if self.repeated.insert((to, from, Repeated::StateAnswer)) {
            self.say_to(to, from, words::peer_state(&self.lines, &state, self.pods[from].id));
        }
        self.input_later(MESSAGE_TAKES, from, Input::StateAnswered { name, state });
    }

    // ---- a step, and its effects

    fn step(&mut self, pod: usize, input: Input) {
        let one = &mut self.pods[pod];
        let Some(replica) = &mut one.replica else { return };
        let effects = replica.step(self.now, input);
        one.alarm = replica.deadline();
        let new = replica.status();
        let old = one.said.replace(new.clone()).expect("it was started");
        for text in words::changes(&self.lines, &old, &new) {
            self.say(pod, text);
        }
        for effect in effects {
            self.carry_out(pod, effect);
        }
    }

    fn carry_out(&mut self, pod: usize, effect: Effect) {
        match effect {
            Effect::Persist { ticket, format, records } => {
                self.begin_segment(pod, format);
                let texts: Vec<String> = records.iter().map(|record| words::record(&self.lines, record)).collect();
                self.give_to_disk(pod, ticket, Job::Records(records), &texts.join("; "));
            }
            Effect::InstallSnapshot { ticket, meta, state, format, .. } => {
                self.begin_segment(pod, format);
                let text = format!("the snapshot up to {}, in place of its log", meta.position);
                self.give_to_disk(pod, ticket, Job::Snapshot(meta, state), &text);
            }
            Effect::Restore { ticket, meta, state, format, entry } => {
                self.begin_segment(pod, format);
                let (state_text, entry_text) =
                    (words::record(&self.lines, &Record::State(state)), words::entry(&self.lines, &entry));
                let text =
                    format!("{state_text}; the restored data up to {}; {entry_text}: all at once", meta.position);
                self.give_to_disk(pod, ticket, Job::Restored(meta, state, entry), &text);
            }
            Effect::MarkWentBack { ticket, mark } => {
                let text = format!("the mark went-back: {}", self.lines.named(&mark.to_string()));
                self.give_to_disk(pod, ticket, Job::Mark(mark), &text);
            }
            Effect::MarkDiverged { ticket, mark } => {
                let text = format!("the mark diverged: {}", self.lines.named(&mark.to_string()));
                self.give_to_disk(pod, ticket, Job::MarkDiverged(mark), &text);
            }
            Effect::TellSum { sequence } => self.tell_sum(pod, sequence),
            Effect::LookUp { conn, previous, .. } => self.look_up(pod, conn, previous),
            Effect::Apply { entries } => self.apply(pod, &entries),
            Effect::Accepted { id, position } => {
                if let Some(waits) = self.pods[pod].waiting.iter_mut().find(|waits| waits.0 == id) {
                    waits.2 = Some(position);
                }
            }
            Effect::Rejected { id, reason } => {
                let refused: Vec<_> = self.pods[pod].waiting.extract_if(.., |waits| waits.0 == id).collect();
                for (_, text, _) in refused {
                    let reason = words::refusal(&self.lines, reason);
                    self.say_to_client(pod, format!("\"{text}\" is not done: {reason}"));
                }
            }
            Effect::GiveUp => {
                for (_, text, _) in std::mem::take(&mut self.pods[pod].waiting) {
                    self.say_to_client(pod, format!("\"{text}\": outcome unknown"));
                }
            }
            Effect::ReadReady { upto } => self.answer_reads(pod, upto, None),
            Effect::ReadRefused { upto, reason } => self.answer_reads(pod, upto, Some(reason)),
            Effect::Dial { conn, to, hello } => self.dial(pod, conn, &to, hello),
            Effect::Answer { conn, answer } => {
                let Some((to, far)) = self.ends.get(&(pod, conn)).copied() else { return };
                self.say_to(pod, to, words::answer(&self.lines, &answer));
                self.input_unless_cut(pod, to, Input::Answered { conn: far, answer });
            }
            Effect::Send { conn, frame } => self.send(pod, conn, frame),
            Effect::SendSnapshot { conn, .. } => self.send_snapshot(pod, conn),
            Effect::Close { conn } => {
                if let Some((to, far)) = self.ends.remove(&(pod, conn)) {
                    self.ends.remove(&(to, far));
                    self.say_to(pod, to, "closes the connection".to_owned());
                    self.input_unless_cut(pod, to, Input::Closed { conn: far });
                }
            }
            Effect::Invite { to, claim } => self.invite(pod, &to, claim),
            Effect::AnswerInvite { request, answer } => {
                let name = pod_name(pod, &self.pods[pod].letter);
                self.input_unless_cut(pod, request.0 as usize, Input::InviteAnswered { name, answer });
            }
            Effect::AskState { to } => self.ask_state(pod, &to),
            Effect::KeepPiece { .. } => unreachable!("snapshots come whole here"),
            Effect::WipeVolume { winner } => self.say(pod, format!("wipes its volume: cluster {winner} won")),
            Effect::Unreadable { what } => {
                self.say(pod, format!("ends, with exit code 2: {}", self.lines.named(&what)))
            }
            Effect::Fail { reason } => self.say(pod, format!("fails: {}", self.lines.named(&reason))),
            Effect::Report { what } => self.say(pod, format!("reports: {}", self.lines.named(&what))),
        }
    }

    fn look_up(&mut self, pod: usize, conn: ConnId, previous: Position) {
        let entries = self.pods[pod].volume.entries.iter().filter(|entry| entry.position.seq > previous.seq);
        let entries: Vec<Entry> = entries.cloned().collect();
        self.say(pod, format!("disk -> what follows {previous}, which is not in memory"));
        self.input_later(WRITE_TAKES, pod, Input::LookedUp { conn, entries });
    }

    fn dial(&mut self, pod: usize, conn: ConnId, to: &Target, hello: Hello) {
        let to = self.named(&to.name);
        let is_first = self.repeated.insert((pod, to, Repeated::Dial));
        if is_first || self.pods[to].replica.is_some() {
            self.say_to(pod, to, words::hello(&self.lines, &hello));
        }
        let run = self.pods[pod].run;
        self.later(MESSAGE_TAKES, Event::Dial { from: pod, run, conn, to, hello });
    }

    fn invite(&mut self, pod: usize, to: &Target, claim: Claim) {
        let to = self.named(&to.name);
        if self.repeated.insert((pod, to, Repeated::Invitation)) {
            self.say_to(pod, to, words::invitation(&self.lines, &claim));
        }
        self.later(MESSAGE_TAKES, Event::Invite { from: pod, to, claim });
    }

    fn ask_state(&mut self, pod: usize, to: &Target) {
        let to = self.named(&to.name);
        if self.repeated.insert((pod, to, Repeated::Question)) {
            self.say_to(pod, to, "what is your state?".to_owned());
        }
        self.later(MESSAGE_TAKES, Event::AskState { from: pod, to });
    }

    fn send_snapshot(&mut self, pod: usize, conn: ConnId) {
        let Some((to, far)) = self.ends.get(&(pod, conn)).copied() else { return };
        let Some(meta) = self.pods[pod].volume.snapshot.clone() else { return };
        self.say_to(pod, to, format!("snapshot of everything up to {}", meta.position));
        if !self.is_cut(pod, to) {
            self.input_later(SNAPSHOT_TAKES, to, Input::SnapshotReceived { conn: far, meta });
        }
    }

    fn send(&mut self, pod: usize, conn: ConnId, frame: Frame) {
        let Some((to, far)) = self.ends.get(&(pod, conn)).copied() else {
            // The other end has closed it, or is gone, and could not say so before.
            return self.input_later(2 * MESSAGE_TAKES, pod, Input::Closed { conn });
        };
        // A leader whose term has an entry says by an ack how far its own disk is.
        let own = self.pods[pod].incarnation;
        let has_begun = self.pods[pod]
            .said
            .as_ref()
            .is_some_and(|status| status.promise.incarnation == own && status.position.term == status.promise.term);
        if let Some(text) = words::body(&self.lines, &frame.body, has_begun) {
            self.say_to(pod, to, text);
        }
        self.input_unless_cut(pod, to, Input::Frame { conn: far, frame });
    }

    fn input_unless_cut(&mut self, from: usize, to: usize, input: Input) {
        if !self.is_cut(from, to) {
            self.input_later(MESSAGE_TAKES, to, input);
        }
    }

    fn named(&self, name: &str) -> usize {
        let found = self.pods.iter().enumerate().position(|(pod, one)| pod_name(pod, &one.letter) == name);
        found.expect("a pod of the script")
    }

    fn apply(&mut self, pod: usize, entries: &[Entry]) {
        let texts: Vec<String> = entries.iter().map(|entry| words::entry(&self.lines, entry)).collect();
        self.say(pod, format!("applies {}", texts.join("; ")));
        for entry in entries {
            self.pods[pod].add_to_sum(entry);
            let waiting = &mut self.pods[pod].waiting;
            let is_due = |place: &Option<Position>| place.is_some_and(|place| place.seq == entry.position.seq);
            let due: Vec<_> = waiting.extract_if(.., |(_, _, place)| is_due(place)).collect();
            for (_, text, place) in due {
                let outcome = if place == Some(entry.position) {
                    format!("\"{text}\" is done, at {}", entry.position)
                } else {
                    format!("\"{text}\" is not done: another entry has its place")
                };
                self.say_to_client(pod, outcome);
            }
        }
    }

    /// Right after the step, as the real shell does.
    fn tell_sum(&mut self, pod: usize, sequence: Seq) {
        let sum = self.pods[pod].sums.get(&sequence).map(|sum| Sum(*sum));
        self.input_later(Duration::ZERO, pod, Input::Sum { sequence, sum });
    }

    /// From here on its data are not those that it applied.
    pub fn damage(&mut self, pod: usize) {
        self.pods[pod].damage = 1;
    }

    fn answer_reads(&mut self, pod: usize, upto: ReadId, refused: Option<Refusal>) {
        let ready = self.pods[pod].reads.iter().filter(|id| **id <= upto).count();
        self.pods[pod].reads.retain(|id| *id > upto);
        let committed = self.pods[pod].said.as_ref().map_or(Seq(0), |status| status.committed);
        for _ in 0..ready {
            let text = match refused {
                None => format!("the read is answered, by everything up to {committed}"),
                Some(reason) => format!("the read is refused: {}", words::refusal(&self.lines, reason)),
            };
            self.say_to_client(pod, text);
        }
    }

    // ---- the disk

    /// The journal's next segment is of a later format: the first record of it comes behind its head.
    fn begin_segment(&mut self, pod: usize, format: u32) {
        if format > self.pods[pod].volume.format {
            self.pods[pod].volume.format = format;
            self.say(pod, format!("disk <- a segment of format {format}"));
        }
    }

    /// The next start of that pod is of a build that reads that much.
    pub fn update(&mut self, pod: usize, build: u32, allowed: u32) {
        self.pods[pod].formats = (build, allowed);
    }

    fn give_to_disk(&mut self, pod: usize, ticket: Ticket, job: Job, text: &str) {
        self.say(pod, format!("disk <- {text}"));
        let run = self.pods[pod].run;
        self.pods[pod].disk.queue.push_back((ticket, job));
        if self.pods[pod].disk.is_stuck {
            self.later(DISK_STALL, Event::StallSeen(pod, run));
        } else {
            self.later(WRITE_TAKES, Event::Written(pod, run));
        }
    }

    fn written(&mut self, pod: usize) {
        if self.pods[pod].disk.is_stuck {
            return;
        }
        let Some((ticket, job)) = self.pods[pod].disk.queue.pop_front() else { return };
        self.pods[pod].volume.write(job);
        if self.pods[pod].disk.queue.is_empty() && std::mem::take(&mut self.pods[pod].disk.stall_told) {
            self.say(pod, "its disk answers again".to_owned());
            self.step(pod, Input::Disk { stalled: false, full: false });
        }
        self.say(pod, "disk: durable".to_owned());
        self.step(pod, Input::Persisted { ticket });
    }

    // ---- lines

    fn say(&mut self, pod: usize, text: String) {
        self.lines.say(self.now - self.begin, &self.pods[pod].letter.clone(), &text);
    }

    fn say_to(&mut self, from: usize, to: usize, text: String) {
        let lost = match &self.pods[to].replica {
            _ if self.is_cut(from, to) => "  (lost)",
            None => "  (nobody is there)",
            Some(_) => "",
        };
        let whom = format!("{} → {}", self.pods[from].letter, self.pods[to].letter);
        self.lines.say(self.now - self.begin, &whom, &format!("{text}{lost}"));
    }

    fn say_to_client(&mut self, pod: usize, text: String) {
        self.say(pod, format!("client <- {text}"));
    }

    /// What each pod's log holds.
    pub fn logs(&self) -> String {
        let mut lines = String::new();
        for pod in &self.pods {
            let snapshot = pod.volume.snapshot.as_ref().map(|meta| format!("snapshot up to {}", meta.position));
            let entries = pod.volume.entries.iter().map(|entry| words::entry(&self.lines, entry));
            let all: Vec<String> = snapshot.into_iter().chain(entries).collect();
            lines += &format!("{}: {}\n", pod.letter, if all.is_empty() { "empty".to_owned() } else { all.join("; ") });
        }
        lines
    }

    /// One line for each pod.
    pub fn status(&self) -> String {
        let mut lines =
            format!("{:<4}{:<12}{:<18}{:<9}{:<10}hears\n", "pod", "state", "promised term", "log ends", "committed");
        for pod in &self.pods {
            let Some(replica) = &pod.replica else {
                lines += &format!("{:<4}down\n", pod.letter);
                continue;
            };
            let status = replica.status();
            let hears = match &status.following {
                _ if !status.leader_heard => "nobody".to_owned(),
                Some(_) if status.phase == Phase::Leading => "a majority".to_owned(),
                Some(claim) => self.lines.named(&claim.incarnation.to_string()),
                None => "nobody".to_owned(),
            };
            lines += &format!(
                "{:<4}{:<12}{:<18}{:<9}{:<10}{}\n",
                pod.letter,
                words::phase(status.phase),
                words::promise(&self.lines, status.promise),
                status.position.to_string(),
                status.committed,
                hears,
            );
        }
        lines
    }
}

impl Pod {
    /// Small sums, for a story: 16 bits.
    fn add_to_sum(&mut self, entry: &Entry) {
        let before = self.sums.last_key_value().map_or(0, |(_, sum)| *sum);
        let sum = entry.record().iter().fold(before, |sum, byte| (sum * 31 + u128::from(*byte)) & 0xffff);
        self.sums.insert(entry.position.seq, sum ^ std::mem::take(&mut self.damage));
    }
}

impl Volume {
    fn write(&mut self, job: Job) {
        match job {
            Job::Records(records) => records.into_iter().for_each(|record| self.append(record)),
            Job::Snapshot(meta, state) => {
                self.state = state;
                self.snapshot = Some(meta);
                self.entries.clear();
            }
            Job::Restored(meta, state, entry) => {
                (self.state, self.snapshot, self.entries) = (state, Some(meta), vec![entry]);
            }
            Job::Mark(mark) => self.mark = Some(mark),
            Job::MarkDiverged(mark) => self.diverged = Some(mark),
        }
    }

    fn append(&mut self, record: Record) {
        match record {
            Record::State(state) => self.state = state,
            Record::Entry(entry) => {
                // One that names an earlier position cuts all after it.
                self.entries.retain(|kept| kept.position.seq <= entry.previous.seq);
                self.entries.push(entry);
            }
            Record::Snapshot(_) => unreachable!("the core marks no snapshots"),
        }
    }
}

/// The name of a pod ends in its ordinal.
fn pod_name(pod: usize, letter: &str) -> String {
    format!("{letter}-{pod}")
}
