//! The calls that change persons.

use crate::api::body::{JSON, MERGE_PATCH};
use serde_json::{Value, json};
use utoipa::openapi::Response;
use warp::http::StatusCode;

use super::details::{self, Details, body, empty};
use super::headers::{ETAG, LOCATION};
use super::parameters::{ID, IF_MATCH, IF_NONE_MATCH, KEY};
use super::refusals::{
    BAD_REQUEST, BATCH_NOT_DONE, BODY_TIMEOUT, BODY_TOO_LARGE, CONFLICT, KEY_REUSED, NOT_LEADER, OUT_OF_ROOM,
    OUTCOME_UNKNOWN, PRECONDITION_FAILED, Refusal, UNAVAILABLE, UNKNOWN_ID, UNSUPPORTED_MEDIA_TYPE,
};
use super::schemas::{BATCH, BATCH_DONE, PERSON, PERSON_PATCH, reference};

pub(super) fn create() -> Details {
    Details {
        id: "createPerson",
        description: "Without an id, the store makes one.",
        parameters: vec![&KEY],
        body: Some(body(JSON, reference(PERSON), example())),
        successes: vec![(StatusCode::OK, record("The same record is there already.")), (StatusCode::CREATED, new())],
        refusals: refusals(&[&BODIES, &[&CONFLICT]]),
    }
}

pub(super) fn replace() -> Details {
    Details {
        id: "putPerson",
        parameters: vec![&ID, &IF_MATCH, &IF_NONE_MATCH, &KEY],
        body: Some(body(JSON, reference(PERSON), example())),
        successes: vec![(StatusCode::OK, record("The record.")), (StatusCode::CREATED, new())],
        refusals: refusals(&[&BODIES, &[&PRECONDITION_FAILED]]),
        ..Details::default()
    }
}

pub(super) fn patch() -> Details {
    let example = json!({ "lastName": "Koester-Heidloff" });
    Details {
        id: "patchPerson",
        description: "The log contains the patch itself, and each replica merges it when it applies it: concurrent \
                      patches of different fields both take effect.",
        parameters: vec![&ID, &IF_MATCH, &IF_NONE_MATCH, &KEY],
        body: Some(body(MERGE_PATCH, reference(PERSON_PATCH), example)),
        successes: vec![(StatusCode::OK, record("The record."))],
        refusals: refusals(&[&BODIES, &[&UNKNOWN_ID, &PRECONDITION_FAILED]]),
    }
}

pub(super) fn delete() -> Details {
    Details {
        id: "deletePerson",
        parameters: vec![&ID, &IF_MATCH, &KEY],
        successes: vec![(StatusCode::NO_CONTENT, empty("The record is removed.", &[]))],
        refusals: refusals(&[&[&UNKNOWN_ID, &PRECONDITION_FAILED]]),
        ..Details::default()
    }
}

pub(super) fn batch() -> Details {
    let example = json!({ "operations": [
        { "op": "create", "record": example() },
        {
            "op": "patch",
            "id": "93115462-543c-4149-9b75-2b1a84bd326c",
            "patch": { "lastName": "de Leeuw" },
            "ifMatch": "*",
        },
        { "op": "delete", "id": "918b0da0-afda-4cbf-a370-0347a6ede98e" },
    ] });
    Details {
        id: "batchPersons",
        description: "One entry of the log. The operations are done in this order; if one cannot be done, none is.",
        parameters: vec![&KEY],
        body: Some(body(JSON, reference(BATCH), example)),
        successes: vec![(StatusCode::OK, details::json("All operations are done.", reference(BATCH_DONE), &[]))],
        refusals: refusals(&[&BODIES, &[&BATCH_NOT_DONE]]),
    }
}

/// Of every call that has a body.
static BODIES: [&Refusal; 3] = [&BODY_TIMEOUT, &BODY_TOO_LARGE, &UNSUPPORTED_MEDIA_TYPE];

/// Those of every write, and more.
fn refusals(more: &[&[&'static Refusal]]) -> Vec<&'static Refusal> {
    let every = [&BAD_REQUEST, &NOT_LEADER, &KEY_REUSED, &UNAVAILABLE, &OUTCOME_UNKNOWN, &OUT_OF_ROOM];
    every.into_iter().chain(more.concat()).collect()
}

fn record(description: &str) -> Response {
    details::json(description, reference(PERSON), &[&ETAG])
}

fn new() -> Response {
    details::json("The record is new.", reference(PERSON), &[&ETAG, &LOCATION])
}

fn example() -> Value {
    json!({ "firstName": "Johanna", "lastName": "Koester", "id": "e956b5d0-fa0c-40e8-9da9-333c214dcaf7" })
}
