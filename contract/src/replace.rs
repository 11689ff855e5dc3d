//! Whole-file replace and whole-file read: they ensure that a reader never sees a mix of two versions.
//!
//! ```text
//!   bytes ──▶ .role.json.<uuid>.tmp (0644) ──▶ rename over role.json ──▶ readers open the old or the new inode
//! ```
//!
//! Nothing is fsynced: the files live in an emptyDir and mean nothing after a power cut, and both sides write them on
//! threads that a slow disk must not delay.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::json::{FILE_BYTES_MAX, ReadError, parse_json};

/// Any user in the pod may read the files; only the owner writes.
const MODE: u32 = 0o644;

/// Replaces the file `name` in `dir` by one with these bytes, mode 0644. A reader sees the old or the new content.
///
/// # Errors
/// The system's error; then the old file is untouched, and the temporary one is gone.
pub fn replace_file(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    // A UUID and not the process id: sidecar and app run in different PID namespaces, where both may be number 1.
    let temporary = dir.join(format!(".{name}.{}.tmp", Uuid::new_v4().simple()));
    let written = write_new(&temporary, bytes).and_then(|()| fs::rename(&temporary, dir.join(name)));
    if written.is_err() {
        // Best effort: the caller needs the first error.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    // The process's umask reduces the mode of `open`; a container with umask 077 would lock the other one out.
    file.set_permissions(fs::Permissions::from_mode(MODE))?;
    file.write_all(bytes)
}

/// Reads one of the shared files whole.
///
/// # Errors
/// See [`ReadError`]; each says which file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ReadError> {
    parse_json(path, &read_bytes(path)?)
}

/// Reads the bytes of a regular file of at most [`FILE_BYTES_MAX`].
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>, ReadError> {
    let unreadable = |source: io::Error| match source.kind() {
        // NotADirectory: the shared directory itself is (still) something else; to a reader the file is missing.
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ReadError::Missing { path: path.to_owned() },
        _ => ReadError::Unreadable { path: path.to_owned(), source },
    };
    let file = open_for_reading(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(unreadable(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(ReadError::TooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}

/// Not blocking, so that a named pipe under one of our names cannot hang the reader.
fn open_for_reading(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits();
    OpenOptions::new().read(true).custom_flags(i32::from_ne_bytes(flags.to_ne_bytes())).open(path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::RoleFile;
    use crate::json::tests::role_file;

    #[test]
    fn what_is_written_is_read_again_and_everybody_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let value = role_file(3, 2);
        replace_file(dir.path(), "role.json", &serde_json::to_vec(&value).unwrap()).unwrap();
        let path = dir.path().join("role.json");
        assert_eq!(read_json::<RoleFile>(&path).unwrap(), value);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the temporary file stayed");
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let mut json = serde_json::to_value(role_file(1, 0)).unwrap();
        json["fromTheFuture"] = serde_json::json!({"a": [1, 2]});
        json["lease"]["alsoNew"] = serde_json::json!(true);
        replace_file(dir.path(), "role.json", json.to_string().as_bytes()).unwrap();
        assert_eq!(read_json::<RoleFile>(&dir.path().join("role.json")).unwrap(), role_file(1, 0));
    }

    #[test]
    fn each_reason_to_refuse_a_file_has_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("role.json");
        let read = || read_json::<RoleFile>(&path).unwrap_err();
        assert!(read().is_missing());
        assert!(read_json::<RoleFile>(&dir.path().join("no/such/role.json")).unwrap_err().is_missing());

        fs::write(&path, b"{\"version\": 1,\n \"generation\": \"x\"}").unwrap();
        let error = read();
        assert!(matches!(error, ReadError::Malformed { .. }), "{error}");
        assert!(error.to_string().contains("line 2 column"), "{error} does not say where");

        fs::write(&path, b"{\"version\": 2, \"entirely\": \"different\"}").unwrap();
        assert!(matches!(read(), ReadError::NewerVersion { found: 2, .. }));

        fs::write(&path, vec![b' '; FILE_BYTES_MAX as usize + 1]).unwrap();
        assert!(matches!(read(), ReadError::TooLarge { .. }));

        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(read(), ReadError::Unreadable { .. }));
    }

    #[test]
    fn a_failed_replace_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        // A rename cannot replace a directory that is not empty.
        fs::create_dir_all(dir.path().join("role.json/full")).unwrap();
        replace_file(dir.path(), "role.json", b"{}").unwrap_err();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        replace_file(&dir.path().join("absent"), "role.json", b"{}").unwrap_err();
    }

    #[test]
    fn a_reader_that_races_two_writers_never_sees_a_mix() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("role.json");
        let contents: Vec<RoleFile> = (1..=4u32).map(|n| role_file(u64::from(n), n as usize * 300)).collect();
        replace_file(dir.path(), "role.json", &serde_json::to_vec(&contents[0]).unwrap()).unwrap();
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..2usize)
                .map(|writer| {
                    let (dir, contents) = (dir.path(), &contents);
                    scope.spawn(move || {
                        for round in 0..150usize {
                            let value = &contents[(round + 2 * writer) % contents.len()];
                            replace_file(dir, "role.json", &serde_json::to_vec(value).unwrap()).unwrap();
                        }
                    })
                })
                .collect();
            let mut seen = std::collections::BTreeSet::new();
            while !writers.iter().all(|writer| writer.is_finished()) {
                let value: RoleFile = read_json(&path).unwrap();
                assert_eq!(value, contents[value.generation as usize - 1], "a mix of two versions");
                seen.insert(value.generation);
            }
            assert!(seen.len() > 1, "the reader raced nobody: {seen:?}");
        });
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
