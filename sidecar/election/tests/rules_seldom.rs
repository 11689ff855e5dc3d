//! What hardly ever happens: a restart while leading off the Lease, another cluster's Lease, the end of the terms, inputs
//! that a correct shell does not give. No simulated run gets here by itself, so each has its own test here.
#![allow(clippy::unwrap_used)]

mod desk;

use desk::*;
use leasehold_election::{
    App, AppState, AppStatus, Effect, Event, HandOver, Input, Lease, OldRole, PodRole, Term, Version, Why,
    WriteOutcome, annotation,
};

/// A sidecar that restarts without an API server, and finds a role.json that named this run leader off the Lease.
fn restarted_off_lease(term: u64, incarnation: u128) -> Desk {
    let mut config = config(App::Fencing);
    config.old_role = Some(OldRole {
        term: Term(term),
        paused: false,
        off_lease: Some(id(incarnation)),
        own_claim: None,
        leads_for: None,
    });
    let mut desk = Desk::with_config(config);
    desk.give(Input::MembersSeen(members(3)));
    desk.read_fails();
    desk
}

#[test]
fn a_restarted_sidecar_goes_on_with_the_claim_that_it_had_made_off_the_lease() {
    let mut desk = restarted_off_lease(9, 0xa);
    desk.app(campaigning(7, 0xb, "db-1"));
    desk.leads(9);
    assert!(desk.role().off_lease);
    // It makes no second one, and writes that very term when the API server is back.
    desk.pass_without_api(secs(60));
    desk.leads(9);
    desk.app(AppStatus { campaign: None, ..leading(9) });
    desk.effects.clear();
    desk.watch(Some(lease(1, Some(("db-1", 0xb)), 7)));
    desk.pass(ms(2_500));
    assert_eq!(said(&desk.write()), (Why::Restore, Some("db-0"), Some(id(0xa)), 9));
}

#[test]
fn a_claim_off_the_lease_of_an_earlier_run_of_the_app_is_not_gone_on_with() {
    let mut desk = restarted_off_lease(9, 0xd);
    desk.app(following(7, 0xb, "db-1"));
    desk.pass_without_api(secs(2));
    assert_ne!(desk.election.role().map(|role| role.role), Some(PodRole::Leader));
    assert!(desk.election.role().is_none_or(|role| !role.off_lease));
}

fn foreign(version: u64) -> Lease {
    with(lease(version, Some(("db-1", 0xb)), 7), annotation::CLUSTER_ID, &id(0xf0).to_string())
}

#[test]
fn a_claim_off_the_lease_ends_when_the_lease_turns_out_to_be_another_clusters() {
    let mut desk = restarted_off_lease(9, 0xa);
    desk.app(campaigning(7, 0xb, "db-1"));
    desk.leads(9);
    desk.effects.clear();
    desk.watch(Some(foreign(1)));
    assert!(!desk.role().off_lease && desk.role().role != PodRole::Leader, "{:#?}", desk.role());
    desk.pass_without_api(secs(60));
    assert!(!desk.role().off_lease && desk.role().role != PodRole::Leader, "{:#?}", desk.role());
    desk.writes_nothing();
}

#[test]
fn while_the_lease_is_another_clusters_nobody_is_named_leader_off_it() {
    let mut desk = Desk::seeing(Some(foreign(1)), campaigning(7, 0xb, "db-1"));
    desk.effects.clear();
    desk.pass_without_api(secs(60));
    assert!(!desk.role().off_lease && desk.role().role != PodRole::Leader, "{:#?}", desk.role());
    desk.writes_nothing();
}

#[test]
fn an_edit_by_hand_that_stands_in_the_old_role_file_does_not_hide_the_leader() {
    let mut config = config(App::Fencing);
    config.old_role = Desk::old_role(2_147_483_647, false);
    let mut desk = Desk::with_config(config);
    desk.give(Input::MembersSeen(members(3)));
    desk.read(Some(lease(1, Some(("db-1", 0xb)), 7)));
    desk.app(following(7, 0xb, "db-1"));
    desk.follows("db-1", 7);
}

#[test]
fn an_app_that_says_it_hands_over_what_it_does_not_lead_moves_no_lease() {
    let hand_over = Some(HandOver { to: Some("db-2".into()), incarnation: Some(id(0xc)) });
    let app = AppStatus { hand_over, ..following(7, 0xb, "db-1") };
    for seen in [None, Some(lease(1, None, 7)), Some(lease(1, Some(("db-1", 0xb)), 7))] {
        let mut desk = Desk::seeing(seen, app.clone());
        desk.pass(secs(9));
        desk.writes_nothing();
    }
}

// The last term.

#[test]
fn at_the_last_term_nothing_is_handed_over_and_it_is_said() {
    let top = Term::MAX.0;
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-0", 0xa)), top)), leading(top));
    let write = desk.write();
    assert_eq!(write.why, Why::Renew);
    desk.written(&write, 2);
    desk.effects.clear();
    let hand_over = Some(HandOver { to: Some("db-1".into()), incarnation: Some(id(0xb)) });
    desk.app(AppStatus { hand_over, state: AppState::Draining, ..leading(top) });
    assert!(desk.told(&Event::TermsExhausted));
    assert!(desk.writes().iter().all(|write| write.why == Why::Renew), "{:?}", desk.writes());
    desk.leads(top);
}

#[test]
fn at_the_last_term_nobody_is_named_leader_off_the_lease_and_it_is_said() {
    let top = Term::MAX.0;
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-1", 0xb)), top)), campaigning(top, 0xb, "db-1"));
    desk.effects.clear();
    desk.pass_without_api(secs(60));
    assert!(!desk.role().off_lease);
    assert!(desk.election.waits().contains(&Event::TermsExhausted), "{:?}", desk.election.waits());
    desk.writes_nothing();
}

#[test]
fn at_the_last_term_a_lease_is_not_raised_and_it_is_said() {
    let top = Term::MAX.0;
    let mut desk = Desk::plain();
    desk.read(Some(lease(1, Some(("db-1", 0xb)), top)));
    desk.watch(Some(lease(2, Some(("db-2", 0xc)), top - 1)));
    assert!(desk.told(&Event::TermsExhausted));
    desk.writes_nothing();
}

// Inputs out of place.

#[test]
fn a_sidecar_that_has_stopped_does_nothing_any_more() {
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-1", 0xb)), 7)), following(7, 0xb, "db-1"));
    desk.give(Input::Stop);
    desk.give(Input::AppDied { incarnation: id(0xa) });
    assert!(desk.effects.contains(&Effect::Stopped));
    desk.effects.clear();
    desk.watch(None);
    desk.app(campaigning(7, 0xb, "db-1"));
    desk.pass(secs(60));
    desk.give(Input::Wake);
    assert_eq!((desk.effects.len(), desk.election.deadline()), (0, None));
}

#[test]
fn an_answer_to_no_write_changes_nothing() {
    let held = lease(2, Some(("db-1", 0xb)), 7);
    let mut desk = Desk::seeing(Some(held.clone()), following(7, 0xb, "db-1"));
    desk.effects.clear();
    desk.give(Input::LeaseWritten(WriteOutcome::Written(lease(3, Some(("db-0", 0xa)), 8))));
    desk.give(Input::LeaseWritten(WriteOutcome::Unknown));
    assert_eq!(desk.election.lease(), Some(Some(&held)));
    desk.follows("db-1", 7);
    desk.writes_nothing();
}

#[test]
fn a_plain_apps_sidecar_does_not_listen_to_a_status_file() {
    let mut desk = Desk::plain();
    desk.read(Some(lease(1, Some(("db-1", 0xb)), 7)));
    desk.app(AppStatus { need_term: Some(Term(50)), ..leading(40) });
    desk.give(Input::AppSilent);
    desk.follows("db-1", 7);
    desk.writes_nothing();
}

#[test]
fn versions_that_are_no_numbers_are_never_taken_for_old_ones() {
    let version = |text: &str| Version(text.to_owned());
    assert!(version("9").is_older_than(&version("10")));
    for (one, other) in [("10", "9"), ("9", "9"), ("a", "b"), ("9", "x"), ("", "1")] {
        assert!(!version(one).is_older_than(&version(other)), "{one} {other}");
    }
    let named = |lease: Lease, text: &str| Lease { version: version(text), ..lease };
    let mut desk = Desk::seeing(Some(named(lease(1, Some(("db-1", 0xb)), 7), "xyz")), following(7, 0xb, "db-1"));
    desk.watch(Some(named(lease(1, Some(("db-2", 0xc)), 8), "abc")));
    desk.follows("db-2", 8);
}

#[test]
fn a_switchover_to_this_pod_goes_on_while_paused_and_nothing_else_does() {
    for (preferred, goes_on) in [("db-0", true), ("db-1", false)] {
        let cleared = with(lease(4, None, 7), annotation::PREFERRED_HOLDER, preferred);
        let mut desk = Desk::plain();
        desk.read(Some(with(cleared, annotation::PAUSED, "true")));
        desk.pass(secs(10));
        assert_eq!(desk.writes().iter().any(|write| write.why == Why::TakeFree), goes_on, "{preferred}");
    }
}

/// A thousand sidecars lose their watches at once: each lists its Lease and watches again, and asks for nothing else.
#[test]
fn a_watch_that_is_back_within_a_lost_time_costs_no_get() {
    let seen = Some(lease(1, Some(("db-1", 0xb)), 6));
    let mut desk = Desk::plain();
    desk.read(seen.clone());
    desk.effects.clear();
    desk.give(Input::WatchLost);
    desk.pass(ms(900));
    desk.watch(seen.clone());
    desk.pass(secs(5));
    assert_eq!(desk.reads(), 0);
    desk.give(Input::WatchLost);
    desk.pass(ms(999));
    assert_eq!(desk.reads(), 0);
    desk.pass(ms(1));
    assert_eq!(desk.reads(), 1);
    desk.read(seen);
    for _ in 0..7 {
        desk.give(Input::WatchFailed);
        desk.pass(secs(1));
    }
    assert_eq!(desk.reads(), 0, "the list is tried again by itself");
    desk.pass(secs(1));
    assert_eq!(desk.reads(), 1, "half a duration without a sign");
}

/// 429, or a refused connection: a look would only be one more request.
#[test]
fn a_write_that_did_not_happen_is_tried_again_without_a_look() {
    let mut desk = Desk::plain();
    desk.read(Some(lease(1, None, 6)));
    desk.pass(secs(2));
    let write = desk.write();
    desk.written(&write, 2);
    desk.pass(secs(5));
    let renewal = desk.write();
    desk.give(Input::LeaseWritten(WriteOutcome::Refused));
    desk.pass(ms(400));
    assert_eq!(desk.reads(), 0);
    assert_eq!(desk.write(), renewal);
    desk.give(Input::LeaseWritten(WriteOutcome::Unknown));
    assert_eq!(desk.reads(), 1, "that one may have happened");
}

/// As behind a proxy that loses answers: each renewal happens, its answer is a 502, and the watch shows it.
#[test]
fn renewals_whose_answers_are_lost_keep_their_pauses() {
    let mut desk = Desk::plain();
    desk.read(Some(lease(1, None, 6)));
    desk.pass(secs(2));
    let write = desk.write();
    let mut shown = desk.written(&write, 2);
    desk.pass(secs(5));
    let (mut version, mut renewals) = (2, 0);
    let until = desk.now + secs(10);
    while desk.now < until {
        for effect in std::mem::take(&mut desk.effects) {
            match effect {
                Effect::WriteLease(_) => {
                    (version, renewals) = (version + 1, renewals + 1);
                    let renewed = Some(format!("stamp {version}"));
                    shown = Lease { version: Version(version.to_string()), renewed, ..shown };
                    desk.give(Input::LeaseWritten(WriteOutcome::Unknown));
                    desk.watch(Some(shown.clone()));
                }
                Effect::ReadLease => desk.read(Some(shown.clone())),
                _ => {}
            }
        }
        desk.pass(ms(10));
    }
    assert!((4..=16).contains(&renewals), "{renewals} renewals in ten seconds");
}
