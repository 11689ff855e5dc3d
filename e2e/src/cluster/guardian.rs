//! The last line against orphans: a process that waits for the harness's death and cleans up after it.
//!
//! The harness holds the other end of the guardian's standard input. However it ends (also by SIGKILL, or by a signal
//! that a test binary does not handle), the kernel closes that pipe; then the guardian kills what is noted in `pids`
//! and removes the folder if it was a temporary one. It starts nothing and has nothing to do before.

use std::{
    io::Read,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use super::process::kill_noted;

/// A running guardian. Dropping it lets it go, after the harness has cleaned up itself.
#[derive(Debug)]
pub struct Guardian(Child);

impl Guardian {
    /// Starts `e2e guard`. A cluster without one works, too: it only is not cleaned up after a SIGKILL.
    pub fn start(program: &Path, root: &Path, temporary: bool) -> Option<Guardian> {
        let mut command = Command::new(program);
        command.arg("guard").arg(root);
        if temporary {
            command.arg("--remove");
        }
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A Ctrl-C is for the harness; the guardian must outlive it.
            .process_group(0)
            .spawn()
            .ok()?;
        Some(Guardian(child))
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// What `e2e guard` does.
pub fn guard(root: &Path, remove: bool) {
    // Whatever is read, or whichever error occurs: the harness is gone.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    kill_noted(&root.join("pids"));
    if remove {
        let _ = std::fs::remove_dir_all(root);
    }
}
