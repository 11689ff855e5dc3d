//! Stands before a real API server: counts each client's requests, and takes the server away on command.
//!
//! Contenders reach it without TLS on loopback and name themselves by a token; it asks with the rights of `--kubeconfig`.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex},
};

use anyhow::Context;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::coordination::v1::Lease;
use leasehold_api::lock;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// See the module. Dropping it ends it.
pub(super) struct Relay {
    client: kube::Client,
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

struct Shared {
    client: kube::Client,
    requests: Mutex<BTreeMap<String, usize>>,
    /// The API server is away: new connections are closed on arrival, and the open ones at once.
    is_down: watch::Sender<bool>,
}

type Body = UnsyncBoxBody<Bytes, kube::Error>;

impl Relay {
    pub(super) async fn start(kubeconfig: &Path) -> anyhow::Result<Relay> {
        let read = kube::config::Kubeconfig::read_from(kubeconfig);
        let read = read.with_context(|| format!("{} is no kubeconfig", kubeconfig.display()))?;
        let mut config =
            kube::Config::from_custom_kubeconfig(read, &kube::config::KubeConfigOptions::default()).await?;
        // A repeated request would be counted once. What fails is for the contender to see.
        config.default_retry = false;
        config.read_timeout = None;
        let client = kube::Client::try_from(config)?;
        client.apiserver_version().await.context("the API server does not answer")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Shared { client: client.clone(), requests: Mutex::default(), is_down: watch::Sender::new(false) };
        let shared = Arc::new(shared);
        let serving = tokio::spawn(serve(listener, shared.clone()));
        Ok(Relay { client, address, shared, serving })
    }

    pub(super) fn kubeconfig(&self, client: &str, namespace: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "bench",
            "clusters": [{"name": "bench", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": client, "user": {"token": client}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": client, "namespace": namespace}}],
        })
    }

    pub(super) fn requests(&self, client: &str) -> usize {
        lock(&self.shared.requests).get(client).copied().unwrap_or(0)
    }

    pub(super) fn down(&self) {
        self.shared.is_down.send_replace(true);
    }

    pub(super) fn up(&self) {
        self.shared.is_down.send_replace(false);
    }

    pub(super) async fn delete_lease(&self, namespace: &str, name: &str) -> anyhow::Result<()> {
        let leases: kube::Api<Lease> = kube::Api::namespaced(self.client.clone(), namespace);
        match leases.delete(name, &kube::api::DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error).with_context(|| format!("the Lease {namespace}/{name} stays behind")),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else { continue };
        let _ = stream.set_nodelay(true);
        let shared = shared.clone();
        connections.spawn(async move {
            let mut is_down = shared.is_down.subscribe();
            let service = hyper::service::service_fn(move |request| {
                let shared = shared.clone();
                async move { Ok::<_, Infallible>(answer(&shared, request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                // First, so that nothing that is asked while the server is away reaches it.
                biased;
                _ = is_down.wait_for(|is_down| *is_down) => {}
                // An error here is a client that left.
                _ = connection => {}
            }
        });
    }
}

async fn answer(shared: &Shared, request: Request<Incoming>) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    let token = head.headers.remove(header::AUTHORIZATION);
    let name = token.as_ref().and_then(|token| token.to_str().ok()).and_then(|token| token.strip_prefix("Bearer "));
    let is_watch = head.uri.query().is_some_and(|query| query.contains("watch="));
    // Only those about Leases: a contender that labels its pod asks again and again where it has none.
    let is_counted = head.uri.path().contains("/leases") && !is_watch;
    if let Some(name) = name.filter(|_| is_counted) {
        *lock(&shared.requests).entry(name.to_owned()).or_default() += 1;
    }
    head.headers.remove(header::HOST);
    let forwarded = async {
        let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        let request = Request::from_parts(head, kube::client::Body::from(body.to_vec()));
        shared.client.send(request).await.map_err(|error| error.to_string())
    };
    match forwarded.await {
        // A watch's answer is passed on as it arrives.
        Ok(response) => response.map(BodyExt::boxed_unsync),
        Err(why) => {
            let body = Full::new(Bytes::from(why)).map_err(|never| match never {}).boxed_unsync();
            let mut response = Response::new(body);
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    }
}
