//! The agent's smaller calls to the bucket.

use crate::bucket::{Bucket, BucketError, Put, Why};
use crate::sealed;
use leasehold_archive::agent::{File, Unread};
use leasehold_archive::changes::{ChangesReader, Mark};
use leasehold_archive::name::Name;
use leasehold_archive::verified::Verified;
use leasehold_replication::ClusterId;
use std::path::PathBuf;
use tracing::warn;

/// All names of ours.
pub(super) async fn list(bucket: &Bucket, cluster: ClusterId) -> Result<Vec<Name>, BucketError> {
    let listed = bucket.list(cluster).await?;
    Ok(listed.iter().filter_map(|object| Name::parse(&object.name)).collect())
}

/// The data after the last entry of a file of changes, or in a verified full; and why not, in words.
pub(super) async fn read_end(bucket: &Bucket, cluster: ClusterId, name: Name) -> Result<Mark, (Unread, String)> {
    let bytes = bucket.get_whole(cluster, &name).await.map_err(|error| {
        let unread = if error.why == Why::Missing { Unread::Damaged } else { Unread::Failed };
        (unread, error.to_string())
    })?;
    let damaged = |error: &dyn std::fmt::Display| (Unread::Damaged, format!("{name}: {error}"));
    if let Name::Verified { .. } = name {
        return Verified::parse(&bytes).map(|verified| verified.mark).map_err(|error| damaged(&error));
    }
    // At most some MiB.
    tokio::task::block_in_place(|| {
        let content = sealed::open(&bytes[..], name.is_encrypted(), None).map_err(|error| damaged(&error))?;
        let mut reader = ChangesReader::open(content).map_err(|error| damaged(&error))?;
        while reader.next_entry().map_err(|error| damaged(&error))?.is_some() {}
        reader.end().map(|end| end.mark).ok_or_else(|| damaged(&"it has no end"))
    })
}

/// Uploads a file of the spool; says its length, if it was not there. One that is there already is as good.
pub(super) async fn put(bucket: &Bucket, file: &File, path: PathBuf) -> Result<Option<u64>, BucketError> {
    let (cluster, name) = (file.cluster, file.name());
    match bucket.put_file_if_absent(cluster, &name, path.clone()).await? {
        Put::Written => Ok(Some(tokio::fs::metadata(&path).await.map_or(0, |about| about.len()))),
        Put::Exists => {
            // Two encryptions of the same never are.
            if !file.encrypted {
                let (theirs, ours) = (bucket.get_whole(cluster, &name).await?, tokio::fs::read(&path).await);
                if ours.is_ok_and(|ours| ours != theirs) {
                    warn!(object = %name, "the bucket has an object of this name with other bytes; it stays");
                }
            }
            Ok(None)
        }
    }
}
