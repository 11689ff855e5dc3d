//! Random lives of CMD: renewals that come late or never, lost and won leaderships, signals, a CMD that ends or ignores SIGTERM,
//! and a wrapper that runs in time or late.

use std::time::Duration;

use proptest::prelude::*;

use super::{LEASE, ms, not_leading, renewed};
use crate::{Claim, Effect, Input, OnLost, Settings, Sight, Wrapper, margin};

/// What happens, some time after what happened before.
#[derive(Clone, Copy, Debug)]
enum Event {
    Renewed,
    Lost,
    Won,
    FileGone,
    CmdEnds,
    Signal,
    /// The wrapper does not run for this long.
    Frozen(u64),
}

#[derive(Clone, Copy, Debug)]
struct Life {
    /// Whether CMD obeys the stop signal.
    obeys: bool,
    /// How many processes CMD left that outlive it.
    children: u32,
    /// How many a `Kill` misses, because they were forked meanwhile.
    missed: u32,
    on_exit: bool,
    grace: Option<u64>,
}

struct World {
    now: Duration,
    wrapper: Wrapper,
    life: Life,
    /// role.json.
    role: Sight,
    term: u64,
    locked: bool,
    /// The last claim that the wrapper was shown, and the processes that run by it: CMD, and others.
    claim: Option<Claim>,
    cmd: bool,
    others: u32,
    missed: u32,
    /// How often this CMD was killed.
    kills: u32,
    /// Whether the wrapper did not run for a time since this CMD started.
    frozen: bool,
    exited: bool,
    started: u32,
}

impl World {
    fn new(life: Life) -> World {
        let on_lost = if life.on_exit { OnLost::Exit } else { OnLost::Wait };
        let wrapper = Wrapper::new(Settings { stop_grace: life.grace.map(ms), on_lost });
        World {
            now: ms(100_000),
            wrapper,
            life,
            role: not_leading(1),
            term: 1,
            locked: false,
            claim: None,
            cmd: false,
            others: 0,
            missed: 0,
            kills: 0,
            frozen: false,
            exited: false,
            started: 0,
        }
    }

    fn is_alive(&self) -> bool {
        self.cmd || self.others > 0
    }

    /// role.json, as far as it is valid now: what `RoleFile::leads` says.
    fn sight(&self) -> Sight {
        match &self.role {
            Sight::Leading(claim) if self.now >= claim.valid_until => not_leading(claim.term),
            other => other.clone(),
        }
    }

    fn step(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop().or_else(|| self.gone()) {
            if let (Input::RoleSeen(Sight::Leading(seen)), Some(claim)) = (&input, &mut self.claim)
                && seen.term == claim.term
            {
                *claim = *seen;
            }
            let (was_alive, effects) = (self.is_alive(), self.wrapper.step(self.now, input));
            let is_late = self.claim.is_some_and(|claim| self.now >= claim.valid_until - margin(claim.duration));
            if was_alive && is_late && !effects.contains(&Effect::Kill) {
                let again = self.wrapper.deadline().expect("something is left to kill");
                assert!(again <= self.now + ms(1000) && self.kills > 0, "alive at {:?}: {effects:?}", self.now);
            }
            for effect in effects {
                assert!(!self.exited, "{effect:?} after the end");
                match effect {
                    Effect::TryEnter => inputs.push(Input::Entered(true)),
                    Effect::TryLock => {
                        assert!(!self.locked, "locked twice");
                        self.locked = true;
                        inputs.push(Input::Locked(true));
                    }
                    Effect::CheckRole => {
                        assert!(self.locked, "read before the lock");
                        inputs.push(Input::RoleChecked(self.sight()));
                    }
                    Effect::Start(claim) => {
                        assert!(self.locked && !self.is_alive(), "started beside another");
                        assert!(self.now < claim.valid_until - margin(LEASE) && self.role == Sight::Leading(claim));
                        (self.cmd, self.others, self.missed) = (true, self.life.children, self.life.missed);
                        (self.claim, self.started) = (Some(claim), self.started + 1);
                        (self.kills, self.frozen) = (0, false);
                    }
                    Effect::Stop | Effect::Forward(_) if self.life.obeys && self.cmd => {
                        self.cmd = false;
                        inputs.push(Input::Ended { code: 3 });
                    }
                    Effect::Stop | Effect::Forward(_) => {}
                    Effect::Kill => {
                        self.kills += 1;
                        let left = self.missed.min(1);
                        self.missed = self.missed.saturating_sub(1);
                        self.others = left;
                        if std::mem::take(&mut self.cmd) {
                            inputs.push(Input::Ended { code: 137 });
                        }
                    }
                    Effect::Unlock => {
                        assert!(self.locked && !self.is_alive(), "free while something of CMD is left");
                        (self.locked, self.claim) = (false, None);
                    }
                    Effect::Exit(_) => {
                        assert!(!self.locked && !self.is_alive(), "left something behind");
                        self.exited = true;
                    }
                    Effect::Say(_) => {}
                }
            }
        }
    }

    /// As the kernel says it, once: there is no child.
    fn gone(&self) -> Option<Input> {
        (self.claim.is_some() && !self.is_alive()).then_some(Input::Gone)
    }

    /// Lets time pass, and the wrapper wake whenever it wants to, `late` after that.
    fn pass(&mut self, time: Duration, late: Duration) {
        let until = self.now + time;
        while let Some(at) = self.wrapper.deadline().filter(|at| *at + late <= until) {
            self.now = self.now.max(at + late);
            self.step(Input::Wake);
            assert!(self.wrapper.deadline() != Some(at), "it wakes for nothing, again and again");
            if !self.frozen
                && late.is_zero()
                && let Some(claim) = self.claim
                && self.now >= claim.valid_until
            {
                assert!(!self.is_alive(), "alive after its claim was over");
            }
        }
        self.now = until;
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Renewed => {
                if let Sight::Leading(claim) = &self.role {
                    self.role = Sight::Leading(renewed(claim.term, self.now));
                }
            }
            Event::Lost => {
                self.term += 1;
                self.role = not_leading(self.term);
            }
            Event::Won => {
                self.term += 1;
                self.role = Sight::Leading(renewed(self.term, self.now));
            }
            Event::FileGone => return self.step(Input::RoleSeen(Sight::Nothing)),
            Event::CmdEnds => {
                if std::mem::take(&mut self.cmd) {
                    self.step(Input::Ended { code: 3 });
                }
                return;
            }
            Event::Signal => return self.step(Input::Signalled { signal: 15, ends: true }),
            Event::Frozen(time) => (self.now, self.frozen) = (self.now + ms(time), true),
        }
        self.step(Input::RoleSeen(self.sight()));
    }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => Just(Event::Renewed),
        2 => Just(Event::Lost),
        5 => Just(Event::Won),
        1 => Just(Event::FileGone),
        1 => Just(Event::CmdEnds),
        1 => Just(Event::Signal),
        1 => (0..40_000u64).prop_map(Event::Frozen),
    ]
}

fn life() -> impl Strategy<Value = Life> {
    let grace = prop_oneof![Just(None), (0..20_000u64).prop_map(Some)];
    (any::<bool>(), 0..4u32, 0..4u32, any::<bool>(), grace).prop_map(|(obeys, children, missed, on_exit, grace)| Life {
        obeys,
        children,
        missed,
        on_exit,
        grace,
    })
}

fn play(life: Life, events: &[(u64, Event)], late: Duration) -> World {
    let mut world = World::new(life);
    world.step(Input::Wake);
    for (pause, event) in events {
        world.pass(ms(*pause), late);
        world.happens(*event);
        if world.exited {
            break;
        }
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_of_cmd_is_alive_when_its_claim_is_over(
        life in life(),
        events in proptest::collection::vec((0..9000u64, event()), 1..60),
    ) {
        play(life, &events, Duration::ZERO);
    }

    #[test]
    fn a_wrapper_that_runs_late_kills_with_its_first_step(
        life in life(),
        events in proptest::collection::vec((0..9000u64, event()), 1..60),
        late in 0..5000u64,
    ) {
        play(life, &events, ms(late));
    }
}

/// The lives above would prove nothing if CMD seldom ran.
#[test]
fn these_lives_start_cmd_again_and_again() {
    let life = Life { obeys: false, children: 2, missed: 2, on_exit: false, grace: None };
    let events: Vec<_> =
        (0..30).flat_map(|_| [(1000, Event::Won), (5000, Event::Renewed), (100, Event::Lost)]).collect();
    let world = play(life, &events, Duration::ZERO);
    assert!(!world.exited && world.started >= 10, "{}", world.started);
}
