//! A stream of which every byte carries a MAC: nobody on the way can change, drop, repeat or add to it.
//!
//! ```text
//!   record = length u32 | payload | tag 16        tag = HMAC-SHA-256(key of this direction, number u64, length, payload)
//! ```
//!
//! Numbers count up from 0 in each direction and are not sent; each connection and direction has a key of its own (see
//! [`super::proof`]). The first record that does not fit ends the connection. Not promised: secrecy, and that the end of
//! the stream is the end that was meant: HTTP and WebSocket each say by themselves where they end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ring::hmac;
use subtle::ConstantTimeEq;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The longest payload of a record.
const PAYLOAD_BYTES_MAX: usize = 32 * 1024;
const LENGTH_BYTES: usize = 4;
const TAG_BYTES: usize = 16;
const RECORD_BYTES_MAX: usize = LENGTH_BYTES + PAYLOAD_BYTES_MAX + TAG_BYTES;

/// What seals one direction.
struct Seal {
    key: hmac::Key,
    /// The number of the next record.
    number: u64,
}

impl Seal {
    fn new(key: &hmac::Tag) -> Seal {
        Seal { key: hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()), number: 0 }
    }

    /// The tag of the next record.
    fn tag(&mut self, payload: &[u8]) -> [u8; TAG_BYTES] {
        let length = u32::try_from(payload.len()).expect("a record is at most 32 KiB");
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&self.number.to_le_bytes());
        context.update(&length.to_le_bytes());
        context.update(payload);
        self.number += 1;
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&context.sign().as_ref()[..TAG_BYTES]);
        tag
    }
}

/// The stream.
pub struct Sealed<S> {
    inner: S,
    ours: Seal,
    theirs: Seal,
    /// What came: `start..payload_end` is verified and not read yet; up to `end` are bytes of records behind it.
    incoming: Box<[u8]>,
    start: usize,
    payload_end: usize,
    end: usize,
    /// One record that is on its way out, from `sent` on.
    outgoing: Vec<u8>,
    sent: usize,
}

impl<S> Sealed<S> {
    /// `ours` seals what is written here, `theirs` what is read.
    pub(super) fn new(inner: S, ours: &hmac::Tag, theirs: &hmac::Tag) -> Sealed<S> {
        Sealed {
            inner,
            ours: Seal::new(ours),
            theirs: Seal::new(theirs),
            incoming: vec![0; RECORD_BYTES_MAX * 2].into_boxed_slice(),
            start: 0,
            payload_end: 0,
            end: 0,
            outgoing: Vec::new(),
            sent: 0,
        }
    }

    /// Verifies the next record, if it is there whole. `start` must stand at its first byte.
    fn open_next(&mut self) -> io::Result<bool> {
        let there = &self.incoming[self.start..self.end];
        let Some((length, rest)) = there.split_first_chunk::<LENGTH_BYTES>() else { return Ok(false) };
        let length = u32::from_le_bytes(*length) as usize;
        if length == 0 || length > PAYLOAD_BYTES_MAX {
            return Err(bad("a record has an invalid length"));
        }
        if rest.len() < length + TAG_BYTES {
            return Ok(false);
        }
        let (payload, rest) = rest.split_at(length);
        if !bool::from(self.theirs.tag(payload).ct_eq(&rest[..TAG_BYTES])) {
            return Err(bad("a record has a wrong MAC: it was changed or repeated on the way"));
        }
        self.start += LENGTH_BYTES;
        self.payload_end = self.start + length;
        Ok(true)
    }
}

/// As of a peer that breaks its protocol; callers find it by its kind.
fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl<S: AsyncRead + Unpin> AsyncRead for Sealed<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.start < this.payload_end {
                let count = buf.remaining().min(this.payload_end - this.start);
                buf.put_slice(&this.incoming[this.start..this.start + count]);
                this.start += count;
                if this.start == this.payload_end {
                    this.start += TAG_BYTES;
                    this.payload_end = 0;
                }
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

impl<S: AsyncWrite + Unpin> Sealed<S> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.outgoing.len() {
            let count = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.outgoing[self.sent..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
        }
        self.outgoing.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Sealed<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        let payload = &buf[..buf.len().min(PAYLOAD_BYTES_MAX)];
        if payload.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let length = u32::try_from(payload.len()).expect("a record is at most 32 KiB");
        this.outgoing.extend_from_slice(&length.to_le_bytes());
        this.outgoing.extend_from_slice(payload);
        let tag = this.ours.tag(payload);
        this.outgoing.extend_from_slice(&tag);
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
