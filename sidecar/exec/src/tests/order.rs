//! Every order in which a wrapper that wants to start and a sidecar that lets go can do their steps.
//!
//! ```text
//!   wrapper:  lock lead.lock ▶ read role.json ▶ start CMD        sidecar:  replace role.json by `follower` ▶ is lead.lock free?
//! ```
//!
//! A sidecar that finds the lock free says so to the world: from then on nothing of that term may run, or start.

use super::{leading, ms, not_leading, wrapper};
use crate::{Effect, Input, OnLost, Sight};

/// What the two share, and what has happened.
struct World {
    role: Sight,
    is_locked: bool,
    is_running: bool,
    /// The sidecar's steps, of two.
    sidecar: usize,
    said_free: bool,
}

impl World {
    fn sidecar_steps(&mut self, role_first: bool) {
        let replaces = (self.sidecar == 0) == role_first;
        self.sidecar += 1;
        if replaces {
            self.role = not_leading(3);
        } else {
            self.said_free |= !self.is_locked;
        }
    }
}

/// What is planted.
#[derive(Clone, Copy, Default)]
struct Faults {
    /// The wrapper answers `CheckRole` by what it read before it had the lock.
    reads_before_the_lock: bool,
    /// The sidecar looks at the lock, and replaces role.json then.
    looks_before_the_role: bool,
    /// The wrapper frees the lock when CMD ended, whatever its children do.
    unlocks_too_early: bool,
}

/// Plays the order in which the bit `n` of `order` says whether the sidecar steps before the wrapper's effect `n`. True: CMD ran
/// after the sidecar had said that the lock is free.
fn goes_wrong(order: u32, faults: Faults) -> bool {
    let now = ms(100_000);
    let role = leading(3, now);
    let mut world = World { role: role.clone(), is_locked: false, is_running: false, sidecar: 0, said_free: false };
    let mut wrapper = wrapper(OnLost::Wait);
    let mut effects: Vec<Effect> = wrapper.step(now, Input::RoleSeen(role.clone()));
    let mut wrong = false;
    for n in 0..12 {
        // Up to two steps of the sidecar at each point, by two bits.
        for bit in [2 * n, 2 * n + 1] {
            if order >> bit & 1 == 1 && world.sidecar < 2 {
                world.sidecar_steps(!faults.looks_before_the_role);
            }
        }
        wrong |= world.said_free && world.is_running;
        let input = if effects.is_empty() {
            if world.is_running && wrapper.deadline().is_some() && n > 8 {
                // CMD is over at last, and its children a moment later.
                world.is_locked &= !faults.unlocks_too_early;
                continue;
            }
            Input::RoleSeen(world.role.clone())
        } else {
            match effects.remove(0) {
                Effect::TryLock => {
                    let locked = !std::mem::replace(&mut world.is_locked, true);
                    Input::Locked(locked)
                }
                Effect::CheckRole if faults.reads_before_the_lock => Input::RoleChecked(role.clone()),
                Effect::CheckRole => Input::RoleChecked(world.role.clone()),
                Effect::Start(_) => {
                    world.is_running = true;
                    Input::Wake
                }
                Effect::Unlock => {
                    world.is_locked = false;
                    Input::Wake
                }
                Effect::Say(_) | Effect::Stop | Effect::Kill => Input::Wake,
                other => panic!("{other:?}"),
            }
        };
        effects.extend(wrapper.step(now, input));
        wrong |= world.said_free && world.is_running;
    }
    wrong
}

fn wrong_orders(faults: Faults) -> usize {
    (0..1 << 22).filter(|order: &u32| order.count_ones() <= 2 && goes_wrong(*order, faults)).count()
}

#[test]
fn no_order_lets_cmd_run_where_the_sidecar_found_the_lock_free() {
    assert_eq!(wrong_orders(Faults::default()), 0);
}

#[test]
fn each_planted_fault_is_found() {
    let found = |faults| wrong_orders(faults) > 0;
    assert!(found(Faults { reads_before_the_lock: true, ..Faults::default() }));
    assert!(found(Faults { looks_before_the_role: true, ..Faults::default() }));
    assert!(found(Faults { unlocks_too_early: true, ..Faults::default() }));
}
