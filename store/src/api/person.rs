//! What a record of `persons` is, and what is told to who sends something else.
//!
//! ```text
//!   bytes ──syntax──▶ JSON, depth, keys once ──fields──▶ Person ──to_json──▶ the record as it is stored
//! ```
//!
//! A record is stored in one form (`firstName`, `lastName`, `id`, no spaces, the UUID in lower case), so the same person
//! sent twice with other spaces or another order of the fields is the same record. Nothing is lost by that: every field
//! is known and is a string.

use super::problem::{Code, Problem};
use crate::documents::{Action, Command, Condition};
use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use uuid::Uuid;

/// The name of the collection, in paths and in the log.
pub const COLLECTION: &str = "persons";
/// The longest name, in characters (Unicode scalar values).
pub const NAME_CHARACTERS_MAX: usize = 256;

/// A person, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    first_name: String,
    last_name: String,
    /// As sent; none when it was left out.
    pub id: Option<Uuid>,
}

/// A person as it is stored and read again.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stored<'a> {
    /// The first name.
    #[serde(borrow)]
    pub first_name: Cow<'a, str>,
    /// The last name.
    #[serde(borrow)]
    pub last_name: Cow<'a, str>,
    /// The id.
    pub id: Uuid,
}

/// Why a file of initial data is refused.
#[derive(Debug, thiserror::Error)]
pub enum InitialDataError {
    /// It is not a JSON array.
    #[error("the initial data are no JSON array of persons")]
    NoArray(#[source] serde_json::Error),
    /// A record in it is not as it must be.
    #[error("record {number} of the initial data: {reason}")]
    Record {
        /// Counted from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl Person {
    /// Reads a body. Every field is checked, none is ignored.
    ///
    /// # Errors
    /// A problem that says what and where.
    pub fn parse(body: &[u8]) -> Result<Person, Problem> {
        check_syntax(body)?;
        let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(body).map_err(|_| {
            Problem::new(Code::InvalidRecord, "the body must be one JSON object").with("pointer", "").at(1, 1)
        })?;
        let fields = Fields { body, fields };
        if let Some((name, value)) =
            fields.fields.iter().find(|(name, _)| !["firstName", "lastName", "id"].contains(&name.as_str()))
        {
            let what = format!("`{name}` is not known; the fields are `firstName`, `lastName` and `id`");
            return Err(fields.problem(name, Some(value), what));
        }
        let id = match fields.text("id")? {
            None => None,
            Some(text) => Some(parse_id(&text).ok_or_else(|| {
                let what = format!("`id` must be a UUID such as e956b5d0-fa0c-40e8-9da9-333c214dcaf7, not {text:?}");
                fields.problem("id", fields.fields.get("id"), what)
            })?),
        };
        Ok(Person { first_name: fields.name("firstName")?, last_name: fields.name("lastName")?, id })
    }

    /// The record as it is stored, under this id.
    pub fn to_json(&self, id: Uuid) -> String {
        let stored = Stored { first_name: (&*self.first_name).into(), last_name: (&*self.last_name).into(), id };
        serde_json::to_string(&stored).expect("strings have a JSON form")
    }
}

/// A UUID in its usual form, in lower or upper case; nothing else that could be one.
pub fn parse_id(text: &str) -> Option<Uuid> {
    if text.len() == uuid::fmt::Hyphenated::LENGTH { Uuid::try_parse(text).ok() } else { None }
}

/// The commands that put the persons of a JSON array into an empty store, checked as if each were sent.
///
/// # Errors
/// [`InitialDataError`]: nothing of it is to be used then.
pub fn initial_data(json: &[u8]) -> Result<Vec<Bytes>, InitialDataError> {
    let records: Vec<&RawValue> = serde_json::from_slice(json).map_err(InitialDataError::NoArray)?;
    let mut seen = HashSet::new();
    let mut commands = Vec::with_capacity(records.len());
    for (index, raw) in records.into_iter().enumerate() {
        let wrong = |reason| InitialDataError::Record { number: index + 1, reason };
        let person = Person::parse(raw.get().as_bytes()).map_err(|problem| wrong(problem.detail().to_owned()))?;
        let id = person.id.unwrap_or_else(Uuid::now_v7);
        if !seen.insert(id) {
            return Err(wrong(format!("the id {id} stands there twice")));
        }
        let record = person.to_json(id);
        let action = Action::Create { record: &record };
        commands.push(Command { collection: COLLECTION, id, action, condition: Condition::None }.encode());
    }
    Ok(commands)
}

/// The fields of one object, and where they stand in the body.
struct Fields<'a> {
    body: &'a [u8],
    fields: BTreeMap<String, &'a RawValue>,
}

impl Fields<'_> {
    /// The string under that name; none when the field is not there.
    fn text(&self, name: &str) -> Result<Option<String>, Problem> {
        let Some(value) = self.fields.get(name) else { return Ok(None) };
        serde_json::from_str(value.get()).map(Some).map_err(|_| {
            self.problem(name, Some(value), format!("`{name}` must be a string, not {}", kind_of(value.get())))
        })
    }

    fn name(&self, name: &str) -> Result<String, Problem> {
        let value = self.fields.get(name);
        let text = self.text(name)?.ok_or_else(|| self.problem(name, None, format!("`{name}` is missing")))?;
        match text.chars().count() {
            0 => Err(self.problem(name, value, format!("`{name}` must not be empty"))),
            count if count > NAME_CHARACTERS_MAX => Err(self.problem(
                name,
                value,
                format!("`{name}` has {count} characters, at most {NAME_CHARACTERS_MAX} are allowed"),
            )),
            _ => Ok(text),
        }
    }

    /// A problem with one field: where its value begins, or where the object does if the field is missing.
    fn problem(&self, name: &str, value: Option<&&RawValue>, what: String) -> Problem {
        let offset = match value {
            Some(value) => value.get().as_ptr().addr().saturating_sub(self.body.as_ptr().addr()),
            None => self.body.iter().take_while(|byte| byte.is_ascii_whitespace()).count(),
        };
        let before = &self.body[..offset.min(self.body.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count();
        let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        Problem::new(Code::InvalidRecord, format!("{what} (line {line}, column {column})"))
            .with("pointer", pointer)
            .at(line, column)
    }
}

fn kind_of(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// Is it JSON at all, not too deep, and each key once in its object?
fn check_syntax(body: &[u8]) -> Result<(), Problem> {
    let Err(error) = serde_json::from_slice::<Sound>(body) else { return Ok(()) };
    let message = error.to_string();
    // `Sound` itself refuses nothing but a key that stands twice; the depth is serde_json's own limit.
    let code = if error.is_data() {
        Code::DuplicateKey
    } else if message.starts_with("recursion limit exceeded") {
        Code::TooDeep
    } else {
        Code::MalformedJson
    };
    Err(Problem::new(code, message).at(error.line(), error.column()))
}

/// Any JSON whose objects have each key once.
struct Sound;

impl<'de> Deserialize<'de> for Sound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Sound, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Sound;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Sound, E> {
                Ok(Sound)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Sound, E> {
                Ok(Sound)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Sound, E> {
                Ok(Sound)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Sound, E> {
                Ok(Sound)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Sound, E> {
                Ok(Sound)
            }
            fn visit_str<E>(self, _: &str) -> Result<Sound, E> {
                Ok(Sound)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Sound, A::Error> {
                while array.next_element::<Sound>()?.is_some() {}
                Ok(Sound)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Sound, A::Error> {
                let mut seen = HashSet::new();
                while let Some(key) = map.next_key::<String>()? {
                    map.next_value::<Sound>()?;
                    if let Some(twice) = seen.replace(key) {
                        return Err(A::Error::custom(format!("the key `{twice}` stands twice in one object")));
                    }
                }
                Ok(Sound)
            }
        }
        deserializer.deserialize_any(Any)
    }
}
