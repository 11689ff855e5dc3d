//! A fake of Google's XML API: no server that can be run here speaks as much of it as `object_store` needs.
//!
//! Puts under a condition, reads, lists and deletes, without credentials. So it shows that `gs://` asks as it must, not that
//! Google answers so: the tested way to Google is its S3 interface.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use warp::http::{HeaderMap, Method, Response, StatusCode};
use warp::{Filter as _, path::FullPath};

type Objects = Arc<Mutex<BTreeMap<String, Bytes>>>;

/// Serves one bucket, `backups`, until the runtime is dropped.
pub(crate) struct Google {
    pub(crate) port: u16,
    _runtime: tokio::runtime::Runtime,
}

impl Google {
    pub(crate) fn start() -> Google {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let objects = Objects::default();
        let query = warp::query::raw().or(warp::any().map(String::new)).unify();
        let call = warp::method().and(warp::path::full()).and(query).and(warp::header::headers_cloned());
        let routes = call.and(warp::body::bytes()).map(move |method, path: FullPath, query: String, headers, body| {
            answer(&objects, &method, path.as_str(), &query, &headers, body)
        });
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        runtime.spawn(warp::serve(routes).incoming(listener).run());
        Google { port, _runtime: runtime }
    }
}

fn answer(
    objects: &Objects,
    method: &Method,
    path: &str,
    query: &str,
    headers: &HeaderMap,
    body: Bytes,
) -> Response<Bytes> {
    let mut objects = objects.lock().unwrap();
    let reply = |status: StatusCode, body: Bytes| {
        let dated = "Mon, 30 Nov 2026 12:00:00 GMT";
        let builder = Response::builder().status(status).header("etag", "\"1\"").header("x-goog-generation", "1");
        builder.header("last-modified", dated).body(body).unwrap()
    };
    let Some(key) = path.strip_prefix("/backups") else {
        return reply(StatusCode::NOT_FOUND, "<Error><Code>NoSuchBucket</Code></Error>".into());
    };
    let key = decoded(key.trim_start_matches('/'));
    match *method {
        Method::GET if key.is_empty() => reply(StatusCode::OK, list(&objects, query).into()),
        Method::PUT
            if headers.get("x-goog-if-generation-match").is_some_and(|is| is == "0") && objects.contains_key(&key) =>
        {
            reply(StatusCode::PRECONDITION_FAILED, Bytes::new())
        }
        Method::PUT => {
            objects.insert(key, body);
            reply(StatusCode::OK, Bytes::new())
        }
        Method::GET => match objects.get(&key) {
            Some(content) => reply(StatusCode::OK, content.clone()),
            None => reply(StatusCode::NOT_FOUND, "<Error><Code>NoSuchKey</Code></Error>".into()),
        },
        Method::DELETE => match objects.remove(&key) {
            Some(_) => reply(StatusCode::NO_CONTENT, Bytes::new()),
            None => reply(StatusCode::NOT_FOUND, Bytes::new()),
        },
        _ => reply(StatusCode::METHOD_NOT_ALLOWED, Bytes::new()),
    }
}

/// In one page.
fn list(objects: &BTreeMap<String, Bytes>, query: &str) -> String {
    let parameter = |name: &str| {
        let found = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        decoded(found.unwrap_or_default())
    };
    let (prefix, delimiter) = (parameter("prefix"), parameter("delimiter"));
    let mut contents = String::new();
    let mut folders = std::collections::BTreeSet::new();
    for (key, content) in objects.iter().filter(|(key, _)| key.starts_with(&prefix)) {
        match key[prefix.len()..].split_once('/') {
            Some((folder, _)) if !delimiter.is_empty() => {
                folders.insert(folder.to_owned());
            }
            _ => {
                contents += &format!(
                    "<Contents><Key>{key}</Key><Size>{}</Size><LastModified>2026-11-30T12:00:00.000Z</LastModified>\
                     <ETag>\"1\"</ETag></Contents>",
                    content.len()
                );
            }
        }
    }
    let folders: String = folders
        .iter()
        .map(|name| format!("<CommonPrefixes><Prefix>{prefix}{name}/</Prefix></CommonPrefixes>"))
        .collect();
    format!("<ListBucketResult>{contents}{folders}</ListBucketResult>")
}

/// Of the characters that names have.
fn decoded(text: &str) -> String {
    text.replace("%2F", "/").replace("%2D", "-").replace("%2E", ".")
}
