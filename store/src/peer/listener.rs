//! The peer port: the requests of other replicas to this one.
//!
//! ```text
//!   GET  /v1/replicate   WebSocket: hello, then welcome or refused, then frames
//!   POST /v1/claim       a leader's claim -> what we are bound to then
//!   GET  /v1/state       what we are, from what was published last: it does not wait for the driver
//!   GET  /v1/forward     Upgrade: clients' writes that another replica sends on; handed over to the port for clients
//! ```
//!
//! Before the volume is read there is no replica: every answer is 503, and the peer asks again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Buf;
use futures_util::{SinkExt, Stream, StreamExt};
use http::{HeaderMap, HeaderValue, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use leasehold_replication::{Claim, ConnId, FRAME_BYTES_MAX, Hello, HelloAnswer, PeerState, RequestId};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;
use tracing::debug;
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::ws::{WebSocket, Ws};
use warp::{Filter, Reply};

use super::config::PeerConfig;
use super::connection::{self, Message, PeerError, Word, note_end};
use super::event::PeerEvent;
use super::forward;
use super::link;
use super::protocol::{CLUSTER, NAME, TEXT_BYTES_MAX, TO};
use super::rejection::Rejection;
use super::remote::Remote;
use crate::peer::trust::peers::WayError;
use leasehold_daemon::serve::{self, Door, Handing, OnMalformed};

/// How many connections may wait for their welcome. More of them must try again later.
const STRANGERS_MAX: usize = 64;

/// What this replica reports about itself; none while it is starting.
pub type PeerStateReceiver = watch::Receiver<Option<PeerState>>;

/// The peer port's side of this replica.
#[derive(Clone)]
pub struct Listener {
    config: PeerConfig,
    events: mpsc::Sender<PeerEvent>,
    state: PeerStateReceiver,
    /// Numbers accepted connections; never used twice.
    next_conn: Arc<AtomicU64>,
    /// Numbers invitations; never used twice.
    next_request: Arc<AtomicU64>,
    /// Places for connections that are not welcome yet. Each may hold a frame's worth of memory.
    strangers: Arc<Semaphore>,
    /// The port for clients, which serves what other replicas send on. None: this listener does not know `/v1/forward`.
    clients: Option<Handing>,
}

impl Listener {
    /// Reports arrivals to `events`, and answers questions from `state`.
    pub fn new(config: PeerConfig, events: mpsc::Sender<PeerEvent>, state: PeerStateReceiver) -> Listener {
        let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
        let (next_conn, next_request) = Default::default();
        Listener { config, events, state, next_conn, next_request, strangers, clients: None }
    }

    /// That port serves the writes that other replicas send on.
    pub fn handing_over_to(self, clients: Handing) -> Listener {
        Listener { clients: Some(clients), ..self }
    }

    /// The filters of the peer port.
    pub fn routes(&self) -> BoxedFilter<(Response,)> {
        let this = self.clone();
        let me = warp::any().map(move || this.clone());
        let replicate = warp::path!("v1" / "replicate")
            .and(warp::ws())
            .and(warp::ext::optional::<serve::Remote>())
            .and(me.clone())
            .map(|ws: Ws, remote: Option<serve::Remote>, me: Listener| me.replicate(ws, remote));
        let claim = warp::path!("v1" / "claim")
            .and(warp::post())
            .and(warp::ext::optional::<serve::Remote>())
            .and(me.clone())
            .and(warp::body::stream())
            .then(|remote, me: Listener, body| async move { me.claim(remote, body).await });
        let state = warp::path!("v1" / "state").and(warp::get()).and(me.clone()).map(|me: Listener| me.state());
        let forward = warp::path!("v1" / "forward")
            .and(warp::get())
            .and(warp::ext::optional::<OnUpgrade>())
            .and(warp::header::headers_cloned())
            .and(warp::ext::optional::<serve::Remote>())
            .and(me.clone())
            .map(|upgrade, headers: HeaderMap, remote, me: Listener| me.forward(upgrade, &headers, remote));
        let anything_else = warp::ext::optional::<serve::Remote>()
            .and(warp::method())
            .and(serve::path())
            .and(me.clone())
            .map(|remote, method, path: String, me: Listener| me.refuse_request(remote, &method, &path));
        let misled = warp::header::value(TO).and(me.clone()).and_then(|to: HeaderValue, me: Listener| {
            let misled = me.misled(&to).ok_or_else(warp::reject::not_found);
            async move { misled }
        });
        let name = self.config.name_of(&self.config.trust.me().name);
        let signed = move |mut answer: Response| {
            if let Some(name) = &name {
                answer.headers_mut().insert(NAME, name.clone());
            }
            answer
        };
        let answered = misled.or(replicate).unify().or(claim).unify().or(state).unify();
        let answered = answered.or(forward).unify().or(anything_else).unify();
        answered.map(signed).boxed()
    }

    /// What a connection passes before it is served: see [`crate::peer::trust::peers`].
    pub fn door(&self) -> Door {
        let config = self.config.clone();
        Arc::new(move |stream, remote| {
            let config = config.clone();
            Box::pin(async move {
                match config.trust.accept(stream, config.hello_max).await {
                    Ok(stream) => Some(stream),
                    Err(WayError::Untrusted(reason, what)) => {
                        config.refused(remote, reason, &what);
                        None
                    }
                    Err(WayError::Broken(error)) => {
                        debug!(%remote, %error, "a peer connection failed before it was set up");
                        None
                    }
                }
            })
        })
    }

    /// For [`Server::on_malformed`](serve::Server::on_malformed): counts and logs what was not even HTTP.
    pub fn on_malformed(&self) -> OnMalformed {
        let config = self.config.clone();
        Arc::new(move |remote, why| config.reject(remote, Rejection::Http, why))
    }

    /// A request for another pod, at an address that is ours by now: we must answer neither yes nor no for that pod \[F2\].
    fn misled(&self, to: &HeaderValue) -> Option<Response> {
        let me = self.config.name_of(&self.config.trust.me().name)?;
        (me != to).then(|| {
            debug!(?to, "received a request for another pod, which had this address before");
            refuse(StatusCode::MISDIRECTED_REQUEST, "this is another pod")
        })
    }

    /// Nothing of this protocol: the client is not a replica.
    fn refuse_request(self, remote: Option<serve::Remote>, method: &http::Method, path: &str) -> Response {
        let path: String = path.chars().take(100).collect();
        self.config.reject(name(remote), Rejection::Http, format!("{method} {path}"));
        let mut response = refuse(StatusCode::NOT_FOUND, "this port serves replicas only");
        response.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
        response
    }

    fn replicate(self, ws: Ws, remote: Option<serve::Remote>) -> Response {
        if self.state.borrow().is_none() {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "starting");
        }
        let Ok(place) = Arc::clone(&self.strangers).try_acquire_owned() else {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "too many connections are waiting for a welcome");
        };
        ws.max_message_size(FRAME_BYTES_MAX)
            .max_frame_size(FRAME_BYTES_MAX)
            .on_upgrade(move |socket| self.accept(socket, name(remote), place))
            .into_response()
    }

    async fn accept(self, mut socket: WebSocket, remote: Remote, place: OwnedSemaphorePermit) {
        let conn = ConnId::Accepted(self.next_conn.fetch_add(1, Ordering::Relaxed));
        let heard = timeout(self.config.hello_max, hear_hello(&mut socket)).await;
        let hello = match heard.unwrap_or(Err(PeerError::Silent)) {
            Ok(hello) => hello,
            // A client that connects to this port and says nothing is not a replica, either.
            Err(PeerError::Silent) => return self.config.reject(remote, Rejection::Silent, "no hello arrived in time"),
            Err(error) => return note_end(Err(error), conn, &remote, &self.config),
        };
        let (link, mut outbox) = link::link();
        if self.events.send(PeerEvent::Hello { conn, hello, link }).await.is_err() {
            return;
        }
        let ended = match outbox.next_answer().await {
            None => Ok(()),
            Some(answer) => {
                let refused = matches!(answer, HelloAnswer::Refused { .. });
                match timeout(self.config.lost_time, say(&mut socket, &answer)).await {
                    Err(_) => Err(PeerError::Silent),
                    Ok(Err(error)) => Err(error),
                    Ok(Ok(())) if refused => {
                        let _ = timeout(self.config.lost_time, socket.close()).await;
                        Ok(())
                    }
                    Ok(Ok(())) => {
                        drop(place);
                        connection::run::<_, warp::ws::Message, _>(socket, conn, outbox, &self.events, None).await
                    }
                }
            }
        };
        note_end(ended, conn, &remote, &self.config);
        let _ = self.events.send(PeerEvent::Closed { conn }).await;
    }

    async fn claim(
        self,
        remote: Option<serve::Remote>,
        body: impl Stream<Item = Result<impl Buf, warp::Error>>,
    ) -> Response {
        let wrong = |what: String| {
            self.config.reject(name(remote), Rejection::Claim, &what);
            refuse(StatusCode::BAD_REQUEST, &what)
        };
        let body = match timeout(self.config.hello_max, collect(body)).await {
            Ok(Ok(body)) => body,
            Ok(Err(what)) => return wrong(what),
            Err(_) => return wrong("a claim did not arrive completely in time".to_owned()),
        };
        let claim: Claim = match serde_json::from_slice(&body) {
            Ok(claim) => claim,
            Err(error) => return wrong(format!("the request is not a valid claim: {error}")),
        };
        if self.state.borrow().is_none() {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "starting");
        }
        let request = RequestId(self.next_request.fetch_add(1, Ordering::Relaxed));
        let (reply, answer) = oneshot::channel();
        // The asker waits for a lost-time; a later answer reaches nobody.
        let answered = timeout(self.config.lost_time, async {
            self.events.send(PeerEvent::Invited { request, claim, reply }).await.ok()?;
            answer.await.ok()
        });
        match answered.await {
            Ok(Some(answer)) => json(&answer),
            Ok(None) | Err(_) => refuse(StatusCode::SERVICE_UNAVAILABLE, "the replica did not answer in time"),
        }
    }

    /// From here on it is a connection of the port for clients. The asker must name our cluster: without a key, two
    /// releases may have the same names \[F1\].
    fn forward(self, upgrade: Option<OnUpgrade>, headers: &HeaderMap, remote: Option<serve::Remote>) -> Response {
        let Some(clients) = &self.clients else {
            return self.refuse_request(remote, &http::Method::GET, forward::PATH);
        };
        let Some(cluster) = self.state.borrow().as_ref().map(|state| state.cluster_id) else {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "starting");
        };
        let own = cluster.and_then(|id| HeaderValue::from_str(&id.to_string()).ok());
        let Some(own) = own.filter(|own| headers.get(CLUSTER) == Some(own)) else {
            return refuse(StatusCode::MISDIRECTED_REQUEST, "this pod does not belong to that cluster");
        };
        let is_ours = headers.get(http::header::UPGRADE) == Some(&forward::PROTOCOL);
        let Some(upgrade) = upgrade.filter(|_| is_ours) else {
            return refuse(StatusCode::UPGRADE_REQUIRED, "this call needs the header Upgrade: leasehold-forward");
        };
        let Some(place) = clients.place() else {
            return refuse(
                StatusCode::SERVICE_UNAVAILABLE,
                "the port for clients accepts no more connections at present",
            );
        };
        let (time_max, from) = (self.config.hello_max, name(remote));
        let address = remote.map_or_else(|| ([0, 0, 0, 0], 0).into(), |serve::Remote(address)| address);
        tokio::spawn(async move {
            match timeout(time_max, upgrade).await {
                Ok(Ok(opened)) => place.hand_over(Box::new(TokioIo::new(opened)), address),
                Ok(Err(error)) => {
                    debug!(remote = %from, %error, "a connection for forwarded writes failed before it was set up")
                }
                Err(_) => {
                    debug!(remote = %from, "the port for clients did not accept forwarded writes in time")
                }
            }
        });
        let mut response = Response::default();
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let fields = [
            (http::header::CONNECTION, HeaderValue::from_static("upgrade")),
            (http::header::UPGRADE, forward::PROTOCOL),
            (http::HeaderName::from_static(CLUSTER), own),
        ];
        response.headers_mut().extend(fields);
        response
    }

    fn state(self) -> Response {
        match &*self.state.borrow() {
            Some(state) => json(state),
            None => refuse(StatusCode::SERVICE_UNAVAILABLE, "starting"),
        }
    }
}

/// A body of at most [`TEXT_BYTES_MAX`], even if it does not declare its length.
async fn collect(body: impl Stream<Item = Result<impl Buf, warp::Error>>) -> Result<Vec<u8>, String> {
    let mut body = std::pin::pin!(body);
    let mut whole = Vec::new();
    while let Some(part) = body.next().await {
        let mut part = part.map_err(|error| format!("the claim is incomplete: {error}"))?;
        if whole.len() + part.remaining() > TEXT_BYTES_MAX {
            return Err("the claim is too long".to_owned());
        }
        while part.has_remaining() {
            let chunk = part.chunk();
            whole.extend_from_slice(chunk);
            part.advance(chunk.len());
        }
    }
    Ok(whole)
}

async fn hear_hello(socket: &mut WebSocket) -> Result<Hello, PeerError> {
    loop {
        let Some(message) = socket.next().await else { return Err(PeerError::Closed) };
        match message.map_err(PeerError::from_socket)?.read() {
            Word::Text(text) if text.len() <= TEXT_BYTES_MAX => {
                return serde_json::from_slice(&text).map_err(|error| {
                    PeerError::Hostile(Rejection::Hello, format!("the request is not a valid hello: {error}"))
                });
            }
            Word::Text(_) => return Err(PeerError::Hostile(Rejection::Hello, "the hello is too long".into())),
            Word::Binary(_) => {
                return Err(PeerError::Hostile(Rejection::Hello, "received a frame before the hello".into()));
            }
            Word::Control => {}
            Word::Close => return Err(PeerError::Closed),
        }
    }
}

async fn say(socket: &mut WebSocket, answer: &HelloAnswer) -> Result<(), PeerError> {
    let text = serde_json::to_string(answer).expect("plain data has a JSON form");
    socket.send(Message::text(text)).await.map_err(PeerError::from_socket)
}

fn name(remote: Option<serve::Remote>) -> Remote {
    match remote {
        Some(serve::Remote(address)) => Remote::Address(address),
        None => Remote::Name("unknown".into()),
    }
}

fn json(value: &impl Serialize) -> Response {
    warp::reply::json(value).into_response()
}

fn refuse(status: StatusCode, why: &str) -> Response {
    warp::reply::with_status(why.to_owned(), status).into_response()
}
