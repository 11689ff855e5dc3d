//! Memory or disks that run short: who refuses what, who hands over, and what a full disk still accepts.

use super::*;

const OVER: Room = Room { memory: Level::Over, disk: Level::Enough };
const DISK: Room = Room { memory: Level::Enough, disk: Level::Over };
const FULL: Room = Room { memory: Level::Enough, disk: Level::Full };
const FINE: Room = Room { memory: Level::Enough, disk: Level::Enough };

impl Cluster {
    fn room(&mut self, node: usize, room: Room) {
        self.queue.push_back(Event::Input(node, Input::Room(room)));
        self.drain_queue();
    }

    fn delete(&mut self, node: usize, what: &'static str) -> ProposalId {
        self.propose(node, what, false)
    }

    /// Why that node refuses what grows.
    fn refuses(&mut self, node: usize, limit: Limit, whose: usize) -> bool {
        let id = self.write(node, "grows");
        let replica = self.nodes[whose].id;
        self.rejected.last() == Some(&(id, Refusal::OutOfRoom { limit, replica }))
    }

    /// What that node says of its disk and memory has reached the leader.
    fn told(&mut self, node: usize, limit: Option<Limit>) {
        self.run_until("an echo", |c| {
            let leader = c.nodes.iter().find(|node| node.replica.status().phase == Phase::Leading);
            leader.is_some_and(|leader| {
                let found = leader.replica.status().followers;
                found.iter().any(|one| one.name == name(node) && one.connected && one.room.limit() == limit)
            })
        });
    }
}

/// Started long enough ago for a leader to hand over for lack of room.
fn settled() -> Cluster {
    let mut cluster = Cluster::started(3);
    cluster.run(10_500 * MS);
    cluster
}

#[test]
fn where_all_are_over_what_grows_is_refused_and_deletes_pass_until_there_is_room() {
    for (room, limit) in [(OVER, Limit::Memory), (DISK, Limit::Disk)] {
        let mut cluster = settled();
        for node in 0..3 {
            cluster.room(node, room);
        }
        cluster.told(1, Some(limit));
        cluster.told(2, Some(limit));
        cluster.run(3000 * MS);
        assert!(cluster.refuses(0, limit, 0), "{:?}", cluster.rejected);
        assert!(cluster.nodes[0].replica.refuses_growth());
        cluster.delete(0, "delete");
        cluster.run_until("the delete everywhere", |c| (0..3).all(|node| c.has(node, "delete")));
        assert_eq!(cluster.nodes[0].replica.status().hand_over, None, "nobody has more room");
        cluster.room(0, FINE);
        assert!(cluster.refuses(0, limit, 1), "one of three has room: {:?}", cluster.rejected);
        cluster.room(1, FINE);
        cluster.told(1, None);
        cluster.write(0, "again");
        cluster.run_until("growth", |c| c.has(0, "again"));
    }
}

#[test]
fn a_lone_follower_that_is_over_stops_nobody() {
    let mut cluster = settled();
    cluster.room(2, OVER);
    cluster.told(2, Some(Limit::Memory));
    cluster.write(0, "on");
    cluster.run_until("everywhere", |c| (0..3).all(|node| c.has(node, "on")));
    assert!(cluster.rejected.is_empty());
    // With the third one gone it would be needed.
    cluster.nodes[1].up = false;
    cluster.cuts = vec![(0, 1), (1, 2)];
    cluster.run(1500 * MS);
    assert!(cluster.refuses(0, Limit::Memory, 2), "{:?}", cluster.rejected);
    cluster.delete(0, "shrinks");
    cluster.run_until("the delete", |c| c.has(0, "shrinks"));
}

#[test]
fn a_leader_that_is_over_hands_over_to_one_that_is_not_and_takes_writes_meanwhile() {
    let mut cluster = settled();
    cluster.room(1, DISK);
    cluster.told(1, Some(Limit::Disk));
    cluster.room(0, OVER);
    // Two of three are over: nobody can help.
    cluster.run(200 * MS);
    assert!(cluster.refuses(0, Limit::Memory, 0), "{:?}", cluster.rejected);
    assert_eq!(cluster.nodes[0].replica.status().hand_over, None);

    cluster.rejected.clear();
    cluster.room(0, FINE);
    cluster.room(1, FINE);
    cluster.told(1, None);
    cluster.room(2, OVER);
    cluster.room(2, FINE);
    cluster.told(2, None);
    cluster.room(0, OVER);
    cluster.write(0, "meanwhile");
    cluster.run_until("the wish", |c| c.nodes[0].replica.status().hand_over.is_some());
    let (to, _) = cluster.nodes[0].replica.status().hand_over.unwrap();
    assert_eq!(to, "db-1");
    cluster.lead(1, 2);
    cluster.run_until("the successor", |c| c.nodes[1].replica.status().phase == Phase::Leading);
    assert!(cluster.has(1, "meanwhile") && cluster.rejected.is_empty(), "{:?}", cluster.rejected);
    // The other one is over, too, soon after: the leadership stays, even when the first one has room again.
    cluster.told(0, Some(Limit::Memory));
    cluster.room(1, OVER);
    assert!(cluster.refuses(1, Limit::Memory, 1), "{:?}", cluster.rejected);
    cluster.room(0, FINE);
    cluster.told(0, None);
    cluster.run(500 * MS);
    assert_eq!(cluster.nodes[1].replica.status().hand_over, None, "ping-pong");
    assert!(cluster.refuses(1, Limit::Memory, 1), "{:?}", cluster.rejected);
    cluster.run_until("the wish, later", |c| c.nodes[1].replica.status().hand_over.is_some());
}

#[test]
fn a_hand_over_that_nobody_carries_out_does_not_keep_growth_going() {
    let mut cluster = settled();
    cluster.room(0, OVER);
    assert!(!cluster.nodes[0].replica.refuses_growth());
    cluster.run(2100 * MS);
    assert!(cluster.refuses(0, Limit::Memory, 0), "{:?}", cluster.rejected);
    let far = Room { memory: Level::Far, ..FINE };
    let mut cluster = settled();
    cluster.room(0, far);
    assert!(cluster.refuses(0, Limit::Memory, 0), "far over, nothing is waited for");
}

#[test]
fn a_follower_with_a_full_disk_takes_nothing_stays_and_catches_up() {
    let mut cluster = settled();
    cluster.room(2, FULL);
    cluster.told(2, Some(Limit::Disk));
    let before = cluster.nodes[2].entries.len();
    for what in ["a", "b", "c"] {
        cluster.write(0, what);
    }
    cluster.run(3000 * MS);
    assert!(cluster.has(0, "c") && cluster.has(1, "c"));
    assert_eq!(cluster.nodes[2].entries.len(), before, "something was written to a full disk");
    assert!(cluster.nodes[2].replica.status().leader_heard, "it hears its leader");
    assert_eq!(cluster.nodes[0].replica.status().voters.voters.len(), 3);
    // It promises to the next leader and is not chosen itself.
    cluster.nodes[0].up = false;
    cluster.cuts = vec![(0, 1), (0, 2)];
    cluster.run_until("a campaign", |c| c.nodes[1].replica.status().campaign.is_some());
    cluster.lead(1, 2);
    cluster.run(500 * MS);
    assert_eq!(cluster.nodes[2].replica.promise().term, Term(2));
    assert_ne!(cluster.nodes[1].replica.status().phase, Phase::Leading, "nothing can be committed");
    cluster.room(2, DISK);
    cluster.run_until("it has all", |c| c.has(2, "c") && c.nodes[1].replica.status().phase == Phase::Leading);
}

#[test]
fn deletes_are_refused_where_too_many_disks_are_full() {
    let mut cluster = settled();
    cluster.room(1, FULL);
    cluster.room(2, FULL);
    cluster.told(1, Some(Limit::Disk));
    cluster.told(2, Some(Limit::Disk));
    let id = cluster.delete(0, "nowhere to go");
    let replica = cluster.rejected.last().map(|(at, why)| (*at, *why));
    let named: Vec<ReplicaId> = vec![cluster.nodes[1].id, cluster.nodes[2].id];
    assert!(
        matches!(replica, Some((at, Refusal::OutOfRoom { limit: Limit::Disk, replica })) if at == id && named.contains(&replica)),
        "{replica:?}"
    );
    cluster.room(0, FULL);
    cluster.room(1, FINE);
    cluster.room(2, FINE);
    let id = cluster.delete(0, "not even this");
    let replica = cluster.nodes[0].id;
    assert_eq!(cluster.rejected.last(), Some(&(id, Refusal::OutOfRoom { limit: Limit::Disk, replica })));
}
