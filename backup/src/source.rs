//! The store, as a client of its API sees it: where its pods are, their watches, and their snapshots.
//!
//! ```text
//!   --store http://db:8089,… ──resolve──▶ every address is a pod ──▶ GET /api/watch      (sse, watch)
//!                                                                └──▶ GET /api/snapshot
//! ```
//!
//! The token and the certificates are read anew for each connection, so a Secret that was replaced needs no restart. A pod is
//! asked under the name that the operator gave, at its own address: its certificate may be of the name.

mod failed;
mod sse;
mod watch;

pub use failed::Failed;
pub use watch::{First, Heard, Watch};

use crate::misfit::Misfit;
use crate::token::{first, has_certificates};
use leasehold_archive::agent::{Ended, Pod};
use leasehold_daemon::logs::in_words;
use leasehold_replication::{ClusterId, Seq};
use leasehold_store::api::PARTIAL;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const CONNECT_MAX: Duration = Duration::from_secs(5);
/// A pod that is behind waits for the entry that a watch begins after, and a snapshot may wait for its turn.
const HEAD_MAX: Duration = Duration::from_secs(30);
/// A watch of everything says every ten seconds how far it is; a snapshot that stands still this long is dead.
const SILENCE_MAX: Duration = Duration::from_secs(25);
const RESOLVE_MAX: Duration = Duration::from_secs(10);
/// What a token lacks that is refused.
const RIGHT: &str = " (it needs a token with the right backup or admin: --store-token-file)";
/// Of a refusal's body.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// See the module.
#[derive(Clone, Debug)]
pub struct Source {
    stores: Vec<Url>,
    token_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

/// The stores' addresses cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("--store {url:?} is not the address of a store; write it as http://name:8089 or https://name:8089")]
pub struct StoreError {
    url: String,
}

impl Source {
    /// Nothing is read or sent yet.
    ///
    /// # Errors
    /// One of the URLs is unusable.
    pub fn new(stores: &[String], token_file: Option<PathBuf>, ca_file: Option<PathBuf>) -> Result<Source, StoreError> {
        let parse = |text: &String| {
            let url = Url::parse(text.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
            url.filter(|url| url.host_str().is_some()).ok_or_else(|| StoreError { url: text.clone() })
        };
        Ok(Source { stores: stores.iter().map(parse).collect::<Result<_, _>>()?, token_file, ca_file })
    }

    /// All addresses of all hosts, each once, under the first name that leads to it: a pod that was asked under two names would
    /// vouch for itself. A host that cannot be resolved has none.
    pub async fn pods(&self) -> Vec<Pod> {
        let (mut pods, mut known) = (Vec::new(), BTreeSet::new());
        for url in &self.stores {
            let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { continue };
            let host = host.trim_matches(['[', ']']);
            let found = tokio::time::timeout(RESOLVE_MAX, tokio::net::lookup_host((host, port))).await;
            for address in found.ok().and_then(Result::ok).into_iter().flatten() {
                if known.insert(address) {
                    pods.push(pod_of(url, address));
                }
            }
        }
        pods
    }

    /// Opens a watch of all collections: from the present on, or after that sequence of that cluster.
    ///
    /// # Errors
    /// The pod cannot be reached, or refuses.
    pub async fn watch(&self, pod: &Pod, cluster: Option<ClusterId>, after: Option<Seq>) -> Result<Watch, Failed> {
        let cluster = cluster.map(|cluster| format!("cluster={}", cluster.0));
        let after = after.map(|after| format!("after={after}"));
        let query = [cluster, after].into_iter().flatten().collect::<Vec<_>>().join("&");
        let answer = self.get(pod, "/api/watch", &query).await?;
        if answer.headers().contains_key(PARTIAL) {
            let what = format!("{pod}: GET /api/watch shows only the collections that its token may watch{RIGHT}");
            return Err(Failed { ended: Ended::Denied, what });
        }
        Ok(Watch::of(answer))
    }

    /// Asks for a snapshot.
    ///
    /// # Errors
    /// The pod cannot be reached, or refuses.
    pub async fn snapshot(&self, pod: &Pod) -> Result<Response, Failed> {
        self.get(pod, "/api/snapshot", "").await
    }

    async fn get(&self, pod: &Pod, path: &str, query: &str) -> Result<Response, Failed> {
        let (url, address) = parts_of(pod).ok_or_else(|| Failed::broken(format!("{pod}: not a pod")))?;
        let (mut to, client) = (url.clone(), self.client(&url, address).await?);
        to.set_path(path);
        to.set_query(Some(query).filter(|query| !query.is_empty()));
        let mut request = client.get(to);
        if let Some(token) = self.token().await? {
            request = request.header(AUTHORIZATION, token);
        }
        let failed = |error: reqwest::Error| {
            let why = in_words(&error);
            let hint = match Misfit::of(&why) {
                Some(Misfit::Certificate) => " (--store-ca names the certificates that sign the store's)",
                Some(Misfit::PortHasNoTls) => " (the port has no TLS: write --store http://…)",
                Some(Misfit::PortHasTls) => " (the port may have TLS: write --store https://…)",
                None => "",
            };
            Failed::broken(format!("{pod}: {why}{hint}"))
        };
        let answer = tokio::time::timeout(HEAD_MAX, request.send()).await;
        let answer = answer.map_err(|_| Failed::broken(format!("{pod}: no answer within {} s", HEAD_MAX.as_secs())))?;
        let answer = answer.map_err(failed)?;
        if answer.status() == StatusCode::OK { Ok(answer) } else { Err(refusal(pod, path, answer).await) }
    }

    async fn client(&self, url: &Url, address: SocketAddr) -> Result<Client, Failed> {
        let builder = Client::builder().connect_timeout(CONNECT_MAX).read_timeout(SILENCE_MAX).no_proxy();
        let mut builder = builder.redirect(reqwest::redirect::Policy::none());
        if let Some(host) = url.host_str() {
            builder = builder.resolve(host, address);
        }
        if let Some(file) = &self.ca_file {
            let wrong =
                |why: String| Failed::broken(format!("cannot use the certificates in {}: {why}", file.display()));
            match tokio::fs::read(file).await {
                Ok(pem) if has_certificates(&pem) => {
                    let bundle = reqwest::Certificate::from_pem_bundle(&pem);
                    builder = builder.tls_certs_only(bundle.map_err(|error| wrong(in_words(&error)))?);
                }
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(wrong(error.to_string())),
            }
        }
        builder.build().map_err(|error| Failed::broken(in_words(&error)))
    }

    async fn token(&self) -> Result<Option<HeaderValue>, Failed> {
        let Some(file) = &self.token_file else { return Ok(None) };
        let wrong = |why: String| Failed {
            ended: Ended::Denied,
            what: format!("cannot use the token in {}: {why}", file.display()),
        };
        let token = tokio::fs::read_to_string(file).await.map_err(|error| wrong(error.to_string()))?;
        let value = HeaderValue::from_str(&format!("Bearer {}", first(&token)));
        let mut value = value.map_err(|_| wrong("it has bytes that no header may have".to_owned()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// `http://name:8089 at 10.0.0.7:8089`.
fn pod_of(url: &Url, address: SocketAddr) -> Pod {
    format!("{} at {address}", url.as_str().trim_end_matches('/')).into()
}

fn parts_of(pod: &Pod) -> Option<(Url, SocketAddr)> {
    let (url, address) = pod.split_once(" at ")?;
    Some((Url::parse(url).ok()?, address.parse().ok()?))
}

/// What a status other than 200 means.
async fn refusal(pod: &Pod, path: &str, mut answer: Response) -> Failed {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Problem {
        #[serde(rename = "type", default)]
        kind: String,
        #[serde(default)]
        detail: String,
        cluster_id: Option<ClusterId>,
    }
    let status = answer.status();
    let mut body = Vec::new();
    while let Ok(Some(piece)) = answer.chunk().await {
        body.extend_from_slice(&piece);
        if body.len() > REFUSAL_BYTES_MAX {
            break;
        }
    }
    let problem: Option<Problem> = serde_json::from_slice(&body).ok();
    let is = |code: &str| problem.as_ref().is_some_and(|problem| problem.kind.ends_with(&format!(":{code}")));
    let ended = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ended::Denied,
        StatusCode::GONE => Ended::Gone,
        StatusCode::CONFLICT if is("ahead") => Ended::Ahead,
        StatusCode::CONFLICT if is("other-cluster") => {
            let other = problem.as_ref().and_then(|problem| problem.cluster_id);
            other.map_or(Ended::Broken, Ended::OtherCluster)
        }
        _ => Ended::Broken,
    };
    let detail = problem.map(|problem| format!(": {}", problem.detail)).unwrap_or_default();
    let hint = match ended {
        Ended::Denied => RIGHT,
        Ended::Broken | Ended::Gone | Ended::Ahead | Ended::OtherCluster(_) => "",
    };
    Failed { ended, what: format!("{pod}: GET {path} answered {status}{detail}{hint}") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
