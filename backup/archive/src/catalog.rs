//! What an archive has of one cluster, by the names of its objects alone.
//!
//! ```text
//!   LIST (any order) ──▶ Catalog: fulls (verified or not), files of changes, marks without a full, strangers
//!                          └──▶ ranges: from which entry to which each point can be restored, by the names
//! ```
//!
//! Names say which entries a file has, not whether it is whole or of the same history: that shows when it is read.

use crate::name::Name;
use crate::time::Time;
use leasehold_replication::Seq;
use std::collections::BTreeSet;

/// A snapshot in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Full {
    /// The last entry that it holds, and that entry's time.
    pub edge: Edge,
    /// It is encrypted by age.
    pub encrypted: bool,
    /// It was read back and compared.
    pub verified: bool,
    /// The length of the object.
    pub bytes: u64,
}

/// A file of changes in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct File {
    /// Its first entry.
    pub first: Seq,
    /// Its last entry, and that entry's time.
    pub last: Edge,
    /// It is encrypted by age.
    pub encrypted: bool,
    /// The length of the object.
    pub bytes: u64,
}

/// An entry and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// The entry.
    pub seq: Seq,
    /// Its time.
    pub time: Time,
}

/// Each point from one entry to another can be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The full that it begins with.
    pub from: Edge,
    /// The last entry that files lead to.
    pub to: Edge,
}

/// All that an archive has of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    fulls: Vec<Full>,
    files: Vec<File>,
    /// Of each file: the furthest that it, or any file before it, leads.
    reach: Vec<Seq>,
    orphans: Vec<Name>,
    strangers: u64,
}

impl std::fmt::Display for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "entry {} ({})", self.seq, self.time)
    }
}

impl Full {
    /// Its object.
    pub fn name(&self) -> Name {
        Name::Full { seq: self.edge.seq, time: self.edge.time, encrypted: self.encrypted }
    }

    /// What says that it was verified.
    pub fn mark(&self) -> Name {
        Name::Verified { seq: self.edge.seq, time: self.edge.time }
    }
}

impl File {
    /// Its object.
    pub fn name(&self) -> Name {
        Name::Changes { first: self.first, last: self.last.seq, time: self.last.time, encrypted: self.encrypted }
    }
}

impl Catalog {
    /// From names within the folder of the cluster, and the lengths of their objects.
    pub fn of<'a>(listed: impl IntoIterator<Item = (&'a str, u64)>) -> Catalog {
        let mut catalog = Catalog::default();
        let mut marks = BTreeSet::new();
        for (text, bytes) in listed {
            match Name::parse(text) {
                Some(Name::Full { seq, time, encrypted }) => {
                    catalog.fulls.push(Full { edge: Edge { seq, time }, encrypted, verified: false, bytes });
                }
                Some(Name::Changes { first, last, time, encrypted }) => {
                    catalog.files.push(File { first, last: Edge { seq: last, time }, encrypted, bytes });
                }
                Some(Name::Verified { seq, time }) => {
                    marks.insert(Edge { seq, time });
                }
                None => catalog.strangers += 1,
            }
        }
        catalog.fulls.sort_unstable();
        catalog.fulls.dedup();
        catalog.files.sort_unstable();
        catalog.files.dedup();
        let furthest = catalog.files.iter().scan(Seq(0), |furthest, file| {
            *furthest = file.last.seq.max(*furthest);
            Some(*furthest)
        });
        catalog.reach = furthest.collect();
        for full in &mut catalog.fulls {
            full.verified = marks.contains(&full.edge);
        }
        for full in &catalog.fulls {
            marks.remove(&full.edge);
        }
        catalog.orphans = marks.into_iter().map(|Edge { seq, time }| Name::Verified { seq, time }).collect();
        catalog
    }

    /// All fulls, by their entries.
    pub fn fulls(&self) -> &[Full] {
        &self.fulls
    }

    /// All files of changes, by their first entries.
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// The files that have the entry after `at`, the one that begins last first.
    pub fn after(&self, at: Seq) -> impl Iterator<Item = &File> {
        let begun = self.files.partition_point(|file| file.first <= at.next());
        let near = (0..begun).rev().take_while(move |index| self.reach[*index] > at);
        near.map(|index| &self.files[index]).filter(move |file| file.last.seq > at)
    }

    /// Marks of fulls that are gone.
    pub fn orphans(&self) -> &[Name] {
        &self.orphans
    }

    /// Objects whose names are not ours: they are left alone.
    pub fn strangers(&self) -> u64 {
        self.strangers
    }

    /// Is nothing of ours there?
    pub fn is_empty(&self) -> bool {
        self.fulls.is_empty() && self.files.is_empty() && self.orphans.is_empty()
    }

    /// The length of all fulls and files.
    pub fn bytes(&self) -> u64 {
        self.fulls.iter().map(|full| full.bytes).chain(self.files.iter().map(|file| file.bytes)).sum()
    }

    /// The newest full that was verified.
    pub fn newest_verified(&self) -> Option<&Full> {
        self.fulls.iter().rfind(|full| full.verified)
    }

    /// What can be restored, by the names, in order. Between two of them is a gap.
    pub fn ranges(&self) -> Vec<Range> {
        let covered = self.covered();
        let mut ranges: Vec<Range> = Vec::new();
        for full in &self.fulls {
            let seq = full.edge.seq;
            if ranges.last().is_some_and(|range| seq <= range.to.seq) {
                continue;
            }
            let at = covered.partition_point(|(_, last)| last.seq <= seq);
            let leads = covered.get(at).filter(|(first, _)| first.0 <= seq.next().0);
            ranges.push(Range { from: full.edge, to: leads.map_or(full.edge, |(_, last)| *last) });
        }
        ranges
    }

    /// Entries that files have and no full leads to, as first and last: a file is missing before them, or there is no full.
    pub fn unreachable(&self) -> Vec<(Seq, Edge)> {
        let ranges = self.ranges();
        let is_reached = |last: Seq| ranges.iter().any(|range| range.from.seq <= last && last <= range.to.seq);
        self.covered().into_iter().filter(|(_, last)| !is_reached(last.seq)).collect()
    }

    /// Runs of entries without a hole, as first and last.
    fn covered(&self) -> Vec<(Seq, Edge)> {
        let mut runs: Vec<(Seq, Edge)> = Vec::new();
        for file in &self.files {
            match runs.last_mut() {
                Some((_, last)) if file.first <= last.seq.next() => *last = (*last).max(file.last),
                _ => runs.push((file.first, file.last)),
            }
        }
        runs
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;

    /// In tests each entry's time is its sequence in seconds.
    pub(crate) fn edge(seq: u64) -> Edge {
        Edge { seq: Seq(seq), time: Time::from_ms(seq * 1000) }
    }

    /// `full 7`, `verified 7`, `changes 8-12`.
    pub(crate) fn names(text: &str) -> Vec<String> {
        let name = |words: &str| {
            let (kind, numbers) = words.trim().split_once(' ').unwrap();
            let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
            let Edge { seq, time } = edge(last.parse().unwrap());
            match kind {
                "full" => Name::Full { seq, time, encrypted: false },
                "verified" => Name::Verified { seq, time },
                "changes" => Name::Changes { first: Seq(first.parse().unwrap()), last: seq, time, encrypted: false },
                other => panic!("{other}"),
            }
        };
        text.split(',').filter(|words| !words.trim().is_empty()).map(|words| name(words).to_string()).collect()
    }

    pub(crate) fn catalog(text: &str) -> Catalog {
        Catalog::of(names(text).iter().map(|name| (name.as_str(), 10)))
    }

    fn ranges(text: &str) -> Vec<(u64, u64)> {
        catalog(text).ranges().iter().map(|range| (range.from.seq.0, range.to.seq.0)).collect()
    }

    #[test]
    fn a_listing_becomes_a_catalog_in_any_order() {
        let mut listed = names("changes 8-12, full 7, verified 7, full 3, verified 1, changes 4-7");
        listed.extend(["full/x".to_owned(), "README".to_owned()]);
        let catalog = Catalog::of(listed.iter().map(|name| (name.as_str(), 10)));
        assert_eq!(
            catalog.fulls().iter().map(|full| (full.edge.seq.0, full.verified)).collect::<Vec<_>>(),
            [(3, false), (7, true)]
        );
        assert_eq!(catalog.files().iter().map(|file| file.first.0).collect::<Vec<_>>(), [4, 8]);
        assert_eq!((catalog.strangers(), catalog.bytes(), catalog.orphans().len()), (2, 40, 1));
        assert_eq!(catalog.newest_verified().unwrap().edge, edge(7));
        listed.reverse();
        assert_eq!(Catalog::of(listed.iter().map(|name| (name.as_str(), 10))), catalog);
    }

    #[test]
    fn ranges_go_as_far_as_files_lead() {
        assert_eq!(ranges(""), []);
        assert_eq!(ranges("changes 1-9"), [], "without a full nothing leads on");
        assert_eq!(ranges("full 7"), [(7, 7)]);
        assert_eq!(ranges("full 7, changes 8-12, changes 13-14"), [(7, 14)]);
        assert_eq!(ranges("full 7, changes 9-12"), [(7, 7)]);
        assert_eq!(ranges("full 7, changes 3-12, changes 10-20"), [(7, 20)], "overlaps");
        assert_eq!(ranges("full 7, changes 8-12, full 10, full 12"), [(7, 12)]);
        assert_eq!(ranges("full 7, changes 8-12, full 20, changes 18-30, full 40"), [(7, 12), (20, 30), (40, 40)]);
        assert_eq!(ranges("full 7, full 7, changes 1-7"), [(7, 7)]);
        assert_eq!(ranges("full 0, changes 1-7"), [(0, 7)]);
    }

    #[test]
    fn what_lies_behind_a_hole_is_not_reached() {
        let unreachable = |text: &str| {
            catalog(text).unreachable().iter().map(|(first, last)| (first.0, last.seq.0)).collect::<Vec<_>>()
        };
        assert_eq!(unreachable("full 7, changes 8-18, changes 20-27"), [(20, 27)]);
        assert_eq!(unreachable("full 7, changes 8-18, changes 20-27, full 27"), []);
        assert_eq!(unreachable("changes 1-9"), [(1, 9)]);
        assert_eq!(unreachable("full 7, changes 1-7"), []);
        assert_eq!(unreachable("full 20, changes 3-7, changes 15-30"), [(3, 7)]);
    }
}
