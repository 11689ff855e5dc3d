//! What connections and requests must pass before they are served.

use std::net::SocketAddr;
use std::sync::Arc;

use warp::reply::Response;

use crate::serve::socket::{BoxedStream, Socket};
use crate::serve::unfit::Refuse;

/// What a connection must pass before HTTP: TLS, a proof. None: it was refused, and the client was notified.
pub type Door = Arc<dyn Fn(Socket, SocketAddr) -> Passage + Send + Sync>;
/// On its way through a [`Door`].
pub type Passage = std::pin::Pin<Box<dyn Future<Output = Option<BoxedStream>> + Send>>;
/// Looks at the head of each request, and answers those that may not pass. What it learns about the others it leaves in
/// their extensions, for the service.
pub type Guard = Arc<dyn Fn(&mut http::request::Parts) -> Option<Response> + Send + Sync>;
/// What is added to an answer, by the head of its request: it replaces a field of the same name, except that `Vary` gets
/// one more value. Without a head: to a request that could not be read.
pub type Stamp = Arc<dyn Fn(Option<&http::HeaderMap>) -> http::HeaderMap + Send + Sync>;

/// What connections and requests must pass. By default, everything passes.
#[derive(Clone, Default)]
pub struct Gates {
    /// For connections.
    pub door: Option<Door>,
    /// For requests.
    pub guard: Option<Guard>,
    /// The answers to requests that are not even fit for the guard. None: hyper answers, and Host is not checked.
    pub refuse: Option<Refuse>,
    /// For every answer, including those of the guard and of `refuse`.
    pub stamp: Option<Stamp>,
}
