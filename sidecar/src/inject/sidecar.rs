//! The containers and volumes that are added: as the chart has them, without what only the store needs.

use super::document::Node;
use super::piece::{Piece, line, map, text, words};
use crate::args::{INJECTED_DIRECTORY, Injection};

/// The name of the sidecar's container.
pub(super) const SIDECAR: &str = "sidecar";
/// The name of the init container that brings the program for `exec`.
pub(super) const COPY: &str = "leasehold-copy";
/// The volume that sidecar and app share.
pub(super) const SHARED: &str = "leasehold";
/// The volume with the sidecar's token.
pub(super) const TOKEN: &str = "leasehold-token";
/// The volume with the program for `exec`. Not in memory: that would count as the pod's for as long as it lives.
pub(super) const BIN: &str = "leasehold-bin";
/// Where the shared volume is mounted.
pub(super) const DIRECTORY: &str = INJECTED_DIRECTORY;
/// Where the program for `exec` is mounted.
pub(super) const BIN_DIRECTORY: &str = "/run/leasehold-bin";

/// What a pod has without `terminationGracePeriodSeconds`.
const GRACE_SECONDS: u64 = 30;
/// The image's own user.
const USER: u64 = 10_001;

/// The native sidecar: it starts before the app, and ends after it.
pub(super) fn sidecar(spec: &Node, containers: &[&Node], injection: &Injection) -> Piece {
    let mut entries =
        vec![("name", text(SIDECAR)), ("restartPolicy", text("Always")), ("image", text(&injection.image))];
    if injection.exec {
        // A flag, not a variable: an older image that does not know it must not start, or it would lead unguarded.
        entries.push(("args", words(["--exec"])));
    }
    let probe = |more: (&'static str, Piece), last: (&'static str, Piece)| {
        line([("httpGet", map([("path", text("/healthz")), ("port", text("sidecar"))])), more, last])
    };
    let number = |name: &'static str, number: u64| (name, Piece::Number(number));
    let mount = |name: &str, at: &str| vec![("name".to_owned(), text(name)), ("mountPath".to_owned(), text(at))];
    let mut token = mount(TOKEN, "/var/run/secrets/kubernetes.io/serviceaccount");
    token.push(("readOnly".to_owned(), Piece::Bool(true)));
    let mounts = [mount(SHARED, DIRECTORY), token].map(|mount| Piece::Line(Box::new(Piece::Map(mount))));
    entries.extend([
        ("env", Piece::List(env(spec, containers, injection))),
        (
            "ports",
            Piece::List(vec![line([("name", text("sidecar")), number("containerPort", injection.port().into())])]),
        ),
        // No readiness probe: while the API server is away, the app must not leave its Services.
        ("startupProbe", probe(number("periodSeconds", 1), number("failureThreshold", 60))),
        ("livenessProbe", probe(number("periodSeconds", 10), number("timeoutSeconds", 5))),
        ("securityContext", security(spec)),
        ("resources", resources()),
        ("volumeMounts", Piece::List(mounts.into())),
    ]);
    Piece::Map(entries.into_iter().map(|(key, piece)| (key.to_owned(), piece)).collect())
}

/// Brings the program into the app's pod, for `exec`.
pub(super) fn copy(spec: &Node, injection: &Injection) -> Piece {
    map([
        ("name", text(COPY)),
        ("image", text(&injection.image)),
        ("args", words(["copy", "--to", BIN_DIRECTORY])),
        ("securityContext", security(spec)),
        ("resources", resources()),
        ("volumeMounts", Piece::List(vec![line([("name", text(BIN)), ("mountPath", text(BIN_DIRECTORY))])])),
    ])
}

/// The volumes, with their names.
pub(super) fn volumes(injection: &Injection) -> Vec<(&'static str, Piece)> {
    let limit = |size: &str| ("sizeLimit", text(size));
    // In memory: role.json must not survive a restart of the machine.
    let shared = map([("name", text(SHARED)), ("emptyDir", line([("medium", text("Memory")), limit("4Mi")]))]);
    let item = |key: &'static str, value: Piece, more: (&'static str, Piece)| line([(key, value), more]);
    let field = line([("fieldPath", text("metadata.namespace"))]);
    let sources = vec![
        line([("serviceAccountToken", map([("path", text("token")), ("expirationSeconds", Piece::Number(3607))]))]),
        line([(
            "configMap",
            map([
                ("name", text("kube-root-ca.crt")),
                ("items", Piece::List(vec![item("key", text("ca.crt"), ("path", text("ca.crt")))])),
            ]),
        )]),
        line([(
            "downwardAPI",
            map([("items", Piece::List(vec![item("path", text("namespace"), ("fieldRef", field))]))]),
        )]),
    ];
    // Of its own, mounted into the sidecar alone: it works where automountServiceAccountToken is false as well.
    let token = map([("name", text(TOKEN)), ("projected", map([("sources", Piece::List(sources))]))]);
    let mut volumes = vec![(SHARED, shared), (TOKEN, token)];
    if injection.exec {
        volumes.push((BIN, map([("name", text(BIN)), ("emptyDir", line([limit("64Mi")]))])));
    }
    volumes
}

/// As the `restricted` Pod Security Standard asks for.
fn security(spec: &Node) -> Piece {
    let mut entries = vec![("runAsNonRoot", Piece::Bool(true))];
    // Where the pods run as root, ours would, too, and be refused.
    if spec.at(&["securityContext", "runAsUser"]).is_some_and(|user| user.value() == 0) {
        entries.push(("runAsUser", Piece::Number(USER)));
    }
    entries.extend([
        ("allowPrivilegeEscalation", Piece::Bool(false)),
        ("readOnlyRootFilesystem", Piece::Bool(true)),
        ("capabilities", line([("drop", words(["ALL"]))])),
        ("seccompProfile", line([("type", text("RuntimeDefault"))])),
    ]);
    Piece::Map(entries.into_iter().map(|(key, piece)| (key.to_owned(), piece)).collect())
}

fn resources() -> Piece {
    let requests = line([("cpu", text("10m")), ("memory", text("16Mi"))]);
    map([("requests", requests), ("limits", line([("memory", text("64Mi"))]))])
}

/// The sidecar's settings. Not as flags: so `kubectl exec … -- sidecar status` knows the same.
fn env(spec: &Node, containers: &[&Node], injection: &Injection) -> Vec<Piece> {
    let field = |name: &str, field: &str| {
        line([("name", text(name)), ("valueFrom", map([("fieldRef", map([("fieldPath", text(field))]))]))])
    };
    let set =
        |name: &str, value: String| line([("name", text(format!("LEASEHOLD_SIDECAR_{name}"))), ("value", text(value))]);
    let grace =
        spec.get("terminationGracePeriodSeconds").and_then(|node| node.value().as_u64()).unwrap_or(GRACE_SECONDS);
    let mut env = vec![
        field("LEASEHOLD_SIDECAR_NAME", "metadata.name"),
        field("LEASEHOLD_SIDECAR_NAMESPACE", "metadata.namespace"),
        field("LEASEHOLD_SIDECAR_POD_IPS", "status.podIPs"),
        field("POD_IP", "status.podIP"),
        set("ADDRESS", address(containers, injection)),
        set("LEASE", injection.lease.clone()),
        set("DIRECTORY", DIRECTORY.to_owned()),
        set("GRACE_PERIOD", format!("{grace}s")),
    ];
    env.extend(injection.settings.iter().map(|(name, value)| set(name, value.clone())));
    env
}

/// What the Lease says of where the leader is: as given, or the pod's IP with the app's port, if it has one.
fn address(containers: &[&Node], injection: &Injection) -> String {
    let first = |container: &&Node| container.get("ports")?.items().first()?.get("containerPort")?.value().as_u64();
    let port = injection.app_port.map(u64::from).or_else(|| containers.iter().find_map(first));
    match (&injection.address, port) {
        (Some(address), _) => address.clone(),
        (None, Some(port)) => format!("$(POD_IP):{port}"),
        (None, None) => "$(POD_IP)".to_owned(),
    }
}
