//! Why the elector is our own: `kube-leader-election` reads, decides and patches without saying which version it read.
//! Each test makes two candidates believe that they lead, with the same number of transitions, by delaying requests only.

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, PostParams};
use kube_leader_election::{LeaseLock, LeaseLockParams, LeaseLockResult};
use leasehold_api::{ApiServer, Faults, Kind, Verb, Who};
use leasehold_testkit::until;
use serde_json::json;
use std::time::Duration;

use super::{NAMESPACE, kube_client};

const LEASE: &str = "contended";

async fn candidate(api: &ApiServer, name: &str, ttl: u64, retry: bool) -> LeaseLock {
    let params =
        LeaseLockParams { holder_id: name.into(), lease_name: LEASE.into(), lease_ttl: Duration::from_secs(ttl) };
    LeaseLock::new(kube_client(api, name, retry).await, NAMESPACE, params)
}

/// A Lease that expired long ago, in its third term.
fn expired_lease(api: &ApiServer) {
    let long_ago = "2020-01-01T00:00:00.000000Z";
    let spec = json!({
        "holderIdentity": "gone", "leaseDurationSeconds": 15, "leaseTransitions": 3,
        "acquireTime": long_ago, "renewTime": long_ago,
    });
    api.create(Kind::Lease, NAMESPACE, &json!({"metadata": {"name": LEASE}, "spec": spec})).unwrap();
}

fn term_and_holder(result: LeaseLockResult) -> (i32, String) {
    let LeaseLockResult::Acquired(lease) = result else { panic!("not acquired: {result:?}") };
    let spec = lease.spec.unwrap();
    (spec.lease_transitions.unwrap(), spec.holder_identity.unwrap())
}

fn hold_patches() -> Faults {
    Faults { hold: true, verbs: vec![Verb::Patch], ..Faults::default() }
}

#[tokio::test]
async fn kube_leader_election_gives_one_term_to_two_candidates_that_read_the_same_expired_lease() {
    let api = ApiServer::start(0).unwrap();
    expired_lease(&api);
    let (a, b) = (candidate(&api, "a", 15, false).await, candidate(&api, "b", 15, false).await);
    api.set_faults(&Who::All, hold_patches());
    let a = tokio::spawn(async move { a.try_acquire_or_renew().await });
    let b = tokio::spawn(async move { b.try_acquire_or_renew().await });
    until("both have read and are about to patch", || api.held() == 2).await;
    api.clear_faults();
    let a = term_and_holder(a.await.unwrap().unwrap());
    let b = term_and_holder(b.await.unwrap().unwrap());
    assert_eq!((a, b), ((4, "a".into()), (4, "b".into())), "both lead in term 4");
}

#[tokio::test]
async fn kube_leader_election_tells_a_paused_leader_that_it_leads_with_the_lease_of_its_successor() {
    let api = ApiServer::start(0).unwrap();
    let (a, b) = (candidate(&api, "a", 1, false).await, candidate(&api, "b", 1, false).await);
    assert_eq!(term_and_holder(a.try_acquire_or_renew().await.unwrap()).1, "a");
    api.set_faults(&Who::client("a"), hold_patches());
    let paused = tokio::spawn(async move { a.try_acquire_or_renew().await });
    until("a has read that it leads", || api.held() == 1).await;
    // The Lease runs out meanwhile.
    let successor = loop {
        match b.try_acquire_or_renew().await.unwrap() {
            LeaseLockResult::NotAcquired(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            acquired => break term_and_holder(acquired),
        }
    };
    assert_eq!(successor.1, "b");
    api.clear_faults();
    let told_to_a = term_and_holder(paused.await.unwrap().unwrap());
    assert_eq!(told_to_a, successor, "a is told Acquired, and shown that b holds it");
}

#[tokio::test]
async fn kube_leader_election_takes_a_lease_back_by_a_silent_retry_with_the_same_term() {
    let api = ApiServer::start(0).unwrap();
    expired_lease(&api);
    // kube's client with its defaults: it repeats a request that got a 503.
    let (a, b) = (candidate(&api, "a", 15, true).await, candidate(&api, "b", 15, true).await);
    api.set_faults(&Who::client("a"), Faults { status: Some(503), verbs: vec![Verb::Patch], ..Faults::default() });
    let slow = tokio::spawn(async move { a.try_acquire_or_renew().await });
    until("a's patch was refused once", || api.log().iter().any(|r| r.client == "a" && r.code == 503)).await;
    let b = term_and_holder(b.try_acquire_or_renew().await.unwrap());
    api.clear_faults();
    let a = term_and_holder(slow.await.unwrap().unwrap());
    assert_eq!((b, a), ((4, "b".into()), (4, "a".into())), "b led term 4, and a took it with the same number");
}

#[tokio::test]
async fn a_compare_and_swap_gives_the_term_to_one_of_the_two() {
    let api = ApiServer::start(0).unwrap();
    expired_lease(&api);
    api.set_faults(&Who::All, Faults { hold: true, verbs: vec![Verb::Update], ..Faults::default() });
    let mut contenders = Vec::new();
    for name in ["a", "b"] {
        let leases: Api<Lease> = Api::namespaced(kube_client(&api, name, false).await, NAMESPACE);
        contenders.push(tokio::spawn(async move {
            let mut lease = leases.get(LEASE).await.unwrap();
            let spec = lease.spec.as_mut().unwrap();
            spec.holder_identity = Some(name.into());
            spec.lease_transitions = Some(4);
            leases.replace(LEASE, &PostParams::default(), &lease).await
        }));
    }
    until("both have read and are about to replace", || api.held() == 2).await;
    api.clear_faults();
    let mut outcomes = Vec::new();
    for contender in contenders {
        outcomes.push(contender.await.unwrap());
    }
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    let refused = outcomes.into_iter().find_map(Result::err).unwrap();
    assert!(matches!(refused, kube::Error::Api(ref status) if status.code == 409 && status.reason == "Conflict"));
}
