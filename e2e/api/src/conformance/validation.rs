//! What of a Lease is checked, in creates, patches and replaces.

use http::Method;
use serde_json::{Value, json};

use super::{Seen, Target, lease_writes::lease, target::JSON};
use crate::Kind::Lease;

fn about(name: &str) -> Value {
    json!({"name": name, "group": "coordination.k8s.io", "kind": "Lease"})
}

fn with_spec(name: &str, spec: &Value) -> Value {
    let mut lease = lease(name, "");
    lease["spec"] = spec.clone();
    lease
}

pub(super) async fn numbers(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    let name = t.name("a");
    const SECONDS: (&str, &str) = ("Invalid", "spec.leaseDurationSeconds");
    const TERM: (&str, &str) = ("Invalid", "spec.leaseTransitions");
    for (spec, causes) in [
        (json!({"leaseDurationSeconds": 0}), &[SECONDS][..]),
        (json!({"leaseDurationSeconds": -1}), &[SECONDS]),
        (json!({"leaseTransitions": -1}), &[TERM]),
        (json!({"leaseTransitions": -1, "leaseDurationSeconds": 0}), &[SECONDS, TERM]),
    ] {
        let answer = t.create(Lease, &with_spec(&name, &spec)).await?;
        seen.invalid(&spec, &answer, about(&name), causes);
    }
    let spec = json!({"leaseTransitions": -1, "leaseDurationSeconds": 0});
    let answer = t.create(Lease, &with_spec(&name, &spec)).await?;
    let message = format!(
        "Lease.coordination.k8s.io {name:?} is invalid: [spec.leaseDurationSeconds: Invalid value: 0: must be greater \
         than 0, spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0]"
    );
    seen.refused("two at once", &answer, 422, "Invalid", &message);
    for spec in [
        json!({"leaseDurationSeconds": 2_147_483_648_u64}),
        json!({"leaseTransitions": 2_147_483_648_u64}),
        json!({"leaseTransitions": -2_147_483_649_i64}),
        json!({"leaseDurationSeconds": "15"}),
        json!({"leaseDurationSeconds": 1.5}),
        json!({"leaseDurationSeconds": 15.0}),
        json!({"holderIdentity": 7}),
        json!({"holderIdentity": true}),
    ] {
        let answer = t.create(Lease, &with_spec(&name, &spec)).await?;
        let message = "Lease in version \"v1\" cannot be handled as a Lease: json: cannot unmarshal …";
        seen.refused(&spec, &answer, 400, "BadRequest", message);
    }
    for (i, (spec, kept)) in [
        (json!({"leaseDurationSeconds": 2_147_483_647, "leaseTransitions": 2_147_483_647}), None),
        (json!({"leaseDurationSeconds": 1, "leaseTransitions": 0, "holderIdentity": ""}), None),
        (json!({"holderIdentity": "h".repeat(300)}), None),
        (json!({"leaseDurationSeconds": null, "leaseTransitions": null, "renewTime": null}), Some(json!({}))),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = t.create(Lease, &with_spec(&t.name(&format!("b{i}")), &spec)).await?;
        seen.accepted(&spec, &answer, 201);
        seen.same("spec", answer.body["spec"].clone(), kept.unwrap_or(spec));
    }
    Ok(())
}

pub(super) async fn micro_times(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    for bad in [
        "2026-11-22T10:00:00Z",
        "2026-11-22T10:00:00.123Z",
        "2026-11-22T10:00:00.1234567Z",
        "2026-11-22T10:00:00.123456789Z",
        "2026-11-22t10:00:00.123456z",
        "2026-11-22 10:00:00.123456Z",
        "2026-11-22T10:00:00.123456",
        "2026-13-22T10:00:00.123456Z",
        "2026-02-30T10:00:00.123456Z",
        "2026-11-22T24:00:00.123456Z",
        "2026-11-22T10:00:60.123456Z",
        "2026-11-22T10:00:00.123456+25:00",
        "2026-11-22T10:00:00.123456+0100",
        "soon",
        "",
    ] {
        let answer = t.create(Lease, &with_spec(&t.name("a"), &json!({"renewTime": bad}))).await?;
        let message = format!("Lease in version \"v1\" cannot be handled as a Lease: parsing time {bad:?}…");
        seen.refused(format!("the time {bad:?}"), &answer, 400, "BadRequest", &message);
    }
    for bad in [json!(5), json!(true), json!({})] {
        let answer = t.create(Lease, &with_spec(&t.name("a"), &json!({"acquireTime": bad}))).await?;
        seen.refused(format!("the time {bad}"), &answer, 400, "BadRequest", "…cannot be handled as a Lease: json: …");
    }
    for (i, (given, kept)) in [
        ("2026-11-22T10:00:00.000000Z", "2026-11-22T10:00:00.000000Z"),
        ("2026-11-22T10:00:00.123456+01:00", "2026-11-22T09:00:00.123456Z"),
        ("2026-11-22T10:00:00.123456-11:30", "2026-11-22T21:30:00.123456Z"),
        ("9999-12-30T21:59:59.999999Z", "9999-12-30T21:59:59.999999Z"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = t.create(Lease, &with_spec(&t.name(&format!("b{i}")), &json!({"renewTime": given}))).await?;
        seen.accepted(given, &answer, 201);
        seen.same(given, answer.body["spec"]["renewTime"].clone(), kept);
    }
    Ok(())
}

pub(super) async fn names(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    let long = "x".repeat(254);
    for bad in ["A", "a_b", "-a", "a..b", "a.", "..", "ä", "a b", &long] {
        let answer = t.create(Lease, &lease(bad, "x")).await?;
        seen.invalid(format!("the name {bad:?}"), &answer, about(bad), &[("Invalid", "metadata.name")]);
    }
    let answer = t.create(Lease, &lease("a_b", "x")).await?;
    let message = "Lease.coordination.k8s.io \"a_b\" is invalid: metadata.name: Invalid value: \"a_b\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    seen.refused("the words", &answer, 422, "Invalid", message);
    let nameless = json!({"group": "coordination.k8s.io", "kind": "Lease"});
    for (body, field) in [(lease("", "x"), "metadata.name"), (json!({}), "metadata.name")] {
        let answer = t.create(Lease, &body).await?;
        seen.invalid(format!("no name: {body}"), &answer, nameless.clone(), &[("Required", field)]);
    }
    let answer = t.create(Lease, &json!({"metadata": {"generateName": "G_"}})).await?;
    let causes: Vec<&Value> =
        answer.body["details"]["causes"].as_array().into_iter().flatten().map(|cause| &cause["field"]).collect();
    seen.same("a bad generateName", json!(causes), json!(["metadata.generateName", "metadata.name"]));
    for good in [t.name("a.b"), t.name("0"), format!("{}{}", t.name(""), "x".repeat(253 - t.name("").len()))] {
        let answer = t.create(Lease, &lease(&good, "x")).await?;
        seen.accepted(&good, &answer, 201);
    }
    Ok(())
}

pub(super) async fn bodies(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    for body in ["{nope", "[]", "\"x\"", "7", ""] {
        let answer = t.send(Method::POST, &t.path(Lease, ""), JSON, body).await?;
        let message = "the object provided is unrecognized (must be of type Lease): couldn't get version/kind; json parse error: …";
        seen.refused(format!("the body {body:?}"), &answer, 400, "BadRequest", message);
    }
    let answer = t.send(Method::POST, &t.path(Lease, ""), JSON, "null").await?;
    seen.refused("null", &answer, 422, "Invalid", "…");
    let of = |api_version: Value, kind: Value| {
        let mut body = lease(&t.name("a"), "x");
        body["apiVersion"] = api_version;
        body["kind"] = kind;
        body
    };
    for (api_version, kind, message) in [
        ("v1", "Pod", "Pod in version \"v1\" cannot be handled as a Lease: …"),
        ("coordination.k8s.io/v1", "Pod", "Pod in version \"v1\" cannot be handled as a Lease: …"),
        ("", "Pod", "Pod in version \"v1\" cannot be handled as a Lease: …"),
        ("coordination.k8s.io/v2", "Lease", "Lease in version \"v2\" cannot be handled as a Lease: …"),
    ] {
        let answer = t.create(Lease, &of(api_version.into(), kind.into())).await?;
        seen.refused(format!("{kind} of {api_version:?}"), &answer, 400, "BadRequest", message);
    }
    let none = of("".into(), "".into());
    let mut left_out = lease(&t.name("b"), "x");
    for field in ["apiVersion", "kind"] {
        left_out.as_object_mut().map(|body| body.remove(field));
    }
    for body in [none, left_out] {
        let answer = t.create(Lease, &body).await?;
        seen.accepted(&body, &answer, 201);
        seen.same("kind", answer.body["kind"].clone(), "Lease");
        seen.same("apiVersion", answer.body["apiVersion"].clone(), "coordination.k8s.io/v1");
    }
    let mut elsewhere = lease(&t.name("c"), "x");
    elsewhere["metadata"]["namespace"] = "elsewhere".into();
    let answer = t.create(Lease, &elsewhere).await?;
    let message = "the namespace of the provided object does not match the namespace sent on the request";
    seen.refused("another namespace", &answer, 400, "BadRequest", message);
    let answer = t.create(Lease, &with_spec(&t.name("d"), &json!({"colour": "red"}))).await?;
    seen.accepted("an unknown field", &answer, 201);
    seen.same("an unknown field", answer.body["spec"].clone(), json!({}));
    Ok(())
}

pub(super) async fn metadata(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    let name = t.name("a");
    const NAME_PART: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    let made_of = |metadata: &Value| {
        let mut body = lease(&name, "x");
        for (field, value) in metadata.as_object().into_iter().flatten() {
            body["metadata"][field] = value.clone();
        }
        body
    };
    let owner = |uid: &str| json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a", "uid": uid, "controller": true});
    const OWNER: [(&str, &str); 3] = [
        ("Invalid", "metadata.ownerReferences.apiVersion"),
        ("Invalid", "metadata.ownerReferences.name"),
        ("Invalid", "metadata.ownerReferences.uid"),
    ];
    for (metadata, causes) in [
        (json!({"labels": {"a b": "x"}}), &[("Invalid", "metadata.labels")][..]),
        (json!({"labels": {"A/b": "x"}}), &[("Invalid", "metadata.labels")]),
        (json!({"labels": {"a": "x y"}}), &[("Invalid", "metadata.labels")]),
        (json!({"annotations": {"a b": "x"}}), &[("Invalid", "metadata.annotations")]),
        (json!({"annotations": {"a": "x".repeat(262_144)}}), &[("TooLong", "metadata.annotations")]),
        (json!({"ownerReferences": [{"kind": "StatefulSet"}]}), &OWNER),
        (json!({"ownerReferences": [owner("u"), owner("v")]}), &[("Invalid", "metadata.ownerReferences")]),
    ] {
        let answer = t.create(Lease, &made_of(&metadata)).await?;
        let what: String = metadata.to_string().chars().take(60).collect();
        seen.invalid(what, &answer, about(&name), causes);
    }
    let answer = t.create(Lease, &made_of(&json!({"labels": {"a b": "x"}}))).await?;
    let message = format!("…metadata.labels: Invalid value: \"a b\": {NAME_PART}");
    seen.refused("the words", &answer, 422, "Invalid", &message);
    let answer = t.create(Lease, &made_of(&json!({"labels": {"a": 5}}))).await?;
    seen.refused("a number as label", &answer, 400, "BadRequest", "…");
    let good = json!({"annotations": {"A.b/C": "x y", "a": "x".repeat(262_144 - 10)}, "ownerReferences": [owner("u")]});
    let answer = t.create(Lease, &made_of(&good)).await?;
    seen.accepted("an upper-case annotation and an owner", &answer, 201);
    Ok(())
}

pub(super) async fn dropped_fields(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    for (i, spec) in [
        json!({"preferredHolder": "a"}),
        json!({"strategy": "A b"}),
        json!({"strategy": "OldestEmulationVersion", "preferredHolder": "a"}),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = t.create(Lease, &with_spec(&t.name(&format!("a{i}")), &spec)).await?;
        seen.accepted(&spec, &answer, 201);
        seen.same(&spec, answer.body["spec"].clone(), json!({}));
    }
    Ok(())
}

pub(super) async fn updates(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    let name = t.name("a");
    let old = t.create(Lease, &lease(&name, "x")).await?;
    let new = t.patch(Lease, &name, &json!({"spec": {"holderIdentity": "y"}})).await?;
    let at = |version: u64, spec: &Value| {
        let mut body = with_spec(&name, spec);
        body["metadata"]["resourceVersion"] = version.to_string().into();
        body
    };
    let wrong = json!({"leaseDurationSeconds": 0, "leaseTransitions": -1});
    let causes = [("Invalid", "spec.leaseDurationSeconds"), ("Invalid", "spec.leaseTransitions")];
    let answer = t.patch(Lease, &name, &json!({"spec": wrong})).await?;
    seen.invalid("a patch with wrong values", &answer, about(&name), &causes);
    let answer = t.replace(Lease, &name, &at(new.version(), &wrong)).await?;
    seen.invalid("a replace with wrong values", &answer, about(&name), &causes);
    let stale = json!({"metadata": {"resourceVersion": old.version().to_string()}, "spec": wrong});
    let answer = t.patch(Lease, &name, &stale).await?;
    seen.refused("a stale patch with wrong values", &answer, 409, "Conflict", "…");
    let answer = t.replace(Lease, &name, &at(old.version(), &wrong)).await?;
    seen.refused("a stale replace with wrong values", &answer, 409, "Conflict", "…");
    for spec in [
        json!({"leaseTransitions": 2_147_483_648_u64}),
        json!({"leaseTransitions": "5"}),
        json!({"leaseTransitions": 1.5}),
        json!({"renewTime": "2026-01-01T00:00:00Z"}),
        json!({"renewTime": 5}),
        json!({"holderIdentity": 7}),
    ] {
        // A wrong type in a replace is a bad request; in a patch it is an invalid patch.
        let answer = t.replace(Lease, &name, &at(new.version(), &spec)).await?;
        seen.refused(
            format!("a replace with {spec}"),
            &answer,
            400,
            "BadRequest",
            "Lease in version \"v1\" cannot be handled as a Lease: …",
        );
        let answer = t.patch(Lease, &name, &json!({"spec": spec})).await?;
        seen.invalid(format!("a patch with {spec}"), &answer, json!({}), &[("Invalid", "patch")]);
        seen.refused(
            format!("a patch with {spec}"),
            &answer,
            422,
            "Invalid",
            " \"\" is invalid: patch: Invalid value: \"{…}\": …",
        );
    }
    seen.same("the version at last", t.get(Lease, &name).await?.version(), new.version());
    Ok(())
}
