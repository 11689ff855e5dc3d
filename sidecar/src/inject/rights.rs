//! The objects beside the workload: the account, its rights, and the Lease itself.
//!
//! A create cannot be limited to a name; all else is limited to `<lease>` and `<lease>.first`, which keeps the highest term.
//! The label `leasehold.dev/role` is for people. A Deployment's pods have no names beforehand, and the right to patch every
//! pod of a namespace is the right to run anything in it: there the label is not written.

use super::account::{Account, is_ours, object};
use super::document::{Document, Node};
use super::edit::{Change, Path};
use super::mark::MANAGER;
use super::piece::{Piece, line, map, text, words};
use super::refusal::Refusal;
use super::workload::{Kind, Workload};
use crate::args::Injection;

/// The annotations that only the sidecar writes begin with this.
const OURS: &str = "leasehold.dev/";
/// So many pods of a StatefulSet may be labelled, at least, as in the chart.
const PODS_MIN: u64 = 10;

/// What is changed, and what is added.
pub(super) struct Rights {
    pub(super) changed: Vec<(usize, Vec<Change>)>,
    pub(super) added: Vec<Piece>,
}

/// # Errors
/// An object of such a name is there, and is not ours; or the Lease is one that somebody held.
pub(super) fn of(
    documents: &[Document],
    workload: &Workload<'_>,
    account: &Account,
    injection: &Injection,
) -> Result<Rights, Refusal> {
    let lease = &injection.lease;
    let namespace = namespace(workload, injection)?;
    let first = format!("{lease}.first");
    if let Some((_, node)) = object(documents, workload, "Lease", &first) {
        return Err(Refusal::new(format!(
            "line {}: the Lease {first} must not be in a manifest: the sidecars make it, and it keeps the highest term; remove it here, not from the cluster",
            node.line
        )));
    }
    let mut rights = Rights { changed: Vec::new(), added: Vec::new() };
    let mut wanted = Vec::new();
    if *account == Account::Made {
        wanted.push(("ServiceAccount", service_account(lease, namespace)));
    }
    wanted.push(("Role", role(workload, injection, namespace)));
    wanted.push(("RoleBinding", binding(lease, account, namespace)));
    wanted.push(("Lease", head("coordination.k8s.io/v1", "Lease", lease, namespace)));
    for (kind, piece) in wanted {
        let before = workload.injected.filter(|before| before != lease);
        let before =
            || before.and_then(|before| object(documents, workload, kind, before)).filter(|(_, root)| is_ours(root));
        match object(documents, workload, kind, lease) {
            Some((_, root)) if kind == "Lease" && !is_ours(root) => check_lease(root, lease)?,
            Some((_, root)) if !is_ours(root) => {
                return Err(Refusal::new(format!(
                    "line {}: {kind} {lease} is there and is not ours: choose another --lease, for all that is made has its name",
                    root.line
                )));
            }
            Some(found) => rights.change(found, piece),
            None => match before() {
                Some(found) => rights.change(found, piece),
                None => rights.added.push(piece),
            },
        }
    }
    Ok(rights)
}

impl Rights {
    fn change(&mut self, (document, root): (usize, &Node), piece: Piece) {
        if root.value() != piece.value() {
            self.changed.push((document, vec![Change::Replace(Path::new(), piece)]));
        }
    }
}

/// The namespace that is written, if any: the flag's, or the workload's.
fn namespace<'a>(workload: &'a Workload<'_>, injection: &'a Injection) -> Result<Option<&'a str>, Refusal> {
    match (injection.namespace.as_deref(), workload.namespace()) {
        (Some(flag), Some(own)) if flag != own => {
            let reason = format!(
                "is in the namespace {own}, and --namespace (LEASEHOLD_SIDECAR_NAMESPACE) says {flag}: leave the flag away"
            );
            Err(workload.refuse(workload.root, &reason))
        }
        (flag, own) => Ok(flag.or(own)),
    }
}

/// A Lease of somebody's hand will do if it is one that nobody ever held.
fn check_lease(root: &Node, lease: &str) -> Result<(), Refusal> {
    let annotations = root.at(&["metadata", "annotations"]).map(Node::value);
    let is_marked =
        annotations.iter().filter_map(|value| value.as_object()).flatten().any(|(key, _)| key.starts_with(OURS));
    if root.get("spec").is_some_and(|spec| !spec.is_empty()) || is_marked {
        return Err(Refusal::new(format!(
            "line {}: the Lease {lease} has a spec or annotations {OURS}…: applied again, they would say who leads; leave its metadata.name alone",
            root.line
        )));
    }
    Ok(())
}

/// apiVersion, kind and metadata.
fn head(version: &str, kind: &str, name: &str, namespace: Option<&str>) -> Piece {
    let mut metadata = vec![("name".to_owned(), text(name))];
    metadata.extend(namespace.map(|namespace| ("namespace".to_owned(), text(namespace))));
    metadata.push(("labels".to_owned(), map([("app.kubernetes.io/managed-by", text(MANAGER))])));
    map([("apiVersion", text(version)), ("kind", text(kind)), ("metadata", Piece::Map(metadata))])
}

fn with<const N: usize>(head: Piece, more: [(&str, Piece); N]) -> Piece {
    let Piece::Map(mut entries) = head else { return head };
    entries.extend(more.into_iter().map(|(key, piece)| (key.to_owned(), piece)));
    Piece::Map(entries)
}

/// Without a token for all: the sidecar's is in a volume of its own, and the app needs none.
fn service_account(lease: &str, namespace: Option<&str>) -> Piece {
    let automount = [("automountServiceAccountToken", Piece::Bool(false))];
    with(head("v1", "ServiceAccount", lease, namespace), automount)
}

fn role(workload: &Workload<'_>, injection: &Injection, namespace: Option<&str>) -> Piece {
    let lease = &injection.lease;
    let rule = |group: &str, resources: &[&str], names: Vec<String>, verbs: &[&str]| {
        let mut entries =
            vec![("apiGroups".to_owned(), words([group])), ("resources".to_owned(), words(resources.iter().copied()))];
        if !names.is_empty() {
            entries.push(("resourceNames".to_owned(), words(names)));
        }
        entries.push(("verbs".to_owned(), words(verbs.iter().copied())));
        Piece::Map(entries)
    };
    let leases = "coordination.k8s.io";
    let mut rules = vec![
        rule(leases, &["leases"], vec![], &["create"]),
        rule(leases, &["leases"], vec![lease.clone(), format!("{lease}.first")], &["get", "list", "watch", "update"]),
        rule("events.k8s.io", &["events"], vec![], &["create"]),
    ];
    if let Some(service) = &injection.leader_service {
        let slices = ["endpointslices", "endpointslices/restricted"];
        let names = ["ipv4", "ipv6"].map(|family| format!("{service}-{family}"));
        rules.push(rule("discovery.k8s.io", &slices, vec![], &["create"]));
        rules.push(rule("discovery.k8s.io", &slices, names.into(), &["get", "list", "watch", "update"]));
    }
    if workload.kind == Kind::StatefulSet {
        let number = |at: &[&str]| workload.root.at(at).and_then(|node| node.value().as_u64());
        let start = number(&["spec", "ordinals", "start"]).unwrap_or(0);
        // A bound for what a mistaken number would make of this list.
        let pods = number(&["spec", "replicas"]).unwrap_or(1).clamp(PODS_MIN, 1000);
        let names = (start..start.saturating_add(pods)).map(|ordinal| format!("{}-{ordinal}", workload.name)).collect();
        rules.push(rule("", &["pods"], names, &["patch", "list", "watch"]));
    }
    with(head("rbac.authorization.k8s.io/v1", "Role", lease, namespace), [("rules", Piece::List(rules))])
}

fn binding(lease: &str, account: &Account, namespace: Option<&str>) -> Piece {
    let name = match account {
        Account::Made => lease,
        Account::Own(name) => name,
    };
    let mut subject = vec![("kind".to_owned(), text("ServiceAccount")), ("name".to_owned(), text(name))];
    subject.extend(namespace.map(|namespace| ("namespace".to_owned(), text(namespace))));
    let group = "rbac.authorization.k8s.io";
    let role = line([("apiGroup", text(group)), ("kind", text("Role")), ("name", text(lease))]);
    let subjects = Piece::List(vec![Piece::Line(Box::new(Piece::Map(subject)))]);
    with(head(&format!("{group}/v1"), "RoleBinding", lease, namespace), [("roleRef", role), ("subjects", subjects)])
}
