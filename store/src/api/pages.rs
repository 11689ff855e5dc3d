//! The pages about a replica itself: for people, probes and Prometheus.

use super::calls::{CALLS, Kind, PERSONS_CALLS};
use super::context::{ApiResult, Context};
use super::leader::leader_seen;
use super::problem::{Code, Problem};
use super::refusals::limit_word;
use super::reply;
use super::rights::Rights;
use super::seen::seen;
use crate::handle::Handle;
use crate::room::Figures;
use crate::telemetry::phase_word;
use leasehold_contract::ProgressInfo;
use leasehold_documents::Form;
use leasehold_replication::{FollowerStatus, HoldsBack, Level, Phase, Position, Status, Voter};
use serde_json::{Map, Value, json};
use std::time::Duration;
use warp::http::header::{ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use warp::http::{HeaderMap, HeaderValue, StatusCode};
use warp::reply::Response;

/// `GET /api/leader`
pub(super) fn leader(context: &Context, headers: &HeaderMap) -> ApiResult {
    let handle = &context.handle;
    let status = handle.status();
    let is_leader = status.as_ref().is_some_and(|status| status.open);
    if wants_text(headers) {
        return Ok(reply::text(StatusCode::OK, if is_leader { "true" } else { "false" }));
    }
    let seen = leader_seen(handle);
    Ok(reply::json(&json!({
        "isLeader": is_leader,
        "name": seen.as_ref().map(|leader| &leader.name),
        "address": seen.as_ref().and_then(|leader| leader.address.as_ref()),
        "term": seen.as_ref().map_or_else(|| status.as_ref().map_or(0, |s| s.promise.term.0), |leader| leader.term),
        "self": handle.name(),
        "state": state(status.as_deref()),
        "leaderHeard": status.as_ref().is_some_and(|status| status.leader_heard),
    })))
}

/// `GET /api/status`
pub(super) fn status(context: &Context, rights: &Rights) -> ApiResult {
    let handle = &context.handle;
    let documents = handle.documents();
    let applied = documents.applied();
    let status = handle.status();
    let mut body = json!({
        "self": handle.name(),
        "state": state(status.as_deref()),
        "ready": handle.ready().is_ok(),
        "notReadyBecause": handle.ready().err(),
        "version": env!("CARGO_PKG_VERSION"),
        "incarnation": handle.incarnation().0,
        "replica": handle.replica().map(|replica| replica.0),
        "applied": position(applied),
        "sum": documents.sum(),
        "role": handle.role().as_deref(),
        "peerTrust": context.config.peer_trust.now(),
        "collectionsFile": collections_file(context, rights),
        "disk": disk(handle),
        "room": room(&handle.room()),
        "progress": progress(handle.progress()),
        "waitingFor": handle.starting().map(|why| vec![why.to_string()]).unwrap_or_default(),
    });
    if let (Some(status), Value::Object(body)) = (status, &mut body)
        && let Value::Object(more) = of_replica(&status, applied, handle)
    {
        body.extend(more);
    }
    Ok(reply::json(&body))
}

/// Of the collections that the client may read.
fn collections_file(context: &Context, rights: &Rights) -> Value {
    let mut shown = context.config.collections_file.now();
    if let Some(Value::Object(definitions)) = shown.get_mut("definitions") {
        definitions.retain(|name, _| rights.reads(name));
    }
    shown
}

/// What there is to say beside that when the volume is open.
fn of_replica(status: &Status, applied: Position, handle: &Handle) -> Value {
    let seen = leader_seen(handle);
    let followers = status.followers.iter().map(|follower| of_follower(follower, status, handle));
    let followers: Vec<Value> = followers.chain(unheard_voters(status, handle)).collect();
    json!({
        "clusterId": status.cluster_id.map(|id| id.0),
        "foreignClusterId": status.foreign_cluster_id.map(|id| id.0),
        "bootstrapping": status.bootstrapping,
        "voter": status.voter,
        "eligible": status.eligible,
        "stalled": status.stalled,
        "promised": { "term": status.promise.term.0, "incarnation": status.promise.incarnation.0 },
        "position": position(status.position),
        "committed": status.committed.0,
        // What is committed is known only from a leader that is heard.
        "lagEntries": status.leader_heard.then(|| status.committed.0.saturating_sub(applied.seq.0)),
        "stalenessMs": handle.fresh_as_of().map(|as_of| ms(as_of.elapsed())),
        "cutOff": status.cut_off,
        "leader": seen.map(|leader| json!({
            "name": leader.name, "address": leader.address, "term": leader.term,
        })),
        "leaderHeard": status.leader_heard,
        "following": status.following,
        "campaign": status.campaign.map(|term| term.0),
        "rank": status.rank,
        "needTerm": status.need_term.map(|term| term.0),
        "handOver": status.hand_over.as_ref().map(|(name, incarnation)| json!({
            "to": name,
            "incarnation": incarnation.0,
        })),
        "voters": status.voters.voters,
        "floor": status.voters.floor,
        "format": status.formats.in_force,
        "formats": {
            "inForce": status.formats.in_force,
            "log": status.formats.log,
            "build": status.formats.build,
            "allowed": status.formats.allowed,
            "heldBackBy": status.formats.held_back_by.iter().map(held_back_by).collect::<Vec<_>>(),
        },
        "followers": followers,
        "caughtUp": status.caught_up,
        "drained": status.drained,
        "waitingFor": status.waiting_for,
        "wentBack": status.went_back,
        "diverged": status.diverged,
        "agreement": status.agreement.as_ref().map(|agreement| json!({
            "sequence": agreement.sequence.0,
            "sum": agreement.sum,
            "differing": agreement.differing,
        })),
    })
}

/// What a leader says of a follower that has said hello to it.
fn of_follower(follower: &FollowerStatus, status: &Status, handle: &Handle) -> Value {
    json!({
        "name": follower.name,
        "replica": follower.replica.0,
        "incarnation": follower.incarnation.0,
        "voter": follower.voter,
        "connected": follower.connected,
        "eligible": follower.eligible,
        "stalled": follower.stalled,
        "diverged": follower.diverged,
        "verified": follower.verified.0,
        "silentMs": follower.silent_since.map(|since| ms(handle.since(since))),
        "lagEntries": follower.connected.then(|| status.position.seq.0.saturating_sub(follower.verified.0)),
        "outOfRoom": follower.room.limit().map(limit_word),
        "formatBuild": follower.formats.0,
        "formatAllowed": follower.formats.1,
    })
}

/// A pod that holds the next format back.
fn held_back_by(pod: &HoldsBack) -> Value {
    json!({ "name": pod.name, "why": pod.why.word(), "detail": pod.to_string() })
}

/// What a leader says of the voters that have not said hello to it.
fn unheard_voters(status: &Status, handle: &Handle) -> Vec<Value> {
    let leads = status.following.as_ref().is_some_and(|claim| claim.incarnation == handle.incarnation());
    let is_known = |replica| status.followers.iter().any(|follower| follower.replica == replica);
    let unheard = status
        .voters
        .voters
        .iter()
        .filter(|voter| leads && Some(voter.replica) != handle.replica() && !is_known(voter.replica));
    let one = |voter: &Voter| {
        json!({
            "name": voter.name,
            "replica": voter.replica.0,
            "incarnation": null,
            "voter": true,
            "connected": false,
            "eligible": false,
            "verified": null,
            "silentMs": null,
            "lagEntries": null,
        })
    };
    unheard.map(one).collect()
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The used amount, the allowed amount, and whether this replica accepts writes that make the data larger.
fn room(figures: &Figures) -> Value {
    json!({
        "memory": {
            "usedBytes": figures.memory_used_bytes,
            "allowedBytes": figures.memory_allowed_bytes,
            "over": figures.room.memory >= Level::Over,
        },
        "disk": {
            "usedBytes": figures.disk_used_bytes,
            "allowedBytes": figures.disk_allowed_bytes,
            "over": figures.room.disk >= Level::Over,
            "full": figures.room.disk == Level::Full,
        },
    })
}

/// The progress of a long operation.
fn progress(info: Option<ProgressInfo>) -> Value {
    let Some(info) = info else { return Value::Null };
    json!({
        "what": info.what,
        "doneBytes": info.done_bytes,
        "ofBytes": info.of_bytes,
        "doneEntries": info.done_entries,
        "ofEntries": info.of_entries,
        "percent": info.percent(),
        "sinceUnixMs": info.since_unix_ms,
    })
}

/// `GET /healthz`: the process does its work. That needs neither the API server nor a leader.
pub(super) fn healthz(context: &Context) -> ApiResult {
    if context.handle.is_alive() {
        Ok(reply::text(StatusCode::OK, "ok"))
    } else {
        Err(Problem::new(Code::Stopping, "the replica has ended"))
    }
}

/// `GET /readyz`
pub(super) fn readyz(context: &Context) -> ApiResult {
    match context.handle.ready() {
        Ok(()) => Ok(reply::text(StatusCode::OK, "ok")),
        Err(why) => Err(Problem::new(Code::NotReady, why)),
    }
}

/// `GET /metrics`
pub(super) fn metrics(context: &Context) -> ApiResult {
    let metrics = context.metrics.encode(&context.handle).map_err(|error| {
        tracing::error!(%error, "cannot write the metrics");
        Problem::new(Code::Internal, "cannot write the metrics; see the log")
    })?;
    let mut response = Response::new(metrics.into());
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

/// `GET /`
pub(super) fn index(context: &Context, rights: &Rights) -> ApiResult {
    let collections = seen(context, rights);
    let has_persons = collections.iter().any(|one| one.definition.form == Form::Persons);
    let of_persons = PERSONS_CALLS.iter().filter(|_| has_persons);
    let calls = of_persons.chain(CALLS.iter().filter(|call| call.kind != Kind::Index));
    let calls = calls.map(|call| (format!("{} {}", call.method, call.path), Value::from(call.in_short())));
    let mut response = reply::json(&json!({
        "name": "leasehold-store",
        "version": env!("CARGO_PKG_VERSION"),
        "self": context.handle.name(),
        "collections": collections.iter().map(|one| &*one.name).collect::<Vec<_>>(),
        "calls": calls.collect::<Map<String, Value>>(),
    }));
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    Ok(response)
}

/// The state of the volume's disk.
fn disk(handle: &Handle) -> Value {
    let hangs = handle.disk().hangs();
    json!({
        "stalledSeconds": hangs.as_ref().map(|(_, age)| age.as_secs_f64()),
        "waitsFor": hangs.as_ref().map(|(call, _)| call.to_string()),
    })
}

fn state(status: Option<&Status>) -> &'static str {
    phase_word(status.map_or(Phase::Starting, |status| status.phase))
}

fn position(position: Position) -> Value {
    json!({ "term": position.term.0, "sequence": position.seq.0 })
}

/// `text/plain` is named, and JSON is not: then the asker is a shell.
fn wants_text(headers: &HeaderMap) -> bool {
    let accepts = |kind: &str| {
        headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).any(|value| {
            value.split(',').any(|each| each.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case(kind))
        })
    };
    accepts("text/plain") && !accepts("application/json")
}
