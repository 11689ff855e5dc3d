//! Much that is committed and not applied yet, as after a start: it is given out in slices, one for each step.

use super::*;

/// Three pods that hold many entries and were all stopped, and give out one at a time from now on.
fn stopped() -> Cluster {
    let mut cluster = Cluster::started(3);
    for _ in 0..50 {
        cluster.write(0, "x");
    }
    cluster.run_until("all have all", |c| (0..3).all(|node| c.nodes[node].applied.len() >= 50));
    for node in 0..3 {
        cluster.kill(node);
    }
    cluster.apply_bytes_max = 1;
    cluster.given_out.clear();
    cluster
}

/// That node's reports at each slice of the first fifty.
fn slices(cluster: &Cluster, node: usize) -> Vec<&Status> {
    let own: Vec<_> = cluster.given_out.iter().filter(|(one, ..)| *one == node).collect();
    assert!(own.len() >= 50 && own.iter().all(|(_, count, _)| *count == 1), "{} slices", own.len());
    own.into_iter().map(|(.., status)| status).take(50).collect()
}

#[test]
fn a_leader_opens_and_a_follower_has_caught_up_when_all_is_applied_and_not_before() {
    let mut cluster = stopped();
    (0..3).for_each(|node| cluster.restart(node));
    cluster.lead(1, 2);
    cluster.run_until("a leader", |c| c.nodes[1].replica.status().phase == Phase::Leading);
    cluster.run_until("followers", |c| (0..3).all(|node| c.nodes[node].replica.status().caught_up));
    // The first ones need no leader: that they were committed, the segment of their format proves.
    assert!(slices(&cluster, 1).iter().all(|status| status.phase != Phase::Leading && !status.caught_up));
    assert!(slices(&cluster, 0).iter().all(|status| !status.caught_up));
    assert!(cluster.nodes.iter().all(|node| node.replica.applies().is_none()));
}

#[test]
fn other_inputs_are_heard_between_two_slices() {
    let mut cluster = stopped();
    (0..3).for_each(|node| cluster.restart(node));
    cluster.lead(1, 2);
    cluster.run_until("the middle", |c| c.nodes[1].replica.applies().is_some_and(|(applied, _)| applied > Seq(20)));
    let refused = cluster.write(1, "too early");
    assert_eq!(cluster.rejected, [(refused, Refusal::Recovering)]);
    cluster.run_until("a leader", |c| c.nodes[1].replica.status().phase == Phase::Leading);
    cluster.write(1, "now");
    cluster.run_until("everywhere", |c| (0..3).all(|node| c.has(node, "now")));
}

#[test]
fn whoever_is_told_to_end_answers_first_who_waits_for_what_is_committed() {
    let mut cluster = stopped();
    (0..3).for_each(|node| cluster.restart(node));
    cluster.lead(1, 2);
    cluster.run_until("the middle", |c| c.nodes[0].replica.applies().is_some_and(|(applied, _)| applied > Seq(20)));
    cluster.queue.push_back(Event::Input(0, Input::Drain));
    cluster.run_until("its end", |c| c.nodes[0].replica.status().drained);
    assert!(cluster.nodes[0].replica.applies().is_none());
}

#[test]
fn what_is_not_applied_is_counted() {
    let mut cluster = stopped();
    cluster.restart(1);
    let all = cluster.nodes[1].replica.unapplied_bytes();
    let record = |entry: &Entry| entry.record().len() as u64;
    assert_eq!(all, cluster.nodes[1].entries.iter().map(record).sum::<u64>());
    [0, 2].into_iter().for_each(|node| cluster.restart(node));
    cluster.lead(1, 2);
    cluster.run_until("a leader", |c| c.nodes[1].replica.status().phase == Phase::Leading);
    assert_eq!(cluster.nodes[1].replica.unapplied_bytes(), 0);
}
