//! Files of mounted Secrets, and their parsed content: read again every second, and replaced when valid.
//!
//! ```text
//!   kubelet ──swaps a symbolic link──▶ DIR/… ──look (each second)──▶ changed? ──parse──▶ good: the value of new connections
//!                                                                                    └─▶ bad: logged once, the last good stays
//! ```
//!
//! The files are polled, not watched: the kubelet itself is up to a minute late, reading a few small files in memory costs
//! nothing, and a watch can die unseen. Two files that belong together (a certificate and its key) may be read from two
//! versions during a swap; then they do not match, the last good ones stay, and the next look sees both.
//!
//! At the start invalid files end the process: otherwise an operator would believe in a protection that does not exist.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tracing::{info, warn};

/// How often the files are read.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// Certificates and keys are small; anything longer is a mistake.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// No Secret has more keys than this: it has at most 1 MiB.
const FILES_MAX: usize = 4096;

/// The existing files, by name.
pub type Files = BTreeMap<Cow<'static, str>, Vec<u8>>;

/// Which files of a directory are read.
#[derive(Clone, Copy, Debug)]
pub enum Names {
    /// These, as far as they exist.
    These(&'static [&'static str]),
    /// All, except those whose names begin with a dot: the kubelet keeps its own there (`..data`).
    All,
}

/// Why the files of a directory are invalid.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// One of them cannot be read.
    #[error("{what}: {}: {source}", path.display())]
    Unreadable {
        /// Their purpose.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Their content is invalid.
    #[error("{what} in {}: {why}", dir.display())]
    Senseless {
        /// Their purpose.
        what: &'static str,
        /// The directory.
        dir: PathBuf,
        /// The reason.
        why: String,
    },
}

/// A value read from files, kept up to date. A clone is the same value.
pub struct Reloaded<T>(Arc<Inner<T>>);

impl<T> Clone for Reloaded<T> {
    fn clone(&self) -> Self {
        Reloaded(Arc::clone(&self.0))
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Reloaded<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloaded").field("dir", &self.0.dir).finish_non_exhaustive()
    }
}

struct Inner<T> {
    what: &'static str,
    dir: PathBuf,
    names: Names,
    parse: fn(&Files) -> Result<T, String>,
    value: RwLock<Arc<T>>,
    /// What was last read, good or bad: reported and parsed once.
    seen: Mutex<Result<Files, String>>,
}

impl<T> Reloaded<T> {
    /// Reads `names` in `dir`. `what` names their purpose in errors and logs.
    ///
    /// # Errors
    /// [`FilesError`]: the process must not start.
    pub fn open(
        what: &'static str,
        dir: &Path,
        names: Names,
        parse: fn(&Files) -> Result<T, String>,
    ) -> Result<Reloaded<T>, FilesError> {
        let files = read(dir, names).map_err(|(path, source)| FilesError::Unreadable { what, path, source })?;
        let value = parse(&files).map_err(|why| FilesError::Senseless { what, dir: dir.to_owned(), why })?;
        Ok(Reloaded(Arc::new(Inner {
            what,
            dir: dir.to_owned(),
            names,
            parse,
            value: RwLock::new(Arc::new(value)),
            seen: Mutex::new(Ok(files)),
        })))
    }

    /// The last good value.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.value.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A value that can be reloaded from its files.
pub trait Reload: Send + Sync {
    /// Reads them, and accepts what is new and good. Blocks while the files do.
    fn reload(&self);
}

impl<T: Send + Sync> Reload for Reloaded<T> {
    fn reload(&self) {
        let Inner { what, dir, names, parse, value, seen } = &*self.0;
        let found = read(dir, *names).map_err(|(path, error)| format!("{}: {error}", path.display()));
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == found {
            return;
        }
        let parsed = found.as_ref().map_err(Clone::clone).and_then(parse);
        match parsed {
            Ok(good) => {
                *value.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(good);
                info!(dir = %dir.display(), "{what}: reloaded; new connections use the new version");
            }
            Err(why) => {
                warn!(dir = %dir.display(), why, "{what}: invalid after a change; keeping the previous version")
            }
        }
        *seen = found;
    }
}

fn read(dir: &Path, names: Names) -> Result<Files, (PathBuf, io::Error)> {
    let names = match names {
        Names::These(names) => names.iter().map(|name| Cow::Borrowed(*name)).collect(),
        Names::All => list(dir).map_err(|error| (dir.to_owned(), error))?,
    };
    let mut files = Files::new();
    for name in names {
        let path = dir.join(&*name);
        let read = std::fs::metadata(&path).and_then(|about| {
            if about.len() > FILE_BYTES_MAX {
                return Err(io::Error::other(format!("longer than {FILE_BYTES_MAX} bytes")));
            }
            std::fs::read(&path)
        });
        match read {
            Ok(bytes) => drop(files.insert(name, bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err((path, error)),
        }
    }
    Ok(files)
}

fn list(dir: &Path) -> io::Result<Vec<Cow<'static, str>>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let name = name.to_str().ok_or_else(|| io::Error::other(format!("{name:?}: the name is not text")))?;
        if name.starts_with('.') {
            continue;
        }
        if names.len() == FILES_MAX {
            return Err(io::Error::other(format!("more than {FILES_MAX} files")));
        }
        names.push(Cow::Owned(name.to_owned()));
    }
    Ok(names)
}

/// Reads all of them every second, forever.
pub async fn keep_up_to_date(all: Vec<Arc<dyn Reload>>) {
    if all.is_empty() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(LOOK_PAUSE).await;
        let all = all.clone();
        let looked = tokio::task::spawn_blocking(move || all.iter().for_each(|one| one.reload())).await;
        if let Err(error) = looked {
            warn!(%error, "cannot check the files of keys and certificates for changes");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NAMES: Names = Names::These(&["a", "b"]);

    fn number(files: &Files) -> Result<i64, String> {
        let text = files.get("a").ok_or("`a` is missing")?;
        String::from_utf8_lossy(text).trim().parse().map_err(|_| "no number".to_owned())
    }

    #[test]
    fn what_is_new_and_good_is_taken_and_what_is_bad_leaves_the_last_good() {
        let dir = tempfile::tempdir().unwrap();
        let a = dir.path().join("a");
        assert!(matches!(Reloaded::open("it", dir.path(), NAMES, number), Err(FilesError::Senseless { .. })));
        std::fs::write(&a, "1").unwrap();
        let value = Reloaded::open("it", dir.path(), NAMES, number).unwrap();
        for (text, expected) in [("2", 2), ("nonsense", 2), ("3\n", 3)] {
            std::fs::write(&a, text).unwrap();
            value.reload();
            assert_eq!(*value.get(), expected, "{text}");
        }
        std::fs::remove_file(&a).unwrap();
        value.reload();
        assert_eq!(*value.get(), 3, "a file that is gone for a moment takes nothing away");
        std::fs::write(&a, "3").unwrap();
        value.reload();
        assert_eq!(*value.get(), 3);
    }

    #[test]
    fn a_directory_in_the_place_of_a_file_is_said_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        let error = Reloaded::open("the key", dir.path(), NAMES, number).unwrap_err();
        assert!(matches!(&error, FilesError::Unreadable { .. }) && error.to_string().contains("/a"), "{error}");
    }

    #[test]
    fn all_files_are_found_as_a_secret_mounts_them_and_what_comes_and_goes_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let version = |name: &str, files: &[&str]| {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            files.iter().for_each(|file| std::fs::write(dir.path().join(name).join(file), "").unwrap());
            std::os::unix::fs::symlink(name, dir.path().join("..new")).unwrap();
            std::fs::rename(dir.path().join("..new"), dir.path().join("..data")).unwrap();
        };
        let link = |file: &str| {
            std::os::unix::fs::symlink(Path::new("..data").join(file), dir.path().join(file)).unwrap();
        };
        let names = |files: &Files| Ok(files.keys().map(|name| name.to_string()).collect::<Vec<_>>());
        version("..1", &["read", "write.orders"]);
        ["read", "write.orders"].into_iter().for_each(link);
        let value = Reloaded::open("it", dir.path(), Names::All, names).unwrap();
        assert_eq!(*value.get(), ["read", "write.orders"]);
        // In this order: the links follow the swap.
        version("..2", &["read", "admin"]);
        value.reload();
        assert_eq!(*value.get(), ["read"]);
        link("admin");
        std::fs::remove_file(dir.path().join("write.orders")).unwrap();
        value.reload();
        assert_eq!(*value.get(), ["admin", "read"]);
        assert!(Reloaded::open("it", &dir.path().join("nowhere"), Names::All, names).is_err());
    }
}
