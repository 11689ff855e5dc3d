//! What a client asks for, before anyone looks at the data; and the same once the definition of the collection is known.
//!
//! ```text
//!   path, body, conditions ──▶ Asked ──the definition──▶ Ready: the id, and the record as it is stored, or the patch
//! ```

use super::conditions::Wanted;
use super::person::{Object, Person, PersonPatch};
use super::problem::{Code, Problem};
use super::record::{Sent, ids_are};
use leasehold_documents::{Definition, Form, Id, IdKind, IdRef};
use std::borrow::Cow;
use std::time::Duration;
use uuid::Uuid;

/// What to do with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Create,
    Put,
    Patch,
    Delete,
    Check,
}

impl Op {
    /// As operations name it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Op::Create => "create",
            Op::Put => "put",
            Op::Patch => "patch",
            Op::Delete => "delete",
            Op::Check => "check",
        }
    }
}

/// One operation, as a client asks for it.
pub(super) struct Asked<'a> {
    pub(super) collection: Cow<'a, str>,
    pub(super) op: Op,
    /// As the path or the operation names it, decoded.
    pub(super) id: Option<Cow<'a, str>>,
    /// The record or the patch; empty where there is none.
    pub(super) part: &'a [u8],
    pub(super) body: &'a [u8],
    pub(super) conditions: Wanted,
    /// Among others; none: it is the whole request.
    pub(super) among: Option<Among<'a>>,
    /// The id of a record for which the client chose none. Made once: each try is about the same record.
    pub(super) made: Uuid,
    /// The record's time of expiry, from the moment in which it is proposed.
    pub(super) expires_in: Option<Duration>,
}

/// An operation's place among others.
pub(super) struct Among<'a> {
    pub(super) number: usize,
    pub(super) object: Object<'a>,
}

/// An operation on a collection with a known definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) id: Id,
    /// The record or the patch; empty where there is none.
    pub(super) text: String,
}

impl<'a> Asked<'a> {
    /// The whole request.
    pub(super) fn alone(collection: &'a str, op: Op, id: Option<&'a str>, body: &'a [u8], conditions: Wanted) -> Self {
        Asked {
            collection: collection.into(),
            op,
            id: id.map(Cow::Borrowed),
            part: body,
            body,
            conditions,
            among: None,
            made: Uuid::now_v7(),
            expires_in: None,
        }
    }

    /// Where the record or patch is, as a JSON Pointer into the body.
    pub(super) fn pointer(&self) -> String {
        match (&self.among, self.op) {
            (None, _) => String::new(),
            (Some(among), Op::Patch) => format!("/operations/{}/patch", among.number),
            (Some(among), Op::Create | Op::Put) => format!("/operations/{}/record", among.number),
            (Some(among), Op::Delete | Op::Check) => format!("/operations/{}", among.number),
        }
    }

    /// Checks all that the definition says without the schema.
    pub(super) fn ready(&self, definition: &Definition) -> Result<Ready, Problem> {
        self.ready_as(definition, self.made)
    }

    /// The same with another id where the client chose none.
    pub(super) fn ready_as(&self, definition: &Definition, made: Uuid) -> Result<Ready, Problem> {
        let kind = definition.id;
        let outer = match &self.id {
            Some(text) => Some(kind.parse(text).ok_or_else(|| self.bad_id(kind, text))?.to_owned()),
            None => None,
        };
        let pointer = self.pointer();
        match (self.op, definition.form) {
            (Op::Create | Op::Put, Form::Persons) => {
                let person = Person::parse_part(self.body, self.part, pointer)?;
                let id = self.one_id(outer, person.id.map(Id::Uuid), (kind, made))?;
                let text = person.to_json(uuid_of(&id).unwrap_or(made));
                Ok(Ready { id, text })
            }
            (Op::Patch, Form::Persons) => {
                let patch = PersonPatch::parse_part(self.body, self.part, pointer)?;
                let id = self.one_id(outer, patch.id.map(Id::Uuid), (kind, made))?;
                Ok(Ready { id, text: patch.to_json() })
            }
            (Op::Create | Op::Put, Form::Any) => {
                let sent = Sent::record(self.part, &pointer, kind)?;
                let id = self.one_id(outer, sent.id.clone(), (kind, made))?;
                let text = sent.into_record(id.as_ref())?;
                Ok(Ready { id, text })
            }
            (Op::Patch, Form::Any) => {
                let sent = Sent::patch(self.part, &pointer, kind)?;
                let id = self.one_id(outer, sent.id.clone(), (kind, made))?;
                Ok(Ready { id, text: sent.into_patch() })
            }
            (Op::Delete | Op::Check, Form::Persons | Form::Any) => {
                Ok(Ready { id: self.one_id(outer, None, (kind, made))?, text: String::new() })
            }
        }
    }

    /// The id that both name, or one of them, or a new one.
    fn one_id(&self, outer: Option<Id>, inner: Option<Id>, (kind, made): (IdKind, Uuid)) -> Result<Id, Problem> {
        match (outer, inner) {
            (Some(outer), Some(inner)) if outer != inner => Err(match &self.among {
                Some(among) => {
                    among.object.problem("id", format!("the operation names {outer}, but its record names {inner}"))
                }
                None => {
                    let what = format!("the path names {outer}, the body {inner}");
                    Problem::new(Code::IdMismatch, what).with("pointer", "/id")
                }
            }),
            (Some(id), _) | (None, Some(id)) => Ok(id),
            (None, None) => Ok(match kind {
                IdKind::Uuid => Id::Uuid(made),
                IdKind::Text => Id::Text(made.to_string().into()),
            }),
        }
    }

    fn bad_id(&self, kind: IdKind, text: &str) -> Problem {
        match &self.among {
            Some(among) => among.object.problem("id", format!("`id` must be {}, not {text:?}", ids_are(kind))),
            None => bad_id(kind, text),
        }
    }
}

/// The path ends in something that is no id there.
pub(super) fn bad_id(kind: IdKind, text: &str) -> Problem {
    Problem::new(Code::InvalidId, format!("the path must end in {}, not {text:?}", ids_are(kind)))
}

fn uuid_of(id: &Id) -> Option<Uuid> {
    match id.as_ref() {
        IdRef::Uuid(uuid) => Some(uuid),
        IdRef::Text(_) => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const JOHANNA: &str = "e956b5d0-fa0c-40e8-9da9-333c214dcaf7";

    fn any(id: IdKind) -> Definition {
        Definition { id, form: Form::Any, ..Definition::persons() }
    }

    fn asked<'a>(op: Op, id: Option<&'a str>, body: &'a str) -> Asked<'a> {
        Asked::alone("orders", op, id, body.as_bytes(), Wanted::default())
    }

    #[test]
    fn a_record_has_the_id_of_the_path_or_its_own_or_one_that_is_made() {
        let put = asked(Op::Put, Some("k 1"), r#"{"a":1}"#).ready(&any(IdKind::Text)).unwrap();
        assert_eq!(put, Ready { id: Id::Text("k 1".into()), text: r#"{"a":1,"id":"k 1"}"#.to_owned() });
        let post = asked(Op::Create, None, r#"{"id":"k","a":1}"#).ready(&any(IdKind::Text)).unwrap();
        assert_eq!(post.id, Id::Text("k".into()));
        for kind in [IdKind::Text, IdKind::Uuid] {
            let post = asked(Op::Create, None, "{}");
            let made = post.ready(&any(kind)).unwrap();
            assert_eq!(made.id.to_string(), post.made.to_string());
            assert_eq!(made.id.as_ref().kind(), kind);
            assert_eq!(post.ready(&any(kind)).unwrap(), made, "each try is about the same record");
        }
        let delete = asked(Op::Delete, Some(&JOHANNA.to_uppercase()), "").ready(&any(IdKind::Uuid)).unwrap();
        assert_eq!(delete.id.to_string(), JOHANNA);
    }

    #[test]
    fn ids_that_are_none_there_and_ids_that_differ_are_refused() {
        for (op, id, body, kind, code) in [
            (Op::Put, Some("x"), "{}", IdKind::Uuid, Code::InvalidId),
            (Op::Delete, Some(".."), "", IdKind::Text, Code::InvalidId),
            (Op::Patch, Some("a/b"), "{}", IdKind::Text, Code::InvalidId),
            (Op::Put, Some("a"), r#"{"id":"b"}"#, IdKind::Text, Code::IdMismatch),
            (Op::Patch, Some("a"), r#"{"id":"b"}"#, IdKind::Text, Code::IdMismatch),
            (Op::Patch, Some("a"), r#"{"id":null}"#, IdKind::Text, Code::InvalidRecord),
        ] {
            let refused = asked(op, id, body).ready(&any(kind)).unwrap_err();
            assert_eq!(refused.code(), code, "{op:?} {id:?} {body}");
        }
    }

    #[test]
    fn persons_keep_their_form() {
        let body = format!(r#"{{"lastName":"K","id":"{JOHANNA}", "firstName":"J"}}"#);
        let ready = asked(Op::Create, None, &body).ready(&Definition::persons()).unwrap();
        assert_eq!(ready.text, format!(r#"{{"firstName":"J","lastName":"K","id":"{JOHANNA}"}}"#));
        let more = asked(Op::Create, None, r#"{"firstName":"J","lastName":"K","age":3}"#);
        assert_eq!(more.ready(&Definition::persons()).unwrap_err().to_value()["pointer"], "/age");
    }
}
