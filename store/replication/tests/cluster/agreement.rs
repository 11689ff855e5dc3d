//! Replicas that check each other \[D1 to D6\].

use super::*;

impl Node {
    /// The sum of its data after that entry: of what it applied, and of the bits that are wrong.
    pub(super) fn sum_after(&self, sequence: Seq) -> Option<Sum> {
        let upto = self.applied.iter().take_while(|entry| entry.position.seq <= sequence);
        let sum = upto.clone().fold(0u128, |sum, entry| {
            entry.record().iter().fold(sum, |sum, byte| sum.wrapping_mul(31).wrapping_add(u128::from(*byte)))
        });
        let flips = self.flips.iter().filter(|(from, _)| *from <= sequence);
        let is_known = upto.last().is_some_and(|last| last.position.seq == sequence);
        is_known.then(|| Sum(flips.fold(sum, |sum, (_, bit)| sum ^ bit)))
    }
}

/// Led by node 0 in term 1, everybody a voter, and all shells keep sums.
fn checked(nodes: usize) -> Cluster {
    let mut cluster = Cluster::new(nodes);
    for node in 0..nodes {
        let one = &mut cluster.nodes[node];
        one.keeps_sums = true;
        let config = Config { sums: true, ..config(node, one.id, one.incarnation) };
        one.replica = Replica::new(config, recovered(DurableState::EMPTY, &[]));
    }
    cluster.run_until("the bootstrap", |c| c.nodes[0].replica.status().campaign == Some(Term(0)));
    cluster.lead(0, 1);
    cluster.run_until("all are voters", |c| {
        let status = c.nodes[0].replica.status();
        status.voters.voters.len() == nodes && status.committed == status.position.seq
    });
    cluster.run(200 * MS);
    cluster
}

impl Cluster {
    /// From its next entry on, the data of that node are not those that it applied.
    fn flip(&mut self, node: usize, bit: u128) {
        let next = self.nodes[node].replica.status().committed.next();
        self.nodes[node].flips.push((next, bit));
    }

    fn diverged(&self, node: usize) -> Option<Diverged> {
        self.nodes[node].replica.status().diverged
    }

    fn agreement(&self, node: usize) -> Option<Agreement> {
        self.nodes[node].replica.status().agreement
    }
}

#[test]
fn replicas_with_the_same_data_agree_and_all_of_them_know_it() {
    let mut cluster = checked(3);
    cluster.write(0, "x");
    cluster.run(2000 * MS);
    let all: Vec<_> = (0..3).map(|node| cluster.agreement(node).unwrap()).collect();
    let sum = cluster.nodes[1].sum_after(all[0].sequence);
    assert_eq!(all[0], Agreement { sequence: all[0].sequence, sum, differing: Vec::new() });
    assert!(sum.is_some() && all[1] == all[0] && all[2] == all[0], "{all:?}");
    assert!((0..3).all(|node| cluster.diverged(node).is_none()));
}

#[test]
fn a_follower_whose_data_differ_serves_nothing_and_still_acks() {
    let mut cluster = checked(3);
    cluster.flip(2, 4);
    cluster.write(0, "x");
    cluster.run_until("the follower has found out", |c| c.diverged(2).is_some());
    let mark = cluster.diverged(2).unwrap();
    assert_eq!((mark.agreed, mark.own), (cluster.nodes[0].sum_after(mark.sequence), Sum(mark.agreed.unwrap().0 ^ 4)));
    assert_eq!((mark.name.as_str(), &mark.agreeing), ("db-2", &vec![name(0), name(1)]));
    assert_eq!(cluster.nodes[2].diverged, Some(mark), "the mark is on its volume");
    cluster.run(200 * MS);
    let status = cluster.nodes[2].replica.status();
    assert_eq!((status.phase, status.eligible, status.campaign), (Phase::Diverged, false, None));
    let leader = cluster.nodes[0].replica.status();
    assert_eq!(leader.agreement.unwrap().differing, [name(2)]);
    let told: Vec<bool> = leader.followers.iter().map(|follower| follower.diverged && !follower.eligible).collect();
    assert_eq!(told, [false, true]);
    // It answers no strong read.
    cluster.queue.push_back(Event::Input(2, Input::Read { id: ReadId(1) }));
    cluster.run(300 * MS);
    assert_eq!(cluster.reads, [(2, ReadId(1), Err(Refusal::Diverged))]);
    // With the other follower down, a write needs its ack [D5].
    cluster.kill(1);
    cluster.write(0, "needs both");
    cluster.run(200 * MS);
    assert!(cluster.has(0, "needs both") && cluster.has(2, "needs both"));
}

#[test]
fn a_mark_is_found_again_by_every_later_run() {
    let mut cluster = checked(3);
    cluster.flip(2, 4);
    cluster.write(0, "x");
    cluster.run_until("the follower has found out", |c| c.diverged(2).is_some());
    let mark = cluster.diverged(2);
    cluster.kill(2);
    cluster.restart(2);
    cluster.run(2500 * MS);
    // Its data are read again, and are those of the others now: it stays as it is.
    assert_eq!(cluster.agreement(2).unwrap().differing, [""; 0]);
    let status = cluster.nodes[2].replica.status();
    assert_eq!((status.phase, status.diverged), (Phase::Diverged, mark));
    assert_eq!(status.position, cluster.nodes[0].replica.status().position, "it follows");
    // Not even an operator makes it lead.
    cluster.lead(2, 2);
    cluster.run(500 * MS);
    let status = cluster.nodes[2].replica.status();
    assert!(status.phase == Phase::Diverged && !status.open && status.promise.term == Term(1), "{status:?}");
}

#[test]
fn a_leader_in_the_minority_refuses_at_once_and_hands_over_into_the_majority() {
    let mut cluster = checked(5);
    // The leader, and the one that it would choose otherwise.
    cluster.flip(0, 1);
    cluster.flip(1, 2);
    cluster.write(0, "x");
    cluster.run_until("the leader has found out", |c| c.diverged(0).is_some());
    assert_eq!(cluster.agreement(0).unwrap().differing, [name(0), name(1)]);
    let status = cluster.nodes[0].replica.status();
    assert!(!status.open && status.phase == Phase::Diverged, "{status:?}");
    let id = cluster.write(0, "refused");
    assert!(cluster.rejected.contains(&(id, Refusal::Diverged)), "{:?}", cluster.rejected);
    cluster.run_until("it hands over", |c| c.nodes[0].replica.status().hand_over.is_some());
    let (to, incarnation) = cluster.nodes[0].replica.status().hand_over.unwrap();
    assert_eq!((to, incarnation), (name(2), cluster.nodes[2].incarnation));
    cluster.lead(2, 2);
    cluster.run_until("the successor leads", |c| c.nodes[2].replica.status().open);
    cluster.run(300 * MS);
    assert_eq!(cluster.nodes[0].replica.status().promise.term, Term(2), "it follows, as a voter");
    cluster.write(2, "goes on");
    cluster.run(300 * MS);
    assert!(cluster.has(0, "goes on"));
}

#[test]
fn a_diverged_leader_whom_nobody_replaces_falls_silent() {
    let mut cluster = checked(3);
    cluster.flip(0, 1);
    cluster.write(0, "x");
    cluster.run_until("the leader has found out", |c| c.diverged(0).is_some());
    assert_eq!(cluster.given_up, [0]);
    // No sidecar acts on the hand-over.
    cluster.run_until("the others have lost it", |c| {
        c.nodes[1].replica.status().campaign == Some(Term(1)) && c.nodes[2].replica.status().campaign == Some(Term(1))
    });
    let status = cluster.nodes[0].replica.status();
    assert_eq!((status.leader_heard, status.campaign, status.hand_over), (false, None, None));
    cluster.lead(1, 2);
    cluster.run_until("another one leads", |c| c.nodes[1].replica.status().open);
    cluster.run(300 * MS);
    assert_eq!(cluster.nodes[0].replica.status().promise.term, Term(2));
}

#[test]
fn without_a_majority_of_all_voters_nobody_is_judged() {
    let mut cluster = checked(5);
    cluster.kill(3);
    cluster.kill(4);
    // The same fault on two: of the three that answer they are the majority, of the five they are not [D1].
    cluster.flip(1, 8);
    cluster.flip(2, 8);
    cluster.write(0, "x");
    cluster.run(2500 * MS);
    assert!((0..3).all(|node| cluster.diverged(node).is_none()));
    let told = cluster.agreement(0).unwrap();
    assert_eq!((told.sum, told.differing), (None, vec![name(0), name(1), name(2)]));
    cluster.write(0, "goes on");
    cluster.run(300 * MS);
    assert!(cluster.has(0, "goes on"));
    // The others come back, and with them there is a majority.
    cluster.restart(3);
    cluster.restart(4);
    cluster.run_until("both are found", |c| c.diverged(1).is_some() && c.diverged(2).is_some());
    assert!([0, 3, 4].iter().all(|node| cluster.diverged(*node).is_none()));
}

#[test]
fn data_that_do_not_have_their_sum_have_diverged_whatever_the_others_say() {
    let mut cluster = checked(2);
    cluster.write(0, "x");
    cluster.run(1500 * MS);
    let position = cluster.nodes[1].replica.status().position;
    cluster.queue.push_back(Event::Input(1, Input::SumIsFalse { position, said: Sum(1), found: Sum(2) }));
    cluster.run(200 * MS);
    let mark = cluster.diverged(1).unwrap();
    assert_eq!((mark.own, mark.agreed, mark.agreeing.len()), (Sum(2), None, 0));
    assert_eq!(cluster.nodes[0].replica.phase(), Phase::Leading);
    let told = cluster.nodes[1].replica.status().waiting_for.join(" ");
    assert!(told.contains("kubectl delete pvc data-db-1"), "{told}");
}

#[test]
fn a_build_that_keeps_no_sums_is_not_asked() {
    let mut cluster = Cluster::started(3);
    cluster.run(2500 * MS);
    let asks = |body: &Body| matches!(body, Body::AskSum { .. } | Body::Sum { .. } | Body::Sums { .. });
    assert!((0..3).all(|node| cluster.count(node, asks) == 0));
    assert_eq!(cluster.agreement(0), None);
}

#[test]
fn a_question_stays_open_until_it_is_answered_and_judged() {
    let mut cluster = checked(3);
    cluster.kill(1);
    cluster.flip(2, 4);
    // The follower gets what the leader sends, but what it answers is under way for seconds.
    cluster.hold = Some(|node, input| {
        node == 0 && matches!(input, Input::Frame { frame, .. } if matches!(frame.body, Body::Sum { .. }))
    });
    cluster.write(0, "x");
    let before = cluster.count(0, |body| matches!(body, Body::AskSum { .. }));
    cluster.run(3500 * MS);
    assert_eq!(cluster.count(0, |body| matches!(body, Body::AskSum { .. })), before + 1, "one open question [D6]");
    let tables = cluster.count(0, |body| matches!(body, Body::Sums { .. }));
    cluster.hold = None;
    let held = std::mem::take(&mut cluster.held);
    cluster.queue.extend(held);
    cluster.run(100 * MS);
    assert!(
        cluster.count(0, |body| matches!(body, Body::Sums { .. })) > tables,
        "it is judged, and the next one is asked"
    );
}

#[test]
fn who_applies_late_is_judged_by_the_table_that_it_has_kept() {
    let mut cluster = checked(3);
    cluster.flip(2, 4);
    // Nothing that the leader appends reaches it, and it hears the leader all the same.
    cluster.hold = Some(|node, input| {
        let is_append = |frame: &Frame| matches!(&frame.body, Body::Append { .. });
        node == 2 && matches!(input, Input::Frame { frame, .. } if is_append(frame))
    });
    cluster.write(0, "x");
    cluster.run(4500 * MS);
    let first = cluster.agreement(0).unwrap();
    assert_eq!((first.sum.is_some(), first.differing.len()), (true, 0), "the others agree without it");
    assert!(cluster.diverged(2).is_none());
    cluster.hold = None;
    let held = std::mem::take(&mut cluster.held);
    cluster.queue.extend(held);
    cluster.run(100 * MS);
    let mark = cluster.diverged(2).unwrap();
    assert!(mark.sequence <= first.sequence, "by a table that it had kept: {mark}");
}
