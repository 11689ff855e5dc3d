//! One run of a process.

/// One run of a process: events for an earlier run never reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Life {
    /// The pod.
    pub(crate) pod: usize,
    /// Counts its runs, from 1.
    pub(crate) run: u32,
}
