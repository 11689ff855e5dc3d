//! One HTTP request to the embedded API: faults first, then the objects, then the log.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    Cause, Failure, Faults, Kind, Logged, Verb,
    request::{Query, Target},
    selector::Selector,
    shared::{Shared, lock},
    validation::unreadable,
    watch::{Stream, stream_changes},
};

pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The connection shall be closed without an answer.
#[derive(Debug)]
pub(super) struct HangUp;

impl std::fmt::Display for HangUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("fault injected by the test: no answer")
    }
}

impl std::error::Error for HangUp {}

/// The API server accepts bodies up to this size.
const BODY_MAX: usize = 3 << 20;

/// Answers one request. Never answers while a black hole is in force; the caller drops the future with the connection.
pub(super) async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, HangUp> {
    let (head, body) = request.into_parts();
    let query = Query::parse(head.uri.query().unwrap_or(""));
    let client = client_of(&head.headers);
    let target = match Target::parse(head.uri.path()) {
        Ok(Target::Page(page)) => return Ok(reply(200, &page)),
        Ok(target) => target,
        Err(failure) => return Ok(refuse(&failure)),
    };
    let Some((kind, verb)) = target.verb(&head.method, &query) else {
        return Ok(refuse(&Failure::method_not_allowed()));
    };
    let at = shared.started.elapsed();
    let log = |code: u16| lock(&shared.ledger).record(Logged { at, client: client.clone(), verb, kind, code });

    let body = match Limited::new(body, BODY_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => {
            log(413);
            return Ok(refuse(&Failure::too_large()));
        }
    };
    // Before the faults: a watch that slipped past the fault is one that `drop_watches` finds, however late it starts.
    let drops = lock(&shared.ledger).drops(&client);
    let mut faults = faults_of(&shared, &client, verb);
    tokio::time::sleep(faults.delay).await;
    if faults.hold {
        faults = held_until_lifted(&shared, &client, verb).await;
    }
    if faults.hang_up || faults.black_hole {
        log(0);
        if faults.hang_up {
            return Err(HangUp);
        }
        std::future::pending::<()>().await;
    }
    if let Some(code) = faults.status {
        log(code);
        return Ok(refuse(&Failure::injected(code)));
    }
    if lock(&shared.ledger).denies(verb, kind) {
        log(403);
        return Ok(refuse(&target.forbidden(&client, verb)));
    }
    if verb == Verb::Watch {
        let Target::Collection { namespace, .. } = target else { return Ok(refuse(&Failure::method_not_allowed())) };
        let outcome = Stream::new(kind, namespace, client.clone(), drops, &query);
        log(outcome.as_ref().map_or_else(|failure| failure.code, |_| 200));
        return Ok(match outcome {
            Ok(stream) => watch(&shared, stream),
            Err(failure) => refuse(&failure),
        });
    }
    let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let outcome = carry_out(&shared, &head.method, &target, &query, content_type, &body);
    if faults.lost_answers {
        log(0);
        std::future::pending::<()>().await;
    }
    let (code, answer) = outcome.unwrap_or_else(|failure| (failure.code, failure.to_json()));
    log(code);
    Ok(reply(code, &answer))
}

fn faults_of(shared: &Shared, client: &str, verb: Verb) -> Faults {
    Some(lock(&shared.ledger).of(client).clone()).filter(|faults| faults.meet(verb)).unwrap_or_default()
}

async fn held_until_lifted(shared: &Arc<Shared>, client: &str, verb: Verb) -> Faults {
    /// Ceases to count also when the client leaves and the future is dropped.
    struct Held<'a>(&'a Shared);
    impl Drop for Held<'_> {
        fn drop(&mut self) {
            lock(&self.0.ledger).held -= 1;
        }
    }
    lock(&shared.ledger).held += 1;
    let _held = Held(shared);
    let mut changed = shared.changed.subscribe();
    loop {
        let faults = faults_of(shared, client, verb);
        if !faults.hold || changed.changed().await.is_err() {
            return faults;
        }
    }
}

/// The client's identity: the bearer token.
fn client_of(headers: &http::HeaderMap) -> String {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or("");
    header.strip_prefix("Bearer ").unwrap_or("anonymous").to_owned()
}

/// Everything but watches.
pub(super) fn carry_out(
    shared: &Shared,
    method: &Method,
    target: &Target,
    query: &Query,
    content_type: &str,
    body: &[u8],
) -> Result<(u16, Value), Failure> {
    let content_type = content_type.split(';').next().unwrap_or("").trim();
    let json_body = || -> Result<Value, Failure> {
        serde_json::from_slice(body).map_err(|error| match target {
            Target::Collection { kind, .. } | Target::Object { kind, .. } if *method != Method::PATCH => {
                unreadable(*kind, &error.to_string())
            }
            _ => Failure::bad_request(format!("error decoding patch: {error}")),
        })
    };
    let plain_body = || match content_type {
        "" | "application/json" => json_body(),
        _ => Err(Failure::unsupported_media_type("application/json")),
    };
    let mut objects = lock(&shared.objects);
    let outcome = match target {
        Target::Page(page) => Ok((200, page.clone())),
        Target::Collection { kind, namespace } if *method == Method::GET => {
            let selector = Selector::parse(query.get("fieldSelector"), query.get("labelSelector"))?;
            let mut items = objects.list(*kind, namespace.as_deref(), &selector);
            // The list says it for all of them.
            for item in items.iter_mut().filter_map(Value::as_object_mut) {
                item.remove("kind");
                item.remove("apiVersion");
            }
            Ok((
                200,
                json!({
                    "kind": format!("{}List", kind.name()), "apiVersion": kind.api_version(),
                    "metadata": {"resourceVersion": objects.version().to_string()}, "items": items,
                }),
            ))
        }
        Target::Collection { kind, namespace } => {
            let namespace = namespace.as_deref().ok_or_else(Failure::method_not_allowed)?;
            Ok((201, objects.create(*kind, namespace, plain_body()?)?))
        }
        Target::Object { kind, namespace, name, sub: Some(sub) } if sub == "scale" => {
            if *method == Method::PATCH || *method == Method::PUT {
                let replicas = json_body()?["spec"]["replicas"].clone();
                let patch = json!({"spec": {"replicas": replicas}});
                objects.patch(*kind, namespace, name, &patch)?;
            } else if *method != Method::GET {
                return Err(Failure::method_not_allowed());
            }
            Ok((200, scale_of(objects.get(*kind, namespace, name)?)))
        }
        Target::Object { kind, namespace, name, .. } => match *method {
            Method::GET => Ok((200, objects.get(*kind, namespace, name)?.clone())),
            Method::PUT => {
                let (object, created) = objects.replace(*kind, namespace, name, plain_body()?)?;
                Ok((if created { 201 } else { 200 }, object))
            }
            Method::DELETE => {
                let options = if body.is_empty() { json!({}) } else { plain_body()? };
                match options["kind"].as_str() {
                    None | Some("" | "DeleteOptions") => {}
                    Some(other) => {
                        return Err(Failure::bad_request(format!("no kind {other:?} is registered for these options")));
                    }
                }
                Ok((200, objects.delete(*kind, namespace, name, &options)?))
            }
            Method::PATCH => patch(&mut objects, *kind, namespace, name, query, content_type, &json_body()?),
            _ => Err(Failure::method_not_allowed()),
        },
    };
    shared.changed.send_replace(objects.version());
    outcome
}

fn patch(
    objects: &mut super::objects::Objects,
    kind: Kind,
    namespace: &str,
    name: &str,
    query: &Query,
    content_type: &str,
    body: &Value,
) -> Result<(u16, Value), Failure> {
    match content_type {
        // A strategic merge differs from a plain one only in lists, which nobody patches here.
        "application/merge-patch+json" | "application/strategic-merge-patch+json" => {
            Ok((200, objects.patch(kind, namespace, name, body)?))
        }
        "application/apply-patch+yaml" | "application/apply-patch+cbor" => {
            if query.get("fieldManager").is_empty() {
                let cause = Cause::required("fieldManager", "is required for apply patch");
                return Err(Failure::invalid_options("PatchOptions", cause));
            }
            let (object, created) = objects.apply(kind, namespace, name, body.clone())?;
            Ok((if created { 201 } else { 200 }, object))
        }
        _ => Err(Failure::unsupported_media_type(
            "application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml",
        )),
    }
}

fn scale_of(set: &Value) -> Value {
    let meta = &set["metadata"];
    let replicas = set["spec"].get("replicas").cloned().unwrap_or_else(|| 1.into());
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"], "creationTimestamp": meta["creationTimestamp"],
        },
        "spec": {"replicas": replicas},
        "status": {"replicas": set["status"]["replicas"].as_i64().unwrap_or(0)},
    })
}

fn watch(shared: &Arc<Shared>, stream: Stream) -> Response<Body> {
    // Bounded: a client that does not read holds back its own stream only.
    let (sender, receiver) = mpsc::channel::<Bytes>(16);
    // Ends when the receiver goes, that is with the connection.
    tokio::spawn(stream_changes(shared.clone(), stream, sender));
    let frames = stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|line| (Ok::<_, Infallible>(Frame::data(line)), receiver))
    });
    respond(200, StreamBody::new(frames).boxed_unsync())
}

fn reply(code: u16, body: &Value) -> Response<Body> {
    respond(code, Full::new(Bytes::from(body.to_string())).boxed_unsync())
}

fn refuse(failure: &Failure) -> Response<Body> {
    reply(failure.code, &failure.to_json())
}

fn respond(code: u16, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}
