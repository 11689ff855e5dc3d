//! A small HTTP client with kept connections and a deadline for each request; with TLS and a token where a cluster asks for them.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header, uri::Scheme};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde_json::Value;

/// The client. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// What each request of a secured client has: none where it is a plain one.
    secured: Option<HeaderValue>,
}

/// The answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Why there was no answer.
#[derive(Clone, Debug)]
pub enum NoAnswer {
    /// No connection could be made: the request was not sent.
    NotSent(String),
    /// It may have been sent, and may have been done.
    Lost(String),
}

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NoAnswer::NotSent(why) => write!(f, "not sent: {why}"),
            NoAnswer::Lost(why) => write!(f, "no answer: {why}"),
        }
    }
}

impl std::error::Error for NoAnswer {}

impl Answer {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// `Leasehold-Sequence`.
    pub fn sequence(&self) -> Option<u64> {
        self.headers.get("leasehold-sequence")?.to_str().ok()?.parse().ok()
    }
}

impl Default for Http {
    fn default() -> Http {
        Http { client: client(None), secured: None }
    }
}

/// A client of plain HTTP, or of HTTPS alone.
fn client(trusted: Option<RootCertStore>) -> Client<HttpsConnector<HttpConnector>, Full<Bytes>> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(Duration::from_secs(1)));
    connector.enforce_http(false);
    let is_plain = trusted.is_none();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the ciphers of all default versions")
        .with_root_certificates(trusted.unwrap_or_else(RootCertStore::empty))
        .with_no_client_auth();
    let schemes = HttpsConnectorBuilder::new().with_tls_config(config);
    let schemes = if is_plain { schemes.https_or_http() } else { schemes.https_only() };
    let connector = schemes.enable_http1().wrap_connector(connector);
    Client::builder(TokioExecutor::new()).pool_idle_timeout(Duration::from_secs(30)).build(connector)
}

impl Http {
    /// A client that speaks HTTPS alone, trusts these certificates (PEM), and shows this token with each request.
    ///
    /// # Errors
    /// They are no certificates, or the token cannot be in a header.
    pub fn secured(authorities: &str, token: &str) -> anyhow::Result<Http> {
        let mut trusted = RootCertStore::empty();
        for one in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
            trusted.add(one.context("not a certificate")?)?;
        }
        let token = HeaderValue::try_from(format!("Bearer {token}")).context("a token that no header may have")?;
        Ok(Http { client: client(Some(trusted)), secured: Some(token) })
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> Scheme {
        if self.secured.is_some() { Scheme::HTTPS } else { Scheme::HTTP }
    }

    /// One request, with a JSON body if there is one. The deadline is for all of it.
    ///
    /// # Errors
    /// [`NoAnswer`]; a status that is an error is an answer.
    pub async fn send(
        &self,
        method: Method,
        address: SocketAddr,
        path: &str,
        body: Option<&Value>,
        deadline: Duration,
    ) -> Result<Answer, NoAnswer> {
        let mut request = Request::builder().method(method).uri(format!("http://{address}{path}"));
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = request.body(Full::new(body)).map_err(|error| NoAnswer::NotSent(error.to_string()))?;
        self.send_as_is(request, deadline).await
    }

    /// One request, unchanged, for those that a well-behaved client would not send. A secured client sends it by HTTPS, with
    /// its token unless it has one.
    ///
    /// # Errors
    /// [`NoAnswer`]
    pub async fn send_as_is(&self, request: Request<Full<Bytes>>, deadline: Duration) -> Result<Answer, NoAnswer> {
        let request = self.secure(request).map_err(|error| NoAnswer::NotSent(error.to_string()))?;
        let whole = async {
            let response = self.client.request(request).await.map_err(|error| {
                let why = error_chain(&error);
                if error.is_connect() { NoAnswer::NotSent(why) } else { NoAnswer::Lost(why) }
            })?;
            let (head, body) = response.into_parts();
            let body = body.collect().await.map_err(|error| NoAnswer::Lost(error.to_string()))?.to_bytes();
            Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
        };
        match tokio::time::timeout(deadline, whole).await {
            Ok(outcome) => outcome,
            Err(_) => Err(NoAnswer::Lost(format!("nothing within {deadline:?}"))),
        }
    }

    /// A GET whose answer does not end by itself: its status, and what comes. The head must be there within two seconds.
    ///
    /// # Errors
    /// [`NoAnswer`]
    pub async fn open(&self, address: SocketAddr, path: &str) -> Result<(u16, Incoming), NoAnswer> {
        let request = Request::get(format!("http://{address}{path}")).body(Full::default());
        let request = request.and_then(|request| self.secure(request));
        let request = request.map_err(|error| NoAnswer::NotSent(error.to_string()))?;
        match tokio::time::timeout(Duration::from_secs(2), self.client.request(request)).await {
            Ok(Ok(response)) => Ok((response.status().as_u16(), response.into_body())),
            Ok(Err(error)) => Err(NoAnswer::Lost(error_chain(&error))),
            Err(_) => Err(NoAnswer::Lost("no head within two seconds".to_owned())),
        }
    }

    fn secure(&self, mut request: Request<Full<Bytes>>) -> Result<Request<Full<Bytes>>, http::Error> {
        let Some(token) = &self.secured else { return Ok(request) };
        let mut parts = request.uri().clone().into_parts();
        parts.scheme = Some(self.scheme());
        *request.uri_mut() = Uri::from_parts(parts)?;
        request.headers_mut().entry(header::AUTHORIZATION).or_insert_with(|| token.clone());
        Ok(request)
    }

    /// A GET that must be answered with 200.
    ///
    /// # Errors
    /// No answer, or another status.
    pub async fn get(&self, address: SocketAddr, path: &str) -> anyhow::Result<Answer> {
        let answer = self.send(Method::GET, address, path, None, Duration::from_secs(2)).await?;
        anyhow::ensure!(answer.status == 200, "GET {path} at {address}: {} {}", answer.status, answer.text());
        Ok(answer)
    }

    /// A GET that must be answered with 200 and JSON.
    ///
    /// # Errors
    /// No answer, or another status.
    pub async fn get_json(&self, address: SocketAddr, path: &str) -> anyhow::Result<Value> {
        Ok(self.get(address, path).await?.json())
    }
}

fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
