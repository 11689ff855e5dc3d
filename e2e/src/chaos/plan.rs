//! Which faults, in which order: decided by the seed and by what this stage can do, and by nothing else.
//!
//! The kinds of faults are dealt like cards: each occurs once before any occurs again. A round is one to three of them at
//! once; then everything is healed.

use std::time::Duration;

use super::fault::{ApiTrouble, DiskTrouble, Fault, LeaseEdit, NodeTrouble, Parts, Who};
use super::random::Random;

/// A kind of fault: a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    KillStore,
    KillSidecar,
    KillPod,
    KillTwo,
    KillAll,
    FreezeStore,
    FreezeSidecar,
    FreezePod,
    CutPair,
    Isolate,
    CutApi,
    ApiDown,
    ApiTrouble,
    Lease,
    Wipe,
    DiskSlow,
    DiskFull,
    DiskFails,
    DiskHangs,
    DeletePod,
    DeletePodByForce,
    Rolling,
    Scale,
    Switchover,
    NodeCut,
    NodePowerCut,
    Etcd,
}

/// What is broken at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Round {
    pub(super) number: u32,
    pub(super) faults: Vec<Fault>,
    /// From the first fault to the healing.
    pub(super) lasts: Duration,
    /// After it the cluster must be whole again before the next one; otherwise writes only need to continue.
    pub(super) settles: bool,
    /// Quiet after it.
    pub(super) rest: Duration,
}

/// All rounds, one after the other, without end.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    random: Random,
    kinds: Vec<Kind>,
    deck: Vec<Kind>,
    dealt: u32,
    /// How much longer a round lasts than on processes.
    stretch: u32,
}

impl Plan {
    /// A plan of these kinds.
    pub(super) fn new(seed: u64, kinds: &[Kind], stretch: u32) -> Plan {
        Plan { random: Random::new(seed, 0), kinds: kinds.to_vec(), deck: Vec::new(), dealt: 0, stretch }
    }

    /// The next round.
    pub(super) fn next(&mut self) -> Round {
        let count = match self.random.below(20) {
            0..10 => 1,
            10..17 => 2,
            _ => 3,
        };
        let mut faults: Vec<Fault> = Vec::new();
        for _ in 0..count {
            let kind = self.card();
            for fault in self.draw(kind) {
                if !faults.iter().any(|other| are_the_same_matter(other, &fault)) {
                    faults.push(fault);
                }
            }
        }
        // A volume is wiped first, while nothing else is wrong.
        faults.sort_by_key(|fault| !matches!(fault, Fault::Wipe { .. }));
        let milliseconds =
            |random: &mut Random, from: u64, to: u64| Duration::from_millis(from + random.below(to - from));
        // Now and then longer than a Lease lasts, and than its holder may go without an API.
        let longest = if self.random.chance(15) { 14_000 } else { 6000 };
        let lasts = milliseconds(&mut self.random, 1000, longest) * self.stretch;
        let rest = milliseconds(&mut self.random, 0, 1500) * self.stretch;
        let settles = self.random.chance(50);
        self.dealt += 1;
        Round { number: self.dealt, faults, lasts, settles, rest }
    }

    fn card(&mut self) -> Kind {
        if self.deck.is_empty() {
            self.deck.clone_from(&self.kinds);
            self.random.shuffle(&mut self.deck);
        }
        self.deck.pop().unwrap_or(Kind::KillStore)
    }

    fn who(&mut self) -> Who {
        match self.random.below(10) {
            0..5 => Who::Leader,
            5..8 => Who::Follower(1),
            _ => Who::Follower(2),
        }
    }

    fn draw(&mut self, kind: Kind) -> Vec<Fault> {
        let who = self.who();
        let held = self.random.chance(50);
        let fault = match kind {
            Kind::KillStore => Fault::Kill { who, parts: Parts::Store, held },
            Kind::KillSidecar => Fault::Kill { who, parts: Parts::Sidecar, held },
            Kind::KillPod => Fault::Kill { who, parts: Parts::Both, held },
            Kind::KillTwo => {
                let kill = |who| Fault::Kill { who, parts: Parts::Store, held };
                return vec![kill(Who::Leader), kill(Who::Follower(1))];
            }
            Kind::KillAll => Fault::KillAll,
            Kind::FreezeStore => Fault::Freeze { who, parts: Parts::Store },
            Kind::FreezeSidecar => Fault::Freeze { who, parts: Parts::Sidecar },
            Kind::FreezePod => Fault::Freeze { who, parts: Parts::Both },
            Kind::CutPair => {
                let (from, to) = *self.random.pick(&[
                    (Who::Leader, Who::Follower(1)),
                    (Who::Follower(1), Who::Leader),
                    (Who::Leader, Who::Follower(2)),
                    (Who::Follower(1), Who::Follower(2)),
                ]);
                Fault::CutPair { from, to, one_way: self.random.chance(60) }
            }
            Kind::Isolate => Fault::Isolate { who },
            Kind::CutApi => Fault::CutApi { who },
            Kind::ApiDown => Fault::Api(ApiTrouble::Down),
            Kind::ApiTrouble => Fault::Api(*self.random.pick(&[
                ApiTrouble::Slow,
                ApiTrouble::Answers(500),
                ApiTrouble::Answers(429),
                ApiTrouble::Answers(403),
                ApiTrouble::LosesAnswers,
                ApiTrouble::DeafWatches,
                ApiTrouble::HangsUp,
            ])),
            Kind::Lease => Fault::Lease(*self.random.pick(&LeaseEdit::ALL)),
            Kind::Wipe => Fault::Wipe { who },
            Kind::DiskSlow => {
                let trouble = *self.random.pick(&[DiskTrouble::Slow, DiskTrouble::VerySlow]);
                Fault::Disk { who, trouble }
            }
            Kind::DiskFull => Fault::Disk { who, trouble: DiskTrouble::Full },
            Kind::DiskFails => {
                let all = [DiskTrouble::WritesFail, DiskTrouble::SyncsFail, DiskTrouble::OneSyncFails];
                Fault::Disk { who, trouble: *self.random.pick(&all) }
            }
            Kind::DiskHangs => {
                Fault::Disk { who, trouble: *self.random.pick(&[DiskTrouble::SyncsHang, DiskTrouble::AllHangs]) }
            }
            Kind::DeletePod => Fault::DeletePod { who, by_force: false },
            Kind::DeletePodByForce => Fault::DeletePod { who, by_force: true },
            Kind::Rolling => Fault::Rolling,
            Kind::Scale => Fault::Scale { to: *self.random.pick(&[5, 1]) },
            // The leader itself, too: a wish that is fulfilled already.
            Kind::Switchover => {
                let all = [Who::Follower(1), Who::Follower(2), Who::Follower(1), Who::Follower(2), Who::Leader];
                Fault::Switchover { to: *self.random.pick(&all) }
            }
            Kind::NodeCut => Fault::Node { who, trouble: NodeTrouble::Cut },
            Kind::NodePowerCut => Fault::Node { who, trouble: NodeTrouble::PowerCut },
            Kind::Etcd => Fault::Etcd,
        };
        vec![fault]
    }
}

/// Would one of them undo or repeat the other?
fn are_the_same_matter(one: &Fault, other: &Fault) -> bool {
    let is_api = |fault: &Fault| matches!(fault, Fault::Api(_) | Fault::CutApi { .. } | Fault::Etcd);
    let is_disk = |fault: &Fault| matches!(fault, Fault::Disk { .. } | Fault::Wipe { .. });
    let is_network =
        |fault: &Fault| matches!(fault, Fault::Node { .. } | Fault::CutPair { .. } | Fault::Isolate { .. });
    one == other
        || (one.is_procedure() && other.is_procedure())
        || (is_api(one) && is_api(other))
        || (is_disk(one) && is_disk(other))
        || (is_network(one) && is_network(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: &[Kind] =
        &[Kind::KillStore, Kind::FreezePod, Kind::Wipe, Kind::Rolling, Kind::Scale, Kind::ApiDown, Kind::CutApi];

    fn rounds(seed: u64) -> Vec<Round> {
        let mut plan = Plan::new(seed, KINDS, 1);
        (0..200).map(|_| plan.next()).collect()
    }

    #[test]
    fn the_seed_alone_decides() {
        assert_eq!(rounds(7), rounds(7));
        assert_ne!(rounds(7), rounds(8));
    }

    #[test]
    fn every_kind_comes_and_no_round_contradicts_itself() {
        let rounds = rounds(1);
        let count = |is: fn(&Fault) -> bool| rounds.iter().flat_map(|round| &round.faults).filter(|f| is(f)).count();
        assert!(count(|fault| matches!(fault, Fault::Kill { .. })) > 20);
        assert!(count(|fault| matches!(fault, Fault::Wipe { .. })) > 20);
        assert!(count(|fault| matches!(fault, Fault::Scale { to: 5 })) > 2);
        assert!(count(|fault| matches!(fault, Fault::Scale { to: 1 })) > 2);
        for round in &rounds {
            assert!(!round.faults.is_empty() && round.faults.len() <= 6, "{round:?}");
            assert!(round.faults.iter().filter(|fault| fault.is_procedure()).count() <= 1, "{round:?}");
            let wipes = round.faults.iter().filter(|fault| matches!(fault, Fault::Wipe { .. })).count();
            assert!(wipes <= 1, "more than a minority of the volumes: {round:?}");
            assert!(wipes == 0 || matches!(round.faults[0], Fault::Wipe { .. }), "{round:?}");
        }
    }
}
