//! Strong reads: what may answer them, and what they need \[S6\].

use super::*;

impl Cluster {
    fn read(&mut self, node: usize, id: u64) {
        self.queue.push_back(Event::Input(node, Input::Read { id: ReadId(id) }));
        self.drain_queue();
    }

    /// What became of that node's reads up to this one.
    fn answer(&self, node: usize, id: u64) -> Option<Result<Seq, Refusal>> {
        self.reads.iter().find(|(at, upto, _)| *at == node && *upto >= ReadId(id)).map(|(_, _, answer)| *answer)
    }

    fn release(&mut self) {
        self.hold = None;
        self.queue.extend(std::mem::take(&mut self.held));
        self.drain_queue();
    }

    pub(super) fn count(&self, node: usize, which: fn(&Body) -> bool) -> usize {
        self.sent.iter().filter(|(by, body)| *by == node && which(body)).count()
    }

    /// Where that write stands.
    fn seq_of(&self, node: usize, what: &str) -> Seq {
        let is_it = |entry: &&Entry| matches!(&entry.payload, Payload::Command(c) if c == what.as_bytes());
        self.nodes[node].applied.iter().find(is_it).unwrap().position.seq
    }

    /// All others get a new leader, and node 0 hears nothing of it.
    fn depose(&mut self, leader: usize, term: u64) {
        let view = self.view.clone();
        self.lead(leader, term);
        self.queue.retain(|event| !matches!(event, Event::Input(0, Input::Role(_))));
        self.queue.push_back(Event::Input(0, Input::Role(view)));
        self.run_until("a new leader", |c| c.nodes[leader].replica.status().phase == Phase::Leading);
    }
}

#[test]
fn a_strong_read_on_any_node_sees_every_write_that_was_acknowledged_before_it() {
    let mut cluster = Cluster::started(3);
    for (round, node) in [0, 1, 2, 1, 0].into_iter().enumerate() {
        let what = ["a", "b", "c", "d", "e"][round];
        cluster.write(0, what);
        cluster.run_until("committed", |c| c.has(0, what));
        let seq = cluster.seq_of(0, what);
        let id = round as u64 + 1;
        cluster.read(node, id);
        let answered = cluster.answer(node, id).expect("the network delivers at once, so it is answered at once");
        assert!(answered.unwrap() >= seq, "node {node} answered from {answered:?}, {seq} was acknowledged");
        assert!(cluster.has(node, what));
    }
}

#[test]
fn a_follower_answers_only_when_it_has_applied_what_the_leader_had_committed() {
    let mut cluster = Cluster::started(3);
    cluster.hold = Some(|node, input| {
        node == 1 && matches!(input, Input::Frame { frame: Frame { body: Body::Append { .. }, .. }, .. })
    });
    cluster.write(0, "late at db-1");
    cluster.run_until("committed", |c| c.has(0, "late at db-1"));
    cluster.read(1, 1);
    cluster.run(300 * MS);
    assert_eq!(cluster.answer(1, 1), None, "the leader has answered, the entry is not here");
    let asked_by_clients = |body: &Body| matches!(body, Body::ReadAnswer { number, .. } if *number < 1 << 63);
    assert_eq!(cluster.count(0, asked_by_clients), 1);
    cluster.release();
    assert!(cluster.answer(1, 1).unwrap().is_ok() && cluster.has(1, "late at db-1"));
}

#[test]
fn a_deposed_leader_never_answers_a_strong_read_and_then_answers_it_as_a_follower() {
    let mut cluster = Cluster::started(3);
    cluster.read(0, 1);
    assert!(cluster.answer(0, 1).unwrap().is_ok(), "it is answered while it leads");
    cluster.cuts = vec![(0, 1), (0, 2)];
    cluster.depose(1, 2);
    cluster.write(1, "by the new leader");
    cluster.run_until("committed", |c| c.has(1, "by the new leader"));
    assert_eq!(cluster.nodes[0].replica.status().phase, Phase::Leading, "it knows of nothing");
    cluster.read(0, 2);
    assert_eq!(cluster.answer(0, 2), None);
    cluster.run_until("it finds that it hears nobody", |c| c.answer(0, 2).is_some());
    assert_eq!(cluster.answer(0, 2), Some(Err(Refusal::NoMajority)));
    cluster.cuts.clear();
    cluster.run_until("it follows", |c| c.nodes[0].replica.status().promise.term == Term(2));
    cluster.read(0, 3);
    cluster.run_until("it answers", |c| c.answer(0, 3).is_some());
    assert!(cluster.answer(0, 3).unwrap().unwrap() >= cluster.seq_of(1, "by the new leader"));
}

#[test]
fn a_strong_read_at_a_follower_of_a_deposed_leader_is_not_answered_from_the_old_term() {
    let mut cluster = Cluster::started(5);
    // db-4 stays with the old leader; the other three are a majority of their own.
    cluster.cuts = vec![(0, 1), (0, 2), (0, 3), (4, 1), (4, 2), (4, 3)];
    let view = cluster.view.clone();
    cluster.lead(1, 2);
    for deaf in [0, 4] {
        cluster.queue.retain(|event| !matches!(event, Event::Input(node, Input::Role(_)) if *node == deaf));
        cluster.queue.push_back(Event::Input(deaf, Input::Role(view.clone())));
    }
    cluster.run_until("a new leader", |c| c.nodes[1].replica.status().phase == Phase::Leading);
    cluster.write(1, "newer");
    cluster.run_until("committed", |c| c.has(1, "newer"));
    assert!(cluster.nodes[4].replica.status().leader_heard, "db-4 hears the old leader");
    cluster.read(4, 1);
    assert_eq!(cluster.answer(4, 1), None, "two of five are no majority");
    cluster.run_until("the old leader refuses", |c| c.answer(4, 1).is_some());
    assert_eq!(cluster.answer(4, 1), Some(Err(Refusal::NoMajority)));
}

#[test]
fn a_heartbeat_that_began_before_the_read_does_not_confirm_it() {
    let mut cluster = Cluster::started(3);
    // The echoes of one heartbeat are on their way to the leader for a long time, and so is the end of the connections.
    cluster.hold = Some(|node, input| node == 0 && matches!(input, Input::Frame { .. } | Input::Closed { .. }));
    let before = cluster.count(1, |body| matches!(body, Body::Echo { .. }));
    cluster.run_until("an echo is sent", |c| c.count(1, |body| matches!(body, Body::Echo { .. })) > before);
    cluster.cuts = vec![(0, 1), (0, 2)];
    cluster.depose(1, 2);
    cluster.write(1, "newer");
    cluster.run_until("committed", |c| c.has(1, "newer"));
    assert_eq!(cluster.nodes[0].replica.status().phase, Phase::Leading, "the old leader knows of nothing");
    cluster.read(0, 1);
    cluster.release();
    assert_eq!(cluster.answer(0, 1), None, "unasked heartbeats do not confirm");
}

#[test]
fn one_question_and_one_round_serve_all_reads_that_wait() {
    let mut cluster = Cluster::started(3);
    let rounds = |c: &Cluster| c.count(0, |body| matches!(body, Body::Heartbeat { .. })) / 2;
    let questions = |c: &Cluster| c.count(1, |body| matches!(body, Body::ReadIndex { .. }));
    let (rounds_before, questions_before) = (rounds(&cluster), questions(&cluster));
    for id in 1..=1000 {
        cluster.queue.push_back(Event::Input(1, Input::Read { id: ReadId(id) }));
    }
    cluster.drain_queue();
    assert!(cluster.answer(1, 1000).unwrap().is_ok());
    assert_eq!(questions(&cluster) - questions_before, 2, "the first read's, and one for all that came meanwhile");
    assert_eq!(rounds(&cluster) - rounds_before, 2);
    let rounds_before = rounds(&cluster);
    for id in 1..=1000 {
        cluster.queue.push_back(Event::Input(0, Input::Read { id: ReadId(id) }));
    }
    cluster.drain_queue();
    assert!(cluster.answer(0, 1000).unwrap().is_ok());
    assert_eq!(rounds(&cluster) - rounds_before, 2, "the leader's own reads share rounds in the same way");
}

#[test]
fn reads_that_come_while_nobody_leads_wait_for_the_next_leader() {
    let mut cluster = Cluster::started(3);
    cluster.write(0, "kept");
    cluster.run_until("everywhere", |c| (0..3).all(|node| c.has(node, "kept")));
    cluster.kill(0);
    cluster.read(1, 1);
    cluster.read(2, 1);
    cluster.run(200 * MS);
    assert_eq!((cluster.answer(1, 1), cluster.answer(2, 1)), (None, None));
    cluster.lead(2, 2);
    cluster.run_until("answered", |c| c.answer(1, 1).is_some() && c.answer(2, 1).is_some());
    let first_of_term = cluster.nodes[2].applied.iter().find(|entry| entry.position.term == Term(2)).unwrap();
    for node in [1, 2] {
        let applied = cluster.answer(node, 1).unwrap().unwrap();
        assert!(applied >= first_of_term.position.seq, "not before the term's own entry is committed");
    }
}

#[test]
fn a_question_that_was_lost_with_its_connection_is_asked_again() {
    let mut cluster = Cluster::started(3);
    cluster.hold = Some(|node, input| {
        node == 0 && matches!(input, Input::Frame { frame: Frame { body: Body::ReadIndex { .. }, .. }, .. })
    });
    cluster.read(1, 7);
    assert_eq!(cluster.held.len(), 1);
    cluster.held.clear();
    cluster.hold = None;
    cluster.run(300 * MS);
    assert_eq!(cluster.answer(1, 7), None, "one question at a time, and that one is lost");
    let (conn, far) = cluster.ends.iter().find(|(near, _)| near.0 == 1).map(|(a, b)| (*a, *b)).unwrap();
    cluster.ends.remove(&conn);
    cluster.ends.remove(&far);
    for (node, conn) in [conn, far] {
        cluster.queue.push_back(Event::Input(node, Input::Closed { conn }));
    }
    cluster.run_until("it is asked again", |c| c.answer(1, 7).is_some_and(|answer| answer.is_ok()));
}

#[test]
fn a_lone_voter_answers_at_once_and_a_failed_replica_refuses() {
    let mut cluster = Cluster::started(1);
    cluster.read(0, 1);
    assert!(cluster.answer(0, 1).unwrap().is_ok());
    cluster.queue.push_back(Event::Input(0, Input::PersistFailed));
    cluster.read(0, 2);
    assert_eq!(cluster.answer(0, 2), Some(Err(Refusal::Failed)));
}

#[test]
fn a_follower_that_is_stuck_is_not_flooded_with_rounds() {
    let mut cluster = Cluster::started(3);
    // db-2 accepts nothing; db-1 is enough for a majority.
    cluster.hold = Some(|node, _| node == 2);
    let before = cluster.sent.len();
    for id in 1..=5000 {
        cluster.read(0, id);
        assert!(cluster.answer(0, id).is_some());
    }
    let beats =
        |c: &Cluster| c.held.iter().filter(|event| matches!(event, Event::Input(2, Input::Frame { .. }))).count();
    assert!(cluster.sent.len() - before > 5000, "each read was served by a round of its own");
    assert!(beats(&cluster) < 100, "db-2 was sent {} heartbeats", beats(&cluster));
}

#[test]
fn a_new_leader_answers_no_strong_read_before_an_entry_of_its_own_term_is_committed() {
    let mut cluster = Cluster::started(3);
    cluster.run(500 * MS);
    cluster.write(0, "acknowledged");
    assert!(cluster.has(0, "acknowledged") && !cluster.has(1, "acknowledged"), "the followers know of no commit yet");
    cluster.kill(0);
    // The new leader's first entry is not acked, only its heartbeats are echoed.
    cluster.hold = Some(|node, input| {
        node == 1 && matches!(input, Input::Frame { frame: Frame { body: Body::Ack { .. }, .. }, .. })
    });
    cluster.lead(1, 2);
    cluster.run_until("the first entry is on its way", |c| c.positions()[1].term == Term(2));
    cluster.read(1, 1);
    cluster.read(2, 1);
    cluster.run(300 * MS);
    assert_eq!((cluster.answer(1, 1), cluster.answer(2, 1)), (None, None), "what was acknowledged is not known here");
    cluster.release();
    cluster.run_until("answered", |c| c.answer(1, 1).is_some() && c.answer(2, 1).is_some());
    for node in [1, 2] {
        assert!(cluster.answer(node, 1).unwrap().unwrap() >= cluster.seq_of(0, "acknowledged"));
        assert!(cluster.has(node, "acknowledged"));
    }
}
