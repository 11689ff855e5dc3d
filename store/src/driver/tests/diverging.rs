//! Replicas that check each other: the data of one are damaged in memory.

use super::*;
use leasehold_replication::{Diverged, Phase};

impl Cluster {
    /// Changes a record in the memory of one pod alone.
    async fn damage(&mut self, index: usize, n: u64) {
        let id = Uuid::from_u128(n.into());
        let damage = move |documents: &mut Documents| documents.damage("things", id, "xxx", "xyx");
        self.pod(index).tampering.lock().unwrap().push(Box::new(damage));
        self.until("the record is damaged", |cluster| cluster.pod(index).tampering.lock().unwrap().is_empty()).await;
    }

    /// Replaces the record, which subtracts the sum of what is there now: of other bytes where it was damaged.
    async fn replace(&self, index: usize, n: u64) {
        let record = format!("{{\"id\":\"{}\",\"n\":{n}}}", Uuid::from_u128(n.into()));
        let written = surely(&self.pod(index).handle, command(n, Action::Put { record: &record })).await;
        assert_eq!(written.answer.outcome, Outcome::Replaced);
    }

    fn mark(&self, index: usize) -> Option<Diverged> {
        self.pod(index).handle.status()?.diverged.clone()
    }

    /// It says that it has diverged, and serves nothing.
    async fn diverges(&mut self, index: usize) -> Diverged {
        self.until("it says that it has diverged", |cluster| {
            cluster.mark(index).is_some()
                && cluster.status(index).diverged.is_some()
                && cluster.data(index).join("diverged.json").exists()
        })
        .await;
        let handle = &self.pod(index).handle;
        let status = handle.status().unwrap();
        assert_eq!((status.phase, status.eligible), (Phase::Diverged, false));
        let way_out = format!("kubectl delete pvc data-db-{index}");
        assert!(handle.readable().unwrap_err().contains(&way_out), "{:?}", handle.readable());
        let read = handle.read_index(Instant::now() + LONG).await;
        assert_eq!(read, Err(crate::handle::ReadError::Refused(Refusal::Diverged)));
        status.diverged.clone().unwrap()
    }

    /// As by an operator who deletes the volume's claim and the pod.
    async fn wipe(&mut self, index: usize) {
        let journal = self.pod(index).journal.clone();
        self.kill(index).await;
        tokio::task::spawn_blocking(move || journal.close()).await.unwrap();
        std::fs::remove_dir_all(self.data(index)).unwrap();
        self.run(index).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_data_differ_serves_nothing_still_acknowledges_and_joins_again_when_wiped() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.settle(3).await;
    for n in 1..=5 {
        cluster.write_surely(n).await;
    }
    let (victim, other) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.damage(victim, 3).await;
    cluster.replace(leader, 3).await;
    let mark = cluster.diverges(victim).await;
    let mut agreeing = mark.agreeing.clone();
    agreeing.sort();
    let mut others = [format!("db-{leader}"), format!("db-{other}")];
    others.sort();
    assert_eq!((mark.name, agreeing), (format!("db-{victim}"), others.to_vec()));
    assert!(mark.agreed.is_some_and(|agreed| agreed != mark.own));
    assert!((0..3).filter(|index| *index != victim).all(|sound| cluster.mark(sound).is_none()));

    // With one more pod down, its acknowledgements are needed.
    cluster.kill(other).await;
    for n in 6..=10 {
        cluster.write_surely(n).await;
    }
    cluster.run(other).await;
    cluster.kill(victim).await;
    cluster.run(victim).await;
    cluster.diverges(victim).await;
    cluster.until("a sound one leads", |cluster| cluster.leader().is_some_and(|leader| leader != victim)).await;

    cluster.wipe(victim).await;
    cluster.settle(3).await;
    cluster.until("it is sound", |cluster| cluster.pod(victim).handle.readable().is_ok()).await;
    cluster.converges(&(1..=10).collect::<Vec<_>>()).await;
    assert_eq!(cluster.mark(victim), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_data_differ_lets_go_and_a_sound_one_leads() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.settle(3).await;
    for n in 1..=5 {
        cluster.write_surely(n).await;
    }
    cluster.damage(leader, 3).await;
    cluster.replace(leader, 3).await;
    cluster.diverges(leader).await;
    cluster.until("another one leads", |cluster| cluster.leader().is_some_and(|next| next != leader)).await;
    let next = cluster.leader().unwrap();
    for n in 6..=10 {
        cluster.write_surely(n).await;
    }
    assert_eq!(cluster.mark(next), None);
    let refused = cluster.write(leader, 11).await;
    assert!(matches!(refused, Err(WriteError::Refused(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_that_no_write_touches_is_found_by_the_next_snapshot() {
    let mut cluster = Cluster::prepare(3, None);
    cluster.snapshot_after_bytes = 64 * 1024;
    for index in 0..3 {
        cluster.run(index).await;
    }
    let leader = cluster.settle(3).await;
    cluster.write_surely(1).await;
    let victim = (leader + 1) % 3;
    cluster.until("it has the record", |cluster| cluster.applied(victim) == [1]).await;
    cluster.damage(victim, 1).await;
    for n in 2..=400 {
        cluster.write_surely(n).await;
    }
    let mark = cluster.diverges(victim).await;
    assert_eq!((mark.agreed, mark.agreeing), (None, Vec::new()), "nobody had to tell it");
    assert!(!cluster.data(victim).join("snapshot.json").exists(), "it took a snapshot of damaged data");
}
