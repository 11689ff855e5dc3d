//! The Kustomize component in `kustomize/` makes of its example what `inject` makes of it.
//!
//! `kustomize/built.yaml` is what Kustomize built, so the comparison needs none. Where there is one (`kubectl` has it
//! within), that file is compared as well.

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

#[test]
fn the_component_makes_what_inject_makes() {
    let built = std::fs::read_to_string(folder().join("built.yaml")).unwrap();
    let app = std::fs::read_to_string(folder().join("example/app.yaml")).unwrap();
    let image = concat!("registry.example/you/leasehold/sidecar:", env!("CARGO_PKG_VERSION"));
    let injected = inject(&app, &["--lease", "worker", "--app-port", "8080", "--image", image]).unwrap();
    assert_eq!(in_order(&built), in_order(&injected));
    known_to_kubernetes(&built);
    // What it made is known as injected, and as it must be.
    let flags = ["--lease", "worker", "--app-port", "8080", "--image", image];
    assert_eq!(inject(&built, &flags).unwrap(), built);
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
    let output = build(&kubectl, &folder().join("example"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let built = String::from_utf8(output.stdout).unwrap();
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        std::fs::write(folder().join("built.yaml"), &built).unwrap();
    }
    // Another Kustomize may write the same in another way.
    let golden = std::fs::read_to_string(folder().join("built.yaml")).unwrap();
    assert_eq!(in_order(&built), in_order(&golden), "UPDATE_GOLDENFILES=1 writes it anew; look at the diff");
}

/// A StatefulSet is patched as well, with an account of its own; a workload without the annotation is left alone.
#[test]
fn only_the_workload_with_the_annotation_is_patched_and_it_keeps_its_account() {
    let Some(kubectl) = kubectl() else {
        println!("no kubectl: the component is not built here");
        return;
    };
    // With another workload in the example, so all of it is copied.
    let scratch = tempfile::tempdir().unwrap();
    std::fs::create_dir(scratch.path().join("component")).unwrap();
    std::fs::create_dir(scratch.path().join("example")).unwrap();
    for name in [
        "component/kustomization.yaml",
        "component/rights.yaml",
        "component/sidecar.yaml",
        "example/kustomization.yaml",
        "example/leasehold.yaml",
    ] {
        std::fs::copy(folder().join(name), scratch.path().join(name)).unwrap();
    }
    let app = std::fs::read_to_string(folder().join("example/app.yaml")).unwrap();
    let set = app
        .replace("kind: Deployment", "kind: StatefulSet")
        .replace("    spec:\n", "    spec:\n      serviceAccountName: mine\n");
    let other =
        app.replace("name: worker\n", "name: other\n").replace("leasehold.dev/inject: \"true\"", "example.com/a: b");
    std::fs::write(scratch.path().join("example/app.yaml"), format!("{set}---\n{other}")).unwrap();
    let settings = scratch.path().join("example/leasehold.yaml");
    let text = std::fs::read_to_string(&settings)
        .unwrap()
        .replace("account: worker", "account: mine")
        .replace("lease: worker", "lease: a.b");
    std::fs::write(settings, text).unwrap();
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
