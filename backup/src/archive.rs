//! The archive of one cluster: which one is meant, what it has, and its objects' content.

use crate::args::{Keys, Source};
use crate::bucket::{Bucket, BucketError, Failure, ObjectReader, Why};
use crate::progress::{Counted, Progress, count};
use crate::sealed::{self, Identities, SealError, Summed};
use leasehold_archive::catalog::{Catalog, Full};
use leasehold_archive::chain::Fault;
use leasehold_archive::name::Name;
use leasehold_archive::verified::Verified;
use leasehold_documents::FORMAT;
use leasehold_documents::snapshot::{self, ReadSnapshot};
use leasehold_replication::ClusterId;
use std::io::{self, BufRead};
use tokio::runtime::Handle;

/// What lies below the URL of an archive.
const EXPECTED: &str = "<cluster-id>/full/…";

/// Why a command cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The bucket refuses, or is not there.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// Keys are missing, or do not open the archive.
    #[error("{name}: {source}")]
    Sealed {
        /// The object.
        name: String,
        /// Why.
        source: SealError,
    },
    /// A file of keys.
    #[error(transparent)]
    Keys(#[from] SealError),
    /// Writing to a file, or to the terminal.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// Said in full already.
    #[error("{0}")]
    Said(String),
}

impl CommandError {
    /// With what was tried.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> CommandError {
        let what = what.into();
        move |source| CommandError::Io { what, source }
    }
}

/// One cluster's archive. Its methods that read objects are for threads that may block.
#[derive(Debug)]
pub struct Archive {
    /// Where it is.
    pub bucket: Bucket,
    /// Whose it is.
    pub cluster: ClusterId,
    /// What it has.
    pub catalog: Catalog,
    identities: Option<Identities>,
    runtime: Handle,
}

/// What is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// What kind of problem.
    pub fault: Fault,
    /// In words.
    pub why: String,
}

/// Reading an object: it may be bad, or the command cannot go on.
pub type Content<T> = Result<Result<T, Bad>, CommandError>;

impl Archive {
    /// The archive of the cluster that is meant: the named one, or the only one.
    ///
    /// # Errors
    /// The bucket; there is no such cluster, or several.
    pub async fn open(source: &Source, keys: Option<&Keys>) -> Result<Archive, CommandError> {
        let identity = keys.and_then(|keys| keys.identity.as_deref());
        let identities = identity.map(Identities::read).transpose()?;
        let bucket = Bucket::open(&source.place)?;
        let cluster = match source.cluster_id {
            Some(cluster) => ClusterId(cluster),
            None => only(&bucket).await?,
        };
        Archive::of(bucket, cluster, identities).await
    }

    /// As [`Archive::open`]; of several clusters the one whose archive leads to the latest time.
    ///
    /// # Errors
    /// The bucket; there is no such cluster, or none.
    pub async fn open_newest(source: &Source, keys: Option<&Keys>) -> Result<Archive, CommandError> {
        if source.cluster_id.is_some() {
            return Archive::open(source, keys).await;
        }
        let identity = keys.and_then(|keys| keys.identity.as_deref());
        let identities = identity.map(Identities::read).transpose()?;
        let bucket = Bucket::open(&source.place)?;
        let mut newest = None;
        for cluster in bucket.clusters().await? {
            let until = catalog(&bucket, cluster).await?.ranges().last().map(|range| range.to.time);
            newest = newest.max(Some((until, cluster.0)));
        }
        let Some((_, cluster)) = newest else {
            return Err(no_archive(&bucket).await);
        };
        Archive::of(bucket, ClusterId(cluster), identities).await
    }

    async fn of(bucket: Bucket, cluster: ClusterId, identities: Option<Identities>) -> Result<Archive, CommandError> {
        let catalog = catalog(&bucket, cluster).await?;
        if catalog.is_empty() {
            return Err(no_cluster(&bucket, cluster, catalog.strangers()).await);
        }
        Ok(Archive { bucket, cluster, catalog, identities, runtime: Handle::current() })
    }

    /// Looks anew what there is.
    ///
    /// # Errors
    /// The bucket.
    pub async fn list_again(&mut self) -> Result<(), CommandError> {
        self.catalog = catalog(&self.bucket, self.cluster).await?;
        Ok(())
    }

    /// Can encrypted objects be read?
    pub fn has_keys(&self) -> bool {
        self.identities.is_some()
    }

    /// Reads the content of an object to where `read` ends. What fails then is the object's fault, unless the bucket failed.
    pub fn content<T>(
        &self,
        name: &Name,
        progress: &mut Progress,
        read: impl FnOnce(Box<dyn BufRead + '_>) -> Result<T, Bad>,
    ) -> Content<T> {
        progress.reads(name);
        let (mut from, failure) = match self.object(name, progress)? {
            Ok(found) => found,
            Err(bad) => return Ok(Err(bad)),
        };
        let content = match sealed::open(&mut from, name.is_encrypted(), self.identities.as_ref()) {
            Ok(reader) => read(reader),
            Err(SealError::Io(error)) => Err(damaged(error)),
            Err(source @ (SealError::NoIdentity | SealError::Locked(_))) => {
                return Err(CommandError::Sealed { name: name.to_string(), source });
            }
            Err(other) => return Err(other.into()),
        };
        progress.has_read(Summed::bytes(&from));
        match failure.take() {
            Some(error) => Err(error.into()),
            None => Ok(content),
        }
    }

    /// Reads all bytes of an object as they are: their number and checksum.
    ///
    /// # Errors
    /// The bucket failed.
    pub fn checksum(&self, name: &Name, progress: &mut Progress) -> Content<(u64, u32)> {
        progress.reads(name);
        let (mut from, failure) = match self.object(name, progress)? {
            Ok(found) => found,
            Err(bad) => return Ok(Err(bad)),
        };
        let copied = io::copy(&mut from, &mut io::sink());
        progress.has_read(Summed::bytes(&from));
        match (copied, failure.take()) {
            (_, Some(error)) => Err(error.into()),
            (Err(error), None) => Ok(Err(damaged(error))),
            (Ok(_), None) => Ok(Ok((Summed::bytes(&from), from.crc32()))),
        }
    }

    /// Loads a full, and compares it with its own sum, and with what was noted when it was verified.
    ///
    /// # Errors
    /// The bucket failed, or the keys do not open it.
    pub fn load(&self, full: &Full, progress: &mut Progress) -> Content<ReadSnapshot> {
        let name = full.name();
        let noted = match self.noted(full)? {
            Ok(noted) => noted,
            Err(bad) => return Ok(Err(bad)),
        };
        self.content(&name, progress, |content| {
            let snapshot = snapshot::read(content, FORMAT).map_err(damaged)?;
            let (seq, found) = (snapshot.head.position.seq, snapshot.documents.sum());
            if snapshot.head.cluster_id != self.cluster {
                let why = format!("it says that it is of the cluster {}", snapshot.head.cluster_id.0);
                return Err(Bad { fault: Fault::OtherHistory, why });
            }
            if seq != full.edge.seq {
                return Err(damaged(format!("it is at entry {seq}")));
            }
            if let Some(said) = snapshot.said.filter(|said| *said != found) {
                return Err(damaged(format!("its data have the sum {found}, not {said} as it says")));
            }
            let hash = snapshot.documents.data_sum();
            match noted.filter(|noted| noted.mark.hash != hash) {
                Some(noted) => Err(damaged(format!("its data have hash {hash}, not {} as was noted", noted.mark.hash))),
                None => Ok(snapshot),
            }
        })
    }

    /// What was noted when a full was verified.
    ///
    /// # Errors
    /// The bucket failed.
    pub fn noted(&self, full: &Full) -> Content<Option<Verified>> {
        if !full.verified {
            return Ok(Ok(None));
        }
        let json = match self.runtime.block_on(self.bucket.get_whole(self.cluster, &full.mark())) {
            Ok(json) => json,
            // Pruned meanwhile.
            Err(error) if error.why == Why::Missing => return Ok(Ok(None)),
            Err(error) if error.why == Why::Large => return Ok(Err(damaged(error))),
            Err(error) => return Err(error.into()),
        };
        let noted = Verified::parse(&json).map_err(|error| damaged(format!("{}: {error}", full.mark())));
        Ok(noted.map(Some))
    }

    fn object(&self, name: &Name, progress: &Progress) -> Content<(Summed<Counted<ObjectReader>>, Failure)> {
        match self.bucket.read(&self.runtime, self.cluster, name) {
            Ok((reader, failure)) => Ok(Ok((Summed::new(progress.counted(reader)), failure))),
            Err(error) if error.why == Why::Missing => {
                Ok(Err(Bad { fault: Fault::Missing, why: "it is not there any longer".to_owned() }))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Its content is not what it must be.
pub fn damaged(why: impl std::fmt::Display) -> Bad {
    Bad { fault: Fault::Damaged, why: why.to_string() }
}

/// What a LIST says of one cluster.
///
/// # Errors
/// The bucket.
pub async fn catalog(bucket: &Bucket, cluster: ClusterId) -> Result<Catalog, CommandError> {
    let listed = bucket.list(cluster).await?;
    Ok(Catalog::of(listed.iter().map(|object| (object.name.as_str(), object.bytes))))
}

/// The cluster, where the archive has one alone.
async fn only(bucket: &Bucket) -> Result<ClusterId, CommandError> {
    let clusters = bucket.clusters().await?;
    match clusters[..] {
        [] => Err(no_archive(bucket).await),
        [cluster] => Ok(cluster),
        _ => {
            let what = format!("{} has archives of several clusters; name one with --cluster-id:", bucket.url());
            Err(CommandError::Said(what + &lines(bucket, &clusters).await?))
        }
    }
}

/// Each with the latest entry that it leads to.
async fn lines(bucket: &Bucket, clusters: &[ClusterId]) -> Result<String, CommandError> {
    let mut lines = String::new();
    for cluster in clusters {
        let newest = catalog(bucket, *cluster).await?.ranges().last().map(|range| range.to);
        let newest = newest.map_or("nothing to restore".to_owned(), |edge| format!("up to {edge}"));
        lines += &format!("\n  {}  {newest}", cluster.0);
    }
    Ok(lines)
}

/// Nothing of that cluster is there: which are, or what was expected.
pub async fn no_cluster(bucket: &Bucket, cluster: ClusterId, strangers: u64) -> CommandError {
    let what = format!("{} has no cluster {}", bucket.url(), cluster.0);
    if strangers > 0 {
        let others = count(strangers, "object");
        let what = format!("{what}, but {others} of other names; expected are {0}/full/… and {0}/changes/…", cluster.0);
        return CommandError::Said(what);
    }
    match bucket.clusters().await {
        Ok(clusters) if clusters.is_empty() => no_archive(bucket).await,
        Ok(clusters) => match lines(bucket, &clusters).await {
            Ok(lines) => CommandError::Said(format!("{what}; it has:{lines}")),
            Err(error) => error,
        },
        Err(error) => error.into(),
    }
}

async fn no_archive(bucket: &Bucket) -> CommandError {
    match misplaced(bucket).await {
        Ok(why) => {
            let why = why.unwrap_or_else(|| format!("expected below it is {EXPECTED}"));
            CommandError::Said(format!("{} has no archive of any cluster: {why}", bucket.url()))
        }
        Err(error) => error,
    }
}

/// Why a place without archives is probably the wrong one: a level too high or too low.
///
/// # Errors
/// The bucket.
pub async fn misplaced(bucket: &Bucket) -> Result<Option<String>, CommandError> {
    let mut folders = bucket.folders().await?;
    if folders.iter().any(|folder| matches!(folder.as_str(), "full" | "changes")) {
        return Ok(Some("it looks like the folder of one cluster; name the one above it".to_owned()));
    }
    let (all, last) = (folders.len(), bucket.url().rsplit('/').next().unwrap_or_default());
    if all == 0 {
        let is_below = matches!(last, "full" | "changes");
        return Ok(is_below.then(|| "it looks like a part of one cluster's folder; name the one above that".to_owned()));
    }
    folders.truncate(3);
    let more = if all > 3 { ", …" } else { "" };
    Ok(Some(format!(
        "expected below it is {EXPECTED}, and it has {}{more}; name the folder of the archive",
        folders.join(", ")
    )))
}

/// Runs what blocks on a thread for that.
///
/// # Errors
/// Those of `work`.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CommandError> + Send + 'static,
) -> Result<T, CommandError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(CommandError::Said(format!("a thread ended: {error}"))))
}
