//! Where chaos happens: in a cluster of processes, or in a real Kubernetes.

use std::{net::SocketAddr, path::Path};

use super::fault::Fault;
use super::plan::Kind;
use super::scene::Scene;

/// What the run asks of the place. The pods that are wanted between two rounds are three, [`PODS`].
pub(super) trait Stage {
    /// What can be broken here.
    fn kinds(&self) -> Vec<Kind>;

    /// Where the stores are at the moment, by ordinal.
    async fn roster(&self) -> Vec<Option<SocketAddr>>;

    /// Breaks something that lasts, or that is done at once.
    ///
    /// # Errors
    /// It cannot be broken now; says why. Nothing is broken then.
    async fn begin(&self, fault: &Fault, scene: &Scene) -> anyhow::Result<()>;

    /// Carries out a fault that runs on its own, from start to end.
    ///
    /// # Errors
    /// As [`Stage::begin`].
    async fn carry_out(&self, fault: &Fault, scene: &Scene) -> anyhow::Result<()>;

    /// Undoes all that lasts.
    ///
    /// # Errors
    /// Something cannot be undone: the run must stop.
    async fn heal(&self) -> anyhow::Result<()>;

    /// Is the cluster whole: [`PODS`] pods, all ready and voters, with one leader, and a true Lease?
    ///
    /// # Errors
    /// What is missing.
    async fn is_whole(&self) -> anyhow::Result<()>;

    /// What the programs did that they never may: panics, damaged volumes.
    async fn misdeeds(&self) -> Vec<String>;

    /// Keeps logs and files of the pods there.
    async fn keep(&self, folder: &Path);

    /// Ends what this run began.
    fn end(self);
}

/// How many pods there are, unless a fault scales.
pub(super) const PODS: u16 = 3;
/// How many there are at most.
pub(super) const PODS_MAX: u16 = 5;
/// The annotation of the Lease that asks for a switchover.
pub(super) const PREFERRED: &str = "leasehold.dev/preferred-holder";
