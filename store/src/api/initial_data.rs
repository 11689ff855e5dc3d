//! What a new cluster begins with: records of several collections, and the definitions that these need.
//!
//! ```text
//!   [person, …]                          commands of format 1; whatever format the cluster begins with
//!   {"<collection>": [record, …], …}     ──played, one command after the other──▶ definitions of the collections file,
//!                                        the note of that file, the records
//! ```
//!
//! The commands are the first entries of the log. So each is applied here, to documents without data, as it will be there:
//! that gives the epochs that the next ones need, and says which record cannot be.

use super::person::{self, Person};
use super::record::{self, Sent};
use super::refusals;
use crate::schema::Schema;
use bytes::Bytes;
use leasehold_documents::{
    Action, COLLECTIONS, CollectionsFile, Command, Condition, Define, DefinitionCondition, Documents, FORMAT_MIN, Form,
    Id, IdKind, On, Operation, Outcome, PERSONS, Work,
};
use leasehold_replication::Position;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use uuid::Uuid;

/// How many bytes of commands a first start may write. All of it is one write of the journal.
pub const INITIAL_DATA_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The commands that a first start begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialData {
    /// They are entries 1, 2, … of the log.
    pub commands: Vec<Bytes>,
    /// What they are encoded in: the cluster must begin with at least that.
    pub format: u32,
}

/// Why a file of initial data is refused.
#[derive(Debug, thiserror::Error)]
pub enum InitialDataError {
    /// A person, or that there are none.
    #[error(transparent)]
    Persons(#[from] person::InitialDataError),
    /// It is not an object of arrays.
    #[error("the initial data are not a JSON object of arrays of records, by collection: {0}")]
    NoObject(String),
    /// A collection that nobody defines.
    #[error("the initial data have records of {0:?}, which --collections-file does not define")]
    NoCollection(String),
    /// A definition of the file.
    #[error("the collection {collection:?} of --collections-file cannot be defined: {why}")]
    Definition {
        /// Its name.
        collection: String,
        /// Why not.
        why: String,
    },
    /// A record in it is invalid.
    #[error("record {number} of {collection:?}: {why}")]
    Record {
        /// Its collection.
        collection: String,
        /// Counted from 1.
        number: usize,
        /// What is wrong with it.
        why: String,
    },
    /// There are too many.
    #[error(
        "the initial data make more than {} MiB of the log: begin with fewer records, and write the others when the \
         cluster runs", INITIAL_DATA_BYTES_MAX / (1024 * 1024)
    )]
    TooLarge,
    /// The operator does not allow what they need.
    #[error(
        "the initial data have records of other collections than persons, which need format {needs}, and --format-max \
         allows {allowed}: take --format-max away, or those records"
    )]
    Format {
        /// What they need.
        needs: u32,
        /// What is allowed.
        allowed: u32,
    },
}

impl InitialData {
    /// None at all.
    pub fn none() -> InitialData {
        InitialData { commands: Vec::new(), format: FORMAT_MIN }
    }

    /// From the JSON of the file; records are checked like requests. `format_allowed`: the highest that this pod may write.
    /// `now_ms`: the time of day. May take long.
    ///
    /// # Errors
    /// [`InitialDataError`]: then none of it may be used.
    pub fn parse(
        json: &[u8],
        file: Option<&CollectionsFile>,
        format_allowed: u32,
        now_ms: u64,
    ) -> Result<InitialData, InitialDataError> {
        let data = if json.trim_ascii_start().starts_with(b"{") {
            by_collection(json, file, format_allowed, now_ms)?
        } else {
            InitialData { commands: person::initial_data(json)?, format: FORMAT_MIN }
        };
        let bytes: usize = data.commands.iter().map(Bytes::len).sum();
        if bytes > INITIAL_DATA_BYTES_MAX { Err(InitialDataError::TooLarge) } else { Ok(data) }
    }
}

fn by_collection(
    json: &[u8],
    file: Option<&CollectionsFile>,
    format_allowed: u32,
    now_ms: u64,
) -> Result<InitialData, InitialDataError> {
    record::check_syntax(json).map_err(|problem| InitialDataError::NoObject(problem.detail().to_owned()))?;
    let lists: BTreeMap<String, Vec<&RawValue>> =
        serde_json::from_slice(json).map_err(|error| InitialDataError::NoObject(error.to_string()))?;
    let is_known = |name: &str| name == PERSONS || file.is_some_and(|file| file.definitions().any(|one| one.0 == name));
    if let Some(name) = lists.keys().find(|name| !is_known(name)) {
        return Err(InitialDataError::NoCollection(name.clone()));
    }
    let needs_definitions = lists.iter().any(|(name, records)| name != PERSONS && !records.is_empty());
    if !needs_definitions {
        let persons: Vec<&str> = lists.get(PERSONS).into_iter().flatten().map(|record| record.get()).collect();
        let persons = format!("[{}]", persons.join(","));
        return Ok(InitialData { commands: person::initial_data(persons.as_bytes())?, format: FORMAT_MIN });
    }
    if format_allowed < COLLECTIONS {
        return Err(InitialDataError::Format { needs: COLLECTIONS, allowed: format_allowed });
    }
    let mut log = Log { documents: Documents::new(), commands: Vec::new(), bytes: 0, now_ms };
    if let Some(file) = file {
        log.define(file)?;
    }
    for (name, records) in &lists {
        log.fill(name, records)?;
    }
    Ok(InitialData { commands: log.commands, format: COLLECTIONS })
}

/// The log that begins with these commands, and what they leave.
struct Log {
    documents: Documents,
    commands: Vec<Bytes>,
    bytes: usize,
    now_ms: u64,
}

impl Log {
    fn add(&mut self, work: Work<'_>) -> Result<Outcome, InitialDataError> {
        let command = Command { time_ms: self.now_ms, key: None, work }.encode(COLLECTIONS);
        self.bytes += command.len();
        if self.bytes > INITIAL_DATA_BYTES_MAX {
            return Err(InitialDataError::TooLarge);
        }
        let position = Position::new(0, self.documents.applied().seq.0 + 1);
        let applied = self.documents.apply(position, &command, &mut Vec::new());
        self.commands.push(command);
        // A command that was made a line above is one that this build knows.
        Ok(applied.map_or(Outcome::Invalid("the command is unknown"), |applied| applied.outcome))
    }

    /// All of the file, which counts as applied then.
    fn define(&mut self, file: &CollectionsFile) -> Result<(), InitialDataError> {
        for (name, definition) in file.definitions() {
            // The first command of the format defines `persons`, whose records have a form of their own.
            let form = if name == PERSONS { Form::Persons } else { definition.form };
            let text = definition.clone().with_form(form).to_json();
            let condition = DefinitionCondition::None;
            let define = Define { collection: name, definition: &text, condition, unless_expired_ms: None };
            match self.add(Work::Define(define))? {
                Outcome::Defined { .. } | Outcome::Unchanged => {}
                other => {
                    let why = super::definitions::declined(&other, name).detail().to_owned();
                    return Err(InitialDataError::Definition { collection: name.to_owned(), why });
                }
            }
        }
        self.add(Work::NoteFile { hash: file.hash() })?;
        Ok(())
    }

    fn fill(&mut self, name: &str, records: &[&RawValue]) -> Result<(), InitialDataError> {
        let missing = || InitialDataError::NoCollection(name.to_owned());
        let defined = self.documents.collection(name).and_then(|collection| collection.defined());
        let defined = defined.cloned().ok_or_else(missing)?;
        let (on, definition) = (On::at(name, defined.epoch), &defined.definition);
        let schema = definition.schema.as_ref().map(|schema| Schema::compile(schema)).transpose();
        let schema = schema.map_err(|error| InitialDataError::Definition {
            collection: name.to_owned(),
            why: format!("{}: {}", error.pointer, error.what),
        })?;
        for (at, raw) in records.iter().enumerate() {
            let wrong = |why: String| InitialDataError::Record { collection: name.to_owned(), number: at + 1, why };
            let refused = |problem: super::problem::Problem| wrong(problem.detail().to_owned());
            let part = raw.get().as_bytes();
            let (id, record) = match definition.form {
                Form::Persons => {
                    let person = Person::parse(part).map_err(refused)?;
                    let id = person.id.unwrap_or_else(Uuid::now_v7);
                    (Id::Uuid(id), person.to_json(id))
                }
                Form::Any => {
                    let sent = Sent::record(part, "", definition.id).map_err(refused)?;
                    let id = sent.id.clone().unwrap_or_else(|| new_id(definition.id));
                    let record = sent.into_record(id.as_ref()).map_err(refused)?;
                    (id, record)
                }
            };
            if let Some(Err(violation)) = schema.as_ref().map(|schema| schema.check(&record)) {
                return Err(wrong(violation.what));
            }
            let create = Operation::new(id.as_ref(), Action::Create { record: &record }, Condition::None);
            match self.add(Work::One(on, create))? {
                Outcome::Created => {}
                Outcome::Same | Outcome::Conflict => return Err(wrong(format!("the id {id} occurs twice"))),
                other => return Err(refused(refusals::declined(&other, &id, name, Some(definition)))),
            }
        }
        Ok(())
    }
}

fn new_id(kind: IdKind) -> Id {
    let id = Uuid::now_v7();
    match kind {
        IdKind::Uuid => Id::Uuid(id),
        IdKind::Text => Id::Text(id.to_string().into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const FILE: &str = r#"{
        "tenants": {"id": "string", "schema": {"required": ["email"]}, "indexes": [{"fields": ["/email"], "unique": true}],
                    "expires": "/until", "maxRecords": 2},
        "persons": {"id": "uuid", "maxRecords": 1}}"#;
    const ADA: &str = r#"{"firstName": "Ada", "lastName": "Lovelace", "id": "00000000-0000-7000-8000-000000000001"}"#;

    fn parse(json: &str) -> Result<InitialData, String> {
        let file = CollectionsFile::parse(FILE).unwrap();
        InitialData::parse(json.as_bytes(), Some(&file), 2, 5).map_err(|error| error.to_string())
    }

    /// As a replica applies them.
    fn applied(data: &InitialData) -> Documents {
        let mut documents = Documents::new();
        for command in &data.commands {
            let position = Position::new(0, documents.applied().seq.0 + 1);
            let applied = documents.apply(position, command, &mut Vec::new()).unwrap();
            assert!(applied.outcome.is_done(), "{applied:?}");
        }
        let voters = Position::new(0, documents.applied().seq.0 + 1);
        documents.voters(voters, data.format, &mut Vec::new());
        documents
    }

    fn records(documents: &Documents, name: &str) -> Vec<String> {
        documents.collection(name).unwrap().after(0).map(|(_, record)| record.as_str().to_owned()).collect()
    }

    #[test]
    fn definitions_come_first_then_the_records_and_the_file_is_noted() {
        let json = format!(r#"{{"tenants": [{{"email": "b", "id": "2"}}, {{"email" : "a"}}], "persons": [{ADA}]}}"#);
        let data = parse(&json).unwrap();
        assert_eq!((data.format, data.commands.len()), (2, 6));
        let documents = applied(&data);
        let tenants = records(&documents, "tenants");
        assert_eq!(tenants[0], r#"{"email":"b","id":"2"}"#);
        assert!(tenants[1].starts_with(r#"{"email":"a","id":""#), "{tenants:?}");
        assert_eq!(records(&documents, "persons").len(), 1);
        assert_eq!(documents.noted_file(), Some(CollectionsFile::parse(FILE).unwrap().hash()));
        assert_eq!(documents.collection("persons").unwrap().definition().records_max, Some(1));
    }

    #[test]
    fn persons_alone_need_no_later_format_in_either_form() {
        for json in [
            format!("[{ADA}]"),
            format!(r#"{{"persons": [{ADA}]}}"#),
            format!(r#"{{"tenants": [], "persons": [{ADA}]}}"#),
        ] {
            let data = parse(&json).unwrap();
            assert_eq!((data.format, data.commands.len()), (1, 1), "{json}");
            assert_eq!(records(&applied(&data), "persons").len(), 1);
        }
        assert_eq!(parse("{}").unwrap(), InitialData::none());
        assert_eq!(parse("[]").unwrap(), InitialData::none());
    }

    #[test]
    fn what_cannot_be_is_named_with_its_collection_and_number() {
        let tenants =
            |records: &str| parse(&format!(r#"{{"tenants": [{{"id": "1", "email": "x"}}, {records}]}}"#)).unwrap_err();
        let record = |words: &str| format!("record 2 of \"tenants\": {words}");
        for (wrong, words) in [
            (r#"{"id": "2"}"#, "\"email\" is a required property"),
            (r#"{"id": "1", "email": "y"}"#, "the id 1 occurs twice"),
            (r#"{"id": "1", "email": "x"}"#, "the id 1 occurs twice"),
            (r#"{"id": 7, "email": "y"}"#, "`id` must be a text"),
            ("5", "must be one JSON object"),
            (r#"{"id": "2", "email": "x"}"#, "the record 1 has"),
            (r#"{"id": "2", "email": "y", "until": "soon"}"#, "the value at /until"),
        ] {
            let error = tenants(wrong);
            assert!(error.starts_with(&record("")) && error.contains(words), "{wrong}: {error}");
        }
        let third = tenants(r#"{"email": "y"}, {"email": "z"}"#);
        assert!(third.starts_with("record 3 of \"tenants\": the collection tenants has the 2 records"), "{third}");
        for (json, words) in [
            (
                r#"{"tenants": [{"email": "1"}], "persons": [{"firstName": "a"}]}"#,
                "record 1 of \"persons\": `lastName` is missing",
            ),
            (r#"{"persons": [{"firstName": "a"}]}"#, "record 1 of the initial data: `lastName` is missing"),
            (r#"{"orders": []}"#, "records of \"orders\", which --collections-file does not define"),
            (r#"{"tenants": {}}"#, "not a JSON object of arrays"),
            (r#"{"tenants": [], "tenants": []}"#, "occurs twice"),
            (r#"{"tenants": ["#, "not a JSON object of arrays"),
            ("5", "not a JSON array of persons"),
        ] {
            let error = parse(json).unwrap_err();
            assert!(error.contains(words), "{json}: {error}");
        }
    }

    #[test]
    fn other_collections_need_format_2_and_no_more_than_a_write_of_the_journal_takes() {
        let file = CollectionsFile::parse(r#"{"flags": {"id": "string"}}"#).unwrap();
        let flags = |json: &str, allowed| InitialData::parse(json.as_bytes(), Some(&file), allowed, 5);
        let error = flags(r#"{"flags": [{}]}"#, 1).unwrap_err();
        assert!(error.to_string().contains("--format-max allows 1"), "{error}");
        assert!(InitialData::parse(br#"{"flags": [{}]}"#, None, 2, 5).is_err());
        let long = format!(r#"{{"x": "{}"}}"#, "x".repeat(1_000_000));
        let many = |count: usize| format!(r#"{{"flags": [{}]}}"#, vec![long.as_str(); count].join(","));
        assert_eq!(flags(&many(2), 2).unwrap().commands.len(), 4);
        assert!(matches!(flags(&many(17), 2), Err(InitialDataError::TooLarge)));
    }
}
