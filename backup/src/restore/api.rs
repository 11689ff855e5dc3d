//! The calls of a store that a restore into it makes.

use crate::archive::CommandError;
use crate::token::{first, has_certificates};
use reqwest::{Certificate, Client, Method, Response, StatusCode};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// How long a call is tried again while the store is not able to do it.
const PATIENCE: Duration = Duration::from_secs(60);
const CALL_MAX: Duration = Duration::from_secs(30);

/// A store's API.
pub(super) struct Api {
    client: Client,
    url: String,
    token: Option<String>,
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: String,
}

impl Answer {
    /// What a problem says.
    pub(super) fn detail(&self) -> String {
        let problem: Option<Value> = serde_json::from_str(&self.body).ok();
        let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str());
        format!("{}: {}", self.status, detail.unwrap_or(&self.body))
    }
}

impl Api {
    pub(super) fn new(url: &str, token: Option<&Path>, ca: Option<&Path>) -> Result<Api, CommandError> {
        crate::crypto::install();
        let read =
            |path: &Path| std::fs::read(path).map_err(CommandError::io(format!("cannot read {}", path.display())));
        let mut builder = Client::builder().connect_timeout(Duration::from_secs(5)).timeout(CALL_MAX);
        if let Some(path) = ca {
            let wrong = |error| CommandError::Said(format!("{}: not a certificate: {error}", path.display()));
            let pem = read(path)?;
            if has_certificates(&pem) {
                builder = builder.tls_certs_only(Certificate::from_pem_bundle(&pem).map_err(wrong)?);
            }
        }
        let client = builder.build().map_err(|error| CommandError::Said(format!("cannot make a client: {error}")))?;
        let token = token.map(read).transpose()?.map(|bytes| first(&String::from_utf8_lossy(&bytes)).to_owned());
        Ok(Api { client, url: url.trim_end_matches('/').to_owned(), token })
    }

    /// Until it is answered by anything else than "later".
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Result<Answer, CommandError> {
        let (until, mut pause) = (Instant::now() + PATIENCE, Duration::from_millis(200));
        loop {
            let mut request = self.client.request(method.clone(), format!("{}{path}", self.url));
            if let Some(token) = &self.token {
                request = request.bearer_auth(token);
            }
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            if let Some(body) = &body {
                request = request.header("content-type", "application/json").body(body.clone());
            }
            let why = match request.send().await {
                Ok(response) => match answer(response).await {
                    Ok(answer) if !is_later(answer.status) => return Ok(answer),
                    Ok(answer) => answer.detail(),
                    Err(error) => leasehold_daemon::logs::in_words(&error),
                },
                Err(error) => leasehold_daemon::logs::in_words(&error),
            };
            if Instant::now() + pause >= until {
                let what = format!("{method} {}{path} failed for {} s: {why}", self.url, PATIENCE.as_secs());
                return Err(CommandError::Said(what + "; what was written stays, and the same command continues"));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }
}

async fn answer(response: Response) -> Result<Answer, reqwest::Error> {
    let status = response.status();
    Ok(Answer { status, body: response.text().await? })
}

/// What is put is put again without harm.
fn is_later(status: StatusCode) -> bool {
    matches!(status.as_u16(), 421 | 429 | 502 | 503 | 504)
}

/// A segment of a path.
pub(super) fn segment(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_segment_is_encoded() {
        assert_eq!(super::segment("a b:ä~1"), "a%20b%3A%C3%A4~1");
    }
}
