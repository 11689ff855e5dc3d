//! The API under test: requests with exact bodies, unchanged answers, watches line by line.

use std::{path::Path, time::Duration};

use anyhow::{Context, bail};
use bytes::BytesMut;
use http::{Method, Request, header};
use http_body_util::BodyExt;
use kube::{
    Client, Config,
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

use crate::{ApiServer, Kind};

/// An API, a namespace in it, and the prefix of the names of what is made there.
#[derive(Clone)]
pub struct Target {
    client: Client,
    namespace: String,
    prefix: String,
    is_embedded: bool,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.prefix)
    }
}

/// The answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: u16,
    /// As JSON; null if it is none.
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn version(&self) -> u64 {
        version_of(&self.body)
    }

    pub(super) fn uid(&self) -> &str {
        self.body["metadata"]["uid"].as_str().unwrap_or("")
    }
}

/// The resourceVersion of an object, 0 where it is none.
pub(super) fn version_of(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// An answer, and each event of a watch, must arrive within this time.
const PATIENCE: Duration = Duration::from_secs(30);
/// The kinds of objects that are created.
const KINDS: [Kind; 4] = [Kind::Lease, Kind::Event, Kind::EndpointSlice, Kind::Pod];

pub(super) const JSON: &str = "application/json";
pub(super) const MERGE: &str = "application/merge-patch+json";
pub(super) const STRATEGIC: &str = "application/strategic-merge-patch+json";

impl Target {
    /// The API server of a kubeconfig's current context.
    ///
    /// # Errors
    /// The file cannot be read, or does not say enough.
    pub async fn of_kubeconfig(file: &Path, namespace: Option<String>) -> anyhow::Result<Target> {
        let kubeconfig = Kubeconfig::read_from(file).with_context(|| format!("reading {}", file.display()))?;
        Target::of(kubeconfig, namespace, false).await
    }

    /// An embedded API.
    ///
    /// # Errors
    /// None is expected.
    pub async fn of_embedded(api: &ApiServer, namespace: &str) -> anyhow::Result<Target> {
        let kubeconfig = serde_json::from_value(api.kubeconfig("conformance", namespace))?;
        Target::of(kubeconfig, None, true).await
    }

    async fn of(kubeconfig: Kubeconfig, namespace: Option<String>, is_embedded: bool) -> anyhow::Result<Target> {
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        // A refusal is what is looked for.
        config.default_retry = false;
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let random = uuid::Uuid::new_v4().simple().to_string();
        let prefix = format!("conformance-{}", &random[..8]);
        Ok(Target { client: Client::try_from(config)?, namespace, prefix, is_embedded })
    }

    /// The same with a prefix of its own.
    pub(super) fn under(&self, number: usize) -> Target {
        Target { prefix: format!("{}-{number}", self.prefix), ..self.clone() }
    }

    pub(super) fn is_embedded(&self) -> bool {
        self.is_embedded
    }

    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A name that nobody else uses.
    pub(super) fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// A label value that nobody else uses.
    pub(super) fn label(&self) -> &str {
        &self.prefix
    }

    /// The path of a collection, or, with a name, of an object.
    pub(super) fn path(&self, kind: Kind, name: &str) -> String {
        let group = if kind.group().is_empty() { "/api".to_owned() } else { format!("/apis/{}", kind.group()) };
        let slash = if name.is_empty() { "" } else { "/" };
        format!("{group}/v1/namespaces/{}/{}{slash}{name}", self.namespace, kind.plural())
    }

    pub(super) async fn create(&self, kind: Kind, object: &Value) -> anyhow::Result<Answer> {
        self.send(Method::POST, &self.path(kind, ""), JSON, object.to_string()).await
    }

    pub(super) async fn get(&self, kind: Kind, name: &str) -> anyhow::Result<Answer> {
        self.send(Method::GET, &self.path(kind, name), "", "").await
    }

    pub(super) async fn list(&self, kind: Kind, query: &str) -> anyhow::Result<Answer> {
        self.send(Method::GET, &format!("{}?{query}", self.path(kind, "")), "", "").await
    }

    pub(super) async fn replace(&self, kind: Kind, name: &str, object: &Value) -> anyhow::Result<Answer> {
        self.send(Method::PUT, &self.path(kind, name), JSON, object.to_string()).await
    }

    pub(super) async fn patch(&self, kind: Kind, name: &str, patch: &Value) -> anyhow::Result<Answer> {
        self.send(Method::PATCH, &self.path(kind, name), MERGE, patch.to_string()).await
    }

    /// `options` null: no body.
    pub(super) async fn delete(&self, kind: Kind, name: &str, options: &Value) -> anyhow::Result<Answer> {
        let body = if options.is_null() { String::new() } else { options.to_string() };
        self.send(Method::DELETE, &self.path(kind, name), JSON, body).await
    }

    /// Any request; without a content type if that is empty.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: impl Into<String>,
    ) -> anyhow::Result<Answer> {
        let mut request = Request::builder().method(&method).uri(path);
        if !content_type.is_empty() {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        let request = request.body(Body::from(body.into().into_bytes()))?;
        let whole = async {
            let (head, body) = self.client.send(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            anyhow::Ok(Answer { code: head.status.as_u16(), body })
        };
        match tokio::time::timeout(PATIENCE, whole).await {
            Ok(answer) => answer.with_context(|| format!("{method} {path}")),
            Err(_) => bail!("{method} {path}: no answer within {PATIENCE:?}"),
        }
    }

    /// A watch, once it is answered with 200.
    pub(super) async fn watch(&self, kind: Kind, query: &str) -> anyhow::Result<Watch> {
        let path = format!("{}?watch=true&{query}", self.path(kind, ""));
        let request = Request::builder().uri(&path).body(Body::from(Vec::new()))?;
        let answer = tokio::time::timeout(PATIENCE, self.client.send(request)).await;
        let (head, body) = answer.with_context(|| format!("{path}: no answer"))??.into_parts();
        if head.status != 200 {
            bail!("{path}: {} {:?}", head.status, body.collect().await?.to_bytes());
        }
        Ok(Watch { body, buffer: BytesMut::new() })
    }

    /// Removes all that was made.
    ///
    /// # Errors
    /// It cannot be listed or deleted.
    pub(super) async fn clean(&self) -> anyhow::Result<()> {
        for kind in KINDS {
            let list = self.list(kind, "").await?;
            anyhow::ensure!(list.code == 200, "{}: {}", self.path(kind, ""), list.body);
            for object in list.body["items"].as_array().into_iter().flatten() {
                let name = object["metadata"]["name"].as_str().unwrap_or("");
                if name.starts_with(&format!("{}-", self.prefix)) {
                    let answer = self.delete(kind, name, &json!({"gracePeriodSeconds": 0})).await?;
                    anyhow::ensure!([200, 202, 404].contains(&answer.code), "removing {name}: {}", answer.body);
                }
            }
        }
        Ok(())
    }
}

/// An open watch.
pub(super) struct Watch {
    body: Body,
    buffer: BytesMut,
}

impl Watch {
    /// The next event, bookmarks included; `None` at the end.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Value>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await;
            match frame.with_context(|| format!("no event of the watch, nor its end, within {PATIENCE:?}"))? {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
            }
        }
    }

    /// The next event that is not a bookmark, as (type, name, version, holder); `Null` at the end.
    pub(super) async fn next_change(&mut self) -> anyhow::Result<Value> {
        while let Some(event) = self.next().await? {
            if event["type"] != "BOOKMARK" {
                return Ok(change(&event));
            }
        }
        Ok(Value::Null)
    }

    /// All events to the end.
    pub(super) async fn rest(&mut self) -> anyhow::Result<Vec<Value>> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await? {
            events.push(event);
        }
        Ok(events)
    }
}

/// An event of a Lease in short.
pub(super) fn change(event: &Value) -> Value {
    let object = &event["object"];
    json!([event["type"], object["metadata"]["name"], version_of(object), object["spec"]["holderIdentity"]])
}
