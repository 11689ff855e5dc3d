//! `components.responses`: the problems that calls share (the status is that of the code), and the redirect of writes.

use crate::api::problem::{Code, PROBLEM_JSON};
use utoipa::openapi::{Components, Content, Ref, Response, ResponseBuilder};
use warp::http::StatusCode;

use super::headers;

/// A reason, or a group of reasons with one status.
pub(super) struct Refusal {
    /// In `components.responses`.
    name: &'static str,
    /// This code, or one of the group.
    code: Code,
    description: &'static str,
    header: Option<&'static headers::Shared>,
}

pub(super) static BAD_REQUEST: Refusal = Refusal {
    name: "BadRequest",
    code: Code::MalformedRequest,
    description: "The request cannot be understood; the problem says what and where.",
    header: None,
};

pub(super) static UNAUTHORIZED: Refusal = Refusal {
    name: "Unauthorized",
    code: Code::Unauthorized,
    description: "Only with `--api-tokens`: there is no token, or one that is not known. Not done.",
    header: Some(&headers::WWW_AUTHENTICATE),
};

pub(super) static FORBIDDEN: Refusal = Refusal {
    name: "Forbidden",
    code: Code::Forbidden,
    description: "Only with `--api-tokens`: the token has not the right that this call needs. Not done.",
    header: Some(&headers::WWW_AUTHENTICATE),
};

pub(super) static UNKNOWN_ID: Refusal =
    Refusal { name: "UnknownId", code: Code::UnknownId, description: "There is no record with this id.", header: None };

pub(super) static UNKNOWN_COLLECTION: Refusal = Refusal {
    name: "UnknownCollection",
    code: Code::UnknownCollection,
    description: "There is no such collection.",
    header: None,
};

pub(super) static NOTHING_PENDING: Refusal = Refusal {
    name: "NothingPending",
    code: Code::NothingPending,
    description: "There is no such collection, or no change of its definition is pending.",
    header: None,
};

pub(super) static BODY_TIMEOUT: Refusal = Refusal {
    name: "BodyTimeout",
    code: Code::BodyTimeout,
    description: "The body did not arrive in time.",
    header: None,
};

pub(super) static CONFLICT: Refusal = Refusal {
    name: "Conflict",
    code: Code::Conflict,
    description: "Another record has this id (`conflict`), or the same values in a unique index (`unique-conflict`); or \
                  the collection is full (`too-many-records`).",
    header: None,
};

pub(super) static UNIQUE_CONFLICT: Refusal = Refusal {
    name: "UniqueConflict",
    code: Code::UniqueConflict,
    description: "Another record has the same values in a unique index (`unique-conflict`), or the collection is full \
                  (`too-many-records`).",
    header: None,
};

pub(super) static NOT_DEFINED: Refusal = Refusal {
    name: "NotDefined",
    code: Code::DoesNotFit,
    description: "Records stand against the definition (`does-not-fit`, `unique-conflict`) or would go at once \
                  (`would-expire`); another change is pending (`definition-pending`); what ids are never changes \
                  (`immutable`); or there are as many collections as there may be (`too-many-collections`). The \
                  definition is as before.",
    header: None,
};

pub(super) static NOT_EMPTY: Refusal = Refusal {
    name: "NotEmpty",
    code: Code::NotEmpty,
    description: "The collection has records (`count`). Not done; `?records=delete` removes them, too.",
    header: None,
};

pub(super) static BATCH_NOT_DONE: Refusal = Refusal {
    name: "BatchNotDone",
    code: Code::BatchNotDone,
    description: "None of the operations is done: `operation` and `reason` say which one failed, and why.",
    header: None,
};

pub(super) static AHEAD: Refusal = Refusal {
    name: "Ahead",
    code: Code::Ahead,
    description: "The sequence lies beyond what is committed: it is of another cluster, or the data went back in time. \
                  `committed` says how far it goes. Or `cluster` is not this one (`other-cluster`).",
    header: None,
};

pub(super) static HISTORY_GONE: Refusal = Refusal {
    name: "HistoryGone",
    code: Code::HistoryGone,
    description: "The changes after that sequence are no longer all known here: read the list, and watch after its \
                  `Leasehold-Sequence`.",
    header: None,
};

pub(super) static PRECONDITION_FAILED: Refusal = Refusal {
    name: "PreconditionFailed",
    code: Code::PreconditionFailed,
    description: "The condition does not hold.",
    header: None,
};

pub(super) static BODY_TOO_LARGE: Refusal = Refusal {
    name: "BodyTooLarge",
    code: Code::BodyTooLarge,
    description: "The body is too large (`limitBytes`), or a record (`record-too-large`), or all records of the request \
                  together (`entry-too-large`).",
    header: None,
};

pub(super) static UNSUPPORTED_MEDIA_TYPE: Refusal = Refusal {
    name: "UnsupportedMediaType",
    code: Code::UnsupportedMediaType,
    description: "The body has the wrong media type.",
    header: None,
};

pub(super) static NOT_LEADER: Refusal = Refusal {
    name: "NotLeader",
    code: Code::NotLeader,
    description: "This replica does not lead; `Location` says who does. Not done.",
    header: None,
};

pub(super) static KEY_REUSED: Refusal = Refusal {
    name: "KeyReused",
    code: Code::KeyReused,
    description: "Another request was sent under this Idempotency-Key. Not done.",
    header: None,
};

pub(super) static UNAVAILABLE: Refusal = Refusal {
    name: "Unavailable",
    code: Code::NotReady,
    description: "Not done, or not confirmed; try again after `Retry-After`.",
    header: Some(&headers::RETRY_AFTER),
};

pub(super) static OUTCOME_UNKNOWN: Refusal = Refusal {
    name: "OutcomeUnknown",
    code: Code::OutcomeUnknown,
    description: "The outcome of the write is unknown.",
    header: None,
};

pub(super) static OUT_OF_ROOM: Refusal = Refusal {
    name: "OutOfRoom",
    code: Code::OutOfRoom,
    description: "It would make the data larger, and memory or a disk is short (`limit`, `pod`, `used`, `allowed`). Not \
                  done; may be sent again later. Deletes, and updates that make a record shorter, are accepted.",
    header: None,
};

static ALL: [&Refusal; 22] = [
    &UNKNOWN_COLLECTION,
    &NOTHING_PENDING,
    &UNIQUE_CONFLICT,
    &NOT_DEFINED,
    &NOT_EMPTY,
    &BAD_REQUEST,
    &UNAUTHORIZED,
    &FORBIDDEN,
    &UNKNOWN_ID,
    &BODY_TIMEOUT,
    &CONFLICT,
    &BATCH_NOT_DONE,
    &AHEAD,
    &HISTORY_GONE,
    &PRECONDITION_FAILED,
    &BODY_TOO_LARGE,
    &UNSUPPORTED_MEDIA_TYPE,
    &NOT_LEADER,
    &KEY_REUSED,
    &UNAVAILABLE,
    &OUTCOME_UNKNOWN,
    &OUT_OF_ROOM,
];

impl Refusal {
    /// The key in the responses of a call.
    pub(super) fn status(&self) -> StatusCode {
        self.code.status()
    }

    /// The reference inside a call.
    pub(super) fn reference(&self) -> Ref {
        Ref::from_response_name(self.name)
    }

    fn response(&self) -> Response {
        let problem = Content::new(Some(Ref::from_schema_name("Problem")));
        let response = ResponseBuilder::new().description(self.description).content(PROBLEM_JSON, problem);
        self.header.into_iter().fold(response, |to, header| to.header_ref(header.name, header.reference())).build()
    }
}

/// Where a write is done instead; not a problem.
pub(super) const REDIRECT: &str = "Redirect";

fn redirect() -> Response {
    let what = "Only with `--follower-writes=redirect`: this replica does not lead, and `Location` is that of the call at the \
                leader. Not done.";
    ResponseBuilder::new().description(what).header_ref(headers::LOCATION.name, headers::LOCATION.reference()).build()
}

/// Describes each once.
pub(super) fn describe(components: &mut Components) {
    components.responses = ALL.iter().map(|one| (one.name.to_owned(), one.response().into())).collect();
    components.responses.insert(REDIRECT.to_owned(), redirect().into());
}
