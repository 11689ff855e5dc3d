//! Changes on this machine's disk, until they are in the bucket.
//!
//! ```text
//!   <dir>/<clusterId>/<first>-<last>-<time>.ndjson.zst[.age]          a closed file, as it will be in the bucket
//!   <dir>/<clusterId>/<first>-<last>-<time>.ndjson.zst[.age].marks    the data before and after it: an encrypted file is not readable here
//!   <dir>/<clusterId>/end                                             up to where the archive is known to lead
//!   <dir>/open.part, <dir>/full.part                                  being written; a next run does not need them
//! ```
//!
//! A closed file is durable before its name shows it: marks, then the file, each written, synced and renamed. The end is noted
//! before the file that leads to it is deleted: a run that finds neither bucket nor file knows where to continue.
//!
//! The folder is locked: two agents would take each other's files for their own, and put what the other one had begun.

use crate::sealed::{Recipients, Sealer};
use leasehold_archive::agent::{File, Left};
use leasehold_archive::changes::{ChangesWriter, Mark, WriteError};
use leasehold_archive::name::{Name, cluster_of};
use leasehold_replication::ClusterId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

const OPEN: &str = "open.part";
const FULL: &str = "full.part";
const MARKS: &str = ".marks";
const END: &str = "end";

/// See the module.
pub struct Spool {
    dir: PathBuf,
    /// The lock ends with it.
    _folder: fs::File,
    recipients: Recipients,
    open: Option<Open>,
    /// Of the closed files.
    lengths: BTreeMap<PathBuf, u64>,
}

type Open = ChangesWriter<Sealer<BufWriter<fs::File>>>;

/// The disk failed, or what was to be written is not one chain.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The disk.
    #[error("cannot write the spool {}: {source}; the agent needs a folder that it may write", dir.display())]
    Disk {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has it.
    #[error("the spool {} belongs to another agent that runs; stop that one, or name another folder with --spool", dir.display())]
    Taken {
        /// The folder.
        dir: PathBuf,
    },
    /// The store's events.
    #[error(transparent)]
    Changes(#[from] WriteError),
}

#[derive(Serialize, Deserialize)]
struct Marks {
    begin: Mark,
    end: Mark,
}

impl Spool {
    /// Opens it, and returns what earlier runs left.
    ///
    /// # Errors
    /// The folder cannot be created or read, or another agent has it.
    pub fn open(dir: &Path, recipients: Recipients) -> Result<(Spool, Left), SpoolError> {
        let disk = |source| SpoolError::Disk { dir: dir.to_owned(), source };
        fs::create_dir_all(dir).map_err(disk)?;
        let folder = fs::File::open(dir).map_err(disk)?;
        // Other errors: its file system has no locks.
        if let Err(fs::TryLockError::WouldBlock) = folder.try_lock() {
            return Err(SpoolError::Taken { dir: dir.to_owned() });
        }
        let mut spool =
            Spool { dir: dir.to_owned(), _folder: folder, recipients, open: None, lengths: BTreeMap::new() };
        let left = spool.left().map_err(disk)?;
        Ok((spool, left))
    }

    /// How much waits for the bucket.
    pub fn bytes(&self) -> u64 {
        self.lengths.values().sum()
    }

    /// Where a full is prepared.
    pub fn full(&self) -> PathBuf {
        self.dir.join(FULL)
    }

    /// Where that file is.
    pub fn path(&self, file: &File) -> PathBuf {
        let name = file.name().to_string();
        self.folder(file.cluster).join(name.rsplit('/').next().unwrap_or_default())
    }

    /// Opens a file of changes.
    ///
    /// # Errors
    /// [`SpoolError`]; there is no open file then.
    pub fn begin(&mut self, cluster: ClusterId, begin: Mark) -> Result<(), SpoolError> {
        let file = fs::File::create(self.dir.join(OPEN)).map_err(|source| self.disk(source))?;
        let sealer = Sealer::new(BufWriter::new(file), &self.recipients).map_err(|source| self.disk(source))?;
        self.open = Some(ChangesWriter::begin(sealer, cluster, begin)?);
        Ok(())
    }

    /// Writes the events of an entry.
    ///
    /// # Errors
    /// [`SpoolError`]; there is no open file then.
    pub fn append(&mut self, lines: &[String]) -> Result<(), SpoolError> {
        let Some(mut open) = self.open.take() else { return Err(self.disk(not_open())) };
        for line in lines {
            open.event(line)?;
        }
        self.open = Some(open);
        Ok(())
    }

    /// Ends the open file, durably.
    ///
    /// # Errors
    /// [`SpoolError`]; there is no open file then.
    pub fn close(&mut self, file: &File) -> Result<(), SpoolError> {
        let Some(mut open) = self.open.take() else { return Err(self.disk(not_open())) };
        open.pass(file.end)?;
        let (sealer, _) = open.end()?;
        let bytes = self.keep(file, sealer).map_err(|source| self.disk(source))?;
        self.lengths.insert(self.path(file), bytes);
        Ok(())
    }

    fn keep(&self, file: &File, sealer: Sealer<BufWriter<fs::File>>) -> io::Result<u64> {
        let written = sealer.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        written.sync_all()?;
        let (folder, path) = (self.make_folder(file.cluster)?, self.path(file));
        self.replace(&with(&path, MARKS), &serde_json::to_vec(&Marks { begin: file.begin, end: file.end })?)?;
        fs::rename(self.dir.join(OPEN), &path)?;
        sync(&folder)?;
        Ok(written.metadata()?.len())
    }

    /// Remembers up to where the archive of that cluster leads.
    ///
    /// # Errors
    /// [`SpoolError`]; what was remembered before stays.
    pub fn note(&self, cluster: ClusterId, end: Mark) -> Result<(), SpoolError> {
        let write = || {
            let folder = self.make_folder(cluster)?;
            self.replace(&folder.join(END), &serde_json::to_vec(&end)?)?;
            sync(&folder)
        };
        write().map_err(|source| self.disk(source))
    }

    fn make_folder(&self, cluster: ClusterId) -> io::Result<PathBuf> {
        let folder = self.folder(cluster);
        if !folder.exists() {
            fs::create_dir_all(&folder)?;
            sync(&self.dir)?;
        }
        Ok(folder)
    }

    /// Writes a small file anew. Its name is durable when its folder is.
    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let temporary = self.dir.join("marks.part");
        let mut out = fs::File::create(&temporary)?;
        out.write_all(content)?;
        out.sync_all()?;
        fs::rename(&temporary, path)
    }

    /// Deletes a file. One that cannot be deleted stays, and is uploaded again by a next run, which changes nothing.
    pub fn forget(&mut self, file: &File) {
        let path = self.path(file);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {}
            Ok(()) | Err(_) => drop(self.lengths.remove(&path)),
        }
        // Without the file it says nothing.
        let _ = fs::remove_file(with(&path, MARKS));
    }

    fn left(&mut self) -> io::Result<Left> {
        let mut left = Left::default();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.ends_with(".part") {
                fs::remove_file(&path)?;
            } else if let Some(cluster) = cluster_of(name) {
                left.ends.extend(read::<Mark>(&path.join(END)).map(|end| (cluster, end)));
                self.left_of(cluster, &path, &mut left.files)?;
            }
        }
        left.files.sort_by_key(|file: &File| (file.cluster, file.begin.seq));
        Ok(left)
    }

    fn left_of(&mut self, cluster: ClusterId, folder: &Path, files: &mut Vec<File>) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(parsed) = Name::parse(&format!("changes/{name}")) else { continue };
            let marks = read::<Marks>(&with(&path, MARKS));
            let file = marks.map(|Marks { begin, end }| File { cluster, begin, end, encrypted: parsed.is_encrypted() });
            // One that does not fit its name is not one that we closed.
            let Some(file) = file.filter(|file| file.name() == parsed) else { continue };
            self.lengths.insert(path.clone(), fs::metadata(&path)?.len());
            files.push(file);
        }
        Ok(())
    }

    fn folder(&self, cluster: ClusterId) -> PathBuf {
        self.dir.join(cluster.0.to_string())
    }

    fn disk(&self, source: io::Error) -> SpoolError {
        SpoolError::Disk { dir: self.dir.clone(), source }
    }
}

/// What cannot be read is as good as what was never written: the bucket is asked.
fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn not_open() -> io::Error {
    io::Error::other("the file of changes was given up")
}

fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn sync(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use leasehold_archive::changes::ChangesReader;
    use leasehold_archive::time::Time;
    use leasehold_replication::{Seq, Sum};
    use uuid::Uuid;

    const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(9));

    fn mark(seq: u64) -> Mark {
        Mark { seq: Seq(seq), time: Time::from_ms(seq * 1000), hash: Sum(seq.into()) }
    }

    fn line(seq: u64) -> String {
        let Mark { time, hash, .. } = mark(seq);
        format!(r#"{{"sequence":{seq},"time":{},"hash":"{hash}","changes":[]}}"#, serde_json::to_string(&time).unwrap())
    }

    fn file(begin: u64, end: u64) -> File {
        File { cluster: CLUSTER, begin: mark(begin), end: mark(end), encrypted: false }
    }

    #[test]
    fn a_closed_file_survives_a_restart_and_an_open_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Spool::open(&dir.path().join("spool"), Recipients::default()).unwrap();
        let (mut spool, left) = open();
        assert_eq!(left, Left::default());
        for (begin, end) in [(5, 7), (7, 9)] {
            spool.begin(CLUSTER, mark(begin)).unwrap();
            spool.append(&[line(begin + 1)]).unwrap();
            spool.append(&[line(end)]).unwrap();
            spool.close(&file(begin, end)).unwrap();
        }
        spool.begin(CLUSTER, mark(9)).unwrap();
        fs::write(spool.full(), "a full").unwrap();
        let bytes = spool.bytes();
        drop(spool);
        let (mut spool, left) = open();
        assert_eq!((&left.files, left.ends, spool.bytes()), (&vec![file(5, 7), file(7, 9)], Vec::new(), bytes));
        let left = left.files;
        assert_eq!(fs::read_dir(dir.path().join("spool")).unwrap().count(), 1, "only the cluster's folder");
        let from = crate::sealed::open(fs::File::open(spool.path(&left[0])).unwrap(), false, None).unwrap();
        let mut reader = ChangesReader::open(from).unwrap();
        while reader.next_entry().unwrap().is_some() {}
        assert_eq!((reader.begin().mark, reader.end().unwrap().mark), (mark(5), mark(7)));
        fs::remove_file(spool.path(&left[1])).unwrap(); // somebody else did it
        for file in &left {
            spool.note(CLUSTER, file.end).unwrap();
            spool.forget(file);
        }
        assert_eq!(spool.bytes(), 0);
        drop(spool);
        assert_eq!(
            open().1,
            Left { files: Vec::new(), ends: vec![(CLUSTER, mark(9))] },
            "where the archive ends stays"
        );
        fs::write(dir.path().join("spool").join(CLUSTER.0.to_string()).join(END), "{").unwrap();
        assert_eq!(open().1, Left::default());
    }

    #[test]
    fn a_spool_belongs_to_one_agent_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (spool, _) = Spool::open(dir.path(), Recipients::default()).unwrap();
        let refused = Spool::open(dir.path(), Recipients::default()).err().map(|error| error.to_string());
        let said = format!("the spool {} belongs to another agent that runs", dir.path().display());
        assert!(refused.as_ref().is_some_and(|refused| refused.starts_with(&said)), "{refused:?}");
        drop(spool);
        Spool::open(dir.path(), Recipients::default()).unwrap();
    }

    #[test]
    fn what_does_not_follow_gives_the_open_file_up() {
        let dir = tempfile::tempdir().unwrap();
        let (mut spool, _) = Spool::open(dir.path(), Recipients::default()).unwrap();
        spool.begin(CLUSTER, mark(5)).unwrap();
        assert!(matches!(spool.append(&[line(4)]), Err(SpoolError::Changes(_))));
        assert!(matches!(spool.close(&file(5, 7)), Err(SpoolError::Disk { .. })));
        spool.begin(CLUSTER, mark(5)).unwrap();
        assert!(spool.append(&[line(6)]).is_ok());
    }
}
