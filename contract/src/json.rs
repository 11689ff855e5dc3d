//! Writes and reads the JSON of both files.
//!
//! The version comes first. A file of a newer version is refused whole, whatever else it says; in a file of a known
//! version, fields that this build does not know are ignored.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{RoleFile, StatusFile, VERSION};

/// A larger file is not one of ours; it is refused before it can fill the memory.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Why a file of the shared directory could not be read. The caller keeps the last good content and reads again later.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such file (yet), or its directory is missing.
    #[error("{path} does not exist")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It exists but cannot be read: rights, an IO error, not a regular file.
    #[error("{path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It is larger than [`FILE_BYTES_MAX`].
    #[error("{path} is larger than {FILE_BYTES_MAX} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is not JSON, or not of the expected shape. The source says what is wrong, and in which line and column.
    #[error("{path} is malformed: {source}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
    /// A newer build wrote it, in a format that this build does not know.
    #[error("{path} has version {found}, this build reads up to {VERSION}")]
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// The version that the file names.
        found: u64,
    },
}

impl ReadError {
    /// True if the file does not exist, which is no error while the other side starts.
    pub fn is_missing(&self) -> bool {
        matches!(self, ReadError::Missing { .. })
    }
}

impl RoleFile {
    /// The bytes of the file, one field a line: people read it, too.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("plain data has a JSON form")
    }
}

impl StatusFile {
    /// The bytes of the file.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data has a JSON form")
    }
}

/// Parses the bytes of a shared file: first its version, then, if this build knows that, the rest. `path` is only for the
/// error.
///
/// # Errors
/// [`ReadError::Malformed`] and [`ReadError::NewerVersion`].
pub fn parse_json<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, ReadError> {
    /// The one field that every version of every file has.
    #[derive(Deserialize)]
    struct Versioned {
        version: u64,
    }
    let malformed = |source| ReadError::Malformed { path: path.to_owned(), source };
    let Versioned { version } = serde_json::from_slice(bytes).map_err(malformed)?;
    if version > u64::from(VERSION) {
        return Err(ReadError::NewerVersion { path: path.to_owned(), found: version });
    }
    serde_json::from_slice(bytes).map_err(malformed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use crate::testing::{leader, member, role_of};
    use crate::{ClaimInfo, Member, PositionInfo, PromiseInfo, Role, State};
    use proptest::prelude::*;
    use uuid::Uuid;

    pub(crate) fn role_file(generation: u64, padding: usize) -> RoleFile {
        let first =
            Member { addresses: vec!["10.0.0.1".parse().unwrap()], ..member("db-1", "10.0.0.1:8089", "10.0.0.1:8090") };
        let wanted = |n| Member {
            addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            ..member(&format!("db-{n}"), "a:1", "a:2")
        };
        let mut role = RoleFile {
            generation,
            role: Role::Leader,
            term: generation,
            leader: Some(leader(&first, Some(Uuid::from_u128(7)))),
            members: (0..padding).map(wanted).collect(),
            ..role_of("db-1")
        };
        role.lease.valid_until_boottime_ns = Some(5);
        role
    }

    #[test]
    fn the_status_file_has_the_names_of_the_design() {
        let claim = ClaimInfo { term: 4, incarnation: Uuid::nil(), name: "a".into(), peer_address: "b".into() };
        let status = StatusFile {
            state: State::Leading,
            promised: PromiseInfo { term: 4, incarnation: Some(Uuid::nil()) },
            position: PositionInfo { term: 4, sequence: 9 },
            following: Some(claim),
            need_term: Some(6),
            ..StatusFile::starting(Uuid::nil())
        };
        let json = serde_json::to_value(&status).unwrap();
        for name in ["clusterId", "leaderHeard", "needTerm", "handOver", "promised", "position", "following", "rank"] {
            assert!(json.get(name).is_some(), "{json} lacks {name}");
        }
        assert_eq!(json["state"], "leading");
        assert_eq!(json["following"]["peerAddress"], "b");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn arbitrary_bytes_are_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let path = Path::new("role.json");
            prop_assert!(parse_json::<RoleFile>(path, &bytes).is_err());
            prop_assert!(parse_json::<StatusFile>(path, &bytes).is_err());
        }

        #[test]
        fn a_damaged_file_never_panics(flip in any::<usize>(), byte in any::<u8>(), cut in any::<usize>()) {
            let mut bytes = serde_json::to_vec(&role_file(3, 3)).unwrap();
            let (flip, cut) = (flip % bytes.len(), cut % bytes.len());
            bytes[flip] = byte;
            let _ = parse_json::<RoleFile>(Path::new("role.json"), &bytes);
            prop_assert!(parse_json::<RoleFile>(Path::new("role.json"), &bytes[..cut]).is_err());
        }
    }
}
