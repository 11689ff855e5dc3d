//! A definition as JSON: what a client wrote, read strictly, and the one form in which the log and `snapshot.json` have it.

use super::{
    Definition, DefinitionError, FIELDS_MAX, Field, FieldKind, Form, INDEXES_MAX, IndexDefinition, PATH_BYTES_MAX,
    PATH_STEPS_MAX, Path, SCHEMA_BYTES_MAX,
};
use crate::id::IdKind;
use crate::merge::Members;
use serde_json::value::RawValue;

/// The longest definition, in bytes: what surrounds the schema is far shorter.
const DEFINITION_BYTES_MAX: usize = 2 * SCHEMA_BYTES_MAX;

impl Definition {
    /// What a client wrote.
    ///
    /// # Errors
    /// [`DefinitionError`]: what is wrong, and where.
    pub fn parse(json: &str) -> Result<Definition, DefinitionError> {
        parse(json, false)
    }

    /// What [`Definition::to_json`] wrote: it may have a form.
    ///
    /// # Errors
    /// As [`Definition::parse`].
    pub fn parse_stored(json: &str) -> Result<Definition, DefinitionError> {
        parse(json, true)
    }

    /// The same with records of that form, which clients do not choose.
    #[must_use]
    pub fn with_form(self, form: Form) -> Definition {
        Definition { form, ..self }
    }

    /// Its one form. Equal definitions have equal texts.
    pub fn to_json(&self) -> String {
        let mut json = format!(r#"{{"id":"{}""#, id_name(self.id));
        match self.form {
            Form::Any => {}
            Form::Persons => json.push_str(r#","form":"persons""#),
        }
        if let Some(schema) = &self.schema {
            json.push_str(r#","schema":"#);
            json.push_str(schema);
        }
        if !self.indexes.is_empty() {
            let indexes: Vec<String> = self.indexes.iter().map(IndexDefinition::to_json).collect();
            json.push_str(&format!(r#","indexes":[{}]"#, indexes.join(",")));
        }
        if let Some(expires) = &self.expires {
            json.push_str(&format!(r#","expires":{}"#, text_json(&expires.to_pointer())));
        }
        if let Some(most) = self.records_max {
            json.push_str(&format!(r#","maxRecords":{most}"#));
        }
        json.push('}');
        json
    }
}

impl IndexDefinition {
    fn to_json(&self) -> String {
        let field = |field: &Field| {
            let path = text_json(&field.path.to_pointer());
            match field.kind {
                FieldKind::String => path,
                FieldKind::Number => format!(r#"{{"path":{path},"type":"number"}}"#),
                FieldKind::Boolean => format!(r#"{{"path":{path},"type":"boolean"}}"#),
            }
        };
        let fields: Vec<String> = self.fields.iter().map(field).collect();
        let unique = if self.unique { r#","unique":true"# } else { "" };
        format!(r#"{{"fields":[{}]{unique}}}"#, fields.join(","))
    }
}

fn text_json(text: &str) -> String {
    serde_json::to_string(text).expect("a string has a JSON form")
}

fn id_name(kind: IdKind) -> &'static str {
    match kind {
        IdKind::Uuid => "uuid",
        IdKind::Text => "string",
    }
}

fn wrong<T>(pointer: impl Into<String>, what: impl Into<String>) -> Result<T, DefinitionError> {
    Err(DefinitionError { pointer: pointer.into(), what: what.into() })
}

fn parse(json: &str, is_stored: bool) -> Result<Definition, DefinitionError> {
    if json.len() > DEFINITION_BYTES_MAX {
        return wrong("", format!("the definition has {} bytes: send at most {DEFINITION_BYTES_MAX}", json.len()));
    }
    let mut id = None;
    let mut definition = Definition { form: Form::Any, ..Definition::persons() };
    for (name, value) in members(json, "")? {
        let value = value.get();
        match &*name {
            "id" => id = Some(parse_id(value)?),
            "form" if is_stored => match text(value).as_deref() {
                Some("persons") => definition.form = Form::Persons,
                _ => return wrong("/form", "the form is not \"persons\""),
            },
            "schema" => definition.schema = Some(parse_schema(value)?.into()),
            "indexes" => definition.indexes = parse_indexes(value)?,
            "expires" => definition.expires = Some(parse_expires(value)?),
            "maxRecords" => match value.parse() {
                Ok(most) if most > 0 => definition.records_max = Some(most),
                _ => {
                    return wrong("/maxRecords", "maxRecords is not a whole number above 0: send one, or leave it out");
                }
            },
            _ => return unknown("", &name, "id, schema, indexes, expires and maxRecords"),
        }
    }
    match id {
        Some(id) => Ok(Definition { id, ..definition }),
        None => {
            wrong("/id", "the definition does not say what its ids are: add \"id\": \"string\" or \"id\": \"uuid\"")
        }
    }
}

fn members<'a>(json: &'a str, pointer: &str) -> Result<Vec<(String, &'a RawValue)>, DefinitionError> {
    if !json.trim_ascii_start().starts_with('{') {
        return wrong(pointer, "this is not a JSON object: send one");
    }
    match Members::of(json) {
        Ok(members) => Ok(members.0),
        Err(_) => wrong(pointer, "this is not a JSON object with each member once: mend its JSON"),
    }
}

fn unknown<T>(pointer: &str, name: &str, known: &str) -> Result<T, DefinitionError> {
    let name = name.replace('~', "~0").replace('/', "~1");
    wrong(format!("{pointer}/{name}"), format!("there is no such member: use {known}"))
}

fn text(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

fn array<'a>(json: &'a str, pointer: &str, what: &str) -> Result<Vec<&'a RawValue>, DefinitionError> {
    serde_json::from_str(json).or_else(|_| wrong(pointer, format!("this is not an array: send an array of {what}")))
}

fn parse_id(value: &str) -> Result<IdKind, DefinitionError> {
    match text(value).as_deref() {
        Some("uuid") => Ok(IdKind::Uuid),
        Some("string") => Ok(IdKind::Text),
        _ => wrong("/id", "this kind of ids is unknown: send \"string\" or \"uuid\""),
    }
}

fn parse_schema(value: &str) -> Result<String, DefinitionError> {
    let schema = bare(value);
    if !schema.starts_with('{') && schema != "true" && schema != "false" {
        return wrong("/schema", "the schema is not a JSON Schema: send a JSON object, or leave it out");
    }
    if schema.len() > SCHEMA_BYTES_MAX {
        let what = format!("the schema has {} bytes: send at most {SCHEMA_BYTES_MAX}", schema.len());
        return wrong("/schema", what);
    }
    Ok(schema)
}

fn parse_indexes(value: &str) -> Result<Vec<IndexDefinition>, DefinitionError> {
    let values = array(value, "/indexes", "indexes")?;
    if values.len() > INDEXES_MAX {
        return wrong("/indexes", format!("there are {} indexes: send at most {INDEXES_MAX}", values.len()));
    }
    let mut indexes: Vec<IndexDefinition> = Vec::with_capacity(values.len());
    for (at, value) in values.into_iter().enumerate() {
        let pointer = format!("/indexes/{at}");
        let index = parse_index(value.get(), &pointer)?;
        if let Some(like) = indexes.iter().position(|known| known.fields == index.fields) {
            return wrong(pointer, format!("this index has the fields of /indexes/{like}: remove one of the two"));
        }
        // A query names a path without a type: which of the two it means could not be told.
        let typed = |field: &Field| {
            indexes.iter().position(|known| known.fields.iter().any(|k| k.path == field.path && k.kind != field.kind))
        };
        if let Some((field, like)) = index.fields.iter().enumerate().find_map(|(at, field)| Some((at, typed(field)?))) {
            let what = format!("this path has another type in /indexes/{like}: give it one type in all indexes");
            return wrong(format!("{pointer}/fields/{field}"), what);
        }
        indexes.push(index);
    }
    Ok(indexes)
}

fn parse_index(value: &str, pointer: &str) -> Result<IndexDefinition, DefinitionError> {
    let mut index = IndexDefinition { fields: Vec::new(), unique: false };
    for (name, value) in members(value, pointer)? {
        match &*name {
            "fields" => index.fields = parse_fields(value.get(), &format!("{pointer}/fields"))?,
            "unique" => match value.get() {
                "true" => index.unique = true,
                "false" => index.unique = false,
                _ => return wrong(format!("{pointer}/unique"), "unique is neither true nor false: send one of them"),
            },
            _ => return unknown(pointer, &name, "fields and unique"),
        }
    }
    if index.fields.is_empty() {
        return wrong(format!("{pointer}/fields"), format!("the index has no fields: send 1 to {FIELDS_MAX}"));
    }
    Ok(index)
}

fn parse_fields(value: &str, pointer: &str) -> Result<Vec<Field>, DefinitionError> {
    let values = array(value, pointer, "fields")?;
    if values.len() > FIELDS_MAX {
        return wrong(pointer, format!("the index has {} fields: send 1 to {FIELDS_MAX}", values.len()));
    }
    let mut fields: Vec<Field> = Vec::with_capacity(values.len());
    for (at, value) in values.into_iter().enumerate() {
        let pointer = format!("{pointer}/{at}");
        let field = parse_field(value.get(), &pointer)?;
        if fields.iter().any(|known| known.path == field.path) {
            return wrong(pointer, "the index has this path twice: remove one of the two");
        }
        fields.push(field);
    }
    Ok(fields)
}

fn parse_field(value: &str, pointer: &str) -> Result<Field, DefinitionError> {
    if value.starts_with('"') {
        return Ok(Field { path: parse_path(value, pointer)?, kind: FieldKind::String });
    }
    let (mut path, mut kind) = (None, FieldKind::String);
    for (name, value) in members(value, pointer)? {
        match &*name {
            "path" => path = Some(parse_path(value.get(), &format!("{pointer}/path"))?),
            "type" => {
                kind = match text(value.get()).as_deref() {
                    Some("string") => FieldKind::String,
                    Some("number") => FieldKind::Number,
                    Some("boolean") => FieldKind::Boolean,
                    _ => {
                        let what = "there is no such type: send \"string\", \"number\" or \"boolean\"";
                        return wrong(format!("{pointer}/type"), what);
                    }
                }
            }
            _ => return unknown(pointer, &name, "path and type"),
        }
    }
    match path {
        Some(path) => Ok(Field { path, kind }),
        None => wrong(format!("{pointer}/path"), "the field has no path: send a JSON Pointer such as \"/email\""),
    }
}

/// Not the id, nor a place within it: `expires-in` writes a time there, and no id is one.
fn parse_expires(value: &str) -> Result<Path, DefinitionError> {
    let path = parse_path(value, "/expires")?;
    if path.names().first().is_some_and(|name| **name == *"id") {
        return wrong("/expires", "the id of a record is not its time of expiry: name another member");
    }
    Ok(path)
}

fn parse_path(value: &str, pointer: &str) -> Result<Path, DefinitionError> {
    let path = text(value).filter(|path| path.len() <= PATH_BYTES_MAX).and_then(|path| Path::from_pointer(&path));
    path.map_or_else(
        || {
            let what = format!(
                "this is not the path of a member: send a JSON Pointer such as \"/address/city\", of at most \
                 {PATH_STEPS_MAX} names and {PATH_BYTES_MAX} bytes"
            );
            wrong(pointer, what)
        },
        Ok,
    )
}

/// JSON without the white space between its tokens.
fn bare(json: &str) -> String {
    let (mut is_text, mut is_escaped) = (false, false);
    let is_kept = |character: &char| {
        if is_text {
            (is_text, is_escaped) = (is_escaped || *character != '"', !is_escaped && *character == '\\');
            return true;
        }
        is_text = *character == '"';
        !matches!(character, ' ' | '\t' | '\n' | '\r')
    };
    json.chars().filter(is_kept).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_has_one_form_and_comes_back_from_it() {
        let sent = r#" {"maxRecords": 5, "expires": "/until", "id": "string",
            "schema": {"type": "object", "title": "a \" b\\"},
            "indexes": [{"unique": true, "fields": ["/e~1mail", {"type": "number", "path": "/a/b"}]},
                        {"fields": [{"path": "/x", "type": "string"}, {"path": "/y", "type": "boolean"}], "unique": false}]} "#;
        let definition = Definition::parse(sent).unwrap();
        let one = concat!(
            r#"{"id":"string","schema":{"type":"object","title":"a \" b\\"},"indexes":[{"fields":["/e~1mail","#,
            r#"{"path":"/a/b","type":"number"}],"unique":true},{"fields":["/x",{"path":"/y","type":"boolean"}]}],"#,
            r#""expires":"/until","maxRecords":5}"#
        );
        assert_eq!(definition.to_json(), one);
        assert_eq!(Definition::parse(one), Ok(definition));
    }

    #[test]
    fn only_a_stored_definition_has_a_form() {
        let persons = Definition::persons();
        assert_eq!(persons.to_json(), r#"{"id":"uuid","form":"persons"}"#);
        assert_eq!(Definition::parse_stored(&persons.to_json()).unwrap(), persons);
        assert_eq!(Definition::parse(&persons.to_json()).unwrap_err().pointer, "/form");
        assert_eq!(Definition::parse(r#"{"id":"uuid"}"#).unwrap().with_form(Form::Persons), persons);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let long = format!("/{}", "x".repeat(PATH_BYTES_MAX));
        let schema = format!(r#"{{"id":"uuid","schema":{{"title":"{}"}}}}"#, "x".repeat(SCHEMA_BYTES_MAX));
        let steps = "/x".repeat(PATH_STEPS_MAX + 1);
        let index = |fields: &str| format!(r#"{{"id":"uuid","indexes":[{{"fields":{fields}}}]}}"#);
        let nine: Vec<String> = (0..9).map(|at| format!(r#"{{"fields":["/{at}"]}}"#)).collect();
        for (json, pointer) in [
            ("[]", ""),
            ("{", ""),
            (r#"{"id":"uuid","id":"uuid"}"#, ""),
            ("{}", "/id"),
            (r#"{"id":"number"}"#, "/id"),
            (r#"{"id":"uuid","a/b":1}"#, "/a~1b"),
            (r#"{"id":"uuid","schema":[]}"#, "/schema"),
            (&schema, "/schema"),
            (r#"{"id":"uuid","expires":"at"}"#, "/expires"),
            (r#"{"id":"uuid","expires":""}"#, "/expires"),
            (r#"{"id":"uuid","expires":"/~2"}"#, "/expires"),
            (&format!(r#"{{"id":"uuid","expires":"{long}"}}"#), "/expires"),
            (&format!(r#"{{"id":"uuid","expires":"{steps}"}}"#), "/expires"),
            (r#"{"id":"uuid","expires":"/id"}"#, "/expires"),
            (r#"{"id":"uuid","expires":"/id/at"}"#, "/expires"),
            (r#"{"id":"uuid","maxRecords":0}"#, "/maxRecords"),
            (r#"{"id":"uuid","maxRecords":1.0}"#, "/maxRecords"),
            (r#"{"id":"uuid","maxRecords":-1}"#, "/maxRecords"),
            (r#"{"id":"uuid","indexes":{}}"#, "/indexes"),
            (&format!(r#"{{"id":"uuid","indexes":[{}]}}"#, nine.join(",")), "/indexes"),
            (r#"{"id":"uuid","indexes":[{}]}"#, "/indexes/0/fields"),
            (r#"{"id":"uuid","indexes":[{"fields":["/a"],"unique":1}]}"#, "/indexes/0/unique"),
            (r#"{"id":"uuid","indexes":[{"fields":["/a"],"uniq":true}]}"#, "/indexes/0/uniq"),
            (r#"{"id":"uuid","indexes":[{"fields":["/a"]},{"fields":["/a"],"unique":true}]}"#, "/indexes/1"),
            (
                r#"{"id":"uuid","indexes":[{"fields":["/a","/b"]},{"fields":["/c",{"path":"/a","type":"number"}]}]}"#,
                "/indexes/1/fields/1",
            ),
            (&index("[]"), "/indexes/0/fields"),
            (&index(r#"["/a","/b","/c","/d","/e"]"#), "/indexes/0/fields"),
            (&index(r#"["/a",{"path":"/a","type":"number"}]"#), "/indexes/0/fields/1"),
            (&index("[1]"), "/indexes/0/fields/0"),
            (&index(r#"[{"path":"a"}]"#), "/indexes/0/fields/0/path"),
            (&index(r#"[{"type":"number"}]"#), "/indexes/0/fields/0/path"),
            (&index(r#"[{"path":"/a","type":"date"}]"#), "/indexes/0/fields/0/type"),
            (&index(r#"[{"path":"/a","kind":"date"}]"#), "/indexes/0/fields/0/kind"),
        ] {
            let error = Definition::parse(json).unwrap_err();
            assert_eq!(error.pointer, pointer, "{json}: {error}");
        }
    }
}
