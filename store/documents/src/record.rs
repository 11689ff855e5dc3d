//! One record.

use std::sync::Arc;

/// One record: the bytes of its JSON as stored. A clone shares them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record(Arc<str>);

impl Record {
    /// Its JSON.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A hash of its bytes, for `ETag` and `If-Match`. Part of the log's format: every replica must compute the same.
    pub fn tag(&self) -> u128 {
        tag_of(&self.0)
    }
}

impl From<&str> for Record {
    fn from(json: &str) -> Record {
        Record(json.into())
    }
}

impl From<String> for Record {
    fn from(json: String) -> Record {
        Record(json.into())
    }
}

/// FNV-1a with 128 bits. It defends against no attacker: a client that could make two records collide may write both.
pub fn tag_of(record: &str) -> u128 {
    const OFFSET: u128 = 0x6c62272e07bb014262b821756295c58d;
    const PRIME: u128 = 0x0000000001000000000000000000013b;
    record.bytes().fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME))
}
