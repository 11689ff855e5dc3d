//! Where connections come from: the port's own socket, and a queue of those that another port hands over.
//!
//! ```text
//!   socket ──accept──▶ door ──┐
//!   another port ──Handing────┴─▶ a place among this port's ──▶ HTTP
//! ```
//!
//! A handed-over connection has passed the other port's door, and not ours: the other port vouches for it. Otherwise it is
//! like any other here: it uses one of the places, and has the same time-outs, guard and end.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::serve::socket::BoxedStream;

/// How many connections may wait to be accepted. Beyond them there is no [`Handing::place`].
const HANDED_MAX: usize = 64;

/// What a server accepts connections from.
#[derive(Debug)]
pub struct Entrance {
    listener: TcpListener,
    handed: Option<mpsc::Receiver<Handed>>,
}

/// The other port's end.
#[derive(Clone, Debug)]
pub struct Handing(mpsc::Sender<Handed>);

/// A place in the queue of handed-over connections.
#[derive(Debug)]
pub struct HandingPlace(mpsc::OwnedPermit<Handed>);

struct Handed {
    stream: BoxedStream,
    remote: SocketAddr,
}

/// A new connection.
pub(crate) enum Arrived {
    Accepted(TcpStream, SocketAddr),
    Handed(BoxedStream, SocketAddr),
}

impl Arrived {
    pub(crate) fn remote(&self) -> SocketAddr {
        match self {
            Arrived::Accepted(_, remote) | Arrived::Handed(_, remote) => *remote,
        }
    }

    pub(crate) fn is_handed(&self) -> bool {
        matches!(self, Arrived::Handed(..))
    }
}

impl From<TcpListener> for Entrance {
    fn from(listener: TcpListener) -> Entrance {
        Entrance { listener, handed: None }
    }
}

impl Entrance {
    /// The socket, and what arrives through the other end.
    pub fn with_handing(listener: TcpListener) -> (Entrance, Handing) {
        let (sender, handed) = mpsc::channel(HANDED_MAX);
        (Entrance { listener, handed: Some(handed) }, Handing(sender))
    }

    /// The next connection. Dropping this before it completes loses none.
    pub(crate) async fn next(&mut self) -> std::io::Result<Arrived> {
        let Some(queue) = &mut self.handed else { return self.listener.accept().await.map(accepted) };
        tokio::select! {
            arrived = self.listener.accept() => arrived.map(accepted),
            Some(Handed { stream, remote }) = queue.recv() => Ok(Arrived::Handed(stream, remote)),
        }
    }
}

impl Handing {
    /// A place in the queue; none while it is full, or when the server has ended.
    pub fn place(&self) -> Option<HandingPlace> {
        self.0.clone().try_reserve_owned().ok().map(HandingPlace)
    }
}

impl HandingPlace {
    /// Hands it over: it is served from now on, or closed by a server that ends.
    pub fn hand_over(self, stream: BoxedStream, remote: SocketAddr) {
        self.0.send(Handed { stream, remote });
    }
}

impl std::fmt::Debug for Handed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handed").field("remote", &self.remote).finish_non_exhaustive()
    }
}

fn accepted((stream, remote): (TcpStream, SocketAddr)) -> Arrived {
    Arrived::Accepted(stream, remote)
}
