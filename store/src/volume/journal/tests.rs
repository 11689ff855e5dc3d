//! The journal's thread: tickets, groups, snapshots, failures.

#![allow(clippy::unwrap_used)]

use super::queue::{Command, Queue, Work};
use super::{JournalError, JournalEvent};
use crate::testing::fault_disk::{Fault, FaultDisk};
use crate::testing::rig::{CLUSTER, Rig, any_command, folder, open, person, segments, state, voters};
use crate::volume::files::SNAPSHOT_TAKEN;
use crate::volume::snapshot::{self, PartError};
use bytes::Bytes;
use leasehold_replication::{Entry, Payload, Position, RECORD_BODY_BYTES_MAX, Record, SnapshotMeta, Term, Ticket};
use leasehold_testkit::until_seen_blocking;
use std::fs;
use std::sync::Arc;

impl Rig {
    pub(crate) fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { cluster_id: CLUSTER, position: self.last, voters: voters(self.opened.replica) }
    }

    /// Takes a snapshot of everything, and waits until it is in place.
    pub(crate) fn take_snapshot(&mut self) {
        assert!(self.journal().take_snapshot(self.meta(), self.documents.clone()));
        let position = self.last;
        self.wait_for(|event| matches!(event, JournalEvent::SnapshotTaken { position: at } if *at == position));
    }

    /// Changes the last name of a person in memory alone.
    pub(crate) fn damage(&mut self, person: u128) {
        let id = uuid::Uuid::from_u128(person);
        self.documents.damage("persons", id, &format!("\"{person}\""), "\"damaged\"");
    }

    /// Puts a snapshot of damaged data in place, as if they were damaged only after their sum was compared.
    pub(crate) fn put_false_snapshot(&mut self, person: u128) {
        self.damage(person);
        let meta = self.meta();
        let mark = snapshot::write(&*self.journal().handle.disk, SNAPSHOT_TAKEN, &meta, &self.documents).unwrap();
        let written = Command::SnapshotWritten { result: Ok((mark, meta.voters.format)) };
        self.journal().handle.shared.queue.push(written).unwrap();
        self.wait_for(|event| matches!(event, JournalEvent::SnapshotTaken { position } if *position == meta.position));
    }
}

#[test]
fn all_appends_that_wait_become_one_group_with_the_last_ticket() {
    let queue = Queue::new();
    for ticket in 1..=10 {
        queue
            .push(Command::Append { ticket: Ticket(ticket), format: 1, records: vec![Record::State(state(ticket))] })
            .unwrap();
    }
    queue.push(Command::Wipe).unwrap();
    queue.push(Command::Append { ticket: Ticket(11), format: 1, records: vec![] }).unwrap();
    let Work::Group { ticket, records, .. } = queue.take() else { panic!("no group") };
    assert_eq!((ticket, records.len()), (Ticket(10), 10));
    assert!(matches!(queue.take(), Work::Single(Command::Wipe)));
    let Work::Group { ticket, .. } = queue.take() else { panic!("no group") };
    assert_eq!(ticket, Ticket(11));
    assert_eq!(queue.bytes(), 0);
    queue.close();
    assert!(matches!(queue.take(), Work::End));
}

#[test]
fn a_queue_that_is_full_takes_nothing_and_says_before_that_it_has_no_room() {
    let queue = Queue::new();
    let command = Bytes::from(vec![7; RECORD_BODY_BYTES_MAX - 64]);
    let entry = Entry::new(Position::ZERO, Term(1), Payload::Command(command));
    let mut taken = 0;
    let mut had_room = true;
    loop {
        let records = vec![Record::Entry(entry.clone())];
        match queue.push(Command::Append { ticket: Ticket(1), format: 1, records }) {
            Ok(()) => taken += 1,
            Err(error) => {
                assert_eq!(error, JournalError::Full);
                break;
            }
        }
        had_room = queue.has_room();
    }
    assert!(!had_room && (10..30).contains(&taken), "{taken}");
}

#[test]
fn entries_of_any_size_up_to_the_limit_are_recovered() {
    let folder = folder();
    let mut rig = open(folder.path()).unwrap();
    rig.fill(1..2);
    let mut records = Vec::new();
    for length in [1, 8_000, 9_000, 100_000, RECORD_BODY_BYTES_MAX - 64, 1] {
        let entry = Entry::new(rig.last, Term(1), Payload::Command(any_command(b'x', length)));
        rig.last = entry.position;
        records.push(Record::Entry(entry));
    }
    rig.append(records.clone());
    let rig = rig.reopen();
    let found: Vec<Record> = rig.opened.recovered.entries[2..].iter().cloned().map(Record::Entry).collect();
    assert!(found == records, "not the entries that were written");
}

/// Looks up what follows `after`, and waits for it.
fn looked_up(rig: &Rig, after: Position, bytes_max: usize) -> std::io::Result<Vec<Entry>> {
    let (sender, answer) = std::sync::mpsc::channel();
    rig.journal().look_up(
        after,
        bytes_max,
        super::LookUpAnswer::new(move |found| {
            let _ = sender.send(found);
        }),
    );
    answer.recv_timeout(std::time::Duration::from_secs(10)).unwrap()
}

/// All that follows `after`, in pieces of that size.
fn all_after(rig: &Rig, mut after: Position, bytes_max: usize) -> Vec<Entry> {
    let mut all = Vec::new();
    while after != rig.last {
        let found = looked_up(rig, after, bytes_max).unwrap();
        assert!(found.len() == 1 || found.iter().map(|entry| entry.record().len()).sum::<usize>() <= bytes_max);
        after = found.last().unwrap().position;
        all.extend(found);
    }
    all
}

#[test]
fn entries_are_read_back_as_they_were_written_over_segments_restarts_and_snapshots() {
    let folder = folder();
    let mut rig = open(folder.path()).unwrap();
    rig.fill(1..400);
    assert!(segments(folder.path()).len() > 2, "they stand in several segments");
    let first = all_after(&rig, Position::ZERO, 3_000);
    assert_eq!(first.len() as u64, rig.last.seq.0);
    assert!(first == all_after(&rig, Position::ZERO, 1) && first == all_after(&rig, Position::ZERO, 1 << 20));
    assert!(first.windows(2).all(|pair| pair[1].previous == pair[0].position));
    assert!(looked_up(&rig, rig.last, 1).is_err(), "nothing follows the last one");
    assert!(looked_up(&rig, Position::new(77, 3), 1).is_err(), "a position of another log");
    let mut rig = rig.reopen();
    assert!(first == all_after(&rig, Position::ZERO, 3_000), "after a restart");
    rig.take_snapshot();
    let base = rig.last;
    assert!(looked_up(&rig, Position::ZERO, 1).is_err(), "the snapshot has that");
    rig.fill(400..500);
    assert_eq!(all_after(&rig, base, 3_000).len(), 100);
    rig.close();
}

#[test]
fn a_journal_that_ended_answers_what_is_looked_up() {
    let folder = folder();
    let mut rig = open(folder.path()).unwrap();
    rig.fill(1..3);
    let journal = rig.journal().clone();
    rig.close();
    let (sender, answer) = std::sync::mpsc::channel();
    journal.look_up(
        Position::ZERO,
        1,
        super::LookUpAnswer::new(move |found| {
            let _ = sender.send(found.is_err());
        }),
    );
    assert_eq!(answer.recv_timeout(std::time::Duration::from_secs(10)), Ok(true));
}

#[test]
fn a_snapshot_takes_the_place_of_what_it_holds_while_writes_go_on() {
    let folder = folder();
    let mut rig = open(folder.path()).unwrap();
    rig.fill(1..150);
    assert!(rig.journal().take_snapshot(rig.meta(), rig.documents.clone()));
    assert!(!rig.journal().take_snapshot(rig.meta(), rig.documents.clone()), "one at a time");
    let position = rig.last;
    let mut records = Vec::new();
    for number in 150..160 {
        records.push(rig.entry(Payload::Command(person(number))));
    }
    let before = segments(folder.path()).len();
    let ticket = rig.begin(records);
    let (mut taken, mut persisted) = (false, false);
    while !(taken && persisted) {
        match rig.wait_for(|_| true) {
            JournalEvent::SnapshotTaken { position: at } => taken = at == position,
            JournalEvent::Persisted { ticket: told } => persisted = told == ticket,
            JournalEvent::SnapshotWanted => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(segments(folder.path()).len() < before);
    assert_eq!(rig.journal().figures().snapshot_position, position);
    let persons = rig.persons();
    let rig = rig.reopen();
    let recovered = &rig.opened.recovered;
    assert_eq!(recovered.snapshot.as_ref().unwrap(), &SnapshotMeta { position, ..rig.meta() });
    assert_eq!(rig.opened.documents.applied(), position);
    assert_eq!(recovered.entries.len(), 10);
    assert_eq!(rig.persons(), persons);
    let text = fs::read_to_string(folder.path().join("snapshot.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(text.starts_with(r#"{"format":1,"clusterId":""#), "{}", &text[..80]);
    assert_eq!(json["position"], serde_json::json!({"term": 1, "sequence": 150}));
    assert_eq!(json["collections"]["persons"].as_array().unwrap().len(), 149);
}

#[test]
fn a_snapshot_is_wanted_when_the_journal_is_long_and_no_more_when_it_was_taken() {
    let folder = folder();
    let mut rig = open(folder.path()).unwrap();
    assert!(!rig.journal().wants_snapshot());
    rig.fill(1..300);
    assert!(rig.journal().wants_snapshot());
    rig.take_snapshot();
    assert!(!rig.journal().wants_snapshot());
    // The limit is the snapshot's length now, if that is more than the limit of the options.
    let length = rig.journal().figures().snapshot_bytes;
    assert!(length > 20_000, "{length}");
    rig.fill(300..301);
    assert!(!rig.journal().wants_snapshot());
    let rig = rig.reopen();
    assert_eq!(rig.persons().len(), 300);
}

#[test]
fn a_snapshot_of_what_is_in_one_already_is_dropped() {
    let folder = folder();
    let mut rig = open(folder.path()).unwrap();
    rig.fill(1..9);
    rig.take_snapshot();
    assert!(rig.journal().take_snapshot(rig.meta(), rig.documents.clone()));
    rig.wait_for(|event| matches!(event, JournalEvent::SnapshotDropped { .. }));
    rig.fill(9..12);
    rig.take_snapshot();
    assert_eq!(rig.reopen().persons().len(), 11);
}

#[test]
fn a_snapshot_that_cannot_be_written_is_dropped_and_writes_go_on() {
    let folder = folder();
    let mut rig = open(folder.path()).unwrap();
    rig.fill(1..9);
    let in_the_way = folder.path().join("snapshot.taken");
    fs::create_dir(&in_the_way).unwrap();
    assert!(rig.journal().take_snapshot(rig.meta(), rig.documents.clone()));
    let told = rig.wait_for(|event| !matches!(event, JournalEvent::Persisted { .. }));
    assert!(
        matches!(&told, JournalEvent::SnapshotDropped { reason } if reason.contains("could not be written")),
        "{told:?}"
    );
    rig.fill(9..12);
    fs::remove_dir(&in_the_way).unwrap();
    rig.take_snapshot();
    assert_eq!(rig.reopen().persons().len(), 11);
}

#[test]
fn a_snapshot_stays_readable_when_a_newer_one_takes_its_place() {
    let folder = folder();
    let mut rig = open(folder.path()).unwrap();
    assert!(rig.journal().open_snapshot().unwrap().is_none());
    rig.fill(1..2000);
    rig.take_snapshot();
    let old = rig.journal().open_snapshot().unwrap().unwrap();
    rig.fill(2000..2010);
    rig.take_snapshot();
    let mut crc = crc32fast::Hasher::new();
    let mut offset = 0;
    while let Some(piece) = old.piece(offset).unwrap() {
        crc.update(&piece.bytes);
        offset += piece.bytes.len() as u64;
    }
    assert_eq!((offset, crc.finalize()), (old.length_bytes(), old.crc32()));
    assert_eq!(old.position(), Position::new(1, 2000));
    assert_eq!(rig.journal().open_snapshot().unwrap().unwrap().position(), rig.last);
}

#[test]
fn a_received_snapshot_takes_the_place_of_the_whole_log() {
    let (theirs, ours) = (folder(), folder());
    let mut leader = open(theirs.path()).unwrap();
    leader.fill(1..3000);
    leader.take_snapshot();
    let mut follower = open(ours.path()).unwrap();
    follower.fill(5000..5050);

    let sent = leader.journal().open_snapshot().unwrap().unwrap();
    let mut part = follower.journal().part_file().unwrap();
    let (mut offset, mut whole) = (0, false);
    while let Some(piece) = sent.piece(offset).unwrap() {
        assert!(!whole, "the last piece came before");
        whole = part.push(&piece).unwrap();
        offset += piece.bytes.len() as u64;
    }
    assert!(whole && offset > 256 * 1024, "{offset} bytes are one piece only");
    let received = part.finish().unwrap();
    assert_eq!(received.meta, leader.meta());
    follower.documents = received.documents.clone();
    let ticket = follower.next_ticket();
    follower.journal().install(ticket, received, state(2), 1).unwrap();
    follower.last = leader.last;
    follower.wait_for(|event| matches!(event, JournalEvent::Persisted { ticket: told } if *told == ticket));
    let record = follower.entry(Payload::Command(person(9000)));
    follower.append(vec![record]);
    assert_eq!(follower.journal().open_snapshot().unwrap().unwrap().crc32(), sent.crc32());

    let follower = follower.reopen();
    assert_eq!(follower.opened.recovered.state, state(2));
    assert_eq!(follower.opened.recovered.entries.len(), 1);
    assert_eq!(follower.persons()[..2999], leader.persons());
    assert_eq!(follower.persons()[2999], "9000");
}

#[test]
fn pieces_that_do_not_make_the_snapshot_are_refused_and_leave_nothing() {
    let folder = folder();
    let mut rig = open(folder.path()).unwrap();
    rig.fill(1..3000);
    rig.take_snapshot();
    let sent = rig.journal().open_snapshot().unwrap().unwrap();
    let first = sent.piece(0).unwrap().unwrap();
    let second = sent.piece(first.bytes.len() as u64).unwrap().unwrap();

    let mut part = rig.journal().part_file().unwrap();
    assert!(matches!(part.push(&second), Err(PartError::Order { have: 0, .. })));
    part.push(&first).unwrap();
    let mut other = second.clone();
    other.crc32 ^= 1;
    assert!(matches!(part.push(&other), Err(PartError::Order { .. })));
    assert!(matches!(part.finish(), Err(PartError::Order { .. })), "it is not whole");

    let mut part = rig.journal().part_file().unwrap();
    let mut spoilt = second.clone();
    let mut bytes = spoilt.bytes.to_vec();
    bytes[100] ^= 1;
    spoilt.bytes = bytes.into();
    part.push(&first).unwrap();
    let mut whole = part.push(&spoilt).unwrap();
    let mut offset = (first.bytes.len() + spoilt.bytes.len()) as u64;
    while let Some(piece) = sent.piece(offset).unwrap() {
        whole = part.push(&piece).unwrap();
        offset += piece.bytes.len() as u64;
    }
    assert!(whole);
    assert!(matches!(part.finish(), Err(PartError::Content(_))));
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".part")), "{left:?}");
}

#[test]
fn damaged_data_are_not_written_as_a_snapshot_and_are_reported() {
    let folder = folder();
    let mut rig = open(folder.path()).unwrap();
    rig.fill(1..20);
    rig.take_snapshot();
    let sound = fs::read(folder.path().join("snapshot.json")).unwrap();
    rig.fill(20..30);
    let said = rig.documents.sum();
    rig.damage(7);
    assert!(rig.journal().take_snapshot(rig.meta(), rig.documents.clone()));
    let event = rig.wait_for(|event| !matches!(event, JournalEvent::Persisted { .. }));
    let JournalEvent::SumIsFalse(wrong) = event else { panic!("{event:?}") };
    assert_eq!((wrong.position, wrong.said, wrong.found), (rig.last, said, rig.documents.recomputed_sum()));
    let event = rig.wait_for(|_| true);
    assert!(matches!(event, JournalEvent::SnapshotDropped { .. }), "{event:?}");
    assert_eq!(fs::read(folder.path().join("snapshot.json")).unwrap(), sound);
    assert!(rig.journal().taking().is_none());
    // The journal has all of it: what is read again is sound.
    assert_eq!(rig.reopen().persons()[6], "7");
}

#[test]
fn a_received_snapshot_whose_data_do_not_have_its_sum_is_refused_and_leaves_nothing() {
    let (theirs, ours) = (folder(), folder());
    let mut leader = open(theirs.path()).unwrap();
    leader.fill(1..20);
    leader.put_false_snapshot(7);
    let follower = open(ours.path()).unwrap();
    let sent = leader.journal().open_snapshot().unwrap().unwrap();
    let mut part = follower.journal().part_file().unwrap();
    assert!(part.push(&sent.piece(0).unwrap().unwrap()).unwrap(), "it is one piece");
    let Err(error @ PartError::FalseSum(_)) = part.finish() else { panic!("it was taken") };
    assert!(error.to_string().contains("not installed"), "{error}");
    let left: Vec<_> = fs::read_dir(ours.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".part")), "{left:?}");
}

#[test]
fn a_full_disk_fails_the_write_cleanly_and_the_next_start_has_all_that_was_told() {
    for fault in [Fault::Full, Fault::Eio] {
        let disk = FaultDisk::new(5);
        let mut rig = Rig::open_on(Arc::new(disk.clone())).unwrap();
        rig.fill(1..20);
        // The next call is to be that of the write.
        let figures = || rig.journal().figures();
        until_seen_blocking("there is a reserve", figures, |figures| figures.reserve_segments >= 2);
        disk.fail_after(0, fault);
        let record = rig.entry(Payload::Command(person(99)));
        rig.begin(vec![record]);
        let failed = rig.wait_for(|event| !matches!(event, JournalEvent::Persisted { ticket } if ticket.0 < 21));
        assert!(matches!(failed, JournalEvent::Failed { .. }), "{failed:?}");
        // Final, although the disk is well again.
        let ticket = rig.next_ticket();
        assert_eq!(rig.journal().append(ticket, 1, Vec::new()), Err(JournalError::Closed));
        assert!(!rig.journal().has_room());
        rig.journal().close();
        assert!(rig.events.try_recv().is_err(), "nothing follows a failure");

        disk.power_loss();
        let rig = Rig::open_on(Arc::new(disk)).unwrap();
        assert_eq!(rig.persons()[..19], (1..20).map(|number| number.to_string()).collect::<Vec<_>>());
    }
}

#[test]
fn an_entry_that_follows_nothing_ends_the_journal_before_it_is_written() {
    let folder = folder();
    let mut rig = open(folder.path()).unwrap();
    rig.fill(1..5);
    let stray = Entry::new(Position::new(1, 40), Term(1), Payload::Empty);
    rig.begin(vec![Record::Entry(stray)]);
    let event = rig.wait_for(|event| matches!(event, JournalEvent::Failed { .. }));
    assert!(format!("{event:?}").contains("1/41 names 1/40"), "{event:?}");
    assert_eq!(rig.reopen().persons().len(), 4);
}

#[test]
fn a_promise_never_goes_down() {
    let folder = folder();
    let mut rig = open(folder.path()).unwrap();
    rig.fill(1..2);
    rig.append(vec![Record::State(state(7))]);
    rig.begin(vec![Record::State(state(6))]);
    rig.wait_for(|event| matches!(event, JournalEvent::Failed { .. }));
    let rig = rig.reopen();
    assert_eq!(rig.opened.recovered.state, state(7));
}
