//! The last release, whose programs run beside this build's. `e2e/last-release` names it, `scripts/last-release.sh` builds it.

use std::{fs, path::PathBuf};

use anyhow::{Context, ensure};

use super::fault::Build;
use crate::cluster::{Part, Program, Programs};

/// Its version and its commit.
const NAMED: &str = include_str!("../../last-release");
/// The format that it writes.
const FORMAT: &str = "1";

/// The programs of both builds.
#[derive(Clone, Debug)]
pub(super) struct Builds {
    last: Programs,
    held: Programs,
    this: Programs,
}

impl Builds {
    /// Where Cargo and the script put them: `target/debug` and `target/last-release`.
    ///
    /// # Errors
    /// One is missing, or of another release; says how to make it.
    pub(super) fn find() -> anyhow::Result<Builds> {
        let this = Programs::find()?;
        let beside =
            this.store.path.parent().and_then(|folder| folder.parent()).context("the store lies in no folder")?;
        let folder = beside.join("last-release");
        let built = fs::read_to_string(folder.join("built")).unwrap_or_default();
        let named = NAMED.trim();
        ensure!(
            built.trim() == named,
            "{} does not have the last release ({named}): run `sh scripts/last-release.sh build`, or make skew",
            folder.display()
        );
        let mut last = this.clone();
        last.store = Program::at(folder.join("store"));
        last.sidecar = Program::at(folder.join("sidecar"));
        let mut held = this.clone();
        held.store.args.extend(["--format-max", FORMAT].map(str::to_owned));
        Ok(Builds { last, held, this })
    }

    /// One build's.
    pub(super) fn programs(&self, build: Build) -> &Programs {
        match build {
            Build::Last => &self.last,
            Build::Held => &self.held,
            Build::This => &self.this,
        }
    }

    /// One program.
    pub(super) fn program(&self, build: Build, part: Part) -> Program {
        self.programs(build).of(part).clone()
    }
}

/// Where the last release lies, for who wants to see.
impl std::fmt::Display for Builds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let folder: PathBuf = self.last.store.path.parent().map(PathBuf::from).unwrap_or_default();
        write!(f, "the last release is {} ({})", NAMED.trim(), folder.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_named_by_a_version_and_a_whole_commit() {
        let words: Vec<&str> = NAMED.split_whitespace().collect();
        assert_eq!((words.len(), NAMED.lines().count()), (2, 1), "{NAMED}");
        assert_eq!(words[0].split('.').filter(|number| number.parse::<u32>().is_ok()).count(), 3, "{NAMED}");
        assert!(words[1].len() == 40 && words[1].chars().all(|digit| digit.is_ascii_hexdigit()), "{NAMED}");
    }
}
