//! How leaderships of plain apps end: by request, by the app's word, by its health, under `exec`: A5, A9.
#![allow(clippy::unwrap_used)]

mod desk;

use desk::{Desk, config, id, lease, members, ms, said, secs, with, without};
use leasehold_election::{
    App, Config, Effect, Election, Ending, Input, Lease, OldRole, PodRole, ReadOutcome, Term, Version, Why,
    WriteOutcome, annotation,
};

fn seen(lease: Lease) -> Option<Lease> {
    Some(without(lease, annotation::CLUSTER_ID))
}

/// It leads in term 6.
fn leading(mut desk: Desk) -> (Desk, u64) {
    desk.read(seen(with(lease(3, None, 5), annotation::RELEASED, "5")));
    desk.pass(ms(50));
    let write = desk.write();
    desk.written(&write, 4);
    desk.effects.clear();
    desk.leads(6);
    (desk, 4)
}

fn plain() -> Desk {
    leading(Desk::plain()).0
}

/// Under `exec`, which lives.
fn exec() -> Desk {
    let mut desk = Desk::exec();
    desk.give(Input::ExecSeen(true));
    leading(desk).0
}

fn released(desk: &mut Desk) -> Option<String> {
    let write = desk.write();
    assert_eq!((write.why, write.body.holder.as_deref()), (Why::Clear, None));
    write.body.annotations.get(annotation::RELEASED).cloned()
}

/// The one answer to this request.
#[track_caller]
fn answer(desk: &mut Desk, request: Input) -> Ending {
    let (Input::StepDown { term: asked } | Input::Released { term: asked }) = request else { panic!("no request") };
    desk.effects.retain(|effect| !matches!(effect, Effect::Answer { .. }));
    desk.give(request);
    let answers = desk.effects.iter().filter_map(|effect| match effect {
        Effect::Answer { term, ending } => Some((*term, *ending)),
        _ => None,
    });
    let answers: Vec<_> = answers.collect();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers[0].0, asked);
    answers[0].1
}

fn awaited(desk: &mut Desk) -> u64 {
    let number = desk.effects.iter().find_map(|effect| match effect {
        Effect::AwaitLeadLock { number } => Some(*number),
        _ => None,
    });
    assert!(desk.writes().is_empty(), "{:#?}", desk.effects);
    desk.effects.clear();
    number.expect("it waits for the lock")
}

#[test]
fn a_step_down_clears_the_lease_and_says_nothing_of_the_app() {
    let mut desk = plain();
    desk.give(Input::StepDown { term: Term(5) });
    desk.writes_nothing();
    desk.leads(6);
    desk.give(Input::StepDown { term: Term(6) });
    assert_eq!(desk.role().role, PodRole::Follower);
    assert_eq!(released(&mut desk), None);
}

#[test]
fn the_apps_word_releases_the_lease() {
    let mut desk = plain();
    desk.give(Input::Released { term: Term(7) });
    desk.writes_nothing();
    desk.give(Input::Released { term: Term(6) });
    assert_eq!(desk.role().role, PodRole::Follower);
    assert_eq!(released(&mut desk), Some("6".to_owned()));
}

#[test]
fn a_word_behind_the_clear_is_added_to_the_very_version_that_it_made() {
    let mut desk = plain();
    desk.give(Input::StepDown { term: Term(6) });
    let clear = desk.write();
    desk.written(&clear, 5);
    desk.give(Input::Released { term: Term(6) });
    let write = desk.write();
    assert_eq!((write.why, write.body.is_clean()), (Why::Certify, true));
    assert_eq!(write.expected.map(|version| version.0), Some("5".to_owned()));

    let mut desk = plain();
    desk.give(Input::StepDown { term: Term(6) });
    let clear = desk.write();
    desk.written(&clear, 5);
    desk.watch(seen(lease(6, None, 6)));
    desk.give(Input::Released { term: Term(6) });
    desk.writes_nothing();
}

/// An app that needs a moment less than the API server does: its word was once lost, and the next leader waited.
#[test]
fn a_word_while_the_clear_is_under_way_counts() {
    let mut desk = plain();
    desk.give(Input::StepDown { term: Term(6) });
    let clear = desk.write();
    desk.give(Input::Released { term: Term(6) });
    desk.writes_nothing();
    desk.written(&clear, 5);
    let write = desk.write();
    assert_eq!((write.why, write.body.is_clean()), (Why::Certify, true));

    // The clear did not reach the Lease: the next one says it.
    let mut desk = plain();
    desk.give(Input::StepDown { term: Term(6) });
    desk.write();
    desk.give(Input::Released { term: Term(6) });
    desk.give(Input::LeaseWritten(WriteOutcome::Refused));
    desk.read(seen(lease(4, Some(("db-0", 0xa)), 6)));
    desk.pass(secs(1));
    assert_eq!(released(&mut desk), Some("6".to_owned()));
}

#[test]
fn each_request_gets_one_answer_which_says_what_became_of_its_term() {
    let mut desk = plain();
    assert_eq!(answer(&mut desk, Input::StepDown { term: Term(5) }), Ending::OtherTerm { led: Some(Term(6)) });
    desk.leads(6);
    assert_eq!(answer(&mut desk, Input::StepDown { term: Term(6) }), Ending::Ends);
    assert_eq!(desk.role().role, PodRole::Follower, "in the very step");
    let clear = desk.writes().remove(0);
    for written in [false, true] {
        if written {
            desk.written(&clear, 5);
        }
        for input in [Input::StepDown { term: Term(6) }, Input::Released { term: Term(6) }] {
            assert_eq!(answer(&mut desk, input), Ending::IsOver, "{written}");
        }
    }
    // Also when another pod leads, and of a leadership that nobody asked to end.
    desk.watch(seen(lease(6, Some(("db-1", 0xb)), 7)));
    assert_eq!(answer(&mut desk, Input::Released { term: Term(6) }), Ending::IsOver);
    assert_eq!(answer(&mut desk, Input::Released { term: Term(7) }), Ending::OtherTerm { led: Some(Term(6)) });
    let mut desk = plain();
    desk.watch(seen(lease(6, Some(("db-1", 0xb)), 7)));
    assert_eq!(answer(&mut desk, Input::Released { term: Term(6) }), Ending::IsOver);

    let mut desk = Desk::plain();
    assert_eq!(answer(&mut desk, Input::Released { term: Term(0) }), Ending::OtherTerm { led: None });
    let mut desk = Desk::seeing(Some(lease(1, Some(("db-0", 0xa)), 5)), desk::leading(5));
    desk.leads(5);
    assert_eq!(answer(&mut desk, Input::StepDown { term: Term(5) }), Ending::OtherTerm { led: None }, "it fences");
    desk.leads(5);
}

/// A retried request of term 6 must not end term 8.
#[test]
fn a_word_of_an_earlier_leadership_ends_no_later_one() {
    let mut desk = plain();
    desk.give(Input::StepDown { term: Term(6) });
    let clear = desk.write();
    desk.written(&clear, 5);
    desk.watch(seen(lease(6, Some(("db-1", 0xb)), 7)));
    desk.watch(seen(with(lease(7, None, 7), annotation::RELEASED, "7")));
    desk.pass(ms(60));
    let write = desk.write();
    desk.written(&write, 8);
    desk.leads(8);
    desk.effects.clear();
    for input in [Input::Released { term: Term(6) }, Input::StepDown { term: Term(6) }] {
        desk.give(input);
        desk.writes_nothing();
        desk.leads(8);
    }
}

#[test]
fn who_stepped_down_leaves_the_lease_to_others_for_a_duration() {
    let mut desk = plain();
    desk.give(Input::Released { term: Term(6) });
    let clear = desk.write();
    desk.written(&clear, 5);
    let shown = seen(with(lease(5, None, 6), annotation::RELEASED, "6"));
    desk.pass_seeing(&shown, secs(15) - ms(10));
    desk.writes_nothing();
    desk.pass(ms(100));
    assert_eq!(desk.write().why, Why::TakeFree, "nobody else took it");
}

#[test]
fn under_exec_nobody_contends_without_it() {
    let mut desk = Desk::exec();
    desk.read(seen(with(lease(3, None, 5), annotation::RELEASED, "5")));
    desk.pass(secs(3));
    desk.writes_nothing();
    desk.give(Input::ExecSeen(true));
    assert_eq!(desk.write().why, Why::TakeFree);
}

#[test]
fn under_exec_the_lease_is_cleared_when_the_lock_is_free_and_not_before() {
    let mut desk = exec();
    desk.give(Input::StepDown { term: Term(6) });
    assert_eq!(desk.role().role, PodRole::Follower);
    let number = awaited(&mut desk);
    desk.pass(secs(8));
    desk.writes_nothing();
    desk.give(Input::LeadLockFree { number: number + 1 });
    desk.give(Input::LeadLockFree { number: number - 1 });
    desk.writes_nothing();
    desk.give(Input::LeadLockFree { number });
    assert_eq!(released(&mut desk), Some("6".to_owned()));
}

#[test]
fn a_lock_that_was_free_before_another_leadership_says_nothing_about_it() {
    let mut desk = exec();
    desk.watch(seen(with(lease(5, Some(("db-0", 0xa)), 6), annotation::PREFERRED_HOLDER, "db-1")));
    let number = awaited(&mut desk);
    // The switchover is withdrawn: it leads on, and its command may start again.
    desk.watch(seen(lease(6, Some(("db-0", 0xa)), 6)));
    desk.leads(6);
    desk.effects.clear();
    desk.give(Input::LeadLockFree { number });
    desk.give(Input::StepDown { term: Term(6) });
    assert_ne!(awaited(&mut desk), number);
}

#[test]
fn the_end_of_exec_ends_the_leadership() {
    let mut desk = exec();
    desk.give(Input::ExecSeen(false));
    let number = awaited(&mut desk);
    desk.give(Input::LeadLockFree { number });
    assert_eq!(released(&mut desk), Some("6".to_owned()));
}

#[test]
fn a_stopping_sidecar_waits_for_the_command() {
    let mut desk = exec();
    desk.give(Input::Stop);
    let number = awaited(&mut desk);
    desk.pass(secs(20));
    assert!(!desk.effects.contains(&Effect::Stopped), "{:#?}", desk.effects);
    desk.effects.clear();
    desk.give(Input::LeadLockFree { number });
    let write = desk.write();
    assert!(write.body.is_clean());
    desk.written(&write, 9);
    assert!(desk.effects.contains(&Effect::Stopped));
}

#[test]
fn a_command_that_never_ends_costs_the_stop_bound_and_the_lease_runs_out() {
    let mut desk = exec();
    desk.give(Input::Stop);
    awaited(&mut desk);
    desk.pass(secs(51));
    assert!(desk.writes().is_empty() && desk.effects.contains(&Effect::Stopped), "{:#?}", desk.effects);
}

#[test]
fn an_unfit_leader_lets_go_and_an_unfit_pod_comes_last() {
    let mut desk = plain();
    desk.give(Input::FitnessSeen(false));
    let clear = desk.write();
    assert_eq!((clear.why, clear.body.is_clean()), (Why::Clear, false));
    desk.written(&clear, 5);
    desk.pass_seeing(&seen(lease(5, None, 6)), secs(17) - ms(10));
    desk.writes_nothing();
    desk.pass_seeing(&seen(lease(5, None, 6)), ms(20));
    let write = desk.write();
    assert_eq!((write.why, write.body.is_unfit()), (Why::TakeFree, true));
    // It keeps what it took unfit.
    desk.written(&write, 6);
    desk.give(Input::FitnessSeen(false));
    desk.leads(7);
    desk.writes_nothing();
    // Until it has been fit once.
    desk.give(Input::FitnessSeen(true));
    let write = desk.write();
    assert_eq!((write.why, write.body.is_unfit()), (Why::Renew, false));
    desk.written(&write, 7);
    desk.give(Input::FitnessSeen(false));
    assert_eq!(desk.write().why, Why::Clear);
}

#[test]
fn health_ends_nothing_while_paused_or_without_an_answer() {
    let mut desk = plain();
    desk.watch(seen(with(lease(5, Some(("db-0", 0xa)), 6), annotation::PAUSED, "true")));
    desk.give(Input::FitnessSeen(false));
    desk.leads(6);
    assert!(desk.writes().iter().all(|write| write.why == Why::Renew));

    let mut desk = plain();
    desk.pass_without_api(secs(5) + ms(100));
    desk.give(Input::FitnessSeen(false));
    desk.leads(6);
    assert!(desk.writes().iter().all(|write| write.why == Why::Renew), "{:#?}", desk.effects);
}

#[test]
fn a_fit_pod_asks_an_unfit_leader_for_the_lead_and_renews_nothing_by_that() {
    let mut desk = Desk::plain();
    let unfit = || with(lease(5, Some(("db-1", 0xb)), 6), annotation::UNFIT, "true");
    desk.read(seen(unfit()));
    desk.pass(secs(2));
    desk.writes_nothing();
    desk.pass(secs(1) + ms(1));
    let write = desk.write();
    assert_eq!(said(&write).0, Why::AskForLead);
    assert!(!write.why.is_stamped());
    assert_eq!((write.body.preferred_holder(), write.body.holder.as_deref()), (Some("db-0"), Some("db-1")));

    for keeps_quiet in [annotation::PAUSED, annotation::PREFERRED_HOLDER] {
        let mut desk = Desk::plain();
        desk.read(seen(with(unfit(), keeps_quiet, if keeps_quiet == annotation::PAUSED { "true" } else { "db-2" })));
        desk.pass(secs(5));
        desk.writes_nothing();
    }
    let mut desk = Desk::plain();
    desk.give(Input::FitnessSeen(false));
    desk.read(seen(unfit()));
    desk.pass(secs(5));
    desk.writes_nothing();
}

/// db-0 leads in term 6 and has sent a clear, for a switchover; then the request for it is withdrawn.
fn clear_for_nothing(request: Input) -> Desk {
    let mut desk = plain();
    let held = desk.election.lease().unwrap().unwrap().clone();
    desk.watch(Some(with(
        Lease { version: Version("5".into()), ..held.clone() },
        annotation::PREFERRED_HOLDER,
        "db-1",
    )));
    assert_eq!(released(&mut desk), None);
    assert_eq!(answer(&mut desk, request), Ending::IsOver);
    desk.give(Input::LeaseWritten(WriteOutcome::Refused));
    desk.effects.clear();
    desk.watch(Some(Lease { version: Version("6".into()), ..held }));
    desk.pass(secs(1));
    desk
}

/// It would lead on in the term of which the app said that it is over, and the word would release the work of that.
#[test]
fn a_word_behind_a_clear_that_failed_ends_the_leadership_for_good() {
    let mut desk = clear_for_nothing(Input::Released { term: Term(6) });
    assert_eq!(released(&mut desk), Some("6".to_owned()));
    assert_eq!(desk.role().role, PodRole::Follower);
}

#[test]
fn a_step_down_behind_a_clear_that_failed_ends_the_leadership_for_good() {
    let mut desk = clear_for_nothing(Input::StepDown { term: Term(6) });
    assert_eq!(released(&mut desk), None);
    assert_eq!(desk.role().role, PodRole::Follower);
}

fn raised_lease() -> Option<Lease> {
    seen(with(lease(5, Some(("db-0", 0xa)), 9), annotation::ADDRESS, "10.0.0.1:8089"))
}

/// Another sidecar, which had seen a higher term, raised that of db-0's leadership to 9.
fn raised(mut desk: Desk) -> Desk {
    desk.watch(raised_lease());
    desk.leads(9);
    desk
}

/// role.json and `/api/leader` say 9, and the next renewal is seconds away.
#[test]
fn a_request_of_the_term_to_which_another_sidecar_raised_it_ends_the_leadership() {
    let mut desk = raised(plain());
    assert_eq!(answer(&mut desk, Input::StepDown { term: Term(6) }), Ending::OtherTerm { led: Some(Term(9)) });
    desk.writes_nothing();
    assert_eq!(answer(&mut desk, Input::Released { term: Term(9) }), Ending::Ends);
    assert_eq!(released(&mut desk), Some("9".to_owned()));
}

/// It stopped in term 6, and role.json said `leader` never again.
#[test]
fn a_word_of_before_a_raise_counts_behind_it() {
    let mut desk = plain();
    let request = Input::Released { term: Term(6) };
    assert_eq!(answer(&mut desk, request), Ending::Ends);
    desk.write();
    desk.watch(raised_lease());
    desk.give(Input::LeaseWritten(WriteOutcome::Conflict));
    desk.read(raised_lease());
    assert_eq!(released(&mut desk), Some("9".to_owned()));
}

#[test]
fn who_took_it_unfit_keeps_it_when_its_term_is_raised() {
    let mut desk = Desk::plain();
    desk.give(Input::FitnessSeen(false));
    desk.read(seen(with(lease(3, None, 5), annotation::RELEASED, "5")));
    desk.pass_seeing(&seen(with(lease(3, None, 5), annotation::RELEASED, "5")), desk::secs(16));
    let write = desk.write();
    desk.written(&write, 4);
    desk.leads(6);
    desk.effects.clear();
    let mut desk = raised(desk);
    for version in 6..9 {
        let write = desk.write();
        assert_eq!((write.why, write.body.is_unfit()), (Why::Renew, true));
        desk.written(&write, version);
        desk.leads(9);
        desk.effects.clear();
        desk.pass(secs(5));
    }
}

/// It leads in term 6 until `validUntil`, and role.json cannot be replaced any longer.
fn full() -> (Desk, std::time::Duration) {
    let mut desk = plain();
    let until = desk.role().valid_until.unwrap();
    desk.writes_role = false;
    (desk, until)
}

/// The app may lead by the role.json that stands there: until it is replaced, or its claim is over.
#[test]
fn the_lease_is_not_cleared_while_a_role_that_could_not_be_replaced_says_leader() {
    let (mut desk, until) = full();
    desk.give(Input::StepDown { term: Term(6) });
    assert_eq!(desk.role().role, PodRole::Follower);
    desk.writes_nothing();
    desk.pass(secs(1));
    desk.writes_nothing();
    desk.give(Input::RoleWritten(true));
    assert_eq!(released(&mut desk), None);

    let (mut desk, _) = full();
    desk.give(Input::StepDown { term: Term(6) });
    desk.pass(until - desk.now - ms(1));
    desk.writes_nothing();
    desk.pass(ms(2));
    assert_eq!(released(&mut desk), None);
}

/// Nor does a stopping sidecar end before, but for its bound.
#[test]
fn a_stopping_sidecar_waits_for_its_role_to_be_replaced() {
    let (mut desk, _) = full();
    desk.give(Input::Stop);
    desk.pass(secs(1));
    assert!(!desk.effects.contains(&Effect::Stopped), "{:#?}", desk.effects);
    desk.writes_nothing();
    desk.give(Input::RoleWritten(true));
    assert_eq!(released(&mut desk), None);

    let (mut desk, _) = full();
    desk.give(Input::Stop);
    desk.pass(secs(6));
    assert!(desk.effects.contains(&Effect::Stopped) && desk.writes().is_empty(), "{:#?}", desk.effects);
}

/// It is that of the run before, whose claim is this pod's.
#[test]
fn a_role_that_a_run_finds_and_cannot_replace_keeps_the_lease_as_well() {
    let old = OldRole { own_claim: Some(id(0xd)), leads_for: Some(secs(9)), ..Desk::old_role(6, false).unwrap() };
    let app = App::Plain { incarnation: id(0xa), exec: false };
    let mut election = Election::new(Config { old_role: Some(old), ..config(app) });
    let held = without(lease(3, Some(("db-0", 0xd)), 6), annotation::CLUSTER_ID);
    let now = |seconds: u64| secs(1000 + seconds);
    let mut all = Vec::new();
    let mut give = |at, input| {
        let effects = election.step(at, input);
        let publishes = effects.iter().any(|effect| matches!(effect, Effect::PublishRole(_)));
        all.extend(effects);
        if publishes {
            all.extend(election.step(at, Input::RoleWritten(false)));
        }
        all.iter().any(|effect| matches!(effect, Effect::WriteLease(write) if write.why == Why::Clear))
    };
    give(now(0), Input::Wake);
    let mut others = members(3).unwrap();
    others.remove(0);
    give(now(0), Input::MembersSeen(Some(others)));
    assert!(!give(now(0), Input::LeaseRead(ReadOutcome::Found(held))));
    assert!(!give(now(4), Input::Wake));
    assert!(give(now(4), Input::RoleWritten(true)));
}
