//! Which request goes to which handler: the calls of clients first, pages for people last.

use super::percent::{self, Query};
use super::{Answer, Context, batch, handlers, nothing_there, openapi, pages, reading, watch};
use crate::api::problem::{Code, Problem};
use leasehold_daemon::serve;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use warp::filters::BoxedFilter;
use warp::http::HeaderMap;
use warp::reply::Response;
use warp::{Filter, Rejection};

/// The parameters of a query, or what is wrong with how they are written.
type Asked = Result<Query, Problem>;

pub(super) fn all(context: Arc<Context>) -> BoxedFilter<(Response,)> {
    let persons = list(&context).or(create(&context)).unify().boxed();
    let many = batched(&context).or(watched(&context)).unify().boxed();
    let change = replace(&context).or(patched(&context)).unify().or(delete(&context)).unify().boxed();
    let person = read(&context).or(change).unify().boxed();
    persons.or(person).unify().or(many).unify().or(people(&context)).unify().or(rest(&context)).unify().boxed()
}

fn list(context: &Arc<Context>) -> BoxedFilter<(Response,)> {
    warp::path!("persons")
        .and(get_or_head())
        .and(query())
        .and(with(context))
        .then(|query: Asked, context: Arc<Context>| async move {
            finish(&context, async { reading::list(&context, query?).await }).await
        })
        .boxed()
}

fn batched(context: &Arc<Context>) -> BoxedFilter<(Response,)> {
    warp::path!("persons:batch")
        .and(warp::post())
        .and(query())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .and(with(context))
        .then(|query: Asked, headers: HeaderMap, body, context: Arc<Context>| async move {
            finish(&context, async {
                no_query(query)?;
                batch::batch(&context, &headers, body).await
            })
            .await
        })
        .boxed()
}

fn watched(context: &Arc<Context>) -> BoxedFilter<(Response,)> {
    warp::path!("persons:watch")
        .and(warp::get())
        .and(query())
        .and(warp::header::headers_cloned())
        .and(with(context))
        .then(|query: Asked, headers: HeaderMap, context: Arc<Context>| async move {
            finish(&context, async { watch::watch(&context, &headers, query?).await }).await
        })
        .boxed()
}

fn create(context: &Arc<Context>) -> BoxedFilter<(Response,)> {
    warp::path!("persons")
        .and(warp::post())
        .and(query())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .and(with(context))
        .then(|query: Asked, headers: HeaderMap, body, context: Arc<Context>| async move {
            finish(&context, async {
                no_query(query)?;
                handlers::create(&context, &headers, body).await
            })
            .await
        })
        .boxed()
}

fn read(context: &Arc<Context>) -> BoxedFilter<(Response,)> {
    warp::path!("persons" / String)
        .and(get_or_head())
        .and(query())
        .and(warp::header::headers_cloned())
        .and(with(context))
        .then(|id: String, query: Asked, headers: HeaderMap, context: Arc<Context>| async move {
            finish(&context, async { reading::read(&context, &id, &headers, query?).await }).await
        })
        .boxed()
}

fn patched(context: &Arc<Context>) -> BoxedFilter<(Response,)> {
    warp::path!("persons" / String)
        .and(warp::patch())
        .and(query())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .and(with(context))
        .then(|id: String, query: Asked, headers: HeaderMap, body, context: Arc<Context>| async move {
            finish(&context, async {
                no_query(query)?;
                handlers::patch(&context, &id, &headers, body).await
            })
            .await
        })
        .boxed()
}

fn replace(context: &Arc<Context>) -> BoxedFilter<(Response,)> {
    warp::path!("persons" / String)
        .and(warp::put())
        .and(query())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .and(with(context))
        .then(|id: String, query: Asked, headers: HeaderMap, body, context: Arc<Context>| async move {
            finish(&context, async {
                no_query(query)?;
                handlers::replace(&context, &id, &headers, body).await
            })
            .await
        })
        .boxed()
}

fn delete(context: &Arc<Context>) -> BoxedFilter<(Response,)> {
    warp::path!("persons" / String)
        .and(warp::delete())
        .and(query())
        .and(warp::header::headers_cloned())
        .and(with(context))
        .then(|id: String, query: Asked, headers: HeaderMap, context: Arc<Context>| async move {
            finish(&context, async {
                no_query(query)?;
                handlers::delete(&context, &id, &headers).await
            })
            .await
        })
        .boxed()
}

/// The probe port. A probe may carry any query: it is not worth a restart.
pub(super) fn probes(context: Arc<Context>) -> BoxedFilter<(Response,)> {
    let elsewhere = serve::path().and(with(&context)).map(|path: String, context: Arc<Context>| {
        let what = format!("{path} is not served on this port, only GET /healthz, /readyz and /metrics");
        context.finish(Err(Problem::new(Code::UnknownPath, what)))
    });
    probed(&context).or(elsewhere).unify().boxed()
}

fn probed(context: &Arc<Context>) -> BoxedFilter<(Response,)> {
    let page = |page: fn(&Context) -> Answer| {
        get_or_head().and(with(context)).map(move |context: Arc<Context>| context.finish(page(&context)))
    };
    let healthz = warp::path!("healthz").and(page(pages::healthz));
    let readyz = warp::path!("readyz").and(page(pages::readyz));
    healthz.or(readyz).unify().or(warp::path!("metrics").and(page(pages::metrics))).unify().boxed()
}

/// Probes, metrics and what is for people.
fn people(context: &Arc<Context>) -> BoxedFilter<(Response,)> {
    let page = |page: fn(&Context) -> Answer| {
        get_or_head().and(with(context)).map(move |context: Arc<Context>| context.finish(page(&context)))
    };
    let strict = |page: fn(&Context) -> Answer| {
        get_or_head().and(query()).and(with(context)).map(move |query: Asked, context: Arc<Context>| {
            context.finish(no_query(query).and_then(|()| page(&context)))
        })
    };
    let leader = warp::path!("api" / "leader")
        .and(get_or_head())
        .and(query())
        .and(warp::header::headers_cloned())
        .and(with(context))
        .map(|query: Asked, headers: HeaderMap, context: Arc<Context>| {
            context.finish(no_query(query).and_then(|()| pages::leader(&context, &headers)))
        });
    leader
        .or(warp::path!("api" / "status").and(strict(pages::status)))
        .unify()
        .or(probed(context))
        .unify()
        .or(warp::path!("openapi.json").and(page(openapi::openapi)))
        .unify()
        .or(warp::path!("docs").and(page(openapi::docs)))
        .unify()
        .or(warp::path::end().and(page(pages::index)))
        .unify()
        .boxed()
}

/// Everything that no call took: `OPTIONS`, other methods, other paths.
fn rest(context: &Arc<Context>) -> BoxedFilter<(Response,)> {
    serve::path()
        .and(warp::method())
        .and(with(context))
        .map(|path: String, method, context: Arc<Context>| context.finish(nothing_there(&path, &method)))
        .boxed()
}

async fn finish(context: &Context, answer: impl Future<Output = Answer>) -> Response {
    let answer = answer.await;
    context.finish(answer)
}

fn with(context: &Arc<Context>) -> impl Filter<Extract = (Arc<Context>,), Error = Infallible> + Clone + use<> {
    let context = context.clone();
    warp::any().map(move || context.clone())
}

fn get_or_head() -> impl Filter<Extract = (), Error = Rejection> + Copy {
    warp::get().or(warp::head()).unify()
}

/// Not warp's own, which puts U+FFFD in the place of what cannot be decoded.
fn query() -> impl Filter<Extract = (Asked,), Error = Infallible> + Clone {
    warp::query::raw().or(warp::any().map(String::new)).unify().map(|raw: String| percent::query(&raw))
}

/// What a call does not know is an error: a misspelt parameter would else be a wrong answer.
fn no_query(query: Asked) -> Result<(), Problem> {
    match query?.first() {
        None => Ok(()),
        Some((name, _)) => {
            Err(Problem::new(Code::InvalidQuery, format!("the parameter `{name}` is not known; this call takes none"))
                .with("parameter", name.as_str()))
        }
    }
}
