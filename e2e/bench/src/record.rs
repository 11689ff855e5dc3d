//! The records that every system stores: the same JSON text, of the same size, under the same kind of id.

use uuid::Uuid;

/// How long a record is, as text.
pub(super) const BYTES: usize = 128;

/// The id of the record number `i` that a fill has written. As in e2e/bench/peers/cmd/etcd-load/record.go.
pub(super) fn known_id(i: u64) -> Uuid {
    Uuid::from_u128(u128::from(i) << 96 | 0x4000_8000_0000_0000_0000 | u128::from(i))
}

/// The text of the record with this id, padded to `bytes`.
pub(super) fn text(id: Uuid, bytes: usize) -> String {
    let empty = r#"{"firstName":"Bench","lastName":"","id":""}"#.len() + 36;
    let pad = "x".repeat(bytes.saturating_sub(empty).clamp(1, 256));
    format!(r#"{{"firstName":"Bench","lastName":"{pad}","id":"{id}"}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_the_size_that_all_systems_are_compared_with() {
        assert_eq!(text(known_id(1), BYTES).len(), BYTES);
        assert_eq!(known_id(0x12).to_string(), "00000012-0000-4000-8000-000000000012");
    }
}
