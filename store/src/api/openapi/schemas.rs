//! `components.schemas`: the bodies, and the small types that parameters share with them.

use crate::api::person::NAME_CHARACTERS_MAX;
use crate::api::problem::Code;
use leasehold_documents::{
    BATCH_OPERATIONS_MAX, FIELDS_MAX, ID_BYTES_MAX, INDEXES_MAX, IdKind, PATH_BYTES_MAX, PATH_STEPS_MAX,
};
use serde_json::{Map, Value, json};
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::{Components, Object, Ref, RefOr};

pub(super) static NAME: &str = "Name";
pub(super) static PERSON: &str = "Person";
pub(super) static PERSON_PATCH: &str = "PersonPatch";
pub(super) static BATCH: &str = "Batch";
pub(super) static BATCH_DONE: &str = "BatchDone";
pub(super) static PROBLEM: &str = "Problem";
pub(super) static RECORD: &str = "Record";
pub(super) static RECORD_PATCH: &str = "RecordPatch";
pub(super) static RECORD_BATCH: &str = "RecordBatch";
pub(super) static RECORD_EVENT: &str = "RecordEvent";
pub(super) static EVENT: &str = "Event";
pub(super) static TRANSACTION: &str = "Transaction";
pub(super) static DEFINITION: &str = "Definition";
pub(super) static COLLECTION: &str = "Collection";
pub(super) static EXPIRY: &str = "Expiry";
pub(super) static SNAPSHOT: &str = "Snapshot";

/// The tags of `If-Match` and `If-None-Match`.
const TAGS: &str = r#"^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$"#;
/// An id that is a text: not `.`, not `..`, without `/` and control characters.
const TEXT_ID: &str = concat!(
    r"^([^/\x00-\x1f\x7f-\x9f]{3,}|[^/.\x00-\x1f\x7f-\x9f][^/\x00-\x1f\x7f-\x9f]?|",
    r"[^/\x00-\x1f\x7f-\x9f][^/.\x00-\x1f\x7f-\x9f])$"
);
const NAME_OF_COLLECTION: &str = "^[a-z][a-z0-9-]{0,62}$";
const POINTER: &str = "^(/([^/~]|~[01])*)+$";

/// Describes each once.
pub(super) fn describe(components: &mut Components) {
    let all = [(NAME, name()), (PERSON, person()), (PERSON_PATCH, person_patch()), (PROBLEM, problem())];
    components.schemas = all.map(|(name, schema)| (name.to_owned(), schema.into())).into();
}

/// Those that have no other form than JSON: they have alternatives.
pub(super) fn more() -> Map<String, Value> {
    let (person, patch) = (json!(reference(PERSON)), json!(reference(PERSON_PATCH)));
    let (any, text) = (json!(reference(RECORD_PATCH)), id(IdKind::Text));
    let all = [
        (BATCH, of_operations(&person, &patch, &id(IdKind::Uuid))),
        (BATCH_DONE, batch_done()),
        (RECORD, json!({ "type": "object", "required": ["id"], "properties": { "id": text } })),
        (RECORD_PATCH, json!({ "type": "object" })),
        (RECORD_BATCH, of_operations(&any, &any, &text)),
        (RECORD_EVENT, server_sent(record_event())),
        (EVENT, server_sent(event())),
        (TRANSACTION, transaction(&any, &text)),
        (DEFINITION, definition()),
        (COLLECTION, collection()),
        (SNAPSHOT, snapshot()),
        (EXPIRY, closed_json(&["paused"], json!({ "paused": { "type": "boolean" } }))),
    ];
    all.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

/// A reference to one of these.
pub(super) fn reference(name: &'static str) -> Ref {
    Ref::from_schema_name(name)
}

/// Many of one of these.
pub(super) fn many(one: Ref) -> RefOr<Schema> {
    ArrayBuilder::new().items(one).into()
}

pub(super) fn string() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

pub(super) fn integer() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer)
}

/// Any text.
pub(super) fn text() -> Object {
    string().build()
}

fn of_uuid() -> ObjectBuilder {
    string().format(Some(SchemaFormat::Custom("uuid".to_owned())))
}

pub(super) fn uuid() -> Object {
    of_uuid().build()
}

/// An id that is a text.
pub(super) fn text_id() -> Object {
    // Of bytes, which no schema can count.
    string().min_length(Some(1)).max_length(Some(ID_BYTES_MAX)).pattern(Some(TEXT_ID)).build()
}

/// What ids of that kind are.
pub(super) fn id(kind: IdKind) -> Value {
    match kind {
        IdKind::Uuid => json!(uuid()),
        IdKind::Text => json!(text_id()),
    }
}

/// What `If-Match` and `If-None-Match` have.
pub(super) fn condition() -> Object {
    string().min_length(Some(1)).pattern(Some(TAGS)).build()
}

pub(super) fn name_of_collection() -> Object {
    string().pattern(Some(NAME_OF_COLLECTION)).build()
}

/// A place in the log.
pub(super) fn sequence() -> Object {
    integer().minimum(Some(0_u32)).maximum(Some(usize::MAX)).build()
}

/// One of these words.
pub(super) fn one_of(words: &[&str]) -> ObjectBuilder {
    string().enum_values(Some(words.iter().copied()))
}

/// An object that has these fields, and no others.
fn closed() -> ObjectBuilder {
    ObjectBuilder::new().additional_properties(Some(AdditionalProperties::FreeForm(false)))
}

fn name() -> Object {
    string().min_length(Some(1)).max_length(Some(NAME_CHARACTERS_MAX)).build()
}

fn person() -> Object {
    closed()
        .property("firstName", reference(NAME))
        .required("firstName")
        .property("lastName", reference(NAME))
        .required("lastName")
        .property("id", of_uuid())
        .build()
}

fn person_patch() -> Object {
    closed()
        .property("firstName", reference(NAME))
        .property("lastName", reference(NAME))
        .property("id", of_uuid().description(Some("The one of the path.")))
        .build()
}

fn closed_json(required: &[&str], properties: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties, "additionalProperties": false })
}

/// A batch: each operation on a record like these.
pub(super) fn of_operations(record: &Value, patch: &Value, id: &Value) -> Value {
    let conditions = json!({ "ifMatch": tags(), "ifNoneMatch": tags() });
    let operations = [
        ("create", &["op", "record"][..], json!({ "record": record })),
        ("put", &["op", "id", "record"], with(&conditions, json!({ "id": id, "record": record }))),
        ("patch", &["op", "id", "patch"], with(&conditions, json!({ "id": id, "patch": patch }))),
        ("delete", &["op", "id"], with(&conditions, json!({ "id": id }))),
    ];
    list_of(operations.map(|(op, required, properties)| operation(op, required, properties)).into())
}

fn transaction(any: &Value, id: &Value) -> Value {
    let about = json!({ "collection": name_of_collection(), "id": id });
    let on = with(&about, json!({ "ifMatch": tags(), "ifNoneMatch": tags() }));
    let mut check = operation("check", &["op", "collection", "id"], on.clone());
    check["anyOf"] = json!([{ "required": ["ifMatch"] }, { "required": ["ifNoneMatch"] }]);
    list_of(vec![
        operation("create", &["op", "collection", "record"], with(&about, json!({ "record": any }))),
        operation("put", &["op", "collection", "id", "record"], with(&on, json!({ "record": any }))),
        operation("patch", &["op", "collection", "id", "patch"], with(&on, json!({ "patch": any }))),
        operation("delete", &["op", "collection", "id"], on),
        check,
    ])
}

fn list_of(operations: Vec<Value>) -> Value {
    let list = json!({
        "type": "array", "minItems": 1, "maxItems": BATCH_OPERATIONS_MAX, "items": { "oneOf": operations },
    });
    closed_json(&["operations"], json!({ "operations": list }))
}

fn operation(op: &str, required: &[&str], properties: Value) -> Value {
    closed_json(required, with(&properties, json!({ "op": { "type": "string", "const": op } })))
}

fn tags() -> Value {
    json!({ "type": "string", "minLength": 1, "pattern": TAGS })
}

/// The members of both.
fn with(members: &Value, more: Value) -> Value {
    let all = [members.clone(), more].into_iter().filter_map(|value| match value {
        Value::Object(members) => Some(members),
        _ => None,
    });
    all.flatten().collect::<Map<_, _>>().into()
}

fn batch_done() -> Value {
    let result = json!({ "type": "object", "required": ["status", "id", "etag"], "properties": {
        "status": { "type": "integer", "enum": [200, 201, 204] },
        "id": { "type": "string" },
        "etag": { "type": ["string", "null"] },
    } });
    json!({ "type": "object", "required": ["sequence", "results"], "properties": {
        "sequence": { "type": "integer" }, "results": { "type": "array", "items": result },
    } })
}

/// An event with such data, as JSON.
fn server_sent(data: Value) -> Value {
    json!({
        "type": "object", "required": ["data"],
        "description": "A server-sent event: its lines `id:`, `event:` and `data:`. Comments, which begin with `:`, are none.",
        "properties": {
            "id": { "type": "string", "description": "The sequence: where to resume." },
            "event": { "type": "string", "description": "`end` or `bookmark`. A commit has none." },
            "data": { "type": "string", "contentMediaType": "application/json", "contentSchema": data },
        },
    })
}

/// What the data of an event are, of a watch of one collection: a commit, or why the watch ends.
fn record_event() -> Value {
    let change = json!({ "type": "object", "required": ["change", "id", "record"], "properties": change() });
    let commit = json!({ "type": "object", "required": ["sequence", "changes"], "properties": {
        "sequence": { "type": "integer" }, "changes": { "type": "array", "items": change },
    } });
    json!({ "oneOf": [commit, end()] })
}

fn change() -> Value {
    json!({
        "change": { "type": "string", "enum": ["created", "replaced", "deleted"] },
        "id": { "type": "string" },
        "record": { "oneOf": [{ "type": "object" }, { "type": "null" }], "description": "Null if it is deleted." },
        "reason": { "type": "string", "const": "expired" },
    })
}

fn end() -> Value {
    json!({ "type": "object", "required": ["reason", "detail", "after"], "properties": {
        "reason": { "type": "string", "enum": ["draining", "cut-off", "slow", "gone", "dropped"] },
        "detail": { "type": "string" },
        "after": { "type": "integer", "description": "Where to resume." },
    } })
}

/// Of a watch of all collections.
fn event() -> Value {
    let of = json!({ "collection": { "type": "string" }, "number": { "type": "integer" } });
    let properties = with(&of, change());
    let required = ["collection", "change", "id", "number", "record"];
    let change = json!({ "type": "object", "required": required, "properties": properties });
    let head = json!({
        "sequence": { "type": "integer" },
        "time": { "type": ["string", "null"], "format": "date-time" },
        "hash": { "type": "string", "description": "That of all data after the entry." },
    });
    let definition = json!({ "type": "object", "required": ["name", "change", "created"], "properties": {
        "name": { "type": "string" },
        "change": { "type": "string", "enum": ["defined", "dropped"] },
        "created": { "type": "integer" },
    } });
    let one = |name: &str, schema: Value| {
        json!({
            "type": "object", "required": ["sequence", "time", "hash", name],
            "properties": with(&head, Map::from_iter([(name.to_owned(), schema)]).into()),
        })
    };
    let bookmark = json!({ "clusterId": { "type": ["string", "null"] } });
    json!({ "oneOf": [
        one("changes", json!({ "type": "array", "items": change })),
        one("definition", definition),
        {
            "type": "object", "required": ["clusterId", "sequence", "time", "hash", "keysHash", "staleMs"],
            "properties": with(&with(&head, bookmark), json!({
                "keysHash": { "type": "string" },
                "staleMs": { "type": ["integer", "null"], "minimum": 0 },
                // Earlier builds do not say it.
                "leads": { "type": "boolean" },
            })),
        },
        end(),
    ] })
}

/// The members of a definition.
fn of_definition() -> Value {
    let pointer = json!({
        "type": "string", "pattern": POINTER, "maxLength": PATH_BYTES_MAX,
        "description": format!("A JSON Pointer to a member, through at most {PATH_STEPS_MAX} objects."),
    });
    let field = json!({ "oneOf": [pointer, closed_json(
        &["path"],
        json!({ "path": pointer, "type": { "type": "string", "enum": ["string", "number", "boolean"] } }),
    )] });
    let index = closed_json(
        &["fields"],
        json!({
            "fields": { "type": "array", "minItems": 1, "maxItems": FIELDS_MAX, "uniqueItems": true, "items": field },
            "unique": { "type": "boolean", "default": false },
        }),
    );
    json!({
        "id": { "type": "string", "enum": ["string", "uuid"], "description": "What ids are. It never changes." },
        "schema": {
            "type": ["object", "boolean"],
            "description": "JSON Schema 2020-12, at most 64 KiB. Formats are enforced, unknown keywords are errors, and \
                            references lead only into the schema itself.",
        },
        "indexes": { "type": "array", "maxItems": INDEXES_MAX, "uniqueItems": true, "items": index },
        "expires": pointer,
        "maxRecords": { "type": "integer", "minimum": 1, "maximum": u64::MAX },
    })
}

fn definition() -> Value {
    closed_json(&["id"], of_definition())
}

fn collection() -> Value {
    let progress = json!({ "type": "object", "required": ["examined", "of"], "properties": {
        "examined": { "type": "integer" }, "of": { "type": "integer" },
    } });
    let refused = json!({ "type": "object", "required": ["since", "reason"], "properties": {
        "since": { "type": "integer" },
        "reason": { "type": "string", "enum": ["does-not-fit", "unique-conflict"] },
    } });
    let shown = json!({
        "name": { "type": "string" },
        "created": { "type": "integer", "description": "The entry that defined it first." },
        "revision": { "type": "integer", "description": "The entry that last changed the definition." },
        "count": { "type": "integer", "description": "Of its records." },
        "bytes": { "type": "integer", "description": "Of its records." },
        "state": { "type": "string", "enum": ["ready", "pending"] },
        "progress": progress,
        "lastRefused": refused,
    });
    json!({
        "type": "object", "required": ["name", "created", "revision", "count", "bytes", "state", "id"],
        "properties": with(&shown, of_definition()),
    })
}

/// What a program needs of it; the rest is as the replicas write it for each other.
fn snapshot() -> Value {
    let position = json!({ "term": integer().build(), "sequence": integer().build() });
    let records = json!({ "type": "array", "items": { "type": "object", "required": ["id"] } });
    json!({
        "type": "object", "required": ["format", "clusterId", "position", "voters", "collections", "order", "sum"],
        "properties": {
            "format": integer().build(), "clusterId": uuid(), "position": closed_json(&["term", "sequence"], position),
            "collections": { "type": "object", "additionalProperties": records },
            "sum": { "type": "string", "pattern": "^[0-9a-f]{32}$" },
        },
    })
}

fn problem() -> Object {
    let urn = |code: &Code| format!("urn:leasehold:{}", code.as_str());
    let list = Code::ALL
        .iter()
        .map(|code| json!({ "type": urn(code), "status": code.status().as_u16(), "title": code.title() }));
    ObjectBuilder::new()
        .description(Some(
            "RFC 9457. 421, 503 and 507 always mean: not done, and never will be. 504: a write whose outcome is unknown.",
        ))
        .property("type", string().enum_values(Some(Code::ALL.iter().map(urn))))
        .required("type")
        .property("title", string())
        .required("title")
        .property("status", integer())
        .required("status")
        .property("detail", string())
        .required("detail")
        .property("pointer", string())
        .property("line", integer())
        .property("column", integer())
        .extensions(Some(Extensions::from_iter([("x-problems", list.collect::<Value>())])))
        .build()
}
