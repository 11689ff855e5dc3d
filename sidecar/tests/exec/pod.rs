//! A pod: `sidecar exec` as a process, and this test as its sidecar, which writes role.json and renews its claim.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use leasehold_contract::testing::{leader, member, role_of};
use leasehold_contract::{LEAD_LOCK_FILE, LOCK_FILE, Moment, ROLE_FILE, Role, RoleFile, is_locked, replace_file};
use leasehold_testkit::until_blocking;
use rustix::process::{Pid, Signal, kill_process};
use uuid::Uuid;

/// The program.
pub(crate) const SIDECAR: &str = env!("CARGO_BIN_EXE_sidecar");
/// Long enough that a busy machine renews in time, short enough to wait for its end.
pub(crate) const LEASE: Duration = Duration::from_secs(10);
pub(crate) const INCARNATION: Uuid = Uuid::from_u128(7);

pub(crate) struct Pod {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) exec: Option<Child>,
    role: Arc<Mutex<Roles>>,
    renewer: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Roles {
    generation: u64,
    /// The term whose claim is renewed.
    leads: Option<u64>,
    ended: bool,
    valid_until: u64,
}

impl Pod {
    pub(crate) fn new() -> Pod {
        let dir = tempfile::tempdir().unwrap();
        let role = Arc::new(Mutex::new(Roles::default()));
        let renewer = {
            let (dir, role) = (dir.path().to_owned(), Arc::clone(&role));
            std::thread::spawn(move || {
                loop {
                    {
                        let mut role = role.lock().unwrap();
                        if role.ended {
                            return;
                        }
                        if let Some(term) = role.leads {
                            write_claim(&dir, &mut role, term);
                        }
                    }
                    std::thread::park_timeout(LEASE / 15);
                }
            })
        };
        Pod { dir, exec: None, role, renewer: Some(renewer) }
    }

    /// From now on this pod leads in that term, and its claim is renewed.
    pub(crate) fn lead(&self, term: u64) {
        let mut role = self.role.lock().unwrap();
        role.leads = Some(term);
        write_claim(self.dir.path(), &mut role, term);
    }

    /// role.json stays; the claim is not renewed any more. Until when it is valid, on CLOCK_BOOTTIME.
    pub(crate) fn stop_renewing(&self) -> u64 {
        let mut role = self.role.lock().unwrap();
        role.leads = None;
        role.valid_until
    }

    /// Another pod leads. Until when the last claim of this one is valid.
    pub(crate) fn follow(&self, term: u64) -> u64 {
        let mut role = self.role.lock().unwrap();
        role.leads = None;
        role.generation += 1;
        let other = leader(&member("db-0", "10.0.0.1:80", "10.0.0.1:81"), Some(Uuid::from_u128(1)));
        let file = RoleFile {
            role: Role::Follower,
            term,
            leader: Some(other),
            generation: role.generation,
            ..role_of("db-1")
        };
        write(self.dir.path(), &file);
        role.valid_until
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `sidecar exec FLAGS -- CMD`, in the directory. What it and CMD write goes to the files `out` and `err`.
    pub(crate) fn command(&self, flags: &[&str], command: &[impl AsRef<OsStr>]) -> Command {
        let mut exec = Command::new(SIDECAR);
        exec.arg("exec").arg("--directory").arg(self.dir.path()).args(flags).arg("--").args(command);
        exec.current_dir(self.dir.path()).stdin(std::process::Stdio::null());
        exec.stdout(append(&self.path("out"))).stderr(append(&self.path("err")));
        exec
    }

    pub(crate) fn exec(&mut self, flags: &[&str], command: &[impl AsRef<OsStr>]) {
        self.exec = Some(self.command(flags, command).spawn().unwrap());
    }

    /// `exec`, with a script for bash.
    pub(crate) fn exec_bash(&mut self, flags: &[&str], script: &str) {
        self.exec(flags, &["bash", "-c", script]);
    }

    pub(crate) fn exec_pid(&self) -> Pid {
        pid(i32::try_from(self.exec.as_ref().unwrap().id()).unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.exec_pid(), signal).unwrap();
    }

    /// Waits for the end of `exec`; its code.
    pub(crate) fn code(&mut self) -> Option<i32> {
        let exec = self.exec.as_mut().unwrap();
        let mut status = None;
        until_blocking("exec ends", || {
            status = exec.try_wait().unwrap();
            status.is_some()
        });
        self.exec = None;
        status.unwrap().code()
    }

    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Waits until the file, which CMD writes, has that many lines.
    pub(crate) fn lines(&self, name: &str, number: usize) -> Vec<String> {
        let what = format!("{name} has {number} lines; stderr: {}", self.text("err"));
        until_blocking(what, || self.text(name).lines().count() >= number);
        self.text(name).lines().map(str::to_owned).collect()
    }

    /// The processes whose ids CMD has written, a line each.
    pub(crate) fn pids(&self, name: &str, number: usize) -> Vec<Pid> {
        self.lines(name, number).iter().map(|line| pid(line.trim().parse().unwrap())).collect()
    }

    pub(crate) fn until_said(&self, words: &str) {
        until_blocking(format!("{words:?} is said"), || self.text("err").contains(words));
    }

    pub(crate) fn leads_is_locked(&self) -> bool {
        is_locked(self.dir.path(), LEAD_LOCK_FILE).unwrap()
    }

    pub(crate) fn status_is_locked(&self) -> bool {
        is_locked(self.dir.path(), LOCK_FILE).unwrap()
    }

    /// Waits until all of them are dead, and checks that this was before that moment of CLOCK_BOOTTIME.
    pub(crate) fn all_die_before(&self, pids: &[Pid], moment: u64) {
        until_blocking("all are dead", || !pids.iter().any(|pid| is_alive(*pid)));
        let now = Moment::now().boottime_ns;
        assert!(now < moment, "dead {:?} too late; {}", Duration::from_nanos(now - moment), self.text("err"));
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.role.lock().unwrap().ended = true;
        if let Some(renewer) = self.renewer.take() {
            renewer.thread().unpark();
            let _ = renewer.join();
        }
        if let Some(mut exec) = self.exec.take() {
            let _ = exec.kill();
            let _ = exec.wait();
        }
    }
}

fn append(path: &Path) -> File {
    File::options().create(true).append(true).open(path).unwrap()
}

fn write_claim(dir: &Path, roles: &mut Roles, term: u64) {
    let now = Moment::now();
    roles.generation += 1;
    roles.valid_until = now.boottime_ns + u64::try_from(LEASE.as_nanos()).unwrap();
    let mut file = RoleFile {
        role: Role::Leader,
        term,
        leader: Some(leader(&member("db-1", "10.0.0.7:80", "10.0.0.7:81"), Some(INCARNATION))),
        boot_id: now.boot_id,
        generation: roles.generation,
        ..role_of("db-1")
    };
    file.lease.duration_ms = u64::try_from(LEASE.as_millis()).unwrap();
    file.lease.valid_until_boottime_ns = Some(roles.valid_until);
    write(dir, &file);
}

fn write(dir: &Path, role: &RoleFile) {
    replace_file(dir, ROLE_FILE, &serde_json::to_vec(role).unwrap()).unwrap();
}

pub(crate) fn pid(raw: i32) -> Pid {
    Pid::from_raw(raw).unwrap()
}

/// Not dead, and no zombie.
pub(crate) fn is_alive(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, fields)| !fields.trim_start().starts_with(['Z', 'X']))
}

/// The parent of a process.
pub(crate) fn parent(of: Pid) -> Pid {
    let stat = fs::read_to_string(format!("/proc/{}/stat", of.as_raw_nonzero())).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    pid(fields.split_ascii_whitespace().nth(1).unwrap().parse().unwrap())
}
