//! Two pods with a real sidecar each, on the embedded API.

use std::path::Path;
use std::process::{Child, Command};

use leasehold_api::ApiServer;
use leasehold_contract::Moment;
use leasehold_testkit::until_blocking;

use crate::pod::SIDECAR;

/// Dropping it kills it.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sidecar(api: &ApiServer, pod: &str, dir: &Path) -> Process {
    std::fs::write(dir.join("kubeconfig"), api.kubeconfig(pod, "n").to_string()).unwrap();
    let mut command = Command::new(SIDECAR);
    command.args(["--namespace", "n", "--lease", "job", "--name", pod, "--address", "10.0.0.7:80"]);
    command.args(["--listen", "127.0.0.1:0", "--lease-duration", "3s", "--lost-time", "200ms", "--log", "warn"]);
    command.arg("--directory").arg(dir).arg("--kubeconfig").arg(dir.join("kubeconfig"));
    Process(command.spawn().unwrap())
}

/// While it runs, the command adds its term and the present moment to a file of its own, again and again.
fn exec(pod: &str, dir: &Path) -> Process {
    let script = format!(
        r#"trap '' TERM; while :; do echo "$LEASEHOLD_TERM $(cut -d' ' -f1 /proc/uptime)" >> {pod}.beats; sleep 0.02; done"#
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
    let of_a = sidecar(&api, "a", a.path());
    let _exec_a = exec("a", a.path());
    until_blocking("the command runs at a", || beats("a", a.path()).len() > 3);
    let _of_b = sidecar(&api, "b", b.path());
    let _exec_b = exec("b", b.path());
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
