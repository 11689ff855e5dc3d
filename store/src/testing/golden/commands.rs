//! Commands: every kind, every condition, and an idempotency key.

use leasehold_testkit::golden::Parts;
use uuid::Uuid;

use super::golden;
use leasehold_documents::{Action, Command, Condition, Key, On, Operation, Work};

const ID: Uuid = Uuid::from_u128(0xe956b5d0_fa0c_40e8_9da9_333c214dcaf7);
const RECORD: &str = r#"{"firstName":"Johanna","lastName":"Köster","id":"e956b5d0-fa0c-40e8-9da9-333c214dcaf7"}"#;
const PATCH: &str = r#"{"lastName":null}"#;
const TAG: u128 = 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10;
const KEY: Option<Key<'_>> = Some(Key { name: "8e03978e-40d5", request: TAG });

fn operation(action: Action<'static>, condition: Condition) -> Operation<'static> {
    Operation::new(ID, action, condition)
}

fn commands() -> Vec<(&'static str, Command<'static>)> {
    let one = |key, action, condition| Command {
        time_ms: 0,
        key,
        work: Work::One(On::name("persons"), operation(action, condition)),
    };
    let create = Action::Create { record: RECORD };
    let put = Action::Put { record: RECORD };
    let patch = Action::Patch { patch: PATCH };
    let all = vec![
        operation(create, Condition::Absent),
        operation(put, Condition::None),
        operation(patch, Condition::Exists),
        operation(Action::Delete, Condition::Tag(TAG)),
    ];
    let batch = |key, operations| Command { time_ms: 0, key, work: Work::Batch(On::name("persons"), operations) };
    vec![
        ("command-1-create.hex", one(None, create, Condition::None)),
        ("command-2-put-if-absent.hex", one(None, put, Condition::Absent)),
        ("command-3-delete-if-tag.hex", one(None, Action::Delete, Condition::Tag(TAG))),
        ("command-4-patch-if-exists.hex", one(None, patch, Condition::Exists)),
        ("command-2-put-with-key.hex", one(KEY, put, Condition::None)),
        ("command-3-delete-with-key-if-tag.hex", one(KEY, Action::Delete, Condition::Tag(TAG))),
        ("command-5-batch.hex", batch(None, all.clone())),
        ("command-5-batch-with-key.hex", batch(KEY, all[..1].to_vec())),
        ("command-5-batch-of-none.hex", batch(None, Vec::new())),
    ]
}

pub(super) fn names() -> Vec<&'static str> {
    commands().into_iter().map(|(name, _)| name).collect()
}

/// A command of that many bytes.
pub(super) fn describe(parts: &mut Parts<'_>, length: usize) {
    let end = parts.left() - length;
    if parts.u8("version: the format in force") > 1 {
        return super::collections::describe(parts);
    }
    let kind = parts.u8("kind of the command (1 create, 2 put, 3 delete, 4 patch, 5 batch)");
    if describe_condition(parts) == 4 {
        let key = parts.u8("length of the idempotency key");
        parts.text(key.into(), "the key");
        parts.bytes(16, "hash of the request, u128");
        describe_condition(parts);
    }
    let name = parts.u8("length of the collection's name");
    parts.text(name.into(), "collection");
    if kind != 5 {
        parts.bytes(16, "id of the record");
        parts.text(parts.left() - end, "record");
        return;
    }
    for number in 1..=parts.u16("how many operations") {
        parts.heading(&format!("operation {number}"));
        parts.u8("kind of the operation (1 to 4)");
        describe_condition(parts);
        parts.bytes(16, "id of the record");
        let record = parts.u32("length of the record");
        parts.text(record as usize, "record");
    }
}

fn describe_condition(parts: &mut Parts<'_>) -> u8 {
    let condition = parts.u8("condition (0 none, 1 exists, 2 absent, 3 tag, 4 with a key)");
    if condition == 3 {
        parts.bytes(16, "tag, u128");
    }
    condition
}

#[test]
fn golden_commands_are_read_as_these_values() {
    for (name, command) in commands() {
        for (version, bytes) in golden().stored(name) {
            assert_eq!(Command::decode(&bytes), Ok(command.clone()), "{version}/{name}");
            assert_eq!(Command::check_known(&bytes), Ok(()), "{version}/{name}");
        }
    }
}

#[test]
fn golden_commands_are_what_these_values_are_written_as() {
    for (name, command) in commands() {
        let bytes = command.encode(1);
        golden().is_written_in_parts(name, &bytes, |parts| describe(parts, bytes.len()));
    }
}
