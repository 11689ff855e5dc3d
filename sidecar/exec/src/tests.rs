//! The rules of the crate's documentation, each by hand; then random lives of CMD, and every order in which the wrapper and its
//! sidecar can meet at the lock.

mod lives;
mod order;

use std::time::Duration;

use crate::{Claim, Effect, Input, LOST_CODE, OnLost, Saying, Settings, Sight, Wrapper};

const LEASE: Duration = Duration::from_secs(15);
const TERM: i32 = 15;
const HUP: i32 = 1;

pub(super) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A claim that was renewed at that moment.
pub(super) fn renewed(term: u64, at: Duration) -> Claim {
    Claim { term, valid_until: at + LEASE, duration: LEASE }
}

fn leading(term: u64, at: Duration) -> Sight {
    Sight::Leading(renewed(term, at))
}

fn not_leading(term: u64) -> Sight {
    Sight::NotLeading { term, leader: Some("db-1".to_owned()) }
}

fn wrapper(on_lost: OnLost) -> Wrapper {
    let mut wrapper = Wrapper::new(Settings { stop_grace: None, on_lost });
    assert_eq!(wrapper.step(ms(0), Input::Wake), [Effect::TryEnter]);
    assert_eq!(wrapper.step(ms(0), Input::Entered(true)), []);
    wrapper
}

/// A wrapper whose CMD runs since 100 s in term 3.
fn running(on_lost: OnLost) -> Wrapper {
    let (mut wrapper, now) = (wrapper(on_lost), ms(100_000));
    assert_eq!(wrapper.step(now, Input::RoleSeen(leading(3, now))), [Effect::TryLock]);
    assert_eq!(wrapper.step(now, Input::Locked(true)), [Effect::CheckRole]);
    let effects = wrapper.step(now, Input::RoleChecked(leading(3, now)));
    assert_eq!(effects, [Effect::Say(Saying::Starting { term: 3 }), Effect::Start(renewed(3, now))]);
    wrapper
}

#[test]
fn what_it_waits_for_is_said_once_for_each_leader() {
    let mut wrapper = wrapper(OnLost::Wait);
    let waiting = |term| Effect::Say(Saying::Waiting { term, leader: Some("db-1".to_owned()) });
    assert_eq!(wrapper.step(ms(1), Input::RoleSeen(not_leading(4))), [waiting(4)]);
    assert_eq!(wrapper.step(ms(2), Input::RoleSeen(not_leading(4))), []);
    assert_eq!(wrapper.step(ms(3), Input::RoleSeen(not_leading(5))), [waiting(5)]);
    assert_eq!(wrapper.deadline(), None, "it waits for others alone");
}

#[test]
fn a_sidecar_that_writes_nothing_is_missed_once() {
    let mut wrapper = wrapper(OnLost::Wait);
    wrapper.step(ms(1), Input::RoleSeen(Sight::Nothing));
    let deadline = wrapper.deadline().expect("it will say so");
    assert_eq!(wrapper.step(deadline, Input::Wake), [Effect::Say(Saying::NoRole)]);
    assert_eq!((wrapper.step(deadline + LEASE, Input::Wake), wrapper.deadline()), (vec![], None));
}

#[test]
fn a_directory_that_another_exec_holds_is_waited_for() {
    let mut wrapper = Wrapper::new(Settings { stop_grace: None, on_lost: OnLost::Wait });
    assert_eq!(wrapper.step(ms(0), Input::Wake), [Effect::TryEnter]);
    assert_eq!(wrapper.step(ms(0), Input::Entered(false)), [Effect::Say(Saying::DirectoryTaken)]);
    let again = wrapper.deadline().expect("it tries again");
    assert_eq!(wrapper.step(again, Input::Wake), [Effect::TryEnter]);
    assert_eq!(wrapper.step(again, Input::Entered(false)), [], "said once");
    // What happened to role.json meanwhile is not forgotten.
    assert_eq!(wrapper.step(again, Input::RoleSeen(leading(3, again))), []);
    let again = wrapper.deadline().expect("it tries again");
    assert_eq!(wrapper.step(again, Input::Wake), [Effect::TryEnter]);
    assert_eq!(wrapper.step(again, Input::Entered(true)), [Effect::TryLock]);
}

#[test]
fn what_an_earlier_leadership_left_keeps_the_next_from_starting() {
    let (mut wrapper, now) = (wrapper(OnLost::Wait), ms(100_000));
    assert_eq!(wrapper.step(now, Input::RoleSeen(leading(3, now))), [Effect::TryLock]);
    assert_eq!(wrapper.step(now, Input::Locked(false)), [Effect::Say(Saying::LeadLockHeld)]);
    let again = wrapper.deadline().expect("it tries again");
    assert_eq!(wrapper.step(again, Input::Wake), [Effect::TryLock]);
    assert_eq!(wrapper.step(again, Input::Locked(false)), [], "said once");
}

#[test]
fn a_role_that_changed_before_the_lock_was_ours_starts_nothing() {
    let (mut wrapper, now) = (wrapper(OnLost::Wait), ms(100_000));
    wrapper.step(now, Input::RoleSeen(leading(3, now)));
    assert_eq!(wrapper.step(now, Input::Locked(true)), [Effect::CheckRole]);
    let effects = wrapper.step(now, Input::RoleChecked(not_leading(4)));
    assert_eq!(effects[0], Effect::Unlock);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Start(_))), "{effects:?}");
}

#[test]
fn a_claim_that_is_almost_over_starts_nothing_until_it_is_renewed() {
    let (mut wrapper, now) = (wrapper(OnLost::Wait), ms(100_000));
    let late = now + ms(10_500);
    assert_eq!(wrapper.step(late, Input::RoleSeen(leading(3, now))), []);
    assert_eq!(wrapper.step(late, Input::RoleSeen(leading(3, late))), [Effect::TryLock]);
}

#[test]
fn a_claim_that_nobody_renews_ends_cmd_in_good_time() {
    let mut wrapper = running(OnLost::Wait);
    let stop = ms(110_500);
    assert_eq!(wrapper.deadline(), Some(stop), "validUntil 115 s, a margin of 1.5 s, a grace of 3 s");
    assert_eq!(wrapper.step(stop - ms(1), Input::Wake), []);
    let said = Effect::Say(Saying::NotRenewed { term: 3, grace: ms(3000) });
    assert_eq!(wrapper.step(stop, Input::Wake), [said, Effect::Stop]);
    assert_eq!(wrapper.deadline(), Some(ms(113_500)));
    // Nothing undoes a stop.
    assert_eq!(wrapper.step(stop + ms(1), Input::RoleSeen(leading(3, stop))), []);
    let killing = Effect::Say(Saying::Killing { term: 3 });
    assert_eq!(wrapper.step(ms(113_500), Input::Wake), [killing, Effect::Kill]);
    assert_eq!(wrapper.step(ms(113_500), Input::Ended { code: 137 }), []);
    let again = wrapper.deadline().expect("something may be left");
    assert_eq!(wrapper.step(again, Input::Wake), [Effect::Kill]);
    // It leads still, or again: so it starts again.
    let effects = wrapper.step(again, Input::Gone);
    assert_eq!(effects, [Effect::Unlock, Effect::Say(Saying::Ended { code: 137 }), Effect::TryLock]);
}

#[test]
fn a_renewed_claim_lets_cmd_run() {
    let mut wrapper = running(OnLost::Wait);
    for seconds in (105..200).step_by(5) {
        let now = ms(seconds * 1000);
        assert_eq!(wrapper.step(now, Input::RoleSeen(leading(3, now))), []);
        assert_eq!(wrapper.deadline(), Some(now + ms(10_500)));
    }
}

#[test]
fn another_role_and_another_term_end_cmd_at_once_and_a_missing_file_does_not() {
    let now = ms(101_000);
    for sight in [not_leading(3), not_leading(4), leading(5, now)] {
        let mut wrapper = running(OnLost::Wait);
        assert_eq!(wrapper.step(now, Input::RoleSeen(Sight::Nothing)), []);
        let said = Effect::Say(Saying::Lost { term: 3, grace: ms(3000) });
        assert_eq!(wrapper.step(now, Input::RoleSeen(sight)), [said, Effect::Stop]);
        assert_eq!(wrapper.deadline(), Some(now + ms(3000)));
    }
}

#[test]
fn a_grace_of_the_user_is_given_while_the_claim_lasts_and_no_longer() {
    let (now, grace) = (ms(100_000), ms(8000));
    let mut wrapper = Wrapper::new(Settings { stop_grace: Some(grace), on_lost: OnLost::Wait });
    wrapper.step(now, Input::Wake);
    wrapper.step(now, Input::Entered(true));
    wrapper.step(now, Input::RoleSeen(leading(3, now)));
    wrapper.step(now, Input::Locked(true));
    wrapper.step(now, Input::RoleChecked(leading(3, now)));
    assert_eq!(wrapper.deadline(), Some(ms(108_500)), "a third of the duration is kept free, not more");
    let said = |grace| Effect::Say(Saying::Lost { term: 3, grace });
    let effects = wrapper.step(ms(101_000), Input::RoleSeen(not_leading(3)));
    assert_eq!(effects, [said(grace), Effect::Stop]);
    assert_eq!(wrapper.deadline(), Some(ms(109_000)));
    let mut late = running(OnLost::Wait);
    let effects = late.step(ms(113_000), Input::RoleSeen(not_leading(3)));
    assert_eq!(effects, [said(ms(500)), Effect::Stop]);
}

#[test]
fn a_wrapper_that_was_frozen_past_the_end_kills_at_once() {
    let mut wrapper = running(OnLost::Wait);
    let effects = wrapper.step(ms(200_000), Input::Wake);
    assert_eq!(effects.last(), Some(&Effect::Kill), "{effects:?}");
    let mut wrapper = running(OnLost::Wait);
    let effects = wrapper.step(ms(200_000), Input::RoleSeen(not_leading(4)));
    assert_eq!(effects.last(), Some(&Effect::Kill), "{effects:?}");
}

/// The wrapper was frozen, and the guard did its work. What the wrapper hears of first is chance.
#[test]
fn a_cmd_that_was_killed_while_the_wrapper_did_not_run_is_lost_and_not_over() {
    let late = ms(114_500);
    let mut wrapper = running(OnLost::Wait);
    assert_eq!(wrapper.step(late, Input::Ended { code: 137 }), [Effect::Kill]);
    assert_eq!(wrapper.step(late, Input::RoleSeen(not_leading(4))), []);
    let effects = wrapper.step(late, Input::Gone);
    assert_eq!(effects[..2], [Effect::Unlock, Effect::Say(Saying::Ended { code: 137 })]);
}

#[test]
fn a_cmd_that_ends_by_itself_ends_the_wrapper_with_its_code_once_its_children_are_dead() {
    for code in [0, 3, 143] {
        let mut wrapper = running(OnLost::Wait);
        assert_eq!(wrapper.step(ms(101_000), Input::Ended { code }), [Effect::Kill], "its children");
        // A leadership that is lost meanwhile changes nothing.
        assert_eq!(wrapper.step(ms(101_000), Input::RoleSeen(not_leading(4))), []);
        assert_eq!(wrapper.step(ms(101_001), Input::Gone), [Effect::Unlock, Effect::Exit(code)]);
        assert_eq!(wrapper.step(ms(101_002), Input::Wake), []);
    }
}

#[test]
fn a_lost_leadership_ends_the_wrapper_only_where_that_was_wanted() {
    let mut wrapper = running(OnLost::Exit);
    wrapper.step(ms(101_000), Input::RoleSeen(not_leading(4)));
    wrapper.step(ms(101_000), Input::Ended { code: 0 });
    assert_eq!(wrapper.step(ms(101_001), Input::Gone), [Effect::Unlock, Effect::Exit(LOST_CODE)]);

    let mut wrapper = running(OnLost::Wait);
    wrapper.step(ms(101_000), Input::RoleSeen(not_leading(4)));
    wrapper.step(ms(101_000), Input::Ended { code: 0 });
    let effects = wrapper.step(ms(101_001), Input::Gone);
    let waiting = Saying::Waiting { term: 4, leader: Some("db-1".to_owned()) };
    assert_eq!(effects, [Effect::Unlock, Effect::Say(Saying::Ended { code: 0 }), Effect::Say(waiting)]);
}

#[test]
fn every_signal_is_cmds_and_only_those_that_end_it_end_the_wrapper() {
    let mut wrapper = running(OnLost::Wait);
    let signal = |signal, ends| Input::Signalled { signal, ends };
    assert_eq!(wrapper.step(ms(101_000), signal(HUP, false)), [Effect::Forward(HUP)]);
    assert_eq!(wrapper.step(ms(101_000), signal(TERM, true)), [Effect::Forward(TERM)]);
    assert_eq!(wrapper.step(ms(101_000), signal(TERM, true)), [Effect::Forward(TERM)], "a second one, too");
    // The claim is renewed: CMD has all the time that the kubelet gives.
    assert_eq!(wrapper.step(ms(105_000), Input::RoleSeen(leading(3, ms(105_000)))), []);
    // Even if the leadership is lost before CMD has ended, its code counts: somebody asked for the end.
    wrapper.step(ms(106_000), Input::RoleSeen(not_leading(4)));
    wrapper.step(ms(106_000), Input::Ended { code: 7 });
    assert_eq!(wrapper.step(ms(106_001), Input::Gone), [Effect::Unlock, Effect::Exit(7)]);
}

#[test]
fn a_wrapper_that_waits_ends_by_the_signals_code_and_ignores_others() {
    let mut waiting = wrapper(OnLost::Wait);
    assert_eq!(waiting.step(ms(1), Input::Signalled { signal: HUP, ends: false }), []);
    assert_eq!(waiting.step(ms(1), Input::Signalled { signal: TERM, ends: true }), [Effect::Exit(143)]);
    let mut entering = Wrapper::new(Settings { stop_grace: None, on_lost: OnLost::Wait });
    entering.step(ms(0), Input::Wake);
    entering.step(ms(0), Input::Entered(false));
    assert_eq!(entering.step(ms(1), Input::Signalled { signal: 2, ends: true }), [Effect::Exit(130)]);
}

#[test]
fn what_no_sigkill_ends_keeps_the_lock_and_is_said_once() {
    let mut wrapper = running(OnLost::Wait);
    let mut now = ms(101_000);
    wrapper.step(now, Input::Ended { code: 1 });
    let (mut said, mut kills) = (0, 0);
    while now < ms(160_000) {
        now = wrapper.deadline().expect("it continues to kill");
        for effect in wrapper.step(now, Input::Wake) {
            match effect {
                Effect::Kill => kills += 1,
                Effect::Say(Saying::CannotKill) => said += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(said, 1);
    assert!((60..200).contains(&kills), "{kills} times in a minute");
}

#[test]
fn a_cmd_that_cannot_be_started_ends_the_wrapper() {
    let mut wrapper = running(OnLost::Wait);
    assert_eq!(wrapper.step(ms(100_000), Input::StartFailed), [Effect::Unlock, Effect::Exit(125)]);
}
