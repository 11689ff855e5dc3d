//! Dials a leader: connects, sends hello, reads the answer, and runs the connection.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use leasehold_replication::{ConnId, FRAME_BYTES_MAX, Hello, HelloAnswer, Target};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, client::IntoClientRequest};

use super::config::PeerConfig;
use super::connection::{self, Message, PeerError, Word, note_end};
use super::counted::Counted;
use super::event::PeerEvent;
use super::link::Outbox;
use super::protocol::{DEMANDS_MORE, REPLICATE_PATH, TEXT_BYTES_MAX};
use super::reach::reach;
use super::rejection::{Rejection, worst};
use super::remote::Remote;
use crate::peer::trust::peers::WayError;

/// Dials, and reports `Answered` and frames, or `Closed` when the connection ends by itself.
pub(super) async fn dial(
    conn: ConnId,
    to: Target,
    hello: Hello,
    outbox: Outbox,
    events: mpsc::Sender<PeerEvent>,
    config: PeerConfig,
) {
    let remote = Remote::Name(format!("{} at {}", to.name, to.peer_address));
    let greeted = tokio::select! {
        greeted = greet(&to, &hello, &config) => greeted,
        () = outbox.dropped() => return,
    };
    let ended = match greeted {
        Ok((socket, answer)) => {
            let refused = matches!(answer, HelloAnswer::Refused { .. });
            if events.send(PeerEvent::Answered { conn, answer }).await.is_err() || refused {
                return;
            }
            let heard = Some((socket.get_ref().bytes(), config.lost_time / 4));
            connection::run::<_, tungstenite::Message, _>(socket, conn, outbox, &events, heard).await
        }
        Err(error) => Err(error),
    };
    note_end(ended, conn, &remote, &config);
    let _ = events.send(PeerEvent::Closed { conn }).await;
}

/// If every address refuses or resets, that is an error at once; silence is an error when its time is over. Of the
/// connections that race only the winner gets the hello: after a second one the leader would close the first \[F4\].
async fn greet(
    to: &Target,
    hello: &Hello,
    config: &PeerConfig,
) -> Result<(WebSocketStream<Counted>, HelloAnswer), PeerError> {
    let mut socket = within(config.lost_time, connect(to, config)).await?;
    let text = serde_json::to_string(hello).expect("plain data has a JSON form");
    within(config.lost_time, async { socket.send(Message::text(text)).await.map_err(PeerError::from_socket) }).await?;
    let answer = within(config.hello_max, hear_answer(&mut socket)).await?;
    Ok((socket, answer))
}

async fn connect(to: &Target, config: &PeerConfig) -> Result<WebSocketStream<Counted>, PeerError> {
    let connected = reach(to, &config.names, |socket| connect_at(socket, to, config)).await;
    connected.map_err(|errors| {
        let reason = |error: &PeerError| match error {
            PeerError::Untrusted(reason, _) => Some(*reason),
            _ => None,
        };
        worst(errors, reason).unwrap_or(PeerError::Closed)
    })
}

/// To one address, up to where the other end has shown that it is that pod.
async fn connect_at(
    socket: SocketAddr,
    to: &Target,
    config: &PeerConfig,
) -> Result<WebSocketStream<Counted>, PeerError> {
    let url = format!("ws://{}{REPLICATE_PATH}", to.peer_address);
    let mut request = url.into_client_request().map_err(PeerError::from_socket)?;
    config.address_to(&to.name, request.headers_mut());
    let stream = config.trust.connect(socket, &to.peer_address, Some(&to.name)).await.map_err(|error| match error {
        WayError::Broken(error) => PeerError::Broken(Box::new(error)),
        WayError::Untrusted(reason, what) => PeerError::Untrusted(reason, what),
    })?;
    let limits =
        WebSocketConfig::default().max_message_size(Some(FRAME_BYTES_MAX)).max_frame_size(Some(FRAME_BYTES_MAX));
    let connected = tokio_tungstenite::client_async_with_config(request, Counted::new(stream), Some(limits)).await;
    match connected {
        Ok((socket, answer)) => match config.is_answer_of(&to.name, answer.headers()) {
            Ok(()) => Ok(socket),
            Err(what) => Err(PeerError::Untrusted(Rejection::Name, what)),
        },
        Err(tungstenite::Error::Http(answer)) if answer.status() == http::StatusCode::UNAUTHORIZED => {
            Err(PeerError::Untrusted(Rejection::Key, DEMANDS_MORE.to_owned()))
        }
        Err(tungstenite::Error::Http(answer)) if answer.status() == http::StatusCode::MISDIRECTED_REQUEST => {
            Err(PeerError::Untrusted(Rejection::Name, format!("another pod answers where {} is expected", to.name)))
        }
        Err(error) => Err(PeerError::from_socket(error)),
    }
}

async fn hear_answer(socket: &mut WebSocketStream<Counted>) -> Result<HelloAnswer, PeerError> {
    loop {
        let Some(message) = socket.next().await else { return Err(PeerError::Closed) };
        match message.map_err(PeerError::from_socket)?.read() {
            Word::Text(text) if text.len() <= TEXT_BYTES_MAX => {
                return serde_json::from_slice(&text)
                    .map_err(|error| PeerError::Hostile(Rejection::Answer, format!("no answer to a hello: {error}")));
            }
            Word::Text(_) => return Err(PeerError::Hostile(Rejection::Answer, "the answer is too long".into())),
            Word::Binary(_) => {
                return Err(PeerError::Hostile(Rejection::Answer, "received a frame before the answer".into()));
            }
            Word::Control => {}
            Word::Close => return Err(PeerError::Closed),
        }
    }
}

async fn within<T>(time_max: Duration, what: impl Future<Output = Result<T, PeerError>>) -> Result<T, PeerError> {
    timeout(time_max, what).await.unwrap_or(Err(PeerError::Silent))
}
