//! Opening volumes: good, empty, damaged, held.

#![allow(clippy::unwrap_used)]

use super::disk::RealDisk;
use super::{Options, Volume, VolumeError, snapshot};
use crate::testing::rig::{CLUSTER, LONG, Rig, damage, folder, open, person, segments, state};
use leasehold_documents::{FORMAT, readable};
use leasehold_replication::{ClusterId, DurableState, Entry, Payload, Position, Record, SnapshotMeta, Term};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use uuid::Uuid;

/// A volume over several segments, closed.
fn filled(folder: &Path) -> Vec<String> {
    let mut rig = open(folder).unwrap();
    rig.fill(1..120);
    let persons = rig.persons();
    rig.close();
    assert!(segments(folder).len() >= 3, "the tests below need several segments");
    persons
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 0x10;
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_new_volume_is_empty_and_keeps_its_identity() {
    let folder = folder();
    let rig = open(folder.path()).unwrap();
    assert_eq!(rig.opened.recovered.state, DurableState::EMPTY);
    assert!(rig.opened.recovered.entries.is_empty() && rig.opened.recovered.snapshot.is_none());
    assert!(!rig.opened.force_bootstrap);
    let replica = rig.opened.replica;
    let rig = rig.reopen();
    assert_eq!(rig.opened.replica, replica);
    let text = fs::read_to_string(folder.path().join("replica.json")).unwrap();
    assert_eq!(text, format!("{{\"format\":1,\"replica\":\"{replica}\"}}\n"));
}

#[test]
fn what_was_told_to_be_durable_is_there_after_many_starts() {
    let folder = folder();
    let persons = filled(folder.path());
    let mut rig = open(folder.path()).unwrap();
    for more in 0..5 {
        assert_eq!(rig.opened.recovered.state, state(1));
        assert_eq!(rig.persons().len(), persons.len() + more);
        rig.fill(1000 + more as u128..1001 + more as u128);
        rig = rig.reopen();
    }
    assert_eq!(rig.persons()[..persons.len()], persons);
}

#[test]
fn an_entry_that_names_an_earlier_one_cuts_all_after_it() {
    let folder = folder();
    let mut rig = open(folder.path()).unwrap();
    rig.fill(1..60);
    let cut_at = rig.opened_entry(30);
    let other = Entry::new(cut_at, Term(2), Payload::Command(person(777)));
    rig.append(vec![Record::State(state(2)), Record::Entry(other.clone())]);
    let rig = rig.reopen();
    assert_eq!(rig.last, other.position);
    assert_eq!(rig.opened.recovered.entries.len() as u64, other.position.seq.0);
    assert_eq!(rig.persons().last().unwrap(), "777");
}

impl Rig {
    /// The position of that entry; all of them are of term 1.
    fn opened_entry(&self, seq: u64) -> Position {
        assert!(self.last.seq.0 > seq);
        Position::new(1, seq)
    }
}

#[test]
fn a_volume_that_lost_its_promise_does_not_start() {
    let folder = folder();
    filled(folder.path());
    for segment in segments(folder.path()) {
        fs::remove_file(segment).unwrap();
    }
    let (file, _, what) = damage(folder.path());
    assert!(file.ends_with("journal") && what.contains("[S1]"), "{what}");
}

#[test]
fn data_without_an_identity_do_not_start() {
    let folder = folder();
    filled(folder.path());
    fs::remove_file(folder.path().join("replica.json")).unwrap();
    let (file, _, what) = damage(folder.path());
    assert!(file.ends_with("replica.json"), "{what}");
}

#[test]
fn a_first_start_that_was_interrupted_before_the_identity_is_begun_again() {
    let folder = folder();
    open(folder.path()).unwrap().close();
    fs::remove_file(folder.path().join("replica.json")).unwrap();
    let rig = open(folder.path()).unwrap();
    assert_eq!(rig.opened.recovered.state, DurableState::EMPTY);
}

#[test]
fn a_bad_batch_before_a_good_one_is_damage_with_file_and_offset() {
    let folder = folder();
    filled(folder.path());
    for segment in segments(folder.path()) {
        let good = fs::read(&segment).unwrap();
        flip(&segment, 300);
        let (file, offset, what) = damage(folder.path());
        assert_eq!(file, segment);
        assert!((68..=300).contains(&offset), "{offset}: {what}");
        fs::write(&segment, good).unwrap();
    }
    open(folder.path()).unwrap();
}

#[test]
fn a_bad_tail_of_an_older_segment_is_damage_but_of_the_newest_one_it_is_cut() {
    let folder = folder();
    let persons = filled(folder.path());
    let all = segments(folder.path());
    let (newest, older) = all.split_last().unwrap();
    let end = |file: &Path| fs::read(file).unwrap().iter().rposition(|byte| *byte != 0).unwrap();

    let last = older.last().unwrap();
    let at = end(last);
    flip(last, at);
    assert_eq!(damage(folder.path()).0, *last);
    flip(last, at);

    flip(newest, end(newest));
    let rig = open(folder.path()).unwrap();
    assert_eq!(rig.persons(), persons[..persons.len() - 1]);
    // And it is gone for good: nothing of it returns.
    let rig = rig.reopen();
    assert_eq!(rig.persons().len(), persons.len() - 1);
}

#[test]
fn garbage_behind_the_end_is_cut() {
    let folder = folder();
    let persons = filled(folder.path());
    let newest = segments(folder.path()).pop().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[end + 3..].fill(0xa5);
    fs::write(&newest, bytes).unwrap();
    assert_eq!(open(folder.path()).unwrap().persons(), persons);
}

#[test]
fn a_missing_segment_is_damage() {
    let folder = folder();
    filled(folder.path());
    let gone = &segments(folder.path())[1];
    fs::remove_file(gone).unwrap();
    let (file, _, what) = damage(folder.path());
    assert_eq!(file, *gone);
    assert!(what.contains("missing"), "{what}");
}

#[test]
fn a_newer_format_is_refused_naming_both() {
    let folder = folder();
    let mut rig = open(folder.path()).unwrap();
    rig.fill(1..3);
    rig.take_snapshot();
    let root = rig.close();
    let refused = |file: &Path, good: &[u8]| {
        let error = open(&root).map(|_| ()).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, VolumeError::Format { found: 9, .. }), "{text}");
        assert!(text.contains("format 9") && text.contains(&format!("reads {}", readable(FORMAT))), "{text}");
        assert_eq!(error.exit_code(), 2);
        fs::write(file, good).unwrap();
    };
    let identity = root.join("replica.json");
    let good = fs::read(&identity).unwrap();
    fs::write(&identity, br#"{"format":9,"volume":"named otherwise"}"#).unwrap();
    refused(&identity, &good);

    let segment = segments(&root).pop().unwrap();
    let good = fs::read(&segment).unwrap();
    let mut newer = good.clone();
    newer[8] = 9;
    fs::write(&segment, newer).unwrap();
    refused(&segment, &good);
    open(&root).unwrap();
}

#[test]
fn a_snapshot_that_is_not_the_one_of_the_journal_is_damage() {
    let folder = folder();
    let mut rig = open(folder.path()).unwrap();
    rig.fill(1..9);
    rig.take_snapshot();
    let root = rig.close();
    let file = root.join("snapshot.json");
    let good = fs::read(&file).unwrap();
    flip(&file, good.len() / 2);
    let (at, _, what) = damage(&root);
    assert!(at.ends_with("snapshot.json") && what.contains("checksum"), "{what}");

    fs::remove_file(&file).unwrap();
    assert!(damage(&root).2.contains("missing"));

    fs::write(&file, &good).unwrap();
    assert_eq!(open(&root).unwrap().persons().len(), 8);
}

#[test]
fn a_start_finds_that_the_snapshot_is_not_what_was_to_be_written() {
    let folder = folder();
    let mut rig = open(folder.path()).unwrap();
    rig.fill(1..9);
    rig.take_snapshot();
    let mut rig = rig.reopen();
    assert_eq!(rig.opened.false_sum, None);
    rig.fill(9..20);
    let (said, position) = (rig.documents.sum(), rig.last);
    rig.put_false_snapshot(7);
    rig.fill(20..30);
    let rig = rig.reopen();
    let wrong = rig.opened.false_sum.unwrap();
    assert_eq!((wrong.position, wrong.said, wrong.found), (position, said, rig.opened.documents.sum()));
    assert_eq!(rig.persons()[6], "damaged", "and it keeps them for a post-mortem");
}

#[test]
fn a_snapshot_says_its_sum_last_and_one_without_a_sum_is_read() {
    let folder = folder();
    let mut rig = open(folder.path()).unwrap();
    rig.fill(1..9);
    rig.take_snapshot();
    let sum = rig.documents.sum();
    let root = rig.close();
    let disk = RealDisk::new(&root).unwrap();
    let good = fs::read_to_string(root.join("snapshot.json")).unwrap();
    let last = format!(",\n\"sum\": \"{sum}\"\n}}\n");
    let others = good.strip_suffix(&last).unwrap_or_else(|| panic!("{good} does not end in {last}"));
    fs::write(root.join("older.json"), format!("{others}\n}}\n")).unwrap();
    let older = snapshot::read(&disk, "older.json", None, 1).unwrap();
    assert_eq!((older.false_sum, older.documents.sum()), (None, sum));
    fs::write(root.join("spoilt.json"), good.replace(&sum.to_string(), "no sum")).unwrap();
    assert!(matches!(snapshot::read(&disk, "spoilt.json", None, 1), Err(VolumeError::Damage { .. })));
}

#[test]
fn a_snapshot_that_the_journal_does_not_know_is_damage() {
    let folder = folder();
    filled(folder.path());
    fs::write(folder.path().join("snapshot.json"), b"{}").unwrap();
    let (file, _, what) = damage(folder.path());
    assert!(file.ends_with("snapshot.json"), "{what}");
}

#[test]
fn a_second_process_waits_until_the_first_one_lets_go() {
    let folder = folder();
    let mut first = open(folder.path()).unwrap();
    first.fill(1..4);
    let said = Arc::new(AtomicUsize::new(0));
    let (waits, waiting) = channel();
    let second = std::thread::spawn({
        let (folder, said) = (folder.path().to_owned(), said.clone());
        move || {
            let mut options = Options::new(|_| {});
            options.on_wait = Box::new(move |_| {
                said.fetch_add(1, Ordering::Relaxed);
                waits.send(()).unwrap();
            });
            Volume::open(&folder, options).map(|opened| opened.recovered.entries.len())
        }
    });
    waiting.recv_timeout(LONG).expect("it says that it waits");
    assert!(!second.is_finished());
    first.fill(4..6);
    first.close();
    assert_eq!(second.join().unwrap().unwrap(), 6);
    assert_eq!(said.load(Ordering::Relaxed), 1, "it says so every 10 s, not more often");
}

#[test]
fn an_emptied_volume_is_a_new_replica_also_if_that_was_interrupted() {
    let folder = folder();
    let mut rig = open(folder.path()).unwrap();
    rig.fill(1..30);
    rig.take_snapshot();
    let old = rig.opened.replica;
    rig.journal().wipe().unwrap();
    rig.wait_for(|event| matches!(event, crate::volume::journal::JournalEvent::Wiped));
    let mut rig = rig.reopen();
    assert_ne!(rig.opened.replica, old);
    assert_eq!(rig.opened.recovered.state, DurableState::EMPTY);
    assert!(rig.persons().is_empty() && !folder.path().join("snapshot.json").exists());

    rig.fill(1..5);
    let old = rig.opened.replica;
    let root = rig.close();
    // As after a crash that came after the mark and some files.
    fs::write(root.join("wiping"), b"").unwrap();
    fs::remove_file(root.join("replica.json")).unwrap();
    let rig = open(&root).unwrap();
    assert_ne!(rig.opened.replica, old);
    assert!(rig.persons().is_empty() && !root.join("wiping").exists());
}

#[test]
fn the_cluster_of_the_snapshot_must_be_that_of_the_volume() {
    let folder = folder();
    let mut rig = open(folder.path()).unwrap();
    rig.fill(1..3);
    assert_eq!(rig.opened.recovered.snapshot, None);
    rig.take_snapshot();
    let mut rig = rig.reopen();
    assert_eq!(rig.opened.recovered.snapshot.as_ref().unwrap().cluster_id, CLUSTER);
    // Another one, whose mark fits.
    rig.fill(3..5);
    let other = SnapshotMeta { cluster_id: ClusterId(Uuid::from_u128(0xc2)), ..rig.meta() };
    assert!(rig.journal().take_snapshot(other, rig.documents.clone()));
    rig.wait_for(|event| matches!(event, crate::volume::journal::JournalEvent::SnapshotTaken { .. }));
    let (file, _, what) = damage(&rig.close());
    assert!(file.ends_with("snapshot.json") && what.contains("it belongs to cluster"), "{what}");
}

#[test]
fn a_segment_under_another_ones_name_is_damage() {
    let folder = folder();
    filled(folder.path());
    let newest = segments(folder.path()).pop().unwrap();
    let renamed = newest.with_file_name("00000000000000ff.segment");
    fs::rename(&newest, &renamed).unwrap();
    let (file, _, what) = damage(folder.path());
    assert_eq!(file, renamed);
    assert!(what.contains("its header names segment"), "{what}");
    fs::rename(&renamed, &newest).unwrap();
    open(folder.path()).unwrap();
}

#[test]
fn a_start_counts_what_it_reads_of_what_there_is_to_read() {
    let folder = folder();
    let mut rig = open(folder.path()).unwrap();
    rig.fill(1..2_000);
    rig.take_snapshot();
    rig.fill(2_000..2_500);
    rig.close();
    let mut options = Options::new(|_| {});
    options.segment_bytes = 8192;
    let watch = options.watch.clone();
    let opened = Volume::open(folder.path(), options).unwrap();
    let amount = watch.read().amount();
    let snapshot = folder.path().join("snapshot.json").metadata().unwrap().len();
    assert!(amount.of > 2 * snapshot, "{amount:?}");
    assert!(amount.done >= amount.of && amount.done < amount.of + 10_000, "{amount:?}");
    opened.journal.close();
}
