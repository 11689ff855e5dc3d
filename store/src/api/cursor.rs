//! Where a page ends and the next one begins.
//!
//! ```text
//!   cursor = hex of: version 1u8 | creation number u64 | crc32 u32 of (collection, version, number)      big-endian
//! ```
//!
//! The number is part of the data, so a cursor is valid on every replica, after every change of leader, and forever: later
//! records have higher numbers, and nothing moves. It is opaque: the checksum only rejects invented and truncated ones.

use super::person::COLLECTION;
use super::problem::{Code, Problem};

const VERSION: u8 = 1;
const DIGITS: usize = 2 * (1 + 8 + 4);

/// The cursor behind the record with this creation number.
pub(super) fn write(number: u64) -> String {
    format!("{VERSION:02x}{number:016x}{:08x}", sum(number))
}

/// The creation number after which the page begins.
pub(super) fn read(cursor: &str) -> Result<u64, Problem> {
    parse(cursor).ok_or_else(|| {
        let what = "`cursor` does not come from this store; copy it unchanged from the `next` link of a page";
        Problem::new(Code::InvalidQuery, what).with("parameter", "cursor")
    })
}

fn parse(cursor: &str) -> Option<u64> {
    let is_hex = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    if cursor.len() != DIGITS || !cursor.bytes().all(is_hex) || u8::from_str_radix(&cursor[..2], 16) != Ok(VERSION) {
        return None;
    }
    let number = u64::from_str_radix(&cursor[2..18], 16).ok()?;
    (u32::from_str_radix(&cursor[18..], 16) == Ok(sum(number))).then_some(number)
}

fn sum(number: u64) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(COLLECTION.as_bytes());
    sum.update(&[VERSION]);
    sum.update(&number.to_be_bytes());
    sum.finalize()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_went_out_and_a_spoilt_one_never_does() {
        for number in [0, 1, 812, u64::MAX] {
            let cursor = write(number);
            assert_eq!(read(&cursor).unwrap(), number);
            for at in 0..cursor.len() {
                let mut spoilt = cursor.clone().into_bytes();
                spoilt[at] = if spoilt[at] == b'0' { b'1' } else { b'0' };
                let spoilt = String::from_utf8(spoilt).unwrap();
                assert_eq!(read(&spoilt).unwrap_err().code(), Code::InvalidQuery, "{spoilt}");
            }
        }
        assert_eq!(write(812), format!("01000000000000032c{:08x}", sum(812)));
        for bad in
            ["", "5", "zz", &write(1)[1..], &write(1).to_uppercase().replace('0', "é"), &format!("{} ", write(1))]
        {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
