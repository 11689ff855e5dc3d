//! Which document of a stream is injected, and which kinds can be.

use super::document::{Document, Node};
use super::mark::{INJECT, INJECTED};
use super::refusal::Refusal;
use crate::args::Injection;

/// The kinds whose pods are alike, run on, and are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Deployment,
    StatefulSet,
}

/// The document that is injected.
#[derive(Debug)]
pub(super) struct Workload<'a> {
    /// Its index in the stream.
    pub(super) document: usize,
    pub(super) kind: Kind,
    pub(super) name: &'a str,
    pub(super) root: &'a Node,
    /// The Lease for which it was injected before.
    pub(super) injected: Option<&'a str>,
}

impl Workload<'_> {
    /// Its own namespace; None: that of whoever applies it.
    pub(super) fn namespace(&self) -> Option<&str> {
        self.root.text_at(&["metadata", "namespace"])
    }

    /// A refusal of this workload.
    pub(super) fn refuse(&self, node: &Node, reason: &str) -> Refusal {
        Refusal::new(format!("line {}: {:?} {} {reason}", node.line, self.kind, self.name))
    }
}

/// A workload of Kubernetes, whether it can be injected or not.
struct Candidate<'a> {
    document: usize,
    kind: &'a str,
    name: &'a str,
    root: &'a Node,
}

impl Candidate<'_> {
    fn annotation(&self, name: &str) -> Option<&str> {
        self.root.text_at(&["metadata", "annotations", name])
    }

    /// Whether its kind can be injected.
    fn suits(&self) -> bool {
        why_not(self.kind).is_none()
    }
}

/// The reason why no pod of that kind is injected. None: it is.
fn why_not(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "Deployment" | "StatefulSet" => return None,
        "Job" | "CronJob" => {
            "its pods end by themselves, and the next run needs no leader: a CronJob runs once for each time"
        }
        "DaemonSet" => "it runs on every node, and a leader is one pod of a few: make a Deployment of what leads",
        "Pod" => "there is no second pod that could take over: make it a Deployment",
        "ReplicaSet" | "ReplicationController" => {
            "its pods keep running as they are: inject the Deployment that makes it"
        }
        "List" => "a List is not edited: write its items as documents of their own, with --- between",
        _ => "only Deployments and StatefulSets are",
    })
}

/// Objects with pods, and Lists with such.
fn candidates(documents: &[Document]) -> Vec<Candidate<'_>> {
    const PODS: [&str; 8] =
        ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job", "CronJob", "Pod"];
    let has_pods = |node: &Node| node.text_at(&["kind"]).is_some_and(|kind| PODS.contains(&kind));
    let of = |(document, root): (usize, &'_ Document)| -> Option<(usize, String)> {
        let root = &root.root;
        let holds = root.get("items").is_some_and(|items| items.items().iter().any(has_pods));
        let kind = root.text_at(&["kind"])?;
        if holds && kind.ends_with("List") {
            return Some((document, "List".to_owned()));
        }
        has_pods(root).then(|| (document, kind.to_owned()))
    };
    let found: Vec<(usize, String)> = documents.iter().enumerate().filter_map(of).collect();
    found
        .into_iter()
        .map(|(document, kind)| {
            let root = &documents[document].root;
            let kind = if kind == "List" { "List" } else { root.text_at(&["kind"]).unwrap_or_default() };
            Candidate { document, kind, name: root.text_at(&["metadata", "name"]).unwrap_or_default(), root }
        })
        .collect()
}

/// The workload to inject: the named one; else that which asks for it by annotation, or was injected for this Lease; else the only one.
///
/// # Errors
/// There is none, or more than one of which none is chosen; or it is of a kind that cannot be.
pub(super) fn choose<'a>(documents: &'a [Document], injection: &Injection) -> Result<Workload<'a>, Refusal> {
    let mut all = candidates(documents);
    let position = match &injection.workload {
        Some((kind, name)) => named(&all, kind, name)?,
        None => unnamed(&all, injection)?,
    };
    let chosen = all.swap_remove(position);
    let kind = match chosen.kind {
        "Deployment" => Kind::Deployment,
        "StatefulSet" => Kind::StatefulSet,
        other => {
            let reason = why_not(other).unwrap_or_default();
            return Err(Refusal::new(format!(
                "line {}: {other} {} is not injected: {reason}",
                chosen.root.line, chosen.name
            )));
        }
    };
    let injected = chosen.root.text_at(&["metadata", "annotations", INJECTED]);
    let workload = Workload { document: chosen.document, kind, name: chosen.name, root: chosen.root, injected };
    if workload.name.is_empty() {
        return Err(workload.refuse(
            workload.root,
            "has no metadata.name, by which its Lease's objects could be told apart: give it one",
        ));
    }
    if workload.root.text_at(&["apiVersion"]) != Some("apps/v1") {
        return Err(workload
            .refuse(workload.root, "is not of apiVersion apps/v1, the only one that Kubernetes 1.29 and later know"));
    }
    let shares = |other: &&Candidate<'_>| {
        other.document != workload.document && other.annotation(INJECTED) == Some(&injection.lease)
    };
    if let Some(other) = all.iter().find(shares) {
        return Err(Refusal::new(format!(
            "line {}: {} {} has the Lease {} already: give {} one of its own, with another --lease",
            other.root.line, other.kind, other.name, injection.lease, workload.name
        )));
    }
    Ok(workload)
}

fn named(all: &[Candidate<'_>], kind: &str, name: &str) -> Result<usize, Refusal> {
    let is_it = |other: &Candidate<'_>| other.kind.eq_ignore_ascii_case(kind) && other.name == name;
    let mut found = all.iter().enumerate().filter(|(_, other)| is_it(other)).map(|(position, _)| position);
    match (found.next(), found.next()) {
        (Some(position), None) => Ok(position),
        (Some(_), Some(_)) => {
            Err(Refusal::new(format!("{kind}/{name} is there twice, maybe in two namespaces: pass one of them alone")))
        }
        (None, _) => Err(Refusal::new(format!("there is no {kind}/{name}; {}", listed(all)))),
    }
}

fn unnamed(all: &[Candidate<'_>], injection: &Injection) -> Result<usize, Refusal> {
    let positions = |choice: &dyn Fn(&Candidate<'_>) -> bool| -> Vec<usize> {
        all.iter().enumerate().filter(|(_, other)| choice(other)).map(|(position, _)| position).collect()
    };
    for choice in [
        &|other: &Candidate<'_>| other.annotation(INJECTED) == Some(&injection.lease),
        &|other: &Candidate<'_>| other.annotation(INJECT) == Some("true"),
        &|other: &Candidate<'_>| other.suits(),
    ] as [&dyn Fn(&Candidate<'_>) -> bool; 3]
    {
        match positions(choice)[..] {
            [only] => return Ok(only),
            [] => {}
            [..] => {
                return Err(Refusal::new(format!(
                    "several workloads could be meant: choose one by --workload KIND/NAME, or by the annotation {INJECT}: \
                     \"true\" on it; {}",
                    listed(all)
                )));
            }
        }
    }
    // Of one that does not suit, the caller says why.
    if let [_] = all { Ok(0) } else { Err(Refusal::new(format!("there is nothing to inject; {}", listed(all)))) }
}

/// All workloads of the stream, each with the reason why it is none that can be injected.
fn listed(all: &[Candidate<'_>]) -> String {
    if all.is_empty() {
        return "the input has no Deployment and no StatefulSet".to_owned();
    }
    let entry = |other: &Candidate<'_>| {
        let reason = why_not(other.kind).map(|reason| format!(": no, {reason}")).unwrap_or_default();
        format!("{}/{} (line {}{reason})", other.kind, other.name, other.root.line)
    };
    format!("the input has {}", all.iter().map(entry).collect::<Vec<_>>().join(", "))
}
