//! Lists and watches of Leases: selectors, order, versions, bookmarks, ends and 410.

use http::Method;
use serde_json::{Value, json};

use super::{
    Seen, Target,
    lease_writes::lease,
    target::{change, version_of},
};
use crate::Kind::Lease;

fn labelled(t: &Target, name: &str, holder: &str) -> Value {
    let mut lease = lease(&t.name(name), holder);
    lease["metadata"]["labels"] = json!({"conformance": t.label()});
    lease
}

/// Two Leases `a` and `b`, and a version after both.
async fn two(t: &Target) -> anyhow::Result<u64> {
    t.create(Lease, &labelled(t, "a", "1")).await?;
    Ok(t.create(Lease, &labelled(t, "b", "2")).await?.version())
}

async fn hold(t: &Target, name: &str, holder: &str) -> anyhow::Result<u64> {
    Ok(t.patch(Lease, &t.name(name), &json!({"spec": {"holderIdentity": holder}})).await?.version())
}

fn mine(t: &Target) -> String {
    format!("labelSelector=conformance%3D{}", t.label())
}

fn names(list: &Value) -> Value {
    list["items"].as_array().into_iter().flatten().map(|item| item["metadata"]["name"].clone()).collect()
}

pub(super) async fn lists(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    let (a, b) = (t.name("a"), t.name("b"));
    let newest = two(t).await?;
    let all = t.list(Lease, &mine(t)).await?;
    seen.accepted("list", &all, 200);
    seen.same("kind", all.body["kind"].clone(), "LeaseList");
    seen.same("apiVersion", all.body["apiVersion"].clone(), "coordination.k8s.io/v1");
    seen.same("names, in order", names(&all.body), json!([a, b]));
    seen.that("the list's version is not older than its objects", all.version() >= newest);
    seen.same("items do not say their kind", all.body["items"][0]["kind"].clone(), Value::Null);
    let ns = t.namespace();
    for (fields, want) in [
        (format!("metadata.name%3D{a}"), json!([a])),
        (format!("metadata.name%3D%3D{a}"), json!([a])),
        (format!("metadata.name!%3D{a}"), json!([b])),
        ("metadata.name%3D".into(), json!([])),
        (format!("metadata.namespace%3D{ns}"), json!([a, b])),
        ("metadata.namespace%3Delsewhere".into(), json!([])),
        (format!("metadata.name%3D{a},metadata.namespace%3D{ns}"), json!([a])),
        (format!("metadata.name%3D{a},metadata.name%3D{b}"), json!([])),
    ] {
        let list = t.list(Lease, &format!("{}&fieldSelector={fields}", mine(t))).await?;
        seen.same(&fields, names(&list.body), want);
    }
    let own = t.label();
    for (labels, want) in [
        (format!("conformance%3D%3D{own}"), json!([a, b])),
        (format!("conformance%20in%20({own},x)"), json!([a, b])),
        (format!("conformance%3D{own},conformance!%3D{own}"), json!([])),
        (format!("conformance%3D{own},!other"), json!([a, b])),
        (format!("conformance%3D{own},other"), json!([])),
        (format!("conformance%3D{own},other%20notin%20(x)"), json!([a, b])),
    ] {
        let list = t.list(Lease, &format!("labelSelector={labels}")).await?;
        seen.same(&labels, names(&list.body), want);
    }
    let cached = t.list(Lease, &format!("{}&resourceVersion=0", mine(t))).await?;
    seen.accepted("resourceVersion=0", &cached, 200);
    Ok(())
}

pub(super) async fn lists_badly(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    for (query, message) in [
        ("fieldSelector=nope", "invalid selector: 'nope'; can't understand 'nope'"),
        (
            "fieldSelector=spec.holderIdentity%3D1",
            "\"spec.holderIdentity\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
        ),
        ("labelSelector=a%20b", "…"),
        ("labelSelector=%3D", "…"),
        ("labelSelector=a%20in%20b", "…"),
    ] {
        let answer = t.list(Lease, query).await?;
        seen.refused(query, &answer, 400, "BadRequest", message);
    }
    Ok(())
}

pub(super) async fn watches_from_a_version(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    let (a, b) = (t.name("a"), t.name("b"));
    let from = two(t).await?;
    let first = hold(t, "a", "3").await?;
    seen.same("the version of a patch that changes nothing", hold(t, "a", "3").await?, first);
    let other = hold(t, "b", "4").await?;
    t.delete(Lease, &a, &Value::Null).await?;
    let again = t.create(Lease, &labelled(t, "a", "5")).await?.version();
    let want = |deleted: u64| {
        vec![
            json!(["MODIFIED", a, first, "3"]),
            json!(["MODIFIED", b, other, "4"]),
            json!(["DELETED", a, deleted, "3"]),
            json!(["ADDED", a, again, "5"]),
        ]
    };
    let mut watch = t.watch(Lease, &format!("{}&timeoutSeconds=30&resourceVersion={from}", mine(t))).await?;
    let mut got = Vec::new();
    for _ in 0..4 {
        got.push(watch.next_change().await?);
    }
    let deleted = got[2][2].as_u64().unwrap_or(0);
    seen.same("events", got, want(deleted));
    seen.that("the deletion has a version of its own", other < deleted && deleted < again);
    // The next watch starts after the version of each change.
    let query = format!("fieldSelector=metadata.name%3D{a}&timeoutSeconds=30&resourceVersion={deleted}");
    let mut watch = t.watch(Lease, &query).await?;
    seen.same("after the deletion", watch.next_change().await?, json!(["ADDED", a, again, "5"]));
    Ok(())
}

pub(super) async fn watches_live(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    let (a, b) = (t.name("a"), t.name("b"));
    let from = two(t).await?;
    let query = format!("fieldSelector=metadata.name%3D{a}&timeoutSeconds=60&resourceVersion={from}");
    let mut watch = t.watch(Lease, &query).await?;
    for holder in ["3", "4"] {
        hold(t, "b", holder).await?;
        let version = hold(t, "a", holder).await?;
        seen.same("the change", watch.next_change().await?, json!(["MODIFIED", a, version, holder]));
    }
    t.delete(Lease, &b, &Value::Null).await?;
    let before = t.list(Lease, &mine(t)).await?.version();
    t.delete(Lease, &a, &Value::Null).await?;
    let gone = watch.next_change().await?;
    seen.same("the deletion", json!([gone[0], gone[1], gone[3]]), json!(["DELETED", a, "4"]));
    seen.that("the deletion's version", gone[2].as_u64().unwrap_or(0) > before);
    Ok(())
}

pub(super) async fn watches_a_selection(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    let from = two(t).await?;
    let name = t.name("a");
    let relabel =
        |value: Value| json!({"metadata": {"labels": {"conformance": value}}, "spec": {"holderIdentity": "3"}});
    let left = t.patch(Lease, &name, &relabel(Value::Null)).await?.version();
    let back = t.patch(Lease, &name, &relabel(t.label().into())).await?.version();
    let mut watch = t.watch(Lease, &format!("{}&timeoutSeconds=30&resourceVersion={from}", mine(t))).await?;
    let event = watch.next().await?.unwrap_or_default();
    seen.same(
        "it leaves: as it was, with the version of the change",
        change(&event),
        json!(["DELETED", name, left, "1"]),
    );
    seen.same("its label", event["object"]["metadata"]["labels"].clone(), json!({"conformance": t.label()}));
    seen.same("it comes back", watch.next_change().await?, json!(["ADDED", name, back, "3"]));
    Ok(())
}

pub(super) async fn watches_from_nothing(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    let (a, b) = (t.name("a"), t.name("b"));
    let second = two(t).await?;
    let first = t.get(Lease, &a).await?.version();
    for (i, version) in ["", "&resourceVersion=", "&resourceVersion=0"].into_iter().enumerate() {
        let mut watch = t.watch(Lease, &format!("{}&timeoutSeconds=30{version}", mine(t))).await?;
        let mut got = vec![watch.next_change().await?, watch.next_change().await?];
        got.sort_by_key(|event| event[2].as_u64());
        let holder = if i == 0 { "2".to_owned() } else { (i + 2).to_string() };
        let b_version = if i == 0 { second } else { t.get(Lease, &b).await?.version() };
        seen.same(
            format!("what is there {version}"),
            got,
            vec![json!(["ADDED", a, first, "1"]), json!(["ADDED", b, b_version, holder])],
        );
        let next = (i + 3).to_string();
        let changed = hold(t, "b", &next).await?;
        seen.same("then changes", watch.next_change().await?, json!(["MODIFIED", b, changed, next]));
    }
    Ok(())
}

pub(super) async fn watches_to_the_end(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    let from = two(t).await?;
    let changed = hold(t, "a", "3").await?;
    let query = format!("{}&timeoutSeconds=4&allowWatchBookmarks=true&resourceVersion={from}", mine(t));
    let began = std::time::Instant::now();
    let events = t.watch(Lease, &query).await?.rest().await?;
    let lasted = began.elapsed().as_secs_f64();
    seen.that(format!("it ends after 4 s (took {lasted:.1} s)"), (3.5..20.0).contains(&lasted));
    let (bookmarks, changes): (Vec<_>, Vec<_>) = events.into_iter().partition(|event| event["type"] == "BOOKMARK");
    seen.same(
        "changes",
        json!(changes.iter().map(change).collect::<Vec<_>>()),
        json!([["MODIFIED", t.name("a"), changed, "3"]]),
    );
    for bookmark in bookmarks {
        let object = &bookmark["object"];
        seen.same("a bookmark's kind", object["kind"].clone(), "Lease");
        seen.same("a bookmark's name", object["metadata"]["name"].clone(), Value::Null);
        seen.that("a bookmark is not older than the changes before it", version_of(object) >= changed);
    }
    // Without a request for bookmarks none arrive; and if it is too late for one, none does.
    for bookmarks in ["", "&allowWatchBookmarks=true"] {
        let query = format!("{}&timeoutSeconds=1&resourceVersion={changed}{bookmarks}", mine(t));
        let events = t.watch(Lease, &query).await?.rest().await?;
        seen.same(format!("a second in which nothing happens {bookmarks}"), events, json!([]));
    }
    // From a future version nothing arrives.
    let query = format!("{}&timeoutSeconds=1&resourceVersion=999999999999", mine(t));
    let events = t.watch(Lease, &query).await?.rest().await?;
    seen.same("from a version to come", events, json!([]));
    Ok(())
}

pub(super) async fn watches_with_initial_events(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    let second = two(t).await?;
    let asked = "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    for query in [
        format!("{asked}&allowWatchBookmarks=true"),
        format!("{asked}&allowWatchBookmarks=true&resourceVersion={second}"),
        "&allowWatchBookmarks=true".into(),
        "&allowWatchBookmarks=true&resourceVersion=0".into(),
    ] {
        let mut watch = t.watch(Lease, &format!("{}&timeoutSeconds=30{query}", mine(t))).await?;
        for _ in 0..2 {
            seen.same(&query, watch.next_change().await?[0].clone(), "ADDED");
        }
        let end = watch.next().await?.unwrap_or_default();
        seen.same(format!("{query}: the end"), end["type"].clone(), "BOOKMARK");
        let annotations = &end["object"]["metadata"]["annotations"];
        seen.same(format!("{query}: the end"), annotations.clone(), json!({"k8s.io/initial-events-end": "true"}));
        seen.that("its version is not older than the objects", version_of(&end["object"]) >= second);
    }
    // Without bookmarks nothing says where they end.
    let events = t.watch(Lease, &format!("{}&timeoutSeconds=1{asked}", mine(t))).await?.rest().await?;
    let kinds: Value = events.iter().map(|event| event["type"].clone()).collect();
    seen.same("without bookmarks", kinds, json!(["ADDED", "ADDED"]));
    Ok(())
}

pub(super) async fn watches_too_old(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    // The very first version: an API server's watch cache starts later, whatever etcd has compacted.
    let events = t.watch(Lease, "timeoutSeconds=5&resourceVersion=1").await?.rest().await?;
    let event = events.first().cloned().unwrap_or_default();
    if !t.is_embedded() && event["type"] == "ADDED" {
        // A real server that was never restarted or compacted remembers everything: nothing is too old for it yet.
        return Ok(());
    }
    seen.same("events", events.len(), 1);
    seen.same("type", event["type"].clone(), "ERROR");
    let mut status = event["object"].clone();
    let message = status["message"].take();
    seen.that("message", message.as_str().is_some_and(|text| text.starts_with("too old resource version: 1 (")));
    let want = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": null,
        "reason": "Expired", "code": 410,
    });
    seen.same("status", status, want);
    Ok(())
}

pub(super) async fn watches_badly(t: &Target, seen: &mut Seen) -> anyhow::Result<()> {
    let path = t.path(Lease, "");
    let ask =
        async |query: &str| t.send(Method::GET, &format!("{path}?watch=true&timeoutSeconds=1&{query}"), "", "").await;
    let answer = ask("resourceVersion=abc").await?;
    let message = "resourceVersion: Invalid value: \"abc\": strconv.ParseUint: parsing \"abc\": invalid syntax";
    seen.refused("a version that is none", &answer, 500, "", message);
    let answer = ask("fieldSelector=spec.x%3D1").await?;
    seen.refused("an unknown field", &answer, 400, "BadRequest", "…");
    let details = json!({"group": "meta.k8s.io", "kind": "ListOptions"});
    for query in ["sendInitialEvents=true", "resourceVersionMatch=NotOlderThan&resourceVersion=1"] {
        let answer = ask(query).await?;
        seen.invalid(query, &answer, details.clone(), &[("Forbidden", "resourceVersionMatch")]);
    }
    let answer = t.send(Method::GET, &format!("{path}?watch=true&timeoutSeconds=x"), "", "").await?;
    seen.refused(
        "a time-out that is none",
        &answer,
        400,
        "BadRequest",
        "strconv.ParseInt: parsing \"x\": invalid syntax",
    );
    Ok(())
}
