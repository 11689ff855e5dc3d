//! What a peer connection passes before a word of HTTP: TLS and the handshake of Noise, whichever are given.
//!
//! ```text
//!   first byte of a connection:  0x16 TLS │ 'L' a handshake │ anything else: HTTP without either
//!   listener  given and spoken: passed │ given, not spoken: error, closed │ not given, spoken: error, closed
//!   dialer    TCP ▶ TLS ▶ handshake; an end that does not take part is a clear error, not a time-out
//! ```
//!
//! `--peer-trust=optional` is for the time in which one pod after the other gets a key or a certificate (or loses it):
//! a listener then also accepts connections without, and a dialer tries with less when the other end has less. That
//! protects nothing, and the log says so.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::ServerName;
use tracing::{debug, warn};

use super::handshake::{self, HandshakeError, Identity, MAGIC};
use super::key::Keys;
use super::sniffed::{BoxedStream, Sniffed, Stream};
use crate::peer::rejection::Rejection;
use crate::tls::PeerTls;
use leasehold_daemon::reload::{Reload, Reloaded};

/// The first byte of a TLS handshake.
const TLS_HANDSHAKE: u8 = 0x16;
/// Connections that have proven nothing yet. More of them wait for their turn.
const STRANGERS_MAX: usize = 128;
/// How often refusals for the same reason are said.
const SAID_PAUSE: Duration = Duration::from_secs(10);

/// What is demanded of other replicas, and shown to them. Nothing by default. A clone is the same.
#[derive(Clone, Debug, Default)]
pub struct PeerTrust(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    me: Identity,
    keys: Option<Reloaded<Keys>>,
    tls: Option<Reloaded<PeerTls>>,
    /// A DNS name that members' certificates are good for.
    tls_name: Option<ServerName<'static>>,
    required: bool,
    strangers: Semaphore,
    refused: Mutex<Vec<Refused>>,
}

/// The last refusal for one reason.
#[derive(Debug)]
struct Refused {
    reason: Rejection,
    at: Instant,
    said: Instant,
    since_said: u64,
    remote: String,
    what: String,
}

/// How [`PeerTrust`] is made.
#[derive(Debug)]
pub struct PeerTrustParts {
    /// Who we are.
    pub me: Identity,
    /// The shared keys.
    pub keys: Option<Reloaded<Keys>>,
    /// Certificates.
    pub tls: Option<Reloaded<PeerTls>>,
    /// A DNS name that members' certificates are good for; none: any certificate of the CA will do.
    pub tls_name: Option<ServerName<'static>>,
    /// False: a replica that has less is accepted, too.
    pub required: bool,
}

impl Default for Inner {
    fn default() -> Inner {
        Inner::new(PeerTrustParts {
            me: Identity { cluster: String::new(), name: String::new() },
            keys: None,
            tls: None,
            tls_name: None,
            required: true,
        })
    }
}

impl Inner {
    fn new(parts: PeerTrustParts) -> Inner {
        let PeerTrustParts { me, keys, tls, tls_name, required } = parts;
        let (strangers, refused) = (Semaphore::new(STRANGERS_MAX), Mutex::default());
        Inner { me, keys, tls, tls_name, required, strangers, refused }
    }
}

/// Why a connection did not come to be.
#[derive(Debug, thiserror::Error)]
pub enum WayError {
    /// The network.
    #[error(transparent)]
    Broken(#[from] io::Error),
    /// One end has or demands what the other has not: a word for the metric, and a sentence.
    #[error("{1}")]
    Untrusted(Rejection, String),
}

impl From<HandshakeError> for WayError {
    fn from(error: HandshakeError) -> WayError {
        match error {
            HandshakeError::Broken(error) => WayError::Broken(error),
            other => WayError::Untrusted(other.reason(), other.to_string()),
        }
    }
}

impl PeerTrust {
    /// Of these parts.
    pub fn new(parts: PeerTrustParts) -> PeerTrust {
        PeerTrust(Arc::new(Inner::new(parts)))
    }

    /// Is anything demanded?
    pub fn demands_something(&self) -> bool {
        self.0.required && (self.0.keys.is_some() || self.0.tls.is_some())
    }

    /// Is each connection to another replica encrypted?
    pub fn is_secret(&self) -> bool {
        self.demands_something()
    }

    /// The files that are to be looked at.
    pub fn reloads(&self) -> Vec<Arc<dyn Reload>> {
        let keys = self.0.keys.clone().map(|keys| Arc::new(keys) as Arc<dyn Reload>);
        let tls = self.0.tls.clone().map(|tls| Arc::new(tls) as Arc<dyn Reload>);
        keys.into_iter().chain(tls).collect()
    }

    /// Lets a connection in, or not. `time_max` is for all of it.
    ///
    /// # Errors
    /// [`WayError`]. The other end was notified, where it understands us.
    pub async fn accept(&self, stream: impl Stream + 'static, time_max: Duration) -> Result<BoxedStream, WayError> {
        let accepted = timeout(time_max, async {
            let _turn = self.0.strangers.acquire().await.expect("the semaphore is never closed");
            self.let_in(stream).await
        });
        accepted
            .await
            .unwrap_or_else(|_| Err(untrusted(Rejection::Silent, "the other end did not send enough in time")))
    }

    async fn let_in(&self, stream: impl Stream + 'static) -> Result<BoxedStream, WayError> {
        let Inner { tls, tls_name, required, .. } = &*self.0;
        let (first, mut stream) = Sniffed::new(stream).await?;
        match (first == TLS_HANDSHAKE, tls) {
            (true, Some(tls)) => {
                let stream = tls.get().accept(stream, tls_name.as_ref()).await;
                let stream = stream.map_err(|error| untrusted(Rejection::Tls, format!("TLS: {error}")))?;
                let (first, stream) = Sniffed::new(stream).await?;
                self.let_in_by_key(first, stream).await
            }
            // A record of TLS: fatal alert, protocol_version. Its client says so at once.
            (true, None) => {
                let _ = stream.write_all(&[0x15, 3, 3, 0, 2, 2, 70]).await;
                let _ = stream.shutdown().await;
                Err(untrusted(
                    Rejection::Tls,
                    "the other end uses TLS, but this peer port has no certificate (--peer-tls)",
                ))
            }
            (false, Some(_)) if *required => {
                let why = "this peer port accepts TLS only";
                tell(first, &mut stream, why).await;
                Err(untrusted(Rejection::Tls, format!("the connection does not use TLS; {why} (--peer-tls)")))
            }
            (false, _) => self.let_in_by_key(first, stream).await,
        }
    }

    async fn let_in_by_key<S: Stream + 'static>(&self, first: u8, mut stream: S) -> Result<BoxedStream, WayError> {
        match (first == MAGIC[0], &self.0.keys) {
            (true, Some(keys)) => {
                let (channel, _from) = handshake::accept(stream, &keys.get(), &self.0.me).await?;
                Ok(Box::new(channel))
            }
            (true, None) => {
                handshake::refuse(&mut stream, &format!("{} has no peer key", self.0.me.name)).await;
                Err(untrusted(
                    Rejection::Key,
                    "the other end offers a proof of membership, but this replica has no peer key (--peer-key)",
                ))
            }
            (false, Some(_)) if self.0.required => {
                tell(first, &mut stream, "this peer port demands a proof of membership: a peer key").await;
                Err(untrusted(
                    Rejection::Key,
                    "no proof of membership: the other end is not a replica, or has no peer key (--peer-key)",
                ))
            }
            (false, _) => Ok(Box::new(stream)),
        }
    }

    /// Who we are.
    pub fn me(&self) -> &Identity {
        &self.0.me
    }

    /// Connects to another replica's peer port at `socket`. `address`: `host:port`, whose host its certificate must name,
    /// whatever was dialled. `to`: the replica's name, where it is known.
    ///
    /// # Errors
    /// [`WayError`].
    pub async fn connect(&self, socket: SocketAddr, address: &str, to: Option<&str>) -> Result<BoxedStream, WayError> {
        let (tls, keys) = (self.0.tls.as_ref(), self.0.keys.as_ref());
        let mut ways = vec![(tls, keys)];
        if !self.0.required {
            ways.extend([(None, keys), (None, None)]);
            ways.dedup_by_key(|(tls, keys)| (tls.is_some(), keys.is_some()));
        }
        let mut connected = Err(untrusted(Rejection::Tls, "no way to connect was tried"));
        for (tls, keys) in ways {
            connected = self.connect_by(socket, address, to, tls, keys).await;
            if !matches!(connected, Err(WayError::Untrusted(..))) {
                break;
            }
        }
        connected
    }

    async fn connect_by(
        &self,
        socket: SocketAddr,
        address: &str,
        to: Option<&str>,
        tls: Option<&Reloaded<PeerTls>>,
        keys: Option<&Reloaded<Keys>>,
    ) -> Result<BoxedStream, WayError> {
        let stream = TcpStream::connect(socket).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = tls else { return self.prove(stream, to, keys).await };
        let stream = tls.get().connect(stream, address).await;
        let stream = stream.map_err(|error| untrusted(Rejection::Tls, format!("TLS with {address}: {error}")))?;
        self.prove(stream, to, keys).await
    }

    async fn prove<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: S,
        to: Option<&str>,
        keys: Option<&Reloaded<Keys>>,
    ) -> Result<BoxedStream, WayError> {
        match keys {
            Some(keys) => Ok(Box::new(handshake::dial(stream, &keys.get(), &self.0.me, to).await?)),
            None => Ok(Box::new(stream)),
        }
    }

    /// Notes a refusal, by either end, and says it: not more often than every ten seconds for one reason.
    pub fn note_refused(&self, remote: &dyn std::fmt::Display, reason: Rejection, what: &str) {
        if reason == Rejection::Name {
            return debug!(%remote, what, "another pod has this address by now");
        }
        let now = Instant::now();
        let mut refused = self.0.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let known = refused.iter_mut().find(|known| known.reason == reason);
        let (remote, what) = (remote.to_string(), what.to_owned());
        let since_said = match known {
            Some(known) => {
                known.since_said += 1;
                (known.at, known.remote, known.what) = (now, remote.clone(), what.clone());
                if now.duration_since(known.said) < SAID_PAUSE {
                    return;
                }
                known.said = now;
                std::mem::take(&mut known.since_said)
            }
            None => {
                let (remote, what) = (remote.clone(), what.clone());
                refused.push(Refused { reason, at: now, said: now, since_said: 0, remote, what });
                1
            }
        };
        drop(refused);
        warn!(remote, %reason, what, times = since_said, "refused a peer connection");
    }

    /// For `GET /api/status`.
    pub fn status(&self) -> Value {
        let refused = self.0.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = refused.iter().map(|one| {
            json!({
                "reason": one.reason.as_str(),
                "remote": one.remote,
                "what": one.what,
                "secondsAgo": one.at.elapsed().as_secs(),
            })
        });
        json!({
            "keys": self.0.keys.as_ref().map(|keys| keys.get().ids()).unwrap_or_default(),
            "certificates": self.0.tls.as_ref().map(|tls| tls.get().fingerprints().to_vec()).unwrap_or_default(),
            "required": self.demands_something(),
            "lastRefused": refused.collect::<Vec<_>>(),
        })
    }

    /// One line about what is demanded, at the start.
    pub fn describe(&self) -> String {
        let key = self.0.keys.as_ref().map(|keys| format!("key {}", keys.get().ids().join(" and ")));
        let tls = self.0.tls.as_ref().map(|_| "mutual TLS".to_owned());
        let all: Vec<String> = key.into_iter().chain(tls).collect();
        match (all.is_empty(), self.0.required) {
            (true, _) => "none: any client that reaches the peer port can read, write, vote and invite".to_owned(),
            (false, true) => all.join(", "),
            (false, false) => {
                format!("{} are offered, but nothing is required (--peer-trust=optional)", all.join(", "))
            }
        }
    }
}

/// For a log line, and for the other end's where it understands one of our protocols.
async fn tell(first: u8, stream: &mut (impl AsyncWrite + Unpin), why: &str) {
    if first == MAGIC[0] {
        return handshake::refuse(stream, why).await;
    }
    let head = "HTTP/1.1 401 Unauthorized\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length:";
    let _ = stream.write_all(format!("{head} {}\r\n\r\n{why}\n", why.len() + 1).as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn untrusted(reason: Rejection, what: impl Into<String>) -> WayError {
    WayError::Untrusted(reason, what.into())
}
