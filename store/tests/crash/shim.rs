//! The shim, compiled by the first test that wants it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What the shim is to do in one process.
#[derive(Clone, Debug)]
pub(crate) struct Shim {
    library: PathBuf,
    /// Everything below is looked at.
    pub(crate) root: PathBuf,
    pub(crate) log: PathBuf,
}

impl Shim {
    /// None if there is no C compiler, with a loud message.
    pub(crate) fn new(root: &Path, log: &Path) -> Option<Shim> {
        Some(Shim { library: library()?.clone(), root: root.to_owned(), log: log.to_owned() })
    }

    /// Puts itself between this command and its files.
    pub(crate) fn around(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("CRASH_ROOT", &self.root).env("CRASH_LOG", &self.log);
    }
}

fn library() -> Option<&'static PathBuf> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crash/shim.c");
        // Each process of the tests its own: two of them may run at once.
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("crash-shim-{}.so", std::process::id()));
        let compiler = std::env::var_os("CC").unwrap_or("cc".into());
        let words = ["-O1", "-Wall", "-shared", "-fPIC", "-o"];
        let done = Command::new(&compiler).args(words).arg(&library).arg(source).args(["-ldl", "-lpthread"]).status();
        match done {
            Ok(status) if status.success() => Some(library),
            Ok(status) => panic!("{compiler:?} does not compile the shim: {status}"),
            Err(error) => {
                eprintln!("\n*** SKIPPED: no power loss and no failing disk was tried: {compiler:?}: {error}\n");
                None
            }
        }
    });
    found.as_ref()
}
