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

/// How many tenants the orders have.
pub(super) const TENANTS: u64 = 1_000;

/// The text of the order with this id, padded to `bytes`: its tenant, priority and unique number follow from the id.
pub(super) fn order(id: Uuid, bytes: usize) -> String {
    let (tenant, priority, number) = (tenant(id), priority(id), number(id));
    let pad = "x".repeat(bytes.saturating_sub(ORDER_BYTES).clamp(1, 256));
    format!(r#"{{"tenant":"t{tenant:03}","priority":{priority},"number":"{number}","note":"{pad}","id":"{id}"}}"#)
}

/// Of an order without a note.
const ORDER_BYTES: usize = 117;

pub(super) fn tenant(id: Uuid) -> u64 {
    mixed(id) % TENANTS
}

/// Six digits.
pub(super) fn priority(id: Uuid) -> u64 {
    100_000 + (mixed(id) / TENANTS) % 900_000
}

pub(super) fn number(id: Uuid) -> String {
    format!("{:016x}", id.as_u64_pair().1)
}

/// Anything that follows from the id, and looks like chance.
fn mixed(id: Uuid) -> u64 {
    let (high, low) = id.as_u64_pair();
    (high ^ low).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_the_size_that_all_systems_are_compared_with() {
        assert_eq!(text(known_id(1), BYTES).len(), BYTES);
        assert_eq!(order(known_id(1), BYTES).len(), BYTES);
        assert_eq!(known_id(0x12).to_string(), "00000012-0000-4000-8000-000000000012");
    }
}
