//! Where the archive is: a bucket of S3, Azure or Google, or a folder.
//!
//! ```text
//!   file:///dir        object_store's LocalFileSystem, with fsync of files and folders
//!   s3://bucket/…      AmazonS3           ┐
//!   az://container/…   MicrosoftAzure     ├── HTTP, each request counted
//!   gs://bucket/…      GoogleCloudStorage ┘
//! ```
//!
//! Objects are put if they are absent, and never changed. Every outside call has a time-out: a page of a LIST and a piece of a
//! GET 60 s, a PUT 60 s and a second for each 128 KiB. A request that fails for a while is tried again for half a minute; who
//! needs more patience has it itself.

mod error;
mod folder;
mod open;
mod parts;
mod reader;
mod requests;
mod temporary;

pub use error::{BucketError, Why};
pub use open::Place;
pub use reader::{Failure, ObjectReader};
pub use requests::Requests;

use bytes::Bytes;
use folder::Folder;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use leasehold_archive::name::{self, Name};
use leasehold_replication::ClusterId;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use open::Opened;
use requests::Counter;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What a page of a LIST, or a piece of a GET, may take.
const STEP_MAX: Duration = Duration::from_secs(60);
/// The slowest bucket that a PUT is finished on.
const BYTES_PER_SECOND_MIN: u64 = 128 * 1024;
/// What is noted of a full is less than a KiB.
const NOTE_BYTES_MAX: u64 = 64 * 1024;
/// A file of changes is closed at 16 MiB; its last entry is never as long as 256 MiB.
const WHOLE_BYTES_MAX: u64 = 288 * 1024 * 1024;
/// Objects above this length are put in parts of it. S3 allows 10,000 of 5 MiB at least.
const PART_BYTES: u64 = 64 * 1024 * 1024;
/// A file to put is read in pieces of this size.
const PIECE_BYTES: usize = 1024 * 1024;

/// An archive's bucket, with its prefix. A clone is the same one.
#[derive(Clone, Debug)]
pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// For messages.
    url: Arc<str>,
    counter: Arc<Counter>,
    /// Requests are counted here, not by an HTTP client.
    counts_calls: bool,
    /// The folder, of `file://`.
    folder: Option<Folder>,
    /// Longer objects are put in parts of this length, where that keeps what is there.
    part_bytes: u64,
    takes_parts: bool,
}

/// An object, as a LIST says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name within the folder of the cluster.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// What became of a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is there now.
    Written,
    /// An object of that name was there, and is unchanged.
    Exists,
}

/// An object that is being read.
pub struct Fetched {
    /// Its length.
    pub bytes: u64,
    /// Its bytes, in pieces.
    pub stream: BoxStream<'static, Result<Bytes, BucketError>>,
}

impl Bucket {
    /// Opens it. Nothing is sent yet.
    ///
    /// # Errors
    /// The URL or the environment is unusable, or the folder does not exist.
    pub fn open(place: &Place) -> Result<Bucket, BucketError> {
        let Opened { store, prefix, counter, folder, takes_parts } = open::open(place)?;
        let (url, counts_calls) = (Arc::from(place.url.trim_end_matches('/')), folder.is_some());
        Ok(Bucket { store, prefix, url, counter, counts_calls, folder, part_bytes: PART_BYTES, takes_parts })
    }

    /// Over any store, for tests.
    pub fn over(store: Arc<dyn ObjectStore>, prefix: &str) -> Bucket {
        let (prefix, url) = (Path::from(prefix), Arc::from("test"));
        Bucket {
            store,
            prefix,
            url,
            counter: Arc::default(),
            counts_calls: true,
            folder: None,
            part_bytes: PART_BYTES,
            takes_parts: false,
        }
    }

    /// Its URL, for messages.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How many requests were sent, by operation.
    pub fn requests(&self) -> Requests {
        self.counter.read()
    }

    /// The clusters that have a folder, in order.
    ///
    /// # Errors
    /// [`BucketError`].
    pub async fn clusters(&self) -> Result<Vec<ClusterId>, BucketError> {
        let folders = self.folders().await?;
        let mut clusters: Vec<ClusterId> = folders.iter().filter_map(|folder| name::cluster_of(folder)).collect();
        clusters.sort_unstable();
        Ok(clusters)
    }

    /// All folders, those of clusters and others.
    ///
    /// # Errors
    /// [`BucketError`].
    pub async fn folders(&self) -> Result<Vec<String>, BucketError> {
        self.is_there("list").await?;
        self.count(|counter| &counter.list);
        let listing = self.store.list_with_delimiter(Some(&self.prefix));
        let listed = self.within(STEP_MAX * 5, "list", listing).await?;
        let folders = listed.common_prefixes.iter().filter_map(Path::filename);
        Ok(folders.map(str::to_owned).collect())
    }

    /// All objects of a cluster, in any order; also those whose names are not ours.
    ///
    /// # Errors
    /// [`BucketError`].
    pub async fn list(&self, cluster: ClusterId) -> Result<Vec<Listed>, BucketError> {
        self.is_there("list").await?;
        self.count(|counter| &counter.list);
        let folder = self.folder_of(cluster);
        let mut objects = self.store.list(Some(&folder));
        let mut listed = Vec::new();
        while let Some(object) = self.within(STEP_MAX, "list", objects.try_next()).await? {
            let Some(parts) = object.location.prefix_match(&folder) else { continue };
            let name = parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/");
            listed.push(Listed { name, bytes: object.size });
        }
        Ok(listed)
    }

    /// Writes an object, unless one of that name is there. Durable when it returns.
    ///
    /// # Errors
    /// [`BucketError`]; the object may be there nevertheless.
    pub async fn put_if_absent(
        &self,
        cluster: ClusterId,
        name: &Name,
        bytes: impl Into<PutPayload>,
    ) -> Result<Put, BucketError> {
        self.make_folders(cluster, name).await?;
        self.count(|counter| &counter.put);
        let payload = bytes.into();
        let patience = STEP_MAX + Duration::from_secs(payload.content_length() as u64 / BYTES_PER_SECOND_MIN);
        let location = self.location(cluster, name);
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = self.store.put_opts(&location, payload, options);
        match self.within(patience, "put", put).await {
            Ok(_) => Ok(Put::Written),
            Err(BucketError { why: Why::Exists, .. }) => Ok(Put::Exists),
            Err(error) => Err(error),
        }
    }

    /// The same with the content of a file. One that is large is sent in parts, where the bucket keeps what is there then,
    /// too (S3, folders); otherwise it is in memory meanwhile.
    ///
    /// # Errors
    /// As there; the file cannot be read.
    pub async fn put_file_if_absent(&self, cluster: ClusterId, name: &Name, file: PathBuf) -> Result<Put, BucketError> {
        let length = tokio::fs::metadata(&file).await;
        let length = length.map_err(|source| BucketError::file(&self.url, &file, &source))?.len();
        if length > self.part_bytes && self.folder.is_some() {
            return self.put_by_link(cluster, name, file).await;
        }
        if length > self.part_bytes && self.takes_parts {
            return self.put_in_parts(cluster, name, file).await;
        }
        let from = file.clone();
        let pieces = tokio::task::spawn_blocking(move || pieces_of(&from)).await;
        let pieces = pieces.map_err(io::Error::other).and_then(|pieces| pieces);
        let pieces = pieces.map_err(|source| BucketError::file(&self.url, &file, &source))?;
        self.put_if_absent(cluster, name, pieces.into_iter().collect::<PutPayload>()).await
    }

    /// How long a disk takes, nobody knows: it fails when it fails.
    async fn put_by_link(&self, cluster: ClusterId, name: &Name, file: PathBuf) -> Result<Put, BucketError> {
        self.make_folders(cluster, name).await?;
        self.count(|counter| &counter.put);
        let Some(folder) = self.folder.clone() else { return Ok(Put::Exists) };
        let below = format!("{}/{name}", cluster.0);
        let linked = tokio::task::spawn_blocking(move || folder.link(&below, &file)).await;
        let linked = linked.map_err(io::Error::other).and_then(|linked| linked);
        match linked.map_err(|source| BucketError::folder(&self.url, "put", &source))? {
            true => Ok(Put::Written),
            false => Ok(Put::Exists),
        }
    }

    /// Begins to read an object.
    ///
    /// # Errors
    /// [`BucketError`]; also each piece may be one.
    pub async fn get(&self, cluster: ClusterId, name: &Name) -> Result<Fetched, BucketError> {
        self.is_there("get").await?;
        self.count(|counter| &counter.get);
        let location = self.location(cluster, name);
        let got = self.within(STEP_MAX, "get", self.store.get(&location)).await?;
        let (bytes, bucket) = (got.meta.size, self.clone());
        let stream = futures_util::stream::try_unfold(got.into_stream(), move |mut pieces| {
            let bucket = bucket.clone();
            async move {
                let piece = bucket.within(STEP_MAX, "get", pieces.try_next()).await?;
                Ok(piece.map(|piece| (piece, pieces)))
            }
        });
        Ok(Fetched { bytes, stream: stream.boxed() })
    }

    /// Reads an object that is small.
    ///
    /// # Errors
    /// [`BucketError`]; it is longer than one of that name can be ([`Why::Large`]).
    pub async fn get_whole(&self, cluster: ClusterId, name: &Name) -> Result<Bytes, BucketError> {
        let mut whole = Vec::new();
        let mut fetched = self.get(cluster, name).await?;
        let most = match name {
            Name::Verified { .. } => NOTE_BYTES_MAX,
            Name::Changes { .. } | Name::Full { .. } => WHOLE_BYTES_MAX,
        };
        if fetched.bytes > most {
            return Err(BucketError::large(&self.url, name, fetched.bytes, most));
        }
        while let Some(piece) = fetched.stream.try_next().await? {
            if (whole.len() + piece.len()) as u64 > most {
                return Err(BucketError::large(&self.url, name, (whole.len() + piece.len()) as u64, most));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.into())
    }

    /// Deletes objects, in as few requests as the bucket allows. Those that are gone already count as deleted. The order is
    /// not kept: what must go first is a call of its own.
    ///
    /// # Errors
    /// [`BucketError`]: the first one; the others were tried nevertheless.
    pub async fn delete(&self, cluster: ClusterId, names: &[Name]) -> Result<u64, BucketError> {
        self.is_there("delete").await?;
        for _ in names {
            self.count(|counter| &counter.delete);
        }
        let locations: Vec<_> = names.iter().map(|name| Ok(self.location(cluster, name))).collect();
        let mut deleted = self.store.delete_stream(futures_util::stream::iter(locations).boxed());
        let (mut count, mut first) = (0, None);
        loop {
            match self.within(STEP_MAX, "delete", deleted.try_next()).await {
                Ok(Some(_)) => count += 1,
                Ok(None) => break,
                Err(BucketError { why: Why::Missing, .. }) => count += 1,
                // A time-out may return again and again.
                Err(error) if matches!(error.why, Why::Slow) => return Err(first.unwrap_or(error)),
                Err(error) => first = first.or(Some(error)),
            }
        }
        first.map_or(Ok(count), Err)
    }

    /// Removes what puts that a crash cut off left in a folder: only files of `file://` leave any, and no LIST shows them.
    /// Those of the last hour may still be written.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn clean_up(&self, cluster: ClusterId) -> Result<u64, BucketError> {
        let Some(folder) = &self.folder else { return Ok(0) };
        let below = folder.path().join(cluster.0.to_string());
        temporary::remove(&below).map_err(|source| BucketError::file(&self.url, &below, &source))
    }

    /// Without its volume a folder has nothing, which is not what a LIST may answer.
    async fn is_there(&self, operation: &'static str) -> Result<(), BucketError> {
        self.in_folder(operation, Folder::check).await
    }

    async fn make_folders(&self, cluster: ClusterId, name: &Name) -> Result<(), BucketError> {
        let below = format!("{}/{name}", cluster.0);
        let make = move |root: &Folder| {
            let mut below: Vec<&str> = below.split('/').collect();
            below.pop();
            root.make(&below)
        };
        self.in_folder("put", make).await
    }

    /// Nothing, where it is not `file://`.
    async fn in_folder(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Folder) -> io::Result<()> + Send + 'static,
    ) -> Result<(), BucketError> {
        let Some(folder) = self.folder.clone() else { return Ok(()) };
        let done = tokio::task::spawn_blocking(move || work(&folder));
        match tokio::time::timeout(STEP_MAX, done).await {
            Ok(done) => {
                let done = done.map_err(io::Error::other).and_then(|done| done);
                done.map_err(|source| BucketError::folder(&self.url, operation, &source))
            }
            Err(_) => Err(BucketError::slow(&self.url, operation, STEP_MAX)),
        }
    }

    fn folder_of(&self, cluster: ClusterId) -> Path {
        self.prefix.clone().join(cluster.0.to_string())
    }

    fn location(&self, cluster: ClusterId, name: &Name) -> Path {
        let folder = self.folder_of(cluster);
        name.to_string().split('/').fold(folder, |path, part| path.join(part))
    }

    fn count(&self, of: impl Fn(&Counter) -> &std::sync::atomic::AtomicU64) {
        if self.counts_calls {
            of(&self.counter).fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    async fn within<T>(
        &self,
        patience: Duration,
        operation: &'static str,
        call: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, BucketError> {
        match tokio::time::timeout(patience, call).await {
            Ok(result) => result.map_err(|source| BucketError::of(&self.url, operation, source)),
            Err(_) => Err(BucketError::slow(&self.url, operation, patience)),
        }
    }
}

fn pieces_of(path: &std::path::Path) -> io::Result<Vec<Bytes>> {
    use io::Read as _;
    let mut file = std::fs::File::open(path)?;
    let mut pieces = Vec::new();
    loop {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        (&mut file).take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
        if piece.is_empty() {
            return Ok(pieces);
        }
        pieces.push(piece.into());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
