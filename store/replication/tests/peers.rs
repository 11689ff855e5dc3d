//! One follower, and a leader that says what a correct one never would: the follower ends rather than losing what is
//! committed, and says nothing that is not so. (A disk that fails ends it in the same way.)

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use leasehold_replication::*;
use std::time::Duration;
use uuid::Uuid;

const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(0xc1));
const OWN: ReplicaId = ReplicaId(Uuid::from_u128(0xa0));
const LEADER: Incarnation = Incarnation(Uuid::from_u128(0xb1));
const NOW: Duration = Duration::from_secs(100);

fn voters() -> Voters {
    let voter = |(name, replica): (&str, u128)| Voter {
        replica: ReplicaId(Uuid::from_u128(replica)),
        name: name.to_owned(),
        peer_address: format!("{name}:8090"),
    };
    Voters { format: FORMAT, floor: 2, voters: [("db-0", 0xa0), ("db-1", 0xb0), ("db-2", 0xc0)].map(voter).to_vec() }
}

/// A chain after `from`, all of that term.
fn chain(from: Position, term: u64, payloads: &[Payload]) -> Vec<Entry> {
    let mut last = from;
    let entry = |payload: &Payload| {
        let entry = Entry::new(last, Term(term), payload.clone());
        last = entry.position;
        entry
    };
    payloads.iter().map(entry).collect()
}

fn command(what: &'static str) -> Payload {
    Payload::Command(Bytes::from_static(what.as_bytes()))
}

fn replica(state: DurableState, snapshot: Option<SnapshotMeta>, entries: Vec<Entry>) -> Replica {
    let config = Config {
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
        new_cluster_id: ClusterId(Uuid::from_u128(0xc9)),
        initial_data: Vec::new(),
        initial_format: 1,
        restore: None,
        force_bootstrap: false,
        format_build: FORMAT,
        format_allowed: FORMAT,
        sums: false,
    };
    let (committed, went_back, diverged, format) = (Position::ZERO, None, None, FORMAT_MIN);
    let found = Recovered { state, snapshot, entries, committed, went_back, diverged, format };
    let mut replica = Replica::new(config, found);
    // Nobody knows more of this volume than it holds: it may promise.
    for (name, id) in [("db-1", 0xb0), ("db-2", 0xc0)] {
        let state = PeerState {
            name: name.to_owned(),
            replica: ReplicaId(Uuid::from_u128(id)),
            cluster_id: Some(CLUSTER),
            promise: Promise::NONE,
            position: Position::ZERO,
            hears: None,
            eligible: true,
            stalled: false,
            went_back: false,
            diverged: false,
            known: Vec::new(),
            format_min: FORMAT_MIN,
            format_max: FORMAT,
            format_allowed: FORMAT,
        };
        replica.step(NOW, Input::StateAnswered { name: name.to_owned(), state });
    }
    replica
}

fn view(cluster_id: ClusterId, peer_address: &str) -> RoleView {
    let leader = LeaderView {
        term: Term(2),
        incarnation: LEADER,
        name: "db-1".to_owned(),
        peer_address: peer_address.to_owned(),
        addresses: Vec::new(),
    };
    RoleView { cluster_id: Some(cluster_id), leader: Some(leader), ..RoleView::default() }
}

fn dialled(effects: &[Effect]) -> Option<(ConnId, &str)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Dial { conn, to, .. } => Some((*conn, to.peer_address.as_str())),
        _ => None,
    })
}

/// Welcomed by the leader of term 2. Its log is 1/1 (the voters), 1/2 and 1/3, of which `committed` is.
struct Follower {
    replica: Replica,
    conn: ConnId,
}

fn state() -> DurableState {
    DurableState { cluster_id: Some(CLUSTER), ..DurableState::EMPTY }
}

impl Follower {
    fn new(committed: u64) -> Follower {
        let entries = chain(Position::ZERO, 1, &[Payload::Voters(voters()), command("a"), command("b")]);
        Follower::welcomed(replica(state(), None, entries), Position::new(1, 3), committed)
    }

    fn welcomed(mut replica: Replica, last: Position, committed: u64) -> Follower {
        let mut effects = replica.step(NOW, Input::Role(view(CLUSTER, "db-1:8090")));
        effects.extend(replica.step(NOW, Input::Persisted { ticket: Ticket(1) }));
        let conn = dialled(&effects).expect("the promise is durable").0;
        replica.step(NOW, Input::Answered { conn, answer: HelloAnswer::Welcome { format: FORMAT, replica: None } });
        let mut follower = Follower { replica, conn };
        follower.append(last, committed, Vec::new());
        assert_eq!(follower.replica.status().committed, Seq(committed));
        follower
    }

    fn append(&mut self, previous: Position, commit: u64, entries: Vec<Entry>) -> Vec<Effect> {
        let body = Body::Append { previous, commit: Seq(commit), entries };
        let frame = Frame { term: Term(2), incarnation: LEADER, body };
        self.replica.step(NOW, Input::Frame { conn: self.conn, frame })
    }

    fn snapshot(&mut self, cluster_id: ClusterId, position: Position) -> Vec<Effect> {
        let meta = SnapshotMeta { cluster_id, position, voters: voters() };
        self.replica.step(NOW, Input::SnapshotReceived { conn: self.conn, meta })
    }

    /// It ended, says so, and changed nothing.
    #[track_caller]
    fn ended(&self, effects: &[Effect], why: &str) {
        let reported = effects.iter().any(|effect| matches!(effect, Effect::Report { what } if what.contains(why)));
        let failed = effects.iter().any(|effect| matches!(effect, Effect::Fail { reason } if reason.contains(why)));
        assert!(reported && failed, "{effects:#?}");
        let writes = |effect: &Effect| matches!(effect, Effect::Persist { .. } | Effect::InstallSnapshot { .. });
        assert!(!effects.iter().any(writes), "{effects:#?}");
        let status = self.replica.status();
        assert_eq!((status.phase, status.position), (Phase::Failed, Position::new(1, 3)));
        assert!(!status.eligible && status.campaign.is_none());
    }
}

fn bodies(effects: &[Effect]) -> Vec<&Body> {
    let mut bodies = Vec::new();
    for effect in effects {
        if let Effect::Send { frame, .. } = effect {
            bodies.push(&frame.body);
        }
    }
    bodies
}

#[test]
fn an_append_that_would_cut_what_is_committed_ends_the_follower_and_cuts_nothing() {
    let mut follower = Follower::new(3);
    let other = chain(Position::new(1, 1), 2, &[command("other")]);
    let effects = follower.append(Position::new(1, 1), 3, other);
    follower.ended(&effects, "would cut 1/2, which is committed");
}

#[test]
fn what_is_not_committed_is_cut_up_to_the_last_committed_one() {
    let mut follower = Follower::new(2);
    let other = chain(Position::new(1, 2), 2, &[command("other")]);
    let effects = follower.append(Position::new(1, 2), 2, other);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Persist { .. })), "{effects:#?}");
    assert_eq!(follower.replica.status().position, Position::new(2, 3));
}

#[test]
fn an_append_that_leaves_a_hole_ends_the_follower() {
    let mut follower = Follower::new(2);
    let beyond = chain(Position::new(1, 7), 2, &[command("beyond")]);
    let effects = follower.append(Position::new(1, 3), 2, beyond);
    follower.ended(&effects, "names 1/7 before it");
}

#[test]
fn a_snapshot_of_another_cluster_ends_the_follower() {
    let mut follower = Follower::new(2);
    let effects = follower.snapshot(ClusterId(Uuid::from_u128(0xc2)), Position::new(2, 9));
    follower.ended(&effects, "a snapshot of cluster");
}

#[test]
fn a_snapshot_that_does_not_fit_what_is_committed_ends_the_follower() {
    let mut follower = Follower::new(3);
    let effects = follower.snapshot(CLUSTER, Position::new(2, 2));
    follower.ended(&effects, "does not fit the log");
}

#[test]
fn a_snapshot_of_what_the_log_has_already_is_not_installed_and_is_acked() {
    let mut follower = Follower::new(1);
    let effects = follower.snapshot(CLUSTER, Position::new(1, 2));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::InstallSnapshot { .. })), "{effects:#?}");
    assert!(matches!(bodies(&effects)[..], [Body::Ack { seq: Seq(3) }]), "{effects:#?}");
    assert_eq!(follower.replica.status().position, Position::new(1, 3));
}

#[test]
fn a_snapshot_by_a_connection_that_is_not_the_leaders_is_not_looked_at() {
    let mut follower = Follower::new(1);
    follower.conn = ConnId::Accepted(5);
    assert!(follower.snapshot(CLUSTER, Position::new(2, 9)).is_empty());
    assert_eq!(follower.replica.status().position, Position::new(1, 3));
}

#[test]
fn an_append_from_before_the_own_snapshot_is_answered_with_the_snapshots_position() {
    let meta = SnapshotMeta { cluster_id: CLUSTER, position: Position::new(1, 5), voters: voters() };
    let replica = replica(state(), Some(meta), Vec::new());
    let mut follower = Follower::welcomed(replica, Position::new(1, 5), 5);
    for previous in [Position::new(1, 2), Position::ZERO, Position::new(0, 5), Position::new(2, 5)] {
        let effects = follower.append(previous, 5, chain(previous, 2, &[command("x")]));
        let hint = Position::new(1, 5);
        assert!(matches!(bodies(&effects)[..], [Body::Mismatch { hint: said }] if *said == hint), "{effects:#?}");
    }
}

#[test]
fn a_leader_that_moved_is_dialled_where_it_is_now() {
    let mut follower = Follower::new(1);
    follower.replica.step(NOW, Input::Closed { conn: follower.conn });
    follower.replica.step(NOW, Input::Role(view(CLUSTER, "10.0.0.9:8090")));
    let effects = follower.replica.step(NOW + Duration::from_millis(600), Input::Wake);
    assert_eq!(dialled(&effects).map(|(_, to)| to), Some("10.0.0.9:8090"), "{effects:#?}");
}

#[test]
fn a_replica_whose_disk_failed_refuses_everybody_and_wants_nothing_more() {
    let mut follower = Follower::new(2);
    let effects = follower.replica.step(NOW, Input::PersistFailed);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Fail { .. })), "{effects:#?}");
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Close { conn } if *conn == follower.conn)));
    assert_eq!(follower.replica.deadline(), None);
    let proposal = Proposal { id: ProposalId(7), command: Bytes::new(), grows: true };
    let effects = follower.replica.step(NOW, Input::Propose(vec![proposal]));
    assert!(matches!(effects[..], [Effect::Rejected { id: ProposalId(7), reason: Refusal::Failed }]), "{effects:#?}");
    let effects = follower.replica.step(NOW, Input::Read { id: ReadId(1) });
    assert!(matches!(effects[..], [Effect::ReadRefused { upto: ReadId(1), reason: Refusal::Failed }]), "{effects:#?}");
    let effects = follower.append(Position::new(1, 3), 3, Vec::new());
    assert!(matches!(effects[..], [Effect::Close { .. }]), "{effects:#?}");
    let hello = Hello {
        snapshot_part: None,
        format_min: FORMAT_MIN,
        format_max: FORMAT,
        format_allowed: FORMAT,
        cluster_id: Some(CLUSTER),
        name: "db-2".to_owned(),
        replica: ReplicaId(Uuid::from_u128(0xc0)),
        incarnation: Incarnation(Uuid::from_u128(0xc1)),
        revision: String::new(),
        eligible: true,
        promise: Promise { term: Term(2), incarnation: LEADER },
        position: Position::new(1, 3),
        sums: false,
    };
    let effects = follower.replica.step(NOW, Input::Hello { conn: ConnId::Accepted(1), hello });
    assert!(matches!(effects[..], [Effect::Close { conn: ConnId::Accepted(1) }]), "{effects:#?}");
    // Nor does a write that was reported late change anything: nothing is acked, nothing promised.
    for input in [Input::Persisted { ticket: Ticket(9) }, Input::Wake, Input::Role(view(CLUSTER, "db-1:8090"))] {
        let effects = follower.replica.step(NOW, input);
        assert!(effects.is_empty(), "{effects:#?}");
    }
}

// The first start, when another one won [L4].

fn bootstrapping() -> Replica {
    let mut own = voters();
    own.voters.truncate(1);
    let entries = chain(Position::ZERO, 0, &[command("initial"), Payload::Voters(own)]);
    replica(DurableState { bootstrapping: true, ..state() }, None, entries)
}

#[test]
fn a_volume_whose_bootstrap_lost_against_another_one_is_emptied() {
    let mut replica = bootstrapping();
    let winner = ClusterId(Uuid::from_u128(0xc2));
    let effects = replica.step(NOW, Input::Role(view(winner, "db-1:8090")));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::WipeVolume { winner: told } if *told == winner)));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Fail { .. })), "{effects:#?}");
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Persist { .. })), "{effects:#?}");
    assert_eq!(replica.status().phase, Phase::Failed);
}

#[test]
fn a_volume_is_never_emptied_without_the_mark_of_a_bootstrap_nor_for_its_own_cluster() {
    let entries = chain(Position::ZERO, 1, &[Payload::Voters(voters()), command("a"), command("b")]);
    let marked_no_more = |mut replica: Replica| {
        let effects = replica.step(NOW, Input::Role(view(CLUSTER, "db-1:8090")));
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::WipeVolume { .. })), "{effects:#?}");
        replica
    };
    for mut replica in [replica(state(), None, entries), marked_no_more(bootstrapping())] {
        let effects = replica.step(NOW, Input::Role(view(ClusterId(Uuid::from_u128(0xc2)), "db-1:8090")));
        let ends = |effect: &Effect| matches!(effect, Effect::WipeVolume { .. } | Effect::Fail { .. });
        assert!(!effects.iter().any(ends), "{effects:#?}");
        assert!(!replica.status().eligible);
    }
}

#[test]
fn a_follower_whose_data_have_diverged_neither_sends_a_snapshot_nor_takes_one() {
    let (cluster_id, position) = (CLUSTER, Position::new(1, 3));
    let follower = |has_diverged: bool| {
        let own = replica(state(), Some(SnapshotMeta { cluster_id, position, voters: voters() }), Vec::new());
        let mut follower = Follower::welcomed(own, position, 3);
        if has_diverged {
            follower.replica.step(NOW, Input::SumIsFalse { position, said: Sum(1), found: Sum(2) });
        }
        follower
    };
    for has_diverged in [false, true] {
        let effects = follower(has_diverged).snapshot(CLUSTER, Position::new(2, 9));
        let installs = effects.iter().any(|effect| matches!(effect, Effect::InstallSnapshot { .. }));
        let Follower { mut replica, conn } = follower(has_diverged);
        let frame = Frame { term: Term(2), incarnation: LEADER, body: Body::Pull { position: Position::new(1, 1) } };
        let effects = replica.step(NOW, Input::Frame { conn, frame });
        let sends = effects.iter().any(|effect| matches!(effect, Effect::SendSnapshot { .. }));
        let hangs_up = effects.iter().any(|effect| matches!(effect, Effect::Close { .. }));
        assert_eq!((installs, sends, hangs_up), (!has_diverged, !has_diverged, has_diverged), "{effects:#?}");
    }
}
