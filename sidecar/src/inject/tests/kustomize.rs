//! The Kustomize components in `kustomize/` make of their examples what `inject` makes of them.
//!
//! `kustomize/built.yaml` and `built-exec.yaml` are what Kustomize built, so the comparison needs none. Where there is one
//! (`kubectl` has it within), those files are compared as well.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use super::{inject, known_to_kubernetes, values};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("kustomize")
}

/// By kind and name, and lists of named things by their names: their order means nothing.
fn in_order(stream: &str) -> Vec<Value> {
    let mut all: Vec<Value> = values(stream).into_iter().map(sorted).collect();
    all.sort_by_key(|value| (value["kind"].to_string(), value["metadata"]["name"].to_string()));
    all
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<Value> = items.into_iter().map(sorted).collect();
            if items.iter().all(|item| item["name"].is_string()) {
                items.sort_by_key(|item| item["name"].to_string());
            }
            Value::Array(items)
        }
        Value::Object(entries) => Value::Object(entries.into_iter().map(|(key, value)| (key, sorted(value))).collect()),
        other => other,
    }
}

/// The folder of an example, what Kustomize built of it, and the flags with which `inject` makes the same.
const EXAMPLES: [(&str, &str, &[&str]); 2] = [
    ("example", "built.yaml", &["--lease", "worker", "--app-port", "8080"]),
    ("example-exec", "built-exec.yaml", &["--lease", "nightly", "--exec", "--container", "nightly"]),
];

#[test]
fn the_components_make_what_inject_makes() {
    let image = concat!("registry.example/you/leasehold/sidecar:", env!("CARGO_PKG_VERSION"));
    for (example, built, flags) in EXAMPLES {
        let built = std::fs::read_to_string(folder().join(built)).unwrap();
        let app = std::fs::read_to_string(folder().join(example).join("app.yaml")).unwrap();
        let flags = [flags, &["--image", image]].concat();
        let injected = inject(&app, &flags).unwrap();
        assert_eq!(in_order(&built), in_order(&injected), "{example}");
        known_to_kubernetes(&built);
        // What it made is known as injected, and as it must be.
        assert_eq!(inject(&built, &flags).unwrap(), built, "{example}");
    }
}

/// The kubectl on the PATH, or that of `e2e/cluster`.
fn kubectl() -> Option<PathBuf> {
    let own = folder().join("../e2e/cluster/bin/kubectl");
    let is_there = |program: &Path| {
        Command::new(program).args(["version", "--client"]).output().is_ok_and(|output| output.status.success())
    };
    [PathBuf::from("kubectl"), own].into_iter().find(|program| is_there(program))
}

fn build(kubectl: &Path, folder: &Path) -> Output {
    Command::new(kubectl).arg("kustomize").arg(folder).output().unwrap()
}

#[test]
fn kustomize_builds_what_the_file_says() {
    let Some(kubectl) = kubectl() else {
        println!("no kubectl: the component is not built here, kustomize/built.yaml stands for it");
        return;
    };
    for (example, golden, _) in EXAMPLES {
        let output = build(&kubectl, &folder().join(example));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let built = String::from_utf8(output.stdout).unwrap();
        if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
            std::fs::write(folder().join(golden), &built).unwrap();
        }
        // Another Kustomize may write the same in another way.
        let golden = std::fs::read_to_string(folder().join(golden)).unwrap();
        assert_eq!(in_order(&built), in_order(&golden), "UPDATE_GOLDENFILES=1 writes it anew; look at the diff");
    }
}

/// The components and examples, to be changed.
fn copied() -> tempfile::TempDir {
    let scratch = tempfile::tempdir().unwrap();
    for part in ["component", "exec", "example", "example-exec"] {
        std::fs::create_dir(scratch.path().join(part)).unwrap();
        for file in std::fs::read_dir(folder().join(part)).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), scratch.path().join(part).join(file.file_name())).unwrap();
        }
    }
    scratch
}

/// Replaces something in a copied file, which must be there.
fn edit(scratch: &tempfile::TempDir, file: &str, from: &str, to: &str) {
    let path = scratch.path().join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file} has no {from:?}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

/// A mount of the app's own was once taken for ours: it got our path, and the container nothing of ours.
#[test]
fn mounts_with_a_name_like_ours_stay() {
    let Some(kubectl) = kubectl() else {
        println!("no kubectl: the component is not built here");
        return;
    };
    let scratch = copied();
    edit(&scratch, "example/app.yaml", "name: cache", "name: my-leasehold-data");
    let output = build(&kubectl, &scratch.path().join("example"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let built = values(&String::from_utf8(output.stdout).unwrap());
    let workload = built.iter().find(|value| value["kind"] == "Deployment").unwrap();
    let mounts = &workload["spec"]["template"]["spec"]["containers"][0]["volumeMounts"];
    let expected = serde_json::json!([
        {"name": "my-leasehold-data", "mountPath": "/cache"},
        {"name": "leasehold", "mountPath": "/run/leasehold", "readOnly": true},
    ]);
    assert_eq!(*mounts, expected);
}

/// What `inject --exec` refuses.
#[test]
fn a_program_that_cannot_be_wrapped_is_not_built() {
    let Some(kubectl) = kubectl() else {
        println!("no kubectl: the component is not built here");
        return;
    };
    let command = "          command: [python3, -u]\n";
    let with = |more: &str| format!("{command}          {more}\n");
    for (from, to, why) in [
        (command, String::new(), "move operation does not apply"),
        (command, with("").replace("[python3, -u]", "[]"), "in move for path"),
        (command, with("livenessProbe: {tcpSocket: {port: 1}}"), "containers/0/livenessProbe failed"),
        (command, with("startupProbe: {tcpSocket: {port: 1}}"), "containers/0/startupProbe failed"),
        (
            "      containers:\n",
            "      shareProcessNamespace: true\n      containers:\n".to_owned(),
            "shareProcessNamespace failed",
        ),
    ] {
        let scratch = copied();
        edit(&scratch, "example-exec/app.yaml", from, &to);
        let output = build(&kubectl, &scratch.path().join("example-exec"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty() && said.contains(why), "{why}: {said}");
    }
}

/// A StatefulSet is patched as well, with an account of its own; a workload without the annotation is left alone.
#[test]
fn only_the_workload_with_the_annotation_is_patched_and_it_keeps_its_account() {
    let Some(kubectl) = kubectl() else {
        println!("no kubectl: the component is not built here");
        return;
    };
    let scratch = copied();
    let app = std::fs::read_to_string(folder().join("example/app.yaml")).unwrap();
    let set = app
        .replace("kind: Deployment", "kind: StatefulSet")
        .replace("    spec:\n", "    spec:\n      serviceAccountName: mine\n");
    let other =
        app.replace("name: worker\n", "name: other\n").replace("leasehold.dev/inject: \"true\"", "example.com/a: b");
    std::fs::write(scratch.path().join("example/app.yaml"), format!("{set}---\n{other}")).unwrap();
    edit(&scratch, "example/leasehold.yaml", "account: worker", "account: mine");
    edit(&scratch, "example/leasehold.yaml", "lease: worker", "lease: a.b");
    let output = build(&kubectl, &scratch.path().join("example"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let built = values(&String::from_utf8(output.stdout).unwrap());
    let of = |kind: &str| built.iter().find(|value| value["kind"] == kind).unwrap();
    assert_eq!(sorted(of("Deployment").clone()), sorted(values(&other).remove(0)));
    let set = of("StatefulSet");
    assert_eq!(set["spec"]["template"]["spec"]["serviceAccountName"], "mine");
    assert_eq!(set["metadata"]["annotations"]["leasehold.dev/injected"], "a.b");
    assert_eq!(set["spec"]["template"]["spec"]["initContainers"][0]["name"], "sidecar");
    assert_eq!(of("RoleBinding")["subjects"][0]["name"], "mine");
    assert_eq!(of("Role")["rules"][1]["resourceNames"], serde_json::json!(["a.b", "a.b.first"]));
    assert_eq!(of("Lease")["metadata"]["name"], "a.b");
}
