//! `inject --exec`: the container whose program is started by `sidecar exec`, so that it runs only where it leads.
//!
//! ```text
//!   command: [python, job.py]   ──▶   command: [/run/leasehold-bin/sidecar, exec, --directory, /run/leasehold, --, python, job.py]
//! ```
//!
//! The arguments (`args`) follow the command by themselves.

use serde_json::Value;

use super::document::Node;
use super::refusal::Refusal;
use super::sidecar::{BIN_DIRECTORY, COPY, DIRECTORY};
use super::workload::Workload;
use crate::args::Injection;

/// The container to wrap.
#[derive(Debug)]
pub(super) struct Wrap {
    pub(super) container: String,
    /// Its command is wrapped already.
    pub(super) is_done: bool,
}

/// The words before the app's own command.
pub(super) fn prefix() -> [String; 5] {
    [&format!("{BIN_DIRECTORY}/sidecar"), "exec", "--directory", DIRECTORY, "--"].map(str::to_owned)
}

fn is_wrapped(container: &Node) -> bool {
    let command = container.get("command").map_or(&[][..], Node::items);
    command.len() > prefix().len() && command.iter().zip(prefix()).all(|(word, ours)| word.text() == Some(&ours))
}

/// None: without `--exec`.
///
/// # Errors
/// No container, or none of several, is chosen; its command is unknown; or it would not survive to wait.
pub(super) fn of(
    workload: &Workload<'_>,
    spec: &Node,
    containers: &[(&str, &Node)],
    injection: &Injection,
) -> Result<Option<Wrap>, Refusal> {
    let is_copied = spec
        .get("initContainers")
        .map_or(&[][..], Node::items)
        .iter()
        .any(|node| node.text_at(&["name"]) == Some(COPY));
    let wrapped = containers.iter().find(|(_, container)| is_wrapped(container));
    if !injection.exec {
        return match wrapped.map(|(_, node)| *node).or_else(|| is_copied.then_some(spec)) {
            Some(node) => {
                Err(workload
                    .refuse(node, "was injected with --exec: pass --exec again, or inject the original without it"))
            }
            None => Ok(None),
        };
    }
    let (name, container) = chosen(workload, spec, containers, injection)?;
    if let Some((other, node)) = wrapped.filter(|(other, _)| *other != name) {
        let reason = format!(
            "has container {other} wrapped already, and one sidecar watches one program: inject the original for {name}"
        );
        return Err(workload.refuse(node, &reason));
    }
    if let Some(node) = spec.get("shareProcessNamespace").filter(|node| node.value() == Value::Bool(true)) {
        return Err(workload.refuse(
            node,
            "has shareProcessNamespace, so the end of the wrapper would not end the program's processes: take it away, or inject without --exec",
        ));
    }
    for probe in ["livenessProbe", "startupProbe"] {
        if let Some(node) = container.get(probe).filter(|node| !node.is_empty()) {
            let reason = format!(
                "has a {probe} in container {name}, whose program does not run where it waits: the kubelet would kill it again and again; take the probe away"
            );
            return Err(workload.refuse(node, &reason));
        }
    }
    let is_done = wrapped.is_some();
    if container.get("command").is_none_or(|command| command.items().is_empty()) {
        let reason = format!(
            "has no command in container {name}, so what its image starts is not known here: write it down \
             (docker image inspect -f '{{{{json .Config.Entrypoint}}}} {{{{json .Config.Cmd}}}}' IMAGE has it: entry point as command, cmd as args)"
        );
        return Err(workload.refuse(container, &reason));
    }
    Ok(Some(Wrap { container: name.to_owned(), is_done }))
}

fn chosen<'a>(
    workload: &Workload<'_>,
    spec: &Node,
    containers: &[(&'a str, &'a Node)],
    injection: &Injection,
) -> Result<(&'a str, &'a Node), Refusal> {
    let names = || containers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    match (&injection.container, containers) {
        (None, [only]) => Ok(*only),
        (None, _) => Err(workload
            .refuse(spec, &format!("has several containers: say by --container which one leads, of {}", names()))),
        (Some(wanted), _) => {
            let found = containers.iter().find(|(name, _)| name == wanted).copied();
            found.ok_or_else(|| workload.refuse(spec, &format!("has no container {wanted}; it has {}", names())))
        }
    }
}
