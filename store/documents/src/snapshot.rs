//! `snapshot.json` as a whole: all data at one position of the log, in one JSON file that people can read.
//!
//! ```text
//!   {"format":1,"clusterId":"…","position":{"term":3,"sequence":812},"voters":{…},      the head
//!   "definitions": {…}, "time": …, "expiryPaused": …, "file": …,                         in format 2 (`stored`)
//!   "collections": {"persons": […]},
//!   "order": {…},
//!   "keys": […],                                                                         where there are any
//!   "sum": "<32 hexadecimal digits>"}                                                    of the data (`sums`)
//! ```
//!
//! To and from anything that takes or gives bytes: a file of a volume, the answer to `GET /api/snapshot`, an archive.

use crate::{
    Documents, FORMAT_MIN, StoredCollections, StoredDefinitions, StoredKey, StoredOrder, StoredState, readable,
};
use leasehold_replication::{ClusterId, Position, Seq, Sum, Voters};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{self, BufReader, Read, Write};

/// What is read at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// What precedes the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// The format of the file, and of the data.
    pub format: u32,
    /// Whose data they are.
    pub cluster_id: ClusterId,
    /// The last entry that they include.
    pub position: Position,
    /// The voters as of that entry.
    pub voters: Voters,
}

/// A snapshot that was read.
#[derive(Debug)]
pub struct ReadSnapshot {
    /// What precedes the data.
    pub head: Head,
    /// The data.
    pub documents: Documents,
    /// What the file says that their sum is: to be compared with [`Documents::sum`]. Builds before the sums wrote none.
    pub said: Option<Sum>,
}

/// Why a snapshot cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Its source failed.
    #[error("cannot read the snapshot: {0}")]
    Io(#[source] io::Error),
    /// It is of a format that this build does not read. The rest of it was not looked at.
    #[error(
        "the snapshot has format {found}, and this build reads {}: use a build that reads format {found}",
        readable(*max)
    )]
    Format {
        /// Its format.
        found: u32,
        /// The highest that may be read.
        max: u32,
    },
    /// It is not a snapshot, or one that nobody wrote so.
    #[error("the snapshot is damaged: {0}")]
    Damage(String),
}

/// Writes a snapshot. Its sum is the running one ([`Documents::check_sum`] compares that with the bytes). In small pieces:
/// `out` should have a buffer.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut dyn Write, head: &Head, documents: &Documents) -> io::Result<()> {
    let head = serde_json::to_vec(head)?;
    // The object stays open for the data.
    out.write_all(&head[..head.len() - 1])?;
    out.write_all(b",\n")?;
    documents.write_collections(out)?;
    write!(out, ",\n\"sum\": \"{}\"\n}}\n", documents.sum())
}

/// Reads a snapshot to its end. `format_max`: the highest format that is accepted. Takes time and memory in proportion to the
/// data; `from` needs no buffer.
///
/// # Errors
/// [`SnapshotError`]
pub fn read(from: impl Read, format_max: u32) -> Result<ReadSnapshot, SnapshotError> {
    let mut too_new = None;
    let mut json = serde_json::Deserializer::from_reader(BufReader::with_capacity(BUFFER_BYTES, from));
    let read = Reading { format_max, too_new: &mut too_new }.deserialize(&mut json);
    let read = read.and_then(|whole| json.end().map(|()| whole));
    let whole = match read {
        Ok(whole) => whole,
        Err(error) => {
            return Err(match too_new {
                Some(found) => SnapshotError::Format { found, max: format_max },
                None if error.is_io() => SnapshotError::Io(error.into()),
                None => SnapshotError::Damage(error.to_string()),
            });
        }
    };
    let Whole { head, said, state, collections, order, keys } = whole;
    if head.position.seq > Seq::MAX {
        let what = format!("it is at {}, a sequence that no log reaches", head.position);
        return Err(SnapshotError::Damage(what));
    }
    let documents = Documents::restore(head.position, collections, order, keys, state)
        .map_err(|error| SnapshotError::Damage(error.to_string()))?;
    Ok(ReadSnapshot { head, documents, said })
}

/// The whole file, before documents are made of it.
struct Whole {
    head: Head,
    said: Option<Sum>,
    state: StoredState,
    collections: StoredCollections,
    order: StoredOrder,
    keys: Vec<StoredKey>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Member {
    Format,
    ClusterId,
    Position,
    Voters,
    Definitions,
    Time,
    ExpiryPaused,
    File,
    Collections,
    Order,
    Keys,
    Sum,
    #[serde(other)]
    Other,
}

/// Reads the members. By hand: what a later format has there may not fit our fields, and then its number is what an operator
/// needs to know.
struct Reading<'a> {
    format_max: u32,
    /// The format, if it is not one that is accepted.
    too_new: &'a mut Option<u32>,
}

impl Reading<'_> {
    fn check<E: Error>(&mut self, format: u32) -> Result<(), E> {
        if (FORMAT_MIN..=self.format_max).contains(&format) {
            return Ok(());
        }
        *self.too_new = Some(format);
        Err(E::custom("its format is not one that is read"))
    }
}

impl<'de> DeserializeSeed<'de> for Reading<'_> {
    type Value = Whole;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Whole, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Reading<'_> {
    type Value = Whole;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a snapshot")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Whole, A::Error> {
        let (mut format, mut cluster_id, mut position, mut voters) = (None, None, None, None);
        let (mut definitions, mut time, mut expiry_paused, mut file) = (None, None, None, None);
        let (mut collections, mut order, mut keys, mut said) = (None, None, None, None);
        while let Some(member) = map.next_key()? {
            match member {
                Member::Format => {
                    let found = once("format", &mut format, &mut map)?;
                    self.check(*found)?;
                }
                Member::ClusterId => drop(once("clusterId", &mut cluster_id, &mut map)?),
                Member::Position => drop(once("position", &mut position, &mut map)?),
                Member::Voters => {
                    let found: &mut Voters = once("voters", &mut voters, &mut map)?;
                    self.check(found.format)?;
                }
                Member::Definitions => {
                    once::<Option<StoredDefinitions>, A>("definitions", &mut definitions, &mut map)?;
                }
                Member::Time => drop(once("time", &mut time, &mut map)?),
                Member::ExpiryPaused => drop(once("expiryPaused", &mut expiry_paused, &mut map)?),
                Member::File => drop(once::<Option<String>, A>("file", &mut file, &mut map)?),
                Member::Collections => drop(once("collections", &mut collections, &mut map)?),
                Member::Order => drop(once("order", &mut order, &mut map)?),
                Member::Keys => drop(once("keys", &mut keys, &mut map)?),
                Member::Sum => drop(once::<Option<Sum>, A>("sum", &mut said, &mut map)?),
                Member::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let lacks = |name| move || A::Error::missing_field(name);
        Ok(Whole {
            head: Head {
                format: format.ok_or_else(lacks("format"))?,
                cluster_id: cluster_id.ok_or_else(lacks("clusterId"))?,
                position: position.ok_or_else(lacks("position"))?,
                voters: voters.ok_or_else(lacks("voters"))?,
            },
            said: said.flatten(),
            state: StoredState {
                definitions: definitions.flatten(),
                time: time.unwrap_or_default(),
                expiry_paused: expiry_paused.unwrap_or_default(),
                file: file.flatten(),
            },
            collections: collections.ok_or_else(lacks("collections"))?,
            order: order.ok_or_else(lacks("order"))?,
            keys: keys.unwrap_or_default(),
        })
    }
}

/// Reads a member, which must not have been there before.
fn once<'a, 'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    name: &'static str,
    slot: &'a mut Option<T>,
    map: &mut A,
) -> Result<&'a mut T, A::Error> {
    if slot.is_some() {
        return Err(A::Error::duplicate_field(name));
    }
    Ok(slot.insert(map.next_value()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Action, Command, Condition, Define, DefinitionCondition, IdRef, On, Operation, Work};
    use uuid::Uuid;

    fn head(format: u32, documents: &Documents) -> Head {
        let voters = Voters { format, ..Voters::none() };
        Head { format, cluster_id: ClusterId(Uuid::from_u128(9)), position: documents.applied(), voters }
    }

    fn documents() -> Documents {
        let mut documents = Documents::new();
        let definition = r#"{"id":"string","indexes":[{"fields":["/x"],"unique":true}]}"#;
        let (condition, unless_expired_ms) = (DefinitionCondition::None, None);
        let define = Work::Define(Define { collection: "orders", definition, condition, unless_expired_ms });
        documents.apply(Position::new(1, 1), &Command::new(define).encode(2), &mut Vec::new()).unwrap();
        let on = On { collection: "orders", epoch: Some(Seq(1)) };
        let record = r#"{"id":"a","x":"1"}"#;
        let put = Operation::new(IdRef::Text("a"), Action::Put { record }, Condition::None);
        let put = Command::new(Work::One(on, put)).encode(2);
        documents.apply(Position::new(1, 2), &put, &mut Vec::new()).unwrap();
        documents
    }

    fn written(head: &Head, documents: &Documents) -> String {
        let mut out = Vec::new();
        write(&mut out, head, documents).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn damage(json: &str) -> String {
        match read(json.as_bytes(), 2).unwrap_err() {
            SnapshotError::Damage(what) => what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_written_is_read_with_its_head_and_its_sum() {
        for (format, documents) in [(1, Documents::new()), (2, documents())] {
            let head = head(format, &documents);
            let json = written(&head, &documents);
            // One byte at a time: whatever the source gives is enough.
            let found = read(OneByOne(json.as_bytes()), 2).unwrap();
            assert_eq!((found.head, found.said), (head.clone(), Some(documents.sum())));
            assert_eq!(found.documents.sum(), documents.sum());
            assert_eq!(written(&head, &found.documents), json);
        }
    }

    #[test]
    fn a_later_format_is_named_whatever_else_the_file_holds() {
        let documents = documents();
        let json = written(&head(2, &documents), &documents);
        let found = |json: &str, max| match read(json.as_bytes(), max) {
            Err(SnapshotError::Format { found, max }) => Some((found, max)),
            _ => None,
        };
        assert_eq!(found(&json, 1), Some((2, 1)));
        assert_eq!(found(r#"{"format":7,"clusterId":[],"all":"else"}"#, 2), Some((7, 2)));
        assert_eq!(found(r#"{"format":0}"#, 2), Some((0, 2)));
        // Of the voters, who decide what is in force.
        let voters = json.replacen(r#""voters":{"format":2"#, r#""voters":{"format":3"#, 1);
        assert_ne!(voters, json);
        assert_eq!(found(&voters, 2), Some((3, 2)));
    }

    #[test]
    fn what_nobody_wrote_so_is_damage() {
        let documents = documents();
        let json = written(&head(2, &documents), &documents);
        assert!(damage("").contains("EOF"));
        assert!(damage("[]").contains("a snapshot"));
        assert!(damage(r#"{"format":2}"#).contains("clusterId"));
        assert!(damage(&json[..json.len() - 3]).contains("EOF"));
        assert!(damage(&format!("{json}x")).contains("trailing"));
        let twice = json.replacen(r#""format":2"#, r#""format":2,"format":2"#, 1);
        assert!(damage(&twice).contains("duplicate field `format`"));
        assert!(damage(&json.replacen("\"last\":1", "\"last\":0", 1)).contains("orders"));
        let beyond = json.replacen("\"sequence\":2", "\"sequence\":18446744073709551615", 1);
        assert!(damage(&beyond).contains("no log reaches"));
    }

    #[test]
    fn members_of_later_builds_are_passed_over_and_an_older_one_has_no_sum() {
        let documents = documents();
        let json = written(&head(2, &documents), &documents);
        let more = json.replacen(r#"{"format""#, r#"{"more":[{"format":9}],"format""#, 1);
        assert_eq!(read(more.as_bytes(), 2).unwrap().documents.sum(), documents.sum());
        let (older, _) = json.split_once(",\n\"sum\"").unwrap();
        assert_eq!(read(format!("{older}}}").as_bytes(), 2).unwrap().said, None);
    }

    #[test]
    fn an_error_of_the_source_is_none_of_the_file() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::TimedOut.into())
            }
        }
        let from = r#"{"format":2,"#.as_bytes().chain(Broken);
        let Err(SnapshotError::Io(error)) = read(from, 2) else { panic!() };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    struct OneByOne<'a>(&'a [u8]);

    impl Read for OneByOne<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let most = to.len().min(1);
            self.0.read(&mut to[..most])
        }
    }
}
