//! kill -9 at any moment: the page cache stays, so everything that was started may be there, and everything reported must
//! be.

use super::model::Told;
use super::random::Random;
use super::store::{Answer, Store};
use super::writer::{Killed, command, open};
use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::sync::Mutex;
use uuid::Uuid;

#[test]
fn a_writer_that_is_killed_at_any_moment_has_written_all_that_it_was_told() {
    for round in 0..super::rounds() {
        // On a disk: a temporary folder in memory has no journal of its own.
        let folder = tempfile::tempdir().unwrap();
        let volume = folder.path().join("data");
        let mut random = Random::new(round + 1);
        let mut told = Told::nothing();
        for life in 0..24 {
            let mut writer = Killed(command(&volume, 1 + round * 1000 + life, 0).spawn().unwrap());
            let mut said = writer.0.stdout.take().unwrap();
            // One life of four may end while it starts. The others end after about this many lines: the writer continues
            // while the signal is on its way.
            let words_wanted = if life % 4 == 0 { 0 } else { 1 + random.below(300) as usize };
            let mut said_so_far = Vec::new();
            let mut piece = [0; 512];
            while said_so_far.iter().filter(|byte| **byte == b'\n').count() < words_wanted {
                let length = said.read(&mut piece).unwrap();
                if length == 0 {
                    break; // it has emptied its volume
                }
                said_so_far.extend_from_slice(&piece[..length]);
            }
            writer.0.kill().unwrap();
            let ended = writer.0.wait().unwrap();
            assert!(ended.success() || ended.signal() == Some(9), "the writer ended by itself: {ended}");
            said.read_to_end(&mut said_so_far).unwrap();
            told.hear(&super::trace::Event::Start);
            told.hear_bytes(&said_so_far);
            let (found, _) = open(&volume).unwrap_or_else(|error| panic!("life {life}: {error}"));
            let model = told.check(&found);
            found.journal.close();
            let replica = found.replica;
            let (starts, acknowledged) = (told.starts, told.acknowledged);
            told = Told::found(replica, model);
            (told.starts, told.acknowledged) = (starts, acknowledged);
        }
        assert!(told.starts > 5 && told.acknowledged > 100, "{} starts, {} told", told.starts, told.acknowledged);
    }
}

/// One client's writes: what it sent, and what was answered.
#[derive(Default)]
struct Sent {
    /// Every record that was ever sent, as it would be stored.
    all: HashSet<String>,
    /// The acknowledged ones, with the sequence of each.
    acknowledged: HashMap<String, u64>,
}

#[test]
fn a_store_that_is_killed_at_any_moment_serves_all_that_it_answered_in_order_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::new(folder.path());
    let mut random = Random::new(7);
    let sent = Mutex::new(Sent::default());
    let number = std::sync::atomic::AtomicU64::new(0);
    for _ in 0..5 * super::rounds() {
        store.lead(None);
        check(&store, &sent.lock().unwrap());
        let enough = sent.lock().unwrap().acknowledged.len() + 5 + random.below(100) as usize;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    loop {
                        let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        let id = Uuid::from_u128(u128::from(number) + 1);
                        let record = format!(r#"{{"firstName":"Person","lastName":"{number}","id":"{id}"}}"#);
                        sent.lock().unwrap().all.insert(record.clone());
                        match store.post(&record) {
                            Some(Answer { status: 201, sequence, body }) => {
                                assert_eq!(body, record);
                                sent.lock().unwrap().acknowledged.insert(record, sequence);
                            }
                            Some(other) => panic!("{other:?}"),
                            None => return,
                        }
                    }
                });
            }
            store.until("some acknowledged writes", || {
                (sent.lock().unwrap().acknowledged.len() >= enough).then_some(())
            });
            store.signal_kill();
        });
        store.kill();
    }
    store.lead(None);
    let sent = sent.into_inner().unwrap();
    check(&store, &sent);
    assert!(sent.acknowledged.len() > 50, "only {} were acknowledged", sent.acknowledged.len());
}

fn check(store: &Store, sent: &Sent) {
    let list = store.list();
    let mut last = 0;
    for record in &list {
        assert!(sent.all.contains(record), "invented: {record}");
        if let Some(sequence) = sent.acknowledged.get(record) {
            assert!(*sequence > last, "{record} stands before one that was acknowledged earlier");
            last = *sequence;
        }
    }
    let served: HashSet<&String> = list.iter().collect();
    assert_eq!(served.len(), list.len(), "a record stands there twice");
    for record in sent.acknowledged.keys() {
        assert!(served.contains(record), "acknowledged and lost: {record}");
    }
}
