//! What a plan's way does not decide is checked on each record: one parse for all of it.

use super::question::{Filter, Side, Test};
use crate::definition::FieldKind;
use crate::letters::letters;
use crate::value::{self, Paths};

/// All checks of a plan.
#[derive(Clone, Debug, Default)]
pub(super) struct Checks {
    paths: Paths,
    checks: Vec<(usize, Check)>,
}

#[derive(Clone, Debug)]
enum Check {
    /// One of these, or none of these, of a type.
    Typed { kind: FieldKind, values: Vec<Vec<u8>>, wanted: bool },
    /// The same without a type.
    Loose { values: Vec<Loose>, wanted: bool },
    /// On this side of that.
    Range { kind: FieldKind, side: Side, value: Vec<u8> },
    /// A string that begins so.
    Prefix(String),
    /// There, or not.
    Exists(bool),
}

/// A value without a type: the string of its letters, and what it reads as.
#[derive(Clone, Debug)]
struct Loose {
    letters: String,
    number: Option<Vec<u8>>,
    boolean: Option<bool>,
}

impl Checks {
    pub(super) fn is_empty(&self) -> bool {
        self.checks.is_empty()
    }

    /// Adds a filter on a path of that type; its values are of it. False: without a type there is no such test.
    pub(super) fn add(&mut self, filter: &Filter, kind: Option<FieldKind>) -> bool {
        let any_of = |values: &[String], wanted: bool| match kind {
            Some(kind) => {
                Check::Typed { kind, values: values.iter().filter_map(|value| encode(kind, value)).collect(), wanted }
            }
            None => Check::Loose { values: values.iter().map(|value| Loose::of(value)).collect(), wanted },
        };
        let check = match (&filter.test, kind) {
            (Test::Equals(value), _) => any_of(std::slice::from_ref(value), true),
            (Test::Differs(value), _) => any_of(std::slice::from_ref(value), false),
            (Test::OneOf(values), _) => any_of(values, true),
            (Test::Range(side, value), Some(kind)) => {
                let Some(value) = encode(kind, value) else { return false };
                Check::Range { kind, side: *side, value }
            }
            (Test::Prefix(text), Some(FieldKind::String)) => Check::Prefix(text.clone()),
            (Test::Range(..) | Test::Prefix(_), _) => return false,
            (Test::Exists(wanted), _) => Check::Exists(*wanted),
        };
        self.checks.push((self.paths.add(&filter.path), check));
        true
    }

    /// The record meets all of them.
    pub(super) fn hold(&self, record: &str) -> bool {
        if self.is_empty() {
            return true;
        }
        let found = self.paths.read(record);
        self.checks.iter().all(|(slot, check)| check.holds(found[*slot].filter(|raw| *raw != "null")))
    }
}

impl Check {
    fn holds(&self, raw: Option<&str>) -> bool {
        let of_kind = |kind: FieldKind| {
            let mut bytes = Vec::new();
            value::encode_raw(kind, raw, &mut bytes).then_some(bytes)
        };
        match self {
            Check::Typed { kind, values, wanted } => {
                of_kind(*kind).is_some_and(|found| values.contains(&found)) == *wanted
            }
            Check::Loose { values, wanted } => raw.is_some_and(|raw| any_equals(values, raw)) == *wanted,
            Check::Range { kind, side, value } => of_kind(*kind).is_some_and(|found| match side {
                Side::Above => found > *value,
                Side::From => found >= *value,
                Side::Below => found < *value,
                Side::UpTo => found <= *value,
            }),
            Check::Prefix(text) => raw.and_then(letters).is_some_and(|found| found.starts_with(text.as_str())),
            Check::Exists(wanted) => raw.is_some() == *wanted,
        }
    }
}

impl Loose {
    fn of(text: &str) -> Loose {
        let boolean = match text {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        };
        Loose { letters: text.to_owned(), number: encode(FieldKind::Number, text), boolean }
    }
}

/// The record's value is read once, however many values there are.
fn any_equals(values: &[Loose], raw: &str) -> bool {
    match raw.as_bytes().first() {
        Some(b'"') => letters(raw).is_some_and(|found| values.iter().any(|value| *found == *value.letters)),
        Some(b't') => values.iter().any(|value| value.boolean == Some(true)),
        Some(b'f') => values.iter().any(|value| value.boolean == Some(false)),
        Some(b'-' | b'0'..=b'9') => {
            let found = encode(FieldKind::Number, raw);
            found.is_some() && values.iter().any(|value| value.number == found)
        }
        _ => false,
    }
}

/// As a value of that type, in the order of an index; none if it is not one.
pub(super) fn encode(kind: FieldKind, text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    value::encode_text(kind, text, &mut bytes).then_some(bytes)
}
