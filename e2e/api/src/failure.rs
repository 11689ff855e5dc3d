//! What the embedded API answers when it refuses: a `Status` object with the words of the real API server.

use serde_json::{Value, json};

use super::{Kind, Verb};

/// A refusal.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The HTTP status.
    pub code: u16,
    /// The machine-readable reason; empty where the API server gives none.
    pub reason: &'static str,
    /// What a person reads.
    pub message: String,
    /// The object and the fields that it is about.
    pub details: Option<Value>,
}

/// One field that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    /// `FieldValueInvalid`, `FieldValueRequired`, ...
    pub reason: &'static str,
    /// The path of the field.
    pub field: String,
    /// What is wrong with it, with the value where the API server shows it.
    pub message: String,
}

impl Cause {
    /// A value that is not allowed.
    pub(super) fn invalid(field: &str, value: &Value, why: &str) -> Cause {
        Cause { reason: "FieldValueInvalid", field: field.into(), message: format!("Invalid value: {value}: {why}") }
    }

    /// A field that must be set.
    pub(super) fn required(field: &str, why: &str) -> Cause {
        let message = if why.is_empty() { "Required value".into() } else { format!("Required value: {why}") };
        Cause { reason: "FieldValueRequired", field: field.into(), message }
    }

    /// An unknown value.
    pub(super) fn not_supported(field: &str, value: &str, known: &[&str]) -> Cause {
        let known: Vec<String> = known.iter().map(|k| format!("{k:?}")).collect();
        Cause {
            reason: "FieldValueNotSupported",
            field: field.into(),
            message: format!("Unsupported value: {value:?}: supported values: {}", known.join(", ")),
        }
    }

    /// A field that must not be set here.
    pub(super) fn forbidden(field: &str, why: &str) -> Cause {
        Cause { reason: "FieldValueForbidden", field: field.into(), message: format!("Forbidden: {why}") }
    }
}

impl Failure {
    fn about(kind: Kind, name: &str) -> Option<Value> {
        let mut details = json!({"name": name, "kind": kind.plural()});
        if !kind.group().is_empty() {
            details["group"] = kind.group().into();
        }
        Some(details)
    }

    /// 403 for what a role does not allow; an empty name: the collection.
    pub(super) fn forbidden(client: &str, verb: Verb, kind: Kind, namespace: Option<&str>, name: &str) -> Failure {
        let (about, group) = (kind.qualified(), kind.group());
        let object = if name.is_empty() { about } else { format!("{about} {name:?}") };
        let scope = namespace.map_or("at the cluster scope".into(), |name| format!("in the namespace {name:?}"));
        let message = format!(
            "{object} is forbidden: User {client:?} cannot {} resource {:?} in API group {group:?} {scope}",
            verb.word(),
            kind.plural()
        );
        Failure { code: 403, reason: "Forbidden", message, details: Failure::about(kind, name) }
    }

    /// 404 for an object.
    pub(super) fn not_found(kind: Kind, name: &str) -> Failure {
        let message = format!("{} {name:?} not found", kind.qualified());
        Failure { code: 404, reason: "NotFound", message, details: Failure::about(kind, name) }
    }

    /// 404 for a path that nothing is served at.
    pub(super) fn no_such_path() -> Failure {
        let message = "the server could not find the requested resource".into();
        Failure { code: 404, reason: "NotFound", message, details: Some(json!({})) }
    }

    /// 409 for a create.
    pub(super) fn already_exists(kind: Kind, name: &str) -> Failure {
        let message = format!("{} {name:?} already exists", kind.qualified());
        Failure { code: 409, reason: "AlreadyExists", message, details: Failure::about(kind, name) }
    }

    /// 409 for an update or delete with a condition that does not hold.
    pub(super) fn conflict(kind: Kind, name: &str, why: &str) -> Failure {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", kind.qualified());
        Failure { code: 409, reason: "Conflict", message, details: Failure::about(kind, name) }
    }

    /// 409 for a stale resourceVersion.
    pub(super) fn stale(kind: Kind, name: &str) -> Failure {
        Failure::conflict(
            kind,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 409 for a delete with a precondition that does not hold: the API server names the kind there, not the resource.
    pub(super) fn precondition(kind: Kind, name: &str, why: &str) -> Failure {
        let (shown, mut details) = (kind.with_group(), Failure::about(kind, name));
        if let Some(details) = &mut details {
            details["kind"] = kind.name().into();
        }
        let message = format!("Operation cannot be fulfilled on {shown} {name:?}: {why}");
        Failure { code: 409, reason: "Conflict", message, details }
    }

    /// 422 with the list of fields.
    pub(super) fn invalid(kind: Kind, name: &str, causes: Vec<Cause>) -> Failure {
        // Events are validated as what they are stored as, which is of the core group.
        let group = if kind == Kind::Event { "" } else { kind.group() };
        let shown = if group.is_empty() { kind.name().to_owned() } else { kind.with_group() };
        Failure::invalid_as(&shown, name, group, kind.name(), &causes)
    }

    /// 422 for a write without the version that this kind must have: here the API server names the resource.
    pub(super) fn no_version(kind: Kind, name: &str) -> Failure {
        let cause = Cause::invalid("metadata.resourceVersion", &0.into(), "must be specified for an update");
        Failure::invalid_as(&kind.qualified(), name, kind.group(), kind.plural(), &[cause])
    }

    /// 422 for a patch whose result is not a valid object.
    pub(super) fn invalid_patch(object: &Value, why: &str) -> Failure {
        let cause = Cause::invalid("patch", &object.to_string().into(), why);
        Failure::invalid_as("", "", "", "", &[cause])
    }

    /// 422 for the parameters of a request.
    pub(super) fn invalid_options(options: &str, cause: Cause) -> Failure {
        Failure::invalid_as(&format!("{options}.meta.k8s.io"), "", "meta.k8s.io", options, &[cause])
    }

    fn invalid_as(shown: &str, name: &str, group: &str, kind: &str, causes: &[Cause]) -> Failure {
        let list: Vec<String> = causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
        let list = if list.len() == 1 { list.concat() } else { format!("[{}]", list.join(", ")) };
        let mut details = json!({});
        for (field, value) in [("name", name), ("group", group), ("kind", kind)] {
            if !value.is_empty() {
                details[field] = value.into();
            }
        }
        details["causes"] = causes
            .iter()
            .map(|c| json!({"reason": c.reason, "message": c.message, "field": c.field}))
            .collect::<Vec<_>>()
            .into();
        let message = format!("{shown} {name:?} is invalid: {list}");
        Failure { code: 422, reason: "Invalid", message, details: Some(details) }
    }

    /// 500 without a reason: what the API server says of a version that is none.
    pub(super) fn internal(message: impl Into<String>) -> Failure {
        Failure { code: 500, reason: "", message: message.into(), details: None }
    }

    /// 400.
    pub(super) fn bad_request(message: impl Into<String>) -> Failure {
        Failure { code: 400, reason: "BadRequest", message: message.into(), details: None }
    }

    /// 410 for a watch from a version that is no longer known.
    pub(super) fn expired(asked: u64, oldest: u64) -> Failure {
        let message = format!("too old resource version: {asked} ({oldest})");
        Failure { code: 410, reason: "Expired", message, details: None }
    }

    /// 405.
    pub(super) fn method_not_allowed() -> Failure {
        let message = "the server does not allow this method on the requested resource".into();
        Failure { code: 405, reason: "MethodNotAllowed", message, details: Some(json!({})) }
    }

    /// 415 with the content types that are served.
    pub(super) fn unsupported_media_type(known: &str) -> Failure {
        let message =
            format!("the body of the request was in an unknown format - accepted media types include: {known}");
        Failure { code: 415, reason: "UnsupportedMediaType", message, details: None }
    }

    /// 413.
    pub(super) fn too_large() -> Failure {
        let message = "Request entity too large: limit is 3145728".into();
        Failure { code: 413, reason: "RequestEntityTooLarge", message, details: Some(json!({})) }
    }

    /// A failure on command, with the reason that goes with the status.
    pub(super) fn injected(code: u16) -> Failure {
        let reason = match code {
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "NotFound",
            409 => "Conflict",
            429 => "TooManyRequests",
            500 => "InternalError",
            503 => "ServiceUnavailable",
            504 => "Timeout",
            _ => "",
        };
        Failure { code, reason, message: format!("fault injected by the test: {code}"), details: None }
    }

    /// The `Status` object.
    pub fn to_json(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status
    }
}
