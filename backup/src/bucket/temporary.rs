//! What a crash leaves in a folder: object_store writes `<name>#<number>`, and gives it its name when it is whole.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Younger ones may still be written, by another agent.
const AGE_MIN: Duration = Duration::from_secs(3600);

/// Removes them below a folder of a cluster, and says how many.
pub(super) fn remove(cluster: &Path) -> io::Result<u64> {
    let mut removed = 0;
    for folder in ["full", "changes"] {
        let entries = match fs::read_dir(cluster.join(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let is_temporary = entry.file_name().to_str().is_some_and(is_temporary);
            let is_old = |meta: fs::Metadata| {
                let age = meta.modified().map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
                age.is_ok_and(|age| age >= AGE_MIN)
            };
            // Another agent may have removed it.
            if is_temporary && entry.metadata().is_ok_and(is_old) && fs::remove_file(entry.path()).is_ok() {
                removed += 1;
            }
        }
    }
    Ok(removed)
}

fn is_temporary(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(_, number)| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}
