//! The real client's view: typed calls, errors by their reasons, watches that survive what they meet.

use std::{pin::pin, time::Duration};

use futures_util::{Stream, StreamExt};
use k8s_openapi::{
    api::{
        apps::v1::StatefulSet, coordination::v1::Lease, core::v1::Pod, discovery::v1::EndpointSlice, events::v1::Event,
    },
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
    runtime::watcher,
};
use leasehold_api::{ApiServer, Faults, Kind, Verb, Who};
use leasehold_testkit::until;
use serde_json::{Value, json};

use super::{NAMESPACE, kube_client};

fn lease(name: &str, holder: &str, term: i32) -> Lease {
    serde_json::from_value(json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
        "spec": {"holderIdentity": holder, "leaseTransitions": term, "leaseDurationSeconds": 15},
    }))
    .unwrap()
}

async fn setting() -> (ApiServer, Client, Api<Lease>) {
    let api = ApiServer::start(0).unwrap();
    let client = kube_client(&api, "tester", false).await;
    (api, client.clone(), Api::namespaced(client, NAMESPACE))
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, kube::Error>) -> (u16, String, String) {
    match outcome.unwrap_err() {
        kube::Error::Api(status) => (status.code, status.reason.clone(), status.message.clone()),
        other => panic!("not a Status: {other:?}"),
    }
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(60), future).await {
        Ok(value) => value,
        Err(_) => panic!("waited a minute in vain for {what}"),
    }
}

#[tokio::test]
async fn a_lease_is_created_read_replaced_and_deleted() {
    let (_api, _, leases) = setting().await;
    assert_eq!(refused(leases.get("a").await).1, "NotFound");
    let mut made = leases.create(&PostParams::default(), &lease("a", "x", 1)).await.unwrap();
    assert_eq!(refused(leases.create(&PostParams::default(), &lease("a", "x", 1)).await).1, "AlreadyExists");
    made.spec.as_mut().unwrap().renew_time = Some(MicroTime(k8s_openapi::jiff::Timestamp::now()));
    let next = leases.replace("a", &PostParams::default(), &made).await.unwrap();
    assert_ne!(next.metadata.resource_version, made.metadata.resource_version);
    let (code, reason, message) = refused(leases.replace("a", &PostParams::default(), &made).await);
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
    assert!(message.contains("the object has been modified"), "{message}");
    let blind = lease("a", "y", 2);
    let (code, _, message) = refused(leases.replace("a", &PostParams::default(), &blind).await);
    assert_eq!(code, 422);
    assert!(message.contains("must be specified for an update"), "{message}");
    leases.delete("a", &DeleteParams::default()).await.unwrap();
    assert_eq!(refused(leases.replace("a", &PostParams::default(), &next).await).1, "Conflict");
    assert_eq!(refused(leases.delete("a", &DeleteParams::default()).await).0, 404);
}

#[tokio::test]
async fn a_merge_patch_is_conditional_only_if_it_says_so() {
    let (_api, _, leases) = setting().await;
    let first = leases.create(&PostParams::default(), &lease("a", "x", 1)).await.unwrap();
    let patch = json!({"spec": {"holderIdentity": "y"}});
    leases.patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    let conditional =
        json!({"metadata": {"resourceVersion": first.metadata.resource_version}, "spec": {"leaseTransitions": 9}});
    assert_eq!(refused(leases.patch("a", &PatchParams::default(), &Patch::Merge(&conditional)).await).1, "Conflict");
    let now = leases.get("a").await.unwrap().spec.unwrap();
    assert_eq!((now.holder_identity.as_deref(), now.lease_transitions), (Some("y"), Some(1)));
}

#[tokio::test]
async fn an_invalid_lease_is_refused_with_the_field() {
    let (api, _, leases) = setting().await;
    leases.create(&PostParams::default(), &lease("a", "x", 1)).await.unwrap();
    for (patch, code, field) in [
        (json!({"spec": {"leaseDurationSeconds": 0}}), 422, "spec.leaseDurationSeconds"),
        (json!({"spec": {"leaseTransitions": -1}}), 422, "spec.leaseTransitions"),
        (json!({"spec": {"leaseTransitions": 2_147_483_648_u64}}), 422, "is invalid: patch"),
        (json!({"spec": {"renewTime": "2026-01-01T00:00:00Z"}}), 422, "renewTime"),
        (json!({"spec": {"renewTime": 5}}), 422, "renewTime"),
    ] {
        let (got, _, message) = refused(leases.patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await);
        assert_eq!(got, code, "{patch}");
        assert!(message.contains(field), "{message}");
    }
    let top = json!({"spec": {"leaseTransitions": 2_147_483_647}});
    leases.patch("a", &PatchParams::default(), &Patch::Merge(&top)).await.unwrap();
    assert_eq!(refused(leases.create(&PostParams::default(), &lease("Not_A_Name", "x", 1)).await).0, 422);
    assert_eq!(api.list(Kind::Lease, NAMESPACE).len(), 1);
}

#[tokio::test]
async fn a_list_is_selected_by_name_and_its_version_starts_a_watch() {
    let (_api, _, leases) = setting().await;
    for name in ["a", "b"] {
        leases.create(&PostParams::default(), &lease(name, "x", 1)).await.unwrap();
    }
    let list = leases.list(&ListParams::default().fields("metadata.name=b")).await.unwrap();
    assert_eq!(list.items.len(), 1);
    let version = list.metadata.resource_version.unwrap();
    let params = WatchParams::default().fields("metadata.name=b").timeout(30);
    let mut watch = pin!(leases.watch(&params, &version).await.unwrap());
    let patch = json!({"spec": {"holderIdentity": "y"}});
    leases.patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    leases.patch("b", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    leases.delete("b", &DeleteParams::default()).await.unwrap();
    let event = soon("the change", watch.next()).await.unwrap().unwrap();
    assert!(
        matches!(event, WatchEvent::Modified(ref lease) if lease.metadata.name.as_deref() == Some("b")),
        "{event:?}"
    );
    let event = soon("the deletion", watch.next()).await.unwrap().unwrap();
    assert!(matches!(event, WatchEvent::Deleted(_)), "{event:?}");
}

#[tokio::test]
async fn a_watch_ends_at_its_time_out_after_a_bookmark_and_an_old_version_is_gone() {
    let (api, _, leases) = setting().await;
    leases.create(&PostParams::default(), &lease("a", "x", 1)).await.unwrap();
    let version = leases.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let params = WatchParams::default().timeout(3);
    let mut watch = pin!(leases.watch(&params, &version).await.unwrap());
    let event = soon("the bookmark", watch.next()).await.unwrap().unwrap();
    assert!(matches!(event, WatchEvent::Bookmark(_)), "{event:?}");
    assert!(soon("the end", watch.next()).await.is_none());
    api.compact();
    let mut watch = pin!(leases.watch(&params, &version).await.unwrap());
    let event = soon("the refusal", watch.next()).await.unwrap().unwrap();
    assert!(matches!(event, WatchEvent::Error(ref status) if status.code == 410), "{event:?}");
}

/// The next object that a watcher shows, whatever restarts lie between.
async fn next_holder(
    watch: &mut (impl Stream<Item = Result<watcher::Event<Lease>, watcher::Error>> + Unpin),
) -> String {
    loop {
        match soon("a watcher event", watch.next()).await.unwrap() {
            Ok(watcher::Event::Apply(lease) | watcher::Event::InitApply(lease)) => {
                return lease.spec.unwrap().holder_identity.unwrap();
            }
            Ok(_) => {}
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

#[tokio::test]
async fn kubes_watcher_survives_dropped_watches_compaction_and_an_outage() {
    let (api, _, leases) = setting().await;
    leases.create(&PostParams::default(), &lease("a", "start", 1)).await.unwrap();
    let config = watcher::Config::default().fields("metadata.name=a").timeout(290);
    let mut watch = pin!(watcher(leases.clone(), config));
    assert_eq!(next_holder(&mut watch).await, "start");
    let set = |holder: &str| {
        api.patch(Kind::Lease, NAMESPACE, "a", &json!({"spec": {"holderIdentity": holder}})).unwrap();
    };
    set("live");
    assert_eq!(next_holder(&mut watch).await, "live");
    api.drop_watches(&Who::client("tester"));
    set("dropped");
    assert_eq!(next_holder(&mut watch).await, "dropped");
    set("before");
    assert_eq!(next_holder(&mut watch).await, "before");
    api.down().unwrap();
    set("unseen");
    api.compact();
    api.up().unwrap();
    assert_eq!(next_holder(&mut watch).await, "unseen");
    api.set_faults(&Who::client("tester"), Faults { silent_watches: true, ..Faults::default() });
    set("silent");
    assert!(tokio::time::timeout(Duration::from_millis(200), next_holder(&mut watch)).await.is_err());
    api.clear_faults();
    assert_eq!(next_holder(&mut watch).await, "silent");
}

#[tokio::test]
async fn faults_meet_the_client_that_they_are_for_and_no_other() {
    let (api, _, leases) = setting().await;
    let other: Api<Lease> = Api::namespaced(kube_client(&api, "other", false).await, NAMESPACE);
    leases.create(&PostParams::default(), &lease("a", "x", 1)).await.unwrap();
    let who = Who::client("tester");
    api.set_faults(&who, Faults { status: Some(403), ..Faults::default() });
    assert_eq!(refused(leases.get("a").await).0, 403);
    other.get("a").await.unwrap();

    api.set_faults(&who, Faults { hang_up: true, ..Faults::default() });
    assert!(!matches!(leases.get("a").await.unwrap_err(), kube::Error::Api(_)));

    api.set_faults(&who, Faults { black_hole: true, ..Faults::default() });
    assert!(tokio::time::timeout(Duration::from_millis(200), leases.get("a")).await.is_err());
    other.get("a").await.unwrap();

    // The answer is lost, not the write.
    api.set_faults(&who, Faults { lost_answers: true, verbs: vec![Verb::Patch], ..Faults::default() });
    let patch = json!({"spec": {"holderIdentity": "unknown"}});
    let patch = Patch::Merge(&patch);
    let params = PatchParams::default();
    let lost = tokio::time::timeout(Duration::from_millis(500), leases.patch("a", &params, &patch)).await;
    assert!(lost.is_err(), "an answer came: {lost:?}");
    until("the write is done", || api.get(Kind::Lease, NAMESPACE, "a").unwrap()["spec"]["holderIdentity"] == "unknown")
        .await;
    api.clear_faults();
    leases.get("a").await.unwrap();
    let mine = api.log().into_iter().filter(|entry| entry.client == "tester" && entry.code == 0).count();
    assert_eq!(mine, 3, "three requests had no answer");
}

#[tokio::test]
async fn a_right_that_is_denied_is_refused_in_the_words_of_a_role_until_it_is_granted() {
    let (api, _, leases) = setting().await;
    let made = leases.create(&PostParams::default(), &lease("a", "x", 1)).await.unwrap();
    api.deny(Verb::Update, Kind::Lease);
    api.deny(Verb::List, Kind::Lease);
    let whose = "cannot update resource \"leases\" in API group \"coordination.k8s.io\" in the namespace \"database\"";
    assert_eq!(
        refused(leases.replace("a", &PostParams::default(), &made).await),
        (403, "Forbidden".into(), format!("leases.coordination.k8s.io \"a\" is forbidden: User \"tester\" {whose}"))
    );
    let (code, _, message) = refused(leases.list(&ListParams::default()).await);
    assert!(code == 403 && message.starts_with("leases.coordination.k8s.io is forbidden: User"), "{message}");
    leases.get("a").await.unwrap();
    api.grant_all();
    leases.replace("a", &PostParams::default(), &made).await.unwrap();
    assert_eq!((api.requests(Verb::Update, Kind::Lease), api.requests(Verb::List, Kind::Lease)), (2, 1));
}

#[tokio::test]
async fn an_object_is_put_over_another_whatever_its_version_and_clients_see_a_change() {
    let (api, _, leases) = setting().await;
    let put = |holder: &str| {
        let version = "1";
        let lease = json!({"metadata": {"name": "a", "resourceVersion": version}, "spec": {"holderIdentity": holder}});
        api.put(Kind::Lease, NAMESPACE, &lease)
    };
    let first = put("x").unwrap();
    let mut watch = pin!(watcher(leases, watcher::Config::default()));
    assert_eq!(next_holder(&mut watch).await, "x");
    let second = put("y").unwrap();
    assert_eq!(next_holder(&mut watch).await, "y");
    assert_eq!(second["metadata"]["uid"], first["metadata"]["uid"]);
    let wrong = json!({"metadata": {"name": "a"}, "spec": {"leaseTransitions": -1}});
    assert_eq!(api.put(Kind::Lease, NAMESPACE, &wrong).unwrap_err().code, 422);
}

#[tokio::test]
async fn a_lease_keeps_its_preferred_holder_only_with_the_feature_gate() {
    let (api, _, _) = setting().await;
    let spec = json!({"strategy": "OldestEmulationVersion", "preferredHolder": "a"});
    let put = |name: &str| {
        let lease = json!({"metadata": {"name": name}, "spec": spec});
        api.put(Kind::Lease, NAMESPACE, &lease).unwrap()["spec"].clone()
    };
    assert_eq!(put("off"), json!({}));
    api.enable_coordinated_leader_election();
    assert_eq!(put("on"), spec);
}

#[tokio::test]
async fn waiting_for_an_object_ends_with_the_change_that_was_waited_for() {
    let (api, _, leases) = setting().await;
    let held = |lease: &Value| lease["spec"]["holderIdentity"] == "y";
    let wait = api.until(Kind::Lease, NAMESPACE, "a", held);
    let change = async {
        for holder in ["x", "y", "z"] {
            tokio::task::yield_now().await;
            leases.create(&PostParams::default(), &lease(holder, holder, 1)).await.unwrap();
        }
        leases.create(&PostParams::default(), &lease("a", "y", 1)).await.unwrap();
    };
    let (found, ()) = soon("the Lease", async { tokio::join!(wait, change) }).await;
    assert_eq!(found.unwrap()["metadata"]["name"], "a");
}

#[tokio::test]
async fn an_api_that_is_down_refuses_connections_and_comes_back_with_its_objects() {
    let (api, _, leases) = setting().await;
    leases.create(&PostParams::default(), &lease("a", "x", 1)).await.unwrap();
    api.down().unwrap();
    assert!(!matches!(leases.get("a").await.unwrap_err(), kube::Error::Api(_)));
    api.up().unwrap();
    assert_eq!(leases.get("a").await.unwrap().spec.unwrap().lease_transitions, Some(1));
}

#[tokio::test]
async fn the_other_kinds_are_served_too() {
    let (api, client, _) = setting().await;
    let labels = json!({"app": "x"});
    let pod = json!({"metadata": {"name": "p-0", "labels": labels}, "spec": {"containers": [{"name": "store"}]}});
    api.create(Kind::Pod, NAMESPACE, &pod).unwrap();
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let label = json!({"metadata": {"labels": {"leasehold.dev/role": "leader"}}});
    let labelled = pods.patch("p-0", &PatchParams::default(), &Patch::Strategic(&label)).await.unwrap();
    assert_eq!(labelled.metadata.labels.unwrap().len(), 2);
    assert_eq!(pods.list(&ListParams::default().labels("leasehold.dev/role=leader")).await.unwrap().items.len(), 1);

    let set = json!({"metadata": {"name": "s"}, "spec": {
        "replicas": 3, "serviceName": "x", "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "store"}]}},
    }});
    api.create(Kind::StatefulSet, NAMESPACE, &set).unwrap();
    let sets: Api<StatefulSet> = Api::namespaced(client.clone(), NAMESPACE);
    let scale = Patch::Merge(json!({"spec": {"replicas": 5}}));
    assert_eq!(sets.patch_scale("s", &PatchParams::default(), &scale).await.unwrap().spec.unwrap().replicas, Some(5));
    let set = sets.get("s").await.unwrap();
    assert_eq!((set.spec.unwrap().replicas, set.metadata.generation), (Some(5), Some(2)));
    let wrong = Patch::Merge(json!({"spec": {"replicas": -1}}));
    assert_eq!(refused(sets.patch_scale("s", &PatchParams::default(), &wrong).await).0, 422);

    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), NAMESPACE);
    let mut slice: Value = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "leader"},
        "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 8089, "name": "http"}],
    });
    slices.create(&PostParams::default(), &serde_json::from_value(slice.clone()).unwrap()).await.unwrap();
    slice["endpoints"][0]["addresses"] = json!(["::1"]);
    slice["metadata"]["name"] = "other".into();
    let (code, _, message) =
        refused(slices.create(&PostParams::default(), &serde_json::from_value(slice.clone()).unwrap()).await);
    assert_eq!(code, 422, "{message}");
    slice["metadata"]["name"] = "leader".into();
    slice["addressType"] = "IPv6".into();
    let (code, _, message) =
        refused(slices.replace("leader", &PostParams::default(), &serde_json::from_value(slice).unwrap()).await);
    assert!(code == 422 && message.contains("addressType"), "{message}");

    let events: Api<Event> = Api::namespaced(client, NAMESPACE);
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"generateName": "leader-"},
        "eventTime": "2026-11-22T10:00:00.000000Z", "reportingController": "leasehold.dev/sidecar",
        "reportingInstance": "p-0", "action": "Lead", "reason": "LeaderChanged", "type": "Normal",
        "regarding": {"kind": "Lease", "namespace": NAMESPACE, "name": "a"},
    });
    events.create(&PostParams::default(), &serde_json::from_value(event.clone()).unwrap()).await.unwrap();
    for field in ["reportingController", "reportingInstance", "action", "reason", "type"] {
        let mut incomplete = event.clone();
        incomplete.as_object_mut().unwrap().remove(field);
        let outcome = events.create(&PostParams::default(), &serde_json::from_value(incomplete).unwrap()).await;
        assert_eq!(refused(outcome).0, 422, "{field}");
    }
}
