//! `POST /persons:batch`: many operations in one entry of the log, all of them or none.
//!
//! ```text
//!   {"operations": [{"op": "create", "record": {…}},
//!                   {"op": "put", "id": "…", "record": {…}, "ifMatch": "\"<tag>\""},
//!                   {"op": "patch", "id": "…", "patch": {…}},
//!                   {"op": "delete", "id": "…", "ifMatch": "*"}]}
//!   ──▶ 200 {"sequence": n, "results": [{"status": 201, "id": "…", "etag": "\"<tag>\""}, …]}
//!   ──▶ 409 problem: which operation could not be done, and why
//! ```
//!
//! They are done in this order, so one may build on an earlier one. Each may have a condition, which is decided at its
//! turn.

use super::body::{BoxError, Sent};
use super::conditions::{self, etag};
use super::context::{ApiResult, Context, SEQUENCE};
use super::person::{COLLECTION, Object, Person, PersonPatch};
use super::problem::{Code, Problem};
use super::refusals::declined;
use super::writes::{condition, write};
use super::{body, key, person, reply};
use bytes::Bytes;
use hyper::body::Body;
use leasehold_documents::{Action, BATCH_OPERATIONS_MAX, Command, Id, On, Operated, Operation, Outcome, Work};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;
use warp::http::{HeaderMap, HeaderValue};

/// An operation, checked. It keeps its own JSON.
#[derive(Debug)]
struct Wanted {
    op: Op,
    /// As sent; none for a create that leaves the choice to us.
    id: Option<Uuid>,
    conditions: conditions::Wanted,
}

#[derive(Debug)]
enum Op {
    Create(Person),
    Put(Person),
    Patch(String),
    Delete,
}

/// `POST /persons:batch`
pub(super) async fn batch<B>(context: &Context, headers: &HeaderMap, sent: &mut Sent<B>) -> ApiResult
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    if !conditions::of_write(headers, true)?.is_none() {
        return Err(Problem::new(
            Code::InvalidCondition,
            "a batch carries its conditions in its operations, not in headers",
        ));
    }
    let name = key::of(headers)?;
    let body = body::receive(context, headers, sent, body::JSON).await?;
    let wanted = parse(&body, context.config.match_weakened)?;
    let ids: Vec<Uuid> = wanted.iter().map(|one| one.id.unwrap_or_else(Uuid::now_v7)).collect();
    let records: Vec<String> = wanted.iter().zip(&ids).map(|(one, id)| one.record(*id)).collect();
    let operations =
        wanted.iter().zip(&ids).zip(&records).map(|((one, id), record)| {
            Operation::new(*id, one.action(record), condition(context, &one.conditions, *id))
        });
    let path = format!("/{COLLECTION}:batch");
    // The key does not cover ids that are made here: the same request again makes other ids.
    let operation = |one: &Wanted| one.json(one.id.unwrap_or_default());
    let request = || format!("POST {path}\n{}", wanted.iter().map(operation).collect::<String>());
    let work = Work::Batch(On::name(COLLECTION), operations.collect());
    let command = Command { time_ms: 0, key: key::for_log(&name, request), work };
    let answer = write(context, &path, &command).await?;
    let mut response = match (answer.outcome, answer.operations.last()) {
        (Outcome::BatchDone, _) => {
            let results: Vec<Value> = answer.operations.iter().map(result).collect();
            reply::json(&json!({ "sequence": answer.seq.0, "results": results }))
        }
        (Outcome::BatchNotDone, Some(last)) => not_done(answer.operations.len() - 1, last).into_response(),
        (other, _) => declined(&other, &Id::NONE).into_response(),
    };
    response.headers_mut().insert(SEQUENCE, HeaderValue::from(answer.seq.0));
    Ok(response)
}

fn result(one: &Operated) -> Value {
    let status = match one.outcome {
        Outcome::Created => 201,
        Outcome::Deleted => 204,
        _ => 200,
    };
    json!({ "status": status, "id": one.id, "etag": one.tag.map(etag) })
}

fn not_done(at: usize, last: &Operated) -> Problem {
    let reason = declined(&last.outcome, &last.id);
    Problem::new(
        Code::BatchNotDone,
        format!("operation {at} (from 0): {}; nothing of the batch was done", reason.detail()),
    )
    .with("operation", at)
    .with("pointer", format!("/operations/{at}"))
    .with("reason", reason.to_value())
}

impl Wanted {
    /// The record, or the patch, that goes into the log.
    fn record(&self, id: Uuid) -> String {
        match &self.op {
            Op::Create(person) | Op::Put(person) => person.to_json(id),
            Op::Patch(patch) => patch.clone(),
            Op::Delete => String::new(),
        }
    }

    fn action<'a>(&self, record: &'a str) -> Action<'a> {
        match &self.op {
            Op::Create(_) => Action::Create { record },
            Op::Put(_) => Action::Put { record },
            Op::Patch(_) => Action::Patch { patch: record },
            Op::Delete => Action::Delete,
        }
    }

    /// One form for the key: a difference here means another request.
    fn json(&self, id: Uuid) -> String {
        let record = self.record(id);
        let word = match &self.op {
            Op::Create(_) => "create",
            Op::Put(_) => "put",
            Op::Patch(_) => "patch",
            Op::Delete => "delete",
        };
        format!("{word} {id} {} {record}\n", self.conditions.word())
    }
}

fn parse(body: &[u8], match_weakened: bool) -> Result<Vec<Wanted>, Problem> {
    person::check_syntax(body)?;
    let whole = Object::of(body, body, Code::InvalidBatch, String::new())?;
    whole.only(&["operations"])?;
    let wrong = |what: String| whole.problem("operations", what);
    let list = whole.fields.get("operations").ok_or_else(|| wrong("`operations` is missing".to_owned()))?;
    let list: Vec<&RawValue> =
        serde_json::from_str(list.get()).map_err(|_| wrong("`operations` must be an array".to_owned()))?;
    if list.is_empty() || list.len() > BATCH_OPERATIONS_MAX {
        return Err(wrong(format!("a batch has 1 to {BATCH_OPERATIONS_MAX} operations, not {}", list.len())));
    }
    list.iter().enumerate().map(|(at, raw)| operation(body, at, raw, match_weakened)).collect()
}

fn operation(body: &[u8], at: usize, raw: &RawValue, match_weakened: bool) -> Result<Wanted, Problem> {
    let pointer = format!("/operations/{at}");
    let object = Object::of(body, raw.get().as_bytes(), Code::InvalidBatch, pointer.clone())?;
    let word = object.text("op")?.ok_or_else(|| object.problem("op", "`op` is missing".to_owned()))?;
    let part = |name: &str| {
        let value = object.fields.get(name);
        value.ok_or_else(|| object.problem(name, format!("`{name}` is missing"))).map(|value| value.get().as_bytes())
    };
    let id = match object.id("id")? {
        None if word != "create" => return Err(object.problem("id", "`id` is missing".to_owned())),
        id => id,
    };
    let (op, inner) = match word.as_str() {
        "create" => {
            object.only(&["op", "record"])?;
            let person = Person::parse_part(body, part("record")?, format!("{pointer}/record"))?;
            let id = person.id;
            (Op::Create(person), id)
        }
        "put" => {
            object.only(&["op", "id", "record", "ifMatch", "ifNoneMatch"])?;
            let person = Person::parse_part(body, part("record")?, format!("{pointer}/record"))?;
            let id = person.id;
            (Op::Put(person), id)
        }
        "patch" => {
            object.only(&["op", "id", "patch", "ifMatch", "ifNoneMatch"])?;
            let patch = PersonPatch::parse_part(body, part("patch")?, format!("{pointer}/patch"))?;
            (Op::Patch(patch.to_json()), patch.id)
        }
        "delete" => {
            object.only(&["op", "id", "ifMatch", "ifNoneMatch"])?;
            (Op::Delete, None)
        }
        _ => return Err(object.problem("op", format!("`op` must be create, put, patch or delete, not {word:?}"))),
    };
    if let (Some(outer), Some(inner)) = (id, inner)
        && outer != inner
    {
        return Err(object.problem("id", format!("the operation names {outer}, but its record names {inner}")));
    }
    Ok(Wanted { op, id: id.or(inner), conditions: conditions(&object, match_weakened)? })
}

fn conditions(object: &Object<'_>, match_weakened: bool) -> Result<conditions::Wanted, Problem> {
    let mut wanted = conditions::Wanted::default();
    for (name, is_match) in [("ifMatch", true), ("ifNoneMatch", false)] {
        if let Some(value) = object.text(name)? {
            wanted
                .add(is_match, value.as_bytes(), match_weakened)
                .map_err(|what| object.problem(name, format!("`{name}`: {what}")))?;
        }
    }
    Ok(wanted)
}
