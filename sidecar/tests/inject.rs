//! `sidecar inject` as a program: what is printed where, and the exit codes.

#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const INPUT: &str = include_str!("inject/deployment.yaml");

/// Runs it with this input. The text is written from a thread: the program may end before it has read all.
fn sidecar(args: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidecar"));
    command.arg("inject").args(args).env_remove("LEASEHOLD_SIDECAR_LEASE").env_remove("LEASEHOLD_SIDECAR_NAMESPACE");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_owned());
    let writer = std::thread::spawn(move || {
        // It may have refused its flags, and be gone.
        let _ = stdin.write_all(input.as_bytes());
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

#[test]
fn a_file_and_standard_input_are_the_same() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("web.yaml");
    std::fs::write(&file, INPUT).unwrap();
    let of_stdin = sidecar(&["--lease", "web"], INPUT);
    let of_file = sidecar(&["-f", file.to_str().unwrap(), "--lease", "web"], "");
    assert!(of_stdin.status.success() && of_file.status.success(), "{of_stdin:?} {of_file:?}");
    assert_eq!(of_stdin.stdout, of_file.stdout);
    assert!(String::from_utf8(of_stdin.stdout).unwrap().contains("kind: Lease"));
}

/// They were accepted and forgotten: the app then counted as fit for ever.
#[test]
fn the_checks_of_health_and_the_target_of_notices_are_passed_on() {
    let flags = [
        "--health-url",
        "http://127.0.0.1:8080/healthz",
        "--health-period",
        "2s",
        "--notify",
        "http://localhost:8080/role",
    ];
    let output = sidecar(&[&["--lease", "web"], &flags[..]].concat(), INPUT);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for (name, value) in [("HEALTH_URL", flags[1]), ("HEALTH_PERIOD", "2000ms"), ("NOTIFY", flags[5])] {
        let at = text.find(&format!("LEASEHOLD_SIDECAR_{name}")).unwrap_or_else(|| panic!("no {name}: {text}"));
        assert!(text[at..].lines().take(2).any(|line| line.contains(value)), "{name}: {text}");
    }
    assert!(!text.contains("HEALTH_MAX_AGE"), "a default is not written: {text}");
    let both = sidecar(&["--lease", "web", "--health-url", flags[1], "--health-file", "/alive"], INPUT);
    assert_eq!(both.status.code(), Some(2));
}

/// The app was given the directory read-only, and a file elsewhere is not the sidecar's: it was unfit for ever.
#[test]
fn a_health_file_is_one_that_the_app_can_touch_and_the_sidecar_see() {
    let output = sidecar(&["--lease", "web", "--health-file", "/run/leasehold/alive"], INPUT);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("{name: leasehold, mountPath: /run/leasehold}"), "{text}");
    let read_only = String::from_utf8(sidecar(&["--lease", "web"], INPUT).stdout).unwrap();
    assert!(read_only.contains("{name: leasehold, mountPath: /run/leasehold, readOnly: true}"), "{read_only}");
    let elsewhere = sidecar(&["--lease", "web", "--health-file", "/var/run/leasehold/alive"], INPUT);
    let said = String::from_utf8(elsewhere.stderr).unwrap();
    assert_eq!(elsewhere.status.code(), Some(2), "{said}");
    assert!(said.contains("/run/leasehold/alive"), "{said}");
}

#[test]
fn a_refusal_prints_nothing_but_its_reason() {
    let file_is_gone = ["-f", "/nowhere/web.yaml", "--lease", "web"];
    let cases: [(&[&str], &str, i32, &str); 4] = [
        (&["--lease", "web"], "kind: Service\n", 1, "sidecar: inject -: there is nothing to inject"),
        (&["--lease", "web"], "a: [\n", 1, "not valid YAML"),
        (&file_is_gone, "", 1, "cannot open it"),
        (&[], INPUT, 2, "sidecar: --lease is missing"),
    ];
    for (args, input, code, words) in cases {
        let output = sidecar(args, input);
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        assert!(output.stdout.is_empty(), "{args:?} printed {:?}", String::from_utf8_lossy(&output.stdout));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(words) && said.lines().count() == 1, "{args:?}: {said}");
    }
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidecar"));
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("web.yaml");
    std::fs::write(&file, b"a: \xff\n").unwrap();
    let output = command.args(["inject", "--lease", "web", "-f"]).arg(&file).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(1), true));
    assert!(String::from_utf8_lossy(&output.stderr).contains("UTF-8"));
}

/// The code block of docs/sidecar.md that begins so.
fn documented(first: &str) -> String {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/sidecar.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let blocks = docs.split("```").skip(1).step_by(2).filter_map(|block| block.split_once('\n'));
    let mut found = blocks.map(|(_, text)| text).filter(|text| text.starts_with(first));
    found.next().unwrap_or_else(|| panic!("docs/sidecar.md has no block that begins with {first}")).to_owned()
}

/// Each Helm that is there, with its major version: those that HELM names (several by colons), or that of the PATH and that of
/// `e2e/cluster`.
fn helms() -> Vec<(PathBuf, String)> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("e2e/cluster/bin/helm");
    let programs = match std::env::var_os("HELM") {
        Some(named) => std::env::split_paths(&named).collect(),
        None => vec![PathBuf::from("helm"), own],
    };
    let major = |program: PathBuf| {
        let output = Command::new(&program).args(["version", "--template", "{{.Version}}"]).output().ok()?;
        let version = String::from_utf8(output.stdout).ok()?;
        let major = version.strip_prefix('v')?.split('.').next()?.to_owned();
        output.status.success().then_some((program, major))
    };
    programs.into_iter().filter_map(major).collect()
}

/// A chart of somebody else's: a workload, and a hook, which must not be touched.
fn chart(folder: &Path) {
    std::fs::create_dir_all(folder.join("templates")).unwrap();
    std::fs::write(folder.join("Chart.yaml"), "apiVersion: v2\nname: shop\nversion: 0.1.0\n").unwrap();
    let workload = INPUT.replace("name: web", "name: {{ .Release.Name }}");
    assert_ne!(workload, INPUT);
    std::fs::write(folder.join("templates/web.yaml"), workload).unwrap();
    let hook = "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: migrate\n  annotations: {helm.sh/hook: pre-install}\n\
                spec:\n  template:\n    spec:\n      restartPolicy: Never\n      containers: [{name: migrate, image: shop:1}]\n";
    std::fs::write(folder.join("templates/hook.yaml"), hook).unwrap();
}

/// The words of docs/sidecar.md, as they stand there: a script for Helm 3, and the same script as a plugin for Helm 4.
#[test]
fn a_chart_passes_through_it_as_the_documents_say() {
    let helms = helms();
    if helms.is_empty() {
        println!("SKIPPED: no helm; make e2e builds one, and HELM can name others");
    }
    for (helm, major) in helms {
        let scratch = tempfile::tempdir().unwrap();
        let plugin = scratch.path().join("leasehold-inject");
        chart(&scratch.path().join("shop"));
        std::fs::create_dir(&plugin).unwrap();
        let script = plugin.join("inject.sh");
        std::fs::write(&script, documented("#!/bin/sh")).unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::write(plugin.join("plugin.yaml"), documented("apiVersion: v1")).unwrap();
        let programs = Path::new(env!("CARGO_BIN_EXE_sidecar")).parent().unwrap().to_owned();
        let paths = std::env::split_paths(&std::env::var_os("PATH").unwrap()).collect::<Vec<_>>();
        let paths = std::env::join_paths(std::iter::once(programs).chain(paths)).unwrap();
        let helm = |args: &[&str]| {
            let mut command = Command::new(&helm);
            for (name, folder) in [("CACHE", "cache"), ("CONFIG", "config"), ("DATA", "data")] {
                command.env(format!("HELM_{name}_HOME"), scratch.path().join(folder));
            }
            let output = command.args(args).current_dir(&scratch).env("PATH", &paths).output().unwrap();
            assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        let renderer = match major.as_str() {
            "3" => "./leasehold-inject/inject.sh",
            _ => {
                helm(&["plugin", "install", "./leasehold-inject"]);
                "leasehold-inject"
            }
        };
        let plain = helm(&["template", "shop", "./shop"]);
        let injected = helm(&["template", "shop", "./shop", "--post-renderer", renderer]);
        if major == "3" {
            let install = documented("helm install shop ./shop --post-renderer sidecar ");
            let words: Vec<&str> = install.split_whitespace().filter(|word| *word != "\\").skip(2).collect();
            assert_eq!(helm(&[&["template"], words.as_slice()].concat()), injected, "{install}");
        }
        assert!(injected.contains("image: registry.example/you/leasehold/sidecar:"), "{injected}");
        let one = |text: &str, words: &str| text.matches(words).count() == 1;
        for words in ["kind: Lease\n", "kind: Role\n", "- name: sidecar\n", "leasehold.dev/injected: shop\n"] {
            assert!(one(&injected, words) && !plain.contains(words), "Helm {major}, {words:?}: {injected}");
        }
        // Helm 4 writes each manifest anew before and after a post-renderer, and quotes what needs no quotes.
        let unquoted = injected.replace('\'', "");
        for words in ["kind: Deployment\n", "kind: Job\n", "name: migrate, image: shop:1"] {
            assert!(one(&unquoted, words) && one(&plain, words), "Helm {major}, {words:?}: {injected}");
        }
        assert!(!injected.contains("postrender-filename"), "Helm {major} leaves its own mark: {injected}");
    }
}
