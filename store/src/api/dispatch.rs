//! [`Calls`]: routes each request to its call, by the table in `calls`, without a tree of filters. Requests arrive through
//! `forward`.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Body;
use hyper::service::Service;
use leasehold_daemon::serve::Inbound;
use tokio::sync::Semaphore;
use warp::http::request::Parts;
use warp::http::{HeaderValue, Method, Request, StatusCode, header};
use warp::reply::Response;

use super::body::{BoxError, Sent};
use super::calls::{Found, Kind, find};
use super::context::{ApiResult, Config, Context};
use super::described::Described;
use super::paths::{self, Place};
use super::percent::{self, Query};
use super::problem::{Code, Problem};
use super::refusals::unknown_collection;
use super::rights::Rights;
use super::turns::Turns;
use super::writes::Write;
use super::{batch, definitions, expiry, openapi, pages, reads, reply, snapshot, transaction, watch, writes};
use crate::handle::Handle;
use crate::schema::Schemas;
use crate::telemetry::Metrics;

/// All calls of a replica. A clone is the same.
#[derive(Clone)]
pub struct Calls(Arc<Context>);

impl Calls {
    /// Of this replica.
    pub fn new(handle: Handle, config: Config, metrics: Metrics) -> Calls {
        let watchers = Arc::new(Semaphore::new(config.watchers_max));
        let snapshots = Arc::new(Semaphore::new(snapshot::SNAPSHOTS_MAX));
        let (schemas, turns, described) = (Schemas::default(), Turns::default(), Described::default());
        Calls(Arc::new(Context { handle, config, metrics, watchers, snapshots, schemas, turns, described }))
    }

    /// Answers a request. The same body may arrive again, if it is known that nothing was done.
    pub(super) async fn answer<B>(&self, head: &Parts, sent: &mut Sent<B>) -> ApiResult
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (context, headers, rights) = (&*self.0, &head.headers, Rights::of(&head.extensions));
        let path = paths::of(&head.uri);
        let place = paths::read(path)?;
        let kind = match find(&head.method, &place) {
            Found::Call(kind) => kind,
            Found::OtherMethods(methods) => return other_method(context, path, &place, &head.method, methods),
            Found::Nothing => return nothing_there(path),
        };
        let (collection, id) = match &place {
            Place::Records(name) | Place::Batch(name) | Place::Watch(name) => (&**name, ""),
            Place::Definition(name) | Place::Pending(name) => (&**name, ""),
            Place::Record(name, id) => (&**name, &**id),
            Place::Fixed(_) | Place::Nothing => ("", ""),
        };
        let query = || percent::query(head.uri.query().unwrap_or_default());
        if kind.refuses_parameters() {
            no_query(query()?)?;
        }
        match kind {
            Kind::List => reads::list(context, collection, query()?).await,
            Kind::Read => reads::read(context, collection, id, headers, query()?).await,
            Kind::Watch => watch::watch(context, rights, Some(collection), headers, query()?).await,
            Kind::WatchAll => watch::watch(context, rights, None, headers, query()?).await,
            Kind::Snapshot => snapshot::snapshot(context, query()?).await,
            Kind::Create => writes::write(context, collection, Write::Create, headers, sent, query()?).await,
            Kind::Replace => writes::write(context, collection, Write::Replace(id), headers, sent, query()?).await,
            Kind::Patch => writes::write(context, collection, Write::Patch(id), headers, sent, query()?).await,
            Kind::Delete => writes::delete(context, collection, id, headers).await,
            Kind::Batch => batch::batch(context, collection, headers, sent).await,
            Kind::Transaction => transaction::transaction(context, rights, headers, sent).await,
            Kind::Definitions => definitions::list(context, rights, query()?).await,
            Kind::Definition => definitions::read(context, collection, headers, query()?).await,
            Kind::Define => definitions::put(context, collection, headers, sent, query()?).await,
            Kind::Drop => definitions::drop(context, collection, headers, query()?).await,
            Kind::GiveUp => definitions::give_up(context, collection, headers).await,
            Kind::PauseExpiry => expiry::put(context, headers, sent).await,
            Kind::Leader => pages::leader(context, headers),
            Kind::Status => pages::status(context, rights),
            Kind::Healthz => pages::healthz(context),
            Kind::Readyz => pages::readyz(context),
            Kind::Metrics => pages::metrics(context),
            Kind::OpenApi => openapi::openapi(context, rights).await,
            Kind::Docs => openapi::docs(context),
            Kind::Index => pages::index(context, rights),
        }
    }

    /// This replica's own answer: it refuses a write if it does not lead.
    pub async fn respond<B>(&self, request: Request<B>) -> Response
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (head, body) = request.into_parts();
        let answer = self.answer(&head, &mut Sent::new(body)).await;
        self.finish(answer)
    }

    #[cfg(test)]
    pub(super) fn context(&self) -> &Context {
        &self.0
    }

    /// Adds what every answer carries.
    pub(super) fn finish(&self, answer: ApiResult) -> Response {
        self.0.finish(answer)
    }
}

impl Service<Request<Inbound>> for Calls {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Inbound>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(this.respond(request).await) })
    }
}

/// The probes' calls, for a port of their own.
#[derive(Clone)]
pub struct Probes(Calls);

impl Probes {
    /// Of these calls.
    pub fn new(calls: Calls) -> Probes {
        Probes(calls)
    }

    fn answer(&self, head: &Parts) -> ApiResult {
        let (path, context) = (paths::of(&head.uri), &*self.0.0);
        match find(&head.method, &paths::read(path)?) {
            Found::Call(Kind::Healthz) => pages::healthz(context),
            Found::Call(Kind::Readyz) => pages::readyz(context),
            Found::Call(Kind::Metrics) => pages::metrics(context),
            _ => {
                let what = format!("{path} is not served on this port, only GET /healthz, /readyz and /metrics");
                Err(Problem::new(Code::UnknownPath, what))
            }
        }
    }
}

impl Service<Request<Inbound>> for Probes {
    type Response = Response;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response, Infallible>>;

    fn call(&self, request: Request<Inbound>) -> Self::Future {
        let answer = self.answer(&request.into_parts().0);
        std::future::ready(Ok(self.0.finish(answer)))
    }
}

fn nothing_there(path: &str) -> ApiResult {
    Err(Problem::new(Code::UnknownPath, format!("nothing exists at {path}; `GET /` lists the calls")))
}

/// `OPTIONS`, or a method that the path does not have.
fn other_method(context: &Context, path: &str, place: &Place<'_>, method: &Method, methods: &'static str) -> ApiResult {
    if method == Method::OPTIONS {
        if let Some(name) = place.collection()
            && !context.handle.documents().has_collection(name)
        {
            return Err(unknown_collection(name));
        }
        let mut response = reply::empty(StatusCode::NO_CONTENT);
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
        return Ok(response);
    }
    Err(Problem::new(Code::MethodNotAllowed, format!("{path} accepts {methods}, not {method}")).allow(methods))
}

/// An unknown parameter is an error: a misspelt one would otherwise give a wrong answer.
fn no_query(query: Query) -> Result<(), Problem> {
    match query.first() {
        None => Ok(()),
        Some((name, _)) => {
            Err(Problem::new(Code::InvalidQuery, format!("unknown parameter `{name}`; this call accepts none"))
                .with("parameter", name.as_str()))
        }
    }
}
