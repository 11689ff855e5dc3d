//! The flags of `e2e chaos` and `e2e skew`.

use std::path::PathBuf;

/// What it is started with.
#[derive(Clone, Debug, clap::Args)]
pub struct Chaos {
    /// How long faults last
    #[arg(long, value_name = "N", default_value_t = 3.0)]
    pub minutes: f64,
    /// Decides the faults and their order (default: a new one each time; it is printed)
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// On the Kubernetes cluster that KUBECONFIG names, and the release that is there, instead of processes
    #[arg(long)]
    pub kubernetes: bool,
    /// With --kubernetes: where the release is
    #[arg(long, value_name = "NAME", default_value = "database")]
    pub namespace: String,
    /// With --kubernetes: the script of e2e/cluster, so that nodes and networks can be broken, too
    #[arg(long, value_name = "FILE", env = "CLUSTER")]
    pub cluster: Option<PathBuf>,
    /// So many clients follow the leader, beside the one of each pod
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub clients: u16,
    /// Ask for reads with consistency=strong
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub strong_reads: When,
    /// Keep history, time line and logs in this folder (after a violation they are kept in any case)
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Break nothing, but judge a history that was kept
    #[arg(long, value_name = "FILE")]
    pub check: Option<PathBuf>,
    /// Use the machine's loopback: no cuts between pods
    #[arg(long)]
    pub no_network: bool,
}

/// What `e2e skew` is started with.
#[derive(Clone, Debug, clap::Args)]
pub struct Skew {
    /// Go on updating forward and back so long; all steps are made once in any case
    #[arg(long, value_name = "M", default_value_t = 5.0)]
    pub minutes: f64,
    /// Decides what else breaks, and when (default: another one each time; it is printed)
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// One update forward, one back, one forward with the raise of the format, and nothing else breaks
    #[arg(long, conflicts_with = "minutes")]
    pub quick: bool,
    /// So many clients follow the leader, beside the one of each pod
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub clients: u16,
    /// Keep history, time line and logs in this folder (after a violation they are kept in any case)
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Use the machine's loopback: no cuts between pods
    #[arg(long)]
    pub no_network: bool,
}

impl Skew {
    /// What chaos is told: the same place, clients and judgement.
    pub(super) fn as_chaos(&self) -> Chaos {
        Chaos {
            minutes: self.minutes,
            seed: self.seed,
            kubernetes: false,
            namespace: String::new(),
            cluster: None,
            clients: self.clients,
            strong_reads: When::Auto,
            keep: self.keep.clone(),
            check: None,
            no_network: self.no_network,
        }
    }
}

/// When something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum When {
    /// If the store can.
    Auto,
    /// In any case.
    On,
    /// Never.
    Off,
}
