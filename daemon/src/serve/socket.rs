//! The socket of one connection: what it sends must make progress.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use crate::serve::counts::{Closed, Counts};
use crate::serve::limits::Limits;

/// TCP, TLS, sealed: what HTTP runs over.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// One of them.
pub type BoxedStream = Box<dyn Stream>;

/// A TCP connection whose writes fail once the other end has accepted nothing for `stall_max`. TLS and HTTP lie above it,
/// so only this place sees the real progress.
#[derive(Debug)]
pub struct Socket {
    inner: TcpStream,
    stall_max: Duration,
    /// Created when the other end falls behind for the first time.
    patience: Option<Pin<Box<Sleep>>>,
    is_blocked: bool,
    port: &'static str,
    counts: Arc<Counts>,
}

impl Socket {
    pub(crate) fn new(inner: TcpStream, limits: &Limits) -> Socket {
        Socket {
            inner,
            stall_max: limits.stall_max,
            patience: None,
            is_blocked: false,
            port: limits.port,
            counts: Arc::clone(&limits.counts),
        }
    }

    fn write(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let written = write(Pin::new(&mut self.inner), cx);
        if written.is_ready() {
            self.is_blocked = false;
            return written;
        }
        let patience = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.stall_max)));
        if !std::mem::replace(&mut self.is_blocked, true) {
            patience.as_mut().reset(Instant::now() + self.stall_max);
        }
        if patience.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.counts.note(self.port, Closed::Stalled);
        // Otherwise the kernel keeps the part of the response that it has accepted, perhaps megabytes, while the other end
        // does not read; and that end does not see that it was cut.
        let _ = socket2::SockRef::from(&self.inner).set_linger(Some(Duration::ZERO));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the other end reads nothing")))
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.write(cx, |inner, cx| inner.poll_write(cx, buf))
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, |inner, cx| inner.poll_write_vectored(cx, bufs))
    }
    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
