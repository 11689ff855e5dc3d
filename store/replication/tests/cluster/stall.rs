//! A disk that hangs: \[B1\] to \[B5\].

use super::*;

const BOUND: Duration = Duration::from_secs(2);

impl Cluster {
    /// The disk of `node` accepts nothing from here on; its shell reports it when the bound is over.
    fn hang(&mut self, node: usize) {
        self.nodes[node].disk_stuck = Some(Ticket(0));
    }

    fn tell_disk(&mut self, node: usize, stalled: bool, full: bool) {
        self.queue.push_back(Event::Input(node, Input::Disk { stalled, full }));
        self.drain_queue();
    }

    /// It hangs for longer than the bound.
    fn stall(&mut self, node: usize) {
        self.hang(node);
        self.run(BOUND);
        self.tell_disk(node, true, false);
    }

    fn unstall(&mut self, node: usize) {
        let ticket = self.nodes[node].disk_stuck.take().unwrap();
        for (of, records) in std::mem::take(&mut self.unwritten) {
            assert_eq!(of, node, "one disk hangs at a time in these tests");
            self.write_down(node, records);
        }
        self.queue.push_back(Event::Input(node, Input::Persisted { ticket }));
        self.drain_queue();
        self.tell_disk(node, false, false);
    }

    fn campaigns(&self, node: usize) -> bool {
        self.nodes[node].replica.status().campaign.is_some()
    }

    fn voters(&self) -> Vec<String> {
        self.nodes[0].replica.status().voters.voters.iter().map(|voter| voter.name.clone()).collect()
    }

    fn hears(&self, node: usize) -> Option<Term> {
        self.nodes[node].replica.status().peer_state(&name(node), self.nodes[node].id).hears
    }
}

/// Nobody transfers the Lease here, so that the hand-over fails.
#[test]
fn b1_a_leader_whose_disk_hangs_offers_the_leadership_and_then_falls_silent_so_that_the_others_campaign() {
    for load in [true, false] {
        let mut cluster = Cluster::started(3);
        cluster.run(200 * MS);
        cluster.stall(0);
        let began = cluster.now;
        let (mut offered, mut refused) = (None, 0);
        while !(cluster.campaigns(1) && cluster.campaigns(2)) {
            assert!(cluster.now - began < 2000 * MS, "load {load}: nobody campaigns");
            if load {
                cluster.write(0, "w");
            }
            offered = offered.or(cluster.nodes[0].replica.status().hand_over);
            refused += usize::from(!cluster.rejected.is_empty());
            cluster.run(10 * MS);
        }
        assert_eq!(offered, Some((name(1), cluster.nodes[1].incarnation)), "load {load}");
        assert!(!load || refused < 30, "writes are taken as long as the others commit them: {refused} looks");
        assert_eq!(cluster.given_up, [0]);
        assert_eq!(cluster.hears(0), None, "who is asked is told that this leader hears nobody");
        // It stays silent: nobody is welcomed back, and nobody invited.
        cluster.run(3000 * MS);
        assert!(cluster.campaigns(1) && cluster.campaigns(2) && !cluster.campaigns(0));
        assert_eq!(cluster.nodes[0].replica.status().hand_over, None);
        cluster.run(MS);
        assert!(cluster.nodes[0].replica.deadline() > Some(cluster.now), "it has nothing to do all the time");
        assert!(cluster.nodes[0].replica.status().followers.iter().all(|one| !one.connected));
    }
}

#[test]
fn b1_the_successor_leads_while_the_disk_hangs_and_the_old_leader_follows_when_it_answers() {
    let mut cluster = Cluster::started(3);
    cluster.run(200 * MS);
    cluster.write(0, "before");
    cluster.stall(0);
    cluster.write(0, "meanwhile");
    cluster.run_until("it hands over", |c| c.nodes[0].replica.status().hand_over.is_some());
    assert!(cluster.has(0, "meanwhile"), "the others commit");
    assert!(cluster.given_up.is_empty());
    cluster.lead(1, 2);
    cluster.run_until("the successor leads", |c| c.nodes[1].replica.status().phase == Phase::Leading);
    // [B5] What was in flight there is answered at once: its outcome is not known before the disk answers.
    assert_eq!(cluster.given_up, [0]);
    cluster.write(1, "after");
    cluster.run_until("it commits", |c| c.has(2, "after"));
    assert!(cluster.has(1, "before") && cluster.has(1, "meanwhile"));
    // [B5] Its promise is not durable, so it says no hello, and is counted by nobody.
    cluster.run(5000 * MS);
    let old = cluster.nodes[0].id;
    assert!(!cluster.nodes[1].replica.status().followers.iter().any(|one| one.replica == old));
    assert!(!cluster.campaigns(0) && cluster.hears(0).is_none());
    cluster.unstall(0);
    cluster.run_until("the old leader follows", |c| c.has(0, "after"));
    assert_eq!(cluster.nodes[0].replica.status().promise.term, Term(2));
}

#[test]
fn b5_a_strong_read_is_refused_at_once_where_the_promise_to_the_leader_waits_for_a_disk_that_hangs() {
    let mut cluster = Cluster::started(3);
    cluster.run(200 * MS);
    let read = |c: &mut Cluster, node: usize, id: u64| {
        c.queue.push_back(Event::Input(node, Input::Read { id: ReadId(id) }));
        c.drain_queue();
    };
    let answer = |c: &Cluster, id: u64| c.reads.iter().find(|(_, upto, _)| upto.0 >= id).map(|(_, _, answer)| *answer);
    cluster.stall(0);
    read(&mut cluster, 0, 1);
    assert!(answer(&cluster, 1).unwrap().is_ok(), "as long as it leads the others confirm it");
    cluster.run_until("it hands over", |c| c.nodes[0].replica.status().hand_over.is_some());
    // Its own question and that of a client are under way when the successor's claim arrives.
    cluster.hold = Some(|node, input| node != 0 && matches!(input, Input::Frame { .. }));
    read(&mut cluster, 0, 2);
    assert_eq!(answer(&cluster, 2), None);
    cluster.hold = None;
    cluster.held.clear();
    cluster.lead(1, 2);
    cluster.run_until("it has promised", |c| c.nodes[0].replica.status().promise.term == Term(2));
    assert_eq!(answer(&cluster, 2), Some(Err(Refusal::DiskStalled)));
    read(&mut cluster, 0, 3);
    assert_eq!(answer(&cluster, 3), Some(Err(Refusal::DiskStalled)));
    cluster.run_until("the successor leads", |c| c.nodes[1].replica.status().phase == Phase::Leading);
    cluster.unstall(0);
    read(&mut cluster, 0, 4);
    cluster.run_until("it is answered", |c| answer(c, 4).is_some());
    assert!(answer(&cluster, 4).unwrap().is_ok());
}

#[test]
fn b1_a_leader_that_nobody_replaced_speaks_again_when_its_disk_answers() {
    let mut cluster = Cluster::started(3);
    cluster.run(200 * MS);
    cluster.stall(0);
    cluster.run_until("silence", |c| c.campaigns(1) && c.campaigns(2));
    let refused = cluster.write(0, "to the silent one");
    assert_eq!(cluster.rejected, [(refused, Refusal::DiskStalled)]);
    cluster.unstall(0);
    cluster.run_until("they follow again", |c| (1..3).all(|node| c.hears(node) == Some(Term(1))));
    cluster.write(0, "again");
    cluster.run_until("it commits", |c| (0..3).all(|node| c.has(node, "again")));
    assert!(!cluster.campaigns(1) && !cluster.campaigns(2));
}

#[test]
fn b1_a_hand_over_that_was_offered_for_a_disk_is_withdrawn_when_that_answers() {
    let mut cluster = Cluster::started(3);
    cluster.run(200 * MS);
    cluster.stall(0);
    cluster.run_until("it hands over", |c| c.nodes[0].replica.status().hand_over.is_some());
    cluster.unstall(0);
    cluster.run(3000 * MS);
    let status = cluster.nodes[0].replica.status();
    assert_eq!((status.hand_over, status.phase, status.leader_heard), (None, Phase::Leading, true));
}

#[test]
fn b2_a_write_that_would_wait_for_the_disk_is_refused_and_no_other() {
    let mut cluster = Cluster::started(3);
    cluster.run(200 * MS);
    cluster.stall(0);
    cluster.write(0, "the others keep it");
    assert!(cluster.rejected.is_empty() && cluster.has(0, "the others keep it"));
    cluster.tell_disk(0, true, true);
    let refused = cluster.write(0, "nothing more fits");
    assert_eq!(cluster.rejected, [(refused, Refusal::DiskStalled)]);
    cluster.rejected.clear();
    // Without one of the others the own disk is needed.
    cluster.unstall(0);
    cluster.run_until("heard", |c| c.hears(0) == Some(Term(1)));
    cluster.kill(2);
    cluster.stall(0);
    let refused = cluster.write(0, "two of three");
    assert_eq!(cluster.rejected, [(refused, Refusal::DiskStalled)]);
}

#[test]
fn b2_a_follower_drops_what_its_disk_does_not_take_and_asks_for_it_when_that_answers() {
    let mut cluster = Cluster::started(3);
    cluster.run(200 * MS);
    cluster.stall(1);
    cluster.tell_disk(1, true, true);
    cluster.write(0, "not taken");
    cluster.run(500 * MS);
    assert!(cluster.has(2, "not taken") && !cluster.has(1, "not taken"));
    assert_eq!(cluster.hears(1), Some(Term(1)), "its leader is heard all the time");
    cluster.unstall(1);
    cluster.run_until("it is sent again", |c| c.has(1, "not taken"));
    assert!(cluster.positions().iter().all(|position| *position == cluster.positions()[0]));
}

#[test]
fn b3_the_voters_do_not_change_on_the_word_of_a_replica_whose_disk_hangs() {
    let mut cluster = Cluster::started(3);
    cluster.run(200 * MS);
    cluster.stall(1);
    cluster.write(0, "a");
    cluster.run(500 * MS);
    assert!(cluster.has(0, "a"));
    cluster.view.members.pop();
    cluster.tell_all();
    cluster.run(2000 * MS);
    cluster.write(0, "b");
    cluster.run(3000 * MS);
    assert!(cluster.has(0, "b"), "two of three replicas are sound");
    assert_eq!(cluster.voters(), ["db-0", "db-1", "db-2"]);
    cluster.unstall(1);
    cluster.run(BOUND * 9);
    assert_eq!(cluster.voters().len(), 3, "it counts as stalled for ten bounds longer");
    cluster.run_until("two voters", |c| c.voters() == ["db-0", "db-1"]);
}

#[test]
fn b3_a_replica_whose_disk_hangs_is_no_successor_and_does_not_keep_a_majority_for_one_that_ends() {
    let mut cluster = Cluster::started(3);
    cluster.run(200 * MS);
    cluster.stall(1);
    cluster.run(200 * MS);
    let status = cluster.nodes[0].replica.status();
    let one = status.followers.iter().find(|one| one.name == "db-1").unwrap();
    assert!(one.stalled && !one.eligible && one.connected);
    cluster.queue.push_back(Event::Input(0, Input::Drain));
    cluster.run_until("it hands over", |c| c.nodes[0].replica.status().hand_over.is_some());
    assert_eq!(cluster.nodes[0].replica.status().hand_over.unwrap().0, name(2));
    cluster.lead(2, 2);
    // It stays until nothing else helps: with it gone only one sound replica is left of three.
    cluster.run(3000 * MS);
    assert!(!cluster.nodes[0].replica.status().drained);
}

#[test]
fn b4_a_leader_whose_disk_hangs_stays_where_the_others_cannot_do_without_it() {
    // Two voters; or one storage hangs for all.
    for (nodes, hung) in [(2, &[0][..]), (3, &[0, 1])] {
        let mut cluster = Cluster::started(nodes);
        cluster.run(200 * MS);
        hung.iter().for_each(|node| cluster.hang(*node));
        cluster.run(BOUND);
        hung.iter().for_each(|node| cluster.tell_disk(*node, true, false));
        for _ in 0..1000 {
            cluster.run(10 * MS);
            let status = cluster.nodes[0].replica.status();
            assert!(status.leader_heard && status.hand_over.is_none(), "{nodes} nodes: {status:?}");
        }
        assert!((1..nodes).all(|node| cluster.hears(node) == Some(Term(1)) && !cluster.campaigns(node)));
    }
}

#[test]
fn b4_a_replica_counts_as_stalled_for_ten_bounds_after_its_disk_answered() {
    let mut cluster = Cluster::started(3);
    cluster.run(200 * MS);
    cluster.stall(1);
    cluster.unstall(1);
    // The next one that hangs does not hand over: of the others only one is trusted.
    cluster.stall(0);
    cluster.run(3000 * MS);
    let status = cluster.nodes[0].replica.status();
    assert!(status.leader_heard && status.hand_over.is_none());
    cluster.run_until("it is trusted again", |c| !c.nodes[1].replica.status().stalled);
    cluster.run_until("the other one hands over", |c| c.nodes[0].replica.status().hand_over.is_some());
}

#[test]
fn b4_where_every_disk_hung_a_moment_ago_somebody_leads_all_the_same() {
    let mut cluster = Cluster::started(3);
    cluster.run(200 * MS);
    for node in 1..3 {
        cluster.stall(node);
        cluster.unstall(node);
    }
    cluster.kill(0);
    cluster.run_until("both campaign", |c| c.campaigns(1) && c.campaigns(2));
    let statuses: Vec<_> = (1..3).map(|node| cluster.nodes[node].replica.status()).collect();
    assert!(statuses.iter().all(|status| status.stalled && status.eligible), "{statuses:?}");
    // But not while there is one that is trusted.
    let mut cluster = Cluster::started(3);
    cluster.run(200 * MS);
    cluster.stall(1);
    cluster.unstall(1);
    cluster.kill(0);
    cluster.run_until("both campaign", |c| c.campaigns(1) && c.campaigns(2));
    let statuses: Vec<_> = (1..3).map(|node| cluster.nodes[node].replica.status()).collect();
    assert!(!statuses[0].eligible && statuses[1].eligible);
    assert!(statuses[0].rank > statuses[1].rank);
}
