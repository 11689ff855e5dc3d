//! What the disk holds for sure, what the page cache holds besides, and what of that a power loss may leave.
//!
//! ```text
//!   event ──apply──▶ cached (what a process reads)   pending (not synced)   durable
//!   state ◀──power_loss── durable + of each file:   all, nothing, some sectors or pages at some moment, a prefix torn
//!                                                   at any byte; of its length: any that it had
//!                                 + of each folder: a prefix of the changes of its names, or any of them
//! ```
//!
//! Legal are states that a file system may leave that promises no more than POSIX does: fsync of a file keeps its bytes and
//! length, fsync of a folder keeps its names, nothing else is ordered. A sector that is kept is as the page cache had it at
//! some moment. Bytes whose sync failed are in the page cache, and a later sync never makes them durable.

use super::random::Random;
use super::trace::Event;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// What is at a name.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Entry {
    File(usize),
    Folder,
}

#[derive(Clone, Debug)]
struct Change {
    gone: Option<PathBuf>,
    here: Option<(PathBuf, Entry)>,
}

#[derive(Clone, Debug)]
enum Op {
    Write { offset: usize, bytes: Vec<u8> },
    Zeros { offset: usize, length: usize },
    Truncate(usize),
}

#[derive(Clone, Debug, Default)]
struct File {
    durable: Vec<u8>,
    /// With: its sync failed.
    pending: Vec<(Op, bool)>,
}

/// A whole disk below one folder.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    root: PathBuf,
    files: Vec<File>,
    names: BTreeMap<PathBuf, Entry>,
    durable_names: BTreeMap<PathBuf, Entry>,
    changes: Vec<Change>,
    inodes: HashMap<u64, usize>,
    folders: HashMap<u64, PathBuf>,
    /// How many pending operations (a folder: changes) the sync covers that is under way.
    syncs: HashMap<u64, usize>,
}

impl World {
    /// The present disk, all of it durable. `root` is a folder.
    pub(crate) fn of(root: &Path) -> World {
        let mut world = World { root: root.to_owned(), ..World::default() };
        world.names.insert(root.to_owned(), Entry::Folder);
        for path in walk(root) {
            let entry = if path.is_dir() {
                Entry::Folder
            } else {
                use std::os::unix::fs::MetadataExt;
                world.inodes.insert(std::fs::metadata(&path).unwrap().ino(), world.files.len());
                world.files.push(File { durable: std::fs::read(&path).unwrap(), pending: Vec::new() });
                Entry::File(world.files.len() - 1)
            };
            world.names.insert(path, entry);
        }
        world.durable_names = world.names.clone();
        world
    }

    /// One call more took effect.
    pub(crate) fn apply(&mut self, event: &Event) {
        match event {
            Event::Start | Event::Out { .. } => {}
            Event::Open { inode, path, folder: true, .. } => {
                self.folders.insert(*inode, path.clone());
            }
            Event::Open { inode, path, new: true, .. } => {
                self.files.push(File::default());
                let file = self.files.len() - 1;
                self.inodes.insert(*inode, file);
                self.change(Change { gone: None, here: Some((path.clone(), Entry::File(file))) });
            }
            Event::Open { inode, path, emptied, .. } => {
                let known = self.names.get(path).copied();
                assert_eq!(known, Some(Entry::File(self.inodes[inode])), "{} is another file", path.display());
                if *emptied {
                    self.write(*inode, Op::Truncate(0));
                }
            }
            Event::Write { inode, offset, bytes } => {
                self.write(*inode, Op::Write { offset: *offset as usize, bytes: bytes.clone() });
            }
            Event::Zeros { inode, offset, length } => {
                self.write(*inode, Op::Zeros { offset: *offset as usize, length: *length as usize });
            }
            Event::Truncate { inode, length } => self.write(*inode, Op::Truncate(*length as usize)),
            Event::SyncBegin { inode } => {
                let covered = match self.folders.get(inode) {
                    Some(_) => self.changes.len(),
                    None => self.files[self.inodes[inode]].pending.len(),
                };
                let before = self.syncs.insert(*inode, covered);
                assert_eq!(before, None, "two syncs of one file at once: the world cannot tell them apart");
            }
            Event::SyncEnd { inode, failed } => self.synced(*inode, *failed),
            Event::Rename { from, to } => {
                let entry = self.names[from];
                self.change(Change { gone: Some(from.clone()), here: Some((to.clone(), entry)) });
            }
            Event::Unlink { path } => self.change(Change { gone: Some(path.clone()), here: None }),
            Event::MakeFolder { path } => self.change(Change { gone: None, here: Some((path.clone(), Entry::Folder)) }),
            Event::Strange { what } => panic!("the program did something that the shim does not understand: {what}"),
        }
    }

    /// The process is gone (and with it whatever sync was under way); the machine is not.
    pub(crate) fn process_ended(&mut self) {
        self.syncs.clear();
    }

    fn write(&mut self, inode: u64, op: Op) {
        self.files[self.inodes[&inode]].pending.push((op, false));
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.names);
        self.changes.push(change);
    }

    fn synced(&mut self, inode: u64, failed: bool) {
        let covered = self.syncs.remove(&inode).expect("a sync that ends has begun");
        if let Some(folder) = self.folders.get(&inode).filter(|_| !failed) {
            let later = self.changes.split_off(covered);
            let (mine, others): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.changes).into_iter().partition(|change| change.is_in(folder));
            mine.iter().for_each(|change| change.apply(&mut self.durable_names));
            self.changes = others;
            self.changes.extend(later);
        } else if let Some(file) = self.inodes.get(&inode).filter(|_| !self.folders.contains_key(&inode)) {
            let file = &mut self.files[*file];
            if failed {
                file.pending[..covered].iter_mut().for_each(|(_, lost)| *lost = true);
                return;
            }
            let later = file.pending.split_off(covered);
            for (op, lost) in std::mem::take(&mut file.pending) {
                if lost { file.pending.push((op, lost)) } else { op.apply(&mut file.durable) }
            }
            file.pending.extend(later);
        }
    }

    /// Does a process read what is there now? If not, something bypassed the shim.
    pub(crate) fn assert_seen_whole(&self) {
        let there: Vec<PathBuf> = walk(&self.root);
        let known: Vec<&PathBuf> = self.names.keys().filter(|path| **path != self.root).collect();
        assert_eq!(there.iter().collect::<Vec<_>>(), known, "names came or went without the shim");
        for (path, entry) in &self.names {
            let Entry::File(file) = entry else { continue };
            let mut cached = self.files[*file].durable.clone();
            self.files[*file].pending.iter().for_each(|(op, _)| op.apply(&mut cached));
            let found = std::fs::read(path).unwrap();
            // A segment in reserve is made by one call that is not watched: its zeros say nothing.
            let is_reserve = path.to_string_lossy().contains("/journal/reserve") && found.iter().all(|byte| *byte == 0);
            let same = is_reserve || found == cached;
            assert!(same, "{} was written without the shim", path.display());
        }
    }

    /// Writes what a power loss at this moment may leave into the folder `to`, in the place of the root.
    pub(crate) fn power_loss(&self, random: &mut Random, to: &Path) {
        let mut names = self.durable_names.clone();
        let prefix = random.yes().then(|| random.below(1 + self.changes.len() as u64) as usize);
        for (at, change) in self.changes.iter().enumerate() {
            // In order, as a journaling file system does it, or any of them.
            if prefix.map_or_else(|| random.yes(), |prefix| at < prefix) {
                change.apply(&mut names);
            }
        }
        for (path, entry) in &names {
            let kept = path.ancestors().skip(1).take_while(|above| above.starts_with(&self.root));
            if !kept.into_iter().all(|above| names.get(above) == Some(&Entry::Folder)) {
                continue;
            }
            let path = to.join(path.strip_prefix(&self.root).unwrap());
            match entry {
                Entry::Folder => std::fs::create_dir_all(&path).unwrap(),
                Entry::File(file) => put_sparse(&path, &self.files[*file].survivor(random)),
            }
        }
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Entry>) {
        if let Some(gone) = &self.gone {
            names.remove(gone);
        }
        if let Some((path, entry)) = &self.here {
            names.insert(path.clone(), *entry);
        }
    }

    fn is_in(&self, folder: &Path) -> bool {
        let path = self.here.as_ref().map(|(path, _)| path).or(self.gone.as_ref());
        path.and_then(|path| path.parent()) == Some(folder)
    }
}

impl Op {
    /// The bytes that it touches.
    fn range(&self) -> std::ops::Range<usize> {
        match self {
            Op::Write { offset, bytes } => *offset..*offset + bytes.len(),
            Op::Zeros { offset, length } => *offset..*offset + *length,
            Op::Truncate(length) => *length..usize::MAX,
        }
    }

    fn apply(&self, to: &mut Vec<u8>) {
        if let Op::Truncate(length) = self {
            return to.resize(*length, 0);
        }
        let range = self.range();
        if to.len() < range.end {
            to.resize(range.end, 0);
        }
        self.apply_within(to, &range);
    }

    /// The part of it that lies within, on bytes that are there.
    fn apply_within(&self, to: &mut [u8], within: &std::ops::Range<usize>) {
        let range = self.range();
        let part = range.start.max(within.start)..range.end.min(within.end).min(to.len());
        if part.is_empty() {
            return;
        }
        match self {
            Op::Write { offset, bytes } => {
                to[part.clone()].copy_from_slice(&bytes[part.start - offset..part.end - offset]);
            }
            Op::Zeros { .. } | Op::Truncate(_) => to[part].fill(0),
        }
    }
}

impl File {
    fn survivor(&self, random: &mut Random) -> Vec<u8> {
        let mut kept = self.durable.clone();
        if self.pending.is_empty() {
            return kept;
        }
        match random.below(5) {
            0 => {}
            1 => self.pending.iter().for_each(|(op, _)| op.apply(&mut kept)),
            2 => {
                // In order, the last one torn at any byte.
                let last = random.below(self.pending.len() as u64) as usize;
                self.pending[..last].iter().for_each(|(op, _)| op.apply(&mut kept));
                match &self.pending[last].0 {
                    Op::Write { offset, bytes } => {
                        let torn = bytes[..random.below(1 + bytes.len() as u64) as usize].to_vec();
                        Op::Write { offset: *offset, bytes: torn }.apply(&mut kept);
                    }
                    other => other.apply(&mut kept),
                }
            }
            _ => {
                let unit = if random.yes() { 512 } else { 4096 };
                // Its length is one that it had; what was kept beyond it is lost.
                let mut lengths = vec![kept.len()];
                let mut whole = kept.clone();
                for (op, _) in &self.pending {
                    op.apply(&mut whole);
                    lengths.push(whole.len());
                }
                let longest = lengths.iter().copied().max().unwrap_or(0);
                kept.resize(longest, 0);
                let mut touched = vec![0u32; longest.div_ceil(unit)];
                for (op, _) in &self.pending {
                    let range = op.range();
                    for unit in &mut touched
                        [(range.start / unit).min(longest.div_ceil(unit))..range.end.min(longest).div_ceil(unit)]
                    {
                        *unit += 1;
                    }
                }
                for (at, count) in touched.into_iter().enumerate().filter(|(_, count)| *count > 0) {
                    // As the page cache had it after this many of them.
                    let moment = random.below(u64::from(count) + 1) as usize;
                    let within = at * unit..(at + 1) * unit;
                    let mine = self.pending.iter().filter(|(op, _)| {
                        let range = op.range();
                        range.start < within.end && range.end > within.start
                    });
                    mine.take(moment).for_each(|(op, _)| op.apply_within(&mut kept, &within));
                }
                kept.truncate(lengths[random.below(lengths.len() as u64) as usize]);
            }
        }
        kept
    }
}

/// A file whose zeros use no room.
fn put_sparse(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::create(path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    static ZEROS: [u8; 4096] = [0; 4096];
    for (at, page) in bytes.chunks(4096).enumerate() {
        if page != &ZEROS[..page.len()] {
            file.write_all_at(page, at as u64 * 4096).unwrap();
        }
    }
}

/// All below a folder, sorted.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}

#[test]
fn what_a_power_loss_leaves_is_what_was_synced_and_any_part_of_the_rest() {
    let root = super::scratch();
    let inside = |name: &str| root.path().join(name);
    let mut world = World::of(root.path());
    let open = Event::Open { inode: 1, path: inside("a"), new: true, emptied: false, folder: false };
    let write = |offset: u64, byte: u8| Event::Write { inode: 1, offset, bytes: vec![byte; 512] };
    let folder = Event::Open { inode: 2, path: root.path().to_owned(), new: false, emptied: false, folder: true };
    let sync = |inode| [Event::SyncBegin { inode }, Event::SyncEnd { inode, failed: false }];
    for event in [open, write(0, 1), write(512, 1)].iter().chain(&sync(1)).chain([&folder]) {
        world.apply(event);
    }
    let mut random = Random::new(1);
    let mut seen = |world: &World| {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let to = super::scratch();
            world.power_loss(&mut random, to.path());
            let bytes = std::fs::read(to.path().join("a")).ok();
            seen.insert(bytes.map(|bytes| (bytes.first().copied(), bytes.get(512).copied(), bytes.len())));
        }
        seen
    };
    assert_eq!(seen(&world), [None, Some((Some(1), Some(1), 1024))].into(), "the name is not durable, the bytes are");
    sync(2).iter().for_each(|event| world.apply(event));
    world.apply(&write(0, 2));
    world.apply(&write(512, 3));
    let both = seen(&world);
    let expected = [(1, 1), (1, 3), (2, 1), (2, 3)].map(|(first, second)| Some((Some(first), Some(second), 1024)));
    assert!(expected.iter().all(|state| both.contains(state)), "{both:?}");
    // A sync that fails keeps nothing, and a later one that works does not bring it back.
    world.apply(&Event::SyncBegin { inode: 1 });
    world.apply(&Event::SyncEnd { inode: 1, failed: true });
    sync(1).iter().for_each(|event| world.apply(event));
    assert!(expected.iter().all(|state| seen(&world).contains(state)));
}
