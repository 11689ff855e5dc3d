//! Faults that are built in on purpose, to see that the simulator finds them.
//!
//! Each is a rule of docs/design.md that is left out in one place. The switch exists only with the feature `plants`, which
//! nothing that is shipped asks for; without it [`planted`] is a constant `false`, and the compiler drops the fault.

/// A rule that is left out. The mark is its trace in docs/design.md, section 9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// `needTerm` starts a new term at every sidecar that hears of it \[L3\].
    NeedTermByOthers,
    /// A sidecar that has not read the Lease yet does not lead off it.
    NoOffLeaseBeforeRead,
    /// A Lease of the promise's term with another incarnation counts \[L12\].
    SameTermOfAnotherCounts,
    /// Nobody asks when the watch has been silent for long \[L13\].
    DeafWatchIsBelieved,
    /// A Lease with an absurd term is believed \[L8\].
    AbsurdTermIsBelieved,
    /// The leader does not write a Lease that is gone \[L11\].
    LeaderLeavesLeaseGone,
    /// A plain app's sidecar leads on when it could not renew.
    NeverLapses,
    /// A plain app's sidecar counts an outage of the API towards the expiry of the Lease.
    OutageCountsAsExpiry,
    /// A plain app's sidecar that cleared the Lease leads on by what it wrote before \[A2\].
    ClearedLeadsOn,
    /// A plain app's sidecar counts its wait from the first of several clears \[A3\].
    ClearsAreAlike,
    /// A plain app's sidecar takes back what names its pod, without knowing that the run named there is over \[A4\].
    NamesakeIsOwnRun,
    /// A plain app's sidecar takes the Lease from a pod that is not wanted, however lately that one has renewed it \[L15\].
    UnwantedRenewalsAreNone,
}

#[cfg(feature = "plants")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Fault>> = const { std::cell::Cell::new(None) };
}

/// Builds this fault (or none) into every election of this thread.
#[cfg(feature = "plants")]
pub fn plant(fault: Option<Fault>) {
    PLANTED.set(fault);
}

/// Is this fault built in?
#[cfg(feature = "plants")]
pub(crate) fn planted(fault: Fault) -> bool {
    PLANTED.get() == Some(fault)
}

/// Is this fault built in? Never, in what is shipped.
#[cfg(not(feature = "plants"))]
pub(crate) const fn planted(_: Fault) -> bool {
    false
}
