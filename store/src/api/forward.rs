//! The entrance of the clients' port: every request passes here on its way to [`Calls`]. Writes that reach a replica that
//! does not lead are refused, redirected, or sent on to the leader.
//!
//! ```text
//!   request ──▶ the calls of this replica ──done, or an error of the client's──▶ answer
//!                 │ known not to be done: not leading, about to lead, ending
//!                 ▼
//!               who leads now? ── this replica ────▶ its calls again
//!                 ▲    │       ── another one ─────▶ sent on, marked ──▶ its answer
//!                 │    │       ── nobody ──────────▶ wait for news
//!                 └────┴── known not to be done there either; at the end of the write's time: 503
//! ```
//!
//! | pod | `reject` | `redirect` | `forward` |
//! | --- | --- | --- | --- |
//! | follows | 421 | 307 | sends on |
//! | knows of no leader, or of one without a majority | 503 | 503 | waits, then sends on; 503 at the end of the write's time |
//! | drains, or led a moment ago | sends on | sends on | sends on |
//! | is about to lead | waits | waits | waits |
//!
//! Only what is known not to be done is tried again: a write that was sent on and got no answer is not (504). A request
//! that was sent on once carries [`FORWARDED`] and is never sent on again, so there are no loops: a receiver that does not
//! lead refuses it, and the sender looks for the leader again.
//!
//! A write is sent on to the leader's peer port, which proves who answers before any part of the request leaves
//! ([`lines`]).
//!
//! While the pod drains, and with every 421 and 307, answers on HTTP/1 say `Connection: close`, so that clients
//! reconnect to another pod. HTTP/2 clients receive GOAWAY when the pod stops leading, and when it begins to drain: see
//! [`crate::api::farewells`].

mod lines;
pub mod route;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::service::Service;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use leasehold_daemon::serve::Inbound;
use leasehold_replication::{ClusterId, Phase};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tracing::debug;
use warp::http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, LOCATION, ORIGIN, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use warp::http::request::Parts;
use warp::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version};
use warp::reply::Response;

use super::body::{BoxError, Sent};
use super::context::{ApiResult, FORWARDED, TIME_LEFT};
use super::dispatch::Calls;
use super::gzip::{Accepted, Gzip};
use super::leader::{Leader, leader_named, leader_seen};
use super::problem::{Code, Problem};
use super::reply;
use crate::api::forward::route::{ApiRoute, Connector};
use crate::handle::Handle;
use crate::peer::{ForwardWay, PeerConfig};
use lines::{CONNECT_MAX, IDLE_MAX, IDLE_TIME, Led, LineError, Lines};

/// The cluster-id of the intended cluster. An IP may belong to a stranger by now, whose leader would write the request into
/// another database \[F1\].
pub use crate::peer::CLUSTER;

/// The least time for a write that is sent on: if it were cut off while connecting, nobody would know whether it was sent.
const SEND_MIN: Duration = Duration::from_secs(1);
/// The part of it after which the leader's answer would come too late: a fifth, and never more than this.
const RETURN_MAX: Duration = Duration::from_millis(500);
/// How much longer a pod that stopped leading accepts writes: Services and clients need a moment to find the new leader.
const LED_LATELY: Duration = Duration::from_secs(5);
/// A replica that hears no leader for this long looks for the one that role.json names.
const UNHEARD_MIN: Duration = Duration::from_secs(1);
/// Pauses between two looks at who leads, if there is no news before.
const PAUSE_FIRST: Duration = Duration::from_millis(5);
const PAUSE_MOST: Duration = Duration::from_millis(50);
/// Extra room in a leader's answer beside what the request contained.
const ANSWER_ROOM_BYTES: usize = 1024 * 1024;

/// How a follower handles a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum FollowerWrites {
    /// 421, and the body names the leader.
    #[default]
    Reject,
    /// 307 to the leader.
    Redirect,
    /// Sends it on to the leader, and its answer back.
    Forward,
}

/// What an operator may set.
#[derive(Clone, Debug)]
pub struct Config {
    /// How a follower handles a write.
    pub follower_writes: FollowerWrites,
    /// How long a write may take after this replica turned out unable to do it.
    pub write_timeout: Duration,
    /// The longest body of a request.
    pub body_limit_bytes: usize,
    /// How many writes may be under way to the leader, or wait for one, at once. More are refused (503).
    pub forwards_max: usize,
    /// How to reach the leader: its peer port,
    pub peers: PeerConfig,
    /// and its port for clients, if its peer port does not accept forwarded writes.
    pub route: ApiRoute,
}

/// The API of a replica, with writes routed to the leader. For [`Server::run`](leasehold_daemon::serve::Server::run).
#[derive(Clone)]
pub struct Forwarding {
    calls: Calls,
    shared: Arc<Shared>,
}

struct Shared {
    handle: Handle,
    config: Config,
    lines: Lines,
    api: Client<Connector, Full<Bytes>>,
    room: Semaphore,
    gzip: Gzip,
}

/// Where a write belongs now.
#[derive(Debug, PartialEq)]
enum Target {
    /// This replica is open for writes.
    Here,
    /// That pod leads.
    There(Box<Leader>),
    /// No leader is known, or this replica is about to lead.
    Nowhere,
}

impl Forwarding {
    /// Around these calls.
    pub fn new(calls: Calls, handle: Handle, config: Config) -> Forwarding {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_MAX));
        let api = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(IDLE_MAX)
            .build(config.route.connector(connector));
        let lines = Lines::new(ForwardWay::new(config.peers.clone()));
        let room = Semaphore::new(config.forwards_max);
        let shared = Shared { handle, config, lines, api, room, gzip: Gzip::new() };
        Forwarding { calls, shared: Arc::new(shared) }
    }

    /// Answers a request.
    pub async fn answer<B>(&self, request: Request<B>) -> Response
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (head, body) = request.into_parts();
        let is_http1 = head.version < Version::HTTP_2;
        let has_body = !body.is_end_stream();
        let is_read = matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS);
        let accepted = Accepted::of(&head.headers);
        let mut sent = Sent::new(body);
        let answer = match self.other_cluster(&head.headers) {
            Err(refusal) => Err(refusal),
            Ok(()) if is_read => self.calls.answer(&head, &mut sent).await,
            Ok(()) => self.write(&head, &mut sent).await,
        };
        // If the rest of a body is not read, the connection ends after the answer: the client must know that, or its next
        // request is lost.
        let is_unread = has_body && answer.as_ref().is_err_and(|problem| problem.code().leaves_the_body());
        let mut response = self.calls.finish(answer);
        // A client of a Service that selects the leader finds the new leader only by a new connection, too.
        let led = response.headers().contains_key(FORWARDED) && self.shared.handle.led_within(LED_LATELY);
        // The same applies to a client that learns that another pod leads: with a Service that selects the leader, this
        // connection would bring each later write here, too.
        let is_elsewhere =
            matches!(response.status(), StatusCode::MISDIRECTED_REQUEST | StatusCode::TEMPORARY_REDIRECT);
        if is_http1 && (led || is_elsewhere || is_unread || self.is_leaving()) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        self.shared.gzip.encode(accepted, response)
    }

    /// Refuses a request that names another cluster.
    fn other_cluster(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(named) = headers.get(CLUSTER) else { return Ok(()) };
        let Some(own) = self.shared.handle.status().and_then(|status| status.cluster_id) else { return Ok(()) };
        let own = own.to_string();
        if named == own.as_str() {
            return Ok(());
        }
        let what = format!("this pod belongs to cluster {own}, but the request names another one; not done");
        Err(Problem::new(Code::OtherCluster, what))
    }

    /// The leader's own writes end here: no part of the request is copied in case another pod must do it.
    async fn write<B>(&self, head: &Parts, sent: &mut Sent<B>) -> ApiResult
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        match self.calls.answer(head, sent).await {
            // What serves nothing sends nothing on, either: the client is to use another pod.
            Err(problem) if problem.code() == Code::Diverged => Err(problem),
            Err(problem) if is_not_done(problem.code()) => self.take_on(problem, head, sent).await,
            done => done,
        }
    }

    /// Redirects a write that this replica did not do, sends it on, or waits for a leader. `first`: why it was not done.
    async fn take_on<B>(&self, first: Problem, head: &Parts, sent: &mut Sent<B>) -> ApiResult
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let is_ours = first.code() == Code::Recovering;
        if !is_ours {
            if head.headers.contains_key(FORWARDED) {
                return Err(first);
            }
            let sends_on = self.shared.config.follower_writes == FollowerWrites::Forward
                || self.is_leaving()
                || self.shared.handle.led_within(LED_LATELY);
            if !sends_on {
                return self.redirect(head).ok_or(first);
            }
        }
        let Ok(_room) = self.shared.room.try_acquire() else {
            return Err(Problem::new(Code::Overloaded, "too many writes are waiting for the leader here; not done"));
        };
        self.find_leader(first, head, sent).await
    }

    async fn find_leader<B>(&self, first: Problem, head: &Parts, sent: &mut Sent<B>) -> ApiResult
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let began = Instant::now();
        let deadline = began + self.shared.config.write_timeout;
        let is_marked = head.headers.contains_key(FORWARDED);
        let first_code = first.code();
        let mut news = self.shared.handle.news();
        let (mut last, mut last_code, mut pause) = (first, first_code, PAUSE_FIRST);
        loop {
            news.heard();
            match self.target() {
                Target::Here => match self.calls.answer(head, sent).await {
                    Err(problem) if is_not_done(problem.code()) => {
                        last_code = problem.code();
                        last = problem;
                    }
                    done => return done,
                },
                // The expected leader here does not lead, and this request must not be sent on twice.
                Target::There(_) if is_marked => return Err(last),
                Target::There(leader) => match self.send_on(&leader, head, sent.read(), deadline).await {
                    SentOn::Answered(response) => return Ok(self.answered(response)),
                    SentOn::NotDone(code, why) => {
                        last_code = code;
                        let name = leader.name;
                        debug!(leader = name, why, "the pod did not do the write; looking for the leader again");
                    }
                    SentOn::Unknown(why) => return Err(unknown_outcome(&leader.name, &why)),
                },
                Target::Nowhere => {}
            }
            if Instant::now() >= deadline {
                break;
            }
            let until = deadline.min(Instant::now() + pause);
            pause = (pause * 2).min(PAUSE_MOST);
            // Even without news it looks again: the other pod may know more by now.
            let _ = timeout_at(until, news.next()).await;
        }
        if first_code == Code::Recovering {
            Err(last)
        } else {
            Err(nobody_took(last_code, began.elapsed().as_millis()))
        }
    }

    fn target(&self) -> Target {
        let handle = &self.shared.handle;
        let Some(status) = handle.status() else { return Target::Nowhere };
        let is_ours = status.following.as_ref().is_some_and(|claim| claim.incarnation == handle.incarnation());
        if is_ours {
            let is_open = handle.is_alive() && handle.leads();
            return if is_open { Target::Here } else { Target::Nowhere };
        }
        // A replica whose peer connection to its leader alone is cut asks the one that role.json names. Not at once: a
        // leader that was just lost is mostly dead, and connecting to it would use up the time in which the next one is
        // found.
        let by_role = || leader_named(handle).filter(|_| handle.unheard_for(UNHEARD_MIN));
        match leader_seen(handle).or_else(by_role) {
            Some(leader) if leader.name != handle.name() => Target::There(Box::new(leader)),
            _ => Target::Nowhere,
        }
    }

    /// This pod is ending: a client on this connection should use another one.
    fn is_leaving(&self) -> bool {
        let handle = &self.shared.handle;
        handle.status().is_some_and(|status| status.phase == Phase::Draining) || !handle.is_alive()
    }

    fn redirect(&self, parts: &Parts) -> Option<Response> {
        if self.shared.config.follower_writes != FollowerWrites::Redirect {
            return None;
        }
        let Target::There(leader) = self.target() else { return None };
        let address = leader.address?;
        let scheme = self.shared.config.route.scheme();
        let claim = self.shared.handle.status()?.following.clone()?;
        let host = if scheme == "https" { by_name(&address, &claim.peer_address) } else { address };
        let location = HeaderValue::from_str(&url(scheme, &host, &parts.uri)).ok()?;
        let mut response = reply::empty(StatusCode::TEMPORARY_REDIRECT);
        response.headers_mut().insert(LOCATION, location);
        Some(response)
    }

    /// Once. Its outcome is known only if there is an answer.
    async fn send_on(&self, leader: &Leader, parts: &Parts, body: Bytes, deadline: Instant) -> SentOn {
        let answer_max = body.len() + ANSWER_ROOM_BYTES;
        let deadline = deadline.max(Instant::now() + SEND_MIN);
        let answer = async {
            let (head, body) = match self.hand_to(leader, parts, body, deadline).await {
                Ok(response) => response.into_parts(),
                Err(LineError::PreviousBuild) => {
                    let why =
                        format!("{} accepts writes at its port for clients, whose address is unknown", leader.name);
                    return SentOn::NotDone(Code::NoLeader, why);
                }
                Err(LineError::NotSent(why)) => return SentOn::NotDone(Code::NoLeader, why),
                Err(LineError::Unknown(why)) => return SentOn::Unknown(why),
            };
            match Limited::new(body, answer_max).collect().await {
                Ok(body) => judge(head, body.to_bytes()),
                Err(error) => SentOn::Unknown(format!("its answer was cut off: {error}")),
            }
        };
        timeout_at(deadline, answer).await.unwrap_or_else(|_| SentOn::Unknown("timed out".to_owned()))
    }

    /// Uses the leader's peer port. Two cases use its port for clients:
    ///
    /// - its build is older and does not know the other way, as its peer port, proven to be that pod's, has reported:
    ///   during a rolling update writes continue;
    /// - clients speak TLS, and replicas have neither a key nor TLS: their tokens would cross the network in the clear. There
    ///   the certificate shows who answers.
    async fn hand_to(
        &self,
        leader: &Leader,
        parts: &Parts,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Answered, LineError> {
        let cluster = self
            .cluster()
            .ok_or_else(|| LineError::NotSent("this replica does not know its cluster yet".to_owned()))?;
        let request = |uri| self.request(uri, cluster, parts, body.clone(), deadline);
        let is_encrypted = self.shared.config.route.scheme() == "https";
        if !is_encrypted || self.shared.lines.is_secret() {
            let led = Led { cluster, incarnation: leader.incarnation, to: leader.peer.clone() };
            let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
            match self.shared.lines.send(&led, request, path).await {
                Err(LineError::PreviousBuild) => {}
                other => return other,
            }
        }
        let Some(address) = &leader.address else { return Err(LineError::PreviousBuild) };
        // The connector adds TLS, where it is used.
        let uri = url("http", address, &parts.uri).parse::<Uri>();
        let uri = uri.map_err(|_| LineError::NotSent(format!("{address} is not a valid address")))?;
        self.shared.api.request(request(uri)).await.map_err(|error| match error.is_connect() {
            true => LineError::NotSent(error.to_string()),
            false => LineError::Unknown(error.to_string()),
        })
    }

    /// This replica's cluster; while its volume is empty, the Lease's.
    fn cluster(&self) -> Option<ClusterId> {
        let handle = &self.shared.handle;
        let own = handle.status().and_then(|status| status.cluster_id);
        own.or_else(|| handle.role()?.cluster_id.map(ClusterId))
    }

    /// The client's request on its way to the leader, which is to answer before the deadline.
    fn request(
        &self,
        uri: Uri,
        cluster: ClusterId,
        parts: &Parts,
        body: Bytes,
        deadline: Instant,
    ) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = end_to_end(&parts.headers);
        request.headers_mut().remove(HOST);
        // Its answer is read here, and encoded for our client.
        request.headers_mut().remove(ACCEPT_ENCODING);
        // A page was judged here, by the name that it used: the leader has another one.
        request.headers_mut().remove(ORIGIN);
        request.headers_mut().remove("sec-fetch-site");
        if let Ok(cluster) = HeaderValue::from_str(&cluster.to_string()) {
            request.headers_mut().insert(CLUSTER, cluster);
        }
        // The name of a pod is a header value: DNS labels.
        if let Ok(name) = HeaderValue::from_str(self.shared.handle.name()) {
            request.headers_mut().insert(FORWARDED, name);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let left_ms = u64::try_from((left - RETURN_MAX.min(left / 5)).as_millis()).unwrap_or(u64::MAX);
        request.headers_mut().insert(TIME_LEFT, HeaderValue::from(left_ms));
        request
    }

    /// The leader's answer on its way to our client.
    fn answered(&self, mut response: Response) -> Response {
        if let Ok(name) = HeaderValue::from_str(self.shared.handle.name()) {
            response.headers_mut().insert(FORWARDED, name);
        }
        response
    }
}

fn unknown_outcome(leader: &str, why: &str) -> Problem {
    let what = format!(
        "forwarded to {leader}, which did not answer ({why}); the outcome of the write is unknown. Sending the same \
         record under the same id again is safe"
    );
    Problem::new(Code::OutcomeUnknown, what)
}

/// The write's time is over. `last`: the last reason for refusing it.
fn nobody_took(last: Code, waited_ms: u128) -> Problem {
    match last {
        Code::NoMajority => {
            let what =
                format!("the leader had no contact with a majority of the voters within {waited_ms} ms; not done");
            Problem::new(Code::NoMajority, what)
        }
        Code::DiskStalled => {
            let what =
                format!("the leader's disk hung for all of {waited_ms} ms, and no other replica took over; not done");
            Problem::new(Code::DiskStalled, what)
        }
        _ => Problem::new(Code::NoLeader, format!("no leader accepted this write within {waited_ms} ms; not done")),
    }
}

/// A leader's answer, whose body is still to come.
type Answered = warp::http::Response<Incoming>;

/// The outcome of sending a write on.
enum SentOn {
    /// This.
    Answered(Response),
    /// It was not done, and never will be.
    NotDone(Code, String),
    /// Unknown.
    Unknown(String),
}

fn judge(head: warp::http::response::Parts, body: Bytes) -> SentOn {
    let refused = matches!(head.status, StatusCode::MISDIRECTED_REQUEST | StatusCode::SERVICE_UNAVAILABLE);
    if refused && let Some(code) = Code::of_body(&body).filter(|code| is_not_done(*code)) {
        return SentOn::NotDone(code, code.as_str().to_owned());
    }
    let mut response = Response::new(body.into());
    *response.status_mut() = head.status;
    *response.headers_mut() = end_to_end(&head.headers);
    SentOn::Answered(response)
}

/// Not done here, but perhaps elsewhere or a little later. What a leader refuses for its own reasons stays refused.
fn is_not_done(code: Code) -> bool {
    matches!(
        code,
        Code::NotLeader
            | Code::NoLeader
            | Code::Recovering
            | Code::NoMajority
            | Code::DiskStalled
            | Code::Diverged
            | Code::Overwritten
            | Code::Stopping
            | Code::OtherCluster
    )
}

/// A certificate contains names, and a pod's address for clients may be its IP: this is the name by which replicas reach
/// the pod, with the port for clients.
pub(super) fn by_name(address: &str, peer_address: &str) -> String {
    match (peer_address.rsplit_once(':'), address.rsplit_once(':')) {
        (Some((host, _)), Some((_, port))) => format!("{host}:{port}"),
        _ => address.to_owned(),
    }
}

fn url(scheme: &str, address: &str, uri: &Uri) -> String {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    format!("{scheme}://{address}{path}")
}

/// The headers that are meant for the final recipient, not for the next connection (RFC 9110, 7.6.1).
fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    const HOP_BY_HOP: [HeaderName; 9] = [
        CONNECTION,
        CONTENT_LENGTH,
        EXPECT,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ];
    let named: Vec<String> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let is_for_the_hop = HOP_BY_HOP.contains(name)
            || name.as_str() == "keep-alive"
            || name.as_str() == "proxy-connection"
            || named.iter().any(|named| named == name.as_str());
        if !is_for_the_hop {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

impl Service<Request<Inbound>> for Forwarding {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Inbound>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(this.answer(request).await) })
    }
}
