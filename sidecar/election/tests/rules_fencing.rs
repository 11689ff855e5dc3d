//! The rules, for a fencing app: each test is a sentence of docs/design.md.
#![allow(clippy::unwrap_used)]

mod desk;

use desk::*;
use leasehold_election::{
    AppState, AppStatus, Effect, Event, HandOver, Input, PodRole, Promise, Term, Why, WriteOutcome, annotation,
};

// Which Lease counts.

#[test]
fn a_holder_that_is_no_member_counts_as_no_holder() {
    let mut desk = Desk::seeing(Some(lease(1, Some(("rival", 0xb)), 5)), following(4, 0xc, "db-2"));
    assert!(desk.told(&Event::HolderIsNoMember { holder: "rival".into() }));
    desk.follows("db-2", 4);
    desk.app(campaigning(4, 0xc, "db-2"));
    assert_eq!(said(&desk.write()), (Why::TakeCampaign, Some("db-0"), Some(id(0xa)), 6));
}

#[test]
fn a_holder_without_incarnation_counts_as_no_holder() {
    let unsigned = without(lease(1, Some(("db-1", 0xb)), 5), annotation::INCARNATION);
    let mut desk = Desk::seeing(Some(unsigned), status());
    desk.knows_nobody();
    assert!(desk.told(&Event::HolderWithoutIncarnation { holder: "db-1".into() }));
    desk.app(AppStatus { campaign: Some(Term(0)), ..status() });
    assert_eq!(said(&desk.write()), (Why::TakeCampaign, Some("db-0"), Some(id(0xa)), 6));
}

#[test]
fn a_holder_with_the_incarnation_of_another_pod_counts_as_no_holder() {
    // A contender that knows only holderIdentity leaves our annotation where it is.
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-1", 0xa)), 5)), leading(4));
    desk.leads(4);
    assert_eq!(said(&desk.write()), (Why::Outbid, Some("db-0"), Some(id(0xa)), 6));
}

#[test]
fn a_lease_below_the_promise_counts_as_no_lease_and_is_not_renewed() {
    let promised_on = AppStatus {
        promised: Promise { term: Term(8), incarnation: Some(id(0xb)) },
        following: Some(claim(8, 0xb, "db-1")),
        ..status()
    };
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-0", 0xa)), 7)), promised_on);
    desk.follows("db-1", 8);
    desk.pass(secs(14));
    desk.writes_nothing();
}

#[test]
fn a_lease_of_the_promised_term_with_another_incarnation_counts_as_no_lease_and_is_not_renewed() {
    let promised = Promise { term: Term(7), incarnation: Some(id(0xb)) };
    let other = AppStatus { promised, following: Some(claim(7, 0xb, "db-1")), ..status() };
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-0", 0xa)), 7)), other);
    desk.follows("db-1", 7);
    desk.pass(secs(14));
    desk.writes_nothing();
}

#[test]
fn a_term_more_than_a_million_above_the_promise_is_an_edit_by_hand_and_not_promised_to() {
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-1", 0xb)), 2_147_483_647)), following(7, 0xc, "db-2"));
    desk.follows("db-2", 7);
    assert!(desk.told(&Event::EditedByHand { term: Term(2_147_483_647), promised: Term(7) }));
    desk.app(campaigning(7, 0xc, "db-2"));
    // Left out of every max, replaced by promise + 1.
    assert_eq!(said(&desk.write()), (Why::TakeCampaign, Some("db-0"), Some(id(0xa)), 8));
}

#[test]
fn the_leader_replaces_an_edit_by_hand_with_promise_plus_one() {
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-0", 0xa)), 2_147_483_647)), leading(7));
    desk.leads(7);
    assert_eq!(said(&desk.write()), (Why::Outbid, Some("db-0"), Some(id(0xa)), 8));
}

#[test]
fn a_term_exactly_a_million_above_the_promise_is_believed() {
    let desk = Desk::seeing(Some(lease(1, Some(("db-1", 0xb)), 1_000_007)), following(7, 0xc, "db-2"));
    desk.follows("db-1", 1_000_007);
}

#[test]
fn the_terms_end_at_the_top_with_an_error_and_never_wrap() {
    let top = Term::MAX.0;
    let mut desk = Desk::seeing(Some(lease(1, None, top)), campaigning(top, 0xc, "db-2"));
    assert!(desk.told(&Event::TermsExhausted));
    desk.pass(secs(10));
    desk.writes_nothing();
}

#[test]
fn a_starting_sidecar_does_not_touch_role_json_before_it_has_read_the_lease() {
    let mut desk = Desk::fencing();
    desk.app(following(7, 0xb, "db-1"));
    desk.pass(secs(5));
    assert_eq!(desk.election.role(), None);
    desk.read(Some(lease(1, Some(("db-1", 0xb)), 7)));
    desk.follows("db-1", 7);
}

#[test]
fn a_starting_sidecar_waits_a_lost_time_for_its_app_before_it_calls_nobody_leader() {
    let mut desk = Desk::fencing();
    desk.read(Some(lease(1, Some(("db-0", 0xa)), 7)));
    assert_eq!(desk.election.role(), None);
    desk.app(leading(7));
    desk.leads(7);
}

#[test]
fn the_term_of_the_old_role_file_counts_as_seen() {
    let mut config = config(leasehold_election::App::Fencing);
    config.old_role = Desk::old_role(9, false);
    let mut desk = Desk::with_config(config);
    desk.app(campaigning(7, 0xb, "db-1"));
    desk.read(None);
    assert_eq!(said(&desk.write()), (Why::TakeCampaign, Some("db-0"), Some(id(0xa)), 10));
}

// Rule 1.

#[test]
fn a_lease_that_names_this_pod_and_incarnation_for_a_term_above_the_promise_leads() {
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-1", 0xb)), 7)), following(7, 0xb, "db-1"));
    desk.watch(Some(lease(2, Some(("db-0", 0xa)), 8)));
    desk.leads(8);
    // The address was removed by the transfer; the new holder writes it.
    let write = desk.write();
    assert_eq!(said(&write), (Why::Renew, Some("db-0"), Some(id(0xa)), 8));
    assert_eq!(write.body.address(), Some("10.0.0.1:8089"));
}

#[test]
fn a_transfer_to_an_app_that_is_not_eligible_does_not_lead() {
    let learner = AppStatus { eligible: false, state: AppState::Learner, ..following(7, 0xb, "db-1") };
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-1", 0xb)), 7)), learner);
    desk.watch(Some(lease(2, Some(("db-0", 0xa)), 8)));
    assert_ne!(desk.role().role, PodRole::Leader);
}

/// It was chosen before its SIGTERM, and the leader that chose it has let go.
#[test]
fn a_transfer_to_an_app_that_drains_by_now_leads() {
    let draining = AppStatus { eligible: false, state: AppState::Draining, ..following(7, 0xb, "db-1") };
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-1", 0xb)), 7)), draining);
    desk.watch(Some(lease(2, Some(("db-0", 0xa)), 8)));
    desk.leads(8);
}

#[test]
fn a_lease_that_names_this_pod_with_another_incarnation_is_taken_to_a_new_term_only_while_the_app_campaigns() {
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-0", 0xdead)), 7)), status());
    assert_eq!(said(&desk.write()), (Why::Clear, None, None, 7));
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-0", 0xdead)), 7)), campaigning(7, 0xdead, "db-0"));
    assert_eq!(said(&desk.write()), (Why::TakeBack, Some("db-0"), Some(id(0xa)), 8));
}

#[test]
fn paused_does_not_stop_rule_1() {
    let paused = with(lease(1, Some(("db-0", 0xdead)), 7), annotation::PAUSED, "true");
    let mut desk = Desk::seeing(Some(paused), status());
    assert!(desk.told(&Event::WaitsForResume));
    desk.writes_nothing();
    desk.app(campaigning(7, 0xdead, "db-0"));
    assert_eq!(said(&desk.write()), (Why::TakeBack, Some("db-0"), Some(id(0xa)), 8));
}

// Rule 2.

#[test]
fn the_leading_app_writes_a_deleted_lease_again_at_once_with_its_own_term() {
    let mut desk = Desk::seeing(None, leading(7));
    desk.leads(7);
    let write = desk.write();
    assert_eq!(said(&write), (Why::Restore, Some("db-0"), Some(id(0xa)), 7));
    assert_eq!(write.expected, None);
    assert_eq!(write.body.cluster_id(), Some(id(CLUSTER)));
}

#[test]
fn the_leading_app_takes_a_lease_without_holder_and_with_a_higher_term_as_a_new_leadership() {
    let mut desk = Desk::seeing(Some(lease(1, None, 9)), leading(7));
    assert_eq!(said(&desk.write()), (Why::Outbid, Some("db-0"), Some(id(0xa)), 10));
}

#[test]
fn a_recovering_app_writes_no_lease_by_rule_2() {
    let mut desk = Desk::seeing(None, AppStatus { state: AppState::Recovering, ..leading(7) });
    desk.pass(secs(9));
    desk.writes_nothing();
}

#[test]
fn paused_does_not_stop_the_leader_from_writing_its_lease_again() {
    let cleared = with(lease(1, None, 7), annotation::PAUSED, "true");
    let mut desk = Desk::seeing(Some(cleared), leading(7));
    let write = desk.write();
    assert_eq!(said(&write), (Why::Restore, Some("db-0"), Some(id(0xa)), 7));
    assert!(write.body.is_paused());
}

// Rule 4.

#[test]
fn a_campaign_takes_the_lease_without_waiting_for_its_expiry() {
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-1", 0xb)), 7)), following(7, 0xb, "db-1"));
    desk.writes_nothing();
    desk.app(campaigning(7, 0xb, "db-1"));
    let write = desk.write();
    assert_eq!(said(&write), (Why::TakeCampaign, Some("db-0"), Some(id(0xa)), 8));
    desk.follows("db-1", 7);
    desk.written(&write, 2);
    desk.leads(8);
    assert_eq!(desk.role().valid_until, Some(desk.now + DURATION));
}

#[test]
fn a_campaign_for_a_term_below_the_leases_takes_nothing() {
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-1", 0xb)), 8)), campaigning(7, 0xb, "db-1"));
    desk.pass(secs(14));
    desk.writes_nothing();
}

#[test]
fn a_campaign_must_still_stand_after_the_rank_delay() {
    let second = AppStatus { rank: 3, ..campaigning(7, 0xb, "db-1") };
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-1", 0xb)), 7)), second.clone());
    desk.pass(ms(299));
    desk.writes_nothing();
    desk.app(following(7, 0xb, "db-1"));
    desk.pass(secs(2));
    desk.writes_nothing();
    desk.app(second);
    desk.pass(ms(299));
    desk.writes_nothing();
    desk.pass(ms(1));
    assert_eq!(desk.write().why, Why::TakeCampaign);
}

#[test]
fn the_rank_delay_is_at_most_a_second() {
    let last = AppStatus { rank: 4000, ..campaigning(7, 0xb, "db-1") };
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-1", 0xb)), 7)), last);
    desk.pass(secs(1));
    assert_eq!(desk.write().why, Why::TakeCampaign);
}

#[test]
fn a_new_leadership_is_above_the_lease_the_promise_and_need_term() {
    let needy = AppStatus { need_term: Some(Term(20)), ..campaigning(7, 0xb, "db-1") };
    let mut desk = Desk::seeing(Some(lease(1, None, 9)), needy);
    assert_eq!(said(&desk.write()), (Why::TakeCampaign, Some("db-0"), Some(id(0xa)), 21));
}

#[test]
fn an_app_that_is_silent_dead_or_not_eligible_takes_nothing() {
    let mut desk = Desk::seeing(Some(lease(1, None, 7)), following(7, 0xb, "db-1"));
    desk.app(AppStatus { eligible: false, ..campaigning(7, 0xb, "db-1") });
    desk.writes_nothing();
    let mut desk = Desk::seeing(Some(lease(1, None, 7)), AppStatus { rank: 5, ..campaigning(7, 0xb, "db-1") });
    desk.give(Input::AppSilent);
    desk.pass(secs(3));
    desk.writes_nothing();
    let mut desk = Desk::seeing(Some(lease(1, None, 7)), AppStatus { rank: 5, ..campaigning(7, 0xb, "db-1") });
    desk.give(Input::AppDied { incarnation: id(0xa) });
    desk.pass(secs(3));
    desk.writes_nothing();
}

#[test]
fn paused_stops_rule_4_and_says_so() {
    let paused = with(lease(1, Some(("db-1", 0xb)), 7), annotation::PAUSED, "true");
    let mut desk = Desk::seeing(Some(paused), campaigning(7, 0xb, "db-1"));
    assert!(desk.told(&Event::WaitsForResume));
    assert!(desk.role().paused);
    desk.pass(secs(10));
    desk.writes_nothing();
    assert!(desk.election.waits().contains(&Event::WaitsForResume));
    desk.watch(Some(lease(2, Some(("db-1", 0xb)), 7)));
    assert_eq!(desk.write().why, Why::TakeCampaign);
}

#[test]
fn a_lost_race_looks_again_before_anything_is_written() {
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-1", 0xb)), 7)), campaigning(7, 0xb, "db-1"));
    desk.write();
    desk.give(Input::LeaseWritten(WriteOutcome::Conflict));
    assert_eq!(desk.reads(), 1);
    desk.writes_nothing();
    desk.read(Some(lease(2, Some(("db-2", 0xc)), 8)));
    desk.writes_nothing();
    desk.follows("db-2", 8);
}

#[test]
fn an_unknown_outcome_is_looked_up_and_may_turn_out_to_be_ours() {
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-1", 0xb)), 7)), campaigning(7, 0xb, "db-1"));
    let began = desk.now;
    let write = desk.write();
    desk.pass(secs(3));
    desk.give(Input::LeaseWritten(WriteOutcome::Unknown));
    assert_eq!(desk.reads(), 1);
    let mut done = lease(2, None, 0);
    done.body = write.body;
    desk.read(Some(done));
    desk.leads(8);
    // Validity counts from the start of the request.
    assert_eq!(desk.role().valid_until, Some(began + DURATION));
}

// Rule 5.

/// The API server has been silent for a duration, with a failed request at the end, and the app lost its leader.
fn desk_without_api(status: AppStatus) -> Desk {
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-1", 0xb)), 7)), following(7, 0xb, "db-1"));
    desk.effects.clear();
    desk.pass_without_api(secs(20));
    desk.app(status);
    desk
}

#[test]
fn without_an_api_for_a_duration_a_campaign_leads_off_the_lease_after_one_lost_time_more() {
    let mut desk = desk_without_api(campaigning(7, 0xb, "db-1"));
    desk.pass_without_api(ms(999));
    desk.follows("db-1", 7);
    desk.pass_without_api(ms(1));
    desk.leads(8);
    assert!(desk.role().off_lease);
    assert_eq!(desk.role().cluster_id, Some(id(CLUSTER)));
    assert!(desk.told(&Event::OffLease { term: Term(8) }));
}

#[test]
fn an_api_that_failed_for_less_than_a_duration_is_waited_for() {
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-1", 0xb)), 7)), campaigning(7, 0xb, "db-1"));
    desk.pass_without_api(ms(15_900));
    assert_eq!(desk.role().role, PodRole::Follower);
    desk.pass_without_api(ms(200));
    desk.leads(8);
}

#[test]
fn the_newest_request_must_have_failed_too() {
    // The process stood still for an hour: that nobody answered in that time proves nothing.
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-1", 0xb)), 7)), following(7, 0xb, "db-1"));
    desk.effects.clear();
    desk.now += secs(3600);
    desk.app(campaigning(7, 0xb, "db-1"));
    desk.now += secs(3);
    desk.give(Input::Wake);
    assert!(!desk.role().off_lease);
    assert_eq!(desk.role().role, PodRole::Follower);
}

#[test]
fn a_failure_from_before_the_process_stood_still_proves_nothing() {
    let mut desk = desk_without_api(following(7, 0xb, "db-1"));
    desk.app(AppStatus { rank: 9, ..campaigning(7, 0xb, "db-1") });
    desk.now += secs(3600);
    desk.give(Input::Wake);
    assert!(!desk.role().off_lease);
    // It asks first, and is answered.
    assert!(desk.effects.contains(&Effect::ReadLease));
    desk.read(Some(lease(9, Some(("db-2", 0xc)), 8)));
    desk.follows("db-2", 8);
}

#[test]
fn the_off_lease_term_is_above_the_promise_every_term_seen_and_need_term() {
    let mut desk = desk_without_api(AppStatus { need_term: Some(Term(30)), ..campaigning(7, 0xb, "db-1") });
    desk.pass_without_api(secs(1));
    desk.leads(31);
}

#[test]
fn off_lease_never_while_paused_when_last_seen() {
    let paused = with(lease(1, Some(("db-1", 0xb)), 7), annotation::PAUSED, "true");
    let mut desk = Desk::seeing(Some(paused), campaigning(7, 0xb, "db-1"));
    desk.pass_without_api(secs(60));
    assert!(!desk.role().off_lease);
    assert!(desk.election.waits().contains(&Event::WaitsForResume));
}

#[test]
fn off_lease_never_with_a_volume_that_is_marked_bootstrapping() {
    let mut desk = desk_without_api(AppStatus { bootstrapping: true, ..campaigning(7, 0xb, "db-1") });
    desk.pass_without_api(secs(60));
    assert!(!desk.role().off_lease);
}

#[test]
fn a_starting_sidecar_may_use_rule_5_and_the_old_role_file_counts() {
    let mut config = config(leasehold_election::App::Fencing);
    config.old_role = Desk::old_role(9, false);
    let mut desk = Desk::with_config(config.clone());
    desk.app(campaigning(7, 0xb, "db-1"));
    desk.pass_without_api(secs(17));
    desk.leads(10);
    assert!(desk.role().off_lease);

    config.old_role = Desk::old_role(9, true);
    let mut desk = Desk::with_config(config);
    desk.app(campaigning(7, 0xb, "db-1"));
    desk.pass_without_api(secs(60));
    assert_eq!(desk.election.role(), None);
}

#[test]
fn writes_that_stay_undecided_for_a_duration_while_reads_work_count_as_no_api() {
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-1", 0xb)), 7)), campaigning(7, 0xb, "db-1"));
    let end = desk.now + secs(18);
    while desk.now < end {
        for effect in std::mem::take(&mut desk.effects) {
            match effect {
                Effect::ReadLease => desk.read(Some(lease(1, Some(("db-1", 0xb)), 7))),
                Effect::WriteLease(_) => desk.give(Input::LeaseWritten(WriteOutcome::Unknown)),
                _ => {}
            }
        }
        desk.pass(ms(100));
        if desk.role().off_lease {
            break;
        }
    }
    desk.leads(8);
    assert!(desk.now >= end - secs(2), "a duration and a lost-time: {:?}", desk.now);
}

#[test]
fn when_the_api_answers_rule_2_writes_the_off_lease_term() {
    let mut desk = desk_without_api(campaigning(7, 0xb, "db-1"));
    desk.pass_without_api(secs(1));
    desk.app(AppStatus { campaign: None, ..leading(8) });
    desk.leads(8);
    assert!(desk.effects.iter().any(|effect| matches!(effect, Effect::UpdateEndpoints { term: Term(8), .. })));
    desk.pass_without_api(secs(2));
    desk.effects.clear();
    desk.watch(Some(lease(1, Some(("db-1", 0xb)), 7)));
    desk.pass(ms(2_500));
    let write = desk.write();
    assert_eq!(said(&write), (Why::Restore, Some("db-0"), Some(id(0xa)), 8));
    desk.written(&write, 2);
    desk.leads(8);
    assert!(!desk.role().off_lease);
}

#[test]
fn an_off_lease_leader_is_not_deposed_by_its_own_sidecar_that_reads_its_status_late() {
    // The holder's app is restarted (0xd becomes 0xa) while the API server is silent.
    let before = AppStatus { incarnation: id(0xd), state: AppState::Leading, ..following(7, 0xd, "db-0") };
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-0", 0xd)), 7)), before);
    desk.pass_without_api(secs(20));
    desk.app(campaigning(7, 0xd, "db-0"));
    desk.pass_without_api(secs(20));
    desk.leads(8);
    assert!(desk.role().off_lease);
    // The API server is back before status.json says that the app leads by the claim.
    desk.effects.clear();
    desk.watch(Some(lease(1, Some(("db-0", 0xd)), 7)));
    desk.pass(ms(1_500));
    // It may write that the earlier run has let go; never a new term above its own claim.
    assert!(
        desk.writes().iter().all(|write| write.why != Why::TakeBack && write.body.term <= Term(8)),
        "{:?}",
        desk.writes()
    );
    desk.leads(8);
    desk.app(AppStatus { campaign: None, ..leading(8) });
    desk.pass(ms(1_500));
    desk.leads(8);
}

#[test]
fn a_lease_with_a_higher_term_wins_over_an_off_lease_claim() {
    let mut desk = desk_without_api(campaigning(7, 0xb, "db-1"));
    desk.pass_without_api(secs(1));
    desk.leads(8);
    desk.watch(Some(lease(3, Some(("db-2", 0xc)), 9)));
    desk.follows("db-2", 9);
}

#[test]
fn an_off_lease_claim_ends_with_its_app() {
    let mut desk = desk_without_api(campaigning(7, 0xb, "db-1"));
    desk.pass_without_api(secs(1));
    desk.leads(8);
    desk.give(Input::AppDied { incarnation: id(0xa) });
    desk.knows_nobody();
    assert_eq!(desk.role().term, Term(8));
}

// A Lease below the promise for 10 s.

#[test]
fn a_lease_below_the_promise_for_10_s_is_written_for_the_leader_that_the_app_hears() {
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-2", 0xc)), 7)), following(8, 0xb, "db-1"));
    desk.pass(ms(9_999));
    desk.writes_nothing();
    desk.pass(ms(1));
    let write = desk.write();
    assert_eq!(said(&write), (Why::ForLeader, Some("db-1"), Some(id(0xb)), 8));
    desk.written(&write, 2);
    assert!(desk.told(&Event::WrittenForLeader { leader: "db-1".into(), term: Term(8) }));
    let address = Some("db-1:8089".to_owned());
    let endpoints = Effect::UpdateEndpoints { name: "db-1".into(), address, term: Term(8) };
    assert!(desk.effects.contains(&endpoints));
}

#[test]
fn a_lease_below_the_promise_is_left_alone_while_the_leader_is_not_heard() {
    let unheard = AppStatus { leader_heard: false, ..following(8, 0xb, "db-1") };
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-2", 0xc)), 7)), unheard);
    desk.pass(secs(60));
    desk.writes_nothing();
}

// Letting go.

#[test]
fn when_the_app_died_the_holder_is_cleared() {
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-0", 0xa)), 7)), leading(7));
    let write = desk.write();
    desk.written(&write, 2);
    desk.give(Input::AppDied { incarnation: id(0xa) });
    assert_ne!(desk.role().role, PodRole::Leader);
    let write = desk.write();
    assert_eq!(said(&write), (Why::Clear, None, None, 7));
    assert_eq!(write.body.address(), None);
    assert_eq!(write.body.cluster_id(), Some(id(CLUSTER)));
}

#[test]
fn another_incarnation_in_status_json_is_the_death_of_the_one_before_and_inherits_nothing() {
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-0", 0xa)), 7)), leading(7));
    let write = desk.write();
    desk.written(&write, 2);
    let promised = Promise { term: Term(7), incarnation: Some(id(0xa)) };
    desk.app(AppStatus { incarnation: id(0xaa), promised, state: AppState::Starting, eligible: false, ..status() });
    desk.knows_nobody();
    assert_eq!(said(&desk.write()), (Why::Clear, None, None, 7));
}

#[test]
fn the_death_of_an_earlier_incarnation_means_nothing_for_the_present_one() {
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-0", 0xa)), 7)), leading(7));
    let write = desk.write();
    desk.written(&write, 2);
    desk.give(Input::AppDied { incarnation: id(0xdead) });
    desk.leads(7);
}

#[test]
fn a_hand_over_sets_the_successors_name_and_incarnation_with_a_new_term() {
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-0", 0xa)), 7)), leading(7));
    let write = desk.write();
    desk.written(&write, 2);
    let hand_over = Some(HandOver { to: Some("db-1".into()), incarnation: Some(id(0xb)) });
    desk.app(AppStatus { hand_over, state: AppState::Draining, eligible: false, ..leading(7) });
    let write = desk.write();
    assert_eq!(said(&write), (Why::Transfer, Some("db-1"), Some(id(0xb)), 8));
    assert_eq!(write.body.address(), None);
    desk.leads(7);
    desk.written(&write, 3);
    desk.follows("db-1", 8);
    assert!(desk.told(&Event::HandedOver { to: "db-1".into(), term: Term(8) }));
    desk.pass(secs(14));
    desk.writes_nothing();
}

#[test]
fn a_hand_over_without_a_known_successor_clears_the_holder_and_the_leader_does_not_write_it_again() {
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-0", 0xa)), 7)), leading(7));
    let write = desk.write();
    desk.written(&write, 2);
    desk.app(AppStatus { hand_over: Some(HandOver { to: None, incarnation: None }), ..leading(7) });
    let write = desk.write();
    assert_eq!(said(&write), (Why::Clear, None, None, 7));
    desk.written(&write, 3);
    desk.effects.clear();
    desk.pass(secs(14));
    desk.writes_nothing();
}

#[test]
fn a_let_go_that_could_not_be_written_is_dropped_once_another_leader_is_seen() {
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-0", 0xa)), 7)), leading(7));
    let write = desk.write();
    desk.written(&write, 2);
    desk.give(Input::AppDied { incarnation: id(0xa) });
    assert_eq!(desk.write().why, Why::Clear);
    desk.give(Input::LeaseWritten(WriteOutcome::Unknown));
    desk.watch(Some(lease(3, Some(("db-1", 0xb)), 8)));
    desk.read(Some(lease(3, Some(("db-1", 0xb)), 8)));
    desk.pass(secs(14));
    desk.writes_nothing();
    desk.follows("db-1", 8);
}

#[test]
fn a_switchover_is_passed_on_to_the_app_and_ends_with_the_transfer() {
    let asked = with(lease(1, Some(("db-0", 0xa)), 7), annotation::PREFERRED_HOLDER, "db-2");
    let mut desk = Desk::seeing(Some(asked), leading(7));
    assert_eq!(desk.role().hand_over_to.as_deref(), Some("db-2"));
    let write = desk.write();
    desk.written(&write, 2);
    let hand_over = Some(HandOver { to: Some("db-2".into()), incarnation: Some(id(0xc)) });
    desk.app(AppStatus { hand_over, ..leading(7) });
    let write = desk.write();
    assert_eq!(said(&write), (Why::Transfer, Some("db-2"), Some(id(0xc)), 8));
    assert_eq!(write.body.preferred_holder(), None);
    desk.written(&write, 3);
    assert!(desk.told(&Event::SwitchoverDone { to: "db-2".into() }));
}

#[test]
fn a_switchover_to_a_pod_that_is_no_member_is_refused_and_its_annotation_removed() {
    let asked = with(lease(1, Some(("db-0", 0xa)), 7), annotation::PREFERRED_HOLDER, "db-9");
    let mut desk = Desk::seeing(Some(asked), leading(7));
    assert_eq!(desk.role().hand_over_to, None);
    let write = desk.write();
    assert_eq!((write.why, write.body.preferred_holder()), (Why::Renew, None));
    desk.written(&write, 2);
    assert!(desk.told(&Event::SwitchoverRefused { to: "db-9".into() }));
}

#[test]
fn a_switchover_that_does_not_come_about_is_given_up_and_its_annotation_removed() {
    let asked = with(lease(1, Some(("db-0", 0xa)), 7), annotation::PREFERRED_HOLDER, "db-2");
    let mut desk = Desk::seeing(Some(asked), leading(7));
    let mut version = 1;
    for _ in 0..30 {
        for write in desk.writes() {
            version += 1;
            desk.effects.retain(|effect| !matches!(effect, Effect::WriteLease(_)));
            desk.written(&write, version);
        }
        desk.pass(secs(5));
    }
    assert!(desk.told(&Event::SwitchoverGivenUp { to: "db-2".into() }));
    assert_eq!(desk.role().hand_over_to, None);
}

#[test]
fn after_sigterm_the_sidecar_waits_for_its_apps_death_then_lets_go_and_stops() {
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-0", 0xa)), 7)), leading(7));
    let write = desk.write();
    desk.written(&write, 2);
    desk.give(Input::Stop);
    desk.pass(secs(3));
    assert!(!desk.effects.contains(&Effect::Stopped));
    desk.give(Input::AppDied { incarnation: id(0xa) });
    let write = desk.write();
    assert_eq!(write.why, Why::Clear);
    desk.written(&write, 3);
    assert!(desk.effects.contains(&Effect::Stopped));
}

#[test]
fn after_sigterm_a_lease_that_cannot_be_written_holds_nobody_up() {
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-0", 0xa)), 7)), leading(7));
    let write = desk.write();
    desk.written(&write, 2);
    desk.give(Input::Stop);
    desk.give(Input::AppDied { incarnation: id(0xa) });
    desk.pass_without_api(secs(2));
    assert!(!desk.effects.contains(&Effect::Stopped));
    desk.pass_without_api(secs(4));
    assert!(desk.effects.contains(&Effect::Stopped));
}

#[test]
fn after_sigterm_with_a_living_app_the_sidecar_stops_at_the_bound_and_leaves_the_leadership() {
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-1", 0xb)), 7)), following(7, 0xb, "db-1"));
    desk.give(Input::Stop);
    desk.pass(secs(49));
    assert!(!desk.effects.contains(&Effect::Stopped));
    desk.pass(secs(1));
    assert!(desk.effects.contains(&Effect::Stopped));
    desk.writes_nothing();
}

// needTerm.

#[test]
fn need_term_starts_a_new_term_at_the_sidecar_of_the_leader() {
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-0", 0xa)), 7)), leading(7));
    let write = desk.write();
    desk.written(&write, 2);
    // Its own term is held by another incarnation.
    desk.app(AppStatus { need_term: Some(Term(7)), ..leading(7) });
    let write = desk.write();
    assert_eq!(said(&write), (Why::NewTerm, Some("db-0"), Some(id(0xa)), 8));
    desk.written(&write, 3);
    desk.leads(8);
    // The app has not taken it yet: once is enough.
    desk.effects.clear();
    desk.pass(secs(4));
    desk.writes_nothing();
}

#[test]
fn need_term_starts_nothing_where_the_app_does_not_lead() {
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-1", 0xb)), 7)), following(7, 0xb, "db-1"));
    desk.app(AppStatus { need_term: Some(Term(12)), ..following(7, 0xb, "db-1") });
    desk.pass(secs(14));
    desk.writes_nothing();
}

#[test]
fn a_need_term_below_the_leaders_own_term_starts_nothing() {
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-0", 0xa)), 7)), leading(7));
    let write = desk.write();
    desk.written(&write, 2);
    desk.app(AppStatus { need_term: Some(Term(6)), ..leading(7) });
    desk.pass(secs(4));
    desk.writes_nothing();
}

#[test]
fn need_term_of_an_off_lease_leader_raises_its_claim() {
    let mut desk = desk_without_api(campaigning(7, 0xb, "db-1"));
    desk.pass_without_api(secs(1));
    desk.leads(8);
    desk.app(AppStatus { state: AppState::Recovering, need_term: Some(Term(8)), ..leading(8) });
    desk.leads(9);
    assert!(desk.role().off_lease);
}

// Renewal.

#[test]
fn the_holder_renews_every_third_of_the_duration_with_one_request_and_no_get() {
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-0", 0xa)), 7)), leading(7));
    let mut writes = 0;
    let end = desk.now + secs(300);
    while desk.now < end {
        for effect in std::mem::take(&mut desk.effects) {
            match effect {
                Effect::WriteLease(write) => {
                    writes += 1;
                    assert_eq!(write.why, Why::Renew);
                    desk.pass(ms(20));
                    desk.written(&write, 1 + writes);
                }
                Effect::ReadLease => assert!(desk.now < secs(101), "a GET at {:?}", desk.now),
                _ => {}
            }
        }
        desk.pass(ms(100));
    }
    assert!((59..=62).contains(&writes), "0.2 requests/s, but {writes} in 300 s");
}

#[test]
fn only_a_sidecar_whose_app_has_the_leases_incarnation_renews() {
    let desk = Desk::seeing(Some(lease(1, Some(("db-0", 0xdead)), 7)), AppStatus { eligible: false, ..status() });
    let writes = desk.writes();
    assert!(writes.iter().all(|write| write.why != Why::Renew), "{writes:#?}");
    assert_ne!(desk.role().role, PodRole::Leader);
}

#[test]
fn a_fencing_app_keeps_leading_through_an_api_outage() {
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-0", 0xa)), 7)), leading(7));
    let write = desk.write();
    desk.written(&write, 2);
    desk.pass_without_api(secs(600));
    desk.leads(7);
    assert!(desk.told(&Event::ApiSilent));
    assert!(desk.election.waits().contains(&Event::ApiSilent));
}

#[test]
fn no_event_for_one_duration_asks_once() {
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-1", 0xb)), 7)), following(7, 0xb, "db-1"));
    desk.reads();
    desk.pass(ms(14_999));
    assert_eq!(desk.reads(), 0);
    desk.pass(secs(60));
    assert_eq!(desk.reads(), 1, "one GET until it is answered");
    desk.read(Some(lease(1, Some(("db-1", 0xb)), 7)));
    desk.pass(secs(14));
    assert_eq!(desk.reads(), 0);
}

#[test]
fn a_watch_that_lags_behind_our_own_write_does_not_depose_us() {
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-1", 0xb)), 7)), campaigning(7, 0xb, "db-1"));
    let write = desk.write();
    desk.written(&write, 5);
    desk.leads(8);
    desk.watch(Some(lease(4, None, 7)));
    desk.leads(8);
}

// Bootstrap and cluster-id.

#[test]
fn the_campaign_of_a_bootstrapping_volume_creates_the_lease_with_its_cluster_id() {
    let first = AppStatus { bootstrapping: true, campaign: Some(Term(0)), ..status() };
    let mut desk = Desk::seeing(None, first);
    let write = desk.write();
    assert_eq!(said(&write), (Why::Bootstrap, Some("db-0"), Some(id(0xa)), 1));
    assert_eq!((write.expected.clone(), write.body.cluster_id()), (None, Some(id(CLUSTER))));
    assert_eq!(write.body.duration_seconds, Some(15));
    desk.written(&write, 1);
    desk.leads(1);
    assert_eq!(desk.role().cluster_id, Some(id(CLUSTER)));
}

#[test]
fn paused_stops_the_bootstrap() {
    let mut paused = with(lease(1, None, 0), annotation::PAUSED, "true");
    paused.body.annotations.remove(annotation::CLUSTER_ID);
    let mut desk = Desk::seeing(Some(paused), AppStatus { bootstrapping: true, campaign: Some(Term(0)), ..status() });
    assert!(desk.told(&Event::WaitsForResume));
    desk.writes_nothing();
}

#[test]
fn a_lease_of_another_cluster_is_never_touched() {
    for campaign in [campaigning(7, 0xb, "db-1"), leading(7)] {
        let foreign = with(lease(1, Some(("db-0", 0xa)), 7), annotation::CLUSTER_ID, &id(0xf0).to_string());
        let mut desk = Desk::seeing(Some(foreign), campaign);
        let event = Event::ForeignCluster { lease: Some(id(0xf0)), volume: id(CLUSTER) };
        assert!(desk.told(&event));
        assert!(desk.election.waits().contains(&event));
        desk.give(Input::AppDied { incarnation: id(0xa) });
        desk.pass(secs(14));
        desk.writes_nothing();
    }
}

#[test]
fn a_lease_of_another_cluster_is_not_handed_over_either() {
    let foreign = with(lease(1, Some(("db-0", 0xa)), 7), annotation::CLUSTER_ID, &id(0xf0).to_string());
    let hand_over = Some(HandOver { to: Some("db-1".into()), incarnation: Some(id(0xb)) });
    let mut desk = Desk::seeing(Some(foreign), AppStatus { hand_over, ..leading(7) });
    desk.pass(secs(14));
    desk.writes_nothing();
}

#[test]
fn a_cluster_id_that_is_no_uuid_is_nobodys_and_never_touched() {
    let garbled = with(lease(1, Some(("db-0", 0xa)), 7), annotation::CLUSTER_ID, "mine");
    let mut desk = Desk::seeing(Some(garbled), leading(7));
    desk.pass(secs(14));
    desk.writes_nothing();
}

#[test]
fn a_lease_without_cluster_id_gets_the_volumes_from_the_leader() {
    let bare = without(lease(1, Some(("db-0", 0xa)), 7), annotation::CLUSTER_ID);
    let mut desk = Desk::seeing(Some(bare), leading(7));
    let write = desk.write();
    assert_eq!((write.why, write.body.cluster_id()), (Why::Renew, Some(id(CLUSTER))));
}

#[test]
fn a_lost_lease_without_a_leader_is_written_by_a_campaigning_voter_with_a_new_term() {
    let mut desk = Desk::seeing(None, campaigning(7, 0xb, "db-1"));
    let write = desk.write();
    assert_eq!(said(&write), (Why::TakeCampaign, Some("db-0"), Some(id(0xa)), 8));
    assert_eq!(write.body.cluster_id(), Some(id(CLUSTER)));
}

#[test]
fn an_empty_volume_takes_nothing() {
    let mut desk = Desk::seeing(None, AppStatus { cluster_id: None, campaign: Some(Term(0)), ..status() });
    desk.pass(secs(14));
    desk.writes_nothing();
}

#[test]
fn annotations_that_are_not_ours_survive_every_write() {
    let noted = with(lease(1, Some(("db-1", 0xb)), 7), "example.com/note", "keep");
    let mut desk = Desk::seeing(Some(noted), campaigning(7, 0xb, "db-1"));
    assert_eq!(desk.write().body.annotations.get("example.com/note").unwrap(), "keep");
}

#[test]
fn a_published_term_goes_down_only_after_a_duration_of_none_when_somebody_lowered_the_lease_by_hand() {
    // The app had no time to promise to the edited term.
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-1", 0xb)), 7)), following(7, 0xb, "db-1"));
    desk.watch(Some(lease(2, Some(("db-2", 0xc)), 12)));
    desk.follows("db-2", 12);
    desk.watch(Some(lease(3, Some(("db-1", 0xb)), 7)));
    desk.knows_nobody();
    assert_eq!(desk.role().term, Term(12));
    desk.pass(ms(14_999));
    desk.knows_nobody();
    desk.pass(ms(1));
    desk.follows("db-1", 7);
}

#[test]
fn the_newest_revision_of_the_stateful_set_is_passed_on_to_the_app() {
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-1", 0xb)), 5)), following(5, 0xb, "db-1"));
    assert_eq!(desk.role().newest_revision, None);
    desk.give(Input::RevisionSeen(Some("db-2".to_owned())));
    assert_eq!(desk.role().newest_revision.as_deref(), Some("db-2"));
}
