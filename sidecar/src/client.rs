//! One HTTP request to something near: the app's health, who wants to be notified, a sidecar.
//!
//! ```text
//!   HttpUrl ──▶ connect ──▶ HTTP/1.1, `Connection: close` ──▶ Answer: status, body        all of it within one time-out
//! ```
//!
//! A connection for each request, no redirects, no proxies, no TLS: what is asked is in the pod, or in the cluster behind a
//! name that the operator gave.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// The `http` URL of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl {
    /// As it was given, for logs.
    text: String,
    host: String,
    port: u16,
    /// Host and port as in the URL.
    authority: String,
    /// Path and query.
    target: String,
}

impl FromStr for HttpUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<HttpUrl, String> {
        const LIKE: &str = "it must be like http://127.0.0.1:8080/healthz";
        let uri: Uri = text.parse().map_err(|error| format!("{text:?} is not a valid URL ({error}): {LIKE}"))?;
        if uri.scheme_str() != Some("http") {
            return Err(format!("{text:?} is not an http URL: {LIKE}"));
        }
        let authority = uri.authority().ok_or_else(|| format!("{text:?} names no host: {LIKE}"))?;
        if authority.as_str().contains('@') {
            return Err(format!("{text:?} has a user in it, which is not supported: {LIKE}"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || authority.port_u16() == Some(0) {
            return Err(format!("{text:?} names no host and port: {LIKE}"));
        }
        Ok(HttpUrl {
            text: text.to_owned(),
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(80),
            authority: authority.to_string(),
            target: uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
        })
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    method: Method,
    headers: HeaderMap,
    body: Bytes,
}

impl Question {
    pub(crate) fn get() -> Question {
        Question { method: Method::GET, headers: HeaderMap::new(), body: Bytes::new() }
    }

    pub(crate) fn post_json(value: &impl serde::Serialize) -> Question {
        let body = serde_json::to_vec(value).expect("plain data has a JSON form").into();
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        Question { method: Method::POST, headers, body }
    }

    pub(crate) fn with(mut self, name: http::HeaderName, value: HeaderValue) -> Question {
        self.headers.insert(name, value);
        self
    }

    /// Asks it. `bytes_max`: the longest body of the answer; a longer one is an error. 0: nobody reads the body.
    ///
    /// # Errors
    /// See [`AskError`]. Any status is an answer.
    pub(crate) async fn ask(self, url: &HttpUrl, time_max: Duration, bytes_max: usize) -> Result<Answer, AskError> {
        let asked = tokio::time::timeout(time_max, self.exchange(url, bytes_max)).await;
        asked.unwrap_or(Err(AskError::NoAnswer(time_max)))
    }

    async fn exchange(self, url: &HttpUrl, bytes_max: usize) -> Result<Answer, AskError> {
        let stream = TcpStream::connect((url.host.as_str(), url.port)).await.map_err(AskError::Connect)?;
        self.exchange_over(stream, url, bytes_max).await
    }

    /// The same over a connection that is there.
    pub(crate) async fn exchange_over(
        self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        url: &HttpUrl,
        bytes_max: usize,
    ) -> Result<Answer, AskError> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(AskError::Broken)?;
        let exchange = async {
            let response = sender.send_request(self.request(url)?).await.map_err(AskError::Broken)?;
            let status = response.status().as_u16();
            if bytes_max == 0 {
                return Ok(Answer { status, body: Bytes::new() });
            }
            let body = Limited::new(response.into_body(), bytes_max).collect().await.map_err(AskError::Body)?;
            Ok(Answer { status, body: body.to_bytes() })
        };
        // What ends the connection is also what the exchange gets.
        let moving = async {
            let _ = connection.await;
            std::future::pending().await
        };
        tokio::select! {
            answer = exchange => answer,
            never = moving => never,
        }
    }

    fn request(self, url: &HttpUrl) -> Result<Request<Full<Bytes>>, AskError> {
        let agent = concat!("leasehold-sidecar/", env!("CARGO_PKG_VERSION"));
        let mut request = Request::builder()
            .method(self.method)
            .uri(&url.target)
            .header(HOST, &url.authority)
            .header(USER_AGENT, agent)
            .header(CONNECTION, "close")
            .body(Full::new(self.body))
            .map_err(AskError::Request)?;
        request.headers_mut().extend(self.headers);
        Ok(request)
    }
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

impl Answer {
    /// 2xx.
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// The name is unknown, or nobody listens there.
    #[error("{0}")]
    Connect(#[source] std::io::Error),
    /// It took too long.
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    /// The connection broke, or it is not HTTP that is spoken there.
    #[error("{0}")]
    Broken(#[source] hyper::Error),
    /// The body of the answer broke off, or is too long.
    #[error("its answer cannot be read: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The URL cannot be asked for.
    #[error("{0}")]
    Request(#[source] http::Error),
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_url_is_http_with_a_host_and_without_a_user() {
        let parts = |text: &str| {
            let url: HttpUrl = text.parse()?;
            Ok::<_, String>((url.host.clone(), url.port, url.target.clone()))
        };
        assert_eq!(parts("http://127.0.0.1:80/healthz?a=b").unwrap(), ("127.0.0.1".into(), 80, "/healthz?a=b".into()));
        assert_eq!(parts("http://[::1]:8080").unwrap(), ("::1".into(), 8080, "/".into()));
        assert_eq!(parts("http://hooks.svc/").unwrap().1, 80);
        for (text, word) in [
            ("https://127.0.0.1/", "not an http URL"),
            ("127.0.0.1:8080/healthz", "not"),
            ("/healthz", "not an http URL"),
            ("http://a:b@c/", "a user"),
            ("http://a:0/", "host and port"),
            ("http://a b/", "not a valid URL"),
            ("", "not a valid URL"),
        ] {
            let error = parts(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    /// Answers one request with these words; returns what it was asked.
    async fn answering(words: &'static str) -> (HttpUrl, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/here?x=1", listener.local_addr().unwrap()).parse().unwrap();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 4096];
            let read = stream.read(&mut asked).await.unwrap();
            stream.write_all(words.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&asked[..read]).into_owned()
        });
        (url, asked)
    }

    #[tokio::test]
    async fn what_is_asked_arrives_and_what_is_answered_returns() {
        let (url, asked) = answering("HTTP/1.1 404 No\r\ncontent-length: 3\r\n\r\nabc").await;
        let answer = Question::post_json(&serde_json::json!({"term": 5})).ask(&url, LONG, 100).await.unwrap();
        assert_eq!((answer.status, &answer.body[..], answer.is_success()), (404, &b"abc"[..], false));
        let asked = asked.await.unwrap();
        assert!(asked.starts_with("POST /here?x=1 HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("content-type: application/json\r\n") && asked.ends_with("{\"term\":5}"), "{asked}");
    }

    #[tokio::test]
    async fn a_silent_a_mad_and_a_talkative_server_are_errors() {
        let (url, _asked) = answering("").await;
        assert!(Question::get().ask(&url, LONG, 0).await.unwrap_err().to_string().contains("connection closed"));
        let (url, _asked) = answering("SSH-2.0-what\r\n\r\n").await;
        assert!(matches!(Question::get().ask(&url, LONG, 0).await.unwrap_err(), AskError::Broken(_)));
        let (url, _asked) = answering("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc").await;
        assert!(matches!(Question::get().ask(&url, LONG, 2).await.unwrap_err(), AskError::Body(_)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent: HttpUrl = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let error = Question::get().ask(&silent, Duration::from_millis(20), 0).await.unwrap_err();
        assert_eq!(error.to_string(), "no answer within 20ms");
        drop(listener);
        let error = Question::get().ask(&silent, LONG, 0).await.unwrap_err().to_string();
        assert!(error.starts_with("Connection refused"), "{error}");
    }
}
