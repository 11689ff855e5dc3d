//! Archives of a small history, written as an agent writes them.

use leasehold_archive::changes::Mark;
use leasehold_archive::name::Name;
use leasehold_archive::testing::History;
use leasehold_archive::verified::Verified;
use leasehold_backup::sealed::{Recipients, Sealer};
use leasehold_replication::Seq;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output};
use tempfile::TempDir;

pub(crate) struct Fixture {
    pub(crate) folder: TempDir,
    pub(crate) history: History,
    pub(crate) recipients: Recipients,
}

impl Fixture {
    /// Nine entries: `orders`, then records a and b, a replaced, b deleted, and so on.
    pub(crate) fn new() -> Fixture {
        let mut history = History::default();
        history.put("a", 1);
        history.put("b", 2);
        history.put("a", 3);
        history.delete("b");
        history.put("c", 4);
        history.idle();
        history.put("b", 5);
        history.put("d", 6);
        assert_eq!(history.last(), Seq(9));
        Fixture { folder: tempfile::tempdir().unwrap(), history, recipients: Recipients::default() }
    }

    /// With fulls at 1 and 5, and all changes in three files.
    pub(crate) fn whole() -> Fixture {
        let fixture = Fixture::new();
        for seq in [1, 5] {
            fixture.full(seq);
            fixture.verify(seq);
        }
        for (first, last) in [(2, 5), (6, 7), (8, 9)] {
            fixture.changes(first, last);
        }
        fixture
    }

    pub(crate) fn path(&self, name: &Name) -> PathBuf {
        self.folder.path().join(self.history.cluster.0.to_string()).join(name.to_string())
    }

    pub(crate) fn write(&self, name: Name, content: &[u8]) -> Name {
        let name = match name {
            Name::Full { seq, time, .. } => Name::Full { seq, time, encrypted: !self.recipients.is_empty() },
            Name::Changes { first, last, time, .. } => {
                Name::Changes { first, last, time, encrypted: !self.recipients.is_empty() }
            }
            verified @ Name::Verified { .. } => verified,
        };
        let mut sealer = Sealer::new(Vec::new(), &self.recipients).unwrap();
        sealer.write_all(content).unwrap();
        self.put(&name, &sealer.finish().unwrap());
        name
    }

    pub(crate) fn put(&self, name: &Name, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(crate) fn full(&self, seq: u64) -> Name {
        let (name, content) = self.history.full(Seq(seq));
        self.write(name, &content)
    }

    pub(crate) fn changes(&self, first: u64, last: u64) -> Name {
        let (name, content) = self.history.changes(Seq(first), Seq(last));
        self.write(name, &content)
    }

    /// Notes that the full was verified.
    pub(crate) fn verify(&self, seq: u64) {
        let mark: Mark = self.history.mark(Seq(seq));
        let full = Name::Full { seq: mark.seq, time: mark.time, encrypted: !self.recipients.is_empty() };
        let object = fs::read(self.path(&full)).unwrap();
        let verified = Verified {
            mark,
            keys_hash: None,
            records: 0,
            bytes: 0,
            compressed_bytes: object.len() as u64,
            crc32: crc32fast::hash(&object),
            encrypted: !self.recipients.is_empty(),
        };
        self.put(&Name::Verified { seq: mark.seq, time: mark.time }, verified.to_json().as_bytes());
    }

    /// Runs a command on it.
    pub(crate) fn run(&self, words: &str) -> Run {
        let url = format!("file://{}", self.folder.path().display());
        run(words.split(' ').filter(|word| !word.is_empty()).chain(["--url", &url]))
    }

    pub(crate) fn time(&self, seq: u64) -> String {
        self.history.mark(Seq(seq)).time.to_string()
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn run<'a>(words: impl Iterator<Item = &'a str>) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backup"));
    let words: Vec<&str> = words.collect();
    let said = words.join(" ");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BACKUP_") || name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    let Output { status, stdout, stderr } = command.args(words).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let run = Run { code: status.code().unwrap(), out: text(stdout), err: text(stderr) };
    assert!(!run.err.contains("panicked"), "{run:?}");
    // Shown where a test fails, or with --nocapture.
    println!("$ backup {said}\n{}{}", run.out, run.err);
    run
}
