//! The errors that clients receive: `application/problem+json` (RFC 9457).
//!
//! The `type` is `urn:leasehold:<code>`; the single list below, [`Code`], has all codes. A code is never reused for
//! something else. 421 and 503 always mean: not done, and never will be. Only 504 leaves the outcome open; a read never
//! gets it.

use crate::schema::cut;
use leasehold_daemon::serve::Unfit;
use serde::Serialize;
use serde_json::{Map, Value};
use warp::http::header::{ALLOW, CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use warp::http::{HeaderName, HeaderValue, StatusCode};
use warp::reply::Response;

pub(super) const PROBLEM_JSON: &str = "application/problem+json";
/// The longest texts of a problem that may be kept.
const DETAIL_CHARACTERS_MAX: usize = 600;
const TEXT_CHARACTERS_MAX: usize = 300;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $status:ident, $title:literal;)+) => {
        /// Every reason for an answer other than the requested one: its word, its status, its title.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Code {
            /// The one list.
            pub const ALL: &[Code] = &[$(Code::$name,)+];

            /// The word in `urn:leasehold:<code>`.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $code,)+ }
            }

            /// The HTTP status.
            pub fn status(self) -> StatusCode {
                match self { $(Code::$name => StatusCode::$status,)+ }
            }

            /// The code of another pod's answer, if that is a problem.
            pub fn of_body(body: &[u8]) -> Option<Code> {
                let problem: Value = serde_json::from_slice(body).ok()?;
                let word = problem["type"].as_str()?.strip_prefix("urn:leasehold:")?;
                Code::ALL.iter().copied().find(|code| code.as_str() == word)
            }

            /// The same for every problem of this code.
            pub fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)+ }
            }
        }
    };
}

impl Code {
    /// Reported before the body was read to its end.
    pub(super) fn leaves_the_body(self) -> bool {
        use Code::*;
        matches!(
            self,
            BodyIncomplete
                | BodyTimeout
                | BodyTooLarge
                | UnsupportedMediaType
                | UnknownPath
                | MethodNotAllowed
                | Unauthorized
                | Forbidden
                | ForeignHost
                | ForeignOrigin
                | OtherCluster
        )
    }
}

codes! {
    /// 400: the body is not JSON; `line` and `column` say where.
    MalformedJson = "malformed-json", BAD_REQUEST, "The body is not JSON";
    /// 400: arrays and objects are nested more than 127 deep.
    TooDeep = "too-deep", BAD_REQUEST, "The JSON is nested too deeply";
    /// 400: an object has the same key twice. Readers of JSON disagree on what that means, so it is never stored.
    DuplicateKey = "duplicate-key", BAD_REQUEST, "A key occurs twice in one object";
    /// 400: the record, or what a patch would make of it, is not what it must be. `pointer` says where, `rule` which rule it
    /// breaks (a keyword of the schema, or `index`, `expires`, `id`, `depth`, `number`, `type`), `value` how the value begins. A
    /// person: a field is missing, unknown, of another type, empty or too long; `line` and `column` in place of the rule.
    InvalidRecord = "invalid-record", BAD_REQUEST, "The record is invalid";
    /// 400: the id in the path is not what ids are in that collection: a UUID, or a text.
    InvalidId = "invalid-id", BAD_REQUEST, "The id is not valid in this collection";
    /// 400: the id in the body differs from the one in the path.
    IdMismatch = "id-mismatch", BAD_REQUEST, "Path and body name different records";
    /// 400: a query parameter is unknown here, is given twice, or has an impossible value.
    InvalidQuery = "invalid-query", BAD_REQUEST, "The query is invalid";
    /// 400: the list would need an index that the collection does not have, of `fields`.
    NoIndex = "no-index", BAD_REQUEST, "The collection has no index for this query";
    /// 400: the cursor belongs to another list: the collection, its indexes, the filters or the order are not those that it
    /// was made for. Begin the list anew.
    StaleCursor = "stale-cursor", BAD_REQUEST, "The cursor belongs to another list";
    /// 400: a percent-encoding in the path or the query is broken, or does not stand for UTF-8; `detail` says where.
    MalformedEncoding = "malformed-encoding", BAD_REQUEST, "The encoding of the path or query is invalid";
    /// 400: this call does not understand `If-Match` or `If-None-Match`.
    InvalidCondition = "invalid-condition", BAD_REQUEST, "The condition is invalid";
    /// 400: `Idempotency-Key` is not valid.
    InvalidKey = "invalid-idempotency-key", BAD_REQUEST, "The idempotency key is invalid";
    /// 400: a batch is invalid; `pointer`, `line` and `column` say where. Nothing of it is done.
    InvalidBatch = "invalid-batch", BAD_REQUEST, "The batch is invalid";
    /// 400: a definition is invalid; `pointer` says where. Nothing of it is done.
    InvalidDefinition = "invalid-definition", BAD_REQUEST, "The definition is invalid";
    /// 400: the body ended early or its framing is broken.
    BodyIncomplete = "body-incomplete", BAD_REQUEST, "The body is incomplete";
    /// 400: the request is not valid HTTP, or has not exactly one `Host`.
    MalformedRequest = "malformed-request", BAD_REQUEST, "The request is malformed";
    /// 414: the target of the request is too long.
    UriTooLong = "uri-too-long", URI_TOO_LONG, "The target is too long";
    /// 431: the head of the request is too long, or has too many fields.
    HeadTooLarge = "head-too-large", REQUEST_HEADER_FIELDS_TOO_LARGE, "The head of the request is too large";
    /// 401: no token, or an unknown one; `WWW-Authenticate` says what is expected. Not done.
    Unauthorized = "unauthorized", UNAUTHORIZED, "A token is needed";
    /// 403: the token has not the right that the call needs; `detail` names the files, keys of the Secret, whose tokens have
    /// it. The same whether there is such a collection or not. Not done.
    Forbidden = "forbidden", FORBIDDEN, "The token does not allow this";
    /// 403: the store has no tokens, and `Host` is no name of it (`--api-hosts`): any web page could be behind that name. Not
    /// done.
    ForeignHost = "foreign-host", FORBIDDEN, "The store does not answer by this name";
    /// 403: a page of another origin sent it (`Origin`, `Sec-Fetch-Site`), and it is no read. Not done.
    ForeignOrigin = "foreign-origin", FORBIDDEN, "Pages of other origins may not do this";
    /// 404: there is no such path.
    UnknownPath = "unknown-path", NOT_FOUND, "Nothing exists at this path";
    /// 404: there is no such collection, or there was none when the write was decided.
    UnknownCollection = "unknown-collection", NOT_FOUND, "There is no such collection";
    /// 404: no change of the definition is pending.
    NothingPending = "nothing-pending", NOT_FOUND, "No change is pending";
    /// 404: there is no record with that id.
    UnknownId = "unknown-id", NOT_FOUND, "There is no record with this id";
    /// 405: the path exists, the method does not; `Allow` names those that do.
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, "The path does not accept this method";
    /// 408: the body did not arrive in time.
    BodyTimeout = "body-timeout", REQUEST_TIMEOUT, "The body did not arrive in time";
    /// 409: a record with that id and other content exists.
    Conflict = "conflict", CONFLICT, "Another record has this id";
    /// 409: another change of the definition is pending; or it was given up, or followed by another, while the request waited
    /// for it.
    DefinitionPending = "definition-pending", CONFLICT, "A change of the definition is pending";
    /// 409: what ids a collection has never changes. Not done.
    Immutable = "immutable", CONFLICT, "This member of a definition never changes";
    /// 409: `count` records would expire at once. Not done; `?expire-now=true` does it.
    WouldExpire = "would-expire", CONFLICT, "Records would expire at once";
    /// 409: the record `id` does not fit the new definition: `rule`, at `pointer` in it. The definition is as before.
    DoesNotFit = "does-not-fit", CONFLICT, "A record does not fit the definition";
    /// 409: the collection has `count` records. Not done; `?records=delete` removes them, too.
    NotEmpty = "not-empty", CONFLICT, "The collection is not empty";
    /// 409: there are as many collections as there may be. Not done.
    TooManyCollections = "too-many-collections", CONFLICT, "There are too many collections";
    /// 409: an operation of the batch could not be done (`operation`, `reason`), so nothing of it is.
    BatchNotDone = "batch-not-done", CONFLICT, "Nothing of the batch was done";
    /// 409: nothing with so high a sequence was ever committed here; `committed` names the highest. The data went back in
    /// time (a restored cluster, a wiped one), or the sequence belongs to another cluster.
    Ahead = "ahead", CONFLICT, "The sequence lies beyond what is committed";
    /// 410: the changes after that sequence are no longer all known here; `oldest` names the first that still is.
    HistoryGone = "history-gone", GONE, "The history does not reach back that far";
    /// 412: `If-Match` or `If-None-Match` does not hold.
    PreconditionFailed = "precondition-failed", PRECONDITION_FAILED, "The condition does not hold";
    /// 409: records have the same values in a unique index: two of those that are there (`ids`), where a definition would make
    /// the index; or another one, `id`, where a record is written. `index` says which one, from 0, and `fields` what it
    /// consists of. Not done.
    UniqueConflict = "unique-conflict", CONFLICT, "Another record has the same unique values";
    /// 409: the collection has as many records as its definition allows, `maxRecords`. Not done.
    TooManyRecords = "too-many-records", CONFLICT, "The collection is full";
    /// 413: the record has, or would have after the patch, more than `limitBytes`. Not done.
    RecordTooLarge = "record-too-large", PAYLOAD_TOO_LARGE, "The record is too large";
    /// 413: the records that the operations read and write have more than `limitBytes` together, or those that they remove and
    /// replace more than four times that. Not done.
    EntryTooLarge = "entry-too-large", PAYLOAD_TOO_LARGE, "The operations are too large together";
    /// 413: the body is longer than the limit, which `limitBytes` says.
    BodyTooLarge = "body-too-large", PAYLOAD_TOO_LARGE, "The body is too large";
    /// 415: the body is not declared as `application/json` (a patch: `application/merge-patch+json`), or is encoded.
    UnsupportedMediaType = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "The body has the wrong media type";
    /// 421: this replica follows; `leader` and `Location` say who leads. Not done.
    NotLeader = "not-leader", MISDIRECTED_REQUEST, "This replica does not lead";
    /// 421: the request is for another cluster (`Leasehold-Cluster`); its address was that cluster's before. Not done. 409: the
    /// sequence of a watch is another cluster's; `clusterId` names this one.
    OtherCluster = "other-cluster", MISDIRECTED_REQUEST, "This replica belongs to another cluster";
    /// 422: another request was sent under the same `Idempotency-Key`. Not done.
    KeyReused = "idempotency-key-reused", UNPROCESSABLE_ENTITY, "The idempotency key belongs to another request";
    /// 500: a fault of ours; the log says more.
    Internal = "internal", INTERNAL_SERVER_ERROR, "Internal error of the store";
    /// 503: the replica has not opened its volume, or has not caught up since its start.
    NotReady = "not-ready", SERVICE_UNAVAILABLE, "This replica is not ready";
    /// 503: no leader is known. Not done.
    NoLeader = "no-leader", SERVICE_UNAVAILABLE, "No leader is known";
    /// 503: this replica is about to lead and is finding out whether it may. Not done.
    Recovering = "recovering", SERVICE_UNAVAILABLE, "The leader is recovering";
    /// 503: the leader does not hear a majority of the voters. Not done.
    NoMajority = "no-majority", SERVICE_UNAVAILABLE, "The leader has no majority";
    /// 503: there are fewer voters than the cluster needs to keep a write. Not done.
    TooFewVoters = "too-few-voters", SERVICE_UNAVAILABLE, "Too few replicas count for majorities";
    /// 503: the new cluster is not confirmed by its Lease yet. Not done.
    Bootstrapping = "bootstrapping", SERVICE_UNAVAILABLE, "The cluster is being created";
    /// 503: too many writes or strong reads wait, or too many clients read a snapshot. Not done.
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "Too many requests are waiting";
    /// 503: others changed the record, or the definition of its collection, each time the write was tried. Not done.
    Contention = "contention", SERVICE_UNAVAILABLE, "Others changed the record at the same time";
    /// 503: a disk hangs, and the request would wait for it: the leader's (a write: not done), or this replica's (a strong
    /// read, or one with `after`).
    DiskStalled = "disk-stalled", SERVICE_UNAVAILABLE, "A disk hangs";
    /// 503: it needs a later format than is in force, because not every pod reads and allows that yet: `format` of `inForce`,
    /// and `heldBackBy` names the pods and why (`older-build`, `format-max`, `not-connected`, `out-of-room`,
    /// `members-unknown`). Not done.
    UpgradePending = "upgrade-pending", SERVICE_UNAVAILABLE, "An update of the cluster is not complete";
    /// 503: the disk failed or the volume is of another cluster. Not done.
    Failed = "failed", SERVICE_UNAVAILABLE, "This replica has failed";
    /// 503: the data of this replica are not those of the others; its status says what to do. Ask another one. A write is
    /// not done.
    Diverged = "diverged", SERVICE_UNAVAILABLE, "The data of this replica have diverged";
    /// 503: the leadership was lost, and another entry replaced this write. Not done.
    Overwritten = "overwritten", SERVICE_UNAVAILABLE, "The leader changed before the write was committed";
    /// 503: the data here may be older than `max-staleness` allows; `stalenessMs` says how old, null if unknown.
    Stale = "stale", SERVICE_UNAVAILABLE, "The data of this replica may be too old";
    /// 503: a strong read was not confirmed in time. Ask again.
    NotConfirmed = "not-confirmed", SERVICE_UNAVAILABLE, "The read was not confirmed";
    /// 503: this replica has not applied the entry of `after` in time. Ask again, or another replica.
    NotApplied = "not-applied", SERVICE_UNAVAILABLE, "This replica is behind";
    /// 503: too many clients watch this replica.
    TooManyWatchers = "too-many-watchers", SERVICE_UNAVAILABLE, "Too many clients are watching";
    /// 503: the process ends. Not done.
    Stopping = "stopping", SERVICE_UNAVAILABLE, "This replica is shutting down";
    /// 507: it would make the data larger, and `limit` (`memory` or `disk`) of `pod` is exceeded: `used` of `allowed`
    /// bytes. Not done; may be sent again later, after records were deleted or room was added.
    OutOfRoom = "out-of-room", INSUFFICIENT_STORAGE, "No room is left for more data";
    /// 504: not committed in time; it may still be done. Ask, or send the same again: the same record is stored once.
    OutcomeUnknown = "outcome-unknown", GATEWAY_TIMEOUT, "The outcome of the write is unknown";
}

/// One problem, about to become an answer.
#[derive(Clone, Debug)]
pub struct Problem {
    code: Code,
    /// That of its code, but for the few of [`Problem::conflicting`].
    status: StatusCode,
    detail: String,
    more: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The body, field by field as it is sent.
#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(flatten)]
    more: &'a Map<String, Value>,
}

impl Problem {
    /// `detail`: what and where, for the author of the request.
    pub fn new(code: Code, detail: impl Into<String>) -> Problem {
        let problem =
            Problem { code, status: code.status(), detail: detail.into(), more: Map::new(), headers: Vec::new() };
        // Every 503 is over soon, or an operator must look; either way a second is a good time to ask again.
        if code.status() == StatusCode::SERVICE_UNAVAILABLE { problem.header(RETRY_AFTER, "1") } else { problem }
    }

    /// Adds a member to the body.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Problem {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// The position in the body, both from 1; the column counts bytes.
    pub fn at(self, line: usize, column: usize) -> Problem {
        self.with("line", line).with("column", column)
    }

    /// Names the path's methods.
    pub fn allow(self, methods: &'static str) -> Problem {
        self.header(ALLOW, methods)
    }

    /// Says where to ask instead. A URL that is not a valid header value is omitted.
    pub fn location(self, url: &str) -> Problem {
        self.header(LOCATION, url)
    }

    /// Says which token is expected.
    pub(super) fn challenge(self, challenge: &'static str) -> Problem {
        self.header(WWW_AUTHENTICATE, challenge)
    }

    /// The same with 409, where that says better what its code says.
    pub(super) fn conflicting(self) -> Problem {
        Problem { status: StatusCode::CONFLICT, ..self }
    }

    /// The same with short texts: parts of them are the client's, and it may be kept under a key.
    pub(super) fn shortened(self) -> Problem {
        let short = |value| match value {
            Value::String(text) => Value::String(cut(&text, TEXT_CHARACTERS_MAX)),
            other => other,
        };
        let more = self.more.into_iter().map(|(name, value)| (name, short(value))).collect();
        Problem { detail: cut(&self.detail, DETAIL_CHARACTERS_MAX), more, ..self }
    }

    /// Its code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// What and where.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// From a body that [`Problem::to_value`] made; none if it is not one, or of a code that this build does not know.
    pub(super) fn of_body(body: &str) -> Option<Problem> {
        let code = Code::of_body(body.as_bytes())?;
        let mut more: Map<String, Value> = serde_json::from_str(body).ok()?;
        let detail = more.get("detail")?.as_str()?.to_owned();
        for member in ["type", "title", "status", "detail"] {
            more.remove(member);
        }
        Some(Problem { more, ..Problem::new(code, detail) })
    }

    /// The body, as a value.
    pub fn to_value(&self) -> Value {
        let body = Body {
            r#type: format!("urn:leasehold:{}", self.code.as_str()),
            title: self.code.title(),
            status: self.status.as_u16(),
            detail: &self.detail,
            more: &self.more,
        };
        serde_json::to_value(&body).unwrap_or_default()
    }

    /// The answer.
    pub fn into_response(self) -> Response {
        let body = Body {
            r#type: format!("urn:leasehold:{}", self.code.as_str()),
            title: self.code.title(),
            status: self.status.as_u16(),
            detail: &self.detail,
            more: &self.more,
        };
        let text = serde_json::to_string(&body).expect("strings and numbers have a JSON form");
        let mut response = Response::new(text.into());
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        response.headers_mut().extend(self.headers);
        response
    }

    /// For [`serve::Gates`](leasehold_daemon::serve::Gates): for requests that no call has seen.
    pub fn of_unfit(unfit: Unfit) -> (&'static str, String) {
        let (code, detail) = match unfit {
            Unfit::Malformed => (Code::MalformedRequest, "the request line or a header field cannot be parsed"),
            Unfit::Host => (Code::MalformedRequest, "a request over HTTP/1.1 needs exactly one Host header field"),
            Unfit::UriTooLong => (Code::UriTooLong, "the target has at most 65,534 bytes"),
            Unfit::HeadTooLarge => (
                Code::HeadTooLarge,
                "over HTTP/1 a request has at most 100 header fields, about 400 KB in total; over HTTP/2 its fields \
                 and target have less than 16 KiB in total",
            ),
        };
        (PROBLEM_JSON, Problem::new(code, detail).to_value().to_string())
    }

    fn header(mut self, name: HeaderName, value: &str) -> Problem {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_problem_of_another_pod_is_known_again() {
        for code in Code::ALL {
            let body = serde_json::json!({ "type": format!("urn:leasehold:{}", code.as_str()) }).to_string();
            assert_eq!(Code::of_body(body.as_bytes()), Some(*code));
        }
        for other in ["", "[]", r#"{"type": 1}"#, r#"{"type": "about:blank"}"#, r#"{"type": "urn:leasehold:x"}"#] {
            assert_eq!(Code::of_body(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_problem_is_made_again_from_its_body() {
        let problem = Problem::new(Code::Contention, "why").with("operation", 3).with("pointer", "/a");
        let again = Problem::of_body(&problem.to_value().to_string()).expect("it is one");
        assert_eq!((again.to_value(), again.headers), (problem.to_value(), problem.headers));
        for other in ["", "[]", r#"{"type":"urn:leasehold:conflict"}"#, r#"{"type":"urn:leasehold:x","detail":"x"}"#] {
            assert!(Problem::of_body(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_shortened_problem_says_where_it_was_cut() {
        let (short, long) = ("/a", format!("/{}", "ä".repeat(100_000)));
        let problem = |pointer: &str| Problem::new(Code::InvalidRecord, pointer).with("pointer", pointer).with("n", 7);
        assert_eq!(problem(short).shortened().to_value(), problem(short).to_value());
        let body = problem(&long).shortened().to_value();
        assert_eq!((body["pointer"].as_str().map(|text| text.chars().count()), &body["n"]), (Some(301), &7.into()));
        assert!(body["pointer"].as_str().is_some_and(|text| text.ends_with('…')));
        assert!(body.to_string().len() < 2_000, "{body}");
    }

    #[test]
    fn every_code_has_a_word_of_its_own_and_an_error_status() {
        let words: HashSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(words.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(code.status().is_client_error() || code.status().is_server_error(), "{code:?}");
            assert!(code.as_str().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{code:?}");
        }
    }
}
