//! What people, probes and Prometheus ask a replica about itself.

use super::problem::{Code, Problem};
use super::{Answer, Context, person};
use crate::handle::Handle;
use crate::room::Figures;
use crate::telemetry::phase_word;
use leasehold_contract::{ProgressInfo, RoleFile};
use leasehold_replication::{Level, Limit, Phase, Position, Status, Target, Voter};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::Duration;
use uuid::Uuid;
use warp::http::header::{ACCEPT, CONTENT_TYPE};
use warp::http::{HeaderMap, HeaderValue, StatusCode};
use warp::reply::Response;

/// Who leads, as far as this replica knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leader {
    /// Its pod.
    pub(super) name: String,
    /// Where clients reach it; none when no role.json said so.
    pub(super) address: Option<String>,
    /// Its term.
    pub(super) term: u64,
    /// Its run, where that is known.
    pub(super) incarnation: Option<Uuid>,
    /// How other replicas reach it.
    pub(super) peer: Target,
}

/// The leader that this replica hears, or itself. A claim that was never heard is nobody, unless the own disk hangs: then
/// this replica cannot dial whom it handed over to.
pub(super) fn leader_seen(handle: &Handle) -> Option<Leader> {
    let status = handle.status()?;
    let claim = status
        .following
        .as_ref()
        .filter(|_| status.leader_heard || status.phase == Phase::Leading || status.stalled)?;
    let role = handle.role();
    let named = role.as_ref().and_then(|role| {
        role.leader.as_ref().filter(|leader| {
            leader.name == claim.name && leader.incarnation.is_none_or(|found| found == claim.incarnation.0)
        })
    });
    let member = || role.as_ref().and_then(|role| role.members.iter().find(|member| member.name == claim.name));
    let address = named.map(|leader| &leader.address).or_else(|| member().map(|member| &member.address)).cloned();
    let mut addresses = named.map(|leader| leader.addresses.clone()).unwrap_or_default();
    add_addresses(&mut addresses, member().map_or(&[][..], |member| &member.addresses));
    add_addresses(&mut addresses, &claim.addresses);
    let peer_address = named.map_or(&claim.peer_address, |leader| &leader.peer_address).clone();
    let peer = Target { name: claim.name.clone(), peer_address, addresses };
    let incarnation = Some(claim.incarnation.0);
    Some(Leader { name: claim.name.clone(), address, term: claim.term.0, incarnation, peer })
}

/// The leader that role.json names, heard or not: this replica may be the only one that does not hear it.
pub(super) fn leader_named(handle: &Handle) -> Option<Leader> {
    let role = handle.role()?;
    let leader = role.leader.as_ref().filter(|leader| leader.name != role.self_name)?;
    let RoleFile { term, members, .. } = &*role;
    let mut addresses = leader.addresses.clone();
    let member = members.iter().find(|member| member.name == leader.name);
    add_addresses(&mut addresses, member.map_or(&[][..], |member| &member.addresses));
    let peer = Target { name: leader.name.clone(), peer_address: leader.peer_address.clone(), addresses };
    let address = Some(leader.address.clone()).filter(|address| !address.is_empty());
    Some(Leader { name: leader.name.clone(), address, term: *term, incarnation: leader.incarnation, peer })
}

/// The older knowledge behind the newer.
fn add_addresses(addresses: &mut Vec<IpAddr>, older: &[IpAddr]) {
    for address in older {
        if !addresses.contains(address) {
            addresses.push(*address);
        }
    }
}

/// `GET /api/leader`
pub(super) fn leader(context: &Context, headers: &HeaderMap) -> Answer {
    let handle = &context.handle;
    let status = handle.status();
    let is_leader = status.as_ref().is_some_and(|status| status.open);
    if wants_text(headers) {
        return Ok(text(StatusCode::OK, if is_leader { "true" } else { "false" }));
    }
    let seen = leader_seen(handle);
    Ok(page(&json!({
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
pub(super) fn status(context: &Context) -> Answer {
    let handle = &context.handle;
    let applied = handle.documents().applied();
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
        "role": handle.role().as_deref(),
        "peerTrust": context.config.trust.status(),
        "disk": disk(handle),
        "room": room(&handle.room()),
        "progress": progress(handle.progress()),
        "waitingFor": handle.starting().map(|why| vec![why.to_string()]).unwrap_or_default(),
    });
    if let (Some(status), Value::Object(body)) = (status, &mut body) {
        let seen = leader_seen(handle);
        let more = json!({
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
            "handOver": status.hand_over.as_ref().map(|to| json!({
                "to": to.as_ref().map(|(name, _)| name),
                "incarnation": to.as_ref().map(|(_, incarnation)| incarnation.0),
            })),
            "voters": status.voters.voters,
            "floor": status.voters.floor,
            "format": status.voters.format,
            "followers": status.followers.iter().map(|follower| json!({
                "name": follower.name,
                "replica": follower.replica.0,
                "incarnation": follower.incarnation.0,
                "voter": follower.voter,
                "connected": follower.connected,
                "eligible": follower.eligible,
                "stalled": follower.stalled,
                "verified": follower.verified.0,
                "silentMs": follower.silent_since.map(|since| ms(handle.since(since))),
                "lagEntries": follower.connected.then(|| status.position.seq.0.saturating_sub(follower.verified.0)),
                "outOfRoom": follower.room.limit().map(limit_word),
            })).chain(unheard_voters(&status, handle)).collect::<Vec<_>>(),
            "caughtUp": status.caught_up,
            "drained": status.drained,
            "waitingFor": status.waiting_for,
            "wentBack": status.went_back,
        });
        if let Value::Object(more) = more {
            body.extend(more);
        }
    }
    Ok(page(&body))
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

/// What is used, what may be, and whether writes that make the data larger count on this replica.
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

/// How far something is that takes long.
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

/// As a 507 and the status say it.
pub(super) fn limit_word(limit: Limit) -> &'static str {
    match limit {
        Limit::Memory => "memory",
        Limit::Disk => "disk",
    }
}

/// `GET /healthz`: the process does its work. Neither the API server nor a leader is needed for that.
pub(super) fn healthz(context: &Context) -> Answer {
    if context.handle.is_alive() {
        Ok(text(StatusCode::OK, "ok"))
    } else {
        Err(Problem::new(Code::Stopping, "the replica has ended"))
    }
}

/// `GET /readyz`
pub(super) fn readyz(context: &Context) -> Answer {
    match context.handle.ready() {
        Ok(()) => Ok(text(StatusCode::OK, "ok")),
        Err(why) => Err(Problem::new(Code::NotReady, why)),
    }
}

/// `GET /metrics`
pub(super) fn metrics(context: &Context) -> Answer {
    let metrics = context.metrics.encode(&context.handle).map_err(|error| {
        tracing::error!(%error, "the metrics cannot be written");
        Problem::new(Code::Internal, "the metrics cannot be written; see the log")
    })?;
    let mut response = Response::new(metrics.into());
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

/// `GET /`
pub(super) fn index(context: &Context) -> Answer {
    let one = format!("/{}/{{id}}", person::COLLECTION);
    Ok(page(&json!({
        "name": "leasehold-store",
        "version": env!("CARGO_PKG_VERSION"),
        "self": context.handle.name(),
        "calls": {
            "GET /persons": "all persons; filters: firstName, lastName, id; pages: limit, cursor; consistency, after, max-staleness, timeout",
            "POST /persons": "add a person (at the leader)",
            format!("GET {one}"): "one person",
            format!("PUT {one}"): "add or replace a person (at the leader)",
            format!("PATCH {one}"): "change a person (at the leader)",
            format!("DELETE {one}"): "remove a person (at the leader)",
            "POST /persons:batch": "up to 1,000 operations, all or none (at the leader)",
            "GET /persons:watch": "each committed change, as server-sent events; after",
            "GET /api/leader": "who leads; Accept: text/plain: true or false",
            "GET /api/status": "all that this replica says of itself",
            "GET /healthz": "is the process alive",
            "GET /readyz": "may it be asked",
            "GET /metrics": "for Prometheus",
            "GET /openapi.json": "these calls for programs",
            "GET /docs": "and for people",
        },
    })))
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}

/// What the volume's disk does.
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

/// `text/plain` is named, and JSON is not: then a shell asks.
fn wants_text(headers: &HeaderMap) -> bool {
    let accepts = |kind: &str| {
        headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).any(|value| {
            value.split(',').any(|each| each.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case(kind))
        })
    };
    accepts("text/plain") && !accepts("application/json")
}

pub(super) fn page(value: &Value) -> Response {
    let mut response = Response::new(value.to_string().into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn text(status: StatusCode, text: &'static str) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
