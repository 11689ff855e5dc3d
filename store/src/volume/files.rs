//! The names of the volume's files, for all modules that read and write there: see [`volume`](crate::volume).

/// Held as long as the volume is open.
pub(crate) const LOCK: &str = "lock";
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
pub const RESTORE: &str = "restore.json";
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
/// What file systems and their servers have at the top of an empty volume.
const OF_FILE_SYSTEMS: [&str; 2] = ["lost+found", ".snapshot"];

/// A snapshot that is being received.
pub(crate) fn received(number: u64) -> String {
    format!("received-{number}.part")
}

/// Is that a file that only an earlier process needed?
pub(crate) fn is_leftover(name: &str) -> bool {
    let is_received = name.starts_with("received-") && name.ends_with(".part");
    [SNAPSHOT_NEXT, SNAPSHOT_TAKEN].contains(&name) || is_received || name.ends_with(".tmp")
}

/// May a volume have a file or folder of that name at its top, at any time? Others show that the folder is not a volume.
pub fn is_of_a_volume(name: &str) -> bool {
    let stays = [LOCK, REPLICA, FORCE_BOOTSTRAP, WIPING, COMMITTED, WENT_BACK, DIVERGED, RESTORE, SNAPSHOT, FOLDER];
    stays.contains(&name) || is_leftover(name) || OF_FILE_SYSTEMS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_has_the_names_that_its_documentation_draws_and_no_other() {
        let chapter = include_str!("../volume.rs");
        let drawn = chapter.lines().filter_map(|line| line.strip_prefix("//!")?.trim_start().strip_prefix('/'));
        let drawn = drawn.map(|path| path.strip_prefix("data/").unwrap_or(path));
        let drawn: Vec<&str> = drawn.filter_map(|path| path.split([' ', '/']).next()).collect();
        assert!(drawn.len() > 10 && drawn.contains(&LOCK), "{drawn:?}");
        for name in drawn {
            assert!(is_of_a_volume(name), "{name}");
        }
        assert!(is_of_a_volume(&received(7)) && is_of_a_volume("lost+found"));
        for name in ["thesis.odt", "snapshot", "received-7", "full", "changes"] {
            assert!(!is_of_a_volume(name), "{name}");
        }
    }
}
