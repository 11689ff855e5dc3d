//! Create, replace, merge patch and delete of Leases: versions, uids and the kinds of 409.

use http::Method;
use serde_json::{Value, json};

use super::{
    Seen, Target,
    target::{JSON, MERGE, STRATEGIC},
};
use crate::Kind::Lease;

/// A uid that no object has.
const NO_UID: &str = "00000000-0000-4000-8000-000000000000";
const STALE: &str = "the object has been modified; please apply your changes to the latest version and try again";
const NO_VERSION: &str = "metadata.resourceVersion: Invalid value: 0: must be specified for an update";

/// A Lease with this holder.
pub(super) fn lease(name: &str, holder: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
        "spec": {"holderIdentity": holder},
    })
}

/// The same with some metadata (null: none such).
fn with(mut object: Value, metadata: Value) -> Value {
    for (field, value) in metadata.as_object().into_iter().flatten() {
        object["metadata"][field] = value.clone();
    }
    object
}

fn about(name: &str) -> Value {
    json!({"name": name, "group": "coordination.k8s.io", "kind": "leases"})
}

fn conflict(name: &str, why: &str) -> String {
    format!("Operation cannot be fulfilled on leases.coordination.k8s.io {name:?}: {why}")
}

fn wrong_uid(name: &str, wanted: &str, had: &str) -> String {
    conflict(
        name,
        &format!(
            "StorageError: invalid object, Code: 4, Key: /registry/leases/…/{name}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {wanted}, UID in object meta: {had}"
        ),
    )
}

pub(super) async fn creates(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    let name = t.name("a");
    let long_ago = "2020-01-01T00:00:00Z";
    let claims = json!({
        "uid": NO_UID, "creationTimestamp": long_ago, "deletionTimestamp": long_ago, "deletionGracePeriodSeconds": 5,
        "labels": {"a": "b"},
    });
    let made = t.create(Lease, &with(lease(&name, "x"), claims)).await?;
    seen.accepted("create", &made, 201);
    let meta = &made.body["metadata"];
    seen.same("apiVersion", made.body["apiVersion"].clone(), "coordination.k8s.io/v1");
    seen.same("kind", made.body["kind"].clone(), "Lease");
    seen.same("namespace", meta["namespace"].clone(), t.namespace());
    seen.same("labels", meta["labels"].clone(), json!({"a": "b"}));
    seen.same("spec", made.body["spec"].clone(), json!({"holderIdentity": "x"}));
    seen.that("it has a version", made.version() > 0);
    seen.that("it has a uid of its own", made.uid().len() == 36 && made.uid() != NO_UID);
    let created = meta["creationTimestamp"].as_str().unwrap_or("");
    seen.that("it has a time of its own, in seconds", created.len() == 20 && created != long_ago);
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "generation"] {
        seen.same(field, meta[field].clone(), Value::Null);
    }
    let got = t.get(Lease, &name).await?;
    seen.accepted("get", &got, 200);
    seen.same("what is got", without_managed_fields(got.body), without_managed_fields(made.body));
    Ok(())
}

fn without_managed_fields(mut object: Value) -> Value {
    if let Some(meta) = object["metadata"].as_object_mut() {
        meta.remove("managedFields");
    }
    object
}

pub(super) async fn creates_twice(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    let name = t.name("a");
    let made = t.create(Lease, &lease(&name, "x")).await?;
    let again = t.create(Lease, &lease(&name, "y")).await?;
    let message = format!("leases.coordination.k8s.io {name:?} already exists");
    seen.refused("again", &again, 409, "AlreadyExists", &message);
    seen.same("details", again.body["details"].clone(), about(&name));
    let got = t.get(Lease, &name).await?;
    seen.same("the version after", got.version(), made.version());
    for name in [name, t.name("b")] {
        let answer = t.create(Lease, &with(lease(&name, "x"), json!({"resourceVersion": "5"}))).await?;
        seen.refused("with a version", &answer, 500, "", "resourceVersion should not be set on objects to be created");
    }
    // Zero, and text that is not a number, is no version here.
    for (i, version) in ["0", "abc", ""].into_iter().enumerate() {
        let name = t.name(&format!("v{i}"));
        let answer = t.create(Lease, &with(lease(&name, "x"), json!({"resourceVersion": version}))).await?;
        seen.accepted(format!("with the version {version:?}"), &answer, 201);
    }
    Ok(())
}

pub(super) async fn creates_with_a_generated_name(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    let start = t.name("g-");
    let body = json!({"metadata": {"generateName": start}});
    let (one, other) = (t.create(Lease, &body).await?, t.create(Lease, &body).await?);
    seen.accepted("create", &one, 201);
    let name = one.body["metadata"]["name"].as_str().unwrap_or("");
    seen.that("five letters are added", name.starts_with(&start) && name.len() == start.len() + 5);
    seen.that("the second has another name", one.body["metadata"]["name"] != other.body["metadata"]["name"]);
    seen.same("spec", one.body["spec"].clone(), json!({}));
    Ok(())
}

pub(super) async fn replaces(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    let name = t.name("a");
    let first = t.create(Lease, &lease(&name, "x")).await?;
    let at = |holder: &str, version: Value| with(lease(&name, holder), json!({"resourceVersion": version}));
    let old = first.version().to_string();
    let second = t.replace(Lease, &name, &at("y", old.clone().into())).await?;
    seen.accepted("with the version", &second, 200);
    seen.that("the version grows", second.version() > first.version());
    seen.same("the uid stays", second.uid(), first.uid());
    seen.same("the spec is the new one", second.body["spec"].clone(), json!({"holderIdentity": "y"}));
    let same = t.replace(Lease, &name, &at("y", second.version().to_string().into())).await?;
    seen.accepted("with the same content", &same, 200);
    seen.same("the version of the same content", same.version(), second.version());
    for holder in ["y", "z"] {
        let stale = t.replace(Lease, &name, &at(holder, old.clone().into())).await?;
        seen.refused(format!("stale ({holder})"), &stale, 409, "Conflict", &conflict(&name, STALE));
        seen.same("details of stale", stale.body["details"].clone(), about(&name));
    }
    let future = t.replace(Lease, &name, &at("z", "999999999999".into())).await?;
    seen.refused("with a version to come", &future, 409, "Conflict", &conflict(&name, STALE));
    for none in [Value::Null, "".into(), "0".into()] {
        let blind = t.replace(Lease, &name, &at("z", none.clone())).await?;
        let message = format!("leases.coordination.k8s.io {name:?} is invalid: {NO_VERSION}");
        seen.refused(format!("version {none}"), &blind, 422, "Invalid", &message);
        let cause = [("Invalid", "metadata.resourceVersion")];
        seen.invalid(format!("version {none}"), &blind, about(&name), &cause);
    }
    let odd = t.replace(Lease, &name, &at("z", "abc".into())).await?;
    seen.refused("with a version that is none", &odd, 500, "", "strconv.ParseUint: parsing \"abc\": invalid syntax");
    let number = t.replace(Lease, &name, &at("z", 5.into())).await?;
    seen.refused("with a number as version", &number, 400, "BadRequest", "…");
    seen.same("the version at last", t.get(Lease, &name).await?.version(), second.version());
    Ok(())
}

pub(super) async fn replaces_another(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    let name = t.name("a");
    let made = t.create(Lease, &lease(&name, "x")).await?;
    let version = made.version().to_string();
    let put = |metadata: Value| with(with(lease(&name, "y"), json!({"resourceVersion": version})), metadata);
    let other = t.replace(Lease, &name, &put(json!({"name": "other"}))).await?;
    let message = format!("the name of the object (other) does not match the name on the URL ({name})");
    seen.refused("another name", &other, 400, "BadRequest", &message);
    let unnamed = t.replace(Lease, &name, &put(json!({"name": ""}))).await?;
    let message = format!("the name of the object ({name} based on URL) was undeterminable: name must be provided");
    seen.refused("no name", &unnamed, 400, "BadRequest", &message);
    let elsewhere = t.replace(Lease, &name, &put(json!({"namespace": "elsewhere"}))).await?;
    let message = "the namespace of the provided object does not match the namespace sent on the request";
    seen.refused("another namespace", &elsewhere, 400, "BadRequest", message);
    // The uid is looked at before the version.
    for version in [json!(version), json!("1"), Value::Null] {
        let wrong = t.replace(Lease, &name, &put(json!({"uid": NO_UID, "resourceVersion": version}))).await?;
        let message = wrong_uid(&name, NO_UID, made.uid());
        seen.refused(format!("another uid, version {version}"), &wrong, 409, "Conflict", &message);
        seen.same("details", wrong.body["details"].clone(), about(&name));
    }
    let dying = t.replace(Lease, &name, &put(json!({"deletionTimestamp": "2020-01-01T00:00:00Z"}))).await?;
    let details = json!({"name": name, "group": "coordination.k8s.io", "kind": "Lease"});
    seen.invalid("a deletion time", &dying, details, &[("Invalid", "metadata.deletionTimestamp")]);
    let owned = json!({"uid": made.uid(), "creationTimestamp": "2020-01-01T00:00:00Z", "generation": 9});
    let done = t.replace(Lease, &name, &put(owned)).await?;
    seen.accepted("the same uid", &done, 200);
    for field in ["creationTimestamp", "generation"] {
        seen.same(field, done.body["metadata"][field].clone(), made.body["metadata"][field].clone());
    }
    Ok(())
}

pub(super) async fn replaces_what_is_missing(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    let gone = t.name("gone");
    let made = t.create(Lease, &lease(&gone, "x")).await?;
    t.delete(Lease, &gone, &Value::Null).await?;
    let old = json!({"resourceVersion": made.version().to_string(), "uid": made.uid()});
    for (what, name, metadata) in [
        ("a uid", t.name("a"), json!({"uid": NO_UID})),
        ("a uid and a version", t.name("a"), json!({"uid": NO_UID, "resourceVersion": "5"})),
        ("its old uid and version", gone.clone(), old),
    ] {
        let answer = t.replace(Lease, &name, &with(lease(&name, "y"), metadata.clone())).await?;
        let uid = metadata["uid"].as_str().unwrap_or("");
        seen.refused(format!("missing, with {what}"), &answer, 409, "Conflict", &wrong_uid(&name, uid, ""));
    }
    for (what, name, metadata) in [
        ("nothing", t.name("b"), json!({})),
        ("a version", t.name("c"), json!({"resourceVersion": "5"})),
        ("its old version", gone, json!({"resourceVersion": made.version().to_string()})),
    ] {
        let answer = t.replace(Lease, &name, &with(lease(&name, "y"), metadata)).await?;
        seen.accepted(format!("missing, with {what}"), &answer, 201);
        seen.that(format!("missing, with {what}: it is a new one"), answer.uid() != made.uid());
    }
    let name = t.name("D_");
    let answer = t.replace(Lease, &name, &lease(&name, "y")).await?;
    let details = json!({"name": name, "group": "coordination.k8s.io", "kind": "Lease"});
    seen.invalid("missing, with a bad name", &answer, details, &[("Invalid", "metadata.name")]);
    Ok(())
}

pub(super) async fn patches(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    let name = t.name("a");
    let made = t.create(Lease, &lease(&name, "x")).await?;
    let changed = t.patch(Lease, &name, &json!({"spec": {"leaseTransitions": 5}})).await?;
    seen.accepted("patch", &changed, 200);
    seen.same("spec", changed.body["spec"].clone(), json!({"holderIdentity": "x", "leaseTransitions": 5}));
    seen.that("the version grows", changed.version() > made.version());
    for same in [
        json!({}),
        json!({"spec": {"leaseTransitions": 5}}),
        json!({"spec": {"colour": "red"}}),
        json!({"metadata": {"creationTimestamp": "2020-01-01T00:00:00Z"}}),
        json!({"metadata": {"uid": made.uid()}}),
    ] {
        let answer = t.patch(Lease, &name, &same).await?;
        seen.accepted(&same, &answer, 200);
        seen.same(format!("the version after {same}"), answer.version(), changed.version());
    }
    let labels = json!({"metadata": {"labels": {"a": "b", "c": "d"}, "annotations": {"x": "y"}}});
    t.patch(Lease, &name, &labels).await?;
    let fewer = t.patch(Lease, &name, &json!({"metadata": {"labels": {"a": null}}})).await?;
    seen.same("labels", fewer.body["metadata"]["labels"].clone(), json!({"c": "d"}));
    let none = t.patch(Lease, &name, &json!({"metadata": {"labels": {"c": null}}})).await?;
    seen.same("no labels", none.body["metadata"]["labels"].clone(), Value::Null);
    seen.same("annotations", none.body["metadata"]["annotations"].clone(), json!({"x": "y"}));
    let cleared = t.patch(Lease, &name, &json!({"spec": {"holderIdentity": null}})).await?;
    seen.same("holder cleared", cleared.body["spec"].clone(), json!({"leaseTransitions": 5}));
    let empty = t.patch(Lease, &name, &json!({"spec": null})).await?;
    seen.same("spec cleared", empty.body["spec"].clone(), json!({}));
    let body = json!({"spec": {"holderIdentity": "s"}}).to_string();
    let strategic = t.send(Method::PATCH, &t.path(Lease, &name), STRATEGIC, body).await?;
    seen.same("strategic", strategic.body["spec"].clone(), json!({"holderIdentity": "s"}));
    let missing = t.patch(Lease, &t.name("b"), &json!({"metadata": {"resourceVersion": "5"}})).await?;
    let message = format!("leases.coordination.k8s.io {:?} not found", t.name("b"));
    seen.refused("of what is missing", &missing, 404, "NotFound", &message);
    Ok(())
}

pub(super) async fn patches_a_version(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    let name = t.name("a");
    let first = t.create(Lease, &lease(&name, "x")).await?;
    let at = |version: Value, holder: &str| json!({"metadata": {"resourceVersion": version}, "spec": {"holderIdentity": holder}});
    let old: Value = first.version().to_string().into();
    let second = t.patch(Lease, &name, &at(old.clone(), "y")).await?;
    seen.accepted("with the version", &second, 200);
    for (version, holder) in [(old.clone(), "y"), (old, "z"), ("999999999999".into(), "z")] {
        let stale = t.patch(Lease, &name, &at(version.clone(), holder)).await?;
        let what = format!("version {version}, holder {holder}");
        seen.refused(&what, &stale, 409, "Conflict", &conflict(&name, STALE));
        seen.same(format!("{what}: details"), stale.body["details"].clone(), about(&name));
    }
    for none in [Value::Null, "".into(), "0".into()] {
        let blind = t.patch(Lease, &name, &at(none.clone(), "z")).await?;
        seen.invalid(format!("version {none}"), &blind, about(&name), &[("Invalid", "metadata.resourceVersion")]);
    }
    let odd = t.patch(Lease, &name, &at("abc".into(), "z")).await?;
    seen.refused("a version that is none", &odd, 500, "", "strconv.ParseUint: parsing \"abc\": invalid syntax");
    let now = t.get(Lease, &name).await?;
    seen.same("the version at last", now.version(), second.version());
    seen.same("the holder at last", now.body["spec"]["holderIdentity"].clone(), "y");
    Ok(())
}

pub(super) async fn patches_what_is_fixed(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    let name = t.name("a");
    let made = t.create(Lease, &lease(&name, "x")).await?;
    let undeterminable =
        format!("the name of the object ({name} based on URL) was undeterminable: name must be provided");
    let renamed = format!("the name of the object (other) does not match the name on the URL ({name})");
    let moved = "the namespace of the provided object does not match the namespace sent on the request";
    for (patch, message) in [
        (json!({"metadata": {"name": "other"}}), renamed.as_str()),
        (json!({"metadata": {"namespace": "elsewhere"}}), moved),
        (json!({"metadata": {"name": null}}), &undeterminable),
        (json!({"metadata": null}), &undeterminable),
    ] {
        let answer = t.patch(Lease, &name, &patch).await?;
        seen.refused(&patch, &answer, 400, "BadRequest", message);
    }
    let details = json!({"name": name, "group": "coordination.k8s.io", "kind": "Lease"});
    let answer = t.patch(Lease, &name, &json!({"metadata": {"uid": NO_UID}})).await?;
    seen.invalid("another uid", &answer, details, &[("Invalid", "metadata.uid")]);
    let answer = t.patch(Lease, &name, &json!({"metadata": {"uid": NO_UID, "resourceVersion": "1"}})).await?;
    seen.refused("another uid, stale", &answer, 409, "Conflict", &conflict(&name, STALE));
    for patch in [json!({"kind": "Pod"}), json!({"apiVersion": "coordination.k8s.io/v2"})] {
        let answer = t.patch(Lease, &name, &patch).await?;
        seen.invalid(&patch, &answer, json!({}), &[("Invalid", "patch")]);
    }
    seen.same("the version at last", t.get(Lease, &name).await?.version(), made.version());
    Ok(())
}

pub(super) async fn patches_badly(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    let name = t.name("a");
    t.create(Lease, &lease(&name, "x")).await?;
    let path = t.path(Lease, &name);
    for body in ["[]", "\"x\"", "null", "7", "{x", ""] {
        let answer = t.send(Method::PATCH, &path, MERGE, body).await?;
        seen.refused(format!("the patch {body:?}"), &answer, 400, "BadRequest", "…");
    }
    let answer = t.send(Method::PATCH, &path, JSON, "{}").await?;
    seen.refused("a patch of no kind", &answer, 415, "UnsupportedMediaType", "…");
    let apply = lease(&name, "y").to_string();
    let answer = t.send(Method::PATCH, &path, "application/apply-patch+yaml", apply).await?;
    let details = json!({"group": "meta.k8s.io", "kind": "PatchOptions"});
    seen.invalid("an apply by nobody", &answer, details, &[("Required", "fieldManager")]);
    Ok(())
}

pub(super) async fn deletes(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    let name = t.name("a");
    let made = t.create(Lease, &lease(&name, "x")).await?;
    let deleted = t.delete(Lease, &name, &Value::Null).await?;
    seen.accepted("delete", &deleted, 200);
    let details = json!({"name": name, "group": "coordination.k8s.io", "kind": "leases", "uid": made.uid()});
    let want = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
    seen.same("its answer", deleted.body, want);
    let message = format!("leases.coordination.k8s.io {name:?} not found");
    let nothing = json!({"preconditions": {"uid": made.uid()}});
    for (what, answer) in [
        ("delete again", t.delete(Lease, &name, &Value::Null).await?),
        ("delete again with a precondition", t.delete(Lease, &name, &nothing).await?),
        ("get", t.get(Lease, &name).await?),
        ("patch", t.patch(Lease, &name, &json!({"spec": {}})).await?),
    ] {
        seen.refused(what, &answer, 404, "NotFound", &message);
        seen.same(format!("{what}: details"), answer.body["details"].clone(), about(&name));
    }
    for options in [json!({"gracePeriodSeconds": -5}), json!({"gracePeriodSeconds": 0}), json!({})] {
        t.create(Lease, &lease(&name, "x")).await?;
        let answer = t.delete(Lease, &name, &options).await?;
        seen.accepted(format!("delete with {options}"), &answer, 200);
    }
    Ok(())
}

pub(super) async fn deletes_with_preconditions(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    let name = t.name("a");
    let made = t.create(Lease, &lease(&name, "x")).await?;
    let (uid, version) = (made.uid(), made.version());
    let details = json!({"name": name, "group": "coordination.k8s.io", "kind": "Lease"});
    let uid_why = format!(
        "the UID in the precondition ({NO_UID}) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
    );
    let version_why = format!(
        "the ResourceVersion in the precondition (1) does not match the ResourceVersion in record ({version}). The object might have been modified"
    );
    for (conditions, why) in [
        (json!({"uid": NO_UID}), &uid_why),
        (json!({"uid": NO_UID, "resourceVersion": "1"}), &uid_why),
        (json!({"resourceVersion": "1"}), &version_why),
        (json!({"uid": uid, "resourceVersion": "1"}), &version_why),
    ] {
        let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": conditions});
        let answer = t.delete(Lease, &name, &options).await?;
        let message = format!("Operation cannot be fulfilled on Lease.coordination.k8s.io {name:?}: {why}");
        seen.refused(&conditions, &answer, 409, "Conflict", &message);
        seen.same("details", answer.body["details"].clone(), details.clone());
    }
    for body in ["{x", r#"{"kind": "Pod", "apiVersion": "v1"}"#] {
        let answer = t.send(Method::DELETE, &t.path(Lease, &name), JSON, body).await?;
        seen.refused(format!("the options {body}"), &answer, 400, "BadRequest", "…");
    }
    let answer = t.send(Method::DELETE, &t.path(Lease, &name), "text/plain", "{}").await?;
    seen.refused("options as text", &answer, 415, "UnsupportedMediaType", "…");
    let both = json!({"preconditions": {"uid": uid, "resourceVersion": version.to_string()}});
    let answer = t.delete(Lease, &name, &both).await?;
    seen.accepted("both hold", &answer, 200);
    Ok(())
}

pub(super) async fn deletes_and_creates_again(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    let name = t.name("a");
    let old = t.create(Lease, &lease(&name, "x")).await?;
    t.delete(Lease, &name, &Value::Null).await?;
    let new = t.create(Lease, &lease(&name, "x")).await?;
    seen.accepted("create again", &new, 201);
    seen.that("the uid is another", new.uid() != old.uid());
    // Two versions lie between: of the deletion, and of the new one.
    seen.that("the version grew by the deletion, too", new.version() >= old.version() + 2);
    let (was, is) = (old.version().to_string(), new.version().to_string());
    for version in [&was, &is] {
        let metadata = json!({"uid": old.uid(), "resourceVersion": version});
        let answer = t.replace(Lease, &name, &with(lease(&name, "y"), metadata)).await?;
        let message = wrong_uid(&name, old.uid(), new.uid());
        seen.refused(format!("old uid, version {version}"), &answer, 409, "Conflict", &message);
    }
    let answer = t.replace(Lease, &name, &with(lease(&name, "y"), json!({"resourceVersion": was}))).await?;
    seen.refused("replace with the old version", &answer, 409, "Conflict", &conflict(&name, STALE));
    let answer = t.patch(Lease, &name, &json!({"metadata": {"resourceVersion": was}})).await?;
    seen.refused("patch with the old version", &answer, 409, "Conflict", &conflict(&name, STALE));
    let answer = t.delete(Lease, &name, &json!({"preconditions": {"uid": old.uid()}})).await?;
    seen.refused("delete of the old uid", &answer, 409, "Conflict", "…");
    Ok(())
}

pub(super) async fn asks_for_what_is_not_served(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    let name = t.name("a");
    t.create(Lease, &lease(&name, "x")).await?;
    let body = lease(&name, "x").to_string();
    for (method, path) in [(Method::PUT, t.path(Lease, "")), (Method::POST, t.path(Lease, &name))] {
        let answer = t.send(method.clone(), &path, JSON, body.clone()).await?;
        let message = "the server does not allow this method on the requested resource";
        seen.refused(format!("{method} {path}"), &answer, 405, "MethodNotAllowed", message);
    }
    let namespace = t.namespace();
    for path in [
        format!("{}/status", t.path(Lease, &name)),
        format!("/apis/coordination.k8s.io/v9/namespaces/{namespace}/leases/{name}"),
        format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/nothings/{name}"),
    ] {
        let answer = t.send(Method::GET, &path, "", "").await?;
        seen.refused(&path, &answer, 404, "NotFound", "the server could not find the requested resource");
    }
    for content_type in ["text/plain", MERGE] {
        let answer = t.send(Method::POST, &t.path(Lease, ""), content_type, body.clone()).await?;
        seen.refused(
            content_type,
            &answer,
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: …",
        );
    }
    let plain = lease(&t.name("b"), "x").to_string();
    let answer = t.send(Method::POST, &t.path(Lease, ""), "", plain).await?;
    seen.accepted("no content type", &answer, 201);
    Ok(())
}
