//! Reads entries back from the journal, for followers that lag behind what is in memory.
//!
//! ```text
//!   driver ──LookUp──▶ the journal's thread: where do they stand? opens the files ──▶ a thread: reads them ──▶ the answer
//! ```
//!
//! The journal's thread opens the files, so that none is gone before it is read; it does not read, so that no write waits
//! for that.

use crate::volume::disk::{DiskFile, read_full_at};
use bytes::Bytes;
use leasehold_replication::{Entry, Record};
use std::io;

/// Receives the answer. It is always called: a dropped one reports that nothing was read.
pub struct LookUpAnswer(Option<Callback>);

type Callback = Box<dyn FnOnce(io::Result<Vec<Entry>>) + Send>;

/// Consecutive entries in one file.
pub(super) struct Place {
    pub(super) file: Box<dyn DiskFile>,
    pub(super) offset: u64,
    pub(super) bytes: usize,
}

impl LookUpAnswer {
    /// Calls this, once.
    pub fn new(answer: impl FnOnce(io::Result<Vec<Entry>>) + Send + 'static) -> LookUpAnswer {
        LookUpAnswer(Some(Box::new(answer)))
    }

    pub(super) fn give(mut self, found: io::Result<Vec<Entry>>) {
        if let Some(answer) = self.0.take() {
            answer(found);
        }
    }
}

impl Drop for LookUpAnswer {
    fn drop(&mut self) {
        if let Some(answer) = self.0.take() {
            answer(Err(io::Error::new(
                io::ErrorKind::BrokenPipe,
                "the journal does not read entries (or no longer does)",
            )));
        }
    }
}

/// Reads them, and checks each.
pub(super) fn read(places: Vec<Place>) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for Place { file, offset, bytes } in places {
        let mut read = vec![0; bytes];
        if read_full_at(&*file, &mut read, offset)? < bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut read = Bytes::from(read);
        while !read.is_empty() {
            match Record::decode(&mut read) {
                Ok(Record::Entry(entry)) => entries.push(entry),
                Ok(_) => {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "expected an entry at this position, found none",
                    ));
                }
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
        }
    }
    Ok(entries)
}
