//! Golden files: what a release wrote, stored forever, and read by every later build. docs/golden.md has the rules.
//!
//! ```text
//!   <crate>/tests/golden/0.1.0/frame-2-ack.hex     bytes, as hexadecimal text with comments (`parts`)
//!                             /hello.json          text, byte by byte
//!                       /0.2.0/hello.json          only what changed, or is new, in that release
//!
//!   stored("hello.json") ──▶ both, and today's code reads both
//!   is_written("hello.json", bytes) ──▶ compares with the newest; with UPDATE_GOLDENFILES=1 writes it below the version that
//!                                       CHANGELOG.md calls unreleased, and nowhere else
//! ```

mod document;
mod parts;

pub use parts::{Parts, bytes_of};

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Set to `1`, it lets tests write the directory of the unreleased version.
const UPDATE: &str = "UPDATE_GOLDENFILES";

/// The golden files of one crate.
#[derive(Debug)]
pub struct Golden {
    /// `tests/golden`, with a directory for each version.
    folder: PathBuf,
    /// The root of the repository.
    root: PathBuf,
    /// The version that is in the making, as CHANGELOG.md says; none between a release and the next heading.
    unreleased: Option<String>,
    /// The unreleased directory is being written.
    is_update: bool,
}

impl Golden {
    /// Of the crate in this folder (`CARGO_MANIFEST_DIR`).
    ///
    /// # Panics
    /// When no folder above it has a readable CHANGELOG.md.
    pub fn of(folder: &str) -> Golden {
        let root = Path::new(folder).ancestors().find(|above| above.join("CHANGELOG.md").is_file());
        let root = root.expect("CHANGELOG.md is at the root of the repository");
        Golden::at(Path::new(folder), root, std::env::var(UPDATE).is_ok_and(|value| value == "1"))
    }

    fn at(folder: &Path, root: &Path, is_update: bool) -> Golden {
        let changelog = fs::read_to_string(root.join("CHANGELOG.md")).expect("CHANGELOG.md can be read");
        let unreleased = unreleased_of(&changelog).map(str::to_owned);
        Golden { folder: folder.join("tests/golden"), root: root.to_owned(), unreleased, is_update }
    }

    /// What each version stored under that name, the oldest first: today's code must read all of it. During an update not the
    /// unreleased version, whose files another test may be writing.
    ///
    /// # Panics
    /// When there is none, or a file is not what its name says.
    pub fn stored(&self, name: &str) -> Vec<(String, Vec<u8>)> {
        let mut versions = self.versions_with(name);
        if self.is_update {
            versions.retain(|version| Some(version) != self.unreleased.as_ref());
        } else {
            assert!(!versions.is_empty(), "no version has {name} in {}", self.folder.display());
        }
        let read = |version: String| {
            let bytes = self.read(&version, name);
            (version, bytes)
        };
        versions.into_iter().map(read).collect()
    }

    /// What the newest version that has that name stored there, also during an update.
    ///
    /// # Panics
    /// When the file is not what its name says.
    pub fn newest(&self, name: &str) -> Option<Vec<u8>> {
        Some(self.read(&self.versions_with(name).pop()?, name))
    }

    /// Today's code writes `text` under that name, as the newest version that has it did.
    ///
    /// # Panics
    /// It does not.
    pub fn is_written(&self, name: &str, text: &[u8]) {
        assert!(!name.ends_with(".hex"), "{name}: use `is_written_in_parts`");
        self.compare(name, text, text);
    }

    /// As [`Golden::is_written`], of binary data; `describe` names their parts.
    ///
    /// # Panics
    /// As there, or when the description ends before the bytes do.
    pub fn is_written_in_parts(&self, name: &str, bytes: &[u8], describe: impl FnOnce(&mut Parts<'_>)) {
        assert!(name.ends_with(".hex"), "{name}: bytes are stored as text, in a .hex");
        let mut parts = Parts::new(bytes);
        describe(&mut parts);
        self.compare(name, bytes, parts.finish().as_bytes());
    }

    /// The names are all that any version has: no stored file is without its test.
    ///
    /// # Panics
    /// They are not.
    pub fn has_exactly(&self, names: &[&str]) {
        let mut stored = BTreeSet::new();
        for version in self.versions() {
            collect(&self.folder.join(version), "", &mut stored);
        }
        let named: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        assert!(self.is_update || stored == named, "stored: {stored:#?}, tested: {named:#?}");
    }

    /// The folder of the version that an update may write.
    ///
    /// # Panics
    /// When there is none: a directory is never changed after its release.
    pub fn unreleased(&self) -> PathBuf {
        let version = self.unreleased.as_ref().unwrap_or_else(|| {
            panic!(
                "CHANGELOG.md has no unreleased version: the directory of a release is never changed. Begin the next version \
                 (RELEASE.md), whose directory gets what is new"
            )
        });
        self.folder.join(version)
    }

    /// Whether tests were asked to write the directory of the unreleased version.
    pub fn is_update(&self) -> bool {
        self.is_update
    }

    /// The block below `<!-- golden: PATH -->` in that document is the newest file of that name.
    ///
    /// # Panics
    /// It is not, or there is no such block.
    pub fn is_shown_in(&self, document: &str, name: &str) {
        // A name that this update adds is there only after it.
        let Some(version) = self.versions_with(name).pop() else {
            assert!(self.is_update, "no version has {name}");
            return;
        };
        let path = self.folder.join(version).join(name);
        let shown = path.strip_prefix(&self.root).expect("the crate is in the repository").display().to_string();
        let file = fs::read_to_string(&path).expect("it was found");
        let document = self.root.join(document);
        let text = fs::read_to_string(&document).expect("the document is there");
        let present = document::with_block(&text, &shown, &file).unwrap_or_else(|what| panic!("{shown}: {what}"));
        if self.is_update {
            replace(&document, present.as_bytes());
        } else {
            assert!(text == present, "{} shows {shown} otherwise; {}", document.display(), how_to_update());
        }
    }

    /// The document names every member of the newest file of that name, which is JSON.
    ///
    /// # Panics
    /// It does not.
    pub fn is_described_in(&self, document: &str, name: &str) {
        let Some(json) = self.newest(name) else {
            assert!(self.is_update, "no version has {name}");
            return;
        };
        let text = fs::read_to_string(self.root.join(document)).expect("the document is there");
        let named: BTreeSet<&str> = text.split(|letter: char| !letter.is_ascii_alphanumeric()).collect();
        let json = String::from_utf8(json).expect("JSON is text");
        let members = document::members_of(&json);
        assert!(!members.is_empty(), "{name} has no members");
        let missing: Vec<_> = members.difference(&named).collect();
        assert!(missing.is_empty(), "{document} does not name these members of {name}: {missing:?}");
    }

    fn compare(&self, name: &str, bytes: &[u8], text: &[u8]) {
        let newest = self.versions_with(name).pop();
        if self.is_update {
            let is_same = |version: &String| {
                let is_own = Some(version) == self.unreleased.as_ref();
                // Comments of a released file stay as they are, too.
                if is_own {
                    fs::read(self.folder.join(version).join(name)).is_ok_and(|found| found == text)
                } else {
                    self.read(version, name) == bytes
                }
            };
            if !newest.as_ref().is_some_and(is_same) {
                replace(&self.unreleased().join(name), text);
            }
            return;
        }
        let Some(version) = newest else { panic!("no version has {name}; {}", how_to_update()) };
        let stored = self.read(&version, name);
        assert!(
            stored == bytes,
            "{version}/{name} is written otherwise today.\nStored:\n{}\nToday:\n{}\n{}",
            fs::read_to_string(self.folder.join(&version).join(name)).unwrap_or_default(),
            String::from_utf8_lossy(text),
            how_to_update()
        );
    }

    fn read(&self, version: &str, name: &str) -> Vec<u8> {
        let path = self.folder.join(version).join(name);
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if !name.ends_with(".hex") {
            return bytes;
        }
        let text = String::from_utf8(bytes).unwrap_or_else(|_| panic!("{} is not text", path.display()));
        bytes_of(&text).unwrap_or_else(|what| panic!("{}: {what}", path.display()))
    }

    fn versions_with(&self, name: &str) -> Vec<String> {
        let mut versions = self.versions();
        versions.retain(|version| self.folder.join(version).join(name).is_file());
        versions
    }

    /// The oldest first.
    fn versions(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let names = entries.map(|entry| entry.expect("a folder that can be read").file_name());
        let mut versions: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        versions.sort_by_key(|version| numbers(version));
        versions
    }
}

/// 0.10.0 is behind 0.9.0.
fn numbers(version: &str) -> Vec<u64> {
    let number = |part: &str| part.parse().unwrap_or_else(|_| panic!("tests/golden/{version}: not a version"));
    version.split('.').map(number).collect()
}

/// The version of the first heading, if that says `(unreleased)`.
fn unreleased_of(changelog: &str) -> Option<&str> {
    let heading = changelog.lines().find_map(|line| line.strip_prefix("## "))?;
    heading.strip_suffix(" (unreleased)")
}

fn how_to_update() -> &'static str {
    "A build must read what earlier ones wrote, and write what they read. If the change is meant, and you can say why, see docs/golden.md: \
     make golden"
}

/// Whole, or not at all: another test may read it.
fn replace(path: &Path, bytes: &[u8]) {
    let aside = path.with_extension("tmp");
    fs::create_dir_all(path.parent().expect("a file has a folder")).expect("the folder can be made");
    fs::write(&aside, bytes).expect("the file can be written");
    fs::rename(&aside, path).expect("it gets its name");
}

fn collect(folder: &Path, below: &str, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder that can be read") {
        let entry = entry.expect("a folder that can be read");
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            collect(&entry.path(), &format!("{name}/"), names);
        } else {
            names.insert(name);
        }
    }
}

#[cfg(test)]
mod tests;
