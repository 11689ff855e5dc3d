//! Commands in roots of their own, as in images without glibc: `FROM scratch`, and with musl, as Alpine has it.
//!
//! The sidecar of the image is static. LEASEHOLD_STATIC_SIDECAR names such a one (`make static-exec` builds it); without it
//! the one that was built for the tests comes with its libraries, and only what it starts has no glibc. Only root may chroot.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;

use crate::languages::{go_program, has};
use crate::pod::{Pod, SIDECAR, pid};

/// The interpreter that a 64-bit ELF file names, by a program header of the type PT_INTERP. None: it is static.
fn interpreter(elf: &[u8]) -> Option<String> {
    let number =
        |at: usize, length: usize| elf[at..at + length].iter().rev().fold(0, |all, byte| all << 8 | usize::from(*byte));
    let (headers, size, count) = (number(0x20, 8), number(0x36, 2), number(0x38, 2));
    let header = (0..count).map(|header| headers + header * size).find(|header| number(*header, 4) == 3)?;
    let (at, length) = (number(header + 0x08, 8), number(header + 0x20, 8));
    Some(String::from_utf8_lossy(&elf[at..at + length]).trim_end_matches('\0').to_owned())
}

fn may_chroot() -> bool {
    let may = rustix::process::geteuid().is_root();
    if !may {
        eprintln!("SKIPPED: only root may chroot");
    }
    may
}

/// Puts the sidecar into the root, as `/programs/sidecar`.
fn bring_sidecar(pod: &Pod) {
    let named = std::env::var_os("LEASEHOLD_STATIC_SIDECAR").map(PathBuf::from);
    let sidecar = named.clone().unwrap_or(PathBuf::from(SIDECAR));
    if interpreter(&fs::read(&sidecar).unwrap()).is_some() {
        assert_eq!(named, None, "it is not static");
        let libraries = Command::new("ldd").arg(&sidecar).output().unwrap();
        let libraries = String::from_utf8(libraries.stdout).unwrap();
        for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
            let place = pod.path(library.trim_start_matches('/'));
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::copy(library, place).unwrap();
        }
    }
    let copied = Command::new(&sidecar).args(["copy", "--to"]).arg(pod.path("programs")).output().unwrap();
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
}

/// Leads, loses, leads again, and is asked to end, in a root that is the pod's directory: with the sidecar, /proc, what is
/// shared, and what the test put there. The command writes a line to `pids`, its term to `terms`, and ends by SIGTERM with 9.
fn lives_in_root(pod: &mut Pod, command: &str) {
    for folder in ["proc", "dev", "programs"] {
        fs::create_dir(pod.path(folder)).unwrap();
    }
    fs::File::create(pod.path("dev/null")).unwrap();
    bring_sidecar(pod);
    pod.lead(3);
    // In mount and PID namespaces of its own, where `exec` is process 1, as in a container.
    let root = pod.dir.path().display().to_string();
    let inside = format!(
        "mount -t proc proc {root}/proc && exec chroot {root} /programs/sidecar exec --directory / -- {command}"
    );
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", &inside]);
    unshare.stdout(fs::File::create(pod.path("out")).unwrap()).stderr(fs::File::create(pod.path("err")).unwrap());
    pod.exec = Some(unshare.spawn().unwrap());
    pod.lines("pids", 1);
    let end = pod.follow(4);
    pod.until_said("waiting until this pod leads (db-0 leads in term 4)");
    assert!(leasehold_contract::Moment::now().boottime_ns < end && !pod.leads_is_locked());
    pod.lead(5);
    assert_eq!(pod.lines("terms", 2), ["3", "5"]);
    pod.lines("pids", 2);
    // Process 1 is the only child of `unshare`, and gets its signals by handlers alone.
    let children = format!("/proc/{0}/task/{0}/children", pod.exec_pid().as_raw_nonzero());
    let first: i32 = fs::read_to_string(children).unwrap().split_whitespace().next().unwrap().parse().unwrap();
    rustix::process::kill_process(pid(first), Signal::TERM).unwrap();
    assert_eq!(pod.code(), Some(9), "{}", pod.text("err"));
    assert!(!pod.leads_is_locked());
}

/// As in an image `FROM scratch`: two static programs and nothing else.
#[test]
fn a_root_without_a_libc() {
    if !may_chroot() {
        return;
    }
    let mut pod = Pod::new();
    if go_program(pod.dir.path()).is_some() {
        lives_in_root(&mut pod, "/app");
    }
}

/// As in Alpine: the shell is busybox, and it starts a program that is linked to musl.
#[test]
fn a_root_with_musl() {
    if !may_chroot() || !has("musl-gcc", "--version") || !has("busybox", "--help") {
        return;
    }
    let paths = std::env::var_os("PATH").unwrap();
    let busybox = std::env::split_paths(&paths).map(|path| path.join("busybox")).find(|path| path.exists()).unwrap();
    if interpreter(&fs::read(&busybox).unwrap()).is_some() {
        eprintln!("SKIPPED: {} is not static; Debian's busybox-static is", busybox.display());
        return;
    }
    let mut pod = Pod::new();
    let program = r#"#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void line(const char *name, const char *text) {
    FILE *file = fopen(name, "a");
    if (!file || fprintf(file, "%s\n", text) < 0 || fclose(file)) _exit(1);
}

int main(void) {
    sigset_t ended;
    int number;
    char id[32];
    sigemptyset(&ended);
    sigaddset(&ended, SIGTERM);
    sigprocmask(SIG_BLOCK, &ended, NULL);
    snprintf(id, sizeof id, "%ld", (long)getpid());
    line("terms", getenv("LEASEHOLD_TERM"));
    line("pids", id);
    sigwait(&ended, &number);
    return 9;
}
"#;
    fs::write(pod.path("app.c"), program).unwrap();
    let built = Command::new("musl-gcc").args(["-o", "app", "app.c"]).current_dir(&pod.dir).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let loader = interpreter(&fs::read(pod.path("app")).unwrap()).unwrap();
    assert!(loader.starts_with("/lib/ld-musl-"), "{loader}");
    fs::create_dir_all(pod.path("lib")).unwrap();
    fs::create_dir_all(pod.path("bin")).unwrap();
    fs::copy(&loader, pod.path(loader.trim_start_matches('/'))).unwrap();
    fs::copy(busybox, pod.path("bin/sh")).unwrap();
    let script = "#!/bin/sh\n/app &\napp=$!\ntrap 'wait \"$app\"; exit $?' TERM\nwait \"$app\"\n";
    fs::write(pod.path("work.sh"), script).unwrap();
    fs::set_permissions(pod.path("work.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    lives_in_root(&mut pod, "/work.sh");
}
