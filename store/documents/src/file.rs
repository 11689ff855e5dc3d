//! The file of definitions that an operator wants, and what a leader has to do until the data are as it says.
//!
//! ```text
//!   {"orders": {"id": "string", …}, "persons": {…}}          by name, each as a client would send it
//!
//!   noted already? ──yes──▶ nothing: what an administrator has changed since stays
//!      │ no
//!      ▼
//!   the next definition that is neither in force nor pending, nor was tried ──▶ define it
//!      │ there is none
//!      ▼
//!   another change of one is pending ──▶ wait      none ──▶ note the file
//! ```
//!
//! It names what is wanted, never what is not: a collection that it does not have stays.

use crate::merge::Members;
use crate::record::tag_of;
use crate::{
    COLLECTIONS, COLLECTIONS_MAX, Definition, DefinitionChange, DefinitionError, Documents, RESERVED_NAMES, WhyRefused,
    is_name,
};
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollectionsFile {
    definitions: BTreeMap<String, Definition>,
    hash: u128,
}

/// The hash that is noted while a file is being applied that is not the one before.
pub const NO_FILE: u128 = 0;

/// What a leader does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileStep<'a> {
    /// All is done, or the data have no definitions yet (format 1).
    Nothing,
    /// Propose this definition.
    Define {
        /// The collection.
        name: &'a str,
        /// With the form that its records have.
        definition: Definition,
    },
    /// Note that no file is in force any longer ([`NO_FILE`]): this one begins, and an earlier one must be applied anew if it
    /// comes back before this one is done.
    Begin,
    /// Another change of a definition is pending: it has to end first.
    Wait,
    /// Each definition is in force, pending, or was tried: note the file.
    Note,
}

/// How a definition of the file stands in the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing<'a> {
    /// It is in force.
    InForce,
    /// It is pending: records are being examined.
    Pending,
    /// Another one is in force, and the last change of that was not possible.
    Refused(&'a WhyRefused),
    /// The collection has ids of the other kind, for good.
    Immutable,
    /// Another one is in force, or none.
    Differs,
}

impl CollectionsFile {
    /// From its JSON. Schemas are not compiled here.
    ///
    /// # Errors
    /// The pointer is one into the file: it begins with the collection's name.
    pub fn parse(json: &str) -> Result<CollectionsFile, DefinitionError> {
        let wrong = |name: &str, DefinitionError { pointer, what }| DefinitionError {
            pointer: format!("/{}{pointer}", name.replace('~', "~0").replace('/', "~1")),
            what,
        };
        if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(json) {
            return Err(DefinitionError { pointer: String::new(), what: format!("this is not JSON: {error}") });
        }
        let members = Some(json).filter(|json| json.trim_ascii_start().starts_with('{'));
        let members = members.and_then(|json| Members::of(json).ok()).ok_or_else(|| DefinitionError {
            pointer: String::new(),
            what: "this is not a JSON object with each collection once: write {\"<name>\": <definition>, …}".to_owned(),
        })?;
        let mut definitions = BTreeMap::new();
        for (name, definition) in members.0 {
            if !is_name(&name) {
                let what = format!(
                    "{name:?} cannot be the name of a collection: 1 to 63 of a-z, 0-9 and -, the first a letter, and \
                     not one of {}",
                    RESERVED_NAMES.join(", ")
                );
                return Err(wrong(&name, DefinitionError { pointer: String::new(), what }));
            }
            let definition = Definition::parse(definition.get()).map_err(|error| wrong(&name, error))?;
            definitions.insert(name, definition);
        }
        if definitions.len() > COLLECTIONS_MAX {
            let what =
                format!("there are {} collections, and at most {COLLECTIONS_MAX} are possible", definitions.len());
            return Err(DefinitionError { pointer: String::new(), what });
        }
        let lines = definitions.iter().map(|(name, definition)| format!("{name} {}\n", definition.to_json()));
        let hash = tag_of(&lines.collect::<String>());
        Ok(CollectionsFile { definitions, hash })
    }

    /// Of the definitions in their one form: white space, and the order of collections and members, do not matter; those in
    /// schemas do.
    pub fn hash(&self) -> u128 {
        self.hash
    }

    /// All of them, by name.
    pub fn definitions(&self) -> impl Iterator<Item = (&str, &Definition)> {
        self.definitions.iter().map(|(name, definition)| (&**name, definition))
    }

    /// What to do next with these data. `tried`: the collections whose definition this leader has proposed, whatever came of it.
    pub fn next(&self, documents: &Documents, tried: &BTreeSet<String>) -> FileStep<'_> {
        if documents.format() < COLLECTIONS || documents.noted_file() == Some(self.hash) {
            return FileStep::Nothing;
        }
        let mut last = FileStep::Note;
        for (name, wanted) in self.definitions() {
            let has_pending = documents.collection(name).is_some_and(|found| found.pending().is_some());
            match standing(documents, name, wanted) {
                Standing::InForce | Standing::Pending => {}
                _ if tried.contains(name) => {}
                _ if has_pending => last = FileStep::Wait,
                _ if documents.noted_file().is_some_and(|noted| noted != NO_FILE) => return FileStep::Begin,
                _ => return FileStep::Define { name, definition: as_found(documents, name, wanted) },
            }
        }
        last
    }

    /// How each of its definitions stands.
    pub fn standings<'a>(&'a self, documents: &'a Documents) -> impl Iterator<Item = (&'a str, Standing<'a>)> {
        self.definitions().map(|(name, wanted)| (name, standing(documents, name, wanted)))
    }
}

/// What records look like is not for a file to choose.
fn as_found(documents: &Documents, name: &str, wanted: &Definition) -> Definition {
    let found = documents.collection(name).and_then(|collection| collection.defined());
    let wanted = wanted.clone();
    match found {
        Some(found) => wanted.with_form(found.definition.form),
        None => wanted,
    }
}

fn standing<'a>(documents: &'a Documents, name: &str, wanted: &Definition) -> Standing<'a> {
    let Some(found) = documents.collection(name).and_then(|collection| collection.defined()) else {
        return Standing::Differs;
    };
    let wanted = as_found(documents, name, wanted);
    match found.definition.change_to(&wanted) {
        DefinitionChange::None if found.pending.is_none() => return Standing::InForce,
        DefinitionChange::Immutable => return Standing::Immutable,
        DefinitionChange::None | DefinitionChange::AtOnce | DefinitionChange::Examine => {}
    }
    match (&found.pending, &found.last_refused) {
        (Some(pending), _) if *pending.definition == wanted => Standing::Pending,
        (None, Some(refused)) => Standing::Refused(&refused.why),
        (Some(_), _) | (None, None) => Standing::Differs,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Action, Command, Condition, Define, DefinitionCondition, On, Operation, Outcome, Work};
    use leasehold_replication::Position;

    const FILE: &str = r#"{"b": {"id": "string"}, "a": {"id": "uuid", "maxRecords": 5}, "persons": {"id": "uuid"}}"#;

    fn done(documents: &mut Documents, work: Work<'_>) -> Outcome {
        let position = Position::new(1, documents.applied().seq.0 + 1);
        documents.apply(position, &Command::new(work).encode(2), &mut Vec::new()).unwrap().outcome
    }

    fn define(documents: &mut Documents, name: &str, definition: &str) -> Outcome {
        let condition = DefinitionCondition::None;
        done(documents, Work::Define(Define { collection: name, definition, condition, unless_expired_ms: None }))
    }

    fn create(documents: &mut Documents, name: &str, id: &str, members: &str) {
        let collection = documents.collection(name).unwrap();
        let id = collection.definition().id.parse(id).unwrap().to_owned();
        let on = On::at(name, collection.epoch().unwrap());
        let record = format!(r#"{{"id":"{id}"{members}}}"#);
        let create = Operation::new(id.as_ref(), Action::Create { record: &record }, Condition::None);
        assert_eq!(done(documents, Work::One(on, create)), Outcome::Created);
    }

    /// What a leader would do with these data until there is nothing to do, or to wait for.
    fn applied(file: &CollectionsFile, documents: &mut Documents) -> Vec<String> {
        let (mut steps, mut tried) = (Vec::new(), BTreeSet::new());
        loop {
            match file.next(documents, &tried) {
                FileStep::Define { name, definition } => {
                    let outcome = define(documents, name, &definition.to_json());
                    steps.push(format!("{name}: {outcome:?}"));
                    tried.insert(name.to_owned());
                }
                FileStep::Note => {
                    assert_eq!(done(documents, Work::NoteFile { hash: file.hash() }), Outcome::Stepped);
                    steps.push("noted".to_owned());
                }
                FileStep::Begin => {
                    assert_eq!(done(documents, Work::NoteFile { hash: NO_FILE }), Outcome::Stepped);
                    steps.push("begun".to_owned());
                }
                FileStep::Nothing => return steps,
                FileStep::Wait => {
                    steps.push("waits".to_owned());
                    return steps;
                }
            }
        }
    }

    fn raised() -> Documents {
        let mut documents = Documents::new();
        documents.voters(Position::new(1, 1), 2, &mut Vec::new());
        documents
    }

    #[test]
    fn a_file_says_where_it_is_wrong() {
        for (json, pointer) in [
            ("", ""),
            ("[]", ""),
            (r#"{"a": {"id": "string"}, "a": {"id": "string"}}"#, ""),
            (r#"{"Orders": {"id": "string"}}"#, "/Orders"),
            (r#"{"api": {"id": "string"}}"#, "/api"),
            (r#"{"a/b~": {"id": "string"}}"#, "/a~1b~0"),
            (r#"{"orders": {}}"#, "/orders/id"),
            (r#"{"orders": {"id": "string", "form": "persons"}}"#, "/orders/form"),
            (r#"{"orders": {"id": "string", "indexes": [{"fields": ["x"]}]}}"#, "/orders/indexes/0/fields/0"),
        ] {
            let error = CollectionsFile::parse(json).unwrap_err();
            assert_eq!(error.pointer, pointer, "{json}: {error}");
        }
        let broken = CollectionsFile::parse("{\"orders\": {\n").unwrap_err();
        assert!(broken.what.contains("line 2"), "{broken}");
    }

    #[test]
    fn a_file_written_otherwise_is_the_same_file_and_other_definitions_are_another() {
        let file = CollectionsFile::parse(FILE).unwrap();
        let turned = r#"{"persons":{"id":"uuid"},"a":{"maxRecords":5,"id":"uuid","indexes":[]},"b":{"id":"string"}}"#;
        assert_eq!(CollectionsFile::parse(turned).unwrap(), file);
        let other = CollectionsFile::parse(&FILE.replace('5', "6")).unwrap();
        assert_ne!(other.hash(), file.hash());
        assert_ne!(CollectionsFile::parse("{}").unwrap().hash(), file.hash());
    }

    #[test]
    fn what_differs_is_defined_in_order_and_then_the_file_is_noted() {
        let file = CollectionsFile::parse(FILE).unwrap();
        let mut documents = raised();
        define(&mut documents, "b", r#"{"id":"string"}"#);
        define(&mut documents, "others", r#"{"id":"string"}"#);
        assert_eq!(applied(&file, &mut documents), ["a: Defined { created: true }", "noted"]);
        assert!(documents.collection("others").is_some(), "it never drops");
        assert_eq!(applied(&file, &mut documents), [""; 0]);
        assert_eq!(applied(&file, &mut Documents::new()), [""; 0], "format 1 has no definitions");
    }

    #[test]
    fn the_form_of_persons_stays_and_is_no_difference() {
        let file = CollectionsFile::parse(r#"{"persons": {"id": "uuid", "maxRecords": 9}}"#).unwrap();
        let mut documents = raised();
        assert_eq!(applied(&file, &mut documents), ["persons: Defined { created: false }", "noted"]);
        assert_eq!(documents.collection("persons").unwrap().definition().form, crate::Form::Persons);
        assert_eq!(file.standings(&documents).collect::<Vec<_>>(), [("persons", Standing::InForce)]);
    }

    #[test]
    fn what_an_administrator_changes_later_stays_until_the_file_changes() {
        let file = CollectionsFile::parse(r#"{"a": {"id": "string"}, "b": {"id": "string"}}"#).unwrap();
        let mut documents = raised();
        applied(&file, &mut documents);
        define(&mut documents, "a", r#"{"id":"string","maxRecords":7}"#);
        let drop = Work::Drop { collection: "b", condition: DefinitionCondition::None, with_records: true };
        done(&mut documents, drop);
        assert_eq!(applied(&file, &mut documents), [""; 0]);
        let standings: Vec<_> = file.standings(&documents).collect();
        assert_eq!(standings, [("a", Standing::Differs), ("b", Standing::Differs)]);
        let next = CollectionsFile::parse(r#"{"a": {"id": "string"}, "b": {"id": "string", "maxRecords": 1}}"#);
        let wanted = ["begun", "a: Defined { created: false }", "b: Defined { created: true }", "noted"];
        assert_eq!(applied(&next.unwrap(), &mut documents), wanted);
    }

    #[test]
    fn an_earlier_file_that_comes_back_undoes_what_a_later_one_had_begun() {
        let first = CollectionsFile::parse(r#"{"a": {"id": "string"}, "b": {"id": "string"}}"#).unwrap();
        let second = r#"{"a": {"id": "string", "maxRecords": 1}, "b": {"id": "string", "maxRecords": 1}}"#;
        let second = CollectionsFile::parse(second).unwrap();
        let mut documents = raised();
        applied(&first, &mut documents);
        assert_eq!(second.next(&documents, &BTreeSet::new()), FileStep::Begin);
        done(&mut documents, Work::NoteFile { hash: NO_FILE });
        assert!(matches!(second.next(&documents, &BTreeSet::new()), FileStep::Define { name: "a", .. }));
        define(&mut documents, "a", r#"{"id":"string","maxRecords":1}"#);
        assert_eq!(applied(&first, &mut documents), ["a: Defined { created: false }", "noted"]);
    }

    #[test]
    fn a_leader_that_dies_between_two_definitions_leaves_the_rest_to_the_next() {
        let file = CollectionsFile::parse(FILE).unwrap();
        let mut documents = raised();
        let FileStep::Define { name, definition } = file.next(&documents, &BTreeSet::new()) else { panic!() };
        define(&mut documents, name, &definition.to_json());
        assert_eq!(applied(&file, &mut documents), ["b: Defined { created: true }", "noted"]);
    }

    #[test]
    fn a_refused_definition_does_not_keep_the_others_and_is_not_tried_again() {
        let file = CollectionsFile::parse(FILE).unwrap();
        let mut documents = raised();
        define(&mut documents, "a", r#"{"id":"string"}"#);
        assert_eq!(applied(&file, &mut documents), ["a: Immutable", "b: Defined { created: true }", "noted"]);
        assert_eq!(file.standings(&documents).next(), Some(("a", Standing::Immutable)));
        assert_eq!(applied(&file, &mut documents), [""; 0]);
    }

    #[test]
    fn a_pending_change_counts_as_accepted_and_its_refusal_is_seen_in_the_data() {
        let unique = r#"{"id":"string","indexes":[{"fields":["/x"],"unique":true}]}"#;
        let file = CollectionsFile::parse(&format!(r#"{{"a": {unique}, "b": {{"id": "string"}}}}"#)).unwrap();
        let mut documents = raised();
        define(&mut documents, "a", r#"{"id":"string"}"#);
        create(&mut documents, "a", "1", r#","x":"same""#);
        create(&mut documents, "a", "2", r#","x":"same""#);
        assert_eq!(applied(&file, &mut documents), ["a: Pending", "b: Defined { created: true }", "noted"]);
        assert_eq!(file.standings(&documents).next(), Some(("a", Standing::Pending)));
        let on = On::at("a", documents.collection("a").unwrap().epoch().unwrap());
        done(&mut documents, Work::Advance { on, upto: u64::MAX });
        let standing = file.standings(&documents).next().unwrap().1;
        assert!(matches!(standing, Standing::Refused(WhyRefused::UniqueConflict { .. })), "{standing:?}");
        assert_eq!(applied(&file, &mut documents), [""; 0]);
    }

    #[test]
    fn anothers_pending_change_is_waited_for_while_the_others_are_done() {
        let file = CollectionsFile::parse(r#"{"a": {"id": "string"}, "b": {"id": "string"}}"#).unwrap();
        let mut documents = raised();
        define(&mut documents, "a", r#"{"id":"string"}"#);
        create(&mut documents, "a", "1", "");
        define(&mut documents, "a", r#"{"id":"string","indexes":[{"fields":["/x"]}]}"#);
        // It is what is in force; the change would make it another one.
        assert_eq!(applied(&file, &mut documents), ["b: Defined { created: true }", "waits"]);
        assert_eq!(documents.noted_file(), None);
        done(&mut documents, Work::GiveUp { collection: "a" });
        assert_eq!(applied(&file, &mut documents), ["noted"]);
    }
}
