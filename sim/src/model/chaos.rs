//! The faults that there are, and the mix of a run.

use super::rng::Rng;
use super::settings::Settings;

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    KillStore,
    KillLeader,
    KillSidecar,
    KillPod,
    PowerLoss,
    KillAll,
    PowerLossOfAll,
    FreezeStore,
    FreezeLeader,
    FreezeSidecar,
    FreezePod,
    CutLink,
    CutOneWay,
    Isolate,
    Halves,
    Reset,
    ApiGone,
    ApiGoneForOne,
    ApiMute,
    CutWatch,
    DeafWatch,
    DeleteLease,
    EditLease,
    Switchover,
    Pause,
    Wipe,
    Scale,
    Restart,
    DiskFails,
    /// Only for plain apps, like the eight after it: see `play::plain_chaos`.
    DeleteByForce,
    RestartMachine,
    LateRequests,
    TakeBackSwitchover,
    KillExec,
    ChangeFitness,
    StepDown,
    SayReleased,
    DeleteAndApply,
    /// Only in some runs of plain apps: see `Settings::odds`.
    FullDirectory,
    RestoreLease,
    CopyVolume,
    SetBack,
    /// Only in runs in which data differ, like the three after it: see `play::diverging`.
    FlipBit,
    FlipBitAtRest,
    ApplyOtherwise,
    RepairDiverged,
}

const FAULTS: [(Fault, u32); 29] = [
    (Fault::KillStore, 8),
    (Fault::KillLeader, 8),
    (Fault::KillSidecar, 6),
    (Fault::KillPod, 5),
    (Fault::PowerLoss, 5),
    (Fault::KillAll, 1),
    (Fault::PowerLossOfAll, 2),
    (Fault::FreezeStore, 5),
    (Fault::FreezeLeader, 5),
    (Fault::FreezeSidecar, 3),
    (Fault::FreezePod, 2),
    (Fault::CutLink, 6),
    (Fault::CutOneWay, 5),
    (Fault::Isolate, 4),
    (Fault::Halves, 3),
    (Fault::Reset, 6),
    (Fault::ApiGone, 2),
    (Fault::ApiGoneForOne, 4),
    (Fault::ApiMute, 2),
    (Fault::CutWatch, 3),
    (Fault::DeafWatch, 2),
    (Fault::DeleteLease, 1),
    (Fault::EditLease, 2),
    (Fault::Switchover, 2),
    (Fault::Pause, 1),
    (Fault::Wipe, 2),
    (Fault::Scale, 2),
    (Fault::Restart, 3),
    (Fault::DiskFails, 2),
];

/// Only in runs in which volumes go back in time.
const GOING_BACK: [(Fault, u32); 2] = [(Fault::CopyVolume, 12), (Fault::SetBack, 12)];

/// Only in runs in which data differ.
const DIVERGING: [(Fault, u32); 4] =
    [(Fault::FlipBit, 8), (Fault::FlipBitAtRest, 6), (Fault::ApplyOtherwise, 12), (Fault::RepairDiverged, 4)];
/// Not in those runs: the damaged must stay a minority of the voters.
const NOT_DIVERGING: [Fault; 2] = [Fault::Wipe, Fault::Scale];

/// Only for plain apps: so the seeds of a fencing cluster keep the meaning that they had before these existed.
const OF_PLAIN_APPS: [(Fault, u32); 9] = [
    (Fault::DeleteByForce, 6),
    (Fault::RestartMachine, 6),
    (Fault::LateRequests, 6),
    (Fault::TakeBackSwitchover, 3),
    (Fault::KillExec, 8),
    (Fault::ChangeFitness, 8),
    (Fault::StepDown, 4),
    (Fault::SayReleased, 4),
    (Fault::DeleteAndApply, 5),
];

/// The mix of a run.
#[derive(Clone, Debug)]
pub(crate) struct Chaos {
    on: bool,
    /// Each fault, as often as its weight.
    mix: Vec<Fault>,
    /// Which disks hang, and when.
    pub(crate) hangs: Rng,
}

impl Chaos {
    /// A mix: each kind is left out of every third run.
    pub(crate) fn new(rng: &mut Rng, settings: &Settings) -> Chaos {
        let mut mix = Vec::new();
        let of_plain_apps = OF_PLAIN_APPS.into_iter().filter(|_| settings.is_plain);
        for (fault, weight) in FAULTS.into_iter().chain(of_plain_apps) {
            let factor = *rng.pick(&[0, 1, 1, 1, 1, 4]);
            mix.extend(std::iter::repeat_n(fault, (weight * factor) as usize));
        }
        for (fault, weight) in GOING_BACK.into_iter().filter(|_| settings.goes_back) {
            mix.extend(std::iter::repeat_n(fault, weight as usize));
        }
        for (fault, weight) in [
            (Fault::FullDirectory, 20 * u32::from(settings.directories_fill)),
            (Fault::RestoreLease, 60 * u32::from(settings.leases_go_back)),
        ] {
            mix.extend(std::iter::repeat_n(fault, weight as usize));
        }
        if settings.diverging {
            mix.retain(|fault| !NOT_DIVERGING.contains(fault));
            for (fault, weight) in DIVERGING {
                mix.extend(std::iter::repeat_n(fault, weight as usize));
            }
        }
        let hangs = Rng::new(rng.clone().bits());
        Chaos { on: true, mix, hangs }
    }

    /// Do faults still happen?
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// No more faults happen.
    pub(crate) fn end(&mut self) {
        self.on = false;
    }

    /// One of the mix; none if everything was left out.
    pub(crate) fn next(&self, rng: &mut Rng) -> Option<Fault> {
        (!self.mix.is_empty()).then(|| *rng.pick(&self.mix))
    }
}
