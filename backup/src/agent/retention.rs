//! Deletes what nothing needs any longer, and what a crash left half.

use crate::bucket::Bucket;
use leasehold_archive::catalog::Catalog;
use leasehold_archive::retention::{Keep, prunable};
use leasehold_replication::ClusterId;
use std::time::Duration;

/// What is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retention {
    pub(super) point_in_time: Duration,
    pub(super) fulls: u32,
    /// How often one is taken.
    pub(super) full_every: Duration,
}

impl Retention {
    /// How many objects were deleted; and why not all of them.
    pub(super) async fn prune(self, bucket: &Bucket, cluster: ClusterId) -> Result<u64, String> {
        let listed = bucket.list(cluster).await.map_err(|error| error.to_string())?;
        let catalog = Catalog::of(listed.iter().map(|object| (&*object.name, object.bytes)));
        let point_in_time_ms = u64::try_from(self.point_in_time.as_millis()).unwrap_or(u64::MAX);
        let keep = Keep {
            point_in_time_ms,
            fulls: usize::try_from(self.fulls).unwrap_or(usize::MAX),
            step_max_ms: u64::try_from(self.full_every.as_millis()).unwrap_or(u64::MAX).saturating_mul(2),
        };
        let mut deleted = 0;
        // A stage is begun when the one before is done: halfway, everything that is left is of use.
        for stage in prunable(&catalog, keep) {
            deleted += bucket.delete(cluster, &stage).await.map_err(|error| {
                format!("cannot delete what nothing needs: {error}. Where object lock forbids it, use --no-prune")
            })?;
        }
        let of_crashes = bucket.clean_up(cluster).map_err(|error| error.to_string())?;
        Ok(deleted + of_crashes)
    }
}
