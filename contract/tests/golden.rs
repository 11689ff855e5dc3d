//! role.json and status.json, as each release wrote them: docs/golden.md has the rules. Sidecar and app may be of two releases.

#![allow(clippy::unwrap_used)]

use leasehold_contract::*;
use leasehold_testkit::golden::Golden;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::path::Path;
use uuid::Uuid;

const CLUSTER: Option<Uuid> = Some(Uuid::from_u128(0xc1));
const INCARNATION: Option<Uuid> = Some(Uuid::from_u128(0x1a));
const BOOT: Option<Uuid> = Some(Uuid::from_u128(0xb0));

fn golden() -> Golden {
    Golden::of(env!("CARGO_MANIFEST_DIR"))
}

fn roles() -> Vec<(&'static str, RoleFile)> {
    let member = |n: u32, remembered| Member {
        name: format!("db-{n}"),
        address: format!("db-{n}.db-service.n.svc.cluster.local:8089"),
        peer_address: format!("db-{n}.db-service.n.svc.cluster.local:8090"),
        addresses: vec![format!("10.0.0.{n}").parse().unwrap(), format!("fd00::{n}").parse().unwrap()],
        remembered,
    };
    let leader = |n: u32, incarnation| {
        let Member { name, address, peer_address, addresses, .. } = member(n, false);
        Leader { name, incarnation, address, peer_address, addresses }
    };
    let lease = LeaseInfo {
        namespace: "n".to_owned(),
        name: "db".to_owned(),
        duration_ms: 15_000,
        valid_until_boottime_ns: Some(900_000_000_000),
        valid_until_unix_ms: Some(1_767_225_600_000),
        renewal_seen_boottime_ns: None,
    };
    let leads = RoleFile {
        version: 1,
        generation: 12,
        role: Role::Leader,
        term: 5,
        cluster_id: CLUSTER,
        boot_id: BOOT,
        self_name: "db-1".to_owned(),
        self_addresses: vec!["10.0.0.1".parse().unwrap()],
        leader: Some(leader(1, INCARNATION)),
        members: vec![member(0, false), member(1, false), member(2, true)],
        hand_over_to: Some("db-2".to_owned()),
        off_lease: false,
        paused: true,
        newest_revision: Some("db-6c5f".to_owned()),
        lease: lease.clone(),
    };
    let off_lease = RoleFile { off_lease: true, paused: false, hand_over_to: None, ..leads.clone() };
    let follows = RoleFile {
        role: Role::Follower,
        leader: Some(leader(0, None)),
        hand_over_to: None,
        paused: false,
        lease: LeaseInfo {
            valid_until_boottime_ns: None,
            valid_until_unix_ms: None,
            renewal_seen_boottime_ns: Some(890_000_000_000),
            ..lease.clone()
        },
        ..leads.clone()
    };
    let none = RoleFile {
        generation: 1,
        role: Role::None,
        term: 0,
        cluster_id: None,
        boot_id: None,
        self_addresses: Vec::new(),
        leader: None,
        members: Vec::new(),
        hand_over_to: None,
        paused: false,
        newest_revision: None,
        lease: LeaseInfo { valid_until_boottime_ns: None, valid_until_unix_ms: None, ..lease },
        ..leads.clone()
    };
    vec![
        ("role-leader.json", leads),
        ("role-leader-off-lease.json", off_lease),
        ("role-follower.json", follows),
        ("role-none.json", none),
    ]
}

fn statuses() -> Vec<(&'static str, StatusFile)> {
    let progress = |what, bytes: Option<u64>, entries: Option<u64>| ProgressInfo {
        what,
        done_bytes: bytes,
        of_bytes: bytes.map(|done| 2 * done),
        done_entries: entries,
        of_entries: entries.map(|done| 2 * done),
        since_unix_ms: 1_767_225_600_000,
    };
    let out_of = |what| OutOfRoom { what, used_bytes: 1_100, allowed_bytes: 1_000 };
    let starting = StatusFile {
        progress: Some(progress(Doing::Start, Some(1_000), None)),
        waits_for_room: Some("16 MiB more on the volume: delete other files".to_owned()),
        ..StatusFile::starting(Uuid::from_u128(0x1a))
    };
    let leading = StatusFile {
        version: 1,
        incarnation: Uuid::from_u128(0x1a),
        replica: Some(Uuid::from_u128(0xa1)),
        cluster_id: CLUSTER,
        state: State::Leading,
        voter: true,
        promised: PromiseInfo { term: 5, incarnation: INCARNATION },
        position: PositionInfo { term: 5, sequence: 812 },
        following: Some(ClaimInfo {
            term: 5,
            incarnation: Uuid::from_u128(0x1a),
            name: "db-1".to_owned(),
            peer_address: "db-1.db-service.n.svc.cluster.local:8090".to_owned(),
        }),
        leader_heard: true,
        campaign: None,
        rank: 0,
        need_term: Some(7),
        hand_over: Some(HandOver { to: Some("db-2".to_owned()), incarnation: Some(Uuid::from_u128(0x1c)) }),
        eligible: true,
        stalled: false,
        bootstrapping: true,
        ready: Some(true),
        went_back: None,
        diverged: None,
        progress: Some(progress(Doing::Snapshot, Some(1_000), None)),
        out_of_room: vec![out_of(RoomKind::Memory), out_of(RoomKind::Disk)],
        waits_for_room: None,
        refused_definitions: None,
        holds_until_boottime_ns: Some(900_000_000_000),
        app_version: "0.1.0".to_owned(),
    };
    let in_state = |state| StatusFile {
        state,
        following: None,
        leader_heard: false,
        need_term: None,
        hand_over: None,
        bootstrapping: false,
        progress: None,
        out_of_room: Vec::new(),
        ..leading.clone()
    };
    let campaigns = StatusFile { campaign: Some(5), rank: 1, ..in_state(State::Follower) };
    let progress = Some(progress(Doing::Join, None, Some(40)));
    let learner = StatusFile { voter: false, eligible: false, progress, ..in_state(State::Learner) };
    let hand_over = Some(HandOver { to: None, incarnation: None });
    let failed = StatusFile {
        went_back: Some("db-0 knows more of this volume".to_owned()),
        diverged: Some("its data are not those of db-0 and db-2".to_owned()),
        stalled: true,
        eligible: false,
        ready: Some(false),
        ..in_state(State::Failed)
    };
    vec![
        ("status-starting.json", starting),
        ("status-learner.json", learner),
        ("status-follower.json", campaigns),
        ("status-recovering.json", in_state(State::Recovering)),
        ("status-draining.json", StatusFile { hand_over, ..in_state(State::Draining) }),
        ("status-failed.json", failed),
        ("status-leading.json", leading),
    ]
}

fn are_read<T: DeserializeOwned + Debug + PartialEq>(values: Vec<(&'static str, T)>) {
    for (name, value) in values {
        for (version, json) in golden().stored(name) {
            assert_eq!(parse_json::<T>(Path::new(name), &json).unwrap(), value, "{version}/{name}");
        }
    }
}

#[test]
fn golden_role_and_status_files_are_read_as_these_values() {
    are_read(roles());
    are_read(statuses());
}

#[test]
fn golden_role_and_status_files_are_what_these_values_are_written_as() {
    for (name, role) in roles() {
        golden().is_written(name, &role.to_json());
    }
    for (name, status) in statuses() {
        golden().is_written(name, &status.to_json());
    }
}

#[test]
fn golden_files_of_the_contract_are_all_tested() {
    let roles = roles().into_iter().map(|(name, _)| name);
    let statuses = statuses().into_iter().map(|(name, _)| name);
    golden().has_exactly(&roles.chain(statuses).collect::<Vec<_>>());
}

#[test]
fn golden_role_and_status_files_have_no_member_that_the_design_does_not_name() {
    for name in ["role-leader.json", "status-leading.json", "status-draining.json"] {
        golden().is_described_in("docs/design.md", name);
    }
}
