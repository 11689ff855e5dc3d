//! The account by which the sidecar speaks to the API server: the workload's own, or one of the Lease's name.

use super::document::{Document, Node};
use super::mark::MANAGER;
use super::refusal::Refusal;
use super::workload::Workload;

/// Whose rights the sidecar has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Account {
    /// The workload's, which names it.
    Own(String),
    /// Made for the Lease, of the same name.
    Made,
}

/// An object of that kind and name, in one namespace with the workload.
pub(super) fn object<'a>(
    documents: &'a [Document],
    workload: &Workload<'_>,
    kind: &str,
    name: &str,
) -> Option<(usize, &'a Node)> {
    let is_it = |root: &Node| {
        let namespace = root.text_at(&["metadata", "namespace"]);
        root.text_at(&["kind"]) == Some(kind)
            && root.text_at(&["metadata", "name"]) == Some(name)
            && (namespace.is_none() || workload.namespace().is_none() || namespace == workload.namespace())
    };
    documents.iter().map(|document| &document.root).enumerate().find(|(_, root)| is_it(root))
}

/// Whether an object has our mark.
pub(super) fn is_ours(root: &Node) -> bool {
    root.text_at(&["metadata", "labels", "app.kubernetes.io/managed-by"]) == Some(MANAGER)
}

/// The account of a workload's pods. One that an earlier injection made is not the workload's own: it stands in the stream.
///
/// # Errors
/// `serviceAccountName` is no name.
pub(super) fn of(documents: &[Document], workload: &Workload<'_>, spec: &Node) -> Result<Account, Refusal> {
    // `serviceAccount` is the old name of the same.
    let node = spec.get("serviceAccountName").or_else(|| spec.get("serviceAccount"));
    let Some(node) = node.filter(|node| !node.is_empty()) else { return Ok(Account::Made) };
    let name = node.text().ok_or_else(|| workload.refuse(node, "has a serviceAccountName that is no name"))?;
    let was_made = object(documents, workload, "ServiceAccount", name).is_some_and(|(_, root)| is_ours(root));
    Ok(if was_made && workload.injected == Some(name) { Account::Made } else { Account::Own(name.to_owned()) })
}
