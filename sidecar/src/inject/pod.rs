//! What a workload's pods must have, and what of it is missing.

use serde_json::Value;

use super::account::{self, Account};
use super::document::{Document, Node};
use super::edit::{Change, Path, Step, path};
use super::mark::INJECTED;
use super::piece::{Piece, line, map, text};
use super::refusal::Refusal;
use super::sidecar::{BIN, BIN_DIRECTORY, COPY, DIRECTORY, SHARED, SIDECAR, TOKEN, copy, sidecar, volumes};
use super::workload::Workload;
use super::wrap::{self, Wrap};
use crate::args::Injection;

/// The template of a workload's pods, checked.
pub(super) struct Pod<'a> {
    workload: &'a Workload<'a>,
    injection: &'a Injection,
    spec: &'a Node,
    /// Its app containers, with their names.
    containers: Vec<(&'a str, &'a Node)>,
    account: Account,
    /// The container whose program is started by `sidecar exec`.
    wrap: Option<Wrap>,
}

const SPEC: [&str; 3] = ["spec", "template", "spec"];

impl<'a> Pod<'a> {
    /// # Errors
    /// These pods cannot have a sidecar, or have one that is not ours.
    pub(super) fn of(
        documents: &[Document],
        workload: &'a Workload<'a>,
        injection: &'a Injection,
    ) -> Result<Pod<'a>, Refusal> {
        let root = workload.root;
        let spec = root.at(&SPEC).filter(|spec| spec.is_map());
        let spec = spec.ok_or_else(|| workload.refuse(root, "has no spec.template.spec, the pods to inject"))?;
        let list = spec.get("containers").filter(|list| !list.items().is_empty());
        let list = list.ok_or_else(|| workload.refuse(spec, "has no list of containers in its pods"))?;
        let mut containers = Vec::new();
        for container in list.items() {
            let name = container.text_at(&["name"]);
            containers
                .push((name.ok_or_else(|| workload.refuse(container, "has a container without a name"))?, container));
        }
        let account = account::of(documents, workload, spec)?;
        let mut pod = Pod { workload, injection, spec, containers, account, wrap: None };
        pod.check()?;
        pod.check_names()?;
        pod.wrap = wrap::of(workload, spec, &pod.containers, injection)?;
        Ok(pod)
    }

    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    /// What these pods cannot have.
    fn check(&self) -> Result<(), Refusal> {
        let refuse = |node: &Node, reason: &str| Err(self.workload.refuse(node, reason));
        if let Some(node) = self.spec.get("hostNetwork").filter(|node| node.value() == Value::Bool(true)) {
            return refuse(
                node,
                "has hostNetwork: two of its pods on one node would want the sidecar's port, and apps of the node could ask it: take hostNetwork away",
            );
        }
        let windows = [["os", "name"], ["nodeSelector", "kubernetes.io/os"], ["nodeSelector", "beta.kubernetes.io/os"]];
        if let Some(node) = windows.iter().find_map(|at| self.spec.at(at)).filter(|node| node.text() == Some("windows"))
        {
            return refuse(node, "runs on Windows, where the sidecar does not");
        }
        let port = Value::from(self.injection.port());
        for (name, container) in &self.containers {
            let ports = container.get("ports").map_or(&[][..], Node::items);
            if let Some(node) =
                ports.iter().filter_map(|node| node.get("containerPort")).find(|node| node.value() == port)
            {
                let reason = format!(
                    "has the port {port} in container {name}, where the sidecar serves HTTP: choose another one with --listen '[::]:PORT'"
                );
                return refuse(node, &reason);
            }
            let mounts = container.get("volumeMounts").map_or(&[][..], Node::items);
            for mount in mounts {
                let at = mount.text_at(&["mountPath"]).unwrap_or_default().trim_end_matches('/');
                let ours = [SHARED, BIN].iter().any(|name| mount.text_at(&["name"]) == Some(*name));
                if !ours && [DIRECTORY, BIN_DIRECTORY, "/var/run/leasehold"].contains(&at) {
                    let reason = format!(
                        "mounts something else at {at} in container {name}: move it, the sidecar needs that place"
                    );
                    return refuse(mount, &reason);
                }
            }
        }
        Ok(())
    }

    /// Whatever has a name of ours, or our image, is ours only where the mark is.
    fn check_names(&self) -> Result<(), Refusal> {
        let lists = ["initContainers", "containers"].map(|list| self.spec.get(list).map_or(&[][..], Node::items));
        let is_marked = self.workload.injected.is_some();
        for (container, is_app) in
            lists[0].iter().map(|node| (node, false)).chain(lists[1].iter().map(|node| (node, true)))
        {
            let name = container.text_at(&["name"]).unwrap_or_default();
            let is_named = [SIDECAR, COPY].contains(&name);
            let is_ours = is_named && is_marked && !is_app;
            if !is_ours && container.text_at(&["image"]).is_some_and(is_our_image) {
                let reason = format!(
                    "has the sidecar already, by hand (container {name}): remove that container, its volume and its mounts, or keep it and do not inject"
                );
                return Err(self.workload.refuse(container, &reason));
            }
            if is_named && !is_ours {
                let reason =
                    format!("has a container {name} that is not ours: rename it, the injected one needs that name");
                return Err(self.workload.refuse(container, &reason));
            }
        }
        let volumes = self.spec.get("volumes").map_or(&[][..], Node::items);
        let taken = volumes
            .iter()
            .find(|volume| volume.text_at(&["name"]).is_some_and(|name| [SHARED, TOKEN, BIN].contains(&name)));
        if let Some(volume) = taken.filter(|_| !is_marked) {
            let name = volume.text_at(&["name"]).unwrap_or_default();
            let reason = format!("has a volume {name} that is not ours: rename it, the sidecar needs that name");
            return Err(self.workload.refuse(volume, &reason));
        }
        Ok(())
    }

    /// What must be changed; nothing, where all is as it must be.
    pub(super) fn changes(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        self.mark(&mut changes);
        let spec = path(&SPEC);
        if self.account == Account::Made && self.spec.text_at(&["serviceAccountName"]) != Some(&self.injection.lease) {
            changes.push(Change::Put(spec.clone(), "serviceAccountName".to_owned(), text(&self.injection.lease)));
        }
        let mut init = Vec::new();
        if self.wrap.is_some() {
            init.push((COPY, copy(self.spec, self.injection)));
        }
        let containers: Vec<&Node> = self.containers.iter().map(|(_, node)| *node).collect();
        init.push((SIDECAR, sidecar(self.spec, &containers, self.injection)));
        ensure(&mut changes, self.spec, &spec, "initContainers", init);
        ensure(&mut changes, self.spec, &spec, "volumes", volumes(self.injection));
        for (index, (name, container)) in self.containers.iter().enumerate() {
            let mut at = spec.clone();
            at.extend([Step::Key("containers".to_owned()), Step::Index(index)]);
            let wrap = self.wrap.as_ref().filter(|wrap| wrap.container == *name);
            ensure(&mut changes, container, &at, "volumeMounts", mounts(wrap.is_some(), self.injection.app_writes()));
            if wrap.is_some_and(|wrap| !wrap.is_done) {
                at.push(Step::Key("command".to_owned()));
                changes.push(Change::Unshift(at, wrap::prefix().into_iter().map(text).collect()));
            }
        }
        changes
    }

    fn mark(&self, changes: &mut Vec<Change>) {
        if self.workload.injected == Some(&self.injection.lease) {
            return;
        }
        let lease = text(&self.injection.lease);
        changes.push(match self.workload.root.at(&["metadata", "annotations"]).filter(|node| !node.is_empty()) {
            Some(_) => Change::Put(path(&["metadata", "annotations"]), INJECTED.to_owned(), lease),
            None => Change::Put(path(&["metadata"]), "annotations".to_owned(), map([(INJECTED, lease)])),
        });
    }
}

/// What an app's container mounts. A wrapped one holds locks in the directory, one may touch the file of its health there, any other
/// reads it.
fn mounts(is_wrapped: bool, writes: bool) -> Vec<(&'static str, Piece)> {
    let mount =
        |name: &'static str, at: &str| [("name", text(name)), ("mountPath", text(at)), ("readOnly", Piece::Bool(true))];
    let shared = if is_wrapped || writes {
        line([("name", text(SHARED)), ("mountPath", text(DIRECTORY))])
    } else {
        line(mount(SHARED, DIRECTORY))
    };
    let mut mounts = vec![(SHARED, shared)];
    if is_wrapped {
        mounts.push((BIN, line(mount(BIN, BIN_DIRECTORY))));
    }
    mounts
}

/// The list under a key has these items, found by their names.
fn ensure(changes: &mut Vec<Change>, parent: &Node, at: &Path, key: &str, wanted: Vec<(&str, Piece)>) {
    let list = parent.get(key).filter(|list| !list.is_empty());
    let Some(list) = list else {
        let items = wanted.into_iter().map(|(_, piece)| piece).collect();
        return changes.push(Change::Put(at.clone(), key.to_owned(), Piece::List(items)));
    };
    let at: Path = at.iter().cloned().chain([Step::Key(key.to_owned())]).collect();
    let mut missing = Vec::new();
    for (name, piece) in wanted {
        match list.items().iter().position(|item| item.text_at(&["name"]) == Some(name)) {
            None => missing.push(piece),
            Some(index) if list.items()[index].value() == piece.value() => {}
            Some(index) => {
                changes.push(Change::Replace(at.iter().cloned().chain([Step::Index(index)]).collect(), piece));
            }
        }
    }
    if !missing.is_empty() {
        changes.push(Change::Push(at, missing));
    }
}

/// `registry/leasehold/sidecar:tag`, whatever the registry and the tag.
fn is_our_image(image: &str) -> bool {
    let name = image.split('@').next().unwrap_or_default();
    let name = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    };
    name == "leasehold/sidecar" || name.ends_with("/leasehold/sidecar")
}
