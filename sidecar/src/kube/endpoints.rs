//! EndpointSlices for the Service that names the leader: one per address family. We create them, because that Service has
//! no selector.
//!
//! ```text
//!   UpdateEndpoints{name, address, term} ──▶ slice of the address's family: GET, higher term there? done
//!                                            else PUT or POST          │ any failure: again, with pauses that grow
//!                                        ──▶ slice of the other family: the same with this pod's IP of that family
//!                                            (--pod-ips); without one it is emptied, where there is one
//!   the leader's sidecar, from then on:  ──▶ watches both; edited or deleted: made right again
//!   LeaveEndpoints                       ──▶ no longer watched or written
//! ```
//!
//! A slice carries its term in an annotation, and only a higher or equal term replaces it, so a late writer cannot point
//! clients back to an old leader. A higher term that the Lease does not know (the slice was restored from a backup, or
//! belongs to another cluster, or was edited) does not bind: a sidecar that wrote a slice of that term held the Lease with
//! it before, so it is enough to read the Lease **after** the slice was seen.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::PostParams;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::args::Config;
use crate::kube::lease::view;
use crate::kube::observe::{Observed, Observer};
use crate::kube::request::{Backoff, LEASES, RequestError, Requester, Right};
use crate::kube::upkeep::{Object, SLICE, Upkeep};

const SLICES: &str = "endpointslices.discovery.k8s.io";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGER: &str = "leasehold.dev";
const TERM: &str = "leasehold.dev/term";
/// The name that the Service's port must have.
const PORT_NAME: &str = "http";
/// The longest pause between attempts: a Service that names a pod which does not lead is an outage for its clients.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How often the slices are read although no watch reported a change: a watch may miss one.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// The same while they cannot be watched, or while another leader's higher term is in one.
const LOOK_OFTEN: Duration = Duration::from_secs(5);
/// The longest pause between attempts to watch.
const WATCH_PAUSE_MAX: Duration = Duration::from_secs(15);
/// If somebody changes a slice again within this time, the repairs get growing pauses.
const QUIET: Duration = Duration::from_secs(60);

/// The target of the Service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    /// The leader's pod.
    pub(crate) name: String,
    /// Where clients reach it, `ip:port`.
    pub(crate) address: String,
    pub(crate) term: u64,
    pub(crate) owner: Option<OwnerReference>,
}

/// Maintains the slices.
pub(crate) struct Keeper {
    pub(crate) requester: Requester,
    pub(crate) config: Arc<Config>,
    pub(crate) service: String,
    pub(crate) upkeep: Upkeep,
    /// Asks the watches to start over.
    pub(crate) restart: watch::Receiver<u64>,
}

/// One of the slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    const BOTH: [Family; 2] = [Family::V4, Family::V6];

    fn other(self) -> Family {
        match self {
            Family::V4 => Family::V6,
            Family::V6 => Family::V4,
        }
    }

    /// The value of `addressType`.
    fn word(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }
}

/// The outcome for a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// It was already right.
    Alone,
    Written,
    /// It carries the higher term of a leader that this pod does not know of yet.
    Bound,
}

impl Keeper {
    /// Maintains the slices while there is a target, until no new one can arrive. Only the newest one is written.
    pub(crate) async fn run(self, mut target: watch::Receiver<Option<Target>>) {
        loop {
            let wanted = target.borrow_and_update().clone();
            let changed = tokio::select! {
                () = self.keep(wanted) => target.changed().await,
                changed = target.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
        }
    }

    /// Writes the slices, and repairs them as long as it may (returns only if there is nothing to repair).
    async fn keep(&self, target: Option<Target>) {
        let Some(target) = target else {
            return Family::BOTH.iter().for_each(|family| self.upkeep.forget(&self.object(*family)));
        };
        let Ok(address) = target.address.parse::<SocketAddr>() else {
            warn!(
                address = target.address,
                "the leader's address is not an IP:PORT, so the EndpointSlices of its Service stay unchanged: set \
                 --address"
            );
            return;
        };
        let wanted = Wanted { target: &target, address, config: &self.config, service: &self.service };
        self.write_both(&wanted).await;
        // What was written for another pod, whose sidecar is blind, belongs to that pod from here on.
        if target.name == self.config.name {
            self.mend(&wanted).await;
        }
    }

    /// Until both are right: first the one that clients follow.
    async fn write_both(&self, wanted: &Wanted<'_>) {
        let mut pauses = Backoff::new(PAUSE_MAX);
        for family in [wanted.family(), wanted.family().other()] {
            self.make_right(wanted, family, &mut pauses).await;
        }
    }

    /// Watches both, forever.
    async fn mend(&self, wanted: &Wanted<'_>) {
        let mut watches = JoinSet::new();
        let mut watch = |family: Family| {
            let (sender, receiver) = mpsc::channel(4);
            let observer = Observer {
                requester: self.requester.clone(),
                api: self.api(),
                name: self.name(family),
                resource: SLICES,
                backoff: Backoff::new(WATCH_PAUSE_MAX),
                restart: self.restart.clone(),
            };
            watches.spawn(observer.run(sender));
            receiver
        };
        let (first, second) = (watch(Family::V4), watch(Family::V6));
        tokio::join!(self.mend_one(wanted, Family::V4, first), self.mend_one(wanted, Family::V6, second));
    }

    /// Corrects one slice whenever it is seen to be wrong.
    async fn mend_one(&self, wanted: &Wanted<'_>, family: Family, mut seen: mpsc::Receiver<Observed<EndpointSlice>>) {
        let mut pauses = Backoff::new(PAUSE_MAX);
        let mut mended_at: Option<Instant> = None;
        let (mut is_watching, mut left) = (false, Left::Alone);
        loop {
            let pause = if is_watching && left != Left::Bound { LOOK_EVERY } else { LOOK_OFTEN };
            let is_right = tokio::select! {
                () = tokio::time::sleep(pause) => false,
                seen = seen.recv() => match seen {
                    Some(Observed::Listed(slice, _)) => {
                        is_watching = true;
                        wanted.is_met(family, slice.as_ref())
                    }
                    Some(Observed::Changed(slice)) => wanted.is_met(family, Some(&slice)),
                    Some(Observed::Deleted(_)) => wanted.is_met(family, None),
                    Some(Observed::Lost | Observed::Failed) => {
                        is_watching = false;
                        continue;
                    }
                    None => return,
                },
            };
            if is_right {
                left = Left::Alone;
                continue;
            }
            if mended_at.is_some_and(|at| at.elapsed() < QUIET) {
                pauses.wait().await;
            } else {
                pauses.reset();
            }
            left = self.make_right(wanted, family, &mut pauses).await;
            if left == Left::Written {
                mended_at = Some(Instant::now());
                self.upkeep.mended(&self.object(family));
            }
        }
    }

    /// Tries until it is done.
    async fn make_right(&self, wanted: &Wanted<'_>, family: Family, pauses: &mut Backoff) -> Left {
        loop {
            match self.put(wanted, family).await {
                Ok(left) => {
                    self.upkeep.right(&self.object(family));
                    return left;
                }
                // Another writer was faster: look again.
                Err(RequestError::Conflict) => {}
                Err(error) => self.upkeep.failed(&self.object(family), &error),
            }
            pauses.wait().await;
        }
    }

    /// One attempt.
    async fn put(&self, wanted: &Wanted<'_>, family: Family) -> Result<Left, RequestError> {
        let (api, name, target) = (self.api(), self.name(family), wanted.target);
        let present = self.requester.call(Right::new("get", SLICES), api.get_opt(&name)).await?;
        if wanted.is_met(family, present.as_ref()) {
            return Ok(Left::Alone);
        }
        let Some(mut slice) = present else {
            let mut slice = EndpointSlice { address_type: family.word().to_owned(), ..EndpointSlice::default() };
            slice.metadata.name = Some(name.clone());
            slice.metadata.namespace = Some(self.config.namespace.clone());
            wanted.write_into(&mut slice, family);
            let create = Right::new("create", SLICES);
            self.requester.call(create, api.create(&PostParams::default(), &slice)).await?;
            info!(slice = name, leader = target.name, term = target.term, "created a slice of the leader's Service");
            return Ok(Left::Written);
        };
        let term = term_of(&slice);
        if term > target.term && !self.is_unknown_to_the_lease(&name, term, target).await? {
            return Ok(Left::Bound);
        }
        wanted.write_into(&mut slice, family);
        let update = Right::new("update", SLICES);
        self.requester.call(update, api.replace(&name, &PostParams::default(), &slice)).await?;
        debug!(slice = name, leader = target.name, term = target.term, "updated a slice of the leader's Service");
        Ok(Left::Written)
    }

    /// A slice was seen with a higher term than this leader's. Does the Lease, read after that, still name this leader and
    /// its term? Then nobody led with the higher one.
    async fn is_unknown_to_the_lease(&self, name: &str, term: u64, target: &Target) -> Result<bool, RequestError> {
        let leases: Api<Lease> = Api::namespaced(self.requester.client.clone(), &self.requester.namespace);
        let lease = self.requester.call(Right::new("get", LEASES), leases.get_opt(&self.config.lease)).await?;
        let body = lease.as_ref().map(|lease| view(lease).body);
        let is_unknown =
            body.is_some_and(|body| body.holder.as_deref() == Some(target.name.as_str()) && body.term.0 == target.term);
        if is_unknown {
            warn!(
                slice = name,
                term,
                leader = target.name,
                lease_term = target.term,
                "the EndpointSlice carries a higher term than the Lease: it was restored, edited, or is another cluster's; \
                 it is replaced"
            );
        }
        Ok(is_unknown)
    }

    fn api(&self) -> Api<EndpointSlice> {
        Api::namespaced(self.requester.client.clone(), &self.requester.namespace)
    }

    fn name(&self, family: Family) -> String {
        format!("{}-{}", self.service, family.word().to_ascii_lowercase())
    }

    fn object(&self, family: Family) -> Object {
        (SLICE, self.name(family))
    }
}

/// The desired content of the slices.
struct Wanted<'a> {
    target: &'a Target,
    address: SocketAddr,
    config: &'a Config,
    service: &'a str,
}

impl Wanted<'_> {
    /// The slice that clients follow.
    fn family(&self) -> Family {
        if self.address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// The addresses in the slice of that family. For the other family only this pod's own IP is known for certain, and
    /// only if the advertised address is one of its own: an address that an operator gave may not be the pod's.
    fn ip(&self, family: Family) -> Option<IpAddr> {
        if family == self.family() {
            return Some(self.address.ip());
        }
        let own = &self.config.pod_ips;
        let is_own = self.target.name == self.config.name && own.contains(&self.address.ip());
        own.iter().copied().find(|ip| is_own && ip.is_ipv4() == (family == Family::V4))
    }

    /// Whether the slice (none: there is none) has the desired content. Only what we write is compared.
    fn is_met(&self, family: Family, present: Option<&EndpointSlice>) -> bool {
        let Some(slice) = present else { return self.ip(family).is_none() };
        let mut written = slice.clone();
        self.write_into(&mut written, family);
        let endpoints = |slice: &EndpointSlice| -> Vec<_> {
            let said = |endpoint: &Endpoint| {
                let pod = endpoint.target_ref.as_ref().and_then(|pod| pod.name.clone());
                (endpoint.addresses.clone(), endpoint.conditions.clone(), pod)
            };
            slice.endpoints.iter().map(said).collect()
        };
        let ports = |slice: &EndpointSlice| -> Vec<_> {
            let said = |port: &EndpointPort| (port.name.clone(), port.port, port.protocol.clone());
            slice.ports.iter().flatten().map(said).collect()
        };
        endpoints(slice) == endpoints(&written)
            && ports(slice) == ports(&written)
            && slice.metadata.labels == written.metadata.labels
            && slice.metadata.annotations == written.metadata.annotations
            && slice.metadata.owner_references == written.metadata.owner_references
    }

    /// Puts the desired content into a slice. Labels, annotations and owners of others stay.
    fn write_into(&self, slice: &mut EndpointSlice, family: Family) {
        let metadata = &mut slice.metadata;
        let labels = metadata.labels.get_or_insert_default();
        for (name, value) in [(SERVICE_NAME, self.service), (MANAGED_BY, MANAGER)] {
            labels.insert(name.to_owned(), value.to_owned());
        }
        metadata.annotations.get_or_insert_default().insert(TERM.to_owned(), self.target.term.to_string());
        if let Some(owner) = &self.target.owner {
            let owners = metadata.owner_references.get_or_insert_default();
            let is_it = |other: &OwnerReference| other.kind == owner.kind && other.name == owner.name;
            if !owners.iter().any(|other| is_it(other) && other.uid == owner.uid) {
                owners.retain(|other| !is_it(other));
                owners.push(owner.clone());
            }
        }
        let ip = self.ip(family);
        slice.endpoints = ip.map(|ip| self.endpoint(ip)).into_iter().collect();
        slice.ports = Some(vec![EndpointPort {
            name: Some(PORT_NAME.to_owned()),
            port: Some(i32::from(if ip.is_some() { self.address.port() } else { self.config.app_port })),
            protocol: Some("TCP".to_owned()),
            app_protocol: None,
        }]);
    }

    fn endpoint(&self, ip: IpAddr) -> Endpoint {
        Endpoint {
            addresses: vec![ip.to_string()],
            conditions: Some(EndpointConditions { ready: Some(true), serving: Some(true), terminating: Some(false) }),
            target_ref: Some(ObjectReference {
                kind: Some("Pod".to_owned()),
                name: Some(self.target.name.clone()),
                namespace: Some(self.config.namespace.clone()),
                ..ObjectReference::default()
            }),
            ..Endpoint::default()
        }
    }
}

/// The term in the annotation; 0 if there is no readable one.
fn term_of(slice: &EndpointSlice) -> u64 {
    let annotation = slice.metadata.annotations.as_ref().and_then(|all| all.get(TERM));
    annotation.and_then(|term| term.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;
    use crate::testing::golden::golden;
    use leasehold_api::{ApiServer, Faults, Kind, Verb, Who};
    use leasehold_testkit::{until, until_seen};
    use serde_json::{Value, json};

    const V4: &str = "db-leader-ipv4";
    const V6: &str = "db-leader-ipv6";

    struct Kept {
        api: ApiServer,
        target: watch::Sender<Option<Target>>,
        upkeep: Upkeep,
        _restart: watch::Sender<u64>,
    }

    impl Kept {
        async fn start() -> Kept {
            Kept::with_ips(&[]).await
        }

        async fn with_ips(pod_ips: &[&str]) -> Kept {
            let api = ApiServer::start(0).unwrap();
            let mut config = Config::plain("n", "db", "db-0", "a:1").unwrap();
            config.pod_ips = pod_ips.iter().map(|ip| ip.parse().unwrap()).collect();
            let config = Arc::new(config);
            let requester = Requester::new(api.client("sidecar", "n").await.unwrap(), &config, Metrics::new());
            let (target, targets) = watch::channel(None);
            let upkeep = Upkeep::new(Metrics::new());
            let (restart, restarted) = watch::channel(0);
            let service = "db-leader".to_owned();
            let keeper = Keeper { requester, config, service, upkeep: upkeep.clone(), restart: restarted };
            tokio::spawn(keeper.run(targets));
            Kept { api, target, upkeep, _restart: restart }
        }

        /// The leader, on this pod: its slices are watched.
        async fn leading(term: u64) -> Kept {
            let kept = Kept::start().await;
            kept.point_to("db-0", "10.0.0.1:80", term);
            kept.until("ipv4", &["10.0.0.1"], term).await;
            kept.watched(2).await;
            kept
        }

        async fn watched(&self, count: usize) {
            until("the slices are watched", || self.api.requests(Verb::Watch, Kind::EndpointSlice) >= count).await;
        }

        async fn until_upkeep(&self, wanted: impl Fn(&[crate::kube::upkeep::FailingObject]) -> bool) {
            until_seen("what fails is as wanted", || self.upkeep.failing(), |failing| wanted(failing)).await;
        }

        fn slice(&self, name: &str) -> Option<Value> {
            self.api.get(Kind::EndpointSlice, "n", name).ok()
        }

        fn put(&self, slice: &Value) {
            self.api.put(Kind::EndpointSlice, "n", slice).unwrap();
        }

        fn delete(&self, name: &str) {
            self.api.delete(Kind::EndpointSlice, "n", name, &json!({})).unwrap();
        }

        fn point_to(&self, name: &str, address: &str, term: u64) {
            let (name, address) = (name.to_owned(), address.to_owned());
            self.target.send_replace(Some(Target { name, address, term, owner: None }));
        }

        async fn until(&self, family: &str, addresses: &[&str], term: u64) {
            let wanted = |slice: &Value| {
                let Some(endpoints) = slice["endpoints"].as_array() else { return false };
                let found: Vec<&str> =
                    endpoints.iter().map(|endpoint| endpoint["addresses"][0].as_str().unwrap()).collect();
                let found_term = slice["metadata"]["annotations"][TERM].as_str().and_then(|term| term.parse().ok());
                found == addresses && found_term == Some(term)
            };
            let name = format!("db-leader-{family}");
            let slice = self.api.until(Kind::EndpointSlice, "n", &name, wanted).await.unwrap();
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
    async fn a_pod_with_ips_of_both_families_is_in_both_slices() {
        let kept = Kept::with_ips(&["10.0.0.1", "fd00::1"]).await;
        kept.point_to("db-0", "10.0.0.1:80", 3);
        kept.until("ipv4", &["10.0.0.1"], 3).await;
        kept.until("ipv6", &["fd00::1"], 3).await;
        assert_eq!(kept.slice(V6).unwrap()["ports"][0]["port"], 80);
        kept.watched(2).await;
        kept.delete(V6);
        kept.until("ipv6", &["fd00::1"], 3).await;
        // For another pod only one address is known, and likewise for an address that is not the pod's own.
        kept.point_to("db-1", "10.0.0.2:80", 4);
        kept.until("ipv6", &[], 4).await;
        kept.point_to("db-0", "10.7.7.7:80", 5);
        kept.until("ipv4", &["10.7.7.7"], 5).await;
        kept.until("ipv6", &[], 5).await;
    }

    #[tokio::test]
    async fn a_higher_term_stays_and_a_lower_one_is_replaced_also_after_an_outage() {
        let kept = Kept::start().await;
        kept.point_to("db-1", "10.0.0.1:80", 9);
        kept.until("ipv4", &["10.0.0.1"], 9).await;
        // The late writer reads the slice, and the Lease, which does not name it.
        kept.point_to("db-2", "10.0.0.2:80", 8);
        until("it looked at the Lease", || kept.api.requests(Verb::Get, Kind::Lease) > 0).await;
        kept.until("ipv4", &["10.0.0.1"], 9).await;
        kept.api.set_faults(&Who::All, Faults::status(503));
        kept.point_to("db-2", "10.0.0.3:80", 10);
        kept.until_upkeep(|failing| failing.len() == 1 && failing[0].reason == "failed").await;
        kept.api.clear_faults();
        kept.until("ipv4", &["10.0.0.3"], 10).await;
        kept.until_upkeep(<[_]>::is_empty).await;
    }

    /// Restored from a backup, or left by another cluster of that name.
    #[tokio::test]
    async fn a_higher_term_that_the_lease_does_not_know_does_not_bind() {
        let kept = Kept::start().await;
        let lease = json!({"metadata": {"name": "db"}, "spec": {"holderIdentity": "db-0", "leaseTransitions": 3}});
        kept.api.put(Kind::Lease, "n", &lease).unwrap();
        kept.point_to("db-1", "10.9.9.9:80", 57);
        kept.until("ipv4", &["10.9.9.9"], 57).await;
        kept.point_to("db-0", "10.0.0.1:80", 3);
        kept.until("ipv4", &["10.0.0.1"], 3).await;
    }

    #[tokio::test]
    async fn slices_that_are_deleted_or_edited_are_made_right_again_and_what_is_others_stays() {
        let kept = Kept::leading(3).await;
        kept.delete(V4);
        kept.until("ipv4", &["10.0.0.1"], 3).await;

        let mut edited = kept.slice(V4).unwrap();
        edited["endpoints"] = json!([{"addresses": ["10.6.6.6"]}]);
        edited["metadata"]["labels"] = json!({"example.com/own": "x"});
        edited["metadata"]["annotations"]["example.com/note"] = json!("y");
        edited["metadata"]["annotations"][TERM] = json!("no number");
        kept.put(&edited);
        kept.until("ipv4", &["10.0.0.1"], 3).await;
        let slice = kept.slice(V4).unwrap();
        assert_eq!(slice["metadata"]["labels"]["example.com/own"], "x");
        assert_eq!(slice["metadata"]["annotations"]["example.com/note"], "y");

        // The other family's must stay empty.
        let mut other = slice;
        other["metadata"]["name"] = json!("db-leader-ipv6");
        other["addressType"] = json!("IPv6");
        other["endpoints"] = json!([{"addresses": ["fd00::6"]}]);
        kept.put(&other);
        kept.until("ipv6", &[], 3).await;
    }

    #[tokio::test]
    async fn whoever_no_longer_leads_mends_nothing() {
        let kept = Kept::leading(3).await;
        kept.target.send_replace(None);
        let before = kept.api.requests(Verb::Watch, Kind::EndpointSlice);
        kept.delete(V4);
        // Another pod's target is written once, and not watched.
        kept.point_to("db-1", "10.0.0.2:80", 4);
        kept.until("ipv4", &["10.0.0.2"], 4).await;
        kept.delete(V4);
        kept.point_to("db-1", "[fd00::1]:80", 5);
        kept.until("ipv6", &["fd00::1"], 5).await;
        assert_eq!(kept.slice(V4), None);
        assert_eq!(kept.api.requests(Verb::Watch, Kind::EndpointSlice), before);
    }

    #[tokio::test]
    async fn a_right_that_is_refused_is_shown_and_asked_for_again_until_it_is_granted() {
        let kept = Kept::start().await;
        kept.point_to("db-1", "10.0.0.1:80", 3);
        kept.until("ipv4", &["10.0.0.1"], 3).await;
        for verb in [Verb::Update, Verb::List, Verb::Watch] {
            kept.api.deny(verb, Kind::EndpointSlice);
        }
        kept.point_to("db-0", "10.0.0.2:80", 4);
        kept.until_upkeep(|failing| failing.len() == 1 && failing[0].reason == "denied" && failing[0].attempts > 1)
            .await;
        kept.until("ipv4", &["10.0.0.1"], 3).await;
        kept.api.grant_all();
        kept.until("ipv4", &["10.0.0.2"], 4).await;
        kept.until_upkeep(<[_]>::is_empty).await;
    }

    fn golden_target() -> Target {
        let owner = OwnerReference {
            api_version: "apps/v1".to_owned(),
            kind: "StatefulSet".to_owned(),
            name: "db".to_owned(),
            uid: "u".to_owned(),
            ..OwnerReference::default()
        };
        Target { name: "db-0".to_owned(), address: "10.0.0.1:8089".to_owned(), term: 5, owner: Some(owner) }
    }

    /// During an update the sidecar of one release reads the term that one of the other wrote.
    #[test]
    fn golden_slices_are_read_as_of_this_term() {
        for (version, json) in golden().stored("endpoint-slice.json") {
            assert_eq!(term_of(&serde_json::from_slice(&json).unwrap()), golden_target().term, "{version}");
        }
    }

    #[test]
    fn golden_slices_are_what_this_target_is_written_as() {
        let config = Config::plain("n", "db", "db-0", "a:1").unwrap();
        let target = golden_target();
        let address = target.address.parse().unwrap();
        let wanted = Wanted { target: &target, address, config: &config, service: "db-leader" };
        let mut slice = EndpointSlice { address_type: Family::V4.word().to_owned(), ..EndpointSlice::default() };
        wanted.write_into(&mut slice, Family::V4);
        golden().is_written("endpoint-slice.json", &serde_json::to_vec_pretty(&slice).unwrap());
    }
}
