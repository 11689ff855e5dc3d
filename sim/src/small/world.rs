//! What the small world contains, and everything that may happen next.

use super::journal::Journal;
use super::judge::Judge;
use super::prints::Prints;
use bytes::Bytes;
use leasehold_replication::{
    Claim, ClusterId, Config, ConnId, DurableState, Entry, FORMAT_MIN, Frame, Hello, HelloAnswer, Incarnation, Input,
    InviteAnswer, LeaderView, Member, Payload, Phase, Position, Promise, Proposal, ProposalId, ReadId, Recovered,
    Replica, ReplicaId, RequestId, RoleView, Seq, SnapshotMeta, Term, Voter, Voters, WentBack,
};
use std::collections::{BTreeMap, VecDeque};
use std::hash::Hash;
use std::rc::Rc;
use std::time::Duration;
use uuid::Uuid;

const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(1));

/// How much may still go wrong, or be requested. Each event uses one unit.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Budget {
    /// New leaderships.
    pub claims: u32,
    /// Of these, how many have a term that another replica was given, too.
    pub same_term: u32,
    /// Deaths of a process; another one starts at once.
    pub crashes: u32,
    /// Broken connections.
    pub cuts: u32,
    /// Writes of clients.
    pub writes: u32,
    /// Strong reads of clients.
    pub reads: u32,
    /// How often a replica's time moves on to what it waits for.
    pub ticks: u32,
    /// Snapshots.
    pub snapshots: u32,
    /// Changes of the wanted pods.
    pub wishes: u32,
}

/// One thing that may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// This replica gets a new leadership: of the next term, or of the newest one.
    Claim {
        leader: usize,
        same_term: bool,
    },
    /// A replica's role file shows that claim.
    Tell {
        node: usize,
        claim: usize,
    },
    /// A message arrives.
    Deliver {
        conn: u64,
        end: usize,
    },
    /// An invitation or its answer arrives.
    Letter {
        number: usize,
    },
    /// An fsync ends.
    Sync {
        node: usize,
    },
    /// A process dies, and this many of the records that it had started are found.
    Crash {
        node: usize,
        keep: usize,
    },
    /// A connection breaks, with what is under way.
    Cut {
        conn: u64,
    },
    Write {
        node: usize,
    },
    Read {
        node: usize,
    },
    Tick {
        node: usize,
    },
    Snapshot {
        node: usize,
    },
    /// All pods are wanted, but those of this set.
    Wish {
        unwanted: u32,
    },
}

#[derive(Clone, Debug, Hash)]
pub(super) struct Node {
    pub(super) replica: Replica,
    pub(super) incarnation: Incarnation,
    pub(super) runs: u32,
    /// What its build reads.
    pub(super) format: u32,
    now: Duration,
    pub(super) journal: Journal,
    pub(super) applied: Position,
    pub(super) voters: Voters,
    /// The content of its role file: the claim, and which pods are unwanted.
    pub(super) shown: Option<(usize, u32)>,
    /// Strong reads that wait, and what each must see.
    pub(super) reads: Vec<(ReadId, Seq)>,
    /// The file that marks its volume as gone back in time.
    pub(super) mark: Option<WentBack>,
    /// Its volume is an older copy.
    pub(super) is_set_back: bool,
}

/// A node with its fingerprint: most nodes do not change from one step to the next.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) node: Node,
    print: u128,
}

#[derive(Clone, Debug, Hash)]
pub(super) enum Message {
    Hello(Hello),
    Answer(HelloAnswer),
    Frame(Frame),
    Snapshot(SnapshotMeta),
    End,
}

#[derive(Clone, Debug, Hash)]
pub(super) struct End {
    pub(super) node: usize,
    pub(super) runs: u32,
    pub(super) id: ConnId,
    pub(super) open: bool,
    pub(super) inbox: VecDeque<Message>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Letter {
    Invite { from: usize, runs: u32, to: usize, claim: Claim },
    Answer { to: usize, runs: u32, from: usize, answer: InviteAnswer },
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(super) nodes: Vec<Rc<Kept>>,
    pub(super) conns: BTreeMap<u64, [End; 2]>,
    pub(super) letters: Vec<Letter>,
    claims: Vec<(Term, usize, Incarnation)>,
    unwanted: u32,
    pub(crate) left: Budget,
    pub(crate) judge: Judge,
    writes: u64,
    /// Long commands fill an append, so that a log is sent in parts.
    command_bytes: usize,
    /// Are fingerprints kept?
    keeps_prints: bool,
    /// The Lease carries the cluster's id.
    pub(crate) lease_has_id: bool,
    /// For an exhaustive search: how the world is smaller still.
    pub(crate) reduced: Option<Reduced>,
}

/// What an exhaustive search leaves out, so that it can be complete.
#[derive(Clone, Copy, Debug)]
pub struct Reduced {
    /// What was started is durable at once. (Otherwise any time later, or never.)
    pub instant_disks: bool,
    /// Invitations arrive, at any time. (Otherwise never.)
    pub letters: bool,
}

fn name(node: usize) -> String {
    format!("n-{node}")
}

fn member(node: usize) -> Member {
    Member { name: name(node), peer_address: name(node), addresses: Vec::new(), remembered: false }
}

fn replica_id(node: usize) -> ReplicaId {
    ReplicaId(Uuid::from_u128(100 + node as u128))
}

pub(super) fn incarnation(node: usize, runs: u32) -> Incarnation {
    Incarnation(Uuid::from_u128(1000 + 1000 * node as u128 + u128::from(runs)))
}

pub(super) fn node_of(text: &str) -> usize {
    text.trim_start_matches("n-").parse().expect("names end in the number of a node")
}

fn print_of(node: &Node) -> u128 {
    let mut prints = Prints::default();
    node.hash(&mut prints);
    prints.both()
}

/// `format`: what its build reads, and allows.
pub(super) fn new_replica(node: usize, runs: u32, format: u32, recovered: Recovered) -> Replica {
    let ms = Duration::from_millis;
    let config = Config {
        name: name(node),
        replica: replica_id(node),
        incarnation: incarnation(node, runs),
        revision: String::new(),
        heartbeat: ms(100),
        lost_time: ms(1000),
        disk_stall: ms(2000),
        hand_over_max: ms(2000),
        drain_min: ms(500),
        unready_after: ms(30_000),
        log_memory_bytes: usize::MAX,
        apply_bytes_max: usize::MAX,
        drain_max: ms(25_000),
        new_cluster_id: ClusterId(Uuid::from_u128(2)),
        initial_data: Vec::new(),
        initial_format: 1,
        restore: None,
        force_bootstrap: false,
        format_build: format,
        format_allowed: format,
        sums: false,
    };
    Replica::new(config, recovered)
}

impl World {
    /// A cluster whose first `voters` nodes are its voters, with one entry, and nobody leads yet.
    pub(crate) fn new(nodes: usize, voters: usize, left: Budget, command_bytes: usize, keeps_prints: bool) -> World {
        let voter = |node| Voter { replica: replica_id(node), name: name(node), peer_address: name(node) };
        let voters = Voters { format: 1, floor: 1, voters: (0..voters).map(voter).collect() };
        let first = Entry::new(Position::ZERO, Term(0), Payload::Voters(voters.clone()));
        let kept = |node: usize| {
            let is_voter = voters.contains(replica_id(node));
            let (cluster_id, entries) =
                if is_voter { (Some(CLUSTER), vec![first.clone()]) } else { (None, Vec::new()) };
            let state = DurableState { promise: Promise::NONE, cluster_id, bootstrapping: false };
            let recovered = Recovered {
                state,
                snapshot: None,
                entries: entries.clone(),
                committed: Position::ZERO,
                went_back: None,
                diverged: None,
                format: FORMAT_MIN,
            };
            let node = Node {
                replica: new_replica(node, 1, FORMAT_MIN, recovered),
                incarnation: incarnation(node, 1),
                runs: 1,
                format: FORMAT_MIN,
                now: Duration::ZERO,
                journal: Journal::new(state, entries),
                applied: Position::ZERO,
                voters: Voters::none(),
                shown: None,
                reads: Vec::new(),
                mark: None,
                is_set_back: false,
            };
            Rc::new(Kept { print: print_of(&node), node })
        };
        let mut world = World {
            nodes: (0..nodes).map(kept).collect(),
            conns: BTreeMap::new(),
            letters: Vec::new(),
            claims: Vec::new(),
            unwanted: 0,
            left,
            judge: Judge::default(),
            writes: 0,
            command_bytes,
            keeps_prints,
            lease_has_id: true,
            reduced: None,
        };
        let all: Vec<usize> = (0..nodes).collect();
        all.iter().for_each(|node| world.ask(*node, &all).expect("nothing has happened yet"));
        world
    }

    /// A replica that has just started learns what each of them knows of the others' volumes. (All answer at once: a
    /// missing answer is a matter of time, and the large simulator's.)
    pub(super) fn ask(&mut self, number: usize, whom: &[usize]) -> Result<(), String> {
        for other in whom.iter().copied().filter(|other| *other != number) {
            if !self.replica(number).is_asking() {
                break;
            }
            let state = self.replica(other).status().peer_state(&name(other), replica_id(other));
            self.step(number, Input::StateAnswered { name: name(other), state })?;
        }
        Ok(())
    }

    /// A fingerprint: two worlds with the same one count as the same.
    pub(crate) fn print(&self) -> u128 {
        let mut prints = Prints::default();
        for kept in &self.nodes {
            kept.print.hash(&mut prints);
        }
        (&self.conns, &self.letters, &self.claims, self.unwanted, &self.left, &self.judge).hash(&mut prints);
        prints.both()
    }

    /// Everything that may happen next, in a fixed order.
    pub(crate) fn choices(&self, all: &mut Vec<Choice>) {
        all.clear();
        for number in 0..self.nodes.len() {
            self.choices_of_claims(number, all);
            self.choices_of_node(number, all);
        }
        for (conn, ends) in &self.conns {
            for (end, one) in ends.iter().enumerate() {
                if one.open && !one.inbox.is_empty() {
                    all.push(Choice::Deliver { conn: *conn, end });
                }
            }
            if self.left.cuts > 0 {
                all.push(Choice::Cut { conn: *conn });
            }
        }
        all.extend((0..self.letters.len()).map(|number| Choice::Letter { number }));
        if self.left.wishes > 0 {
            let some = 0..1_u32 << self.nodes.len();
            let masks = some.filter(|mask| mask.count_ones() * 2 < self.nodes.len() as u32);
            all.extend(masks.filter(|mask| *mask != self.unwanted).map(|unwanted| Choice::Wish { unwanted }));
        }
    }

    /// The leaderships that this node may get, and the claims that it may see.
    fn choices_of_claims(&self, number: usize, all: &mut Vec<Choice>) {
        let node = &self.nodes[number].node;
        let newest = self.claims.last().map(|claim| claim.0);
        // A replica is like any other until it has led: the first leader is the first one, and so on.
        let is_next = self.reduced.is_none() || number == self.claims.len() % self.nodes.len();
        let is_next = is_next || (self.reduced.is_some() && self.claims.iter().any(|claim| claim.1 == number));
        if self.left.claims > 0 && is_next {
            all.push(Choice::Claim { leader: number, same_term: false });
            let is_new = !self.claims.iter().any(|claim| Some(claim.0) == newest && claim.2 == node.incarnation);
            if self.left.same_term > 0 && newest.is_some() && is_new {
                all.push(Choice::Claim { leader: number, same_term: true });
            }
        }
        let promised = node.journal.begun.state.promise.term;
        for (claim, (term, ..)) in self.claims.iter().enumerate() {
            let is_news = *term > promised && node.shown.is_none_or(|shown| shown.0 != claim);
            let is_wish = node.shown.is_some_and(|shown| shown.0 == claim && shown.1 != self.unwanted);
            let is_same_term = *term == promised && node.shown.is_none_or(|shown| shown.0 < claim);
            if is_news || is_wish || is_same_term {
                all.push(Choice::Tell { node: number, claim });
            }
        }
    }

    /// What may happen to this node by itself.
    fn choices_of_node(&self, number: usize, all: &mut Vec<Choice>) {
        let node = &self.nodes[number].node;
        if node.journal.is_busy() {
            all.push(Choice::Sync { node: number });
        }
        if self.left.crashes > 0 {
            all.push(Choice::Crash { node: number, keep: 0 });
            let waiting = node.journal.waiting_records();
            all.extend((waiting > 0).then_some(Choice::Crash { node: number, keep: waiting }));
            all.extend((waiting > 1).then_some(Choice::Crash { node: number, keep: waiting / 2 }));
        }
        if self.left.writes > 0 && node.replica.phase() == Phase::Leading {
            all.push(Choice::Write { node: number });
        }
        if self.left.reads > 0 {
            all.push(Choice::Read { node: number });
        }
        if self.left.ticks > 0 && node.replica.deadline().is_some() {
            all.push(Choice::Tick { node: number });
        }
        let snapshot = node.journal.snapshot().map_or(Seq(0), |meta| meta.position.seq);
        if self.left.snapshots > 0 && node.applied.seq > snapshot {
            all.push(Choice::Snapshot { node: number });
        }
    }

    /// Lets it happen.
    pub(crate) fn happen(&mut self, choice: Choice) -> Result<(), String> {
        self.pay(choice);
        match choice {
            Choice::Claim { leader, same_term } => {
                let newest = self.claims.last().map_or(Term(0), |claim| claim.0);
                let term = if same_term { newest } else { Term(newest.0 + 1) };
                self.claims.push((term, leader, self.nodes[leader].node.incarnation));
                Ok(())
            }
            Choice::Tell { node, claim } => self.show(node, claim),
            Choice::Deliver { conn, end } => self.deliver(conn, end),
            Choice::Letter { number } => self.hand_over_letter(number),
            Choice::Sync { node } => match self.node(node).journal.sync() {
                Some(ticket) => self.step(node, Input::Persisted { ticket }),
                None => Ok(()),
            },
            Choice::Crash { node, keep } => self.crash(node, keep),
            Choice::Cut { conn } => {
                for end in self.conns.get_mut(&conn).into_iter().flatten() {
                    end.inbox.clear();
                    end.inbox.push_back(Message::End);
                }
                Ok(())
            }
            Choice::Write { node } => self.write(node),
            Choice::Read { node } => self.read(node),
            Choice::Tick { node } => {
                let found = self.node(node);
                found.now = found.replica.deadline().map_or(found.now, |at| at.max(found.now));
                self.step(node, Input::Wake)
            }
            Choice::Snapshot { node } => self.take_snapshot(node),
            Choice::Wish { unwanted } => {
                self.unwanted = unwanted;
                Ok(())
            }
        }
    }

    /// The budget pays for what happens.
    fn pay(&mut self, choice: Choice) {
        let left = &mut self.left;
        match choice {
            Choice::Claim { same_term, .. } => {
                left.claims -= 1;
                left.same_term -= u32::from(same_term);
            }
            Choice::Crash { .. } => left.crashes -= 1,
            Choice::Cut { .. } => left.cuts -= 1,
            Choice::Write { .. } => left.writes -= 1,
            Choice::Read { .. } => left.reads -= 1,
            Choice::Tick { .. } => left.ticks -= 1,
            Choice::Snapshot { .. } => left.snapshots -= 1,
            Choice::Wish { .. } => left.wishes -= 1,
            Choice::Tell { .. } | Choice::Deliver { .. } | Choice::Letter { .. } | Choice::Sync { .. } => {}
        }
    }

    /// Its role file shows that claim, and the pods that are wanted now.
    fn show(&mut self, node: usize, claim: usize) -> Result<(), String> {
        let (term, leader, incarnation) = self.claims[claim];
        let unwanted = self.unwanted;
        let members = (0..self.nodes.len()).filter(|node| unwanted & (1 << node) == 0);
        let leader =
            LeaderView { term, incarnation, name: name(leader), peer_address: name(leader), addresses: Vec::new() };
        let view = RoleView {
            cluster_id: self.lease_has_id.then_some(CLUSTER),
            leader: Some(leader),
            members: members.map(member).collect(),
            ..RoleView::default()
        };
        self.node(node).shown = Some((claim, unwanted));
        self.step(node, Input::Role(view))
    }

    fn hand_over_letter(&mut self, number: usize) -> Result<(), String> {
        match self.letters.remove(number) {
            Letter::Invite { from, runs, to, claim } => {
                let request = RequestId(u64::from(runs) * 100 + from as u64);
                self.step(to, Input::Invited { request, claim })
            }
            Letter::Answer { to, runs, from, answer } if self.nodes[to].node.runs == runs => {
                self.step(to, Input::InviteAnswered { name: name(from), answer })
            }
            Letter::Answer { .. } => Ok(()),
        }
    }

    fn write(&mut self, node: usize) -> Result<(), String> {
        self.writes += 1;
        let mut command = self.writes.to_le_bytes().to_vec();
        command.resize(self.command_bytes.max(8), 0);
        let proposal = Proposal { id: ProposalId(self.writes), command: Bytes::from(command), grows: true };
        self.step(node, Input::Propose(vec![proposal]))
    }

    fn read(&mut self, node: usize) -> Result<(), String> {
        let must_see = self.judge.applied_seq();
        let reads = &mut self.node(node).reads;
        let id = ReadId(reads.last().map_or(0, |read| read.0.0) + 1);
        reads.push((id, must_see));
        self.step(node, Input::Read { id })
    }

    fn take_snapshot(&mut self, node: usize) -> Result<(), String> {
        let found = self.node(node);
        let position = found.applied;
        let meta = SnapshotMeta { cluster_id: CLUSTER, position, voters: found.voters.clone() };
        found.journal.take_snapshot(meta);
        self.step(node, Input::SnapshotTaken { position })
    }

    /// How many claims there are.
    pub(crate) fn claims(&self) -> usize {
        self.claims.len()
    }

    /// A replica, to be asked.
    pub(crate) fn replica(&self, node: usize) -> &Replica {
        &self.nodes[node].node.replica
    }

    /// A role file shows nobody, and no cluster.
    pub(crate) fn show_nobody(&mut self, node: usize) -> Result<(), String> {
        let members = (0..self.nodes.len()).map(member).collect();
        self.step(node, Input::Role(RoleView { members, ..RoleView::default() }))
    }

    pub(super) fn node(&mut self, node: usize) -> &mut Node {
        &mut Rc::make_mut(&mut self.nodes[node]).node
    }

    pub(super) fn step(&mut self, number: usize, input: Input) -> Result<(), String> {
        let node = self.node(number);
        let (before, now) = (node.replica.promise(), node.now);
        let effects = node.replica.step(now, input);
        let after = node.replica.promise();
        if after.term < before.term || after.term == before.term && after.incarnation != before.incarnation {
            return Err(format!("invariant 5: n-{number} promised {before}, and now {after}"));
        }
        effects.into_iter().try_for_each(|effect| self.carry_out(number, effect))?;
        if self.reduced.is_some_and(|reduced| reduced.instant_disks)
            && let Some(ticket) = self.node(number).journal.sync()
        {
            return self.step(number, Input::Persisted { ticket });
        }
        let kept = Rc::make_mut(&mut self.nodes[number]);
        let node = &kept.node;
        if node.replica.position() != node.journal.begun.last() {
            let (says, has) = (node.replica.position(), node.journal.begun.last());
            return Err(format!("n-{number} says that its log ends at {says}, it wrote up to {has}"));
        }
        if self.keeps_prints {
            kept.print = print_of(node);
        }
        for kept in &self.nodes {
            if kept.node.replica.phase() == Phase::Leading {
                self.judge.leads(kept.node.replica.promise().term, kept.node.incarnation, &kept.node.journal.begun)?;
            }
        }
        Ok(())
    }
}
