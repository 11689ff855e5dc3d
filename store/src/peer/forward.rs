//! The way for writes that are sent on: to the leader's peer port, where each end shows who it is before a request leaves.
//!
//! ```text
//!   follower ──TCP, TLS, Noise──▶ leader's peer port
//!            ──GET /v1/forward, Upgrade: leasehold-forward, Leasehold-To, Leasehold-Cluster──▶
//!            ◀──101, Leasehold-Name, Leasehold-Cluster──      the very pod, of the very cluster; nothing was sent before
//!            ──HTTP/1.1: the client's requests──▶ handed over to the port for clients, and served there as any other
//! ```
//!
//! An address may be a stranger's by now, and a stranger's leader would accept the write, and the client's token with it
//! \[F1\]. A key proves who answers. Without one the other end only claims it; that protects against addresses that moved
//! to another pod, but not against an attacker.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, UPGRADE};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use leasehold_replication::{ClusterId, Target};

use super::config::PeerConfig;
use super::protocol::{CLUSTER, DEMANDS_MORE, NAME};
use super::reach::reach;
use super::rejection::{Rejection, worst};
use crate::peer::trust::peers::WayError;
use crate::peer::trust::sniffed::BoxedStream;

/// The path where it starts.
pub(super) const PATH: &str = "/v1/forward";
/// The protocol on it.
pub(super) const PROTOCOL: HeaderValue = HeaderValue::from_static("leasehold-forward");

/// Opens ways to leaders.
#[derive(Clone, Debug)]
pub struct ForwardWay(PeerConfig);

/// Why there is no way. Nothing of any request has left.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// It is that pod, but its build does not know this way.
    #[error("the leader's version does not accept forwarded writes at its peer port")]
    PreviousBuild,
    /// The network.
    #[error("cannot connect: {0}")]
    Broken(#[from] io::Error),
    /// The network, too.
    #[error("cannot connect: {0}")]
    Spoilt(#[from] hyper::Error),
    /// Another pod, no member, or we are not one for it: the reason for the metric, and what it was.
    #[error("{1}")]
    Untrusted(Rejection, String),
    /// It cannot accept it now.
    #[error("answered {0}")]
    Refused(StatusCode),
    /// A name or an address is invalid.
    #[error("cannot resolve the address: {0}")]
    Address(#[from] http::Error),
}

impl From<WayError> for ForwardError {
    fn from(error: WayError) -> ForwardError {
        match error {
            WayError::Broken(error) => ForwardError::Broken(error),
            WayError::Untrusted(reason, what) => ForwardError::Untrusted(reason, what),
        }
    }
}

impl ForwardWay {
    /// With what this replica shows and demands.
    pub fn new(config: PeerConfig) -> ForwardWay {
        ForwardWay(config)
    }

    /// Is what passes on it unreadable on the network?
    pub fn is_secret(&self) -> bool {
        self.0.trust.is_secret()
    }

    /// A way to this pod of this cluster. It has no time limit: an address that says nothing is not one that refuses.
    ///
    /// # Errors
    /// [`ForwardError`]: all addresses failed.
    pub async fn open(&self, to: &Target, cluster: ClusterId) -> Result<BoxedStream, ForwardError> {
        let opened = reach(to, &self.0.names, |socket| self.open_at(socket, to, cluster)).await;
        opened.map_err(|mut errors| {
            // It was that pod.
            if let Some(at) = errors.iter().position(|error| matches!(error, ForwardError::PreviousBuild)) {
                return errors.swap_remove(at);
            }
            let reason = |error: &ForwardError| match error {
                ForwardError::Untrusted(reason, _) => Some(*reason),
                _ => None,
            };
            let nowhere = || ForwardError::Broken(io::Error::other("it has no address"));
            let error = worst(errors, reason).unwrap_or_else(nowhere);
            if let ForwardError::Untrusted(reason, what) = &error {
                self.0.refused(&to.peer_address, *reason, what);
            }
            error
        })
    }

    /// To one address.
    async fn open_at(&self, socket: SocketAddr, to: &Target, cluster: ClusterId) -> Result<BoxedStream, ForwardError> {
        let mut request = hyper::Request::get(PATH)
            .header(HOST, &to.peer_address)
            .header(CONNECTION, "upgrade")
            .header(UPGRADE, PROTOCOL)
            .header(CLUSTER, cluster.to_string())
            .body(Empty::<Bytes>::new())?;
        self.0.address_to(&to.name, request.headers_mut());
        let stream = self.0.trust.connect(socket, &to.peer_address, Some(&to.name)).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Driven here: it ends with this attempt, or when the way is open.
        let mut connection = std::pin::pin!(connection.with_upgrades());
        let mut opened = std::pin::pin!(async {
            let response = sender.send_request(request).await?;
            self.judge(response.status(), response.headers(), to, cluster)?;
            let opened = hyper::upgrade::on(response).await?;
            Ok(Box::new(TokioIo::new(opened)) as BoxedStream)
        });
        tokio::select! {
            biased;
            opened = &mut opened => opened,
            ended = &mut connection => {
                ended?;
                // What it read is with the other half.
                opened.await
            }
        }
    }

    /// The answer's head: is it from that pod, and of that cluster?
    fn judge(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        to: &Target,
        cluster: ClusterId,
    ) -> Result<(), ForwardError> {
        match status {
            StatusCode::UNAUTHORIZED => return Err(ForwardError::Untrusted(Rejection::Key, DEMANDS_MORE.to_owned())),
            StatusCode::MISDIRECTED_REQUEST => {
                let what = format!("another pod, or another cluster, answers where {} is expected", to.name);
                return Err(ForwardError::Untrusted(Rejection::Name, what));
            }
            _ => {}
        }
        // Unlike a hello, a request cannot be taken back: a pod without a name gets none.
        let said = |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        if self.0.name_of(&to.name).is_some_and(|meant| headers.get(NAME) != Some(&meant)) {
            let what = format!("{:?} answers where {} is expected", said(NAME).unwrap_or_default(), to.name);
            return Err(ForwardError::Untrusted(Rejection::Name, what));
        }
        match status {
            StatusCode::SWITCHING_PROTOCOLS if said(CLUSTER) == Some(cluster.to_string()) => Ok(()),
            StatusCode::SWITCHING_PROTOCOLS => {
                let what = format!("{} belongs to another cluster: {:?}", to.name, said(CLUSTER).unwrap_or_default());
                Err(ForwardError::Untrusted(Rejection::Name, what))
            }
            StatusCode::NOT_FOUND => Err(ForwardError::PreviousBuild),
            other => Err(ForwardError::Refused(other)),
        }
    }
}
