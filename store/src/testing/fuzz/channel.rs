//! A peer connection from its first byte: what a stranger says to either end, and what somebody on the way does to two that know
//! the key.
//!
//! ```text
//!   0 | bytes            a listener hears them: nothing but a refusal is to be had
//!   1 | bytes            a dialer hears them instead of an answer: likewise
//!   2 | what is written, in pieces | edits of what crosses the wire, by place: at each end only a beginning of what the other
//!                        wrote is read, and all of it where nothing was changed
//! ```

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};

use super::Script;
use crate::peer::trust::handshake::{HandshakeError, Identity, accept, dial};
use crate::peer::trust::key::Keys;

/// More than ever is under way, so that nobody waits for room.
const ROOM_BYTES: usize = 1 << 20;
const KEY: &str = "a key of more than thirty-two bytes";
const PIECES_MAX: u8 = 4;
const EDITS_MAX: u8 = 4;

/// See the module.
pub fn channel(data: &[u8]) {
    let mut script = Script(data);
    let ended = match script.below(3) {
        0 => stalled_or_ended(stranger_dials(script.0)),
        1 => stalled_or_ended(stranger_answers(script.0)),
        _ => return meddled(&mut script),
    };
    assert!(matches!(ended, Some(Err(_))), "a stranger came in");
}

fn keys() -> Keys {
    Keys::from_files(&[("current".into(), KEY.as_bytes().to_vec())].into_iter().collect()).unwrap()
}

fn me(name: &str) -> Identity {
    Identity { cluster: "db".into(), name: name.into() }
}

async fn stranger_dials(bytes: &[u8]) -> Result<(), HandshakeError> {
    let (ours, mut theirs) = duplex(ROOM_BYTES);
    theirs.write_all(bytes).await.unwrap();
    theirs.shutdown().await.unwrap();
    accept(ours, &keys(), &me("db-1")).await.map(|_| ())
}

async fn stranger_answers(bytes: &[u8]) -> Result<(), HandshakeError> {
    let (ours, mut theirs) = duplex(ROOM_BYTES);
    theirs.write_all(bytes).await.unwrap();
    theirs.shutdown().await.unwrap();
    dial(ours, &keys(), &me("db-0"), Some("db-1")).await.map(|_| ())
}

/// What one end writes.
fn pieces(script: &mut Script<'_>) -> Vec<Vec<u8>> {
    let piece = |length: u16| (0..usize::from(length)).map(|n| (n * 7 % 251) as u8).collect();
    (0..script.below(PIECES_MAX + 1)).map(|_| piece(script.word())).collect()
}

fn edits(script: &mut Script<'_>) -> Vec<Edit> {
    (0..script.below(EDITS_MAX + 1)).map(|_| Edit::of(script)).collect()
}

/// One byte of one way.
struct Edit {
    at: usize,
    kind: u8,
    with: u8,
}

impl Edit {
    fn of(script: &mut Script<'_>) -> Edit {
        Edit { at: usize::from(script.word()), kind: script.below(4), with: script.byte() }
    }
}

fn meddled(script: &mut Script<'_>) {
    let (up, down) = (pieces(script), pieces(script));
    let (up_edits, down_edits) = (edits(script), edits(script));
    let is_untouched = up_edits.is_empty() && down_edits.is_empty();
    let ((dialer, inside), (outside, listener)) = (duplex(ROOM_BYTES), duplex(ROOM_BYTES));
    let ((inside, inside_back), (outside_back, outside)) = (tokio::io::split(inside), tokio::io::split(outside));
    let (dialer_keys, listener_keys, dialers, listeners) = (keys(), keys(), me("db-0"), me("db-1"));
    let (mut dialer_read, mut listener_read) = (Vec::new(), Vec::new());
    let both = async {
        let dials = async {
            let channel = dial(dialer, &dialer_keys, &dialers, Some("db-1")).await.ok()?;
            speak(channel, &up, &mut dialer_read).await
        };
        let accepts = async {
            let (channel, _) = accept(listener, &listener_keys, &listeners).await.ok()?;
            speak(channel, &down, &mut listener_read).await
        };
        let changed =
            async { tokio::join!(carry(inside, outside, up_edits), carry(outside_back, inside_back, down_edits)) };
        tokio::join!(dials, accepts, changed)
    };
    // Where a length was changed, both may wait for the other.
    let ended = stalled_or_ended(both);
    assert!(ended.is_some() || !is_untouched, "a good connection hangs");
    let (up, down) = (up.concat(), down.concat());
    assert!(up.starts_with(&listener_read), "the listener read what was not written");
    assert!(down.starts_with(&dialer_read), "the dialer read what was not written");
    if let Some((dials, accepts, (false, false))) = ended {
        assert!(dials.is_some() && accepts.is_some(), "a good connection broke");
        assert!(up.len() == listener_read.len() && down.len() == dialer_read.len(), "something was lost");
    }
}

/// Writes all, ends, and reads to the end. None: it broke.
async fn speak(
    channel: crate::peer::trust::channel::Channel<DuplexStream>,
    pieces: &[Vec<u8>],
    read: &mut Vec<u8>,
) -> Option<()> {
    let (mut reader, mut writer) = tokio::io::split(channel);
    for piece in pieces {
        writer.write_all(piece).await.ok()?;
    }
    writer.shutdown().await.ok()?;
    reader.read_to_end(read).await.ok().map(|_| ())
}

/// Hands one way on, with its edits. Was anything changed?
async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, edits: Vec<Edit>) -> bool {
    let (mut changed, mut place, mut part) = (false, 0, [0; 4096]);
    loop {
        let count = from.read(&mut part).await.unwrap_or(0);
        if count == 0 {
            let _ = to.shutdown().await;
            return changed;
        }
        let mut bytes = part[..count].to_vec();
        for edit in edits.iter().filter(|edit| (place..place + count).contains(&edit.at)) {
            let at = (edit.at - place).min(bytes.len());
            match edit.kind {
                0 if at < bytes.len() => bytes[at] ^= edit.with | 1,
                1 => bytes.insert(at, edit.with),
                2 if at < bytes.len() => drop(bytes.remove(at)),
                _ => bytes.truncate(at),
            }
            changed = true;
        }
        place += count;
        // Who is gone takes nothing more.
        let _ = to.write_all(&bytes).await;
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Nothing in here waits for anything but the other end: when nobody was woken, it would wait forever.
fn stalled_or_ended<T>(future: impl Future<Output = T>) -> Option<T> {
    let woken = Arc::new(Woken(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&woken));
    let (mut future, mut context) = (pin!(future), Context::from_waker(&waker));
    while woken.0.swap(false, Ordering::Relaxed) {
        if let Poll::Ready(ended) = future.as_mut().poll(&mut context) {
            return Some(ended);
        }
    }
    None
}
