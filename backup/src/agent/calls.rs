//! The agent's smaller calls to the bucket.

use crate::bucket::{Bucket, BucketError, Put, Why};
use crate::sealed;
use leasehold_archive::agent::{File, Stored, Unread};
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
        let unread = if matches!(error.why, Why::Missing | Why::Large) { Unread::Damaged } else { Unread::Failed };
        (unread, error.to_string())
    })?;
    if let Name::Verified { .. } = name {
        let verified = Verified::parse(&bytes).map(|verified| verified.mark);
        return verified.map_err(|error| (Unread::Damaged, format!("{name}: {error}")));
    }
    // At most some MiB.
    let read = tokio::task::block_in_place(|| ends_of(&bytes, name.is_encrypted()));
    read.map(|(_, end)| end).map_err(|error| (Unread::Damaged, format!("{name}: {error}")))
}

/// The data before and after all entries of a file of changes.
fn ends_of(bytes: &[u8], is_encrypted: bool) -> Result<(Mark, Mark), String> {
    let content = sealed::open(bytes, is_encrypted, None).map_err(|error| error.to_string())?;
    let mut reader = ChangesReader::open(content).map_err(|error| error.to_string())?;
    while reader.next_entry().map_err(|error| error.to_string())?.is_some() {}
    let end = reader.end().map(|end| end.mark).ok_or("it has no end")?;
    Ok((reader.begin().mark, end))
}

/// What became of a file of the spool, and how much was uploaded.
pub(super) struct Uploaded {
    pub(super) stored: Stored,
    /// None: an object of its name was there.
    pub(super) bytes: Option<u64>,
}

/// Uploads a file of the spool. One that is there already is as good if it has the same entries: the hashes before and after
/// say so, whoever compressed it. Of one that is encrypted nobody here can say more than its name, which has the time.
pub(super) async fn put(bucket: &Bucket, file: &File, path: PathBuf) -> Result<Uploaded, BucketError> {
    let (cluster, name) = (file.cluster, file.name());
    match bucket.put_file_if_absent(cluster, &name, path.clone()).await {
        Ok(Put::Written) => {
            let bytes = Some(tokio::fs::metadata(&path).await.map_or(0, |about| about.len()));
            return Ok(Uploaded { stored: Stored::Kept, bytes });
        }
        Ok(Put::Exists) => {}
        // Nobody brings it back, however often it is tried.
        Err(error) if error.why == Why::File && matches!(tokio::fs::try_exists(&path).await, Ok(false)) => {
            return Ok(Uploaded { stored: Stored::Lost, bytes: None });
        }
        Err(error) => return Err(error),
    }
    if file.encrypted {
        return Ok(Uploaded { stored: Stored::Kept, bytes: None });
    }
    let stored = match bucket.get_whole(cluster, &name).await {
        Err(error) if error.why == Why::Large => Stored::Damaged,
        Err(error) => return Err(error),
        Ok(theirs) => match tokio::task::block_in_place(|| ends_of(&theirs, false)) {
            Ok(ends) if ends == (file.begin, file.end) => Stored::Kept,
            Ok(_) => {
                warn!(object = %name, "the bucket has an object of this name with changes of another history");
                Stored::Foreign
            }
            Err(why) => {
                warn!(object = %name, "the bucket has an object of this name that cannot be read: {why}");
                Stored::Damaged
            }
        },
    };
    Ok(Uploaded { stored, bytes: None })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::sealed::Recipients;
    use crate::spool::Spool;
    use leasehold_archive::time::Time;
    use leasehold_replication::{Seq, Sum};
    use object_store::memory::InMemory;
    use std::sync::Arc;
    use uuid::Uuid;

    const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(9));

    /// Entry 6 after entry 5, with that hash.
    fn spooled(folder: &std::path::Path, hash: u128) -> (File, PathBuf) {
        let mark = |seq: u64, hash: u128| Mark { seq: Seq(seq), time: Time::from_ms(seq * 1000), hash: Sum(hash) };
        let file = File { cluster: CLUSTER, begin: mark(5, 5), end: mark(6, hash), encrypted: false };
        let (mut spool, _) = Spool::open(folder, Recipients::default()).unwrap();
        let time = serde_json::to_string(&file.end.time).unwrap();
        spool.begin(CLUSTER, file.begin).unwrap();
        spool.append(&[format!(r#"{{"sequence":6,"time":{time},"hash":"{}","changes":[]}}"#, Sum(hash))]).unwrap();
        spool.close(&file).unwrap();
        let path = spool.path(&file);
        (file, path)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_file_of_the_same_name_is_compared_by_its_content() {
        let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (file, path) = spooled(ours.path(), 6);
        let content = zstd::decode_all(std::fs::File::open(&path).unwrap()).unwrap();
        let other = std::fs::read(spooled(theirs.path(), 7).1).unwrap();
        for (there, expected) in [
            (zstd::encode_all(&*content, 19).unwrap(), Stored::Kept),
            (other, Stored::Foreign),
            (b"torn".to_vec(), Stored::Damaged),
        ] {
            let bucket = Bucket::over(Arc::new(InMemory::new()), "p");
            bucket.put_if_absent(CLUSTER, &file.name(), there.clone()).await.unwrap();
            let uploaded = put(&bucket, &file, path.clone()).await.unwrap();
            assert_eq!((uploaded.stored, uploaded.bytes), (expected, None));
            assert_eq!(bucket.get_whole(CLUSTER, &file.name()).await.unwrap(), there, "it stays");
        }
        let bucket = Bucket::over(Arc::new(InMemory::new()), "p");
        let uploaded = put(&bucket, &file, path.clone()).await.unwrap();
        assert_eq!((uploaded.stored, uploaded.bytes), (Stored::Kept, Some(std::fs::metadata(&path).unwrap().len())));
        std::fs::remove_file(&path).unwrap();
        let uploaded = put(&bucket, &file, path).await.unwrap();
        assert_eq!((uploaded.stored, uploaded.bytes), (Stored::Lost, None));
    }
}
