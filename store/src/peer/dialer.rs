//! We dial a leader: connect, say hello, hear its answer, and run the connection.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use leasehold_replication::{Answer, ConnId, FRAME_BYTES_MAX, Hello};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, client::IntoClientRequest};

use super::connection::{self, Message, Outbox, PeerError, Word, note_end};
use super::{DEMANDS_MORE, PeerConfig, PeerEvent, REPLICATE_PATH, Remote, TEXT_BYTES_MAX};
use crate::trust::peers::WayError;
use crate::trust::stream::BoxedStream;

/// Dials, and tells `Answered` and frames, or `Closed` when the connection ends by itself.
pub(super) async fn dial(
    conn: ConnId,
    peer_address: String,
    hello: Hello,
    outbox: Outbox,
    events: mpsc::Sender<PeerEvent>,
    config: PeerConfig,
) {
    let remote = Remote::Name(peer_address.clone());
    let greeted = tokio::select! {
        greeted = greet(&peer_address, &hello, &config) => greeted,
        () = outbox.dropped() => return,
    };
    let ended = match greeted {
        Ok((socket, answer)) => {
            let refused = matches!(answer, Answer::Refused { .. });
            if events.send(PeerEvent::Answered { conn, answer }).await.is_err() || refused {
                return;
            }
            connection::run::<_, tungstenite::Message, _>(socket, conn, outbox, &events).await
        }
        Err(error) => Err(error),
    };
    note_end(ended, conn, &remote, &config);
    let _ = events.send(PeerEvent::Closed { conn }).await;
}

/// A refused or reset connection is an error at once; a silent one is when its time is over.
async fn greet(
    peer_address: &str,
    hello: &Hello,
    config: &PeerConfig,
) -> Result<(WebSocketStream<BoxedStream>, Answer), PeerError> {
    let mut socket = within(config.lost_time, connect(peer_address, config)).await?;
    let text = serde_json::to_string(hello).expect("plain data has a JSON form");
    within(config.lost_time, async { socket.send(Message::text(text)).await.map_err(PeerError::from_socket) }).await?;
    let answer = within(config.hello_max, hear_answer(&mut socket)).await?;
    Ok((socket, answer))
}

async fn connect(peer_address: &str, config: &PeerConfig) -> Result<WebSocketStream<BoxedStream>, PeerError> {
    let request =
        format!("ws://{peer_address}{REPLICATE_PATH}").into_client_request().map_err(PeerError::from_socket)?;
    // The leader is not named here: it takes a hello only with a promise to its own incarnation.
    let stream = config.trust.connect(peer_address, None).await.map_err(|error| match error {
        WayError::Broken(error) => PeerError::Broken(Box::new(error)),
        WayError::Untrusted(reason, what) => PeerError::Untrusted(reason, what),
    })?;
    let limits =
        WebSocketConfig::default().max_message_size(Some(FRAME_BYTES_MAX)).max_frame_size(Some(FRAME_BYTES_MAX));
    let connected = tokio_tungstenite::client_async_with_config(request, stream, Some(limits)).await;
    match connected {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(answer)) if answer.status() == http::StatusCode::UNAUTHORIZED => {
            Err(PeerError::Untrusted("key", DEMANDS_MORE.to_owned()))
        }
        Err(error) => Err(PeerError::from_socket(error)),
    }
}

async fn hear_answer(socket: &mut WebSocketStream<BoxedStream>) -> Result<Answer, PeerError> {
    loop {
        let Some(message) = socket.next().await else { return Err(PeerError::Closed) };
        match message.map_err(PeerError::from_socket)?.read() {
            Word::Text(text) if text.len() <= TEXT_BYTES_MAX => {
                return serde_json::from_slice(&text)
                    .map_err(|error| PeerError::Hostile("answer", format!("no answer to a hello: {error}")));
            }
            Word::Text(_) => return Err(PeerError::Hostile("answer", "an answer that is too long".into())),
            Word::Binary(_) => return Err(PeerError::Hostile("answer", "a frame before the answer".into())),
            Word::Control => {}
            Word::Close => return Err(PeerError::Closed),
        }
    }
}

async fn within<T>(time_max: Duration, what: impl Future<Output = Result<T, PeerError>>) -> Result<T, PeerError> {
    timeout(time_max, what).await.unwrap_or(Err(PeerError::Silent))
}
