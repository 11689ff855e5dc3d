//! `sidecar copy`: this program, as a file in a directory that another container shares.
//!
//! An init container of the sidecar's image runs it; the app's container, whose image knows nothing of us, then has the program
//! for `exec`. The program is static, so it runs where there is no libc.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// The name of the copy.
const NAME: &str = "sidecar";
/// Any user in the pod may run it.
const MODE: u32 = 0o755;

/// Copies this program into `dir` as `sidecar`, mode 0755; what had the name is replaced whole. Returns its path.
///
/// # Errors
/// One sentence: what cannot be read or written.
pub fn copy_program(dir: &Path) -> Result<PathBuf, String> {
    let (path, temporary) = (dir.join(NAME), dir.join(format!(".{NAME}.{}.tmp", Uuid::new_v4().simple())));
    let copied =
        copy(&temporary).and_then(|()| fs::rename(&temporary, &path)).and_then(|()| File::open(dir)?.sync_all());
    copied.map(|()| path).map_err(|reason| {
        // Best effort: the caller needs the first error.
        let _ = fs::remove_file(&temporary);
        let hint = match reason.kind() {
            io::ErrorKind::NotFound => "; mount a volume there",
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                "; make it writable for this user (an emptyDir, and the pod's fsGroup)"
            }
            _ => "",
        };
        format!("cannot copy this program into {}: {reason}{hint}", dir.display())
    })
}

fn copy(to: &Path) -> io::Result<()> {
    // The file that runs, whatever happened to its name meanwhile.
    let mut from = File::open("/proc/self/exe")?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(to)?;
    io::copy(&mut from, &mut file)?;
    // The umask reduces the mode of `open`.
    file.set_permissions(fs::Permissions::from_mode(MODE))?;
    file.sync_all()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_is_the_program_and_replaces_an_older_one() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(NAME), b"older").unwrap();
        let path = copy_program(dir.path()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), fs::read("/proc/self/exe").unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the temporary file stayed");
    }

    #[test]
    fn a_directory_that_does_not_exist_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let reason = copy_program(&dir.path().join("absent")).unwrap_err();
        assert!(reason.contains("/absent") && reason.contains("mount a volume"), "{reason}");
    }
}
