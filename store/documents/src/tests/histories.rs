//! Random histories: a replica that restores snapshots anywhere is the same as one that never does.

use super::world::tables;
use super::{read, write};
use crate::*;
use leasehold_replication::{Position, Seq};
use proptest::prelude::*;
use uuid::Uuid;

const DEFINITIONS: [&str; 7] = [
    r#"{"id":"string"}"#,
    r#"{"id":"string","schema":{"type":"object"}}"#,
    r#"{"id":"string","indexes":[{"fields":["/x"],"unique":true}]}"#,
    r#"{"id":"string","indexes":[{"fields":[{"path":"/n","type":"number"},"/x"]},{"fields":["/x"],"unique":true}],"expires":"/t"}"#,
    r#"{"id":"string","expires":"/t","maxRecords":3}"#,
    r#"{"id":"string","indexes":[{"fields":["/x"]}],"expires":"/n"}"#,
    r#"{"id":"uuid"}"#,
];
const MEMBERS: [&str; 8] = [
    "",
    r#","x":"1""#,
    r#","x":"2","n":1.50"#,
    r#","x":"1","t":1,"n":2"#,
    r#","t":2,"n":3"#,
    r#","t":"1970-01-01T00:00:03Z","x":"3""#,
    r#","t":"soon""#,
    r#","x":7,"n":"1""#,
];
const NAMES: [&str; 3] = ["orders", "stock", "persons"];

/// One step: what, and numbers from which the rest is made.
pub(super) type Step = (u8, u8, u8, u8, u8);

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = prop_oneof![4 => Just(0u8), 1 => 1u8..3];
    let one = (0u8..26, name, 0u8..6, 0u8..8, 0u8..8);
    proptest::collection::vec(one, 0..90)
}

/// A command as a leader makes it of what it sees: mostly at the epoch in force.
pub(super) fn command(documents: &Documents, (what, name, id, content, more): Step) -> Vec<u8> {
    let name = NAMES[usize::from(name)];
    let kind = documents.collection(name).map_or(IdKind::Text, |known| known.definition().id);
    let text_id = id.to_string();
    let id = match kind {
        IdKind::Uuid => IdRef::Uuid(Uuid::from_bytes([id; 16])),
        IdKind::Text => IdRef::Text(&text_id),
    };
    let json = format!(r#"{{"id":"{id}"{}}}"#, MEMBERS[usize::from(content)]);
    let patch = format!(r#"{{"p":{more}{}}}"#, MEMBERS[usize::from(content)]);
    let epoch = documents.collection(name).and_then(Collection::epoch);
    // Most of what could be done to a collection that does not exist says little.
    let what = if epoch.is_none() && more < 6 { 14 } else { what };
    let on = On { collection: name, epoch: if (what, more) == (0, 7) { Some(Seq(1)) } else { epoch } };
    let conditions = [Condition::None, Condition::None, Condition::None, Condition::Exists, Condition::Absent];
    let condition = if what == 12 { Condition::Exists } else { conditions[usize::from(more % 5)] };
    let seen = [Seen::Any, Seen::Any, Seen::Any, Seen::Absent][usize::from(more / 2)];
    let of = |action| Operation { id, action, condition, seen };
    let put = of(Action::Put { record: &json });
    let create = of(Action::Create { record: &json });
    let patched = of(Action::Patch { patch: &patch });
    let work = match what {
        0..=3 => Work::One(on, create),
        4..=6 => Work::One(on, put),
        7 | 8 => Work::One(on, of(Action::Delete)),
        9 | 10 => Work::One(on, patched),
        11 => Work::Batch(on, vec![of(Action::Delete), create, patched]),
        12 => Work::Batch(on, vec![put, of(Action::Check), patched]),
        13 => {
            let other = NAMES[usize::from(more % 3)];
            let both =
                vec![on, On { collection: other, epoch: documents.collection(other).and_then(Collection::epoch) }];
            Work::Transaction(both, vec![(0, put), (1, create), (0, of(Action::Delete))])
        }
        14..=16 => {
            // Each kind of ids has a collection, mostly.
            let definition = DEFINITIONS[if name == "stock" { 6 } else { usize::from(more % 6) }];
            let unless_expired_ms = (content == 1).then_some(1_000);
            Work::Define(Define {
                collection: name,
                definition,
                condition: DefinitionCondition::None,
                unless_expired_ms,
            })
        }
        17 if id.to_string() == "0" => {
            Work::Drop { collection: name, condition: DefinitionCondition::None, with_records: more > 3 }
        }
        18 if more == 0 => Work::GiveUp { collection: name },
        17..=19 => Work::Advance { on, upto: u64::from(more) },
        20 if more < 2 => {
            let found = documents.collection(name).and_then(|found| found.get(id));
            let tag = found.map_or(0, crate::Record::tag);
            Work::DoesNotFit { on, id, tag, pointer: "/x", rule: "type" }
        }
        20 => Work::Advance { on, upto: u64::MAX },
        21 => Work::Expire { on, upto_ms: u64::from(more) * 1_000 },
        22 if more < 3 => Work::PauseExpiry { paused: more == 0 },
        22 => Work::NoteFile { hash: more.into() },
        24 | 25 => Work::One(on, put),
        _ => Work::Refuse { on, is_transaction: content == 1, problem: r#"{"code":"invalid-record"}"# },
    };
    let is_keyed = matches!(work, Work::Refuse { .. }) || content == 2 && more > 3;
    let key = Key { name: ["k", "l", "m", "n"][usize::from(more % 4)], request: u128::from(what / 12) };
    Command { time_ms: u64::from(more), key: is_keyed.then_some(key), work }.encode(2).to_vec()
}

/// A command of version 1.
pub(super) fn old_command((what, _, id, content, more): Step) -> Vec<u8> {
    let id = Uuid::from_bytes([id; 16]);
    let json = format!(r#"{{"id":"{id}"{}}}"#, MEMBERS[usize::from(content)]);
    let action = match what % 4 {
        0 => Action::Create { record: &json },
        1 => Action::Put { record: &json },
        2 => Action::Patch { patch: r#"{"x":"9"}"# },
        _ => Action::Delete,
    };
    let key = (more == 0).then_some(Key { name: "k", request: 1 });
    Command::one("persons", id, action, Condition::None).with_key(key).encode(1).to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn a_replica_that_restores_snapshots_anywhere_is_the_same(
        steps in steps(),
        raised_at in 0usize..10,
        restored_at in proptest::collection::vec(0usize..90, 0..8),
    ) {
        let (mut one, mut other) = (Documents::new(), Documents::new());
        for (at, step) in steps.into_iter().enumerate() {
            if restored_at.contains(&at) {
                other = read(other.applied(), &write(&other)).unwrap();
            }
            let position = Position::new(1, one.applied().seq.0 + 1);
            if at == raised_at {
                one.voters(position, 2, &mut Vec::new());
                other.voters(position, 2, &mut Vec::new());
                continue;
            }
            let bytes = if at < raised_at || step.0 == 23 && step.4 == 0 { old_command(step) } else { command(&one, step) };
            let (mut changes, mut same) = (Vec::new(), Vec::new());
            let answer = one.apply(position, &bytes, &mut changes).unwrap();
            prop_assert_eq!(&answer, &other.apply(position, &bytes, &mut same).unwrap());
            prop_assert_eq!(&changes, &same);
            prop_assert_eq!(one.check_sum(), Ok(()), "after {:?}", answer);
            prop_assert_eq!(one.sum(), other.sum());
            prop_assert_eq!(one.memory_bytes(), other.memory_bytes());
            prop_assert!(answer.outcome.is_done() || changes.is_empty(), "{:?} changed {:?}", answer, changes);
        }
        prop_assert_eq!(tables(&one), tables(&other));
        prop_assert_eq!(write(&one), write(&other));
    }

    #[test]
    fn indexes_and_times_are_those_of_the_records(steps in steps()) {
        let mut documents = Documents::new();
        for step in steps {
            let position = Position::new(1, documents.applied().seq.0 + 1);
            let bytes = command(&documents, step);
            documents.apply(position, &bytes, &mut Vec::new()).unwrap();
            let restored = read(documents.applied(), &write(&documents)).unwrap();
            prop_assert_eq!(tables(&documents), tables(&restored));
        }
    }
}
