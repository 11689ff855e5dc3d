//! Opens a port to listen on.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tracing::warn;

/// Connections that wait in the kernel for us to accept them.
pub(crate) const BACKLOG: i32 = 1024;

/// Why listening on a port failed.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process uses the port.
    #[error("{address} is taken by another process")]
    Taken {
        /// The requested address.
        address: SocketAddr,
    },
    /// Any other error: no right to that port, no such address on this machine.
    #[error("cannot listen on {address}: {source}")]
    Failed {
        /// The requested address.
        address: SocketAddr,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// Listens on `address`. `[::]` accepts IPv4 connections as well; where the machine has no IPv6 it becomes `0.0.0.0`.
/// Must be called within a runtime.
///
/// # Errors
/// [`BindError`]: a mistake in the flags, or a second process.
pub fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    let bound = match bind_one(address) {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && has_no_ipv6(&error) => {
            let fallback = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port());
            warn!(%address, %fallback, "this machine has no IPv6; listening on IPv4 only");
            bind_one(fallback)
        }
        bound => bound,
    };
    bound.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::Taken { address },
        _ => BindError::Failed { address, source },
    })
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A restarted process must get its port although its predecessor's connections linger in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A kernel without IPv6 refuses the socket (EAFNOSUPPORT); one with IPv6 switched off refuses the address.
fn has_no_ipv6(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}
