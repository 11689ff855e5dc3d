//! Why a node ends without having drained.

use std::io;
use std::path::PathBuf;

use leasehold_daemon::serve::BindError;
use leasehold_replication::ClusterId;
use tokio::task::JoinError;

use crate::api::person::InitialDataError;
use crate::args::trust::TrustError;
use crate::shares::TooFew;
use crate::volume::VolumeError;

/// Why a node does not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A port.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The limit of open files does not even do for the least.
    #[error(transparent)]
    Shares(#[from] TooFew),
    /// Keys, certificates or tokens.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The file of the initial data cannot be read.
    #[error("--initial-data {}: {source}", path.display())]
    InitialDataFile {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The initial data are not what a store can begin with.
    #[error("--initial-data {}: {source}", path.display())]
    InitialData {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: InitialDataError,
    },
    /// The system refused.
    #[error("cannot raise the limit of open files: {0}")]
    Descriptors(#[source] io::Error),
    /// The volume does not open.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// The thread that opened the volume panicked.
    #[error("the volume: {0}")]
    Opening(#[source] JoinError),
    /// This incarnation is over.
    #[error("{reason}")]
    Failed {
        /// Why, for people.
        reason: String,
    },
    /// Another bootstrap won.
    #[error("emptied the volume; the next start joins cluster {winner}")]
    Wiped {
        /// Whose cluster it is now.
        winner: ClusterId,
    },
    /// A part ended that lives as long as the process.
    #[error("{} ended: {why}", part.in_words())]
    PartEnded {
        /// Which.
        part: Part,
        /// How.
        why: String,
    },
}

impl NodeError {
    /// The exit code of a process that ends with it: 1 fatal, 2 flags and what they name, 3 damage.
    pub fn exit_code(&self) -> u8 {
        match self {
            NodeError::Bind(_)
            | NodeError::Shares(_)
            | NodeError::Trust(_)
            | NodeError::InitialDataFile { .. }
            | NodeError::InitialData { .. } => 2,
            NodeError::Volume(error) => error.exit_code(),
            NodeError::Descriptors(_)
            | NodeError::Opening(_)
            | NodeError::Failed { .. }
            | NodeError::Wiped { .. }
            | NodeError::PartEnded { .. } => 1,
        }
    }
}

/// What lives as long as the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Serves the API.
    ClientsServer,
    /// Serves other replicas.
    PeersServer,
    /// Serves probes, where they have a port of their own.
    ProbesServer,
    /// Sends clients to another pod when this one is about to go.
    Farewells,
    /// Reads keys, certificates and tokens again.
    Reload,
    /// Watches role.json.
    Role,
    /// Writes status.json.
    Status,
    /// The loop around the replica.
    Driver,
}

impl Part {
    fn in_words(self) -> &'static str {
        match self {
            Part::ClientsServer => "the API's server",
            Part::PeersServer => "the peers' server",
            Part::ProbesServer => "the probes' server",
            Part::Farewells => "the watch of the leader",
            Part::Reload => "the watch of keys and certificates",
            Part::Role => "the watch of role.json",
            Part::Status => "the writer of status.json",
            Part::Driver => "the driver",
        }
    }
}
