//! What the API server checks in an object before it stores it, for the kinds that this one serves.
//!
//! Types first (400, [`decode`]), then values (422, [`validate`]). Held against a real API server by
//! `crate::conformance`; what is not imitated is listed there.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::{Cause, Failure, Kind};

/// Turns a body into an object of this kind, or says why it is none.
pub(super) fn decode(kind: Kind, mut body: Value) -> Result<Value, Failure> {
    let version = kind.api_version();
    if body.is_null() {
        body = json!({});
    }
    let Some(object) = body.as_object_mut() else { return Err(unreadable(kind, "the body is not a JSON object")) };
    // A body that leaves them out is taken for what the path serves.
    for (field, own) in [("kind", kind.name()), ("apiVersion", &version)] {
        let value = object.entry(field).or_insert(Value::Null);
        if value.is_null() || *value == "" {
            *value = own.into();
        }
    }
    if object["kind"] != kind.name() || object["apiVersion"] != version.as_str() {
        let (k, v) = (text(&object["kind"]), text(&object["apiVersion"]));
        let short = v.rsplit('/').next().unwrap_or(v);
        return Err(Failure::bad_request(format!(
            "{k} in version {short:?} cannot be handled as a {}: no kind {k:?} is registered for version {v:?}",
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
            Some(Value::String(time)) => {
                let why =
                    format!("parsing time {time:?} as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse (at {path})");
                return Err(cannot_handle(kind, &why));
            }
            Some(other) => {
                let why = format!("json: cannot unmarshal {other} into Go struct field {path} of type string");
                return Err(cannot_handle(kind, &why));
            }
        }
    }
    // The Rust type has no series without this time; the API server reads one, and finds fault with it then.
    if kind == Kind::Event && body["series"].is_object() && body["series"]["lastObservedTime"].is_null() {
        let cause = Cause::required("series.lastObservedTime", "");
        return Err(Failure::invalid(kind, text(&body["metadata"]["name"]), vec![cause]));
    }
    let mut object =
        kind.normalized(body).map_err(|error| cannot_handle(kind, &format!("json: cannot unmarshal {error}")))?;
    set_defaults(kind, &mut object);
    Ok(object)
}

/// What the API server adds to an object before it looks at its values.
fn set_defaults(kind: Kind, object: &mut Value) {
    if let Some(meta) = object["metadata"].as_object_mut() {
        let is_empty = |value: &Value| *value == json!({}) || *value == json!([]);
        meta.retain(|_, value| !is_empty(value));
    }
    match kind {
        Kind::Lease => {
            if object["spec"].is_null() {
                object["spec"] = json!({});
            }
        }
        Kind::EndpointSlice => {
            for endpoint in object["endpoints"].as_array_mut().into_iter().flatten() {
                if endpoint["conditions"].is_null() {
                    endpoint["conditions"] = json!({});
                }
            }
            for port in object["ports"].as_array_mut().into_iter().flatten() {
                for (field, value) in [("name", ""), ("protocol", "TCP")] {
                    if port[field].is_null() {
                        port[field] = value.into();
                    }
                }
            }
        }
        Kind::Event | Kind::Pod | Kind::StatefulSet => {}
    }
}

/// 400 for a body that is no JSON object.
pub(super) fn unreadable(kind: Kind, why: &str) -> Failure {
    Failure::bad_request(format!(
        "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: {why}",
        kind.name()
    ))
}

fn cannot_handle(kind: Kind, why: &str) -> Failure {
    let name = kind.name();
    Failure::bad_request(format!("{name} in version \"v1\" cannot be handled as a {name}: {why}"))
}

/// A MicroTime is RFC 3339 with exactly six decimals, a `T`, and a `Z` or an offset with a colon; no leap second.
fn is_micro_time(text: &str) -> bool {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00.000000";
    let Some((time, zone)) = text.as_bytes().split_at_checked(SHAPE.len()) else { return false };
    let is_like = |text: &[u8], shape: &[u8]| {
        text.len() == shape.len()
            && text
                .iter()
                .zip(shape)
                .all(|(byte, like)| if *like == b'0' { byte.is_ascii_digit() } else { byte == like })
    };
    let is_zone = zone == b"Z" || is_like(zone, b"+00:00") || is_like(zone, b"-00:00");
    let is_far = is_zone && zone.len() > 1 && &zone[1..3] > b"24".as_slice();
    is_like(time, SHAPE)
        && is_zone
        && !is_far
        && &time[17..19] < b"60".as_slice()
        && text.parse::<jiff::Timestamp>().is_ok()
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
    an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
    must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for \
    validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const DNS_LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
    start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

fn metadata(object: &Value, causes: &mut Vec<Cause>) {
    let meta = &object["metadata"];
    let name = text(&meta["name"]);
    // A dash at its end is none at the name's end.
    let start = text(&meta["generateName"]);
    if !start.is_empty() && !is_subdomain(start.strip_suffix('-').unwrap_or(start)) {
        causes.push(Cause::invalid("metadata.generateName", &start.into(), SUBDOMAIN));
    }
    if name.is_empty() {
        causes.push(Cause::required("metadata.name", "name or generateName is required"));
    } else if name.len() > 253 {
        causes.push(Cause::invalid("metadata.name", &name.into(), "must be no more than 253 characters"));
    } else if !is_subdomain(name) {
        causes.push(Cause::invalid("metadata.name", &name.into(), SUBDOMAIN));
    }
    for (key, value) in entries(&meta["labels"]) {
        if let Some(why) = why_no_qualified_name(key) {
            causes.push(Cause::invalid("metadata.labels", &key.as_str().into(), &why));
        }
        if !is_label_value(text(value)) {
            causes.push(Cause::invalid("metadata.labels", value, LABEL));
        }
    }
    let mut size = 0;
    for (key, value) in entries(&meta["annotations"]) {
        size += key.len() + text(value).len();
        if let Some(why) = why_no_qualified_name(&key.to_ascii_lowercase()) {
            causes.push(Cause::invalid("metadata.annotations", &key.as_str().into(), &why));
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
    for owner in owners {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if text(&owner[field]).is_empty() {
                let path = format!("metadata.ownerReferences.{field}");
                let why = if field == "apiVersion" { "version must not be empty" } else { "must not be empty" };
                causes.push(Cause::invalid(&path, &"".into(), why));
            }
        }
    }
    if owners.iter().filter(|owner| owner["controller"] == true).count() > 1 {
        let why = "Only one reference can have Controller set to true";
        causes.push(Cause::invalid("metadata.ownerReferences", &meta["ownerReferences"], why));
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
}

fn event(event: &Value, before: Option<&Value>, causes: &mut Vec<Cause>) {
    let regarding = text(&event["regarding"]["namespace"]);
    let namespace = text(&event["metadata"]["namespace"]);
    if regarding.is_empty() && !["default", "kube-system"].contains(&namespace) {
        causes.push(Cause::invalid("involvedObject.namespace", &"".into(), "does not match event.namespace"));
    }
    if event["series"].is_object() && event["series"]["count"].as_i64().unwrap_or(0) < 2 {
        causes.push(Cause::invalid("series.count", &"".into(), "should be at least 2"));
    }
    // The fields are named as in the core group's Event, which is what is stored.
    if let Some(before) = before {
        for (field, shown) in [
            ("regarding", "involvedObject"),
            ("reason", "reason"),
            ("note", "message"),
            ("action", "action"),
            ("reportingController", "reportingController"),
            ("reportingInstance", "reportingInstance"),
            ("type", "type"),
            ("eventTime", "eventTime"),
        ] {
            if event[field] != before[field] {
                causes.push(Cause::invalid(shown, &event[field], "field is immutable"));
            }
        }
        return;
    }
    if event["eventTime"].is_null() {
        causes.push(Cause::required("eventTime", ""));
    }
    for (field, shown) in [
        ("deprecatedSource", "source"),
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedCount", "count"),
    ] {
        let value = &event[field];
        if !(value.is_null() || *value == json!({})) {
            causes.push(Cause::invalid(shown, &"".into(), "needs to be unset"));
        }
    }
    let controller = text(&event["reportingController"]);
    if controller.is_empty() {
        causes.push(Cause::required("reportingController", ""));
    }
    if let Some(why) = why_no_qualified_name(controller) {
        causes.push(Cause::invalid("reportingController", &controller.into(), &why));
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
    let severity = text(&event["type"]);
    if !["Normal", "Warning"].contains(&severity) {
        causes.push(Cause::invalid("type", &"".into(), &format!("has invalid value: {severity}")));
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
            if let Some((whole, why)) = why_no_address(family, text(address)) {
                // The wrong family is found fault with without an index.
                let path = if whole { &path[..path.len() - format!("[{j}]").len()] } else { &path };
                causes.push(Cause::invalid(path, address, why));
            }
        }
        if endpoint["hostname"].is_string() && !is_dns_label(text(&endpoint["hostname"])) {
            causes.push(Cause::invalid(&format!("endpoints[{i}].hostname"), &endpoint["hostname"], DNS_LABEL));
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
        let name = text(&port["name"]);
        if !name.is_empty() && !is_dns_label(name) {
            causes.push(Cause::invalid(&format!("ports[{i}].name"), &port["name"], DNS_LABEL));
        }
        let protocol = text(&port["protocol"]);
        if !["SCTP", "TCP", "UDP"].contains(&protocol) {
            let path = format!("ports[{i}].protocol");
            causes.push(Cause::not_supported(&path, protocol, &["SCTP", "TCP", "UDP"]));
        }
    }
}

/// True: it is an address, but of another family.
fn why_no_address(family: &str, address: &str) -> Option<(bool, &'static str)> {
    if family == "FQDN" {
        return (!is_subdomain(address)).then_some((false, SUBDOMAIN));
    }
    let Ok(ip) = address.parse::<IpAddr>() else {
        return Some((false, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"));
    };
    match family {
        "IPv4" if ip.is_ipv6() => return Some((true, "must be an IPv4 address")),
        "IPv6" if ip.is_ipv4() => return Some((true, "must be an IPv6 address")),
        _ => {}
    }
    let (is_near, is_near_group) = match ip {
        IpAddr::V4(ip) => (ip.is_link_local(), ip.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(ip) => (ip.is_unicast_link_local(), ip.segments()[0] & 0xffcf == 0xff02),
    };
    if ip.is_unspecified() {
        Some((false, "may not be unspecified (0.0.0.0 or ::)"))
    } else if is_near {
        Some((false, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"))
    } else if is_near_group {
        Some((false, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"))
    } else {
        None
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

fn is_dns_label(name: &str) -> bool {
    name.len() <= 63 && !name.contains('.') && is_subdomain(name)
}

fn why_no_qualified_name(key: &str) -> Option<String> {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if prefix.is_some_and(|prefix| prefix.len() > 253 || !is_subdomain(prefix)) {
        Some(format!("prefix part {SUBDOMAIN}"))
    } else if name.is_empty() || !is_label_value(name) {
        Some(QUALIFIED.to_owned())
    } else {
        None
    }
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
        for bad in [
            "2026-11-22T10:00:00Z",
            "2026-11-22T10:00:00.1234567Z",
            "2026-11-22T10:00:00.123Z",
            "2026-11-22T10:00:60.123456Z",
            "2026-11-22t10:00:00.123456z",
            "2026-11-22T10:00:00.123456+25:00",
            "soon",
            "",
        ] {
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
            "spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1},
        });
        let fields: Vec<String> = validate(Kind::Lease, &lease, None).into_iter().map(|c| c.field).collect();
        for field in [
            "metadata.name",
            "metadata.labels",
            "metadata.ownerReferences.uid",
            "spec.leaseDurationSeconds",
            "spec.leaseTransitions",
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
