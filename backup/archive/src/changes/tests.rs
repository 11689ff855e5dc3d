use super::*;
use leasehold_documents::{Change, ChangeKind, Definition};
use leasehold_replication::ClusterId;
use proptest::prelude::*;
use uuid::Uuid;

fn mark(seq: u64, hash: u128) -> Mark {
    Mark { seq: Seq(seq), time: Time::from_ms(seq * 1000), hash: Sum(hash) }
}

fn event(mark: Mark, rest: &str) -> String {
    let time = serde_json::to_string(&mark.time).unwrap();
    format!(r#"{{"sequence":{},"time":{time},"hash":"{}",{rest}}}"#, mark.seq, mark.hash)
}

const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(9));

/// A file of three entries: a definition with records, one record, and one that changed nothing.
fn file() -> (Vec<u8>, Written) {
    let mut writer = ChangesWriter::begin(Vec::new(), CLUSTER, mark(811, 1)).unwrap();
    let definition =
        r#""definition":{"name":"orders","change":"defined","created":812,"id":"string","schema":{"b":1,"a":2}}"#;
    writer.event(&event(mark(812, 2), definition)).unwrap();
    let records = r#""changes":[{"collection":"orders","change":"created","id":"x","number":1,"record":{"id":"x"}}]"#;
    writer.event(&event(mark(812, 2), records)).unwrap();
    let gone = r#""changes":[{"collection":"orders","change":"deleted","id":"x","number":1,"record":null,"reason":"expired"}]"#;
    writer.event(&event(mark(814, 3), gone)).unwrap();
    writer.pass(mark(830, 3)).unwrap();
    writer.end().unwrap()
}

fn read(bytes: &[u8]) -> Result<(Vec<Entry>, End), (Vec<Entry>, ReadError)> {
    let mut entries = Vec::new();
    let mut reader = ChangesReader::open(bytes).map_err(|error| (Vec::new(), error))?;
    loop {
        match reader.next_entry() {
            Ok(Some(entry)) => entries.push(entry),
            Ok(None) => return Ok((entries, *reader.end().unwrap())),
            Err(error) => return Err((entries, error)),
        }
    }
}

#[test]
fn sequences_that_no_log_reaches_are_damage() {
    let text = String::from_utf8(file().0).unwrap();
    for sequence in ["811", "812", "814", "830"] {
        for beyond in [u64::MAX, Seq::MAX.0 + 1] {
            let text = text.replace(&format!("\"sequence\":{sequence}"), &format!("\"sequence\":{beyond}"));
            let (_, error) = read(text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains("is not the sequence of an entry"), "{sequence}: {error}");
        }
    }
    let last = text.replace("\"sequence\":811", &format!("\"sequence\":{}", Seq::MAX));
    assert!(read(last.as_bytes()).is_err(), "nothing can follow it");
}

#[test]
fn a_file_has_these_lines() {
    let (bytes, written) = file();
    let text = String::from_utf8(bytes).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 5);
    assert_eq!(
        lines[0],
        r#"{"begin":{"clusterId":"00000000-0000-0000-0000-000000000009","sequence":811,"time":"1970-01-01T00:13:31.000Z","hash":"00000000000000000000000000000001"}}"#
    );
    assert_eq!(
        lines[4],
        r#"{"end":{"sequence":830,"time":"1970-01-01T00:13:50.000Z","hash":"00000000000000000000000000000003","events":3}}"#
    );
    assert_eq!((written.first, written.end, written.events), (Seq(812), mark(830, 3), 3));
    assert_eq!(written.bytes, text.len() as u64);
}

#[test]
fn what_was_written_is_read_as_entries() {
    let (bytes, written) = file();
    let (entries, end) = read(&bytes).unwrap();
    assert_eq!((end.mark, end.events), (written.end, 3));
    assert_eq!(entries.iter().map(|entry| entry.mark).collect::<Vec<_>>(), [mark(812, 2), mark(814, 3)]);
    let changes = entries[0].changes().unwrap();
    let Change::Definition { definition: Some(definition), .. } = &changes[0] else { panic!("{changes:?}") };
    // The text of a schema counts for the hash.
    assert_eq!(definition.to_json(), Definition::parse(r#"{"id":"string","schema":{"b":1,"a":2}}"#).unwrap().to_json());
    assert!(matches!(&changes[1], Change::Record(change) if change.kind == ChangeKind::Created && change.number == 1));
    let changes = entries[1].changes().unwrap();
    assert!(matches!(&changes[..], [Change::Record(change)] if change.kind == ChangeKind::Expired));
}

#[test]
fn a_file_cut_off_anywhere_gives_only_whole_entries_and_is_damaged() {
    let (bytes, _) = file();
    let (whole, _) = read(&bytes).unwrap();
    for length in 0..bytes.len() {
        let (entries, error) = read(&bytes[..length]).unwrap_err();
        assert_eq!(entries, whole[..entries.len()], "{length}: {error}");
    }
}

#[test]
fn the_writer_refuses_what_is_no_chain() {
    let begin = || ChangesWriter::begin(Vec::new(), CLUSTER, mark(811, 1)).unwrap();
    let changes = r#""changes":[]"#;
    let refused = |writer: &mut ChangesWriter<Vec<u8>>, event: &str| writer.event(event).unwrap_err().to_string();
    assert!(refused(&mut begin(), &event(mark(811, 1), changes)).contains("must rise"));
    assert!(refused(&mut begin(), &event(mark(810, 1), changes)).contains("must rise"));
    assert!(refused(&mut begin(), "{}").contains("no sequence"));
    assert!(refused(&mut begin(), "{\n}").contains("line break"));
    assert!(refused(&mut begin(), "{").contains("cannot be kept"));
    let mut writer = begin();
    writer.event(&event(mark(812, 2), changes)).unwrap();
    assert!(refused(&mut writer, &event(mark(812, 3), changes)).contains("one hash"));
    assert!(writer.pass(mark(813, 3)).unwrap_err().to_string().contains("without an event"));
    writer.pass(mark(813, 2)).unwrap();
    assert!(refused(&mut writer, &event(mark(813, 2), changes)).contains("change nothing"));
    assert!(begin().end().is_err());
}

#[test]
fn the_reader_refuses_what_is_no_chain() {
    let (bytes, _) = file();
    let text = String::from_utf8(bytes).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let without = |skip: usize| -> String {
        lines.iter().enumerate().filter(|(at, _)| *at != skip).map(|(_, line)| format!("{line}\n")).collect()
    };
    let error = |text: &str| read(text.as_bytes()).unwrap_err().1.to_string();
    assert!(error(&without(0)).contains("does not begin"));
    assert!(error(&without(1)).contains("2 events, and says 3"));
    assert!(error(&without(3)).contains("its last event has"));
    assert!(error(&without(4)).contains("cut off"));
    assert!(error(&(text.clone() + "{}\n")).contains("after its end"));
    let swapped = [lines[0], lines[3], lines[1], lines[2], lines[4], ""].join("\n");
    assert!(error(&swapped).contains("does not follow"), "{}", error(&swapped));
    assert!(error("").contains("empty"));
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0..900_usize) {
        let _ = read(&bytes);
        let (mut file, _) = file();
        let at = at % file.len();
        file.splice(at..at, bytes);
        if let Ok((entries, _)) = read(&file) {
            for entry in entries {
                let _ = entry.changes();
            }
        }
    }
}
