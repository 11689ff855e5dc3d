//! `examples/postgres` on a PostgreSQL of its own: an old leader that wakes too late is refused.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use leasehold_api::ApiServer;
use leasehold_testkit::{until_blocking, until_seen_blocking};
use rustix::process::{Signal, geteuid};

use super::pod::{Child, Sidecar};
use super::{folder, is_installed};

/// Where Debian has the programs of the newest PostgreSQL that is installed. None: the server is not.
fn programs() -> Option<PathBuf> {
    let versions =
        fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let newest = versions.filter(|version| version.join("bin/initdb").exists()).max();
    if newest.is_none() {
        println!("skipped: Debian's package postgresql is not installed");
    }
    Some(newest?.join("bin"))
}

/// User and group of an account.
fn account(name: &str) -> (u32, u32) {
    let accounts = fs::read_to_string("/etc/passwd").unwrap();
    let fields: Vec<&str> =
        accounts.lines().map(|line| line.split(':').collect()).find(|fields: &Vec<&str>| fields[0] == name).unwrap();
    (fields[2].parse().unwrap(), fields[3].parse().unwrap())
}

/// A server with a Unix socket alone.
struct Database {
    _server: Child,
    folder: tempfile::TempDir,
}

impl Database {
    fn start(programs: &Path) -> Database {
        let folder = tempfile::tempdir().unwrap();
        let run = |program: &str| {
            let mut command = Command::new(programs.join(program));
            // PostgreSQL refuses to run as root.
            if geteuid().is_root() {
                let (user, group) = account("postgres");
                chown(folder.path(), Some(user), Some(group)).unwrap();
                command.uid(user).gid(group);
            }
            command.current_dir(folder.path()).stdout(Stdio::null());
            command
        };
        let mut initdb = run("initdb");
        initdb.args([
            "--pgdata=data",
            "--username=worker",
            "--auth=trust",
            "--no-sync",
            "--no-locale",
            "--encoding=UTF8",
        ]);
        assert!(initdb.status().unwrap().success(), "initdb");
        let mut server = run("postgres");
        server.args(["-D", "data", "-c", "listen_addresses=", "-c", "fsync=off", "-c", "log_min_messages=fatal"]);
        server.arg("-c").arg(format!("unix_socket_directories={}", folder.path().display()));
        let database = Database { _server: Child::start("PostgreSQL", &mut server), folder };
        until_blocking("PostgreSQL answers", || {
            database.psql().args(["-c", "SELECT 1"]).output().unwrap().status.success()
        });
        let schema = super::folder("postgres").join("schema.sql");
        // Twice: the page says that it does no harm.
        for _ in 0..2 {
            assert!(database.psql().arg("--file").arg(&schema).status().unwrap().success(), "schema.sql");
        }
        database
    }

    /// How psql finds it.
    fn find<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.env("PGHOST", self.folder.path()).env("PGUSER", "worker").env("PGDATABASE", "postgres");
        // Not that a table is there already.
        command.env("PGOPTIONS", "-c client_min_messages=warning")
    }

    fn psql(&self) -> Command {
        let mut command = Command::new("psql");
        self.find(&mut command).args(["--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-qtA", "-F", " "]);
        command.stdin(Stdio::null());
        command
    }

    /// The lines of an answer.
    fn ask(&self, query: &str) -> Vec<String> {
        let output = self.psql().args(["-c", query]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }
}

/// A program whose piece of work lasts until the test says so, or has ended: it prints the number of the piece.
const WORK: &str = r#"
n=$(($(cat "$0/begun" 2>/dev/null || echo 0) + 1))
echo $n >"$0/begun"
until [ -e "$0/go-$n" ]; do [ -d "$0" ] || exit 1; sleep 0.02; done
echo $n
"#;

/// A worker in its pod, and what it says.
struct Worker {
    sidecar: Sidecar,
    process: Child,
    folder: tempfile::TempDir,
}

impl Worker {
    fn start(database: &Database, api: &ApiServer, name: &'static str) -> Worker {
        let sidecar = Sidecar::start(api, name, &[]);
        let scratch = tempfile::tempdir().unwrap();
        let mut command = Command::new("bash");
        command.arg(folder("postgres").join("worker.sh")).args(["sh", "-c", WORK]).arg(scratch.path());
        command.env("LEASEHOLD_ROLE_FILE", sidecar.role_file());
        command.stdout(fs::File::create(scratch.path().join("said")).unwrap());
        let process = Child::start("the worker", database.find(&mut command));
        Worker { sidecar, process, folder: scratch }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    /// It is in the middle of its n-th piece of work: it leads, and has not written yet.
    fn until_it_has_begun(&self, n: u32) {
        until_blocking(format!("{} begins piece {n}", self.sidecar.name), || {
            self.read("begun").trim() == n.to_string()
        });
    }

    fn may_end(&self, n: u32) {
        fs::write(self.folder.path().join(format!("go-{n}")), "").unwrap();
    }

    fn says(&self, line: &str) {
        until_seen_blocking(
            format!("{} says {line:?}", self.sidecar.name),
            || self.read("said"),
            |said| said.lines().any(|said| said == line),
        );
    }
}

#[test]
fn the_write_of_a_leader_that_was_frozen_is_refused() {
    let Some(programs) = programs().filter(|_| is_installed("psql")) else { return };
    let database = Database::start(&programs);
    let api = ApiServer::start(0).unwrap();
    let old = Worker::start(&database, &api, "old");
    old.until_it_has_begun(1);
    let new = Worker::start(&database, &api, "new");
    old.may_end(1);
    old.says("term 1: old stored 1");
    old.until_it_has_begun(2);

    // The whole pod freezes in the middle of its work, and wakes when another one has written.
    for process in [&old.sidecar.process, &old.process] {
        process.signal(Signal::STOP);
    }
    new.until_it_has_begun(1);
    new.may_end(1);
    new.says("term 2: new stored 1");
    new.until_it_has_begun(2);
    old.may_end(2);
    // Its sidecar stays frozen: not even the file says that it is late.
    old.process.signal(Signal::CONT);
    old.says("term 1: old was refused");
    new.may_end(2);
    new.says("term 2: new stored 2");
    let results = database.ask("SELECT term, pod, value FROM result ORDER BY id");
    assert_eq!(results, ["1 old 1", "2 new 1", "2 new 2"]);
    assert_eq!(database.ask("SELECT term FROM fence"), ["2"]);
}
