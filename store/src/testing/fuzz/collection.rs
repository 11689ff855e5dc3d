//! The text of a definition, records, queries and cursors, one after the other: `%%` in a line of its own between them.
//!
//! ```text
//!   definition ──▶ one form, read again as the same; indexes of whatever records follow
//!   a record   ──▶ put by a command of format 2; sums, snapshot and a second replica agree
//!   ?query     ──▶ pages, which are together what one page is, and as many as are counted; a cursor comes back from its text
//! ```

use super::contents;
use crate::api::fuzzed::{a_cursor, a_path, a_query};
use crate::schema::Schema;
use leasehold_documents::{
    Action, Budget, Command, Condition, Define, Definition, DefinitionCondition, Documents, Form, On, Operation,
    Outcome, Record, StoredCollections, StoredDefinitions, StoredOrder, StoredState, Work,
};
use leasehold_replication::Position;
use serde::Deserialize;

const NAME: &str = "orders";
const PIECES_MAX: usize = 24;

/// See the module.
pub fn collection(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut pieces = text.split("\n%%\n").take(PIECES_MAX);
    let Some(definition) = pieces.next().and_then(a_definition) else { return };
    let mut documents = Documents::new();
    let form = definition.to_json();
    let condition = DefinitionCondition::None;
    let define = Define { collection: NAME, definition: &form, condition, unless_expired_ms: None };
    let defined = apply(&mut documents, &Command::new(Work::Define(define)));
    assert_eq!(defined, Outcome::Defined { created: true }, "{form}");
    for piece in pieces {
        a_path(piece);
        match piece.strip_prefix('?') {
            Some(query) => ask(&documents, query),
            None => write(&mut documents, &definition, piece),
        }
    }
    let (position, text) = (documents.applied(), contents(&documents));
    let again = restored(position, &text);
    assert_eq!((contents(&again), again.sum()), (text, documents.sum()));
    assert_eq!(documents.check_sum(), Ok(()));
}

/// What a replica has that begins with these members of snapshot.json.
fn restored(position: Position, text: &str) -> Documents {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct File {
        definitions: Option<StoredDefinitions>,
        time: u64,
        expiry_paused: bool,
        collections: StoredCollections,
        order: StoredOrder,
    }
    let text = if text.starts_with('{') { text.to_owned() } else { format!("{{{text}}}") };
    let File { definitions, time, expiry_paused, collections, order } = serde_json::from_str(&text).unwrap();
    let state = StoredState { definitions, time, expiry_paused, file: None };
    Documents::restore(position, collections, order, Vec::new(), state).expect("what was written")
}

/// One form, which is read as the same.
fn a_definition(text: &str) -> Option<Definition> {
    match Definition::parse(text) {
        Ok(definition) => {
            let form = definition.to_json();
            assert_eq!(Definition::parse_stored(&form).as_ref(), Ok(&definition), "{form}");
            assert_eq!(definition.form, Form::Any, "clients choose no form");
            assert!(form.len() <= 2 * text.len() + 64, "much was made of little");
            if let Some(schema) = &definition.schema
                && let Err(wrong) = Schema::compile(schema)
            {
                assert!(wrong.pointer.starts_with("/schema") && !wrong.what.is_empty(), "{wrong:?}");
            }
            Some(definition)
        }
        Err(wrong) => {
            assert!(wrong.pointer.is_empty() || wrong.pointer.starts_with('/'), "{wrong:?}");
            assert!(!wrong.what.is_empty());
            None
        }
    }
}

fn apply(documents: &mut Documents, command: &Command<'_>) -> Outcome {
    let bytes = command.encode(2);
    assert_eq!(Command::decode(&bytes).as_ref(), Ok(command), "a command is read otherwise than it was written");
    let position = Position::new(1, documents.applied().seq.0 + 1);
    let mut other = documents.clone();
    let answer = documents.apply(position, &bytes, &mut Vec::new()).unwrap();
    assert_eq!(other.apply(position, &bytes, &mut Vec::new()), Ok(answer.clone()));
    assert_eq!(other.sum(), documents.sum());
    answer.outcome
}

/// What cannot be a record of this collection is refused, by the API or by apply; nothing else is stored.
fn write(documents: &mut Documents, definition: &Definition, text: &str) {
    let Ok(serde_json::Value::Object(members)) = serde_json::from_str(text) else { return };
    let Some(id) = members.get("id").and_then(|id| id.as_str()).map(str::to_owned) else { return };
    let Some(id) = definition.id.parse(&id) else { return };
    let epoch = documents.collection(NAME).unwrap().epoch();
    let operation = Operation::new(id, Action::Put { record: text }, Condition::None);
    let command = Command::new(Work::One(On { collection: NAME, epoch }, operation)).encode(2);
    // Of a form that the API would not have made: an outcome, and no record.
    let position = Position::new(1, documents.applied().seq.0 + 1);
    let answer = documents.apply(position, &command, &mut Vec::new()).unwrap();
    let stored = documents.collection(NAME).unwrap().get(id).map(Record::as_str);
    match answer.outcome {
        Outcome::Created | Outcome::Replaced | Outcome::Same => assert_eq!(stored, Some(text)),
        Outcome::Invalid(_) | Outcome::BadValue { .. } | Outcome::UniqueConflict { .. } | Outcome::TooManyRecords => {
            assert_ne!(stored, Some(text));
        }
        other => panic!("{other:?}"),
    }
}

fn ask(documents: &Documents, query: &str) {
    let Some(query) = a_query(NAME, query) else { return };
    let found = documents.collection(NAME);
    let Ok(plan) = query.plan(found) else { return };
    let budget = |records| Budget { records, bytes: usize::MAX };
    let all = plan.page(found, None, usize::MAX, budget(usize::MAX));
    assert!(all.next.is_none(), "a page without a bound has an end");
    let (mut shown, mut place) = (Vec::new(), None);
    for _ in 0..=3 * PIECES_MAX {
        let page = plan.page(found, place.as_ref(), 1, budget(2));
        shown.extend(page.records);
        let Some(next) = page.next else {
            assert_eq!(shown, all.records, "pages are together what one page is");
            if plan.is_exact().is_ok() {
                assert_eq!(plan.count(found, None, usize::MAX).count, shown.len() as u64);
            }
            return;
        };
        a_cursor(NAME, plan.fingerprint(), &next.to_bytes());
        place = Some(plan.place(&next.to_bytes()).expect("a place comes back from its bytes"));
    }
    panic!("the pages do not end");
}
