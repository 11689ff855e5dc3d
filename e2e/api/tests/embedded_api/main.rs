//! The embedded API, asked by the real `kube` client; and what `kube-leader-election` does on it.
#![allow(clippy::unwrap_used)]

mod client;
mod conformance;
mod double_leaders;

use leasehold_api::ApiServer;

const NAMESPACE: &str = "database";

/// A kube client known by this name. `retry` is kube's default behaviour on 429, 503 and 504.
async fn kube_client(api: &ApiServer, name: &str, retry: bool) -> kube::Client {
    let kubeconfig: kube::config::Kubeconfig = serde_json::from_value(api.kubeconfig(name, NAMESPACE)).unwrap();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
    config.default_retry = retry;
    kube::Client::try_from(config).unwrap()
}
