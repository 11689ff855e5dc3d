//! A stream of which every byte is encrypted and carries a MAC: nobody on the way can read, change, drop, repeat or add to it.
//!
//! ```text
//!   record = length u16, little-endian | a transport message of Noise: 1 to 32 KiB of payload, encrypted | tag 16
//! ```
//!
//! Noise numbers the messages of each direction, from 0; the numbers are not sent. The first of the dialer's is empty, and is
//! its proof: see [`super::handshake`]. No other is empty. After each 65,536 records of a direction its key is replaced
//! (Noise, section 11.3), so none encrypts more than 2 GiB; the numbers continue, and end a connection after 2^64 - 2 of them:
//! half a million years at a million a second. The first record that does not fit ends the connection. Not promised: that the end of the
//! stream is the end that was meant: HTTP and WebSocket each say by themselves where they end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use snow::TransportState;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The longest payload of a record. Noise allows twice as much, which is no faster and takes twice the memory.
pub(super) const PAYLOAD_BYTES_MAX: usize = 32 * 1024;
pub(super) const LENGTH_BYTES: usize = 2;
pub(super) const TAG_BYTES: usize = 16;
const RECORD_BYTES_MAX: usize = LENGTH_BYTES + PAYLOAD_BYTES_MAX + TAG_BYTES;
/// The records of one direction that one key encrypts.
pub(super) const RECORDS_PER_KEY: u64 = 1 << 16;

/// The stream.
pub struct Channel<S> {
    inner: S,
    noise: TransportState,
    /// What came and is not opened yet: `start..end`.
    incoming: Box<[u8]>,
    start: usize,
    end: usize,
    /// What was opened and is not read yet: `opened_start..opened_end`. It has room for the tag as well.
    opened: Box<[u8]>,
    opened_start: usize,
    opened_end: usize,
    /// One record that is on its way out: `sent..outgoing_end` has not left yet.
    outgoing: Box<[u8]>,
    sent: usize,
    outgoing_end: usize,
}

/// Makes a record of `payload` and returns its length. `record` has room for it.
pub(super) fn seal(noise: &mut TransportState, payload: &[u8], record: &mut [u8]) -> io::Result<usize> {
    let (length, message) = record.split_at_mut(LENGTH_BYTES);
    // Only a number that is used up makes it fail.
    let count = noise.write_message(payload, message).map_err(io::Error::other)?;
    length.copy_from_slice(&u16::try_from(count).expect("a message of Noise is at most 65,535 bytes").to_le_bytes());
    if noise.sending_nonce().is_multiple_of(RECORDS_PER_KEY) {
        noise.rekey_outgoing();
    }
    Ok(LENGTH_BYTES + count)
}

/// Opens the message of a record and returns how many bytes of `payload` it fills.
pub(super) fn open(noise: &mut TransportState, message: &[u8], payload: &mut [u8]) -> io::Result<usize> {
    let count = noise.read_message(message, payload);
    let count =
        count.map_err(|_| bad("a record is not the one that was sent: it was changed or repeated on the way"))?;
    if noise.receiving_nonce().is_multiple_of(RECORDS_PER_KEY) {
        noise.rekey_incoming();
    }
    Ok(count)
}

impl<S> Channel<S> {
    /// After a handshake, and the dialer's first record.
    pub(super) fn new(inner: S, noise: TransportState) -> Channel<S> {
        let room = |bytes: usize| vec![0; bytes].into_boxed_slice();
        Channel {
            inner,
            noise,
            incoming: room(RECORD_BYTES_MAX * 2),
            start: 0,
            end: 0,
            opened: room(PAYLOAD_BYTES_MAX + TAG_BYTES),
            opened_start: 0,
            opened_end: 0,
            outgoing: room(RECORD_BYTES_MAX),
            sent: 0,
            outgoing_end: 0,
        }
    }

    /// Opens the next record, if it is there whole.
    fn open_next(&mut self) -> io::Result<bool> {
        let there = &self.incoming[self.start..self.end];
        let Some((length, rest)) = there.split_first_chunk::<LENGTH_BYTES>() else { return Ok(false) };
        let length = usize::from(u16::from_le_bytes(*length));
        if length <= TAG_BYTES || length > PAYLOAD_BYTES_MAX + TAG_BYTES {
            return Err(bad("a record has an invalid length"));
        }
        let Some(message) = rest.get(..length) else { return Ok(false) };
        self.opened_end = open(&mut self.noise, message, &mut self.opened)?;
        self.opened_start = 0;
        self.start += LENGTH_BYTES + length;
        Ok(true)
    }
}

/// As of a peer that breaks its protocol; callers find it by its kind.
fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl<S: AsyncRead + Unpin> AsyncRead for Channel<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.opened_start < this.opened_end {
                let count = buf.remaining().min(this.opened_end - this.opened_start);
                buf.put_slice(&this.opened[this.opened_start..this.opened_start + count]);
                this.opened_start += count;
                return Poll::Ready(Ok(()));
            }
            if this.open_next()? {
                continue;
            }
            if this.start == this.end {
                (this.start, this.end) = (0, 0);
            } else if this.incoming.len() - this.start < RECORD_BYTES_MAX {
                this.incoming.copy_within(this.start..this.end, 0);
                (this.start, this.end) = (0, this.end - this.start);
            }
            let mut room = ReadBuf::new(&mut this.incoming[this.end..]);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut room))?;
            let count = room.filled().len();
            if count == 0 {
                let torn = this.start < this.end;
                return Poll::Ready(if torn { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) });
            }
            this.end += count;
        }
    }
}

impl<S: AsyncWrite + Unpin> Channel<S> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.outgoing_end {
            let rest = &self.outgoing[self.sent..self.outgoing_end];
            let count = ready!(Pin::new(&mut self.inner).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
        }
        (self.sent, self.outgoing_end) = (0, 0);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Channel<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        let payload = &buf[..buf.len().min(PAYLOAD_BYTES_MAX)];
        if payload.is_empty() {
            return Poll::Ready(Ok(0));
        }
        this.outgoing_end = seal(&mut this.noise, payload, &mut this.outgoing)?;
        // It is taken, whether it leaves now or with the next call.
        if let Poll::Ready(Err(error)) = this.poll_drain(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(payload.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}
