//! The route to another replica's API port, for requests that are sent on where its peer port does not accept them: TCP,
//! and TLS where clients use it, too.
//!
//! The leader's address may be a bare IP, which no certificate names. So the check uses one name for which all replicas'
//! certificates are valid (`--api-tls-name`), or else the host of the address.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::rustls::pki_types::ServerName;
use tower_service::Service;

use crate::tls::{ApiTls, host_name};
use leasehold_daemon::reload::Reloaded;
use leasehold_daemon::serve::BoxedStream;

/// Whether the replicas' API uses TLS, and how it is checked. Plain by default.
#[derive(Clone, Debug, Default)]
pub struct ApiRoute {
    pub(crate) tls: Option<Reloaded<ApiTls>>,
    pub(crate) name: Option<ServerName<'static>>,
}

impl ApiRoute {
    /// `http` or `https`, for URLs in answers to clients.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// For a client of `hyper_util`, whose requests name `http://host:port/…` in either case.
    pub fn connector(&self, mut tcp: HttpConnector) -> Connector {
        tcp.enforce_http(false);
        Connector { tcp, route: self.clone() }
    }
}

/// Connects by that route.
#[derive(Clone, Debug)]
pub struct Connector {
    tcp: HttpConnector,
    route: ApiRoute,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<ApiStream>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let authority = uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
        let (connecting, route) = (self.tcp.call(uri), self.route.clone());
        Box::pin(async move {
            let stream = connecting.await?.into_inner();
            let Some(tls) = route.tls else { return Ok(TokioIo::new(ApiStream(Box::new(stream)))) };
            let name = route.name.map_or_else(|| host_name(&authority), Ok)?;
            Ok(TokioIo::new(ApiStream(Box::new(tls.get().connect(stream, name).await?))))
        })
    }
}

/// A connection on which another replica's API is spoken.
pub struct ApiStream(pub(crate) BoxedStream);

impl Connection for ApiStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for ApiStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for ApiStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
