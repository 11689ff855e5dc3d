//! Why a node ends without having drained.

use std::io;
use std::path::PathBuf;

use leasehold_daemon::serve::BindError;
use leasehold_replication::ClusterId;
use tokio::task::JoinError;

use crate::api::initial_data::InitialDataError;
use crate::args::trust::TrustError;
use crate::shares::TooFew;
use crate::steward::file::FileError;
use crate::volume::VolumeError;

/// Why a node does not start, or why it ended.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A port.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The limit of open files is too low even for the minimum.
    #[error(transparent)]
    Shares(#[from] TooFew),
    /// Keys, certificates or tokens.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The definitions of collections.
    #[error(transparent)]
    CollectionsFile(#[from] FileError),
    /// The file of the initial data cannot be read.
    #[error("--initial-data {}: {source}", path.display())]
    InitialDataFile {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The initial data are not valid for a store's start.
    #[error("--initial-data {}: {source}", path.display())]
    InitialData {
        /// The file.
        path: PathBuf,
        /// The reason.
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
    /// This build cannot go on with the log.
    #[error("{what}")]
    Unreadable {
        /// What it cannot read, and what to do.
        what: String,
    },
    /// Another bootstrap won.
    #[error("emptied the volume; the next start joins cluster {winner}")]
    Wiped {
        /// The winning cluster.
        winner: ClusterId,
    },
    /// A part that lives as long as the process ended.
    #[error("{} ended: {why}", part.in_words())]
    PartEnded {
        /// The part.
        part: Part,
        /// How it ended.
        why: String,
    },
}

impl NodeError {
    /// The exit code of a process that ends with it: 1 fatal, 2 flags and what they name, or a format that this build
    /// does not read, 3 damage.
    pub fn exit_code(&self) -> u8 {
        match self {
            NodeError::Bind(_)
            | NodeError::Shares(_)
            | NodeError::Trust(_)
            | NodeError::CollectionsFile(_)
            | NodeError::InitialDataFile { .. }
            | NodeError::InitialData { .. }
            | NodeError::Unreadable { .. } => 2,
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
    /// Does the leader's steps: changes of definitions, and expiry.
    Steward,
    /// Sends clients to another pod when this one is about to leave.
    Farewells,
    /// Reloads keys, certificates and tokens.
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
            Part::Steward => "the leader's steps",
            Part::Farewells => "the watch of the leader",
            Part::Reload => "the watch of keys and certificates",
            Part::Role => "the watch of role.json",
            Part::Status => "the writer of status.json",
            Part::Driver => "the driver",
        }
    }
}
