//! Do the commits, as watchers were told them, agree with what clients were told, and with what collections promise?
//!
//! ```text
//!   commits, in order ──▶ the data after each sequence ──┬── unique values, constant sums, times of expiry
//!                                                        ├── writes: all of one at one sequence, where its conditions held; or nothing
//!                                                        └── lists: what was there at their sequence
//! ```

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::commits::{Change, Commit, Kind, World, apply};
use super::writes::{Left, Look, MARK, Told, Write};

/// What was recorded of collections.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Collections {
    /// From every pod; the same one may come several times.
    pub commits: Vec<Commit>,
    /// What clients wrote.
    pub writes: Vec<Write>,
    /// What they read.
    pub looks: Vec<Look>,
    /// Commits are known from behind this sequence …
    pub from: u64,
    /// … up to this one.
    pub upto: u64,
    /// Sums that never change: collection, member, sum. They count from the first commit on that leaves them.
    pub sums: Vec<(String, String, i64)>,
    /// Nothing was broken from this time to that one, in milliseconds since 1970.
    pub calm: Option<(i64, i64)>,
}

/// By how much the clocks of two leaders may differ, in milliseconds.
const CLOCKS: i64 = 5_000;
/// In calm a record goes within this time, in milliseconds: a leader's process removes nothing in its first minute.
const LATE: i64 = 75_000;
/// At most this many violations are told.
const TOLD: usize = 10;

/// All that is wrong.
pub(super) fn wrong(recorded: &Collections) -> Vec<String> {
    let mut judge = Judge::new(recorded);
    let commits = judge.commits();
    let mut looks: Vec<&Look> = recorded.looks.iter().filter(|look| look.sequence >= recorded.from).collect();
    looks.sort_by_key(|look| look.sequence);
    let mut looks = looks.into_iter().peekable();
    let done = judge.done.clone();
    let mut checks = done.into_iter().filter(|(_, at)| !recorded.writes[*at].changes()).peekable();
    for commit in commits.values() {
        while let Some(look) = looks.next_if(|look| look.sequence < commit.sequence) {
            judge.look(look);
        }
        while let Some((sequence, at)) = checks.next_if(|(sequence, _)| *sequence < commit.sequence) {
            judge.checks(sequence, &recorded.writes[at]);
        }
        judge.commit(commit);
    }
    for look in looks.filter(|look| look.sequence <= recorded.upto) {
        judge.look(look);
    }
    for (sequence, at) in checks.filter(|(sequence, _)| *sequence <= recorded.upto) {
        judge.checks(sequence, &recorded.writes[at]);
    }
    judge.acknowledged(&commits);
    judge.order();
    judge.calm();
    judge.wrong.truncate(TOLD);
    judge.wrong
}

struct Judge<'a> {
    recorded: &'a Collections,
    world: World,
    /// Who wrote which mark.
    writers: BTreeMap<u64, usize>,
    /// Which write was acknowledged under which sequence.
    done: BTreeMap<u64, usize>,
    /// Writes that were seen.
    shown: BTreeSet<usize>,
    /// Sums that were reached.
    reached: BTreeSet<usize>,
    wrong: Vec<String>,
}

impl<'a> Judge<'a> {
    fn new(recorded: &'a Collections) -> Judge<'a> {
        let (mut writers, mut done, mut wrong) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for (at, write) in recorded.writes.iter().enumerate() {
            writers.extend(write.marks().map(|mark| (mark, at)));
            if let Told::Done(sequence) = write.told
                && let Some(other) = done.insert(sequence, at)
            {
                let other = &recorded.writes[other];
                wrong.push(format!("sequence {sequence} was given to two writes:\n    {other}\n    {write}"));
            }
        }
        let (world, shown, reached) = (World::new(), BTreeSet::new(), BTreeSet::new());
        Judge { recorded, world, writers, done, shown, reached, wrong }
    }

    /// Each once: every pod must tell the same.
    fn commits(&mut self) -> BTreeMap<u64, &'a Commit> {
        let mut commits: BTreeMap<u64, &Commit> = BTreeMap::new();
        for commit in &self.recorded.commits {
            let first = *commits.entry(commit.sequence).or_insert(commit);
            if first != commit {
                self.wrong.push(format!("a commit is told in two ways: {first:?} and {commit:?}"));
            }
        }
        commits
    }

    fn commit(&mut self, commit: &Commit) {
        self.attribute(commit);
        self.expiry(commit);
        let sequence = commit.sequence;
        self.wrong
            .extend(apply(&mut self.world, commit).into_iter().map(|what| format!("sequence {sequence}: {what}")));
        for (name, shelf) in &self.world {
            if let Some((index, one, other)) = shelf.clash() {
                let what = format!("{name}: {one} and {other} have equal values in the unique index {index}");
                self.wrong.push(format!("sequence {sequence}: {what}"));
            }
        }
        for (at, (name, member, sum)) in self.recorded.sums.iter().enumerate() {
            let records = self.world.get(name).into_iter().flat_map(|shelf| shelf.records.values());
            let now: i64 = records.filter_map(|(_, record)| record[member].as_i64()).sum();
            if now == *sum {
                self.reached.insert(at);
            } else if self.reached.contains(&at) {
                self.wrong.push(format!("sequence {sequence}: {member} of {name} is {now} together, not {sum}"));
            }
        }
    }

    /// Whose commit is it?
    fn attribute(&mut self, commit: &Commit) {
        let sequence = commit.sequence;
        let mut left: Vec<Left> = Vec::new();
        for change in &commit.changes {
            match change {
                Change::Record { kind: Kind::Expired, .. } | Change::Definition { .. } => {}
                Change::Record { collection, id, record, .. } => {
                    left.push((collection.clone(), id.clone(), record.clone()));
                }
            }
        }
        if left.is_empty() {
            return;
        }
        let writes = &self.recorded.writes;
        let marked = left.iter().find_map(|(.., record)| self.writers.get(&record[MARK].as_u64()?).copied());
        // A commit of deletes has no mark.
        let open = || {
            let is_so = |(at, write): &(usize, &Write)| {
                matches!(write.told, Told::Unknown(_))
                    && !self.shown.contains(at)
                    && write.play(&self.world).as_ref() == Ok(&left)
            };
            writes.iter().enumerate().find(is_so).map(|(at, _)| at)
        };
        let found = self.done.get(&sequence).copied().or(marked).or_else(open);
        let Some(at) = found else {
            self.wrong.push(format!("sequence {sequence}: nobody wrote {left:?}"));
            return;
        };
        let write = &writes[at];
        let what = match &write.told {
            Told::Done(told) if *told != sequence => Some(format!("it was acknowledged under {told}")),
            Told::Not(_) => Some("it is not done, its client was told".to_owned()),
            Told::Done(_) | Told::Unknown(_) => match write.play(&self.world) {
                Err(why) => Some(why),
                Ok(made) if made != left => Some(format!("it should have left {made:?}")),
                Ok(_) => None,
            },
        };
        if let Some(what) = what {
            self.wrong.push(format!("sequence {sequence} left {left:?}: {what}\n    {write}"));
        }
        if !self.shown.insert(at) {
            self.wrong.push(format!("sequence {sequence}: a write is done a second time\n    {write}"));
        }
    }

    /// Nothing goes before its time.
    fn expiry(&mut self, commit: &Commit) {
        for change in &commit.changes {
            let Change::Record { collection, kind: Kind::Expired, id, .. } = change else { continue };
            let shelf = self.world.get(collection);
            let goes = shelf.and_then(|shelf| shelf.expires(shelf.get(id)?));
            let is_over = goes.zip(commit.time).is_some_and(|(goes, time)| goes <= time + CLOCKS);
            if !is_over {
                let Commit { sequence, time, .. } = commit;
                self.wrong
                    .push(format!("sequence {sequence}: {collection}/{id} expired at {time:?}, its time is {goes:?}"));
            }
        }
    }

    fn look(&mut self, look: &Look) {
        let before = |write: &&Write| write.returned < look.invoked;
        let earlier = self.recorded.writes.iter().filter(before);
        let known =
            earlier.filter_map(|write| if let Told::Done(sequence) = write.told { Some(sequence) } else { None });
        let known = known.max().unwrap_or(0);
        let Look { collection, sequence, pod, .. } = look;
        if look.is_strong && known > *sequence {
            self.wrong
                .push(format!("a strong list of pod {pod} is of {sequence}, and {known} was acknowledged before"));
        }
        if let Some(why) = look.contradicts(self.world.get(collection)) {
            let Look { filter, sort, .. } = look;
            let what = format!("{collection} where {filter:?} by {sort:?}, at pod {pod}");
            self.wrong.push(format!("a list at sequence {sequence} is not what was there ({what}): {why}"));
        }
    }

    /// A transaction of checks alone leaves no commit.
    fn checks(&mut self, sequence: u64, write: &Write) {
        if let Err(why) = write.play(&self.world) {
            self.wrong.push(format!("sequence {sequence}: {why}\n    {write}"));
        }
    }

    /// What was acknowledged is there.
    fn acknowledged(&mut self, commits: &BTreeMap<u64, &Commit>) {
        let known = self.recorded.from + 1..=self.recorded.upto;
        for (sequence, at) in self.done.iter().filter(|(sequence, _)| known.contains(sequence)) {
            if self.recorded.writes[*at].changes() && !commits.contains_key(sequence) {
                self.wrong
                    .push(format!("no commit {sequence}, which was acknowledged:\n    {}", self.recorded.writes[*at]));
            }
        }
    }

    /// What was answered before another was asked has the lower sequence.
    fn order(&mut self) {
        let mut latest: Option<&Write> = None;
        for at in self.done.values() {
            let write = &self.recorded.writes[*at];
            if let Some(earlier) = latest.filter(|earlier| write.returned < earlier.invoked) {
                self.wrong.push(format!("the later write has the lower sequence:\n    {write}\n    {earlier}"));
            }
            if latest.is_none_or(|latest| write.invoked > latest.invoked) {
                latest = Some(write);
            }
        }
    }

    /// What is over is gone, if nothing kept it.
    fn calm(&mut self) {
        let Some((from, to)) = self.recorded.calm else { return };
        for (name, shelf) in &self.world {
            for (id, (_, record)) in &shelf.records {
                if let Some(goes) = shelf.expires(record).filter(|goes| (*goes).max(from) + LATE < to) {
                    self.wrong.push(format!(
                        "{name}/{id} is still there at {to}; its time is {goes}, and all was calm from {from} on"
                    ));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
