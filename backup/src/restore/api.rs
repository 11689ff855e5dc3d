//! The calls of a store that a restore into it makes.

use crate::archive::CommandError;
use crate::misfit::Misfit;
use crate::token::{first, has_certificates};
use leasehold_daemon::logs::in_words;
use reqwest::header::LOCATION;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Method, RequestBuilder, StatusCode, Url};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// How long a call is tried again while the store is not able to do it.
const PATIENCE: Duration = Duration::from_secs(60);
/// And while the leader that the store names cannot be reached: long enough for the next one to be known.
const LEADER_PATIENCE: Duration = Duration::from_secs(10);
const CALL_MAX: Duration = Duration::from_secs(30);

/// A store's API.
pub(super) struct Api {
    client: Client,
    /// As it was named.
    named: Url,
    /// Where a pod said that the leader is, while that is right.
    leader: Option<Url>,
    token: Option<String>,
    /// Something was written: that stays, whatever happens.
    pub(super) has_written: bool,
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: String,
    /// Where to ask instead.
    location: Option<Url>,
}

/// Why a call is tried again.
struct Failed {
    why: String,
    /// No answer came at all.
    is_unheard: bool,
}

impl Answer {
    /// What a problem says.
    pub(super) fn detail(&self) -> String {
        let problem: Option<Value> = serde_json::from_str(&self.body).ok();
        let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str());
        format!("{}: {}", self.status, detail.unwrap_or(&self.body))
    }

    fn is_of(&self, code: &str) -> bool {
        let problem: Option<Value> = serde_json::from_str(&self.body).ok();
        problem.is_some_and(|problem| problem["type"].as_str().is_some_and(|kind| kind.ends_with(code)))
    }
}

impl Api {
    pub(super) fn new(url: &Url, token: Option<&Path>, ca: Option<&Path>) -> Result<Api, CommandError> {
        crate::crypto::install();
        let read =
            |path: &Path| std::fs::read(path).map_err(CommandError::io(format!("cannot read {}", path.display())));
        // Redirects are followed here: reqwest would not show the token to another host.
        let builder = Client::builder().redirect(Policy::none());
        let mut builder = builder.connect_timeout(Duration::from_secs(5)).timeout(CALL_MAX);
        if let Some(path) = ca {
            let wrong = |error| CommandError::Said(format!("{}: not a certificate: {error}", path.display()));
            let pem = read(path)?;
            if has_certificates(&pem) {
                builder = builder.tls_certs_only(Certificate::from_pem_bundle(&pem).map_err(wrong)?);
            }
        }
        let client = builder.build().map_err(|error| CommandError::Said(format!("cannot make a client: {error}")))?;
        let token = token.map(read).transpose()?.map(|bytes| first(&String::from_utf8_lossy(&bytes)).to_owned());
        Ok(Api { client, named: url.clone(), leader: None, token, has_written: false })
    }

    /// Until it is answered by anything else than "later".
    pub(super) async fn call(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Result<Answer, CommandError> {
        let (until, mut pause) = (Instant::now() + PATIENCE, Duration::from_millis(200));
        let (mut is_said, mut is_followed, mut leader_unheard) = (false, false, None);
        loop {
            let url = format!("{}{path}", self.base());
            let mut request = self.client.request(method.clone(), &url);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            if let Some(body) = &body {
                request = request.header("content-type", "application/json").body(body.clone());
            }
            let failed = match self.send(request, &url).await? {
                Ok(answer) if is_elsewhere(answer.status) => {
                    let leader = self.leader_of(&url, &answer)?;
                    if !is_followed && !self.is_at(&leader) {
                        eprintln!("backup: {} does not lead; asking {leader}, which does", self.base());
                        (self.leader, is_followed) = (Some(leader), true);
                        continue;
                    }
                    // Perhaps another one leads by now.
                    self.leader = Some(leader);
                    Failed { why: answer.detail(), is_unheard: false }
                }
                Ok(answer) if !is_later(answer.status) => return Ok(answer),
                Ok(answer) => Failed { why: answer.detail(), is_unheard: false },
                Err(failed) => failed,
            };
            if failed.is_unheard
                && let Some(leader) = self.leader.take()
            {
                // The one that was named knows the next leader.
                let since = *leader_unheard.get_or_insert_with(Instant::now);
                if since.elapsed() >= LEADER_PATIENCE {
                    let what = format!(
                        "{} does not lead, and the leader that it names, {leader}, cannot be reached from here ({}); name an \
                         address of the leader with --into, such as that of a port-forward",
                        self.named, failed.why
                    );
                    return Err(self.ended(what));
                }
            }
            if Instant::now() + pause >= until {
                let what = format!("{method} {url} failed for {} s: {}", PATIENCE.as_secs(), failed.why);
                return Err(self.ended(what));
            }
            if !is_said {
                eprintln!("backup: {method} {url}: {}; trying again for {} s", failed.why, PATIENCE.as_secs());
                is_said = true;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    /// One answer, or why there is none yet.
    ///
    /// # Errors
    /// Trying again would not help.
    async fn send(&self, request: RequestBuilder, url: &str) -> Result<Result<Answer, Failed>, CommandError> {
        let request = if let Some(token) = &self.token { request.bearer_auth(token) } else { request };
        let sent = async {
            let response = request.send().await?;
            let status = response.status();
            let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
            let location = location.and_then(|location| Url::parse(location).ok());
            Ok::<_, reqwest::Error>(Answer { status, body: response.text().await?, location })
        };
        let answer = match sent.await {
            Ok(answer) => answer,
            Err(error) => {
                let why = in_words(&error);
                let hint = Misfit::of(&why).map(|misfit| match misfit {
                    Misfit::Certificate => "name the certificates that sign that cluster's with --ca",
                    Misfit::PortHasNoTls => "the port has no TLS, so write --into http://…",
                    Misfit::PortHasTls => "the port has TLS, so write --into https://…",
                });
                if let Some(hint) = hint {
                    return Err(self.ended(format!("{url}: {why}; {hint}")));
                }
                return Ok(Err(Failed { why, is_unheard: error.is_connect() || error.is_timeout() }));
            }
        };
        let asks_for_a_token = answer.status == StatusCode::UNAUTHORIZED
            || (answer.status == StatusCode::FORBIDDEN && !answer.is_of("foreign-host"));
        if asks_for_a_token {
            let named = if self.token.is_some() { "its token is not accepted or lacks it" } else { "none was given" };
            let what = format!(
                "{url}: {}; name a file with a token of the right admin with --token-file ({named})",
                answer.detail()
            );
            return Err(self.ended(what));
        }
        Ok(Ok(answer))
    }

    /// The leader's address, as the pod that does not lead says it. Not with less protection than what was named.
    fn leader_of(&self, url: &str, answer: &Answer) -> Result<Url, CommandError> {
        let Some(mut leader) = answer.location.clone() else {
            return Err(self.ended(format!("{url}: {}; name the leader's address with --into", answer.detail())));
        };
        if leader.scheme() != self.named.scheme() || !leader.has_host() {
            return Err(self.ended(format!("{url} redirects to {leader}; name that address with --into")));
        }
        leader.set_path(self.named.path());
        leader.set_query(None);
        Ok(leader)
    }

    fn is_at(&self, leader: &Url) -> bool {
        self.leader.as_ref().unwrap_or(&self.named) == leader
    }

    fn base(&self) -> &str {
        self.leader.as_ref().unwrap_or(&self.named).as_str().trim_end_matches('/')
    }

    /// The last words, with what became of what was done before.
    pub(super) fn ended(&self, what: String) -> CommandError {
        let more = if self.has_written { "; what was written stays, and the same command continues" } else { "" };
        CommandError::Said(what + more)
    }
}

/// Another pod does it.
fn is_elsewhere(status: StatusCode) -> bool {
    matches!(status, StatusCode::MISDIRECTED_REQUEST) || status.is_redirection()
}

/// What is put is put again without harm.
fn is_later(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
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
