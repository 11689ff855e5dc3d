//! Which writes are proposed at once, and which wait for the group before theirs.

use super::*;

impl Cluster {
    fn is_writing_a_group(&self, node: usize) -> bool {
        self.nodes[node].replica.is_writing_a_group()
    }

    /// A write at the leader, which no disk has yet.
    fn stuck_on_all_disks() -> Cluster {
        let mut cluster = Cluster::started(3);
        assert!(!cluster.is_writing_a_group(0), "nothing was proposed");
        for node in 0..3 {
            cluster.nodes[node].disk_stuck = Some(Ticket(0));
        }
        cluster.write(0, "x");
        cluster.run(300 * MS);
        assert!(cluster.is_writing_a_group(0));
        cluster
    }

    fn let_go_on(&mut self, node: usize) {
        let ticket = self.nodes[node].disk_stuck.take().unwrap();
        self.queue.push_back(Event::Input(node, Input::Persisted { ticket }));
        self.run(100 * MS);
    }
}

#[test]
fn a_group_is_written_when_the_own_disk_has_it_committed_or_not() {
    let mut cluster = Cluster::stuck_on_all_disks();
    cluster.let_go_on(0);
    assert!(!cluster.is_writing_a_group(0));
    assert!(!cluster.has(0, "x"), "one disk is no majority");
}

#[test]
fn a_group_is_written_when_the_others_disks_have_committed_it() {
    let mut cluster = Cluster::stuck_on_all_disks();
    cluster.let_go_on(1);
    assert!(cluster.is_writing_a_group(0), "one disk is no majority");
    cluster.let_go_on(2);
    assert!(!cluster.is_writing_a_group(0));
    assert!(cluster.has(0, "x"));
}

#[test]
fn who_refuses_writes_keeps_none_waiting_for_a_disk() {
    let mut cluster = Cluster::started(3);
    cluster.nodes[0].disk_stuck = Some(Ticket(0));
    cluster.cuts = vec![(0, 1), (0, 2)];
    cluster.write(0, "x");
    assert!(cluster.is_writing_a_group(0));
    assert!(!cluster.is_writing_a_group(1), "it follows");
    cluster.run_until("without a majority", |c| !c.is_writing_a_group(0));
    let refused = cluster.write(0, "y");
    assert_eq!(cluster.rejected, [(refused, Refusal::NoMajority)]);
}
