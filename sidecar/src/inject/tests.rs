//! Whole streams: golden files in `tests/inject`, what is refused, and streams in any style.

#![allow(clippy::unwrap_used)]

mod kustomize;
mod refused;
mod styles;

use std::path::PathBuf;

use clap::{CommandFactory, Parser};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::document::read;
use crate::args::{Args, Command, Injection};

fn injection(flags: &[&str]) -> Injection {
    // The image of a golden file does not change with each version.
    let image = ["--image", "registry.example/leasehold/sidecar:1"];
    let image = if flags.contains(&"--image") { &[][..] } else { &image[..] };
    let args = ["sidecar", "inject"].iter().chain(image).chain(flags).copied();
    let args = Args::try_parse_from(args).unwrap();
    let Some(Command::Inject(own)) = args.command.clone() else { panic!("inject was called") };
    args.injection(&own).unwrap()
}

fn inject(stream: &str, flags: &[&str]) -> Result<String, String> {
    super::inject(stream, &injection(flags)).map_err(|refusal| refusal.to_string())
}

fn values(stream: &str) -> Vec<Value> {
    let values = read(stream).unwrap().into_iter().map(|document| document.root.value());
    values.filter(|value| *value != Value::Null).collect()
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/inject")
}

/// Input, and the flags.
const GOLDEN: [(&str, &[&str]); 6] = [
    ("deployment.yaml", &["--lease", "web"]),
    ("stateful-set.yaml", &["--lease", "queue-leader", "--app-port", "7000", "--lease-duration", "5s"]),
    ("stream.yaml", &["--lease", "work.er", "--namespace", "shop"]),
    ("helm.yaml", &["--lease", "shop", "--leader-service", "shop-leader", "--app-port", "80"]),
    ("exec.yaml", &["--lease", "cron", "--exec", "--container", "cron"]),
    ("object.json", &["--lease", "json", "--exec", "--address", "$(LEASEHOLD_SIDECAR_NAME).json:80"]),
];

#[test]
fn streams_are_injected_as_the_golden_files_say() {
    let update = std::env::var_os("UPDATE_GOLDENFILES").is_some();
    for (name, flags) in GOLDEN {
        let input = std::fs::read_to_string(folder().join(name)).unwrap();
        let output = inject(&input, flags).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        let golden = folder().join("injected").join(name);
        if update {
            std::fs::write(&golden, &output).unwrap();
        }
        let golden = std::fs::read_to_string(golden).unwrap_or_default();
        assert_eq!(output, golden, "{name}: UPDATE_GOLDENFILES=1 writes it anew; look at the diff");
        assert_eq!(inject(&output, flags).unwrap(), output, "{name}: a second time");
        known_to_kubernetes(&output);
    }
}

/// Whatever is not the workload stays as it is, byte by byte, at its place; of the workload all lines do, in their order.
#[test]
fn every_line_of_the_input_is_in_the_output_in_order() {
    for (name, flags) in GOLDEN.into_iter().filter(|(name, _)| name.ends_with(".yaml")) {
        let input = std::fs::read_to_string(folder().join(name)).unwrap();
        let output = inject(&input, flags).unwrap();
        let mut lines = output.lines();
        for line in input.lines() {
            // What stood on one line, and was changed.
            let is_changed = line.contains("containers: [{name: worker")
                || line.contains("name: worker, annotations")
                || line.contains("volumes: []");
            assert!(
                is_changed || lines.any(|other| other == line),
                "{name}: {line:?} is not there any longer, or elsewhere"
            );
        }
    }
}

/// Nothing is left out when Kubernetes' own types have read it: it knows every member.
fn known_to_kubernetes(stream: &str) {
    fn again<T: DeserializeOwned + Serialize>(value: &Value) -> Value {
        serde_json::to_value(serde_json::from_value::<T>(value.clone()).unwrap()).unwrap()
    }
    for value in values(stream) {
        let read = match value["kind"].as_str().unwrap() {
            "Deployment" => again::<Deployment>(&value),
            "StatefulSet" => again::<StatefulSet>(&value),
            "ServiceAccount" => again::<ServiceAccount>(&value),
            "Role" => again::<Role>(&value),
            "RoleBinding" => again::<RoleBinding>(&value),
            "Lease" => again::<Lease>(&value),
            _ => continue,
        };
        let (read, value) = (without_empty(read), without_empty(value));
        assert!(has_all(&read, &value), "{read:#}\nlacks something of\n{value:#}");
    }
}

/// The types add `apiVersion` and `kind` to claims within a StatefulSet, and leave nothing out.
fn has_all(read: &Value, value: &Value) -> bool {
    match (read, value) {
        (Value::Object(read), Value::Object(value)) => {
            value.iter().all(|(key, value)| read.get(key).is_some_and(|read| has_all(read, value)))
        }
        (Value::Array(read), Value::Array(value)) => {
            read.len() == value.len() && read.iter().zip(value).all(|(read, value)| has_all(read, value))
        }
        _ => read == value,
    }
}

/// Kubernetes does not tell an empty member from one that is not there.
fn without_empty(value: Value) -> Value {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    match value {
        Value::Object(entries) => {
            let entries = entries.into_iter().map(|(key, value)| (key, without_empty(value)));
            Value::Object(entries.filter(|(_, value)| !is_empty(value)).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_empty).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

/// What the variables say is what a sidecar would run by; one that it does not know would be without effect.
#[test]
fn a_sidecar_understands_its_variables() {
    for (name, flags) in GOLDEN {
        let output = inject(&std::fs::read_to_string(folder().join(name)).unwrap(), flags).unwrap();
        let all = values(&output);
        let containers = all.iter().filter_map(|value| value["spec"]["template"]["spec"]["initContainers"].as_array());
        let sidecar = containers.flatten().find(|container| container["name"] == "sidecar").unwrap();
        let mut args = vec!["sidecar".to_owned()];
        for variable in sidecar["env"].as_array().unwrap() {
            let (name, value) = (variable["name"].as_str().unwrap(), variable["value"].as_str());
            // The downward API's; Kubernetes fills in what was defined before.
            let value = match (name, value) {
                ("POD_IP", None) => continue,
                ("LEASEHOLD_SIDECAR_POD_IPS", None) => "10.0.0.7,fd00::7".to_owned(),
                (_, None) => "a-1".to_owned(),
                (_, Some(value)) => value.replace("$(POD_IP)", "10.0.0.7").replace("$(LEASEHOLD_SIDECAR_NAME)", "a-1"),
            };
            let command = Args::command();
            let arg = command.get_arguments().find(|arg| arg.get_env().is_some_and(|env| env == name));
            let arg = arg.unwrap_or_else(|| panic!("{name} is no variable of the sidecar"));
            args.push(format!("--{}={value}", arg.get_long().unwrap()));
        }
        let config = Args::try_parse_from(args).unwrap().config().unwrap();
        let injection = injection(flags);
        assert_eq!(
            (config.lease, config.name, config.directory),
            (injection.lease, "a-1".into(), Some("/run/leasehold".into()))
        );
        let port = sidecar["ports"][0]["containerPort"].as_u64();
        assert_eq!(config.listen.map(|listen| listen.port().into()), port);
    }
}

#[test]
fn the_lease_has_metadata_alone_and_first_is_in_no_manifest() {
    let input = std::fs::read_to_string(folder().join("deployment.yaml")).unwrap();
    let all = values(&inject(&input, &["--lease", "web"]).unwrap());
    let leases: Vec<&Value> = all.iter().filter(|value| value["kind"] == "Lease").collect();
    let [lease] = leases[..] else { panic!("{leases:?}") };
    assert_eq!(lease.as_object().unwrap().keys().collect::<Vec<_>>(), ["apiVersion", "kind", "metadata"]);
    assert!(lease["metadata"].get("annotations").is_none());
    assert_eq!(lease["metadata"]["name"], "web");
}

#[test]
fn another_lease_and_image_change_what_is_ours_and_nothing_else() {
    let input = std::fs::read_to_string(folder().join("deployment.yaml")).unwrap();
    let first = inject(&input, &["--lease", "web"]).unwrap();
    let second = inject(&first, &["--lease", "other", "--image", "x/leasehold/sidecar:2"]);
    let expected = inject(&input, &["--lease", "other", "--image", "x/leasehold/sidecar:2"]).unwrap();
    assert_eq!(second.unwrap(), expected);
}

#[test]
fn an_account_of_the_leases_name_that_is_the_workloads_own_stays_its_own() {
    let account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web}\n---\n";
    let workload = std::fs::read_to_string(folder().join("deployment.yaml")).unwrap();
    let workload = workload.replace("    spec:\n      # before", "    spec:\n      serviceAccountName: web");
    for input in [format!("{account}{workload}"), workload] {
        let output = inject(&input, &["--lease", "web"]);
        // With the account in the stream, it is somebody's; without, it is somewhere else. In both cases none is made.
        let output = output.unwrap();
        assert_eq!(output.matches("kind: ServiceAccount\n").count(), input.matches("kind: ServiceAccount\n").count());
        assert_eq!(inject(&output, &["--lease", "web"]).unwrap(), output);
    }
}

#[test]
fn what_an_editor_removed_of_ours_is_put_back() {
    let input = std::fs::read_to_string(folder().join("deployment.yaml")).unwrap();
    let output = inject(&input, &["--lease", "web"]).unwrap();
    let edited = output.replace(
        "          livenessProbe: {httpGet: {path: /healthz, port: sidecar}, periodSeconds: 10, timeoutSeconds: 5}\n",
        "",
    );
    assert_ne!(edited, output);
    assert_eq!(inject(&edited, &["--lease", "web"]).unwrap(), output);
}
