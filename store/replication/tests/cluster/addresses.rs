//! Addresses that lead to another pod, or to a stranger: nobody believes what arrives from there [F2, F3].

use super::*;

#[test]
fn an_answer_of_another_member_makes_no_voter_dead_and_is_asked_for_again() {
    let mut cluster = Cluster::started(3);
    // db-1 is recreated elsewhere; at its old address, db-2 answers.
    cluster.kill(1);
    cluster.misled = vec![(1, 2)];
    cluster.run(3000 * MS);
    let voters: Vec<_> = cluster.nodes[0].replica.status().voters.voters.into_iter().map(|one| one.name).collect();
    assert_eq!(voters, [name(0), name(1), name(2)]);
    cluster.misled.clear();
    cluster.restart(1);
    cluster.write(0, "a");
    cluster.run_until("db-1 follows again", |c| c.has(1, "a"));
}

#[test]
fn an_answer_without_a_name_makes_no_voter_dead_either() {
    let mut cluster = Cluster::started(3);
    cluster.kill(1);
    cluster.run(50 * MS);
    let status = cluster.nodes[2].replica.status();
    let (replica, promise) = (cluster.nodes[2].id, status.promise);
    let answer = InviteAnswer { name: None, cluster_id: status.cluster_id, replica, promise, went_back: false };
    cluster.queue.push_back(Event::Input(0, Input::InviteAnswered { name: name(1), answer }));
    cluster.run(300 * MS);
    assert!(cluster.nodes[0].replica.status().voters.named(&name(1)).is_some());
}

#[test]
fn that_another_pod_is_empty_says_nothing_about_the_one_that_was_asked() {
    let mut cluster = Cluster::new(3);
    // db-1 has kept data, and is not up yet; its old address leads to db-2, which is empty.
    cluster.nodes[1].up = false;
    cluster.misled = vec![(1, 2)];
    cluster.run(10_000 * MS);
    let status = cluster.nodes[0].replica.status();
    assert_eq!((status.cluster_id, status.campaign), (None, None));
    assert!(status.waiting_for.iter().any(|what| what.contains("db-1")), "{:?}", status.waiting_for);
}

#[test]
fn whether_a_volume_is_empty_is_not_asked_at_an_address_of_an_earlier_run() {
    let ip = "10.0.0.1".parse().unwrap();
    for remembered in [false, true] {
        let mut cluster = Cluster::new(1);
        let other = Member { addresses: vec![ip], remembered, ..member(1) };
        let view = RoleView { members: vec![member(0), other], ..RoleView::default() };
        let effects = cluster.nodes[0].replica.step(MS, Input::Role(view));
        let asked = effects.into_iter().find_map(|effect| match effect {
            Effect::AskState { to } => Some(to.addresses),
            _ => None,
        });
        assert_eq!(asked, Some(if remembered { Vec::new() } else { vec![ip] }));
    }
}

#[test]
fn an_empty_volume_takes_an_invitation_only_when_role_json_names_that_cluster() {
    let mut cluster = Cluster::started(3);
    cluster.add(3);
    cluster.queue.clear(); // its role.json is not read yet
    let stranger = Claim {
        cluster_id: ClusterId(Uuid::from_u128(0x57)),
        term: Term(5),
        incarnation: Incarnation(Uuid::from_u128(0x58)),
        name: name(0),
        peer_address: "0".to_owned(),
        addresses: Vec::new(),
    };
    let invite = |cluster: &mut Cluster, claim: &Claim| {
        let input = Input::Invited { request: RequestId(0), claim: claim.clone() };
        cluster.queue.push_back(Event::Input(3, input));
        cluster.drain_queue();
        cluster.nodes[3].replica.status().promise.term
    };
    let own = cluster.nodes[0].replica.status().following.unwrap();
    assert_eq!(invite(&mut cluster, &stranger), Term(0), "before role.json");
    assert_eq!(invite(&mut cluster, &own), Term(0), "nobody's, before role.json");
    let nobodys = RoleView { cluster_id: None, leader: None, ..cluster.view.clone() };
    cluster.queue.push_back(Event::Input(3, Input::Role(nobodys)));
    assert_eq!(invite(&mut cluster, &stranger), Term(0), "no cluster is named");
    cluster.queue.push_back(Event::Input(3, Input::Role(cluster.view.clone())));
    assert_eq!(invite(&mut cluster, &stranger), Term(0), "another cluster");
    assert_eq!(invite(&mut cluster, &own), own.term);
}

#[test]
fn a_leader_is_dialled_anew_where_it_is_when_that_is_learned_while_it_is_dialled_where_it_was() {
    let mut cluster = Cluster::started(3);
    let ip = |last: u8| std::net::IpAddr::from([10, 0, 0, last]);
    let led_at = |cluster: &Cluster, addresses: Vec<std::net::IpAddr>| {
        let leader = LeaderView { term: Term(2), addresses, ..cluster.view.leader.clone().unwrap() };
        let incarnation = cluster.nodes[2].incarnation;
        let leader = LeaderView { name: name(2), incarnation, peer_address: "2".to_owned(), ..leader };
        Input::Role(RoleView { leader: Some(leader), ..cluster.view.clone() })
    };
    let node = &mut cluster.nodes[1].replica;
    let (status, now) = (node.status(), cluster.now);
    assert_eq!(status.promise.term, Term(1));
    let first = led_at(&cluster, vec![ip(1)]);
    let again = led_at(&cluster, vec![ip(1)]);
    let knows_less = led_at(&cluster, Vec::new());
    let moved = led_at(&cluster, vec![ip(2), ip(1)]);
    let node = &mut cluster.nodes[1].replica;
    let dials = |effects: Vec<Effect>| {
        let closed = effects.iter().filter(|effect| matches!(effect, Effect::Close { .. })).count();
        let dialled = effects.into_iter().find_map(|effect| match effect {
            Effect::Dial { to, .. } => Some(to.addresses),
            _ => None,
        });
        (closed, dialled)
    };
    let effects = node.step(now, first);
    let ticket = effects.iter().find_map(|effect| match effect {
        Effect::Persist { ticket, .. } => Some(*ticket),
        _ => None,
    });
    let persisted = Input::Persisted { ticket: ticket.unwrap() };
    assert_eq!(dials(node.step(now, persisted)), (0, Some(vec![ip(1)])));
    assert_eq!(dials(node.step(now, again)), (0, None));
    assert_eq!(dials(node.step(now, knows_less)), (0, None));
    assert_eq!(dials(node.step(now, moved)), (1, Some(vec![ip(2), ip(1)])));
}
