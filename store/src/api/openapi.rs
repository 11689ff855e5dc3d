//! `/openapi.json`, and `/docs`, which shows it to people. Both come from the program itself: a closed cluster has no
//! network to load anything from.
//!
//! ```text
//!   CALLS: method, path, summary ──┐
//!   reads, writes, pages: Details ─┴─▶ Operation ──▶ paths ──────┐
//!   headers, parameters, refusals, schemas ───────▶ components ──┴─▶ the document
//! ```
//!
//! A call is in the document because it is in the table of calls, and it is incomplete until `reads`, `writes` or `pages`
//! describes the rest of it. What several calls share is described once and referred to. The code uses the same limits and
//! the same list of problems.

mod details;
mod headers;
mod pages;
mod parameters;
mod reads;
mod refusals;
mod schemas;
mod writes;

use super::calls::{CALLS, Call, Kind};
use super::context::{ApiResult, Context};
use super::reply;
use details::{Details, operation};
use serde_json::Value;
use std::sync::OnceLock;
use utoipa::openapi::path::{HttpMethod, PathItem, Paths, PathsBuilder};
use utoipa::openapi::security::{Http, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, Info, InfoBuilder, License, OpenApi};
use warp::http::HeaderValue;
use warp::http::header::CONTENT_TYPE;
use warp::reply::Response;

/// In `components.securitySchemes`.
const TOKEN: &str = "token";
/// Bearer tokens have none.
const NO_SCOPES: [&str; 0] = [];

const PAGE: &str = include_str!("docs.html");

/// The whole document, made when it is first asked for.
pub(super) fn document() -> &'static Value {
    static WHOLE: OnceLock<Value> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let mut whole = OpenApi::new(info(), paths());
        whole.components = Some(components());
        // With a token or without: that depends on the flags of the store.
        whole.security = Some(vec![SecurityRequirement::new(TOKEN, NO_SCOPES), SecurityRequirement::default()]);
        serde_json::to_value(whole).expect("it has no map with other keys than text")
    })
}

fn info() -> Info {
    let mut license = License::new("Apache-2.0");
    license.identifier = Some("Apache-2.0".to_owned());
    InfoBuilder::new()
        .title("Leasehold store")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "A replicated JSON record store: one leader accepts the writes, every replica answers reads.",
        ))
        .license(Some(license))
        .build()
}

/// From the table of calls.
fn paths() -> Paths {
    let item = |call: &Call| PathItem::new(method(call), operation(call, details(call.kind)));
    CALLS.iter().fold(PathsBuilder::new(), |paths, call| paths.path(call.path, item(call))).build()
}

fn components() -> Components {
    let mut components = Components::new();
    headers::describe(&mut components);
    parameters::describe(&mut components);
    refusals::describe(&mut components);
    schemas::describe(&mut components);
    components.add_security_scheme(TOKEN, SecurityScheme::Http(bearer()));
    components
}

fn bearer() -> Http {
    let description = "With `--api-tokens`: one that may read, or one that may write (and read). Probes need none.";
    HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description)).build()
}

fn details(kind: Kind) -> Details {
    match kind {
        Kind::List => reads::list(),
        Kind::Read => reads::read(),
        Kind::Watch => reads::watch(),
        Kind::Create => writes::create(),
        Kind::Replace => writes::replace(),
        Kind::Patch => writes::patch(),
        Kind::Delete => writes::delete(),
        Kind::Batch => writes::batch(),
        Kind::Leader => pages::leader(),
        Kind::Status => pages::status(),
        Kind::Healthz => pages::healthz(),
        Kind::Readyz => pages::readyz(),
        Kind::Metrics => pages::metrics(),
        Kind::OpenApi => pages::openapi(),
        Kind::Docs => pages::docs(),
        Kind::Index => pages::index(),
        // Not in the table that the document is made from.
        Kind::Transaction
        | Kind::WatchAll
        | Kind::Definitions
        | Kind::Definition
        | Kind::Define
        | Kind::Drop
        | Kind::GiveUp
        | Kind::PauseExpiry => Details::default(),
    }
}

fn method(call: &Call) -> HttpMethod {
    match call.method.as_str() {
        "GET" => HttpMethod::Get,
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        "PATCH" => HttpMethod::Patch,
        "DELETE" => HttpMethod::Delete,
        other => unreachable!("no call of the table is a {other}"),
    }
}

/// `GET /openapi.json`
pub(super) fn openapi(_: &Context) -> ApiResult {
    Ok(reply::json(document()))
}

/// `GET /docs`
pub(super) fn docs(_: &Context) -> ApiResult {
    let mut response = Response::new(PAGE.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    let policy = "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'";
    headers.insert("content-security-policy", HeaderValue::from_static(policy));
    Ok(response)
}
