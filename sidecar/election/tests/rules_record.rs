//! Rule 2 of plain apps where nobody ever held the Lease, clean releases, and the record of terms: A1, A11, A12.
#![allow(clippy::unwrap_used)]

mod desk;

use desk::{Answers, Desk, id, lease, ms, said, secs, with, without};
use leasehold_election::{
    Body, Effect, Input, Lease, RecordRead, RecordWrite, RecordWritten, Term, Version, Why, WriteOutcome, annotation,
};

/// As a manifest has it.
fn never_held(version: u64) -> Lease {
    Lease { version: Version(version.to_string()), renewed: None, body: Body::default() }
}

fn asked(desk: &mut Desk) -> RecordWrite {
    let write = desk.effects.iter().find_map(|effect| match effect {
        Effect::WriteRecord(write) => Some(write.clone()),
        _ => None,
    });
    desk.effects.clear();
    write.expect("it asks for the record")
}

/// By this run.
fn create(term: u64) -> RecordWrite {
    RecordWrite { expected: None, term: Term(term), duration_seconds: 15, created_by: Some(id(0xa)) }
}

/// The mark goes.
fn replace(version: u64, term: u64) -> RecordWrite {
    let expected = Some(Version(version.to_string()));
    RecordWrite { expected, term: Term(term), duration_seconds: 15, created_by: None }
}

fn written(version: u64) -> Input {
    Input::RecordWritten(RecordWritten::Written { version: Version(version.to_string()) })
}

#[test]
fn who_creates_the_record_takes_a_lease_that_nobody_ever_held_at_once() {
    let mut desk = Desk::plain();
    desk.read(Some(never_held(1)));
    assert_eq!(said(&desk.write()), (Why::TakeFree, Some("db-0"), Some(id(0xa)), 1));
    assert_eq!(desk.record, Some((1, Term(1))));
}

#[test]
fn where_the_record_exists_a_lease_that_nobody_held_is_as_one_that_is_missing() {
    let mut desk = Desk::plain();
    desk.record = Some((7, Term(5)));
    desk.read(Some(never_held(1)));
    desk.writes_nothing();
    desk.pass_seeing(&Some(never_held(1)), secs(15) - ms(1));
    desk.writes_nothing();
    desk.pass(ms(2));
    assert_eq!(said(&desk.write()), (Why::TakeFree, Some("db-0"), Some(id(0xa)), 6), "above what the record has");
}

#[test]
fn the_creator_of_the_record_takes_the_lease_only_in_the_version_that_it_had_seen() {
    let mut desk = Desk::plain();
    desk.answers_for_record = Answers::ByHand;
    desk.read(Some(never_held(1)));
    assert_eq!(asked(&mut desk), create(1));
    desk.watch(Some(never_held(2)));
    desk.give(written(1));
    desk.pass_seeing(&Some(never_held(2)), secs(15) - ms(1));
    desk.writes_nothing();
}

/// The create gets no answer; the look after it shows this.
fn unsure(found: RecordRead) -> Desk {
    let mut desk = Desk::plain();
    desk.answers_for_record = Answers::ByHand;
    desk.read(Some(never_held(1)));
    assert_eq!(asked(&mut desk), create(1));
    desk.give(Input::RecordWritten(RecordWritten::Unknown));
    desk.pass(secs(1));
    assert!(desk.effects.contains(&Effect::ReadRecord), "{:#?}", desk.effects);
    desk.give(Input::RecordRead(found));
    desk
}

fn found(version: u64, term: u64, created_by: Option<u128>) -> RecordRead {
    lasting(version, term, None, created_by)
}

fn lasting(version: u64, term: u64, duration_seconds: Option<u32>, created_by: Option<u128>) -> RecordRead {
    let (version, created_by) = (Version(version.to_string()), created_by.map(id));
    RecordRead::Found { version, term: Term(term), duration_seconds, created_by }
}

#[test]
fn a_create_without_an_answer_that_was_carried_out_is_known_by_its_mark() {
    let mut desk = unsure(found(1, 1, Some(0xa)));
    assert_eq!(said(&desk.write()), (Why::TakeFree, Some("db-0"), Some(id(0xa)), 1));
}

/// Another sidecar's, that of an earlier run of this pod, one without a mark, and one that somebody raised since.
#[test]
fn no_other_record_counts_as_the_one_whose_create_got_no_answer() {
    for other in [found(1, 1, Some(0xb)), found(1, 1, None), found(2, 2, None), found(2, 2, Some(0xa))] {
        let mut desk = unsure(other);
        desk.pass(secs(13));
        desk.writes_nothing();
    }
}

/// Of two creates, with other versions of the Lease before them, the first may be the one that was carried out.
#[test]
fn of_creates_without_an_answer_only_the_version_before_the_first_counts() {
    let mut desk = unsure(RecordRead::NotFound);
    assert_eq!(asked(&mut desk), create(1));
    desk.watch(Some(never_held(2)));
    desk.give(Input::RecordWritten(RecordWritten::Unknown));
    desk.pass(secs(2));
    desk.give(Input::RecordRead(RecordRead::NotFound));
    assert_eq!(asked(&mut desk), create(1), "with version 2 before it");
    desk.give(Input::RecordWritten(RecordWritten::Conflict));
    desk.pass(secs(2));
    desk.give(Input::RecordRead(found(1, 1, Some(0xa))));
    desk.writes_nothing();
    desk.pass_seeing(&Some(never_held(2)), secs(15));
    assert_eq!(asked(&mut desk), replace(1, 2));
}

/// Nor was it: the first leader does not wait for a duration because its write of the Lease got no answer.
#[test]
fn a_first_write_of_the_lease_without_an_answer_costs_one_look() {
    for outcome in [WriteOutcome::Unknown, WriteOutcome::Refused] {
        let mut desk = Desk::plain();
        desk.read(Some(never_held(1)));
        let first = desk.write();
        desk.pass(ms(500));
        desk.give(Input::LeaseWritten(outcome));
        assert_eq!(desk.reads(), 1);
        desk.read(Some(never_held(1)));
        desk.pass(secs(1));
        assert_eq!(desk.write(), first, "in the same term: it is this pod's alone");
        assert_eq!(desk.record, Some((1, Term(1))));
    }
}

/// It was carried out after all, or somebody else was faster.
#[test]
fn a_term_is_not_written_again_over_another_version_of_the_lease() {
    let mut desk = Desk::plain();
    desk.read(Some(never_held(1)));
    desk.write();
    desk.pass(ms(500));
    desk.give(Input::LeaseWritten(WriteOutcome::Unknown));
    desk.read(Some(never_held(9)));
    desk.pass_seeing(&Some(never_held(9)), secs(15) - ms(1));
    desk.writes_nothing();
    desk.pass(ms(2));
    assert_eq!(said(&desk.write()), (Why::TakeFree, Some("db-0"), Some(id(0xa)), 2));
}

#[test]
fn without_the_right_to_the_record_it_is_always_a_duration() {
    let mut desk = Desk::plain();
    desk.answers_for_record = Answers::Denied;
    desk.read(Some(never_held(1)));
    desk.pass_seeing(&Some(never_held(1)), secs(15) - ms(1));
    desk.writes_nothing();
    desk.pass(ms(2));
    assert_eq!(said(&desk.write()), (Why::TakeFree, Some("db-0"), Some(id(0xa)), 1));
}

#[test]
fn a_lease_that_was_held_is_no_fresh_one_whatever_it_lacks() {
    for lease in [
        lease(1, None, 3),
        Lease { renewed: Some("stamp".into()), ..never_held(1) },
        with(never_held(1), annotation::INCARNATION, "x"),
    ] {
        let mut desk = Desk::plain();
        desk.read(Some(without(lease, annotation::CLUSTER_ID)));
        desk.writes_nothing();
        desk.pass(secs(1));
        desk.writes_nothing();
    }
}

#[test]
fn no_term_begins_before_it_is_in_the_record() {
    let mut desk = Desk::plain();
    desk.answers_for_record = Answers::ByHand;
    desk.read(Some(without(lease(3, Some(("db-1", 0xb)), 8), annotation::CLUSTER_ID)));
    desk.pass(secs(2));
    assert!(desk.effects.contains(&Effect::ReadRecord), "each leadership is looked up once");
    desk.give(Input::RecordRead(found(40, 8, None)));
    desk.pass_seeing(&Some(without(lease(3, Some(("db-1", 0xb)), 8), annotation::CLUSTER_ID)), secs(13) + ms(1));
    assert!(desk.writes().is_empty(), "{:#?}", desk.effects);
    assert_eq!(asked(&mut desk), replace(40, 9));
    desk.give(written(41));
    assert_eq!(said(&desk.write()), (Why::TakeExpired, Some("db-0"), Some(id(0xa)), 9));
}

#[test]
fn a_lost_race_for_the_record_takes_a_term_above_the_winners() {
    let mut desk = Desk::plain();
    desk.answers_for_record = Answers::ByHand;
    desk.read(Some(never_held(1)));
    assert_eq!(asked(&mut desk), create(1));
    desk.give(Input::RecordWritten(RecordWritten::Conflict));
    assert!(desk.effects.contains(&Effect::ReadRecord), "{:#?}", desk.effects);
    desk.give(Input::RecordRead(found(1, 1, None)));
    desk.pass_seeing(&Some(never_held(1)), secs(15) + ms(1));
    assert_eq!(asked(&mut desk), replace(1, 2));
    desk.give(written(2));
    assert_eq!(said(&desk.write()), (Why::TakeFree, Some("db-0"), Some(id(0xa)), 2));
}

/// Found by the simulator: it was created, held and deleted between two looks that found none.
#[test]
fn where_there_is_no_lease_one_without_a_holder_is_created_and_its_version_shows_what_happens() {
    let mut desk = Desk::plain();
    desk.record = Some((7, Term(5)));
    desk.read(None);
    let place = desk.write();
    assert_eq!((said(&place), place.expected.clone()), ((Why::Place, None, None, 0), None));
    assert!(!place.why.is_stamped() && !place.why.is_new_leadership());
    let placed = Lease { version: Version("1".into()), renewed: None, body: place.body };
    desk.give(Input::LeaseWritten(WriteOutcome::Written(placed.clone())));
    desk.pass_seeing(&Some(placed), secs(14));
    desk.writes_nothing();
    // It looks the same, and is another one.
    desk.watch(Some(never_held(9)));
    desk.pass_seeing(&Some(never_held(9)), secs(15) - ms(1));
    desk.writes_nothing();
    desk.pass(ms(2));
    assert_eq!(said(&desk.write()), (Why::TakeFree, Some("db-0"), Some(id(0xa)), 6));
}

#[test]
fn a_reservation_ends_when_the_lease_changes() {
    let mut desk = Desk::plain();
    desk.answers_for_record = Answers::ByHand;
    desk.read(Some(without(lease(3, None, 4), annotation::CLUSTER_ID)));
    desk.pass(secs(3));
    desk.give(Input::RecordRead(found(9, 4, None)));
    desk.pass(secs(1));
    assert_eq!(asked(&mut desk).term, Term(5));
    // Cleared again meanwhile: somebody led, unseen, perhaps in term 5.
    desk.watch(Some(without(lease(7, None, 4), annotation::CLUSTER_ID)));
    desk.give(written(10));
    desk.writes_nothing();
    desk.pass(secs(2) + ms(1));
    assert_eq!(asked(&mut desk).term, Term(6), "5 may be another's by now");
}

#[test]
fn a_released_lease_is_taken_within_fifty_milliseconds() {
    let mut desk = Desk::plain();
    desk.record = Some((1, Term(5)));
    desk.read(Some(with(without(lease(3, None, 5), annotation::CLUSTER_ID), annotation::RELEASED, "5")));
    desk.pass(ms(50));
    let write = desk.write();
    assert_eq!(said(&write), (Why::TakeFree, Some("db-0"), Some(id(0xa)), 6));
    assert!(!write.body.annotations.contains_key(annotation::RELEASED), "who holds it has not let go");
}

#[test]
fn a_word_of_another_term_releases_nothing() {
    for word in ["4", "6", "", "05", "yes"] {
        let mut desk = Desk::plain();
        desk.record = Some((1, Term(5)));
        desk.read(Some(with(without(lease(3, None, 5), annotation::CLUSTER_ID), annotation::RELEASED, word)));
        desk.pass(secs(2) - ms(1));
        desk.writes_nothing();
        desk.pass(ms(2));
        assert_eq!(desk.write().why, Why::TakeFree);
    }
}

#[test]
fn a_word_below_a_term_that_was_seen_releases_nothing() {
    let mut desk = Desk::plain();
    desk.record = Some((1, Term(7)));
    desk.read(Some(without(lease(3, Some(("db-1", 0xb)), 7), annotation::CLUSTER_ID)));
    desk.watch(Some(with(without(lease(4, None, 5), annotation::CLUSTER_ID), annotation::RELEASED, "5")));
    desk.pass(secs(1));
    desk.writes_nothing();
}

#[test]
fn others_than_the_preferred_pod_leave_it_a_released_lease() {
    let mut desk = Desk::plain();
    desk.record = Some((1, Term(5)));
    let released = with(without(lease(3, None, 5), annotation::CLUSTER_ID), annotation::RELEASED, "5");
    desk.read(Some(with(released, annotation::PREFERRED_HOLDER, "db-2")));
    desk.pass(secs(4) - ms(1));
    desk.writes_nothing();
    desk.pass(ms(2));
    assert_eq!(desk.write().why, Why::TakeFree);
}
