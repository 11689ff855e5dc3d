#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

fn step(invoked: u64, returned: u64, call: Call, effect: Effect) -> Step {
    Step { invoked, returned: Some(returned), call, effect: Some(effect), rank: None }
}

fn open(invoked: u64, call: Call) -> Step {
    Step { invoked, returned: None, call, effect: None, rank: None }
}

fn put(value: u32) -> Call {
    Call::Put(Value(value), Condition::Always)
}

fn found(value: u32) -> Effect {
    Effect::Found(Some(Value(value)))
}

fn verdict(steps: &[Step]) -> Linear {
    let verdict = check(steps, BUDGET);
    assert_eq!(verdict == Linear::Yes, by_force(steps), "the two checkers differ on {steps:?}");
    verdict
}

/// The same question, answered by trying every order of every choice. For a handful of operations.
fn by_force(steps: &[Step]) -> bool {
    fn go(steps: &[Step], done: u32, content: Content) -> bool {
        let is_left = |i: usize| done & (1 << i) == 0;
        if (0..steps.len()).all(|i| !is_left(i) || steps[i].returned.is_none()) {
            return true;
        }
        let first = (0..steps.len()).filter(|i| is_left(*i)).filter_map(|i| steps[i].returned).min().unwrap();
        (0..steps.len()).filter(|i| is_left(*i) && steps[*i].invoked <= first).any(|i| {
            let (then, effect) = apply(content, steps[i].call);
            (steps[i].returned.is_none() || steps[i].effect == Some(effect)) && go(steps, done | 1 << i, then)
        })
    }
    go(steps, 0, None)
}

#[test]
fn what_happened_one_after_the_other_is_linear() {
    let steps = [
        step(0, 1, Call::Create(Value(1)), Effect::Created),
        step(2, 3, Call::Create(Value(1)), Effect::Same),
        step(4, 5, Call::Create(Value(2)), Effect::Conflict),
        step(6, 7, put(3), Effect::Stored),
        step(8, 9, Call::Put(Value(4), Condition::Is(Value(3))), Effect::Stored),
        step(10, 11, Call::Put(Value(5), Condition::Is(Value(3))), Effect::Failed),
        step(12, 13, Call::Read, found(4)),
        step(14, 15, Call::Delete(Condition::Always), Effect::Deleted),
        step(16, 17, Call::Delete(Condition::Always), Effect::Missing),
    ];
    assert_eq!(verdict(&steps), Linear::Yes);
}

#[test]
fn a_stale_read_is_found_but_a_concurrent_one_may_see_either() {
    let writes = [step(0, 1, put(1), Effect::Created), step(2, 9, put(2), Effect::Stored)];
    for (invoked, returned, value, linear) in [(3, 4, 1, true), (3, 4, 2, true), (10, 11, 1, false), (10, 11, 2, true)]
    {
        let mut steps = writes.to_vec();
        steps.push(step(invoked, returned, Call::Read, found(value)));
        assert_eq!(verdict(&steps) == Linear::Yes, linear, "{invoked} {value}");
    }
    // Seen, then no longer seen.
    let mut steps = writes.to_vec();
    steps.extend([step(3, 4, Call::Read, found(2)), step(5, 6, Call::Read, found(1))]);
    assert_eq!(verdict(&steps), Linear::No);
}

#[test]
fn a_lost_write_is_found_by_a_read_and_by_a_compare_and_swap() {
    let write = step(0, 1, put(1), Effect::Created);
    assert_eq!(verdict(&[write, step(2, 3, Call::Read, Effect::Found(None))]), Linear::No);
    assert_eq!(verdict(&[write, step(2, 3, put(2), Effect::Created)]), Linear::No);
    let swap = Call::Put(Value(2), Condition::Is(Value(1)));
    assert_eq!(verdict(&[write, step(2, 3, swap, Effect::Failed)]), Linear::No);
    assert_eq!(verdict(&[write, step(2, 3, swap, Effect::Stored)]), Linear::Yes);
    // Two compare-and-swaps of one value cannot both be done.
    let other = Call::Put(Value(3), Condition::Is(Value(1)));
    assert_eq!(verdict(&[write, step(2, 5, swap, Effect::Stored), step(2, 5, other, Effect::Stored)]), Linear::No);
}

#[test]
fn a_write_that_takes_effect_twice_is_found() {
    let steps =
        [step(0, 1, put(1), Effect::Created), step(2, 3, put(2), Effect::Stored), step(4, 5, Call::Read, found(1))];
    assert_eq!(verdict(&steps), Linear::No);
    // Also one whose outcome was unknown: it may take effect late, but once.
    let late = [
        step(0, 1, put(1), Effect::Created),
        open(2, put(2)),
        step(3, 4, put(3), Effect::Stored),
        step(5, 6, Call::Read, found(2)),
        step(7, 8, put(4), Effect::Stored),
        step(9, 10, Call::Read, found(2)),
    ];
    assert_eq!(verdict(&late), Linear::No);
    assert_eq!(verdict(&late[..5]), Linear::Yes);
}

#[test]
fn a_write_of_unknown_outcome_may_come_late_or_never_but_not_before_its_call() {
    let first = step(0, 1, put(1), Effect::Created);
    let never = step(5, 6, Call::Read, found(1));
    let late = step(7, 8, Call::Read, found(2));
    assert_eq!(verdict(&[first, open(2, put(2)), never]), Linear::Yes);
    assert_eq!(verdict(&[first, open(2, put(2)), never, late]), Linear::Yes);
    assert_eq!(verdict(&[first, open(9, put(2)), never, late]), Linear::No);
}

fn calls() -> impl Strategy<Value = Call> {
    let value = || (1..4_u32).prop_map(Value);
    let condition = prop_oneof![
        3 => Just(Condition::Always),
        1 => Just(Condition::Exists),
        1 => Just(Condition::Absent),
        2 => value().prop_map(Condition::Is),
    ];
    prop_oneof![
        2 => value().prop_map(Call::Create),
        3 => (value(), condition.clone()).prop_map(|(value, condition)| Call::Put(value, condition)),
        2 => condition.prop_map(Call::Delete),
        3 => Just(Call::Read),
    ]
}

/// Operations at random times; most effects are those of some order, some are anything.
fn histories() -> impl Strategy<Value = Vec<Step>> {
    let one = (calls(), 0..12_u64, 0..6_u64, 0..8_u8, 0..6_u32);
    proptest::collection::vec(one, 1..7).prop_map(|mut drawn| {
        drawn.sort_by_key(|(_, invoked, length, ..)| invoked + length / 2);
        let mut content = None;
        let mut steps = Vec::new();
        for (call, invoked, length, kind, noise) in drawn {
            let (then, mut effect) = apply(content, call);
            // 0: unknown and done, 1: unknown and not done, 2: a wrong answer, others: unchanged.
            if kind != 1 {
                content = then;
            }
            if kind == 2 && call == Call::Read {
                effect = Effect::Found((noise > 0).then_some(Value(noise)));
            } else if kind == 2 {
                let any = [Effect::Created, Effect::Stored, Effect::Deleted, Effect::Missing, Effect::Conflict];
                effect = any[noise as usize % any.len()];
            }
            let answered = kind > 1 || call == Call::Read;
            steps.push(Step {
                invoked,
                returned: answered.then_some(invoked + length),
                call,
                effect: Some(effect),
                rank: None,
            });
        }
        steps
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn it_agrees_with_a_search_through_every_order(steps in histories()) {
        prop_assert_eq!(check(&steps, BUDGET) == Linear::Yes, by_force(&steps));
    }
}

/// A record of `count` operations of eight clients, as a correct store answers; each 13th answer is lost. Each lasts for up
/// to twice `around`, while one takes effect every 10.
fn long(count: usize, around: u64, mut noise: u64) -> Vec<Step> {
    let mut random = move |below: u64| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (noise >> 33) % below
    };
    let mut content = None;
    let mut steps = Vec::new();
    for i in 0..count {
        let value = Value(u32::try_from(i).unwrap() + 1);
        let call = match (random(6), content) {
            (0, _) => Call::Create(value),
            (1, _) => Call::Delete(Condition::Always),
            (2, Some(seen)) => Call::Put(value, Condition::Is(seen)),
            (3, _) => Call::Read,
            _ => Call::Put(value, Condition::Always),
        };
        let (moment, lost) = (i as u64 * 10, i % 13 == 7);
        let (then, effect) = apply(content, call);
        if !lost || random(2) == 0 {
            content = then;
        }
        let invoked = moment.saturating_sub(random(around));
        let returned = (!lost).then(|| moment + random(around));
        let rank = (around > 20 && call.is_write()).then_some(moment);
        steps.push(Step { invoked, returned, call, effect: Some(effect), rank });
    }
    steps
}

#[test]
fn long_histories_are_checked_quickly() {
    // Without numbers a few at once; with them more.
    for (around, seed) in [(20, 0), (20, 1), (60, 2), (60, 3)] {
        let mut steps = long(1000, around, seed);
        assert_eq!(check(&steps, 20_000), Linear::Yes, "seed {seed}");
        // An answer in the middle is a lie: that value was overwritten by then.
        let is_read = |step: &&mut Step| step.invoked > 6000 && step.call == Call::Read && step.returned.is_some();
        steps.iter_mut().find(is_read).unwrap().effect = Some(found(2));
        assert_eq!(check(&steps, 200_000), Linear::No, "seed {seed}");
    }
}

#[test]
fn what_has_a_place_in_the_log_comes_in_that_order() {
    let ranked =
        |invoked, returned, call, effect, rank| Step { rank: Some(rank), ..step(invoked, returned, call, effect) };
    let steps = |first, second| {
        [
            ranked(0, 9, put(1), Effect::Created, first),
            ranked(0, 9, put(2), Effect::Stored, second),
            step(10, 11, Call::Read, found(2)),
        ]
    };
    assert_eq!(check(&steps(5, 6), BUDGET), Linear::Yes);
    assert_eq!(check(&steps(6, 5), BUDGET), Linear::No);
}
