//! The calls that ask a replica about itself, and those that describe the others.

use utoipa::openapi::Response;
use utoipa::openapi::schema::ObjectBuilder;
use warp::http::StatusCode;

use super::details::{Details, json, of_media};
use super::refusals::{BAD_REQUEST, UNAVAILABLE};
use super::schemas::string;

pub(super) fn leader() -> Details {
    Details {
        id: "leader".to_owned(),
        description: "With `Accept: text/plain` just `true` or `false`: whether this replica does.".to_owned(),
        refusals: vec![&BAD_REQUEST],
        ..page(object("Who leads, as far as this replica knows."))
    }
}

pub(super) fn status() -> Details {
    Details {
        id: "status".to_owned(),
        refusals: vec![&BAD_REQUEST],
        ..page(object(
            "Positions, voters, the lag of each, and what this replica waits for. `sum` is that of the data after `applied`: \
             replicas with the same sequence have the same. `agreement` is \
             the last comparison of all sums, and `diverged` says that those here are not the majority's.",
        ))
    }
}

pub(super) fn healthz() -> Details {
    Details { id: "healthz".to_owned(), refusals: vec![&UNAVAILABLE], ..page(text("text/plain", "It is alive.")) }
}

pub(super) fn readyz() -> Details {
    Details { id: "readyz".to_owned(), refusals: vec![&UNAVAILABLE], ..page(text("text/plain", "It is ready.")) }
}

pub(super) fn metrics() -> Details {
    Details { id: "metrics".to_owned(), ..page(text("application/openmetrics-text", "OpenMetrics text.")) }
}

pub(super) fn openapi() -> Details {
    Details { id: "openapi".to_owned(), ..page(object("This document.")) }
}

pub(super) fn docs() -> Details {
    Details { id: "docs".to_owned(), ..page(text("text/html", "A page that needs nothing from elsewhere.")) }
}

pub(super) fn index() -> Details {
    Details { id: "index".to_owned(), ..page(object("Name, version, calls.")) }
}

/// A call with one success.
fn page(success: Response) -> Details {
    Details { successes: vec![(StatusCode::OK, success)], ..Details::default() }
}

fn object(description: &str) -> Response {
    json(description, ObjectBuilder::new(), &[])
}

fn text(media: &str, description: &str) -> Response {
    of_media(media, description, string(), &[])
}
