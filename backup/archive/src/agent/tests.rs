//! The agent against a model of clusters and a bucket, with faults by a seed; and each rule once by hand.

mod losses;
mod machine;
mod restore;
mod world;

use super::plants::{Fault, plant};
use super::{Bookmark, Notice, Order, Refused};
use machine::Machine;
use std::time::Duration;
use world::{FULL_EVERY, Object, World};

/// Anything may happen, but clones.
fn chaos(seed: u64, steps: usize) -> Result<(), String> {
    let mut world = World::new(seed);
    let mut agents = vec![Machine::new()];
    if world.chance(2) {
        agents.push(Machine::new());
    }
    for step in 0..steps {
        let at = world.below(agents.len());
        match world.below(100) {
            0..=24 => world.write(),
            25..=55 => agents[at].hear(&mut world),
            56..=59 => agents[at].hear_beside(&mut world),
            60..=84 => agents[at].complete(&mut world),
            85..=91 => agents[at].wait(&mut world),
            92 => agents[at].restart(&mut world),
            93 => world.bucket_is_down = !world.bucket_is_down,
            94 => world.toggle_pod(),
            95 => world.forget_history(),
            96 if world.chance(3) => world.lose_object(),
            96 if world.chance(4) => agents[at].lose_spooled(&mut world),
            97 if world.chance(8) => world.new_cluster(),
            98 if world.chance(2) => world.move_leadership(),
            98 => world.jump(),
            _ => world.catch_up(),
        }
        if step % 50 == 0 {
            restore::check(&mut world)?;
            agents.iter().try_for_each(|agent| is_truthful(&world, agent))?;
        }
    }
    quiet(&mut world, &mut agents)?;
    let cluster = world.live();
    let end = cluster.last_change();
    let arrived = restore::latest(&world, cluster.id)?;
    if arrived.hash != end.hash {
        return Err(format!("after quiet a restore leads to {arrived:?}, and the cluster has {end:?}"));
    }
    for agent in &agents {
        let status = agent.agent.status();
        if status.refused.is_some() {
            return Err(format!("refused without a reason: {status:?}"));
        }
        if agent.pod().is_none_or(|pod| pod == cluster.leader) {
            return Err(format!("pod {:?} is followed, and {} leads", agent.pod(), cluster.leader));
        }
        let recoverable = status.recoverable.map_or(0, |(seq, _)| seq.0);
        if recoverable < end.seq.0 {
            return Err(format!("it says that entry {recoverable} can be restored, and {} can be", end.seq));
        }
    }
    Ok(())
}

/// As long as nothing is lost behind its back, an agent never says that more can be restored than can be.
fn is_truthful(world: &World, agent: &Machine) -> Result<(), String> {
    let status = agent.agent.status();
    let (Some(cluster), Some((said, _)), false) = (status.cluster, status.recoverable, world.has_lost) else {
        return Ok(());
    };
    let found = restore::latest(world, cluster)?.seq;
    if said <= found { Ok(()) } else { Err(format!("it says that {said} can be restored, and {found} can be")) }
}

/// Nothing fails any longer, and time passes.
fn quiet(world: &mut World, agents: &mut [Machine]) -> Result<(), String> {
    world.heal();
    // Long enough to look at the archive twice.
    for round in 0..400 {
        if round == 0 || round == 200 {
            world.write_change();
        }
        world.now += FULL_EVERY / 300;
        for agent in &mut *agents {
            agent.settle(world);
        }
    }
    restore::check(world)
}

#[test]
fn whatever_happens_what_is_restored_is_the_clusters_history_and_at_last_all_of_it() {
    let seeds = std::env::var("AGENT_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(200);
    for seed in 0..seeds {
        chaos(seed, 1500).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
    }
}

#[test]
fn each_rule_that_is_left_out_is_noticed() {
    let chaos_finds =
        [Fault::ForgetsWhatFailed, Fault::BelievesFulls, Fault::BeginsFilesAnywhere, Fault::StaysWithTheLeader];
    for fault in chaos_finds {
        plant(Some(fault));
        let is_noticed = (0..200).any(|seed| chaos(seed, 1500).is_err());
        plant(None);
        assert!(is_noticed, "{fault:?}");
    }
    plant(Some(Fault::OverlooksHoles));
    let is_noticed = a_lost_file_gets_a_full_soon().is_err();
    plant(None);
    assert!(is_noticed, "OverlooksHoles");
    plant(Some(Fault::KeepsFullAcrossGap));
    let is_noticed = a_gap_gets_a_full_at_once().is_err();
    plant(None);
    assert!(is_noticed, "KeepsFullAcrossGap");
    plant(Some(Fault::FollowsWhoIsCutOff));
    let is_noticed = who_is_cut_off_is_left().is_err();
    plant(None);
    assert!(is_noticed, "FollowsWhoIsCutOff");
    plant(Some(Fault::LeavesBeforeItMoves));
    let is_noticed = the_only_pod_that_answers_is_followed_although_it_leads().is_err();
    plant(None);
    assert!(is_noticed, "LeavesBeforeItMoves");
    plant(Some(Fault::WaitsForBucket));
    let is_noticed = (0..20).any(|seed| a_start_without_the_bucket_loses_nothing(seed).is_err());
    plant(None);
    assert!(is_noticed, "WaitsForBucket");
    for (fault, finds) in [
        (Fault::CountsOldRounds, losses::a_silent_pod_is_waited_for as fn() -> Result<(), String>),
        (Fault::WaitsForWhatIsLost, losses::a_full_leads_on_behind_a_lost_file),
    ] {
        plant(Some(fault));
        let is_noticed = finds().is_err();
        plant(None);
        assert!(is_noticed, "{fault:?}");
    }
    plant(Some(Fault::KeepsFullsFirst));
    let is_noticed = (0..10).any(|seed| a_full_stands_behind_no_gap(seed).is_err());
    plant(None);
    assert!(is_noticed, "KeepsFullsFirst");
    plant(Some(Fault::TakesAnyFile));
    let is_noticed = a_file_of_another_history_is_refused().is_err();
    plant(None);
    assert!(is_noticed, "TakesAnyFile");
    plant(Some(Fault::PutsUnseen));
    let is_noticed = (0..20).any(|seed| nothing_is_put_unseen(seed).is_err());
    plant(None);
    assert!(is_noticed, "PutsUnseen");
    plant(Some(Fault::AcceptsAnyHash));
    let is_noticed = std::panic::catch_unwind(|| (0..20).for_each(a_clone_is_refused)).is_err();
    plant(None);
    assert!(is_noticed, "AcceptsAnyHash");
}

/// A pod that answers and no longer hears its leader does not show what others acknowledge.
fn who_is_cut_off_is_left() -> Result<(), String> {
    let mut world = World::new(1);
    let mut agents = [Machine::new()];
    (0..10).for_each(|_| world.write_change());
    quiet(&mut world, &mut agents)?;
    let followed = agents[0].pod().ok_or("nobody is followed")?;
    world.live_mut().pods[followed].is_cut_off = true;
    (0..10).for_each(|_| world.write_change());
    quiet(&mut world, &mut agents)?;
    let (arrived, end) = (restore::latest(&world, world.live().id)?, world.live().last_change());
    let status = agents[0].agent.status();
    if arrived.hash == end.hash && status.complete == Some(world.now) { Ok(()) } else { Err(format!("{status:?}")) }
}

#[test]
fn a_pod_that_has_lost_its_leader_is_not_followed() {
    who_is_cut_off_is_left().unwrap();
}

/// And it forgets its changes within seconds, as under many writes: whoever leaves it has a gap.
fn the_only_pod_that_answers_is_followed_although_it_leads() -> Result<(), String> {
    let mut world = World::new(1);
    let mut agents = [Machine::new()];
    world.write_change();
    quiet(&mut world, &mut agents)?;
    let others = [1, 2].map(|more| (world.live().leader + more) % 3);
    others.iter().for_each(|at| world.live_mut().pods[*at].is_up = false);
    world.spools_are_sound = true;
    agents[0].settle(&mut world);
    for _ in 0..1000 {
        world.write_change();
        let (leader, end) = (world.live().leader, world.live().end());
        world.live_mut().pods[leader].oldest = end - 2;
        agents[0].hear_beside(&mut world);
        for _ in 0..3 {
            agents[0].complete(&mut world);
            agents[0].hear(&mut world);
        }
        agents[0].wait(&mut world);
    }
    agents[0].settle(&mut world);
    let status = agents[0].agent.status();
    let is_fine = agents[0].pod() == Some(world.live().leader) && status.gaps == 0 && status.is_following;
    if is_fine { Ok(()) } else { Err(format!("{status:?}")) }
}

#[test]
fn a_pod_is_left_for_one_that_does_not_lead_when_that_one_can_be_followed() {
    the_only_pod_that_answers_is_followed_although_it_leads().unwrap();
    let mut world = World::new(2);
    let mut agents = [Machine::new()];
    for leader in [0, 1, 2, 1] {
        world.live_mut().leader = leader;
        for _ in 0..10 {
            world.write_change();
            world.now += Duration::from_secs(7);
            agents[0].settle(&mut world);
        }
        assert_ne!(agents[0].pod(), Some(leader));
    }
    world.now += Duration::from_secs(11);
    agents[0].settle(&mut world);
    assert_eq!(agents[0].agent.status().gaps, 0);
    let (arrived, end) = (restore::latest(&world, world.live().id).unwrap(), world.live().last_change());
    assert_eq!(arrived.hash, end.hash);
}

#[test]
fn fulls_are_asked_of_the_pod_that_is_followed_or_of_it_last_if_it_leads() {
    let mut world = World::new(3);
    let mut agents = [Machine::new()];
    world.write_change();
    quiet(&mut world, &mut agents).unwrap();
    let pod = |at: usize| at.to_string().into();
    assert!(agents[0].orders.iter().any(|order| *order != Order::Last(pod(world.live().leader))));
    for order in &agents[0].orders {
        let mut pods = [0, 1, 2].map(pod);
        order.sort(&mut pods);
        assert_ne!(*pods[0], *world.live().leader.to_string(), "{order:?}");
    }
}

/// Addresses of two clusters, by mistake: the archive is not listed again and again.
#[test]
fn stores_of_two_clusters_are_not_a_loop() {
    use super::step::{Action, Ended, Input, Left};
    let id = |n: u128| leasehold_replication::ClusterId(uuid::Uuid::from_u128(n));
    let mut agent = super::Agent::new(machine::CONFIG);
    let (mut lists, mut now, mut inputs) = (0, Duration::ZERO, vec![Input::Started(Left::default())]);
    let mark = crate::changes::Mark {
        seq: leasehold_replication::Seq(1),
        time: crate::time::Time::from_ms(1),
        hash: leasehold_replication::Sum(1),
    };
    for turn in 0..1000_u64 {
        let input = inputs.pop().unwrap_or(Input::Wake);
        for action in agent.step(now, input) {
            match action {
                Action::Resolve => inputs.insert(0, Input::Resolved(vec!["a".into(), "b".into()])),
                Action::Watch { pod, cluster, .. } => {
                    let is = if *pod == *"a" { id(1) } else { id(2) };
                    inputs.insert(
                        0,
                        match cluster {
                            Some(asked) if asked != is => Input::Ended(Ended::OtherCluster(is)),
                            _ => Input::Bookmark(Bookmark { cluster: is, mark, stale: None, leads: false }),
                        },
                    );
                }
                Action::List(cluster) => {
                    lists += 1;
                    inputs.insert(0, Input::Listed(cluster, Some(Vec::new())));
                }
                _ => {}
            }
        }
        now += Duration::from_millis(10 * (turn % 2));
    }
    assert!(now < Duration::from_secs(10) && lists <= 3, "{lists} in {now:?}");
}

/// The cluster is put back by a copy of its volumes, and goes another way from there.
fn a_clone_is_refused(seed: u64) {
    let mut world = World::new(seed);
    let mut agents = [Machine::new()];
    (0..30).for_each(|_| world.write_change());
    quiet(&mut world, &mut agents).unwrap();
    world.clone_cluster(10);
    let (long, before) = (world.chance(2), world.bucket.clone());
    if long {
        (0..40).for_each(|_| world.write_change());
    }
    if world.chance(2) {
        agents[0].restart(&mut world);
    }
    quiet(&mut world, &mut agents).unwrap();
    let expected = if long { Refused::ForeignHistory } else { Refused::Ahead };
    assert_eq!(agents[0].agent.status().refused, Some(expected), "seed {seed}");
    assert_eq!(world.bucket, before, "seed {seed}: two histories in one folder");
    // The old volumes are back.
    world.unclone();
    quiet(&mut world, &mut agents).unwrap();
    assert_eq!(agents[0].agent.status().refused, None, "seed {seed}");
    assert_eq!(restore::latest(&world, world.live().id).unwrap().hash, world.live().last_change().hash);
}

#[test]
fn another_history_of_the_same_cluster_is_refused_and_nothing_of_it_is_written() {
    (0..50).for_each(a_clone_is_refused);
}

#[test]
fn of_two_clones_that_share_a_folder_the_agents_notice_and_no_restore_mixes_them() {
    for seed in 0..50 {
        let mut world = World::new(seed);
        let (mut one, mut two) = (Machine::new(), Machine::new());
        (0..20).for_each(|_| world.write_change());
        quiet(&mut world, std::slice::from_mut(&mut one)).unwrap();
        quiet(&mut world, std::slice::from_mut(&mut two)).unwrap();
        // Both follow the same end. From here on one sees the clone, and the other the original.
        for turn in 0..400 {
            if turn == 1 {
                world.clone_cluster(0);
                two.forget_watch(&mut world);
            }
            world.now += FULL_EVERY / 300;
            for (agent, is_clone) in [(&mut one, false), (&mut two, true)] {
                world.see_clone(is_clone);
                if turn % 20 == 0 {
                    world.write_change();
                }
                agent.settle(&mut world);
            }
        }
        let refused = [&one, &two].map(|agent| agent.agent.status().refused);
        assert!(refused.contains(&Some(Refused::ForeignHistory)), "seed {seed}: {refused:?}");
        restore::check(&mut world).unwrap();
    }
}

/// Two pods have forgotten, then all.
fn a_gap_gets_a_full_at_once() -> Result<(), String> {
    let mut world = World::new(1);
    let mut agents = [Machine::new()];
    (0..20).for_each(|_| world.write_change());
    quiet(&mut world, &mut agents)?;
    let fulls = agents[0].fulls;
    (0..20).for_each(|_| world.write_change());
    agents[0].forget_watch(&mut world);
    world.forget_in(&[0, 1]);
    agents[0].settle(&mut world);
    assert_eq!((agents[0].agent.status().gaps, agents[0].fulls), (0, fulls));
    (0..20).for_each(|_| world.write_change());
    agents[0].forget_watch(&mut world);
    let from = world.live().end() - 20;
    world.forget_in(&[0, 1, 2]);
    for _ in 0..20 {
        world.write_change();
        world.now += Duration::from_secs(3);
        agents[0].settle(&mut world);
    }
    assert_eq!(agents[0].agent.status().gaps, 1);
    let gap = |notice: &Notice| matches!(notice, Notice::Gap(end, begin) if end.0 == from && begin.0 > from);
    assert!(agents[0].notices.iter().any(gap), "{:?}", agents[0].notices);
    let (seq, begin) = (restore::latest(&world, world.live().id)?.seq.0, from + 20);
    if seq <= begin { Err(format!("a minute after the gap a restore leads to {seq}")) } else { Ok(()) }
}

/// Before the next one is due.
fn a_lost_file_gets_a_full_soon() -> Result<(), String> {
    let mut world = World::new(5);
    let mut agent = Machine::new();
    for _ in 0..200 {
        world.write_change();
        world.now += Duration::from_secs(11);
        agent.settle(&mut world);
        if world.bucket.len() == 12 {
            let file = world.bucket.iter().find(|(_, object)| matches!(object, Object::Changes { .. }));
            let key = *file.expect("there are files of changes").0;
            world.bucket.remove(&key);
        }
    }
    let (found, end) = (restore::latest(&world, world.live().id)?.seq.0, world.live().end());
    if found + 5 < end { Err(format!("a restore leads to {found} of {end}")) } else { Ok(()) }
}

#[test]
fn a_file_that_is_lost_is_noticed_and_a_full_leads_on_behind_it() {
    a_lost_file_gets_a_full_soon().unwrap();
}

#[test]
fn all_pods_are_asked_before_a_gap_and_both_edges_are_said() {
    a_gap_gets_a_full_at_once().unwrap();
}

#[test]
fn changes_are_uploaded_soon_and_nothing_is_where_nothing_changes() {
    let mut world = World::new(2);
    let mut agent = Machine::new();
    world.write_change();
    quiet(&mut world, std::slice::from_mut(&mut agent)).unwrap();
    let before = world.bucket.len();
    for _ in 0..20 {
        world.write_idle();
        world.now += Duration::from_secs(5);
        agent.settle(&mut world);
    }
    assert_eq!(world.bucket.len(), before, "entries without a change");
    world.write_change();
    agent.settle(&mut world);
    world.now += Duration::from_secs(10);
    agent.settle(&mut world);
    assert_eq!(world.bucket.len(), before + 1);
    let last = world.live().last_change();
    assert_eq!(agent.agent.status().recoverable, Some((last.seq, last.time)));
    assert!(agent.agent.status().complete.is_some());
}

#[test]
fn a_full_spool_closes_the_watch_until_the_bucket_has_taken_half_of_it() {
    let mut world = World::new(3);
    let mut agent = Machine::new();
    world.write_change();
    quiet(&mut world, std::slice::from_mut(&mut agent)).unwrap();
    world.bucket_is_down = true;
    for _ in 0..100 {
        world.write_change();
        world.now += Duration::from_secs(11);
        agent.settle(&mut world);
    }
    assert!(!agent.agent.status().is_following && agent.notices.contains(&Notice::SpoolFull));
    quiet(&mut world, std::slice::from_mut(&mut agent)).unwrap();
    assert!(agent.agent.status().is_following);
    assert_eq!((agent.spooled(), agent.agent.status().gaps), (0, 0));
}

/// The pod of the agent is replaced while the bucket is away, and comes back with the spool. The stores remember little.
fn a_start_without_the_bucket_loses_nothing(seed: u64) -> Result<(), String> {
    let mut world = World::new(seed);
    let mut agents = [Machine::new()];
    (0..10).for_each(|_| world.write_change());
    quiet(&mut world, &mut agents)?;
    // Files may wait in the spool by then, or the archive has all.
    (world.bucket_is_down, world.disk_is_sound) = (true, true);
    for _ in 0..world.below(5) {
        world.write_change();
        world.now += Duration::from_secs(11);
        agents[0].settle(&mut world);
    }
    for turn in 0..14 {
        if turn % 5 == 0 {
            agents[0].stop(&mut world);
            agents[0].settle(&mut world);
            agents[0].restart_with_spool(&mut world);
        }
        (0..4).for_each(|_| world.write());
        agents[0].settle(&mut world);
        world.now += Duration::from_secs(25);
        agents[0].settle(&mut world);
        world.forget_in(&[0, 1, 2]);
    }
    let status = agents[0].agent.status();
    if !status.is_following || status.complete.is_some() || status.recoverable.is_some() {
        return Err(format!("it follows, and knows nothing of the archive: {status:?}"));
    }
    quiet(&mut world, &mut agents)?;
    let status = agents[0].agent.status();
    if status.gaps > 0 || status.refused.is_some() {
        return Err(format!("{status:?}: {:?}", agents[0].notices));
    }
    // Each point of all that time.
    let fulls = world.bucket.keys().filter(|(_, name)| matches!(name, crate::name::Name::Full { .. }));
    let first = fulls.map(|(_, name)| name.last().0).min().ok_or("there is no full")?;
    (first..=world.live().last_change().seq.0).try_for_each(|seq| restore::at(&world, seq))
}

#[test]
fn an_agent_that_starts_while_the_bucket_is_away_follows_from_where_its_spool_ends() {
    (0..50).for_each(|seed| {
        a_start_without_the_bucket_loses_nothing(seed).unwrap_or_else(|wrong| panic!("{seed}: {wrong}"))
    });
}

/// The volumes are put back while the bucket cannot be listed, and the agent's pod is replaced: it cannot know whether
/// another agent has led the archive on, with the old history, and puts nothing.
fn nothing_is_put_unseen(seed: u64) -> Result<(), String> {
    let mut world = World::new(seed);
    let mut agents = [Machine::new(), Machine::new()];
    (0..10).for_each(|_| world.write_change());
    quiet(&mut world, &mut agents)?;
    world.clone_cluster(0);
    // The other agent sees the original.
    world.see_clone(false);
    (0..5).for_each(|_| world.write_change());
    quiet(&mut world, &mut agents[1..])?;
    world.see_clone(true);
    let before = world.bucket.clone();
    world.lists_fail = true;
    agents[0].restart_with_spool(&mut world);
    for _ in 0..20 {
        world.write_change();
        world.now += Duration::from_secs(11);
        agents[0].settle(&mut world);
    }
    if world.bucket != before {
        return Err("another history was put beside the one in the bucket".to_owned());
    }
    world.lists_fail = false;
    quiet(&mut world, &mut agents[..1])?;
    let refused = agents[0].agent.status().refused;
    if refused == Some(Refused::ForeignHistory) && world.bucket == before {
        Ok(())
    } else {
        Err(format!("{refused:?}"))
    }
}

#[test]
fn what_is_followed_before_the_bucket_was_listed_is_not_put() {
    (0..50).for_each(|seed| nothing_is_put_unseen(seed).unwrap_or_else(|wrong| panic!("{seed}: {wrong}")));
}

/// Whoever lists the archive at any moment.
fn a_full_stands_behind_no_gap(seed: u64) -> Result<(), String> {
    let mut world = World::new(seed);
    let mut agents = [Machine::new()];
    world.disk_is_sound = true;
    (0..10).for_each(|_| world.write_change());
    quiet(&mut world, &mut agents)?;
    let (fulls, mut objects) = (agents[0].fulls, world.bucket.len());
    for step in 0..3000 {
        match world.below(100) {
            0..=9 => world.write(),
            10..=49 => agents[0].hear(&mut world),
            50..=84 => agents[0].complete(&mut world),
            85..=95 => {
                // Never so much that a full no longer waits.
                let seconds = world.below(100) as u64;
                world.now += Duration::from_secs(seconds);
                agents[0].wake(&mut world);
            }
            _ => world.catch_up(),
        }
        let is_new = std::mem::replace(&mut objects, world.bucket.len()) != world.bucket.len();
        if is_new && restore::gaps(&world) > 0 {
            return Err(format!(
                "a gap in step {step}: {:?}",
                world.bucket.keys().map(|key| key.1).collect::<Vec<_>>()
            ));
        }
    }
    if agents[0].fulls > fulls + 3 { Ok(()) } else { Err(format!("only {} fulls", agents[0].fulls - fulls)) }
}

#[test]
fn what_leads_to_a_full_is_put_before_it() {
    (0..10).for_each(|seed| a_full_stands_behind_no_gap(seed).unwrap_or_else(|wrong| panic!("{seed}: {wrong}")));
}

/// A file of the same name, of a history that parted at the same times.
fn a_file_of_another_history_is_refused() -> Result<(), String> {
    let mut world = World::new(6);
    let mut agents = [Machine::new()];
    (0..10).for_each(|_| world.write_change());
    quiet(&mut world, &mut agents)?;
    (world.bucket_is_down, world.disk_is_sound) = (true, true);
    world.write_change();
    agents[0].settle(&mut world);
    world.now += Duration::from_secs(11);
    agents[0].settle(&mut world);
    let file = agents[0].only_spooled();
    let key = (file.cluster, file.name());
    let other =
        |mark: crate::changes::Mark| crate::changes::Mark { hash: leasehold_replication::Sum(!mark.hash.0), ..mark };
    let theirs = Object::Changes { begin: other(file.begin), changes: Vec::new(), end: other(file.end) };
    world.bucket.insert(key, theirs.clone());
    quiet(&mut world, &mut agents)?;
    let status = agents[0].agent.status();
    if status.refused != Some(Refused::ForeignHistory) || world.bucket[&key] != theirs {
        return Err(format!("{status:?}"));
    }
    // The operator has moved it away.
    world.bucket.remove(&key);
    quiet(&mut world, &mut agents)?;
    let (status, arrived) = (agents[0].agent.status(), restore::latest(&world, world.live().id)?);
    if status.refused.is_none() && arrived.hash == world.live().last_change().hash {
        Ok(())
    } else {
        Err(format!("{status:?}"))
    }
}

#[test]
fn a_file_of_the_same_name_with_other_entries_is_refused() {
    a_file_of_another_history_is_refused().unwrap();
}

#[test]
fn a_name_that_is_taken_by_what_nobody_can_read_gets_a_full_behind_it() {
    let mut world = World::new(7);
    let mut agents = [Machine::new()];
    (0..10).for_each(|_| world.write_change());
    quiet(&mut world, &mut agents).unwrap();
    (world.bucket_is_down, world.disk_is_sound) = (true, true);
    world.write_change();
    agents[0].settle(&mut world);
    world.now += Duration::from_secs(11);
    agents[0].settle(&mut world);
    let file = agents[0].only_spooled();
    world.bucket.insert((file.cluster, file.name()), Object::Full(file.end));
    quiet(&mut world, &mut agents).unwrap();
    let status = agents[0].agent.status();
    assert_eq!((status.gaps, status.refused), (1, None));
    assert!(agents[0].notices.contains(&Notice::Damaged(file.name())), "{:?}", agents[0].notices);
    assert_eq!(restore::latest(&world, world.live().id).unwrap().hash, world.live().last_change().hash);
}

#[test]
fn a_full_of_the_only_pod_left_counts_after_a_while_and_is_said() {
    let mut world = World::new(8);
    let mut agent = Machine::new();
    let minute = Duration::from_secs(60);
    let pass = |world: &mut World, agent: &mut Machine, time: Duration| {
        for _ in 0..time.as_secs() / 60 {
            world.write_change();
            world.now += minute;
            agent.settle(world);
        }
    };
    world.live_mut().pods[1].is_up = false;
    world.live_mut().pods[2].is_up = false;
    pass(&mut world, &mut agent, minute * 4);
    assert_eq!(agent.fulls, 0, "others may be back soon");
    pass(&mut world, &mut agent, minute * 60);
    assert_eq!((agent.fulls, agent.agent.status().is_verified_alone), (1, true));
    assert!(agent.notices.iter().any(|notice| matches!(notice, Notice::Alone(_))));
    // The next one is due, and does not count for as long again: files lead on meanwhile.
    pass(&mut world, &mut agent, FULL_EVERY);
    world.live_mut().pods.iter_mut().for_each(|pod| pod.is_up = true);
    pass(&mut world, &mut agent, minute * 60);
    assert!(agent.fulls >= 2 && !agent.agent.status().is_verified_alone);
}

#[test]
fn at_the_end_all_is_uploaded_or_time_is_up() {
    let mut world = World::new(4);
    let mut agent = Machine::new();
    world.write_change();
    quiet(&mut world, std::slice::from_mut(&mut agent)).unwrap();
    world.write_change();
    agent.settle(&mut world);
    let mut stuck = agent.clone();
    agent.stop(&mut world);
    agent.settle(&mut world);
    assert!(agent.is_over && agent.spooled() == 0);
    assert_eq!(restore::latest(&world, world.live().id).unwrap().hash, world.live().last_change().hash);
    world.bucket_is_down = true;
    stuck.stop(&mut world);
    stuck.settle(&mut world);
    assert!(!stuck.is_over);
    world.now += Duration::from_secs(9);
    stuck.settle(&mut world);
    assert!(stuck.is_over);
}
