//! What pods forget while others are silent, and what is gone from the spool.

use super::machine::Machine;
use super::world::World;
use super::{Notice, quiet, restore};
use std::time::Duration;

/// Only one pod has what follows, and that one does not answer for some seconds, again and again.
pub(super) fn a_silent_pod_is_waited_for() -> Result<(), String> {
    let mut world = World::new(9);
    let mut agents = [Machine::new()];
    (world.disk_is_sound, world.spools_are_sound) = (true, true);
    world.write_change();
    quiet(&mut world, &mut agents)?;
    let agent = &mut agents[0];
    for outage in 0..4 {
        world.write_change();
        world.catch_up();
        agent.forget_watch(&mut world);
        world.forget_in(&[0, 1]);
        world.live_mut().pods[2].is_up = false;
        for _ in 0..9 {
            agent.settle(&mut world);
            world.now += Duration::from_secs(1);
        }
        world.live_mut().pods[2].is_up = true;
        world.now += Duration::from_secs(10);
        agent.settle(&mut world);
        let status = agent.agent.status();
        if status.gaps > 0 || !status.is_following {
            return Err(format!("outage {outage}: {status:?}"));
        }
    }
    Ok(())
}

#[test]
fn each_time_the_same_patience_is_had_with_a_pod_that_does_not_answer() {
    a_silent_pod_is_waited_for().unwrap();
}

/// As by a rule that cleans a folder of temporary files.
pub(super) fn a_full_leads_on_behind_a_lost_file() -> Result<(), String> {
    let mut world = World::new(10);
    let mut agents = [Machine::new()];
    (0..10).for_each(|_| world.write_change());
    quiet(&mut world, &mut agents)?;
    (world.bucket_is_down, world.disk_is_sound) = (true, true);
    for _ in 0..3 {
        world.write_change();
        agents[0].settle(&mut world);
        world.now += Duration::from_secs(11);
        agents[0].settle(&mut world);
    }
    agents[0].lose_spooled(&mut world);
    quiet(&mut world, &mut agents)?;
    let (status, notices) = (agents[0].agent.status(), &agents[0].notices);
    let said = notices.iter().filter(|notice| matches!(notice, Notice::Lost(_))).count();
    let arrived = restore::latest(&world, world.live().id)?;
    let is_whole = arrived.hash == world.live().last_change().hash && agents[0].spooled() == 0;
    if is_whole && (said, status.gaps) == (1, 1) && status.complete == Some(world.now) {
        Ok(())
    } else {
        Err(format!("{arrived:?} {status:?}: {notices:?}"))
    }
}

#[test]
fn a_file_that_is_gone_from_the_spool_is_not_waited_for_and_a_full_leads_on() {
    a_full_leads_on_behind_a_lost_file().unwrap();
}
