//! The pod's label `leasehold.dev/role`: for people (`kubectl get pods -L leasehold.dev/role`). Nothing depends on it.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams};
use tokio::sync::watch;
use tracing::debug;

use crate::request::{Backoff, RequestError, Requester, Right};

/// The name of the label.
pub(crate) const ROLE_LABEL: &str = "leasehold.dev/role";

/// Keeps the label right, until nobody tells the role any more. Only the newest role is written; one that was refused is
/// not tried again before it changes.
pub(crate) async fn run(mut role: watch::Receiver<Option<&'static str>>, requester: Requester, pod: String) {
    let api: Api<Pod> = Api::namespaced(requester.client.clone(), &requester.namespace);
    let right = Right::new("patch", "pods");
    let mut backoff = Backoff::new(Duration::from_secs(30));
    while role.changed().await.is_ok() {
        backoff.reset();
        loop {
            let Some(word) = *role.borrow_and_update() else { break };
            let patch = serde_json::json!({ "metadata": { "labels": { ROLE_LABEL: word } } });
            let params = PatchParams::default();
            match requester.call(right, api.patch_metadata(&pod, &params, &Patch::Merge(&patch))).await {
                Ok(_) => break,
                Err(RequestError::Denied { .. } | RequestError::Invalid { .. } | RequestError::NotFound) => break,
                Err(error) => debug!(%error, "the pod's label could not be written"),
            }
            tokio::select! {
                () = backoff.wait() => {}
                changed = role.changed() => if changed.is_err() { return },
            }
        }
    }
}
