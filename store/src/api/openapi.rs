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
use ring::digest::{SHA256, digest};
use serde_json::Value;
use std::sync::{LazyLock, OnceLock};
use utoipa::openapi::path::{HttpMethod, PathItem, Paths, PathsBuilder};
use utoipa::openapi::security::{Http, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, Info, InfoBuilder, License, OpenApi};
use warp::http::HeaderValue;
use warp::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use warp::reply::Response;

/// In `components.securitySchemes`.
const TOKEN: &str = "token";
/// Bearer tokens have none.
const NO_SCOPES: [&str; 0] = [];

const PAGE: &str = include_str!("docs.html");

/// Its own script and style alone, by their hashes, and what they ask of this store. Nobody may put it into a frame.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = |element: &str| {
        let within =
            PAGE.split_once(&format!("<{element}>")).and_then(|(_, rest)| rest.split_once(&format!("</{element}>")));
        base64(digest(&SHA256, within.map_or("", |(text, _)| text).as_bytes()).as_ref())
    };
    let policy = format!(
        "default-src 'none'; connect-src 'self'; script-src 'sha256-{}'; style-src 'sha256-{}'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash("script"),
        hash("style")
    );
    HeaderValue::from_str(&policy).expect("it is ASCII")
});

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let quartet = |three: &[u8]| {
        let at = |place: usize| u32::from(three.get(place).copied().unwrap_or_default());
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        let letters = three.len() + 1;
        let letter = move |place: usize| char::from(LETTERS[(bits >> (18 - 6 * place) & 63) as usize]);
        (0..4).map(move |place| if place < letters { letter(place) } else { '=' })
    };
    bytes.chunks(3).flat_map(quartet).collect()
}

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
    let description = "With `--api-tokens`: one that permits the call; a 403 names those that do. Probes need none.";
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
    headers.insert(CONTENT_SECURITY_POLICY, POLICY.clone());
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        let all = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(all, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
    }
}
