//! The programs that embed the library, `sidecar/examples`, each as two processes: the one that leads is ended by SIGTERM, and by
//! SIGKILL, and the other one works.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::process::Command;

use leasehold_api::{ApiServer, Kind};
use leasehold_testkit::{until_blocking, until_found_blocking};
use rustix::process::Signal;

use crate::pod::{Child, PROGRAM};

/// Two processes of one example, and what they say.
struct Processes {
    api: ApiServer,
    scratch: tempfile::TempDir,
    example: &'static str,
    lease: &'static str,
}

impl Processes {
    fn of(example: &'static str, lease: &'static str) -> Processes {
        Processes { api: ApiServer::start(0).unwrap(), scratch: tempfile::tempdir().unwrap(), example, lease }
    }

    fn start(&self, name: &str) -> Child {
        // Cargo names the programs of a package to its tests, but not its examples.
        let program = Path::new(PROGRAM).parent().unwrap().join("examples").join(self.example);
        assert!(program.exists(), "{program:?} is not built: cargo build --locked --workspace --examples");
        let kubeconfig = self.scratch.path().join(format!("{name}.kubeconfig"));
        std::fs::write(&kubeconfig, self.api.kubeconfig(name, "default").to_string()).unwrap();
        let mut command = Command::new(program);
        command.args([name, "10.0.0.7:80"]).env("KUBECONFIG", kubeconfig).stdout(self.output(name));
        Child::start(self.example, &mut command)
    }

    fn output(&self, name: &str) -> File {
        OpenOptions::new().append(true).create(true).open(self.scratch.path().join(name)).unwrap()
    }

    /// The terms in which this one said that it works, in order.
    fn terms(&self, name: &str) -> Vec<u64> {
        let text = std::fs::read_to_string(self.scratch.path().join(name)).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let term = |line: &str| line.strip_prefix("working in term ")?.parse().ok();
        whole.lines().map(|line| term(line).unwrap_or_else(|| panic!("what is {line:?}?"))).collect()
    }

    /// Waits until this one works, in a term above that one.
    fn works(&self, name: &str, above: u64) -> u64 {
        let find = || self.terms(name).last().copied().filter(|term| *term > above);
        let lease = || self.api.get(Kind::Lease, "default", self.lease);
        until_found_blocking(format!("{name} works above term {above}"), find, || format!("{:?}", lease()))
    }

    fn holder(&self) -> Option<String> {
        let lease = self.api.get(Kind::Lease, "default", self.lease).unwrap();
        lease["spec"]["holderIdentity"].as_str().filter(|holder| !holder.is_empty()).map(str::to_owned)
    }

    /// This one knows who leads: it has seen the Lease, and contends for it.
    fn contends(&self, watches: usize) {
        until_blocking("it watches the Lease", || {
            self.api.requests(leasehold_api::Verb::Watch, Kind::Lease) >= watches
        });
    }
}

fn another_process_works_when_one_ends(processes: &Processes) {
    let mut first = processes.start("a");
    let term = processes.works("a", 0);
    let mut second = processes.start("b");
    processes.contends(2);
    assert!(processes.terms("b").is_empty(), "a works");

    first.signal(Signal::TERM);
    assert!(first.until_it_ends().success(), "it ends well");
    assert_ne!(processes.holder().as_deref(), Some("a"), "it let go of the Lease before it ended");
    let (done, term) = (processes.terms("a"), processes.works("b", term));

    // Nobody says of this one that its work has ended: its Lease has to run out.
    let _third = processes.start("c");
    processes.contends(3);
    second.signal(Signal::KILL);
    assert!(!second.until_it_ends().success());
    assert_eq!(processes.holder().as_deref(), Some("b"), "it let go of nothing");
    let killed = processes.terms("b");
    processes.works("c", term);
    assert_eq!((processes.terms("a"), processes.terms("b")), (done, killed), "they are dead");
}

#[test]
fn another_process_of_embedded_works_when_one_ends() {
    another_process_works_when_one_ends(&Processes::of("embedded", "embedded"));
}

#[test]
fn another_process_of_own_loop_works_when_one_ends() {
    another_process_works_when_one_ends(&Processes::of("own_loop", "own-loop"));
}
