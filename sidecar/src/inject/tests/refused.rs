//! What is refused, each with its reason.

use clap::Parser;

use super::inject;
use crate::args::{Args, Command};

/// A Deployment whose pods have these members besides their container, which has these.
fn deployment(pod: &str, container: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n  template:\n    spec:\n{pod}      containers:\n      - name: web\n        image: web:1\n{container}"
    )
}

fn refusal(stream: &str, flags: &[&str]) -> String {
    let flags: Vec<&str> = ["--lease", "web"].iter().chain(flags).copied().collect();
    match inject(stream, &flags) {
        Ok(output) => panic!("it was injected:\n{output}"),
        Err(refusal) => refusal,
    }
}

#[track_caller]
fn says(refusal: &str, words: &[&str]) {
    for word in words {
        assert!(refusal.contains(word), "{refusal:?} does not say {word:?}");
    }
}

#[test]
fn pods_that_cannot_have_a_sidecar() {
    for (pod, container, words) in [
        ("      hostNetwork: true\n", "", ["line 8", "hostNetwork"]),
        ("      nodeSelector: {kubernetes.io/os: windows}\n", "", ["line 8", "Windows"]),
        ("      os: {name: windows}\n", "", ["line 8", "Windows"]),
        ("      volumes: [{name: leasehold, emptyDir: {}}]\n", "", ["line 8", "volume leasehold that is not ours"]),
        (
            "      initContainers: [{name: sidecar, image: envoy}]\n",
            "",
            ["line 8", "container sidecar that is not ours"],
        ),
        (
            "      initContainers: [{name: sidecar, restartPolicy: Always, image: 'r:5000/leasehold/sidecar:1'}]\n",
            "",
            ["line 8", "by hand"],
        ),
        ("      containers: []\n", "", ["line", "twice"]),
        ("", "        ports: [{containerPort: 8088}]\n", ["line 11", "port 8088"]),
        ("", "        volumeMounts: [{name: x, mountPath: /run/leasehold/}]\n", ["line 11", "/run/leasehold"]),
        ("", "        volumeMounts: [{name: x, mountPath: /var/run/leasehold}]\n", ["line 11", "/var/run/leasehold"]),
        ("", "      - image: x\n", ["line 11", "without a name"]),
        ("", "      - {name: second, image: x/leasehold/sidecar@sha256:1}\n", ["line 11", "container second"]),
    ] {
        says(&refusal(&deployment(pod, container), &[]), &words);
    }
}

#[test]
fn a_port_of_the_sidecars_that_is_taken_can_be_another() {
    let stream = deployment("", "        ports: [{containerPort: 8088}]\n");
    let output = inject(&stream, &["--lease", "web", "--listen", "[::]:9088"]).unwrap();
    says(&output, &["containerPort: 9088", "LEASEHOLD_SIDECAR_LISTEN, value: \"[::]:9088\""]);
}

#[test]
fn programs_that_cannot_be_wrapped() {
    let command = "        command: [serve]\n";
    for (pod, container, flags, words) in [
        ("", "", &["--exec"][..], ["no command in container web", "docker image inspect"]),
        ("      shareProcessNamespace: true\n", command, &["--exec"], ["line 8", "shareProcessNamespace"]),
        (
            "",
            "        command: [serve]\n        livenessProbe: {exec: {command: [x]}}\n",
            &["--exec"],
            ["line 12", "livenessProbe"],
        ),
        (
            "",
            "        command: [serve]\n        startupProbe: {exec: {command: [x]}}\n",
            &["--exec"],
            ["line 12", "startupProbe"],
        ),
        ("", "        command: [serve]\n      - {name: b, image: c}\n", &["--exec"], ["several containers", "web, b"]),
        ("", command, &["--exec", "--container", "other"], ["no container other", "it has web"]),
    ] {
        says(&refusal(&deployment(pod, container), flags), &words);
    }
    let wrapped = inject(&deployment("", command), &["--lease", "web", "--exec"]).unwrap();
    says(&refusal(&wrapped, &[]), &["was injected with --exec"]);
    let two = deployment("", "        command: [serve]\n      - {name: b, image: c, command: [d]}\n");
    let wrapped = inject(&two, &["--lease", "web", "--exec", "--container", "b"]).unwrap();
    says(&refusal(&wrapped, &["--exec", "--container", "web"]), &["container b wrapped already"]);
}

#[test]
fn kinds_that_have_no_leader() {
    let of = |kind: &str| deployment("", "").replace("Deployment", kind);
    for (kind, word) in [
        ("Job", "end by themselves"),
        ("CronJob", "end by themselves"),
        ("DaemonSet", "every node"),
        ("Pod", "no second pod"),
        ("ReplicaSet", "inject the Deployment"),
    ] {
        let reason = refusal(&of(kind), &[]);
        says(&reason, &["line 1", kind, "web is not injected", word]);
        let named = format!("{kind}/web");
        says(&refusal(&format!("{}---\n{}", of(kind), deployment("", "")), &["--workload", &named]), &[word]);
    }
    let list =
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: apps/v1\n  kind: Deployment\n  metadata: {name: web}\n";
    says(&refusal(list, &[]), &["List", "documents of their own"]);
    says(&refusal("kind: Service\n", &[]), &["nothing to inject", "no Deployment and no StatefulSet"]);
    says(&refusal("", &[]), &["nothing to inject"]);
    says(&refusal(&deployment("", "").replace("apps/v1", "extensions/v1beta1"), &[]), &["apps/v1"]);
    says(
        &refusal(&deployment("", "").replace("  name: web\nspec", "  generateName: web\nspec"), &[]),
        &["metadata.name"],
    );
    says(
        &refusal("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {}\n", &[]),
        &["spec.template.spec"],
    );
}

#[test]
fn one_of_several_workloads_must_be_chosen() {
    let other = deployment("", "").replace("name: web\nspec", "name: other\nspec");
    let both = format!("{}---\n{other}", deployment("", ""));
    says(&refusal(&both, &[]), &["--workload KIND/NAME", "Deployment/web (line 1)", "Deployment/other (line 12)"]);
    says(&refusal(&both, &["--workload", "StatefulSet/web"]), &["there is no StatefulSet/web", "Deployment/other"]);
    says(&refusal(&format!("{both}---\n{other}"), &["--workload", "Deployment/other"]), &["there twice"]);
    let one = inject(&both, &["--lease", "web", "--workload", "deployment/other"]).unwrap();
    // Which one it was is known from its mark.
    assert_eq!(inject(&one, &["--lease", "web"]).unwrap(), one);
    says(&refusal(&one, &["--workload", "Deployment/web"]), &["Deployment other has the Lease web already"]);
    let two = inject(&one, &["--lease", "second", "--workload", "Deployment/web"]).unwrap();
    assert_eq!(inject(&two, &["--lease", "web"]).unwrap(), two);
    assert_eq!(inject(&two, &["--lease", "second"]).unwrap(), two);
}

#[test]
fn objects_of_the_name_that_are_not_ours() {
    let with = |object: &str| format!("{}---\n{object}", deployment("", ""));
    for (kind, version) in [("Role", "rbac.authorization.k8s.io/v1"), ("ServiceAccount", "v1")] {
        let object = format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: web}}\n");
        says(&refusal(&with(&object), &[]), &["line 12", kind, "is not ours"]);
    }
    let lease = "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata:\n  name: web\n";
    says(&refusal(&with(&format!("{lease}spec: {{holderIdentity: a}}\n")), &[]), &["line 12", "has a spec"]);
    says(
        &refusal(&with(&format!("{lease}  annotations: {{leasehold.dev/paused: \"true\"}}\n")), &[]),
        &["line 12", "annotations"],
    );
    says(&refusal(&with(&lease.replace("web", "web.first")), &[]), &["line 12", "web.first must not be in a manifest"]);
    // One with metadata alone is as good as ours; and another namespace's is another one.
    let output = inject(&with(lease), &["--lease", "web"]).unwrap();
    assert_eq!(output.matches("kind: Lease").count(), 1);
    let elsewhere = with("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web, namespace: elsewhere}\n");
    let elsewhere = elsewhere.replace("  name: web\nspec", "  name: web\n  namespace: here\nspec");
    assert_eq!(inject(&elsewhere, &["--lease", "web"]).unwrap().matches("kind: ServiceAccount\n").count(), 2);
    says(&refusal(&elsewhere, &["--namespace", "other"]), &["namespace here", "says other"]);
}

#[test]
fn flags_that_make_no_sense() {
    let error = |flags: &[&str]| {
        let args = match Args::try_parse_from(["sidecar", "inject"].iter().chain(flags)) {
            Ok(args) => args,
            Err(error) => return error.to_string(),
        };
        let Some(Command::Inject(own)) = args.command.clone() else { panic!("inject was called") };
        args.injection(&own).unwrap_err().to_string()
    };
    says(&error(&[]), &["--lease is missing", "sidecar inject --lease my-app"]);
    says(&error(&["--lease", "Upper"]), &["--lease"]);
    let long = "a".repeat(248);
    says(&error(&["--lease", &long]), &["248 characters", "247"]);
    says(&error(&["--lease", "a", "--app", "fencing"]), &["--app fencing"]);
    says(&error(&["--lease", "a", "--leader-service", "b"]), &["--app-port"]);
    says(&error(&["--lease", "a", "--lease-duration", "100ms"]), &["--lease-duration"]);
    says(&error(&["--lease", "a", "--workload", "web"]), &["Deployment/web"]);
    says(&error(&["--lease", "a", "--container", "web"]), &["--exec"]);
}

#[test]
fn text_that_is_no_yaml() {
    says(&refusal("kind: Deployment\n  name: x\n", &[]), &["line 2, column", "not valid YAML"]);
    says(&refusal(&format!("{}\tx: y\n", deployment("", "")), &[]), &["line"]);
}

#[test]
fn anchors_where_it_would_be_changed() {
    let stream = deployment("", "").replace("      containers:\n", "      containers: &all\n");
    says(&refusal(&stream, &[]), &["containers has an anchor"]);
    let elsewhere = deployment("", "        env: &env [{name: A, value: b}]\n      - {name: b, image: c, env: *env}\n");
    let output = inject(&elsewhere, &["--lease", "web"]).unwrap();
    says(&output, &["env: &env [{name: A, value: b}]", "env: *env"]);
}
