//! The sidecar's HTTP: for probes, load balancers, scripts, and users of the old leader-elector.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /` | `{"name": leader}` |
//! | `GET /role` | the role of this pod in one word |
//! | `GET /leader` | 200 where this pod leads (a fencing app: and is `leading`), 503 elsewhere |
//! | `GET /v1/state` | everything, as JSON |
//! | `GET /healthz` | 200; 503 when the election is dead or stuck |
//! | `GET /readyz` | 200 when the Lease was read once; names the objects that cannot be kept right |
//! | `GET /metrics` | OpenMetrics text |

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, Response, StatusCode, header};
use leasehold_daemon::serve::{BindError, Limits, Server, bind};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::info;
use warp::Filter;
use warp::filters::BoxedFilter;

use crate::clock;
use crate::state::State;
use crate::telemetry::{self, Metrics};

/// An election that has not turned for this long is dead or stuck; it turns once a second even when nothing happens.
const STUCK: Duration = Duration::from_secs(10);

/// When the election last turned, in nanoseconds of the boot clock.
#[derive(Clone, Debug)]
pub(crate) struct Heartbeat(Arc<AtomicU64>);

impl Heartbeat {
    pub(crate) fn new() -> Heartbeat {
        Heartbeat(Arc::new(AtomicU64::new(clock::boottime_ns())))
    }

    pub(crate) fn beat(&self) {
        self.0.store(clock::boottime_ns(), Ordering::Relaxed);
    }

    /// The time since the last beat.
    pub(crate) fn age(&self) -> Duration {
        Duration::from_nanos(clock::boottime_ns().saturating_sub(self.0.load(Ordering::Relaxed)))
    }
}

/// What the answers are built from.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) state: watch::Receiver<State>,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) metrics: Metrics,
}

/// Probes, a few load balancers and people. Beyond that, the longest silent connection makes room.
const CONNECTIONS_MAX: usize = 256;

/// Opens the port. A node without IPv6 gets the IPv4 port of the same number instead of `[::]`.
///
/// # Errors
/// The port is taken, or not permitted.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, BindError> {
    let listener = bind(address)?;
    info!(address = %address, "serving HTTP");
    Ok(listener)
}

/// Serves forever.
pub(crate) async fn run(listener: TcpListener, sources: Sources) {
    let counts = sources.metrics.connections();
    let limits = Limits { port: "sidecar", connections_max: CONNECTIONS_MAX, counts, ..Limits::default() };
    let routes = routes(sources).map(warp::Reply::into_response).boxed();
    Server { limits, ..Server::default() }.run_filter(listener, routes).await;
}

type Reply = Response<String>;

fn routes(sources: Sources) -> BoxedFilter<(Reply,)> {
    leasehold_daemon::serve::path()
        .and(warp::method())
        .map(move |path: String, method: Method| answer(&sources, &method, &path))
        .boxed()
}

fn answer(sources: &Sources, method: &Method, path: &str) -> Reply {
    let known = ["/", "/role", "/leader", "/v1/state", "/healthz", "/readyz", "/metrics"];
    if !known.contains(&path) {
        return text(StatusCode::NOT_FOUND, "not found");
    }
    if method != Method::GET && method != Method::HEAD {
        let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "only GET");
        reply.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
        return reply;
    }
    let state = sources.state.borrow();
    match path {
        "/role" => text(StatusCode::OK, state.role_word()),
        "/leader" => leader(&state),
        "/v1/state" => match serde_json::to_value(&*state) {
            Ok(mut value) => {
                value["leads"] = json!(state.leads());
                value["appFrozen"] = json!(state.app_is_frozen());
                json_reply(&value)
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
        _ => json_reply(&json!({ "name": state.leader().unwrap_or_default() })),
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

fn text(status: StatusCode, text: &str) -> Reply {
    with_type(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

fn json_reply(value: &serde_json::Value) -> Reply {
    with_type(StatusCode::OK, "application/json", format!("{value}\n"))
}

fn with_type(status: StatusCode, content_type: &'static str, body: String) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    reply
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use leasehold_contract::testing::{leader, member, role_of};
    use leasehold_contract::{Role, RoleFile};
    use leasehold_testkit::http::send;

    fn sources(state: State) -> (watch::Sender<State>, Sources) {
        let (sender, receiver) = watch::channel(state);
        (sender, Sources { state: receiver, heartbeat: Heartbeat::new(), metrics: Metrics::new() })
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
            ..role_of("db-0")
        };
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
        let (_sender, sources) = sources(leading(u64::MAX));
        let (code, body) = get(&sources, "/v1/state");
        assert_eq!(code, 200);
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(value["leads"], true);
        assert_eq!(value["role"]["self"], "db-0");
        assert_eq!(serde_json::from_value::<State>(value).unwrap(), leading(u64::MAX));
    }

    #[tokio::test]
    async fn it_is_served_over_tcp() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_sender, sources) = sources(leading(u64::MAX));
        tokio::spawn(run(listener, sources));
        let text = send(address, "GET /leader HTTP/1.0\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.0 200 OK") && text.ends_with("db-0\n"), "{text}");
        assert!(text.contains("x-content-type-options: nosniff\r\n"), "{text}");
        let text = send(address, "CONNECT db:80 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.1 405"), "a target without a path: {text:?}");
    }
}
