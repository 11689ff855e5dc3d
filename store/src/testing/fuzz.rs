//! What `fuzz/` and the replay of its corpora call. Nothing else uses it, and no program has it compiled in.
//!
//! `journal`: segments of any content, and what a start makes of them. `snapshot`: any snapshot.json. `person`: bodies,
//! initial data, commands. `http`: whole requests against a replica that applies what it is sent. `channel`: both ends of a
//! peer connection, strangers, and somebody on the way. `collection`: definitions, records, queries and cursors.

#![allow(clippy::unwrap_used)]

mod channel;
mod collection;
mod http;
mod journal;
mod person;
mod snapshot;

pub use channel::channel;
pub use collection::collection;
pub use http::http;
pub use journal::{journal, segment};
pub use person::person;
pub use snapshot::snapshot;

use crate::volume::disk::{Disk, DiskFile, write_all_at};
use leasehold_documents::Documents;

/// Bytes, one after the other; zeros behind the end.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, bound: u8) -> u8 {
        self.byte() % bound
    }

    fn yes(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// Puts a file on the disk, whole.
fn put(disk: &dyn Disk, name: &str, bytes: &[u8]) {
    let file: Box<dyn DiskFile> = disk.create(name).unwrap();
    write_all_at(&*file, bytes, 0).unwrap();
    file.sync().unwrap();
}

/// All that documents say: collection by collection, the records with their numbers.
fn contents(documents: &Documents) -> String {
    let mut text = Vec::new();
    documents.write_collections(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[cfg(test)]
#[path = "../../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    #[test]
    fn no_segment_of_the_corpus_invents_a_record() {
        super::replay::all("segment", super::segment);
    }

    #[test]
    fn no_journal_of_the_corpus_is_recovered_as_something_else() {
        super::replay::all("journal", super::journal);
    }

    #[test]
    fn no_snapshot_of_the_corpus_is_read_as_something_else() {
        super::replay::all("snapshot", super::snapshot);
    }

    #[test]
    fn no_body_of_the_corpus_is_stored_as_something_else() {
        super::replay::all("person", super::person);
    }

    #[test]
    fn no_connection_of_the_corpus_is_believed_more_than_its_ends_said() {
        super::replay::all("channel", super::channel);
    }

    #[test]
    fn no_collection_of_the_corpus_is_answered_as_another() {
        super::replay::all("collection", super::collection);
    }

    #[test]
    fn every_request_of_the_corpus_is_answered_as_documented() {
        super::replay::all("http", super::http);
    }
}
