//! `bench crowd --quick`: a hundred of our electors at a real API server, through everything that it does to them. Only where
//! Kubernetes was built (`e2e/cluster/build.sh`); elsewhere it says so.

#![allow(clippy::unwrap_used)]

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// As long as the slowest machine needs for a start of an API server and five phases.
const PATIENCE: Duration = Duration::from_secs(600);

/// The folder of the programs; None: they are not built.
fn kubernetes() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cluster/bin");
    let folder = std::env::var_os("LEASEHOLD_KUBERNETES").map_or(folder, PathBuf::from);
    if folder.join("kube-apiserver").is_file() {
        return Some(folder);
    }
    println!("SKIPPED: there is no kube-apiserver in {}: build it with e2e/cluster/build.sh", folder.display());
    None
}

struct Bench {
    child: Child,
    /// All that it makes is below this folder.
    temporary: tempfile::TempDir,
    results: tempfile::TempDir,
}

impl Bench {
    fn start(kubernetes: &Path) -> Bench {
        let (temporary, results) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let child = Command::new(env!("CARGO_BIN_EXE_bench"))
            .args(["crowd", "--quick", "--systems", "leasehold", "--peers"])
            .arg(kubernetes)
            .arg("--json")
            .arg(results.path().join("crowd.json"))
            .env("TMPDIR", temporary.path())
            .stdout(Stdio::null())
            .stderr(File::create(results.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Bench { child, temporary, results }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.results.path().join("log")).unwrap()
    }

    /// Waits until it has ended. Whether it succeeded.
    fn ended(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.success();
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn left(&self) -> Vec<PathBuf> {
        std::fs::read_dir(self.temporary.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    /// The programs that still run with files of this bench.
    fn running(&self) -> Vec<String> {
        let folder = self.temporary.path().display().to_string();
        let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let commands = processes.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
        commands.filter(|command| command.contains(&folder)).collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn value(column: &Value, phase: &str, name: &str) -> f64 {
    let figures = column["figures"].as_array().unwrap();
    let found = figures.iter().find(|figure| figure["phase"] == phase && figure["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} of {phase} in {column}"))["value"].as_f64().unwrap()
}

#[test]
fn a_hundred_electors_survive_everything_at_once_and_nothing_stays() {
    let Some(kubernetes) = kubernetes() else { return };
    let mut bench = Bench::start(&kubernetes);
    assert!(bench.ended(), "{}", bench.log());
    let text = std::fs::read_to_string(bench.results.path().join("crowd.json")).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    let column = &report["columns"][0];
    assert_eq!(value(column, "whole run", "two valid claims at once"), 0.0, "{column:#}");
    // Two watches of each of 100 electors; the renewals of 50 leaders every 2 s.
    assert!(value(column, "steady", "open watches") >= 200.0, "{column:#}");
    let renewals = value(column, "steady", "requests PUT");
    assert!((15.0..40.0).contains(&renewals), "{renewals} renewals a second");
    // Nobody whose node is lost hands over: the Lease has to run out.
    assert!(value(column, "kill", "without a leader, worst") > 3.0, "{column:#}");
    assert!(value(column, "restart", "requests in the busiest second") > 0.0, "{column:#}");
    assert!(!column["afterRestart"].as_object().unwrap().is_empty(), "{column:#}");
    assert_eq!((bench.left(), bench.running()), (vec![], vec![]));
}

#[test]
fn an_interrupted_crowd_leaves_nothing() {
    let Some(kubernetes) = kubernetes() else { return };
    let mut bench = Bench::start(&kubernetes);
    let deadline = Instant::now() + PATIENCE;
    while !bench.log().contains("until all apps have a leader") {
        assert!(bench.child.try_wait().unwrap().is_none() && Instant::now() < deadline, "{}", bench.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!bench.running().is_empty());
    kill_process(Pid::from_child(&bench.child), Signal::TERM).unwrap();
    assert!(!bench.ended());
    assert!(bench.log().contains("terminated"), "{}", bench.log());
    assert_eq!((bench.left(), bench.running()), (vec![], vec![]));
}
