//! Events, EndpointSlices and the labels of Pods: what the sidecar writes of them.

use http::Method;
use serde_json::{Value, json};

use super::{
    Seen, Target,
    target::{MERGE, STRATEGIC},
};
use crate::Kind::{EndpointSlice, Event, Pod};

/// The same with some fields (null: without).
fn with(mut object: Value, fields: &Value) -> Value {
    for (field, value) in fields.as_object().into_iter().flatten() {
        if value.is_null() {
            object.as_object_mut().map(|object| object.remove(field));
        } else {
            object[field] = value.clone();
        }
    }
    object
}

fn event(t: &Target, name: &str) -> Value {
    json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": t.name(name)},
        "eventTime": "2026-11-22T10:00:00.000000Z", "reportingController": "leasehold.dev/sidecar",
        "reportingInstance": "p-0", "action": "Lead", "reason": "LeaderChanged", "type": "Normal", "note": "n",
        "regarding": {"kind": "Lease", "namespace": t.namespace(), "name": "a"},
    })
}

pub(super) async fn events(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    let name = t.name("a");
    let made = t.create(Event, &event(t, "a")).await?;
    seen.accepted("create", &made, 201);
    seen.same("eventTime", made.body["eventTime"].clone(), "2026-11-22T10:00:00.000000Z");
    let again = t.create(Event, &event(t, "a")).await?;
    seen.refused("again", &again, 409, "AlreadyExists", &format!("events.events.k8s.io {name:?} already exists"));
    let details = json!({"name": name, "group": "events.k8s.io", "kind": "events"});
    seen.same("again: details", again.body["details"].clone(), details);
    let start = t.name("g-");
    let unnamed = with(event(t, "a"), &json!({"metadata": {"generateName": start}}));
    let answer = t.create(Event, &unnamed).await?;
    seen.accepted("generateName", &answer, 201);

    let series = json!({"count": 2, "lastObservedTime": "2026-11-22T10:00:01.000000Z"});
    let patched = t.patch(Event, &name, &json!({"series": series})).await?;
    seen.accepted("the series", &patched, 200);
    seen.same("the series", patched.body["series"].clone(), series);
    for (patch, field) in [
        (json!({"note": "m"}), "message"),
        (json!({"reason": "R"}), "reason"),
        (json!({"action": "A"}), "action"),
        (json!({"type": "Warning"}), "type"),
        (json!({"reportingController": "b"}), "reportingController"),
        (json!({"reportingInstance": "b"}), "reportingInstance"),
        (json!({"eventTime": "2026-11-22T11:00:00.000000Z"}), "eventTime"),
        (json!({"regarding": {"name": "b"}}), "involvedObject"),
    ] {
        let answer = t.patch(Event, &name, &patch).await?;
        seen.invalid(&patch, &answer, json!({"name": name, "kind": "Event"}), &[("Invalid", field)]);
    }
    let stale = json!({"metadata": {"name": name, "resourceVersion": made.version().to_string()}});
    let answer = t.replace(Event, &name, &with(event(t, "a"), &stale)).await?;
    seen.refused(
        "a stale replace",
        &answer,
        409,
        "Conflict",
        "Operation cannot be fulfilled on events.events.k8s.io …",
    );
    let answer = t.replace(Event, &t.name("b"), &event(t, "b")).await?;
    seen.accepted("a replace of what is missing", &answer, 201);
    let deleted = t.delete(Event, &name, &Value::Null).await?;
    seen.accepted("delete", &deleted, 200);
    Ok(())
}

pub(super) async fn events_are_checked(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    let long = "x".repeat(129);
    let series = |count: i64| json!({"count": count, "lastObservedTime": "2026-11-22T10:00:00.000000Z"});
    for (fields, cause) in [
        (json!({"eventTime": null}), ("Required", "eventTime")),
        (json!({"reportingInstance": null}), ("Required", "reportingInstance")),
        (json!({"action": null}), ("Required", "action")),
        (json!({"reason": null}), ("Required", "reason")),
        (json!({"type": null}), ("Invalid", "type")),
        (json!({"type": "Odd"}), ("Invalid", "type")),
        (json!({"reportingController": "a b"}), ("Invalid", "reportingController")),
        (json!({"reportingInstance": long}), ("Invalid", "reportingInstance")),
        (json!({"action": long}), ("Invalid", "action")),
        (json!({"reason": long}), ("Invalid", "reason")),
        (json!({"note": "x".repeat(1025)}), ("Invalid", "message")),
        (json!({"regarding": null}), ("Invalid", "involvedObject.namespace")),
        (json!({"regarding": {"kind": "Node", "name": "a"}}), ("Invalid", "involvedObject.namespace")),
        (json!({"deprecatedCount": 1}), ("Invalid", "count")),
        (json!({"deprecatedSource": {"component": "x"}}), ("Invalid", "source")),
        (json!({"deprecatedFirstTimestamp": "2026-11-22T10:00:00Z"}), ("Invalid", "firstTimestamp")),
        (json!({"series": series(1)}), ("Invalid", "series.count")),
        (json!({"series": {"count": 2}}), ("Required", "series.lastObservedTime")),
    ] {
        let answer = t.create(Event, &with(event(t, "a"), &fields)).await?;
        let what: String = fields.to_string().chars().take(70).collect();
        seen.invalid(what, &answer, json!({"name": t.name("a"), "kind": "Event"}), &[cause]);
    }
    let answer = t.create(Event, &with(event(t, "a"), &json!({"reportingController": null}))).await?;
    let causes = [("Required", "reportingController"), ("Invalid", "reportingController")];
    seen.invalid("no controller", &answer, json!({"name": t.name("a"), "kind": "Event"}), &causes);
    let answer = t.create(Event, &with(event(t, "a"), &json!({"eventTime": "2026-11-22T10:00:00Z"}))).await?;
    let message = "Event in version \"v1\" cannot be handled as a Event: parsing time …";
    seen.refused("a time without decimals", &answer, 400, "BadRequest", message);
    for (i, fields) in [
        json!({"note": null}),
        json!({"note": "x".repeat(1024)}),
        json!({"reportingController": "x"}),
        json!({"regarding": {"kind": "Lease", "namespace": "elsewhere", "name": "a"}}),
        json!({"series": series(2)}),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = t.create(Event, &with(event(t, &format!("b{i}")), &fields)).await?;
        let what: String = fields.to_string().chars().take(70).collect();
        seen.accepted(what, &answer, 201);
    }
    Ok(())
}

fn slice(t: &Target, name: &str) -> Value {
    // No Service has this name: kube-proxy is not concerned.
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": t.name(name), "labels": {"kubernetes.io/service-name": t.name("none")}},
        "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}],
        "ports": [{"name": "http", "port": 8089}],
    })
}

pub(super) async fn slices(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    let name = t.name("a");
    let made = t.create(EndpointSlice, &slice(t, "a")).await?;
    seen.accepted("create", &made, 201);
    let generation = |body: &Value| body["metadata"]["generation"].clone();
    seen.same("the first generation", generation(&made.body), 1);
    seen.same(
        "ports are of TCP",
        made.body["ports"].clone(),
        json!([{"name": "http", "port": 8089, "protocol": "TCP"}]),
    );
    let answer = t.create(EndpointSlice, &slice(t, "a")).await?;
    let message = format!("endpointslices.discovery.k8s.io {name:?} already exists");
    seen.refused("again", &answer, 409, "AlreadyExists", &message);

    let moved = with(slice(t, "a"), &json!({"endpoints": [{"addresses": ["10.0.0.2"]}]}));
    let blind = t.replace(EndpointSlice, &name, &moved).await?;
    seen.accepted("a replace without a version", &blind, 200);
    seen.same("its generation", generation(&blind.body), 2);
    seen.same("its endpoints", blind.body["endpoints"].clone(), json!([{"addresses": ["10.0.0.2"], "conditions": {}}]));
    let same = t.replace(EndpointSlice, &name, &moved).await?;
    seen.same("the version of a replace by the same", same.version(), blind.version());
    seen.same("the generation of a replace by the same", generation(&same.body), 2);
    let at = |version: u64| {
        let mut body = slice(t, "a");
        body["metadata"]["resourceVersion"] = version.to_string().into();
        body
    };
    let stale = t.replace(EndpointSlice, &name, &at(made.version())).await?;
    let message = format!(
        "Operation cannot be fulfilled on endpointslices.discovery.k8s.io {name:?}: the object has been modified; please apply your changes to the latest version and try again"
    );
    seen.refused("a stale replace", &stale, 409, "Conflict", &message);
    let current = t.replace(EndpointSlice, &name, &at(blind.version())).await?;
    seen.accepted("a replace with the version", &current, 200);
    let family = json!({"addressType": "IPv6", "endpoints": [{"addresses": ["fd00::1"]}]});
    let answer = t.replace(EndpointSlice, &name, &with(slice(t, "a"), &family)).await?;
    let details = json!({"name": name, "group": "discovery.k8s.io", "kind": "EndpointSlice"});
    seen.invalid("another family", &answer, details, &[("Invalid", "addressType")]);
    let missing = t.replace(EndpointSlice, &t.name("b"), &slice(t, "b")).await?;
    seen.refused(
        "a replace of what is missing",
        &missing,
        404,
        "NotFound",
        "endpointslices.discovery.k8s.io … not found",
    );
    let labelled = t.patch(EndpointSlice, &name, &json!({"metadata": {"labels": {"z": "y"}}})).await?;
    seen.same("labels count as a generation, too", generation(&labelled.body), 4);
    let emptied = t.patch(EndpointSlice, &name, &json!({"endpoints": []})).await?;
    seen.that("no endpoints", emptied.body["endpoints"].as_array().is_none_or(Vec::is_empty));
    seen.same("the generation without endpoints", generation(&emptied.body), 5);
    let deleted = t.delete(EndpointSlice, &name, &Value::Null).await?;
    seen.accepted("delete", &deleted, 200);
    Ok(())
}

pub(super) async fn slices_are_checked(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    let details = json!({"name": t.name("a"), "group": "discovery.k8s.io", "kind": "EndpointSlice"});
    let at = |address: &str| json!({"endpoints": [{"addresses": [address]}]});
    for (fields, cause) in [
        (json!({"addressType": null}), ("Required", "addressType")),
        (json!({"addressType": "X"}), ("NotSupported", "addressType")),
        (json!({"addressType": "IPv6"}), ("Invalid", "endpoints[0].addresses")),
        (json!({"endpoints": [{}]}), ("Required", "endpoints[0].addresses")),
        (json!({"endpoints": [{"addresses": []}]}), ("Required", "endpoints[0].addresses")),
        (json!({"ports": [{"name": "a", "port": 1}, {"name": "a", "port": 2}]}), ("Duplicate", "ports[1].name")),
        (json!({"ports": [{"name": "A b", "port": 1}]}), ("Invalid", "ports[0].name")),
        (json!({"ports": [{"name": "a", "protocol": "X"}]}), ("NotSupported", "ports[0].protocol")),
        (at("nope"), ("Invalid", "endpoints[0].addresses[0]")),
        (at("169.254.0.1"), ("Invalid", "endpoints[0].addresses[0]")),
        (at("224.0.0.1"), ("Invalid", "endpoints[0].addresses[0]")),
        (at("0.0.0.0"), ("Invalid", "endpoints[0].addresses[0]")),
        (json!({"endpoints": [{"addresses": ["10.0.0.1"], "hostname": "A_b"}]}), ("Invalid", "endpoints[0].hostname")),
    ] {
        let answer = t.create(EndpointSlice, &with(slice(t, "a"), &fields)).await?;
        seen.invalid(&fields, &answer, details.clone(), &[cause]);
    }
    for (i, fields) in [
        json!({"endpoints": []}),
        json!({"endpoints": null}),
        json!({"ports": null}),
        json!({"ports": [{"port": 0}, {"name": "b", "port": 65536}]}),
        json!({"endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.1"]}]}),
        json!({"addressType": "IPv6", "endpoints": [{"addresses": ["fd00::1"]}]}),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = t.create(EndpointSlice, &with(slice(t, &format!("b{i}")), &fields)).await?;
        seen.accepted(&fields, &answer, 201);
    }
    Ok(())
}

pub(super) async fn pods(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    let name = t.name("a");
    // No scheduler has this name: the Pod is never run.
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "x"}},
        "spec": {
            "schedulerName": "nobody", "automountServiceAccountToken": false,
            "containers": [{
                "name": "a", "image": "none.invalid/none",
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        },
    });
    // In a new namespace the service account appears a moment later.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let made = loop {
        let answer = t.create(Pod, &pod).await?;
        if answer.code != 403 || std::time::Instant::now() > deadline {
            break answer;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    };
    seen.accepted("create", &made, 201);
    let label = |value: Value| json!({"metadata": {"labels": {"leasehold.dev/role": value}}});
    let path = t.path(Pod, &name);
    for content_type in [STRATEGIC, MERGE] {
        let answer = t.send(Method::PATCH, &path, content_type, label("leader".into()).to_string()).await?;
        seen.accepted(content_type, &answer, 200);
        let want = json!({"app": "x", "leasehold.dev/role": "leader"});
        seen.same(content_type, answer.body["metadata"]["labels"].clone(), want);
        let answer = t.send(Method::PATCH, &path, content_type, label(Value::Null).to_string()).await?;
        seen.same("without", answer.body["metadata"]["labels"].clone(), json!({"app": "x"}));
    }
    let details = json!({"name": name, "kind": "Pod"});
    let answer = t.patch(Pod, &name, &label("a b".into())).await?;
    seen.invalid("a label that is none", &answer, details.clone(), &[("Invalid", "metadata.labels")]);
    let uid = json!({"metadata": {"uid": "00000000-0000-4000-8000-000000000000", "labels": {"a": "b"}}});
    let answer = t.patch(Pod, &name, &uid).await?;
    seen.invalid("of another uid", &answer, details, &[("Invalid", "metadata.uid")]);
    let stale = json!({"metadata": {"resourceVersion": made.version().to_string(), "labels": {"a": "b"}}});
    let answer = t.patch(Pod, &name, &stale).await?;
    seen.refused("stale", &answer, 409, "Conflict", &format!("Operation cannot be fulfilled on pods {name:?}: …"));
    let answer = t.patch(Pod, &t.name("b"), &label("x".into())).await?;
    seen.refused("of what is missing", &answer, 404, "NotFound", &format!("pods {:?} not found", t.name("b")));
    let answer =
        t.delete(Pod, &name, &json!({"preconditions": {"uid": "00000000-0000-4000-8000-000000000000"}})).await?;
    seen.refused(
        "delete of another uid",
        &answer,
        409,
        "Conflict",
        &format!("Operation cannot be fulfilled on Pod {name:?}: …"),
    );
    let answer = t.delete(Pod, &name, &json!({"gracePeriodSeconds": 0})).await?;
    seen.accepted("delete at once", &answer, 200);
    let answer = t.get(Pod, &name).await?;
    seen.refused("then", &answer, 404, "NotFound", "…");
    Ok(())
}
