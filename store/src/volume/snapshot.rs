//! `snapshot.json` on the volume. What is in it: [`leasehold_documents::snapshot`].
//!
//! ```text
//!   documents ──write──▶ snapshot.taken ──┐ (fsynced)         ┌─▶ a segment begins with its mark ──▶ snapshot.json
//!   a leader's pieces ─▶ received-1.part ─┴─▶ snapshot.next ──┘
//! ```
//!
//! The journal says which snapshot belongs to it: each segment begins with the mark (position, length, checksum). The file
//! waits as `snapshot.next` until such a segment is durable, and only then gets its name. So whatever a crash leaves, the
//! mark of the newest segment matches either `snapshot.json` or `snapshot.next`, and neither is damage.
//!
//! The mark's checksum says that a file is as it was written, the sum that what was written was sound \[D3\]: it is compared
//! with the bytes before a snapshot is written, after one is loaded at a start, and before a leader's is installed.

mod part;

pub use part::{PartError, PartFile, ReceivedSnapshot};

use crate::progress::Meter;
use crate::volume::disk::{Disk, DiskFile, read_full_at, write_all_at};
use crate::volume::error::VolumeError;
use bytes::Bytes;
use leasehold_documents::snapshot::{self, Head, ReadSnapshot, SnapshotError};
use leasehold_documents::{Documents, FalseSum};
use leasehold_replication::{Position, SNAPSHOT_PIECE_BYTES, SnapshotMark, SnapshotMeta, SnapshotPart, SnapshotPiece};
use std::io::{self, BufWriter, Read, Write};

/// A snapshot that is written is synced after each this many bytes.
const SYNC_STEP: u64 = 4 * 1024 * 1024;

/// The newest snapshot of the volume, open to be sent. It stays readable when a newer one replaces it.
pub struct SnapshotFile {
    file: Box<dyn DiskFile>,
    mark: SnapshotMark,
}

impl SnapshotFile {
    pub(crate) fn new(file: Box<dyn DiskFile>, mark: SnapshotMark) -> SnapshotFile {
        SnapshotFile { file, mark }
    }

    /// The position of the last entry that it holds.
    pub fn position(&self) -> Position {
        self.mark.position
    }

    /// Its length.
    pub fn length_bytes(&self) -> u64 {
        self.mark.length_bytes
    }

    /// Its checksum.
    pub fn crc32(&self) -> u32 {
        self.mark.crc32
    }

    /// Where to resume for a receiver that has this part: 0 if it is of another snapshot.
    pub fn is_behind(&self, part: &SnapshotPart) -> u64 {
        let mark = SnapshotMark { position: part.position, length_bytes: part.length_bytes, crc32: part.crc32 };
        if mark == self.mark && part.have_bytes < part.length_bytes { part.have_bytes } else { 0 }
    }

    /// The piece that starts at `offset`; `None` after the last one. Blocks on the disk (256 KiB, mostly cached).
    ///
    /// # Errors
    /// Errors of the disk; `UnexpectedEof` if the file is shorter than it was.
    pub fn piece(&self, offset: u64) -> io::Result<Option<SnapshotPiece>> {
        let left = self.mark.length_bytes.saturating_sub(offset);
        if left == 0 {
            return Ok(None);
        }
        let mut bytes = vec![0; left.min(SNAPSHOT_PIECE_BYTES as u64) as usize];
        if read_full_at(&*self.file, &mut bytes, offset)? < bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Some(SnapshotPiece {
            position: self.mark.position,
            length_bytes: self.mark.length_bytes,
            crc32: self.mark.crc32,
            offset,
            bytes: Bytes::from(bytes),
        }))
    }
}

/// A snapshot that was read.
pub(crate) struct Loaded {
    pub(crate) meta: SnapshotMeta,
    pub(crate) documents: Documents,
    pub(crate) mark: SnapshotMark,
    /// It is whole and readable, and its data do not have the sum that it says.
    pub(crate) false_sum: Option<FalseSum>,
}

/// Writes a snapshot to `name`, durably, and returns its mark. The name itself is not durable yet. Its sum is the running one
/// ([`Documents::check_sum`] comes before).
///
/// # Errors
/// Errors of the disk; the file is unusable then.
pub(crate) fn write(
    disk: &dyn Disk,
    name: &str,
    meta: &SnapshotMeta,
    documents: &Documents,
) -> io::Result<SnapshotMark> {
    write_counted(disk, name, meta, documents, &Meter::default())
}

/// Like [`write()`]; `meter` counts what is written.
///
/// # Errors
/// As there.
pub(crate) fn write_counted(
    disk: &dyn Disk,
    name: &str,
    meta: &SnapshotMeta,
    documents: &Documents,
    meter: &Meter,
) -> io::Result<SnapshotMark> {
    let file = disk.create(name)?;
    let summed = Summed { file: &*file, length: 0, crc: crc32fast::Hasher::new(), meter };
    let mut to = BufWriter::with_capacity(256 * 1024, summed);
    // In force there is what the last committed voters say [C3].
    let format = meta.voters.format;
    let head = Head { format, cluster_id: meta.cluster_id, position: meta.position, voters: meta.voters.clone() };
    snapshot::write(&mut to, &head, documents)?;
    let summed = to.into_inner().map_err(io::IntoInnerError::into_error)?;
    let mark = SnapshotMark { position: meta.position, length_bytes: summed.length, crc32: summed.crc.finalize() };
    file.sync()?;
    Ok(mark)
}

/// Reads the snapshot in `name`.
///
/// # Errors
/// `Damage` when it is none, or of another length or checksum than `expected`; `Format` when it is of a later one than that.
pub(crate) fn read(
    disk: &dyn Disk,
    name: &str,
    expected: Option<&SnapshotMark>,
    format_max: u32,
) -> Result<Loaded, VolumeError> {
    let damage = |what: String| VolumeError::Damage { file: disk.path(name), offset: 0, what };
    let io = |source| VolumeError::io(disk, name, source);
    let file = disk.open(name).map_err(io)?;
    let (length_bytes, crc32) = sum(&*file).map_err(io)?;
    if let Some(mark) = expected
        && (mark.length_bytes, mark.crc32) != (length_bytes, crc32)
    {
        let what = format!(
            "the journal expects a snapshot of {} bytes with checksum {:08x}, but this one has {length_bytes} and \
             {crc32:08x}",
            mark.length_bytes, mark.crc32
        );
        return Err(damage(what));
    }
    let whole = snapshot::read(Reader { file: &*file, offset: 0 }, format_max).map_err(|error| match error {
        SnapshotError::Io(source) => io(source),
        SnapshotError::Format { found, max } => VolumeError::format(disk, name, found, max),
        SnapshotError::Damage(what) => damage(what),
    })?;
    let ReadSnapshot { head: Head { cluster_id, position, voters, .. }, documents, said } = whole;
    if let Some(mark) = expected
        && mark.position != position
    {
        return Err(damage(format!("it is at {position}, the journal expects {}", mark.position)));
    }
    let found = documents.sum();
    let false_sum = said.filter(|said| *said != found).map(|said| FalseSum { position, said, found });
    let meta = SnapshotMeta { cluster_id, position, voters };
    Ok(Loaded { meta, documents, mark: SnapshotMark { position, length_bytes, crc32 }, false_sum })
}

/// Does a file of that name have this length and checksum?
pub(crate) fn fits(disk: &dyn Disk, name: &str, mark: &SnapshotMark) -> io::Result<bool> {
    match disk.open(name) {
        Ok(file) if file.length()? == mark.length_bytes => Ok(sum(&*file)? == (mark.length_bytes, mark.crc32)),
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Length and checksum of a file.
fn sum(file: &dyn DiskFile) -> io::Result<(u64, u32)> {
    let mut crc = crc32fast::Hasher::new();
    let mut bytes = vec![0; 256 * 1024];
    let mut length = 0;
    loop {
        let read = read_full_at(file, &mut bytes, length)?;
        crc.update(&bytes[..read]);
        length += read as u64;
        if read < bytes.len() {
            return Ok((length, crc.finalize()));
        }
    }
}

/// Writes one part after the other, and sums up.
struct Summed<'a> {
    file: &'a dyn DiskFile,
    length: u64,
    crc: crc32fast::Hasher,
    meter: &'a Meter,
}

impl Write for Summed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_all_at(self.file, bytes, self.length)?;
        let steps = self.length / SYNC_STEP;
        self.length += bytes.len() as u64;
        self.crc.update(bytes);
        self.meter.add(bytes.len() as u64);
        // In steps, so that an fdatasync of the journal never waits behind all of it.
        if self.length / SYNC_STEP > steps {
            self.file.sync()?;
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads one part after the other.
struct Reader<'a> {
    file: &'a dyn DiskFile,
    offset: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(to, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}
