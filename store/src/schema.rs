//! JSON Schema 2020-12, as the leader checks it before a write goes into the log.
//!
//! ```text
//!   definition ──text──▶ Schema::compile ──▶ known keywords? own references? bounded work? (graph) ──▶ jsonschema ──▶ Schema
//!   record ─────text──▶ Schema::check ──▶ the first violation: pointer, rule, value
//! ```
//!
//! A keyword that is not known is an error (`requird` would otherwise be a rule that nobody checks), and so is a reference to
//! another document. Formats are enforced. Patterns have no look-around: their engine takes linear time. How often one value
//! is checked, and how deep checks nest, is bounded when the schema is compiled; so is the memory of its patterns. Compiled schemas
//! are kept for the next record, within a bound of what all of them use.
//!
//! Numbers are compared as integers where they fit into 64 bits, and as doubles otherwise.
//!
//! Only before the log, never where entries are applied: another release of the library may judge a record otherwise.
//!
//! Not promised: that a check is short. A schema of 64 KiB on a record of 1 MiB may take seconds, so both functions belong on
//! a blocking thread.

#[cfg(test)]
mod agreement;
mod graph;
mod shown;
#[cfg(test)]
mod tests;

use graph::Graph;
use jsonschema::{Draft, PatternOptions, ValidationError, Validator};
use leasehold_documents::{DefinitionError, SCHEMA_BYTES_MAX};
use serde_json::Value;
pub(crate) use shown::cut;
use shown::{VALUE_CHARACTERS_MAX, shown};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The memory of one compiled pattern, and once more of the cache that grows while it is used: what is tried first, which is
/// enough for most, and what a pattern may have at most.
const PATTERN_BYTES_FIRST: usize = 32 * 1024;
const PATTERN_BYTES_MAX: usize = 1024 * 1024;
/// The same of all patterns of a schema: each may have an equal part of it.
const PATTERNS_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What a compiled schema uses for each byte of its text, beside its patterns: from 20 to 45 were measured.
const BYTES_PER_TEXT_BYTE: usize = 48;
/// Characters of a sentence: one that lists the values of an `enum` may be long.
const WHAT_CHARACTERS_MAX: usize = 300;
/// Up to this length all violations of a record are compared, and the first is reported. A longer record may have half a
/// million: there it is the one that the library finds first.
const COMPARED_BYTES_MAX: usize = 64 * 1024;
/// Compiled schemas that are kept, and the memory that they may use together, approximately.
const KEPT_MAX: usize = 256;
const KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A compiled schema.
#[derive(Debug)]
pub struct Schema {
    validator: Validator,
    /// The memory that it uses at most, approximately.
    bytes: usize,
}

/// Where a record does not fit a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The value, as a JSON Pointer into the record.
    pub pointer: String,
    /// The keyword of the schema.
    pub rule: String,
    /// The value's JSON. At most 100 characters, then `…`.
    pub value: String,
    /// One sentence.
    pub what: String,
}

impl Schema {
    /// From its JSON.
    ///
    /// # Errors
    /// The pointer is one into the definition: it begins with `/schema`.
    pub fn compile(text: &str) -> Result<Schema, DefinitionError> {
        let wrong = |pointer: &str, what: String| DefinitionError { pointer: format!("/schema{pointer}"), what };
        if text.len() > SCHEMA_BYTES_MAX {
            let what = format!("the schema has {} bytes, and at most {SCHEMA_BYTES_MAX} are possible", text.len());
            return Err(wrong("", what));
        }
        let value = serde_json::from_str::<Value>(text);
        let value = value.map_err(|error| wrong("", format!("the schema cannot be read as JSON: {error}")))?;
        let graph = Graph::of(&value);
        let patterns = graph
            .and_then(|graph| graph.check().map(|()| graph.patterns()))
            .map_err(|graph::Wrong { pointer, what }| wrong(&pointer, what))?;
        let share = PATTERN_BYTES_MAX.min(PATTERNS_BYTES_MAX / patterns.max(1));
        let first = build(&value, PATTERN_BYTES_FIRST).map(|validator| (validator, PATTERN_BYTES_FIRST));
        let built = match first {
            Err(_) if patterns > 0 => build(&value, share).map(|validator| (validator, share)),
            first => first,
        };
        let (validator, pattern_bytes) = built.map_err(|error| {
            // The path into the schema as the instance of its meta-schema; a pattern is tried only later.
            let within = error.instance_path().as_str();
            let pointer = if within.is_empty() { error.schema_path().as_str() } else { within };
            let what = cut(&error.to_string(), WHAT_CHARACTERS_MAX);
            match error.kind().keyword() {
                "pattern" | "format" | "patternProperties" => {
                    let kib = share / 1024;
                    wrong(pointer, format!("{what} (or it would use more than {kib} KiB: patterns share 8 MiB)"))
                }
                _ => wrong(pointer, what),
            }
        })?;
        let bytes = text.len() * BYTES_PER_TEXT_BYTE + patterns * 2 * pattern_bytes;
        Ok(Schema { validator, bytes })
    }

    /// Does this record fit?
    ///
    /// # Errors
    /// The first violation: by its pointer, then by its rule.
    pub fn check(&self, record: &str) -> Result<(), Violation> {
        let value = serde_json::from_str::<Value>(record).map_err(|error| Violation {
            pointer: String::new(),
            rule: "json".to_owned(),
            value: cut(record, VALUE_CHARACTERS_MAX),
            what: format!("the record cannot be read as JSON: {error}"),
        })?;
        if self.validator.is_valid(&value) {
            return Ok(());
        }
        let first = if record.len() <= COMPARED_BYTES_MAX {
            self.validator.iter_errors(&value).min_by_key(|error| {
                (
                    error.instance_path().as_str().to_owned(),
                    error.kind().keyword().to_owned(),
                    error.schema_path().to_string(),
                )
            })
        } else {
            self.validator.validate(&value).err()
        };
        first.map_or(Ok(()), |error| Err(Violation::of(&error)))
    }
}

fn build(schema: &Value, pattern_bytes: usize) -> Result<Validator, ValidationError<'static>> {
    let patterns = PatternOptions::regex().size_limit(pattern_bytes).dfa_size_limit(pattern_bytes);
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .should_validate_formats(true)
        .should_ignore_unknown_formats(false)
        .offline()
        .with_pattern_options(patterns)
        .build(schema)
}

impl Violation {
    fn of(error: &ValidationError<'_>) -> Violation {
        let pointer = error.instance_path().to_string();
        let place = if pointer.is_empty() { "the record".to_owned() } else { format!("the value at {pointer}") };
        let value = shown(error.instance());
        let what = error.masked_with(place).to_string();
        Violation { rule: error.kind().keyword().to_owned(), what: cut(&what, WHAT_CHARACTERS_MAX), pointer, value }
    }
}

/// Compiled schemas by their text, the most recently used ones. A clone is the same.
#[derive(Clone, Debug, Default)]
pub struct Schemas(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    by_text: HashMap<Arc<str>, (u64, Arc<Schema>)>,
    /// Of all schemas.
    bytes: usize,
    /// Counts uses.
    uses: u64,
}

impl Schemas {
    /// The schema of this text. It may have to be compiled: on a blocking thread.
    ///
    /// # Errors
    /// As [`Schema::compile`].
    pub fn of(&self, text: &Arc<str>) -> Result<Arc<Schema>, DefinitionError> {
        if let Some(schema) = self.known(text) {
            return Ok(schema);
        }
        // Without the lock: others may compile the same meanwhile, and nobody waits.
        let schema = Arc::new(Schema::compile(text)?);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let used = kept.count();
        if kept.by_text.insert(Arc::clone(text), (used, Arc::clone(&schema))).is_none() {
            kept.bytes += schema.bytes;
        }
        while kept.by_text.len() > KEPT_MAX || kept.bytes > KEPT_BYTES_MAX {
            let oldest = kept.by_text.iter().min_by_key(|(_, (used, _))| *used).map(|(text, _)| Arc::clone(text));
            let Some(oldest) = oldest else { break };
            if let Some((_, schema)) = kept.by_text.remove(&oldest) {
                kept.bytes -= schema.bytes;
            }
        }
        Ok(schema)
    }

    /// The schema of this text, if it is compiled already.
    pub fn known(&self, text: &str) -> Option<Arc<Schema>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = kept.count();
        let (used, schema) = kept.by_text.get_mut(text)?;
        *used = now;
        Some(Arc::clone(schema))
    }
}

impl Kept {
    fn count(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }
}
