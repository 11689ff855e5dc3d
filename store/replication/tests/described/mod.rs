//! Records, part by part, for golden files: here and in the store.

use leasehold_testkit::golden::Parts;

/// A term and a sequence.
pub(crate) fn position(parts: &mut Parts<'_>, what: &str) {
    parts.u64(&format!("{what}, term"));
    parts.u64(&format!("{what}, sequence"));
}

/// One record; `command` describes the command of an entry, of that many bytes.
pub(crate) fn record(parts: &mut Parts<'_>, command: impl FnOnce(&mut Parts<'_>, usize)) {
    let length = parts.u32("length of the body") as usize;
    parts.sum("CRC-32 of the body");
    let end = parts.left() - length;
    match parts.u8("kind of the record (1 durable state, 2 entry, 3 mark of a snapshot)") {
        1 => {
            parts.u64("promised term");
            parts.bytes(16, "incarnation of the promised leader");
            parts.u8("flags (1 has a cluster-id, 2 bootstrapping)");
            parts.bytes(16, "cluster-id");
        }
        2 => {
            position(parts, "the entry before");
            position(parts, "this entry");
            let what = parts.u8("what it carries (0 nothing, 1 voters, 2 a command)");
            let payload = parts.left() - end;
            match what {
                1 => parts.text(payload, "voters, JSON"),
                2 => command(parts, payload),
                _ => {}
            }
        }
        3 => {
            position(parts, "the last entry in it");
            parts.u64("length of snapshot.json");
            parts.sum("CRC-32 of snapshot.json");
        }
        kind => panic!("no record has kind {kind}"),
    }
    assert_eq!(parts.left(), end, "the parts are not as long as the length in the header");
}
