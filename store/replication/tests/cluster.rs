//! Whole lives of small clusters of replicas, with a network that delivers at once and a disk that is durable at once: a
//! separate test for each rule. What chance can do to them is the simulator's part.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use leasehold_replication::*;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use uuid::Uuid;

#[path = "cluster/addresses.rs"]
mod addresses;
#[path = "cluster/agreement.rs"]
mod agreement;
#[path = "cluster/apply.rs"]
mod apply;
#[path = "cluster/clocks.rs"]
mod clocks;
#[path = "cluster/formats.rs"]
mod formats;
#[path = "cluster/fresh.rs"]
mod fresh;
#[path = "cluster/groups.rs"]
mod groups;
#[path = "cluster/reads.rs"]
mod reads;
#[path = "cluster/room.rs"]
mod room;
#[path = "cluster/seldom.rs"]
mod seldom;
#[path = "cluster/slow.rs"]
mod slow;
#[path = "cluster/stall.rs"]
mod stall;
#[path = "cluster/went_back.rs"]
mod went_back;

const MS: Duration = Duration::from_millis(1);

struct Node {
    replica: Replica,
    id: ReplicaId,
    incarnation: Incarnation,
    state: DurableState,
    entries: Vec<Entry>,
    /// The file of a volume that went back in time.
    mark: Option<WentBack>,
    /// The file of data that have diverged.
    diverged: Option<Diverged>,
    /// Its shell keeps sums.
    keeps_sums: bool,
    /// Bits that are wrong in its data, from that entry on.
    flips: Vec<(Seq, u128)>,
    /// What it noted as committed when it was stopped.
    noted: Position,
    up: bool,
    /// Persisted is reported at once, or held back until released.
    disk_stuck: Option<Ticket>,
    applied: Vec<Entry>,
    failed: Option<String>,
    /// It ended for what it cannot read.
    unreadable: Option<String>,
    /// What its build reads, and what is allowed.
    formats: (u32, u32),
    /// All that it wrote, with the format that it was to be of.
    segments: Vec<(u32, Vec<Record>)>,
}

#[derive(Debug)]
enum Event {
    Input(usize, Input),
    Dial { from: usize, conn: ConnId, to: usize, hello: Hello },
}

struct Cluster {
    now: Duration,
    nodes: Vec<Node>,
    /// (node, its name of the connection) -> the other end.
    ends: BTreeMap<(usize, ConnId), (usize, ConnId)>,
    next_conn: u64,
    queue: VecDeque<Event>,
    view: RoleView,
    cuts: Vec<(usize, usize)>,
    /// Bytes a second to this node, and what is on its way there: one frame after the other.
    slow: Option<(usize, u64)>,
    slowly: VecDeque<(Duration, Event)>,
    /// How often entries were read back from the journal.
    looked_up: usize,
    /// Pulls get lost.
    lose_pulls: bool,
    rejected: Vec<(ProposalId, Refusal)>,
    accepted: Vec<(ProposalId, Position)>,
    /// Strong reads that were answered: (node, up to which, how far the node had applied, or why not).
    reads: Vec<(usize, ReadId, Result<Seq, Refusal>)>,
    /// Addresses of one pod at which another one answers by now.
    misled: Vec<(usize, usize)>,
    /// Inputs that are kept back until released.
    hold: Option<fn(usize, &Input) -> bool>,
    held: Vec<Event>,
    /// What was found at odds with what was committed. Empty, but where a volume went back and nobody knew.
    reported: Vec<(usize, String)>,
    may_lose: bool,
    /// Frames that were sent, and by whom.
    sent: Vec<(usize, Body)>,
    fresh: u128,
    /// Nodes that gave up writes that were in flight.
    given_up: Vec<usize>,
    /// What disks that are stuck were given.
    unwritten: Vec<(usize, Vec<Record>)>,
    /// What a replica that starts gives out at once for application.
    apply_bytes_max: usize,
    /// What the wall clock of each node is ahead of the time here, in milliseconds; none: its shell says nothing.
    wall_ahead: Vec<Option<i64>>,
    /// What its initial data need.
    initial_format: u32,
    /// What was given out: by whom, how many entries, and what that one says of itself then.
    given_out: Vec<(usize, usize, Status)>,
}

fn name(node: usize) -> String {
    format!("db-{node}")
}

fn member(node: usize) -> Member {
    Member { name: name(node), peer_address: format!("{node}"), addresses: Vec::new(), remembered: false }
}

impl Cluster {
    fn new(nodes: usize) -> Cluster {
        let mut cluster = Cluster {
            now: Duration::ZERO,
            nodes: Vec::new(),
            ends: BTreeMap::new(),
            next_conn: 0,
            queue: VecDeque::new(),
            view: RoleView { members: (0..nodes).map(member).collect(), ..RoleView::default() },
            cuts: Vec::new(),
            misled: Vec::new(),
            slow: None,
            slowly: VecDeque::new(),
            looked_up: 0,
            lose_pulls: false,
            rejected: Vec::new(),
            accepted: Vec::new(),
            reads: Vec::new(),
            hold: None,
            held: Vec::new(),
            reported: Vec::new(),
            may_lose: false,
            sent: Vec::new(),
            fresh: 1000,
            given_up: Vec::new(),
            unwritten: Vec::new(),
            apply_bytes_max: 1_000_000,
            given_out: Vec::new(),
            wall_ahead: vec![None; nodes],
            initial_format: FORMAT_MIN,
        };
        for node in 0..nodes {
            cluster.add(node);
        }
        cluster
    }

    fn uuid(&mut self) -> Uuid {
        self.fresh += 1;
        Uuid::from_u128(self.fresh)
    }

    fn add(&mut self, node: usize) {
        let (id, incarnation) = (ReplicaId(self.uuid()), Incarnation(self.uuid()));
        let mut added = Node {
            replica: Replica::new(config(node, id, incarnation), recovered(DurableState::EMPTY, &[])),
            id,
            incarnation,
            state: DurableState::EMPTY,
            entries: Vec::new(),
            mark: None,
            diverged: None,
            keeps_sums: false,
            flips: Vec::new(),
            noted: Position::ZERO,
            up: true,
            disk_stuck: None,
            applied: Vec::new(),
            failed: None,
            unreadable: None,
            formats: (FORMAT, FORMAT),
            segments: Vec::new(),
        };
        added.replica.step(self.now, Input::Wake);
        self.nodes.insert(node, added);
        self.queue.push_back(Event::Input(node, Input::Role(self.view.clone())));
    }

    /// A started cluster, led by node 0 in term 1, everybody a voter.
    fn started(nodes: usize) -> Cluster {
        let mut cluster = Cluster::new(nodes);
        cluster.start();
        cluster
    }

    /// Empty volumes become a cluster that node 0 leads.
    fn start(&mut self) {
        let nodes = self.nodes.len();
        self.run_until("the bootstrap", |c| c.nodes[0].replica.status().campaign == Some(Term(0)));
        self.lead(0, 1);
        self.run_until("all are voters", |c| {
            let status = c.nodes[0].replica.status();
            status.phase == Phase::Leading
                && status.voters.voters.len() == nodes
                && status.committed == status.position.seq
        });
    }

    /// The Lease names that node, and all role files say so.
    fn lead(&mut self, node: usize, term: u64) {
        let cluster_id = self.nodes.iter().find_map(|one| one.state.cluster_id);
        self.view.cluster_id = self.view.cluster_id.or(cluster_id);
        self.view.leader = Some(LeaderView {
            term: Term(term),
            incarnation: self.nodes[node].incarnation,
            name: name(node),
            peer_address: format!("{node}"),
            addresses: Vec::new(),
        });
        self.tell_all();
    }

    fn tell_all(&mut self) {
        for node in 0..self.nodes.len() {
            self.queue.push_back(Event::Input(node, Input::Role(self.view.clone())));
        }
    }

    fn kill(&mut self, node: usize) {
        self.nodes[node].up = false;
        self.nodes[node].noted = self.nodes[node].replica.committed_here();
        let open: Vec<_> = self.ends.iter().filter(|((one, _), _)| *one == node).map(|(a, b)| (*a, *b)).collect();
        for (near, far) in open {
            self.ends.remove(&near);
            self.ends.remove(&far);
            self.queue.push_back(Event::Input(far.0, Input::Closed { conn: far.1 }));
        }
    }

    fn restart(&mut self, node: usize) {
        let incarnation = Incarnation(self.uuid());
        let one = &mut self.nodes[node];
        one.incarnation = incarnation;
        one.up = true;
        one.disk_stuck = None;
        one.applied.clear();
        one.flips.clear();
        let sums = one.keeps_sums;
        let format = one.segments.iter().map(|(format, _)| *format).max().unwrap_or(FORMAT_MIN);
        let (went_back, committed, diverged) = (one.mark.clone(), one.noted, one.diverged.clone());
        let found = Recovered { went_back, committed, diverged, format, ..recovered(one.state, &one.entries) };
        let (format_build, format_allowed) = one.formats;
        // As the shell does: nobody else reads the file of initial data.
        let is_first = begins_anew(&found, false);
        let config = Config {
            apply_bytes_max: self.apply_bytes_max,
            initial_data: if is_first { vec![Bytes::from_static(b"first")] } else { Vec::new() },
            initial_format: self.initial_format,
            format_build,
            format_allowed,
            sums,
            ..config(node, one.id, incarnation)
        };
        one.replica = Replica::new(config, found);
        self.queue.push_back(Event::Input(node, Input::Role(self.view.clone())));
    }

    fn write(&mut self, node: usize, what: &'static str) -> ProposalId {
        self.propose(node, what, true)
    }

    fn propose(&mut self, node: usize, what: &'static str, grows: bool) -> ProposalId {
        let id = ProposalId((self.accepted.len() + self.rejected.len()) as u64);
        let proposal = Proposal { id, command: Bytes::from_static(what.as_bytes()), grows };
        self.queue.push_back(Event::Input(node, Input::Propose(vec![proposal])));
        self.drain_queue();
        id
    }

    fn has(&self, node: usize, what: &str) -> bool {
        self.nodes[node]
            .applied
            .iter()
            .any(|entry| matches!(&entry.payload, Payload::Command(c) if c == what.as_bytes()))
    }

    fn run_until(&mut self, what: &str, done: impl Fn(&Cluster) -> bool) {
        let limit = self.now + Duration::from_secs(30);
        while !done(self) {
            let statuses: Vec<_> = self.nodes.iter().map(|node| node.replica.status()).collect();
            assert!(self.now < limit, "never came: {what}; {statuses:#?}");
            self.now += MS;
            while self.slowly.front().is_some_and(|(at, _)| *at <= self.now) {
                self.queue.extend(self.slowly.pop_front().map(|(_, event)| event));
            }
            for node in 0..self.nodes.len() {
                if self.nodes[node].replica.deadline().is_some_and(|at| at <= self.now) {
                    self.queue.push_back(Event::Input(node, Input::Wake));
                }
            }
            self.drain_queue();
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.run_until("the end of a pause", |c| c.now >= end);
    }

    fn drain_queue(&mut self) {
        for turn in 0.. {
            assert!(turn < 100_000, "the replicas never fall silent; next: {:?}", self.queue.front());
            let Some(event) = self.queue.pop_front() else { return };
            assert!(self.may_lose || self.reported.is_empty(), "{:?}", self.reported);
            match event {
                Event::Input(node, input) if self.hold.is_some_and(|held| held(node, &input)) => {
                    self.held.push(Event::Input(node, input));
                }
                Event::Input(node, input) if self.nodes[node].up => {
                    let replica = &mut self.nodes[node].replica;
                    let mut said = replica.status();
                    let effects = replica.step(self.now, input);
                    let (since, status) = (replica.recount(&mut said), replica.status());
                    assert_eq!(said == status, since != Since::Changed, "{since:?}: {said:?} and {status:?}");
                    for effect in effects {
                        self.carry_out(node, effect);
                    }
                }
                Event::Input(..) => {}
                Event::Dial { from, conn, to, hello } => {
                    if !self.nodes[to].up || self.is_cut(from, to) {
                        self.queue.push_back(Event::Input(from, Input::Closed { conn }));
                        continue;
                    }
                    self.next_conn += 1;
                    let far = ConnId::Accepted(self.next_conn);
                    self.ends.insert((from, conn), (to, far));
                    self.ends.insert((to, far), (from, conn));
                    self.queue.push_back(Event::Input(to, Input::Hello { conn: far, hello }));
                }
            }
        }
    }

    /// The pod that answers at that address: usually its owner.
    fn reached(&self, peer_address: &str) -> usize {
        let meant = peer_address.parse().unwrap();
        self.misled.iter().find(|(one, _)| *one == meant).map_or(meant, |(_, other)| *other)
    }

    fn is_cut(&self, a: usize, b: usize) -> bool {
        self.cuts.iter().any(|cut| *cut == (a, b) || *cut == (b, a))
    }

    fn carry_out(&mut self, node: usize, effect: Effect) {
        match effect {
            Effect::Persist { ticket, format, records } => {
                self.nodes[node].segments.push((format, records.clone()));
                if self.nodes[node].disk_stuck.is_some() {
                    self.nodes[node].disk_stuck = Some(ticket);
                    self.unwritten.push((node, records));
                    return;
                }
                self.write_down(node, records);
                self.queue.push_back(Event::Input(node, Input::Persisted { ticket }));
            }
            Effect::Apply { entries } => {
                self.given_out.push((node, entries.len(), self.nodes[node].replica.status()));
                self.nodes[node].applied.extend(entries);
            }
            Effect::Accepted { id, position } => self.accepted.push((id, position)),
            Effect::Rejected { id, reason } => self.rejected.push((id, reason)),
            Effect::GiveUp => self.given_up.push(node),
            Effect::ReadReady { upto } => {
                let applied = self.nodes[node].applied.last().map_or(Seq(0), |entry| entry.position.seq);
                self.reads.push((node, upto, Ok(applied)));
            }
            Effect::ReadRefused { upto, reason } => self.reads.push((node, upto, Err(reason))),
            Effect::Dial { conn, to, hello } => {
                let to = to.peer_address.parse().unwrap();
                self.queue.push_back(Event::Dial { from: node, conn, to, hello });
            }
            Effect::Answer { conn, answer } => {
                let Some((to, far)) = self.ends.get(&(node, conn)).copied() else { return };
                self.queue.push_back(Event::Input(to, Input::Answered { conn: far, answer }));
            }
            Effect::Send { conn, frame } => {
                let Some((to, far)) = self.ends.get(&(node, conn)).copied() else { return };
                self.sent.push((node, frame.body.clone()));
                let lost = self.lose_pulls && matches!(frame.body, Body::Pull { .. });
                if !self.is_cut(node, to) && !lost {
                    let bytes = frame.encode();
                    let length = bytes.len() as u64;
                    let frame = Frame::decode(bytes).unwrap();
                    let event = Event::Input(to, Input::Frame { conn: far, frame });
                    match self.slow.filter(|(slow, _)| *slow == to) {
                        Some((_, rate)) => {
                            let begins = self.slowly.back().map_or(self.now, |(at, _)| self.now.max(*at));
                            let takes = Duration::from_micros(length * 1_000_000 / rate);
                            // Its parts are heard.
                            for part in 1..takes.as_millis() / 250 + 1 {
                                let at = begins + part as u32 * 250 * MS;
                                self.slowly.push_back((at, Event::Input(to, Input::Heard { conn: far })));
                            }
                            self.slowly.push_back((begins + takes, event));
                        }
                        None => self.queue.push_back(event),
                    }
                }
            }
            Effect::Close { conn } => {
                if let Some((to, far)) = self.ends.remove(&(node, conn)) {
                    self.ends.remove(&(to, far));
                    self.queue.push_back(Event::Input(to, Input::Closed { conn: far }));
                }
            }
            Effect::Invite { to, claim } => {
                let asked = to.name;
                let to = self.reached(&to.peer_address);
                if to < self.nodes.len() && self.nodes[to].up && !self.is_cut(node, to) {
                    let effects = self.nodes[to]
                        .replica
                        .step(self.now, Input::Invited { request: RequestId(node as u64), claim });
                    for effect in effects {
                        match effect {
                            Effect::AnswerInvite { answer, .. } => {
                                let input = Input::InviteAnswered { name: asked.clone(), answer };
                                self.queue.push_back(Event::Input(node, input));
                            }
                            effect => self.carry_out(to, effect),
                        }
                    }
                }
            }
            // To an invitation that a test made.
            Effect::AnswerInvite { request, answer } => {
                let input = Input::InviteAnswered { name: name(node), answer };
                self.queue.push_back(Event::Input(request.0 as usize, input));
            }
            Effect::AskState { to } => {
                let asked = to.name;
                let to = self.reached(&to.peer_address);
                if to < self.nodes.len() && self.nodes[to].up && !self.is_cut(node, to) {
                    let state = self.nodes[to].replica.status().peer_state(&name(to), self.nodes[to].id);
                    self.queue.push_back(Event::Input(node, Input::StateAnswered { name: asked, state }));
                }
            }
            Effect::MarkWentBack { ticket, mark } => {
                self.nodes[node].mark = Some(mark);
                self.queue.push_back(Event::Input(node, Input::Persisted { ticket }));
            }
            Effect::MarkDiverged { ticket, mark } => {
                self.nodes[node].diverged = Some(mark);
                self.queue.push_back(Event::Input(node, Input::Persisted { ticket }));
            }
            Effect::TellSum { sequence } => {
                let sum = self.nodes[node].sum_after(sequence);
                self.queue.push_back(Event::Input(node, Input::Sum { sequence, sum }));
            }
            Effect::Unreadable { what } => self.nodes[node].unreadable = Some(what),
            Effect::Fail { reason } => self.nodes[node].failed = Some(reason),
            Effect::WipeVolume { .. } => self.nodes[node].failed = Some("wiped".to_owned()),
            Effect::Report { what } => self.reported.push((node, what)),
            Effect::LookUp { conn, previous, bytes_max } => {
                self.looked_up += 1;
                let mut bytes = 0;
                let follow = self.nodes[node].entries.iter().skip(previous.seq.0 as usize).enumerate();
                let fit = follow.take_while(|(at, entry)| {
                    bytes += entry.record().len();
                    *at == 0 || bytes <= bytes_max
                });
                let entries: Vec<Entry> = fit.map(|(_, entry)| entry.clone()).collect();
                assert!(!entries.is_empty(), "nothing follows {previous}");
                self.queue.push_back(Event::Input(node, Input::LookedUp { conn, entries }));
            }
            Effect::InstallSnapshot { .. }
            | Effect::Restore { .. }
            | Effect::SendSnapshot { .. }
            | Effect::KeepPiece { .. } => {
                unreachable!("no snapshots here")
            }
        }
    }

    fn write_down(&mut self, node: usize, records: Vec<Record>) {
        for record in records {
            // Through the bytes, as a journal would.
            match Record::decode(&mut record.encode()).unwrap() {
                Record::State(state) => self.nodes[node].state = state,
                Record::Entry(entry) => {
                    let entries = &mut self.nodes[node].entries;
                    entries.truncate(entry.previous.seq.0 as usize);
                    assert_eq!(entries.last().map_or(Position::ZERO, |last| last.position), entry.previous);
                    entries.push(entry);
                }
                Record::Snapshot(_) => unreachable!("the core marks no snapshots"),
            }
        }
    }

    fn positions(&self) -> Vec<Position> {
        self.nodes.iter().map(|node| node.replica.status().position).collect()
    }
}

fn config(node: usize, replica: ReplicaId, incarnation: Incarnation) -> Config {
    Config {
        name: name(node),
        replica,
        incarnation,
        revision: String::new(),
        heartbeat: 100 * MS,
        lost_time: 1000 * MS,
        disk_stall: 2000 * MS,
        hand_over_max: 2000 * MS,
        drain_min: 20 * MS,
        unready_after: Duration::from_secs(5),
        log_memory_bytes: 1_000_000,
        apply_bytes_max: 1_000_000,
        drain_max: Duration::from_secs(55),
        new_cluster_id: ClusterId(Uuid::from_u128(7 + node as u128)),
        initial_data: vec![Bytes::from_static(b"first")],
        initial_format: FORMAT_MIN,
        restore: None,
        force_bootstrap: false,
        format_build: FORMAT,
        format_allowed: FORMAT,
        sums: false,
    }
}

fn recovered(state: DurableState, entries: &[Entry]) -> Recovered {
    let (committed, went_back, diverged, format) = (Position::ZERO, None, None, FORMAT_MIN);
    Recovered { state, snapshot: None, entries: entries.to_vec(), committed, went_back, diverged, format }
}

#[test]
fn the_first_start_waits_for_every_wanted_pod_and_then_all_become_voters() {
    let mut cluster = Cluster::new(3);
    cluster.nodes[2].up = false;
    cluster.run(3000 * MS);
    let status = cluster.nodes[0].replica.status();
    assert_eq!(status.cluster_id, None);
    assert!(status.waiting_for.iter().any(|wait| wait.contains("db-2")), "{:?}", status.waiting_for);
    assert!(!status.waiting_for.iter().any(|wait| wait.contains("db-1")));
    cluster.restart(2);
    cluster.run_until("the bootstrap", |c| c.nodes[0].replica.status().campaign == Some(Term(0)));
    assert!(cluster.nodes[0].replica.status().bootstrapping);
    cluster.lead(0, 1);
    cluster.run_until("everybody has the initial data", |c| (0..3).all(|node| c.has(node, "first")));
    cluster.run_until("three voters", |c| c.nodes[2].replica.status().voters.voters.len() == 3);
    assert_eq!(cluster.nodes[2].replica.status().voters.floor, 2);
}

#[test]
fn a_write_is_applied_everywhere_and_only_the_leader_takes_it() {
    let mut cluster = Cluster::started(3);
    let refused = cluster.write(1, "at a follower");
    assert_eq!(cluster.rejected, [(refused, Refusal::NotLeader)]);
    cluster.write(0, "at the leader");
    cluster.run_until("all have it", |c| (0..3).all(|node| c.has(node, "at the leader")));
    assert!(!cluster.has(0, "at a follower"));
}

#[test]
fn nothing_is_committed_before_a_majority_has_it_durably() {
    let mut cluster = Cluster::started(3);
    for node in [1, 2] {
        cluster.nodes[node].disk_stuck = Some(Ticket(0));
    }
    cluster.write(0, "x");
    cluster.run(500 * MS);
    assert!(!cluster.has(0, "x"), "only the leader has it durably");
    let ticket = cluster.nodes[1].disk_stuck.take().unwrap();
    cluster.queue.push_back(Event::Input(1, Input::Persisted { ticket }));
    cluster.run_until("committed with one follower", |c| c.has(0, "x"));
}

#[test]
fn followers_of_a_dead_leader_campaign_and_the_new_leader_has_every_write() {
    let mut cluster = Cluster::started(3);
    cluster.write(0, "kept");
    cluster.kill(0);
    cluster.run_until("both campaign", |c| (1..3).all(|n| c.nodes[n].replica.status().campaign == Some(Term(1))));
    let ranks: Vec<u32> = (1..3).map(|n| cluster.nodes[n].replica.status().rank).collect();
    assert_eq!(ranks, [0, 1], "no two are alike; the lower ordinal first");
    cluster.lead(2, 2);
    cluster.run_until("a leader", |c| c.nodes[2].replica.status().phase == Phase::Leading);
    assert!(cluster.has(2, "kept"));
    cluster.restart(0);
    cluster.write(2, "later");
    cluster.run_until("the old leader follows", |c| c.has(0, "later") && c.has(0, "kept"));
}

#[test]
fn a_restarted_leader_gets_a_new_term_and_the_others_do_not_campaign_while_it_is_heard() {
    let mut cluster = Cluster::started(1);
    cluster.kill(0);
    cluster.restart(0);
    cluster.run_until("it campaigns", |c| c.nodes[0].replica.status().campaign == Some(Term(1)));
    cluster.lead(0, 2);
    cluster.run_until("it leads again", |c| c.nodes[0].replica.status().phase == Phase::Leading);
    let mut cluster = Cluster::started(3);
    cluster.kill(1);
    cluster.restart(1);
    cluster.run_until("it follows again", |c| c.nodes[1].replica.status().leader_heard);
    cluster.run(3000 * MS);
    assert!(cluster.nodes.iter().all(|node| node.replica.status().campaign.is_none()));
}

#[test]
fn a_leader_with_a_worse_log_pulls_what_a_majority_may_have_committed() {
    let mut cluster = Cluster::started(3);
    cluster.kill(2);
    cluster.write(0, "without db-2");
    cluster.run_until("committed", |c| c.has(0, "without db-2") && c.has(1, "without db-2"));
    cluster.kill(0);
    cluster.restart(2);
    // A hand that edits the Lease names the worst one [L2].
    cluster.lead(2, 5);
    cluster.run_until("it leads", |c| c.nodes[2].replica.status().phase == Phase::Leading);
    assert!(cluster.has(2, "without db-2"));
}

#[test]
fn a_pull_begins_again_when_the_one_that_is_pulled_from_comes_back_before_its_end_was_told() {
    let mut cluster = Cluster::started(3);
    cluster.kill(2);
    cluster.write(0, "without db-2");
    cluster.run_until("committed", |c| c.has(1, "without db-2"));
    cluster.kill(0);
    cluster.restart(2);
    cluster.lose_pulls = true;
    cluster.lead(2, 5);
    // It asks first, and db-0 does not answer [E1].
    cluster.run(1500 * MS);
    assert_eq!(cluster.nodes[2].replica.status().phase, Phase::Recovering);
    // db-1 restarts, and its new hello is there before the end of the old connection.
    cluster.ends.retain(|near, far| near.0 != 1 && far.0 != 1);
    cluster.lose_pulls = false;
    cluster.restart(1);
    cluster.run_until("it leads", |c| c.nodes[2].replica.status().phase == Phase::Leading);
    assert!(cluster.has(2, "without db-2"));
}

#[test]
fn an_uncommitted_tail_of_a_cut_off_leader_is_replaced() {
    let mut cluster = Cluster::started(3);
    cluster.cuts = vec![(0, 1), (0, 2)];
    let lost = cluster.write(0, "never committed");
    cluster.run_until("the leader finds that it hears nobody", |c| !c.nodes[0].replica.status().leader_heard);
    let refused = cluster.write(0, "refused");
    assert_eq!(cluster.rejected, [(refused, Refusal::NoMajority)]);
    assert_eq!(cluster.accepted.last().unwrap().0, lost);
    let view = cluster.view.clone();
    cluster.lead(1, 2);
    // The old leader is deaf to the API, too.
    cluster.queue.retain(|event| !matches!(event, Event::Input(0, Input::Role(_))));
    cluster.queue.push_back(Event::Input(0, Input::Role(view)));
    cluster.run_until("a new leader", |c| c.nodes[1].replica.status().phase == Phase::Leading);
    cluster.write(1, "in its place");
    cluster.cuts.clear();
    cluster.run_until("the old leader is invited and converges", |c| c.has(0, "in its place"));
    assert!(!cluster.has(0, "never committed"));
    assert_eq!(cluster.positions()[0], cluster.positions()[1]);
}

#[test]
fn a_wiped_volume_is_a_new_replica_and_takes_the_place_of_the_dead_one() {
    let mut cluster = Cluster::started(3);
    let old = cluster.nodes[2].id;
    cluster.kill(2);
    cluster.nodes.remove(2);
    cluster.add(2);
    let new = cluster.nodes[2].id;
    cluster.run_until("the new volume votes", |c| c.nodes[0].replica.status().voters.contains(new));
    assert!(!cluster.nodes[0].replica.status().voters.contains(old));
    cluster.run_until("it has the data", |c| c.has(2, "first"));
}

#[test]
fn a_late_word_of_a_volume_that_is_gone_does_not_make_the_new_one_dead() {
    let mut cluster = Cluster::started(3);
    let old = cluster.nodes[2].id;
    cluster.kill(2);
    cluster.nodes.remove(2);
    cluster.add(2);
    let new = cluster.nodes[2].id;
    cluster.run_until("the new volume is connected", |c| {
        c.nodes[0].replica.status().followers.iter().any(|one| one.replica == new && one.connected)
    });
    // What the old volume said before its end arrives only now, and its connection ends.
    let status = cluster.nodes[0].replica.status();
    let hello = Hello {
        snapshot_part: None,
        format_min: 1,
        format_max: 1,
        format_allowed: 1,
        cluster_id: status.cluster_id,
        name: name(2),
        replica: old,
        incarnation: Incarnation(Uuid::from_u128(1)),
        revision: String::new(),
        eligible: true,
        promise: status.promise,
        position: Position::ZERO,
        sums: false,
    };
    let late = ConnId::Accepted(999);
    cluster.queue.push_back(Event::Input(0, Input::Hello { conn: late, hello }));
    cluster.queue.push_back(Event::Input(0, Input::Closed { conn: late }));
    let (name_said, cluster_id) = (Some(name(2)), status.cluster_id);
    let answer = InviteAnswer { name: name_said, cluster_id, replica: old, promise: status.promise, went_back: false };
    cluster.queue.push_back(Event::Input(0, Input::InviteAnswered { name: name(2), answer }));
    cluster.run_until("the new volume votes", |c| c.nodes[0].replica.status().voters.contains(new));
    assert!(!cluster.nodes[0].replica.status().voters.contains(old));
}

#[test]
fn scaling_adds_and_removes_one_voter_at_a_time_and_a_lone_one_writes_on() {
    let mut cluster = Cluster::started(3);
    cluster.view.members.truncate(1);
    cluster.tell_all();
    cluster.run_until("one voter", |c| c.nodes[0].replica.status().voters.voters.len() == 1);
    assert_eq!(cluster.nodes[0].replica.status().voters.floor, 1);
    cluster.kill(1);
    cluster.kill(2);
    cluster.write(0, "alone");
    cluster.run_until("committed alone", |c| c.has(0, "alone"));
    cluster.view.members = (0..3).map(member).collect();
    cluster.tell_all();
    cluster.restart(1);
    cluster.restart(2);
    cluster.run_until("three voters", |c| c.nodes[2].replica.status().voters.voters.len() == 3 && c.has(2, "alone"));
    assert_eq!(cluster.nodes[0].replica.status().voters.floor, 2);
}

#[test]
fn a_leader_that_drains_hands_over_to_a_caught_up_voter_and_ends_when_that_one_is_open() {
    let mut cluster = Cluster::started(3);
    cluster.write(0, "before");
    cluster.queue.push_back(Event::Input(0, Input::Drain));
    cluster.run_until("it hands over", |c| c.nodes[0].replica.status().hand_over.is_some());
    let handed = cluster.nodes[0].replica.status().hand_over.unwrap();
    assert_eq!(handed, (name(1), cluster.nodes[1].incarnation));
    assert!(!cluster.nodes[0].replica.status().drained);
    // Writes continue until the claim of the successor is there.
    cluster.write(0, "meanwhile");
    assert!(cluster.rejected.is_empty() && cluster.has(0, "meanwhile"));
    cluster.lead(1, 2);
    cluster.run_until("it may end", |c| c.nodes[0].replica.status().drained);
    assert_eq!(cluster.nodes[1].replica.status().phase, Phase::Leading);
    assert!(cluster.has(1, "before"));
}

#[test]
fn a_higher_promise_of_a_voter_stops_a_leader_and_one_of_a_learner_asks_for_a_new_term() {
    let mut cluster = Cluster::started(3);
    let claim = Claim {
        cluster_id: cluster.nodes[0].state.cluster_id.unwrap(),
        term: Term(9),
        incarnation: Incarnation(Uuid::from_u128(99)),
        name: "elsewhere-0".to_owned(),
        peer_address: "77".to_owned(),
        addresses: Vec::new(),
    };
    cluster.ends.clear();
    let learner = ReplicaId(Uuid::from_u128(5));
    let answer = InviteAnswer {
        name: Some("db-9".to_owned()),
        cluster_id: None,
        replica: learner,
        promise: claim.promise(),
        went_back: false,
    };
    cluster.queue.push_back(Event::Input(0, Input::InviteAnswered { name: "db-9".to_owned(), answer: answer.clone() }));
    cluster.drain_queue();
    let status = cluster.nodes[0].replica.status();
    assert_eq!((status.phase, status.need_term), (Phase::Leading, Some(Term(9))));
    let answer = InviteAnswer { name: Some(name(1)), replica: cluster.nodes[1].id, ..answer };
    cluster.queue.push_back(Event::Input(0, Input::InviteAnswered { name: name(1), answer }));
    cluster.drain_queue();
    let status = cluster.nodes[0].replica.status();
    assert_eq!((status.phase, status.following, status.need_term), (Phase::Follower, None, Some(Term(9))));
}

#[test]
fn an_absurd_term_is_not_promised_to_and_a_foreign_cluster_never_syncs() {
    let mut cluster = Cluster::started(2);
    cluster.lead(1, 2_147_483_647);
    cluster.run(100 * MS);
    assert_eq!(cluster.nodes[1].replica.status().promise.term, Term(1));
    let leader = LeaderView { term: Term(1), ..cluster.view.leader.clone().unwrap() };
    cluster.view.leader = Some(leader);
    cluster.view.cluster_id = Some(ClusterId(Uuid::from_u128(1)));
    cluster.tell_all();
    cluster.run(100 * MS);
    let status = cluster.nodes[1].replica.status();
    assert_eq!(status.foreign_cluster_id, cluster.view.cluster_id);
    assert!(!status.eligible && status.waiting_for[0].contains("adopt"), "{:?}", status.waiting_for);
}

#[test]
fn a_term_that_no_lease_can_carry_is_never_promised_to_and_stands_in_nobodys_way() {
    let mut cluster = Cluster::started(3);
    let leader = cluster.view.leader.clone().unwrap();
    for term in [u64::MAX, Term::MAX.0 + 1] {
        let claim = Claim {
            cluster_id: cluster.nodes[1].state.cluster_id.unwrap(),
            term: Term(term),
            incarnation: Incarnation(Uuid::from_u128(77)),
            name: "db-9".to_owned(),
            peer_address: "77".to_owned(),
            addresses: Vec::new(),
        };
        let promise = claim.promise();
        cluster.queue.push_back(Event::Input(1, Input::Invited { request: RequestId(0), claim }));
        let answer = InviteAnswer {
            name: Some(name(2)),
            cluster_id: None,
            replica: cluster.nodes[2].id,
            promise,
            went_back: false,
        };
        cluster.queue.push_back(Event::Input(0, Input::InviteAnswered { name: name(2), answer }));
        cluster.run(100 * MS);
        let status = cluster.nodes[1].replica.status();
        assert_eq!((status.promise.term, status.phase), (leader.term, Phase::Follower));
        let status = cluster.nodes[0].replica.status();
        assert_eq!((status.phase, status.need_term), (Phase::Leading, None));
    }
}

#[test]
fn what_a_follower_cut_does_not_count_as_verified_any_more() {
    let mut cluster = Cluster::started(2);
    let promise = cluster.nodes[1].replica.status().promise;
    let conn = cluster.ends.keys().find(|(node, _)| *node == 1).unwrap().1;
    let last = cluster.nodes[1].replica.status().position;
    // A leader never cuts what it sent. This one does, and says that the longer log is committed.
    let first = Entry::new(last, promise.term, Payload::Empty);
    let second = Entry::new(first.position, promise.term, Payload::Empty);
    let other = Entry::new(last, Term(promise.term.0 + 1), Payload::Empty);
    let commit = second.position.seq;
    for (entries, commit) in [(vec![first, second], Seq(0)), (vec![other], commit)] {
        let body = Body::Append { previous: last, commit, entries };
        let frame = Frame { term: promise.term, incarnation: promise.incarnation, body };
        cluster.queue.push_back(Event::Input(1, Input::Frame { conn, frame }));
        cluster.drain_queue();
    }
    let status = cluster.nodes[1].replica.status();
    assert_eq!(status.position.seq, Seq(last.seq.0 + 1));
    assert!(status.committed <= status.position.seq, "{} committed of {}", status.committed, status.position);
}

#[test]
fn a_bootstrap_that_a_power_loss_tore_is_made_again() {
    for kept in 0..2 {
        let mut cluster = Cluster::new(3);
        cluster.run_until("the bootstrap", |c| c.nodes[0].replica.status().campaign == Some(Term(0)));
        assert_eq!(cluster.nodes[0].entries.len(), 2);
        cluster.kill(0);
        cluster.nodes[0].entries.truncate(kept);
        cluster.restart(0);
        cluster.run_until("it is made again", |c| c.nodes[0].replica.status().campaign == Some(Term(0)));
        cluster.lead(0, 1);
        cluster.run_until("everybody has the initial data", |c| (0..3).all(|node| c.has(node, "first")));
    }
}

#[test]
fn who_is_told_to_end_does_not_wait_for_others_that_said_they_stay_and_are_gone() {
    let mut cluster = Cluster::started(3);
    cluster.queue.push_back(Event::Input(0, Input::Drain));
    cluster.run(50 * MS);
    cluster.kill(1);
    cluster.kill(2);
    let began = cluster.now;
    cluster.run_until("it may end", |c| c.nodes[0].replica.status().drained);
    assert!(cluster.now - began < Duration::from_secs(10), "it ended after {:?}", cluster.now - began);
}

#[test]
fn a_successor_is_told_by_the_leader_that_goes_before_its_sidecar_knows() {
    let mut cluster = Cluster::started(3);
    cluster.queue.push_back(Event::Input(0, Input::Drain));
    cluster.run_until("it hands over", |c| c.nodes[0].replica.status().hand_over.is_some());
    // The Lease names the successor; only the sidecar that wrote it knows.
    let leader = LeaderView {
        term: Term(2),
        incarnation: cluster.nodes[1].incarnation,
        name: name(1),
        peer_address: "1".to_owned(),
        addresses: Vec::new(),
    };
    let view = RoleView { leader: Some(leader), ..cluster.view.clone() };
    cluster.queue.push_back(Event::Input(0, Input::Propose(vec![proposal(70, "in flight")])));
    cluster.queue.push_back(Event::Input(0, Input::Role(view)));
    let began = cluster.now;
    cluster.run_until("it leads", |c| c.nodes[1].replica.status().phase == Phase::Leading);
    assert!(cluster.now - began < 20 * MS, "{:?}", cluster.now - began);
    cluster.run_until("what was in flight is there", |c| (0..3).all(|node| c.has(node, "in flight")));
    cluster.run_until("it may end", |c| c.nodes[0].replica.status().drained);
}

/// All pods of a cluster are deleted at once: the one that leads hands over to one that has not heard of its end yet.
#[test]
fn a_successor_that_was_told_to_end_meanwhile_leads_all_the_same() {
    let mut cluster = Cluster::started(3);
    cluster.queue.push_back(Event::Input(0, Input::Drain));
    cluster.run_until("it hands over", |c| c.nodes[0].replica.status().hand_over.is_some());
    for node in [1, 2] {
        cluster.queue.push_back(Event::Input(node, Input::Drain));
    }
    cluster.drain_queue();
    let leader = LeaderView {
        term: Term(2),
        incarnation: cluster.nodes[1].incarnation,
        name: name(1),
        peer_address: "1".to_owned(),
        addresses: Vec::new(),
    };
    let view = RoleView { leader: Some(leader), ..cluster.view.clone() };
    cluster.queue.push_back(Event::Input(0, Input::Role(view)));
    cluster.run_until("it is open", |c| c.nodes[1].replica.status().open);
    assert_eq!(cluster.nodes[1].state.promise.term, Term(2));
    cluster.write(1, "at the end");
    assert_eq!(cluster.nodes[1].replica.status().phase, Phase::Draining);
}

#[test]
fn the_successor_is_of_the_newest_revision_and_of_the_lowest_ordinal() {
    // The pods' revisions, the newest one, who leaves, and who is chosen.
    for (revisions, newest, asked, chosen) in [
        (["a", "a", "a"], None, None, 1),
        (["a", "a", "b"], None, None, 2),
        (["a", "b", "b"], None, None, 1),
        (["", "", ""], None, None, 1),
        (["a", "a", "b"], Some("b"), None, 2),
        // Taken back in the middle of it: the one that is updated already goes first.
        (["a", "a", "b"], Some("a"), None, 1),
        (["a", "a", "a"], Some("b"), None, 1),
        (["a", "b", "b"], Some("b"), Some(2), 2),
    ] {
        let mut cluster = Cluster::new(3);
        for (node, revision) in revisions.iter().enumerate() {
            cluster.nodes[node].replica = Replica::new(
                Config {
                    revision: (*revision).to_owned(),
                    ..config(node, cluster.nodes[node].id, cluster.nodes[node].incarnation)
                },
                recovered(DurableState::EMPTY, &[]),
            );
        }
        cluster.view.newest_revision = newest.map(str::to_owned);
        cluster.tell_all();
        cluster.run_until("the bootstrap", |c| c.nodes[0].replica.status().campaign == Some(Term(0)));
        cluster.lead(0, 1);
        cluster.run_until("all are voters", |c| {
            let status = c.nodes[0].replica.status();
            status.voters.voters.len() == 3 && status.committed == status.position.seq
        });
        // They say by heartbeats that they may lead.
        cluster.run(300 * MS);
        cluster.view.hand_over_to = asked.map(name);
        cluster.tell_all();
        cluster.queue.push_back(Event::Input(0, Input::Drain));
        cluster.run_until("it hands over", |c| c.nodes[0].replica.status().hand_over.is_some());
        let (to, _) = cluster.nodes[0].replica.status().hand_over.unwrap();
        assert_eq!(to, name(chosen), "{revisions:?} {newest:?}");
    }
}

#[test]
fn a_successor_that_begins_to_end_itself_is_given_up_for_another_one_at_once() {
    let mut cluster = Cluster::started(3);
    cluster.queue.push_back(Event::Input(0, Input::Drain));
    cluster.run_until("it hands over", |c| c.nodes[0].replica.status().hand_over.is_some());
    cluster.queue.push_back(Event::Input(1, Input::Drain));
    let began = cluster.now;
    let is_other = |c: &Cluster| matches!(c.nodes[0].replica.status().hand_over, Some((to, _)) if to == name(2));
    cluster.run_until("the other one", is_other);
    assert!(cluster.now - began < 500 * MS, "{:?}", cluster.now - began);
}

#[test]
fn a_hand_over_that_comes_to_nothing_holds_no_write_up_and_is_begun_again() {
    let mut cluster = Cluster::started(3);
    cluster.queue.push_back(Event::Input(0, Input::Drain));
    let hands_over = |c: &Cluster| c.nodes[0].replica.status().hand_over.is_some();
    for _ in 0..2 {
        cluster.run_until("it hands over", hands_over);
        cluster.write(0, "during");
        cluster.run_until("undone: the API server does not answer", |c| !hands_over(c));
        cluster.write(0, "after");
    }
    assert!(cluster.rejected.is_empty());
    assert!(cluster.has(1, "during") && cluster.has(1, "after"));
}

#[test]
fn of_the_pods_that_are_not_wanted_the_dead_one_is_removed_first() {
    let mut cluster = Cluster::started(3);
    cluster.kill(1);
    cluster.view.members.truncate(1);
    cluster.tell_all();
    cluster.run_until("one voter", |c| c.nodes[0].replica.status().voters.voters.len() == 1);
    cluster.write(0, "alone");
    cluster.run_until("committed alone", |c| c.has(0, "alone"));
}

fn proposal(id: u64, what: &'static str) -> Proposal {
    Proposal { id: ProposalId(id), command: Bytes::from_static(what.as_bytes()), grows: true }
}
