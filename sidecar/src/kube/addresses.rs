//! The IPs of the pods, from the EndpointSlices of the headless Service, so that finding them needs no DNS.
//!
//! ```text
//!   list, watch of the slices ──▶ pod ▶ IPs, as of now ──▶ Book ──▶ role.json: members, leader, this pod
//!   the last role.json        ──▶ IPs from before      ──▶ │
//! ```
//!
//! DNS answers from caches: for half a minute it returns the old IP of a recreated pod, and while it is down it finds no
//! pod. Known IPs stay known while the API server does not answer, and across a restart of the sidecar: they are in
//! role.json. Without the permission to list and watch slices, pods are known only by name.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::{Pin, pin};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt as _};
use leasehold_contract::{ROLE_FILE, RoleFile, read_json};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::{debug, info};

use crate::args::Config;
use crate::kube::request::{Backoff, RequestError, Requester, Right};

const SLICES: &str = "endpointslices.discovery.k8s.io";
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// The creator of the slices of a Service with a selector. Any others were written by hand.
const CONTROLLER: &str = "endpointslice-controller.k8s.io";
/// As for the other watches: the API server ends a watch by itself, and a longer silence is a lost connection.
const WATCH_SECONDS: u32 = 290;
const WATCH_SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 10);
/// How many pods are remembered, and IPs of one: no cluster has more.
const PODS_MAX: usize = 1000;
const IPS_MAX: usize = 8;

/// The IPs of each pod, the best first.
pub(crate) type Seen = BTreeMap<String, Vec<IpAddr>>;

/// What is known about the pods' addresses.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// From the latest look at the slices.
    seen: Seen,
    /// From the role.json of an earlier run, or from a pod that has left the slices since.
    remembered: Seen,
}

impl Book {
    /// What an earlier run of this pod's sidecar knew.
    pub(crate) fn open(config: &Config) -> Book {
        let old = config.directory.as_deref().and_then(|directory| old_file(directory, config));
        let Some(old) = old else { return Book::default() };
        let members = old.members.into_iter().map(|member| (member.name, member.addresses));
        let leader = old.leader.into_iter().map(|leader| (leader.name, leader.addresses));
        let remembered = leader.chain(members).filter(|(_, ips)| !ips.is_empty()).take(PODS_MAX).collect();
        Book { seen: Seen::new(), remembered }
    }

    /// Adds the present content of the slices. Returns whether it is new.
    pub(crate) fn see(&mut self, seen: Seen) -> bool {
        if self.seen == seen {
            return false;
        }
        let before = std::mem::replace(&mut self.seen, seen);
        self.remembered.extend(before);
        self.remembered.retain(|pod, _| !self.seen.contains_key(pod));
        while self.remembered.len() > PODS_MAX {
            self.remembered.pop_first();
        }
        true
    }

    /// That pod's addresses, and whether they are only remembered.
    pub(crate) fn of(&self, pod: &str) -> (Vec<IpAddr>, bool) {
        match self.seen.get(pod) {
            Some(ips) => (ips.clone(), false),
            None => {
                let ips = self.remembered.get(pod).cloned().unwrap_or_default();
                let is_remembered = !ips.is_empty();
                (ips, is_remembered)
            }
        }
    }

    /// That pod's addresses, if it advertises `advertised` itself: nobody knows better.
    pub(crate) fn of_advertised(&self, pod: &str, advertised: Option<&str>) -> Vec<IpAddr> {
        let own = advertised.and_then(|address| address.parse::<SocketAddr>().ok()).map(|address| address.ip());
        let mut ips = self.of(pod).0;
        if let Some(own) = own {
            ips.retain(|ip| *ip != own);
            ips.insert(0, own);
        }
        ips
    }
}

fn old_file(directory: &Path, config: &Config) -> Option<RoleFile> {
    let old: RoleFile = read_json(&directory.join(ROLE_FILE)).ok()?;
    let is_ours =
        old.self_name == config.name && old.lease.namespace == config.namespace && old.lease.name == config.lease;
    is_ours.then_some(old)
}

/// Watches the slices forever, and reports their combined content after each change. A watch that ended is restarted with a
/// list; meanwhile the last report stays valid.
pub(crate) async fn run(
    requester: Requester,
    service: String,
    sender: watch::Sender<Option<Seen>>,
    restart: watch::Receiver<u64>,
) {
    let api = Api::namespaced(requester.client.clone(), &requester.namespace);
    let selector = format!("{SERVICE_NAME}={service},{MANAGED_BY}={CONTROLLER}");
    let (slices, version) = (BTreeMap::new(), String::new());
    let mut look = Look { requester, api, selector, service, sender, restart, slices, version };
    let mut backoff = Backoff::new(Duration::from_secs(15));
    let mut is_known = false;
    while !look.sender.is_closed() {
        look.restart.mark_unchanged();
        let began = Instant::now();
        let looked = look.once().await;
        let service = &look.service;
        if let Err(error) = &looked {
            debug!(service, %error, "cannot watch the EndpointSlices of the headless Service");
        }
        if !is_known && look.sender.borrow().is_some() {
            is_known = true;
            info!(service, "finding the pods by the EndpointSlices of the headless Service");
        }
        if looked.is_ok() && began.elapsed() > Duration::from_secs(1) {
            backoff.reset();
        } else {
            backoff.wait().await;
        }
    }
}

/// The slices of one Service, as the API server shows them.
struct Look {
    requester: Requester,
    api: Api<EndpointSlice>,
    selector: String,
    service: String,
    sender: watch::Sender<Option<Seen>>,
    restart: watch::Receiver<u64>,
    /// By name, as of `version`.
    slices: BTreeMap<String, EndpointSlice>,
    version: String,
}

/// Why a watch was left.
enum Left {
    /// The API server ended it in good order: on from the last version.
    Ended,
    /// List again.
    Stale,
}

impl Look {
    /// One list, and the watches that follow, until there is a reason to list again.
    async fn once(&mut self) -> Result<(), RequestError> {
        self.list().await?;
        self.tell();
        loop {
            let params = WatchParams::default().labels(&self.selector).timeout(WATCH_SECONDS);
            let right = Right::new("watch", SLICES);
            let stream = match self.requester.call(right, self.api.watch(&params, &self.version)).await {
                Ok(stream) => stream,
                Err(RequestError::Gone) => return Ok(()),
                Err(error) => return Err(error),
            };
            let began = Instant::now();
            match self.follow(pin!(stream)).await? {
                // A server that ends every watch at once must not be asked without a pause.
                Left::Ended if began.elapsed() >= Duration::from_secs(1) => {}
                Left::Ended | Left::Stale => return Ok(()),
            }
        }
    }

    async fn list(&mut self) -> Result<(), RequestError> {
        let params = ListParams::default().labels(&self.selector);
        let list = self.requester.call(Right::new("list", SLICES), self.api.list(&params)).await?;
        let version = list.metadata.resource_version.filter(|version| !version.is_empty());
        self.version = version.unwrap_or_else(|| "0".to_owned());
        self.slices = list.items.into_iter().map(|slice| (slice.name_any(), slice)).collect();
        Ok(())
    }

    async fn follow(
        &mut self,
        mut stream: Pin<&mut impl Stream<Item = kube::Result<WatchEvent<EndpointSlice>>>>,
    ) -> Result<Left, RequestError> {
        loop {
            let next = tokio::select! {
                next = timeout(WATCH_SILENCE, stream.next()) => next,
                // Somebody found that the connection is dead; or the sidecar ends, and with it this task.
                _ = self.restart.changed() => return Ok(Left::Stale),
            };
            match next {
                Ok(Some(Ok(WatchEvent::Added(slice) | WatchEvent::Modified(slice)))) => {
                    self.is_at(slice.resource_version());
                    self.slices.insert(slice.name_any(), slice);
                }
                Ok(Some(Ok(WatchEvent::Deleted(slice)))) => {
                    self.is_at(slice.resource_version());
                    self.slices.remove(&slice.name_any());
                }
                Ok(Some(Ok(WatchEvent::Bookmark(bookmark)))) => {
                    self.version = bookmark.metadata.resource_version;
                    continue;
                }
                Ok(Some(Ok(WatchEvent::Error(status)))) => {
                    return match RequestError::from_status(&status) {
                        RequestError::Gone => Ok(Left::Stale),
                        error => Err(error),
                    };
                }
                Ok(Some(Err(error))) => return Err(error.into()),
                Ok(None) => return Ok(Left::Ended),
                Err(_) => return Ok(Left::Stale),
            }
            self.tell();
        }
    }

    fn is_at(&mut self, version: Option<String>) {
        if let Some(version) = version {
            self.version = version;
        }
    }

    fn tell(&self) {
        let found = Some(pods(self.slices.values(), &self.service, &self.requester.namespace));
        self.sender.send_if_modified(|seen| {
            let is_news = *seen != found;
            *seen = found;
            is_news
        });
    }
}

/// Pod by pod, ready or not \[L5\]. Terminating pods count only if nothing better is known, so their IPs come last.
fn pods<'a>(slices: impl Iterator<Item = &'a EndpointSlice>, service: &str, namespace: &str) -> Seen {
    let mut found: BTreeMap<String, Vec<(bool, IpAddr)>> = BTreeMap::new();
    for slice in slices {
        let label = |name: &str| slice.metadata.labels.as_ref()?.get(name).map(String::as_str);
        if label(SERVICE_NAME) != Some(service) || label(MANAGED_BY) != Some(CONTROLLER) {
            continue;
        }
        for endpoint in &slice.endpoints {
            let Some(pod) = endpoint.target_ref.as_ref().filter(|target| {
                target.kind.as_deref() == Some("Pod") && target.namespace.as_deref() == Some(namespace)
            }) else {
                continue;
            };
            let Some(name) = &pod.name else { continue };
            let is_going = endpoint.conditions.as_ref().and_then(|found| found.terminating).unwrap_or(false);
            let ips = endpoint.addresses.iter().filter_map(|address| address.parse().ok());
            found.entry(name.clone()).or_default().extend(ips.map(|ip| (is_going, ip)));
        }
    }
    let in_order = |(pod, mut ips): (String, Vec<(bool, IpAddr)>)| {
        ips.sort_unstable();
        let mut best: Vec<IpAddr> = Vec::new();
        for (_, ip) in ips {
            if !best.contains(&ip) && best.len() < IPS_MAX {
                best.push(ip);
            }
        }
        (pod, best)
    };
    found.into_iter().map(in_order).filter(|(_, ips)| !ips.is_empty()).take(PODS_MAX).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;
    use leasehold_api::{ApiServer, Faults, Kind, Verb, Who};
    use serde_json::{Value, json};

    fn endpoint(pod: &str, ip: &str, terminating: bool) -> Value {
        json!({"addresses": [ip], "conditions": {"ready": !terminating, "terminating": terminating},
            "targetRef": {"kind": "Pod", "name": pod, "namespace": "n"}})
    }

    fn slice(name: &str, family: &str, endpoints: &[Value]) -> Value {
        json!({"metadata": {"name": name, "labels": {SERVICE_NAME: "db-peers", MANAGED_BY: CONTROLLER}},
            "addressType": family, "endpoints": endpoints})
    }

    fn of(slices: &[Value]) -> Seen {
        let slices: Vec<EndpointSlice> =
            slices.iter().map(|slice| serde_json::from_value(slice.clone()).unwrap()).collect();
        pods(slices.iter(), "db-peers", "n")
    }

    fn ips(all: &[&str]) -> Vec<IpAddr> {
        all.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    #[test]
    fn a_pod_has_the_ips_of_both_families_and_those_that_go_come_last() {
        let found = of(&[
            slice("a", "IPv4", &[endpoint("db-0", "10.0.0.9", true), endpoint("db-1", "10.0.0.2", false)]),
            slice("b", "IPv4", &[endpoint("db-0", "10.0.0.10", false)]),
            slice("c", "IPv6", &[endpoint("db-0", "fd00::10", false)]),
        ]);
        assert_eq!(found["db-0"], ips(&["10.0.0.10", "fd00::10", "10.0.0.9"]));
        assert_eq!(found["db-1"], ips(&["10.0.0.2"]));
    }

    #[test]
    fn what_the_controller_did_not_say_of_a_pod_of_this_namespace_is_nothing() {
        let mut by_hand = slice("a", "IPv4", &[endpoint("db-0", "10.0.0.1", false)]);
        by_hand["metadata"]["labels"][MANAGED_BY] = json!("somebody");
        let mut other_service = slice("b", "IPv4", &[endpoint("db-0", "10.0.0.2", false)]);
        other_service["metadata"]["labels"][SERVICE_NAME] = json!("other");
        let mut elsewhere = endpoint("db-0", "10.0.0.3", false);
        elsewhere["targetRef"]["namespace"] = json!("other");
        let mut no_pod = endpoint("db-0", "10.0.0.4", false);
        no_pod["targetRef"]["kind"] = json!("Node");
        let mut nobody = endpoint("db-0", "10.0.0.5", false);
        nobody.as_object_mut().unwrap().remove("targetRef");
        let name = endpoint("db-0", "host.example", false);
        assert_eq!(of(&[by_hand, other_service, slice("c", "IPv4", &[elsewhere, no_pod, nobody, name])]), Seen::new());
    }

    #[test]
    fn a_pod_that_left_is_remembered_until_it_is_seen_again() {
        let mut book = Book::default();
        let seen = |pod: &str, ip: &str| Seen::from([(pod.to_owned(), ips(&[ip]))]);
        assert!(book.see(seen("db-0", "10.0.0.1")));
        assert!(!book.see(seen("db-0", "10.0.0.1")), "no news");
        assert_eq!(book.of("db-0"), (ips(&["10.0.0.1"]), false));
        assert!(book.see(Seen::new()));
        assert_eq!(book.of("db-0"), (ips(&["10.0.0.1"]), true));
        assert!(book.see(seen("db-0", "10.0.0.7")));
        assert_eq!(book.of("db-0"), (ips(&["10.0.0.7"]), false));
        assert_eq!(book.of("db-1"), (Vec::new(), false));
    }

    #[test]
    fn what_a_pod_says_of_itself_comes_first() {
        let mut book = Book::default();
        book.see(Seen::from([("db-0".to_owned(), ips(&["10.0.0.1", "fd00::1"]))]));
        assert_eq!(book.of_advertised("db-0", Some("[fd00::1]:8089")), ips(&["fd00::1", "10.0.0.1"]));
        assert_eq!(book.of_advertised("db-0", Some("db-0.peers:8089")), ips(&["10.0.0.1", "fd00::1"]));
        assert_eq!(book.of_advertised("db-1", Some("10.0.0.9:1")), ips(&["10.0.0.9"]));
    }

    #[tokio::test]
    async fn the_slices_are_watched_and_an_outage_forgets_nothing() {
        let api = ApiServer::start(0).unwrap();
        let config = Config::plain("n", "db", "db-0", "a:1").unwrap();
        let requester = Requester::new(api.client("sidecar", "n").await.unwrap(), &config, Metrics::new());
        let (sender, mut seen) = watch::channel(None);
        let (_restart, restarted) = watch::channel(0);
        tokio::spawn(run(requester, "db-peers".to_owned(), sender, restarted));
        let until = async |seen: &mut watch::Receiver<Option<Seen>>, wanted: &[&str]| {
            let has = |seen: &Option<Seen>| seen.as_ref().and_then(|seen| seen.get("db-1")) == Some(&ips(wanted));
            timeout(Duration::from_secs(10), seen.wait_for(has)).await.expect("never seen").unwrap();
        };
        let put = |ip: &str| {
            let slice = slice("db-peers-x", "IPv4", &[endpoint("db-1", ip, false)]);
            api.put(Kind::EndpointSlice, "n", &slice).unwrap();
        };
        put("10.0.0.1");
        until(&mut seen, &["10.0.0.1"]).await;
        put("10.0.0.2");
        until(&mut seen, &["10.0.0.2"]).await;
        api.set_faults(&Who::All, Faults::status(503));
        api.drop_watches(&Who::All);
        let lists = api.requests(Verb::List, Kind::EndpointSlice);
        leasehold_testkit::until("it listed twice", || api.requests(Verb::List, Kind::EndpointSlice) >= lists + 2)
            .await;
        until(&mut seen, &["10.0.0.2"]).await;
        put("10.0.0.3");
        api.clear_faults();
        until(&mut seen, &["10.0.0.3"]).await;
    }
}
