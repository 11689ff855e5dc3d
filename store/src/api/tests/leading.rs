use super::*;
use leasehold_replication::{Agreement, Diverged, FormatStatus, HoldsBack, Sum, WhyHeldBack};
use serde_json::json;

#[tokio::test]
async fn a_starting_replica_answers_503_with_the_reason_and_no_empty_list() {
    let api = Api::starting();
    api.lock().server.set_starting("another process holds the lock of /data");
    for path in ["/persons", JOHANNA_PATH, "/readyz"] {
        let body = problem(&api.get(path).await, Code::NotReady);
        assert!(body["detail"].as_str().unwrap().contains("another process holds the lock"), "{body}");
    }
    problem(&api.post(JOHANNA).await, Code::NotReady);
    assert_eq!(api.lock().taken, 0);
    assert_eq!(api.get("/healthz").await.status(), StatusCode::OK);
    let leader = value(&api.get("/api/leader").await);
    assert_eq!((&leader["isLeader"], &leader["name"]), (&false.into(), &Value::Null));
    let status = value(&api.get("/api/status").await);
    assert_eq!(status["state"], "starting");
    assert_eq!(status["waitingFor"][0], "another process holds the lock of /data");
    assert_eq!(api.get("/metrics").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_replica_is_ready_once_it_caught_up_and_stays_so_without_a_leader() {
    let api = Api::follower();
    let lost = Status { leader_heard: false, ..status(Phase::Follower, "pod-1") };
    let waiting = vec!["database-cluster-2".to_owned()];
    api.set_status(Status { caught_up: false, waiting_for: waiting, ..lost.clone() });
    let body = problem(&api.get("/persons").await, Code::NotReady);
    assert!(body["detail"].as_str().unwrap().contains("database-cluster-2"), "{body}");
    problem(&api.get("/readyz").await, Code::NotReady);
    api.set_status(lost);
    assert_eq!(api.get("/readyz").await.status(), StatusCode::OK);
    assert_eq!(api.count().await, 4);
}

#[tokio::test]
async fn a_draining_replica_is_not_ready_and_still_reads() {
    let api = Api::leader();
    api.set_status(status(Phase::Draining, "pod-0"));
    problem(&api.get("/readyz").await, Code::NotReady);
    assert_eq!(api.count().await, 4);
}

#[tokio::test]
async fn a_failed_or_foreign_replica_does_not_answer_for_the_data() {
    let api = Api::leader();
    api.set_status(status(Phase::Failed, "pod-0"));
    problem(&api.get("/persons").await, Code::NotReady);
    problem(&api.get("/readyz").await, Code::NotReady);
    let foreign = Some(ClusterId(Uuid::from_u128(99)));
    api.set_status(Status { foreign_cluster_id: foreign, ..status(Phase::Follower, "pod-1") });
    let body = problem(&api.get("/persons").await, Code::NotReady);
    assert!(body["detail"].as_str().unwrap().contains(&Uuid::from_u128(99).to_string()), "{body}");
}

#[tokio::test]
async fn the_leader_says_that_it_leads() {
    let api = Api::leader();
    api.lock().server.set_role(role("pod-0"));
    let body = value(&api.get("/api/leader").await);
    assert_eq!(body["isLeader"], true);
    assert_eq!(body["name"], "pod-0");
    assert_eq!(body["address"], "pod-0.database-service.database.svc.cluster.local:8089");
    assert_eq!(body["term"], 3);
    assert_eq!(body["self"], "pod-0");
    assert_eq!(body["state"], "leading");
    let follower = Api::follower();
    let body = value(&follower.get("/api/leader").await);
    assert_eq!((&body["isLeader"], &body["name"], &body["self"]), (&false.into(), &"pod-1".into(), &"pod-0".into()));
    for (api, word) in [(&api, "true"), (&follower, "false")] {
        let text = api.send(asking().path("/api/leader").header("accept", "text/plain")).await;
        assert_eq!(text.body(), word);
        assert_eq!(header(&text, "content-type"), Some("text/plain; charset=utf-8"));
        for accept in ["*/*", "application/json", "application/json, text/plain;q=0.5"] {
            let json = api.send(asking().path("/api/leader").header("accept", accept)).await;
            assert_eq!(header(&json, "content-type"), Some("application/json"));
        }
    }
}

#[tokio::test]
async fn the_leader_s_address_comes_from_the_members_where_the_lease_names_another() {
    let api = Api::follower();
    api.lock().server.set_role(role("pod-2"));
    let body = value(&api.get("/api/leader").await);
    assert_eq!(body["name"], "pod-1", "who is heard leads, whatever the Lease says");
    assert_eq!(body["address"], "pod-1.database-service.database.svc.cluster.local:8089");
    api.lock().server.set_role(RoleFile { members: Vec::new(), ..role("pod-2") });
    let refused = api.post(JOHANNA).await;
    let body = problem(&refused, Code::NotLeader);
    assert_eq!((&body["leader"]["name"], &body["leader"]["address"]), (&"pod-1".into(), &Value::Null));
    assert_eq!(header(&refused, "location"), None);
}

#[tokio::test]
async fn without_a_leader_a_write_is_503() {
    let api = Api::follower();
    api.set_status(Status { leader_heard: false, ..status(Phase::Follower, "pod-1") });
    problem(&api.post(JOHANNA).await, Code::NoLeader);
    api.set_status(Status { following: None, ..status(Phase::Follower, "pod-1") });
    problem(&api.post(JOHANNA).await, Code::NoLeader);
    // Handed over because of its disk, which is why it cannot hear the new leader.
    let unheard = Status { leader_heard: false, ..status(Phase::Follower, "pod-1") };
    api.set_status(unheard.clone());
    problem(&api.post(JOHANNA).await, Code::NoLeader);
    api.set_status(Status { stalled: true, ..unheard });
    problem(&api.post(JOHANNA).await, Code::NotLeader);
    // It lost its leadership a moment ago, and its status does not say so yet.
    api.set_status(status(Phase::Leading, "pod-0"));
    problem(&api.post(JOHANNA).await, Code::NoLeader);
    assert_eq!(value(&api.get("/api/leader").await)["leaderHeard"], true);
}

#[tokio::test]
async fn every_reason_why_a_write_is_not_done_has_its_code() {
    let api = Api::leader();
    for (error, code) in [
        (WriteError::Refused(Refusal::Recovering), Code::Recovering),
        (WriteError::Refused(Refusal::NoMajority), Code::NoMajority),
        (WriteError::Refused(Refusal::TooFewVoters { have: 1, floor: 2 }), Code::TooFewVoters),
        (WriteError::Refused(Refusal::Bootstrapping), Code::Bootstrapping),
        (WriteError::Refused(Refusal::Overloaded), Code::Overloaded),
        (WriteError::Refused(Refusal::DiskStalled), Code::DiskStalled),
        (WriteError::Refused(Refusal::Failed), Code::Failed),
        (WriteError::Refused(Refusal::Diverged), Code::Diverged),
        (
            WriteError::Refused(Refusal::OutOfRoom {
                limit: leasehold_replication::Limit::Disk,
                replica: ReplicaId(Uuid::nil()),
            }),
            Code::OutOfRoom,
        ),
        (WriteError::Overwritten, Code::Overwritten),
        (WriteError::Closed, Code::Stopping),
        (WriteError::Unknown, Code::OutcomeUnknown),
    ] {
        api.serve(Serving::Says(error));
        for (method, path) in [("POST", "/persons"), ("PUT", JOHANNA_PATH), ("DELETE", JOHANNA_PATH)] {
            let body = problem(&api.json(method, path, JOHANNA).await, code);
            let detail = body["detail"].as_str().unwrap();
            assert_eq!(detail.contains("not done"), code != Code::OutcomeUnknown, "{detail}");
        }
    }
    let scrape = api.get("/metrics").await;
    let text = String::from_utf8(scrape.body().to_vec()).unwrap();
    assert!(text.contains("leasehold_store_writes_total{result=\"refused\"} 33"), "{text}");
    assert!(text.contains("leasehold_store_writes_total{result=\"unknown\"} 3"), "{text}");
}

#[tokio::test]
async fn a_replica_that_diverged_serves_nothing_and_names_the_way_out() {
    let api = Api::follower();
    let mark = Diverged {
        replica: ReplicaId(Uuid::nil()),
        name: "pod-0".to_owned(),
        sequence: Seq(4),
        own: Sum(1),
        agreed: Some(Sum(2)),
        agreeing: vec!["pod-1".to_owned(), "pod-2".to_owned()],
    };
    let agreement = Agreement { sequence: Seq(4), sum: Some(Sum(2)), differing: vec!["pod-0".to_owned()] };
    let diverged = Status { diverged: Some(mark), agreement: Some(agreement), ..status(Phase::Diverged, "pod-1") };
    api.set_status(diverged);
    let way_out = "kubectl delete pvc data-pod-0";
    for path in ["/persons", "/persons?consistency=strong", "/persons:watch", JOHANNA_PATH] {
        let body = problem(&api.get(path).await, Code::Diverged);
        assert!(body["detail"].as_str().unwrap().contains(way_out), "{path}: {body}");
    }
    api.serve(Serving::Says(WriteError::Refused(Refusal::Diverged)));
    for (method, path) in [("POST", "/persons"), ("PUT", JOHANNA_PATH), ("DELETE", JOHANNA_PATH)] {
        let body = problem(&api.json(method, path, JOHANNA).await, Code::Diverged);
        assert!(body["detail"].as_str().unwrap().contains("not done"), "{method}: {body}");
    }
    let body = value(&api.get("/api/status").await);
    assert_eq!((&body["state"], &body["ready"]), (&json!("diverged"), &json!(false)));
    assert_eq!(body["diverged"]["agreeing"], json!(["pod-1", "pod-2"]));
    let agreement = json!({"sequence": 4, "sum": Sum(2).to_string(), "differing": ["pod-0"]});
    assert_eq!(body["agreement"], agreement);
    assert_eq!(body["sum"].as_str().unwrap().len(), 32);
    let scrape = api.get("/metrics").await;
    let text = String::from_utf8(scrape.body().to_vec()).unwrap();
    assert!(text.contains("leasehold_store_diverged 1"), "{text}");
}

#[tokio::test]
async fn what_needs_a_later_format_is_not_done_and_says_who_holds_that_back_and_why() {
    let held_by = |name: &str, why| HoldsBack { name: name.to_owned(), why };
    let formats = FormatStatus { build: 3, allowed: 3, ..FormatStatus::default() };
    let of = |formats: FormatStatus| Status { formats, ..status(Phase::Leading, "pod-0") };
    let write = |path: &str| {
        let request = asking().method("PUT").path(path).header("content-type", "application/json");
        request.header("idempotency-key", "made-up-format-3-of-a-test").body(JOHANNA)
    };
    let api = Api::leader();
    let held_back_by = vec![
        held_by("pod-1", WhyHeldBack::OlderBuild { reads: 1 }),
        held_by("pod-2", WhyHeldBack::FormatMax { allowed: 1 }),
        held_by("pod-3", WhyHeldBack::NotConnected),
        held_by("", WhyHeldBack::MembersUnknown),
    ];
    for (formats, held, words) in [
        (
            FormatStatus { held_back_by, ..formats.clone() },
            serde_json::json!([
                {"name": "pod-1", "why": "older-build"},
                {"name": "pod-2", "why": "format-max"},
                {"name": "pod-3", "why": "not-connected"},
                {"name": "", "why": "members-unknown"},
            ]),
            "it is held back by pod-1 (its build reads only format 1), pod-2 (--format-max 1), pod-3 (not connected), \
             the wanted pods are not known",
        ),
        (formats.clone(), serde_json::json!([]), "it is about to be raised"),
        (FormatStatus::default(), serde_json::json!([]), "the leader's own build reads only format 1"),
    ] {
        api.set_status(of(formats));
        let body = problem(&api.send(write(JOHANNA_PATH)).await, Code::UpgradePending);
        assert_eq!((&body["format"], &body["inForce"], &body["heldBackBy"]), (&3.into(), &1.into(), &held));
        let detail = body["detail"].as_str().unwrap();
        assert!(detail.contains(words) && detail.contains("format 3") && detail.contains("Not done"), "{detail}");
    }
    assert_eq!(api.lock().taken, 0);
    // A follower does not know who holds it back.
    api.set_status(status(Phase::Follower, "pod-1"));
    problem(&api.send(write(JOHANNA_PATH)).await, Code::NotLeader);
    api.raise_to(3);
    assert_eq!(api.send(write(JOHANNA_PATH)).await.status(), StatusCode::CREATED);
    assert_eq!(api.lock().taken, 1);
    let scrape = api.get("/metrics").await;
    let text = String::from_utf8(scrape.body().to_vec()).unwrap();
    assert!(text.contains("leasehold_store_writes_total{result=\"refused\"} 4"), "{text}");
}

#[tokio::test]
async fn a_write_that_nobody_answers_has_an_unknown_outcome() {
    let api = Api::leader();
    for serving in [Serving::Hangs, Serving::Drops] {
        api.serve(serving);
        let body = problem(&api.post(JOHANNA).await, Code::OutcomeUnknown);
        assert!(body["detail"].as_str().unwrap().contains("200 ms"), "{body}");
    }
    assert_eq!(api.lock().taken, 2);
}

#[tokio::test]
async fn when_the_driver_is_gone_the_process_is_not_healthy() {
    let api = Api::leader();
    api.task.abort();
    while api.handle.is_alive() {
        tokio::task::yield_now().await;
    }
    problem(&api.get("/healthz").await, Code::Stopping);
    problem(&api.get("/readyz").await, Code::NotReady);
    problem(&api.post(JOHANNA).await, Code::Stopping);
}

#[tokio::test]
async fn a_full_queue_is_refused_at_once() {
    let (handle, _server) = handle("pod-0", Incarnation(Uuid::nil()));
    let waiting: Vec<_> = (0..crate::handle::WRITES_WAITING_MAX)
        .map(|_| {
            let handle = handle.clone();
            tokio::spawn(async move { handle.write(Bytes::new(), Duration::from_secs(60)).await })
        })
        .collect();
    tokio::task::yield_now().await;
    let refused = loop {
        // A client that arrives before the queue is full waits, and gives up.
        match handle.write(Bytes::new(), Duration::from_millis(1)).await {
            Err(WriteError::Unknown) => {}
            other => break other,
        }
    };
    assert_eq!(refused, Err(WriteError::Refused(Refusal::Overloaded)));
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_replica_that_is_cut_off_is_not_ready_knows_no_lag_and_still_answers_reads() {
    let api = Api::follower();
    let cut_off = Status { leader_heard: false, cut_off: true, ..status(Phase::Follower, "pod-1") };
    api.set_status(cut_off.clone());
    let left = tokio::time::timeout(Duration::from_secs(5), api.handle.leaving()).await;
    left.expect("its watches would go on without what is new");
    let body = problem(&api.get("/readyz").await, Code::NotReady);
    for word in ["pod-1", "10.0.0.1:8090", "--unready-after"] {
        assert!(body["detail"].as_str().unwrap().contains(word), "{body}");
    }
    assert_eq!(api.get("/persons").await.status(), StatusCode::OK);
    let shown = value(&api.get("/api/status").await);
    assert_eq!((&shown["cutOff"], &shown["lagEntries"], &shown["ready"]), (&true.into(), &Value::Null, &false.into()));
    assert_eq!(shown["stalenessMs"], Value::Null);
    let text = String::from_utf8(api.get("/metrics").await.body().to_vec()).unwrap();
    assert!(text.contains("leasehold_store_staleness_seconds NaN"), "{text}");
    api.lock().server.set_fresh_as_of(Some(Duration::ZERO));
    api.set_status(Status { cut_off: false, leader_heard: true, ..cut_off });
    assert_eq!(api.get("/readyz").await.status(), StatusCode::OK);
    let shown = value(&api.get("/api/status").await);
    assert_eq!(shown["lagEntries"], 0);
    assert!(shown["stalenessMs"].is_u64());
}

#[tokio::test]
async fn a_leader_shows_a_follower_that_is_silent_as_not_connected_and_of_unknown_lag() {
    let api = Api::leader();
    let silent = leasehold_replication::FollowerStatus {
        formats: (1, 1),
        room: Default::default(),
        name: "pod-1".to_owned(),
        replica: ReplicaId(Uuid::from_u128(2)),
        incarnation: Incarnation(Uuid::from_u128(8)),
        voter: true,
        connected: false,
        silent_since: Some(Duration::ZERO),
        verified: Seq(1),
        eligible: true,
        stalled: false,
        diverged: false,
    };
    api.set_status(Status { followers: vec![silent], ..status(Phase::Leading, "pod-0") });
    let body = value(&api.get("/api/status").await);
    let followers = body["followers"].as_array().unwrap();
    assert_eq!((&followers[0]["connected"], &followers[0]["lagEntries"]), (&false.into(), &Value::Null));
    assert!(followers[0]["silentMs"].is_u64());
    // A voter that never said hello is shown, too.
    assert_eq!((followers.len(), &followers[1]["name"]), (2, &"pod-2".into()));
    assert_eq!((&followers[1]["connected"], &followers[1]["lagEntries"]), (&false.into(), &Value::Null));
    let text = String::from_utf8(api.get("/metrics").await.body().to_vec()).unwrap();
    assert!(!text.contains("leasehold_store_follower_lag_entries{"), "{text}");
}

#[tokio::test]
async fn the_status_says_everything() {
    let api = Api::leader();
    api.lock().server.set_role(role("pod-0"));
    let follower = leasehold_replication::FollowerStatus {
        formats: (1, 1),
        room: Default::default(),
        name: "pod-1".to_owned(),
        replica: ReplicaId(Uuid::from_u128(2)),
        incarnation: Incarnation(Uuid::from_u128(8)),
        voter: true,
        connected: true,
        silent_since: None,
        verified: Seq(1),
        eligible: true,
        stalled: false,
        diverged: false,
    };
    api.set_status(Status { followers: vec![follower], ..status(Phase::Leading, "pod-0") });
    let body = value(&api.get("/api/status").await);
    assert_eq!(body["state"], "leading");
    assert_eq!(body["ready"], true);
    assert_eq!(body["clusterId"], Uuid::from_u128(9).to_string());
    assert_eq!(body["replica"], Uuid::from_u128(1).to_string());
    assert_eq!(body["incarnation"], Uuid::from_u128(7).to_string());
    assert_eq!(body["promised"]["term"], 3);
    assert_eq!(body["position"], serde_json::json!({"term": 3, "sequence": 4}));
    assert_eq!(body["applied"], serde_json::json!({"term": 3, "sequence": 4}));
    assert_eq!(body["voters"][2]["name"], "pod-2");
    assert_eq!(body["floor"], 2);
    assert_eq!(body["followers"][0]["lagEntries"], 3);
    assert_eq!(body["role"]["self"], "pod-0");
    assert_eq!(body["leader"]["name"], "pod-0");
    let text = String::from_utf8(api.get("/metrics").await.body().to_vec()).unwrap();
    for line in [
        "leasehold_store_state{state=\"leading\"} 1",
        "leasehold_store_voters 3",
        "leasehold_store_committed_sequence 4",
        "leasehold_store_promised_term 3",
        "leasehold_store_ready 1",
        "leasehold_store_follower_lag_entries{follower=\"pod-1\"} 3",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn the_index_names_calls_that_exist() {
    let api = Api::leader();
    let index = value(&api.get("/").await);
    for call in index["calls"].as_object().unwrap().keys() {
        let (method, path) = call.split_once(' ').unwrap();
        let path = path.replace("{id}", "e956b5d0-fa0c-40e8-9da9-333c214dcaf7").replace("{collection}", "orders");
        assert!(super::super::calls::methods_of(&path).unwrap().contains(method), "{call}");
    }
}
