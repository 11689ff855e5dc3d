//! Clients that write until they are stopped, and note the answers.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, ensure};
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    client::{Answer, Http, NoAnswer},
    cluster::Cluster,
    history::History,
};

/// Running clients. Dropping it ends them, with the writes in flight unknown.
#[derive(Debug)]
pub struct Load {
    history: History,
    over: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

/// A write waits this long for its answer.
const DEADLINE: Duration = Duration::from_secs(8);

impl Load {
    /// Starts `clients` clients of this cluster. They ask the pods with ordinals below `pods` and follow the leader; one
    /// more tries to write everywhere, see [`probe`].
    pub fn start(cluster: &Cluster, history: &History, clients: usize, pods: u16) -> Load {
        let over = Arc::new(AtomicBool::new(false));
        let targets: Arc<Vec<SocketAddr>> = Arc::new((0..pods).map(|i| cluster.store(i)).collect());
        let leader = Arc::new(AtomicU16::new(0));
        let mut set = JoinSet::new();
        set.spawn({
            let (targets, over, history) = (targets.clone(), over.clone(), history.clone());
            async move {
                let http = Http::default();
                while !over.load(Ordering::Relaxed) {
                    probe(&http, &targets, &history).await;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        });
        for _ in 0..clients {
            let client = Client {
                http: Http::default(),
                targets: targets.clone(),
                leader: leader.clone(),
                history: history.clone(),
                own: Vec::new(),
            };
            set.spawn(client.write_until(over.clone()));
        }
        Load { history: history.clone(), over, clients: set }
    }

    /// Waits until this many more writes have been acknowledged.
    ///
    /// # Errors
    /// They were not within the cluster's patience.
    pub async fn progresses(&self, cluster: &Cluster, more: u64) -> anyhow::Result<()> {
        let goal = self.history.counts().acknowledged + more;
        cluster
            .until("writes are acknowledged", || async move {
                let now = self.history.counts();
                ensure!(now.acknowledged >= goal, "{now:?}, wanted {goal}");
                Ok(())
            })
            .await
    }

    /// Lets the writes in flight finish, and ends.
    ///
    /// # Errors
    /// A client panicked.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.context("a client died")?;
        }
        Ok(())
    }
}

struct Client {
    http: Http,
    targets: Arc<Vec<SocketAddr>>,
    /// Where all clients believe the leader to be.
    leader: Arc<AtomicU16>,
    history: History,
    /// The ids that this client wrote and that are there.
    own: Vec<String>,
}

impl Client {
    async fn write_until(mut self, over: Arc<AtomicBool>) {
        let mut turn: u64 = 0;
        while !over.load(Ordering::Relaxed) {
            turn += 1;
            // Usually new persons; now and then it changes or deletes one of its own.
            let (method, id) = match turn % 10 {
                4 if !self.own.is_empty() => (Method::PUT, self.own[self.own.len() / 2].clone()),
                7 if !self.own.is_empty() => (Method::DELETE, self.own.swap_remove(0)),
                _ => (Method::POST, uuid::Uuid::new_v4().to_string()),
            };
            let value = (method != Method::DELETE)
                .then(|| json!({"firstName": format!("turn {turn}"), "lastName": "e2e", "id": id}));
            let told = self.write(&method, &id, value.as_ref()).await;
            match (told, &method) {
                (Told::Acknowledged, &Method::POST) => self.own.push(id),
                (Told::Refused, &Method::DELETE) => self.own.push(id),
                // Nobody knows its state: left alone from now on.
                (Told::Unknown, _) => self.own.retain(|own| *own != id),
                _ => {}
            }
        }
    }

    async fn write(&self, method: &Method, id: &str, value: Option<&Value>) -> Told {
        let pod = self.leader.load(Ordering::Relaxed);
        let address = self.targets[usize::from(pod) % self.targets.len()];
        let path = if *method == Method::POST { "/persons".to_owned() } else { format!("/persons/{id}") };
        let outcome = self.http.send(method.clone(), address, &path, value, DEADLINE).await;
        let told = tell(&outcome);
        match told {
            Told::Acknowledged => {
                let sequence = outcome.ok().and_then(|answer| answer.sequence());
                self.history.acknowledged(pod, id, value.cloned(), sequence);
                return told;
            }
            Told::Refused => self.history.refused(id),
            Told::Unknown => self.history.unknown(id, value.cloned()),
        }
        // Somebody else may know better; no hurry, or a cluster without a leader is asked to death.
        let next = outcome
            .ok()
            .and_then(|answer| self.named_leader(&answer))
            .unwrap_or_else(|| (pod + 1) % u16::try_from(self.targets.len()).unwrap_or(1));
        let _ = self.leader.compare_exchange(pod, next, Ordering::Relaxed, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(10)).await;
        told
    }

    /// The pod whose address a 421 names.
    fn named_leader(&self, answer: &Answer) -> Option<u16> {
        if answer.status != 421 {
            return None;
        }
        let body = answer.text();
        let at = self.targets.iter().position(|target| body.contains(&target.to_string()))?;
        u16::try_from(at).ok()
    }
}

/// What a client knows after its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Done.
    Acknowledged,
    /// Not done, and never will be.
    Refused,
    /// Either.
    Unknown,
}

/// What the outcome of a write says.
pub fn tell(outcome: &Result<Answer, NoAnswer>) -> Told {
    match outcome {
        Ok(answer) => match answer.status {
            200..=299 => Told::Acknowledged,
            400..=499 | 503 => Told::Refused,
            _ => Told::Unknown,
        },
        Err(NoAnswer::NotSent(_)) => Told::Refused,
        Err(NoAnswer::Lost(_)) => Told::Unknown,
    }
}

/// Asks every pod once: notes each that claims to lead, with its term, and tries a write at each one. A pod that follows
/// must refuse it. Anything wrong is noted as a violation, which [`History::check`] reports.
pub async fn probe(http: &Http, pods: &[SocketAddr], history: &History) {
    for (i, address) in pods.iter().enumerate() {
        let i = u16::try_from(i).unwrap_or(u16::MAX);
        let Some(before) = role_of(http, *address).await else { continue };
        if let Role { leads: true, term: Some(term) } = before {
            history.leads(i, term);
        }
        let id = uuid::Uuid::new_v4().to_string();
        let person = json!({"firstName": "Pro", "lastName": "Be", "id": id});
        let outcome = http.send(Method::POST, *address, "/persons", Some(&person), DEADLINE).await;
        match tell(&outcome) {
            Told::Refused => history.refused(&id),
            Told::Unknown => history.unknown(&id, Some(person)),
            Told::Acknowledged => {
                let answer = outcome.ok();
                // One that ceased to lead a moment ago sends writes on, and says so.
                let is_sent_on = answer.as_ref().is_some_and(|one| one.headers.contains_key("leasehold-forwarded"));
                history.acknowledged(i, &id, Some(person), answer.and_then(|answer| answer.sequence()));
                // It may have been elected between the two looks, but then its term is another.
                if !is_sent_on && !before.leads && role_of(http, *address).await == Some(before) {
                    history.violation(format!("pod {i} accepted a write as a follower in term {:?}", before.term));
                }
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
struct Role {
    leads: bool,
    term: Option<u64>,
}

async fn role_of(http: &Http, address: SocketAddr) -> Option<Role> {
    let said = http.get_json(address, "/api/leader").await.ok()?;
    Some(Role { leads: said["isLeader"] == true, term: said["term"].as_u64() })
}
