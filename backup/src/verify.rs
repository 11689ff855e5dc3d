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
    let archive = Archive::open(&args.source, Some(&args.keys)).await?;
    let (lines, wrong) = crate::archive::blocking(move || {
        let mut verify = Verify { archive: &archive, progress: Progress::new(), wrong: 0, lines: Vec::new() };
        verify.names();
        if args.all {
            verify.all()?
        } else {
            verify.newest()?
        }
        let summary = verify.progress.summary();
        verify.lines.push(format!("read {summary}"));
        Ok((verify.lines, verify.wrong))
    })
    .await?;
    for line in lines {
        writeln!(out, "{line}").map_err(CommandError::io("cannot print"))?;
    }
    match wrong {
        0 => writeln!(out, "nothing is wrong").map_err(CommandError::io("cannot print")),
        wrong => Err(CommandError::Said(format!("problems: {wrong}; see above"))),
    }
}

struct Verify<'a> {
    archive: &'a Archive,
    progress: Progress,
    wrong: u64,
    /// For the output, at the end.
    lines: Vec<String>,
}

impl Verify<'_> {
    fn wrong(&mut self, what: &str) {
        self.progress.say(what);
        self.wrong += 1;
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
            self.say_sealed();
            return Ok(());
        }
        let mut walker = Walker::new(self.archive, Until { seq: range.to.seq, time: None });
        let arrived = walker.go(&mut self.progress, &mut |_, _| ())?.is_some();
        self.wrong += walker.problems().len() as u64;
        if arrived {
            self.lines.push(format!("from {} to {}: all hashes agree", self.start(&walker), range.to));
        } else {
            let gap = walker.gap(Point::Latest);
            self.wrong(&gap);
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
        let mut is_sealed = false;
        for full in catalog.fulls() {
            if full.encrypted && !self.archive.has_keys() {
                is_sealed = true;
                self.sealed_full(full)?;
                continue;
            }
            match self.archive.load(full, &mut self.progress)? {
                Ok(snapshot) => {
                    let hash = snapshot.documents.data_sum();
                    let other = hashes.insert(full.edge.seq, hash).filter(|other| *other != hash);
                    if let Some(other) = other {
                        self.wrong(&format!("{}: its data have hash {hash}, another full's {other}", full.name()));
                    }
                }
                Err(bad) => self.wrong(&format!("{}: {}", full.name(), bad.why)),
            }
        }
        let mut used: BTreeSet<Name> = BTreeSet::new();
        let ranges = catalog.ranges();
        for (at, range) in ranges.iter().enumerate() {
            if let Some(before) = at.checked_sub(1).and_then(|at| ranges.get(at)) {
                self.wrong(&format!("gap: nothing leads from {} to {}", before.to, range.from));
            }
            if !is_sealed {
                used.extend(self.range(range, &hashes)?);
            }
        }
        for file in catalog.files().iter().filter(|file| !used.contains(&file.name())) {
            if file.encrypted && !self.archive.has_keys() {
                is_sealed = true;
                self.sealed_file(file)?;
                continue;
            }
            let read = self.archive.content(&file.name(), &mut self.progress, |content| {
                let mut reader = ChangesReader::open(content).map_err(damaged)?;
                while reader.next_entry().map_err(damaged)?.is_some() {}
                Ok(())
            })?;
            if let Err(bad) = read {
                self.wrong(&format!("{}: {}", file.name(), bad.why));
            }
        }
        if is_sealed {
            self.say_sealed();
        }
        Ok(())
    }

    /// From the first full over all files, and compares with each later full that could be read.
    fn range(&mut self, range: &Range, hashes: &BTreeMap<Seq, Sum>) -> Result<Vec<Name>, CommandError> {
        let until = |seq: Seq| Until { seq, time: None };
        let mut walker = Walker::new(self.archive, until(range.from.seq));
        let inside = hashes.range(range.from.seq..=range.to.seq).map(|(seq, _)| *seq);
        let stops: BTreeSet<Seq> = inside.chain([range.from.seq, range.to.seq]).collect();
        let (mut used, mut known) = (Vec::new(), 0);
        for stop in stops {
            walker.extend(until(stop));
            let found = walker.go(&mut self.progress, &mut |_, _| ())?.map(|replay| replay.data_sum());
            self.wrong += (walker.problems().len() - known) as u64;
            known = walker.problems().len();
            match (found, hashes.get(&stop)) {
                (None, _) => {
                    let gap = walker.gap(Point::Seq(stop));
                    self.wrong(&gap);
                    used.append(&mut walker.used);
                    (walker, known) = (Walker::new(self.archive, until(stop)), 0);
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
                self.wrong(&format!("{}: {}", full.name(), bad.why));
                return Ok(());
            }
        };
        match (self.archive.checksum(&full.name(), &mut self.progress)?, noted) {
            (Err(bad), _) => self.wrong(&format!("{}: {}", full.name(), bad.why)),
            (Ok((bytes, crc32)), Some(noted)) if (bytes, crc32) != (noted.compressed_bytes, noted.crc32) => {
                let said = format!("{} bytes with checksum {:08x}", noted.compressed_bytes, noted.crc32);
                self.wrong(&format!("{}: it has {bytes} bytes with checksum {crc32:08x}, not {said}", full.name()));
            }
            (Ok(_), Some(_)) => {}
            (Ok(_), None) => self.lines.push(format!("{}: not verified when it was written", full.name())),
        }
        Ok(())
    }

    fn sealed_file(&mut self, file: &File) -> Result<(), CommandError> {
        match self.archive.checksum(&file.name(), &mut self.progress)? {
            Ok((bytes, _)) if bytes != file.bytes => {
                self.wrong(&format!("{}: it has {bytes} bytes, not {} as the list says", file.name(), file.bytes));
            }
            Ok(_) => {}
            Err(bad) => self.wrong(&format!("{}: {}", file.name(), bad.why)),
        }
        Ok(())
    }

    fn say_sealed(&mut self) {
        let what = "encrypted: the content was not read; name the key with --identity to check it";
        self.lines.push(what.to_owned());
    }
}
