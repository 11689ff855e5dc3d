//! Records, frames and the JSON between replicas, as each release wrote them: docs/golden.md has the rules.

#![allow(clippy::unwrap_used)]

mod described;

use bytes::Bytes;
use leasehold_replication::*;
use leasehold_testkit::golden::{Golden, Parts};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use uuid::Uuid;

const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(0xc1));
const INCARNATION: Incarnation = Incarnation(Uuid::from_u128(0x1a));
const PROMISE: Promise = Promise { term: Term(5), incarnation: INCARNATION };
const REPLICAS: [ReplicaId; 3] =
    [ReplicaId(Uuid::from_u128(0xa0)), ReplicaId(Uuid::from_u128(0xa1)), ReplicaId(Uuid::from_u128(0xa2))];

fn golden() -> Golden {
    Golden::of(env!("CARGO_MANIFEST_DIR"))
}

fn entry(previous: Position, payload: Payload) -> Entry {
    Entry::new(previous, Term(5), payload)
}

/// What a command is, is the store's affair: see its own golden files.
fn command() -> Payload {
    Payload::Command(Bytes::from_static(b"opaque"))
}

fn voters() -> Voters {
    let voter = |n: usize| Voter {
        replica: REPLICAS[n],
        name: format!("db-{n}"),
        peer_address: format!("db-{n}.db-service.n.svc.cluster.local:8090"),
    };
    Voters { format: 1, floor: 2, voters: (0..3).map(voter).collect() }
}

fn records() -> Vec<(&'static str, Record)> {
    let state = DurableState { promise: PROMISE, cluster_id: Some(CLUSTER), bootstrapping: false };
    let mark = SnapshotMark { position: Position::new(4, 7), length_bytes: 1234, crc32: 0x89ab_cdef };
    vec![
        ("record-1-state.hex", Record::State(state)),
        ("record-1-state-bootstrapping.hex", Record::State(DurableState { bootstrapping: true, ..state })),
        ("record-1-state-empty.hex", Record::State(DurableState::EMPTY)),
        ("record-2-empty-entry.hex", Record::Entry(entry(Position::new(4, 7), Payload::Empty))),
        ("record-2-voters.hex", Record::Entry(entry(Position::new(5, 8), Payload::Voters(voters())))),
        ("record-2-command.hex", Record::Entry(entry(Position::new(5, 9), command()))),
        ("record-3-snapshot.hex", Record::Snapshot(mark)),
    ]
}

fn frames() -> Vec<(&'static str, Body)> {
    let first = entry(Position::new(4, 7), Payload::Empty);
    let second = entry(first.position, command());
    let append = |entries| Body::Append { previous: Position::new(4, 7), commit: Seq(6), entries };
    let piece = SnapshotPiece {
        position: Position::new(4, 7),
        length_bytes: 1234,
        crc32: 0x89ab_cdef,
        offset: 1000,
        bytes: Bytes::from_static(b"{\"id\":"),
    };
    let echo = |eligible, draining, stalled, room| Body::Echo {
        round: 3,
        eligible,
        draining,
        stalled,
        room,
        diverged: false,
        time_ms: None,
    };
    let (eligible, draining, stalled, room_left) =
        (false, false, false, Shortage { memory: false, disk: false, full: false });
    let (round, time_ms) = (3, Some(1_798_761_600_000));
    let with_clock = Body::Echo { round, eligible, draining, stalled, room: room_left, diverged: false, time_ms };
    let diverged = Body::Echo { round, eligible, draining, stalled, room: room_left, diverged: true, time_ms: None };
    let (first_sum, second_sum) = (Sum(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f), Sum(0xff));
    let room = |memory, disk, full| Shortage { memory, disk, full };
    vec![
        ("frame-1-append.hex", append(vec![first, second])),
        ("frame-1-append-probe.hex", append(Vec::new())),
        ("frame-2-ack.hex", Body::Ack { seq: Seq(9) }),
        ("frame-3-mismatch.hex", Body::Mismatch { hint: Position::new(4, 7) }),
        ("frame-4-heartbeat.hex", Body::Heartbeat { round: 3, commit: Seq(9) }),
        ("frame-5-echo-eligible.hex", echo(true, false, false, room(false, false, false))),
        ("frame-5-echo-draining.hex", echo(false, true, false, room(false, false, false))),
        ("frame-5-echo-stalled.hex", echo(false, false, true, room(false, false, false))),
        ("frame-5-echo-memory.hex", echo(false, false, false, room(true, false, false))),
        ("frame-5-echo-disk.hex", echo(false, false, false, room(false, true, false))),
        ("frame-5-echo-full.hex", echo(false, false, false, room(false, false, true))),
        ("frame-5-echo-diverged.hex", diverged),
        ("frame-5-echo-clock.hex", with_clock),
        ("frame-6-snapshot.hex", Body::Snapshot(piece)),
        ("frame-7-pull.hex", Body::Pull { position: Position::new(4, 7) }),
        ("frame-8-read-index.hex", Body::ReadIndex { number: 2 }),
        ("frame-9-read-answer.hex", Body::ReadAnswer { number: 2, index: Some(Seq(9)) }),
        ("frame-9-read-answer-none.hex", Body::ReadAnswer { number: 2, index: None }),
        ("frame-10-ask-sum.hex", Body::AskSum { seq: Seq(9) }),
        ("frame-11-sum.hex", Body::Sum { seq: Seq(9), sum: Some(first_sum) }),
        ("frame-11-sum-unknown.hex", Body::Sum { seq: Seq(9), sum: None }),
        (
            "frame-12-sums.hex",
            Body::Sums { seq: Seq(9), sums: vec![(REPLICAS[0], first_sum), (REPLICAS[1], second_sum)] },
        ),
    ]
}

fn hellos() -> Vec<(&'static str, Hello)> {
    let hello = Hello {
        format_min: 1,
        format_max: 3,
        format_allowed: 2,
        cluster_id: Some(CLUSTER),
        name: "db-1".to_owned(),
        replica: REPLICAS[1],
        incarnation: Incarnation(Uuid::from_u128(0x1b)),
        revision: "db-6c5f".to_owned(),
        eligible: true,
        promise: PROMISE,
        position: Position::new(4, 7),
        snapshot_part: None,
        sums: true,
    };
    let part =
        SnapshotPart { position: Position::new(5, 900), length_bytes: 1234, crc32: 0x89ab_cdef, have_bytes: 1000 };
    let empty = Hello {
        cluster_id: None,
        revision: String::new(),
        eligible: false,
        position: Position::ZERO,
        snapshot_part: Some(part),
        ..hello.clone()
    };
    vec![("hello.json", hello), ("hello-of-an-empty-volume.json", empty)]
}

fn hello_answers() -> Vec<(&'static str, HelloAnswer)> {
    let refused =
        |reason: &str, code, known| HelloAnswer::Refused { reason: reason.to_owned(), code, promise: PROMISE, known };
    let known = KnownVolume { replica: REPLICAS[1], term: Term(5), position: Position::new(5, 9) };
    vec![
        ("welcome.json", HelloAnswer::Welcome { format: 1, replica: Some(REPLICAS[0]) }),
        ("refused.json", refused("this replica does not lead", RefusalCode::NotLeading, None)),
        ("refused-diverged.json", refused("the data of this replica have diverged", RefusalCode::Diverged, None)),
        ("refused-went-back.json", refused("it has lost entries", RefusalCode::WentBack, Some(known))),
    ]
}

fn refusal_codes() -> Vec<(&'static str, Vec<RefusalCode>)> {
    use RefusalCode::*;
    let all = [Format, OtherCluster, OwnVolume, NotLeading, Stalled, NotPromised, AlreadyConnected, WentBack, Other];
    vec![("refusal-codes.json", all.to_vec())]
}

fn claims() -> Vec<(&'static str, Claim)> {
    let claim = Claim {
        cluster_id: CLUSTER,
        term: Term(5),
        incarnation: INCARNATION,
        name: "db-0".to_owned(),
        peer_address: "db-0.db-service.n.svc.cluster.local:8090".to_owned(),
        addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
    };
    vec![("invitation.json", claim)]
}

fn invite_answers() -> Vec<(&'static str, InviteAnswer)> {
    let name = Some("db-1".to_owned());
    let promised =
        InviteAnswer { name, cluster_id: Some(CLUSTER), replica: REPLICAS[1], promise: PROMISE, went_back: false };
    let empty = InviteAnswer { cluster_id: None, promise: Promise::NONE, ..promised.clone() };
    vec![("invitation-answer.json", promised), ("invitation-answer-of-an-empty-volume.json", empty)]
}

fn peer_states() -> Vec<(&'static str, PeerState)> {
    let known = KnownVolume { replica: REPLICAS[0], term: Term(5), position: Position::new(5, 9) };
    let state = PeerState {
        name: "db-1".to_owned(),
        replica: REPLICAS[1],
        cluster_id: Some(CLUSTER),
        promise: PROMISE,
        position: Position::new(5, 9),
        hears: Some(Term(5)),
        eligible: true,
        stalled: false,
        went_back: false,
        diverged: false,
        known: vec![known],
        format_min: 1,
        format_max: 3,
        format_allowed: 2,
    };
    let alone =
        PeerState { hears: None, eligible: false, stalled: true, went_back: true, known: Vec::new(), ..state.clone() };
    let diverged = PeerState { eligible: false, diverged: true, known: Vec::new(), ..state.clone() };
    vec![
        ("state.json", state),
        ("state-of-a-volume-that-went-back.json", alone),
        ("state-of-a-replica-that-diverged.json", diverged),
    ]
}

fn are_read<T: DeserializeOwned + Debug + PartialEq>(values: Vec<(&'static str, T)>) {
    for (name, value) in values {
        for (version, json) in golden().stored(name) {
            assert_eq!(serde_json::from_slice::<T>(&json).unwrap(), value, "{version}/{name}");
        }
    }
}

fn are_written<T: Serialize>(values: Vec<(&'static str, T)>) {
    for (name, value) in values {
        golden().is_written(name, &serde_json::to_vec(&value).unwrap());
    }
}

fn names<T>(values: Vec<(&'static str, T)>) -> impl Iterator<Item = &'static str> {
    values.into_iter().map(|(name, _)| name)
}

fn describe_record(parts: &mut Parts<'_>) {
    described::record(parts, |parts, length| parts.text(length, "command"));
}

fn describe_frame(parts: &mut Parts<'_>) {
    let kind = parts.u8("kind of the frame");
    parts.u64("term");
    parts.bytes(16, "incarnation of the leader");
    match kind {
        1 => {
            described::position(parts, "previous");
            parts.u64("commit");
            while parts.left() > 0 {
                parts.heading("a record, as in the journal");
                describe_record(parts);
            }
        }
        2 => {
            parts.u64("durable up to this sequence");
        }
        3 => described::position(parts, "the logs may be equal up to here"),
        4 => {
            parts.u64("round");
            parts.u64("commit");
        }
        5 => {
            parts.u64("round");
            parts.u8("flags (1 eligible, 2 draining, 4 stalled, 8 memory, 16 disk, 32 disk full, 64 diverged)");
            if parts.left() > 0 {
                parts.u64("time of day, milliseconds since 1970");
            }
        }
        6 => {
            described::position(parts, "the last entry in the snapshot");
            parts.u64("length of the snapshot");
            parts.sum("CRC-32 of the snapshot");
            parts.u64("where the piece begins");
            parts.rest("the piece");
        }
        7 => described::position(parts, "the last entry of the leader that asks"),
        8 => {
            parts.u64("number of the question");
        }
        9 => {
            parts.u64("number of the question");
            parts.u8("given (0 no, 1 yes)");
            parts.u64("apply up to this sequence first");
        }
        10 => {
            parts.u64("the sum after this sequence is asked for");
        }
        11 => {
            parts.u64("after this sequence");
            parts.u8("known (0 no, 1 yes)");
            parts.bytes(16, "sum of the data, u128");
        }
        12 => {
            parts.u64("after this sequence");
            for _ in 0..parts.u8("how many voters have answered") {
                parts.bytes(16, "replica");
                parts.bytes(16, "its sum, u128");
            }
        }
        kind => panic!("no frame has kind {kind}"),
    }
}

#[test]
fn golden_records_are_read_as_these_values() {
    for (name, value) in records() {
        for (version, bytes) in golden().stored(name) {
            let mut bytes = Bytes::from(bytes);
            let read = Record::decode(&mut bytes).unwrap();
            assert_eq!((&read, bytes.len()), (&value, 0), "{version}/{name}");
            // An entry compares by its bytes alone: its fields are what was read from them.
            if let (Record::Entry(read), Record::Entry(value)) = (&read, &value) {
                let fields = |entry: &Entry| (entry.previous, entry.position, entry.payload.clone());
                assert_eq!(fields(read), fields(value), "{version}/{name}");
            }
        }
    }
}

#[test]
fn golden_records_are_what_these_values_are_written_as() {
    for (name, value) in records() {
        golden().is_written_in_parts(name, &value.encode(), describe_record);
    }
}

#[test]
fn golden_frames_are_read_as_these_values() {
    for (name, body) in frames() {
        for (version, bytes) in golden().stored(name) {
            let read = Frame::decode(bytes.into()).unwrap();
            assert_eq!(read, Frame { term: Term(5), incarnation: INCARNATION, body: body.clone() }, "{version}/{name}");
        }
    }
}

#[test]
fn golden_frames_are_what_these_values_are_written_as() {
    for (name, body) in frames() {
        let frame = Frame { term: Term(5), incarnation: INCARNATION, body };
        golden().is_written_in_parts(name, &frame.encode(), describe_frame);
    }
    golden().is_shown_in("docs/design.md", "frame-1-append.hex");
}

#[test]
fn golden_messages_in_json_are_read_as_these_values() {
    are_read(hellos());
    are_read(hello_answers());
    are_read(refusal_codes());
    are_read(claims());
    are_read(invite_answers());
    are_read(peer_states());
}

#[test]
fn golden_messages_in_json_are_what_these_values_are_written_as() {
    are_written(hellos());
    are_written(hello_answers());
    are_written(refusal_codes());
    are_written(claims());
    are_written(invite_answers());
    are_written(peer_states());
}

#[test]
fn golden_messages_in_json_have_no_member_that_the_design_does_not_name() {
    let json = names(hellos()).chain(names(hello_answers())).chain(names(claims()));
    for name in json.chain(names(invite_answers())).chain(names(peer_states())) {
        golden().is_described_in("docs/design.md", name);
    }
}

#[test]
fn golden_files_of_replicas_are_all_tested() {
    let binary = names(records()).chain(names(frames()));
    let json = names(hellos()).chain(names(hello_answers())).chain(names(refusal_codes())).chain(names(claims()));
    let json = json.chain(names(invite_answers())).chain(names(peer_states()));
    golden().has_exactly(&binary.chain(json).collect::<Vec<_>>());
}
