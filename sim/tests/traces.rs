//! Faults that chance seldom finds, because they need messages in one certain order: each by a trace written by hand.
//! With the fault the trace ends in a violation, without it in none.
//!
//! Read each beside its table, `traces/NAME.txt`: a row for each act, and its result (`small::Stage` explains the cells).
//! After a change of a core: `LEASEHOLD_SIM_REWRITE=1 cargo test --locked -p leasehold-sim --features plants --test traces`
//! writes the tables anew; commit what you can explain.
#![allow(clippy::unwrap_used)]

use leasehold_election::Fault as E;
use leasehold_replication::{Fault as R, Position, Seq};
use leasehold_sim::Plant;
use leasehold_sim::small::{LeaseStage, Stage, Staged, VolumeCopy};
use std::path::Path;
use std::time::Duration;

/// A write of this length fills an append: what follows it arrives in the next one.
const FAT: usize = 600_000;

/// Plays the trace without the fault, where nothing may be wrong, and with it. Both are compared with the tables in
/// `traces/`, which show the reader the result of each act.
fn finds<S: Staged>(plant: Plant, trace: impl Fn(Option<Plant>) -> S) {
    let (clean, faulty) = (trace(None).played(), trace(Some(plant)).played());
    assert_eq!(clean.wrong, None, "\n{}", clean.table(1));
    let Some(wrong) = &faulty.wrong else { panic!("{plant:?} is not found:\n{}", faulty.table(1)) };
    let name = plant.name();
    let (clean, faulty) = (clean.table(1), faulty.table(faulty.first_difference(&clean)));
    let text = format!("As it is:\n\n{clean}\nWith {name}, from where that differs:\n\n{faulty}\n{wrong}\n");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces").join(format!("{name}.txt"));
    if std::env::var_os("LEASEHOLD_SIM_REWRITE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(known == text, "{} says something else; now it is:\n{text}", path.display());
}

/// A switchover is requested and withdrawn. The leader sees its own clear late, when the request is gone.
#[test]
fn a_leader_that_sent_its_clear_does_not_lead_on_by_an_older_renewal() {
    finds(Plant::Election(E::ClearedLeadsOn), |plant| {
        let mut stage = LeaseStage::new(2, plant);
        assert!(stage.leads(0));
        stage.ask_for(Some(1));
        stage.watch(0);
        assert!(!stage.leads(0));
        stage.carry_out(0);
        stage.watch(1);
        stage.ask_for(None);
        stage.watch(1);
        stage.pass(Duration::from_millis(1_800));
        stage.watch(0);
        // The other one waits two lost-times from the clear, which is less than the old claim is valid for.
        stage.freeze(0);
        stage.pass(Duration::from_millis(200));
        stage.carry_out(1);
        stage.answer();
        if plant.is_none() {
            assert!(stage.leads(1));
        }
        stage
    });
}

/// One saw the first clear late, and then nothing of the leadership between it and the second one.
#[test]
fn a_wait_that_counts_from_the_first_of_two_clears_takes_the_lease_too_soon() {
    finds(Plant::Election(E::ClearsAreAlike), |plant| {
        let mut stage = LeaseStage::new(3, plant);
        let hands_on = |stage: &mut LeaseStage, from, to| {
            stage.ask_for(Some(to));
            stage.watch(from);
            stage.carry_out(from);
            stage.answer();
            stage.ask_for(None);
            stage.watch(to);
        };
        hands_on(&mut stage, 0, 1);
        stage.pass(Duration::from_millis(300));
        stage.watch(2);
        stage.pass(Duration::from_millis(1_700));
        stage.carry_out(1);
        stage.answer();
        assert!(stage.leads(1));
        hands_on(&mut stage, 1, 2);
        stage.pass(Duration::from_millis(300));
        stage.carry_out(2);
        stage
    });
}

/// An entry of term 1 is on a majority, and is counted. A leader of term 2 whom nobody heard has a better log without it.
#[test]
fn a_commit_that_counts_an_entry_of_an_older_term_is_undone_by_a_later_leader() {
    finds(Plant::Replication(R::OldTermCommits), |plant| {
        let mut stage = Stage::new(3, FAT, plant);
        stage.lead(0, &[1, 2]);
        stage.among(&[0, 1, 2]);
        assert!(stage.leads(0));
        stage.write(0);
        stage.sync(0);
        stage.lead(1, &[2]);
        assert_eq!(stage.position(1), Position::new(2, 3));
        stage.lead(0, &[2]);
        assert_eq!(stage.position(0), Position::new(3, 4));
        // The welcome and the entry of term 1 arrive, that of term 3 does not.
        stage.deliver(0, 2);
        stage.sync(2);
        stage.deliver(2, 0);
        assert_eq!(stage.position(2), Position::new(1, 3));
        stage.lead(1, &[2]);
        stage.among(&[1, 2]);
        stage
    });
}

/// The log of a follower ends where it was never compared with the leader's. What it acks counts.
#[test]
fn an_ack_of_the_last_instead_of_the_verified_sequence_commits_what_nobody_has() {
    finds(Plant::Replication(R::AckOfTheLast), |plant| {
        let mut stage = Stage::new(3, 8, plant);
        stage.lead(0, &[1, 2]);
        stage.among(&[0, 1, 2]);
        // Two writes reach replica 2, their acks do not return, and the leader loses them.
        stage.write(0);
        stage.write(0);
        stage.deliver(0, 2);
        stage.sync(2);
        assert_eq!(stage.position(2), Position::new(1, 4));
        stage.crash(0);
        // A leadership for which nobody else's log was pulled: the hello of 0 is the one that makes the majority.
        stage.lead(1, &[0]);
        assert_eq!(stage.position(1), Position::new(2, 3));
        let claim = 1;
        stage.tell(2, claim);
        stage.sync(2);
        stage.deliver(2, 1);
        // The welcome arrives, and an ack goes back before anything was compared; the appends are still under way.
        stage.deliver_one(1, 2);
        stage.deliver(2, 1);
        stage.cut(1, 2);
        stage.lead(2, &[0]);
        stage.among(&[0, 2]);
        stage
    });
}

/// An earlier append arrives again. It is shorter than the log, and equal.
#[test]
fn an_append_that_cuts_what_is_equal_takes_back_what_was_acked() {
    finds(Plant::Replication(R::ShorterAppendCuts), |plant| {
        let mut stage = Stage::new(3, 8, plant);
        stage.lead(0, &[1, 2]);
        stage.among(&[0, 1, 2]);
        stage.write(0);
        stage.sync(0);
        stage.repeat_append(0, 1);
        stage.write(0);
        stage.sync(0);
        stage.swap_last(0, 1);
        stage.among(&[0, 1]);
        stage.lead(1, &[2]);
        stage.among(&[1, 2]);
        stage
    });
}

/// Five voters: 0 leads term 1 with the entries 3 and 4 on {0, 1}; 2 leads term 2 and they are cut; 0 leads term 3; the ack
/// "4" of term 1 arrives late \[S4\].
#[test]
fn a_late_ack_of_an_older_term_counts_for_another_entry() {
    finds(Plant::Replication(R::LateAcks), |plant| {
        let mut stage = Stage::new(5, 8, plant);
        stage.lead(0, &[1, 2, 3, 4]);
        stage.among(&[0, 1, 2, 3, 4]);
        stage.write(0);
        stage.write(0);
        stage.sync(0);
        stage.deliver(0, 1);
        stage.sync(1);
        assert_eq!(stage.position(1), Position::new(1, 4));
        stage.lead(2, &[3, 4]);
        stage.among(&[2, 3, 4]);
        for node in [1, 0] {
            stage.tell(node, 1);
            stage.among(&[node, 2]);
            assert_eq!(stage.position(node), Position::new(2, 3));
        }
        stage.lead(0, &[3, 4]);
        assert_eq!(stage.position(0), Position::new(3, 4));
        stage.tell(1, 2);
        stage.sync(1);
        // Its hello of term 3, and then what still waits of term 1.
        stage.deliver_newest(1, 0);
        stage.deliver(1, 0);
        stage.among(&[0, 3]);
        stage.lead(2, &[1, 4]);
        stage.among(&[1, 2, 4]);
        stage
    });
}

/// A leader was replaced and does not know it. Its last heartbeat was echoed before the read arrived \[S6\].
#[test]
fn a_strong_read_that_is_confirmed_by_an_older_heartbeat_is_stale() {
    finds(Plant::Replication(R::UnaskedHeartbeatsConfirm), |plant| {
        let mut stage = Stage::new(3, 8, plant);
        stage.lead(0, &[1, 2]);
        stage.among(&[0, 1, 2]);
        for _ in 0..3 {
            stage.tick(0);
        }
        stage.among(&[0, 1, 2]);
        stage.lead(1, &[2]);
        stage.among(&[1, 2]);
        assert!(stage.leads(0) && stage.leads(1));
        stage.read(0);
        stage
    });
}

/// The Lease lost the cluster-id that the bootstrap wrote, before anybody saw it there \[L4\].
#[test]
fn a_volume_that_is_marked_bootstrapping_opens_for_writes() {
    finds(Plant::Replication(R::MarkedVolumeOpens), |plant| {
        let mut stage = Stage::empty(plant);
        stage.tell_nobody(0);
        stage.sync(0);
        let claim = stage.claim(0);
        stage.tell(0, claim);
        stage.among(&[0]);
        stage
    });
}

/// The Lease is gone, or the API server, or the sidecar: role.json names nobody \[L11\].
#[test]
fn a_leader_that_stops_because_nobody_is_named_is_a_leader_less() {
    let leads_on = |plant| {
        let mut stage = Stage::new(3, 8, plant);
        stage.lead(0, &[1, 2]);
        stage.among(&[0, 1, 2]);
        stage.tell_nobody(0);
        let leads = stage.leads(0);
        assert_eq!(stage.played().wrong, None);
        leads
    };
    assert!(leads_on(None));
    assert!(!leads_on(Some(Plant::Replication(R::MissingLeaseStops))), "the fault is not found");
}

/// 0 leads and only 1 helps it to commit one more entry, which 2 has never received. Returns the volume of 1 before that.
fn committed_with_1(plant: Option<Plant>) -> (Stage, VolumeCopy) {
    let mut stage = Stage::new(3, 8, plant);
    stage.lead(0, &[1, 2]);
    stage.among(&[0, 1, 2]);
    let copy = stage.copy(1);
    stage.write(0);
    stage.among(&[0, 1]);
    assert_eq!(stage.applied(), Seq(3));
    (stage, copy)
}

/// The volume of 1 goes back in time. 0 knows that, and answers; but 2 is quicker with its claim \[E1\].
#[test]
fn a_volume_that_went_back_votes_where_nobody_is_asked_before_the_first_promise() {
    finds(Plant::Replication(R::PromisesWithoutAsking), |plant| {
        let (mut stage, copy) = committed_with_1(plant);
        stage.set_back(1, &copy, &[0]);
        assert_eq!(stage.is_marked(1), plant.is_none());
        stage.lead(2, &[1]);
        stage.among(&[1, 2]);
        stage
    });
}

/// Nobody answers it. 0 refuses its hello as one that went back, and later 2 wants its vote \[E2\].
#[test]
fn a_volume_that_was_refused_as_gone_back_votes_for_the_next_leader_if_it_does_not_mark_itself() {
    finds(Plant::Replication(R::WentBackIsForgotten), |plant| {
        let (mut stage, copy) = committed_with_1(plant);
        stage.set_back(1, &copy, &[]);
        stage.tell(1, 0);
        stage.among(&[0, 1]);
        assert_eq!(stage.is_marked(1), plant.is_none());
        // A restart changes nothing about it, whoever answers.
        stage.crash(1);
        assert_eq!(stage.is_marked(1), plant.is_none());
        stage.lead(2, &[1]);
        stage.among(&[1, 2]);
        stage
    });
}

/// 1 led term 1 and has four entries of it that nobody else has. It has promised term 2 when its volume is copied; then it
/// is cut, and acks what 0 commits with its help in term 2: more, by fewer entries \[E3\].
#[test]
fn a_longer_log_of_a_lower_term_passes_for_one_that_went_on_where_sequences_are_compared() {
    finds(Plant::Replication(R::SequencesCompared), |plant| {
        let mut stage = Stage::new(3, 8, plant);
        stage.lead(1, &[0, 2]);
        stage.among(&[0, 1, 2]);
        for _ in 0..4 {
            stage.write(1);
        }
        stage.sync(1);
        stage.cut(0, 1);
        stage.cut(1, 2);
        stage.lead(0, &[2]);
        stage.among(&[0, 2]);
        stage.tell(1, 1);
        stage.sync(1);
        let copy = stage.copy(1);
        assert_eq!(stage.position(1), Position::new(1, 6));
        stage.among(&[0, 1]);
        stage.write(0);
        stage.among(&[0, 1]);
        assert_eq!((stage.position(1), stage.applied()), (Position::new(2, 4), Seq(4)));
        stage.set_back(1, &copy, &[0]);
        assert_eq!(stage.is_marked(1), plant.is_none());
        stage.lead(2, &[1]);
        stage.among(&[1, 2]);
        stage
    });
}

/// Five voters. 1 acks the first entry of 0's term 2, which nobody else gets. The leader of term 3 cuts it, and sends the
/// replacement in parts, so that for a while the log of 1 ends at a lower position. 0 has not learnt of it \[E3\].
#[test]
fn a_volume_is_taken_for_gone_back_where_what_was_never_committed_counts() {
    finds(Plant::Replication(R::UncommittedIsKnown), |plant| {
        let mut stage = Stage::new(5, FAT, plant);
        stage.lead(2, &[0, 1, 3, 4]);
        stage.among(&[0, 1, 2, 3, 4]);
        for _ in 0..3 {
            stage.write(2);
        }
        stage.sync(2);
        for other in [0, 1, 3, 4] {
            stage.cut(2, other);
        }
        stage.lead(0, &[1, 3]);
        stage.deliver(0, 1);
        stage.sync(1);
        stage.deliver(1, 0);
        assert_eq!(stage.position(1), Position::new(2, 3));
        stage.lead(2, &[3, 4]);
        stage.among(&[2, 3, 4]);
        assert_eq!(stage.position(2), Position::new(3, 6));
        stage.tell(1, 2);
        stage.sync(1);
        // Hello, welcome, a first append that does not fit, and the first part of what does.
        while stage.position(1) == Position::new(2, 3) {
            stage.deliver(1, 2);
            stage.deliver_one(2, 1);
        }
        stage.sync(1);
        assert_eq!(stage.position(1), Position::new(1, 3));
        stage.crash(1);
        stage
    });
}

/// Three pods of a build that reads format 2. 0 leads, and has the raise in its own log alone.
fn raised_by_0_alone(plant: Option<Plant>) -> Stage {
    let mut stage = Stage::new(3, 8, plant);
    (0..3).for_each(|node| stage.exchange(node, 2));
    stage.lead(0, &[1, 2]);
    stage.among(&[0, 1, 2]);
    // Their first echoes say that there is room on their disks, and bring it about.
    for _ in 0..10 {
        if stage.log_format(0) == 1 {
            stage.tick(0);
            for follower in [1, 2] {
                stage.deliver(0, follower);
                stage.deliver(follower, 0);
            }
        }
    }
    assert_eq!([0, 1, 2].map(|node| stage.log_format(node)), [2, 1, 1]);
    stage
}

/// The raise reaches nobody, and both others are rolled back: 1 leads, and 0 has the better log \[C2\].
#[test]
fn an_old_leader_pulls_a_raise_where_hellos_do_not_tell_the_logs_format() {
    finds(Plant::Replication(R::FormatMinOfTheBuild), |plant| {
        let mut stage = raised_by_0_alone(plant);
        stage.sync(0);
        stage.exchange(1, 1);
        stage.exchange(2, 1);
        stage.lead(1, &[0, 2]);
        stage.among(&[0, 1, 2]);
        if plant.is_none() {
            assert!(stage.leads(1), "2 is a majority with it");
        }
        stage
    });
}
