//! Memory and disk that run short, with a real driver and journal.

use super::*;
use crate::room::Limits as RoomLimits;
use leasehold_replication::{Level, Limit};

const MIB: u64 = 1024 * 1024;

fn large(n: u64, bytes: usize) -> Bytes {
    let id = Uuid::from_u128(u128::from(n));
    command(n, Action::Put { record: &format!(r#"{{"id":"{id}","n":{n},"filling":"{}"}}"#, "x".repeat(bytes)) })
}

impl Cluster {
    async fn put_large(&self, n: u64, bytes: usize) -> Result<Written, WriteError> {
        self.pod(0).handle.write(large(n, bytes), LONG).await
    }

    async fn delete(&self, n: u64) {
        let deleted = self.pod(0).handle.write(command(n, Action::Delete), LONG).await;
        assert_eq!(deleted.unwrap().answer.outcome, Outcome::Deleted);
    }

    fn levels(&self) -> (Level, Level) {
        let room = self.pod(0).handle.room().room;
        (room.memory, room.disk)
    }

    async fn until_disk(&mut self, what: &str, wanted: impl Fn(Level) -> bool) {
        self.until(what, |cluster| wanted(cluster.levels().1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_its_memory_a_leader_refuses_growth_takes_deletes_and_then_growth_again() {
    let mut cluster = Cluster::prepare(1, None);
    cluster.limits = RoomLimits { memory_bytes: 32 * MIB, disk_reserve_bytes: Some(0) };
    cluster.run(0).await;
    cluster.settle(1).await;
    let replica = cluster.pod(0).handle.replica().unwrap();
    let refused = WriteError::Refused(Refusal::OutOfRoom { limit: Limit::Memory, replica });
    let mut taken = 0;
    let why = loop {
        match cluster.put_large(taken + 1, 40_000).await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken < 1000, "there is no limit");
    };
    assert_eq!(why, refused);
    assert!(taken > 20, "{taken} records of 40 KB in 8 MiB");
    assert_eq!(cluster.put_large(1, 40_000).await.unwrap().answer.outcome, Outcome::Same, "nothing would be written");
    assert_eq!(cluster.put_large(1, 50_000).await, Err(refused));
    assert_eq!(cluster.put_large(1, 1000).await.unwrap().answer.outcome, Outcome::Replaced, "it shrinks");
    assert_eq!(cluster.applied(0).len() as u64, taken);
    for n in 1..=taken {
        cluster.delete(n).await;
    }
    assert!(cluster.levels().0 < Level::Over, "{:?}", cluster.pod(0).handle.room());
    assert!(cluster.put_large(1, 40_000).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_of_disk_a_leader_refuses_growth_restarts_on_a_full_one_and_goes_on_when_there_is_room() {
    let disk = FaultDisk::new(9);
    disk.set_room(Some(100 * MIB));
    let mut cluster = Cluster::prepare(1, Some(disk.clone()));
    cluster.limits = RoomLimits { memory_bytes: 1 << 40, disk_reserve_bytes: Some(MIB) };
    cluster.run(0).await;
    cluster.settle(1).await;
    for n in 1..=20 {
        cluster.put_large(n, 1000).await.unwrap();
    }
    cluster.until("a reserve", |cluster| cluster.pod(0).journal.figures().reserve_segments == 2).await;
    disk.set_room(Some(disk.used() + MIB / 8 * 7));
    cluster.until_disk("over", |level| level == Level::Over).await;
    let replica = cluster.pod(0).handle.replica().unwrap();
    let refused = WriteError::Refused(Refusal::OutOfRoom { limit: Limit::Disk, replica });
    assert_eq!(cluster.put_large(21, 1000).await, Err(refused));
    assert_eq!(cluster.put_large(20, 1000).await.unwrap().answer.outcome, Outcome::Same);
    cluster.delete(20).await;
    // Somebody fills it to the last byte, and the store restarts.
    disk.set_room(Some(disk.used()));
    cluster.kill(0).await;
    cluster.run(0).await;
    cluster.settle(1).await;
    cluster.until_disk("over", |level| level >= Level::Over).await;
    assert_eq!(cluster.applied(0), (1..20).collect::<Vec<_>>());
    cluster.delete(19).await;
    assert_eq!(cluster.put_large(21, 1000).await, Err(refused));
    disk.set_room(Some(100 * MIB));
    cluster.until_disk("room", |level| level < Level::Over).await;
    cluster.put_large(21, 1000).await.unwrap();
    cluster.kill(0).await;
    cluster.run(0).await;
    cluster.settle(1).await;
    assert_eq!(cluster.applied(0), (1..19).chain([21]).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_without_room_for_the_leaders_snapshot_says_so_and_receives_it_when_there_is_room() {
    let mut cluster = Cluster::prepare(3, Some(FaultDisk::new(10)));
    cluster.snapshot_after_bytes = 20_000;
    for index in 0..3 {
        cluster.run(index).await;
    }
    cluster.settle(3).await;
    cluster.kill(0).await;
    let leader = cluster.settle(3).await;
    let wanted: Vec<u64> = (1..=400).collect();
    for n in &wanted {
        cluster.write_surely(*n).await;
    }
    let snapshot = cluster.data(leader).join("snapshot.json");
    let long = |length: std::io::Result<std::fs::Metadata>| length.is_ok_and(|file| file.len() > 100_000);
    cluster.until("a snapshot of the leader's own", |_| long(snapshot.metadata())).await;
    // A new volume, on which a start and its reserve fit, and hardly anything more.
    let disk = FaultDisk::new(11);
    disk.set_room(Some(12 * MIB + 50_000));
    cluster.disk = Some(disk.clone());
    cluster.progress_after = Duration::ZERO;
    cluster.run(0).await;
    until("there is a reserve", || cluster.pod(0).journal.figures().reserve_segments == 2).await;
    let waits = |cluster: &Cluster| cluster.status(0).waits_for_room;
    cluster.until("waiting for room", |cluster| waits(cluster).is_some()).await;
    let why = waits(&cluster).unwrap();
    assert!(why.contains("the leader's snapshot needs 1 MiB") && why.contains("enlarge the volume"), "{why}");
    let is_shown = |cluster: &Cluster| {
        cluster.pod(0).handle.status().unwrap().waiting_for.contains(&why)
            && cluster.pod(0).handle.ready().is_err_and(|ready| ready.contains(&why))
            && cluster
                .pod(0)
                .handle
                .progress()
                .is_some_and(|join| join.of_entries > Some(0) && join.percent() == Some(0))
    };
    cluster.until("saying so", is_shown).await;
    // Heard, and heard from: it waits beside its leader, and that leader's data continue to arrive.
    cluster.write_surely(401).await;
    assert!(disk.open("snapshot.json").is_err() && disk.list("").unwrap().iter().all(|name| !name.ends_with(".part")));
    disk.set_room(None);
    let wanted: Vec<u64> = wanted.into_iter().chain([401]).collect();
    cluster.converges(&wanted).await;
    cluster
        .until("it came by a snapshot, which is durable after it is shown", |_| disk.open("snapshot.json").is_ok())
        .await;
    cluster
        .until("nothing is waited for", |cluster| waits(cluster).is_none() && cluster.status(0).progress.is_none())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_with_more_under_way_than_fits_on_a_filled_disk_runs_on_and_goes_on_when_there_is_room() {
    let disk = FaultDisk::new(12);
    disk.set_room(Some(256 * MIB)); // segments of 4 MiB
    let mut cluster = Cluster::prepare(3, Some(disk.clone()));
    for index in 0..3 {
        cluster.run(index).await;
    }
    if cluster.settle(3).await == 0 {
        cluster.kill(0).await;
        cluster.until("another leader", |cluster| cluster.leader().is_some()).await;
        cluster.run(0).await;
    }
    let leader = cluster.settle(3).await;
    for n in 1..=100 {
        surely(&cluster.pod(leader).handle, large(n, 40_000)).await;
    }
    cluster.until("a reserve", |cluster| cluster.pod(0).journal.figures().reserve_segments == 2).await;
    // The leader continues; the follower's disk is slow for a moment, and somebody fills it.
    let (handle, enough) = (cluster.pod(leader).handle.clone(), CancellationToken::new());
    let stop = enough.clone();
    let writer = tokio::spawn(async move {
        let mut n = 100;
        while !stop.is_cancelled() && n < 2000 {
            n += 1;
            surely(&handle, large(n, 40_000)).await;
        }
        n
    });
    disk.stall();
    cluster.until("much that waits", |cluster| cluster.pod(0).journal.figures().queued_bytes > MIB / 4).await;
    disk.set_room(Some(disk.used()));
    disk.go_on();
    cluster.until_disk("full", |level| level == Level::Full).await;
    enough.cancel();
    let last = writer.await.unwrap() + 1;
    surely(&cluster.pod(leader).handle, large(last, 40_000)).await;
    assert!(!cluster.pod(0).driver.is_finished(), "it ended");
    assert!((cluster.applied(0).len() as u64) < last, "all of it fitted");
    disk.set_room(None);
    cluster.converges(&(1..=last).collect::<Vec<_>>()).await;
    assert!(!cluster.pod(0).driver.is_finished(), "it ended");
}
