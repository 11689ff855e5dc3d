//! A volume that went back in time [E1 to E4]: an older copy of it was restored, or its disk lied.

use super::*;

/// What is on a volume.
type Files = (DurableState, Vec<Entry>);

fn copy(cluster: &Cluster, node: usize) -> Files {
    (cluster.nodes[node].state, cluster.nodes[node].entries.clone())
}

/// The pod is stopped, an older copy of its volume is restored, the pod starts.
fn restore(cluster: &mut Cluster, node: usize, old: Files) {
    cluster.kill(node);
    (cluster.nodes[node].state, cluster.nodes[node].entries) = old;
    cluster.restart(node);
}

fn phase(cluster: &Cluster, node: usize) -> Phase {
    cluster.nodes[node].replica.status().phase
}

fn voters(cluster: &Cluster, node: usize) -> Vec<String> {
    cluster.nodes[node].replica.status().voters.voters.iter().map(|voter| voter.name.clone()).collect()
}

/// db-0 leads, db-2 is cut off, and db-1 alone helps it to acknowledge `kept`. Gives the volume of db-1 before that.
fn acknowledged_with_db_1(cluster: &mut Cluster) -> Files {
    cluster.cuts = vec![(0, 2)];
    cluster.run(1500 * MS);
    let old = copy(cluster, 1);
    cluster.write(0, "kept");
    cluster.run(300 * MS);
    assert!(cluster.has(0, "kept"));
    old
}

#[test]
fn a_volume_that_went_back_neither_votes_nor_counts_and_is_removed_until_it_is_wiped() {
    let mut cluster = Cluster::started(3);
    let old = acknowledged_with_db_1(&mut cluster);
    restore(&mut cluster, 1, old.clone());
    cluster.run_until("it is marked", |c| c.nodes[1].mark.is_some());
    let mark = cluster.nodes[1].mark.clone().unwrap();
    assert_eq!((mark.known_by.as_str(), mark.found), ("db-0", old.1.last().unwrap().position));
    assert_eq!(mark.known, cluster.nodes[0].replica.status().position);
    assert_eq!(mark.known_term, Term(1));
    let status = cluster.nodes[1].replica.status();
    assert_eq!((status.phase, status.eligible, status.campaign), (Phase::WentBack, false, None));
    assert!(status.waiting_for[0].contains("kubectl delete pvc data-db-1"), "{:?}", status.waiting_for);
    // With db-1 and without db-2 there is no majority: nothing more is acknowledged, and db-1 does not help out.
    let first = copy(&cluster, 1);
    cluster.write(0, "not yet");
    cluster.run(3000 * MS);
    assert!(!cluster.has(0, "not yet"));
    assert_eq!(copy(&cluster, 1), first, "a marked volume took something");
    // Nor does it help a leader that lacks what it has lost, even after a restart.
    cluster.kill(0);
    cluster.cuts.clear();
    cluster.kill(1);
    cluster.restart(1);
    cluster.lead(2, 2);
    cluster.run(5000 * MS);
    assert_eq!((phase(&cluster, 1), phase(&cluster, 2)), (Phase::WentBack, Phase::Recovering));
    cluster.restart(0);
    cluster.run_until("db-2 pulls and leads", |c| phase(c, 2) == Phase::Leading);
    cluster.run_until("nothing is lost", |c| c.has(2, "kept") && c.has(0, "kept"));
    cluster.run_until("it is removed", |c| voters(c, 2) == ["db-0", "db-2"]);
    cluster.write(2, "without it");
    cluster.run_until("committed", |c| c.has(0, "without it"));
    cluster.kill(1);
    cluster.nodes.remove(1);
    cluster.add(1);
    cluster.run_until("wiped, it votes again", |c| voters(c, 2) == ["db-0", "db-2", "db-1"] && c.has(1, "kept"));
}

#[test]
fn a_volume_that_nobody_told_of_is_marked_by_the_leader_that_refuses_its_hello() {
    let mut cluster = Cluster::started(3);
    let old = acknowledged_with_db_1(&mut cluster);
    cluster.hold = Some(|node, input| node == 1 && matches!(input, Input::StateAnswered { .. }));
    restore(&mut cluster, 1, old);
    cluster.write(0, "not yet");
    cluster.run_until("it is marked", |c| c.nodes[1].mark.is_some());
    assert_eq!(phase(&cluster, 1), Phase::WentBack);
    cluster.run(2000 * MS);
    assert!(!cluster.has(0, "not yet"), "the volume that went back counts");
    cluster.cuts.clear();
    cluster.run_until("it is removed", |c| voters(c, 0) == ["db-0", "db-2"]);
    cluster.run_until("and writes go on", |c| c.has(0, "not yet") && c.has(2, "kept"));
}

#[test]
fn the_leaders_own_volume_is_known_to_its_followers() {
    let mut cluster = Cluster::started(3);
    cluster.cuts = vec![(0, 2)];
    cluster.run(1500 * MS);
    let old = copy(&cluster, 0);
    cluster.write(0, "kept");
    cluster.run(300 * MS);
    assert!(cluster.has(0, "kept"));
    cluster.cuts.clear();
    restore(&mut cluster, 0, old);
    cluster.run_until("it is marked", |c| c.nodes[0].mark.is_some());
    assert_eq!(cluster.nodes[0].mark.as_ref().unwrap().known_by, "db-1");
    cluster.lead(2, 2);
    cluster.run_until("db-2 pulls and leads", |c| phase(c, 2) == Phase::Leading);
    cluster.run_until("nothing is lost", |c| c.has(2, "kept"));
    cluster.run_until("the old leader is removed", |c| voters(c, 2) == ["db-1", "db-2"]);
}

#[test]
fn a_deposed_leader_is_not_elected_again_by_a_volume_that_went_back() {
    let mut cluster = Cluster::started(3);
    // db-2 leads term 2 with db-1, then loses everybody; db-0 leads term 3 with db-1.
    cluster.lead(2, 2);
    cluster.run_until("db-2 leads", |c| phase(c, 2) == Phase::Leading);
    cluster.run(300 * MS);
    let old = copy(&cluster, 1);
    let claim = cluster.nodes[2].replica.status().following.unwrap();
    cluster.cuts = vec![(0, 2), (1, 2)];
    cluster.run(1500 * MS);
    let incarnation = cluster.nodes[0].incarnation;
    cluster.view.leader = Some(LeaderView {
        term: Term(3),
        incarnation,
        name: name(0),
        peer_address: "0".to_owned(),
        addresses: Vec::new(),
    });
    for node in [0, 1] {
        cluster.queue.push_back(Event::Input(node, Input::Role(cluster.view.clone())));
    }
    cluster.run_until("db-0 leads", |c| phase(c, 0) == Phase::Leading);
    cluster.write(0, "kept");
    cluster.run(300 * MS);
    assert!(cluster.has(0, "kept"));
    // Back in time it is invited by the old leader at once, before its role.json is there.
    cluster.cuts = vec![(0, 2)];
    restore(&mut cluster, 1, old);
    cluster.queue.clear();
    cluster.queue.push_back(Event::Input(1, Input::Invited { request: RequestId(2), claim }));
    cluster.run_until("it is marked", |c| c.nodes[1].mark.is_some());
    for what in ["x", "y", "z"] {
        cluster.write(2, what);
    }
    cluster.run(3000 * MS);
    assert!(!cluster.has(2, "z"), "the leader of term 2 acknowledges a write, while term 3 has committed");
}

#[test]
fn a_longer_log_of_a_lower_term_has_gone_back_all_the_same() {
    let mut cluster = Cluster::started(3);
    cluster.lead(1, 2);
    cluster.run_until("db-1 leads", |c| phase(c, 1) == Phase::Leading);
    cluster.cuts = vec![(0, 1), (1, 2)];
    for what in ["a", "b", "c", "d", "e", "f"] {
        cluster.write(1, what);
    }
    let old = copy(&cluster, 1);
    cluster.run(1500 * MS);
    cluster.lead(0, 3);
    cluster.run_until("db-0 leads", |c| phase(c, 0) == Phase::Leading);
    cluster.cuts = vec![(0, 2)];
    cluster.run_until("db-1 follows and is cut", |c| c.nodes[1].replica.status().position.term == Term(3));
    cluster.write(0, "kept");
    cluster.run(300 * MS);
    assert!(cluster.has(0, "kept"));
    let known = cluster.nodes[0].replica.status().position;
    let found = old.1.last().unwrap().position;
    assert!(found.seq > known.seq && found < known, "{found} and {known}");
    restore(&mut cluster, 1, old);
    cluster.run_until("it is marked", |c| c.nodes[1].mark.is_some());
    let mark = cluster.nodes[1].mark.clone().unwrap();
    assert_eq!((mark.known, mark.found), (known, found));
}

#[test]
fn a_promise_that_went_back_is_enough() {
    let mut cluster = Cluster::started(3);
    cluster.run(300 * MS);
    let old = copy(&cluster, 1);
    // db-2 leads term 2 by the votes of both, and what it sends reaches nobody.
    cluster.hold = Some(|node, input| {
        node != 2 && matches!(input, Input::Frame { frame, .. } if matches!(frame.body, Body::Append { .. }))
    });
    cluster.lead(2, 2);
    cluster.run_until("db-1 has voted", |c| c.nodes[2].replica.status().followers.iter().any(|one| one.name == "db-1"));
    cluster.hold = None;
    restore(&mut cluster, 1, old);
    cluster.run_until("it is marked", |c| c.nodes[1].mark.is_some());
    let mark = cluster.nodes[1].mark.clone().unwrap();
    assert_eq!((mark.known_term, mark.found_term), (Term(2), Term(1)));
    assert!(mark.to_string().contains("promised term 2"), "{mark}");
}

#[test]
fn what_is_acked_and_not_committed_does_not_count_against_a_volume() {
    let mut cluster = Cluster::started(3);
    cluster.cuts = vec![(0, 2)];
    cluster.run(1500 * MS);
    let committed = cluster.nodes[0].replica.status().position;
    cluster.nodes[0].disk_stuck = Some(Ticket(0));
    cluster.write(0, "acked by db-1 alone");
    cluster.run(300 * MS);
    let status = cluster.nodes[0].replica.status();
    let one = status.followers.iter().find(|one| one.name == "db-1").unwrap();
    assert_eq!((one.verified, status.committed), (status.position.seq, committed.seq));
    let known = status.known.iter().find(|known| known.replica == one.replica).unwrap();
    assert_eq!(known.position, committed);
}

#[test]
fn nobody_waits_longer_than_a_lost_time_before_his_first_promise() {
    // All at once, and nobody is missing.
    let mut cluster = Cluster::started(3);
    (0..3).for_each(|node| cluster.kill(node));
    (0..3).for_each(|node| cluster.restart(node));
    let began = cluster.now;
    cluster.lead(0, 2);
    cluster.run_until("db-0 leads", |c| phase(c, 0) == Phase::Leading);
    assert!(cluster.now - began < 100 * MS, "{:?}", cluster.now - began);
    // One is gone, and might have known more.
    (0..3).for_each(|node| cluster.kill(node));
    (0..2).for_each(|node| cluster.restart(node));
    let began = cluster.now;
    cluster.lead(1, 3);
    cluster.run_until("db-1 leads", |c| phase(c, 1) == Phase::Leading);
    let took = cluster.now - began;
    assert!((1000 * MS..1200 * MS).contains(&took), "{took:?}");
    assert!(cluster.nodes.iter().all(|node| node.mark.is_none()));
}

#[test]
fn a_copy_of_a_volume_that_is_in_use_is_refused_and_nobody_is_marked() {
    let mut cluster = Cluster::started(3);
    cluster.run(300 * MS);
    let (status, id) = (cluster.nodes[1].replica.status(), cluster.nodes[1].id);
    let hello = Hello {
        format_min: FORMAT_MIN,
        format_max: FORMAT,
        format_allowed: FORMAT,
        cluster_id: status.cluster_id,
        name: name(2),
        replica: id,
        incarnation: Incarnation(Uuid::from_u128(1)),
        revision: String::new(),
        eligible: true,
        promise: status.promise,
        position: Position::new(1, 1),
        snapshot_part: None,
        sums: false,
    };
    let input = Input::Hello { conn: ConnId::Accepted(999), hello };
    let effects = cluster.nodes[0].replica.step(cluster.now, input);
    let refused = effects.iter().find_map(|effect| match effect {
        Effect::Answer { answer: HelloAnswer::Refused { code, reason, known, .. }, .. } => {
            Some((*code, reason, *known))
        }
        _ => None,
    });
    let (code, reason, known) = refused.unwrap();
    assert_eq!((code, known), (RefusalCode::AlreadyConnected, None));
    assert!(reason.contains("from db-1: db-2 runs on a copy"), "{reason}");
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Close { .. })), "{effects:#?}");
    cluster.run(1000 * MS);
    assert_eq!(phase(&cluster, 1), Phase::Follower);
    assert!(cluster.nodes[1].replica.status().leader_heard);
}

#[test]
fn a_marked_replica_ends_when_it_is_told_to_and_answers_nobodys_read() {
    let mut cluster = Cluster::started(3);
    let old = acknowledged_with_db_1(&mut cluster);
    restore(&mut cluster, 1, old);
    cluster.run_until("it is marked", |c| c.nodes[1].mark.is_some());
    cluster.queue.push_back(Event::Input(1, Input::Read { id: ReadId(1) }));
    cluster.drain_queue();
    assert_eq!(cluster.reads, [(1, ReadId(1), Err(Refusal::WentBack))]);
    cluster.queue.push_back(Event::Input(1, Input::Drain));
    cluster.drain_queue();
    assert!(cluster.nodes[1].replica.status().drained);
}

/// Not promised: that it is noticed while nobody who knows the volume answers. But who holds what is lost says so.
#[test]
fn entries_that_were_committed_and_are_cut_all_the_same_are_told_of() {
    let mut cluster = Cluster::started(3);
    let old = acknowledged_with_db_1(&mut cluster);
    let lost = cluster.nodes[0].replica.status().committed;
    cluster.kill(0);
    cluster.cuts.clear();
    restore(&mut cluster, 1, old);
    cluster.lead(2, 2);
    cluster.run_until("db-2 leads", |c| phase(c, 2) == Phase::Leading);
    assert!(cluster.nodes[1].mark.is_none());
    cluster.may_lose = true;
    cluster.restart(0);
    cluster.run_until("db-0 follows", |c| c.nodes[0].replica.status().position.term == Term(2));
    assert!(!cluster.has(0, "kept"));
    let (node, what) = cluster.reported.first().unwrap();
    assert!(*node == 0 && what.contains(&format!("to {lost} were committed")), "{:?}", cluster.reported);
    let waiting = cluster.nodes[0].replica.status().waiting_for;
    assert!(waiting.iter().any(|wait| wait.contains("are lost")), "{waiting:?}");
}
