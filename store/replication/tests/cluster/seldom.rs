//! What hardly ever happens to a cluster: found as lines that no other test, and no simulated run, had reached.

use super::*;

#[test]
fn a_leader_whose_bootstrap_no_lease_carries_takes_no_write_until_one_does() {
    let mut cluster = Cluster::new(1);
    cluster.run_until("the bootstrap", |c| c.nodes[0].replica.status().campaign == Some(Term(0)));
    // Somebody took the cluster-id out of the Lease before this pod saw it there [L4].
    let cluster_id = cluster.nodes[0].state.cluster_id;
    cluster.lead(0, 1);
    cluster.view.cluster_id = None;
    cluster.queue.clear();
    cluster.tell_all();
    cluster.run(500 * MS);
    let refused = cluster.write(0, "too early");
    assert_eq!(cluster.rejected, [(refused, Refusal::Bootstrapping)]);
    cluster.view.cluster_id = cluster_id;
    cluster.tell_all();
    cluster.run_until("it is open", |c| c.nodes[0].replica.status().phase == Phase::Leading);
    cluster.write(0, "in time");
    cluster.run_until("committed", |c| c.has(0, "in time"));
}

#[test]
fn a_cluster_that_is_scaled_to_one_before_a_second_voter_ever_came_takes_writes() {
    let mut cluster = Cluster::new(2);
    cluster.run_until("the bootstrap", |c| c.nodes[0].replica.status().campaign == Some(Term(0)));
    cluster.kill(1);
    cluster.lead(0, 1);
    cluster.run_until("it leads", |c| c.nodes[0].replica.status().phase == Phase::Leading);
    let refused = cluster.write(0, "too few");
    assert_eq!(cluster.rejected, [(refused, Refusal::TooFewVoters { have: 1, floor: 2 })]);
    cluster.view.members.truncate(1);
    cluster.tell_all();
    cluster.run_until("the floor is lowered", |c| c.nodes[0].replica.status().voters.floor == 1);
    cluster.write(0, "alone");
    cluster.run_until("committed", |c| c.has(0, "alone"));
}

/// Its sidecar is dead, and nobody starts it again in a pod that ends.
#[test]
fn l6_an_unwanted_leader_whose_hand_over_nobody_carries_out_leaves_the_voters_before_it_ends() {
    let mut cluster = Cluster::started(3);
    cluster.view.members = vec![member(1)];
    cluster.tell_all();
    for node in [0, 2] {
        cluster.queue.push_back(Event::Input(node, Input::Drain));
    }
    let drained = |c: &Cluster, node: usize| c.nodes[node].replica.status().drained;
    cluster.run_until("the other one that is not wanted leaves", |c| drained(c, 2));
    cluster.kill(2);
    cluster.run(Duration::from_secs(20));
    cluster.write(0, "late");
    assert!(!drained(&cluster, 0), "it did not wait for a successor");
    cluster.run(Duration::from_secs(25));
    cluster.run_until("it leaves, too", |c| drained(c, 0));
    cluster.kill(0);
    cluster.run_until("the last one needs nobody", |c| c.nodes[1].replica.status().campaign.is_some());
    cluster.lead(1, 2);
    cluster.run_until("it leads alone", |c| c.nodes[1].replica.status().phase == Phase::Leading);
    cluster.write(1, "alone");
    cluster.run_until("committed alone", |c| c.has(1, "alone"));
    assert!(cluster.has(1, "late") && cluster.rejected.is_empty(), "{:?}", cluster.rejected);
    let voters = cluster.nodes[1].replica.status().voters;
    assert_eq!((voters.voters.len(), voters.floor), (1, 1));
}

#[test]
fn the_end_of_a_late_connection_of_a_gone_volume_makes_the_present_one_count_again() {
    let mut cluster = Cluster::started(3);
    let old = cluster.nodes[2].id;
    cluster.kill(2);
    cluster.nodes.remove(2);
    cluster.add(2);
    let new = cluster.nodes[2].id;
    // The old volume's hello arrives after the new one's, so for a while it seems to be that pod's.
    cluster.hold = Some(|node, input| {
        node == 0 && matches!(input, Input::Frame { frame, .. } if matches!(frame.body, Body::Ack { .. }))
    });
    cluster.run_until("the new volume is connected", |c| {
        c.nodes[0].replica.status().followers.iter().any(|one| one.replica == new && one.connected)
    });
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
    cluster.drain_queue();
    cluster.queue.push_back(Event::Input(0, Input::Closed { conn: late }));
    cluster.drain_queue();
    // No further hello, and no invitation, may set it right: the connection of the new volume stands.
    cluster.hold = Some(|node, input| {
        node == 0 && matches!(input, Input::Hello { .. } | Input::InviteAnswered { .. } | Input::Closed { .. })
    });
    cluster.queue.extend(std::mem::take(&mut cluster.held));
    cluster.run_until("the new volume votes", |c| c.nodes[0].replica.status().voters.contains(new));
    assert!(!cluster.nodes[0].replica.status().voters.contains(old));
}

#[test]
fn a_switchover_goes_to_another_pod_when_the_person_changes_it_and_stays_for_one_that_cannot_lead() {
    let mut cluster = Cluster::started(3);
    let to = |c: &Cluster| c.nodes[0].replica.status().hand_over.map(|(to, _)| to);
    for (asked, goes_to) in [(1, 1), (2, 2), (9, 2), (1, 1)] {
        cluster.view.hand_over_to = Some(name(asked));
        cluster.tell_all();
        cluster.run(300 * MS);
        assert_eq!(to(&cluster), Some(name(goes_to)), "db-{asked} was asked for");
    }
}

#[test]
fn an_empty_volume_of_a_paused_cluster_says_what_it_waits_for() {
    let mut cluster = Cluster::new(2);
    cluster.queue.clear();
    cluster.view.paused = true;
    cluster.tell_all();
    cluster.run(3000 * MS);
    for node in 0..2 {
        let status = cluster.nodes[node].replica.status();
        assert_eq!((status.phase, status.campaign), (Phase::Starting, None));
        assert!(status.waiting_for.iter().any(|wait| wait.contains("paused")), "{:?}", status.waiting_for);
    }
}
