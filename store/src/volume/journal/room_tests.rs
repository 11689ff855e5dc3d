//! A disk that others filled: a start works, deletes fit, a snapshot is taken as soon as it does, and nothing fails.

#![allow(clippy::unwrap_used)]

use super::{JournalEvent, JournalFigures};
use crate::testing::fault_disk::FaultDisk;
use crate::testing::rig::{CLUSTER, Rig, person};
use crate::volume::VolumeError;
use leasehold_replication::{Payload, SnapshotMeta, Voters};
use leasehold_testkit::until_seen_blocking;
use std::sync::Arc;

fn open(disk: &FaultDisk) -> Rig {
    Rig::open_on(Arc::new(disk.clone())).unwrap()
}

fn open_as_of_format_2(disk: &FaultDisk) -> Rig {
    Rig::open_on_as(Arc::new(disk.clone()), 2).unwrap()
}

fn until(rig: &Rig, wanted: impl Fn(&JournalFigures) -> bool) {
    until_seen_blocking("the figures are as wanted", || rig.journal().figures(), wanted);
}

fn until_a_snapshot_is_wanted(rig: &Rig) {
    let look = || (rig.journal().wants_snapshot(), rig.journal().figures());
    until_seen_blocking("a snapshot is wanted", look, |(is_wanted, _)| *is_wanted);
}

/// A volume with this many persons and both segments of its reserve.
fn filled(disk: &FaultDisk, persons: u128) -> Rig {
    disk.set_room(Some(1 << 30));
    let mut rig = open(disk);
    rig.fill(1..persons + 1);
    until(&rig, |figures| figures.reserve_segments == 2);
    rig
}

fn names(range: std::ops::Range<u128>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[test]
fn a_volume_on_a_full_disk_starts_again_and_again_with_all_that_it_has() {
    let disk = FaultDisk::new(1);
    let rig = filled(&disk, 100);
    rig.journal().close();
    for _ in 0..5 {
        disk.set_room(Some(disk.used()));
        let rig = open(&disk);
        assert_eq!(rig.persons(), names(1..101));
        until(&rig, |figures| figures.space.is_some() && figures.reserve_segments > 0);
        rig.journal().close();
    }
    // Killed after the new segment got its name, so that nothing was freed.
    for _ in 0..5 {
        disk.set_room(Some(disk.used()));
        let rig = open(&disk);
        drop(rig);
        disk.power_loss();
    }
    disk.set_room(Some(disk.used()));
    assert_eq!(open(&disk).persons(), names(1..101));
}

#[test]
fn on_a_full_disk_something_can_be_written_until_the_journal_says_that_it_is_full_and_nothing_fails() {
    let disk = FaultDisk::new(2);
    let mut rig = filled(&disk, 100);
    disk.set_room(Some(disk.used()));
    until(&rig, |figures| figures.space.is_some_and(|space| space.free_bytes == 0));
    let mut last = 100;
    while !rig.journal().figures().is_full() {
        last += 1;
        rig.fill(last..last + 1);
        assert!(last < 10_000, "it is never full");
    }
    assert!(last > 110, "only {} records fitted into the reserve", last - 100);
    let figures = rig.journal().figures();
    assert_eq!(figures.reserve_segments, 1, "that of a start is left alone");
    // Promises and voters still fit.
    let record = rig.entry(Payload::Empty);
    rig.append(vec![record]);
    rig.journal().close();
    let rig = open(&disk);
    assert_eq!(rig.persons(), names(1..last + 1));
    disk.set_room(Some(1 << 30));
    until(&rig, |figures| figures.reserve_segments == 2 && !figures.is_full());
}

#[test]
fn a_format_rises_on_a_full_disk_without_an_end_and_every_later_start_has_what_it_needs() {
    let disk = FaultDisk::new(9);
    let mut rig = filled(&disk, 100);
    disk.set_room(Some(disk.used()));
    until(&rig, |figures| figures.space.is_some_and(|space| space.free_bytes == 0));
    let mut last = 100;
    while !rig.journal().figures().is_full() {
        last += 1;
        rig.fill(last..last + 1);
        assert!(last < 10_000, "it is never full");
    }
    assert_eq!(rig.journal().figures().reserve_segments, 1, "that of a start");
    // What is written next is of a later format: it needs a segment of its own, and there is room for none.
    rig.format = 2;
    let record = rig.entry(Payload::Empty);
    rig.append(vec![record]);
    let record = rig.entry(Payload::Command(person(last + 1)));
    rig.append(vec![record]);
    assert_eq!(rig.journal().figures().reserve_segments, 0);
    rig.journal().close();
    // Somebody frees room.
    disk.set_room(Some(1 << 30));
    let rig = open_as_of_format_2(&disk);
    assert_eq!((rig.persons(), rig.opened.recovered.format), (names(1..last + 2), 2));
    until(&rig, |figures| figures.reserve_segments == 2 && !figures.is_full());
}

#[test]
fn a_start_without_any_room_says_what_is_needed() {
    let disk = FaultDisk::new(3);
    let rig = filled(&disk, 100);
    rig.journal().close();
    use crate::volume::disk::Disk;
    for name in ["journal/reserve-1", "journal/reserve-2"] {
        disk.remove(name).unwrap();
    }
    // A start gives back what was made for the next segment, where there was time for that.
    crate::volume::disk::remove_if_there(&disk, crate::volume::files::SPARE_SEGMENT).unwrap();
    disk.set_room(Some(disk.used()));
    match Rig::open_on(Arc::new(disk.clone())).map(|_| ()) {
        Err(error @ VolumeError::Io { .. }) => {
            let what = error.to_string();
            assert!(what.contains("reserve is used up") && what.contains("enlarge the volume"), "{what}");
        }
        other => panic!("it starts with nothing: {other:?}"),
    }
    disk.set_room(None);
    assert_eq!(open(&disk).persons(), names(1..101));
}

#[test]
fn short_of_room_a_snapshot_is_wanted_as_soon_as_it_gives_some_back() {
    let disk = FaultDisk::new(4);
    let mut rig = filled(&disk, 60);
    let live = rig.journal().figures().live_bytes;
    assert!(live < 20_000, "the usual length of {live} would do");
    rig.journal().set_need(live, true, false);
    // It would be as long as what it replaces.
    let record = rig.entry(Payload::Command(person(61)));
    rig.append(vec![record]);
    assert!(!rig.journal().wants_snapshot());
    // Nearly all was deleted, say. Nothing is free: a segment of the reserve makes room.
    disk.set_room(Some(disk.used()));
    until(&rig, |figures| figures.space.is_some_and(|space| space.free_bytes == 0));
    rig.journal().set_need(1000, true, false);
    until_a_snapshot_is_wanted(&rig);
    assert_eq!(rig.journal().figures().reserve_segments, 1);
    rig.take_snapshot();
    rig.journal().set_need(1000, false, false);
    until(&rig, |figures| figures.reserve_segments == 2);
    rig.journal().close();
    assert_eq!(open(&disk).persons(), names(1..62));
}

#[test]
fn a_snapshot_that_is_being_written_says_how_far_it_is() {
    let disk = FaultDisk::new(7);
    let mut rig = filled(&disk, 60);
    assert_eq!(rig.journal().taking(), None);
    disk.stall();
    let meta = SnapshotMeta { cluster_id: CLUSTER, position: rig.last, voters: Voters::none() };
    assert!(rig.journal().take_snapshot(meta, rig.documents.clone()));
    let look = || rig.journal().taking().unwrap();
    let amount = until_seen_blocking("some of it is written", look, |amount| amount.done > 1000);
    assert!(amount.of >= amount.done, "{amount:?}");
    disk.go_on();
    rig.wait_for(|event| matches!(event, JournalEvent::SnapshotTaken { .. }));
    assert_eq!(rig.journal().taking(), None);
    rig.fill(61..62);
}

#[test]
fn where_the_log_takes_too_much_memory_a_snapshot_is_wanted_early() {
    let disk = FaultDisk::new(6);
    let mut rig = filled(&disk, 80);
    let live = rig.journal().figures().live_bytes;
    assert!(live > 8192 && live < 20_000, "{live}");
    assert!(!rig.journal().wants_snapshot());
    rig.journal().set_need(live, false, true);
    let record = rig.entry(Payload::Command(person(81)));
    rig.append(vec![record]);
    until_a_snapshot_is_wanted(&rig);
}

#[test]
fn a_snapshot_that_would_not_fit_is_not_begun() {
    let disk = FaultDisk::new(5);
    let mut rig = filled(&disk, 60);
    rig.journal().set_need(1 << 20, false, false);
    disk.set_room(Some(disk.used() + 40_000));
    until(&rig, |figures| figures.space.is_some_and(|space| space.free_bytes <= 40_000));
    let mut last = 60;
    while rig.journal().figures().live_bytes < 25_000 {
        last += 1;
        rig.fill(last..last + 1);
    }
    assert!(!rig.journal().wants_snapshot(), "{:?}", rig.journal().figures());
    disk.set_room(Some(1 << 30));
    until_a_snapshot_is_wanted(&rig);
}
