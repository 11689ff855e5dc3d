//! Our own system in the bench: pods of store and sidecar on the embedded API.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use http::{Method, Request, header};
use http_body_util::Full;
use leasehold_api::ApiServer;
use leasehold_e2e::{
    client::Http,
    cluster::{Cluster, Config, Part, Signal},
};
use leasehold_testkit::ask_until;

use super::{capability::Capability, load::link::batch_body, place::LOOK, record};

/// Three pods, as the chart installs them: a Lease of 15 s, a key that the pods share, a drain of 5 s, the rest of the
/// store's flags as they are by default.
#[derive(Debug)]
pub(super) struct Ours(Cluster, #[allow(dead_code)] tempfile::TempDir);

impl Ours {
    pub(super) fn start() -> anyhow::Result<Ours> {
        let mut config = Config::for_tests(3)?;
        config.lease_duration = "15s".into();
        config.drain_min = Duration::from_secs(5);
        let key = tempfile::Builder::new().prefix("leasehold-bench-key-").tempdir()?;
        let random = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        std::fs::write(key.path().join("current"), random)?;
        config.store_args = vec!["--peer-key".into(), key.path().display().to_string()];
        Ok(Ours(Cluster::start(config)?, key))
    }

    pub(super) async fn settle(&self) -> anyhow::Result<()> {
        let cluster = &self.0;
        cluster
            .until("all pods follow one leader", || async move {
                let mut terms = Vec::new();
                for i in 0..cluster.wanted() {
                    let state = cluster.http().get_json(cluster.store(i), "/api/leader").await?;
                    let ready = cluster.http().get(cluster.store(i), "/readyz").await;
                    ready.with_context(|| format!("pod {i} is not ready"))?;
                    terms.push((state["name"].clone(), state["term"].clone()));
                }
                ensure!(terms.iter().all(|term| *term == terms[0] && !term.0.is_null()), "{terms:?}");
                // Ready is sticky: a majority of voters says that more than one of them is there.
                let (leader, _) = cluster.leader().await.context("nobody leads")?;
                let id = uuid::Uuid::new_v4();
                let person: serde_json::Value = serde_json::from_str(&record::text(id, record::BYTES))?;
                let answer =
                    cluster.http().send(Method::POST, cluster.store(leader), "/persons", Some(&person), WRITE).await?;
                ensure!(answer.status == 201, "a write is answered {}: {}", answer.status, answer.text());
                let path = format!("/persons/{id}");
                for i in 0..cluster.wanted() {
                    let there = || async { cluster.http().get(cluster.store(i), &path).await.map(drop) };
                    ask_until("a write is everywhere", WRITE, LOOK, there).await?;
                }
                let gone = cluster.http().send(Method::DELETE, cluster.store(leader), &path, None, WRITE).await?;
                ensure!(gone.status == 204, "a delete is answered {}: {}", gone.status, gone.text());
                Ok(())
            })
            .await
    }

    pub(super) async fn leader(&self) -> anyhow::Result<usize> {
        Ok(usize::from(self.0.wait_for_leader().await?))
    }

    pub(super) fn nodes(&self) -> Vec<SocketAddr> {
        (0..self.0.wanted()).map(|i| self.0.store(i)).collect()
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        let pods = self.0.pods();
        let parts = pods.iter().flat_map(|i| [(*i, Part::Store), (*i, Part::Sidecar)]);
        parts.filter_map(|(i, part)| self.0.pid(i, part)).collect()
    }

    pub(super) fn signal(&self, node: usize, signal: Signal) -> anyhow::Result<()> {
        ensure!(self.0.signal(ordinal(node), Part::Store, signal), "the store of pod {node} does not run");
        Ok(())
    }

    pub(super) fn delete_pod(&self, node: usize) -> anyhow::Result<()> {
        self.0.delete_pod(ordinal(node)).map_err(|failure| anyhow::anyhow!(failure.message))
    }

    /// Kills the store and starts it again at once. When.
    pub(super) fn restart(&self, node: usize) -> anyhow::Result<Instant> {
        self.0.kill_and_hold(ordinal(node), Part::Store)?;
        let begin = Instant::now();
        self.0.start_again(ordinal(node), Part::Store);
        Ok(begin)
    }

    pub(super) fn scale(&self, replicas: u16) -> anyhow::Result<()> {
        self.0.scale(replicas).map_err(|failure| anyhow::anyhow!(failure.message))
    }

    pub(super) async fn serves(&self, node: usize, last: u64) -> anyhow::Result<()> {
        serves_at(self.0.store(ordinal(node)), last).await
    }

    pub(super) async fn has(&self, capability: Capability) -> Result<(), String> {
        let leader = self.0.wait_for_leader().await.map_err(|error| error.to_string())?;
        let address = self.0.store(leader);
        let (what, status, text) = match capability {
            Capability::Strong => {
                let path = "/persons?consistency=strong";
                let answer = self.0.http().send(Method::GET, address, path, None, WRITE).await;
                (format!("GET {path}"), answer.as_ref().map_or(0, |a| a.status), answer.map(|a| a.text()))
            }
            Capability::Batch => {
                // Two known records, which a fill writes again as they are.
                let body = batch_body(&[record::known_id(0), record::known_id(1)], record::BYTES, record::text);
                let request = Request::post(format!("http://{address}/persons:batch"))
                    .header(header::CONTENT_TYPE, "application/json")
                    .body(Full::from(body))
                    .map_err(|error| error.to_string())?;
                let answer = self.0.http().send_as_is(request, WRITE).await;
                ("POST /persons:batch".to_owned(), answer.as_ref().map_or(0, |a| a.status), answer.map(|a| a.text()))
            }
        };
        match text {
            Ok(_) if (200..300).contains(&status) => Ok(()),
            Ok(text) => Err(format!("{what} is answered {status}: {}", text.chars().take(160).collect::<String>())),
            Err(error) => Err(format!("{what}: {error}")),
        }
    }

    pub(super) fn api(&self) -> &ApiServer {
        self.0.api()
    }

    pub(super) fn report(&self) -> String {
        self.0.report()
    }
}

/// How long a single write or read of the harness may take.
const WRITE: Duration = Duration::from_secs(5);

fn ordinal(node: usize) -> u16 {
    u16::try_from(node).unwrap_or(u16::MAX)
}

/// Our API, or the floor's: the node gives out the record number `last`.
pub(super) async fn serves_at(node: SocketAddr, last: u64) -> anyhow::Result<()> {
    thread_local! { static HTTP: Http = Http::default(); }
    let http = HTTP.with(Clone::clone);
    http.get(node, &format!("/persons/{}", record::known_id(last))).await.map(drop)
}
