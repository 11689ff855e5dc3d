//! What a workload may need and a system may lack.

/// What not every system, or not every version of ours, can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Capability {
    /// Linearizable reads at every node.
    Strong,
    /// Many records in one write.
    Batch,
}
