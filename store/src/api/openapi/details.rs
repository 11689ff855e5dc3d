//! What a call has beyond its line in the table of calls, and how both become an operation of the document.

use crate::api::body::JSON;
use crate::api::calls::Call;
use crate::api::need::reads;
use crate::api::tokens;
use serde_json::Value;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{Operation, OperationBuilder, Parameter};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::{Content, Ref, RefOr, Required, Response, ResponseBuilder, Schema};
use warp::http::StatusCode;

use super::headers;
use super::parameters;
use super::refusals::{FORBIDDEN, REDIRECT, Refusal, UNAUTHORIZED};

/// What the table does not say about a call.
#[derive(Default)]
pub(super) struct Details {
    /// Client generators name their functions after it.
    pub(super) id: String,
    /// What the summary omits; empty if it omits nothing.
    pub(super) description: String,
    pub(super) parameters: Vec<&'static parameters::Shared>,
    /// Parameters that are of one collection alone.
    pub(super) filters: Vec<Parameter>,
    pub(super) body: Option<RequestBody>,
    /// Each success, by its status.
    pub(super) successes: Vec<(StatusCode, Response)>,
    pub(super) refusals: Vec<&'static Refusal>,
}

/// The operation that the document has for this call. `tag` groups it with others.
pub(super) fn operation(call: &Call, tag: &str, details: Details) -> Operation {
    let mut operation = OperationBuilder::new()
        .tag(tag)
        .summary(Some(call.summary))
        .operation_id(Some(details.id))
        .description(Some(details.description).filter(|text| !text.is_empty()))
        .request_body(details.body);
    for parameter in details.parameters {
        operation = operation.parameter_ref(parameter.reference());
    }
    for filter in details.filters {
        operation = operation.parameter(filter);
    }
    for (status, response) in details.successes {
        operation = operation.response(status.as_str(), response);
    }
    if !reads(&call.method) {
        let status = StatusCode::TEMPORARY_REDIRECT;
        operation = operation.response(status.as_str(), Ref::from_response_name(REDIRECT));
    }
    if tokens::is_open(call.path, false) {
        operation = operation.securities(Some([]));
    }
    for refusal in details.refusals.into_iter().chain(guards(call)) {
        operation = operation.response(refusal.status().as_str(), refusal.reference());
    }
    operation.build()
}

/// What a client needs before the call, if the store has tokens.
fn guards(call: &Call) -> Vec<&'static Refusal> {
    // A collection's own name is as good as any.
    let path = call.path.replace("{collection}", "collection");
    match (tokens::is_open(&path, false), tokens::may_forbid(&call.method, &path)) {
        (true, _) => vec![],
        (false, false) => vec![&UNAUTHORIZED],
        (false, true) => vec![&UNAUTHORIZED, &FORBIDDEN],
    }
}

/// A body that must be sent.
pub(super) fn body(media: &str, schema: Ref, example: Option<Value>) -> RequestBody {
    let content = ContentBuilder::new().schema(Some(schema)).example(example).build();
    RequestBodyBuilder::new().required(Some(Required::True)).content(media, content).build()
}

/// A success without a body. Each carries `Leasehold-Sequence`; these headers come on top.
pub(super) fn empty(description: &str, more: &[&headers::Shared]) -> Response {
    success(description, more).build()
}

/// A success with JSON of this schema.
pub(super) fn json(description: &str, schema: impl Into<RefOr<Schema>>, more: &[&headers::Shared]) -> Response {
    of_media(JSON, description, schema, more)
}

/// A success with a body of this media type.
pub(super) fn of_media(
    media: &str,
    description: &str,
    schema: impl Into<RefOr<Schema>>,
    more: &[&headers::Shared],
) -> Response {
    success(description, more).content(media, Content::new(Some(schema))).build()
}

/// Server-sent events. OpenAPI 3.1 knows only whole bodies; the schema is that of one event, which is how tools that read
/// streams take it (OpenAPI 3.2 has `itemSchema` for that).
pub(super) fn events(one: Ref, more: &[&headers::Shared]) -> Response {
    of_media("text/event-stream", "The events, each of this schema.", one, more)
}

fn success(description: &str, more: &[&headers::Shared]) -> ResponseBuilder {
    let response = ResponseBuilder::new().description(description);
    [&headers::SEQUENCE].iter().chain(more).fold(response, |to, header| to.header_ref(header.name, header.reference()))
}
