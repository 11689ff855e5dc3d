use super::v1::{KIND_BATCH, KIND_CREATE, KIND_DELETE};
use super::*;
use crate::command::*;
use crate::id::IdRef;
use crate::record::record_id;
use leasehold_replication::Seq;
use proptest::prelude::*;
use uuid::Uuid;

fn id() -> Uuid {
    "e956b5d0-fa0c-40e8-9da9-333c214dcaf7".parse().unwrap()
}

fn record(id: Uuid) -> String {
    format!(r#"{{"firstName":"Johanna","lastName":"Köster","id":"{id}"}}"#)
}

#[test]
fn every_kind_and_condition_comes_back_as_it_went_in() {
    let json = record(id());
    let mut operations = Vec::new();
    let patch = Action::Patch { patch: r#"{"lastName":"K"}"# };
    for action in [Action::Create { record: &json }, Action::Put { record: &json }, Action::Delete, patch] {
        for condition in [Condition::None, Condition::Exists, Condition::Absent, Condition::Tag(u128::MAX)] {
            operations.push(Operation::new(id(), action, condition));
        }
    }
    let works = operations
        .iter()
        .map(|one| Work::One(On::name("p"), *one))
        .chain([Work::Batch(On::name("p"), operations.clone()), Work::Batch(On::name("p"), vec![])]);
    for work in works {
        for key in [None, Some(Key { name: "ä key", request: 7 })] {
            let command = Command { time_ms: 0, key, work: work.clone() };
            assert_eq!(Command::decode(&command.encode(1)), Ok(command));
        }
    }
}

#[test]
fn what_no_version_of_ours_wrote_is_refused_with_its_reason() {
    let json = record(id());
    let command = Command::one("persons", id(), Action::Create { record: &json }, Condition::None);
    let good = command.encode(1);
    let spoilt = |at: usize, value: u8| {
        let mut bytes = good.to_vec();
        bytes[at] = value;
        Command::decode(&bytes).map(|_| ()).unwrap_err()
    };
    for (at, value, unknown) in
        [(0, 9, UnknownCommand::Version(9)), (1, 9, UnknownCommand::Kind(9)), (2, 5, UnknownCommand::Condition(5))]
    {
        assert_eq!(spoilt(at, value), CommandError::Unknown(unknown));
    }
    let batch = Command { time_ms: 0, key: None, work: Work::Batch(On::name("p"), Vec::new()) }.encode(1);
    assert!(matches!(Command::decode(&[&batch[..], b"x"].concat()), Err(CommandError::Content(_))));
    let patch = Command::one("p", id(), Action::Patch { patch: "[]" }, Condition::None).encode(1);
    assert!(matches!(Command::decode(&patch), Err(CommandError::Content(_))));
    assert!(matches!(spoilt(1, KIND_DELETE), CommandError::Content(_)));
    assert!(matches!(spoilt(12, 0), CommandError::Content(_)), "another id than the record's");
    assert!(matches!(spoilt(good.len() - 1, b' '), CommandError::Content(_)), "no longer JSON");
    assert_eq!(Command::decode(&good[..20]), Err(CommandError::Short));
    assert_eq!(Command::decode(&[]), Err(CommandError::Short));
    assert_eq!(record_id(&format!(r#"["{}"]"#, id())), None, "an array is no record");
    assert_eq!(record_id(&format!(r#"{{"id":"{0}","id":"{0}"}}"#, id())), None, "two ids");
}

#[test]
fn a_record_with_white_space_around_it_is_refused_because_a_snapshot_would_lose_that() {
    let json = record(id());
    for spaced in [format!(" {json}"), format!("{json}\n"), format!("\t{json}\r\n")] {
        assert_eq!(record_id(&spaced), Some(id()), "it is JSON all the same");
        for action in [Action::Create { record: &spaced }, Action::Put { record: &spaced }] {
            let one = Operation::new(id(), action, Condition::None);
            for work in [Work::One(On::name("p"), one), Work::Batch(On::name("p"), vec![one])] {
                let bytes = Command { time_ms: 0, key: None, work }.encode(1);
                assert!(matches!(Command::decode(&bytes), Err(CommandError::Content(_))), "{spaced:?}");
            }
        }
    }
}

/// What a start looks at before it opens a volume, and what applying finds, are the same.
fn is_known_alike(bytes: &[u8]) {
    let unknown = match Command::decode(bytes) {
        Err(CommandError::Unknown(unknown)) => Err(unknown),
        Ok(_) | Err(CommandError::Short | CommandError::Content(_) | CommandError::TooLarge) => Ok(()),
    };
    assert_eq!(Command::check_known(bytes), unknown, "{bytes:?}");
}

#[test]
fn an_unknown_operation_in_a_batch_counts_whatever_is_wrong_before_it() {
    let one = Operation::new(id(), Action::Delete, Condition::None);
    let good = Command { time_ms: 0, key: None, work: Work::Batch(On::name("p"), vec![one, one]) }.encode(1).to_vec();
    let second = good.len() - 22;
    let spoilt = |at: usize, value: u8| {
        let mut bytes = good.clone();
        // The first one has a record, which a delete has not: content.
        bytes[7] = KIND_CREATE;
        bytes[at] = value;
        is_known_alike(&bytes);
        Command::decode(&bytes).map(|_| ()).unwrap_err()
    };
    assert_eq!(spoilt(second, 9), CommandError::Unknown(UnknownCommand::Kind(9)));
    assert_eq!(spoilt(second, KIND_BATCH), CommandError::Unknown(UnknownCommand::Kind(KIND_BATCH)));
    assert_eq!(spoilt(second + 1, 9), CommandError::Unknown(UnknownCommand::Condition(9)));
    assert!(matches!(spoilt(second, KIND_DELETE), CommandError::Content(_)));
}

#[test]
fn a_command_carries_the_format_in_force_as_its_version() {
    let command = Command::one("p", id(), Action::Delete, Condition::None);
    for format in [FORMAT_MIN, FORMAT] {
        let bytes = command.encode(format);
        assert_eq!(u32::from(bytes[0]), format);
        assert_eq!(Command::decode(&bytes), Ok(command.clone()));
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        is_known_alike(&bytes);
    }

    #[test]
    fn spoilt_commands_never_panic_and_what_is_read_encodes_to_the_same(at in any::<prop::sample::Index>(), value in any::<u8>(), is_batch in any::<bool>()) {
        let json = record(id());
        let one = Operation::new(id(), Action::Put { record: &json }, Condition::Tag(7));
        let work = if is_batch { Work::Batch(On::name("p"), vec![one, one]) } else { Work::One(On::name("p"), one) };
        let command = Command { time_ms: 0, key: Some(Key { name: "key", request: 9 }), work };
        let mut bytes = command.encode(1).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = value;
        is_known_alike(&bytes);
        if let Ok(read) = Command::decode(&bytes) {
            prop_assert_eq!(&read.encode(bytes[0].into())[..], &bytes[..]);
        }
    }
}

/// One of each work of version 2, with every action, condition and kind of id in it.
fn works<'a>(json: &'a str, text_json: &'a str) -> Vec<Work<'a>> {
    let mut operations = Vec::new();
    let of_uuid = [Action::Create { record: json }, Action::Put { record: json }];
    let of_text = [Action::Create { record: text_json }, Action::Put { record: text_json }];
    let of_any = [Action::Delete, Action::Patch { patch: r#"{"a":null}"# }, Action::Check];
    for seen in [Seen::Any, Seen::Absent, Seen::Tag(u128::MAX)] {
        for condition in [Condition::Exists, Condition::Absent, Condition::Tag(7)] {
            for action in of_uuid.iter().chain(&of_any) {
                operations.push(Operation { id: id().into(), action: *action, condition, seen });
            }
            for action in of_text.iter().chain(&of_any) {
                operations.push(Operation { id: IdRef::Text("ä b"), action: *action, condition, seen });
            }
        }
    }
    let (one, two) = (On::at("orders", Seq(u64::MAX)), On::name("stock"));
    let transaction = operations.iter().zip([0, 1].into_iter().cycle()).map(|(operation, at)| (at, *operation));
    let define = |condition, unless_expired_ms| {
        Work::Define(Define { collection: "orders", definition: r#"{"id":"uuid"}"#, condition, unless_expired_ms })
    };
    let drop = |condition, with_records| Work::Drop { collection: "orders", condition, with_records };
    let mut works: Vec<Work<'_>> = operations.iter().map(|operation| Work::One(one, *operation)).collect();
    works.extend([
        Work::One(one, Operation::new(id(), Action::Delete, Condition::None)),
        Work::Transaction(vec![one, two], transaction.collect()),
        Work::Transaction(vec![], vec![]),
        Work::Batch(two, operations),
        define(DefinitionCondition::None, None),
        define(DefinitionCondition::Exists, Some(0)),
        define(DefinitionCondition::Absent, Some(u64::MAX)),
        define(DefinitionCondition::Revision(Seq(3)), None),
        drop(DefinitionCondition::None, true),
        drop(DefinitionCondition::Revision(Seq(u64::MAX)), false),
        Work::GiveUp { collection: "orders" },
        Work::Advance { on: one, upto: 5 },
        Work::DoesNotFit { on: one, id: IdRef::Text("a"), tag: u128::MAX, pointer: "/a", rule: "type" },
        Work::DoesNotFit { on: two, id: id().into(), tag: 1, pointer: "", rule: "" },
        Work::Expire { on: one, upto_ms: 5 },
        Work::PauseExpiry { paused: true },
        Work::PauseExpiry { paused: false },
        Work::NoteFile { hash: 5 },
    ]);
    works
}

fn text_record() -> &'static str {
    r#"{"x":1,"id":"\u00e4 b"}"#
}

#[test]
fn everything_of_version_2_comes_back_as_it_went_in() {
    let json = record(id());
    let key = Some(Key { name: "ä key", request: 7 });
    for work in works(&json, text_record()) {
        for key in [None, key] {
            let command = Command { time_ms: u64::MAX - 1, key, work: work.clone() };
            let bytes = command.encode(2);
            assert_eq!(bytes[0], 2);
            assert_eq!(Command::decode(&bytes), Ok(command));
            is_known_alike(&bytes);
        }
    }
    let refusal = Command {
        time_ms: 1,
        key,
        work: Work::Refuse { on: On::name("orders"), is_transaction: false, problem: "{}" },
    };
    assert_eq!(Command::decode(&refusal.encode(2)), Ok(refusal.clone()));
    let without = Command { key: None, ..refusal }.encode(2);
    assert!(matches!(Command::decode(&without), Err(CommandError::Content(_))), "nobody would receive it");
}

#[test]
fn a_command_of_version_2_that_is_cut_anywhere_is_truncated_or_wrong_and_never_another_one() {
    let json = record(id());
    for work in works(&json, text_record()) {
        let bytes = Command::new(work).with_key(Some(Key { name: "k", request: 7 })).encode(2);
        for end in 0..bytes.len() {
            assert!(Command::decode(&bytes[..end]).is_err(), "{end} of {bytes:?}");
            is_known_alike(&bytes[..end]);
        }
        let longer = [&bytes[..], b"x"].concat();
        assert!(matches!(Command::decode(&longer), Err(CommandError::Content(_))));
    }
}

#[test]
fn what_version_2_does_not_know_ends_the_process_wherever_it_stands() {
    let json = record(id());
    let bad =
        Operation { seen: Seen::Absent, ..Operation::new(id(), Action::Put { record: &json[1..] }, Condition::Exists) };
    let good = Operation { seen: Seen::Absent, ..Operation::new(id(), Action::Delete, Condition::Exists) };
    let batch = Command::new(Work::Batch(On::name("p"), vec![bad, good])).encode(2).to_vec();
    assert!(matches!(Command::decode(&batch), Err(CommandError::Content(_))));
    // Action, condition, seen, kind of the id, id, length.
    let second = batch.len() - (3 + 17 + 4);
    let define = |condition| {
        let (definition, unless_expired_ms) = ("", None);
        Command::new(Work::Define(Define { collection: "p", definition, condition, unless_expired_ms }))
            .encode(2)
            .to_vec()
    };
    let defined = define(DefinitionCondition::None);
    let at = 1 + 1 + 8 + 1 + 2;
    for (bytes, at, unknown) in [
        (&batch, 0, UnknownCommand::Version(99)),
        (&batch, 1, UnknownCommand::Kind(99)),
        (&batch, second, UnknownCommand::Kind(99)),
        (&batch, second + 1, UnknownCommand::Condition(99)),
        (&batch, second + 2, UnknownCommand::Seen(99)),
        (&defined, at, UnknownCommand::Condition(99)),
    ] {
        let mut spoilt = bytes.clone();
        spoilt[at] = 99;
        assert_eq!(Command::decode(&spoilt), Err(CommandError::Unknown(unknown)));
        is_known_alike(&spoilt);
    }
    for (bytes, at) in [(&batch, second + 3), (&defined, at + 1)] {
        let mut spoilt = bytes.clone();
        spoilt[at] = 99;
        assert!(matches!(Command::decode(&spoilt), Err(CommandError::Content(_))), "a kind of id, a flag: content");
    }
}

#[test]
fn what_no_leader_of_version_2_writes_is_content() {
    let delete = Operation::new(id(), Action::Delete, Condition::None);
    let on = On::name("p");
    let twice = Work::Transaction(vec![on, On::at("p", Seq(1))], vec![]);
    let nowhere = Work::Transaction(vec![on], vec![(1, delete)]);
    let check = Work::One(on, Operation { action: Action::Check, ..delete });
    let dots = Work::One(on, Operation { id: IdRef::Text(".."), ..delete });
    let patch = Work::One(on, Operation { action: Action::Patch { patch: "[]" }, ..delete });
    for work in [twice, nowhere, check, dots, patch] {
        let bytes = Command::new(work.clone()).encode(2);
        assert!(matches!(Command::decode(&bytes), Err(CommandError::Content(_))), "{work:?}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_of_version_2_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 2..200), kind in 1u8..13) {
        (bytes[0], bytes[1]) = (2, kind);
        is_known_alike(&bytes);
        if let Ok(read) = Command::decode(&bytes) {
            prop_assert_eq!(&read.encode(2)[..], &bytes[..]);
        }
    }

    #[test]
    fn spoilt_commands_of_version_2_never_panic_and_what_is_read_encodes_to_the_same(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
    ) {
        let json = record(id());
        let works = works(&json, text_record());
        let command = Command { time_ms: 5, key: Some(Key { name: "k", request: 9 }), work: which.get(&works).clone() };
        let mut bytes = command.encode(2).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = value;
        is_known_alike(&bytes);
        if let Ok(read) = Command::decode(&bytes) {
            prop_assert_eq!(&read.encode(bytes[0].into())[..], &bytes[..]);
        }
    }
}
