//! The rules, for a plain app: each test is a sentence of docs/design.md.
#![allow(clippy::unwrap_used)]

mod desk;

use desk::*;
use leasehold_election::{
    App, Config, Effect, Event, Input, Lease, OldRole, PodRole, Term, Version, Why, WriteOutcome, annotation,
};

/// db-0 holds the Lease and leads.
fn leader() -> Desk {
    let mut desk = Desk::plain();
    desk.read(Some(lease(1, None, 6)));
    desk.pass(secs(2));
    let write = desk.write();
    desk.written(&write, 2);
    desk.leads(7);
    desk.effects.clear();
    desk
}

/// Answers each GET with this Lease, for that time.
fn pass_reading(desk: &mut Desk, time: std::time::Duration, seen: &Option<leasehold_election::Lease>) {
    let end = desk.now + time;
    loop {
        while desk.reads() > 0 {
            desk.read(seen.clone());
        }
        match desk.election.deadline().filter(|at| *at <= end) {
            Some(at) => {
                desk.now = at;
                desk.give(Input::Wake);
            }
            None => break,
        }
    }
    desk.now = end;
}

#[test]
fn a_starting_sidecar_of_a_plain_app_writes_follower_first() {
    let desk = Desk::plain();
    assert_eq!(desk.role().role, PodRole::Follower);
    let Some(Effect::PublishRole(first)) = desk.effects.iter().find(|e| matches!(e, Effect::PublishRole(_))) else {
        panic!("nothing was published")
    };
    assert_eq!(first.role, PodRole::Follower);
}

#[test]
fn a_cleared_holder_is_waited_for_two_lost_times() {
    let mut desk = Desk::plain();
    desk.read(Some(lease(1, None, 6)));
    desk.pass(ms(1_999));
    desk.writes_nothing();
    desk.pass(ms(1));
    let write = desk.write();
    assert_eq!(said(&write), (Why::TakeFree, Some("db-0"), Some(id(0xa)), 7));
    let began = desk.now;
    desk.pass(ms(30));
    desk.written(&write, 2);
    desk.leads(7);
    assert_eq!(desk.role().valid_until, Some(began + DURATION));
    assert!(desk.effects.iter().any(|effect| matches!(effect, Effect::UpdateEndpoints { term: Term(7), .. })));
}

#[test]
fn a_lease_that_is_gone_is_waited_for_a_whole_duration() {
    let mut desk = Desk::plain();
    desk.effects.clear();
    desk.record = Some((1, Term(3)));
    desk.read(None);
    let place = desk.write();
    assert_eq!(place.why, Why::Place);
    let placed = desk.written(&place, 1);
    pass_reading(&mut desk, ms(14_999), &Some(placed));
    desk.writes_nothing();
    desk.pass(ms(1));
    let write = desk.write();
    assert_eq!(said(&write), (Why::TakeFree, Some("db-0"), Some(id(0xa)), 4));
}

#[test]
fn a_holder_that_counts_as_none_and_renews_may_not_know_it_and_is_waited_for_from_its_last_renewal() {
    let held = |version| Some(lease(version, Some(("db-7", 0xf)), 6));
    let mut desk = Desk::plain();
    desk.give(Input::MembersSeen(members(3)));
    desk.read(held(1));
    for version in 2..=20 {
        desk.pass(ms(2_499));
        desk.watch(held(version));
    }
    desk.effects.clear();
    pass_reading(&mut desk, ms(14_999), &held(20));
    desk.writes_nothing();
    desk.pass(ms(1));
    assert_eq!(said(&desk.write()), (Why::TakeFree, Some("db-0"), Some(id(0xa)), 7));
}

#[test]
fn a_lease_that_expired_by_our_own_observation_is_taken() {
    let held = Some(lease(1, Some(("db-1", 0xb)), 6));
    let mut desk = Desk::plain();
    desk.effects.clear();
    desk.read(held.clone());
    desk.follows("db-1", 6);
    pass_reading(&mut desk, ms(14_999), &held);
    desk.writes_nothing();
    desk.pass(ms(1));
    assert_eq!(said(&desk.write()), (Why::TakeExpired, Some("db-0"), Some(id(0xa)), 7));
}

#[test]
fn a_lease_that_changes_does_not_expire() {
    let mut desk = Desk::plain();
    desk.read(Some(lease(1, Some(("db-1", 0xb)), 6)));
    for version in 2..40 {
        desk.pass(secs(5));
        desk.watch(Some(lease(version, Some(("db-1", 0xb)), 6)));
    }
    desk.writes_nothing();
    assert!(!desk.effects.contains(&Effect::ReadLease), "none but the watch");
}

#[test]
fn an_edit_that_renews_nothing_does_not_put_off_the_expiry() {
    let mut held = lease(1, Some(("db-1", 0xb)), 6);
    let mut desk = Desk::plain();
    desk.read(Some(held.clone()));
    for version in 2..8 {
        desk.pass(secs(2));
        held.version.0 = version.to_string();
        held = with(held, "example.com/note", &version.to_string());
        desk.watch(Some(held.clone()));
    }
    desk.writes_nothing();
    desk.pass(secs(3));
    assert_eq!(desk.write().why, Why::TakeExpired);
}

#[test]
fn after_an_api_outage_the_holder_gets_a_full_duration_to_renew() {
    let held = Some(lease(1, Some(("db-1", 0xb)), 6));
    let mut desk = Desk::plain();
    desk.effects.clear();
    desk.read(held.clone());
    desk.pass_without_api(secs(600));
    desk.watch(held.clone());
    pass_reading(&mut desk, ms(14_999), &held);
    desk.writes_nothing();
    pass_reading(&mut desk, secs(8), &held);
    assert_eq!(desk.write().why, Why::TakeExpired);
}

#[test]
fn a_sidecar_that_stood_still_gives_the_holder_a_full_duration() {
    let held = Some(lease(1, Some(("db-1", 0xb)), 6));
    let mut desk = Desk::plain();
    desk.effects.clear();
    desk.read(held.clone());
    desk.now += secs(3600);
    desk.give(Input::Wake);
    desk.writes_nothing_but_reads();
    desk.read(held.clone());
    pass_reading(&mut desk, ms(14_999), &held);
    desk.writes_nothing();
}

#[test]
fn a_plain_app_never_leads_off_the_lease() {
    let mut desk = Desk::plain();
    desk.read(Some(lease(1, Some(("db-1", 0xb)), 6)));
    desk.pass_without_api(secs(3600));
    assert_ne!(desk.role().role, PodRole::Leader);
}

#[test]
fn a_plain_app_is_follower_when_the_lease_could_not_be_renewed_for_two_thirds_of_the_duration() {
    let mut desk = leader();
    desk.pass_without_api(ms(9_999));
    desk.leads(7);
    desk.pass_without_api(ms(1));
    assert_eq!((desk.role().role, &desk.role().leader), (PodRole::Follower, &None));
    assert!(desk.told(&Event::Lapsed { term: Term(7) }));
}

#[test]
fn a_holder_that_comes_back_after_an_outage_before_anybody_took_the_lease_leads_on() {
    let mut desk = leader();
    desk.pass_without_api(secs(60));
    assert_eq!(desk.role().role, PodRole::Follower);
    let seen = desk.election.lease().flatten().cloned();
    desk.effects.clear();
    pass_reading(&mut desk, secs(3), &seen);
    desk.watch(seen.clone());
    while desk.writes().is_empty() {
        pass_reading(&mut desk, ms(100), &seen);
    }
    let write = desk.write();
    assert_eq!(said(&write), (Why::Renew, Some("db-0"), Some(id(0xa)), 7));
    desk.written(&write, 3);
    desk.leads(7);
}

#[test]
fn the_leader_writes_a_deleted_lease_again_at_once_with_its_own_term() {
    let mut desk = leader();
    desk.watch(None);
    desk.leads(7);
    assert_eq!(said(&desk.write()), (Why::Restore, Some("db-0"), Some(id(0xa)), 7));
}

/// db-0's sidecar, started again in a pod where role.json names 0xdead as the leader on this pod.
fn restarted() -> Desk {
    let old_role = OldRole { own_claim: Some(id(0xdead)), ..Desk::old_role(6, false).unwrap() };
    let mut desk = Desk::with_config(Config {
        old_role: Some(old_role),
        ..config(App::Plain { incarnation: id(0xa), exec: false })
    });
    desk.give(Input::MembersSeen(members(3)));
    desk
}

#[test]
fn a_lease_of_an_earlier_run_that_role_json_names_is_taken_back_at_once() {
    let mut desk = restarted();
    desk.read(Some(lease(1, Some(("db-0", 0xdead)), 6)));
    assert_eq!(desk.role().role, PodRole::Follower);
    assert_eq!(said(&desk.write()), (Why::TakeBack, Some("db-0"), Some(id(0xa)), 7));
}

/// A4: the pod of this name before was deleted by force, runs on, and leads.
#[test]
fn a_lease_of_a_namesake_is_left_to_it_while_it_renews() {
    for mut desk in [Desk::plain(), restarted()] {
        desk.read(Some(lease(1, Some(("db-0", 0xf)), 6)));
        for version in 2..20 {
            desk.pass(secs(5));
            desk.watch(Some(lease(version, Some(("db-0", 0xf)), 6)));
            assert_eq!((desk.role().role, &desk.role().leader), (PodRole::Follower, &None));
        }
        desk.writes_nothing();
    }
}

#[test]
fn a_lease_of_a_namesake_is_taken_when_it_expired_or_was_cleared() {
    let held = Some(lease(1, Some(("db-0", 0xf)), 6));
    let mut desk = Desk::plain();
    desk.effects.clear();
    desk.read(held.clone());
    pass_reading(&mut desk, ms(14_999), &held);
    desk.writes_nothing();
    desk.pass(ms(1));
    assert_eq!(said(&desk.write()), (Why::TakeExpired, Some("db-0"), Some(id(0xa)), 7));

    let mut desk = Desk::plain();
    desk.read(held);
    desk.watch(Some(lease(2, None, 6)));
    desk.pass(ms(1_999));
    desk.writes_nothing();
    desk.pass(ms(1));
    assert_eq!(said(&desk.write()), (Why::TakeFree, Some("db-0"), Some(id(0xa)), 7));
}

/// A4, the other way round: a sidecar that ends does not clear what a namesake holds.
#[test]
fn a_sidecar_that_ends_does_not_let_go_of_what_a_namesake_holds() {
    let mut desk = Desk::plain();
    desk.read(Some(lease(1, Some(("db-0", 0xf)), 6)));
    desk.give(Input::Stop);
    assert!(desk.writes().is_empty(), "{:#?}", desk.effects);
    assert!(desk.effects.contains(&Effect::Stopped));

    let mut desk = restarted();
    desk.read(Some(lease(1, Some(("db-0", 0xdead)), 6)));
    desk.effects.clear();
    desk.give(Input::LeaseWritten(WriteOutcome::Refused));
    desk.give(Input::Stop);
    desk.read(Some(lease(1, Some(("db-0", 0xdead)), 6)));
    desk.pass(secs(1));
    assert_eq!(desk.write().why, Why::Clear, "the run that role.json names is over");
}

/// A3: the first clear was seen; a whole leadership after it was not.
#[test]
fn each_clear_is_waited_for_anew() {
    for second in [lease(9, None, 7), Lease { renewed: Some("stamp 9".into()), ..lease(9, None, 6) }] {
        let mut desk = Desk::plain();
        desk.read(Some(lease(1, None, 6)));
        desk.pass(ms(1_900));
        desk.watch(Some(second.clone()));
        desk.pass(ms(1_999));
        desk.writes_nothing();
        desk.pass(ms(1));
        assert_eq!(desk.write().why, Why::TakeFree);
    }
}

#[test]
fn an_edit_of_a_cleared_lease_that_renews_nothing_does_not_put_off_the_take() {
    let mut desk = Desk::plain();
    let cleared = lease(1, None, 6);
    desk.read(Some(cleared.clone()));
    desk.pass(ms(1_900));
    desk.watch(Some(Lease { version: Version("2".into()), ..with(cleared, "example.com/note", "x") }));
    desk.pass(ms(100));
    assert_eq!(desk.write().why, Why::TakeFree);
}

/// db-0 led, was asked to hand over to db-1, and has sent the clear; now the request is gone.
fn cleared_and_no_longer_asked(outcome: Option<WriteOutcome>, seen: leasehold_election::Lease) -> Desk {
    let mut desk = leader();
    let held = desk.election.lease().unwrap().unwrap().clone();
    desk.watch(Some(Lease { version: Version("3".into()), ..with(held, annotation::PREFERRED_HOLDER, "db-1") }));
    let clear = desk.write();
    assert_eq!(clear.why, Why::Clear);
    match outcome {
        None => drop(desk.written(&clear, 4)),
        Some(outcome) => {
            desk.give(Input::LeaseWritten(outcome));
            assert_eq!(desk.reads(), 1);
            desk.read(Some(seen.clone()));
        }
    }
    desk.watch(Some(seen));
    desk
}

/// A2: the watch is deaf, and another pod leads by now.
#[test]
fn a_leadership_ends_when_its_clear_is_sent_whatever_becomes_of_that() {
    let cleared = || lease(5, None, 7);
    for outcome in [None, Some(WriteOutcome::Unknown), Some(WriteOutcome::Conflict), Some(WriteOutcome::Refused)] {
        let desk = cleared_and_no_longer_asked(outcome.clone(), cleared());
        assert_eq!((desk.role().role, &desk.role().leader), (PodRole::None, &None), "{outcome:?}");
    }
}

#[test]
fn after_a_clear_that_was_lost_a_confirmed_renewal_begins_the_leadership_again() {
    let held = Lease { renewed: Some("stamp 2".into()), ..lease(5, Some(("db-0", 0xa)), 7) };
    let mut desk = cleared_and_no_longer_asked(Some(WriteOutcome::Unknown), held);
    assert_eq!(desk.role().role, PodRole::Follower);
    desk.pass(secs(1));
    let write = desk.write();
    assert_eq!(said(&write), (Why::Renew, Some("db-0"), Some(id(0xa)), 7));
    assert_eq!(desk.role().role, PodRole::Follower);
    desk.written(&write, 6);
    desk.leads(7);
}

#[test]
fn paused_stops_the_take_over_of_an_expired_lease() {
    let held = Some(with(lease(1, Some(("db-1", 0xb)), 6), annotation::PAUSED, "true"));
    let mut desk = Desk::plain();
    desk.effects.clear();
    desk.read(held.clone());
    pass_reading(&mut desk, secs(60), &held);
    assert!(desk.told(&Event::WaitsForResume));
    desk.writes_nothing();
}

#[test]
fn sigterm_writes_follower_then_clears_the_holder_then_stops() {
    let mut desk = leader();
    desk.give(Input::Stop);
    let follower = desk.effects.iter().position(|e| matches!(e, Effect::PublishRole(v) if v.role == PodRole::Follower));
    let clear = desk.effects.iter().position(|e| matches!(e, Effect::WriteLease(w) if w.why == Why::Clear));
    assert!(follower.unwrap() < clear.unwrap(), "{:#?}", desk.effects);
    let write = desk.write();
    desk.written(&write, 3);
    assert!(desk.effects.contains(&Effect::Stopped));
}

#[test]
fn sigterm_with_the_api_gone_stops_after_five_lost_times() {
    let mut desk = leader();
    desk.give(Input::Stop);
    desk.pass_without_api(ms(4_000));
    assert!(!desk.effects.contains(&Effect::Stopped));
    desk.pass_without_api(ms(1_000));
    assert!(desk.effects.contains(&Effect::Stopped));
}

#[test]
fn a_switchover_clears_the_holder_and_the_asked_pod_goes_first() {
    let mut desk = leader();
    let asked = with(desk.election.lease().unwrap().unwrap().clone(), annotation::PREFERRED_HOLDER, "db-1");
    let asked = leasehold_election::Lease { version: leasehold_election::Version("3".into()), ..asked };
    desk.watch(Some(asked));
    assert_eq!(desk.role().role, PodRole::Follower);
    let write = desk.write();
    assert_eq!((write.why, write.body.preferred_holder()), (Why::Clear, Some("db-1")));
    desk.written(&write, 4);
    desk.effects.clear();
    desk.pass(ms(3_999));
    desk.writes_nothing();
    desk.pass(ms(1));
    let write = desk.write();
    assert_eq!((write.why, write.body.preferred_holder()), (Why::TakeFree, None));
    desk.written(&write, 5);
    assert!(desk.told(&Event::SwitchoverGivenUp { to: "db-1".into() }));

    let mut other = Desk::plain();
    other.read(Some(with(lease(4, None, 7), annotation::PREFERRED_HOLDER, "db-0")));
    other.pass(secs(2));
    let write = other.write();
    assert_eq!((write.why, write.body.preferred_holder()), (Why::TakeFree, None));
    other.written(&write, 5);
    assert!(other.told(&Event::SwitchoverDone { to: "db-0".into() }));
}

#[test]
fn a_leader_whose_pod_is_no_longer_wanted_steps_down_clears_the_lease_and_takes_nothing() {
    let mut desk = leader();
    desk.give(Input::MembersSeen(Some(members(3).unwrap().split_off(1))));
    assert_eq!(desk.role().role, PodRole::Follower);
    let write = desk.write();
    assert_eq!(said(&write), (Why::Clear, None, None, 7));
    desk.written(&write, 3);
    desk.pass(secs(60));
    desk.writes_nothing();
}

#[test]
fn a_pod_that_is_not_wanted_leaves_the_leadership_of_its_namesake_alone() {
    let mut desk = Desk::plain();
    desk.give(Input::MembersSeen(Some(members(3).unwrap().split_off(1))));
    desk.read(Some(lease(1, Some(("db-0", 0xf)), 6)));
    desk.pass(secs(60));
    desk.writes_nothing();
}

#[test]
fn a_lease_below_a_term_that_was_seen_is_raised_for_the_same_holder() {
    let mut desk = Desk::plain();
    desk.read(Some(lease(1, Some(("db-1", 0xb)), 6)));
    desk.watch(Some(lease(2, Some(("db-2", 0xc)), 1)));
    let write = desk.write();
    assert_eq!(said(&write), (Why::Raise, Some("db-2"), Some(id(0xc)), 7));
    desk.written(&write, 3);
    desk.follows("db-2", 7);
}

#[test]
fn a_term_that_turns_out_to_have_been_an_edit_by_hand_is_forgotten() {
    let mut desk = Desk::plain();
    desk.read(Some(lease(1, Some(("db-1", 0xb)), 2_147_483_647)));
    desk.watch(Some(lease(2, Some(("db-1", 0xb)), 8)));
    desk.follows("db-1", 8);
    desk.writes_nothing();
}

#[test]
fn a_leadership_that_was_lost_and_given_back_by_hand_begins_only_when_that_expired() {
    let mut desk = leader();
    desk.watch(Some(lease(3, Some(("db-1", 0xb)), 8)));
    desk.follows("db-1", 8);
    desk.watch(Some(lease(4, Some(("db-0", 0xa)), 9)));
    assert_eq!(desk.role().role, PodRole::Follower);
    desk.writes_nothing();
    pass_reading(&mut desk, secs(15), &Some(lease(4, Some(("db-0", 0xa)), 9)));
    let write = desk.write();
    assert_eq!(said(&write), (Why::TakeExpired, Some("db-0"), Some(id(0xa)), 10));
    desk.written(&write, 5);
    desk.leads(10);
}

#[test]
fn whoever_no_longer_leads_leaves_the_service_of_the_leader_alone() {
    let mut desk = leader();
    desk.watch(Some(lease(3, Some(("db-1", 0xb)), 8)));
    assert!(desk.effects.contains(&Effect::LeaveEndpoints));
    desk.effects.clear();
    desk.watch(Some(lease(4, None, 8)));
    pass_reading(&mut desk, secs(2), &Some(lease(4, None, 8)));
    let write = desk.write();
    desk.written(&write, 5);
    assert!(!desk.effects.contains(&Effect::LeaveEndpoints));
    assert!(desk.effects.iter().any(|effect| matches!(effect, Effect::UpdateEndpoints { term: Term(9), .. })));
    desk.effects.clear();
    desk.give(Input::Stop);
    assert!(desk.effects.contains(&Effect::LeaveEndpoints));
}

#[test]
fn a_lost_renewal_race_with_a_new_holder_ends_the_leadership() {
    let mut desk = leader();
    desk.pass(secs(5));
    assert_eq!(desk.write().why, Why::Renew);
    desk.give(Input::LeaseWritten(WriteOutcome::Conflict));
    desk.read(Some(lease(9, Some(("db-1", 0xb)), 8)));
    desk.follows("db-1", 8);
    desk.writes_nothing();
}

/// Found by the simulator: the API server was away, somebody annotated the Lease, and another pod took it within the holder's pause.
#[test]
fn a_holder_whose_renewal_got_no_answer_renews_at_once_after_the_conflict_with_an_edit() {
    let mut desk = leader();
    desk.pass(secs(5));
    assert_eq!(desk.write().why, Why::Renew);
    desk.give(Input::LeaseWritten(WriteOutcome::Refused));
    desk.pass(secs(1));
    assert_eq!(desk.write().why, Why::Renew);
    desk.give(Input::LeaseWritten(WriteOutcome::Conflict));
    let seen = desk.election.lease().flatten().cloned().unwrap();
    let edited = with(Lease { version: Version("9".into()), ..seen }, "example.com/note", "x");
    desk.read(Some(edited.clone()));
    assert_eq!(desk.write().why, Why::Renew);
    // One that repeats is a race.
    desk.give(Input::LeaseWritten(WriteOutcome::Conflict));
    desk.read(Some(Lease { version: Version("10".into()), ..edited }));
    desk.writes_nothing();
}

impl Desk {
    #[track_caller]
    fn writes_nothing_but_reads(&mut self) {
        assert!(self.writes().is_empty(), "{:#?}", self.effects);
        assert_eq!(self.reads(), 1);
        self.effects.clear();
    }
}

/// Found by the simulator: two answers were further apart than what counts as a gap, so no wait ever ended.
#[test]
fn a_free_lease_is_taken_also_where_the_lost_time_is_nearly_the_duration() {
    use leasehold_election::{App, Body, Config, Election, Lease, ReadOutcome, RecordWritten, Version};
    let placed = Lease { version: Version("1".into()), renewed: None, body: Body::default() };
    let app = App::Plain { incarnation: id(0xa), exec: false };
    let mut election = Election::new(Config { duration: secs(15), lost_time: secs(14), ..config(app) });
    let (mut now, mut effects) = (secs(0), election.step(secs(0), Input::Wake));
    while now < secs(120) {
        for effect in std::mem::take(&mut effects) {
            match effect {
                Effect::ReadLease => {
                    effects.extend(election.step(now, Input::LeaseRead(ReadOutcome::Found(placed.clone()))))
                }
                Effect::WriteRecord(_) => {
                    effects.extend(election.step(now, Input::RecordWritten(RecordWritten::Denied)));
                }
                Effect::WriteLease(write) => return assert_eq!(write.why, Why::TakeFree),
                _ => {}
            }
        }
        if effects.is_empty() {
            now = election.deadline().expect("there is something to wait for").max(now + ms(1));
            effects.extend(election.step(now, Input::Wake));
        }
    }
    panic!("nobody takes the Lease");
}
