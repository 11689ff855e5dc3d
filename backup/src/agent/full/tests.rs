//! A full's name that is taken already, and buckets that fail halfway.

mod moody;

use super::*;
use leasehold_archive::catalog::Catalog;
use leasehold_archive::testing::History;
use moody::{Mood, Moody};
use object_store::memory::InMemory;
use std::sync::Arc;
use uuid::Uuid;

const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(9));

/// A full that was taken, as it is after a download.
async fn taken(recipients: Recipients, folder: &Path) -> (Taker, Verified, Vec<u8>) {
    let mut history = History::new(CLUSTER);
    for n in 0..20 {
        history.put(&format!("r{n}"), n);
    }
    let (_, content) = history.full(history.last());
    let (path, bucket) = (folder.join("full.part"), Bucket::over(Arc::new(InMemory::new()), "p"));
    let source = Source::new(&["http://127.0.0.1:1".to_owned()], None, None).unwrap();
    let taker = Taker { source, bucket, recipients, path };
    let (ends, from) = mpsc::channel(1);
    drop(ends);
    let (pieces, of) = (Pieces { piece: content.clone().into(), ..Pieces::new(from) }, taker.clone());
    let loaded = tokio::task::spawn_blocking(move || load(pieces, &of.path, &of.recipients)).await.unwrap();
    let Ok((_, verified)) = loaded else { panic!("it is a snapshot") };
    (taker, verified, content)
}

fn key() -> Recipients {
    Recipients::read(&[age::x25519::Identity::generate().to_public().to_string()], None).unwrap()
}

/// The fulls that are there, and whether each is verified.
async fn fulls(taker: &Taker) -> Vec<(Time, bool)> {
    let listed = taker.bucket.list(CLUSTER).await.unwrap();
    let catalog = Catalog::of(listed.iter().map(|object| (&*object.name, object.bytes)));
    catalog.fulls().iter().map(|full| (full.edge.time, full.verified)).collect()
}

async fn keep(taker: &Taker, verified: &Verified) -> u64 {
    match taker.keep(CLUSTER, verified.clone()).await {
        Ok(bytes) => bytes,
        Err(FullFailed { what, .. }) => panic!("{what}"),
    }
}

#[tokio::test]
async fn an_orphan_that_cannot_be_read_stays_and_the_full_gets_a_name_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    for (recipients, orphan) in [(key(), "another encryption"), (Recipients::default(), "torn")] {
        let (taker, verified, _) = taken(recipients, folder.path()).await;
        let time = verified.mark.time;
        let name = names(&verified).next().unwrap();
        taker.bucket.put_if_absent(CLUSTER, &name, orphan).await.unwrap();
        assert_eq!(keep(&taker, &verified).await, verified.compressed_bytes);
        let later = Time::from_ms(time.ms() + 1);
        assert_eq!(fulls(&taker).await, [(time, false), (later, true)]);
        assert_eq!(taker.bucket.get_whole(CLUSTER, &name).await.unwrap(), orphan);
        let note =
            taker.bucket.get_whole(CLUSTER, &Name::Verified { seq: verified.mark.seq, time: later }).await.unwrap();
        assert_eq!(Verified::parse(&note).unwrap(), verified);
    }
}

#[tokio::test]
async fn an_orphan_that_has_the_same_data_is_verified_whoever_compressed_it() {
    let folder = tempfile::tempdir().unwrap();
    let (taker, verified, content) = taken(Recipients::default(), folder.path()).await;
    let orphan = zstd::encode_all(&*content, 19).unwrap();
    let name = names(&verified).next().unwrap();
    assert_ne!(orphan.len() as u64, verified.compressed_bytes);
    taker.bucket.put_if_absent(CLUSTER, &name, orphan.clone()).await.unwrap();
    assert_eq!(keep(&taker, &verified).await, 0, "nothing is uploaded");
    assert_eq!(fulls(&taker).await, [(verified.mark.time, true)]);
    let note = taker.bucket.get_whole(CLUSTER, &note_of(&name)).await.unwrap();
    assert_eq!(Verified::parse(&note).unwrap().crc32, crc32fast::hash(&orphan));
    // What is noted needs no other name.
    let (again, ..) = taken(Recipients::default(), folder.path()).await;
    let again = Taker { bucket: taker.bucket.clone(), ..again };
    assert_eq!(keep(&again, &verified).await, 0);
    assert_eq!(fulls(&taker).await.len(), 1);
}

#[tokio::test]
async fn a_note_about_an_object_that_is_gone_is_left_alone_and_the_full_gets_a_name_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (taker, verified, _) = taken(key(), folder.path()).await;
    // Somebody's rule deleted the full, and not what was noted of it.
    let note = note_of(&names(&verified).next().unwrap());
    let about_another = Verified { crc32: !verified.crc32, ..verified.clone() }.to_json();
    taker.bucket.put_if_absent(CLUSTER, &note, about_another.clone()).await.unwrap();
    assert_eq!(keep(&taker, &verified).await, verified.compressed_bytes);
    let later = Time::from_ms(verified.mark.time.ms() + 1);
    assert_eq!(fulls(&taker).await, [(later, true)]);
    assert_eq!(taker.bucket.get_whole(CLUSTER, &note).await.unwrap(), about_another);
}

#[tokio::test]
async fn an_orphan_is_also_judged_where_the_bucket_does_not_say_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let (taker, verified, content) = taken(Recipients::default(), folder.path()).await;
    let bucket = Bucket::over(Arc::new(Moody::new(Mood::HidesWhatIsMissing)), "p");
    let taker = Taker { bucket, ..taker };
    let orphan = zstd::encode_all(&*content, 19).unwrap();
    taker.bucket.put_if_absent(CLUSTER, &names(&verified).next().unwrap(), orphan).await.unwrap();
    assert_eq!(keep(&taker, &verified).await, 0);
    assert_eq!(fulls(&taker).await, [(verified.mark.time, true)]);
}

#[tokio::test]
async fn an_object_that_breaks_off_while_it_is_read_is_not_damaged() {
    let folder = tempfile::tempdir().unwrap();
    for recipients in [Recipients::default(), key()] {
        let (taker, verified, content) = taken(recipients.clone(), folder.path()).await;
        let bucket = Bucket::over(Arc::new(Moody::new(Mood::BreaksOff)), "p");
        let taker = Taker { bucket, ..taker };
        let name = names(&verified).next().unwrap();
        let orphan = zstd::encode_all(&*content, 19).unwrap();
        taker.bucket.put_if_absent(CLUSTER, &name, orphan).await.unwrap();
        let Err(failed) = taker.keep(CLUSTER, verified.clone()).await else { panic!("it cannot be read") };
        assert_eq!((failed.at, failed.why), (At::Bucket, FullError::Failed), "{}", failed.what);
        assert_eq!(fulls(&taker).await, [(verified.mark.time, false)], "no other one is put beside it");
    }
}

#[tokio::test]
async fn a_full_that_failed_leaves_its_room_in_the_spool_to_changes() {
    let folder = tempfile::tempdir().unwrap();
    let (taker, verified, _) = taken(Recipients::default(), folder.path()).await;
    let bucket = Bucket::over(Arc::new(Moody::new(Mood::BreaksOff)), "p");
    let taker = Taker { bucket, ..taker };
    assert!(taker.path.exists() && taker.keep(CLUSTER, verified).await.is_err());
    assert!(!taker.path.exists());
    std::fs::write(&taker.path, "what was loaded until the disk was full").unwrap();
    crate::crypto::install();
    let order = Order::First("nobody".into());
    assert!(taker.take(CLUSTER, Seq(0), &order).await.is_err());
    assert!(!taker.path.exists());
}
