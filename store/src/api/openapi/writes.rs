//! The calls that change records.

use crate::api::body::{JSON, MERGE_PATCH};
use serde_json::{Value, json};
use utoipa::openapi::Response;
use warp::http::StatusCode;

use super::about::About;
use super::details::{self, Details, body, empty};
use super::headers::{ETAG, LOCATION};
use super::parameters::{EXPIRES_IN, IF_MATCH, IF_NONE_MATCH, KEY, Shared};
use super::refusals::{
    BAD_REQUEST, BATCH_NOT_DONE, BODY_TIMEOUT, BODY_TOO_LARGE, CONFLICT, KEY_REUSED, NOT_LEADER, OUT_OF_ROOM,
    OUTCOME_UNKNOWN, PRECONDITION_FAILED, Refusal, UNAVAILABLE, UNIQUE_CONFLICT, UNKNOWN_COLLECTION, UNKNOWN_ID,
    UNSUPPORTED_MEDIA_TYPE,
};
use super::schemas::{BATCH_DONE, reference};

pub(super) fn create(about: &About<'_>) -> Details {
    Details {
        id: about.operation("create", true),
        description: "Without an id, the store makes one.".to_owned(),
        parameters: parameters(about, false, &[&KEY], true),
        body: Some(body(JSON, about.sent(), example(about, person()))),
        successes: vec![
            (StatusCode::OK, record(about, "The same record is there already.")),
            (StatusCode::CREATED, new(about)),
        ],
        refusals: refusals(&[&BODIES, &[&UNKNOWN_COLLECTION, &CONFLICT]]),
        ..Details::default()
    }
}

pub(super) fn replace(about: &About<'_>) -> Details {
    Details {
        id: about.operation("put", true),
        parameters: parameters(about, true, &[&IF_MATCH, &IF_NONE_MATCH, &KEY], true),
        body: Some(body(JSON, about.replaced(), example(about, person()))),
        successes: vec![(StatusCode::OK, record(about, "The record.")), (StatusCode::CREATED, new(about))],
        refusals: refusals(&[&BODIES, &[&UNKNOWN_COLLECTION, &UNIQUE_CONFLICT, &PRECONDITION_FAILED]]),
        ..Details::default()
    }
}

pub(super) fn patch(about: &About<'_>) -> Details {
    Details {
        id: about.operation("patch", true),
        description: match about {
            About::Persons(_) => {
                "The log contains the patch itself, and each replica merges it when it applies it: concurrent patches of \
                 different fields both take effect."
            }
            About::One(..) | About::Any => {
                "A JSON Merge Patch: members replace those of the record, and null removes one. What it makes must fit \
                 the schema. Concurrent patches of different members both take effect."
            }
        }
        .to_owned(),
        parameters: parameters(about, true, &[&IF_MATCH, &IF_NONE_MATCH, &KEY], true),
        body: Some(body(MERGE_PATCH, about.patch(), example(about, json!({ "lastName": "Koester-Heidloff" })))),
        successes: vec![(StatusCode::OK, record(about, "The record."))],
        refusals: refusals(&[&BODIES, &[&UNKNOWN_ID, &UNIQUE_CONFLICT, &PRECONDITION_FAILED]]),
        ..Details::default()
    }
}

pub(super) fn delete(about: &About<'_>) -> Details {
    Details {
        id: about.operation("delete", true),
        parameters: parameters(about, true, &[&IF_MATCH, &KEY], false),
        successes: vec![(StatusCode::NO_CONTENT, empty("The record is removed.", &[]))],
        refusals: refusals(&[&[&UNKNOWN_ID, &PRECONDITION_FAILED]]),
        ..Details::default()
    }
}

pub(super) fn batch(about: &About<'_>) -> Details {
    let operations = json!({ "operations": [
        { "op": "create", "record": person() },
        {
            "op": "patch",
            "id": "93115462-543c-4149-9b75-2b1a84bd326c",
            "patch": { "lastName": "de Leeuw" },
            "ifMatch": "*",
        },
        { "op": "delete", "id": "918b0da0-afda-4cbf-a370-0347a6ede98e" },
    ] });
    Details {
        id: about.operation("batch", false),
        description: "One entry of the log. The operations are done in this order; if one cannot be done, none is."
            .to_owned(),
        parameters: parameters(about, false, &[&KEY], false),
        body: Some(body(JSON, about.batch(), example(about, operations))),
        successes: vec![(StatusCode::OK, details::json("All operations are done.", reference(BATCH_DONE), &[]))],
        refusals: refusals(&[&BODIES, &[&UNKNOWN_COLLECTION, &BATCH_NOT_DONE]]),
        ..Details::default()
    }
}

/// Of every call that has a body.
pub(super) static BODIES: [&Refusal; 3] = [&BODY_TIMEOUT, &BODY_TOO_LARGE, &UNSUPPORTED_MEDIA_TYPE];

/// Those of every write, and more.
pub(super) fn refusals(more: &[&[&'static Refusal]]) -> Vec<&'static Refusal> {
    let every = [&BAD_REQUEST, &NOT_LEADER, &KEY_REUSED, &UNAVAILABLE, &OUTCOME_UNKNOWN, &OUT_OF_ROOM];
    every.into_iter().chain(more.concat()).collect()
}

/// Those of the path, these, and the time of expiry where the call takes one and the records have one.
fn parameters(about: &About<'_>, and_id: bool, more: &[&'static Shared], and_expiry: bool) -> Vec<&'static Shared> {
    let expiry = (and_expiry && about.expires()).then_some(&EXPIRES_IN);
    about.in_path(and_id).into_iter().chain(more.iter().copied()).chain(expiry).collect()
}

fn record(about: &About<'_>, description: &str) -> Response {
    details::json(description, about.record(), &[&ETAG])
}

fn new(about: &About<'_>) -> Response {
    details::json("The record is new.", about.record(), &[&ETAG, &LOCATION])
}

/// Only of persons it is known what one looks like.
fn example(about: &About<'_>, of_persons: Value) -> Option<Value> {
    matches!(about, About::Persons(_)).then_some(of_persons)
}

fn person() -> Value {
    json!({ "firstName": "Johanna", "lastName": "Koester", "id": "e956b5d0-fa0c-40e8-9da9-333c214dcaf7" })
}
