//! Definitions, and what they ask of records.

use crate::json::{Json, Kind, Typed, time};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Definition {
    pub(crate) has_uuids: bool,
    pub(crate) is_persons: bool,
    pub(crate) schema: Option<&'static str>,
    pub(crate) indexes: Vec<Index>,
    pub(crate) expires: Option<&'static str>,
    pub(crate) records_max: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) fields: Vec<(&'static str, Kind)>,
    pub(crate) is_unique: bool,
}

/// A value that cannot stand where it does: its path.
pub(crate) type BadValue = String;

impl Index {
    pub(crate) fn key(&self, record: &Json) -> Vec<Typed> {
        self.fields.iter().map(|(path, kind)| kind.of(record.at(path))).collect()
    }

    /// Do two records stand in each other's way?
    pub(crate) fn clash(&self, one: &Json, other: &Json) -> bool {
        let key = self.key(one);
        self.is_unique && !key.contains(&Typed::None) && key == self.key(other)
    }
}

impl Definition {
    /// What every cluster begins with.
    pub(crate) fn persons() -> Definition {
        Definition {
            has_uuids: true,
            is_persons: true,
            schema: None,
            indexes: Vec::new(),
            expires: None,
            records_max: None,
        }
    }

    /// In its one form.
    pub(crate) fn to_json(&self) -> String {
        let mut members = vec![format!(r#""id":"{}""#, if self.has_uuids { "uuid" } else { "string" })];
        if self.is_persons {
            members.push(r#""form":"persons""#.to_owned());
        }
        members.extend(self.schema.map(|schema| format!(r#""schema":{schema}"#)));
        if !self.indexes.is_empty() {
            let indexes: Vec<String> = self.indexes.iter().map(Index::to_json).collect();
            members.push(format!(r#""indexes":[{}]"#, indexes.join(",")));
        }
        members.extend(self.expires.map(|path| format!(r#""expires":"{path}""#)));
        members.extend(self.records_max.map(|most| format!(r#""maxRecords":{most}"#)));
        format!("{{{}}}", members.join(","))
    }

    /// When the record goes.
    pub(crate) fn time(&self, record: &Json) -> Option<i64> {
        time(record.at(self.expires?)).ok().flatten()
    }

    /// What it needs of a record must be readable.
    pub(crate) fn read(&self, record: &Json) -> Result<(), BadValue> {
        for (path, _) in self.indexes.iter().flat_map(|index| &index.fields) {
            // Also where the index is of another type.
            if matches!(Kind::Text.of(record.at(path)), Typed::Text(text) if text.len() > 1024) {
                return Err((*path).to_owned());
            }
        }
        match self.expires {
            Some(path) if time(record.at(path)).is_err() => Err(path.to_owned()),
            _ => Ok(()),
        }
    }

    /// Must the records be looked at before `new` is in force?
    pub(crate) fn must_examine(&self, new: &Definition) -> bool {
        new.indexes.iter().any(|index| !self.indexes.contains(index))
            || new.schema.is_some() && new.schema != self.schema
            || new.expires.is_some() && new.expires != self.expires
    }
}

impl Index {
    fn to_json(&self) -> String {
        let field = |(path, kind): &(&str, Kind)| match kind {
            Kind::Text => format!("{path:?}"),
            Kind::Number => format!(r#"{{"path":"{path}","type":"number"}}"#),
            Kind::Boolean => format!(r#"{{"path":"{path}","type":"boolean"}}"#),
        };
        let fields: Vec<String> = self.fields.iter().map(field).collect();
        let unique = if self.is_unique { r#","unique":true"# } else { "" };
        format!(r#"{{"fields":[{}]{unique}}}"#, fields.join(","))
    }
}
