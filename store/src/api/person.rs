//! What a record of `persons` is, and the errors for a body that is not one.
//!
//! ```text
//!   bytes ──syntax──▶ JSON, depth, keys once ──fields──▶ Person ──to_json──▶ the record as it is stored
//! ```
//!
//! A record is stored in one form (`firstName`, `lastName`, `id`, no spaces, the UUID in lower case), so the same person
//! sent twice with different spaces or another order of fields is the same record. This loses nothing: every field is known
//! and is a string.

use super::members::{Members, Seen, Text};
use super::problem::{Code, Problem};
use bytes::Bytes;
use leasehold_documents::FORMAT_MIN;
use leasehold_documents::{Action, Command, Condition};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use uuid::Uuid;

/// The name of the collection, in paths and in the log.
pub const COLLECTION: &str = leasehold_documents::PERSONS;
/// The longest name, in characters (Unicode scalar values).
pub const NAME_CHARACTERS_MAX: usize = 256;

const FIELDS: [&str; 3] = ["firstName", "lastName", "id"];

/// A person, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person<'a> {
    first_name: Cow<'a, str>,
    last_name: Cow<'a, str>,
    /// As sent; none if omitted.
    pub id: Option<Uuid>,
}

/// A person as stored and read again.
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
    #[error("the initial data is not a JSON array of persons")]
    NoArray(#[source] serde_json::Error),
    /// A record in it is invalid.
    #[error("record {number} of the initial data: {reason}")]
    Record {
        /// Counted from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// Changes to a person, checked: applied to any person, they leave a valid one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonPatch<'a> {
    first_name: Option<Cow<'a, str>>,
    last_name: Option<Cow<'a, str>>,
    /// As sent. It cannot change: it must equal the person's id.
    pub id: Option<Uuid>,
}

impl<'a> Person<'a> {
    /// Reads a body. Every field is checked; none is ignored.
    ///
    /// # Errors
    /// A problem that says what and where.
    pub fn parse(body: &'a [u8]) -> Result<Person<'a>, Problem> {
        check_syntax(body)?;
        Person::parse_part(body, body, String::new())
    }

    /// Reads the object `part`, which is a part of `body`, at `pointer` in it. Its syntax has been checked already.
    pub(super) fn parse_part(body: &'a [u8], part: &'a [u8], pointer: String) -> Result<Person<'a>, Problem> {
        let object = Object::of(body, part, Code::InvalidRecord, pointer)?;
        object.only(&FIELDS)?;
        let id = object.id("id")?;
        Ok(Person { first_name: object.needed_name("firstName")?, last_name: object.needed_name("lastName")?, id })
    }

    /// The record as it is stored, under this id.
    pub fn to_json(&self, id: Uuid) -> String {
        let stored = Stored { first_name: (&*self.first_name).into(), last_name: (&*self.last_name).into(), id };
        serde_json::to_string(&stored).expect("strings have a JSON form")
    }
}

impl<'a> PersonPatch<'a> {
    /// Reads a JSON Merge Patch (RFC 7396).
    ///
    /// # Errors
    /// A problem that says what and where: no field of a person can be removed, and none added.
    pub fn parse(body: &'a [u8]) -> Result<PersonPatch<'a>, Problem> {
        check_syntax(body)?;
        PersonPatch::parse_part(body, body, String::new())
    }

    /// As [`Person::parse_part`].
    pub(super) fn parse_part(body: &'a [u8], part: &'a [u8], pointer: String) -> Result<PersonPatch<'a>, Problem> {
        let object = Object::of(body, part, Code::InvalidRecord, pointer)?;
        object.only(&FIELDS)?;
        if let Some((name, _)) = object.fields.iter().find(|(_, value)| value.get() == "null") {
            return Err(object.problem(name, format!("cannot remove `{name}`: every person has one")));
        }
        let (first_name, last_name) = (object.name("firstName")?, object.name("lastName")?);
        Ok(PersonPatch { first_name, last_name, id: object.id("id")? })
    }

    /// The patch in one form, without the id, which cannot change.
    pub fn to_json(&self) -> String {
        let mut patch = serde_json::Map::new();
        for (name, value) in [("firstName", &self.first_name), ("lastName", &self.last_name)] {
            if let Some(value) = value {
                patch.insert(name.to_owned(), (&**value).into());
            }
        }
        serde_json::Value::Object(patch).to_string()
    }
}

/// A UUID in its usual form, in lower or upper case; no other notation.
pub fn parse_id(text: &str) -> Option<Uuid> {
    if text.len() == uuid::fmt::Hyphenated::LENGTH { Uuid::try_parse(text).ok() } else { None }
}

/// The commands that put the persons of a JSON array into an empty store, checked like requests.
///
/// # Errors
/// [`InitialDataError`]: then none of it may be used.
pub fn initial_data(json: &[u8]) -> Result<Vec<Bytes>, InitialDataError> {
    let records: Vec<&RawValue> = serde_json::from_slice(json).map_err(InitialDataError::NoArray)?;
    let mut seen = HashSet::new();
    let mut commands = Vec::with_capacity(records.len());
    for (index, raw) in records.into_iter().enumerate() {
        let wrong = |reason| InitialDataError::Record { number: index + 1, reason };
        let person = Person::parse(raw.get().as_bytes()).map_err(|problem| wrong(problem.detail().to_owned()))?;
        let id = person.id.unwrap_or_else(Uuid::now_v7);
        if !seen.insert(id) {
            return Err(wrong(format!("the id {id} occurs twice")));
        }
        let record = person.to_json(id);
        let action = Action::Create { record: &record };
        commands.push(Command::one(COLLECTION, id, action, Condition::None).encode(FORMAT_MIN));
    }
    Ok(commands)
}

/// One object of a body, and the positions of its fields.
pub(super) struct Object<'a> {
    body: &'a [u8],
    /// The text of the whole object.
    part: &'a [u8],
    code: Code,
    /// The object's position in the body.
    pointer: String,
    pub(super) fields: Members<'a>,
}

impl<'a> Object<'a> {
    /// The object `part`, which is a part of `body`.
    pub(super) fn of(body: &'a [u8], part: &'a [u8], code: Code, pointer: String) -> Result<Object<'a>, Problem> {
        let object = Object { body, part, code, pointer, fields: Members::default() };
        match serde_json::from_slice(part) {
            Ok(fields) => Ok(Object { fields, ..object }),
            Err(_) if object.pointer.is_empty() => {
                Err(Problem::new(code, "the body must be one JSON object").with("pointer", "").at(1, 1))
            }
            Err(_) => {
                let (line, column) = object.place(None);
                let what = format!("{} must be a JSON object (line {line}, column {column})", object.pointer);
                Err(Problem::new(code, what).with("pointer", object.pointer.as_str()).at(line, column))
            }
        }
    }

    /// It has no fields but these.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Problem> {
        let Some(name) = self.fields.iter().map(|(name, _)| name).find(|name| !known.contains(name)) else {
            return Ok(());
        };
        let quoted: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
        let known = match quoted.split_last() {
            Some((last, [])) => format!("the field is {last}"),
            Some((last, others)) => format!("the fields are {} and {last}", others.join(", ")),
            None => "the object has no fields".to_owned(),
        };
        Err(self.problem(name, format!("unknown field `{name}`; {known}")))
    }

    /// The string under that name; none if the field is missing.
    pub(super) fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>, Problem> {
        let Some(value) = self.fields.get(name) else { return Ok(None) };
        serde_json::from_str::<Text<'a>>(value.get())
            .map(|text| Some(text.0))
            .map_err(|_| self.problem(name, format!("`{name}` must be a string, not {}", kind_of(value.get()))))
    }

    /// The UUID under that name.
    pub(super) fn id(&self, name: &str) -> Result<Option<Uuid>, Problem> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        parse_id(&text).map(Some).ok_or_else(|| {
            let what = format!("`{name}` must be a UUID such as e956b5d0-fa0c-40e8-9da9-333c214dcaf7, not {text:?}");
            self.problem(name, what)
        })
    }

    fn needed_name(&self, name: &str) -> Result<Cow<'a, str>, Problem> {
        self.name(name)?.ok_or_else(|| self.problem(name, format!("`{name}` is missing")))
    }

    fn name(&self, name: &str) -> Result<Option<Cow<'a, str>>, Problem> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match text.chars().count() {
            0 => Err(self.problem(name, format!("`{name}` must not be empty"))),
            count if count > NAME_CHARACTERS_MAX => Err(self
                .problem(name, format!("`{name}` has {count} characters, at most {NAME_CHARACTERS_MAX} are allowed"))),
            _ => Ok(Some(text)),
        }
    }

    /// A problem with one field: its position is that of the value, or of the object if the field is missing.
    pub(super) fn problem(&self, name: &str, what: String) -> Problem {
        let (line, column) = self.place(self.fields.get(name).map(|value| value.get().as_bytes()));
        let pointer = format!("{}/{}", self.pointer, name.replace('~', "~0").replace('/', "~1"));
        Problem::new(self.code, format!("{what} (line {line}, column {column})"))
            .with("pointer", pointer)
            .at(line, column)
    }

    /// Line and column in the body, of a part of the object or of the object itself.
    fn place(&self, part: Option<&[u8]>) -> (usize, usize) {
        let part = part.unwrap_or_else(|| self.part.trim_ascii_start());
        let offset = part.as_ptr().addr().saturating_sub(self.body.as_ptr().addr());
        let before = &self.body[..offset.min(self.body.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count();
        (line, column)
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
pub(super) fn check_syntax(body: &[u8]) -> Result<(), Problem> {
    let Err(error) = serde_json::from_slice::<Sound>(body) else { return Ok(()) };
    let mut message = error.to_string();
    // `Sound` itself refuses only a duplicate key; the depth is serde_json's own limit.
    let code = if error.is_data() {
        Code::DuplicateKey
    } else if message.starts_with("recursion limit exceeded") {
        Code::TooDeep
    } else {
        if let Some(why) = unusual(body, &message) {
            message = format!("{why} ({message})");
        }
        Code::MalformedJson
    };
    Err(Problem::new(code, message).at(error.line(), error.column()))
}

/// Explains what people send without seeing it.
fn unusual(body: &[u8], message: &str) -> Option<&'static str> {
    if body.starts_with(b"\xef\xbb\xbf") {
        Some("the body begins with a byte order mark (EF BB BF), which is not part of JSON: send it without one")
    } else if std::str::from_utf8(body).is_err() {
        Some("the body is not UTF-8")
    } else if message.contains("surrogate") || message.contains("hex escape") {
        Some("\\ud800 to \\udfff are halves of a character and are valid only as a pair of escapes")
    } else {
        None
    }
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
                let mut seen = Seen::default();
                while let Some(key) = map.next_key::<Text<'de>>()? {
                    map.next_value::<Sound>()?;
                    if let Err(Text(twice)) = seen.enter(key) {
                        return Err(A::Error::custom(format!("the key `{twice}` occurs twice in one object")));
                    }
                }
                Ok(Sound)
            }
        }
        deserializer.deserialize_any(Any)
    }
}
