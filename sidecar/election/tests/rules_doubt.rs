//! In any doubt no plain app leads: a Lease that went back in time, as out of a backup of the API server's data, and pods
//! whose durations differ, as during a rolling change.
#![allow(clippy::unwrap_used)]

mod desk;

use desk::*;
use leasehold_election::{App, Body, Config, Input, Lease, OldRole, PodRole, Term, Version, Why, annotation};

fn held(version: u64, by: (&str, u128), term: u64) -> Lease {
    without(lease(version, Some(by), term), annotation::CLUSTER_ID)
}

fn cleared(version: u64, term: u64) -> Lease {
    without(lease(version, None, term), annotation::CLUSTER_ID)
}

fn never_held(version: u64) -> Lease {
    Lease { version: Version(version.to_string()), renewed: None, body: Body::default() }
}

/// db-0 led in term 6, and db-1 leads in term 7.
fn led_before() -> Desk {
    let mut desk = Desk::plain();
    desk.record = Some((1, Term(5)));
    desk.read(Some(cleared(1, 5)));
    desk.pass(secs(2));
    let write = desk.write();
    desk.written(&write, 2);
    desk.leads(6);
    desk.watch(Some(held(30, ("db-1", 0xb), 7)));
    desk.follows("db-1", 7);
    desk.pass(secs(2));
    desk.effects.clear();
    desk
}

/// The watch is lost, and a look shows this.
fn look(desk: &mut Desk, shown: &Lease) {
    desk.give(Input::WatchLost);
    desk.pass(secs(5));
    assert_eq!(desk.reads(), 1);
    desk.read(Some(shown.clone()));
}

/// What db-1 wrote is forgotten, but db-1 may not know that before its next renewal.
#[test]
fn a_restored_lease_does_not_give_a_former_leader_its_leadership_back() {
    let mut desk = led_before();
    let restored = held(4, ("db-0", 0xa), 6);
    look(&mut desk, &restored);
    desk.writes_nothing();
    assert_eq!(desk.role().role, PodRole::Follower);
    desk.pass_seeing(&Some(restored), secs(15) - ms(1));
    desk.writes_nothing();
    desk.pass(ms(1));
    let write = desk.write();
    assert_eq!(said(&write), (Why::TakeExpired, Some("db-0"), Some(id(0xa)), 8));
    desk.written(&write, 5);
    desk.leads(8);
}

/// A third pod that saw term 7 as well raises the restored Lease's term: its stamp is new, and db-0 did not make it.
#[test]
fn a_restored_lease_whose_term_was_raised_gives_no_leadership_back_either() {
    let mut desk = led_before();
    look(&mut desk, &held(5, ("db-0", 0xa), 8));
    desk.writes_nothing();
    assert_eq!(desk.role().role, PodRole::Follower);
}

/// Clearing it would let the next pod take it after two lost-times, while db-1 leads.
#[test]
fn a_restored_lease_is_not_let_go_of_by_a_former_leader() {
    let mut desk = led_before();
    look(&mut desk, &held(4, ("db-0", 0xa), 6));
    desk.give(Input::Stop);
    desk.writes_nothing();
}

/// Found by the simulator: db-0's sidecar restarted while it led in term 3, and db-1 has led in term 5 since.
#[test]
fn a_restored_lease_does_not_give_the_run_before_its_leadership_back() {
    for raised in [3, 8] {
        let old = OldRole { own_claim: Some(id(0xd)), ..Desk::old_role(3, false).unwrap() };
        let app = App::Plain { incarnation: id(0xa), exec: false };
        let mut desk = Desk::with_config(Config { old_role: Some(old), ..config(app) });
        desk.read(Some(held(20, ("db-1", 0xb), 5)));
        desk.pass(secs(2));
        desk.effects.clear();
        let restored = held(4, ("db-0", 0xd), raised);
        look(&mut desk, &restored);
        assert!(desk.writes().iter().all(|write| write.why == Why::Raise), "{:#?}", desk.effects);
        assert_eq!(desk.role().role, PodRole::Follower);
    }
}

/// It restarted within its leadership, and the Lease was restored before it began to look.
#[test]
fn a_lease_below_the_term_of_the_role_that_a_run_finds_is_not_taken_back() {
    let old = OldRole { own_claim: Some(id(0xd)), ..Desk::old_role(6, false).unwrap() };
    let app = App::Plain { incarnation: id(0xa), exec: false };
    let mut desk = Desk::with_config(Config { old_role: Some(old), ..config(app) });
    desk.answers_for_record = Answers::ByHand;
    desk.read(Some(held(4, ("db-0", 0xd), 3)));
    desk.writes_nothing();
    desk.watch(Some(held(5, ("db-0", 0xd), 7)));
    desk.writes_nothing();
}

#[test]
fn a_cleared_lease_below_a_term_that_was_seen_is_waited_for_a_whole_duration() {
    let mut desk = led_before();
    let restored = with(cleared(4, 5), annotation::RELEASED, "5");
    look(&mut desk, &restored);
    desk.pass_seeing(&Some(restored), secs(15) - ms(1));
    desk.writes_nothing();
    desk.pass(ms(1));
    assert_eq!(said(&desk.write()), (Why::TakeFree, Some("db-0"), Some(id(0xa)), 8));
}

/// Found by the simulator: in doubt it took the Lease sooner than without, as two lost-times were longer than the duration.
#[test]
fn a_doubtful_clear_is_waited_for_no_shorter_than_any_other() {
    let app = App::Plain { incarnation: id(0xa), exec: false };
    let mut desk = Desk::with_config(Config { lost_time: secs(10), ..config(app) });
    desk.read(Some(held(3, ("db-1", 0xb), 7)));
    desk.watch(Some(cleared(4, 5)));
    desk.pass_seeing(&Some(cleared(4, 5)), secs(20) - ms(1));
    desk.writes_nothing();
    desk.pass(ms(1));
    assert_eq!(desk.write().why, Why::TakeFree);
}

/// Somebody deleted the Lease and the record of terms, and applied the Lease anew. Who saw a term knows better.
#[test]
fn whoever_saw_a_term_does_not_take_a_lease_at_once_that_looks_new() {
    let old_role = Desk::old_role(7, false);
    let app = App::Plain { incarnation: id(0xa), exec: false };
    let mut desk = Desk::with_config(Config { old_role, ..config(app) });
    desk.read(Some(never_held(40)));
    desk.pass_seeing(&Some(never_held(40)), secs(15) - ms(1));
    desk.writes_nothing();
    desk.pass(ms(1));
    assert_eq!(said(&desk.write()), (Why::TakeFree, Some("db-0"), Some(id(0xa)), 8));
}

/// db-1 still runs with 60 s, and its watch is deaf: its claim is good for two thirds of that.
#[test]
fn a_deleted_lease_is_waited_for_as_long_as_its_last_holders_duration() {
    let mut longer = held(3, ("db-1", 0xb), 7);
    longer.body.duration_seconds = Some(60);
    let mut desk = Desk::plain();
    desk.read(Some(longer));
    desk.watch(None);
    let place = desk.write();
    assert_eq!(place.why, Why::Place);
    let placed = desk.written(&place, 9);
    desk.pass_seeing(&Some(placed), secs(60) - ms(1));
    desk.writes_nothing();
    desk.pass(ms(1));
    assert_eq!(desk.write().why, Why::TakeFree);
}

/// Likewise the holder that was scaled away, or was edited: its sidecar may not know.
#[test]
fn a_holder_that_counts_as_none_is_waited_for_as_long_as_its_own_duration() {
    let mut longer = held(3, ("db-7", 0xb), 7);
    longer.body.duration_seconds = Some(60);
    let mut desk = Desk::plain();
    desk.read(Some(longer.clone()));
    desk.pass_seeing(&Some(longer), secs(60) - ms(1));
    desk.writes_nothing();
    desk.pass(ms(1));
    assert_eq!(desk.write().why, Why::TakeFree);
}

/// Found by the simulator. The Lease of db-1, which runs with 60 s, went back to one of db-2 with 15 s; or db-2 took it, when db-1
/// could lead no more: nothing tells the two apart.
#[test]
fn a_holder_with_a_shorter_duration_is_waited_for_as_long_as_the_one_before_it() {
    let mut longer = held(3, ("db-1", 0xb), 7);
    longer.body.duration_seconds = Some(60);
    let mut desk = Desk::plain();
    desk.read(Some(longer.clone()));
    desk.effects.clear();
    let shorter = held(2, ("db-2", 0xc), 8);
    look(&mut desk, &shorter);
    desk.pass_seeing(&Some(shorter.clone()), secs(60) - ms(1));
    desk.writes_nothing();
    desk.pass(ms(1));
    assert_eq!(desk.write().why, Why::TakeExpired);

    // A minute of renewals later it is the holder's own duration that counts.
    let mut desk = Desk::plain();
    desk.read(Some(longer));
    for version in 4..20 {
        desk.watch(Some(held(version, ("db-2", 0xc), 8)));
        desk.pass(secs(5));
    }
    desk.effects.clear();
    desk.pass_seeing(&Some(held(19, ("db-2", 0xc), 8)), secs(10) - ms(1));
    desk.writes_nothing();
    desk.pass(ms(1));
    assert_eq!(desk.write().why, Why::TakeExpired);
}

/// db-0 saw term 5, of a holder with its own 15 s. While its watch was deaf, db-1 led in term 6 with 60 s, and somebody deleted the
/// Lease. So db-0's record is of term 5; the present one is of term 6, and has the 60 s.
fn deaf() -> Desk {
    let mut desk = Desk::plain();
    (desk.record, desk.record_seconds) = (Some((5, Term(5))), Some(15));
    desk.read(Some(held(3, ("db-2", 0xc), 5)));
    desk.pass(secs(1));
    (desk.record, desk.record_seconds) = (Some((6, Term(6))), Some(60));
    desk.effects.clear();
    desk
}

/// Found by the simulator.
#[test]
fn a_lease_that_looks_new_is_waited_for_as_long_as_the_duration_in_the_record() {
    let mut desk = deaf();
    desk.watch(Some(never_held(40)));
    desk.pass_seeing(&Some(never_held(40)), secs(60) - ms(1));
    desk.writes_nothing();
    desk.pass(ms(1));
    assert_eq!(said(&desk.write()), (Why::TakeFree, Some("db-0"), Some(id(0xa)), 7));
}

#[test]
fn so_is_one_that_is_missing() {
    let mut desk = deaf();
    desk.watch(None);
    let place = desk.write();
    let placed = desk.written(&place, 41);
    desk.pass_seeing(&Some(placed), secs(60) - ms(1));
    desk.writes_nothing();
    desk.pass(ms(1));
    assert_eq!(said(&desk.write()), (Why::TakeFree, Some("db-0"), Some(id(0xa)), 7));
}

/// db-0 knows that this one went back in time.
#[test]
fn so_is_a_cleared_one_below_a_term_that_was_seen() {
    let mut desk = deaf();
    let restored = with(cleared(40, 4), annotation::RELEASED, "4");
    desk.watch(Some(restored.clone()));
    desk.pass_seeing(&Some(restored), secs(60) - ms(1));
    desk.writes_nothing();
    desk.pass(ms(1));
    assert_eq!(said(&desk.write()), (Why::TakeFree, Some("db-0"), Some(id(0xa)), 7));
}

/// The Lease says whose claim it is, and for how long. The record's term says nothing: whoever wrote it may have lost the race.
#[test]
fn the_duration_in_the_record_does_not_delay_a_take_over_from_a_holder_that_is_seen() {
    let mut desk = deaf();
    let present = held(40, ("db-2", 0xc), 5);
    desk.watch(Some(present.clone()));
    desk.pass_seeing(&Some(present), secs(15) - ms(1));
    desk.writes_nothing();
    desk.pass(ms(1));
    assert_eq!(said(&desk.write()), (Why::TakeExpired, Some("db-0"), Some(id(0xa)), 7));

    let mut desk = deaf();
    let released = with(cleared(40, 5), annotation::RELEASED, "5");
    desk.watch(Some(released));
    desk.pass(ms(50));
    assert_eq!(said(&desk.write()), (Why::TakeFree, Some("db-0"), Some(id(0xa)), 7));
}

/// Whoever wrote it last may lose the race for the Lease.
#[test]
fn the_record_keeps_the_longest_duration_of_those_who_wrote_it() {
    for (found, kept) in [(None, 15), (Some(5), 15), (Some(15), 15), (Some(60), 60), (Some(u32::MAX), 3600)] {
        let mut desk = Desk::plain();
        (desk.record, desk.record_seconds) = (Some((5, Term(5))), found);
        desk.read(Some(cleared(3, 5)));
        desk.pass(secs(2));
        desk.write();
        assert_eq!((desk.record, desk.record_seconds), (Some((6, Term(6))), Some(kept)));
    }
}
