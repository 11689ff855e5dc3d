//! The names of objects: all that a LIST says.
//!
//! ```text
//!   <prefix>/<clusterId>/full/<sequence>-<time>.json.zst[.age]           a snapshot
//!   <prefix>/<clusterId>/full/<sequence>-<time>.verified.json            it was read back, loaded and compared
//!   <prefix>/<clusterId>/changes/<first>-<last>-<time>.ndjson.zst[.age]  the entries first..last
//! ```
//!
//! Sequences have 20 digits, so the order of names is the order of sequences. `<time>` is the leaders' time of the last entry
//! that the object holds. A name has one form: what does not read back to itself is not ours, and left alone.

use crate::time::Time;
use leasehold_replication::{ClusterId, Seq};
use std::fmt;
use uuid::Uuid;

/// What an object is, by its name within the folder of its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// A snapshot, compressed.
    Full {
        /// The last entry that it holds.
        seq: Seq,
        /// That entry's time.
        time: Time,
        /// It is encrypted by age.
        encrypted: bool,
    },
    /// Says that a full of that sequence and time was verified.
    Verified {
        /// As the full has it.
        seq: Seq,
        /// As the full has it.
        time: Time,
    },
    /// A file of changes.
    Changes {
        /// Its first entry.
        first: Seq,
        /// Its last entry.
        last: Seq,
        /// The last entry's time.
        time: Time,
        /// It is encrypted by age.
        encrypted: bool,
    },
}

impl Name {
    /// Reads `full/…` or `changes/…`; none: not a name of ours.
    pub fn parse(text: &str) -> Option<Name> {
        let (folder, file) = text.split_once('/')?;
        let (stem, encrypted) = file.strip_suffix(".age").map_or((file, false), |stem| (stem, true));
        let name = match folder {
            "full" => match (stem.strip_suffix(".json.zst"), stem.strip_suffix(".verified.json")) {
                (Some(stem), _) => {
                    let (seq, time) = stem.split_once('-')?;
                    Name::Full { seq: sequence(seq)?, time: Time::from_name(time)?, encrypted }
                }
                (None, Some(stem)) if !encrypted => {
                    let (seq, time) = stem.split_once('-')?;
                    Name::Verified { seq: sequence(seq)?, time: Time::from_name(time)? }
                }
                (None, _) => return None,
            },
            "changes" => {
                let (first, rest) = stem.strip_suffix(".ndjson.zst")?.split_once('-')?;
                let (last, time) = rest.split_once('-')?;
                let (first, last) = (sequence(first)?, sequence(last)?);
                if first > last || first == Seq(0) {
                    return None;
                }
                Name::Changes { first, last, time: Time::from_name(time)?, encrypted }
            }
            _ => return None,
        };
        Some(name)
    }

    /// The last entry that the object holds.
    pub fn last(&self) -> Seq {
        match *self {
            Name::Full { seq, .. } | Name::Verified { seq, .. } => seq,
            Name::Changes { last, .. } => last,
        }
    }

    /// That entry's time.
    pub fn time(&self) -> Time {
        match *self {
            Name::Full { time, .. } | Name::Verified { time, .. } | Name::Changes { time, .. } => time,
        }
    }

    /// Is it encrypted by age?
    pub fn is_encrypted(&self) -> bool {
        match *self {
            Name::Full { encrypted, .. } | Name::Changes { encrypted, .. } => encrypted,
            Name::Verified { .. } => false,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let age = if self.is_encrypted() { ".age" } else { "" };
        match self {
            Name::Full { seq, time, .. } => write!(f, "full/{:020}-{}.json.zst{age}", seq.0, time.to_name()),
            Name::Verified { seq, time } => write!(f, "full/{:020}-{}.verified.json", seq.0, time.to_name()),
            Name::Changes { first, last, time, .. } => {
                write!(f, "changes/{:020}-{:020}-{}.ndjson.zst{age}", first.0, last.0, time.to_name())
            }
        }
    }
}

/// Reads the folder of a cluster; only the usual form of a UUID.
pub fn cluster_of(folder: &str) -> Option<ClusterId> {
    let id = Uuid::try_parse(folder).ok()?;
    (id.to_string() == folder).then_some(ClusterId(id))
}

fn sequence(digits: &str) -> Option<Seq> {
    if digits.len() != 20 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(Seq).filter(|seq| *seq <= Seq::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn names() -> impl Strategy<Value = Name> {
        let (seq, time) = (1..=Seq::MAX.0, (0..300_000_000_000_000_u64).prop_map(Time::from_ms));
        (0..3, seq.clone(), seq, time, any::<bool>()).prop_map(|(kind, one, other, time, encrypted)| match kind {
            0 => Name::Full { seq: Seq(one), time, encrypted },
            1 => Name::Verified { seq: Seq(one), time },
            _ => Name::Changes { first: Seq(one.min(other)), last: Seq(one.max(other)), time, encrypted },
        })
    }

    #[test]
    fn objects_have_these_names() {
        let time: Time = "2026-11-30T15:31:28.123Z".parse().unwrap();
        for (name, text) in [
            (
                Name::Full { seq: Seq(812), time, encrypted: false },
                "full/00000000000000000812-20261130T153128.123Z.json.zst",
            ),
            (
                Name::Full { seq: Seq(812), time, encrypted: true },
                "full/00000000000000000812-20261130T153128.123Z.json.zst.age",
            ),
            (Name::Verified { seq: Seq(812), time }, "full/00000000000000000812-20261130T153128.123Z.verified.json"),
            (
                Name::Changes { first: Seq(813), last: Seq(900), time: Time::UNSAID, encrypted: false },
                "changes/00000000000000000813-00000000000000000900-00000000T000000.000Z.ndjson.zst",
            ),
        ] {
            assert_eq!(name.to_string(), text);
            assert_eq!(Name::parse(text), Some(name));
        }
    }

    #[test]
    fn other_names_are_not_ours() {
        for text in [
            "",
            "full",
            "full/",
            "full/812-20261130T153128.123Z.json.zst",
            "full/00000000000000000812-20261130T153128.123Z.json",
            "full/00000000000000000812-20261130T153128.123Z.json.zst#1",
            "full/00000000000000000812-20261130T153128.123Z.verified.json.age",
            "full/+0000000000000000812-20261130T153128.123Z.json.zst",
            "full/x/00000000000000000812-20261130T153128.123Z.json.zst",
            "full/99999999999999999999-20261130T153128.123Z.json.zst",
            "changes/00000000000000000813-00000000000000000812-20261130T153128.123Z.ndjson.zst",
            "changes/00000000000000000000-00000000000000000812-20261130T153128.123Z.ndjson.zst",
            "changes/00000000000000000812-20261130T153128.123Z.ndjson.zst",
        ] {
            assert_eq!(Name::parse(text), None, "{text}");
        }
        assert_eq!(cluster_of("urn:uuid:00000000-0000-0000-0000-000000000009"), None);
        assert!(cluster_of("00000000-0000-0000-0000-000000000009").is_some());
    }

    proptest! {
        #[test]
        fn each_name_reads_back(name in names()) {
            prop_assert_eq!(Name::parse(&name.to_string()), Some(name));
        }

        #[test]
        fn what_reads_is_the_one_form(text in "(full|changes)/[0-9]{20}(-[0-9]{20})?-[0-9]{8}T[0-9]{6}\\.[0-9]{3}Z\\.(json|ndjson|verified)(\\.zst)?(\\.age)?") {
            if let Some(name) = Name::parse(&text) {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
