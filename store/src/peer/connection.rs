//! One connection between two replicas, from the welcome to the end.
//!
//! ```text
//!   driver ──Link──▶ queue (bounded by count and bytes) ──writer──▶ encode, batch, flush ──▶ socket
//!   driver ◀──PeerEvent::Frame── reader ◀── decode ◀── socket
//! ```
//!
//! Both halves live in one task. The task ends when the other end closes, either half fails, or the
//! [`Link`](super::link::Link) is dropped; then its queue has [`DRAIN_MAX`] to leave, and the task reports `Closed` (which
//! the driver ignores if it dropped the link itself).

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use leasehold_replication::{Body, ConnId, FRAME_BYTES_MAX, Frame, HelloAnswer};
use tokio::sync::{Semaphore, mpsc};
use tokio_tungstenite::tungstenite;
use tracing::debug;

use super::config::PeerConfig;
use super::event::PeerEvent;
use super::link::{Outbox, Outgoing, SnapshotOut};
use super::rejection::Rejection;
use super::remote::Remote;

/// How many frames are written with one flush.
const BATCH_FRAMES_MAX: usize = 64;
/// How long a dropped connection may still send its queue.
const DRAIN_MAX: Duration = Duration::from_millis(250);
/// Pieces of a snapshot that arrived on one connection and are not kept yet. Beyond them TCP holds the sender back.
const PIECES_MAX: usize = 16;

/// A message of either WebSocket library (the server's is wrapped by warp).
pub(super) trait Message: Sized + Send {
    fn text(text: String) -> Self;
    fn binary(bytes: Bytes) -> Self;
    fn read(self) -> Word;
}

/// The meaning of a WebSocket message for us.
pub(super) enum Word {
    Text(Bytes),
    Binary(Bytes),
    /// Ping and pong: the library handles them.
    Control,
    Close,
}

impl Message for tungstenite::Message {
    fn text(text: String) -> Self {
        tungstenite::Message::Text(text.into())
    }
    fn binary(bytes: Bytes) -> Self {
        tungstenite::Message::Binary(bytes)
    }
    fn read(self) -> Word {
        match self {
            tungstenite::Message::Text(text) => Word::Text(text.into()),
            tungstenite::Message::Binary(bytes) => Word::Binary(bytes),
            tungstenite::Message::Ping(_) | tungstenite::Message::Pong(_) | tungstenite::Message::Frame(_) => {
                Word::Control
            }
            tungstenite::Message::Close(_) => Word::Close,
        }
    }
}

impl Message for warp::ws::Message {
    fn text(text: String) -> Self {
        warp::ws::Message::text(text)
    }
    fn binary(bytes: Bytes) -> Self {
        warp::ws::Message::binary(bytes)
    }
    fn read(self) -> Word {
        if self.is_binary() {
            Word::Binary(self.into_bytes())
        } else if self.is_text() {
            Word::Text(self.into_bytes())
        } else if self.is_close() {
            Word::Close
        } else {
            Word::Control
        }
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum PeerError {
    /// The other end closed it, or it broke.
    #[error("the other end closed the connection")]
    Closed,
    #[error("broken: {0}")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It did not send the expected message in time.
    #[error("the other end was silent for too long")]
    Silent,
    /// Not of this protocol: the reason for the metric, and what it was.
    #[error("{0}: {1}")]
    Hostile(Rejection, String),
    /// Not a member of ours, or we are not one of theirs: the reason for the metric, and what it was.
    #[error("{1}")]
    Untrusted(Rejection, String),
    /// Our own snapshot cannot be read.
    #[error("cannot read the snapshot: {0}")]
    Snapshot(#[source] io::Error),
    /// The driver is gone.
    #[error("this replica is shutting down")]
    Ending,
}

impl From<io::Error> for PeerError {
    fn from(error: io::Error) -> PeerError {
        PeerError::Broken(Box::new(error))
    }
}

impl PeerError {
    /// Classifies a WebSocket library's errors: bytes that are not a WebSocket are hostile, the rest is the network.
    pub(super) fn from_socket<E: std::error::Error + Send + Sync + 'static>(error: E) -> PeerError {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(inner) = source {
            if let Some(known) = inner.downcast_ref::<tungstenite::Error>() {
                use tungstenite::error::ProtocolError;
                return match known {
                    tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)
                    | tungstenite::Error::ConnectionClosed
                    | tungstenite::Error::AlreadyClosed => PeerError::Closed,
                    tungstenite::Error::Protocol(_)
                    | tungstenite::Error::Capacity(_)
                    | tungstenite::Error::Utf8(_)
                    | tungstenite::Error::AttackAttempt => PeerError::Hostile(Rejection::Websocket, known.to_string()),
                    // A record that does not match: see `trust::channel`.
                    tungstenite::Error::Io(io) if io.kind() == io::ErrorKind::InvalidData => {
                        PeerError::Hostile(Rejection::Mac, io.to_string())
                    }
                    _ => PeerError::Broken(Box::new(error)),
                };
            }
            source = inner.source();
        }
        PeerError::Broken(Box::new(error))
    }
}

/// Counts the bytes that were read, and how often to check: bytes of an incomplete frame are reported, too.
pub(super) type Heard = (Arc<AtomicU64>, Duration);

/// Runs a welcomed connection to its end. Reports frames, not the end.
pub(super) async fn run<S, M, E>(
    socket: S,
    conn: ConnId,
    outbox: Outbox,
    events: &mpsc::Sender<PeerEvent>,
    heard: Option<Heard>,
) -> Result<(), PeerError>
where
    S: Sink<M, Error = E> + Stream<Item = Result<M, E>> + Send,
    M: Message,
    E: std::error::Error + Send + Sync + 'static,
{
    let dropped = outbox.dropped.clone();
    let (sink, stream) = socket.split();
    let mut writer = std::pin::pin!(write(sink, outbox));
    tokio::select! {
        ended = read(stream, conn, events, heard) => ended,
        ended = &mut writer => ended,
        () = dropped.cancelled() => drain(writer).await,
    }
}

/// Queued messages may still leave: a refusal, or the last commit of a leader that hands over.
async fn drain(writer: impl Future<Output = Result<(), PeerError>>) -> Result<(), PeerError> {
    tokio::time::timeout(DRAIN_MAX, writer).await.unwrap_or(Ok(()))
}

async fn read<T, M, E>(
    mut stream: T,
    conn: ConnId,
    events: &mpsc::Sender<PeerEvent>,
    heard: Option<Heard>,
) -> Result<(), PeerError>
where
    T: Stream<Item = Result<M, E>> + Unpin,
    M: Message,
    E: std::error::Error + Send + Sync + 'static,
{
    let pieces = Arc::new(Semaphore::new(PIECES_MAX));
    let (counter, every) = heard.unwrap_or_else(|| (Arc::default(), Duration::from_secs(3600)));
    let mut look = tokio::time::interval(every.max(Duration::from_millis(1)));
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // What had been read when a frame or a sign of life was last reported.
    let mut told = counter.load(Ordering::Relaxed);
    loop {
        let message = tokio::select! {
            message = stream.next() => message,
            _ = look.tick() => {
                let read = counter.load(Ordering::Relaxed);
                if std::mem::replace(&mut told, read) != read {
                    events.send(PeerEvent::Heard { conn }).await.map_err(|_| PeerError::Ending)?;
                }
                continue;
            }
        };
        let Some(message) = message else { return Err(PeerError::Closed) };
        match message.map_err(PeerError::from_socket)?.read() {
            Word::Binary(bytes) => {
                told = counter.load(Ordering::Relaxed);
                let frame = match Frame::decode(bytes) {
                    Ok(frame) => frame,
                    Err(error) => {
                        // From a leader it belongs to the log, and must not be skipped: the state machine decides.
                        if let Some(what) = error.unknown() {
                            let unreadable = PeerEvent::Unreadable { conn, what };
                            events.send(unreadable).await.map_err(|_| PeerError::Ending)?;
                        }
                        return Err(PeerError::Hostile(Rejection::Frame, error.to_string()));
                    }
                };
                let room = match &frame.body {
                    Body::Snapshot(_) => {
                        let room = Arc::clone(&pieces).acquire_owned().await;
                        Some(room.expect("the semaphore is never closed"))
                    }
                    _ => None,
                };
                events.send(PeerEvent::Frame { conn, frame, room }).await.map_err(|_| PeerError::Ending)?;
            }
            Word::Text(_) => {
                return Err(PeerError::Hostile(Rejection::Frame, "received text instead of a frame".into()));
            }
            Word::Control => {}
            Word::Close => return Err(PeerError::Closed),
        }
    }
}

async fn write<T, M, E>(sink: T, mut outbox: Outbox) -> Result<(), PeerError>
where
    T: Sink<M, Error = E> + Unpin,
    M: Message,
    E: std::error::Error + Send + Sync + 'static,
{
    let mut writer = Writer { sink, taken: VecDeque::new(), _message: std::marker::PhantomData };
    let mut batch = Vec::with_capacity(BATCH_FRAMES_MAX);
    while outbox.queue.recv_many(&mut batch, BATCH_FRAMES_MAX).await > 0 {
        writer.taken.extend(batch.drain(..));
        while let Some(out) = writer.taken.pop_front() {
            writer.put(out, &mut outbox).await?;
        }
        writer.sink.flush().await.map_err(PeerError::from_socket)?;
    }
    // The driver dropped the link, and its whole queue is sent.
    writer.sink.close().await.map_err(PeerError::from_socket)
}

struct Writer<T, M> {
    sink: T,
    /// Taken from the queue, not yet written. Bounded like the queue: its bytes count until they are written.
    taken: VecDeque<Outgoing>,
    _message: std::marker::PhantomData<fn(M)>,
}

impl<T, M, E> Writer<T, M>
where
    T: Sink<M, Error = E> + Unpin,
    M: Message,
    E: std::error::Error + Send + Sync + 'static,
{
    async fn put(&mut self, out: Outgoing, outbox: &mut Outbox) -> Result<(), PeerError> {
        let room = out.room();
        match out {
            Outgoing::Frame(frame) => self.put_frame(&frame).await?,
            Outgoing::Answer(answer) => self.put_text(&answer).await?,
            Outgoing::Snapshot(snapshot) => self.put_snapshot(snapshot, outbox).await?,
        }
        outbox.sent(room);
        Ok(())
    }

    async fn put_frame(&mut self, frame: &Frame) -> Result<(), PeerError> {
        let bytes = frame.encode();
        assert!(bytes.len() <= FRAME_BYTES_MAX, "a frame of {} bytes was made, at most {FRAME_BYTES_MAX}", bytes.len());
        self.sink.feed(M::binary(bytes)).await.map_err(PeerError::from_socket)
    }

    async fn put_text(&mut self, answer: &HelloAnswer) -> Result<(), PeerError> {
        let text = serde_json::to_string(answer).expect("plain data has a JSON form");
        self.sink.feed(M::text(text)).await.map_err(PeerError::from_socket)
    }

    /// One piece after the other, each flushed: the socket's own back-pressure is the flow control. In between, heartbeats
    /// and echoes pass; everything else waits behind the last piece.
    async fn put_snapshot(&mut self, snapshot: SnapshotOut, outbox: &mut Outbox) -> Result<(), PeerError> {
        let SnapshotOut { piece: read, term, incarnation, from } = snapshot;
        let mut offset = from;
        loop {
            let reader = Arc::clone(&read);
            let read = tokio::task::spawn_blocking(move || reader(offset)).await.map_err(io::Error::other);
            let Some(piece) = read.flatten().map_err(PeerError::Snapshot)? else { return Ok(()) };
            offset = piece.offset + piece.bytes.len() as u64;
            let is_last = offset == piece.length_bytes;
            self.put_frame(&Frame { term, incarnation, body: Body::Snapshot(piece) }).await?;
            if is_last {
                debug!(length_bytes = offset, "sent a snapshot");
                return Ok(());
            }
            while let Ok(out) = outbox.queue.try_recv() {
                self.taken.push_back(out);
            }
            let mut index = 0;
            while index < self.taken.len() {
                if self.taken[index].may_pass() {
                    let out = self.taken.remove(index).expect("the index is below the length");
                    let room = out.room();
                    if let Outgoing::Frame(frame) = out {
                        self.put_frame(&frame).await?;
                    }
                    outbox.sent(room);
                } else {
                    index += 1;
                }
            }
            self.sink.flush().await.map_err(PeerError::from_socket)?;
        }
    }
}

/// Logs how a connection ended: loudly if it was hostile, otherwise for those who look.
pub(super) fn note_end(ended: Result<(), PeerError>, conn: ConnId, remote: &Remote, config: &PeerConfig) {
    match ended {
        Ok(()) | Err(PeerError::Ending) => debug!(?conn, %remote, "closed a peer connection"),
        Err(PeerError::Untrusted(reason, what)) => config.refused(remote, reason, &what),
        Err(PeerError::Hostile(reason, what)) => config.reject(remote, reason, what),
        Err(error) => debug!(?conn, %remote, %error, "a peer connection ended"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_of_a_frame_that_is_not_whole_are_heard_and_silence_is_not() {
        let (events, mut told) = mpsc::channel(4);
        let (conn, counter) = (ConnId::Dialled(7), Arc::new(AtomicU64::new(3)));
        let stream = futures_util::stream::pending::<Result<tungstenite::Message, tungstenite::Error>>();
        let heard = Some((Arc::clone(&counter), Duration::from_millis(2)));
        let task = tokio::spawn(async move { read(stream, conn, &events, heard).await });
        let next = tokio::time::timeout(Duration::from_millis(50), told.recv());
        assert!(next.await.is_err(), "what was read before is no news");
        for _ in 0..2 {
            counter.fetch_add(1, Ordering::Relaxed);
            let next = tokio::time::timeout(Duration::from_secs(10), told.recv()).await.unwrap();
            assert!(matches!(next, Some(PeerEvent::Heard { conn: of }) if of == conn));
        }
        task.abort();
    }
}
