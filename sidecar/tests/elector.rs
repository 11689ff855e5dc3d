//! The whole elector, as a library, against a small API server.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use leasehold_api::{ApiServer, Faults, Kind, Verb, Who};
use leasehold_contract::{Moment, Role, RoleFile, read_json};
use leasehold_sidecar::{Config, Elector, State};
use leasehold_testkit as testkit;
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(20);

fn config(name: &str) -> Config {
    let address = format!("10.0.0.{}:80", name.len());
    let config = Config::plain("n", "db", name, &address).unwrap();
    Config { lease_duration: Duration::from_secs(2), lost_time: Duration::from_millis(200), ..config }
}

async fn until(elector: &Elector, wanted: impl Fn(&State) -> bool) -> State {
    let mut state = elector.state();
    let found = tokio::time::timeout(LONG, state.wait_for(|state| wanted(state))).await;
    match found {
        Ok(state) => state.unwrap().clone(),
        Err(_) => panic!("it stays {:#?}", *elector.state().borrow()),
    }
}

/// The Lease; null where there is none.
fn read_lease(api: &ApiServer) -> Value {
    api.get(Kind::Lease, "n", "db").unwrap_or(Value::Null)
}

async fn until_lease(api: &ApiServer, wanted: impl FnMut(&Value) -> bool) -> Value {
    api.until(Kind::Lease, "n", "db", wanted).await.unwrap()
}

fn holder(lease: &Value) -> Option<&str> {
    lease["spec"]["holderIdentity"].as_str().filter(|holder| !holder.is_empty())
}

fn term(lease: &Value) -> u64 {
    lease["spec"]["leaseTransitions"].as_u64().unwrap()
}

async fn stop(elector: Elector) {
    elector.stop();
    tokio::time::timeout(LONG, elector.ended()).await.expect("it did not end").unwrap();
}

#[tokio::test]
async fn of_two_one_leads_and_when_it_stops_the_other_does_in_a_higher_term() {
    let api = ApiServer::start(0).unwrap();
    let first = Elector::start(config("a"), api.client("sidecar", "n").await.unwrap()).await.unwrap();
    let state = until(&first, State::leads).await;
    assert_eq!(state.role_word(), "leader");
    let term_of_first = state.role.unwrap().term;
    let second = Elector::start(config("bb"), api.client("sidecar", "n").await.unwrap()).await.unwrap();
    let state = until(&second, |state| state.leader() == Some("a")).await;
    assert_eq!((state.role_word(), state.leads()), ("follower", false));
    assert_eq!(state.role.unwrap().leader.unwrap().address, "10.0.0.1:80");

    stop(first).await;
    let state = until(&second, State::leads).await;
    assert!(state.role.unwrap().term > term_of_first);
    assert!(state.history.len() >= 2, "{:?}", state.history);
    stop(second).await;
    assert_eq!(holder(&read_lease(&api)), None, "the Lease was not let go of");
}

#[tokio::test]
async fn a_steady_leader_asks_only_for_renewals_and_a_steady_follower_for_nothing() {
    let api = ApiServer::start(0).unwrap();
    let leader = Elector::start(config("a"), api.client("sidecar", "n").await.unwrap()).await.unwrap();
    until(&leader, State::leads).await;
    let follower = Elector::start(config("bb"), api.client("sidecar", "n").await.unwrap()).await.unwrap();
    until(&follower, |state| state.leader() == Some("a")).await;
    // Each starts with one list and one watch; the follower looks once into the record of terms.
    let all_watch = || api.requests(Verb::Watch, Kind::Lease) >= 2 && api.requests(Verb::Get, Kind::Lease) >= 1;
    testkit::until("everybody watches", all_watch).await;
    let reads = || {
        api.requests(Verb::Get, Kind::Lease)
            + api.requests(Verb::List, Kind::Lease)
            + api.requests(Verb::Watch, Kind::Lease)
    };
    let (reads_before, updates_before) = (reads(), api.requests(Verb::Update, Kind::Lease));
    let began = std::time::Instant::now();
    testkit::until("it renewed four times", || api.requests(Verb::Update, Kind::Lease) >= updates_before + 4).await;
    assert!(
        began.elapsed() > Duration::from_millis(1700),
        "renewed much more often than every third: {:?}",
        began.elapsed()
    );
    assert_eq!(reads(), reads_before);
    assert_eq!((api.requests(Verb::Get, Kind::Lease), api.requests(Verb::List, Kind::Lease)), (1, 2));
}

#[tokio::test]
async fn a_leader_that_cannot_renew_steps_down_before_the_lease_runs_out() {
    let api = ApiServer::start(0).unwrap();
    let elector = Elector::start(config("a"), api.client("sidecar", "n").await.unwrap()).await.unwrap();
    until(&elector, State::leads).await;
    for faults in [Faults::black_hole(), Faults::status(503), Faults::status(403)] {
        api.set_faults(&Who::All, faults.clone());
        let began = std::time::Instant::now();
        let state = until(&elector, |state| state.role_word() != "leader").await;
        assert!(!state.leads());
        assert!(began.elapsed() < Duration::from_millis(1900), "{faults:?}: {:?}", began.elapsed());
        let role = state.role.unwrap();
        assert_ne!(role.role, Role::Leader, "the file itself says so in time");
        api.clear_faults();
        api.drop_watches(&Who::All);
        until(&elector, State::leads).await;
    }
}

/// The volume is full, say. The app reads `leader`, which is valid for a while, whatever the sidecar decides.
#[tokio::test]
async fn a_lease_is_not_let_go_of_while_a_role_json_that_cannot_be_replaced_says_leader() {
    let api = ApiServer::start(0).unwrap();
    let volume = tempfile::tempdir().unwrap();
    let (mounted, of_app) = (volume.path().join("sidecar"), volume.path().join("app"));
    let long = |name| Config { lease_duration: Duration::from_secs(4), ..config(name) };
    let first = Config { directory: Some(mounted.clone()), ..long("a") };
    let first = Elector::start(first, api.client("sidecar", "n").await.unwrap()).await.unwrap();
    until(&first, State::leads).await;
    let second = Elector::start(long("bb"), api.client("sidecar", "n").await.unwrap()).await.unwrap();
    until(&second, |state| state.leader() == Some("a")).await;

    std::fs::rename(&mounted, &of_app).unwrap();
    std::fs::write(&mounted, "no directory, so nothing can be written").unwrap();
    let role = || read_json::<RoleFile>(&of_app.join("role.json")).unwrap();
    assert!(role().leads(Moment::now()));
    first.stop();
    until(&second, State::leads).await;
    assert!(!role().leads(Moment::now()), "the app of the first still leads: {:?}", role());
    tokio::time::timeout(LONG, first.ended()).await.expect("it did not end").unwrap();
    stop(second).await;
}

/// The process stood still until the last third of its claim: nothing of it ran, the election neither.
#[tokio::test]
async fn a_thawed_process_does_not_lead_by_a_claim_that_it_would_have_withdrawn() {
    let api = ApiServer::start(0).unwrap();
    let elector = Elector::start(config("a"), api.client("sidecar", "n").await.unwrap()).await.unwrap();
    let state = until(&elector, State::leads).await;
    let valid_until = state.role.unwrap().lease.valid_until_boottime_ns.unwrap();
    let last_third = valid_until - 600_000_000;
    // One thread: what blocks it freezes the election as well.
    while Moment::now().boottime_ns < last_third {
        std::thread::park_timeout(Duration::from_millis(5));
    }
    let state = elector.state();
    let known = state.borrow();
    assert_eq!(known.role.as_ref().unwrap().role, Role::Leader, "the election has run, so nothing was seen");
    assert!(Moment::now().boottime_ns < valid_until, "this machine is too slow for this test");
    assert!(!known.leads());
}

#[tokio::test]
async fn a_writer_whose_answers_are_lost_never_shares_a_term() {
    let api = ApiServer::start(0).unwrap();
    api.set_faults(&Who::All, Faults::lost_answers_of_writes());
    let first = Elector::start(config("a"), api.client("sidecar", "n").await.unwrap()).await.unwrap();
    let second = Elector::start(config("bb"), api.client("sidecar", "n").await.unwrap()).await.unwrap();
    // Both write, and neither learns what became of it.
    api.until(Kind::Lease, "n", "db.first", |record| !record.is_null()).await.unwrap();
    api.clear_faults();
    let look = || (first.state().borrow().clone(), second.state().borrow().clone());
    testkit::until_seen("they agree on a leader", look, |(a, b)| {
        assert!(!(a.leads() && b.leads()), "two leaders");
        (a.leads() || b.leads()) && a.leader() == b.leader()
    })
    .await;
}

#[tokio::test]
async fn the_files_the_label_the_service_and_the_event_tell_of_the_leader() {
    let api = ApiServer::start(0).unwrap();
    let dir = tempfile::tempdir().unwrap();
    api.put(Kind::Pod, "n", &json!({"metadata": {"name": "db-0"}})).unwrap();
    let stateful_set = json!({
        "metadata": {"name": "db"}, "spec": {"replicas": 2, "serviceName": "svc", "selector": {}, "template": {}},
    });
    let uid = api.put(Kind::StatefulSet, "n", &stateful_set).unwrap()["metadata"]["uid"].clone();
    let config = Config {
        directory: Some(dir.path().join("run")),
        stateful_set: Some("db".to_owned()),
        leader_service: Some("db-leader".to_owned()),
        ..config("db-0")
    };
    let elector = Elector::start(config, api.client("sidecar", "n").await.unwrap()).await.unwrap();
    until(&elector, |state| state.leads() && state.role.as_ref().is_some_and(|role| role.members.len() == 2)).await;
    let run = dir.path().join("run");
    let role: RoleFile = read_json(&run.join("role.json")).unwrap();
    assert_eq!((role.role, role.self_name.as_str()), (Role::Leader, "db-0"));
    assert!(role.leads(Moment::now()), "a reader of the file may rely on it: {role:?}");
    assert_eq!(role.members.iter().map(|member| member.name.as_str()).collect::<Vec<_>>(), ["db-0", "db-1"]);
    let word = |name: &str| std::fs::read_to_string(run.join(name)).unwrap();
    assert_eq!((word("role").as_str(), word("leader").as_str()), ("leader\n", "10.0.0.4:80\n"));

    let leads = |pod: &Value| pod["metadata"]["labels"]["leasehold.dev/role"] == "leader";
    api.until(Kind::Pod, "n", "db-0", leads).await.unwrap();
    let slice = api.until(Kind::EndpointSlice, "n", "db-leader-ipv4", |slice| !slice.is_null()).await.unwrap();
    assert_eq!(slice["endpoints"][0]["addresses"][0], "10.0.0.4");
    let lease = until_lease(&api, |lease| lease["metadata"]["ownerReferences"][0]["uid"] == uid).await;
    assert_eq!(lease["metadata"]["ownerReferences"].as_array().unwrap().len(), 1);
    let events = || api.list(Kind::Event, "n");
    let tells = |events: &Vec<Value>| events.iter().any(|event| event["reason"] == "LeaderChanged");
    testkit::until_seen("an Event tells of the leader", events, tells).await;

    std::fs::remove_file(run.join("role.json")).unwrap();
    testkit::until("role.json is written again", || run.join("role.json").exists()).await;
}

#[tokio::test]
async fn a_missing_right_is_named_and_its_grant_is_noticed() {
    let api = ApiServer::start(0).unwrap();
    api.deny(Verb::Create, Kind::Lease);
    api.deny(Verb::Patch, Kind::Pod);
    let elector = Elector::start(config("a"), api.client("sidecar", "n").await.unwrap()).await.unwrap();
    let missing = |state: &State, right: &str| state.missing_rights.iter().any(|missing| missing == right);
    let state = until(&elector, |state| missing(state, "create leases.coordination.k8s.io")).await;
    assert!(!state.leads());
    api.grant_all();
    until(&elector, |state| state.leads() && !missing(state, "create leases.coordination.k8s.io")).await;
}

#[tokio::test]
async fn a_dead_watch_does_not_hide_a_new_leader() {
    let api = ApiServer::start(0).unwrap();
    let elector = Elector::start(config("bb"), api.client("sidecar", "n").await.unwrap()).await.unwrap();
    let mut lease = until_lease(&api, |lease| holder(lease) == Some("bb")).await;
    api.set_faults(&Who::All, Faults::silent_watches());
    // Another pod takes it, and the watch does not show it.
    lease["spec"]["holderIdentity"] = json!("a");
    lease["spec"]["leaseTransitions"] = json!(term(&lease) + 1);
    lease["spec"]["renewTime"] = json!("2030-01-01T00:00:00.000000Z");
    lease["metadata"]["annotations"]["leasehold.dev/incarnation"] = json!("93115462-543c-4149-9b75-2b1a84bd326c");
    api.put(Kind::Lease, "n", &lease).unwrap();
    until(&elector, |state| state.leader() == Some("a") && !state.leads()).await;
}
