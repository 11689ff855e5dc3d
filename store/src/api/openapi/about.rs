//! A collection, as the document describes it: its words, its schemas, and what its lists can be asked for.

use leasehold_documents::{Definition, FieldKind, Form, IdKind, Path};
use serde_json::{Map, Value, json};
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn, ParameterStyle};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Required, Schema};

use super::schemas::{self, BATCH, PERSON, PERSON_PATCH, RECORD, RECORD_BATCH, RECORD_PATCH, of_operations};
use super::{embedded, parameters};
use crate::api::filters::WHERE;

/// What the calls of records are about.
#[derive(Clone, Copy)]
pub(super) enum About<'a> {
    /// The collection that each cluster begins with, in words of its own.
    Persons(&'a Definition),
    /// This one.
    One(&'a str, &'a Definition),
    /// Whichever: for those that the document has no room for.
    Any,
}

impl<'a> About<'a> {
    /// The collection of this name.
    pub(super) fn new(name: &'a str, definition: &'a Definition) -> About<'a> {
        match definition.form {
            Form::Persons => About::Persons(definition),
            Form::Any => About::One(name, definition),
        }
    }

    /// What stands in a path for the collection, and groups its calls.
    pub(super) fn name(&self) -> &'a str {
        match self {
            About::Persons(_) => leasehold_documents::PERSONS,
            About::One(name, _) => name,
            About::Any => "{collection}",
        }
    }

    fn definition(&self) -> Option<&'a Definition> {
        match self {
            About::Persons(definition) | About::One(_, definition) => Some(definition),
            About::Any => None,
        }
    }

    /// The id of an operation. A name has no `_`, so no two collections share one.
    pub(super) fn operation(&self, verb: &str, of_one: bool) -> String {
        match (self, of_one) {
            (About::Persons(_), true) => format!("{verb}Person"),
            (About::Persons(_), false) => format!("{verb}Persons"),
            (About::One(name, _), _) => format!("{verb}_{name}"),
            (About::Any, true) => format!("{verb}Record"),
            (About::Any, false) => format!("{verb}Records"),
        }
    }

    /// Those of its paths.
    pub(super) fn in_path(&self, and_id: bool) -> Vec<&'static parameters::Shared> {
        let collection = matches!(self, About::Any).then_some(&parameters::COLLECTION);
        let id = match self {
            About::Persons(_) => &parameters::ID,
            About::One(_, definition) if definition.id == IdKind::Uuid => &parameters::UUID,
            About::One(..) | About::Any => &parameters::TEXT,
        };
        collection.into_iter().chain(and_id.then_some(id)).collect()
    }

    /// May a write say when its record goes?
    pub(super) fn expires(&self) -> bool {
        self.definition().is_none_or(|definition| definition.expires.is_some())
    }

    /// A record as it is read.
    pub(super) fn record(&self) -> Ref {
        match self {
            About::Persons(_) => schemas::reference(PERSON),
            About::One(name, _) => Ref::from_schema_name(format!("{name}_record")),
            About::Any => schemas::reference(RECORD),
        }
    }

    /// A record as it is sent to a path that has its id: what its schema is.
    pub(super) fn replaced(&self) -> Ref {
        match self {
            About::One(name, _) => Ref::from_schema_name(*name),
            About::Persons(_) | About::Any => self.sent(),
        }
    }

    /// A record as it is sent: it may have an id.
    pub(super) fn sent(&self) -> Ref {
        match self {
            About::Persons(_) => schemas::reference(PERSON),
            About::One(name, _) => Ref::from_schema_name(format!("{name}_sent")),
            About::Any => schemas::reference(RECORD_PATCH),
        }
    }

    /// A change of a record.
    pub(super) fn patch(&self) -> Ref {
        match self {
            About::Persons(_) => schemas::reference(PERSON_PATCH),
            About::One(..) | About::Any => schemas::reference(RECORD_PATCH),
        }
    }

    /// Many operations.
    pub(super) fn batch(&self) -> Ref {
        match self {
            About::Persons(_) => schemas::reference(BATCH),
            About::One(name, _) => Ref::from_schema_name(format!("{name}_batch")),
            About::Any => schemas::reference(RECORD_BATCH),
        }
    }

    /// The components that are its own.
    pub(super) fn components(&self) -> Map<String, Value> {
        let About::One(name, definition) = self else { return Map::new() };
        let any = || json!({ "type": "object" });
        // It was compiled before it was stored.
        let schema = definition.schema.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(any);
        let mut all: Map<String, Value> = embedded::components(name, &schema).into_iter().collect();
        let (own, id) = (json!({ "$ref": format!("#/components/schemas/{name}") }), schemas::id(definition.id));
        let with_id = json!({ "type": "object", "properties": { "id": id } });
        let stored = json!({ "type": "object", "properties": { "id": id }, "required": ["id"] });
        all.insert(format!("{name}_sent"), json!({ "allOf": [own, with_id] }));
        all.insert(format!("{name}_record"), json!({ "allOf": [own, stored] }));
        all.insert(format!("{name}_batch"), of_operations(&json!(self.sent()), &json!(self.patch()), &id));
        all
    }

    /// What its indexes are, for people.
    pub(super) fn indexes(&self) -> String {
        let Some(definition) = self.definition() else { return String::new() };
        let each = definition.indexes.iter().map(|index| {
            let fields: Vec<String> = index.fields.iter().map(|field| field.path.to_pointer()).collect();
            format!("{}{}", fields.join(", "), if index.unique { " (unique)" } else { "" })
        });
        let all: Vec<String> = std::iter::once("/id".to_owned()).chain(each).collect();
        format!("Indexes: {}.", all.join("; "))
    }

    /// The filters by indexed members. Others can be asked for, too, but the document cannot name them.
    pub(super) fn filters(&self) -> Vec<Parameter> {
        let mut fields: Vec<(&Path, Option<FieldKind>)> = Vec::new();
        for field in self.definition().iter().flat_map(|definition| &definition.indexes).flat_map(|index| &index.fields)
        {
            match fields.iter_mut().find(|(path, _)| *path == &field.path) {
                None => fields.push((&field.path, Some(field.kind))),
                // Each index sees values of its own type.
                Some((_, kind)) if *kind != Some(field.kind) => *kind = None,
                Some(_) => {}
            }
        }
        let can_be_asked = |path: &Path| path.names().iter().all(|name| !name.is_empty() && !name.contains('.'));
        fields.retain(|(path, _)| can_be_asked(path));
        fields.into_iter().flat_map(|(path, kind)| of_field(path, kind)).collect()
    }
}

/// The tests of one member.
fn of_field(path: &Path, kind: Option<FieldKind>) -> Vec<Parameter> {
    const TESTS: [&str; 9] = ["eq", "ne", "gt", "gte", "lt", "lte", "prefix", "in", "exists"];
    let name = format!("{WHERE}{}", path.names().join("."));
    let is_called_so = path.names().last().is_some_and(|last| TESTS.contains(&&**last));
    let of_type = match kind {
        Some(FieldKind::Number) => Type::Number,
        Some(FieldKind::Boolean) => Type::Boolean,
        Some(FieldKind::String) | None => Type::String,
    };
    let has = |test: &str| match test {
        "gt" | "gte" | "lt" | "lte" => kind != Some(FieldKind::Boolean),
        "prefix" => kind == Some(FieldKind::String),
        _ => true,
    };
    let value = || ObjectBuilder::new().schema_type(of_type.clone());
    let of_test = |test: &str| {
        let (name, schema): (String, RefOr<Schema>) = match test {
            "eq" if !is_called_so => (name.clone(), value().into()),
            "exists" => (format!("{name}.exists"), ObjectBuilder::new().schema_type(Type::Boolean).into()),
            "in" => (format!("{name}.in"), ArrayBuilder::new().items(value()).max_items(Some(100)).into()),
            test => (format!("{name}.{test}"), value().into()),
        };
        let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query).required(Required::False);
        let parameter = parameter.schema(Some(schema));
        match test {
            "in" => parameter.style(Some(ParameterStyle::Form)).explode(Some(true)).build(),
            _ => parameter.build(),
        }
    };
    TESTS.into_iter().filter(|test| has(test)).map(of_test).collect()
}
