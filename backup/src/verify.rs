//! `backup verify`: reads objects back, loads them, and compares sums and hashes.
//!
//! ```text
//!   default   the newest full that can be used ─▶ all changes since, each hash compared
//!   --all     each full; each range from its first full over all files, compared with each later full; the other files
//! ```
//!
//! Of what is encrypted, without the key, only the checksum of fulls can be compared, and whether files can be read at all.

use crate::archive::{Archive, CommandError, damaged};
use crate::args::VerifyArgs;
use crate::progress::Progress;
use crate::walk::Walker;
use leasehold_archive::catalog::{File, Full, Range};
use leasehold_archive::chain::Until;
use leasehold_archive::changes::ChangesReader;
use leasehold_archive::name::Name;
use leasehold_archive::point::Point;
use leasehold_replication::{Seq, Sum};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

/// Prints what is wrong, and a summary.
///
/// # Errors
/// Anything is wrong.
pub async fn run(args: VerifyArgs, out: &mut (dyn Write + Send)) -> Result<(), CommandError> {
    let mut archive = Archive::open(&args.source, Some(&args.keys)).await?;
    let mut starts = starts_of(&archive);
    // A list takes a while, and an agent puts what leads to a full before it: a list that began later has it.
    for _ in 0..LISTS_MAX {
        if starts.len() <= 1 {
            break;
        }
        archive.list_again().await?;
        let again = starts_of(&archive);
        if again.is_subset(&std::mem::replace(&mut starts, again.clone())) {
            break;
        }
    }
    let (lines, wrong, is_sealed) = crate::archive::blocking(move || {
        let mut verify = Verify {
            archive: &archive,
            progress: Progress::new(),
            wrong: 0,
            bad: BTreeSet::new(),
            is_sealed: false,
            lines: Vec::new(),
        };
        verify.names();
        if args.all {
            verify.all()?
        } else {
            verify.newest()?
        }
        let summary = verify.progress.summary();
        verify.lines.push(format!("read {summary}"));
        Ok((verify.lines, verify.wrong + verify.bad.len() as u64, verify.is_sealed))
    })
    .await?;
    for line in lines {
        writeln!(out, "{line}").map_err(CommandError::io("cannot print"))?;
    }
    match wrong {
        0 => {
            let last = if is_sealed {
                "all objects are there and as long as noted; the content of the encrypted ones was not checked: give --identity"
            } else {
                "nothing is wrong"
            };
            writeln!(out, "{last}").map_err(CommandError::io("cannot print"))
        }
        wrong => Err(CommandError::Said(format!("problems: {wrong}; see above"))),
    }
}

/// A gap counts when two lists show it.
const LISTS_MAX: usize = 5;

/// Where what can be restored begins, and begins again.
fn starts_of(archive: &Archive) -> BTreeSet<Seq> {
    archive.catalog.ranges().iter().map(|range| range.from.seq).collect()
}

struct Verify<'a> {
    archive: &'a Archive,
    progress: Progress,
    /// What is wrong with no object in particular.
    wrong: u64,
    /// Objects with something wrong: each counts once, however often the way led to it.
    bad: BTreeSet<Name>,
    /// Something is encrypted, and there is no key: nobody may read "nothing is wrong" then.
    is_sealed: bool,
    /// For the output, at the end.
    lines: Vec<String>,
}

impl Verify<'_> {
    fn wrong(&mut self, what: &str) {
        self.progress.say(what);
        self.wrong += 1;
    }

    fn bad(&mut self, name: Name, why: &str) {
        self.progress.say(&format!("{name}: {why}"));
        self.bad.insert(name);
    }

    /// Where a way ended: what made it end counts, if it was seen.
    fn lost(&mut self, walker: &Walker<'_>, point: Point) {
        let gap = walker.gap(point);
        if walker.problems().is_empty() { self.wrong(&gap) } else { self.progress.say(&gap) }
    }

    /// What shows without reading.
    fn names(&mut self) {
        let catalog = &self.archive.catalog;
        let ranges = catalog.ranges();
        let Some(end) = ranges.last().map(|range| range.to) else {
            self.wrong("nothing can be restored: there is no full");
            return;
        };
        let furthest = catalog.files().iter().map(|file| file.last).max();
        if let Some(furthest) = furthest.filter(|furthest| furthest.seq > end.seq) {
            let first = catalog.files().iter().find(|file| file.last.seq > end.seq);
            let name = first.map_or(String::new(), |file| file.name().to_string());
            self.wrong(&format!(
                "a file is missing after {end}: {name} and what follows, up to {furthest}, cannot be reached"
            ));
        }
    }

    fn newest(&mut self) -> Result<(), CommandError> {
        let Some(range) = self.archive.catalog.ranges().last().copied() else { return Ok(()) };
        let newest = self.archive.catalog.fulls().last().copied();
        if let Some(full) = newest.filter(|full| full.encrypted && !self.archive.has_keys()) {
            self.sealed_full(&full)?;
            let files: Vec<File> = self.archive.catalog.after(full.edge.seq).copied().collect();
            let later = self.archive.catalog.files().iter().filter(|file| file.first > full.edge.seq.next());
            for file in files.iter().chain(later) {
                self.sealed_file(file)?;
            }
            self.is_sealed = true;
            return Ok(());
        }
        let mut walker = Walker::new(self.archive, Until { seq: range.to.seq, time: None });
        let arrived = walker.go(&mut self.progress, &mut |_, _| ())?.is_some();
        self.bad.extend(walker.problems().iter().map(|problem| problem.name));
        if arrived {
            self.lines.push(format!("from {} to {}: all hashes agree", self.start(&walker), range.to));
        } else {
            self.lost(&walker, Point::Latest);
        }
        Ok(())
    }

    fn start(&self, walker: &Walker<'_>) -> String {
        let full = walker.used.iter().rfind(|name| matches!(name, Name::Full { .. }));
        full.map_or("nothing".to_owned(), Name::to_string)
    }

    fn all(&mut self) -> Result<(), CommandError> {
        let catalog = &self.archive.catalog;
        let mut hashes: BTreeMap<Seq, Sum> = BTreeMap::new();
        for full in catalog.fulls() {
            if full.encrypted && !self.archive.has_keys() {
                self.is_sealed = true;
                self.sealed_full(full)?;
                continue;
            }
            match self.archive.load(full, &mut self.progress)? {
                Ok(snapshot) => {
                    let hash = snapshot.documents.data_sum();
                    let other = hashes.insert(full.edge.seq, hash).filter(|other| *other != hash);
                    if let Some(other) = other {
                        self.bad(full.name(), &format!("its data have hash {hash}, another full's {other}"));
                    }
                }
                Err(bad) => self.bad(full.name(), &bad.why),
            }
        }
        let mut used: BTreeSet<Name> = BTreeSet::new();
        let ranges = catalog.ranges();
        for (at, range) in ranges.iter().enumerate() {
            if let Some(before) = at.checked_sub(1).and_then(|at| ranges.get(at)) {
                self.wrong(&format!("gap: nothing leads from {} to {}", before.to, range.from));
            }
            if !self.is_sealed {
                used.extend(self.range(range, &hashes)?);
            }
        }
        for file in catalog.files().iter().filter(|file| !used.contains(&file.name())) {
            if file.encrypted && !self.archive.has_keys() {
                self.is_sealed = true;
                self.sealed_file(file)?;
                continue;
            }
            let read = self.archive.content(&file.name(), &mut self.progress, |content| {
                let mut reader = ChangesReader::open(content).map_err(damaged)?;
                while reader.next_entry().map_err(damaged)?.is_some() {}
                Ok(())
            })?;
            if let Err(bad) = read {
                self.bad(file.name(), &bad.why);
            }
        }
        Ok(())
    }

    /// From the first full over all files, and compares with each later full that could be read.
    fn range(&mut self, range: &Range, hashes: &BTreeMap<Seq, Sum>) -> Result<Vec<Name>, CommandError> {
        let until = |seq: Seq| Until { seq, time: None };
        let mut walker = Walker::new(self.archive, until(range.from.seq));
        let inside = hashes.range(range.from.seq..=range.to.seq).map(|(seq, _)| *seq);
        let stops: BTreeSet<Seq> = inside.chain([range.from.seq, range.to.seq]).collect();
        let mut used = Vec::new();
        for stop in stops {
            walker.extend(until(stop));
            let found = walker.go(&mut self.progress, &mut |_, _| ())?.map(|replay| replay.data_sum());
            self.bad.extend(walker.problems().iter().map(|problem| problem.name));
            match (found, hashes.get(&stop)) {
                (None, _) => {
                    self.lost(&walker, Point::Seq(stop));
                    used.append(&mut walker.used);
                    used.extend(walker.problems().iter().map(|problem| problem.name));
                    walker = Walker::new(self.archive, until(stop));
                }
                (Some(found), Some(hash)) if found != *hash => {
                    let what = format!("at entry {stop} the changes lead to hash {found}, but its full has {hash}");
                    self.wrong(&what);
                }
                (Some(_), _) => {}
            }
        }
        self.lines.push(format!("from {} to {}: read", range.from, range.to));
        used.append(&mut walker.used);
        used.extend(walker.problems().iter().map(|problem| problem.name));
        Ok(used)
    }

    fn sealed_full(&mut self, full: &Full) -> Result<(), CommandError> {
        let noted = match self.archive.noted(full)? {
            Ok(noted) => noted,
            Err(bad) => {
                self.bad(full.name(), &bad.why);
                return Ok(());
            }
        };
        match (self.archive.checksum(&full.name(), &mut self.progress)?, noted) {
            (Err(bad), _) => self.bad(full.name(), &bad.why),
            (Ok((bytes, crc32)), Some(noted)) if (bytes, crc32) != (noted.compressed_bytes, noted.crc32) => {
                let said = format!("{} bytes with checksum {:08x}", noted.compressed_bytes, noted.crc32);
                self.bad(full.name(), &format!("it has {bytes} bytes with checksum {crc32:08x}, not {said}"));
            }
            (Ok(_), Some(_)) => {}
            (Ok(_), None) => self.lines.push(format!("{}: not verified when it was written", full.name())),
        }
        Ok(())
    }

    fn sealed_file(&mut self, file: &File) -> Result<(), CommandError> {
        match self.archive.checksum(&file.name(), &mut self.progress)? {
            Ok((bytes, _)) if bytes != file.bytes => {
                self.bad(file.name(), &format!("it has {bytes} bytes, not {} as the list says", file.bytes));
            }
            Ok(_) => {}
            Err(bad) => self.bad(file.name(), &bad.why),
        }
        Ok(())
    }
}
