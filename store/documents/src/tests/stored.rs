//! snapshot.json of format 2.

use super::world::{World, text};
use super::{read, write};
use crate::*;

#[test]
fn the_snapshot_of_format_2_reads_like_this() {
    let mut world = World::with(r#"{"id":"string","indexes":[{"fields":["/x"]}]}"#);
    world.create("a", r#""x":"1""#);
    world.define("orders", r#"{"id":"string","expires":"/t"}"#);
    let delete = Work::One(world.on("orders"), Operation::new(text("b"), Action::Delete, Condition::None));
    world.keyed("k", delete);
    world.run(Work::NoteFile { hash: 0xab });
    world.apply(&Command::new(Work::PauseExpiry { paused: true }).at(1_700_000_000_123).encode(2));
    let expected = concat!(
        "{\"definitions\": {\n",
        "  \"orders\": {\"definition\":{\"id\":\"string\",\"indexes\":[{\"fields\":[\"/x\"]}]},\"created\":1,\"revision\":1,",
        "\"epoch\":3,\"pending\":{\"definition\":{\"id\":\"string\",\"expires\":\"/t\"},\"since\":3,\"cursor\":0}},\n",
        "  \"persons\": {\"definition\":{\"id\":\"uuid\",\"form\":\"persons\"},\"created\":1,\"revision\":1,\"epoch\":1}\n",
        "},\n\"time\": 1700000000123,\n\"expiryPaused\": true,\n\"file\": \"000000000000000000000000000000ab\",\n",
        "\"collections\": {\n  \"orders\": [\n    {\"id\":\"a\",\"x\":\"1\"}\n  ],\n  \"persons\": []\n},\n",
        "\"order\": {\"orders\":{\"last\":1,\"runs\":[[1,1]]},\"persons\":{\"last\":0,\"runs\":[]}},\n",
        "\"keys\": [\n  {\"key\":\"k\",\"space\":\"orders\",\"request\":\"00000000000000000000000000000001\",\"sequence\":4,",
        "\"outcome\":\"missing\",\"id\":{\"text\":\"b\"}}\n]}"
    );
    assert_eq!(write(&world.documents), expected);
    world.restored();
}

#[test]
fn a_snapshot_of_format_2_that_nobody_wrote_is_refused() {
    let mut world = World::with(r#"{"id":"string","indexes":[{"fields":["/x"],"unique":true}],"expires":"/t"}"#);
    world.create("a", r#""x":"1""#);
    world.create("b", r#""x":"2","t":1"#);
    world.define("orders", r#"{"id":"string","indexes":[{"fields":["/y"]}]}"#);
    world.run(Work::NoteFile { hash: 0xab });
    let (applied, text) = (world.documents.applied(), write(&world.documents));
    assert!(read(applied, &text).is_ok());
    for (from, to) in [
        (r#""x":"2""#, r#""x":"1""#),
        (r#""t":1"#, r#""t":"x""#),
        (r#""cursor":0"#, r#""cursor":3"#),
        (r#""id":"string","indexes""#, r#""id":"number","indexes""#),
        (r#"  "orders": {"#, r#"  "dogs": {"#),
    ] {
        let spoilt = text.replacen(from, to, 1);
        assert_ne!(spoilt, text, "{from}");
        assert!(
            matches!(read(applied, &spoilt), Err(StoredError::Definition { .. } | StoredError::Order { .. })),
            "{from}"
        );
    }
    assert_eq!(read(applied, &text.replace("00ab\"", "00xx\"")).unwrap_err(), StoredError::File);
}
