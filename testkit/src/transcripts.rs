//! Transcripts of a core: `tests/scripts/*.txt` tell a story each, in commands and in all that happens about them. A script is
//! read first and checked second; how one is written: `README.md` beside them.
//!
//! A test plays every script and compares. After a change that is meant, the tests rewrite them where `UPDATE_GOLDENFILES=1` is set.

use std::panic::RefUnwindSafe;
use std::path::{Path, PathBuf};

use goldenscript::Runner;

/// Plays every script in `tests/scripts` of the crate in this folder, each on a stage of its own, and compares.
///
/// # Panics
/// There is none; or one is not as written, or cannot be played. What differs is printed.
pub fn are_as_written<R: Runner>(folder: &str, package: &str, stage: impl Fn() -> R + RefUnwindSafe) {
    let folder = Path::new(folder).join("tests/scripts");
    let files = std::fs::read_dir(&folder).expect("the scripts are there");
    let mut scripts: Vec<PathBuf> = files.map(|file| file.expect("a folder that can be read").path()).collect();
    scripts.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    scripts.sort();
    assert!(!scripts.is_empty(), "no scripts in {}", folder.display());
    scripts.retain(|script| {
        let play = || goldenscript::run(&mut stage(), script).map_err(|error| error.to_string());
        match std::panic::catch_unwind(play) {
            Ok(Ok(())) => false,
            Ok(Err(error)) => {
                println!("{}: {error}", script.display());
                true
            }
            // It has said why.
            Err(_) => true,
        }
    });
    assert!(
        scripts.is_empty(),
        "not as written, or not to be played: {scripts:#?}; what differs stands above. If that is meant, and you can say \
         why: UPDATE_GOLDENFILES=1 cargo test -p {package} --test scripts"
    );
}

/// Each of these scripts is refused with these words, which name its line.
///
/// # Panics
/// One is played, or refused with other words.
pub fn are_refused<R: Runner>(stage: impl Fn() -> R, cases: &[(&str, &str)]) {
    for (script, words) in cases {
        let error = goldenscript::generate(&mut stage(), script).expect_err(script).to_string();
        assert!(error.contains(words), "{script}: {error}");
    }
}
