//! Takes a full: from a pod into the bucket, back from there, and compared with what the pods say.
//!
//! ```text
//!   take   GET /api/snapshot ─▶ load, own sum ─▶ (zstd, age) spool ─▶ pods: the hash there?
//!   keep   spool ─▶ put ─▶ get ─▶ load again, the same data? ─▶ note
//!                                 (encrypted: the checksum of what was sent)
//! ```
//!
//! Memory: while it loads, the data once, as documents; while it uploads, the compressed object. Never both.

use crate::bucket::{Bucket, BucketError, Fetched, Put, Why};
use crate::metrics::At;
use crate::sealed::{self, Recipients, Sealer, Summed};
use crate::source::{First, Heard, Source};
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use leasehold_archive::agent::{Full, FullError, Order, Pod};
use leasehold_archive::changes::Mark;
use leasehold_archive::name::Name;
use leasehold_archive::time::Time;
use leasehold_archive::verified::Verified;
use leasehold_documents::FORMAT;
use leasehold_documents::snapshot::{self, ReadSnapshot, SnapshotError};
use leasehold_replication::{ClusterId, Seq, Sum};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;

/// Pieces between the network and the thread that loads.
const PIECES_MAX: usize = 16;
/// How long a pod may take to say its hash at a sequence; nobody waits for it longer.
const WORD_MAX: Duration = Duration::from_secs(15);
/// So many names a full may have: an orphan of each crash takes one.
const NAMES_MAX: u64 = 8;
/// How many pods are asked.
const WORDS_MAX: usize = 2;

/// See the module.
#[derive(Clone)]
pub(super) struct Taker {
    pub(super) source: Source,
    pub(super) bucket: Bucket,
    pub(super) recipients: Recipients,
    /// Where the object is prepared.
    pub(super) path: PathBuf,
}

/// A full that is in the spool.
pub(super) struct Taken {
    pub(super) full: Full,
    /// What is to be noted of it.
    pub(super) verified: Verified,
}

/// Why there is none.
pub(super) struct FullFailed {
    pub(super) at: At,
    pub(super) why: FullError,
    pub(super) what: String,
}

fn failed(at: At, what: impl Display) -> FullFailed {
    FullFailed { at, why: FullError::Failed, what: what.to_string() }
}

fn damaged(what: impl Display) -> FullFailed {
    FullFailed { at: At::Verify, why: FullError::Damaged, what: what.to_string() }
}

fn of_bucket(error: BucketError) -> FullFailed {
    failed(At::Bucket, error)
}

impl Taker {
    /// From a pod into the spool.
    pub(super) async fn take(&self, cluster: ClusterId, from: Seq, order: &Order) -> Result<Taken, FullFailed> {
        let taken = self.take_into(cluster, from, order).await;
        if taken.is_err() {
            self.clear().await;
        }
        taken
    }

    /// From the spool into the bucket. Returns how many bytes were uploaded.
    pub(super) async fn keep(&self, cluster: ClusterId, verified: Verified) -> Result<u64, FullFailed> {
        let kept = self.keep_from(cluster, verified).await;
        self.clear().await;
        kept
    }

    /// The next full is taken anew: until then the spool's disk is for changes. What stays is replaced by that one.
    async fn clear(&self) {
        let _ = tokio::fs::remove_file(&self.path).await;
    }

    async fn take_into(&self, cluster: ClusterId, from: Seq, order: &Order) -> Result<Taken, FullFailed> {
        let (pod, mut verified) = self.download(cluster, from, order).await?;
        let (words, is_alone) = self.words(cluster, verified.mark.seq, &pod).await;
        if words.is_empty() {
            return Err(failed(At::Source, format!("no pod says what {} has at entry {}", pod, verified.mark.seq)));
        }
        verified.keys_hash = words.iter().find_map(|word| word.keys_hash);
        let said: Vec<Sum> = words.iter().map(|word| word.mark.hash).collect();
        Ok(Taken { full: Full { mark: verified.mark, said, is_alone }, verified })
    }

    async fn keep_from(&self, cluster: ClusterId, mut verified: Verified) -> Result<u64, FullFailed> {
        let mut put = None;
        for name in names(&verified) {
            put = match self.noted(cluster, &name).await? {
                Some(theirs) => self.agrees(cluster, &name, &theirs, &mut verified).await?.then_some(Put::Exists),
                None => match self.put(cluster, &name).await? {
                    Put::Written => Some(Put::Written),
                    Put::Exists => self.settle(cluster, &name, &mut verified).await?.then_some(Put::Exists),
                },
            }
            .map(|put| (name, put));
            if put.is_some() {
                break;
            }
        }
        let Some((name, put)) = put else {
            let what = format!(
                "{NAMES_MAX} objects are there that nobody has noted, as the full at entry {}",
                verified.mark.seq
            );
            return Err(failed(At::Verify, format!("{what}; trying again later")));
        };
        if put == Put::Written {
            self.read_back(cluster, &name, &verified).await?;
        }
        let note = note_of(&name);
        if self.bucket.put_if_absent(cluster, &note, verified.to_json()).await.map_err(of_bucket)? == Put::Exists {
            let theirs = self.bucket.get_whole(cluster, &note).await.map_err(of_bucket)?;
            let theirs = Verified::parse(&theirs).map_err(|error| damaged(format!("{note}: {error}")))?;
            if (theirs.mark, theirs.crc32) != (verified.mark, verified.crc32) {
                return Err(damaged(format!("{note} is about another object than {name}")));
            }
        }
        Ok(if put == Put::Written { verified.compressed_bytes } else { 0 })
    }

    async fn put(&self, cluster: ClusterId, name: &Name) -> Result<Put, FullFailed> {
        self.bucket.put_file_if_absent(cluster, name, self.path.clone()).await.map_err(of_bucket)
    }

    /// What is noted of the full of that name.
    async fn noted(&self, cluster: ClusterId, name: &Name) -> Result<Option<Verified>, FullFailed> {
        let note = note_of(name);
        match self.bucket.get_whole(cluster, &note).await {
            Ok(json) => Verified::parse(&json).map(Some).map_err(|error| damaged(format!("{note}: {error}"))),
            // Without the right to list S3 does not say that it is missing.
            Err(BucketError { why: Why::Missing | Why::Denied, .. }) => Ok(None),
            Err(error) => Err(of_bucket(error)),
        }
    }

    /// Somebody vouches for a full of that name. Is it there, with the same data? A note whose object is gone, or is about one
    /// that is encrypted while ours is not, stays: objects are never changed.
    async fn agrees(
        &self,
        cluster: ClusterId,
        name: &Name,
        theirs: &Verified,
        ours: &mut Verified,
    ) -> Result<bool, FullFailed> {
        if theirs.mark != ours.mark {
            return Err(damaged(format!("{} was noted with the hash {}", note_of(name), theirs.mark.hash)));
        }
        let fetched = match self.bucket.get(cluster, name).await {
            Ok(fetched) => fetched,
            Err(BucketError { why: Why::Missing | Why::Denied, .. }) => return Ok(false),
            Err(error) => return Err(of_bucket(error)),
        };
        match compared(fetched, name, ours).await {
            Ok(found) if found == (theirs.compressed_bytes, theirs.crc32) => {
                (ours.compressed_bytes, ours.crc32) = found;
                Ok(true)
            }
            Ok(_) | Err(FullFailed { why: FullError::Damaged, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// There is an object of that name of which nothing is noted: another agent's, or one that a crash left before it was
    /// verified. It stays. Is it a full as good as ours? So it is if it can be read and has the same data. An encrypted one
    /// cannot be read: it must be ours byte by byte.
    async fn settle(&self, cluster: ClusterId, name: &Name, ours: &mut Verified) -> Result<bool, FullFailed> {
        match self.inspect(cluster, name, ours).await {
            Ok((bytes, crc32)) if !ours.encrypted || (bytes, crc32) == (ours.compressed_bytes, ours.crc32) => {
                (ours.crc32, ours.compressed_bytes) = (crc32, bytes);
                Ok(true)
            }
            Ok(_) | Err(FullFailed { why: FullError::Damaged, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// From the first pod that has it.
    async fn download(&self, cluster: ClusterId, from: Seq, order: &Order) -> Result<(Pod, Verified), FullFailed> {
        let mut last = failed(At::Source, "none of the stores has an address");
        let mut pods = self.source.pods().await;
        order.sort(&mut pods);
        for pod in pods {
            let answer = match self.source.snapshot(&pod).await {
                Ok(answer) => answer,
                Err(error) => {
                    last = failed(At::Source, error.what);
                    continue;
                }
            };
            let seq = answer.headers().get("leasehold-sequence").and_then(|seq| seq.to_str().ok()?.parse().ok());
            if seq.is_some_and(|seq: u64| Seq(seq) < from) {
                last = FullFailed { why: FullError::Behind, ..failed(At::Source, format!("{pod} is behind")) };
                continue;
            }
            let (path, recipients) = (self.path.clone(), self.recipients.clone());
            let loaded = through(answer.bytes_stream(), move |pieces| load(pieces, &path, &recipients)).await;
            let (head, verified) = match loaded.map_err(|error| failed(At::Spool, error))? {
                Ok(loaded) => loaded,
                Err(FullFailed { what, why, at }) => {
                    last = FullFailed { what: format!("{pod}: {what}"), why, at };
                    continue;
                }
            };
            if head.cluster_id != cluster {
                last = failed(At::Source, format!("{pod} is of the cluster {}", head.cluster_id.0));
                continue;
            }
            return Ok((pod, verified));
        }
        Err(last)
    }

    async fn read_back(&self, cluster: ClusterId, name: &Name, sent: &Verified) -> Result<(), FullFailed> {
        if self.inspect(cluster, name, sent).await? != (sent.compressed_bytes, sent.crc32) {
            return Err(damaged(format!("{name} is not the object that was sent: its checksum differs")));
        }
        Ok(())
    }

    /// Reads an object: it has the data that were sent, if it is clear. Returns its length and checksum.
    async fn inspect(&self, cluster: ClusterId, name: &Name, sent: &Verified) -> Result<(u64, u32), FullFailed> {
        let fetched = self.bucket.get(cluster, name).await.map_err(of_bucket)?;
        compared(fetched, name, sent).await
    }

    /// What pods say that the hash is there: other pods than the one that it is from. Where none answers, that one is asked;
    /// and is it one alone of several?
    async fn words(&self, cluster: ClusterId, seq: Seq, from: &Pod) -> (Vec<First>, bool) {
        let mut others = self.source.pods().await;
        others.retain(|pod| pod != from);
        let words = self.ask(cluster, seq, &others).await;
        if !words.is_empty() {
            return (words, false);
        }
        (self.ask(cluster, seq, std::slice::from_ref(from)).await, !others.is_empty())
    }

    async fn ask(&self, cluster: ClusterId, seq: Seq, pods: &[Pod]) -> Vec<First> {
        let mut words = Vec::new();
        for pod in pods {
            if words.len() >= WORDS_MAX {
                break;
            }
            let word = async {
                match self.source.watch(pod, Some(cluster), Some(seq)).await.ok()?.next().await.ok()? {
                    Heard::Bookmark(first) if first.mark.seq == seq => Some(first),
                    Heard::Bookmark(_) | Heard::Entry { .. } => None,
                }
            };
            words.extend(tokio::time::timeout(WORD_MAX, word).await.ok().flatten());
        }
        words
    }
}

/// A full's name, and others for it where objects are that nobody vouches for: later by a millisecond each. A full is used for
/// times that are not before its name's, so the names lead to nothing that it does not have.
fn names(full: &Verified) -> impl Iterator<Item = Name> + use<> {
    let Verified { mark: Mark { seq, time, .. }, encrypted, .. } = *full;
    (0..NAMES_MAX).map(move |later| Name::Full { seq, time: Time::from_ms(time.ms() + later), encrypted })
}

/// Where it is noted that that full is verified.
fn note_of(name: &Name) -> Name {
    Name::Verified { seq: name.last(), time: name.time() }
}

/// An object that is being read, compared with what was sent.
async fn compared(fetched: Fetched, name: &Name, sent: &Verified) -> Result<(u64, u32), FullFailed> {
    let (sent, name) = (sent.clone(), *name);
    let read = through(fetched.stream, move |pieces| compare(pieces, &name, &sent)).await;
    read.map_err(|error| failed(At::Verify, error))?
}

/// A stream's bytes, for a thread that may block.
struct Pieces {
    from: mpsc::Receiver<Result<Bytes, String>>,
    piece: Bytes,
    /// The stream failed: what was read says nothing about the object.
    broken: Option<String>,
}

impl Pieces {
    fn new(from: mpsc::Receiver<Result<Bytes, String>>) -> Pieces {
        Pieces { from, piece: Bytes::new(), broken: None }
    }
}

impl Read for Pieces {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.from.blocking_recv() {
                None => return Ok(0),
                Some(Ok(piece)) => self.piece = piece,
                Some(Err(what)) => {
                    self.broken = Some(what.clone());
                    return Err(io::Error::other(what));
                }
            }
        }
        let length = to.len().min(self.piece.len());
        to[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

/// Gives a stream's bytes to a thread that may block.
async fn through<T: Send + 'static, E: Display>(
    mut stream: impl Stream<Item = Result<Bytes, E>> + Unpin,
    work: impl FnOnce(Pieces) -> T + Send + 'static,
) -> Result<T, tokio::task::JoinError> {
    let (pieces, from) = mpsc::channel(PIECES_MAX);
    let work = tokio::task::spawn_blocking(move || work(Pieces::new(from)));
    loop {
        let piece = match stream.try_next().await {
            Ok(None) => break,
            Ok(Some(piece)) => Ok(piece),
            Err(error) => Err(error.to_string()),
        };
        let is_last = piece.is_err();
        if pieces.send(piece).await.is_err() || is_last {
            break; // the thread has its answer
        }
    }
    drop(pieces);
    work.await
}

/// Reads on, and writes what it read.
struct Tee<W> {
    from: Pieces,
    to: W,
    bytes: u64,
    failed: Option<io::Error>,
}

impl<W: io::Write> Read for Tee<W> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(to)?;
        if let Err(error) = self.to.write_all(&to[..length]) {
            self.failed = Some(error);
            return Err(io::Error::other("the spool failed"));
        }
        self.bytes += length as u64;
        Ok(length)
    }
}

/// Loads a snapshot as it arrives, and writes it as the object.
fn load(pieces: Pieces, path: &Path, recipients: &Recipients) -> Result<(snapshot::Head, Verified), FullFailed> {
    let disk = |error: io::Error| failed(At::Spool, format!("cannot write {}: {error}", path.display()));
    let file = File::create(path).map_err(disk)?;
    let sealer = Sealer::new(Summed::new(BufWriter::new(file)), recipients).map_err(disk)?;
    let mut tee = Tee { from: pieces, to: sealer, bytes: 0, failed: None };
    let read = snapshot::read(&mut tee, FORMAT);
    if let Some(error) = tee.failed {
        return Err(disk(error));
    }
    let read = read.map_err(|error| match error {
        SnapshotError::Io(error) => failed(At::Source, format!("the snapshot broke off: {error}")),
        SnapshotError::Format { .. } => FullFailed { why: FullError::Format, ..failed(At::Verify, error) },
        SnapshotError::Damage(what) => damaged(what),
    })?;
    let (bytes, mut summed) = (tee.bytes, tee.to.finish().map_err(disk)?);
    summed.flush().map_err(disk)?;
    let (mark, records) = examine(&read)?;
    let verified = Verified {
        mark,
        keys_hash: None,
        records,
        bytes,
        compressed_bytes: summed.bytes(),
        crc32: summed.crc32(),
        encrypted: !recipients.is_empty(),
    };
    Ok((read.head, verified))
}

/// Is it what the store meant to send? The sum is computed from what was loaded.
fn examine(read: &ReadSnapshot) -> Result<(Mark, u64), FullFailed> {
    let documents = &read.documents;
    let found = documents.sum();
    match read.said {
        Some(said) if said == found => {}
        Some(said) => return Err(damaged(format!("the snapshot says that its sum is {said}, and has {found}"))),
        None => return Err(damaged("the snapshot does not say its sum")),
    }
    let (seq, time) = (read.head.position.seq, Time::from_ms(documents.time_ms()));
    let records = documents.collections().map(|(_, collection)| collection.len() as u64).sum();
    Ok((Mark { seq, time, hash: documents.data_sum() }, records))
}

/// Has that object the data that were sent? Its length and checksum.
fn compare(pieces: Pieces, name: &Name, sent: &Verified) -> Result<(u64, u32), FullFailed> {
    let mut summed = Summed::new(pieces);
    let compared = compare_all(&mut summed, name, sent);
    match summed.into_inner().broken {
        Some(what) => Err(failed(At::Bucket, format!("cannot read {name} back: {what}"))),
        None => compared,
    }
}

fn compare_all(summed: &mut Summed<Pieces>, name: &Name, sent: &Verified) -> Result<(u64, u32), FullFailed> {
    let wrong = |error: &dyn Display| damaged(format!("{name}: {error}"));
    if !sent.encrypted {
        let content = sealed::open(&mut *summed, false, None).map_err(|error| wrong(&error))?;
        let read = snapshot::read(content, FORMAT).map_err(|error| wrong(&error))?;
        let (mark, _) = examine(&read)?;
        if mark != sent.mark {
            return Err(damaged(format!("{name} holds the hash {}, and {} was sent", mark.hash, sent.mark.hash)));
        }
    }
    io::copy(summed, &mut io::sink()).map_err(|error| wrong(&error))?;
    Ok((Summed::bytes(summed), summed.crc32()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
