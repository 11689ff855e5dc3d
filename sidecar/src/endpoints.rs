//! EndpointSlices for the Service that names the leader: one per address family, made by us, because that Service has no
//! selector.
//!
//! ```text
//!   UpdateEndpoints{name, address, term} ──▶ slice of the address's family: GET, higher term there? done
//!                                            else PUT or POST          │ 409: look again │ no answer: later
//!                                        ──▶ slice of the other family: emptied, where there is one
//! ```
//!
//! A slice carries its term in an annotation and is replaced only by a higher or equal one, so a late writer cannot point
//! clients back to an old leader.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Api;
use kube::api::PostParams;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::args::Config;
use crate::request::{Backoff, RequestError, Requester, Right};

const SLICES: &str = "endpointslices.discovery.k8s.io";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGER: &str = "leasehold.dev";
const TERM: &str = "leasehold.dev/term";
/// The name that the Service's port must have.
const PORT_NAME: &str = "http";

/// To whom the Service shall lead.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    /// The leader's pod.
    pub(crate) name: String,
    /// Where clients reach it, `ip:port`.
    pub(crate) address: String,
    pub(crate) term: u64,
    pub(crate) owner: Option<OwnerReference>,
}

/// Keeps the slices right, until nobody tells a target any more. Only the newest target is written.
pub(crate) async fn run(
    mut target: watch::Receiver<Option<Target>>,
    requester: Requester,
    config: Arc<Config>,
    service: String,
) {
    let api: Api<EndpointSlice> = Api::namespaced(requester.client.clone(), &requester.namespace);
    let mut backoff = Backoff::new(Duration::from_secs(30));
    let mut warned = false;
    while target.changed().await.is_ok() {
        backoff.reset();
        loop {
            let Some(wanted) = target.borrow_and_update().clone() else { break };
            let Ok(address) = wanted.address.parse::<SocketAddr>() else {
                if !std::mem::replace(&mut warned, true) {
                    warn!(
                        address = wanted.address,
                        "the leader's address is no IP:PORT (see --address): the EndpointSlices are left alone"
                    );
                }
                break;
            };
            let slices = Slices { requester: &requester, api: &api, config: &config, service: &service };
            match slices.point_to(&wanted, address).await {
                Ok(()) => break,
                // A right that is missing was said, and a wrong request stays wrong; a later leader tries again.
                Err(RequestError::Denied { .. } | RequestError::Invalid { .. }) => break,
                Err(error) => debug!(%error, "the EndpointSlices could not be written"),
            }
            tokio::select! {
                () = backoff.wait() => {}
                changed = target.changed() => if changed.is_err() { return },
            }
        }
    }
}

struct Slices<'a> {
    requester: &'a Requester,
    api: &'a Api<EndpointSlice>,
    config: &'a Config,
    service: &'a str,
}

impl Slices<'_> {
    async fn point_to(&self, target: &Target, address: SocketAddr) -> Result<(), RequestError> {
        let (family, other) = if address.is_ipv4() { ("IPv4", "IPv6") } else { ("IPv6", "IPv4") };
        self.put(target, family, Some(address)).await?;
        self.put(target, other, None).await
    }

    async fn put(&self, target: &Target, family: &str, address: Option<SocketAddr>) -> Result<(), RequestError> {
        let name = format!("{}-{}", self.service, family.to_ascii_lowercase());
        let get = Right::new("get", SLICES);
        let present = self.requester.call(get, self.api.get_opt(&name)).await?;
        let Some(present) = present else {
            if address.is_none() {
                return Ok(());
            }
            let slice = self.slice(&name, family, target, address);
            let create = Right::new("create", SLICES);
            self.requester.call(create, self.api.create(&PostParams::default(), &slice)).await?;
            info!(slice = name, leader = target.name, term = target.term, "the Service of the leader is made");
            return Ok(());
        };
        let annotation = present.metadata.annotations.as_ref().and_then(|all| all.get(TERM));
        let term = annotation.and_then(|term| term.parse::<u64>().ok()).unwrap_or(0);
        if term > target.term {
            return Ok(());
        }
        let mut slice = self.slice(&name, family, target, address);
        if present.endpoints == slice.endpoints && present.ports == slice.ports && term == target.term {
            return Ok(());
        }
        slice.metadata.resource_version = present.metadata.resource_version;
        let update = Right::new("update", SLICES);
        self.requester.call(update, self.api.replace(&name, &PostParams::default(), &slice)).await?;
        debug!(slice = name, leader = target.name, term = target.term, "the Service of the leader is moved");
        Ok(())
    }

    fn slice(&self, name: &str, family: &str, target: &Target, address: Option<SocketAddr>) -> EndpointSlice {
        let endpoint = |address: SocketAddr| Endpoint {
            addresses: vec![address.ip().to_string()],
            conditions: Some(EndpointConditions { ready: Some(true), serving: Some(true), terminating: Some(false) }),
            target_ref: Some(ObjectReference {
                kind: Some("Pod".to_owned()),
                name: Some(target.name.clone()),
                namespace: Some(self.config.namespace.clone()),
                ..ObjectReference::default()
            }),
            ..Endpoint::default()
        };
        let port = address.map_or(self.config.app_port, |address| address.port());
        EndpointSlice {
            address_type: family.to_owned(),
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(self.config.namespace.clone()),
                labels: Some(
                    [(SERVICE_NAME, self.service), (MANAGED_BY, MANAGER)]
                        .map(|(key, value)| (key.to_owned(), value.to_owned()))
                        .into(),
                ),
                annotations: Some([(TERM.to_owned(), target.term.to_string())].into()),
                owner_references: target.owner.clone().map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            endpoints: address.map(endpoint).into_iter().collect(),
            ports: Some(vec![EndpointPort {
                name: Some(PORT_NAME.to_owned()),
                port: Some(i32::from(port)),
                protocol: Some("TCP".to_owned()),
                app_protocol: None,
            }]),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fake_api::{Api as FakeApi, Mode, SLICES};
    use crate::telemetry::Metrics;

    struct Kept {
        api: FakeApi,
        target: watch::Sender<Option<Target>>,
    }

    impl Kept {
        async fn start() -> Kept {
            let api = FakeApi::start().await;
            let config = Arc::new(Config::plain("n", "db", "db-0", "a:1").unwrap());
            let requester = Requester::new(api.client(), &config, Metrics::new());
            let (target, targets) = watch::channel(None);
            tokio::spawn(run(targets, requester, config, "db-leader".to_owned()));
            Kept { api, target }
        }

        fn point_to(&self, name: &str, address: &str, term: u64) {
            let (name, address) = (name.to_owned(), address.to_owned());
            self.target.send_replace(Some(Target { name, address, term, owner: None }));
        }

        async fn until(&self, family: &str, addresses: &[&str], term: u64) {
            let path = format!("{SLICES}db-leader-{family}");
            let wanted = |slice: Option<&serde_json::Value>| {
                let Some(slice) = slice else { return false };
                let found: Vec<&str> = slice["endpoints"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|endpoint| endpoint["addresses"][0].as_str().unwrap())
                    .collect();
                let found_term = slice["metadata"]["annotations"][TERM].as_str().and_then(|term| term.parse().ok());
                found == addresses && found_term == Some(term)
            };
            let slice = self.api.until(&path, wanted).await.unwrap();
            assert_eq!(slice["metadata"]["labels"][SERVICE_NAME], "db-leader");
            assert_eq!(slice["metadata"]["labels"][MANAGED_BY], MANAGER);
        }
    }

    #[tokio::test]
    async fn the_slice_follows_the_leader_through_terms_and_families() {
        let kept = Kept::start().await;
        kept.point_to("db-0", "10.0.0.1:80", 3);
        kept.until("ipv4", &["10.0.0.1"], 3).await;
        kept.point_to("db-1", "[fd00::1]:80", 4);
        kept.until("ipv6", &["fd00::1"], 4).await;
        kept.until("ipv4", &[], 4).await;
    }

    #[tokio::test]
    async fn a_higher_term_stays_and_a_lower_one_is_replaced_also_after_an_outage() {
        let kept = Kept::start().await;
        kept.point_to("db-0", "10.0.0.1:80", 9);
        kept.until("ipv4", &["10.0.0.1"], 9).await;
        kept.point_to("db-1", "10.0.0.2:80", 8);
        // The late writer looked (a second GET) and left it alone.
        while kept.api.requests("get") < 4 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        kept.until("ipv4", &["10.0.0.1"], 9).await;
        kept.api.set_mode(Mode::Fails(503));
        kept.point_to("db-2", "10.0.0.3:80", 10);
        while kept.api.requests("get") < 6 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        kept.api.set_mode(Mode::Up);
        kept.until("ipv4", &["10.0.0.3"], 10).await;
    }
}
