//! Faults built in on purpose, to check that the simulator finds them: as `store/replication/src/plants.rs`, which see. The switch
//! exists only with the feature `plants`, which no shipped build enables.

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Who loads a snapshot enters all records into an index under construction, also those that its cursor has not reached.
    RestoredIndexIsWhole,
    /// A step is done whatever became of the definition since it was proposed.
    StepsOfAnyEpoch,
    /// A write is done whatever became of the definition since its record was checked.
    WritesOfAnyEpoch,
    /// What a transaction did before its impossible operation stays.
    HalfTransactions,
    /// The keys of requests that were done are not kept.
    KeysAreForgotten,
}

#[cfg(feature = "plants")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Fault>> = const { std::cell::Cell::new(None) };
}

/// Builds this fault (or none) into all documents of this thread.
#[cfg(feature = "plants")]
pub fn plant(fault: Option<Fault>) {
    PLANTED.set(fault);
}

/// Does that rule hold? In shipped builds always.
#[cfg(feature = "plants")]
pub(crate) fn holds(but_for: Fault) -> bool {
    PLANTED.get() != Some(but_for)
}

/// Does that rule hold? In shipped builds always.
#[cfg(not(feature = "plants"))]
pub(crate) const fn holds(_but_for: Fault) -> bool {
    true
}
