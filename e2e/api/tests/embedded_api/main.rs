//! The embedded API, asked by the real `kube` client; and what `kube-leader-election` does on it.
#![allow(clippy::unwrap_used)]

mod client;
mod conformance;
mod double_leaders;

use std::time::{Duration, Instant};

use leasehold_api::ApiServer;

const NAMESPACE: &str = "database";

/// A kube client known by this name. `retry` is kube's default behaviour on 429, 503 and 504.
async fn kube_client(api: &ApiServer, name: &str, retry: bool) -> kube::Client {
    let kubeconfig: kube::config::Kubeconfig = serde_json::from_value(api.kubeconfig(name, NAMESPACE)).unwrap();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
    config.default_retry = retry;
    kube::Client::try_from(config).unwrap()
}

/// Waits until it is so, and fails the test after a minute.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited a minute in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
