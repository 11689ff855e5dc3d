//! The names of the volume's files, for all modules that read and write there: see [`volume`](crate::volume).

/// The file of the identity.
pub(crate) const REPLICA: &str = "replica.json";
/// The operator ran `bootstrap --force` on this empty volume.
pub(crate) const FORCE_BOOTSTRAP: &str = "force-bootstrap";
/// The volume is being emptied.
pub(crate) const WIPING: &str = "wiping";
/// What was committed here a moment ago.
pub(crate) const COMMITTED: &str = "committed.json";
/// The file of a replica that went back in time.
pub(crate) const WENT_BACK: &str = "went-back.json";
/// The file of a replica whose data have diverged.
pub(crate) const DIVERGED: &str = "diverged.json";
/// The data of a backup, for a first start.
pub(crate) const RESTORE: &str = "restore.json";
/// The snapshot in force.
pub(crate) const SNAPSHOT: &str = "snapshot.json";
/// Complete and durable; waits for the segment that begins with its mark.
pub(crate) const SNAPSHOT_NEXT: &str = "snapshot.next";
/// Being written from the documents.
pub(crate) const SNAPSHOT_TAKEN: &str = "snapshot.taken";
/// The folder of the segments.
pub(crate) const FOLDER: &str = "journal";
/// A segment that is created when it is needed.
pub(crate) const NEXT_SEGMENT: &str = "journal/next.tmp";
/// A segment that is created ahead.
pub(crate) const SPARE_SEGMENT: &str = "journal/spare.tmp";
/// A segment for the reserve that is being created.
pub(crate) const RESERVE_SEGMENT: &str = "journal/reserve.tmp";
