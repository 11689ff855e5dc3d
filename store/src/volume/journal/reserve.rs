//! Room set aside in time: whole segments, for a disk that other programs filled.
//!
//! ```text
//!   journal/reserve-1, reserve-2 ──rename──▶ journal/next.tmp ──▶ the next segment, only when none can be made
//! ```
//!
//! One is kept for a start, which cannot continue before it has copied what it found to a new segment \[S2\]: the segment
//! that it replaces becomes the next reserve. The other one holds deletes, and is freed for the snapshot after them. Both
//! are created again as soon as there is room.

use crate::volume::disk::{Disk, DiskFile, remove_if_there, write_zeros};
use crate::volume::files::{FOLDER, NEXT_SEGMENT, RESERVE_SEGMENT};
use std::io;

const NAMES: [&str; 2] = ["journal/reserve-1", "journal/reserve-2"];
/// Only a start, or a snapshot that is about to free room, uses the last one.
pub(crate) const KEPT_FOR_A_START: usize = 1;

/// The existing files, with the length of a segment.
pub(crate) struct Reserve {
    there: Vec<&'static str>,
    segment_bytes: u64,
}

impl Reserve {
    /// The existing ones. Files of another length (the volume was smaller once) are removed, to be created anew.
    pub(crate) fn find(disk: &dyn Disk, segment_bytes: u64) -> io::Result<Reserve> {
        let mut there = Vec::new();
        for name in NAMES {
            let length = match disk.open(name) {
                Ok(file) => file.length()?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if length == segment_bytes {
                there.push(name);
            } else {
                remove_if_there(disk, name)?;
            }
        }
        Ok(Reserve { there, segment_bytes })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.there.len()
    }

    /// One that does not exist.
    pub(crate) fn missing(&self) -> Option<&'static str> {
        NAMES.into_iter().find(|name| !self.there.contains(name))
    }

    /// It was created.
    pub(crate) fn made(&mut self, name: &'static str) {
        if !self.there.contains(&name) {
            self.there.push(name);
        }
    }

    /// Renames one of them to the name of a segment that is being created, full of zeros; none if no more than `keep` are
    /// left, or if they are too short.
    pub(crate) fn take(
        &mut self,
        disk: &dyn Disk,
        least: u64,
        keep: usize,
    ) -> io::Result<Option<(Box<dyn DiskFile>, u64)>> {
        if self.there.len() <= keep || least > self.segment_bytes {
            return Ok(None);
        }
        let Some(name) = self.there.pop() else { return Ok(None) };
        disk.rename(name, NEXT_SEGMENT)?;
        // It may have been a segment whose new name is not durable yet: after a power loss the old name would show what is
        // written from here on.
        disk.sync_folder(FOLDER)?;
        let file = disk.open(NEXT_SEGMENT)?;
        // A power loss may have restored its name after it was written to.
        write_zeros(&*file, 0, self.segment_bytes)?;
        Ok(Some((file, self.segment_bytes)))
    }

    /// Frees the room of one, for a snapshot that frees more. False: only that of a start is left.
    pub(crate) fn let_go(&mut self, disk: &dyn Disk) -> io::Result<bool> {
        if self.there.len() <= KEPT_FOR_A_START {
            return Ok(false);
        }
        let Some(name) = self.there.pop() else { return Ok(false) };
        remove_if_there(disk, name)?;
        Ok(true)
    }
}

/// Makes the reserve of that name from a segment that no start needs any longer, in place: nobody else can use its room
/// meanwhile. False: it has another length.
pub(crate) fn recycle(disk: &dyn Disk, segment: &str, name: &'static str, segment_bytes: u64) -> io::Result<bool> {
    let file = disk.open(segment)?;
    if file.length()? != segment_bytes {
        return Ok(false);
    }
    disk.rename(segment, RESERVE_SEGMENT)?;
    write_zeros(&*file, 0, segment_bytes)?;
    file.sync()?;
    disk.rename(RESERVE_SEGMENT, name)?;
    disk.sync_folder(FOLDER)?;
    Ok(true)
}

/// Creates the one of that name. This takes a moment: not for the thread that writes.
pub(crate) fn make(disk: &dyn Disk, name: &'static str, segment_bytes: u64) -> io::Result<&'static str> {
    let made = disk.create(RESERVE_SEGMENT).and_then(|file| {
        file.allocate(segment_bytes)?;
        file.sync()?;
        // Its name becomes durable with the next segment's, or when it is used: the journal's thread may sync the folder at
        // this moment. A name that a power loss removes is created anew.
        disk.rename(RESERVE_SEGMENT, name)
    });
    if made.is_err() {
        // Half of one only wastes room.
        let _ = remove_if_there(disk, RESERVE_SEGMENT);
    }
    made.map(|()| name)
}
