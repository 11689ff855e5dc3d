//! The calls that are about collections, or about several of them.

use crate::api::body::JSON;
use serde_json::json;
use utoipa::openapi::Response;
use warp::http::StatusCode;

use super::details::{Details, body, empty, events, json};
use super::headers::{ETAG, LOCATION, PARTIAL, STALENESS};
use super::parameters::{
    COLLECTION, COLLECTIONS, EXPIRE_NOW, IF_MATCH_DEFINITION, IF_MATCH_READ, IF_NONE_MATCH_DEFINITION,
    IF_NONE_MATCH_READ, KEY, LAST_EVENT_ID, WATCH_AFTER, WATCH_CLUSTER, WITH_RECORDS,
};
use super::reads::FRESHNESS;
use super::refusals::{
    AHEAD, BAD_REQUEST, BATCH_NOT_DONE, HISTORY_GONE, NOT_DEFINED, NOT_EMPTY, NOT_LEADER, NOTHING_PENDING, OUT_OF_ROOM,
    OUTCOME_UNKNOWN, PRECONDITION_FAILED, Refusal, UNAVAILABLE, UNKNOWN_COLLECTION,
};
use super::schemas::{self, BATCH_DONE, EVENT, EXPIRY, SNAPSHOT, TRANSACTION, many, reference};
use super::writes::{self, BODIES};

pub(super) fn list() -> Details {
    let all = json("The collections, by name.", many(reference(schemas::COLLECTION)), &[&STALENESS]);
    Details {
        id: "listCollections".to_owned(),
        parameters: FRESHNESS.to_vec(),
        successes: vec![(StatusCode::OK, all)],
        refusals: vec![&BAD_REQUEST, &AHEAD, &UNAVAILABLE],
        ..Details::default()
    }
}

pub(super) fn read() -> Details {
    let mut parameters = vec![&COLLECTION, &IF_MATCH_READ, &IF_NONE_MATCH_READ];
    parameters.extend(FRESHNESS);
    let unchanged = empty("The client has this revision: `If-None-Match`.", &[&STALENESS, &ETAG]);
    let found = json("The collection.", reference(schemas::COLLECTION), &[&STALENESS, &ETAG]);
    Details {
        id: "readCollection".to_owned(),
        parameters,
        successes: vec![(StatusCode::OK, found), (StatusCode::NOT_MODIFIED, unchanged)],
        refusals: vec![&BAD_REQUEST, &UNKNOWN_COLLECTION, &AHEAD, &PRECONDITION_FAILED, &UNAVAILABLE],
        ..Details::default()
    }
}

pub(super) fn define() -> Details {
    let example = json!({
        "id": "string",
        "schema": { "type": "object", "required": ["tenant"], "properties": { "tenant": { "type": "string" } } },
        "indexes": [{ "fields": ["/tenant", { "path": "/priority", "type": "number" }] }],
    });
    Details {
        id: "defineCollection".to_owned(),
        description:
            "A new schema, index or time of expiry is checked against the records that are there; new ones must fit \
                      both definitions meanwhile. 202 if that takes longer than a write may: `GET` shows how far it is."
                .to_owned(),
        parameters: vec![&COLLECTION, &EXPIRE_NOW, &IF_MATCH_DEFINITION, &IF_NONE_MATCH_DEFINITION],
        body: Some(body(JSON, reference(schemas::DEFINITION), Some(example))),
        successes: vec![
            (StatusCode::OK, shown("The definition is in force, or was before.", &[&ETAG])),
            (StatusCode::CREATED, shown("The collection is new.", &[&ETAG, &LOCATION])),
            (StatusCode::ACCEPTED, shown("The change is pending: records are being checked.", &[&ETAG])),
        ],
        refusals: of_write(&[&BODIES, &[&NOT_DEFINED, &PRECONDITION_FAILED]]),
        ..Details::default()
    }
}

pub(super) fn drop() -> Details {
    Details {
        id: "dropCollection".to_owned(),
        description: "What is defined under its name later is another collection.".to_owned(),
        parameters: vec![&COLLECTION, &WITH_RECORDS, &IF_MATCH_DEFINITION],
        successes: vec![(StatusCode::NO_CONTENT, empty("The collection is gone.", &[]))],
        refusals: of_write(&[&[&UNKNOWN_COLLECTION, &NOT_EMPTY, &PRECONDITION_FAILED]]),
        ..Details::default()
    }
}

pub(super) fn give_up() -> Details {
    Details {
        id: "giveUpChange".to_owned(),
        parameters: vec![&COLLECTION],
        successes: vec![(StatusCode::NO_CONTENT, empty("The definition is as it was before the change.", &[]))],
        refusals: of_write(&[&[&NOTHING_PENDING]]),
        ..Details::default()
    }
}

pub(super) fn transaction() -> Details {
    let example = json!({ "operations": [
        { "op": "create", "collection": "orders", "id": "a-3", "record": { "tenant": "acme" } },
        { "op": "check", "collection": "orders", "id": "a-1", "ifMatch": "*" },
    ] });
    Details {
        id: "transaction".to_owned(),
        description:
            "One entry of the log. The operations are done in order, and each sees those before; if one cannot be \
                      done, none is. `check` is a condition without a change."
                .to_owned(),
        parameters: vec![&KEY],
        body: Some(body(JSON, reference(TRANSACTION), Some(example))),
        successes: vec![(StatusCode::OK, json("All operations are done.", reference(BATCH_DONE), &[]))],
        refusals: writes::refusals(&[&BODIES, &[&UNKNOWN_COLLECTION, &BATCH_NOT_DONE]]),
        ..Details::default()
    }
}

pub(super) fn watch() -> Details {
    Details {
        id: "watchAll".to_owned(),
        description: "For programs that keep the data elsewhere: with creation numbers, times, definitions, and the hash of \
                      all data after each entry. `bookmark` comes first and every ten seconds, and says how far it is; the \
                      last event is `end` and says why. Of several events of one entry only the last has an `id`."
            .to_owned(),
        parameters: vec![&WATCH_AFTER, &WATCH_CLUSTER, &COLLECTIONS, &LAST_EVENT_ID],
        successes: vec![(StatusCode::OK, events(reference(EVENT), &[&PARTIAL]))],
        refusals: vec![&BAD_REQUEST, &AHEAD, &HISTORY_GONE, &UNAVAILABLE],
        ..Details::default()
    }
}

pub(super) fn snapshot() -> Details {
    Details {
        id: "readSnapshot".to_owned(),
        description:
            "Of any replica, while writes go on. `Leasehold-Sequence` says as of which entry, and a watch after it \
                      continues. Only an answer with `sum`, its last member, is whole."
                .to_owned(),
        parameters: FRESHNESS.to_vec(),
        successes: vec![(StatusCode::OK, json("All data.", reference(SNAPSHOT), &[&STALENESS]))],
        refusals: vec![&BAD_REQUEST, &AHEAD, &UNAVAILABLE],
        ..Details::default()
    }
}

pub(super) fn expiry() -> Details {
    Details {
        id: "pauseExpiry".to_owned(),
        description: "While it is paused no record goes because its time is over.".to_owned(),
        body: Some(body(JSON, reference(EXPIRY), Some(json!({ "paused": true })))),
        successes: vec![(StatusCode::OK, json("It is so.", reference(EXPIRY), &[]))],
        refusals: of_write(&[&BODIES]),
        ..Details::default()
    }
}

fn shown(description: &str, headers: &[&super::headers::Shared]) -> Response {
    json(description, reference(schemas::COLLECTION), headers)
}

/// As of writes of records; they have no keys.
fn of_write(more: &[&[&'static Refusal]]) -> Vec<&'static Refusal> {
    let every = [&BAD_REQUEST, &NOT_LEADER, &UNAVAILABLE, &OUTCOME_UNKNOWN, &OUT_OF_ROOM];
    every.into_iter().chain(more.concat()).collect()
}
