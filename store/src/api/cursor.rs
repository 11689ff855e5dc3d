//! Where a page ends and the next one begins.
//!
//! ```text
//!   version 1 = hex of: 1u8 | creation number u64 | crc32 u32 of (collection, version, number)           big-endian
//!   version 2 = hex of: 2u8 | crc32 of the collection's name u32 | created u64 | fingerprint u64 | place | crc32 u32 of all before
//! ```
//!
//! Version 1 is of the plain list of `persons`, in order of creation. The number is part of the data, so a cursor is valid on every
//! replica, after every change of leader, and forever: later records have higher numbers, and nothing moves.
//!
//! Version 2 is of any other list. `created` tells a collection from an earlier one of its name, and the fingerprint tells
//! filters, order and index from others: a place among those would skip records in silence. The fingerprint contains the
//! cluster, too: one that began with a backup gives creation numbers anew behind those that it restored. All of it is part of the data or
//! of the query, so it is as valid everywhere, as long as the query takes the same way: until the index that serves it goes, or
//! one comes that serves it better. A list that no index serves stays in order of creation.
//!
//! Cursors are opaque: the checksum only rejects invented and truncated ones.

use super::person::COLLECTION;
use super::problem::{Code, Problem};
use leasehold_replication::ClusterId;

const OF_PERSONS: u8 = 1;
const OF_ANY: u8 = 2;
/// The bytes of a version-2 cursor beside its place.
const BESIDE_BYTES: usize = 1 + 4 + 8 + 8 + 4;

/// A cursor that was made by a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cursor {
    /// Of the plain list of persons: behind the record with this creation number.
    Persons(u64),
    /// Of any other list.
    Any(Origin, Vec<u8>),
}

/// The list that a cursor is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    collection: u32,
    created: u64,
    fingerprint: u64,
}

impl Origin {
    /// `created`: the entry that defined the collection first, or 0. `fingerprint`: that of the plan.
    pub(super) fn new(cluster: Option<ClusterId>, collection: &str, created: u64, fingerprint: u64) -> Origin {
        let (high, low) = cluster.map_or((0, 0), |cluster| cluster.0.as_u64_pair());
        Origin {
            collection: crc32fast::hash(collection.as_bytes()),
            created,
            fingerprint: fingerprint ^ high ^ low.rotate_left(1),
        }
    }
}

impl Cursor {
    /// As a parameter of a URL.
    pub(super) fn write(&self) -> String {
        let bytes = match self {
            Cursor::Persons(number) => {
                [&[OF_PERSONS][..], &number.to_be_bytes(), &sum_of_number(*number).to_be_bytes()].concat()
            }
            Cursor::Any(origin, place) => {
                let mut bytes = Vec::with_capacity(BESIDE_BYTES + place.len());
                bytes.push(OF_ANY);
                bytes.extend_from_slice(&origin.collection.to_be_bytes());
                bytes.extend_from_slice(&origin.created.to_be_bytes());
                bytes.extend_from_slice(&origin.fingerprint.to_be_bytes());
                bytes.extend_from_slice(place);
                bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
                bytes
            }
        };
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// From a parameter.
    pub(super) fn read(cursor: &str) -> Result<Cursor, Problem> {
        parse(cursor).ok_or_else(|| {
            let what = "`cursor` does not come from this store; copy it unchanged from the `next` link of a page";
            Problem::new(Code::InvalidQuery, what).with("parameter", "cursor")
        })
    }
}

fn parse(cursor: &str) -> Option<Cursor> {
    let bytes = unhex(cursor)?;
    let (version, rest) = bytes.split_first()?;
    let number = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_be_bytes);
    let (rest, sum) = rest.split_last_chunk::<4>()?;
    let sum = u32::from_be_bytes(*sum);
    match *version {
        OF_PERSONS => number(rest).filter(|number| sum_of_number(*number) == sum).map(Cursor::Persons),
        OF_ANY if crc32fast::hash(&bytes[..bytes.len() - 4]) == sum => {
            let (collection, rest) = rest.split_first_chunk::<4>()?;
            let (created, rest) = rest.split_first_chunk::<8>()?;
            let (fingerprint, place) = rest.split_first_chunk::<8>()?;
            let origin = Origin {
                collection: u32::from_be_bytes(*collection),
                created: u64::from_be_bytes(*created),
                fingerprint: u64::from_be_bytes(*fingerprint),
            };
            Some(Cursor::Any(origin, place.to_vec()))
        }
        _ => None,
    }
}

/// Lower case alone, as it was written: a cursor has one form.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

fn sum_of_number(number: u64) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(COLLECTION.as_bytes());
    sum.update(&[OF_PERSONS]);
    sum.update(&number.to_be_bytes());
    sum.finalize()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn all() -> Vec<Cursor> {
        let persons = [0, 1, 812, u64::MAX].map(Cursor::Persons);
        let origin = Origin::new(None, "orders", 7, u64::MAX);
        let any = [&b""[..], &[1, 2, 3], &[0xff; 300]].map(|place| Cursor::Any(origin, place.to_vec()));
        persons.into_iter().chain(any).collect()
    }

    #[test]
    fn a_cursor_of_another_cluster_is_of_another_list() {
        let of = |cluster: u128| Origin::new(Some(ClusterId(uuid::Uuid::from_u128(cluster))), "orders", 7, 9);
        assert_eq!(of(1), of(1));
        for other in [0, 2, 1 << 64, u128::MAX] {
            assert_ne!(of(1), of(other), "{other:x}");
        }
    }

    #[test]
    fn a_cursor_comes_back_as_it_went_out_and_a_spoilt_one_never_does() {
        for cursor in all() {
            let text = cursor.write();
            assert_eq!(Cursor::read(&text).unwrap(), cursor);
            for at in 0..text.len() {
                let mut spoilt = text.clone().into_bytes();
                spoilt[at] = if spoilt[at] == b'0' { b'1' } else { b'0' };
                let spoilt = String::from_utf8(spoilt).unwrap();
                assert_eq!(Cursor::read(&spoilt).unwrap_err().code(), Code::InvalidQuery, "{spoilt}");
            }
            for length in 0..text.len() {
                assert!(parse(&text[..length]).is_none(), "{text} {length}");
            }
        }
        assert_eq!(Cursor::Persons(812).write(), format!("01000000000000032c{:08x}", sum_of_number(812)));
        let one = Cursor::Persons(1).write();
        for bad in
            ["", "5", "zz", "é", &one[1..], &one.to_uppercase().replace('0', "é"), &format!("{one} "), "00", "03"]
        {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_cursor_of_any_list_stays_as_it_is() {
        let cursor = Cursor::Any(Origin::new(None, "orders", 258, 3), vec![0xab]);
        let expected = "02e52ffdee00000000000001020000000000000003ab";
        assert_eq!(&cursor.write()[..expected.len()], expected);
    }
}
