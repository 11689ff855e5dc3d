//! Which steps rolling updates take, forward and back, and what breaks meanwhile: decided by the seed alone.
//!
//! ```text
//!   half way forward ─▶ rollback ─▶ forward ─▶ back ─▶ sidecars, then stores forward ─▶ sidecars, then stores back ─▶ forward
//!     ─▶ all once more, allowed to write this build's format: it rises, and there is no way back ─▶ a collection is used
//! ```
//!
//! Each goes as a StatefulSet's does: the highest ordinal first, the next when the one before is ready. Before pod 0 is
//! exchanged, a pod is asked to lead that is of the new programs, or of the old ones. Sidecars that are exchanged alone
//! meet the stores of the other build: first new sidecars old stores, and on the way back old sidecars new stores.

use std::{collections::VecDeque, time::Duration};

use super::fault::{Build, Fault, Midway, Parts};
use super::plan::{Plan, Round};
use super::random::Random;
use super::stage::PODS;

/// All rounds, one after the other. In the end all pods are of this build, and nothing holds its format back.
#[derive(Debug)]
pub(super) struct Updates {
    random: Random,
    /// What else breaks; none: nothing.
    chaos: Option<Plan>,
    rounds: VecDeque<Round>,
    midways: Vec<Midway>,
    /// Who leads next before pod 0 is exchanged: the last pod, or pod 0 itself.
    newest_leads: bool,
    /// The last update was dealt.
    is_raised: bool,
    dealt: u32,
}

impl Updates {
    /// Every step, with faults from this plan.
    pub(super) fn new(seed: u64, chaos: Plan) -> Updates {
        let mut updates = Updates::empty(seed, Some(chaos));
        let last = PODS - 1;
        updates.exchange((1..=last).rev(), Parts::Both, Build::Held);
        updates.lead(last);
        updates.lead(0);
        updates.exchange((1..=last).rev(), Parts::Both, Build::Last);
        updates.whole(Parts::Both, Build::Held);
        updates.whole(Parts::Both, Build::Last);
        for to in [Build::Held, Build::Last] {
            updates.whole(Parts::Sidecar, to);
            updates.whole(Parts::Store, to);
        }
        updates.whole(Parts::Both, Build::Held);
        updates
    }

    /// Forward, back, and forward with the raise, and nothing else.
    pub(super) fn quick() -> Updates {
        let mut updates = Updates::empty(0, None);
        for to in [Build::Held, Build::Last] {
            updates.exchange((0..PODS).rev(), Parts::Both, to);
        }
        updates
    }

    fn empty(seed: u64, chaos: Option<Plan>) -> Updates {
        Updates {
            random: Random::new(seed, 2),
            chaos,
            rounds: VecDeque::new(),
            midways: Vec::new(),
            newest_leads: true,
            is_raised: false,
            dealt: 0,
        }
    }

    /// The next round. When the time is up, what was begun is brought to its end.
    pub(super) fn next(&mut self, is_over: bool) -> Option<Round> {
        if self.rounds.is_empty() && self.chaos.is_some() && !self.is_raised && !is_over {
            for to in [Build::Last, Build::Held] {
                if self.random.chance(50) {
                    self.whole(Parts::Both, to);
                } else {
                    self.whole(Parts::Store, to);
                    self.whole(Parts::Sidecar, to);
                }
            }
        }
        if self.rounds.is_empty() && !self.is_raised {
            self.is_raised = true;
            match self.chaos {
                Some(_) => self.whole(Parts::Both, Build::This),
                None => self.exchange((0..PODS).rev(), Parts::Both, Build::This),
            }
            self.step(vec![Fault::UseCollection], Duration::ZERO);
        }
        let round = self.rounds.pop_front()?;
        self.dealt += 1;
        Some(Round { number: self.dealt, ..round })
    }

    /// An update of all pods, with a leader of either build in turn.
    fn whole(&mut self, parts: Parts, to: Build) {
        self.exchange((1..PODS).rev(), parts, to);
        self.lead(if self.newest_leads { PODS - 1 } else { 0 });
        self.newest_leads = !self.newest_leads;
        self.exchange([0], parts, to);
    }

    fn exchange(&mut self, pods: impl IntoIterator<Item = u16>, parts: Parts, to: Build) {
        for pod in pods {
            let midway = self.midway();
            let (mut faults, mut lasts) = (Vec::new(), Duration::ZERO);
            if let Some(chaos) = &mut self.chaos {
                if self.random.chance(40) {
                    // Between two steps: the next one begins with a whole cluster.
                    self.rounds.push_back(Round { settles: true, ..chaos.next() });
                }
                if self.random.chance(50) {
                    let round = chaos.next();
                    faults.extend(round.faults.into_iter().filter(|fault| !fault.is_procedure()));
                    lasts = round.lasts;
                }
            }
            faults.push(Fault::Exchange { pod, parts, to, midway });
            self.step(faults, lasts);
        }
    }

    fn lead(&mut self, pod: u16) {
        self.step(vec![Fault::Lead { pod }], Duration::ZERO);
    }

    fn step(&mut self, faults: Vec<Fault>, lasts: Duration) {
        self.rounds.push_back(Round { number: 0, faults, lasts, settles: true, rest: Duration::ZERO });
    }

    /// Dealt like cards, so that none is missing.
    fn midway(&mut self) -> Midway {
        if self.chaos.is_none() {
            return Midway::Unharmed;
        }
        if self.midways.is_empty() {
            self.midways = vec![
                Midway::Unharmed,
                Midway::Unharmed,
                Midway::Unharmed,
                Midway::KilledEnding,
                Midway::KilledStarting,
            ];
            self.random.shuffle(&mut self.midways);
        }
        self.midways.pop().unwrap_or(Midway::Unharmed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::plan::Kind;
    use super::*;

    fn all(mut updates: Updates, more: u32) -> Vec<Round> {
        std::iter::from_fn(|| updates.next(updates.dealt >= more)).collect()
    }

    fn with_chaos(seed: u64) -> Updates {
        Updates::new(seed, Plan::new(seed, &[Kind::KillStore, Kind::FreezePod, Kind::Wipe, Kind::Scale], 1))
    }

    /// Plays the rounds: what each pod is made of (store, sidecar) after every step, and who led.
    fn played(rounds: &[Round]) -> (Vec<[(Build, Build); 3]>, BTreeSet<Build>) {
        let mut pods = [(Build::Last, Build::Last); 3];
        let (mut seen, mut led) = (vec![pods], BTreeSet::new());
        for fault in rounds.iter().flat_map(|round| &round.faults) {
            match *fault {
                Fault::Exchange { pod, parts, to, .. } => {
                    let (store, sidecar) = &mut pods[usize::from(pod)];
                    if parts != Parts::Sidecar {
                        *store = to;
                    }
                    if parts != Parts::Store {
                        *sidecar = to;
                    }
                    seen.push(pods);
                }
                Fault::Lead { pod } => _ = led.insert(pods[usize::from(pod)].0),
                _ => {}
            }
        }
        (seen, led)
    }

    #[test]
    fn every_mixture_comes_and_all_end_on_this_build() {
        for (seed, more) in [(1, 0), (2, 0), (3, 200)] {
            let rounds = all(with_chaos(seed), more);
            let (seen, led) = played(&rounds);
            let (last, this) = (Build::Last, Build::Held);
            assert_eq!(seen.last(), Some(&[(Build::This, Build::This); 3]), "seed {seed}");
            assert!(led.is_superset(&BTreeSet::from([last, this])), "seed {seed}");
            for mixture in [
                // Half way, by whole pods, and by one container alone.
                [(last, last), (this, this), (this, this)],
                [(last, last), (last, this), (last, this)],
                [(last, this), (last, this), (last, this)],
                [(this, last), (this, last), (this, last)],
            ] {
                assert!(seen.contains(&mixture), "seed {seed}: {mixture:?}");
            }
            assert!(rounds.len() > usize::try_from(more).unwrap_or(0), "seed {seed}: {} rounds", rounds.len());
        }
    }

    #[test]
    fn the_seed_alone_decides_and_every_kind_of_kill_comes() {
        let rounds = all(with_chaos(7), 0);
        assert_eq!(rounds, all(with_chaos(7), 0));
        for wanted in [Midway::Unharmed, Midway::KilledEnding, Midway::KilledStarting] {
            let is_there = |fault: &Fault| matches!(fault, Fault::Exchange { midway, .. } if *midway == wanted);
            assert!(rounds.iter().flat_map(|round| &round.faults).any(is_there), "{wanted:?}");
        }
        assert!(rounds.iter().all(|round| round.faults.iter().filter(|fault| fault.is_procedure()).count() <= 1));
        assert!(rounds.iter().flat_map(|round| &round.faults).any(|fault| !fault.is_step()), "nothing else breaks");
    }

    #[test]
    fn after_the_first_pod_that_may_write_the_new_format_no_pod_goes_back() {
        for seed in [1, 2, 3] {
            let (seen, _) = played(&all(with_chaos(seed), 100));
            let may_rise = |pods: &&[(Build, Build); 3]| pods.iter().any(|(store, _)| *store == Build::This);
            let rest: Vec<_> = seen.iter().skip_while(|pods| !may_rise(pods)).collect();
            assert_eq!(rest.len(), usize::from(PODS), "seed {seed}");
            assert!(rest.iter().all(|pods| pods.iter().all(|pod| *pod != (Build::Last, Build::Last))), "seed {seed}");
        }
    }

    #[test]
    fn the_quick_one_goes_forward_and_back_and_forward_and_breaks_nothing() {
        let rounds = all(Updates::quick(), 100);
        assert_eq!(rounds.len(), 10);
        assert_eq!(rounds[9].faults, [Fault::UseCollection]);
        let (seen, _) = played(&rounds);
        assert_eq!([3, 6, 9].map(|step| seen[step]), [Build::Held, Build::Last, Build::This].map(|to| [(to, to); 3]));
    }
}
