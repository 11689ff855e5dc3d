//! Clients that use a Service: each keeps one connection to a pod, and changes the pod only when it must.
//!
//! ```text
//!   Pod objects, /readyz ──every 20 ms──▶ endpoints ──some time later, as by kube-proxy──▶ clients
//!   client ──a connection that is kept──▶ pod: writes, one after the other; it need not lead (--follower-writes=forward)
//!          ◀──Connection: close, or closed between two requests── the next pod of the endpoints
//! ```
//!
//! Everything else is a failed request: no connection where the endpoints say there is one, a connection that breaks with
//! a request on it, an answer that is not 2xx.
//!
//! On a real Kubernetes the endpoints are one address, the Service's own, and kube-proxy does the rest: `e2e writers`.
//! There a refused connection is retried for a second, and counted: kube-proxy's own rules refuse one now and then while
//! they change (docs/kubernetes.md, "Services").

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Write as _},
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use leasehold_api::{Kind, lock};
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::watch, task::JoinSet};

use crate::{
    client::Http,
    cluster::{Cluster, NAMESPACE},
    history::History,
};

/// For this long a pod's address stays in use after the pod's SIGTERM, and is not yet in use after it is ready.
const ENDPOINTS_LATE: Duration = Duration::from_millis(300);
/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// For this long a Service of a real Kubernetes may refuse connections.
const REFUSED_MAX: Duration = Duration::from_secs(1);
/// From one try to connect to the next.
const CONNECT_AGAIN: Duration = Duration::from_millis(5);
/// A write waits this long for its answer.
const DEADLINE: Duration = Duration::from_secs(30);

/// Running clients. Dropping it ends them.
#[derive(Debug)]
pub struct Clients {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    history: History,
    over: AtomicBool,
    seen: Mutex<Seen>,
    /// Where each outcome is reported when it arrives.
    log: Option<Mutex<File>>,
}

impl Shared {
    fn new(history: &History, log: Option<File>) -> Arc<Shared> {
        let (over, seen, log) = (AtomicBool::new(false), Mutex::default(), log.map(Mutex::new));
        Arc::new(Shared { history: history.clone(), over, seen, log })
    }

    /// One line: a word, microseconds since 1970, what there is to say.
    fn tell(&self, word: &str, what: &str) {
        let Some(log) = &self.log else { return };
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
        if let Err(error) = writeln!(lock(log), "{word} {at} {}", what.replace('\n', " ")) {
            eprintln!("e2e: the log of the writers: {error}");
        }
    }
}

/// Writes through a Service of a real Kubernetes until a file says that it is enough.
#[derive(Clone, Debug, clap::Args)]
pub struct Writers {
    /// The Service's address and port
    #[arg(long, value_name = "ADDRESS")]
    service: SocketAddr,
    /// How many clients write, each with a connection that it keeps
    #[arg(long, default_value_t = 6)]
    clients: u16,
    /// How often each record is changed before its client creates another one
    #[arg(long, default_value_t = 9)]
    changes: u64,
    /// Gets a line for each write: `acknowledged MICROSECONDS ID TURN`, `failed MICROSECONDS WHY`; and for each connection
    /// that was tried again: `refused MICROSECONDS ADDRESS`
    #[arg(long, value_name = "FILE")]
    log: PathBuf,
    /// The end, once this file exists
    #[arg(long, value_name = "FILE")]
    until: PathBuf,
}

/// Runs them; each outcome is in the log, and the sums are printed at the end.
///
/// # Errors
/// The log cannot be written, or a client died.
pub async fn run(args: Writers) -> anyhow::Result<()> {
    let log = File::create(&args.log).with_context(|| format!("{}", args.log.display()))?;
    let shared = Shared::new(&History::default(), Some(log));
    let (_keep, endpoints) = watch::channel(vec![(0, args.service)]);
    let mix = Mix { creates: 1, changes: args.changes };
    let clients = Clients { tasks: spawn_clients(&shared, &endpoints, args.clients, mix, REFUSED_MAX), shared };
    while !args.until.exists() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let report = clients.stop().await?;
    println!(
        "{} writes acknowledged, {} failed, {} connections closed politely, {} refused and tried again, \
         the slowest request {} ms",
        report.acknowledged,
        report.failures.len(),
        report.reconnected,
        report.refused,
        report.slowest.as_millis()
    );
    Ok(())
}

fn spawn_clients(
    shared: &Arc<Shared>,
    endpoints: &watch::Receiver<Vec<(u16, SocketAddr)>>,
    count: u16,
    mix: Mix,
    refused_max: Duration,
) -> JoinSet<()> {
    let client = |number| {
        let (endpoints, shared) = (endpoints.clone(), shared.clone());
        Client { number, endpoints, shared, connection: None, mix, refused_max }
    };
    (0..count).map(|number| client(number).run()).collect()
}

#[derive(Debug, Default)]
struct Seen {
    /// When each write was acknowledged.
    acknowledged: Vec<Instant>,
    slowest: Duration,
    failures: Vec<String>,
    reconnected: u64,
    refused: u64,
}

/// What the clients saw.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Writes that were acknowledged.
    pub acknowledged: usize,
    /// Writes that failed, and how.
    pub failures: Vec<String>,
    /// The longest time of one request.
    pub slowest: Duration,
    /// How often a client was asked politely to reconnect.
    pub reconnected: u64,
    /// How often a connection was refused and tried again. Only through a Service of a real Kubernetes.
    pub refused: u64,
}

impl Clients {
    /// Starts `clients` clients, spread over the pods.
    pub fn start(cluster: &Cluster, history: &History, clients: u16) -> Clients {
        let shared = Shared::new(history, None);
        let (sender, endpoints) = watch::channel(Vec::new());
        let mut tasks = spawn_clients(&shared, &endpoints, clients, Mix { creates: 3, changes: 1 }, Duration::ZERO);
        let stores: Vec<_> = (0..16).map(|i| (i, cluster.pod_name(i), cluster.store(i))).collect();
        let api = cluster.api().reader();
        let looking = shared.clone();
        tasks.spawn(async move {
            let http = Http::default();
            let mut coming: VecDeque<(Instant, Vec<(u16, SocketAddr)>)> = VecDeque::new();
            while !looking.over.load(Ordering::Relaxed) {
                let mut ready = Vec::new();
                for (i, name, address) in &stores {
                    let Ok(pod) = api.get(Kind::Pod, NAMESPACE, name) else { continue };
                    let ends = !pod["metadata"]["deletionTimestamp"].is_null();
                    if !ends && http.get(*address, "/readyz").await.is_ok() {
                        ready.push((*i, *address));
                    }
                }
                if coming.is_empty() && sender.borrow().is_empty() {
                    sender.send_replace(ready.clone());
                }
                coming.push_back((Instant::now() + ENDPOINTS_LATE, ready));
                while let Some((at, _)) = coming.front()
                    && *at <= Instant::now()
                    && let Some((_, ready)) = coming.pop_front()
                {
                    sender.send_if_modified(|shown| std::mem::replace(shown, ready.clone()) != ready);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        Clients { shared, tasks }
    }

    /// Waits until this many more writes have been acknowledged.
    ///
    /// # Errors
    /// They were not within the cluster's patience.
    pub async fn progress(&self, cluster: &Cluster, more: usize) -> anyhow::Result<()> {
        let goal = lock(&self.shared.seen).acknowledged.len() + more;
        cluster
            .until("writes are acknowledged", || async move {
                let seen = lock(&self.shared.seen);
                let now = seen.acknowledged.len();
                ensure!(now >= goal, "{now} of {goal}; failed: {:?}", seen.failures.last());
                Ok(())
            })
            .await
    }

    /// The longest time without an acknowledged write since `since`.
    pub fn longest_pause(&self, since: Instant) -> Duration {
        let seen = lock(&self.shared.seen);
        let first = seen.acknowledged.partition_point(|at| *at < since);
        let moments = || seen.acknowledged[first..].iter().copied();
        let pauses = std::iter::once(since).chain(moments()).zip(moments().chain([Instant::now()]));
        pauses.map(|(from, to)| to.saturating_duration_since(from)).max().unwrap_or_default()
    }

    /// What was seen up to now.
    pub fn report(&self) -> Report {
        let seen = lock(&self.shared.seen);
        Report {
            acknowledged: seen.acknowledged.len(),
            failures: seen.failures.clone(),
            slowest: seen.slowest,
            reconnected: seen.reconnected,
            refused: seen.refused,
        }
    }

    /// Lets the writes in flight finish, and ends.
    ///
    /// # Errors
    /// A client panicked.
    pub async fn stop(mut self) -> anyhow::Result<Report> {
        self.shared.over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("a client died")?;
        }
        Ok(self.report())
    }
}

/// Of so many writes of a client in a row, the first ones create a person each, and the others change the last one.
#[derive(Clone, Copy, Debug)]
struct Mix {
    creates: u64,
    changes: u64,
}

impl Mix {
    fn is_change(self, turn: u64) -> bool {
        turn % (self.creates + self.changes) >= self.creates
    }
}

struct Client {
    number: u16,
    endpoints: watch::Receiver<Vec<(u16, SocketAddr)>>,
    shared: Arc<Shared>,
    connection: Option<(u16, SocketAddr, SendRequest<Full<Bytes>>)>,
    mix: Mix,
    /// For this long a refused connection is retried.
    refused_max: Duration,
}

/// The outcome of one write.
enum Told {
    Acknowledged {
        pod: u16,
        sequence: Option<u64>,
        /// The record's, as it was written.
        tag: Option<HeaderValue>,
    },
    /// Not done: the connection ended before the request was sent.
    NotSent,
    Refused(String),
    Unknown(String),
}

impl Client {
    async fn run(mut self) {
        let mut last: Option<(String, Option<HeaderValue>)> = None;
        for turn in 0_u64.. {
            if self.shared.over.load(Ordering::Relaxed) {
                return;
            }
            // A change is made only of the record as it was acknowledged: otherwise it would hide that the last one was lost.
            let (method, id, tag) = match last.take().filter(|_| self.mix.is_change(turn)) {
                Some((id, tag)) => (Method::PUT, id, tag),
                None => (Method::POST, uuid::Uuid::new_v4().to_string(), None),
            };
            let person = json!({"firstName": format!("turn {turn}"), "lastName": "service", "id": id});
            let begin = Instant::now();
            let mut told = self.write(&method, &id, tag.as_ref(), &person).await;
            // As any client does that keeps connections: one that was closed between two requests is opened again.
            while matches!(told, Told::NotSent) && begin.elapsed() < DEADLINE {
                told = self.write(&method, &id, tag.as_ref(), &person).await;
            }
            let tag = if let Told::Acknowledged { tag, .. } = &told { tag.clone() } else { None };
            self.note(told, begin.elapsed(), &id, turn, &person);
            last = Some((id, tag));
        }
    }

    fn note(&mut self, told: Told, took: Duration, id: &str, turn: u64, person: &Value) {
        let history = &self.shared.history;
        let failure = match told {
            Told::Acknowledged { pod, sequence, .. } => {
                history.acknowledged(pod, id, Some(person.clone()), sequence);
                self.shared.tell("acknowledged", &format!("{id} {turn}"));
                let mut seen = lock(&self.shared.seen);
                seen.acknowledged.push(Instant::now());
                seen.slowest = seen.slowest.max(took);
                return;
            }
            Told::NotSent => {
                history.refused(id);
                "it could not be sent in time".to_owned()
            }
            Told::Refused(why) => {
                history.refused(id);
                why
            }
            Told::Unknown(why) => {
                history.unknown(id, Some(person.clone()));
                why
            }
        };
        self.connection = None;
        let failure = format!("after {took:?}: {failure}");
        self.shared.tell("failed", &failure);
        lock(&self.shared.seen).failures.push(failure);
    }

    async fn write(&mut self, method: &Method, id: &str, tag: Option<&HeaderValue>, person: &Value) -> Told {
        if self.connection.as_ref().is_none_or(|(_, _, connection)| connection.is_closed())
            && let Err(told) = self.connect().await
        {
            return told;
        }
        let Some((pod, address, connection)) = &mut self.connection else { return Told::NotSent };
        let (pod, address) = (*pod, *address);
        let path = if *method == Method::POST { "/persons".to_owned() } else { format!("/persons/{id}") };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, address.to_string())
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(tag) = tag {
            request = request.header(header::IF_MATCH, tag);
        }
        let request = request.body(Full::new(Bytes::from(person.to_string())));
        let Ok(request) = request else { return Told::Refused("no request".to_owned()) };
        if connection.ready().await.is_err() {
            self.connection = None;
            return Told::NotSent;
        }
        let asked = async {
            let response = connection.send_request(request).await?;
            let (head, body) = response.into_parts();
            Ok::<_, hyper::Error>((head, body.collect().await?.to_bytes()))
        };
        let (head, body) = match tokio::time::timeout(DEADLINE, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) if error.is_canceled() => {
                self.connection = None;
                return Told::NotSent;
            }
            Ok(Err(error)) => return Told::Unknown(format!("pod {pod} gave no answer: {error}")),
            Err(_) => return Told::Unknown(format!("pod {pod} gave no answer in {DEADLINE:?}")),
        };
        let says_close = head.headers.get(header::CONNECTION).is_some_and(|value| value.as_bytes() == b"close");
        if says_close {
            self.connection = None;
            lock(&self.shared.seen).reconnected += 1;
        }
        let by = head.headers.get("leasehold-forwarded").map_or(String::new(), |by| format!(", sent on by {by:?}"));
        let text = || format!("pod {pod} answered {}{by}: {}", head.status, String::from_utf8_lossy(&body));
        match head.status.as_u16() {
            200..=299 => {
                let sequence =
                    head.headers.get("leasehold-sequence").and_then(|value| value.to_str().ok()?.parse().ok());
                Told::Acknowledged { pod, sequence, tag: head.headers.get(header::ETAG).cloned() }
            }
            400..=499 | 503 => Told::Refused(text()),
            _ => Told::Unknown(text()),
        }
    }

    /// To its own pod, if that is among the endpoints; else to another one.
    async fn connect(&mut self) -> Result<(), Told> {
        let wait = self.endpoints.wait_for(|endpoints| !endpoints.is_empty());
        let endpoints = match tokio::time::timeout(DEADLINE, wait).await {
            Ok(Ok(endpoints)) => endpoints.clone(),
            Ok(Err(_)) | Err(_) => return Err(Told::Refused("there are no endpoints".to_owned())),
        };
        let own = self.number % 3;
        let fallback = endpoints[usize::from(self.number) % endpoints.len()];
        let (pod, address) = endpoints.iter().copied().find(|(pod, _)| *pod == own).unwrap_or(fallback);
        let connected = async {
            let stream = self.reach(address).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) = handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection); // it ends when the sender is dropped, or the server says so
            anyhow::Ok(sender)
        };
        match tokio::time::timeout(Duration::from_secs(10), connected).await {
            Ok(Ok(sender)) => {
                self.connection = Some((pod, address, sender));
                Ok(())
            }
            Ok(Err(error)) => Err(Told::Refused(format!("no connection to pod {pod}: {error}"))),
            Err(_) => Err(Told::Refused(format!("no connection to pod {pod} in time"))),
        }
    }

    /// Only a refusal is tried again, and only where a real Service may be its reason: `refused_max` says.
    async fn reach(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let begin = Instant::now();
        loop {
            match TcpStream::connect(address).await {
                Err(error)
                    if error.kind() == io::ErrorKind::ConnectionRefused && begin.elapsed() < self.refused_max =>
                {
                    lock(&self.shared.seen).refused += 1;
                    self.shared.tell("refused", &address.to_string());
                    tokio::time::sleep(CONNECT_AGAIN).await;
                }
                told => return told,
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::net::TcpSocket;

    use super::*;

    fn client(refused_max: Duration) -> Client {
        let shared = Shared::new(&History::default(), None);
        let (_, endpoints) = watch::channel(Vec::new());
        Client { number: 0, endpoints, shared, connection: None, mix: Mix { creates: 3, changes: 1 }, refused_max }
    }

    #[test]
    fn a_mix_begins_with_what_it_creates() {
        let mix = Mix { creates: 3, changes: 1 };
        assert_eq!([0, 1, 2, 3, 4].map(|turn| mix.is_change(turn)), [false, false, false, true, false]);
        let mix = Mix { creates: 1, changes: 0 };
        assert!(!(0..9).any(|turn| mix.is_change(turn)));
    }

    #[tokio::test]
    async fn a_refused_connection_is_tried_again_and_counted_only_where_that_is_allowed() {
        // Bound, so nobody else has the port; not listening, so it refuses.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let refused = |client: &Client| lock(&client.shared.seen).refused;

        let strict = client(Duration::ZERO);
        assert_eq!(strict.reach(address).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(refused(&strict), 0);

        let patient = client(DEADLINE);
        let listen = async {
            while refused(&patient) == 0 {
                tokio::task::yield_now().await;
            }
            socket.listen(1).unwrap()
        };
        let both = async { tokio::join!(patient.reach(address), listen) };
        let (reached, _listener) = tokio::time::timeout(DEADLINE, both).await.expect("it was not tried again");
        reached.unwrap();
    }

    /// Otherwise the next change of a record would hide that the last one was lost.
    #[tokio::test]
    async fn a_change_is_only_made_of_what_was_acknowledged_last() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let conditions: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
        let seen = conditions.clone();
        let serve = async move {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                let condition = request.headers().get(header::IF_MATCH).map(|tag| tag.to_str().unwrap().to_owned());
                let count = {
                    let mut seen = lock(&seen);
                    seen.push(condition);
                    seen.len()
                };
                async move {
                    let _ = request.into_body().collect().await;
                    let answer = http::Response::builder().header(header::ETAG, format!("\"{count}\""));
                    let status = if count == 3 { 500 } else { 200 };
                    Ok::<_, std::convert::Infallible>(answer.status(status).body(Full::new(Bytes::new())).unwrap())
                }
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        };
        let (_keep, endpoints) = watch::channel(vec![(0, address)]);
        let mix = Mix { creates: 1, changes: 3 };
        let client = Client { endpoints, mix, ..client(Duration::ZERO) };
        let shared = client.shared.clone();
        let told = async {
            while lock(&conditions).len() < 3 {
                tokio::task::yield_now().await;
            }
            shared.over.store(true, Ordering::Relaxed);
        };
        let both = async {
            tokio::select! {
                () = serve => {}
                _ = async { tokio::join!(client.run(), told) } => {}
            }
        };
        tokio::time::timeout(DEADLINE, both).await.unwrap();
        let seen = lock(&conditions)[..3].to_vec();
        assert_eq!(seen, [None, Some("\"1\"".to_owned()), Some("\"2\"".to_owned())]);
    }
}
