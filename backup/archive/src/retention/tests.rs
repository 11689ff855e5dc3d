use super::*;
use crate::catalog::tests::catalog;
use crate::chain::locate;
use crate::point::Point;
use crate::time::Time;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// In seconds, as the times of the names are.
fn keep(point_in_time: u64, fulls: usize) -> Keep {
    Keep { point_in_time_ms: point_in_time * 1000, fulls, step_max_ms: u64::MAX }
}

fn gone(text: &str, keep: Keep) -> Vec<String> {
    let stages = prunable(&catalog(text), keep);
    let short = |name: &Name| match name {
        Name::Full { seq, .. } => format!("full {seq}"),
        Name::Verified { seq, .. } => format!("verified {seq}"),
        Name::Changes { first, last, .. } => format!("changes {first}-{last}"),
    };
    stages.iter().map(|stage| stage.iter().map(short).collect::<Vec<_>>().join(", ")).collect()
}

const ALL: &str = "full 10, verified 10, changes 11-20, full 20, verified 20, changes 21-30, full 30, verified 30, \
                   changes 31-40, full 40, verified 40, changes 41-50";

#[test]
fn what_the_window_does_not_need_goes_in_a_safe_order() {
    assert_eq!(gone(ALL, keep(15, 1)), ["changes 11-20", "verified 10", "full 10"]);
    assert_eq!(
        gone(ALL, keep(10, 1)),
        ["changes 11-20, changes 21-30", "verified 10, verified 20", "full 10, full 20"]
    );
    assert_eq!(gone(ALL, keep(10, 3)), ["changes 11-20, changes 21-30", "verified 10", "full 10"]);
    assert_eq!(gone(ALL, keep(1, 30)), ["changes 11-20, changes 21-30"], "there are no 30 fulls");
    assert!(gone(ALL, keep(31, 1)).is_empty());
    assert!(gone(ALL, keep(1000, 1)).is_empty());
}

#[test]
fn a_clock_that_jumps_makes_nothing_older() {
    let year = 1_000_000;
    let jumped = |seq: u64| seq + year;
    let after = format!(
        "{ALL}, {}",
        [60, 70, 80]
            .map(|seq| format!(
                "changes {}-{}, full {seq}@{}, verified {seq}@{}",
                seq - 9,
                seq,
                jumped(seq),
                jumped(seq)
            ))
            .join(", ")
    );
    let names: Vec<String> = names_at(&after);
    let catalog = Catalog::of(names.iter().map(|name| (name.as_str(), 1)));
    // From 40 to 60 are 20 s at most, whatever the clocks said.
    let keep = |point_in_time| Keep { step_max_ms: 20_000, ..keep(point_in_time, 1) };
    let kept = |point_in_time| {
        let gone: BTreeSet<Name> = prunable(&catalog, keep(point_in_time)).concat().into_iter().collect();
        catalog
            .fulls()
            .iter()
            .map(|full| full.edge.seq.0)
            .filter(|seq| !gone.iter().any(|name| matches!(name, Name::Full { seq: of, .. } if of.0 == *seq)))
            .collect::<Vec<_>>()
    };
    assert_eq!(kept(20), [60, 70, 80]);
    assert_eq!(kept(40), [40, 60, 70, 80]);
    assert_eq!(kept(50), [30, 40, 60, 70, 80]);
    assert_eq!(kept(1000), [10, 20, 30, 40, 60, 70, 80]);
}

/// As [`catalog`] reads them, in seconds; `@` says another time than the sequence.
fn names_at(text: &str) -> Vec<String> {
    let name = |one: &str| {
        let (kind, rest) = one.split_once(' ').unwrap();
        let (range, at) = rest.split_once('@').unwrap_or((rest, rest.rsplit('-').next().unwrap()));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (Seq(first.parse().unwrap()), Seq(last.parse().unwrap()));
        let time = Time::from_ms(at.parse::<u64>().unwrap() * 1000);
        match kind {
            "full" => Name::Full { seq: last, time, encrypted: false },
            "verified" => Name::Verified { seq: last, time },
            _ => Name::Changes { first, last, time, encrypted: false },
        }
        .to_string()
    };
    text.split(", ").map(|one| name(one.trim())).collect()
}

#[test]
fn fulls_that_were_not_verified_do_not_count() {
    assert!(gone("full 10, changes 11-20, full 20, changes 21-30", keep(1, 1)).is_empty());
    let one = "full 10, verified 10, changes 11-20, full 20, changes 21-30, full 30";
    assert!(gone(one, keep(1, 1)).is_empty(), "the window begins at 9, and nothing is before it");
    let two = "full 5, full 10, verified 10, changes 11-20, full 20, changes 21-30, full 30, verified 30";
    assert_eq!(gone(two, keep(1, 1)), ["full 5"]);
    assert_eq!(gone("verified 5, full 10, verified 10, full 30, verified 30", keep(1, 1)), ["verified 5"]);
}

#[test]
fn without_a_time_nothing_goes() {
    let name = |seq: u64| Name::Full { seq: Seq(seq), time: Time::UNSAID, encrypted: false }.to_string();
    let mark = |seq: u64| Name::Verified { seq: Seq(seq), time: Time::UNSAID }.to_string();
    let names = [name(1), mark(1), name(2), mark(2)];
    let catalog = Catalog::of(names.iter().map(|name| (name.as_str(), 1)));
    assert!(prunable(&catalog, keep(0, 1)).is_empty());
}

/// A random archive: entries' times rise by any steps (clocks that jump), files overlap, have holes, and some fulls are verified.
fn archives() -> impl Strategy<Value = (Vec<String>, Vec<u64>)> {
    let steps = proptest::collection::vec(prop_oneof![9 => 0..3_u64, 1 => 0..1_000_000_u64], 60);
    let fulls = proptest::collection::vec((0..60_u64, any::<bool>(), any::<bool>()), 0..12);
    let files = proptest::collection::vec((1..60_u64, 0..20_u64), 0..20);
    (steps, fulls, files).prop_map(|(steps, fulls, files)| {
        let times: Vec<u64> = steps
            .iter()
            .scan(1, |time, step| {
                *time += step;
                Some(*time)
            })
            .collect();
        let time = |seq: u64| Time::from_ms(times[seq as usize]);
        let mut names = Vec::new();
        for (seq, verified, encrypted) in fulls {
            names.push(Name::Full { seq: Seq(seq), time: time(seq), encrypted }.to_string());
            if verified {
                names.push(Name::Verified { seq: Seq(seq), time: time(seq) }.to_string());
            }
        }
        for (first, more) in files {
            let last = (first + more).min(59);
            let (first, seq) = (Seq(first), Seq(last));
            names.push(Name::Changes { first, last: seq, time: time(last), encrypted: false }.to_string());
        }
        (names, times)
    })
}

proptest! {
    #[test]
    fn what_the_window_could_restore_it_still_can_wherever_the_prune_stops(
        (names, times) in archives(),
        window in 0..2000_u64,
        step_max_ms in prop_oneof![Just(u64::MAX), 1..2000_u64],
        fulls in 1..5_usize,
        stop in 0..100_usize,
    ) {
        let of = |names: &BTreeSet<String>| Catalog::of(names.iter().map(|name| (name.as_str(), 1)));
        let mut left: BTreeSet<String> = names.into_iter().collect();
        let before = of(&left);
        let keep = Keep { point_in_time_ms: window, fulls, step_max_ms };
        for name in prunable(&before, keep).concat().into_iter().take(stop) {
            prop_assert!(left.remove(&name.to_string()), "{name} is not there");
        }
        let after = of(&left);
        prop_assert_eq!(after.newest_verified(), before.newest_verified());
        let count = |catalog: &Catalog| {
            catalog.fulls().iter().filter(|full| full.verified).map(|full| full.edge.seq).collect::<BTreeSet<_>>().len()
        };
        prop_assert!(count(&after) >= count(&before).min(fulls));
        if let Some(newest) = before.newest_verified() {
            let begin = newest.edge.time.ms().saturating_sub(window).max(1);
            for time in begin..=begin + 50 {
                let point = Point::Time(Time::from_ms(time));
                if locate(&before, point).is_ok() {
                    prop_assert_eq!(locate(&after, point), locate(&before, point));
                }
            }
            for (seq, time) in times.iter().enumerate().filter(|(_, time)| **time >= begin) {
                let point = Point::Seq(Seq(seq as u64));
                prop_assert_eq!(locate(&after, point).is_ok(), locate(&before, point).is_ok(), "{} at {}", seq, time);
            }
        }
        // And it comes to an end.
        let done: BTreeSet<String> = prunable(&after, keep).concat().iter().map(Name::to_string).collect();
        let rest = of(&left.difference(&done).cloned().collect());
        prop_assert!(prunable(&rest, keep).is_empty());
    }
}

#[test]
fn a_hundred_thousand_names_take_seconds_at_most() {
    let mut names = Vec::new();
    for seq in 1..=100_000_u64 {
        let time = Time::from_ms(seq * 10_000);
        names.push(Name::Changes { first: Seq(seq), last: Seq(seq), time, encrypted: false }.to_string());
        if seq % 8640 == 1 {
            names.push(Name::Full { seq: Seq(seq), time, encrypted: false }.to_string());
            names.push(Name::Verified { seq: Seq(seq), time }.to_string());
        }
    }
    let begun = std::time::Instant::now();
    let catalog = Catalog::of(names.iter().map(|name| (name.as_str(), 1)));
    let listed = begun.elapsed();
    let stages = prunable(&catalog, Keep { point_in_time_ms: 604_800_000, fulls: 3, step_max_ms: 172_800_000 });
    let planned = begun.elapsed() - listed;
    assert_eq!(catalog.ranges().len(), 1);
    let gone: usize = stages.iter().map(Vec::len).sum();
    eprintln!("100,000 names: read in {listed:?}, planned in {planned:?}, {gone} to delete");
    assert!(gone > 30_000, "{gone}");
    assert!(begun.elapsed().as_secs() < 10);
}
