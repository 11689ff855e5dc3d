//! The small world led by hand: a trace says who is told what, and which replicas reach each other for a while.
//!
//! After the first thing that is wrong nothing more happens; [`Stage::verdict`] tells it.

use super::journal::Journal;
use super::world::{Budget, Choice, World};
use crate::plant::{Plant, Planted};
use leasehold_replication::{Phase, Position, Seq};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What may happen is up to the trace, so there is enough of everything.
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
    wrong: Option<String>,
    _planted: Planted,
}

impl Stage {
    /// Voters, all with one entry, and nobody leads. A write is of `command_bytes`; one of 600,000 fills an append.
    pub fn new(voters: usize, command_bytes: usize, plant: Option<Plant>) -> Stage {
        let world = World::new(voters, voters, PLENTY, command_bytes, false);
        Stage { world, wrong: None, _planted: Planted::new(plant) }
    }

    /// One replica with an empty volume, and a Lease without a cluster-id, which stays so.
    pub fn empty(plant: Option<Plant>) -> Stage {
        let mut world = World::new(1, 0, PLENTY, 8, false);
        world.lease_has_id = false;
        Stage { world, wrong: None, _planted: Planted::new(plant) }
    }

    fn happen(&mut self, choice: Choice) {
        if self.wrong.is_none() {
            let world = &mut self.world;
            let happened = catch_unwind(AssertUnwindSafe(|| world.happen(choice)));
            self.wrong = happened.unwrap_or_else(|_| Err("a core panicked".to_owned())).err();
        }
    }

    /// What was wrong.
    ///
    /// # Errors
    /// The first violation.
    pub fn verdict(self) -> Result<(), String> {
        self.wrong.map_or(Ok(()), Err)
    }

    /// A new leadership of the next term. Nobody is told yet. Returns its number.
    pub fn claim(&mut self, leader: usize) -> usize {
        self.happen(Choice::Claim { leader, same_term: false });
        self.world.claims() - 1
    }

    /// That replica's role file shows the claim.
    pub fn tell(&mut self, node: usize, claim: usize) {
        self.happen(Choice::Tell { node, claim });
    }

    /// Its role file shows nobody.
    pub fn tell_nobody(&mut self, node: usize) {
        if self.wrong.is_none() {
            self.wrong = self.world.show_nobody(node).err();
        }
    }

    /// A new leadership: the leader knows first, then these followers say hello. Their other messages wait.
    pub fn lead(&mut self, leader: usize, followers: &[usize]) {
        let claim = self.claim(leader);
        self.tell(leader, claim);
        self.sync(leader);
        for follower in followers {
            self.tell(*follower, claim);
            self.sync(*follower);
            self.deliver(*follower, leader);
        }
        self.sync(leader);
    }

    /// Everything that was begun becomes durable.
    pub fn sync(&mut self, node: usize) {
        self.happen(Choice::Sync { node });
    }

    /// A client writes.
    pub fn write(&mut self, node: usize) {
        self.happen(Choice::Write { node });
    }

    /// A client reads strongly.
    pub fn read(&mut self, node: usize) {
        self.happen(Choice::Read { node });
    }

    /// The time comes that it waits for.
    pub fn tick(&mut self, node: usize) {
        self.happen(Choice::Tick { node });
    }

    /// It dies, with all that is not durable, and begins again.
    pub fn crash(&mut self, node: usize) {
        self.happen(Choice::Crash { node, keep: 0 });
    }

    /// What is durable on a volume now.
    pub fn copy(&mut self, node: usize) -> VolumeCopy {
        VolumeCopy(self.world.node(node).journal.copy())
    }

    /// An older copy of the volume takes its place while the process is down. Of those it asks only these answer, and it
    /// gives up waiting for the others.
    pub fn set_back(&mut self, node: usize, copy: &VolumeCopy, answering: &[usize]) {
        if self.wrong.is_none() {
            let world = &mut self.world;
            let happened = catch_unwind(AssertUnwindSafe(|| world.set_back(node, copy.0.clone(), answering)));
            self.wrong = happened.unwrap_or_else(|_| Err("a core panicked".to_owned())).err();
        }
        while self.wrong.is_none() && self.world.replica(node).is_asking() {
            self.tick(node);
        }
    }

    /// It is marked as gone back in time.
    pub fn is_marked(&self, node: usize) -> bool {
        self.world.replica(node).phase() == Phase::WentBack
    }

    /// The messages that wait from one to the other arrive; what they bring about waits.
    pub fn deliver(&mut self, from: usize, to: usize) {
        for (conn, end, count) in self.world.waiting(from, to) {
            for _ in 0..count {
                self.happen(Choice::Deliver { conn, end });
            }
        }
    }

    /// The first message that waits from one to the other arrives.
    pub fn deliver_one(&mut self, from: usize, to: usize) {
        if let Some((conn, end, _)) = self.world.waiting(from, to).first() {
            self.happen(Choice::Deliver { conn: *conn, end: *end });
        }
    }

    /// As `deliver`, by the newest connection alone.
    pub fn deliver_newest(&mut self, from: usize, to: usize) {
        if let Some((conn, end, count)) = self.world.waiting(from, to).pop() {
            for _ in 0..count {
                self.happen(Choice::Deliver { conn, end });
            }
        }
    }

    /// The first append that waits from one to the other will come again, after all that waits now.
    /// (No connection does that. The rule must stand without its help.)
    pub fn repeat_append(&mut self, from: usize, to: usize) {
        self.world.repeat_append(from, to);
    }

    /// The last two messages that wait from one to the other change places. (As above.)
    pub fn swap_last(&mut self, from: usize, to: usize) {
        self.world.swap_last(from, to);
    }

    /// Connections between the two break, with what is under way.
    pub fn cut(&mut self, a: usize, b: usize) {
        for conn in self.world.between(a, b) {
            self.happen(Choice::Cut { conn });
        }
    }

    /// These replicas reach each other until nothing more happens among them.
    pub fn among(&mut self, nodes: &[usize]) {
        for _ in 0..10_000 {
            let mut choices = Vec::new();
            self.world.choices(&mut choices);
            let next = choices.into_iter().find(|choice| match *choice {
                Choice::Sync { node } => nodes.contains(&node),
                Choice::Deliver { conn, end } => {
                    nodes.contains(&self.world.receiver(conn, end))
                        && nodes.contains(&self.world.receiver(conn, 1 - end))
                }
                _ => false,
            });
            match next {
                Some(choice) if self.wrong.is_none() => self.happen(choice),
                _ => return,
            }
        }
    }

    /// Where its log ends.
    pub fn position(&self, node: usize) -> Position {
        self.world.replica(node).position()
    }

    /// Is it open for writes?
    pub fn leads(&self, node: usize) -> bool {
        self.world.replica(node).phase() == Phase::Leading
    }

    /// How far anybody has applied.
    pub fn applied(&self) -> Seq {
        self.world.judge.applied_seq()
    }
}
