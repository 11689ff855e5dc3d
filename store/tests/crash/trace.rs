//! What the shim wrote down, call by call.

use std::path::{Path, PathBuf};

/// One call of the process, in the order in which they took effect.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// A process starts. What earlier ones left in the page cache is still there.
    Start,
    /// A file or folder got a name, or was only opened (`new` false); a file that was there may be emptied.
    Open {
        inode: u64,
        path: PathBuf,
        new: bool,
        emptied: bool,
        folder: bool,
    },
    Write {
        inode: u64,
        offset: u64,
        bytes: Vec<u8>,
    },
    Zeros {
        inode: u64,
        offset: u64,
        length: u64,
    },
    SyncBegin {
        inode: u64,
    },
    SyncEnd {
        inode: u64,
        failed: bool,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Unlink {
        path: PathBuf,
    },
    MakeFolder {
        path: PathBuf,
    },
    Truncate {
        inode: u64,
        length: u64,
    },
    /// Somebody learns something, by stdout (1) or a socket.
    Out {
        to: u64,
        bytes: Vec<u8>,
    },
    /// The shim does not understand what was done.
    Strange {
        what: String,
    },
}

const HEAD_BYTES: usize = 32;

/// All events of a log.
pub(crate) fn read(log: &Path) -> Vec<Event> {
    let bytes = std::fs::read(log).unwrap();
    let mut rest = &bytes[..];
    let mut events = Vec::new();
    while !rest.is_empty() {
        let (head, after) = rest.split_at(HEAD_BYTES);
        let u32_at = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap());
        let u64_at = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap());
        let (kind, result, inode, offset, length) = (u32_at(0), u32_at(4), u64_at(8), u64_at(16), u64_at(24));
        let (data, after) = after.split_at(if kind == 4 { 0 } else { length as usize });
        rest = after;
        let text = || String::from_utf8(data.to_vec()).unwrap();
        events.push(match kind {
            1 => Event::Start,
            2 => {
                let (was_there, changes, folder) = (offset & 1 != 0, offset & 2 != 0, offset & 4 != 0);
                Event::Open { inode, path: text().into(), new: !was_there, emptied: was_there && changes, folder }
            }
            3 => Event::Write { inode, offset, bytes: data.to_vec() },
            4 => Event::Zeros { inode, offset, length },
            5 => Event::SyncBegin { inode },
            6 => Event::SyncEnd { inode, failed: result != 0 },
            7 => {
                let text = text();
                let (from, to) = text.split_once('\n').unwrap();
                Event::Rename { from: from.into(), to: to.into() }
            }
            8 => Event::Unlink { path: text().into() },
            9 => Event::MakeFolder { path: text().into() },
            10 => Event::Truncate { inode, length: offset },
            11 => Event::Out { to: inode, bytes: data.to_vec() },
            12 => Event::Strange { what: text() },
            other => panic!("the shim wrote an event of kind {other}"),
        });
    }
    events
}
