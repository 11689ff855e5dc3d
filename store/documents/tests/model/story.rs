//! Random histories, made as leaders make them: of what is seen now, and sometimes of what was seen a while ago.

use crate::definition::{Definition, Index};
use crate::json::Kind;
use crate::model::{Collection, Model, tag};
use crate::order::{Action, Condition, OfDefinition, On, Operation, Order, Seen, Work};
use proptest::prelude::*;

/// What kind of entry, and numbers that decide the rest.
pub(crate) type Step = (u8, u64);

/// What a history has much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// A little of everything.
    All,
    /// One collection, whose definition changes slowly: many writes between two steps.
    Changes,
    /// One collection, whose records come, are renewed, and go.
    Times,
}

pub(crate) fn moods() -> impl Strategy<Value = Mood> {
    prop_oneof![2 => Just(Mood::All), 2 => Just(Mood::Changes), 1 => Just(Mood::Times)]
}

pub(crate) fn steps(length: usize) -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec((0u8..100, any::<u64>()), 1..=length)
}

const NAMES: [&str; 3] = ["orders", "stock", "persons"];
const XS: [&str; 8] =
    ["", "", r#","x":"1""#, r#","x":"2""#, r#","x":"3""#, r#","x":"11""#, r#","x":7"#, r#","x":null"#];
const NS: [&str; 16] = [
    "",
    "",
    "1",
    "1.0",
    "10e-1",
    "2.5",
    "-3",
    "-3.5",
    "0",
    "-0.0",
    "1e400",
    "1e401",
    r#""1""#,
    "12",
    "1e-3",
    "12345678901234567890123456789012345678901",
];
const TS: [&str; 10] =
    ["", "", "", "1", "2", "3", r#""1970-01-01T00:00:03Z""#, r#""1970-01-01T00:00:02.500Z""#, "null", "-5"];
const BS: [&str; 5] = ["", "true", "false", r#""true""#, "1"];
const OS: [&str; 5] = ["", r#"{"y":"1"}"#, r#"{"y":"2","z":[1,{"a":","}]}"#, r#"{"y":2}"#, r#"["y"]"#];
const SCHEMAS: [&str; 2] = [r#"{"type":"object"}"#, r#"{"maxProperties":9}"#];

/// Numbers, one after the other.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        // SplitMix64; the first number is 0 for the seed 0, so that shrinking makes simple things.
        let mixed = self.0;
        let next = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let next = (next ^ (next >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.0 = if self.0 == 0 { 0 } else { self.0.wrapping_add(0x9e37_79b9_7f4a_7c15) };
        (next ^ (next >> 31)) % end
    }

    pub(crate) fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }

    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == times - 1
    }
}

fn index(fields: &[(&'static str, Kind)], is_unique: bool) -> Index {
    Index { fields: fields.to_vec(), is_unique }
}

fn definition(dice: &mut Dice, has_uuids: bool, is_persons: bool) -> Definition {
    let mut indexes = Vec::new();
    if dice.one_in(2) {
        indexes.push(index(&[("/x", Kind::Text)], dice.one_in(2)));
    }
    let others = [
        index(&[("/n", Kind::Number), ("/x", Kind::Text)], false),
        index(&[("/n", Kind::Number)], true),
        index(&[("/o/y", Kind::Text), ("/b", Kind::Boolean)], false),
        index(&[("/b", Kind::Boolean), ("/n", Kind::Number)], true),
    ];
    indexes.extend(others.into_iter().filter(|_| dice.one_in(4)));
    // A path is of one type in all indexes.
    if dice.one_in(4) && !indexes.iter().any(|index| index.fields.contains(&("/x", Kind::Text))) {
        indexes.push(index(&[("/x", Kind::Number)], false));
    }
    Definition {
        has_uuids,
        is_persons,
        schema: dice.one_in(5).then(|| dice.pick(&SCHEMAS)),
        indexes,
        expires: dice.pick(&[None, None, None, Some("/t"), Some("/t"), Some("/n")]),
        records_max: dice.pick(&[None, None, None, Some(3), Some(5)]),
    }
}

fn members(dice: &mut Dice) -> String {
    let mut members = dice.pick(&XS).to_owned();
    if dice.one_in(60) {
        members = format!(r#","x":"{}""#, "y".repeat(1025));
    }
    let time = if dice.one_in(40) { r#""soon""# } else { dice.pick(&TS) };
    for (name, value) in [("n", dice.pick(&NS)), ("t", time), ("b", dice.pick(&BS)), ("o", dice.pick(&OS))] {
        if !value.is_empty() {
            members.push_str(&format!(",{name:?}:{value}"));
        }
    }
    members
}

fn id(dice: &mut Dice, has_uuids: bool) -> String {
    let number = dice.below(6);
    // Now and then one of the other kind.
    if has_uuids != dice.one_in(50) {
        uuid::Uuid::from_u128(u128::from(number) << 64 | 0xabc).to_string()
    } else {
        number.to_string()
    }
}

fn operation(dice: &mut Dice, collection: Option<&Collection>) -> Operation {
    let id = id(dice, collection.is_some_and(|of| of.definition.has_uuids));
    let found = collection.and_then(|of| of.get(&id)).map(|record| tag(&record.text));
    let record = format!(r#"{{"id":"{id}"{}}}"#, members(dice));
    let patch = |dice: &mut Dice| match dice.below(12) {
        0 => r#"{"id":null}"#.to_owned(),
        1 => r#"{"x":null,"o":{"y":null,"w":{"v":1,"u":null}}}"#.to_owned(),
        _ => format!(r#"{{"p":{}{}}}"#, dice.below(2), members(dice)),
    };
    let action = match dice.below(10) {
        0..=2 => Action::Create(record),
        3..=5 => Action::Put(record),
        6 | 7 => Action::Patch(patch(dice)),
        8 => Action::Delete,
        _ => Action::Check,
    };
    let own = Condition::Tag(found.unwrap_or(7));
    let mut condition = dice.pick(&[Condition::Always, Condition::Always, Condition::Exists, Condition::Absent, own]);
    if matches!((&action, condition), (Action::Check, Condition::Always)) {
        condition = if found.is_some() { Condition::Exists } else { Condition::Absent };
    }
    let is_there = found.map_or(Seen::Absent, Seen::Tag);
    let seen = match dice.below(20) {
        0..=13 => Seen::Any,
        14..=18 => is_there,
        _ => dice.pick(&[Seen::Absent, Seen::Tag(8)]),
    };
    Operation { id, action, condition, seen }
}

/// The entry of this step, by a leader that sees `now`; or by one that still sees `before`.
pub(crate) fn order(mood: Mood, (what, seed): Step, now: &Model, before: &Model) -> Order {
    let dice = &mut Dice::new(seed);
    let seen = if dice.one_in(12) { before } else { now };
    let name = match mood {
        Mood::All => dice.pick(&["orders", "orders", "orders", "stock", "persons"]),
        Mood::Changes | Mood::Times => "orders",
    };
    let collection = seen.collections.get(name);
    let on = |name: &str| On { name: name.to_owned(), epoch: seen.collections.get(name).map_or(0, |of| of.epoch) };
    // Most of what is done to no collection says little.
    let what = match mood {
        _ if collection.is_none() && !dice.one_in(8) => 60,
        Mood::All => what,
        Mood::Changes => match what % 16 {
            0..=8 => what % 40,
            9 | 10 => 60,
            11..=13 => 75,
            14 => 91,
            _ => what,
        },
        Mood::Times => [what % 40, what % 40, what % 40, 45, 60, 75, 95, what][usize::from(what % 8)],
    };
    let of_definition = |dice: &mut Dice| match (dice.below(12), collection) {
        (0, _) => OfDefinition::Exists,
        (1, _) => OfDefinition::Absent,
        (2..=4, Some(of)) => OfDefinition::Revision(of.revision),
        (5, Some(of)) => OfDefinition::Revision(of.created),
        _ => OfDefinition::Always,
    };
    let work = match what {
        0..=39 => {
            let mut operation = operation(dice, collection);
            // Something is to happen.
            if mood != Mood::All && dice.one_in(2) {
                let members = match mood {
                    Mood::Changes => format!(r#","x":"{}""#, dice.below(7)),
                    Mood::All | Mood::Times => members(dice),
                };
                let record = format!(r#"{{"id":"{}"{members}}}"#, operation.id);
                (operation.action, operation.condition, operation.seen) =
                    (Action::Put(record), Condition::Always, Seen::Any);
            }
            Work::One(on(name), operation)
        }
        40..=49 => Work::Batch(on(name), (0..=dice.below(4)).map(|_| operation(dice, collection)).collect()),
        50..=57 => {
            let names: Vec<&str> = NAMES.into_iter().filter(|_| dice.one_in(2)).collect();
            let names = if names.is_empty() { vec![name] } else { names };
            let operations = (0..=dice.below(4)).map(|_| {
                let place = dice.below(names.len() as u64);
                let of = seen.collections.get(names[place as usize]);
                (u16::try_from(place).expect("few"), operation(dice, of))
            });
            let operations = operations.collect();
            Work::Transaction(names.into_iter().map(on).collect(), operations)
        }
        58 | 59 => {
            Work::Refuse { on: on(name), is_transaction: dice.one_in(3), problem: r#"{"code":"invalid-record"}"# }
        }
        60..=70 => {
            let kept =
                collection.map_or((name == "stock", false), |of| (of.definition.has_uuids, of.definition.is_persons));
            let has_uuids = kept.0 != dice.one_in(25);
            let again = collection.filter(|_| dice.one_in(6)).map(|of| match &of.pending {
                Some(pending) => pending.definition.clone(),
                None => of.definition.clone(),
            });
            let mut definition = again.unwrap_or_else(|| definition(dice, has_uuids, kept.1));
            if mood == Mood::Times && dice.one_in(2) {
                definition.expires = Some("/t");
            }
            if mood == Mood::Changes && !dice.one_in(4) {
                let is_unique = collection.is_none_or(|of| !of.definition.indexes.iter().any(|index| index.is_unique));
                definition.indexes = vec![index(&[("/x", Kind::Text)], is_unique)];
            }
            let (condition, unless_expired) = (of_definition(dice), dice.one_in(3).then_some(2_500));
            Work::Define { name: name.into(), definition, condition, unless_expired }
        }
        71 | 72 => Work::Drop { name: name.into(), condition: of_definition(dice), with_records: dice.one_in(2) },
        73 | 74 => Work::GiveUp { name: name.into() },
        75..=90 => {
            let cursor = collection.and_then(|of| of.pending.as_ref()).map_or(0, |pending| pending.cursor);
            let upto = match mood {
                Mood::Changes if !dice.one_in(8) => cursor + 1,
                _ if dice.one_in(3) => u64::MAX,
                _ => cursor + dice.below(4),
            };
            Work::Advance { on: on(name), upto }
        }
        91 | 92 => {
            let id = id(dice, collection.is_some_and(|of| of.definition.has_uuids));
            let found = collection.and_then(|of| of.get(&id)).filter(|_| dice.one_in(2));
            let tag = found.map_or(5, |record| tag(&record.text));
            Work::DoesNotFit { on: on(name), id, tag }
        }
        93..=97 => Work::Expire { on: on(name), upto: dice.below(5) * 1_000 },
        98 => Work::Pause(dice.one_in(2)),
        _ => Work::Note(u128::from(seed)),
    };
    let is_keyed = matches!(work, Work::Refuse { .. }) || dice.one_in(5);
    let takes_keys = matches!(work, Work::One(..) | Work::Batch(..) | Work::Transaction(..) | Work::Refuse { .. });
    let key = (is_keyed && takes_keys).then(|| (dice.pick(&["k", "l", "m", "n"]), u128::from(dice.below(2))));
    Order { time: dice.below(9), key, work }
}
