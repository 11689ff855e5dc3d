//! The calls that read persons.

use warp::http::StatusCode;

use super::details::{Details, empty, json, of_media};
use super::headers::{ETAG, LINK, STALENESS};
use super::parameters::{
    AFTER, CONSISTENCY, CURSOR, FIRST_NAME, ID, ID_EQUALS, IF_MATCH_READ, IF_NONE_MATCH_READ, LAST_EVENT_ID, LAST_NAME,
    LIMIT, MAX_STALENESS, TIMEOUT, WATCH_AFTER, WATCH_CLUSTER, WATCH_ID_PREFIX,
};
use super::refusals::{AHEAD, BAD_REQUEST, HISTORY_GONE, PRECONDITION_FAILED, UNAVAILABLE, UNKNOWN_ID};
use super::schemas::{PERSON, many, reference, string};

pub(super) fn list() -> Details {
    Details {
        id: "listPersons",
        description: "Without `limit` all of them, in one array. With it a page, and a `Link` to the next one while there \
                      is more.",
        parameters: vec![
            &FIRST_NAME,
            &LAST_NAME,
            &ID_EQUALS,
            &LIMIT,
            &CURSOR,
            &CONSISTENCY,
            &AFTER,
            &MAX_STALENESS,
            &TIMEOUT,
        ],
        successes: vec![(StatusCode::OK, json("The persons.", many(PERSON), &[&STALENESS, &LINK]))],
        refusals: vec![&BAD_REQUEST, &AHEAD, &UNAVAILABLE],
        ..Details::default()
    }
}

pub(super) fn read() -> Details {
    let unchanged = "The client has this record: `If-None-Match`.";
    Details {
        id: "readPerson",
        parameters: vec![&ID, &IF_MATCH_READ, &IF_NONE_MATCH_READ, &CONSISTENCY, &AFTER, &MAX_STALENESS, &TIMEOUT],
        successes: vec![
            (StatusCode::OK, json("The record.", reference(PERSON), &[&STALENESS, &ETAG])),
            (StatusCode::NOT_MODIFIED, empty(unchanged, &[&STALENESS, &ETAG])),
        ],
        refusals: vec![&BAD_REQUEST, &UNKNOWN_ID, &AHEAD, &PRECONDITION_FAILED, &UNAVAILABLE],
        ..Details::default()
    }
}

pub(super) fn watch() -> Details {
    Details {
        id: "watchPersons",
        description: "Each event is one commit; its `id` is the sequence. Resume after it, on any replica, with \
                      `Last-Event-ID` or `after`: no commit is skipped, none is repeated. Without either, the watch \
                      starts with the next commit. The last event is `end` and says why.",
        parameters: vec![&WATCH_AFTER, &WATCH_CLUSTER, &WATCH_ID_PREFIX, &LAST_EVENT_ID],
        successes: vec![(StatusCode::OK, of_media("text/event-stream", "The events.", string(), &[]))],
        refusals: vec![&BAD_REQUEST, &AHEAD, &HISTORY_GONE, &UNAVAILABLE],
        ..Details::default()
    }
}
