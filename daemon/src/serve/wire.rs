//! What HTTP reads and writes: notes that a request's head began to arrive, and replaces the parser's answers with
//! ours; and closes without a reset while the client still sends.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::serve::counts::Open;
use crate::serve::places::{Place, Seat};
use crate::serve::unfit::{Unfit, Words};
use crate::serve::unread::Lingering;

/// Between HTTP and whatever lies below it.
#[derive(Debug)]
pub(crate) struct Wire<S> {
    inner: S,
    seat: Arc<Seat>,
    /// For what cannot be read.
    words: Option<Words>,
    /// What is still to be written in place of hyper's answer.
    instead: Bytes,
    lingering: Lingering,
    /// The code that upgrades the connection gets this end of it, without its place.
    _open: Arc<Open>,
}

impl<S> Wire<S> {
    pub(crate) fn new(inner: S, place: &Place, words: Option<Words>, linger_max: Duration) -> Wire<S> {
        let (seat, open) = (Arc::clone(&place.seat), Arc::clone(&place.open));
        Wire { inner, seat, words, instead: Bytes::new(), lingering: Lingering::new(linger_max), _open: open }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.seat.heard();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    /// Is this hyper's own answer? Then ours is sent instead, with the next flush.
    fn replaces(&mut self, bytes: &[u8]) -> bool {
        let Some(words) = self.words.as_ref().filter(|_| self.seat.is_idle()) else { return false };
        let Some(unfit) = Unfit::of_written(bytes) else { return false };
        self.instead = Bytes::from(unfit.answer(words));
        self.seat.linger();
        true
    }

    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.instead.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.instead))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.instead.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.replaces(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // It is sent alone: nothing else is under way.
        let mut filled = bufs.iter().filter(|buf| !buf.is_empty());
        if let (Some(only), None) = (filled.next(), filled.next())
            && self.replaces(only)
        {
            return Poll::Ready(Ok(only.len()));
        }
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
        let Wire { inner, seat, lingering, .. } = &mut *self;
        if seat.lingers() { lingering.poll(inner, cx).map(Ok) } else { Poll::Ready(Ok(())) }
    }
}
