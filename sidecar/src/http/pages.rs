//! The answers to GET that are there at once.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;

use super::reply::{self, Reply, not_allowed, text, with_type};
use super::sources::Sources;
use crate::state::State;
use crate::telemetry;

/// An election that has not turned for this long is dead or stuck; it turns once a second even when nothing happens.
const STUCK: Duration = Duration::from_secs(10);

pub(super) fn answer(sources: &Sources, method: &Method, path: &str) -> Reply {
    let known = ["/", "/role", "/leader", "/v1/state", "/healthz", "/readyz", "/metrics"];
    if !known.contains(&path) {
        return text(StatusCode::NOT_FOUND, "not found");
    }
    if method != Method::GET && method != Method::HEAD {
        return not_allowed("GET, HEAD");
    }
    let state = sources.state.borrow();
    match path {
        "/role" => text(StatusCode::OK, state.role_word()),
        "/leader" => leader(&state),
        "/v1/state" => match serde_json::to_value(&*state) {
            Ok(mut value) => {
                value["leads"] = json!(state.leads());
                value["appFrozen"] = json!(state.app_is_frozen());
                reply::json(StatusCode::OK, &value)
            }
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        },
        "/healthz" => {
            let age = sources.heartbeat.age();
            if age < STUCK {
                text(StatusCode::OK, "ok")
            } else {
                text(StatusCode::SERVICE_UNAVAILABLE, &format!("the election loop has not run for {} s", age.as_secs()))
            }
        }
        "/readyz" if state.lease_read => ready(&state),
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "the Lease has not been read yet"),
        "/metrics" => with_type(StatusCode::OK, telemetry::CONTENT_TYPE, sources.metrics.encode()),
        // "/": the path that users of the old leader-elector read.
        _ => reply::json(StatusCode::OK, &json!({ "name": state.leader().unwrap_or_default() })),
    }
}

/// Ready, whatever is wrong with the objects around it: removing the pod from all other Services as well would help nobody.
/// The body tells people.
fn ready(state: &State) -> Reply {
    let lines = state.failing_objects.iter().map(|object| format!("\nnot kept right: {}", object.line()));
    text(StatusCode::OK, &format!("ok{}", lines.collect::<String>()))
}

fn leader(state: &State) -> Reply {
    if state.leads() {
        return text(StatusCode::OK, &state.name);
    }
    text(StatusCode::SERVICE_UNAVAILABLE, state.leader().filter(|leader| *leader != state.name).unwrap_or_default())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::http::{Heartbeat, Sources};
    use crate::telemetry::Metrics;
    use leasehold_contract::testing::{leader, member, role_of};
    use leasehold_contract::{Moment, Role, RoleFile};
    use std::sync::atomic::Ordering;
    use tokio::sync::watch;

    fn sources(state: State) -> (watch::Sender<State>, Sources) {
        let (sender, receiver) = watch::channel(state);
        (sender, Sources::new(receiver, Heartbeat::new(), Metrics::new(), None))
    }

    fn get(sources: &Sources, path: &str) -> (u16, String) {
        let reply = answer(sources, &Method::GET, path);
        (reply.status().as_u16(), reply.into_body().trim_end().to_owned())
    }

    fn leading(until: u64) -> State {
        let mut role = RoleFile {
            role: Role::Leader,
            term: 2,
            leader: Some(leader(&member("db-0", "a:1", ""), None)),
            boot_id: Moment::now().boot_id,
            ..role_of("db-0")
        };
        role.lease.duration_ms = 60_000;
        role.lease.valid_until_boottime_ns = Some(until);
        State { name: "db-0".into(), role: Some(role), app_alive: true, lease_read: true, ..State::default() }
    }

    #[test]
    fn before_anything_is_known_nobody_leads() {
        let (_sender, sources) = sources(State::default());
        assert_eq!(get(&sources, "/"), (200, "{\"name\":\"\"}".to_owned()));
        assert_eq!(get(&sources, "/role"), (200, "none".to_owned()));
        assert_eq!(get(&sources, "/leader").0, 503);
        assert_eq!(get(&sources, "/readyz").0, 503);
        assert_eq!(get(&sources, "/healthz").0, 200, "liveness needs no API server");
        assert_eq!(get(&sources, "/metrics").0, 200);
        assert_eq!(get(&sources, "/nothing").0, 404);
        assert_eq!(answer(&sources, &Method::POST, "/").status(), 405);
    }

    #[test]
    fn a_plain_leader_leads_until_its_claim_runs_out() {
        let (sender, sources) = sources(leading(clock::boottime_ns() + 60_000_000_000));
        assert_eq!(get(&sources, "/"), (200, "{\"name\":\"db-0\"}".to_owned()));
        assert_eq!(get(&sources, "/role"), (200, "leader".to_owned()));
        assert_eq!(get(&sources, "/leader"), (200, "db-0".to_owned()));
        assert_eq!(get(&sources, "/readyz").0, 200);
        sender.send_replace(leading(clock::boottime_ns()));
        assert_eq!(get(&sources, "/role"), (200, "follower".to_owned()));
        assert_eq!(get(&sources, "/leader").0, 503, "it must fail closed");
    }

    #[test]
    fn readiness_names_what_is_not_kept_right_and_does_not_fail_for_it() {
        let object = crate::kube::upkeep::FailingObject {
            kind: "endpointslice".to_owned(),
            name: "db-leader-ipv4".to_owned(),
            message: "refused (403): no".to_owned(),
            ..crate::kube::upkeep::FailingObject::default()
        };
        let (_sender, sources) = sources(State { failing_objects: vec![object], ..leading(u64::MAX) });
        let (code, body) = get(&sources, "/readyz");
        assert_eq!(code, 200);
        assert!(body.starts_with("ok\nnot kept right: endpointslice db-leader-ipv4: refused (403): no"), "{body}");
    }

    #[test]
    fn a_fencing_leader_leads_only_while_its_app_says_leading() {
        let state = State { fencing: true, ..leading(u64::MAX) };
        let (_sender, sources) = sources(state);
        assert_eq!(get(&sources, "/leader").0, 503);
        assert_eq!(get(&sources, "/role"), (200, "leader".to_owned()));
    }

    #[test]
    fn an_election_that_stopped_turning_fails_the_probe() {
        let (_sender, sources) = sources(State::default());
        sources.heartbeat.0.store(0, Ordering::Relaxed);
        let uptime = Duration::from_nanos(clock::boottime_ns());
        assert_eq!(get(&sources, "/healthz").0, if uptime > STUCK { 503 } else { 200 });
    }

    #[test]
    fn the_whole_state_is_json_and_can_be_read_back() {
        let state = leading(clock::boottime_ns() + 60_000_000_000);
        let (_sender, sources) = sources(state.clone());
        let (code, body) = get(&sources, "/v1/state");
        assert_eq!(code, 200);
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(value["leads"], true);
        assert_eq!(value["role"]["self"], "db-0");
        assert_eq!(serde_json::from_value::<State>(value).unwrap(), state);
    }
}
