//! How old the data of a replica may be, and who is cut off.

use super::*;

fn age(cluster: &Cluster, node: usize) -> Option<Duration> {
    cluster.nodes[node].replica.fresh_as_of().map(|as_of| cluster.now - as_of)
}

fn is_cut_off(cluster: &Cluster, node: usize) -> bool {
    cluster.nodes[node].replica.status().cut_off
}

/// Time goes by, and each sidecar of `seeing` sees another renewal every second.
fn run_renewed(cluster: &mut Cluster, time: Duration, seeing: &[usize]) {
    let end = cluster.now + time;
    while cluster.now < end {
        cluster.view.renewal_seen = Some(cluster.now.as_nanos() as u64);
        cluster.view.lease_duration = Duration::from_secs(3);
        for node in seeing {
            cluster.queue.push_back(Event::Input(*node, Input::Role(cluster.view.clone())));
        }
        cluster.run(1000 * MS);
    }
}

#[test]
fn everybody_knows_as_of_when_the_data_are_within_a_few_heartbeats() {
    let mut cluster = Cluster::started(3);
    cluster.run(500 * MS);
    for _ in 0..50 {
        cluster.run(37 * MS);
        for node in 0..3 {
            let age = age(&cluster, node).expect("it is known");
            assert!(age <= 310 * MS, "node {node}: {age:?}");
        }
    }
    assert!(age(&Cluster::started(1), 0).is_some_and(|age| age <= 100 * MS), "a lone voter needs nobody's word");
}

#[test]
fn questions_at_leisure_begin_no_rounds_and_are_few() {
    let mut cluster = Cluster::started(3);
    cluster.run(500 * MS);
    cluster.sent.clear();
    cluster.run(5000 * MS);
    let count = |wanted: fn(&Body) -> bool| cluster.sent.iter().filter(|(_, body)| wanted(body)).count();
    assert!(count(|body| matches!(body, Body::Heartbeat { .. })) <= 2 * 51);
    assert!(count(|body| matches!(body, Body::ReadIndex { .. })) <= 2 * 51);
}

#[test]
fn a_follower_of_a_leader_that_was_replaced_unawares_does_not_call_its_data_fresh() {
    let mut cluster = Cluster::started(3);
    cluster.run(500 * MS);
    let mut view = cluster.view.clone();
    view.leader = Some(LeaderView {
        term: Term(2),
        incarnation: cluster.nodes[1].incarnation,
        name: name(1),
        peer_address: "1".to_owned(),
        addresses: Vec::new(),
    });
    // 0 knows nothing of it.
    cluster.cuts = vec![(0, 1), (0, 2)];
    cluster.queue.push_back(Event::Input(1, Input::Role(view.clone())));
    cluster.queue.push_back(Event::Input(2, Input::Role(view)));
    cluster.run_until("another leader", |c| c.nodes[1].replica.status().phase == Phase::Leading);
    let since = cluster.now;
    cluster.write(1, "news");
    cluster.run(3000 * MS);
    assert!(cluster.nodes[0].replica.fresh_as_of().is_some_and(|as_of| as_of <= since), "the old leader");
    assert!(age(&cluster, 2).is_some_and(|age| age < 400 * MS), "who follows the new one knows better");
}

#[test]
fn a_follower_that_is_cut_off_is_told_apart_from_a_cluster_without_a_leader() {
    let mut cluster = Cluster::started(3);
    cluster.run(500 * MS);
    let began = cluster.now;
    cluster.cuts = vec![(0, 2), (1, 2)];
    // Two sidecars see the renewals of the Lease: the third one's API server is gone, too.
    run_renewed(&mut cluster, Duration::from_secs(8), &[1]);
    assert!(!is_cut_off(&cluster, 2), "no renewal was seen there: perhaps nobody leads");
    run_renewed(&mut cluster, Duration::from_secs(4), &[1, 2]);
    assert!(is_cut_off(&cluster, 2) && !is_cut_off(&cluster, 0) && !is_cut_off(&cluster, 1));
    let status = cluster.nodes[2].replica.status();
    assert!(!status.leader_heard && age(&cluster, 2).is_some_and(|age| age >= cluster.now - began));
    // The Lease is no longer renewed: nobody leads, and it is as good as the others.
    cluster.run(4000 * MS);
    assert!(!is_cut_off(&cluster, 2));
    run_renewed(&mut cluster, Duration::from_secs(2), &[1, 2]);
    assert!(is_cut_off(&cluster, 2));
    cluster.cuts.clear();
    cluster.run_until("it hears the leader again", |c| c.nodes[2].replica.status().leader_heard && !is_cut_off(c, 2));
    cluster.run_until("its data are fresh", |c| age(c, 2).is_some_and(|age| age < 400 * MS));
}

#[test]
fn who_hears_the_leader_but_lately_is_no_more_connected_is_shown_as_that() {
    let mut cluster = Cluster::started(3);
    let shown = |c: &Cluster| {
        let status = c.nodes[0].replica.status();
        let follower = status.followers.iter().find(|one| one.name == name(2)).unwrap();
        (follower.connected, follower.silent_since)
    };
    cluster.run(500 * MS);
    assert_eq!(shown(&cluster), (true, None));
    let began = cluster.now;
    // Nothing is closed: packets are dropped.
    cluster.cuts = vec![(0, 2)];
    cluster.run_until("it is not connected", |c| !shown(c).0);
    let silent_since = shown(&cluster).1.unwrap();
    assert!(silent_since <= began && began - silent_since <= 110 * MS, "{silent_since:?}, cut at {began:?}");
    cluster.cuts.clear();
    cluster.run_until("it is back", |c| shown(c) == (true, None));
}
