//! A small API server for tests: named objects with versions, lists, watches, compare-and-swap; and faults on command.
//! It knows no kinds, so it validates nothing else.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use warp::Filter;
use warp::reply::Reply as _;

/// What the server does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Up,
    /// Every request gets this status.
    Fails(u16),
    /// No request gets an answer.
    Hangs,
    /// Writes are done, and then answered by nobody.
    WritesHang,
}

#[derive(Debug)]
struct Inner {
    /// By path: `/apis/coordination.k8s.io/v1/namespaces/n/leases/db`.
    objects: BTreeMap<String, Value>,
    version: u64,
    /// Everything that ever happened, for watches: version, path, type, object.
    events: Vec<(u64, String, &'static str, Value)>,
    mode: Mode,
    denied: BTreeSet<(String, String)>,
    /// Watches stay open and tell nothing.
    mute: bool,
    /// Watches of an older generation are cut.
    generation: u64,
    /// `GET /path`, `WATCH /path`, ...
    log: Vec<String>,
}

/// The server. It ends with the runtime of the test.
#[derive(Clone)]
pub struct Api {
    pub address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
    changed: Arc<watch::Sender<u64>>,
}

impl Api {
    pub async fn start() -> Api {
        let inner = Inner {
            objects: BTreeMap::new(),
            version: 100,
            events: Vec::new(),
            mode: Mode::Up,
            denied: BTreeSet::new(),
            mute: false,
            generation: 0,
            log: Vec::new(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let api = Api { address, inner: Arc::new(Mutex::new(inner)), changed: Arc::new(watch::channel(0).0) };
        let served = api.clone();
        let routes = warp::path::full()
            .and(warp::method())
            .and(warp::query::<BTreeMap<String, String>>())
            .and(warp::body::bytes())
            .then(move |path: warp::path::FullPath, method: Method, query: BTreeMap<String, String>, body| {
                let api = served.clone();
                async move { api.answer(method, path.as_str(), &query, body).await }
            });
        tokio::spawn(warp::serve(routes).incoming(listener).run());
        api
    }

    pub fn client(&self) -> kube::Client {
        let mut config = kube::Config::new(format!("http://{}", self.address).parse().unwrap());
        config.default_retry = false;
        kube::Client::try_from(config).unwrap()
    }

    pub fn kubeconfig(&self, token: &str) -> String {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        })
        .to_string()
    }

    pub fn set_mode(&self, mode: Mode) {
        self.inner.lock().unwrap().mode = mode;
    }

    pub fn deny(&self, verb: &str, resource: &str) {
        self.inner.lock().unwrap().denied.insert((verb.to_owned(), resource.to_owned()));
    }

    pub fn allow_all(&self) {
        self.inner.lock().unwrap().denied.clear();
    }

    pub fn mute_watches(&self, mute: bool) {
        self.inner.lock().unwrap().mute = mute;
    }

    pub fn cut_watches(&self) {
        self.inner.lock().unwrap().generation += 1;
        self.changed.send_modify(|n| *n += 1);
    }

    pub fn requests(&self, start: &str) -> usize {
        self.inner.lock().unwrap().log.iter().filter(|line| line.starts_with(start)).count()
    }

    pub fn get(&self, path: &str) -> Option<Value> {
        self.inner.lock().unwrap().objects.get(path).cloned()
    }

    pub fn all(&self, start: &str) -> Vec<Value> {
        let inner = self.inner.lock().unwrap();
        inner.objects.iter().filter(|(path, _)| path.starts_with(start)).map(|(_, object)| object.clone()).collect()
    }

    /// Writes an object, whatever is there.
    pub fn put(&self, path: &str, object: Value) -> Value {
        let mut inner = self.inner.lock().unwrap();
        let kind = if inner.objects.contains_key(path) { "MODIFIED" } else { "ADDED" };
        let object = inner.store(path, object, kind);
        drop(inner);
        self.changed.send_modify(|n| *n += 1);
        object
    }

    pub fn delete(&self, path: &str) {
        let mut inner = self.inner.lock().unwrap();
        if let Some(mut object) = inner.objects.remove(path) {
            inner.version += 1;
            let version = inner.version;
            object["metadata"]["resourceVersion"] = json!(version.to_string());
            inner.events.push((version, path.to_owned(), "DELETED", object));
        }
        drop(inner);
        self.changed.send_modify(|n| *n += 1);
    }

    /// Waits until the object is as wanted, and returns it.
    pub async fn until(&self, path: &str, mut wanted: impl FnMut(Option<&Value>) -> bool) -> Option<Value> {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let object = self.get(path);
            if wanted(object.as_ref()) {
                return object;
            }
            assert!(tokio::time::Instant::now() < deadline, "{path} stays {object:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn answer(
        &self,
        method: Method,
        path: &str,
        query: &BTreeMap<String, String>,
        body: impl AsRef<[u8]>,
    ) -> warp::reply::Response {
        let parts: Vec<&str> = path.split('/').collect();
        // /apis/GROUP/VERSION/namespaces/NS/RESOURCE/NAME or /api/VERSION/namespaces/NS/RESOURCE/NAME
        let at = parts.iter().position(|part| *part == "namespaces").unwrap_or(0);
        let (resource, name) = (parts.get(at + 2).copied().unwrap_or(""), parts.get(at + 3).copied());
        let watches = query.get("watch").is_some_and(|watch| watch == "true" || watch == "1");
        let verb = match (&method, name, watches) {
            (&Method::GET, Some(_), _) => "get",
            (&Method::GET, None, true) => "watch",
            (&Method::GET, None, false) => "list",
            (&Method::POST, ..) => "create",
            (&Method::PUT, ..) => "update",
            (&Method::PATCH, ..) => "patch",
            _ => "other",
        };
        let mode = {
            let mut inner = self.inner.lock().unwrap();
            inner.log.push(format!("{verb} {resource}"));
            if inner.denied.contains(&(verb.to_owned(), resource.to_owned())) {
                return status(403, "Forbidden", &format!("{resource} is forbidden: cannot {verb}"));
            }
            inner.mode
        };
        match mode {
            Mode::Fails(code) => return status(code, "Failure", "on command"),
            Mode::Hangs => std::future::pending().await,
            Mode::WritesHang if verb != "get" && verb != "list" && verb != "watch" => {
                self.carry_out(verb, path, name, query, body.as_ref());
                std::future::pending().await
            }
            _ => {}
        }
        if verb == "watch" {
            return self.watch(path, query);
        }
        self.carry_out(verb, path, name, query, body.as_ref())
    }

    fn carry_out(
        &self,
        verb: &str,
        path: &str,
        name: Option<&str>,
        query: &BTreeMap<String, String>,
        body: &[u8],
    ) -> warp::reply::Response {
        let mut inner = self.inner.lock().unwrap();
        let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let reply = match verb {
            "get" => inner.objects.get(path).map_or_else(|| not_found(path), |object| ok(200, object)),
            "list" => {
                let wanted = wanted_name(query);
                let start = format!("{path}/");
                let items: Vec<&Value> = inner
                    .objects
                    .iter()
                    .filter(|(path, object)| path.starts_with(&start) && fits(object, wanted.as_deref()))
                    .map(|(_, object)| object)
                    .collect();
                let version = inner.version.to_string();
                ok(
                    200,
                    &json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": version}, "items": items}),
                )
            }
            "create" => {
                let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                let path = format!("{path}/{name}");
                if inner.objects.contains_key(&path) {
                    status(409, "AlreadyExists", "it is there")
                } else {
                    let mut body = body;
                    body["metadata"]["uid"] = json!(format!("uid-{name}"));
                    ok(201, &inner.store(&path, body, "ADDED"))
                }
            }
            "update" => match inner.objects.get(path) {
                None => not_found(path),
                Some(present) if present["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"] => {
                    status(409, "Conflict", "another version")
                }
                Some(_) => ok(200, &inner.store(path, body, "MODIFIED")),
            },
            "patch" => match inner.objects.get(path).cloned() {
                None => not_found(path),
                Some(mut object) => {
                    merge(&mut object, &body);
                    ok(200, &inner.store(path, object, "MODIFIED"))
                }
            },
            _ => status(405, "MethodNotAllowed", name.unwrap_or_default()),
        };
        drop(inner);
        self.changed.send_modify(|n| *n += 1);
        reply
    }

    fn watch(&self, path: &str, query: &BTreeMap<String, String>) -> warp::reply::Response {
        let (sender, receiver) = mpsc::channel::<String>(16);
        let (api, wanted, start) = (self.clone(), wanted_name(query), format!("{path}/"));
        let mut version: u64 = query.get("resourceVersion").and_then(|v| v.parse().ok()).unwrap_or(0);
        let mut changed = self.changed.subscribe();
        let generation = self.inner.lock().unwrap().generation;
        tokio::spawn(async move {
            loop {
                changed.mark_unchanged();
                let lines: Vec<String> = {
                    let inner = api.inner.lock().unwrap();
                    if inner.generation != generation {
                        return;
                    }
                    let news = inner.events.iter().filter(|(at, path, _, object)| {
                        *at > version && path.starts_with(&start) && fits(object, wanted.as_deref()) && !inner.mute
                    });
                    news.map(|(_, _, kind, object)| format!("{}\n", json!({"type": kind, "object": object}))).collect()
                };
                version = api.inner.lock().unwrap().version;
                for line in lines {
                    if sender.send(line).await.is_err() {
                        return;
                    }
                }
                tokio::select! {
                    _ = changed.changed() => {}
                    () = sender.closed() => return,
                }
            }
        });
        warp::reply::stream(Lines(receiver)).into_response()
    }
}

impl Inner {
    fn store(&mut self, path: &str, mut object: Value, kind: &'static str) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path.to_owned(), object.clone());
        self.events.push((self.version, path.to_owned(), kind, object.clone()));
        object
    }
}

struct Lines(mpsc::Receiver<String>);

impl futures_util::Stream for Lines {
    type Item = Result<String, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|line| line.map(Ok))
    }
}

fn wanted_name(query: &BTreeMap<String, String>) -> Option<String> {
    query.get("fieldSelector").and_then(|selector| selector.strip_prefix("metadata.name=")).map(str::to_owned)
}

fn fits(object: &Value, name: Option<&str>) -> bool {
    name.is_none_or(|name| object["metadata"]["name"] == name)
}

fn merge(object: &mut Value, patch: &Value) {
    match patch {
        Value::Object(fields) => {
            if !object.is_object() {
                *object = json!({});
            }
            for (name, value) in fields {
                merge(&mut object[name], value);
            }
        }
        other => *object = other.clone(),
    }
}

fn ok(code: u16, object: &Value) -> warp::reply::Response {
    let mut reply = Response::new(object.to_string().into());
    *reply.status_mut() = StatusCode::from_u16(code).unwrap();
    reply
}

fn status(code: u16, reason: &str, message: &str) -> warp::reply::Response {
    ok(
        code,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": message, "reason": reason, "code": code}),
    )
}

fn not_found(path: &str) -> warp::reply::Response {
    status(404, "NotFound", &format!("{path} not found"))
}

pub const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/n/leases/db";
pub const STATEFUL_SET: &str = "/apis/apps/v1/namespaces/n/statefulsets/db";
pub const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/n/endpointslices/";
pub const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/n/events/";

pub fn pod(name: &str) -> String {
    format!("/api/v1/namespaces/n/pods/{name}")
}

pub fn stateful_set(replicas: i32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": "db", "namespace": "n", "uid": "uid-of-db"},
        "spec": {"replicas": replicas, "serviceName": "svc", "selector": {}, "template": {}},
    })
}
