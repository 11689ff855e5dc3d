//! When a replica begins a cluster with the data of a backup, and when it does not: one step at a time.

#![allow(clippy::unwrap_used)]

use leasehold_replication::*;
use std::time::Duration;
use uuid::Uuid;

const OWN: ReplicaId = ReplicaId(Uuid::from_u128(0xa0));
const NEW: ClusterId = ClusterId(Uuid::from_u128(0xc9));
const OTHER: ClusterId = ClusterId(Uuid::from_u128(0xc1));
const RESTORED: Restore = Restore { position: Position { term: Term(0), seq: Seq(812) }, format: 2 };

fn config() -> Config {
    Config {
        name: "db-0".to_owned(),
        replica: OWN,
        incarnation: Incarnation(Uuid::from_u128(0xa1)),
        revision: String::new(),
        heartbeat: Duration::from_millis(100),
        lost_time: Duration::from_secs(1),
        disk_stall: Duration::from_secs(2),
        hand_over_max: Duration::from_secs(2),
        drain_min: Duration::ZERO,
        unready_after: Duration::from_secs(30),
        log_memory_bytes: 1_000_000,
        apply_bytes_max: 1_000_000,
        drain_max: Duration::from_secs(55),
        new_cluster_id: NEW,
        initial_data: vec![bytes::Bytes::from_static(b"nobody wants it")],
        initial_format: 1,
        restore: Some(RESTORED),
        force_bootstrap: false,
        format_build: FORMAT,
        format_allowed: FORMAT,
        sums: false,
    }
}

fn empty() -> Recovered {
    Recovered {
        state: DurableState::EMPTY,
        snapshot: None,
        entries: Vec::new(),
        committed: Position::ZERO,
        went_back: None,
        diverged: None,
        format: FORMAT_MIN,
    }
}

fn view(names: &[&str]) -> RoleView {
    let member = |name: &&str| Member {
        name: (*name).to_owned(),
        peer_address: format!("{name}:8090"),
        addresses: Vec::new(),
        remembered: false,
    };
    RoleView { members: names.iter().map(member).collect(), ..RoleView::default() }
}

/// What another pod says of its volume: whether it is empty, and what it allows.
fn said(name: &str, cluster_id: Option<ClusterId>, format_allowed: u32) -> Input {
    let state = PeerState {
        name: name.to_owned(),
        replica: ReplicaId(Uuid::from_u128(0xb0)),
        cluster_id,
        promise: Promise::NONE,
        position: if cluster_id.is_some() { Position::new(3, 9) } else { Position::ZERO },
        hears: None,
        eligible: true,
        stalled: false,
        went_back: false,
        diverged: false,
        known: Vec::new(),
        format_min: FORMAT_MIN,
        format_max: FORMAT,
        format_allowed,
    };
    Input::StateAnswered { name: name.to_owned(), state }
}

/// A start, and what happens then.
fn effects(config: Config, found: Recovered, inputs: Vec<Input>) -> (Replica, Vec<Effect>) {
    let mut replica = Replica::new(config, found);
    let mut now = Duration::from_secs(100);
    let mut effects = Vec::new();
    for input in inputs {
        now += Duration::from_millis(10);
        effects.extend(replica.step(now, input));
    }
    (replica, effects)
}

fn is_write(effect: &Effect) -> bool {
    matches!(effect, Effect::Persist { .. } | Effect::Restore { .. } | Effect::InstallSnapshot { .. })
}

fn restores(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Restore { .. }))
}

/// It ends, with exit code 2 and these words, and has written nothing.
fn assert_ends_unchanged(effects: &[Effect], says: &str) {
    assert!(!effects.iter().any(is_write), "{effects:#?}");
    let why = effects.iter().find_map(|effect| match effect {
        Effect::Unreadable { what } => Some(what),
        _ => None,
    });
    assert!(why.unwrap().contains(says), "{why:?}");
}

#[test]
fn a_pod_alone_begins_with_the_data_in_one_write_and_campaigns_when_that_is_durable() {
    let (mut replica, effects) = effects(config(), empty(), vec![Input::Role(view(&["db-0"]))]);
    let writes: Vec<&Effect> = effects.iter().filter(|effect| is_write(effect)).collect();
    let [Effect::Restore { ticket, meta, state, format, entry }] = writes[..] else { panic!("{writes:#?}") };
    let nobody = Voters { format: 2, floor: 1, voters: Vec::new() };
    assert_eq!(*meta, SnapshotMeta { cluster_id: NEW, position: RESTORED.position, voters: nobody });
    assert_eq!((state.cluster_id, state.bootstrapping, state.promise), (Some(NEW), true, Promise::NONE));
    assert_eq!((entry.previous, entry.position, *format), (RESTORED.position, Position::new(0, 813), 2));
    let Payload::Voters(voters) = &entry.payload else { panic!("{entry:?}") };
    assert_eq!((voters.format, voters.floor, voters.voters.len()), (FORMAT, 1, 1));
    assert_eq!(voters.voters[0].replica, OWN);
    assert_eq!(replica.status().campaign, None, "nobody learns of it before it is durable");
    replica.step(Duration::from_secs(101), Input::Persisted { ticket: *ticket });
    let status = replica.status();
    assert_eq!((status.campaign, status.committed), (Some(Term(0)), RESTORED.position.seq));
}

#[test]
fn a_forced_bootstrap_restores_without_asking_and_in_the_format_of_the_data() {
    let forced = Config { force_bootstrap: true, ..config() };
    let (_, effects) = effects(forced.clone(), empty(), vec![Input::Role(view(&["db-0", "db-1"]))]);
    let found = effects.iter().find_map(|effect| match effect {
        Effect::Restore { state, entry, .. } => Some((state, entry)),
        _ => None,
    });
    let (state, entry) = found.unwrap();
    assert!(!state.bootstrapping);
    assert!(matches!(&entry.payload, Payload::Voters(voters) if voters.format == 2 && voters.floor == 2), "{entry:?}");

    let older = Config { format_allowed: 1, ..forced };
    let (_, effects) = self::effects(older, empty(), vec![Input::Role(view(&["db-0", "db-1"]))]);
    assert_ends_unchanged(&effects, "the data in restore.json have format 2");
}

#[test]
fn it_waits_until_every_other_wanted_pod_says_that_it_is_empty() {
    let start = |more: Vec<Input>| {
        let first = vec![Input::Role(view(&["db-0", "db-1"]))];
        effects(config(), empty(), first.into_iter().chain(more).collect()).1
    };
    assert!(!restores(&start(Vec::new())));
    assert!(!restores(&start(vec![said("db-1", Some(OTHER), FORMAT)])), "it has data");
    assert!(restores(&start(vec![said("db-1", None, FORMAT)])));
    assert!(restores(&start(vec![said("db-1", Some(OTHER), FORMAT), said("db-1", None, FORMAT)])), "it was emptied");
    assert_ends_unchanged(
        &start(vec![said("db-1", None, 1)]),
        "not every wanted pod reads and allows more than format 1",
    );
}

#[test]
fn no_other_start_restores() {
    let wants = |config: Config, found: Recovered, view: RoleView| {
        restores(&effects(config, found, vec![Input::Role(view), said("db-1", None, FORMAT)]).1)
    };
    let alone = view(&["db-0"]);
    assert!(wants(config(), empty(), alone.clone()));
    let lease = RoleView { cluster_id: Some(OTHER), ..alone.clone() };
    assert!(!wants(config(), empty(), lease), "a Lease carries a cluster-id");
    assert!(!wants(config(), empty(), RoleView { paused: true, ..alone.clone() }), "the cluster is paused");
    let second = Config { name: "db-1".to_owned(), ..config() };
    assert!(!wants(second, empty(), view(&["db-0", "db-1"])), "it is not the lowest ordinal");
    let promise = Promise { term: Term(3), incarnation: Incarnation(Uuid::from_u128(1)) };
    let promised = Recovered { state: DurableState { promise, ..DurableState::EMPTY }, ..empty() };
    assert!(!wants(config(), promised, alone.clone()), "it has promised to a leader");
    let position = RESTORED.position;
    let state = DurableState { cluster_id: Some(NEW), bootstrapping: true, ..DurableState::EMPTY };
    let voter = Voter { replica: OWN, name: "db-0".to_owned(), peer_address: "db-0:8090".to_owned() };
    let voters = Voters { format: 2, floor: 1, voters: vec![voter] };
    let meta = SnapshotMeta { cluster_id: NEW, position, voters: Voters { format: 2, ..Voters::none() } };
    let entries = vec![Entry::new(position, Term(0), Payload::Voters(voters))];
    let restored = Recovered { state, snapshot: Some(meta), entries, format: 2, ..empty() };
    assert!(!begins_anew(&restored, false) && !begins_anew(&restored, true));
    assert!(!wants(config(), restored, alone), "it has restored already");
}
