//! A follower behind a slow link: it counts, and may lead, when it lacks no more than the link delivers in about a second.

use super::*;

/// Of the link to the slow node.
const RATE: u64 = 400_000;
const ENTRY: usize = 40_000;
const ENTRIES: u64 = 100;

/// 4 MB in a hundred writes: ten seconds of the link, and far fewer than a thousand entries.
fn write_much(cluster: &mut Cluster) {
    for number in 0..ENTRIES {
        let proposal = Proposal { id: ProposalId(number), command: Bytes::from(vec![b'x'; ENTRY]), grows: true };
        cluster.queue.push_back(Event::Input(0, Input::Propose(vec![proposal])));
        cluster.drain_queue();
    }
    cluster.run_until("all is committed", |c| {
        let status = c.nodes[0].replica.status();
        status.committed == status.position.seq
    });
}

/// Bytes of the leader's log that this node does not have durably.
fn lacks(cluster: &Cluster, node: usize) -> usize {
    let has = cluster.nodes[node].entries.len();
    cluster.nodes[0].entries.iter().skip(has).map(|entry| entry.record().len()).sum()
}

fn is_voter(cluster: &Cluster, node: usize) -> bool {
    cluster.nodes[0].replica.status().voters.contains(cluster.nodes[node].id)
}

#[test]
fn an_empty_volume_behind_a_slow_link_counts_only_when_it_has_nearly_all_bytes() {
    let mut cluster = Cluster::started(3);
    write_much(&mut cluster);
    cluster.kill(2);
    cluster.nodes.remove(2);
    cluster.slow = Some((2, RATE));
    cluster.add(2);
    let began = cluster.now;
    cluster.run_until("it has said hello", |c| {
        c.nodes[0].replica.status().followers.iter().any(|one| one.replica == c.nodes[2].id)
    });
    cluster.run_until("it counts", |c| is_voter(c, 2));
    let (took, left) = (cluster.now - began, lacks(&cluster, 2));
    assert!(left <= RATE as usize + 2 * ENTRY, "it counted after {took:?}, when it lacked {left} bytes");
    assert!(took > Duration::from_secs(8), "{took:?}");
    cluster.run_until("it has all", |c| lacks(c, 2) == 0);
    assert!(cluster.now - began < Duration::from_secs(12), "the link was not used: {:?}", cluster.now - began);
}

#[test]
fn a_voter_that_lacks_much_is_no_successor_until_it_has_nearly_all_bytes() {
    let mut cluster = Cluster::started(3);
    cluster.kill(1);
    write_much(&mut cluster);
    cluster.slow = Some((1, RATE));
    cluster.restart(1);
    cluster.view.hand_over_to = Some(name(1));
    cluster.tell_all();
    cluster.run_until("it is connected", |c| {
        c.nodes[0].replica.status().followers.iter().any(|one| one.name == name(1) && one.connected)
    });
    cluster.run_until("the sidecar is told", |c| c.nodes[0].replica.status().hand_over.is_some());
    let left = lacks(&cluster, 1);
    assert!(left <= RATE as usize, "it was chosen when it lacked {left} bytes");
    // A voter that has everything does not wait for it: it is free to take over.
    let mut cluster = Cluster::started(3);
    cluster.kill(1);
    write_much(&mut cluster);
    cluster.slow = Some((1, RATE));
    cluster.restart(1);
    cluster.run_until("it is connected", |c| {
        c.nodes[0].replica.status().followers.iter().any(|one| one.name == name(1) && one.connected)
    });
    cluster.queue.push_back(Event::Input(0, Input::Drain));
    let began = cluster.now;
    cluster.run_until("the sidecar is told", |c| c.nodes[0].replica.status().hand_over.is_some());
    let to = cluster.nodes[0].replica.status().hand_over.map(|(name, _)| name);
    assert_eq!((to, cluster.now - began < Duration::from_secs(1)), (Some(name(2)), true));
}

#[test]
fn writes_that_come_in_bursts_do_not_undo_a_hand_over_that_was_begun() {
    let mut cluster = Cluster::started(3);
    cluster.view.hand_over_to = Some(name(1));
    cluster.tell_all();
    cluster.run_until("the sidecar is told", |c| c.nodes[0].replica.status().hand_over.is_some());
    cluster.slow = Some((1, RATE));
    let end = cluster.now + 900 * MS;
    for number in 0.. {
        if cluster.now >= end {
            break;
        }
        let proposal = Proposal { id: ProposalId(number), command: Bytes::from(vec![b'x'; 4 * ENTRY]), grows: true };
        cluster.queue.push_back(Event::Input(0, Input::Propose(vec![proposal])));
        cluster.run(100 * MS);
        assert!(cluster.nodes[0].replica.status().hand_over.is_some(), "undone after {number} writes");
    }
}

/// The harness keeps 1 MB of a log in memory: older entries are read from the journal.
#[test]
fn what_a_slow_follower_lacks_is_read_back_from_the_journal_and_not_kept_in_memory() {
    let mut cluster = Cluster::started(3);
    cluster.kill(2);
    write_much(&mut cluster);
    assert_eq!(cluster.looked_up, 0, "who is near needs no disk");
    cluster.slow = Some((2, 10 * RATE));
    cluster.restart(2);
    cluster.run_until("it has all", |c| lacks(c, 2) == 0);
    assert!((4..=200).contains(&cluster.looked_up), "{}", cluster.looked_up);
    assert_eq!(cluster.nodes[2].entries, cluster.nodes[0].entries);
}

#[test]
fn a_leader_with_a_worse_log_pulls_what_the_better_one_has_on_its_disk_only() {
    let mut cluster = Cluster::started(3);
    cluster.kill(2);
    write_much(&mut cluster);
    cluster.kill(0);
    cluster.restart(2);
    cluster.lead(2, 5);
    cluster.run_until("it leads", |c| c.nodes[2].replica.status().phase == Phase::Leading);
    assert!(cluster.looked_up > 0);
    assert_eq!(cluster.nodes[2].applied.len(), cluster.nodes[2].entries.len());
}

#[test]
fn an_entry_that_takes_longer_than_the_lost_time_on_its_way_loses_nobody() {
    let mut cluster = Cluster::started(3);
    cluster.run(500 * MS);
    cluster.slow = Some((2, 200_000));
    // Three seconds of the link: nothing else passes it, not even a heartbeat.
    let proposal = Proposal { id: ProposalId(1), command: Bytes::from(vec![b'x'; 600_000]), grows: true };
    cluster.queue.push_back(Event::Input(0, Input::Propose(vec![proposal])));
    cluster.drain_queue();
    for _ in 0..60 {
        cluster.run(50 * MS);
        let leader = cluster.nodes[0].replica.status();
        assert!(leader.followers.iter().all(|one| one.connected), "at {:?}: {leader:#?}", cluster.now);
        assert!(cluster.nodes[2].replica.status().leader_heard, "at {:?}", cluster.now);
    }
    cluster.run_until("it has it", |c| lacks(c, 2) == 0);
}
