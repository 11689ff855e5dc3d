//! `components.schemas`: the bodies, and the small types that parameters share with them.

use crate::api::person::NAME_CHARACTERS_MAX;
use crate::api::problem::Code;
use leasehold_documents::BATCH_OPERATIONS_MAX;
use serde_json::{Value, json};
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, ObjectBuilder, Schema, SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::{Components, Object, Ref, RefOr};

pub(super) static NAME: &str = "Name";
pub(super) static PERSON: &str = "Person";
pub(super) static PERSON_PATCH: &str = "PersonPatch";
pub(super) static BATCH: &str = "Batch";
pub(super) static OPERATION: &str = "Operation";
pub(super) static BATCH_DONE: &str = "BatchDone";
pub(super) static PROBLEM: &str = "Problem";

/// Describes each once.
pub(super) fn describe(components: &mut Components) {
    let all = [
        (NAME, name()),
        (PERSON, person()),
        (PERSON_PATCH, person_patch()),
        (BATCH, batch()),
        (OPERATION, operation()),
        (BATCH_DONE, batch_done()),
        (PROBLEM, problem()),
    ];
    components.schemas = all.map(|(name, schema)| (name.to_owned(), schema.into())).into();
}

/// A reference to one of these.
pub(super) fn reference(name: &'static str) -> Ref {
    Ref::from_schema_name(name)
}

/// Many of one of these.
pub(super) fn many(name: &'static str) -> RefOr<Schema> {
    ArrayBuilder::new().items(reference(name)).into()
}

pub(super) fn string() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

pub(super) fn integer() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer)
}

pub(super) fn uuid() -> ObjectBuilder {
    string().format(Some(SchemaFormat::Custom("uuid".to_owned())))
}

/// A place in the log.
pub(super) fn sequence() -> ObjectBuilder {
    integer().minimum(Some(0_u32))
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
        .property("id", uuid())
        .build()
}

fn person_patch() -> Object {
    closed()
        .property("firstName", reference(NAME))
        .property("lastName", reference(NAME))
        .property("id", uuid().description(Some("The one of the path.")))
        .build()
}

fn batch() -> Object {
    let operations =
        ArrayBuilder::new().items(reference(OPERATION)).min_items(Some(1)).max_items(Some(BATCH_OPERATIONS_MAX));
    closed().property("operations", operations).required("operations").build()
}

fn operation() -> Object {
    closed()
        .property("op", one_of(&["create", "put", "patch", "delete"]))
        .required("op")
        .property("id", uuid().description(Some("Not in a create.")))
        .property("record", reference(PERSON))
        .property("patch", reference(PERSON_PATCH))
        .property("ifMatch", string())
        .property("ifNoneMatch", one_of(&["*"]))
        .build()
}

fn batch_done() -> Object {
    let result = ObjectBuilder::new()
        .property("status", integer().enum_values(Some([200, 201, 204])))
        .property("id", uuid())
        .property("etag", string().schema_type(SchemaType::from_iter([Type::String, Type::Null])));
    ObjectBuilder::new().property("sequence", integer()).property("results", ArrayBuilder::new().items(result)).build()
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
