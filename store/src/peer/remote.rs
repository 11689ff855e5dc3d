//! The other end of a connection.

use std::net::SocketAddr;

/// The other end's identity, for logs.
#[derive(Clone, Debug)]
pub(super) enum Remote {
    Address(SocketAddr),
    Name(String),
}

impl std::fmt::Display for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Remote::Address(address) => address.fmt(f),
            Remote::Name(name) => name.fmt(f),
        }
    }
}
