//! The small world led by hand: a trace decides who receives what, and which replicas reach each other for a while.
//!
//! After the first violation nothing more happens. Each act is a row of a table, with a cell for each replica:
//!
//! ```text
//!   L2 0 1 (2) a2     L leads, R recovers, F follows, l learns, W went back in time, S starts, D drains, X failed; the term
//!                     that it promised; the term of each entry, in parentheses while it is not durable; what it applied
//! ```

use super::journal::Journal;
use super::sheet::{Played, Sheet, Staged};
use super::world::{Budget, Choice, World};
use crate::plant::{Plant, Planted};
use leasehold_replication::{Phase, Position, Seq};

/// The trace decides what happens, so there is enough of everything.
const PLENTY: Budget = Budget {
    claims: 100,
    same_term: 100,
    crashes: 100,
    cuts: 100,
    writes: 100,
    reads: 100,
    ticks: 1000,
    snapshots: 100,
    wishes: 100,
};

/// A copy of a volume.
#[derive(Clone, Debug)]
pub struct VolumeCopy(Journal);

/// See the module.
pub struct Stage {
    world: World,
    sheet: Sheet,
    _planted: Planted,
}

impl Stage {
    /// Voters, all with one entry, and nobody leads. A write is of `command_bytes`; one of 600,000 fills an append.
    pub fn new(voters: usize, command_bytes: usize, plant: Option<Plant>) -> Stage {
        let planted = Planted::new(plant);
        Stage::begin(World::new(voters, voters, PLENTY, command_bytes, false), planted)
    }

    /// One replica with an empty volume, and a Lease without a cluster-id, which stays so.
    pub fn empty(plant: Option<Plant>) -> Stage {
        let planted = Planted::new(plant);
        let mut world = World::new(1, 0, PLENTY, 8, false);
        world.lease_has_id = false;
        Stage::begin(world, planted)
    }

    fn begin(world: World, planted: Planted) -> Stage {
        let sheet = Sheet::new((0..world.nodes.len()).map(|node| node.to_string()));
        let mut stage = Stage { world, sheet, _planted: planted };
        stage.act("at first".to_owned(), |_| ());
        stage
    }

    /// One row of the table.
    fn act<R>(&mut self, what: String, body: impl FnOnce(&mut Stage) -> R) -> R {
        self.sheet.begin();
        let result = body(self);
        if self.sheet.end() {
            let cells: Vec<String> = (0..self.world.nodes.len()).map(|node| self.cell(node)).collect();
            self.sheet.row(what, cells.into_iter());
        }
        result
    }

    fn cell(&self, node: usize) -> String {
        let node = &self.world.nodes[node].node;
        let role = match node.replica.phase() {
            Phase::Starting => 'S',
            Phase::Learner => 'l',
            Phase::Follower => 'F',
            Phase::Recovering => 'R',
            Phase::Leading => 'L',
            Phase::Draining => 'D',
            Phase::Failed => 'X',
            Phase::WentBack => 'W',
            Phase::Diverged => 'D',
        };
        format!("{role}{} {} a{}", node.replica.promise().term, node.journal.terms(), node.applied.seq)
    }

    fn happen(&mut self, choice: Choice) {
        let world = &mut self.world;
        self.sheet.happen(|| world.happen(choice));
    }

    /// A new leadership of the next term. Nobody knows it yet. Returns its number.
    pub fn claim(&mut self, leader: usize) -> usize {
        self.act(format!("claim for {leader}"), |stage| {
            stage.happen(Choice::Claim { leader, same_term: false });
            stage.world.claims() - 1
        })
    }

    /// That replica's role file shows the claim.
    pub fn tell(&mut self, node: usize, claim: usize) {
        self.act(format!("tell {node} claim {claim}"), |stage| {
            stage.happen(Choice::Tell { node, claim });
        });
    }

    /// Its role file shows nobody.
    pub fn tell_nobody(&mut self, node: usize) {
        self.act(format!("tell {node} of nobody"), |stage| {
            let world = &mut stage.world;
            stage.sheet.happen(|| world.show_nobody(node));
        });
    }

    /// A new leadership: the leader knows first, then these followers say hello. Their other messages wait.
    pub fn lead(&mut self, leader: usize, followers: &[usize]) {
        self.act(format!("lead {leader} by {followers:?}"), |stage| {
            let claim = stage.claim(leader);
            stage.tell(leader, claim);
            stage.sync(leader);
            for follower in followers {
                stage.tell(*follower, claim);
                stage.sync(*follower);
                stage.deliver(*follower, leader);
            }
            stage.sync(leader);
        });
    }

    /// Everything that was started becomes durable.
    pub fn sync(&mut self, node: usize) {
        self.act(format!("sync {node}"), |stage| {
            stage.happen(Choice::Sync { node });
        });
    }

    /// A client writes.
    pub fn write(&mut self, node: usize) {
        self.act(format!("write {node}"), |stage| {
            stage.happen(Choice::Write { node });
        });
    }

    /// A client reads strongly.
    pub fn read(&mut self, node: usize) {
        self.act(format!("read {node}"), |stage| {
            stage.happen(Choice::Read { node });
        });
    }

    /// The time for which it waits has come.
    pub fn tick(&mut self, node: usize) {
        self.act(format!("tick {node}"), |stage| {
            stage.happen(Choice::Tick { node });
        });
    }

    /// It dies, with everything that is not durable, and starts again.
    pub fn crash(&mut self, node: usize) {
        self.act(format!("crash {node}"), |stage| {
            stage.happen(Choice::Crash { node, keep: 0 });
        });
    }

    /// It dies, with everything that is not durable, and starts again as a build that reads that format and allows it.
    pub fn exchange(&mut self, node: usize, format: u32) {
        self.act(format!("exchange {node} for a build of {format}"), |stage| {
            let world = &mut stage.world;
            stage.sheet.happen(|| world.exchange(node, format));
        });
    }

    /// The format that every replica with its log must read.
    pub fn log_format(&self, node: usize) -> u32 {
        self.world.replica(node).status().formats.log
    }

    /// What is durable on a volume now.
    pub fn copy(&mut self, node: usize) -> VolumeCopy {
        VolumeCopy(self.world.node(node).journal.copy())
    }

    /// An older copy of the volume replaces it while the process is down. Of those that it asks only these answer, and it
    /// gives up waiting for the others.
    pub fn set_back(&mut self, node: usize, copy: &VolumeCopy, answering: &[usize]) {
        self.act(format!("set back {node}, {answering:?} answer"), |stage| {
            let world = &mut stage.world;
            stage.sheet.happen(|| world.set_back(node, copy.0.clone(), answering));
            while !stage.sheet.is_over() && stage.world.replica(node).is_asking() {
                stage.tick(node);
            }
        });
    }

    /// It is marked as gone back in time.
    pub fn is_marked(&self, node: usize) -> bool {
        self.world.replica(node).phase() == Phase::WentBack
    }

    /// The waiting messages from one to the other arrive; their results wait.
    pub fn deliver(&mut self, from: usize, to: usize) {
        self.act(format!("deliver {from} to {to}"), |stage| {
            for (conn, end, count) in stage.world.waiting(from, to) {
                for _ in 0..count {
                    stage.happen(Choice::Deliver { conn, end });
                }
            }
        });
    }

    /// The first waiting message from one to the other arrives.
    pub fn deliver_one(&mut self, from: usize, to: usize) {
        self.act(format!("deliver one {from} to {to}"), |stage| {
            if let Some((conn, end, _)) = stage.world.waiting(from, to).first() {
                stage.happen(Choice::Deliver { conn: *conn, end: *end });
            }
        });
    }

    /// As `deliver`, but only on the newest connection.
    pub fn deliver_newest(&mut self, from: usize, to: usize) {
        self.act(format!("deliver newest {from} to {to}"), |stage| {
            if let Some((conn, end, count)) = stage.world.waiting(from, to).pop() {
                for _ in 0..count {
                    stage.happen(Choice::Deliver { conn, end });
                }
            }
        });
    }

    /// The first waiting append from one to the other will arrive once more, after everything that waits now. (No
    /// connection does that. The rule must hold without its help.)
    pub fn repeat_append(&mut self, from: usize, to: usize) {
        self.act(format!("repeat append {from} to {to}"), |stage| {
            stage.world.repeat_append(from, to);
        });
    }

    /// The last two waiting messages from one to the other change places. (As above.)
    pub fn swap_last(&mut self, from: usize, to: usize) {
        self.act(format!("swap last {from} to {to}"), |stage| {
            stage.world.swap_last(from, to);
        });
    }

    /// Connections between the two break, with what is under way.
    pub fn cut(&mut self, a: usize, b: usize) {
        self.act(format!("cut {a} from {b}"), |stage| {
            for conn in stage.world.between(a, b) {
                stage.happen(Choice::Cut { conn });
            }
        });
    }

    /// These replicas reach each other until nothing more happens among them.
    pub fn among(&mut self, nodes: &[usize]) {
        self.act(format!("among {nodes:?}"), |stage| {
            for _ in 0..10_000 {
                let mut choices = Vec::new();
                stage.world.choices(&mut choices);
                let next = choices.into_iter().find(|choice| match *choice {
                    Choice::Sync { node } => nodes.contains(&node),
                    Choice::Deliver { conn, end } => {
                        nodes.contains(&stage.world.receiver(conn, end))
                            && nodes.contains(&stage.world.receiver(conn, 1 - end))
                    }
                    _ => false,
                });
                match next {
                    Some(choice) if !stage.sheet.is_over() => stage.happen(choice),
                    _ => return,
                }
            }
        });
    }

    /// Where its log ends.
    pub fn position(&self, node: usize) -> Position {
        self.world.replica(node).position()
    }

    /// Is it open for writes?
    pub fn leads(&self, node: usize) -> bool {
        self.world.replica(node).phase() == Phase::Leading
    }

    /// How far any replica has applied.
    pub fn applied(&self) -> Seq {
        self.world.judge.applied_seq()
    }
}

impl Staged for Stage {
    fn played(self) -> Played {
        self.sheet.played()
    }
}
