use super::v1::{KIND_BATCH, KIND_CREATE, KIND_DELETE};
use super::*;
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
