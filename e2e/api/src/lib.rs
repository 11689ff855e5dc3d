//! The embedded API: a small HTTP server that behaves towards Leases, Events, Pods, StatefulSets and EndpointSlices as
//! the Kubernetes API server does, and misbehaves on command.
//!
//! ```text
//!   sidecars ──HTTP──▶ serve ──▶ fault: delay, refuse, swallow, hang up (per client = bearer token, or all), deny
//!                        ├──▶ objects: one version counter, compare-and-swap, validation ──▶ Status on refusal
//!                        └──▶ watch:   from a version on, bookmarks, 410, dropped or silent on command
//!   tests ──ApiServer::{get, patch, ...}──▶ objects     (no faults, not in the log)
//! ```
//!
//! It runs in a thread of its own, so a busy test cannot make it late. Rights are denied on command alone. Not imitated:
//! authentication, admission, field ownership, continued lists, garbage collection.

pub mod conformance;

mod failure;
mod fault;
mod kind;
mod objects;
mod request;
mod selector;
mod serve;
mod shared;
mod validation;
mod watch;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, mpsc as std_mpsc},
    time::Duration,
};

use anyhow::{Context, bail};
use http::Method;
use hyper_util::rt::{TokioIo, TokioTimer};
use kube::config::KubeConfigOptions;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};

use request::{Query, Target};
use shared::Shared;

pub use failure::{Cause, Failure};
pub use fault::{Faults, Logged, Verb, Who};
pub use kind::Kind;
pub use shared::lock;

/// How long [`ApiServer::until`] waits.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running embedded API. Dropping it ends it.
#[derive(Debug)]
pub struct ApiServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    commands: mpsc::Sender<Command>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Looks at the objects; see [`ApiServer::reader`].
#[derive(Clone, Debug)]
pub struct Reader(Arc<Shared>);

impl Reader {
    /// One object.
    ///
    /// # Errors
    /// As the API refuses.
    pub fn get(&self, kind: Kind, namespace: &str, name: &str) -> Result<Value, Failure> {
        lock(&self.0.objects).get(kind, namespace, name).cloned()
    }
}

/// A test's command to the server's thread; each is answered when it is done.
enum Command {
    Down(std_mpsc::Sender<anyhow::Result<()>>),
    Up(std_mpsc::Sender<anyhow::Result<()>>),
    Stop,
}

impl ApiServer {
    /// Starts the API on this loopback port; 0: any free one.
    ///
    /// # Errors
    /// The port is taken, or no thread is available.
    pub fn start(port: u16) -> anyhow::Result<ApiServer> {
        ApiServer::start_at((Ipv4Addr::LOCALHOST, port).into())
    }

    /// Starts the API at this address of this machine.
    ///
    /// # Errors
    /// As [`ApiServer::start`].
    pub fn start_at(address: SocketAddr) -> anyhow::Result<ApiServer> {
        let listener = std::net::TcpListener::bind(address)
            .with_context(|| format!("the embedded API cannot listen on {address}"))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new());
        let (commands, received) = mpsc::channel(8);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("embedded-api".into()).spawn({
            let shared = shared.clone();
            move || runtime.block_on(serve_until_stopped(listener, address, shared, received))
        })?;
        Ok(ApiServer { shared, address, commands, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A kubeconfig for one client; the faults and the log know it by this name.
    pub fn kubeconfig(&self, client: &str, namespace: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "e2e",
            "clusters": [{"name": "e2e", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": client, "user": {"token": client}}],
            "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": client, "namespace": namespace}}],
        })
    }

    /// The `kube` client of one client. It sends each request once: what meets a fault is not repeated.
    ///
    /// # Errors
    /// None is expected.
    pub async fn client(&self, client: &str, namespace: &str) -> anyhow::Result<kube::Client> {
        let kubeconfig = serde_json::from_value(self.kubeconfig(client, namespace))?;
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        config.default_retry = false;
        Ok(kube::Client::try_from(config)?)
    }

    /// Closes the listener and all connections: connecting is refused until [`ApiServer::up`].
    ///
    /// # Errors
    /// The server's thread is gone.
    pub fn down(&self) -> anyhow::Result<()> {
        self.command(Command::Down)
    }

    /// Listens again, with the objects as they were.
    ///
    /// # Errors
    /// The port was taken meanwhile, or the server's thread is gone.
    pub fn up(&self) -> anyhow::Result<()> {
        self.command(Command::Up)
    }

    fn command(&self, make: impl FnOnce(std_mpsc::Sender<anyhow::Result<()>>) -> Command) -> anyhow::Result<()> {
        let (done, wait) = std_mpsc::channel();
        self.commands.try_send(make(done)).context("the embedded API has ended")?;
        wait.recv_timeout(Duration::from_secs(30)).context("the embedded API does not react")?
    }

    /// Treats requests so from now on.
    pub fn set_faults(&self, who: &Who, faults: Faults) {
        lock(&self.shared.ledger).set(who, faults);
        self.wake();
    }

    /// Treats every request well again, and lets held-back watch events out.
    pub fn clear_faults(&self) {
        lock(&self.shared.ledger).clear();
        self.wake();
    }

    /// From now on no client has the right to this: it gets the refusal of a role that does not grant it.
    pub fn deny(&self, verb: Verb, kind: Kind) {
        lock(&self.shared.ledger).deny(verb, kind);
    }

    /// Grants again what was denied.
    pub fn grant_all(&self) {
        lock(&self.shared.ledger).grant_all();
    }

    /// Switches the feature gate `CoordinatedLeaderElection` on: Leases keep their `strategy` and `preferredHolder`.
    pub fn enable_coordinated_leader_election(&self) {
        lock(&self.shared.objects).coordinated_leader_election = true;
    }

    /// Ends the open watches of these clients.
    pub fn drop_watches(&self, who: &Who) {
        lock(&self.shared.ledger).drop_watches(who);
        self.wake();
    }

    /// Forgets all history: the next watch from an old version gets 410.
    pub fn compact(&self) {
        lock(&self.shared.objects).compact();
        self.wake();
    }

    fn wake(&self) {
        let version = lock(&self.shared.objects).version();
        self.shared.changed.send_replace(version);
    }

    /// How many requests wait for [`Faults::hold`] to be lifted.
    pub fn held(&self) -> usize {
        lock(&self.shared.ledger).held
    }

    /// The requests that arrived, oldest first.
    pub fn log(&self) -> Vec<Logged> {
        lock(&self.shared.ledger).log.clone()
    }

    /// How many such requests arrived.
    pub fn requests(&self, verb: Verb, kind: Kind) -> usize {
        lock(&self.shared.ledger).log.iter().filter(|entry| (entry.verb, entry.kind) == (verb, kind)).count()
    }

    /// How long the API has existed: the clock of [`Logged::at`].
    pub fn age(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// One object.
    ///
    /// # Errors
    /// As the API refuses.
    pub fn get(&self, kind: Kind, namespace: &str, name: &str) -> Result<Value, Failure> {
        lock(&self.shared.objects).get(kind, namespace, name).cloned()
    }

    /// Waits until an object is as wanted, and returns it so. Where there is none it is null.
    ///
    /// # Errors
    /// It was not so within [`PATIENCE`]: how it was then.
    pub async fn until(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        mut wanted: impl FnMut(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut changed = self.shared.changed.subscribe();
        loop {
            changed.borrow_and_update();
            let object = self.get(kind, namespace, name).unwrap_or(Value::Null);
            if wanted(&object) {
                return Ok(object);
            }
            let news = tokio::time::timeout_at(deadline, changed.changed()).await;
            news.with_context(|| format!("{} {name:?} stays {object:#}", kind.qualified()))??;
        }
    }

    /// For a task that outlives this borrow: the objects, as they are when it looks.
    pub fn reader(&self) -> Reader {
        Reader(self.shared.clone())
    }

    /// All objects of a kind in a namespace.
    pub fn list(&self, kind: Kind, namespace: &str) -> Vec<Value> {
        lock(&self.shared.objects).list(kind, Some(namespace), &selector::Selector::default())
    }

    /// Makes an object, with the checks that a client's request meets.
    ///
    /// # Errors
    /// As the API refuses.
    pub fn create(&self, kind: Kind, namespace: &str, object: &Value) -> Result<Value, Failure> {
        self.request(&Method::POST, kind, namespace, "", "application/json", object)
    }

    /// Overwrites the object of that name, whatever its version, or creates it: like a writer that does not look first. Its
    /// values are checked as a client's are.
    ///
    /// # Errors
    /// As the API refuses.
    pub fn put(&self, kind: Kind, namespace: &str, object: &Value) -> Result<Value, Failure> {
        let outcome = lock(&self.shared.objects).put(kind, namespace, object.clone());
        self.wake();
        outcome
    }

    /// Changes an object by a merge patch, with the checks that a client's request meets.
    ///
    /// # Errors
    /// As the API refuses.
    pub fn patch(&self, kind: Kind, namespace: &str, name: &str, patch: &Value) -> Result<Value, Failure> {
        self.request(&Method::PATCH, kind, namespace, name, "application/merge-patch+json", patch)
    }

    /// Deletes an object; options as in a `DeleteOptions` body.
    ///
    /// # Errors
    /// As the API refuses.
    pub fn delete(&self, kind: Kind, namespace: &str, name: &str, options: &Value) -> Result<Value, Failure> {
        self.request(&Method::DELETE, kind, namespace, name, "application/json", options)
    }

    fn request(
        &self,
        method: &Method,
        kind: Kind,
        namespace: &str,
        name: &str,
        content_type: &str,
        body: &Value,
    ) -> Result<Value, Failure> {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let target = if name.is_empty() {
            Target::Collection { kind, namespace: Some(namespace) }
        } else {
            Target::Object { kind, namespace, name, sub: None }
        };
        let body = body.to_string();
        serve::carry_out(&self.shared, method, &target, &Query::default(), content_type, body.as_bytes())
            .map(|(_, object)| object)
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        // A full queue cannot be: only `command` sends, and it waits for each.
        let _ = self.commands.try_send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve_until_stopped(
    listener: std::net::TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
    mut commands: mpsc::Receiver<Command>,
) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                None | Some(Command::Stop) => return,
                Some(Command::Down(done)) => {
                    listener = None;
                    connections.shutdown().await;
                    let _ = done.send(Ok(()));
                }
                Some(Command::Up(done)) => {
                    let outcome = if listener.is_some() { Ok(()) } else {
                        bind_again(address).await.map(|bound| listener = Some(bound))
                    };
                    let _ = done.send(outcome);
                }
            },
            accepted = accept(listener.as_ref()) => if let Ok((stream, _)) = accepted {
                let _ = stream.set_nodelay(true);
                let shared = shared.clone();
                connections.spawn(async move {
                    let service = hyper::service::service_fn(move |request| serve::answer(shared.clone(), request));
                    let mut http = hyper::server::conn::http1::Builder::new();
                    // An error here is a client that left, or a hang-up on command.
                    let _ = http.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
                });
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> std::io::Result<(tokio::net::TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

async fn bind_again(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let mut last = None;
    for _ in 0..100 {
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    match last {
        Some(error) => Err(error).with_context(|| format!("the embedded API cannot listen on {address} again")),
        None => bail!("the embedded API cannot listen on {address} again"),
    }
}
