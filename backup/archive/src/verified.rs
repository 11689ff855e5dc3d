//! What `<sequence>-<time>.verified.json` says: that a full was read back, loaded, and compared.

use crate::changes::Mark;
use leasehold_replication::Sum;
use serde::{Deserialize, Serialize};

/// A full that was verified. Written after that, and never encrypted: it has no data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// Its last entry, that entry's time, and the hash of the data.
    #[serde(flatten)]
    pub mark: Mark,
    /// The hash of the answers that are kept for retries, where the cluster said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys_hash: Option<Sum>,
    /// How many records it has.
    pub records: u64,
    /// The length of the snapshot.
    pub bytes: u64,
    /// The length of the object.
    pub compressed_bytes: u64,
    /// CRC-32 of the object's bytes.
    pub crc32: u32,
    /// The object is encrypted: what was loaded and compared are the bytes before that, what was read back has this checksum.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub encrypted: bool,
}

impl Verified {
    /// As the object has it.
    pub fn to_json(&self) -> String {
        // Serializing numbers and texts cannot fail.
        serde_json::to_string(self).map(|json| json + "\n").unwrap_or_default()
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is not the JSON of one.
    pub fn parse(json: &[u8]) -> Result<Verified, serde_json::Error> {
        serde_json::from_slice(json)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::time::Time;
    use leasehold_replication::Seq;

    #[test]
    fn it_is_written_so_and_reads_back() {
        let mark = Mark { seq: Seq(812), time: Time::from_ms(1_709_251_200_000), hash: Sum(10) };
        let plain = Verified {
            mark,
            keys_hash: None,
            records: 3,
            bytes: 400,
            compressed_bytes: 200,
            crc32: 7,
            encrypted: false,
        };
        assert_eq!(
            plain.to_json(),
            "{\"sequence\":812,\"time\":\"2024-03-01T00:00:00.000Z\",\"hash\":\"0000000000000000000000000000000a\",\
             \"records\":3,\"bytes\":400,\"compressedBytes\":200,\"crc32\":7}\n"
        );
        let all = Verified { keys_hash: Some(Sum(1)), encrypted: true, ..plain.clone() };
        assert!(all.to_json().contains("\"encrypted\":true"));
        for verified in [plain, all] {
            assert_eq!(Verified::parse(verified.to_json().as_bytes()).unwrap(), verified);
        }
        assert!(Verified::parse(b"{}").is_err());
    }
}
