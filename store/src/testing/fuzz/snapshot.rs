//! Any bytes as snapshot.json, and as the pieces of one that a leader sends.

use super::{Script, contents, put};
use crate::testing::fault_disk::FaultDisk;
use crate::volume::disk::{Disk, read_if_there};
use crate::volume::files::{SNAPSHOT, SNAPSHOT_TAKEN};
use crate::volume::snapshot::{self, Loaded, PartFile};
use bytes::Bytes;
use leasehold_documents::FORMAT;
use leasehold_replication::{SnapshotMark, SnapshotPiece};
use std::sync::Arc;

/// What is read is written and read again as the same, and the second time byte by byte. A mark that does not fit is
/// never read past, and pieces make what they announced or nothing.
pub fn snapshot(data: &[u8]) {
    let disk: Arc<dyn Disk> = Arc::new(FaultDisk::new(1));
    put(&*disk, SNAPSHOT, data);
    let read = snapshot::read(&*disk, SNAPSHOT, None, FORMAT);
    pieces(&disk, data, read.as_ref().is_ok_and(|loaded| loaded.false_sum.is_none()));
    let Ok(Loaded { meta, documents, mark, .. }) = read else { return };
    assert_eq!((mark.length_bytes, mark.crc32), (data.len() as u64, crc32fast::hash(data)));
    assert_eq!((meta.position, documents.applied()), (mark.position, mark.position));
    assert!(contents(&documents).len() <= 64 * data.len(), "much was made of little");
    for wrong in [
        SnapshotMark { length_bytes: mark.length_bytes + 1, ..mark },
        SnapshotMark { crc32: !mark.crc32, ..mark },
        SnapshotMark { position: leasehold_replication::Position::new(9, mark.position.seq.0 ^ 1), ..mark },
    ] {
        assert!(snapshot::read(&*disk, SNAPSHOT, Some(&wrong), FORMAT).is_err(), "{wrong:?} fits {mark:?}");
    }
    let written = snapshot::write(&*disk, SNAPSHOT_TAKEN, &meta, &documents).unwrap();
    let again = snapshot::read(&*disk, SNAPSHOT_TAKEN, Some(&written), FORMAT).expect("we wrote it");
    let Loaded { meta: meta_again, documents: documents_again, .. } = again;
    assert_eq!((&meta_again, again.false_sum), (&meta, None));
    assert_eq!(contents(&documents_again), contents(&documents));
    let first = read_if_there(&*disk, SNAPSHOT_TAKEN).unwrap();
    assert_eq!(snapshot::write(&*disk, SNAPSHOT_TAKEN, &meta_again, &documents_again).unwrap(), written);
    assert_eq!(read_if_there(&*disk, SNAPSHOT_TAKEN).unwrap(), first);
}

fn pieces(disk: &Arc<dyn Disk>, data: &[u8], good: bool) {
    // Cut where the bytes themselves say.
    let mut script = Script(data);
    let position =
        snapshot::read(&**disk, SNAPSHOT, None, FORMAT).map_or_else(|_| Default::default(), |read| read.mark.position);
    let lies = script.below(4) == 0;
    let crc32 = crc32fast::hash(data) ^ u32::from(lies);
    let mut part = PartFile::create(disk.clone(), 1, FORMAT).unwrap();
    let mut offset = 0;
    let mut whole = false;
    while offset < data.len() {
        let end = data.len().min(offset + 1 + usize::from(script.byte()) * 4);
        let bytes = Bytes::copy_from_slice(&data[offset..end]);
        let piece = SnapshotPiece { position, length_bytes: data.len() as u64, crc32, offset: offset as u64, bytes };
        whole = part.push(&piece).expect("they follow each other");
        if offset > 0 && script.below(64) == 0 {
            assert!(part.push(&piece).is_err(), "the same piece was taken twice");
        }
        offset = end;
    }
    assert_eq!(whole, !data.is_empty());
    assert_eq!(part.finish().is_ok(), good && !lies, "pieces make what they announced, or nothing");
}
