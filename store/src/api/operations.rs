//! Many operations in one request: how they are written, and how they are answered.
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
//! turn. In a transaction each names its `collection`, too, and may be a `check`: a condition without a change.

use super::asked::{Among, Asked, Op};
use super::attempts::{Writing, definition};
use super::conditions::{Wanted, etag};
use super::context::{ApiResult, Context, SEQUENCE};
use super::person::Object;
use super::plan::Shape;
use super::problem::{Code, Problem};
use super::refusals::declined;
use super::{conditions, reply};
use leasehold_documents::{BATCH_OPERATIONS_MAX, Definition, Id, Operated, Outcome, is_name};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::borrow::Cow;
use uuid::Uuid;
use warp::http::HeaderMap;

/// Conditions in headers would be about no operation.
pub(super) fn refuse_conditions(headers: &HeaderMap, what: &str) -> Result<(), Problem> {
    if conditions::of_write(headers, true)?.is_none() {
        return Ok(());
    }
    let what = format!("{what} carries its conditions in its operations, not in headers");
    Err(Problem::new(Code::InvalidCondition, what))
}

/// Reads them. Without a collection: each names its own.
pub(super) fn parse<'a>(
    body: &'a [u8],
    collection: Option<&'a str>,
    match_weakened: bool,
) -> Result<Vec<Asked<'a>>, Problem> {
    let whole = Object::of(body, body, Code::InvalidBatch, String::new())?;
    whole.only(&["operations"])?;
    let wrong = |what: String| whole.problem("operations", what);
    let list = whole.fields.get("operations").ok_or_else(|| wrong("`operations` is missing".to_owned()))?;
    let list: Vec<&RawValue> =
        serde_json::from_str(list.get()).map_err(|_| wrong("`operations` must be an array".to_owned()))?;
    if list.is_empty() || list.len() > BATCH_OPERATIONS_MAX {
        let name = if collection.is_some() { "batch" } else { "transaction" };
        return Err(wrong(format!("a {name} has 1 to {BATCH_OPERATIONS_MAX} operations, not {}", list.len())));
    }
    list.into_iter().enumerate().map(|(at, raw)| operation(body, at, raw, collection, match_weakened)).collect()
}

fn operation<'a>(
    body: &'a [u8],
    number: usize,
    raw: &'a RawValue,
    collection: Option<&'a str>,
    match_weakened: bool,
) -> Result<Asked<'a>, Problem> {
    let pointer = format!("/operations/{number}");
    let object = Object::of(body, raw.get().as_bytes(), Code::InvalidBatch, pointer)?;
    let word = object.text("op")?.ok_or_else(|| object.problem("op", "`op` is missing".to_owned()))?;
    let is_named = collection.is_none();
    let (op, fields): (Op, &[&str]) = match &*word {
        "create" if is_named => (Op::Create, &["op", "collection", "id", "record"]),
        "create" => (Op::Create, &["op", "record"]),
        "put" => (Op::Put, &["op", "id", "record", "ifMatch", "ifNoneMatch", "collection"]),
        "patch" => (Op::Patch, &["op", "id", "patch", "ifMatch", "ifNoneMatch", "collection"]),
        "delete" => (Op::Delete, &["op", "id", "ifMatch", "ifNoneMatch", "collection"]),
        "check" if is_named => (Op::Check, &["op", "id", "ifMatch", "ifNoneMatch", "collection"]),
        _ => {
            let known = if is_named { "create, put, patch, delete or check" } else { "create, put, patch or delete" };
            return Err(object.problem("op", format!("`op` must be {known}, not {word:?}")));
        }
    };
    let fields = if is_named { fields } else { fields.strip_suffix(&["collection"]).unwrap_or(fields) };
    let id = object.text("id")?;
    // A batch's create has its id in its record alone, and a put's record may name what the operation does not.
    if id.is_none() && op != Op::Create {
        return Err(object.problem("id", "`id` is missing".to_owned()));
    }
    object.only(fields)?;
    let part = |name: &str| {
        let value = object.fields.get(name);
        value.ok_or_else(|| object.problem(name, format!("`{name}` is missing"))).map(|value| value.get().as_bytes())
    };
    let part = match op {
        Op::Create | Op::Put => part("record")?,
        Op::Patch => part("patch")?,
        Op::Delete | Op::Check => b"",
    };
    let collection = match collection {
        Some(collection) => Cow::Borrowed(collection),
        None => {
            let name = object.text("collection")?;
            let missing = || object.problem("collection", "`collection` is missing".to_owned());
            let name = name.ok_or_else(missing)?;
            if !is_name(&name) {
                return Err(object.problem("collection", format!("{name:?} is not the name of a collection")));
            }
            name
        }
    };
    let conditions = conditions_of(&object, match_weakened)?;
    if op == Op::Check && conditions.is_none() {
        return Err(object.problem("op", "`check` needs `ifMatch` or `ifNoneMatch`".to_owned()));
    }
    let (id, among, made) = (id, Some(Among { number, object }), Uuid::now_v7());
    Ok(Asked { collection, op, id, part, body, conditions, among, made, expires_in: None })
}

fn conditions_of(object: &Object<'_>, match_weakened: bool) -> Result<Wanted, Problem> {
    let mut wanted = Wanted::default();
    for (name, is_match) in [("ifMatch", true), ("ifNoneMatch", false)] {
        if let Some(value) = object.text(name)? {
            wanted
                .add(is_match, value.as_bytes(), match_weakened)
                .map_err(|what| object.problem(name, format!("`{name}`: {what}")))?;
        }
    }
    Ok(wanted)
}

/// Through the log, and the answer.
pub(super) async fn done(context: &Context, writing: &Writing<'_>) -> ApiResult {
    let answer = writing.done(context).await?;
    let collection_of = |at: usize| writing.all.get(at).map_or("", |asked| &*asked.collection);
    let defined = |collection: &str| definition(&context.handle.documents(), collection);
    let mut response = match (answer.outcome, answer.operations.last()) {
        (Outcome::BatchDone, _) => {
            let results: Vec<Value> = answer.operations.iter().map(result).collect();
            reply::json(&json!({ "sequence": answer.seq.0, "results": results }))
        }
        (Outcome::BatchNotDone, Some(last)) => {
            let at = answer.operations.len() - 1;
            let collection = collection_of(at);
            not_done(at, last, (collection, defined(collection).as_deref()), writing.shape).into_response()
        }
        (other, _) => {
            let collection = collection_of(0);
            declined(&other, &Id::NONE, collection, defined(collection).as_deref()).into_response()
        }
    };
    response.headers_mut().insert(SEQUENCE, reply::number(answer.seq.0));
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

fn not_done(at: usize, last: &Operated, on: (&str, Option<&Definition>), shape: Shape) -> Problem {
    let reason = declined(&last.outcome, &last.id, on.0, on.1);
    let whole = if shape == Shape::Transaction { "transaction" } else { "batch" };
    Problem::new(
        Code::BatchNotDone,
        format!("operation {at} (from 0): {}; nothing of the {whole} was done", reason.detail()),
    )
    .with("operation", at)
    .with("pointer", format!("/operations/{at}"))
    .with("reason", reason.to_value())
}
