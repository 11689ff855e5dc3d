//! Builds of two formats in one cluster: when the format rises, who is refused and dropped, and what is written of which.

use super::*;

impl Cluster {
    /// As [`Cluster::started`], with builds that read format 1 alone.
    fn started_with_format_1(nodes: usize) -> Cluster {
        let mut cluster = Cluster::new(nodes);
        for node in 0..nodes {
            cluster.update(node, 1, 1);
        }
        cluster.start();
        cluster
    }

    /// That node runs a build that reads up to `build`, from its next start on.
    fn update(&mut self, node: usize, build: u32, allowed: u32) {
        self.nodes[node].formats = (build, allowed);
        self.kill(node);
        self.restart(node);
    }

    /// Another one leads, and has opened.
    fn hand_to(&mut self, node: usize, term: u64) {
        self.lead(node, term);
        self.run_until("it leads", |c| c.nodes[node].replica.status().phase == Phase::Leading);
    }

    fn in_force(&self) -> Vec<u32> {
        self.nodes.iter().map(|node| node.replica.format()).collect()
    }

    fn held_back(&self, leader: usize) -> Vec<String> {
        let status = self.nodes[leader].replica.status();
        status.formats.held_back_by.iter().map(ToString::to_string).collect()
    }

    /// The records that hold that entry, with the formats that they were written with.
    fn written(&self, node: usize, is_it: impl Fn(&Payload) -> bool) -> Vec<u32> {
        let holds = |records: &Vec<Record>| {
            records.iter().any(|record| matches!(record, Record::Entry(entry) if is_it(&entry.payload)))
        };
        self.nodes[node].segments.iter().filter(|(_, records)| holds(records)).map(|(format, _)| *format).collect()
    }
}

fn is_raise(payload: &Payload) -> bool {
    matches!(payload, Payload::Voters(voters) if voters.format == 2)
}

fn is_write(what: &'static str) -> impl Fn(&Payload) -> bool {
    move |payload| matches!(payload, Payload::Command(command) if command == what.as_bytes())
}

/// Three pods, of which the leader and one follower are updated; node 1 leads in term 2.
fn half_updated() -> Cluster {
    let mut cluster = Cluster::started_with_format_1(3);
    cluster.update(1, 2, 2);
    cluster.run_until("it is back", |c| c.nodes[1].replica.status().leader_heard);
    cluster.hand_to(1, 2);
    cluster.update(0, 2, 2);
    cluster.run_until("all are connected", |c| {
        c.nodes[1].replica.status().followers.iter().filter(|f| f.connected).count() == 2
    });
    cluster
}

/// All are updated and connected, and the raise is committed everywhere.
fn raised() -> Cluster {
    let mut cluster = half_updated();
    cluster.update(2, 2, 2);
    cluster.run_until("format 2 is in force everywhere", |c| c.in_force() == [2, 2, 2]);
    cluster
}

#[test]
fn a_new_cluster_begins_with_the_highest_format_that_all_wanted_pods_allow() {
    for (of_the_last, begins_with) in [((2, 2), 2), ((2, 1), 1), ((1, 1), 1)] {
        let mut cluster = Cluster::new(3);
        cluster.update(2, of_the_last.0, of_the_last.1);
        cluster.start();
        cluster.run(3000 * MS);
        let formats: Vec<u32> = cluster.nodes[0]
            .entries
            .iter()
            .filter_map(|entry| match &entry.payload {
                Payload::Voters(voters) => Some(voters.format),
                Payload::Empty | Payload::Command(_) => None,
            })
            .collect();
        assert_eq!((formats, cluster.in_force()), (vec![begins_with; 3], vec![begins_with; 3]), "{of_the_last:?}");
        cluster.update(2, 2, 2);
        cluster.run_until("format 2 is in force", |c| c.in_force() == [2, 2, 2]);
    }
}

#[test]
fn initial_data_of_a_later_format_wait_until_all_wanted_pods_allow_it() {
    let mut cluster = Cluster::new(3);
    cluster.initial_format = 2;
    for node in 0..3 {
        cluster.update(node, 2, if node == 2 { 1 } else { 2 });
    }
    cluster.run(5000 * MS);
    let status = cluster.nodes[0].replica.status();
    assert_eq!((status.campaign, status.cluster_id), (None, None));
    let wanted = "the first start waits for db-2 to answer that its volume is empty, and that it may write format 2, which \
        the initial data need";
    assert!(status.waiting_for.iter().any(|one| one == wanted), "{:?}", status.waiting_for);
    cluster.update(2, 2, 2);
    cluster.start();
    cluster.run_until("all begin with it", |c| c.in_force() == [2, 2, 2]);
}

#[test]
fn the_format_rises_when_the_last_pod_is_updated_by_an_entry_that_changes_nothing_else() {
    let mut cluster = half_updated();
    cluster.run(3000 * MS);
    assert_eq!(cluster.in_force(), [1, 1, 1]);
    assert_eq!(cluster.held_back(1), ["db-2 (its build reads only format 1)"]);
    let before = cluster.nodes[1].replica.status().voters;
    cluster.kill(2);
    cluster.run(10 * MS);
    assert_eq!(cluster.held_back(1), ["db-2 (not connected)"]);
    cluster.update(2, 2, 2);
    cluster.run_until("format 2 is in force everywhere", |c| c.in_force() == [2, 2, 2]);
    assert_eq!(cluster.held_back(1), Vec::<String>::new());
    let after = cluster.nodes[1].replica.status();
    assert_eq!(after.voters, Voters { format: 2, ..before });
    assert_eq!((after.formats.log, after.formats.in_force, after.phase), (2, 2, Phase::Leading));
    let raises = cluster.nodes[0].entries.iter().filter(|entry| is_raise(&entry.payload));
    assert_eq!(raises.count(), 1);
}

#[test]
fn a_later_build_changes_the_voters_without_raising_the_format() {
    let mut cluster = half_updated();
    cluster.view.members.truncate(2);
    cluster.tell_all();
    cluster.run_until("a voter leaves, and nothing holds the raise back", |c| c.in_force()[..2] == [2, 2]);
    let formats: Vec<u32> = cluster.nodes[1]
        .entries
        .iter()
        .filter_map(|entry| match &entry.payload {
            Payload::Voters(voters) => Some(voters.format),
            Payload::Empty | Payload::Command(_) => None,
        })
        .collect();
    assert_eq!(formats, [1, 1, 1, 1, 2], "a bootstrap, two that came, one that went, and the raise");
}

#[test]
fn what_an_operator_does_not_allow_is_not_raised_and_is_read_all_the_same() {
    let mut cluster = half_updated();
    cluster.update(2, 2, 1);
    cluster.run(3000 * MS);
    assert_eq!((cluster.in_force(), cluster.held_back(1)), (vec![1, 1, 1], vec!["db-2 (--format-max 1)".to_owned()]));
    cluster.update(2, 2, 2);
    cluster.run_until("format 2 is in force", |c| c.in_force() == [2, 2, 2]);
    // Reading is never limited: a later run that allows less goes on.
    cluster.update(2, 2, 1);
    cluster.write(1, "of format 2");
    cluster.run_until("it has it", |c| c.has(2, "of format 2"));
    let hold_back = |c: &Cluster, node: usize| c.nodes[node].replica.status().formats;
    assert_eq!((hold_back(&cluster, 2).allowed, hold_back(&cluster, 2).in_force), (1, 2));
}

#[test]
fn a_wanted_pod_that_is_no_voter_yet_holds_the_format_back_and_an_unwanted_learner_does_not() {
    let mut cluster = half_updated();
    // A fourth one is wanted, and is nowhere.
    cluster.view.members.push(member(3));
    cluster.tell_all();
    cluster.update(2, 2, 2);
    cluster.run(3000 * MS);
    assert_eq!(
        (&cluster.in_force()[..], cluster.held_back(1)),
        (&[1, 1, 1][..], vec!["db-3 (not connected)".to_owned()])
    );
    // It joins with the old build, and is wanted no longer.
    cluster.add(3);
    cluster.update(3, 1, 1);
    cluster.run_until("it votes", |c| c.nodes[1].replica.status().voters.voters.len() == 4);
    assert_eq!(cluster.held_back(1), ["db-3 (its build reads only format 1)"]);
    cluster.view.members.truncate(3);
    cluster.tell_all();
    cluster.run_until("format 2 is in force", |c| c.in_force()[..3] == [2, 2, 2]);
    cluster.run(1000 * MS);
    let followers = cluster.nodes[1].replica.status().followers;
    assert!(followers.iter().all(|one| one.name != name(3) || !one.connected), "{followers:?}");
    assert!(!cluster.nodes[3].entries.iter().any(|entry| is_raise(&entry.payload)), "it was sent what it cannot read");
    assert_eq!(cluster.nodes[3].unreadable, None);
}

#[test]
fn nobody_raises_while_the_wanted_pods_are_not_known() {
    let mut cluster = half_updated();
    cluster.view.members.clear();
    cluster.tell_all();
    cluster.update(2, 2, 2);
    cluster.run(3000 * MS);
    assert_eq!(
        (cluster.in_force(), cluster.held_back(1)),
        (vec![1, 1, 1], vec!["the wanted pods are not known".to_owned()])
    );
}

#[test]
fn a_leader_of_the_old_build_never_raises() {
    let mut cluster = Cluster::started_with_format_1(3);
    for node in [1, 2] {
        cluster.update(node, 2, 2);
    }
    cluster.run(3000 * MS);
    assert_eq!(cluster.in_force(), [1, 1, 1]);
    assert_eq!(cluster.held_back(0), Vec::<String>::new(), "this build knows nothing that is held back");
}

#[test]
fn an_old_build_is_refused_once_the_log_has_the_raise_and_told_what_to_run() {
    let mut cluster = raised();
    let log = cluster.nodes[2].entries.len();
    // Its volume has the raise: it ends, before it writes anything.
    cluster.nodes[2].segments.clear();
    cluster.update(2, 1, 1);
    cluster.run(500 * MS);
    let what = cluster.nodes[2].unreadable.clone().unwrap();
    assert!(what.contains("the voters have format 2") && what.contains("run a build that reads format 2"), "{what}");
    assert!(cluster.nodes[2].segments.is_empty() && cluster.nodes[2].entries.len() == log);
    // An empty volume of an old build knows nothing, and is refused.
    cluster.kill(2);
    cluster.nodes.remove(2);
    cluster.add(2);
    cluster.update(2, 1, 1);
    cluster.run(1000 * MS);
    let waits = cluster.nodes[2].replica.status().waiting_for;
    assert!(waits.iter().any(|why| why.contains("the log of this cluster has format 2, and the build of db-2 reads only format 1: run a build that reads format 2 on db-2")), "{waits:?}");
    cluster.update(2, 2, 2);
    cluster.run_until("it votes", |c| c.nodes[1].replica.status().voters.contains(c.nodes[2].id));
}

/// The raise reaches nobody but its leader; then one of the old build leads.
#[test]
fn an_old_leader_refuses_a_log_that_it_cannot_read_and_is_sent_nothing_of_it() {
    let mut cluster = half_updated();
    cluster.hold = Some(|_, input| {
        matches!(input, Input::Frame { frame: Frame { body: Body::Append { entries, .. }, .. }, .. }
            if entries.iter().any(|entry| is_raise(&entry.payload)))
    });
    cluster.update(2, 2, 2);
    cluster.run_until("the raise is appended", |c| c.nodes[1].replica.status().formats.log == 2);
    let status = cluster.nodes[1].replica.status();
    assert_eq!(status.formats.in_force, 1);
    // Cut off, it keeps its tail; the other two are rolled back.
    cluster.cuts = vec![(0, 1), (1, 2)];
    for node in [0, 2] {
        cluster.update(node, 1, 1);
    }
    cluster.hold = None;
    cluster.hand_to(0, 3);
    cluster.write(0, "by the old build");
    cluster.run_until("it is done", |c| c.has(0, "by the old build") && c.has(2, "by the old build"));
    cluster.cuts.clear();
    cluster.run(1500 * MS);
    let waits = cluster.nodes[1].replica.status().waiting_for;
    assert!(waits.iter().any(|why| why.contains("the log of db-1 has format 2, and db-0 leads with a build that reads only format 1: run a build that reads format 2 on db-0")), "{waits:?}");
    assert!(!cluster.has(1, "by the old build"));
    // A new build that leads takes it back, and cuts the raise that came to nothing.
    for node in [0, 2] {
        cluster.update(node, 2, 2);
    }
    cluster.run(10 * MS);
    cluster.hand_to(2, 4);
    cluster.run_until("format 2 is in force", |c| c.in_force() == [2, 2, 2]);
    cluster.run_until("all agree", |c| c.has(1, "by the old build") && c.positions()[0] == c.positions()[1]);
    assert!((0..3).all(|node| cluster.nodes[node].unreadable.is_none()));
}

/// A new leader pulls a raise that it did not have, after it welcomed an old build.
#[test]
fn a_pull_that_raises_the_log_drops_who_cannot_read_it_before_anything_is_sent() {
    let mut cluster = Cluster::started_with_format_1(5);
    cluster.update(1, 2, 2);
    cluster.run_until("it is back", |c| c.nodes[1].replica.status().leader_heard);
    cluster.hand_to(1, 2);
    // The raise reaches node 0 alone, and its leader hears nothing of that.
    cluster.hold = Some(|node, input| match input {
        Input::Frame { frame: Frame { body: Body::Append { entries, .. }, .. }, .. } => {
            node > 1 && entries.iter().any(|entry| is_raise(&entry.payload))
        }
        _ => false,
    });
    cluster.cuts = vec![(2, 1), (3, 1), (4, 1)];
    for node in [0, 2, 3, 4] {
        cluster.update(node, 2, 2);
    }
    cluster.cuts.clear();
    cluster.run_until("the raise is on two logs", |c| c.nodes[0].replica.status().formats.log == 2);
    assert_eq!(cluster.in_force(), [1; 5]);
    cluster.kill(1);
    cluster.hold = None;
    cluster.held.clear();
    cluster.cuts = vec![(2, 0), (2, 3)];
    cluster.update(4, 1, 1);
    let is_welcome = |c: &Cluster, node: usize| {
        c.nodes[2].replica.status().followers.iter().any(|one| one.name == name(node) && one.connected)
    };
    cluster.lead(2, 3);
    cluster.run_until("the old build is welcomed", |c| is_welcome(c, 4));
    cluster.cuts = vec![(2, 3)];
    cluster.run_until("it has pulled", |c| c.nodes[2].replica.status().formats.log == 2);
    assert!(!is_welcome(&cluster, 4), "dropped in the same step");
    cluster.cuts.clear();
    cluster.run_until("format 2 is in force", |c| [0, 2, 3].iter().all(|node| c.nodes[*node].replica.format() == 2));
    cluster.run(1000 * MS);
    assert!(!cluster.nodes[4].entries.iter().any(|entry| is_raise(&entry.payload)));
    assert_eq!((cluster.nodes[4].unreadable.as_ref(), is_welcome(&cluster, 4)), (None, false));
}

#[test]
fn nothing_of_the_new_format_is_written_before_the_raise_is_committed() {
    let mut cluster = half_updated();
    cluster.hold = Some(|node, input| {
        node == 1 && matches!(input, Input::Frame { frame: Frame { body: Body::Ack { .. }, .. }, .. })
    });
    cluster.update(2, 2, 2);
    cluster.run_until("it is connected again", |c| {
        c.nodes[1].replica.status().followers.iter().filter(|one| one.connected).count() == 2
    });
    cluster.hold = None;
    let held = std::mem::take(&mut cluster.held);
    cluster.queue.extend(held);
    cluster.run_until("format 2 is in force everywhere", |c| c.in_force() == [2, 2, 2]);
    cluster.write(1, "x");
    cluster.run_until("it is everywhere", |c| (0..3).all(|node| c.has(node, "x")));
    for node in 0..3 {
        assert_eq!(
            (cluster.written(node, is_raise), cluster.written(node, is_write("x"))),
            (vec![1], vec![2]),
            "{node}"
        );
    }
}

/// One append brings the raise, its commit and what follows it: all of it goes into a segment of the new format.
#[test]
fn a_follower_that_gets_the_raise_and_what_follows_it_in_one_append_begins_a_segment_first() {
    let mut cluster = raised();
    // Wiped, it gets everything anew.
    cluster.write(1, "x");
    cluster.run(50 * MS);
    cluster.kill(2);
    cluster.nodes.remove(2);
    cluster.add(2);
    cluster.update(2, 2, 2);
    cluster.run_until("it has all", |c| c.has(2, "x"));
    let (raise, write) = (cluster.written(2, is_raise), cluster.written(2, is_write("x")));
    assert!(write.iter().all(|format| *format == 2) && !write.is_empty(), "{raise:?} {write:?}");
}

/// All die. What is on the volumes shows that the raise was committed: whoever leads says so with what it sends.
#[test]
fn after_a_restart_a_segment_proves_the_raise_and_its_commit_is_told_with_what_follows() {
    let mut cluster = raised();
    cluster.cuts = vec![(0, 1), (0, 2)];
    cluster.run(1500 * MS);
    cluster.write(1, "x");
    cluster.run_until("it is on two", |c| c.has(1, "x") && c.has(2, "x"));
    for node in 0..3 {
        cluster.kill(node);
        cluster.nodes[node].noted = Position::ZERO;
    }
    cluster.cuts.clear();
    for node in 0..3 {
        cluster.restart(node);
    }
    let raise = cluster.nodes[1].entries.iter().find(|entry| is_raise(&entry.payload)).unwrap().position.seq;
    assert_eq!(cluster.nodes[1].replica.format(), 2);
    assert_eq!(cluster.nodes[1].replica.status().committed, raise);
    // It lacked what is of the new format, and leads: it pulls, and may not write it into an old segment.
    cluster.run(10 * MS);
    let lacked = cluster.nodes[0].replica.format();
    cluster.hand_to(0, 3);
    cluster.run_until("it has it", |c| c.has(0, "x"));
    assert_eq!(cluster.written(0, is_write("x")), [2], "before the pull format {lacked} was in force there");
}

#[test]
fn what_a_leader_sends_and_this_build_does_not_know_ends_it_and_from_others_it_means_nothing() {
    let mut cluster = Cluster::started(3);
    let conn = |cluster: &Cluster, from: usize, to: usize| {
        cluster
            .ends
            .iter()
            .find(|((one, _), (other, _))| *one == from && *other == to)
            .map(|((_, conn), _)| *conn)
            .unwrap()
    };
    let what = "an entry of kind 7, which this build does not know".to_owned();
    let (of_follower, of_leader) = (conn(&cluster, 0, 1), conn(&cluster, 1, 0));
    let effects =
        cluster.nodes[0].replica.step(cluster.now, Input::Unreadable { conn: of_follower, what: what.clone() });
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Unreadable { .. })), "{effects:?}");
    let other = Input::Unreadable { conn: ConnId::Dialled(999), what: what.clone() };
    let effects = cluster.nodes[1].replica.step(cluster.now, other);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Unreadable { .. })), "{effects:?}");
    let effects = cluster.nodes[1].replica.step(cluster.now, Input::Unreadable { conn: of_leader, what: what.clone() });
    assert!(
        effects.iter().any(|effect| matches!(effect, Effect::Unreadable { what: said } if *said == what)),
        "{effects:?}"
    );
    assert_eq!(cluster.nodes[1].replica.status().phase, Phase::Failed);
}

#[test]
fn a_welcome_says_the_format_in_force_and_a_state_says_all_three() {
    let mut cluster = raised();
    let state = cluster.nodes[0].replica.status().peer_state("db-0", cluster.nodes[0].id);
    assert_eq!((state.format_min, state.format_max, state.format_allowed), (2, 2, 2));
    cluster.update(0, 2, 1);
    cluster.run_until("it is back", |c| c.nodes[0].replica.status().leader_heard);
    let status = cluster.nodes[1].replica.status();
    assert_eq!(status.followers.iter().find(|one| one.name == name(0)).unwrap().formats, (2, 1));
}

/// A later format begins with a new segment of the journal, which may not fit.
#[test]
fn a_disk_that_is_short_of_room_holds_the_format_back_until_there_is_room() {
    const SHORT: [Level; 3] = [Level::Over, Level::Far, Level::Full];
    let room = |cluster: &mut Cluster, node, disk| {
        cluster.queue.push_back(Event::Input(node, Input::Room(Room { disk, ..Room::default() })));
    };
    for (node, disk) in SHORT.into_iter().flat_map(|disk| [(0, disk), (1, disk), (2, disk)]) {
        let mut cluster = half_updated();
        room(&mut cluster, node, disk);
        cluster.update(2, 2, 2);
        if node == 2 {
            // As a shell does when it starts.
            room(&mut cluster, node, disk);
        }
        cluster.run(3000 * MS);
        let held = vec![format!("db-{node} (its disk is short of room)")];
        assert_eq!((cluster.in_force(), cluster.held_back(1)), (vec![1, 1, 1], held), "{disk:?}");
        assert!(!cluster.nodes.iter().any(|node| node.entries.iter().any(|entry| is_raise(&entry.payload))));
        room(&mut cluster, node, Level::Enough);
        cluster.run_until("format 2 is in force everywhere", |c| c.in_force() == [2, 2, 2]);
    }
}

/// It filled up after it had said that there is room.
#[test]
fn a_raise_that_meets_a_full_disk_is_committed_by_the_others_and_arrives_when_there_is_room() {
    let mut cluster = half_updated();
    cluster.hold = Some(|_, input| {
        matches!(input, Input::Frame { frame: Frame { body: Body::Append { entries, .. }, .. }, .. }
            if entries.iter().any(|entry| is_raise(&entry.payload)))
    });
    cluster.update(2, 2, 2);
    cluster.run_until("the raise is on its way", |c| c.held.len() == 2);
    let full = Room { disk: Level::Full, ..Room::default() };
    cluster.queue.push_back(Event::Input(2, Input::Room(full)));
    cluster.drain_queue();
    cluster.hold = None;
    let held = std::mem::take(&mut cluster.held);
    cluster.queue.extend(held);
    cluster.run_until("the others have it", |c| c.in_force()[..2] == [2, 2]);
    cluster.write(1, "of format 2");
    cluster.run(3000 * MS);
    assert!(cluster.has(0, "of format 2") && !cluster.has(2, "of format 2"));
    let follower = &cluster.nodes[2];
    assert_eq!((follower.replica.format(), &follower.failed, &follower.unreadable), (1, &None, &None));
    assert!(follower.replica.status().leader_heard);
    cluster.queue.push_back(Event::Input(2, Input::Room(Room::default())));
    cluster.run_until("it has all", |c| c.in_force() == [2, 2, 2] && c.has(2, "of format 2"));
}

/// The leader's own disk is full when the raise is committed: it leads on, and refuses what it must.
#[test]
fn a_leader_whose_disk_fills_up_during_the_raise_leads_on() {
    let mut cluster = half_updated();
    cluster.run(500 * MS);
    cluster.hold = Some(|_, input| matches!(input, Input::Frame { frame: Frame { body: Body::Ack { .. }, .. }, .. }));
    cluster.update(2, 2, 2);
    cluster.run_until("the raise is appended", |c| c.nodes[1].replica.status().formats.log == 2);
    let full = Room { disk: Level::Full, ..Room::default() };
    cluster.queue.push_back(Event::Input(1, Input::Room(full)));
    cluster.drain_queue();
    cluster.hold = None;
    let held = std::mem::take(&mut cluster.held);
    cluster.queue.extend(held);
    cluster.run_until("it is in force", |c| c.in_force() == [2, 2, 2]);
    cluster.run(1000 * MS);
    let leader = &cluster.nodes[1];
    assert_eq!((leader.replica.status().phase, &leader.failed), (Phase::Leading, &None));
    let id = cluster.propose(1, "nowhere to go", false);
    let replica = cluster.nodes[1].id;
    assert_eq!(cluster.rejected.last(), Some(&(id, Refusal::OutOfRoom { limit: Limit::Disk, replica })));
    cluster.queue.push_back(Event::Input(1, Input::Room(Room::default())));
    cluster.drain_queue();
    cluster.write(1, "again");
    cluster.run_until("it is done", |c| (0..3).all(|node| c.has(node, "again")));
}
