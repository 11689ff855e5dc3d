//! What pods forget while others are silent.

use super::machine::Machine;
use super::world::World;
use super::quiet;
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
