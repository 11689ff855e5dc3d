//! Whole replicas of a cluster that begins with a backup: alone, then three of them, then without the first.

use super::*;
use leasehold_documents::replay::Replay;
use leasehold_documents::snapshot::{self, Head};

/// The last sequence of the backup.
const LAST: Position = Position { term: leasehold_replication::Term(0), seq: Seq(200) };

/// Puts a restore.json on the volume of a pod.
fn put_backup(data: &std::path::Path) -> Vec<u64> {
    let mut documents = Documents::new();
    for n in 1..=LAST.seq.0 {
        let id = Uuid::from_u128(u128::from(n));
        let record = format!("{{\"id\":\"{id}\",\"n\":{n}}}");
        let command = command(n, Action::Create { record: &record });
        documents.apply(Position::new(9, n), &command, &mut Vec::new()).unwrap();
    }
    let restored = Replay::new(documents).into_restored().unwrap();
    let cluster_id = ClusterId(Uuid::from_u128(0xc0));
    let head = Head { format: 1, cluster_id, position: LAST, voters: Voters::none() };
    std::fs::create_dir_all(data).unwrap();
    let mut file = std::fs::File::create(data.join("restore.json")).unwrap();
    snapshot::write(&mut file, &head, &restored).unwrap();
    (1..=LAST.seq.0).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_begins_with_a_backup_grows_to_three_and_goes_on_without_the_first() {
    let mut cluster = Cluster::prepare(3, None);
    cluster.wanted = 1;
    let mut wanted = put_backup(&cluster.data(0));
    cluster.run(0).await;
    cluster.settle(1).await;
    assert_eq!(cluster.applied(0), wanted);
    assert_eq!(cluster.status(0).position.sequence, LAST.seq.0 + 2, "its voters and the first entry of its term");
    cluster.write_surely(1000).await;
    wanted.push(1000);

    cluster.wanted = 3;
    for pod in [1, 2] {
        cluster.run(pod).await;
    }
    cluster.settle(3).await;
    cluster.converges(&wanted).await;
    for pod in 0..3 {
        let snapshot = cluster.pod(pod).journal.open_snapshot().unwrap().unwrap();
        assert_eq!(snapshot.position(), LAST, "the others got what was restored");
    }

    cluster.kill(0).await;
    cluster.settle(3).await;
    cluster.write_surely(1001).await;
    wanted.push(1001);
    cluster.run(0).await;
    cluster.settle(3).await;
    cluster.converges(&wanted).await;
    for pod in 0..3 {
        let status = cluster.pod(pod).handle.status().unwrap();
        assert!(status.diverged.is_none() && status.went_back.is_none(), "{status:?}");
    }
}
