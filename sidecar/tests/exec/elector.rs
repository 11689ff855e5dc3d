//! Two pods with a real sidecar each, on the embedded API.

use std::path::Path;
use std::process::{Child, Command};

use leasehold_api::{ApiServer, Kind};
use leasehold_contract::Moment;
use leasehold_testkit::until_blocking;
use serde_json::json;

use crate::pod::SIDECAR;

/// Dropping it kills it.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sidecar(api: &ApiServer, pod: &str, dir: &Path, flags: &[&str]) -> Process {
    std::fs::write(dir.join("kubeconfig"), api.kubeconfig(pod, "n").to_string()).unwrap();
    let mut command = Command::new(SIDECAR);
    command.args(["--namespace", "n", "--lease", "job", "--name", pod, "--address", "10.0.0.7:80"]);
    command.args(["--listen", "127.0.0.1:0", "--lost-time", "200ms", "--log", "warn"]).args(flags);
    command.arg("--directory").arg(dir).arg("--kubeconfig").arg(dir.join("kubeconfig"));
    Process(command.spawn().unwrap())
}

/// While it runs, the command adds its term and the present moment to a file of its own, again and again.
fn exec(pod: &str, dir: &Path, first: &str, each: &str) -> Process {
    let script = format!(
        r#"{first}; while :; do {each}; echo "$LEASEHOLD_TERM $(cut -d' ' -f1 /proc/uptime)" >> {pod}.beats; sleep 0.02; done"#
    );
    let mut command = Command::new(SIDECAR);
    command.args(["exec", "--log", "warn", "--directory"]).arg(dir).args(["--", "bash", "-c", &script]);
    Process(command.current_dir(dir).spawn().unwrap())
}

/// The term and the moment, in hundredths of a second since the machine's start, of each beat.
fn beats(pod: &str, dir: &Path) -> Vec<(u64, u64)> {
    let text = std::fs::read_to_string(dir.join(format!("{pod}.beats"))).unwrap_or_default();
    let beat = |line: &str| {
        let (term, moment) = line.split_once(' ')?;
        Some((term.parse().ok()?, moment.replace('.', "").parse().ok()?))
    };
    text.lines().filter_map(beat).collect()
}

#[test]
fn a_command_that_ignores_sigterm_is_a_singleton_while_its_sidecars_fail_over() {
    let api = ApiServer::start(0).unwrap();
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let duration = ["--lease-duration", "3s"];
    let of_a = sidecar(&api, "a", a.path(), &duration);
    let _exec_a = exec("a", a.path(), "trap '' TERM", ":");
    until_blocking("the command runs at a", || beats("a", a.path()).len() > 3);
    let _of_b = sidecar(&api, "b", b.path(), &duration);
    let _exec_b = exec("b", b.path(), "trap '' TERM", ":");
    // Without a word: the claim in role.json stays, and nobody renews it.
    drop(of_a);
    let killed_at = Moment::now();
    until_blocking("the command runs at b", || beats("b", b.path()).len() > 3);
    let (of_a, of_b) = (beats("a", a.path()), beats("b", b.path()));
    let (last, first) = (*of_a.last().unwrap(), of_b[0]);
    assert!(last.0 < first.0, "terms {} and {}", last.0, first.0);
    assert!(last.1 <= first.1, "a ran until {} and b since {}", last.1, first.1);
    assert!(
        last.1 + 100 > killed_at.boottime_ns / 10_000_000,
        "a stopped before its sidecar was gone: nothing was tried"
    );
}

/// The command runs at its leader alone, so a check finds nothing at the others. They once counted as unfit for that, and who followed an
/// unfit leader waited for a whole duration.
#[test]
fn a_command_that_becomes_unfit_is_followed_long_before_a_duration_is_over() {
    let api = ApiServer::start(0).unwrap();
    // As a manifest has it: nobody ever held it, so the first leader comes at once.
    api.put(Kind::Lease, "n", &json!({"metadata": {"name": "job"}})).unwrap();
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [a, b] = dirs.each_ref().map(tempfile::TempDir::path);
    let start = |pod, dir: &Path| {
        let alive = dir.join("alive");
        let health = ["--health-file", alive.to_str().unwrap(), "--health-max-age", "1s", "--health-period", "100ms"];
        let flags = [&["--exec", "--lease-duration", "60s"][..], &health].concat();
        (sidecar(&api, pod, dir, &flags), exec(pod, dir, ":", "[ -e sick ] || touch alive"))
    };
    let _a = start("a", a);
    until_blocking("the command runs at a", || beats("a", a).len() > 3);
    let _b = start("b", b);
    std::fs::write(a.join("sick"), "").unwrap();
    until_blocking("the command runs at b", || beats("b", b).len() > 3);
    let (last, first) = (*beats("a", a).last().unwrap(), beats("b", b)[0]);
    assert!(last.0 < first.0 && last.1 <= first.1, "a {last:?}, b {first:?}");
    assert!(first.1 - last.1 < 3_000, "b began {} hundredths of a second later", first.1 - last.1);
}
