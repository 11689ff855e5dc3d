//! Why a volume does not open.

use std::io;
use std::path::PathBuf;

use crate::volume::disk::Disk;
use leasehold_documents::readable;

/// Why a volume does not open.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The disk does not do what it is asked. Exit code 1.
    #[error("{path}: {source}")]
    Io {
        /// The path.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The disk does not hold what was written. An operator must look; a wiped volume joins again as a new replica. Exit
    /// code 3.
    #[error("{file} is damaged at byte {offset}: {what}")]
    Damage {
        /// The path.
        file: PathBuf,
        /// The byte.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// A build that reads more wrote it, and this one has touched nothing. Exit code 2.
    #[error(
        "{file} has format {found}, and this build reads {}: run a build that reads format {found}; the volume is unchanged",
        readable(*max)
    )]
    Format {
        /// The path.
        file: PathBuf,
        /// The format that was found.
        found: u32,
        /// The highest readable format.
        max: u32,
    },
    /// It holds what this build does not know, which must not be skipped. It has touched nothing. Exit code 2.
    #[error(
        "{file}: {what}; this build reads {}: run the build that wrote it, or a later one; the volume is unchanged",
        readable(*max)
    )]
    Unreadable {
        /// Where.
        file: PathBuf,
        /// What is not known, and where in the log it stands.
        what: String,
        /// The highest format that is read.
        max: u32,
    },
}

impl VolumeError {
    pub(crate) fn io(disk: &dyn Disk, name: &str, source: io::Error) -> VolumeError {
        VolumeError::Io { path: disk.path(name), source }
    }

    pub(crate) fn format(disk: &dyn Disk, name: &str, found: u32, max: u32) -> VolumeError {
        VolumeError::Format { file: disk.path(name), found, max }
    }

    /// The process's exit code for this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            VolumeError::Io { .. } => 1,
            VolumeError::Format { .. } | VolumeError::Unreadable { .. } => 2,
            VolumeError::Damage { .. } => 3,
        }
    }
}
