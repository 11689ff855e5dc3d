//! What `fuzz/` and the replay of its corpora call. Nothing else uses it, and no shipped program contains it.
//!
//! ```text
//!   libFuzzer ──bytes──▶ frame, replica ──assert──▶ a panic is a finding
//!   fuzz/corpus/<target>/* ──▶ the same functions, in `cargo test`
//! ```

mod script;

use crate::{Body, FRAME_BYTES_MAX, Frame, Hello, InviteAnswer, PeerState, Record, Voters};
use bytes::{Bytes, BytesMut};
pub use script::replica;

/// Any bytes as a frame, as a record and as the JSON words of the peer port.
///
/// A frame or record that is read encodes to the very same bytes (so no two peers can read different things in it). A
/// record with a bad checksum is never read, and a small input yields only something small.
pub fn frame(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(frame) = Frame::decode(bytes.clone()) {
        assert!(data.len() <= FRAME_BYTES_MAX, "a frame of {} bytes was taken", data.len());
        let again = frame.encode();
        if let Body::Echo { .. } = frame.body {
            // Flags that this version does not know are left out.
            assert_eq!(again.len(), data.len());
        } else {
            assert_eq!(again, data, "a frame that was read is written otherwise");
        }
        assert_eq!(Frame::decode(again), Ok(frame.clone()), "what was written is read otherwise");
        if let Body::Append { previous, entries, .. } = &frame.body {
            // An entry holds a slice of the frame: beside the few words of its head it needs no room of its own.
            assert!(entries.len() * crate::RECORD_HEADER_BYTES <= data.len());
            let mut last = *previous;
            for entry in entries {
                assert_eq!(entry.previous, last);
                last = entry.position;
            }
        }
    }
    records(bytes);
    words(data);
}

/// All records in a row, as a batch of the journal holds them.
fn records(mut bytes: Bytes) {
    while !bytes.is_empty() {
        let before = bytes.clone();
        let Ok(record) = Record::decode(&mut bytes) else {
            assert_eq!(bytes, before, "bytes were taken though there was no record");
            return;
        };
        let length = before.len() - bytes.len();
        let (head, body) = before[..length].split_at(crate::RECORD_HEADER_BYTES);
        assert_eq!(head[..4], (body.len() as u32).to_le_bytes(), "a record of another length was read");
        assert_eq!(head[4..], crc32fast::hash(body).to_le_bytes(), "a record with a bad checksum was read");
        let again = record.encode();
        let unused_cluster = matches!(&record, Record::State(state) if state.cluster_id.is_none());
        // Without a cluster-id its sixteen bytes mean nothing, and are written as zeros.
        assert!(unused_cluster || again == before[..length], "a record that was read is written otherwise");
        let mut again = BytesMut::from(&again[..]).freeze();
        assert_eq!(Record::decode(&mut again), Ok(record), "what was written is read otherwise");
    }
}

/// The JSON of the peer port: what is read is written and read again as the same.
fn words(data: &[u8]) {
    fn same<T: serde::de::DeserializeOwned + serde::Serialize + PartialEq + std::fmt::Debug>(data: &[u8]) {
        let Ok(word) = serde_json::from_slice::<T>(data) else { return };
        let text = serde_json::to_string(&word).expect("plain data has a JSON form");
        assert_eq!(serde_json::from_str::<T>(&text).expect("it was just written"), word);
    }
    same::<Hello>(data);
    same::<crate::HelloAnswer>(data);
    same::<InviteAnswer>(data);
    same::<PeerState>(data);
    same::<crate::Claim>(data);
    same::<Voters>(data);
}

#[cfg(test)]
#[path = "../../../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    #[test]
    fn no_bytes_of_the_corpus_are_read_as_a_frame_that_they_are_not() {
        super::replay::all("frame", super::frame);
    }

    #[test]
    fn no_peer_of_the_corpus_brings_a_replica_down() {
        super::replay::all("replica", super::replica);
    }
}
