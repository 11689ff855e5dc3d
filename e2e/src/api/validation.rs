//! What the API server checks in an object before it stores it, for the kinds that this one serves.
//!
//! Types first (400, [`decode`]), then values (422, [`validate`]). Written from the API server's documented rules; not
//! imitated: server-side field ownership, admission, quotas.

use serde_json::{Map, Value, json};

use super::{Cause, Failure, Kind};

/// Turns a body into an object of this kind, or says why it is none.
pub(super) fn decode(kind: Kind, mut body: Value) -> Result<Value, Failure> {
    let version = kind.api_version();
    let Some(object) = body.as_object_mut() else {
        return Err(cannot_handle(kind, "the body is not a JSON object"));
    };
    // A body that leaves them out is taken for what the path serves.
    object.entry("kind").or_insert_with(|| kind.name().into());
    object.entry("apiVersion").or_insert_with(|| version.as_str().into());
    if object["kind"] != kind.name() || object["apiVersion"] != version.as_str() {
        let (k, v) = (text(&object["kind"]), text(&object["apiVersion"]));
        return Err(Failure::bad_request(format!(
            "{} in version {v:?} cannot be handled as a {}: the object provided is unrecognized or of another kind",
            if k.is_empty() { "no kind" } else { k },
            kind.name(),
        )));
    }
    let times: &[&str] = match kind {
        Kind::Lease => &["/spec/acquireTime", "/spec/renewTime"],
        Kind::Event => &["/eventTime", "/series/lastObservedTime"],
        Kind::Pod | Kind::StatefulSet | Kind::EndpointSlice => &[],
    };
    for path in times {
        match body.pointer(path) {
            None | Some(Value::Null) => {}
            Some(Value::String(time)) if is_micro_time(time) => {}
            Some(other) => {
                return Err(cannot_handle(
                    kind,
                    &format!("parsing time {other} as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse (at {path})"),
                ));
            }
        }
    }
    kind.normalized(body).map_err(|error| cannot_handle(kind, &format!("json: cannot unmarshal: {error}")))
}

fn cannot_handle(kind: Kind, why: &str) -> Failure {
    let name = kind.name();
    Failure::bad_request(format!("{name} in version \"v1\" cannot be handled as a {name}: {why}"))
}

/// A MicroTime is RFC 3339 with exactly six decimals: the API server refuses fewer and more.
fn is_micro_time(text: &str) -> bool {
    let decimals = text.split_once('.').map_or("", |(_, rest)| rest);
    let digits = decimals.bytes().take_while(u8::is_ascii_digit).count();
    digits == 6 && text.contains('T') && text.parse::<jiff::Timestamp>().is_ok()
}

/// Every field of the object that holds something that is not allowed. `before` is the stored object at an update.
pub(super) fn validate(kind: Kind, object: &Value, before: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    metadata(object, &mut causes);
    match kind {
        Kind::Lease => lease(&object["spec"], &mut causes),
        Kind::Event => event(object, before, &mut causes),
        Kind::EndpointSlice => endpoint_slice(object, before, &mut causes),
        Kind::StatefulSet => stateful_set(object, &mut causes),
        Kind::Pod => {}
    }
    causes
}

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
    '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with \
    an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc')";
const LABEL: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
    must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345')";

fn metadata(object: &Value, causes: &mut Vec<Cause>) {
    let meta = &object["metadata"];
    let name = text(&meta["name"]);
    if name.is_empty() {
        causes.push(Cause::required("metadata.name", "name or generateName is required"));
    } else if name.len() > 253 {
        causes.push(Cause::invalid("metadata.name", &name.into(), "must be no more than 253 bytes"));
    } else if !is_subdomain(name) {
        causes.push(Cause::invalid("metadata.name", &name.into(), SUBDOMAIN));
    }
    for (key, value) in entries(&meta["labels"]) {
        if !is_qualified_name(key) {
            causes.push(Cause::invalid("metadata.labels", &key.as_str().into(), QUALIFIED));
        }
        if !is_label_value(text(value)) {
            causes.push(Cause::invalid("metadata.labels", value, LABEL));
        }
    }
    let mut size = 0;
    for (key, value) in entries(&meta["annotations"]) {
        size += key.len() + text(value).len();
        if !is_qualified_name(&key.to_ascii_lowercase()) {
            causes.push(Cause::invalid("metadata.annotations", &key.as_str().into(), QUALIFIED));
        }
    }
    if size > 256 * 1024 {
        causes.push(Cause {
            reason: "FieldValueTooLong",
            field: "metadata.annotations".into(),
            message: "Too long: may not be more than 262144 bytes".into(),
        });
    }
    let owners = meta["ownerReferences"].as_array().map_or(&[][..], Vec::as_slice);
    for (i, owner) in owners.iter().enumerate() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if text(&owner[field]).is_empty() {
                let path = format!("metadata.ownerReferences[{i}].{field}");
                causes.push(Cause::invalid(&path, &owner[field], "must not be empty"));
            }
        }
    }
    if owners.iter().filter(|owner| owner["controller"] == true).count() > 1 {
        let why = "Only one reference can have Controller set to true";
        causes.push(Cause::invalid("metadata.ownerReferences", &Value::Null, why));
    }
}

fn lease(spec: &Value, causes: &mut Vec<Cause>) {
    if let Some(seconds) = spec["leaseDurationSeconds"].as_i64()
        && seconds <= 0
    {
        causes.push(Cause::invalid("spec.leaseDurationSeconds", &seconds.into(), "must be greater than 0"));
    }
    if let Some(transitions) = spec["leaseTransitions"].as_i64()
        && transitions < 0
    {
        let why = "must be greater than or equal to 0";
        causes.push(Cause::invalid("spec.leaseTransitions", &transitions.into(), why));
    }
    if !text(&spec["preferredHolder"]).is_empty() && text(&spec["strategy"]).is_empty() {
        causes.push(Cause::forbidden("spec.preferredHolder", "may only be specified if `strategy` is defined"));
    }
}

fn event(event: &Value, before: Option<&Value>, causes: &mut Vec<Cause>) {
    let regarding = text(&event["regarding"]["namespace"]);
    let namespace = text(&event["metadata"]["namespace"]);
    if !regarding.is_empty() && regarding != namespace {
        let why = "does not match event.namespace";
        causes.push(Cause::invalid("involvedObject.namespace", &regarding.into(), why));
    }
    if event["series"].is_object() && event["series"]["count"].as_i64().unwrap_or(0) < 2 {
        causes.push(Cause::invalid("series.count", &event["series"]["count"], "should be at least 2"));
    }
    if let Some(before) = before {
        for field in ["regarding", "reason", "action", "reportingController", "reportingInstance", "type", "eventTime"]
        {
            if event[field] != before[field] {
                causes.push(Cause::invalid(field, &event[field], "field is immutable"));
            }
        }
        return;
    }
    if event["eventTime"].is_null() {
        causes.push(Cause::required("eventTime", ""));
    }
    for field in ["deprecatedSource", "deprecatedFirstTimestamp", "deprecatedLastTimestamp", "deprecatedCount"] {
        let value = &event[field];
        if !(value.is_null() || *value == json!({})) {
            causes.push(Cause::invalid(field, value, "needs to be unset"));
        }
    }
    let controller = text(&event["reportingController"]);
    if controller.is_empty() {
        causes.push(Cause::required("reportingController", ""));
    } else if !is_qualified_name(controller) {
        causes.push(Cause::invalid("reportingController", &controller.into(), QUALIFIED));
    }
    for field in ["reportingInstance", "action", "reason"] {
        match text(&event[field]) {
            "" => causes.push(Cause::required(field, "")),
            long if long.len() > 128 => {
                causes.push(Cause::invalid(field, &"".into(), "can have at most 128 characters"));
            }
            _ => {}
        }
    }
    if text(&event["note"]).len() > 1024 {
        causes.push(Cause::invalid("message", &"".into(), "can have at most 1024 characters"));
    }
    if !["Normal", "Warning"].contains(&text(&event["type"])) {
        causes.push(Cause::invalid("type", &event["type"], "has invalid value: must be Normal or Warning"));
    }
}

/// Left out on purpose: the API server refuses loopback addresses here, and a cluster of processes has no others.
fn endpoint_slice(slice: &Value, before: Option<&Value>, causes: &mut Vec<Cause>) {
    let family = text(&slice["addressType"]);
    match family {
        "" => causes.push(Cause::required("addressType", "")),
        "IPv4" | "IPv6" | "FQDN" => {}
        other => causes.push(Cause::not_supported("addressType", other, &["FQDN", "IPv4", "IPv6"])),
    }
    if before.is_some_and(|before| text(&before["addressType"]) != family) {
        causes.push(Cause::invalid("addressType", &family.into(), "field is immutable"));
    }
    for (i, endpoint) in slice["endpoints"].as_array().into_iter().flatten().enumerate() {
        let addresses = endpoint["addresses"].as_array().map_or(&[][..], Vec::as_slice);
        if addresses.is_empty() {
            let path = format!("endpoints[{i}].addresses");
            causes.push(Cause::required(&path, "must contain at least 1 address"));
        }
        for (j, address) in addresses.iter().enumerate() {
            let path = format!("endpoints[{i}].addresses[{j}]");
            let ip = text(address).parse::<std::net::IpAddr>().ok();
            let fits = match family {
                "IPv4" => ip.is_some_and(|ip| ip.is_ipv4()),
                "IPv6" => ip.is_some_and(|ip| ip.is_ipv6()),
                _ => true,
            };
            if !fits {
                causes.push(Cause::invalid(&path, address, &format!("must be a valid {family} address")));
            }
        }
    }
    let mut names = std::collections::BTreeSet::new();
    for (i, port) in slice["ports"].as_array().into_iter().flatten().enumerate() {
        if !names.insert(text(&port["name"])) {
            let path = format!("ports[{i}].name");
            causes.push(Cause {
                reason: "FieldValueDuplicate",
                field: path,
                message: format!("Duplicate value: {:?}", text(&port["name"])),
            });
        }
        if port["port"].as_i64().is_some_and(|port| !(1..=65535).contains(&port)) {
            let path = format!("ports[{i}].port");
            causes.push(Cause::invalid(&path, &port["port"], "must be between 1 and 65535, inclusive"));
        }
    }
}

fn stateful_set(set: &Value, causes: &mut Vec<Cause>) {
    if set["spec"]["replicas"].as_i64().is_some_and(|replicas| replicas < 0) {
        let why = "must be greater than or equal to 0";
        causes.push(Cause::invalid("spec.replicas", &set["spec"]["replicas"], why));
    }
}

/// The text of a value, empty where it is none.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn is_subdomain(name: &str) -> bool {
    name.split('.').all(|part| {
        let edge = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = part.as_bytes();
        edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
    })
}

fn is_label_value(value: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = value.as_bytes();
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

fn is_qualified_name(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    !name.is_empty() && is_label_value(name) && prefix.is_none_or(|p| p.len() <= 253 && is_subdomain(p))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refused(kind: Kind, body: Value) -> Failure {
        decode(kind, body).unwrap_err()
    }

    #[test]
    fn a_micro_time_has_exactly_six_decimals() {
        for good in ["2026-11-22T10:00:00.000000Z", "2026-11-22T10:00:00.123456+01:00"] {
            assert!(is_micro_time(good), "{good}");
        }
        for bad in ["2026-11-22T10:00:00Z", "2026-11-22T10:00:00.1234567Z", "2026-11-22T10:00:00.123Z", "soon", ""] {
            assert!(!is_micro_time(bad), "{bad}");
            assert_eq!(refused(Kind::Lease, json!({"metadata": {}, "spec": {"renewTime": bad}})).code, 400);
        }
    }

    #[test]
    fn numbers_beyond_int32_and_other_types_are_bad_requests() {
        for spec in [
            json!({"leaseTransitions": 2_147_483_648_u64}),
            json!({"leaseDurationSeconds": "15"}),
            json!({"leaseTransitions": 1.5}),
            json!({"holderIdentity": 7}),
        ] {
            assert_eq!(refused(Kind::Lease, json!({"metadata": {}, "spec": spec})).code, 400);
        }
        assert!(decode(Kind::Lease, json!({"metadata": {}, "spec": {"leaseTransitions": 2_147_483_647}})).is_ok());
    }

    #[test]
    fn another_kind_or_version_is_a_bad_request_and_unknown_fields_are_dropped() {
        assert_eq!(refused(Kind::Lease, json!({"kind": "Pod", "metadata": {}})).code, 400);
        assert_eq!(refused(Kind::Lease, json!({"apiVersion": "coordination.k8s.io/v2", "metadata": {}})).code, 400);
        assert_eq!(refused(Kind::Lease, json!([])).code, 400);
        let lease = decode(Kind::Lease, json!({"metadata": {"name": "a"}, "spec": {"colour": "red"}})).unwrap();
        assert!(lease["spec"].get("colour").is_none());
    }

    #[test]
    fn values_that_are_not_allowed_are_listed_with_their_fields() {
        let lease = json!({
            "metadata": {"name": "Not_A_Name", "labels": {"a b": "x"}, "ownerReferences": [{"kind": "StatefulSet"}]},
            "spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1, "preferredHolder": "a"},
        });
        let fields: Vec<String> = validate(Kind::Lease, &lease, None).into_iter().map(|c| c.field).collect();
        for field in [
            "metadata.name",
            "metadata.labels",
            "metadata.ownerReferences[0].uid",
            "spec.leaseDurationSeconds",
            "spec.leaseTransitions",
            "spec.preferredHolder",
        ] {
            assert!(fields.iter().any(|f| f == field), "{field} is missing in {fields:?}");
        }
    }

    #[test]
    fn names_are_dns_subdomains() {
        for good in ["a", "database-cluster-0", "a.b-c.d", "0"] {
            assert!(is_subdomain(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a..b", "A", "a_b", ".a"] {
            assert!(!is_subdomain(bad), "{bad}");
        }
    }
}
