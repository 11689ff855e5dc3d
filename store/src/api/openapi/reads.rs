//! The calls that read records.

use warp::http::StatusCode;

use super::about::About;
use super::details::{Details, empty, events, json};
use super::headers::{COUNT as COUNT_HEADER, ETAG, LINK, STALENESS};
use super::parameters::{
    AFTER, CONSISTENCY, COUNT, CURSOR, FIRST_NAME, ID_EQUALS, ID_PREFIX, IF_MATCH_READ, IF_NONE_MATCH_READ,
    LAST_EVENT_ID, LAST_NAME, LIMIT, MAX_STALENESS, SORT, TIMEOUT, WATCH_AFTER, WATCH_CLUSTER,
};
use super::refusals::{
    AHEAD, BAD_REQUEST, HISTORY_GONE, PRECONDITION_FAILED, UNAVAILABLE, UNKNOWN_COLLECTION, UNKNOWN_ID,
};
use super::schemas::{RECORD_EVENT, many, reference};

/// How fresh a read is.
pub(super) static FRESHNESS: [&super::parameters::Shared; 4] = [&CONSISTENCY, &AFTER, &MAX_STALENESS, &TIMEOUT];

pub(super) fn list(about: &About<'_>) -> Details {
    let (what, description) = match about {
        About::Persons(_) => (
            "The persons.",
            "Without `limit` all of them, in one array. With it a page, and a `Link` to the next one while there is more."
                .to_owned(),
        ),
        About::One(..) | About::Any => (
            "The records.",
            format!(
                "Without `limit`, filters and `sort` all of them, in one array. Otherwise a page, and a `Link` to the next \
                 one while there is more. Any member can be asked for by `where.<path>`; ranges, prefixes, `sort` and \
                 `count` need an index (400 `no-index`): its equal fields first, then one range or one direction of \
                 `sort`. {}",
                about.indexes()
            ),
        ),
    };
    let mut parameters = about.in_path(false);
    if matches!(about, About::Persons(_)) {
        parameters.extend([&FIRST_NAME, &LAST_NAME, &ID_EQUALS]);
    }
    parameters.extend([&ID_PREFIX, &SORT, &COUNT, &LIMIT, &CURSOR]);
    parameters.extend(FRESHNESS);
    Details {
        id: about.operation("list", false),
        description,
        parameters,
        filters: about.filters(),
        successes: vec![(StatusCode::OK, json(what, many(about.record()), &[&STALENESS, &LINK, &COUNT_HEADER]))],
        refusals: vec![&BAD_REQUEST, &UNKNOWN_COLLECTION, &AHEAD, &UNAVAILABLE],
        ..Details::default()
    }
}

pub(super) fn read(about: &About<'_>) -> Details {
    let unchanged = "The client has this record: `If-None-Match`.";
    let mut parameters = about.in_path(true);
    parameters.extend([&IF_MATCH_READ, &IF_NONE_MATCH_READ]);
    parameters.extend(FRESHNESS);
    Details {
        id: about.operation("read", true),
        parameters,
        successes: vec![
            (StatusCode::OK, json("The record.", about.record(), &[&STALENESS, &ETAG])),
            (StatusCode::NOT_MODIFIED, empty(unchanged, &[&STALENESS, &ETAG])),
        ],
        refusals: vec![&BAD_REQUEST, &UNKNOWN_ID, &AHEAD, &PRECONDITION_FAILED, &UNAVAILABLE],
        ..Details::default()
    }
}

pub(super) fn watch(about: &About<'_>) -> Details {
    let mut parameters = about.in_path(false);
    parameters.extend([&WATCH_AFTER, &WATCH_CLUSTER, &ID_PREFIX, &LAST_EVENT_ID]);
    Details {
        id: about.operation("watch", false),
        description: "Each event is one commit; its `id` is the sequence. Resume after it, on any replica, with \
                      `Last-Event-ID` or `after`: no commit is skipped, none is repeated. Without either, the watch \
                      starts with the next commit. The last event is `end` and says why."
            .to_owned(),
        parameters,
        successes: vec![(StatusCode::OK, events(reference(RECORD_EVENT), &[]))],
        refusals: vec![&BAD_REQUEST, &UNKNOWN_COLLECTION, &AHEAD, &HISTORY_GONE, &UNAVAILABLE],
        ..Details::default()
    }
}
