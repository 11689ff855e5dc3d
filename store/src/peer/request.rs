//! Requests to other replicas' peer ports: an invitation, a question. Each is one small HTTP/1 exchange on its own
//! connection, within a time limit: the state machine asks again if there was no answer.

use std::net::SocketAddr;
use std::time::Duration;

use super::config::PeerConfig;
use super::protocol::{CLAIM_PATH, DEMANDS_MORE, STATE_PATH, TEXT_BYTES_MAX};
use super::reach::reach;
use super::rejection::{Rejection, worst};
use crate::peer::trust::peers::WayError;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use leasehold_replication::{Claim, InviteAnswer, PeerState, Target};
use serde::de::DeserializeOwned;

/// Why there is no answer. The state machine does not need it and is not notified.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("cannot connect: {0}")]
    Unreached(#[from] std::io::Error),
    /// Not a member of ours, or we are not one of theirs: the reason for the metric, and what it was.
    #[error("{1}")]
    Untrusted(Rejection, String),
    #[error("the exchange failed: {0}")]
    Spoilt(#[from] hyper::Error),
    #[error("cannot resolve the address: {0}")]
    Address(#[from] http::Error),
    #[error("answered {0}")]
    Refused(http::StatusCode),
    #[error("the answer is longer than {TEXT_BYTES_MAX} bytes, or incomplete: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the answer does not follow this protocol: {0}")]
    Malformed(#[from] serde_json::Error),
}

impl From<WayError> for RequestError {
    fn from(error: WayError) -> RequestError {
        match error {
            WayError::Broken(error) => RequestError::Unreached(error),
            WayError::Untrusted(reason, what) => RequestError::Untrusted(reason, what),
        }
    }
}

/// `POST /v1/claim`.
pub(super) async fn invite(to: &Target, claim: &Claim, config: &PeerConfig) -> Result<InviteAnswer, RequestError> {
    let body = serde_json::to_vec(claim).expect("plain data has a JSON form");
    let request = hyper::Request::post(CLAIM_PATH)
        .header(http::header::HOST, &to.peer_address)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))?;
    exchange(to, request, config).await
}

/// `GET /v1/state`.
pub(super) async fn state(to: &Target, config: &PeerConfig) -> Result<PeerState, RequestError> {
    let request =
        hyper::Request::get(STATE_PATH).header(http::header::HOST, &to.peer_address).body(Full::new(Bytes::new()))?;
    exchange(to, request, config).await
}

/// Whole exchanges race. A slow pod may get the same request twice, as it may from a network that repeats it: a question
/// changes nothing, and a claim that was accepted is only accepted again.
async fn exchange<T: DeserializeOwned + Send>(
    to: &Target,
    mut request: hyper::Request<Full<Bytes>>,
    config: &PeerConfig,
) -> Result<T, RequestError> {
    config.address_to(&to.name, request.headers_mut());
    let request = &request;
    let exchanged = reach(to, &config.names, |socket| exchange_at(socket, to, request.clone(), config));
    let Ok(exchanged) = tokio::time::timeout(config.lost_time, exchanged).await else {
        return Err(RequestError::TimedOut(config.lost_time));
    };
    exchanged.map_err(|errors| {
        let reason = |error: &RequestError| match error {
            RequestError::Untrusted(reason, _) => Some(*reason),
            _ => None,
        };
        worst(errors, reason).unwrap_or(RequestError::TimedOut(config.lost_time))
    })
}

/// To one address. It has no time limit of its own.
async fn exchange_at<T: DeserializeOwned>(
    socket: SocketAddr,
    to: &Target,
    request: hyper::Request<Full<Bytes>>,
    config: &PeerConfig,
) -> Result<T, RequestError> {
    let stream = config.trust.connect(socket, &to.peer_address, Some(&to.name)).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Driven here, not in a task of its own: it ends with this request, even if that is dropped.
    let mut connection = std::pin::pin!(connection);
    let answered = async {
        let response = sender.send_request(request).await?;
        if response.status() == http::StatusCode::UNAUTHORIZED {
            return Err(RequestError::Untrusted(Rejection::Key, DEMANDS_MORE.to_owned()));
        }
        if let Err(what) = config.is_answer_of(&to.name, response.headers()) {
            return Err(RequestError::Untrusted(Rejection::Name, what));
        }
        if response.status() != http::StatusCode::OK {
            return Err(RequestError::Refused(response.status()));
        }
        let body = Limited::new(response.into_body(), TEXT_BYTES_MAX).collect().await.map_err(RequestError::Body)?;
        Ok(serde_json::from_slice(&body.to_bytes())?)
    };
    let mut answered = std::pin::pin!(answered);
    tokio::select! {
        biased;
        answer = &mut answered => answer,
        ended = &mut connection => {
            ended?;
            // The connection is done; what it read is with the other half.
            answered.await
        }
    }
}
