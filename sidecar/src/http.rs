//! The sidecar's HTTP: for probes, load balancers, scripts, the app itself, and users of the old leader-elector.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /` | `{"name": leader}` |
//! | `GET /role` | the role of this pod in one word |
//! | `GET /leader` | 200 where this pod leads (a fencing app: and is `leading`), 503 elsewhere |
//! | `GET /v1/state` | everything, as JSON |
//! | `GET /v1/watch` | the role, and each change of it, as server-sent events |
//! | `POST /v1/step-down`, `POST /v1/released` | (plain apps) ends a leadership, by its term and the word of `control.token` |
//! | `GET /healthz` | 200; 503 when the election is dead or stuck |
//! | `GET /readyz` | 200 when the Lease was read once; names the objects that cannot be kept right |
//! | `GET /metrics` | OpenMetrics text |

mod ask;
mod pages;
mod reply;
mod sources;
mod watch;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

use hyper::body::Body;
use hyper::service::service_fn;
use leasehold_daemon::serve::{BindError, Limits, Server, bind};
use tokio::net::TcpListener;
use tracing::info;
use warp::Reply as _;
use warp::reply::Response;

pub(crate) use sources::{Heartbeat, Sources};

use crate::control::Wish;

/// Probes, a few load balancers, watchers and people. Beyond that, the longest silent connection makes room.
const CONNECTIONS_MAX: usize = 256;

/// Opens the port. A node without IPv6 gets the IPv4 port of the same number instead of `[::]`.
///
/// # Errors
/// The port is taken, or not permitted.
pub(crate) async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = bind(address).map_err(|error| {
        let kind = match &error {
            BindError::Taken { .. } => io::ErrorKind::AddrInUse,
            BindError::Failed { source, .. } => source.kind(),
        };
        io::Error::new(kind, error)
    })?;
    // Port 0 is any free one: the log says which.
    let address = listener.local_addr().unwrap_or(address);
    info!(address = %address, "serving HTTP");
    Ok(listener)
}

/// Serves forever.
pub(crate) async fn run(listener: TcpListener, sources: Sources) {
    let counts = sources.metrics.connections();
    let limits = Limits { port: "sidecar", connections_max: CONNECTIONS_MAX, counts, ..Limits::default() };
    let service = service_fn(move |request| {
        let sources = sources.clone();
        async move { Ok::<_, Infallible>(answer(&sources, request).await) }
    });
    Server { limits, ..Server::default() }.run(listener, service).await;
}

/// Generic, for fuzz targets have bodies of their own.
pub(crate) async fn answer<B>(sources: &Sources, request: hyper::Request<B>) -> Response
where
    B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let (head, body) = request.into_parts();
    // `CONNECT host:port` has no path.
    let path = if head.uri.path().is_empty() { "/" } else { head.uri.path() };
    match path {
        "/v1/watch" => watch::answer(sources, &head.method),
        "/v1/step-down" => ask::answer(sources, Wish::StepDown, &head, body).await.into_response(),
        "/v1/released" => ask::answer(sources, Wish::Released, &head, body).await.into_response(),
        path => pages::answer(sources, &head.method, path).into_response(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::notice::tests::leading;
    use crate::telemetry::Metrics;
    use leasehold_testkit::http::send;
    use tokio::sync::watch::channel;

    #[tokio::test]
    async fn it_is_served_over_tcp() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_sender, state) = channel(leading(2, 1, 60));
        let sources = Sources::new(state, Heartbeat::new(), Metrics::new(), None);
        tokio::spawn(run(listener, sources));
        let text = send(address, "GET /leader HTTP/1.0\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.0 200 OK") && text.ends_with("db-0\n"), "{text}");
        assert!(text.contains("x-content-type-options: nosniff\r\n"), "{text}");
        let text = send(address, "CONNECT db:80 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.1 405"), "a target without a path: {text:?}");
    }
}
