//! Rules left out on purpose, one at a time, which the tests must notice. Outside of tests none is.

/// A rule that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A watch may resume on any hash.
    AcceptsAnyHash,
    /// A full from before a gap counts behind it.
    KeepsFullAcrossGap,
    /// A file that was not put is forgotten.
    ForgetsWhatFailed,
    /// Nobody looks whether objects are still there.
    OverlooksHoles,
    /// A full counts whatever the pods say.
    BelievesFulls,
    /// A file may begin anywhere.
    BeginsFilesAnywhere,
    /// An agent that starts follows nothing before the bucket has answered.
    WaitsForBucket,
    /// A full is put before what leads to it.
    KeepsFullsFirst,
    /// A file of the same name is as good, whatever is in it.
    TakesAnyFile,
    /// What was followed before the bucket answered is put at once.
    PutsUnseen,
    /// A pod that has lost its leader is followed for ever.
    FollowsWhoIsCutOff,
    /// A pod that leads is followed for ever.
    StaysWithTheLeader,
    /// It is left before another one can be followed.
    LeavesBeforeItMoves,
    /// Rounds in which a pod was silent count also after it has answered.
    CountsOldRounds,
    /// A file that is gone from the spool is put again and again.
    WaitsForWhatIsLost,
}

#[cfg(test)]
std::thread_local! {
    static PLANTED: std::cell::Cell<Option<Fault>> = const { std::cell::Cell::new(None) };
}

/// In this thread, from now on.
#[cfg(test)]
pub(super) fn plant(fault: Option<Fault>) {
    PLANTED.set(fault);
}

#[cfg(test)]
pub(super) fn is_planted(fault: Fault) -> bool {
    PLANTED.get() == Some(fault)
}

#[cfg(not(test))]
pub(super) const fn is_planted(_: Fault) -> bool {
    false
}
