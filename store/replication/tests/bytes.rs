//! Records and frames, byte by byte: round trips, and any bytes at all. What a release wrote is in `golden.rs`.

#![allow(clippy::unwrap_used)]

use bytes::{Bytes, BytesMut};
use leasehold_replication::*;
use proptest::prelude::*;
use uuid::Uuid;

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn position() -> impl Strategy<Value = Position> {
    (0..9u64, 0..99u64).prop_map(|(term, seq)| Position::new(term, seq))
}

fn voters() -> impl Strategy<Value = Voters> {
    let voter = (uuid(), "[a-z]{1,8}-[0-9]", "[a-z.]{1,20}:[0-9]{2,4}").prop_map(|(id, name, peer_address)| Voter {
        replica: ReplicaId(id),
        name,
        peer_address,
    });
    (1..3u32, prop::collection::vec(voter, 0..5)).prop_map(|(floor, voters)| Voters { format: FORMAT, floor, voters })
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        Just(Payload::Empty),
        voters().prop_map(Payload::Voters),
        prop::collection::vec(any::<u8>(), 0..200).prop_map(|bytes| Payload::Command(bytes.into())),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    (position(), 0..9u64, payload())
        .prop_map(|(previous, more, payload)| Entry::new(previous, Term(previous.term.0 + more), payload))
}

fn record() -> impl Strategy<Value = Record> {
    prop_oneof![
        entry().prop_map(Record::Entry),
        (any::<u64>(), uuid(), prop::option::of(uuid()), any::<bool>()).prop_map(|(term, leader, cluster, marked)| {
            Record::State(DurableState {
                promise: Promise { term: Term(term), incarnation: Incarnation(leader) },
                cluster_id: cluster.map(ClusterId),
                bootstrapping: marked,
            })
        }),
        (position(), any::<u64>(), any::<u32>()).prop_map(|(position, length_bytes, crc32)| Record::Snapshot(
            SnapshotMark { position, length_bytes, crc32 }
        )),
    ]
}

fn chain() -> impl Strategy<Value = (Position, Vec<Entry>)> {
    (position(), prop::collection::vec((0..2u64, payload()), 0..6)).prop_map(|(previous, rest)| {
        let mut last = previous;
        let mut entries = Vec::new();
        for (more, payload) in rest {
            let entry = Entry::new(last, Term(last.term.0 + more), payload);
            last = entry.position;
            entries.push(entry);
        }
        (previous, entries)
    })
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        (chain(), any::<u64>()).prop_map(|((previous, entries), commit)| Body::Append {
            previous,
            commit: Seq(commit),
            entries
        }),
        any::<u64>().prop_map(|seq| Body::Ack { seq: Seq(seq) }),
        position().prop_map(|hint| Body::Mismatch { hint }),
        (any::<u64>(), any::<u64>()).prop_map(|(round, commit)| Body::Heartbeat { round, commit: Seq(commit) }),
        (any::<u64>(), any::<[bool; 7]>(), any::<Option<u64>>()).prop_map(
            |(round, [eligible, draining, stalled, memory, disk, full, diverged], time_ms)| {
                let room = Shortage { memory, disk, full };
                Body::Echo { round, eligible, draining, stalled, room, diverged, time_ms }
            }
        ),
        (position(), any::<u32>(), 0..999u64, prop::collection::vec(any::<u8>(), 0..50)).prop_map(
            |(position, crc32, offset, bytes)| Body::Snapshot(SnapshotPiece {
                position,
                length_bytes: offset + bytes.len() as u64,
                crc32,
                offset,
                bytes: bytes.into()
            })
        ),
        position().prop_map(|position| Body::Pull { position }),
        any::<u64>().prop_map(|number| Body::ReadIndex { number }),
        (any::<u64>(), prop::option::of(any::<u64>()))
            .prop_map(|(number, index)| Body::ReadAnswer { number, index: index.map(Seq) }),
        any::<u64>().prop_map(|seq| Body::AskSum { seq: Seq(seq) }),
        (any::<u64>(), prop::option::of(any::<u128>()))
            .prop_map(|(seq, sum)| Body::Sum { seq: Seq(seq), sum: sum.map(Sum) }),
        (any::<u64>(), prop::collection::vec((uuid(), any::<u128>()), 0..9)).prop_map(|(seq, sums)| {
            let sums = sums.into_iter().map(|(replica, sum)| (ReplicaId(replica), Sum(sum)));
            Body::Sums { seq: Seq(seq), sums: sums.collect() }
        }),
    ]
}

proptest! {
    #[test]
    fn a_record_comes_back_as_it_was_and_leaves_what_follows(record in record(), rest in prop::collection::vec(any::<u8>(), 0..20)) {
        let mut bytes = BytesMut::from(&record.encode()[..]);
        bytes.extend_from_slice(&rest);
        let mut bytes = bytes.freeze();
        prop_assert_eq!(Record::decode(&mut bytes).unwrap(), record);
        prop_assert_eq!(&bytes[..], &rest[..]);
    }

    #[test]
    fn a_frame_comes_back_as_it_was(term in any::<u64>(), leader in uuid(), body in body()) {
        let frame = Frame { term: Term(term), incarnation: Incarnation(leader), body };
        prop_assert_eq!(Frame::decode(frame.encode()).unwrap(), frame);
    }

    #[test]
    fn no_bytes_make_the_decoders_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Frame::decode(bytes.clone().into());
        let _ = Record::decode(&mut bytes.into());
    }

    #[test]
    fn a_flipped_bit_in_a_record_is_never_taken_for_another_record(record in record(), at in any::<prop::sample::Index>()) {
        let mut bytes = record.encode().to_vec();
        let bit = at.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Record::decode(&mut Bytes::from(bytes)).is_err());
    }

    #[test]
    fn spoilt_frames_are_refused_or_differ_but_never_panic(body in body(), at in any::<prop::sample::Index>(), with in any::<u8>()) {
        let frame = Frame { term: Term(1), incarnation: Incarnation(Uuid::nil()), body };
        let mut bytes = frame.encode().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = with;
        let _ = Frame::decode(bytes.into());
    }
}

#[test]
fn an_append_whose_entries_do_not_follow_each_other_is_refused() {
    let first = Entry::new(Position::ZERO, Term(1), Payload::Empty);
    let stray = Entry::new(Position::new(1, 7), Term(1), Payload::Empty);
    let body = Body::Append { previous: Position::ZERO, commit: Seq(0), entries: vec![first, stray] };
    let frame = Frame { term: Term(1), incarnation: Incarnation(Uuid::nil()), body };
    assert!(matches!(Frame::decode(frame.encode()), Err(FrameError::Content(_))));
}

#[test]
fn an_entry_with_a_sequence_that_no_log_reaches_is_none() {
    let beyond = Entry::new(Position { term: Term(1), seq: Seq::MAX }, Term(1), Payload::Empty);
    let refused = Record::decode(&mut beyond.record().clone());
    assert!(matches!(refused, Err(RecordError::Content(_))), "{refused:?}");
    let last = Entry::new(Position { term: Term(1), seq: Seq(Seq::MAX.0 - 1) }, Term(1), Payload::Empty);
    assert_eq!(Record::decode(&mut last.record().clone()), Ok(Record::Entry(last)));
}

/// A record with this body, and a good checksum.
fn sealed(body: &[u8]) -> Bytes {
    let mut bytes = (body.len() as u32).to_le_bytes().to_vec();
    bytes.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
    bytes.extend_from_slice(body);
    bytes.into()
}

#[test]
fn what_a_later_version_might_write_is_refused_with_a_word_for_each() {
    let entry = |previous: [u64; 2], own: [u64; 2], rest: &[u8]| {
        let numbers = previous.into_iter().chain(own).flat_map(u64::to_le_bytes);
        [2].into_iter().chain(numbers).chain(rest.iter().copied()).collect::<Vec<u8>>()
    };
    let state = DurableState { bootstrapping: true, ..DurableState::EMPTY };
    let mut flags = Record::State(state).encode()[RECORD_HEADER_BYTES..].to_vec();
    flags[25] |= 0x80;
    for (body, word) in [
        (entry([1, 3], [1, 5], &[0]), "does not follow"),
        (entry([2, 3], [1, 4], &[0]), "does not follow"),
        (entry([1, 3], [1, 4], b"\x01{\"format\":"), "JSON"),
        (entry([1, 3], [1, 4], b"\x01{\"format\":1}"), "JSON"),
        (entry([1, 3], [1, 4], &[0, 0]), "empty"),
        (vec![1, 0], "length"),
        (vec![3, 0], "length"),
    ] {
        match Record::decode(&mut sealed(&body)) {
            Err(RecordError::Content(what)) => assert!(what.contains(word), "{what:?} does not say {word:?}"),
            other => panic!("{word}: {other:?}"),
        }
    }
    // What is not known must not be skipped, nor taken for damage.
    for (body, word) in [
        (flags, "a state record with flags 130"),
        (entry([1, 3], [1, 4], b"\x01{\"format\":7,\"voters\":\"elsewhere\"}"), "voters of format 7"),
        (entry([1, 3], [1, 4], &[3]), "an entry of kind 3"),
        (vec![9], "a record of kind 9"),
    ] {
        match Record::decode(&mut sealed(&body)) {
            Err(error @ RecordError::Unknown { .. }) => {
                assert_eq!(error.to_string(), format!("{word}, which this build does not know"));
            }
            other => panic!("{word}: {other:?}"),
        }
    }
    assert_eq!(
        Record::decode(&mut sealed(&Record::State(state).encode()[RECORD_HEADER_BYTES..])),
        Ok(Record::State(state))
    );
}

#[test]
fn a_frame_that_is_too_long_or_holds_other_records_than_entries_is_refused() {
    let long = Bytes::from(vec![0; FRAME_BYTES_MAX + 1]);
    assert_eq!(Frame::decode(long), Err(FrameError::TooLong(FRAME_BYTES_MAX + 1)));
    let body = Body::Append { previous: Position::ZERO, commit: Seq(0), entries: Vec::new() };
    let frame = Frame { term: Term(1), incarnation: Incarnation(Uuid::nil()), body };
    for record in [
        Record::State(DurableState::EMPTY),
        Record::Snapshot(SnapshotMark { position: Position::ZERO, length_bytes: 0, crc32: 0 }),
    ] {
        let bytes = [&frame.encode()[..], &record.encode()[..]].concat();
        let refused = Frame::decode(bytes.into());
        assert!(matches!(refused, Err(FrameError::Content(what)) if what.contains("entries")), "{record:?}");
    }
}

#[test]
fn a_frame_with_an_entry_that_is_not_known_says_so() {
    let body = Body::Append { previous: Position::ZERO, commit: Seq(0), entries: Vec::new() };
    let frame = Frame { term: Term(1), incarnation: Incarnation(Uuid::nil()), body };
    let bytes = [&frame.encode()[..], &sealed(&[9])].concat();
    let unknown = Frame::decode(bytes.into()).unwrap_err().unknown();
    assert_eq!(unknown.as_deref(), Some("a record of kind 9, which this build does not know"));
    assert_eq!(FrameError::TooLong(9).unknown(), None);
}

/// A frame's kind, its head, and the rest.
fn rest(body: Body) -> Vec<u8> {
    let frame = Frame { term: Term(1), incarnation: Incarnation(Uuid::nil()), body };
    let bytes = frame.encode();
    [&bytes[..1], &bytes[25..]].concat()
}

#[test]
fn the_frames_that_compare_sums_never_change() {
    let (nine, sum) = (9u64.to_le_bytes(), 0x0102_u128.to_le_bytes());
    assert_eq!(rest(Body::AskSum { seq: Seq(9) }), [&[10][..], &nine].concat());
    assert_eq!(rest(Body::Sum { seq: Seq(9), sum: Some(Sum(0x0102)) }), [&[11][..], &nine, &[1], &sum].concat());
    assert_eq!(rest(Body::Sum { seq: Seq(9), sum: None }), [&[11][..], &nine, &[0], &[0; 16]].concat());
    let replica = ReplicaId(Uuid::from_u128(7));
    let table = rest(Body::Sums { seq: Seq(9), sums: vec![(replica, Sum(0x0102))] });
    assert_eq!(table, [&[12][..], &nine, &[1], replica.0.as_bytes(), &sum].concat());
    let room = Shortage::default();
    let (eligible, draining, stalled) = (false, false, false);
    let echo = |time_ms| Body::Echo { round: 9, eligible, draining, stalled, room, diverged: true, time_ms };
    // What a build of format 1 takes, and no more.
    assert_eq!(rest(echo(None)), [&[5][..], &nine, &[64]].concat());
    let time = [0, 0x50, 0x5c, 0x18, 0xa3, 1, 0, 0];
    assert_eq!(rest(echo(Some(1_800_000_000_000))), [&[5][..], &nine, &[64], &time].concat());
}

#[test]
fn a_sum_that_is_half_known_and_a_table_of_another_length_are_refused() {
    let head = Frame { term: Term(1), incarnation: Incarnation(Uuid::nil()), body: Body::AskSum { seq: Seq(9) } };
    let head = head.encode();
    for (kind, more) in [(11u8, [&[0][..], &[1; 16]].concat()), (11, [&[2][..], &[0; 16]].concat()), (12, vec![1; 32])]
    {
        let mut bytes = [&head[..], &more].concat();
        bytes[0] = kind;
        let refused = Frame::decode(bytes.into());
        assert!(matches!(refused, Err(FrameError::Content(_))), "{kind}: {refused:?}");
    }
}

#[test]
fn a_hello_of_a_build_that_knows_no_sums_does_not_say_that_it_does() {
    let hello = Hello {
        format_min: 1,
        format_max: 1,
        format_allowed: 1,
        cluster_id: None,
        name: "db-0".to_owned(),
        replica: ReplicaId(Uuid::nil()),
        incarnation: Incarnation(Uuid::nil()),
        revision: String::new(),
        eligible: true,
        promise: Promise::NONE,
        position: Position::ZERO,
        snapshot_part: None,
        sums: true,
    };
    let mut said = serde_json::to_value(&hello).unwrap();
    assert_eq!(said["sums"], true);
    said.as_object_mut().unwrap().remove("sums");
    assert_eq!(serde_json::from_value::<Hello>(said).unwrap(), Hello { sums: false, ..hello });
}
