//! Whole runs in virtual time: several electors against one compare-and-swap register, with a small model of the apps,
//! disturbed at random and then left alone.
//!
//! What is asserted, and what is not:
//!
//! - always: the term that an elector publishes never goes down; a deadline lies ahead; no elector asks for more than a
//!   bounded number of requests and role files in any second of a run;
//! - plain apps, nobody edits the Lease: at no instant do two electors publish `leader` with a claim that is still valid
//!   (`valid_until` ahead; one that stands still cannot take `leader` back, which is why readers compare it);
//! - nobody deletes the Lease or lowers its term: no two incarnations publish `leader` **by the Lease** for one term.
//!   Off the Lease two electors may name the same term, each its own app; promises decide which of them, if any, opens;
//! - fencing apps, always: no two incarnations have a majority of exact promises in one term (in this model, too, that
//!   is the apps' doing, not the Lease's);
//! - in the end, left alone: one leader, the Lease names it (name, incarnation, term), every pod publishes it, it stays,
//!   the holder sends one renewal per third of the duration, and nobody else sends anything.
#![allow(clippy::unwrap_used)]

mod world;

use std::time::Duration;

use proptest::prelude::*;
use world::{Deed, World};

fn target() -> impl Strategy<Value = usize> {
    0..3_usize
}

fn span() -> impl Strategy<Value = Duration> {
    prop_oneof![3 => 50_u64..3_000, 1 => 3_000_u64..60_000].prop_map(Duration::from_millis)
}

/// What the outside world does to a cluster, without an edit of the Lease.
fn fault() -> impl Strategy<Value = Deed> {
    prop_oneof![
        (target(), span()).prop_map(|(pod, span)| Deed::CutApi { pod: Some(pod), span }),
        span().prop_map(|span| Deed::CutApi { pod: None, span }),
        (target(), span()).prop_map(|(pod, span)| Deed::LoseAnswers { pod, span }),
        (target(), span()).prop_map(|(pod, span)| Deed::FailWrites { pod, span }),
        (target(), span()).prop_map(|(pod, span)| Deed::MuteWatch { pod, span }),
        target().prop_map(|pod| Deed::CutWatch { pod }),
        (target(), span()).prop_map(|(pod, span)| Deed::Freeze { pod, span }),
        (target(), span()).prop_map(|(pod, span)| Deed::KillApp { pod, span }),
        target().prop_map(|pod| Deed::RestartSidecar { pod }),
        target().prop_map(|pod| Deed::RestartPod { pod }),
        target().prop_map(|pod| Deed::Switchover { pod }),
        span().prop_map(|span| Deed::Pause { span }),
        Just(Deed::Annotate),
    ]
}

/// Edits that never repeat a term.
fn harmless_edit() -> impl Strategy<Value = Deed> {
    prop_oneof![
        (1_u64..50).prop_map(|by| Deed::RaiseTerm { by }),
        Just(Deed::ClearHolder),
        Just(Deed::RivalHolder),
        Just(Deed::DropIncarnation),
        Just(Deed::DropClusterId),
    ]
}

/// Edits that do.
fn hostile_edit() -> impl Strategy<Value = Deed> {
    prop_oneof![Just(Deed::Delete), (1_u64..9).prop_map(|by| Deed::LowerTerm { by }), Just(Deed::AbsurdTerm)]
}

fn script(deed: impl Strategy<Value = Deed>) -> impl Strategy<Value = Vec<(Duration, Deed)>> {
    proptest::collection::vec((span(), deed), 1..14)
}

fn cases() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(40);
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 2_000, ..ProptestConfig::default() }
}

/// Settles, is disturbed, is left alone, and must settle again.
fn run(mut world: World, script: Vec<(Duration, Deed)>) {
    world.pass(Duration::from_secs(40));
    for (pause, deed) in script {
        world.disturb(deed);
        world.pass(pause);
    }
    world.calm();
    world.settles_within(Duration::from_secs(120));
    world.stays_and_is_quiet(Duration::from_secs(150));
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn fencing_apps_settle_after_any_faults(seed in any::<u64>(), script in script(fault())) {
        run(World::fencing(seed, 3), script);
    }

    #[test]
    fn fencing_apps_settle_after_any_faults_and_harmless_edits(
        seed in any::<u64>(),
        script in script(prop_oneof![2 => fault(), 1 => harmless_edit()]),
    ) {
        run(World::fencing(seed, 3), script);
    }

    #[test]
    fn fencing_apps_settle_after_any_faults_and_any_edits(
        seed in any::<u64>(),
        script in script(prop_oneof![2 => fault(), 1 => harmless_edit(), 1 => hostile_edit()]),
    ) {
        run(World::fencing(seed, 3).with_terms_that_come_again(), script);
    }

    #[test]
    fn plain_apps_settle_after_any_faults_and_two_never_lead_at_once(seed in any::<u64>(), script in script(fault())) {
        run(World::plain(seed, 3), script);
    }

    #[test]
    fn plain_apps_settle_after_any_faults_and_harmless_edits(
        seed in any::<u64>(),
        script in script(prop_oneof![2 => fault(), 1 => harmless_edit()]),
    ) {
        run(World::plain(seed, 3).with_edits(), script);
    }

    #[test]
    fn a_healthy_leader_of_fencing_apps_is_not_deposed_by_an_api_outage(
        seed in any::<u64>(),
        outages in proptest::collection::vec((span(), proptest::option::of(target())), 1..6),
    ) {
        let mut world = World::fencing(seed, 3);
        world.pass(Duration::from_secs(40));
        let leader = world.settled().expect("it has settled");
        for (span, pod) in outages {
            world.disturb(Deed::CutApi { pod, span });
            world.pass(span * 2);
            prop_assert_eq!(world.leading(), Some((leader.0.clone(), leader.2)));
        }
        world.pass(Duration::from_secs(60));
        prop_assert_eq!(world.settled(), Some(leader));
    }

    #[test]
    fn a_healthy_holder_of_plain_apps_is_not_deposed_when_the_api_comes_back(
        seed in any::<u64>(),
        outages in proptest::collection::vec(span(), 1..6),
    ) {
        let mut world = World::plain(seed, 3);
        world.pass(Duration::from_secs(40));
        let leader = world.settled().expect("it has settled");
        for span in outages {
            world.disturb(Deed::CutApi { pod: None, span });
            world.pass(span + Duration::from_secs(20));
        }
        prop_assert_eq!(world.settled(), Some(leader));
    }

    #[test]
    fn one_eligible_app_alone_becomes_leader(seed in any::<u64>(), is_plain in any::<bool>()) {
        let mut world = if is_plain { World::plain(seed, 1) } else { World::fencing(seed, 1) };
        world.settles_within(Duration::from_secs(25));
        world.stays_and_is_quiet(Duration::from_secs(150));
    }
}
