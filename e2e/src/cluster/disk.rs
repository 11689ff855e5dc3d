//! Disks that are slow, full, failing or hung: a library of a page of C, loaded into the stores (LD_PRELOAD).
//!
//! ```text
//!   Disks::set(pod, Trouble) ──▶ pod's control file (mapped by both) ──▶ write, fdatasync, open of that store
//! ```
//!
//! Honest about what it is: the store's own calls fail or wait before they reach the kernel. The files below are those of
//! a real file system, and nothing that was written is taken away; what is lost with the power is the simulator's part
//! (`sim/`, `store/src/volume/journal/crash_tests.rs`). It needs a C compiler and a store that is linked dynamically.

use std::{
    io::Write,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use tempfile::TempDir;

const SOURCE: &str = include_str!("disk/trouble.c");

/// What is wrong with a disk. The default: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// Each write to a file waits this long.
    pub write_delay: Duration,
    /// Each fsync and fdatasync waits this long.
    pub sync_delay: Duration,
    /// No file can grow, and none can be made (ENOSPC).
    pub full: bool,
    /// Every write fails (EIO).
    pub writes_fail: bool,
    /// Every fsync and fdatasync fails (EIO).
    pub syncs_fail: bool,
    /// So many of the next fsyncs fail (EIO); then the disk is well again.
    pub syncs_fail_next: u32,
    /// While this is set, no fsync and no fdatasync returns.
    pub syncs_hang: bool,
    /// While this is set, no write to a file returns.
    pub writes_hang: bool,
}

/// The disks of a cluster's stores.
#[derive(Debug)]
pub struct Disks {
    folder: TempDir,
}

const EIO: u32 = 5;
/// The place of the count of manipulated calls in the control file, after six words.
const HITS_AT: u64 = 24;
/// And behind that, whether syncs hang, and whether writes do.
const HUNG_AT: u64 = 28;
const CONTROL_BYTES: u64 = 4096;

impl Disks {
    /// Compiles the library.
    ///
    /// # Errors
    /// There is no C compiler, or it rejects the source.
    pub fn build() -> anyhow::Result<Disks> {
        let folder = tempfile::Builder::new().prefix("leasehold-disks-").tempdir()?;
        let mut compiler = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-x", "c", "-o"])
            .arg(folder.path().join("trouble.so"))
            .args(["-", "-ldl"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("there is no C compiler `cc`")?;
        compiler.stdin.take().context("no way to the compiler")?.write_all(SOURCE.as_bytes())?;
        let ended = compiler.wait_with_output()?;
        ensure!(ended.status.success(), "cc: {}", String::from_utf8_lossy(&ended.stderr).trim());
        Ok(Disks { folder })
    }

    /// The environment of pod `i`'s store, whose volume is `data`.
    ///
    /// # Errors
    /// The control file cannot be made.
    pub(super) fn environment(&self, i: u16, data: &Path) -> anyhow::Result<Vec<(String, String)>> {
        // A pod that is made again has the disk that it had.
        let control = self.control(i);
        let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&control)?;
        file.set_len(CONTROL_BYTES)?;
        let text = |path: PathBuf| path.display().to_string();
        Ok(vec![
            ("LD_PRELOAD".to_owned(), text(self.folder.path().join("trouble.so"))),
            ("CHAOS_DISK_CONTROL".to_owned(), text(control)),
            // As the kernel names it.
            ("CHAOS_DISK_FOLDER".to_owned(), text(data.canonicalize()?)),
        ])
    }

    /// The disk of pod `i` is so from now on.
    ///
    /// # Errors
    /// There was no such pod.
    pub fn set(&self, i: u16, trouble: Trouble) -> anyhow::Result<()> {
        let milliseconds = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        let words = [
            if trouble.writes_fail { EIO } else { 0 },
            if trouble.syncs_fail { EIO } else { 0 },
            trouble.syncs_fail_next,
            u32::from(trouble.full),
            milliseconds(trouble.write_delay),
            milliseconds(trouble.sync_delay),
        ];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let path = self.control(i);
        let file = std::fs::OpenOptions::new().write(true).open(&path).context(format!("pod {i} has no disk"))?;
        file.write_all_at(&bytes, 0)?;
        let hung: Vec<u8> = [trouble.syncs_hang, trouble.writes_hang]
            .iter()
            .flat_map(|is_so| u32::from(*is_so).to_ne_bytes())
            .collect();
        Ok(file.write_all_at(&hung, HUNG_AT)?)
    }

    /// How many calls of pod `i` were delayed or failed so far.
    pub fn hits(&self, i: u16) -> u32 {
        let mut word = [0; 4];
        let read = std::fs::File::open(self.control(i)).and_then(|file| file.read_exact_at(&mut word, HITS_AT));
        read.map_or(0, |()| u32::from_ne_bytes(word))
    }

    fn control(&self, i: u16) -> PathBuf {
        self.folder.path().join(format!("disk-{i}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Runs a shell on that disk; returns its exit and its output.
    fn shell(disks: &Disks, data: &Path, script: &str) -> (bool, String) {
        let environment = disks.environment(0, data).unwrap();
        let output =
            Command::new("sh").args(["-c", script]).current_dir(data).envs(environment).env("LC_ALL", "C").output();
        let output = output.unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    #[test]
    fn a_disk_is_full_fails_and_is_well_again() {
        let disks = match Disks::build() {
            Ok(disks) => disks,
            Err(error) => return eprintln!("left out: {error:#}"),
        };
        let data = tempfile::tempdir().unwrap();
        let run = |script: &str| shell(&disks, data.path(), script);
        let sync = "dd if=/dev/zero of=file bs=512 count=1 conv=notrunc,fdatasync";
        assert!(run(&format!("echo before > here && {sync}")).0);
        assert_eq!(disks.hits(0), 0);

        disks.set(0, Trouble { full: true, ..Trouble::default() }).unwrap();
        let append = "dd if=/dev/zero of=here bs=1 count=1 oflag=append conv=notrunc";
        let (fine, said) = run(append);
        assert!(!fine && said.contains("No space left"), "{said}");
        assert!(!run("echo new > other").0, "a file was made on a full disk");
        assert!(run(sync).0, "a full disk takes changes of bytes that are there");
        let elsewhere = tempfile::tempdir().unwrap();
        assert!(run(&format!("echo new > {}/other", elsewhere.path().display())).0, "only that disk is full");

        disks.set(0, Trouble { writes_fail: true, ..Trouble::default() }).unwrap();
        let (fine, said) = run(append);
        assert!(!fine && said.contains("Input/output error"), "{said}");

        disks.set(0, Trouble { syncs_fail_next: 1, ..Trouble::default() }).unwrap();
        assert!(!run(sync).0, "the sync was to fail once");
        assert!(run(sync).0, "the sync was to fail once only");
        assert!(disks.hits(0) >= 4);

        let delay = Duration::from_millis(300);
        disks.set(0, Trouble { sync_delay: delay, ..Trouble::default() }).unwrap();
        let begin = std::time::Instant::now();
        assert!(run(sync).0);
        assert!(begin.elapsed() >= delay);

        for hung in
            [Trouble { syncs_hang: true, ..Trouble::default() }, Trouble { writes_hang: true, ..Trouble::default() }]
        {
            disks.set(0, hung).unwrap();
            let hits = disks.hits(0);
            std::thread::scope(|scope| {
                let synced = scope.spawn(|| run(sync).0);
                while disks.hits(0) == hits {
                    std::thread::yield_now();
                }
                assert!(!synced.is_finished(), "a call to a disk that hangs came back: {hung:?}");
                disks.set(0, Trouble::default()).unwrap();
                assert!(synced.join().unwrap(), "the disk answers, and the call fails: {hung:?}");
            });
        }
    }
}
