//! `/openapi.json`, and `/docs`, which shows it to people. Both come from the program itself: a closed cluster has no
//! network to load anything from.
//!
//! ```text
//!   CALLS: method, path, summary ─────────────────────────────┐
//!   reads, writes (About a collection), definitions, pages: Details ─▶ Operation ──▶ paths ──────┐
//!   headers, parameters, refusals, schemas ─────────────────────────────────────▶ components ──┴─▶ the document
//!   the definitions in force (seen) ──▶ About ──▶ paths, filters, and the schemas of each (embedded) ──▲
//! ```
//!
//! A call is in the document because it is in the table of calls, and it is incomplete until `reads`, `writes`,
//! `definitions` or `pages` describes the rest of it. What several calls share is described once and referred to. The code uses
//! the same limits and the same list of problems.
//!
//! Each collection that the client may read has paths of its own. There may be a thousand, with schemas of 64 KiB: when they
//! have [`BYTES_MAX`] together, the others are described by `/{collection}`, and `GET /api/collections` has the rest. A
//! document is kept until a definition changes.

mod about;
mod definitions;
mod details;
mod embedded;
mod headers;
mod pages;
mod parameters;
mod reads;
mod refusals;
mod schemas;
mod writes;

use super::calls::{CALLS, Call, Kind, PERSONS_CALLS};
use super::context::{ApiResult, Context};
use super::described::Seen;
use super::problem::{Code, Problem};
use super::rights::Rights;
use super::seen::seen;
use about::About;
use bytes::Bytes;
use details::{Details, operation};
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};
use std::sync::{LazyLock, OnceLock};
use utoipa::openapi::path::Paths;
use utoipa::openapi::security::{Http, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, Info, InfoBuilder, License, OpenApi};
use warp::http::HeaderValue;
use warp::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use warp::reply::Response;

/// In `components.securitySchemes`.
const TOKEN: &str = "token";
/// Bearer tokens have none.
const NO_SCOPES: [&str; 0] = [];
/// Groups the calls that are about no single collection. No collection is called so.
const TAG: &str = "api";
/// What collections have in the document together. One more may stand above it.
pub(super) const BYTES_MAX: usize = 2 * 1024 * 1024;

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

/// The document of these collections, which have at most so many bytes in it.
pub(super) fn document(collections: &[Seen], bytes_max: usize) -> Value {
    let mut whole = fixed().clone();
    let mut bytes = 0;
    for one in collections {
        if bytes > bytes_max {
            add(&mut whole, &About::Any);
            break;
        }
        bytes += add(&mut whole, &About::new(&one.name, &one.definition));
    }
    whole
}

/// Adds what there is to say of a collection: how many bytes.
fn add(whole: &mut Value, about: &About<'_>) -> usize {
    let calls: Vec<(String, &Call)> = match about {
        About::Persons(_) => PERSONS_CALLS.iter().map(|call| (call.path.to_owned(), call)).collect(),
        About::One(..) | About::Any => {
            let of_records = CALLS.iter().filter(|call| call.is_of_records());
            of_records.map(|call| (call.path.replace("{collection}", about.name()), call)).collect()
        }
    };
    let mut paths: Map<String, Value> = Map::new();
    for (path, call) in calls {
        let described = json!(operation(call, about.name(), of_records(call.kind, about)));
        paths.entry(path).or_insert_with(|| json!({}))[method(call)] = described;
    }
    let components = about.components();
    let (paths, components) = (Value::Object(paths), Value::Object(components));
    let bytes = paths.to_string().len() + components.to_string().len();
    for (into, from) in [("/paths", paths), ("/components/schemas", components)] {
        if let (Some(Value::Object(into)), Value::Object(from)) = (whole.pointer_mut(into), from) {
            into.extend(from);
        }
    }
    bytes
}

/// What is there whatever the collections are.
fn fixed() -> &'static Value {
    static FIXED: OnceLock<Value> = OnceLock::new();
    FIXED.get_or_init(|| {
        let mut whole = OpenApi::new(info(), Paths::new());
        whole.components = Some(components());
        // With a token or without: that depends on the flags of the store.
        whole.security = Some(vec![SecurityRequirement::new(TOKEN, NO_SCOPES), SecurityRequirement::default()]);
        let mut whole = serde_json::to_value(whole).expect("it has no map with other keys than text");
        for call in CALLS.iter().filter(|call| !call.is_of_records()) {
            whole["paths"][call.path][method(call)] = json!(operation(call, TAG, of_none(call.kind)));
        }
        if let Some(Value::Object(schemas)) = whole.pointer_mut("/components/schemas") {
            schemas.extend(schemas::more());
        }
        whole
    })
}

fn info() -> Info {
    let mut license = License::new("Apache-2.0");
    license.identifier = Some("Apache-2.0".to_owned());
    InfoBuilder::new()
        .title("Leasehold store")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "A replicated JSON record store: one leader accepts the writes, every replica answers reads. Each collection has \
             paths of its own here, by the definition in force; where there are too many, `/{collection}` stands for the \
             others, and `/api/collections` has their definitions.",
        ))
        .license(Some(license))
        .build()
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

/// Of the calls that each collection has.
fn of_records(kind: Kind, about: &About<'_>) -> Details {
    match kind {
        Kind::List => reads::list(about),
        Kind::Read => reads::read(about),
        Kind::Watch => reads::watch(about),
        Kind::Create => writes::create(about),
        Kind::Replace => writes::replace(about),
        Kind::Patch => writes::patch(about),
        Kind::Delete => writes::delete(about),
        Kind::Batch => writes::batch(about),
        other => of_none(other),
    }
}

/// Of the others.
fn of_none(kind: Kind) -> Details {
    match kind {
        Kind::Definitions => definitions::list(),
        Kind::Definition => definitions::read(),
        Kind::Define => definitions::define(),
        Kind::Drop => definitions::drop(),
        Kind::GiveUp => definitions::give_up(),
        Kind::Transaction => definitions::transaction(),
        Kind::WatchAll => definitions::watch(),
        Kind::Snapshot => definitions::snapshot(),
        Kind::PauseExpiry => definitions::expiry(),
        Kind::Leader => pages::leader(),
        Kind::Status => pages::status(),
        Kind::Healthz => pages::healthz(),
        Kind::Readyz => pages::readyz(),
        Kind::Metrics => pages::metrics(),
        Kind::OpenApi => pages::openapi(),
        Kind::Docs => pages::docs(),
        Kind::Index => pages::index(),
        // They are about a collection.
        Kind::List
        | Kind::Read
        | Kind::Watch
        | Kind::Create
        | Kind::Replace
        | Kind::Patch
        | Kind::Delete
        | Kind::Batch => Details::default(),
    }
}

/// The key of a call in its path.
fn method(call: &Call) -> String {
    call.method.as_str().to_ascii_lowercase()
}

/// `GET /openapi.json`
pub(super) async fn openapi(context: &Context, rights: &Rights) -> ApiResult {
    let collections = seen(context, rights);
    let text = match context.described.get(&collections) {
        Some(text) => text,
        None => {
            // Many definitions take their time.
            let made = tokio::task::spawn_blocking(move || {
                let text = Bytes::from(document(&collections, BYTES_MAX).to_string());
                (collections, text)
            });
            let (collections, text) = made.await.map_err(|error| {
                tracing::error!(%error, "making /openapi.json failed");
                Problem::new(Code::Internal, "the document could not be made; see the log")
            })?;
            context.described.put(collections, text.clone());
            text
        }
    };
    let mut response = Response::new(text.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
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
